/** The `filter` of `Broadcaster.add` and `Broadcaster.subscribe`: what it refuses does not exist for its sink or stream. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { Broadcaster, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { open, quiet, settle, withLogs } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const made = <A, E, R>(make: Effect.Effect<A, E, R>) => Effect.map(open(make), ({ part }) => part)
const isEven = (n: number) => n % 2 === 0
const evens = (n: number) => range(n).filter(isEven)

interface Collecting {
  readonly seen: Array<number>
  readonly make: Effect.Effect<EventSink.EventSink<number>, never, Scope.Scope>
}
/** A sink of each kind, and what it got. */
const kinds: ReadonlyArray<readonly [kind: string, make: () => Collecting]> = [
  [
    "synchronous",
    () => {
      const seen: Array<number> = []
      return { seen, make: EventSink.sync((n: number) => void seen.push(n)) }
    }
  ],
  [
    "effectful",
    () => {
      const seen: Array<number> = []
      return { seen, make: EventSink.make((n: number) => Effect.sync(() => void seen.push(n))) }
    }
  ],
  [
    "batch",
    () => {
      const seen: Array<number> = []
      return {
        seen,
        make: EventSink.makeBatch((events: ReadonlyArray<number>) => Effect.sync(() => void seen.push(...events)))
      }
    }
  ]
]

/** Adds a sink with a filter, and answers what it drops and its subscription. */
const addFiltered = <E>(
  self: Broadcaster.Broadcaster<number>,
  sink: EventSink.EventSink<number, E>,
  options: Omit<Broadcaster.LossyAddOptions<number, E>, "onDropped"> = {}
) =>
  Effect.gen(function* () {
    const dropped: Array<Dropped.Dropped<number, E>> = []
    yield* Broadcaster.add<number, E>(self, sink, {
      filter: isEven,
      ...options,
      onDropped: (one) => Effect.sync(() => void dropped.push(one))
    })
    return { dropped, subscription: self.node.downstream().at(-1)!.node }
  })

describe("a filter of add", () => {
  it.effect.each(kinds)("refuses without a trace, by single writes and batches: a sink that is %s", ([, kind]) =>
    Effect.gen(function* () {
      const { make, seen } = kind()
      const sibling = yield* TestSink.recording<number>()
      const broadcaster = yield* Broadcaster.make<number>()
      const { subscription } = yield* addFiltered(broadcaster, yield* make)
      yield* Broadcaster.add(broadcaster, sibling)
      for (const n of range(9)) yield* broadcaster.write(n)
      yield* EventSink.writeAll(broadcaster, range(100))
      yield* EventSink.writeAll(broadcaster, [1, 3, 5])
      assert.deepInclude(subscription.health(0).counts, { accepted: 54 })
      yield* settle
      assert.deepStrictEqual(seen, [...evens(9), ...evens(100)])
      assert.deepStrictEqual(sibling.received, [...range(9), ...range(100), 1, 3, 5])
      const { counts, pending } = subscription.health(0)
      assert.deepInclude(counts, { accepted: 54, delivered: 54, filtered: 0, dropped: 0 })
      assert.strictEqual(pending, 0)
      assert.deepInclude(broadcaster.node.health(0).counts, { accepted: 112, delivered: 112 })
    })
  )

  it.effect("runs in the write, once for each event, and not after the removal or the close", () =>
    Effect.gen(function* () {
      const asked: Array<number> = []
      const filter = (n: number) => {
        asked.push(n)
        return true
      }
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number>())
      const [one, two] = [yield* TestSink.recording<number>(), yield* TestSink.recording<number>()]
      yield* Broadcaster.add(broadcaster, one, { filter })
      yield* broadcaster.write(1)
      yield* broadcaster.writeSome([2, 3])
      assert.deepStrictEqual(asked, [1, 2, 3])
      yield* Broadcaster.remove(broadcaster, one)
      yield* broadcaster.write(4)
      yield* broadcaster.writeSome([5, 6])
      assert.deepStrictEqual(asked, [1, 2, 3])
      yield* Broadcaster.add(broadcaster, two, { filter })
      yield* broadcaster.write(7)
      yield* close
      yield* Effect.flip(broadcaster.write(8))
      yield* Effect.flip(broadcaster.writeSome([9]))
      assert.deepStrictEqual(asked, [1, 2, 3, 7])
    })
  )

  it.effect.each(kinds)("keeps the boundary of the removal, and drains what matched: a sink that is %s", ([, kind]) =>
    Effect.gen(function* () {
      const { make, seen } = kind()
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* make
      const { subscription } = yield* addFiltered(broadcaster, sink)
      yield* EventSink.writeAll(broadcaster, range(10))
      const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
      yield* EventSink.writeAll(broadcaster, range(20))
      assert.deepStrictEqual(yield* Fiber.join(removal), [])
      assert.deepStrictEqual(seen, evens(10))
      assert.deepInclude(subscription.health(0).counts, { accepted: 5, delivered: 5 })
      // With another filter it is another subscription.
      const again = yield* addFiltered(broadcaster, sink, { filter: (n) => n > 8 })
      yield* EventSink.writeAll(broadcaster, range(10))
      yield* settle
      assert.deepStrictEqual(seen, [...evens(10), 9, 10])
      assert.deepInclude(again.subscription.health(0).counts, { accepted: 2, delivered: 2 })
    })
  )

  it.effect("leaves to the removal and to the close what matched and was not delivered", () =>
    Effect.gen(function* () {
      for (const how of ["remove", "shutdown"] as const) {
        const broadcaster = yield* made(Broadcaster.make<number>({ drainTimeout: "3 seconds" }))
        const sink = yield* made(TestSink.hanging<number>({ name: "slow" }))
        const { dropped, subscription } = yield* addFiltered(broadcaster, sink)
        for (const n of range(5)) yield* broadcaster.write(n)
        yield* EventSink.writeAll(broadcaster, [6, 7, 8])
        const call: Effect.Effect<ReadonlyArray<Dropped.Undelivered<number>>> =
          how === "remove" ? Broadcaster.remove(broadcaster, sink) : broadcaster.shutdown
        const closing = yield* Effect.forkChild(call)
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(
          (yield* Fiber.join(closing)).map(({ event, inFlight }) => [event, inFlight]),
          [
            [2, true],
            [4, false],
            [6, false],
            [8, false]
          ]
        )
        assert.deepStrictEqual(dropped, [])
        assert.deepInclude(subscription.health(0).counts, { accepted: 4, delivered: 0, undelivered: 4 })
        assert.strictEqual(subscription.state, "closed")
      }
    })
  )

  it.effect("makes maxLag count what matches alone", () =>
    quiet(
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>())
        const effectful = yield* made(TestSink.hanging<number>())
        const throwing = yield* EventSink.sync(() => {
          throw new Error("always")
        })
        const evicted: Array<Broadcaster.SubscriberLagged> = []
        const onEvicted = (one: Broadcaster.SubscriberLagged) => Effect.sync(() => void evicted.push(one))
        const { dropped } = yield* addFiltered(broadcaster, effectful, { maxLag: 3, onEvicted })
        // A synchronous sink is behind only while its report is.
        yield* Broadcaster.add(broadcaster, throwing, {
          filter: isEven,
          maxLag: 3,
          onEvicted,
          onDropped: () => Effect.never
        })
        yield* EventSink.writeAll(broadcaster, range(7))
        for (let n = 0; n < 50; n++) {
          yield* broadcaster.write(2 * n + 1)
          yield* settle
        }
        yield* EventSink.writeAll(
          broadcaster,
          range(3000).map((n) => 2 * n + 1)
        )
        yield* settle
        assert.strictEqual(broadcaster.node.downstream().length, 2)
        yield* broadcaster.write(8)
        yield* settle
        assert.deepStrictEqual(
          evicted.map(({ missed }) => missed),
          [4, 4]
        )
        assert.deepStrictEqual(
          dropped.map(({ event, reason }) => [event, reason._tag]),
          [2, 4, 6, 8].map((n) => [n, "Lagged"])
        )
        yield* TestClock.adjust("30 seconds")
        assert.strictEqual(broadcaster.node.downstream().length, 0)
      })
    )
  )

  it.effect.each(kinds)("costs the event that it throws at, for its sink alone: a sink that is %s", ([, kind]) =>
    Effect.gen(function* () {
      const { make, seen } = kind()
      const broadcaster = yield* Broadcaster.make<number>()
      const [before, after] = [yield* TestSink.recording<number>(), yield* TestSink.recording<number>()]
      yield* Broadcaster.add(broadcaster, before)
      const filter = (n: number) => {
        if (n % 10 === 3) throw new Error(`not ${n}`)
        return isEven(n)
      }
      const { dropped, subscription } = yield* addFiltered(broadcaster, yield* make, { filter })
      yield* Broadcaster.add(broadcaster, after, { filter: () => true })
      for (const n of range(5)) yield* broadcaster.write(n)
      yield* EventSink.writeAll(broadcaster, range(40))
      yield* settle
      const all = [...range(5), ...range(40)]
      assert.deepStrictEqual(before.received, all)
      assert.deepStrictEqual(after.received, all)
      assert.deepStrictEqual(seen, [...evens(5), ...evens(40)])
      assert.deepStrictEqual(
        dropped.map(({ event, reason }) => [event, reason._tag]),
        [3, 3, 13, 23, 33].map((n) => [n, "Died"])
      )
      const { counts, lastError, pending } = subscription.health(0)
      assert.deepInclude(counts, { accepted: 27, delivered: 22, dropped: 5 })
      assert.strictEqual(pending, 0)
      assert.deepStrictEqual(lastError?.error, new Error("not 33"))
    })
  )

  it.effect("that throws is logged without onDropped, by count and id, and the close waits for the reports", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const filter = () => {
          throw new Error("no")
        }
        const { close, part: broadcaster } = yield* open(Broadcaster.make<{ id: string; card: string }>())
        const sink = yield* TestSink.recording<{ id: string; card: string }>()
        yield* Broadcaster.add(broadcaster, sink, { filter })
        yield* broadcaster.write({ id: "event-1", card: "4111-1111" })
        yield* settle
        assert.strictEqual(logs.length, 1)
        assert.strictEqual(logs[0]!.level, "ERROR")
        assert.include(logs[0]!.line, "event-1")
        assert.notInclude(logs[0]!.line, "4111-1111")

        const reports: Array<string> = []
        const slow = yield* TestSink.recording<{ id: string; card: string }>()
        yield* Broadcaster.add(broadcaster, slow, {
          filter,
          onDropped: ({ event }) =>
            Effect.delay(
              Effect.sync(() => void reports.push(event.id)),
              "2 seconds"
            )
        })
        yield* broadcaster.write({ id: "event-2", card: "4111-1111" })
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1999 millis")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(reports, ["event-2"])
      })
    )
  )

  it.effect("makes the oldest age that of the oldest event which matched", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>())
      const { subscription } = yield* addFiltered(broadcaster, yield* made(TestSink.hanging<number>()))
      const age = Effect.clockWith((clock) => Effect.sync(() => subscription.health(clock.currentTimeMillisUnsafe())))
      yield* broadcaster.write(1)
      yield* settle
      assert.isUndefined((yield* age).oldestAge)
      yield* TestClock.adjust("5 seconds")
      yield* broadcaster.write(2)
      yield* settle
      for (let n = 0; n < 100; n++) {
        yield* TestClock.adjust("100 millis")
        yield* broadcaster.write(3)
        yield* settle
      }
      const { oldestAge, pending } = yield* age
      assert.deepStrictEqual({ oldestAge, pending }, { oldestAge: 10_000, pending: 1 })
    })
  )
})

describe("a filter of subscribe", () => {
  it.effect("keeps for the stream what it holds for: a predicate, or a refinement that types the stream", () =>
    Effect.gen(function* () {
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number | string>())
      yield* broadcaster.write("early")
      const strings: Stream.Stream<string, Broadcaster.SubscriberLagged> = yield* Broadcaster.subscribe(broadcaster, {
        filter: (event): event is string => typeof event === "string"
      })
      const large = yield* Broadcaster.subscribe(broadcaster, { filter: (event) => event !== "a" && event !== 1 })
      const all = yield* Broadcaster.subscribe(broadcaster)
      const waiting = yield* Effect.forkChild(Stream.runCollect(strings))
      yield* settle
      yield* broadcaster.write(1)
      yield* broadcaster.write("a")
      yield* EventSink.writeAll(broadcaster, [2, "b", 3, "c"])
      yield* close
      assert.deepStrictEqual(yield* Fiber.join(waiting), ["a", "b", "c"])
      assert.deepStrictEqual(yield* Stream.runCollect(large), [2, "b", 3, "c"])
      assert.deepStrictEqual(yield* Stream.runCollect(all), [1, "a", 2, "b", 3, "c"])
    })
  )

  it.effect("makes maxLag count what matches alone", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ name: "news" })
      const stream = yield* Broadcaster.subscribe(broadcaster, { maxLag: 2, filter: isEven })
      for (let n = 0; n < 50; n++) {
        yield* broadcaster.write(1)
        yield* settle
      }
      yield* EventSink.writeAll(broadcaster, [1, 2, 3, 4, 5])
      yield* settle
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(stream, 2)), [2, 4])
      yield* EventSink.writeAll(broadcaster, [6, 7, 8, 9, 10])
      yield* settle
      const error = yield* Effect.flip(Stream.runCollect(stream))
      assert.deepStrictEqual([error.missed, error.broadcaster, error.sink], [3, "news", undefined])
    })
  )

  it.effect("is not asked once the stream's scope is closed, or after an eviction", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const asked: Array<number> = []
      const filter = (n: number) => asked.push(n) > 0
      const { close } = yield* open(Broadcaster.subscribe(broadcaster, { filter }))
      yield* broadcaster.write(1)
      yield* close
      yield* broadcaster.write(2)
      assert.deepStrictEqual(asked, [1])
      const lagging = yield* Broadcaster.subscribe(broadcaster, { filter, maxLag: 1 })
      yield* EventSink.writeAll(broadcaster, [3, 4])
      yield* settle
      yield* broadcaster.write(5)
      assert.deepStrictEqual(asked, [1, 3, 4])
      assert.strictEqual((yield* Effect.flip(Stream.runCollect(lagging))).missed, 2)
    })
  )

  it.effect("that throws costs its stream the event, with an error in the log, and nothing else", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ name: "news" }))
        const sibling = yield* TestSink.recording<number>()
        const stream = yield* Broadcaster.subscribe(broadcaster, {
          filter: (n) => {
            if (n === 2) throw new Error("two")
            return true
          }
        })
        const other = yield* Broadcaster.subscribe(broadcaster, { filter: isEven })
        yield* Broadcaster.add(broadcaster, sibling)
        yield* broadcaster.write(1)
        yield* broadcaster.writeSome([2, 3])
        yield* close
        assert.deepStrictEqual(yield* Stream.runCollect(stream), [1, 3])
        assert.deepStrictEqual(yield* Stream.runCollect(other), [2])
        assert.deepStrictEqual(sibling.received, [1, 2, 3])
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        assert.include(logs[0]!.line, "news")
        assert.deepStrictEqual(broadcaster.node.health(0).lastError?.error, new Error("two"))
      })
    )
  )
})
