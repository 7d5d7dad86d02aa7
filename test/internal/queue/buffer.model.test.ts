/** What a queue keeps its events in, in order and by keys, against a list. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as fc from "fast-check"
import type { Batching } from "../../../src/internal/queue/buffer.ts"
import type { Buffer } from "../../../src/internal/pages.ts"
import { byKeys, inOrder, one } from "../../support/buffers.ts"
import { runs } from "../../support/runs.ts"

const range = (n: number) => Array.from({ length: n }, (_, i) => i)

type Step =
  | { readonly do: "offer"; readonly key: number }
  | { readonly do: "offerAll"; readonly keys: ReadonlyArray<number> }
  | { readonly do: "poll"; readonly drainer: number }
  | { readonly do: "settle"; readonly drainer: number; readonly n: number }
  | { readonly do: "takeOldest" | "end" }

const drainers = 3
const key = fc.nat(4)
const drainer = fc.nat(drainers - 1)
const keys = fc.oneof(fc.array(key, { maxLength: 9 }), fc.array(key, { minLength: 30, maxLength: 70 }))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant("offer" as const), key }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("offerAll" as const), keys }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("poll" as const), drainer }) },
  {
    weight: 8,
    arbitrary: fc.record({ do: fc.constant("settle" as const), drainer, n: fc.integer({ min: 1, max: 4 }) })
  },
  { weight: 3, arbitrary: fc.constant<Step>({ do: "takeOldest" }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "end" }) }
)

/** An event is its own position, and knows its key. */
type Event = { readonly n: number; readonly key: number }

const run = (buffer: Buffer<Event>, { joinUpTo, max }: Batching, count: number, steps: ReadonlyArray<Step>) => {
  const isKeyed = buffer.keyOf !== undefined
  const sources = range(count).map((i) => buffer.source(i))
  let offered = 0
  let waiting: Array<Event> = []
  let isEnded = false
  /** What each drainer has taken and not settled, and the array that it was given. */
  const taken: Array<Array<Event>> = range(count).map(() => [])
  const given: Array<readonly [batch: ReadonlyArray<Event>, length: number]> = []
  const made = (key: number) => {
    const event = { n: offered++, key }
    waiting.push(event)
    return event
  }
  /** Which of the waiting events a drainer may be given: all, or those of one key that no other drainer has. */
  const poll = (i: number) => {
    const held = new Set(taken.flat().map(({ key }) => key))
    const free = isKeyed ? waiting.filter(({ key }) => !held.has(key)) : waiting
    const batch = sources[i]!.poll()
    if (batch === undefined || batch.length === 0) {
      assert.strictEqual(free.length, 0, "there was an event to be taken")
      assert.strictEqual(batch !== undefined, isEnded && waiting.length === 0, "the end, and nothing but the end")
      return
    }
    const own = isKeyed ? free.filter(({ key }) => key === batch[0]!.key) : free
    assert.deepStrictEqual(batch, own.slice(0, batch.length))
    assert.isAtMost(batch.length, max)
    const share = isKeyed ? own.length : Math.ceil(own.length / count)
    const least = isKeyed || count > 1 ? max : joinUpTo
    assert.isAtMost(batch.length, share)
    assert.isAtLeast(batch.length, Math.min(least, max, share))
    taken[i] = [...batch]
    given.push([batch, batch.length])
    waiting = waiting.filter((event) => !batch.includes(event))
  }
  for (const step of steps) {
    switch (step.do) {
      case "offer":
        if (!isEnded) buffer.offer(made(step.key), step.key)
        break
      case "offerAll":
        if (!isEnded) buffer.offerAll(step.keys.map(made), step.keys)
        break
      case "poll":
        // A drainer polls when all that it was given is settled.
        if (step.drainer < count && taken[step.drainer]!.length === 0) poll(step.drainer)
        break
      case "settle": {
        const some = taken[step.drainer]?.splice(0, step.n) ?? []
        if (some.length > 0) sources[step.drainer]!.settle(some.length)
        break
      }
      case "takeOldest":
        if (waiting.length > 0) assert.strictEqual(buffer.takeOldest(), waiting.shift())
        break
      case "end":
        isEnded = true
        buffer.end(false)
    }
    assert.strictEqual(buffer.offered(), offered)
    assert.strictEqual(buffer.size(), waiting.length)
    const unsettled = [...waiting, ...taken.flat()].map(({ n }) => n)
    assert.strictEqual(buffer.oldest(), Math.min(offered, ...unsettled))
  }
  buffer.end(true)
  for (const source of sources) assert.deepStrictEqual(source.poll(), [], "stopped")
  assert.deepStrictEqual(buffer.takeRest(), waiting)
  assert.deepStrictEqual(buffer.takeRest(), [])
  assert.strictEqual(buffer.size(), 0)
  for (const [batch, length] of given) assert.strictEqual(batch.length, length, "a taken batch has grown")
}

describe("against a list", () => {
  const many = fc.array(step, { maxLength: 80 })
  const batchings: ReadonlyArray<Batching> = [
    one,
    { joinUpTo: 1, max: 1024 },
    { joinUpTo: 5, max: 7 },
    { joinUpTo: 512, max: 1024 }
  ]

  it.each(batchings)("in order, for one drainer and for several: %o", (batching) => {
    for (const count of [1, drainers]) {
      fc.assert(
        fc.property(many, (steps) => run(Effect.runSync(inOrder<Event>(count, batching)), batching, count, steps)),
        { numRuns: runs(1000) }
      )
    }
  })

  it.each(batchings)("by keys: %o", (batching) => {
    fc.assert(
      fc.property(many, (steps) =>
        run(Effect.runSync(byKeys<Event>(batching, ({ key }) => key)), batching, drainers, steps)
      ),
      { numRuns: runs(1000) }
    )
  })
})
