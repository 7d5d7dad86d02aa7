/** The values that the scenarios of stores are made of, and how they are compared and shown. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Result from "effect/Result"
import type { DeadLettered } from "../../../durable/EventStore.ts"
import { decodeExactly, encode } from "../../../internal/encoding/utf8.ts"
import { ensure } from "./evidence.ts"

interface Payload {
  readonly payload: Uint8Array
}

/** Expects two values to have the same JSON. */
export const expectSame = (found: unknown, expected: unknown, what: string): void => {
  const isSame = JSON.stringify(found) === JSON.stringify(expected)
  ensure(isSame, `${what}: ${show(found)} instead of ${show(expected)}`)
}

/** How a value looks in evidence, cut where it is long. */
export const show = (value: unknown): string => {
  const all = JSON.stringify(value) ?? String(value)
  return all.length > 400 ? `${all.slice(0, 400)}...` : all
}

/** The payload of an event as text. */
export const text = ({ payload }: Payload): string =>
  Result.getOrElse(decodeExactly(payload), (why) => `bytes that are ${why}`)

/** Payloads that differ by their text. */
export const payloads = (texts: NonEmptyReadonlyArray<string>) => nonEmpty(texts.map((text) => encode(text)))

/** The texts `prefix-from` to `prefix-to`. */
export const names = (prefix: string, from: number, to: number): NonEmptyReadonlyArray<string> =>
  nonEmpty(Array.from({ length: to - from + 1 }, (_, i) => `${prefix}-${from + i}`))

export const keysOf = (events: ReadonlyArray<{ readonly key: number }>) => nonEmpty(events.map(({ key }) => key))

/** A list that must not be empty. */
export const nonEmpty = <A>(list: ReadonlyArray<A>): NonEmptyReadonlyArray<A> => {
  const [first, ...others] = list
  // An element may be any value, but none of the suite's is undefined.
  ensure(first !== undefined, "there is nothing where there should be events")
  return [first, ...others]
}

/** A key that no event has. */
export const foreign = 1_000_000_000
export const infinite = Number.POSITIVE_INFINITY
export const everything = { rows: infinite, bytes: infinite }
export const hour = Duration.hours(1)

const reason = "Failed"
/** What is reported of an event that failed. */
export const failed = (key: number, attempts = 1, cause = "no"): DeadLettered => ({ key, reason, cause, attempts })

/** Expects events to hold these texts, in this order. */
export const expectTexts = (events: ReadonlyArray<Payload>, expected: ReadonlyArray<string>, when: string): void =>
  expectSame(events.map(text), expected, when)
