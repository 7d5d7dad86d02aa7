/**
 * The file beside the database that a process has locked for as long as it lives: the system ends the lock with the process,
 * so that its leases are free at once when it is killed. A process that is paused keeps the lock; one without a lock, or
 * whose file was removed, loses its leases when their time is over.
 */
/// <reference types="node" />
import { existsSync, realpathSync, rmSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { isOfSystem } from "./files.ts"
import { failureOf } from "./problems.ts"

export interface OwnerLocks {
  /** The name of this process's lock, which is made when it is needed; nothing where there can be none. */
  readonly own: () => string | undefined
  /** Those of some locks that no process has. */
  readonly abandoned: (locks: ReadonlyArray<string>) => ReadonlySet<string>
  /** Removes the files of locks that no process has. */
  readonly remove: (locks: ReadonlyArray<string>) => void
  /** Ends this process's lock, and removes its file: leases that it has not released are its own until their time is over. */
  readonly close: () => void
}

export const makeOwnerLocks = (filename: string): OwnerLocks => {
  const open = new Map<string, DatabaseSync>()
  let own: string | undefined
  const pathOf = (lock: string): string => `${realpathSync(filename)}-owner-${lock}`
  /** Answers whether this process could do something to a lock that may not be of another's. */
  const attempt = (lock: string, statement: string, mayMake: boolean): boolean => {
    try {
      const path = pathOf(lock)
      if (!mayMake && !existsSync(path)) return false
      const db = open.get(lock) ?? new DatabaseSync(path)
      open.set(lock, db)
      db.exec(statement)
      return true
    } catch (error) {
      // A lock that cannot be had, or asked for, is as none.
      if (failureOf(error) === undefined && !isOfSystem(error)) throw error
      return false
    }
  }
  const close = (lock: string): void => {
    open.get(lock)?.close()
    open.delete(lock)
  }
  const remove = (locks: ReadonlyArray<string>): void => {
    for (const lock of locks) {
      try {
        rmSync(pathOf(lock), { force: true })
      } catch (error) {
        // A file that stays is only a file.
        if (!isOfSystem(error)) throw error
      }
      close(lock)
    }
  }
  return {
    own: () => {
      if (own === undefined) {
        const lock = globalThis.crypto.randomUUID()
        if (attempt(lock, "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE", true)) own = lock
        else close(lock)
      }
      return own
    },
    abandoned: (locks) => {
      const others = locks.filter((lock) => lock !== own)
      for (const lock of open.keys()) if (lock !== own && !others.includes(lock)) close(lock)
      return new Set(others.filter((lock) => attempt(lock, "BEGIN IMMEDIATE; ROLLBACK", false)))
    },
    remove,
    close: () => {
      if (own !== undefined) remove([own])
      for (const lock of open.keys()) close(lock)
      own = undefined
    }
  }
}
