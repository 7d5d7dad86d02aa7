/** Events through a SQLite file: written, delivered to a counting sink, acknowledged; beside a loop over `node:sqlite` by hand. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { DurableQueue } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { join } from "node:path"
import { monitorEventLoopDelay } from "node:perf_hooks"
import { DatabaseSync } from "node:sqlite"
import * as Api from "../api.ts"
import { Meter, throughput, times } from "../measure.ts"
import { atLeast, atMost, type Metric, type Row, type Sample, type Side, valueAtMost, cpuAndWall } from "../model.ts"
import { batch, batchOf, event, folder, Order, orderOf, payloadOf } from "../orders.ts"

/** How long the event loop was held up, beside the times: the 99th percentile in milliseconds. */
const withDelay = (sample: Sample): Sample =>
  Effect.suspend(() => {
    const histogram = monitorEventLoopDelay({ resolution: 1 })
    histogram.enable()
    return Effect.map(sample, (figures) => {
      histogram.disable()
      // It counts from one tick of its timer to the next, of which one is due each millisecond.
      return { ...figures, delay: Math.max(0, histogram.percentile(99) / 1e6 - 1) }
    })
  })

const metrics: ReadonlyArray<Metric> = [
  ...cpuAndWall,
  { key: "delay", label: "event-loop delay, 99th percentile", unit: "ms" }
]

type Orders = DurableQueue.DurableQueue<Order>

/** A queue over a sink that counts, with some events waiting behind those that are written. */
const queued = (
  label: string,
  write: (orders: Orders, n: number) => Effect.Effect<unknown, unknown>,
  goals?: Side["goals"]
): Side => ({
  label,
  goals,
  run: (load) =>
    Effect.gen(function* () {
      const filename = join(yield* folder, "orders.db")
      const context = yield* Layer.buildWithScope(SqliteStore.layer({ filename }), yield* Scope.Scope)
      const meter = new Meter()
      const orders = yield* EventSink.sync<Order>(meter.count).pipe(
        Effect.flatMap(DurableQueue.make({ name: "orders", schema: Order })),
        Effect.provide(context)
      )
      const all = Effect.andThen(meter.delivered(load.n, write(orders, load.n)), Effect.orDie(orders.flush))
      return withDelay(throughput(load, all))
    }).pipe(Effect.orDie)
})

/** The same commits by hand: a batch in, the batch read, the batch out. What a store does beside that is not here. */
const raw = (order: Order, goals?: Side["goals"]): Side => ({
  label: "node:sqlite, by hand",
  goals,
  run: (load) =>
    Effect.gen(function* () {
      const db = new DatabaseSync(join(yield* folder, "raw.db"))
      db.exec("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
      db.exec("CREATE TABLE events (key INTEGER PRIMARY KEY AUTOINCREMENT, payload BLOB NOT NULL) STRICT")
      const insert = db.prepare("INSERT INTO events (payload) VALUES (?)")
      const select = db.prepare("SELECT key, payload FROM events ORDER BY key LIMIT ?")
      const remove = db.prepare("DELETE FROM events WHERE key <= ?")
      const payload = payloadOf(order)
      const meter = new Meter()
      const round = Effect.sync(() => {
        db.exec("BEGIN IMMEDIATE")
        for (let i = 0; i < batch; i++) insert.run(payload)
        db.exec("COMMIT")
        const rows = select.all(batch)
        for (const row of rows) meter.count(row)
        db.exec("BEGIN IMMEDIATE")
        remove.run(rows.at(-1)?.["key"] ?? 0)
        db.exec("COMMIT")
      })
      const all = Effect.andThen(
        Effect.sync(() => meter.expect(load.n)),
        times(load.n / batch, () => Effect.andThen(round, Effect.yieldNow))
      )
      return withDelay(throughput(load, all))
    })
})

/** A sample of 10,000 takes a fifth of a second, of which one collection or one slow disk is a tenth. */
const n = 40_000
const writers = (orders: Orders, n: number) =>
  Effect.all(
    Array.from({ length: batch }, () => times(n / batch, () => orders.write(event))),
    { concurrency: "unbounded", discard: true }
  )
const batchesOf = (order: Order) => {
  const events = batchOf(order)
  return (orders: Orders, n: number) => times(n / batch, () => EventSink.writeAll(orders, events))
}
const batches = batchesOf(event)
const large = orderOf(10_000)

/** An event takes so long that the compiler is still at work after the time that is enough for others. */
const warmUps = 2

const goal: Side["goals"] = { wall: atLeast(0.5) }

/** So many wait, and stay so many: as many are written as are delivered. */
const behind = (waiting: number): Side => ({
  label: `ours, ${waiting.toLocaleString("en")} waiting`,
  goals: waiting === 1_000_000 ? { wall: atMost(1.3) } : undefined,
  run: (load) =>
    Effect.gen(function* () {
      const filename = join(yield* folder, "orders.db")
      const context = yield* Layer.buildWithScope(SqliteStore.layer({ filename }), yield* Scope.Scope)
      const gate = new Gate()
      const orders = yield* Api.makeBatch(gate.take).pipe(
        Effect.flatMap(DurableQueue.make({ name: "orders", schema: Order })),
        Effect.provide(context)
      )
      yield* times(waiting / 500, () =>
        EventSink.writeAll(
          orders,
          Array.from({ length: 500 }, () => event)
        )
      )
      return throughput(load, Effect.orDie(Effect.andThen(batches(orders, load.n), gate.pass(load.n))))
    }).pipe(Effect.orDie)
})

/** A receiver that takes as many events as it is let. */
class Gate {
  private allowed = 0
  private resume: () => void = () => {}
  private readonly meter = new Meter()

  pass(n: number): Effect.Effect<void> {
    return this.meter.delivered(
      n,
      Effect.sync(() => {
        this.allowed += n
        this.resume()
      })
    )
  }

  readonly take = (events: ReadonlyArray<unknown>): Effect.Effect<number> =>
    Effect.callback((resume) => {
      this.resume = () => {
        if (this.allowed === 0) return
        const n = Math.min(this.allowed, events.length)
        this.allowed -= n
        this.resume = () => {}
        for (let i = 0; i < n; i++) this.meter.count()
        resume(Effect.succeed(n))
      }
      this.resume()
    })
}

export const durable: ReadonlyArray<Row> = [
  {
    name: "durable-writers",
    question: "100 writers, one event at a time each, through a `DurableQueue` on SQLite",
    n,
    metrics,
    warmUps,
    sides: [{ ...queued("ours", writers), goals: { delay: valueAtMost(20) } }, raw(event, goal)]
  },
  {
    name: "durable-batches",
    question: "Batches of 100 through a `DurableQueue` on SQLite",
    n,
    metrics,
    warmUps,
    sides: [{ ...queued("ours", batches), goals: { delay: valueAtMost(20) } }, raw(event, goal)]
  },
  {
    name: "durable-large",
    question: "Batches of 100 events of 10 KB through a `DurableQueue` on SQLite",
    n: 8_000,
    metrics,
    warmUps,
    sides: [queued("ours", batchesOf(large)), raw(large, { wall: atLeast(0.4) })]
  },
  {
    name: "durable-backlog",
    question: "Batches of 100 through a `DurableQueue` on SQLite with 1,000 and 1,000,000 events waiting",
    n: 5_000,
    metrics: cpuAndWall,
    warmUps,
    note: "The ratio is to the same queue with 1,000 waiting.",
    sides: [behind(1_000), { ...behind(1_000_000), against: "ours, 1,000 waiting" }]
  }
]
