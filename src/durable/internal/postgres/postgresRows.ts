/** What a store gives to Postgres, and what the rows that it gets mean. */
import * as Duration from "effect/Duration"
import type { DeadLetterReason, Delivery, NewEvent, State, StoredDeadLetter, Subscription } from "../port/records.ts"

/** A number as clients give it: `bigint`s come as such, or as text. */
export type Numeric = number | bigint | string

/** The time of what is not due, whatever happens. */
export const never = "9223372036854775807"

/** Milliseconds since 1970 of the server's clock, now, and not when the transaction began. */
export const clock = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"

/**
 * An array of whole numbers as Postgres writes it: clients differ in how they distinguish small ones from large ones, and
 * in what they make of an array of NULLs only.
 */
export const array = (numbers: ReadonlyArray<number | boolean | undefined>): string =>
  `{${numbers.map((each) => each ?? "NULL").join(",")}}`

/** The numbers of such an array. */
export const numbersOf = (array: string | undefined): ReadonlyArray<number> =>
  array?.slice(1, -1).split(",").map(Number) ?? []

/** The same of texts. */
export const textArray = (texts: ReadonlyArray<string | undefined>): string =>
  `{${texts.map((text) => (text === undefined ? "NULL" : `"${text.replaceAll(/["\\]/g, "\\$&")}"`)).join(",")}}`

/** Milliseconds of a duration, whole, and so that a time they are added to is still one. */
export const milliseconds = (duration: Duration.Duration): number =>
  Math.min(Math.ceil(Duration.toMillis(duration)), 1e15)

/** A time as a whole number that Postgres has. One that is no number is past. */
export const timeOf = (at: number): number => Math.min(Math.max(0, Math.ceil(at) || 0), 1e15)

/** A position as Postgres has it: 0 for what is none, which no event has. */
export const positionOf = (one: number): number => (Number.isSafeInteger(one) ? one : 0)

/** A limit: what is no number in Postgres is none. */
export const limit = (limit: number): number => Math.min(limit, Number.MAX_SAFE_INTEGER)

/** A text of Postgres has no NUL; in characters, a cause takes less than 64 KiB with the rest of its message. */
export const causeOf = (cause: string): string => cause.slice(0, 20_000).replaceAll("\0", "\uFFFD")

export const numberOf = (value: Numeric | null | undefined): number | undefined =>
  value === null || value === undefined ? undefined : Number(value)

export interface CountRow {
  readonly rows: Numeric
}

export const countOf = ([row]: ReadonlyArray<CountRow>): number => Number(row?.rows ?? 0)

export interface SubscriptionRow {
  readonly id: Numeric
  readonly tenant: string
  readonly name: string
  readonly topics: ReadonlyArray<string>
  readonly data: Uint8Array | null
  readonly state: State
  readonly reason: string | null
  readonly since: Numeric
}

export const subscriptionOf =
  (exchange: string) =>
  ({ data, id, name, reason, since, state, tenant, topics }: SubscriptionRow): Subscription => ({
    id: Number(id),
    exchange,
    tenant,
    name,
    topics,
    data: data ?? undefined,
    state,
    reason: reason ?? undefined,
    since: Number(since)
  })

/**
 * The content type and the trace of an event as one text, which is empty where an event has neither: few have, and a column more
 * makes all rows of deliveries longer.
 */
export const headersOf = ({ contentType = "", trace = "" }: Pick<NewEvent, "contentType" | "trace">): string =>
  contentType === "" && trace === "" ? "" : `${contentType.length}:${contentType}${trace}`

const ofHeaders = (headers: string): Pick<Delivery, "contentType" | "trace"> => {
  if (headers === "") return { contentType: undefined, trace: undefined }
  const from = headers.indexOf(":") + 1
  const to = from + Number(headers.slice(0, from - 1))
  return { contentType: headers.slice(from, to) || undefined, trace: headers.slice(to) || undefined }
}

/** An event, wherever it is kept. */
interface EventRow {
  readonly position: Numeric
  readonly payload: Uint8Array
  readonly topic: string
  readonly headers: string | null
  readonly written_at: Numeric
  readonly attempts: Numeric | null
}

const eventOf = ({ attempts, headers, payload, position, topic, written_at }: EventRow) => ({
  position: Number(position),
  payload,
  topic,
  ...ofHeaders(headers ?? ""),
  writtenAt: Number(written_at),
  attempts: Number(attempts ?? 0)
})

export interface DeliveryRow extends EventRow {
  readonly lane: Numeric | null
  readonly first_failed_at: Numeric | null
}

export const deliveryOf = (row: DeliveryRow): Delivery => ({
  ...eventOf(row),
  firstFailedAt: numberOf(row.first_failed_at),
  lane: numberOf(row.lane)
})

export interface DeadLetterRow extends EventRow {
  readonly dead_lettered_at: Numeric
  readonly reason: DeadLetterReason
  readonly cause: string
}

export const deadLetterOf = (row: DeadLetterRow): StoredDeadLetter => ({
  ...eventOf(row),
  deadLetteredAt: Number(row.dead_lettered_at),
  reason: row.reason,
  cause: row.cause
})
