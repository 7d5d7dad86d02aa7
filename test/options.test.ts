import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit } from "effect"
import { Breaker, Broadcaster, EventChannel, EventQueue, EventSink } from "effect-events"

const sink = EventSink.sync((_: number) => {})
const onDropped = () => Effect.void

const mistakes: ReadonlyArray<readonly [what: string, make: Effect.Effect<unknown, unknown>, says: string]> = [
  ...[0, -1, 1.5, Number.NaN].map(
    (capacity) =>
      [
        `a queue of capacity ${capacity}`,
        Effect.scoped(sink.pipe(EventQueue.make({ capacity }))),
        `EventQueue.make: capacity must be a whole number from 1 on, and is ${capacity}`
      ] as const
  ),
  ...[0, -1, 1.5, Number.NaN].map(
    (concurrency) =>
      [
        `a queue with a concurrency of ${concurrency}`,
        Effect.scoped(sink.pipe(EventQueue.make({ concurrency }))),
        `EventQueue.make: concurrency must be a whole number from 1 on, and is ${concurrency}`
      ] as const
  ),
  [
    "a queue with a concurrency of Infinity",
    Effect.scoped(sink.pipe(EventQueue.make({ concurrency: Number.POSITIVE_INFINITY }))),
    "EventQueue.make: concurrency must be finite"
  ],
  ...[-1, 0.5, Number.NaN].map(
    (capacity) =>
      [
        `a channel of capacity ${capacity}`,
        Effect.scoped(EventChannel.make({ capacity })),
        `EventChannel.make: capacity must be a whole number from 0 on, and is ${capacity}`
      ] as const
  ),
  ...[0, 2.5].map(
    (threshold) =>
      [
        `a breaker with threshold ${threshold}`,
        Breaker.make({ threshold, backoff: 1 }),
        `Breaker.make: threshold must be a whole number from 1 on, and is ${threshold}`
      ] as const
  ),
  [
    "a sink with maxLag -1",
    Effect.scoped(
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>()
        yield* Broadcaster.add(broadcaster, yield* sink, { maxLag: -1, onDropped })
      })
    ),
    "Broadcaster.add: maxLag must be a whole number from 1 on, and is -1"
  ],
  [
    "a subscription with maxLag NaN",
    Effect.scoped(
      Effect.gen(function* () {
        const broadcaster = yield* Broadcaster.make<number>()
        return yield* Broadcaster.subscribe(broadcaster, { maxLag: Number.NaN })
      })
    ),
    "Broadcaster.subscribe: maxLag must be a whole number from 1 on, and is NaN"
  ]
]

describe("a mistaken option is a defect that says what and where", () => {
  it.effect.each(mistakes)("%s", ([, make, says]) =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(make)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.include(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", says)
    })
  )
})
