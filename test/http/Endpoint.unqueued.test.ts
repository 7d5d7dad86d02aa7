/** An endpoint without its queue, alone and below a durable one. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { EventSink, SinkGraph } from "effect-events"
import { DurableQueue, MemoryStore } from "effect-events/durable"
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
      ...Endpoint.distribution,
      name: "orders",
      url: "http://receiver.test/",
      envelope: Envelope.json(Order),
      ...options
    }).pipe(Effect.provide(layer)),
    (endpoint) => ({ endpoint, requests })
  )
}

describe("unqueued", () => {
  it.effect("a write ends when the receiver has accepted the event, and not before", () =>
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
      const { endpoint, requests } = yield* opened((n) => (n === 1 ? 410 : 200))
      yield* Effect.flip(endpoint.write(order(1)))
      yield* Effect.flip(endpoint.write(order(2)))
      assert.deepStrictEqual(requests, ["order-1"])
      assert.strictEqual((yield* endpoint.state)._tag, "Disabled")
      assert.match(yield* PrometheusMetrics.format(), /disabled\{endpoint="orders"\} 1/)
      yield* endpoint.enable
      yield* endpoint.write(order(3))
      assert.deepStrictEqual(requests, ["order-1", "order-3"])
      assert.match(yield* PrometheusMetrics.format(), /disabled\{endpoint="orders"\} 0/)
    }).pipe(Effect.scoped, quiet)
  )

  describe("while it is disabled", () => {
    it.effect("a write fails with Disabled from the answer that disabled it until it is enabled", () =>
      Effect.gen(function* () {
        const { endpoint, requests } = yield* opened((n) => (n === 1 ? 410 : 200))
        yield* TestClock.adjust("5 seconds")
        for (const event of [order(1), order(2)]) {
          const error = yield* Effect.flip(endpoint.write(event))
          assert.strictEqual(
            error.message,
            '"orders" could not post to http://receiver.test/: the endpoint is disabled (status 410)'
          )
          if (error._tag !== "HttpSinkError" || error.reason._tag !== "Disabled") return assert.fail(error.message)
          assert.deepStrictEqual([error.transient, error.maybeCommitted, error.reason.since], [false, false, 5_000])
          assert.strictEqual(error.reason.error?.reason._tag, "Status")
        }
        assert.deepStrictEqual(requests, ["order-1"])
        yield* endpoint.enable
        yield* endpoint.write(order(3))
        assert.deepStrictEqual(requests, ["order-1", "order-3"])
      }).pipe(Effect.scoped, quiet)
    )

    it.effect("a write that waits for its next attempt fails when it is disabled by hand, and so do later ones", () =>
      Effect.gen(function* () {
        const { endpoint, requests } = yield* opened(() => 503)
        const writing = yield* Effect.forkChild(Effect.flip(endpoint.write(order(1))))
        yield* settle
        assert.strictEqual(requests.length, 10)
        yield* endpoint.disable
        for (const error of [yield* Fiber.join(writing), yield* Effect.flip(endpoint.write(order(2)))]) {
          assert.strictEqual(
            error.message,
            '"orders" could not post to http://receiver.test/: the endpoint is disabled by hand'
          )
        }
        assert.strictEqual(requests.length, 10)
      }).pipe(Effect.scoped, quiet)
    )

    it.effect("a write of several is committed for none of them", () =>
      Effect.gen(function* () {
        const many = { envelope: Envelope.ndjson(Order), maxEvents: 10 }
        const { endpoint, requests } = yield* opened(() => 410, many)
        const error = yield* Effect.flip(EventSink.writeAll(endpoint, [order(1), order(2)]))
        assert.strictEqual(error._tag === "HttpSinkError" && error.reason._tag, "Disabled")
        assert.deepStrictEqual(requests, ["order-1", "order-2"])
      }).pipe(Effect.scoped, quiet)
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
      ] as const)(
        "an answer of 410 pauses a queue, which keeps three events that are sent %s",
        ([, options, refused]) =>
          Effect.gen(function* () {
            let status = 410
            const { endpoint, requests } = yield* opened(() => status, options)
            const queue = yield* DurableQueue.make({ name: "orders", schema: Order })(endpoint)
            yield* EventSink.writeAll(queue, [order(1), order(2), order(3)])
            yield* Effect.repeat(Effect.andThen(TestClock.adjust("10 millis"), queue.state), {
              until: ({ state }) => state !== "active"
            })
            assert.deepStrictEqual(requests, [...refused])
            assert.deepStrictEqual([yield* queue.pending, yield* queue.deadLetters.list()], [3, []])

            status = 200
            requests.length = 0
            yield* endpoint.enable
            yield* queue.resume
            yield* TestClock.adjust("5 seconds")
            yield* queue.flush
            assert.deepStrictEqual(requests, ["order-1", "order-2", "order-3"])
          }).pipe(Effect.scoped, Effect.provide(stores[store]), quiet)
      )

      it.effect.each([
        ["one at a time", {}, ["order-1"]],
        ["in one request", batched, ["order-1", "order-2", "order-3"]]
      ] as const)("or dead-letters three events that are sent %s", ([, options, refused]) =>
        Effect.gen(function* () {
          let status = 410
          const { endpoint, requests } = yield* opened(() => status, options)
          const queue = yield* DurableQueue.make({ name: "orders", schema: Order, onDisabled: "dead-letter" })(endpoint)
          yield* EventSink.writeAll(queue, [order(1), order(2), order(3)])
          yield* queue.flush
          assert.deepStrictEqual(requests, [...refused])
          const letters = yield* queue.deadLetters.list()
          assert.deepStrictEqual(
            letters.map(({ event }) => (event._tag === "Success" ? event.success.id : event._tag)),
            ["order-1", "order-2", "order-3"]
          )
          for (const { cause, reason } of letters) {
            assert.strictEqual(reason, "Disabled")
            assert.include(cause, "the endpoint is disabled (status 410)")
          }
          const [health] = yield* SinkGraph.health(queue)
          assert.deepInclude(health?.counts, { accepted: 3, delivered: 0, deadLettered: 3 })

          status = 200
          requests.length = 0
          yield* endpoint.enable
          assert.strictEqual(yield* queue.deadLetters.replay("all"), 3)
          yield* queue.flush
          assert.deepStrictEqual(requests, ["order-1", "order-2", "order-3"])
          assert.deepStrictEqual(yield* queue.deadLetters.list(), [])
        }).pipe(Effect.scoped, Effect.provide(stores[store]), quiet)
      )
    })
  })

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
    }).pipe(Effect.provide(MemoryStore.layer), quiet)
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
    }).pipe(Effect.provide(MemoryStore.layer), quiet)
  )
})
