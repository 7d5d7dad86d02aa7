/** A process that delivers the orders of a SQLite file to a webhook, and exports its spans. */
import { Effect, Layer, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { CloudEvent, Endpoint } from "effect-events/http"
import { FetchHttpClient } from "effect/http"
import { OtlpSerialization, OtlpTracer } from "effect/observability"

const [, , filename = "", webhook = "", collector = "", trace = ""] = process.argv

const Order = Schema.Struct({ id: Schema.String })

const Tracing = OtlpTracer.layer({
  url: collector,
  resource: { serviceName: "delivery" },
  exportInterval: "50 millis"
}).pipe(Layer.provide([OtlpSerialization.layerJson, FetchHttpClient.layer]))

const program = Effect.gen(function* () {
  yield* Endpoint.unqueued({ name: "hooks", url: webhook, envelope: CloudEvent.binary(CloudEvent.json(Order)) }).pipe(
    EventSink.mapInput((order: EventSink.Stamped<typeof Order.Type>) =>
      CloudEvent.fromStamped(order, { source: "/shop", type: "order", data: order.event })
    ),
    DurableQueue.make({
      name: "orders",
      schema: DurableQueue.stamped(Order),
      trace: trace === "parent" ? "parent" : "link"
    })
  )
  process.stdout.write("ready\n")
  return yield* Effect.never
})

await Effect.runPromise(
  program.pipe(Effect.scoped, Effect.provide([Tracing, SqliteStore.layer({ filename }), FetchHttpClient.layer]))
)
