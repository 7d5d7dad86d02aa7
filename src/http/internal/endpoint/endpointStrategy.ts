/** What the requests of an endpoint wait for: an event's own delay, a receiver that asked for time, and the breaker. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Breaker from "../../../Breaker.ts"
import * as ExponentialBackoff from "../../../ExponentialBackoff.ts"
import { monotonicMillis, monotonicNow } from "../../../internal/monotonic.ts"
import * as RetryStrategy from "../../../RetryStrategy.ts"
import type { HttpSinkError } from "../../HttpSinkError.ts"

interface BreakerOptions {
  readonly threshold: number
  readonly backoff: Duration.Input
}

/** No write waits once `disabled` has ended. */
export const makeEndpointStrategy = (
  { delays, ...options }: BreakerOptions & { readonly delays: ExponentialBackoff.Options },
  disabled: Effect.Effect<void>
): Effect.Effect<RetryStrategy.RetryStrategy<HttpSinkError>> =>
  Effect.map(Breaker.make(options), (breaker) => {
    const strategy = ExponentialBackoff.make(delays).pipe(
      RetryStrategy.combine(atThreshold(options)),
      RetryStrategy.combine(askedFor()),
      // Last, so that its probe waits for nothing else.
      RetryStrategy.combine(breaker)
    )
    return RetryStrategy.make(
      (event, idle) => {
        const attempts = strategy.start(event, idle)
        const proceed = () => {
          const wait = attempts.proceed()
          return wait && Effect.raceFirst(wait, disabled)
        }
        return { ...attempts, proceed }
      },
      { breaker: strategy.breaker, idle: strategy.idle }
    )
  })

// internals

/**
 * Waits as long as the breaker would, from as many failures of one event on: where other events are accepted meanwhile, the
 * breaker never opens.
 */
const atThreshold = ({ backoff, threshold }: BreakerOptions) =>
  RetryStrategy.fromDelays(() => {
    let failures = 0
    return () => Effect.succeed(++failures < threshold ? Duration.zero : Duration.fromInputUnsafe(backoff))
  })

/** Holds all requests back for as long as any answer asked for: that is about the receiver and not about one event. */
const askedFor = () => {
  /** In monotonic milliseconds; 0 when no answer has asked for time. */
  let until = 0
  const wait = Clock.clockWith((clock) => {
    const rest = until - monotonicMillis(clock)
    if (rest > 0) return Effect.sleep(Math.ceil(rest))
    until = 0
    return Effect.void
  })
  return RetryStrategy.make<HttpSinkError>(
    () => ({
      proceed: () => (until === 0 ? undefined : wait),
      failure: ({ retryAfter }) =>
        retryAfter === undefined
          ? Effect.void
          : Effect.map(monotonicNow, (now) => {
              until = Math.max(until, now + Duration.toMillis(retryAfter))
            }),
      success: () => undefined,
      abandon: () => undefined
    }),
    { idle: () => (until === 0 ? true : undefined) }
  )
}
