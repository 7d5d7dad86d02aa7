/** Results as text: for the terminal, and for docs/performance.md. */
import type { Metric } from "./model.ts"
import type { Figure, RowResult } from "./runner.ts"

const units: Readonly<Record<Metric["unit"], string>> = {
  ns: " ns",
  us: " µs",
  ms: " ms",
  bytes: "",
  "per s": "/s"
}

export const number = (value: number): string => {
  if (!Number.isFinite(value)) return String(value)
  const magnitude = Math.abs(value)
  const digits = magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : magnitude >= 0.1 ? 2 : 3
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

const goalOf = ({ goal }: Figure): string =>
  goal === undefined ? "" : `${goal.limit} ${goal.is}: ${goal.met ? "ok" : "SHORT"}`

/** The header and the lines of one row. */
const cells = (row: RowResult): ReadonlyArray<ReadonlyArray<string>> => {
  const header = ["", ...row.metrics.flatMap(({ label }) => [label, "min to max", "ratio", "goal"])]
  const lines = row.sides.map((side) => [
    side.label,
    ...(side.status === "measured" ? [] : [side.status]),
    ...row.metrics.flatMap(({ key, unit }) => {
      const figure = side.figures[key]
      if (figure === undefined) return []
      return [
        `${number(figure.median)}${units[unit]}`,
        `${number(figure.min)} to ${number(figure.max)}`,
        figure.ratio === undefined ? "" : number(figure.ratio),
        goalOf(figure)
      ]
    })
  ])
  // Columns that are empty in every line are left out.
  const isUsed = header.map((_, column) => column === 0 || lines.some((line) => (line[column] ?? "") !== ""))
  return [header, ...lines].map((line) => header.map((_, i) => line[i] ?? "").filter((_, i) => isUsed[i]))
}

const reasons = (row: RowResult): ReadonlyArray<string> =>
  row.sides.flatMap((side) => (side.reason === undefined ? [] : [`${side.label}: ${side.reason}`]))

/** One row as lines of text. */
export const toText = (row: RowResult): string => {
  const lines = cells(row)
  const widths = lines[0]!.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)))
  const text = lines.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd()
  )
  const title = `${row.name}: ${row.question} (${row.n.toLocaleString("en")} at a time)`
  return [title, ...text.map((line) => `  ${line}`), ...[...reasons(row), row.note ?? []].flat().map((s) => `  ${s}`)]
    .join("\n")
    .concat("\n")
}

/** One row as Markdown. */
export const toMarkdown = (row: RowResult): string => {
  const [header = [], ...lines] = cells(row)
  const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
  const rule = `| --- |${" ---: |".repeat(header.length - 1)}`
  const note = [...reasons(row), row.note ?? []].flat()
  return [`**\`${row.name}\`** ${row.question}`, "", line(header), rule, ...lines.map(line), "", ...note]
    .join("\n")
    .trimEnd()
    .concat("\n")
}
