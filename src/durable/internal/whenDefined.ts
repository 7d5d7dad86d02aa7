import * as Effect from "effect/Effect"
import type { EventStoreError, Operations } from "../EventStore.ts"

export interface Options {
  readonly store: Operations
  /** Whether the definition is known to be committed. */
  readonly isDefined: () => boolean
  /** Commits the definition. */
  readonly define: Effect.Effect<unknown, EventStoreError>
  /** Defines as a part of the transaction that it is run in. */
  readonly join: Effect.Effect<unknown, EventStoreError>
}

/**
 * What must be so before an event is published: that its exchange keeps what it is to keep, and that its subscription is defined.
 * A write in a transaction defines it there, on the transaction's own connection: for another one it would wait while it holds one
 * itself, and a pool in which all do has none left. Such a definition goes with a transaction that rolls back, so the next write in
 * one repeats it.
 */
export const whenDefined = ({ define, isDefined, join, store }: Options): Effect.Effect<unknown, EventStoreError> =>
  Effect.suspend(() =>
    isDefined() ? Effect.void : Effect.flatMapEager(store.inTransaction, (inside) => (inside ? join : define))
  )
