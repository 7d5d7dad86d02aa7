import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Schedule } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, RetryingSink, RetryStrategy } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { settle } from "./support/virtual.ts"

/** What a scripted strategy does after each failure: waits so many milliseconds, or gives up. */
type Script = ReadonlyArray<number | "give up">

/** A strategy that follows a script, from its last line on for ever. Notes what it hears. */
const scripted = (script: Script, heard: Array<string> = []) =>
  RetryStrategy.fromDelays<unknown, "gave up">(() => {
    let failures = 0
    return () => {
      heard.push("failure")
      const line = script[Math.min(failures++, script.length - 1)]!
      return line === "give up" ? Effect.fail("gave up" as const) : Effect.succeed(Duration.millis(line))
    }
  })

/** Fails `n` attempts and answers when each attempt began, in milliseconds, and how it ended. */
const run = <X>(strategy: RetryStrategy.RetryStrategy<unknown, X>, n: number) =>
  Effect.gen(function* () {
    const begin = yield* Clock.currentTimeMillis
    const times: Array<number> = []
    const fiber = yield* Effect.forkChild(
      Effect.gen(function* () {
        const attempts = strategy.start("event")
        for (let i = 0; i < n; i++) {
          yield* attempts.proceed() ?? Effect.void
          times.push((yield* Clock.currentTimeMillis) - begin)
          yield* attempts.failure("error")
        }
      })
    )
    yield* TestClock.adjust("1 hour")
    const exit = yield* Fiber.await(fiber)
    return { times, exhausted: Exit.isFailure(exit) }
  })

/** The cases are the same in every run. */
const generator = (seed: number) => {
  let state = seed
  const below = (limit: number) => {
    state = (state * 1_103_515_245 + 12_345) % 2_147_483_648
    return Math.floor((state / 2_147_483_648) * limit)
  }
  const script = (): Script =>
    Array.from({ length: 1 + below(6) }, () => {
      const kind = below(10)
      return kind === 0 ? ("give up" as const) : kind < 4 ? 0 : below(1000)
    })
  return { below, script }
}

describe("identity", () => {
  it.effect("tries again at once and for ever", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* run(RetryStrategy.identity, 1000), {
        times: Array.from({ length: 1000 }, () => 0),
        exhausted: false
      })
      assert.isUndefined(RetryStrategy.identity.start("event").proceed(), "Effect.void itself")
    })
  )
})

describe("combine", () => {
  it.effect("is associative", () =>
    Effect.gen(function* () {
      const { script } = generator(1)
      for (let i = 0; i < 300; i++) {
        const [a, b, c] = [scripted(script()), scripted(script()), scripted(script())]
        const left = a.pipe(RetryStrategy.combine(b), RetryStrategy.combine(c))
        const right = a.pipe(RetryStrategy.combine(b.pipe(RetryStrategy.combine(c))))
        assert.deepStrictEqual(yield* run(left, 8), yield* run(right, 8))
      }
    })
  )

  it.effect("identity combined with a strategy is that strategy, on either side", () =>
    Effect.gen(function* () {
      const { script } = generator(2)
      for (let i = 0; i < 300; i++) {
        const strategy = scripted(script())
        const alone = yield* run(strategy, 8)
        assert.deepStrictEqual(yield* run(strategy.pipe(RetryStrategy.combine(RetryStrategy.identity)), 8), alone)
        assert.deepStrictEqual(yield* run(RetryStrategy.identity.pipe(RetryStrategy.combine(strategy)), 8), alone)
      }
    })
  )

  it.effect("a combination waits for the longer of two delays and gives up when either does", () =>
    Effect.gen(function* () {
      const { script } = generator(3)
      for (let i = 0; i < 300; i++) {
        const [one, two] = [script(), script()]
        const n = 8
        const expected: { times: Array<number>; exhausted: boolean } = { times: [], exhausted: false }
        let now = 0
        for (let attempt = 0; attempt < n && !expected.exhausted; attempt++) {
          expected.times.push(now)
          const a = one[Math.min(attempt, one.length - 1)]!
          const b = two[Math.min(attempt, two.length - 1)]!
          if (a === "give up" || b === "give up") expected.exhausted = true
          else now += Math.max(a, b)
        }
        assert.deepStrictEqual(yield* run(scripted(one).pipe(RetryStrategy.combine(scripted(two))), n), expected)
      }
    })
  )

  it.effect("both hear of a failure, of a success and of an abandoned attempt, also when the first gives up", () =>
    Effect.gen(function* () {
      const heard: Array<string> = []
      const listening = (name: string, gives: "up" | "on") =>
        RetryStrategy.make<unknown, string>(() => ({
          proceed: () => undefined,
          failure: () =>
            Effect.andThen(
              Effect.sync(() => heard.push(`${name} failure`)),
              gives === "up" ? Effect.fail(name) : Effect.void
            ),
          success: () => Effect.sync(() => void heard.push(`${name} success`)),
          abandon: () => Effect.sync(() => void heard.push(`${name} abandon`))
        }))
      const attempts = listening("a", "up")
        .pipe(RetryStrategy.combine(listening("b", "on")))
        .start("event")
      assert.strictEqual(yield* Effect.flip(attempts.failure("error")), "a")
      yield* attempts.success() ?? Effect.void
      yield* attempts.abandon(false) ?? Effect.void
      assert.deepStrictEqual(heard, ["a failure", "b failure", "a success", "b success", "a abandon", "b abandon"])
    })
  )

  const ends: ReadonlyArray<readonly [how: string, end: () => Effect.Effect<void>]> = [
    ["throws", () => assert.fail("thrown")],
    ["dies", () => Effect.die("dead")],
    ["never answers", () => Effect.never]
  ]
  it.effect.each(
    ends.flatMap(([how, end]) =>
      (["failure", "success", "abandon"] as const).flatMap((on) =>
        [true, false].map(
          (isFirst) => [how, `at ${on}, ${isFirst ? "before" : "behind"} the breaker`, on, isFirst, end] as const
        )
      )
    )
  )("a breaker hears of its probe also where the strategy beside it %s: %s", ([, , on, isFirst, end]) =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
      const beside = RetryStrategy.make<unknown>(() => ({
        proceed: () => undefined,
        failure: () => Effect.void,
        success: () => undefined,
        abandon: () => undefined,
        [on]: end
      }))
      const both = isFirst
        ? beside.pipe(RetryStrategy.combine<unknown, never, never>(breaker))
        : breaker.pipe(RetryStrategy.combine(beside))
      yield* breaker.start("event").failure("error")
      yield* TestClock.adjust("10 seconds")
      const probe = both.start("event")
      yield* probe.proceed() ?? Effect.void
      assert.strictEqual(breaker.breaker(), "half-open")
      const calls = {
        failure: () => probe.failure("error"),
        success: probe.success,
        abandon: () => probe.abandon(false)
      }
      const verdict = Effect.suspend(() => calls[on]() ?? Effect.void)
      const fiber = yield* Effect.forkChild(Effect.exit(verdict), { startImmediately: true })
      yield* settle
      assert.strictEqual(breaker.breaker(), on === "success" ? "closed" : "open")
      yield* Fiber.interrupt(fiber)
    })
  )

  it.effect.each([true, false])(
    "a breaker counts an attempt once whose failure the other dies of, or that dies",
    (isFirst) =>
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 4, backoff: "10 seconds" })
        let dies = true
        const beside = RetryStrategy.make<unknown>(() => ({
          proceed: () => undefined,
          failure: () => (dies ? Effect.die("dead") : Effect.void),
          success: () => undefined,
          abandon: () => undefined
        }))
        const both = isFirst
          ? beside.pipe(RetryStrategy.combine<unknown, never, never>(breaker))
          : breaker.pipe(RetryStrategy.combine(beside))
        const sink = yield* TestSink.make<number, "busy">((attempt) =>
          attempt === 3 ? Effect.die("broken") : Effect.fail("busy")
        )
        const retrying = yield* RetryingSink.make(sink, both)
        yield* Effect.exit(retrying.write(1))
        dies = false
        // Its second attempt dies.
        yield* Effect.exit(retrying.write(2))
        assert.strictEqual(sink.attempts, 3)
        assert.strictEqual(breaker.breaker(), "closed")
        dies = true
        yield* Effect.exit(retrying.write(3))
        assert.strictEqual(breaker.breaker(), "open")
      })
  )

  it.effect("has nothing to wait for when neither has: Effect.void itself", () =>
    Effect.sync(() => {
      const attempts = scripted([0])
        .pipe(RetryStrategy.combine(scripted([0])))
        .start("event")
      assert.isUndefined(attempts.proceed())
    })
  )

  it.effect("asks the first again when it has begun to hold attempts back while the second was waited for", () =>
    Effect.gen(function* () {
      const ready = { first: false, second: false }
      const asked: Array<string> = []
      const gate = (name: "first" | "second", opens: () => void) =>
        RetryStrategy.make<unknown>(() => ({
          proceed: () =>
            ready[name]
              ? undefined
              : Effect.sync(() => {
                  asked.push(name)
                  ready[name] = true
                  opens()
                }),
          failure: () => Effect.void,
          success: () => undefined,
          abandon: () => undefined
        }))
      const first = gate("first", () => {})
      const second = gate("second", () => (ready.first = false))
      yield* first.pipe(RetryStrategy.combine(second)).start("event").proceed() ?? Effect.void
      assert.deepStrictEqual(asked, ["first", "second", "first"])
    })
  )

  it.effect("under a breaker every attempt waits for the breaker and for the backoff", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 2, backoff: "500 millis" })
      const strategy = scripted([100]).pipe(RetryStrategy.combine(breaker))
      // The first failure: 100. From the second on it is open: 500.
      assert.deepStrictEqual((yield* run(strategy, 5)).times, [0, 100, 600, 1100, 1600])
    })
  )

  it.effect("carries the breaker's state, whichever of the two has one", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 1, backoff: "1 seconds" })
      assert.strictEqual(breaker.pipe(RetryStrategy.combine(RetryStrategy.identity)).breaker?.(), "closed")
      assert.strictEqual(RetryStrategy.identity.pipe(RetryStrategy.combine(breaker)).breaker?.(), "closed")
      assert.isUndefined(RetryStrategy.identity.pipe(RetryStrategy.combine(RetryStrategy.identity)).breaker)
    })
  )
})

describe("fromDelays", () => {
  it.effect("delays count from the failure, not from when the next attempt is asked for", () =>
    Effect.gen(function* () {
      const attempts = scripted([1000]).start("event")
      yield* attempts.failure("error")
      yield* TestClock.adjust("400 millis")
      const proceed = yield* Effect.forkChild(attempts.proceed() ?? Effect.void)
      yield* TestClock.adjust("599 millis")
      assert.isUndefined(proceed.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(proceed.pollUnsafe())
    })
  )

  it.effect("each write starts its own attempts", () =>
    Effect.gen(function* () {
      const strategy = scripted([0, 100, "give up"])
      assert.deepStrictEqual(yield* run(strategy, 5), { times: [0, 0, 100], exhausted: true })
      assert.deepStrictEqual(yield* run(strategy, 5), { times: [0, 0, 100], exhausted: true })
    })
  )
})

describe("fromSchedule", () => {
  it.effect("follows the schedule and gives up when it ends, with ScheduleEnded", () =>
    Effect.gen(function* () {
      const strategy = RetryStrategy.fromSchedule(Schedule.spaced("1 seconds").pipe(Schedule.upTo({ times: 3 })))
      assert.deepStrictEqual(yield* run(strategy, 10), { times: [0, 1000, 2000, 3000], exhausted: true })
      const attempts = RetryStrategy.fromSchedule(Schedule.recurs(0)).start("event")
      assert.instanceOf(yield* Effect.flip(attempts.failure("error")), RetryStrategy.ScheduleEnded)
    })
  )

  it.effect("each write from its beginning", () =>
    Effect.gen(function* () {
      const strategy = RetryStrategy.fromSchedule(Schedule.exponential("100 millis"))
      const expected = { times: [0, 100, 300, 700], exhausted: false }
      assert.deepStrictEqual(yield* run(strategy, 4), expected)
      assert.deepStrictEqual(yield* run(strategy, 4), expected)
    })
  )

  it.effect("the schedule gets the error as its input", () =>
    Effect.gen(function* () {
      const inputs: Array<string> = []
      const schedule = Schedule.recurs(5).pipe(
        Schedule.setInputType<string>(),
        Schedule.tap(({ input }) => Effect.sync(() => inputs.push(input)))
      )
      const attempts = RetryStrategy.fromSchedule(schedule).start("event")
      yield* attempts.failure("first")
      yield* attempts.failure("second")
      assert.deepStrictEqual(inputs, ["first", "second"])
    })
  )
})

describe("forever", () => {
  it.effect("starts the schedule again when it ends, and never gives up", () =>
    Effect.gen(function* () {
      const strategy = RetryStrategy.forever(Schedule.exponential("100 millis").pipe(Schedule.upTo({ times: 2 })))
      assert.deepStrictEqual(yield* run(strategy, 7), { times: [0, 100, 300, 400, 600, 700, 900], exhausted: false })
    })
  )

  it.effect("a schedule that ends at once is no delay at all", () =>
    Effect.gen(function* () {
      const { exhausted, times } = yield* run(RetryStrategy.forever(Schedule.recurs(0)), 100)
      assert.isFalse(exhausted)
      assert.strictEqual(times.length, 100)
      assert.isTrue(times.every((time) => time === 0))
    })
  )
})
