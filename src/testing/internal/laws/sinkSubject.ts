/** What the laws of sinks must know of a part to judge it, and what a part is made over. */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { OnDropped, Undelivered } from "../../../Dropped.ts"
import type { BatchSink, EventSink } from "../../../internal/sink.ts"
import type { TestError } from "../testError.ts"

/**
 * What a part is made over: a sink that can fail, in the forms that a part may need. They share one record of what was
 * received.
 *
 * @category models
 * @since 0.1.0
 */
export interface Receiver<in A> extends EventSink<A, TestError> {
  /** The same for parts that take reliable sinks only: where the other fails, it dies. */
  readonly reliable: EventSink<A>
  /** The same as a sink that takes batches. */
  readonly batch: BatchSink<A, TestError>
  /** The same as a plain function, which cannot hang; where the others fail, it throws. */
  readonly record: (event: A) => void
}

/**
 * What a durable part keeps where the next process finds it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Remaining<out A> {
  /** The events that are still to be delivered, in that order. */
  readonly waiting: ReadonlyArray<A>
  readonly deadLetters: ReadonlyArray<A>
}

/**
 * How to make a part, and what it can do. Only `name` and `make` are needed; each of the others makes more laws concern the
 * part.
 *
 * @category options
 * @since 0.1.0
 */
export interface SubjectOptions<A, S extends EventSink<A, unknown>, B> {
  readonly name: string
  /**
   * Makes the part over a receiver, in a scope of its own, as often as the suite wants. A part that gives up accepted events
   * passes `onDropped` on, or logs them. A part with `targets` is made over the second receiver too.
   */
  readonly make: (
    receiver: Receiver<B>,
    onDropped: OnDropped<A | B, unknown>,
    second: Receiver<B>
  ) => Effect.Effect<S, unknown, Scope.Scope>
  /**
   * The part writes to two receivers: each event to both (a tee), or each event to one of them (a router, a fallback).
   * Every scenario is played twice, with one of the receivers misbehaving and the other well.
   */
  readonly targets?: "both" | "one" | undefined
  /** The second of its two receivers gets what the first does not commit, or not in time. */
  readonly fallsBack?: boolean | undefined
  /** A write may succeed before its event is delivered. */
  readonly queued?: boolean | undefined
  /** How many events it holds before writes wait, fail or drop. */
  readonly capacity?: number | undefined
  /** It calls the receiver's `record`, which can neither hang nor take its time. */
  readonly synchronous?: boolean | undefined
  /**
   * Which events it delivers in the order in which they were written: `"all"` by default; those with the same key, which
   * is compared by `Equal`; or `"none"`. It may have several writes under way unless it is `"all"`.
   */
  readonly order?: "all" | "none" | ((event: A) => unknown) | undefined
  /** How long its close may take: its drain timeouts added up; 20 seconds by default. */
  readonly deadline?: Duration.Input | undefined
  /** The explicit shutdown. A part with `remaining` answers only what is in flight, which must be among that. */
  readonly shutdown?: ((sink: S) => Effect.Effect<ReadonlyArray<Undelivered<A | B>>>) | undefined
  /** Reads what a durable part keeps, by another way than the part: also after its close. */
  readonly remaining?: ((sink: S) => Effect.Effect<Remaining<A | B>>) | undefined
  /** The reading end of a part that has no receiver: the suite reads it into the receiver. */
  readonly stream?: ((sink: S) => Stream.Stream<B>) | undefined
  /** A part that hands each event to many sinks. The receiver is one of them already. */
  readonly sinks?:
    | {
        readonly add: (self: S, sink: EventSink<B>) => Effect.Effect<unknown, unknown>
        readonly remove: (self: S, sink: EventSink<B>) => Effect.Effect<unknown>
      }
    | undefined
  /**
   * It collects events into batches: no event waits for others for longer than `maxAge`, a batch that fails is written again
   * in smaller ones, and a write that waits for its batch at the close may still be tried.
   */
  readonly batches?: { readonly maxAge: Duration.Input } | undefined
  /** An event that it filters out. */
  readonly filtered?: (() => A) | undefined
  /** It retries a failed write for ever, after delays with these bounds. */
  readonly delays?:
    | {
        readonly max: Duration.Input
        /** The longest delay after so many failures in a row. */
        readonly bound?: ((failures: number) => Duration.Input) | undefined
      }
    | undefined
  /** Makes the n-th event. Without it the part must take any value. */
  readonly event?: ((n: number) => A) | undefined
  /** Turns what the receiver got back into the event that was written, or its number if there is `event`. */
  readonly read?: ((received: A | B) => unknown) | undefined
}

/**
 * A part whose laws can be checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject extends SubjectOptions<unknown, EventSink<unknown, unknown>, unknown> {}

/**
 * Describes a part to the suite.
 *
 * @category constructors
 * @since 0.1.0
 */
export const subject: {
  <S extends EventSink<unknown, unknown>, B = unknown>(
    options: SubjectOptions<unknown, S, B> & { readonly event?: never }
  ): Subject
  <A, S extends EventSink<A, unknown>, B = A>(
    options: SubjectOptions<A, S, B> & { readonly event: (n: number) => A; readonly read: (event: A | B) => number }
  ): Subject
  // The overloads say that `event`, `read` and the part fit each other; the suite has their labels only.
} = (options: unknown): Subject => options as Subject
