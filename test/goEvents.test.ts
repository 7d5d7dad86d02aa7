/**
 * A counterpart of each of the five test files of docker/go-events: the same load and the same expectations, on virtual
 * time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Exit, Fiber, Random, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { RetryStrategy } from "effect-events"
import {
  Breaker,
  Broadcaster,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RetryingSink
} from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet } from "./support/virtual.ts"

const events = (n: number) => Array.from({ length: n }, (_, i) => `event-${i + 1}`)

/** Each event from a writer of its own, all at once; answers when the last is in. */
const writeConcurrently = <E>(sink: EventSink.EventSink<string, E>, n: number) =>
  Effect.forEach(events(n), (event) => sink.write(event), { concurrency: "unbounded", discard: true })

const sorted = (received: ReadonlyArray<string>) => received.toSorted((a, b) => Number(a.slice(6)) - Number(b.slice(6)))

const inScope = <A, E, R>(make: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const part = yield* Scope.provide(make, scope)
    return { part, close: Scope.close(scope, Exit.void) }
  })

/** The close succeeds, a second one too, and a write after it fails with `SinkClosed`. */
const checkClose = <E>(sink: EventSink.EventSink<string, E>, close: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const closing = yield* Effect.forkChild(close)
    yield* TestClock.adjust("1 minute")
    yield* Fiber.join(closing)
    yield* close
    assert.instanceOf(yield* Effect.flip(sink.write("fail")), EventSink.SinkClosed)
  })

describe("queue_test.go", () => {
  it.effect("1,000 events of concurrent writers get through a queue over a slow sink, and both are closed", () =>
    Effect.gen(function* () {
      const { close, part } = yield* inScope(
        Effect.gen(function* () {
          const sink = yield* TestSink.slow<string>("1 millis")
          return { sink, queue: yield* EventQueue.make()(sink) }
        })
      )
      yield* writeConcurrently(part.queue, 1000)
      yield* checkClose(part.queue, close)
      assert.strictEqual(part.sink.received.length, 1000)
      assert.deepStrictEqual(sorted(part.sink.received), events(1000))
      assert.instanceOf(yield* Effect.flip(part.sink.write("fail")), EventSink.SinkClosed)
    })
  )
})

describe("broadcast_test.go", () => {
  it.effect(
    "ten sinks added twice get each of 1,000 events once; removed they get no more; added back they close",
    () =>
      Effect.gen(function* () {
        const { close, part } = yield* inScope(
          Effect.gen(function* () {
            const sinks = yield* Effect.forEach(events(10), (name) => TestSink.recording<string>({ name }))
            return { sinks, broadcaster: yield* Broadcaster.make<string>() }
          })
        )
        const { broadcaster, sinks } = part
        for (const sink of sinks) {
          yield* Broadcaster.add(broadcaster, sink)
          yield* Broadcaster.add(broadcaster, sink)
        }
        yield* writeConcurrently(broadcaster, 1000)
        for (const sink of sinks) assert.deepStrictEqual(yield* Broadcaster.remove(broadcaster, sink), [])
        yield* broadcaster.write("one more")
        for (const sink of sinks) yield* Broadcaster.add(broadcaster, sink)
        yield* checkClose(broadcaster, close)
        for (const sink of sinks) {
          assert.strictEqual(sink.received.length, 1000)
          assert.deepStrictEqual(sorted(sink.received), events(1000))
          assert.instanceOf(yield* Effect.flip(sink.write("fail")), EventSink.SinkClosed)
        }
      })
  )
})

describe("retry_test.go", () => {
  /** Fails always until half of the writers are there, and nine times in ten from then on. */
  const survives = (strategy: RetryStrategy.RetryStrategy<unknown>) =>
    quiet(
      Effect.gen(function* () {
        let rate = 1
        const { close, part } = yield* inScope(
          Effect.gen(function* () {
            const random = yield* Random.Random
            const received: Array<string> = []
            const flaky = yield* EventSink.make((event: string) =>
              Effect.suspend(() => {
                if (random.nextDoubleUnsafe() < rate) return Effect.fail("unavailable")
                received.push(event)
                return Effect.void
              })
            )
            return { received, retrying: yield* RetryingSink.make(strategy)(flaky) }
          })
        )
        const { received, retrying } = part
        const first = yield* Effect.forEach(events(50), (event) => Effect.forkChild(retrying.write(event)))
        yield* TestClock.adjust("100 millis")
        assert.deepStrictEqual(received, [])
        rate = 0.9
        const second = yield* Effect.forEach(events(100).slice(50), (event) => Effect.forkChild(retrying.write(event)))
        yield* TestClock.adjust("10 minutes")
        yield* Fiber.joinAll([...first, ...second])
        assert.deepStrictEqual(sorted(received), events(100))
        yield* checkClose(retrying, close)
        assert.strictEqual(received.length, 100)
      })
    ).pipe(Random.withSeed("go-events"))

  it.effect("100 events get through a sink that fails always and then nine times in ten, under a breaker", () =>
    Effect.flatMap(Breaker.make({ threshold: 3, backoff: "10 millis" }), survives)
  )

  it.effect("and under exponential backoff", () =>
    survives(ExponentialBackoff.make({ base: "1 millis", factor: "1 millis", max: "5 millis" }))
  )

  it.effect("the exponential backoff has its bounds, and starts anew for the next write", () =>
    Effect.gen(function* () {
      const strategy = ExponentialBackoff.make()
      const attempts = strategy.start("event")
      assert.isUndefined(attempts.proceed(), "untouched it does not wait")
      for (let n = 1; n <= 10; n++) {
        const bound = Math.min(1000 + 1000 * 2 ** (n - 1), 20_000)
        assert.strictEqual(Duration.toMillis(ExponentialBackoff.maxDelay(n)), bound)
        for (let sample = 0; sample < 100; sample++) {
          const sampled = strategy.start("event")
          for (let i = 0; i < n; i++) yield* sampled.failure("error")
          const proceed = yield* Effect.forkChild(sampled.proceed() ?? Effect.void)
          yield* TestClock.adjust(bound)
          assert.isDefined(proceed.pollUnsafe(), `after ${n} failures`)
        }
      }
      // Where the original's shift runs over.
      for (const n of [56, 63, 64, 65, 1000, 10_000]) {
        assert.strictEqual(Duration.toMillis(ExponentialBackoff.maxDelay(n)), 20_000)
      }
      yield* attempts.failure("error")
      yield* attempts.success() ?? Effect.void
      assert.isUndefined(strategy.start("event").proceed(), "recovered")
    }).pipe(Random.withSeed("go-events"))
  )
})

describe("channel_test.go", () => {
  it.effect(
    "a hundred writers on an unbuffered channel are all read; a hundred after the close all get SinkClosed",
    () =>
      Effect.gen(function* () {
        const { close, part: channel } = yield* inScope(EventChannel.make<string>())
        const reader = yield* Effect.forkChild(Stream.runCollect(channel.stream))
        yield* writeConcurrently(channel, 100)
        assert.deepStrictEqual(yield* channel.shutdown, [])
        const late = yield* Effect.forEach(events(100), (event) => Effect.flip(channel.write(event)), {
          concurrency: "unbounded"
        })
        assert.isTrue(late.every((error) => error instanceof EventSink.SinkClosed))
        const received = yield* Fiber.join(reader)
        assert.deepStrictEqual(sorted(received), events(100))
        yield* checkClose(channel, close)
      })
  )
})

describe("filter_test.go", () => {
  it.effect("of a hundred numbers a filter lets the fifty even ones through", () =>
    Effect.gen(function* () {
      const { close, part } = yield* inScope(
        Effect.gen(function* () {
          const sink = yield* TestSink.recording<unknown>()
          const isEven = (event: unknown) => typeof event === "number" && event % 2 === 0
          return { sink, filter: yield* EventFilter.make(sink, isEven) }
        })
      )
      for (let i = 0; i < 100; i++) yield* part.filter.write(i)
      assert.deepStrictEqual(
        part.sink.received,
        Array.from({ length: 50 }, (_, i) => 2 * i)
      )
      yield* checkClose(yield* EventSink.mapInput(part.filter, (event: string) => event.length * 2), close)
      assert.strictEqual(part.sink.received.length, 50)
    })
  )
})
