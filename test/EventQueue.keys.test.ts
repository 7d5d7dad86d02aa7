/** Keys of `partitionBy` that cannot be compared, or no longer: each costs its own write, and nothing else. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Equal, Exit, Fiber, Hash, Queue, type Scope } from "effect"
import type { Dropped } from "effect-events"
import { EventQueue, EventSink } from "effect-events"
import { open, settle } from "./support/virtual.ts"

/** A key of which all have the same hash; two that are broken cannot be compared, nor can one with another key of its hash. */
class Key implements Equal.Equal {
  readonly id: number
  constructor(id: number) {
    this.id = id
  }
  [Hash.symbol]() {
    return 1
  }
  [Equal.symbol](that: Equal.Equal): boolean {
    if (!(that instanceof Key)) return false
    if (this.id < 0 || that.id < 0) throw new Error(`${this.id} cannot be compared with ${that.id}`)
    return this.id === that.id
  }
}
const partitionBy = (n: number) => new Key(n)

/** Keys that can be compared until they are revoked: looking at one throws from then on. */
const revocable = () => {
  const revokes = new Map<number, () => void>()
  return {
    partitionBy: (n: number) => {
      const { proxy, revoke } = Proxy.revocable({ n }, {})
      revokes.set(n, revoke)
      return proxy
    },
    revoke: (n: number) => revokes.get(n)!()
  }
}

/** A sink whose writes end one after the other, as they are allowed to. */
const gated = Effect.gen(function* () {
  const allowed = yield* Queue.unbounded<void>()
  const begun: Array<number> = []
  const { part: sink } = yield* open(
    EventSink.make((n: number) =>
      Effect.suspend(() => {
        begun.push(n)
        return Queue.take(allowed)
      })
    )
  )
  const allow = (n: number) =>
    Effect.repeat(
      Effect.andThen(
        Effect.suspend(() => Queue.offer(allowed, undefined)),
        settle
      ),
      { times: n - 1 }
    )
  return { allow, begun, sink }
})

type Options = EventQueue.Options & EventQueue.Partitioned<number>
const queueOf = (sink: EventSink.EventSink<number>, options: Options) =>
  Effect.gen(function* () {
    const dropped: Array<Dropped.Dropped<number>> = []
    const { part: queue } = yield* open(
      EventQueue.make<number, never, EventQueue.Overflow>({
        concurrency: 2,
        partitionBy,
        ...options,
        onDropped: (one) => Effect.sync(() => void dropped.push(one))
      })(sink)
    )
    return { dropped, queue }
  })
const countsOf = (sink: EventSink.EventSink<never, unknown>) => sink.node.health(0).counts
const assertDies = <A, E>(exit: Exit.Exit<A, E>) =>
  assert.isTrue(Exit.isFailure(exit) && Cause.hasDies(exit.cause), "it did not die")
const dies = <A, E>(write: Effect.Effect<A, E>) => Effect.map(Effect.exit(write), assertDies)

/** The queue is as good as new: nothing is pending, an event passes, and it closes. */
const isSound = <E>(queue: EventQueue.EventQueue<number, E>, allow: (n: number) => Effect.Effect<unknown>) =>
  Effect.gen(function* () {
    assert.strictEqual(yield* queue.pending, 0)
    yield* queue.flush
    const { accepted, delivered } = countsOf(queue)
    yield* queue.write(7)
    yield* settle
    yield* allow(1)
    yield* queue.flush
    assert.deepInclude(countsOf(queue), { accepted: accepted + 1, delivered: delivered + 1 })
    assert.deepStrictEqual(yield* queue.shutdown, [])
  })

describe("a key that cannot be compared with others of its hash", () => {
  it.effect.each(["suspend", "reject", "drop-newest", "drop-oldest"] as const)(
    'costs its write, a batch as a whole: "%s"',
    (overflow) =>
      Effect.gen(function* () {
        const { allow, begun, sink } = yield* gated
        const { dropped, queue } = yield* queueOf(sink, { capacity: 3, overflow })
        yield* queue.write(1)
        yield* settle
        const before = countsOf(queue)
        yield* dies(queue.write(-1))
        yield* dies(queue.writeSome([2, -2]))
        yield* dies(queue.writeSome([-3, 3]))
        assert.deepStrictEqual(countsOf(queue), before)
        yield* queue.writeSome([4, 5])
        // It is full by now.
        yield* dies(queue.write(-4))
        yield* dies(queue.writeSome([6, -5]))
        assert.strictEqual(yield* queue.pending, 3)
        yield* settle
        yield* allow(3)
        assert.deepStrictEqual(begun, [1, 4, 5])
        assert.deepStrictEqual(dropped, [])
        yield* isSound(queue, allow)
      })
  )

  it.effect("costs the writes of the others while it waits, and none once it is delivered", () =>
    Effect.gen(function* () {
      const { allow, begun, sink } = yield* gated
      const { queue } = yield* queueOf(sink, {})
      yield* queue.write(-1)
      yield* settle
      yield* dies(queue.write(2))
      yield* dies(queue.writeSome([3, 4]))
      assert.strictEqual(yield* queue.pending, 1)
      yield* allow(1)
      yield* queue.writeSome([2, 3])
      yield* settle
      yield* allow(2)
      assert.deepStrictEqual(begun, [-1, 2, 3])
      yield* isSound(queue, allow)
    })
  )

  it.effect("leaves nothing of a batch in which it meets another, neither an event nor a key", () =>
    Effect.gen(function* () {
      const { allow, begun, sink } = yield* gated
      const { queue } = yield* queueOf(sink, {})
      yield* dies(queue.writeSome([-1, -2]))
      yield* dies(queue.writeSome([1, 2, -3]))
      assert.deepStrictEqual(countsOf(queue).accepted, 0)
      // A key that was left behind would be compared with these.
      yield* queue.writeSome([1, 2])
      yield* queue.write(1)
      yield* settle
      yield* allow(3)
      assert.deepStrictEqual(begun, [1, 2, 1])
      yield* isSound(queue, allow)
    })
  )

  it.effect('in a batch drops nothing under "drop-oldest", or reports what it drops', () =>
    Effect.gen(function* () {
      const { allow, begun, sink } = yield* gated
      const { dropped, queue } = yield* queueOf(sink, {
        capacity: 5,
        overflow: "drop-oldest",
        partitionBy: (n) => (n < 0 ? new Key(n) : n)
      })
      yield* queue.writeSome([1, 2])
      yield* settle
      yield* queue.writeSome([3, 4, 5])
      yield* dies(queue.writeSome([-1, -2]))
      yield* settle
      assert.strictEqual(countsOf(queue).dropped, dropped.length)
      assert.deepStrictEqual(countsOf(queue).accepted, 5)
      yield* allow(5)
      assert.deepStrictEqual(
        [...begun, ...dropped.map(({ event }) => event)].toSorted((a, b) => a - b),
        [1, 2, 3, 4, 5]
      )
      yield* isSound(queue, allow)
    })
  )

  it.effect("costs the batch that waits for room, and not those behind it", () =>
    Effect.gen(function* () {
      const { allow, begun, sink } = yield* gated
      const { queue } = yield* queueOf(sink, { capacity: 2, partitionBy: (n) => (n < 10 ? new Key(n) : n) })
      yield* queue.writeSome([10, 11])
      yield* settle
      const good = yield* Effect.forkChild(queue.write(-1))
      const bad = yield* Effect.forkChild(queue.write(-2))
      const next = yield* Effect.forkChild(queue.write(12))
      const alsoBad = yield* Effect.forkChild(queue.writeSome([-3, -4]))
      const last = yield* Effect.forkChild(queue.write(13))
      yield* settle
      assert.strictEqual(yield* queue.pending, 2)
      yield* allow(2)
      // The first of them is in the queue when the second is compared with it.
      assertDies(yield* Fiber.await(bad))
      yield* Fiber.join(good)
      yield* Fiber.join(next)
      assert.isUndefined(last.pollUnsafe())
      yield* allow(2)
      // The two of the batch meet in the queue, which is empty for them.
      assertDies(yield* Fiber.await(alsoBad))
      yield* Fiber.join(last)
      assert.strictEqual(yield* queue.pending, 1)
      yield* allow(1)
      assert.deepStrictEqual(begun, [10, 11, -1, 12, 13])
      yield* isSound(queue, allow)
    })
  )
})

describe("a key that can no longer be looked at", () => {
  it.effect("costs the write that waits for room with it, at a capacity of 1", () =>
    Effect.gen(function* () {
      const { allow, begun, sink } = yield* gated
      const { partitionBy, revoke } = revocable()
      const { queue } = yield* queueOf(sink, { capacity: 1, partitionBy })
      yield* queue.write(1)
      yield* settle
      const writers = yield* Effect.forEach([2, 3, 4], (n) => Effect.forkChild(queue.write(n)))
      yield* settle
      revoke(2)
      revoke(3)
      yield* allow(1)
      assertDies(yield* Fiber.await(writers[0]!))
      assertDies(yield* Fiber.await(writers[1]!))
      yield* Fiber.join(writers[2]!)
      assert.deepStrictEqual(begun, [1, 4])
      assert.deepInclude(countsOf(queue), { accepted: 2, delivered: 1 })
      yield* allow(1)
      yield* isSound(queue, allow)
    })
  )

  it.effect("costs one write at most, whichever look at it is the one that throws", () =>
    Effect.gen(function* () {
      const outcomes = new Set<string>()
      const batched = (queue: EventQueue.EventQueue<number, EventQueue.QueueFull>, n: number) =>
        queue.writeSome([n, 1000 + n])
      for (const write of [
        (queue: EventQueue.EventQueue<number, EventQueue.QueueFull>, n: number) => queue.write(n),
        batched
      ]) {
        for (let looks = 1; looks < 40; looks++) {
          let left = looks
          const throwing = (n: number) =>
            new Proxy(
              { n },
              {
                getPrototypeOf: (target) => {
                  if (--left === 0) throw new Error("not again")
                  return Reflect.getPrototypeOf(target)
                }
              }
            )
          const seen: Array<number> = []
          const { part: sink } = yield* open(EventSink.make((n: number) => Effect.sync(() => void seen.push(n))))
          const { queue } = yield* queueOf(sink, { partitionBy: (n) => (n === 1 ? throwing(n) : { n }) })
          yield* queue.write(0)
          const exit = yield* Effect.exit(write(queue, 1))
          const n = Exit.isFailure(exit) ? 0 : write === batched ? 2 : 1
          outcomes.add(`${n} accepted`)
          yield* settle
          assert.strictEqual(seen.length, 1 + n, `after ${looks} looks`)
          assert.deepInclude(countsOf(queue), { accepted: 1 + n, delivered: 1 + n, dropped: 0 })
          yield* isSound(queue, () => Effect.void)
        }
      }
      assert.deepStrictEqual([...outcomes].toSorted(), ["0 accepted", "1 accepted", "2 accepted"])
    })
  )

  const kinds: ReadonlyArray<
    readonly [
      kind: string,
      make: (on: (n: number) => void) => Effect.Effect<EventSink.EventSink<number>, never, Scope.Scope>
    ]
  > = [
    ["effectful", (on) => EventSink.make((n: number) => Effect.sync(() => on(n)))],
    ["synchronous", (on) => EventSink.sync(on)],
    ["batch", (on) => EventSink.makeBatch((events: ReadonlyArray<number>) => Effect.sync(() => events.forEach(on)))]
  ]

  it.effect.each(kinds)("costs neither its event nor the delivery, over a sink that is %s", ([, make]) =>
    Effect.gen(function* () {
      const { partitionBy, revoke } = revocable()
      const seen: Array<number> = []
      // It is revoked while it is delivered, and compared when its partition is to be removed.
      const { part: sink } = yield* open(
        make((n) => {
          seen.push(n)
          revoke(n)
        })
      )
      const { dropped, queue } = yield* queueOf(sink, { capacity: 100, partitionBy })
      for (let n = 10; n < 30; n++) {
        yield* queue.write(n)
        yield* queue.flush
      }
      yield* EventSink.writeAll(queue, [30, 31, 32])
      yield* queue.flush
      assert.deepStrictEqual(
        seen,
        Array.from({ length: 23 }, (_, i) => 10 + i)
      )
      assert.deepStrictEqual(dropped, [])
      yield* isSound(queue, () => Effect.void)
    })
  )

  it.effect('costs no drop and no report under "drop-oldest", when the keys of dropped events are removed', () =>
    Effect.gen(function* () {
      const { allow, begun, sink } = yield* gated
      const { partitionBy, revoke } = revocable()
      const { dropped, queue } = yield* queueOf(sink, { capacity: 4, overflow: "drop-oldest", partitionBy })
      for (let n = 10; n < 70; n++) {
        yield* queue.write(n)
        yield* settle
        revoke(n)
      }
      assert.deepStrictEqual(begun, [10, 11])
      assert.deepStrictEqual(
        dropped.map(({ event }) => event),
        Array.from({ length: 56 }, (_, i) => 12 + i)
      )
      yield* allow(4)
      assert.deepStrictEqual(begun, [10, 11, 68, 69])
      yield* isSound(queue, allow)
    })
  )

  it.effect("is returned with its event by a close", () =>
    Effect.gen(function* () {
      const { sink } = yield* gated
      const { partitionBy, revoke } = revocable()
      const { queue } = yield* queueOf(sink, { drainTimeout: 0, partitionBy })
      yield* queue.writeSome([1, 2, 3, 4])
      yield* settle
      for (const n of [1, 2, 3, 4]) revoke(n)
      assert.deepStrictEqual(yield* queue.shutdown, [
        { event: 1, inFlight: true },
        { event: 2, inFlight: true },
        { event: 3, inFlight: false },
        { event: 4, inFlight: false }
      ])
      assert.strictEqual(yield* queue.pending, 0)
    })
  )
})
