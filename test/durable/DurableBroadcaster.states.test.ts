import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Fiber, Latch } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { pass, quiet, settle } from "../support/virtual.ts"
import { started, startedOver } from "./support/broadcaster.ts"
import { file, open } from "./support/sqliteFile.ts"
import { operationsOver } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const first = (all: ReadonlyArray<number>) => all as unknown as readonly [number, ...Array<number>]

class Gone extends Data.TaggedError("Gone")<{}> {
  readonly disabled = true
}

/** A receiver of which each write takes a while. */
const receiving = (millis: (n: number) => number) =>
  Effect.gen(function* () {
    const received: Array<number> = []
    const sink = yield* EventSink.make(
      (n: number) =>
        Effect.delay(
          Effect.sync(() => void received.push(n)),
          millis(n)
        ),
      { drainTimeout: 0 }
    )
    return { sink, received }
  })

const stores = {
  memory: Effect.flatMap(MemoryStore.makeMemory, operationsOver),
  SQLite: Effect.flatMap(file, open)
}

describe("a subscription that is paused", () => {
  it.effect.each(["memory", "SQLite"] as const)(
    "with a backlog delivers the rest in order after it is resumed: %s",
    (name) =>
      Effect.gen(function* () {
        const { close, orders, subscribe } = yield* startedOver(yield* stores[name])
        const { received, sink } = yield* receiving(() => 1_000)
        yield* subscribe(sink, { name: "audit", batchSize: 5 })
        yield* EventSink.writeAll(orders, first(range(1, 20)))
        yield* TestClock.adjust("2500 millis")
        yield* DurableBroadcaster.pause(orders, "audit")
        yield* pass(30)
        const before = received.length
        assert.isAtMost(before, 4)
        assert.strictEqual(yield* DurableBroadcaster.pending(orders, "audit"), 20 - before)
        yield* DurableBroadcaster.resume(orders, "audit")
        yield* orders.write(21)
        yield* pass(30)
        assert.deepStrictEqual(received, range(1, 21))
        assert.strictEqual(yield* DurableBroadcaster.pending(orders, "audit"), 0)
        yield* close
      }).pipe(Effect.scoped, quiet)
  )

  it.effect("delivers nothing more of what is in memory after a second, and nothing twice", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const { received, sink } = yield* receiving(() => 400)
      yield* subscribe(sink, { name: "audit" })
      yield* EventSink.writeAll(orders, first(range(1, 50)))
      yield* TestClock.adjust("1500 millis")
      assert.deepStrictEqual(received, range(1, 3))
      yield* DurableBroadcaster.pause(orders, "audit")
      yield* TestClock.adjust("1 second")
      const last = received.length
      assert.isAtMost(last, 6)
      yield* pass(60)
      // What was in flight has ended.
      assert.isAtMost(received.length, last + 1)
      yield* DurableBroadcaster.resume(orders, "audit")
      yield* pass(25)
      assert.deepStrictEqual(received, range(1, 50))
    }).pipe(quiet)
  )

  it.effect("delivers nothing twice after it is resumed, in the process that delivered before the pause", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const hold = Latch.makeUnsafe()
      const received: Array<number> = []
      const sink = yield* EventSink.make((n: number) =>
        Effect.andThen(
          n === 1 ? hold.await : Effect.void,
          Effect.sync(() => void received.push(n))
        )
      )
      yield* subscribe(sink, { name: "audit", concurrency: 2 })
      yield* EventSink.writeAll(orders, first(range(1, 20)))
      yield* settle
      // 1 is in flight, and the others are not acknowledged yet.
      assert.deepStrictEqual(received, range(2, 20))
      yield* DurableBroadcaster.pause(orders, "audit")
      yield* orders.write(21)
      yield* TestClock.adjust("1 second")
      hold.openUnsafe()
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(received, [...range(2, 20), 1])
      yield* DurableBroadcaster.resume(orders, "audit")
      yield* pass(5)
      assert.deepStrictEqual(received, [...range(2, 20), 1, 21])
    }).pipe(quiet)
  )

  it.effect("delivers beside what is in flight after it is resumed", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const received: Array<number> = []
      const sink = yield* EventSink.make(
        (n: number) => (n === 1 ? Effect.never : Effect.sync(() => void received.push(n))),
        { drainTimeout: 0 }
      )
      yield* subscribe(sink, { name: "audit", concurrency: 2 })
      yield* EventSink.writeAll(orders, [1, 2])
      yield* settle
      yield* DurableBroadcaster.pause(orders, "audit")
      yield* orders.write(3)
      yield* pass(2)
      assert.deepStrictEqual(received, [2])
      yield* DurableBroadcaster.resume(orders, "audit")
      yield* pass(2)
      assert.deepStrictEqual(received, [2, 3])
    }).pipe(quiet)
  )

  it.effect("acknowledges what was in flight, so that the next process delivers only the rest", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const one = yield* started(memory)
      const { received, sink } = yield* receiving((n) => (n === 1 ? 90 : 5))
      const options = { name: "audit", batchSize: 10, concurrency: 2 }
      yield* one.subscribe(sink, options)
      yield* EventSink.writeAll(one.orders, first(range(1, 40)))
      yield* TestClock.adjust(20)
      yield* DurableBroadcaster.pause(one.orders, "audit")
      yield* pass(2)
      const before = [...received]
      assert.include(before, 1)
      assert.strictEqual(yield* DurableBroadcaster.pending(one.orders, "audit"), 40 - before.length)
      yield* one.close
      yield* DurableBroadcaster.resume(one.orders, "audit")
      const two = yield* started(memory)
      yield* two.subscribe(sink, options)
      yield* pass(5)
      assert.deepStrictEqual(
        received.toSorted((a, b) => a - b),
        range(1, 40)
      )
    }).pipe(quiet)
  )
})

describe("a subscription of which the receiver is gone", () => {
  it.effect.each([1, 2, 4])("with a backlog delivers all after it is resumed, over a slow store: %d at once", (n) =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, spy, subscribe } = yield* started(memory)
      const received: Array<number> = []
      let isGone = true
      const sink = yield* EventSink.make((n: number) =>
        Effect.suspend(() =>
          isGone && n === 3
            ? Effect.fail(new Gone())
            : Effect.delay(
                Effect.sync(() => void received.push(n)),
                10
              )
        )
      )
      yield* subscribe(sink, { name: "audit", batchSize: 5, concurrency: n })
      spy.act = (name, run) => (name === "setState" ? Effect.tap(run, () => Effect.sleep(300)) : run)
      yield* EventSink.writeAll(orders, first(range(1, 30)))
      yield* pass(60)
      assert.deepInclude((yield* orders.subscriptions)[0], { state: "disabled" })
      assert.notInclude(received, 3)
      isGone = false
      const resuming = yield* Effect.forkChild(DurableBroadcaster.resume(orders, "audit"))
      yield* pass(5)
      assert.isTrue(yield* Fiber.join(resuming))
      assert.deepStrictEqual(
        received.toSorted((a, b) => a - b),
        range(1, 30)
      )
      assert.strictEqual(yield* DurableBroadcaster.pending(orders, "audit"), 0)
    }).pipe(quiet)
  )

  it.effect("delivers what was set aside while the store settled nothing, after it is resumed", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, spy, subscribe } = yield* started(memory)
      const received: Array<number> = []
      const [hold, fail] = [Latch.makeUnsafe(), Latch.makeUnsafe()]
      let isGone = true
      // The key 1 hangs, and the receiver of the key 2 is gone.
      const sink = yield* EventSink.make((n: number) =>
        Effect.gen(function* () {
          if (n % 10 === 1) yield* hold.await
          if (n % 10 === 2) yield* fail.await
          if (n % 10 === 2 && isGone) return yield* new Gone()
          received.push(n)
        })
      )
      yield* subscribe(sink, { name: "audit", concurrency: 3, batchSize: 4, partitionBy: (n) => n % 10 })
      spy.fail(["acknowledge"])
      yield* EventSink.writeAll(orders, [2, 1, 11, 21])
      yield* settle
      yield* orders.write(3)
      yield* settle
      fail.openUnsafe()
      yield* settle
      spy.heal()
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude((yield* orders.subscriptions)[0], { state: "disabled" })
      isGone = false
      hold.openUnsafe()
      yield* TestClock.adjust("1 second")
      yield* DurableBroadcaster.resume(orders, "audit")
      yield* pass(20)
      assert.deepStrictEqual(
        [...new Set(received)].toSorted((a, b) => a - b),
        [1, 2, 3, 11, 21]
      )
      assert.deepStrictEqual(
        [1, 11, 21].map((n) => received.lastIndexOf(n)).toSorted((a, b) => a - b),
        [received.lastIndexOf(1), received.lastIndexOf(11), received.lastIndexOf(21)]
      )
      assert.strictEqual(yield* DurableBroadcaster.pending(orders, "audit"), 0)
    }).pipe(quiet)
  )
})

describe("a subscription whose receiver is gone, with several writes at once", () => {
  it.effect("what is in flight when a receiver is gone is acknowledged, and does not arrive twice", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const received: Array<number> = []
      let isGone = true
      const sink = yield* EventSink.make(
        (n: number) =>
          n === 2 && isGone
            ? Effect.fail(new Gone())
            : Effect.delay(
                Effect.sync(() => void received.push(n)),
                n === 1 ? 1_000 : 1
              ),
        { drainTimeout: 0 }
      )
      yield* subscribe(sink, { name: "audit", concurrency: 2 })
      yield* EventSink.writeAll(orders, [1, 2, 3])
      yield* pass(5)
      isGone = false
      yield* DurableBroadcaster.resume(orders, "audit")
      yield* pass(5)
      assert.deepStrictEqual(received.toSorted(), [1, 2, 3])
    }).pipe(quiet)
  )
})
