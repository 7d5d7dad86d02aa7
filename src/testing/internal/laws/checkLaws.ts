/** Checks the laws that concern a subject: what the suites of sinks and of stores share. */
import * as Effect from "effect/Effect"

/**
 * A law that a sink or a store breaks.
 *
 * @category models
 * @since 0.1.0
 */
export interface Violation {
  /** The number of the law. */
  readonly law: number
  readonly title: string
  /** What was seen: the scenario, its seed where it is random, and what went wrong in it. */
  readonly what: string
}

/**
 * @category options
 * @since 0.1.0
 */
export interface CheckOptions {
  /** The numbers of the laws to check: all that concern the subject by default. */
  readonly laws?: ReadonlyArray<number> | undefined
  /** What the random scenarios begin from: the same by default, so that every run is the same. */
  readonly seed?: string | undefined
}

/** Answers what `judge` finds for each of the laws. */
export const checkLaws = <
  S,
  L extends { readonly number: number; readonly title: string; readonly concerns: (subject: S) => boolean }
>(
  laws: ReadonlyArray<L>,
  judge: (subject: S, law: L, seed: string) => Effect.Effect<ReadonlyArray<string>>,
  subject: S,
  { laws: numbers, seed = "effect-events" }: CheckOptions
): Effect.Effect<ReadonlyArray<Violation>> =>
  Effect.map(
    Effect.forEach(
      laws.filter((law) => (numbers?.includes(law.number) ?? true) && law.concerns(subject)),
      (law) =>
        Effect.map(judge(subject, law, seed), (found) =>
          found.map((what): Violation => ({ law: law.number, title: law.title, what }))
        )
    ),
    (violations) => violations.flat()
  )
