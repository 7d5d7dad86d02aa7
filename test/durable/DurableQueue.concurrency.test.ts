import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, type EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { quiet, settle } from "../support/virtual.ts"
import { type Options, start } from "./support/process.ts"
import { bytesOf, deadLettersOf, eventsOf, processOver, queueOf, type Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const byTens = (n: number) => n % 10

/** A receiver whose writes end on demand, or at once where `quick` holds. */
const receiving = (quick: (n: number) => boolean = () => false) =>
  Effect.gen(function* () {
    const begun: Array<number> = []
    const received: Array<number> = []
    const ends = new Map<number, Deferred.Deferred<void, string>>()
    const sink = yield* EventSink.make(
      (n: number) =>
        Effect.suspend(() => {
          begun.push(n)
          const end = Deferred.makeUnsafe<void, string>()
          ends.set(n, end)
          return Effect.map(quick(n) ? Effect.void : Deferred.await(end), () => void received.push(n))
        }),
      { drainTimeout: 0 }
    )
    const end = (exit: Exit.Exit<void, string>) =>
      Effect.fnUntraced(function* (...some: ReadonlyArray<number>) {
        for (const n of some) yield* Deferred.done(ends.get(n)!, exit)
        yield* settle
      })
    return { sink, begun, received, end: end(Exit.void), fail: end(Exit.fail("no")) }
  })

/** Another owner takes the lease, and releases it. */
const stolen = (memory: MemoryStore.Memory) =>
  Effect.gen(function* () {
    queueOf(memory).steal()
    yield* queueOf(memory).release
  })

type Receiver = Effect.Success<ReturnType<typeof receiving>>

const started = (receiver: Receiver, options: Options & { readonly memory?: MemoryStore.Memory; readonly spy?: Spy }) =>
  start(receiver.sink, options)

describe("DurableQueue with several writes at once", () => {
  it.effect("has `concurrency` writes under way, and no order", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { queue } = yield* started(receiver, { concurrency: 3 })
      yield* queue.writeSome!([1, ...range(2, 6)])
      yield* settle
      assert.deepStrictEqual(receiver.begun, [1, 2, 3])
      assert.deepInclude(queue.node.health(0), { inFlight: 3 })
      yield* receiver.end(2)
      assert.deepStrictEqual(receiver.begun, [1, 2, 3, 4])
      yield* receiver.end(4, 3, 1)
      yield* receiver.end(6, 5)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, [2, 4, 3, 1, 6, 5])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 6, delivered: 6 })
    })
  )

  it.effect("by keys: one of each key, in order, and a key that hangs holds up no other", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving((n) => n % 10 !== 1)
      const { memory, queue } = yield* started(receiver, { concurrency: 3, partitionBy: byTens })
      yield* queue.writeSome!([1, 2, 11, 12, 21, 3, 22, 13])
      yield* settle
      assert.deepStrictEqual(receiver.received, [2, 3, 12, 13, 22])
      yield* queue.write(4)
      yield* TestClock.adjust(200)
      assert.deepStrictEqual(receiver.received.at(-1), 4)
      assert.deepStrictEqual(eventsOf(memory), [1, 11, 21])
      yield* receiver.end(1)
      yield* receiver.end(11)
      yield* receiver.end(21)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received.slice(-3), [1, 11, 21])
    })
  )

  it.effect("reads on behind what hangs, and reads nothing twice", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving((n) => n !== 1)
      const { memory, queue, spy } = yield* started(receiver, { concurrency: 2, batchSize: 3 })
      yield* EventSink.writeAll(queue, range(1, 20))
      yield* settle
      assert.deepStrictEqual(receiver.received, range(2, 20))
      assert.deepStrictEqual(
        receiver.begun.toSorted((a, b) => a - b),
        range(1, 20)
      )
      assert.deepStrictEqual(eventsOf(memory), [1])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 20, delivered: 19 })
      // The store is not called while nothing happens, once it was swept and no lease has turned out to be of no use.
      yield* TestClock.adjust(10_000)
      const { length } = spy.calls
      yield* TestClock.adjust(15_000)
      assert.deepStrictEqual(
        spy.calls.slice(length).filter(({ name }) => name !== "renew"),
        []
      )
      yield* receiver.end(1)
      yield* queue.flush
      assert.deepStrictEqual(eventsOf(memory), [])
    })
  )

  it.effect("keeps no more than a batch in memory behind a key that hangs, and others as long as there is room", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving((n) => n % 10 !== 1)
      const { memory, queue, spy } = yield* started(receiver, { concurrency: 3, partitionBy: byTens, batchSize: 4 })
      yield* queue.writeSome!([1, 11, 21])
      yield* queue.writeSome!([2])
      yield* queue.writeSome!([3])
      yield* settle
      assert.deepStrictEqual(
        [receiver.received, eventsOf(memory)],
        [
          [2, 3],
          [1, 11, 21]
        ]
      )
      yield* queue.writeSome!([31, 41, 4])
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(
        [receiver.received, receiver.begun],
        [
          // The rest of the key that hangs is set aside.
          [2, 3, 4],
          [1, 2, 3, 4]
        ]
      )
      assert.isTrue(
        spy.calls.every(
          ({ args, name }) =>
            name !== "take" || (args[1] as ReadonlyArray<EventStore.Wanted>).every(({ limits }) => limits.rows <= 4)
        )
      )
      for (const n of [1, 11, 21, 31, 41]) {
        yield* receiver.end(n)
        yield* TestClock.adjust(200)
      }
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, [2, 3, 4, 1, 11, 21, 31, 41])
    })
  )

  it.effect("has `concurrency` writes under way though its batches are smaller", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { queue } = yield* started(receiver, { concurrency: 3, batchSize: 1 })
      yield* EventSink.writeAll(queue, range(1, 5))
      yield* settle
      assert.deepStrictEqual(receiver.begun, [1, 2, 3])
      yield* receiver.end(1, 2, 3)
      yield* receiver.end(4, 5)
      yield* queue.flush
    })
  )

  it.effect("a large event under way does not hold up the next", () =>
    Effect.gen(function* () {
      const begun: Array<number> = []
      const sink = yield* EventSink.make(
        (text: string) => {
          begun.push(text.length)
          return text.length > 10 ? Effect.never : Effect.void
        },
        { drainTimeout: 0 }
      )
      const memory = yield* MemoryStore.makeMemory
      const make = DurableQueue.make({ name: "events", schema: Schema.String, concurrency: 2, drainTimeout: 0 })
      const queue = yield* Effect.provide(make(sink), MemoryStore.layerOver(memory))
      // More than the 4 MiB that are read at once.
      const large = 5 * 1024 * 1024
      yield* queue.write("x".repeat(large))
      yield* queue.write("y")
      yield* settle
      assert.deepStrictEqual(begun, [large, 1])
    }).pipe(quiet)
  )

  it.effect("a read that began before an event was acknowledged does not deliver it again", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving((n) => n !== 1)
      const { queue, spy } = yield* started(receiver, { concurrency: 2, batchSize: 2 })
      yield* queue.writeSome!([1, 2])
      yield* settle
      // What it answers is from before.
      spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep(500)) : run)
      yield* queue.write(3)
      yield* TestClock.adjust(100)
      yield* receiver.end(1)
      yield* TestClock.adjust(2_000)
      yield* queue.flush
      assert.deepStrictEqual([...receiver.begun], [1, 2, 3])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 3, delivered: 3 })
    })
  )

  it.effect("the next process is given only what was not acknowledged, wherever that was in the queue", () =>
    Effect.gen(function* () {
      const first = yield* receiving((n) => n !== 2)
      const { close, memory, queue } = yield* started(first, { concurrency: 2, drainTimeout: 0 })
      yield* queue.writeSome!([1, 2, 3, 4])
      yield* settle
      yield* close
      const second = yield* receiving(() => true)
      const next = yield* started(second, { concurrency: 2, memory })
      yield* next.queue.flush
      assert.deepStrictEqual([first.received, second.received], [[1, 3, 4], [2]])
    }).pipe(quiet)
  )

  it.effect("acknowledges beside what hangs, within 100 ms; and at once when nothing else is to be done", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving((n) => n < 3)
      const { memory, queue } = yield* started(receiver, { concurrency: 3 })
      yield* queue.writeSome!([1, 2, 3, 4, 5])
      yield* settle
      assert.deepStrictEqual(receiver.begun, [1, 2, 3, 4, 5])
      yield* TestClock.adjust(101)
      assert.deepStrictEqual(eventsOf(memory), [3, 4, 5])
      yield* receiver.end(3)
      assert.deepStrictEqual(eventsOf(memory), [4, 5])
      // Now a drainer waits for changes, and has that to do.
      yield* receiver.end(5)
      assert.deepStrictEqual(eventsOf(memory), [4])
    })
  )

  it.effect("an event that fails is dead-lettered alone, with its own attempts", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { memory, queue } = yield* started(receiver, { concurrency: 3 })
      yield* queue.writeSome!([1, 2, 3, 4])
      yield* settle
      yield* receiver.fail(3, 1)
      yield* receiver.end(4, 2)
      yield* queue.flush
      assert.deepStrictEqual([deadLettersOf(memory), eventsOf(memory)], [[1, 3], []])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 4, delivered: 2, deadLettered: 2 })
      assert.strictEqual(yield* queue.deadLetters.replay("all"), 2)
      yield* settle
      yield* receiver.end(1, 3)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, [4, 2, 1, 3])
    }).pipe(quiet)
  )

  it.effect("gives each write the batch of one key, to a batch sink", () =>
    Effect.gen(function* () {
      const batches: Array<ReadonlyArray<number>> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        Effect.as(
          Effect.delay(
            Effect.sync(() => void batches.push(events)),
            10
          ),
          events.length
        )
      )
      const { queue } = yield* start(sink, { concurrency: 2, partitionBy: byTens })
      yield* queue.writeSome!([1, 2, 11, 3, 12, 21])
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(batches, [[1, 11, 21], [2, 12], [3]])
    })
  )

  it.effect("closes when all that are under way have ended, or reports all of them when the time is up", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { memory, queue } = yield* started(receiver, { concurrency: 3, drainTimeout: 1_000 })
      yield* queue.writeSome!([1, 2, 3, 4])
      yield* settle
      const closing = yield* Effect.forkChild(queue.shutdown)
      yield* settle
      yield* receiver.end(2)
      yield* TestClock.adjust(999)
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust(1)
      yield* settle
      const { count, inFlight } = yield* Fiber.join(closing)
      assert.deepStrictEqual([count, inFlight.toSorted()], [3, [1, 3]])
      assert.deepStrictEqual(eventsOf(memory), [1, 3, 4])
    }).pipe(quiet)
  )

  it.effect("drop-oldest drops nothing that is under way, and what it drops is not delivered", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const dropped: Array<number> = []
      const { memory, queue } = yield* started(receiver, {
        concurrency: 2,
        capacity: 4,
        overflow: "drop-oldest",
        onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
      })
      yield* queue.writeSome!([1, 2, 3, 4])
      yield* settle
      yield* queue.writeSome!([5, 6])
      yield* settle
      assert.deepStrictEqual(
        [dropped, eventsOf(memory)],
        [
          [3, 4],
          [1, 2, 5, 6]
        ]
      )
      yield* receiver.end(2)
      yield* receiver.end(1)
      yield* receiver.end(5, 6)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, [2, 1, 5, 6])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 6, delivered: 4, dropped: 2 })
    })
  )

  it.effect.each(["delivered", "deadLettered"])("drop-oldest does not drop what is %s while the queue is read", (end) =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const dropped: Array<number> = []
      const { memory, queue, spy } = yield* started(receiver, {
        concurrency: 2,
        partitionBy: byTens,
        capacity: 3,
        overflow: "drop-oldest",
        onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
      })
      yield* queue.writeSome!([1, 11])
      yield* settle
      spy.act = (name, run) => (name === "figures" ? Effect.tap(run, () => Effect.sleep(500)) : run)
      const writing = yield* Effect.forkChild(queue.writeSome!([2, 3, 4]))
      yield* settle
      const ended = end === "deadLettered" ? receiver.fail : receiver.end
      yield* ended(1)
      yield* ended(11)
      yield* TestClock.adjust(200)
      // The answer about the queue is from before.
      assert.deepStrictEqual(eventsOf(memory), [2, 3, 4])
      yield* TestClock.adjust(2_000)
      yield* Fiber.join(writing)
      assert.deepStrictEqual([dropped, eventsOf(memory), receiver.begun], [[], [2, 3, 4], [1, 11, 2, 3]])
      const { counts } = queue.node.health(0)
      assert.strictEqual(counts.accepted, 5)
    }).pipe(quiet)
  )

  it.effect("an owner whose lease was lost releases its events, and keeps the order of a key when it is back", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { memory, queue } = yield* started(receiver, { concurrency: 2, partitionBy: byTens, leaseTtl: 1_000 })
      yield* queue.writeSome!([1, 2, 11, 12, 21])
      yield* settle
      queueOf(memory).steal()
      yield* TestClock.adjust(1_000)
      yield* queueOf(memory).release
      yield* TestClock.adjust(1_000)
      // They are under way still, and no other owner has them.
      assert.deepStrictEqual(receiver.begun, [1, 2])
      yield* receiver.end(1)
      yield* receiver.end(2)
      for (const n of [11, 12, 21]) yield* receiver.end(n)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, [1, 2, 11, 12, 21])
    }).pipe(quiet)
  )

  it.effect.each([1, 2])(
    "with %d: what it had read under a lease that was lost, another may have delivered",
    (concurrency) =>
      Effect.gen(function* () {
        const receiver = yield* receiving()
        const { memory, queue } = yield* started(receiver, { concurrency, leaseTtl: 1_000 })
        yield* queue.writeSome!([1, 2, 3, 4, 5])
        yield* settle
        const other = queueOf(memory)
        other.steal()
        other.acknowledge(other.positions().slice(0, 4))
        yield* TestClock.adjust(1_000)
        yield* queueOf(memory).release
        yield* TestClock.adjust(1_000)
        for (const n of range(1, concurrency)) yield* receiver.end(n)
        yield* receiver.end(5)
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [...range(1, concurrency), 5])
      }).pipe(quiet)
  )

  it.effect("the rest of a batch is read again, when the lease was lost and acquired again meanwhile", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const end = yield* Deferred.make<void>()
      const sink = yield* EventSink.makeBatch(([first]: ReadonlyArray<number>) =>
        Effect.as(
          Effect.map(Deferred.await(end), () => void received.push(first ?? 0)),
          1
        )
      )
      const { memory, queue } = yield* start(sink, { concurrency: 2, partitionBy: byTens, leaseTtl: 1_000 })
      yield* queue.writeSome!([1, 11, 21, 31])
      yield* settle
      const other = queueOf(memory)
      other.steal()
      other.acknowledge([2, 3])
      yield* TestClock.adjust(1_000)
      yield* queueOf(memory).release
      yield* TestClock.adjust(1_000)
      yield* Deferred.succeed(end, undefined)
      yield* settle
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 31])
    }).pipe(quiet)
  )

  it.effect("the key of a drainer that waits for the lease is free for any other when it is back", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { memory, queue, spy } = yield* started(receiver, { concurrency: 3, partitionBy: byTens, leaseTtl: 1_000 })
      yield* queue.writeSome!([1, 2])
      yield* settle
      spy.act = (name, run) => (name === "claim" ? Effect.tap(run, () => Effect.sleep(500)) : run)
      yield* stolen(memory)
      yield* TestClock.adjust(400)
      // No owner has the lease now, so they are not dead-lettered.
      yield* receiver.fail(1, 2)
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(receiver.begun, [1, 2, 1, 2])
    }).pipe(quiet)
  )

  it.effect("the rest of a batch that failed is read again too, though nothing is to be acknowledged", () =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<number, string>()
      const batches: Array<ReadonlyArray<number>> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
        batches.push(events)
        return batches.length === 1 ? Deferred.await(end) : Effect.succeed(events.length)
      })
      const { memory, queue } = yield* start(sink, { concurrency: 2, partitionBy: byTens, leaseTtl: 1_000 })
      yield* queue.writeSome!([1, 11, 21])
      yield* settle
      yield* stolen(memory)
      yield* TestClock.adjust(2_000)
      yield* Deferred.fail(end, "no")
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(batches, [[1, 11, 21], [1], [11, 21]])
      assert.deepStrictEqual(eventsOf(memory), [])
    }).pipe(quiet)
  )

  it.effect("the rest of a batch is not passed by what is read meanwhile", () =>
    Effect.gen(function* () {
      const end = yield* Deferred.make<void>()
      const batches: Array<ReadonlyArray<number>> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
        batches.push(events)
        return batches.length === 1 ? Effect.as(Deferred.await(end), 1) : Effect.succeed(events.length)
      })
      const { memory, queue, spy } = yield* start(sink, { concurrency: 2, partitionBy: byTens, leaseTtl: 1_000 })
      yield* queue.writeSome!([1, 11, 21])
      yield* settle
      yield* stolen(memory)
      yield* TestClock.adjust(2_000)
      spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep(50)) : run)
      yield* queue.write(31)
      yield* TestClock.adjust(10)
      yield* Deferred.succeed(end, undefined)
      yield* TestClock.adjust(1_000)
      assert.deepStrictEqual(batches, [
        [1, 11, 21],
        [11, 21, 31]
      ])
    }).pipe(quiet)
  )

  it.effect.each(["read", "being read"])("what fails as the lease is lost is not passed by what is %s", (state) =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      const { memory, queue, spy } = yield* started(receiver, { concurrency: 2, partitionBy: byTens, leaseTtl: 1_000 })
      yield* queue.writeSome!([1, 11])
      yield* settle
      // By the time it is dead-lettered, its lease is not the one that the queue has.
      spy.act = (name, run) => {
        if (name === "deadLetter") return Effect.delay(run, 600)
        return name === "take" && state === "being read" ? Effect.tap(run, () => Effect.sleep(400)) : run
      }
      yield* stolen(memory)
      yield* receiver.fail(1)
      yield* TestClock.adjust(2_000)
      assert.deepStrictEqual([receiver.begun, deadLettersOf(memory)], [[1, 1], []])
      yield* receiver.end(1)
      yield* TestClock.adjust(2_000)
      assert.deepStrictEqual(receiver.begun, [1, 1, 11])
    }).pipe(quiet)
  )

  it.effect('onUndecodable "pause" waits for what is before it', () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf(1), bytesOf(2), bytesOf("odd"), bytesOf(4)])
      const receiver = yield* receiving()
      yield* started(receiver, { memory, concurrency: 3, onUndecodable: "pause" })
      yield* settle
      assert.deepStrictEqual(receiver.begun, [1, 2])
      yield* receiver.end(1)
      // It has the lease as long as something is under way.
      assert.strictEqual((yield* store.acquire(Duration.seconds(1))) !== undefined, false)
      yield* receiver.end(2)
      yield* TestClock.adjust(200)
      assert.strictEqual((yield* store.acquire(Duration.seconds(1))) !== undefined, true)
      assert.deepStrictEqual(eventsOf(memory), ["odd", 4])
      assert.deepStrictEqual(receiver.begun, [1, 2])
    }).pipe(quiet)
  )

  it.effect('onUndecodable "pause" acknowledges what was delivered while the queue was read', () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      const receiver = yield* receiving()
      const { queue, spy } = yield* started(receiver, { memory, concurrency: 2, onUndecodable: "pause" })
      yield* queue.write(1)
      yield* settle
      spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep(50)) : run)
      yield* store.append([bytesOf("odd")])
      yield* settle
      yield* receiver.end(1)
      yield* TestClock.adjust(200)
      assert.strictEqual((yield* store.acquire(Duration.seconds(1))) !== undefined, true)
      assert.deepStrictEqual(eventsOf(memory), ["odd"])
    }).pipe(quiet)
  )

  it.effect("what partitionBy throws, the write dies of; and an event that it throws for later is deadLettered", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving(() => true)
      let isStrict = true
      const { memory, queue } = yield* started(receiver, {
        concurrency: 2,
        partitionBy: (n) => {
          if (n === 2 && isStrict) throw new Error("no key")
          return n
        }
      })
      for (const write of [queue.write(2), queue.writeSome!([1, 2])]) {
        const exit = yield* Effect.exit(write)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
      assert.deepStrictEqual(eventsOf(memory), [])
      const store = yield* processOver(memory)
      yield* store.append([bytesOf(1), bytesOf(2), bytesOf(3)])
      yield* queue.flush
      assert.deepStrictEqual([receiver.received, deadLettersOf(memory)], [[1, 3], [2]])
      isStrict = false
      yield* queue.deadLetters.replay("all")
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, [1, 3, 2])
    }).pipe(quiet)
  )

  it.effect("refuses a concurrency that makes no sense", () =>
    Effect.gen(function* () {
      const receiver = yield* receiving()
      for (const concurrency of [0, 1.5, Number.POSITIVE_INFINITY]) {
        const exit = yield* Effect.exit(started(receiver, { concurrency }))
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof RangeError)
      }
    })
  )
})
