/** Strategies whose own callbacks hang, die or throw: none holds up a close, and none takes an event back. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, EventQueue, EventSink, RetryingSink, RetryStrategy } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { open, quiet, settle, withLogs } from "./support/virtual.ts"

type Attempts = RetryStrategy.RetryAttempts<unknown>
const plain: Attempts = {
  proceed: () => undefined,
  failure: () => Effect.void,
  success: () => undefined,
  abandon: () => undefined
}
/** A strategy that retries at once and for ever, but for these callbacks. */
const strategyOf = (own: Partial<Attempts>, options?: { readonly idle?: () => unknown }) =>
  RetryStrategy.make<unknown>(() => ({ ...plain, ...own }), options)

const countsOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0).counts
const made = <A, E, R>(make: Effect.Effect<A, E, R>) => Effect.map(open(make), ({ part }) => part)
const hasDied = <A, E>(exit: Exit.Exit<A, E>) => Exit.isFailure(exit) && Cause.hasDies(exit.cause)

/** How a write of each kind comes to the callback. */
const toCallback: Record<
  Exclude<keyof Attempts, "due">,
  Effect.Effect<TestSink.TestSink<number, unknown>, never, Scope.Scope>
> = {
  proceed: TestSink.failing<number>(),
  failure: TestSink.failing<number>(),
  success: TestSink.recording<number>(),
  abandon: TestSink.dying<number>()
}
const callbacks = ["proceed", "failure", "success", "abandon"] as const

/** Under a fallible type, which a retrier takes. */
const retrier = (
  sink: EventSink.EventSink<number, unknown>,
  strategy: RetryStrategy.RetryStrategy<unknown>,
  options: RetryingSink.Options = {}
) => open(RetryingSink.make(strategy, { name: "orders", ...options })(sink))

describe("a callback that never returns", () => {
  it.effect.each(callbacks)("ends with the close, which it does not hold up: %s", (name) =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* made(toCallback[name])
        const { close, part: retrying } = yield* retrier(sink, strategyOf({ [name]: () => Effect.never }))
        const write = yield* Effect.forkChild(retrying.write(1))
        yield* TestClock.adjust("1 hour")
        assert.isUndefined(write.pollUnsafe())
        assert.strictEqual(retrying.node.health(0).inFlight, name === "success" || name === "abandon" ? 0 : 1)
        // No time passes: it is at once.
        yield* close
        const exit = yield* Fiber.await(write)
        if (name === "success") assert.isTrue(Exit.isSuccess(exit), "it was committed")
        else if (name === "abandon") assert.isTrue(hasDied(exit), "the sink's own defect stays")
        else assert.instanceOf(Exit.isFailure(exit) && Cause.squash(exit.cause), EventSink.SinkClosed)
        assert.strictEqual(sink.attempts, name === "proceed" ? 0 : 1)
        assert.strictEqual(retrying.node.health(0).inFlight, 0)
        assert.strictEqual(retrying.node.state, "closed")
        assert.strictEqual(countsOf(retrying).delivered, name === "success" ? 1 : 0)
      })
    )
  )

  it.effect("before a later attempt, as before the first", () =>
    quiet(
      Effect.gen(function* () {
        let asked = 0
        const sink = yield* made(TestSink.failing<number>())
        const strategy = strategyOf({ proceed: () => (++asked < 4 ? undefined : Effect.never) })
        const { close, part: retrying } = yield* retrier(sink, strategy)
        const write = yield* Effect.forkChild(Effect.flip(retrying.write(1)))
        yield* settle
        assert.strictEqual(sink.attempts, 3)
        yield* close
        assert.instanceOf(yield* Fiber.join(write), EventSink.SinkClosed)
        assert.strictEqual(sink.attempts, 3)
      })
    )
  )

  it.effect.each(callbacks)("and refuses interruption holds it up for the drainTimeout at most: %s", (name) =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* made(toCallback[name])
        const strategy = strategyOf({ [name]: () => Effect.uninterruptible(Effect.never) })
        const { close, part: retrying } = yield* retrier(sink, strategy, { drainTimeout: "3 seconds" })
        yield* Effect.forkDetach(retrying.write(1))
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("3 seconds")
        assert.isDefined(closing.pollUnsafe())
        assert.strictEqual(retrying.node.state, "closed")
      })
    )
  )

  it.effect.each(callbacks)("leaves the close of a queue above its own deadline: %s", (name) =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* made(toCallback[name])
        const strategy = strategyOf({ [name]: () => Effect.never })
        const { close, part: queue } = yield* open(
          RetryingSink.make(strategy)(sink).pipe(EventQueue.make({ drainTimeout: "3 seconds" }))
        )
        yield* EventSink.writeAll(queue, [1, 2])
        yield* settle
        const shutdown = yield* Effect.forkChild(queue.shutdown)
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(shutdown.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(
          (yield* Fiber.join(shutdown)).map(({ event, inFlight }) => [event, inFlight]),
          [
            [1, true],
            [2, false]
          ]
        )
      })
    )
  )
})

const ways = {
  dies: () => Effect.die(new Error("the strategy")),
  throws: (): never => {
    throw new Error("the strategy")
  }
}

describe.each(["dies", "throws"] as const)("a callback that %s", (way) => {
  const how = ways[way]

  const kinds: ReadonlyArray<readonly [kind: string, make: TestSinkOf]> = [
    ["effectful", (on) => EventSink.make((n: number) => Effect.sync(() => on(n)))],
    ["synchronous", (on) => EventSink.sync(on)],
    ["batch", (on) => EventSink.makeBatch((events: ReadonlyArray<number>) => Effect.sync(() => events.forEach(on)))]
  ]
  it.effect.each(kinds)(
    "after the commit changes nothing, and is logged: success, over a sink that is %s",
    ([, make]) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const seen: Array<number> = []
          const sink: EventSink.EventSink<number, unknown> = yield* make((n) => void seen.push(n))
          const { close, part: retrying } = yield* retrier(sink, strategyOf({ success: how }))
          yield* retrying.write(4111)
          yield* EventSink.writeAll(retrying, [4112, 4113])
          assert.deepStrictEqual(seen, [4111, 4112, 4113])
          assert.deepInclude(countsOf(retrying), { accepted: 3, delivered: 3 })
          assert.isTrue(logs.length === (sink.writeSome === undefined ? 3 : 2))
          for (const { level, line } of logs) {
            assert.strictEqual(level, "ERROR")
            assert.include(line, "has a strategy that died after an attempt")
            assert.include(line, "orders")
            // The number of a fiber may be like that of an event.
            assert.notInclude(line.replace(/"fiberId":"#\d+"/, ""), "411")
          }
          yield* close
        })
      )
  )

  it.effect("after a failure of the write leaves that failure as it is, and is logged: abandon", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* EventSink.make((n: number) =>
          n === 1
            ? Effect.die("the sink")
            : n === 2
              ? Effect.interrupt
              : Effect.fail(new EventSink.SinkClosed({ sink: "s" }))
        )
        const { close, part: retrying } = yield* retrier(sink, strategyOf({ abandon: how }))
        const exits = yield* Effect.forEach([1, 2, 3], (n) => Effect.exit(retrying.write(n)))
        assert.deepStrictEqual(
          exits.map((exit) => Exit.isFailure(exit) && exit.cause.reasons.map(({ _tag }) => _tag)),
          [["Die"], ["Interrupt"], ["Fail"]]
        )
        assert.strictEqual(Exit.isFailure(exits[0]!) && Cause.squash(exits[0].cause), "the sink")
        assert.strictEqual(logs.length, 3)
        assert.isTrue(logs.every(({ line }) => line.includes("has a strategy that died after an attempt")))
        assert.strictEqual(retrying.node.health(0).inFlight, 0)
        yield* close
      })
    )
  )

  it.effect.each(["success", "abandon"] as const)(
    "is logged too where the strategy was idle, below a queue: %s",
    (name) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const dropped: Array<number> = []
          const sink: TestSink.TestSink<number, unknown> = yield* name === "success"
            ? TestSink.failing<number>({ times: 1 })
            : TestSink.dying<number>({ when: (attempt) => attempt === 1 })
          const { close, part: queue } = yield* open(
            RetryingSink.make(strategyOf({ [name]: how }, { idle: () => true }))(sink).pipe(
              EventQueue.make({ onDropped: ({ event }) => Effect.sync(() => void dropped.push(event)) })
            )
          )
          yield* EventSink.writeAll(queue, [1, 2])
          yield* queue.flush
          yield* settle
          assert.deepStrictEqual(sink.received, name === "success" ? [1, 2] : [2])
          assert.deepStrictEqual(dropped, name === "success" ? [] : [1])
          const lines = logs.filter(({ line }) => line.includes("has a strategy that died after an attempt"))
          assert.strictEqual(lines.length, 1)
          yield* close
        })
      )
  )

  it.effect.each(["proceed", "failure"] as const)(
    "between attempts is a defect of the write, which is over: %s",
    (name) =>
      quiet(
        Effect.gen(function* () {
          const abandoned: Array<boolean> = []
          const abandon = (hasDied: boolean) => void abandoned.push(hasDied)
          let asked = 0
          const sink = yield* TestSink.failing<number>({ times: 2 })
          const strategy = strategyOf({
            [name]: () => (++asked === 2 ? how() : undefined) ?? (name === "failure" ? Effect.void : undefined),
            abandon
          })
          const { close, part: retrying } = yield* retrier(sink, strategy)
          assert.isTrue(hasDied(yield* Effect.exit(retrying.write(1))))
          assert.strictEqual(sink.attempts, name === "failure" ? 2 : 1)
          assert.deepStrictEqual(abandoned, [true])
          assert.strictEqual(retrying.node.health(0).inFlight, 0)
          // The next write is another.
          yield* retrying.write(2)
          assert.deepStrictEqual(sink.received, [2])
          assert.deepInclude(countsOf(retrying), { accepted: 1, delivered: 1 })
          yield* close
        })
      )
  )
})
type TestSinkOf = (on: (n: number) => void) => Effect.Effect<EventSink.EventSink<number, unknown>, never, Scope.Scope>

describe("a defect of the write", () => {
  const thrower = (): never => {
    throw new Error("no")
  }
  it.effect("is what `start` and `idle` throw before the first attempt, and the sink is not written", () =>
    quiet(
      Effect.gen(function* () {
        for (const strategy of [
          RetryStrategy.make<unknown>(thrower),
          RetryStrategy.make<unknown>(() => plain, { idle: thrower })
        ]) {
          for (const make of [
            TestSink.recording<number>(),
            EventSink.sync((_: number) => assert.fail("it was written"))
          ]) {
            const sink: EventSink.EventSink<number, unknown> = yield* make
            const { close, part: retrying } = yield* retrier(sink, strategy)
            assert.isTrue(hasDied(yield* Effect.exit(retrying.write(1))))
            assert.strictEqual(retrying.node.health(0).inFlight, 0)
            assert.deepInclude(countsOf(retrying), { accepted: 0, delivered: 0 })
            assert.deepInclude(countsOf(sink), { accepted: 0, delivered: 0 })
            yield* close
          }
        }
      })
    )
  )

  it.effect("is what `start` throws after the first attempt of an idle strategy", () =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>({ times: 1 })
        const strategy = RetryStrategy.make<unknown>(thrower, { idle: () => true })
        const { close, part: retrying } = yield* retrier(sink, strategy)
        assert.isTrue(hasDied(yield* Effect.exit(retrying.write(1))))
        assert.strictEqual(sink.attempts, 1)
        // One that succeeds needs no attempts.
        yield* retrying.write(2)
        assert.deepStrictEqual(sink.received, [2])
        assert.strictEqual(retrying.node.health(0).inFlight, 0)
        yield* close
      })
    )
  )

  it.effect("is what `while` throws, single and in batches: the error is not retried", () =>
    quiet(
      Effect.gen(function* () {
        const abandoned: Array<boolean> = []
        const strategy = strategyOf({ abandon: (hasDied) => void abandoned.push(hasDied) })
        const sink = yield* TestSink.failing<number>({ times: 2, batchSize: 2 })
        const { close, part: retrying } = yield* open(RetryingSink.make(strategy, { while: thrower })(sink))
        assert.isTrue(hasDied(yield* Effect.exit(retrying.write(1))))
        assert.isTrue(hasDied(yield* Effect.exit(retrying.writeSome!([2, 3]))))
        assert.strictEqual(sink.attempts, 2)
        assert.deepStrictEqual(abandoned, [true, true])
        yield* retrying.write(4)
        assert.deepStrictEqual(sink.received, [4])
        assert.strictEqual(retrying.node.health(0).inFlight, 0)
        yield* close
      })
    )
  )

  it.effect("costs a queue above its event, and nothing else", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const dropped: Array<readonly [number, string]> = []
        const sink = yield* TestSink.failing<number>({ times: 1 })
        const { close, part: queue } = yield* open(
          RetryingSink.make(strategyOf({ failure: thrower }))(sink).pipe(
            EventQueue.make({
              onDropped: ({ event, reason }) => Effect.sync(() => void dropped.push([event, reason._tag]))
            })
          )
        )
        yield* EventSink.writeAll(queue, [1, 2, 3])
        yield* queue.flush
        assert.deepStrictEqual(dropped, [[1, "Died"]])
        assert.deepStrictEqual(sink.received, [2, 3])
        yield* close
      })
    )
  )
})

describe("a plain function below a retrier", () => {
  it.effect("that throws is called once, and the breaker counts it", () =>
    quiet(
      Effect.gen(function* () {
        let calls = 0
        const sink = yield* EventSink.sync((_: number) => {
          calls++
          throw new Error("no")
        })
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "1 second" })
        const { part: retrying } = yield* retrier(sink, breaker)
        assert.isTrue(hasDied(yield* Effect.exit(retrying.write(1))))
        assert.strictEqual(calls, 1)
        assert.strictEqual(breaker.breaker(), "open")
      })
    )
  )
})

describe("a retrier that is closed before the queue above it", () => {
  it.effect.each(["effectful", "synchronous"])("takes no event of the queue, over an %s sink", (kind) =>
    quiet(
      Effect.gen(function* () {
        const received: Array<number> = []
        const take = (n: number) => void received.push(n)
        const sink =
          kind === "effectful"
            ? yield* EventSink.make((n: number) => Effect.sync(() => take(n)))
            : yield* EventSink.sync(take)
        const { close, part: retrying } = yield* retrier(sink, strategyOf({}, { idle: () => true }))
        const { close: closeQueue, part: queue } = yield* open(
          EventQueue.make(retrying, { onDropped: () => Effect.void })
        )
        yield* queue.write(1)
        yield* settle
        yield* close
        yield* Effect.exit(queue.write(2))
        yield* settle
        yield* closeQueue
        assert.deepStrictEqual(received, [1])
        const { accepted, delivered, undelivered } = countsOf(queue)
        assert.deepStrictEqual([delivered, accepted - delivered - undelivered], [1, 0])
      })
    )
  )
})
