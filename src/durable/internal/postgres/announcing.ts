/**
 * Which commits of a process notify the others. Postgres lets transactions that notify commit one after the other, in all of its
 * databases, so of the commits within 10 ms the first notifies, and for all that come after it one statement does.
 *
 * The application's own transactions notify by themselves: when they commit is not known here.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Schedule from "effect/Schedule"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import type { EventStoreError } from "../../EventStore.ts"

/** The least time between two notifications, in milliseconds. */
const interval = 10
/** The delays before another attempt to notify. */
const retries = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])

export interface Announcing {
  /** Whether a commit that begins now is to notify by itself. If not, `late` is to be called when it has ended. */
  readonly leads: () => boolean
  readonly late: () => void
}

/** `notify` notifies all listeners. What is late is notified at the end of the scope. */
export const announcing = Effect.fnUntraced(function* (notify: Effect.Effect<unknown, EventStoreError>) {
  const clock = yield* Clock.Clock
  const wanted = Latch.makeUnsafe()
  let isLate = false
  let last = Number.NEGATIVE_INFINITY
  const rest = Effect.suspend(() => Effect.sleep(Duration.millis(last + interval - monotonicMillis(clock))))
  const one = Effect.gen(function* () {
    yield* wanted.await
    yield* rest
    wanted.closeUnsafe()
    isLate = false
    last = monotonicMillis(clock)
    yield* Effect.retry(notify, retries).pipe(Effect.onInterrupt(() => Effect.sync(() => void (isLate = true))))
  })
  yield* Effect.addFinalizer(() =>
    // Where it fails others see the commit at their next claim: nothing but time is lost.
    Effect.suspend(() => (isLate ? Effect.exit(notify) : Effect.void))
  )
  // Without spans: those of the first caller would be its parents for ever.
  yield* Effect.forkScoped(Effect.withTracerEnabled(Effect.forever(one), false))
  const announcing: Announcing = {
    leads: () => {
      const now = monotonicMillis(clock)
      // What is late is notified for this one too, and at its time, which no other takes away.
      if (isLate || now - last < interval) return false
      last = now
      return true
    },
    late: () => {
      isLate = true
      wanted.openUnsafe()
    }
  }
  return announcing
})
