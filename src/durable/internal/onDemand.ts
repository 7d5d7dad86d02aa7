/** A fiber that runs while there is something to do. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/**
 * Takes turns as long as there is something to do. It yields before each turn: what other fibers bring is done in the
 * same turn, and work that never waits leaves the event loop its timers and sockets.
 */
export class Turns {
  private readonly isNeeded: () => boolean
  private readonly all: Effect.Effect<void>
  private fiber: Fiber.Fiber<void> | undefined = undefined

  constructor(isNeeded: () => boolean, turn: Effect.Effect<void>) {
    this.isNeeded = isNeeded
    const next = Effect.andThen(Effect.yieldNow, turn)
    this.all = Effect.suspend(() => Effect.whileLoop({ while: isNeeded, body: () => next, step: () => {} }))
  }

  /** There is something to do. */
  start(context: Context.Context<never>): void {
    if (this.fiber !== undefined) return
    // The child of no fiber: it works for all callers.
    const fiber = Effect.runForkWith(context)(this.all)
    this.fiber = fiber
    fiber.addObserver(() => {
      this.fiber = undefined
      // Between its last check and its end there may be new work.
      if (this.isNeeded()) this.start(context)
    })
  }

  interrupt(): void {
    this.fiber?.interruptUnsafe()
  }
}
