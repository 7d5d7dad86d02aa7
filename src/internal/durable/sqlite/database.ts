/**
 * The file of a SQLite store: opened when it is needed, asked for one transaction at a time, and opened again after an
 * error that the connection may be to blame for.
 *
 * Everything runs on the calling thread and nothing waits in it: SQLite is told not to wait for locks, and who finds one
 * sleeps here.
 */
/// <reference types="node" />
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { accessSync, constants, statSync } from "node:fs"
import { dirname } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { DurableQueueStoreError, type StoreProblem } from "../../../durable/DurableQueueStore.ts"
import { type Failure, failureOf, isBroken, isBusy, isUnsure, problemOf } from "./problems.ts"
import { examine, migrate, type Refusal } from "./schema.ts"
import { Statements } from "./statements.ts"

/** The longest sleep, in milliseconds, before a locked file is tried again. */
const longestDelay = 50
/** Beyond this many bytes the file of the log is cut when it begins anew. */
const logLimit = 16 * 1024 * 1024

/** How the work stands to the transaction around it. */
type Kind = "read" | "write" | "none"

interface Open {
  readonly db: DatabaseSync
  readonly statements: Statements
  /** Which file it is, wherever it may be moved. */
  readonly file: string
}

/** What one attempt came to. */
type Attempt<A> =
  | { readonly _tag: "Done"; readonly value: A }
  | { readonly _tag: "Busy"; readonly failure: Failure }
  | {
      readonly _tag: "Failed"
      readonly problem: StoreProblem
      readonly detail: string
      readonly unsure: boolean
      readonly cause?: unknown
    }

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
  private readonly busyTimeout: number
  private current: Open | undefined
  private isClosed = false

  constructor(filename: string, busyTimeout: number) {
    this.filename = filename
    this.busyTimeout = busyTimeout
  }

  /** Runs some work in a transaction of its own. It is done whole or not at all, and repeated while the file is locked. */
  run<A>(
    operation: string,
    kind: Kind,
    work: (statements: Statements, now: number) => A
  ): Effect.Effect<A, DurableQueueStoreError> {
    return Clock.clockWith((clock) => {
      const attempt = (began: number, delay: number): Effect.Effect<A, DurableQueueStoreError> => {
        const now = clock.currentTimeMillisUnsafe()
        const outcome = this.attempt(kind, (statements) => work(statements, now))
        if (outcome._tag === "Done") return Effect.succeed(outcome.value)
        if (outcome._tag === "Failed") return Effect.fail(this.error(operation, outcome))
        const left = this.busyTimeout - (now - began)
        if (left <= 0) return Effect.fail(this.error(operation, failed("Locked", this.lockedDetail(outcome.failure))))
        return Effect.andThen(
          Effect.sleep(Math.min(delay, left)),
          Effect.suspend(() => attempt(began, Math.min(2 * delay, longestDelay)))
        )
      }
      return attempt(clock.currentTimeMillisUnsafe(), 1)
    })
  }

  /** Closes the file. What was committed is moved from the log into the database, if nobody else has it open. */
  close(): void {
    this.isClosed = true
    this.disconnect()
  }

  private attempt<A>(kind: Kind, work: (statements: Statements) => A): Attempt<A> {
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
  private failure(error: unknown, committing: boolean): Exclude<Attempt<never>, { _tag: "Done" }> {
    const failure = failureOf(error)
    if (failure === undefined && isOfSystem(error))
      return {
        ...failed("Disconnected", `the file cannot be looked at (${error.code}): ${this.filename}`),
        cause: error
      }
    // A mistake in the program, not the database's answer.
    if (failure === undefined) throw error
    if (isBroken(failure)) this.disconnect()
    if (isBusy(failure)) return { _tag: "Busy", failure }
    const { problem, detail } = this.told(failure)
    return { _tag: "Failed", problem, detail, unsure: committing && isUnsure(failure), cause: error }
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

  private error(
    operation: string,
    { cause, detail, problem, unsure }: Omit<Extract<Attempt<never>, { _tag: "Failed" }>, "_tag">
  ) {
    return new DurableQueueStoreError({ store: "sqlite", operation, problem, detail, unsure, cause })
  }

  private lockedDetail({ text }: Failure): string {
    return `${text}, for longer than ${this.busyTimeout} ms: ${this.filename}`
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
