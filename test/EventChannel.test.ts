import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { EventChannel, EventSink } from "effect-events"
import { open, settle, withLogs } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

describe("capacity 0", () => {
  it.effect("is the default: a write succeeds when a reader takes the event", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>())
      const write = yield* Effect.forkChild(channel.write(1))
      yield* settle
      assert.isUndefined(write.pollUnsafe())
      assert.strictEqual(channel.node.health(0).counts.accepted, 0)
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 1)), [1])
      yield* Fiber.join(write)
      assert.strictEqual(channel.node.health(0).counts.delivered, 1)
    })
  )

  it.effect("a reader that waits takes one write, and the next waits for the next reader", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>())
      const reader = yield* Effect.forkChild(Stream.runCollect(Stream.take(channel.stream, 1)))
      yield* settle
      yield* channel.write(1)
      const second = yield* Effect.forkChild(channel.write(2))
      yield* settle
      assert.deepStrictEqual(yield* Fiber.join(reader), [1])
      assert.isUndefined(second.pollUnsafe())
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 1)), [2])
    })
  )

  it.effect("a reader that is busy with an event is no room for another", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>())
      yield* Effect.forkChild(Stream.runForEach(channel.stream, () => Effect.sleep("1 seconds")))
      yield* settle
      yield* channel.write(1)
      yield* settle
      const write = yield* Effect.forkChild(channel.write(2))
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(write.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* settle
      assert.isDefined(write.pollUnsafe())
    })
  )

  it.effect("writers are served first come, first served, and an interrupted one leaves the line", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>())
      const writers = yield* Effect.forEach([1, 2, 3, 4], (n) => Effect.forkChild(channel.write(n)))
      yield* settle
      yield* Fiber.interrupt(writers[1]!)
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 3)), [1, 3, 4])
      assert.strictEqual(channel.node.health(0).counts.accepted, 3)
    })
  )
})

describe("with a capacity", () => {
  it.effect("a write succeeds when there is room, and waits when there is none", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>({ capacity: 2 }))
      yield* channel.write(1)
      yield* channel.write(2)
      const write = yield* Effect.forkChild(channel.write(3))
      yield* settle
      assert.isUndefined(write.pollUnsafe())
      assert.strictEqual(channel.node.health(0).pending, 2)
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 3)), [1, 2, 3])
      yield* Fiber.join(write)
    })
  )

  it.effect("takes no batches: writeAll writes one by one, in order", () =>
    Effect.gen(function* () {
      const { close, part: channel } = yield* open(EventChannel.make<number>({ capacity: 3 }))
      assert.isUndefined(channel.writeSome)
      const reader = yield* Effect.forkChild(Stream.runCollect(channel.stream))
      yield* EventSink.writeAll(channel, range(1000))
      yield* close
      assert.deepStrictEqual(yield* Fiber.join(reader), range(1000))
    })
  )
})

describe("readers", () => {
  it.effect("several share the events, each event going to one of them", () =>
    Effect.gen(function* () {
      for (const capacity of [0, 5]) {
        const { close, part: channel } = yield* open(EventChannel.make<number>({ capacity }))
        const readers = yield* Effect.forEach(range(4), () => Effect.forkChild(Stream.runCollect(channel.stream)))
        yield* EventSink.writeAll(channel, range(100))
        yield* close
        const all = (yield* Effect.forEach(readers, Fiber.join)).flat()
        assert.deepStrictEqual(
          all.toSorted((a, b) => a - b),
          range(100)
        )
      }
    })
  )

  it.effect("one that is interrupted while it waits loses nothing", () =>
    Effect.gen(function* () {
      for (const capacity of [0, 3]) {
        for (let turns = 0; turns < 20; turns++) {
          const { close, part: channel } = yield* open(EventChannel.make<number>({ capacity }))
          const seen: Array<number> = []
          const read = Stream.runForEach(channel.stream, (n) => Effect.sync(() => void seen.push(n)))
          const reader = yield* Effect.forkChild(read)
          yield* settle
          const writer = yield* Effect.forkChild(channel.write(1))
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          yield* Fiber.interrupt(reader)
          const next = yield* Effect.forkChild(read)
          yield* settle
          yield* Fiber.join(writer)
          yield* close
          yield* Fiber.join(next)
          assert.deepStrictEqual(seen, [1], `capacity ${capacity}, after ${turns} turns`)
        }
      }
    })
  )

  it.effect("one that stops early leaves what it did not read to the next", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>({ capacity: 5 }))
      yield* EventSink.writeAll(channel, range(5))
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 2)), [1, 2])
      assert.strictEqual(channel.node.health(0).pending, 3)
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 3)), [3, 4, 5])
    })
  )
})

describe("close", () => {
  it.effect("ends the stream after what was accepted has been read", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>({ capacity: 5 }))
      yield* EventSink.writeAll(channel, [1, 2, 3])
      const shutdown = yield* Effect.forkChild(channel.shutdown)
      yield* settle
      assert.isUndefined(shutdown.pollUnsafe())
      assert.strictEqual(channel.node.health(0).state, "closing")
      assert.deepStrictEqual(yield* Stream.runCollect(channel.stream), [1, 2, 3])
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
      assert.deepStrictEqual(yield* Stream.runCollect(channel.stream), [])
      assert.strictEqual(channel.node.health(0).state, "closed")
    })
  )

  it.effect("ends readers that wait", () =>
    Effect.gen(function* () {
      const { close, part: channel } = yield* open(EventChannel.make<number>())
      const reader = yield* Effect.forkChild(Stream.runCollect(channel.stream))
      yield* settle
      yield* close
      assert.deepStrictEqual(yield* Fiber.join(reader), [])
    })
  )

  it.effect("fails writes with SinkClosed, those that were waiting too, and none of these is read", () =>
    Effect.gen(function* () {
      for (const capacity of [0, 1]) {
        const { part: channel } = yield* open(EventChannel.make<number>({ capacity, name: "gone" }))
        if (capacity === 1) yield* channel.write(0)
        const waiting = yield* Effect.forEach([1, 2], (n) => Effect.forkChild(Effect.flip(channel.write(n))))
        yield* settle
        const shutdown = yield* Effect.forkChild(channel.shutdown)
        yield* settle
        for (const writer of waiting) assert.strictEqual((yield* Fiber.join(writer)).sink, "gone")
        assert.instanceOf(yield* Effect.flip(channel.write(3)), EventSink.SinkClosed)
        assert.deepStrictEqual(yield* Stream.runCollect(channel.stream), capacity === 1 ? [0] : [])
        assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
        assert.instanceOf(yield* Effect.flip(channel.write(3)), EventSink.SinkClosed)
      }
    })
  )

  it.effect("waits for the readers until drainTimeout, 20 seconds by default, and returns what was not read", () =>
    Effect.gen(function* () {
      for (const [drainTimeout, millis] of [
        [undefined, 20_000],
        ["3 seconds", 3000]
      ] as const) {
        const { part: channel } = yield* open(EventChannel.make<number>({ capacity: 5, drainTimeout }))
        yield* EventSink.writeAll(channel, [1, 2])
        const first = yield* Effect.forkChild(channel.shutdown)
        const second = yield* Effect.forkChild(channel.shutdown)
        yield* TestClock.adjust(millis - 1)
        assert.isUndefined(first.pollUnsafe())
        yield* TestClock.adjust(1)
        const left = [
          { event: 1, inFlight: false },
          { event: 2, inFlight: false }
        ]
        assert.deepStrictEqual(yield* Fiber.join(first), left)
        assert.deepStrictEqual(yield* Fiber.join(second), left, "memoised")
        assert.deepStrictEqual(yield* channel.shutdown, left, "memoised")
        assert.deepStrictEqual(yield* Stream.runCollect(channel.stream), [])
        assert.strictEqual(channel.node.health(0).counts.undelivered, 2)
        assert.strictEqual(channel.node.health(0).pending, 0)
      }
    })
  )

  it.effect("of the scope hands what was accepted and not read to onDropped", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const dropped: Array<Dropped.Dropped<number>> = []
        const { close, part: channel } = yield* open(
          EventChannel.make<number>({
            capacity: 5,
            drainTimeout: "1 seconds",
            onDropped: (one) => Effect.sync(() => void dropped.push(one))
          })
        )
        yield* EventSink.writeAll(channel, [1, 2])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(
          dropped,
          [1, 2].map((event) => ({ event, reason: { _tag: "Undelivered", inFlight: false } }))
        )
      })
    )
  )

  it.effect("without onDropped they are logged at error, as a count, never by content", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { close, part: channel } = yield* open(
          EventChannel.make<{ id: string; card: string }>({ capacity: 5, drainTimeout: 0, name: "orders" })
        )
        yield* channel.write({ id: "event-1", card: "4111-1111" })
        yield* close
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        assert.include(logs[0]!.line, "1 undelivered")
        assert.include(logs[0]!.line, "orders")
        assert.include(logs[0]!.line, "event-1")
        assert.notInclude(logs[0]!.line, "4111-1111")
      })
    )
  )

  it.effect("of the scope reports only what no shutdown returned", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { close, part: channel } = yield* open(EventChannel.make<number>({ capacity: 5, drainTimeout: 0 }))
        yield* channel.write(1)
        assert.strictEqual((yield* channel.shutdown).length, 1)
        yield* close
        assert.deepStrictEqual(logs, [])
      })
    )
  )
})
