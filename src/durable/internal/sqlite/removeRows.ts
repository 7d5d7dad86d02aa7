/** The end of rows that may use an event, which leaves with the last of them, and of what is kept for a time only. */
import type { Position, SubscriptionId } from "../../EventStore.ts"
import type { Sql, Value } from "./prepared.ts"
import { maxPosition, ofSubscription, rowAt } from "./sqliteSchema.ts"

const tables = ["deliveries", "delayed", "scheduled", "dead_letters"] as const

/** Removes the deliveries or dead letters of a run of positions, at most `limit` of them. Answers how many there were. */
export const removeRows = (
  sql: Sql,
  table: (typeof tables)[number],
  subscription: SubscriptionId,
  from: Position,
  to: Position,
  limit = -1
): number => {
  const run = `SELECT id FROM ${table} WHERE id BETWEEN ${rowAt("?")} AND ${rowAt("?")} LIMIT +?`
  return removeThose(sql, table, run, [subscription, from, subscription, to, limit])
}

/** Removes the deliveries or dead letters whose numbers a statement selects. Answers how many there were. */
export const removeThose = (
  sql: Sql,
  table: (typeof tables)[number],
  those: string,
  values: ReadonlyArray<Value>
): number => {
  sql.run(
    `UPDATE uses SET count = count - 1 WHERE event IN (SELECT event FROM ${table} WHERE id IN (${those}))`,
    ...values
  )
  return sql.run(`DELETE FROM ${table} WHERE id IN (${those})`, ...values)
}

/** So many rows are removed in one transaction at most. */
const batch = 1_000

/** Removes some of what belongs to subscriptions that were dropped, and of what is kept no longer. */
export const sweep = (sql: Sql, now: number): boolean => {
  const [dropped] = sql.row<[SubscriptionId]>("SELECT subscription FROM dropped LIMIT 1") ?? []
  if (dropped !== undefined) {
    const isGone =
      tables.every((table) => removeRows(sql, table, dropped, 0, maxPosition, batch) < batch) &&
      removeAllKept.every((statement) => sql.run(statement, dropped, dropped, batch) < batch)
    if (isGone) sql.run("DELETE FROM dropped WHERE subscription = ?", dropped)
    return true
  }
  const removed = keptNoLonger.map((statement) => sql.run(statement, now, batch))
  return removed.includes(batch)
}

// internals

const kept = [
  ["outcomes", "at"],
  ["attempts", "kept_at"]
]
const removeAllKept = [
  `DELETE FROM outcomes WHERE id IN (SELECT id FROM outcomes WHERE ${ofSubscription} LIMIT +?)`,
  "DELETE FROM attempts WHERE id IN (SELECT id FROM attempts WHERE subscription = ? AND subscription = ? LIMIT +?)"
]

const keptNoLonger = [
  `UPDATE uses SET exchange = NULL WHERE event IN (
    SELECT event FROM exchanges x CROSS JOIN uses u WHERE u.exchange = x.id AND u.written_at <= ? - retention LIMIT +?)`,
  `DELETE FROM ids WHERE (exchange, tenant, id) IN (SELECT exchange, tenant, id FROM ids WHERE expires_at <= ? LIMIT +?)`,
  ...kept.map(
    ([table, at]) => `DELETE FROM ${table} WHERE id IN (
      SELECT k.id FROM exchanges x CROSS JOIN ${table} k WHERE k.exchange = x.id AND k.${at} <= ? - x.outcomes LIMIT +?)`
  )
]
