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
import { commits, countStatements, countTransactions, cpu, share, statements } from "../idle.ts"
import { Meter } from "../measure.ts"
import { type Row, valueAtMost } from "../model.ts"
import { event, folder, Order, postgres } from "../orders.ts"

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

const goals = { cpu: valueAtMost(2), statements: valueAtMost(20) }

const subscriptions = 200

export const durableIdle: ReadonlyArray<Row> = [
  {
    name: "durable-idle-sqlite",
    question: "A process with 200 idle subscriptions of a `DurableBroadcaster` on SQLite, over 30 seconds",
    n: subscriptions,
    metrics: [cpu, statements, commits],
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
            return share(countTransactions(sql))
          }).pipe(Effect.orDie)
      }
    ]
  }
]
