/** Effects that are over when they are made: running nothing for them saves most of the cost of a small step. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** Whether an effect is over already, so that there is nothing to run. `Exit.isExit` forgets the types. */
export const isOver = <A, E>(effect: Effect.Effect<A, E>): effect is Exit.Exit<A, E> => Exit.isExit(effect)

/** `Effect.exit` that runs nothing for an effect that is over. */
export const exitEager = <A, E>(self: Effect.Effect<A, E>): Effect.Effect<Exit.Exit<A, E>> =>
  isOver(self) ? Effect.succeed(self) : Effect.exit(self)

/** Takes the answers of effects one after the other until there is none, and runs nothing for those that are over. */
export const loopEager = <A, E>(
  next: () => Effect.Effect<A, E> | undefined,
  step: (a: A) => void
): Effect.Effect<void, E> => {
  let effect: Effect.Effect<A, E> | undefined
  return Effect.whileLoop({
    while: () => {
      for (effect = next(); effect !== undefined; effect = next()) {
        if (!isOver(effect) || !Exit.isSuccess(effect)) return true
        step(effect.value)
      }
      return false
    },
    // There is one, by the condition of the loop.
    body: () => effect!,
    step
  })
}
