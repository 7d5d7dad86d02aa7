import * as Duration from "effect/Duration"
import { count } from "../../../internal/options.ts"
import { toleranceOf, type Verification } from "./authenticate.ts"
import { Repeats } from "./repeats.ts"

/**
 * For how long, and for how many, ids are kept: a repeat is answered with 202 and not written again.
 *
 * @category options
 * @since 0.1.0
 */
export interface Deduplication {
  /**
   * How long an id is kept, from its commit on: 10 minutes by default, or twice the tolerance of `verify` if that is
   * longer. Over less than that, a signed request that is played again may be taken twice.
   */
  readonly window?: Duration.Input | undefined
  /** How many ids are kept, the latest: 100,000 by default, which are about 35 MB at most. */
  readonly maxIds?: number | undefined
}

export const deduplicateDefaults = { window: "10 minutes", maxIds: 100_000 } as const

export const makeRepeats = (
  { maxIds = deduplicateDefaults.maxIds, window }: Deduplication,
  verification: Verification | undefined
): Repeats => {
  const twice = Duration.times(verification === undefined ? Duration.zero : toleranceOf(verification), 2)
  const kept = window ?? Duration.max(Duration.fromInputUnsafe(deduplicateDefaults.window), twice)
  return new Repeats(
    Duration.toMillis(Duration.fromInputUnsafe(kept)),
    count("EventIngress", "deduplicate.maxIds", maxIds, 1)
  )
}
