import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { EventSink } from "effect-events"
import { MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { quiet, settle } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { eventsOf, queueOf, Spy } from "./support/store.ts"

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
})
