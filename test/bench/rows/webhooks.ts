/**
 * Webhooks for many customers: what a write to 100 endpoints costs, what a delivery costs with and without the log of attempts, what
 * endpoints cost that are idle, and the bytes of a delivery that waits.
 */
import { PgClient } from "@effect/sql-pg"
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { HttpClient } from "effect/http/HttpClient"
import * as Client from "effect/http/HttpClient"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as Layer from "effect/Layer"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { EventStore, PostgresStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { WebhookEndpoints } from "effect-events/webhooks"
import { createHmac } from "node:crypto"
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { makeKeyRing } from "../../../src/webhooks/internal/keyRing.ts"
import { makeRows } from "../../../src/webhooks/internal/row.ts"
import { commits, countStatements, countTransactions, cpu, share, statements } from "../idle.ts"
import { Meter, throughput, times } from "../measure.ts"
import {
  cpuAndWall,
  type Figures,
  type Load,
  type Metric,
  type Row,
  type Sample,
  type Side,
  valueAtMost
} from "../model.ts"
import { batch, batchOf, event, folder, Order, payloadOf, postgres } from "../orders.ts"

const payload = payloadOf(event)
const [tenant, topic] = ["acme", "order/placed"]
const addressed = { tenant, topic, event }
const name = "orders"
const endpoints = 100
const keys = { current: { id: "a", key: Redacted.make(new Uint8Array(32).fill(1)) } }

/** A receiver that accepts and counts, in this process. */
const nullClient = (meter: Meter): HttpClient =>
  Client.make((request) =>
    Effect.sync(() => {
      meter.count()
      return HttpClientResponse.fromWeb(request, new Response(null, { status: 204 }))
    })
  )

interface Place {
  readonly context: Context.Context<EventStore.EventStore>
  readonly sql: PgClient.PgClient | undefined
  readonly file: string
}

const places = {
  sqlite: Effect.gen(function* () {
    const file = join(yield* folder, "orders.db")
    const context = yield* Layer.buildWithScope(SqliteStore.layer({ filename: file }), yield* Scope.Scope)
    return { context, sql: undefined, file } satisfies Place
  }),
  postgres: Effect.gen(function* () {
    const layer = Layer.provideMerge(PostgresStore.layer(), yield* postgres)
    const context = yield* Layer.buildWithScope(layer, yield* Scope.Scope)
    return { context, sql: Context.get(context, PgClient.PgClient), file: "" } satisfies Place
  })
}
type Engine = keyof typeof places
const titles = { sqlite: "SQLite", postgres: "Postgres" } as const

const made = ({ context }: Place, meter: Meter, options: Partial<WebhookEndpoints.Options<Order>> = {}) =>
  WebhookEndpoints.make<Order>({
    name,
    schema: Order,
    keys,
    allowUnguarded: true,
    limits: { endpoints: 1_000 },
    ...options
  }).pipe(Effect.provide(context), Effect.provideService(HttpClient, nullClient(meter)), quiet)

/** The output of the process is its figures. */
const quiet = Effect.provideService(Logger.CurrentLoggers, new Set<Logger.Logger<unknown, unknown>>())

const create = (
  webhooks: WebhookEndpoints.WebhookEndpoints<Order>,
  n: number,
  change: { readonly ordered?: boolean } = {},
  of: (i: number) => string = () => tenant
) =>
  Effect.forEach(
    Array.from({ length: n }),
    (_, i) => webhooks.create({ tenant: of(i), url: `https://receiver.test/${i}`, topics: ["order/*"], ...change }),
    { concurrency: 16, discard: true }
  )

/** Nothing is kept of what was delivered. */
const bare = { retention: Duration.zero, outcomes: Duration.zero, deduplication: Duration.zero }

const serverCpu: Metric = { key: "server", label: "CPU of the server", unit: "ns" }

/** What the processes of the server have used, in milliseconds: those that there are now, as the system counts it. */
const serverTime = (sql: PgClient.PgClient) =>
  Effect.map(sql<{ readonly pid: number }>`SELECT pid FROM pg_stat_activity`, (rows) =>
    rows.reduce((sum, { pid }) => {
      const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? []
      // in ticks of 10 ms
      return sum + 10 * (Number(fields[11]) + Number(fields[12]))
    }, 0)
  )

/** Throughput, with the server's CPU time where there is a server. */
const measured = (load: Load, body: Effect.Effect<void>, sql: PgClient.PgClient | undefined): Sample => {
  if (sql === undefined) return throughput(load, body)
  return Effect.gen(function* () {
    let rounds = 0
    const before = yield* serverTime(sql)
    const figures = yield* throughput(
      load,
      Effect.andThen(
        body,
        Effect.sync(() => void rounds++)
      )
    )
    const after = yield* serverTime(sql)
    return { ...figures, server: ((after - before) * 1e6) / (rounds * load.n) }
  }).pipe(Effect.orDie)
}

const publishing = (label: string, engine: Engine, options: typeof bare | object, goals?: Side["goals"]): Side => ({
  label,
  goals,
  run: (load) =>
    Effect.gen(function* () {
      const place: Place = yield* places[engine]
      const webhooks = yield* made(place, new Meter(), { slots: 0, ...options })
      yield* create(webhooks, endpoints)
      return measured(load, Effect.orDie(times(load.n, () => webhooks.write(addressed))), place.sql)
    }).pipe(Effect.orDie)
})

/** One statement, or one transaction, that stores an event and a row for each subscription whose topic matches. */
const publishByHand: Readonly<Record<Engine, Side>> = {
  postgres: {
    label: "@effect/sql-pg, by hand",
    run: (load) =>
      Effect.gen(function* () {
        const sql = yield* tables
        const write = sql.unsafe(
          `WITH written AS (INSERT INTO events (payload) VALUES ($1) RETURNING key)
          INSERT INTO deliveries (subscription, event)
          SELECT id, key FROM written CROSS JOIN subscriptions WHERE tenant = $2 AND topic = 'order/*'`,
          [payload, tenant]
        )
        return measured(load, Effect.orDie(times(load.n, () => write)), sql)
      }).pipe(Effect.orDie)
  },
  sqlite: {
    label: "node:sqlite, by hand",
    run: (load) =>
      Effect.gen(function* () {
        const db = yield* rawTables
        const insert = db.prepare("INSERT INTO events (payload) VALUES (?)")
        const fanOut = db.prepare(
          "INSERT INTO deliveries SELECT id, ? FROM subscriptions WHERE tenant = ? AND topic = 'order/*'"
        )
        const write = Effect.sync(() => {
          db.exec("BEGIN IMMEDIATE")
          fanOut.run(insert.run(payload).lastInsertRowid, tenant)
          db.exec("COMMIT")
        })
        return throughput(
          load,
          times(load.n, () => Effect.andThen(write, Effect.yieldNow))
        )
      })
  }
}

const tables = Effect.gen(function* () {
  const context = yield* Layer.buildWithScope(yield* postgres, yield* Scope.Scope)
  const sql = Context.get(context, PgClient.PgClient)
  yield* sql`CREATE TABLE subscriptions (id int PRIMARY KEY, tenant text NOT NULL, topic text NOT NULL)`
  yield* sql`CREATE INDEX ON subscriptions (tenant, topic)`
  yield* sql`CREATE TABLE events (key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL)`
  yield* sql`CREATE TABLE deliveries (subscription int, event bigint, PRIMARY KEY (subscription, event))`
  yield* sql`INSERT INTO subscriptions SELECT n, ${tenant}, 'order/*' FROM generate_series(1, ${endpoints}) AS n`
  return sql
})

const rawTables = Effect.map(folder, (path) => {
  const db = new DatabaseSync(join(path, "raw.db"))
  db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
  db.exec(`
    CREATE TABLE subscriptions (id INTEGER PRIMARY KEY, tenant TEXT NOT NULL, topic TEXT NOT NULL) STRICT;
    CREATE INDEX by_topic ON subscriptions (tenant, topic);
    CREATE TABLE events (key INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL) STRICT;
    CREATE TABLE deliveries (subscription INTEGER, event INTEGER, PRIMARY KEY (subscription, event)) STRICT, WITHOUT ROWID;
  `)
  for (let i = 0; i < endpoints; i++) {
    db.prepare("INSERT INTO subscriptions (tenant, topic) VALUES (?, 'order/*')").run(tenant)
  }
  return db
})

const perSecond: Metric = { key: "rate", label: "deliveries", unit: "per s" }
const rated = (figures: Figures): Figures => ({ ...figures, rate: 1e9 / (figures["wall"] ?? 0) })
const writesOf = ({ n }: Load) => Math.ceil(n / endpoints / batch)
const delivered = ({ n }: Load) => writesOf({ n, millis: 0 }) * batch * endpoints

const delivering = (label: string, engine: Engine, options: typeof bare | object, goals?: Side["goals"]): Side => ({
  label,
  goals,
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const place: Place = yield* places[engine]
      const webhooks = yield* made(place, meter, options)
      yield* create(webhooks, endpoints)
      const events = batchOf(event).map((one) => ({ tenant, topic, event: one }))
      const written = times(writesOf(load), () => EventSink.writeAll(webhooks, events))
      const { sweep } = Context.get(place.context, EventStore.EventStore)
      const swept = Effect.orDie(Effect.repeat(sweep, { while: (isMore) => isMore }))
      const total = delivered(load)
      const body = Effect.andThen(meter.delivered(total, written), swept)
      return Effect.map(measured({ ...load, n: total }, body, place.sql), rated)
    }).pipe(Effect.orDie)
})

/** A request of a delivery, signed as Standard Webhooks has it. */
const request = (
  client: HttpClient,
  { event, subscription }: { readonly event: number; readonly subscription: number }
) =>
  Effect.suspend(() => {
    const timestamp = Math.floor(Date.now() / 1000)
    const signed = createHmac("sha256", "secret").update(`${event}.${timestamp}.`).update(payload).digest("base64")
    return client.execute(
      HttpClientRequest.post(`https://receiver.test/${subscription}`, {
        headers: { "webhook-id": `${event}`, "webhook-timestamp": `${timestamp}`, "webhook-signature": `v1,${signed}` },
        body: HttpBody.uint8Array(payload, "application/json")
      })
    )
  })

interface Delivery {
  readonly subscription: number
  readonly event: number
}

/** Written, read, requested and removed in rounds of a batch for all endpoints, each with its events in order. */
const deliverByHand = (
  load: Load,
  meter: Meter,
  sql: PgClient.PgClient | undefined,
  round: (requests: (rows: ReadonlyArray<Delivery>) => Effect.Effect<void>) => Effect.Effect<unknown>
) => {
  const client = nullClient(meter)
  const requests = (rows: ReadonlyArray<Delivery>) =>
    Effect.forEach(
      Map.groupBy(rows, ({ subscription }) => subscription).values(),
      (some) => Effect.forEach(some, (one) => Effect.orDie(request(client, one)), { discard: true }),
      { concurrency: "unbounded", discard: true }
    )
  const total = delivered(load)
  const body = meter.delivered(
    total,
    times(writesOf(load), () => round(requests))
  )
  return Effect.map(measured({ ...load, n: total }, body, sql), rated)
}

const deliverySides: Readonly<Record<Engine, Side>> = {
  postgres: {
    label: "@effect/sql-pg, by hand",
    run: (load) =>
      Effect.gen(function* () {
        const sql = yield* tables
        const payloads = Array.from({ length: batch }, () => payload)
        const write = sql.unsafe<{ readonly first: string; readonly last: string }>(
          `WITH written AS (INSERT INTO events (payload) SELECT unnest($1::bytea[]) RETURNING key),
          queued AS (
            INSERT INTO deliveries SELECT id, key FROM written CROSS JOIN subscriptions
            WHERE tenant = $2 AND topic = 'order/*'
          )
          SELECT min(key)::text AS first, max(key)::text AS last FROM written`,
          [payloads, tenant]
        )
        const select = `SELECT subscription, event, payload FROM deliveries JOIN events ON key = event
          WHERE event BETWEEN $1::bigint AND $2::bigint ORDER BY subscription, event`
        const remove = `WITH acknowledged AS (DELETE FROM deliveries WHERE event BETWEEN $1::bigint AND $2::bigint)
          DELETE FROM events WHERE key BETWEEN $1::bigint AND $2::bigint`
        return deliverByHand(load, new Meter(), sql, (requests) =>
          Effect.gen(function* () {
            const [written] = yield* write
            const range = [written?.first, written?.last]
            yield* requests(yield* sql.unsafe<Delivery>(select, range))
            yield* sql.unsafe(remove, range)
          }).pipe(Effect.orDie)
        )
      }).pipe(Effect.orDie)
  },
  sqlite: {
    label: "node:sqlite, by hand",
    run: (load) =>
      Effect.gen(function* () {
        const db = yield* rawTables
        const insert = db.prepare("INSERT INTO events (payload) VALUES (?)")
        const fanOut = db.prepare(
          "INSERT INTO deliveries SELECT id, ? FROM subscriptions WHERE tenant = ? AND topic = 'order/*'"
        )
        const select = db.prepare(
          "SELECT subscription, event, payload FROM deliveries JOIN events ON key = event ORDER BY subscription, event"
        )
        return deliverByHand(load, new Meter(), undefined, (requests) =>
          Effect.gen(function* () {
            db.exec("BEGIN IMMEDIATE")
            for (let i = 0; i < batch; i++) fanOut.run(insert.run(payload).lastInsertRowid, tenant)
            db.exec("COMMIT")
            // The driver types no rows.
            yield* requests(select.all() as unknown as ReadonlyArray<Delivery>)
            db.exec("BEGIN IMMEDIATE; DELETE FROM deliveries; DELETE FROM events; COMMIT")
          })
        )
      })
  }
}

/** One event for each endpoint of a hundred tenants, most of which had none since the last: a lease and a receiver for each. */
const sparse = (label: string, engine: Engine, options: typeof bare | object): Side => ({
  label,
  run: ({ millis }) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const place: Place = yield* places[engine]
      const webhooks = yield* made(place, meter, options)
      const tenants = 100
      yield* create(webhooks, spread, {}, (i) => `t${i % tenants}`)
      const written = Effect.forEach(Array.from({ length: tenants }), (_, i) =>
        webhooks.write({ ...addressed, tenant: `t${i}` })
      )
      return Effect.map(measured({ n: spread, millis }, meter.delivered(spread, written), place.sql), rated)
    }).pipe(Effect.orDie)
})

/** How many endpoints have an event each: more than there are slots. */
const spread = 2_000

/** Endpoints as `create` makes them, without a call for each. */
const defineMany = Effect.fnUntraced(function* ({ context }: Place, n: number, of: (i: number) => string) {
  const store = Context.get(context, EventStore.EventStore)
  const rows = makeRows(name, yield* makeKeyRing(keys))
  const secret = Redacted.make(`whsec_${Buffer.alloc(32, 1).toString("base64")}`)
  for (let from = 0; from < n; from += batch) {
    const some = yield* Effect.forEach(Array.from({ length: Math.min(batch, n - from) }), (_, k) =>
      rows.definition({
        tenant: of(from + k),
        id: `ep_${from + k}`,
        url: `https://receiver.test/${from + k}`,
        topics: ["order/*"],
        description: undefined,
        headers: {},
        secretHeaders: [],
        secretHeaderValues: {},
        secrets: [{ secret, since: 0, until: undefined }],
        envelope: undefined,
        plan: undefined,
        rate: undefined,
        ordered: true,
        concurrency: undefined,
        timeout: undefined,
        createdAt: 0
      })
    )
    if (isReadonlyArrayNonEmpty(some)) yield* store.define(name, some)
  }
})

/** So many endpoints of a hundred tenants, that have had an event each. */
const idle = (n: number, engine: Engine): Side => ({
  label: `ours, ${n.toLocaleString("en")} endpoints`,
  goals: { statements: valueAtMost(20) },
  run: () =>
    Effect.gen(function* () {
      const counts = engine === "sqlite" ? countStatements() : undefined
      const place = yield* places[engine]
      const meter = new Meter()
      const webhooks = yield* made(place, meter)
      const tenants = Math.min(n, 100)
      yield* defineMany(place, n, (i) => `t${i % tenants}`)
      const written = Effect.forEach(Array.from({ length: tenants }), (_, i) =>
        webhooks.write({ ...addressed, tenant: `t${i}` })
      )
      yield* meter.delivered(n, written)
      // Leases are released, the sweep has removed the events, and idle sessions have reported to the server's count.
      yield* Effect.sleep("12 seconds")
      return share(counts === undefined ? countTransactions(place.sql!) : Effect.sync(counts))
    }).pipe(Effect.orDie)
})

const waiting = 100_000
const perWrite = 500
const many = Array.from({ length: perWrite }, () => ({ ...addressed, event }))

/** Deliveries that are ready; or, of endpoints without an order, that have failed once and wait for a time of their own. */
const fill = Effect.fnUntraced(function* (place: Place, isDelayed: boolean) {
  const webhooks = yield* made(place, new Meter(), { slots: 0, ...bare })
  yield* create(webhooks, endpoints, { ordered: !isDelayed })
  const store = Context.get(place.context, EventStore.EventStore)
  yield* times(waiting / endpoints / perWrite, () => EventSink.writeAll(webhooks, many))
  if (!isDelayed) return
  const owner = yield* store.renew({ name: "before" }, Duration.days(1))
  for (let left = endpoints; left > 0;) {
    const { acquired } = yield* store.claim(owner, { exchange: name }, endpoints)
    left -= acquired.length
    for (const { epoch, subscription } of acquired) {
      const lease = { epoch, subscription }
      for (let at = 0; at < waiting / endpoints; at += perWrite) {
        const limits = { rows: perWrite, bytes: Number.POSITIVE_INFINITY }
        const [taken] = yield* store.take(owner, [{ ...lease, limits, except: [], busy: [], perLane: 0 }])
        const settled = (taken?.deliveries ?? []).map(
          ({ position }) => ({ _tag: "Again", position, lane: position, delay: Duration.days(1), attempts: 1 }) as const
        )
        yield* store.settle(owner, [{ lease, settled }])
      }
    }
  }
})

const bytes: Metric = { key: "bytes", label: "bytes a delivery", unit: "bytes" }

const sizeOn = (table: string, most: number, isDelayed: boolean): Side => ({
  label: `ours, ${isDelayed ? "delayed" : "ready"}`,
  goals: { bytes: valueAtMost(most) },
  run: () =>
    Effect.gen(function* () {
      const place = yield* places.postgres
      const size = Effect.gen(function* () {
        const { sql } = place
        yield* sql.unsafe(`VACUUM effect_events_${table}`)
        const [row] = yield* sql<{ readonly bytes: string }>`
          SELECT pg_total_relation_size(${`effect_events_${table}`}::regclass)::text AS bytes`
        return Number(row?.bytes)
      })
      const before = yield* size
      yield* fill(place, isDelayed)
      const after = yield* size
      return Effect.succeed({ bytes: (after - before) / waiting })
    }).pipe(Effect.orDie)
})

const sizeOfFile: Side = {
  label: "ours, SQLite, ready, events included",
  against: "ours, SQLite, ready, events included",
  run: () =>
    Effect.gen(function* () {
      const place = yield* places.sqlite
      yield* fill(place, false)
      const db = new DatabaseSync(place.file)
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
      db.close()
      return Effect.succeed({ bytes: statSync(place.file).size / waiting })
    }).pipe(Effect.orDie)
}

const rowsOf = (engine: Engine): ReadonlyArray<Row> => [
  {
    name: `webhooks-publish-${engine}`,
    question: `One event written for 100 webhook endpoints on ${titles[engine]}`,
    n: 20,
    metrics: engine === "postgres" ? [...cpuAndWall, serverCpu] : cpuAndWall,
    warmUps: 2,
    note: "Per event, with a row for each endpoint; nothing is delivered. CPU is the client's.",
    sides: [
      publishing("ours", engine, bare),
      { ...publishing("ours, events and ids kept as by default", engine, {}), against: "ours" },
      publishByHand[engine]
    ]
  },
  {
    name: `webhooks-deliveries-${engine}`,
    question: `Batches of 100 events to 100 webhook endpoints on ${titles[engine]}, over a null receiver`,
    n: 10_000,
    metrics: [perSecond, ...cpuAndWall, ...(engine === "postgres" ? [serverCpu] : [])],
    warmUps: 2,
    note: "Per delivery: written, taken, encoded, signed, requested of a client that only answers, and acknowledged. CPU is the client's.",
    sides: [
      delivering("ours", engine, bare),
      {
        ...delivering("ours, attempts and outcomes kept", engine, { ...bare, outcomes: Duration.days(3) }),
        against: "ours"
      },
      deliverySides[engine]
    ]
  },
  {
    name: `webhooks-spread-${engine}`,
    question: `An event each to 2,000 webhook endpoints of 100 tenants on ${titles[engine]}, over a null receiver`,
    n: spread,
    metrics: [perSecond, ...cpuAndWall, ...(engine === "postgres" ? [serverCpu] : [])],
    note: "Per delivery. Each is a lease that is claimed and released, and a receiver that is made, for one event.",
    sides: [
      sparse("ours", engine, bare),
      {
        ...sparse("ours, attempts and outcomes kept", engine, { ...bare, outcomes: Duration.days(3) }),
        against: "ours"
      }
    ]
  },
  {
    name: `webhooks-idle-${engine}`,
    question: `A process that serves idle webhook endpoints on ${titles[engine]}, over 30 seconds`,
    n: 1,
    metrics: engine === "sqlite" ? [cpu, statements, commits] : [cpu, statements],
    cold: true,
    note: "The endpoints have had an event each. On Postgres each statement is a transaction, as the server counts them.",
    sides: [10, 1_000, 10_000].map((n) => idle(n, engine))
  }
]

export const webhooks: ReadonlyArray<Row> = [
  ...rowsOf("sqlite"),
  ...rowsOf("postgres"),
  {
    name: "webhooks-bytes",
    question: "The bytes of a delivery that waits, of 100,000 to 100 endpoints, the event not counted",
    n: waiting,
    metrics: [bytes],
    cold: true,
    note: "On Postgres the table with its indexes after a VACUUM, without what the empty table has. On SQLite the whole file.",
    sides: [sizeOn("deliveries", 100, false), sizeOn("delayed", 140, true), sizeOfFile]
  }
]
