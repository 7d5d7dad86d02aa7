/** Tables and times for people. */
import { displayWidth } from "effect/cli/CliOutput"

export interface Style {
  readonly canColor: boolean
  /** What ages are counted from. */
  readonly now: number
}

export interface Column<A> {
  readonly title: string
  /** The text of a cell; nothing is shown as `-`. */
  readonly of: (row: A) => string | number | undefined
  readonly isNumber?: boolean | undefined
  /** The number of a colour of ANSI. */
  readonly color?: ((row: A) => number | undefined) | undefined
}

/** Columns that are aligned, with two blanks in between. */
export const table = <A>(columns: ReadonlyArray<Column<A>>, rows: ReadonlyArray<A>, { canColor }: Style): string => {
  const paint = (text: string, color: number | undefined) =>
    canColor && color !== undefined ? `\u001b[${color}m${text}\u001b[0m` : text
  const cells = columns.map((column) => rows.map((row) => printable(String(column.of(row) ?? "-"))))
  const widths = columns.map(({ title }, at) => Math.max(...[title, ...(cells[at] ?? [])].map(displayWidth)))
  const lineOf = (line: ReadonlyArray<{ readonly text: string; readonly color: number | undefined }>) =>
    line
      .map(({ color, text }, at) => {
        const blanks = " ".repeat(Math.max(0, (widths[at] ?? 0) - displayWidth(text)))
        const isLast = at === columns.length - 1
        const painted = paint(text, color)
        return columns[at]?.isNumber === true ? blanks + painted : painted + (isLast ? "" : blanks)
      })
      .join("  ")
  return [
    lineOf(columns.map(({ title }) => ({ text: title, color: bold }))),
    ...rows.map((row, of) =>
      lineOf(columns.map(({ color }, at) => ({ text: cells[at]?.[of] ?? "", color: color?.(row) })))
    )
  ].join("\n")
}

const bold = 1

/** Without characters that a terminal obeys: a cause may have the text of a receiver. */
export const printable = (text: string): string =>
  text.replaceAll(/\p{Cc}|[\u202a-\u202e\u2066-\u2069]/gu, (character) =>
    character === "\t" ? " " : `\\x${(character.codePointAt(0) ?? 0).toString(16).padStart(2, "0")}`
  )

/** Several lines, each of them printable. */
export const printableLines = (text: string): string => text.split(/\r?\n/).map(printable).join("\n")

/** The beginning of a text, as one line of at most 80 characters. */
export const firstLine = (text: string | undefined): string | undefined => {
  const line = text
    ?.split(/\r?\n/)
    .map((one) => one.trim())
    .find((one) => one !== "")
  const characters = [...(line ?? "")]
  return characters.length > 80 ? `${characters.slice(0, 79).join("")}…` : line
}

const units = [
  ["d", 86_400_000, 2],
  ["h", 3_600_000, 1],
  ["m", 60_000, 1],
  ["s", 1_000, 1]
] as const

/** How long ago a time is, or how far ahead, in its greatest unit: `3m`, `47h`, `2d`. */
export const ageOf = (at: number | undefined, now: number): string | undefined => {
  if (at === undefined) return undefined
  const length = Math.abs(now - at)
  const [name, unit] = units.find(([, unit, from]) => length >= unit * from) ?? ["s", 1_000]
  return `${Math.floor(length / unit)}${name}`
}

/** When something is due: `in 3m`, or `now`. */
export const dueOf = (at: number | undefined, now: number): string | undefined =>
  at === undefined ? undefined : at <= now ? "now" : `in ${ageOf(at, now)}`

/** The time, or the end of all times that there are a text of: a delay may be absurd. */
export const isoOf = (at: number | undefined): string | undefined =>
  at === undefined ? undefined : new Date(Math.max(-lastTime, Math.min(at, lastTime))).toISOString()

/** The last that a `Date` has. */
const lastTime = 8.64e15

/** `1 event`, `2 events`. */
export const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`
