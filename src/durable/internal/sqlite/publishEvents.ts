/** A publish within one transaction: the events, a delivery for each subscription that matches, and their counters. */
import type { Limits, Millis, NewEvent, Position, Published, SubscriptionId } from "../../EventStore.ts"
import { keepId, positionOfId } from "./idRows.ts"
import { patternsOf } from "./patternsOf.ts"
import { after, blob, type Sql, type Value } from "./prepared.ts"
import { dueAtOf } from "./scheduledRows.ts"
import { rowAt, setPosition } from "./sqliteSchema.ts"

/** A subscription with its pending rows and bytes, when it is due and until when it waits, and what is so for all. */
type Match = readonly [
  ...[SubscriptionId, rows: number, bytes: number, dueAt: Millis | null, waitUntil: Millis],
  ...[last: Position, exchange: number | null, retention: number | null, deduplication: number | null]
]

/** What the events of one tenant and topic go to, and how much that is. */
interface Route {
  readonly tenant: string
  readonly topic: string
  readonly patterns: ReadonlyArray<string>
  readonly matches: ReadonlyArray<Match>
  /** The one subscription that has the events in its deliveries. */
  readonly only: SubscriptionId | undefined
  /** The last position that was used, and the exchange, if it was opened. */
  readonly last: Position
  readonly exchange: number | null
  readonly isRetained: boolean
  /** For how long ids are kept. */
  readonly window: Millis
  rows: number
  bytes: number
  /** How many of the rows are scheduled, and when the first of these comes due. */
  scheduled: number
  scheduledAt: Millis
}

/** So many deliveries go into the file with one statement: calling one costs more than its work. */
const sizes = [25, 5, 1]

/** Answers nothing when the events do not fit the limits. */
export const publishEvents = (
  sql: Sql,
  exchange: string,
  events: ReadonlyArray<NewEvent>,
  limits: Limits | undefined,
  now: number
): ReadonlyArray<Published> | undefined => {
  const routes = new Map<string, Route>()
  let route: Route | undefined
  /** The positions of the ids of this publish. */
  const ids = new Map<string, Position>()
  let stored = 0
  /** Where each event goes, or the position of the one that it duplicates. */
  const routed = events.map(({ due, id, payload, tenant = "", topic = "" }): Route | Position => {
    if (route?.tenant !== tenant || route.topic !== topic) {
      const key = `${tenant.length} ${tenant}${topic}`
      route = routes.get(key) ?? routeOf(sql, exchange, tenant, topic)
      routes.set(key, route)
    }
    const dueAt = dueAtOf(due, now)
    if (id !== undefined && route.exchange !== null && route.window > 0) {
      const key = `${tenant.length} ${tenant}${id}`
      const before = ids.get(key) ?? positionOfId(sql, route.exchange, tenant, id, now)
      if (before !== undefined) return before
      if (isStored(route, dueAt)) ids.set(key, route.last + stored + 1)
    }
    stored++
    route.rows++
    route.bytes += payload.length
    if (dueAt !== undefined) {
      route.scheduled++
      route.scheduledAt = Math.min(route.scheduledAt, dueAt)
    }
    return route
  })
  if (limits !== undefined && !fits([...routes.values()], limits)) return undefined
  // All have the same.
  const last = route?.last ?? 0
  let position = last
  const inline: Array<Value> = []
  const published = events.map((event, i): Published => {
    const { contentType = null, payload, tenant = "", topic = "", trace = null } = event
    // There is one for each event.
    const to = routed[i]!
    if (typeof to === "number") return { position: to, matched: 0, isDuplicate: true }
    position++
    const { exchange, matches, only, patterns, window } = to
    const dueAt = dueAtOf(event.due, now)
    const isRetained = to.isRetained && dueAt === undefined
    if (event.id !== undefined && exchange !== null && window > 0 && isStored(to, dueAt))
      keepId(sql, exchange, tenant, event.id, position, after(now, window))
    if (only !== undefined && dueAt === undefined) {
      inline.push(only, position, topic, contentType, trace, now, payload)
    } else if (isStored(to, dueAt)) {
      sql.run(insertEvent, position, topic, contentType, trace, now, payload)
      const retained = isRetained ? [exchange, tenant, now] : [null, null, null]
      sql.run("INSERT INTO uses VALUES (?, ?, ?, ?, ?)", position, matches.length, ...retained)
      const those = [exchange, tenant, ...patterns]
      if (dueAt === undefined) sql.run(textsFor(patterns).insertAll, position, position, ...those)
      else sql.run(textsFor(patterns).schedule, position, position, dueAt, ...those)
    }
    return { position, matched: matches.length }
  })
  let inserted = 0
  for (const [values, insert] of inserts)
    for (; inserted + values <= inline.length; inserted += values)
      sql.run(insert, ...inline.slice(inserted, inserted + values))
  for (const { bytes, exchange, matches, patterns, rows, scheduled, scheduledAt, tenant } of routes.values()) {
    const [first] = matches
    if (first === undefined || rows === 0) continue
    const isOne = matches.length === 1
    const { comesDue, count, countScheduled, wake } = isOne ? textsForOne : textsFor(patterns)
    const values = isOne ? [first[0]] : [exchange, tenant, ...patterns]
    if (scheduled > 0) sql.run(comesDue, scheduledAt, scheduledAt, ...values)
    if (scheduled === rows) {
      sql.run(countScheduled, rows, bytes, ...values)
      continue
    }
    sql.run(count, rows, bytes, ...values)
    // Most of the time they are due already, and the indexes are left as they are.
    const isDue = ([, , , dueAt, waitUntil]: Match) => dueAt !== null && dueAt <= Math.max(now, waitUntil)
    if (!matches.every(isDue)) sql.run(wake, now, now, ...values)
  }
  sql.run(setPosition, position)
  return published
}

// internals

const routeOf = (sql: Sql, name: string, tenant: string, topic: string): Route => {
  const patterns = patternsOf(topic)
  const found = sql.rows<Match>(textsFor(patterns).routes, name, tenant, ...patterns)
  // Several patterns of one subscription may match; where none does, there is one row without a subscription.
  const matches = [...new Map(found.map((row) => [row[0], row])).values()].filter(([id]) => id > 0)
  const [, , , , , last, exchange, retention, window] = found[0] ?? [0, 0, 0, null, 0, 0, null, null, null]
  const isRetained = retention !== null && retention > 0
  const only = matches.length === 1 && !isRetained ? matches[0]?.[0] : undefined
  const of = { tenant, topic, patterns, matches, only, last, exchange, isRetained, window: window ?? 0 }
  return { ...of, rows: 0, bytes: 0, scheduled: 0, scheduledAt: Number.POSITIVE_INFINITY }
}

/** Whether an event is stored at all: the id of one that is not is not kept. */
const isStored = ({ isRetained, matches }: Route, dueAt: Millis | undefined): boolean =>
  matches.length > 0 || (isRetained && dueAt === undefined)

/** Whether each subscription is empty, or has room for all that is for it. Duplicates are not. */
const fits = (routes: ReadonlyArray<Route>, limits: Limits): boolean => {
  const sums = new Map<number, { rows: number; bytes: number }>()
  return routes.every(
    (route) =>
      route.rows === 0 ||
      route.matches.every(([id, rows, bytes]) => {
        const sum = sums.get(id) ?? { rows, bytes }
        sums.set(id, sum)
        sum.rows += route.rows
        sum.bytes += route.bytes
        return rows === 0 || (sum.rows <= limits.rows && sum.bytes <= limits.bytes)
      })
  )
}

const inlineRow = `(${rowAt("?")}, ?, ?, ?, ?, ${blob})`
const insertOne = `INSERT INTO deliveries (id, topic, content_type, trace, written_at, payload) VALUES ${inlineRow}`
const inserts = sizes.map((size) => [7 * size, `${insertOne}${`, ${inlineRow}`.repeat(size - 1)}`] as const)
const insertEvent = `INSERT INTO events VALUES (?, ?, ?, ?, ?, ${blob})`

const textsOf = (those: string) => ({
  count: `UPDATE leases SET pending = pending + ?, bytes = bytes + ?, wakes = wakes + 1 WHERE subscription ${those}`,
  countScheduled: `UPDATE leases SET pending = pending + ?, bytes = bytes + ? WHERE subscription ${those}`,
  comesDue: `UPDATE leases SET scheduled_at = ? WHERE ifnull(scheduled_at > ?, TRUE) AND subscription ${those}`,
  wake: `UPDATE leases SET due_at = max(?, wait_until)
    WHERE ifnull(due_at > max(?, wait_until), TRUE) AND subscription ${those}`
})
const textsForOne = textsOf("= ?")

const makeTexts = (patterns: number) => {
  const matching = `tenant = ? AND pattern IN (${Array.from({ length: patterns }, () => "?").join(", ")})`
  const from = `FROM routes WHERE exchange = ? AND ${matching}`
  return {
    ...textsOf(`IN (SELECT subscription ${from})`),
    routes: `SELECT ifnull(l.subscription, 0), l.pending, l.bytes, l.due_at, l.wait_until, p.wakes, x.id, retention, deduplication
      FROM leases p LEFT JOIN exchanges x ON x.name = ? LEFT JOIN routes r ON r.exchange = x.id AND ${matching}
      LEFT JOIN leases l ON l.subscription = r.subscription WHERE p.subscription = 0`,
    // Several patterns of one subscription may match.
    schedule: `INSERT OR IGNORE INTO scheduled (id, subscription, event, due_at)
      SELECT ${rowAt("?", "subscription")}, subscription, ?, ? ${from}`,
    insertAll: `INSERT OR IGNORE INTO deliveries (id, event) SELECT ${rowAt("?", "subscription")}, ? ${from}`
  }
}
const texts: Array<ReturnType<typeof makeTexts>> = []
/** The statements for so many patterns. They are the same strings each time, whose hash is known. */
const textsFor = ({ length }: ReadonlyArray<string>) => (texts[length] ??= makeTexts(length))
