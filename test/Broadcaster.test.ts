import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Fiber, Layer, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import { Broadcaster, EventQueue, EventSink, SinkGraph } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { runs } from "./support/runs.ts"
import { open, settle, withLogs } from "./support/virtual.ts"

const made = <A, E, R>(make: Effect.Effect<A, E, R>) => Effect.map(open(make), ({ part }) => part)

/** Adds a sink and answers with what it drops. */
const addDropping = <A, E>(
  self: Broadcaster.Broadcaster<A>,
  sink: EventSink.EventSink<A, E>,
  options: Omit<Broadcaster.LossyAddOptions<A, E>, "onDropped"> = {}
) =>
  Effect.gen(function* () {
    const dropped: Array<Dropped.Dropped<A, E>> = []
    yield* Broadcaster.add<A, E>(self, sink, {
      ...options,
      onDropped: (one) => Effect.sync(() => void dropped.push(one))
    })
    return dropped
  })

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)
const many = runs(100_000)

describe("write", () => {
  it.effect("every event reaches every sink, in order", () =>
    Effect.gen(function* () {
      const sinks = yield* Effect.forEach(range(5), () => TestSink.recording<number>())
      const broadcaster = yield* Broadcaster.make<number>()
      for (const sink of sinks) yield* Broadcaster.add(broadcaster, sink)
      yield* broadcaster.write(1)
      yield* EventSink.writeAll(broadcaster, [2, 3, 4])
      yield* broadcaster.write(5)
      yield* settle
      for (const sink of sinks) assert.deepStrictEqual(sink.received, [1, 2, 3, 4, 5])
    })
  )

  it.effect("succeeds when the event is published, however slow the sinks are", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>())
      yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>()))
      yield* EventSink.writeAll(broadcaster, range(10_000))
      assert.strictEqual(broadcaster.node.health(0).counts.accepted, 10_000)
    })
  )

  it.effect("without sinks accepts every event and delivers it to none", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      yield* broadcaster.write(1)
      const sink = yield* TestSink.recording<number>()
      yield* Broadcaster.add(broadcaster, sink)
      yield* settle
      assert.deepStrictEqual(sink.received, [])
      assert.strictEqual(broadcaster.node.health(0).pending, 0)
    })
  )

  it.effect(
    `${many.toLocaleString("en")} events reach plain functions, batch sinks and effects, one by one and as a batch`,
    () =>
      Effect.gen(function* () {
        const counts = [0, 0, 0]
        const broadcaster = yield* Broadcaster.make([
          EventSink.sync((_: number) => counts[0]!++),
          EventSink.make((_: number) => Effect.sync(() => counts[1]!++)),
          EventSink.makeBatch((events: ReadonlyArray<number>) =>
            Effect.sync(() => {
              counts[2]! += events.length
              return events.length
            })
          )
        ])
        yield* Effect.forEach(range(many), (n) => broadcaster.write(n), { discard: true })
        yield* EventSink.writeAll(broadcaster, range(many))
        assert.deepStrictEqual(yield* broadcaster.shutdown, [])
        assert.deepStrictEqual(counts, [2 * many, 2 * many, 2 * many])
      })
  )
})

describe("make", () => {
  it.effect("takes its first sinks as Effects, and is open when they are all there", () =>
    Effect.gen(function* () {
      const first = yield* TestSink.recording<number>()
      const second = yield* TestSink.recording<number>()
      const broadcaster = yield* Broadcaster.make([Effect.succeed(first), Effect.succeed(second)], { name: "both" })
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual([first.received, second.received], [[1], [1]])
      assert.strictEqual(broadcaster.node.name, "both")
      assert.strictEqual((yield* Broadcaster.make()).node.name, "Broadcaster")
    })
  )

  class Audit extends Context.Service<Audit, EventSink.EventSink<string>>()("test/Audit") {}
  class Search extends Context.Service<Search, EventSink.EventSink<string>>()("test/Search") {}
  class Notifications extends Context.Service<Notifications, EventSink.EventSink<string>>()("test/Notifications") {}

  it.effect("tags and inline pipelines are written alike", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const leaf = (name: string) => EventSink.make((event: string) => Effect.sync(() => seen.push(`${name} ${event}`)))
      const graph = EventSink.layer(
        Notifications,
        Broadcaster.make([Audit, Search, leaf("inline").pipe(EventQueue.make())])
      ).pipe(Layer.provide([EventSink.layer(Audit, leaf("audit")), EventSink.layer(Search, leaf("search"))]))
      yield* Effect.provide(
        Notifications.use((sink) => sink.write("event")),
        graph
      )
      assert.deepStrictEqual(seen.toSorted(), ["audit event", "inline event", "search event"])
    })
  )
})

describe("add", () => {
  it.effect("a write after add returned reaches the sink, and one before does not", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      yield* broadcaster.write(1)
      yield* Broadcaster.add(broadcaster, sink)
      yield* broadcaster.write(2)
      yield* settle
      assert.deepStrictEqual(sink.received, [2])
    })
  )

  it.effect("adding a sink that is there changes nothing, its options neither", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.failing<number>({ times: 1 })
      const first = yield* addDropping(broadcaster, sink)
      const second = yield* addDropping(broadcaster, sink)
      yield* EventSink.writeAll(broadcaster, [1, 2])
      yield* settle
      assert.deepStrictEqual(sink.received, [2])
      assert.strictEqual(first.length, 1)
      assert.strictEqual(second.length, 0)
    })
  )

  it.effect("concurrent adds of one sink add it once", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      yield* Effect.forEach(range(20), () => Broadcaster.add(broadcaster, sink), { concurrency: "unbounded" })
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("to a closed broadcaster fails with SinkClosed", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(Broadcaster.make<number>({ name: "gone" }))
      yield* close
      const error = yield* Effect.flip(Broadcaster.add(part, yield* TestSink.recording<number>()))
      assert.strictEqual(error.sink, "gone")
      assert.instanceOf(yield* Effect.flip(part.write(1)), EventSink.SinkClosed)
      assert.instanceOf(yield* Effect.flip(part.writeSome!([1])), EventSink.SinkClosed)
      assert.instanceOf(yield* Effect.flip(Effect.scoped(Broadcaster.subscribe(part))), EventSink.SinkClosed)
    })
  )
})

describe("remove", () => {
  it.effect("its boundary is the call: what was published before is delivered, what is published after is not", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* made(TestSink.slow<number>("1 seconds"))
      yield* Broadcaster.add(broadcaster, sink)
      yield* EventSink.writeAll(broadcaster, [1, 2, 3])
      const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
      yield* settle
      yield* broadcaster.write(4)
      assert.isUndefined(removal.pollUnsafe())
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(removal), [])
      assert.deepStrictEqual(sink.received, [1, 2, 3])
    })
  )

  it.effect("returns what could not be delivered until the drainTimeout, and does not report it too", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>())
      const sink = yield* made(TestSink.hanging<number>({ from: 2 }))
      const dropped = yield* addDropping(broadcaster, sink, { drainTimeout: "2 seconds" })
      yield* EventSink.writeAll(broadcaster, [1, 2, 3])
      const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
      const again = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(removal.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const left = [
        { event: 2, inFlight: true },
        { event: 3, inFlight: false }
      ]
      assert.deepStrictEqual(yield* Fiber.join(removal), left)
      assert.deepStrictEqual(yield* Fiber.join(again), left, "a second call waits for the same drain")
      yield* settle
      assert.deepStrictEqual(dropped, [])
    })
  )

  it.effect("uses the broadcaster's drainTimeout for a sink without its own: 20 seconds by default", () =>
    Effect.gen(function* () {
      for (const [drainTimeout, millis] of [
        [undefined, 20_000],
        ["3 seconds", 3000]
      ] as const) {
        const broadcaster = yield* made(Broadcaster.make<number>({ drainTimeout }))
        const sink = yield* made(TestSink.hanging<number>())
        yield* Broadcaster.add(broadcaster, sink)
        yield* broadcaster.write(1)
        const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
        yield* TestClock.adjust(millis - 1)
        assert.isUndefined(removal.pollUnsafe())
        yield* TestClock.adjust(1)
        assert.strictEqual((yield* Fiber.join(removal)).length, 1)
      }
    })
  )

  it.effect("of a sink that is not there returns nothing", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      assert.deepStrictEqual(yield* Broadcaster.remove(broadcaster, yield* TestSink.recording<number>()), [])
    })
  )

  it.effect("an interrupted call interrupts only its waiting: the undelivered events are reported", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>())
        const sink = yield* made(TestSink.hanging<number>())
        const dropped = yield* addDropping(broadcaster, sink, { drainTimeout: "2 seconds" })
        yield* EventSink.writeAll(broadcaster, [1, 2])
        const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
        yield* settle
        yield* Fiber.interrupt(removal)
        yield* broadcaster.write(3)
        yield* TestClock.adjust("2 seconds")
        yield* settle
        assert.deepStrictEqual(dropped, [
          { event: 1, reason: { _tag: "Undelivered", inFlight: true } },
          { event: 2, reason: { _tag: "Undelivered", inFlight: false } }
        ])
      })
    )
  )

  it.effect("a sink added again while it drains waits for that drain, and misses what was published meanwhile", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* made(TestSink.slow<number>("1 seconds"))
      yield* Broadcaster.add(broadcaster, sink)
      yield* EventSink.writeAll(broadcaster, [1, 2])
      yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
      yield* settle
      const add = yield* Effect.forkChild(Broadcaster.add(broadcaster, sink))
      yield* settle
      yield* broadcaster.write(3)
      assert.isUndefined(add.pollUnsafe())
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(add)
      yield* broadcaster.write(4)
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(sink.received, [1, 2, 4])
    })
  )

  it.effect("a sink's second subscription has an account of its own", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      yield* Broadcaster.add(broadcaster, sink)
      yield* EventSink.writeAll(broadcaster, [1, 2])
      yield* Broadcaster.remove(broadcaster, sink)
      yield* broadcaster.write(3)
      yield* Broadcaster.add(broadcaster, sink)
      yield* broadcaster.write(4)
      yield* settle
      assert.deepStrictEqual(sink.received, [1, 2, 4])
      const [subscription] = broadcaster.node.downstream()
      assert.strictEqual(subscription!.node.health(0).counts.accepted, 1)
      assert.strictEqual(subscription!.node.health(0).counts.delivered, 1)
    })
  )
})

describe("addScoped", () => {
  it.effect("adds a sink until the scope closes, which drains it", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* made(TestSink.slow<number>("1 seconds"))
      const { close } = yield* open(Broadcaster.addScoped(broadcaster, sink))
      yield* EventSink.writeAll(broadcaster, [1, 2])
      const closing = yield* Effect.forkChild(close)
      yield* settle
      yield* broadcaster.write(3)
      yield* TestClock.adjust("1 seconds")
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(sink.received, [1, 2])
    })
  )

  it.effect("removes only what it added: if the sink was there already, closing the scope leaves it there", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      yield* Broadcaster.add(broadcaster, sink)
      const { close } = yield* open(Broadcaster.addScoped(broadcaster, sink))
      yield* close
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("a sink that was removed and added again by others stays when the scope closes", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      const { close } = yield* open(Broadcaster.addScoped(broadcaster, sink))
      yield* Broadcaster.remove(broadcaster, sink)
      yield* Broadcaster.add(broadcaster, sink)
      yield* close
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("what the sink did not get is reported when the scope closes", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>())
        const dropped: Array<number> = []
        const { close } = yield* open(
          Broadcaster.addScoped(broadcaster, yield* made(TestSink.hanging<number>()), {
            drainTimeout: 0,
            onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
          })
        )
        yield* EventSink.writeAll(broadcaster, [1, 2])
        yield* settle
        yield* close
        assert.deepStrictEqual(dropped, [1, 2])
      })
    )
  )
})

describe("siblings", () => {
  it.effect(
    "one sink's slowness, failure, defect, interruption or removal never touches another, and never the writer",
    () =>
      withLogs(() =>
        Effect.gen(function* () {
          const broadcaster = yield* made(Broadcaster.make<number>())
          const first = yield* TestSink.recording<number>()
          const last = yield* TestSink.recording<number>()
          yield* Broadcaster.add(broadcaster, first)
          const removed = yield* made(TestSink.hanging<number>())
          yield* Broadcaster.add(broadcaster, removed)
          const third = (attempt: number) => attempt % 3 === 0
          yield* Broadcaster.add(broadcaster, yield* made(TestSink.slow<number>("1 minute")))
          yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>()))
          yield* Broadcaster.add(broadcaster, yield* TestSink.dying<number>({ when: third }))
          yield* Broadcaster.add(broadcaster, yield* TestSink.selfInterrupting<number>({ when: third }))
          yield* Broadcaster.add(broadcaster, yield* TestSink.closing<number>({ from: 5 }))
          yield* addDropping(broadcaster, yield* TestSink.failing<number>())
          yield* Broadcaster.add(
            broadcaster,
            yield* EventSink.sync((_: number) => {
              throw new Error("no")
            })
          )
          yield* Broadcaster.add(broadcaster, last)
          for (const n of range(50)) {
            if (n === 25) yield* Effect.forkChild(Broadcaster.remove(broadcaster, removed))
            yield* broadcaster.write(n)
            if (n % 7 === 0) yield* settle
          }
          yield* settle
          assert.deepStrictEqual(first.received, range(50))
          assert.deepStrictEqual(last.received, range(50))
        })
      )
  )

  it.effect("a sink that dies, fails or interrupts itself gets the next event all the same", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>()
        const second = (attempt: number) => attempt === 2
        const dying = yield* TestSink.dying<number>({ when: second })
        const interrupting = yield* TestSink.selfInterrupting<number>({ when: second })
        const failing = yield* TestSink.failing<number>({ times: 1 })
        const lost = [
          yield* addDropping(broadcaster, dying),
          yield* addDropping(broadcaster, interrupting),
          yield* addDropping(broadcaster, failing)
        ]
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(
          [dying.received, interrupting.received, failing.received],
          [
            [1, 3],
            [1, 3],
            [2, 3]
          ]
        )
        assert.deepStrictEqual(
          lost.map((dropped) => dropped.map(({ event, reason }) => [event, reason._tag])),
          [[[2, "Died"]], [[2, "Died"]], [[1, "Failed"]]]
        )
      })
    )
  )
})

describe("a sink that answers SinkClosed", () => {
  it.effect("is removed, and what waited for it is reported", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>()
        const closing = yield* TestSink.closing<number>({ from: 2 })
        const sibling = yield* TestSink.recording<number>()
        const dropped = yield* addDropping(broadcaster, closing)
        yield* Broadcaster.add(broadcaster, sibling)
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        yield* settle
        assert.deepStrictEqual(closing.received, [1])
        assert.deepStrictEqual(
          dropped,
          [2, 3].map((event) => ({ event, reason: { _tag: "Undelivered", inFlight: false } }))
        )
        assert.strictEqual(broadcaster.node.downstream().length, 1)
        yield* broadcaster.write(4)
        yield* settle
        assert.strictEqual(closing.attempts, 2)
        assert.strictEqual(dropped.length, 2)
        assert.deepStrictEqual(sibling.received, [1, 2, 3, 4])
      })
    )
  )

  it.effect("without onDropped is reported to the log at error, by count and id, never by content", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<{ id: string; card: string }>()
        yield* Broadcaster.add(broadcaster, yield* TestSink.closing<{ id: string; card: string }>())
        yield* broadcaster.write({ id: "event-1", card: "4111-1111" })
        yield* settle
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR"]
        )
        assert.include(logs[0]!.line, "event-1")
        assert.notInclude(logs[0]!.line, "4111-1111")
      })
    )
  )
})

describe("the age of what waits for a sink with a filter", () => {
  it.effect("is that of the oldest event that the filter let through, whatever was published since", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>())
      const sink = yield* made(TestSink.hanging<number>())
      yield* Broadcaster.add(broadcaster, sink, { filter: (n) => n % 10 === 0 })
      for (let n = 10; n < 50; n++) {
        yield* broadcaster.write(n)
        yield* TestClock.adjust("1 second")
      }
      const [, health] = yield* SinkGraph.health(broadcaster)
      assert.deepInclude(health, { pending: 4, oldestAge: 40_000 })
    })
  )
})

describe("a plain function that throws", () => {
  it.effect("is called once for each event, and the error of that call is reported", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>())
      const calls: Array<number> = []
      const sink = yield* EventSink.sync((n: number) => {
        calls.push(n)
        if (n % 3 === 0) throw new Error(`call ${calls.length}`)
      })
      const dropped = yield* addDropping(broadcaster, sink)
      yield* EventSink.writeAll(broadcaster, range(9))
      yield* settle
      assert.deepStrictEqual(calls, range(9))
      const causes = dropped.map(({ reason }) => (reason._tag === "Died" ? Cause.squash(reason.cause) : reason))
      assert.deepStrictEqual(causes, [new Error("call 3"), new Error("call 6"), new Error("call 9")])
    })
  )
})

describe("a sink that is closed before its broadcaster", () => {
  it.effect.each(["effectful", "synchronous"])("is named by the health of its subscription: %s", (kind) =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>())
        const { close, part: sink } = yield* open(
          kind === "effectful"
            ? EventSink.make((_: number) => Effect.void, { name: "closed" })
            : EventSink.sync((_: number) => {}, { name: "closed" })
        )
        yield* Broadcaster.add(broadcaster, sink)
        const [subscription] = broadcaster.node.downstream()
        yield* close
        yield* broadcaster.write(1)
        yield* settle
        const { counts, lastError } = subscription!.node.health(0)
        assert.deepStrictEqual(lastError?.error, new EventSink.SinkClosed({ sink: "closed" }))
        assert.deepInclude(counts, { accepted: 1, delivered: 0, undelivered: 1 })
      })
    )
  )
})

describe("maxLag", () => {
  it.effect(
    "a sink further behind is evicted after a turn, while it hangs, and what waited is reported as lagged",
    () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const broadcaster = yield* made(Broadcaster.make<number>())
          const sink = yield* made(TestSink.hanging<number>({ name: "laggard" }))
          const sibling = yield* TestSink.recording<number>()
          const dropped = yield* addDropping(broadcaster, sink, { maxLag: 3 })
          yield* Broadcaster.add(broadcaster, sibling)
          yield* EventSink.writeAll(broadcaster, [1, 2, 3])
          yield* settle
          assert.deepStrictEqual(dropped, [])
          assert.strictEqual(broadcaster.node.downstream().length, 2)
          yield* broadcaster.write(4)
          yield* settle
          assert.deepStrictEqual(
            dropped,
            [1, 2, 3, 4].map((event) => ({ event, reason: { _tag: "Lagged", inFlight: event === 1 } }))
          )
          assert.strictEqual(broadcaster.node.downstream().length, 1)
          yield* broadcaster.write(5)
          yield* settle
          assert.strictEqual(dropped.length, 4)
          assert.deepStrictEqual(sibling.received, [1, 2, 3, 4, 5])
          assert.isTrue(
            logs.some(
              ({ level, line }) => level === "ERROR" && line.includes("laggard") && line.includes("4 events behind")
            )
          )
        })
      )
  )

  it.effect.each(["remove", "shutdown"] as const)(
    "reports what an evicted sink leaves, and returns none of it: %s",
    (how) =>
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>()
        const sink = yield* made(TestSink.hanging<number>())
        const dropped: Array<number> = []
        yield* Broadcaster.add(broadcaster, sink, {
          maxLag: 2,
          onDropped: ({ event }) =>
            Effect.delay(
              Effect.sync(() => void dropped.push(event)),
              "1 second"
            )
        })
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        yield* settle
        const ending: Effect.Effect<ReadonlyArray<unknown>> =
          how === "remove" ? Broadcaster.remove(broadcaster, sink) : broadcaster.shutdown
        const left = yield* Effect.forkChild(ending, { startImmediately: true })
        yield* settle
        assert.isUndefined(left.pollUnsafe(), "it waits for the reports")
        yield* TestClock.adjust("3 seconds")
        assert.deepStrictEqual(yield* Fiber.join(left), [])
        assert.deepStrictEqual(dropped, [1, 2, 3])
      })
  )

  it.effect("judges nothing once the broadcaster closes: what was published is delivered and read", () =>
    Effect.gen(function* () {
      const evicted: Array<number> = []
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* made(TestSink.slow<number>("1 second"))
      yield* Broadcaster.add(broadcaster, sink, {
        maxLag: 1,
        onDropped: () => Effect.void,
        onEvicted: ({ missed }) => Effect.sync(() => void evicted.push(missed))
      })
      const stream = yield* Broadcaster.subscribe(broadcaster, { maxLag: 1 })
      yield* EventSink.writeAll(broadcaster, [1, 2, 3])
      const left = yield* Effect.forkChild(broadcaster.shutdown, { startImmediately: true })
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(yield* Fiber.join(left), [])
      assert.deepStrictEqual(sink.received, [1, 2, 3])
      assert.deepStrictEqual(evicted, [])
      assert.deepStrictEqual(yield* Stream.runCollect(stream), [1, 2, 3])
    })
  )

  it.effect("a sink that keeps up is never evicted", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      const dropped = yield* addDropping(broadcaster, sink, { maxLag: 1 })
      for (const n of range(100)) {
        yield* broadcaster.write(n)
        yield* settle
      }
      assert.deepStrictEqual(sink.received, range(100))
      assert.deepStrictEqual(dropped, [])
    })
  )

  it.effect("a sink whose lag shrinks stays, and is evicted when it hangs later", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>())
        let hangs = false
        const sink = yield* EventSink.makeBatch((_: ReadonlyArray<number>) => (hangs ? Effect.never : Effect.void))
        const dropped = yield* addDropping(broadcaster, sink, { maxLag: 100 })
        // More than the drainer hands on in a turn.
        yield* EventSink.writeAll(broadcaster, range(10_000))
        yield* settle
        assert.deepStrictEqual(dropped, [])
        assert.strictEqual(sink.node.health(0).counts.delivered, 10_000)
        hangs = true
        yield* EventSink.writeAll(broadcaster, range(200))
        yield* settle
        assert.strictEqual(dropped.length, 200)
        assert.strictEqual(broadcaster.node.downstream().length, 0)
      })
    )
  )

  it.effect("an evicted sink can be added again", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const broadcaster = yield* made(Broadcaster.make<number>())
        const sink = yield* made(TestSink.hanging<number>())
        yield* addDropping(broadcaster, sink, { maxLag: 1 })
        yield* EventSink.writeAll(broadcaster, [1, 2])
        yield* settle
        yield* sink.release
        const dropped = yield* addDropping(broadcaster, sink, { maxLag: 1 })
        yield* broadcaster.write(3)
        yield* settle
        assert.deepStrictEqual(sink.received, [3])
        assert.deepStrictEqual(dropped, [])
      })
    )
  )
})

describe("subscribe", () => {
  it.effect("what is published after it has returned is in the stream, whenever the stream is run", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      yield* broadcaster.write(1)
      const stream = yield* Broadcaster.subscribe(broadcaster)
      yield* EventSink.writeAll(broadcaster, [2, 3])
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(stream, 2)), [2, 3])
      const later = yield* Effect.forkChild(Stream.runCollect(Stream.take(stream, 1)))
      yield* settle
      yield* broadcaster.write(4)
      assert.deepStrictEqual(yield* Fiber.join(later), [4])
    })
  )

  it.effect("ends when the broadcaster is closed and what was published has been read", () =>
    Effect.gen(function* () {
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number>())
      const late = yield* Broadcaster.subscribe(broadcaster)
      const waiting = yield* Effect.flatMap(Broadcaster.subscribe(broadcaster), (stream) =>
        Effect.forkChild(Stream.runCollect(stream))
      )
      yield* EventSink.writeAll(broadcaster, [1, 2, 3])
      yield* close
      assert.deepStrictEqual(yield* Fiber.join(waiting), [1, 2, 3])
      assert.deepStrictEqual(yield* Stream.runCollect(late), [1, 2, 3])
      assert.deepStrictEqual(yield* Stream.runCollect(late), [])
    })
  )

  it.effect("several runs share the events, each going to one of them", () =>
    Effect.gen(function* () {
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number>())
      const stream = yield* Broadcaster.subscribe(broadcaster)
      const runs = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(Stream.runCollect(stream)))
      for (const n of range(30)) {
        yield* broadcaster.write(n)
        yield* settle
      }
      yield* close
      const all = (yield* Effect.forEach(runs, Fiber.join)).flat()
      assert.deepStrictEqual(
        all.toSorted((a, b) => a - b),
        range(30)
      )
    })
  )

  it.effect("a run that stops early leaves what it did not read to the next", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const stream = yield* Broadcaster.subscribe(broadcaster)
      yield* EventSink.writeAll(broadcaster, range(5))
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(stream, 2)), [1, 2])
      const rest = yield* Effect.forkChild(Stream.runCollect(Stream.take(stream, 3)))
      yield* settle
      assert.isDefined(rest.pollUnsafe())
      assert.deepStrictEqual(yield* Fiber.join(rest), [3, 4, 5])
    })
  )

  it.effect("a reader that is interrupted while it waits loses nothing for the next", () =>
    Effect.gen(function* () {
      for (let turns = 0; turns < 6; turns++) {
        const { close, part: broadcaster } = yield* open(Broadcaster.make<number>())
        const stream = yield* Broadcaster.subscribe(broadcaster)
        const seen: Array<number> = []
        const reader = yield* Effect.forkChild(Stream.runForEach(stream, (n) => Effect.sync(() => void seen.push(n))))
        yield* settle
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        yield* Fiber.interrupt(reader)
        yield* close
        seen.push(...(yield* Stream.runCollect(stream)))
        assert.deepStrictEqual(seen, [1, 2, 3], `after ${turns} turns`)
      }
    })
  )

  it.effect("a lagging stream fails with SubscriberLagged, which says how many events it had not read", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ name: "news" })
      const lagging = yield* Broadcaster.subscribe(broadcaster, { maxLag: 2 })
      const other = yield* Broadcaster.subscribe(broadcaster)
      yield* EventSink.writeAll(broadcaster, [1, 2])
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(lagging, 2)), [1, 2])
      for (const n of [3, 4, 5]) yield* broadcaster.write(n)
      yield* broadcaster.write(6)
      yield* settle
      const error = yield* Effect.flip(Stream.runCollect(lagging))
      assert.instanceOf(error, Broadcaster.SubscriberLagged)
      assert.strictEqual(error.missed, 4)
      assert.strictEqual(error.broadcaster, "news")
      assert.include(error.message, "4 events")
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(other, 6)), [1, 2, 3, 4, 5, 6])
    })
  )

  it.effect("ends with its scope", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const { close, part: stream } = yield* open(Broadcaster.subscribe(broadcaster))
      const reader = yield* Effect.forkChild(Stream.runCollect(stream))
      yield* settle
      yield* broadcaster.write(1)
      yield* settle
      yield* close
      yield* broadcaster.write(2)
      assert.deepStrictEqual(yield* Fiber.join(reader), [1])
    })
  )
})

describe("shutdown", () => {
  it.effect(
    "returns what it returns, and reports nothing of it, also for more sinks than a fiber can ask in a turn",
    () =>
      Effect.gen(function* () {
        const n = 3000
        let reported = 0
        const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ drainTimeout: 0 }))
        const sink = yield* made(TestSink.hanging<number>())
        for (let i = 0; i < n; i++) {
          const one = yield* EventSink.mapInput(sink, (event: number) => event)
          yield* Broadcaster.add(broadcaster, one, { onDropped: () => Effect.sync(() => void reported++) })
        }
        yield* broadcaster.write(1)
        yield* settle
        const shutdown = yield* Effect.forkChild(broadcaster.shutdown, { startImmediately: true })
        yield* TestClock.adjust("1 millis")
        yield* close
        assert.strictEqual((yield* Fiber.join(shutdown)).length, n)
        assert.strictEqual(reported, 0)
      })
  )

  it.effect("stops accepting, lets every sink drain side by side, and returns what each did not get, by its name", () =>
    Effect.gen(function* () {
      const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ drainTimeout: "3 seconds" }))
      const slow = yield* made(TestSink.slow<number>("1 seconds"))
      yield* Broadcaster.add(broadcaster, slow)
      const dropped = yield* addDropping(broadcaster, yield* made(TestSink.hanging<number>({ name: "one" })))
      yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>({ name: "two", from: 2 })), {
        drainTimeout: "2 seconds"
      })
      yield* EventSink.writeAll(broadcaster, [1, 2])
      const shutdown = yield* Effect.forkChild(broadcaster.shutdown)
      yield* settle
      assert.instanceOf(yield* Effect.flip(broadcaster.write(3)), EventSink.SinkClosed)
      assert.strictEqual(broadcaster.node.health(0).state, "closing")
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const left = yield* Fiber.join(shutdown)
      assert.deepStrictEqual(left, [
        { event: 1, inFlight: true, sink: "one" },
        { event: 2, inFlight: false, sink: "one" },
        { event: 2, inFlight: true, sink: "two" }
      ])
      assert.deepStrictEqual(slow.received, [1, 2])
      // Memoised.
      assert.deepStrictEqual(yield* broadcaster.shutdown, left)
      yield* close
      yield* settle
      assert.deepStrictEqual(dropped, [])
      assert.strictEqual(broadcaster.node.health(0).state, "closed")
    })
  )

  it.effect("every call waits for the same close, and interrupting one interrupts only its waiting", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>({ drainTimeout: "2 seconds" }))
      yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>({ name: "one" })))
      yield* broadcaster.write(1)
      const first = yield* Effect.forkChild(broadcaster.shutdown)
      yield* settle
      yield* Fiber.interrupt(first)
      const second = yield* Effect.forkChild(broadcaster.shutdown)
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(second), [{ event: 1, inFlight: true, sink: "one" }])
    })
  )

  it.effect("a sink that was being removed is waited for too", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>({ drainTimeout: "2 seconds" }))
      const sink = yield* made(TestSink.hanging<number>({ name: "one" }))
      yield* Broadcaster.add(broadcaster, sink)
      yield* broadcaster.write(1)
      const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink))
      yield* settle
      const shutdown = yield* Effect.forkChild(broadcaster.shutdown)
      yield* TestClock.adjust("1999 millis")
      assert.isUndefined(shutdown.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* Fiber.join(removal), [{ event: 1, inFlight: true }])
      yield* Fiber.join(shutdown)
    })
  )
})

describe("scope close", () => {
  it.effect("drains the sinks before they close, and reports what no call returned", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const dropped: Array<number> = []
        const { close, part } = yield* open(
          Effect.gen(function* () {
            const slow = yield* TestSink.slow<number>("1 seconds")
            const broadcaster = yield* Broadcaster.make([Effect.succeed(slow)])
            yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>()), {
              drainTimeout: "1 seconds",
              onDropped: ({ event }) => Effect.sync(() => void dropped.push(event))
            })
            return { slow, broadcaster }
          })
        )
        yield* EventSink.writeAll(part.broadcaster, [1, 2, 3])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(part.slow.received, [1, 2, 3])
        assert.deepStrictEqual(dropped, [1, 2, 3])
        assert.deepStrictEqual(logs, [], "onDropped stands in place of the log")
      })
    )
  )

  it.effect("closes the inline sinks after the broadcaster", () =>
    Effect.gen(function* () {
      const order: Array<string> = []
      const { close, part: broadcaster } = yield* open(
        Broadcaster.make([
          Effect.acquireRelease(
            EventSink.make((n: number) =>
              Effect.delay(
                Effect.sync(() => void order.push(`event ${n}`)),
                "1 seconds"
              )
            ),
            () => Effect.sync(() => order.push("released"))
          )
        ])
      )
      yield* EventSink.writeAll(broadcaster, [1, 2])
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(order, ["event 1", "event 2", "released"])
    })
  )

  it.effect("a sink that refuses interruption is abandoned, named in a warning and reported in flight", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ drainTimeout: "2 seconds" }))
        const sink = yield* made(TestSink.uninterruptible<number>({ name: "stuck" }))
        const dropped = yield* addDropping(broadcaster, sink)
        yield* broadcaster.write(1)
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("2 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(dropped, [{ event: 1, reason: { _tag: "Undelivered", inFlight: true } }])
        assert.isTrue(logs.some(({ level, line }) => level === "WARN" && line.includes("stuck")))
        yield* sink.release
      })
    )
  )
})

describe("context", () => {
  it.effect("a delivery carries neither the constructor's span nor the adder's nor the writer's", () =>
    Effect.gen(function* () {
      const spans: Array<boolean> = []
      const sink = yield* EventSink.make((_: number) =>
        Effect.map(Effect.option(Effect.currentSpan), (span) => void spans.push(span._tag === "Some"))
      )
      const broadcaster = yield* Broadcaster.make<number>().pipe(Effect.withSpan("construction"))
      yield* Broadcaster.add(broadcaster, sink).pipe(Effect.withSpan("adder"))
      yield* broadcaster.write(1).pipe(Effect.withSpan("writer"))
      yield* settle
      assert.deepStrictEqual(spans, [false])
    })
  )
})
