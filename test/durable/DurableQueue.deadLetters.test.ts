import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Fiber, Schedule, Schema } from "effect"
import { EventSink, RetryingSink, RetryStrategy } from "effect-events"
import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "../support/virtual.ts"
import { identity, start } from "./support/process.ts"
import { bytesOf, deadLettersOf, eventsOf, processOver, queueOf } from "./support/store.ts"

class Refused extends Data.TaggedError("Refused")<{}> {
  override get message(): string {
    return "refused with 503"
  }
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** A queue whose receiver fails on what `fails` holds for, until that changes. */
const failingOn = (fails: (n: number) => boolean) =>
  Effect.gen(function* () {
    const control = { fails }
    const received: Array<number> = []
    const receiver = yield* EventSink.make((n: number) =>
      Effect.suspend(() => (control.fails(n) ? Effect.fail("no") : Effect.sync(() => void received.push(n))))
    )
    return Object.assign(yield* start(receiver), { received, control })
  })

describe("the dead letters of a DurableQueue", () => {
  it.effect("are listed in the order in which they were deadLettered: the first 100, and page by page", () =>
    Effect.gen(function* () {
      const { queue } = yield* failingOn(() => true)
      yield* queue.writeSome!([1, ...range(2, 150)])
      yield* queue.flush
      yield* TestClock.adjust(5)
      yield* queue.writeSome!([151, ...range(152, 250)])
      yield* queue.flush
      const eventsOf = (page: ReadonlyArray<DurableQueue.DeadLetter<number>>) =>
        page.map(({ event }) => (event._tag === "Success" ? event.success : undefined))
      assert.deepStrictEqual(eventsOf(yield* queue.deadLetters.list()), range(1, 100))
      const all: Array<number | undefined> = []
      let after: DurableQueue.DeadLetter<number> | undefined
      for (;;) {
        const page = yield* queue.deadLetters.list({ after, limit: 60 })
        if (page.length === 0) break
        all.push(...eventsOf(page))
        after = page.at(-1)
      }
      assert.deepStrictEqual(all, range(1, 250))
    }).pipe(quiet)
  )

  it.effect("have the cause on which a retrier in between gave up", () =>
    Effect.gen(function* () {
      const receiver = yield* EventSink.make((_: number) => Effect.fail(new Refused()))
      const retried = yield* RetryingSink.make(RetryStrategy.fromSchedule(Schedule.recurs(1)))(receiver)
      const { queue } = yield* start(retried)
      yield* queue.write(1)
      yield* TestClock.adjust("1 minute")
      yield* queue.flush
      const [letter] = yield* queue.deadLetters.list()
      assert.include(letter?.cause, "gave up after 2 attempts")
      assert.include(letter?.cause, "refused with 503")
    }).pipe(quiet)
  )

  it.effect("are replayed at the end of the queue, in the order given: one, some, or all", () =>
    Effect.gen(function* () {
      const { control, memory, queue, received } = yield* failingOn((n) => n < 10)
      yield* queue.writeSome!([1, ...range(2, 12)])
      yield* queue.flush
      assert.deepStrictEqual(received, [10, 11, 12])
      control.fails = () => false
      const list = yield* queue.deadLetters.list()
      assert.strictEqual(yield* queue.deadLetters.replay(list[4]!), 1)
      yield* queue.flush
      assert.strictEqual(yield* queue.deadLetters.replay([list[2]!, list[0]!, list[1]!]), 3)
      yield* queue.flush
      assert.deepStrictEqual(received, [10, 11, 12, 5, 3, 1, 2])
      // What is gone is passed over.
      assert.strictEqual(yield* queue.deadLetters.replay([list[0]!, list[3]!]), 1)
      assert.strictEqual(yield* queue.deadLetters.replay([]), 0)
      assert.strictEqual(yield* queue.deadLetters.replay("all"), 4)
      yield* queue.flush
      assert.deepStrictEqual(received, [10, 11, 12, 5, 3, 1, 2, 4, 6, 7, 8, 9])
      assert.deepStrictEqual([deadLettersOf(memory), eventsOf(memory)], [[], []])
      assert.strictEqual(yield* queue.deadLetters.replay("all"), 0)
    }).pipe(quiet)
  )

  it.effect("that fail again are dead-lettered again, with all their attempts, and replaying all ends", () =>
    Effect.gen(function* () {
      const { memory, queue } = yield* failingOn(() => true)
      yield* queue.writeSome!([1, ...range(2, 20)])
      yield* queue.flush
      for (const attempts of [2, 3]) {
        assert.strictEqual(yield* queue.deadLetters.replay("all"), 20)
        yield* queue.flush
        const list = yield* queue.deadLetters.list()
        assert.deepStrictEqual(
          list.map((letter) => letter.attempts),
          range(1, 20).map(() => attempts)
        )
        assert.deepStrictEqual(deadLettersOf(memory), range(1, 20))
      }
      assert.strictEqual(queue.node.health(0).counts.deadLettered, 60)
      assert.strictEqual(queue.node.health(0).pending, 0)
    }).pipe(quiet)
  )

  it.effect("replaying all ends though each fails again before the next page is read", () =>
    Effect.gen(function* () {
      const { memory, queue, spy } = yield* failingOn(() => true)
      yield* EventSink.writeAll(queue, range(1, 1200))
      yield* queue.flush
      assert.strictEqual(queueOf(memory).figures().deadLetters, 1200)
      spy.act = (name, run) => (name === "deadLetters" ? Effect.andThen(queue.flush as Effect.Effect<void>, run) : run)
      assert.strictEqual(yield* queue.deadLetters.replay("all"), 1200)
      yield* queue.flush
      const list = yield* queue.deadLetters.list({ limit: 2_000 })
      assert.deepStrictEqual([...new Set(list.map(({ attempts }) => attempts))], [2])
    }).pipe(quiet)
  )

  it.effect("are replayed and purged while others are being deadLettered", () =>
    Effect.gen(function* () {
      const { memory, queue } = yield* failingOn(() => true)
      yield* queue.writeSome!([1, ...range(2, 100)])
      yield* queue.flush
      const writer = yield* Effect.forkChild(EventSink.writeAll(queue, range(101, 600)))
      const purged = yield* queue.deadLetters.purge("all")
      assert.isAtLeast(purged, 100)
      yield* Fiber.join(writer)
      yield* queue.flush
      yield* settle
      const left = deadLettersOf(memory)
      assert.strictEqual(left.length, 600 - purged)
      assert.deepStrictEqual(left, range(purged + 1, 600))
    }).pipe(quiet)
  )

  it.effect("are purged: one, some, or all, and are gone for good", () =>
    Effect.gen(function* () {
      const { memory, queue, received } = yield* failingOn(() => true)
      yield* queue.writeSome!([1, 2, 3, 4, 5])
      yield* queue.flush
      const list = yield* queue.deadLetters.list()
      assert.strictEqual(yield* queue.deadLetters.purge(list[1]!), 1)
      assert.strictEqual(yield* queue.deadLetters.purge([list[1]!, list[3]!]), 1)
      assert.deepStrictEqual(deadLettersOf(memory), [1, 3, 5])
      assert.strictEqual(yield* queue.deadLetters.purge("all"), 3)
      assert.deepStrictEqual([deadLettersOf(memory), eventsOf(memory), received], [[], [], []])
    }).pipe(quiet)
  )

  it.effect("are decoded anew when their turn comes", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf("odd"), bytesOf(1)])
      const old = yield* start(yield* TestSink.recording<number>(), { memory })
      yield* old.queue.flush
      yield* old.close
      const layer = MemoryStore.layerOver(memory)
      const newer = { name: "events", schema: Schema.Union([Schema.Int, Schema.String]) }
      const receiver = yield* TestSink.recording<number | string>()
      const queue = yield* Effect.provide(DurableQueue.make(newer)(receiver), layer)
      const [letter] = yield* queue.deadLetters.list()
      assert.isTrue(letter!.event._tag === "Success" && letter!.event.success === "odd")
      assert.strictEqual(yield* queue.deadLetters.replay("all"), 1)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, ["odd"])
    }).pipe(quiet)
  )

  it.effect("that still do not decode are dead-lettered again, without an attempt", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf("odd")])
      const { queue } = yield* start(yield* TestSink.recording<number>(), { memory })
      yield* queue.flush
      yield* queue.deadLetters.replay("all")
      yield* queue.flush
      const [letter, ...more] = yield* queue.deadLetters.list()
      assert.deepInclude(letter, { reason: "Undecodable", attempts: 0 })
      assert.deepStrictEqual(more, [])
    }).pipe(quiet)
  )

  it.effect("are managed without the queue, and the owner delivers what is replayed", () =>
    Effect.gen(function* () {
      const { control, memory, queue, received } = yield* failingOn(() => true)
      yield* queue.writeSome!([1, 2, 3])
      yield* queue.flush
      control.fails = () => false
      const letters = yield* Effect.provide(DurableQueue.deadLetters(identity), MemoryStore.layerOver(memory))
      const list = yield* letters.list()
      assert.strictEqual(list.length, 3)
      assert.strictEqual(yield* letters.purge(list[0]!), 1)
      assert.strictEqual(yield* letters.replay("all"), 2)
      yield* settle
      assert.deepStrictEqual(received, [2, 3])
    }).pipe(quiet)
  )

  it.effect("are managed when the queue is closed, too", () =>
    Effect.gen(function* () {
      const { close, memory, queue } = yield* failingOn(() => true)
      yield* queue.writeSome!([1, 2])
      yield* queue.flush
      yield* close
      assert.strictEqual((yield* queue.deadLetters.list()).length, 2)
      assert.strictEqual(yield* queue.deadLetters.replay("all"), 2)
      assert.deepStrictEqual(eventsOf(memory), [1, 2])
    }).pipe(quiet)
  )

  it.effect("fail typed when the store does", () =>
    Effect.gen(function* () {
      const { queue, spy } = yield* failingOn(() => true)
      yield* queue.write(1)
      yield* queue.flush
      spy.fail(["deadLetters", "replay", "purge", "figures", "bounds"])
      const { deadLetters, flush, pending } = queue
      const asked = [deadLetters.list(), deadLetters.replay("all"), deadLetters.purge({ position: 1 }), pending, flush]
      for (const one of asked) {
        const failure = yield* Effect.flip(one as Effect.Effect<unknown, EventStore.EventStoreError>)
        assert.instanceOf(failure, EventStore.EventStoreError)
      }
    }).pipe(quiet)
  )
})
