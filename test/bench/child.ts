/**
 * The process that measures one side of one row, and nothing else: `child.ts <row> <side> <n> <millis> <warm-up>`.
 * The first line it reads makes it prepare and warm up, and say `ready`; each further line is answered with the figures
 * of one sample.
 */
import { createInterface } from "node:readline"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import type { Sample } from "./model.ts"
import { rows } from "./rows/index.ts"

const [rowName, sideLabel, n, millis, warmUp] = process.argv.slice(2)
const run = rows.find((row) => row.name === rowName)?.sides.find((side) => side.label === sideLabel)?.run
if (run === undefined || typeof run === "string") throw new Error(`there is no side "${sideLabel}" of "${rowName}"`)

/** In milliseconds. */
const cpuTime = (since?: NodeJS.CpuUsage): number => {
  const { system, user } = process.cpuUsage(since)
  return (system + user) / 1e3
}

const load = { n: Number(n), millis: Number(millis) }
let sample: Sample | undefined
for await (const _ of createInterface({ input: process.stdin })) {
  if (sample === undefined) {
    sample = await Effect.runPromise(Scope.provide(run(load), Scope.makeUnsafe()))
    const start = process.cpuUsage()
    // By CPU time: on a busy machine the wall clock runs on while nothing gets warm.
    while (cpuTime(start) < Number(warmUp)) await Effect.runPromise(sample)
    console.log("ready")
  } else {
    console.log(JSON.stringify(await Effect.runPromise(sample)))
  }
}
// Nothing is closed: what was measured may be stuck on purpose.
process.exit(0)
