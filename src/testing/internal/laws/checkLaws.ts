/** Laws, and the check of a subject against them: what the suites of sinks and of stores share. */
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
 * Options of a check of laws.
 *
 * @category options
 * @since 0.1.0
 */
export interface CheckOptions {
  /** The numbers of the laws to check: all that concern the subject by default. A number that no law has is a defect. */
  readonly laws?: ReadonlyArray<number> | undefined
  /** What the random scenarios begin from: the same by default, so that every run is the same. */
  readonly seed?: string | undefined
}

/** A law, as a row: which subjects it concerns, and its scenarios, by what happens in them. */
export interface LawOf<in Subject, out Scenario> {
  /** Its number in the list of laws; conservation, which stands above them, is 0. */
  readonly number: number
  readonly title: string
  readonly concerns: (subject: Subject) => boolean
  /** @internal */
  readonly scenarios: Readonly<Record<string, Scenario>>
}

/** The steps of a scenario, as a generator. A step that fails breaks it off. */
export type Steps<R = never> = Generator<Effect.Effect<unknown, unknown, R>, void, never>

/** Plays the scenarios of the laws that concern a subject; `judge` answers what is wrong with one of them. */
export const checkLaws = <Subject, Scenario>(
  laws: ReadonlyArray<LawOf<Subject, Scenario>>,
  judge: (subject: Subject, scenario: Scenario, seed: string) => Effect.Effect<string | undefined>,
  subject: Subject,
  { laws: numbers, seed = "effect-events" }: CheckOptions
): Effect.Effect<ReadonlyArray<Violation>> =>
  Effect.gen(function* () {
    const violations: Array<Violation> = []
    const known = laws.map(({ number }) => number)
    const unknown = numbers?.find((number) => !known.includes(number))
    if (unknown !== undefined) {
      return yield* Effect.die(
        new RangeError(`there is no law ${unknown}: the laws are ${known[0]} to ${known.at(-1)}`)
      )
    }
    for (const { concerns, number, scenarios, title } of laws) {
      if (numbers?.includes(number) === false || !concerns(subject)) continue
      for (const [name, scenario] of Object.entries(scenarios)) {
        const wrong = yield* judge(subject, scenario, seed)
        if (wrong !== undefined) violations.push({ law: number, title, what: `${name}${wrong}` })
      }
    }
    return violations
  })
