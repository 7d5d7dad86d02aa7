/** What the drainers of a queue get, in order and by keys, and what is left to the collector. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Equal, Exit, Hash } from "effect"
import type { Buffer } from "../../../src/internal/pages.ts"
import { maxTurn } from "../../../src/internal/turns.ts"
import { byKeys, inOrder, one } from "../../support/buffers.ts"
import { collector } from "../../support/collector.ts"
import { runs } from "../../support/runs.ts"
import { settle } from "../../support/virtual.ts"

const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i)

const kinds: ReadonlyArray<readonly [kind: string, make: Effect.Effect<Buffer<number>>]> = [
  ["in order", inOrder<number>(2, one)],
  ["by keys", byKeys<number>(one, (n) => n)]
]

describe.each(kinds)("%s", (_, make) => {
  it.effect("a drainer that waits goes on when an event is offered, or at the end, and not before", () =>
    Effect.gen(function* () {
      const buffer = yield* make
      const sources = [buffer.source(0), buffer.source(1)]
      for (const change of [() => buffer.offer(1, "a"), () => buffer.end(false)]) {
        const fibers = yield* Effect.forEach(sources, ({ wait }) => Effect.forkChild(wait, { startImmediately: true }))
        const woken = () => fibers.filter((fiber) => fiber.pollUnsafe() !== undefined).length
        yield* settle
        assert.strictEqual(woken(), 0)
        change()
        yield* settle
        assert.isAtLeast(woken(), 1)
        for (const fiber of fibers) fiber.interruptUnsafe()
        yield* settle
        if (sources[0]!.poll()?.length === 1) sources[0]!.settle(1)
        assert.strictEqual(buffer.size(), 0)
      }
      for (const { poll } of sources) assert.deepStrictEqual(poll(), [])
    })
  )

  it.effect("one that was interrupted costs the others nothing", () =>
    Effect.gen(function* () {
      const buffer = yield* make
      const first = yield* Effect.forkChild(buffer.source(0).wait, { startImmediately: true })
      const second = yield* Effect.forkChild(buffer.source(1).wait, { startImmediately: true })
      yield* settle
      first.interruptUnsafe()
      yield* settle
      assert.isDefined(first.pollUnsafe())
      buffer.offer(1, "a")
      yield* settle
      assert.isDefined(second.pollUnsafe())
    })
  )

  it.effect("nothing is waited for that is there already", () =>
    Effect.gen(function* () {
      const buffer = yield* make
      const source = buffer.source(0)
      buffer.offer(1, "a")
      const waits = yield* Effect.forkChild(source.wait, { startImmediately: true })
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(source.poll(), [1])
      source.settle(1)
      // Of a batch that was taken in part, too.
      buffer.offerAll(range(50), range(50))
      assert.strictEqual(buffer.takeOldest(), 0)
      const rest = yield* Effect.forkChild(source.wait, { startImmediately: true })
      yield* settle
      assert.isDefined(rest.pollUnsafe())
      buffer.end(true)
      const again = yield* Effect.forkChild(source.wait, { startImmediately: true })
      yield* settle
      assert.isDefined(again.pollUnsafe())
    })
  )

  it.effect("of two that wait, both go on when two events are offered at once", () =>
    Effect.gen(function* () {
      const buffer = yield* make
      const polls = yield* Effect.forEach([buffer.source(0), buffer.source(1)], ({ poll, wait }) =>
        Effect.forkChild(Effect.map(wait, poll), { startImmediately: true })
      )
      yield* settle
      buffer.offer(1, "a")
      buffer.offer(2, "b")
      yield* settle
      assert.deepStrictEqual(
        polls.map((fiber) => fiber.pollUnsafe()),
        [Exit.succeed([1]), Exit.succeed([2])]
      )
    })
  )

  it.effect("what is left is taken in slices, in the order of its arrival", () =>
    Effect.gen(function* () {
      const buffer = yield* make
      const source = buffer.source(0)
      buffer.offerAll(
        range(3000),
        range(3000).map((n) => n % 7)
      )
      for (const n of range(2000, 3000)) buffer.offer(n, n % 7)
      assert.deepStrictEqual(source.poll(), [0])
      assert.strictEqual(buffer.takeOldest(), 1)
      buffer.end(true)
      assert.deepStrictEqual(source.poll(), [])
      const slices = [buffer.takeRest(), buffer.takeRest(), buffer.takeRest(), buffer.takeRest()]
      assert.deepStrictEqual(
        slices.map(({ length }) => length),
        [maxTurn, maxTurn, 4998 - 2 * maxTurn, 0]
      )
      assert.deepStrictEqual(slices.flat(), range(4998, 2))
    })
  )
})

describe("in order", () => {
  it.effect("the rest of a page that was taken in part is not waited for", () =>
    Effect.gen(function* () {
      const buffer = yield* inOrder<number>(1, one)
      const source = buffer.source(0)
      buffer.offerAll(range(50), [])
      assert.deepStrictEqual(source.poll(), [0])
      source.settle(1)
      const waits = yield* Effect.forkChild(source.wait, { startImmediately: true })
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(source.poll(), [1])
    })
  )
})

describe("by keys", () => {
  it.effect("a key that a drainer has wakes no other, and one that it is done with does", () =>
    Effect.gen(function* () {
      const buffer = yield* byKeys<number>(one, () => 0)
      const [first, second] = [buffer.source(0), buffer.source(1)]
      buffer.offerAll([1, 2, 3], ["a", "a", "b"])
      assert.deepStrictEqual(first.poll(), [1])
      assert.deepStrictEqual(second.poll(), [3])
      second.settle(1)
      assert.isUndefined(second.poll())
      const waits = yield* Effect.forkChild(second.wait, { startImmediately: true })
      yield* settle
      buffer.offer(4, "a")
      yield* settle
      assert.isUndefined(waits.pollUnsafe())
      first.settle(1)
      assert.deepStrictEqual(first.poll(), [2])
      buffer.offer(5, "c")
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(second.poll(), [5])
    })
  )

  it.effect("at the end a drainer waits for a key that another one has, and no longer", () =>
    Effect.gen(function* () {
      const buffer = yield* byKeys<number>(one, () => 0)
      const [first, second] = [buffer.source(0), buffer.source(1)]
      buffer.offerAll([1, 2], ["a", "a"])
      assert.deepStrictEqual(first.poll(), [1])
      buffer.end(false)
      assert.isUndefined(second.poll())
      const waits = yield* Effect.forkChild(second.wait, { startImmediately: true })
      yield* settle
      assert.isUndefined(waits.pollUnsafe())
      first.settle(1)
      assert.deepStrictEqual(first.poll(), [2])
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(second.poll(), [])
      first.settle(1)
      assert.deepStrictEqual(first.poll(), [])
    })
  )

  it.effect("a stopped drainer waits for nothing, though a key has more", () =>
    Effect.gen(function* () {
      const buffer = yield* byKeys<number>(one, () => 0)
      const [first, second] = [buffer.source(0), buffer.source(1)]
      buffer.offerAll([1, 2], ["a", "a"])
      assert.deepStrictEqual(first.poll(), [1])
      const waits = yield* Effect.forkChild(second.wait, { startImmediately: true })
      yield* settle
      assert.isUndefined(waits.pollUnsafe())
      buffer.end(true)
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(second.poll(), [])
      assert.deepStrictEqual(buffer.takeRest(), [2])
    })
  )

  it.effect("keys have their turns one after the other, and a key at its end once more", () =>
    Effect.gen(function* () {
      const buffer = yield* byKeys<string>({ joinUpTo: 1, max: 2 }, (event) => event[0])
      const source = buffer.source(0)
      const events = ["a1", "a2", "a3", "b1", "c1", "a4"]
      buffer.offerAll(
        events,
        events.map((event) => event[0])
      )
      const turns: Array<ReadonlyArray<string>> = []
      for (let batch = source.poll(); batch !== undefined && turns.length < 9; batch = source.poll()) {
        turns.push(batch)
        if (batch[0] === "b1") buffer.offer("b2", "b")
        source.settle(batch.length)
      }
      assert.deepStrictEqual(turns, [["a1", "a2"], ["b1"], ["c1"], ["a3", "a4"], ["b2"]])
    })
  )

  it.effect("each event costs a bounded number of hashes and comparisons, however many keys there are", () =>
    Effect.gen(function* () {
      let operations = 0
      class Key implements Equal.Equal {
        readonly id: number
        constructor(id: number) {
          this.id = id
        }
        [Hash.symbol]() {
          operations++
          return this.id
        }
        [Equal.symbol](that: Equal.Equal): boolean {
          operations++
          return that instanceof Key && that.id === this.id
        }
      }
      const perEvent: Array<number> = []
      for (const count of [10, 1000, runs(100_000)]) {
        operations = 0
        const buffer = yield* byKeys<number>(one, (n) => new Key(n))
        const source = buffer.source(0)
        const { keyOf } = buffer
        for (const n of range(count)) buffer.offer(n, keyOf!(n))
        // Each key twice.
        for (const n of range(count)) buffer.offer(n, keyOf!(n))
        let wrong = 0
        for (const n of range(count)) {
          if (source.poll()?.[0] !== n) wrong++
          source.settle(1)
        }
        for (const n of range(count)) if (buffer.takeOldest() !== n) wrong++
        assert.strictEqual(wrong, 0)
        assert.strictEqual(buffer.oldest(), 2 * count)
        perEvent.push(operations / (2 * count))
      }
      assert.isAtMost(Math.max(...perEvent), 4)
      // As many for each, or fewer.
      assert.isAtMost(perEvent[2]!, perEvent[0]!)
    })
  )

  it.effect("the oldest is known, taken or not, however many have come and gone since", () =>
    Effect.gen(function* () {
      const buffer = yield* byKeys<number>(one, (n) => n)
      const [stuck, source] = [buffer.source(0), buffer.source(1)]
      const comeAndGo = (from: number, to: number) => {
        for (let n = from; n <= to; n++) {
          buffer.offer(n, n)
          assert.deepStrictEqual(source.poll(), [n])
          source.settle(1)
        }
      }
      buffer.offer(0, 0)
      assert.deepStrictEqual(stuck.poll(), [0])
      comeAndGo(1, 5000)
      assert.strictEqual(buffer.oldest(), 0)
      buffer.offer(5001, 5001)
      stuck.settle(1)
      assert.strictEqual(buffer.oldest(), 5001)
      assert.deepStrictEqual(stuck.poll(), [5001])
      comeAndGo(5002, 9000)
      assert.strictEqual(buffer.oldest(), 5001)
      buffer.offerAll([9001, 9002], ["a", "b"])
      assert.strictEqual(buffer.takeOldest(), 9001)
      stuck.settle(1)
      assert.strictEqual(buffer.oldest(), 9002)
      assert.strictEqual(buffer.takeOldest(), 9002)
      assert.strictEqual(buffer.oldest(), 9003)
    })
  )
})

describe("settled events and their keys are left to the collector", () => {
  const unique = () => {
    let n = 0
    return () => ({ id: n++ })
  }
  const makes: ReadonlyArray<
    readonly [kind: string, drainers: number, keyOf: () => object | string, make: Effect.Effect<Buffer<object>>]
  > = [
    ["in order", 1, () => "none", inOrder<object>(1, { joinUpTo: 1, max: 1024 })],
    ["in order, with two drainers", 2, () => "none", inOrder<object>(2, { joinUpTo: 1, max: 1024 })],
    ["each with a key of its own", 2, unique(), byKeys<object>(one, (event) => event)],
    ["in batches of a key", 2, () => "the same", byKeys<object>({ joinUpTo: 1, max: 1024 }, (event) => event)]
  ]
  it.live.each(makes)("%s, also while another drainer has an older one", ([, drainers, keyOf, make]) =>
    Effect.gen(function* () {
      const gc = collector()
      const buffer = yield* make
      const source = buffer.source(0)
      const refs: Array<WeakRef<object>> = []
      // In a function of its own, whose frame is gone when it is counted.
      const turn = (n: number) => {
        const events = range(n).map(() => ({}))
        const keys = events.map(keyOf)
        for (const one of [...events, ...keys]) if (typeof one === "object") refs.push(new WeakRef(one))
        buffer.offerAll(events, keys)
        for (let left = n; left > 0;) {
          const { length } = source.poll()!
          assert.isAbove(length, 0)
          source.settle(length)
          left -= length
        }
      }
      if (drainers > 1) {
        buffer.offer({}, "held")
        assert.strictEqual(buffer.source(1).poll()?.length, 1)
      }
      for (let n = 0; n < 500; n++) turn(1 + (n % 40))
      turn(1000)
      // What a reference was made to is kept until the next turn of the event loop.
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAbove(refs.length, 10_000)
      // A batch that was settled last may not be kept either.
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(buffer.size(), 0)
    })
  )
})
