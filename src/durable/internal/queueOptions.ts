/** The options of durable queues. */
import type * as Duration from "effect/Duration"
import type * as Schema from "effect/Schema"
import type { Overflow } from "../../internal/overflow.ts"
import type { TraceMode } from "../../internal/processSpan.ts"
import type { Redelivery } from "../Redelivery.ts"

/**
 * The name of a queue, and the schema of its events in the store.
 *
 * @category options
 * @since 0.1.0
 */
export interface Identity<in out A> {
  /**
   * The name in the store, and in errors, logs, pictures and health. Queues of one name are one queue, and a broadcaster of that
   * name writes to it as well.
   */
  readonly name: string
  /** The events, as JSON. An event that was written under an older schema must decode under this one. */
  readonly schema: Schema.ConstraintCodec<A, unknown>
  /** The id of an event, by which duplicates are recognised, and `status` may ask: at most 500 characters. */
  readonly id?: ((event: A) => string) | undefined
  /**
   * For how long ids are kept: an event with an id that the queue was written within that time is not stored again, and its write
   * succeeds. It is the queue's, for all processes that write: one that leaves it out leaves it as it is, which is not at all at
   * first, and 0 ends it. An id counts from its commit on, and outlives its event.
   */
  readonly deduplication?: Duration.Input | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A, out P extends Overflow = Overflow> extends Identity<A> {
  /**
   * For how long `status` knows what became of events, and the last ten attempts of each: not at all at first. It is the queue's:
   * a process that leaves it out leaves it as it is, and reports no attempts; 0 ends it. Each event then costs a row more, in the
   * commit that acknowledges it.
   */
  readonly outcomes?: Duration.Input | undefined
  /**
   * How many events the store may hold of this queue; a whole number from 1, unbounded by default. A batch larger than
   * it is accepted alone, when the queue is empty.
   */
  readonly capacity?: number | undefined
  /** How many bytes of payloads the store may hold of this queue, in the same way: unbounded by default. */
  readonly capacityBytes?: number | undefined
  /**
   * What happens at one of these limits: `"suspend"` by default. `"drop-oldest"` accepts all, and the process that
   * delivers drops the excess from the front, except for events in flight, and for those whose time is to come, which count as well. It drops none while the queue waits as a whole for the
   * next attempt of its plan. A write in a transaction cannot wait for room, since
   * its locks would stop others meanwhile: under `"suspend"` it passes the limits.
   */
  readonly overflow?: P | undefined
  /** How long the close waits for events in flight: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How long the lease lasts when its process is gone without a word: 10 seconds by default, at least 100 milliseconds. After a crash nothing is
   * delivered for that long at most; `SqliteStore`, and `PostgresStore` where it listens, notice within about a second that
   * a process was killed. A process has one life for all queues and subscriptions that it serves: the shortest time holds,
   * and the process renews that life at every third of it.
   */
  readonly leaseTtl?: Duration.Input | undefined
  /**
   * When an event that could not be delivered is delivered again: `Redelivery.sinks` by default, attempts for a day. What the plan
   * gives up is among the dead letters. With all events in order the others wait meanwhile; with `partitionBy` those of its key;
   * with a greater `concurrency` alone, none. Where not all events are in order, a receiver that has failed for five of them in a
   * row counts as down: it is left alone for a growing time, five minutes at most, and then tried with one event.
   */
  readonly redelivery?: Redelivery | undefined
  /**
   * What becomes of an event that does not decode: `"dead-letter"`, the default, moves it to the dead letters.
   * `"pause"` pauses delivery in front of it in this process, until its restart, and releases the lease to another
   * process: during a rolling deployment an old owner meets new events.
   */
  readonly onUndecodable?: "dead-letter" | "pause" | undefined
  /**
   * What becomes of an event whose receiver is disabled, as an `Endpoint` that answered 410: `"pause"`, the default, keeps it
   * and disables the queue in the store, until `resume`. `"dead-letter"` moves it to the dead letters.
   */
  readonly onDisabled?: "dead-letter" | "pause" | undefined
  /**
   * How many events are stored, read and acknowledged together at most, and may be delivered again after a crash; a
   * whole number from 1, and 500 by default. With a greater `concurrency` that many are read, and may be delivered
   * again.
   */
  readonly batchSize?: number | undefined
  /**
   * How long an event may wait, from its commit on, for a batch of `batchSize` to fill up, over a sink that takes batches: not at
   * all by default. An event that failed before does not wait. Over any other sink this does nothing.
   */
  readonly maxAge?: Duration.Input | undefined
  /**
   * How many writes, or writes of batches, may be under way at once; a finite whole number from 1, and 1 by default,
   * which keeps all events in order. With more, only `partitionBy` keeps an order.
   */
  readonly concurrency?: number | undefined
  /**
   * The key of an event, compared by `Equal`. Events of one key are delivered in order and one write at a time, a batch
   * holds events of one key only, and keys are delivered side by side: a key whose write takes long, or is retried for
   * long, holds up no other, whatever its backlog, as long as there are fewer such keys than `concurrency`. What waits
   * behind it is set aside in the store. The function is called by the write, and again by the process that delivers. A
   * throw is a defect of the write, which accepts nothing; an event for which it throws only at the delivery is treated
   * as one that does not decode. With a `concurrency` of 1 all events are in order, and this does nothing.
   */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /**
   * How the span of a delivery knows that of the write, which the store keeps with the event, where there is a tracer: by a link,
   * the default, or as its parent. A batch of several events has links in any case.
   */
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
