/** What a receiver gets to know of a trace: the delivery by a header, and the creation of an event by an attribute of its own. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { EventQueue, EventSink } from "effect-events"
import { DurableQueue, MemoryStore } from "effect-events/durable"
import { CloudEvent, Endpoint, Envelope, HttpSink } from "effect-events/http"
import { linksOf, parentOf, recorder } from "../support/recorder.ts"
import { pass, quiet } from "../support/virtual.ts"
import { clients, ok, receiver } from "./support/receiver.ts"

const Order = Schema.Struct({ id: Schema.String })
type Order = typeof Order.Type
const envelope = Envelope.json(Order)
const undici = clients[0]![1]

const traceparent = ({ sampled, spanId, traceId }: { traceId: string; spanId: string; sampled: boolean }) =>
  `00-${traceId}-${spanId}-${sampled ? "01" : "00"}`

describe("the header traceparent of a request", () => {
  const post = "POST"

  it.effect("is that of the delivery, through an HttpSink", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const server = yield* receiver(ok)
      const queue = yield* HttpSink.make({ name: "hooks", url: server.url, envelope }).pipe((sink) =>
        EventQueue.make(sink, { name: "orders", onDropped: () => Effect.void })
      )
      yield* queue.write({ id: "a" }).pipe(Effect.withSpan("request"))
      yield* queue.flush
      const [process, request] = [only("process orders"), only(post)]
      assert.deepStrictEqual(linksOf(process), [only("send orders").spanId])
      assert.strictEqual(parentOf(request), process.spanId)
      assert.strictEqual(request.traceId, process.traceId)
      assert.deepStrictEqual(
        server.requests.map(({ headers }) => headers["traceparent"]),
        [traceparent(request)]
      )
    }).pipe(provide, Effect.provide(undici))
  })

  it.effect.each(["link", "parent"] as const)("is that of the delivery, through an Endpoint: %s", (trace) => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const server = yield* receiver(ok)
      const endpoint = yield* Endpoint.make({
        name: "hooks",
        url: server.url,
        envelope,
        trace,
        onDisabled: () => Effect.void
      })
      yield* endpoint.write({ id: "a" }).pipe(Effect.withSpan("request"))
      yield* endpoint.flush
      assert.strictEqual(parentOf(only(post)), only("process hooks").spanId)
      assert.strictEqual(only(post).traceId === only("request").traceId, trace === "parent")
      assert.strictEqual(server.requests[0]!.headers["traceparent"], traceparent(only(post)))
    }).pipe(provide, Effect.provide(undici))
  })

  it.effect("says that an unsampled write is not sampled", () => {
    const { provide } = recorder()
    return Effect.gen(function* () {
      const server = yield* receiver(ok)
      const orders = yield* Endpoint.unqueued({ name: "hooks", url: server.url, envelope }).pipe(
        DurableQueue.make({ name: "orders", schema: Order })
      )
      yield* orders.write({ id: "a" }).pipe(Effect.withSpan("request", { sampled: false }))
      yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve, 200)))
      const flushing = yield* Effect.forkChild(orders.flush)
      yield* pass(3)
      yield* Fiber.join(flushing)
      assert.match(String(server.requests[0]!.headers["traceparent"]), /^00-[\da-f]{32}-[\da-f]{16}-00$/)
    }).pipe(provide, quiet, Effect.provide([undici, MemoryStore.layer]))
  })

  it.effect("is not there without a tracer, nor under a disabled one", () => {
    const { provide } = recorder()
    return Effect.gen(function* () {
      const server = yield* receiver(ok)
      const run = Effect.gen(function* () {
        const queue = yield* HttpSink.make({ name: "hooks", url: server.url, envelope }).pipe((sink) =>
          EventQueue.make(sink, { name: "orders", onDropped: () => Effect.void })
        )
        yield* queue.write({ id: "a" })
        yield* queue.flush
      })
      yield* run.pipe(Effect.withSpan("request"))
      yield* run.pipe(Effect.withTracerEnabled(false), Effect.withSpan("request"), provide)
      assert.deepStrictEqual(
        server.requests.map(({ headers }) => headers["traceparent"]),
        [undefined, undefined]
      )
    }).pipe(Effect.provide(undici))
  })
})

describe("the extension traceparent of a CloudEvent", () => {
  it.effect("is the span that an event was stamped in, on every attempt, in each mode", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const server = yield* receiver(ok)
      const data = CloudEvent.json(Order)
      for (const envelope of [CloudEvent.binary(data), CloudEvent.structured(data)]) {
        const sink = yield* HttpSink.make({ name: "hooks", url: server.url, envelope })
        const orders = yield* sink.pipe(
          EventSink.mapInput((order: EventSink.Stamped<Order>) =>
            CloudEvent.fromStamped(order, { source: "/shop", type: "order", data: order.event })
          ),
          (sink) => EventQueue.make(sink, { name: "orders", onDropped: () => Effect.void }),
          Effect.flatMap((queue) =>
            Effect.map(EventSink.stamp(queue, { id: ({ id }: Order) => id }), (stamped) => ({ queue, stamped }))
          )
        )
        yield* orders.stamped.write({ id: "a" }).pipe(Effect.withSpan(envelope.contentType ?? "binary"))
        yield* orders.queue.flush
      }
      const [binary, structured] = server.requests
      const created = (name: string) => traceparent(only(name))
      const names = [CloudEvent.binary(data), CloudEvent.structured(data)].map(
        ({ contentType }) => contentType ?? "binary"
      )
      assert.strictEqual(binary!.headers["ce-traceparent"], created(names[0]!))
      assert.strictEqual(JSON.parse(structured!.body).traceparent, created(names[1]!))
      // Not that of the request, which is in its header.
      assert.notStrictEqual(binary!.headers["traceparent"], binary!.headers["ce-traceparent"])
      assert.strictEqual(binary!.headers["ce-id"], "a")
      assert.strictEqual(binary!.headers["ce-time"], "1970-01-01T00:00:00.000Z")
    }).pipe(provide, Effect.provide(undici))
  })

  it("is that given, and none where the stamp has no span, or one with ids of another form", () => {
    const event = { source: "/shop", type: "order", data: 1 }
    const stamp = { id: "a", time: 0, trace: undefined }
    assert.deepStrictEqual(CloudEvent.fromStamped(stamp, event).extensions, {})
    const trace = { traceId: "a".repeat(32), spanId: "b".repeat(16), sampled: false }
    assert.deepStrictEqual(CloudEvent.fromStamped({ ...stamp, trace }, { ...event, extensions: { n: 7 } }).extensions, {
      traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-00`,
      n: 7
    })
    const given = { traceparent: "mine" }
    assert.deepStrictEqual(
      CloudEvent.fromStamped({ ...stamp, trace }, { ...event, extensions: given }).extensions,
      given
    )
    const foreign = { ...trace, spanId: "noop" }
    assert.deepStrictEqual(CloudEvent.fromStamped({ ...stamp, trace: foreign }, event).extensions, {})
  })
})
