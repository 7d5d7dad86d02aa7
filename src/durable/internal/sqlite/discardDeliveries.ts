/** The end of what is pending of a subscription, undelivered, within one transaction. */
import type { Millis, SubscriptionId } from "../../EventStore.ts"
import { dueWhenFree } from "./leaseRows.ts"
import { keepOutcomes } from "./outcomeRows.ts"
import { atMost, type Sql } from "./prepared.ts"
import { removeThose } from "./removeRows.ts"
import { firstLeft } from "./scheduledRows.ts"
import { ofSubscription } from "./sqliteSchema.ts"

/** Answers how many deliveries were deleted, which were the first of those that are pending. */
export const discardDeliveries = (sql: Sql, subscription: SubscriptionId, limit: number, now: Millis): number => {
  const lease = sql.row<[keeps: number | null]>(isThere, subscription)
  if (lease === undefined) return 0
  const [keeps] = lease
  let [rows, bytes] = [0, 0]
  for (const [table, those] of firstOf) {
    const left = Math.max(0, limit - rows)
    if (left === 0) break
    const values = [...(table === "deliveries" ? [subscription, subscription] : [subscription]), atMost(left)]
    // A sum always has a row.
    const [count, size] = sql.row<[number, number]>(sumOf(table, those), ...values)!
    if (count === 0) continue
    rows += count
    bytes += size
    if (keeps !== null) {
      const end = { subscription, exchange: keeps, state: "Purged", now } as const
      keepOutcomes(sql, table, `id IN (${those})`, values, end)
    }
    removeThose(sql, table, those, values)
  }
  if (rows === 0) return 0
  // The first lane that is left may have lost its first delivery.
  sql.run(setLaneDue, now, subscription)
  sql.run(discarded, rows, bytes, subscription)
  sql.run(setDue, now, now, now, subscription)
  return rows
}

// internals

const isThere = "SELECT keeps FROM leases WHERE subscription = ? AND subscription > 0"
const firstOf = [
  ["deliveries", `SELECT id FROM deliveries WHERE ${ofSubscription} ORDER BY id LIMIT +?`],
  // Lane by lane, so that one lane at most has a new first.
  ["delayed", "SELECT id FROM delayed WHERE subscription = ? ORDER BY lane, id LIMIT +?"],
  ["scheduled", "SELECT id FROM scheduled WHERE subscription = ? ORDER BY due_at, id LIMIT +?"]
] as const
const sumOf = (table: (typeof firstOf)[number][0], those: string) =>
  `SELECT count(*), total(${table === "deliveries" ? "ifnull(length(d.payload), length(e.payload))" : "length(payload)"})
    FROM ${table} d LEFT JOIN events e ON e.position = event WHERE id IN (${those})`
const setLaneDue = `UPDATE delayed SET due_at = ?
  WHERE id = (SELECT id FROM delayed WHERE subscription = ? ORDER BY lane, id LIMIT 1) AND due_at IS NULL`
const discarded = `UPDATE leases SET pending = pending - ?, bytes = bytes - ?, wakes = wakes + 1, wait_until = 0, attempts = 0,
  first_failed_at = NULL, wait_reason = NULL, wait_position = NULL, scheduled_at = ${firstLeft} WHERE subscription = ?`
const setDue = `UPDATE leases SET due_at = iif(owner IS NULL, ${dueWhenFree}, ?) WHERE subscription = ?`
