/** The graphs of `docs/guide/choosing.md`, one for each of its headings. A test compares what they draw with its pictures. */
import { Effect, Schema } from "effect"
import {
  BatchingSink,
  Breaker,
  Broadcaster,
  ConcurrencyLimitedSink,
  EventChannel,
  EventFilter,
  EventQueue,
  EventRouter,
  EventSink,
  FallbackSink,
  RateLimitedSink,
  RetryingSink
} from "effect-events"
import { DurableBroadcaster, DurableQueue } from "effect-events/durable"

const Order = Schema.Struct({ id: Schema.String, region: Schema.Literals(["eu", "us"]), total: Schema.Int })
type Order = typeof Order.Type

/** A receiver that does not fail, one that does, and a table of a database. */
const receiver = (name: string) => EventSink.make((_: Order) => Effect.void, { name })
const fallible = (name: string) => EventSink.make((_: Order) => Effect.fail("unavailable"), { name })
const table = EventSink.makeBatch((_: ReadonlyArray<Order>) => Effect.void, { name: "table" })

const orders = { name: "orders" }

export const graphs = {
  EventQueue: receiver("mail").pipe(EventQueue.make({ capacity: 10_000, ...orders })),
  Broadcaster: Broadcaster.make([receiver("mail"), receiver("search")], orders),
  EventRouter: EventRouter.byKey(
    (order: Order) => order.region,
    { eu: receiver("eu") },
    { orElse: receiver("us"), ...orders }
  ),
  EventFilter: receiver("fraud").pipe(EventFilter.make((order) => order.total >= 100, { name: "large" })),
  RetryingSink: fallible("api").pipe(RetryingSink.make(Breaker.make({ threshold: 5, backoff: "1 second" }))),
  FallbackSink: fallible("eu").pipe(FallbackSink.make(receiver("us"), { after: "5 seconds" })),
  BatchingSink: table.pipe(BatchingSink.make({ batchSize: 500, maxAge: "100 millis" })),
  RateLimitedSink: receiver("api").pipe(RateLimitedSink.make({ limit: 10, window: "1 second" })),
  ConcurrencyLimitedSink: receiver("api").pipe(ConcurrencyLimitedSink.make({ permits: 4 })),
  EventChannel: EventChannel.make<Order>({ capacity: 16, ...orders }),
  DurableQueue: fallible("mail").pipe(DurableQueue.make({ ...orders, schema: Order })),
  DurableBroadcaster: Effect.gen(function* () {
    const broadcaster = yield* DurableBroadcaster.make({ ...orders, schema: Order })
    yield* DurableBroadcaster.subscribe(broadcaster, fallible("billing"), { name: "billing" })
    yield* DurableBroadcaster.subscribe(broadcaster, fallible("search"), { name: "search" })
    return broadcaster
  }),
  Together: Broadcaster.make(
    [
      fallible("api").pipe(
        RateLimitedSink.make({ limit: 10, window: "1 second" }),
        RetryingSink.make(Breaker.make({ threshold: 5, backoff: "1 second" })),
        EventFilter.make((order: Order) => order.total >= 100, { name: "large" })
      ),
      table.pipe(EventQueue.make({ batchSize: 500, maxAge: "100 millis", name: "rows" }))
    ],
    orders
  )
}
