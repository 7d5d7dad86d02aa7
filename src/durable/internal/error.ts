/** The errors of durable parts. */
import * as Data from "effect/Data"
import type { EventStoreError } from "../EventStore.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"

/**
 * The event does not fit the queue's schema, or its encoding is no JSON. Nothing was stored.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unencodable extends Data.TaggedError("Unencodable")<{
  readonly cause: EnvelopeError
}> {
  override get message(): string {
    return `an event that cannot be encoded: ${this.cause.message}`
  }
}

/**
 * An event was not accepted: it is not stored, unless the store's error is `maybeCommitted`. The reason is handled with
 * `Effect.catchReason`.
 *
 * @category errors
 * @since 0.1.0
 */
export class DurableWriteError extends Data.TaggedError("DurableWriteError")<{
  /** The name of the queue. */
  readonly queue: string
  readonly reason: Unencodable | EventStoreError
}> {
  override get message(): string {
    return `the queue "${this.queue}": ${this.reason.message}`
  }
}

/**
 * A subscription has `topics`, and its broadcaster has no `topic`: no event would match.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoTopics extends Data.TaggedError("NoTopics")<{
  readonly broadcaster: string
  readonly subscription: string
}> {
  override get message(): string {
    return `the subscription "${this.subscription}" has topics, and the broadcaster "${this.broadcaster}" has no topic: give its options a function of the event`
  }
}
