import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Stream } from "effect"
import {
  EventChannel,
  EventQueue,
  EventSink,
  Interop,
  RetryingSink,
  ExponentialBackoff,
  SinkGraph
} from "effect-events"
import { EventEmitter } from "node:events"
import { open, pass, quiet, settle, uncaught } from "./support/virtual.ts"

/** Lets promises settle. */
const turn = Effect.promise(() => new Promise((done) => setImmediate(done)))

const errorOf = <A, E>(exit: Exit.Exit<A, E>) => (Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined)

describe("a sink over an EventEmitter", () => {
  it.effect("calls its listeners in order", () =>
    Effect.gen(function* () {
      const seen: Array<unknown> = []
      const emitter = new EventEmitter().on("order", (one) => seen.push(one)).on("order", (one) => seen.push(-one))
      const sink = yield* Interop.fromEventEmitter<number>(emitter, "order")
      yield* EventSink.writeAll(sink, [1, 2])
      assert.deepStrictEqual(seen, [1, -1, 2, -2])
      assert.deepStrictEqual([sink.node.kind, sink.node.name], ["EventEmitter", "order"])
    })
  )

  it.effect("fails without a listener, so that a retrier delivers when there is one", () =>
    Effect.gen(function* () {
      const emitter = new EventEmitter()
      const sink = yield* Interop.fromEventEmitter<number>(emitter, "order")
      assert.deepStrictEqual(errorOf(yield* Effect.exit(sink.write(1))), new Interop.NoListener({ event: "order" }))
      const retrying = yield* sink.pipe(
        RetryingSink.make(ExponentialBackoff.make({ base: "1 second", factor: "1 second" }))
      )
      const writing = yield* Effect.forkChild(retrying.write(2))
      yield* settle
      const seen: Array<number> = []
      emitter.on("order", (n: number) => seen.push(n))
      yield* pass(4)
      yield* Fiber.join(writing)
      assert.deepStrictEqual(seen, [2])
    })
  )

  it.effect("dies with what a listener throws", () =>
    Effect.gen(function* () {
      const emitter = new EventEmitter().on("order", () => {
        throw new Error("bug")
      })
      const sink = yield* Interop.fromEventEmitter<number>(emitter, "order", { name: "orders" })
      const exit = yield* Effect.exit(sink.write(1))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
    })
  )
})

describe("a sink over an EventTarget", () => {
  it.effect("dispatches events, whose detail is the value, and takes them without a listener", () =>
    Effect.gen(function* () {
      const target = new EventTarget()
      const sink = yield* Interop.fromEventTarget<number>(target, "order")
      yield* sink.write(0)
      const seen: Array<unknown> = []
      target.addEventListener("order", (event) => seen.push(event instanceof CustomEvent && event.detail))
      yield* EventSink.writeAll(sink, [1, 2])
      assert.deepStrictEqual(seen, [1, 2])
    })
  )
})

describe("a sink over a WritableStream", () => {
  it.effect("waits while the stream is full, and keeps the order", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const gate = Promise.withResolvers<void>()
      const stream = new WritableStream<number>({
        write: async (n) => {
          await gate.promise
          seen.push(n)
        }
      })
      const sink = yield* Interop.fromWritableStream(stream)
      const writing = yield* Effect.forkChild(EventSink.writeAll(sink, [1, 2, 3]))
      yield* settle
      assert.isUndefined(writing.pollUnsafe())
      gate.resolve()
      yield* Fiber.join(writing)
      assert.deepStrictEqual(seen, [1, 2, 3])
    })
  )

  it.effect("makes no write that was interrupted before the stream had room for it", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const gate = Promise.withResolvers<void>()
      const stream = new WritableStream<number>({
        write: async (n) => {
          await gate.promise
          seen.push(n)
        }
      })
      const sink = yield* Interop.fromWritableStream(stream)
      const first = yield* Effect.forkChild(sink.write(1))
      yield* turn
      const retried = yield* sink.pipe(
        EventSink.timeout("1 second"),
        RetryingSink.make(ExponentialBackoff.make({ base: 0, factor: 0 }))
      )
      const writing = yield* Effect.forkChild(retried.write(2))
      yield* pass(5)
      gate.resolve()
      yield* Fiber.join(first)
      yield* Fiber.join(writing)
      yield* turn
      assert.deepStrictEqual(seen, [1, 2])
    }).pipe(quiet)
  )

  it.effect("fails with what the stream refuses, and with that from then on", () =>
    Effect.gen(function* () {
      const problem = new Error("disk full")
      const stream = new WritableStream<number>({ write: () => Promise.reject(problem) })
      const sink = yield* Interop.fromWritableStream(stream)
      for (const n of [1, 2]) {
        const error = errorOf(yield* Effect.exit(sink.write(n)))
        assert.instanceOf(error, Interop.WritableFailed)
        assert.strictEqual(error.cause, problem)
      }
    })
  )

  it.effect("locks the stream until the close, and leaves it open then", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const stream = new WritableStream<number>({ write: (n) => void seen.push(n) })
      const { close, part } = yield* open(Interop.fromWritableStream(stream))
      yield* part.write(1)
      assert.isTrue(stream.locked)
      yield* close
      assert.isFalse(stream.locked)
      assert.instanceOf(errorOf(yield* Effect.exit(part.write(2))), EventSink.SinkClosed)
      yield* Effect.promise(() => stream.getWriter().write(3))
      assert.deepStrictEqual(seen, [1, 3])
    })
  )

  it.effect("reports no uncaught rejection of a stream that fails while nothing is written", () =>
    Effect.gen(function* () {
      const { errors } = yield* uncaught
      let fail = (_: unknown) => {}
      const stream = new WritableStream<number>({
        start: (controller) => void (fail = (cause) => controller.error(cause))
      })
      const { close } = yield* open(Interop.fromWritableStream(stream))
      fail(new Error("gone"))
      yield* Effect.promise(() => new Promise((done) => setImmediate(done)))
      yield* close
      assert.deepStrictEqual(errors, [])
    }).pipe(Effect.scoped)
  )
})

describe("a channel that is read by for await", () => {
  it.effect("gives its events in order, and ends the loop at the close", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(EventChannel.make<number>({ capacity: 8 }))
      const seen: Array<number> = []
      const loop = yield* Effect.forkChild(
        Effect.promise(async () => {
          for await (const n of Stream.toAsyncIterable(part.stream)) seen.push(n)
        })
      )
      yield* EventSink.writeAll(part, [1, 2, 3])
      yield* close
      yield* Fiber.join(loop)
      assert.deepStrictEqual(seen, [1, 2, 3])
      assert.strictEqual((yield* SinkGraph.health(part))[0]?.counts.delivered, 3)
    })
  )

  it.effect("leaves to the next loop what one that breaks has not read", () =>
    Effect.gen(function* () {
      const sink = yield* EventChannel.make<number>({ capacity: 8 })
      yield* EventSink.writeAll(sink, [1, 2, 3])
      const first = (n: number) =>
        Effect.promise(async () => {
          const seen: Array<number> = []
          for await (const one of Stream.toAsyncIterable(sink.stream)) if (seen.push(one) === n) break
          return seen
        })
      assert.deepStrictEqual([yield* first(1), yield* first(2)], [[1], [2, 3]])
    })
  )
})

describe("an AsyncIterable that is run into a sink", () => {
  it.effect("writes all of it, and fails with what it throws", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const sink = yield* EventSink.sync((n: number) => seen.push(n))
      const problem = new Error("source")
      const source = async function* (fails: boolean) {
        yield 1
        yield 2
        if (fails) throw problem
      }
      yield* Interop.runAsyncIterable(source(false), sink)
      const error = errorOf(yield* Effect.exit(Interop.runAsyncIterable(source(true), sink)))
      assert.deepStrictEqual(seen, [1, 2, 1, 2])
      assert.instanceOf(error, Cause.UnknownError)
      assert.strictEqual(error.cause, problem)
    })
  )
})

describe("a promise in front of a sink", () => {
  it("resolves when the event is committed, and drains at the close", async () => {
    const seen: Array<number> = []
    const orders = await Interop.open(
      EventSink.make((n: number) => Effect.sync(() => void seen.push(n))).pipe(EventQueue.make())
    )
    await orders.write(1)
    await orders.writeAll([2, 3])
    await orders.close()
    assert.deepStrictEqual(seen, [1, 2, 3])
    const error: unknown = await orders.write(4).catch((error: unknown) => error)
    assert.instanceOf(error, EventSink.SinkClosed)
  })

  it("rejects with the error of the write", async () => {
    const problem = new Error("down")
    const sink = await Interop.open(EventSink.make((_: number) => Effect.fail(problem)))
    assert.strictEqual(await sink.write(1).catch((error: unknown) => error), problem)
    await sink.close()
  })

  it("rejects when the pipeline cannot be made, with its scope closed", async () => {
    let isReleased = false
    const failing = Effect.andThen(
      Effect.acquireRelease(Effect.void, () => Effect.sync(() => void (isReleased = true))),
      Effect.fail("no url")
    )
    const error: unknown = await Interop.open<number, never, string>(failing).catch((error: unknown) => error)
    assert.include(String(error), "no url")
    assert.isTrue(isReleased)
  })

  it("is interrupted by an abort", async () => {
    const begun = Promise.withResolvers<void>()
    const sink = await Interop.open(
      EventSink.make((_: number) => Effect.andThen(Effect.sync(begun.resolve), Effect.never), { drainTimeout: 0 })
    )
    const abort = new AbortController()
    const writing = sink.write(1, { signal: abort.signal }).then(
      () => "resolved",
      () => "rejected"
    )
    await begun.promise
    abort.abort()
    assert.strictEqual(await writing, "rejected")
    await sink.close()
  })
})
