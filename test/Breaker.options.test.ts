/** A breaker that fails fast, opens at a rate, stays open longer each time, and publishes its states. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Duration, Effect, Exit, Fiber, Schedule, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, EventQueue, EventSink, ExponentialBackoff, RetryingSink, RetryStrategy } from "effect-events"
import { quiet, settle } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** Attempts whose verdict the test gives. */
const verdicts = (breaker: RetryStrategy.RetryStrategy<unknown, never, unknown>, marks: string) =>
  Effect.forEach(
    marks,
    (mark) =>
      Effect.suspend(() => {
        const attempts = breaker.start("event")
        assert.isUndefined(attempts.proceed(), `it is not closed before "${mark}" of ${marks}`)
        return mark === "f" ? attempts.failure("down") : (attempts.success() ?? Effect.void)
      }),
    { discard: true }
  )

/** A probe that fails, as soon as there may be one. Answers how long the breaker stayed open. */
const failProbe = (breaker: Breaker.Breaker) =>
  Effect.gen(function* () {
    const attempts = breaker.start("event")
    const due = attempts.due?.() ?? 0
    const now = yield* Effect.clockWith((clock) => Effect.succeed(clock.currentTimeMillisUnsafe()))
    const probe = yield* Effect.forkChild(attempts.proceed() ?? Effect.void)
    yield* TestClock.adjust(due - now)
    yield* Fiber.join(probe)
    assert.strictEqual(breaker.breaker(), "half-open")
    yield* attempts.failure("down")
    return due - now
  })

describe(`onOpen: "fail"`, () => {
  it.effect("refuses a write at once and typed while it is open, and while a probe is under way", () =>
    quiet(
      Effect.gen(function* () {
        let isDown = true
        const tried: Array<number> = []
        const receiver = yield* EventSink.make((n: number) => {
          tried.push(n)
          return isDown ? Effect.fail("down" as const) : Effect.sleep("1 second")
        })
        const breaker = yield* Breaker.make({ threshold: 2, backoff: "10 seconds", onOpen: "fail" })
        const sink: EventSink.EventSink<number, Breaker.BreakerOpen> = yield* RetryingSink.make(receiver, breaker)
        const retryAfter = (n: number) =>
          Effect.map(Effect.flip(sink.write(n)), (error) => {
            assert.instanceOf(error, Breaker.BreakerOpen)
            return Duration.toMillis((error as Breaker.BreakerOpen).retryAfter)
          })
        // The write whose failures open it is refused its next attempt.
        assert.strictEqual(yield* retryAfter(1), 10_000)
        assert.deepStrictEqual(tried, [1, 1])
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* retryAfter(2), 6000)
        assert.deepStrictEqual(tried, [1, 1])
        yield* TestClock.adjust("6 seconds")
        isDown = false
        const probe = yield* Effect.forkChild(sink.write(3))
        yield* settle
        assert.strictEqual(yield* retryAfter(4), 10_000)
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(probe)
        assert.strictEqual(breaker.breaker(), "closed")
        const last = yield* Effect.forkChild(sink.write(5))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(last)
        assert.deepStrictEqual(tried, [1, 1, 3, 5])
        const { accepted, delivered } = sink.node.health(0).counts
        assert.deepStrictEqual([accepted, delivered, sink.node.health(0).inFlight], [2, 2, 0])
      })
    )
  )

  it.effect("a retrier above waits for its retryAfter; combined with a backoff it refuses too", () =>
    quiet(
      Effect.gen(function* () {
        let calls = 0
        const times: Array<number> = []
        const receiver = EventSink.make((_: number) =>
          Effect.clockWith((clock) => {
            times.push(clock.currentTimeMillisUnsafe())
            return ++calls < 3 ? Effect.fail("down") : Effect.void
          })
        )
        const breaker = yield* Breaker.make({ threshold: 2, backoff: "10 seconds", onOpen: "fail" })
        const backoff = RetryStrategy.forever(Schedule.spaced("1 second"))
        const sink: EventSink.EventSink<number> = yield* receiver.pipe(
          RetryingSink.make(backoff.pipe(RetryStrategy.combine(breaker))),
          RetryingSink.make(RetryStrategy.identity)
        )
        const write = yield* Effect.forkChild(sink.write(1))
        yield* TestClock.adjust("20 seconds")
        yield* Fiber.join(write)
        // The backoff is waited for first, and then the breaker refuses for what is left.
        assert.deepStrictEqual(times, [0, 1000, 11_000])
      })
    )
  )
})

describe("rate", () => {
  it.effect("opens at a share of failures among the last verdicts, judged at failures", () =>
    Effect.gen(function* () {
      const options = { rate: { failures: 0.5, of: 4 }, backoff: "1 second" } as const
      const rows = [
        ["sfsf", "open"],
        ["sffs", "closed"],
        ["fff", "closed"],
        ["ffff", "open"],
        // The window moves: the last four have one failure each time.
        ["ffssssfsssf", "closed"],
        ["ssssssff", "open"]
      ] as const
      for (const [marks, state] of rows) {
        const breaker = yield* Breaker.make(options)
        yield* verdicts(breaker, marks)
        assert.strictEqual(breaker.breaker(), state, marks)
      }
    })
  )

  it.effect("may open before the window is full, begins anew after a close, and stands beside a threshold", () =>
    Effect.gen(function* () {
      const early = yield* Breaker.make({ rate: { failures: 0.6, of: 10, atLeast: 3 }, backoff: "1 second" })
      yield* verdicts(early, "sff")
      assert.strictEqual(early.breaker(), "open")
      const probe = early.start("event")
      const waiting = yield* Effect.forkChild(probe.proceed() ?? Effect.void)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      yield* probe.success() ?? Effect.void
      yield* verdicts(early, "ff")
      assert.strictEqual(early.breaker(), "closed")
      const both = yield* Breaker.make({ threshold: 2, rate: { failures: 1, of: 10 }, backoff: "1 second" })
      yield* verdicts(both, "sff")
      assert.strictEqual(both.breaker(), "open")
    })
  )

  it.effect("counts writes through a retrier, whose successes take no shorter way then", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ rate: { failures: 0.3, of: 3 }, backoff: "1 hour" })
        const sink = yield* EventSink.make((n: number) => (n % 3 === 0 ? Effect.fail("down") : Effect.void)).pipe(
          RetryingSink.make(breaker, { while: () => true })
        )
        yield* EventSink.writeAll(sink, [1, 2])
        yield* Effect.forkChild(sink.write(3))
        yield* settle
        assert.strictEqual(breaker.breaker(), "open")
      })
    )
  )

  it.effect("refuses what says nothing", () =>
    Effect.gen(function* () {
      const rates = [
        { failures: 0, of: 10 },
        { failures: 1.1, of: 10 },
        { failures: Number.NaN, of: 10 },
        { failures: 0.5, of: 0 },
        { failures: 0.5, of: Infinity },
        { failures: 0.5, of: 10, atLeast: 11 },
        { failures: 0.5, of: 10, atLeast: 0 }
      ]
      for (const rate of rates) {
        const exit = yield* Effect.exit(Breaker.make({ rate, backoff: "1 second" }))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), JSON.stringify(rate))
      }
    })
  )
})

describe("a backoff that is a schedule", () => {
  it.effect("grows while probes fail, keeps its last delay when it ends, and starts again after a close", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({
        threshold: 1,
        backoff: Schedule.exponential("1 second").pipe(Schedule.upTo({ times: 4 }))
      })
      yield* verdicts(breaker, "f")
      const open = yield* Effect.forEach(range(7), () => failProbe(breaker))
      assert.deepStrictEqual(open, [1000, 2000, 4000, 8000, 8000, 8000, 8000])
      const probe = breaker.start("event")
      const waiting = yield* Effect.forkChild(probe.proceed() ?? Effect.void)
      yield* TestClock.adjust("8 seconds")
      yield* Fiber.join(waiting)
      yield* probe.success() ?? Effect.void
      yield* verdicts(breaker, "f")
      assert.strictEqual(yield* failProbe(breaker), 1000)
    })
  )
})

describe("changes", () => {
  it.effect("the state now and each one after it, to every reader", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 1, backoff: "1 second" })
      const read = (n: number) => Effect.forkChild(breaker.changes.pipe(Stream.take(n), Stream.runCollect))
      const first = yield* read(5)
      yield* settle
      yield* verdicts(breaker, "sf")
      yield* settle
      const second = yield* read(4)
      yield* settle
      yield* failProbe(breaker)
      const probe = breaker.start("event")
      const waiting = yield* Effect.forkChild(probe.proceed() ?? Effect.void)
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(waiting)
      yield* probe.success() ?? Effect.void
      assert.deepStrictEqual(yield* Fiber.join(first), ["closed", "open", "half-open", "open", "half-open"])
      assert.deepStrictEqual(yield* Fiber.join(second), ["open", "half-open", "open", "half-open"])
    })
  )

  it.effect("a reader that is slow holds nothing up, and gets the last state", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 1, backoff: "1 second" })
      const seen: Array<string> = []
      yield* breaker.changes.pipe(
        Stream.runForEach((state) =>
          Effect.andThen(
            Effect.sync(() => seen.push(state)),
            Effect.sleep("1 hour")
          )
        ),
        Effect.forkChild
      )
      yield* settle
      yield* verdicts(breaker, "f")
      for (let n = 0; n < 30; n++) yield* failProbe(breaker)
      yield* TestClock.adjust("100 hours")
      assert.strictEqual(seen.at(-1), "open")
      assert.isBelow(seen.length, 30)
    })
  )
})

describe("a deadline", () => {
  /** A retrier over a sink that is down, and the times of its attempts. */
  const measured = <S>(
    retrying: (down: Effect.Effect<EventSink.EventSink<number, string>, never, Scope.Scope>) => S
  ) => {
    const times: Array<number> = []
    const down = EventSink.make((_: number) =>
      Effect.clockWith((clock) => {
        times.push(clock.currentTimeMillisUnsafe())
        return Effect.fail("down")
      })
    )
    return { times, sink: retrying(down) }
  }
  const every = (duration: Duration.Input) => RetryStrategy.forever(Schedule.spaced(duration))

  it.effect("gives a write up at once when its next attempt lies behind it", () =>
    quiet(
      Effect.gen(function* () {
        const { sink, times } = measured(RetryingSink.make(every("4 seconds"), { deadline: "10 seconds" }))
        const { write } = yield* sink
        const fiber = yield* Effect.forkChild(Effect.flip(write(1)))
        yield* TestClock.adjust("7999 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        const error: RetryingSink.DeadlineExceeded<string> | EventSink.SinkClosed = yield* Fiber.join(fiber)
        assert.deepInclude(error, { _tag: "DeadlineExceeded", error: "down", attempts: 3, sink: "RetryingSink" })
        assert.deepStrictEqual(times, [0, 4000, 8000])
      })
    )
  )

  it.effect("keeps the caller's, of which the earliest holds, and only where the option is given", () =>
    quiet(
      Effect.gen(function* () {
        const { sink, times } = measured(RetryingSink.make(every("4 seconds"), { deadline: Infinity }))
        const { write } = yield* sink
        const error = yield* write(1).pipe(
          RetryingSink.withDeadline("1 hour"),
          RetryingSink.withDeadline("2 seconds"),
          RetryingSink.withDeadline("1 hour"),
          Effect.flip
        )
        assert.strictEqual(error._tag, "DeadlineExceeded")
        assert.deepStrictEqual(times, [0])
        const without = measured((down) => RetryingSink.make(down, every("4 seconds")))
        const plain: EventSink.EventSink<number> = yield* without.sink
        const fiber = yield* Effect.forkChild(RetryingSink.withDeadline(plain.write(1), "2 seconds"))
        yield* TestClock.adjust("1 minute")
        assert.isUndefined(fiber.pollUnsafe())
        assert.strictEqual(without.times.length, 16)
        yield* Fiber.interrupt(fiber)
      })
    )
  )

  it.effect("counts the receiver's retryAfter, an open breaker, and both of a combination", () =>
    quiet(
      Effect.gen(function* () {
        const asking = yield* EventSink.make((_: number) => Effect.fail({ retryAfter: "30 seconds" } as const)).pipe(
          RetryingSink.make(RetryStrategy.identity, { deadline: "10 seconds" })
        )
        assert.strictEqual((yield* Effect.flip(asking.write(1)))._tag, "DeadlineExceeded")
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "1 minute" })
        const { sink, times } = measured(
          RetryingSink.make(ExponentialBackoff.make().pipe(RetryStrategy.combine(breaker)), { deadline: "10 seconds" })
        )
        const { write } = yield* sink
        assert.deepInclude(yield* Effect.flip(write(1)), { _tag: "DeadlineExceeded", attempts: 1 })
        // Open from the start: there was no attempt.
        assert.deepInclude(yield* Effect.flip(write(2)), { _tag: "DeadlineExceeded", attempts: 0, error: undefined })
        assert.deepStrictEqual(times, [0])
        // A minute later there is time for the probe.
        yield* TestClock.adjust("55 seconds")
        const probe = yield* Effect.forkChild(Effect.flip(write(3)))
        yield* TestClock.adjust("5 seconds")
        assert.deepInclude(yield* Fiber.join(probe), { _tag: "DeadlineExceeded", attempts: 1 })
        assert.deepStrictEqual(times, [0, 60_000])
      })
    )
  )

  it.effect("a wait of unknown length ends at the deadline", () =>
    quiet(
      Effect.gen(function* () {
        const strategy = RetryStrategy.make<unknown>(() => ({
          proceed: () => Effect.never,
          failure: () => Effect.void,
          success: () => undefined,
          abandon: () => undefined
        }))
        const { sink } = measured(RetryingSink.make(strategy, { deadline: "10 seconds" }))
        const { write } = yield* sink
        const fiber = yield* Effect.forkChild(Effect.flip(write(1)))
        yield* TestClock.adjust("9999 millis")
        assert.isUndefined(fiber.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        assert.strictEqual((yield* Fiber.join(fiber))._tag, "DeadlineExceeded")
      })
    )
  )

  it.effect("ends at a queue: what is built or written under one is delivered in its own time", () =>
    quiet(
      Effect.gen(function* () {
        let calls = 0
        const program = Effect.gen(function* () {
          const queue = yield* EventSink.make((_: number) => (++calls < 3 ? Effect.fail("down") : Effect.void)).pipe(
            RetryingSink.make(every("4 seconds"), { deadline: Infinity }),
            EventQueue.make({ onDropped: () => Effect.die("dropped") })
          )
          yield* queue.write(1)
          return queue
        })
        const queue = yield* RetryingSink.withDeadline(program, "1 second")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* queue.pending, 0)
        assert.deepInclude(queue.node.health(0).counts, { delivered: 1, dropped: 0 })
      })
    )
  )
})
