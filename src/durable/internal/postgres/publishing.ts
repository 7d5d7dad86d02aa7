/** Writes events for the subscriptions that match. */
import * as Effect from "effect/Effect"
import type { Limits, NewEvent, Operations, Published } from "../../EventStore.ts"
import { type CountedCapacity, fits, type Held, makeCountedCapacity, sums } from "./countedCapacity.ts"
import { now, onePlan, type Parts, pendingOf, set } from "./parts.ts"
import { array, type Numeric, numbersOf, textArray } from "./postgresRows.ts"
import { problem, type Runner } from "./runner.ts"

/**
 * The patterns that match a topic: `*`, `a/*` of one that begins with `a/`, and its own name. A publish looks them up, so
 * that its cost is that of its matches, however many subscriptions there are.
 */
export const patternsOf = (topic: string): ReadonlyArray<string> => {
  const patterns = new Set(["*"])
  for (let at = topic.indexOf("/"); at >= 0; at = topic.indexOf("/", at + 1)) patterns.add(`${topic.slice(0, at)}/*`)
  if (topic !== "") patterns.add(topic)
  return [...patterns]
}

const publishStatements = (parts: Parts) => {
  const { arrivals, deliveries, events, exchanges, joined, notify, own, positions, routes } = parts
  /** `$1` the exchange, `$2` the tenant of each kind of event, `$3`, `$4` the patterns of each kind. */
  const matched = `exchange AS MATERIALIZED (
  SELECT id, version, retention > 0 AS retains FROM ${exchanges} WHERE name = $1
),
matched AS MATERIALIZED (
  SELECT DISTINCT given.kind, route.subscription
  FROM unnest($3::int[], $4::text[]) AS given (kind, pattern)
  CROSS JOIN LATERAL (
    SELECT subscription FROM ${routes}
    WHERE exchange = (SELECT id FROM exchange) AND tenant = ($2::text[])[given.kind] AND pattern = given.pattern
    OFFSET 0
  ) AS route
)`

  /**
   * `now` is of one moment for the whole batch; and rows are numbered in the order in which they are given. The table of
   * arrivals is locked before the first position is taken: see horizon.ts.
   */
  const publish = (settings: string) =>
    onePlan(`WITH ${settings},
${matched},
counted AS MATERIALIZED (
  SELECT array_agg(count ORDER BY kind) AS counts
  FROM (
    SELECT kind, count(matched.subscription)
    FROM generate_series(1, cardinality($2::text[])) AS kind LEFT JOIN matched USING (kind)
    GROUP BY kind
  ) AS counted
),
given AS MATERIALIZED (
  SELECT nextval('${positions}') AS position, event.*,
    ((SELECT counts FROM counted))[event.kind] > 1 OR (SELECT retains FROM exchange) AS shared
  FROM unnest($6::int[], $7::text[], $8::text[], $9::bytea[]) AS event (kind, content_type, trace, payload)
  WHERE ${set}
),
stored AS (
  INSERT INTO ${events} (position, exchange, version, xid, tenant, written_at, topic, content_type, trace, payload)
  SELECT position, exchange.id, exchange.version, txid_current(), ($2::text[])[kind], ${now}, ($5::text[])[kind],
    nullif(content_type, ''), nullif(trace, ''), payload
  FROM given CROSS JOIN exchange
  WHERE shared
),
queued AS (
  INSERT INTO ${deliveries} (subscription, position, event, written_at, topic, content_type, trace, payload)
  SELECT subscription, position, CASE WHEN shared THEN position END, CASE WHEN NOT shared THEN ${now} END,
    CASE WHEN NOT shared THEN ($5::text[])[given.kind] END, CASE WHEN NOT shared THEN nullif(content_type, '') END,
    CASE WHEN NOT shared THEN nullif(trace, '') END, CASE WHEN NOT shared THEN payload END
  FROM given JOIN matched ON matched.kind = given.kind
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions)
  SELECT min(position), ARRAY(SELECT DISTINCT subscription FROM matched) FROM given HAVING EXISTS (SELECT FROM matched)
),
notified AS MATERIALIZED (SELECT ${notify} AS notified FROM matched LIMIT 1)
SELECT array_agg(position)::text AS positions, (SELECT counts::text FROM counted) AS matches,
  (SELECT notified FROM notified) AS notified
FROM given`)

  return {
    publish: publish(own),
    join: publish(joined),
    /** How much each subscription holds that a kind matches. */
    held: `WITH ${matched}
SELECT matched.kind, matched.subscription, count(pending.bytes) AS rows, coalesce(sum(pending.bytes), 0) AS bytes
FROM matched LEFT JOIN LATERAL ${pendingOf("matched.subscription", parts)} AS pending ON true
GROUP BY matched.kind, matched.subscription`
  }
}

/**
 * Why events cannot be stored: the server would refuse them too, and end the transaction of the caller for that. `largest` is
 * the largest payload in bytes.
 */
const refusalOf = (events: ReadonlyArray<NewEvent>, largest: number): string | undefined => {
  for (const { contentType, payload, tenant, topic, trace } of events) {
    if (payload.length > largest) {
      return `a payload of ${payload.length} bytes is larger than the client can read, ${largest}`
    }
    for (const [what, text] of Object.entries({ topic, tenant, "content type": contentType, trace })) {
      if (text?.includes("\0") === true) return `a ${what} has a NUL, which no text of Postgres has`
    }
  }
  return undefined
}

/** The events' kinds, each a tenant and topic, and the kind of each event. */
const kindsOf = (events: ReadonlyArray<NewEvent>) => {
  const numbers = new Map<string, number>()
  const tenants: Array<string> = []
  const topics: Array<string> = []
  const sizes = new Map<string, Limits>()
  const kindOf = events.map(({ payload, tenant = "", topic = "" }) => {
    // no text of Postgres has a NUL
    const key = `${tenant}\0${topic}`
    let kind = numbers.get(key)
    if (kind === undefined) {
      numbers.set(key, (kind = tenants.push(tenant)))
      topics.push(topic)
    }
    const { bytes, rows } = sizes.get(key) ?? { bytes: 0, rows: 0 }
    sizes.set(key, { rows: rows + 1, bytes: bytes + payload.length })
    return kind
  })
  const patterns = topics.flatMap((topic, at) => patternsOf(topic).map((pattern) => [at + 1, pattern] as const))
  return {
    kindOf,
    sizes,
    topics,
    params: [
      textArray(tenants),
      array(patterns.map(([kind]) => kind)),
      textArray(patterns.map(([, pattern]) => pattern))
    ],
    keys: [...numbers.keys()]
  }
}

/** Arrays as text, of positions and of each kind's matches: to read a row for each event costs more. */
interface PublishedRow {
  readonly positions: string
  readonly matches: string
}

interface HeldRow {
  readonly kind: Numeric
  readonly subscription: Numeric
  readonly rows: Numeric
  readonly bytes: Numeric
}

/** `largest` is the largest payload that the client can read again, in bytes. */
export const publishing = (run: Runner, parts: Parts, largest: number) => {
  const text = publishStatements(parts)
  const capacities = new Map<string, CountedCapacity>()

  const capacityOf = (exchange: string): CountedCapacity => {
    let capacity = capacities.get(exchange)
    if (capacity === undefined) capacities.set(exchange, (capacity = makeCountedCapacity()))
    return capacity
  }

  const publish: Operations["publish"] = Effect.fnUntraced(function* (exchange, events, limits) {
    const detail = refusalOf(events, largest)
    if (detail !== undefined) return yield* Effect.fail(problem("publish", "Invalid", detail))
    const joins = yield* run.inTransaction
    const kinds = kindsOf(events)
    const add = Effect.map(
      (joins ? run.join : run.prepared)<PublishedRow>("publish", joins ? text.join : text.publish, [
        exchange,
        ...kinds.params,
        textArray(kinds.topics),
        array(kinds.kindOf),
        textArray(events.map(({ contentType = "" }) => contentType)),
        textArray(events.map(({ trace = "" }) => trace)),
        events.map(({ payload }) => payload)
      ]),
      ([row]) => {
        const matches = numbersOf(row?.matches)
        const matchedOf = (at: number) => matches[(kinds.kindOf[at] ?? 0) - 1] ?? 0
        return numbersOf(row?.positions).map((position, at): Published => ({ position, matched: matchedOf(at) }))
      }
    )
    const added = Effect.sync(() => capacities.get(exchange)?.added(kinds.sizes))
    const noted = joins ? run.client.afterCommit(added) : added
    // What passes the limits counts for what does not.
    if (limits === undefined) return yield* Effect.tap(add, noted)
    const capacity = capacityOf(exchange)
    const count = Effect.map(
      (joins ? run.join : run.read)<HeldRow>("publish", text.held, [exchange, ...kinds.params]),
      (rows) =>
        rows.map(({ bytes, kind, rows, subscription }): Held => ({
          kind: kinds.keys[Number(kind) - 1] ?? "",
          subscription: Number(subscription),
          rows: Number(rows),
          bytes: Number(bytes)
        }))
    )
    if (!joins) return yield* capacity.admit(limits, kinds.sizes, count, add)
    // on the transaction's own connection: the pool may have no other
    const held = yield* count
    const subscriptionsOf = (key: string) =>
      held.flatMap(({ kind, subscription }) => (kind === key ? [subscription] : []))
    const more = sums(kinds.sizes, subscriptionsOf)
    if (!fits(limits, more, new Map(held.map((one) => [one.subscription, one])))) return undefined
    return yield* Effect.tap(add, noted)
  })

  return { publish, capacities }
}
