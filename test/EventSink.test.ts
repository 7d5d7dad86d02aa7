import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, PubSub, Queue, References, Result, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventFilter, EventQueue, EventSink, RetryingSink, RetryStrategy } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { settle, withLogs } from "./support/virtual.ts"

const countsOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0).counts

/** A batch sink that commits up to `limit` events at once, and fails the attempts that `fails` says. */
const batching = <A>(limit: number, fails: (attempt: number) => boolean = () => false) =>
  Effect.suspend(() => {
    let attempt = 0
    const batches: Array<ReadonlyArray<A>> = []
    return Effect.map(
      EventSink.makeBatch((events: ReadonlyArray<A>) => {
        if (fails(++attempt)) return Effect.fail("down" as const)
        const part = events.slice(0, limit)
        batches.push(part)
        return Effect.succeed(part.length)
      }),
      (sink) => ({ sink, batches })
    )
  })

class Prefix extends Context.Service<Prefix, string>()("test/Prefix") {}
class Suffix extends Context.Service<Suffix, string>()("test/Suffix") {}
const Level = Context.Reference<number>("test/Level", { defaultValue: () => 0 })

describe("make", () => {
  it.effect("a write runs the function with the event and succeeds when it does", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const sink = yield* EventSink.make((n: number) => Effect.sync(() => seen.push(n)))
      yield* sink.write(1)
      yield* sink.write(2)
      assert.deepStrictEqual(seen, [1, 2])
      assert.deepStrictEqual(countsOf(sink), {
        accepted: 2,
        delivered: 2,
        filtered: 0,
        dropped: 0,
        undelivered: 0,
        deadLettered: 0,
        remaining: 0
      })
    })
  )

  it.effect("a write is an effect: nothing is done before it is run, and running it twice does the act twice", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const sink = yield* EventSink.make((n: number) => Effect.sync(() => seen.push(n)))
      const write = sink.write(1)
      assert.deepStrictEqual(seen, [])
      yield* write
      yield* write
      assert.deepStrictEqual(seen, [1, 1])
    })
  )

  it.effect(
    "a write fails with what the function fails with, which is the node's last error, and can be repeated",
    () =>
      Effect.gen(function* () {
        const sink = yield* TestSink.failing<number>({ times: 1 })
        const failure = yield* Effect.flip(sink.write(1))
        assert.strictEqual(failure._tag, "TestError")
        assert.include(String(sink.node.health(0).lastError?.error), "TestError")
        assert.strictEqual(countsOf(sink).accepted, 0)
        yield* sink.write(1)
        assert.deepStrictEqual(sink.received, [1])
      })
  )

  it.effect("a defect, a throw and an interruption of its own making are the write's, and the sink lives on", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((act: "die" | "throw" | "interrupt" | "succeed") => {
        if (act === "throw") throw new Error("thrown")
        return act === "die" ? Effect.die("dead") : act === "interrupt" ? Effect.interrupt : Effect.void
      })
      for (const act of ["die", "throw"] as const) {
        const exit = yield* Effect.exit(sink.write(act))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), act)
      }
      const exit = yield* Effect.exit(sink.write("interrupt"))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      yield* sink.write("succeed")
      assert.strictEqual(sink.node.health(0).inFlight, 0)
      assert.strictEqual(countsOf(sink).accepted, 1)
    })
  )

  it.effect("when the scope closes, writes fail with SinkClosed, which names the sink", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const sink = yield* Scope.provide(
        EventSink.make(() => Effect.void, { name: "receiver" }),
        scope
      )
      yield* sink.write(1)
      yield* Scope.close(scope, Exit.void)
      const closed = yield* Effect.flip(sink.write(2))
      assert.instanceOf(closed, EventSink.SinkClosed)
      assert.strictEqual(closed.sink, "receiver")
      assert.strictEqual(closed.message, 'the sink "receiver" is closed')
      assert.strictEqual(sink.node.health(0).state, "closed")
    })
  )

  it.effect("the close waits for writes that are under way, and lets no other begin", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const sink = yield* Scope.provide(TestSink.hanging<number>(), scope)
      const write = yield* Effect.forkChild(sink.write(1))
      yield* settle
      const close = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("19 seconds")
      assert.isUndefined(close.pollUnsafe())
      assert.strictEqual(sink.node.health(0).state, "closing")
      assert.instanceOf(yield* Effect.flip(sink.write(2)), EventSink.SinkClosed)
      yield* sink.release
      yield* Fiber.join(write)
      yield* Fiber.join(close)
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("the close waits 20 seconds by default, then warns with the sink's name and the number of writes", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sink = yield* Scope.provide(TestSink.uninterruptible<string>({ name: "stuck" }), scope)
        yield* Effect.forkChild(sink.write("a secret"))
        yield* Effect.forkChild(sink.write("a secret"))
        yield* settle
        const close = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("19999 millis")
        assert.isUndefined(close.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(close)
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["WARN"]
        )
        assert.include(logs[0]!.line, "stuck")
        assert.include(logs[0]!.line, "2 writes")
        assert.notInclude(logs[0]!.line, "secret")
        yield* sink.release
      })
    )
  )

  it.effect("drainTimeout bounds the wait of the close", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sink = yield* Scope.provide(TestSink.hanging<number>({ drainTimeout: "3 seconds" }), scope)
        yield* Effect.forkChild(sink.write(1))
        yield* settle
        const close = yield* Effect.forkChild(Scope.close(scope, Exit.void))
        yield* TestClock.adjust("2999 millis")
        assert.isUndefined(close.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(close)
        yield* sink.release
      })
    )
  )

  it.effect("an interrupted write is over for the close", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const sink = yield* Scope.provide(TestSink.hanging<number>(), scope)
      const write = yield* Effect.forkChild(sink.write(1))
      yield* settle
      assert.strictEqual(sink.node.health(0).inFlight, 1)
      yield* Fiber.interrupt(write)
      assert.strictEqual(sink.node.health(0).inFlight, 0)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(countsOf(sink).accepted, 0)
    })
  )

  it.effect("a write runs in the captured services merged with the caller's, the caller's winning", () =>
    Effect.gen(function* () {
      const seen: Array<string> = []
      const sink = yield* EventSink.make((event: string) =>
        Effect.gen(function* () {
          seen.push(`${yield* Prefix}${event}${yield* Suffix}`)
        })
      ).pipe(Effect.provideService(Prefix, "<"), Effect.provideService(Suffix, ">"))
      yield* sink.write("captured")
      yield* Effect.provideService(sink.write("caller's"), Suffix, "]")
      yield* sink.write("captured again")
      assert.deepStrictEqual(seen, ["<captured>", "<caller's]", "<captured again>"])
    })
  )

  it.effect("spans and references are the caller's own, and the constructor's references hold where it has none", () =>
    Effect.gen(function* () {
      const seen: Array<[string | undefined, number]> = []
      const sink = yield* EventSink.make(() =>
        Effect.gen(function* () {
          const span = yield* Effect.option(Effect.currentSpan)
          seen.push([span._tag === "Some" ? span.value.name : undefined, yield* Level])
        })
      ).pipe(Effect.provideService(Level, 1), Effect.withSpan("construction"))
      yield* sink.write("no span: the constructor's is not kept")
      yield* sink.write("").pipe(Effect.withSpan("caller"))
      yield* sink.write("").pipe(Effect.provideService(Level, 2))
      assert.deepStrictEqual(seen, [
        [undefined, 1],
        ["caller", 1],
        [undefined, 2]
      ])
    })
  )

  it.effect("a context captured with the constructor leaves out its scope: a write cannot add finalizers to it", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      let scoped: boolean | undefined
      const sink = yield* Scope.provide(
        EventSink.make(() =>
          Effect.contextWith((context: Context.Context<never>) => {
            scoped = Context.getOption(context, Scope.Scope)._tag === "Some"
            return Effect.void
          })
        ),
        scope
      )
      yield* Effect.promise(() => Effect.runPromise(sink.write(1)))
      assert.isFalse(scoped)
      yield* Scope.close(scope, Exit.void)
    })
  )

  it.effect("any value is an event", () =>
    Effect.gen(function* () {
      const events = [undefined, null, Number.NaN, Effect.never, Promise.resolve(1), Exit.fail("no"), 0, ""]
      const sink = yield* TestSink.recording<unknown>()
      const queue = yield* EventQueue.make()(sink)
      yield* EventSink.writeAll(queue, events)
      yield* queue.flush
      assert.strictEqual(sink.received.length, events.length)
      events.forEach((event, i) => assert.isTrue(Object.is(sink.received[i], event)))
    })
  )

  it.effect("the name is the option's, else the kind", () =>
    Effect.gen(function* () {
      assert.strictEqual((yield* EventSink.make(() => Effect.void)).node.name, "EventSink")
      assert.strictEqual((yield* EventSink.make(() => Effect.void, { name: "mine" })).node.name, "mine")
      assert.strictEqual((yield* EventSink.sync(() => {}, { name: "mine" })).node.name, "mine")
      assert.strictEqual((yield* EventSink.make(() => Effect.void)).node.kind, "EventSink")
      const { kind, name } = (yield* EventSink.makeBatch(() => Effect.succeed(1), { kind: "SqlSink" })).node
      assert.deepStrictEqual([kind, name], ["SqlSink", "SqlSink"])
    })
  )
})

describe("makeBatch", () => {
  it.effect("commits a leading part and answers how many; a single write is a batch of one", () =>
    Effect.gen(function* () {
      const { sink, batches } = yield* batching<number>(2)
      assert.strictEqual(yield* sink.writeSome!([1, 2, 3]), 2)
      yield* sink.write(4)
      assert.deepStrictEqual(batches, [[1, 2], [4]])
      assert.strictEqual(countsOf(sink).accepted, 3)
    })
  )

  it.effect("on failure it has committed none, and counts none", () =>
    Effect.gen(function* () {
      const { sink } = yield* batching<number>(2, () => true)
      assert.strictEqual(yield* Effect.flip(sink.writeSome!([1, 2, 3])), "down")
      assert.strictEqual(countsOf(sink).accepted, 0)
      assert.strictEqual(sink.node.health(0).inFlight, 0)
    })
  )

  it.effect.each([0, -1, 3, 1.5, Number.NaN])(
    "an answer that is not a whole number from 1 to the batch's length is a defect: %s",
    (answer) =>
      Effect.gen(function* () {
        const sink = yield* EventSink.makeBatch(() => Effect.succeed(answer))
        const exit = yield* Effect.exit(sink.writeSome!(["a secret", "b"]))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
        assert.notInclude(String(exit), "secret")
      })
  )

  it.effect("after the close a batch fails with SinkClosed too", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { sink } = yield* Scope.provide(batching<number>(2), scope)
      yield* Scope.close(scope, Exit.void)
      assert.instanceOf(yield* Effect.flip(sink.writeSome!([1])), EventSink.SinkClosed)
      assert.instanceOf(yield* Effect.flip(sink.write(1)), EventSink.SinkClosed)
    })
  )
})

describe("sync", () => {
  it.effect("commits through the plain function, lazily", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const sink = yield* EventSink.sync((n: number) => seen.push(n))
      const write = sink.write(1)
      assert.deepStrictEqual(seen, [])
      yield* write
      assert.deepStrictEqual(seen, [1])
      assert.strictEqual(countsOf(sink).delivered, 1)
    })
  )

  it.effect("what it throws is a defect, and the event is not counted as committed", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.sync((n: number) => {
        if (n === 1) throw new Error("no ones")
      })
      const exit = yield* Effect.exit(sink.write(1))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      yield* sink.write(2)
      assert.strictEqual(countsOf(sink).accepted, 1)
    })
  )

  it.effect("after the close it fails with SinkClosed and does not call the function", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const seen: Array<number> = []
      const sink = yield* Scope.provide(
        EventSink.sync((n: number) => seen.push(n)),
        scope
      )
      yield* Scope.close(scope, Exit.void)
      assert.instanceOf(yield* Effect.flip(sink.write(1)), EventSink.SinkClosed)
      assert.deepStrictEqual(seen, [])
    })
  )
})

describe("writeAll", () => {
  it.effect("writes all events in order, one by one where the sink takes no batches", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      yield* EventSink.writeAll(sink, [1, 2, 3])
      yield* sink.pipe(EventSink.writeAll([4]))
      assert.deepStrictEqual(sink.received, [1, 2, 3, 4])
      assert.deepStrictEqual(sink.batches, [1, 1, 1, 1])
    })
  )

  it.effect("in batches where the sink takes them, going on after what was committed", () =>
    Effect.gen(function* () {
      const { sink, batches } = yield* batching<number>(2)
      yield* EventSink.writeAll(sink, [1, 2, 3, 4, 5])
      assert.deepStrictEqual(batches, [[1, 2], [3, 4], [5]])
    })
  )

  it.effect("on failure a leading part has been committed, and nothing after it is tried", () =>
    Effect.gen(function* () {
      const { sink, batches } = yield* batching<number>(2, (attempt) => attempt === 2)
      assert.strictEqual(yield* Effect.flip(EventSink.writeAll(sink, [1, 2, 3, 4, 5])), "down")
      assert.deepStrictEqual(batches, [[1, 2]])
    })
  )

  it.effect("running it again begins anew", () =>
    Effect.gen(function* () {
      const { sink, batches } = yield* batching<number>(2)
      const write = EventSink.writeAll(sink, [1, 2, 3])
      yield* write
      yield* write
      assert.deepStrictEqual(batches, [[1, 2], [3], [1, 2], [3]])
    })
  )

  it.effect("of no events writes nothing", () =>
    Effect.gen(function* () {
      const { sink, batches } = yield* batching<number>(2)
      yield* EventSink.writeAll(sink, [])
      assert.deepStrictEqual(batches, [])
    })
  )
})

describe("mapInput", () => {
  it.effect("takes other events by turning each into one that the sink takes: single, in batches, and at once", () =>
    Effect.gen(function* () {
      const double = EventSink.mapInput((n: number) => n * 2)
      const one = yield* TestSink.recording<number>()
      yield* (yield* double(one)).write(1)
      assert.deepStrictEqual(one.received, [2])

      const { sink, batches } = yield* batching<number>(2)
      yield* EventSink.writeAll(yield* double(sink), [1, 2, 3])
      assert.deepStrictEqual(batches, [[2, 4], [6]])

      const seen: Array<number> = []
      const queue = yield* EventSink.sync((n: number) => seen.push(n)).pipe(double, EventQueue.make())
      yield* queue.write(5)
      yield* queue.flush
      assert.deepStrictEqual(seen, [10])
    })
  )

  it.effect("what f throws is a defect", () =>
    Effect.gen(function* () {
      const { sink } = yield* batching<number>(2)
      const thrower = yield* EventSink.mapInput(sink, (_: number): number => {
        throw new Error("no")
      })
      const one = yield* Effect.exit(thrower.write(1))
      const batch = yield* Effect.exit(thrower.writeSome!([1]))
      assert.isTrue(Exit.isFailure(one) && Cause.hasDies(one.cause))
      assert.isTrue(Exit.isFailure(batch) && Cause.hasDies(batch.cause))
    })
  )

  it.effect("stands at the same place in the graph", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      assert.strictEqual((yield* EventSink.mapInput(sink, (n: number) => n)).node, sink.node)
    })
  )
})

describe("mapError", () => {
  it.effect("turns delivery errors into others, also of batches", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number>({ batchSize: 2 })
      const mapped = yield* sink.pipe(EventSink.mapError((error) => `attempt ${error.attempt}`))
      assert.strictEqual(yield* Effect.flip(mapped.write(1)), "attempt 1")
      assert.strictEqual(yield* Effect.flip(mapped.writeSome!([1, 2])), "attempt 2")
    })
  )

  it.effect("SinkClosed stays what it is", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.closing<number>({ batchSize: 2 })
      const mapped = yield* EventSink.mapError(sink, () => "mapped")
      assert.instanceOf(yield* Effect.flip(mapped.write(1)), EventSink.SinkClosed)
      assert.instanceOf(yield* Effect.flip(mapped.writeSome!([1])), EventSink.SinkClosed)
    })
  )
})

describe("tap", () => {
  it.effect("looks at each event that was committed, and at no other", () =>
    Effect.gen(function* () {
      const looked: Array<number> = []
      const look = (n: number) => Effect.sync(() => void looked.push(n))
      const flaky = yield* TestSink.failing<number>({ times: 1 })
      const tapped = yield* EventSink.tap(flaky, look)
      yield* Effect.flip(tapped.write(1))
      assert.deepStrictEqual(looked, [])
      yield* tapped.write(2)
      assert.deepStrictEqual(looked, [2])

      const { sink } = yield* batching<number>(2)
      assert.strictEqual(yield* (yield* EventSink.tap(sink, look)).writeSome([3, 4, 5]), 2)
      assert.deepStrictEqual(looked, [2, 3, 4])
    })
  )

  it.effect("looks at what a queue hands a plain function too", () =>
    Effect.gen(function* () {
      const looked: Array<number> = []
      const queue = yield* EventSink.sync((_: number) => {}).pipe(
        EventSink.tap((n: number) => Effect.sync(() => void looked.push(n))),
        EventQueue.make()
      )
      yield* queue.write(1)
      yield* queue.flush
      assert.deepStrictEqual(looked, [1])
    })
  )

  it.effect("a defect of the look is logged and changes nothing: the event has been committed", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<number>({ name: "looked at", batchSize: 2 })
        const thrower = yield* EventSink.tap(sink, () => {
          throw new Error("blind")
        })
        const dying = yield* EventSink.tap(sink, () => Effect.die("blind"))
        yield* thrower.write(1)
        yield* dying.write(2)
        assert.strictEqual(yield* dying.writeSome!([3, 4]), 2)
        assert.deepStrictEqual(sink.received, [1, 2, 3, 4])
        assert.deepStrictEqual(
          logs.map(({ level }) => level),
          ["ERROR", "ERROR", "ERROR", "ERROR"]
        )
        assert.include(logs[0]!.line, "looked at")
      })
    )
  )
})

describe("timeout", () => {
  it.effect("limits the time of each write, and of each batch", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<number>({ name: "slow", batchSize: 2 })
      const timed = yield* sink.pipe(EventSink.timeout("5 seconds"))
      const one = yield* Effect.forkChild(Effect.result(timed.write(1)))
      const batch = yield* Effect.forkChild(Effect.result(timed.writeSome!([1, 2])))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(one.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const results: ReadonlyArray<Result.Result<unknown, unknown>> = [yield* Fiber.join(one), yield* Fiber.join(batch)]
      for (const result of results) {
        assert.isTrue(Result.isFailure(result) && result.failure instanceof EventSink.WriteTimeout)
      }
      // The write was interrupted.
      assert.strictEqual(sink.node.health(0).inFlight, 0)
      yield* sink.release
      yield* timed.write(3)
      assert.deepStrictEqual(sink.received, [3])
    })
  )

  it.effect("its error names the sink and the time, and says that the event may have been committed", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<number>({ name: "slow" })
      const failed = yield* Effect.forkChild(Effect.flip((yield* EventSink.timeout(sink, "5 seconds")).write(1)))
      yield* TestClock.adjust("5 seconds")
      const error = yield* Fiber.join(failed)
      assert.strictEqual(error._tag, "WriteTimeout")
      assert.include(error.message, '"slow"')
      assert.include(error.message, "5s")
      assert.include(error.message, "may have committed")
    })
  )

  it.effect("a write that refuses interruption is not bounded by it", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.uninterruptible<number>()
      const write = yield* Effect.forkChild(Effect.exit((yield* EventSink.timeout(sink, "1 seconds")).write(1)))
      yield* TestClock.adjust("1 hour")
      assert.isUndefined(write.pollUnsafe())
      yield* sink.release
      yield* Fiber.await(write)
    })
  )
})

describe("stamp", () => {
  it.effect("assigns the id, the time and the trace of the span that wrote it", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<EventSink.Stamped<string>>()
      const stamped = yield* EventSink.stamp(sink)
      yield* TestClock.adjust("5 seconds")
      yield* stamped.write("a")
      const span = yield* Effect.andThen(stamped.write("b"), Effect.currentSpan).pipe(Effect.withSpan("writer"))
      const [a, b] = sink.received
      assert.strictEqual(a!.event, "a")
      assert.strictEqual(a!.time, 5000)
      assert.isUndefined(a!.trace)
      assert.deepStrictEqual(b!.trace, { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled })
      assert.match(a!.id, /^[0-9a-f-]{36}$/)
      assert.notStrictEqual(a!.id, b!.id)
    })
  )

  it.effect("the id may be a function of the event", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<EventSink.Stamped<string>>()
      yield* (yield* EventSink.stamp(sink, { id: (event) => `id-${event}` })).write("a")
      assert.strictEqual(sink.received[0]!.id, "id-a")
    })
  )

  it.effect("is assigned once, above every retrier: each attempt shows the same id, time and trace", () =>
    Effect.gen(function* () {
      const seen: Array<EventSink.Stamped<string>> = []
      const sink = yield* EventSink.make((event: EventSink.Stamped<string>) => {
        seen.push(event)
        return seen.length < 3 ? Effect.fail("down") : Effect.void
      }).pipe(RetryingSink.make(RetryStrategy.identity), EventSink.stamp())
      yield* sink.write("a")
      assert.strictEqual(seen.length, 3)
      assert.strictEqual(new Set(seen).size, 1)
    }).pipe(Effect.provideService(References.MinimumLogLevel, "None"))
  )

  it.effect("a second write of an event through it writes a new event", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<EventSink.Stamped<string>>()
      const write = (yield* EventSink.stamp(sink)).write("a")
      yield* write
      yield* write
      assert.notStrictEqual(sink.received[0]!.id, sink.received[1]!.id)
    })
  )

  it.effect("each event of a batch gets its own stamp, and the batch stays one", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<EventSink.Stamped<string>>({ batchSize: 10 })
      yield* EventSink.writeAll(yield* EventSink.stamp(sink), ["a", "b", "c"])
      assert.deepStrictEqual(sink.batches, [3])
      assert.deepStrictEqual(
        sink.received.map(({ event }) => event),
        ["a", "b", "c"]
      )
      assert.strictEqual(new Set(sink.received.map(({ id }) => id)).size, 3)
    })
  )
})

describe("fromQueue", () => {
  it.effect("a full suspending queue holds the write up", () =>
    Effect.gen(function* () {
      const queue = yield* Queue.bounded<number>(1)
      const sink = yield* EventSink.fromQueue(queue)
      yield* sink.write(1)
      const write = yield* Effect.forkChild(sink.write(2))
      yield* settle
      assert.isUndefined(write.pollUnsafe())
      assert.strictEqual(yield* Queue.take(queue), 1)
      yield* Fiber.join(write)
      assert.strictEqual(yield* Queue.take(queue), 2)
    })
  )

  it.effect("a full dropping queue fails the write with NotTaken", () =>
    Effect.gen(function* () {
      const queue = yield* Queue.dropping<number>(1)
      const sink = yield* EventSink.fromQueue(queue)
      yield* sink.write(1)
      const error = yield* Effect.flip(sink.write(2))
      assert.strictEqual(error._tag, "NotTaken")
      assert.include(error.message, "Queue")
      assert.deepStrictEqual(yield* Queue.takeAll(queue), [1])
    })
  )

  it.effect("a sliding queue is refused", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(EventSink.fromQueue(yield* Queue.sliding<number>(1)))
      assert.strictEqual(error._tag, "SlidingRefused")
      assert.include(error.message, "Queue")
    })
  )

  it.effect("once the queue has ended, writes fail with SinkClosed, also while its last events wait for readers", () =>
    Effect.gen(function* () {
      const queue = yield* Queue.unbounded<number, Cause.Done>()
      const sink = yield* EventSink.fromQueue(queue)
      yield* sink.write(1)
      yield* Queue.end(queue)
      assert.instanceOf(yield* Effect.flip(sink.write(2)), EventSink.SinkClosed)
      yield* Queue.takeAll(queue)
      assert.instanceOf(yield* Effect.flip(sink.write(2)), EventSink.SinkClosed)
      const shut = yield* Queue.bounded<number>(1)
      const other = yield* EventSink.fromQueue(shut)
      yield* other.write(1)
      const waiting = yield* Effect.forkChild(Effect.flip(other.write(2)))
      yield* settle
      yield* Queue.shutdown(shut)
      assert.instanceOf(yield* Fiber.join(waiting), EventSink.SinkClosed)
    })
  )

  it.effect("the sink does not own the queue: closing the scope closes the sink and leaves the queue as it is", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const queue = yield* Queue.unbounded<number>()
      const sink = yield* Scope.provide(EventSink.fromQueue(queue), scope)
      yield* sink.write(1)
      yield* Scope.close(scope, Exit.void)
      assert.instanceOf(yield* Effect.flip(sink.write(2)), EventSink.SinkClosed)
      assert.isTrue(yield* Queue.offer(queue, 3))
      assert.deepStrictEqual(yield* Queue.takeAll(queue), [1, 3])
    })
  )
})

describe("fromPubSub", () => {
  it.effect("publishes; one without subscribers takes every event and keeps none", () =>
    Effect.gen(function* () {
      const pubsub = yield* PubSub.unbounded<number>()
      const sink = yield* EventSink.fromPubSub(pubsub)
      yield* sink.write(1)
      const subscription = yield* PubSub.subscribe(pubsub)
      yield* sink.write(2)
      assert.strictEqual(yield* PubSub.take(subscription), 2)
    })
  )

  it.effect("a full suspending one holds the write up, and a full dropping one fails it with NotTaken", () =>
    Effect.gen(function* () {
      const bounded = yield* PubSub.bounded<number>(1)
      const subscription = yield* PubSub.subscribe(bounded)
      const holding = yield* EventSink.fromPubSub(bounded)
      yield* holding.write(1)
      const write = yield* Effect.forkChild(holding.write(2))
      yield* settle
      assert.isUndefined(write.pollUnsafe())
      yield* PubSub.take(subscription)
      yield* Fiber.join(write)

      const dropping = yield* PubSub.dropping<number>(1)
      yield* PubSub.subscribe(dropping)
      const failing = yield* EventSink.fromPubSub(dropping)
      yield* failing.write(1)
      assert.strictEqual((yield* Effect.flip(failing.write(2)))._tag, "NotTaken")
    })
  )

  it.effect("a sliding one is refused", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(EventSink.fromPubSub(yield* PubSub.sliding<number>(1)))
      assert.strictEqual(error._tag, "SlidingRefused")
      assert.include(error.message, "PubSub")
    })
  )

  it.effect("once it has ended or was shut down, writes fail with SinkClosed", () =>
    Effect.gen(function* () {
      const shut = yield* PubSub.unbounded<number>()
      const sink = yield* EventSink.fromPubSub(shut)
      yield* PubSub.shutdown(shut)
      assert.instanceOf(yield* Effect.flip(sink.write(1)), EventSink.SinkClosed)
      const ended = yield* PubSub.unbounded<number>()
      const other = yield* EventSink.fromPubSub(ended)
      yield* PubSub.end(ended, 0)
      assert.instanceOf(yield* Effect.flip(other.write(1)), EventSink.SinkClosed)
    })
  )
})

describe("toSink", () => {
  it.effect("lets a stream be run into a sink, chunk by chunk", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>({ batchSize: 100 })
      yield* Stream.run(Stream.rechunk(Stream.range(1, 6), 3), EventSink.toSink(sink))
      assert.deepStrictEqual(sink.received, [1, 2, 3, 4, 5, 6])
      assert.deepStrictEqual(sink.batches, [3, 3])
    })
  )

  it.effect("the stream fails with what a write fails with", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.failing<number>()
      const error = yield* Effect.flip(Stream.run(Stream.range(1, 3), EventSink.toSink(sink)))
      assert.strictEqual(error._tag, "TestError")
      const closed = yield* TestSink.closing<number>({ from: 2 })
      const end = yield* Effect.flip(Stream.run(Stream.range(1, 3), EventSink.toSink(closed)))
      assert.strictEqual(end._tag, "SinkClosed")
      assert.deepStrictEqual(closed.received, [1])
    })
  )
})

describe("layer", () => {
  class Receiver extends Context.Service<Receiver, EventSink.EventSink<string>>()("test/Receiver") {}
  class Alias extends Context.Service<Alias, EventSink.EventSink<string>>()("test/Alias") {}
  class Lines extends Context.Service<Lines, EventSink.EventSink<string>>()("test/Lines") {}

  it.effect("builds the sink of the tag, with the tag's key as the node's name", () =>
    Effect.gen(function* () {
      const sink = yield* Receiver
      assert.strictEqual(sink.node.name, "test/Receiver")
    }).pipe(
      Effect.provide(
        EventSink.layer(
          Receiver,
          EventSink.make(() => Effect.void)
        )
      )
    )
  )

  it.effect("a name from the options stays", () =>
    Effect.gen(function* () {
      const sink = yield* Receiver
      assert.strictEqual(sink.node.name, "own")
    }).pipe(
      Effect.provide(
        EventSink.layer(
          Receiver,
          EventSink.make(() => Effect.void, { name: "own" })
        )
      )
    )
  )

  it.effect("an alias keeps its first name", () =>
    Effect.gen(function* () {
      const sink = yield* Alias
      assert.strictEqual(sink, yield* Receiver)
      assert.strictEqual(sink.node.name, "test/Receiver")
    }).pipe(
      Effect.provide(
        EventSink.layer(Alias, Receiver).pipe(
          Layer.provideMerge(
            EventSink.layer(
              Receiver,
              EventSink.make(() => Effect.void)
            )
          )
        )
      )
    )
  )

  it.effect("when the layer's scope closes, the sink closes as its own finalizers say: the wrapper first", () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const receiver = EventSink.layer(
        Receiver,
        Effect.acquireRelease(
          EventSink.make((line: string) =>
            Effect.delay(
              Effect.sync(() => void log.push(line)),
              "1 seconds"
            )
          ),
          () => Effect.sync(() => log.push("receiver released"))
        )
      )
      const lines = EventSink.layer(Lines, Receiver.pipe(EventQueue.make()))
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(Layer.provide(lines, receiver), scope)
      const sink = Context.get(context, Lines)
      yield* sink.write("a")
      yield* sink.write("b")
      const close = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(close)
      assert.deepStrictEqual(log, ["a", "b", "receiver released"])
    })
  )
})

describe("isEventSink", () => {
  it.effect("holds for every sink and for nothing else", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<number>()
      assert.isTrue(EventSink.isEventSink(sink))
      assert.isTrue(EventSink.isEventSink(yield* EventFilter.make(sink, () => true)))
      assert.isTrue(EventSink.isEventSink(yield* EventQueue.make()(sink)))
      for (const other of [undefined, null, {}, { write: () => Effect.void }, () => {}]) {
        assert.isFalse(EventSink.isEventSink(other))
      }
    })
  )
})

describe("a sink with two wrappers", () => {
  it.effect("outlives both", () =>
    Effect.gen(function* () {
      const outer = yield* Scope.make()
      const sink = yield* Scope.provide(TestSink.recording<number>(), outer)
      const wrappers = yield* Effect.forEach([1, 2], () =>
        Effect.gen(function* () {
          const scope = yield* Scope.fork(outer)
          const queue = yield* Scope.provide(EventQueue.make()(sink), scope)
          return { scope, queue }
        })
      )
      const [first, second] = wrappers as [(typeof wrappers)[0], (typeof wrappers)[0]]
      yield* first.queue.write(1)
      yield* Scope.close(first.scope, Exit.void)
      yield* second.queue.write(2)
      yield* Scope.close(outer, Exit.void)
      assert.deepStrictEqual(sink.received, [1, 2])
      assert.instanceOf(yield* Effect.flip(sink.write(3)), EventSink.SinkClosed)
    })
  )
})
