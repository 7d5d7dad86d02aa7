import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { EventQueue, EventRouter, EventSink, SinkGraph } from "effect-events"
import { DurableQueue, MemoryStore } from "effect-events/durable"
import * as TestSink from "effect-events/testing/TestSink"
import { settle } from "./support/virtual.ts"

type Order =
  | { readonly _tag: "Placed"; readonly id: number }
  | { readonly _tag: "Paid"; readonly id: number }
  | { readonly _tag: "Shipped"; readonly id: number }

const placed = (id: number): Order => ({ _tag: "Placed", id })
const paid = (id: number): Order => ({ _tag: "Paid", id })
const shipped = (id: number): Order => ({ _tag: "Shipped", id })

const idsOf = (sink: { readonly received: ReadonlyArray<{ readonly id: number }> }) => sink.received.map(({ id }) => id)

const countsOf = (sink: EventSink.EventSink<never, unknown>) => {
  const { accepted, delivered, filtered } = sink.node.health(0).counts
  return { accepted, delivered, filtered }
}

const defectOf = (exit: Exit.Exit<unknown, unknown>): string =>
  Exit.isFailure(exit) && Cause.hasDies(exit.cause) ? String(Cause.squash(exit.cause)) : "no defect"

/** A sink in a scope of its own. */
const closable = <A, E>(make: Effect.Effect<A, E, Scope.Scope>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    return { sink: yield* Scope.provide(make, scope), close: Scope.close(scope, Exit.void) }
  })

describe("byTag", () => {
  it.effect("writes each event to the sink of its tag", () =>
    Effect.gen(function* () {
      const sinks = {
        Placed: yield* TestSink.recording<Order>(),
        Paid: yield* TestSink.recording<Order>(),
        Shipped: yield* TestSink.recording<Order>()
      }
      const router = yield* EventRouter.byTag<Order>()(sinks)
      yield* EventSink.writeAll(router, [placed(1), paid(2), shipped(3), placed(4)])
      assert.deepStrictEqual(
        [sinks.Placed, sinks.Paid, sinks.Shipped].map((sink) => idsOf(sink)),
        [[1, 4], [2], [3]]
      )
      assert.deepStrictEqual(countsOf(router), { accepted: 4, delivered: 4, filtered: 0 })
    })
  )

  it.effect("writes the rest to orElse", () =>
    Effect.gen(function* () {
      const first = yield* TestSink.recording<Order>()
      const rest = yield* TestSink.recording<Order>()
      const router = yield* EventRouter.byTag<Order>()({ Paid: first }, { orElse: rest })
      yield* EventSink.writeAll(router, [placed(1), paid(2), shipped(3)])
      assert.deepStrictEqual([idsOf(first), idsOf(rest)], [[2], [1, 3]])
    })
  )

  it.effect("an event with a tag outside of the union is a defect of its write, that of an object's own keys too", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const router = yield* EventRouter.byTag<Order>()({ Placed: sink, Paid: sink, Shipped: sink }, { name: "orders" })
      for (const tag of ["Lost", "constructor"]) {
        // As a newer version may have written it.
        const lost = { _tag: tag, id: 1 } as unknown as Order
        const exit = yield* Effect.exit(router.write(lost))
        assert.include(defectOf(exit), `EventRouter "orders" has no case for an event with the tag "${tag}"`)
      }
      yield* router.write(placed(2))
      assert.deepStrictEqual(idsOf(sink), [2])
    })
  )

  it.effect("a case may be an Effect of a sink, such as a tag or a pipeline, and is built once", () => {
    class Stock extends Context.Service<Stock, EventSink.EventSink<Order>>()("test/EventRouter/Stock") {}
    const seen: Array<string> = []
    const StockLive = EventSink.layer(
      Stock,
      EventSink.sync(({ id }: Order) => void seen.push(`stock ${id}`))
    )
    return Effect.gen(function* () {
      const router = yield* EventRouter.byTag<Order>()(
        { Placed: Stock, Paid: EventQueue.make(EventSink.sync(({ id }: Order) => void seen.push(`paid ${id}`))) },
        { orElse: EventSink.make((order) => Effect.sync(() => void seen.push(`rest ${order.id}`))) }
      )
      yield* EventSink.writeAll(router, [placed(1), paid(2), shipped(3)])
      yield* settle
      assert.deepStrictEqual(seen.toSorted(), ["paid 2", "rest 3", "stock 1"])
    }).pipe(Effect.provide(StockLive))
  })

  it.effect("fails with what the sink of the case fails with, and counts nothing then", () =>
    Effect.gen(function* () {
      const good = yield* TestSink.recording<Order>()
      const router = yield* EventRouter.byTag<Order>()({ Placed: TestSink.failing<Order>() }, { orElse: good })
      assert.strictEqual((yield* Effect.flip(router.write(placed(1))))._tag, "TestError")
      yield* router.write(paid(2))
      assert.deepStrictEqual(countsOf(router), { accepted: 1, delivered: 1, filtered: 0 })
    })
  )
})

describe("byKey", () => {
  const parity = (n: number) => (n % 2 === 0 ? "even" : n === 7 ? "seven" : "odd")

  it.effect("what matches no case goes to orElse", () =>
    Effect.gen(function* () {
      const even = yield* TestSink.recording<number>()
      const rest = yield* TestSink.recording<number>()
      const router = yield* EventRouter.byKey(parity, { even }, { orElse: rest })
      yield* EventSink.writeAll(router, [1, 2, 3, 4])
      assert.deepStrictEqual(
        [even.received, rest.received],
        [
          [2, 4],
          [1, 3]
        ]
      )
    })
  )

  it.effect("what matches no case is filtered by ignore", () =>
    Effect.gen(function* () {
      const even = yield* TestSink.recording<number>()
      const router = yield* EventRouter.byKey(parity, { even }, { orElse: "ignore" })
      yield* EventSink.writeAll(router, [1, 2, 3])
      assert.deepStrictEqual(even.received, [2])
      assert.deepStrictEqual(countsOf(router), { accepted: 3, delivered: 1, filtered: 2 })
    })
  )

  it.effect("a key that throws is a defect of the write", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      const key = (n: number): string => {
        if (n === 2) throw new Error("no key")
        return "a"
      }
      const router = yield* EventRouter.byKey(key, { a: sink }, { orElse: "ignore" })
      assert.include(defectOf(yield* Effect.exit(router.write(2))), "no key")
      yield* router.write(1)
      assert.deepStrictEqual(countsOf(router), { accepted: 1, delivered: 1, filtered: 0 })
    })
  )

  it.effect("a case that is closed refuses its own events only; a router is closed when all of them are", () =>
    Effect.gen(function* () {
      const even = yield* closable(TestSink.recording<number>({ name: "even" }))
      const odd = yield* closable(TestSink.recording<number>())
      const router = yield* EventRouter.byKey(parity, { even: even.sink, odd: odd.sink }, { orElse: "ignore" })
      yield* even.close
      assert.strictEqual((yield* Effect.flip(router.write(2))).sink, "even")
      yield* router.write(1)
      yield* router.write(7)
      assert.strictEqual(router.node.state, "open")
      yield* odd.close
      assert.strictEqual(router.node.state, "closed")
      for (const n of [1, 2, 7]) assert.instanceOf(yield* Effect.flip(router.write(n)), EventSink.SinkClosed)
      assert.deepStrictEqual(countsOf(router), { accepted: 2, delivered: 1, filtered: 1 })
    })
  )

  it.effect("over plain functions it is one, and answers with the SinkClosed of the sink that is closed", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const even = yield* closable(EventSink.sync((n: number) => void seen.push(`even ${n}`), { name: "even" }))
      const odd = EventSink.sync((n: number) => void seen.push(`odd ${n}`))
      const router = yield* EventRouter.byKey(parity, { even: even.sink, odd }, { orElse: "ignore" })
      assert.isFunction(router[EventSink.WriteSync])
      const queue = yield* EventQueue.make(router)
      yield* EventSink.writeAll(queue, [1, 2, 7])
      yield* queue.flush
      assert.deepStrictEqual(seen, ["odd 1", "even 2"])
      assert.deepStrictEqual(countsOf(router), { accepted: 3, delivered: 2, filtered: 1 })
      yield* even.close
      assert.strictEqual((yield* Effect.flip(router.write(2))).sink, "even")
      yield* router.write(1)
    })
  )

  it.effect("over one effectful sink it is no plain function", () =>
    Effect.gen(function* () {
      const router = yield* EventRouter.byKey(
        parity,
        { even: EventSink.sync(() => {}) },
        { orElse: EventSink.make(() => Effect.void) }
      )
      assert.isUndefined(router[EventSink.WriteSync])
    })
  )
})

describe("batches", () => {
  const parity = (n: number) => (n % 2 === 0 ? "even" : "odd")
  const rows = (batchSize = 10) => TestSink.recording<number>({ batchSize })

  it.effect("the leading events that are for one sink are written as a batch", () =>
    Effect.gen(function* () {
      const even = yield* rows()
      const odd = yield* rows()
      const router = yield* EventRouter.byKey(parity, { even }, { orElse: odd })
      assert.strictEqual(yield* router.writeSome!([2, 4, 6, 1, 8]), 3)
      assert.deepStrictEqual([even.batches, odd.batches], [[3], []])
      yield* EventSink.writeAll(router, [2, 1, 3, 4])
      assert.deepStrictEqual(
        [even.received, odd.received],
        [
          [2, 4, 6, 2, 4],
          [1, 3]
        ]
      )
      assert.deepStrictEqual(countsOf(router), { accepted: 7, delivered: 7, filtered: 0 })
    })
  )

  it.effect("leading events that are ignored are filtered as a batch", () =>
    Effect.gen(function* () {
      const even = yield* rows()
      const router = yield* EventRouter.byKey(parity, { even }, { orElse: "ignore" })
      assert.strictEqual(yield* router.writeSome!([1, 3, 2]), 2)
      assert.strictEqual(even.attempts, 0)
      assert.deepStrictEqual(countsOf(router), { accepted: 2, delivered: 0, filtered: 2 })
    })
  )

  it.effect("answers how many its sink committed", () =>
    Effect.gen(function* () {
      const router = yield* EventRouter.byKey(parity, { even: rows(2) }, { orElse: rows() })
      assert.strictEqual(yield* router.writeSome!([2, 4, 6, 1]), 2)
      assert.deepStrictEqual(countsOf(router), { accepted: 2, delivered: 2, filtered: 0 })
    })
  )

  it.effect("on failure no event of the batch was committed", () =>
    Effect.gen(function* () {
      const odd = yield* rows()
      const failing = TestSink.failing<number>({ batchSize: 10 })
      const router = yield* EventRouter.byKey(parity, { even: failing }, { orElse: odd })
      assert.strictEqual((yield* Effect.flip(router.writeSome!([2, 4, 1])))._tag, "TestError")
      assert.deepStrictEqual(odd.received, [])
      assert.deepStrictEqual(countsOf(router), { accepted: 0, delivered: 0, filtered: 0 })
    })
  )

  it.effect("an event whose key throws does not cost those before it", () =>
    Effect.gen(function* () {
      const sink = yield* rows()
      const key = (n: number): string => {
        if (n === 3) throw new Error("no key")
        return "all"
      }
      const router = yield* EventRouter.byKey(key, { all: sink }, { orElse: sink })
      assert.strictEqual(yield* router.writeSome!([1, 2, 3, 4]), 2)
      assert.include(defectOf(yield* Effect.exit(router.writeSome!([3, 4]))), "no key")
      assert.deepStrictEqual(sink.received, [1, 2])
    })
  )

  it.effect("writeAll through it writes every event once and in order at each sink, whatever the sizes", () =>
    Effect.gen(function* () {
      for (let limit = 1; limit < 5; limit++) {
        for (let cases = 1; cases < 5; cases++) {
          const sinks = yield* Effect.forEach(Array.from({ length: cases }), () => rows(limit))
          const router = yield* EventRouter.byKey(
            (n: number): string => String(Math.floor(n / 3) % (cases + 1)),
            Object.fromEntries(sinks.map((sink, i) => [String(i), sink])),
            { orElse: "ignore" }
          )
          const all = Array.from({ length: 60 }, (_, n) => n)
          yield* EventSink.writeAll(router, all)
          for (const [i, { received }] of sinks.entries())
            assert.deepStrictEqual(
              received,
              all.filter((n) => Math.floor(n / 3) % (cases + 1) === i)
            )
          assert.strictEqual(countsOf(router).accepted, 60)
        }
      }
    })
  )

  it.effect("takes batches only if every sink does", () =>
    Effect.gen(function* () {
      const router = yield* EventRouter.byKey(parity, { even: rows() }, { orElse: TestSink.recording<number>() })
      assert.isUndefined(router.writeSome)
    })
  )
})

describe("byTopic", () => {
  const lines = () => EventRouter.byTopic({ topic: (line: string) => line, orElse: "ignore" })
  const recording = () => TestSink.recording<string>()

  it.effect("a pattern is a topic, a beginning with /*, or all", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const topics = ["", "a", "a/", "a/b", "a/b/c", "ab", "b/a", "*", "a/*"]
      const matches: Readonly<Record<string, ReadonlyArray<string>>> = {
        "*": topics,
        a: ["a"],
        "a/*": ["a/", "a/b", "a/b/c", "a/*"],
        "a/b": ["a/b"],
        "a/b/*": ["a/b/c"],
        "b/*/c": [],
        "": []
      }
      const sinks = yield* Effect.forEach(Object.keys(matches), (pattern) =>
        Effect.tap(recording(), (sink) => EventRouter.subscribe(router, pattern, sink))
      )
      yield* EventSink.writeAll(router, topics)
      assert.deepStrictEqual(
        sinks.map(({ received }) => received),
        Object.values(matches).map((some) => [...some])
      )
      // Each event counts once.
      assert.deepStrictEqual(countsOf(router), { accepted: 9, delivered: 9, filtered: 0 })
    })
  )

  it.effect("what matches nothing is filtered by ignore, or goes to orElse", () =>
    Effect.gen(function* () {
      const ignoring = yield* lines()
      yield* ignoring.write("a")
      assert.deepStrictEqual(countsOf(ignoring), { accepted: 1, delivered: 0, filtered: 1 })
      const rest = yield* recording()
      const router = yield* EventRouter.byTopic({ topic: (line: string) => line, orElse: rest })
      yield* EventRouter.subscribe(router, "a", yield* recording())
      yield* EventSink.writeAll(router, ["a", "b"])
      assert.deepStrictEqual(rest.received, ["b"])
      assert.deepStrictEqual(countsOf(router), { accepted: 2, delivered: 2, filtered: 0 })
    })
  )

  it.effect("a sink is there once for a pattern, and once more for another", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const sink = yield* recording()
      yield* EventRouter.subscribe(router, "a", sink)
      yield* EventRouter.subscribe(router, "a", sink)
      yield* router.write("a")
      assert.deepStrictEqual(sink.received, ["a"])
      yield* EventRouter.subscribe(router, "*", sink)
      yield* router.write("a")
      assert.deepStrictEqual(sink.received, ["a", "a", "a"])
      assert.isTrue(yield* EventRouter.unsubscribe(router, "a", sink))
      assert.isFalse(yield* EventRouter.unsubscribe(router, "a", sink))
      yield* router.write("a")
      assert.strictEqual(sink.received.length, 4)
    })
  )

  it.effect("subscriptions get an event in the order in which they began, whatever their patterns", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const seen: Array<string> = []
      for (const pattern of ["a/b", "*", "a/*", "a/b"]) {
        const sink = yield* EventSink.sync(() => void seen.push(pattern))
        yield* EventRouter.subscribe(router, pattern, sink)
      }
      yield* router.write("a/b")
      assert.deepStrictEqual(seen, ["a/b", "*", "a/*", "a/b"])
    })
  )

  it.effect("the first failure fails the write, and a write that is repeated begins anew", () =>
    Effect.gen(function* () {
      const router = yield* EventRouter.byTopic<string, TestSink.TestError>({ topic: (line) => line, orElse: "ignore" })
      const [before, after] = [yield* recording(), yield* recording()]
      yield* EventRouter.subscribe(router, "a", before)
      yield* EventRouter.subscribe(router, "a", yield* TestSink.failing<string>({ times: 1 }))
      yield* EventRouter.subscribe(router, "a", after)
      assert.strictEqual((yield* Effect.flip(router.write("a")))._tag, "TestError")
      assert.deepStrictEqual([before.received, after.received], [["a"], []])
      assert.deepStrictEqual(countsOf(router), { accepted: 0, delivered: 0, filtered: 0 })
      assert.strictEqual(router.node.health(0).lastError?.count, 1)
      yield* router.write("a")
      assert.deepStrictEqual([before.received, after.received], [["a", "a"], ["a"]])
      assert.deepStrictEqual(countsOf(router), { accepted: 1, delivered: 1, filtered: 0 })
    })
  )

  it.effect("a subscription that ends during a write is left out, and the write that it has is finished", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const slow = yield* TestSink.slow<string>("1 second")
      const [gone, stays] = [yield* recording(), yield* recording()]
      for (const sink of [slow, gone, stays]) yield* EventRouter.subscribe(router, "a", sink)
      const write = yield* Effect.forkChild(router.write("a"))
      yield* settle
      yield* EventRouter.unsubscribe(router, "a", slow)
      yield* EventRouter.unsubscribe(router, "a", gone)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(write)
      assert.deepStrictEqual([slow.received, gone.received, stays.received], [["a"], [], ["a"]])
    })
  )

  it.effect("an event whose only subscription ended before its turn goes where what matches nothing goes", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const sink = yield* recording()
      yield* EventRouter.subscribe(router, "a", sink)
      const topic = yield* EventSink.sync((_: string) => Effect.runSync(EventRouter.unsubscribe(router, "a", sink)))
      const other = yield* lines()
      yield* EventRouter.subscribe(other, "*", topic)
      yield* EventRouter.subscribe(other, "*", router)
      yield* other.write("a")
      assert.deepStrictEqual(sink.received, [])
      assert.deepStrictEqual(countsOf(router), { accepted: 1, delivered: 0, filtered: 1 })
    })
  )

  it.effect("subscribeScoped builds a pipeline, and unsubscribes it before it closes", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const sink = yield* recording()
      yield* Effect.scoped(
        Effect.gen(function* () {
          yield* EventRouter.subscribeScoped(router, "a", EventQueue.make(sink))
          yield* router.write("a")
        })
      )
      yield* router.write("a")
      assert.deepStrictEqual(sink.received, ["a"])
      assert.deepStrictEqual(router.node.downstream(), [])
      // One that was there stays there.
      yield* EventRouter.subscribe(router, "b", sink)
      yield* Effect.scoped(EventRouter.subscribeScoped(router, "b", sink))
      yield* router.write("b")
      assert.deepStrictEqual(sink.received, ["a", "b"])
    })
  )

  it.effect("an event is not lost to a sink that closed while it is subscribed", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const { close, sink } = yield* closable(recording())
      yield* EventRouter.subscribe(router, "a", sink)
      yield* close
      assert.instanceOf(yield* Effect.flip(router.write("a")), EventSink.SinkClosed)
      yield* router.write("b")
      yield* EventRouter.unsubscribe(router, "a", sink)
      yield* router.write("a")
    })
  )

  it.effect("the close waits for the writes under way, and refuses writes and subscriptions", () =>
    Effect.gen(function* () {
      const slow = yield* TestSink.slow<string>("1 second")
      const { close, sink: router } = yield* closable(lines())
      yield* EventRouter.subscribe(router, "*", slow)
      const write = yield* Effect.forkChild(router.write("a"))
      yield* settle
      const closing = yield* Effect.forkChild(close)
      yield* settle
      assert.isUndefined(closing.pollUnsafe())
      assert.instanceOf(yield* Effect.flip(router.write("b")), EventSink.SinkClosed)
      assert.instanceOf(yield* Effect.flip(EventRouter.subscribe(router, "b", slow)), EventSink.SinkClosed)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(write)
      yield* Fiber.join(closing)
      assert.strictEqual(router.node.state, "closed")
      assert.deepStrictEqual(slow.received, ["a"])
    })
  )

  it.effect("the cost of a write does not grow with the subscriptions that do not match", () =>
    Effect.gen(function* () {
      const router = yield* lines()
      const sink = yield* EventSink.sync((_: string) => {})
      let looked = 0
      const counting = new Proxy(sink, { get: (target, key, self) => (looked++, Reflect.get(target, key, self)) })
      for (let n = 0; n < 1_000; n++) yield* EventRouter.subscribe(router, `other/${n}`, counting)
      looked = 0
      yield* router.write("a/b")
      assert.strictEqual(looked, 0)
    })
  )

  describe("in front of and behind a store", () => {
    const stored = { name: "lines", schema: Schema.String }

    it.effect("memory below it is refused when the durable part is made, and when it is subscribed later", () =>
      Effect.gen(function* () {
        const router = yield* lines()
        const queue = yield* EventQueue.make(TestSink.recording<string>())
        const subscribed = EventRouter.subscribe(router, "*", queue)
        yield* DurableQueue.make(stored)(router)
        const exit = yield* Effect.exit(subscribed)
        assert.include(defectOf(exit), `DurableQueue "lines" would delete events that are in memory only`)
        const other = yield* lines()
        yield* EventRouter.subscribe(other, "*", queue)
        assert.include(defectOf(yield* Effect.exit(DurableQueue.make(stored)(other))), `EventRouter -> EventQueue`)
        // What is handed to its receiver within the write is well.
        yield* EventRouter.subscribe(router, "*", yield* TestSink.recording<string>())
      }).pipe(Effect.provide(MemoryStore.layer))
    )

    it.effect("a store below it is refused where memory is in front of it, later too", () =>
      Effect.gen(function* () {
        const router = yield* EventRouter.byTopic<string, unknown>({ topic: (line) => line, orElse: "ignore" })
        const durable = yield* DurableQueue.make(stored)(TestSink.recording<string>())
        yield* EventQueue.make(router, { onDropped: () => Effect.void })
        const exit = yield* Effect.exit(EventRouter.subscribe(router, "*", durable))
        assert.include(
          defectOf(exit),
          `EventQueue would acknowledge events before DurableQueue "lines" has stored them`
        )
      }).pipe(Effect.provide(MemoryStore.layer))
    )

    it.effect("the types know nothing of a case that is an EventSink, and the graph does", () =>
      Effect.gen(function* () {
        const queue: EventSink.EventSink<string> = yield* EventQueue.make(TestSink.recording<string>())
        const router = EventRouter.byKey((line: string) => line, { a: queue }, { orElse: "ignore" })
        assert.include(defectOf(yield* Effect.exit(DurableQueue.make(stored)(router))), "EventRouter -> EventQueue")
      }).pipe(Effect.provide(MemoryStore.layer))
    )
  })
})

describe("in pictures, health and layers", () => {
  it.effect("each edge has its case; a sink of several has one edge", () =>
    Effect.gen(function* () {
      const stock = yield* TestSink.recording<Order>({ name: "stock" })
      const audit = yield* TestSink.recording<Order>({ name: "audit" })
      const router = yield* EventRouter.byTag<Order>()(
        { Placed: stock, Shipped: stock },
        { orElse: audit, name: "orders" }
      )
      assert.strictEqual(
        SinkGraph.toMermaid(router),
        [
          "flowchart TD",
          '  0["EventRouter orders"]',
          '  1["EventSink stock"]',
          '  2["EventSink audit"]',
          '  0 -->|"Placed, Shipped"| 1',
          '  0 -->|"orElse"| 2'
        ].join("\n")
      )
      assert.isTrue(router.node.downstream().every(({ acknowledges }) => acknowledges))
    })
  )

  it.effect("a router by topic shows its subscriptions as they come and go", () =>
    Effect.gen(function* () {
      const router = yield* EventRouter.byTopic({
        topic: (line: string) => line,
        orElse: TestSink.recording<string>({ name: "rest" }),
        name: "lines"
      })
      const sink = yield* TestSink.recording<string>({ name: "one" })
      let changes = 0
      router.node.figures.watch({ changed: () => void changes++ })
      const edges = () => router.node.downstream().map(({ label, node }) => `${label}: ${node.name}`)
      assert.deepStrictEqual(edges(), ["orElse: rest"])
      yield* EventRouter.subscribe(router, "b/*", sink)
      yield* EventRouter.subscribe(router, "a", sink)
      assert.deepStrictEqual(edges(), ["b/*, a: one", "orElse: rest"])
      yield* EventRouter.unsubscribe(router, "b/*", sink)
      assert.deepStrictEqual(edges(), ["a: one", "orElse: rest"])
      assert.strictEqual(changes, 3)
      assert.strictEqual(router.node.kind, "EventRouter")
      assert.strictEqual(router.node.name, "lines")
    })
  )

  it.effect("its layer builds the router, named after the tag", () => {
    class Lines extends Context.Service<Lines, EventRouter.TopicRouter<string>>()("test/EventRouter/Lines") {}
    class Even extends Context.Service<Even, EventSink.EventSink<number>>()("test/EventRouter/Even") {}
    const sink = TestSink.recording<number>()
    const live = Layer.mergeAll(
      EventRouter.layer(Lines, EventRouter.byTopic({ topic: (line: string) => line, orElse: "ignore" })),
      EventRouter.layer(
        Even,
        EventRouter.byKey((n: number) => String(n % 2), { 0: sink }, { orElse: "ignore" })
      )
    )
    return Effect.gen(function* () {
      assert.strictEqual((yield* Lines).node.name, Lines.key)
      assert.strictEqual((yield* Even).node.name, Even.key)
    }).pipe(Effect.provide(live))
  })
})
