/** A process with many subscriptions and no events: what do they cost while nothing happens? */
import { PgClient } from "@effect/sql-pg"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { DurableBroadcaster, type EventStore, PostgresStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { join } from "node:path"
import { StatementSync } from "node:sqlite"
import { collect, Meter, stopwatch } from "../measure.ts"
import { type Figures, type Metric, type Row, type Sample, valueAtMost } from "../model.ts"
import { event, folder, Order, postgres } from "../orders.ts"

/** How long a sample takes: as long as the longest interval of a broadcaster, that of subscriptions without a process. */
const length = "30 seconds"

/** A broadcaster whose subscriptions have had one event each, when it has settled. */
const idle = (subscriptions: number, context: Context.Context<EventStore.EventStore>, settling: `${number} seconds`) =>
  Effect.gen(function* () {
    const orders = yield* Effect.provide(DurableBroadcaster.make({ name: "orders", schema: Order }), context)
    const meter = new Meter()
    for (let i = 0; i < subscriptions; i++) {
      yield* DurableBroadcaster.subscribe(orders, EventSink.sync<Order>(meter.count), { name: `s${i}` })
    }
    yield* meter.delivered(subscriptions, orders.write(event))
    yield* orders.flush
    yield* Effect.sleep(settling)
  })

/** What the process uses meanwhile, and how fast some counters grow. */
const share = (counts: Effect.Effect<Figures>): Sample =>
  Effect.gen(function* () {
    collect()
    const before = yield* counts
    const watch = stopwatch()
    yield* Effect.sleep(length)
    const { cpu, wall } = watch()
    const after = yield* counts
    const rates = Object.entries(after).map(([key, n]) => [key, (1000 * (n - before[key]!)) / wall])
    return { ...Object.fromEntries(rates), cpu: (100 * cpu) / wall }
  })

/** How many statements of `node:sqlite` this process has run since, and how many transactions that write. */
const countStatements = (): (() => Figures) => {
  let [statements, commits] = [0, 0]
  const { prototype } = StatementSync
  for (const method of ["run", "get", "all", "iterate"] as const) {
    const original = prototype[method]
    Object.defineProperty(prototype, method, {
      value(this: StatementSync, ...values: ReadonlyArray<unknown>): unknown {
        statements++
        if (this.sourceSQL === "BEGIN IMMEDIATE") commits++
        return Reflect.apply(original, this, values)
      }
    })
  }
  return () => ({ statements, commits })
}

const cpu: Metric = { key: "cpu", label: "CPU, of one core", unit: "percent" }
const statements: Metric = { key: "statements", label: "statements", unit: "per s" }
const goals = { cpu: valueAtMost(2), statements: valueAtMost(20) }

const subscriptions = 200

export const durableIdle: ReadonlyArray<Row> = [
  {
    name: "durable-idle-sqlite",
    question: "A process with 200 idle subscriptions of a `DurableBroadcaster` on SQLite, over 30 seconds",
    n: subscriptions,
    metrics: [cpu, statements, { key: "commits", label: "commits", unit: "per s" }],
    cold: true,
    note: "Statements are those of `node:sqlite`, `BEGIN`, `COMMIT` and `PRAGMA` included.",
    sides: [
      {
        label: "ours",
        goals,
        run: (load) =>
          Effect.gen(function* () {
            const layer = SqliteStore.layer({ filename: join(yield* folder, "orders.db") })
            const counts = countStatements()
            const context = yield* Layer.buildWithScope(layer, yield* Scope.Scope)
            yield* idle(load.n, context, "3 seconds")
            return share(Effect.sync(counts))
          }).pipe(Effect.orDie)
      }
    ]
  },
  {
    name: "durable-idle-postgres",
    question: "A process with 200 idle subscriptions of a `DurableBroadcaster` on Postgres, over 30 seconds",
    n: subscriptions,
    metrics: [cpu, statements],
    cold: true,
    note: "CPU is the client's. Each statement is a transaction, as the server counts them; those of its own work are in the figure.",
    sides: [
      {
        label: "ours",
        goals,
        run: (load) =>
          Effect.gen(function* () {
            const layer = Layer.provideMerge(PostgresStore.layer(), yield* postgres)
            const context = yield* Layer.buildWithScope(layer, yield* Scope.Scope)
            const sql = Context.get(context, PgClient.PgClient)
            // An idle session reports to the server's count within ten seconds.
            yield* idle(load.n, context, "12 seconds")
            let own = 0
            const counts = sql<{ readonly n: string }>`
              SELECT (xact_commit + xact_rollback)::text AS n FROM pg_stat_database WHERE datname = current_database()
            `.pipe(
              // The statement that asks is counted by the next one.
              Effect.map(([row]) => ({ statements: Number(row?.n) - own++ })),
              Effect.orDie
            )
            return share(counts)
          }).pipe(Effect.orDie)
      }
    ]
  }
]
