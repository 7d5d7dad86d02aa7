import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber } from "effect"
import { EventSink } from "effect-events"
import { MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { pass, quiet, settle, withLogs } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { Spy, bytesOf, deadLettersOf, error, eventsOf, processOver } from "./support/store.ts"

const failureOf = (exit: Exit.Exit<unknown, unknown> | undefined): unknown =>
  exit !== undefined && Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined

/** Begins an effect, and answers how long it took in virtual milliseconds. */
const timed = <A, E>(effect: Effect.Effect<A, E>) =>
  Effect.forkChild(
    Effect.map(Effect.timed(effect), ([duration, value]) => ({ took: Duration.toMillis(duration), value }))
  )

const valueOf = <A, E>(fiber: Fiber.Fiber<A, E>): A | undefined => {
  const exit = fiber.pollUnsafe()
  return exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
}

describe("DurableQueue, closing", () => {
  it.effect("waits for what is being delivered, delivers nothing more, and says how much it keeps", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.slow<number>("1 second")
      const { memory, queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2, 3])
      yield* settle
      const shutdown = yield* timed(queue.shutdown)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(valueOf(shutdown), { took: 1_000, value: { count: 2, inFlight: [] } })
      assert.deepStrictEqual([receiver.received, eventsOf(memory)], [[1], [2, 3]])
      assert.deepInclude(queue.node.health(0), { state: "closed", pending: 0, inFlight: 0 })
      assert.deepInclude(queue.node.health(0).counts, { accepted: 3, delivered: 1, remaining: 2 })
    })
  )

  it.effect("abandons what hangs when drainTimeout is up, and says that it was in flight", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const { memory, queue } = yield* start(receiver, { drainTimeout: "3 seconds" })
      yield* queue.writeSome!([1, 2])
      yield* settle
      const shutdown = yield* timed(queue.shutdown)
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.deepStrictEqual(valueOf(shutdown), { took: 3_000, value: { count: 2, inFlight: [1] } })
      assert.deepStrictEqual(eventsOf(memory), [1, 2])
    })
  )

  it.effect("says how much it keeps of what other processes wrote too", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const { memory, queue } = yield* start(receiver, { drainTimeout: 0 })
      yield* queue.write(1)
      yield* settle
      const other = yield* processOver(memory)
      yield* other.append([bytesOf(2), bytesOf(3)])
      const shutdown = yield* timed(queue.shutdown)
      yield* settle
      assert.deepStrictEqual(valueOf(shutdown)?.value, { count: 3, inFlight: [1] })
      assert.deepInclude(queue.node.health(0), { pending: 0 })
    })
  )

  it.effect("abandons a batch whole", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ batchSize: 10, drainTimeout: 0 })
      const { queue } = yield* start(receiver, { drainTimeout: 0 })
      yield* queue.writeSome!([1, 2, 3])
      yield* settle
      assert.deepStrictEqual(yield* queue.shutdown, { count: 3, inFlight: [1, 2, 3] })
    })
  )

  it.effect("names what refuses interruption in a warning, and takes no acknowledgement from it later", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.uninterruptible<number>({ name: "stubborn", drainTimeout: 0 })
        const { memory, queue } = yield* start(receiver, { drainTimeout: "1 second" })
        yield* queue.write(1)
        yield* settle
        const shutdown = yield* timed(queue.shutdown)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(valueOf(shutdown)?.value, { count: 1, inFlight: [1] })
        assert.isTrue(logs.some(({ level, line }) => level === "WARN" && line.includes("stubborn")))
        yield* receiver.release
        yield* settle
        assert.deepStrictEqual(eventsOf(memory), [1])
      })
    )
  )

  it.effect("every call gets the same, the scope's close waits too, and an interrupted call leaves it alone", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.slow<number>("1 second")
      const { close, queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2])
      yield* settle
      const first = yield* Effect.forkChild(queue.shutdown)
      const second = yield* Effect.forkChild(queue.shutdown)
      const closing = yield* Effect.forkChild(close)
      yield* settle
      yield* Fiber.interrupt(first)
      assert.isUndefined(second.pollUnsafe() ?? closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.isDefined(closing.pollUnsafe())
      const remaining = valueOf(second)
      assert.deepStrictEqual(remaining, { count: 1, inFlight: [] })
      assert.strictEqual(yield* queue.shutdown, remaining)
    })
  )

  it.effect("logs how much remains, and nothing when that is nothing", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const hanging = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const one = yield* start(hanging, { drainTimeout: 0 })
        yield* one.queue.writeSome!([770_001, 770_002])
        yield* settle
        yield* one.close
        assert.deepStrictEqual(
          logs.map(({ level, line }) => [level, line.includes("closed with 2 events remaining, 1 of them in flight")]),
          [["INFO", true]]
        )
        assert.isFalse(logs[0]!.line.includes("7700"))
        logs.length = 0
        const other = yield* start(yield* TestSink.recording<number>())
        yield* other.queue.write(1)
        yield* other.queue.flush
        yield* other.close
        assert.deepStrictEqual(logs, [])
      })
    )
  )

  it.effect("keeps what fails meanwhile, whatever the failure", () =>
    Effect.gen(function* () {
      const ways: ReadonlyArray<Effect.Effect<void, string>> = [
        Effect.fail("no"),
        Effect.die("a defect"),
        Effect.interrupt,
        Effect.withFiber((fiber) => {
          fiber.interruptUnsafe()
          return Effect.yieldNow
        })
      ]
      for (const way of ways) {
        const receiver = yield* TestSink.make<number, string>(() => Effect.andThen(Effect.sleep("1 second"), way))
        const { memory, queue } = yield* start(receiver)
        yield* queue.writeSome!([1, 2])
        yield* settle
        const shutdown = yield* Effect.forkChild(queue.shutdown)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.deepStrictEqual(valueOf(shutdown), { count: 2, inFlight: [] })
        assert.deepStrictEqual([eventsOf(memory), deadLettersOf(memory)], [[1, 2], []])
      }
    }).pipe(quiet)
  )

  it.effect("of a batch that fails in part, delivers no more", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.make<number, string>(
        (attempt) => Effect.andThen(Effect.sleep("1 second"), attempt === 1 ? Effect.fail("no") : Effect.void),
        { batchSize: 100 }
      )
      const { memory, queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2, 3])
      yield* settle
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("5 seconds")
      yield* settle
      assert.deepStrictEqual(valueOf(shutdown), { count: 3, inFlight: [] })
      assert.deepStrictEqual([receiver.attempts, eventsOf(memory)], [1, [1, 2, 3]])
    }).pipe(quiet)
  )

  it.effect("a move to the dead letters that is under way is finished", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.failing<number>()
      const spy = new Spy()
      spy.act = (name, run) => (name === "deadLetter" ? Effect.andThen(Effect.sleep("1 second"), run) : run)
      const { memory, queue } = yield* start(receiver, { spy })
      yield* queue.writeSome!([1, 2])
      yield* settle
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(valueOf(shutdown), { count: 1, inFlight: [] })
      assert.deepStrictEqual([eventsOf(memory), deadLettersOf(memory)], [[2], [1]])
    }).pipe(quiet)
  )

  it.effect("a move to the dead letters that the store refuses ends in time, and the event remains", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.failing<number>()
      const spy = new Spy()
      spy.fail(["deadLetter"])
      const { memory, queue } = yield* start(receiver, { spy, drainTimeout: "3 seconds" })
      yield* queue.write(1)
      yield* settle
      const shutdown = yield* timed(queue.shutdown)
      yield* TestClock.adjust("3 seconds")
      yield* settle
      assert.deepStrictEqual(valueOf(shutdown)?.value, { count: 1, inFlight: [] })
      assert.deepStrictEqual([eventsOf(memory), deadLettersOf(memory)], [[1], []])
    }).pipe(quiet)
  )

  it.effect("acknowledges what was delivered, and releases the lease", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ from: 2, drainTimeout: 0 })
      const { close, memory, queue } = yield* start(receiver, { drainTimeout: 0 })
      yield* queue.writeSome!([1, 2])
      yield* settle
      assert.deepStrictEqual(eventsOf(memory), [1, 2])
      yield* close
      assert.deepStrictEqual(eventsOf(memory), [2])
      const other = yield* processOver(memory)
      assert.strictEqual((yield* other.acquire(Duration.seconds(1))) !== undefined, true)
    })
  )

  it.effect("releases a lease that it had requested when the time was up", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const spy = new Spy()
      // It is given at once, and the answer takes its time.
      spy.act = (name, run) => (name === "claim" ? Effect.tap(run, () => Effect.sleep("3 seconds")) : run)
      const { close, memory } = yield* start(receiver, { spy, drainTimeout: "1 second" })
      yield* settle
      const closing = yield* timed(close)
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(valueOf(closing)?.took, 3_000)
      const other = yield* processOver(memory)
      yield* other.append([bytesOf(1)])
      assert.strictEqual((yield* other.acquire(Duration.seconds(1))) !== undefined, true)
    })
  )

  it.effect("gives up a request for a lease without an answer", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const spy = new Spy()
      let ended = 0
      spy.act = (name, run) =>
        name === "claim" ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => ended++)) : run
      const { close } = yield* start(receiver, { spy, drainTimeout: "1 second" })
      yield* settle
      const closing = yield* timed(close)
      yield* TestClock.adjust("7 seconds")
      yield* settle
      assert.isAtMost(valueOf(closing)?.took ?? Infinity, 6_000)
      assert.deepStrictEqual([ended, spy.count("claim")], [1, 1])
    })
  )

  it.effect("logs that it could not acknowledge", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const receiver = yield* TestSink.hanging<number>({ from: 2, drainTimeout: 0 })
        const { close, queue, spy } = yield* start(receiver, { drainTimeout: 0 })
        yield* queue.writeSome!([1, 2])
        yield* settle
        spy.fail(["acknowledge"])
        yield* close
        assert.isTrue(logs.some(({ level, line }) => level === "WARN" && line.includes("deliver again")))
        // The lease is given back all the same.
        assert.strictEqual(spy.count("release"), 1)
      })
    )
  )

  it.effect("of a receiver closes the queue, which keeps everything", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.closing<number>({ from: 2 })
      const { memory, queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2, 3])
      yield* settle
      assert.strictEqual(queue.node.state, "closed")
      assert.deepStrictEqual([eventsOf(memory), deadLettersOf(memory)], [[2, 3], []])
      const failure = failureOf(yield* Effect.exit(queue.write(4)))
      assert.instanceOf(failure, EventSink.SinkClosed)
      // It is the queue that is closed for its writers.
      assert.strictEqual(failure.sink, "events")
      assert.deepStrictEqual(yield* queue.shutdown, { count: 2, inFlight: [] })
      const other = yield* processOver(memory)
      assert.strictEqual((yield* other.acquire(Duration.seconds(1))) !== undefined, true)
    })
  )

  it.effect("of a batch sink leaves the rest of the batch in the store", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.closing<number>({ batchSize: 2, from: 2 })
      const { memory, queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2, 3, 4, 5])
      yield* settle
      assert.deepStrictEqual(yield* queue.shutdown, { count: 3, inFlight: [] })
      assert.deepStrictEqual(eventsOf(memory), [3, 4, 5])
    })
  )

  it.effect("refuses writers that wait for a commit, and waits for the one under way", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const receiver = yield* TestSink.recording<number>()
      const { memory, queue } = yield* start(receiver, { spy })
      yield* settle
      spy.act = (name, run) => (name === "publish" ? Effect.andThen(Effect.sleep("1 second"), run) : run)
      const first = yield* Effect.forkChild(Effect.exit(queue.write(1)))
      yield* settle
      const second = yield* Effect.forkChild(Effect.exit(queue.write(2)))
      yield* settle
      const shutdown = yield* timed(queue.shutdown)
      yield* settle
      assert.instanceOf(failureOf(valueOf(second)), EventSink.SinkClosed)
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.deepStrictEqual(valueOf(first), Exit.void)
      assert.deepStrictEqual(valueOf(shutdown)?.value, { count: 1, inFlight: [] })
      assert.deepStrictEqual(eventsOf(memory), [1])
    })
  )

  describe("with a store that hangs", () => {
    const hanging = ["publish", "acknowledge", "release", "renew", "claim", "take", "deadLetter", "figures"] as const

    it.effect.each([[["publish"]], [["acknowledge"]], [["release"]], [["take"]], [["deadLetter"]], [hanging]] as const)(
      "is over within drainTimeout and 5 seconds: %s",
      ([names]) =>
        Effect.gen(function* () {
          const receiver = yield* TestSink.failing<number>({ times: 1 })
          const spy = new Spy()
          const { close, memory, queue } = yield* start(receiver, { spy, drainTimeout: "2 seconds" })
          yield* settle
          const store = yield* processOver(memory)
          spy.hang(names)
          const write = yield* Effect.forkChild(Effect.exit(queue.write(1)))
          yield* settle
          yield* store.append([new TextEncoder().encode("2")])
          yield* settle
          const shutdown = yield* Effect.forkChild(queue.shutdown)
          const closing = yield* timed(close)
          yield* TestClock.adjust("7 seconds")
          yield* settle
          assert.isAtMost(valueOf(closing)?.took ?? Infinity, 7_000)
          assert.isDefined(valueOf(shutdown))
          // No writer is left without an answer.
          assert.isDefined(write.pollUnsafe())
          if (!new Set<string>(names).has("publish")) return
          const failure = failureOf(valueOf(write))
          assert.deepInclude(failure, { _tag: "DurableWriteError" })
          assert.deepInclude((failure as { reason: object }).reason, { _tag: "EventStoreError", maybeCommitted: true })
        }).pipe(quiet)
    )
  })

  it.effect(
    "of the only queue of its process releases its lease, and asks for nothing more, while a settlement takes 10 seconds",
    () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const { close, queue, spy } = yield* start(yield* TestSink.recording<number>(), { memory })
        yield* queue.flush
        spy.act = (name, run) => (name === "acknowledge" ? Effect.delay(Effect.fail(error(name)), "10 seconds") : run)
        yield* queue.write(1)
        yield* TestClock.adjust("1 second")
        const closing = yield* Effect.forkChild(close)
        yield* pass(6)
        assert.isDefined(closing.pollUnsafe())
        // The lease is released.
        const receiver = yield* TestSink.recording<number>()
        yield* start(receiver, { memory })
        yield* pass(1)
        assert.deepStrictEqual(receiver.received, [1])
        spy.calls.length = 0
        yield* pass(60)
        assert.deepStrictEqual(spy.calls, [])
      }).pipe(quiet)
  )

  it.effect("of a standby leaves the owner alone, and is over at once", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const receiver = yield* TestSink.recording<number>()
      const owner = yield* start(receiver, { memory })
      yield* settle
      const standby = yield* start(yield* TestSink.recording<number>(), { memory })
      yield* TestClock.adjust("1 second")
      const closing = yield* timed(standby.close)
      yield* settle
      assert.strictEqual(valueOf(closing)?.took, 0)
      yield* owner.queue.write(1)
      yield* owner.queue.flush
      assert.deepStrictEqual(receiver.received, [1])
    })
  )

  it.effect("fails writers that wait for room with SinkClosed, and stores none of their events", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const { close, memory, queue } = yield* start(receiver, { capacity: 1, drainTimeout: 0 })
      yield* queue.write(1)
      const waiting = yield* Effect.forkChild(Effect.exit(queue.write(2)))
      const behind = yield* Effect.forkChild(Effect.exit(queue.write(3)))
      yield* settle
      yield* close
      yield* settle
      assert.instanceOf(failureOf(valueOf(waiting)), EventSink.SinkClosed)
      assert.instanceOf(failureOf(valueOf(behind)), EventSink.SinkClosed)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(eventsOf(memory), [1])
    })
  )

  it.effect("refuses a writer without room just then", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const spy = new Spy()
      const { memory, queue } = yield* start(receiver, { capacity: 1, spy })
      yield* queue.write(1)
      spy.act = (name, run) => (name === "publish" ? Effect.tap(run, () => Effect.sleep("1 second")) : run)
      const second = yield* Effect.forkChild(Effect.exit(queue.write(2)))
      yield* settle
      yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.instanceOf(failureOf(valueOf(second)), EventSink.SinkClosed)
      assert.deepStrictEqual(eventsOf(memory), [1])
    })
  )

  it.effect("the next process goes on where it was", () =>
    Effect.gen(function* () {
      const one = yield* TestSink.hanging<number>({ from: 3, drainTimeout: 0 })
      const { close, memory, queue } = yield* start(one, { drainTimeout: 0 })
      yield* queue.writeSome!([1, 2, 3, 4])
      yield* settle
      yield* close
      const next = yield* TestSink.recording<number>()
      const process = yield* start(next, { memory })
      yield* process.queue.flush
      assert.deepStrictEqual(
        [one.received, next.received],
        [
          [1, 2],
          [3, 4]
        ]
      )
    })
  )
})
