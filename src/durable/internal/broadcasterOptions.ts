/** The options of durable broadcasters and their subscriptions. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import type { CommitOptions, DeliveryOptions, EventOptions, OutcomeOptions } from "./sharedOptions.ts"

/**
 * The name of a broadcaster, the schema of its events in the store, and their topics.
 *
 * @category options
 * @since 0.1.0
 */
export interface Identity<in out A> extends EventOptions<A> {
  /** The name in the store, and in errors, logs, pictures and health. Broadcasters of one name are one broadcaster. */
  readonly name: string
  /**
   * The topic of an event, such as `order/placed`, by which subscriptions choose. Without it every subscription gets every
   * event, and none may have `topics`. What it throws is a defect of the write, which stores nothing.
   */
  readonly topic?: ((event: A) => string) | undefined
}

/**
 * Options of a durable broadcaster.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends Identity<A>, OutcomeOptions, CommitOptions {
  /**
   * For how long events are retained beyond their deliveries, for subscriptions that start with the oldest: not at all until a
   * process says so. It is that of the exchange: a process without it leaves it, and 0 ends it.
   */
  readonly retention?: Duration.Input | undefined
  /** How long the close waits for events in flight, of all subscriptions together: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * Options of a subscription.
 *
 * @category options
 * @since 0.1.0
 */
export interface SubscriptionOptions<in A> extends DeliveryOptions<A> {
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
}

/**
 * Options of a process that only writes.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriterOptions<in out A> extends Identity<A>, CommitOptions {}
