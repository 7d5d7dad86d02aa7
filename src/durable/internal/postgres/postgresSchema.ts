/** The tables of a store, made and migrated under a lock. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../../EventStore.ts"
import type { Names } from "./names.ts"
import type { Numeric } from "./rows.ts"
import { problem, type Runner } from "./runner.ts"

/** How long another process's migration may take. */
const migrationTimeout = Duration.minutes(1)

/**
 * The statements of each version. The order of keys is the queue's order, so it is the primary key. A queue is
 * short-lived rows that are never changed: they are vacuumed after a number of them, not after a part of the table, or
 * their dead entries at the head of the index would be passed over by each read of it.
 */
const versions = ({ deadLetters, deadLettersOrder, events, leases }: Names): ReadonlyArray<ReadonlyArray<string>> => [
  [
    `CREATE TABLE ${leases} (
  queue text COLLATE "C" PRIMARY KEY,
  epoch bigint NOT NULL,
  renewed_at bigint NOT NULL,
  expires_at bigint
) WITH (fillfactor = 50)`,
    `CREATE TABLE ${events} (
  queue text COLLATE "C" NOT NULL,
  key bigint GENERATED ALWAYS AS IDENTITY,
  attempts bigint NOT NULL,
  written_at bigint NOT NULL,
  payload bytea NOT NULL,
  PRIMARY KEY (queue, key)
) WITH (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000, autovacuum_vacuum_cost_delay = 0,
  toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 10000
)`,
    `ALTER TABLE ${events} ALTER COLUMN queue SET STATISTICS 0`,
    `CREATE TABLE ${deadLetters} (
  queue text COLLATE "C" NOT NULL,
  key bigint NOT NULL,
  dead_lettered_at bigint NOT NULL,
  written_at bigint NOT NULL,
  reason text NOT NULL,
  cause text NOT NULL,
  attempts bigint NOT NULL,
  payload bytea NOT NULL,
  PRIMARY KEY (queue, key)
)`,
    `CREATE INDEX ${deadLettersOrder} ON ${deadLetters} (queue, dead_lettered_at, key)`
  ]
]

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
    // no process waits for ever, and one that stops here does not keep the others waiting
    const limit = String(Duration.toMillis(migrationTimeout))
    const settings = ["lock_timeout", "idle_in_transaction_session_timeout"]
    yield* run(`SELECT ${settings.map((name) => `set_config('${name}', $1::text, true)`).join(", ")}`, [limit])
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

  const current = runner.bounded("migrate", version, false)
  const work = runner.bounded("migrate", runner.client.withTransaction(steps), true, migrationTimeout)
  const migrated = Effect.gen(function* () {
    if ((yield* current) < all.length) yield* work
    const now = yield* current
    if (now > all.length) {
      const detail = `the tables have version ${now}, and this library knows ${all.length}`
      return yield* Effect.fail(problem("migrate", "NewerSchema", detail))
    }
  })
  return runner.outside(migrated)
}
