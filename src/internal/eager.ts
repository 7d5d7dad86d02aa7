/** Effects that are over when they are made: running nothing for them saves most of the cost of a small step. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"

/** Whether an effect is over already, so that there is nothing to run. `Exit.isExit` forgets the types. */
export const isOver = <A, E>(effect: Effect.Effect<A, E>): effect is Exit.Exit<A, E> => Exit.isExit(effect)

/** Takes the exits of effects one after the other until there is none, and runs nothing for those that are over. */
export const exitsEager = <A, E>(
  next: () => Effect.Effect<A, E> | undefined,
  step: (exit: Exit.Exit<A, E>) => void
): Effect.Effect<void> => {
  let effect: Effect.Effect<A, E> | undefined
  return Effect.whileLoop({
    while: () => {
      for (effect = next(); effect !== undefined && isOver(effect); effect = next()) step(effect)
      return effect !== undefined
    },
    // There is one, by the condition of the loop.
    body: () => Effect.exit(effect!),
    step
  })
}

/** The same with their answers, up to the first failure. */
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
