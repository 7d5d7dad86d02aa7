import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema, Stream } from "effect"
import { Broadcaster, EventChannel, EventFilter, EventQueue, EventSink, SinkGraph } from "effect-events"
import { DurableBroadcaster, DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { quiet, settle } from "./support/virtual.ts"

/** Reads a tap from here on, into an array. */
const tapping = Effect.fnUntraced(function* (
  sink: EventSink.EventSink<never, unknown> | EventSink.SinkNode,
  options?: { readonly bufferSize?: number }
) {
  const seen: Array<SinkGraph.Tapped> = []
  const fiber = yield* SinkGraph.tap(sink, options).pipe(
    Stream.runForEach((one) => Effect.sync(() => void seen.push(one))),
    Effect.forkChild
  )
  yield* settle
  const words = () => seen.map(({ event, reason, what }) => [what, event, ...(reason === undefined ? [] : [reason])])
  return { seen, words, fiber }
})
const taking = EventSink.make((_: number) => Effect.void, { name: "receiver" })
const failing = EventSink.make((n: number) => (n < 0 ? Effect.fail("no") : Effect.void), { name: "receiver" })
const subscription = (sink: EventSink.EventSink<never, unknown>) => sink.node.downstream()[0]!.node

describe("tap", () => {
  it.effect("shows what a queue accepts and delivers, with the time of each", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(taking)
      const { seen } = yield* tapping(queue)
      yield* TestClock.setTime(1_000)
      yield* queue.write(1)
      yield* settle
      yield* TestClock.setTime(2_000)
      yield* queue.writeSome([2, 3])
      yield* settle
      const one = { at: 1_000, reason: undefined }
      const two = { at: 2_000, reason: undefined }
      assert.deepStrictEqual(seen, [
        { what: "accepted", event: 1, ...one },
        { what: "delivered", event: 1, ...one },
        { what: "accepted", event: 2, ...two },
        { what: "accepted", event: 3, ...two },
        { what: "delivered", event: 2, ...two },
        { what: "delivered", event: 3, ...two }
      ])
    })
  )

  it.effect("shows a delivery before what was waiting for it goes on", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(taking)
      const { words } = yield* tapping(queue)
      for (const n of [1, 2]) {
        yield* queue.write(n)
        yield* queue.flush
      }
      yield* settle
      assert.deepStrictEqual(words(), [
        ["accepted", 1],
        ["delivered", 1],
        ["accepted", 2],
        ["delivered", 2]
      ])
    })
  )

  it.effect("shows what is dropped, and why: a failure, a defect, an overflow", () =>
    quiet(
      Effect.gen(function* () {
        const gate = EventSink.make((n: number) =>
          n === 0 ? Effect.never : n === 1 ? Effect.die("dead") : Effect.fail("no")
        )
        const queue = yield* EventQueue.make(gate, {
          onDropped: () => Effect.void,
          capacity: 2,
          overflow: "drop-newest",
          drainTimeout: 0
        })
        const { words } = yield* tapping(queue)
        for (const n of [1, 2, 0, 4, 5]) {
          yield* queue.write(n)
          yield* settle
        }
        assert.deepStrictEqual(
          words().filter(([what]) => what === "dropped"),
          [
            ["dropped", 1, "Died"],
            ["dropped", 2, "Failed"],
            ["dropped", 5, "Overflow"]
          ]
        )
        assert.strictEqual(words().filter(([what]) => what === "accepted").length, 5)
      })
    )
  )

  it.effect.each([undefined, () => Effect.void])(
    "shows what a scope's close could not deliver (onDropped: %s)",
    (onDropped) =>
      quiet(
        Effect.gen(function* () {
          const hanging = EventSink.make((_: number) => Effect.never)
          const failing = EventSink.make((_: number): Effect.Effect<never, Error> => Effect.never)
          let words = (): ReadonlyArray<unknown> => []
          yield* Effect.scoped(
            Effect.gen(function* () {
              const queue =
                onDropped === undefined
                  ? yield* EventQueue.make(hanging, { drainTimeout: 0 })
                  : yield* EventQueue.make(failing, { drainTimeout: 0, onDropped })
              const tap = yield* tapping(queue)
              words = () => tap.words().filter(([what]) => what === "dropped")
              yield* EventSink.writeAll(queue, [1, 2])
              yield* settle
            })
          )
          yield* settle
          assert.deepStrictEqual(words(), [
            ["dropped", 1, "Undelivered"],
            ["dropped", 2, "Undelivered"]
          ])
        })
      )
  )

  it.effect("shows of a broadcaster what it accepts, and of a subscription what it delivers and drops", () =>
    quiet(
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>()
        yield* Broadcaster.add(broadcaster, yield* failing, { onDropped: () => Effect.void })
        const root = yield* tapping(broadcaster)
        const below = yield* tapping(subscription(broadcaster))
        yield* broadcaster.write(1)
        yield* EventSink.writeAll(broadcaster, [-2, 3])
        yield* settle
        assert.deepStrictEqual(root.words(), [
          ["accepted", 1],
          ["accepted", -2],
          ["accepted", 3]
        ])
        assert.deepStrictEqual(below.words(), [
          ["delivered", 1],
          ["dropped", -2, "Failed"],
          ["delivered", 3]
        ])
      })
    )
  )

  it.effect("shows of a channel what it accepts", () =>
    Effect.gen(function* () {
      const channel = yield* EventChannel.make<number>({ capacity: 2 })
      const { words } = yield* tapping(channel)
      yield* channel.write(1)
      yield* settle
      assert.deepStrictEqual(words(), [["accepted", 1]])
      yield* channel.takeAll
    })
  )

  it.effect("shows of a durable queue what is stored, delivered and dead-lettered", () =>
    Effect.gen(function* () {
      const queue = yield* EventSink.make((n: number) => (n < 0 ? Effect.die("no") : Effect.void)).pipe(
        DurableQueue.make({ name: "orders", schema: Schema.Number, redelivery: Redelivery.none })
      )
      const { words } = yield* tapping(queue)
      yield* queue.write(1)
      yield* settle
      yield* queue.write(-1)
      yield* settle
      assert.deepStrictEqual(words().slice(0, 3), [
        ["accepted", 1],
        ["delivered", 1],
        ["accepted", -1]
      ])
      assert.deepStrictEqual(words()[3]?.slice(0, 2), ["deadLettered", -1])
    }).pipe(quiet, Effect.provide(MemoryStore.layer))
  )

  it.effect("shows of a durable broadcaster what is stored, and of its subscription what is delivered", () =>
    Effect.gen(function* () {
      const broadcaster = yield* DurableBroadcaster.make({ name: "orders", schema: Schema.Number })
      yield* DurableBroadcaster.subscribe(broadcaster, taking, { name: "billing" })
      const root = yield* tapping(broadcaster)
      const below = yield* tapping(subscription(broadcaster))
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual(root.words(), [["accepted", 1]])
      assert.deepStrictEqual(below.words(), [["delivered", 1]])
    }).pipe(quiet, Effect.provide(MemoryStore.layer))
  )

  it.effect("is empty for a node that holds no event, and its node says so", () =>
    Effect.gen(function* () {
      const filter = yield* EventFilter.make(taking, () => true)
      assert.deepStrictEqual(filter.node.taps, [])
      assert.deepStrictEqual(yield* Stream.runCollect(SinkGraph.tap(filter)), [])
      const broadcaster = yield* Broadcaster.make([EventSink.sync((_: number) => {})])
      assert.deepStrictEqual(subscription(broadcaster).taps, ["dropped"])
    })
  )

  it.effect("keeps nothing on the node when its readers are gone, and two readers get the same", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(taking)
      assert.isUndefined(queue.node.observers())
      const first = yield* tapping(queue)
      const second = yield* tapping(queue)
      yield* queue.write(1)
      yield* settle
      assert.deepStrictEqual(first.words(), second.words())
      yield* Fiber.interrupt(first.fiber)
      yield* queue.write(2)
      yield* settle
      assert.strictEqual(first.seen.length, 2)
      assert.strictEqual(second.seen.length, 4)
      yield* Fiber.interrupt(second.fiber)
      assert.isUndefined(queue.node.observers())
    })
  )

  it.effect("never holds up the sink: of what is not read in time the newest are kept", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(taking)
      const seen: Array<unknown> = []
      yield* SinkGraph.tap(queue, { bufferSize: 3 }).pipe(
        Stream.runForEach(({ event, what }) => {
          seen.push([what, event])
          return Effect.sleep("1 minute")
        }),
        Effect.forkChild
      )
      yield* settle
      yield* queue.write(0)
      yield* settle
      for (let n = 1; n <= 10_000; n++) yield* queue.write(n)
      yield* queue.flush
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(seen.slice(-3), [
        ["delivered", 9_998],
        ["delivered", 9_999],
        ["delivered", 10_000]
      ])
      assert.isAtMost(seen.length, 5)
      assert.throws(() => SinkGraph.tap(queue, { bufferSize: 0 }), "bufferSize must be a whole number")
    })
  )

  it.effect("a reader that writes to the sink that it reads does so outside of the write that it was shown", () =>
    Effect.gen(function* () {
      const queue = yield* EventQueue.make(taking)
      const seen: Array<unknown> = []
      yield* SinkGraph.tap(queue).pipe(
        Stream.runForEach(({ event, what }) => {
          seen.push([what, event])
          return what === "accepted" && event === 1 ? queue.write(2) : Effect.void
        }),
        Effect.forkChild
      )
      yield* settle
      yield* queue.write(1)
      yield* settle
      assert.deepInclude(seen, ["delivered", 2])
      assert.strictEqual(seen.length, 4)
    })
  )
})
