import * as Effect from "effect/Effect"

/** Says when a run of failures is worth a line: the first, then at doubling counts, and the recovery once. */
export class FailureLog {
  private failures = 0
  private next = 1

  /** Notes a failure. Answers the length of the run when it should be logged, else 0. */
  failed(): number {
    this.failures++
    if (this.failures < this.next) return 0
    this.next = this.failures * 2
    return this.failures
  }

  /** Notes a success. Answers how long the run was that ended, or 0. */
  recovered(): number {
    const run = this.failures
    this.failures = 0
    this.next = 1
    return run
  }
}

/** A line of this library's own, with the part that writes it as an annotation. */
export const annotate = (kind: string, name: string) => Effect.annotateLogs({ sink: name, kind })
