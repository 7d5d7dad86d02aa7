/** What it costs to keep what became of events and their ids, and what deliveries cost that wait for their time. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { DurableQueue, EventStore, PostgresStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { join } from "node:path"
import { Meter, throughput, times } from "../measure.ts"
import { atMost, cpuAndWall, type Row, type Side } from "../model.ts"
import { batch, batchOf, event, folder, Order, payloadOf, postgres } from "../orders.ts"

type Store = Effect.Effect<Context.Context<EventStore.EventStore>, unknown, Scope.Scope>

const stores: Readonly<Record<"sqlite" | "postgres", Store>> = {
  sqlite: Effect.flatMap(folder, (path) =>
    Effect.flatMap(Effect.scope, (scope) =>
      Layer.buildWithScope(SqliteStore.layer({ filename: join(path, "orders.db") }), scope)
    )
  ),
  postgres: Effect.flatMap(postgres, (client) =>
    Effect.flatMap(Effect.scope, (scope) => Layer.buildWithScope(Layer.provide(PostgresStore.layer(), client), scope))
  )
}

const events = batchOf(event)
let written = 0

/** Batches through a queue over a sink that counts. */
const queued = (
  label: string,
  store: Store,
  options: Pick<DurableQueue.Options<Order>, "id" | "deduplication" | "outcomes"> = {},
  prepare: (store: EventStore.Operations) => Effect.Effect<unknown, EventStore.EventStoreError> = () => Effect.void
): Side => ({
  label,
  run: (load) =>
    Effect.gen(function* () {
      const context = yield* store
      yield* prepare(Context.get(context, EventStore.EventStore))
      const meter = new Meter()
      const orders = yield* EventSink.sync<Order>(meter.count).pipe(
        Effect.flatMap(DurableQueue.make({ name: "orders", schema: Order, concurrency: 2, ...options })),
        Effect.provide(context)
      )
      const write = meter.delivered(
        load.n,
        times(load.n / batch, () => EventSink.writeAll(orders, events))
      )
      // Where others wait a flush sees none of them but the ones that are set aside, and so does not end.
      return throughput(load, Effect.orDie(write))
    }).pipe(Effect.orDie)
})

const waiting = 1_000_000
const perCommit = 500
const day = Duration.days(1)
const payload = payloadOf(event)
const many = (one: EventStore.NewEvent) =>
  Array.from({ length: perCommit }, () => one) as unknown as readonly [EventStore.NewEvent]

const define = (store: EventStore.Operations) => store.define("orders", [{ name: "orders", topics: ["*"] }])

/** Written with a time of their own that is to come. */
const scheduled = (store: EventStore.Operations) =>
  Effect.andThen(
    define(store),
    times(waiting / perCommit, () => store.publish("orders", many({ payload, due: { after: day } })))
  )

/** Failed once, each by itself. */
const setAside = (store: EventStore.Operations) =>
  Effect.gen(function* () {
    const [subscription] = yield* define(store)
    const owner = yield* store.renew({ name: "before" }, day)
    let lease: EventStore.Lease | undefined
    const fill = Effect.gen(function* () {
      yield* store.publish("orders", many({ payload }))
      lease ??= (yield* store.claim(owner, [subscription!.id], 1)).acquired[0]!
      const limits = { rows: perCommit, bytes: Number.POSITIVE_INFINITY }
      const [taken] = yield* store.take(owner, [{ ...lease, limits, except: [], busy: [], perLane: 0 }])
      const settled = (taken?.deliveries ?? []).map(
        ({ position }) => ({ _tag: "Again", position, lane: position % 2 ** 31, delay: day, attempts: 1 }) as const
      )
      yield* store.settle(owner, [{ lease, settled }])
    })
    yield* times(waiting / perCommit, () => fill)
    yield* store.release(owner, "all")
  })

const label = "ours"
const against = label
const bounded = (side: Side, most: number): Side => ({ ...side, against, goals: { wall: atMost(most) } })
const names = { sqlite: "SQLite", postgres: "Postgres" } as const
const sizes = { sqlite: 20_000, postgres: 5_000 } as const

const rowsOf = (name: keyof typeof stores): ReadonlyArray<Row> => {
  const store = stores[name]
  const common = { n: sizes[name], metrics: cpuAndWall, warmUps: 2 }
  return [
    {
      ...common,
      name: `durable-outcomes-${name}`,
      question: `Batches of 100 through a \`DurableQueue\` on ${names[name]}, with outcomes or ids kept`,
      note: "The ratio is to the same queue that keeps neither.",
      sides: [
        queued(label, store),
        { ...queued("ours, outcomes kept for a day", store, { outcomes: "1 day" }), against },
        {
          ...queued("ours, ids kept for a day", store, { id: () => `order ${written++}`, deduplication: "1 day" }),
          against
        }
      ]
    },
    {
      ...common,
      name: `durable-waiting-${name}`,
      question: `Batches of 100 through a \`DurableQueue\` on ${names[name]} with 1,000,000 deliveries that wait for their time`,
      note: "The ratio is to the same queue with none waiting.",
      sides: [
        queued(label, store),
        bounded(queued("ours, 1,000,000 to be delivered tomorrow", store, {}, scheduled), 1.3),
        bounded(queued("ours, 1,000,000 to be tried again tomorrow", store, {}, setAside), 1.3)
      ]
    }
  ]
}

export const durableInsight: ReadonlyArray<Row> = [...rowsOf("sqlite"), ...rowsOf("postgres")]
