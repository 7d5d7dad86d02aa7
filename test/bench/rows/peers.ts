import * as Effect from "effect/Effect"

/** Loaded only by the processes that measure it. */
export const rxjs = Effect.promise(() => import("rxjs"))

/** A new RxJS `Subject` of strings. */
export const subject = Effect.map(rxjs, ({ Subject }) => new Subject<string>())

export const rxjsLabel = "RxJS Subject (synchronous, keeps no account)"

/**
 * A fiber that does the same thing again and again, as Effect's own modules write it. `Effect.forever` lets other fibers
 * run after every turn unless it is told not to, which makes a loop on `take` ten times as slow.
 */
export const loop = <E>(turn: Effect.Effect<void, E>): Effect.Effect<never, E> =>
  Effect.forever(turn, { disableYield: true })
