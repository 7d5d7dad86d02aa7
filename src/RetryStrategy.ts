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
import { hasProperty } from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Schedule from "effect/Schedule"
import { answerOf } from "./internal/answerOf.ts"
import { monotonicMillis } from "./internal/monotonic.ts"

/**
 * Decides about the attempts of each write. `E` is what it can judge, `X` how it gives up after a failure, and `P` how it
 * refuses an attempt: `never` for one that never does.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryStrategy<in E, out X = never, out P = never> extends Pipeable {
  /** Begins the attempts of one write: when it begins, or when its first attempt fails, with the answer of `idle` then. */
  readonly start: (event: unknown, idle?: unknown) => RetryAttempts<E, X, P>
  /**
   * Answers something where an attempt may begin now and its success would change nothing: the write then starts its
   * attempts when it fails. Without it every write starts them when it begins.
   */
  readonly idle?: (() => unknown) | undefined
  /** The state of the breaker in it, for health checks. */
  readonly breaker?: (() => "closed" | "open" | "half-open") | undefined
}

/**
 * The attempts of one write. Before each attempt `proceed` is called, and after it `failure` or `success` where there was
 * an answer. What they answer is run; `undefined` means that there is nothing to run.
 *
 * **Details**
 *
 * The close of the sink interrupts whatever of them it would have to wait for. A defect of `proceed` or `failure` is a
 * defect of the write; one of `success` or `abandon` comes after the write and is logged.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryAttempts<in E, out X = never, out P = never> {
  /** Completes when an attempt may begin. What it fails with, the write fails with, and there is no attempt. */
  readonly proceed: () => Effect.Effect<void, P> | undefined
  /**
   * When an attempt may begin, in milliseconds of the clock's monotonic time, where that is known: a write with a deadline
   * before it is given up at once, in place of at its deadline.
   */
  readonly due?: (() => number | undefined) | undefined
  /** The attempt failed. Succeeds when there will be another, fails to give up. Delays count from here. */
  readonly failure: (error: E) => Effect.Effect<void, X>
  /** The receiver answered. */
  readonly success: () => Effect.Effect<void> | undefined
  /** The write has failed: its last attempt died, was given up, or ended without a verdict, by an interruption or the close. */
  readonly abandon: (hasDied: boolean) => Effect.Effect<void> | undefined
}

/**
 * Makes a strategy of one's own from what begins the attempts of a write.
 *
 * **Example** (At most three attempts, without a delay)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink, RetryingSink, RetryStrategy } from "effect-events"
 *
 * const thrice = RetryStrategy.make<unknown, "thrice">(
 *   () => {
 *     let failures = 0
 *     return {
 *       proceed: () => undefined,
 *       failure: () => (++failures < 3 ? Effect.void : Effect.fail("thrice")),
 *       success: () => undefined,
 *       abandon: () => undefined
 *     }
 *   },
 *   // the state is the write's own, so a write that succeeds needs none
 *   { idle: () => true }
 * )
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* EventSink.make((_: string) => Effect.fail("down")).pipe(RetryingSink.make(thrice))
 *   yield* sink.write("hello").pipe(Effect.catchTag("RetriesExhausted", ({ attempts }) => Console.log(attempts)))
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <E, X = never, P = never>(
  start: (event: unknown, idle?: unknown) => RetryAttempts<E, X, P>,
  options?: Pick<RetryStrategy<E, X, P>, "breaker" | "idle">
): RetryStrategy<E, X, P> => ({ ...Prototype, start, idle: options?.idle, breaker: options?.breaker })

/**
 * Whether a value is a strategy.
 *
 * @category guards
 * @since 0.1.0
 */
export const isRetryStrategy = (u: unknown): u is RetryStrategy<never, unknown, unknown> =>
  hasProperty(u, "start") && typeof u.start === "function"

const nothing = () => undefined

const always: RetryAttempts<unknown> = {
  proceed: nothing,
  failure: () => Effect.void,
  success: nothing,
  abandon: nothing
}

/**
 * Tries again at once and for ever: the identity of `combine`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const identity: RetryStrategy<unknown> = make(() => always, { idle: () => true })

/**
 * Follows both strategies: an attempt begins when both allow it, and the write is given up when either gives up. Delays
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
  <E2, X2, P2>(that: RetryStrategy<E2, X2, P2>) =>
  <E, X, P>(self: RetryStrategy<E, X, P>): RetryStrategy<E & E2, X | X2, P | P2> =>
    make(
      (event, idle) => {
        const [first, second] = Array.isArray(idle) ? idle : []
        const a = self.start(event, first)
        const b = that.start(event, second)
        /** Both have heard that the attempt failed: where one of them dies of it, the attempt has not died too. */
        let isJudged = false
        const proceed = (): Effect.Effect<void, P | P2> | undefined => {
          const wait: Effect.Effect<void, P | P2> | undefined = a.proceed() ?? b.proceed()
          // One may have closed again while the other was waited for.
          return wait && Effect.andThen(wait, (): Effect.Effect<void, P | P2> => proceed() ?? Effect.void)
        }
        return {
          proceed: () => {
            isJudged = false
            return proceed()
          },
          due: () => laterOf(a.due?.(), b.due?.()),
          failure: (error) => {
            isJudged = true
            return sideBySide(
              Effect.suspend(() => a.failure(error)),
              Effect.suspend(() => b.failure(error))
            )
          },
          success: () => both(a.success, b.success),
          abandon: (hasDied) =>
            both(
              () => a.abandon(hasDied && !isJudged),
              () => b.abandon(hasDied && !isJudged)
            )
        }
      },
      { breaker: self.breaker ?? that.breaker, idle: self.idle && that.idle && idleOf(self.idle, that.idle) }
    )

const laterOf = (a: number | undefined, b: number | undefined) =>
  a === undefined || b === undefined ? (a ?? b) : Math.max(a, b)

const idleOf = (a: () => unknown, b: () => unknown) => () => {
  const first = a()
  const second = first === undefined ? undefined : b()
  return second === undefined ? undefined : [first, second]
}

/** Runs both to their ends, and ends as the first or, where that succeeds, as the second. */
const sideBySide = <E, E2>(a: Effect.Effect<void, E>, b: Effect.Effect<void, E2>): Effect.Effect<void, E | E2> =>
  // Each has a fiber of its own: a breaker must hear of an attempt also where the other strategy dies, or never answers.
  Effect.flatMap(Effect.all([Effect.exit(a), Effect.exit(b)], { concurrency: "unbounded" }), ([first, second]) =>
    Effect.andThen(first, second)
  )

const both = (a: () => Effect.Effect<void> | undefined, b: () => Effect.Effect<void> | undefined) => {
  const first = answerOf(a)
  const second = answerOf(b)
  return first === undefined || second === undefined ? (first ?? second) : sideBySide(first, second)
}

/**
 * A strategy that is built of delays alone: `next` answers how long to wait after a failure.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDelays = <E, X>(
  start: () => (error: E, now: number) => Effect.Effect<Duration.Duration, X>
): RetryStrategy<E, X> =>
  make(
    () => {
      let next: ((error: E, now: number) => Effect.Effect<Duration.Duration, X>) | undefined
      let wait: Effect.Effect<void> | undefined
      let waitsUntil: number | undefined
      return {
        proceed: () => wait,
        due: () => waitsUntil,
        success: nothing,
        abandon: nothing,
        failure: (error) =>
          Clock.clockWith((clock) => {
            const now = clock.currentTimeMillisUnsafe()
            const begun = monotonicMillis(clock)
            next ??= start()
            return Effect.map(next(error, now), (delay) => {
              const due = begun + Duration.toMillis(delay)
              const rest: Effect.Effect<void> = Effect.suspend(() => {
                const left = due - monotonicMillis(clock)
                // Whole milliseconds: a fraction may be less than the clock can move.
                if (left > 0) return Effect.andThen(Effect.sleep(Math.ceil(left)), rest)
                wait = undefined
                waitsUntil = undefined
                return Effect.void
              })
              waitsUntil = Duration.isZero(delay) ? undefined : due
              wait = Duration.isZero(delay) ? undefined : rest
            })
          })
      }
    },
    { idle: () => true }
  )

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
  follow(
    schedule,
    Effect.suspend(() => Effect.fail(new ScheduleEnded()))
  )

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
export const forever = <Output, E>(schedule: Schedule.Schedule<Output, E>): RetryStrategy<E> => follow(schedule)

/** Where there is no `ended`, a schedule that ends begins again, once for a failure. */
const follow = <Output, E, X = never>(
  schedule: Schedule.Schedule<Output, E>,
  ended?: Effect.Effect<never, X>
): RetryStrategy<E, X> =>
  fromDelays(() => {
    let step: Effect.Success<ReturnType<typeof Schedule.toStep<Output, E, never, never>>> | undefined
    const next = (error: E, now: number): Effect.Effect<Duration.Duration, X> => {
      const isFirst = step === undefined
      return Effect.flatMap(step === undefined ? Schedule.toStep(schedule) : Effect.succeed(step), (current) => {
        step = current
        return Pull.matchEffect(current(now, error), {
          onSuccess: ([, delay]) => Effect.succeed(delay),
          onFailure: (cause) => Effect.failCause(cause),
          onDone: () => {
            if (ended !== undefined) return ended
            step = undefined
            return isFirst ? Effect.succeed(Duration.zero) : next(error, now)
          }
        })
      })
    }
    return next
  })
