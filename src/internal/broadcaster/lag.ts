/** Evicts subscribers that fall behind. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"

export type LagGuard = ReturnType<typeof makeLagGuard>

/** A subscriber that may not be further behind than `maxLag`. */
interface Limited {
  readonly maxLag: number
  readonly lag: () => number
  readonly evict: () => void
}

/**
 * Judges a subscriber that is too far behind after it had a turn, since on one thread a burst is published before any
 * subscriber can run. One that is catching up is judged again after the next turn, and one that is not is evicted.
 */
export const makeLagGuard = (context: Context.Context<never>) => {
  const all = new Set<Limited>()
  /** How far behind the subscribers under observation were when they were last looked at. */
  const seen = new Map<Limited, number>()

  const judge = Effect.suspend(() => {
    for (const [one, before] of seen) {
      const lag = one.lag()
      if (lag > one.maxLag && lag < before) {
        seen.set(one, lag)
        continue
      }
      seen.delete(one)
      if (lag <= one.maxLag) continue
      all.delete(one)
      one.evict()
    }
    return Effect.yieldNow
  })
  const observe = Effect.andThen(
    Effect.yieldNow,
    Effect.whileLoop({ while: () => seen.size > 0, body: () => judge, step: () => {} })
  )
  return {
    /** Answers what ends the limit. */
    add: (limited: Limited) => {
      if (limited.maxLag !== Number.POSITIVE_INFINITY) all.add(limited)
      return () => {
        all.delete(limited)
        seen.delete(limited)
      }
    },
    /** To be called after each publish. */
    look: () => {
      if (all.size === 0) return
      const isObserving = seen.size > 0
      for (const one of all) if (!seen.has(one) && one.lag() > one.maxLag) seen.set(one, one.lag())
      if (!isObserving && seen.size > 0) Effect.runForkWith(context)(observe)
    }
  }
}
