/** Evicts subscribers that fall behind. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** A subscriber that may not be further behind than `maxLag`. */
interface Limited {
  readonly maxLag: number
  readonly lag: () => number
  readonly evict: () => void
}

/**
 * Judges a subscriber that is too far behind after it had a turn, since on one thread a burst is published before any
 * subscriber can run. One that is catching up is judged again after the next turn, and one that is not is evicted.
 *
 * Adds to the limits what is to be called after each publish. Answers what ends the limit.
 */
export const limitLag = (
  limits: Set<() => void>,
  context: Context.Context<never>,
  { evict, lag, maxLag }: Limited
): (() => void) => {
  let isObserved = false
  const judge = (before: number): Effect.Effect<void> =>
    Effect.andThen(Effect.yieldNow, () => {
      const now = lag()
      isObserved = limits.has(look) && now > maxLag
      if (isObserved && now < before) return judge(now)
      if (isObserved && limits.delete(look)) evict()
      return Effect.void
    })
  const look = () => {
    if (isObserved || lag() <= maxLag) return
    isObserved = true
    Effect.runForkWith(context)(judge(lag()))
  }
  if (maxLag !== Number.POSITIVE_INFINITY) limits.add(look)
  return () => limits.delete(look)
}
