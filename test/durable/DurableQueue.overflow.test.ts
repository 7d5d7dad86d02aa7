import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { DurableQueueStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { bytesOf, lineOf, operationsOver, Spy } from "./support/store.ts"

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

    it.effect("drops what has waited longest, but for what is in hand, and reports it", () =>
      Effect.gen(function* () {
        const { dropped, memory, queue, reasons } = yield* dropping({ capacity: 3 })
        for (const n of range(1, 6)) yield* queue.write(n)
        yield* settle
        assert.deepStrictEqual(dropped, [2, 3, 4])
        assert.deepStrictEqual([...reasons], ["Overflow"])
        assert.deepStrictEqual(lineOf(memory), [1, 5, 6])
      })
    )

    it.effect("counts bytes too", () =>
      Effect.gen(function* () {
        const { dropped, memory, queue } = yield* dropping({ capacityBytes: 6 })
        for (const n of [10, 20, 30, 40]) yield* queue.write(n)
        yield* settle
        assert.deepStrictEqual(dropped, [20])
        assert.deepStrictEqual(lineOf(memory), [10, 30, 40])
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

    it.effect("drops too what came while it was looking", () =>
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
        spy.act = (name, run) => (name === "size" ? Effect.tap(run, () => Effect.sleep(100)) : run)
        yield* Effect.forkChild(queue.write(2))
        yield* settle
        const other = yield* operationsOver(memory)
        yield* other.append("events", [bytesOf(3), bytesOf(4)], undefined)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(
          [dropped, lineOf(memory)],
          [
            [2, 3],
            [1, 4]
          ]
        )
      })
    )

    it.effect("drops what it finds when it takes over", () =>
      Effect.gen(function* () {
        const memory = yield* DurableQueueStore.makeMemory
        const before = yield* operationsOver(memory)
        yield* before.append("events", [bytesOf(1), bytesOf(2), bytesOf(3), bytesOf(4)], undefined)
        const lease = yield* before.acquire("events", Duration.seconds(10))
        assert.strictEqual(lease._tag, "Acquired")
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
        assert.strictEqual(lineOf(memory).length, 2)
        assert.isTrue(dropped.length === 2 && !dropped.includes(4))
      })
    )
  })
})
