/** The dead letters of a subscription within one transaction. */
import type { DeadLetterReason, Millis, Page, Position, StoredDeadLetter, SubscriptionId } from "../../EventStore.ts"
import { atMost, type Sql } from "./prepared.ts"
import { removeRows } from "./removeRows.ts"
import { type EventColumns, eventOf } from "./takeDeliveries.ts"
import { isPosition, lastPosition, positionOf, rowAt, setPosition } from "./sqliteSchema.ts"

export const listDeadLetters = (
  sql: Sql,
  subscription: SubscriptionId,
  { after, limit }: Page
): ReadonlyArray<StoredDeadLetter> => {
  const { deadLetteredAt, position } = after ?? { deadLetteredAt: Number.MIN_SAFE_INTEGER, position: 0 }
  return sql
    .rows<Row>(page, subscription, deadLetteredAt, subscription, position, atMost(limit))
    .map((row) => ({ ...eventOf(row), deadLetteredAt: row[6], reason: row[7], cause: row[8], attempts: row[9] }))
}

export const replayDeadLetters = (
  sql: Sql,
  subscription: SubscriptionId,
  positions: ReadonlyArray<Position>,
  now: number
): number => {
  if (sql.row(isThere, subscription) === undefined) return 0
  // There is always one.
  const [last] = sql.row<[number]>(lastPosition)!
  let count = 0
  let bytes = 0
  for (const position of positions) {
    const found = isPosition(position)
      ? sql.row<[event: number, attempts: number]>(remove, subscription, position)
      : undefined
    if (found === undefined) continue
    const [event, attempts] = found
    count++
    sql.run(insertAgain, subscription, last + count, event, attempts)
    bytes += sql.row<[number]>("SELECT length(payload) FROM events WHERE position = ?", event)?.[0] ?? 0
  }
  if (count === 0) return 0
  sql.run(setPosition, last + count)
  sql.run(arrived, count, bytes, count, now, now, subscription)
  return count
}

export const purgeDeadLetters = (
  sql: Sql,
  subscription: SubscriptionId,
  positions: ReadonlyArray<Position>
): number => {
  if (sql.row(isThere, subscription) === undefined) return 0
  const count = positions.filter(
    (position) => isPosition(position) && removeRows(sql, "dead_letters", subscription, position, position) > 0
  ).length
  sql.run("UPDATE leases SET dead_letters = dead_letters - ? WHERE subscription = ?", count, subscription)
  return count
}

// internals

// What a settlement has put there.
type Row = readonly [...EventColumns, Millis, DeadLetterReason, cause: string, attempts: number]

/** One that was dropped has no dead letters, though they may not be removed yet. */
const isThere = "SELECT 1 FROM leases WHERE subscription = ?"
const page = `SELECT ${positionOf}, payload, topic, content_type, trace, written_at, dead_lettered_at, reason, cause, d.attempts
  FROM leases l JOIN dead_letters d ON d.subscription = l.subscription JOIN events e ON e.position = event
  WHERE l.subscription = ? AND (dead_lettered_at, d.id) > (?, ${rowAt("?")}) ORDER BY dead_lettered_at, d.id LIMIT +?`
const remove = `DELETE FROM dead_letters WHERE id = ${rowAt("?")} RETURNING event, attempts`
const insertAgain = `INSERT INTO deliveries (id, event, attempts) VALUES (${rowAt("?")}, ?, ?)`
const arrived = `UPDATE leases SET pending = pending + ?, bytes = bytes + ?, dead_letters = dead_letters - ?,
  wakes = wakes + 1, due_at = iif(ifnull(due_at > max(?, wait_until), TRUE), max(?, wait_until), due_at)
  WHERE subscription = ?`
