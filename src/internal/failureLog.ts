import * as Effect from "effect/Effect"

/** Decides when a run of failures is worth a line in the log: the first, then at doubling counts, and the recovery once. */
export interface FailureLog {
  /** Notes a failure. Answers the length of the run when it should be logged, else 0. */
  readonly failed: () => number
  /** Notes a success. Answers how long the run was that ended, or 0. */
  readonly recovered: () => number
}

export const makeFailureLog = (): FailureLog => {
  let failures = 0
  let next = 1
  return {
    failed: () => {
      failures++
      if (failures < next) return 0
      next = failures * 2
      return failures
    },
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
