/** Verdicts that come late to a breaker, through retriers whose writes hang: they are of another time. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Latch } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, EventSink, RetryingSink } from "effect-events"
import { quiet, settle } from "./support/virtual.ts"

describe("a write that began before the breaker opened", () => {
  /** A sink whose writes of negative numbers fail, after the gate where they are below -10, and whose others succeed. */
  const receiver = Effect.gen(function* () {
    const gate = Latch.makeUnsafe()
    const attempts: Array<number> = []
    const sink = yield* EventSink.make((n: number) =>
      Effect.suspend(() => {
        attempts.push(n)
        // The second attempt of a late one succeeds.
        if (n < -10 && attempts.filter((other) => other === n).length > 1) return Effect.void
        const end = n < 0 ? Effect.fail(`no ${n}`) : Effect.void
        return Math.abs(n) > 10 ? Effect.andThen(gate.await, end) : end
      })
    )
    return { attempts, gate, sink }
  })
  /** Opens the breaker by a write of its own, and closes it by the probe of another. */
  const openAndClose = (retrying: EventSink.EventSink<number>, breaker: Breaker.Breaker) =>
    Effect.gen(function* () {
      const failing = yield* Effect.forkChild(retrying.write(-1))
      yield* settle
      assert.strictEqual(breaker.breaker(), "open")
      const probe = yield* Effect.forkChild(retrying.write(1))
      yield* settle
      yield* Fiber.interrupt(failing)
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(probe)
      assert.strictEqual(breaker.breaker(), "closed")
    })

  // The write starts its attempts only when it fails, and by then the breaker is closed again.
  it.effect("and fails after it was closed again does not open it, whatever the threshold", () =>
    quiet(
      Effect.gen(function* () {
        for (const threshold of [1, 2]) {
          const breaker = yield* Breaker.make({ threshold, backoff: "10 seconds" })
          const { attempts, gate, sink } = yield* receiver
          const retrying = yield* RetryingSink.make(breaker)(sink)
          const late = yield* Effect.forEach([-11, -12, -13], (n) => Effect.forkChild(retrying.write(n)))
          yield* settle
          yield* openAndClose(retrying, breaker)
          yield* gate.open
          yield* settle
          assert.strictEqual(breaker.breaker(), "closed", `with a threshold of ${threshold}`)
          for (const write of late) yield* Fiber.join(write)
          assert.deepStrictEqual(
            attempts.filter((n) => n < -10).toSorted(),
            [-11, -11, -12, -12, -13, -13],
            "each is tried again, without a wait"
          )
          // The next failures of writes that began since count as ever.
          yield* Effect.forkChild(retrying.write(-2))
          yield* settle
          assert.strictEqual(breaker.breaker(), "open")
        }
      })
    )
  )

  it.effect("and dies after it was closed again does not open it either", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        const gate = Latch.makeUnsafe()
        const sink = yield* EventSink.make((n: number): Effect.Effect<void, string> =>
          n > 10 ? Effect.andThen(gate.await, Effect.die("late")) : n < 0 ? Effect.fail("no") : Effect.void
        )
        const retrying = yield* RetryingSink.make(breaker)(sink)
        const late = yield* Effect.forkChild(Effect.exit(retrying.write(11)))
        yield* settle
        yield* openAndClose(retrying, breaker)
        yield* gate.open
        assert.isTrue(Exit.isFailure(yield* Fiber.join(late)))
        assert.strictEqual(breaker.breaker(), "closed")
      })
    )
  )

  it.effect("and succeeds while it is open neither closes it nor waits", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        const { gate, sink } = yield* receiver
        const retrying = yield* RetryingSink.make(breaker)(sink)
        const late = yield* Effect.forkChild(retrying.write(11))
        yield* settle
        yield* Effect.forkChild(retrying.write(-1))
        yield* settle
        assert.strictEqual(breaker.breaker(), "open")
        yield* gate.open
        yield* Fiber.join(late)
        assert.strictEqual(breaker.breaker(), "open")
      })
    )
  )

  it.effect("and fails while it is open waits for it like any other", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        const { attempts, gate, sink } = yield* receiver
        const retrying = yield* RetryingSink.make(breaker)(sink)
        const late = yield* Effect.forkChild(retrying.write(-11))
        yield* settle
        const failing = yield* Effect.forkChild(retrying.write(-1))
        yield* settle
        yield* Fiber.interrupt(failing)
        yield* TestClock.adjust("4 seconds")
        yield* gate.open
        yield* settle
        // The backoff counts from the failure that opened it.
        yield* TestClock.adjust("5999 millis")
        assert.deepStrictEqual(attempts, [-11, -1])
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(late)
        assert.strictEqual(breaker.breaker(), "closed")
      })
    )
  )

  it.effect("counts where it did not open, in a row with writes that began later", () =>
    quiet(
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 2, backoff: "10 seconds" })
        const gates = [Latch.makeUnsafe(), Latch.makeUnsafe()]
        let attempts = 0
        const sink = yield* EventSink.make((n: number): Effect.Effect<void, string> => {
          if (n === 2) return Effect.void
          return ++attempts > 2 ? Effect.never : Effect.andThen(gates[n]!.await, Effect.fail("no"))
        })
        const retrying = yield* RetryingSink.make(breaker)(sink)
        const writes = yield* Effect.forEach([0, 1], (n) => Effect.forkChild(retrying.write(n)))
        yield* settle
        yield* retrying.write(2)
        yield* gates[0]!.open
        yield* settle
        assert.strictEqual(breaker.breaker(), "closed")
        yield* gates[1]!.open
        yield* settle
        assert.strictEqual(breaker.breaker(), "open")
        for (const write of writes) yield* Fiber.interrupt(write)
      })
    )
  )
})
