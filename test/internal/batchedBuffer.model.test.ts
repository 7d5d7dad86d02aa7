/** Events that wait for their batch, against a list and a clock. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { batchedBuffer, type Entry } from "../../src/internal/batching/batchedBuffer.ts"
import { runs } from "../support/runs.ts"

type Step =
  | { readonly do: "offer" | "together"; readonly keys: ReadonlyArray<number>; readonly size: number }
  | { readonly do: "tick"; readonly millis: number }
  | { readonly do: "poll" | "settle"; readonly drainer: number }
  | { readonly do: "leave"; readonly at: number }
  | { readonly do: "takeOldest" | "hurry" | "end" }

const drainers = 3
const drainer = fc.nat(drainers - 1)
const keys = fc.array(fc.nat(2), { minLength: 1, maxLength: 4 })
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constantFrom("offer", "together"), keys, size: fc.nat(6) }) },
  { weight: 8, arbitrary: fc.record({ do: fc.constant("tick"), millis: fc.nat(8) }) },
  { weight: 12, arbitrary: fc.record({ do: fc.constantFrom("poll", "settle"), drainer }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("leave"), at: fc.nat(9) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("takeOldest", "hurry") }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("end") }) }
)

interface Event {
  readonly n: number
  readonly key: number
  readonly size: number
  readonly at: number
}

const [batchSize, maxBytes, maxAge] = [3, 10, 10]

const run = (isKeyed: boolean, steps: ReadonlyArray<Step>) => {
  let time = 0
  let offered = 0
  let waiting: Array<Event> = []
  let isEnded = false
  /** Up to which event no one waits for more. */
  let hurried = 0
  const entries: Array<Entry<Event>> = []
  const buffer = batchedBuffer<Event>({
    batchSize,
    maxBytes,
    maxAge,
    sizeOf: ({ size }) => size,
    partitionBy: isKeyed ? ({ key }) => key : undefined,
    now: () => time
  })
  const sources = Array.from({ length: drainers }, (_, i) => buffer.source(i))
  const taken: Array<ReadonlyArray<Event>> = sources.map(() => [])
  const made = (key: number, size: number) => ({ n: offered++, key, size, at: time })
  const groupOf = ({ key }: Event) => (isKeyed ? key : 0)
  const bytes = (events: ReadonlyArray<Event>) => events.reduce((sum, { size }) => sum + size, 0)
  const poll = (i: number) => {
    const held = new Set(taken.flat().map(groupOf))
    const free = isKeyed ? waiting.filter((event) => !held.has(groupOf(event))) : waiting
    const batch = sources[i]!.poll()
    if (batch === undefined || batch.length === 0) {
      assert.strictEqual(batch !== undefined, isEnded && waiting.length === 0, "the end, and nothing but the end")
      // What is due or full is there to be taken.
      for (const group of [0, 1, 2]) {
        const own = free.filter((event) => groupOf(event) === group)
        assert.isBelow(own.length, batchSize)
        assert.isBelow(bytes(own), maxBytes)
      }
      const due = free.filter(({ at, n }) => isEnded || n < hurried || time - at >= maxAge)
      assert.deepStrictEqual(due, [])
      return
    }
    const own = free.filter((event) => groupOf(event) === groupOf(batch[0]!))
    assert.deepStrictEqual([...batch], own.slice(0, batch.length))
    assert.isAtMost(batch.length, batchSize)
    assert.isTrue(batch.length === 1 || bytes(batch) <= maxBytes)
    taken[i] = batch
    waiting = waiting.filter((event) => !batch.includes(event))
  }
  for (const step of steps) {
    switch (step.do) {
      case "offer": {
        if (isEnded) break
        const events = step.keys.map((key) => made(key, step.size))
        waiting.push(...events)
        buffer.offerAll(
          events,
          events.map(({ key }) => key * Number(isKeyed))
        )
        break
      }
      case "together": {
        if (isEnded) break
        const [first, ...others] = step.keys
        const events = [first!, ...others].map(() => ({ n: 0, key: first!, size: step.size, at: time }))
        const found: Array<Event> = []
        buffer.offerTogether(events as [Event], isKeyed ? first : 0, undefined, undefined, (some) => {
          entries.push(...some)
          found.push(...some.map(({ event }) => event))
        })
        assert.isAtLeast(found.length, 1)
        assert.deepStrictEqual(found, events.slice(0, found.length))
        found.forEach((event) => Object.assign(event, { n: offered++ }))
        waiting.push(...found)
        break
      }
      case "tick":
        time += step.millis
        break
      case "poll":
        if (taken[step.drainer]!.length === 0) poll(step.drainer)
        break
      case "settle":
        if (taken[step.drainer]!.length > 0) sources[step.drainer]!.settle(taken[step.drainer]!.length)
        taken[step.drainer] = []
        break
      case "leave": {
        const entry = entries[step.at]
        if (entry === undefined) break
        buffer.leave([entry])
        waiting = waiting.filter((event) => event !== entry.event)
        break
      }
      case "takeOldest":
        if (waiting.length > 0) assert.strictEqual(buffer.takeOldest(), waiting.shift())
        break
      case "hurry":
        hurried = offered
        buffer.hurry()
        break
      case "end":
        isEnded = true
        buffer.end(false)
    }
    assert.strictEqual(buffer.offered(), offered)
    assert.strictEqual(buffer.size(), waiting.length)
    assert.strictEqual(buffer.oldest(), Math.min(offered, ...[...waiting, ...taken.flat()].map(({ n }) => n)))
  }
  // Time and drainers are all that it takes.
  time += maxAge
  for (let rounds = waiting.length + 1; rounds > 0; rounds--) {
    taken.forEach((batch, i) => {
      if (batch.length > 0) sources[i]!.settle(batch.length)
      taken[i] = []
      poll(i)
    })
  }
  assert.deepStrictEqual(waiting, [])
}

describe("a batched buffer against a list", () => {
  it.each([true, false])("by keys: %s", (isKeyed) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => run(isKeyed, steps)),
      { numRuns: runs(5000) }
    )
  })
})
