/**
 * A queue in front of a sink: go-events' `Queue`. A write succeeds when the event is queued; a fiber of the queue's own
 * delivers the events in order, one at a time or in batches where the sink takes them. It never reorders, never drops
 * without a report, and writes an event again only where a batch that it was in failed, which commits nothing: a batch
 * sink under a timeout may see duplicates. What is queued is in memory: it is lost with the process.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Dropped } from "./Dropped.ts"
import * as EventSink from "./EventSink.ts"
import { makeQueue } from "./internal/queue/makeQueue.ts"
import type {
  AnyOptions,
  EventQueue,
  Offered,
  Options,
  Partitioned,
  QueueFull,
  Sized
} from "./internal/queue/queueModel.ts"
import type { Overflow } from "./internal/overflow.ts"
import { fromSource, isSource, type Source } from "./internal/sink.ts"

export type { Overflow } from "./internal/overflow.ts"
export type { TraceMode } from "./internal/processSpan.ts"
export {
  type EventQueue,
  type Offered,
  type Options,
  type Partitioned,
  QueueFull,
  type Sized
} from "./internal/queue/queueModel.ts"

/**
 * The overflow policies that lose nothing: the others need `onDropped`.
 *
 * @category options
 * @since 0.1.0
 */
export type Lossless = "suspend" | "reject"

/**
 * What a write to a queue with the overflow policy `P` can fail with, besides `SinkClosed`: `QueueFull` if the policy may
 * be `"reject"`.
 *
 * @category types
 * @since 0.1.0
 */
export type QueueError<P> = "reject" extends P ? QueueFull : never

/**
 * Options of a queue over a sink that can fail, or under a policy that can lose events.
 *
 * @category options
 * @since 0.1.0
 */
export type LossyOptions<A, E, P extends Overflow = Overflow> = Options<P> &
  Partitioned<A> &
  Sized<A> & {
    /** Takes what could not be delivered, in place of a line in the log. */
    readonly onDropped: (dropped: Dropped<A, E>) => Effect.Effect<void>
  }

/**
 * Options of a queue over a sink that never fails.
 *
 * @category options
 * @since 0.1.0
 */
export type SafeOptions<A, P extends Lossless = Lossless> = Options<P> &
  Partitioned<A> &
  Sized<A> & { readonly onDropped?: never }

/** What the compiler names where options that can lose events come without a taker for them. */
interface LosslessOptions extends Options<Lossless> {
  readonly partitionBy?: ((event: never) => unknown) | undefined
  readonly size?: ((event: never) => number) | undefined
  readonly onDropped?: never
}

/** A sink of which `onDropped` takes what it fails on. */
type Lossy<A, E> = EventSink.EventSink<A, E> & EventSink.BelowMemory

/** A queue being made. */
type Made<A, P, X, R> = Effect.Effect<EventQueue<A, QueueError<P>>, X, R | Scope.Scope>

/**
 * Puts a queue in front of a sink.
 *
 * **Details**
 *
 * The sink must be reliable, or `onDropped` takes what it fails on: put a `RetryingSink` between. A defect of the sink,
 * or an interruption of its own making, costs the event, never the queue. A queue whose sink answers `SinkClosed` closes
 * itself and reports its backlog. When the scope closes, the queue shuts down, and what no `shutdown` returned goes to
 * `onDropped`, which has 5 seconds for it, or without one to the log as a count.
 *
 * A write from inside the queue's own delivery, or that of a queue behind it, is admitted over capacity: it cannot wait
 * for itself.
 *
 * A batch is taken whole or not at all.
 *
 * **Gotchas**
 *
 * In front of a durable queue, also with a retrier between or with `onDropped`, it would acknowledge events that are not
 * stored: that does not compile, and dies at construction where only the graph can tell. Write to the durable queue itself.
 *
 * Bounded queues that write to each other through functions of one's own can wait for each other for ever: leave one of them
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
 *   const queue = yield* slow.pipe(EventQueue.make({ capacity: 100 }))
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
    options: LossyOptions<NoInfer<A>, NoInfer<E>, P>
  ): <X = never, R = never>(sink: Source<Lossy<A, E>, X, R>) => Made<A, P, X, R>
  <A, E, P extends Overflow = "suspend">(
    options: LossyOptions<A, E, P>
  ): <X = never, R = never>(sink: Source<Lossy<A, E>, X, R>) => Made<A, P, X, R>
  <P extends Lossless = "suspend">(
    options?: Options<P> & { readonly onDropped?: never; readonly partitionBy?: never; readonly size?: never }
  ): <A, E, X = never, R = never>(sink: Source<EventSink.Reliable<A, E>, X, R>) => Made<A, P, X, R>
  <A, E, P extends Lossless = "suspend">(
    options: SafeOptions<NoInfer<A>, P>
  ): <X = never, R = never>(
    sink: Source<EventSink.EventSink<A, E> & EventSink.Reliable<A, E>, X, R>
  ) => Made<A, P, X, R>
  <A, P extends Lossless = "suspend">(
    options: SafeOptions<A, P>
  ): <E, X = never, R = never>(sink: Source<EventSink.Reliable<A, E>, X, R>) => Made<A, P, X, R>
  <A, E, X = never, R = never, P extends Overflow = "suspend">(
    sink: Source<Lossy<A, E>, X, R>,
    options: LossyOptions<NoInfer<A>, NoInfer<E>, P>
  ): Made<A, P, X, R>
  // Of the last overload errors are reported: it names options that can lose events beside sinks that can fail.
  <A, E, X = never, R = never, P extends Lossless = "suspend">(
    sink: Source<EventSink.Reliable<A, E>, X, R> | LosslessOptions,
    options?: SafeOptions<NoInfer<A>, P>
  ): Made<A, P, X, R>
} = dual(
  (args) => isSource(args[0]),
  (source: Source<EventSink.EventSink<unknown, unknown>, unknown, unknown>, options?: AnyOptions<unknown, unknown>) =>
    queueOf(source, options)
)

/**
 * The layer of a queue: a place in the graph, see `EventSink.layer`. The service of the tag is an `EventQueue`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <I, A, E, X, R, P extends Overflow = "suspend">(
    tag: Context.Key<I, EventQueue<A, QueueError<NoInfer<P>>>>,
    sink: Source<Lossy<A, E>, X, R>,
    options: LossyOptions<NoInfer<A>, NoInfer<E>, P>
  ): Layer.Layer<I, X, Exclude<R, Scope.Scope>>
  <I, A, E, X, R, P extends Lossless = "suspend">(
    tag: Context.Key<I, EventQueue<A, QueueError<NoInfer<P>>>>,
    sink: Source<EventSink.Reliable<A, E>, X, R>,
    options?: SafeOptions<NoInfer<A>, P>
  ): Layer.Layer<I, X, Exclude<R, Scope.Scope>>
} = <I, A, E, X, R, F>(
  tag: Context.Key<I, EventQueue<A, F>>,
  source: Source<EventSink.EventSink<A, E>, X, R>,
  options?: AnyOptions<A, E>
) => EventSink.layer(tag, queueOf(source, options))

/**
 * Offers an event from outside of Effect, as from the callback of an event emitter: `"accepted"` where a write would have
 * succeeded at once, `"full"` where it would have waited or failed with `QueueFull`, `"closed"` after the close.
 *
 * **Details**
 *
 * Under a policy that drops, the event is accepted, and what is dropped is reported beside the call. What `partitionBy`
 * or `size` throws, this throws, and the event is not accepted.
 *
 * **Example** (Events of a callback)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const queue = yield* EventSink.make((n: number) => Console.log("delivered", n)).pipe(EventQueue.make({ capacity: 1 }))
 *   console.log(EventQueue.offerUnsafe(queue, 1), EventQueue.offerUnsafe(queue, 2))
 *   yield* queue.flush
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: accepted full
 * // prints: delivered 1
 * ```
 *
 * @category writing
 * @since 0.1.0
 */
export const offerUnsafe = <A>(self: EventQueue<A, unknown>, event: A): Offered => self.offerUnsafe(event)

// internals

const queueOf = <A, E, X, R>(
  source: Source<EventSink.EventSink<A, E>, X, R>,
  options: AnyOptions<A, E> = {}
): Effect.Effect<EventQueue<A, never>, X, R | Scope.Scope> =>
  Effect.flatMap(
    fromSource(source),
    // It fails with `QueueFull` only under "reject", and then the overload says so.
    (sink) => makeQueue(sink, options) as Effect.Effect<EventQueue<A, never>, never, Scope.Scope>
  )
