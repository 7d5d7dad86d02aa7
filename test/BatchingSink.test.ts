import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Effect, Exit, Fiber, Latch, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { BatchingSink, Broadcaster, EventQueue, EventSink, SinkGraph } from "effect-events"
import { recorder } from "./support/recorder.ts"
import { settle } from "./support/virtual.ts"

type Batch = ReadonlyArray<number>

/** A receiver of batches, with when each began, in milliseconds; `take` says what becomes of it. */
const receiver = (take: (batch: Batch, n: number) => Effect.Effect<number | void, string> = () => Effect.void) => {
  const batches: Array<{ readonly at: number; readonly events: Batch }> = []
  const committed: Array<number> = []
  const sink = EventSink.makeBatch(
    (events: Batch) =>
      Effect.clockWith((clock) => {
        batches.push({ at: clock.currentTimeMillisUnsafe(), events })
        return Effect.tap(take(events, batches.length), (n) =>
          Effect.sync(() => void committed.push(...events.slice(0, n ?? events.length)))
        )
      }),
    // A write of it that refuses interruption is not waited for.
    { name: "receiver", drainTimeout: 0 }
  )
  return { sink, batches, committed, events: () => batches.map(({ events }) => events) }
}

/** Begins the write of each event, in this order. */
const writeEach = (sink: EventSink.EventSink<number, string>, events: Batch) =>
  Effect.forEach(events, (event) => Effect.forkChild(Effect.exit(sink.write(event)), { startImmediately: true }))

/** Enough turns for what one millisecond brings: a batch begins, and its write ends. */
const turns = Effect.repeat(Effect.yieldNow, { times: 40 })
const pass = (millis: number) =>
  Effect.andThen(Effect.repeat(Effect.andThen(TestClock.adjust(1), turns), { times: Math.max(0, millis - 1) }), settle)

const exitOf = (fiber: Fiber.Fiber<Exit.Exit<unknown, unknown>>) => {
  const exit = fiber.pollUnsafe()
  return exit === undefined ? undefined : Exit.isSuccess(exit) ? exit.value : exit
}
const errorOf = (fiber: Fiber.Fiber<Exit.Exit<unknown, unknown>>) => {
  const exit = exitOf(fiber)
  return exit !== undefined && Exit.isFailure(exit) ? Cause.squash(exit.cause) : exit === undefined ? "waits" : "ok"
}
const has = (events: Batch, bad: Batch) => events.some((event) => bad.includes(event))
/** Fails every batch with one of these. */
const refusing = (bad: Batch) => (events: Batch) => (has(events, bad) ? Effect.fail("refused") : Effect.void)

describe("BatchingSink", () => {
  describe("begins a batch", () => {
    it.effect("when it is full, and none before", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver()
        const batching = yield* BatchingSink.make(sink, { batchSize: 3, maxAge: "1 second" })
        const writes = yield* writeEach(batching, [1, 2])
        yield* pass(900)
        assert.deepStrictEqual(events(), [])
        assert.deepStrictEqual(writes.map(errorOf), ["waits", "waits"])
        yield* batching.write(3)
        yield* settle
        assert.deepStrictEqual(events(), [[1, 2, 3]])
        assert.deepStrictEqual(writes.map(errorOf), ["ok", "ok"])
      })
    )

    it.effect("when its oldest event has its age", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver()
        const batching = yield* BatchingSink.make(sink, { batchSize: 3, maxAge: 100 })
        yield* writeEach(batching, [1])
        yield* pass(60)
        // It does not begin anew.
        yield* writeEach(batching, [2])
        yield* pass(100)
        yield* writeEach(batching, [3])
        yield* pass(200)
        assert.deepStrictEqual(batches, [
          { at: 100, events: [1, 2] },
          { at: 260, events: [3] }
        ])
      })
    )

    it.effect("when it has as many bytes, and an event that is larger is one of its own", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver()
        const batching = yield* BatchingSink.make(sink, { maxAge: 100, maxBytes: 10, size: (n) => n })
        yield* writeEach(batching, [4, 6, 7, 4, 25, 1])
        yield* settle
        assert.deepStrictEqual(
          batches.map(({ events }) => events),
          [[4, 6], [7], [4], [25]]
        )
        yield* pass(100)
        assert.deepStrictEqual(batches.at(-1), { at: 100, events: [1] })
      })
    )

    it.effect("of one key only", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver()
        const batching = yield* BatchingSink.make(sink, { batchSize: 2, maxAge: 100, partitionBy: (n) => n % 3 })
        yield* writeEach(batching, [1, 2, 3, 4, 5])
        yield* settle
        assert.deepStrictEqual(
          batches.map(({ events }) => events),
          [
            [1, 4],
            [2, 5]
          ]
        )
        yield* pass(100)
        assert.deepStrictEqual(batches.at(-1), { at: 100, events: [3] })
      })
    )
  })

  describe("over a slow sink", () => {
    it.effect("begins the next batch when the one under way ends, with all that has come by then", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver(() => Effect.sleep(300))
        const batching = yield* BatchingSink.make(sink, { batchSize: 10, maxAge: 100 })
        yield* writeEach(batching, [1])
        yield* pass(150)
        yield* writeEach(batching, [2])
        // Its event is over its age by now, and the batch takes more.
        yield* pass(200)
        yield* writeEach(batching, [3])
        yield* pass(400)
        // `Stream.groupedWithin` would wait until 500.
        assert.deepStrictEqual(batches, [
          { at: 100, events: [1] },
          { at: 400, events: [2, 3] }
        ])
      })
    )

    it.effect("keeps the age of events where several batches may be under way", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver(() => Effect.sleep(300))
        const batching = yield* BatchingSink.make(sink, { batchSize: 10, maxAge: 100, concurrency: 3 })
        for (const n of [1, 2, 3]) {
          yield* writeEach(batching, [n])
          yield* pass(110)
        }
        yield* pass(300)
        assert.deepStrictEqual(batches, [
          { at: 100, events: [1] },
          { at: 210, events: [2] },
          { at: 320, events: [3] }
        ])
      })
    )

    it.effect("writes one batch of a key at a time", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver(() => Effect.sleep(300))
        const partitionBy = (n: number) => n % 2
        const batching = yield* BatchingSink.make(sink, { batchSize: 2, maxAge: 100, concurrency: 3, partitionBy })
        yield* writeEach(batching, [1, 3, 5, 7, 2])
        yield* pass(700)
        assert.deepStrictEqual(batches, [
          { at: 0, events: [1, 3] },
          { at: 100, events: [2] },
          { at: 300, events: [5, 7] }
        ])
      })
    )
  })

  describe("where a batch fails", () => {
    it.effect("fails the writes of what fails alone, and commits the rest", () =>
      Effect.gen(function* () {
        const { committed, events, sink } = receiver(refusing([3, 6]))
        const batching = yield* BatchingSink.make(sink, { batchSize: 8, maxAge: 100 })
        const writes = yield* writeEach(batching, [1, 2, 3, 4, 5, 6, 7, 8])
        yield* settle
        const [ok, refused] = ["ok", "refused"]
        assert.deepStrictEqual(writes.map(errorOf), [ok, ok, refused, ok, ok, refused, ok, ok])
        assert.deepStrictEqual(committed, [1, 2, 4, 5, 7, 8])
        assert.isAtMost(events().length, 16)
      })
    )

    it.effect("takes at most twice as many writes as events, and about as many where all fail", () =>
      Effect.gen(function* () {
        for (const [bad, most] of [
          [Array.from({ length: 64 }, (_, i) => i), 64 + 6],
          [Array.from({ length: 32 }, (_, i) => 2 * i), 128 + 6],
          [Array.from({ length: 21 }, (_, i) => 3 * i), 128 + 6]
        ] as const) {
          const { committed, events, sink } = receiver(refusing(bad))
          const batching = yield* BatchingSink.make(sink, { batchSize: 64, maxAge: 100 })
          yield* writeEach(
            batching,
            Array.from({ length: 64 }, (_, i) => i)
          )
          yield* settle
          assert.strictEqual(committed.length, 64 - bad.length)
          assert.isAtMost(events().length, most)
        }
      })
    )

    it.effect("writes the next batch whole", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver(refusing([1]))
        const batching = yield* BatchingSink.make(sink, { batchSize: 2, maxAge: 100 })
        yield* writeEach(batching, [1, 2, 3, 4])
        yield* settle
        assert.deepStrictEqual(events(), [[1, 2], [1], [2], [3, 4]])
      })
    )

    it.effect("fails all of it at once for errors that are about the receiver", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver((batch) =>
          has(batch, [9]) ? Effect.fail("refused") : Effect.fail("the receiver is down")
        )
        const batching = yield* sink.pipe(
          BatchingSink.make({ batchSize: 3, maxAge: 100, isolate: (error) => error === "refused" })
        )
        const writes = yield* writeEach(batching, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(events(), [[1, 2, 3]])
        assert.deepStrictEqual(
          writes.map(errorOf),
          Array.from({ length: 3 }, () => "the receiver is down")
        )
      })
    )

    it.effect("costs each event of a batch what isolate throws, once", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver(refusing([2]))
        const isolate = (): boolean => {
          throw new Error("isolate")
        }
        const batching = yield* BatchingSink.make(sink, { batchSize: 3, maxAge: 100, isolate })
        const writes = yield* writeEach(batching, [1, 2, 3, 4, 5, 6])
        yield* settle
        assert.deepStrictEqual(events(), [
          [1, 2, 3],
          [4, 5, 6]
        ])
        assert.deepStrictEqual(writes.map(errorOf).map(String), [...Array(3).fill("Error: isolate"), "ok", "ok", "ok"])
      })
    )

    it.effect("answers one write of several events for the leading part, and writes none of them after a failure", () =>
      Effect.gen(function* () {
        const { committed, sink } = receiver(refusing([3]))
        const batching = yield* BatchingSink.make(sink, { batchSize: 6, maxAge: 100 })
        const some = yield* Effect.forkChild(batching.writeSome([1, 2, 3, 4, 5]), { startImmediately: true })
        const [other] = yield* writeEach(batching, [6])
        yield* settle
        assert.deepStrictEqual(some.pollUnsafe(), Exit.succeed(2))
        assert.strictEqual(errorOf(other!), "ok")
        assert.deepStrictEqual(committed, [1, 2, 6])
        assert.deepStrictEqual(yield* Effect.exit(batching.writeSome([3, 4, 5, 7, 8, 9])), Exit.fail("refused"))
        assert.deepStrictEqual(committed, [1, 2, 6])
      })
    )

    it.effect("costs a defect its event alone, and passes SinkClosed on to all", () =>
      Effect.gen(function* () {
        const defect = new Error("a defect")
        const { sink } = receiver((batch) => (has(batch, [2]) ? Effect.die(defect) : Effect.void))
        const batching = yield* BatchingSink.make(sink, { batchSize: 3, maxAge: 100 })
        const writes = yield* writeEach(batching, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(writes.map(errorOf), ["ok", defect, "ok"])
        let calls = 0
        const closed = new EventSink.SinkClosed({ sink: "below" })
        const closing = yield* EventSink.makeBatch((_: Batch) =>
          Effect.suspend(() => (++calls === 1 ? Effect.fail(closed) : Effect.void))
        )
        const open = yield* BatchingSink.make(closing, { batchSize: 2, maxAge: 100 })
        const others = yield* writeEach(open, [1, 2, 3, 4])
        yield* settle
        assert.deepStrictEqual(others.map(errorOf), [closed, closed, "ok", "ok"])
        assert.strictEqual(calls, 2)
      })
    )
  })

  it.effect("writes the rest of a batch of which a leading part was committed", () =>
    Effect.gen(function* () {
      const { events, sink } = receiver((batch) => Effect.succeed(Math.min(2, batch.length)))
      const batching = yield* BatchingSink.make(sink, { batchSize: 5, maxAge: 100 })
      const some = yield* Effect.forkChild(batching.writeSome([1, 2, 3]), { startImmediately: true })
      const writes = yield* writeEach(batching, [4, 5])
      yield* settle
      assert.deepStrictEqual(events(), [[1, 2, 3, 4, 5], [3, 4, 5], [5]])
      assert.deepStrictEqual(some.pollUnsafe(), Exit.succeed(3))
      assert.deepStrictEqual(writes.map(errorOf), ["ok", "ok"])
    })
  )

  it.effect("keeps the events of one write in one batch, and takes as many as fit", () =>
    Effect.gen(function* () {
      const { events, sink } = receiver()
      const batching = yield* BatchingSink.make(sink, {
        batchSize: 4,
        maxAge: 100,
        maxBytes: 20,
        size: (n) => n,
        partitionBy: (n) => n >= 10
      })
      yield* Effect.forkChild(batching.writeSome([1, 2, 3]), { startImmediately: true })
      const second = yield* Effect.forkChild(batching.writeSome([4, 5, 6, 7]), { startImmediately: true })
      yield* settle
      // No room for both.
      assert.deepStrictEqual(events(), [[1, 2, 3]])
      yield* pass(100)
      // 7 would be more than 20.
      assert.deepStrictEqual(events(), [
        [1, 2, 3],
        [4, 5, 6]
      ])
      assert.deepStrictEqual(second.pollUnsafe(), Exit.succeed(3))
      // The rest has another key.
      const third = yield* Effect.forkChild(batching.writeSome([1, 11, 12]), { startImmediately: true })
      yield* pass(100)
      assert.deepStrictEqual(third.pollUnsafe(), Exit.succeed(1))
    })
  )

  describe("of a write that is interrupted", () => {
    it.effect("takes the events out before their batch begins", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver()
        const batching = yield* BatchingSink.make(sink, { batchSize: 3, maxAge: 100 })
        const [first] = yield* writeEach(batching, [1, 2])
        const several = yield* Effect.forkChild(batching.writeSome([7, 8, 9]), { startImmediately: true })
        yield* settle
        assert.deepStrictEqual(events(), [
          [1, 2],
          [7, 8, 9]
        ])
        const [third, fourth] = yield* writeEach(batching, [3, 4])
        yield* Fiber.interrupt(third!)
        yield* Fiber.interrupt(first!)
        yield* Fiber.interrupt(several)
        assert.strictEqual(batching.node.health(0).pending, 1)
        yield* writeEach(batching, [5])
        yield* pass(100)
        assert.deepStrictEqual(events(), [
          [1, 2],
          [7, 8, 9],
          [4, 5]
        ])
        assert.strictEqual(errorOf(fourth!), "ok")
        assert.strictEqual(batching.node.health(0).pending, 0)
      })
    )

    it.effect("commits the batch that has begun, and writes nothing of it again that failed", () =>
      Effect.gen(function* () {
        const gate = Latch.makeUnsafe()
        const { committed, events, sink } = receiver((_, n) =>
          n === 2 ? Effect.andThen(gate.await, Effect.fail("down")) : n === 1 ? gate.await : Effect.void
        )
        const batching = yield* BatchingSink.make(sink, { batchSize: 2, maxAge: 100 })
        const [one, two, three, four] = yield* writeEach(batching, [1, 2, 3, 4])
        yield* settle
        yield* Fiber.interrupt(one!)
        yield* gate.open
        yield* settle
        gate.closeUnsafe()
        assert.deepStrictEqual([committed, errorOf(two!)], [[1, 2, 3, 4], "ok"])
        assert.deepStrictEqual([errorOf(three!), errorOf(four!)], ["ok", "ok"])
        assert.deepStrictEqual(events().slice(0, 2), [
          [1, 2],
          [3, 4]
        ])
      })
    )
  })

  it.effect("has each write of several writers in the account once", () =>
    Effect.gen(function* () {
      const gate = Latch.makeUnsafe()
      const { sink } = receiver((batch) => Effect.andThen(gate.await, refusing([2])(batch)))
      const batching = yield* BatchingSink.make(sink, { batchSize: 3, maxAge: 100, name: "rows" })
      yield* writeEach(batching, [1, 2, 3, 4])
      yield* pass(50)
      const now = yield* Clock.currentTimeMillis
      const { inFlight, name, oldestAge, pending } = batching.node.health(now)
      assert.deepStrictEqual(
        { inFlight, name, oldestAge, pending },
        { inFlight: 3, name: "rows", oldestAge: 50, pending: 4 }
      )
      yield* gate.open
      yield* pass(100)
      const health = batching.node.health(now)
      assert.deepStrictEqual([health.counts.accepted, health.counts.delivered, health.pending], [3, 3, 0])
      assert.deepStrictEqual([health.lastError?.error, health.inFlight], ["refused", 0])
    })
  )

  describe("closes", () => {
    const closing = (take: (batch: Batch) => Effect.Effect<void, string>, drainTimeout?: number) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { committed, sink } = receiver(take)
        const batching = yield* sink.pipe(
          BatchingSink.make({ batchSize: 2, maxAge: "1 hour", drainTimeout }),
          Scope.provide(scope)
        )
        const writes = yield* writeEach(batching, [1, 2, 3])
        const close = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* settle
        return { batching, close, committed, writes }
      })

    it.effect("with what waits for its batch committed, and without a new write", () =>
      Effect.gen(function* () {
        const { batching, close, committed, writes } = yield* closing(() => Effect.sleep(100))
        assert.isUndefined(close.pollUnsafe())
        const late = yield* Effect.exit(batching.write(4))
        assert.isTrue(Exit.isFailure(late) && Cause.squash(late.cause) instanceof EventSink.SinkClosed)
        yield* pass(200)
        assert.isDefined(close.pollUnsafe())
        assert.deepStrictEqual(committed, [1, 2, 3])
        assert.deepStrictEqual(writes.map(errorOf), ["ok", "ok", "ok"])
      })
    )

    it.effect("in time over a sink that hangs, with SinkClosed for the writes that wait", () =>
      Effect.gen(function* () {
        const { close, committed, writes } = yield* closing(() => Effect.never, 500)
        yield* pass(499)
        assert.isUndefined(close.pollUnsafe())
        yield* pass(2)
        assert.isDefined(close.pollUnsafe())
        assert.deepStrictEqual(committed, [])
        for (const write of writes) assert.instanceOf(errorOf(write), EventSink.SinkClosed)
      })
    )

    it.effect("in time over a sink that refuses interruption, whose commit changes no verdict", () =>
      Effect.gen(function* () {
        const gate = Latch.makeUnsafe()
        const { batching, close, writes } = yield* closing(() => Effect.uninterruptible(gate.await), 500)
        yield* pass(501)
        assert.isDefined(close.pollUnsafe())
        yield* gate.open
        yield* settle
        for (const write of writes) assert.instanceOf(errorOf(write), EventSink.SinkClosed)
        assert.strictEqual(batching.node.health(0).counts.accepted, 0)
      })
    )
  })

  it.effect("writes at once what comes from inside the write of a batch", () =>
    Effect.gen(function* () {
      const { promise: ready, resolve } = Promise.withResolvers<EventSink.BatchSink<number, string>>()
      const { events, sink } = receiver((batch) =>
        has(batch, [1])
          ? Effect.flatMap(
              Effect.promise(() => ready),
              (self) => Effect.orDie(self.write(2))
            )
          : Effect.void
      )
      const batching = yield* BatchingSink.make(sink, { batchSize: 1, maxAge: 100 })
      resolve(batching)
      yield* batching.write(1)
      assert.deepStrictEqual(events(), [[1], [2]])
    })
  )

  it.effect("takes what size and partitionBy throw for a defect of the write", () =>
    Effect.gen(function* () {
      const { events, sink } = receiver()
      const fails = (n: number) => {
        if (n < 0) throw new Error(`${n}`)
        return n
      }
      const sized = yield* BatchingSink.make(sink, { maxAge: 100, maxBytes: 5, size: fails })
      const keyed = yield* BatchingSink.make(sink, { maxAge: 100, partitionBy: fails })
      const accepting = yield* sink.pipe(
        BatchingSink.make({
          maxAge: 100,
          maxBytes: 5,
          size: fails,
          acknowledge: "accepted",
          onDropped: () => Effect.void
        })
      )
      for (const batching of [sized, keyed, accepting]) {
        for (const write of [batching.write(-1), batching.writeSome([-1, 1])]) {
          const exit = yield* Effect.exit(write)
          assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        }
        if (batching === keyed) continue
        const nothing = yield* Effect.exit(batching.write(Number.NaN))
        assert.isTrue(Exit.isFailure(nothing) && Cause.hasDies(nothing.cause))
      }
      assert.strictEqual(yield* accepting.pending, 0)
      yield* pass(100)
      assert.deepStrictEqual(events(), [])
    })
  )

  it.effect("refuses limits that are none", () =>
    Effect.gen(function* () {
      const { sink } = receiver()
      for (const options of [{ batchSize: 0 }, { maxBytes: 3 }, { size: () => 1 }, { concurrency: Infinity }]) {
        const exit = yield* Effect.exit(BatchingSink.make(sink, { maxAge: 100, ...options }))
        assert.isTrue(Exit.isFailure(exit) && Cause.squash(exit.cause) instanceof RangeError, JSON.stringify(options))
      }
    })
  )

  describe("that acknowledges what is accepted", () => {
    it.effect("reports what fails, and delivers the rest", () =>
      Effect.gen(function* () {
        const dropped: Array<readonly [number, string]> = []
        const { batches, committed, sink } = receiver(refusing([3]))
        const queue = yield* sink.pipe(
          BatchingSink.make({
            batchSize: 4,
            maxAge: 100,
            acknowledge: "accepted",
            onDropped: ({ event, reason }) => Effect.sync(() => void dropped.push([event, reason._tag]))
          })
        )
        yield* EventSink.writeAll(queue, [1, 2, 3, 4, 5])
        yield* pass(100)
        assert.deepStrictEqual(dropped, [[3, "Failed"]])
        assert.deepStrictEqual(committed, [1, 2, 4, 5])
        assert.deepStrictEqual(batches.at(-1), { at: 100, events: [5] })
        assert.strictEqual(yield* queue.pending, 0)
        assert.strictEqual(queue.node.acknowledges, "memory")
        assert.strictEqual(queue.node.kind, "BatchingSink")
      })
    )

    it.effect("drops the whole of a batch for errors that are about the receiver", () =>
      Effect.gen(function* () {
        const dropped: Array<number> = []
        const { events, sink } = receiver((_, n) => (n === 1 ? Effect.fail("down") : Effect.void))
        const queue = yield* sink.pipe(
          BatchingSink.make({
            batchSize: 3,
            maxAge: 100,
            isolate: false,
            acknowledge: "accepted",
            onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
          })
        )
        yield* EventSink.writeAll(queue, [1, 2, 3, 4, 5, 6])
        yield* queue.flush
        assert.deepStrictEqual(
          [dropped, events()],
          [
            [1, 2, 3],
            [
              [1, 2, 3],
              [4, 5, 6]
            ]
          ]
        )
        assert.strictEqual(queue.node.health(0).counts.dropped, 3)
      })
    )

    it.effect("counts events against its capacity, whatever their size is for a batch", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver()
        const batching = yield* BatchingSink.make(sink, {
          acknowledge: "accepted",
          maxAge: 100,
          capacity: 4,
          size: (n) => 10 * n,
          maxBytes: 1000,
          onDropped: () => Effect.void
        })
        for (const n of [1, 2, 3]) yield* batching.write(n)
        yield* settle
        assert.deepStrictEqual(events(), [])
        yield* TestClock.adjust(100)
        assert.deepStrictEqual(events(), [[1, 2, 3]])
      })
    )

    it.effect("holds writes back at its capacity, and waits for no more events then", () =>
      Effect.gen(function* () {
        const { batches, sink } = receiver(() => Effect.sleep(10))
        const queue = yield* sink.pipe(
          BatchingSink.make({
            maxAge: "1 hour",
            capacity: 4,
            partitionBy: (n) => n % 4,
            acknowledge: "accepted",
            onDropped: () => Effect.void
          })
        )
        yield* EventSink.writeAll(queue, [0, 1, 2, 3])
        yield* pass(10)
        assert.deepStrictEqual(batches, [])
        const [fifth] = yield* writeEach(queue, [4])
        assert.strictEqual(errorOf(fifth!), "waits")
        yield* pass(10)
        assert.strictEqual(errorOf(fifth!), "ok")
        yield* queue.flush.pipe(Effect.forkChild, Effect.andThen(pass(100)))
        assert.strictEqual(batches.length, 5)
      })
    )

    it.effect("delivers at flush and at the close without waiting", () =>
      Effect.gen(function* () {
        const { events, sink } = receiver()
        const queue = yield* sink.pipe(
          BatchingSink.make({ maxAge: "1 hour", acknowledge: "accepted", onDropped: () => Effect.void })
        )
        yield* queue.write(1)
        yield* queue.flush
        yield* queue.write(2)
        assert.deepStrictEqual(yield* queue.shutdown, [])
        assert.deepStrictEqual(events(), [[1], [2]])
      })
    )
  })

  describe("is refused", () => {
    it.effect("over a part that keeps events in memory, where only the graph can tell", () =>
      Effect.gen(function* () {
        const queue = yield* EventQueue.make(EventSink.make((_: number) => Effect.void))
        // Widened, as through a tag of a plain batch sink.
        const hidden: EventSink.BatchSink<number> = queue
        for (const make of [
          BatchingSink.make(hidden, { maxAge: 100 }),
          BatchingSink.make(hidden, { maxAge: 100, acknowledge: "accepted" })
        ]) {
          const exit = yield* Effect.exit(make as Effect.Effect<unknown, never, Scope.Scope>)
          assert.include(
            Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : "",
            "would batch for a part that keeps events in memory, and not for the receiver: BatchingSink -> EventQueue"
          )
        }
        yield* BatchingSink.make(EventSink.acknowledgeFromMemory(hidden), { maxAge: 100 })
      })
    )
  })

  it.effect("is a node whose edge acknowledges, or does not", () =>
    Effect.gen(function* () {
      const { sink } = receiver()
      const shared = yield* sink
      const committing = yield* BatchingSink.make(shared, { maxAge: 100, name: "committing" })
      const accepting = yield* shared.pipe(
        BatchingSink.make({ maxAge: 100, name: "accepting", acknowledge: "accepted", onDropped: () => Effect.void })
      )
      assert.deepStrictEqual(
        [committing, accepting].map(({ node }) => node.downstream()),
        [[{ node: shared.node, acknowledges: true }], [{ node: shared.node, acknowledges: false }]]
      )
      const root = yield* Broadcaster.make<number>()
      yield* Broadcaster.add(root, accepting)
      assert.include(SinkGraph.toMermaid(root), "BatchingSink")
    })
  )

  it.effect("links the span of a batch to those of its writes", () => {
    const { provide, spans } = recorder()
    return Effect.gen(function* () {
      const { sink } = receiver()
      const batching = yield* BatchingSink.make(sink, { batchSize: 2, maxAge: 100, name: "rows" })
      yield* Effect.forEach([1, 2], (n) => Effect.withSpan(batching.write(n), `request ${n}`), {
        concurrency: "unbounded"
      })
      const batch = spans.find(({ name }) => name === "process rows")
      const requests = spans.filter(({ name }) => name.startsWith("request"))
      assert.deepStrictEqual(
        batch?.links.map(({ span }) => span.spanId),
        requests.map(({ spanId }) => spanId)
      )
    }).pipe(provide)
  })

  it.effect("leaves nothing behind of writes that time out over a sink that hangs", () =>
    Effect.gen(function* () {
      const { events, sink } = receiver((_, n) => (n === 1 ? Effect.never : Effect.void))
      const batching = yield* BatchingSink.make(sink, { batchSize: 2, maxAge: 1, drainTimeout: 0 })
      yield* writeEach(batching, [0, 0])
      for (let n = 1; n <= 500; n++) {
        const some = yield* writeEach(batching, [n])
        yield* TestClock.adjust(2)
        yield* Fiber.interruptAll(some)
      }
      assert.strictEqual(batching.node.health(0).pending, 2)
      assert.strictEqual(events().length, 1)
    })
  )
})

describe("EventQueue over a batch sink", () => {
  it.effect("waits up to maxAge for a batch to fill up", () =>
    Effect.gen(function* () {
      const { batches, sink } = receiver()
      const queue = yield* sink.pipe(EventQueue.make({ batchSize: 3, maxAge: 100, onDropped: () => Effect.void }))
      yield* queue.write(1)
      yield* pass(50)
      yield* EventSink.writeAll(queue, [2, 3, 4])
      yield* pass(200)
      assert.deepStrictEqual(batches, [
        { at: 50, events: [1, 2, 3] },
        { at: 150, events: [4] }
      ])
    })
  )

  it.effect("has counted what it delivers, also where the write begins the batch, and shows it as accepted first", () =>
    Effect.gen(function* () {
      const pending: Array<number> = []
      const queue: EventQueue.EventQueue<number> = yield* EventSink.makeBatch((_: Batch) =>
        Effect.suspend(() => Effect.map(queue.pending, (n) => void pending.push(n)))
      ).pipe(EventQueue.make({ batchSize: 2, maxAge: "1 hour" }))
      const shown: Array<string> = []
      yield* Effect.forkChild(
        Stream.runForEach(SinkGraph.tap(queue), ({ event, what }) => Effect.sync(() => shown.push(`${what} ${event}`)))
      )
      yield* settle
      yield* queue.write(1)
      yield* queue.write(2)
      yield* settle
      assert.deepStrictEqual(pending, [2])
      assert.deepStrictEqual(shown, ["accepted 1", "accepted 2", "delivered 1", "delivered 2"])
    })
  )

  it.effect("takes what is there, batchSize at most, without maxAge", () =>
    Effect.gen(function* () {
      const { events, sink } = receiver()
      const queue = yield* sink.pipe(EventQueue.make({ batchSize: 2, onDropped: () => Effect.void }))
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      assert.deepStrictEqual(events(), [[1, 2], [3]])
    })
  )

  it.effect("does not wait over a sink that takes one event at a time", () =>
    Effect.gen(function* () {
      const got: Array<number> = []
      const queue = yield* EventSink.sync((n: number) => got.push(n)).pipe(EventQueue.make({ maxAge: "1 hour" }))
      yield* queue.write(1)
      yield* settle
      assert.deepStrictEqual(got, [1])
    })
  )

  it.effect("drops the oldest of a batch that waits", () =>
    Effect.gen(function* () {
      const dropped: Array<number> = []
      const { batches, sink } = receiver((_, n) => (n === 1 ? Effect.sleep(50) : Effect.void))
      const queue = yield* sink.pipe(
        EventQueue.make({
          batchSize: 2,
          maxAge: 100,
          capacity: 3,
          overflow: "drop-oldest",
          onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
        })
      )
      for (const n of [1, 2, 3, 4, 5]) yield* queue.write(n)
      yield* settle
      yield* pass(200)
      assert.deepStrictEqual(dropped, [3, 4])
      assert.deepStrictEqual(batches, [
        { at: 0, events: [1, 2] },
        { at: 100, events: [5] }
      ])
    })
  )
})
