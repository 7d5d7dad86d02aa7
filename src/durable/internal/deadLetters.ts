/** The dead letters of a queue. */
import * as Effect from "effect/Effect"
import type * as Result from "effect/Result"
import type { EventStoreError, Operations, Page, Position, StoredDeadLetter, SubscriptionId } from "../EventStore.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { Codec } from "./eventCodec.ts"
import { makeStoredDeadLetters, type StoredDeadLetters } from "./storedDeadLetters.ts"

/**
 * An event that could not be delivered, or not be decoded: its stored form, and what it decodes to now.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetter<out A> extends StoredDeadLetter {
  readonly event: Result.Result<A, EnvelopeError>
}

/**
 * The dead letters of a queue. They stay until they are replayed or purged.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetters<out A> extends Omit<StoredDeadLetters, "list" | "get"> {
  /** A page of those that match, in the order in which they were dead-lettered: the first 100 by default. */
  readonly list: (page?: Partial<Page>) => Effect.Effect<ReadonlyArray<DeadLetter<A>>, EventStoreError>
  /** One of them, by its position; nothing where it is gone. */
  readonly get: (position: Position) => Effect.Effect<DeadLetter<A> | undefined, EventStoreError>
}

export const makeDeadLetters = <A>(
  subscription: Effect.Effect<SubscriptionId | undefined, EventStoreError>,
  store: Operations,
  codec: Codec<A>
): DeadLetters<A> => {
  const stored = makeStoredDeadLetters(subscription, store)
  const decoded = (deadLetter: StoredDeadLetter) =>
    Effect.map(Effect.result(codec.decode(deadLetter.payload)), (event) => ({ ...deadLetter, event }))
  return {
    ...stored,
    list: (page) => Effect.flatMap(stored.list(page), (all) => Effect.forEach(all, decoded)),
    get: (position) =>
      Effect.flatMap(stored.get(position), (found) => (found === undefined ? Effect.undefined : decoded(found)))
  }
}
