/**
 * The benchmark in small: rows of it against loops by hand, which take turns within one process. It fails only when a
 * ratio is half of what it should be, twice: a mistake that doubles the cost of a path, not a busy machine.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Scope } from "effect"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import type { Load, Sample } from "./bench/model.ts"
import { rows } from "./bench/rows/index.ts"

const sampleOf = (rowName: string, label: string, load: Load): Effect.Effect<Sample> => {
  const run = rows.find(({ name }) => name === rowName)?.sides.find((side) => side.label === label)?.run
  if (run === undefined || typeof run === "string") throw new Error(`there is no side "${label}" of "${rowName}"`)
  // Nothing is closed: what was measured may be stuck on purpose.
  return Scope.provide(run(load), Scope.makeUnsafe())
}

/** The least of some turns: what else the machine does only ever adds. */
const ratio = (rowName: string, ours: string, peer: string, metric: string, load: Load) =>
  Effect.gen(function* () {
    const sides = [yield* sampleOf(rowName, ours, load), yield* sampleOf(rowName, peer, load)]
    const least = [Number.POSITIVE_INFINITY, Number.POSITIVE_INFINITY]
    for (let turn = 0; turn < 12; turn++) {
      for (const [i, sample] of sides.entries()) least[i] = Math.min(least[i]!, (yield* sample)[metric]!)
    }
    return least[1]! / least[0]!
  })

describe("a cheap form of the benchmark", () => {
  for (const { atLeast, metric = "wall", n = 10_000, ours = "ours", peer, row } of [
    { row: "queue-write", peer: "Effect Queue, take", atLeast: 0.6 },
    { row: "queue-writeAll", peer: "Effect Queue, offerAll and takeAll", atLeast: 0.3 },
    { row: "broadcast-10", peer: "Effect PubSub, takeAll and a yield", n: 2000, atLeast: 0.6 },
    { row: "retrier", peer: "Effect.retry", n: 5000, atLeast: 2 },
    { row: "backlog", ours: "ours, 1,000 waiting", peer: "ours, 10 waiting", metric: "typical", atLeast: 0.5 }
  ]) {
    it(`${row}: ours against ${peer}`, { retry: 1, timeout: 30_000 }, async () => {
      const measured = await Effect.runPromise(ratio(row, ours, peer, metric, { n, millis: 5 }))
      assert.isAbove(measured, atLeast)
    })
  }

  it("a queued event costs at most 16 bytes", async () => {
    setFlagsFromString("--expose-gc")
    const before = globalThis.gc
    globalThis.gc = runInNewContext("gc")
    const { bytes } = await Effect.runPromise(
      Effect.flatten(sampleOf("bytes-queue", "ours", { n: 200_000, millis: 0 }))
    )
    globalThis.gc = before
    assert.isAtMost(bytes!, 16)
  })
})
