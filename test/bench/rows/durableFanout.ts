/**
 * Batches through a `DurableBroadcaster`: written once, delivered to several subscriptions, acknowledged by each; beside a
 * loop by hand that does the same commits. Figures are per event written, not per delivery.
 */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import * as EventSink from "effect-events/EventSink"
import { DurableBroadcaster, EventStore, PostgresStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, type Load, type Row, type Side } from "../model.ts"
import { batch, batchOf, event, folder, Order, payloadOf, postgres } from "../orders.ts"

const events = batchOf(event)
const payload = payloadOf(event)

const batchesOf = ({ n }: Load) => Math.ceil(n / batch)

type StoreLayer = Layer.Layer<EventStore.EventStore, EventStore.EventStoreError | SqlError>

/** A broadcaster with so many subscriptions, each over a sink that counts. */
const ours = (subscriptions: number, store: Effect.Effect<StoreLayer, never, Scope.Scope>): Side => ({
  label: "ours",
  run: (load) =>
    Effect.gen(function* () {
      const context = yield* Layer.buildWithScope(yield* store, yield* Scope.Scope)
      const meter = new Meter()
      const orders = yield* Effect.provide(DurableBroadcaster.make({ name: "orders", schema: Order }), context)
      for (let i = 0; i < subscriptions; i++) {
        yield* DurableBroadcaster.subscribe(orders, EventSink.sync<Order>(meter.count), { name: `s${i}` })
      }
      const batches = batchesOf(load)
      const written = times(batches, () => EventSink.writeAll(orders, events))
      // On Postgres an event without deliveries is removed by the sweep; on SQLite it is gone by then.
      const { sweep } = yield* Effect.provide(EventStore.EventStore, context)
      const swept = Effect.repeat(sweep, { while: (isMore) => isMore })
      const settled = Effect.orDie(Effect.andThen(orders.flush, swept))
      return throughput(load, Effect.andThen(meter.delivered(batches * batch * subscriptions, written), settled))
    }).pipe(Effect.orDie)
})

const sqliteStore = Effect.map(folder, (path) => SqliteStore.layer({ filename: join(path, "orders.db") }))
const postgresStore = Effect.map(postgres, (client) => Layer.provide(PostgresStore.layer(), client))

/** Rounds by hand, each of a batch for all subscriptions. */
const rounds = (load: Load, subscriptions: number, meter: Meter, round: Effect.Effect<unknown>) =>
  meter.delivered(
    batchesOf(load) * batch * subscriptions,
    times(batchesOf(load), () => round)
  )

/** One transaction that inserts events and deliveries, a select of both joined, and one transaction that deletes both. */
const sqliteByHand = (subscriptions: number): Side => ({
  label: "node:sqlite, by hand",
  run: (load) =>
    Effect.gen(function* () {
      const db = new DatabaseSync(join(yield* folder, "raw.db"))
      db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
      db.exec(`
        CREATE TABLE subscriptions (key INTEGER PRIMARY KEY) STRICT;
        CREATE TABLE events (key INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL) STRICT;
        CREATE TABLE deliveries (
          subscription INTEGER, event INTEGER, PRIMARY KEY (subscription, event)
        ) STRICT, WITHOUT ROWID;
      `)
      for (let i = 0; i < subscriptions; i++) db.exec("INSERT INTO subscriptions DEFAULT VALUES")
      const insert = db.prepare("INSERT INTO events (payload) VALUES (?)")
      const fanOut = db.prepare("INSERT INTO deliveries SELECT key, ? FROM subscriptions")
      const select = db.prepare(
        "SELECT subscription, event, payload FROM deliveries JOIN events ON key = event ORDER BY subscription, event"
      )
      const removeDeliveries = db.prepare("DELETE FROM deliveries WHERE event <= ?")
      const removeEvents = db.prepare("DELETE FROM events WHERE key <= ?")
      const meter = new Meter()
      const round = Effect.sync(() => {
        db.exec("BEGIN IMMEDIATE")
        for (let i = 0; i < batch; i++) fanOut.run(insert.run(payload).lastInsertRowid)
        db.exec("COMMIT")
        const rows = select.all()
        for (const row of rows) meter.count(row)
        const last = rows.at(-1)?.["event"] ?? 0
        db.exec("BEGIN IMMEDIATE")
        removeDeliveries.run(last)
        removeEvents.run(last)
        db.exec("COMMIT")
      })
      return throughput(load, rounds(load, subscriptions, meter, Effect.andThen(round, Effect.yieldNow)))
    })
})

/** The same over Postgres, where each transaction is one statement. */
const postgresByHand = (subscriptions: number): Side => ({
  label: "@effect/sql-pg, by hand",
  run: (load) =>
    Effect.gen(function* () {
      const context = yield* Layer.buildWithScope(yield* postgres, yield* Scope.Scope)
      const sql = yield* Effect.provide(PgClient.PgClient, context)
      yield* sql`CREATE TABLE events (key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL)`
      // The events of a batch are neighbours: what was deleted and is not vacuumed yet is not read again.
      yield* sql`CREATE TABLE deliveries (event bigint, subscription int, PRIMARY KEY (event, subscription))`
      const payloads = Array.from({ length: batch }, () => payload)
      const insert = sql.unsafe<{ readonly first: string; readonly last: string }>(
        `WITH written AS (INSERT INTO events (payload) SELECT unnest($1::bytea[]) RETURNING key),
        queued AS (
          INSERT INTO deliveries SELECT key, subscription FROM written CROSS JOIN generate_series(1, $2::int) AS subscription
        )
        SELECT min(key)::text AS first, max(key)::text AS last FROM written`,
        [payloads, subscriptions]
      )
      const select = `SELECT subscription, event, payload FROM deliveries JOIN events ON key = event
        WHERE event BETWEEN $1::bigint AND $2::bigint ORDER BY subscription, event`
      const remove = `WITH acknowledged AS (DELETE FROM deliveries WHERE event BETWEEN $1::bigint AND $2::bigint)
        DELETE FROM events WHERE key BETWEEN $1::bigint AND $2::bigint`
      const meter = new Meter()
      const round = Effect.gen(function* () {
        const [written] = yield* insert
        const range = [written?.first, written?.last]
        meter.countAll(yield* sql.unsafe(select, range))
        yield* sql.unsafe(remove, range)
      })
      return throughput(load, rounds(load, subscriptions, meter, Effect.orDie(round)))
    }).pipe(Effect.orDie)
})

/** An event takes so long that the compiler is still at work after the time that is enough for others. */
const warmUps = 2

const question = (subscriptions: number, store: string) =>
  `Batches of 100 through a \`DurableBroadcaster\` on ${store} to ${subscriptions === 1 ? "one subscription" : `${subscriptions} subscriptions`}`
const note = "Per event written, with all of its deliveries."

const sqlite = (subscriptions: number, n: number): Row => ({
  name: `durable-fanout-sqlite-${subscriptions}`,
  question: question(subscriptions, "SQLite"),
  n,
  metrics: cpuAndWall,
  warmUps,
  note,
  sides: [ours(subscriptions, sqliteStore), sqliteByHand(subscriptions)]
})

const onPostgres = (subscriptions: number, n: number): Row => ({
  name: `durable-fanout-postgres-${subscriptions}`,
  question: question(subscriptions, "Postgres"),
  n,
  metrics: cpuAndWall,
  warmUps,
  note: `${note} CPU is the client's.`,
  sides: [ours(subscriptions, postgresStore), postgresByHand(subscriptions)]
})

export const durableFanout: ReadonlyArray<Row> = [
  sqlite(1, 20_000),
  sqlite(10, 5_000),
  sqlite(100, 1_000),
  onPostgres(1, 5_000),
  onPostgres(10, 2_000),
  onPostgres(100, 400)
]
