/** Rows of Postgres, what they mean for a store, and the parameters that a store gives to Postgres. */
import * as Duration from "effect/Duration"
import type { DeadLettered, DeadLetterReason, Size, Stored, StoredDeadLetter } from "../../EventStore.ts"

/** A number as clients give it: `bigint`s come as such, or as text. */
export type Numeric = number | bigint | string

export interface CountRow {
  readonly rows: Numeric
}

export interface RemovedRow extends CountRow {
  readonly held: boolean
  readonly bytes: Numeric
}

export interface SizeRow extends CountRow {
  readonly bytes: Numeric
  readonly first: Numeric | null
  readonly last: Numeric | null
  readonly dead_letters: Numeric
}

/** The lease alone when the queue is empty. */
export interface NextRow {
  readonly held: boolean
  readonly key: Numeric | null
  readonly payload: Uint8Array
  readonly attempts: Numeric
  readonly written_at: Numeric
}

export interface DeadLetterRow {
  readonly key: Numeric
  readonly reason: DeadLetterReason
  readonly cause: string
  readonly attempts: Numeric
  readonly payload: Uint8Array
  readonly written_at: Numeric
  readonly dead_lettered_at: Numeric
}

export interface AcquireRow {
  readonly epoch: Numeric | null
  readonly remaining: Numeric | null
}

export const storedOf = ({ attempts, key, payload, written_at }: NextRow): ReadonlyArray<Stored> =>
  key === null ? [] : [{ key: Number(key), payload, attempts: Number(attempts), writtenAt: Number(written_at) }]

export const deadLetterOf = ({
  attempts,
  cause,
  dead_lettered_at,
  key,
  payload,
  reason,
  written_at
}: DeadLetterRow): StoredDeadLetter => ({
  key: Number(key),
  reason,
  cause,
  attempts: Number(attempts),
  payload,
  writtenAt: Number(written_at),
  deadLetteredAt: Number(dead_lettered_at)
})

export const countOf = (rows: ReadonlyArray<CountRow>): number => Number(rows[0]?.rows)

export const sizeOf = (rows: ReadonlyArray<SizeRow>): Size => {
  const {
    bytes,
    dead_letters,
    first = null,
    last = null,
    rows: count
  } = rows[0] ?? { bytes: 0, dead_letters: 0, rows: 0 }
  return {
    rows: Number(count),
    bytes: Number(bytes),
    deadLetters: Number(dead_letters),
    first: first === null ? undefined : Number(first),
    last: last === null ? undefined : Number(last)
  }
}

/**
 * An array of whole numbers as Postgres writes it: clients differ in how they distinguish small ones from large ones.
 */
export const array = (numbers: ReadonlyArray<number>): string => `{${numbers.join(",")}}`

/** In characters: with the rest of a payload's message it takes less than 64 KiB. */
const longestCause = 20_000

/** The reports on events, an array for each column; of a repeated key the first. A text of Postgres has no NUL. */
export const deadLetteredOf = (events: ReadonlyArray<DeadLettered>): ReadonlyArray<string | ReadonlyArray<string>> => {
  const byKey = new Map(events.toReversed().map((event) => [event.key, event]))
  const each = Array.from(byKey.values())
  return [
    array(each.map(({ key }) => key)),
    each.map(({ reason }) => reason),
    each.map(({ cause }) => cause.slice(0, longestCause).replaceAll("\0", "\uFFFD")),
    array(each.map(({ attempts }) => attempts))
  ]
}

/** Milliseconds of a duration, whole, and so that a time they are added to is still one. */
export const milliseconds = (duration: Duration.Duration): number =>
  Math.min(Math.ceil(Duration.toMillis(duration)), 2 ** 31 - 1)
