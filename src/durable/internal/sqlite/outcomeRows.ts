/** What became of deliveries and their attempts, within one transaction: kept by the events, as long as the exchange says. */
import type { Attempt, DeliveryStatus, Millis, Position, SubscriptionId } from "../../EventStore.ts"
import type { Sql, Value } from "./prepared.ts"
import { isPosition, positionOf, rowAt } from "./sqliteSchema.ts"

export type Ended = "Delivered" | "Dropped" | "Purged"

/** Whose deliveries they were, and how and when they ended. */
export interface End {
  readonly subscription: SubscriptionId
  readonly exchange: number
  readonly state: Ended
  readonly now: Millis
}

/** How many attempts of a delivery are kept. */
const most = 10

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

/** Keeps attempts of deliveries that are pending: of each event in one row, as most have one. */
export const keepAttempts = (
  sql: Sql,
  subscription: SubscriptionId,
  exchange: number,
  attempts: ReadonlyArray<Attempt>,
  now: Millis
): void => {
  const made = new Map<Position, Array<Omit<Attempt, "position">>>()
  for (const { at, error, position, took } of attempts) {
    const one = { at, took, error }
    const others = made.get(position)
    if (others === undefined) made.set(position, [one])
    else others.push(one)
  }
  for (const [position, all] of made) {
    const found = isPosition(position)
      ? sql.row<[Position]>(eventAt, subscription, position, subscription, position)
      : undefined
    if (found === undefined) continue
    const [event] = found
    const before = sql.row<[string]>(attemptsAt, subscription, event)
    const last = [...(before === undefined ? [] : attemptsOf(before[0])), ...all].slice(-most)
    sql.run(insertAttempts, subscription, event, exchange, now, JSON.stringify(last))
  }
}

/** What `keepAttempts` has put there: JSON has no nothing, and leaves out the error of an attempt that succeeded. */
export const attemptsOf = (text: string): DeliveryStatus["attempts"] =>
  (JSON.parse(text) as ReadonlyArray<Partial<Attempt> & Pick<Attempt, "at" | "took">>).map(({ at, error, took }) => ({
    at,
    took,
    error
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
const byId = `id = ${rowAt("?")}`
const eventAt = `SELECT ifnull(event, ${positionOf}) FROM deliveries WHERE ${byId}
  UNION ALL SELECT event FROM delayed WHERE ${byId}`
const attemptsAt = `SELECT attempts FROM attempts WHERE ${byId}`
const insertAttempts = `INSERT OR REPLACE INTO attempts (id, exchange, at, attempts) VALUES (${rowAt("?")}, ?, ?, ?)`
