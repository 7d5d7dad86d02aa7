/**
 * A queue in front of a sink: go-events' `Queue`. A write succeeds when the event is queued; a fiber of the queue's own
 * delivers the events in order, one at a time or in groups where the sink takes them. It never reorders, never drops
 * without a report, and writes an event again only where a group that it was in failed, which commits nothing: a group
 * sink under a timeout may see repeats. What is queued is in memory: it is lost with the process.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { Dropped, Undelivered } from "./Dropped.ts"
import type { EventSink, Reliable } from "./EventSink.ts"
import { withoutConstruction } from "./internal/captured.ts"
import { type AnyOptions, EventQueueImpl, type Overflow, type QueueFull } from "./internal/queue.ts"

export { type Overflow, QueueFull } from "./internal/queue.ts"

/**
 * A sink that queues.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventQueue<in out A, out E = never> extends EventSink<A, E> {
  /** How many events are accepted and not yet settled, those being delivered included. */
  readonly pending: Effect.Effect<number>
  /** Waits until what was accepted before this call is delivered or given up. */
  readonly flush: Effect.Effect<void>
  /**
   * Stops accepting, delivers until `drainTimeout`, and returns what could not be delivered. Memoised: every call waits
   * for the same close and gets the same list. Interrupting a call interrupts only its waiting.
   */
  readonly shutdown: Effect.Effect<ReadonlyArray<Undelivered<A>>>
}

/**
 * The overflow policies that lose nothing: the others need `onDropped`.
 *
 * @category options
 * @since 0.1.0
 */
export type Lossless = "suspend" | "reject"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<out P extends Overflow = Overflow> {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /**
   * How many events may be accepted and not yet settled, those being delivered included; a whole number from 1,
   * unbounded by default. A group larger than it enters alone, when the queue is empty.
   */
  readonly capacity?: number | undefined
  /** What happens when `capacity` is reached: `"suspend"` by default. */
  readonly overflow?: P | undefined
  /** How long the close goes on delivering: 20 seconds by default; `Duration.infinity` is go-events' behaviour. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How many writes, or writes of groups, may be under way at once; a finite whole number from 1, and 1 by default, which
   * keeps all events in order. With more, only `partitionBy` keeps an order.
   */
  readonly concurrency?: number | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Partitioned<in A> {
  /**
   * The key of an event, compared by `Equal`. Events of one key are delivered in order and one write at a time, a group
   * holds events of one key only, and keys are delivered side by side, as many as `concurrency` says: a key whose write
   * takes long, or is retried for long, holds up no other as long as there are fewer of them than that. It is called once
   * for each event, by its write; what it throws is a defect of that write, and the event is not accepted. A key costs
   * memory while events of it wait. With a `concurrency` of 1 all events are in order, and this does nothing.
   */
  readonly partitionBy?: ((event: A) => unknown) | undefined
}

/**
 * What a write to a queue with the overflow policy `P` can fail with, besides `SinkClosed`: `QueueFull` if the policy may
 * be `"reject"`.
 *
 * @category types
 * @since 0.1.0
 */
export type QueueError<P> = "reject" extends P ? QueueFull : never

/**
 * Puts a queue in front of a sink.
 *
 * **Details**
 *
 * The sink must be reliable, or `onDropped` takes what it fails on: put a `RetryingSink` between. A defect of the sink,
 * or an interruption of its own making, costs the event, never the queue. A queue whose sink answers `SinkClosed` closes
 * itself and reports its backlog. When the scope closes, the queue shuts down, and what no `shutdown` returned goes to
 * `onDropped`, which has 5 seconds for it, and to the log as a count.
 *
 * A write from inside the queue's own delivery, or that of a queue behind it, is admitted over capacity: it cannot wait
 * for itself.
 *
 * **Gotchas**
 *
 * In front of a durable queue, also with a retrier between or with `onDropped`, it acknowledges events that are not stored,
 * and a crash loses them. Write to the durable queue itself.
 *
 * Bounded queues that feed each other through functions of one's own can wait for each other for ever: leave one of them
 * unbounded.
 *
 * Calling `flush` or `shutdown` from inside the queue's own delivery waits for that delivery, which waits for the call.
 *
 * **Example** (A queue over a slow sink)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 *
 * const slow = EventSink.make((n: number) => Effect.delay(Console.log("delivered", n), "10 millis"))
 *
 * const program = Effect.gen(function* () {
 *   const queue = yield* slow.pipe(Effect.flatMap(EventQueue.make({ capacity: 100 })))
 *   yield* queue.write(1)
 *   yield* queue.write(2)
 *   yield* Console.log("queued")
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: queued
 * // prints: delivered 1
 * // prints: delivered 2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  // Inside a pipe the callbacks are inferred from the sink; outside of one, the sink from annotated callbacks.
  <A, E, P extends Overflow = "suspend">(
    options: Options<P> &
      Partitioned<NoInfer<A>> & {
        readonly onDropped: (dropped: Dropped<NoInfer<A>, NoInfer<E>>) => Effect.Effect<void>
      }
  ): (dst: EventSink<A, E>) => Effect.Effect<EventQueue<A, QueueError<P>>, never, Scope.Scope>
  <A, E, P extends Overflow = "suspend">(
    options: Options<P> & Partitioned<A> & { readonly onDropped: (dropped: Dropped<A, E>) => Effect.Effect<void> }
  ): (dst: EventSink<A, E>) => Effect.Effect<EventQueue<A, QueueError<P>>, never, Scope.Scope>
  <P extends Lossless = "suspend">(
    options?: Options<P> & { readonly onDropped?: never; readonly partitionBy?: never }
  ): <A, E>(dst: Reliable<A, E>) => Effect.Effect<EventQueue<A, QueueError<P>>, never, Scope.Scope>
  <A, E, P extends Lossless = "suspend">(
    options: Options<P> & Partitioned<NoInfer<A>> & { readonly onDropped?: never }
  ): (dst: EventSink<A, E> & Reliable<A, E>) => Effect.Effect<EventQueue<A, QueueError<P>>, never, Scope.Scope>
  <A, P extends Lossless = "suspend">(
    options: Options<P> & Partitioned<A> & { readonly onDropped?: never }
  ): <E>(dst: Reliable<A, E>) => Effect.Effect<EventQueue<A, QueueError<P>>, never, Scope.Scope>
} =
  <A, E>(options: AnyOptions<A, E> = {}) =>
  (dst: EventSink<A, E>): Effect.Effect<EventQueue<A, never>, never, Scope.Scope> =>
    Effect.uninterruptible(
      Effect.contextWith((context: Context.Context<never>) => {
        const self = new EventQueueImpl<A, E>(dst, options, withoutConstruction(context))
        return Effect.as(
          Effect.addFinalizer(() => self.close),
          // It fails with `QueueFull` only under "reject", and then the overload says so.
          self as EventQueue<A, QueueFull> as EventQueue<A, never>
        )
      })
    )
