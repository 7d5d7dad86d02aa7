/** What a queue is, and what it is made of: the types that `EventQueue` and what is like it share. */
import * as Data from "effect/Data"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { OnDropped, Undelivered } from "../../Dropped.ts"
import type { Overflow } from "../overflow.ts"
import type { TraceMode } from "../processSpan.ts"
import type { AcknowledgingSink } from "../sink.ts"

/**
 * The queue is full and its policy is `"reject"`: the event was not accepted.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueFull extends Data.TaggedError("QueueFull")<{
  readonly queue: string
  readonly capacity: number
  /** What the event or the batch weighs, in a queue with `size`. */
  readonly weight?: number | undefined
}> {
  override get message(): string {
    if (this.weight !== undefined) return `the queue "${this.queue}" of ${this.capacity} has no room for ${this.weight}`
    return `the queue "${this.queue}" is full at ${this.capacity} events`
  }
}

/**
 * What became of an event that was offered from outside of Effect.
 *
 * @category models
 * @since 0.1.0
 */
export type Offered = "accepted" | "full" | "closed"

/**
 * A sink that queues.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventQueue<in out A, out E = never> extends AcknowledgingSink<A, E, "memory"> {
  /** How many events are accepted and not yet settled, those being delivered included. */
  readonly pending: Effect.Effect<number>
  /** Waits until what was accepted before this call is delivered or dropped. */
  readonly flush: Effect.Effect<void>
  /**
   * Stops accepting, delivers until `drainTimeout`, and returns what could not be delivered. Memoised: every call waits
   * for the same close and gets the same list. Interrupting a call interrupts only its waiting.
   */
  readonly shutdown: Effect.Effect<ReadonlyArray<Undelivered<A>>>
  /** See `offerUnsafe`, the function. */
  readonly offerUnsafe: (event: A) => Offered
}

/**
 * Options of every queue.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<out P extends Overflow = Overflow> {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /**
   * How many events may be accepted and not yet settled, those being delivered included; a whole number from 1,
   * unbounded by default. A batch larger than it is accepted alone, when the queue is empty. With `size` it counts what
   * they weigh.
   */
  readonly capacity?: number | undefined
  /** What happens when `capacity` is reached: `"suspend"` by default. */
  readonly overflow?: P | undefined
  /** How long the close goes on delivering: 20 seconds by default; `Duration.infinity` is go-events' behaviour. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How many writes, or writes of batches, may be under way at once; a finite whole number from 1, and 1 by default, which
   * keeps all events in order. With more, only `partitionBy` keeps an order.
   */
  readonly concurrency?: number | undefined
  /**
   * How the span of a delivery knows that of its write, where there is a tracer: by a link, the default, or as its parent. A batch
   * of several events has links in any case.
   */
  readonly trace?: TraceMode | undefined
  /** How many events a sink that takes batches gets at once: a whole number from 1, and 1,024 by default. */
  readonly batchSize?: number | undefined
  /**
   * How long an event may wait for a batch of `batchSize` to fill up, over a sink that takes batches: not at all by default.
   * It waits for nothing while the queue is full or closes, or for a `flush`. Over any other sink this does nothing.
   */
  readonly maxAge?: Duration.Input | undefined
}

/**
 * The option of a queue that keeps events of one key in order.
 *
 * @category options
 * @since 0.1.0
 */
export interface Partitioned<in A> {
  /**
   * The key of an event, compared by `Equal`. Events of one key are delivered in order and one write at a time, a batch
   * holds events of one key only, and keys are delivered side by side, as many as `concurrency` says: a key whose write
   * takes long, or is retried for long, holds up no other as long as there are fewer of them than that. It is called once
   * for each event, by its write; what it throws is a defect of that write, and the event is not accepted. A key costs
   * memory while events of it wait. With a `concurrency` of 1 all events are in order, and this does nothing.
   */
  readonly partitionBy?: ((event: A) => unknown) | undefined
}

/**
 * The option of a queue whose capacity is a weight, such as bytes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Sized<in A> {
  /**
   * What an event weighs, such as its bytes: a finite number from 0 on. `capacity` then counts weight in place of events,
   * under every overflow policy, and an event heavier than all of it is accepted alone, when the queue is empty. It is called once
   * for each event, by its write; what it throws, or another answer, is a defect of that write, and the event is not
   * accepted. Without a `capacity` it is not called. Sums of fractions are rounded, so that an event that exactly fills the
   * capacity may have no room: give whole numbers.
   */
  readonly size?: ((event: A) => number) | undefined
}

/** The options of `EventQueue.make`, whichever its overload. */
export interface AnyOptions<in A, in E> extends Options, Partitioned<A>, Sized<A> {
  readonly onDropped?: OnDropped<A, E> | undefined
}
