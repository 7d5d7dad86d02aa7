import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Exit, Fiber, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import {
  Breaker,
  Broadcaster,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RetryingSink,
  RetryStrategy,
  SinkGraph
} from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "./support/virtual.ts"

/** Makes a part in a scope of its own, which the test does not close. */
const made = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Scope.make(), (scope) => Scope.provide(make, scope))

const no = { accepted: 0, delivered: 0, filtered: 0, dropped: 0, undelivered: 0, deadLettered: 0, remaining: 0 }

describe("toMermaid", () => {
  it.effect("draws the graph downstream of a sink, each node with its kind and, where it has one, its name", () =>
    Effect.gen(function* () {
      const queue = yield* EventSink.make((_: string) => Effect.void, { name: "printer" }).pipe(
        EventFilter.make((line: string) => line !== ""),
        EventQueue.make({ name: "lines" })
      )
      assert.strictEqual(
        SinkGraph.toMermaid(queue).trimEnd().split("\n").toSorted().join("\n"),
        [
          "  0 --> 1",
          '  0["EventQueue lines"]',
          "  1 --> 2",
          '  1["EventFilter"]',
          '  2["EventSink printer"]',
          "flowchart TD"
        ].join("\n")
      )
    })
  )

  it.effect("a sink with two wrappers is one node", () =>
    Effect.gen(function* () {
      const shared = yield* EventSink.make((_: number) => Effect.void, { name: "shared" })
      const one = yield* EventQueue.make({ name: "one" })(shared)
      const two = yield* EventQueue.make({ name: "two" })(shared)
      const broadcaster = yield* Broadcaster.make([Effect.succeed(one), Effect.succeed(two)])
      const drawn = SinkGraph.toMermaid(broadcaster)
      assert.strictEqual(drawn.match(/EventSink shared/g)?.length, 1)
      assert.strictEqual(drawn.match(/EventQueue one/g)?.length, 1)
      const kinds = (yield* SinkGraph.health(broadcaster)).map(({ kind }) => kind)
      assert.strictEqual(kinds.filter((kind) => kind === "EventSink").length, 1)
      assert.strictEqual(kinds[0], "Broadcaster")
    })
  )

  it.effect("a cycle is drawn as one", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const back = yield* EventFilter.make(broadcaster, (n) => n < 0)
      yield* Broadcaster.add(broadcaster, back)
      const drawn = SinkGraph.toMermaid(broadcaster)
      assert.strictEqual(drawn.match(/"Broadcaster"/g)?.length, 1)
      assert.strictEqual(drawn.match(/"EventFilter"/g)?.length, 1)
      assert.strictEqual(drawn.match(/-->/g)?.length, 3)
    })
  )

  it.effect("maps, taps, stamps and timeouts stand at the place of the sink they wrap", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<string>({ name: "receiver" })
      const wrapped = yield* sink.pipe(
        EventSink.timeout("1 seconds"),
        EventSink.tap(() => Effect.void),
        EventSink.mapInput((n: number) => String(n)),
        EventSink.mapError(String)
      )
      assert.strictEqual(SinkGraph.toMermaid(wrapped), SinkGraph.toMermaid(sink))
    })
  )

  it.effect("shows the sinks of a broadcaster that are there now", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>({ name: "guest" })
      yield* Broadcaster.add(broadcaster, sink)
      assert.include(SinkGraph.toMermaid(broadcaster), "guest")
      yield* Broadcaster.remove(broadcaster, sink)
      assert.notInclude(SinkGraph.toMermaid(broadcaster), "guest")
    })
  )
})

describe("sinks of one's own", () => {
  const recording = (name: string) => TestSink.recording<number>({ name })
  const makers: ReadonlyArray<
    readonly [
      name: string,
      make: (options: EventSink.SyncOptions) => Effect.Effect<EventSink.EventSink<number>, never, Scope.Scope>
    ]
  > = [
    ["make", (options) => EventSink.make((_: number) => Effect.void, options)],
    ["makeBatch", (options) => EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void, options)],
    ["sync", (options) => EventSink.sync((_: number) => {}, options)]
  ]
  it.effect.each(makers)(
    "show what they write to, in pictures, in health, and with what a success depends on: %s",
    ([, make]) =>
      Effect.gen(function* () {
        const [stored, copied] = [yield* recording("stored"), yield* recording("copied")]
        const queue = yield* EventQueue.make(copied, { name: "copies" })
        const own = yield* make({
          name: "both",
          kind: "TeeSink",
          downstream: [
            { sink: stored, acknowledges: true },
            { sink: queue, acknowledges: false }
          ]
        })
        assert.deepStrictEqual(
          own.node.downstream().map(({ acknowledges, node }) => [node, acknowledges]),
          [
            [stored.node, true],
            [queue.node, false]
          ]
        )
        assert.deepStrictEqual(SinkGraph.toMermaid(own).trimEnd().split("\n").toSorted(), [
          "  0 --> 1",
          "  0 --> 2",
          '  0["TeeSink both"]',
          '  1["EventSink stored"]',
          "  2 --> 3",
          '  2["EventQueue copies"]',
          '  3["EventSink copied"]',
          "flowchart TD"
        ])
        yield* own.write(1)
        const health = yield* SinkGraph.health(own)
        assert.deepStrictEqual(
          health.map(({ counts, kind, name }) => [kind, name, counts.accepted]),
          [
            ["TeeSink", "both", 1],
            ["EventSink", "stored", 0],
            ["EventQueue", "copies", 0],
            ["EventSink", "copied", 0]
          ]
        )
      })
  )

  it.effect("without `downstream` end the picture", () =>
    Effect.gen(function* () {
      for (const [, make] of makers) assert.deepStrictEqual((yield* make({})).node.downstream(), [])
    })
  )
})

describe("an edge", () => {
  it.effect("acknowledges where a write succeeds only when the sink at its end has committed", () =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* made(TestSink.failing<number>())
        const reliable = yield* made(TestSink.recording<number>())
        const acknowledged = (self: EventSink.EventSink<never, unknown>) =>
          self.node.downstream().map(({ acknowledges }) => acknowledges)
        assert.deepStrictEqual(acknowledged(yield* EventFilter.make(sink, () => true)), [true])
        assert.deepStrictEqual(acknowledged(yield* made(RetryingSink.make(sink, RetryStrategy.identity))), [true])
        assert.deepStrictEqual(acknowledged(yield* made(EventQueue.make(reliable))), [false])
        const broadcaster = yield* made(Broadcaster.make([reliable]))
        assert.deepStrictEqual(acknowledged(broadcaster), [false])
        const [subscription] = broadcaster.node.downstream()
        assert.deepStrictEqual(
          subscription!.node.downstream().map(({ acknowledges, node }) => [node, acknowledges]),
          [[reliable.node, false]]
        )
        assert.deepStrictEqual(acknowledged(yield* made(EventChannel.make())), [])
      })
    )
  )
})

describe("health", () => {
  it.effect("is a plain value for every node downstream, the sink's own first", () =>
    Effect.gen(function* () {
      const queue = yield* EventSink.make((_: number) => Effect.void, { name: "receiver" }).pipe(
        EventFilter.make((n: number) => n > 1),
        EventQueue.make({ name: "line" })
      )
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      yield* settle
      const healths = yield* SinkGraph.health(queue)
      const rest = {
        state: "open",
        pending: 0,
        oldestAge: undefined,
        inFlight: 0,
        breaker: undefined,
        lastError: undefined
      }
      assert.deepStrictEqual(healths, [
        { kind: "EventQueue", name: "line", ...rest, counts: { ...no, accepted: 3, delivered: 3 } },
        {
          kind: "EventFilter",
          name: "EventFilter",
          ...rest,
          counts: { ...no, accepted: 3, delivered: 2, filtered: 1 }
        },
        { kind: "EventSink", name: "receiver", ...rest, counts: { ...no, accepted: 2, delivered: 2 } }
      ] as ReadonlyArray<EventSink.SinkHealth>)
      assert.deepStrictEqual(structuredClone(healths), healths)
    })
  )

  it.effect(
    "shows of a queue what is pending, how old the oldest is and what is in flight, by the caller's clock",
    () =>
      Effect.gen(function* () {
        const sink = yield* made(TestSink.hanging<number>())
        const queue = yield* made(EventQueue.make()(sink))
        const own = Effect.map(SinkGraph.health(queue), ([health]) => health!)
        assert.isUndefined((yield* own).oldestAge)
        yield* queue.write(1)
        yield* TestClock.adjust("3 seconds")
        yield* queue.write(2)
        yield* TestClock.adjust("2 seconds")
        const health = yield* own
        assert.strictEqual(health.pending, 2)
        assert.strictEqual(health.oldestAge, 5000)
        assert.strictEqual(health.inFlight, 1)
        assert.deepStrictEqual(health.counts, { ...no, accepted: 2 })
        yield* sink.release
        yield* settle
        const after = yield* own
        assert.strictEqual(after.pending, 0)
        assert.isUndefined(after.oldestAge)
        assert.strictEqual(after.inFlight, 0)
      })
  )

  it.effect("the oldest age is that of the oldest event which still waits", () =>
    Effect.gen(function* () {
      const queue = yield* made(EventQueue.make()(TestSink.slow<number>("4 seconds")))
      const age = Effect.map(SinkGraph.health(queue), ([health]) => health!.oldestAge)
      for (const n of [1, 2, 3]) {
        yield* queue.write(n)
        yield* TestClock.adjust("1 seconds")
      }
      assert.strictEqual(yield* age, 3000)
      // At 4 seconds the first is delivered; the second was written at 1.
      yield* TestClock.adjust("1 seconds")
      yield* settle
      assert.strictEqual(yield* age, 3000)
      yield* TestClock.adjust("4 seconds")
      yield* settle
      assert.strictEqual(yield* age, 6000)
      yield* TestClock.adjust("4 seconds")
      yield* settle
      assert.isUndefined(yield* age)
    })
  )

  it.effect("the age is right to about 10 ms after many events at many times", () =>
    Effect.gen(function* () {
      const queue = yield* made(EventQueue.make()(TestSink.slow<number>("7 millis")))
      const written: Array<number> = []
      for (let at = 0; at < 3000; at += 3) {
        yield* queue.write(at)
        // The clock is read once for all that is written before the next microtask.
        yield* Effect.promise(() => Promise.resolve())
        written.push(at)
        yield* TestClock.adjust("3 millis")
        if (at % 300 !== 0) continue
        const [health] = yield* SinkGraph.health(queue)
        const oldest = written[written.length - health!.pending]
        const expected = oldest === undefined ? undefined : at + 3 - oldest
        if (expected === undefined) assert.isUndefined(health!.oldestAge)
        else assert.isAtMost(Math.abs(health!.oldestAge! - expected), 10)
      }
    })
  )

  it.effect("shows of each sink of a broadcaster how far it is behind", () =>
    Effect.gen(function* () {
      const broadcaster = yield* made(Broadcaster.make<number>({ name: "news" }))
      yield* Broadcaster.add(broadcaster, yield* made(TestSink.hanging<number>({ name: "slow" })))
      yield* Broadcaster.add(broadcaster, yield* made(TestSink.recording<number>({ name: "fast" })))
      yield* EventSink.writeAll(broadcaster, [1, 2])
      yield* TestClock.adjust("4 seconds")
      yield* broadcaster.write(3)
      yield* settle
      const healths = yield* SinkGraph.health(broadcaster)
      const of = (kind: string, name: string) => healths.find((one) => one.kind === kind && one.name === name)!
      assert.strictEqual(of("Broadcaster", "news").counts.accepted, 3)
      const slow = of("Subscription", "slow")
      assert.strictEqual(slow.pending, 3)
      assert.strictEqual(slow.oldestAge, 4000)
      assert.strictEqual(slow.inFlight, 1)
      const fast = of("Subscription", "fast")
      assert.strictEqual(fast.pending, 0)
      assert.isUndefined(fast.oldestAge)
      assert.deepStrictEqual(fast.counts, { ...no, accepted: 3, delivered: 3 })
    })
  )

  it.effect("shows of a channel what was written and not read, and how old it is", () =>
    Effect.gen(function* () {
      const channel = yield* made(EventChannel.make<number>({ capacity: 5 }))
      yield* channel.write(1)
      yield* TestClock.adjust("2 seconds")
      const [health] = yield* SinkGraph.health(channel)
      assert.strictEqual(health!.pending, 1)
      assert.strictEqual(health!.oldestAge, 2000)
    })
  )

  it.effect("shows of a retrier its writes in flight, its breaker and its last error", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        const sink = yield* made(TestSink.failing<number>({ times: 1 }))
        const retrying = yield* made(RetryingSink.make(breaker)(sink))
        const own = Effect.map(SinkGraph.health(retrying), ([health]) => health!)
        assert.strictEqual((yield* own).breaker, "closed")
        assert.isUndefined((yield* own).lastError)
        const write = yield* Effect.forkChild(retrying.write(1))
        yield* settle
        const health = yield* own
        assert.strictEqual(health.breaker, "open")
        assert.strictEqual(health.inFlight, 1)
        assert.instanceOf(health.lastError?.error, TestSink.TestError)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(write)
        const after = yield* own
        assert.strictEqual(after.breaker, "closed")
        assert.strictEqual(after.inFlight, 0)
        assert.deepStrictEqual(after.counts, { ...no, accepted: 1, delivered: 1 })
      })
    )
  )

  it.effect("shows of a queue the last error, and of its close what was dropped and undelivered", () =>
    quiet(
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sink = yield* made(
          EventSink.make((n: number) => (n === 1 ? Effect.die("dead") : n === 2 ? Effect.void : Effect.never))
        )
        const queue = yield* Scope.provide(EventQueue.make({ drainTimeout: 0 })(sink), scope)
        yield* EventSink.writeAll(queue, [1, 2, 3, 4])
        yield* settle
        const [before] = yield* SinkGraph.health(queue)
        assert.strictEqual(before!.lastError?.error, "dead")
        assert.strictEqual(before!.state, "open")
        yield* Scope.close(scope, Exit.void)
        const [after] = yield* SinkGraph.health(queue)
        assert.strictEqual(after!.state, "closed")
        assert.strictEqual(after!.pending, 0)
        assert.deepStrictEqual(after!.counts, {
          accepted: 4,
          delivered: 1,
          filtered: 0,
          dropped: 1,
          undelivered: 2,
          deadLettered: 0,
          remaining: 0
        })
      })
    )
  )

  it.effect("a last error is the error itself, for a leaf as for a queue", () =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* made(TestSink.failing<number>())
        yield* Effect.exit(sink.write(1))
        const [health] = yield* SinkGraph.health(sink)
        assert.instanceOf(health!.lastError?.error, TestSink.TestError)
      })
    )
  )
})

describe("the last error", () => {
  it.effect("has its time and how many there were, and stays when deliveries succeed again", () =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* made(
          EventSink.make((n: number) => (n < 0 ? Effect.fail(n) : Effect.void), { name: "receiver" })
        )
        const queue = yield* made(EventQueue.make(sink, { onDropped: () => Effect.void }))
        const last = Effect.map(SinkGraph.health(queue), (nodes) => nodes.map(({ lastError }) => lastError))
        yield* queue.write(1)
        yield* settle
        assert.deepStrictEqual(yield* last, [undefined, undefined])
        yield* TestClock.setTime(1_000)
        yield* queue.write(-1)
        yield* settle
        const first = { error: -1, at: 1_000, count: 1 }
        assert.deepStrictEqual(yield* last, [first, first])
        yield* TestClock.setTime(5_000)
        yield* queue.write(-2)
        yield* TestClock.setTime(7_000)
        yield* queue.write(2)
        yield* settle
        const second = { error: -2, at: 5_000, count: 2 }
        assert.deepStrictEqual(yield* last, [second, second])
      })
    )
  )

  it.effect("of a retrier is that of its last attempt", () =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* made(TestSink.failing<number>({ times: 3 }))
        const backoff = ExponentialBackoff.make({ base: "10 seconds", factor: 0 })
        const retrying = yield* made(RetryingSink.make(sink, backoff))
        const write = yield* Effect.forkChild(retrying.write(1))
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(write)
        const [health] = yield* SinkGraph.health(retrying)
        assert.deepInclude(health!.lastError, { count: 3 })
        assert.isAbove(health!.lastError!.at, 0)
      })
    )
  )

  it.effect("of a broadcaster's sinks are their own: of a plain function, and of a filter that throws", () =>
    quiet(
      Effect.gen(function* () {
        const fail = (text: string) => () => {
          throw new Error(text)
        }
        const broadcaster = yield* made(Broadcaster.make<number>())
        yield* Broadcaster.add(broadcaster, yield* made(EventSink.sync(fail("sink"), { name: "a" })), {})
        yield* Broadcaster.add(broadcaster, yield* made(EventSink.sync((_: number) => {}, { name: "b" })), {
          filter: fail("filter") as () => boolean
        })
        yield* TestClock.setTime(2_000)
        yield* EventSink.writeAll(broadcaster, [1, 2])
        yield* settle
        const errors = (yield* SinkGraph.health(broadcaster))
          .filter(({ kind }) => kind === "Subscription")
          .map(({ lastError }) => lastError)
        assert.deepStrictEqual(errors, [
          { error: new Error("sink"), at: 2_000, count: 2 },
          { error: new Error("filter"), at: 2_000, count: 2 }
        ])
      })
    )
  )
})

describe("Health", () => {
  const encode = Schema.encodeSync(SinkGraph.Health)
  const healthWith = (error: unknown): EventSink.SinkHealth => ({
    kind: "EventQueue",
    name: "orders",
    state: "open",
    pending: 1,
    oldestAge: 12.5,
    inFlight: 1,
    breaker: undefined,
    lastError: { error, at: 1_000, count: 2 },
    counts: { ...no, accepted: 1 }
  })

  it("encodes to JSON, with null for what is undefined, and decodes from it", () => {
    const json: Schema.Json = encode(healthWith(new Error("refused")))
    assert.deepStrictEqual(JSON.parse(JSON.stringify(json)), {
      ...healthWith(undefined),
      breaker: null,
      lastError: { error: { tag: "Error", message: "refused" }, at: 1_000, count: 2 }
    })
    // the schema's type is that of a health
    const decoded: EventSink.SinkHealth = Schema.decodeUnknownSync(SinkGraph.Health)(JSON.parse(JSON.stringify(json)))
    assert.strictEqual(decoded.breaker, undefined)
    assert.include(decoded.lastError?.error, { name: "Error", message: "refused" })
    assert.deepStrictEqual(encode(decoded), json)
    assert.deepStrictEqual(Schema.encodeSync(Schema.toCodecJson(SinkGraph.Health))(decoded), json)
    const none = encode({ ...healthWith(undefined), oldestAge: undefined, lastError: undefined })
    assert.deepInclude(none, { oldestAge: null, lastError: null })
  })

  it("has of an error the tag and the message, and of any other value nothing that may be the event", () => {
    class Refused extends Data.TaggedError("Refused")<{ readonly event: string }> {}
    class Named extends Data.TaggedError("Named")<{ readonly event: string }> {
      override get message() {
        return "refused"
      }
    }
    const hostile = new Proxy(new Error("x"), {
      get: () => {
        throw new Error("no")
      }
    })
    const shown = (error: unknown) => encode(healthWith(error)).lastError?.error
    assert.deepStrictEqual(shown(new Refused({ event: "secret" })), { tag: "Refused", message: "" })
    assert.deepStrictEqual(shown(new Named({ event: "secret" })), { tag: "Named", message: "refused" })
    assert.deepStrictEqual(shown(new TypeError("t")), { tag: "TypeError", message: "t" })
    assert.deepStrictEqual(shown("secret"), { tag: "string", message: "" })
    assert.deepStrictEqual(shown({ secret: "secret" }), { tag: "object", message: "" })
    assert.deepStrictEqual(shown({ _tag: "Own", message: "secret" }), { tag: "Own", message: "" })
    assert.deepStrictEqual(shown(undefined), { tag: "undefined", message: "" })
    assert.deepStrictEqual(shown(hostile), { tag: "object", message: "" })
    assert.strictEqual(shown(new Error("x".repeat(10_000)))?.message.length, 503)
  })
})

describe("toGraph", () => {
  it.effect("only looks: it starts no fiber and changes nothing", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      const queue = yield* EventQueue.make()(sink)
      yield* queue.write(1)
      const before = queue.node.health(0)
      SinkGraph.toGraph(queue)
      SinkGraph.toMermaid(queue)
      assert.deepStrictEqual(queue.node.health(0), before)
    })
  )
})
