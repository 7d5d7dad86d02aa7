/** The log of a durable part: counts and names, never an event. */
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { type LogPart, logLine, makeFailureLog, numbered } from "../../internal/failureLog.ts"
import { type Account, noteError } from "../../internal/node.ts"
import type { EventStoreError } from "./port/error.ts"
import type { Position } from "./port/records.ts"

export type DurableLog<A = never> = ReturnType<typeof makeDurableLog<A>>

/** What a line says of an event that was dead-lettered, where its part knows what may be said. */
export interface Logged {
  readonly id: string | undefined
  readonly cause: string
}

/** A delivery, and whether it has an event. */
interface Dead<out A> {
  readonly event: A
  readonly isEvent: boolean
  readonly position: Position
}

/** Nothing is given where the event does not decode. */
export type LoggedOf<in A> = (event: A | undefined, cause: Cause.Cause<unknown>) => Logged

/** How many events a line names. */
const idsNamed = 10

export const makeDurableLog = <A>(node: LogPart, counts: Account, clock: Clock.Clock, loggedOf?: LoggedOf<A>) => {
  const deadLetterFailures = makeFailureLog()
  const storeFailures = makeFailureLog()
  const logged = new Map<Position, Logged>()
  let unlogged = 0
  let ids: ReadonlyArray<string> = []
  let cause: string | undefined
  const rest = Effect.suspend(() => {
    const n = unlogged
    const said = { ids, cause }
    unlogged = 0
    ids = []
    cause = undefined
    if (n === 0) return Effect.void
    return logLine(node, "Error", `moved ${numbered(n, "event")} to its dead letters`, {
      events: n,
      ids: said.ids,
      cause: said.cause
    })
  })
  return {
    /** An event is to be moved to the dead letters: what is to be said of it once it is. */
    deadLettering: ({ event, isEvent, position }: Dead<A>, cause: Cause.Cause<unknown>): void => {
      if (loggedOf !== undefined) logged.set(position, loggedOf(isEvent ? event : undefined, cause))
    },
    /** Events were moved to the dead letters. */
    deadLettered: (positions: ReadonlyArray<Position>): Effect.Effect<void> => {
      unlogged += positions.length
      for (const position of positions) {
        const one = logged.get(position)
        logged.delete(position)
        if (one === undefined) continue
        cause = one.cause
        if (one.id !== undefined && ids.length < idsNamed) ids = [...ids, one.id]
      }
      return deadLetterFailures.failed() === 0 ? Effect.void : rest
    },
    /** Events are delivered again. */
    recovered: (): Effect.Effect<void> => {
      deadLetterFailures.recovered()
      return rest
    },
    abandoned: (downstream: string): Effect.Effect<void> =>
      logLine(node, "Warn", `closed without a downstream write that refuses interruption ("${downstream}")`),
    paused: (problem: string): Effect.Effect<void> =>
      logLine(node, "Error", `has paused delivery in front of an event that it cannot decode (${problem})`),
    disabled: (reason: string): Effect.Effect<void> =>
      logLine(node, "Warn", `is disabled, and keeps its events until it is resumed (${reason})`),
    leaseLost: logLine(node, "Warn", "has lost its lease to another owner, and is a standby"),
    troubled: (error: EventStoreError): Effect.Effect<void> => {
      noteError(counts, error, clock)
      const run = storeFailures.failed()
      return run === 0
        ? Effect.void
        : logLine(node, "Error", `waits for its store: ${error.message}`, { failures: run })
    },
    storeRecovered: Effect.suspend(() => {
      const run = storeFailures.recovered()
      return run === 0
        ? Effect.void
        : logLine(node, "Info", `has its store again, after ${numbered(run, "failure")}`, { failures: run })
    }),
    /** Events were dropped that could not be reported to `onDropped`, since they do not decode. */
    unreadable: (n: number): Effect.Effect<void> =>
      n === 0
        ? Effect.void
        : logLine(node, "Error", `dropped ${numbered(n, "event")} that it cannot decode, over its capacity`, {
            events: n
          }),
    /** A plan of redeliveries died: the event is delivered again in a minute. */
    planDied: (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
      logLine(node, "Error", "has a plan of redeliveries that died", {}, cause),
    /** Delivered events could not be acknowledged by the end. */
    unacknowledged: logLine(node, "Warn", "closed, and will deliver again what it could not acknowledge"),
    /** The end: nothing is lost, and all of it is logged. */
    closed: (remaining: number, inFlight: number): Effect.Effect<void> =>
      Effect.andThen(
        rest,
        remaining === 0
          ? Effect.void
          : logLine(node, "Info", `closed with ${remaining} events remaining, ${inFlight} of them in flight`, {
              events: remaining,
              inFlight
            })
      )
  }
}
