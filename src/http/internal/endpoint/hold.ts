/** What the requests of an endpoint wait for: its breaker, and a receiver that asked to be left alone. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Breaker, Options } from "../../../Breaker.ts"
import type { HttpSinkError } from "../../HttpSinkError.ts"
import { make, type RetryStrategy } from "../../../RetryStrategy.ts"
import type { Switch } from "./switch.ts"

/**
 * Follows a breaker, and beyond that holds all requests back for as long as the receiver asked with any answer. Where
 * other events are taken meanwhile no breaker opens, so an event also waits for itself: as many failures of its own and as
 * long as the breaker's. No write waits once the endpoint is disabled.
 */
export const holding = (breaker: Breaker, options: Options, off: Switch): RetryStrategy<HttpSinkError> => {
  const backoff = Duration.toMillis(Duration.fromInputUnsafe(options.backoff))
  /**
   * When the receiver may be asked again, in milliseconds of the `Clock`; 0 when it has not asked for anything. What it
   * asks for speaks of the receiver and not of one event, so all attempts share it.
   */
  let until = 0
  return make(
    (event) => {
      const inner = breaker.start(event)
      let failures = 0
      /** When this write may be tried again, in milliseconds of the `Clock`. */
      let due = 0
      const wait: Effect.Effect<void> = Clock.clockWith((clock) => {
        const rest = Math.max(until, due) - clock.currentTimeMillisUnsafe()
        if (rest > 0) return Effect.andThen(Effect.sleep(Math.ceil(rest)), wait)
        until = due = 0
        // The receiver may ask for more while the breaker is waited for.
        const proceed = inner.proceed()
        return proceed === undefined ? Effect.void : Effect.andThen(proceed, wait)
      })
      return {
        success: inner.success,
        abandon: inner.abandon,
        proceed: () => {
          if (until === 0 && due === 0 && inner.proceed() === undefined) return undefined
          return Effect.raceFirst(wait, off.disabled)
        },
        failure: (error) =>
          Clock.clockWith((clock) => {
            const now = clock.currentTimeMillisUnsafe()
            const asked = error.retryAfter
            if (asked !== undefined) until = Math.max(until, now + Duration.toMillis(asked))
            if (++failures >= options.threshold) due = now + backoff
            return inner.failure(error)
          })
      }
    },
    { breaker: breaker.breaker }
  )
}
