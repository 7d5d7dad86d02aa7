/** Events through Postgres: what does it bring that writers share their transactions? */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { DurableQueue, PostgresStore } from "effect-events/durable"
import { Meter, throughput, times } from "../measure.ts"
import { atLeast, type Row, type Side, cpuAndWall } from "../model.ts"
import { event, Order, payloadOf, postgres } from "../orders.ts"

const payload = payloadOf(event)
/** So many write at the same time. */
export const writers = 100

export const all = (n: number, write: Effect.Effect<unknown, unknown>) =>
  Effect.all(
    Array.from({ length: writers }, () => times(n / writers, () => write)),
    { concurrency: "unbounded", discard: true }
  )

export const queued = (label: string, batchSize?: number, goals?: Side["goals"]): Side => ({
  label,
  goals,
  run: (load) =>
    Effect.gen(function* () {
      const layer = Layer.provide(PostgresStore.layer(), yield* postgres)
      const context = yield* Layer.buildWithScope(layer, yield* Scope.Scope)
      const meter = new Meter()
      const orders = yield* EventSink.sync<Order>(meter.count).pipe(
        Effect.flatMap(DurableQueue.make({ name: "orders", schema: Order, batchSize })),
        Effect.provide(context)
      )
      const delivered = meter.delivered(load.n, all(load.n, orders.write(event)))
      return throughput(load, Effect.andThen(delivered, Effect.orDie(orders.flush)))
    }).pipe(Effect.orDie)
})

/** Plain statements by all writers: written, and neither read nor removed nor notified. */
export const insert: Side = {
  label: "INSERT by hand, one row a transaction",
  run: (load) =>
    Effect.gen(function* () {
      const context = yield* Layer.buildWithScope(yield* postgres, yield* Scope.Scope)
      const sql = yield* Effect.provide(PgClient.PgClient, context)
      yield* sql`CREATE TABLE events (key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payload bytea NOT NULL)`
      return throughput(load, Effect.orDie(all(load.n, sql`INSERT INTO events (payload) VALUES (${payload})`)))
    }).pipe(Effect.orDie)
}

export const durablePostgres: ReadonlyArray<Row> = [
  {
    name: "durable-postgres",
    question: "100 writers, one event at a time each, through a `DurableQueue` on Postgres",
    n: 1_000,
    metrics: cpuAndWall,
    note: "All through `@effect/sql-pg` with ten connections. CPU is the client's.",
    sides: [queued("ours"), queued("ours, one row a transaction", 1, { wall: atLeast(5) }), insert]
  }
]
