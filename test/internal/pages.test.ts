/** Pages of events, against a list: what is written is read once, in order. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { join, maxPage, type Page, pageReader, pageWriter } from "../../src/internal/pages.ts"
import { runs } from "../support/runs.ts"

const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i)

/** Pages that wait, and the reader of them, which seals what it takes, as every user of pages does. */
const make = (max = maxPage) => {
  const waiting: Array<Page<number>> = []
  const writer = pageWriter<number>(max, (page) => void waiting.push(page))
  const reader = pageReader(() => {
    const page = waiting.shift()
    if (page !== undefined) writer.seal(page)
    return page
  })
  return { reader, waiting, writer }
}

type Step =
  | { readonly do: "write" }
  | { readonly do: "writeAll"; readonly n: number }
  | { readonly do: "take"; readonly least: number; readonly most: number }
  | { readonly do: "seal" }

// Around the sizes where pages are full, and where a batch becomes a page.
const size = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(31, 32, 33, 63, 64, 1023, 1024, 1025, 2100))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.constant<Step>({ do: "write" }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("writeAll" as const), n: size }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("take" as const), least: size, most: size }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "seal" }) }
)

const run = (max: number, steps: ReadonlyArray<Step>) => {
  const { reader, waiting, writer } = make(max)
  /** What must still be read. */
  const expected: Array<number> = []
  const taken: Array<readonly [page: Page<number>, length: number]> = []
  let next = 0
  const written = () => {
    expected.push(next)
    return next++
  }
  const got = (page: Page<number>) => {
    assert.deepStrictEqual([...page], expected.splice(0, page.length))
    taken.push([page, page.length])
  }
  for (const step of steps) {
    switch (step.do) {
      case "write":
        writer.write(written())
        break
      case "writeAll": {
        const events = range(step.n).map(written)
        writer.writeAll(events)
        // The array is the caller's own.
        events.fill(-1)
        break
      }
      case "take": {
        const before = expected.length
        const page = reader.take(step.least, step.most)
        assert.isAtMost(page.length, step.most)
        assert.isAtLeast(page.length, Math.min(step.least, step.most, before))
        if (before > 0) assert.isAbove(page.length, 0)
        got(page)
        break
      }
      case "seal":
        writer.seal()
    }
    for (const { length } of waiting) {
      assert.isAbove(length, 0)
      // Where pages are smaller than a batch that would have its own, a batch has several.
      if (max < 32) assert.isAtMost(length, max)
    }
  }
  const rest = reader.rest()
  got(rest)
  for (const page of waiting.splice(0)) got(page)
  assert.deepStrictEqual(expected, [])
  for (const [page, length] of taken) assert.strictEqual(page.length, length, "a taken page has grown")
}

describe("pages", () => {
  it.each([1, 3, 40, maxPage])("of %i events at most are read once, in order", (max) => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 40 }), (steps) => run(max, steps)),
      { numRuns: runs(500) }
    )
  })

  it("share what is written until it is read", () => {
    const { reader, waiting, writer } = make()
    writer.write(1)
    writer.write(2)
    writer.writeAll([3, 4])
    assert.deepStrictEqual(waiting, [[1, 2, 3, 4]])
    const page = reader.take(1, 100)
    writer.write(5)
    assert.deepStrictEqual(page, [1, 2, 3, 4])
    assert.deepStrictEqual(waiting, [[5]])
  })

  it("are joined to one, also where there are none", () => {
    assert.deepStrictEqual(join([]), [])
    assert.deepStrictEqual(join([[1], [2, 3], [], [4]]), [1, 2, 3, 4])
    const page = [1]
    assert.strictEqual(join([page]), page)
  })

  it("are full at their limit, and a large batch is a page of its own", () => {
    const { waiting, writer } = make(40)
    for (const n of range(41)) writer.write(n)
    writer.writeAll(range(31, 41))
    writer.writeAll(range(32, 72))
    writer.write(104)
    assert.deepStrictEqual(
      waiting.map(({ length }) => length),
      [40, 32, 32, 1]
    )
    assert.deepStrictEqual(waiting.flat(), range(105))
  })

  it("are not copied where a page is taken whole", () => {
    const { reader, waiting, writer } = make()
    writer.writeAll(range(100))
    const [page] = waiting
    assert.strictEqual(reader.take(1, 100), page)
    writer.writeAll(range(100))
    const [other] = waiting
    assert.notStrictEqual(reader.take(1, 99), other)
    assert.deepStrictEqual(reader.take(1, 99), [99])
  })
})

describe("a sealed page", () => {
  it("never grows, whether it was sealed by name or with all", () => {
    const { waiting, writer } = make()
    writer.write(1)
    writer.seal()
    writer.write(2)
    writer.seal(waiting[1])
    writer.write(3)
    writer.writeAll([4, 5])
    assert.deepStrictEqual(waiting, [[1], [2], [3, 4, 5]])
  })

  it("takes the place of the open one only if it is the open one", () => {
    const { waiting, writer } = make()
    writer.write(1)
    writer.seal(waiting[0])
    writer.write(2)
    // Another page than the one that is written to.
    writer.seal(waiting[0])
    writer.write(3)
    assert.deepStrictEqual(waiting, [[1], [2, 3]])
  })
})

describe("small pages", () => {
  it("are joined up to what is asked for, and what is left of the last is read next", () => {
    const { reader, writer } = make()
    writer.write(1)
    writer.write(2)
    writer.write(3)
    writer.seal()
    writer.writeAll([4, 5])
    writer.seal()
    writer.writeAll([6, 7])
    assert.deepStrictEqual(reader.take(6, 6), [1, 2, 3, 4, 5, 6])
    assert.deepStrictEqual(reader.rest(), [7])
  })

  it("are taken event by event", () => {
    const { reader, writer } = make()
    for (const n of range(6)) writer.write(n)
    assert.deepStrictEqual(
      range(6).map(() => reader.take(1, 1)),
      range(6).map((n) => [n])
    )
    assert.deepStrictEqual(reader.take(1, 1), [])
  })
})
