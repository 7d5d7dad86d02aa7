/** `npm run bench`: the whole table. See docs/performance.md. */
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { bundleSizes, describeBundle } from "./bundle.ts"
import { check } from "./check.ts"
import { describe, environment } from "./environment.ts"
import { buildGo } from "./go.ts"
import type { Report } from "./report.ts"
import { rows } from "./rows/index.ts"
import { quick, type RowResult, runRow, thorough } from "./runner.ts"
import { toText } from "./table.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    list: { type: "boolean", default: false },
    check: { type: "boolean", default: false }
  }
})

if (values.check) process.exit((await Effect.runPromise(check)) ? 0 : 1)

if (values.list) {
  for (const { name, question } of rows) console.log(`${name}: ${question}`)
  process.exit(0)
}

/** A name means its row, or the rows that begin with it. */
const named = (only: string) => {
  const exact = rows.filter(({ name }) => name === only)
  const found = exact.length > 0 ? exact : rows.filter(({ name }) => name.startsWith(`${only}-`))
  if (found.length > 0) return found
  console.error(`There is no row "${only}". The rows are: ${rows.map(({ name }) => name).join(", ")}`)
  return process.exit(1)
}

const effort = values.quick ? quick : thorough
const go = buildGo()
const machine = environment(go)
console.log(describe(machine))
console.log(
  `Medians of ${effort.generations * effort.samples} samples, the sides of a row in turn. A ratio is a line's figure over ours: above 1, ours takes less.\n`
)

const results: Array<RowResult> = []
for (const row of values.only === undefined ? rows : values.only.flatMap(named)) {
  const result = await runRow(row, effort, go)
  results.push(result)
  console.log(toText(result))
}
const bundle = values.only === undefined ? await bundleSizes() : undefined
if (bundle !== undefined) console.log(describeBundle(bundle))

if (values.json !== undefined) {
  const report: Report = { environment: machine, effort, rows: results, bundle }
  writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}
