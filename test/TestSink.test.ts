import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import { EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { settle } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** Makes a part in a scope of its own, which the test does not close. */
const made = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  Effect.flatMap(Scope.make(), (scope) => Scope.provide(make, scope))

describe("recording", () => {
  it.effect("commits everything, and tells what, in which groups and in how many attempts", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      yield* EventSink.writeAll(sink, [1, 2, 3])
      assert.deepStrictEqual(sink.received, [1, 2, 3])
      assert.deepStrictEqual(sink.groups, [1, 1, 1])
      assert.strictEqual(sink.attempts, 3)
    })
  )

  it.effect("takes groups of up to group events", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ group: 2 })
      assert.strictEqual(yield* sink.writeSome!([1, 2, 3]), 2)
      yield* sink.write(3)
      assert.deepStrictEqual(sink.received, [1, 2, 3])
      assert.deepStrictEqual(sink.groups, [2, 1])
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
        { group: 2 }
      )
      yield* EventSink.writeAll(sink, [7, 8, 9])
      assert.deepStrictEqual(acts, [
        [1, 7],
        [2, 9]
      ])
    })
  )
})
