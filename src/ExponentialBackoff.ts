/**
 * Exponential backoff as a retry strategy: go-events' `ExponentialBackoff`. After n failures in a row of a write its
 * next attempt waits for a random time up to `base + factor * 2^(n - 1)`, and never more than `max`. It never gives up.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { fromDelays, type RetryStrategy } from "./RetryStrategy.ts"

/**
 * Options of an exponential backoff.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Part of every bound: 1 second by default. */
  readonly base?: Duration.Input | undefined
  /** What doubles with each failure: 1 second by default. */
  readonly factor?: Duration.Input | undefined
  /** The largest bound: 20 seconds by default. */
  readonly max?: Duration.Input | undefined
}

/**
 * Makes the strategy: a value, since each write counts its own failures.
 *
 * **Details**
 *
 * The delay is uniform between zero and the bound (full jitter), by Effect's `Random`, so a seeded test repeats it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options?: Options): RetryStrategy<unknown> =>
  fromDelays(() => {
    let failures = 0
    return () => {
      const bound = Duration.toMillis(maxDelay(++failures, options))
      return Effect.map(Random.next, (random) => Duration.millis(random * bound))
    }
  })

/**
 * The longest delay after `failures` failures in a row. It never decreases with more failures and never exceeds `max`,
 * however many there are. (The original shifts a
 * 64-bit integer of nanoseconds: with its defaults the bound falls back to `Base` at 56 failures.)
 *
 * **Example** (The bounds of the defaults)
 *
 * ```ts
 * import { Duration } from "effect"
 * import { ExponentialBackoff } from "effect-events"
 *
 * console.log([1, 2, 3, 10_000].map((n) => Duration.toSeconds(ExponentialBackoff.maxDelay(n))).join())
 * // prints: 2,3,5,20
 * ```
 *
 * @category getters
 * @since 0.1.0
 */
export const maxDelay = (failures: number, options?: Options): Duration.Duration => {
  const millis = (input: Duration.Input | undefined, otherwise: number) =>
    input === undefined ? otherwise : Duration.toMillis(Duration.fromInputUnsafe(input))
  const factor = millis(options?.factor, 1000)
  // Doubling runs into Infinity and not around, but nothing times Infinity is not a number.
  const grown = factor === 0 ? 0 : factor * 2 ** (failures - 1)
  return Duration.millis(Math.min(millis(options?.max, 20_000), millis(options?.base, 1000) + grown))
}
