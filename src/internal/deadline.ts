import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import type * as Latch from "effect/Latch"

/** How long a part waits at its close by default: inside Kubernetes' usual grace of 30 seconds. */
export const defaultDrainTimeout: Duration.Duration = Duration.seconds(20)

/** How long `onDropped` has for all that a close leaves. */
export const reportTimeout: Duration.Duration = Duration.seconds(5)

/** Scheduler turns that an interrupted fiber gets to unwind before it counts as one that refuses. */
const turnsToUnwind = 256

/**
 * Waits for `done` up to `timeout`, and answers whether it came. The wait has a fiber of its own, so that neither an
 * uninterruptible region stretches it nor an interruption that the caller has pending, as at the close of an interrupted
 * scope, cuts it short.
 */
export const within = (done: Effect.Effect<unknown>, timeout: Duration.Duration): Effect.Effect<boolean> => {
  const came = Effect.as(done, true)
  const wait = Duration.isFinite(timeout)
    ? Effect.timeoutOrElse(came, { duration: timeout, orElse: () => Effect.succeed(false) })
    : came
  return Effect.uninterruptible(
    Effect.flatMap(Effect.forkDetach(wait, { startImmediately: true, uninterruptible: false }), Fiber.join)
  )
}

/**
 * Waits for `ended` up to `timeout` or `cut`, then interrupts by `interrupt`. Answers whether it ended: `false` means that
 * it refuses interruption and must be abandoned.
 */
export const endWithin = (
  ended: Latch.Latch,
  timeout: Duration.Duration,
  interrupt: () => void,
  cut?: Effect.Effect<void>
): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    if (ended.isOpen()) return true
    yield* within(cut === undefined ? ended.await : Effect.raceFirst(ended.await, cut), timeout)
    if (ended.isOpen()) return true
    return yield* unwind(ended, interrupt)
  })

/** Interrupts by `interrupt`, and answers whether it ended: `false` means that it refuses interruption. */
export const unwind = (ended: Latch.Latch, interrupt: () => void): Effect.Effect<boolean> =>
  Effect.gen(function* () {
    interrupt()
    for (let turn = 0; turn < turnsToUnwind && !ended.isOpen(); turn++) yield* Effect.yieldNow
    return ended.isOpen()
  })
