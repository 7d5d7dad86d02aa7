import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, type Layer, References, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { EventQueue, EventSink, FallbackSink, SinkGraph } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { open, quiet, settle, withLogs } from "./support/virtual.ts"

const after = "1 second" as const
const breaker = { threshold: 2, backoff: "10 seconds" } as const

const countsOf = (sink: EventSink.EventSink<never, unknown>) => {
  const { accepted, delivered } = sink.node.health(0).counts
  return { accepted, delivered }
}
const breakerOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0).breaker

/** A sink whose type says that it can fail, whatever it does. */
const fallible = <A, R>(make: Effect.Effect<TestSink.TestSink<A>, never, R>) =>
  make as Effect.Effect<TestSink.TestSink<A, TestSink.TestError>, never, R>

/** A sink that follows its script, attempt by attempt, and then commits. */
const scripted = (...script: ReadonlyArray<Effect.Effect<void, TestSink.TestError>>) =>
  TestSink.make<number, TestSink.TestError>((attempt) => script[attempt - 1] ?? Effect.void)
const fails = Effect.suspend(() => Effect.fail(new TestSink.TestError({ attempt: 0 })))
const hangs = Effect.never

const make = <R>(
  first: Effect.Effect<TestSink.TestSink<number, TestSink.TestError>, never, R>,
  options: Partial<FallbackSink.Options> = {}
) =>
  Effect.gen(function* () {
    const primary = yield* first
    const second = yield* TestSink.recording<number>()
    const reasons: Array<string> = []
    const sink = yield* FallbackSink.makeWith(
      primary,
      EventSink.make(({ event, failure }) => {
        reasons.push(failure._tag)
        return second.write(event)
      }),
      { after, breaker, ...options }
    )
    return { primary, second, sink, reasons }
  })

/** Begins a write, which goes as far as it can without time passing. */
const begin = <A, E>(write: Effect.Effect<A, E>) => Effect.tap(Effect.forkChild(write), () => settle)

describe("a primary that fails", () => {
  it.effect("its event goes to the second, with the reason, and the write succeeds", () =>
    Effect.gen(function* () {
      const { primary, reasons, second, sink } = yield* make(scripted(fails))
      yield* EventSink.writeAll(sink, [1, 2])
      assert.deepStrictEqual([primary.received, second.received, reasons], [[2], [1], ["TestError"]])
      assert.deepStrictEqual(countsOf(sink), { accepted: 2, delivered: 2 })
      assert.strictEqual(sink.node.health(0).lastError?.count, 1)
    }).pipe(quiet)
  )

  it.effect("a primary that is closed, dies or is interrupted is one that fails", () =>
    Effect.gen(function* () {
      const made: ReadonlyArray<Effect.Effect<TestSink.TestSink<number, TestSink.TestError>, never, Scope.Scope>> = [
        fallible(TestSink.closing<number>()),
        fallible(TestSink.dying<number>()),
        fallible(TestSink.selfInterrupting<number>())
      ]
      for (const [i, primary] of made.entries()) {
        const { reasons, second, sink } = yield* make(primary)
        yield* sink.write(1)
        assert.deepStrictEqual([second.received, reasons], [[1], [["SinkClosed", "Died", "Died"][i]]])
      }
    }).pipe(quiet)
  )

  it.effect("the write fails with what the second fails with", () =>
    Effect.gen(function* () {
      const second = EventSink.make((_: number) => Effect.fail("second"))
      const sink = yield* TestSink.failing<number>().pipe(FallbackSink.make(second, { after }))
      assert.strictEqual(yield* Effect.flip(sink.write(1)), "second")
      assert.deepStrictEqual(countsOf(sink), { accepted: 0, delivered: 0 })
    }).pipe(quiet)
  )

  it.effect("a list is tried in order, and its last may fail", () =>
    Effect.gen(function* () {
      const [second, third] = [yield* scripted(fails, fails), yield* scripted(Effect.void, fails)]
      const sink = yield* TestSink.failing<number>().pipe(FallbackSink.make([second, third], { after, breaker }))
      yield* sink.write(1)
      assert.deepStrictEqual(third.received, [1])
      assert.strictEqual((yield* Effect.flip(sink.write(2)))._tag, "TestError")
      // The second is left out by its own breaker, as the first is.
      yield* sink.write(3)
      assert.deepStrictEqual([second.attempts, third.received], [2, [1, 3]])
    }).pipe(quiet)
  )
})

describe("a primary that blocks", () => {
  it.effect("its event goes to the second after the time, and its write is interrupted", () =>
    Effect.gen(function* () {
      const { primary, reasons, second, sink } = yield* make(scripted(hangs))
      const write = yield* begin(sink.write(1))
      yield* TestClock.adjust("999 millis")
      yield* settle
      assert.deepStrictEqual([primary.node.health(0).inFlight, second.received], [1, []])
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(write)
      assert.deepStrictEqual([second.received, reasons], [[1], ["Blocked"]])
      assert.strictEqual(primary.node.health(0).inFlight, 0)
      yield* sink.write(2)
      assert.deepStrictEqual(primary.received, [2])
    }).pipe(quiet)
  )

  it.effect("that refuses interruption is left behind, with a line in the log, and closes with its own sink", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { primary, second, sink } = yield* make(fallible(TestSink.uninterruptible<number>()))
        const write = yield* begin(sink.write(1))
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(write)
        assert.deepStrictEqual(second.received, [1])
        assert.strictEqual(primary.node.health(0).inFlight, 1)
        assert.isTrue(logs.some(({ level, line }) => level === "WARN" && line.includes("refuses interruption")))
        yield* primary.release
        yield* settle
        // It committed all the same.
        assert.deepStrictEqual(primary.received, [1])
      })
    )
  )

  it.effect("and commits at that very moment has committed", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(fallible(TestSink.slow<number>(after)))
      const write = yield* begin(sink.write(1))
      yield* TestClock.adjust(after)
      yield* Fiber.join(write)
      assert.deepStrictEqual([primary.received, second.received], [[1], []])
    }).pipe(quiet)
  )

  it.effect("that takes less than the time is waited for", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(fallible(TestSink.slow<number>("900 millis")))
      const write = yield* begin(sink.write(1))
      yield* TestClock.adjust("900 millis")
      yield* Fiber.join(write)
      assert.deepStrictEqual([primary.received, second.received], [[1], []])
    })
  )

  it.effect("without a limit is waited for", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(fallible(TestSink.slow<number>("1 day")), { after: Infinity })
      const write = yield* begin(sink.write(1))
      yield* TestClock.adjust("1 day")
      yield* Fiber.join(write)
      assert.deepStrictEqual([primary.received, second.received], [[1], []])
    })
  )
})

describe("the breaker", () => {
  it.effect("a primary that is known to be dead is left out: no event waits for it", () =>
    Effect.gen(function* () {
      const { primary, reasons, second, sink } = yield* make(scripted(hangs, hangs))
      for (const n of [1, 2]) {
        const write = yield* begin(sink.write(n))
        assert.strictEqual(breakerOf(sink), "closed")
        yield* TestClock.adjust("1 second")
        yield* Fiber.join(write)
      }
      assert.strictEqual(breakerOf(sink), "open")
      yield* EventSink.writeAll(sink, [3, 4])
      assert.deepStrictEqual([primary.attempts, second.received], [2, [1, 2, 3, 4]])
      assert.deepStrictEqual(reasons, ["Blocked", "Blocked", "Blocked", "Blocked"])
    }).pipe(quiet)
  )

  it.effect("one event probes when it is due, the others do not wait, and its success returns to the primary", () =>
    Effect.gen(function* () {
      const probing = Effect.sleep("500 millis")
      const { primary, second, sink } = yield* make(scripted(fails, fails, probing))
      yield* EventSink.writeAll(sink, [1, 2])
      yield* TestClock.adjust("9999 millis")
      yield* sink.write(3)
      assert.strictEqual(primary.attempts, 2)
      yield* TestClock.adjust("1 millis")
      const probe = yield* begin(sink.write(4))
      assert.strictEqual(breakerOf(sink), "half-open")
      yield* EventSink.writeAll(sink, [5, 6])
      assert.deepStrictEqual([primary.attempts, second.received], [3, [1, 2, 3, 5, 6]])
      yield* TestClock.adjust("500 millis")
      yield* Fiber.join(probe)
      assert.strictEqual(breakerOf(sink), "closed")
      yield* sink.write(7)
      assert.deepStrictEqual(primary.received, [4, 7])
    }).pipe(quiet)
  )

  it.effect("a probe that fails opens it again, for the whole backoff", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(scripted(fails, fails, fails))
      yield* EventSink.writeAll(sink, [1, 2])
      yield* TestClock.adjust("10 seconds")
      yield* sink.write(3)
      assert.strictEqual(breakerOf(sink), "open")
      yield* TestClock.adjust("9 seconds")
      yield* sink.write(4)
      assert.deepStrictEqual([primary.attempts, second.received], [3, [1, 2, 3, 4]])
      yield* TestClock.adjust("1 second")
      yield* sink.write(5)
      assert.deepStrictEqual(primary.received, [5])
    }).pipe(quiet)
  )

  it.effect(
    "a probe that is interrupted between any two operations, where its fiber is made to yield, frees its place",
    () =>
      Effect.gen(function* () {
        for (let allowance = 3; allowance < 9; allowance++) {
          for (let turns = 0; turns < 8; turns++) {
            const { primary, sink } = yield* make(scripted(fails), { breaker: { ...breaker, threshold: 1 } })
            yield* sink.write(1)
            yield* TestClock.adjust("10 seconds")
            const probe = yield* Effect.forkChild(
              Effect.provideService(sink.write(2), References.MaxOpsBeforeYield, allowance)
            )
            for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
            yield* Fiber.interrupt(probe)
            yield* sink.write(3)
            assert.strictEqual(primary.received.at(-1), 3, `${allowance} operations at a time, after ${turns} turns`)
          }
        }
      }).pipe(quiet)
  )

  it.effect("a probe whose caller is interrupted frees its place", () =>
    Effect.gen(function* () {
      const { primary, sink } = yield* make(scripted(fails, fails, hangs))
      yield* EventSink.writeAll(sink, [1, 2])
      yield* TestClock.adjust("10 seconds")
      const probe = yield* begin(sink.write(3))
      yield* Fiber.interrupt(probe)
      yield* sink.write(4)
      assert.deepStrictEqual([primary.received, breakerOf(sink)], [[4], "closed"])
    }).pipe(quiet)
  )

  it.effect("counts failures in a row, and a success begins the count anew", () =>
    Effect.gen(function* () {
      const { primary, sink } = yield* make(scripted(fails, Effect.void, fails, Effect.void))
      yield* EventSink.writeAll(sink, [1, 2, 3, 4])
      assert.deepStrictEqual([primary.received, breakerOf(sink)], [[2, 4], "closed"])
    }).pipe(quiet)
  )

  it.effect("a verdict that began before it opened changes nothing", () =>
    Effect.gen(function* () {
      const slow = Effect.sleep("900 millis")
      const { sink } = yield* make(scripted(slow, fails, fails))
      const early = yield* begin(sink.write(1))
      yield* EventSink.writeAll(sink, [2, 3])
      assert.strictEqual(breakerOf(sink), "open")
      yield* TestClock.adjust("900 millis")
      yield* Fiber.join(early)
      assert.strictEqual(breakerOf(sink), "open")
    }).pipe(quiet)
  )

  it.effect("its runs are logged once at their beginning and once at their end, without the event", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { sink } = yield* make(scripted(fails, fails), { name: "orders", breaker: { threshold: 9, backoff: 1 } })
        yield* EventSink.writeAll(sink, [4711, 4712, 4713, 4714])
        assert.deepStrictEqual(
          logs.map(({ line }) => JSON.parse(line).message),
          [
            `FallbackSink "orders" falls back from "TestSink"`,
            `FallbackSink "orders" falls back from "TestSink"`,
            `FallbackSink "orders" writes to "TestSink" again, after 2 failed writes`
          ].map((line) => line.replaceAll("TestSink", "EventSink"))
        )
        assert.isFalse(logs.some(({ line }) => line.includes("471")))
      })
    )
  )

  it.effect("a threshold that is no whole number is a defect", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(make(scripted(), { breaker: { threshold: 0, backoff: 1 } }))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )
})

describe("batches", () => {
  const rows = (batchSize: number) => TestSink.recording<number>({ batchSize })

  it.effect("a batch falls back as a whole", () =>
    Effect.gen(function* () {
      const second = yield* rows(10)
      const primary = yield* TestSink.failing<number>({ times: 1, batchSize: 2 })
      const sink = yield* FallbackSink.make(primary, second, { after })
      assert.strictEqual(yield* sink.writeSome!([1, 2, 3]), 3)
      assert.strictEqual(yield* sink.writeSome!([4, 5, 6]), 2)
      assert.deepStrictEqual(
        [second.received, primary.received],
        [
          [1, 2, 3],
          [4, 5]
        ]
      )
      assert.deepStrictEqual(countsOf(sink), { accepted: 5, delivered: 5 })
    }).pipe(quiet)
  )

  it.effect("the second gets each event of a batch with the reason", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const primary = yield* TestSink.failing<number>({ batchSize: 2 })
      const second = EventSink.makeBatch((events: ReadonlyArray<FallbackSink.FellBack<number, TestSink.TestError>>) =>
        Effect.sync(() => void seen.push(...events.map(({ event, failure }) => `${event} ${failure._tag}`)))
      )
      const sink = yield* FallbackSink.makeWith(primary, second, { after })
      assert.strictEqual(yield* sink.writeSome!([1, 2]), 2)
      assert.deepStrictEqual(seen, ["1 TestError", "2 TestError"])
    }).pipe(quiet)
  )

  it.effect("takes batches only if every sink does", () =>
    Effect.gen(function* () {
      const primary = TestSink.failing<number>({ batchSize: 2 })
      const sink = yield* FallbackSink.make(primary, TestSink.recording<number>(), { after })
      assert.isUndefined(sink.writeSome)
    })
  )
})

describe("closing and interrupting", () => {
  it.effect("the close waits for a write whose primary blocks, which falls back meanwhile", () =>
    Effect.gen(function* () {
      const { part, close } = yield* open(make(scripted(hangs)))
      const write = yield* begin(part.sink.write(1))
      const closing = yield* begin(close)
      assert.instanceOf(yield* Effect.flip(part.sink.write(2)), EventSink.SinkClosed)
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(write)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(part.second.received, [1])
    }).pipe(quiet)
  )

  it.effect("the close returns within its time when all of its sinks hang, uninterruptibly too", () =>
    Effect.gen(function* () {
      for (const hanging of [TestSink.hanging<number>, TestSink.uninterruptible<number>]) {
        const first = yield* fallible(hanging({}))
        const second = yield* hanging({})
        const { part, close } = yield* open(FallbackSink.make(first, second, { after, drainTimeout: "5 seconds" }))
        const write = yield* begin(part.write(1))
        const closing = yield* begin(close)
        yield* TestClock.adjust("4999 millis")
        yield* settle
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        yield* Effect.all([first.release, second.release])
        yield* Fiber.await(write)
      }
    }).pipe(quiet)
  )

  it.effect("an interrupted write interrupts its primary, and the event does not go to the second", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(scripted(hangs))
      const write = yield* begin(sink.write(1))
      yield* Fiber.interrupt(write)
      assert.deepStrictEqual(
        [primary.node.health(0).inFlight, second.attempts, sink.node.health(0).inFlight],
        [0, 0, 0]
      )
      assert.deepStrictEqual(countsOf(sink), { accepted: 0, delivered: 0 })
    })
  )

  it.effect("an interrupted write waits no longer than the time for a primary that refuses interruption", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(fallible(TestSink.uninterruptible<number>()))
      const write = yield* begin(sink.write(1))
      yield* TestClock.adjust("400 millis")
      const interrupting = yield* begin(Fiber.interrupt(write))
      yield* TestClock.adjust("599 millis")
      yield* settle
      assert.isUndefined(interrupting.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(interrupting)
      assert.strictEqual(second.attempts, 0)
      yield* primary.release
    }).pipe(quiet)
  )

  it.effect("below a queue it keeps the queue going while its primary blocks", () =>
    Effect.gen(function* () {
      const { primary, second, sink } = yield* make(fallible(TestSink.hanging<number>()))
      const queue = yield* EventQueue.make(sink)
      yield* EventSink.writeAll(queue, [1, 2, 3, 4])
      yield* TestClock.adjust("2 seconds")
      yield* queue.flush
      assert.deepStrictEqual([primary.attempts, second.received], [2, [1, 2, 3, 4]])
    }).pipe(quiet)
  )
})

describe("in pictures, health and layers", () => {
  it.effect("its edges say which are the fallbacks, and all acknowledge", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number>({ name: "eu" }).pipe(
        FallbackSink.make([TestSink.failing<number>({ name: "us" }), TestSink.recording<number>({ name: "disk" })], {
          after,
          name: "regions"
        })
      )
      assert.strictEqual(
        SinkGraph.toMermaid(sink),
        [
          "flowchart TD",
          '  0["FallbackSink regions"]',
          '  1["EventSink eu"]',
          '  2["EventSink us"]',
          '  3["EventSink disk"]',
          "  0 --> 1",
          '  0 -->|"fallback"| 2',
          '  0 -->|"fallback 2"| 3'
        ].join("\n")
      )
      assert.isTrue(sink.node.downstream().every(({ acknowledges }) => acknowledges))
      assert.strictEqual(breakerOf(sink), "closed")
    })
  )

  it.effect("its layer builds it, named after the tag", () => {
    class Out extends Context.Service<Out, EventSink.EventSink<number>>()("test/FallbackSink/Out") {}
    const live = FallbackSink.layer(Out, TestSink.failing<number>(), TestSink.recording<number>(), { after })
    const provided: Layer.Layer<Out> = live
    return Effect.gen(function* () {
      const sink = yield* Out
      yield* sink.write(1)
      assert.strictEqual(sink.node.name, Out.key)
    }).pipe(Effect.provide(provided), quiet)
  })
})
