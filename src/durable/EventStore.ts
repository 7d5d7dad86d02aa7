/**
 * The port of the stores of durable queues: the operations that a `DurableQueue` needs, and no policy. A store is a
 * layer, so that a queue in a test, in one process and on many machines is the same code over another layer.
 *
 * An operation that succeeded is committed: it outlives the process, unless the store says otherwise. An operation that
 * failed has changed nothing, unless its error is `maybeCommitted`. A store gives no events to an owner whose lease
 * another owner has taken, and takes no acknowledgement from it.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"

/**
 * Identifies an event in its queue: keys grow in the order in which events were appended. They are no cursor: an event
 * whose transaction commits late may appear before events that were given out already.
 *
 * @category models
 * @since 0.1.0
 */
export type Key = number

/**
 * An event as a store gives it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stored {
  readonly key: Key
  readonly payload: Uint8Array
  /** How many attempts to deliver it failed before its replay; 0 for one that was never dead-lettered. */
  readonly attempts: number
  /** When it was appended, in milliseconds since 1970 of the store's clock. */
  readonly writtenAt: number
}

/**
 * Why an event was dead-lettered.
 *
 * @category models
 * @since 0.1.0
 */
export type DeadLetterReason = "Failed" | "Died" | "Undecodable"

/**
 * What is reported of an event that is dead-lettered.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLettered {
  readonly key: Key
  readonly reason: DeadLetterReason
  /** What went wrong, as text. */
  readonly cause: string
  /** All attempts, those before an earlier replay included. */
  readonly attempts: number
}

/**
 * A dead letter as a store gives it: the raw bytes, and what was reported when it was dead-lettered.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredDeadLetter extends DeadLettered {
  readonly payload: Uint8Array
  readonly writtenAt: number
  readonly deadLetteredAt: number
}

/**
 * The right to deliver a queue's events. The greatest epoch is the owner's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly queue: string
  readonly epoch: number
}

/**
 * The answer to a request for a lease: acquired, or leased by another owner for so many more milliseconds of the
 * store's clock.
 *
 * @category models
 * @since 0.1.0
 */
export type Acquired =
  { readonly _tag: "Acquired"; readonly lease: Lease } | { readonly _tag: "Held"; readonly remaining: number }

/**
 * How much a queue may hold. An append past one of the limits is not admitted, unless the queue is empty.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  readonly rows: number
  /** Of payloads. */
  readonly bytes: number
}

/**
 * How much a queue holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface Size extends Limits {
  readonly deadLetters: number
  /** The keys of the first and the last event; nothing when there is none. */
  readonly first: Key | undefined
  readonly last: Key | undefined
}

/**
 * A page of dead letters: those after a key, in the order in which they were dead-lettered; their keys are the events'
 * keys.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page {
  /** The last dead letter of the page before: this page begins after it. */
  readonly after?: Pick<StoredDeadLetter, "key" | "deadLetteredAt"> | undefined
  readonly limit: number
}

/**
 * The operations of a store. A queue is identified by its name, and exists from its first append or its first request
 * for a lease.
 *
 * @category models
 * @since 0.1.0
 */
export interface Operations {
  /**
   * Commits payloads in order at the end of a queue, whole or not at all. Answers `false`, and changes nothing, when
   * they do not fit the limits.
   */
  readonly append: (
    queue: string,
    payloads: NonEmptyReadonlyArray<Uint8Array>,
    limits: Limits | undefined
  ) => Effect.Effect<boolean, EventStoreError>
  /**
   * Whether the calling fiber is in a transaction of this store's own database: an `append` in that fiber is then part
   * of the transaction.
   */
  readonly inTransaction: Effect.Effect<boolean>
  /**
   * The first events of the queue, from its head, never by a cursor: at most `rows`, and no more than fit `bytes`, but
   * one at least. They stay in the store.
   */
  readonly next: (lease: Lease, limits: Limits) => Effect.Effect<ReadonlyArray<Stored>, EventStoreError | LeaseLost>
  /** Removes delivered events. Keys of events that are gone already are passed over. */
  readonly acknowledge: (
    lease: Lease,
    keys: NonEmptyReadonlyArray<Key>
  ) => Effect.Effect<void, EventStoreError | LeaseLost>
  /** Moves events to the dead letters, in one step. Keys of events that are gone already are passed over. */
  readonly deadLetter: (
    lease: Lease,
    events: NonEmptyReadonlyArray<DeadLettered>
  ) => Effect.Effect<void, EventStoreError | LeaseLost>
  /** The dead letters of a queue, page by page. */
  readonly list: (queue: string, page: Page) => Effect.Effect<ReadonlyArray<StoredDeadLetter>, EventStoreError>
  /**
   * Moves dead letters to the end of the queue, in the order given, with new keys and with their attempts. Answers how
   * many were moved: keys that are gone already are passed over.
   */
  readonly replay: (queue: string, keys: NonEmptyReadonlyArray<Key>) => Effect.Effect<number, EventStoreError>
  /** Deletes dead letters for good. Answers how many were deleted. */
  readonly purge: (queue: string, keys: NonEmptyReadonlyArray<Key>) => Effect.Effect<number, EventStoreError>
  readonly size: (queue: string) => Effect.Effect<Size, EventStoreError>
  /**
   * Requests a queue's lease, for `ttl` of the store's clock. It is granted, with an epoch greater than any before,
   * when no owner has it, when it was released, and when it has expired.
   */
  readonly acquire: (queue: string, ttl: Duration.Duration) => Effect.Effect<Acquired, EventStoreError>
  /** Extends a lease to `ttl` from now; an expired one too, as long as no other owner has taken it. */
  readonly renew: (lease: Lease, ttl: Duration.Duration) => Effect.Effect<void, EventStoreError | LeaseLost>
  /** Releases a lease. Nothing happens when it is lost already. */
  readonly release: (lease: Lease) => Effect.Effect<void, EventStoreError>
  /**
   * Has an element after each commit, of this process or another, that appended to the queue, replayed to it, removed
   * from it or released its lease; one for several is enough, and one too many does no harm. Listening has begun once
   * its first element is there, which comes at once. When the stream fails, its listener polls, and listens again.
   */
  readonly changes: (queue: string) => Stream.Stream<void, EventStoreError>
}

/**
 * The store of the durable queues in its context.
 *
 * @category services
 * @since 0.1.0
 */
export class EventStore extends Context.Service<EventStore, Operations>()("effect-events/durable/EventStore") {}

/**
 * The lease is lost: another owner has taken it, and nothing was done.
 *
 * @category errors
 * @since 0.1.0
 */
export class LeaseLost extends Data.TaggedError("LeaseLost")<{
  readonly queue: string
  readonly epoch: number
}> {
  override get message(): string {
    return `the lease ${this.epoch} of the queue "${this.queue}" has been taken by another owner`
  }
}

/**
 * Why a store could not do something. `Locked`: another process held the database for longer than the store waits.
 * `NoSpace`: the disk, or what the store may use of it, is full. `ReadOnly`: the database cannot be written. `Corrupt`:
 * it is damaged, or no database. `Disconnected`: it cannot be reached, or the connection broke. `NewerSchema`: a newer
 * version of this library has migrated it. `Other`: what the database said.
 *
 * @category errors
 * @since 0.1.0
 */
export type StoreProblem = "Locked" | "NoSpace" | "ReadOnly" | "Corrupt" | "Disconnected" | "NewerSchema" | "Other"

/**
 * An operation of a store failed, and has changed nothing, unless `maybeCommitted`.
 *
 * @category errors
 * @since 0.1.0
 */
export class EventStoreError extends Data.TaggedError("EventStoreError")<{
  /** The kind of store, such as `sqlite`. */
  readonly store: string
  /** The operation, such as `append`. */
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
