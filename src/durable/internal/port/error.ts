/** The error of a store. */
import * as Data from "effect/Data"

/**
 * Why a store could not do something. `Locked`: another process held the database for longer than the store waits.
 * `NoSpace`: the disk, or what the store may use of it, is full. `ReadOnly`: the database cannot be written. `Corrupt`:
 * it is damaged, or no database. `Disconnected`: it cannot be reached, or the connection broke. `NewerSchema`: a newer
 * version of this library has migrated it. `Invalid`: an event or a name is nothing that the store can hold, such as a topic
 * with a NUL for Postgres. `Other`: what the database said.
 *
 * @category errors
 * @since 0.1.0
 */
export type StoreProblem =
  "Locked" | "NoSpace" | "ReadOnly" | "Corrupt" | "Disconnected" | "NewerSchema" | "Invalid" | "Other"

/**
 * An operation of a store failed, and has changed nothing, unless `maybeCommitted`.
 *
 * @category errors
 * @since 0.1.0
 */
export class EventStoreError extends Data.TaggedError("EventStoreError")<{
  /** The kind of store, such as `sqlite`. */
  readonly store: string
  /** The operation, such as `publish`. */
  readonly operation: string
  readonly problem: StoreProblem
  /** What happened, in words, without an event's content. */
  readonly detail: string
  /** The connection broke, or a file was removed, while the database had the statement: it may have been committed. */
  readonly maybeCommitted: boolean
  readonly cause?: unknown
}> {
  override get message(): string {
    const doubt = this.maybeCommitted ? ", and may have done it all the same" : ""
    return `the ${this.store} store could not ${this.operation} (${this.problem}: ${this.detail})${doubt}`
  }
}
