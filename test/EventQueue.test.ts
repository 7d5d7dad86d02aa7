import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Duration, Effect, Exit, Fiber, Ref, References, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { EventQueue, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { open, settle, withLogs } from "./support/virtual.ts"

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
      ).pipe(Effect.flatMap(EventQueue.make()))
      yield* EventSink.writeAll(queue, range(20))
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(seen, range(20))
      assert.strictEqual(most, 1)
    })
  )

  it.effect("in groups where the sink takes them", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ group: 4 })
      const queue = yield* EventQueue.make()(sink)
      yield* EventSink.writeAll(queue, range(10))
      yield* queue.flush
      assert.deepStrictEqual(sink.received, range(10))
      assert.deepStrictEqual(sink.groups, [4, 4, 2])
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

  it.effect("100,000 events do not overflow the stack, whatever the sink", () =>
    Effect.gen(function* () {
      let n = 0
      const effectful = yield* EventSink.make((_: number) => Effect.sync(() => n++))
      const grouped = yield* EventSink.makeGroup((events: ReadonlyArray<number>) =>
        Effect.sync(() => {
          n += events.length
          return events.length
        })
      )
      const plain = yield* EventSink.sync((_: number) => n++)
      const events = range(100_000)
      for (const sink of [effectful, grouped, plain]) {
        for (const group of [true, false]) {
          n = 0
          const queue = yield* EventQueue.make()(sink)
          if (group) yield* EventSink.writeAll(queue, events)
          else yield* Effect.forEach(events, (event) => queue.write(event), { discard: true })
          yield* queue.flush
          assert.strictEqual(n, 100_000)
        }
      }
    })
  )

  it.effect("100,000 events through a bounded queue do not overflow the stack, nor do 10,000 writers that wait", () =>
    Effect.gen(function* () {
      let n = 0
      const sink = yield* EventSink.make((_: number) => Effect.sync(() => n++))
      const queue = yield* EventQueue.make({ capacity: 1 })(sink)
      yield* Effect.forEach(range(100_000), (event) => queue.write(event), { discard: true })
      yield* queue.flush
      assert.strictEqual(n, 100_000)
      yield* Effect.forEach(range(10_000), (event) => queue.write(event), { concurrency: "unbounded", discard: true })
      yield* queue.flush
      assert.strictEqual(n, 110_000)
    })
  )

  it.effect("a queue over a plain function gives other fibers their turns", () =>
    Effect.gen(function* () {
      const count = { delivered: 0 }
      const queue = yield* EventSink.sync((_: number) => count.delivered++).pipe(Effect.flatMap(EventQueue.make()))
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
      for (const sink of [yield* hanging(), yield* hanging({ group: 10 })]) {
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

  it.effect("a group larger than it enters alone, when the queue is empty", () =>
    Effect.gen(function* () {
      const sink = yield* hanging()
      const { queue } = yield* dropping(sink, { capacity: 2 })
      yield* queue.write(1)
      const large = yield* Effect.forkChild(queue.writeSome!([2, 3, 4, 5]))
      const next = yield* Effect.forkChild(queue.write(6))
      yield* settle
      assert.isUndefined(large.pollUnsafe())
      assert.isUndefined(next.pollUnsafe(), "who waits behind it does not pass it")
      yield* sink.release
      assert.strictEqual(yield* Fiber.join(large), 4)
      yield* Fiber.join(next)
      yield* queue.flush
      assert.deepStrictEqual(sink.received, [1, 2, 3, 4, 5, 6])
    })
  )

  it.effect("a group larger than it enters an empty queue at once, under every policy", () =>
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

  it.effect("a group that fits enters whole, and one that does not enters not at all", () =>
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
      const group = yield* Effect.forkChild(Effect.flip(queue.writeSome!([3, 4])))
      yield* settle
      yield* Effect.forkChild(queue.shutdown)
      yield* settle
      for (const error of [yield* Fiber.join(one), yield* Fiber.join(group)]) {
        assert.instanceOf(error, EventSink.SinkClosed)
        assert.strictEqual(error.sink, "line")
      }
      yield* sink.release
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
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
  it.effect("the new event is accepted and dropped, a group whole", () =>
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
        undelivered: 0
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

  it.effect("a group that dropping the oldest cannot make room for is dropped itself, and nothing else is", () =>
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

  it.effect("counts what was given up as settled", () =>
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

  it.effect('under "drop-oldest" a drop behind it does not end it early, also when a group is taken apart', () =>
    Effect.gen(function* () {
      const committed: Array<number> = []
      let attempt = 0
      const hold = yield* hanging()
      const sink = (yield* open(
        EventSink.makeGroup(([first]: ReadonlyArray<number>) => {
          if (++attempt === 1) return Effect.fail("the first group")
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
        undelivered: 2
      })
      yield* close
      assert.deepStrictEqual(dropped, [], "the scope reports only what no call returned")
    })
  )

  it.effect("of a group in flight every event is marked", () =>
    Effect.gen(function* () {
      const { queue } = yield* dropping(yield* hanging({ group: 10 }), { drainTimeout: "2 seconds" })
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
  it.effect("drains, hands what was not delivered to onDropped, and logs a count", () =>
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
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        assert.include(logs[0]!.line, "3 undelivered")
        assert.include(logs[0]!.line, "orders")
        assert.notInclude(logs[0]!.line, "7700")
      })
    )
  )

  it.effect("without onDropped undelivered events are logged at error, by count and id, never by content", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = (yield* open(TestSink.hanging<{ id: string; card: string }>())).part
        const { close, part: queue } = yield* open(EventQueue.make({ drainTimeout: 0 })(sink))
        yield* EventSink.writeAll(queue, [
          { id: "event-1", card: "4111" },
          { id: "event-2", card: "4111" }
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
        assert.notInclude(logs[0]!.line, "4111")
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

  it.effect("so does a group sink's, and a plain function's whose scope was closed", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const groups = yield* dropping(yield* TestSink.closing<number>({ group: 10 }))
        yield* EventSink.writeAll(groups.queue, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(
          groups.dropped.map(({ event, reason }) => [event, reason._tag]),
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

  it.effect("a group sink that dies of one event", () =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.makeGroup((events: ReadonlyArray<number>) =>
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
      assert.instanceOf(healthOf(queue).lastError, TestSink.TestError)
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
          yield* queue.write({ id: "event-1", card: "4111" })
          yield* queue.write({ id: "event-2", card: "4111" })
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
          assert.notInclude(logs[0]!.line, "4111")
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
            [1, 2, 3, 4].map((n) => ({ id: `event-${n}`, card: "4111" }))
          )
          yield* settle
          const closing = yield* Effect.forkChild(close)
          yield* TestClock.adjust("4999 millis")
          assert.isUndefined(closing.pollUnsafe())
          yield* TestClock.adjust("1 millis")
          yield* Fiber.join(closing)
          yield* settle
          assert.deepStrictEqual(taken, ["event-1"])
          // The first line is the count of all, with their ids.
          const after = logs.slice(1).map(({ line }) => line)
          for (const id of ["event-2", "event-3", "event-4"]) assert.include(after.join("\n"), id)
          assert.notInclude(after.join("\n"), "event-1")
          assert.notInclude(logs.map(({ line }) => line).join("\n"), "4111")
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
        assert.strictEqual(logs.length, 2)
      })
    )
  )
})

describe("without onDropped", () => {
  it.effect("the first event given up is logged at error, then at doubling counts, and the recovery once", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.dying<{ id: string; card: string }>({
          name: "receiver",
          when: (attempt) => attempt <= 20
        })
        const { part: queue } = yield* open(EventQueue.make({ name: "orders" })(sink))
        for (const n of range(30)) {
          yield* queue.write({ id: `event-${n}`, card: "4111" })
          yield* queue.flush
        }
        yield* settle
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR", "ERROR", "ERROR", "ERROR", "ERROR", "ERROR", "INFO"]
        )
        // Each line accounts for all that was given up since the line before it, the last for the rest.
        const at = [1, 2, 4, 8, 16, 20]
        at.forEach((n, i) => {
          const since = n - (at[i - 1] ?? 0)
          assert.include(logs[i]!.line, `event-${n - since + 1}`)
          assert.include(logs[i]!.line, "orders")
          assert.include(logs[i]!.line, since === 1 ? "an event" : `${since} events`)
        })
        assert.include(logs[6]!.line, "after 20")
        assert.notInclude(logs.map(({ line }) => line).join("\n"), "4111")
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

describe("group sinks", () => {
  /** Commits groups whole, unless one holds a poisonous event. */
  const poisoned = (poison: ReadonlySet<number>, limit = Number.POSITIVE_INFINITY) =>
    Effect.gen(function* () {
      const received: Array<number> = []
      const sink = yield* EventSink.makeGroup((events: ReadonlyArray<number>) => {
        const part = events.slice(0, limit)
        if (part.some((n) => poison.has(n))) return Effect.fail("poison" as const)
        received.push(...part)
        return Effect.succeed(part.length)
      })
      return { sink, received }
    })

  it.effect("a failed group is taken apart until only the event to blame is dropped", () =>
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

  it.effect("what the sink did not commit of a group it gets again, from there on", () =>
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
          undelivered: 2
        })
      })
    )
  )
})
