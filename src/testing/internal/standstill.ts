/**
 * Notices a scope that cannot close because the `TestClock` of the test stands still: a queue, a retrier or a sink waits at
 * its close for time to pass, and the test that moves the clock has ended. It changes nothing in a test that ends by
 * itself, and real time counts only once a close is under way in which nothing moves.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Scope from "effect/Scope"
import type * as TestClock from "effect/testing/TestClock"
import { Delivering } from "../../internal/context.ts"
import type { SinkNode } from "../../internal/node.ts"

/** How long nothing moves in a close before it is taken for one that hangs: in real time, and in scheduler turns. */
const quiet = "1 second"
const quietTurns = 256

/** Runs a write of these events, which are pending until one of their writes succeeds. */
export type Watched = <A, E>(events: ReadonlyArray<unknown>, write: Effect.Effect<A, E>) => Effect.Effect<A, E>

/** Watches the scope of a sink that has begun `attempts` writes, where its clock is a `TestClock`. */
export const watchStandstill = (
  sink: string,
  attempts: () => number,
  release: Effect.Effect<unknown>
): Effect.Effect<Watched, never, Scope.Scope> =>
  Effect.gen(function* () {
    const clock = yield* Effect.service(Clock.Clock)
    if (!isTestClock(clock)) return (_, write) => write
    const scope = yield* Effect.scope
    /** The queues that deliver to the sink, and the events that come to it by none of them. */
    const queues = new Set<SinkNode | undefined>()
    const direct = new Set<unknown>()
    let watcher: Fiber.Fiber<unknown> | undefined
    let hanging = 0
    const pending = () => {
      const waiting = [...queues].map((queue) => queue?.health(clock.currentTimeMillisUnsafe()).pending ?? 0)
      return waiting.reduce((sum, n) => sum + n, direct.size)
    }
    const state = () => `${attempts()} ${pending()} ${clock.currentTimeMillisUnsafe()}`

    const standsStill = Effect.gen(function* () {
      const before = state()
      yield* clock.withLive(Effect.sleep(quiet))
      yield* Effect.repeat(Effect.yieldNow, { times: quietTurns })
      return before === state() && pending() > 0
    })
    const watch = Effect.gen(function* () {
      yield* Effect.repeat(standsStill, { until: (still) => still })
      hanging = pending()
      yield* release
      // The close ends by its own deadlines when time passes.
      return yield* Effect.forever(clock.adjust("10 seconds"))
    })
    const begin = Effect.suspend(() => {
      if (watcher !== undefined) return Effect.void
      return Effect.map(Effect.forkDetach(watch, { uninterruptible: false }), (fiber) => void (watcher = fiber))
    })
    // Runs after every part that was made above the sink, and after the sink itself.
    const end = Effect.suspend(() => {
      const found = hanging === 0 ? Effect.void : Effect.die(new Error(messageOf(sink, hanging)))
      return watcher === undefined ? found : Effect.andThen(Fiber.interrupt(watcher), found)
    })
    yield* Scope.addFinalizer(scope, end)

    const noted = <A, E>(events: ReadonlyArray<unknown>, write: Effect.Effect<A, E>) => {
      for (const event of events) direct.add(event)
      return Effect.onExit(write, (exit) => {
        // A write that failed may be tried again, after a delay that the clock measures.
        const isOver = Exit.isSuccess(exit) || Cause.hasInterrupts(exit.cause)
        if (isOver) for (const event of events) direct.delete(event)
        return Effect.void
      })
    }
    return (events, write) =>
      Effect.withFiber((fiber) => {
        const queue = fiber.getRef(Delivering)
        const writing = queue === undefined ? noted(events, write) : write
        if (queues.has(queue)) return writing
        queues.add(queue)
        // The last finalizer of a scope is the first to run: before those of the parts that wait for the sink.
        return Effect.andThen(Scope.addFinalizer(scope, begin), writing)
      })
  })

// internals

const isTestClock = (clock: Clock.Clock): clock is TestClock.TestClock => "adjust" in clock && "withLive" in clock

const messageOf = (sink: string, pending: number) =>
  `the test ended with ${pending} event${pending === 1 ? "" : "s"} pending in front of the sink "${sink}", and time ` +
  "stands still on a TestClock: the close would wait for ever. Move the clock before the test ends, with TestClock.adjust"
