/** What became of deliveries and their attempts, within one transaction: kept by the events, as long as the exchange says. */
import type {
  Attempt,
  AttemptPage,
  DeliveryStatus,
  Millis,
  Position,
  StoredAttempt,
  SubscriptionId
} from "../../EventStore.ts"
import { atMost, type Sql, type Value } from "./prepared.ts"
import { byId, isPosition, positionOf, rowAt } from "./sqliteSchema.ts"

export type Ended = "Delivered" | "Dropped" | "Purged"

/** Whose deliveries they were, and how and when they ended. */
export interface End {
  readonly subscription: SubscriptionId
  readonly exchange: number
  readonly state: Ended
  readonly now: Millis
}

/** How many attempts of a delivery are kept, and how many characters of what they tell. */
const most = 10
const mostDetail = 1_000

/** Keeps what becomes of those rows that a condition selects. They are still there. */
export const keepOutcomes = (
  sql: Sql,
  table: keyof typeof selecting,
  where: string,
  values: ReadonlyArray<Value>,
  { exchange, now, state, subscription }: End
): void => void sql.run(`${insert} ${selecting[table]} WHERE ${where}`, subscription, exchange, now, state, ...values)

/** Keeps what becomes of the delivery of an event that is a row of its own. */
export const keepOutcomeOf = (sql: Sql, event: Position, { exchange, now, state, subscription }: End): void =>
  void sql.run(`${insert} ${ofEvent}`, subscription, exchange, now, state, event)

/** Keeps attempts of deliveries that are pending, the last ten of each. */
export const keepAttempts = (
  sql: Sql,
  subscription: SubscriptionId,
  exchange: number,
  attempts: ReadonlyArray<Attempt>,
  now: Millis
): void => {
  const found = new Map<Position, EventRow | undefined>()
  for (const { at, detail, error, position, took } of attempts) {
    if (!found.has(position) && isPosition(position))
      found.set(position, sql.row<EventRow>(eventAt, subscription, position, subscription, position))
    const of = found.get(position)
    if (of === undefined) continue
    const [event, topic] = of
    const told = detail?.slice(0, mostDetail) ?? null
    sql.run(insertAttempt, subscription, event, exchange, now, at, took, topic, error ?? null, told)
  }
  for (const of of found.values()) if (of !== undefined) sql.run(trimAttempts, of[0], subscription, most)
}

/** The attempts of an event, by subscriptions. */
export const attemptsOfEvent = (sql: Sql, event: Position, exchange: number) => {
  const found = new Map<SubscriptionId, Array<DeliveryStatus["attempts"][number]>>()
  for (const [subscription, at, took, error, detail] of sql.rows<AttemptRow>(ofEventInOrder, event, exchange)) {
    const all = found.get(subscription) ?? []
    found.set(subscription, all)
    all.push({ at, took, error: error ?? undefined, detail: detail ?? undefined })
  }
  return found
}

/** A page of the attempts of a subscription, unless that was dropped. */
export const listAttempts = (
  sql: Sql,
  subscription: SubscriptionId,
  { before = afterAll, failedOnly = false, limit }: AttemptPage
): ReadonlyArray<StoredAttempt> =>
  sql
    .rows<StoredRow>(failedOnly ? failedPage : page, subscription, before.at, before.position, atMost(limit))
    .map(([position, topic, at, took, error, detail]) => ({
      position,
      topic,
      at,
      took,
      error: error ?? undefined,
      detail: detail ?? undefined
    }))

// internals

const insert = "INSERT OR REPLACE INTO outcomes (id, exchange, at, state, topic, written_at)"
const outcome = (event: string) => `SELECT ${rowAt(event)}, ?, ?, ?`
const ofShared = (table: string) =>
  `${outcome("event")}, topic, e.written_at FROM ${table} d JOIN events e ON e.position = event`
const selecting = {
  deliveries: `${outcome(`ifnull(event, ${positionOf})`)}, ifnull(d.topic, e.topic), ifnull(d.written_at, e.written_at)
    FROM deliveries d LEFT JOIN events e ON e.position = event`,
  delayed: ofShared("delayed"),
  scheduled: ofShared("scheduled"),
  dead_letters: ofShared("dead_letters")
}
const ofEvent = `${outcome("position")}, topic, written_at FROM events WHERE position = ?`
const topicOf = "(SELECT topic FROM events e WHERE e.position = d.event)"
const eventAt = `SELECT ifnull(event, ${positionOf}), ifnull(topic, ${topicOf}) FROM deliveries d WHERE ${byId}
  UNION ALL SELECT event, ${topicOf} FROM delayed d WHERE ${byId}`
const insertAttempt = `INSERT INTO attempts (subscription, event, exchange, kept_at, at, took, topic, error, detail)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`
const trimAttempts = `DELETE FROM attempts WHERE id IN
  (SELECT id FROM attempts WHERE event = ? AND subscription = ? ORDER BY id DESC LIMIT -1 OFFSET +?)`
const ofEventInOrder = `SELECT subscription, at, took, error, detail FROM attempts
  WHERE event = ? AND +exchange = ? ORDER BY subscription, id`

type EventRow = readonly [event: Position, topic: string]
type AttemptRow = readonly [SubscriptionId, at: Millis, took: number, error: string | null, detail: string | null]
type StoredRow = readonly [
  ...[Position, topic: string, at: Millis, took: number, error: string | null, detail: string | null]
]

const afterAll = { at: Number.MAX_VALUE, position: 0 }
const pageOf = (failed: string) => `SELECT event, topic, at, took, error, detail FROM attempts a
  WHERE subscription = (SELECT subscription FROM leases WHERE subscription = ?) AND (at, event) < (?, ?) ${failed}
  ORDER BY at DESC, event DESC LIMIT +?`
const page = pageOf("")
const failedPage = pageOf("AND error IS NOT NULL")
