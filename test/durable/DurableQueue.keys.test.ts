import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Latch } from "effect"
import { EventSink } from "effect-events"
import { MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { pass, quiet, settle } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { bytesOf, eventsOf, processOver, queueOf, Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
/** 1, 11, 21, ... have the key 1. */
const key = (n: number) => n % 10
const ofKey = (k: number, times: number) => range(0, times - 1).map((i) => 10 * i + k)
const first = (all: ReadonlyArray<number>) => all as unknown as readonly [number, ...Array<number>]

/** A receiver on which events of key 1 wait until `open`. */
const receiving = Effect.gen(function* () {
  const received: Array<number> = []
  let underWay = 0
  let most = 0
  const gate = yield* Deferred.make<void>()
  const sink = yield* EventSink.make(
    (n: number) =>
      Effect.gen(function* () {
        if (key(n) === 1) {
          most = Math.max(most, ++underWay)
          yield* Deferred.await(gate)
          underWay--
        }
        received.push(n)
      }),
    { drainTimeout: 0 }
  )
  return { sink, received, most: () => most, open: Deferred.succeed(gate, undefined) }
})

describe("DurableQueue by keys", () => {
  it.effect("a key that hangs with any backlog behind it holds up no other, and stays in order", () =>
    Effect.gen(function* () {
      const { most, open, received, sink } = yield* receiving
      const { memory, queue } = yield* start(sink, { concurrency: 2, partitionBy: key, batchSize: 10 })
      yield* EventSink.writeAll(queue, first(ofKey(1, 600)))
      yield* EventSink.writeAll(queue, [2, 3, 12])
      yield* EventSink.writeAll(queue, first(ofKey(1, 5).map((n) => n + 6000)))
      yield* queue.writeSome!([22])
      yield* Effect.repeat(settle, { times: 30 })
      assert.deepStrictEqual(received, [2, 3, 12, 22])
      assert.strictEqual(queueOf(memory).figures().pending, 605)
      yield* open
      yield* queue.flush
      assert.deepStrictEqual(
        received.filter((n) => key(n) === 1),
        [...ofKey(1, 600), ...ofKey(1, 5).map((n) => n + 6000)]
      )
      assert.deepStrictEqual([most(), eventsOf(memory)], [1, []])
      // The lane is forgotten: the key is in order again.
      yield* queue.write(1)
      yield* queue.write(2)
      yield* queue.flush
      assert.deepStrictEqual(received.slice(-2).toSorted(), [1, 2])
    })
  )

  it.effect("the next process keeps the order of what was set aside, and of what was in flight", () =>
    Effect.gen(function* () {
      const { received: before, sink } = yield* receiving
      const memory = yield* MemoryStore.makeMemory
      const spy = new Spy()
      const old = yield* start(sink, { concurrency: 2, partitionBy: key, batchSize: 10, memory, spy, drainTimeout: 0 })
      yield* EventSink.writeAll(old.queue, first(ofKey(1, 50)))
      yield* EventSink.writeAll(old.queue, [2])
      yield* Effect.repeat(settle, { times: 30 })
      assert.deepStrictEqual(before, [2])
      // It is gone without a word.
      spy.hang(["renew", "claim", "take", "acknowledge", "deadLetter", "release", "figures", "bounds"])
      const received: Array<number> = []
      const next = yield* start(yield* EventSink.make((n: number) => Effect.sync(() => void received.push(n))), {
        concurrency: 3,
        partitionBy: key,
        batchSize: 7,
        memory
      })
      yield* EventSink.writeAll(next.queue, first(ofKey(1, 5).map((n) => n + 6000)))
      yield* TestClock.adjust("11 seconds")
      yield* next.queue.flush
      assert.deepStrictEqual(received, [...ofKey(1, 50), ...ofKey(1, 5).map((n) => n + 6000)])
    }).pipe(quiet)
  )

  it.effect("keys of any order and speed: each is in order, and nothing is lost or repeated", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.make((n: number) =>
        Effect.andThen(
          key(n) < 3 ? Effect.sleep(20) : Effect.yieldNow,
          Effect.sync(() => void received.push(n))
        )
      )
      const { memory, queue } = yield* start(sink, { concurrency: 3, partitionBy: key, batchSize: 8 })
      const all = range(0, 199).map((i) => ((i * 7919) % 1000) * 10 + (i % 3 === 0 ? i % 10 : i % 2))
      yield* EventSink.writeAll(queue, first(all))
      yield* TestClock.adjust("20 seconds")
      yield* queue.flush
      for (const k of range(0, 9)) {
        assert.deepStrictEqual(
          received.filter((n) => key(n) === k),
          all.filter((n) => key(n) === k)
        )
      }
      assert.deepStrictEqual(eventsOf(memory), [])
    })
  )

  describe("after a takeover", () => {
    /** Takes an event within a millisecond. */
    const taking = (received: Array<number>) => {
      const take = (n: number) => Effect.sync(() => void received.push(n))
      return EventSink.make((n: number) => Effect.delay(take(n), 1), { drainTimeout: 0 })
    }
    const gone = ["renew", "claim", "take", "acknowledge", "deadLetter", "release", "figures", "bounds"] as const

    it.effect("what was set aside does not wait for the whole backlog", () =>
      Effect.gen(function* () {
        const { sink } = yield* receiving
        const memory = yield* MemoryStore.makeMemory
        const options = { concurrency: 2, partitionBy: key, batchSize: 10, drainTimeout: 0, memory }
        const old = yield* start(sink, options)
        yield* EventSink.writeAll(old.queue, first(ofKey(1, 21)))
        yield* pass(1)
        old.spy.hang(gone)
        const writing = yield* processOver(memory)
        yield* writing.append(range(1, 4_000).map((n) => bytesOf(10 * n + 2 + (n % 5))) as never)
        yield* TestClock.adjust("11 seconds")
        const received: Array<number> = []
        const well = yield* taking(received)
        yield* start(well, options)
        for (let i = 0; i < 100 && !received.includes(11); i++) yield* Effect.andThen(TestClock.adjust(10), settle)
        assert.include(received, 11)
        assert.isAtMost(received.indexOf(11), 200)
      }).pipe(quiet)
    )

    it.effect.each([
      ["smaller batches", { batchSize: 2, concurrency: 2 }, 0, 10],
      ["large events", { batchSize: 20, concurrency: 12 }, 2.5 * 1024 * 1024, 4]
    ] as const)("%s of the next owner leave no event of a key behind another", ([, next, size, keys]) =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const store = yield* processOver(memory)
        // The number, and spaces after it.
        const send = (n: number, size: number) => store.append([Buffer.from(`${n}${" ".repeat(size)}`)])
        const hanging = yield* TestSink.hanging<number>({ drainTimeout: 0 })
        const options = { concurrency: 12, batchSize: 20, partitionBy: key, drainTimeout: 0, memory }
        const old = yield* start(hanging, options)
        // An event of each key is in flight, and many of the last are set aside.
        for (const k of range(0, keys - 1)) yield* Effect.andThen(send(k, size), settle)
        const last = ofKey(keys - 1, 25)
        for (const n of last.slice(1)) yield* Effect.andThen(send(n, 0), settle)
        yield* TestClock.adjust("1 second")
        old.spy.hang(gone)
        yield* TestClock.adjust("11 seconds")
        const received: Array<number> = []
        const well = yield* taking(received)
        yield* start(well, { ...options, ...next })
        yield* pass(3)
        assert.deepStrictEqual(
          received.filter((n) => key(n) === keys - 1),
          last
        )
      }).pipe(quiet)
    )
  })

  it.effect("is in order after the store was away for longer than the lease, also what was in flight", () =>
    Effect.gen(function* () {
      const hold = Latch.makeUnsafe()
      const received: Array<number> = []
      // Takes one event of the first batch.
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        Effect.gen(function* () {
          if (events[0] === 1) yield* hold.await
          const taken = events[0] === 1 ? [1] : events
          received.push(...taken)
          return taken.length
        })
      )
      const { queue, spy } = yield* start(sink, { concurrency: 2, batchSize: 6, partitionBy: key })
      yield* queue.writeSome!([1, 11, 21])
      yield* settle
      yield* queue.writeSome!([31, 41, 51, 61, 71])
      yield* TestClock.adjust("1 second")
      spy.fail(["renew"])
      yield* TestClock.adjust("30 seconds")
      hold.openUnsafe()
      yield* settle
      spy.heal()
      yield* pass(10)
      assert.deepStrictEqual(received, ofKey(1, 8))
    }).pipe(quiet)
  )
})
