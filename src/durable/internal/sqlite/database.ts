/**
 * The file of a SQLite store: opened when it is needed, asked for one transaction at a time, and opened again after an
 * error that the connection may be to blame for, or when its log or the index of it is not at its path any more.
 *
 * Everything runs on the calling thread, and nothing waits in it for a lock but what saves a log that is gone.
 */
/// <reference types="node" />
import { accessSync, closeSync, constants, fstatSync, openSync, statfsSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { EventStoreError, StoreProblem } from "../../EventStore.ts"
import {
  type Displaced,
  displaced,
  fileAt,
  fileOf,
  type Files,
  filesAt,
  isOfSystem,
  putBack,
  unreadable
} from "./files.ts"
import { areNoted, join, joining, leave, mayJoin, openAlone } from "./generation.ts"
import { makeSql, type Sql } from "./prepared.ts"
import { type Failure, failureOf, isBroken, isBusy, isMaybeCommitted, problemOf } from "./problems.ts"
import { examine, migrate } from "./sqliteSchema.ts"

/** Beyond this many bytes the file of the log is cut when it begins anew. */
const logLimit = 16 * 1024 * 1024
/**
 * What a connection keeps in memory of the file, in KiB: four times what a batch may have. A transaction that changes more than
 * that writes pages to the log before its end, and again at its end: batches of 1 MB take 15 % longer with SQLite's own 2,000.
 */
const cacheSize = 16 * 1024
/**
 * How long it waits for another process that writes to a log that is gone, in milliseconds. It does nothing else
 * meanwhile: until the log is put back, what was committed is lost with the processes.
 */
const putBackTimeout = 500

/**
 * The bytes of free space that publishing leaves, at most an eighth of the disk: room for the log in which acknowledgements are
 * written, which is what makes room again.
 */
const reserve = 16 * 1024 * 1024

interface Open {
  readonly db: DatabaseSync
  readonly sql: Sql
  /** Which files these are, wherever they may be moved. */
  readonly files: Files
  /** A descriptor of the log, which reads what was committed when the log is removed. */
  readonly log: number
  /** It has joined the other processes. */
  hasJoined: boolean
  /** The database itself says so, and not only the log. */
  isNoted: boolean
}

/** How the work relates to the transaction around it. */
type Kind = "read" | "write" | "none"

/** Why an attempt failed; `Busy`: another connection is in the way. */
export interface Failed extends Pick<EventStoreError, "problem" | "detail" | "maybeCommitted" | "cause"> {
  readonly _tag: "Busy" | "Failed"
}

/**
 * The result of an attempt; `Died`: by a mistake in the program. Unless it is done, or `maybeCommitted`, nothing
 * changed.
 */
export type Attempt<A> =
  { readonly _tag: "Done"; readonly value: A } | Failed | { readonly _tag: "Died"; readonly defect: unknown }

const failed = (problem: StoreProblem, detail: string, cause?: unknown): Failed => ({
  _tag: "Failed",
  problem,
  detail,
  maybeCommitted: false,
  cause
})

export interface Database {
  /** How many connections there have been. */
  readonly connections: () => number
  /**
   * Does some work, in a transaction or without; `grows` for what adds to the file. What was committed to files that are not
   * at their paths is `maybeCommitted`. On a full disk a write is done again with the room that the log had.
   */
  readonly attempt: <A>(kind: Kind, work: (sql: Sql) => A, grows?: boolean) => Attempt<A>
  /** Closes the file. What was committed is moved from the log into the database, if no other process has it open. */
  readonly close: () => void
}

export const makeDatabase = (filename: string): Database => {
  let connections = 0
  let current: Open | undefined
  let isClosed = false

  const attempt = <A>(kind: Kind, work: (sql: Sql) => A, grows = false): Attempt<A> => {
    const outcome = attemptOnce(kind, work, grows)
    const isFull = outcome._tag === "Failed" && outcome.problem === "NoSpace" && !outcome.maybeCommitted
    if (!isFull || kind !== "write" || current === undefined) return outcome
    emptyLog(current)
    return attemptOnce(kind, work, grows)
  }

  const attemptOnce = <A>(kind: Kind, work: (sql: Sql) => A, grows: boolean): Attempt<A> => {
    if (isClosed) return failed("Disconnected", "the store is closed")
    let committing = false
    let committed = false
    try {
      const open = current ?? connected()
      if ("_tag" in open) return open
      const { db, files, sql } = open
      const noRoom = kind === "write" ? keepRoom(open, grows) : undefined
      if (noRoom !== undefined) return noRoom
      try {
        if (kind !== "none") sql.run(kind === "read" ? "BEGIN" : "BEGIN IMMEDIATE")
        // Within the lock: a commit to a log after another process has put it back is not in the log at the path.
        const before = displaced(filename, files)
        if (before !== undefined) return abandon(open, before)
        const joined = kind !== "write" || open.hasJoined ? undefined : join(db, files)
        if (joined === "Apart") return apart()
        const value = work(sql)
        committing = kind === "write"
        if (kind !== "none") sql.run("COMMIT")
        committed = committing
        if (joined !== undefined) open.hasJoined = true
        // It is incomplete while another process reads, and then completed by one that follows a commit.
        if (joined === "First" && displaced(filename, files) === undefined) db.exec("PRAGMA wal_checkpoint(PASSIVE)")
        if (joined !== undefined) open.isNoted = areNoted(filename, files) === true
        // The files may have been removed before the commit, and it with them.
        const after = committing ? displaced(filename, files) : undefined
        if (after !== undefined) return { ...abandon(open, after), maybeCommitted: true }
        return { _tag: "Done", value }
      } catch (error) {
        // Some errors have rolled it back already.
        if (db.isTransaction) db.exec("ROLLBACK")
        throw error
      }
    } catch (error) {
      const failure = failureOfAttempt(error, committing)
      // The error came after the commit.
      return committed && failure._tag !== "Died" ? { ...failure, _tag: "Failed", maybeCommitted: true } : failure
    }
  }

  /**
   * Empties the log while the database still has room to grow by what is in it: on a full disk it could not be emptied, and
   * so not be written again from its beginning. Refuses what `grows` when less than the reserve is left.
   */
  const keepRoom = (open: Open, grows: boolean): Failed | undefined => {
    const free = freeSpace(filename)
    if (free === undefined || free.bytes >= free.reserve + fstatSync(open.log).size) return undefined
    emptyLog(open)
    if (!grows || (freeSpace(filename)?.bytes ?? 0) + unusedBytes(open.sql) >= free.reserve) return undefined
    return failed("NoSpace", `the last ${free.reserve} bytes of the disk are for acknowledgements: ${filename}`)
  }

  /**
   * Moves the log into the database, so that it is written again from its beginning, with the room that its file has. It stays
   * as it is while another connection reads or writes, or the disk has no room for that.
   */
  const emptyLog = ({ db, files }: Open): void => {
    try {
      if (displaced(filename, files) === undefined) db.exec("PRAGMA wal_checkpoint(RESTART)")
    } catch (error) {
      // What could not be moved is in the log as before, and the operation that follows says what is wrong.
      if (failureOf(error) === undefined) throw error
    }
  }

  /**
   * The failure of an operation when a file is not at its path. A database that is moved or deleted is not written to,
   * since its writes would be found nowhere; one that came into its place is another database. A log, or its index, is
   * not used any longer, once all that was committed is at the log's path: a process that is killed then loses nothing.
   */
  const abandon = ({ db, files, hasJoined, isNoted, log }: Open, { cause, detail, part }: Displaced): Failed => {
    if (db.isTransaction) db.exec("ROLLBACK")
    if (part === "database") return failed("Disconnected", detail, cause)
    try {
      // Other processes have opened the database with another log, after all of this one was moved into it: locks were
      // lost.
      const isOver = isNoted && areNoted(filename, files) === false
      // Without having joined nothing was committed.
      if (part === "wal" && hasJoined && !isOver) {
        db.exec(`PRAGMA busy_timeout = ${putBackTimeout}; BEGIN IMMEDIATE`)
        putBack(log, `${files.base}-wal`)
      }
    } catch (error) {
      if (failureOf(error) === undefined && !isOfSystem(error)) throw error
      // The connection keeps what was committed, and the next operation tries again.
      return failed("Disconnected", `${detail}; it cannot be put back yet`, error)
    } finally {
      if (db.isTransaction) db.exec("ROLLBACK")
      db.exec("PRAGMA busy_timeout = 0")
    }
    disconnect()
    return failed("Disconnected", detail, cause)
  }

  /** A log other than the others' would damage the database: it waits until they have the one at the path, or none. */
  const apart = (): Failed => {
    disconnect()
    const detail = `another process has the database open without the -wal and -shm beside it: ${filename}`
    return { ...failed("Locked", detail), _tag: "Busy" }
  }

  /** The failure of an error, once the connection is closed if it may have caused it. */
  const failureOfAttempt = (
    error: unknown,
    committing: boolean
  ): Exclude<Attempt<never>, { readonly _tag: "Done" }> => {
    const failure = failureOf(error)
    if (failure === undefined && isOfSystem(error))
      return failed("Disconnected", unreadable(error.code, filename), error)
    if (failure === undefined) return { _tag: "Died", defect: error }
    if (isBroken(failure)) reconnect()
    const _tag = isBusy(failure) ? "Busy" : "Failed"
    const maybeCommitted = committing && isMaybeCommitted(failure)
    return { _tag, ...described(failure, filename), maybeCommitted, cause: error }
  }

  /** A new connection. A database that is gone is not made anew. */
  const connected = (): Open | Failed => {
    const isGone = fileAt(filename) === undefined && connections > 0
    if (isGone) return failed("Disconnected", `the file is not there any more: ${filename}`)
    return connect()
  }

  const connect = (): Open | Failed => {
    const prior = openAlone(filename)
    if (typeof prior === "object") return failed(prior.problem, prior.detail)
    // To open a log other than the others' makes one at its path, or reads it by their index.
    if (prior === "Shared" && !mayJoin(filename)) return apart()
    const db = new DatabaseSync(filename)
    let log: number | undefined
    try {
      // Foreign files are recognised before anything is written to them.
      const found = examine(db)
      if (typeof found !== "boolean") return failed(found.problem, found.detail)
      // The last two are for macOS, where a plain `fsync` leaves the data in the disk's own memory.
      db.exec("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON")
      const mode = db.prepare("PRAGMA journal_mode = WAL").get()?.["journal_mode"]
      if (mode !== "wal") return failed("Other", `no write-ahead log can be kept beside ${filename}`)
      db.exec(`PRAGMA journal_size_limit = ${logLimit}; PRAGMA cache_size = -${cacheSize}`)
      // Otherwise a statement that changes more than 16 pages needs a file in the folder for temporary files, whose disk may be
      // full, and which may be read-only in a container.
      db.exec("PRAGMA temp_store = MEMORY")
      if (found) {
        db.exec("BEGIN IMMEDIATE")
        const refused = migrate(db)
        if (refused !== undefined) return failed(refused.problem, refused.detail)
        db.exec("COMMIT")
      }
      // The log of a database that had none, such as a copy by `VACUUM INTO`, is made by the first read.
      examine(db)
      const paths = filesAt(filename)
      log = openSync(`${paths.base}-wal`, "r")
      const files = { ...paths, wal: fileOf(log) }
      if (joining(db, files) === "Apart") return apart()
      connections++
      current = { db, sql: makeSql(db), files, log, hasJoined: false, isNoted: false }
      return current
    } finally {
      if (current === undefined) {
        if (log !== undefined) closeSync(log)
        db.close()
      }
    }
  }

  /** Closes a connection that may have caused an error, unless it alone has what was committed. */
  const reconnect = (): void => {
    if (current === undefined) return
    const lost = displaced(filename, current.files)
    if (lost === undefined || lost.part === "database") disconnect()
    else abandon(current, lost)
  }

  const disconnect = (): void => {
    if (current === undefined) return
    const { db, log } = current
    current = undefined
    closeSync(log)
    db.close()
  }

  return {
    connections: () => connections,
    attempt,
    close: () => {
      const open = current
      // A process that cannot leave counts as a killed one.
      if (open?.hasJoined === true) attempt("write", () => leave(open.db))
      isClosed = true
      disconnect()
    }
  }
}

// internals

/** What is free on the disk of a file, and what of it publishing leaves; nothing where the system does not say. */
const freeSpace = (filename: string): { readonly bytes: number; readonly reserve: number } | undefined => {
  try {
    const { bavail, blocks, bsize } = statfsSync(dirname(filename))
    return { bytes: bavail * bsize, reserve: Math.min(reserve, Math.floor((blocks * bsize) / 8)) }
  } catch (error) {
    if (isOfSystem(error)) return undefined
    throw error
  }
}

/** How many bytes of the file removed rows have left to others. */
const unusedBytes = (sql: Sql): number => {
  const [pages, size] = ["freelist_count", "page_size"].map((pragma) => sql.row<[number]>(`PRAGMA ${pragma}`)?.[0] ?? 0)
  return (pages ?? 0) * (size ?? 0)
}

/** SQLite cannot open its log in a directory that it may not write to, and reports no more than that. */
const described = (failure: Failure, filename: string): { readonly problem: StoreProblem; readonly detail: string } => {
  const problem = problemOf(failure)
  const detail = `${failure.text} (${failure.code}): ${filename}`
  if (problem !== "Disconnected") return { problem, detail }
  try {
    accessSync(dirname(filename), constants.W_OK)
    return { problem, detail }
  } catch (error) {
    // The reason why it is not accessible is the answer.
    const isThere = !(error instanceof Error && "code" in error && error.code === "ENOENT")
    return { problem: isThere ? "ReadOnly" : problem, detail }
  }
}
