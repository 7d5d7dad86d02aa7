/** Pages of events, against a list: what is written is read once, in order, with what the writers left with it. */
import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import { join, maxPage, type Page, pageReader, pageWriter } from "../../src/internal/pages.ts"
import { runs } from "../support/runs.ts"

const range = (n: number, from = 0) => Array.from({ length: n }, (_, i) => from + i)
const notesOf = ({ events, notes }: Page<unknown>) => events.map((_, i) => notes?.[i])

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
  | { readonly do: "write"; readonly note: boolean }
  | { readonly do: "writeAll"; readonly n: number; readonly note: boolean }
  | { readonly do: "take"; readonly least: number; readonly most: number }
  | { readonly do: "seal" }

// Around the sizes where pages are full, and where a batch becomes a page.
const size = fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(31, 32, 33, 63, 64, 1023, 1024, 1025, 2100))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 5, arbitrary: fc.record({ do: fc.constant("write" as const), note: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("writeAll" as const), n: size, note: fc.boolean() }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("take" as const), least: size, most: size }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "seal" }) }
)

const run = (max: number, steps: ReadonlyArray<Step>) => {
  const { reader, waiting, writer } = make(max)
  /** What must still be read: an event and its note. */
  const expected: Array<readonly [event: number, note: string | undefined]> = []
  const taken: Array<readonly [page: Page<number>, events: number, notes: number]> = []
  let next = 0
  const written = (note: boolean) => {
    const event = next++
    const one = [event, note ? `note ${event}` : undefined] as const
    expected.push(one)
    return one
  }
  const got = (page: Page<number>) => {
    const notes = notesOf(page)
    assert.deepStrictEqual(
      page.events.map((event, i) => [event, notes[i]]),
      expected.splice(0, page.events.length).map(([event, note]) => [event, note])
    )
    taken.push([page, page.events.length, page.notes?.length ?? 0])
  }
  for (const step of steps) {
    switch (step.do) {
      case "write":
        writer.write(...written(step.note))
        break
      case "writeAll": {
        const all = range(step.n).map(() => written(step.note))
        const events = all.map(([event]) => event)
        const notes = step.note ? all.map(([, note]) => note) : undefined
        writer.writeAll(events, notes)
        // The arrays are the caller's own.
        events.fill(-1)
        notes?.fill("another")
        break
      }
      case "take": {
        const before = expected.length
        const page = reader.take(step.least, step.most)
        assert.isAtMost(page.events.length, step.most)
        assert.isAtLeast(page.events.length, Math.min(step.least, step.most, before))
        if (before > 0) assert.isAbove(page.events.length, 0)
        got(page)
        break
      }
      case "seal":
        writer.seal()
    }
    for (const { events } of waiting) {
      assert.isAbove(events.length, 0)
      // Where pages are smaller than a batch that would have its own, a batch has several.
      if (max < 32) assert.isAtMost(events.length, max)
    }
  }
  const rest = reader.rest()
  got(rest)
  for (const page of waiting.splice(0)) got(page)
  assert.deepStrictEqual(expected, [])
  for (const [page, events, notes] of taken) {
    assert.deepStrictEqual([page.events.length, page.notes?.length ?? 0], [events, notes], "a taken page has grown")
  }
}

describe("pages", () => {
  it.each([1, 3, 40, maxPage])("of %i events at most are read once, in order, with their notes", (max) => {
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
    assert.deepStrictEqual(
      waiting.map(({ events }) => events),
      [[1, 2, 3, 4]]
    )
    const page = reader.take(1, 100)
    writer.write(5)
    assert.deepStrictEqual(page.events, [1, 2, 3, 4])
    assert.deepStrictEqual(
      waiting.map(({ events }) => events),
      [[5]]
    )
  })

  it("have no notes where no writer left one, which costs nothing", () => {
    const { reader, waiting, writer } = make()
    writer.write(1)
    writer.writeAll([2, 3])
    writer.writeAll(range(100))
    assert.deepStrictEqual(
      waiting.map(({ notes }) => notes),
      [undefined, undefined]
    )
    assert.isUndefined(reader.take(200, 200).notes)
    assert.isUndefined(join([]).notes)
  })

  it("are full at their limit, and a large batch is a page of its own", () => {
    const { waiting, writer } = make(40)
    for (const n of range(41)) writer.write(n)
    writer.writeAll(range(31, 41))
    writer.writeAll(range(32, 72))
    writer.write(104)
    assert.deepStrictEqual(
      waiting.map(({ events }) => events.length),
      [40, 32, 32, 1]
    )
    assert.deepStrictEqual(
      waiting.flatMap(({ events }) => events),
      range(105)
    )
  })

  it("are not copied where a page is taken whole", () => {
    const { reader, waiting, writer } = make()
    writer.writeAll(range(100), range(100))
    const [page] = waiting
    assert.strictEqual(reader.take(1, 100), page)
    writer.writeAll(range(100))
    const [other] = waiting
    assert.notStrictEqual(reader.take(1, 99), other)
    assert.deepStrictEqual(reader.take(1, 99).events, [99])
  })
})

describe("a sealed page", () => {
  it("never grows, whether it was sealed by name or with all", () => {
    const { waiting, writer } = make()
    writer.write(1, "one")
    writer.seal()
    writer.write(2)
    writer.seal(waiting[1])
    writer.write(3)
    writer.writeAll([4, 5])
    assert.deepStrictEqual(
      waiting.map(({ events }) => events),
      [[1], [2], [3, 4, 5]]
    )
  })

  it("takes the place of the open one only if it is the open one", () => {
    const { waiting, writer } = make()
    writer.write(1)
    writer.seal(waiting[0])
    writer.write(2)
    // Another page than the one that is written to.
    writer.seal(waiting[0])
    writer.write(3)
    assert.deepStrictEqual(
      waiting.map(({ events }) => events),
      [[1], [2, 3]]
    )
  })
})

describe("notes", () => {
  it("stay with their events when pages with and without them are joined, and taken in part", () => {
    const { reader, writer } = make()
    writer.write(1)
    writer.write(2, "two")
    writer.write(3)
    writer.seal()
    writer.writeAll([4, 5])
    writer.seal()
    writer.writeAll([6, 7], ["six", "seven"])
    const first = reader.take(6, 6)
    assert.deepStrictEqual(first.events, [1, 2, 3, 4, 5, 6])
    assert.deepStrictEqual(notesOf(first), [undefined, "two", undefined, undefined, undefined, "six"])
    const second = reader.rest()
    assert.deepStrictEqual([second.events, notesOf(second)], [[7], ["seven"]])
  })

  it("of a page that is taken event by event", () => {
    const { reader, writer } = make()
    for (const n of range(6)) writer.write(n, n % 2 === 0 ? undefined : n)
    const taken = range(6).map(() => reader.take(1, 1))
    assert.deepStrictEqual(
      taken.map((page) => [page.events[0], page.notes?.[0]]),
      range(6).map((n) => [n, n % 2 === 0 ? undefined : n])
    )
    assert.deepStrictEqual(reader.take(1, 1).events, [])
  })
})
