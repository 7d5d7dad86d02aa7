/** What a retrier is made with and fails with, and the deadlines of writes. */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import { CallerDeadline } from "./context.ts"
import { monotonicMillis } from "./monotonic.ts"

/**
 * Options of a retrier.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** How long the close waits for attempts that are under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** The longest wait that an error's `retryAfter` may ask for: 1 minute by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
}

/**
 * The option that gives writes a deadline.
 *
 * @category options
 * @since 0.1.0
 */
export interface Limited<out D = Duration.Input | undefined> {
  /**
   * How long a write has, in which its last attempt must begin; `Infinity` leaves that to its caller, see
   * `withDeadline`. A write whose next attempt lies behind it fails with `DeadlineExceeded` at once. Without the option there is
   * no deadline, whatever the caller says: the sink's type has no error for it.
   */
  readonly deadline?: D
}

/**
 * An error may say how long the receiver wants to be left alone. It is honoured up to `maxRetryAfter`; it
 * counts from the failure as the strategy's delay does, so the longer of the two holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryAfter {
  readonly retryAfter?: Duration.Input | undefined
}

/**
 * The strategy gave up. The event was not committed, as far as the last error tells.
 *
 * @category errors
 * @since 0.1.0
 */
export class RetriesExhausted<out E> extends Data.TaggedError("RetriesExhausted")<{
  /** The error of the last attempt. */
  readonly error: unknown
  /** How many attempts there were. */
  readonly attempts: number
  readonly sink: string
}> {
  declare readonly error: E
  override get message(): string {
    return `"${this.sink}" gave up after ${this.attempts} attempts`
  }
  /** The same as `error`, where logs look for it. */
  override get cause(): unknown {
    return this.error
  }
}

/**
 * The next attempt would begin behind the write's deadline, so there was none. The event was not committed, as far as the
 * last error tells.
 *
 * @category errors
 * @since 0.1.0
 */
export class DeadlineExceeded<out E> extends Data.TaggedError("DeadlineExceeded")<{
  /** The error of the last attempt; `undefined` where there was none. */
  readonly error: unknown
  /** How many attempts there were. */
  readonly attempts: number
  readonly sink: string
}> {
  declare readonly error: E | undefined
  override get message(): string {
    return `"${this.sink}" has no time left for another attempt, after ${this.attempts}`
  }
  /** The same as `error`, where logs look for it. */
  override get cause(): unknown {
    return this.error
  }
}

/**
 * Gives the writes of an effect a deadline, which every retrier with the option `deadline` keeps: the caller's time, such as
 * what is left of a request. The earlier of two holds.
 *
 * **Gotchas**
 *
 * It ends at a queue: what a queue has accepted is delivered in its own time. It ends no attempt that is under way, which
 * `EventSink.timeout` below the retrier does.
 *
 * **Example** (A request with two seconds)
 *
 * ```ts
 * import { Console, Effect, Schedule } from "effect"
 * import { EventSink, RetryingSink, RetryStrategy } from "effect-events"
 *
 * const sink = EventSink.make((_: string) => Effect.fail("down")).pipe(
 *   RetryingSink.make(RetryStrategy.forever(Schedule.spaced("1 hour")), { deadline: Infinity })
 * )
 *
 * const program = Effect.flatMap(sink, ({ write }) =>
 *   write("hello").pipe(
 *     RetryingSink.withDeadline("2 seconds"),
 *     Effect.catchTag("DeadlineExceeded", ({ error }) => Console.log("given up at once:", error))
 *   )
 * )
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: given up at once: down
 * ```
 *
 * @category deadlines
 * @since 0.1.0
 */
export const withDeadline: {
  (duration: Duration.Input): <A, E, R>(self: Effect.Effect<A, E, R>) => Effect.Effect<A, E, R>
  <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input): Effect.Effect<A, E, R>
} = dual(2, <A, E, R>(self: Effect.Effect<A, E, R>, duration: Duration.Input) =>
  Effect.withFiber((fiber) => {
    const until = deadlineIn(fiber, Duration.fromInputUnsafe(duration))
    return Effect.provideService(self, CallerDeadline, until)
  })
)

/** The caller's deadline, or in so long if that is earlier. */
export const deadlineIn = (fiber: Fiber.Fiber<unknown, unknown>, duration: Duration.Duration) => {
  const own = monotonicMillis(fiber.getRef(Clock.Clock)) + Duration.toMillis(duration)
  return Math.min(own, fiber.getRef(CallerDeadline) ?? own)
}
