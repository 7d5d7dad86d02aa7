/** What is used today in front of an HTTP call or behind an insert, on the same work. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { PersistedQueue } from "effect/persistence"
import * as Scope from "effect/Scope"
import { Agent } from "node:http"
import { setTimeout } from "node:timers/promises"
import { Meter, throughput } from "../measure.ts"
import { cpuAndWall, type Row, type Side } from "../model.ts"
import { event as order, Order, portOf, postgres } from "../orders.ts"
import { missing, other, type Package } from "../others.ts"
import { all, insert, queued, writers } from "./durablePostgres.ts"
import { endpoint, event, overHttp, warmUps } from "./http.ts"

const connections = 16

interface Got {
  readonly extend: (options: object) => {
    readonly post: (url: string, options: { readonly json: unknown }) => Promise<unknown>
  }
}
interface PQueue {
  readonly add: (task: () => Promise<unknown>) => Promise<unknown>
  readonly onIdle: () => Promise<void>
}

/** With a timeout, retries and connections as an endpoint has. Its queue, too, is in memory. */
const got: Side = {
  ...overHttp("got with p-queue", connections, (url, n) =>
    Effect.sync(() => {
      const { default: got } = other<{ readonly default: Got }>("got")
      const { default: Queue } = other<{ readonly default: new (options: object) => PQueue }>("p-queue")
      const client = got.extend({
        timeout: { request: 5_000 },
        retry: { limit: 2, methods: ["POST"] },
        agent: { http: new Agent({ keepAlive: true, maxSockets: connections }) }
      })
      const queue = new Queue({ concurrency: connections })
      return Effect.promise(() => {
        for (let i = 0; i < n; i++) void queue.add(() => client.post(url, { json: event }))
        return queue.onIdle()
      })
    })
  ),
  missing: missing(["got", "p-queue"])
}

/** All writers at once, each of which waits for its write. */
const written = (n: number, write: () => Promise<unknown>) =>
  Effect.promise(() =>
    Promise.all(
      Array.from({ length: writers }, async () => {
        for (let i = 0; i < n / writers; i++) await write()
      })
    )
  )

const persisted: Side = {
  label: "Effect PersistedQueue, on Postgres",
  run: (load) =>
    Effect.gen(function* () {
      const store = Layer.provide(PersistedQueue.layerStoreSql(), yield* postgres)
      const context = yield* Layer.buildWithScope(Layer.provide(PersistedQueue.layer, store), yield* Scope.Scope)
      const meter = new Meter()
      const queue = yield* Effect.provide(PersistedQueue.make({ name: "orders", schema: Order }), context)
      const taking = Effect.forever(queue.take(meter.counted))
      yield* Effect.forkScoped(
        Effect.all(
          Array.from({ length: 10 }, () => taking),
          { concurrency: "unbounded" }
        )
      )
      return throughput(load, meter.delivered(load.n, all(load.n, queue.offer(order))))
    }).pipe(Effect.orDie)
}

/** A side that is made of promises. */
const promised = (
  label: string,
  name: Package,
  make: (meter: Meter) => Effect.Effect<(n: number) => Effect.Effect<unknown>, never, Scope.Scope>
): Side => ({
  label,
  missing: missing([name]),
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const write = yield* make(meter)
      return throughput(load, meter.delivered(load.n, write(load.n)))
    })
})

interface Boss {
  readonly on: (what: "error", handle: (error: unknown) => void) => void
  readonly start: () => Promise<unknown>
  readonly createQueue: (name: string) => Promise<unknown>
  readonly send: (name: string, data: object) => Promise<unknown>
  readonly fetch: (name: string, options: object) => Promise<ReadonlyArray<{ readonly id: string }>>
  readonly complete: (name: string, ids: ReadonlyArray<string>) => Promise<unknown>
}

/** Its own `work` polls twice a second at most: what is fetched and completed without a pause is measured here. */
const pgBoss = promised("pg-boss, on Postgres", "pg-boss", (meter) =>
  Effect.gen(function* () {
    const port = yield* portOf("postgres.ts")
    const PgBoss = other<new (options: object) => Boss>("pg-boss")
    const boss = new PgBoss({ host: "127.0.0.1", port, user: "postgres", database: "postgres", max: 10 })
    boss.on("error", (error) => console.error(error))
    yield* Effect.promise(async () => {
      await boss.start()
      await boss.createQueue("orders")
    })
    const work = async (n: number) => {
      for (let done = 0; done < n;) {
        const jobs = await boss.fetch("orders", { batchSize: 100 })
        if (jobs.length === 0) {
          await setTimeout(2)
          continue
        }
        meter.countAll(jobs)
        await boss.complete(
          "orders",
          jobs.map(({ id }) => id)
        )
        done += jobs.length
      }
    }
    return (n) =>
      Effect.all([written(n, () => boss.send("orders", order)), Effect.promise(() => work(n))], {
        concurrency: "unbounded"
      })
  })
)

interface Graphile {
  readonly run: (options: object) => Promise<{
    readonly addJob: (task: string, payload: unknown) => Promise<unknown>
  }>
  readonly Logger: new (factory: () => () => void) => unknown
}

const graphile = promised("graphile-worker, on Postgres", "graphile-worker", (meter) =>
  Effect.gen(function* () {
    const port = yield* portOf("postgres.ts")
    const { Logger, run } = other<Graphile>("graphile-worker")
    const runner = yield* Effect.promise(() =>
      run({
        connectionString: `postgres://postgres@127.0.0.1:${port}/postgres`,
        concurrency: 10,
        maxPoolSize: 10,
        noHandleSignals: true,
        logger: new Logger(() => () => {}),
        taskList: { order: async () => meter.count() }
      })
    )
    return (n) => written(n, () => runner.addJob("order", order))
  })
)

interface Bull {
  readonly Queue: new (
    name: string,
    options: object
  ) => { readonly add: (name: string, data: unknown, options: object) => Promise<unknown> }
  readonly Worker: new (name: string, work: () => Promise<void>, options: object) => unknown
}

const bull = promised("BullMQ, on Redis", "bullmq", (meter) =>
  Effect.gen(function* () {
    const connection = { host: "127.0.0.1", port: yield* portOf("redis.ts"), maxRetriesPerRequest: null }
    const { Queue, Worker } = other<Bull>("bullmq")
    const queue = new Queue("orders", { connection })
    const worker = new Worker("orders", async () => meter.count(), { connection, concurrency: 100 })
    return (n) =>
      Effect.as(
        written(n, () => queue.add("order", order, { removeOnComplete: true })),
        worker
      )
  })
)

export const others: ReadonlyArray<Row> = [
  {
    name: "others-http",
    question: "One event a request at 16 connections, with timeouts and retries",
    n: 1_600,
    metrics: cpuAndWall,
    warmUps,
    sides: [endpoint("ours: Endpoint", connections), got]
  },
  {
    name: "others-durable",
    question: "100 writers, one event of 300 bytes at a time: stored, delivered, acknowledged",
    n: 1_000,
    metrics: cpuAndWall,
    warmUps: 2,
    note: "Ten connections to Postgres each; Redis syncs each write. The `INSERT` only inserts. PersistedQueue and graphile-worker take one job at a time, ten at once; BullMQ a hundred at once; pg-boss takes and completes a hundred together. CPU is the client's, and the server's is in no figure.",
    sides: [queued("ours: DurableQueue, on Postgres"), insert, persisted, pgBoss, graphile, bull]
  }
]
