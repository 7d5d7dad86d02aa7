/** Exchanges, their subscriptions, and how much is stored for them. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type { Bounds, Definition, Figures, Operations, Which } from "../../EventStore.ts"
import { fillText } from "./filling.ts"
import { dueAt, now, type Parts, pendingOf, set } from "./parts.ts"
import {
  array,
  clock,
  countOf,
  type CountRow,
  limit,
  milliseconds,
  type Numeric,
  type SubscriptionRow,
  subscriptionOf,
  textArray
} from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/**
 * **Locks.** A definition and a drop lock their exchange first, so that they come one after the other. A drop and a change of
 * state then lock leases, in the order of their subscriptions, as claims, settlements and releases do. Subscriptions come
 * last, by tenant and name. A definition locks no lease: it makes those of new subscriptions, and leaves an arrival for others.
 */
const subscriptionStatements = (parts: Parts) => {
  const { arrivals, deadLetters, delayed, deliveries, dropped, exchanges, fills, joined, leases, notify, own } = parts
  const { owners, nextPosition, routes, scheduled, subscriptions } = parts
  /** `$n` are ids. */
  const which = (n: number) => `exchange = (SELECT id FROM ${exchanges} WHERE name = $1)
  AND ($2::text IS NULL OR tenant = $2) AND ($3::text IS NULL OR name = $3) AND ($${n}::bigint[] IS NULL OR id = ANY($${n}::bigint[]))`
  const columns = "id, tenant, name, topics, data, state, reason, since"
  const first = (table: string, order: "ASC" | "DESC") => `(
  SELECT position FROM ${table} AS delivery
  WHERE delivery.subscription = wanted.id ORDER BY delivery.position ${order} LIMIT 1
)`

  const opening = (settings: string) => `WITH ${settings}
INSERT INTO ${exchanges} AS exchange (name, retention, deduplication)
SELECT $1, coalesce($2::bigint, 0), coalesce($3::bigint, 0) WHERE ${set}
ON CONFLICT (name) DO UPDATE SET
  retention = coalesce($2::bigint, exchange.retention), deduplication = coalesce($3::bigint, exchange.deduplication)
RETURNING outcomes`

  return {
    /** Answers for how long outcomes were kept before; a time that is NULL stays as it is. */
    open: opening(own),
    openJoined: opening(joined),

    /** Whether an exchange keeps all of that for as long already. */
    isOpen: `SELECT outcomes FROM ${exchanges}
WHERE name = $1 AND retention = coalesce($2::bigint, retention) AND deduplication = coalesce($3::bigint, deduplication)
AND outcomes = coalesce($4::bigint, outcomes)`,

    /** Under the lock of the exchange, and so with the leases of all that were defined before. */
    keep: `WITH ${joined},
kept AS (UPDATE ${exchanges} SET outcomes = $2::bigint WHERE name = $1 RETURNING id, outcomes),
locked AS MATERIALIZED (
  SELECT subscription FROM ${leases}
  WHERE subscription = ANY(ARRAY(SELECT id FROM ${subscriptions} WHERE exchange = (SELECT id FROM kept)))
  AND (keeps IS NOT NULL) <> (SELECT outcomes > 0 FROM kept)
  ORDER BY subscription FOR NO KEY UPDATE
)
UPDATE ${leases} SET keeps = (SELECT CASE WHEN outcomes > 0 THEN id END FROM kept)
WHERE subscription = ANY(ARRAY(SELECT subscription FROM locked))`,

    /** Defines come one after the other in an exchange; publishers do not wait for them. */
    lock: `INSERT INTO ${exchanges} AS exchange (name) VALUES ($1)
ON CONFLICT (name) DO UPDATE SET version = exchange.version + 1 RETURNING id, version`,

    /** Of an exchange the subscriptions of `$2` tenants and `$3` names, as the statement's snapshot has them. */
    found: `SELECT ${columns} FROM ${subscriptions}
WHERE exchange = (SELECT id FROM ${exchanges} WHERE name = $1)
AND (tenant, name) IN (SELECT * FROM unnest($2::text[], $3::text[]))`,

    /**
     * `$1` the exchange's id, `$2` its version; of each definition `$3` tenant, `$4` name, `$5`, `$6` data, `$7` oldest, `$10`, `$11`
     * the data that it replaces. No other definition, and no drop, comes between that and the change, by the lock of the exchange.
     */
    define: `WITH ${joined},
given AS MATERIALIZED (
  SELECT given.*, ARRAY(
    SELECT pattern FROM unnest($8::bigint[], $9::text[]) AS pattern (of, pattern) WHERE pattern.of = given.place
  ) AS topics
  FROM unnest($3::text[], $4::text[], $5::boolean[], $6::bytea[], $7::boolean[], $10::boolean[], $11::bytea[]) WITH ORDINALITY
    AS given (tenant, name, has_data, data, oldest, replaces, replaced, place)
  WHERE NOT replaces OR EXISTS (
    SELECT FROM ${subscriptions} AS found WHERE exchange = $1::int AND found.tenant = given.tenant AND found.name = given.name
    AND found.data = given.replaced
  )
),
before AS MATERIALIZED (
  SELECT found.* FROM given CROSS JOIN LATERAL (
    SELECT id, topics, data FROM ${subscriptions}
    WHERE exchange = $1::int AND tenant = given.tenant AND name = given.name LIMIT 1
  ) AS found
),
defined AS (
  INSERT INTO ${subscriptions} AS subscription (exchange, tenant, name, topics, data, since)
  SELECT $1::int, tenant, name, topics, CASE WHEN has_data THEN data END, ${now} FROM given
  ORDER BY tenant COLLATE "C", name COLLATE "C"
  ON CONFLICT (exchange, tenant, name) DO UPDATE SET topics = EXCLUDED.topics, data = EXCLUDED.data
  RETURNING ${columns}
),
gone AS (
  DELETE FROM ${routes} AS route USING defined
  WHERE route.subscription = defined.id AND route.pattern <> ALL(defined.topics)
),
routed AS (
  INSERT INTO ${routes} (exchange, tenant, pattern, subscription)
  SELECT DISTINCT $1::int, tenant, unnest(topics), id FROM defined
  ON CONFLICT DO NOTHING
),
redefined AS MATERIALIZED (
  SELECT defined.id FROM defined JOIN before ON before.id = defined.id
  WHERE (before.topics, before.data) IS DISTINCT FROM (defined.topics, defined.data)
),
arrived AS (
  INSERT INTO ${arrivals} (position, subscriptions, redefined)
  SELECT ${nextPosition}, array_agg(id), true FROM redefined HAVING count(*) > 0
),
leased AS (
  INSERT INTO ${leases} (subscription, exchange, keeps)
  SELECT id, $1::int, (SELECT id FROM ${exchanges} WHERE id = $1::int AND outcomes > 0) FROM defined ON CONFLICT DO NOTHING
  RETURNING subscription
),
fills AS (
  INSERT INTO ${fills} (subscription, version, xid, since)
  SELECT defined.id, $2::int, txid_current(), ${now}
  FROM leased JOIN defined ON defined.id = leased.subscription
  JOIN given ON given.tenant = defined.tenant AND given.name = defined.name AND given.oldest
)
SELECT ${columns}, (SELECT ${notify} FROM redefined LIMIT 1) AS notified FROM defined`,

    setState: `WITH ${own},
chosen AS MATERIALIZED (
  SELECT id, (SELECT version FROM ${leases} WHERE subscription = id) AS version
  FROM ${subscriptions} WHERE ${which(4)} AND ${set} ORDER BY id
),
locked AS MATERIALIZED (
  SELECT lease.subscription, lease.version = chosen.version AS same
  FROM chosen CROSS JOIN LATERAL (
    SELECT subscription, version FROM ${leases} AS lease WHERE lease.subscription = chosen.id FOR NO KEY UPDATE
  ) AS lease
),
listed AS MATERIALIZED (
  SELECT id FROM ${subscriptions} WHERE id = ANY(ARRAY(SELECT subscription FROM locked)) AND ($7::text[] IS NULL OR state = ANY($7::text[]))
  ORDER BY tenant, name FOR NO KEY UPDATE
),
changed AS (
  UPDATE ${subscriptions} SET
    state = $5, reason = $6, since = CASE WHEN state = $5 THEN since ELSE ${now} END
  WHERE id = ANY(ARRAY(SELECT id FROM listed))
  RETURNING id
),
leases AS (
  UPDATE ${leases} AS lease SET
    active = $5 = 'active', version = version + 1, not_before = 0, attempts = 0, first_failed_at = NULL,
    failing_since = NULL, reason = NULL, waits_for = NULL,
    ready_at = CASE WHEN lease.redefined THEN ${now} ELSE ${dueAt("locked.same", parts)} END
  FROM locked
  WHERE lease.subscription = locked.subscription AND lease.subscription = ANY(ARRAY(SELECT id FROM listed))
)
SELECT count(*) AS rows, CASE WHEN count(*) > 0 THEN ${notify} END AS notified FROM changed`,

    /**
     * A drop waits for a definition in the same exchange, in a statement of its own: one whose snapshot is older than the
     * definition would leave the routes that this adds.
     */
    lockExisting: `SELECT id FROM ${exchanges} WHERE name = $1 FOR NO KEY UPDATE`,

    /** What is stored is removed by the sweep, with what transactions leave that have not committed yet. */
    drop: `WITH ${joined},
chosen AS MATERIALIZED (SELECT id FROM ${subscriptions} WHERE ${which(4)}),
locked AS MATERIALIZED (
  SELECT subscription FROM ${leases} WHERE subscription = ANY(ARRAY(SELECT id FROM chosen)) ORDER BY subscription FOR UPDATE
),
unleased AS (DELETE FROM ${leases} WHERE subscription = ANY(ARRAY(SELECT subscription FROM locked)) RETURNING subscription),
unrouted AS (DELETE FROM ${routes} WHERE subscription = ANY(ARRAY(SELECT subscription FROM locked))),
unfilled AS (DELETE FROM ${fills} WHERE subscription = ANY(ARRAY(SELECT subscription FROM locked))),
unlisted AS (DELETE FROM ${subscriptions} WHERE id = ANY(ARRAY(SELECT subscription FROM locked))),
noted AS (
  INSERT INTO ${dropped} (subscription, xid, since) SELECT subscription, txid_current(), ${now} FROM unleased
)
SELECT coalesce(sum(
  (SELECT count(*) FROM ${deliveries} AS delivery WHERE delivery.subscription = unleased.subscription) +
  (SELECT count(*) FROM ${delayed} AS delivery WHERE delivery.subscription = unleased.subscription) +
  (SELECT count(*) FROM ${scheduled} AS delivery WHERE delivery.subscription = unleased.subscription)
), 0) AS rows, CASE WHEN count(*) > 0 THEN ${notify} END AS notified
FROM unleased`,

    /** `$5` the tenant and `$6` the name of the last before. */
    list: `SELECT ${columns} FROM ${subscriptions}
WHERE ${which(4)} AND ($5::text IS NULL OR (tenant, name) > ($5, $6)) ORDER BY tenant, name LIMIT $7::bigint`,

    figures: `SELECT pending.rows, pending.bytes, owner.name AS owner,
  (SELECT count(*) FROM ${deadLetters} AS letter WHERE letter.subscription = lease.subscription) AS dead_letters
FROM ${leases} AS lease
LEFT JOIN ${owners} AS owner ON owner.id = lease.owner AND NOT owner.gone AND owner.expires_at > ${clock}
CROSS JOIN LATERAL (
  SELECT count(*) AS rows, coalesce(sum(bytes), 0) AS bytes FROM ${pendingOf("lease.subscription", parts)} AS pending
) AS pending
WHERE lease.subscription = $1::bigint`,

    /** Of those that are due and not in their place one is enough: they get other positions. */
    bounds: `SELECT wanted.id, least(${first(deliveries, "ASC")}, ${first(delayed, "ASC")}, coming.event) AS first,
  greatest(${first(deliveries, "DESC")}, ${first(delayed, "DESC")}, coming.event) AS last, coming.event IS NOT NULL AS coming
FROM unnest($1::bigint[]) AS wanted (id)
LEFT JOIN LATERAL (
  SELECT event FROM ${scheduled} AS delivery
  WHERE delivery.subscription = wanted.id AND delivery.due_at <= (SELECT ${clock}) ORDER BY delivery.due_at LIMIT 1
) AS coming ON true
WHERE EXISTS (SELECT FROM ${leases} WHERE subscription = wanted.id)`
  }
}

interface OpenedRow {
  readonly outcomes: Numeric
}

interface FiguresRow extends CountRow {
  readonly bytes: Numeric
  readonly dead_letters: Numeric
  readonly owner: string | null
}

interface BoundsRow {
  readonly id: Numeric
  readonly first: Numeric | null
  readonly last: Numeric | null
  readonly coming: boolean
}

export const subscribing = (run: Runner, parts: Parts) => {
  const text = subscriptionStatements(parts)
  const fill = fillText(parts)
  const whichOf = ({ exchange, ids, name, tenant }: Which) => [
    exchange,
    tenant ?? null,
    name ?? null,
    ids === undefined ? null : array(ids)
  ]
  const statement = <Row extends object>(text: string, params: ReadonlyArray<unknown>) =>
    run.client.unsafe<Row>(text, params).unprepared

  const open: Operations["open"] = Effect.fnUntraced(function* (exchange, keeping = {}, options) {
    const of = (time: Duration.Duration | undefined) => (time === undefined ? null : milliseconds(time))
    const outcomes = of(keeping.outcomes)
    const times = [exchange, of(keeping.retention), of(keeping.deduplication)]
    const locked = statement(text.lockExisting, [exchange])
    const keep = (before: Numeric | undefined) =>
      outcomes === null || outcomes === Number(before)
        ? undefined
        : Effect.andThen(locked, statement(text.keep, [exchange, outcomes]))
    if (options?.joins === true && (yield* run.inTransaction)) {
      // The lock of the exchange lasts as long as the caller's transaction: it is not taken for what is so already.
      const steps = Effect.gen(function* () {
        if ((yield* statement(text.isOpen, [...times, outcomes])).length > 0) return
        const [row] = yield* statement<OpenedRow>(text.openJoined, times)
        yield* keep(row?.outcomes) ?? Effect.void
      })
      return yield* run.bounded("open", steps, false)
    }
    const [row] = yield* run.write<OpenedRow>("open", text.open, times)
    const kept = keep(row?.outcomes)
    if (kept !== undefined) yield* run.transaction("open", kept)
  })

  const define: Operations["define"] = Effect.fnUntraced(function* (exchange, definitions, options) {
    // Half a character is stored as U+FFFD, and so in the rows of the answer.
    const keyOf = ({ name, tenant = "" }: Pick<Definition, "name" | "tenant">) => `${tenant}\0${name}`.toWellFormed()
    const unique = [...new Map(definitions.map((one) => [keyOf(one), one])).values()]
    const tenants = textArray(unique.map(({ tenant = "" }) => tenant))
    const named = textArray(unique.map(({ name }) => name))
    const patterns = unique.flatMap(({ topics }, at) => topics.map((pattern) => [at + 1, pattern] as const))
    const steps = Effect.gen(function* () {
      const [locked] = yield* statement<{ readonly id: Numeric; readonly version: Numeric }>(text.lock, [exchange])
      return yield* statement<SubscriptionRow>(text.define, [
        String(locked?.id),
        String(locked?.version),
        tenants,
        named,
        array(unique.map(({ data }) => data !== undefined)),
        unique.map(({ data = new Uint8Array() }) => data),
        array(unique.map(({ start }) => start === "oldest")),
        array(patterns.map(([of]) => of)),
        textArray(patterns.map(([, pattern]) => pattern)),
        array(unique.map(({ replaces }) => replaces !== undefined)),
        unique.map(({ replaces = new Uint8Array() }) => replaces)
      ])
    })
    // The lock of the exchange lasts as long as the caller's transaction: it is not taken for a definition that is there.
    const joined = Effect.gen(function* () {
      const found = yield* statement<SubscriptionRow>(text.found, [exchange, tenants, named])
      const rows = new Map(found.map((row) => [keyOf(row), row]))
      return unique.every((one) => isAs(rows.get(keyOf(one)), one)) ? found : yield* steps
    })
    const joins = options?.joins === true && (yield* run.inTransaction)
    const rows = yield* joins ? run.bounded("define", joined, false) : run.transaction("define", steps)
    const defined = new Map(rows.map((row) => [keyOf(row), subscriptionOf(exchange)(row)]))
    // What is not committed yet is filled in by a sweep.
    if (!joins && unique.some(({ start }) => start === "oldest")) {
      const ids = array(Array.from(defined.values(), ({ id }) => id))
      // pass by pass
      while (countOf(yield* run.write<CountRow>("define", fill, [ids])) > 0);
    }
    return definitions.flatMap((definition) => defined.get(keyOf(definition)) ?? [])
  })

  return {
    open,
    define,
    setState: (which, state, reason, from) =>
      Effect.map(
        run.write<CountRow>("setState", text.setState, [
          ...whichOf(which),
          state,
          reason?.replaceAll("\0", "\uFFFD") ?? null,
          from === undefined ? null : textArray([...from])
        ]),
        countOf
      ),
    drop: (which) =>
      Effect.map(
        run.transaction(
          "drop",
          Effect.flatMap(statement(text.lockExisting, [which.exchange]), ({ length }) =>
            length === 0 ? Effect.succeed([]) : statement<CountRow>(text.drop, whichOf(which))
          )
        ),
        countOf
      ),
    list: ({ after, limit: most, ...which }) =>
      Effect.map(
        run.read<SubscriptionRow>("list", text.list, [
          ...whichOf(which),
          after?.tenant ?? null,
          after?.name ?? null,
          most === undefined ? null : limit(most)
        ]),
        (rows) => rows.map(subscriptionOf(which.exchange))
      ),
    figures: (subscription) =>
      Effect.map(run.read<FiguresRow>("figures", text.figures, [subscription]), ([row]): Figures | undefined =>
        row === undefined
          ? undefined
          : {
              pending: Number(row.rows),
              bytes: Number(row.bytes),
              deadLetters: Number(row.dead_letters),
              owner: row.owner ?? undefined
            }
      ),
    bounds: (subscriptions) =>
      Effect.map(run.read<BoundsRow>("bounds", text.bounds, [array(subscriptions)]), (rows) =>
        rows.flatMap(({ coming, first, id, last }): ReadonlyArray<Bounds> =>
          first === null
            ? []
            : [{ subscription: Number(id), first: Number(first), last: Number(last), isComing: coming }]
        )
      )
  } satisfies Partial<Operations>
}

/** Whether a subscription is as its definition says. */
const isAs = (row: SubscriptionRow | undefined, { data, replaces, topics }: Definition): boolean =>
  row !== undefined &&
  replaces === undefined &&
  Equal.equals(row.topics, topics) &&
  Equal.equals(row.data ?? undefined, data)
