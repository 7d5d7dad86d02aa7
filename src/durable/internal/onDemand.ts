/** A fiber that runs while there is something to do. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/** Takes turns as long as there is something to do. */
export interface OnDemand {
  /** There is something to do. */
  readonly start: () => void
  /** Whether no turn is under way. */
  readonly isIdle: () => boolean
  readonly interrupt: () => void
}

/**
 * Yields before each turn: what other fibers bring is done in the same turn, and work that never waits leaves the event loop
 * its timers and sockets.
 */
export const makeOnDemand = (
  context: Context.Context<never>,
  isNeeded: () => boolean,
  turn: Effect.Effect<void>
): OnDemand => {
  const next = Effect.andThen(Effect.yieldNow, turn)
  const all = Effect.suspend(() => Effect.whileLoop({ while: isNeeded, body: () => next, step: () => {} }))
  let fiber: Fiber.Fiber<void> | undefined
  const start = () => {
    if (fiber !== undefined) return
    // The child of no fiber: it works for all callers.
    fiber = Effect.runForkWith(context)(all)
    fiber.addObserver(() => {
      fiber = undefined
      // Between its last check and its end there may be new work.
      if (isNeeded()) start()
    })
  }
  return { start, isIdle: () => fiber === undefined, interrupt: () => fiber?.interruptUnsafe() }
}
