/**
 * The process that measures one side of one row, and nothing else:
 * `child.ts <file> <row> <side> <n> <millis> <warm-up>`, where the row is in `rows/<file>.ts`. The first line it reads
 * makes it prepare and warm up, and say `ready`, or `missing` and what the checkout lacks; each further line is answered
 * with the figures of one sample.
 */
import { createInterface } from "node:readline"
import * as Effect from "effect/Effect"
import * as Scope from "effect/Scope"
import { stopwatch } from "./measure.ts"
import type { Row, Sample } from "./model.ts"

const [file, rowName, sideLabel, n, millis, warmUp] = process.argv.slice(2)
// No other file is loaded: one of them may need what another checkout does not have.
const module: Readonly<Record<string, ReadonlyArray<Row>>> = await import(`./rows/${file}.ts`)
const rows = Object.values(module).flat()
const side = rows.find((row) => row.name === rowName)?.sides.find((side) => side.label === sideLabel)
if (side === undefined || typeof side.run === "string") {
  throw new Error(`there is no side "${sideLabel}" of "${rowName}" in ${file}`)
}
const { missing, run } = side

const load = { n: Number(n), millis: Number(millis) }
let sample: Sample | undefined
for await (const _ of createInterface({ input: process.stdin })) {
  if (missing !== undefined) {
    console.log(`missing ${missing}`)
  } else if (sample === undefined) {
    sample = await Effect.runPromise(Scope.provide(run(load), Scope.makeUnsafe()))
    const watch = stopwatch()
    // By CPU time: on a busy machine the wall clock runs on while nothing gets warm.
    while (watch().cpu < Number(warmUp)) await Effect.runPromise(sample)
    console.log("ready")
  } else {
    console.log(JSON.stringify(await Effect.runPromise(sample)))
  }
}
// Nothing is closed: what was measured may be stuck on purpose.
process.exit(0)
