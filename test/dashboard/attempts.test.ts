import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventSink } from "effect-events"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import { Endpoint, Envelope } from "effect-events/http"
import { HttpClient, HttpClientResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { Attempts, GraphView } from "../../src/dashboard/internal/dashboardApi.ts"
import { idOf, Order, quiet, serve } from "../support/dashboard.ts"

/** A receiver that takes 250 milliseconds for each answer. */
const answering = (statuses: Array<number>) =>
  Effect.provideService(
    HttpClient.HttpClient,
    HttpClient.make((request) =>
      Effect.delay(
        Effect.sync(() => HttpClientResponse.fromWeb(request, new Response(null, { status: statuses.shift() ?? 204 }))),
        "250 millis"
      )
    )
  )

const options = {
  name: "hook",
  url: "http://receiver.test/hook?key=secret",
  headers: { authorization: "Bearer secret" },
  envelope: Envelope.json(Order, { id: ({ id }) => id })
}
const orders = (n: number): ReadonlyArray<Order> => Array.from({ length: n }, (_, i) => ({ id: `a${i}`, total: i }))

describe("the last attempts of an endpoint", () => {
  it.effect("are twenty, the newest first, with time, duration, events and outcome, and no secret", () =>
    Effect.gen(function* () {
      const endpoint = yield* Endpoint.make({
        ...options,
        delays: { base: 0, factor: 0 },
        maxBytes: 60,
        onDisabled: () => Effect.void,
        onDropped: () => Effect.void
      }).pipe(answering([503]))
      const attempts = EventSink.controlsOf(endpoint.node)!.attempts!
      assert.deepStrictEqual(yield* attempts, [])
      yield* endpoint.write({ id: "a", total: 1 })
      yield* endpoint.write({ id: "x".repeat(100), total: 1 })
      for (let i = 0; i < 4; i++) yield* TestClock.adjust("250 millis")
      const found = yield* attempts
      assert.deepStrictEqual(
        found.map(({ at, duration, error, events, outcome }) => [at, duration, events, outcome, error]),
        [
          [500, 0, 1, "TooLarge", "the event takes 119 bytes, of at most 60"],
          [250, 250, 1, "204", undefined],
          [0, 250, 1, "503", "status 503"]
        ]
      )
      assert.notMatch(JSON.stringify(found), /secret/)
      yield* EventSink.writeAll(endpoint, orders(25))
      for (let i = 0; i < 25; i++) yield* TestClock.adjust("250 millis")
      const last = yield* attempts
      assert.deepStrictEqual(
        last.map(({ at }) => at),
        Array.from({ length: 20 }, (_, i) => 1000 + (24 - i) * 250)
      )
    }).pipe(Effect.scoped, Effect.provide([quiet]))
  )

  it.live("are in the API of a dashboard, those of an unqueued one below a durable queue too", () =>
    Effect.gen(function* () {
      const queue = yield* Endpoint.unqueued(options).pipe(
        answering([410]),
        DurableQueue.make({ name: "orders", schema: Order, redelivery: Redelivery.none })
      )
      const { read, text } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [queue], readOnly: true }))
      const graph = yield* read(GraphView, "/events/api/graph")
      const id = idOf(graph, "hook", "HttpSink")
      assert.deepStrictEqual(graph.nodes.find((node) => node.id === id)?.offers, ["attempts"])
      const from = Date.now()
      yield* queue.write({ id: "a", total: 1 })
      const seen = yield* Effect.repeat(read(Attempts, `/events/api/nodes/${id}/attempts`), {
        until: ({ attempts }) => attempts.length > 0
      })
      const { at, duration, ...rest } = seen.attempts[0]!
      assert.deepStrictEqual(rest, { events: 1, outcome: "410", error: "status 410" })
      assert.isTrue(at >= from && at <= Date.now() && duration >= 200)
      assert.strictEqual((yield* text(`/events/api/nodes/${idOf(graph, "orders")}/attempts`)).status, 409)
      assert.strictEqual((yield* text("/events/api/nodes/other/attempts")).status, 404)
    }).pipe(Effect.scoped, Effect.provide([MemoryStore.layer, quiet]))
  )

  it.live("may be kept by a sink of an application's own, which can fail", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: string) => Effect.void, {
        controls: { attempts: Effect.fail({ message: "the journal is full" }) }
      })
      const { read, text } = yield* serve(SinkDashboard.layer({ path: "/events", roots: [sink], readOnly: true }))
      const id = idOf(yield* read(GraphView, "/events/api/graph"), "EventSink")
      assert.include(yield* text(`/events/api/nodes/${id}/attempts`), {
        status: 502,
        body: '{"_tag":"ControlFailed","message":"the journal is full"}'
      })
    }).pipe(Effect.scoped)
  )
})
