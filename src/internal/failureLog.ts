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

/** A line of this library's own, with the part that writes it as an annotation. */
export const annotate = (kind: string, name: string) => Effect.annotateLogs({ sink: name, kind })

/** A line that begins with the part that writes it. */
export const logPart = (
  { kind, name }: { readonly kind: string; readonly name: string },
  log: typeof Effect.logError,
  ...[what, ...more]: readonly [what: string, ...ReadonlyArray<unknown>]
): Effect.Effect<void> => log(`${kind} "${name}" ${what}`, ...more).pipe(annotate(kind, name))
