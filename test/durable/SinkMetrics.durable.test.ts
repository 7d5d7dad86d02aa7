import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule, Schema, type Scope } from "effect"
import { EventSink, SinkGraph } from "effect-events"
import { DurableBroadcaster, DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import * as TestSink from "effect-events/testing/TestSink"
import { TestClock } from "effect/testing"
import { figure, show, sinks, withRegistry } from "../support/metrics.ts"
import { open, pass, quiet, settle } from "../support/virtual.ts"
import { error, layerAround, operationsOver, queueOf } from "./support/store.ts"

const kind = "DurableQueue"
/** A little more than the store is asked for again. */
const refreshed = pass(16)
const read = (name: string) => figure(name, "numbers", { kind })
const options = { name: "numbers", schema: Schema.Number, redelivery: Redelivery.none, drainTimeout: 0 } as const

const queueOver = <E>(
  sink: EventSink.EventSink<number, E> | Effect.Effect<EventSink.EventSink<number, E>, never, Scope.Scope>
) => DurableQueue.make<number, "suspend">(options)(sink)

describe("a durable queue", () => {
  it.effect("shows what is stored, its dead letters now and in all, its lease and its state", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const receiver = yield* TestSink.hanging<number>({ name: "receiver" })
      const bad = yield* EventSink.make((n: number) => (n < 0 ? Effect.die("bug") : receiver.write(n)), { name: "bad" })
      const queue = yield* queueOver(bad).pipe(Effect.provide(MemoryStore.layerOver(memory)))
      yield* show(queue)
      yield* settle
      assert.deepStrictEqual(
        [yield* read("dead_letters"), yield* read("dead_lettered_total"), yield* read("delivery_state")],
        [0, 0, 0]
      )
      yield* EventSink.writeAll(queue, [-1, -2, 1])
      yield* settle
      assert.strictEqual(yield* read("lease_held"), 1)
      assert.strictEqual(yield* read("pending"), 1)
      // At once, though the store is asked every 15 seconds.
      assert.strictEqual(yield* read("dead_letters"), 2)
      assert.strictEqual(yield* read("dead_lettered_total"), 2)
      yield* TestClock.adjust("4 seconds")
      assert.strictEqual(yield* read("oldest_pending_age_seconds"), 4)
      yield* queue.deadLetters.purge("all")
      yield* refreshed
      assert.strictEqual(yield* read("dead_letters"), 0)
      assert.strictEqual(yield* read("dead_lettered_total"), 2)
      const [health] = yield* SinkGraph.health(queue)
      assert.deepStrictEqual(health?.stored, { isLeased: true, state: "active", deadLetters: 0 })
      yield* receiver.release
      yield* settle
      assert.strictEqual(yield* read("delivered_total"), 1)
      assert.strictEqual(yield* read("accepted_total"), 3)
    }).pipe(withRegistry, quiet)
  )

  it.effect.each([
    ["in order", {}],
    ["by key", { concurrency: 4, partitionBy: (n: number) => n % 2 }],
    ["in no order", { concurrency: 4 }]
  ] as const)("shows how long the oldest has waited while its receiver is down: %s", ([, several]) =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = MemoryStore.layerOver(memory)
      let isDown = true
      const receiver = EventSink.make((_: number) => Effect.suspend(() => (isDown ? Effect.fail("down") : Effect.void)))
      const make = DurableQueue.make(receiver, {
        ...options,
        redelivery: Redelivery.make(Schedule.spaced("10 minutes"), { jitter: 0 }),
        ...several
      })
      const age = (queue: EventSink.EventSink<number, unknown>) =>
        Effect.map(SinkGraph.health(queue), ([health]) => (health?.oldestAge ?? 0) / 1000)
      const first = yield* open(Effect.provide(make, store))
      yield* EventSink.writeAll(first.part, [1, 2, 3])
      yield* settle
      yield* TestClock.adjust("7 minutes")
      assert.approximately(yield* age(first.part), 420, 1)
      yield* TestClock.adjust("7 minutes")
      assert.approximately(yield* age(first.part), 840, 1)
      yield* first.close
      // The next process knows of no event of it, and asks the store.
      const { part: queue } = yield* open(Effect.provide(make, store))
      yield* show(queue)
      yield* refreshed
      assert.approximately((yield* read("oldest_pending_age_seconds")) ?? 0, 840 + 16, 1)
      isDown = false
      yield* TestClock.adjust("30 minutes")
      yield* settle
      assert.deepStrictEqual([yield* read("pending"), yield* read("oldest_pending_age_seconds")], [0, 0])
      isDown = true
      yield* queue.write(5)
      yield* settle
      yield* TestClock.adjust("1 minute")
      assert.approximately((yield* read("oldest_pending_age_seconds")) ?? 0, 60, 1)
    }).pipe(withRegistry, quiet)
  )

  it.effect("counts its attempts, those that fail and are repeated by its plan too", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      let attempts = 0
      const receiver = EventSink.make((n: number) =>
        Effect.suspend(() => (attempts++ < 2 || n < 0 ? Effect.fail("unavailable") : Effect.void))
      )
      const redelivery = Redelivery.make(Schedule.spaced("1 second"), { maxAttempts: 4, jitter: 0 })
      const queue = yield* DurableQueue.make({ ...options, redelivery })(receiver).pipe(
        Effect.provide(MemoryStore.layerOver(memory))
      )
      yield* show(queue)
      yield* settle
      assert.strictEqual(yield* read("attempts_total"), 0)
      yield* queue.write(1)
      yield* settle
      assert.strictEqual(yield* read("attempts_total"), 1)
      yield* pass(3)
      assert.deepStrictEqual([attempts, yield* read("attempts_total")], [3, 3])
      yield* queue.write(-1)
      yield* pass(6)
      assert.deepStrictEqual([attempts, yield* read("attempts_total")], [7, 7])
      assert.strictEqual(yield* read("dead_letters"), 1)
      assert.strictEqual((yield* SinkGraph.health(queue))[0]?.attempts, 7)
    }).pipe(withRegistry, quiet)
  )

  it.effect("shows that it is paused, by this process at once, and by another within 15 seconds", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const queue = yield* queueOver(TestSink.recording<number>()).pipe(Effect.provide(MemoryStore.layerOver(memory)))
      yield* show(queue)
      yield* queue.write(1)
      yield* settle
      assert.strictEqual(yield* read("delivery_state"), 0)
      yield* queue.pause("maintenance")
      assert.strictEqual(yield* read("delivery_state"), 1)
      yield* queue.write(2)
      yield* pass(2)
      assert.strictEqual(yield* read("lease_held"), 0)
      assert.strictEqual(yield* read("pending"), 1)
      yield* refreshed
      assert.strictEqual(yield* read("delivery_state"), 1)
      yield* queue.resume
      yield* pass(2)
      assert.deepStrictEqual([yield* read("delivery_state"), yield* read("pending")], [0, 0])
      const other = yield* operationsOver(memory)
      yield* other.setState({ exchange: "numbers" }, "disabled", "gone")
      yield* refreshed
      assert.strictEqual(yield* read("delivery_state"), 2)
    }).pipe(withRegistry, quiet)
  )

  it.effect("shows that another process has the lease", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const make = queueOver(TestSink.hanging<number>({ name: "receiver" })).pipe(
        Effect.provide(MemoryStore.layerOver(memory))
      )
      const queue = yield* make
      yield* show(queue)
      yield* queue.write(1)
      yield* settle
      assert.strictEqual(yield* read("lease_held"), 1)
      queueOf(memory, "numbers").steal()
      yield* pass(61)
      assert.strictEqual(yield* read("lease_held"), 0)
    }).pipe(withRegistry, quiet)
  )

  it.effect("asks its store for metrics under the layer alone, and keeps what it has seen when the store fails", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      let asked = 0
      let isDown = false
      const store = layerAround(memory, (name, run) => {
        if (name !== "overview") return run
        asked++
        return isDown ? Effect.fail(error("overview")) : run
      })
      const queue = yield* queueOver(TestSink.dying<number>()).pipe(Effect.provide(store))
      yield* queue.write(1)
      yield* pass(40)
      assert.strictEqual(asked, 0)
      const { end } = yield* show(queue, { refreshInterval: "10 seconds" })
      yield* pass(35)
      assert.strictEqual(asked, 4)
      assert.strictEqual(yield* read("dead_letters"), 1)
      isDown = true
      yield* pass(10)
      assert.strictEqual(yield* read("dead_letters"), 1)
      yield* end
      const before = asked
      yield* pass(40)
      assert.strictEqual(asked, before)
    }).pipe(withRegistry, quiet)
  )

  it.effect("has no series for what it does not know", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      let isDown = true
      const store = layerAround(memory, (name, run) =>
        name === "overview" && isDown ? Effect.fail(error("overview")) : run
      )
      const queue = yield* queueOver(TestSink.recording<number>()).pipe(Effect.provide(store))
      yield* show(queue)
      yield* settle
      assert.isUndefined(yield* read("dead_letters"))
      assert.isUndefined(yield* read("delivery_state"))
      isDown = false
      yield* refreshed
      assert.deepStrictEqual([yield* read("dead_letters"), yield* read("delivery_state")], [0, 0])
    }).pipe(withRegistry, quiet)
  )

  it.effect("has counters that never fall, as when what is stored is purged", () =>
    Effect.gen(function* () {
      const queue = yield* queueOver(TestSink.recording<number>())
      yield* show(queue)
      yield* queue.pause()
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* pass(6)
      assert.strictEqual(yield* read("accepted_total"), 3)
      assert.strictEqual(yield* queue.purge, 3)
      yield* pass(40)
      const [health] = yield* SinkGraph.health(queue)
      assert.strictEqual(health?.counts.accepted, 0)
      assert.deepStrictEqual([yield* read("accepted_total"), yield* read("pending")], [3, 0])
    }).pipe(withRegistry, quiet, Effect.provide(MemoryStore.layer))
  )

  it.effect("has no series once it has closed", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(queueOver(yield* TestSink.recording<number>({ name: "receiver" })))
      yield* show(part)
      assert.deepStrictEqual(yield* sinks, ["DurableQueue numbers", "EventSink receiver"])
      yield* close
      assert.deepStrictEqual(yield* sinks, ["EventSink receiver"])
    }).pipe(withRegistry, quiet, Effect.provide(MemoryStore.layer))
  )
})

describe("a durable broadcaster", () => {
  it.effect("has series for its subscriptions from when they are defined until they close", () =>
    Effect.gen(function* () {
      const orders = yield* DurableBroadcaster.make({ name: "orders", schema: Schema.Number })
      yield* show(orders)
      assert.deepStrictEqual(yield* sinks, ["DurableBroadcaster orders"])
      const receiver = yield* TestSink.recording<number>({ name: "receiver" })
      const bad = yield* TestSink.dying<number>({ name: "bad" })
      const plan = { redelivery: Redelivery.none }
      const audit = yield* open(DurableBroadcaster.subscribe(orders, receiver, { name: "audit", ...plan }))
      yield* DurableBroadcaster.subscribe(orders, bad, { name: "billing", ...plan })
      assert.deepStrictEqual(yield* sinks, [
        "DurableBroadcaster orders",
        "EventSink bad",
        "EventSink receiver",
        "Subscription audit",
        "Subscription billing"
      ])
      yield* EventSink.writeAll(orders, [1, 2])
      yield* orders.flush
      yield* settle
      const of = (name: string, sink: string) => figure(name, sink, { kind: "Subscription" })
      assert.strictEqual(yield* of("delivered_total", "audit"), 2)
      assert.strictEqual(yield* of("dead_letters", "billing"), 2)
      assert.strictEqual(yield* figure("accepted_total", "orders"), 2)
      yield* DurableBroadcaster.pause(orders, "billing")
      assert.deepStrictEqual([yield* of("delivery_state", "audit"), yield* of("delivery_state", "billing")], [0, 1])
      yield* audit.close
      assert.deepStrictEqual(yield* sinks, ["DurableBroadcaster orders", "EventSink bad", "Subscription billing"])
    }).pipe(withRegistry, quiet, Effect.provide(MemoryStore.layer))
  )

  it.effect("shows what waits for a subscription that no process serves, and counts nothing for it", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const other = yield* operationsOver(memory)
      yield* other.define("orders", [{ name: "audit", topics: ["*"] }])
      const orders = yield* DurableBroadcaster.make({ name: "orders", schema: Schema.Number }).pipe(
        Effect.provide(MemoryStore.layerOver(memory))
      )
      yield* show(orders)
      yield* orders.write(1)
      yield* pass(61)
      const of = (name: string) => figure(name, "audit", { kind: "Subscription" })
      assert.strictEqual(yield* of("pending"), 1)
      assert.isUndefined(yield* of("accepted_total"))
      yield* orders.write(2)
      yield* pass(31)
      assert.strictEqual(yield* of("pending"), 2)
    }).pipe(withRegistry, quiet)
  )
})
