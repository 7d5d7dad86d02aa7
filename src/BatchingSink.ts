/**
 * Collects events into batches, by count, size, age and key, for a sink that commits batches as one act. A write succeeds when
 * its batch is committed, or, where that is asked for, when the event is accepted. No event waits for others past its age, and
 * what fails is found in smaller batches, so that one bad event costs itself only. It never splits the events of one write over
 * batches, never reorders those of a key, and never drops an event without a report.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { OnDropped } from "./Dropped.ts"
import * as EventSink from "./EventSink.ts"
import { refuseQueueBelow } from "./internal/acknowledgement.ts"
import type { Limits } from "./internal/batching/limits.ts"
import { makeCommitting } from "./internal/batching/makeCommitting.ts"
import type { TraceMode } from "./internal/processSpan.ts"
import { makeQueue } from "./internal/queue/makeQueue.ts"
import type { EventQueue } from "./internal/queue/queueModel.ts"
import { fromSource, makeSink, SinkClosed, type Source, type Wrapped } from "./internal/sink.ts"

export type { Limits } from "./internal/batching/limits.ts"

/**
 * What all batching sinks have.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in A> extends Limits<A> {
  /** Its name in errors, logs, pictures, health and metrics. */
  readonly name?: string | undefined
  /**
   * How long an event may wait for others to share its batch. Its batch begins then, however small it is; where as many are
   * under way as `concurrency` says, it begins when one of them ends, with what has come by then.
   */
  readonly maxAge: Duration.Input
  /**
   * The key of an event, compared by `Equal`: a batch holds events of one key only, and of a key one batch at a time is under
   * way. It is called by the event's write; what it throws is a defect of that write. A key costs memory while events of it
   * wait.
   */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /**
   * How many batches may be under way at once; a finite whole number from 1, and 1 by default, which keeps all events in
   * order. With more, events keep their age over a slow sink too, and only `partitionBy` keeps an order.
   */
  readonly concurrency?: number | undefined
  /** How long the close goes on writing what waits: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How the span of a batch knows those of its writes, where there is a tracer: by links, or as its parent where it is one. */
  readonly trace?: TraceMode | undefined
}

/**
 * How the events that a batch fails for are found.
 *
 * @category options
 * @since 0.1.0
 */
export interface Isolation<in E> {
  /**
   * Whether a batch that fails is written again in halves, down to the events that it fails for: by default after every
   * failure but `SinkClosed`. For others the failure is that of every event of the batch, and so is what the function throws. A batch of `n` events takes at
   * most about `2n` writes then, and about `n` where the receiver is down: leave such errors to a `RetryingSink` below, or out.
   */
  readonly isolate?: boolean | ((error: E) => boolean) | undefined
}

/**
 * Options of a batching sink whose writes succeed at the commit of their batch.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommittedOptions<in A, in E> extends Options<A>, Isolation<E> {
  readonly acknowledge?: "committed" | undefined
  readonly capacity?: never
  readonly onDropped?: never
}

/**
 * Options of a batching sink whose writes succeed when the event is accepted, in memory.
 *
 * @category options
 * @since 0.1.0
 */
export interface AcceptedOptions<in A, in E> extends Options<A>, Isolation<E> {
  readonly acknowledge: "accepted"
  /** How many events may be accepted and not yet settled before writes wait for room: unbounded by default. */
  readonly capacity?: number | undefined
}

/** The same over a sink that can fail. */
type LossyOptions<A, E> = AcceptedOptions<A, E> & {
  /** Takes what could not be delivered, in place of a line in the log. */
  readonly onDropped: OnDropped<A, E>
}
type SafeOptions<A> = AcceptedOptions<A, unknown> & { readonly onDropped?: never }
/** Options that say nothing of the type of events. */
type Plain<O> = Omit<O, "size" | "maxBytes" | "partitionBy" | "isolate"> & {
  readonly size?: never
  readonly maxBytes?: never
  readonly partitionBy?: never
  readonly isolate?: boolean | undefined
}

/**
 * What a batching sink takes: a sink that takes batches, and does not succeed when it has them in memory. For others it is a
 * type that no sink has and that says what to do.
 *
 * @category types
 * @since 0.1.0
 */
export type Batched<A, E, W> = EventSink.EventSink<A, E> & { readonly writeSome: W } & Below<W>

type Below<W> = undefined extends W
  ? {
      readonly "this sink takes one event at a time": "there is nothing to batch for"
      readonly fix: "make it with EventSink.makeBatch, or leave BatchingSink.make out"
    }
  : W extends (...args: never) => unknown
    ? {
        readonly writeSome: ((...args: never) => unknown) &
          EventSink.Acknowledges<
            | "store"
            | "fix: this sink succeeds when the events are in memory, and delivers them in batches of its own. Give EventQueue.make the options batchSize and maxAge, put BatchingSink.make below it, or mark it by EventSink.acknowledgeFromMemory"
          >
      }
    : unknown

/** What the sink must be for a write to succeed before its batch is committed. */
type ReliableWhere<A, E, K> = "accepted" extends K ? EventSink.Reliable<A, E> : unknown

/** Options that report nothing. */
interface LastOptions<in A, in E, out K> extends Options<A>, Isolation<E> {
  readonly acknowledge?: K | undefined
  readonly capacity?: K extends "accepted" ? number | undefined : never
  readonly onDropped?: never
}

type Made<S, X, R> = Effect.Effect<S, X, R | Scope.Scope>

/**
 * Puts a batching sink in front of a sink that takes batches.
 *
 * **Details**
 *
 * A batch begins when it has `batchSize` events or `maxBytes`, when its oldest event is `maxAge` old, or at the close. While as
 * many batches are under way as `concurrency` says, the next one grows, and begins as soon as one of them ends. Where the sink
 * commits a leading part of a batch, the rest is written next.
 *
 * By default a write succeeds at the commit of its batch, and fails with the error of its own event: a batch that fails is
 * written again in halves, see `isolate`. The events of one `writeSome` share a batch, and none of them is written any more
 * after one has failed. A write that is interrupted before its batch begins takes its event out; afterwards it leaves the
 * batch as it is. The close writes what waits until `drainTimeout`; writes that have no verdict by then fail with `SinkClosed`.
 *
 * With `acknowledge: "accepted"` a write succeeds when the event is accepted, in memory, and the answer is an `EventQueue`.
 * `onDropped` is required unless the sink never fails. While writes wait for room, no event waits for others.
 *
 * The batches are written in the context of the construction: they belong to no writer. A tracer that is there gets a span
 * `process <name>` for each, with links to its writes.
 *
 * **Gotchas**
 *
 * A writer that waits for each of its writes, such as a queue of `concurrency` 1 above, waits `maxAge` with each. There,
 * `EventQueue` has `batchSize` and `maxAge` of its own.
 *
 * A write from inside the write of a batch is not batched: it would wait for itself.
 *
 * **Example** (Rows that are inserted together)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { BatchingSink, EventSink } from "effect-events"
 *
 * const insert = (rows: ReadonlyArray<string>) => Console.log("inserted", rows.join(" "))
 *
 * const program = Effect.gen(function* () {
 *   const rows = yield* EventSink.makeBatch(insert).pipe(BatchingSink.make({ batchSize: 2, maxAge: "1 second" }))
 *   yield* Effect.forEach(["a", "b", "c"], (row) => rows.write(row), { concurrency: "unbounded" })
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: inserted a b
 * // prints: inserted c
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <A, E, W>(
    options: LossyOptions<NoInfer<A>, NoInfer<E>>
  ): <X = never, R = never>(sink: Source<Batched<A, E, W> & EventSink.BelowMemory, X, R>) => Made<EventQueue<A>, X, R>
  <A, E>(
    options: LossyOptions<A, E>
  ): <W, X = never, R = never>(
    sink: Source<Batched<A, E, W> & EventSink.BelowMemory, X, R>
  ) => Made<EventQueue<A>, X, R>
  (
    options: Plain<SafeOptions<never>>
  ): <A, E, W, X = never, R = never>(
    sink: Source<EventSink.Reliable<A, E> & Batched<A, E, W>, X, R>
  ) => Made<EventQueue<A>, X, R>
  <A, E, W>(
    options: SafeOptions<NoInfer<A>>
  ): <X = never, R = never>(
    sink: Source<EventSink.Reliable<A, E> & Batched<A, E, W>, X, R>
  ) => Made<EventQueue<A>, X, R>
  (
    options: Plain<CommittedOptions<never, never>>
  ): <A, E, W, X = never, R = never>(sink: Source<Batched<A, E, W>, X, R>) => Made<Wrapped<A, E, W>, X, R>
  <A, E, W>(
    options: CommittedOptions<NoInfer<A>, NoInfer<E>>
  ): <X = never, R = never>(sink: Source<Batched<A, E, W>, X, R>) => Made<Wrapped<A, E, W>, X, R>
  <A>(
    options: CommittedOptions<A, never>
  ): <E, W, X = never, R = never>(sink: Source<Batched<A, E, W>, X, R>) => Made<Wrapped<A, E, W>, X, R>
  <A, E, W, X = never, R = never>(
    sink: Source<Batched<A, E, W> & EventSink.BelowMemory, X, R>,
    options: LossyOptions<NoInfer<A>, NoInfer<E>>
  ): Made<EventQueue<A>, X, R>
  // Of the last overload errors are reported: it names what the sink must be for either acknowledgement.
  <A, E, W, K extends "committed" | "accepted" = "committed", X = never, R = never>(
    sink: Source<Batched<A, E, W> & ReliableWhere<A, E, K>, X, R>,
    options: LastOptions<NoInfer<A>, NoInfer<E>, K>
  ): Made<K extends "accepted" ? EventQueue<A> : Wrapped<A, E, W>, X, R>
} = dual(2, <X, R>(source: Source<AnyBatchSink, X, R>, options: AnyOptions) => batchingOf(source, options))

/**
 * The layer of a batching sink: a place in the graph, see `EventSink.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <I, A, E, W, X, R>(
    tag: Context.Key<I, EventQueue<A>>,
    sink: Source<Batched<A, E, W> & EventSink.BelowMemory, X, R>,
    options: LossyOptions<NoInfer<A>, NoInfer<E>>
  ): Layer.Layer<I, X, Exclude<R, Scope.Scope>>
  <I, A, E, W, X, R>(
    tag: Context.Key<I, EventQueue<A>>,
    sink: Source<EventSink.Reliable<A, E> & Batched<A, E, W>, X, R>,
    options: SafeOptions<NoInfer<A>>
  ): Layer.Layer<I, X, Exclude<R, Scope.Scope>>
  <I, A, E, W, X, R>(
    tag: Context.Key<I, EventSink.EventSink<A, E>>,
    sink: Source<Batched<A, E, W>, X, R>,
    options: CommittedOptions<NoInfer<A>, NoInfer<E>>
  ): Layer.Layer<I, X, Exclude<R, Scope.Scope>>
} = <I, S extends EventSink.EventSink<never, unknown>, X, R>(
  tag: Context.Key<I, S>,
  source: Source<AnyBatchSink, X, R>,
  options: AnyOptions
) =>
  // The overloads say which sink it is.
  EventSink.layer(tag, batchingOf(source, options) as Effect.Effect<S, X, R | Scope.Scope>)

// internals

type AnyBatchSink = EventSink.BatchSink<unknown, unknown>
type AnyOptions =
  | CommittedOptions<unknown, unknown>
  | (AcceptedOptions<unknown, unknown> & { readonly onDropped?: OnDropped<unknown, unknown> | undefined })

// The overloads say which of the two sinks it is, and with which types.
const batchingOf = <X, R>(source: Source<AnyBatchSink, X, R>, options: AnyOptions): Effect.Effect<never, X, R> =>
  Effect.flatMap(fromSource(source), (sink) => batching(sink, options)) as Effect.Effect<never, X, R>

const batching = (
  sink: AnyBatchSink,
  { isolate = true, ...options }: AnyOptions
): Effect.Effect<AnyBatchSink, never, Scope.Scope> => {
  // The types refuse it where they can tell.
  if (sink.writeSome === undefined) throw new TypeError("BatchingSink.make: the sink takes one event at a time")
  const isIsolated = isolatedBy(isolate)
  if (options.acknowledge !== "accepted") return makeCommitting(sink, { ...options, isIsolated })
  // Without its other ways to write, which are for one event.
  const batches = makeSink({ node: sink.node, write: sink.write, writeSome: sink.writeSome })
  return Effect.map(makeQueue(batches, options, { kind: "BatchingSink", limits: options, isIsolated }), (queue) => {
    refuseQueueBelow(queue.node, sink.node)
    return queue
  })
}

const isolatedBy =
  (isolate: boolean | ((error: unknown) => boolean)) =>
  (cause: Cause.Cause<unknown>): boolean => {
    const error = cause.reasons.find(Cause.isFailReason)?.error
    if (error instanceof SinkClosed) return false
    return typeof isolate === "boolean" || error === undefined ? isolate !== false : isolate(error)
  }
