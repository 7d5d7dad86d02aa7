/** What a law is, and what the scenarios of several laws share. */
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import type { Scenario } from "./run.ts"
import type { Subject } from "./subject.ts"
import type { World, Write } from "./world.ts"

/**
 * A law, and which parts it concerns.
 *
 * @category models
 * @since 0.1.0
 */
export interface Law {
  /** Its number in the list of laws; conservation, which stands above them, is 0. */
  readonly number: number
  readonly title: string
  readonly concerns: (subject: Subject) => boolean
  /**
   * The scenarios, by what happens in them.
   *
   * @internal
   */
  readonly scenarios: (subject: Subject) => ReadonlyArray<Tale>
}

/** A scenario with its title, how often it is played with other random numbers, and the virtual minutes it has. */
export interface Tale {
  readonly title: string
  readonly play: Scenario
  readonly times?: number | undefined
  readonly minutes?: number | undefined
}

/** How a value looks in evidence. */
export const show = (value: unknown): string => (typeof value === "symbol" ? String(value) : Formatter.format(value))

/** The numbers from `from` to `to`. */
export const range = (from: number, to: number): ReadonlyArray<number> =>
  Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** Whether two sequences hold the same values in the same order. */
export const same = (a: ReadonlyArray<unknown>, b: ReadonlyArray<unknown>): boolean =>
  a.length === b.length && a.every((value, i) => Object.is(value, b[i]))

/** Whether two sequences hold the same values, in the same order where the part keeps one. */
export const sameInOrder = (subject: Subject, a: ReadonlyArray<unknown>, b: ReadonlyArray<unknown>): boolean =>
  a.length === b.length &&
  a.every((one) => {
    const together = (other: unknown) => subject.together(one, other)
    return same(a.filter(together), b.filter(together))
  })

/** Writes one after the other, whatever becomes of each. */
export const writeEach = (world: World, labels: ReadonlyArray<unknown>): Effect.Effect<ReadonlyArray<Write>> =>
  Effect.forEach(labels, (label) =>
    Effect.tap(
      Effect.sync(() => world.write(label)),
      () => world.rest
    )
  )

/** Every accepted event must be delivered, reported, returned, or on the books and in the log. */
export const expectNothingLost = (world: World, when: string): void => {
  const { missing } = world
  world.expect(
    missing.length === 0 || world.admits(missing.length),
    () => `${when}: ${show(missing)} were accepted and neither delivered nor reported nor logged nor kept`
  )
}
