import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { EventQueue, EventSink } from "effect-events"
import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { open, pass, quiet, settle } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { Spy, bytesOf, error, eventsOf, processOver, queueOf } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe("DurableQueue that is full", () => {
  describe("drop-oldest", () => {
    const dropping = (options: { readonly capacity?: number; readonly capacityBytes?: number }) =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const dropped: Array<number> = []
        const reasons = new Set<string>()
        const process = yield* start(receiver, {
          ...options,
          overflow: "drop-oldest",
          onDropped: ({ event, reason }) =>
            Effect.sync(() => {
              dropped.push(event)
              reasons.add(reason._tag)
            })
        })
        return { ...process, receiver, dropped, reasons }
      })

    it.effect("drops the oldest events, but for those in flight, and reports them", () =>
      Effect.gen(function* () {
        const { dropped, memory, queue, reasons } = yield* dropping({ capacity: 3 })
        for (const n of range(1, 6)) yield* queue.write(n)
        yield* settle
        assert.deepStrictEqual(dropped, [2, 3, 4])
        assert.deepStrictEqual([...reasons], ["Overflow"])
        assert.deepStrictEqual(eventsOf(memory), [1, 5, 6])
      })
    )

    it.effect("delivers nothing that it has dropped, though it had read it", () =>
      Effect.gen(function* () {
        const { dropped, memory, queue, receiver } = yield* dropping({ capacity: 3 })
        yield* queue.writeSome!([1, 2, 3])
        yield* settle
        yield* queue.writeSome!([4, 5])
        yield* settle
        assert.deepStrictEqual(
          [dropped, eventsOf(memory)],
          [
            [2, 3],
            [1, 4, 5]
          ]
        )
        yield* receiver.release
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 4, 5])
      })
    )

    it.effect("delivers nothing that it drops while it is reading it", () =>
      Effect.gen(function* () {
        const spy = new Spy()
        const receiver = yield* TestSink.slow<number>("10 millis")
        const dropped: Array<number> = []
        const { memory, queue } = yield* start(receiver, {
          capacity: 2,
          overflow: "drop-oldest",
          spy,
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })
        yield* settle
        let reads = 0
        // The first read gets its answer last.
        spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep(++reads === 1 ? 200 : 50)) : run)
        const other = yield* processOver(memory)
        yield* other.append([bytesOf(1), ...range(2, 6).map(bytesOf)])
        yield* TestClock.adjust("2 seconds")
        yield* queue.flush
        assert.deepStrictEqual([...receiver.received, ...dropped].toSorted(), range(1, 6))
      })
    )

    it.effect("does not call the store within a transaction of its caller's", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        let inside = false
        const { memory, queue, spy } = yield* start(receiver, {
          capacity: 1,
          overflow: "drop-oldest",
          store: (store) => ({ ...store, inTransaction: Effect.sync(() => inside) })
        })
        yield* queue.write(1)
        yield* settle
        // It would wait for a connection that its caller has.
        spy.hang(["figures", "take"])
        inside = true
        const fiber = yield* Effect.forkChild(Effect.andThen(queue.write(2), queue.write(3)))
        yield* settle
        assert.isDefined(fiber.pollUnsafe())
        inside = false
        assert.deepStrictEqual(eventsOf(memory), [1, 2, 3])
      })
    )

    it.effect("counts bytes too", () =>
      Effect.gen(function* () {
        const { dropped, memory, queue } = yield* dropping({ capacityBytes: 6 })
        for (const n of [10, 20, 30, 40]) yield* queue.write(n)
        yield* settle
        assert.deepStrictEqual(dropped, [20])
        assert.deepStrictEqual(eventsOf(memory), [10, 30, 40])
      })
    )

    it.effect("drops nothing for the sake of what is delivered and not acknowledged yet", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ from: 2, drainTimeout: 0 })
        const dropped: Array<number> = []
        const { queue } = yield* start(receiver, {
          capacity: 2,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })
        // 1 is delivered, 2 hangs, and there is room for 3.
        yield* queue.writeSome!([1, 2])
        yield* settle
        yield* queue.write(3)
        yield* settle
        assert.deepStrictEqual([dropped, receiver.received], [[], [1]])
        yield* queue.write(4)
        yield* settle
        assert.deepStrictEqual(dropped, [3])
      })
    )

    it.effect("drops nothing for the sake of what is acknowledged during the read", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ from: 2, drainTimeout: 0 })
        const dropped: Array<number> = []
        const { memory, queue, spy } = yield* start(receiver, {
          capacity: 2,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })
        yield* queue.writeSome!([1, 2])
        yield* settle
        // By the time of the answer 1 is gone.
        spy.act = (name, run) => (name === "figures" ? Effect.tap(run, () => Effect.sleep(200)) : run)
        yield* Effect.forkChild(queue.write(3))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([dropped, eventsOf(memory)], [[], [2, 3]])
      })
    )

    describe("when the store does not remove what was dropped", () => {
      it.effect("reports and counts it once, and drops nothing more until then", () =>
        Effect.gen(function* () {
          const { dropped, memory, queue, spy } = yield* dropping({ capacity: 2 })
          yield* queue.write(1)
          yield* settle
          spy.fail(["acknowledge"])
          for (const n of range(2, 6)) yield* queue.write(n)
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual([dropped, eventsOf(memory)], [[2], range(1, 6)])
          spy.heal()
          yield* TestClock.adjust("10 seconds")
          yield* queue.write(7)
          yield* settle
          assert.deepStrictEqual(dropped, range(2, 6))
          assert.deepStrictEqual(eventsOf(memory), [1, 7])
          assert.deepInclude(queue.node.health(0).counts, { accepted: 7, dropped: 5 })
        }).pipe(quiet)
      )

      it.effect("does not deliver it after all", () =>
        Effect.gen(function* () {
          const { dropped, memory, queue, receiver, spy } = yield* dropping({ capacity: 2 })
          yield* queue.write(1)
          yield* settle
          spy.fail(["acknowledge"])
          for (const n of range(2, 4)) yield* queue.write(n)
          yield* receiver.release
          yield* TestClock.adjust("1 minute")
          spy.heal()
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual([dropped[0], eventsOf(memory)], [2, []])
          assert.deepStrictEqual([...receiver.received, ...dropped].toSorted(), range(1, 4))
          assert.deepInclude(queue.node.health(0).counts, { accepted: 4, delivered: 4 - dropped.length })
        }).pipe(quiet)
      )

      it.effect("does not deliver it, though it was about to read it", () =>
        Effect.gen(function* () {
          const spy = new Spy()
          const receiver = yield* TestSink.recording<number>()
          const dropped: Array<number> = []
          const { memory } = yield* start(receiver, {
            capacity: 2,
            overflow: "drop-oldest",
            spy,
            onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
          })
          yield* settle
          let fails = true
          spy.act = (name, run) => {
            if (name === "figures") return Effect.tap(run, () => Effect.sleep(100))
            if (name !== "acknowledge" || !fails) return run
            fails = false
            return Effect.fail(error(name))
          }
          const other = yield* processOver(memory)
          yield* other.append([bytesOf(1), ...range(2, 5).map(bytesOf)])
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(eventsOf(memory), [])
          assert.deepStrictEqual([receiver.received, dropped, fails], [[4, 5], [1, 2, 3], false])
        }).pipe(quiet)
      )

      it.effect("does not deliver it when it has the lease again", () =>
        Effect.gen(function* () {
          const { dropped, memory, queue, receiver, spy } = yield* dropping({ capacity: 2 })
          yield* queue.write(1)
          yield* settle
          spy.fail(["acknowledge", "renew"])
          for (const n of range(2, 3)) yield* queue.write(n)
          yield* TestClock.adjust("15 seconds")
          assert.deepStrictEqual(dropped, [2])
          const other = yield* processOver(memory)
          const acquired = yield* other.acquire(Duration.minutes(1))
          if (acquired === undefined) return assert.fail("the lease has not run out")
          spy.heal()
          yield* TestClock.adjust("10 seconds")
          yield* receiver.release
          yield* settle
          yield* other.acknowledge(acquired, [1])
          yield* other.release(acquired)
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual([receiver.received, dropped, eventsOf(memory)], [[1, 3], [2], []])
        }).pipe(quiet)
      )

      it.effect("ends a flush when another process has delivered it", () =>
        Effect.gen(function* () {
          const { dropped, memory, queue, spy } = yield* dropping({ capacity: 3 })
          yield* queue.write(1)
          yield* settle
          spy.fail(["acknowledge"])
          for (const n of range(2, 6)) yield* queue.write(n)
          yield* TestClock.adjust("1 second")
          assert.isNotEmpty(dropped)
          queueOf(memory).steal()
          spy.heal()
          yield* TestClock.adjust("10 seconds")
          const flushing = yield* Effect.forkChild(queue.flush)
          yield* TestClock.adjust("1 second")
          assert.isUndefined(flushing.pollUnsafe())
          queueOf(memory).acknowledge(queueOf(memory).positions())
          yield* TestClock.adjust("1 second")
          assert.isDefined(flushing.pollUnsafe())
        }).pipe(quiet)
      )
    })

    it.effect("a report that hangs holds up neither the writers nor the delivery nor the close", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ from: 1, drainTimeout: 0 })
        const { close, queue } = yield* start(receiver, {
          capacity: 2,
          overflow: "drop-oldest",
          drainTimeout: "1 second",
          onDropped: () => Effect.uninterruptible(Effect.never)
        })
        for (const n of range(1, 5)) yield* queue.write(n)
        yield* receiver.release
        yield* settle
        assert.deepStrictEqual(receiver.received, [1, 5])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("5 seconds")
        yield* settle
        assert.isDefined(closing.pollUnsafe())
      }).pipe(quiet)
    )

    it.effect("reads how much there is only in the process that delivers", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const options = { memory, capacity: 1_000, overflow: "drop-oldest" } as const
        const owner = yield* start(yield* TestSink.recording<number>(), options)
        yield* settle
        const standby = yield* start(yield* TestSink.recording<number>(), options)
        yield* owner.queue.write(0)
        yield* owner.queue.flush
        standby.spy.calls.length = 0
        for (let n = 0; n < 100; n++) {
          yield* standby.queue.write(n)
          yield* TestClock.adjust(10)
        }
        assert.isAtMost(standby.spy.count("figures"), 1)
      })
    )

    it.effect("drops too what came during the read", () =>
      Effect.gen(function* () {
        const spy = new Spy()
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const dropped: Array<number> = []
        const { memory, queue } = yield* start(receiver, {
          capacity: 2,
          overflow: "drop-oldest",
          spy,
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })
        yield* queue.write(1)
        yield* settle
        // The answer to how much there is takes its time on the way back.
        spy.act = (name, run) => (name === "figures" ? Effect.tap(run, () => Effect.sleep(100)) : run)
        yield* Effect.forkChild(queue.write(2))
        yield* settle
        const other = yield* processOver(memory)
        yield* other.append([bytesOf(3), bytesOf(4)])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(
          [dropped, eventsOf(memory)],
          [
            [2, 3],
            [1, 4]
          ]
        )
      })
    )

    /** A queue of texts of so many bytes, and how many bytes it was given each time beside those in flight. */
    const large = (capacity: number, sizes: ReadonlyArray<number>) =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const store = yield* processOver(memory)
        const text = (size: number, i: number) => bytesOf(String(i).padEnd(size - 2))
        const append = (from: number, some: ReadonlyArray<number>) =>
          Effect.forEach(some, (size, i) => store.append([text(size, from + i)]))
        yield* append(0, sizes.slice(0, 1))
        const given: Array<number> = []
        const dropped: Array<number> = []
        const received: Array<number> = []
        const receiver = yield* EventSink.make(
          (event: string) =>
            Effect.andThen(
              Effect.sync(() => void received.push(Number(event))),
              Effect.never
            ),
          { drainTimeout: 0 }
        )
        yield* DurableQueue.make({
          name: "events",
          schema: Schema.String,
          capacity,
          overflow: "drop-oldest",
          drainTimeout: 0,
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(Number(event)))
        })(receiver).pipe(
          Effect.provideService(EventStore.EventStore, {
            ...store.store,
            take: (owner, wanted) =>
              Effect.tap(store.store.take(owner, wanted), (taken) =>
                Effect.sync(() =>
                  given.push(
                    taken.flatMap(({ deliveries }) => deliveries).reduce((sum, { payload }) => sum + payload.length, 0)
                  )
                )
              )
          })
        )
        yield* settle
        assert.deepStrictEqual(received, [0])
        given.length = 0
        yield* append(1, sizes.slice(1))
        yield* settle
        return { given, dropped, rows: queueOf(memory).figures().pending }
      })
    const mega = 1024 * 1024

    it.effect("reads no more bytes at once than a batch has, beside those in flight", () =>
      Effect.gen(function* () {
        const { dropped, given, rows } = yield* large(2, [100, ...range(1, 30).map(() => mega)])
        assert.deepStrictEqual([dropped, rows], [range(1, 29), 2])
        assert.isAtMost(Math.max(...given), 4 * mega + 100)
        // The events in flight have more than that.
        const full = yield* large(2, [6 * mega, ...range(1, 30).map(() => mega)])
        assert.deepStrictEqual([full.dropped, full.rows], [range(1, 29), 2])
        assert.isAtMost(Math.max(...full.given), 10 * mega)
        assert.isAtMost(full.given.length, 10)
      }).pipe(quiet)
    )

    it.effect("drops what is larger than a batch too", () =>
      Effect.gen(function* () {
        const { dropped, given, rows } = yield* large(2, [100, 9 * mega, mega, 5 * mega, 5 * mega])
        assert.deepStrictEqual([dropped, rows], [range(1, 3), 2])
        assert.isAtMost(Math.max(...given), 18 * mega)
      }).pipe(quiet)
    )

    it.effect("keeps to the capacity with keys that hang, and asks for the key of no event that it drops unread", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const dropped: Array<number> = []
        const { queue } = yield* start(yield* TestSink.hanging<number>({ drainTimeout: 0 }), {
          memory,
          concurrency: 3,
          batchSize: 4,
          capacity: 20,
          overflow: "drop-oldest",
          // It throws for what is no number.
          partitionBy: (n) => Number(n.toFixed(0)) % 2,
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event)),
          drainTimeout: 0
        })
        for (const n of range(1, 100)) {
          yield* queue.write(n)
          if (n % 3 === 0) yield* settle
        }
        yield* pass(10)
        assert.strictEqual(yield* queue.pending, 20)
        const left = eventsOf(memory)
        // The first of each key is in flight.
        assert.deepStrictEqual(left.slice(0, 2), [1, 2])
        assert.lengthOf(dropped, 80)
        assert.sameMembers([...dropped, ...left], range(1, 100))
      }).pipe(quiet)
    )

    it.effect("is done when only events in flight are left", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const other = yield* processOver(memory)
        yield* other.append([bytesOf(1), bytesOf(2), bytesOf(3)])
        const receiver = yield* TestSink.hanging<number>({ batchSize: 10, drainTimeout: 0 })
        const spy = new Spy()
        // It takes all of them before it learns that they are too many.
        spy.fail(["figures"])
        const { queue } = yield* start(receiver, { memory, spy, capacity: 2, overflow: "drop-oldest", drainTimeout: 0 })
        yield* TestClock.adjust("1 second")
        spy.heal()
        spy.calls.length = 0
        yield* queue.write(4)
        yield* settle
        assert.deepStrictEqual(eventsOf(memory), [1, 2, 3])
        assert.isAtMost(spy.count("take"), 4)
      }).pipe(quiet)
    )

    it.effect("drops what it finds when it takes over", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const before = yield* processOver(memory)
        yield* before.append([bytesOf(1), bytesOf(2), bytesOf(3), bytesOf(4)])
        assert.isDefined(yield* before.acquire(Duration.seconds(10)))
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const dropped: Array<number> = []
        yield* start(receiver, {
          memory,
          capacity: 2,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })
        yield* TestClock.adjust("11 seconds")
        yield* settle
        assert.strictEqual(eventsOf(memory).length, 2)
        assert.isTrue(dropped.length === 2 && !dropped.includes(4))
      })
    )
  })
  describe("suspend", () => {
    const waiting = (options: { readonly capacity?: number; readonly capacityBytes?: number }) =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        return { ...(yield* start(receiver, options)), receiver }
      })

    it.effect("waits for room, and gets it when an event is acknowledged", () =>
      Effect.gen(function* () {
        const { memory, queue, receiver } = yield* waiting({ capacity: 2 })
        yield* queue.writeSome!([1, 2])
        const third = yield* Effect.forkChild(queue.write(3))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([third.pollUnsafe(), eventsOf(memory)], [undefined, [1, 2]])
        yield* receiver.release
        yield* settle
        assert.deepStrictEqual(third.pollUnsafe(), Exit.void)
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 2, 3])
      })
    )

    it.effect("waits for room in bytes", () =>
      Effect.gen(function* () {
        const { memory, queue } = yield* waiting({ capacityBytes: 4 })
        yield* queue.writeSome!([11, 22])
        const third = yield* Effect.forkChild(queue.write(3))
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([third.pollUnsafe(), eventsOf(memory)], [undefined, [11, 22]])
      })
    )

    it.effect("accepts in the order of writes: a large batch is not passed by small ones", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.make<number>((_, hold) => hold, { drainTimeout: 0, uninterruptible: false })
        const { memory, queue } = yield* start(receiver, { capacity: 3 })
        yield* queue.writeSome!([1, 2])
        yield* settle
        const batch = yield* Effect.forkChild(queue.writeSome!([3, 4, 5]))
        yield* settle
        const small = yield* Effect.forkChild(queue.write(6))
        yield* TestClock.adjust("1 second")
        // There is room for 6, and it is not its turn.
        assert.deepStrictEqual([small.pollUnsafe(), eventsOf(memory)], [undefined, [1, 2]])
        yield* receiver.release
        yield* TestClock.adjust("1 second")
        assert.isDefined(batch.pollUnsafe())
        assert.deepStrictEqual(small.pollUnsafe(), Exit.void)
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 2, 3, 4, 5, 6])
      })
    )

    it.effect("an interrupted writer makes way for those behind it", () =>
      Effect.gen(function* () {
        const { memory, queue } = yield* waiting({ capacity: 3 })
        yield* queue.writeSome!([1, 2])
        yield* settle
        const batch = yield* Effect.forkChild(queue.writeSome!([3, 4]))
        yield* settle
        const small = yield* Effect.forkChild(queue.write(5))
        yield* settle
        assert.isUndefined(small.pollUnsafe())
        yield* Fiber.interrupt(batch)
        yield* settle
        assert.deepStrictEqual([small.pollUnsafe(), eventsOf(memory)], [Exit.void, [1, 2, 5]])
      })
    )

    it.effect("of concurrent writers, those that fit are accepted", () =>
      Effect.gen(function* () {
        const { memory, queue } = yield* waiting({ capacity: 5 })
        const writers = range(1, 20).map((n) => Effect.forkChild(queue.write(n)))
        yield* Effect.all(writers)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(eventsOf(memory), range(1, 5))
        // Bytes too.
        const other = yield* waiting({ capacityBytes: 5 })
        yield* Effect.all(range(1, 9).map((n) => Effect.forkChild(other.queue.write(n))))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(eventsOf(other.memory), range(1, 5))
      })
    )

    it.effect("sees the room that another process makes", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const slow = yield* TestSink.slow<number>("1 second", { drainTimeout: 0 })
        yield* start(slow, { memory })
        yield* settle
        const { queue } = yield* start(yield* TestSink.recording<number>(), { memory, capacity: 1 })
        yield* queue.write(1)
        const second = yield* Effect.forkChild(queue.write(2))
        yield* TestClock.adjust(900)
        assert.isUndefined(second.pollUnsafe())
        yield* TestClock.adjust(300)
        assert.isDefined(second.pollUnsafe())
      })
    )

    it.effect("a batch larger than the capacity is accepted alone, when the queue is empty", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.slow<number>("1 second", { drainTimeout: 0 })
        const { memory, queue } = yield* start(receiver, { capacity: 2 })
        yield* queue.write(1)
        const batch = yield* Effect.forkChild(queue.writeSome!([2, 3, 4, 5]))
        yield* TestClock.adjust(900)
        assert.deepStrictEqual([batch.pollUnsafe(), eventsOf(memory)], [undefined, [1]])
        yield* TestClock.adjust(300)
        assert.isDefined(batch.pollUnsafe())
        assert.deepStrictEqual(eventsOf(memory), [2, 3, 4, 5])
      })
    )

    it.effect("a write from inside its own delivery passes the capacity", () =>
      Effect.gen(function* () {
        const received: Array<number> = []
        const place: { queue?: EventSink.EventSink<number, unknown> } = {}
        const receiver = yield* EventSink.make((n: number) =>
          Effect.suspend(() => {
            received.push(n)
            const { queue } = place
            return n < 3 ? Effect.andThen(queue!.write(n + 10), queue!.write(n + 20)) : Effect.void
          })
        )
        const { queue } = yield* start(receiver, { capacity: 1 })
        place.queue = queue
        yield* queue.write(1)
        const second = yield* Effect.forkChild(queue.write(2))
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(second.pollUnsafe(), Exit.void)
        yield* queue.flush
        assert.deepStrictEqual(received, [1, 11, 21, 2, 12, 22])
      })
    )
  })

  describe("reject", () => {
    it.effect("fails with QueueFull, and the caller may write again", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const { part: queue } = yield* open(
          DurableQueue.make({ name: "events", schema: Schema.Int, capacity: 2, overflow: "reject" })(receiver).pipe(
            Effect.provide(MemoryStore.layerOver(memory))
          )
        )
        yield* queue.write(1)
        yield* queue.write(2)
        const failure = yield* Effect.flip(queue.write(3))
        assert.instanceOf(failure, EventQueue.QueueFull)
        assert.deepInclude(failure, { queue: "events", capacity: 2 })
        assert.instanceOf(yield* Effect.flip(queue.writeSome!([3, 4])), EventQueue.QueueFull)
        yield* receiver.release
        yield* queue.flush
        yield* queue.write(3)
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 2, 3])
      })
    )

    it.effect("of concurrent writers, those that fit are accepted", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const { memory, queue } = yield* start(receiver, { capacity: 5, overflow: "reject" })
        const exits = yield* Effect.all(
          range(1, 20).map((n) => Effect.exit(queue.write(n))),
          { concurrency: "unbounded" }
        )
        assert.deepStrictEqual(
          exits.map(Exit.isSuccess),
          range(1, 20).map((n) => n <= 5)
        )
        assert.deepStrictEqual(eventsOf(memory), range(1, 5))
      })
    )
  })

  describe.each(["reject", "drop-newest"] as const)("%s, to many writers", (overflow) => {
    /** A queue of 5, with 3 in it. */
    const crowded = Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const dropped: Array<number> = []
      const onDropped = ({ event }: { readonly event: number }) => Effect.sync(() => void dropped.push(event))
      const process = yield* start(receiver, { capacity: 5, overflow, onDropped })
      yield* process.queue.writeSome!([1, 2, 3])
      yield* settle
      process.spy.calls.length = 0
      return { ...process, dropped }
    })
    const isRefused = (exit: Exit.Exit<unknown, unknown> | undefined) =>
      exit !== undefined && Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof EventQueue.QueueFull

    it.effect("refuses those that wait together with two questions to the store", () =>
      Effect.gen(function* () {
        const { dropped, memory, queue, spy } = yield* crowded
        yield* queue.writeSome!([4, 5])
        spy.calls.length = 0
        const writers = yield* Effect.all(range(101, 200).map((n) => Effect.forkChild(queue.write(n))))
        yield* settle
        assert.strictEqual(spy.count("publish"), 2)
        assert.isTrue(writers.every((writer) => writer.pollUnsafe() !== undefined))
        if (overflow === "reject") assert.isTrue(writers.every((writer) => isRefused(writer.pollUnsafe())))
        else assert.deepStrictEqual(dropped, range(101, 200))
        assert.deepStrictEqual(eventsOf(memory), range(1, 5))
      })
    )

    it.effect("a writer with less than a refused one is tried, in turn", () =>
      Effect.gen(function* () {
        const { memory, queue, spy } = yield* crowded
        const write = (...some: readonly [number, ...Array<number>]) => Effect.forkChild(queue.writeSome!(some))
        yield* write(10, 11, 12)
        yield* write(20, 21, 22)
        // As many bytes as the first in fewer rows, and as many rows in fewer bytes.
        yield* write(300_000, 30)
        yield* write(4, 5, 6)
        yield* write(40)
        yield* write(50)
        yield* write(60, 61, 62)
        yield* settle
        assert.deepStrictEqual(eventsOf(memory), [1, 2, 3, 300_000, 30])
        const appended = spy.calls
          .filter(({ name }) => name === "publish")
          .map(({ args }) => (args[1] as ReadonlyArray<EventStore.NewEvent>).map(({ payload }) => payload))
        // Each time first with those that may share a commit.
        assert.deepStrictEqual(
          appended.map((payloads) => new TextDecoder().decode(payloads[0])),
          ["10", "300000", "300000", "4", "4", "40"]
        )
      })
    )

    it.effect("a writer that comes during the store's answer is tried: there may be room by then", () =>
      Effect.gen(function* () {
        const { memory, queue, spy } = yield* crowded
        yield* queue.writeSome!([4, 5])
        spy.act = (name, run) => (name === "publish" ? Effect.tap(run, () => Effect.sleep(100)) : run)
        const early = yield* Effect.forkChild(queue.write(6))
        yield* settle
        const late = yield* Effect.forkChild(queue.write(7))
        queueOf(memory).acknowledge([1])
        yield* TestClock.adjust("1 second")
        assert.isDefined(early.pollUnsafe())
        assert.deepStrictEqual([late.pollUnsafe(), eventsOf(memory)], [Exit.void, range(2, 5).concat(7)])
      })
    )

    it.effect("an interrupted writer refuses no other", () =>
      Effect.gen(function* () {
        const { memory, queue, spy } = yield* crowded
        yield* queue.writeSome!([4, 5])
        spy.act = (name, run) => (name === "publish" ? Effect.tap(run, () => Effect.sleep(100)) : run)
        const writers = yield* Effect.all(range(6, 8).map((n) => Effect.forkChild(queue.write(n))))
        // 6 is tried alone, and interrupted.
        yield* TestClock.adjust(150)
        yield* Fiber.interrupt(writers[0]!)
        queueOf(memory).acknowledge([1])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([writers[1]!.pollUnsafe(), eventsOf(memory)], [Exit.void, range(2, 5).concat(7)])
      })
    )
  })

  describe("drop-newest", () => {
    it.effect("accepts and drops what does not fit, whole, and the write waits for its report", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const dropped: Array<readonly [number, string]> = []
        const { memory, queue } = yield* start(receiver, {
          capacity: 2,
          overflow: "drop-newest",
          onDropped: ({ event, reason }) =>
            Effect.andThen(
              Effect.sleep(100),
              Effect.sync(() => void dropped.push([event, reason._tag]))
            )
        })
        yield* queue.write(1)
        const batch = yield* Effect.forkChild(queue.writeSome!([2, 3]))
        yield* settle
        assert.isUndefined(batch.pollUnsafe())
        yield* TestClock.adjust(200)
        assert.isDefined(batch.pollUnsafe())
        assert.deepStrictEqual(dropped, [
          [2, "Overflow"],
          [3, "Overflow"]
        ])
        yield* queue.write(4)
        assert.deepStrictEqual(eventsOf(memory), [1, 4])
        assert.deepInclude(queue.node.health(0).counts, { accepted: 4, dropped: 2 })
      })
    )

    it.effect("an interrupted writer costs no report, and the close waits for it", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const dropped: Array<number> = []
        const { close, queue } = yield* start(receiver, {
          capacity: 1,
          overflow: "drop-newest",
          drainTimeout: 0,
          onDropped: ({ event }) =>
            Effect.andThen(
              Effect.sleep(100),
              Effect.sync(() => void dropped.push(event))
            )
        })
        yield* queue.write(1)
        const second = yield* Effect.forkChild(queue.write(2))
        yield* settle
        yield* Fiber.interrupt(second)
        const closing = yield* Effect.forkChild(close)
        yield* settle
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust(100)
        yield* settle
        assert.isDefined(closing.pollUnsafe())
        assert.deepStrictEqual(dropped, [2])
      })
    )
  })

  it.effect("drop-newest: what a writer is interrupted with before it is refused is not dropped", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const dropped: Array<number> = []
      const { queue, spy } = yield* start(receiver, {
        capacity: 1,
        overflow: "drop-newest",
        onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
      })
      yield* queue.write(1)
      spy.act = (name, run) => (name === "publish" ? Effect.delay(run, 100) : run)
      const second = yield* Effect.forkChild(queue.write(2))
      yield* settle
      yield* Fiber.interrupt(second)
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(dropped, [])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 1, dropped: 0 })
    })
  )

  it.effect("refuses an option that makes no sense", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      for (const odd of [
        { capacity: 0 },
        { capacityBytes: 0.5 },
        { batchSize: 0 },
        { leaseTtl: 0 },
        { leaseTtl: 99 }
      ]) {
        const exit = yield* Effect.exit(start(receiver, odd))
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof RangeError)
      }
    })
  )
})
