import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { open, quiet, settle, uncaught } from "../support/virtual.ts"
import { start } from "./support/process.ts"
import { error, layerAround, eventsOf, Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

/** A queue behind which nothing moves, so that what is written stays where one can count it. */
const standing = (options: Parameters<typeof start>[1] = {}) =>
  Effect.gen(function* () {
    const receiver = yield* TestSink.hanging<number>({ drainTimeout: 0 })
    return Object.assign(yield* start(receiver, { drainTimeout: 0, ...options }), { receiver })
  })

/** A gate before each append. */
const gated = (spy: Spy) => {
  const waiting: Array<() => void> = []
  spy.act = (name, run) =>
    name === "publish"
      ? Effect.andThen(
          Effect.callback<void>((resume) => void waiting.push(() => resume(Effect.void))),
          run
        )
      : run
  return {
    /** Lets the append that waits go on. */
    pass: Effect.suspend(() => {
      waiting.shift()?.()
      return settle
    }),
    waiting
  }
}

const failureOf = (exit: Exit.Exit<unknown, unknown> | undefined): unknown =>
  exit !== undefined && Exit.isFailure(exit) ? exit.cause.reasons.find(Cause.isFailReason)?.error : undefined

describe("DurableQueue, written to", () => {
  it.effect("a write succeeds when the event is in the store, and not before", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const { memory, queue } = yield* standing({ spy })
      const gate = gated(spy)
      const write = yield* Effect.forkChild(queue.write(1))
      yield* settle
      assert.deepStrictEqual([write.pollUnsafe(), eventsOf(memory)], [undefined, []])
      yield* gate.pass
      assert.deepStrictEqual(write.pollUnsafe(), Exit.void)
      assert.deepStrictEqual(eventsOf(memory), [1])
    })
  )

  it.effect("writers that come together share a commit", () =>
    Effect.gen(function* () {
      const { memory, queue, spy } = yield* standing()
      yield* Effect.all(
        range(1, 100).map((n) => queue.write(n)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(eventsOf(memory), range(1, 100))
      assert.isAtMost(spy.count("publish"), 3)
    })
  )

  it.effect("writers that come during a commit share the next", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const { queue } = yield* standing({ spy })
      const gate = gated(spy)
      yield* Effect.forkChild(queue.write(0))
      yield* settle
      for (const n of range(1, 50)) {
        yield* Effect.forkChild(queue.write(n))
        yield* Effect.yieldNow
      }
      yield* settle
      yield* gate.pass
      yield* gate.pass
      assert.deepStrictEqual(spy.sizes("publish"), [1, 50])
    })
  )

  it.effect("a commit has at most batchSize events, and a batch is stored whole", () =>
    Effect.gen(function* () {
      const { memory, queue, spy } = yield* standing({ batchSize: 10 })
      const batches = [1, 8, 15].map((first) => queue.writeSome!([first, ...range(first + 1, first + 6)]))
      const written = yield* Effect.all(batches, { concurrency: "unbounded" })
      assert.deepStrictEqual(written, [7, 7, 7])
      assert.deepStrictEqual(eventsOf(memory), range(1, 21))
      // Two batches of seven are too many.
      assert.deepStrictEqual(spy.sizes("publish"), [7, 7, 7])
      yield* Effect.all(
        range(1, 25).map((n) => queue.write(n)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(spy.sizes("publish").slice(3), [10, 10, 5])
    })
  )

  it.effect("of a batch larger than batchSize the leading part is stored, and its size answered", () =>
    Effect.gen(function* () {
      const { memory, queue } = yield* standing({ batchSize: 4 })
      assert.strictEqual(yield* queue.writeSome!([1, 2, 3, 4, 5, 6]), 4)
      assert.deepStrictEqual(eventsOf(memory), [1, 2, 3, 4])
      yield* EventSink.writeAll(queue, range(5, 14))
      assert.deepStrictEqual(eventsOf(memory), range(1, 14))
    })
  )

  it.effect("a batch is committed as far as its bytes go, and one event however large", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.hanging<string>({ drainTimeout: 0 })
      const queue = yield* DurableQueue.make({ name: "large", schema: Schema.String, drainTimeout: 0 })(receiver)
      const [half, whole] = ["x".repeat(1_500_000), "y".repeat(5_000_000)]
      assert.strictEqual(yield* queue.writeSome!([half, half, half]), 2)
      assert.strictEqual(yield* queue.writeSome!([half, whole]), 1)
      assert.strictEqual(yield* queue.writeSome!([whole, half]), 1)
      assert.strictEqual(yield* queue.pending, 4)
    }).pipe(Effect.scoped, Effect.provide(MemoryStore.layer))
  )

  it.effect("a commit has at most 4 MiB, and what is larger commits alone", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const spy = new Spy()
      const receiver = yield* TestSink.hanging<string>({ drainTimeout: 0 })
      const { part: queue } = yield* open(
        DurableQueue.make({ name: "events", schema: Schema.String })(receiver).pipe(
          Effect.provide(layerAround(memory, spy.around))
        )
      )
      const mega = (n: number) => "x".repeat(n * 1024 * 1024)
      yield* Effect.all(
        [1, 1, 1.5, 1, 9, 1, 1].map((n) => queue.write(mega(n))),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(spy.sizes("publish"), [3, 1, 1, 2])
    })
  )

  it.effect("a failing append fails just its writers, typed, and the queue goes on", () =>
    Effect.gen(function* () {
      const { memory, queue, spy } = yield* standing()
      spy.fail(["publish"], { problem: "NoSpace" })
      const exits = yield* Effect.all(
        range(1, 3).map((n) => Effect.exit(queue.write(n))),
        { concurrency: "unbounded" }
      )
      for (const exit of exits) {
        const failure = failureOf(exit)
        assert.instanceOf(failure, DurableQueue.DurableWriteError)
        assert.strictEqual(failure.queue, "events")
        assert.instanceOf(failure.reason, EventStore.EventStoreError)
        assert.isTrue(failure.reason._tag === "EventStoreError" && failure.reason.problem === "NoSpace")
      }
      spy.heal()
      yield* queue.write(4)
      assert.deepStrictEqual(eventsOf(memory), [4])
    }).pipe(quiet)
  )

  describe("an append that fails for one of its events", () => {
    /** The numbers that an append is to store. */
    const numbersOf = (args: ReadonlyArray<unknown>) =>
      (args[1] as ReadonlyArray<EventStore.NewEvent>).map(({ payload }) => Number(new TextDecoder().decode(payload)))
    /** Writes 1 to 16 at once, to a store that refuses some of them. */
    const writeAll = Effect.fnUntraced(function* (
      refused: (numbers: ReadonlyArray<number>) => EventStore.EventStoreError | undefined
    ) {
      const spy = new Spy()
      const { memory, queue } = yield* standing({ spy })
      let asked = 0
      spy.act = (name, run, args) => {
        if (name !== "publish") return run
        asked++
        const failure = refused(numbersOf(args))
        return failure === undefined ? run : Effect.fail(failure)
      }
      const exits = yield* Effect.forEach(range(1, 16), (n) => Effect.exit(queue.write(n)), {
        concurrency: "unbounded"
      })
      const stored = eventsOf(memory)
      assert.deepStrictEqual(
        exits.flatMap((exit, at) => (Exit.isSuccess(exit) ? at + 1 : [])),
        stored
      )
      return { asked, stored, queue, memory }
    })
    const without = (...some: ReadonlyArray<number>) => range(1, 16).filter((n) => !some.includes(n))

    it.effect.each([
      ["Invalid", [5]],
      ["Invalid", [1, 2, 3, 15, 16]],
      ["Other", [1]],
      ["Other", [7, 12]]
    ] as const)("as %s for %j, fails no other writer, and keeps the order", ([problem, bad]) =>
      Effect.gen(function* () {
        const { asked, memory, queue, stored } = yield* writeAll((numbers) =>
          numbers.some((n) => bad.includes(n as never)) ? error("publish", { problem }) : undefined
        )
        assert.deepStrictEqual(stored, without(...bad))
        assert.isAtMost(asked, 1 + bad.length * 8)
        yield* queue.write(17)
        assert.deepStrictEqual(eventsOf(memory), [...without(...bad), 17])
      }).pipe(quiet)
    )

    it.effect.each([
      ["Disconnected", false],
      ["Locked", false],
      ["NoSpace", false],
      ["Other", true],
      ["Invalid", true]
    ] as const)("as %s, maybeCommitted: %s, is not tried again", ([problem, maybeCommitted]) =>
      Effect.gen(function* () {
        const { asked, stored } = yield* writeAll(() => error("publish", { problem, maybeCommitted }))
        assert.deepStrictEqual([asked, stored], [1, []])
      }).pipe(quiet)
    )

    it.effect("is given up where the store refuses one writer after the other", () =>
      Effect.gen(function* () {
        const { asked, stored } = yield* writeAll(() => error("publish", { problem: "Other" }))
        assert.deepStrictEqual([asked, stored], [6, []])
      }).pipe(quiet)
    )

    it.effect("is tried together again when the store goes away meanwhile", () =>
      Effect.gen(function* () {
        let n = 0
        const { asked, stored } = yield* writeAll(() =>
          error("publish", { problem: ++n === 1 ? "Invalid" : "Disconnected" })
        )
        assert.deepStrictEqual([asked, stored], [3, []])
      }).pipe(quiet)
    )

    it.effect("stores no writer that is interrupted meanwhile, and answers all at a close", () =>
      Effect.gen(function* () {
        const spy = new Spy()
        const { close, memory, queue } = yield* standing({ spy, drainTimeout: 100 })
        spy.act = (name, run, args) => {
          if (name !== "publish") return run
          const refused = numbersOf(args).includes(3) ? Effect.fail(error(name, { problem: "Invalid" })) : Effect.void
          return Effect.andThen(Effect.sleep(10), Effect.andThen(refused, run))
        }
        const fibers = yield* Effect.forEach(range(1, 8), (n) => Effect.forkChild(queue.write(n)))
        yield* TestClock.adjust(10)
        yield* Fiber.interrupt(fibers[0]!)
        yield* TestClock.adjust(20)
        assert.deepStrictEqual(eventsOf(memory), [2])
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust(1000)
        yield* Fiber.join(closing)
        assert.isTrue(fibers.every((fiber) => fiber.pollUnsafe() !== undefined))
        assert.deepStrictEqual(
          fibers.flatMap((fiber, at) => (fiber.pollUnsafe()?._tag === "Success" ? at + 1 : [])),
          eventsOf(memory)
        )
      }).pipe(quiet)
    )
  })

  it.effect("a failing append fails no later writer", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const { memory, queue } = yield* standing({ spy })
      let n = 0
      spy.act = (name, run) =>
        name === "publish" && ++n === 1 ? Effect.andThen(Effect.sleep(10), Effect.fail(error(name))) : run
      const first = yield* Effect.forkChild(queue.write(1))
      yield* settle
      const second = yield* Effect.forkChild(queue.write(2))
      yield* TestClock.adjust(20)
      assert.isDefined(failureOf(first.pollUnsafe()))
      assert.deepStrictEqual(second.pollUnsafe(), Exit.void)
      assert.deepStrictEqual(eventsOf(memory), [2])
    }).pipe(quiet)
  )

  it.effect("an append that dies fails its writers typed, and maybeCommitted, and the queue goes on", () =>
    Effect.gen(function* () {
      const { memory, queue, spy } = yield* standing()
      spy.act = (name, run) => (name === "publish" ? Effect.die(new Error("a defect of the store")) : run)
      const failure = failureOf(yield* Effect.exit(queue.write(1)))
      assert.instanceOf(failure, DurableQueue.DurableWriteError)
      assert.isTrue(failure.reason._tag === "EventStoreError" && failure.reason.maybeCommitted)
      spy.heal()
      yield* queue.write(2)
      assert.deepStrictEqual(eventsOf(memory), [2])
    })
  )

  it.effect("all writers that share a commit are answered, though an observer of one throws", () =>
    Effect.gen(function* () {
      const { errors } = yield* uncaught
      const { queue, spy } = yield* standing()
      const context = yield* Effect.context<never>()
      const thrown = new Error("thrown")
      Effect.runCallbackWith(context)(queue.write(1), {
        onExit: () => {
          throw thrown
        }
      })
      const second = yield* Effect.forkChild(queue.write(2), { startImmediately: true })
      yield* settle
      assert.deepStrictEqual(spy.sizes("publish"), [2])
      assert.deepStrictEqual(second.pollUnsafe(), Exit.void)
      assert.deepStrictEqual(errors, [thrown])
    })
  )

  it.effect("a writer that is interrupted while it waits for a commit is not stored", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const { memory, queue } = yield* standing({ spy })
      const gate = gated(spy)
      yield* Effect.forkChild(queue.write(1))
      yield* settle
      const waiting = yield* Effect.forkChild(queue.writeSome!([2, 3]))
      yield* Effect.forkChild(queue.write(4))
      yield* settle
      yield* Fiber.interrupt(waiting)
      yield* gate.pass
      yield* gate.pass
      assert.deepStrictEqual(eventsOf(memory), [1, 4])
    })
  )

  it.effect("an interruption during the commit leaves the event stored, and the other writers alone", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const { memory, queue } = yield* standing({ spy })
      const gate = gated(spy)
      const one = yield* Effect.forkChild(queue.write(1))
      const other = yield* Effect.forkChild(queue.write(2))
      yield* settle
      yield* Fiber.interrupt(one)
      yield* gate.pass
      assert.deepStrictEqual(eventsOf(memory), [1, 2])
      assert.deepStrictEqual(other.pollUnsafe(), Exit.void)
    })
  )

  it.effect("what one writer writes in turn is in order, among many", () =>
    Effect.gen(function* () {
      const receiver = yield* TestSink.recording<number>()
      const { queue } = yield* start(receiver, { batchSize: 7 })
      const writer = (first: number) =>
        Effect.forEach(range(first, first + 19), (n) => Effect.andThen(Effect.yieldNow, queue.write(n)))
      yield* Effect.all([0, 100, 200, 300].map(writer), { concurrency: "unbounded" })
      yield* queue.flush
      for (const first of [0, 100, 200, 300]) {
        assert.deepStrictEqual(
          receiver.received.filter((n) => n >= first && n < first + 100),
          range(first, first + 19)
        )
      }
    })
  )

  describe("Unencodable", () => {
    it.effect("fails the write typed, without the event's content, and stores nothing of its batch", () =>
      Effect.gen(function* () {
        const { memory, queue } = yield* standing()
        const failure = failureOf(yield* Effect.exit(queue.write(1234.5)))
        assert.instanceOf(failure, DurableQueue.DurableWriteError)
        assert.instanceOf(failure.reason, DurableQueue.Unencodable)
        assert.isFalse(failure.message.includes("1234"))
        const reason = yield* queue.write(1.5).pipe(
          Effect.as("written"),
          Effect.catchReason("DurableWriteError", "Unencodable", () => Effect.succeed("unencodable"))
        )
        assert.strictEqual(reason, "unencodable")
        assert.isDefined(failureOf(yield* Effect.exit(queue.writeSome!([1, 2.5, 3]))))
        yield* queue.write(4)
        assert.deepStrictEqual(eventsOf(memory), [4])
      })
    )

    it.effect("is what JSON cannot hold", () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const receiver = yield* TestSink.recording<unknown>()
        const { part: queue } = yield* open(
          DurableQueue.make({ name: "events", schema: Schema.Unknown })(receiver).pipe(
            Effect.provide(MemoryStore.layerOver(memory))
          )
        )
        const cyclic: Record<string, unknown> = {}
        cyclic["self"] = cyclic
        for (const odd of [cyclic, undefined, () => 1, 1n, Symbol("odd")]) {
          const failure = failureOf(yield* Effect.exit(queue.write(odd)))
          assert.isTrue(failure instanceof DurableQueue.DurableWriteError && failure.reason._tag === "Unencodable")
        }
        assert.deepStrictEqual(eventsOf(memory), [])
      })
    )

    it.effect("is SinkClosed after the close", () =>
      Effect.gen(function* () {
        const { close, queue } = yield* standing()
        yield* close
        assert.instanceOf(failureOf(yield* Effect.exit(queue.write(1.5))), EventSink.SinkClosed)
        assert.instanceOf(failureOf(yield* Effect.exit(queue.writeSome!([1.5]))), EventSink.SinkClosed)
      })
    )
  })

  describe("in a transaction of the store", () => {
    /** A store whose appends are in a transaction for the fibers that say so. */
    const inside = (options: Parameters<typeof start>[1] = {}) =>
      Effect.gen(function* () {
        const fibers: Array<number> = []
        const process = yield* standing({
          ...options,
          store: (store) => ({
            ...store,
            inTransaction: Effect.succeed(true),
            publish: (...args) =>
              Effect.withFiber((fiber) => {
                fibers.push(fiber.id)
                return store.publish(...args)
              })
          })
        })
        yield* settle
        return { ...process, fibers }
      })

    it.effect("a write is made by the fiber itself, and shares no commit", () =>
      Effect.gen(function* () {
        const { fibers, memory, queue, spy } = yield* inside()
        const writers = range(1, 10).map((n) => Effect.withFiber((fiber) => Effect.as(queue.write(n), fiber.id)))
        const ids = yield* Effect.all(writers, { concurrency: "unbounded" })
        assert.deepStrictEqual(fibers, ids)
        assert.deepStrictEqual(
          spy.sizes("publish"),
          range(1, 10).map(() => 1)
        )
        assert.deepStrictEqual(eventsOf(memory), range(1, 10))
      })
    )

    it.effect("it does not wait for room, which locks of a transaction would prevent", () =>
      Effect.gen(function* () {
        const { memory, queue } = yield* inside({ capacity: 1 })
        yield* queue.write(1)
        yield* queue.write(2)
        assert.deepStrictEqual(eventsOf(memory), [1, 2])
      })
    )

    it.effect("it is rejected as any other", () =>
      Effect.gen(function* () {
        const { memory, queue } = yield* inside({ capacity: 1, overflow: "reject" })
        yield* queue.write(1)
        assert.deepInclude(failureOf(yield* Effect.exit(queue.write(2))), { _tag: "QueueFull" })
        assert.deepStrictEqual(eventsOf(memory), [1])
      })
    )

    it.effect("its failure is typed as any other", () =>
      Effect.gen(function* () {
        const { queue, spy } = yield* inside()
        spy.fail(["publish"])
        assert.deepInclude(failureOf(yield* Effect.exit(queue.write(1))), { _tag: "DurableWriteError" })
      }).pipe(quiet)
    )
  })
})
