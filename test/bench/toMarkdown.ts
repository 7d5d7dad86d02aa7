/** Puts the figures of a `--json` run into docs/performance.md, whose other blocks stay: `toMarkdown.ts FILE`. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { format, resolveConfig } from "prettier"
import { describeBundle } from "./bundle.ts"
import { describe } from "./environment.ts"
import type { Report } from "./report.ts"
import { shortMarkdown, summaryMarkdown, toMarkdown } from "./table.ts"

const [file] = process.argv.slice(2)
if (file === undefined) throw new Error("the file that `npm run bench -- --json FILE` wrote is missing")
const report: Report = JSON.parse(readFileSync(file, "utf8"))

const isOther = ({ name }: Report["rows"][number]): boolean => name.startsWith("others-")
const [others, rows] = [report.rows.filter(isOther), report.rows.filter((row) => !isOther(row))]
const machine = ["```text", describe(report.environment), "```", ""]

/** What stands between a pair of marks, where the run has it. */
const blocks: ReadonlyArray<readonly [name: string, lines: ReadonlyArray<string>]> = [
  ["cost", others.length === 0 ? [] : [shortMarkdown(others), "", ...machine]],
  [
    "figures",
    rows.length === 0
      ? []
      : [
          ...machine,
          summaryMarkdown(rows),
          ...rows.map(toMarkdown),
          ...(report.bundle === undefined ? [] : ["```text", describeBundle(report.bundle), "```", ""])
        ]
  ]
]

const page = join(import.meta.dirname, "..", "..", "docs", "performance.md")
const filled = blocks.reduce(
  (text, [name, lines]) => {
    if (lines.length === 0) return text
    const [begin, end] = [`<!-- ${name}: begin -->`, `<!-- ${name}: end -->`]
    const marked = new RegExp(`${begin}[\\s\\S]*${end}`)
    if (!marked.test(text)) throw new Error(`${page} has no block for ${name}`)
    return text.replace(marked, () => [begin, "", ...lines, end].join("\n"))
  },
  readFileSync(page, "utf8")
)
writeFileSync(page, await format(filled, { ...(await resolveConfig(page)), filepath: page }))
