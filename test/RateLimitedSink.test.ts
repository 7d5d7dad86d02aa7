import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Duration, Effect, Exit, Fiber, Layer } from "effect"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import { EventQueue, EventSink, RateLimitedSink, RetryingSink, RetryStrategy, SinkGraph } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { collector } from "./support/collector.ts"
import { randomFrom } from "./support/random.ts"
import { open, quiet, settle } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** A sink that notes what it gets and when, in milliseconds of virtual time. */
const timed = <A = number>(write: (event: A) => Effect.Effect<void, string> = () => Effect.void) =>
  Effect.gen(function* () {
    const seen: Array<readonly [event: A, at: number]> = []
    const sink = yield* EventSink.make((event: A) =>
      Effect.clockWith((clock) => {
        seen.push([event, clock.currentTimeMillisUnsafe()])
        return write(event)
      })
    )
    return { seen, sink, times: () => seen.map(([, at]) => at) }
  })

/** A batch sink that notes its batches and when they came. */
const batches = (most = Infinity) =>
  Effect.gen(function* () {
    const seen: Array<readonly [events: ReadonlyArray<number>, at: number]> = []
    const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
      Effect.clockWith((clock) => {
        const some = events.slice(0, most)
        seen.push([some, clock.currentTimeMillisUnsafe()])
        return Effect.succeed(some.length)
      })
    )
    return { seen, sink }
  })

describe("make", () => {
  it.effect("lets a burst through at once, and then as many as the window has", () =>
    Effect.gen(function* () {
      const { sink, times } = yield* timed()
      const limited = yield* RateLimitedSink.make(sink, { limit: 4, window: "1 second" })
      yield* Effect.forkChild(EventSink.writeAll(limited, range(7)))
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(times(), [0, 0, 0, 0, 250, 500, 750])
      // The bucket fills again up to the burst, and no further.
      yield* TestClock.adjust("1 minute")
      yield* Effect.forkChild(EventSink.writeAll(limited, range(5)))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(times().slice(7), [62_000, 62_000, 62_000, 62_000, 62_250])
    })
  )

  it.effect("spaces events evenly with a burst of 1, also where the interval is a fraction", () =>
    Effect.gen(function* () {
      const { sink, times } = yield* timed()
      const limited = yield* sink.pipe(RateLimitedSink.make({ limit: 3, window: "10 millis", burst: 1 }))
      yield* Effect.forkChild(EventSink.writeAll(limited, range(3001)))
      yield* TestClock.adjust("20 seconds")
      assert.deepStrictEqual(times().slice(0, 7), [0, 4, 7, 10, 14, 17, 20])
      assert.strictEqual(times().at(-1), 10_000)
    })
  )

  for (const seed of [1, 2, 3]) {
    it.effect(`no span of time has more than burst + limit * span / window (seed ${seed})`, () =>
      Effect.gen(function* () {
        const next = randomFrom(seed)
        const { sink, times } = yield* timed()
        const limited = yield* RateLimitedSink.make(sink, { limit: 7, window: "100 millis", burst: 3 })
        for (let n = 0; n < 300; n++) {
          yield* Effect.forkChild(limited.write(n))
          if (next() < 0.3) yield* TestClock.adjust(Math.floor(next() * 200))
        }
        yield* TestClock.adjust("1 minute")
        const at = times()
        assert.strictEqual(at.length, 300)
        for (let from = 0; from < at.length; from++) {
          for (let to = from; to < at.length; to++) {
            const most = 3 + (7 * (at[to]! - at[from]! + 1)) / 100
            assert.isAtMost(to - from + 1, most + 1e-6, `seed ${seed}: from ${at[from]} to ${at[to]}`)
          }
        }
      })
    )
  }

  it.effect("lets writes wait in the order of arrival, and a late one does not overtake", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* timed()
      const limited = yield* RateLimitedSink.make(sink, { limit: 1, window: "1 second" })
      for (const n of range(5)) {
        yield* Effect.forkChild(limited.write(n))
        yield* settle
      }
      assert.strictEqual(limited.node.health(0).inFlight, 4)
      // A token has come back, and the writes that wait for it have not been woken yet.
      yield* TestClock.adjust("1 second")
      yield* Effect.forkChild(limited.write(6))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(
        seen.map(([n]) => n),
        range(6)
      )
      assert.strictEqual(limited.node.health(0).inFlight, 0)
    })
  )

  it.effect("a write that is interrupted while it waits has taken no token, and one that went on keeps it", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* timed((n) => (n === 1 ? Effect.never : Effect.void))
      const limited = yield* RateLimitedSink.make(sink, { limit: 1, window: "1 second" })
      const first = yield* Effect.forkChild(limited.write(1))
      yield* settle
      const second = yield* Effect.forkChild(limited.write(2))
      yield* Effect.forkChild(limited.write(3))
      yield* settle
      yield* Fiber.interrupt(first)
      yield* Fiber.interrupt(second)
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(seen, [
        [1, 0],
        [3, 1000]
      ])
      assert.deepStrictEqual(limited.node.health(0).counts.delivered, 1)
    })
  )

  it.effect("a failure keeps the token too, and counts nothing", () =>
    Effect.gen(function* () {
      const { sink, times } = yield* timed(() => Effect.fail("down"))
      const limited = yield* RateLimitedSink.make(sink, { limit: 1, window: "1 second" })
      assert.strictEqual(yield* Effect.flip(limited.write(1)), "down")
      const again = yield* Effect.forkChild(Effect.flip(limited.write(1)))
      yield* TestClock.adjust("3 seconds")
      yield* Fiber.join(again)
      assert.deepStrictEqual(times(), [0, 1000])
      const { accepted, delivered } = limited.node.health(0).counts
      assert.deepStrictEqual({ accepted, delivered }, { accepted: 0, delivered: 0 })
    })
  )

  it.effect(`"fail" fails typed with the time of the next token, which a retrier waits for`, () =>
    quiet(
      Effect.gen(function* () {
        const { seen, sink } = yield* timed<number>()
        const limited = yield* RateLimitedSink.make(sink, {
          limit: 1,
          window: "10 seconds",
          onExceeded: "fail",
          name: "api"
        })
        yield* limited.write(1)
        yield* TestClock.adjust("4 seconds")
        const error = yield* Effect.flip(limited.write(2))
        assert.instanceOf(error, RateLimitedSink.RateLimited)
        assert.strictEqual(Duration.toMillis((error as RateLimitedSink.RateLimited).retryAfter), 6000)
        assert.strictEqual(error.message, `"api" is at its rate limit for 6s`)
        assert.strictEqual(limited.node.health(0).lastError?.error, error)
        const retrying = yield* RetryingSink.make(limited, RetryStrategy.identity)
        const write = yield* Effect.forkChild(retrying.write(2))
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(seen.length, 1)
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(write)
        assert.deepStrictEqual(seen.at(-1), [2, 10_000])
      })
    )
  )

  it.effect("the close fails the writes that wait, and waits for those that have gone on", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* timed((n) => (n === 1 ? Effect.sleep("10 seconds") : Effect.void))
      const { close, part } = yield* open(RateLimitedSink.make(sink, { limit: 1, window: "1 hour" }))
      const first = yield* Effect.forkChild(part.write(1))
      yield* settle
      const second = yield* Effect.forkChild(Effect.flip(part.write(2)))
      yield* settle
      const closing = yield* Effect.forkChild(close)
      yield* settle
      assert.instanceOf(yield* Fiber.join(second), EventSink.SinkClosed)
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(first)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(seen.length, 1)
      assert.instanceOf(yield* Effect.flip(part.write(3)), EventSink.SinkClosed)
      // The sink behind is open: only the limit has closed.
      yield* sink.write(4)
    })
  )

  it.effect("has a node in the picture, and is what a queue above sees", () =>
    Effect.gen(function* () {
      const queue = yield* (yield* TestSink.recording<number>({ name: "receiver" })).pipe(
        RateLimitedSink.make({ limit: 1, window: "1 second", name: "api" }),
        EventQueue.make()
      )
      const picture = SinkGraph.toMermaid(queue)
      assert.include(picture, "RateLimitedSink api")
      assert.match(picture, /receiver/)
    })
  )

  it.effect("refuses a limit, a burst and a window that say nothing", () =>
    Effect.gen(function* () {
      const { sink } = yield* timed()
      const rows = [
        { limit: 0, window: "1 second" },
        { limit: 1.5, window: "1 second" },
        { limit: Infinity, window: "1 second" },
        { limit: 1, window: 0 },
        { limit: 1, window: Infinity },
        { limit: 1, window: "1 second", burst: 0 }
      ] as const
      for (const options of rows) {
        const exit = yield* Effect.exit(RateLimitedSink.make(sink, options))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), JSON.stringify(options))
      }
    })
  )
})

describe("by key", () => {
  class Tenant extends Data.Class<{ readonly id: number }> {}

  it.effect("each key has a bucket of its own, compared by Equal", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* timed<readonly [tenant: number, n: number]>()
      const limited = yield* sink.pipe(
        RateLimitedSink.make({ limit: 1, window: "1 second", by: ([id]) => new Tenant({ id }) })
      )
      for (const n of range(3)) {
        yield* Effect.forkChild(limited.write([1, n]))
        yield* Effect.forkChild(limited.write([2, n]))
      }
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        seen.map(([[tenant, n], at]) => [tenant, n, at]),
        [
          [1, 1, 0],
          [2, 1, 0],
          [1, 2, 1000],
          [2, 2, 1000]
        ]
      )
    })
  )

  it.effect("forgets a key whose bucket is full again", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.sync((_: number) => {})
      const collect = collector()
      const refs: Array<WeakRef<Tenant>> = []
      const limited = yield* RateLimitedSink.make(sink, {
        limit: 1,
        window: "10 millis",
        by: (id: number) => {
          const key = new Tenant({ id })
          refs.push(new WeakRef(key))
          return key
        }
      })
      for (const n of range(1000)) {
        yield* limited.write(n)
        yield* TestClock.adjust("1 millis")
      }
      yield* TestClock.withLive(Effect.sleep(1))
      collect()
      const held = refs.filter((ref) => ref.deref() !== undefined).length
      assert.isBelow(held, 60)
      assert.isAbove(held, 5)
    })
  )

  it.effect("a key that throws is a defect of its write, and costs no token", () =>
    Effect.gen(function* () {
      const { sink, seen } = yield* timed()
      const limited = yield* RateLimitedSink.make(sink, {
        limit: 1,
        window: "1 second",
        by: (n: number) => {
          if (n === 2) throw new Error("no key")
          return "one"
        }
      })
      const exit = yield* Effect.exit(limited.write(2))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      yield* limited.write(1)
      assert.strictEqual(seen.length, 1)
      assert.strictEqual(limited.node.health(0).inFlight, 0)
    })
  )
})

describe("batches", () => {
  it.effect("a batch that a key throws in gives back all that it took", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* batches()
      const by = (n: number) => {
        if (n === 3) throw new Error("no key")
        return "all"
      }
      const limited = yield* RateLimitedSink.make(sink, { limit: 2, window: "1 hour", onExceeded: "fail", by })
      const exit = yield* Effect.exit(limited.writeSome([1, 3]))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      assert.strictEqual(yield* limited.writeSome([1, 2]), 2)
      assert.deepStrictEqual(seen, [[[1, 2], 0]])
    })
  )

  it.effect("as many leading events are written as there are tokens, at least one", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* batches()
      const limited: EventSink.BatchSink<number> = yield* RateLimitedSink.make(sink, { limit: 3, window: "3 seconds" })
      assert.strictEqual(yield* limited.writeSome([1, 2, 3, 4, 5]), 3)
      yield* Effect.forkChild(EventSink.writeAll(limited, [4, 5]))
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(seen, [
        [[1, 2, 3], 0],
        [[4], 1000],
        [[5], 2000]
      ])
      assert.strictEqual(limited.node.health(0).counts.delivered, 5)
    })
  )

  it.effect("gives back the tokens of events that the sink did not take", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* batches(2)
      const limited = yield* RateLimitedSink.make(sink, { limit: 6, window: "1 hour" })
      yield* EventSink.writeAll(limited, range(6))
      assert.deepStrictEqual(
        seen.map(([events]) => events),
        [
          [1, 2],
          [3, 4],
          [5, 6]
        ]
      )
    })
  )

  it.effect("by key: up to the first event whose key has no token", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* batches()
      const limited = yield* RateLimitedSink.make(sink, { limit: 2, window: "2 seconds", by: (n: number) => n % 2 })
      assert.strictEqual(yield* limited.writeSome([1, 2, 3, 4, 5, 6]), 4)
      yield* Effect.forkChild(EventSink.writeAll(limited, [5, 6]))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(seen, [
        [[1, 2, 3, 4], 0],
        [[5, 6], 1000]
      ])
    })
  )
})

describe("makeShared", () => {
  const shared = Effect.gen(function* () {
    const limiter = yield* RateLimiter.RateLimiter
    return (key: unknown, tokens: number) =>
      limiter.consume({
        key: String(key),
        tokens,
        limit: 2,
        window: "2 seconds",
        algorithm: "token-bucket",
        onExceeded: "delay"
      })
  })
  const memory = Effect.provide(RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory)))

  it.effect("two sinks share the limit of Effect's RateLimiter, each key its own", () =>
    Effect.gen(function* () {
      const consume = yield* shared
      const { seen, sink } = yield* timed<string>()
      const by = (event: string) => event[0]
      const one = yield* RateLimitedSink.makeShared(sink, consume, { by })
      const two = yield* sink.pipe(RateLimitedSink.makeShared(consume, { by }))
      for (const n of range(2)) {
        yield* Effect.forkChild(one.write(`a${n}`))
        yield* Effect.forkChild(two.write(`a${n + 2}`))
      }
      yield* Effect.forkChild(one.write("b1"))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual(seen.map(([event, at]) => `${event} ${at}`).toSorted(), [
        "a1 0",
        "a2 1000",
        "a3 0",
        "a4 2000",
        "b1 0"
      ])
    }).pipe(memory)
  )

  it.effect("a batch asks for the tokens of its first events of one key, up to batchSize", () =>
    Effect.gen(function* () {
      const asked: Array<readonly [unknown, number]> = []
      const { seen, sink } = yield* batches()
      const limited: EventSink.BatchSink<number> = yield* RateLimitedSink.makeShared(
        sink,
        (key, tokens) => Effect.sync(() => (asked.push([key, tokens]), { delay: 0 })),
        { batchSize: 2, by: (n: number) => n > 3 }
      )
      yield* EventSink.writeAll(limited, range(5))
      assert.deepStrictEqual(asked, [
        [false, 2],
        [false, 1],
        [true, 2]
      ])
      assert.deepStrictEqual(
        seen.map(([events]) => events),
        [[1, 2], [3], [4, 5]]
      )
    })
  )

  it.effect("fails with what the limiter fails with, and the event is not written", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* timed()
      const limited = yield* RateLimitedSink.makeShared(sink, () => Effect.fail("the store is gone" as const))
      const error: "the store is gone" | string | EventSink.SinkClosed = yield* Effect.flip(limited.write(1))
      assert.strictEqual(error, "the store is gone")
      assert.isEmpty(seen)
    })
  )
})
