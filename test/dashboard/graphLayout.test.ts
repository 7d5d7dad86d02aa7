import { describe, expect, it } from "vitest"
import { graphLayout } from "../../src/dashboard/internal/graphLayout.ts"
import { makeHistory, maxSamples } from "../../src/dashboard/internal/history.ts"
import { randomFrom } from "../support/random.ts"

describe("the layout of a graph", () => {
  it("puts a node behind all that write to it, and in the middle of what it writes to", () => {
    // 0 writes to 1 and 2, and both write to 3; 0 writes to 3 as well.
    expect(graphLayout([[1, 2, 3], [3], [3], []])).toMatchObject({
      layers: 3,
      places: [{ layer: 0 }, { layer: 1 }, { layer: 1 }, { layer: 2 }]
    })
    expect(graphLayout([[1, 2], [], []]).places).toEqual([
      { layer: 0, row: 0.5 },
      { layer: 1, row: 0 },
      { layer: 1, row: 1 }
    ])
  })

  it("keeps roots in their order, and the order of what each writes to", () => {
    const { places } = graphLayout([[2, 3], [4], [], [], []])
    expect(places.map(({ row }) => row)).toEqual([0.5, 2, 0, 1, 2])
  })

  it("ends with a circle, and with chains longer than the stack of calls", () => {
    expect(graphLayout([[1], [0]]).layers).toBe(2)
    const chain = Array.from({ length: 50_000 }, (_, i) => (i === 49_999 ? [] : [i + 1]))
    expect(graphLayout(chain)).toMatchObject({ layers: 50_000, rows: 1 })
  })

  it("has no graph of which two nodes of a layer meet", () => {
    const random = randomFrom(18)
    for (let run = 0; run < 300; run++) {
      const n = 1 + Math.floor(random() * 40)
      const downstream = Array.from({ length: n }, (_, i) =>
        Array.from({ length: n - i - 1 }, (_, k) => i + 1 + k).filter(() => random() < 2 / n)
      )
      const { layers, places, rows } = graphLayout(downstream)
      const taken = places.map(({ layer, row }) => `${layer} ${Math.round(row * 1000)}`)
      expect(new Set(taken).size).toBe(n)
      for (const [i, one] of places.entries()) {
        const beside = places.slice(i + 1).filter(({ layer }) => layer === one.layer)
        for (const { row } of beside) expect(Math.abs(one.row - row)).toBeGreaterThanOrEqual(1)
        for (const next of downstream[i] ?? []) expect(places[next]?.layer).toBeGreaterThan(one.layer)
        expect(one.layer).toBeLessThan(layers)
        expect(one.row).toBeLessThanOrEqual(rows - 1)
      }
    }
  })
})

describe("the history of a node", () => {
  it("has the greatest depth and the mean rate of each bucket", () => {
    const history = makeHistory()
    expect(history.buckets(5)).toEqual({ pending: [], rate: [] })
    expect(history.rate()).toBe(0)
    for (const [pending, rate] of [
      [1, 10],
      [7, 20],
      [2, 0]
    ] as const)
      history.push(pending, rate)
    expect(history.buckets(2)).toEqual({ pending: [7, 2], rate: [15, 0] })
    expect(history.rate()).toBe(10)
  })

  it("keeps 15 minutes, and the borders of its buckets", () => {
    const history = makeHistory()
    for (let i = 0; i < maxSamples + 7; i++) history.push(i, 1)
    expect(history.buckets(15).pending.at(0)).toBe(29)
    expect(history.buckets(15).pending).toHaveLength(60)
    expect(history.buckets(15).pending.at(-1)).toBe(maxSamples + 6)
    expect(history.buckets(1).pending).toHaveLength(maxSamples)
  })
})
