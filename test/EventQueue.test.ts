import { assert, describe, it } from "@effect/vitest"
import {
  Cause,
  Context,
  Data,
  Duration,
  Effect,
  Equal,
  Exit,
  Fiber,
  Hash,
  Latch,
  Ref,
  References,
  Schedule,
  Scope
} from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { EventQueue, EventSink, RetryingSink, RetryStrategy } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { collector } from "./support/collector.ts"
import { runs } from "./support/runs.ts"
import { open, pass, settle, withLogs } from "./support/virtual.ts"

/** A queue over a sink, with what it drops. */
const dropping = <A, E>(sink: EventSink.EventSink<A, E>, options: EventQueue.Options = {}) =>
  Effect.gen(function* () {
    const dropped: Array<Dropped.Dropped<A, E>> = []
    const { part: queue, close } = yield* open(
      EventQueue.make<A, E, EventQueue.Overflow>({
        ...options,
        onDropped: (one) => Effect.sync(() => void dropped.push(one))
      })(sink)
    )
    return { queue, close, dropped }
  })

const healthOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0)

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const many = runs(100_000)

const hanging = (options?: TestSink.Options & { readonly from?: number }) =>
  Effect.map(open(TestSink.hanging<number>(options)), ({ part }) => part)

describe("writing", () => {
  it.effect("a write succeeds when the event is queued", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink)
      yield* queue.write(1)
      yield* queue.write(2)
      yield* settle
      assert.deepStrictEqual(sink.received, [])
      assert.strictEqual(yield* queue.pending, 2)
    })
  )

  it.effect("a fiber of the queue's own delivers the events in order, one at a time", () =>
    Effect.gen(function* () {
      let most = 0
      let now = 0
      const seen: Array<number> = []
      const queue = yield* EventSink.make((n: number) =>
        Effect.gen(function* () {
          most = Math.max(most, ++now)
          yield* Effect.sleep(n % 2 === 0 ? "1 millis" : "5 millis")
          seen.push(n)
          now--
        })
      ).pipe(EventQueue.make())
      yield* EventSink.writeAll(queue, range(20))
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(seen, range(20))
      assert.strictEqual(most, 1)
    })
  )

  it.effect("in batches where the sink takes them", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 4 })
      const queue = yield* EventQueue.make()(sink)
      yield* EventSink.writeAll(queue, range(10))
      yield* queue.flush
      assert.deepStrictEqual(sink.received, range(10))
      assert.deepStrictEqual(sink.batches, [4, 4, 2])
    })
  )

  it.effect("is unbounded by default", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging())
      yield* Effect.forEach(range(20_000), (n) => queue.write(n), { discard: true })
      assert.strictEqual(yield* queue.pending, 20_000)
    })
  )

  it.effect("pending counts what is accepted and not yet settled, those being delivered included", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink)
      assert.strictEqual(yield* queue.pending, 0)
      yield* EventSink.writeAll(queue, [1, 2])
      yield* settle
      assert.strictEqual(yield* queue.pending, 2)
      yield* sink.release
      yield* settle
      assert.strictEqual(yield* queue.pending, 0)
    })
  )

  it.effect("it goes on when the fiber that made it has ended", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      const queue = yield* Fiber.join(yield* Effect.forkChild(EventQueue.make()(sink)))
      yield* queue.write(1)
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("never delivers an event twice by itself, not even when the write of it failed", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number>({ times: 2 })
      const { dropped, queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      assert.strictEqual(sink.attempts, 3)
      assert.deepStrictEqual(sink.received, [3])
      assert.deepStrictEqual(
        dropped.map(({ event }) => event),
        [1, 2]
      )
    })
  )

  it.effect("its name is the option's, else the kind", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      assert.strictEqual((yield* EventQueue.make()(sink)).node.name, "EventQueue")
      assert.strictEqual((yield* EventQueue.make({ name: "mine" })(sink)).node.name, "mine")
    })
  )

  it.effect(`${many.toLocaleString("en")} events do not overflow the stack, whatever the sink`, () =>
    Effect.gen(function* () {
      let n = 0
      const effectful = yield* EventSink.make((_: number) => Effect.sync(() => n++))
      const batched = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        Effect.sync(() => {
          n += events.length
          return events.length
        })
      )
      const plain = yield* EventSink.sync((_: number) => n++)
      const events = range(many)
      for (const sink of [effectful, batched, plain]) {
        for (const batch of [true, false]) {
          n = 0
          const queue = yield* EventQueue.make()(sink)
          if (batch) yield* EventSink.writeAll(queue, events)
          else yield* Effect.forEach(events, (event) => queue.write(event), { discard: true })
          yield* queue.flush
          assert.strictEqual(n, events.length)
        }
      }
    })
  )

  it.effect(
    `${many.toLocaleString("en")} events through a bounded queue do not overflow the stack, nor do 10,000 writers that wait`,
    () =>
      Effect.gen(function* () {
        let n = 0
        const sink = yield* EventSink.make((_: number) => Effect.sync(() => n++))
        const queue = yield* EventQueue.make({ capacity: 1 })(sink)
        yield* Effect.forEach(range(many), (event) => queue.write(event), { discard: true })
        yield* queue.flush
        assert.strictEqual(n, many)
        yield* Effect.forEach(range(10_000), (event) => queue.write(event), { concurrency: "unbounded", discard: true })
        yield* queue.flush
        assert.strictEqual(n, many + 10_000)
      })
  )

  it.effect("a queue over a plain function gives other fibers their turns", () =>
    Effect.gen(function* () {
      const count = { delivered: 0 }
      const queue = yield* EventSink.sync((_: number) => count.delivered++).pipe(EventQueue.make())
      yield* EventSink.writeAll(queue, range(100_000))
      let between = 0
      while (count.delivered < 100_000) {
        yield* Effect.yieldNow
        if (count.delivered > 0 && count.delivered < 100_000) between++
      }
      assert.isAbove(between, 10)
    })
  )
})

describe("capacity", () => {
  it.effect("counts what is accepted and not yet settled, what is being delivered included", () =>
    Effect.gen(function* () {
      for (const sink of [yield* hanging(), yield* hanging({ batchSize: 10 })]) {
        const { queue } = yield* dropping(sink, { capacity: 2, overflow: "reject" })
        yield* queue.write(1)
        yield* settle
        assert.strictEqual(healthOf(queue).inFlight, 1)
        yield* queue.write(2)
        yield* settle
        assert.strictEqual((yield* Effect.flip(queue.write(3)))._tag, "QueueFull")
        assert.strictEqual(yield* queue.pending, 2)
      }
    })
  )

  it.effect("a batch larger than the capacity is accepted alone, when the queue is empty", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink, { capacity: 2 })
      yield* queue.write(1)
      const large = yield* Effect.forkChild(queue.writeSome!([2, 3, 4, 5]))
      const next = yield* Effect.forkChild(queue.write(6))
      yield* settle
      assert.isUndefined(large.pollUnsafe())
      assert.isUndefined(next.pollUnsafe(), "a write that waits behind it does not pass it")
      yield* sink.release
      assert.strictEqual(yield* Fiber.join(large), 4)
      yield* Fiber.join(next)
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 3, 4, 5, 6])
    })
  )

  it.effect("an empty queue accepts a batch larger than the capacity at once, under every policy", () =>
    Effect.gen(function* () {
      for (const overflow of ["suspend", "reject", "drop-newest", "drop-oldest"] as const) {
        const sink = yield* TestSink.recording<number>()
        const { dropped, queue } = yield* dropping(sink, { capacity: 2, overflow })
        assert.strictEqual(yield* queue.writeSome!([1, 2, 3, 4, 5]), 5)
        yield* queue.flush
        assert.deepStrictEqual(sink.received, [1, 2, 3, 4, 5])
        assert.deepStrictEqual(dropped, [])
      }
    })
  )

  it.effect("a batch that fits is accepted whole, and one that does not is not accepted at all", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging(), { capacity: 3, overflow: "reject" })
      yield* queue.writeSome!([1, 2])
      yield* Effect.flip(queue.writeSome!([3, 4]))
      assert.strictEqual(yield* queue.pending, 2)
      yield* queue.write(3)
      assert.strictEqual(yield* queue.pending, 3)
    })
  )
})

describe('overflow "suspend"', () => {
  it.effect("is the default: the write waits for room, first come, first in", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const queue = (yield* open(EventQueue.make({ capacity: 1 })(sink))).part
      yield* queue.write(1)
      const writers: Array<Fiber.Fiber<void, unknown>> = []
      for (const n of [2, 3, 4]) {
        writers.push(yield* Effect.forkChild(queue.write(n)))
        yield* settle
      }
      assert.isTrue(writers.every((writer) => writer.pollUnsafe() === undefined))
      yield* sink.release
      yield* Fiber.joinAll(writers)
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 3, 4])
    })
  )

  it.effect("an interrupted writer leaves the line, its event is not accepted, and those behind it move up", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const queue = (yield* open(EventQueue.make({ capacity: 3 })(sink))).part
      yield* queue.writeSome!([1, 2])
      const large = yield* Effect.forkChild(queue.writeSome!([3, 4]))
      yield* settle
      const small = yield* Effect.forkChild(queue.write(5))
      yield* settle
      assert.isUndefined(small.pollUnsafe())
      yield* Fiber.interrupt(large)
      yield* Fiber.join(small)
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 5])
      assert.strictEqual(healthOf(queue).counts.accepted, 3)
    })
  )

  it.effect("a writer that waits when the close comes fails with SinkClosed, and its event is not accepted", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const queue = (yield* open(EventQueue.make({ capacity: 1, name: "line" })(sink))).part
      yield* queue.write(1)
      const one = yield* Effect.forkChild(Effect.flip(queue.write(2)))
      const batch = yield* Effect.forkChild(Effect.flip(queue.writeSome!([3, 4])))
      yield* settle
      yield* Effect.forkChild(queue.shutdown)
      yield* settle
      for (const error of [yield* Fiber.join(one), yield* Fiber.join(batch)]) {
        assert.instanceOf(error, EventSink.SinkClosed)
        assert.strictEqual(error.sink, "line")
      }
      yield* sink.release
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
    })
  )
})

describe("writers that are interrupted while they wait", () => {
  it.live("leave the memory of their events, also behind one that goes on waiting", () =>
    Effect.gen(function* () {
      const gc = collector()
      const { part: sink } = yield* open(TestSink.hanging<object>())
      const { part: queue, close } = yield* open(EventQueue.make(sink, { capacity: 1, drainTimeout: 0 }))
      yield* queue.write({})
      const first = yield* Effect.forkChild(queue.write({}), { startImmediately: true })
      const refs: Array<WeakRef<object>> = []
      for (let i = 0; i < 5000; i++) {
        const write = Effect.suspend(() => {
          const event = { event: i }
          refs.push(new WeakRef(event))
          return queue.write(event)
        })
        yield* Fiber.interrupt(yield* Effect.forkChild(write, { startImmediately: true }))
      }
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 1100)
      yield* Fiber.interrupt(first)
      yield* withLogs(() => close)
    })
  )
})

describe('overflow "reject"', () => {
  it.effect("fails with QueueFull, which names the queue and its capacity, and accepts nothing", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const queue = (yield* open(EventQueue.make({ capacity: 1, name: "orders", overflow: "reject" })(sink))).part
      yield* queue.write(1)
      const error = yield* Effect.flip(queue.write(2))
      assert.instanceOf(error, EventQueue.QueueFull)
      assert.strictEqual(error.queue, "orders")
      assert.strictEqual(error.capacity, 1)
      assert.strictEqual(error.message, 'the queue "orders" is full at 1 events')
      assert.instanceOf(yield* Effect.flip(queue.writeSome!([2, 3])), EventQueue.QueueFull)
      assert.strictEqual(healthOf(queue).counts.accepted, 1)
      yield* sink.release
      yield* queue.flush
      yield* queue.write(4)
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 4])
    })
  )
})

describe('overflow "drop-newest"', () => {
  it.effect("the new event is accepted and dropped, a batch whole", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { dropped, queue } = yield* dropping(sink, { capacity: 2, overflow: "drop-newest" })
      yield* queue.write(1)
      yield* queue.writeSome!([2, 3])
      yield* queue.write(4)
      yield* queue.write(5)
      assert.deepStrictEqual(
        dropped,
        [2, 3, 5].map((event) => ({ event, reason: { _tag: "Overflow" } }))
      )
      assert.strictEqual(yield* queue.pending, 2)
      assert.deepStrictEqual(healthOf(queue).counts, {
        accepted: 5,
        delivered: 0,
        filtered: 0,
        dropped: 3,
        undelivered: 0,
        deadLettered: 0,
        remaining: 0
      })
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 4])
    })
  )
})

describe('overflow "drop-oldest"', () => {
  it.effect("the oldest event that is not being delivered is dropped", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { dropped, queue } = yield* dropping(sink, { capacity: 3, overflow: "drop-oldest" })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* settle
      yield* queue.write(4)
      yield* queue.writeSome!([5, 6])
      assert.deepStrictEqual(
        dropped,
        [2, 3, 4].map((event) => ({ event, reason: { _tag: "Overflow" } }))
      )
      assert.strictEqual(yield* queue.pending, 3)
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 5, 6])
    })
  )

  it.effect("when all are being delivered, the new one is dropped", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { dropped, queue } = yield* dropping(sink, { capacity: 1, overflow: "drop-oldest" })
      yield* queue.write(1)
      yield* settle
      yield* queue.write(2)
      assert.deepStrictEqual(dropped, [{ event: 2, reason: { _tag: "Overflow" } }])
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("a batch that dropping the oldest cannot make room for is dropped itself, and nothing else is", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { dropped, queue } = yield* dropping(sink, { capacity: 3, overflow: "drop-oldest" })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* settle
      yield* queue.writeSome!([4, 5, 6, 7])
      assert.deepStrictEqual(
        dropped.map(({ event }) => event),
        [4, 5, 6, 7]
      )
      yield* sink.release
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 3])
    })
  )
})

describe("interrupting a write", () => {
  it.effect.each(["suspend", "reject", "drop-newest", "drop-oldest"] as const)(
    'leaves it accepted or not, never half, and loses nothing without a report: overflow "%s"',
    (overflow) =>
      Effect.gen(function* () {
        for (let steps = 0; steps < 25; steps++) {
          const sink = yield* hanging()
          const reported: Array<number> = []
          const { part: queue } = yield* open(
            EventQueue.make<number, never, EventQueue.Overflow>({
              capacity: 3,
              overflow,
              onDropped: ({ event }) => Effect.sync(() => void reported.push(event))
            })(sink)
          )
          yield* EventSink.writeAll(queue, [1, 2, 3])
          yield* settle
          const writer = yield* queue.writeSome!([4, 5]).pipe(
            Effect.provideService(References.MaxOpsBeforeYield, 3),
            Effect.forkChild({ startImmediately: true })
          )
          for (let step = 0; step < steps; step++) yield* Effect.yieldNow
          yield* Fiber.interrupt(writer)
          yield* settle
          const { counts } = healthOf(queue)
          assert.isTrue(counts.accepted === 3 || counts.accepted === 5, `after ${steps} steps`)
          assert.strictEqual(reported.length, counts.dropped, `after ${steps} steps`)
          yield* sink.release
          yield* queue.flush
          assert.strictEqual(sink.received.length + reported.length, counts.accepted, `after ${steps} steps`)
        }
      })
  )

  it.effect("while its drops are being reported, every one of them is reported or logged", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const reported: Array<string> = []
        const sink = (yield* open(TestSink.hanging<{ id: string }>())).part
        const { part: queue } = yield* open(
          EventQueue.make<{ id: string }, never, EventQueue.Overflow>({
            capacity: 1,
            overflow: "drop-newest",
            onDropped: ({ event }) =>
              Effect.delay(
                Effect.sync(() => void reported.push(event.id)),
                "1 seconds"
              )
          })(sink)
        )
        yield* queue.write({ id: "event-0" })
        const writer = yield* Effect.forkChild(
          queue.writeSome!([{ id: "event-1" }, { id: "event-2" }, { id: "event-3" }])
        )
        yield* TestClock.adjust("1 seconds")
        assert.deepStrictEqual(reported, ["event-1"])
        const interrupting = yield* Effect.forkChild(Fiber.interrupt(writer))
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(interrupting)
        const all = reported.join() + logs.map(({ line }) => line).join()
        for (const id of ["event-1", "event-2", "event-3"]) assert.include(all, id)
      })
    )
  )
})

describe("writing from inside the queue's own delivery", () => {
  it.effect.each(["suspend", "reject", "drop-newest", "drop-oldest"] as const)(
    'is admitted over capacity, since it cannot wait for itself: overflow "%s"',
    (overflow) =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const self: { write: (n: number) => Effect.Effect<void, unknown> } = { write: () => Effect.void }
        const sink = yield* EventSink.make((n: number) =>
          Effect.gen(function* () {
            seen.push(n)
            if (n >= 10) return
            yield* Effect.orDie(self.write(n * 10))
            // A fiber forked in the delivery is inside it too.
            yield* Effect.orDie(Fiber.join(yield* Effect.forkChild(self.write(n * 10 + 1))))
          })
        )
        const { dropped, queue } = yield* dropping(sink, { capacity: 1, overflow })
        self.write = queue.write
        yield* queue.write(1)
        yield* settle
        yield* queue.flush
        assert.deepStrictEqual(seen, [1, 10, 11])
        assert.deepStrictEqual(dropped, [])
      })
  )

  it.effect("after the close has begun it fails with SinkClosed", () =>
    Effect.gen(function* () {
      const answers: Array<string> = []
      const self: { write: (n: number) => Effect.Effect<void, { readonly _tag: string }> } = {
        write: () => Effect.void
      }
      const sink = yield* EventSink.make((n: number) =>
        Effect.gen(function* () {
          yield* Effect.sleep("1 seconds")
          answers.push((yield* Effect.flip(self.write(n)))._tag)
        }).pipe(Effect.orDie)
      )
      const { queue } = yield* dropping(sink)
      self.write = queue.write
      yield* queue.write(1)
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
      assert.deepStrictEqual(answers, ["SinkClosed"])
    })
  )

  it.effect("shutdown from inside it ends at the deadline", () =>
    Effect.gen(function* () {
      const self: { shutdown: Effect.Effect<unknown> } = { shutdown: Effect.void }
      const sink = yield* EventSink.make((_: number) => self.shutdown)
      const { close, dropped, queue } = yield* dropping(sink, { drainTimeout: "2 seconds" })
      self.shutdown = queue.shutdown
      yield* queue.write(1)
      yield* settle
      assert.strictEqual(healthOf(queue).state, "closing")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual(healthOf(queue).state, "closed")
      yield* close
      assert.deepStrictEqual(dropped, [{ event: 1, reason: { _tag: "Undelivered", inFlight: true } }])
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
  )
})

describe("flush", () => {
  it.effect("waits until what was accepted before it is delivered, and not for what came later", () =>
    Effect.gen(function* () {
      const sink = (yield* open(TestSink.slow<number>("1 seconds"))).part
      const { queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, [1, 2])
      const flush = yield* Effect.forkChild(queue.flush)
      yield* settle
      yield* EventSink.writeAll(queue, [3, 4])
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(flush.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(flush.pollUnsafe())
      assert.deepStrictEqual(sink.received, [1, 2])
    })
  )

  it.effect("ends at once for an empty queue", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging())
      yield* queue.flush
    })
  )

  it.effect("counts dropped events as settled", () =>
    Effect.gen(function* () {
      const { dropped, queue } = yield* dropping(yield* TestSink.failing<number>())
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      assert.strictEqual(dropped.length, 3)
    })
  )

  it.effect("ends with the close, also when events are left", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging(), { drainTimeout: 0 })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      const flush = yield* Effect.forkChild(queue.flush)
      yield* settle
      assert.isUndefined(flush.pollUnsafe())
      yield* queue.shutdown
      yield* Fiber.join(flush)
    })
  )

  it.effect("is forgotten when it is interrupted", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink)
      yield* queue.write(1)
      const one = yield* Effect.forkChild(queue.flush)
      const two = yield* Effect.forkChild(queue.flush)
      yield* settle
      yield* Fiber.interrupt(one)
      yield* sink.release
      yield* Fiber.join(two)
    })
  )

  it.effect('under "drop-oldest" it counts what was dropped ahead of it, and not what was dropped behind it', () =>
    Effect.gen(function* () {
      const sink = (yield* open(TestSink.slow<number>("1 seconds"))).part
      const { queue } = yield* dropping(sink, { capacity: 4, overflow: "drop-oldest" })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* settle
      const flush = yield* Effect.forkChild(queue.flush)
      yield* settle
      // 2 and 3 are ahead of the flush; 4 is behind it.
      for (const n of [4, 5, 6, 7]) yield* queue.write(n)
      yield* settle
      assert.isUndefined(flush.pollUnsafe(), "1 is still being delivered")
      yield* TestClock.adjust("1 seconds")
      assert.isDefined(flush.pollUnsafe(), "it does not wait for 5, 6 and 7")
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect('under "drop-oldest" it ends when all that it waits for has been dropped', () =>
    Effect.gen(function* () {
      const { dropped, queue } = yield* dropping(yield* hanging(), { capacity: 1, overflow: "drop-oldest" })
      // Not a turn for the drainer in between.
      yield* queue.write(1)
      const flush = yield* Effect.forkChild(queue.flush, { startImmediately: true })
      yield* queue.write(2)
      yield* settle
      assert.deepStrictEqual(
        dropped.map(({ event }) => event),
        [1]
      )
      assert.isDefined(flush.pollUnsafe())
    })
  )

  it.effect('under "drop-oldest" a drop behind it does not end it early, also when a batch is taken apart', () =>
    Effect.gen(function* () {
      const committed: Array<number> = []
      let attempt = 0
      const hold = yield* hanging()
      const sink = (yield* open(
        EventSink.makeBatch(([first]: ReadonlyArray<number>) => {
          if (++attempt === 1) return Effect.fail("the first batch")
          const commit = Effect.sync(() => committed.push(first!))
          // Holds in the second attempt, with 1 and 2 of 1 to 4, and again with 4.
          const wait = attempt === 2 ? Effect.sleep("1 seconds") : first === 4 ? hold.write(0) : Effect.void
          return Effect.as(Effect.andThen(Effect.orDie(wait), commit), 1)
        })
      )).part
      const { dropped, queue } = yield* dropping(sink, { capacity: 5, overflow: "drop-oldest" })
      yield* queue.writeSome!([1, 2, 3, 4])
      yield* settle
      const flush = yield* Effect.forkChild(queue.flush)
      yield* settle
      yield* queue.write(5)
      yield* queue.write(6)
      assert.deepStrictEqual(
        dropped.map(({ event }) => event),
        [5]
      )
      yield* TestClock.adjust("1 seconds")
      yield* settle
      assert.deepStrictEqual(committed, [1, 2, 3])
      assert.isUndefined(flush.pollUnsafe(), "4 has not been delivered")
    })
  )
})

describe("shutdown", () => {
  it.effect("stops accepting, delivers what was accepted, and returns what could not be delivered: nothing", () =>
    Effect.gen(function* () {
      const sink = (yield* open(TestSink.slow<number>("1 seconds"))).part
      const { queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* settle
      assert.instanceOf(yield* Effect.flip(queue.write(4)), EventSink.SinkClosed)
      assert.instanceOf(yield* Effect.flip(queue.writeSome!([4])), EventSink.SinkClosed)
      assert.strictEqual(healthOf(queue).state, "closing")
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
      assert.deepStrictEqual(sink.received, [1, 2, 3])
      assert.strictEqual(healthOf(queue).state, "closed")
      assert.instanceOf(yield* Effect.flip(queue.write(4)), EventSink.SinkClosed)
    })
  )

  it.effect("a write in flight that was interrupted is undelivered and marked, since the receiver may have it", () =>
    Effect.gen(function* () {
      const sink = yield* hanging({ from: 2 })
      const { close, dropped, queue } = yield* dropping(sink, { drainTimeout: "2 seconds" })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [
        { event: 2, inFlight: true },
        { event: 3, inFlight: false }
      ])
      assert.strictEqual(sink.node.health(0).inFlight, 0, "it was interrupted")
      assert.deepStrictEqual(healthOf(queue).counts, {
        accepted: 3,
        delivered: 1,
        filtered: 0,
        dropped: 0,
        undelivered: 2,
        deadLettered: 0,
        remaining: 0
      })
      yield* close
      assert.deepStrictEqual(dropped, [], "the scope reports only what no call returned")
    })
  )

  it.effect("of a batch in flight every event is marked", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging({ batchSize: 10 }), { drainTimeout: "2 seconds" })
      yield* queue.writeSome!([1, 2])
      yield* settle
      yield* queue.write(3)
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [
        { event: 1, inFlight: true },
        { event: 2, inFlight: true },
        { event: 3, inFlight: false }
      ])
    })
  )

  it.effect("drainTimeout is 20 seconds by default", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging())
      yield* queue.write(1)
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("19999 millis")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [{ event: 1, inFlight: true }])
    })
  )

  it.effect("with Duration.infinity it waits as long as it takes", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink, { drainTimeout: Duration.infinity })
      yield* queue.write(1)
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("10000 days")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* sink.release
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("with 0 it interrupts the delivery and returns at once", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging(), { drainTimeout: 0 })
      yield* EventSink.writeAll(queue, [1, 2])
      yield* settle
      assert.deepStrictEqual(yield* queue.shutdown, [
        { event: 1, inFlight: true },
        { event: 2, inFlight: false }
      ])
    })
  )

  it.effect("is memoised: every call waits for the same close and gets the same list", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink, { drainTimeout: "2 seconds" })
      yield* queue.write(1)
      const first = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("1 seconds")
      const second = yield* Effect.forkChild(queue.shutdown)
      yield* settle
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      const list = yield* Fiber.join(first)
      assert.deepStrictEqual(list, [{ event: 1, inFlight: true }])
      assert.deepStrictEqual(yield* Fiber.join(second), list)
      assert.deepStrictEqual(yield* queue.shutdown, list)
    })
  )

  it.effect("interrupting a call interrupts only its waiting, and what no call returned the scope reports", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { close, dropped, queue } = yield* dropping(yield* hanging(), { drainTimeout: "2 seconds" })
        yield* EventSink.writeAll(queue, [1, 2])
        const shutdown = yield* Effect.forkChild(queue.shutdown)
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.interrupt(shutdown)
        assert.instanceOf(yield* Effect.flip(queue.write(3)), EventSink.SinkClosed)
        const closing = yield* Effect.forkChild(close)
        yield* settle
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(dropped, [
          { event: 1, reason: { _tag: "Undelivered", inFlight: true } },
          { event: 2, reason: { _tag: "Undelivered", inFlight: false } }
        ])
      })
    )
  )

  it.effect("a call that waits when the scope closes gets the list, and the scope reports nothing", () =>
    Effect.gen(function* () {
      const { close, dropped, queue } = yield* dropping(yield* hanging(), { drainTimeout: "2 seconds" })
      yield* queue.write(1)
      const closing = yield* Effect.forkChild(close)
      yield* settle
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [{ event: 1, inFlight: true }])
      assert.deepStrictEqual(dropped, [])
    })
  )

  it.effect("of a queue that was never written to returns nothing, at once", () =>
    Effect.gen(function* () {
      const { close, queue } = yield* dropping(yield* hanging())
      assert.deepStrictEqual(yield* queue.shutdown, [])
      yield* close
    })
  )
})

describe("scope close", () => {
  it.effect("drains, and hands what was not delivered to onDropped in place of the log", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { close, dropped, queue } = yield* dropping(yield* hanging(), {
          name: "orders",
          drainTimeout: "1 seconds"
        })
        yield* EventSink.writeAll(queue, [77_001, 77_002, 77_003])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(
          dropped,
          [77_001, 77_002, 77_003].map((event, i) => ({ event, reason: { _tag: "Undelivered", inFlight: i === 0 } }))
        )
        assert.deepStrictEqual(logs, [])
      })
    )
  )

  it.effect("without onDropped undelivered events are logged at error, by count and id, never by content", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = (yield* open(TestSink.hanging<{ id: string; card: string }>())).part
        const { close, part: queue } = yield* open(EventQueue.make({ drainTimeout: 0 })(sink))
        yield* EventSink.writeAll(queue, [
          { id: "event-1", card: "4111-1111" },
          { id: "event-2", card: "4111-1111" }
        ])
        yield* settle
        yield* close
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        assert.include(logs[0]!.line, "2 undelivered")
        assert.include(logs[0]!.line, "event-1")
        assert.include(logs[0]!.line, "event-2")
        assert.notInclude(logs[0]!.line, "4111-1111")
      })
    )
  )

  it.effect("without onDropped the log has every event that is dropped while it drains", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = EventSink.make((_: number) => Effect.andThen(Effect.sleep("1 second"), Effect.die("dead")))
        const { close, part: queue } = yield* open(EventQueue.make(sink))
        yield* EventSink.writeAll(queue, range(7))
        const closing = yield* Effect.forkChild(close)
        yield* pass(8)
        yield* Fiber.join(closing)
        const events = logs.map(({ line }) => Number(/"events":(\d+)/.exec(line)?.[1]))
        assert.deepStrictEqual(events, [1, 1, 2, 3])
      })
    )
  )

  it.effect("logs nothing when everything was delivered, or when a call returned what was not", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<number>()
        const delivered = yield* open(EventQueue.make()(sink))
        yield* delivered.part.write(1)
        yield* delivered.close
        assert.deepStrictEqual(sink.received, [1])
        const returned = yield* open(EventQueue.make({ drainTimeout: 0 })(yield* hanging()))
        yield* returned.part.write(1)
        yield* returned.part.shutdown
        yield* returned.close
        assert.deepStrictEqual(logs, [])
      })
    )
  )

  it.effect(
    "a downstream write that refuses interruption is abandoned, named in a warning and reported in flight",
    () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const sink = (yield* open(TestSink.uninterruptible<number>({ name: "stuck" }))).part
          const { close, dropped, queue } = yield* dropping(sink, { name: "orders", drainTimeout: "2 seconds" })
          yield* EventSink.writeAll(queue, [1, 2])
          const closing = yield* Effect.forkChild(close)
          yield* TestClock.adjust("2 seconds")
          yield* Fiber.join(closing)
          assert.deepStrictEqual(
            dropped.map(({ event, reason }) => [event, reason._tag === "Undelivered" && reason.inFlight]),
            [
              [1, true],
              [2, false]
            ]
          )
          const warnings = logs.filter(({ level }) => level === "WARN")
          assert.strictEqual(warnings.length, 1)
          assert.include(warnings[0]!.line, "orders")
          assert.include(warnings[0]!.line, "stuck")
          // When it ends at last, nothing more is written and the account stays as it was.
          const { counts } = healthOf(queue)
          yield* sink.release
          yield* settle
          assert.strictEqual(sink.attempts, 1)
          assert.deepStrictEqual(healthOf(queue).counts, counts)
          assert.strictEqual(dropped.length, 2)
        })
      )
  )

  it.effect("closes before the sink below it, after its own flush", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(
        Effect.gen(function* () {
          const sink = yield* TestSink.slow<number>("1 seconds")
          const lower = yield* EventQueue.make()(sink)
          const upper = yield* EventQueue.make()(lower)
          return { sink, upper }
        })
      )
      yield* EventSink.writeAll(part.upper, range(10))
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(part.sink.received, range(10))
    })
  )

  it.effect("timeouts of queues that close one after another add up", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { close, part } = yield* open(
          Effect.gen(function* () {
            const sink = yield* TestSink.hanging<number>()
            const lower = yield* EventQueue.make({ capacity: 1, drainTimeout: "3 seconds" })(sink)
            return yield* EventQueue.make({ drainTimeout: "2 seconds" })(lower)
          })
        )
        yield* part.write(1)
        yield* settle
        yield* EventSink.writeAll(part, [2, 3])
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
      })
    )
  )
})

describe("a downstream that answers SinkClosed", () => {
  it.effect("closes the queue, which reports its backlog at once and turns writers away in its own name", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.closing<number>({ from: 2, name: "receiver" })
        const { close, dropped, queue } = yield* dropping(sink, { name: "line" })
        yield* EventSink.writeAll(queue, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(sink.received, [1])
        assert.deepStrictEqual(
          dropped,
          [2, 3].map((event) => ({ event, reason: { _tag: "Undelivered", inFlight: false } }))
        )
        assert.strictEqual(healthOf(queue).state, "closed")
        const error = yield* Effect.flip(queue.write(4))
        assert.strictEqual(error._tag === "SinkClosed" && error.sink, "line")
        yield* close
        assert.strictEqual(dropped.length, 2, "the scope does not report it again")
      })
    )
  )

  it.effect("wakes writers that wait with SinkClosed, and ends a flush", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const gate = yield* hanging()
        const sink = yield* EventSink.make((_: number) =>
          Effect.andThen(gate.write(0), Effect.fail(new EventSink.SinkClosed({ sink: "receiver" })))
        )
        const { dropped, queue } = yield* dropping(sink, { capacity: 1, name: "line" })
        yield* queue.write(1)
        const waiting = yield* Effect.forkChild(Effect.flip(queue.write(2)))
        const flush = yield* Effect.forkChild(queue.flush)
        yield* settle
        yield* gate.release
        const error = yield* Fiber.join(waiting)
        assert.strictEqual(error._tag === "SinkClosed" && error.sink, "line")
        yield* Fiber.join(flush)
        yield* settle
        assert.deepStrictEqual(
          dropped.map(({ event }) => event),
          [1]
        )
      })
    )
  )

  it.effect("during a shutdown ends it: what is left is returned without waiting for the deadline", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const closing = yield* EventSink.make((n: number) =>
        n === 1 ? sink.write(n) : Effect.fail(new EventSink.SinkClosed({ sink: "receiver" }))
      )
      const { dropped, queue } = yield* dropping(closing)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* settle
      yield* sink.release
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [
        { event: 2, inFlight: false },
        { event: 3, inFlight: false }
      ])
      assert.deepStrictEqual(dropped, [])
    })
  )

  it.effect("so does a batch sink's, and a plain function's whose scope was closed", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const batches = yield* dropping(yield* TestSink.closing<number>({ batchSize: 10 }))
        yield* EventSink.writeAll(batches.queue, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(
          batches.dropped.map(({ event, reason }) => [event, reason._tag]),
          [
            [1, "Undelivered"],
            [2, "Undelivered"],
            [3, "Undelivered"]
          ]
        )

        const seen: Array<number> = []
        const plain = yield* open(EventSink.sync((n: number) => void seen.push(n)))
        const { dropped, queue } = yield* dropping(plain.part)
        yield* queue.write(1)
        yield* queue.flush
        yield* plain.close
        yield* EventSink.writeAll(queue, [2, 3])
        yield* settle
        assert.deepStrictEqual(seen, [1])
        assert.deepStrictEqual(
          dropped,
          [2, 3].map((event) => ({ event, reason: { _tag: "Undelivered", inFlight: false } }))
        )
        assert.strictEqual(healthOf(queue).state, "closed")
      })
    )
  )
})

describe("a defect of the sink, or an interruption of its own making, costs the event, never the queue", () => {
  const expectOnlyTheSecondLost = (sink: EventSink.EventSink<number>, received: ReadonlyArray<number>) =>
    Effect.gen(function* () {
      const { dropped, queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 3])
      assert.deepStrictEqual(
        dropped.map(({ event, reason }) => [event, reason._tag]),
        [[2, "Died"]]
      )
      // And after the queue was idle.
      yield* queue.write(4)
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 3, 4])
      assert.deepStrictEqual(yield* queue.shutdown, [])
      const [{ reason }] = dropped as unknown as [{ reason: Dropped.Died }]
      return reason.cause
    })
  const second = (attempt: number) => attempt === 2

  it.effect("a sink that dies", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.dying<number>({ when: second })
      const cause = yield* expectOnlyTheSecondLost(sink, sink.received)
      assert.isTrue(Cause.hasDies(cause))
      assert.include(Cause.pretty(cause), "attempt 2 died")
    })
  )

  it.effect("a sink that throws instead of answering with an effect", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.make((n: number) => {
        if (n === 2) throw new Error("thrown")
        return Effect.sync(() => received.push(n))
      })
      assert.include(Cause.pretty(yield* expectOnlyTheSecondLost(sink, received)), "thrown")
    })
  )

  it.effect("a sink that interrupts itself", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.selfInterrupting<number>({ when: second })
      assert.isTrue(Cause.hasInterruptsOnly(yield* expectOnlyTheSecondLost(sink, sink.received)))
    })
  )

  it.effect("a sink that interrupts the very fiber that it runs on", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.make((n: number) =>
        Effect.withFiber((fiber) => {
          if (n !== 2) return Effect.sync(() => received.push(n))
          fiber.interruptUnsafe()
          return Effect.never
        })
      )
      assert.isTrue(Cause.hasInterruptsOnly(yield* expectOnlyTheSecondLost(sink, received)))
    })
  )

  it.effect("a plain function that throws", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.sync((n: number) => {
        if (n === 2) throw new Error("thrown")
        received.push(n)
      })
      assert.include(Cause.pretty(yield* expectOnlyTheSecondLost(sink, received)), "thrown")
    })
  )

  it.effect("a batch sink that dies of one event", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        events.includes(2)
          ? Effect.die("no twos")
          : Effect.sync(() => {
              received.push(...events)
              return events.length
            })
      )
      assert.isTrue(Cause.hasDies(yield* expectOnlyTheSecondLost(sink, received)))
    })
  )

  it.effect("a plain function that interrupts the fiber that it runs on has committed its events", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.sync((n: number) => {
        received.push(n)
        if (n === 2) Fiber.getCurrent()!.interruptUnsafe()
      })
      const { dropped, queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      yield* queue.write(4)
      yield* queue.flush
      assert.deepStrictEqual(received, [1, 2, 3, 4])
      assert.deepStrictEqual(dropped, [])
      assert.strictEqual(healthOf(queue).counts.delivered, 4)
    })
  )

  it.effect("a fiber that is interrupted while it is idle, just when an event arrives, loses nothing", () =>
    Effect.gen(function* () {
      for (const capacity of [undefined, 10]) {
        for (let turns = 0; turns < 6; turns++) {
          let drainer: Fiber.Fiber<unknown, unknown> | undefined
          const received: Array<number> = []
          const sink = yield* EventSink.make((n: number) =>
            Effect.withFiber((fiber) => {
              drainer = fiber
              received.push(n)
              return Effect.void
            })
          )
          const { dropped, queue } = yield* dropping(sink, { capacity })
          yield* queue.write(1)
          yield* queue.flush
          yield* settle
          yield* queue.write(2)
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          drainer!.interruptUnsafe()
          yield* queue.flush
          assert.deepStrictEqual(received, [1, 2])
          assert.deepStrictEqual(dropped, [])
        }
      }
    })
  )

  it.effect("while the queue drains at its close, too", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.make((n: number) =>
        Effect.andThen(
          Effect.sleep("1 seconds"),
          Effect.withFiber((fiber) => {
            if (n === 1) return Effect.die("dead")
            if (n === 2) return Effect.interrupt
            if (n === 3) {
              fiber.interruptUnsafe()
              return Effect.never
            }
            return Effect.sync(() => received.push(n))
          })
        )
      )
      const { dropped, queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, [1, 2, 3, 4, 5])
      const shutdown = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
      assert.deepStrictEqual(received, [4, 5])
      assert.deepStrictEqual(
        dropped.map(({ event, reason }) => [event, reason._tag]),
        [
          [1, "Died"],
          [2, "Died"],
          [3, "Died"]
        ]
      )
    })
  )
})

describe("onDropped", () => {
  it.effect("gets what the sink failed with", () =>
    Effect.gen(function* () {
      const { dropped, queue } = yield* dropping(yield* TestSink.failing<string>())
      yield* queue.write("a")
      yield* settle
      const [{ event, reason }] = dropped as [Dropped.Dropped<string, TestSink.TestError>]
      assert.strictEqual(event, "a")
      assert.strictEqual(reason._tag, "Failed")
      assert.strictEqual(reason._tag === "Failed" && reason.error.attempt, 1)
      assert.instanceOf(healthOf(queue).lastError?.error, TestSink.TestError)
    })
  )

  it.effect.each(["dies", "throws", "is interrupted"] as const)(
    "one that %s is logged in its place, by id and never by content, and the queue goes on",
    (how) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const sink = yield* TestSink.failing<{ id: string; card: string }>({ times: 1 })
          const { part: queue } = yield* open(
            EventQueue.make<{ id: string; card: string }, TestSink.TestError>({
              onDropped: () => {
                if (how === "throws") throw new Error("no")
                return how === "dies" ? Effect.die("no") : Effect.interrupt
              }
            })(sink)
          )
          yield* queue.write({ id: "event-1", card: "4111-1111" })
          yield* queue.write({ id: "event-2", card: "4111-1111" })
          yield* queue.flush
          yield* settle
          assert.deepStrictEqual(
            sink.received.map(({ id }) => id),
            ["event-2"]
          )
          assert.deepStrictEqual(
            logs.map(({ level }) => level),
            ["ERROR"]
          )
          assert.include(logs[0]!.line, "event-1")
          assert.notInclude(logs[0]!.line, "4111-1111")
        })
      )
  )

  it.effect("one that hangs holds the close no longer than its deadline, and the event is logged", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<{ id: string }>({ times: 1 })
        const { close, part: queue } = yield* open(
          EventQueue.make<{ id: string }, TestSink.TestError>({
            drainTimeout: "2 seconds",
            onDropped: () => Effect.never
          })(sink)
        )
        yield* queue.write({ id: "event-1" })
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        assert.isTrue(logs.some(({ level, line }) => level === "ERROR" && line.includes("event-1")))
      })
    )
  )

  it.effect.each(["hangs", "refuses interruption"] as const)(
    "one that %s at the close has 5 seconds for all that is left, and then the rest is logged",
    (how) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const sink = (yield* open(TestSink.hanging<{ id: string; card: string }>())).part
          const taken: Array<string> = []
          const { close, part: queue } = yield* open(
            EventQueue.make<{ id: string; card: string }, never>({
              drainTimeout: 0,
              onDropped: ({ event }) => {
                if (event.id !== "event-2") return Effect.sync(() => void taken.push(event.id))
                return how === "hangs" ? Effect.never : Effect.uninterruptible(Effect.never)
              }
            })(sink)
          )
          yield* EventSink.writeAll(
            queue,
            [1, 2, 3, 4].map((n) => ({ id: `event-${n}`, card: "4111-1111" }))
          )
          yield* settle
          const closing = yield* Effect.forkChild(close)
          yield* TestClock.adjust("4999 millis")
          assert.isUndefined(closing.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          yield* Fiber.join(closing)
          yield* settle
          assert.deepStrictEqual(taken, ["event-1"])
          const after = logs.map(({ line }) => line).join("\n")
          for (const id of ["event-2", "event-3", "event-4"]) assert.include(after, id)
          assert.notInclude(after, "event-1")
          assert.notInclude(after, "4111-1111")
          assert.isTrue(logs.every(({ level }) => level === "ERROR"))
        })
      )
  )

  it.effect("at the close one that dies takes nothing from the others", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const taken: Array<number> = []
        const { close, part: queue } = yield* open(
          EventQueue.make<number, never>({
            drainTimeout: 0,
            onDropped: ({ event }) => (event === 2 ? Effect.die("no") : Effect.sync(() => void taken.push(event)))
          })(yield* hanging())
        )
        yield* EventSink.writeAll(queue, [1, 2, 3])
        yield* settle
        yield* close
        assert.deepStrictEqual(taken, [1, 3])
        assert.strictEqual(logs.length, 1)
      })
    )
  )
})

describe("without onDropped", () => {
  it.effect("the first dropped event is logged at error, then at doubling counts, and the recovery once", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.dying<{ id: string; card: string }>({
          name: "receiver",
          when: (attempt) => attempt <= 20
        })
        const { part: queue } = yield* open(EventQueue.make({ name: "orders" })(sink))
        for (const n of range(30)) {
          yield* queue.write({ id: `event-${n}`, card: "4111-1111" })
          yield* queue.flush
        }
        yield* settle
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR", "ERROR", "ERROR", "ERROR", "ERROR", "ERROR", "INFO"]
        )
        // Each line of the log counts the events dropped since the line before it, the last counts the rest.
        const at = [1, 2, 4, 8, 16, 20]
        at.forEach((n, i) => {
          const since = n - (at[i - 1] ?? 0)
          assert.include(logs[i]!.line, `event-${n - since + 1}`)
          assert.include(logs[i]!.line, "orders")
          assert.include(logs[i]!.line, since === 1 ? "an event" : `${since} events`)
        })
        assert.include(logs[6]!.line, "after 20")
        assert.notInclude(logs.map(({ line }) => line).join("\n"), "4111-1111")
      })
    )
  )

  it.effect("a second run of failures is logged from its first again", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.dying<number>({ when: (attempt) => attempt === 1 || attempt === 3 })
        const { part: queue } = yield* open(EventQueue.make()(sink))
        for (const n of range(4)) {
          yield* queue.write(n)
          yield* queue.flush
        }
        yield* settle
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR", "INFO", "ERROR", "INFO"]
        )
      })
    )
  )
})

describe("context", () => {
  const Level = Context.Reference<number>("test/queue/Level", { defaultValue: () => 0 })

  it.effect("the delivery carries neither the constructor's span and scope nor the writer's span", () =>
    Effect.gen(function* () {
      const seen: Array<{ readonly span: boolean; readonly scope: boolean }> = []
      const sink = yield* EventSink.make((_: number) =>
        Effect.contextWith((context: Context.Context<never>) =>
          Effect.gen(function* () {
            const span = yield* Effect.option(Effect.currentSpan)
            seen.push({
              span: span._tag === "Some",
              scope: Context.getOption(context, Scope.Scope)._tag === "Some"
            })
          })
        )
      )
      const queue = yield* EventQueue.make()(sink).pipe(Effect.withSpan("construction"))
      yield* queue.write(1).pipe(Effect.withSpan("writer"))
      yield* queue.flush
      assert.deepStrictEqual(seen, [{ span: false, scope: false }])
    })
  )

  it.effect("the delivery runs with the references of where the queue was made", () =>
    Effect.gen(function* () {
      const seen = yield* Ref.make<ReadonlyArray<number>>([])
      const sink = yield* EventSink.make((_: number) =>
        Effect.flatMap(Level, (level) => Ref.update(seen, (levels) => [...levels, level]))
      ).pipe(Effect.provideService(Level, 1))
      const queue = yield* EventQueue.make()(sink).pipe(Effect.provideService(Level, 2))
      yield* queue.write(1).pipe(Effect.provideService(Level, 3))
      yield* queue.flush
      assert.deepStrictEqual(yield* Ref.get(seen), [2])
    })
  )
})

describe("batch sinks", () => {
  /** Commits batches whole, unless one holds a poisonous event. */
  const poisoned = (poison: ReadonlySet<number>, limit = Number.POSITIVE_INFINITY) =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
        const part = events.slice(0, limit)
        if (part.some((n) => poison.has(n))) return Effect.fail("poison" as const)
        received.push(...part)
        return Effect.succeed(part.length)
      })
      return { sink, received }
    })

  it.effect("a failed batch is taken apart until only the event to blame is dropped", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* poisoned(new Set([7]))
      const { dropped, queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, range(20))
      yield* queue.flush
      assert.deepStrictEqual(
        received,
        range(20).filter((n) => n !== 7)
      )
      assert.deepStrictEqual(dropped, [{ event: 7, reason: { _tag: "Failed", error: "poison" } }])
    })
  )

  it.effect(
    "nothing acknowledged is written again and nothing else is skipped, for any poison and any partial commit",
    () =>
      Effect.gen(function* () {
        // A linear congruential generator: the cases are the same in every run.
        let state = 42
        const random = (below: number) => {
          state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
          return Math.floor((state / 2_147_483_648) * below)
        }
        for (let i = 0; i < 200; i++) {
          const n = 1 + random(50)
          const poison = new Set(range(n).filter(() => random(4) === 0))
          const { received, sink } = yield* poisoned(poison, 1 + random(7))
          const { dropped, queue } = yield* dropping(sink, random(2) === 0 ? {} : { capacity: 1 + random(10) })
          yield* Effect.forEach(range(n), (event) => queue.write(event), { discard: true })
          yield* queue.flush
          assert.deepStrictEqual(
            received,
            range(n).filter((event) => !poison.has(event))
          )
          assert.deepStrictEqual(
            dropped.map(({ event }) => event),
            range(n).filter((event) => poison.has(event))
          )
        }
      })
  )

  it.effect("the part of a batch that the sink did not commit is offered again", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* poisoned(new Set(), 3)
      const { dropped, queue } = yield* dropping(sink)
      yield* EventSink.writeAll(queue, range(10))
      yield* queue.flush
      assert.deepStrictEqual(received, range(10))
      assert.deepStrictEqual(dropped, [])
    })
  )
})

describe("plain functions", () => {
  it.effect(
    "one that throws in the middle costs that event: those before and after it are delivered once, in order",
    () =>
      Effect.gen(function* () {
        const received: Array<number> = []
        const sink = yield* EventSink.sync((n: number) => {
          if (n % 5 === 0) throw new Error("no fives")
          received.push(n)
        })
        const { dropped, queue } = yield* dropping(sink)
        yield* EventSink.writeAll(queue, range(12))
        yield* queue.flush
        assert.deepStrictEqual(
          received,
          range(12).filter((n) => n % 5 !== 0)
        )
        assert.deepStrictEqual(
          dropped.map(({ event, reason }) => [event, reason._tag]),
          [
            [5, "Died"],
            [10, "Died"]
          ]
        )
      })
  )

  it.effect("one that closes in the middle leaves the rest to the report", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const received: Array<number> = []
        const sink = yield* Scope.provide(
          EventSink.sync((n: number) => {
            received.push(n)
            if (n === 2) Effect.runSync(Scope.close(scope, Exit.void))
          }),
          scope
        )
        const { dropped, queue } = yield* dropping(sink)
        yield* EventSink.writeAll(queue, [1, 2, 3, 4])
        yield* settle
        assert.deepStrictEqual(received, [1, 2])
        assert.deepStrictEqual(
          dropped.map(({ event }) => event),
          [3, 4]
        )
        assert.deepStrictEqual(healthOf(queue).counts, {
          accepted: 4,
          delivered: 2,
          filtered: 0,
          dropped: 0,
          undelivered: 2,
          deadLettered: 0,
          remaining: 0
        })
      })
    )
  )
})

/** A sink whose writes go on when they are released, each by itself, and what is under way in it. */
const gated = Effect.fnUntraced(function* (options: { readonly batchSize?: number } = {}) {
  const gates = new Map<number, Latch.Latch>()
  const begun: Array<number> = []
  const ended: Array<number> = []
  const write = (events: ReadonlyArray<number>) => {
    const first = events[0]!
    return Effect.suspend(() => {
      const gate = Latch.makeUnsafe()
      gates.set(first, gate)
      begun.push(...events)
      return Effect.onExit(gate.await, (exit) =>
        Effect.sync(() => {
          gates.delete(first)
          if (Exit.isSuccess(exit)) ended.push(...events)
        })
      )
    })
  }
  const { batchSize } = options
  const { part: sink } = yield* open(
    batchSize === undefined
      ? EventSink.make((n: number) => write([n]))
      : EventSink.makeBatch((events: ReadonlyArray<number>) => {
          const some = events.slice(0, batchSize)
          return Effect.as(write(some), some.length)
        })
  )
  /** Releases the writes that begin with these events, one after the other. */
  const release = (...events: ReadonlyArray<number>) =>
    Effect.forEach(
      events,
      (n) => {
        const gate = gates.get(n)
        assert.isDefined(gate, `${n} is not under way`)
        return Effect.andThen(gate!.open, settle)
      },
      { discard: true }
    )
  const releaseAll: Effect.Effect<void> = Effect.suspend(() =>
    gates.size === 0 ? Effect.void : Effect.andThen(release(...gates.keys()), releaseAll)
  )
  return { sink, begun, ended, gates, release, releaseAll }
})

type Concurrent = EventQueue.Options & EventQueue.Partitioned<number>

/** A queue of numbers over a sink, with what it drops, for options with `partitionBy`. */
const queueOf = <E>(sink: EventSink.EventSink<number, E>, options: Concurrent) =>
  Effect.gen(function* () {
    const dropped: Array<Dropped.Dropped<number, E>> = []
    const { part: queue, close } = yield* open(
      EventQueue.make<number, E, EventQueue.Overflow>({
        ...options,
        onDropped: (one) => Effect.sync(() => void dropped.push(one))
      })(sink)
    )
    return { queue, close, dropped }
  })

const tens = (n: number) => Math.floor(n / 10)
const eventsOf = (dropped: ReadonlyArray<{ readonly event: number }>) => dropped.map(({ event }) => event)
const byNumber = (a: number, b: number) => a - b

/** The two ways to deliver side by side: whatever comes next, and one of each key. */
const sideBySide: ReadonlyArray<readonly [how: string, options: Concurrent]> = [
  ["without keys", {}],
  ["each event its own key", { partitionBy: (n) => n }]
]

describe("concurrency", () => {
  it.effect.each(sideBySide)("that many writes are under way, and never more: %s", ([, options]) =>
    Effect.gen(function* () {
      const { begun, ended, releaseAll, release, sink } = yield* gated()
      const { queue } = yield* queueOf(sink, { ...options, concurrency: 3 })
      yield* EventSink.writeAll(queue, range(6))
      yield* settle
      assert.deepStrictEqual(begun, [1, 2, 3])
      assert.strictEqual(healthOf(queue).inFlight, 3)
      assert.strictEqual(yield* queue.pending, 6)
      yield* release(2)
      assert.deepStrictEqual(begun, [1, 2, 3, 4])
      assert.strictEqual(healthOf(queue).inFlight, 3)
      yield* release(4, 5, 6)
      assert.deepStrictEqual(ended, [2, 4, 5, 6])
      assert.strictEqual(healthOf(queue).inFlight, 2)
      assert.strictEqual(yield* queue.pending, 2)
      yield* queue.write(7)
      yield* settle
      yield* releaseAll
      assert.deepStrictEqual(ended.toSorted(byNumber), range(7))
      assert.strictEqual(healthOf(queue).inFlight, 0)
      assert.strictEqual(yield* queue.pending, 0)
    })
  )

  it.effect("batches side by side: health shows the sum of their events", () =>
    Effect.gen(function* () {
      const { begun, releaseAll, sink } = yield* gated({ batchSize: 5 })
      const { queue } = yield* queueOf(sink, { concurrency: 2 })
      yield* EventSink.writeAll(queue, range(1030))
      yield* settle
      // Half of what waited was handed on, and half of the rest, and the sink takes 5 of each.
      assert.deepStrictEqual(begun.toSorted(byNumber), [1, 2, 3, 4, 5, 516, 517, 518, 519, 520])
      assert.strictEqual(healthOf(queue).inFlight, 515 + 258)
      yield* releaseAll
      assert.strictEqual(healthOf(queue).inFlight, 0)
      assert.strictEqual(healthOf(queue).counts.delivered, 1030)
    })
  )

  it.effect("1 keeps all events in order, whatever their keys", () =>
    Effect.gen(function* () {
      const { begun, releaseAll, sink } = yield* gated()
      const { queue } = yield* queueOf(sink, { concurrency: 1, partitionBy: (n) => n % 3 })
      yield* EventSink.writeAll(queue, range(9))
      yield* settle
      assert.deepStrictEqual(begun, [1])
      yield* releaseAll
      assert.deepStrictEqual(begun, range(9))
    })
  )

  it.effect.each(sideBySide)("a defect or an interruption in one drainer leaves the others going: %s", ([, options]) =>
    Effect.gen(function* () {
      const { begun, releaseAll, sink } = yield* gated()
      const bad = EventSink.make((n: number) =>
        n === 1
          ? Effect.die(new Error("no"))
          : n === 2
            ? Effect.interrupt
            : n === 3
              ? Effect.withFiber((fiber) =>
                  Effect.andThen(
                    Effect.sync(() => fiber.interruptUnsafe()),
                    Effect.yieldNow
                  )
                )
              : Effect.orDie(sink.write(n))
      )
      const { dropped, queue } = yield* queueOf((yield* open(bad)).part, { ...options, concurrency: 3 })
      yield* EventSink.writeAll(queue, [10, 1, 2, 3, 11, 12, 13])
      yield* settle
      assert.deepStrictEqual(eventsOf(dropped).toSorted(byNumber), [1, 2, 3])
      assert.deepStrictEqual(begun, [10, 11, 12])
      assert.strictEqual(healthOf(queue).inFlight, 3)
      yield* releaseAll
      assert.deepStrictEqual(begun, [10, 11, 12, 13])
      assert.strictEqual(yield* queue.pending, 0)
    })
  )

  it.effect.each(sideBySide)("onDropped that hangs in one drainer does not stop the others: %s", ([, options]) =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { part: sink } = yield* open(
        EventSink.make((n: number) => (n === 1 ? Effect.fail("no") : Effect.sync(() => void seen.push(n))))
      )
      const { close, part: queue } = yield* open(
        EventQueue.make<number, string, EventQueue.Overflow>({
          ...options,
          concurrency: 2,
          drainTimeout: 0,
          onDropped: () => Effect.never
        })(sink)
      )
      yield* EventSink.writeAll(queue, range(5))
      yield* settle
      assert.deepStrictEqual(seen, [2, 3, 4, 5])
      assert.strictEqual(yield* queue.pending, 1)
      yield* close
      assert.deepStrictEqual(healthOf(queue).counts, {
        accepted: 5,
        delivered: 4,
        filtered: 0,
        dropped: 1,
        undelivered: 0,
        deadLettered: 0,
        remaining: 0
      })
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
  )

  describe("with a capacity", () => {
    it.effect.each(sideBySide)('"suspend" counts all that is under way: %s', ([, options]) =>
      Effect.gen(function* () {
        const { begun, releaseAll, release, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, { ...options, concurrency: 2, capacity: 3 })
        yield* EventSink.writeAll(queue, range(3))
        const waiting = yield* Effect.forkChild(queue.write(4))
        const batch = yield* Effect.forkChild(queue.writeSome!([5, 6]))
        yield* settle
        assert.deepStrictEqual(begun, [1, 2])
        assert.isUndefined(waiting.pollUnsafe())
        yield* release(2)
        assert.isDefined(waiting.pollUnsafe())
        assert.isUndefined(batch.pollUnsafe())
        assert.strictEqual(yield* queue.pending, 3)
        yield* release(1, 3)
        yield* Fiber.join(batch)
        yield* releaseAll
        assert.deepStrictEqual(begun, range(6))
        assert.strictEqual(yield* queue.pending, 0)
      })
    )

    it.effect.each(sideBySide)('"reject" fails and accepts nothing: %s', ([, options]) =>
      Effect.gen(function* () {
        const { begun, releaseAll, release, sink } = yield* gated()
        const { part: queue } = yield* open(
          EventQueue.make<number, never, "reject">({
            ...options,
            concurrency: 2,
            capacity: 2,
            overflow: "reject",
            onDropped: () => Effect.void
          })(sink)
        )
        yield* EventSink.writeAll(queue, [1, 2])
        yield* settle
        assert.strictEqual((yield* Effect.flip(queue.write(3)))._tag, "QueueFull")
        yield* release(2)
        assert.strictEqual((yield* Effect.flip(queue.writeSome!([4, 5])))._tag, "QueueFull")
        yield* queue.write(6)
        yield* settle
        yield* releaseAll
        assert.deepStrictEqual(begun, [1, 2, 6])
        assert.strictEqual(healthOf(queue).counts.accepted, 3)
      })
    )

    it.effect.each(sideBySide)('"drop-newest" drops what comes: %s', ([, options]) =>
      Effect.gen(function* () {
        const { begun, releaseAll, sink } = yield* gated()
        const { dropped, queue } = yield* queueOf(sink, {
          ...options,
          concurrency: 2,
          capacity: 3,
          overflow: "drop-newest"
        })
        yield* EventSink.writeAll(queue, range(3))
        yield* queue.write(4)
        yield* queue.writeSome!([5, 6])
        yield* settle
        yield* releaseAll
        assert.deepStrictEqual(begun, range(3))
        assert.deepStrictEqual(
          dropped,
          [4, 5, 6].map((event) => ({ event, reason: { _tag: "Overflow" } }))
        )
      })
    )

    it.effect.each(sideBySide)('"drop-oldest" drops what has waited longest: %s', ([, options]) =>
      Effect.gen(function* () {
        const { begun, releaseAll, release, sink } = yield* gated()
        const { dropped, queue } = yield* queueOf(sink, {
          ...options,
          concurrency: 2,
          capacity: 4,
          overflow: "drop-oldest"
        })
        yield* EventSink.writeAll(queue, range(4))
        yield* settle
        yield* queue.write(5)
        yield* queue.writeSome!([6, 7])
        assert.deepStrictEqual(eventsOf(dropped), [3, 4, 5])
        // Three at once need the place of one that is being delivered: they are dropped themselves.
        yield* queue.writeSome!([8, 9, 10])
        assert.deepStrictEqual(eventsOf(dropped), [3, 4, 5, 8, 9, 10])
        yield* release(2)
        yield* queue.write(11)
        assert.deepStrictEqual(eventsOf(dropped), [3, 4, 5, 8, 9, 10])
        yield* releaseAll
        assert.deepStrictEqual(begun, [1, 2, 6, 7, 11])
        assert.strictEqual(yield* queue.pending, 0)
      })
    )

    it.effect.each(
      (["suspend", "reject", "drop-newest", "drop-oldest"] as const).flatMap((overflow) =>
        sideBySide.map(([how, options]) => [overflow, how, options] as const)
      )
    )('a write from inside its own delivery is admitted over capacity: "%s", %s', ([overflow, , options]) =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const self: { write: (n: number) => Effect.Effect<void, unknown> } = { write: () => Effect.void }
        const { part: sink } = yield* open(
          EventSink.make((n: number) =>
            Effect.gen(function* () {
              seen.push(n)
              if (n >= 10) return
              // Both are in the sink, and both places are taken.
              yield* Effect.sleep("1 millis")
              yield* Effect.orDie(self.write(n * 10))
              yield* Effect.orDie(Fiber.join(yield* Effect.forkChild(self.write(n * 10 + 1))))
            })
          )
        )
        const { dropped, queue } = yield* queueOf(sink, { ...options, concurrency: 2, capacity: 2, overflow })
        self.write = queue.write
        yield* EventSink.writeAll(queue, [1, 2])
        yield* TestClock.adjust("10 millis")
        yield* queue.flush
        assert.deepStrictEqual(seen.toSorted(byNumber), [1, 2, 10, 11, 20, 21])
        assert.deepStrictEqual(dropped, [])
      })
    )
  })

  describe("flush", () => {
    it.effect.each(sideBySide)("waits for what was accepted before it, however late it is settled: %s", ([, options]) =>
      Effect.gen(function* () {
        const { releaseAll, release, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, { ...options, concurrency: 2 })
        yield* EventSink.writeAll(queue, [1, 2])
        yield* settle
        const first = yield* Effect.forkChild(queue.flush, { startImmediately: true })
        yield* EventSink.writeAll(queue, [3, 4, 5])
        yield* settle
        // As many are settled as were pending, and more; but one of them is not.
        yield* release(2, 3)
        const second = yield* Effect.forkChild(queue.flush, { startImmediately: true })
        yield* queue.write(6)
        yield* release(4, 5)
        assert.isUndefined(first.pollUnsafe())
        assert.isUndefined(second.pollUnsafe())
        yield* release(1)
        assert.isDefined(first.pollUnsafe())
        assert.isDefined(second.pollUnsafe())
        const third = yield* Effect.forkChild(queue.flush, { startImmediately: true })
        yield* settle
        assert.isUndefined(third.pollUnsafe())
        yield* releaseAll
        yield* Fiber.join(third)
        yield* queue.flush
      })
    )

    it.effect.each(sideBySide)("of batches too: %s", ([, options]) =>
      Effect.gen(function* () {
        const { releaseAll, release, sink } = yield* gated({ batchSize: 2 })
        const { queue } = yield* queueOf(sink, { ...options, concurrency: 2 })
        yield* queue.write(1)
        yield* settle
        yield* EventSink.writeAll(queue, [2, 3])
        yield* settle
        const flush = yield* Effect.forkChild(queue.flush, { startImmediately: true })
        yield* EventSink.writeAll(queue, [4, 5, 6])
        yield* settle
        yield* release(2)
        yield* release(3)
        // Without keys the fourth event was in one batch with the third.
        if (options.partitionBy !== undefined) yield* release(4)
        assert.isUndefined(flush.pollUnsafe())
        yield* release(1)
        assert.isDefined(flush.pollUnsafe())
        yield* releaseAll
      })
    )

    it.effect.each(sideBySide)('under "drop-oldest" a drop is settled too: %s', ([, options]) =>
      Effect.gen(function* () {
        const { release, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, { ...options, concurrency: 2, capacity: 4, overflow: "drop-oldest" })
        yield* EventSink.writeAll(queue, [1, 2, 3])
        yield* settle
        const flush = yield* Effect.forkChild(queue.flush, { startImmediately: true })
        yield* settle
        // 4 is accepted, 5 drops 3, and 6 drops 4, which is not the flush's.
        for (const n of [4, 5, 6]) yield* queue.write(n)
        yield* release(1)
        assert.isUndefined(flush.pollUnsafe())
        yield* release(2)
        assert.isDefined(flush.pollUnsafe())
      })
    )

    it.effect("of events that fail and are being reported", () =>
      Effect.gen(function* () {
        const report = Latch.makeUnsafe()
        const { part: sink } = yield* open(TestSink.failing<number>({ times: 1 }))
        const { part: queue } = yield* open(
          EventQueue.make<number, TestSink.TestError>({
            concurrency: 2,
            partitionBy: (n) => n,
            onDropped: () => report.await
          })(sink)
        )
        yield* queue.write(1)
        yield* settle
        const flush = yield* Effect.forkChild(queue.flush, { startImmediately: true })
        yield* EventSink.writeAll(queue, [2, 3])
        yield* settle
        assert.deepStrictEqual(sink.received, [2, 3])
        assert.isUndefined(flush.pollUnsafe())
        yield* report.open
        yield* Fiber.join(flush)
      })
    )
  })

  describe("closing", () => {
    it.effect.each(sideBySide)("under a deadline it returns each once, those in flight marked: %s", ([, options]) =>
      Effect.gen(function* () {
        const { begun, release, sink } = yield* gated()
        const { close, dropped, queue } = yield* queueOf(sink, {
          ...options,
          concurrency: 3,
          drainTimeout: "2 seconds"
        })
        yield* EventSink.writeAll(queue, range(7))
        const shutdown = yield* Effect.forkChild(queue.shutdown)
        yield* settle
        yield* release(2)
        yield* TestClock.adjust("1999 millis")
        assert.isUndefined(shutdown.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const left = yield* Fiber.join(shutdown)
        assert.deepStrictEqual(
          left.toSorted((a, b) => a.event - b.event),
          [1, 3, 4, 5, 6, 7].map((event) => ({ event, inFlight: event <= 4 }))
        )
        assert.deepStrictEqual(begun, [1, 2, 3, 4])
        yield* close
        assert.deepStrictEqual(dropped, [])
        assert.strictEqual(healthOf(queue).inFlight, 0)
        assert.strictEqual(healthOf(queue).counts.undelivered, 6)
      })
    )

    it.effect.each(sideBySide)("with writes that refuse interruption too, by the scope: %s", ([, options]) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const { part: sink } = yield* open(TestSink.uninterruptible<number>({ name: "stubborn" }))
          const { close, dropped, queue } = yield* queueOf(sink, { ...options, concurrency: 2, drainTimeout: 0 })
          yield* EventSink.writeAll(queue, range(4))
          const flush = yield* Effect.forkChild(queue.flush, { startImmediately: true })
          yield* settle
          yield* close
          assert.deepStrictEqual(
            dropped.toSorted((a, b) => a.event - b.event),
            range(4).map((event) => ({ event, reason: { _tag: "Undelivered", inFlight: event <= 2 } }))
          )
          assert.isDefined(flush.pollUnsafe())
          assert.isTrue(logs.some(({ level, line }) => level === "WARN" && line.includes("stubborn")))
          // What ends late has been reported, and is not counted again.
          yield* sink.release
          yield* settle
          assert.deepStrictEqual(sink.received.toSorted(byNumber), [1, 2])
          assert.strictEqual(healthOf(queue).counts.delivered, 0)
          assert.strictEqual(healthOf(queue).counts.undelivered, 4)
        })
      )
    )

    it.effect.each([...sideBySide, ["of one key", { partitionBy: () => "key" }]] as ReadonlyArray<
      readonly [string, Concurrent]
    >)("drains what is left side by side: %s", ([how, options]) =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const { part: sink } = yield* open(
          EventSink.make((n: number) =>
            Effect.delay(
              Effect.sync(() => void seen.push(n)),
              "1 second"
            )
          )
        )
        const { queue } = yield* queueOf(sink, { ...options, concurrency: 3, drainTimeout: "10 seconds" })
        yield* EventSink.writeAll(queue, range(6))
        const shutdown = yield* Effect.forkChild(queue.shutdown)
        yield* TestClock.adjust(how === "of one key" ? "6 seconds" : "2 seconds")
        assert.deepStrictEqual(yield* Fiber.join(shutdown), [])
        assert.deepStrictEqual(seen.toSorted(byNumber), range(6))
      })
    )

    it.effect("of a queue that is idle ends at once", () =>
      Effect.gen(function* () {
        for (const [, options] of sideBySide) {
          const { part: sink } = yield* open(TestSink.recording<number>())
          const { queue } = yield* queueOf(sink, { ...options, concurrency: 4 })
          assert.deepStrictEqual(yield* queue.shutdown, [])
          const { queue: used } = yield* queueOf(sink, { ...options, concurrency: 4 })
          yield* used.write(1)
          yield* used.flush
          assert.deepStrictEqual(yield* used.shutdown, [])
        }
      })
    )

    const closing = (options: Concurrent, from: (n: number) => boolean) =>
      Effect.gen(function* () {
        const { part: sink } = yield* open(
          EventSink.make((n: number) =>
            from(n)
              ? Effect.delay(Effect.fail(new EventSink.SinkClosed({ sink: "below" })), "1 millis")
              : Effect.sleep("5 millis")
          )
        )
        const made = yield* queueOf(sink, options)
        yield* EventSink.writeAll(made.queue, range(8))
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Effect.flip(made.queue.write(9)))._tag, "SinkClosed")
        return made
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))

    it.effect.each(sideBySide)(
      "by a downstream that is closed: once, and each event is reported once: %s",
      ([, options]) =>
        Effect.gen(function* () {
          const { close, dropped, queue } = yield* closing({ ...options, concurrency: 3 }, () => true)
          yield* TestClock.adjust("1 millis")
          assert.strictEqual(healthOf(queue).state, "closed")
          assert.deepStrictEqual(eventsOf(dropped).toSorted(byNumber), range(8))
          assert.isTrue(dropped.every(({ reason }) => reason._tag === "Undelivered" && !reason.inFlight))
          yield* close
          assert.strictEqual(dropped.length, 8)
          assert.strictEqual(healthOf(queue).counts.undelivered, 8)
        }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )

    it.effect.each(sideBySide)("by a downstream that closes for some: writes under way end first: %s", ([, options]) =>
      Effect.gen(function* () {
        const { close, dropped, queue } = yield* closing({ ...options, concurrency: 3 }, (n) => n !== 2)
        yield* TestClock.adjust("10 millis")
        assert.strictEqual(healthOf(queue).state, "closed")
        assert.deepStrictEqual(eventsOf(dropped).toSorted(byNumber), [1, 3, 4, 5, 6, 7, 8])
        assert.strictEqual(healthOf(queue).counts.delivered, 1)
        yield* close
        assert.strictEqual(dropped.length, 7)
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )

    it.effect.each(sideBySide)("by a downstream that is closed, at once, also with idle drainers: %s", ([, options]) =>
      Effect.gen(function* () {
        const { part: sink } = yield* open(TestSink.closing<number>())
        const { dropped, queue } = yield* queueOf(sink, { ...options, concurrency: 3 })
        yield* settle
        yield* queue.write(1)
        yield* settle
        assert.strictEqual(healthOf(queue).state, "closed")
        assert.deepStrictEqual(eventsOf(dropped), [1])
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )

    it.effect.each(sideBySide)("by a downstream that is closed: nothing more is handed on: %s", ([, options]) =>
      Effect.gen(function* () {
        const { begun, release, sink } = yield* gated()
        const { part: closed } = yield* open(
          EventSink.make((n: number) =>
            n === 2 ? Effect.fail(new EventSink.SinkClosed({ sink: "below" })) : Effect.orDie(sink.write(n))
          )
        )
        const { dropped, queue } = yield* queueOf(closed, { ...options, concurrency: 2 })
        yield* EventSink.writeAll(queue, range(5))
        yield* settle
        assert.strictEqual(healthOf(queue).state, "closing")
        yield* release(1)
        assert.deepStrictEqual(begun, [1])
        assert.strictEqual(healthOf(queue).state, "closed")
        assert.deepStrictEqual(eventsOf(dropped).toSorted(byNumber), [2, 3, 4, 5])
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )

    // Before it was mended: the drainer that met `SinkClosed` kept its key, and the others waited for that key until the
    // drain timeout.
    it.effect("by a downstream that is closed, at once, also when a key has more that waits", () =>
      Effect.gen(function* () {
        const { dropped, queue } = yield* closing({ concurrency: 2, partitionBy: () => "key" }, () => true)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(healthOf(queue).state, "closed")
        assert.deepStrictEqual(eventsOf(dropped).toSorted(byNumber), range(8))
      }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
    )
  })

  // Before it was mended: the age is that of the event accepted as many events ago as there are pending ones.
  it.effect.each(sideBySide)(
    "health tells the age of the oldest, also when later ones are settled: %s",
    ([, options]) =>
      Effect.gen(function* () {
        const { release, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, { ...options, concurrency: 2 })
        for (const n of range(20)) {
          yield* queue.write(n)
          yield* settle
          if (n > 1) yield* release(n)
          yield* TestClock.adjust("1 second")
          // Real time lets the clock be read again for the next.
          yield* Effect.promise(() => Promise.resolve())
        }
        assert.strictEqual(queue.node.health(20_000).oldestAge, 20_000)
        yield* release(1)
        assert.isUndefined(queue.node.health(20_000).oldestAge)
      })
  )
})

describe("partitionBy", () => {
  it.effect("events of one key are delivered in order and one at a time, and keys side by side", () =>
    Effect.gen(function* () {
      const underWay = new Map<number, number>()
      let most = 0
      const seen = new Map<number, Array<number>>()
      const { part: sink } = yield* open(
        EventSink.make((n: number) =>
          Effect.gen(function* () {
            const key = n % 4
            assert.isFalse(underWay.has(key), `${n} and ${underWay.get(key)} at a time`)
            underWay.set(key, n)
            most = Math.max(most, underWay.size)
            yield* Effect.sleep(1 + ((n * 7) % 5))
            underWay.delete(key)
            seen.set(key, [...(seen.get(key) ?? []), n])
          })
        )
      )
      const { dropped, queue } = yield* queueOf(sink, { concurrency: 3, partitionBy: (n) => n % 4 })
      for (let n = 1; n <= 200; n++) {
        yield* queue.write(n)
        if (n % 9 === 0) yield* TestClock.adjust("3 millis")
      }
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(dropped, [])
      assert.strictEqual(most, 3)
      for (const key of [0, 1, 2, 3]) {
        assert.deepStrictEqual(
          seen.get(key),
          range(200).filter((n) => n % 4 === key)
        )
      }
    })
  )

  it.effect("an event that fails is dropped in its place, and its key goes on", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { part: sink } = yield* open(
        EventSink.make((n: number) => (n % 3 === 0 ? Effect.fail("no") : Effect.sync(() => void seen.push(n))))
      )
      const { dropped, queue } = yield* queueOf(sink, { concurrency: 2, partitionBy: (n) => n % 2 })
      yield* EventSink.writeAll(queue, range(12))
      yield* queue.flush
      assert.deepStrictEqual(eventsOf(dropped).toSorted(byNumber), [3, 6, 9, 12])
      assert.deepStrictEqual(
        seen.filter((n) => n % 2 === 0),
        [2, 4, 8, 10]
      )
      assert.deepStrictEqual(
        seen.filter((n) => n % 2 === 1),
        [1, 5, 7, 11]
      )
    })
  )

  it.effect("a key that is retried for ever holds up no other, and goes on where it was", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      let well = false
      const { part: sink } = yield* open(
        EventSink.make((n: number) =>
          tens(n) === 1 && !well ? Effect.fail("not yet" as const) : Effect.sync(() => void seen.push(n))
        )
      )
      const { part: retrying } = yield* open(
        RetryingSink.make(RetryStrategy.forever(Schedule.spaced("1 second")))(sink)
      )
      const { queue } = yield* queueOf(retrying, { concurrency: 2, partitionBy: tens })
      yield* EventSink.writeAll(queue, [10, 11, 20, 12, 30, 21, 40])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(seen, [20, 30, 40, 21])
      yield* queue.write(50)
      yield* settle
      assert.deepStrictEqual(seen, [20, 30, 40, 21, 50])
      assert.strictEqual(yield* queue.pending, 3)
      well = true
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen, [20, 30, 40, 21, 50, 10, 11, 12])
    })
  )

  it.effect("a key takes turns: those with a large backlog do not starve others", () =>
    Effect.gen(function* () {
      const begun: Array<number> = []
      const { part: sink } = yield* open(
        EventSink.make((n: number) => {
          begun.push(n)
          return Effect.sleep("1 millis")
        })
      )
      const { queue } = yield* queueOf(sink, { concurrency: 2, partitionBy: (n) => n % 10 })
      const hot = range(300).map((n) => 10 * n + (n % 3))
      yield* EventSink.writeAll(queue, hot)
      yield* TestClock.adjust("1 millis")
      yield* EventSink.writeAll(queue, [7, 8])
      const before = begun.length
      yield* TestClock.adjust("1 seconds")
      // Of the three hot keys each has one more turn, at most.
      assert.isAtMost(begun.indexOf(8) - before, 4)
      assert.deepStrictEqual(begun.toSorted(byNumber), [...hot, 7, 8].toSorted(byNumber))
    })
  )

  it.effect("a turn of a batch sink is a batch, which holds events of one key only", () =>
    Effect.gen(function* () {
      const batches: Array<ReadonlyArray<number>> = []
      const { part: sink } = yield* open(
        EventSink.makeBatch((events: ReadonlyArray<number>) =>
          Effect.as(
            Effect.sync(() => void batches.push([...events])),
            events.length
          )
        )
      )
      const { queue } = yield* queueOf(sink, { concurrency: 2, partitionBy: (n) => n % 2 })
      yield* queue.writeSome!([...range(3000).map((n) => 2 * n), 1, 3] as unknown as readonly [number])
      yield* queue.flush
      assert.isTrue(batches.every((batch) => batch.every((n) => n % 2 === batch[0]! % 2)))
      assert.isTrue(batches.every((batch) => batch.length <= 1024))
      assert.isAtMost(
        batches.findIndex((batch) => batch[0] === 1),
        2
      )
      const even = batches.flat().filter((n) => n % 2 === 0)
      assert.deepStrictEqual(
        even,
        range(3000).map((n) => 2 * n)
      )
    })
  )

  it.effect("a batch holds events of one key only", () =>
    Effect.gen(function* () {
      const { part: sink } = yield* open(TestSink.recording<number>({ batchSize: 100 }))
      const { queue } = yield* queueOf(sink, { concurrency: 2, partitionBy: tens })
      yield* queue.writeSome!([10, 11, 20, 12])
      yield* queue.flush
      assert.sameMembers([...sink.batches], [1, 3])
    })
  )

  it.effect("over a plain function, too, it keeps the order of each key", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const { part: sink } = yield* open(
        EventSink.sync((n: number) => {
          if (n % 50 === 0) throw new Error("no")
          seen.push(n)
        })
      )
      const { dropped, queue } = yield* queueOf(sink, { concurrency: 3, partitionBy: (n) => n % 5, capacity: 6000 })
      yield* EventSink.writeAll(queue, range(6000))
      yield* queue.flush
      assert.deepStrictEqual(eventsOf(dropped).length, 120)
      for (const key of range(5)) {
        const own = seen.filter((n) => n % 5 === key % 5)
        assert.deepStrictEqual(own, own.toSorted(byNumber))
      }
      assert.strictEqual(seen.length, 5880)
    })
  )

  it.effect('"drop-oldest" drops the oldest that waits, whatever its key', () =>
    Effect.gen(function* () {
      const { begun, releaseAll, sink } = yield* gated()
      const { dropped, queue } = yield* queueOf(sink, {
        concurrency: 2,
        capacity: 6,
        overflow: "drop-oldest",
        partitionBy: tens
      })
      yield* EventSink.writeAll(queue, [10, 20, 30, 11, 21, 12])
      yield* settle
      assert.deepStrictEqual(begun, [10, 20])
      yield* EventSink.writeAll(queue, [40, 31, 22])
      assert.deepStrictEqual(eventsOf(dropped), [30, 11, 21])
      yield* queue.writeSome!([41, 42])
      assert.deepStrictEqual(eventsOf(dropped), [30, 11, 21, 12, 40])
      yield* releaseAll
      assert.strictEqual(yield* queue.pending, 0)
      assert.deepStrictEqual(begun.toSorted(byNumber), [10, 20, 22, 31, 41, 42])
      for (const key of [2, 4]) {
        const own = begun.filter((n) => tens(n) === key)
        assert.deepStrictEqual(own, own.toSorted(byNumber))
      }
    })
  )

  describe("one that throws is a defect of the write", () => {
    const partitionBy = (n: number) => {
      if (n < 0) throw new Error(`no key for ${n}`)
      return n
    }
    const dies = <A, E>(write: Effect.Effect<A, E>) =>
      Effect.map(Effect.exit(write), (exit) =>
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), "it did not die")
      )

    it.effect.each(["suspend", "reject", "drop-newest", "drop-oldest"] as const)(
      'and nothing is accepted, a batch not at all: "%s"',
      (overflow) =>
        Effect.gen(function* () {
          const { begun, releaseAll, sink } = yield* gated()
          const { dropped, queue } = yield* queueOf(sink, { concurrency: 2, capacity: 3, overflow, partitionBy })
          yield* queue.write(1)
          const before = healthOf(queue).counts
          yield* dies(queue.write(-1))
          yield* dies(queue.writeSome!([2, -2]))
          yield* dies(queue.writeSome!([-3, 3]))
          assert.deepStrictEqual(healthOf(queue).counts, before)
          yield* EventSink.writeAll(queue, [4, 5])
          // Full, now.
          yield* dies(queue.write(-4))
          yield* dies(queue.writeSome!([6, -5]))
          assert.strictEqual(yield* queue.pending, 3)
          yield* settle
          yield* releaseAll
          yield* queue.flush
          assert.deepStrictEqual(begun, [1, 4, 5])
          assert.deepStrictEqual(dropped, [])
          assert.strictEqual(healthOf(queue).counts.accepted, 3)
        })
    )

    it.effect("also in front of writes that wait, which are accepted when there is room", () =>
      Effect.gen(function* () {
        const { begun, releaseAll, release, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, { concurrency: 2, capacity: 2, partitionBy })
        yield* EventSink.writeAll(queue, [1, 2])
        const waiting = yield* Effect.forkChild(queue.writeSome!([3, 4]))
        yield* settle
        yield* dies(queue.write(-1))
        yield* dies(queue.writeSome!([5, -2]))
        const last = yield* Effect.forkChild(queue.write(6))
        yield* release(1, 2)
        yield* Fiber.join(waiting)
        assert.isUndefined(last.pollUnsafe())
        yield* releaseAll
        yield* Fiber.join(last)
        yield* releaseAll
        assert.deepStrictEqual(begun, [1, 2, 3, 4, 6])
      })
    )

    // Before it was mended: the key is looked up when the event has been counted, and in the middle of a batch.
    it.effect("so is a key that cannot be compared", () =>
      Effect.gen(function* () {
        const { begun, releaseAll, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, {
          concurrency: 2,
          partitionBy: (n) =>
            n < 0 ? Object.defineProperty({}, "key", { enumerable: true, get: () => partitionBy(n) }) : n
        })
        yield* dies(queue.write(-1))
        assert.strictEqual(yield* queue.pending, 0)
        yield* dies(queue.writeSome!([1, -2, 2]))
        assert.strictEqual(yield* queue.pending, 0)
        yield* queue.write(3)
        yield* settle
        yield* releaseAll
        assert.deepStrictEqual(begun, [3])
        yield* queue.flush
      })
    )
  })

  it.effect("a batch whose keys cannot be compared with each other drops nothing to make room", () =>
    Effect.gen(function* () {
      const incomparable = (n: number) => ({
        [Hash.symbol]: () => 1,
        [Equal.symbol]: () => {
          throw new Error(`${n} cannot be compared`)
        }
      })
      const { dropped, queue } = yield* queueOf(yield* hanging(), {
        concurrency: 2,
        capacity: 3,
        overflow: "drop-oldest",
        partitionBy: (n) => (n < 0 ? incomparable(n) : "key")
      })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* settle
      const exit = yield* Effect.exit(queue.writeSome([-1, -2]))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      yield* settle
      assert.deepStrictEqual(dropped, [])
      assert.strictEqual(yield* queue.pending, 3)
      yield* queue.writeSome([4, 5])
      yield* settle
      assert.deepStrictEqual(eventsOf(dropped), [2, 3])
    })
  )

  it.effect("is called once for each event, by its write", () =>
    Effect.gen(function* () {
      const { releaseAll, sink } = yield* gated()
      const asked: Array<number> = []
      const { queue } = yield* queueOf(sink, {
        concurrency: 2,
        capacity: 2,
        partitionBy: (n) => {
          asked.push(n)
          return n
        }
      })
      yield* EventSink.writeAll(queue, [1, 2])
      const waiting = yield* Effect.forkChild(queue.writeSome!([3, 4]))
      yield* settle
      assert.deepStrictEqual(asked, [1, 2, 3, 4])
      yield* releaseAll
      yield* Fiber.join(waiting)
      yield* releaseAll
      assert.deepStrictEqual(asked, [1, 2, 3, 4])
      yield* queue.shutdown
      yield* Effect.flip(queue.write(5))
      assert.deepStrictEqual(asked, [1, 2, 3, 4])
    })
  )

  // Before it was mended: `partitionBy` is passed to `map`, which adds the index in the batch, and the batch.
  it.effect("gets the event and nothing else, also of a batch", () =>
    Effect.gen(function* () {
      const { sink } = yield* gated()
      const asked: Array<ReadonlyArray<unknown>> = []
      const { queue } = yield* queueOf(sink, {
        concurrency: 2,
        partitionBy: (...given: ReadonlyArray<unknown>) => asked.push(given)
      })
      yield* queue.write(1)
      yield* queue.writeSome!([2, 3])
      assert.deepStrictEqual(asked, [[1], [2], [3]])
    })
  )

  class Tenant extends Data.Class<{ readonly id: number }> {}

  it.effect.each([
    ["NaN", () => Number.NaN, () => 1],
    ["undefined", () => undefined, () => null],
    ["an array", () => ["a", 1], () => ["a", 2]],
    ["an object", () => ({ a: 1, b: [2] }), () => ({ a: 1, b: [3] })],
    ["a class with Equal", () => new Tenant({ id: 1 }), () => new Tenant({ id: 2 })],
    ["a date", () => new Date(1), () => new Date(2)],
    ["a function", () => describe, () => it]
  ] as ReadonlyArray<readonly [string, () => unknown, () => unknown]>)(
    "keys are compared by value: %s",
    ([, one, other]) =>
      Effect.gen(function* () {
        const { begun, release, sink } = yield* gated()
        const { queue } = yield* queueOf(sink, { concurrency: 3, partitionBy: (n) => (n < 10 ? one() : other()) })
        yield* EventSink.writeAll(queue, [1, 2, 10, 3])
        yield* settle
        assert.deepStrictEqual(begun, [1, 10])
        yield* release(1)
        assert.deepStrictEqual(begun, [1, 10, 2])
        yield* release(10, 2)
        assert.deepStrictEqual(begun, [1, 10, 2, 3])
      })
  )

  it.live(
    `${(2 * many).toLocaleString("en")} keys that came and went leave nothing, and take their time only once`,
    () =>
      Effect.gen(function* () {
        const gc = collector()
        const refs: Array<WeakRef<object>> = []
        const { part: sink } = yield* open(EventSink.make((_: number) => Effect.void))
        const { queue } = yield* queueOf(sink, {
          concurrency: 4,
          partitionBy: (n) => {
            const key = { tenant: n }
            if (n % 500 === 0) refs.push(new WeakRef(key))
            return key
          }
        })
        const each = many / 10
        for (let round = 0; round < 20; round++) {
          yield* EventSink.writeAll(
            queue,
            range(each).map((n) => round * each + n)
          )
          yield* queue.flush
        }
        // A few writes of one key, so that no old key is still in flight.
        for (let n = 0; n < 8; n++) {
          yield* queue.write(1)
          yield* queue.flush
        }
        yield* Effect.sleep("10 millis")
        gc()
        assert.strictEqual(refs.length, (2 * many) / 500)
        assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
        // The queue itself was still there.
        assert.strictEqual(yield* queue.pending, 0)
      })
  )

  it.live('under "drop-oldest" what is kept stays bounded while a key is stuck', () =>
    Effect.gen(function* () {
      const gc = collector()
      const refs: Array<WeakRef<object>> = []
      const stuck = {}
      const { part: sink } = yield* open(
        EventSink.make((event: object) => (event === stuck ? Effect.never : Effect.void))
      )
      const { part: queue } = yield* open(
        EventQueue.make<object, never, "drop-oldest">({
          concurrency: 2,
          capacity: 100,
          overflow: "drop-oldest",
          partitionBy: (event) => (event === stuck ? "stuck" : "well"),
          onDropped: () => Effect.void
        })(sink)
      )
      yield* queue.write(stuck)
      for (let n = 0; n < 50_000; n++) {
        const event = {}
        if (n % 50 === 0) refs.push(new WeakRef(event))
        yield* queue.write(event)
        if (n % 70 === 0) yield* Effect.yieldNow
      }
      yield* Effect.sleep("10 millis")
      gc()
      assert.strictEqual(refs.length, 1000)
      // At most 100 wait, and as little as a thousand more is noted: 22 of those that were watched, and some to spare.
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 40)
      assert.isAtLeast(yield* queue.pending, 1)
    })
  )

  // Before it was mended: a key whose only event was dropped stays until a drainer comes by, and none does.
  it.live('under "drop-oldest" keys are forgotten when their events are dropped, also while all writes hang', () =>
    Effect.gen(function* () {
      const gc = collector()
      const refs: Array<WeakRef<object>> = []
      const { part: sink } = yield* open(EventSink.make((_: number) => Effect.never))
      const { part: queue } = yield* open(
        EventQueue.make<number, never, "drop-oldest">({
          concurrency: 2,
          capacity: 10,
          overflow: "drop-oldest",
          partitionBy: (n) => {
            const key = { tenant: n }
            if (n % 50 === 0) refs.push(new WeakRef(key))
            return key
          },
          onDropped: () => Effect.void
        })(sink)
      )
      for (let n = 0; n < 50_000; n++) yield* queue.write(n)
      yield* Effect.sleep("10 millis")
      gc()
      assert.strictEqual(refs.length, 1000)
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 40)
      assert.strictEqual(yield* queue.pending, 10)
    })
  )
})
