/** The dead letters of a subscription within one transaction. */
import type {
  DeadLetterFilter,
  DeadLetterReason,
  Millis,
  Page,
  Position,
  StoredDeadLetter,
  SubscriptionId
} from "../../EventStore.ts"
import { keepOutcomes } from "./outcomeRows.ts"
import { atMost, type Sql, type Value } from "./prepared.ts"
import { removeRows } from "./removeRows.ts"
import { type EventColumns, eventOf } from "./takeDeliveries.ts"
import { byId, isMoved, isPosition, lastPosition, positionOf, rowAt, setPosition } from "./sqliteSchema.ts"

export const listDeadLetters = (
  sql: Sql,
  subscription: SubscriptionId,
  { after = beforeAll, limit, ...filter }: Page
): ReadonlyArray<StoredDeadLetter> => {
  const { values, where } = selected(filter, subscription)
  // One bound of the index, and not two, of which SQLite might not use the narrower one.
  const from = Math.max(filter.from ?? after.deadLetteredAt, after.deadLetteredAt)
  const place = [from, subscription, from > after.deadLetteredAt ? 0 : after.position]
  return sql
    .rows<Row>(`${page} ${where} ${inOrder}`, subscription, ...place, ...values, atMost(limit))
    .map((row) => ({ ...eventOf(row), deadLetteredAt: row[6], reason: row[7], cause: row[8], attempts: row[9] }))
}

export const countDeadLetters = (sql: Sql, subscription: SubscriptionId, filter: DeadLetterFilter): number => {
  const { values, where } = selected(filter, subscription)
  const { from = beforeAll.deadLetteredAt, topic } = filter
  if (where === "" && filter.from === undefined)
    return sql.row<[number]>("SELECT dead_letters FROM leases WHERE subscription = ?", subscription)?.[0] ?? 0
  const events = topic === undefined ? "" : "JOIN events ON position = event"
  // A count always has a row.
  return sql.row<[number]>(`${count} ${events} ${matching} ${where}`, subscription, from, ...values)![0]
}

export const replayDeadLetters = (
  sql: Sql,
  subscription: SubscriptionId,
  positions: ReadonlyArray<Position>,
  now: number
): number => {
  if (sql.row(isThere, subscription) === undefined) return 0
  const found = positions.flatMap((position) =>
    isPosition(position) ? sql.rows<Again>(remove, subscription, position) : []
  )
  return putAgain(sql, subscription, found, found.length, now)
}

export const resendEvents = (
  sql: Sql,
  subscription: SubscriptionId,
  positions: ReadonlyArray<Position>,
  now: number
): number => {
  if (sql.row(isThere, subscription) === undefined) return 0
  const found: Array<Again> = []
  let deadLetters = 0
  for (const event of new Set(positions.filter(isPosition))) {
    const dead = [...sql.rows<Again>(remove, subscription, event), ...sql.rows<Again>(removeMoved, event, subscription)]
    deadLetters += dead.length
    found.push(...dead)
    if (dead.length > 0 || sql.row(isRetained, subscription, event, now) === undefined) continue
    sql.run("UPDATE uses SET count = count + 1 WHERE event = ?", event)
    found.push([event, 0])
  }
  return putAgain(sql, subscription, found, deadLetters, now)
}

export const purgeDeadLetters = (
  sql: Sql,
  subscription: SubscriptionId,
  positions: ReadonlyArray<Position>,
  now: Millis
): number => {
  const lease = sql.row<[keeps: number | null]>(isThere, subscription)
  if (lease === undefined) return 0
  const [keeps] = lease
  const count = positions.filter((position) => {
    if (!isPosition(position)) return false
    if (keeps !== null) {
      const end = { subscription, exchange: keeps, state: "Purged", now } as const
      keepOutcomes(sql, "dead_letters", byId, [subscription, position], end)
    }
    return removeRows(sql, "dead_letters", subscription, position, position) > 0
  }).length
  sql.run("UPDATE leases SET dead_letters = dead_letters - ? WHERE subscription = ?", count, subscription)
  return count
}

// internals

// What a settlement has put there.
type Row = readonly [...EventColumns, Millis, DeadLetterReason, cause: string, attempts: number]

/** What stands in the order again: an event, with the attempts that failed before. */
type Again = readonly [event: Position, attempts: number]

/** Puts events to the end of the order, and answers how many. Some of them were dead letters. */
const putAgain = (
  sql: Sql,
  subscription: SubscriptionId,
  found: ReadonlyArray<Again>,
  deadLetters: number,
  now: number
): number => {
  if (found.length === 0) return 0
  // There is always one.
  const [last] = sql.row<[number]>(lastPosition)!
  let bytes = 0
  for (const [n, [event, attempts]] of found.entries()) {
    sql.run(insertAgain, subscription, last + n + 1, event, attempts)
    bytes += sql.row<[number]>("SELECT length(payload) FROM events WHERE position = ?", event)?.[0] ?? 0
  }
  sql.run(setPosition, last + found.length)
  sql.run(arrived, found.length, bytes, deadLetters, now, now, subscription)
  return found.length
}

const beforeAll = { deadLetteredAt: Number.MIN_SAFE_INTEGER, position: 0 }

/** The conditions of a filter but `from`. Text is compared as it is: no character of it is a pattern of SQL. */
const selected = ({ cause, position, reason, to, topic }: DeadLetterFilter, subscription: SubscriptionId) => {
  const conditions: Array<readonly [condition: string, ...values: ReadonlyArray<Value>]> = []
  if (position !== undefined) {
    const isOne = isPosition(position)
    conditions.push(isOne ? [`d.id = ${rowAt("?")}`, subscription, position] : ["FALSE"])
  }
  if (reason !== undefined) conditions.push(["reason = ?", reason])
  if (cause !== undefined) conditions.push(["instr(cause, ?) > 0", cause])
  if (to !== undefined) conditions.push(["dead_lettered_at < ?", to])
  if (topic?.endsWith("/*") === true) conditions.push(["instr(topic, ?) = 1", topic.slice(0, -1)])
  else if (topic !== undefined && topic !== "*") conditions.push(["topic = nullif(?, '')", topic])
  return {
    where: conditions.map(([condition]) => `AND ${condition}`).join(" "),
    values: conditions.flatMap(([, ...values]) => values)
  }
}

/** One that was dropped has no dead letters, though they may not be removed yet. */
const isThere = "SELECT keeps FROM leases WHERE subscription = ?"
const page = `SELECT ${positionOf}, payload, topic, content_type, trace, written_at, dead_lettered_at, reason, cause, d.attempts
  FROM leases l JOIN dead_letters d ON d.subscription = l.subscription JOIN events e ON e.position = event
  WHERE l.subscription = ? AND (dead_lettered_at, d.id) > (?, ${rowAt("?")})`
const inOrder = "ORDER BY dead_lettered_at, d.id LIMIT +?"
const count = "SELECT count(*) FROM leases l JOIN dead_letters d ON d.subscription = l.subscription"
const matching = "WHERE l.subscription = ? AND dead_lettered_at >= ?"
const remove = `DELETE FROM dead_letters WHERE ${byId} RETURNING event, attempts`
const removeMoved = `DELETE FROM dead_letters WHERE event = ? AND ${isMoved} AND subscription = ? RETURNING event, attempts`
const isRetained = `SELECT 1 FROM subscriptions s CROSS JOIN exchanges x ON x.id = s.exchange
  CROSS JOIN uses u ON u.exchange = x.id AND u.tenant = s.tenant
  WHERE s.id = ? AND u.event = ? AND u.written_at > ? - retention`
const insertAgain = `INSERT INTO deliveries (id, event, attempts) VALUES (${rowAt("?")}, ?, ?)`
const arrived = `UPDATE leases SET pending = pending + ?, bytes = bytes + ?, dead_letters = dead_letters - ?,
  wakes = wakes + 1, due_at = iif(ifnull(due_at > max(?, wait_until), TRUE), max(?, wait_until), due_at)
  WHERE subscription = ?`
