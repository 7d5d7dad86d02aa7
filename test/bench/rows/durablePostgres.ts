/** Events through Postgres: what does it bring that writers share their transactions? */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { DurableQueue, PostgresStore } from "effect-events/durable"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { Meter, throughput, times } from "../measure.ts"
import { atLeast, type Row, type Side, cpuAndWall } from "../model.ts"

const event = { id: "5f8b6f0e-52c6-4b54-9b3c-0d4f8e6f7a11", type: "order.placed", note: "x".repeat(214) }
const Order = Schema.Struct({ id: Schema.String, type: Schema.String, note: Schema.String })
const payload = new TextEncoder().encode(JSON.stringify(event))
const writers = 100

/** A client of a server of its own. */
const client = Effect.acquireRelease(
  Effect.sync(() =>
    spawn(process.execPath, [fileURLToPath(new URL("../postgres.ts", import.meta.url))], {
      stdio: ["pipe", "pipe", "inherit"]
    })
  ),
  (child) => Effect.sync(() => child.stdin.end())
).pipe(
  Effect.flatMap((child) =>
    Effect.promise(async () => {
      for await (const said of createInterface({ input: child.stdout })) return said
      throw new Error("the server did not start")
    })
  ),
  Effect.map((said) => {
    if (!/^\d+$/.test(said)) throw new Error(said)
    const port = Number(said)
    return PgClient.layer({ host: "127.0.0.1", port, username: "postgres", database: "postgres", maxConnections: 10 })
  })
)

const all = (n: number, write: Effect.Effect<unknown, unknown>) =>
  Effect.all(
    Array.from({ length: writers }, () => times(n / writers, () => write)),
    { concurrency: "unbounded", discard: true }
  )

const queued = (label: string, batchSize?: number, goals?: Side["goals"]): Side => ({
  label,
  goals,
  run: (load) =>
    Effect.gen(function* () {
      const layer = Layer.provide(PostgresStore.layer(), yield* client)
      const context = yield* Layer.buildWithScope(layer, yield* Scope.Scope)
      const meter = new Meter()
      const orders = yield* EventSink.sync<typeof Order.Type>(meter.count).pipe(
        Effect.flatMap(DurableQueue.make({ name: "orders", schema: Order, batchSize })),
        Effect.provide(context)
      )
      const delivered = meter.delivered(load.n, all(load.n, orders.write(event)))
      return throughput(load, Effect.andThen(delivered, Effect.orDie(orders.flush)))
    }).pipe(Effect.orDie)
})

/** Plain statements by all writers: written, and neither read nor removed nor notified. */
const insert: Side = {
  label: "INSERT by hand, one row a transaction",
  run: (load) =>
    Effect.gen(function* () {
      const context = yield* Layer.buildWithScope(yield* client, yield* Scope.Scope)
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
