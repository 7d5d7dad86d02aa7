/** The end of rows that may use an event, which leaves with the last of them. */
import type { Position, SubscriptionId } from "../../EventStore.ts"
import type { Sql } from "./prepared.ts"
import { maxPosition, rowAt } from "./sqliteSchema.ts"

const tables = ["deliveries", "delayed", "dead_letters"] as const

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
  const values = [subscription, from, subscription, to, limit]
  sql.run(
    `UPDATE uses SET count = count - 1 WHERE event IN (SELECT event FROM ${table} WHERE id IN (${run}))`,
    ...values
  )
  return sql.run(`DELETE FROM ${table} WHERE id IN (${run})`, ...values)
}

/** So many rows are removed in one transaction at most. */
const batch = 1_000

/** Removes some of what belongs to subscriptions that were dropped, and of what is retained no longer. */
export const sweep = (sql: Sql, now: number): boolean => {
  const [dropped] = sql.row<[SubscriptionId]>("SELECT subscription FROM dropped LIMIT 1") ?? []
  if (dropped !== undefined) {
    const isGone = tables.every((table) => removeRows(sql, table, dropped, 0, maxPosition, batch) < batch)
    if (isGone) sql.run("DELETE FROM dropped WHERE subscription = ?", dropped)
    return true
  }
  return sql.run(retainedNoLonger, now, batch) === batch
}

const retainedNoLonger = `UPDATE uses SET exchange = NULL WHERE event IN (
  SELECT event FROM exchanges x CROSS JOIN uses u WHERE u.exchange = x.id AND u.written_at <= ? - retention LIMIT +?)`
