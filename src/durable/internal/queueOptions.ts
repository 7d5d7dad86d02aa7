/** The options of durable queues. */
import type * as Duration from "effect/Duration"
import type { Overflow } from "../../internal/overflow.ts"
import type { CommitOptions, DeliveryOptions, EventOptions, OutcomeOptions } from "./sharedOptions.ts"

/**
 * The name of a queue, and the schema of its events in the store.
 *
 * @category options
 * @since 0.1.0
 */
export interface Identity<in out A> extends EventOptions<A> {
  /**
   * The name in the store, and in errors, logs, pictures and health. Queues of one name are one queue, and a broadcaster of that
   * name writes to it as well.
   */
  readonly name: string
}

/**
 * Options of a durable queue.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A, out P extends Overflow = Overflow>
  extends Identity<A>, OutcomeOptions, DeliveryOptions<A> {
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
}

/**
 * Options of a process that only writes.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriterOptions<in out A> extends Identity<A>, CommitOptions {}
