import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { EventQueue, EventSink } from "effect-events"
import { randomFrom } from "./support/random.ts"
import { settle } from "./support/virtual.ts"

/** Events that are what they weigh. */
const size = (event: number) => event

/** A sink that holds each event until it is released. */
const gate = Effect.gen(function* () {
  const seen: Array<number> = []
  const open: Array<() => void> = []
  const sink = yield* EventSink.make((event: number) =>
    Effect.callback<void>((resume) => {
      seen.push(event)
      open.push(() => resume(Effect.void))
    })
  )
  yield* Effect.addFinalizer(() => Effect.sync(() => open.forEach((release) => release())))
  return {
    seen,
    sink,
    release: settle.pipe(Effect.andThen(Effect.sync(() => open.shift()?.())), Effect.andThen(settle))
  }
})

const isOver = (fiber: Fiber.Fiber<unknown, unknown>) => fiber.pollUnsafe() !== undefined

describe("capacity by weight", () => {
  it.effect(`"suspend": writes wait for room in the order of arrival, and a light one does not overtake`, () =>
    Effect.gen(function* () {
      const { release, seen, sink } = yield* gate
      const queue = yield* sink.pipe(EventQueue.make({ capacity: 10, size: (event) => event }))
      yield* queue.write(6)
      yield* queue.write(4)
      const heavy = yield* Effect.forkChild(queue.write(7))
      yield* settle
      const light = yield* Effect.forkChild(queue.write(0.5))
      yield* settle
      // The 6 is settled: there is room for 0.5, and not for 7.
      yield* release
      assert.deepStrictEqual([isOver(heavy), isOver(light)], [false, false])
      yield* release
      assert.deepStrictEqual([isOver(heavy), isOver(light)], [true, true])
      yield* release
      assert.deepStrictEqual(seen, [6, 4, 7, 0.5])
      yield* release
    })
  )

  it.effect("an event heavier than the capacity is accepted alone, when the queue is empty", () =>
    Effect.gen(function* () {
      const { release, seen, sink } = yield* gate
      const queue = yield* EventQueue.make(sink, { capacity: 10, size })
      yield* queue.write(1)
      const heavy = yield* Effect.forkChild(queue.write(25))
      yield* settle
      assert.isFalse(isOver(heavy))
      yield* release
      assert.isTrue(isOver(heavy))
      const next = yield* Effect.forkChild(queue.write(1))
      yield* settle
      assert.isFalse(isOver(next))
      yield* release
      yield* Fiber.join(next)
      assert.deepStrictEqual(seen, [1, 25, 1])
      yield* release
    })
  )

  it.effect(`"reject": fails with QueueFull, which says what it had no room for`, () =>
    Effect.gen(function* () {
      const { release, sink } = yield* gate
      const queue = yield* EventQueue.make(sink, { capacity: 10, size, overflow: "reject", name: "orders" })
      yield* queue.writeSome([4, 4])
      const error = yield* Effect.flip(queue.writeSome([1, 2]))
      assert.instanceOf(error, EventQueue.QueueFull)
      assert.strictEqual(error.message, `the queue "orders" of 10 has no room for 3`)
      assert.strictEqual(EventQueue.offerUnsafe(queue, 3), "full")
      assert.strictEqual(EventQueue.offerUnsafe(queue, 2), "accepted")
      for (let n = 0; n < 3; n++) yield* release
      yield* queue.writeSome([30, 30])
      assert.strictEqual((yield* Effect.flip(queue.write(1)))._tag, "QueueFull")
      for (let n = 0; n < 2; n++) yield* release
    })
  )

  it.effect(`"drop-newest" and "drop-oldest" drop as much as makes room, and report it`, () =>
    Effect.gen(function* () {
      const dropped: Array<number> = []
      const onDropped = ({ event }: { readonly event: number }) => Effect.sync(() => void dropped.push(event))
      const newest = yield* gate
      const first = yield* EventQueue.make(newest.sink, { capacity: 10, size, overflow: "drop-newest", onDropped })
      yield* first.write(8)
      yield* first.write(3)
      yield* first.write(2)
      assert.deepStrictEqual(dropped.splice(0), [3])
      for (let n = 0; n < 2; n++) yield* newest.release

      const oldest = yield* gate
      const second = yield* EventQueue.make(oldest.sink, { capacity: 10, size, overflow: "drop-oldest", onDropped })
      yield* second.write(1)
      yield* settle
      yield* second.writeSome([2, 3, 4])
      yield* second.write(5)
      assert.deepStrictEqual(dropped.splice(0), [2, 3])
      // The 1 is being delivered: what is left of the capacity is 9, whatever waits.
      yield* second.write(10)
      assert.deepStrictEqual(dropped.splice(0), [10])
      yield* second.write(9)
      assert.deepStrictEqual(dropped.splice(0), [4, 5])
      for (let n = 0; n < 2; n++) yield* oldest.release
      assert.deepStrictEqual(oldest.seen, [1, 9])
      const { accepted, delivered, dropped: drops } = second.node.health(0).counts
      assert.deepStrictEqual({ accepted, delivered, drops }, { accepted: 7, delivered: 2, drops: 5 })
    })
  )

  it.effect("size is called once for each event, and not without a capacity", () =>
    Effect.gen(function* () {
      let calls = 0
      const count = () => ++calls && 2
      const sink = yield* EventSink.make((_: number) => Effect.yieldNow)
      const queue = yield* EventQueue.make(sink, { capacity: 4, size: count })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* Effect.forEach([4, 5, 6], queue.write, { concurrency: "unbounded" })
      yield* queue.flush
      assert.strictEqual(calls, 6)
      const unbounded = yield* EventQueue.make(sink, { size: count })
      yield* EventSink.writeAll(unbounded, [1, 2, 3])
      yield* unbounded.flush
      assert.strictEqual(calls, 6)
    })
  )

  it.effect(
    "what size throws, or another answer than a weight, is a defect of the write and leaves nothing behind",
    () =>
      Effect.gen(function* () {
        const sink = yield* EventSink.make((_: unknown) => Effect.void)
        for (const partitionBy of [undefined, (event: unknown) => event]) {
          const queue = yield* EventQueue.make(sink, {
            capacity: 4,
            concurrency: 2,
            partitionBy,
            size: (event) => {
              if (event === "throws") throw new Error("no size")
              return event as number
            }
          })
          for (const bad of ["throws", -1, Number.NaN, Infinity, undefined, 10n]) {
            const writes: ReadonlyArray<Effect.Effect<unknown, EventSink.SinkClosed>> = [
              queue.write(bad),
              queue.writeSome([1, bad])
            ]
            for (const write of writes) {
              const exit = yield* Effect.exit(write)
              assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), String(bad))
            }
            assert.throws(() => EventQueue.offerUnsafe(queue, bad))
          }
          assert.strictEqual(yield* queue.pending, 0)
          yield* queue.writeSome([2, 2])
          yield* queue.flush
        }
      })
  )

  const kinds = [
    ["in order", 1, false],
    ["3 at a time", 3, false],
    ["by keys", 3, true]
  ] as const
  for (const [kind, concurrency, isKeyed] of kinds) {
    for (const overflow of ["suspend", "drop-oldest"] as const) {
      for (const isBatched of [false, true]) {
        const seed = kind.length * 10 + overflow.length + Number(isBatched)
        const title = `${kind}, "${overflow}"${isBatched ? ", over a batch sink that fails at times" : ""} (seed ${seed})`
        it.effect(`what is accepted never weighs more than the capacity, unless it is alone: ${title}`, () =>
          Effect.gen(function* () {
            const next = randomFrom(seed)
            const capacity = 10
            interface Event {
              readonly weight: number
              readonly batch: number
            }
            const unsettled = new Set<Event>()
            const settled = (some: ReadonlyArray<Event>) => {
              for (const event of some) unsettled.delete(event)
            }
            const load = () => [...unsettled].reduce((sum, { weight }) => sum + weight, 0)
            const wait = Effect.suspend(() => Effect.sleep(Math.ceil(next() * 5)))
            // An event is settled here a little before the queue hears of it, and accepted a little after: what is found
            // to be too much is too much.
            const commit = (some: ReadonlyArray<Event>) =>
              Effect.suspend(() => {
                if (isBatched && next() < 0.2) return Effect.fail("down")
                const taken = some.slice(0, Math.ceil(next() * some.length))
                return Effect.map(wait, () => {
                  settled(taken)
                  return taken.length
                })
              })
            const sink: EventSink.EventSink<Event, string> = yield* isBatched
              ? EventSink.makeBatch(commit)
              : EventSink.make((event: Event) => commit([event]))
            let dropped = 0
            const queue = yield* EventQueue.make(sink, {
              capacity,
              size: ({ weight }) => weight,
              overflow,
              concurrency,
              partitionBy: isKeyed ? ({ batch }: Event) => batch % 3 : undefined,
              onDropped: ({ event }) =>
                Effect.sync(() => {
                  dropped++
                  settled([event])
                })
            })
            let heavy = 0
            let batches = 0
            const writer = Effect.gen(function* () {
              for (let n = 0; n < 60; n++) {
                const batch = batches++
                const events = Array.from({ length: Math.ceil(next() * 3) }, () => ({
                  weight: Math.floor(next() * 48) / 8,
                  batch
                }))
                const isAccepted = Effect.sync(() => {
                  for (const event of events) unsettled.add(event)
                })
                if (overflow === "suspend") {
                  yield* Effect.andThen(EventSink.writeAll(queue, events), isAccepted)
                  if (load() > capacity) {
                    heavy++
                    const others = [...unsettled].filter((event) => event.batch !== batch)
                    assert.isEmpty(others, `seed ${seed}: batch ${batch}`)
                  }
                } else {
                  yield* Effect.andThen(isAccepted, EventSink.writeAll(queue, events))
                }
                if (next() < 0.3) yield* Effect.sleep(Math.ceil(next() * 6))
              }
            })
            const writers = yield* Effect.forkChild(Effect.all([writer, writer, writer], { concurrency: "unbounded" }))
            for (let n = 0; n < 5000 && writers.pollUnsafe() === undefined; n++) yield* TestClock.adjust(1)
            yield* Fiber.join(writers)
            yield* TestClock.adjust("1 minute")
            yield* queue.flush
            assert.strictEqual(unsettled.size, 0)
            assert.isAbove(overflow === "suspend" ? heavy : dropped, 0)
            // All of the capacity is there again, and nothing more.
            const offers = [capacity, 0.125].map((weight) => EventQueue.offerUnsafe(queue, { weight, batch: 0 }))
            if (overflow === "suspend") assert.deepStrictEqual(offers, ["accepted", "full"])
            yield* TestClock.adjust("1 minute")
          })
        )
      }
    }
  }
})
