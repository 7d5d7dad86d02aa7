/** Waiters run inside the call that answers them. */

/**
 * Answers all waiters. A throw of a fiber's observer goes to the process, as when a timer wakes that fiber, and not to
 * the other waiters.
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
