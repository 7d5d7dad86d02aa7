/** What a shared commit needs: a fiber that takes turns while there is something to do, and answers that reach all that wait. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { constVoid } from "effect/Function"

/** Takes turns as long as there is something to do. */
export interface OnDemand {
  /** There is something to do. */
  readonly start: () => void
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
  const all = Effect.whileLoop({ while: isNeeded, body: () => next, step: constVoid })
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
  return { start, interrupt: () => fiber?.interruptUnsafe() }
}

/**
 * Answers all that wait, each of which runs inside of that. A throw of a fiber's observer goes to the process, as when a timer wakes
 * that fiber, and not to the others.
 */
export const answerAll = <A>(all: ReadonlyArray<A>, answer: (one: A, i: number) => void): void => {
  for (const [i, one] of all.entries()) {
    try {
      answer(one, i)
    } catch (thrown) {
      queueMicrotask(() => {
        throw thrown
      })
    }
  }
}
