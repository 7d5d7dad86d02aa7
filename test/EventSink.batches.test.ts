/** Batch sinks, and what wrappers make of batches that are larger than a turn. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, type Scope } from "effect"
import { Broadcaster, EventFilter, EventQueue, EventSink, RetryingSink, RetryStrategy } from "effect-events"
import { maxTurn } from "../src/internal/turns.ts"
import { open, quiet } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i)
const countsOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0).counts

describe("makeBatch", () => {
  it.effect("a function that answers nothing has committed all", () =>
    Effect.gen(function* () {
      const batches: Array<ReadonlyArray<number>> = []
      const answers: ReadonlyArray<Effect.Effect<number | undefined | void>> = [Effect.void, Effect.succeed(undefined)]
      for (const answer of answers) {
        batches.length = 0
        const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
          batches.push(events)
          return answer
        })
        assert.strictEqual(yield* sink.writeSome([1, 2, 3]), 3)
        yield* sink.write(4)
        yield* EventSink.writeAll(sink, range(5000))
        assert.deepStrictEqual(
          batches.map(({ length }) => length),
          [3, 1, 5000]
        )
        assert.deepInclude(countsOf(sink), { accepted: 5004, delivered: 5004 })
      }
    })
  )

  it.effect("below a queue and a broadcaster too: no event is offered again", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        Effect.sync(() => {
          seen.push(...events)
        })
      )
      const queue = yield* EventQueue.make(sink)
      const broadcaster = yield* Broadcaster.make([queue])
      yield* EventSink.writeAll(broadcaster, range(5000))
      yield* broadcaster.shutdown
      yield* queue.flush
      assert.deepStrictEqual(seen, range(5000))
      assert.deepInclude(countsOf(queue), { accepted: 5000, delivered: 5000 })
    })
  )
})

/** A sink that takes at most `most` events of a batch, and what it got. */
const taking = (most: number) => {
  const seen: Array<number> = []
  const batches: Array<number> = []
  const sink = EventSink.makeBatch((events: ReadonlyArray<number>) =>
    Effect.sync(() => {
      const some = events.slice(0, most)
      seen.push(...some)
      batches.push(events.length)
      return some.length
    })
  )
  return { batches, seen, sink }
}
type Batch<A> = Effect.Effect<EventSink.BatchSink<A>, never, Scope.Scope>

/** Each stays a batch sink, by its type too. */
const wrappers: ReadonlyArray<readonly [name: string, wrap: (sink: Batch<number>) => Batch<number>]> = [
  ["a filter", (sink) => EventFilter.make(sink, () => true)],
  ["mapInput", (sink) => EventSink.mapInput(sink, (n: number) => n)],
  [
    "a stamp",
    (sink) =>
      EventSink.stamp(
        EventSink.mapInput(sink, ({ event }: EventSink.Stamped<number>) => event),
        { id: String }
      )
  ],
  ["mapError", (sink) => EventSink.mapError(sink, (error) => error)],
  ["tap", (sink) => EventSink.tap(sink, () => Effect.void)],
  ["timeout", (sink) => EventSink.timeout(sink, "1 minute").pipe(EventSink.mapError((): never => assert.fail("late")))],
  [
    "a retrier",
    (sink) => {
      // Of a type that can fail, which a retrier takes.
      const fallible: Effect.Effect<EventSink.BatchSink<number, string>, never, Scope.Scope> = sink
      return RetryingSink.make(fallible, RetryStrategy.identity)
    }
  ],
  [
    "a filter over a map over a filter",
    (sink) =>
      sink.pipe(
        EventFilter.make(() => true),
        EventSink.mapInput((n: number) => n),
        EventFilter.make(() => true)
      )
  ]
]

describe("writeAll of more events than a turn", () => {
  const sizes = [5000, 2 * maxTurn, maxTurn + 1]

  describe.each([Infinity, 3000, 1000, 7])("over a sink that takes %d at once", (most) => {
    it.effect.each(wrappers)("delivers all, once and in order, through %s", ([, wrap]) =>
      Effect.gen(function* () {
        for (const size of sizes) {
          const { seen, sink } = taking(most)
          const wrapped = yield* wrap(sink)
          yield* EventSink.writeAll(wrapped, range(size))
          assert.deepStrictEqual(seen, range(size))
          const all = range(size)
          const n = yield* wrapped.writeSome([-1, ...all])
          assert.isAtLeast(n, 1)
          // As POSIX write(2): what it did not count it has not committed.
          assert.deepStrictEqual(seen.slice(size), [-1, ...all].slice(0, n))
        }
      })
    )
  })

  it.effect("through a filter that refuses some delivers the others, in order", () =>
    Effect.gen(function* () {
      for (const [most, every] of [
        [Infinity, 2],
        [7, 2],
        [1000, 3],
        [Infinity, 3000]
      ] as const) {
        const { seen, sink } = taking(most)
        const filter = yield* EventFilter.make(sink, (n) => n % every === 0)
        yield* EventSink.writeAll(filter, range(10_000))
        const matching = range(10_000).filter((n) => n % every === 0)
        assert.deepStrictEqual(seen, matching)
        assert.deepInclude(countsOf(filter), {
          accepted: 10_000,
          delivered: matching.length,
          filtered: 10_000 - matching.length
        })
      }
    })
  )

  it.effect.each(wrappers.slice(0, 3))(
    "on a failure has committed a leading part, and tries nothing after it: %s",
    ([, wrap]) =>
      Effect.gen(function* () {
        const seen: Array<number> = []
        const sink = EventSink.makeBatch((events: ReadonlyArray<number>) => {
          if (seen.length >= maxTurn) return Effect.die("enough")
          seen.push(...events)
          return Effect.void
        })
        const wrapped = yield* wrap(sink)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(EventSink.writeAll(wrapped, range(10_000)))))
        assert.deepStrictEqual(seen, range(maxTurn))
      })
  )

  it.effect("fails with SinkClosed where the sink closes between two of its parts", () =>
    quiet(
      Effect.gen(function* () {
        for (const [, wrap] of wrappers.slice(0, 3)) {
          const { seen, sink } = taking(Infinity)
          const { close, part } = yield* open(sink)
          const wrapped = yield* wrap(Effect.succeed(part))
          const write = yield* Effect.forkChild(Effect.exit(EventSink.writeAll(wrapped, range(10_000))), {
            startImmediately: true
          })
          // The first part has been committed, and the next waits for its turn.
          assert.strictEqual(seen.length, maxTurn)
          yield* close
          const exit = yield* Fiber.join(write)
          assert.instanceOf(Exit.isFailure(exit) && Cause.squash(exit.cause), EventSink.SinkClosed)
          assert.strictEqual(seen.length, maxTurn)
        }
      })
    )
  )
})
