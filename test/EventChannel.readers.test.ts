/** How long the close of a channel waits: as long as there is a reader, or may be one. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventChannel, EventSink } from "effect-events"
import { open, settle, withLogs } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const unread = (events: ReadonlyArray<number>) => events.map((event) => ({ event, inFlight: false }))

const make = (options: EventChannel.Options<number> = {}) =>
  Effect.map(open(EventChannel.make<number>({ capacity: 10, ...options })), ({ close, part }) => ({
    channel: part,
    close
  }))

/** How readers go. */
const goers: ReadonlyArray<
  readonly [how: string, read: (channel: EventChannel.EventChannel<number>) => Effect.Effect<unknown, unknown>]
> = [
  ["its run has ended", ({ stream }) => Stream.runDrain(Stream.take(stream, 2))],
  [
    "it was interrupted while it waited",
    ({ stream }) =>
      Effect.gen(function* () {
        const reader = yield* Effect.forkChild(Stream.runDrain(stream))
        yield* settle
        yield* Fiber.interrupt(reader)
      })
  ],
  [
    "it was interrupted over an event",
    ({ stream }) =>
      Effect.gen(function* () {
        const reader = yield* Effect.forkChild(Stream.runForEach(stream, (n) => (n === 2 ? Effect.never : Effect.void)))
        yield* settle
        yield* Fiber.interrupt(reader)
      })
  ],
  [
    "it failed over an event",
    ({ stream }) => Effect.exit(Stream.runForEach(stream, (n) => (n === 2 ? Effect.fail("no") : Effect.void)))
  ],
  [
    "it died over an event",
    ({ stream }) => Effect.exit(Stream.runForEach(stream, (n) => (n === 2 ? Effect.die("no") : Effect.void)))
  ],
  [
    "all of several have gone",
    ({ stream }) =>
      Effect.gen(function* () {
        const readers = yield* Effect.forEach(range(3), () => Effect.forkChild(Stream.runDrain(stream)))
        yield* settle
        for (const reader of readers) yield* Fiber.interrupt(reader)
      })
  ]
]

describe("a channel whose reader is gone", () => {
  it.effect.each(goers)("closes at once, with what is unread, when %s", ([, read]) =>
    withLogs((logs) =>
      Effect.gen(function* () {
        for (const how of ["shutdown", "close"] as const) {
          logs.length = 0
          const { channel, close } = yield* make()
          yield* EventSink.writeAll(channel, [1, 2])
          yield* read(channel)
          yield* EventSink.writeAll(channel, [3, 4, 5])
          const { counts } = channel.node.health(0)
          // No time passes.
          if (how === "close") {
            yield* close
            assert.strictEqual(logs.length, 1)
            assert.include(logs[0]!.line, "3 undelivered events")
          } else assert.deepStrictEqual(yield* channel.shutdown, unread([3, 4, 5]))
          assert.deepInclude(channel.node.health(0).counts, {
            accepted: 5,
            undelivered: 3,
            delivered: counts.delivered
          })
          assert.strictEqual(channel.node.health(0).pending, 5 - 3 - counts.delivered)
          assert.strictEqual(channel.node.state, "closed")
          assert.instanceOf(yield* Effect.flip(channel.write(6)), EventSink.SinkClosed)
        }
      })
    )
  )

  it.effect("turns its writers away at once, at a capacity of 0 too", () =>
    Effect.gen(function* () {
      const { channel, close } = yield* make({ capacity: 0, name: "gone" })
      const reader = yield* Effect.forkChild(Stream.runDrain(Stream.take(channel.stream, 1)))
      yield* channel.write(1)
      yield* Fiber.join(reader)
      const writers = yield* Effect.forEach([2, 3], (n) => Effect.forkChild(Effect.flip(channel.write(n))))
      yield* settle
      yield* close
      for (const writer of writers) assert.strictEqual((yield* Fiber.join(writer)).sink, "gone")
      assert.deepStrictEqual(yield* channel.shutdown, [])
    })
  )
})

describe("a channel whose last reader goes during the close", () => {
  it.effect("ends then, and not when others go before", () =>
    Effect.gen(function* () {
      const { channel } = yield* make()
      const gates = [Latch.makeUnsafe(), Latch.makeUnsafe()]
      yield* EventSink.writeAll(channel, range(5))
      const readers = yield* Effect.forEach(gates, (gate) =>
        Effect.forkChild(Stream.runForEach(channel.stream, () => gate.await))
      )
      yield* settle
      const shutdown = yield* Effect.forkChild(channel.shutdown)
      yield* TestClock.adjust("7 seconds")
      yield* Fiber.interrupt(readers[0]!)
      yield* TestClock.adjust("7 seconds")
      assert.isUndefined(shutdown.pollUnsafe())
      assert.strictEqual(channel.node.state, "closing")
      yield* Fiber.interrupt(readers[1]!)
      assert.deepStrictEqual(yield* Fiber.join(shutdown), unread([3, 4, 5]))
      assert.strictEqual(channel.node.state, "closed")
    })
  )

  it.effect("does not end while it reads on, and loses nothing to it", () =>
    Effect.gen(function* () {
      const { channel, close } = yield* make()
      yield* EventSink.writeAll(channel, range(5))
      const seen: Array<number> = []
      const reader = yield* Effect.forkChild(
        Stream.runForEach(channel.stream, (n) =>
          Effect.delay(
            Effect.sync(() => void seen.push(n)),
            "2 seconds"
          )
        )
      )
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("9 seconds")
      // The last event has been taken: there is nothing to wait for any more.
      yield* Fiber.join(closing)
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(reader)
      assert.deepStrictEqual(seen, range(5))
    })
  )

  it.effect("counts one that was forked just before the close", () =>
    Effect.gen(function* () {
      const { channel } = yield* make()
      yield* EventSink.writeAll(channel, range(3))
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(channel.stream, 1)), [1])
      // The one before is gone, and this one has not had a turn.
      const next = yield* Effect.forkChild(Stream.runCollect(channel.stream))
      const shutdown = yield* Effect.forkChild(channel.shutdown, { startImmediately: true })
      assert.deepStrictEqual(yield* Fiber.join(next), [2, 3])
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
    })
  )
})

describe("a channel that may find a reader", () => {
  it.effect("waits for it until drainTimeout: one that was never read", () =>
    Effect.gen(function* () {
      const { channel } = yield* make({ drainTimeout: "5 seconds" })
      yield* EventSink.writeAll(channel, range(3))
      const shutdown = yield* Effect.forkChild(channel.shutdown)
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), unread(range(3)))
    })
  )

  it.effect("one that was never read gives a late reader all of it", () =>
    Effect.gen(function* () {
      const { channel } = yield* make({ drainTimeout: "5 seconds" })
      yield* EventSink.writeAll(channel, range(3))
      const shutdown = yield* Effect.forkChild(channel.shutdown)
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* Stream.runCollect(channel.stream), range(3))
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
    })
  )

  it.effect("that was read by takeAll waits between two calls, and also where a stream was read as well", () =>
    Effect.gen(function* () {
      for (const streams of [false, true]) {
        const { channel } = yield* make({ drainTimeout: "5 seconds" })
        yield* EventSink.writeAll(channel, range(3))
        if (streams) yield* Stream.runDrain(Stream.take(channel.stream, 1))
        assert.deepStrictEqual(yield* channel.takeAll, streams ? [2, 3] : [1, 2, 3])
        yield* EventSink.writeAll(channel, [4, 5])
        const shutdown = yield* Effect.forkChild(channel.shutdown)
        yield* TestClock.adjust("4 seconds")
        assert.isUndefined(shutdown.pollUnsafe())
        assert.deepStrictEqual(yield* channel.takeAll, [4, 5])
        assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
        assert.isTrue(Exit.isFailure(yield* Effect.exit(channel.takeAll)), "it is done, as a stream would be")
        assert.deepStrictEqual(yield* Stream.runCollect(channel.stream), [])
      }
    })
  )

  it.effect("that was read by takeAll gives up at drainTimeout", () =>
    Effect.gen(function* () {
      const { channel } = yield* make({ drainTimeout: "5 seconds" })
      yield* channel.write(1)
      yield* channel.takeAll
      yield* EventSink.writeAll(channel, [2, 3])
      const shutdown = yield* Effect.forkChild(channel.shutdown)
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), unread([2, 3]))
    })
  )

  it.effect("has nothing to wait for when all was read, or nothing was written", () =>
    Effect.gen(function* () {
      for (const events of [0, 3]) {
        const { channel } = yield* make()
        yield* EventSink.writeAll(channel, range(events))
        if (events > 0) yield* channel.takeAll
        assert.deepStrictEqual(yield* channel.shutdown, [])
      }
    })
  )
})

describe("takeAll", () => {
  it.effect("waits for an event and reads all there are, as a reader that a writer may meet", () =>
    Effect.gen(function* () {
      for (const capacity of [0, 2]) {
        const { channel } = yield* make({ capacity })
        const reader = yield* Effect.forkChild(channel.takeAll)
        yield* settle
        assert.isUndefined(reader.pollUnsafe())
        yield* channel.write(1)
        assert.deepStrictEqual(yield* Fiber.join(reader), [1])
        const writers = yield* Effect.forEach([2, 3, 4, 5], (n) => Effect.forkChild(channel.write(n)))
        yield* settle
        const seen: Array<ReadonlyArray<number>> = []
        while (seen.flat().length < 4) seen.push(yield* channel.takeAll)
        for (const writer of writers) yield* Fiber.join(writer)
        assert.deepStrictEqual(seen.flat(), [2, 3, 4, 5])
        assert.strictEqual(seen[0]!.length, Math.max(1, capacity))
        assert.deepInclude(channel.node.health(0).counts, { accepted: 5, delivered: 5 })
      }
    })
  )
})
