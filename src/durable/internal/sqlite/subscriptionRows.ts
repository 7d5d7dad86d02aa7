/** Exchanges and subscriptions within one transaction. */
import type {
  Definition,
  Keeping,
  Listing,
  Millis,
  State,
  Subscription,
  SubscriptionId,
  Which
} from "../../EventStore.ts"
import { dueWhenFree } from "./leaseRows.ts"
import { atMost, blob, type Sql } from "./prepared.ts"
import { ofSubscription, rowAt } from "./sqliteSchema.ts"

/** For how many milliseconds an exchange keeps what. */
export type KeepingMillis = { readonly [What in keyof Keeping]?: Millis | undefined }

/** Makes an exchange, and sets what it keeps, as far as that is given. Answers its id. */
export const openExchange = (sql: Sql, name: string, keeping: KeepingMillis = {}): number => {
  sql.run("INSERT OR IGNORE INTO exchanges (name) VALUES (?)", name)
  // It was made, or there before.
  const [id] = sql.row<[number]>("SELECT id FROM exchanges WHERE name = ?", name)!
  const { deduplication, outcomes, retention } = keeping
  const times = [retention, deduplication, outcomes]
  if (times.some((time) => time !== undefined)) sql.run(setKeeping, ...times.map((time) => time ?? null), id)
  if (outcomes !== undefined) sql.run(setKeeps, outcomes, id)
  return id
}

export const defineSubscriptions = (
  sql: Sql,
  name: string,
  definitions: ReadonlyArray<Definition>,
  now: Millis
): ReadonlyArray<Subscription> => {
  const exchange = openExchange(sql, name)
  return definitions.flatMap((one) => {
    if (one.replaces !== undefined && !isOfData(sql, exchange, one, one.replaces)) return []
    define(sql, exchange, one, now)
    return listSubscriptions(sql, { exchange: name, tenant: one.tenant ?? "", name: one.name })
  })
}

/** Answers how many there are. */
export const setState = (
  sql: Sql,
  which: Which,
  state: State,
  reason: string | undefined,
  from: ReadonlyArray<State> | undefined,
  now: Millis
): number => {
  const all = selected(which)
  const where = `${all.where} ${from === undefined ? "" : "AND state IN (SELECT value FROM json_each(?))"}`
  const values = [...all.values, ...(from === undefined ? [] : [JSON.stringify(from)])]
  const those = `WHERE subscription IN (SELECT id FROM subscriptions ${where})`
  sql.run(`${setActive} ${those}`, state === "active" ? 1 : 0, ...values)
  sql.run(`${setDue} ${those}`, now, now, now, ...values)
  return sql.run(`${setStateOf} ${where}`, state, now, state, reason ?? null, ...values)
}

/** Drops subscriptions at once: what is stored for them is not found any more, and left to `sweep`. */
export const dropSubscriptions = (sql: Sql, which: Which): number => {
  const { values, where } = selected(which)
  const found = sql.rows<[SubscriptionId, pending: number]>(`${pendingOf} ${where}`, ...values)
  for (const [id] of found) for (const statement of dropping) sql.run(statement, id)
  return found.reduce((sum, [, pending]) => sum + pending, 0)
}

export const listSubscriptions = (
  sql: Sql,
  { after, limit = Number.POSITIVE_INFINITY, ...which }: Listing
): ReadonlyArray<Subscription> => {
  const { values, where } = selected(which)
  // Only one of these is the bound of an index, after the columns that are given.
  const isOfTenant = which.tenant !== undefined && which.tenant === after?.tenant
  const later = after === undefined ? "" : isOfTenant ? "AND name > ?" : "AND (tenant, name) > (?, ?)"
  const from = after === undefined ? [] : isOfTenant ? [after.name] : [after.tenant, after.name]
  return sql
    .rows<SubscriptionColumns>(
      `SELECT ${subscriptionColumns} FROM subscriptions ${where} ${later} ORDER BY tenant, name LIMIT +?`,
      ...values,
      ...from,
      atMost(limit)
    )
    .map((row) => subscriptionOf(which.exchange, row))
}

/** The condition of ids, which has one value. */
export const idsOf = (ids: ReadonlyArray<SubscriptionId>): string => JSON.stringify(ids)
export const isOfIds = "IN (SELECT value FROM json_each(?))"

/** Id, tenant, name, topics, data, state, reason, and since when. */
export type SubscriptionColumns = readonly [
  ...[SubscriptionId, tenant: string, name: string, topics: string, data: Uint8Array | null],
  ...[State, reason: string | null, since: Millis]
]
export const subscriptionColumns = "subscriptions.id, tenant, subscriptions.name, topics, data, state, reason, since"

export const subscriptionOf = (
  exchange: string,
  [id, tenant, name, topics, data, state, reason, since]: readonly [...SubscriptionColumns, ...ReadonlyArray<unknown>]
): Subscription => ({
  id,
  exchange,
  tenant,
  name,
  topics: topicsOf(topics),
  data: data ?? undefined,
  state,
  reason: reason ?? undefined,
  since
})

/** What `define` has put there. */
export const topicsOf = (topics: string) => JSON.parse(topics) as ReadonlyArray<string>

// internals

const define = (sql: Sql, exchange: number, definition: Definition, now: Millis): void => {
  const { data, name, start, tenant = "", topics } = definition
  // Half a character is bound as U+FFFD, and so in JSON too: the routes of these topics are found by it.
  const wellFormed = JSON.stringify(topics.map((topic) => topic.toWellFormed()))
  const values = [wellFormed, data === undefined ? 0 : 1, data ?? null] as const
  const [found, isSame] = sql.row<[SubscriptionId, number]>(byName, ...values, exchange, tenant, name) ?? []
  // An insert answers the id.
  const id = found ?? sql.row<[SubscriptionId]>(insert, exchange, tenant, name, now, ...values)![0]
  if (found === undefined) sql.run(insertLease, id, exchange)
  else {
    sql.run(removeRoutes, id)
    sql.run(update, ...values, id)
    if (isSame === 0) sql.run(redefine, id)
  }
  for (const pattern of topics) sql.run(insertRoute, exchange, tenant, pattern, id)
  if (found !== undefined || start !== "oldest") return
  // Deliveries of all retained events that match, at their own positions.
  const count = sql.run(fill, id, exchange, tenant, now, values[0])
  sql.run(`UPDATE uses SET count = count + 1 WHERE event IN ${filled}`, id, id)
  if (count > 0) sql.run(setFilled, count, now, id, id, id)
}

const isOfData = (sql: Sql, exchange: number, { name, tenant = "" }: Definition, data: Uint8Array): boolean =>
  sql.row(
    `SELECT 1 FROM subscriptions WHERE exchange = ? AND tenant = ? AND name = ? AND data = ${blob}`,
    exchange,
    tenant,
    name,
    data
  ) !== undefined

/** Ids are few: the others of the exchange are not searched for them. */
const selected = ({ exchange, ids, name, tenant }: Which) => {
  const column = (name: string) => `${ids === undefined ? "" : "+"}subscriptions.${name}`
  return {
    where: `WHERE ${column("exchange")} = (SELECT id FROM exchanges WHERE name = ?)
    ${tenant === undefined ? "" : `AND ${column("tenant")} = ?`} ${name === undefined ? "" : `AND ${column("name")} = ?`}
    ${ids === undefined ? "" : `AND subscriptions.id ${isOfIds}`}`,
    values: [exchange, tenant, name, ids && idsOf(ids)].filter((value) => value !== undefined)
  }
}

const setKeeping = `UPDATE exchanges SET retention = ifnull(?, retention), deduplication = ifnull(?, deduplication),
  outcomes = ifnull(?, outcomes) WHERE id = ?`
const setKeeps = `UPDATE leases SET keeps = iif(? > 0, s.exchange, NULL) FROM subscriptions s
  WHERE s.exchange = ? AND subscription = s.id`
const insertLease = `INSERT INTO leases (subscription, exchange, keeps)
  SELECT ?, id, iif(outcomes > 0, id, NULL) FROM exchanges WHERE id = ?`
const byName = `SELECT id, topics = ? AND data IS CASE WHEN ? THEN ${blob} END FROM subscriptions
  WHERE exchange = ? AND tenant = ? AND name = ?`
const redefine = "UPDATE leases SET redefined = 1 WHERE subscription = ? AND owner IS NOT NULL"
const pendingOf = "SELECT id, pending FROM subscriptions JOIN leases ON subscription = id"
const insert = `INSERT INTO subscriptions (exchange, tenant, name, state, since, topics, data)
  VALUES (?, ?, ?, 'active', ?, ?, CASE WHEN ? THEN ${blob} END) RETURNING id`
const update = `UPDATE subscriptions SET topics = ?, data = CASE WHEN ? THEN ${blob} END WHERE id = ?`
const insertRoute = "INSERT OR IGNORE INTO routes VALUES (?, ?, ?, ?)"
const removeRoutes = `DELETE FROM routes WHERE (exchange, tenant, pattern, subscription) IN
  (SELECT exchange, tenant, value, s.id FROM subscriptions s, json_each(topics) WHERE s.id = ?)`
const dropping = [
  removeRoutes,
  "DELETE FROM leases WHERE subscription = ?",
  "DELETE FROM subscriptions WHERE id = ?",
  "INSERT INTO dropped VALUES (?)"
]
const setActive = `UPDATE leases SET active = ?, wait_until = 0, attempts = 0, first_failed_at = NULL,
  failing_since = NULL, wait_reason = NULL, wait_position = NULL, wakes = wakes + 1`
const setDue = `UPDATE leases SET due_at = iif(owner IS NULL, ${dueWhenFree}, ?)`
const setStateOf = "UPDATE subscriptions SET since = iif(state = ?, since, ?), state = ?, reason = ?"
const fill = `INSERT INTO deliveries (id, event) SELECT ${rowAt("event")}, event
  FROM exchanges x JOIN uses u ON u.exchange = x.id JOIN events e ON e.position = event
  WHERE x.id = ? AND tenant = ? AND u.written_at > ? - retention AND EXISTS (SELECT 1 FROM json_each(?)
    WHERE value IN ('*', nullif(topic, '')) OR (value LIKE '%/*' AND value = substr(topic, 1, length(value) - 1) || '*'))`
const filled = `(SELECT event FROM deliveries WHERE ${ofSubscription})`
const setFilled = `UPDATE leases SET pending = ?, due_at = ?,
  bytes = (SELECT total(length(payload)) FROM events WHERE position IN ${filled}) WHERE subscription = ?`
