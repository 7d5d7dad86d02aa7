import * as Effect from "effect/Effect"

interface Flush {
  /** It waits for the events before this position. */
  readonly until: number
  /** How many of them are not settled yet. */
  ahead: number
  readonly resume: (effect: Effect.Effect<void>) => void
}

const none: ReadonlyArray<Flush> = []

/** Who waits until all that is pending now is settled. */
export class Flushes {
  private waiting: Array<Flush> = []

  /** Waits until all that is pending now is settled: `pending` events, all of them before the position `until`. */
  wait(pending: () => number, until: () => number): Effect.Effect<void> {
    return Effect.callback<void>((resume) => {
      // Counted in the step in which it is noted: what is settled in between would be waited for, for ever.
      const flush: Flush = { until: until(), ahead: pending(), resume }
      if (flush.ahead === 0) return resume(Effect.void)
      this.waiting.push(flush)
      return Effect.sync(() => void (this.waiting = this.waiting.filter((other) => other !== flush)))
    })
  }

  /** Notes that the `n` events from the position `from` on are settled. */
  readonly settle = (from: number, n: number): void => {
    for (const flush of this.waiting) flush.ahead -= Math.max(0, Math.min(from + n, flush.until) - from)
  }

  /** Notes that nothing is left to be settled. */
  settleAll(): void {
    for (const flush of this.waiting) flush.ahead = 0
  }

  /** Takes out who is done, for `wake`. */
  done(): ReadonlyArray<Flush> {
    if (this.waiting.length === 0) return none
    const done = this.waiting.filter(({ ahead }) => ahead === 0)
    if (done.length > 0) this.waiting = this.waiting.filter(({ ahead }) => ahead > 0)
    return done
  }

  /** Lets them go on, once the state around them is whole: each runs inside this call. */
  wake(done: ReadonlyArray<Flush>): void {
    for (const { resume } of done) resume(Effect.void)
  }
}
