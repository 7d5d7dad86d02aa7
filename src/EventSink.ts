/**
 * The contract of every part: `write` commits an event or says why not. Here are the contract, the sinks over functions,
 * and what turns one sink into another. A write that succeeds has committed its event; one that fails may be repeated;
 * one after the close fails with `SinkClosed`. A sink never closes while a write is under way through it, up to its
 * deadline, and never discards an event it has accepted without a report.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type BelowMemory, type EventSink as Contract, fromSource, type Source } from "./internal/sink.ts"

export { acknowledgeFromMemory } from "./internal/acknowledgeFromMemory.ts"
export { mapError, mapInput, tap, timeout, writeAll, WriteTimeout } from "./internal/combinators.ts"
export { fromPubSub, fromQueue, NotTaken, SlidingRefused, toSink } from "./internal/interop.ts"
export { type Downstream, make, makeBatch, type MakeOptions, sync, type SyncOptions } from "./internal/leaf.ts"
export {
  controlsOf,
  type ControlFailure,
  type ControlState,
  type DeadLetterAction,
  type SinkAttempt,
  type SinkControls,
  type SinkDeadLetter,
  type SinkDeadLetterFilter,
  type SinkDeadLetterPage,
  type SinkDeadLetters
} from "./internal/controls.ts"
export type { LastError, SinkCounts, SinkEdge, SinkHealth, SinkNode, SinkState, TapKind } from "./internal/node.ts"
export {
  type Acknowledges,
  type AcknowledgingSink,
  type BatchSink,
  type BelowMemory,
  type BelowStore,
  type EventSink,
  isEventSink,
  SinkClosed,
  type Source,
  TypeId,
  type Variance,
  type Wrapped,
  type Wrapping,
  WriteSync
} from "./internal/sink.ts"
export {
  type AnyOutcome,
  type Delivered,
  type Filtered,
  type DropOutcome,
  type UndeliveredOutcome,
  type Stored
} from "./internal/receipt.ts"
export {
  isDelivered,
  type Outcome,
  type Receipt,
  type SinkOutcome,
  writeWithReceipt
} from "./internal/writeWithReceipt.ts"
export { stamp, type Stamped, type StampOptions } from "./internal/stamp.ts"

/**
 * A sink that never fails but by its close, which is what go-events' prose calls a reliable sink. For a sink that can
 * fail it is a type that no sink has and that says what to do.
 *
 * **Details**
 *
 * A sink with the errors of a durable part stores an event before its write succeeds. Memory in front of it, such as a
 * queue or a broadcaster, acknowledges earlier and loses with the process what it holds. Neither a retrier nor `onDropped`
 * changes that, so the text names another way: a write to the durable part itself, which for several receivers is a
 * `DurableBroadcaster`.
 *
 * @category types
 * @since 0.1.0
 */
export type Reliable<A, E> = [E] extends [never]
  ? Contract<A, E> & BelowMemory
  : [StoreError<E>] extends [never]
    ? Contract<A, E> & {
        readonly "this sink can fail with": E
        readonly fix: "wrap it in RetryingSink.make, or pass onDropped to EventQueue.make or Broadcaster.add"
      }
    : Contract<A, E> & {
        readonly "a write here would succeed before the event is stored": E
        readonly fix: "write to it directly, and for several receivers to a DurableBroadcaster: docs/guide/delivery-guarantees.md#memory-in-front-of-a-store"
      }

/** Those of the errors that a durable part has, or a retrier over one, by their tags: the core imports no durable part. */
type StoreError<E> = E extends { readonly _tag: "DurableWriteError" }
  ? E
  : E extends { readonly _tag: "RetriesExhausted"; readonly error: infer Last }
    ? StoreError<Last>
    : never

/**
 * A sink that can fail. For one that cannot it is a type that no sink has and that says so.
 *
 * **Details**
 *
 * A durable queue is one: a write through a retrier ends when the event is stored, so the retrier alone loses nothing.
 *
 * @category types
 * @since 0.1.0
 */
export type Fallible<A, E> = [E] extends [never]
  ? Contract<A, E> & {
      readonly "this sink never fails": "there is nothing to retry"
      readonly fix: "leave RetryingSink.make out"
    }
  : Contract<A, E>

/**
 * The layer of a place in the graph: builds the sink of `tag`, with the tag's key as the node's name. When the
 * layer's scope closes, the sink closes as its own finalizers say.
 *
 * **Details**
 *
 * A tag is itself an Effect of its sink, so tags and inline pipelines are written alike, and the layer of an inline
 * pipeline needs exactly the services and sinks that the pipeline needs.
 *
 * **Example** (Two sinks and a graph of layers)
 *
 * ```ts
 * import { Console, Context, Effect, Layer } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 *
 * class Printer extends Context.Service<Printer, EventSink.EventSink<string>>()("app/Printer") {}
 * class Lines extends Context.Service<Lines, EventSink.EventSink<string>>()("app/Lines") {}
 *
 * const PrinterLive = EventSink.layer(Printer, EventSink.make((line: string) => Console.log(line)))
 * const LinesLive = EventSink.layer(Lines, EventQueue.make(Printer))
 *
 * const program = Lines.use((lines) => lines.write("hello"))
 *
 * Effect.runPromise(Effect.provide(program, LinesLive.pipe(Layer.provide(PrinterLive))))
 * // prints: hello
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, S extends Contract<never, unknown>, X, R>(
  tag: Context.Key<I, S>,
  sink: Source<NoInfer<S>, X, R>
): Layer.Layer<I, X, Exclude<R, Scope.Scope>> =>
  Layer.effect(
    tag,
    Effect.tap(fromSource<S, X, R>(sink), ({ node }) => Effect.sync(() => node.nameOnce(tag.key)))
  )
