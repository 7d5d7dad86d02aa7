/** Those who wait go on inside the call that answers them. */

/**
 * Answers all. What the observers of a fiber throw is for the process, as when a timer wakes that fiber, and not for the
 * others who wait.
 */
export const answerAll = <A>(all: ReadonlyArray<A>, answer: (one: A, i: number) => void): void =>
  all.forEach((one, i) => {
    try {
      answer(one, i)
    } catch (thrown) {
      queueMicrotask(() => {
        throw thrown
      })
    }
  })
