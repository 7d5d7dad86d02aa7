/**
 * What a sink could not deliver, and why: every accepted event that is not delivered ends in one of these, or in the
 * log. Nothing in this library discards an event without one.
 *
 * @since 0.1.0
 */
import type * as Cause from "effect/Cause"
import type * as Effect from "effect/Effect"

/**
 * An accepted event that was dropped, as `onDropped` gets it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Dropped<out A, out E = never> {
  readonly event: A
  readonly reason: DropReason<E>
}

/**
 * Why an accepted event was dropped.
 *
 * @category models
 * @since 0.1.0
 */
export type DropReason<E = never> = Failed<E> | Died | Overflow | Lagged | NotDelivered

/**
 * The downstream write failed with a typed error, and nothing was there to try again.
 *
 * @category models
 * @since 0.1.0
 */
export interface Failed<out E> {
  readonly _tag: "Failed"
  readonly error: E
}

/**
 * The downstream write ended in a defect, or in an interruption of its own making.
 *
 * @category models
 * @since 0.1.0
 */
export interface Died {
  readonly _tag: "Died"
  readonly cause: Cause.Cause<never>
}

/**
 * The queue was full, and its overflow policy chose this event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Overflow {
  readonly _tag: "Overflow"
}

/**
 * The sink fell further behind than its `maxLag` and was evicted with this event still waiting.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lagged {
  readonly _tag: "Lagged"
  /** It was with the sink when it was evicted: the sink may have it. */
  readonly inFlight: boolean
}

/**
 * The close came first. With `inFlight` the event was with the downstream when its write was interrupted: the receiver
 * may have it.
 *
 * @category models
 * @since 0.1.0
 */
export interface NotDelivered {
  readonly _tag: "Undelivered"
  readonly inFlight: boolean
}

/**
 * An event that a close could not deliver, as `shutdown` and `remove` return it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Undelivered<out A> {
  readonly event: A
  /** The event was with the downstream when its write was interrupted: the receiver may have it. */
  readonly inFlight: boolean
}

/**
 * Takes the reports of dropped events. The report of a failed delivery is part of that delivery: the events behind it
 * wait for it. At a close all reports together have 5 seconds. Only a report that it fails to take (a defect, an
 * interruption, the time is up) is logged, at level error.
 *
 * @category models
 * @since 0.1.0
 */
export type OnDropped<A, E = never> = (dropped: Dropped<A, E>) => Effect.Effect<void>
