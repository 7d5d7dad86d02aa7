/** The options that queues, broadcasters and subscriptions have in common. */
import * as Duration from "effect/Duration"
import type * as Schema from "effect/Schema"
import { count } from "../../internal/options.ts"
import type { TraceMode } from "../../internal/processSpan.ts"
import { type Redelivery, sinks } from "../Redelivery.ts"
import { type DeliverySettings, leaseTtlOf } from "./settings.ts"

/** The events of an exchange, which is a queue or a broadcaster, and their ids. */
export interface EventOptions<in out A> {
  /** The events, as JSON. An event that was written under an older schema must decode under this one. */
  readonly schema: Schema.ConstraintCodec<A, unknown>
  /** The id of an event, by which duplicates are recognised, and `status` may ask: at most 500 characters. */
  readonly id?: ((event: A) => string) | undefined
  /**
   * For how long ids are kept: an event with an id that was written within that time is not stored again, and its write succeeds.
   * It is the exchange's, for all processes that write: one that leaves it out leaves it as it is, which is not at all at first,
   * and 0 ends it. An id counts from its commit on, and outlives its event.
   */
  readonly deduplication?: Duration.Input | undefined
}

/** Of a part that stores events. */
export interface CommitOptions {
  /** How long the close waits for a commit that is under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How many events share a commit at most; a whole number from 1, and 500 by default. */
  readonly batchSize?: number | undefined
}

/** Of a part that keeps more than what is pending. */
export interface OutcomeOptions {
  /**
   * For how long `status` knows what became of events, and the last ten attempts of each: not at all at first. It is the
   * exchange's, for all processes: one that leaves it out leaves it as it is, and reports no attempts; 0 ends it. Each delivery
   * then costs a row more, in the commit that acknowledges it.
   */
  readonly outcomes?: Duration.Input | undefined
}

/** Of the delivery of a subscription, which is also that of a queue. */
export interface DeliveryOptions<in A> {
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
   * and disables the queue or subscription in the store, until `resume`. `"dead-letter"` moves it to the dead letters.
   */
  readonly onDisabled?: "dead-letter" | "pause" | undefined
  /**
   * How many events are read and acknowledged together at most, of a queue also stored, and may be delivered again after a crash; a
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
   * behind it is set aside in the store. The function is called by the process that delivers, and by a queue's write before: a
   * throw is then a defect of the write, which accepts nothing. An event for which it throws only at the delivery is treated
   * as one that does not decode. With a `concurrency` of 1 all events are in order, and this does nothing.
   */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /**
   * How the span of a delivery knows that of the write, which the store keeps with the event, where there is a tracer: by a link,
   * the default, or as its parent. A batch of several events has links in any case.
   */
  readonly trace?: TraceMode | undefined
}

/** How many bytes are read or written together at most: what one transaction keeps in memory. */
export const batchBytes = 4 * 1024 * 1024

/** What they say, with their defaults in place. */
export const deliverySettingsOf = <A>(where: string, options: DeliveryOptions<A>): DeliverySettings<A> => {
  const concurrency = count(where, "concurrency", options.concurrency ?? 1, 1)
  if (concurrency === Number.POSITIVE_INFINITY) throw new RangeError(`${where}: concurrency must be finite`)
  return {
    leaseTtl: leaseTtlOf(where, options.leaseTtl),
    redelivery: options.redelivery ?? sinks,
    onUndecodable: options.onUndecodable ?? "dead-letter",
    onDisabled: options.onDisabled ?? "pause",
    batchSize: count(where, "batchSize", options.batchSize ?? 500, 1),
    batchBytes,
    maxAge: Duration.fromInputUnsafe(options.maxAge ?? 0),
    concurrency,
    // A single source keeps all keys in order anyway.
    partitionBy: concurrency === 1 ? undefined : options.partitionBy,
    trace: options.trace
  }
}
