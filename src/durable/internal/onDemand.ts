/** A fiber that is there while there is something to do. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"

/**
 * Takes turns as long as there is something to do. Before each it is the others' turn: what they bring is done in the same
 * one, and work that never waits leaves the event loop its timers and sockets.
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
    // Nobody's child: it works for all who come.
    const fiber = Effect.runForkWith(context)(this.all)
    this.fiber = fiber
    fiber.addObserver(() => {
      this.fiber = undefined
      // Between its last look and its end somebody may have come.
      if (this.isNeeded()) this.start(context)
    })
  }

  interrupt(): void {
    this.fiber?.interruptUnsafe()
  }
}
