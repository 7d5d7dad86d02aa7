/** Events with a time of their own, and duplicates. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, DateTime, Duration, Effect, Exit, Fiber } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, DurableQueue, EventStore, MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { quiet, settle } from "../support/virtual.ts"
import { no, receiving } from "./support/attempts.ts"
import { started } from "./support/broadcaster.ts"
import { identity, start } from "./support/process.ts"
import { operationsOver } from "./support/store.ts"

const never = receiving(() => Effect.void)

describe("an event with a time of its own", () => {
  it.effect("is delivered when its time has come, and not before", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* never
      const { queue } = yield* start(sink)
      yield* queue.send(1, { delay: "1 minute" })
      yield* queue.send(2, { deliverAt: 30_000 })
      yield* queue.send(3, { deliverAt: DateTime.makeUnsafe(90_000) })
      yield* queue.send(4, { deliverAt: new Date(-1) })
      yield* queue.write(5)
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(attempts, [
        [4, 0],
        [5, 0],
        [2, 30],
        [1, 60],
        [3, 90]
      ])
      assert.strictEqual(yield* queue.pending, 0)
    }).pipe(quiet)
  )

  it.effect("counts as pending; a flush waits for it once its time has come", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* never
      const { queue } = yield* start(sink)
      yield* queue.send(1, { delay: "1 minute" })
      yield* queue.write(2)
      yield* settle
      assert.strictEqual(yield* queue.pending, 1)
      yield* queue.flush
      assert.deepStrictEqual(received, [2])
      yield* TestClock.adjust("1 minute")
      yield* queue.flush
      assert.deepStrictEqual(received, [2, 1])
    }).pipe(quiet)
  )

  it.effect("survives its process, and is delivered by another that serves nothing else", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const first = yield* start((yield* never).sink, { memory })
      yield* first.queue.send(1, { delay: "1 hour" })
      yield* first.close
      const { attempts, sink } = yield* never
      yield* start(sink, { memory })
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(attempts, [[1, 3600]])
    }).pipe(quiet)
  )

  it.effect("has a plan of its own that begins with its first attempt, and holds up those behind it in order", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving((n, attempt) => (n === 1 && attempt < 3 ? no : Effect.void))
      const { queue } = yield* start(sink, {
        redelivery: Redelivery.fromDelays(["1 second", "2 seconds"], { jitter: 0 })
      })
      yield* queue.send(1, { delay: "10 seconds" })
      yield* queue.send(2, { delay: "11 seconds" })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(attempts, [
        [1, 10],
        [1, 11],
        [1, 13],
        [2, 13]
      ])
    }).pipe(quiet)
  )

  it.effect("is put behind a key that waits", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving((n, attempt) => (n === 1 && attempt === 1 ? no : Effect.void))
      const { queue } = yield* start(sink, {
        redelivery: Redelivery.fromDelays(["20 seconds"], { jitter: 0 }),
        concurrency: 2,
        partitionBy: (n) => n % 10
      })
      yield* queue.write(1)
      yield* queue.send(11, { delay: "5 seconds" })
      yield* queue.send(2, { delay: "5 seconds" })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(attempts, [
        [1, 0],
        [2, 5],
        [1, 20],
        [11, 20]
      ])
    }).pipe(quiet)
  )

  it.effect("waits where the queue is paused, and comes after it is resumed", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* never
      const { queue } = yield* start(sink)
      yield* queue.send(1, { delay: "1 minute" })
      yield* queue.pause("later")
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(received, [])
      yield* queue.resume
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(received, [1])
    }).pipe(quiet)
  )

  it.effect("goes to each subscription that matched at the write", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const [even, all, late] = [yield* never, yield* never, yield* never]
      yield* subscribe(even.sink, { name: "even", topics: ["order/even"] })
      yield* subscribe(all.sink, { name: "all" })
      yield* orders.send(2, { delay: "1 minute" })
      yield* orders.send(3, { delay: "1 minute" })
      yield* subscribe(late.sink, { name: "late" })
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual([even.received, all.received, late.received], [[2], [2, 3], []])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("is in the account from its write on", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { close, queue } = yield* start((yield* never).sink, { memory })
      const accountOf = ({ node }: typeof queue) => {
        const { counts, pending } = node.health(0)
        return [counts.accepted, counts.delivered, counts.remaining, pending]
      }
      yield* queue.write(1)
      yield* queue.send(2, { delay: "1 hour" })
      yield* settle
      assert.deepStrictEqual(accountOf(queue), [2, 1, 0, 1])
      yield* queue.write(3)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(accountOf(queue), [3, 2, 0, 1])
      yield* close
      assert.deepStrictEqual(accountOf(queue), [3, 2, 1, 0])
      const next = yield* start((yield* never).sink, { memory })
      yield* TestClock.adjust("10 seconds")
      yield* next.queue.write(4)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(accountOf(next.queue), [2, 1, 0, 1])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(accountOf(next.queue), [2, 2, 0, 0])
    }).pipe(quiet)
  )

  it.effect("a time that is none is a defect of the write, which stores nothing", () =>
    Effect.gen(function* () {
      const { queue } = yield* start((yield* never).sink)
      for (const time of [
        { deliverAt: Number.NaN },
        { deliverAt: Infinity },
        { delay: "Infinity" },
        { delay: Duration.days(1e9) }
      ] as const) {
        const exit = yield* Effect.exit(queue.send(1, time))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
      assert.strictEqual(yield* queue.pending, 0)
    }).pipe(quiet)
  )
})

describe("an event with an id", () => {
  const options = { id: (n: number) => `order ${n}`, deduplication: "1 hour" } as const

  it.effect("is stored and delivered once within the window, by any process", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { received, sink } = yield* never
      const { queue } = yield* start(sink, { memory, ...options })
      yield* queue.write(1)
      yield* EventSink.writeAll(queue, [1, 2, 2, 3])
      yield* queue.flush
      yield* queue.write(3)
      const store = yield* operationsOver(memory)
      yield* DurableQueue.writer({ ...identity, id: options.id }).pipe(
        Effect.flatMap((writer) => EventSink.writeAll(writer, [2, 4])),
        Effect.scoped,
        Effect.provideService(EventStore.EventStore, store)
      )
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 2, 3, 4])
      yield* TestClock.adjust("61 minutes")
      yield* queue.write(1)
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 2, 3, 4, 1])
      const { accepted, delivered, filtered } = queue.node.health(0).counts
      assert.deepStrictEqual([accepted, delivered, filtered], [8, 5, 3])
    }).pipe(quiet)
  )

  it.effect("has a receipt that says so, with the id of the first", () =>
    Effect.gen(function* () {
      const { queue } = yield* start((yield* never).sink, options)
      const first = yield* queue.send(1)
      assert.deepStrictEqual(yield* queue.send(1), { id: first!.id, isDuplicate: true })
      const other = yield* queue.send(1, { id: "another" })
      assert.strictEqual(other?.isDuplicate, false)
      assert.deepStrictEqual(yield* queue.send(2, { id: "another" }), { id: other!.id, isDuplicate: true })
    }).pipe(quiet)
  )

  it.effect("two at once share a commit, and one is stored", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* never
      const { queue } = yield* start(sink, options)
      const writing = yield* Effect.forkChild(Effect.forEach([1, 1, 2, 1], queue.write, { concurrency: "unbounded" }))
      yield* Fiber.join(writing)
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 2])
    }).pipe(quiet)
  )

  it.effect("a window that only a writer names holds for the queue", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* operationsOver(memory)
      const { received, sink } = yield* never
      const { queue } = yield* start(sink, { memory })
      const writer = yield* Effect.provideService(
        DurableQueue.writer({ ...identity, ...options }),
        EventStore.EventStore,
        store
      )
      yield* EventSink.writeAll(writer, [1, 1])
      yield* queue.flush
      assert.deepStrictEqual(received, [1])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("of more than 500 characters is refused typed, alone", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* never
      const { queue } = yield* start(sink, options)
      const error = yield* Effect.flip(queue.send(1, { id: "x".repeat(501) }))
      assert.strictEqual(error._tag, "DurableWriteError")
      assert.include(error.message, "501 characters")
      yield* queue.send(2, { id: "x".repeat(500) })
      yield* queue.flush
      assert.deepStrictEqual(received, [2])
    }).pipe(quiet)
  )

  it.effect("is a duplicate also where there is no room", () =>
    Effect.gen(function* () {
      for (const overflow of ["reject", "drop-newest", "suspend"] as const) {
        const dropped: Array<number> = []
        const onDropped = ({ event }: { readonly event: number }) => Effect.sync(() => void dropped.push(event))
        const { queue } = yield* start((yield* never).sink, { ...options, capacity: 2, overflow, onDropped })
        yield* queue.pause()
        yield* EventSink.writeAll(queue, [1, 2])
        const again = yield* queue.send(1)
        assert.deepStrictEqual([again?.isDuplicate, dropped], [true, []])
        assert.deepInclude(queue.node.health(0).counts, { accepted: 3, filtered: 1, dropped: 0 })
      }
    }).pipe(quiet)
  )

  it.effect(
    "of a write that fails, as the queue was dropped, is not kept: not for the retry of a commit, and not for another",
    () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const first = yield* start((yield* never).sink, { memory, ...options })
        yield* first.queue.flush
        const store = yield* operationsOver(memory)
        yield* store.drop({ exchange: "events" })
        const exits = yield* Effect.forEach([1, 2, 3], (n) => Effect.exit(first.queue.write(n)), {
          concurrency: "unbounded"
        })
        assert.deepStrictEqual(
          exits.map(({ _tag }) => _tag),
          ["Failure", "Failure", "Failure"]
        )
        yield* first.close
        const { received, sink } = yield* never
        const { queue } = yield* start(sink, { memory, ...options })
        yield* EventSink.writeAll(queue, [1, 2, 3])
        yield* queue.flush
        assert.deepStrictEqual(received, [1, 2, 3])
      }).pipe(quiet)
  )

  it.effect("is recognised by a broadcaster for all of its subscriptions", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { inProcess, orders, subscribe } = yield* started(memory, options)
      const [a, b] = [yield* never, yield* never]
      yield* subscribe(a.sink, { name: "a" })
      yield* subscribe(b.sink, { name: "b" })
      yield* EventSink.writeAll(orders, [1, 2, 1])
      const writer = yield* inProcess(
        DurableBroadcaster.writer({ name: "orders", schema: identity.schema, id: options.id })
      )
      assert.strictEqual((yield* writer.send(2)).isDuplicate, true)
      yield* orders.flush
      assert.deepStrictEqual(
        [a.received, b.received],
        [
          [1, 2],
          [1, 2]
        ]
      )
    }).pipe(Effect.scoped, quiet)
  )
})
