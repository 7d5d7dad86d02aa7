import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { Broadcaster, EventQueue, EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "./support/virtual.ts"
import { spread } from "./support/runs.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** Makes a part in a scope of its own, which the test does not close. */
const made = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Scope.make(), (scope) => Scope.provide(make, scope))

describe("recording", () => {
  it.effect("commits everything, and records what, in which batches and in how many attempts", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      yield* EventSink.writeAll(sink, [1, 2, 3])
      assert.deepStrictEqual(sink.received, [1, 2, 3])
      assert.deepStrictEqual(sink.batches, [1, 1, 1])
      assert.strictEqual(sink.attempts, 3)
    })
  )

  it.effect("takes batches of up to batchSize events", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 2 })
      assert.strictEqual(yield* sink.writeSome!([1, 2, 3]), 2)
      yield* sink.write(3)
      assert.deepStrictEqual(sink.received, [1, 2, 3])
      assert.deepStrictEqual(sink.batches, [2, 1])
      assert.strictEqual(sink.attempts, 2)
    })
  )

  it.effect("has a name, and closes with its scope", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const sink = yield* Scope.provide(TestSink.recording<number>({ name: "mine" }), scope)
      assert.strictEqual(sink.node.name, "mine")
      yield* Scope.close(scope, Exit.void)
      assert.instanceOf(yield* Effect.flip(sink.write(1)), EventSink.SinkClosed)
    })
  )
})

describe("flaky", () => {
  const failures = (rate: number, seed: string | number) =>
    Effect.gen(function* () {
      const sink = yield* TestSink.flaky<number>({ rate, seed })
      const exits = yield* Effect.forEach(range(1000), (n) => Effect.exit(sink.write(n)))
      const failed = exits.flatMap((exit, i) => (Exit.isFailure(exit) ? [i + 1] : []))
      assert.deepStrictEqual(
        sink.received,
        range(1000).filter((n) => !failed.includes(n))
      )
      return failed
    })

  it.effect("fails a share of its attempts", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* failures(0, "seed")).length, 0)
      assert.strictEqual((yield* failures(1, "seed")).length, 1000)
      const { length } = yield* failures(0.3, "seed")
      assert.isAbove(length, 230)
      assert.isBelow(length, 370)
    })
  )

  it.effect("the same seed fails the same attempts, and another others", () =>
    Effect.gen(function* () {
      const first = yield* failures(0.5, 1)
      assert.deepStrictEqual(yield* failures(0.5, 1), first)
      assert.notDeepEqual(yield* failures(0.5, 2), first)
    })
  )
})

describe("failing", () => {
  it.effect("fails the attempts from 1 to times with a TestError that says which it was", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number>({ times: 2 })
      for (const attempt of [1, 2]) {
        const error = yield* Effect.flip(sink.write(1))
        assert.strictEqual(error._tag === "TestError" && error.attempt, attempt)
      }
      yield* sink.write(1)
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("all of them by default", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number>()
      for (const n of range(50)) yield* Effect.flip(sink.write(n))
      assert.deepStrictEqual(sink.received, [])
    })
  )

  it.effect("with an error of the test's own, which is the sink's error type", () =>
    Effect.gen(function* () {
      class Busy extends Data.TaggedError("Busy")<{ readonly attempt: number }> {}
      const sink = yield* TestSink.failing<number, Busy>({ times: 2, error: (attempt) => new Busy({ attempt }) })
      const write: Effect.Effect<void, Busy | EventSink.SinkClosed> = sink.write(1)
      for (const attempt of [1, 2]) {
        const error = yield* Effect.flip(write)
        assert.strictEqual(error._tag === "Busy" && error.attempt, attempt)
      }
      yield* write
      assert.deepStrictEqual(sink.received, [1])
    })
  )
})

describe("failing, with any value as the error", () => {
  it.effect("fails with that value, and not with a TestError", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number, undefined>({ error: () => undefined })
      assert.isUndefined(yield* Effect.flip(sink.write(1)))
    })
  )
})

describe("slow", () => {
  it.effect("takes its time over each write", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.slow<number>("1 seconds")
      const write = yield* Effect.forkChild(EventSink.writeAll(sink, [1, 2]))
      yield* TestClock.adjust("1999 millis")
      assert.deepStrictEqual(sink.received, [1])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(write)
      assert.deepStrictEqual(sink.received, [1, 2])
    })
  )
})

describe("hanging", () => {
  it.effect("hangs from attempt from on, until it is released: then writes commit, those that come later too", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<number>({ from: 2 })
      yield* sink.write(1)
      const write = yield* Effect.forkChild(sink.write(2))
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(write.pollUnsafe())
      yield* sink.release
      yield* Fiber.join(write)
      yield* sink.write(3)
      assert.deepStrictEqual(sink.received, [1, 2, 3])
    })
  )

  it.effect("can be interrupted, and has then committed nothing", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<number>()
      const write = yield* Effect.forkChild(sink.write(1))
      yield* settle
      yield* Fiber.interrupt(write)
      assert.deepStrictEqual(sink.received, [])
    })
  )
})

describe("uninterruptible", () => {
  it.effect("refuses interruption: only release ends its writes, and they commit", () =>
    Effect.gen(function* () {
      const sink = yield* made(TestSink.uninterruptible<number>())
      const write = yield* Effect.forkChild(sink.write(1))
      yield* settle
      const interrupting = yield* Effect.forkChild(Fiber.interrupt(write))
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(write.pollUnsafe())
      yield* sink.release
      yield* Fiber.join(interrupting)
      assert.deepStrictEqual(sink.received, [1])
    })
  )
})

describe("dying", () => {
  it.effect("dies of a defect in the attempts that when holds for, in all by default", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.dying<number>({ when: (attempt) => attempt === 2 })
      yield* sink.write(1)
      const exit = yield* Effect.exit(sink.write(2))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      yield* sink.write(3)
      assert.deepStrictEqual(sink.received, [1, 3])
      const all = yield* Effect.exit((yield* TestSink.dying<number>()).write(1))
      assert.isTrue(Exit.isFailure(all) && Cause.hasDies(all.cause))
    })
  )
})

describe("selfInterrupting", () => {
  it.effect("ends in an interruption of its own making in the attempts that when holds for, in all by default", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.selfInterrupting<number>({ when: (attempt) => attempt === 2 })
      yield* sink.write(1)
      const exit = yield* Effect.exit(sink.write(2))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      yield* sink.write(3)
      assert.deepStrictEqual(sink.received, [1, 3])
      const all = yield* Effect.exit((yield* TestSink.selfInterrupting<number>()).write(1))
      assert.isTrue(Exit.isFailure(all) && Cause.hasInterruptsOnly(all.cause))
    })
  )
})

describe("closing", () => {
  it.effect("is closed from attempt from on, 1 by default: it answers SinkClosed", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.closing<number>({ from: 2 })
      yield* sink.write(1)
      assert.instanceOf(yield* Effect.flip(sink.write(2)), EventSink.SinkClosed)
      assert.deepStrictEqual(sink.received, [1])
      assert.instanceOf(yield* Effect.flip((yield* TestSink.closing<number>()).write(1)), EventSink.SinkClosed)
    })
  )
})

describe("make", () => {
  it.effect("runs act before each write commits, with the attempt's number from 1 and the first event", () =>
    Effect.gen(function* () {
      const acts: Array<[number, number]> = []
      const sink = yield* TestSink.make<number>(
        (attempt, _hold, event) => Effect.sync(() => void acts.push([attempt, event])),
        { batchSize: 2 }
      )
      yield* EventSink.writeAll(sink, [7, 8, 9])
      assert.deepStrictEqual(acts, [
        [1, 7],
        [2, 9]
      ])
    })
  )
})

describe("a test that ends with an event pending while its clock stands still", () => {
  /** How the scope of a test closes. */
  const ends = <E>(test: Effect.Effect<unknown, E, Scope.Scope>) =>
    Effect.exit(test).pipe(Effect.scoped, Effect.provide(TestClock.layer()), Effect.exit)
  const messageOf = (exit: Exit.Exit<unknown, unknown>) => (Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "none")
  const backoff = ExponentialBackoff.make({ base: "1 second" })

  const hangs: Readonly<
    Record<string, readonly [pending: string, test: Effect.Effect<unknown, unknown, Scope.Scope>]>
  > = {
    "a queue over a slow sink": [
      "2 events pending",
      TestSink.slow<number>("1 second", { name: "slow" }).pipe(
        EventQueue.make(),
        Effect.flatMap(EventSink.writeAll([1, 2]))
      )
    ],
    "a queue over a slow sink, when the clock has moved before": [
      "1 event pending",
      TestSink.slow<number>("1 second").pipe(
        EventQueue.make(),
        Effect.flatMap(EventSink.writeAll([1, 2])),
        Effect.andThen(TestClock.adjust("1 second"))
      )
    ],
    "a queue over a hanging sink, for ever": [
      "1 event pending",
      TestSink.hanging<number>().pipe(
        EventQueue.make({ drainTimeout: "Infinity" }),
        Effect.flatMap((queue) => queue.write(1))
      )
    ],
    "a queue over a retrier": [
      "1 event pending",
      TestSink.failing<number>().pipe(
        RetryingSink.make(backoff),
        EventQueue.make(),
        Effect.flatMap((queue) => queue.write(1))
      )
    ],
    "a broadcaster": [
      "1 event pending",
      Effect.flatMap(TestSink.slow<number>("1 second"), (sink) =>
        Effect.flatMap(Broadcaster.make([sink]), (broadcaster) => broadcaster.write(1))
      )
    ],
    "a write in a fiber of its own": [
      "1 event pending",
      Effect.flatMap(TestSink.slow<number>("1 second"), (sink) =>
        Effect.andThen(Effect.forkChild(sink.write(1), { startImmediately: true }), settle)
      )
    ]
  }
  for (const [name, [pending, test]] of spread(Object.entries(hangs), 3)) {
    it.live(`${name}: the close dies, and says so`, () =>
      Effect.gen(function* () {
        const message = messageOf(yield* quiet(ends(test)))
        for (const part of [pending, "TestClock.adjust", name.includes("over a slow sink") ? "sink" : "TestSink"])
          assert.include(message, part)
      })
    )
  }

  const goesOn: Readonly<Record<string, Effect.Effect<unknown, unknown, Scope.Scope>>> = {
    "an event pending that the close gives up at once": TestSink.hanging<number>().pipe(
      EventQueue.make({ drainTimeout: 0 }),
      Effect.flatMap((queue) => queue.write(1))
    ),
    "nothing pending": TestSink.slow<number>("1 second").pipe(
      EventQueue.make(),
      Effect.flatMap((queue) => queue.write(1)),
      Effect.andThen(TestClock.adjust("1 second"))
    ),
    "a close that the test moves the clock for": Effect.gen(function* () {
      const scope = yield* Scope.make()
      const queue = yield* TestSink.slow<number>("1 second").pipe(EventQueue.make(), Scope.provide(scope))
      yield* queue.write(1)
      const close = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(close)
    })
  }
  for (const [name, test] of Object.entries(goesOn)) {
    it.live(`${name}: the close ends as ever`, () =>
      Effect.gen(function* () {
        const exit = yield* quiet(ends(test))
        assert.isTrue(Exit.isSuccess(exit), messageOf(exit))
      })
    )
  }
})
