/** An endpoint without its queue, alone and below a durable one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { DurableQueue, DurableQueueStore } from "effect-events/durable"
import { Endpoint, Envelope } from "effect-events/http"
import { quiet, settle } from "../support/virtual.ts"

const Order = Schema.Struct({ id: Schema.String })
type Order = typeof Order.Type
const order = (n: number): Order => ({ id: `order-${n}` })

/** A client that answers the n-th request, from 1, with a status. */
const answering = (status: (n: number) => number) => {
  const requests: Array<string> = []
  const client = HttpClient.make((request) =>
    Effect.sync(() => {
      const text = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : ""
      requests.push(JSON.parse(text).id)
      return HttpClientResponse.fromWeb(request, new Response(null, { status: status(requests.length) }))
    })
  )
  return { requests, layer: Layer.succeed(HttpClient.HttpClient, client) }
}

const opened = (status: (n: number) => number, options: Partial<Endpoint.UnqueuedOptions<Order>> = {}) => {
  const diverted: Array<string> = []
  const { layer, requests } = answering(status)
  return Effect.map(
    Endpoint.unqueued<Order>({
      name: "orders",
      url: "http://receiver.test/",
      envelope: Envelope.json(Order),
      onDisabled: ({ id }) => Effect.sync(() => void diverted.push(id)),
      ...options
    }).pipe(Effect.provide(layer)),
    (endpoint) => ({ endpoint, diverted, requests })
  )
}

describe("unqueued", () => {
  it.effect("a write ends when the receiver has taken the event, and not before", () =>
    Effect.gen(function* () {
      const { endpoint, requests } = yield* opened((n) => (n < 13 ? 503 : 200))
      const writing = yield* Effect.forkChild(endpoint.write(order(1)))
      yield* settle
      assert.isUndefined(writing.pollUnsafe())
      // Ten at once open the breaker, and each second lets one through.
      assert.strictEqual(requests.length, 10)
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(writing)
      assert.strictEqual(requests.length, 13)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("a write fails with what no attempt can deliver", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* opened(() => 422, {
        classification: ({ status }) => (status < 300 ? "accepted" : "permanent")
      })
      const error = yield* Effect.flip(endpoint.write(order(1)))
      assert.strictEqual(error._tag === "HttpSinkError" && error.reason._tag, "Status")
    }).pipe(Effect.scoped)
  )

  it.effect("what is ignored is accepted and not sent", () =>
    Effect.gen(function* () {
      const { endpoint, requests } = yield* opened(() => 200, { ignore: ({ id }) => id === "order-1" })
      yield* endpoint.write(order(1))
      yield* endpoint.write(order(2))
      assert.deepStrictEqual(requests, ["order-2"])
    }).pipe(Effect.scoped)
  )

  it.effect("a receiver that is gone disables it, and enable lets it deliver again; its metrics say so", () =>
    Effect.gen(function* () {
      const { diverted, endpoint, requests } = yield* opened((n) => (n === 1 ? 410 : 200))
      yield* endpoint.write(order(1))
      yield* endpoint.write(order(2))
      assert.deepStrictEqual([diverted, requests], [["order-1", "order-2"], ["order-1"]])
      assert.strictEqual((yield* endpoint.state)._tag, "Disabled")
      assert.match(yield* PrometheusMetrics.format(), /disabled\{endpoint="orders"\} 1/)
      yield* endpoint.enable
      yield* endpoint.write(order(3))
      assert.deepStrictEqual(requests, ["order-1", "order-3"])
      assert.match(yield* PrometheusMetrics.format(), /disabled\{endpoint="orders"\} 0/)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("below a durable queue an event stays in the store until the receiver has it", () =>
    Effect.gen(function* () {
      let status = 503
      const scope = yield* Scope.make()
      const { endpoint, requests } = yield* Scope.provide(
        opened(() => status),
        scope
      )
      const queue = yield* DurableQueue.make({ name: "orders", schema: Order })(endpoint).pipe(Scope.provide(scope))
      yield* queue.write(order(1))
      yield* TestClock.adjust("5 seconds")
      assert.isAbove(requests.length, 10)
      assert.strictEqual(yield* queue.pending, 1)
      status = 200
      yield* TestClock.adjust("2 seconds")
      yield* settle
      assert.strictEqual(yield* queue.pending, 0)
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.provide(DurableQueueStore.layerMemory), quiet)
  )

  it.effect("a close in the middle of its attempts keeps the event, within the queue's time", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { endpoint } = yield* Scope.provide(
        opened(() => 503),
        scope
      )
      const queue = yield* DurableQueue.make({ name: "orders", schema: Order, drainTimeout: "2 seconds" })(
        endpoint
      ).pipe(Scope.provide(scope))
      yield* queue.write(order(1))
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      const { count, inFlight } = yield* queue.shutdown
      assert.deepStrictEqual([count, inFlight], [1, [order(1)]])
      assert.strictEqual(yield* queue.pending, 1)
    }).pipe(Effect.provide(DurableQueueStore.layerMemory), quiet)
  )
})
