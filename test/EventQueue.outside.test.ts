/** `EventQueue.offerUnsafe`: a write from outside of Effect, which waits for nothing and loses nothing silently. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Equal, Fiber, Hash, Latch } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { EventQueue, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { EventEmitter } from "node:events"
import { open, settle, withLogs } from "./support/virtual.ts"

type Options = EventQueue.Options & EventQueue.Partitioned<number>
const queueOf = (sink: EventSink.EventSink<number>, options: Options = {}) =>
  Effect.gen(function* () {
    const dropped: Array<Dropped.Dropped<number>> = []
    const { close, part: queue } = yield* open(
      EventQueue.make<number, never, EventQueue.Overflow>({
        ...options,
        onDropped: (one) => Effect.sync(() => void dropped.push(one))
      })(sink)
    )
    const offer = (...events: ReadonlyArray<number>) => events.map((event) => EventQueue.offerUnsafe(queue, event))
    return { close, dropped, offer, queue }
  })
const hanging = Effect.map(open(TestSink.hanging<number>()), ({ part }) => part)
const countsOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0).counts
const overflows = (events: ReadonlyArray<number>) => events.map((event) => ({ event, reason: { _tag: "Overflow" } }))

describe("accepted", () => {
  const kinds: ReadonlyArray<readonly [kind: string, options: Options]> = [
    ["unbounded", {}],
    ["with room", { capacity: 100 }],
    ["with a concurrency", { concurrency: 3 }],
    ["by keys", { concurrency: 3, partitionBy: () => "key" }]
  ]
  it.effect.each(kinds)("wakes the drainer, and delivers in order with other writes: a queue %s", ([, options]) =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      const { close, offer, queue } = yield* queueOf(sink, options)
      yield* settle
      assert.deepStrictEqual(offer(1, 2), ["accepted", "accepted"])
      assert.strictEqual(yield* queue.pending, 2)
      yield* settle
      assert.deepStrictEqual(sink.received, [1, 2])
      assert.deepStrictEqual(offer(3), ["accepted"])
      yield* queue.write(4)
      assert.deepStrictEqual(offer(5), ["accepted"])
      yield* EventSink.writeAll(queue, [6, 7])
      assert.deepStrictEqual(offer(8), ["accepted"])
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 3, 4, 5, 6, 7, 8])
      assert.deepInclude(countsOf(queue), { accepted: 8, delivered: 8, dropped: 0 })
      yield* close
    })
  )

  it.live("from a callback, while the queue is being delivered", () =>
    Effect.gen(function* () {
      const emitter = new EventEmitter<{ data: [number] }>()
      const sink = yield* TestSink.recording<number>()
      const { queue } = yield* queueOf(sink)
      const answers: Array<EventQueue.Offered> = []
      emitter.on("data", (n) => answers.push(EventQueue.offerUnsafe(queue, n)))
      const events = Array.from({ length: 3000 }, (_, n) => n)
      const over = Latch.makeUnsafe()
      const emit = (from: number) => {
        for (const n of events.slice(from, from + 100)) emitter.emit("data", n)
        if (from + 100 < events.length) setImmediate(emit, from + 100)
        else over.openUnsafe()
      }
      setImmediate(emit, 0)
      yield* over.await
      yield* queue.flush
      assert.isTrue(answers.every((answer) => answer === "accepted"))
      assert.deepStrictEqual(sink.received, events)
    })
  )

  it.effect("counts for the age, the health and a flush", () =>
    Effect.gen(function* () {
      const { offer, queue } = yield* queueOf(yield* hanging)
      offer(1)
      yield* settle
      const flush = yield* Effect.forkChild(queue.flush)
      yield* TestClock.adjust("5 seconds")
      assert.isUndefined(flush.pollUnsafe())
      const { inFlight, oldestAge, pending } = queue.node.health(5000)
      assert.deepStrictEqual({ inFlight, oldestAge, pending }, { inFlight: 1, oldestAge: 5000, pending: 1 })
    })
  )
})

describe("full", () => {
  it.effect.each(["suspend", "reject"] as const)('accepts nothing, until there is room: "%s"', (overflow) =>
    Effect.gen(function* () {
      const sink = yield* hanging
      const { dropped, offer, queue } = yield* queueOf(sink, { capacity: 2, overflow })
      assert.deepStrictEqual(offer(1, 2, 3), ["accepted", "accepted", "full"])
      yield* settle
      assert.deepStrictEqual(offer(3), ["full"])
      assert.strictEqual(countsOf(queue).accepted, 2)
      yield* sink.release
      yield* settle
      assert.deepStrictEqual(offer(4), ["accepted"])
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 4])
      assert.deepStrictEqual(dropped, [])
      assert.deepStrictEqual(yield* queue.shutdown, [])
    })
  )

  it.effect("passes no writer that waits, though it would fit", () =>
    Effect.gen(function* () {
      const sink = yield* hanging
      const { offer, queue } = yield* queueOf(sink, { capacity: 2 })
      assert.deepStrictEqual(offer(1), ["accepted"])
      const waiting = yield* Effect.forkChild(queue.writeSome([2, 3]))
      yield* settle
      assert.deepStrictEqual(offer(4), ["full"])
      yield* sink.release
      yield* Fiber.join(waiting)
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 3])
    })
  )
})

describe("where the policy drops", () => {
  it.effect('"drop-newest" accepts and drops the event, with a report', () =>
    Effect.gen(function* () {
      const sink = yield* hanging
      const { dropped, offer, queue } = yield* queueOf(sink, { capacity: 2, overflow: "drop-newest" })
      assert.deepStrictEqual(offer(1, 2, 3, 4), ["accepted", "accepted", "accepted", "accepted"])
      assert.deepInclude(countsOf(queue), { accepted: 4, dropped: 2 })
      yield* settle
      assert.deepStrictEqual(dropped, overflows([3, 4]))
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2])
      assert.deepInclude(countsOf(queue), { accepted: 4, delivered: 2, dropped: 2 })
    })
  )

  // The page that the drainer is to be woken for is taken in part by the drop, before the drainer has its turn.
  it.effect.each([1, 2, 3, 1500])('"drop-oldest" of %i delivers what is left of a burst to an idle queue', (capacity) =>
    Effect.gen(function* () {
      for (const excess of [1, 2, 3, capacity, capacity + 1]) {
        const received: Array<number> = []
        const sink = yield* EventSink.make((n: number) => Effect.sync(() => void received.push(n)))
        const { offer, queue } = yield* queueOf(sink, { capacity, overflow: "drop-oldest" })
        yield* settle
        const burst = Array.from({ length: capacity + excess }, (_, i) => i)
        offer(...burst)
        yield* Effect.repeat(settle, { until: () => received.length >= capacity, times: 100 })
        assert.deepStrictEqual(received, burst.slice(excess), `${excess} in excess`)
        assert.strictEqual(yield* queue.pending, 0)
      }
    })
  )

  it.effect('"drop-oldest" drops the oldest that waits, or the event itself when none does', () =>
    Effect.gen(function* () {
      const sink = yield* hanging
      const { dropped, offer, queue } = yield* queueOf(sink, { capacity: 2, overflow: "drop-oldest" })
      offer(1)
      yield* settle
      assert.deepStrictEqual(offer(2, 3, 4), ["accepted", "accepted", "accepted"])
      yield* settle
      assert.deepStrictEqual(dropped, overflows([2, 3]))
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 4])
      const other = yield* hanging
      const one = yield* queueOf(other, { capacity: 1, overflow: "drop-oldest" })
      one.offer(1)
      yield* settle
      assert.deepStrictEqual(one.offer(2), ["accepted"])
      yield* settle
      assert.deepStrictEqual(one.dropped, overflows([2]))
      assert.deepInclude(countsOf(one.queue), { accepted: 2, dropped: 1 })
    })
  )

  it.effect("the close waits for the reports that are under way", () =>
    withLogs(() =>
      Effect.gen(function* () {
        for (const overflow of ["drop-newest", "drop-oldest"] as const) {
          const reported: Array<number> = []
          const { part: queue, close } = yield* open(
            EventQueue.make<number, never, EventQueue.Overflow>({
              capacity: 2,
              overflow,
              onDropped: ({ event }) =>
                Effect.delay(
                  Effect.sync(() => void reported.push(event)),
                  "2 seconds"
                )
            })(yield* TestSink.recording<number>())
          )
          for (const n of [1, 2, 3]) assert.strictEqual(EventQueue.offerUnsafe(queue, n), "accepted")
          const closing = yield* Effect.forkChild(close)
          yield* TestClock.adjust("1999 millis")
          assert.isUndefined(closing.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          yield* Fiber.join(closing)
          assert.deepStrictEqual(reported, overflow === "drop-newest" ? [3] : [1])
        }
      })
    )
  )
})

describe("closed", () => {
  it.effect.each(["suspend", "reject", "drop-newest", "drop-oldest"] as const)(
    'from the beginning of the close on: "%s"',
    (overflow) =>
      Effect.gen(function* () {
        const sink = yield* hanging
        const { dropped, offer, queue } = yield* queueOf(sink, { capacity: 1, overflow })
        offer(1)
        yield* settle
        const shutdown = yield* Effect.forkChild(queue.shutdown, { startImmediately: true })
        assert.deepStrictEqual(offer(2), ["closed"])
        assert.strictEqual(queue.node.state, "closing")
        yield* sink.release
        assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
        assert.deepStrictEqual(offer(3), ["closed"])
        yield* settle
        assert.deepStrictEqual(sink.received, [1])
        assert.deepStrictEqual(dropped, [])
        assert.deepInclude(countsOf(queue), { accepted: 1, delivered: 1 })
      })
  )

  it.effect("when the sink below is closed, and by the scope", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { offer } = yield* queueOf(yield* TestSink.closing<number>())
        assert.deepStrictEqual(offer(1), ["accepted"])
        yield* settle
        assert.deepStrictEqual(offer(2), ["closed"])
        const other = yield* queueOf(yield* TestSink.recording<number>())
        yield* other.close
        assert.deepStrictEqual(other.offer(1), ["closed"])
      })
    )
  )
})

describe("partitionBy", () => {
  class Incomparable implements Equal.Equal {
    [Hash.symbol]() {
      return 1
    }
    [Equal.symbol](): boolean {
      throw new Error("cannot be compared")
    }
  }

  it.effect.each(["suspend", "reject", "drop-newest", "drop-oldest"] as const)(
    'what it throws, or the comparison of its keys, offerUnsafe throws, and nothing is accepted or dropped: "%s"',
    (overflow) =>
      Effect.gen(function* () {
        const sink = yield* hanging
        const { dropped, offer, queue } = yield* queueOf(sink, {
          capacity: 3,
          concurrency: 2,
          overflow,
          partitionBy: (n) => {
            if (n === 0) throw new Error("no key")
            return n < 0 ? new Incomparable() : n
          }
        })
        assert.deepStrictEqual(offer(-1, 1), ["accepted", "accepted"])
        yield* settle
        assert.throws(() => offer(0), "no key")
        assert.throws(() => offer(-2), "cannot be compared")
        assert.strictEqual(yield* queue.pending, 2)
        assert.deepStrictEqual(offer(2), ["accepted"])
        // It is full by now.
        assert.throws(() => offer(0), "no key")
        assert.throws(() => offer(-2), "cannot be compared")
        yield* settle
        assert.deepInclude(countsOf(queue), { accepted: 3, dropped: 0 })
        assert.deepStrictEqual(dropped, [])
        yield* sink.release
        yield* queue.flush
        assert.sameMembers([...sink.received], [-1, 1, 2])
        assert.deepStrictEqual(offer(-2), ["accepted"])
        assert.deepStrictEqual(yield* queue.shutdown, [])
        // A closed queue asks for no key.
        assert.deepStrictEqual(offer(0), ["closed"])
      })
  )
})
