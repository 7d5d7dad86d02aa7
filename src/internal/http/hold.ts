/** What the requests of an endpoint wait for: its breaker, and a receiver that asked to be left alone. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Breaker } from "../../Breaker.ts"
import { HttpSinkError } from "../../http/HttpSinkError.ts"
import { make, type RetryAttempts, type RetryStrategy } from "../../RetryStrategy.ts"
import type { Judged, Switch } from "./switch.ts"

/** `retry-after` speaks of the receiver and not of one event, so all attempts share it. */
interface Hold {
  readonly off: Switch<never>
  /** When it may be asked again, in milliseconds of the `Clock`; 0 when it has not asked for anything. */
  until: number
}

/**
 * Follows a breaker, and beyond that holds all requests back for as long as the receiver asked with any answer.
 * Nobody waits once the endpoint is disabled.
 */
export const holding = (breaker: Breaker, off: Switch<never>): RetryStrategy<Judged> => {
  const hold: Hold = { off, until: 0 }
  return make((event) => new Attempts(hold, breaker.start(event)), breaker.breaker)
}

class Attempts implements RetryAttempts<Judged> {
  private readonly hold: Hold
  private readonly inner: RetryAttempts<unknown>

  constructor(hold: Hold, inner: RetryAttempts<unknown>) {
    this.hold = hold
    this.inner = inner
  }

  get proceed(): Effect.Effect<void> {
    const { hold, inner } = this
    if (hold.until === 0 && inner.proceed === Effect.void) return Effect.void
    return Effect.raceFirst(this.wait, hold.off.disabled)
  }

  private readonly wait: Effect.Effect<void> = Clock.clockWith((clock) => {
    const { hold, inner } = this
    const rest = hold.until - clock.currentTimeMillisUnsafe()
    if (rest > 0) return Effect.andThen(Effect.sleep(Math.ceil(rest)), this.wait)
    hold.until = 0
    // It may have asked for more while the breaker was waited for.
    return inner.proceed === Effect.void ? Effect.void : Effect.andThen(inner.proceed, this.wait)
  })

  failure(error: Judged): Effect.Effect<void> {
    const { hold, inner } = this
    const asked = error instanceof HttpSinkError ? error.retryAfter : undefined
    if (asked === undefined) return inner.failure(error)
    return Clock.clockWith((clock) => {
      const until = clock.currentTimeMillisUnsafe() + Duration.toMillis(asked)
      hold.until = Math.max(hold.until, until)
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
