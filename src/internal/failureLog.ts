/** The log of this library: when a failure is worth a line, and what every line has. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"

/** Decides when a run of failures is worth a line in the log: the first, then at doubling counts, and the recovery once. */
export const makeFailureLog = () => {
  let failures = 0
  let next = 1
  return {
    /** Notes a failure. Answers the length of the run when it should be logged, else 0. */
    failed: () => {
      failures++
      if (failures < next) return 0
      next = failures * 2
      return failures
    },
    /** Notes a success. Answers how long the run was that ended, or 0. */
    recovered: () => {
      const run = failures
      failures = 0
      next = 1
      return run
    }
  }
}

/** What writes a line: a part, or a place that stands for several. */
export interface LogPart {
  readonly kind: string
  readonly name: string
  /** What of it a line is about, where it stands for many: annotations of all of its lines. */
  readonly about?: Readonly<Record<string, string>> | undefined
}

/** The figures that a line may have, each under the same name in all lines. */
export interface LogCounts {
  /** How many events the line is about. */
  readonly events?: number
  /** How many of them were with the downstream. */
  readonly inFlight?: number
  /** How many failures there were since the last success. */
  readonly failures?: number
  /** Which attempt of a write it was. */
  readonly attempt?: number
  /** How many requests the line is about. */
  readonly requests?: number
  /** How many writes the line is about. */
  readonly writes?: number
  /** The ids of the first of the events, where they have some. */
  readonly ids?: ReadonlyArray<string>
  /** What went wrong, in words that are not the event's. */
  readonly cause?: string | undefined
}

const levels = { Info: Effect.logInfo, Warn: Effect.logWarning, Error: Effect.logError } as const

/**
 * Writes a line of the log, the one way to do so: it begins with what writes it, and has that and its figures as annotations.
 * The guide's table of lines is compared with the calls of this function.
 */
export const logLine = (
  { about, kind, name }: LogPart,
  level: keyof typeof levels,
  what: string,
  { cause: said, ids = [], ...counts }: LogCounts = {},
  cause: Cause.Cause<unknown> = Cause.empty
): Effect.Effect<void> => {
  const shown = loggable(cause)
  const named = { ...about, ...(ids.length > 0 && { ids: ids.join(", ") }), ...(said !== undefined && { cause: said }) }
  return levels[level](`${kind} "${name}" ${what}`, ...(shown.reasons.length > 0 ? [shown] : [])).pipe(
    Effect.annotateLogs({ sink: name, kind, ...counts, ...named })
  )
}

/** So many of something, in words. */
export const numbered = (n: number, noun: string): string =>
  n === 1 ? `${/^[aeiou]/.test(noun) ? "an" : "a"} ${noun}` : `${n} ${noun}s`

// internals

/** What of a cause may be logged: errors, whose messages are their authors' own, and no other value, which may be the event. */
const loggable = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> =>
  Cause.fromReasons(cause.reasons.filter((reason) => Cause.isDieReason(reason) && reason.defect instanceof Error))
