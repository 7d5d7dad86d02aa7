/** The tables of a store, made and migrated under a lock. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../EventStore.ts"
import type { Names } from "./names.ts"
import { never, type Numeric } from "./postgresRows.ts"
import { problem, type Runner } from "./runner.ts"

/** How long another process's migration may take. */
const migrationTimeout = Duration.minutes(1)

/** Vacuumed after a number of dead rows, not after a part of the table: reads from the head pass over each of them. */
const shortLived = `WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
  vacuum_truncate = off
)`

/**
 * A hundred pages to begin with, which the table keeps. A client prepares the statements, and Postgres keeps a plan that it
 * made when a table was small: of a few pages it would read all, also once they are many thousands. It counts pages, and
 * not rows, so that of these it never does.
 */
const withPages = (table: string, insert: string): ReadonlyArray<string> => [
  `INSERT INTO ${table} ${insert}`,
  `DELETE FROM ${table}`
]
const wide = "repeat('x', 1900)"

/** What an event is, also where it is kept with its only delivery. Columns that are NULL take no room. */
const content = `written_at bigint, topic text, headers text, payload bytea`

/** By the position of the event. A row that has its event in itself, at the event's own position, has no entry. */
const byEvent = "(coalesce(event, position)) WHERE event IS NOT NULL OR written_at IS NULL"

/**
 * The statements of each version. Times are milliseconds of the server's clock.
 *
 * `positions` numbers events and replays, so that a delivery of an event that was retained is in its place. An event that
 * one subscription matches is in its delivery; with more, or where it is retained, it has a row in `events`, and its deliveries
 * have no `written_at`. `event` is the position of the event, and NULL where that is the delivery's own, as almost always.
 *
 * Deliveries may wait by the million, so their rows are as small as they can be. What is NULL takes no room in a row, but the
 * ninth column of a table takes 8 bytes of each row that has a NULL, whichever it is: `headers` are two facts of an event.
 *
 * `deliveries` has what stands in order, `delayed` what is set aside, `scheduled` what has a time of its own that is to
 * come; all are inserted and deleted, so that nothing that is not due is ever read. `due_at` of `delayed` is that of a
 * lane, at its first row alone. `lane` is NULL where it is the position of the delivery, which waits by itself in most cases: it is
 * in no index of lanes then. `version` of an event is NULL where it is not to be filled in: its time was to come.
 *
 * `leases` has a row a subscription. No publisher writes it, so that publishers never wait for each other: a publisher
 * leaves an arrival, and a claim turns that into `ready_at`, the time from which there may be something to do. There is no
 * cursor anywhere, so no late commit is skipped. `version` grows with each change that a reader of an older snapshot must
 * not undo. `keeps` is the exchange, where that keeps outcomes: a settlement reads the row anyway. An owner has not seen that
 * its subscription is `redefined`, which an arrival says that is marked so.
 *
 * `place` of an id is where it stood in the publish that gave it last, so that the publish finds its answer.
 */
const versions = (names: Names): ReadonlyArray<ReadonlyArray<string>> => {
  const { arrivals, attempts, deadLetters, delayed, deliveries, events, exchanges, ids, index, leases } = names
  const { outcomes, owners, routes, scheduled } = names
  return [
    [
      `CREATE SEQUENCE ${names.positions} AS bigint CACHE 1`,
      `CREATE TABLE ${exchanges} (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  retention bigint NOT NULL DEFAULT 0,
  deduplication bigint NOT NULL DEFAULT 0,
  outcomes bigint NOT NULL DEFAULT 0,
  version int NOT NULL DEFAULT 0
)`,
      `CREATE TABLE ${names.subscriptions} (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  exchange int NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  name text COLLATE "C" NOT NULL,
  topics text[] NOT NULL,
  data bytea,
  state text NOT NULL DEFAULT 'active',
  reason text,
  since bigint NOT NULL,
  UNIQUE (exchange, tenant, name)
)`,
      `CREATE TABLE ${routes} (
  exchange int NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  pattern text COLLATE "C" NOT NULL,
  subscription bigint NOT NULL,
  PRIMARY KEY (exchange, tenant, pattern, subscription)
) WITH (vacuum_truncate = off)`,
      `CREATE INDEX ${index("routes_subscription")} ON ${routes} (subscription)`,
      `CREATE TABLE ${leases} (
  subscription bigint PRIMARY KEY,
  exchange int NOT NULL,
  active boolean NOT NULL DEFAULT true,
  owner int,
  epoch bigint NOT NULL DEFAULT 0,
  version bigint NOT NULL DEFAULT 0,
  ready_at bigint NOT NULL DEFAULT ${never},
  not_before bigint NOT NULL DEFAULT 0,
  attempts int NOT NULL DEFAULT 0,
  first_failed_at bigint,
  failing_since bigint,
  reason text,
  waits_for bigint,
  keeps int,
  redefined boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, vacuum_truncate = off)`,
      `CREATE INDEX ${index("leases_due")} ON ${leases} (ready_at) WHERE owner IS NULL AND active`,
      `CREATE INDEX ${index("leases_exchange")} ON ${leases} (exchange, ready_at) WHERE owner IS NULL AND active`,
      `ALTER TABLE ${leases} ALTER COLUMN exchange SET STATISTICS 0`,
      `CREATE INDEX ${index("leases_owner")} ON ${leases} (owner, ready_at) WHERE owner IS NOT NULL`,
      `CREATE INDEX ${index("leases_not_active")} ON ${leases} (owner) WHERE NOT active`,
      `CREATE TABLE ${owners} (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text NOT NULL,
  renewed_at bigint NOT NULL,
  expires_at bigint NOT NULL,
  locked boolean NOT NULL DEFAULT false,
  gone boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50)`,
      `CREATE TABLE ${events} (
  position bigint PRIMARY KEY,
  exchange int NOT NULL,
  version int,
  xid bigint NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  ${content}
) ${shortLived}`,
      `CREATE TABLE ${deliveries} (
  subscription bigint NOT NULL,
  position bigint NOT NULL,
  event bigint,
  attempts int,
  ${content},
  PRIMARY KEY (subscription, position)
) ${shortLived}`,
      `CREATE INDEX ${index("deliveries_event")} ON ${deliveries} ${byEvent}`,
      `CREATE TABLE ${delayed} (
  subscription bigint NOT NULL,
  position bigint NOT NULL,
  lane bigint,
  event bigint,
  attempts int,
  due_at bigint,
  first_failed_at bigint,
  ${content},
  PRIMARY KEY (subscription, position)
) ${shortLived}`,
      `CREATE INDEX ${index("delayed_lane")} ON ${delayed} (subscription, lane, position) WHERE lane IS NOT NULL`,
      `CREATE INDEX ${index("delayed_due")} ON ${delayed} (subscription, due_at) WHERE due_at IS NOT NULL`,
      `CREATE INDEX ${index("delayed_lanes")} ON ${delayed} (subscription, lane) WHERE due_at IS NOT NULL AND lane IS NOT NULL`,
      `CREATE INDEX ${index("delayed_event")} ON ${delayed} ${byEvent}`,
      `CREATE TABLE ${scheduled} (
  subscription bigint NOT NULL,
  due_at bigint NOT NULL,
  event bigint NOT NULL,
  ${content},
  PRIMARY KEY (subscription, due_at, event)
) ${shortLived}`,
      `CREATE INDEX ${index("scheduled_due")} ON ${scheduled} (due_at, event)`,
      `CREATE INDEX ${index("scheduled_event")} ON ${scheduled} (event)`,
      // A plan by an index must not depend on how old the statistics are, and on what they say of other subscriptions.
      ...[deliveries, delayed, scheduled].map(
        (table) => `ALTER TABLE ${table} ALTER COLUMN subscription SET STATISTICS 0`
      ),
      ...["exchange", "tenant", "pattern"].map((one) => `ALTER TABLE ${routes} ALTER COLUMN ${one} SET STATISTICS 0`),
      `CREATE TABLE ${arrivals} (position bigint PRIMARY KEY, subscriptions bigint[] NOT NULL, redefined boolean) ${shortLived}`,
      `CREATE TABLE ${deadLetters} (
  subscription bigint NOT NULL,
  position bigint NOT NULL,
  event bigint,
  attempts int NOT NULL,
  dead_lettered_at bigint NOT NULL,
  reason text NOT NULL,
  cause text NOT NULL,
  ${content},
  PRIMARY KEY (subscription, position)
)`,
      `CREATE INDEX ${index("dead_letters_order")} ON ${deadLetters} (subscription, dead_lettered_at, position)`,
      `CREATE INDEX ${index("dead_letters_event")} ON ${deadLetters} ${byEvent}`,
      `CREATE TABLE ${names.fills} (
  subscription bigint PRIMARY KEY,
  version int NOT NULL,
  xid bigint NOT NULL,
  since bigint NOT NULL,
  done text,
  pass text,
  position bigint NOT NULL DEFAULT 0
)`,
      `CREATE TABLE ${names.dropped} (subscription bigint PRIMARY KEY, xid bigint NOT NULL, since bigint NOT NULL)`,
      `CREATE TABLE ${ids} (
  exchange int NOT NULL,
  tenant text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  position bigint NOT NULL,
  expires_at bigint NOT NULL,
  place int NOT NULL,
  PRIMARY KEY (exchange, tenant, id)
) ${shortLived}`,
      `CREATE INDEX ${index("ids_expiry")} ON ${ids} (expires_at)`,
      `CREATE TABLE ${outcomes} (
  event bigint NOT NULL,
  subscription bigint NOT NULL,
  exchange int NOT NULL,
  state text NOT NULL,
  at bigint NOT NULL,
  topic text NOT NULL,
  written_at bigint NOT NULL,
  PRIMARY KEY (event, subscription)
) ${shortLived}`,
      `CREATE INDEX ${index("outcomes_at")} ON ${outcomes} (exchange, at)`,
      `CREATE TABLE ${attempts} (
  event bigint NOT NULL,
  subscription bigint NOT NULL,
  kept_at bigint NOT NULL,
  exchange int NOT NULL,
  place int NOT NULL,
  at float8 NOT NULL,
  took float8 NOT NULL,
  topic text NOT NULL,
  error text,
  detail text
) ${shortLived}`,
      // By the negative number: for what is read of a subscription alone this index is no choice, however old the statistics.
      `CREATE INDEX ${index("attempts_event")} ON ${attempts} (event, (-subscription))`,
      `CREATE INDEX ${index("attempts_order")} ON ${attempts} (subscription, at, event)`,
      `CREATE INDEX ${index("attempts_failed")} ON ${attempts} (subscription, at, event) WHERE error IS NOT NULL`,
      `CREATE INDEX ${index("attempts_kept")} ON ${attempts} (exchange, kept_at)`,
      ...withPages(
        routes,
        `(exchange, tenant, pattern, subscription) SELECT 0, '', ${wide} || n, n FROM generate_series(1, 400) AS n`
      ),
      ...withPages(leases, "(subscription, exchange) SELECT n, 0 FROM generate_series(1, 3500) AS n"),
      ...withPages(
        events,
        `(position, exchange, version, xid, tenant, topic) SELECT n, 0, 0, 0, '', ${wide} FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        deliveries,
        `(subscription, position, topic) SELECT 0, n, ${wide} FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        delayed,
        `(subscription, position, lane, topic) SELECT 0, n, 0, ${wide} FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        scheduled,
        `(subscription, due_at, event, topic) SELECT 0, n, n, ${wide} FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        ids,
        `(exchange, tenant, id, position, expires_at, place) SELECT 0, '', ${wide} || n, n, n, n FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        outcomes,
        `(event, subscription, exchange, state, at, topic, written_at) SELECT n, 0, 0, '', n, ${wide}, 0 FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        attempts,
        `(event, subscription, kept_at, exchange, place, at, took, topic) SELECT n, 0, n, 0, 1, n, 0, ${wide} FROM generate_series(1, 400) AS n`
      ),
      ...withPages(
        arrivals,
        "(position, subscriptions) SELECT n, array_fill(0::bigint, ARRAY[230]) FROM generate_series(1, 400) AS n"
      )
    ]
  ]
}

/**
 * Brings the tables to this library's version. Where they have it already it only reads that, so that it needs no right
 * to make tables; otherwise one process migrates them and the others wait for it.
 */
export const migrate = (runner: Runner, names: Names): Effect.Effect<void, EventStoreError> => {
  const run = (text: string, params: ReadonlyArray<unknown> = []) =>
    runner.client.unsafe<Record<string, Numeric | boolean | null>>(text, params).unprepared
  const all = versions(names)

  const version = Effect.gen(function* () {
    const [found] = yield* run("SELECT to_regclass($1::text) IS NOT NULL AS found", [names.version])
    if (found?.["found"] !== true) return 0
    const [row] = yield* run(`SELECT max(version) AS version FROM ${names.version}`)
    return Number(row?.["version"] ?? 0)
  })

  const steps = Effect.gen(function* () {
    yield* run("SELECT pg_advisory_xact_lock(hashtextextended($1::text, 0))::text", [names.version])
    // read first: to make a schema that is there takes a right that reading does not
    const [found] = yield* run("SELECT to_regnamespace($1::text) IS NOT NULL AS found", [names.schema])
    if (found?.["found"] !== true) yield* run(`CREATE SCHEMA ${names.schema}`)
    const from = yield* version
    if (from >= all.length) return
    yield* run(`CREATE TABLE IF NOT EXISTS ${names.version} (version integer NOT NULL)`)
    for (const text of all.slice(from).flat()) yield* run(text)
    yield* run(`DELETE FROM ${names.version}`)
    yield* run(`INSERT INTO ${names.version} VALUES ($1::integer)`, [all.length])
  })

  const current = runner.outside(runner.bounded("migrate", version, false))

  return Effect.gen(function* () {
    // no process waits for ever, and one that stops there does not keep the others waiting
    if ((yield* current) < all.length) yield* runner.transaction("migrate", steps, migrationTimeout)
    const now = yield* current
    if (now > all.length) {
      const detail = `the tables have version ${now}, and this library knows ${all.length}`
      return yield* Effect.fail(problem("migrate", "NewerSchema", detail))
    }
  })
}

/** The version that `migrate` brings tables to. */
export const newestVersion = (names: Names): number => versions(names).length
