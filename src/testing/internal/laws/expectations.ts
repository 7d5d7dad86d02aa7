/** What the scenarios of the laws of stores expect: they end with their evidence when something is wrong. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Evidence from "./evidence.ts"

/** Ends the scenario with its evidence, which may cost something to say, unless something holds. */
export function ensure(holds: boolean, what: () => string): asserts holds {
  if (!holds) Evidence.ensure(false, what())
}

/** Expects two values to have the same JSON, whatever the order of their fields. */
export const expectSame = (found: unknown, expected: unknown, what: string): void =>
  ensure(
    JSON.stringify(found, sorted) === JSON.stringify(expected, sorted),
    () => `${what}: ${show(found)} instead of ${show(expected)}`
  )

/** How a value looks in evidence, cut where it is long. */
export const show = (value: unknown): string => {
  const all = JSON.stringify(value) ?? String(value)
  return all.length > 400 ? `${all.slice(0, 400)}...` : all
}

/** The texts `prefix-from` to `prefix-to`. */
export const names = (prefix: string, from: number, to: number): NonEmptyReadonlyArray<string> =>
  nonEmpty(Array.from({ length: to - from + 1 }, (_, i) => `${prefix}-${from + i}`))

/** A list that must not be empty. */
export const nonEmpty = <A>(list: ReadonlyArray<A>): NonEmptyReadonlyArray<A> => {
  const [first, ...others] = list
  // An element may be any value, but none of the suite's is undefined.
  ensure(first !== undefined, () => "there is nothing where there should be events")
  return [first, ...others]
}

// internals

const sorted = (_: string, value: unknown): unknown =>
  typeof value !== "object" || value === null || Array.isArray(value)
    ? value
    : Object.fromEntries(Object.entries(value).toSorted(([one], [other]) => (one < other ? -1 : 1)))
