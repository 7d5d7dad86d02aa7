/** Puts the figures of a `--json` run into docs/performance.md: `toMarkdown.ts FILE`. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { format, resolveConfig } from "prettier"
import { describeBundle } from "./bundle.ts"
import { describe } from "./environment.ts"
import type { Report } from "./report.ts"
import { summaryMarkdown, toMarkdown } from "./table.ts"

const [file] = process.argv.slice(2)
if (file === undefined) throw new Error("the file that `npm run bench -- --json FILE` wrote is missing")
const report: Report = JSON.parse(readFileSync(file, "utf8"))

const block = [
  "<!-- figures: begin -->",
  "",
  "```text",
  describe(report.environment),
  "```",
  "",
  summaryMarkdown(report.rows),
  ...report.rows.map(toMarkdown),
  ...(report.bundle === undefined ? [] : ["```text", describeBundle(report.bundle), "```", ""]),
  "<!-- figures: end -->"
].join("\n")

const page = join(import.meta.dirname, "..", "..", "docs", "performance.md")
const text = readFileSync(page, "utf8")
const marked = /<!-- figures: begin -->[\s\S]*<!-- figures: end -->/
if (!marked.test(text)) throw new Error(`${page} has no block for the figures`)
const filled = text.replace(marked, () => block)
writeFileSync(page, await format(filled, { ...(await resolveConfig(page)), filepath: page }))
