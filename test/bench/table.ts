/** Results as text: for the terminal, and for docs/performance.md. */
import { goLabel, type Metric } from "./model.ts"
import type { RowResult, SideResult } from "./runner.ts"
import type { Summary } from "./statistics.ts"

const units: Readonly<Record<Metric["unit"], string>> = {
  ns: " ns",
  us: " µs",
  ms: " ms",
  bytes: "",
  "per s": "/s",
  percent: "%"
}

/** A header and its lines. */
type Table = ReadonlyArray<ReadonlyArray<string>>

export const number = (value: number): string => {
  if (!Number.isFinite(value)) return String(value)
  const magnitude = Math.abs(value)
  const digits = magnitude >= 100 ? 0 : magnitude >= 10 ? 1 : magnitude >= 0.1 ? 2 : 3
  return value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits })
}

const range = ({ max, min }: Summary): string => `${number(min)} to ${number(max)}`
const withRange = (summary: Summary | undefined): string =>
  summary === undefined ? "" : `${number(summary.median)} (${range(summary)})`

/** Without the columns that are empty in every line. */
const trimmed = ([header = [], ...lines]: Table): Table => {
  const isUsed = header.map((_, column) => column === 0 || lines.some((line) => (line[column] ?? "") !== ""))
  return [header, ...lines].map((line) => header.map((_, i) => line[i] ?? "").filter((_, i) => isUsed[i]))
}

/** The header and the lines of one row. */
const cells = (row: RowResult): Table => {
  const header = ["", ...row.metrics.flatMap(({ label }) => [label, "min to max", "ratio"])]
  const lines = row.sides
    .filter(({ status }) => status !== "left out")
    .map((side) => [
      side.label,
      ...(side.status === "measured" ? [] : [side.status]),
      ...row.metrics.flatMap(({ key, unit }) => {
        const figure = side.figures[key]
        if (figure === undefined) return []
        return [`${number(figure.median)}${units[unit]}`, range(figure), withRange(figure.ratio)]
      })
    ])
  return trimmed([header, ...lines])
}

const goalTable = (rows: ReadonlyArray<RowResult>): Table => {
  const header = ["row", "side", "of", "goal", "is", "wall", ""]
  const lines = rows.flatMap((row) =>
    row.goals.map(({ against, is, judged, limit, met, metric, of, side }) => {
      const label = row.metrics.find(({ key }) => key === metric)?.label ?? metric
      const wall =
        metric === "cpu" && of === "ratio" ? row.sides.find((one) => one.label === side)?.figures["wall"] : undefined
      return [
        row.name,
        of === "ratio" ? `${side} / ${against}` : side,
        label,
        `${limit} ${is}`,
        withRange(judged),
        withRange(wall?.ratio),
        met === undefined ? "not measured" : met ? "ok" : "SHORT"
      ]
    })
  )
  return trimmed([header, ...lines])
}

/** One line a row: the first side, and how many times as much go-events and the checkout before take. */
const ratioTable = (rows: ReadonlyArray<RowResult>): Table => {
  const header = ["row", "ours", "min to max"]
  const peers = ["go-events", "before"]
  const lines = rows.flatMap((row) => {
    const [first] = row.sides
    const [main] = row.metrics
    const figure = main && first?.figures[main.key]
    if (first === undefined || main === undefined || figure === undefined) return []
    const isPeer = [
      ({ label }: SideResult) => label.startsWith(goLabel),
      ({ label }: SideResult) => label === first.label.replace(/^ours/, "before")
    ]
    const ratios = isPeer.flatMap((isPeer) =>
      [main.key, "wall"].map((key) => withRange(row.sides.find(isPeer)?.figures[key]?.ratio))
    )
    return [[row.name, `${number(figure.median)}${units[main.unit]}`, range(figure), ...ratios]]
  })
  return trimmed([[...header, ...peers.flatMap((peer) => [peer, `${peer}, wall`])], ...lines])
}

const reasons = (row: RowResult): ReadonlyArray<string> =>
  row.sides.flatMap(({ label, reason, status }) =>
    reason === undefined || status === "left out" ? [] : [`${label}: ${reason}`]
  )

const remarks = (row: RowResult): ReadonlyArray<string> => [reasons(row), row.note ?? []].flat()

const text = (table: Table): ReadonlyArray<string> => {
  const widths = (table[0] ?? []).map((_, column) => Math.max(...table.map((line) => line[column]!.length)))
  return table.map((line) =>
    line
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column]!) : cell.padStart(widths[column]!)))
      .join("  ")
      .trimEnd()
  )
}

const markdown = ([header = [], ...lines]: Table): ReadonlyArray<string> => {
  const line = (cells: ReadonlyArray<string>) => `| ${cells.join(" | ")} |`
  return [line(header), `| --- |${" ---: |".repeat(header.length - 1)}`, ...lines.map(line)]
}

const summaries = [
  {
    title: "Ratios: how many times as much go-events and the checkout before take (median of the turns, min to max)",
    table: ratioTable
  },
  { title: "Goals", table: goalTable }
]

/** One row as lines of text. */
export const toText = (row: RowResult): string => {
  const title = `${row.name}: ${row.question} (${row.n.toLocaleString("en")} at a time)`
  return [title, ...[...text(cells(row)), ...remarks(row)].map((line) => `  ${line}`), ""].join("\n")
}

/** One row as Markdown. */
export const toMarkdown = (row: RowResult): string =>
  [`**\`${row.name}\`** ${row.question}`, "", ...markdown(cells(row)), "", ...remarks(row)]
    .join("\n")
    .trimEnd()
    .concat("\n")

/** A line for each side: the CPU time of an event, which other work on the machine changes least. */
export const shortMarkdown = (rows: ReadonlyArray<RowResult>): string => {
  const lines = rows.flatMap((row) =>
    row.sides.map(({ figures, label, status }, i) => {
      const figure = figures["cpu"]
      const microseconds = figure === undefined ? status : `${number(figure.median / 1e3)} µs`
      return [i === 0 ? row.question : "", label, microseconds, i === 0 ? "1" : withRange(figure?.ratio)]
    })
  )
  return [...markdown([["work", "with", "CPU per event", "times ours"], ...lines]), "", ...rows.flatMap(remarks)].join(
    "\n"
  )
}

/** All rows in short, and the goals. */
export const summaryText = (rows: ReadonlyArray<RowResult>): string =>
  summaries.flatMap(({ table, title }) => [`${title}:`, ...text(table(rows)).map((line) => `  ${line}`), ""]).join("\n")

export const summaryMarkdown = (rows: ReadonlyArray<RowResult>): string =>
  summaries.flatMap(({ table, title }) => [`**${title}**`, "", ...markdown(table(rows)), ""]).join("\n")
