import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Logger, Schema, Stream } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { open, quiet, settle, withLogs } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { Spy, bytesOf, deadLettersOf, error, eventsOf, processOver, queueOf } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

const deadLetters = (queue: DurableQueue.DurableQueue<number, unknown>) =>
  Effect.map(queue.deadLetters.list(), (list) =>
    list.map(({ attempts, event, reason }) => ({
      event: event._tag === "Success" ? event.success : undefined,
      reason,
      attempts
    }))
  )

describe("DurableQueue, delivering", () => {
  it.effect("gives events one by one to a sink, in order", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const { memory, queue } = yield* start(receiver)
      yield* EventSink.writeAll(queue, range(1, 1200))
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, range(1, 1200))
      assert.strictEqual(receiver.attempts, 1200)
      assert.deepStrictEqual(eventsOf(memory), [])
    })
  )

  it.effect("gives batches to a batch sink, of batchSize at most", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf(1), ...range(2, 25).map(bytesOf)])
      const receiver = yield* TestSink.recording<number>({ batchSize: 100 })
      const { queue, spy } = yield* start(receiver, { memory, batchSize: 10 })
      yield* queue.flush
      assert.deepStrictEqual(receiver.batches, [10, 10, 5])
      assert.deepStrictEqual(receiver.received, range(1, 25))
      assert.deepStrictEqual(spy.sizes("acknowledge"), [10, 10, 5])
    })
  )

  it.effect("gives events at once to a synchronous sink", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const receiver = yield* EventSink.sync((n: number) => {
        if (n === 3) throw new Error("not three")
        received.push(n)
      })
      const { queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2, 3, 4, 5])
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 2, 4, 5])
      assert.deepStrictEqual(yield* deadLetters(queue), [{ event: 3, reason: "Died", attempts: 1 }])
    }).pipe(quiet)
  )

  it.effect("delivers what a process before it has left, and what another writes", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf(1), bytesOf(2)])
      const receiver = yield* TestSink.recording<number>()
      yield* start(receiver, { memory })
      yield* settle
      assert.deepStrictEqual(receiver.received, [1, 2])
      yield* store.append([bytesOf(3)])
      yield* settle
      assert.deepStrictEqual(receiver.received, [1, 2, 3])
    })
  )

  it.effect("does not call the store while there is nothing to do, but for the lease", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const { queue, spy } = yield* start(receiver)
      yield* queue.write(1)
      yield* queue.flush
      // Its size is read once more after the last commit.
      yield* TestClock.adjust("5 seconds")
      spy.calls.length = 0
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([...new Set(spy.calls.map(({ name }) => name))], ["renew"])
      assert.isAtMost(spy.count("renew"), 19)
    })
  )

  it.effect("acknowledges every 100 ms while a slow sink delivers one by one", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.slow<number>("30 millis", { drainTimeout: 0 })
      const { memory, queue, spy } = yield* start(receiver)
      yield* queue.writeSome!([1, ...range(2, 20)])
      yield* TestClock.adjust(150)
      assert.isAtLeast(spy.count("acknowledge"), 1)
      assert.isAtMost(eventsOf(memory).length, 17)
      yield* TestClock.adjust(200)
      assert.isAtMost(eventsOf(memory).length, 20 - 8)
      assert.isAtMost(spy.count("acknowledge"), 4)
    })
  )

  it.effect("acknowledges what is delivered within 100 ms, however long the next delivery takes", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.make<number>(
        (attempt, hold) => (attempt === 1 ? Effect.sleep(500) : attempt === 3 ? hold : Effect.void),
        { drainTimeout: 0 }
      )
      const { memory, queue } = yield* start(receiver)
      yield* queue.write(1)
      yield* settle
      yield* queue.write(2)
      const flushed = yield* Effect.forkChild(queue.flush)
      yield* settle
      yield* queue.write(3)
      yield* TestClock.adjust(500)
      assert.deepStrictEqual(receiver.received, [1, 2])
      yield* TestClock.adjust(100)
      yield* settle
      assert.deepStrictEqual([eventsOf(memory), flushed.pollUnsafe()], [[3], Exit.void])
    })
  )

  it.effect("goes on acknowledging when the store fails while a delivery takes its time", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ from: 2, drainTimeout: 0 })
      const { memory, queue, spy } = yield* start(receiver)
      spy.fail(["acknowledge"])
      yield* queue.writeSome!([1, 2])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(eventsOf(memory), [1, 2])
      spy.heal()
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(eventsOf(memory), [2])
      yield* receiver.release
      yield* settle
      assert.deepStrictEqual([eventsOf(memory), receiver.received], [[], [1, 2]])
    }).pipe(quiet)
  )

  it.effect("loses no acknowledgement of what is delivered while another is under way", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.slow<number>("40 millis")
      const spy = new Spy()
      spy.act = (name, run) => (name === "acknowledge" ? Effect.andThen(Effect.sleep(130), run) : run)
      const { memory, queue } = yield* start(receiver, { spy })
      yield* queue.writeSome!([1, ...range(2, 30)])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([eventsOf(memory), receiver.received], [[], range(1, 30)])
    })
  )

  it.effect("the lease is kept during a long delivery", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const receiver = yield* TestSink.slow<number>("1 hour", { drainTimeout: 0 })
      const other = yield* TestSink.recording<number>()
      const { queue } = yield* start(receiver, { memory })
      yield* start(other, { memory })
      yield* queue.write(1)
      for (let minute = 0; minute < 60; minute++) yield* TestClock.adjust("1 minute")
      yield* settle
      assert.deepStrictEqual([receiver.received, other.received, eventsOf(memory)], [[1], [], []])
    })
  )

  describe("a failure", () => {
    it.effect("dead-letters the event with its cause, its attempts and its times, and delivery goes on", () =>
      Effect.gen(function* () {
        yield* TestClock.adjust(1_000)
        const receiver = yield* TestSink.make<number, TestSink.TestError>((attempt) =>
          attempt === 2
            ? Effect.andThen(Effect.sleep(500), Effect.fail(new TestSink.TestError({ attempt })))
            : Effect.void
        )
        const { memory, queue } = yield* start(receiver)
        yield* queue.writeSome!([1, 2, 3])
        yield* TestClock.adjust(500)
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 3])
        assert.deepStrictEqual([eventsOf(memory), deadLettersOf(memory)], [[], [2]])
        const [letter] = yield* queue.deadLetters.list()
        assert.deepInclude(letter, { reason: "Failed", attempts: 1, writtenAt: 1_000, deadLetteredAt: 1_500 })
        assert.isTrue(letter!.cause.includes("TestError"))
        assert.deepStrictEqual(letter!.payload, bytesOf(2))
        assert.isTrue(letter!.event._tag === "Success" && letter!.event.success === 2)
      }).pipe(quiet)
    )

    it.effect("that is a defect, or an interruption of the sink's own making, dead-letters it as Died", () =>
      Effect.gen(function* () {
        for (const make of [TestSink.dying<number>, TestSink.selfInterrupting<number>]) {
          const receiver = yield* make({ when: (attempt) => attempt === 2 })
          const { queue } = yield* start(receiver)
          yield* queue.writeSome!([1, 2, 3])
          yield* queue.flush
          assert.deepStrictEqual(receiver.received, [1, 3])
          assert.deepStrictEqual(yield* deadLetters(queue), [{ event: 2, reason: "Died", attempts: 1 }])
        }
      }).pipe(quiet)
    )

    it.effect("that interrupts the very fiber of the drainer dead-letters it, and delivery goes on", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.make<number>((attempt) =>
          attempt !== 2
            ? Effect.void
            : Effect.withFiber((fiber) => {
                fiber.interruptUnsafe()
                return Effect.yieldNow
              })
        )
        const { queue } = yield* start(receiver)
        yield* queue.writeSome!([1, 2, 3])
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 3])
        assert.deepStrictEqual(yield* deadLetters(queue), [{ event: 2, reason: "Died", attempts: 1 }])
      }).pipe(quiet)
    )

    it.effect("of a batch is narrowed down to the event that caused it", () =>
      Effect.gen(function* () {
        const receiver = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
          events.includes(7)
            ? Effect.fail("seven")
            : Effect.sync(() => {
                received.push(...events)
                return events.length
              })
        )
        const received: Array<number> = []
        const { queue } = yield* start(receiver)
        yield* queue.writeSome!([1, ...range(2, 20)])
        yield* queue.flush
        assert.deepStrictEqual(
          received,
          range(1, 20).filter((n) => n !== 7)
        )
        assert.deepStrictEqual(yield* deadLetters(queue), [{ event: 7, reason: "Failed", attempts: 1 }])
      }).pipe(quiet)
    )

    it.effect("keeps a text of its cause of 8 KiB at most", () =>
      Effect.gen(function* () {
        const receiver = yield* EventSink.make((_: number) => Effect.fail("x".repeat(100_000)))
        const { queue } = yield* start(receiver)
        yield* queue.write(1)
        yield* queue.flush
        const [letter] = yield* queue.deadLetters.list()
        assert.strictEqual(letter!.cause.length, 8_192)
      }).pipe(quiet)
    )

    it.effect("is dead-lettered when the store works again, and nothing behind it is delivered before", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.make<number, TestSink.TestError>((attempt) =>
          attempt === 1 ? Effect.fail(new TestSink.TestError({ attempt })) : Effect.void
        )
        const { memory, queue, spy } = yield* start(receiver)
        spy.fail(["deadLetter"])
        yield* queue.writeSome!([1, 2])
        yield* TestClock.adjust("10 seconds")
        assert.isAtLeast(spy.count("deadLetter"), 5)
        assert.deepStrictEqual([receiver.received, deadLettersOf(memory), eventsOf(memory)], [[], [], [1, 2]])
        spy.heal()
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([receiver.received, deadLettersOf(memory), eventsOf(memory)], [[2], [1], []])
        assert.deepInclude(queue.node.health(0).counts, { delivered: 1, deadLettered: 1 })
      }).pipe(quiet)
    )

    it.effect("that was dead-lettered without an answer is dead-lettered once", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.failing<number>()
        const { memory, queue, spy } = yield* start(receiver)
        let n = 0
        spy.act = (name, run) =>
          name === "deadLetter" && ++n === 1
            ? Effect.andThen(run, Effect.fail(error(name, { maybeCommitted: true })))
            : run
        yield* queue.write(1)
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual([deadLettersOf(memory), eventsOf(memory)], [[1], []])
        assert.deepInclude(queue.node.health(0).counts, { delivered: 0, deadLettered: 1 })
      }).pipe(quiet)
    )

    it.effect("is logged at doubling counts, with no content of an event", () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const receiver = yield* TestSink.make<number, string>((attempt) =>
            attempt <= 20 ? Effect.fail("no") : Effect.void
          )
          const { queue } = yield* start(receiver)
          yield* EventSink.writeAll(queue, range(770_001, 770_021))
          yield* queue.flush
          const lines = logs.filter(({ level }) => level === "ERROR").map(({ line }) => line)
          // 1, 2, 4, 8, 16, and the rest when it delivers again.
          assert.strictEqual(lines.length, 6)
          const reported = lines.map((line) => Number(/moved (\d+|an) event/.exec(line)?.[1]?.replace("an", "1")))
          assert.strictEqual(
            reported.reduce((a, b) => a + b, 0),
            20
          )
          assert.isFalse(logs.some(({ line }) => line.includes("7700")))
        })
      )
    )
  })

  describe("an event that does not decode", () => {
    const Old = Schema.Int
    const withOdd = Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf(1), bytesOf("odd"), bytesOf(3)])
      return { memory, store }
    })

    it.effect("is dead-lettered before it is delivered, and delivery goes on", () =>
      Effect.gen(function* () {
        const { memory } = yield* withOdd
        const receiver = yield* TestSink.recording<number>()
        const { queue } = yield* start(receiver, { memory })
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1, 3])
        const [letter] = yield* queue.deadLetters.list()
        assert.deepInclude(letter, { reason: "Undecodable", attempts: 0 })
        assert.deepStrictEqual(letter!.payload, bytesOf("odd"))
        assert.strictEqual(letter!.event._tag, "Failure")
        assert.isFalse(letter!.cause.includes("odd"))
        assert.deepInclude(queue.node.health(0).counts, { delivered: 2, deadLettered: 1, accepted: 3 })
      }).pipe(quiet)
    )

    it.effect("that is not even JSON is dead-lettered too", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const store = yield* processOver(memory)
        const bad = [new Uint8Array([0xff, 0xfe]), new Uint8Array(), new TextEncoder().encode("{")] as const
        yield* store.append(bad)
        const receiver = yield* TestSink.recording<number>()
        const { queue } = yield* start(receiver, { memory })
        yield* queue.write(1)
        yield* queue.flush
        assert.deepStrictEqual(receiver.received, [1])
        assert.deepStrictEqual(queueOf(memory).figures().deadLetters, 3)
      }).pipe(quiet)
    )

    it.effect("is retried to be dead-lettered while the store fails", () =>
      Effect.gen(function* () {
        const { memory } = yield* withOdd
        const receiver = yield* TestSink.recording<number>()
        const spy = new Spy()
        spy.fail(["deadLetter"])
        yield* start(receiver, { memory, spy })
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual([eventsOf(memory).includes("odd"), deadLettersOf(memory)], [true, []])
        spy.heal()
        yield* TestClock.adjust("10 seconds")
        assert.deepStrictEqual([receiver.received, deadLettersOf(memory)], [[1, 3], ["odd"]])
      }).pipe(quiet)
    )

    it.effect("pauses delivery in front of it when so configured: logged once, and without the lease", () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const { memory, store } = yield* withOdd
          const receiver = yield* TestSink.recording<number>()
          const { close, queue, spy } = yield* start(receiver, { memory, onUndecodable: "pause" })
          yield* settle
          assert.deepStrictEqual([receiver.received, eventsOf(memory), deadLettersOf(memory)], [[1], ["odd", 3], []])
          assert.isUndefined(queueOf(memory).figures().deadLetters || undefined)
          // Its writes work.
          yield* queue.write(4)
          // Its size is read once more after that.
          yield* TestClock.adjust("5 seconds")
          spy.calls.length = 0
          yield* TestClock.adjust("5 minutes")
          assert.deepStrictEqual(spy.calls, [])
          const errors = logs.filter(({ level }) => level === "ERROR")
          assert.strictEqual(errors.length, 1)
          assert.isTrue(errors[0]!.line.includes("paused delivery"))
          assert.isFalse(errors[0]!.line.includes('\\"odd\\"'))
          // Another process can have it.
          assert.isDefined(yield* store.acquire(Duration.seconds(1)))
          yield* close
          assert.deepStrictEqual(eventsOf(memory), ["odd", 3, 4])
        })
      )
    )

    it.effect("which pauses an old owner is delivered by a new one on standby", () =>
      Effect.gen(function* () {
        const { memory } = yield* withOdd
        const receiver = yield* TestSink.recording<number>()
        const { queue: old } = yield* start(receiver, { memory, onUndecodable: "pause" })
        const newer = yield* TestSink.recording<number | string>()
        const { part: queue } = yield* open(
          DurableQueue.make({ name: "events", schema: Schema.Union([Old, Schema.String]), onUndecodable: "pause" })(
            newer
          ).pipe(Effect.provide(MemoryStore.layerOver(memory)))
        )
        yield* TestClock.adjust(500)
        yield* settle
        assert.deepStrictEqual([receiver.received, newer.received], [[1], ["odd", 3]])
        yield* old.write(5)
        yield* queue.flush
        assert.deepStrictEqual(newer.received, ["odd", 3, 5])
      }).pipe(quiet)
    )
  })

  describe("a store that fails", () => {
    it.effect(
      "fails writes typed, and the delivery goes on when it is back: logged at doubling counts, and once at the end",
      () =>
        withLogs((logs) =>
          Effect.gen(function* () {
            const receiver = yield* TestSink.recording<number>()
            const { memory, queue, spy } = yield* start(receiver)
            const store = yield* processOver(memory)
            yield* settle
            spy.fail(["publish", "take", "acknowledge", "renew", "claim", "figures", "deadLetter", "release"])
            assert.isTrue(Exit.isFailure(yield* Effect.exit(queue.write(1))))
            yield* store.append([bytesOf(2)])
            yield* TestClock.adjust("5 minutes")
            assert.deepStrictEqual(receiver.received, [])
            const lines = () => logs.filter(({ line }) => line.includes("store")).map(({ level }) => level)
            assert.isAtLeast(lines().length, 5)
            assert.isAtMost(lines().length, 8)
            assert.deepStrictEqual([...new Set(lines())], ["ERROR"])
            spy.heal()
            yield* TestClock.adjust("6 seconds")
            assert.deepStrictEqual(receiver.received, [2])
            assert.strictEqual(lines().filter((level) => level === "INFO").length, 1)
            yield* queue.write(3)
            yield* queue.flush
            assert.strictEqual(lines().filter((level) => level === "INFO").length, 1)
          })
        )
    )

    it.effect("and is back with nothing to deliver is logged at once", () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const receiver = yield* TestSink.recording<number>()
          const spy = new Spy()
          spy.fail(["claim"])
          yield* start(receiver, { spy })
          yield* TestClock.adjust("1 second")
          spy.heal()
          yield* TestClock.adjust("6 seconds")
          assert.isTrue(logs.some(({ level, line }) => level === "INFO" && line.includes("has its store again")))
        })
      )
    )

    it.effect("and is back while another owner has the lease is logged at once", () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const memory = yield* MemoryStore.makeMemory
          yield* start(yield* TestSink.recording<number>(), { memory })
          yield* settle
          const spy = new Spy()
          spy.fail(["claim"])
          yield* start(yield* TestSink.recording<number>(), { memory, spy })
          yield* settle
          spy.heal()
          yield* TestClock.adjust(110)
          assert.isTrue(logs.some(({ level, line }) => level === "INFO" && line.includes("has its store again")))
        })
      )
    )

    it.effect("only at a move to the dead letters is logged, and that it is back", () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const receiver = yield* TestSink.failing<number>({ times: 2 })
          const { queue, spy } = yield* start(receiver)
          for (const n of [1, 2]) {
            spy.fail(["deadLetter"])
            yield* queue.write(n)
            yield* TestClock.adjust(1_500)
            spy.heal()
            yield* TestClock.adjust("2 seconds")
          }
          const reported = logs.filter(({ line }) => line.includes("store")).map(({ level }) => level)
          // At doubling counts while it fails, and once when it is back.
          assert.deepStrictEqual(
            reported.filter((level, i) => level !== reported[i - 1]),
            ["ERROR", "INFO", "ERROR", "INFO"]
          )
        })
      )
    )

    it.effect("by a defect is as a failure: the call is repeated after a pause", () =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.recording<number>()
        const { queue, spy } = yield* start(receiver)
        spy.act = (name, run) => (name === "take" ? Effect.die(new Error("a defect of the store")) : run)
        yield* queue.write(1)
        yield* settle
        const asked = spy.count("take")
        yield* settle
        assert.strictEqual(spy.count("take"), asked)
        spy.heal()
        yield* TestClock.adjust("5 seconds")
        assert.deepStrictEqual(receiver.received, [1])
      }).pipe(quiet)
    )

    it.effect("of its changes is listened to again", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const other = yield* processOver(memory)
        const receiver = yield* TestSink.recording<number>()
        let listened = 0
        yield* start(receiver, {
          memory,
          store: (store) => ({
            ...store,
            changes: Stream.suspend(() => {
              listened++
              return listened % 2 === 1 ? Stream.fail(error("changes")) : store.changes
            })
          })
        })
        yield* settle
        yield* other.append([bytesOf(1)])
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(receiver.received, [1])
        yield* other.append([bytesOf(2)])
        yield* settle
        assert.deepStrictEqual([receiver.received, listened], [[1, 2], 2])
      }).pipe(quiet)
    )
  })

  it.effect("counts a dead letter that is stored, though the delivery is interrupted while that is logged", () =>
    Effect.gen(function* () {
      const receiver = yield* EventSink.make((n: number) => (n === 1 ? Effect.fail("no") : Effect.void))
      const { memory, queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2])
      yield* queue.flush
      assert.deepStrictEqual([deadLettersOf(memory), eventsOf(memory)], [[1], []])
      assert.deepInclude(queue.node.health(0).counts, { accepted: 2, delivered: 1, deadLettered: 1 })
    }).pipe(
      Effect.provideService(
        Logger.CurrentLoggers,
        new Set<Logger.Logger<unknown, unknown>>([Logger.make(({ fiber }) => fiber.interruptUnsafe())])
      )
    )
  )
})
