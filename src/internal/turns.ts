import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"

/** Events handled before other fibers and the event loop get a turn: no loop over events is longer without a yield. */
export const maxTurn = 2048

/** Calls `f` with the numbers from 0 to `n - 1`, `maxTurn` of them a turn. */
export const inTurns = (n: number, f: (i: number) => void): Effect.Effect<void> =>
  Effect.suspend(() => {
    let i = 0
    return Effect.whileLoop({
      while: () => i < n,
      body: () => {
        for (const end = Math.min(n, i + maxTurn); i < end; i++) f(i)
        return i < n ? Effect.yieldNow : Effect.void
      },
      step: () => {}
    })
  })

/** As many of the events as are handled in a turn, from the first on: all that a `writeSome` may take of them at once. */
export const leading = <A>(events: NonEmptyReadonlyArray<A>, most = maxTurn): NonEmptyReadonlyArray<A> =>
  // A part of it that is not empty.
  events.length <= most ? events : (events.slice(0, most) as unknown as NonEmptyReadonlyArray<A>)
