/** What a queue keeps its events in, by keys and without, against a list: and what its lines give. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import { type Backlog, Sequence } from "../../src/durable/internal/backlog.ts"
import { Lanes } from "../../src/durable/internal/lanes.ts"
import { collector } from "../support/collector.ts"
import { runs } from "../support/runs.ts"
import { settle } from "../support/virtual.ts"

type Step =
  | { readonly do: "enter"; readonly key: number }
  | { readonly do: "enterAll"; readonly keys: ReadonlyArray<number> }
  | { readonly do: "poll"; readonly line: number }
  | { readonly do: "settle"; readonly line: number; readonly n: number }
  | { readonly do: "takeOldest" | "end" }

const lines = 3
const key = fc.nat(4)
const line = fc.nat(lines - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("enter" as const), key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("enterAll" as const), keys: fc.array(key, { maxLength: 9 }) }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("poll" as const), line }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("settle" as const), line, n: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 3, arbitrary: fc.constant<Step>({ do: "takeOldest" }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "end" }) }
)

/** An event, which is its own position. */
type Entry = { readonly n: number; readonly key: number }

/** What waits, in order; what each line has in hand; and the keys in the order of their turns. */
class Model {
  entered = 0
  waiting: Array<Entry> = []
  hands: Array<Array<Entry>> = Array.from({ length: lines }, () => [])
  turns: Array<number> = []
  ended = false
  readonly keyed: boolean
  private readonly most: number

  constructor(keyed: boolean, most: number) {
    this.keyed = keyed
    this.most = most
  }

  enter(key: number): Entry {
    const entry = { n: this.entered++, key }
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

  /** The keys that lines have, until all that they took is settled. */
  readonly held = new Map<number, number>()

  settle(line: number, n: number): ReadonlyArray<Entry> {
    const hand = this.hands[line]!
    const some = hand.splice(0, n)
    for (const [key, by] of hand.length === 0 ? this.held : []) {
      if (by !== line) continue
      this.held.delete(key)
      if (this.waiting.some((entry) => entry.key === key)) this.turns.push(key)
    }
    return some
  }

  poll(line: number): ReadonlyArray<Entry> | undefined {
    while (this.turns.length > 0) {
      const key = this.turns.shift()!
      const own = this.waiting.filter((entry) => !this.keyed || entry.key === key)
      if (own.length === 0) continue
      // Without keys a line takes its share, so that the others have theirs.
      const taken = own.slice(0, this.keyed ? this.most : Math.min(this.most, Math.ceil(own.length / lines)))
      this.waiting = this.waiting.filter((entry) => !taken.includes(entry))
      if (this.keyed) this.held.set(key, line)
      else if (this.waiting.length > 0) this.turns.push(0)
      this.hands[line] = taken
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
  /** Who asks for the oldest must know that there is one. */
  const expectSettled = (entries: ReadonlyArray<Entry>) =>
    assert.deepStrictEqual(
      settled.splice(0),
      entries.map(({ n }) => n)
    )
  const check = () => {
    assert.strictEqual(backlog.entered, model.entered)
    assert.strictEqual(backlog.size, model.waiting.length)
    const unsettled = [...model.waiting, ...model.hands.flat()].map(({ n }) => n)
    assert.strictEqual(backlog.oldest, Math.min(model.entered, ...unsettled))
  }
  for (const step of steps) {
    switch (step.do) {
      case "enter":
        if (!model.ended) backlog.enter(model.enter(step.key), step.key)
        break
      case "enterAll":
        if (!model.ended) {
          backlog.enterAll(
            step.keys.map((key) => model.enter(key)),
            step.keys
          )
        }
        break
      case "poll": {
        // A drainer polls when all that it was given is settled.
        if (model.hands[step.line]!.length > 0) break
        const expected = model.poll(step.line)
        assert.deepStrictEqual(backlog.lines[step.line]!.poll(), expected)
        break
      }
      case "settle": {
        const some = model.settle(step.line, step.n)
        if (some.length > 0) backlog.lines[step.line]!.settled(some.length, settle)
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
  assert.deepStrictEqual(backlog.rest(), model.waiting)
  assert.strictEqual(backlog.entered, model.entered)
  assert.strictEqual(backlog.size, 0)
}

const many = fc.array(step, { maxLength: 80 })

describe("a backlog", () => {
  it.each([1, 2, 1024])("by keys gives what waited longest of the key whose turn it is, %i at most", (most) => {
    fc.assert(
      fc.property(many, (steps) => run(new Lanes(lines, most, ({ key }: Entry) => key), new Model(true, most), steps)),
      { numRuns: runs(1000) }
    )
  })

  it.each([1, 2, 1024])("without keys gives what waited longest, %i at most", (most) => {
    fc.assert(
      fc.property(many, (steps) => run(new Sequence(lines, most), new Model(false, most), steps)),
      { numRuns: runs(1000) }
    )
  })

  const kinds: ReadonlyArray<readonly [kind: string, make: () => Backlog<number>]> = [
    ["by keys", () => new Lanes(2, 1, () => 0)],
    ["without keys", () => new Sequence(2, 1)]
  ]

  describe.each(kinds)("%s", (_, make) => {
    it.effect("wakes who waits when an event enters, when it ends, and not before", () =>
      Effect.gen(function* () {
        const backlog = make()
        const [first, second] = backlog.lines
        for (const change of [() => backlog.enter(1, "a"), () => backlog.end()]) {
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

    it.effect("one who was interrupted waits no more, and the others do", () =>
      Effect.gen(function* () {
        const backlog = make()
        const [first, second] = backlog.lines
        const one = yield* Effect.forkChild(first!.wait, { startImmediately: true })
        const other = yield* Effect.forkChild(second!.wait, { startImmediately: true })
        yield* settle
        one.interruptUnsafe()
        yield* settle
        assert.isDefined(one.pollUnsafe())
        backlog.enter(1, "a")
        yield* settle
        assert.isDefined(other.pollUnsafe())
      })
    )

    // Before it was mended: a fiber may be made to yield between its look and its wait. What enters then wakes nobody, and a page
    // that has not been read is let go of.
    it.effect("waiting for what is there already ends at once", () =>
      Effect.gen(function* () {
        const backlog = make()
        const [first] = backlog.lines
        assert.isUndefined(first!.poll())
        backlog.enter(1, "a")
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

  it.live.each(kinds)("%s: forgets who waited, woken or interrupted", ([, make]) =>
    Effect.gen(function* () {
      const gc = collector()
      const backlog = make()
      const [line] = backlog.lines
      const refs: Array<WeakRef<object>> = []
      const turn = (interrupted: boolean) =>
        Effect.gen(function* () {
          const fiber = yield* Effect.forkDetach(line!.wait, { startImmediately: true })
          refs.push(new WeakRef(fiber))
          if (interrupted) return fiber.interruptUnsafe()
          backlog.enter(1, "a")
          yield* Effect.yieldNow
          line!.poll()
          line!.settled(1, () => {})
          line!.poll()
        })
      for (let n = 0; n < 200; n++) yield* turn(false)
      for (let n = 0; n < 200; n++) yield* turn(true)
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(backlog.entered, 200)
    })
  )

  it.effect("by keys: a key in somebody's hand wakes nobody, and one that is let go of does", () =>
    Effect.gen(function* () {
      const backlog = new Lanes<number>(2, 1, () => 0)
      const [first, second] = backlog.lines
      backlog.enterAll([1, 2, 3], ["a", "a", "b"])
      assert.deepStrictEqual(first!.poll(), [1])
      assert.deepStrictEqual(second!.poll(), [3])
      second!.settled(1, () => {})
      assert.isUndefined(second!.poll())
      const waits = yield* Effect.forkChild(second!.wait, { startImmediately: true })
      yield* settle
      backlog.enter(4, "a")
      yield* settle
      assert.isUndefined(waits.pollUnsafe())
      first!.settled(1, () => {})
      assert.deepStrictEqual(first!.poll(), [2])
      backlog.enter(5, "c")
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(second!.poll(), [5])
    })
  )

  it.effect("by keys: at its end a line waits for a key in the hand of another, and no longer", () =>
    Effect.gen(function* () {
      const backlog = new Lanes<number>(2, 1, () => 0)
      const [first, second] = backlog.lines
      backlog.enterAll([1, 2], ["a", "a"])
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
  it("by keys: forgets the oldest, however many were there", () => {
    const backlog = new Lanes<number>(2, 1, () => 0)
    const waiting = runs(100_000)
    for (let n = 0; n < waiting; n++) backlog.enter(n, n % 1000)
    let wrong = 0
    for (let n = 0; n < waiting; n++) {
      if (backlog.takeOldest(() => {}) !== n) wrong++
      backlog.enter(waiting + n, n % 1000)
    }
    assert.strictEqual(wrong, 0)
  })

  it("by keys: knows the oldest, in hand or not, however many have come and gone since", () => {
    const backlog = new Lanes<number>(2, 1, (n) => n)
    const [stuck, line] = backlog.lines
    const goes = (from: number, to: number) => {
      for (let n = from; n <= to; n++) {
        backlog.enter(n, n)
        assert.deepStrictEqual(line!.poll(), [n])
        line!.settled(1, () => {})
      }
    }
    backlog.enter(0, 0)
    assert.deepStrictEqual(stuck!.poll(), [0])
    goes(1, 5000)
    assert.strictEqual(backlog.oldest, 0)
    backlog.enter(5001, 5001)
    stuck!.settled(1, () => {})
    assert.strictEqual(backlog.oldest, 5001)
    assert.deepStrictEqual(stuck!.poll(), [5001])
    goes(5002, 9000)
    assert.strictEqual(backlog.oldest, 5001)
    backlog.enterAll([9001, 9002], ["a", "b"])
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
    const backlog = new Lanes<number>(1, 1, (n) => n)
    const [line] = backlog.lines
    const waiting = runs(200_000)
    for (let n = 0; n < waiting; n++) backlog.enter(n, n)
    let wrong = 0
    for (let n = 0; n < waiting; n++) {
      if (line!.poll()?.[0] !== n) wrong++
      line!.settled(1, () => {})
    }
    assert.strictEqual(wrong, 0)
  })

  it.live("by keys: lets go of what was taken", () =>
    Effect.gen(function* () {
      const gc = collector()
      const backlog = new Lanes<object>(1, 1, () => 0)
      const [line] = backlog.lines
      const refs: Array<WeakRef<object>> = []
      const turn = () => {
        const event = {}
        const key = {}
        refs.push(new WeakRef(event), new WeakRef(key))
        backlog.enter(event, key)
        line!.poll()
        line!.settled(1, () => {})
      }
      for (let n = 0; n < 1000; n++) turn()
      // One that stays behind in the hand is let go of by the next look.
      line!.poll()
      // What a reference was made to is kept until the next turn of the event loop.
      yield* Effect.sleep("10 millis")
      gc()
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.strictEqual(backlog.entered, 1000)
    })
  )
})
