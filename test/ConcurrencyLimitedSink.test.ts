import { assert, describe, it } from "@effect/vitest"
import { Cause, Data, Effect, Exit, Fiber, References } from "effect"
import { TestClock } from "effect/testing"
import { Broadcaster, ConcurrencyLimitedSink, EventSink, SinkGraph } from "effect-events"
import { randomFrom } from "./support/random.ts"
import { open, settle } from "./support/virtual.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i + 1)

/** A sink whose writes take a second, and that notes their order and how many were under way, in all and by tenant. */
const busy = Effect.gen(function* () {
  const seen: Array<string> = []
  const running: Array<string> = []
  let most = 0
  const mostOf = new Map<string, number>()
  const sink = yield* EventSink.make(
    (event: string) =>
      Effect.acquireUseRelease(
        Effect.sync(() => {
          seen.push(event)
          running.push(event)
          most = Math.max(most, running.length)
          const own = running.filter((other) => other[0] === event[0]).length
          mostOf.set(event[0]!, Math.max(mostOf.get(event[0]!) ?? 0, own))
        }),
        () => Effect.sleep("1 second"),
        () => Effect.sync(() => void running.splice(running.indexOf(event), 1))
      ),
    { name: "receiver" }
  )
  return { seen, sink, running, most: () => most, mostOf }
})

describe("make", () => {
  it.effect("lets so many writes through at once, the others in the order of arrival", () =>
    Effect.gen(function* () {
      const { most, running, seen, sink } = yield* busy
      const limited = yield* sink.pipe(ConcurrencyLimitedSink.make({ permits: 3 }))
      for (const n of range(8)) {
        yield* Effect.forkChild(limited.write(`a${n}`))
        yield* settle
      }
      assert.strictEqual(running.length, 3)
      // Those that wait are under way too, for the health.
      assert.strictEqual(limited.node.health(0).inFlight, 8)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(
        seen,
        range(8).map((n) => `a${n}`)
      )
      assert.strictEqual(most(), 3)
      const { counts, inFlight } = limited.node.health(0)
      assert.deepStrictEqual([counts.accepted, counts.delivered, inFlight], [8, 8, 0])
    })
  )

  it.effect("gives keys their permits in turn", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* busy
      const limited = yield* ConcurrencyLimitedSink.make(sink, { permits: 1, by: (event) => event[0] })
      for (const event of ["a1", "a2", "a3", "a4", "b1", "b2"]) {
        yield* Effect.forkChild(limited.write(event))
        yield* settle
      }
      yield* TestClock.adjust("6 seconds")
      assert.deepStrictEqual(seen, ["a1", "a2", "b1", "a3", "b2", "a4"])
    })
  )

  it.effect("limits the writes of one key, compared by Equal, and lets those of others through", () =>
    Effect.gen(function* () {
      class Tenant extends Data.Class<{ readonly id: string }> {}
      const { most, mostOf, seen, sink } = yield* busy
      const limited = yield* sink.pipe(
        ConcurrencyLimitedSink.make({
          permits: Infinity,
          permitsPerKey: 2,
          by: (event) => new Tenant({ id: event[0]! })
        })
      )
      for (const event of ["a1", "a2", "a3", "a4", "b1", "b2", "c1"]) {
        yield* Effect.forkChild(limited.write(event))
        yield* settle
      }
      assert.deepStrictEqual(seen, ["a1", "a2", "b1", "b2", "c1"])
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(seen.slice(5), ["a3", "a4"])
      assert.strictEqual(most(), 5)
      assert.deepStrictEqual([...mostOf.values()], [2, 2, 1])
    })
  )

  it.effect("a write that waits for its key has none of the permits of all", () =>
    Effect.gen(function* () {
      const { running, sink } = yield* busy
      const limited = yield* ConcurrencyLimitedSink.make(sink, {
        permits: 2,
        permitsPerKey: 1,
        by: (event) => event[0]
      })
      for (const event of ["a1", "a2", "a3", "b1"]) {
        yield* Effect.forkChild(limited.write(event))
        yield* settle
      }
      assert.deepStrictEqual(running, ["a1", "b1"])
      yield* TestClock.adjust("5 seconds")
    })
  )

  // The cleanup of a `PartitionedSemaphore`'s `take` is over before the interruptible region around it, and a fiber can be made to
  // yield in between. Before it was mended each of these lost a permit.
  for (const [allowance, turns] of [
    [9, 8],
    [16, 5]
  ] as const) {
    it.effect(`loses no permit where a fiber is made to yield every ${allowance} operations`, () =>
      Effect.gen(function* () {
        const sink = EventSink.make((_: number) => Effect.andThen(Effect.yieldNow, Effect.yieldNow))
        const { part: limited } = yield* open(
          ConcurrencyLimitedSink.make(sink, { permits: 2, permitsPerKey: 1, by: (n) => n % 2 })
        )
        const write = (n: number) => Effect.provideService(limited.write(n), References.MaxOpsBeforeYield, allowance)
        for (let round = 0; round < 5; round++) {
          const [, ...others] = yield* Effect.forEach([0, 1, 2, 3], (n) => Effect.forkChild(write(n)))
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          for (const fiber of others) yield* Effect.forkChild(Fiber.interrupt(fiber))
          yield* settle
        }
        const after = yield* Effect.forkChild(Effect.forEach([0, 1, 0], (n) => limited.write(n)))
        yield* settle
        assert.isDefined(after.pollUnsafe())
      })
    )
  }

  for (const seed of range(6)) {
    it.effect(`loses no permit to interruptions, failures and defects (seed ${seed})`, () =>
      Effect.gen(function* () {
        const next = randomFrom(seed)
        let running = 0
        let most = 0
        const sink = yield* EventSink.make((_: number) =>
          Effect.acquireUseRelease(
            Effect.sync(() => (most = Math.max(most, ++running))),
            () => {
              const end = next()
              const does = end < 0.2 ? Effect.fail("down") : end < 0.3 ? Effect.die("dead") : Effect.void
              return Effect.andThen(next() < 0.5 ? Effect.yieldNow : Effect.sleep(Math.ceil(next() * 5)), does)
            },
            () => Effect.sync(() => void running--)
          )
        )
        const limited = yield* ConcurrencyLimitedSink.make(sink, {
          permits: 3,
          permitsPerKey: 2,
          by: (n) => n % 3
        })
        for (let n = 0; n < 400; n++) {
          const fiber = yield* Effect.forkChild(limited.write(n))
          const turns = Math.floor(next() * 12)
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          if (next() < 0.5) fiber.interruptUnsafe()
          if (next() < 0.2) yield* TestClock.adjust(Math.floor(next() * 4))
        }
        yield* TestClock.adjust("1 minute")
        assert.strictEqual(limited.node.health(0).inFlight, 0, `seed ${seed}`)
        assert.strictEqual(running, 0)
        assert.isAtMost(most, 3)
        // All permits are there: three of different keys, and two of one.
        most = 0
        const ends = yield* Effect.forkChild(
          Effect.forEach([0, 1, 2, 0, 1, 2], (n) => Effect.exit(limited.write(n)), { concurrency: "unbounded" })
        )
        yield* TestClock.adjust("1 minute")
        assert.strictEqual((yield* Fiber.join(ends)).length, 6)
        assert.strictEqual(most, 3, `seed ${seed}`)
      })
    )
  }

  it.effect("the close fails the writes that wait, and waits for those that have gone on", () =>
    Effect.gen(function* () {
      const { seen, sink } = yield* busy
      const { close, part } = yield* open(
        ConcurrencyLimitedSink.make(sink, { permits: 1, permitsPerKey: 1, by: (event) => event[0] })
      )
      const first = yield* Effect.forkChild(part.write("a1"))
      yield* settle
      const waits = yield* Effect.forEach(["a2", "b1"], (event) => Effect.forkChild(Effect.flip(part.write(event))))
      yield* settle
      const closing = yield* Effect.forkChild(close)
      yield* settle
      for (const wait of waits) assert.instanceOf(yield* Fiber.join(wait), EventSink.SinkClosed)
      assert.isUndefined(closing.pollUnsafe())
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(first)
      yield* Fiber.join(closing)
      assert.deepStrictEqual(seen, ["a1"])
    })
  )

  it.effect("a batch is one write; by key the first events of one key are written", () =>
    Effect.gen(function* () {
      const seen: Array<ReadonlyArray<number>> = []
      const batches = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        Effect.sync(() => void seen.push(events))
      )
      const one: EventSink.BatchSink<number> = yield* ConcurrencyLimitedSink.make(batches, { permits: 1 })
      yield* EventSink.writeAll(one, range(3))
      const keyed: EventSink.BatchSink<number> = yield* batches.pipe(
        ConcurrencyLimitedSink.make({ permits: 1, by: (n) => n > 3 })
      )
      yield* EventSink.writeAll(keyed, [2, 3, 4, 5, 1])
      assert.deepStrictEqual(seen, [[1, 2, 3], [2, 3], [4, 5], [1]])
    })
  )

  it.effect("a key that throws is a defect of its write, and costs no permit", () =>
    Effect.gen(function* () {
      const { sink } = yield* busy
      const limited = yield* ConcurrencyLimitedSink.make(sink, {
        permits: 1,
        by: (event) => {
          if (event === "bad") throw new Error("no key")
          return event
        }
      })
      const exit = yield* Effect.exit(limited.write("bad"))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause))
      const write = yield* Effect.forkChild(limited.write("good"))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(write)
    })
  )

  it.effect("has a node in the picture, below a broadcaster", () =>
    Effect.gen(function* () {
      const { sink } = yield* busy
      const all = yield* Broadcaster.make([ConcurrencyLimitedSink.make(sink, { permits: 1, name: "bulkhead" })])
      assert.match(SinkGraph.toMermaid(all), /ConcurrencyLimitedSink bulkhead/)
    })
  )

  it.effect("refuses permits that say nothing", () =>
    Effect.gen(function* () {
      const { sink } = yield* busy
      for (const options of [{ permits: 0 }, { permits: 1.5 }, { permits: 1, by: () => 1, permitsPerKey: 0 }]) {
        const exit = yield* Effect.exit(ConcurrencyLimitedSink.make(sink, options))
        assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), JSON.stringify(options))
      }
    })
  )
})
