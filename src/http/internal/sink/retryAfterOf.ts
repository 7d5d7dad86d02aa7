import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as Result from "effect/Result"

/**
 * How long a `retry-after` asks to wait, up to `max` (RFC 9110, section 10.2.3): seconds, or a date in any of the three
 * forms of section 5.6.7. A time that is over is zero; any other text is nothing.
 */
export const retryAfterOf = (
  value: string | undefined,
  max: Duration.Duration
): Effect.Effect<Duration.Duration | undefined> => {
  if (value === undefined) return Effect.undefined
  // No valid form, but a plain meaning.
  if (/^\s*-\d+\s*$/.test(value)) return Effect.succeed(Duration.zero)
  const parsed = Headers.parseRetryAfter(value)
  if (Result.isFailure(parsed)) return Effect.undefined
  return Effect.map(Clock.currentTimeMillis, (now) => Duration.min(Headers.retryAfterDelay(parsed.success, now), max))
}
