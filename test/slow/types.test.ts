import { Effect, Layer, Logger } from "effect"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { beforeAll, describe, expect, it } from "vitest"
import { root } from "../support/fences.ts"
import { compile, type Diagnostic, isBroken } from "../types/compile.ts"
import { Live, program, received } from "../../test/types/graph.ts"

// What the compiler is to refuse, and what it is to infer. Each snippet is a module of its own; all are compiled in one
// run of the compiler, and what it says is read.

const header = `
import { Context, Effect, Layer, Predicate, Schedule, Schema, Scope, Stream } from "effect"
import {
  BatchingSink, Breaker, Broadcaster, ConcurrencyLimitedSink, Dropped, EventChannel, EventFilter, EventQueue, EventSink,
  ExponentialBackoff, RateLimitedSink, RetryingSink, RetryStrategy, SinkMetrics
} from "effect-events"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
import { Endpoint, type Envelope } from "effect-events/http"
import type { HttpRouter } from "effect/http"
import * as Graph from "../../test/types/graph.ts"
import {
  Audit, batches, check, durable, Flaky, type Made, Notifications, Numbers, type Order, queue, type Queue, Refused, reliable,
  type Same, Search, type Sink, Stored, sureBatch, Timeout, unreliable
} from "../../test/types/prelude.ts"
`

/** A program that compiles, and what must not be written instead. */
interface Mistake {
  readonly title: string
  readonly right: string
  readonly wrong: string
  /** What the compiler's message must contain: the culprit, and the fix where the library can say it. */
  readonly says: ReadonlyArray<string>
  /** What it must not contain. */
  readonly saysNot?: ReadonlyArray<string>
  /** Where the compiler must point to, for a message that names the culprit only so. */
  readonly at?: string
  /** The code of a message that elsewhere would only say that the snippet is not a program. */
  readonly code?: number
}

const fix = "wrap it in RetryingSink.make, or pass onDropped to EventQueue.make or Broadcaster.add"
const refusedOrTimeout = "Refused | Timeout"

/** What is said where memory would stand in front of a store: nothing of what compiles and loses events all the same. */
const stored = {
  says: [
    `"a write here would succeed before the event is stored"`,
    "DurableWriteError",
    `fix: "write to it directly, and for several receivers to a DurableBroadcaster: docs/guide/delivery-guarantees.md#memory-in-front-of-a-store"`
  ],
  saysNot: ["RetryingSink.make", "pass onDropped"]
}

/** The body of a generator that has a broadcaster, a sink that can fail, one that cannot, and one that stores. */
const broadcasting = (body: string): string => `
  Effect.gen(function* () {
    const broadcaster = yield* Broadcaster.make<Order>()
    const storing = yield* durable
    const flaky = yield* unreliable
    const sure = yield* reliable
    ${body}
  })`

/** A durable queue of orders, with more options. */
const durably = (options: string): string =>
  `reliable.pipe(Effect.flatMap(DurableQueue.make({ name: "orders", schema: null! as Schema.Codec<Order, unknown>, ${options} })))`

/** A durable queue of orders, over some sink. */
const below = (sink: string): string => `
  class Queued extends Context.Service<Queued, Queue<Order>>()("app/Queued") {}
  const schema: Schema.Codec<Order, unknown> = null!
  DurableQueue.make({ name: "orders", schema })(${sink})`

/** What takes the errors of a durable queue away. */
const retried = `
  class Queued extends Context.Service<Queued, Queue<Order>>()("app/Queued") {}
  class All extends Context.Service<All, Broadcaster.Broadcaster<Order>>()("app/All") {}
  const retrying = durable.pipe(RetryingSink.make(ExponentialBackoff.make()))`

const mistakes: ReadonlyArray<Mistake> = [
  {
    title: "a dashboard that changes things for all",
    right: `SinkDashboard.layer({ path: "/events", roots: [Audit], authorize: () => Effect.succeed({ name: "ada" }) })`,
    wrong: `SinkDashboard.layer({ path: "/events", roots: [Audit], readOnly: false })`,
    says: ["authorize"]
  },
  {
    title: "a dashboard that does not say whether it changes things",
    right: `SinkDashboard.layer({ path: "/events", roots: [Audit], readOnly: true })`,
    wrong: `SinkDashboard.layer({ path: "/events", roots: [Audit] })`,
    says: ["'readOnly' is missing"]
  },
  {
    title: "a dashboard without the layer of a root",
    right: `
      const dashboard = SinkDashboard.layer({ path: "/events", roots: [Audit, Search], readOnly: true })
      const provided = dashboard.pipe(Layer.provide([EventSink.layer(Audit, reliable), EventSink.layer(Search, reliable)]))
      check<Same<Layer.Services<typeof provided>, HttpRouter.HttpRouter>>()`,
    wrong: `
      const dashboard = SinkDashboard.layer({ path: "/events", roots: [Audit, Search], readOnly: true })
      const provided = dashboard.pipe(Layer.provide([EventSink.layer(Audit, reliable)]))
      const all: Layer.Layer<never, never, HttpRouter.HttpRouter> = provided`,
    says: ["Search"]
  },
  {
    title: "a dashboard of a pipeline, which would be a second one",
    right: `
      Effect.map(queue, (sink) => SinkDashboard.layer({ path: "/events", roots: [sink], readOnly: true }))`,
    wrong: `SinkDashboard.layer({ path: "/events", roots: [queue], readOnly: true })`,
    says: ["Key<unknown"]
  },
  {
    title: "a place of the graph without a layer",
    right: `
      const live = EventSink.layer(Notifications, Broadcaster.make([Audit, Search])).pipe(
        Layer.provide([EventSink.layer(Audit, reliable), EventSink.layer(Search, reliable)])
      )
      Effect.runPromise(Effect.provide(Notifications, live))`,
    wrong: `
      const live = EventSink.layer(Notifications, Broadcaster.make([Audit, Search])).pipe(
        Layer.provide([EventSink.layer(Audit, reliable)])
      )
      Effect.runPromise(Effect.provide(Notifications, live))`,
    says: ["'Search' is not assignable to type 'never'"]
  },
  {
    title: "a graph of services without its receivers",
    right: `Effect.runPromise(Effect.provide(Graph.program, Graph.Live))`,
    wrong: `Effect.runPromise(Effect.provide(Graph.program, Graph.Graph))`,
    says: ["AuditReceiver", "SearchReceiver", "is not assignable to type 'never'"]
  },
  {
    title: "a layer whose sink takes other events than its tag",
    right: `EventSink.layer(Audit, reliable)`,
    wrong: `EventSink.layer(Numbers, reliable)`,
    says: ["Sink<Order, never>", "Sink<number, never>", "'number' is not assignable to type 'Order'"]
  },
  {
    title: "a broadcaster over sinks of different events",
    right: `EventSink.layer(Notifications, Broadcaster.make([Audit, Search]))`,
    wrong: `EventSink.layer(Notifications, Broadcaster.make([Audit, Numbers]))`,
    says: ["Type 'Order' is not assignable to type 'number'"]
  },
  {
    title: "metrics of a pipeline, which would be another one than that of the graph",
    right: `
      const sink = (made: Made<Sink<Order>>) => Effect.map(made, (sink) => SinkMetrics.layer(sink))
      const layer: Layer.Layer<never, never, Audit> = SinkMetrics.layer(Audit)
      check<Same<ReturnType<typeof sink>, Effect.Effect<Layer.Layer<never>, never, Scope.Scope>>>()`,
    wrong: `SinkMetrics.layer(reliable.pipe(EventQueue.make()))`,
    says: ["is not assignable to parameter of type", "Key<"]
  },
  {
    title: "a write of another event",
    right: `Audit.use((audit) => audit.write({ id: "1", total: 1 }))`,
    wrong: `Audit.use((audit) => audit.write(1))`,
    says: ["'number'", "'Order'"]
  },
  {
    title: "a filter that lets through what its sink does not take",
    right: `reliable.pipe(EventFilter.make((order: Order) => order.total > 1))`,
    wrong: `reliable.pipe(EventFilter.make((n: number) => n > 1))`,
    says: ["'number'", "'Order'"]
  },
  {
    title: "a sink that can fail, as a service that cannot",
    right: `EventSink.layer(Audit, unreliable.pipe(RetryingSink.make(ExponentialBackoff.make())))`,
    wrong: `EventSink.layer(Audit, unreliable)`,
    says: [`'${refusedOrTimeout}' is not assignable to type 'never'`]
  },
  {
    title: "a retrier that may give up, as a service that cannot fail",
    right: `
      const strategy = RetryStrategy.forever(Schedule.spaced("1 second"))
      EventSink.layer(Audit, unreliable.pipe(RetryingSink.make(strategy)))`,
    wrong: `
      const strategy = RetryStrategy.fromSchedule(Schedule.spaced("1 second"))
      EventSink.layer(Audit, unreliable.pipe(RetryingSink.make(strategy)))`,
    says: ["RetriesExhausted<Refused | Timeout>", "is not assignable to type 'never'"]
  },
  {
    title: "a service that can fail, in a broadcaster",
    right: `
      const retrying = Flaky.pipe(RetryingSink.make(ExponentialBackoff.make()))
      EventSink.layer(Notifications, Broadcaster.make([Audit, retrying]))`,
    wrong: `EventSink.layer(Notifications, Broadcaster.make([Audit, Flaky]))`,
    says: [`"this sink can fail with": Refused;`, fix]
  },
  {
    title: "a pipeline that can fail, in a broadcaster",
    right: `Broadcaster.make([reliable, unreliable.pipe(EventQueue.make({ onDropped: () => Effect.void }))])`,
    wrong: `Broadcaster.make([reliable, unreliable])`,
    says: [`"this sink can fail with": ${refusedOrTimeout};`, fix]
  },
  {
    title: "a queue over a sink that can fail, without onDropped",
    right: `unreliable.pipe(EventQueue.make({ onDropped: () => Effect.void }))`,
    wrong: `unreliable.pipe(EventQueue.make())`,
    says: [`"this sink can fail with": ${refusedOrTimeout};`, fix]
  },
  {
    title: "a retrier over a sink that never fails",
    right: `unreliable.pipe(RetryingSink.make(ExponentialBackoff.make()))`,
    wrong: `reliable.pipe(RetryingSink.make(ExponentialBackoff.make()))`,
    says: [`"this sink never fails": "there is nothing to retry"`, "leave RetryingSink.make out"]
  },
  {
    title: "a retrier over a queue",
    right: `unreliable.pipe(RetryingSink.make(ExponentialBackoff.make()), EventQueue.make())`,
    wrong: `queue.pipe(RetryingSink.make(ExponentialBackoff.make()))`,
    says: [`"this sink never fails": "there is nothing to retry"`, "leave RetryingSink.make out"]
  },
  {
    title: "adding a sink that can fail, without onDropped",
    right: broadcasting(`yield* Broadcaster.add(broadcaster, flaky, { onDropped: () => Effect.void })`),
    wrong: broadcasting(`yield* Broadcaster.add(broadcaster, flaky)`),
    says: [`"this sink can fail with": ${refusedOrTimeout};`, fix]
  },
  {
    title: "adding a sink that can fail for a scope, without onDropped",
    right: broadcasting(`yield* Broadcaster.addScoped(broadcaster, flaky, { onDropped: () => Effect.void })`),
    wrong: broadcasting(`yield* Broadcaster.addScoped(broadcaster, flaky)`),
    says: [`"this sink can fail with": ${refusedOrTimeout};`, fix]
  },
  {
    title: `a queue that drops the newest, without onDropped`,
    right: `reliable.pipe(EventQueue.make({ capacity: 9, overflow: "drop-newest", onDropped: () => Effect.void }))`,
    wrong: `reliable.pipe(EventQueue.make({ capacity: 9, overflow: "drop-newest" }))`,
    says: [`"drop-newest"`],
    at: `overflow: "drop-newest"`
  },
  {
    title: "a queue by keys over a sink that can fail, without onDropped",
    right: `
      unreliable.pipe(EventQueue.make({
        concurrency: 2,
        partitionBy: (order) => order.id,
        onDropped: () => Effect.void
      }))`,
    wrong: `unreliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (order) => order.id }))`,
    says: [`"this sink can fail with": ${refusedOrTimeout};`, fix]
  },
  {
    title: "a queue by keys over a sink that can fail, without onDropped, outside of a pipe",
    right: `
      const partitionBy = (order: Order) => order.id
      Effect.flatMap(unreliable, (sink) =>
        EventQueue.make({ concurrency: 2, partitionBy, onDropped: (_: Dropped.Dropped<Order, unknown>) => Effect.void })(sink)
      )`,
    wrong: `
      const partitionBy = (order: Order) => order.id
      Effect.flatMap(unreliable, (sink) => EventQueue.make({ concurrency: 2, partitionBy })(sink))`,
    says: [`"this sink can fail with": ${refusedOrTimeout};`, fix]
  },
  {
    title: "a key from a field that the events do not have",
    right: `reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (order) => order.id }))`,
    wrong: `reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (order) => order.tenant }))`,
    says: ["Property 'tenant' does not exist on type 'Order'"],
    at: "tenant",
    code: 2339
  },
  {
    title: "a key from a field that the events do not have, with onDropped",
    right: `
      unreliable.pipe(EventQueue.make({
        concurrency: 2, partitionBy: (order) => order.id, onDropped: () => Effect.void
      }))`,
    wrong: `
      unreliable.pipe(EventQueue.make({
        concurrency: 2, partitionBy: (order) => order.tenant, onDropped: () => Effect.void
      }))`,
    says: ["Property 'tenant' does not exist on type 'Order'"],
    at: "tenant",
    code: 2339
  },
  ...(["data-first", "in a pipe"] as const).flatMap((how) => {
    const batching = (sink: string, options: string) =>
      how === "in a pipe"
        ? `${sink}.pipe(BatchingSink.make({ ${options} }))`
        : `BatchingSink.make(${sink}, { ${options} })`
    return [
      {
        title: `batches for a sink that takes one event at a time, ${how}`,
        right: batching("batches", `maxAge: "1 second"`),
        wrong: batching("unreliable", `maxAge: "1 second"`),
        says: [
          `"this sink takes one event at a time": "there is nothing to batch for"`,
          `fix: "make it with EventSink.makeBatch, or leave BatchingSink.make out"`
        ]
      },
      {
        title: `batches for a queue in memory, ${how}`,
        right: batching("durable", `maxAge: "1 second"`),
        wrong: batching("queue", `maxAge: "1 second"`),
        says: [
          "fix: this sink succeeds when the events are in memory, and delivers them in batches of its own. Give EventQueue.make the options batchSize and maxAge, put BatchingSink.make below it, or mark it by EventSink.acknowledgeFromMemory"
        ]
      },
      {
        title: `batches that are accepted for a sink that can fail, without onDropped, ${how}`,
        right: batching("batches", `maxAge: "1 second", acknowledge: "accepted", onDropped: () => Effect.void`),
        wrong: batching("batches", `maxAge: "1 second", acknowledge: "accepted"`),
        says: [`"this sink can fail with": Refused`, fix]
      },
      {
        title: `batches that are accepted for a durable queue, ${how}`,
        right: batching("durable", `maxAge: "1 second", acknowledge: "committed"`),
        wrong: batching("durable", `maxAge: "1 second", acknowledge: "accepted"`),
        ...stored
      },
      {
        title: `batches without an age, ${how}`,
        right: batching("batches", `maxAge: "1 second", batchSize: 10`),
        wrong: batching("batches", `batchSize: 10`),
        says: ["Property 'maxAge' is missing"]
      }
    ]
  }),
  {
    title: "onDropped of batches whose writes fail themselves",
    right: `batches.pipe(BatchingSink.make({ maxAge: 1 }))`,
    wrong: `batches.pipe(BatchingSink.make({ maxAge: 1, onDropped: () => Effect.void }))`,
    says: ["'() => Effect.Effect<void, never, never>' is not assignable to type"]
  },
  {
    title: "a size that is no number",
    right: `
      queue.pipe(EventQueue.make({ capacity: 10, size: (order) => order.total }))
      reliable.pipe(EventQueue.make({ capacity: 10, size: (order) => order.total, partitionBy: ({ id }) => id }))`,
    wrong: `reliable.pipe(EventQueue.make({ capacity: 10, size: (order: Order) => order.id }))`,
    says: ["Type 'string' is not assignable to type 'number'"]
  },
  {
    title: "a key of other events",
    right: `reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (order: Order) => order.id }))`,
    wrong: `
      interface Tenanted { readonly tenant: string }
      reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (event: Tenanted) => event.tenant }))`,
    says: ["Tenanted", "Order"]
  },
  ...(["drop-newest", "drop-oldest"] as const).map((overflow) => ({
    title: `a queue by keys with "${overflow}", without onDropped`,
    right: `
      reliable.pipe(EventQueue.make({
        capacity: 9, overflow: "${overflow}", concurrency: 2, partitionBy: (order) => order.id, onDropped: () => Effect.void
      }))`,
    wrong: `
      reliable.pipe(EventQueue.make({
        capacity: 9, overflow: "${overflow}", concurrency: 2, partitionBy: (order: Order) => order.id
      }))`,
    says: [`"${overflow}"`]
  })),
  {
    title: `a queue that drops the oldest, without onDropped`,
    right: `reliable.pipe(EventQueue.make({ capacity: 9, overflow: "drop-oldest", onDropped: () => Effect.void }))`,
    wrong: `reliable.pipe(EventQueue.make({ capacity: 9, overflow: "drop-oldest" }))`,
    says: [`"drop-oldest"`],
    at: `overflow: "drop-oldest"`
  },
  ...(["drop-newest", "drop-oldest"] as const).map((overflow) => ({
    title: `a durable queue with "${overflow}", without onDropped`,
    right: durably(`capacity: 9, overflow: "${overflow}", onDropped: () => Effect.void`),
    wrong: durably(`capacity: 9, overflow: "${overflow}"`),
    says: [`'"${overflow}"' is not assignable to type`]
  })),
  {
    title: "a queue in front of a durable queue",
    right: `unreliable.pipe(EventQueue.make({ onDropped: () => Effect.void }))`,
    wrong: `durable.pipe(EventQueue.make())`,
    ...stored
  },
  {
    title: "a queue in front of a durable queue that may be full, outside of a pipe",
    right: `reliable.pipe(Effect.map((sink) => EventQueue.make()(sink)))`,
    wrong: `
      declare const storing: DurableQueue.DurableQueue<Order, EventQueue.QueueFull>
      EventQueue.make()(storing)`,
    ...stored
  },
  {
    title: "a queue by keys in front of a durable queue",
    right: `reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (order) => order.id }))`,
    wrong: `durable.pipe(EventQueue.make({ concurrency: 2, partitionBy: (order) => order.id }))`,
    ...stored
  },
  {
    title: "a queue by keys in front of a durable queue, outside of a pipe",
    right: `
      const partitionBy = (order: Order) => order.id
      Effect.flatMap(reliable, (sink) => EventQueue.make({ concurrency: 2, partitionBy })(sink))`,
    wrong: `
      const partitionBy = (order: Order) => order.id
      Effect.flatMap(durable, (sink) => EventQueue.make({ concurrency: 2, partitionBy })(sink))`,
    ...stored
  },
  {
    title: "a queue in front of a retrier that may give up over a durable queue",
    right: `durable.pipe(RetryingSink.make(RetryStrategy.fromSchedule(Schedule.recurs(3))))`,
    wrong: `
      durable.pipe(
        RetryingSink.make(RetryStrategy.fromSchedule(Schedule.recurs(3))),
        EventQueue.make()
      )`,
    ...stored
  },
  {
    title: "a service that stores, in a broadcaster",
    right: `
      const orders = Effect.flatMap(Effect.all([Audit, Stored]), (sinks) =>
        EventSink.make((order: Order) => Effect.forEach(sinks, (sink) => sink.write(order), { discard: true }))
      )
      check<Same<typeof orders, Made<Sink<Order, DurableQueue.DurableWriteError>, never, Audit | Stored>>>()`,
    wrong: `Broadcaster.make([Audit, Stored])`,
    ...stored
  },
  {
    title: "a service that stores behind a filter, in a broadcaster",
    right: `Broadcaster.make([Audit, Search.pipe(EventFilter.make((order: Order) => order.total > 1))])`,
    wrong: `Broadcaster.make([Audit, Stored.pipe(EventFilter.make((order: Order) => order.total > 1))])`,
    ...stored
  },
  {
    title: "a pipeline that stores, in a broadcaster",
    right: `Broadcaster.make([reliable])`,
    wrong: `Broadcaster.make([reliable, ${durably("")}])`,
    ...stored
  },
  {
    title: "adding a sink that stores",
    right: broadcasting(`yield* Broadcaster.add(broadcaster, sure)`),
    wrong: broadcasting(`yield* Broadcaster.add(broadcaster, storing)`),
    ...stored
  },
  {
    title: "adding a sink that stores for a scope",
    right: broadcasting(`yield* Broadcaster.addScoped(broadcaster, sure)`),
    wrong: broadcasting(`yield* Broadcaster.addScoped(broadcaster, storing)`),
    ...stored
  },
  {
    title: "adding a sink that stores and would be evicted for its lag",
    right: broadcasting(`yield* Broadcaster.add(broadcaster, sure, { maxLag: 9, onDropped: () => Effect.void })`),
    wrong: broadcasting(`yield* Broadcaster.add(broadcaster, storing, { maxLag: 9 })`),
    ...stored
  },
  ...Object.entries({
    "a queue": "queue",
    "a queue behind a filter": `queue.pipe(EventFilter.make((order) => order.total > 1))`,
    "a queue behind a map": `queue.pipe(EventSink.mapInput((order: Order) => order))`,
    "a queue behind a map, data-first": `EventSink.mapInput(queue, (order: Order) => order)`,
    "a queue behind a tap": `queue.pipe(EventSink.tap(() => Effect.void))`,
    "a queue behind a timeout": `queue.pipe(EventSink.timeout("1 second"))`,
    "a queue behind a timeout and a retrier": `queue.pipe(EventSink.timeout("1 second"), RetryingSink.make(ExponentialBackoff.make()))`,
    "a queue that refuses, with its errors mapped": `reliable.pipe(EventQueue.make({ capacity: 1, overflow: "reject" }), EventSink.mapError(() => new Refused()))`,
    "a pipeline that ends in a queue": `unreliable.pipe(RetryingSink.make(ExponentialBackoff.make()), EventQueue.make())`,
    "a broadcaster": `Broadcaster.make([reliable])`,
    "a channel": `EventChannel.make<Order>()`,
    "a service that is a queue": `Queued`,
    "an endpoint with a queue": `Endpoint.make({ name: "a", url: "a:", envelope: null! as Envelope.Envelope<Order>, onDisabled: () => Effect.void })`
  }).map(([title, memory]) => ({
    title: `${title}, below a durable queue`,
    right: below(`EventSink.acknowledgeFromMemory(${memory})`),
    wrong: below(memory),
    says: [
      `Type '"memory"' is not assignable`,
      "fix: this sink succeeds when the event is in memory",
      "acknowledgeFromMemory"
    ]
  })),
  {
    title: "an endpoint with a queue, where one without is meant",
    right: below(`Endpoint.unqueued({ name: "a", url: "a:", envelope: null! as Envelope.Envelope<Order> })`),
    wrong: below(
      `Endpoint.make({ name: "a", url: "a:", envelope: null! as Envelope.Envelope<Order>, onDisabled: () => Effect.void })`
    ),
    says: ["Endpoint.unqueued for Endpoint.make", "DurableBroadcaster for Broadcaster.make"]
  },
  ...Object.entries({
    "a queue in front of a retrier": (sink: string) => `${sink}.pipe(EventQueue.make())`,
    "a queue in front of a retrier, data-first": (sink: string) => `EventQueue.make(${sink})`,
    "a queue with onDropped": (sink: string) => `${sink}.pipe(EventQueue.make({ onDropped: () => Effect.void }))`,
    "a queue with onDropped, data-first": (sink: string) =>
      `EventQueue.make(${sink}, { onDropped: () => Effect.void })`,
    "a queue with onDropped and a capacity": (sink: string) =>
      `${sink}.pipe(EventQueue.make({ capacity: 9, onDropped: ({ event }: { event: Order }) => Effect.log(event.id) }))`,
    "the layer of a queue": (sink: string) => `EventQueue.layer(Queued, ${sink})`,
    "a broadcaster": (sink: string) => `Broadcaster.make([reliable, ${sink}])`,
    "the layer of a broadcaster": (sink: string) => `Broadcaster.layer(All, [${sink}])`,
    "adding to a broadcaster": (sink: string) => broadcasting(`yield* Broadcaster.add(broadcaster, yield* ${sink})`),
    "adding to a broadcaster, with onDropped": (sink: string) =>
      broadcasting(`yield* Broadcaster.add(broadcaster, yield* ${sink}, { onDropped: () => Effect.void })`),
    "adding to a broadcaster for a scope": (sink: string) =>
      broadcasting(`yield* Broadcaster.addScoped(broadcaster, ${sink})`)
  }).map(([title, inFront]) => ({
    title: `${title}, over a durable queue with a retrier`,
    right: `${retried}\n${inFront("EventSink.acknowledgeFromMemory(retrying)")}`,
    wrong: `${retried}\n${inFront("retrying")}`,
    says: [
      `'"store"' is not assignable`,
      "fix: this sink stores the event before its write succeeds",
      "for several receivers to a DurableBroadcaster"
    ],
    saysNot: ["RetryingSink.make", "pass onDropped"]
  })),
  {
    title: "a durable queue of other events than its sink takes",
    right: `const schema: Schema.Codec<Order, unknown> = null!
      reliable.pipe(Effect.flatMap(DurableQueue.make({ name: "orders", schema })))`,
    wrong: `reliable.pipe(Effect.flatMap(DurableQueue.make({ name: "orders", schema: Schema.String })))`,
    says: ["'string'", "'Order'"]
  },
  {
    title: "a durable queue of other events than its sink takes, data-first",
    right: `const schema: Schema.Codec<Order, unknown> = null!
      DurableQueue.make(reliable, { name: "orders", schema })`,
    wrong: `DurableQueue.make(reliable, { name: "orders", schema: Schema.String })`,
    says: ["'string'", "'Order'"]
  },
  {
    title: "a durable queue without a store",
    right: `
      const made = Effect.scoped(${durably("")})
      Effect.runPromise(Effect.provide(made, MemoryStore.layer))`,
    wrong: `Effect.runPromise(Effect.scoped(${durably("")}))`,
    says: ["'EventStore' is not assignable to type 'never'"]
  },
  {
    title: "a durable queue without a name",
    right: durably(""),
    wrong: `reliable.pipe(Effect.flatMap(DurableQueue.make({ schema: null! as Schema.Codec<Order, unknown> })))`,
    says: ["'name' is missing"]
  },
  {
    title: "a sink that is evicted for its lag, without onDropped",
    right: broadcasting(`yield* Broadcaster.add(broadcaster, sure, { maxLag: 9, onDropped: () => Effect.void })`),
    wrong: broadcasting(`yield* Broadcaster.add(broadcaster, sure, { maxLag: 9 })`),
    says: ["No overload matches this call"],
    at: "maxLag: 9"
  },
  {
    title: "an endpoint with a queue in memory, without onDisabled",
    right: `
      declare const envelope: Envelope.Envelope<Order>
      Endpoint.unqueued({ name: "billing", url: "https://billing.example", envelope })`,
    wrong: `
      declare const envelope: Envelope.Envelope<Order>
      Endpoint.make({ name: "billing", url: "https://billing.example", envelope })`,
    says: ["Property 'onDisabled' is missing"]
  },
  {
    title: "an endpoint without a queue that would hand its events to a function, and acknowledge them",
    right: `
      declare const envelope: Envelope.Envelope<Order>
      Endpoint.unqueued({ name: "billing", url: "https://billing.example", envelope })`,
    wrong: `
      declare const envelope: Envelope.Envelope<Order>
      Endpoint.unqueued({ name: "billing", url: "https://billing.example", envelope, onDisabled: () => Effect.void })`,
    says: ["'onDisabled' does not exist in type"]
  },
  {
    title: "a breaker that fails fast, below a queue without onDropped",
    right: `
      const options = { threshold: 5, backoff: "1 second" } as const
      unreliable.pipe(RetryingSink.make(Breaker.make(options)), EventQueue.make())
      const failing = unreliable.pipe(RetryingSink.make(Breaker.make({ ...options, onOpen: "fail" })))
      check<Same<typeof failing, Made<EventSink.EventSink<Order, Breaker.BreakerOpen>>>>()`,
    wrong: `
      unreliable.pipe(
        RetryingSink.make(Breaker.make({ threshold: 5, backoff: "1 second", onOpen: "fail" })),
        EventQueue.make()
      )`,
    says: ["BreakerOpen", fix]
  },
  {
    title: "a breaker that nothing opens",
    right: `Breaker.make({ rate: { failures: 0.5, of: 20 }, backoff: "1 second" })`,
    wrong: `Breaker.make({ backoff: "1 second" })`,
    says: ["threshold"]
  },
  {
    title: "a retrier with a deadline, below a queue without onDropped",
    right: `
      const limited = unreliable.pipe(RetryingSink.make(ExponentialBackoff.make(), { deadline: "1 minute" }))
      check<
        Same<typeof limited, Made<EventSink.EventSink<Order, RetryingSink.DeadlineExceeded<Refused | Timeout>>>>
      >()`,
    wrong: `
      unreliable.pipe(RetryingSink.make(ExponentialBackoff.make(), { deadline: "1 minute" }), EventQueue.make())`,
    says: ["DeadlineExceeded", fix]
  },
  {
    title: "a rate limit that fails, below a queue without onDropped",
    right: `
      const options = { limit: 1, window: "1 second" } as const
      const limited = reliable.pipe(RateLimitedSink.make({ ...options, onExceeded: "fail" }))
      check<Same<typeof limited, Made<EventSink.EventSink<Order, RateLimitedSink.RateLimited>>>>()
      limited.pipe(RetryingSink.make(ExponentialBackoff.make()), EventQueue.make())
      reliable.pipe(RateLimitedSink.make(options), EventQueue.make())`,
    wrong: `
      reliable.pipe(RateLimitedSink.make({ limit: 1, window: "1 second", onExceeded: "fail" }), EventQueue.make())`,
    says: ["RateLimited", fix]
  },
  {
    title: "a rate limit by a field that the events do not have",
    right: `reliable.pipe(RateLimitedSink.make({ limit: 1, window: "1 second", by: (order) => order.id }))`,
    wrong: `reliable.pipe(RateLimitedSink.make({ limit: 1, window: "1 second", by: (order) => order.tenant }))`,
    says: ["Property 'tenant' does not exist on type 'Order'"],
    code: 2339
  },
  {
    title: "a rate limit in front of a durable queue, below a queue in memory",
    right: `durable.pipe(RateLimitedSink.make({ limit: 1, window: "1 second" }))`,
    wrong: `
      durable.pipe(
        RateLimitedSink.make({ limit: 1, window: "1 second" }),
        EventQueue.make({ onDropped: () => Effect.void })
      )`,
    says: ["fix: this sink stores the event before its write succeeds"]
  },
  {
    title: "permits by key without a key",
    right: `
      const limited = reliable.pipe(ConcurrencyLimitedSink.make({ permits: 2, permitsPerKey: 1, by: ({ id }) => id }))
      check<Same<typeof limited, Made<EventSink.EventSink<Order>>>>()`,
    wrong: `reliable.pipe(ConcurrencyLimitedSink.make({ permits: 2, permitsPerKey: 1 }))`,
    says: ["permitsPerKey"]
  },
  {
    title: "a strategy for fewer errors than the sink has",
    right: `
      declare const strategy: RetryStrategy.RetryStrategy<Refused | Timeout>
      unreliable.pipe(RetryingSink.make(strategy))`,
    wrong: `
      declare const strategy: RetryStrategy.RetryStrategy<Refused>
      unreliable.pipe(RetryingSink.make(strategy))`,
    says: ["'Timeout' is not assignable to type 'Refused'"]
  },
  {
    title: "a combination of which one strategy is for fewer errors than the sink has",
    right: `
      declare const strategy: RetryStrategy.RetryStrategy<Refused | Timeout>
      const both = ExponentialBackoff.make().pipe(RetryStrategy.combine(strategy))
      unreliable.pipe(RetryingSink.make(both))`,
    wrong: `
      declare const strategy: RetryStrategy.RetryStrategy<Refused>
      const both = ExponentialBackoff.make().pipe(RetryStrategy.combine(strategy))
      unreliable.pipe(RetryingSink.make(both))`,
    says: ["'Timeout' is not assignable to type 'Refused'"]
  },
  {
    title: "a `while` that cannot judge every error of the sink",
    right: `unreliable.pipe(RetryingSink.make(RetryStrategy.identity, { while: (_: Refused | Timeout) => true }))`,
    wrong: `unreliable.pipe(RetryingSink.make(RetryStrategy.identity, { while: (_: Refused) => true }))`,
    says: ["'Timeout' is not assignable to type 'Refused'"]
  },
  {
    title: "a sink of some events where one of all is asked for",
    right: `const sink = (sink: Sink<unknown>): Sink<string> => sink`,
    wrong: `const sink = (sink: Sink<string>): Sink<unknown> => sink`,
    says: ["Type 'unknown' is not assignable to type 'string'"]
  },
  {
    title: "a sink that can fail where one that cannot is asked for",
    right: `const sink = (sink: Sink<string>): Sink<string, Refused> => sink`,
    wrong: `const sink = (sink: Sink<string, Refused>): Sink<string> => sink`,
    says: ["Type 'Refused' is not assignable to type 'never'"]
  }
]

/** Programs that hold if they compile. */
const facts: Readonly<Record<string, string>> = {
  "a graph of services, fully provided, needs nothing and cannot fail": `
    check<Same<typeof Graph.AuditLive, Layer.Layer<Graph.Audit, never, Graph.AuditReceiver>>>()
    check<Same<typeof Graph.SearchLive, Layer.Layer<Graph.Search, never, Graph.SearchReceiver>>>()
    check<Same<typeof Graph.NotificationsLive, Layer.Layer<Graph.Notifications, never, Graph.Audit | Graph.Search>>>()
    check<Same<typeof Graph.Graph, Layer.Layer<Graph.Notifications, never, Graph.AuditReceiver | Graph.SearchReceiver>>>()
    check<Same<typeof Graph.Live, Layer.Layer<Graph.Notifications, never, never>>>()
    const run = Effect.provide(Graph.program, Graph.Live)
    check<Same<typeof run, Effect.Effect<void, EventSink.SinkClosed, never>>>()`,

  "Broadcaster.make of tags needs their services": `
    const layer = EventSink.layer(Notifications, Broadcaster.make([Audit, Search]))
    check<Same<typeof layer, Layer.Layer<Notifications, never, Audit | Search>>>()`,

  "Broadcaster.make joins the errors and the services of its sinks' constructions": `
    declare const a: Effect.Effect<Sink<Order>, Refused, Audit>
    declare const b: Effect.Effect<Sink<Order>, Timeout, Search | Scope.Scope>
    const made = Broadcaster.make([a, b])
    check<Same<typeof made, Made<Broadcaster.Broadcaster<Order>, Refused | Timeout, Audit | Search>>>()`,

  "Broadcaster.make takes the events that all of its sinks take": `
    interface Placed { readonly _tag: "Placed"; readonly id: string }
    interface Paid { readonly _tag: "Paid"; readonly cents: number }
    declare const ids: Effect.Effect<Sink<{ readonly id: string }>>
    declare const totals: Effect.Effect<Sink<{ readonly total: number }>>
    declare const strings: Effect.Effect<Sink<number | string>>
    declare const flags: Effect.Effect<Sink<string | boolean>>
    declare const both: Effect.Effect<Sink<Placed | Paid>>
    declare const paid: Effect.Effect<Sink<Paid>>
    declare const all: Effect.Effect<Sink<unknown>>
    const records = Broadcaster.make([ids, totals])
    const texts = Broadcaster.make([strings, flags])
    const payments = Broadcaster.make([both, paid])
    const orders = Broadcaster.make([all, reliable])
    type Input<T> = T extends Made<Broadcaster.Broadcaster<infer A>> ? A : "none"
    check<Same<Input<typeof records>, { readonly id: string } & { readonly total: number }>>()
    check<Same<Input<typeof texts>, string>>()
    check<Same<Input<typeof orders>, Order>>()
    const write = (broadcaster: Broadcaster.Broadcaster<Input<typeof payments>>, event: Paid) => broadcaster.write(event)
    // an application's broadcaster is narrower than what its widest sink takes
    const asOrders: Made<Sink<Order>> = Broadcaster.make([ids, totals])`,

  "Broadcaster.make takes tags, pipelines, queues, channels and broadcasters alike": `
    class Orders extends Context.Service<Orders, EventQueue.EventQueue<Order>>()("app/Orders") {}
    const made = Broadcaster.make([
      Audit,
      Orders,
      queue,
      unreliable.pipe(RetryingSink.make(ExponentialBackoff.make())),
      queue.pipe(EventFilter.make((order: Order) => order.total > 1)),
      EventChannel.make<Order>(),
      Broadcaster.make([reliable])
    ])
    check<Same<typeof made, Made<Broadcaster.Broadcaster<Order>, never, Audit | Orders>>>()
    const named = Broadcaster.make([Audit], { name: "orders" })
    check<Same<typeof named, Made<Broadcaster.Broadcaster<Order>, never, Audit>>>()
    const empty = Broadcaster.make<Order>()
    check<Same<typeof empty, Made<Broadcaster.Broadcaster<Order>>>>()`,

  "Broadcaster.add and addScoped take reliable sinks of the same or wider events": `
    ${broadcasting(`
      const wide = yield* EventSink.make((_: unknown) => Effect.void)
      yield* Broadcaster.add(broadcaster, sure)
      yield* Broadcaster.add(broadcaster, wide, { drainTimeout: "1 second" })
      yield* Broadcaster.add(broadcaster, yield* queue)
      yield* Broadcaster.addScoped(broadcaster, sure)
      yield* Broadcaster.addScoped(broadcaster, yield* queue)
      const added = Broadcaster.add(broadcaster, sure)
      check<Same<typeof added, Effect.Effect<void, EventSink.SinkClosed>>>()
      const scoped = Broadcaster.addScoped(broadcaster, sure)
      check<Same<typeof scoped, Effect.Effect<Sink<Order>, EventSink.SinkClosed, Scope.Scope>>>()
      const removed = Broadcaster.remove(broadcaster, flaky)
      check<Same<typeof removed, Effect.Effect<ReadonlyArray<Dropped.Undelivered<Order>>>>>()
      const stream = Broadcaster.subscribe(broadcaster, { maxLag: 9 })
      check<Same<typeof stream, Effect.Effect<Stream.Stream<Order, Broadcaster.SubscriberLagged>, EventSink.SinkClosed, Scope.Scope>>>()`)}`,

  "BatchingSink infers its callbacks, and keeps the errors of the sink unless writes succeed before": `
    type Rows<E = never> = EventSink.BatchSink<Order, E>
    const age = { maxAge: "1 second" } as const
    const one = batches.pipe(BatchingSink.make(age))
    const two = batches.pipe(BatchingSink.make({
      ...age, batchSize: 3, maxBytes: 9, size: (order) => order.total, partitionBy: (order) => order.id,
      isolate: (error) => error._tag === "Refused"
    }))
    const three = BatchingSink.make(batches, { ...age, partitionBy: (order) => order.id })
    const later = BatchingSink.make({ ...age, partitionBy: (order: Order) => order.id })
    const four = later(batches)
    check<Same<typeof one, Made<Rows<Refused>>>>()
    check<Same<typeof two, Made<Rows<Refused>>>>()
    check<Same<typeof three, Made<Rows<Refused>>>>()
    check<Same<typeof four, Made<Rows<Refused>>>>()
    const stored = BatchingSink.make(durable, age)
    check<Same<Effect.Success<typeof stored>["writeSome"] extends EventSink.Acknowledges<"store"> ? true : false, true>>()
    const accepted = { ...age, acknowledge: "accepted" } as const
    const five = batches.pipe(BatchingSink.make({
      ...accepted, onDropped: ({ event, reason }) => Effect.log(event.id, reason._tag === "Failed" ? reason.error._tag : "")
    }))
    const six = sureBatch.pipe(BatchingSink.make({ ...accepted, capacity: 3, partitionBy: (order) => order.id }))
    const seven = sureBatch.pipe(BatchingSink.make(accepted))
    const eight = BatchingSink.make(sureBatch, accepted)
    const nine = BatchingSink.make(batches, { ...accepted, onDropped: () => Effect.void })
    check<Same<typeof five, Made<Queue<Order>>>>()
    check<Same<typeof six, Made<Queue<Order>>>>()
    check<Same<typeof seven, Made<Queue<Order>>>>()
    check<Same<typeof eight, Made<Queue<Order>>>>()
    check<Same<typeof nine, Made<Queue<Order>>>>()
    const live = BatchingSink.layer(Flaky, batches, age)
    check<Same<typeof live, Layer.Layer<Flaky>>>()`,

  'QueueFull appears for overflow "reject", and for nothing else': `
    const onDropped = () => Effect.void
    const unbounded = reliable.pipe(EventQueue.make())
    const bounded = reliable.pipe(EventQueue.make({ capacity: 9 }))
    const suspending = reliable.pipe(EventQueue.make({ capacity: 9, overflow: "suspend" }))
    const newest = reliable.pipe(EventQueue.make({ capacity: 9, overflow: "drop-newest", onDropped }))
    const oldest = unreliable.pipe(EventQueue.make({ capacity: 9, overflow: "drop-oldest", onDropped }))
    check<Same<typeof unbounded, Made<Queue<Order>>>>()
    check<Same<typeof bounded, Made<Queue<Order>>>>()
    check<Same<typeof suspending, Made<Queue<Order>>>>()
    check<Same<typeof newest, Made<Queue<Order>>>>()
    check<Same<typeof oldest, Made<Queue<Order>>>>()
    const rejecting = reliable.pipe(EventQueue.make({ capacity: 9, overflow: "reject" }))
    const both = unreliable.pipe(EventQueue.make({ capacity: 9, overflow: "reject", onDropped }))
    check<Same<typeof rejecting, Made<Queue<Order, EventQueue.QueueFull>>>>()
    check<Same<typeof both, Made<Queue<Order, EventQueue.QueueFull>>>>()`,

  'QueueFull appears for an overflow that may be "reject", as one that is read from a config may': `
    declare const lossless: "suspend" | "reject"
    declare const any: EventQueue.Overflow
    const onDropped = () => Effect.void
    const one = reliable.pipe(EventQueue.make({ capacity: 9, overflow: lossless }))
    const two = reliable.pipe(EventQueue.make({ capacity: 9, overflow: any, onDropped }))
    check<Same<typeof one, Made<Queue<Order, EventQueue.QueueFull>>>>()
    check<Same<typeof two, Made<Queue<Order, EventQueue.QueueFull>>>>()`,

  'QueueFull appears in a durable queue for overflow "reject", and for nothing else': `
    const identity = { name: "orders", schema: null! as Schema.Codec<Order, unknown> }
    const onDropped = () => Effect.void
    type Durable<E = never> = Made<DurableQueue.DurableQueue<Order, E>, never, EventStore.EventStore>
    const plain = reliable.pipe(Effect.flatMap(DurableQueue.make(identity)))
    check<Same<typeof plain, Durable>>()
    const first = DurableQueue.make(reliable, identity)
    check<Same<typeof first, Durable>>()
    const firstReject = DurableQueue.make(unreliable, { ...identity, overflow: "reject" })
    check<Same<typeof firstReject, Durable<EventQueue.QueueFull>>>()
    const firstOldest = DurableQueue.make(reliable, {
      ...identity,
      overflow: "drop-oldest",
      onDropped: (dropped) => {
        check<Same<typeof dropped, Dropped.Dropped<Order>>>()
        return Effect.void
      }
    })
    check<Same<typeof firstOldest, Durable>>()
    const suspend = reliable.pipe(Effect.flatMap(DurableQueue.make({ ...identity, overflow: "suspend", onDropped })))
    check<Same<typeof suspend, Durable>>()
    const newest = reliable.pipe(Effect.flatMap(DurableQueue.make({ ...identity, overflow: "drop-newest", onDropped })))
    check<Same<typeof newest, Durable>>()
    const oldest = unreliable.pipe(Effect.flatMap(DurableQueue.make({ ...identity, overflow: "drop-oldest", onDropped })))
    const reject = reliable.pipe(Effect.flatMap(DurableQueue.make({ ...identity, overflow: "reject" })))
    check<Same<typeof reject, Durable<EventQueue.QueueFull>>>()
    const both = reliable.pipe(Effect.flatMap(DurableQueue.make({ ...identity, overflow: "reject", onDropped })))
    check<Same<typeof both, Durable<EventQueue.QueueFull>>>()`,

  "a durable queue takes a sink that can fail, and its own errors are its own": `
    const identity = { name: "orders", schema: null! as Schema.Codec<Order, unknown> }
    type Durable<E = never> = Effect.Effect<
      DurableQueue.DurableQueue<Order, E>, never, Scope.Scope | EventStore.EventStore
    >
    declare const sink: Sink<Order, Refused | Timeout>
    const made = sink.pipe(DurableQueue.make(identity))
    check<Same<typeof made, Durable>>()
    Effect.flatMap(made, (orders) => {
      const write = orders.write({ id: "1", total: 1 })
      check<Same<typeof write, Effect.Effect<void, DurableQueue.DurableWriteError | EventSink.SinkClosed>>>()
      return write
    })
    const deadLetters = DurableQueue.deadLetters(identity)
    check<Same<typeof deadLetters, Effect.Effect<DurableQueue.DeadLetters<Order>, never, EventStore.EventStore>>>()`,

  "onDropped of a durable queue gets its events": `
    DurableQueue.make({
      name: "orders",
      schema: null! as Schema.Codec<Order, unknown>,
      onDropped: (dropped) => {
        check<Same<typeof dropped, Dropped.Dropped<Order>>>()
        return Effect.void
      }
    })`,

  "a retrier over a durable queue waits for its commit, and may stand there": `
    const isLocked = (error: DurableQueue.DurableWriteError): boolean =>
      error.reason._tag === "EventStoreError" && error.reason.problem === "Locked"
    const retrying = durable.pipe(RetryingSink.make(ExponentialBackoff.make(), { while: isLocked }))
    check<Same<typeof retrying, Made<EventSink.AcknowledgingSink<Order, DurableQueue.DurableWriteError, "store">>>>()`,

  "the schema of stamped events is that of their stamps": `
    const schema = DurableQueue.stamped(Schema.Struct({ total: Schema.Int }))
    check<Same<typeof schema.Type, EventSink.Stamped<{ readonly total: number }>>>()`,

  "onDropped gets the events and the errors of the sink": `
    type Expected = Dropped.Dropped<Order, Refused | Timeout>
    unreliable.pipe(EventQueue.make({
      onDropped: (dropped) => {
        check<Same<typeof dropped, Expected>>()
        return Effect.void
      }
    }))
    unreliable.pipe(EventQueue.make({
      capacity: 9,
      overflow: "drop-oldest",
      onDropped: (dropped) => {
        check<Same<typeof dropped, Expected>>()
        return Effect.void
      }
    }))
    reliable.pipe(EventQueue.make({
      onDropped: (dropped) => {
        check<Same<typeof dropped, Dropped.Dropped<Order>>>()
        return Effect.void
      }
    }))
    ${broadcasting(`
      yield* Broadcaster.add(broadcaster, flaky, {
        maxLag: 9,
        onDropped: (dropped) => {
          check<Same<typeof dropped, Expected>>()
          return Effect.void
        }
      })
      yield* Broadcaster.addScoped(broadcaster, flaky, {
        onDropped: (dropped) => {
          check<Same<typeof dropped, Expected>>()
          return Effect.void
        }
      })`)}`,

  "partitionBy gets the events of the sink": `
    const key = (order: Order): string => {
      return order.id
    }
    const one = reliable.pipe(EventQueue.make({
      concurrency: 2,
      partitionBy: (order) => {
        check<Same<typeof order, Order>>()
        return order.id
      }
    }))
    check<Same<typeof one, Made<Queue<Order>>>>()
    const two = unreliable.pipe(EventQueue.make({
      concurrency: 2,
      capacity: 9,
      overflow: "reject",
      partitionBy: (order) => {
        check<Same<typeof order, Order>>()
        return order.id
      },
      onDropped: (dropped) => {
        check<Same<typeof dropped, Dropped.Dropped<Order, Refused | Timeout>>>()
        return Effect.void
      }
    }))
    check<Same<typeof two, Made<Queue<Order, EventQueue.QueueFull>>>>()
    const three = reliable.pipe(EventQueue.make({ concurrency: 2, overflow: "reject", partitionBy: key }))
    check<Same<typeof three, Made<Queue<Order, EventQueue.QueueFull>>>>()
    declare const sure: Sink<Order>
    const four = EventQueue.make({ concurrency: 2, partitionBy: key })(sure)
    check<Same<typeof four, Made<Queue<Order>>>>()
    const five = EventQueue.make({ concurrency: 2, partitionBy: (order: { readonly id: string }) => order.id })
    check<Same<ReturnType<typeof five<never>>, Made<Queue<{ readonly id: string }>>>>()
    const six = EventQueue.make({ concurrency: 2 })(sure)
    check<Same<typeof six, Made<Queue<Order>>>>()`,

  "partitionBy may be undefined, and may know less of the events": `
    declare const maybe: ((order: Order) => string) | undefined
    const one = reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: maybe }))
    check<Same<typeof one, Made<Queue<Order>>>>()
    const two = reliable.pipe(EventQueue.make({ partitionBy: undefined }))
    check<Same<typeof two, Made<Queue<Order>>>>()
    const three = reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: () => "key" }))
    check<Same<typeof three, Made<Queue<Order>>>>()
    declare const less: (event: { readonly id: string }) => string
    const four = reliable.pipe(EventQueue.make({ concurrency: 2, partitionBy: less }))
    check<Same<typeof four, Made<Queue<Order>>>>()`,

  "one onDropped may serve every queue": `
    declare const onDropped: (dropped: Dropped.Dropped<unknown, unknown>) => Effect.Effect<void>
    const one = unreliable.pipe(EventQueue.make({ onDropped }))
    const two = reliable.pipe(EventQueue.make({ onDropped }))
    check<Same<typeof one, Made<Queue<Order>>>>()
    check<Same<typeof two, Made<Queue<Order>>>>()
    ${broadcasting(`yield* Broadcaster.add(broadcaster, flaky, { onDropped })`)}`,

  "a strategy that never gives up leaves no error, one that may leaves RetriesExhausted": `
    const retry = <S, X>(strategy: RetryStrategy.RetryStrategy<S, X>) => strategy
    const forever = unreliable.pipe(RetryingSink.make(RetryStrategy.forever(Schedule.recurs(3))))
    const backoff = unreliable.pipe(RetryingSink.make(ExponentialBackoff.make()))
    const plain = unreliable.pipe(RetryingSink.make(RetryStrategy.fromSchedule(Schedule.forever)))
    check<Same<typeof forever, Made<Sink<Order>>>>()
    check<Same<typeof backoff, Made<Sink<Order>>>>()
    check<Same<typeof plain, Made<Sink<Order, RetryingSink.RetriesExhausted<Refused | Timeout>>>>>()
    const underBreaker = Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 3, backoff: "1 second" })
      return yield* unreliable.pipe(
        RetryingSink.make(ExponentialBackoff.make().pipe(RetryStrategy.combine(breaker)))
      )
    })
    check<Same<typeof underBreaker, Made<Sink<Order>>>>()`,

  "a combination gives up as either does, and judges what both can": `
    declare const a: RetryStrategy.RetryStrategy<{ readonly a: 1 }, "a">
    declare const b: RetryStrategy.RetryStrategy<{ readonly b: 1 }, "b">
    const both = a.pipe(RetryStrategy.combine(b))
    check<Same<typeof both, RetryStrategy.RetryStrategy<{ readonly a: 1 } & { readonly b: 1 }, "a" | "b">>>()
    const limited = ExponentialBackoff.make().pipe(RetryStrategy.combine(RetryStrategy.fromSchedule(Schedule.recurs(3))))
    check<Same<typeof limited, RetryStrategy.RetryStrategy<unknown, RetryStrategy.ScheduleEnded>>>()`,

  "a `while` that is a refinement leaves the errors that it excludes": `
    const isRefused = (error: Refused | Timeout): error is Refused => error._tag === "Refused"
    const plain = RetryStrategy.fromSchedule(Schedule.recurs(3))
    const one = unreliable.pipe(RetryingSink.make(plain, { while: isRefused }))
    check<Same<typeof one, Made<Sink<Order, Timeout | RetryingSink.RetriesExhausted<Refused>>>>>()
    const two = unreliable.pipe(RetryingSink.make(ExponentialBackoff.make(), { while: isRefused }))
    check<Same<typeof two, Made<Sink<Order, Timeout>>>>()
    const isEither = (error: Refused | Timeout): error is Refused | Timeout => true
    const three = unreliable.pipe(RetryingSink.make(ExponentialBackoff.make(), { while: isEither }))
    check<Same<typeof three, Made<Sink<Order>>>>()
    const four = unreliable.pipe(
      RetryingSink.make(ExponentialBackoff.make(), { while: Predicate.isTagged("Refused") })
    )
    check<Same<typeof four, Made<Sink<Order, Timeout>>>>()
    // the compiler finds out by itself that this is a refinement
    const five = unreliable.pipe(
      RetryingSink.make(ExponentialBackoff.make(), { while: (error: Refused | Timeout) => error._tag === "Refused" })
    )
    check<Same<typeof five, Made<Sink<Order, Timeout>>>>()
    declare const forRefused: RetryStrategy.RetryStrategy<Refused>
    const six = unreliable.pipe(RetryingSink.make(forRefused, { while: isRefused }))
    check<Same<typeof six, Made<Sink<Order, Timeout>>>>()`,

  "a `while` that is a predicate leaves every error": `
    const transient = (error: Refused | Timeout): boolean => error._tag === "Refused"
    const one = unreliable.pipe(RetryingSink.make(ExponentialBackoff.make(), { while: transient }))
    check<Same<typeof one, Made<Sink<Order, Refused | Timeout>>>>()
    const plain = RetryStrategy.fromSchedule(Schedule.recurs(3))
    const two = unreliable.pipe(RetryingSink.make(plain, { while: transient }))
    check<Same<typeof two, Made<Sink<Order, Refused | Timeout | RetryingSink.RetriesExhausted<Refused | Timeout>>>>>()`,

  "SinkClosed is in the type of every write, and in no sink's own errors": `
    declare const string: Sink<string>
    declare const refusing: Sink<string, Refused>
    const sure = string.write("")
    check<Same<typeof sure, Effect.Effect<void, EventSink.SinkClosed>>>()
    const maybeCommitted = refusing.write("")
    check<Same<typeof maybeCommitted, Effect.Effect<void, Refused | EventSink.SinkClosed>>>()
    const all = EventSink.writeAll(refusing, [""])
    check<Same<typeof all, Effect.Effect<void, Refused | EventSink.SinkClosed>>>()
    const closed = EventSink.make((_: string) => Effect.fail(new EventSink.SinkClosed({ sink: "" })))
    check<Same<typeof closed, Made<Sink<string>>>>()
    const forwarding = EventSink.make((event: string) => refusing.write(event))
    check<Same<typeof forwarding, Made<Sink<string, Refused>>>>()
    const mapped = EventSink.mapError(refusing, () => new EventSink.SinkClosed({ sink: "" }))
    check<Same<typeof mapped, Effect.Effect<Sink<string>>>>()
    const limited = refusing.pipe(EventSink.timeout("1 second"))
    check<Same<typeof limited, Effect.Effect<Sink<string, Refused | EventSink.WriteTimeout>>>>()`,

  "what wraps a queue, a channel or a broadcaster is as reliable as they are": `
    const mapped = queue.pipe(EventSink.mapInput((n: number): Order => ({ id: String(n), total: 1 })))
    check<Same<typeof mapped, Effect.Effect<EventSink.AcknowledgingSink<number, never, "memory">>>>()
    const filtered = queue.pipe(EventFilter.make((order: Order) => order.total > 1))
    check<Same<typeof filtered, Effect.Effect<EventSink.AcknowledgingSink<Order, never, "memory">>>>()
    const tapped = queue.pipe(EventSink.tap((order: Order) => Effect.log(order.id)))
    check<Same<typeof tapped, Effect.Effect<EventSink.AcknowledgingSink<Order, never, "memory">>>>()
    const queued = queue.pipe(EventQueue.make())
    check<Same<typeof queued, Made<Queue<Order>>>>()
    const channel = EventChannel.make<Order>().pipe(EventQueue.make())
    check<Same<typeof channel, Made<Queue<Order>>>>()
    const broadcaster = Broadcaster.make<Order>().pipe(EventQueue.make())
    check<Same<typeof broadcaster, Made<Queue<Order>>>>()
    const rejecting = reliable.pipe(
      EventQueue.make({ capacity: 9, overflow: "reject" }),
      EventFilter.make((order: Order) => order.total > 1)
    )
    check<Same<typeof rejecting, Made<EventSink.AcknowledgingSink<Order, EventQueue.QueueFull, "memory">>>>()`,

  "the mark of a sink that keeps events in memory, or stores them, is lost by the word alone": `
    const marked = queue.pipe(EventSink.acknowledgeFromMemory)
    check<Same<typeof marked, Effect.Effect<EventSink.BatchSink<Order>>>>()
    const stored = durable.pipe(EventSink.acknowledgeFromMemory)
    check<Same<typeof stored, Effect.Effect<EventSink.BatchSink<Order, DurableQueue.DurableWriteError>>>>()
    const single = EventSink.acknowledgeFromMemory(reliable)
    check<Same<typeof single, Effect.Effect<Sink<Order>>>>()`,

  "a filter by a refinement widens the events of its sink": `
    interface Paid extends Order { readonly paid: true }
    declare const paid: Sink<Paid, Refused>
    const filtered = paid.pipe(EventFilter.make((order: Order): order is Paid => "paid" in order))
    check<Same<typeof filtered, Effect.Effect<Sink<Order, Refused>>>>()`,

  "what answers a new sink takes a sink or an Effect of one, data-first and in a pipe, and infers callbacks": `
    declare const value: Sink<Order>
    declare const failing: Sink<Order, Refused>
    const pipes = [
      value.pipe(EventFilter.make((order) => order.id === "a")),
      EventFilter.make(value, (order) => order.id === "a"),
      EventFilter.make(Effect.succeed(value), (order) => order.total > 1),
      value.pipe(EventSink.tap((order) => Effect.log(order.id)))
    ]
    check<Same<(typeof pipes)[number], Effect.Effect<Sink<Order>>>>()
    const keyed = EventQueue.make(value, { concurrency: 4, partitionBy: (order) => order.id })
    check<Same<typeof keyed, Made<Queue<Order>>>>()
    const taking = EventQueue.make(failing, { onDropped: ({ event, reason }) => Effect.log(event.id, reason._tag) })
    check<Same<typeof taking, Made<Queue<Order>>>>()
    const made = EventSink.make((_: Order) => Effect.fail(new Refused())).pipe(
      RetryingSink.make(Breaker.make({ threshold: 3, backoff: "1 second" })),
      EventQueue.make()
    )
    check<Same<typeof made, Made<Queue<Order>>>>()
    const retried = RetryingSink.make(failing, ExponentialBackoff.make())
    check<Same<typeof retried, Made<Sink<Order>>>>()
    declare const two: Sink<Order, Refused | Timeout>
    const judged = RetryingSink.make(two, ExponentialBackoff.make(), { while: (error) => error._tag === "Timeout" })
    check<Same<typeof judged, Made<Sink<Order, Refused>>>>()
    const limited = RetryingSink.make(Effect.succeed(failing), Effect.succeed(RetryStrategy.fromSchedule(Schedule.recurs(3))))
    check<Same<typeof limited, Made<Sink<Order, RetryingSink.RetriesExhausted<Refused>>>>>()`,

  "every wrapper keeps a batch sink a batch sink": `
    declare const batch: EventSink.BatchSink<Order, Refused>
    type Batch<A, E> = Effect.Effect<EventSink.BatchSink<A, E>>
    const tapped = batch.pipe(EventSink.tap((order) => Effect.log(order.id)))
    check<Same<typeof tapped, Batch<Order, Refused>>>()
    const filtered = EventFilter.make(batch, (order) => order.total > 1)
    check<Same<typeof filtered, Batch<Order, Refused>>>()
    const mapped = batch.pipe(EventSink.mapInput((n: number) => ({ id: String(n), total: n })))
    check<Same<typeof mapped, Batch<number, Refused>>>()
    const renamed = EventSink.mapError(batch, () => "refused" as const)
    check<Same<typeof renamed, Batch<Order, "refused">>>()
    const retried = batch.pipe(RetryingSink.make(ExponentialBackoff.make()))
    check<Same<typeof retried, Made<EventSink.BatchSink<Order>>>>()
    const made = EventSink.makeBatch((orders: ReadonlyArray<Order>) => Effect.log(orders.length))
    check<Same<typeof made, Made<EventSink.BatchSink<Order>>>>()`,

  "the layers of parts infer callbacks and name what they need": `
    class Target extends Context.Service<Target, Sink<Order, Refused>>()("test/Target") {}
    class Orders extends Context.Service<Orders, Queue<Order>>()("test/Orders") {}
    class All extends Context.Service<All, Broadcaster.Broadcaster<Order>>()("test/All") {}
    class Shared extends Context.Service<Shared, Breaker.Breaker>()("test/Shared") {}
    const orders = EventQueue.layer(Orders, Target, { onDropped: ({ event, reason }) => Effect.log(event.id, reason._tag) })
    check<Same<typeof orders, Layer.Layer<Orders, never, Target>>>()
    const all = Broadcaster.layer(All, [Orders, Target.pipe(RetryingSink.make(Shared), EventQueue.make())])
    check<Same<typeof all, Layer.Layer<All, never, Orders | Target | Shared>>>()
    const shared = Breaker.layer(Shared, { threshold: 3, backoff: "1 second" })
    check<Same<typeof shared, Layer.Layer<Shared>>>()`
}

/** Each kind of snippet and its place in its list, as a name of a file. */
const name = (kind: "right" | "wrong" | "fact", index: number): string => `${kind}${index}`

const snippets: Record<string, string> = {
  control: `${header}check<Same<Sink<Order>, Sink<Order, Refused>>>()`
}
mistakes.forEach(({ right, wrong }, i) => {
  snippets[name("right", i)] = header + right
  snippets[name("wrong", i)] = header + wrong
})
Object.values(facts).forEach((code, i) => (snippets[name("fact", i)] = header + code))

let found: ReadonlyMap<string, ReadonlyArray<Diagnostic>>
const diagnostics = (snippet: string): ReadonlyArray<Diagnostic> => found.get(snippet) ?? []

/** What the compiler says of a snippet. */
const textOf = (snippet: string): string =>
  diagnostics(snippet)
    .map(({ text }) => text)
    .join("\n")

/** What the compiler says, and of which lines: nothing, where all is well. */
const report = (snippet: string): string =>
  diagnostics(snippet)
    .map(({ at, text }) => `${at}\n  ${text}`)
    .join("\n")

describe("types", () => {
  beforeAll(() => {
    found = compile(snippets)
  }, 60_000)

  it("what the snippets import compiles", () => {
    const imported = [...found.keys()].filter((file) => !(file in snippets))
    expect(imported.map(report)).toEqual([])
  })

  it("the check for sameness tells types apart", () => {
    expect(textOf("control")).toContain("does not satisfy the constraint 'true'")
  })

  describe("infers", () => {
    it.each(Object.keys(facts).map((title, i) => [title, name("fact", i)] as const))("%s", (_, fact) => {
      expect(report(fact)).toBe("")
    })
  })

  describe("does not compile", () => {
    it.each(mistakes.map((mistake, i) => [mistake.title, mistake, i] as const))(
      "%s",
      (_, { at = "", code, says, saysNot = [] }, i) => {
        expect(report(name("right", i))).toBe("")
        const wrong = name("wrong", i)
        expect(diagnostics(wrong).length, "it compiles").toBeGreaterThan(0)
        expect(diagnostics(wrong).filter((one) => isBroken(one) && one.code !== code)).toEqual([])
        for (const part of says) expect(textOf(wrong)).toContain(part)
        for (const part of saysNot) expect(textOf(wrong)).not.toContain(part)
        for (const one of diagnostics(wrong)) expect(one.at.slice(0, at.length)).toBe(at)
      }
    )
  })

  it("a text names a section of the guide that is there", () => {
    const [, file = "", anchor = ""] = /(docs\/\S+\.md)#([\w-]+)/.exec(stored.says.join(" ")) ?? []
    const headings = [...readFileSync(join(root, file), "utf8").matchAll(/^#+ (.+)$/gm)].map(([, title = ""]) => title)
    expect(headings.map((title) => title.toLowerCase().replaceAll(" ", "-"))).toContain(anchor)
  })

  it("a graph of services, wired with layers only, runs and closes in order", async () => {
    await Effect.runPromise(Effect.provide(program, Live.pipe(Layer.provide(Logger.layer([])))))
    expect(received).toEqual({ audit: [1, 2, 3], search: [2, 3] })
  })
})
