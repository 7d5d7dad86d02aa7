/** Sinks of a broadcaster that come and go: pipelines for a scope, the account of one that was removed, one that throws. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { Broadcaster, EventFilter, EventQueue, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { spread } from "./support/runs.ts"
import { open, quiet, settle, withLogs } from "./support/virtual.ts"

const range = (n: number, from = 1) => Array.from({ length: n }, (_, i) => i + from)
const made = <A, E, R>(make: Effect.Effect<A, E, R>) => Effect.map(open(make), ({ part }) => part)

describe("addScoped of a pipeline", () => {
  /** A leaf that takes a second for each event, and what becomes of it. */
  const leaf = (log: Array<string>) =>
    Effect.acquireRelease(
      EventSink.make((n: number) =>
        Effect.delay(
          Effect.sync(() => void log.push(`got ${n}`)),
          "1 second"
        )
      ),
      () => Effect.sync(() => log.push("released"))
    )

  it.effect("builds it in that scope, answers its sink, and drains it before it closes", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const broadcaster = yield* Broadcaster.make<number>()
      const { close, part: sink } = yield* open(
        Broadcaster.addScoped(
          broadcaster,
          leaf(log).pipe(
            EventFilter.make((n) => n < 10),
            EventQueue.make({ capacity: 2, name: "own" })
          )
        )
      )
      assert.strictEqual(sink.node.name, "own")
      assert.deepStrictEqual(
        broadcaster.node.downstream().flatMap(({ node }) => node.downstream().map(({ node }) => node)),
        [sink.node]
      )
      // More than fits into its queue: the removal waits until it was taken, and the close of the queue delivers it.
      yield* EventSink.writeAll(broadcaster, [1, 10, 2, 3, 4])
      const closing = yield* Effect.forkChild(close)
      yield* settle
      yield* broadcaster.write(5)
      yield* TestClock.adjust("3 seconds")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(log, ["got 1", "got 2", "got 3", "got 4", "released"])
      assert.deepStrictEqual(broadcaster.node.downstream(), [])
      assert.strictEqual(sink.node.state, "closed")
    })
  )

  it.effect("takes a tag, which stays open, and needs what the pipeline needs", () =>
    Effect.gen(function* () {
      class Target extends Context.Service<Target, EventSink.EventSink<number>>()("test/membership/Target") {}
      const target = yield* TestSink.recording<number>()
      const broadcaster = yield* Broadcaster.make<number>()
      const added = Broadcaster.addScoped(broadcaster, Target)
      const { close, part } = yield* open(Effect.provide(added, Layer.succeed(Target, target)))
      assert.strictEqual(part, target)
      yield* broadcaster.write(1)
      yield* close
      yield* broadcaster.write(2)
      assert.deepStrictEqual(target.received, [1])
      yield* target.write(3)
    })
  )

  it.effect("adds nothing where the pipeline cannot be built, and fails with its error", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const broadcaster = yield* Broadcaster.make<number>()
      const scope = yield* Scope.make()
      const pipeline = Effect.tap(leaf(log), () => Effect.fail("no connection"))
      const error: string | EventSink.SinkClosed = yield* Effect.flip(
        Scope.provide(Broadcaster.addScoped(broadcaster, pipeline), scope)
      )
      assert.strictEqual(error, "no connection")
      assert.deepStrictEqual(broadcaster.node.downstream(), [])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["released"])
    })
  )

  it.effect("leaves the pipeline to its scope where the broadcaster is closed", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ name: "gone" }))
      yield* close
      const scope = yield* Scope.make()
      const error = yield* Effect.flip(Scope.provide(Broadcaster.addScoped(broadcaster, leaf(log)), scope))
      assert.strictEqual(error.sink, "gone")
      assert.deepStrictEqual(log, [])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(log, ["released"])
    })
  )

  it.effect("builds another one each time, each with its own options", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const scope = yield* Scope.make()
      const seen: Array<string> = []
      const pipeline = (name: string) =>
        EventSink.make((n: number) => Effect.sync(() => void seen.push(`${name} ${n}`))).pipe(EventQueue.make())
      const add = (name: string, filter: (n: number) => boolean) =>
        Scope.provide(Broadcaster.addScoped(broadcaster, pipeline(name), { filter }), scope)
      const even = yield* add("even", (n) => n % 2 === 0)
      const odd = yield* add("odd", (n) => n % 2 === 1)
      assert.notStrictEqual(even, odd)
      yield* EventSink.writeAll(broadcaster, [1, 2])
      yield* settle
      // By the sink that was answered it can be removed before the scope closes.
      yield* Broadcaster.remove(broadcaster, even)
      yield* EventSink.writeAll(broadcaster, [3, 4])
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(seen.toSorted(), ["even 2", "odd 1", "odd 3"])
    })
  )
})

describe("a sink that has left", () => {
  const kinds: ReadonlyArray<
    readonly [kind: string, make: Effect.Effect<EventSink.EventSink<number>, never, Scope.Scope>, filter: boolean]
  > = [
    ["effectful", TestSink.recording<number>(), false],
    ["batch", TestSink.recording<number>({ batchSize: 10 }), false],
    ["synchronous", EventSink.sync((_: number) => {}), false],
    ["behind a filter", EventSink.sync((_: number) => {}), true]
  ]
  it.effect.each(kinds)(
    "keeps its account at the boundary of the removal, and is closed: one that is %s",
    ([, make, filter]) =>
      Effect.gen(function* () {
        const { close, part: broadcaster } = yield* open(Broadcaster.make<number>())
        const sink = yield* make
        yield* Broadcaster.add(broadcaster, sink, filter ? { filter: () => true } : {})
        const { node } = broadcaster.node.downstream()[0]!
        assert.strictEqual(node.state, "open")
        yield* EventSink.writeAll(broadcaster, range(5))
        const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
        // It drains: it is shown, and gets no more.
        assert.strictEqual(node.state, "closing")
        assert.deepStrictEqual(
          broadcaster.node.downstream().map(({ node }) => node),
          [node]
        )
        yield* EventSink.writeAll(broadcaster, range(100))
        yield* Fiber.join(removal)
        yield* broadcaster.write(6)
        yield* settle
        const { counts, pending, state } = node.health(0)
        assert.deepInclude(counts, { accepted: 5, delivered: 5, dropped: 0, undelivered: 0 })
        assert.deepStrictEqual([pending, state], [0, "closed"])
        assert.deepStrictEqual(broadcaster.node.downstream(), [])
        yield* close
        assert.strictEqual(node.health(0).counts.accepted, 5)
        assert.strictEqual(node.state, "closed")
      })
  )

  it.effect("with events left has counted them: undelivered at a removal, dropped at an eviction", () =>
    withLogs(() =>
      Effect.gen(function* () {
        for (const how of ["removed", "evicted", "closed by itself"] as const) {
          const broadcaster = yield* made(Broadcaster.make<number>({ name: "all" }))
          const dropped: Array<string> = []
          const onDropped = ({ reason }: Dropped.Dropped<number>) => Effect.sync(() => void dropped.push(reason._tag))
          const sink = yield* made(how === "closed by itself" ? TestSink.closing<number>() : TestSink.hanging<number>())
          yield* Broadcaster.add(
            broadcaster,
            sink,
            how === "evicted" ? { maxLag: 2, onDropped } : { drainTimeout: 0, onDropped }
          )
          const { node } = broadcaster.node.downstream()[0]!
          yield* EventSink.writeAll(broadcaster, [1, 2, 3])
          yield* settle
          const left = how === "removed" ? (yield* Broadcaster.remove(broadcaster, sink)).length : dropped.length
          assert.strictEqual(left, 3, how)
          yield* broadcaster.write(4)
          yield* settle
          const { counts, inFlight, pending, state } = node.health(0)
          assert.deepStrictEqual({ inFlight, pending, state }, { inFlight: 0, pending: 0, state: "closed" }, how)
          const [undelivered, lagged] = how === "evicted" ? [0, 3] : [3, 0]
          assert.deepInclude(counts, { accepted: 3, delivered: 0, dropped: lagged, undelivered }, how)
          assert.deepStrictEqual(
            new Set(dropped),
            new Set(how === "removed" ? [] : [how === "evicted" ? "Lagged" : "Undelivered"])
          )
          assert.deepStrictEqual(broadcaster.node.downstream(), [], how)
          // What is removed already has nothing left.
          assert.deepStrictEqual(yield* Broadcaster.remove(broadcaster, sink), [])
        }
      })
    )
  )

  it.effect("by the close of the broadcaster is shown as it ended", () =>
    quiet(
      Effect.gen(function* () {
        const { part: broadcaster } = yield* open(Broadcaster.make<number>({ drainTimeout: "2 seconds" }))
        yield* Broadcaster.add(broadcaster, yield* TestSink.recording<number>({ name: "good" }))
        yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>({ name: "hangs" })))
        yield* Broadcaster.add(broadcaster, yield* EventSink.sync((_: number) => {}, { name: "plain" }))
        const removed = yield* made(TestSink.slow<number>("1 second", { name: "removed" }))
        yield* Broadcaster.add(broadcaster, removed)
        yield* EventSink.writeAll(broadcaster, [1, 2])
        yield* Effect.forkChild(Broadcaster.remove(broadcaster, removed))
        yield* settle
        const shutdown = yield* Effect.forkChild(broadcaster.shutdown)
        yield* settle
        const states = () => broadcaster.node.downstream().map(({ node }) => `${node.name} ${node.state}`)
        assert.strictEqual(broadcaster.node.state, "closing")
        assert.deepStrictEqual(states(), ["good closed", "hangs closing", "plain closed", "removed closing"])
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(
          (yield* Fiber.join(shutdown)).map(({ event, sink }) => [sink, event]),
          [
            ["hangs", 1],
            ["hangs", 2],
            ["removed", 2]
          ]
        )
        yield* settle
        assert.strictEqual(broadcaster.node.state, "closed")
        assert.deepStrictEqual(states(), ["good closed", "hangs closed", "plain closed", "removed closed"])
        assert.deepStrictEqual(
          broadcaster.node.downstream().map(({ node }) => node.health(0).counts.undelivered),
          [0, 2, 0, 1]
        )
      })
    )
  )
})

describe("a synchronous sink that throws", () => {
  /** Single writes, and batches that are pages of their own: which page has which events. */
  const parts = [5, 32, 3, 33, 1, 40].reduce<ReadonlyArray<ReadonlyArray<number>>>(
    (pages, n) => [...pages, range(n, 1 + pages.flat().length)],
    []
  )
  const all = parts.flat()
  const write = (broadcaster: Broadcaster.Broadcaster<number>) =>
    Effect.forEach(
      parts,
      (page) =>
        page.length < 32
          ? Effect.forEach(page, (n) => broadcaster.write(n), { discard: true })
          : EventSink.writeAll(broadcaster, page),
      { discard: true }
    )
  const throwing = (at: ReadonlySet<number>) => {
    const seen: Array<number> = []
    const make = EventSink.sync((n: number) => {
      if (at.has(n)) throw new Error(`at ${n}`)
      seen.push(n)
    })
    return { make, seen }
  }

  const states = ["open", "being removed", "closing"] as const
  // With `onDropped` it has a drainer of its own, and without one it shares that of its sibling.
  const reports = ["onDropped", "the log"] as const
  it.effect.each(states.flatMap((how) => reports.map((to) => [how, to] as const)))(
    "goes on behind the event that it threw at, wherever that is: a broadcaster, or a sink, that is %s, with reports to %s",
    ([how, to]) =>
      quiet(
        Effect.gen(function* () {
          for (const n of spread(all, 7)) {
            const { make, seen } = throwing(new Set([n]))
            const broadcaster = yield* Broadcaster.make<number>()
            const sibling = throwing(new Set())
            const dropped: Array<number> = []
            const sink = yield* make
            if (to === "the log") yield* Broadcaster.add(broadcaster, sink)
            else {
              const onDropped = ({ event }: Dropped.Dropped<number>) => Effect.sync(() => void dropped.push(event))
              yield* Broadcaster.add(broadcaster, sink, { onDropped })
            }
            yield* Broadcaster.add(broadcaster, yield* sibling.make)
            const { node } = broadcaster.node.downstream()[0]!
            yield* write(broadcaster)
            if (how === "being removed") {
              const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
              yield* broadcaster.write(1000)
              assert.deepStrictEqual(yield* Fiber.join(removal), [])
            } else if (how === "closing") {
              assert.deepStrictEqual(yield* broadcaster.shutdown, [])
            } else {
              yield* settle
              yield* broadcaster.write(1000)
              yield* settle
            }
            const own = how === "open" ? [...all, 1000] : all
            assert.deepStrictEqual(
              seen,
              own.filter((other) => other !== n),
              `at ${n}`
            )
            assert.deepStrictEqual(dropped, to === "onDropped" ? [n] : [])
            yield* settle
            assert.deepStrictEqual(sibling.seen, how === "closing" ? all : [...all, 1000])
            const { counts, lastError, pending } = node.health(0)
            assert.deepInclude(counts, { accepted: own.length, delivered: own.length - 1, dropped: 1 })
            assert.strictEqual(pending, 0)
            assert.deepStrictEqual(lastError?.error, new Error(`at ${n}`))
          }
        })
      )
  )

  it.effect("again and again is charged each time, and keeps the order", () =>
    Effect.gen(function* () {
      const at = new Set([...all.filter((n) => n % 7 === 0), 1, 1000])
      const { make, seen } = throwing(at)
      const broadcaster = yield* Broadcaster.make<number>()
      const dropped: Array<number> = []
      yield* Broadcaster.add(broadcaster, yield* make, {
        onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
      })
      yield* write(broadcaster)
      yield* settle
      for (const n of [1000, 1001]) {
        yield* broadcaster.write(n)
        yield* settle
      }
      assert.deepStrictEqual(
        seen,
        [...all, 1001].filter((n) => !at.has(n))
      )
      assert.deepStrictEqual(
        dropped,
        [...all, 1000].filter((n) => at.has(n))
      )
    })
  )

  it.effect("and was the only one leaves a broadcaster that serves the next as well", () =>
    Effect.gen(function* () {
      const first = throwing(new Set([1]))
      const second = throwing(new Set())
      const broadcaster = yield* Broadcaster.make<number>()
      yield* Broadcaster.add(broadcaster, yield* first.make, { onDropped: () => Effect.void })
      yield* broadcaster.write(1)
      yield* settle
      yield* broadcaster.write(2)
      yield* Broadcaster.add(broadcaster, yield* second.make)
      yield* EventSink.writeAll(broadcaster, [3, 4])
      yield* settle
      assert.deepStrictEqual(
        [first.seen, second.seen],
        [
          [2, 3, 4],
          [3, 4]
        ]
      )
    })
  )

  it.effect("is judged by its lag when its report hangs, as one that was never shared", () =>
    quiet(
      Effect.gen(function* () {
        for (const siblings of [1, 0]) {
          const { make } = throwing(new Set([1]))
          const broadcaster = yield* made(Broadcaster.make<number>())
          const sibling = throwing(new Set())
          const evicted: Array<number> = []
          yield* Broadcaster.add(broadcaster, yield* make, {
            maxLag: 3,
            onDropped: ({ event }) => (event === 1 ? Effect.never : Effect.void),
            onEvicted: ({ missed }) => Effect.sync(() => void evicted.push(missed))
          })
          const { node } = broadcaster.node.downstream()[0]!
          for (let i = 0; i < siblings; i++) yield* Broadcaster.add(broadcaster, yield* sibling.make)
          for (const n of range(3)) yield* broadcaster.write(n)
          yield* settle
          assert.deepStrictEqual(evicted, [])
          yield* broadcaster.write(4)
          yield* TestClock.adjust("30 seconds")
          assert.deepStrictEqual(evicted, [4], `with ${siblings} siblings`)
          assert.strictEqual(node.state, "closed")
          assert.deepInclude(node.health(0).counts, { accepted: 4, delivered: 0, dropped: 4 })
          assert.deepStrictEqual(sibling.seen, range(4 * siblings))
        }
      })
    )
  )
})
