/** What sinks over plain functions keep to themselves although one worker serves them, and how the lag is judged. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Latch, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { Broadcaster, EventQueue, EventSink } from "effect-events"
import { open, quiet, settle, withLogs } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const made = <A, E, R>(make: Effect.Effect<A, E, R>) => Effect.map(open(make), ({ part }) => part)
const collector = Effect.gen(function* () {
  const seen: Array<number> = []
  const sink = yield* made(EventSink.sync((n: number) => void seen.push(n)))
  return { seen, sink }
})
const dropping = () => {
  const dropped: Array<Dropped.Dropped<number, never>> = []
  return { dropped, onDropped: (one: Dropped.Dropped<number, never>) => Effect.sync(() => void dropped.push(one)) }
}

describe("sinks over plain functions", () => {
  it.effect.each(["onDropped", "the log"])("a throw is charged to its sink alone, at its event alone: to %s", (to) =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { dropped, onDropped } = dropping()
        const before = yield* collector
        const after = yield* collector
        const seen: Array<number> = []
        const thrower = yield* EventSink.sync((n: number) => {
          if (n % 10 === 0) throw new Error("ten")
          seen.push(n)
        })
        const broadcaster = yield* Broadcaster.make<number>({ name: "b" })
        yield* Broadcaster.add(broadcaster, before.sink)
        if (to === "onDropped") yield* Broadcaster.add(broadcaster, thrower, { onDropped })
        else yield* Broadcaster.add(broadcaster, thrower)
        yield* Broadcaster.add(broadcaster, after.sink)
        for (const n of range(25)) yield* broadcaster.write(n)
        yield* EventSink.writeAll(broadcaster, range(100))
        yield* settle
        yield* broadcaster.write(1)
        yield* settle
        const all = [...range(25), ...range(100), 1]
        assert.deepStrictEqual(before.seen, all)
        assert.deepStrictEqual(after.seen, all)
        assert.deepStrictEqual(
          seen,
          all.filter((n) => n % 10 !== 0)
        )
        assert.deepStrictEqual(
          dropped.map(({ event }) => event),
          to === "onDropped" ? all.filter((n) => n % 10 === 0) : []
        )
        if (to === "the log") {
          const lines = logs.map(
            ({ line }) => /dropped (?:an event|\d+ events)|delivers again, after \d+/.exec(line)?.[0]
          )
          // The first of each run, then at doubling counts, and the rest with its end, which is that of a page.
          assert.deepStrictEqual(lines, [
            "dropped an event",
            "dropped an event",
            "delivers again, after 2",
            "dropped an event",
            "dropped an event",
            "dropped 2 events",
            "dropped 4 events",
            "dropped 2 events",
            "delivers again, after 10"
          ])
        }
        const [one, two, three] = broadcaster.node.downstream().map(({ node }) => node.health(0))
        assert.deepInclude(two!.counts, { accepted: 126, delivered: 114, dropped: 12 })
        for (const other of [one, three])
          assert.deepInclude(other!.counts, { accepted: 126, delivered: 126, dropped: 0 })
      })
    )
  )

  it.effect("a report that hangs holds up no other sink", () =>
    quiet(
      Effect.gen(function* () {
        const { seen, sink } = yield* collector
        const thrower = yield* EventSink.sync(() => {
          throw new Error("always")
        })
        const broadcaster = yield* made(Broadcaster.make<number>())
        yield* Broadcaster.add(broadcaster, thrower, { onDropped: () => Effect.never })
        yield* Broadcaster.add(broadcaster, sink)
        for (const n of range(5)) {
          yield* broadcaster.write(n)
          yield* settle
        }
        assert.deepStrictEqual(seen, range(5))
        const removed = yield* Effect.forkChild(Broadcaster.remove(broadcaster, thrower))
        yield* TestClock.adjust("30 seconds")
        assert.deepStrictEqual(
          (yield* Fiber.join(removed)).map(({ event }) => event),
          [2, 3, 4, 5]
        )
        yield* broadcaster.write(6)
        yield* settle
        assert.deepStrictEqual(seen, range(6))
      })
    )
  )

  it.effect("each gets what is published between its add and its remove, and no more", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const all = yield* Effect.forEach(range(5), () => collector)
      let n = 0
      const expected = all.map((): Array<number> => [])
      const there = new Set<number>()
      const write = Effect.suspend(() => {
        n++
        for (const i of there) expected[i]!.push(n)
        return broadcaster.write(n)
      })
      for (let step = 0; step < 200; step++) {
        const i = (step * 7) % 5
        if (there.has(i)) {
          there.delete(i)
          assert.deepStrictEqual(yield* Broadcaster.remove(broadcaster, all[i]!.sink), [])
        } else {
          there.add(i)
          yield* Broadcaster.add(broadcaster, all[i]!.sink)
        }
        for (let k = 0; k < step % 4; k++) yield* write
        if (step % 13 === 0) yield* settle
      }
      yield* settle
      assert.deepStrictEqual(
        all.map(({ seen }) => seen),
        expected
      )
    })
  )

  it.effect.each(["before it throws", "by the report of its throw"])(
    "one that is removed %s gets nothing that the report publishes after that",
    (when) =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const sink = yield* EventSink.sync((n: number) => {
          if (n === 2) throw new Error("two")
          seen.push(n)
        })
        const broadcaster = yield* made(Broadcaster.make<number>())
        const remove = Effect.forkDetach(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
        const isBefore = when === "before it throws"
        yield* Broadcaster.add(broadcaster, sink, {
          onDropped: () => Effect.andThen(isBefore ? Effect.void : remove, Effect.orDie(broadcaster.write(9)))
        })
        const [member] = broadcaster.node.downstream()
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        if (isBefore) yield* remove
        yield* settle
        assert.deepStrictEqual(seen, [1, 3])
        const { counts, pending } = member!.node.health(0)
        assert.deepInclude(counts, { accepted: 3, delivered: 2, dropped: 1 })
        assert.strictEqual(pending, 0)
        assert.strictEqual(member!.node.state, "closed")
      })
  )

  it.effect.each(["onDropped", "the log"])("one that is closed leaves alone, with what it did not get: to %s", (to) =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { dropped, onDropped } = dropping()
        const { seen, sink } = yield* collector
        const { close, part } = yield* open(EventSink.sync((_: number) => {}))
        const broadcaster = yield* made(Broadcaster.make<number>())
        if (to === "onDropped") yield* Broadcaster.add(broadcaster, part, { onDropped })
        else yield* Broadcaster.add(broadcaster, part)
        yield* Broadcaster.add(broadcaster, sink)
        yield* broadcaster.write(1)
        yield* settle
        yield* close
        yield* broadcaster.write(2)
        yield* EventSink.writeAll(broadcaster, range(50))
        yield* settle
        assert.deepStrictEqual(seen, [1, 2, ...range(50)])
        assert.deepStrictEqual(
          dropped.map(({ event, reason }) => [event, reason._tag]),
          to === "onDropped" ? [2, ...range(50)].map((n) => [n, "Undelivered"]) : []
        )
        if (to === "the log") assert.include(logs[0]!.line, "closed with 51 undelivered events, 0 of them in flight")
        assert.strictEqual(broadcaster.node.downstream().length, 1)
      })
    )
  )

  it.effect("one that throws in the drain ends within the time of its drain", () =>
    quiet(
      Effect.gen(function* () {
        const latch = Latch.makeUnsafe()
        const thrower = yield* EventSink.sync((n: number) => {
          if (n === 3) throw new Error("three")
        })
        const broadcaster = yield* made(Broadcaster.make<number>())
        yield* Broadcaster.add(broadcaster, thrower, { onDropped: () => latch.await, drainTimeout: "10 seconds" })
        for (const n of range(5)) yield* broadcaster.write(n)
        const removed = yield* Effect.forkChild(Broadcaster.remove(broadcaster, thrower))
        yield* TestClock.adjust("9 seconds")
        assert.isUndefined(removed.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(
          (yield* Fiber.join(removed)).map(({ event }) => event),
          [4, 5]
        )
      })
    )
  )

  it.effect("a function that interrupts the fiber it runs on stops nothing", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* collector
      const broadcaster = yield* Broadcaster.make<number>()
      yield* Broadcaster.add(broadcaster, yield* EventSink.sync((_: number) => Fiber.getCurrent()?.interruptUnsafe()))
      yield* Broadcaster.add(broadcaster, sink)
      for (const n of range(5)) {
        yield* broadcaster.write(n)
        yield* settle
      }
      assert.deepStrictEqual(seen, range(5))
    })
  )
})

describe("a sink that hangs while others read every event on its own", () => {
  it.effect("gets all of them, in order, when it goes on; so does one that is removed meanwhile", () =>
    Effect.gen(function* () {
      const { seen: quick, sink } = yield* collector
      const broadcaster = yield* Broadcaster.make<number>()
      yield* Broadcaster.add(broadcaster, sink)
      const gates = [Latch.makeUnsafe(), Latch.makeUnsafe()]
      const seen: Array<Array<number>> = [[], []]
      const hanging = yield* Effect.forEach(gates, (gate, i) =>
        EventSink.make((n: number) => Effect.map(gate.await, () => void seen[i]!.push(n)))
      )
      for (const one of hanging) yield* Broadcaster.add(broadcaster, one)
      const write = (from: number, to: number) =>
        Effect.forEach(
          range(to).slice(from),
          (n) => Effect.andThen(broadcaster.write(n), Effect.repeat(Effect.yieldNow, { times: 3 })),
          { discard: true }
        )
      yield* write(0, 900)
      yield* EventSink.writeAll(broadcaster, range(1000).slice(900))
      yield* write(1000, 1400)
      const removed = yield* Effect.forkChild(Broadcaster.remove(broadcaster, hanging[1]!))
      yield* settle
      yield* write(1400, 2000)
      yield* settle
      for (const gate of gates) gate.openUnsafe()
      for (const _ of range(20)) yield* settle
      assert.deepStrictEqual(yield* Fiber.join(removed), [])
      assert.deepStrictEqual(quick, range(2000))
      assert.deepStrictEqual(seen, [range(2000), range(1400)])
    })
  )
})

describe("maxLag", () => {
  it.effect("a burst evicts no sink that is fast, be it one, or many that share a worker", () =>
    Effect.gen(function* () {
      const { dropped, onDropped } = dropping()
      const broadcaster = yield* Broadcaster.make<number>()
      const all = yield* Effect.forEach(range(20), () => collector)
      for (const { sink } of all) yield* Broadcaster.add(broadcaster, sink, { maxLag: 5, onDropped })
      const seen: Array<number> = []
      const effectful = yield* EventSink.make((n: number) => Effect.sync(() => void seen.push(n)))
      yield* Broadcaster.add(broadcaster, effectful, { maxLag: 5, onDropped })
      const stream = yield* Broadcaster.subscribe(broadcaster, { maxLag: 5 })
      const reader = yield* Effect.forkChild(Stream.runCollect(Stream.take(stream, 4101)))
      yield* settle
      yield* EventSink.writeAll(broadcaster, range(4000))
      for (const _ of range(20)) yield* settle
      for (const n of range(100)) yield* broadcaster.write(n)
      for (const _ of range(20)) yield* settle
      yield* broadcaster.write(7)
      yield* settle
      const expected = [...range(4000), ...range(100), 7]
      for (const one of all) assert.deepStrictEqual(one.seen, expected)
      assert.deepStrictEqual(seen, expected)
      assert.deepStrictEqual(yield* Fiber.join(reader), expected)
      assert.deepStrictEqual(dropped, [])
    })
  )

  it.effect("a sink that progresses, and falls behind all the same, is evicted", () =>
    quiet(
      Effect.gen(function* () {
        const { dropped, onDropped } = dropping()
        const broadcaster = yield* Broadcaster.make<number>()
        const slow = yield* made(EventSink.make((_: number) => Effect.sleep("1 second")))
        yield* Broadcaster.add(broadcaster, slow, { maxLag: 10, onDropped })
        for (const n of range(30)) {
          yield* broadcaster.write(n)
          yield* TestClock.adjust("500 millis")
        }
        assert.isAbove(dropped.length, 9)
        assert.isTrue(dropped.every(({ reason }) => reason._tag === "Lagged"))
        assert.strictEqual(broadcaster.node.downstream().length, 0)
      })
    )
  )

  it.effect("an eviction is in the log and in the health, or goes to onEvicted in place of the log", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>({ name: "all" }))
        const hanging = () => made(EventSink.make((_: number) => Effect.never, { name: "laggard" }))
        yield* Broadcaster.add(broadcaster, yield* hanging(), { maxLag: 1, onDropped: () => Effect.void })
        yield* EventSink.writeAll(broadcaster, [1, 2])
        yield* settle
        assert.strictEqual(logs.length, 1)
        assert.include(logs[0]!.line, '\\"laggard\\" fell 2 events behind')
        assert.instanceOf(broadcaster.node.health(0).lastError?.error, Broadcaster.SubscriberLagged)

        const evicted: Array<Broadcaster.SubscriberLagged> = []
        yield* Broadcaster.add(broadcaster, yield* hanging(), {
          maxLag: 1,
          onDropped: () => Effect.void,
          onEvicted: (lagged) => Effect.sync(() => void evicted.push(lagged))
        })
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(
          evicted.map(({ broadcaster, missed, sink }) => ({ broadcaster, missed, sink })),
          [{ broadcaster: "all", sink: "laggard", missed: 3 }]
        )
        assert.strictEqual(logs.length, 1)

        yield* Broadcaster.add(broadcaster, yield* hanging(), {
          maxLag: 1,
          onDropped: () => Effect.void,
          onEvicted: () => Effect.die("no")
        })
        yield* EventSink.writeAll(broadcaster, [1, 2])
        yield* settle
        assert.strictEqual(logs.length, 2, "a callback that dies is logged with the eviction")
      })
    )
  )
})

describe("a stream that is run several times", () => {
  it.effect("each event goes to one of the runs, and none sleeps while there are events", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const stream = yield* Broadcaster.subscribe(broadcaster)
      const first = yield* Effect.forkChild(Stream.runCollect(Stream.take(stream, 1)))
      const second = yield* Effect.forkChild(Stream.runCollect(Stream.take(stream, 2)))
      yield* settle
      for (const n of range(3)) yield* broadcaster.write(n)
      yield* settle
      const got = [...(yield* Fiber.join(first)), ...(yield* Fiber.join(second))]
      assert.deepStrictEqual(got.toSorted(), range(3))
    })
  )
})

describe("a queue without bounds", () => {
  it.effect("is written to at once by filters and broadcasters, and keeps its account", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* collector
      const queue = yield* EventQueue.make()(sink)
      assert.isTrue(queue[EventSink.WriteSync]!(1))
      assert.strictEqual(queue.node.health(0).pending, 1)
      yield* queue.flush
      assert.deepStrictEqual(seen, [1])
      yield* queue.shutdown
      assert.isFalse(queue[EventSink.WriteSync]!(2))
    })
  )
})
