import * as Effect from "effect/Effect"

/** The answer of a user's function, whose defect is not thrown but run. */
export const answerOf = <B extends Effect.Effect<unknown, unknown> | undefined>(
  call: () => B
): B | Effect.Effect<never> => {
  try {
    return call()
  } catch (defect) {
    return Effect.die(defect)
  }
}
