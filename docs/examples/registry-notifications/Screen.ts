/** The terminal: lines that stay, one line that lives, and the log on stderr. */
import { Effect, Logger, LogLevel } from "effect"

const { stderr, stdout } = process

const wipe = stdout.isTTY ? "\r\u001B[2K" : ""

/** Prints lines that stay. */
export const print = (text: string) => Effect.sync(() => void stdout.write(`${wipe}${text}\n`))

/** Shows a text in the place of the last one: on a terminal in the same line, elsewhere in a line of its own. */
export const show = (text: string) =>
  Effect.sync(() => void stdout.write(stdout.isTTY ? wipe + text.slice(0, (stdout.columns || 80) - 1) : `${text}\n`))

/** How often `show` is worth calling. */
export const interval = stdout.isTTY ? "100 millis" : "1 second"

/** Removes what `show` left. */
export const clear = Effect.sync(() => void stdout.write(wipe))

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
      else stderr.write(`${stderr.isTTY ? wipe : ""}${Logger.formatLogFmt.log(options)}\n`)
    })
  ])
