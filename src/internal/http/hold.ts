/** What the requests of an endpoint wait for: its breaker, and a receiver that asked to be left alone. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Breaker, Options } from "../../Breaker.ts"
import type { HttpSinkError } from "../../http/HttpSinkError.ts"
import { make, type RetryAttempts, type RetryStrategy } from "../../RetryStrategy.ts"
import type { Switch } from "./switch.ts"

/** `retry-after` speaks of the receiver and not of one event, so all attempts share it. */
interface Hold {
  readonly threshold: number
  readonly backoff: Duration.Duration
  readonly off: Switch
  /** When it may be asked again, in milliseconds of the `Clock`; 0 when it has not asked for anything. */
  until: number
}

/**
 * Follows a breaker, and beyond that holds all requests back for as long as the receiver asked with any answer. Where
 * others are taken meanwhile no breaker opens, so an event also waits for itself: as many failures of its own and as long
 * as the breaker's. Nobody waits once the endpoint is disabled.
 */
export const holding = (breaker: Breaker, options: Options, off: Switch): RetryStrategy<HttpSinkError> => {
  const backoff = Duration.fromInputUnsafe(options.backoff)
  const hold: Hold = { threshold: options.threshold, backoff, off, until: 0 }
  return make((event) => new Attempts(hold, breaker.start(event)), breaker.breaker)
}

class Attempts implements RetryAttempts<HttpSinkError> {
  private readonly hold: Hold
  private readonly inner: RetryAttempts<unknown>
  private failures = 0
  /** When this write may be tried again, in milliseconds of the `Clock`. */
  private due = 0

  constructor(hold: Hold, inner: RetryAttempts<unknown>) {
    this.hold = hold
    this.inner = inner
  }

  get proceed(): Effect.Effect<void> {
    const { hold, inner } = this
    if (hold.until === 0 && this.due === 0 && inner.proceed === Effect.void) return Effect.void
    return Effect.raceFirst(this.wait(), hold.off.disabled)
  }

  /** Made when it is needed: most writes never wait. */
  private wait(): Effect.Effect<void> {
    return Clock.clockWith((clock) => {
      const { hold, inner } = this
      const rest = Math.max(hold.until, this.due) - clock.currentTimeMillisUnsafe()
      if (rest > 0)
        return Effect.andThen(
          Effect.sleep(Math.ceil(rest)),
          Effect.suspend(() => this.wait())
        )
      hold.until = this.due = 0
      // It may have asked for more while the breaker was waited for.
      if (inner.proceed === Effect.void) return Effect.void
      return Effect.andThen(
        inner.proceed,
        Effect.suspend(() => this.wait())
      )
    })
  }

  failure(error: HttpSinkError): Effect.Effect<void> {
    return Clock.clockWith((clock) => {
      const { hold, inner } = this
      const now = clock.currentTimeMillisUnsafe()
      const asked = error.retryAfter
      if (asked !== undefined) hold.until = Math.max(hold.until, now + Duration.toMillis(asked))
      if (++this.failures >= hold.threshold) this.due = now + Duration.toMillis(hold.backoff)
      return inner.failure(error)
    })
  }

  get success(): Effect.Effect<void> {
    return this.inner.success
  }

  get abandon(): Effect.Effect<void> {
    return this.inner.abandon
  }
}
