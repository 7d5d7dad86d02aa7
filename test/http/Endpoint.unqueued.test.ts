/** An endpoint without its queue, alone and below a durable one. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { EventSink, SinkGraph } from "effect-events"
import { DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
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
      requests.push(
        ...text
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line).id)
      )
      return HttpClientResponse.fromWeb(request, new Response(null, { status: status(requests.length) }))
    })
  )
  return { requests, layer: Layer.succeed(HttpClient.HttpClient, client) }
}

const opened = (status: (n: number) => number, options: Partial<Endpoint.UnqueuedOptions<Order>> = {}) => {
  const { layer, requests } = answering(status)
  return Effect.map(
    Endpoint.unqueued<Order>({
      name: "orders",
      url: "http://receiver.test/",
      envelope: Envelope.json(Order),
      ...options
    }).pipe(Effect.provide(layer)),
    (endpoint) => ({ endpoint, requests })
  )
}

describe("unqueued", () => {
  it.effect("a write is one request, which succeeds when the receiver has accepted the event", () =>
    Effect.gen(function* () {
      const { endpoint, requests } = yield* opened((n) => (n < 3 ? 503 : 200))
      for (const transient of [true, true]) {
        const error = yield* Effect.flip(endpoint.write(order(1)))
        assert.deepInclude(error, { _tag: "HttpSinkError", transient })
        assert.deepInclude(error, { permanent: false, disabled: false })
      }
      yield* endpoint.write(order(1))
      assert.strictEqual(requests.length, 3)
      assert.match(yield* PrometheusMetrics.format(), /responses_total\{[^}]*503[^}]*\} 2/)
    }).pipe(Effect.scoped)
  )

  it.effect("a request has the time of an endpoint, and 2xx alone is accepted", () =>
    Effect.gen(function* () {
      const client = HttpClient.make(() => Effect.never)
      const endpoint = yield* Endpoint.unqueued<Order>({
        name: "orders",
        url: "http://receiver.test/",
        envelope: Envelope.json(Order)
      }).pipe(Effect.provideService(HttpClient.HttpClient, client))
      const writing = yield* Effect.forkChild(Effect.flip(endpoint.write(order(1))))
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(writing)
      assert.strictEqual(error._tag === "HttpSinkError" && error.reason._tag, "Timeout")
      const { endpoint: redirected } = yield* opened(() => 301)
      assert.strictEqual((yield* Effect.flip(redirected.write(order(1))))._tag, "HttpSinkError")
    }).pipe(Effect.scoped)
  )

  it.effect("a write fails with what no attempt can deliver", () =>
    Effect.gen(function* () {
      const { endpoint } = yield* opened(() => 422, {
        classification: ({ status }) => (status < 300 ? "accepted" : "permanent")
      })
      const error = yield* Effect.flip(endpoint.write(order(1)))
      assert.deepInclude(error, { permanent: true, disabled: false })
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

  it.effect("a receiver that is gone is disabled, whatever the classification, and asked again at the next write", () =>
    Effect.gen(function* () {
      const { endpoint, requests } = yield* opened((n) => (n === 1 ? 410 : 200), { classification: () => "accepted" })
      assert.deepInclude(yield* Effect.flip(endpoint.write(order(1))), { permanent: false, disabled: true })
      yield* endpoint.write(order(2))
      assert.deepStrictEqual(requests, ["order-1", "order-2"])
    }).pipe(Effect.scoped)
  )

  const stores = {
    memory: MemoryStore.layer,
    SQLite: Layer.unwrap(
      Effect.acquireRelease(
        Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-events-disabled-"))),
        (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
      ).pipe(Effect.map((folder) => SqliteStore.layer({ filename: join(folder, "events.db") })))
    )
  }
  const batched = { envelope: Envelope.ndjson(Order), maxEvents: 10 }

  describe.each(Object.keys(stores) as ReadonlyArray<keyof typeof stores>)("below a durable queue in %s", (store) => {
    it.effect.each([
      ["one at a time", {}, ["order-1"]],
      ["in one request", batched, ["order-1", "order-2", "order-3"]]
    ] as const)("an answer of 410 pauses a queue, which keeps three events that are sent %s", ([, options, refused]) =>
      Effect.gen(function* () {
        let status = 410
        const { endpoint, requests } = yield* opened(() => status, options)
        const queue = yield* DurableQueue.make({ name: "orders", schema: Order })(endpoint)
        yield* EventSink.writeAll(queue, [order(1), order(2), order(3)])
        yield* Effect.repeat(Effect.andThen(TestClock.adjust("10 millis"), queue.state), {
          until: ({ state }) => state !== "active"
        })
        assert.deepStrictEqual([...new Set(requests)], [...refused])
        assert.deepStrictEqual([yield* queue.pending, yield* queue.deadLetters.list()], [3, []])

        status = 200
        requests.length = 0
        yield* queue.resume
        yield* TestClock.adjust("5 seconds")
        yield* queue.flush
        assert.deepStrictEqual(requests, ["order-1", "order-2", "order-3"])
      }).pipe(Effect.scoped, Effect.provide(stores[store]), quiet)
    )

    it.effect("or dead-letters three events", () =>
      Effect.gen(function* () {
        const { endpoint, requests } = yield* opened((n) => (n <= 3 ? 410 : 200))
        const queue = yield* DurableQueue.make({ name: "orders", schema: Order, onDisabled: "dead-letter" })(endpoint)
        yield* EventSink.writeAll(queue, [order(1), order(2), order(3)])
        yield* queue.flush
        const letters = yield* queue.deadLetters.list()
        assert.deepStrictEqual(
          letters.map(({ cause, event, reason }) => [
            event._tag === "Success" ? event.success.id : event._tag,
            reason,
            cause.includes("status 410")
          ]),
          [1, 2, 3].map((n) => [`order-${n}`, "Disabled", true])
        )
        assert.strictEqual(yield* queue.deadLetters.replay("all"), 3)
        yield* queue.flush
        assert.deepStrictEqual(requests.slice(3), ["order-1", "order-2", "order-3"])
        const [health] = yield* SinkGraph.health(queue)
        assert.deepInclude(health?.counts, { delivered: 3, deadLettered: 3 })
      }).pipe(Effect.scoped, Effect.provide(stores[store]), quiet)
    )

    it.effect("an event waits in the store for its next attempt, which the receiver may put off", () =>
      Effect.gen(function* () {
        const seconds: Array<number> = []
        const client = HttpClient.make((request) =>
          Effect.gen(function* () {
            seconds.push((yield* Clock.currentTimeMillis) / 1_000)
            const headers = seconds.length === 2 ? { "retry-after": "60" } : {}
            const status = seconds.length < 4 ? 429 : 200
            return HttpClientResponse.fromWeb(request, new Response(null, { status, headers }))
          })
        )
        const redelivery = Redelivery.fromDelays(["5 seconds", "30 seconds", "3 minutes"], { jitter: 0 })
        const queue = yield* Endpoint.unqueued<Order>({
          name: "orders",
          url: "http://receiver.test/",
          envelope: Envelope.json(Order)
        }).pipe(
          DurableQueue.make({ name: "orders", schema: Order, redelivery }),
          Effect.provideService(HttpClient.HttpClient, client)
        )
        yield* queue.write(order(1))
        yield* Effect.repeat(TestClock.adjust("10 seconds"), { times: 30 })
        assert.deepStrictEqual(
          seconds.map((second) => Math.round(second)),
          [0, 5, 65, 245]
        )
        assert.strictEqual(yield* queue.pending, 0)
      }).pipe(Effect.scoped, Effect.provide(stores[store]), quiet)
    )
  })

  it.effect("a close in front of the next attempt keeps the event, and is over at once", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { endpoint } = yield* Scope.provide(
        opened(() => 503),
        scope
      )
      const queue = yield* DurableQueue.make({ name: "orders", schema: Order })(endpoint).pipe(Scope.provide(scope))
      yield* queue.write(order(1))
      yield* settle
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* settle
      assert.isDefined(closing.pollUnsafe())
      assert.deepStrictEqual(yield* queue.shutdown, { count: 1, inFlight: [] })
      assert.strictEqual(yield* queue.pending, 1)
    }).pipe(Effect.provide(MemoryStore.layer), quiet)
  )
})
