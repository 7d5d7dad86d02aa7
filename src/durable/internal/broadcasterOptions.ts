/** The options of durable broadcasters and their subscriptions. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import type * as Schema from "effect/Schema"
import type { TraceMode } from "../../internal/processSpan.ts"
import type { Redelivery } from "../Redelivery.ts"

/**
 * The name of a broadcaster, the schema of its events in the store, and their topics.
 *
 * @category options
 * @since 0.1.0
 */
export interface Identity<in out A> {
  /** The name in the store, and in errors, logs, pictures and health. Broadcasters of one name are one broadcaster. */
  readonly name: string
  /** The events, as JSON. An event that was written under an older schema must decode under this one. */
  readonly schema: Schema.ConstraintCodec<A, unknown>
  /**
   * The topic of an event, such as `order/placed`, by which subscriptions choose. Without it every subscription gets every
   * event, and none may have `topics`. What it throws is a defect of the write, which stores nothing.
   */
  readonly topic?: ((event: A) => string) | undefined
  /** The id of an event, by which duplicates are recognised, and `status` may ask: at most 500 characters. */
  readonly id?: ((event: A) => string) | undefined
  /**
   * For how long ids are kept: an event with an id that was written within that time is not stored again, and its write succeeds.
   * It is the exchange's, for all processes that write: one that leaves it out leaves it as it is, which is not at all at first,
   * and 0 ends it. An id counts from its commit on, and outlives its event.
   */
  readonly deduplication?: Duration.Input | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends Identity<A> {
  /**
   * For how long events are retained beyond their deliveries, for subscriptions that start with the oldest: not at all until a
   * process says so. It is that of the exchange: a process without it leaves it, and 0 ends it.
   */
  readonly retention?: Duration.Input | undefined
  /**
   * For how long `status` knows what became of events, and the last ten attempts of each: not at all at first. It is the
   * exchange's, as the retention is; a process that leaves it out reports no attempts. Each delivery then costs a row more, in the
   * commit that acknowledges it.
   */
  readonly outcomes?: Duration.Input | undefined
  /** How long the close waits for events in flight, of all subscriptions together: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How many events share a commit at most; a whole number from 1, and 500 by default. */
  readonly batchSize?: number | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface SubscriptionOptions<in A> {
  /** The durable name, unique in its broadcaster: the subscription goes on where it was, in this process or another. */
  readonly name: string
  /**
   * Which events it gets, by their topics: `order/placed` is one topic, `order/*` every topic that begins with `order/`, and
   * `*` every topic, the default. A change holds for what is written after it; what is stored already stays.
   */
  readonly topics?: NonEmptyReadonlyArray<string> | undefined
  /** What a new subscription begins with: what is written from now on, the default, or the oldest that is retained. */
  readonly start?: "now" | "oldest" | undefined
  /** How long the close waits for its events in flight: that of the broadcaster by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How long its lease lasts when its process is gone without a word: 10 seconds by default, at least 100 milliseconds. A
   * process has one life for all that it serves: the shortest time holds.
   */
  readonly leaseTtl?: Duration.Input | undefined
  /** When an event that could not be delivered is delivered again, see `DurableQueue.Options`: `Redelivery.sinks` by default. */
  readonly redelivery?: Redelivery | undefined
  /** What becomes of an event that does not decode, see `DurableQueue.Options`: `"dead-letter"` by default. */
  readonly onUndecodable?: "dead-letter" | "pause" | undefined
  /**
   * What becomes of an event whose receiver is disabled, as an `Endpoint` that answered 410: `"pause"`, the default, keeps it
   * and disables the subscription in the store, until `resume`. `"dead-letter"` moves it to the dead letters.
   */
  readonly onDisabled?: "dead-letter" | "pause" | undefined
  /** How many events are taken and acknowledged together at most, and may be delivered again after a crash: 500 by default. */
  readonly batchSize?: number | undefined
  /** How long an event may wait for a batch to fill up, see `DurableQueue.Options`: not at all by default. */
  readonly maxAge?: Duration.Input | undefined
  /** How many writes may be under way at once: 1 by default, which keeps all events in order. */
  readonly concurrency?: number | undefined
  /** With `concurrency`: events of one key stay in order, and a key that hangs holds up no other, whatever its backlog. */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /** How the span of a delivery knows that of its write, see `DurableQueue.Options`: by a link, the default, or as its parent. */
  readonly trace?: TraceMode | undefined
}

/**
 * Options of a process that only writes.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriterOptions<in out A> extends Identity<A> {
  /** How long the close waits for a commit that is under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How many events share a commit at most; a whole number from 1, and 500 by default. */
  readonly batchSize?: number | undefined
}
