/** What the statements of a store have in common. */
import type { Names } from "./names.ts"
import { clock, never } from "./postgresRows.ts"
import { onDisk } from "./runner.ts"

/**
 * A statement that waits for a row's lock gives up after `lock_timeout`, and what it did is on disk, even where the
 * database's default is not to wait for that. Both are set by the statement itself, `own`, until its own end, so that they
 * touch no other statement on the connection. There is no transaction in which a paused process could hold a lock: the
 * server ends each statement on its own.
 */
export interface Parts extends Names {
  /** The first of a statement's CTEs: its time, and that its settings are set. */
  readonly own: string
  /** The same in the application's own transaction, whose settings are not ours to change. */
  readonly joined: string
  /** A notification of all listeners, when the transaction commits. A void has a text, which is empty. */
  readonly notify: string
  readonly ping: string
  /** The notification by itself. */
  readonly announce: string
}

/** The time of the whole statement, and whether its settings are set: for its conditions. */
export const now = "(SELECT now FROM settings)"
export const set = "(SELECT ok FROM settings)"

/** What a ping notifies with: it is no change. */
export const pingPayload = "ping"

const notifying = ({ channel }: Names, payload: string) => `pg_notify('${channel}', '${payload}')::text`

export const parts = (names: Names, lockTimeout: number): Parts => ({
  ...names,
  own: `settings AS MATERIALIZED (
  SELECT ${clock} AS now, (set_config('lock_timeout', '${lockTimeout}', true) || ${onDisk}) IS NOT NULL AS ok
)`,
  joined: `settings AS MATERIALIZED (SELECT ${clock} AS now, true AS ok)`,
  notify: notifying(names, ""),
  ping: `SELECT ${notifying(names, pingPayload)} AS notified`,
  announce: `SELECT ${notifying(names, "")} AS notified`
})

/**
 * The text of a statement with the same plan for all parameters, for a client that prepares it. Postgres keeps such a plan
 * only where it seems no dearer than one for the parameters at hand, and takes an array that it does not know to have ten
 * elements. So it is not to know them.
 */
export const onePlan = (text: string): string => text.replaceAll(/\$\d+::(\w+\[\])/g, "(SELECT $&)::$1")

/**
 * A limit of a read in the order of an index. Postgres is not to know it: where its statistics say that there are fewer
 * rows it would read and sort all. It expects a tenth of the rows instead, for which it reads the index in order.
 */
export const first = (rows: number): string => `LIMIT (SELECT ${rows})`

/** The lane of a row of `delayed`, which is NULL in the row where it is the row's own position: the rows of one are found by `ofLane`. */
export const laneOf = (row: string): string => `coalesce(${row}.lane, ${row}.position)`

/**
 * The first rows of one lane, of those that meet a condition on `delivery`: of its number by the index of positions, and the
 * others after a position in the order of `lane, position`, which only one index has.
 */
export const ofLane = (
  { delayed }: Names,
  columns: string,
  [subscription, lane, after = "-1"]: readonly [subscription: string, lane: string, after?: string],
  condition: string,
  limit: string
): string => `(
  SELECT * FROM (
    (SELECT ${columns} FROM ${delayed} AS delivery
    WHERE delivery.subscription = ${subscription} AND delivery.position BETWEEN ${lane} AND ${lane} AND delivery.lane IS NULL
    AND ${condition}
    ORDER BY delivery.position LIMIT ${limit})
    UNION ALL
    (SELECT ${columns} FROM ${delayed} AS delivery
    WHERE delivery.subscription = ${subscription} AND (delivery.lane, delivery.position) > (${lane}, ${after}) AND delivery.lane <= ${lane}
    AND ${condition}
    ORDER BY delivery.lane, delivery.position LIMIT ${limit})
  ) AS delivery
  ORDER BY delivery.position LIMIT ${limit}
)`

/** The first due time of the lanes of a `lease`, and of what stands in order at once. */
export const laneDueAt = ({ delayed }: Names, condition = "true"): string =>
  `coalesce((SELECT min(due_at) FROM ${delayed} AS lane
    WHERE lane.subscription = lease.subscription AND lane.due_at IS NOT NULL AND ${condition}), ${never})`

/** When there is something to do for a `lease`: at once, if what the statement sees may be older than the lease. */
export const dueAt = (same: string, names: Names): string => `CASE
    WHEN NOT ${same} OR EXISTS (SELECT FROM ${names.deliveries} AS delivery WHERE delivery.subscription = lease.subscription)
    THEN ${now}
    ELSE ${laneDueAt(names)}
  END`

/** The payload's size of a row of `deliveries` or `delayed`, whose event may be in `events`. */
export const bytesOf = (row: string, events: string): string =>
  `coalesce(octet_length(${row}.payload), (SELECT octet_length(event.payload) FROM ${events} AS event WHERE event.position = ${eventOf(row)}), 0)`

/** The sizes of what is pending for a subscription. Events are looked up one by one, and only if they must. */
export const pendingOf = (subscription: string, { delayed, deliveries, events, scheduled }: Names): string => {
  const of = (table: string, event: string) => `
  SELECT octet_length(payload) AS bytes FROM ${table} WHERE subscription = ${subscription} AND payload IS NOT NULL
  UNION ALL
  SELECT octet_length(event.payload)
  FROM ${table} AS delivery
  CROSS JOIN LATERAL (SELECT payload FROM ${events} WHERE position = ${event} LIMIT 1) AS event
  WHERE delivery.subscription = ${subscription} AND delivery.payload IS NULL`
  const rows = [of(deliveries, eventOf("delivery")), of(delayed, eventOf("delivery")), of(scheduled, "delivery.event")]
  return `(${rows.join(" UNION ALL ")})`
}

/**
 * Whether a topic matches a pattern, both as texts of a statement. No part of a pattern is one of `LIKE`, which would make
 * more of some characters.
 */
export const isTopicOf = (topic: string, pattern: string): string =>
  `(${pattern} = '*' OR ${pattern} = ${topic} AND ${pattern} <> ''
    OR right(${pattern}, 2) = '/*' AND starts_with(${topic}, left(${pattern}, -1)))`

/**
 * An id as its table has it. A row of an index has no room for a thousand characters of three bytes: a longer id is a hash of
 * it, made longer than any that is shorter.
 */
export const storedId = (id: string): string =>
  `CASE WHEN octet_length(${id}) > 1000 THEN rpad(encode(sha256(convert_to(${id}, 'UTF8')), 'hex'), 1001, '-') ELSE ${id} END`

/** The columns of an event, beside those that say which. */
export const content = "written_at, topic, headers, payload"

/** The position of the event of a row of `deliveries`, `delayed` or `dead_letters`. */
export const eventOf = (row: string): string => `coalesce(${row}.event, ${row}.position)`

/** The row of `events` of such a row, if the event is not in that itself. */
export const sharedOf = (row: string, { events }: Names): string =>
  `LEFT JOIN LATERAL (
  SELECT * FROM ${events} WHERE position = ${eventOf(row)} AND ${row}.written_at IS NULL LIMIT 1
) AS event ON true`

/** Whether such a row is of the event at a position that is not its own, or whose content it has not: by the index of those. */
export const isOf = (row: string, event: string): string =>
  `${eventOf(row)} = ${event} AND (${row}.event IS NOT NULL OR ${row}.written_at IS NULL)`

/**
 * Keeps what became of `rows`: those have a `subscription`, the exchange in `keeps` where that keeps outcomes, the position of
 * their `event`, and what is not in `events` of it. An event that was resent may end twice in one statement, which can change
 * one row of it.
 */
export const keepOutcomes = (rows: string, state: string, { events, outcomes }: Names): string => `
  INSERT INTO ${outcomes} (event, subscription, exchange, state, at, topic, written_at)
  SELECT DISTINCT ON (ended.event, ended.subscription) ended.event, ended.subscription, ended.keeps, ${state} AS state, ${now},
    coalesce(ended.topic, event.topic), coalesce(ended.written_at, event.written_at)
  FROM (${rows}) AS ended
  LEFT JOIN LATERAL (
    SELECT topic, written_at FROM ${events} WHERE position = ended.event AND ended.topic IS NULL LIMIT 1
  ) AS event ON true
  WHERE ended.keeps IS NOT NULL
  ORDER BY ended.event, ended.subscription, state
  ON CONFLICT (event, subscription) DO UPDATE SET state = EXCLUDED.state, at = EXCLUDED.at`

/** That for the deliveries `gone` of the subscription `$1`, which are purged. */
export const keepPurged = (names: Names): string =>
  keepOutcomes(
    `SELECT gone.*, lease.subscription, lease.keeps FROM gone JOIN ${names.leases} AS lease ON lease.subscription = $1::bigint`,
    "'Purged'",
    names
  )
