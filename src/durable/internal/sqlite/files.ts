/**
 * The three files of a SQLite database: the database, its write-ahead log (`-wal`) and the index of that log (`-shm`).
 *
 * A connection opens the last two once and never looks at their paths again. It goes on with a log that was removed,
 * whose commits end with the process. Connections whose logs or indexes differ see neither each other's commits nor
 * each other's locks, and damage the database.
 */
/// <reference types="node" />
import {
  closeSync,
  fchmodSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync
} from "node:fs"
import { dirname } from "node:path"

/** Which files a connection has open, whatever is at their paths. */
export interface Files {
  /** Where the database is when links are followed: SQLite puts the others beside that. */
  readonly base: string
  readonly database: string | undefined
  readonly wal: string | undefined
  readonly shm: string | undefined
}

export type Part = "database" | "wal" | "shm"

/** One of the files is not at its path. */
export interface Displaced {
  readonly part: Part
  readonly detail: string
  readonly cause?: unknown
}

/** The system's own error, about a path: a directory that may not be entered, a link that leads to itself. */
export const isOfSystem = (error: unknown): error is Error & { readonly code: string } =>
  error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string"

export const unreadable = (code: string, path: string): string => `the file cannot be read (${code}): ${path}`

/** Which file a path leads to; nothing when there is none. */
export const fileAt = (path: string): string | undefined => {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found === undefined ? undefined : `${found.dev}:${found.ino}`
}

/** Which file a descriptor belongs to. */
export const fileOf = (descriptor: number): string => {
  const { dev, ino } = fstatSync(descriptor, { bigint: true })
  return `${dev}:${ino}`
}

/** Which files are at the paths. */
export const filesAt = (filename: string): Files => {
  const base = realpathSync(filename)
  return { base, database: fileAt(filename), wal: fileAt(`${base}-wal`), shm: fileAt(`${base}-shm`) }
}

/** The first of the files that is not at its path. */
export const displaced = (filename: string, { base, database, shm, wal }: Files): Displaced | undefined => {
  const opened = [
    ["database", filename, database],
    ["wal", `${base}-wal`, wal],
    ["shm", `${base}-shm`, shm]
  ] as const
  for (const [part, path, file] of opened) {
    try {
      const found = statSync(path, { bigint: true, throwIfNoEntry: false })
      if (found === undefined ? file === undefined : `${found.dev}:${found.ino}` === file) continue
      const what = found === undefined ? "the file is not there any more" : "another file has come into its place"
      return { part, detail: `${what}: ${path}` }
    } catch (error) {
      if (!isOfSystem(error)) throw error
      return { part, detail: unreadable(error.code, path), cause: error }
    }
  }
  return undefined
}

const chunkSize = 1024 * 1024

/**
 * Writes a log that is not at its path any more to that path again, over what is there: by then no commit is in it that
 * is not in the log. The path has the whole log or what was there before, whenever the process dies.
 */
export const putBack = (log: number, path: string): void => {
  const { gid, mode, uid } = fstatSync(log)
  const copy = `${path}-copy`
  try {
    const descriptor = openSync(copy, "w")
    try {
      fchmodSync(descriptor, mode & 0o777)
      // As SQLite does: a database of another user stays usable for that user.
      if (process.geteuid?.() === 0) fchownSync(descriptor, uid, gid)
      const chunk = Buffer.allocUnsafe(chunkSize)
      for (let at = 0; ;) {
        const count = readSync(log, chunk, 0, chunkSize, at)
        if (count === 0) break
        writeFileSync(descriptor, chunk.subarray(0, count))
        at += count
      }
      fsyncSync(descriptor)
    } finally {
      closeSync(descriptor)
    }
    renameSync(copy, path)
  } catch (error) {
    rmSync(copy, { force: true })
    throw error
  }
  const directory = openSync(dirname(path), "r")
  try {
    fsyncSync(directory)
  } finally {
    closeSync(directory)
  }
}
