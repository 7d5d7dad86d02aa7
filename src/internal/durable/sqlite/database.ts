/**
 * The file of a SQLite store: opened when it is needed, asked for one transaction at a time, and opened again after an
 * error that the connection may be to blame for.
 *
 * Everything runs on the calling thread and nothing waits in it: SQLite is told not to wait for locks.
 */
/// <reference types="node" />
import { accessSync, constants, statSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type { DurableQueueStoreError, StoreProblem } from "../../../durable/DurableQueueStore.ts"
import { type Failure, failureOf, isBroken, isBusy, isUnsure, problemOf } from "./problems.ts"
import { examine, migrate, type Refusal } from "./schema.ts"
import { Statements } from "./statements.ts"

/** Beyond this many bytes the file of the log is cut when it begins anew. */
const logLimit = 16 * 1024 * 1024

interface Open {
  readonly db: DatabaseSync
  readonly statements: Statements
  /** Which file it is, wherever it may be moved. */
  readonly file: string
}

/** How the work stands to the transaction around it. */
type Kind = "read" | "write" | "none"

/** Why an attempt came to nothing; `Busy`: another connection is in the way. */
export interface Failed extends Pick<DurableQueueStoreError, "problem" | "detail" | "unsure" | "cause"> {
  readonly _tag: "Busy" | "Failed"
}

/** What an attempt came to; `Died`: by a mistake in the program. Unless it is done, or `unsure`, nothing of it is. */
export type Attempt<A> =
  { readonly _tag: "Done"; readonly value: A } | Failed | { readonly _tag: "Died"; readonly defect: unknown }

/** The system's own error, about the path: a directory that may not be entered, a link that leads to itself. */
const isOfSystem = (error: unknown): error is Error & { readonly code: string } =>
  error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string"

const failed = (problem: StoreProblem, detail: string) => ({ _tag: "Failed", problem, detail, unsure: false }) as const

/** Which file a path leads to; nothing when there is none. */
const fileAt = (path: string): string | undefined => {
  const found = statSync(path, { bigint: true, throwIfNoEntry: false })
  return found === undefined ? undefined : `${found.dev}:${found.ino}`
}

export class Database {
  /** How many connections there have been. */
  connections = 0
  private readonly filename: string
  private current: Open | undefined
  private isClosed = false

  constructor(filename: string) {
    this.filename = filename
  }

  /** Closes the file. What was committed is moved from the log into the database, if nobody else has it open. */
  close(): void {
    this.isClosed = true
    this.disconnect()
  }

  /** Does some work, in a transaction or without. */
  attempt<A>(kind: Kind, work: (statements: Statements) => A): Attempt<A> {
    if (this.isClosed) return failed("Disconnected", "the store is closed")
    let committing = false
    try {
      const open = this.connected()
      if ("problem" in open) return failed(open.problem, open.detail)
      const { db, statements } = open
      if (kind === "none") return { _tag: "Done", value: work(statements) }
      try {
        if (kind === "read") statements.begin()
        else statements.beginImmediate()
        const value = work(statements)
        committing = true
        statements.commit()
        return { _tag: "Done", value }
      } catch (error) {
        // Some errors have rolled it back already.
        if (db.isTransaction) db.exec("ROLLBACK")
        throw error
      }
    } catch (error) {
      return this.failure(error, committing && kind === "write")
    }
  }

  /** What an error says, once the connection is let go if it may be to blame. */
  private failure(error: unknown, committing: boolean): Attempt<never> {
    const failure = failureOf(error)
    if (failure === undefined && isOfSystem(error))
      return {
        ...failed("Disconnected", `the file cannot be looked at (${error.code}): ${this.filename}`),
        cause: error
      }
    if (failure === undefined) return { _tag: "Died", defect: error }
    if (isBroken(failure)) this.disconnect()
    const _tag = isBusy(failure) ? "Busy" : "Failed"
    return { _tag, ...this.told(failure), unsure: committing && isUnsure(failure), cause: error }
  }

  /** SQLite cannot open its log in a directory that it may not write to, and says no more than that. */
  private told(failure: Failure): { readonly problem: StoreProblem; readonly detail: string } {
    const problem = problemOf(failure)
    const detail = `${failure.text} (${failure.code}): ${this.filename}`
    if (problem !== "Disconnected") return { problem, detail }
    try {
      accessSync(dirname(this.filename), constants.W_OK)
      return { problem, detail }
    } catch (error) {
      // Why it is not accessible is what was asked.
      const isThere = !(error instanceof Error && "code" in error && error.code === "ENOENT")
      return { problem: isThere ? "ReadOnly" : problem, detail }
    }
  }

  /**
   * The connection. A file that was moved or deleted is not written to, since nobody would find there what is written; one
   * that came into its place is another database, which the log that still lies beside it would damage.
   */
  private connected(): Open | Refusal {
    const file = fileAt(this.filename)
    const isGone = file === undefined && this.connections > 0
    if (isGone) return { problem: "Disconnected", detail: `the file is not there any more: ${this.filename}` }
    if (this.current === undefined) return this.connect()
    if (this.current.file === file) return this.current
    return { problem: "Disconnected", detail: `another file has come into its place: ${this.filename}` }
  }

  private connect(): Open | Refusal {
    const db = new DatabaseSync(this.filename)
    try {
      // Foreign files are recognised before anything is written to them.
      const found = examine(db)
      if (typeof found !== "boolean") return closing(db, found)
      // The last two are for macOS, where a plain `fsync` leaves the data in the disk's own memory.
      db.exec("PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; PRAGMA checkpoint_fullfsync = ON")
      const mode = db.prepare("PRAGMA journal_mode = WAL").get()?.["journal_mode"]
      if (mode !== "wal")
        return closing(db, { problem: "Other", detail: `no write-ahead log can be kept beside ${this.filename}` })
      db.exec(`PRAGMA journal_size_limit = ${logLimit}`)
      if (found) {
        db.exec("BEGIN IMMEDIATE")
        const refused = migrate(db)
        if (refused !== undefined) return closing(db, refused)
        db.exec("COMMIT")
      }
    } catch (error) {
      db.close()
      throw error
    }
    this.connections++
    this.current = { db, statements: new Statements(db), file: fileAt(this.filename) ?? "" }
    return this.current
  }

  private disconnect(): void {
    const open = this.current
    this.current = undefined
    open?.db.close()
  }
}

const closing = (db: DatabaseSync, refusal: Refusal): Refusal => {
  db.close()
  return refusal
}
