import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, References, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, EventQueue, EventSink, RetryingSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "./support/virtual.ts"

/** Attempts whose outcome the test decides. */
const attempt = (breaker: Breaker.Breaker) => breaker.start("event")

const failTimes = (breaker: Breaker.Breaker, n: number) =>
  Effect.repeat(
    Effect.suspend(() => attempt(breaker).failure("error")),
    { times: n - 1 }
  )

const make = Breaker.make({ threshold: 3, backoff: "10 seconds" })

describe("make", () => {
  it.effect("after threshold failures in a row it opens, whichever writes they were of", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      yield* failTimes(breaker, 2)
      assert.strictEqual(breaker.breaker(), "closed")
      assert.isUndefined(attempt(breaker).proceed())
      yield* failTimes(breaker, 1)
      assert.strictEqual(breaker.breaker(), "open")
    })
  )

  it.effect("a success in between begins the count anew", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      yield* failTimes(breaker, 2)
      yield* attempt(breaker).success() ?? Effect.void
      yield* failTimes(breaker, 2)
      assert.strictEqual(breaker.breaker(), "closed")
    })
  )

  it.effect("open it holds every attempt back, those of new writes too, until the backoff is over", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      yield* failTimes(breaker, 3)
      yield* TestClock.adjust("4 seconds")
      const late = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
      yield* TestClock.adjust("5999 millis")
      assert.isUndefined(late.pollUnsafe())
      assert.strictEqual(breaker.breaker(), "open")
      yield* TestClock.adjust("1 millis")
      assert.isDefined(late.pollUnsafe())
      assert.strictEqual(breaker.breaker(), "half-open")
    })
  )

  it.effect(
    "after backoff one attempt probes while the others wait for its verdict; a success lets them all go on",
    () =>
      Effect.gen(function* () {
        const breaker = yield* make
        yield* failTimes(breaker, 3)
        const attempts = Array.from({ length: 5 }, () => attempt(breaker))
        const waiting = yield* Effect.forEach(attempts, (one) => Effect.forkChild(one.proceed() ?? Effect.void))
        yield* TestClock.adjust("10 seconds")
        const begun = () => waiting.filter((fiber) => fiber.pollUnsafe() !== undefined).length
        assert.strictEqual(begun(), 1)
        // New writes wait too.
        const late = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
        yield* TestClock.adjust("1 hour")
        assert.strictEqual(begun(), 1)
        assert.isUndefined(late.pollUnsafe())
        const probe = waiting.findIndex((fiber) => fiber.pollUnsafe() !== undefined)
        yield* attempts[probe]!.success() ?? Effect.void
        yield* settle
        assert.strictEqual(breaker.breaker(), "closed")
        assert.strictEqual(begun(), 5)
        assert.isDefined(late.pollUnsafe())
      })
  )

  it.effect("a probe that fails opens it again, for a whole backoff", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      yield* failTimes(breaker, 3)
      const probe = attempt(breaker)
      const waiting = attempt(breaker)
      yield* TestClock.adjust("10 seconds")
      yield* probe.proceed() ?? Effect.void
      const fiber = yield* Effect.forkChild(waiting.proceed() ?? Effect.void)
      yield* settle
      yield* probe.failure("error")
      assert.strictEqual(breaker.breaker(), "open")
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(fiber.pollUnsafe())
    })
  )

  it.effect("a probe that ends without a verdict frees its place for the next", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      yield* failTimes(breaker, 3)
      yield* TestClock.adjust("10 seconds")
      const probe = attempt(breaker)
      yield* probe.proceed() ?? Effect.void
      const next = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
      yield* settle
      assert.isUndefined(next.pollUnsafe())
      yield* probe.abandon(false) ?? Effect.void
      yield* settle
      assert.isDefined(next.pollUnsafe())
      assert.strictEqual(breaker.breaker(), "half-open")
      // Abandoning twice, or after the place went to another, takes nothing from that one.
      yield* probe.abandon(false) ?? Effect.void
      const third = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
      yield* settle
      assert.isUndefined(third.pollUnsafe())
    })
  )

  it.effect("a success of an attempt that began before it opened does not close it", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      const early = attempt(breaker)
      yield* failTimes(breaker, 3)
      const waiting = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
      yield* settle
      yield* early.success() ?? Effect.void
      assert.strictEqual(breaker.breaker(), "open")
      yield* TestClock.adjust("10 seconds")
      assert.isDefined(waiting.pollUnsafe())
    })
  )

  it.effect("verdicts of attempts that began before it opened neither open nor reset it once it is closed again", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      const early = Array.from({ length: 4 }, () => attempt(breaker))
      yield* failTimes(breaker, 3)
      yield* TestClock.adjust("10 seconds")
      const probe = attempt(breaker)
      yield* probe.proceed() ?? Effect.void
      yield* probe.success() ?? Effect.void
      assert.strictEqual(breaker.breaker(), "closed")
      for (const one of early.slice(0, 3)) yield* one.failure("late")
      assert.strictEqual(breaker.breaker(), "closed")
      yield* failTimes(breaker, 2)
      yield* early[3]!.success() ?? Effect.void
      yield* failTimes(breaker, 1)
      assert.strictEqual(breaker.breaker(), "open", "the late success has not begun the count anew")
    })
  )

  it.effect.each(["asks for its next attempt", "waits for the verdict"] as const)(
    "a write that began before it opened counts again from its next attempt on: one that %s",
    (how) =>
      Effect.gen(function* () {
        const breaker = yield* make
        const [probe, early] = [attempt(breaker), attempt(breaker)]
        yield* failTimes(breaker, 3)
        const waiting = yield* Effect.forkChild(probe.proceed() ?? Effect.void)
        yield* settle
        const other = how === "waits for the verdict" ? (early.proceed() ?? Effect.void) : Effect.void
        const also = yield* Effect.forkChild(other)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(waiting)
        yield* probe.success() ?? Effect.void
        yield* Fiber.join(also)
        if (how === "asks for its next attempt") {
          yield* early.failure("late")
          assert.isUndefined(early.proceed(), "there is nothing to wait for")
        }
        yield* failTimes(breaker, 2)
        assert.strictEqual(breaker.breaker(), "closed")
        yield* early.failure("down")
        assert.strictEqual(breaker.breaker(), "open")
      })
  )

  it.effect("a defect counts as a failure, of a probe too", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      for (let n = 0; n < 3; n++) yield* attempt(breaker).abandon(true) ?? Effect.void
      assert.strictEqual(breaker.breaker(), "open")
      yield* TestClock.adjust("10 seconds")
      const probe = attempt(breaker)
      yield* probe.proceed() ?? Effect.void
      yield* probe.abandon(true) ?? Effect.void
      assert.strictEqual(breaker.breaker(), "open")
      const next = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
      yield* TestClock.adjust("9999 millis")
      assert.isUndefined(next.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.isDefined(next.pollUnsafe())
    })
  )

  it.effect("a failure of an attempt that began before it opened says nothing about the probe", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      const early = attempt(breaker)
      yield* failTimes(breaker, 3)
      yield* TestClock.adjust("10 seconds")
      const probe = attempt(breaker)
      yield* probe.proceed() ?? Effect.void
      yield* early.failure("error")
      assert.strictEqual(breaker.breaker(), "half-open")
      yield* probe.success() ?? Effect.void
      assert.strictEqual(breaker.breaker(), "closed")
    })
  )

  it.effect("one that succeeds has nothing to wait for and nothing to run", () =>
    Effect.gen(function* () {
      const attempts = attempt(yield* make)
      assert.isUndefined(attempts.proceed())
      assert.isUndefined(attempts.success())
    })
  )
})

describe("under a RetryingSink", () => {
  it.effect("all writes of all sinks that it is given to share its state", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* make
        const first = yield* TestSink.failing<number>({ times: 3 })
        const second = yield* TestSink.failing<number>({ times: 0 })
        const one = yield* RetryingSink.make(breaker)(first)
        const two = yield* RetryingSink.make(breaker)(second)
        const failing = yield* Effect.forkChild(one.write(1))
        yield* settle
        assert.strictEqual(first.attempts, 3)
        const held = yield* Effect.forkChild(two.write(2))
        yield* TestClock.adjust("9 seconds")
        assert.strictEqual(second.attempts, 0)
        assert.strictEqual(one.node.health(0).breaker, "open")
        assert.strictEqual(two.node.health(0).breaker, "open")
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(failing)
        yield* Fiber.join(held)
        assert.strictEqual(one.node.health(0).breaker, "closed")
        assert.deepStrictEqual([first.received, second.received], [[1], [2]])
      })
    )
  )

  it.effect.each(["interrupted", "is closed"] as const)(
    "a probe that is abandoned frees its place: one that %s",
    (how) =>
      quiet(
        Effect.gen(function* () {
          const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
          const scope = yield* Scope.make()
          const hold = yield* Scope.provide(TestSink.hanging<number>(), yield* Scope.make())
          let attempts = 0
          const sink = yield* EventSink.make((n: number): Effect.Effect<void, string | EventSink.SinkClosed> => {
            switch (++attempts) {
              case 1:
                return Effect.fail("down")
              case 2:
                return how === "interrupted" ? hold.write(n) : closed
              default:
                return Effect.void
            }
          })
          const retrying = yield* Scope.provide(RetryingSink.make(breaker)(sink), scope)
          const first = yield* Effect.forkChild(retrying.write(1))
          const second = yield* Effect.forkChild(retrying.write(2))
          yield* TestClock.adjust("10 seconds")
          if (how === "interrupted") {
            assert.strictEqual(breaker.breaker(), "half-open")
            yield* Fiber.interrupt(first)
          }
          yield* settle
          assert.isTrue(Exit.isFailure(yield* Fiber.await(first)))
          assert.isTrue(Exit.isSuccess(yield* Fiber.await(second)))
          assert.strictEqual(breaker.breaker(), "closed")
        })
      )
  )
  const closed = Effect.fail(new EventSink.SinkClosed({ sink: "receiver" }))

  it.effect("a probe that dies holds the others back for another backoff", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        let attempts = 0
        const retrying = yield* EventSink.make((_: number): Effect.Effect<void, string> => {
          attempts++
          return attempts === 1 ? Effect.fail("down") : attempts === 2 ? Effect.die("dead") : Effect.void
        }).pipe(RetryingSink.make(breaker))
        const first = yield* Effect.forkChild(retrying.write(1))
        const second = yield* Effect.forkChild(retrying.write(2))
        yield* TestClock.adjust("10 seconds")
        assert.isTrue(Exit.isFailure(yield* Fiber.await(first)))
        yield* TestClock.adjust("9999 millis")
        assert.isUndefined(second.pollUnsafe())
        assert.strictEqual(breaker.breaker(), "open")
        yield* TestClock.adjust("1 millis")
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(second)))
        assert.strictEqual(breaker.breaker(), "closed")
      })
    )
  )

  it.effect.each(["a write", "a queue's delivery"])("a function that throws counts as a failure: in %s", (where) =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        const retrying = yield* EventSink.make((_: number): Effect.Effect<void, string> => {
          throw new Error("thrown")
        }).pipe(RetryingSink.make(breaker))
        const sink = where === "a write" ? retrying : yield* EventQueue.make(retrying)
        yield* Effect.exit(sink.write(1))
        yield* settle
        assert.strictEqual(breaker.breaker(), "open")
        assert.strictEqual(retrying.node.health(0).inFlight, 0)
      })
    )
  )

  it.effect("a permanent error counts as an answer of the receiver: it closes the breaker", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        let attempts = 0
        const sink = yield* EventSink.make((_: number) => Effect.fail(++attempts === 1 ? "transient" : "permanent"))
        const retrying = yield* RetryingSink.make(breaker, { while: (error: string) => error === "transient" })(sink)
        const write = yield* Effect.forkChild(Effect.flip(retrying.write(1)))
        yield* settle
        assert.strictEqual(breaker.breaker(), "open")
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(yield* Fiber.join(write), "permanent")
        assert.strictEqual(breaker.breaker(), "closed")
      })
    )
  )
})

describe("a verdict that is interrupted, between any two operations,", () => {
  it.effect.each(["success", "failure", "death"] as const)("leaves no write waiting for it: %s", (verdict) =>
    Effect.gen(function* () {
      for (let allowance = 3; allowance < 20; allowance++) {
        for (let turns = 0; turns < 6; turns++) {
          const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
          yield* failTimes(breaker, 1)
          const probe = attempt(breaker)
          const probing = yield* Effect.forkChild(probe.proceed() ?? Effect.void)
          yield* TestClock.adjust("10 seconds")
          yield* Fiber.join(probing)
          const waiting = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void)
          yield* settle
          const effect = { success: probe.success(), failure: probe.failure("error"), death: probe.abandon(true) }[
            verdict
          ]
          const fiber = yield* Effect.forkChild(
            Effect.provideService(effect ?? Effect.void, References.MaxOpsBeforeYield, allowance),
            { startImmediately: true }
          )
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          yield* Fiber.interrupt(fiber)
          // As the retrier does where a write ends without a verdict.
          yield* probe.abandon(false) ?? Effect.void
          yield* TestClock.adjust("10 seconds")
          yield* settle
          assert.isDefined(waiting.pollUnsafe(), `with ${allowance} operations at a time, after ${turns} turns`)
        }
      }
    })
  )
})

describe("waiting", () => {
  // A sleep of less than the clock can move would come back at once, for ever: the test would not end.
  it.effect("does not end a millisecond before the backoff does", () =>
    Effect.gen(function* () {
      const breaker = yield* make
      yield* failTimes(breaker, 3)
      yield* TestClock.adjust("9999 millis")
      const last = yield* Effect.forkChild(attempt(breaker).proceed() ?? Effect.void, { startImmediately: true })
      assert.isUndefined(last.pollUnsafe())
      assert.strictEqual(breaker.breaker(), "open")
      yield* TestClock.adjust("1 millis")
      assert.isDefined(last.pollUnsafe())
    })
  )

  it.effect("ends when the backoff is over by a fraction of a millisecond", () =>
    Effect.forEach(
      Array.from({ length: 200 }, (_, i) => i),
      (i) =>
        Effect.gen(function* () {
          const backoff = 2 * (1 + (i % 10))
          yield* TestClock.setTime(i / 7)
          const attempts = (yield* Breaker.make({ threshold: 1, backoff })).start("event")
          yield* attempts.failure("error")
          const wait = Effect.andThen(
            Effect.sleep(backoff / 3),
            Effect.suspend(() => attempts.proceed() ?? Effect.void)
          )
          const fiber = yield* Effect.forkChild(wait, { startImmediately: true })
          yield* TestClock.adjust(backoff / 3)
          yield* TestClock.adjust(100)
          assert.isDefined(fiber.pollUnsafe())
        }).pipe(Effect.provide(TestClock.layer())),
      { discard: true }
    )
  )
})
