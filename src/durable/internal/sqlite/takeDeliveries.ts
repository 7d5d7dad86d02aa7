/** What a lease gives within one transaction that reads. */
import type { Delivery, Millis, Owner, Position, Taken, Wanted } from "../../EventStore.ts"
import { atMost, type Sql } from "./prepared.ts"
import { maxPosition, positionOf, rowAt, runs } from "./sqliteSchema.ts"

/** Position, payload, topic, content type, trace, and when it was written. */
export type EventColumns = readonly [Position, Uint8Array, string, string | null, string | null, Millis]

export const eventOf = (row: readonly [...EventColumns, ...ReadonlyArray<unknown>]) => ({
  position: row[0],
  payload: row[1],
  topic: row[2],
  contentType: row[3] ?? undefined,
  trace: row[4] ?? undefined,
  writtenAt: row[5]
})

/** Nothing when the lease is lost, or its subscription is not active. */
export const takeDeliveries = (sql: Sql, owner: Owner, wanted: Wanted, now: number): Taken | undefined => {
  const { busy, epoch, except, limits, perLane, subscription } = wanted
  const most = Math.max(1, limits.rows)
  const lease = sql.row<[waitUntil: number, bytes: number]>(heldBy, subscription, epoch, owner.id)
  if (lease === undefined) return undefined
  const [waitUntil, pendingBytes] = lease
  const deliveries: Array<Delivery> = []
  let bytes = 0
  let more = false
  /** Answers whether there is room for another one. */
  const add = (row: Row): boolean => {
    const { length } = row[1]
    if (deliveries.length > 0 && (deliveries.length >= most || bytes + length > limits.bytes)) {
      more = true
      return false
    }
    bytes += length
    deliveries.push(deliveryOf(row))
    return true
  }
  const taken = new Set(except)
  const fromLanes = () => {
    // As many as may be passed over, and one more than there is room for: it shows whether there is more.
    const count = atMost(most + busy.length + except.length + 1)
    for (const [lane] of sql.rows<[number]>(dueLanes, subscription, now, count)) {
      if (busy.includes(lane)) continue
      let given = 0
      for (const row of sql.each<Row>(inLane, subscription, lane)) {
        if (taken.has(row[0])) continue
        if (given++ === perLane) break
        if (!add(row)) return
      }
    }
  }
  const inOrder = () => {
    // Between those that are taken already: their payloads are not read again.
    for (const [from, to] of except.length === 0 ? everything : between(except)) {
      const range = [subscription, from, subscription, to, atMost(most - deliveries.length + 1)] as const
      const rows = bytes + pendingBytes <= limits.bytes ? sql.rows<Row>(head, ...range) : sql.each<Row>(head, ...range)
      for (const row of rows) if (!add(row)) return
    }
  }
  if (waitUntil <= now) {
    if (perLane > 0) fromLanes()
    if (!more) inOrder()
  }
  return { subscription, deliveries, more }
}

// internals

type Row = readonly [...EventColumns, attempts: number, lane?: number, firstFailedAt?: Millis | null]

// Without a copy of what `eventOf` makes: there is one for each event.
const deliveryOf = (row: Row): Delivery => ({
  position: row[0],
  payload: row[1],
  topic: row[2],
  contentType: row[3] ?? undefined,
  trace: row[4] ?? undefined,
  writtenAt: row[5],
  attempts: row[6],
  lane: row[7],
  firstFailedAt: row[8] ?? undefined
})

const everything = [[0, maxPosition]] as const

/** The ranges of positions without some. */
const between = (except: ReadonlyArray<Position>): ReadonlyArray<readonly [from: Position, to: Position]> => {
  const ranges: Array<readonly [Position, Position]> = []
  let from = 0
  for (const [first, last] of runs(except)) {
    if (first > from) ranges.push([from, first - 1])
    from = last + 1
  }
  return [...ranges, [from, maxPosition]]
}

const heldBy = `SELECT wait_until, bytes FROM leases WHERE subscription = ? AND epoch = ? AND owner = ? AND active = 1`
const dueLanes = "SELECT lane FROM delayed WHERE subscription = ? AND due_at <= ? ORDER BY due_at LIMIT +?"
const inLane = `SELECT ${positionOf}, payload, topic, content_type, trace, written_at, attempts, lane, first_failed_at
  FROM delayed JOIN events e ON e.position = event WHERE subscription = ? AND lane = ? ORDER BY id`
const head = `SELECT ${positionOf}, ifnull(d.payload, e.payload), ifnull(d.topic, e.topic),
    ifnull(d.content_type, e.content_type), ifnull(d.trace, e.trace), ifnull(d.written_at, e.written_at), attempts
  FROM deliveries d LEFT JOIN events e ON e.position = event
  WHERE id BETWEEN ${rowAt("?")} AND ${rowAt("?")} ORDER BY id LIMIT +?`
