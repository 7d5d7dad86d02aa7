/** `npm run bench`: the whole table. See docs/performance.md. */
import { writeFileSync } from "node:fs"
import { parseArgs } from "node:util"
import { Effect } from "effect"
import { bundleSizes, describeBundle } from "./bundle.ts"
import { check } from "./check.ts"
import { checkout } from "./checkout.ts"
import { describe, environment } from "./environment.ts"
import { buildGo } from "./go.ts"
import type { Row } from "./model.ts"
import type { Report } from "./report.ts"
import { core, rows } from "./rows/index.ts"
import { hasGoals, quick, type RowResult, runRow, type Setting, thorough } from "./runner.ts"
import { summaryText, toText } from "./table.ts"

const { values } = parseArgs({
  options: {
    only: { type: "string", multiple: true },
    goals: { type: "boolean", default: false },
    against: { type: "string" },
    quick: { type: "boolean", default: false },
    json: { type: "string" },
    list: { type: "boolean", default: false },
    check: { type: "boolean", default: false }
  }
})

if (values.check) process.exit((await Effect.runPromise(check)) ? 0 : 1)

const refuse = (reason: string): never => {
  console.error(reason)
  return process.exit(1)
}

if (values.list) {
  for (const { name, question } of rows) console.log(`${name}: ${question}`)
  process.exit(0)
}

/** A name means its row, or the rows that begin with it; "core" means all that are neither HTTP nor durable. */
const named = (only: string): ReadonlyArray<Row> => {
  if (only === "core") return core
  const exact = rows.filter(({ name }) => name === only)
  const found = exact.length > 0 ? exact : rows.filter(({ name }) => name.startsWith(`${only}-`))
  return found.length > 0
    ? found
    : refuse(`There is no row "${only}". The rows are: ${rows.map(({ name }) => name).join(", ")}`)
}

const chosen = (values.only === undefined ? rows : values.only.flatMap(named)).filter(
  (row) => !values.goals || hasGoals(row)
)
const found = values.against === undefined ? undefined : checkout(values.against)
const before = typeof found === "string" ? refuse(`--against: ${found}`) : found
const setting: Setting = {
  effort: values.quick ? quick : thorough,
  go: buildGo(),
  before,
  goalsOnly: values.goals
}
const machine = environment(setting.go, before)
console.log(describe(machine))
console.log(
  `Medians of ${setting.effort.samples} samples, the sides of a row in turn. A ratio is a line's figure over ours: above 1, ours takes less.\n`
)

const results: Array<RowResult> = []
const save = (bundle: Report["bundle"]) => {
  if (values.json === undefined) return
  const report: Report = { environment: machine, effort: setting.effort, rows: results, bundle }
  writeFileSync(values.json, `${JSON.stringify(report, undefined, 2)}\n`)
}

for (const row of chosen) {
  const result = await runRow(row, setting)
  results.push(result)
  console.log(toText(result))
  // A run takes long, and what it has so far is worth keeping.
  save(undefined)
}
console.log(summaryText(results))
const bundle = values.only === undefined && !values.goals ? await bundleSizes() : undefined
if (bundle !== undefined) console.log(describeBundle(bundle))
save(bundle)
