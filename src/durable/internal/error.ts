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
 * What waits for a subscription is not delivered: it is paused, or disabled for its receiver, in the store, which says why in
 * `detail`; or no process has served it for 5 seconds. Nothing is lost: the events stay in the store.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotDelivering extends Data.TaggedError("NotDelivering")<{
  /** The name of the broadcaster, or of the queue. */
  readonly exchange: string
  /** The name of the subscription: that of the queue for a queue. */
  readonly subscription: string
  readonly reason: "Paused" | "Disabled" | "Unserved"
  readonly detail: string | undefined
}> {
  override get message(): string {
    const of = this.subscription === this.exchange ? "" : `, subscription "${this.subscription}"`
    const what = {
      Paused: "delivery is paused",
      Disabled: "the receiver is disabled",
      Unserved: "no process delivers"
    }[this.reason]
    return `"${this.exchange}"${of}: ${what}${this.detail === undefined ? "" : ` (${this.detail})`}`
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

/**
 * A store has no subscription of that name.
 *
 * @category errors
 * @since 0.1.0
 */
export class UnknownSubscription extends Data.TaggedError("UnknownSubscription")<{
  readonly exchange: string
  readonly tenant: string
  readonly subscription: string
}> {
  override get message(): string {
    const of = this.tenant === "" ? "" : ` of the tenant "${this.tenant}"`
    return `the store has no subscription "${this.subscription}"${of} of "${this.exchange}"`
  }
}
