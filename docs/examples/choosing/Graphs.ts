/** The graphs of `docs/guide/choosing.md`, by the headings of their pictures. A test compares what they draw with the pictures. */
import { Effect, Schema } from "effect"
import { Breaker, Broadcaster, EventFilter, EventQueue, EventSink, RateLimitedSink, RetryingSink } from "effect-events"
import { DurableBroadcaster } from "effect-events/durable"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
type Order = typeof Order.Type

/** A receiver that fails, and a table of a database. */
const fallible = (name: string) => EventSink.make((_: Order) => Effect.fail("unavailable"), { name })
const table = EventSink.makeBatch((_: ReadonlyArray<Order>) => Effect.void, { name: "table" })

export const graphs = {
  "In memory": Broadcaster.make(
    [
      fallible("api").pipe(
        RateLimitedSink.make({ limit: 10, window: "1 second" }),
        RetryingSink.make(Breaker.make({ threshold: 5, backoff: "1 second" })),
        EventFilter.make((order: Order) => order.total >= 100, { name: "large" })
      ),
      table.pipe(EventQueue.make({ batchSize: 500, maxAge: "100 millis", name: "rows" }))
    ],
    { name: "orders" }
  ),
  Durable: Effect.gen(function* () {
    const broadcaster = yield* DurableBroadcaster.make({ name: "orders", schema: Order })
    yield* DurableBroadcaster.subscribe(broadcaster, fallible("billing"), { name: "billing" })
    yield* DurableBroadcaster.subscribe(broadcaster, fallible("search"), { name: "search" })
    return broadcaster
  })
}
