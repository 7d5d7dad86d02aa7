import { assert, describe, it } from "@effect/vitest"
import { Clock, type Duration, Effect, Exit, Fiber, Schedule, Scheduler, Scope } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { note, one } from "./support/envelopes.ts"
import { fakeClient } from "./support/receiver.ts"

/** The clock of a test, which also says how many timers run on it. */
const countingTimers = <A, E, R>(run: (timers: () => number) => Effect.Effect<A, E, R>) =>
  Clock.clockWith((clock) => {
    let timers = 0
    const counted = (sleep: Effect.Effect<void>) =>
      Effect.suspend(() => {
        timers++
        return Effect.ensuring(
          sleep,
          Effect.sync(() => void timers--)
        )
      })
    const counting: Clock.Clock = Object.create(clock, {
      sleep: { value: (d: Duration.Duration) => counted(clock.sleep(d)) }
    })
    return Effect.provideService(
      run(() => timers),
      Clock.Clock,
      counting
    )
  })

/** A client that answers after so many milliseconds, and counts what was interrupted. */
const slow = (millis: (n: number) => number) => {
  const counts = { began: 0, interrupted: 0 }
  const client = fakeClient(() =>
    Effect.suspend(() => Effect.delay(Effect.succeed(new Response()), millis(counts.began++))).pipe(
      Effect.onInterrupt(() => Effect.sync(() => void counts.interrupted++))
    )
  )
  return { counts, client }
}

const sinkOver = (client: HttpClient.HttpClient, timeout: Duration.Input) =>
  HttpSink.make({ url: "http://receiver.test/", envelope: one, timeout }).pipe(
    Effect.provideService(HttpClient.HttpClient, client)
  )

describe("the time limits of a sink's requests", () => {
  it.effect("many at once: each is late at its own time, and no other is", () =>
    Effect.gen(function* () {
      const { client, counts } = slow((n) => (n % 3 === 0 ? 100_000 : 300 + n))
      const sink = yield* sinkOver(client, "1 second")
      const ended: Array<readonly [n: number, time: number, kind: string]> = []
      for (let n = 0; n < 100; n++) {
        yield* Effect.match(sink.write(note("x")), {
          onSuccess: () => "accepted",
          onFailure: (error) => (error._tag === "HttpSinkError" ? error.reason._tag : error._tag)
        }).pipe(
          Effect.flatMap((kind) => Effect.map(Clock.currentTimeMillis, (time) => ended.push([n, time, kind]))),
          Effect.forkChild
        )
        yield* TestClock.adjust(10)
      }
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        ended.toSorted(([a], [b]) => a - b),
        Array.from({ length: 100 }, (_, n) =>
          n % 3 === 0 ? ([n, n * 10 + 1000, "Timeout"] as const) : ([n, n * 10 + 300 + n, "accepted"] as const)
        )
      )
      assert.strictEqual(counts.interrupted, 34)
    })
  )

  it.effect("what is written when the time of another is up has a time of its own", () =>
    Effect.gen(function* () {
      const { client, counts } = slow((n) => (n < 3 ? 100_000 : 10))
      const sink = yield* sinkOver(client, "1 second")
      const write = yield* Effect.forkChild(Effect.retry(sink.write(note("x")), Schedule.forever))
      yield* TestClock.adjust("3009 millis")
      assert.deepStrictEqual([counts.began, write.pollUnsafe()], [4, undefined])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(write)
      assert.strictEqual(counts.interrupted, 3)
    })
  )

  it.effect("a writer with a clock of its own is timed by that", () =>
    Effect.gen(function* () {
      const sink = yield* sinkOver(slow(() => 100_000).client, "20 millis")
      const here = yield* Effect.forkChild(Effect.flip(sink.write(note("x"))))
      yield* Effect.yieldNow
      const error = yield* TestClock.withLive(Effect.flip(sink.write(note("x"))))
      assert.include(error.message, "no answer within 20ms")
      assert.isUndefined(here.pollUnsafe())
      yield* TestClock.adjust("20 millis")
      assert.include((yield* Fiber.join(here)).message, "no answer within 20ms")
      const next = yield* TestClock.withLive(Effect.flip(sink.write(note("x"))))
      assert.include(next.message, "no answer within 20ms")
    })
  )

  it.live("a timer for each request under way, and none when there is no request", () =>
    countingTimers((timers) =>
      Effect.gen(function* () {
        const gates: Array<() => void> = []
        const client = fakeClient(() =>
          Effect.callback<Response>((resume) => void gates.push(() => resume(Effect.succeed(new Response()))))
        )
        const sink = yield* sinkOver(client, "1 hour")
        const writes = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(sink.write(note("x"))))
        yield* Effect.yieldNow
        const seen = [timers()]
        gates[0]!()
        gates[2]!()
        yield* Fiber.join(writes[0]!)
        yield* Fiber.join(writes[2]!)
        seen.push(timers())
        gates[1]!()
        yield* Fiber.join(writes[1]!)
        seen.push(timers())
        const last = yield* Effect.forkChild(sink.write(note("x")))
        yield* Effect.yieldNow
        seen.push(timers())
        yield* Fiber.interrupt(last)
        seen.push(timers())
        assert.deepStrictEqual(seen, [3, 1, 0, 1, 0])
      })
    )
  )

  it.live("a close with requests under way waits for their time to be up, and leaves no timer", () =>
    countingTimers((timers) =>
      Effect.gen(function* () {
        const { client, counts } = slow(() => 100_000)
        const scope = yield* Scope.make()
        const sink = yield* Scope.provide(sinkOver(client, "100 millis"), scope)
        const writes = yield* Effect.forEach([1, 2, 3], () => Effect.forkChild(Effect.flip(sink.write(note("x")))))
        yield* Effect.yieldNow
        yield* Scope.close(scope, Exit.void)
        const errors = yield* Effect.forEach(writes, Fiber.join)
        for (const error of errors) assert.include(error.message, "no answer within 100ms")
        assert.deepStrictEqual([counts.interrupted, timers()], [3, 0])
      })
    )
  )

  const ending = (exchange: Effect.Effect<Response>, timeout: Duration.Input = "1 second") =>
    Effect.flatMap(
      sinkOver(
        fakeClient(() => exchange),
        timeout
      ),
      (sink) => Effect.exit(sink.write(note("x")))
    )

  it.effect("a request that refuses its interruption is waited for, and is late all the same", () =>
    Effect.gen(function* () {
      const answer = Effect.uninterruptible(Effect.delay(Effect.succeed(new Response()), "3 seconds"))
      const fiber = yield* Effect.forkChild(ending(answer))
      yield* TestClock.adjust("2999 millis")
      assert.isUndefined(fiber.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.include(String(yield* Fiber.join(fiber)), "no answer within 1s")
    })
  )

  it.effect("a request that interrupts itself ends in that, and one that dies in its defect", () =>
    Effect.gen(function* () {
      assert.isTrue(Exit.hasInterrupts(yield* ending(Effect.andThen(Effect.yieldNow, Effect.interrupt))))
      assert.isTrue(Exit.hasInterrupts(yield* ending(Effect.interrupt)))
      assert.isTrue(Exit.hasDies(yield* ending(Effect.andThen(Effect.yieldNow, Effect.die("x")))))
      assert.isTrue(Exit.isSuccess(yield* ending(Effect.succeed(new Response()))))
    })
  )

  it.live("a request whose time is up during its report is reported once, wherever its fiber yields then", () =>
    Effect.gen(function* () {
      let reports = 0
      const client = fakeClient(() => Effect.succeed(new Response(null, { status: 500 })))
      const sink = yield* HttpSink.make({
        url: "http://receiver.test/",
        envelope: one,
        timeout: 4,
        onAttempt: () => {
          reports++
          const end = performance.now() + 8
          while (performance.now() < end);
        }
      }).pipe(Effect.provideService(HttpClient.HttpClient, client))
      // With fewer operations a turn some loops of the runtime never end.
      const turns = Array.from({ length: 40 }, (_, i) => 8 + i)
      for (const operations of turns) {
        yield* Effect.provideService(Effect.exit(sink.write(note("x"))), Scheduler.MaxOpsBeforeYield, operations)
      }
      assert.strictEqual(reports, turns.length)
    })
  )

  it.effect("no time at all is up at once", () =>
    Effect.gen(function* () {
      assert.include(String(yield* ending(Effect.never, 0)), "no answer within 0")
    })
  )
})
