import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Headers from "effect/http/Headers"
import * as Result from "effect/Result"

/**
 * How long a `retry-after` asks to wait, up to `max` (RFC 9110, section 10.2.3): seconds, or a date in any of the three
 * forms of section 5.6.7. A time that is over is zero.
 *
 * Receivers also send fractions of seconds (rounded up), a unit (`120s`), a zone other than GMT, ISO dates, and several lines,
 * of which the longest wait counts. Any other text is nothing, and so is one of more than 500 characters.
 */
export const retryAfterOf = (
  value: string | undefined,
  max: Duration.Duration
): Effect.Effect<Duration.Duration | undefined> =>
  value === undefined || value.length > maxLength
    ? Effect.undefined
    : Effect.map(Clock.currentTimeMillis, (now) => {
        const waits = linesOf(value).flatMap((line) => millisOf(line, now) ?? [])
        return waits.length === 0 ? undefined : Duration.min(Duration.millis(Math.max(0, ...waits)), max)
      })

// internals

/** An answer has room for 16,000 lines that are nothing: to read them would take the process a second. */
const maxLength = 500

/** Several header lines come joined by commas, and two of the forms of a date have one after the day of the week. */
const linesOf = (value: string): ReadonlyArray<string> =>
  value.split(/(?<!\b[A-Z][a-z]{2,8}),/).map((line) => line.trim())

const millisOf = (line: string, now: number): number | undefined => {
  const seconds = /^(-?\d+(?:\.\d+)?) ?(?:s|sec|secs|second|seconds)?$/i.exec(line)
  if (seconds !== null) return Math.ceil(Number(seconds[1])) * 1000
  const parsed = Headers.parseRetryAfter(line.replace(/ (?:UTC?|Z|[+-]0000)$/, " GMT"))
  if (Result.isSuccess(parsed)) return Duration.toMillis(Headers.retryAfterDelay(parsed.success, now))
  if (!isoDate.test(line) && !zonedDate.test(line)) return undefined
  const date = Date.parse(line)
  return Number.isNaN(date) ? undefined : date - now
}

/** RFC 3339, section 5.6. */
const isoDate = /^\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)$/i
/** RFC 5322, section 3.3. */
const zonedDate = /^(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}$/
