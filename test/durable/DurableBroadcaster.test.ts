import { assert, describe, it } from "@effect/vitest"
import { Context, Data, Effect, Exit, Fiber, Layer, Schema } from "effect"
import { EventQueue, EventSink, ExponentialBackoff, RetryingSink, SinkGraph } from "effect-events"
import { DurableBroadcaster, DurableQueue, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle, withLogs } from "../support/virtual.ts"
import { identity, type Orders, started } from "./support/broadcaster.ts"
import { Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** How a flush fails that does not end by itself. */
const failureOf = <E>(flush: Effect.Effect<void, E>) =>
  Effect.gen(function* () {
    const fiber = yield* Effect.forkChild(Effect.flip(flush))
    yield* TestClock.adjust("1 minute")
    return yield* Fiber.join(fiber)
  })

const pendingOf = (memory: MemoryStore.Memory) =>
  Object.fromEntries(Array.from(memory.entries.values(), ({ pending, subscription }) => [subscription.name, pending]))

describe("DurableBroadcaster", () => {
  it.effect(
    "stores an event for every subscription that matches, in one commit, and delivers it to each in order",
    () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const { orders, spy, subscribe } = yield* started(memory)
        const [all, even, one] = [
          yield* TestSink.recording<number>(),
          yield* TestSink.recording<number>(),
          yield* TestSink.recording<number>({ batchSize: 10 })
        ]
        yield* subscribe(all, { name: "all" })
        yield* subscribe(even, { name: "even", topics: ["order/even"] })
        yield* subscribe(one, { name: "one", topics: ["none", "order/*"] })
        spy.calls.length = 0
        yield* EventSink.writeAll(orders, [1, 2, 3, -1, 4])
        assert.strictEqual(spy.count("publish"), 1)
        yield* orders.flush
        assert.deepStrictEqual(
          [all.received, even.received, one.received],
          [
            [1, 2, 3, -1, 4],
            [2, 4],
            [1, 2, 3, 4]
          ]
        )
        assert.deepStrictEqual(pendingOf(memory), { all: 0, even: 0, one: 0 })
      })
  )

  it.effect("a write that no subscription matches succeeds, and stores nothing", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      yield* orders.write(1)
      const receiver = yield* TestSink.recording<number>()
      yield* subscribe(receiver, { name: "later" })
      yield* orders.write(2)
      yield* orders.flush
      assert.deepStrictEqual(receiver.received, [2])
    })
  )

  it.effect("a subscription goes on where it was in another process, with what was written meanwhile", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const first = yield* started(memory)
      const before = yield* TestSink.hanging<number>({ from: 2, drainTimeout: 0 })
      yield* first.subscribe(before, { name: "audit", drainTimeout: 0 })
      yield* EventSink.writeAll(first.orders, [1, 2, 3])
      yield* settle
      yield* first.close
      const writing = yield* started(memory)
      yield* writing.orders.write(4)
      yield* writing.close
      const second = yield* started(memory)
      const receiver = yield* TestSink.recording<number>()
      yield* second.subscribe(receiver, { name: "audit" })
      yield* second.orders.flush
      assert.deepStrictEqual([before.received, receiver.received], [[1], [2, 3, 4]])
    })
  )

  it.effect("starts with what is written from now on, or with the oldest that is retained", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory, { retention: "1 hour" })
      yield* orders.write(1)
      yield* TestClock.adjust("50 minutes")
      yield* EventSink.writeAll(orders, [2, 3])
      yield* TestClock.adjust("20 minutes")
      const [now, oldest] = [yield* TestSink.recording<number>(), yield* TestSink.recording<number>()]
      yield* subscribe(now, { name: "now" })
      yield* subscribe(oldest, { name: "oldest", start: "oldest", topics: ["order/odd"] })
      yield* orders.write(5)
      yield* orders.flush
      assert.deepStrictEqual([now.received, oldest.received], [[5], [3, 5]])
    })
  )

  it.effect("one that hangs, one that fails and one that dies delay no other, and no writer", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { close, orders, subscribe } = yield* started(memory, { drainTimeout: "1 second" })
      const hanging = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const failing = yield* TestSink.failing<number>()
      const dying = yield* EventSink.make((_: number) => Effect.die(new Error("no")))
      const well = yield* TestSink.recording<number>()
      yield* subscribe(hanging, { name: "hanging" })
      yield* subscribe(failing, { name: "failing" })
      yield* subscribe(dying, { name: "dying" })
      const { flush } = yield* subscribe(well, { name: "well" })
      for (const n of range(1, 50)) yield* orders.write(n)
      yield* flush
      assert.deepStrictEqual(well.received, range(1, 50))
      yield* Effect.repeat(settle, { times: 20 })
      assert.deepStrictEqual(pendingOf(memory), { hanging: 50, failing: 0, dying: 0, well: 0 })
      const letters = yield* DurableBroadcaster.deadLetters(orders, "failing").list({ limit: 100 })
      assert.deepStrictEqual(letters.length, 50)
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.isDefined(closing.pollUnsafe())
    }).pipe(quiet)
  )

  it.effect("200 receivers that hang take one drainTimeout to close, and idle ones next to no statement", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { close, orders, spy, subscribe } = yield* started(memory, { drainTimeout: "5 seconds" })
      for (const n of range(1, 200)) {
        yield* subscribe(yield* TestSink.hanging<number>({ drainTimeout: 0 }), { name: `hanging-${n}` })
      }
      // The size of each is read once more after each change.
      yield* TestClock.adjust("6 seconds")
      spy.calls.length = 0
      yield* TestClock.adjust("10 seconds")
      assert.isAtMost(spy.calls.length, 10 * 20)
      yield* orders.write(1)
      yield* TestClock.adjust("5 seconds")
      spy.calls.length = 0
      yield* TestClock.adjust("10 seconds")
      assert.isAtMost(spy.calls.length, 10 * 20)
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("5 seconds")
      yield* Effect.repeat(settle, { times: 10 })
      assert.isDefined(closing.pollUnsafe())
      assert.isTrue(Object.values(pendingOf(memory)).every((n) => n === 1))
    }).pipe(quiet)
  )

  it.effect("a lease that a claim acquires for a subscription that closed meanwhile is released", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const spy = new Spy()
      const { orders, subscribe } = yield* started(memory, {}, spy)
      const other = yield* started(memory)
      const served = yield* TestSink.recording<number>()
      yield* subscribe(served, { name: "served" })
      const closing = yield* subscribe(yield* TestSink.recording<number>(), { name: "closing" })
      yield* settle
      const isLeased = () => Array.from(memory.entries.values(), ({ owner }) => owner !== undefined)
      spy.act = (name, run) => (name === "claim" ? Effect.tap(run, () => Effect.sleep("1 second")) : run)
      yield* orders.write(1)
      yield* settle
      assert.deepStrictEqual(isLeased(), [true, true])
      spy.heal()
      yield* closing.shutdown
      assert.deepStrictEqual(isLeased(), [true, true])
      const next = yield* TestSink.recording<number>()
      yield* other.subscribe(next, { name: "closing" })
      // The owner lives on: its lease would never run out.
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([served.received, next.received], [[1], [1]])
    })
  )

  it.effect("drops a subscription for good", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const { shutdown } = yield* subscribe(yield* TestSink.hanging<number>({ drainTimeout: 0 }), {
        name: "gone",
        drainTimeout: 0
      })
      yield* EventSink.writeAll(orders, [1, 2])
      yield* shutdown
      assert.strictEqual(yield* DurableBroadcaster.pending(orders, "gone"), 2)
      assert.strictEqual(yield* DurableBroadcaster.drop(orders, "gone"), 2)
      assert.strictEqual(yield* DurableBroadcaster.drop(orders, "gone"), 0)
      yield* orders.write(3)
      assert.deepStrictEqual([yield* orders.subscriptions, pendingOf(memory)], [[], {}])
      yield* orders.flush
    })
  )

  it.effect("pauses a subscription for all processes, and delivers in order what waited", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const other = yield* started(memory)
      const receiver = yield* TestSink.recording<number>()
      yield* subscribe(receiver, { name: "audit" })
      yield* orders.write(1)
      yield* orders.flush
      assert.isTrue(yield* DurableBroadcaster.pause(other.orders, "audit", "maintenance"))
      yield* EventSink.writeAll(orders, [2, 3])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(receiver.received, [1])
      const [found] = yield* orders.subscriptions
      assert.deepInclude(found, { name: "audit", state: "paused", reason: "maintenance", since: 0 })
      const failure = yield* failureOf(orders.flush)
      assert.deepInclude(failure, {
        exchange: "orders",
        subscription: "audit",
        reason: "Paused",
        detail: "maintenance"
      })
      assert.isTrue(yield* DurableBroadcaster.resume(other.orders, "audit"))
      yield* orders.flush
      assert.deepStrictEqual(receiver.received, [1, 2, 3])
      assert.isFalse(yield* DurableBroadcaster.pause(orders, "none"))
    }).pipe(quiet)
  )

  it.effect("a subscription that is paused while more is to be taken delivers the rest after it is resumed", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const receiver = yield* TestSink.make<number>((attempt, hold) => (attempt === 1 ? hold : Effect.void))
      yield* subscribe(receiver, { name: "audit", batchSize: 2 })
      yield* EventSink.writeAll(orders, range(1, 6))
      yield* settle
      yield* DurableBroadcaster.pause(orders, "audit")
      yield* receiver.release
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(receiver.received, [1, 2])
      assert.deepStrictEqual(pendingOf(memory), { audit: 4 })
      yield* DurableBroadcaster.resume(orders, "audit")
      yield* orders.flush
      assert.deepStrictEqual(receiver.received, range(1, 6))
    }).pipe(quiet)
  )

  it.effect("a process without a retention leaves that of others, and one of 0 ends it", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders } = yield* started(memory, { retention: "1 hour" })
      const other = yield* started(memory)
      yield* orders.write(1)
      const receiver = yield* TestSink.recording<number>()
      yield* other.subscribe(receiver, { name: "late", start: "oldest" })
      yield* other.orders.flush
      assert.deepStrictEqual(receiver.received, [1])
      yield* started(memory, { retention: 0 })
      yield* orders.write(2)
      const later = yield* TestSink.recording<number>()
      yield* other.subscribe(later, { name: "later", start: "oldest" })
      yield* other.orders.flush
      assert.deepStrictEqual(later.received, [])
    }).pipe(quiet)
  )

  it.effect("a change of topics holds for later writes", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const first = yield* started(memory)
      const { shutdown } = yield* first.subscribe(yield* TestSink.hanging<number>({ drainTimeout: 0 }), {
        name: "some",
        topics: ["order/odd"],
        drainTimeout: 0
      })
      yield* EventSink.writeAll(first.orders, [1, 2])
      yield* shutdown
      const receiver = yield* TestSink.recording<number>()
      yield* first.subscribe(receiver, { name: "some", topics: ["order/even"] })
      yield* EventSink.writeAll(first.orders, [3, 4])
      yield* first.orders.flush
      assert.deepStrictEqual(receiver.received, [1, 4])
    })
  )

  it.effect("topics without a topic fail typed, and memory below a subscription is refused", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory, { topic: undefined })
      const receiver = yield* TestSink.recording<number>()
      const failure = yield* Effect.flip(subscribe(receiver, { name: "some", topics: ["order/odd"] }))
      assert.deepInclude(failure, { _tag: "NoTopics", broadcaster: "orders", subscription: "some" })
      const forgetful: EventSink.EventSink<number> = yield* EventQueue.make(receiver, { name: "buffer" })
      const exit = yield* Effect.exit(subscribe(forgetful, { name: "lossy" }))
      assert.isTrue(Exit.isFailure(exit) && String(exit.cause).includes('EventQueue "buffer"'))
      assert.deepStrictEqual(yield* orders.subscriptions, [])
    })
  )

  it.effect("logs once that no process serves a subscription for which events wait", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const first = yield* started(memory)
        const { shutdown } = yield* first.subscribe(yield* TestSink.recording<number>(), { name: "audit" })
        yield* shutdown
        yield* first.orders.write(1)
        yield* TestClock.adjust("5 minutes")
        const lines = logs.filter(({ line }) => line.includes("no process serves"))
        assert.strictEqual(lines.length, 1)
        assert.isTrue(lines[0]?.line.includes("audit"))
      })
    )
  )

  it.effect("a subscription that no process serves is in health with what waits, until one serves it", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const { shutdown } = yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      yield* shutdown
      yield* EventSink.writeAll(orders, [1, 2])
      yield* TestClock.adjust("1 minute")
      const [, unserved, ...others] = yield* SinkGraph.health(orders)
      assert.deepInclude(unserved, { kind: "Subscription", name: "audit", state: "closed", pending: 2 })
      assert.deepInclude(unserved?.lastError?.error, { _tag: "NotDelivering", reason: "Unserved" })
      assert.lengthOf(others, 0)
      yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      yield* orders.flush
      const states = (yield* SinkGraph.health(orders))
        .slice(0, 2)
        .map(({ kind, pending, state }) => [kind, state, pending])
      assert.deepStrictEqual(states, [
        ["DurableBroadcaster", "open", 0],
        ["Subscription", "open", 0]
      ])
    }).pipe(quiet)
  )

  it.effect(
    "a flush fails where no process serves a subscription for which events wait, and not during a takeover",
    () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const first = yield* started(memory)
        const { shutdown } = yield* first.subscribe(yield* TestSink.recording<number>(), { name: "audit" })
        yield* shutdown
        yield* first.orders.write(1)
        assert.deepInclude(yield* failureOf(first.orders.flush), { subscription: "audit", reason: "Unserved" })
        const flushing = yield* Effect.forkChild(first.orders.flush)
        yield* TestClock.adjust("4 seconds")
        const second = yield* started(memory)
        const receiver = yield* TestSink.recording<number>()
        yield* second.subscribe(receiver, { name: "audit" })
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(flushing)
        assert.deepStrictEqual(receiver.received, [1])
      }).pipe(quiet)
  )

  it.effect("a flush fails for a subscription that is paused while others make progress all the time", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      for (const name of ["audit", "billing"]) yield* subscribe(yield* TestSink.recording<number>(), { name })
      yield* DurableBroadcaster.pause(orders, "audit")
      yield* orders.write(1)
      const flushing = yield* Effect.forkChild(Effect.flip(orders.flush))
      for (let i = 0; i < 20; i++) {
        yield* orders.write(i)
        yield* TestClock.adjust("50 millis")
      }
      assert.deepInclude(flushing.pollUnsafe()?._tag, "Success")
      assert.deepInclude(yield* Fiber.join(flushing), { subscription: "audit", reason: "Paused" })
    }).pipe(quiet)
  )

  it.effect("shows its subscriptions in pictures and health", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const { shutdown } = yield* subscribe(yield* TestSink.recording<number>({ name: "receiver" }), { name: "audit" })
      yield* EventSink.writeAll(orders, [1, 2])
      yield* orders.flush
      const picture = SinkGraph.toMermaid(orders)
      for (const text of ["DurableBroadcaster orders", "Subscription audit", "receiver"]) assert.include(picture, text)
      const [top, subscription] = yield* SinkGraph.health(orders)
      assert.deepInclude(top?.counts, { accepted: 2, delivered: 2 })
      assert.deepInclude(subscription?.counts, { accepted: 2, delivered: 2, remaining: 0 })
      yield* shutdown
      assert.lengthOf(orders.node.downstream(), 0)
    })
  )

  it.effect("is refused after its close, and leaves what is stored", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { close, orders } = yield* started(memory)
      yield* close
      assert.strictEqual((yield* Effect.flip(orders.write(1)))._tag, "SinkClosed")
    })
  )

  it.effect("is a service, and a subscription a layer", () =>
    Effect.gen(function* () {
      class Service extends Context.Service<Service, Orders>()("app/Orders") {
        static readonly layer = DurableBroadcaster.layer(Service, identity)
      }
      class Receiver extends Context.Service<Receiver, EventSink.EventSink<number>>()("app/Receiver") {}
      const receiver = yield* TestSink.recording<number>()
      const Live = DurableBroadcaster.layerSubscription(Service, Receiver, { name: "audit" }).pipe(
        Layer.provide(Layer.succeed(Receiver, receiver)),
        Layer.provideMerge(Service.layer),
        Layer.provide(MemoryStore.layer)
      )
      yield* Effect.provide(
        Service.use((orders) => Effect.andThen(orders.write(1), orders.flush)),
        Live
      )
      assert.deepStrictEqual(receiver.received, [1])
    })
  )
})

class Gone extends Data.TaggedError("Gone")<{}> {
  readonly disabled = true
  override get message(): string {
    return "the receiver answered 410"
  }
}

describe("a receiver that is disabled", () => {
  /** Disabled from the second event on, until it is enabled. */
  const gone = Effect.gen(function* () {
    let isGone = true
    const received: Array<number> = []
    const sink = yield* EventSink.make((n: number) =>
      Effect.suspend(() => (isGone && n > 1 ? Effect.fail(new Gone()) : Effect.sync(() => void received.push(n))))
    )
    return { sink, received, enable: Effect.sync(() => void (isGone = false)) }
  })

  it.effect("disables its subscription in the store, which keeps all events until it is resumed", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const first = yield* started(memory)
      const receiver = yield* gone
      const other = yield* TestSink.recording<number>()
      yield* first.subscribe(receiver.sink, { name: "billing" })
      yield* first.subscribe(other, { name: "audit" })
      yield* EventSink.writeAll(first.orders, [1, 2, 3])
      yield* Effect.repeat(settle, { times: 5 })
      assert.deepStrictEqual([receiver.received, other.received], [[1], [1, 2, 3]])
      const [, billing] = yield* first.orders.subscriptions
      assert.deepInclude(billing, { name: "billing", state: "disabled" })
      assert.include(billing?.reason ?? "", "410")
      assert.deepStrictEqual(pendingOf(memory), { billing: 2, audit: 0 })
      yield* first.close
      // It survives a restart.
      const second = yield* started(memory)
      yield* second.subscribe(receiver.sink, { name: "billing" })
      yield* second.subscribe(other, { name: "audit" })
      yield* second.orders.write(4)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(receiver.received, [1])
      yield* receiver.enable
      yield* DurableBroadcaster.resume(second.orders, "billing")
      yield* second.orders.flush
      assert.deepStrictEqual(receiver.received, [1, 2, 3, 4])
      assert.deepStrictEqual(yield* DurableBroadcaster.deadLetters(second.orders, "billing").list(), [])
    }).pipe(quiet)
  )

  it.effect("is noticed behind a retrier, by each of several writes at once, and pauses a durable queue too", () =>
    Effect.gen(function* () {
      const receiver = yield* gone
      const retrying = yield* RetryingSink.make(receiver.sink, ExponentialBackoff.make(), {
        while: (error: Gone) => !error.disabled
      })
      const queue = yield* DurableQueue.make({ name: "billing", schema: Schema.Int, concurrency: 3 })(retrying)
      yield* EventSink.writeAll(queue, [1, 2, 3, 4, 5])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(receiver.received, [1])
      assert.strictEqual(yield* queue.pending, 4)
      assert.deepInclude(yield* queue.state, { state: "disabled" })
      yield* receiver.enable
      yield* queue.resume
      yield* queue.flush
      assert.deepStrictEqual(receiver.received.toSorted(), [1, 2, 3, 4, 5])
      yield* queue.pause("by hand")
      assert.deepInclude(yield* queue.state, { state: "paused", reason: "by hand" })
    }).pipe(Effect.scoped, Effect.provide(MemoryStore.layer), quiet)
  )

  it.effect("dead-letters its events as Disabled where that is configured", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const receiver = yield* gone
      yield* subscribe(receiver.sink, { name: "billing", onDisabled: "dead-letter" })
      yield* EventSink.writeAll(orders, [1, 2, 3])
      yield* orders.flush
      const letters = yield* DurableBroadcaster.deadLetters(orders, "billing").list()
      assert.deepStrictEqual(
        letters.map(({ event, reason }) => [reason, event._tag === "Success" && event.success]),
        [
          ["Disabled", 2],
          ["Disabled", 3]
        ]
      )
      assert.deepStrictEqual(pendingOf(memory), { billing: 0 })
    }).pipe(quiet)
  )
})

describe("writers", () => {
  it.effect("write to a broadcaster and a queue of another process, and neither lease nor deliver", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const delivering = yield* started(memory)
      const [receiver, queued] = [yield* TestSink.recording<number>(), yield* TestSink.recording<number>()]
      yield* delivering.subscribe(receiver, { name: "odd", topics: ["order/odd"] })
      const spy = new Spy()
      const other = yield* started(memory, {}, spy)
      const orders = yield* other.inProcess(DurableBroadcaster.writer(identity))
      // The queue need not be there yet.
      const jobs = yield* other.inProcess(DurableQueue.writer({ name: "jobs", schema: Schema.Int }))
      yield* EventSink.writeAll(orders, [1, 2, 3])
      yield* jobs.write(7)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([spy.count("claim"), spy.count("take"), spy.count("renew")], [0, 0, 0])
      const queue = yield* delivering.inProcess(DurableQueue.make({ name: "jobs", schema: Schema.Int })(queued))
      yield* queue.flush
      yield* delivering.orders.flush
      assert.deepStrictEqual([receiver.received, queued.received], [[1, 3], [7]])
      assert.deepInclude(orders.node.health(0), { kind: "DurableWriter", name: "orders", pending: 0 })
      yield* other.close
      assert.strictEqual((yield* Effect.flip(orders.write(1)))._tag, "SinkClosed")
    })
  )
})
