/** The layers of the parts: places in a graph, named after their tags, that close from the root down. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { Dropped } from "effect-events"
import {
  Breaker,
  Broadcaster,
  ConcurrencyLimitedSink,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RateLimitedSink,
  RetryingSink,
  RetryStrategy,
  SinkGraph
} from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "./support/virtual.ts"

class Receiver extends Context.Service<Receiver, EventSink.EventSink<number>>()("test/layers/Receiver") {}
class Flaky extends Context.Service<Flaky, EventSink.EventSink<number, string>>()("test/layers/Flaky") {}
class Queued extends Context.Service<Queued, EventQueue.EventQueue<number>>()("test/layers/Queued") {}
class Rejecting extends Context.Service<Rejecting, EventQueue.EventQueue<number, EventQueue.QueueFull>>()(
  "test/layers/Rejecting"
) {}
class All extends Context.Service<All, Broadcaster.Broadcaster<number>>()("test/layers/All") {}
class Channel extends Context.Service<Channel, EventChannel.EventChannel<number>>()("test/layers/Channel") {}
class Even extends Context.Service<Even, EventSink.EventSink<number>>()("test/layers/Even") {}
class Limited extends Context.Service<Limited, EventSink.EventSink<number>>()("test/layers/Limited") {}
class Refusing extends Context.Service<Refusing, EventSink.EventSink<number, RateLimitedSink.RateLimited>>()(
  "test/layers/Refusing"
) {}
class First extends Context.Service<First, EventSink.EventSink<number>>()("test/layers/First") {}
class Second extends Context.Service<Second, EventSink.EventSink<number>>()("test/layers/Second") {}
class Shared extends Context.Service<Shared, Breaker.Breaker>()("test/layers/Shared") {}

/** Builds a layer in a scope of its own, which the test closes. */
const built = <I, E>(layer: Layer.Layer<I, E>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const context = yield* Layer.buildWithScope(layer, scope)
    return { close: Scope.close(scope, Exit.void), context }
  })

/** The receiver, and what becomes of it. */
const receiving = () => {
  const seen: Array<number> = []
  const log: Array<string> = []
  const layer = EventSink.layer(
    Receiver,
    Effect.acquireRelease(
      EventSink.make((n: number) =>
        Effect.delay(
          Effect.sync(() => {
            seen.push(n)
            log.push(`received ${n}`)
          }),
          "1 second"
        )
      ),
      () => Effect.sync(() => log.push("receiver released"))
    )
  )
  return { layer, log, seen }
}

describe("the layer of each part", () => {
  const { layer: receiver } = receiving()
  const flaky = EventSink.layer(
    Flaky,
    EventSink.make((_: number): Effect.Effect<void, string> => Effect.void)
  )
  const layers: ReadonlyArray<
    readonly [
      part: string,
      kind: string,
      name: string,
      sink: Effect.Effect<EventSink.EventSink<number, unknown>>,
      // A name in the options stays.
      named: Effect.Effect<EventSink.EventSink<number, unknown>>
    ]
  > = [
    [
      "EventQueue",
      "EventQueue",
      Queued.key,
      Effect.provide(Queued, Layer.provide(EventQueue.layer(Queued, Receiver), receiver)),
      Effect.provide(Queued, Layer.provide(EventQueue.layer(Queued, Receiver, { name: "own" }), receiver))
    ],
    [
      "Broadcaster",
      "Broadcaster",
      All.key,
      Effect.provide(All, Layer.provide(Broadcaster.layer(All, [Receiver]), receiver)),
      Effect.provide(All, Layer.provide(Broadcaster.layer(All, [Receiver], { name: "own" }), receiver))
    ],
    [
      "EventChannel",
      "EventChannel",
      Channel.key,
      Effect.provide(Channel, EventChannel.layer(Channel)),
      Effect.provide(Channel, EventChannel.layer(Channel, { name: "own" }))
    ],
    [
      "EventFilter",
      "EventFilter",
      Even.key,
      Effect.provide(
        Even,
        Layer.provide(
          EventFilter.layer(Even, Receiver, (n) => n % 2 === 0),
          receiver
        )
      ),
      Effect.provide(
        Even,
        Layer.provide(
          EventFilter.layer(Even, Receiver, (n) => n % 2 === 0, { name: "own" }),
          receiver
        )
      )
    ],
    [
      "RateLimitedSink",
      "RateLimitedSink",
      Refusing.key,
      Effect.provide(
        Refusing,
        Layer.provide(
          RateLimitedSink.layer(Refusing, Receiver, { limit: 1, window: "1 second", onExceeded: "fail" }),
          receiver
        )
      ),
      Effect.provide(
        Limited,
        Layer.provide(
          RateLimitedSink.layer(Limited, Receiver, { limit: 1, window: "1 second", by: (n) => n, name: "own" }),
          receiver
        )
      )
    ],
    [
      "ConcurrencyLimitedSink",
      "ConcurrencyLimitedSink",
      Limited.key,
      Effect.provide(Limited, Layer.provide(ConcurrencyLimitedSink.layer(Limited, Receiver, { permits: 1 }), receiver)),
      Effect.provide(
        Limited,
        Layer.provide(
          ConcurrencyLimitedSink.layer(Limited, Receiver, { permits: 1, by: (n) => n, name: "own" }),
          receiver
        )
      )
    ],
    [
      "RetryingSink",
      "RetryingSink",
      First.key,
      Effect.provide(First, Layer.provide(RetryingSink.layer(First, Flaky, RetryStrategy.identity), flaky)),
      Effect.provide(
        First,
        Layer.provide(RetryingSink.layer(First, Flaky, RetryStrategy.identity, { name: "own" }), flaky)
      )
    ]
  ]

  it.effect.each(layers)("names it after its tag, or as its options say: %s", ([, kind, key, sink, named]) =>
    Effect.gen(function* () {
      const { node } = yield* sink
      assert.deepStrictEqual([node.kind, node.name], [kind, key])
      assert.strictEqual((yield* named).node.name, "own")
    })
  )
})

describe("EventQueue.layer", () => {
  it.effect("drains when its scope closes, before what it writes to", () =>
    Effect.gen(function* () {
      const { layer, log } = receiving()
      const { close, context } = yield* built(
        Layer.provide(EventQueue.layer(Queued, Receiver, { capacity: 10 }), layer)
      )
      const queue = Context.get(context, Queued)
      yield* EventSink.writeAll(queue, [1, 2])
      assert.strictEqual(yield* queue.pending, 2)
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(log, ["received 1", "received 2", "receiver released"])
      assert.instanceOf(yield* Effect.flip(queue.write(3)), EventSink.SinkClosed)
    })
  )

  it.effect("takes a pipeline too, with onDropped, and the policy is in the type of its tag", () =>
    Effect.gen(function* () {
      const dropped: Array<Dropped.Dropped<number, string>> = []
      const { close, context } = yield* built(
        EventQueue.layer(
          Rejecting,
          EventSink.make((n: number) => (n === 1 ? Effect.fail("one") : Effect.never)),
          {
            capacity: 1,
            drainTimeout: 0,
            overflow: "reject",
            onDropped: (one) => Effect.sync(() => void dropped.push(one))
          }
        )
      )
      const queue = Context.get(context, Rejecting)
      yield* queue.write(1)
      yield* settle
      yield* queue.write(2)
      const error: EventQueue.QueueFull | EventSink.SinkClosed = yield* Effect.flip(queue.write(3))
      assert.strictEqual(error._tag, "QueueFull")
      assert.include(error.message, "test/layers/Rejecting")
      yield* close
      assert.deepStrictEqual(
        dropped.map(({ event, reason }) => [event, reason._tag]),
        [
          [1, "Failed"],
          [2, "Undelivered"]
        ]
      )
    })
  )
})

describe("Broadcaster.layer", () => {
  it.effect("takes tags and pipelines, drains them, and closes before them", () =>
    Effect.gen(function* () {
      const { layer, log, seen } = receiving()
      const inline: Array<string> = []
      const pipeline = Effect.acquireRelease(
        EventSink.make((n: number) => Effect.sync(() => void inline.push(`got ${n}`))).pipe(EventQueue.make()),
        () => Effect.sync(() => inline.push("released"))
      )
      const { close, context } = yield* built(
        Layer.provide(Broadcaster.layer(All, [Receiver, pipeline], { drainTimeout: "1 minute" }), layer)
      )
      const all = Context.get(context, All)
      const late = yield* TestSink.recording<number>()
      yield* Broadcaster.add(all, late)
      yield* EventSink.writeAll(all, [1, 2])
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.deepStrictEqual(seen, [1, 2])
      assert.deepStrictEqual(log.at(-1), "receiver released")
      assert.deepStrictEqual(inline, ["got 1", "got 2", "released"])
      assert.deepStrictEqual(late.received, [1, 2])
    })
  )
})

describe("EventChannel.layer", () => {
  it.effect("is read as a stream, which ends when its scope closes", () =>
    Effect.gen(function* () {
      const { close, context } = yield* built(EventChannel.layer(Channel, { capacity: 5 }))
      const channel = Context.get(context, Channel)
      const reader = yield* Effect.forkChild(Stream.runCollect(channel.stream))
      yield* EventSink.writeAll(channel, [1, 2, 3])
      yield* close
      assert.deepStrictEqual(yield* Fiber.join(reader), [1, 2, 3])
    })
  )
})

describe("EventFilter.layer", () => {
  it.effect("lets its part through to the sink of another place", () =>
    Effect.gen(function* () {
      const { layer, seen } = receiving()
      const { close, context } = yield* built(
        Layer.provide(
          EventFilter.layer(Even, Receiver, (n) => n % 2 === 0),
          layer
        )
      )
      const even = Context.get(context, Even)
      const write = yield* Effect.forkChild(EventSink.writeAll(even, [1, 2, 3, 4]))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(write)
      assert.deepStrictEqual(seen, [2, 4])
      yield* close
      assert.instanceOf(yield* Effect.flip(even.write(1)), EventSink.SinkClosed)
    })
  )
})

describe("RetryingSink.layer and Breaker.layer", () => {
  it.effect("one breaker is shared by two retriers, each a place of its own", () =>
    quiet(
      Effect.gen(function* () {
        const attempts: Array<string> = []
        const flaky = (name: string) =>
          EventSink.make((n: number) =>
            Effect.suspend(() => {
              attempts.push(`${name} ${n}`)
              return n < 0 && attempts.length < 4 ? Effect.fail("down") : Effect.void
            })
          )
        const { close, context } = yield* built(
          Layer.mergeAll(
            RetryingSink.layer(First, flaky("first"), Shared),
            RetryingSink.layer(
              Second,
              flaky("second"),
              Effect.map(Shared, (breaker) => ExponentialBackoff.make({ max: 0 }).pipe(RetryStrategy.combine(breaker)))
            )
          ).pipe(Layer.provideMerge(Breaker.layer(Shared, { threshold: 2, backoff: "10 seconds" })))
        )
        const [first, second] = [Context.get(context, First), Context.get(context, Second)]
        const breaker = Context.get(context, Shared)
        assert.strictEqual(breaker.breaker(), "closed")
        const failing = yield* Effect.forkChild(first.write(-1))
        yield* settle
        assert.strictEqual(breaker.breaker(), "open")
        const held = yield* Effect.forkChild(second.write(1))
        yield* TestClock.adjust("9999 millis")
        assert.deepStrictEqual(attempts, ["first -1", "first -1"])
        const healths = [...(yield* SinkGraph.health(first)), ...(yield* SinkGraph.health(second))]
        assert.deepStrictEqual(
          healths.filter(({ kind }) => kind === "RetryingSink").map(({ breaker, name }) => [name, breaker]),
          [
            [First.key, "open"],
            [Second.key, "open"]
          ]
        )
        yield* TestClock.adjust("1 millis")
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(failing)
        yield* Fiber.join(held)
        assert.strictEqual(breaker.breaker(), "closed")
        yield* close
        for (const sink of [first, second]) {
          assert.instanceOf(yield* Effect.flip(sink.write(1)), EventSink.SinkClosed)
        }
      })
    )
  )

  it.effect("the close wakes a write that waits for the breaker, and ends before the sink below", () =>
    quiet(
      Effect.gen(function* () {
        const log: Array<string> = []
        const flaky = EventSink.layer(
          Flaky,
          Effect.acquireRelease(
            EventSink.make((_: number) => Effect.fail("down")),
            () => Effect.sync(() => log.push("sink released"))
          )
        )
        const { close, context } = yield* built(
          RetryingSink.layer(First, Flaky, Shared).pipe(
            Layer.provide([flaky, Breaker.layer(Shared, { threshold: 1, backoff: "1 hour" })])
          )
        )
        const write = yield* Effect.forkChild(
          Effect.tap(Effect.flip(Context.get(context, First).write(1)), () =>
            Effect.sync(() => log.push("write failed"))
          )
        )
        yield* settle
        yield* close
        assert.strictEqual((yield* Fiber.join(write)).sink, First.key)
        assert.deepStrictEqual(log, ["write failed", "sink released"])
      })
    )
  )
})

describe("a graph of layers", () => {
  it.effect("closes from its root down: broadcast, filter, queue, retrier, receiver", () =>
    quiet(
      Effect.gen(function* () {
        const log: Array<string> = []
        let attempts = 0
        const flaky = EventSink.layer(
          Flaky,
          Effect.acquireRelease(
            EventSink.make((n: number) =>
              Effect.delay(
                Effect.suspend(() => {
                  if (++attempts % 2 === 1) return Effect.fail("down")
                  log.push(`received ${n}`)
                  return Effect.void
                }),
                "1 second"
              )
            ),
            () => Effect.sync(() => log.push("receiver released"))
          )
        )
        const live = Broadcaster.layer(All, [Even]).pipe(
          Layer.provide(EventFilter.layer(Even, Queued, (n) => n % 2 === 0)),
          Layer.provideMerge(EventQueue.layer(Queued, First)),
          Layer.provide(RetryingSink.layer(First, Flaky, RetryStrategy.identity)),
          Layer.provide(flaky)
        )
        const { close, context } = yield* built(live)
        const all = Context.get(context, All)
        assert.deepStrictEqual(
          (yield* SinkGraph.health(all)).map(({ kind, name }) => [kind, name]),
          [
            ["Broadcaster", All.key],
            ["Subscription", Even.key],
            ["EventFilter", Even.key],
            ["EventQueue", Queued.key],
            ["RetryingSink", First.key],
            ["EventSink", Flaky.key]
          ]
        )
        yield* EventSink.writeAll(all, [1, 2, 3, 4])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("4 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(log, ["received 2", "received 4", "receiver released"])
        const states = (yield* SinkGraph.health(all)).map(({ state }) => state)
        assert.isTrue(states.every((state) => state === "closed"))
      })
    )
  )
})
