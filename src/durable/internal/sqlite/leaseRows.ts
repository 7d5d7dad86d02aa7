/** Owners and their leases within one transaction. */
import type { Bounds, Figures, Lease, Millis, Owner, Position, SubscriptionId } from "../../EventStore.ts"
import { after, type Sql } from "./prepared.ts"
import { maxPosition, positionOf, rowAt } from "./sqliteSchema.ts"

const ofLease = ["0", String(maxPosition)].map((end) => rowAt(end, "leases.subscription")).join(" AND ")
/**
 * When the lease that is updated is due, if it is free: when the subscription's wait is over, and where there is nothing in its
 * order or its lanes, never.
 */
export const dueWhenFree = `max(wait_until, CASE WHEN EXISTS (SELECT 1 FROM deliveries WHERE id BETWEEN ${ofLease}) THEN ?
    ELSE (SELECT max(?, min(d.due_at)) FROM delayed d WHERE d.subscription = leases.subscription AND d.due_at IS NOT NULL) END)`

/** Begins or extends an owner's life; makes one where it is gone. */
export const renewOwner = (
  sql: Sql,
  owner: Owner | Pick<Owner, "name">,
  lock: string | undefined,
  ttl: number,
  now: number
): Owner => {
  const times = [now, after(now, ttl)]
  if ("id" in owner && sql.run(extend, ...times, owner.id) > 0) return owner
  // An insert answers the id.
  const [id] = sql.row<[number]>(insertOwner, owner.name, lock ?? null, ...times)!
  return { id, name: owner.name }
}

/** Answers how many were released. */
export const releaseLeases = (sql: Sql, { id }: Owner, leases: ReadonlyArray<Lease> | "all", now: number): number =>
  leases === "all"
    ? freeOwner(sql, id, now)
    : leases.filter(
        ({ epoch, subscription }) =>
          sql.run(`${free} AND subscription = ? AND epoch = ?`, now, now, id, subscription, epoch) > 0
      ).length

/** Frees the leases of an owner, which is gone then. Answers how many there were. */
export const freeOwner = (sql: Sql, id: number, now: number): number => {
  sql.run("DELETE FROM owners WHERE id = ?", id)
  return sql.run(free, now, now, id)
}

export const figuresOf = (sql: Sql, subscription: SubscriptionId, now: Millis): Figures | undefined => {
  const found = sql.row<[pending: number, bytes: number, deadLetters: number, string | null]>(
    figures,
    now,
    subscription
  )
  if (found === undefined) return undefined
  const [pending, bytes, deadLetters, owner] = found
  return { pending, bytes, deadLetters, owner: owner ?? undefined }
}

export const boundsOf = (sql: Sql, subscription: SubscriptionId, now: Millis): ReadonlyArray<Bounds> => {
  const found = sql.row<BoundsRow>(bounds, subscription)
  if (found === undefined) return []
  const [scheduledAt, coming, ...ends] = found
  const isComing = scheduledAt !== null && scheduledAt <= now
  // One is enough, as all that are coming get positions after the last.
  const positions = (isComing ? [coming, ...ends] : ends).filter((end) => end !== null)
  if (positions.length === 0) return []
  return [{ subscription, first: Math.min(...positions), last: Math.max(...positions), isComing }]
}

// internals

type BoundsRow = readonly [scheduledAt: Millis | null, coming: Position | null, ...ends: ReadonlyArray<Position | null>]

const extend = "UPDATE owners SET renewed_at = ?, expires_at = ? WHERE id = ?"
const insertOwner = "INSERT INTO owners (name, lock, renewed_at, expires_at) VALUES (?, ?, ?, ?) RETURNING id"
const figures = `SELECT pending, bytes, dead_letters, name FROM leases LEFT JOIN owners ON id = owner AND expires_at > ?
  WHERE subscription = ? AND subscription > 0`
const ends = ["deliveries", "delayed"].flatMap((table) =>
  ["ASC", "DESC"].map(
    (order) => `(SELECT ${positionOf} FROM ${table} WHERE id BETWEEN ${ofLease} ORDER BY id ${order} LIMIT 1)`
  )
)
const coming = "(SELECT event FROM scheduled s WHERE s.subscription = leases.subscription ORDER BY due_at, id LIMIT 1)"
// One statement, so that no delivery is between its two places.
const bounds = `SELECT scheduled_at, ${[coming, ...ends].join(", ")} FROM leases WHERE subscription = ? AND pending > 0`
const free = `UPDATE leases SET owner = NULL, due_at = ${dueWhenFree} WHERE owner = ?`
