/** A wait takes its time also where the wall clock is set ahead or back meanwhile. */
import { assert, describe, it } from "@effect/vitest"
import { Data, Duration, Effect, Fiber, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { Breaker, Broadcaster, EventSink, RetryingSink, RetryStrategy } from "effect-events"
import { makeCountedCapacity } from "../src/durable/internal/postgres/countedCapacity.ts"
import type { Attempt, Failed } from "../src/durable/internal/sqlite/database.ts"
import { makeTransactions } from "../src/durable/internal/sqlite/transactions.ts"
import { settable } from "./support/settable.ts"
import { open, quiet, settle } from "./support/virtual.ts"

const hour = Duration.toMillis("1 hour")

class Refused extends Data.TaggedError("Refused")<{ readonly retryAfter?: Duration.Duration }> {}

/** Runs `wait`, which sets the clock in between by `jump`, and expects it to end after so many milliseconds. */
const timed = (by: number, millis: number, wait: (jump: () => void) => Effect.Effect<unknown, unknown, Scope.Scope>) =>
  Effect.gen(function* () {
    const clock = yield* settable
    const fiber = yield* Effect.forkChild(Effect.scoped(clock.provide(wait(() => clock.set(by)))))
    yield* settle
    yield* TestClock.adjust(millis - 1)
    yield* settle
    assert.isUndefined(fiber.pollUnsafe(), "it has ended too early")
    yield* TestClock.adjust(1)
    yield* settle
    assert.isDefined(fiber.pollUnsafe(), "it has not ended")
    yield* Fiber.join(fiber)
  })

describe.each([
  ["ahead", hour],
  ["back", -hour]
])("with the wall clock set %s by an hour", (_, by) => {
  it.effect("a breaker that is open lets a probe through after its backoff", () =>
    timed(by, 10_000, (jump) =>
      Effect.gen(function* () {
        const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
        yield* breaker.start("event").failure("error")
        jump()
        yield* breaker.start("event").proceed() ?? Effect.void
      })
    )
  )

  it.effect("a backoff takes its delay", () =>
    timed(by, 10_000, (jump) =>
      Effect.gen(function* () {
        const strategy = RetryStrategy.fromDelays<unknown, never>(() => () => Effect.succeed(Duration.seconds(10)))
        const attempts = strategy.start("event")
        yield* attempts.failure("error")
        jump()
        yield* attempts.proceed() ?? Effect.void
      })
    )
  )

  it.effect("a retrier waits for as long as the receiver asked", () =>
    timed(by, 10_000, (jump) =>
      Effect.gen(function* () {
        const strategy = RetryStrategy.make<unknown>(() => ({
          proceed: () => undefined,
          failure: () => Effect.sync(jump),
          success: () => undefined,
          abandon: () => undefined
        }))
        let calls = 0
        const sink = yield* EventSink.make(() =>
          ++calls === 1 ? Effect.fail(new Refused({ retryAfter: Duration.seconds(10) })) : Effect.void
        ).pipe(RetryingSink.make(strategy))
        yield* quiet(sink.write("event"))
      })
    )
  )

  it.effect("a broadcaster closes by its drain timeout", () =>
    timed(by, 10_000, (jump) =>
      Effect.gen(function* () {
        const { close, part } = yield* open(
          Effect.gen(function* () {
            const thrower = yield* EventSink.sync(() => {
              jump()
              throw new Error("no")
            })
            const broadcaster = yield* Broadcaster.make<string>({ drainTimeout: "10 seconds" })
            // The report does not end, and the close waits for it.
            yield* Broadcaster.add(broadcaster, thrower, { onDropped: () => Effect.never })
            return broadcaster
          })
        )
        // The close begins in the turn of the write, before the sink has the event.
        yield* part.write("event")
        yield* quiet(close)
      })
    )
  )

  it.effect("an operation waits for a locked file for its timeout", () =>
    Effect.gen(function* () {
      const busy: Failed = { _tag: "Busy", problem: "Locked", detail: "is locked", maybeCommitted: false }
      const locked = { attempt: (): Attempt<never> => busy }
      const context = yield* Effect.context<never>()
      // All that is asked of it.
      const transactions = makeTransactions(locked, 10_000, context)
      const jumping = (operation: Effect.Effect<unknown, unknown>) => (jump: () => void) =>
        Effect.andThen(Effect.forkScoped(Effect.delay(Effect.sync(jump), "1 millis")), Effect.exit(operation))
      yield* timed(by, 10_000, jumping(transactions.read("read", () => {})))
      yield* timed(by, 10_000, jumping(transactions.write("write", () => {})))
    })
  )

  it.effect("a count of a Postgres store is counted anew after its pause", () =>
    Effect.gen(function* () {
      const clock = yield* settable
      const capacity = makeCountedCapacity()
      let counts = 0
      const limits = { rows: 10, bytes: 1000 }
      const count = Effect.sync(() => {
        counts++
        return [{ kind: "one", subscription: 1, rows: 0, bytes: 0 }]
      })
      const append = clock.provide(
        capacity.admit(limits, new Map([["one", { rows: 1, bytes: 1 }]]), count, Effect.void)
      )
      yield* append
      clock.set(by)
      yield* append
      assert.strictEqual(counts, 1)
      yield* TestClock.adjust(1000)
      yield* append
      assert.strictEqual(counts, 2)
    })
  )
})
