/**
 * When an event that could not be delivered is delivered again: the plan of a durable queue or a subscription. How many
 * attempts have failed, and when the next one is, is in the store, so that a restart neither forgets nor repeats attempts.
 *
 * An event that a plan gives up is among the dead letters. A plan never loses one.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import { hasProperty } from "effect/Predicate"
import * as Pull from "effect/Pull"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"

const TypeId = "~effect-events/durable/Redelivery"

/**
 * A plan. It keeps no state: the same plan may serve any number of subscriptions.
 *
 * @category models
 * @since 0.1.0
 */
export interface Redelivery {
  readonly [TypeId]: typeof TypeId
  /** When the next attempt is, after one that failed; or why there is none. */
  readonly next: (failed: Failed) => Effect.Effect<Next>
}

/**
 * What is known of an event whose attempt failed.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failed {
  /** How many attempts have failed, this one included: from 1. */
  readonly attempts: number
  /** How long ago the first of them failed. */
  readonly age: Duration.Duration
  /** What the sink failed with, or died of. */
  readonly error: unknown
  /** How long the receiver asks for no requests: the error's `retryAfter`, if it has one. */
  readonly retryAfter?: Duration.Duration | undefined
}

/**
 * The judgement of a plan. `Permanent`: no attempt would succeed. `Exhausted`: there were as many attempts as the plan has.
 * `Expired`: the event is older than the plan allows.
 *
 * @category models
 * @since 0.1.0
 */
export type Next =
  | { readonly _tag: "Again"; readonly delay: Duration.Duration }
  | { readonly _tag: "Permanent" }
  | { readonly _tag: "Exhausted" }
  | { readonly _tag: "Expired" }

/**
 * Options of a plan of redelivery.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** How many attempts there are at most, the first included: a whole number from 1, and as many as the schedule has by default. */
  readonly maxAttempts?: number | undefined
  /** For how long after its first failed attempt an event is tried again. The last attempt is at that time. */
  readonly maxAge?: Duration.Input | undefined
  /**
   * The share of each delay that is random, from 0 to 1: with 0.2 an attempt is up to a fifth of its delay early. By default 1,
   * which spreads the attempts of all processes over the whole delay (full jitter).
   */
  readonly jitter?: number | undefined
  /**
   * Which errors are worth another attempt: all by default, but for those with a `permanent` that is `true`, as those of an
   * `HttpSink` that its classification calls so.
   */
  readonly while?: ((error: unknown) => boolean) | undefined
  /** The longest time that a receiver may ask for, by `Retry-After`: 1 hour by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
}

/**
 * Makes a plan of a schedule: the delays between attempts, each counted from the failure before.
 *
 * **Details**
 *
 * The schedule is stepped anew for each failure, by the number of attempts, in the time that its own delays add up to: what it
 * makes of the clock and of its input, which is the last error, is the same after a restart. When it ends, the event has
 * exhausted the plan. Its random delays are drawn again each time, so leave them to `jitter`.
 *
 * **Example** (Ten attempts, a minute apart at most)
 *
 * ```ts
 * import { Duration, Effect, Schedule } from "effect"
 * import { Redelivery } from "effect-events/durable"
 *
 * const growing = Schedule.min([Schedule.exponential("1 second"), Schedule.spaced("1 minute")])
 * const plan = Redelivery.make(growing, { maxAttempts: 10, jitter: 0 })
 *
 * Effect.runPromise(plan.next({ attempts: 8, age: Duration.minutes(3), error: "unavailable" })).then((next) =>
 *   console.log(next._tag === "Again" && Duration.format(next.delay))
 * )
 * // prints: 1m
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (schedule: Schedule.Schedule<unknown, unknown>, options: Options = {}): Redelivery => {
  const { jitter = 1, maxAttempts = Number.POSITIVE_INFINITY, while: isWorth = constTrue } = options
  if (!(maxAttempts >= 1))
    throw new RangeError(`Redelivery.make: maxAttempts must be at least 1, and is ${maxAttempts}`)
  if (!(jitter >= 0 && jitter <= 1))
    throw new RangeError(`Redelivery.make: jitter must be from 0 to 1, and is ${jitter}`)
  const maxAge = Duration.fromInputUnsafe(options.maxAge ?? Duration.infinity)
  const maxRetryAfter = Duration.fromInputUnsafe(options.maxRetryAfter ?? "1 hour")
  const next = Effect.fnUntraced(function* ({ age, attempts, error, retryAfter = Duration.zero }: Failed) {
    if (isPermanent(error) || !isWorth(error)) return permanent
    if (attempts >= maxAttempts) return exhausted
    if (Duration.isGreaterThanOrEqualTo(age, maxAge)) return expired
    const planned = yield* delayAfter(schedule, attempts, error)
    if (planned === undefined) return exhausted
    const jittered = Duration.toMillis(planned) * (1 - jitter * (yield* Random.next))
    const due = Math.max(jittered, Duration.toMillis(Duration.min(retryAfter, maxRetryAfter)))
    return { _tag: "Again", delay: Duration.min(Duration.millis(due), Duration.subtract(maxAge, age)) } as const
  })
  return { [TypeId]: TypeId, next }
}

/**
 * Makes a plan of the delays before each attempt but the first. After the last of them the event has exhausted the plan.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromDelays = (delays: NonEmptyReadonlyArray<Duration.Input>, options: Options = {}): Redelivery =>
  make(
    Schedule.fromStep(
      Effect.sync(() => {
        const left = delays.map((delay) => Duration.fromInputUnsafe(delay))
        return () => {
          const delay = left.shift()
          return delay === undefined ? Cause.done(undefined) : Effect.succeed([undefined, delay])
        }
      })
    ),
    options
  )

/**
 * The default: attempts after 1, 2, 4 seconds and so on, a minute apart at most, for a day, with full jitter. For receivers of
 * one's own, which are back soon or are looked after.
 *
 * @category presets
 * @since 0.1.0
 */
export const sinks: Redelivery = make(
  Schedule.exponential("1 second").pipe((growing) => Schedule.min([growing, Schedule.spaced("1 minute")])),
  { maxAge: "1 day" }
)

/**
 * For receivers of others: ten attempts within three days and a half, after 5 seconds, 5 and 30 minutes, 2, 5, 10, 14, 20 and 24
 * hours, each up to a fifth of its delay early.
 *
 * @category presets
 * @since 0.1.0
 */
export const webhooks: Redelivery = fromDelays(
  ["5 seconds", "5 minutes", "30 minutes", "2 hours", "5 hours", "10 hours", "14 hours", "20 hours", "24 hours"],
  { jitter: 0.2 }
)

/**
 * One attempt, and then the dead letters: for sinks that try again themselves, such as a `RetryingSink`.
 *
 * @category presets
 * @since 0.1.0
 */
export const none: Redelivery = { [TypeId]: TypeId, next: () => Effect.succeed({ _tag: "Permanent" }) }

// internals

const permanent = { _tag: "Permanent" } as const
const exhausted = { _tag: "Exhausted" } as const
const expired = { _tag: "Expired" } as const

const isPermanent = (error: unknown): boolean => hasProperty(error, "permanent") && error.permanent === true

/** The delay of a schedule after so many failures; nothing where it has ended by then. */
const delayAfter = (
  schedule: Schedule.Schedule<unknown, unknown>,
  attempts: number,
  error: unknown
): Effect.Effect<Duration.Duration | undefined> =>
  Effect.gen(function* () {
    const step = yield* Schedule.toStep(schedule)
    let delay = Duration.zero
    for (let attempt = 0, now = 0; attempt < attempts; attempt++) {
      delay = (yield* step(now, error))[1]
      now += Duration.toMillis(delay)
    }
    return delay
  }).pipe(Pull.catchDone(() => Effect.succeed(undefined)))
