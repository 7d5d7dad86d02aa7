/** A claim within one transaction: what is free and due is acquired, and what is new for leases that are held is reported. */
import type { Claimable, Claimed, Claims, Millis, Owner, Position, SubscriptionId } from "../../EventStore.ts"
import { freeOwner } from "./leaseRows.ts"
import type { Sql } from "./prepared.ts"
import { bringDue, nextScheduled } from "./scheduledRows.ts"
import { positionOf } from "./sqliteSchema.ts"

/**
 * What an owner's claims have reported: the count of changes of each lease, up to a time. It is in memory, so that an arrival
 * costs no commit but the writer's.
 */
export interface Seen {
  at: number
  readonly wakes: Map<SubscriptionId, number>
}

export const nothingSeen = (): Seen => ({ at: Number.MIN_SAFE_INTEGER, wakes: new Map() })

/** A claim, with what is to be remembered once it is committed. */
export interface MadeClaim {
  readonly claims: Claims
  readonly at: number
  readonly wakes: ReadonlyArray<readonly [SubscriptionId, number]>
  /** The locks of owners that are gone. */
  readonly freed: ReadonlyArray<string>
  /** Whether deliveries have come due, be it for another owner. */
  readonly hasBrought: boolean
}

/** What a process knows beside its database. */
export interface Known {
  readonly seen: Seen
  /** Those of some locks of owners that no process has. */
  readonly abandoned: (locks: ReadonlyArray<string>) => ReadonlySet<string>
}

/** So many leases may be passed over by each claim, before they are marked as not due. */
const maxPassed = 64
/** Up to this many subscriptions are searched one by one, and not among all that are due. */
const few = 16
/** As many lanes are in the answer to a claim. */
const mostLanes = 65_536

/** Answers nothing when something has to be written for it, unless it may. */
export const claimLeases = (
  sql: Sql,
  owner: Owner,
  which: Claimable,
  limit: number,
  { abandoned, seen }: Known,
  mayWrite: boolean,
  now: Millis
): MadeClaim | undefined => {
  const owners = sql.rows<OwnerRow>("SELECT id, lock, renewed_at, expires_at FROM owners")
  const others = owners.filter(([id]) => id !== owner.id)
  const unlocked = others.length === 0 ? none : abandoned(others.flatMap(([, lock]) => lock ?? []))
  const isGone = (one: OwnerRow) => isExpired(one, now) || (one[1] !== null && unlocked.has(one[1]))
  const gone = others.filter(isGone)
  if (gone.length > 0 && !mayWrite) return undefined
  for (const [id] of gone) freeOwner(sql, id, now)
  let scheduled = nextScheduled(sql)
  const hasBrought = scheduled <= now
  if (hasBrought) {
    if (!mayWrite) return undefined
    bringDue(sql, now)
    scheduled = nextScheduled(sql)
  }

  const redefined = sql.rows<[SubscriptionId]>(redefinedOf, owner.id).map(([one]) => one)
  if (redefined.length > 0) {
    if (!mayWrite) return undefined
    sql.run(noneRedefined, owner.id)
  }

  const given =
    "exchange" in which ? (sql.row<[Exchange]>(exchangeOf, which.exchange)?.[0] ?? noExchange) : new Set(which)
  const free = dueAmongFree(sql, given, limit, now)
  if (free.due.length > 0 && !mayWrite) return undefined
  // A lease of an owner that is gone would never end.
  const acquired = others.length === owners.length ? [] : free.due.map((one) => acquire(sql, owner, one))

  const held = newAmongHeld(sql, owner, seen, now)
  if (held.passed.length > maxPassed) {
    if (!mayWrite) return undefined
    for (const one of held.passed) sql.run(notDue, now, one)
  }
  const own = new Set(acquired.map(({ subscription }) => subscription))
  const woken = new Set([...redefined, ...held.wakes.flatMap(([one]) => (own.has(one) ? [] : one))])
  const expiries = others.flatMap((one) => (!isGone(one) && hasSome(sql, one, given) ? one[3] : []))
  // What is due and left to the next claim is due at once.
  const next = Math.min(free.next, held.next, Math.max(scheduled, now), ...expiries)
  return {
    claims: {
      acquired,
      woken: [...woken],
      inactive: sql.rows<[SubscriptionId]>(notActive, owner.id).map(([id]) => id),
      wait: next === Number.POSITIVE_INFINITY ? undefined : next - now
    },
    at: now,
    wakes: held.wakes,
    freed: gone.flatMap(([, lock]) => (lock !== null && unlocked.has(lock) ? lock : [])),
    hasBrought
  }
}

// internals

type OwnerRow = readonly [id: number, lock: string | null, renewedAt: Millis, expiresAt: Millis]
type FreeRow = readonly [subscription: SubscriptionId, dueAt: Millis]
type AcquiredRow = readonly [epoch: number, attempts: number, firstFailedAt: Millis | null, failingSince: Millis | null]
type HeldRow = readonly [
  subscription: SubscriptionId,
  wakes: number,
  dueAt: Millis,
  waitUntil: Millis,
  cameDue: number,
  nextDue: Millis | null
]

/** The id of an exchange. */
type Exchange = number
/** What is claimed: all of an exchange, or some subscriptions. */
type Given = Exchange | ReadonlySet<SubscriptionId>

const none: ReadonlySet<string> = new Set()
const noExchange: Exchange = 0

/**
 * Whether its time is over. One that was renewed at a time further ahead than it lasts is of before the clock was set back: an
 * owner that lives renews it by the clock as it is, and a dead one would last as long again as the clock was wrong.
 */
const isExpired = ([, , renewedAt, expiresAt]: OwnerRow, now: Millis): boolean =>
  expiresAt <= now || renewedAt - now > expiresAt - renewedAt

/** The subscriptions that are free and have been due for longest, and when the next one is. */
const dueAmongFree = (sql: Sql, given: Given, limit: number, now: Millis) => {
  const due: Array<SubscriptionId> = []
  const isOne = typeof given === "number"
  const rows = isOne
    ? sql.each<FreeRow>(`${freeRow} AND exchange = ? ORDER BY due_at`, given)
    : given.size > few
      ? sql.each<FreeRow>(`${freeRow} ORDER BY due_at`)
      : [...given].flatMap((id) => sql.rows<FreeRow>(oneFree, id)).toSorted(([, a], [, b]) => a - b)
  for (const [subscription, dueAt] of rows) {
    if (!isOne && !given.has(subscription)) continue
    if (dueAt > now) return { due, next: dueAt }
    if (due.length >= limit) break
    due.push(subscription)
  }
  return { due, next: Number.POSITIVE_INFINITY }
}

const acquire = (sql: Sql, owner: Owner, subscription: SubscriptionId): Claimed => {
  // It is free, and no other transaction writes.
  const [epoch, attempts, firstFailedAt, failingSince] = sql.row<AcquiredRow>(acquireOne, owner.id, subscription)!
  const lanes = sql
    .rows<[lane: number, first: Position]>(lanesOf, subscription, mostLanes)
    .map(([lane, first]) => ({ lane, first }))
  const since = { firstFailedAt: firstFailedAt ?? undefined, failingSince: failingSince ?? undefined }
  return { subscription, epoch, attempts, ...since, lanes }
}

/** The leases with something new, and those that are due with nothing new. */
const newAmongHeld = (sql: Sql, owner: Owner, seen: Seen, now: Millis) => {
  const wakes: Array<readonly [SubscriptionId, number]> = []
  const passed: Array<SubscriptionId> = []
  let next = Number.POSITIVE_INFINITY
  // After a clock was set back nothing is known of the time in between.
  const since = now < seen.at ? Number.MIN_SAFE_INTEGER : seen.at
  for (const [one, count, dueAt, waitUntil, cameDue, nextDue] of sql.each<HeldRow>(held, since, now, now, owner.id)) {
    if (dueAt > now) {
      next = Math.min(next, dueAt)
      break
    }
    if (nextDue !== null) next = Math.min(next, nextDue)
    if (count !== seen.wakes.get(one) || cameDue === 1 || waitUntil > since) wakes.push([one, count])
    else passed.push(one)
  }
  return { wakes, passed, next }
}

/** Whether another owner has the lease of one of these. */
const hasSome = (sql: Sql, [owner]: OwnerRow, given: Given): boolean => {
  if (typeof given === "number") return sql.row(`${heldBy} AND exchange = ? LIMIT 1`, owner, given) !== undefined
  if (given.size <= few) return [...given].some((one) => sql.row(`${heldBy} AND subscription = ?`, owner, one))
  for (const [one] of sql.each<[SubscriptionId]>(heldBy, owner)) if (given.has(one)) return true
  return false
}

const freeRow = "SELECT subscription, due_at FROM leases WHERE owner IS NULL AND active = 1 AND due_at IS NOT NULL"
const oneFree = `${freeRow} AND subscription = ?`
const heldBy = "SELECT subscription FROM leases WHERE owner = ? AND active = 1"
const exchangeOf = "SELECT id FROM exchanges WHERE name = ?"
const redefinedOf = "SELECT subscription FROM leases WHERE owner = ? AND redefined = 1 AND active = 1"
const noneRedefined = "UPDATE leases SET redefined = 0 WHERE owner = ? AND redefined = 1 AND active = 1"
const acquireOne = `UPDATE leases SET owner = ?, epoch = epoch + 1, redefined = 0 WHERE subscription = ?
  RETURNING epoch, attempts, first_failed_at, failing_since`
const notActive = "SELECT subscription FROM leases WHERE owner = ? AND active = 0"
const lanesOf = `SELECT lane, ${positionOf} FROM delayed INDEXED BY delayed_firsts
  WHERE subscription = ? AND due_at IS NOT NULL ORDER BY lane LIMIT +?`
const held = `SELECT subscription, wakes, due_at, wait_until,
    EXISTS (SELECT 1 FROM delayed d WHERE d.subscription = l.subscription AND d.due_at > ? AND d.due_at <= ?),
    (SELECT min(d.due_at) FROM delayed d WHERE d.subscription = l.subscription AND d.due_at > ?)
  FROM leases l WHERE owner = ? AND active = 1 AND due_at IS NOT NULL AND pending > 0 ORDER BY due_at`
const notDue = `UPDATE leases SET due_at = (SELECT min(d.due_at) FROM delayed d
  WHERE d.subscription = leases.subscription AND d.due_at > ?) WHERE subscription = ?`
