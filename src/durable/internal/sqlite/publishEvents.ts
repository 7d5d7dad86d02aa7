/** A publish within one transaction: the events, a delivery for each subscription that matches, and their counters. */
import type { Limits, Millis, NewEvent, Position, Published, SubscriptionId } from "../../EventStore.ts"
import { blob, type Sql, type Value } from "./prepared.ts"
import { rowAt, setPosition } from "./sqliteSchema.ts"

/** A subscription with its pending rows and bytes, when it is due and until when it waits, and what is so for all. */
type Match = readonly [
  ...[SubscriptionId, rows: number, bytes: number, dueAt: Millis | null, waitUntil: Millis],
  ...[last: Position, exchange: number | null, retention: number | null]
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
  rows: number
  bytes: number
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
  const routed = events.map(({ payload, tenant = "", topic = "" }) => {
    if (route?.tenant !== tenant || route.topic !== topic) {
      const key = `${tenant.length} ${tenant}${topic}`
      route = routes.get(key) ?? routeOf(sql, exchange, tenant, topic)
      routes.set(key, route)
    }
    route.rows++
    route.bytes += payload.length
    return route
  })
  if (limits !== undefined && !fits([...routes.values()], limits)) return undefined
  const last = routed[0]?.last ?? 0
  const inline: Array<Value> = []
  const published = events.map(({ contentType = null, payload, tenant = "", topic = "", trace = null }, i) => {
    const position = last + i + 1
    // There is one for each event.
    const { exchange, isRetained, matches, only, patterns } = routed[i]!
    if (only !== undefined) {
      inline.push(only, position, topic, contentType, trace, now, payload)
    } else if (matches.length > 0 || isRetained) {
      sql.run(insertEvent, position, topic, contentType, trace, now, payload)
      const retained = isRetained ? [exchange, tenant, now] : [null, null, null]
      sql.run("INSERT INTO uses VALUES (?, ?, ?, ?, ?)", position, matches.length, ...retained)
      sql.run(textsFor(patterns).insertAll, position, position, exchange, tenant, ...patterns)
    }
    return { position, matched: matches.length }
  })
  let inserted = 0
  for (const [values, insert] of inserts)
    for (; inserted + values <= inline.length; inserted += values)
      sql.run(insert, ...inline.slice(inserted, inserted + values))
  for (const { bytes, exchange, matches, patterns, rows, tenant } of routes.values()) {
    const [first] = matches
    if (first === undefined) continue
    const isOne = matches.length === 1
    const { count, wake } = isOne ? textsForOne : textsFor(patterns)
    const values = isOne ? [first[0]] : [exchange, tenant, ...patterns]
    sql.run(count, rows, bytes, ...values)
    // Most of the time they are due already, and the indexes are left as they are.
    const isDue = ([, , , dueAt, waitUntil]: Match) => dueAt !== null && dueAt <= Math.max(now, waitUntil)
    if (!matches.every(isDue)) sql.run(wake, now, now, ...values)
  }
  sql.run(setPosition, last + events.length)
  return published
}

// internals

const routeOf = (sql: Sql, name: string, tenant: string, topic: string): Route => {
  const patterns = patternsOf(topic)
  const found = sql.rows<Match>(textsFor(patterns).routes, name, tenant, ...patterns)
  // Several patterns of one subscription may match; where none does, there is one row without a subscription.
  const matches = [...new Map(found.map((row) => [row[0], row])).values()].filter(([id]) => id > 0)
  const [, , , , , last, exchange, retention] = found[0] ?? [0, 0, 0, null, 0, 0, null, null]
  const isRetained = retention !== null && retention > 0
  const only = matches.length === 1 && !isRetained ? matches[0]?.[0] : undefined
  return { tenant, topic, patterns, matches, only, last, exchange, isRetained, rows: 0, bytes: 0 }
}

/** The patterns that match a topic. */
const patternsOf = (topic: string): ReadonlyArray<string> =>
  topic === "" ? ["*"] : ["*", topic, ...[...topic.matchAll(/\//g)].map(({ index }) => `${topic.slice(0, index)}/*`)]

/** Whether each subscription is empty, or has room for all that is for it. */
const fits = (routes: ReadonlyArray<Route>, limits: Limits): boolean => {
  const sums = new Map<number, { rows: number; bytes: number }>()
  return routes.every((route) =>
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
  wake: `UPDATE leases SET due_at = max(?, wait_until)
    WHERE ifnull(due_at > max(?, wait_until), TRUE) AND subscription ${those}`
})
const textsForOne = textsOf("= ?")

const makeTexts = (patterns: number) => {
  const matching = `tenant = ? AND pattern IN (${Array.from({ length: patterns }, () => "?").join(", ")})`
  const from = `FROM routes WHERE exchange = ? AND ${matching}`
  return {
    ...textsOf(`IN (SELECT subscription ${from})`),
    routes: `SELECT ifnull(l.subscription, 0), l.pending, l.bytes, l.due_at, l.wait_until, p.wakes, x.id, retention
      FROM leases p LEFT JOIN exchanges x ON x.name = ? LEFT JOIN routes r ON exchange = x.id AND ${matching}
      LEFT JOIN leases l ON l.subscription = r.subscription WHERE p.subscription = 0`,
    // Several patterns of one subscription may match.
    insertAll: `INSERT OR IGNORE INTO deliveries (id, event) SELECT ${rowAt("?", "subscription")}, ? ${from}`
  }
}
const texts: Array<ReturnType<typeof makeTexts>> = []
/** The statements for so many patterns. They are the same strings each time, whose hash is known. */
const textsFor = ({ length }: ReadonlyArray<string>) => (texts[length] ??= makeTexts(length))
