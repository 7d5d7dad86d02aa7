import { assert, describe, it } from "@effect/vitest"
import { Cause, Clock, Data, Duration, Effect, Exit, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, EventQueue, EventSink, ExponentialBackoff, RetryingSink, RetryStrategy } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { open, settle, withLogs } from "./support/virtual.ts"

const everySecond = RetryStrategy.forever(Schedule.spaced("1 seconds"))
const times = (n: number) => RetryStrategy.fromSchedule(Schedule.spaced("1 seconds").pipe(Schedule.upTo({ times: n })))

class Transient extends Data.TaggedError("Transient")<{ readonly retryAfter?: Duration.Input }> {}
class Permanent extends Data.TaggedError("Permanent")<{}> {}

/** Fails the first attempts with what `errors` says, in order, and notes when each attempt began. */
const failingWith = <E>(errors: ReadonlyArray<E>) =>
  Effect.gen(function* () {
    const at: Array<number> = []
    const sink = yield* EventSink.make((_: string) =>
      Effect.gen(function* () {
        at.push(yield* Clock.currentTimeMillis)
        if (at.length <= errors.length) return yield* Effect.fail(errors[at.length - 1]!)
      })
    )
    return { sink, at }
  })

describe("a write goes on", () => {
  it.effect("until the event is committed, under every strategy that never gives up", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const strategies: ReadonlyArray<RetryStrategy.RetryStrategy<unknown>> = [
          RetryStrategy.identity,
          everySecond,
          ExponentialBackoff.make(),
          yield* Breaker.make({ threshold: 2, backoff: "10 seconds" }),
          ExponentialBackoff.make().pipe(
            RetryStrategy.combine(yield* Breaker.make({ threshold: 2, backoff: "10 seconds" }))
          )
        ]
        for (const strategy of strategies) {
          const sink = yield* TestSink.failing<number>({ times: 20 })
          const retrying = yield* RetryingSink.make(strategy)(sink)
          const write = yield* Effect.forkChild(retrying.write(1))
          yield* TestClock.adjust("1 hour")
          yield* Fiber.join(write)
          assert.strictEqual(sink.attempts, 21)
          assert.deepStrictEqual(sink.received, [1])
          const { counts, inFlight } = retrying.node.health(0)
          assert.strictEqual(counts.accepted, 1)
          assert.strictEqual(counts.delivered, 1)
          assert.strictEqual(inFlight, 0)
        }
      })
    )
  )

  it.effect("until the strategy gives up: RetriesExhausted has the last error, the attempts and the sink", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>()
        const retrying = yield* RetryingSink.make(times(3), { name: "orders" })(sink)
        const write = yield* Effect.forkChild(Effect.flip(retrying.write(1)))
        yield* TestClock.adjust("1 minute")
        const error = yield* Fiber.join(write)
        assert.instanceOf(error, RetryingSink.RetriesExhausted)
        assert.strictEqual(error._tag === "RetriesExhausted" && error.attempts, 4)
        assert.strictEqual(error._tag === "RetriesExhausted" && error.error.attempt, 4)
        assert.strictEqual(error.sink, "orders")
        assert.strictEqual(error.message, '"orders" gave up after 4 attempts')
        // Logs and dead letters show its cause.
        assert.strictEqual(
          error._tag === "RetriesExhausted" && error.cause,
          error._tag === "RetriesExhausted" && error.error
        )
        assert.strictEqual(retrying.node.health(0).counts.accepted, 0)
      })
    )
  )

  it.effect("a sink that succeeds is written once", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>({ times: 0 })
        const retrying = yield* RetryingSink.make(everySecond)(sink)
        yield* retrying.write(1)
        assert.strictEqual(sink.attempts, 1)
        assert.deepStrictEqual(logs, [])
      })
    )
  )

  it.effect("10,000 attempts in a row do not overflow the stack", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>({ times: 10_000 })
        const retrying = yield* RetryingSink.make(RetryStrategy.identity)(sink)
        yield* retrying.write(1)
        assert.strictEqual(sink.attempts, 10_001)
      })
    )
  )

  it.effect("writing the same effect again is another write, with attempts of its own", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>()
        const retrying = yield* RetryingSink.make(times(1))(sink)
        const write = retrying.write(1)
        for (const attempts of [2, 4]) {
          const fiber = yield* Effect.forkChild(Effect.exit(write))
          yield* TestClock.adjust("1 minute")
          yield* Fiber.join(fiber)
          assert.strictEqual(sink.attempts, attempts)
        }
      })
    )
  )
})

describe("defects, interruptions and SinkClosed", () => {
  it.effect("a defect is never retried", () =>
    Effect.gen(function* () {
      let attempts = 0
      const sink = yield* EventSink.make((_: number): Effect.Effect<void, string> => {
        attempts++
        return Effect.die("dead")
      })
      const retrying = yield* RetryingSink.make(RetryStrategy.identity)(sink)
      const exit = yield* Effect.exit(retrying.write(1))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.strictEqual(attempts, 1)
      assert.strictEqual(retrying.node.health(0).inFlight, 0)
    })
  )

  it.effect("an interruption of the sink's own making is not retried", () =>
    Effect.gen(function* () {
      let attempts = 0
      const sink = yield* EventSink.make((_: number): Effect.Effect<void, string> => {
        attempts++
        return Effect.interrupt
      })
      const retrying = yield* RetryingSink.make(RetryStrategy.identity)(sink)
      const exit = yield* Effect.exit(retrying.write(1))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      assert.strictEqual(attempts, 1)
    })
  )

  it.effect("a SinkClosed of the sink is never retried", () =>
    withLogs(() =>
      Effect.gen(function* () {
        let attempts = 0
        const sink = yield* EventSink.make((_: number) =>
          Effect.fail(++attempts === 1 ? new Permanent() : new EventSink.SinkClosed({ sink: "receiver" }))
        )
        const retrying = yield* RetryingSink.make(RetryStrategy.identity)(sink)
        assert.instanceOf(yield* Effect.flip(retrying.write(1)), EventSink.SinkClosed)
        assert.strictEqual(attempts, 2)
      })
    )
  )

  it.effect("an interrupted write is over: it is not tried again, and the close does not wait for it", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>()
        const { close, part: retrying } = yield* open(RetryingSink.make(everySecond)(sink))
        const write = yield* Effect.forkChild(retrying.write(1))
        yield* settle
        yield* Fiber.interrupt(write)
        const { attempts } = sink
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(sink.attempts, attempts)
        yield* close
      })
    )
  )
})

describe("while", () => {
  const isTransient = (error: Transient | Permanent): error is Transient => error._tag === "Transient"

  it.effect("with a refinement the others are permanent and pass through", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { at, sink } = yield* failingWith([new Transient({}), new Transient({}), new Permanent()])
        const retrying = yield* RetryingSink.make(everySecond, { while: isTransient })(sink)
        const write = yield* Effect.forkChild(Effect.flip(retrying.write("a")))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(write))._tag, "Permanent")
        assert.deepStrictEqual(at, [0, 1000, 2000])
        assert.instanceOf(retrying.node.health(0).lastError?.error, Permanent)
      })
    )
  )

  it.effect("with a predicate too", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { at, sink } = yield* failingWith<number>([503, 404])
        const retrying = yield* RetryingSink.make(everySecond, { while: (status: number) => status >= 500 })(sink)
        const write = yield* Effect.forkChild(Effect.flip(retrying.write("a")))
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(yield* Fiber.join(write), 404)
        assert.deepStrictEqual(at, [0, 1000])
      })
    )
  )

  it.effect("what it holds for is RetriesExhausted when the strategy gives up", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { sink } = yield* failingWith([new Transient({}), new Transient({}), new Permanent()])
        const retrying = yield* RetryingSink.make(times(1), { while: isTransient })(sink)
        const write = yield* Effect.forkChild(Effect.flip(retrying.write("a")))
        yield* TestClock.adjust("1 minute")
        const error = yield* Fiber.join(write)
        assert.strictEqual(error._tag, "RetriesExhausted")
      })
    )
  )

  it.effect("a permanent error is an answer of the receiver: the strategy hears of a success", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const note = (what: string) => Effect.sync(() => void heard.push(what))
      const strategy = RetryStrategy.make<Transient | Permanent>(() => ({
        proceed: () => undefined,
        failure: () => note("failure"),
        success: () => note("success"),
        abandon: () => note("abandon")
      }))
      const { sink } = yield* failingWith<Transient | Permanent>([new Permanent()])
      const retrying = yield* RetryingSink.make(strategy, { while: isTransient })(sink)
      yield* Effect.flip(retrying.write("a"))
      assert.strictEqual(heard[0], "success")
      assert.notInclude(heard, "failure")
    })
  )
})

describe("retryAfter", () => {
  const attemptsAt = (retryAfter: unknown, options?: RetryingSink.Options) =>
    Effect.gen(function* () {
      const begin = yield* Clock.currentTimeMillis
      const { at, sink } = yield* failingWith([new Transient({ retryAfter: retryAfter as Duration.Input })])
      const retrying = yield* RetryingSink.make(everySecond, options)(sink)
      const write = yield* Effect.forkChild(retrying.write("a"))
      yield* TestClock.adjust("1 hour")
      yield* Fiber.join(write)
      return at.map((time) => time - begin)
    })

  it.effect("of an error is honoured, as a number of milliseconds or any other Duration.Input", () =>
    withLogs(() =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* attemptsAt(5000), [0, 5000])
        assert.deepStrictEqual(yield* attemptsAt(Duration.seconds(7)), [0, 7000])
        assert.deepStrictEqual(yield* attemptsAt("9 seconds"), [0, 9000])
      })
    )
  )

  it.effect("counts from the failure as the strategy's delay does: the longer of the two is waited for", () =>
    withLogs(() =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* attemptsAt(500), [0, 1000])
        assert.deepStrictEqual(yield* attemptsAt(1500), [0, 1500])
      })
    )
  )

  it.effect("is honoured up to maxRetryAfter: 1 minute by default", () =>
    withLogs(() =>
      Effect.gen(function* () {
        assert.deepStrictEqual(yield* attemptsAt("10 minutes"), [0, 60_000])
        assert.deepStrictEqual(yield* attemptsAt(Duration.infinity), [0, 60_000])
        assert.deepStrictEqual(yield* attemptsAt("10 minutes", { maxRetryAfter: "3 seconds" }), [0, 3000])
        assert.deepStrictEqual(yield* attemptsAt("2 minutes", { maxRetryAfter: "3 minutes" }), [0, 120_000])
      })
    )
  )

  it.effect("that is no duration is none", () =>
    withLogs(() =>
      Effect.gen(function* () {
        for (const nonsense of [undefined, null, "soon", Number.NaN, -5, {}]) {
          assert.deepStrictEqual(yield* attemptsAt(nonsense), [0, 1000])
        }
      })
    )
  )

  it.effect("is woken by the close", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { sink } = yield* failingWith([new Transient({ retryAfter: "1 minute" })])
        const { close, part } = yield* open(RetryingSink.make(RetryStrategy.identity)(sink))
        const write = yield* Effect.forkChild(Effect.flip(part.write("a")))
        yield* settle
        yield* close
        assert.instanceOf(yield* Fiber.join(write), EventSink.SinkClosed)
      })
    )
  )
})

describe("close", () => {
  it.effect("wakes every write that waits, which then fails with SinkClosed, and turns new ones away", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "1 hour" })
        for (const strategy of [everySecond, breaker, everySecond.pipe(RetryStrategy.combine(breaker))]) {
          const sink = yield* TestSink.failing<number>()
          const { close, part: retrying } = yield* open(RetryingSink.make(strategy, { name: "orders" })(sink))
          const writes = yield* Effect.forEach([1, 2, 3], (n) => Effect.forkChild(Effect.flip(retrying.write(n))))
          yield* settle
          yield* close
          for (const write of writes) {
            const error = yield* Fiber.join(write)
            assert.instanceOf(error, EventSink.SinkClosed)
            assert.strictEqual(error.sink, "orders")
          }
          const { attempts } = sink
          assert.instanceOf(yield* Effect.flip(retrying.write(4)), EventSink.SinkClosed)
          yield* TestClock.adjust("2 hours")
          assert.strictEqual(sink.attempts, attempts)
          assert.strictEqual(retrying.node.health(0).state, "closed")
        }
      })
    )
  )

  it.effect("waits for an attempt under way, which may succeed, and makes no other", () =>
    withLogs(() =>
      Effect.gen(function* () {
        let attempts = 0
        const sink = yield* EventSink.make((n: number) =>
          Effect.andThen(
            Effect.sleep("5 seconds"),
            Effect.suspend(() => (++attempts && n === 1 ? Effect.void : Effect.fail("down")))
          )
        )
        const { close, part: retrying } = yield* open(RetryingSink.make(RetryStrategy.identity)(sink))
        const good = yield* Effect.forkChild(retrying.write(1))
        const bad = yield* Effect.forkChild(Effect.flip(retrying.write(2)))
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("4999 millis")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(good)
        assert.instanceOf(yield* Fiber.join(bad), EventSink.SinkClosed)
        yield* Fiber.join(closing)
        assert.strictEqual(attempts, 2)
      })
    )
  )

  it.effect("is over after drainTimeout, 20 seconds by default, with a warning", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        for (const [drainTimeout, millis] of [
          [undefined, 20_000],
          ["3 seconds", 3000]
        ] as const) {
          logs.length = 0
          const sink = (yield* open(TestSink.hanging<number>())).part
          const { close, part: retrying } = yield* open(
            RetryingSink.make(RetryStrategy.identity, { drainTimeout, name: "orders" })(
              EventSink.mapError(EventSink.timeout(sink, "1 hour"), String)
            )
          )
          yield* Effect.forkChild(retrying.write(1))
          yield* settle
          const closing = yield* Effect.forkChild(close)
          yield* TestClock.adjust(millis - 1)
          assert.isUndefined(closing.pollUnsafe())
          yield* TestClock.adjust(1)
          yield* Fiber.join(closing)
          assert.deepStrictEqual(
            logs.map(({ level }) => level),
            ["WARN"]
          )
          assert.include(logs[0]!.line, "orders")
          yield* sink.release
        }
      })
    )
  )

  it.effect("happens before the sink below it is released", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const order: Array<string> = []
        const { close, part: retrying } = yield* open(
          Effect.gen(function* () {
            const sink = yield* EventSink.make((_: number): Effect.Effect<void, string> =>
              Effect.delay(
                Effect.sync(() => void order.push("committed")),
                "5 seconds"
              )
            )
            yield* Effect.addFinalizer(() => Effect.sync(() => order.push("released")))
            return yield* RetryingSink.make(RetryStrategy.identity)(sink)
          })
        )
        const write = yield* Effect.forkChild(retrying.write(1))
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(write)
        yield* Fiber.join(closing)
        assert.deepStrictEqual(order, ["committed", "released"])
      })
    )
  )
})

describe("logs", () => {
  it.effect("warns at the first failure of a run and at doubling counts, and logs the recovery once", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<string>({ times: 20, name: "receiver" })
        const retrying = yield* RetryingSink.make(RetryStrategy.identity, { name: "orders" })(sink)
        yield* retrying.write("a secret")
        yield* retrying.write("a secret")
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["WARN", "WARN", "WARN", "WARN", "WARN", "INFO"]
        )
        assert.include(logs[0]!.line, "receiver")
        assert.include(logs[0]!.line, "orders")
        assert.include(logs[5]!.line, "after 20")
        assert.notInclude(logs.map(({ line }) => line).join(), "secret")
      })
    )
  )

  it.effect("a run is of the sink, not of one write", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>()
        const retrying = yield* RetryingSink.make(times(0))(sink)
        for (let i = 0; i < 20; i++) yield* Effect.exit(retrying.write(i))
        assert.strictEqual(logs.length, 5)
      })
    )
  )
})

describe("batches", () => {
  it.effect("a batch is retried as a batch, and its answer is the sink's", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>({ times: 3, batchSize: 2 })
        const retrying = yield* RetryingSink.make(everySecond)(sink)
        const write = yield* Effect.forkChild(EventSink.writeAll(retrying, [1, 2, 3]))
        yield* TestClock.adjust("3 seconds")
        yield* Fiber.join(write)
        assert.deepStrictEqual(sink.received, [1, 2, 3])
        assert.deepStrictEqual(sink.batches, [2, 1])
        assert.strictEqual(sink.attempts, 5)
        assert.strictEqual(retrying.node.health(0).counts.accepted, 3)
      })
    )
  )

  it.effect("takes batches only if the sink does", () =>
    Effect.gen(function* () {
      const retrying = yield* RetryingSink.make(everySecond)(yield* TestSink.failing<number>())
      assert.isUndefined(retrying.writeSome)
    })
  )
})

describe("under a queue", () => {
  it.effect("the writes of one fiber are never reordered and nothing is lost", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.flaky<number>({ rate: 0.5, seed: 1 })
        const { close, part: queue } = yield* open(
          RetryingSink.make(RetryStrategy.identity)(sink).pipe(EventQueue.make())
        )
        const events = Array.from({ length: 500 }, (_, i) => i)
        yield* EventSink.writeAll(queue, events)
        yield* close
        assert.deepStrictEqual(sink.received, events)
      })
    )
  )
})
