import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Scope, Stream } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle, withLogs } from "../support/virtual.ts"
import { identity, start } from "./support/process.ts"

import { Spy, bytesOf, deadLettersOf, error, eventsOf, processOver, queueOf } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** A process that owns the queue, and a standby. */
const two = (options: Parameters<typeof start>[1] = {}) =>
  Effect.gen(function* () {
    const memory = yield* MemoryStore.makeMemory
    const receivers = [yield* TestSink.recording<number>(), yield* TestSink.recording<number>()] as const
    const owner = yield* start(receivers[0], { memory, ...options })
    yield* settle
    const standby = yield* start(receivers[1], { memory, ...options })
    yield* settle
    return { memory, owner, standby, first: receivers[0], second: receivers[1] }
  })

/** A process whose receiver is one that the test says, and what the store and the clock of another owner would do. */
const paused = (receiver: TestSink.TestSink<number, unknown>, options: Parameters<typeof start>[1] = {}) =>
  Effect.gen(function* () {
    const memory = yield* MemoryStore.makeMemory
    const spy = new Spy()
    const process = yield* start(receiver, { memory, spy, ...options })
    yield* settle
    // Its fibers stand still, as far as the store knows: what it asks is asked when it goes on.
    let goOn: Array<() => void> = []
    const pause = () => {
      spy.act = (_, run) =>
        Effect.andThen(
          Effect.callback<void>((resume) => void goOn.push(() => resume(Effect.void))),
          run
        )
    }
    const resume = Effect.suspend(() => {
      spy.heal()
      const all = goOn
      goOn = []
      for (const one of all) one()
      return settle
    })
    return { ...process, pause, resume }
  })

describe("DurableQueue, owned", () => {
  it.effect("one process delivers, and the writes of the other work", () =>
    Effect.gen(function* () {
      const { first, owner, second, standby } = yield* two()
      yield* standby.queue.write(1)
      yield* owner.queue.write(2)
      yield* standby.queue.write(3)
      yield* standby.queue.flush
      assert.deepStrictEqual([first.received, second.received], [[1, 2, 3], []])
    })
  )

  it.effect("the flush of a standby waits for the owner", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const slow = yield* TestSink.slow<number>("1 second", { drainTimeout: 0 })
      yield* start(slow, { memory })
      yield* settle
      const { queue } = yield* start(yield* TestSink.recording<number>(), { memory })
      yield* queue.write(1)
      const flush = yield* Effect.forkChild(queue.flush)
      yield* TestClock.adjust(900)
      assert.isUndefined(flush.pollUnsafe())
      yield* TestClock.adjust(400)
      assert.isDefined(flush.pollUnsafe())
      assert.deepStrictEqual(slow.received, [1])
    })
  )

  it.effect("the flush of a process without notifications polls", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const slow = yield* TestSink.slow<number>("1 second", { drainTimeout: 0 })
      yield* start(slow, { memory })
      yield* settle
      const deaf = Stream.concat(Stream.succeed(undefined), Stream.never)
      const receiver = yield* TestSink.recording<number>()
      const { queue } = yield* start(receiver, { memory, store: (store) => ({ ...store, changes: deaf }) })
      yield* queue.write(1)
      const flush = yield* Effect.forkChild(queue.flush)
      yield* TestClock.adjust(1_300)
      assert.isDefined(flush.pollUnsafe())
    })
  )

  it.effect("the other takes over within 250 ms when the owner releases the lease", () =>
    Effect.gen(function* () {
      const { first, memory, owner, second, standby } = yield* two()
      yield* TestClock.adjust("3 seconds")
      yield* owner.close
      yield* standby.queue.write(1)
      yield* TestClock.adjust(250)
      yield* settle
      assert.deepStrictEqual([first.received, second.received, eventsOf(memory)], [[], [1], []])
    })
  )

  it.effect("a standby that began to wait just now takes over within 250 ms too", () =>
    Effect.gen(function* () {
      const { owner, second, standby } = yield* two()
      yield* standby.queue.write(1)
      yield* owner.queue.flush
      yield* owner.close
      yield* standby.queue.write(2)
      yield* TestClock.adjust(250)
      assert.deepStrictEqual(second.received, [2])
    })
  )

  it.effect("the other takes over when the owner has not been heard of for leaseTtl, and no earlier", () =>
    Effect.gen(function* () {
      for (const leaseTtl of ["10 seconds", "2 seconds"] as const) {
        const { owner, second, standby } = yield* two({ leaseTtl })
        yield* owner.queue.write(0)
        yield* owner.queue.flush
        owner.spy.hang(["renew", "claim", "take", "acknowledge"])
        yield* standby.queue.write(1)
        const ttl = leaseTtl === "10 seconds" ? 10_000 : 2_000
        yield* TestClock.adjust(ttl - 10)
        assert.deepStrictEqual(second.received, [])
        yield* TestClock.adjust(20)
        yield* settle
        assert.deepStrictEqual(second.received, [1])
      }
    })
  )

  it.effect(
    "claims a few times without a lease, and then no more often than four times a second, whatever is written",
    () =>
      Effect.gen(function* () {
        const { owner, standby } = yield* two()
        yield* owner.queue.write(0)
        yield* owner.queue.flush
        standby.spy.calls.length = 0
        for (const n of range(1, 100)) {
          yield* standby.queue.write(n)
          yield* TestClock.adjust(10)
        }
        assert.isAtMost(standby.spy.count("claim"), 8 + 5)
        // And seldom for how much there is.
        assert.isAtMost(standby.spy.count("figures"), 1)
      })
  )

  it.effect("renews at every third of leaseTtl", () =>
    Effect.gen(function* () {
      const { owner } = yield* two({ leaseTtl: "3 seconds" })
      yield* owner.queue.write(1)
      yield* owner.queue.flush
      owner.spy.calls.length = 0
      yield* TestClock.adjust("30 seconds")
      assert.isAtLeast(owner.spy.count("renew"), 29)
      assert.isAtMost(owner.spy.count("renew"), 31)
    })
  )

  it.effect(
    "an owner that was paused for longer delivers nothing before it has renewed, and acknowledges nothing",
    () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const receiver = yield* TestSink.make<number>((attempt) =>
            attempt === 1 ? Effect.sleep("1 minute") : Effect.void
          )
          const { memory, pause, queue, resume, spy } = yield* paused(receiver)
          yield* queue.writeSome!([1, 2, 3])
          yield* settle
          pause()
          yield* TestClock.adjust("20 seconds")
          // Another has taken the lease, and delivered the first.
          const other = yield* processOver(memory)
          const acquired = yield* other.acquire(Duration.hours(1))
          assert.isDefined(acquired)
          yield* TestClock.adjust("40 seconds")
          spy.calls.length = 0
          yield* resume
          yield* TestClock.adjust("1 minute")
          // The write that was under way ended; nothing else began.
          assert.deepStrictEqual(receiver.attempts, 1)
          assert.deepStrictEqual(eventsOf(memory), [1, 2, 3])
          assert.strictEqual(spy.count("take"), 0)
          const warnings = logs.filter(({ level }) => level === "WARN")
          assert.strictEqual(warnings.length, 1)
          assert.isTrue(warnings[0]!.line.includes("lost its lease"))
        })
      )
  )

  it.effect("an owner that was paused within a batch delivers no more of it before it has renewed", () =>
    Effect.gen(function* () {
      for (const isTaken of [true, false]) {
        const memory = yield* MemoryStore.makeMemory
        const received: Array<number> = []
        // Takes one event of each batch, and the first takes a while.
        const receiver = yield* EventSink.makeBatch(([n]: ReadonlyArray<number>) =>
          Effect.suspend(() => {
            if (n !== undefined) received.push(n)
            return Effect.as(received.length === 1 ? Effect.sleep("1 minute") : Effect.void, 1)
          })
        )
        const { close, queue, spy } = yield* start(receiver, { memory, drainTimeout: 0 })
        yield* settle
        yield* queue.writeSome!([1, 2, 3])
        yield* settle
        spy.hang(["renew", "acknowledge"])
        yield* TestClock.adjust("30 seconds")
        const other = yield* processOver(memory)
        if (isTaken) yield* other.acquire(Duration.hours(1))
        yield* TestClock.adjust("30 seconds")
        // The write that was under way has ended, and the store has not answered yet.
        assert.deepStrictEqual(received, [1])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(closing)
      }
    }).pipe(quiet)
  )

  it.effect("an owner that was paused for longer and finds the lease untouched goes on", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.make<number>((attempt) =>
        attempt === 1 ? Effect.sleep("1 minute") : Effect.void
      )
      const { memory, pause, queue, resume, spy } = yield* paused(receiver)
      yield* queue.writeSome!([1, 2, 3])
      yield* settle
      pause()
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(receiver.attempts, 1)
      yield* resume
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual([receiver.received, eventsOf(memory)], [[1, 2, 3], []])
      assert.isAtLeast(spy.count("renew"), 1)
    })
  )

  it.effect("an owner that lost the lease dead-letters nothing", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.make<number, string>((attempt) =>
        attempt === 1 ? Effect.andThen(Effect.sleep("1 minute"), Effect.fail("no")) : Effect.void
      )
      const { memory, pause, queue, resume } = yield* paused(receiver)
      yield* queue.writeSome!([1, 2])
      yield* settle
      pause()
      yield* TestClock.adjust("20 seconds")
      const other = yield* processOver(memory)
      yield* other.acquire(Duration.hours(1))
      yield* TestClock.adjust("40 seconds")
      yield* resume
      assert.deepStrictEqual([deadLettersOf(memory), eventsOf(memory), receiver.received], [[], [1, 2], []])
    }).pipe(quiet)
  )

  it.effect("of a batch of which one event is left to the next owner, nothing passes that event", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const received: Array<number> = []
      let isBad = true
      const act = (n: number) => {
        if (n === 2 && isBad) throw new Error("not now")
        received.push(n)
      }
      for (const receiver of [
        yield* EventSink.sync(act),
        yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
          Effect.sync(() => {
            act(events[0]!)
            return 1
          })
        )
      ]) {
        received.length = 0
        isBad = true
        const spy = new Spy()
        // Another has the lease for a moment, just before the event is dead-lettered.
        spy.act = (name, run) => {
          if (name !== "deadLetter") return run
          isBad = false
          queueOf(memory).steal()
          return Effect.andThen(queueOf(memory).release, run)
        }
        const { close, queue } = yield* start(receiver, { memory, spy })
        yield* queue.writeSome!([1, 2, 3, 4])
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual([...new Set(received)], [1, 2, 3, 4])
        assert.deepStrictEqual([eventsOf(memory), deadLettersOf(memory)], [[], []])
        yield* close
      }
    }).pipe(quiet)
  )

  it.effect("what was read under a lease that was lost meanwhile is not delivered", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const spy = new Spy()
      const receiver = yield* TestSink.recording<number>()
      const other = yield* processOver(memory)
      yield* other.append([bytesOf(1), bytesOf(2)])
      // The answer is long on its way.
      let lost = false
      spy.act = (name, run) => {
        if (name === "take" && !lost) return Effect.tap(run, () => Effect.sleep("30 seconds"))
        if (name === "renew" && !lost) return Effect.fail(error(name))
        return run
      }
      yield* start(receiver, { memory, spy })
      yield* TestClock.adjust("15 seconds")
      const acquired = yield* other.acquire(Duration.minutes(1))
      if (acquired === undefined) return assert.fail("the lease has not run out")
      yield* other.acknowledge(acquired, [1, 2])
      lost = true
      yield* TestClock.adjust("14 seconds")
      yield* other.release(acquired)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(receiver.received, [])
    }).pipe(quiet)
  )

  it.effect("gets the lease back, and goes on with what the other has left", () =>
    Effect.gen(function* () {
      const { first, memory, owner, second, standby } = yield* two()
      owner.spy.fail(["renew", "claim", "take", "acknowledge"])
      yield* standby.queue.write(1)
      yield* TestClock.adjust("15 seconds")
      assert.deepStrictEqual(second.received, [1])
      owner.spy.heal()
      yield* TestClock.adjust("15 seconds")
      yield* standby.close
      yield* TestClock.adjust("1 second")
      yield* owner.queue.write(2)
      yield* settle
      assert.deepStrictEqual([first.received, second.received, eventsOf(memory)], [[2], [1], []])
    }).pipe(quiet)
  )

  it.effect("made twice in one process: one delivers, and the other takes over when it closes", () =>
    Effect.gen(function* () {
      const names = ["first", "second", "third"] as const
      const received: Array<string> = []
      const [first, second, third] = yield* Effect.forEach(names, (name) =>
        Effect.gen(function* () {
          const scope = yield* Scope.make()
          const receiver = EventSink.make((n: number) => Effect.sync(() => void received.push(`${name} ${n}`)))
          const queue = yield* Scope.provide(Effect.flatMap(receiver, DurableQueue.make(identity)), scope)
          yield* settle
          return { queue, close: Scope.close(scope, Exit.void) }
        })
      )
      if (first === undefined || second === undefined || third === undefined) return assert.fail("there are three")
      yield* third.queue.write(1)
      yield* third.queue.flush
      yield* second.close
      yield* first.queue.write(2)
      yield* settle
      yield* first.close
      yield* third.queue.write(3)
      yield* settle
      assert.deepStrictEqual(received, ["first 1", "first 2", "third 3"])
      yield* third.close
    }).pipe(Effect.provide(MemoryStore.layer))
  )
})
