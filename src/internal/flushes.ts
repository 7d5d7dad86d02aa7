import * as Effect from "effect/Effect"

interface Flush {
  /** How many events are still ahead of it. */
  ahead: number
  readonly resume: (effect: Effect.Effect<void>) => void
}

const none: ReadonlyArray<Flush> = []

/** Who waits until all that is pending now is settled. */
export class Flushes {
  private waiting: Array<Flush> = []

  /** Waits until the `pending` events that are ahead now are settled. */
  wait(pending: number): Effect.Effect<void> {
    if (pending === 0) return Effect.void
    return Effect.callback<void>((resume) => {
      const flush: Flush = { ahead: pending, resume }
      this.waiting.push(flush)
      return Effect.sync(() => void (this.waiting = this.waiting.filter((other) => other !== flush)))
    })
  }

  /** Notes that `n` events are settled that have `before` others ahead of them. Answers who is done, for `wake`. */
  settle(n: number, before: number): ReadonlyArray<Flush> {
    if (this.waiting.length === 0) return none
    for (const flush of this.waiting) if (flush.ahead > before) flush.ahead = Math.max(before, flush.ahead - n)
    const done = this.waiting.filter(({ ahead }) => ahead === 0)
    if (done.length > 0) this.waiting = this.waiting.filter(({ ahead }) => ahead > 0)
    return done
  }

  /** Lets them go on, once the state around them is whole: each runs inside this call. */
  wake(done: ReadonlyArray<Flush>): void {
    for (const { resume } of done) resume(Effect.void)
  }
}
