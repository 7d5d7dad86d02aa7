import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Metric, Scope } from "effect"
import {
  Breaker,
  Broadcaster,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  RetryingSink,
  RetryStrategy,
  SinkGraph,
  SinkMetrics
} from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { TestClock } from "effect/testing"
import { figure, find, show, sinks, snapshot, withRegistry } from "./support/metrics.ts"
import { open, quiet, settle } from "./support/virtual.ts"

const nothing = () => Effect.void
const onDropped = nothing

describe("figures", () => {
  it.effect("are read when the metrics are: what waits, how long, and what is with the receiver", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ name: "receiver" })
      const queue = yield* EventQueue.make(receiver, { name: "numbers" })
      yield* show(queue)
      assert.strictEqual(yield* figure("pending", "numbers"), 0)
      assert.strictEqual(yield* figure("oldest_pending_age_seconds", "numbers"), 0)
      yield* EventSink.writeAll(queue, [1, 2])
      yield* TestClock.adjust("3 seconds")
      const all = yield* snapshot
      assert.strictEqual(find(all, "pending", { sink: "numbers", kind: "EventQueue" }), 2)
      assert.strictEqual(find(all, "oldest_pending_age_seconds", { sink: "numbers" }), 3)
      assert.strictEqual(find(all, "in_flight", { sink: "numbers" }), 1)
      assert.strictEqual(find(all, "in_flight", { sink: "receiver", kind: "EventSink" }), 1)
      assert.strictEqual(find(all, "accepted_total", { sink: "numbers" }), 2)
      assert.strictEqual(find(all, "delivered_total", { sink: "numbers" }), 0)
      // A leaf holds nothing that could be old, and has no breaker.
      assert.isUndefined(find(all, "oldest_pending_age_seconds", { sink: "receiver" }))
      assert.isUndefined(find(all, "breaker_state", { sink: "receiver" }))
      yield* receiver.release
      yield* settle
      assert.strictEqual(yield* figure("pending", "numbers"), 0)
      assert.strictEqual(yield* figure("delivered_total", "numbers"), 2)
    }).pipe(withRegistry)
  )

  it.effect("of dropped events are by the reason that onDropped gets", () =>
    Effect.gen(function* () {
      const failing = yield* EventSink.make(
        (n: number) => (n === 1 ? Effect.fail("no") : n === 2 ? Effect.die("bug") : Effect.never),
        { name: "receiver", drainTimeout: 0 }
      )
      const reasons: Array<string> = []
      const queue = yield* EventQueue.make(failing, {
        name: "numbers",
        capacity: 3,
        overflow: "drop-newest",
        drainTimeout: 0,
        onDropped: ({ reason }) => Effect.sync(() => void reasons.push(reason._tag))
      })
      yield* show(queue)
      const by = (reason: string) => figure("dropped_total", "numbers", { reason })
      assert.deepStrictEqual([yield* by("Failed"), yield* by("Died"), yield* by("Overflow")], [0, 0, 0])
      assert.isUndefined(yield* by("Lagged"))
      for (const n of [1, 2, 3, 4, 5]) yield* queue.write(n)
      yield* settle
      assert.deepStrictEqual(reasons.toSorted(), ["Died", "Failed", "Overflow", "Overflow"])
      assert.deepStrictEqual([yield* by("Failed"), yield* by("Died"), yield* by("Overflow")], [1, 1, 2])
      const [health] = yield* SinkGraph.health(queue)
      assert.deepStrictEqual(health?.droppedBy, { Failed: 1, Died: 1, Overflow: 2 })
    }).pipe(withRegistry, quiet)
  )

  it.effect("of a retrier are its attempts and the state of its breaker", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.failing<number>({ name: "receiver", times: 3 })
      const retrier = yield* RetryingSink.make(receiver, Breaker.make({ threshold: 2, backoff: "1 second" }), {
        name: "retrier"
      })
      const queue = yield* EventQueue.make(retrier, { name: "queue" })
      yield* show(queue)
      const state = figure("breaker_state", "retrier")
      assert.strictEqual(yield* state, 0)
      yield* queue.write(1)
      yield* settle
      assert.strictEqual(yield* state, 2)
      assert.strictEqual(yield* figure("attempts_total", "retrier"), 2)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.strictEqual(yield* figure("attempts_total", "retrier"), 3)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.strictEqual(yield* state, 0)
      yield* EventSink.writeAll(queue, [2, 3])
      yield* settle
      assert.strictEqual(yield* figure("attempts_total", "retrier"), 6)
      assert.strictEqual(receiver.attempts, 6)
      assert.strictEqual((yield* SinkGraph.health(queue))[1]?.attempts, 6)
    }).pipe(withRegistry, quiet)
  )

  it.effect.each([["sync"], ["make"], ["batches"]] as const)("of attempts count one for each write: %s", ([how]) =>
    Effect.gen(function* () {
      let writes = 0
      const count = () => void writes++
      const receiver =
        how === "sync"
          ? EventSink.sync((_: number) => count())
          : how === "make"
            ? EventSink.make((_: number) => Effect.as(Effect.sync(count), undefined))
            : EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.sync(count))
      // The type has no failure, which the retrier asks for.
      const fallible = receiver as Effect.Effect<EventSink.EventSink<number, string>, never, Scope.Scope>
      const retrier = yield* RetryingSink.make(fallible, RetryStrategy.identity, { name: "retrier" })
      yield* show(retrier)
      yield* EventSink.writeAll(retrier, [1, 2, 3])
      yield* retrier.write(4)
      assert.strictEqual(yield* figure("attempts_total", "retrier"), writes)
    }).pipe(withRegistry)
  )

  it.effect("of a user's own sink are those that its options give", () =>
    Effect.gen(function* () {
      let attempts = 0
      const own = yield* EventSink.make((_: number) => Effect.sync(() => void (attempts += 2)), {
        name: "own",
        kind: "OwnSink",
        attempts: () => attempts
      })
      yield* show(own)
      yield* own.write(1)
      assert.strictEqual(yield* figure("attempts_total", "own", { kind: "OwnSink" }), 2)
      assert.strictEqual(yield* figure("delivered_total", "own"), 1)
    }).pipe(withRegistry)
  )

  it.effect("add up as the account of each sink does, at rest and before", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.flaky<number>({ name: "receiver", rate: 0.3, seed: "metrics" })
      const bad = yield* TestSink.dying<number>({ name: "bad", when: (n) => n % 3 === 0 })
      const channel = yield* EventChannel.make<number>({ name: "channel", capacity: 1000, drainTimeout: 0 })
      const queue = yield* receiver.pipe(
        RetryingSink.make(RetryStrategy.identity, { name: "retrier" }),
        EventFilter.make((n: number) => n % 2 === 0, { name: "even" }),
        EventQueue.make({ name: "evens" })
      )
      const root = yield* Broadcaster.make<number>({ name: "root" })
      yield* show(root)
      yield* Broadcaster.add(root, queue)
      yield* Broadcaster.add(root, bad, { onDropped })
      yield* Broadcaster.add(root, channel, { filter: (n) => n > 10 })
      const agrees = Effect.gen(function* () {
        const all = yield* snapshot
        for (const { counts, inFlight, kind, name, pending } of yield* SinkGraph.health(root)) {
          const read = (figure: string, more = {}) => find(all, figure, { sink: name, kind, ...more }) ?? 0
          const dropped = ["Failed", "Died", "Overflow", "Lagged"].reduce(
            (sum, reason) => sum + read("dropped_total", { reason }),
            0
          )
          const shown = {
            accepted: read("accepted_total"),
            delivered: read("delivered_total"),
            filtered: read("filtered_total"),
            deadLettered: read("dead_lettered_total"),
            undelivered: 0,
            remaining: 0,
            dropped
          }
          assert.deepStrictEqual(shown, { ...counts }, `${kind} ${name}`)
          assert.strictEqual(read("pending"), pending)
          assert.strictEqual(read("in_flight"), inFlight)
          const { accepted, deadLettered, delivered, filtered } = shown
          assert.strictEqual(accepted, delivered + filtered + deadLettered + dropped + pending)
        }
      })
      for (let n = 0; n < 60; n++) {
        yield* root.write(n)
        yield* agrees
        yield* Effect.yieldNow
        yield* agrees
      }
      yield* settle
      yield* agrees
      assert.strictEqual(yield* figure("filtered_total", "even"), 30)
      assert.strictEqual(yield* figure("dropped_total", "bad", { reason: "Died" }), 20)
    }).pipe(withRegistry, quiet)
  )
})

describe("series", () => {
  it.effect("end with the scope of their sink", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>({ name: "receiver" })
      const { close, part: queue } = yield* open(
        receiver.pipe(
          EventFilter.make((n: number) => n > 0, { name: "positive" }),
          EventQueue.make({ name: "numbers" })
        )
      )
      yield* show(queue)
      assert.deepStrictEqual(yield* sinks, ["EventFilter positive", "EventQueue numbers", "EventSink receiver"])
      yield* close
      assert.deepStrictEqual(yield* sinks, ["EventFilter positive", "EventSink receiver"])
    }).pipe(withRegistry)
  )

  it.effect("of what is as open as a sink end with that sink", () =>
    Effect.gen(function* () {
      const { close, part: receiver } = yield* open(TestSink.recording<number>({ name: "receiver" }))
      const one = yield* EventFilter.make(receiver, (n) => n > 0, { name: "inner" })
      const two = yield* EventFilter.make(one, (n) => n > 1, { name: "outer" })
      const queue = yield* EventQueue.make(two, { name: "numbers" })
      yield* show(queue)
      assert.lengthOf(yield* sinks, 4)
      yield* close
      assert.deepStrictEqual(yield* sinks, ["EventQueue numbers"])
    }).pipe(withRegistry)
  )

  it.effect("end with the layer, and begin again with another", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(TestSink.recording<number>({ name: "receiver" }), { name: "numbers" })
      yield* queue.write(1)
      const { end } = yield* show(queue)
      assert.lengthOf(yield* sinks, 2)
      yield* end
      assert.lengthOf(yield* sinks, 0)
      yield* show(queue)
      yield* settle
      assert.strictEqual(yield* figure("delivered_total", "numbers"), 1)
    }).pipe(withRegistry)
  )

  it.effect("of a graph that changes are those of what is there now", () =>
    Effect.gen(function* () {
      const root = yield* Broadcaster.make<number>({ name: "root" })
      yield* show(root)
      assert.deepStrictEqual(yield* sinks, ["Broadcaster root"])
      const first = yield* TestSink.recording<number>({ name: "first" })
      const second = yield* EventQueue.make(TestSink.recording<number>({ name: "receiver" }), { name: "second" })
      yield* Broadcaster.add(root, first)
      yield* Broadcaster.add(root, second)
      assert.deepStrictEqual(yield* sinks, [
        "Broadcaster root",
        "EventQueue second",
        "EventSink first",
        "EventSink receiver",
        "Subscription first",
        "Subscription second"
      ])
      yield* root.write(1)
      yield* settle
      assert.strictEqual(yield* figure("delivered_total", "first", { kind: "Subscription" }), 1)
      // What is behind a removed sink is not part of the graph any more, though it is open.
      yield* Broadcaster.remove(root, second)
      assert.deepStrictEqual(yield* sinks, ["Broadcaster root", "EventSink first", "Subscription first"])
      yield* Broadcaster.add(root, second)
      assert.strictEqual(yield* figure("accepted_total", "second", { kind: "Subscription" }), 0)
      assert.strictEqual(yield* figure("accepted_total", "second", { kind: "EventQueue" }), 1)
    }).pipe(withRegistry)
  )

  it.effect("of a sink with two ways to it stay while there is one, and a cycle keeps none", () =>
    Effect.gen(function* () {
      const shared = yield* TestSink.recording<number>({ name: "shared" })
      const one = yield* EventQueue.make(shared, { name: "one" })
      const two = yield* EventQueue.make(shared, { name: "two" })
      const root = yield* Broadcaster.make<number>({ name: "root" })
      const inner = yield* Broadcaster.make<number>({ name: "inner" })
      yield* Broadcaster.add(inner, yield* EventFilter.make(inner, (n) => n < 0, { name: "back" }))
      for (const sink of [one, two, inner]) yield* Broadcaster.add(root, sink)
      yield* show(root)
      assert.lengthOf(yield* sinks, 10)
      yield* Broadcaster.remove(root, one)
      assert.include(yield* sinks, "EventSink shared")
      yield* Broadcaster.remove(root, two)
      assert.notInclude(yield* sinks, "EventSink shared")
      yield* Broadcaster.remove(root, inner)
      assert.deepStrictEqual(yield* sinks, ["Broadcaster root"])
    }).pipe(withRegistry)
  )

  it.effect("of an evicted sink end", () =>
    Effect.gen(function* () {
      const root = yield* Broadcaster.make<number>({ name: "root" })
      const slow = yield* TestSink.hanging<number>({ name: "slow" })
      yield* Broadcaster.add(root, slow, { maxLag: 2, onDropped, onEvicted: nothing })
      yield* show(root)
      assert.lengthOf(yield* sinks, 3)
      for (const n of [1, 2, 3, 4, 5]) yield* root.write(n)
      yield* settle
      assert.deepStrictEqual(yield* sinks, ["Broadcaster root"])
      yield* slow.release
    }).pipe(withRegistry, quiet)
  )

  it.effect("of two sinks of one kind and name are told apart, in one graph and in two", () =>
    Effect.gen(function* () {
      const pipeline = Effect.gen(function* () {
        return yield* EventQueue.make(yield* TestSink.recording<number>({ name: "receiver" }))
      })
      const [one, two, other] = [yield* pipeline, yield* pipeline, yield* open(pipeline)]
      const root = yield* Broadcaster.make<number>({ name: "root" })
      yield* Broadcaster.add(root, one)
      yield* Broadcaster.add(root, two)
      yield* show(root)
      yield* show(other.part)
      yield* EventSink.writeAll(one, [1])
      yield* EventSink.writeAll(two, [1, 2])
      yield* EventSink.writeAll(other.part, [1, 2, 3])
      const accepted = (sink: string) => figure("accepted_total", sink, { kind: "EventQueue" })
      assert.strictEqual(yield* accepted("EventQueue"), 1)
      assert.strictEqual(yield* accepted("EventQueue#2"), 2)
      assert.strictEqual(yield* accepted("EventQueue#3"), 3)
      // A label that is free is taken again: churn makes no new ones.
      yield* Broadcaster.remove(root, one)
      assert.isUndefined(yield* accepted("EventQueue"))
      yield* Broadcaster.add(root, one)
      assert.strictEqual(yield* accepted("EventQueue"), 1)
      yield* other.close
      assert.isUndefined(yield* accepted("EventQueue#3"))
      assert.strictEqual(yield* accepted("EventQueue#2"), 2)
    }).pipe(withRegistry)
  )

  it.effect("of a sink that two layers show are there once, until both have ended", () =>
    Effect.gen(function* () {
      const shared = yield* TestSink.recording<number>({ name: "shared" })
      const [one, two] = [
        yield* EventQueue.make(shared, { name: "one" }),
        yield* EventQueue.make(shared, { name: "two" })
      ]
      const [first, second] = [yield* show(one), yield* show(two)]
      assert.deepStrictEqual(yield* sinks, ["EventQueue one", "EventQueue two", "EventSink shared"])
      yield* first.end
      assert.deepStrictEqual(yield* sinks, ["EventQueue two", "EventSink shared"])
      yield* second.end
      assert.lengthOf(yield* sinks, 0)
    }).pipe(withRegistry)
  )

  it.effect("of a tag are those of its sink, and end before it closes", () =>
    Effect.gen(function* () {
      class Orders extends Context.Service<Orders, EventQueue.EventQueue<string>>()("test/Orders") {}
      const Live = SinkMetrics.layer(Orders).pipe(
        Layer.provideMerge(EventQueue.layer(Orders, TestSink.recording<string>({ name: "receiver" })))
      )
      const scope = yield* Scope.make()
      yield* Scope.provide(Layer.build(Live), scope)
      assert.deepStrictEqual(yield* sinks, ["EventQueue test/Orders", "EventSink receiver"])
      yield* Scope.close(scope, Exit.void)
      assert.lengthOf(yield* sinks, 0)
    }).pipe(withRegistry)
  )

  it.effect("of a sink that has closed before the layer are not there", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(TestSink.recording<number>({ name: "receiver" }))
      const queue = yield* EventQueue.make(part, { name: "numbers" })
      yield* close
      yield* show(queue)
      assert.deepStrictEqual(yield* sinks, ["EventQueue numbers"])
    }).pipe(withRegistry)
  )

  it.effect("a series that begins within a snapshot is in the next one alone", () =>
    Effect.gen(function* () {
      // The trap of Effect's registry that makes nodes report their changes.
      const context = yield* Effect.context<never>()
      const register = (name: string, get: () => number) =>
        Metric.registerUnsafe(Metric.gauge(name), context, {
          get: () => ({ value: get() }),
          update: nothing,
          modify: nothing
        })
      register("first", () => {
        register("second", () => 2)
        return 1
      })
      const names = Effect.map(snapshot, (all) => all.map(({ name }) => name))
      assert.deepStrictEqual(yield* names, ["first"])
      assert.deepStrictEqual(yield* names, ["first", "second"])
    }).pipe(withRegistry)
  )
})
