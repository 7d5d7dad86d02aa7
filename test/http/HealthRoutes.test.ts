import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Schema } from "effect"
import { Breaker, Broadcaster, EventQueue, EventSink, RetryingSink } from "effect-events"
import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
import { HealthRoutes } from "effect-events/http"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { TestClock } from "effect/testing"
import { settle } from "../support/virtual.ts"

const hanging = (name: string) => EventSink.make((_: string) => Effect.never, { name, drainTimeout: 0 })
const holding = (name: string) => EventQueue.make(hanging(name), { name, drainTimeout: 0 })
const taking = (name: string) => EventSink.make((_: string) => Effect.void, { name })

interface Answer {
  readonly status: number
  readonly body: unknown
  readonly headers: Headers
}

/** Asks the routes as a web handler, in the clock of the test. */
const askingOf = Effect.fnUntraced(function* (
  routes: Layer.Layer<never, never, HttpRouter.HttpRouter>,
  disableLogger = true
) {
  const context = yield* Effect.context<never>()
  const { dispose, handler } = HttpRouter.toWebHandler(routes, { disableLogger })
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  return (path: string, method = "GET"): Effect.Effect<Answer> =>
    Effect.promise(async () => {
      const answer = await handler(new Request(`http://orders.test${path}`, { method }), context)
      const text = await answer.text()
      return { status: answer.status, body: text === "" ? undefined : JSON.parse(text), headers: answer.headers }
    })
})
const asking = (options: HealthRoutes.Options) => askingOf(HealthRoutes.layer(options))
const reasonsIn = ({ body }: Answer) => Schema.decodeUnknownSync(HealthRoutes.Readiness)(body).reasons

describe("HealthRoutes", () => {
  it.effect("are live and ready while all sinks are open, by default under /live and /ready", () =>
    Effect.gen(function* () {
      const ask = yield* asking({ roots: [yield* EventQueue.make(taking("receiver"))] })
      const live = yield* ask("/live")
      assert.deepStrictEqual([live.status, live.body], [200, { live: true }])
      assert.strictEqual(live.headers.get("cache-control"), "no-store")
      const ready = yield* ask("/ready")
      assert.deepStrictEqual([ready.status, ready.body], [200, { ready: true, reasons: [] }])
      assert.strictEqual(ready.headers.get("cache-control"), "no-store")
      assert.strictEqual((yield* ask("/ready", "HEAD")).status, 200)
      assert.strictEqual((yield* ask("/ready", "POST")).status, 404)
    })
  )

  it.effect("a closed sink anywhere in the graph is not ready, and the process is live all the same", () =>
    Effect.gen(function* () {
      const inner = yield* EventQueue.make(taking("receiver"), { name: "inner" })
      const root = yield* Broadcaster.make([inner], { name: "root" })
      const ask = yield* asking({ roots: [root] })
      assert.strictEqual((yield* ask("/ready")).status, 200)
      yield* inner.shutdown
      const ready = yield* ask("/ready")
      assert.strictEqual(ready.status, 503)
      assert.deepStrictEqual(reasonsIn(ready), [
        { kind: "EventQueue", name: "inner", reason: "closed", detail: "it is closed" }
      ])
      assert.strictEqual((yield* ask("/live")).status, 200)
    })
  )

  it.effect("a sink that is closing is not ready", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(hanging("receiver"), { name: "queue", drainTimeout: "1 minute" })
      const ask = yield* asking({ roots: [queue] })
      yield* queue.write("a")
      yield* settle
      yield* Effect.forkChild(queue.shutdown)
      yield* settle
      const reasons = reasonsIn(yield* ask("/ready"))
      assert.deepInclude(reasons[0], { name: "queue", reason: "closing" })
      yield* TestClock.adjust("1 minute")
    })
  )

  it.effect("answers have neither an event nor an error", () =>
    Effect.gen(function* () {
      const queue = yield* EventSink.make((event: string) => Effect.die(new Error(`no ${event}`))).pipe(
        EventQueue.make()
      )
      yield* queue.write("secret")
      yield* queue.flush
      assert.isDefined(queue.node.health(0).lastError)
      yield* queue.shutdown
      const ask = yield* asking({ roots: [queue] })
      const ready = yield* ask("/ready")
      assert.strictEqual(ready.status, 503)
      assert.notInclude(JSON.stringify(ready.body), "secret")
    })
  )

  it.effect("an open breaker counts only where it is asked for", () =>
    Effect.gen(function* () {
      const retrying = yield* EventSink.make((_: string) => Effect.fail("down")).pipe(
        RetryingSink.make(Breaker.make({ threshold: 1, backoff: "1 hour" }), { name: "retrier", drainTimeout: 0 }),
        EventQueue.make({ drainTimeout: 0 })
      )
      const ask = yield* asking({ roots: [retrying] })
      const strict = yield* asking({ roots: [retrying], openBreaker: "not-ready" })
      assert.strictEqual((yield* strict("/ready")).status, 200)
      yield* retrying.write("a")
      yield* settle
      assert.strictEqual((yield* ask("/ready")).status, 200)
      assert.deepStrictEqual(reasonsIn(yield* strict("/ready")), [
        { kind: "RetryingSink", name: "retrier", reason: "breaker", detail: "its breaker is open" }
      ])
    })
  )

  it.effect("limits of what is pending and for how long: at the limit it is ready, beyond it is not", () =>
    Effect.gen(function* () {
      const queue = yield* holding("queue")
      const ask = yield* asking({ roots: [queue], maxPending: 2, maxOldestAge: "1 minute" })
      yield* EventSink.writeAll(queue, ["a", "b"])
      yield* TestClock.adjust("1 minute")
      assert.strictEqual((yield* ask("/ready")).status, 200)
      yield* queue.write("c")
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        reasonsIn(yield* ask("/ready")).map(({ detail, reason }) => [reason, detail]),
        [
          ["pending", "3 events are pending, and may be 2"],
          ["oldestAge", "an event has waited for 1m 1s, and may for 1m"]
        ]
      )
    })
  )

  it.effect("notReady judges each node by its health, in the words of the application", () =>
    Effect.gen(function* () {
      const queue = yield* holding("queue")
      const ask = yield* asking({
        roots: [queue],
        notReady: ({ inFlight, kind }) => (kind === "EventQueue" && inFlight > 0 ? "it is busy" : undefined)
      })
      assert.strictEqual((yield* ask("/ready")).status, 200)
      yield* queue.write("a")
      yield* settle
      assert.deepStrictEqual(reasonsIn(yield* ask("/ready")), [
        { kind: "EventQueue", name: "queue", reason: "custom", detail: "it is busy" }
      ])
    })
  )

  it.effect("a node that two roots reach is judged once", () =>
    Effect.gen(function* () {
      const shared = yield* EventQueue.make(taking("receiver"), { name: "shared" })
      const roots = [yield* Broadcaster.make([shared]), yield* Broadcaster.make([shared])] as const
      yield* shared.shutdown
      const ask = yield* asking({ roots })
      assert.deepStrictEqual(
        reasonsIn(yield* ask("/ready")).map(({ name }) => name),
        ["shared"]
      )
    })
  )

  it.effect("leave no line in the log of the server, where other routes do", () => {
    const lines: Array<unknown> = []
    const logger = Logger.layer([Logger.make(({ message }) => void lines.push(message))])
    return Effect.gen(function* () {
      const routes = HealthRoutes.layer({ roots: [yield* taking("sink")] })
      const other = HttpRouter.add("GET", "/other", HttpServerResponse.jsonUnsafe({}))
      const ask = yield* askingOf(Layer.merge(routes, other), false)
      yield* ask("/live")
      yield* ask("/ready")
      assert.strictEqual(lines.length, 0)
      yield* ask("/other")
      assert.strictEqual(lines.length, 1)
    }).pipe(Effect.provide(logger))
  })

  class Orders extends Context.Service<Orders, EventQueue.EventQueue<string>>()("test/Orders") {}
  it.effect("roots are sinks or tags, and never a pipeline", () =>
    Effect.gen(function* () {
      const other = yield* holding("other")
      const routes = HealthRoutes.layer({ roots: [Orders, other], maxPending: 0 })
      const ask = yield* askingOf(Layer.provide(routes, Layer.succeed(Orders, yield* Orders)))
      yield* Orders.use((orders) => orders.write("a"))
      yield* other.write("b")
      yield* settle
      assert.deepStrictEqual(
        reasonsIn(yield* ask("/ready")).map(({ name }) => name),
        ["test/Orders", "other"]
      )
      // @ts-expect-error a pipeline would be made anew, and is not what runs
      HealthRoutes.layer({ roots: [holding("pipeline")] })
    }).pipe(Effect.provide(EventQueue.layer(Orders, hanging("receiver"), { drainTimeout: 0 })))
  )

  class Mails extends Context.Service<Mails, EventSink.EventSink<number>>()("test/Mails") {}
  it.effect("roots are tags of several kinds, and the layer needs each of them", () =>
    Effect.gen(function* () {
      const routes = HealthRoutes.layer({ roots: [Orders, Mails] })
      const needs: [Orders | Mails] extends [Layer.Services<typeof routes>] ? true : false = true
      assert.isTrue(needs)
      const mails = yield* EventSink.make((_: number) => Effect.void)
      const tags = Layer.merge(Layer.succeed(Orders, yield* Orders), Layer.succeed(Mails, mails))
      assert.strictEqual((yield* (yield* askingOf(Layer.provide(routes, tags)))("/ready")).status, 200)
    }).pipe(Effect.provide(EventQueue.layer(Orders, hanging("receiver"), { drainTimeout: 0 })))
  )

  it.effect("paths are the application's, and either can be left out", () =>
    Effect.gen(function* () {
      const roots = [yield* taking("sink")] as const
      const ready = yield* asking({ roots, live: false, ready: "/health/ready" })
      assert.deepStrictEqual(
        [(yield* ready("/live")).status, (yield* ready("/ready")).status, (yield* ready("/health/ready")).status],
        [404, 404, 200]
      )
      const live = yield* asking({ roots, live: "/health/live", ready: false })
      assert.deepStrictEqual([(yield* live("/health/live")).status, (yield* live("/ready")).status], [200, 404])
    })
  )

  it.effect("a subscription that no process serves does not make a process unready that only writes", () =>
    Effect.gen(function* () {
      const options = { name: "orders", schema: Schema.String }
      yield* Effect.scoped(
        Effect.gen(function* () {
          const broadcaster = yield* DurableBroadcaster.make(options)
          yield* DurableBroadcaster.subscribe(broadcaster, taking("billing"), { name: "billing" })
        })
      )
      const broadcaster = yield* DurableBroadcaster.make(options)
      yield* broadcaster.write("a")
      yield* TestClock.adjust("10 minutes")
      yield* settle
      const states = broadcaster.node.downstream().map(({ node }) => [node.name, node.state])
      assert.deepStrictEqual(states, [["billing", "closed"]])
      const ask = yield* asking({ roots: [broadcaster] })
      assert.strictEqual((yield* ask("/ready")).status, 200)
      assert.deepInclude(broadcaster.node.downstream()[0]!.node.health(0).lastError, { count: 1 })
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("reasons are there without a route, and a limit that is no count is a defect", () =>
    Effect.gen(function* () {
      const queue = yield* holding("queue")
      assert.deepStrictEqual(yield* HealthRoutes.reasons([queue]), [])
      yield* queue.shutdown
      assert.strictEqual((yield* HealthRoutes.reasons([queue])).length, 1)
      assert.throws(() => HealthRoutes.reasons([queue], { maxPending: 0.5 }), "maxPending must be a whole number")
    })
  )
})
