import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Predicate, Scope } from "effect"
import { EventFilter, EventQueue, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"

const even = EventFilter.make((n: number) => n % 2 === 0)

const countsOf = (sink: EventSink.EventSink<never, unknown>) => {
  const { accepted, delivered, filtered } = sink.node.health(0).counts
  return { accepted, delivered, filtered }
}

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

describe("make", () => {
  it.effect("a write of an event that does not match succeeds and goes nowhere", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      const filter = yield* even(sink)
      yield* EventSink.writeAll(filter, [1, 2, 3, 4, 5])
      assert.deepStrictEqual(sink.received, [2, 4])
      assert.deepStrictEqual(countsOf(filter), { accepted: 5, delivered: 2, filtered: 3 })
    })
  )

  it.effect("with a refinement the sink may take the refined type only", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<string>()
      const filter: EventSink.EventSink<unknown> = yield* EventFilter.make(sink, Predicate.isString)
      yield* EventSink.writeAll(filter, [1, "a", null, "b", undefined])
      assert.deepStrictEqual(sink.received, ["a", "b"])
    })
  )

  it.effect("the matcher algebra is effect/Predicate", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      const large = (n: number) => n > 3
      const filter = yield* EventFilter.make(
        Predicate.and(
          large,
          Predicate.not((n: number) => n % 2 === 0)
        )
      )(sink)
      yield* EventSink.writeAll(filter, range(8))
      assert.deepStrictEqual(sink.received, [5, 7])
    })
  )

  it.effect("never changes an event", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<object>()
      const event = Object.freeze({ a: 1 })
      yield* (yield* EventFilter.make(sink, () => true)).write(event)
      assert.strictEqual(sink.received[0], event)
    })
  )

  it.effect("a predicate that throws is a defect of the write, single and in batches", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 10 })
      const filter = yield* EventFilter.make((_: number): boolean => {
        throw new Error("no verdict")
      })(sink)
      const writes: ReadonlyArray<Effect.Effect<unknown, EventSink.SinkClosed>> = [
        filter.write(1),
        filter.writeSome!([1])
      ]
      for (const write of writes) {
        const exit = yield* Effect.exit(write)
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      }
      assert.deepStrictEqual(countsOf(filter), { accepted: 0, delivered: 0, filtered: 0 })
    })
  )

  it.effect("fails with what the sink fails with, and counts nothing then", () =>
    Effect.gen(function* () {
      const filter = yield* even(yield* TestSink.failing<number>({ times: 1 }))
      assert.strictEqual((yield* Effect.flip(filter.write(2)))._tag, "TestError")
      assert.deepStrictEqual(countsOf(filter), { accepted: 0, delivered: 0, filtered: 0 })
      yield* filter.write(2)
      assert.deepStrictEqual(countsOf(filter), { accepted: 1, delivered: 1, filtered: 0 })
    })
  )

  it.effect("is closed when its sink is", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const filter = yield* even(yield* Scope.provide(TestSink.recording<number>(), scope))
      yield* Scope.close(scope, Exit.void)
      assert.instanceOf(yield* Effect.flip(filter.write(2)), EventSink.SinkClosed)
    })
  )

  it.effect("its name is the option's, else the kind", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      assert.strictEqual((yield* even(sink)).node.name, "EventFilter")
      assert.strictEqual((yield* EventFilter.make(sink, () => true, { name: "mine" })).node.name, "mine")
    })
  )
})

describe("batches", () => {
  it.effect("the matching events of a batch are written as a batch", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 10 })
      const filter = yield* even(sink)
      assert.strictEqual(yield* filter.writeSome!([1, 2, 3, 4, 5]), 5)
      assert.deepStrictEqual(sink.received, [2, 4])
      assert.deepStrictEqual(sink.batches, [2])
      assert.deepStrictEqual(countsOf(filter), { accepted: 5, delivered: 2, filtered: 3 })
    })
  )

  it.effect("the answer counts the events up to the first match that was not committed", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 2 })
      const filter = yield* even(sink)
      // 2 and 4 are committed, 6 is not: 1 to 5 are done with.
      assert.strictEqual(yield* filter.writeSome!([1, 2, 3, 4, 5, 6, 7]), 5)
      assert.deepStrictEqual(sink.received, [2, 4])
      assert.deepStrictEqual(countsOf(filter), { accepted: 5, delivered: 2, filtered: 3 })
    })
  )

  it.effect("a batch of which nothing matches is done with at once, and the sink gets nothing", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 2 })
      const filter = yield* even(sink)
      assert.strictEqual(yield* filter.writeSome!([1, 3, 5]), 3)
      assert.strictEqual(sink.attempts, 0)
      assert.deepStrictEqual(countsOf(filter), { accepted: 3, delivered: 0, filtered: 3 })
    })
  )

  it.effect("on failure no event of the batch was committed, and none is counted", () =>
    Effect.gen(function* () {
      const filter = yield* even(yield* TestSink.failing<number>({ batchSize: 2 }))
      yield* Effect.flip(filter.writeSome!([1, 2, 3]))
      assert.deepStrictEqual(countsOf(filter), { accepted: 0, delivered: 0, filtered: 0 })
    })
  )

  it.effect("writeAll through it writes every match once and in order, whatever the sizes of the batches", () =>
    Effect.gen(function* () {
      for (let limit = 1; limit < 8; limit++) {
        for (let modulus = 1; modulus < 6; modulus++) {
          const sink = yield* TestSink.recording<number>({ batchSize: limit })
          const filter = yield* EventFilter.make(sink, (n) => n % modulus === 0)
          yield* EventSink.writeAll(filter, range(30))
          const expected = range(30).filter((n) => n % modulus === 0)
          assert.deepStrictEqual(sink.received, expected)
          assert.deepStrictEqual(countsOf(filter), {
            accepted: 30,
            delivered: expected.length,
            filtered: 30 - expected.length
          })
        }
      }
    })
  )

  it.effect("takes batches only if the sink does", () =>
    Effect.gen(function* () {
      assert.isUndefined((yield* even(TestSink.recording<number>())).writeSome)
    })
  )
})

describe("under a queue", () => {
  it.effect("over a plain function it filters what is handed over at once", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const filter = yield* even(yield* EventSink.sync((n: number) => void seen.push(n)))
      const queue = yield* EventQueue.make()(filter)
      yield* EventSink.writeAll(queue, range(5))
      yield* queue.flush
      assert.deepStrictEqual(seen, [2, 4])
      assert.deepStrictEqual(countsOf(filter), { accepted: 5, delivered: 2, filtered: 3 })
      assert.strictEqual(queue.node.health(0).counts.delivered, 5)
    })
  )
})
