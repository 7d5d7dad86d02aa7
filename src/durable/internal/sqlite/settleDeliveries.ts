/** What became of the deliveries of a lease, within one transaction. */
import * as Duration from "effect/Duration"
import type { Owner, Position, Settled, Settlement } from "../../EventStore.ts"
import { type Ended, keepAttempts, keepOutcomeOf, keepOutcomes } from "./outcomeRows.ts"
import { after, type Sql } from "./prepared.ts"
import { removeRows } from "./removeRows.ts"
import { byId, positionOf, rowAt, runs } from "./sqliteSchema.ts"

type Of<Tag extends Settled["_tag"]> = Extract<Settled, { readonly _tag: Tag }>

/** Answers whether the lease was held. */
export const settleDeliveries = (sql: Sql, owner: Owner, settlement: Settlement, now: number): boolean => {
  const { attempts: made = [], isFailing, lease, settled, wait } = settlement
  const { epoch, subscription } = lease
  const found = sql.row<HeldRow>(held, subscription, epoch, owner.id)
  if (found === undefined) return false
  const [dueAt, waitUntil, failed, keeps] = found
  let [rows, bytes, deadLetters] = [0, 0, 0]
  /** When something comes due that was not: at once, if that is not after `now`. */
  let comesDue = Number.POSITIVE_INFINITY

  /** Sets when the first of a lane is due, if there is one. The others have no time. */
  const setDue = (lane: number, at: number): void => {
    sql.run(clearDue, subscription, lane)
    if (sql.run(setFirstDue, at, subscription, lane) > 0) comesDue = Math.min(comesDue, at)
  }
  /** Takes a delivery out of the order. Its event becomes a row of its own, if it was in the delivery. */
  const leaveOrder = (position: Position): Left | undefined => {
    const left = sql.row<[event: Position | null, attempts: number]>(inOrderAt, subscription, position)
    if (left === undefined) return undefined
    const [event, attempts] = left
    if (event === null) {
      sql.run(eventOfDelivery, position, subscription, position)
      sql.run("INSERT INTO uses (event, count) VALUES (?, 1)", position)
    }
    sql.run(removeOne, subscription, position)
    return [event ?? position, attempts]
  }
  /** Takes a delivery out of its lane, whose next one is then due. */
  const leaveLane = (position: Position, lane: number): Left | undefined => {
    const left = sql.row<[...Left, dueAt: number | null]>(leave, subscription, position, lane)
    if (left === undefined) return undefined
    const [event, attempts, due] = left
    if (due !== null) setDue(lane, now)
    return [event, attempts]
  }
  const end = (one: Of<"Acknowledged" | "DeadLettered">): void => {
    const { lane, position } = one
    const [event] = (lane === undefined ? leaveOrder(position) : leaveLane(position, lane)) ?? []
    if (event === undefined) return
    rows++
    bytes += sql.row<[number]>("SELECT length(payload) FROM events WHERE position = ?", event)?.[0] ?? 0
    if (one._tag === "Acknowledged") {
      if (keeps !== null) keepOutcomeOf(sql, event, { subscription, exchange: keeps, state: endOf(one), now })
      sql.run("UPDATE uses SET count = count - 1 WHERE event = ?", event)
    } else {
      deadLetters++
      const { attempts, cause, reason } = one
      sql.run(insertDeadLetter, subscription, position, subscription, event, now, reason, cause, attempts)
    }
  }
  const setAside = (one: Of<"Aside" | "Again">): void => {
    const { lane, position } = one
    const isAside = sql.row(asideAt, subscription, position, lane) !== undefined
    if (!isAside) {
      const left = leaveOrder(position)
      if (left === undefined) return
      sql.run(insertAside, subscription, position, subscription, lane, ...left)
    }
    if (one._tag === "Again") sql.run(again, one.attempts, now, subscription, position)
    else if (isAside) return
    // It is due when the lane is, of which it may be the first.
    if (sql.row<[Position]>(firstOf, subscription, lane)?.[0] === position)
      setDue(lane, one._tag === "Again" ? after(now, Duration.toMillis(one.delay)) : now)
  }
  const acknowledgeRun = (from: Position, to: Position, state: Ended): void => {
    const range = [subscription, from, subscription, to] as const
    if (keeps !== null) keepOutcomes(sql, "deliveries", run, range, { subscription, exchange: keeps, state, now })
    // A sum always has a row.
    const [count, inline, events] = sql.row<[number, number, number]>(sumOfRun, ...range)!
    rows += count
    bytes += events > 0 ? inline + sql.row<[number]>(bytesOfRun, ...range)![0] : inline
    if (events > 0) removeRows(sql, "deliveries", subscription, from, to)
    else if (count > 0) sql.run(removeRun, ...range)
  }

  if (keeps !== null && made.length > 0) keepAttempts(sql, subscription, keeps, made, now)
  const inOrder: Array<Position> = []
  const dropped: Array<Position> = []
  for (const one of settled) {
    if (one._tag === "Again" || one._tag === "Aside") setAside(one)
    else if (one._tag === "DeadLettered" || one.lane !== undefined) end(one)
    // They differ by their outcomes alone.
    else if (keeps !== null && one.isDropped === true) dropped.push(one.position)
    else inOrder.push(one.position)
  }
  for (const [from, to] of runs(inOrder)) acknowledgeRun(from, to, "Delivered")
  if (dropped.length > 0) for (const [from, to] of runs(dropped)) acknowledgeRun(from, to, "Dropped")

  if (isFailing !== undefined) sql.run(setFailing, isFailing ? 1 : 0, now, subscription)
  let until = waitUntil
  if (wait !== undefined) {
    const { delay, position, reason } = wait
    // What is waited for may be purged.
    const isGone =
      position !== undefined && sql.row(pendingAt, subscription, position, subscription, position) === undefined
    const attempts = isGone ? 0 : wait.attempts
    const waits = !isGone && (attempts > 0 || Duration.isPositive(delay))
    const why = waits ? ([reason ?? null, position ?? null] as const) : [null, null]
    // The end of a wait, be it now, is an arrival of all that is stored.
    if (attempts > 0 || failed > 0) comesDue = now
    until = waits ? after(now, Duration.toMillis(delay)) : 0
    sql.run(setWait, attempts, attempts, now, now, until, ...why, subscription)
  }
  comesDue = Math.max(comesDue, until)
  const nextDue = until > now ? until : Math.min(dueAt ?? Number.POSITIVE_INFINITY, comesDue)
  if (nextDue !== dueAt && nextDue !== Number.POSITIVE_INFINITY)
    sql.run("UPDATE leases SET due_at = ? WHERE subscription = ?", nextDue, subscription)
  const wakes = comesDue <= now ? 1 : 0
  if (rows + wakes > 0) sql.run(countOut, rows, bytes, deadLetters, wakes, subscription)
  return true
}

// internals

/** What has left its place. */
type Left = readonly [event: Position, attempts: number]
type HeldRow = readonly [dueAt: number | null, waitUntil: number, attempts: number, keeps: number | null]

const endOf = ({ isDropped }: Of<"Acknowledged">): Ended => (isDropped === true ? "Dropped" : "Delivered")

const held = "SELECT due_at, wait_until, attempts, keeps FROM leases WHERE subscription = ? AND epoch = ? AND owner = ?"
const countOut = `UPDATE leases SET pending = pending - ?, bytes = bytes - ?, dead_letters = dead_letters + ?,
  wakes = wakes + ? WHERE subscription = ?`
const setWait = `UPDATE leases SET attempts = ?,
  first_failed_at = CASE ? WHEN 0 THEN NULL WHEN 1 THEN ? ELSE ifnull(first_failed_at, ?) END,
  wait_until = ?, wait_reason = ?, wait_position = ? WHERE subscription = ?`
const setFailing = "UPDATE leases SET failing_since = iif(?, ifnull(failing_since, ?), NULL) WHERE subscription = ?"
const run = `id BETWEEN ${rowAt("?")} AND ${rowAt("?")}`
const sumOfRun = `SELECT count(*), total(length(payload)), count(event) FROM deliveries WHERE ${run}`
const bytesOfRun = `SELECT total(length(payload)) FROM events WHERE position IN (SELECT event FROM deliveries WHERE ${run})`
const removeRun = `DELETE FROM deliveries WHERE ${run}`
const removeOne = `DELETE FROM deliveries WHERE ${byId}`
const inOrderAt = `SELECT event, attempts FROM deliveries WHERE ${byId}`
const eventOfDelivery = `INSERT INTO events SELECT ?, topic, content_type, trace, written_at, payload FROM deliveries
  WHERE ${byId}`
const asideAt = `SELECT 1 FROM delayed WHERE ${byId} AND lane = ?`
const pendingAt = `SELECT 1 FROM deliveries WHERE ${byId} UNION ALL SELECT 1 FROM delayed WHERE ${byId}`
const insertAside = `INSERT INTO delayed (id, subscription, lane, event, attempts) VALUES (${rowAt("?")}, ?, ?, ?, ?)`
const again = `UPDATE delayed SET attempts = ?, first_failed_at = ifnull(first_failed_at, ?) WHERE ${byId}`
const leave = `DELETE FROM delayed WHERE ${byId} AND lane = ? RETURNING event, attempts, due_at`
const clearDue = `UPDATE delayed INDEXED BY delayed_firsts SET due_at = NULL
  WHERE subscription = ? AND lane = ? AND due_at IS NOT NULL`
const firstOf = `SELECT ${positionOf} FROM delayed WHERE subscription = ? AND lane = ? ORDER BY id LIMIT 1`
const setFirstDue = `UPDATE delayed SET due_at = ?
  WHERE id = (SELECT id FROM delayed WHERE subscription = ? AND lane = ? ORDER BY id LIMIT 1)`
const insertDeadLetter = `INSERT INTO dead_letters VALUES (${rowAt("?")}, ?, ?, ?, ?, ?, ?)`
