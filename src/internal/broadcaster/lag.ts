/** Evicts subscribers that fall behind. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"

/** A subscriber that may not be further behind than `maxLag`. */
export interface Limited {
  readonly maxLag: number
  readonly lag: () => number
  /** For a subscriber that shares its drainer: how many times all of its sinks had their turn. */
  readonly rounds: (() => number) | undefined
  readonly evict: () => void
}

export interface LagGuard {
  readonly add: (key: object, limited: Limited) => void
  readonly remove: (key: object) => void
  /** To be called after each publish. */
  readonly look: () => void
}

/**
 * Judges a subscriber that is too far behind after it had a turn, since on one thread a burst is published before any
 * subscriber can run. One that is catching up is judged again after the next turn, and one that is not is evicted.
 */
export const makeLagGuard = (context: Context.Context<never>): LagGuard => {
  const all = new Map<object, Limited>()
  /** How far behind the subscribers under observation were when they were last looked at. */
  const seen = new Map<object, { readonly lag: number; readonly round: number | undefined }>()

  const note = (key: object, { lag, rounds }: Limited) => seen.set(key, { lag: lag(), round: rounds?.() })
  const judge = Effect.suspend(() => {
    for (const [key, before] of seen) {
      const one = all.get(key)
      if (one === undefined || one.lag() <= one.maxLag) seen.delete(key)
      else if (before.round !== undefined && before.round === one.rounds?.()) continue
      else if (one.lag() < before.lag) note(key, one)
      else {
        all.delete(key)
        seen.delete(key)
        one.evict()
      }
    }
    return Effect.yieldNow
  })
  const observe = Effect.andThen(
    Effect.yieldNow,
    Effect.whileLoop({ while: () => seen.size > 0, body: () => judge, step: () => {} })
  )
  return {
    add: (key, limited) => void all.set(key, limited),
    remove: (key) => {
      all.delete(key)
      seen.delete(key)
    },
    look: () => {
      if (all.size === 0) return
      const isObserving = seen.size > 0
      for (const [key, one] of all) if (!seen.has(key) && one.lag() > one.maxLag) note(key, one)
      if (!isObserving && seen.size > 0) Effect.runForkWith(context)(observe)
    }
  }
}
