/** Deliveries whose time is to come, within one transaction: stored at once, and put to the end of the order when it has come. */
import * as Duration from "effect/Duration"
import type { Millis, NewEvent, Position, SubscriptionId } from "../../EventStore.ts"
import { after, atMost, type Sql } from "./prepared.ts"
import { lastPosition, rowAt, setPosition } from "./sqliteSchema.ts"

/** So many deliveries are put to their places by one claim at most: the event loop waits for all of them. */
const batch = 1_000

/** When the first of what is left comes due, of the lease that is updated. */
export const firstLeft = "(SELECT min(due_at) FROM scheduled s WHERE s.subscription = leases.subscription)"

/** When an event comes due; nothing for one that is due at once. */
export const dueAtOf = (due: NonNullable<NewEvent["due"]>, now: Millis): Millis | undefined => {
  const at = "at" in due ? after(0, due.at) : after(now, Duration.toMillis(due.after))
  return at > now ? at : undefined
}

/** When the next delivery comes due, which may be over. */
export const nextScheduled = (sql: Sql): Millis => sql.row<[Millis]>(first)?.[0] ?? Number.POSITIVE_INFINITY

/** Puts what has come due to the end of the order of its subscription, at new positions. */
export const bringDue = (sql: Sql, now: Millis): void => {
  // There is always one.
  let [last] = sql.row<[number]>(lastPosition)!
  let left = batch
  // What has been due for longest comes first, so that no subscription waits for another that has ever more.
  for (const [subscription] of sql.rows<[SubscriptionId]>(dueOrders, now, atMost(batch))) {
    const those = [subscription, now, atMost(left)] as const
    const events = sql.rows<[Position]>(`SELECT event ${due}`, ...those)
    for (const [event] of events) sql.run(insertDue, subscription, ++last, event)
    sql.run(removeDue, ...those)
    sql.run(arrived, now, now, subscription)
    left -= events.length
    if (left === 0) break
  }
  sql.run(setPosition, last)
}

// internals

const first = "SELECT scheduled_at FROM leases WHERE scheduled_at IS NOT NULL ORDER BY scheduled_at LIMIT 1"
const dueOrders = "SELECT subscription FROM leases WHERE scheduled_at <= ? ORDER BY scheduled_at LIMIT +?"
const due = "FROM scheduled WHERE subscription = ? AND due_at <= ? ORDER BY due_at, id LIMIT +?"
const insertDue = `INSERT INTO deliveries (id, event) VALUES (${rowAt("?")}, ?)`
const removeDue = `DELETE FROM scheduled WHERE id IN (SELECT id ${due})`
const arrived = `UPDATE leases SET wakes = wakes + 1, scheduled_at = ${firstLeft},
  due_at = iif(ifnull(due_at > max(?, wait_until), TRUE), max(?, wait_until), due_at) WHERE subscription = ?`
