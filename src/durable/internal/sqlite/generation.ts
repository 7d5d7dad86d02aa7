/**
 * Which log and which index all processes are to have open, noted in the database itself.
 *
 * SQLite gives a process that opens the database while the log of the others is removed a log of its own, and one of
 * the two damages the database. A process here gets the files at the paths only if they are those that the others have,
 * or if no other process has any. SQLite's own locks on the database, which all of them share whatever their logs, show
 * whether there are others.
 */
/// <reference types="node" />
import { realpathSync, rmSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { pathToFileURL } from "node:url"
import { type Files, filesAt } from "./files.ts"
import { failureOf, isBusy } from "./problems.ts"
import { examine, type Refusal } from "./sqliteSchema.ts"

interface Generation {
  /** The database that this was written for: a copy of the database has it too, and none of its processes. */
  readonly database: string | null
  /** How many processes have joined and not left; killed ones included, unless none has it open since. */
  readonly processes: number
  readonly wal: string | null
  readonly shm: string | null
}

/** How a process is to join: as the first, after others, or not, since they have other files. */
export type Joining = "First" | "Next" | "Apart"

/** Opens the database for a moment without others, which moves what is in a log at the path into the database. */
export const openAlone = (filename: string): "Alone" | "Shared" | Refusal => {
  const db = new DatabaseSync(filename)
  try {
    db.exec("PRAGMA locking_mode = EXCLUSIVE")
    const found = examine(db)
    if (typeof found !== "boolean") return found
    if (!found && generation(db).processes !== 0) db.exec("UPDATE generation SET processes = 0")
    // A killed process has left its index. A process that has lost its locks must not share it: its log is another.
    const isLogged = db.prepare("PRAGMA journal_mode").get()?.["journal_mode"] === "wal"
    if (isLogged) rmSync(`${realpathSync(filename)}-shm`, { force: true })
    return "Alone"
  } catch (error) {
    const failure = failureOf(error)
    if (failure !== undefined && isBusy(failure)) return "Shared"
    throw error
  } finally {
    db.close()
  }
}

/**
 * The generation in the database itself, without its log and without a lock. Nothing, if it cannot be read: it may be
 * written to at the moment.
 */
const noted = (filename: string): Generation | undefined => {
  const url = pathToFileURL(filename)
  url.searchParams.set("immutable", "1")
  const db = new DatabaseSync(url, { readOnly: true })
  try {
    return examine(db) === false ? generation(db) : undefined
  } catch (error) {
    if (failureOf(error) === undefined) throw error
    return undefined
  } finally {
    db.close()
  }
}

/** Whether no process has joined for this database. */
const isEmpty = ({ database, processes }: Generation, files: Files): boolean =>
  processes === 0 || database !== files.database

const areThose = ({ shm, wal }: Generation, files: Files): boolean => wal === files.wal && shm === files.shm

/** Whether files are noted in the database itself, as those that the processes have; nothing if that cannot be read. */
export const areNoted = (filename: string, files: Files): boolean | undefined => {
  const found = noted(filename)
  return found && areThose(found, files)
}

/**
 * Whether the files at the paths may be those of the others. They are missing for a moment whenever a process opens the
 * database first, or closes it last.
 */
export const mayJoin = (filename: string): boolean => {
  const files = filesAt(filename)
  if (files.wal === undefined || files.shm === undefined) return false
  const found = noted(filename)
  return found === undefined || isEmpty(found, files) || areThose(found, files)
}

export const joining = (db: DatabaseSync, files: Files): Joining => {
  const found = generation(db)
  if (isEmpty(found, files)) return "First"
  return areThose(found, files) ? "Next" : "Apart"
}

/**
 * Joins, in the transaction that writes first: without one there is nothing to lose. The note of the first process has
 * to be in the database before that is acknowledged, and not only in the log: a process with another log reads it
 * there.
 */
export const join = (db: DatabaseSync, files: Files): Joining => {
  const how = joining(db, files)
  if (how === "First")
    db.prepare("UPDATE generation SET processes = 1, database = ?, wal = ?, shm = ?").run(
      ...[files.database, files.wal, files.shm].map((file) => file ?? null)
    )
  if (how === "Next") db.exec("UPDATE generation SET processes = processes + 1")
  return how
}

/** Leaves, in a transaction that writes. */
export const leave = (db: DatabaseSync): void => db.exec("UPDATE generation SET processes = max(processes - 1, 0)")

const generation = (db: DatabaseSync): Generation =>
  // The columns of the table, which has one row.
  db.prepare("SELECT processes, database, wal, shm FROM generation").get() as unknown as Generation
