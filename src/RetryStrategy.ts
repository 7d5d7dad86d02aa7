/**
 * When a write is tried again, and when it is given up: go-events' `RetryStrategy`, with the giving up in the type. A
 * strategy never looks at an event's content and never keeps state by event: each write starts its own attempts.
 *
 * The laws: `combine` is associative; `identity` combined with a strategy is that strategy; a combination waits for the
 * longer of two delays and gives up when either does.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { type Pipeable, Prototype } from "effect/Pipeable"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"

/**
 * Decides about the attempts of each write. `E` is what it can judge, `X` how it gives up: `never` for one that never
 * does.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryStrategy<in E, out X = never> extends Pipeable {
  /** Begins the attempts of one write. */
  readonly start: (event: unknown) => RetryAttempts<E, X>
  /** The state of the breaker in it, for health checks. */
  readonly breaker?: (() => "closed" | "open" | "half-open") | undefined
}

/**
 * The attempts of one write. After each attempt exactly one of `failure`, `success` and `abandon` is run. The members
 * are read anew whenever they are needed.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryAttempts<in E, out X = never> {
  /** Completes when an attempt may begin. `Effect.void` itself when there is nothing to wait for. */
  readonly proceed: Effect.Effect<void>
  /** The attempt failed. Succeeds when there will be another, fails to give up. Delays count from here. */
  readonly failure: (error: E) => Effect.Effect<void, X>
  /** The receiver answered. */
  readonly success: Effect.Effect<void>
  /** The attempt ended without a verdict: it was interrupted, it died, or the sink was closed. May be run twice. */
  readonly abandon: Effect.Effect<void>
}

/**
 * Makes a strategy of one's own from what begins the attempts of a write.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, X = never>(
  start: (event: unknown) => RetryAttempts<E, X>,
  breaker?: RetryStrategy<E, X>["breaker"]
): RetryStrategy<E, X> => ({ ...Prototype, start, breaker })

/**
 * Tries again at once and for ever: the identity of `combine`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const identity: RetryStrategy<unknown> = make(() => ({
  proceed: Effect.void,
  failure: () => Effect.void,
  success: Effect.void,
  abandon: Effect.void
}))

/**
 * Follows both strategies: an attempt begins when both let it, and the write is given up when either gives up. Delays
 * count from the failure, so it waits for the longer of the two.
 *
 * **Gotchas**
 *
 * The second is asked once the first is ready. Put a `Breaker` second, so that a probe does not wait for a backoff while
 * it holds the one place.
 *
 * **Example** (Backoff under a breaker)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Breaker, ExponentialBackoff, RetryStrategy } from "effect-events"
 *
 * const strategy = Effect.map(Breaker.make({ threshold: 5, backoff: "10 seconds" }), (breaker) =>
 *   ExponentialBackoff.make().pipe(RetryStrategy.combine(breaker))
 * )
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const combine =
  <E2, X2>(that: RetryStrategy<E2, X2>) =>
  <E, X>(self: RetryStrategy<E, X>): RetryStrategy<E & E2, X | X2> =>
    make((event) => {
      const a = self.start(event)
      const b = that.start(event)
      // One may have closed again while the other was waited for.
      const proceed: Effect.Effect<void> = Effect.suspend(() =>
        Effect.andThen(
          a.proceed,
          Effect.suspend(() => (b.proceed === Effect.void ? Effect.void : Effect.andThen(b.proceed, again)))
        )
      )
      const again = Effect.suspend(() => (a.proceed === Effect.void ? Effect.void : proceed))
      return {
        get proceed() {
          return a.proceed === Effect.void && b.proceed === Effect.void ? Effect.void : proceed
        },
        // Both hear of the failure, also when the first gives up.
        failure: (error) =>
          Effect.flatMap(Effect.exit(a.failure(error)), (first) => Effect.andThen(b.failure(error), first)),
        get success() {
          return a.success === Effect.void ? b.success : Effect.andThen(a.success, b.success)
        },
        get abandon() {
          return a.abandon === Effect.void ? b.abandon : Effect.andThen(a.abandon, b.abandon)
        }
      }
    }, self.breaker ?? that.breaker)

/**
 * A strategy that is built of delays alone: `next` answers how long to wait after a failure.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDelays = <E, X>(
  start: () => (error: E, now: number) => Effect.Effect<Duration.Duration, X>
): RetryStrategy<E, X> => make(() => new Delays(start()))

class Delays<E, X> implements RetryAttempts<E, X> {
  private readonly next: (error: E, now: number) => Effect.Effect<Duration.Duration, X>
  readonly success = Effect.void
  readonly abandon = Effect.void
  proceed: Effect.Effect<void> = Effect.void

  constructor(next: (error: E, now: number) => Effect.Effect<Duration.Duration, X>) {
    this.next = next
  }

  failure(error: E): Effect.Effect<void, X> {
    return Clock.clockWith((clock) => {
      const now = clock.currentTimeMillisUnsafe()
      return Effect.map(this.next(error, now), (delay) => {
        const due = now + Duration.toMillis(delay)
        const wait: Effect.Effect<void> = Effect.suspend(() => {
          const rest = due - clock.currentTimeMillisUnsafe()
          // Whole milliseconds: a fraction may be less than the clock can move.
          if (rest > 0) return Effect.andThen(Effect.sleep(Math.ceil(rest)), wait)
          this.proceed = Effect.void
          return Effect.void
        })
        this.proceed = Duration.isZero(delay) ? Effect.void : wait
      })
    })
  }
}

/**
 * The schedule is at its end: the strategy gives the write up.
 *
 * @category errors
 * @since 0.1.0
 */
export class ScheduleEnded extends Data.TaggedError("ScheduleEnded")<{}> {}

/**
 * Follows a `Schedule`, each write from its beginning, and gives up when the schedule ends. The type of a schedule does
 * not tell whether it ends: for one that must not, there is `forever`.
 *
 * **Example** (Five more attempts, one second apart)
 *
 * ```ts
 * import { Schedule } from "effect"
 * import { RetryStrategy } from "effect-events"
 *
 * const strategy = RetryStrategy.fromSchedule(Schedule.spaced("1 second").pipe(Schedule.upTo({ times: 5 })))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromSchedule = <Output, E>(schedule: Schedule.Schedule<Output, E>): RetryStrategy<E, ScheduleEnded> =>
  fromDelays(() => {
    let step: Step<Output, E> | undefined
    return (error, now) =>
      Effect.flatMap(step === undefined ? Schedule.toStep(schedule) : Effect.succeed(step), (current) => {
        step = current
        return delayOf(current, error, now, () => Effect.fail(new ScheduleEnded()))
      })
  })

/**
 * Follows a `Schedule`, and starts it again when it ends: never gives up.
 *
 * **Gotchas**
 *
 * A schedule that ends at once is no delay at all: such a write is tried again immediately and for ever.
 *
 * @category constructors
 * @since 0.1.0
 */
export const forever = <Output, E>(schedule: Schedule.Schedule<Output, E>): RetryStrategy<E> =>
  fromDelays(() => {
    let step: Step<Output, E> | undefined
    const restart = (error: E, now: number): Effect.Effect<Duration.Duration> =>
      Effect.flatMap(Schedule.toStep(schedule), (fresh) => {
        step = fresh
        return delayOf(fresh, error, now, () => Effect.succeed(Duration.zero))
      })
    return (error, now) =>
      step === undefined ? restart(error, now) : delayOf(step, error, now, () => restart(error, now))
  })

type Step<Output, E> = (now: number, error: E) => Pull.Pull<[Output, Duration.Duration], never, Output>

const delayOf = <Output, E, X>(
  step: Step<Output, E>,
  error: E,
  now: number,
  onEnd: () => Effect.Effect<Duration.Duration, X>
): Effect.Effect<Duration.Duration, X> =>
  Pull.matchEffect(step(now, error), {
    onSuccess: ([, delay]) => Effect.succeed(delay),
    onFailure: (cause) => Effect.failCause(cause),
    onDone: onEnd
  })
