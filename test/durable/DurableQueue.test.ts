import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Schema } from "effect"
import { EventSink, SinkGraph } from "effect-events"
import { DurableQueue, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { Spy, bytesOf, error, eventsOf, processOver } from "./support/store.ts"

describe("DurableQueue", () => {
  it.effect("queues of one name are one queue, and of two names two", () =>
    Effect.gen(function* () {
      const layer = MemoryStore.layerOver(yield* MemoryStore.makeMemory)
      const make = (name: string, dst: EventSink.EventSink<string>) =>
        Effect.provide(DurableQueue.make({ name, schema: Schema.String })(dst), layer)
      const [a, b, c] = [
        yield* TestSink.recording<string>(),
        yield* TestSink.recording<string>(),
        yield* TestSink.recording<string>()
      ]
      const one = yield* make("one", a)
      const same = yield* make("one", b)
      const other = yield* make("other", c)
      yield* same.write("for one")
      yield* other.write("for the other")
      yield* Effect.all([one.flush, other.flush])
      assert.deepStrictEqual([[...a.received, ...b.received], c.received], [["for one"], ["for the other"]])
    })
  )

  it.effect("`pending` counts what is stored and not acknowledged, by any process", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const { queue } = yield* start(receiver, { memory })
      assert.strictEqual(yield* queue.pending, 0)
      yield* queue.write(1)
      yield* store.append([bytesOf(2), bytesOf(3)])
      assert.strictEqual(yield* queue.pending, 3)
      yield* receiver.release
      yield* queue.flush
      assert.strictEqual(yield* queue.pending, 0)
    })
  )

  it.effect("`flush` waits for what was stored before it, and for nothing that came after", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.slow<number>("1 second", { drainTimeout: 0 })
      const { queue } = yield* start(receiver)
      yield* queue.flush
      yield* queue.writeSome!([1, 2])
      const flush = yield* Effect.forkChild(queue.flush)
      const second = yield* Effect.forkChild(queue.flush)
      yield* settle
      for (const n of [3, 4, 5, 6]) yield* queue.write(n)
      yield* TestClock.adjust(1_990)
      assert.isUndefined(flush.pollUnsafe())
      yield* TestClock.adjust(200)
      yield* settle
      assert.deepStrictEqual([flush.pollUnsafe(), second.pollUnsafe()], [Exit.void, Exit.void])
      assert.deepStrictEqual(receiver.received, [1, 2])
    })
  )

  it.effect("`flush` counts what is dead-lettered as done", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.failing<number>()
      const { queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2])
      yield* queue.flush
      assert.strictEqual((yield* queue.deadLetters.list()).length, 2)
    }).pipe(quiet)
  )

  it.effect("`flush` fails while the queue is paused, and after its close", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const { queue } = yield* start(receiver)
      yield* queue.pause("maintenance")
      yield* queue.write(1)
      const failures: Array<unknown> = []
      const flushing = Effect.andThen(Effect.forkChild(Effect.flip(queue.flush)), (fiber) =>
        Effect.andThen(TestClock.adjust("10 seconds"), Fiber.join(fiber))
      )
      failures.push(yield* flushing)
      yield* queue.shutdown
      yield* queue.resume
      failures.push(yield* flushing)
      assert.deepStrictEqual(
        failures.map((one) => String(one)),
        ['NotDelivering: "events": delivery is paused (maintenance)', 'NotDelivering: "events": no process delivers']
      )
    }).pipe(quiet)
  )

  it.effect("shows itself in a picture, and its health", () =>
    Effect.gen(function* () {
      yield* TestClock.adjust(1_000)
      const receiver = yield* TestSink.make<number, string>(
        (attempt, hold) => (attempt === 2 ? Effect.fail("no") : attempt < 4 ? Effect.void : hold),
        { name: "receiver", drainTimeout: 0 }
      )
      const { queue } = yield* start(receiver)
      yield* queue.writeSome!([1, 2, 3, 4, 5, 6])
      yield* settle
      yield* TestClock.adjust(2_000)
      const health = queue.node.health(3_000)
      assert.deepInclude(health, { kind: "DurableQueue", name: "events", state: "open", pending: 3, inFlight: 1 })
      assert.deepInclude(health, { oldestAge: 2_000, lastError: { error: "no", at: 1_000, count: 1 } })
      assert.deepInclude(health.counts, { accepted: 6, delivered: 2, deadLettered: 1, dropped: 0, remaining: 0 })
      const picture = SinkGraph.toMermaid(queue)
      assert.isTrue(picture.includes("DurableQueue") && picture.includes("events") && picture.includes("receiver"))
      const kinds = (yield* SinkGraph.health(queue)).map(({ kind }) => kind)
      assert.strictEqual(kinds[0], "DurableQueue")
    }).pipe(quiet)
  )

  it.effect("health counts what a process before has left, and what others write", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const store = yield* processOver(memory)
      yield* store.append([bytesOf(1), bytesOf(2), bytesOf(3)])
      const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const { queue } = yield* start(receiver, { memory })
      yield* settle
      assert.deepInclude(queue.node.health(0), { pending: 3 })
      yield* receiver.release
      yield* queue.flush
      assert.deepInclude(queue.node.health(0), { pending: 0 })
      assert.deepInclude(queue.node.health(0).counts, { accepted: 3, delivered: 3 })
    })
  )

  it.effect("health drops from its count what was not stored after all", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      // A transaction that is rolled back after the write.
      const { memory, queue } = yield* start(receiver, {
        store: (store) => ({
          ...store,
          inTransaction: Effect.succeed(true),
          publish: (_, events) => Effect.succeed(events.map((_, i) => ({ position: 1000 + i, matched: 1 })))
        })
      })
      const other = yield* processOver(memory)
      yield* settle
      for (const n of [1, 2, 3]) yield* queue.write(n)
      yield* other.append([bytesOf(4)])
      yield* settle
      assert.deepStrictEqual(receiver.received, [4])
      assert.deepInclude(queue.node.health(0), { pending: 0 })
      assert.deepStrictEqual(yield* queue.shutdown, { count: 0, inFlight: [] })
    })
  )

  it.effect("the last error of its store is in its health", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const failure = error("take")
      spy.act = (name, run) => (name === "take" ? Effect.fail(failure) : run)
      const { queue } = yield* start(yield* TestSink.recording<number>(), { spy })
      yield* queue.write(1)
      yield* settle
      assert.strictEqual(queue.node.health(0).lastError?.error, failure)
    }).pipe(quiet)
  )

  describe("its schema", () => {
    it.effect("with a transformation stores what it encodes to, and delivers what it decodes to", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const Event = Schema.Struct({ at: Schema.DateFromString, total: Schema.FiniteFromString })
        const receiver = yield* TestSink.recording<typeof Event.Type>()
        const hanging = yield* Effect.provide(
          DurableQueue.make({ name: "events", schema: Event })(receiver),
          MemoryStore.layerOver(memory)
        )
        const event = { at: new Date(86_400_000), total: 12.5 }
        const appended: Array<unknown> = []
        const write = yield* Effect.forkChild(hanging.write(event))
        yield* settle
        appended.push(...eventsOf(memory))
        assert.isDefined(write.pollUnsafe())
        yield* hanging.flush
        assert.deepStrictEqual(receiver.received, [event])
      })
    )

    it.effect("of stamped events keeps ids, times and traces over a restart", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const layer = MemoryStore.layerOver(memory)
        const Order = Schema.Struct({ at: Schema.DateFromString })
        const options = { name: "orders", schema: DurableQueue.stamped(Order), drainTimeout: 0 }
        type Stamped = EventSink.Stamped<typeof Order.Type>
        const first = yield* TestSink.make<Stamped, never>(
          (_, hold, event) =>
            Effect.andThen(
              Effect.sync(() => seen.push(event)),
              hold
            ),
          {
            drainTimeout: 0
          }
        )
        const seen: Array<Stamped> = []
        const queue = yield* Effect.provide(DurableQueue.make(options)(first), layer)
        yield* TestClock.adjust(1_234)
        const orders = yield* EventSink.stamp(queue)
        yield* Effect.withSpan(orders.write({ at: new Date(0) }), "the write")
        yield* orders.write({ at: new Date(1) })
        yield* settle
        yield* queue.shutdown
        const second = yield* TestSink.recording<Stamped>()
        const next = yield* Effect.provide(DurableQueue.make(options)(second), layer)
        yield* next.flush
        assert.deepStrictEqual(second.received[0], seen[0])
        assert.strictEqual(second.received.length, 2)
        const [one, other] = second.received
        assert.deepInclude(one, { time: 1_234, event: { at: new Date(0) } })
        assert.match(one!.id, /^[0-9a-f-]{36}$/)
        assert.isTrue(one!.trace !== undefined && one!.trace.traceId.length === 32)
        assert.isTrue(other!.trace === undefined && other!.id !== one!.id)
      })
    )
  })

  it.effect("an event that the store gives back changed in no byte is the event", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const receiver = yield* TestSink.recording<string>()
      const queue = yield* Effect.provide(
        DurableQueue.make({ name: "events", schema: Schema.String })(receiver),
        MemoryStore.layerOver(memory)
      )
      const odd = ["", "\u0000", "\ud83d\ude00", "\u2028", '"\\', "ÿ".repeat(10_000)]
      yield* EventSink.writeAll(queue, odd)
      yield* queue.flush
      assert.deepStrictEqual(receiver.received, odd)
    })
  )
})
