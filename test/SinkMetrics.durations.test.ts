import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Metric } from "effect"
import { Broadcaster, EventQueue, EventSink, SinkMetrics } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { DurableQueue, MemoryStore } from "effect-events/durable"
import { Schema } from "effect"
import { TestClock } from "effect/testing"
import { figure, show, withRegistry } from "./support/metrics.ts"
import { settle } from "./support/virtual.ts"

const name = "messaging_process_duration_seconds"
const observations = (sink: string, kind = "EventQueue") => figure(name, sink, { kind })

const durations = (sink: string) =>
  Metric.value(Metric.withAttributes(SinkMetrics.processDuration, { sink, kind: "EventQueue" }))

/** Counts the readings of the clock of the context that take durations. */
const spied = <A, E, R>(use: (readings: () => number) => Effect.Effect<A, E, R>) =>
  Effect.clockWith((clock) => {
    let readings = 0
    const spy: Clock.Clock = {
      currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe(),
      currentTimeMillis: clock.currentTimeMillis,
      currentTimeNanosUnsafe: () => clock.currentTimeNanosUnsafe(),
      currentTimeNanos: clock.currentTimeNanos,
      monotonicTimeNanosUnsafe: () => {
        readings++
        return clock.monotonicTimeNanosUnsafe()
      },
      monotonicTimeNanos: clock.monotonicTimeNanos,
      sleep: (duration) => clock.sleep(duration)
    }
    return Effect.provideService(
      use(() => readings),
      Clock.Clock,
      spy
    )
  })

describe("durations", () => {
  it.effect("are of each write, from its begin to its end", () =>
    Effect.gen(function* () {
      const receiver = yield* EventSink.make((n: number) => Effect.sleep(n), { name: "receiver" })
      const queue = yield* EventQueue.make(receiver, { name: "numbers" })
      yield* show(queue)
      yield* EventSink.writeAll(queue, [20, 600, 60_000])
      yield* TestClock.adjust("20 millis")
      yield* settle
      assert.strictEqual((yield* durations("numbers")).count, 1)
      yield* TestClock.adjust("2 minutes")
      yield* settle
      // What waits before it is begun is no part of it.
      yield* queue.write(600)
      yield* TestClock.adjust("1 second")
      yield* settle
      const { buckets, count, max, min, sum } = yield* durations("numbers")
      assert.strictEqual(count, 4)
      assert.closeTo(sum, 0.02 + 0.6 + 60 + 0.6, 1e-6)
      assert.closeTo(min, 0.02, 1e-6)
      assert.closeTo(max, 60, 1e-6)
      const upTo = (boundary: number) => buckets.find(([at]) => at === boundary)?.[1]
      assert.deepStrictEqual([upTo(0.01), upTo(0.025), upTo(0.5), upTo(0.75), upTo(10)], [0, 1, 1, 3, 3])
    }).pipe(withRegistry)
  )

  it.effect("of a batch are one", () =>
    Effect.gen(function* () {
      const receiver = yield* EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.sleep("1 second"))
      const queue = yield* EventQueue.make(receiver, { name: "numbers" })
      yield* show(queue)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* TestClock.adjust("1 second")
      yield* settle
      const { count, sum } = yield* durations("numbers")
      assert.strictEqual(count, 1)
      assert.closeTo(sum, 1, 1e-6)
    }).pipe(withRegistry)
  )

  it.effect("of a write that failed count, and the report of it does not", () =>
    Effect.gen(function* () {
      const receiver = yield* EventSink.make((n: number) =>
        Effect.andThen(Effect.sleep("1 second"), n === 1 ? Effect.fail("no") : Effect.void)
      )
      const queue = yield* EventQueue.make(receiver, { name: "numbers", onDropped: () => Effect.sleep("1 minute") })
      yield* show(queue)
      yield* EventSink.writeAll(queue, [1, 2])
      for (const time of ["1 second", "1 minute", "1 second"] as const) {
        yield* TestClock.adjust(time)
        yield* settle
      }
      const { count, max, sum } = yield* durations("numbers")
      assert.strictEqual(count, 2)
      assert.closeTo(sum, 2, 1e-6)
      assert.closeTo(max, 1, 1e-6)
    }).pipe(withRegistry)
  )

  it.effect("of a write that began before the layer are not known, and those of the next one are", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(TestSink.slow<number>("1 second"), { name: "numbers" })
      yield* EventSink.writeAll(queue, [1, 2])
      yield* settle
      yield* show(queue)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.strictEqual((yield* durations("numbers")).count, 0)
      yield* TestClock.adjust("1 second")
      yield* settle
      assert.closeTo((yield* durations("numbers")).sum, 1, 1e-6)
    }).pipe(withRegistry)
  )

  it.effect("cost no reading of a clock without the layer, and none after it", () =>
    spied((readings) =>
      Effect.gen(function* () {
        const queues = [
          yield* EventQueue.make(EventSink.sync((_: number) => {})),
          yield* EventQueue.make(TestSink.recording<number>(), { concurrency: 2 }),
          yield* EventQueue.make(TestSink.recording<number>({ batchSize: 10 }))
        ]
        const root = yield* Broadcaster.make<number>({ name: "root" })
        for (const queue of queues) yield* Broadcaster.add(root, queue)
        yield* Broadcaster.add(root, yield* TestSink.recording<number>())
        for (let n = 0; n < 10; n++) yield* root.write(n)
        yield* settle
        assert.strictEqual(readings(), 0)
        const { end } = yield* show(root)
        yield* root.write(10)
        yield* settle
        const under = readings()
        assert.isAbove(under, 0)
        yield* end
        for (let n = 0; n < 10; n++) yield* root.write(n)
        yield* settle
        assert.strictEqual(readings(), under)
      })
    ).pipe(withRegistry)
  )

  it.effect("cost one reading for a batch, and one where the drainer had waited", () =>
    spied((readings) =>
      Effect.gen(function* () {
        const sinks = [
          EventSink.sync((_: number) => {}),
          EventSink.make((_: number) => Effect.void),
          EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void)
        ]
        for (const sink of sinks) {
          const queue = yield* EventQueue.make(sink, { name: "numbers" })
          const { end } = yield* show(queue)
          const before = readings()
          // They wait together, so that they are one page for the drainer.
          yield* EventSink.writeAll(
            queue,
            Array.from({ length: 500 }, (_, n) => n)
          )
          yield* settle
          assert.strictEqual(readings() - before, 2)
          assert.strictEqual((yield* durations("numbers")).count, 1)
          yield* queue.shutdown
          yield* end
        }
      })
    ).pipe(withRegistry)
  )

  it.effect("are of the sinks of a broadcaster that have a drainer of their own, and of durable parts", () =>
    Effect.gen(function* () {
      const root = yield* Broadcaster.make<number>({ name: "root" })
      yield* Broadcaster.add(root, yield* EventSink.sync((_: number) => {}, { name: "function" }))
      yield* Broadcaster.add(root, yield* TestSink.recording<number>({ name: "effect" }))
      yield* show(root)
      yield* root.write(1)
      yield* settle
      assert.strictEqual(yield* observations("effect", "Subscription"), 1)
      assert.isUndefined(yield* observations("function", "Subscription"))
      const durable = yield* TestSink.recording<number>({ name: "receiver" }).pipe(
        DurableQueue.make({ name: "durable", schema: Schema.Number })
      )
      yield* show(durable)
      yield* durable.write(1)
      yield* durable.flush
      assert.strictEqual(yield* observations("durable", "DurableQueue"), 1)
    }).pipe(withRegistry, Effect.provide(MemoryStore.layer))
  )
})
