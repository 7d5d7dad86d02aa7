/** What happens while a store has not answered, or an answer is being decoded. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Latch, Schema, SchemaGetter } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { open, quiet, settle } from "../support/virtual.ts"
import { type Options, start } from "./support/process.ts"
import { bytesOf, error, eventsOf, operationsAround, processOver, Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const byTens = (n: number) => n % 10

/** A receiver whose writes end one by one, on demand. */
const receiving = Effect.gen(function* () {
  const begun: Array<number> = []
  const ends = new Map<number, Deferred.Deferred<void>>()
  const sink = yield* EventSink.make(
    (n: number) =>
      Effect.suspend(() => {
        begun.push(n)
        const end = Deferred.makeUnsafe<void>()
        ends.set(n, end)
        return Deferred.await(end)
      }),
    { drainTimeout: 0 }
  )
  return { sink, begun, end: (n: number) => Effect.andThen(Deferred.succeed(ends.get(n)!, undefined), settle) }
})

/** Whole numbers, of which each is decoded after what `before` does. */
const decodingSlowly = (before: (n: number) => Effect.Effect<void>) =>
  Schema.Int.pipe(
    Schema.decodeTo(Schema.Int, {
      decode: SchemaGetter.transformEffect((n: number) => Effect.as(before(n), n)),
      encode: SchemaGetter.passthrough()
    })
  )

describe("DurableQueue", () => {
  it.effect("a settlement that frees a lane during a take is followed by another take", () =>
    Effect.gen(function* () {
      const { begun, end, sink } = yield* receiving
      const { queue, spy } = yield* start(sink, { concurrency: 3, partitionBy: byTens, batchSize: 3 })
      yield* queue.writeSome!([1, 11, 21])
      yield* Effect.repeat(settle, { times: 5 })
      // What waits is set aside, so that this is taken; and a claim has seen that the lane is due.
      yield* queue.write(2)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(begun, [1, 2])
      // The answer to this take is from before the lane was free.
      spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep(500)) : run)
      yield* queue.write(3)
      yield* TestClock.adjust(100)
      spy.heal()
      yield* end(1)
      // A claim that comes later would find it too.
      yield* TestClock.adjust(450)
      assert.deepStrictEqual(begun, [1, 2, 3, 11])
    })
  )

  it.effect("drop-oldest that takes the page a drainer is being woken for wakes the drainer again", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const spy = new Spy()
      const gate = Latch.makeUnsafe()
      const decoding = yield* Deferred.make<void>()
      const receiver = yield* TestSink.recording<number>()
      const dropped: Array<number> = []
      // The step that drops goes on in the turn in which the page is offered, in front of the drainer.
      const schema = decodingSlowly((n) => (n < 5 ? Effect.void : Effect.andThen(Deferred.await(decoding), gate.open)))
      const store = yield* operationsAround(memory, spy.around)
      yield* open(
        DurableQueue.make({
          name: "events",
          schema,
          capacity: 3,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })(receiver).pipe(Effect.provideService(EventStore.EventStore, store))
      )
      yield* settle
      const other = yield* processOver(memory)
      const within = Latch.makeUnsafe()
      let answer = within
      const isOwned = () => [...memory.entries.values()].some(({ owner }) => owner !== undefined)
      spy.act = (name, run) =>
        name === "figures" && isOwned()
          ? Effect.tap(
              run,
              Effect.suspend(() => answer.await)
            )
          : run
      yield* other.append([bytesOf(1), bytesOf(2), bytesOf(3)])
      yield* settle
      // The answer is that the queue is within its capacity; with what is taken next it is not.
      yield* other.append([bytesOf(4), bytesOf(5)])
      answer = gate
      yield* within.open
      yield* settle
      // One change too many does no harm.
      yield* other.store.define("events", [{ name: "events", topics: ["*"] }])
      yield* settle
      assert.deepStrictEqual([receiver.received, dropped], [[], []])
      yield* Deferred.succeed(decoding, undefined)
      yield* settle
      // All of it was in memory: nothing that is taken later wakes the drainer.
      assert.include(receiver.received, 5)
      assert.deepStrictEqual([...dropped, ...receiver.received].toSorted(), range(1, 5))
      assert.deepStrictEqual(eventsOf(memory), [])
    })
  )

  it.effect("drop-oldest does not drop what a take has answered with and is being decoded", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const decoding = yield* Deferred.make<void>()
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const dropped: Array<number> = []
      const { part: queue } = yield* open(
        DurableQueue.make({
          name: "events",
          schema: decodingSlowly((n) => (n === 3 ? Deferred.await(decoding) : Effect.void)),
          capacity: 3,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })(receiver).pipe(Effect.provide(MemoryStore.layerOver(memory)))
      )
      yield* queue.writeSome!([1, 2, 3])
      yield* settle
      yield* queue.writeSome!([4, 5])
      yield* settle
      assert.deepStrictEqual([dropped, eventsOf(memory)], [[], range(1, 5)])
      yield* Deferred.succeed(decoding, undefined)
      yield* settle
      assert.strictEqual(dropped.length, 2)
      assert.deepStrictEqual([...dropped, ...(eventsOf(memory) as ReadonlyArray<number>)].toSorted(), range(1, 5))
      yield* receiver.release
      yield* queue.flush
      assert.deepStrictEqual([...dropped, ...receiver.received].toSorted(), range(1, 5))
      assert.deepInclude(queue.node.health(0).counts, { accepted: 5, delivered: 3, dropped: 2 })
    })
  )

  it.effect("drop-oldest settles no delivery before its drop is reported", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const spy = new Spy()
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const dropped: Array<number> = []
      const store = yield* operationsAround(memory, spy.around)
      const { part: queue } = yield* open(
        DurableQueue.make({
          name: "events",
          schema: decodingSlowly((n) => (n > 3 ? Effect.sleep(100) : Effect.void)),
          capacity: 2,
          batchSize: 3,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })(receiver).pipe(Effect.provideService(EventStore.EventStore, store))
      )
      yield* queue.writeSome!([1, 2])
      yield* settle
      const settled: Array<number> = []
      const unreported: Array<number> = []
      spy.act = (name, run, args) => {
        if (name === "take") return Effect.tap(run, () => Effect.sleep(100))
        if (name !== "acknowledge") return run
        const [, settlements] = args as Parameters<typeof store.settle>
        // The first event has the first position.
        const positions = settlements.flatMap((one) => one.settled.map(({ position }) => position))
        settled.push(...positions)
        unreported.push(...positions.filter((n) => !dropped.includes(n)))
        return run
      }
      const other = yield* processOver(memory)
      // One is dropped that was taken, and the others before they are.
      yield* other.append([bytesOf(3), ...range(4, 8).map(bytesOf)])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([settled, unreported, dropped], [range(2, 7), [], range(2, 7)])
      assert.deepStrictEqual(eventsOf(memory), [1, 8])
    })
  )

  describe("a claim that acquired a lease without an answer", () => {
    const ends: Readonly<Record<string, Effect.Effect<never, EventStore.EventStoreError>>> = {
      "fails, and may have been committed": Effect.suspend(() => Effect.fail(error("claim", { maybeCommitted: true }))),
      "dies of a defect": Effect.die(new Error("no answer")),
      "interrupts itself": Effect.interrupt,
      "interrupts the fiber that claims": Effect.withFiber((fiber) => {
        fiber.interruptUnsafe()
        return Effect.never
      })
    }
    it.effect.each(Object.keys(ends))("and %s holds up no delivery", (end) =>
      Effect.gen(function* () {
        const spy = new Spy()
        let unanswered = 0
        spy.act = (name, run) =>
          name === "claim"
            ? Effect.tap(run, (claims) => {
                const { acquired } = claims as EventStore.Claims
                return acquired.length > 0 && ++unanswered === 1 ? ends[end]! : Effect.void
              })
            : run
        const receiver = yield* TestSink.recording<number>()
        const { queue } = yield* start(receiver, { spy })
        yield* queue.write(1)
        yield* TestClock.adjust("1 second")
        assert.isAbove(unanswered, 0)
        assert.deepStrictEqual(receiver.received, [1])
        yield* queue.flush
      }).pipe(quiet)
    )
  })

  it.effect("the next owner takes again after a first take that left out all lanes", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { begun, end, sink } = yield* receiving
      const options: Options = { concurrency: 2, partitionBy: byTens, batchSize: 3, drainTimeout: 0 }
      const before = yield* start(sink, { ...options, memory })
      yield* before.queue.writeSome!([1, 11, 21])
      yield* Effect.repeat(settle, { times: 5 })
      // What waits is set aside, so that this is taken.
      yield* before.queue.write(2)
      yield* Effect.repeat(settle, { times: 5 })
      yield* end(2)
      yield* end(1)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        [begun, eventsOf(memory)],
        [
          [1, 2, 11],
          [11, 21]
        ]
      )
      yield* before.close
      // Nothing stands in the order of the subscription any more.
      assert.deepStrictEqual(
        [...memory.entries.values()].map(({ ordered }) => ordered.rows.size),
        [0]
      )
      const receiver = yield* TestSink.recording<number>()
      yield* start(receiver, { ...options, memory })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([receiver.received, eventsOf(memory)], [[11, 21], []])
    })
  )

  it.effect("what is being settled when the queue is paused is settled, and counted, under its lease", () =>
    Effect.gen(function* () {
      const begun: Array<number> = []
      const sink = yield* EventSink.make((n: number) =>
        Effect.suspend(() => {
          begun.push(n)
          return n === 1 ? Effect.fail("no") : Effect.void
        })
      )
      const { memory, queue, spy } = yield* start(sink)
      spy.act = (name, run) => (name === "deadLetter" ? Effect.delay(run, "3 seconds") : run)
      yield* queue.write(1)
      yield* settle
      yield* queue.pause()
      yield* TestClock.adjust("1 second")
      yield* queue.write(2)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(eventsOf(memory), [2])
      assert.deepInclude(queue.node.health(0).counts, { deadLettered: 1, delivered: 0 })
      yield* queue.resume
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(begun, [1, 2])
      assert.deepInclude(queue.node.health(0).counts, { deadLettered: 1, delivered: 1 })
    }).pipe(quiet)
  )
})
