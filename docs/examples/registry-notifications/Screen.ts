/** The terminal: lines that stay, lines that live below them, and the log on stderr. */
import { Effect, Logger, LogLevel } from "effect"

const { stderr, stdout } = process

/** Whether lines can be drawn anew where they are. */
export const isTerminal = stdout.isTTY

/** How many lines `draw` has left above the cursor. */
let drawn = 0

/** Removes what `show` and `draw` left. */
const wipe = (): string => {
  if (!isTerminal) return ""
  const up = drawn === 0 ? "" : `\u001B[${drawn}A`
  drawn = 0
  return `\r${up}\u001B[J`
}

/** Prints lines that stay. */
export const print = (text: string) => Effect.sync(() => void stdout.write(`${wipe()}${text}\n`))

/** Draws lines in the place of the last ones, as many as fit; those of trouble in red, unless `NO_COLOR` is set. */
export const draw = (lines: ReadonlyArray<{ readonly text: string; readonly isTrouble: boolean }>) =>
  Effect.sync(() => {
    const shown = lines.slice(0, Math.max(1, (stdout.rows || 24) - 1))
    const texts = shown.map(({ isTrouble, text }) => {
      const clipped = text.slice(0, (stdout.columns || 80) - 1)
      return isTrouble && !process.env["NO_COLOR"] ? `\u001B[31m${clipped}\u001B[0m` : clipped
    })
    stdout.write(`${wipe()}${texts.join("\n")}\n`)
    drawn = shown.length
  })

/** Shows a text in the place of the last one: on a terminal in the same line, elsewhere in a line of its own. */
export const show = (text: string) =>
  Effect.sync(() => void stdout.write(isTerminal ? wipe() + text.slice(0, (stdout.columns || 80) - 1) : `${text}\n`))

/** How often `show` and `draw` are worth calling. */
export const interval = isTerminal ? "100 millis" : "1 second"

/** Removes what `show` and `draw` left. */
export const clear = Effect.sync(() => void stdout.write(wipe()))

/** Columns of text: the first to the left, all others to the right. */
export const table = (columns: ReadonlyArray<string>, cells: ReadonlyArray<ReadonlyArray<string>>): string => {
  const widths = columns.map((column, i) => Math.max(...[columns, ...cells].map((line) => line[i]?.length ?? 0)))
  const line = (texts: ReadonlyArray<string>) =>
    texts.map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))).join("  ")
  return [line(columns), widths.map((width) => "-".repeat(width)).join("  "), ...cells.map(line)].join("\n")
}

/** Counts the lines that were kept from the terminal. */
export interface KeptBack {
  lines: number
}

/**
 * Logs to stderr from `level` on, and counts the rest: each retry of a busy graph would drown what the example has to
 * say, but what is hidden must not be forgotten either.
 */
export const logger = (level: LogLevel.LogLevel, keptBack: KeptBack) =>
  Logger.layer([
    Logger.make((options) => {
      if (LogLevel.isLessThan(options.logLevel, level)) keptBack.lines++
      else stderr.write(`${stderr.isTTY ? wipe() : ""}${Logger.formatLogFmt.log(options)}\n`)
    })
  ])
