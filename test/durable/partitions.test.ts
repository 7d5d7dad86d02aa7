/** A backlog, by keys and without, against a list, and what its sources give. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { type Backlog, Sequence } from "../../src/durable/internal/backlog.ts"
import { Partitions } from "../../src/durable/internal/partitions.ts"
import { collector } from "../support/collector.ts"
import { runs } from "../support/runs.ts"
import { settle } from "../support/virtual.ts"

type Step =
  | { readonly do: "offer"; readonly key: number }
  | { readonly do: "offerAll"; readonly keys: ReadonlyArray<number> }
  | { readonly do: "poll"; readonly source: number }
  | { readonly do: "settle"; readonly source: number; readonly n: number }
  | { readonly do: "takeOldest" | "end" }

const sources = 3
const key = fc.nat(4)
const source = fc.nat(sources - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("offer" as const), key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("offerAll" as const), keys: fc.array(key, { maxLength: 9 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("poll" as const), source }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("settle" as const), source, n: fc.integer({ min: 1, max: 4 }) })
  },
  { weight: 3, arbitrary: fc.constant<Step>({ do: "takeOldest" }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "end" }) }
)

/** An event, which is its own position. */
type Entry = { readonly n: number; readonly key: number }

/** The waiting events, in order; those that each source has given; and the keys in the order of their turns. */
class Model {
  offered = 0
  waiting: Array<Entry> = []
  taken: Array<Array<Entry>> = Array.from({ length: sources }, () => [])
  turns: Array<number> = []
  ended = false
  readonly keyed: boolean
  private readonly most: number

  constructor(keyed: boolean, most: number) {
    this.keyed = keyed
    this.most = most
  }

  offer(key: number): Entry {
    const entry = { n: this.offered++, key }
    this.waiting.push(entry)
    const own = this.keyed ? key : 0
    const taken = this.keyed && this.held.has(own)
    if (!taken && !this.turns.includes(own)) this.turns.push(own)
    return entry
  }

  /** A key without events has no turn. */
  takeOldest(): Entry {
    const oldest = this.waiting.shift()!
    if (this.keyed && !this.waiting.some(({ key }) => key === oldest.key)) {
      this.turns.splice(0, this.turns.length, ...this.turns.filter((key) => key !== oldest.key))
    }
    return oldest
  }

  /** The keys that sources have, until all that they gave is settled. */
  readonly held = new Map<number, number>()

  settle(source: number, n: number): ReadonlyArray<Entry> {
    const own = this.taken[source]!
    const some = own.splice(0, n)
    for (const [key, by] of own.length === 0 ? this.held : []) {
      if (by !== source) continue
      this.held.delete(key)
      if (this.waiting.some((entry) => entry.key === key)) this.turns.push(key)
    }
    return some
  }

  poll(source: number): ReadonlyArray<Entry> | undefined {
    while (this.turns.length > 0) {
      const key = this.turns.shift()!
      const own = this.waiting.filter((entry) => !this.keyed || entry.key === key)
      if (own.length === 0) continue
      // Without keys a source takes its share, so that the others have theirs.
      const taken = own.slice(0, this.keyed ? this.most : Math.min(this.most, Math.ceil(own.length / sources)))
      this.waiting = this.waiting.filter((entry) => !taken.includes(entry))
      if (this.keyed) this.held.set(key, source)
      else if (this.waiting.length > 0) this.turns.push(0)
      this.taken[source] = taken
      return taken
    }
    return this.ended && this.waiting.length === 0 ? [] : undefined
  }
}

const run = (backlog: Backlog<Entry>, model: Model, steps: ReadonlyArray<Step>) => {
  const settled: Array<number> = []
  const settle = (from: number, n: number) => {
    for (let at = from; at < from + n; at++) settled.push(at)
  }
  const expectSettled = (entries: ReadonlyArray<Entry>) =>
    assert.deepStrictEqual(
      settled.splice(0),
      entries.map(({ n }) => n)
    )
  const check = () => {
    assert.strictEqual(backlog.offered, model.offered)
    assert.strictEqual(backlog.size, model.waiting.length)
    const unsettled = [...model.waiting, ...model.taken.flat()].map(({ n }) => n)
    assert.strictEqual(backlog.oldest, Math.min(model.offered, ...unsettled))
  }
  for (const step of steps) {
    switch (step.do) {
      case "offer":
        if (!model.ended) backlog.offer(model.offer(step.key), step.key)
        break
      case "offerAll":
        if (!model.ended) {
          backlog.offerAll(
            step.keys.map((key) => model.offer(key)),
            step.keys
          )
        }
        break
      case "poll": {
        // A drainer polls when all that it was given is settled.
        if (model.taken[step.source]!.length > 0) break
        const expected = model.poll(step.source)
        assert.deepStrictEqual(backlog.sources[step.source]!.poll(), expected)
        break
      }
      case "settle": {
        const some = model.settle(step.source, step.n)
        if (some.length > 0) backlog.sources[step.source]!.settled(some.length, settle)
        expectSettled(some)
        break
      }
      case "takeOldest":
        if (model.waiting.length > 0) {
          const oldest = model.takeOldest()
          assert.deepStrictEqual(backlog.takeOldest(settle), oldest)
          expectSettled([oldest])
        }
        break
      case "end":
        model.ended = true
        backlog.end()
    }
    check()
  }
  assert.deepStrictEqual(backlog.takeAll(), model.waiting)
  assert.strictEqual(backlog.offered, model.offered)
  assert.strictEqual(backlog.size, 0)
}

const many = fc.array(step, { maxLength: 80 })

describe("a backlog", () => {
  it.each([1, 2, 1024])(
    "by keys gives the events that waited longest of the key whose turn it is, %i at most",
    (most) => {
      fc.assert(
        fc.property(many, (steps) =>
          run(new Partitions(sources, most, ({ key }: Entry) => key), new Model(true, most), steps)
        ),
        { numRuns: runs(1000) }
      )
    }
  )

  it.each([1, 2, 1024])("without keys gives the events that waited longest, %i at most", (most) => {
    fc.assert(
      fc.property(many, (steps) => run(new Sequence(sources, most), new Model(false, most), steps)),
      { numRuns: runs(1000) }
    )
  })

  const kinds: ReadonlyArray<readonly [kind: string, make: () => Backlog<number>]> = [
    ["by keys", () => new Partitions(2, 1, () => 0)],
    ["without keys", () => new Sequence(2, 1)]
  ]

  describe.each(kinds)("%s", (_, make) => {
    it.effect("wakes a waiter when an event is offered, when it ends, and not before", () =>
      Effect.gen(function* () {
        const backlog = make()
        const [first, second] = backlog.sources
        for (const change of [() => backlog.offer(1, "a"), () => backlog.end()]) {
          const fibers = [
            yield* Effect.forkChild(first!.wait, { startImmediately: true }),
            yield* Effect.forkChild(second!.wait, { startImmediately: true })
          ]
          const woken = () => fibers.filter((fiber) => fiber.pollUnsafe() !== undefined).length
          yield* settle
          assert.strictEqual(woken(), 0)
          change()
          // Not inside of the call, whose caller may have more to change.
          assert.strictEqual(woken(), 0)
          yield* settle
          assert.isAtLeast(woken(), 1)
          for (const fiber of fibers) fiber.interruptUnsafe()
          if (first!.poll()?.length === 1) first!.settled(1, () => {})
          assert.strictEqual(backlog.size, 0)
        }
        assert.deepStrictEqual(first!.poll(), [])
        assert.deepStrictEqual(second!.poll(), [])
      })
    )

    it.effect("an interrupted waiter waits no more, and the others do", () =>
      Effect.gen(function* () {
        const backlog = make()
        const [first, second] = backlog.sources
        const one = yield* Effect.forkChild(first!.wait, { startImmediately: true })
        const other = yield* Effect.forkChild(second!.wait, { startImmediately: true })
        yield* settle
        one.interruptUnsafe()
        yield* settle
        assert.isDefined(one.pollUnsafe())
        backlog.offer(1, "a")
        yield* settle
        assert.isDefined(other.pollUnsafe())
      })
    )

    // Before it was mended: a fiber may be made to yield between its poll and its wait. An event that is offered then wakes no
    // waiter, and a page that has not been read is released.
    it.effect("waiting for an event that is there already ends at once", () =>
      Effect.gen(function* () {
        const backlog = make()
        const [first] = backlog.sources
        assert.isUndefined(first!.poll())
        backlog.offer(1, "a")
        const waits = yield* Effect.forkChild(first!.wait, { startImmediately: true })
        yield* settle
        assert.isDefined(waits.pollUnsafe())
        assert.deepStrictEqual(first!.poll(), [1])
        first!.settled(1, () => {})
        backlog.end()
        const again = yield* Effect.forkChild(first!.wait, { startImmediately: true })
        yield* settle
        assert.isDefined(again.pollUnsafe())
      })
    )
  })

  it.live.each(kinds)("%s: releases waiters, woken or interrupted", ([, make]) =>
    Effect.gen(function* () {
      const gc = collector()
      const backlog = make()
      const [source] = backlog.sources
      const refs: Array<WeakRef<object>> = []
      const turn = (interrupted: boolean) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkDetach(source!.wait, { startImmediately: true })
          refs.push(new WeakRef(fiber))
          if (interrupted) return fiber.interruptUnsafe()
          backlog.offer(1, "a")
          yield* Effect.yieldNow
          source!.poll()
          source!.settled(1, () => {})
          source!.poll()
        })
      for (let n = 0; n < 200; n++) yield* turn(false)
      for (let n = 0; n < 200; n++) yield* turn(true)
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(backlog.offered, 200)
    })
  )

  it.effect("by keys: an event of a taken key wakes no waiter, and a key that is released does", () =>
    Effect.gen(function* () {
      const backlog = new Partitions<number>(2, 1, () => 0)
      const [first, second] = backlog.sources
      backlog.offerAll([1, 2, 3], ["a", "a", "b"])
      assert.deepStrictEqual(first!.poll(), [1])
      assert.deepStrictEqual(second!.poll(), [3])
      second!.settled(1, () => {})
      assert.isUndefined(second!.poll())
      const waits = yield* Effect.forkChild(second!.wait, { startImmediately: true })
      yield* settle
      backlog.offer(4, "a")
      yield* settle
      assert.isUndefined(waits.pollUnsafe())
      first!.settled(1, () => {})
      assert.deepStrictEqual(first!.poll(), [2])
      backlog.offer(5, "c")
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(second!.poll(), [5])
    })
  )

  it.effect("by keys: at its end a source waits for a key that another has taken, and no longer", () =>
    Effect.gen(function* () {
      const backlog = new Partitions<number>(2, 1, () => 0)
      const [first, second] = backlog.sources
      backlog.offerAll([1, 2], ["a", "a"])
      assert.deepStrictEqual(first!.poll(), [1])
      backlog.end()
      assert.isUndefined(second!.poll())
      const waits = yield* Effect.forkChild(second!.wait, { startImmediately: true })
      yield* settle
      assert.isUndefined(waits.pollUnsafe())
      first!.settled(1, () => {})
      assert.deepStrictEqual(first!.poll(), [2])
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(second!.poll(), [])
      first!.settled(1, () => {})
      assert.deepStrictEqual(first!.poll(), [])
    })
  )

  // That it takes constant time is a check of the benchmark.
  it("by keys: evicts the oldest, however many were there", () => {
    const backlog = new Partitions<number>(2, 1, () => 0)
    const waiting = runs(100_000)
    for (let n = 0; n < waiting; n++) backlog.offer(n, n % 1000)
    let wrong = 0
    for (let n = 0; n < waiting; n++) {
      if (backlog.takeOldest(() => {}) !== n) wrong++
      backlog.offer(waiting + n, n % 1000)
    }
    assert.strictEqual(wrong, 0)
  })

  it("by keys: finds the oldest, taken or not, however many have come and gone since", () => {
    const backlog = new Partitions<number>(2, 1, (n) => n)
    const [stuck, source] = backlog.sources
    const goes = (from: number, to: number) => {
      for (let n = from; n <= to; n++) {
        backlog.offer(n, n)
        assert.deepStrictEqual(source!.poll(), [n])
        source!.settled(1, () => {})
      }
    }
    backlog.offer(0, 0)
    assert.deepStrictEqual(stuck!.poll(), [0])
    goes(1, 5000)
    assert.strictEqual(backlog.oldest, 0)
    backlog.offer(5001, 5001)
    stuck!.settled(1, () => {})
    assert.strictEqual(backlog.oldest, 5001)
    assert.deepStrictEqual(stuck!.poll(), [5001])
    goes(5002, 9000)
    assert.strictEqual(backlog.oldest, 5001)
    backlog.offerAll([9001, 9002], ["a", "b"])
    assert.strictEqual(
      backlog.takeOldest(() => {}),
      9001
    )
    stuck!.settled(1, () => {})
    assert.strictEqual(backlog.oldest, 9002)
    assert.strictEqual(
      backlog.takeOldest(() => {}),
      9002
    )
    assert.strictEqual(backlog.oldest, 9003)
  })

  it("by keys: gives each of many keys its turn", () => {
    const backlog = new Partitions<number>(1, 1, (n) => n)
    const [source] = backlog.sources
    const waiting = runs(200_000)
    for (let n = 0; n < waiting; n++) backlog.offer(n, n)
    let wrong = 0
    for (let n = 0; n < waiting; n++) {
      if (source!.poll()?.[0] !== n) wrong++
      source!.settled(1, () => {})
    }
    assert.strictEqual(wrong, 0)
  })

  it.live("by keys: releases what was taken", () =>
    Effect.gen(function* () {
      const gc = collector()
      const backlog = new Partitions<object>(1, 1, () => 0)
      const [source] = backlog.sources
      const refs: Array<WeakRef<object>> = []
      const turn = () => {
        const event = {}
        const key = {}
        refs.push(new WeakRef(event), new WeakRef(key))
        backlog.offer(event, key)
        source!.poll()
        source!.settled(1, () => {})
      }
      for (let n = 0; n < 1000; n++) turn()
      // The last batch is released by the next poll.
      source!.poll()
      // The target of a reference is kept until the next turn of the event loop.
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(backlog.offered, 1000)
    })
  )
})
