/**
 * An `EventQueue` that survives its process: a write succeeds when the event is in a store, and the event is then
 * delivered whatever happens to the process. Delivery is at least once, in order, and by one process at a time.
 *
 * An event leaves the queue by its delivery, to the dead letters, or under an overflow policy that drops it. Delivery
 * is not exactly once: events that were delivered and not acknowledged when a process died are delivered again, at most
 * one batch. What survives a power cut is the store's promise. For several receivers see `DurableBroadcaster`.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import type { OnDropped } from "../Dropped.ts"
import type { Lossless, QueueError } from "../EventQueue.ts"
import {
  type AcknowledgingSink,
  type BelowStore,
  type EventSink,
  layer as sinkLayer,
  type Stamped
} from "../EventSink.ts"
import { withoutConstruction } from "../internal/context.ts"
import { defaultDrainTimeout } from "../internal/deadline.ts"
import { addressOf } from "./internal/addressOf.ts"
import { makeCodec } from "./internal/eventCodec.ts"
import { definitionRetries, defineOne } from "./internal/defineOne.ts"
import type { DurableWriteError, NotDelivering } from "./internal/error.ts"
import { keepingOf } from "./internal/keepingOf.ts"
import { guarded } from "./internal/guarded.ts"
import { type DeadLetters, makeDeadLetters } from "./internal/deadLetters.ts"
import { serverOf } from "./internal/servers.ts"
import { definitionOf, makeDurableQueue, storing } from "./internal/makeDurableQueue.ts"
import type { Remaining } from "./internal/served.ts"
import { type DurableWriter, makeWriter } from "./internal/makeWriter.ts"
import type { EventId, Receipt, SendOptions } from "./internal/sending.ts"
import type { Identity, Options, WriterOptions } from "./internal/queueOptions.ts"
import { batchBytes, deliverySettingsOf } from "./internal/sharedOptions.ts"
import { whenDefined } from "./internal/writing.ts"
import { count } from "../internal/options.ts"
import { fromSource, type SinkClosed, type Source } from "../internal/sink.ts"
import type { Overflow } from "../internal/overflow.ts"
import { EventStore, type EventStatus, type EventStoreError, type Subscription } from "./EventStore.ts"

export { DurableWriteError, NotDelivering, Unencodable } from "./internal/error.ts"
export type { DeadLetter, DeadLetters } from "./internal/deadLetters.ts"
export type { Identity, Options, WriterOptions } from "./internal/queueOptions.ts"
export type { Remaining } from "./internal/served.ts"
export type { DurableWriter } from "./internal/makeWriter.ts"
export type { EventId, Receipt, SendOptions } from "./internal/sending.ts"
export type { DeadLetterOptions, DeadLetterProgress, DeadLetterSelection } from "./internal/storedDeadLetters.ts"

/**
 * A sink that stores. Its writes fail with `SinkClosed`, and with `DurableWriteError` when the event is not stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface DurableQueue<in out A, out E = never> extends AcknowledgingSink<A, E | DurableWriteError, "store"> {
  /**
   * Writes an event, to be delivered at a time of its own if one is given, and answers what the store has of it: nothing where
   * `"drop-newest"` has dropped it. An event with a time counts as pending, and is put to the end of the queue when its time has
   * come, by the store's clock: never earlier, and as a rule within a second.
   */
  readonly send: (
    event: A,
    options?: SendOptions | undefined
  ) => Effect.Effect<Receipt | undefined, E | DurableWriteError | SinkClosed>
  /**
   * What has become of an event, by the id of its receipt, or by its own while that is kept for deduplication; nothing where
   * nothing is kept of it. That it was delivered is known for as long as `outcomes` says.
   */
  readonly status: (event: EventId | string) => Effect.Effect<EventStatus | undefined, EventStoreError>
  /** How many events are stored and not yet acknowledged, of all processes that write. */
  readonly pending: Effect.Effect<number, EventStoreError>
  /**
   * Waits until every event that was stored before this call is delivered or among the dead letters, by any process. Fails
   * with `NotDelivering` where events wait while the queue is paused or disabled, or while no process delivers it, as after
   * the close and in front of an event that pauses delivery.
   */
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
  /**
   * Stops accepting, waits for events in flight until `drainTimeout`, releases the lease, and answers how much remains.
   * Memoised: every call waits for the same close. An interruption of a call interrupts only its waiting.
   */
  readonly shutdown: Effect.Effect<Remaining<A>>
  readonly deadLetters: DeadLetters<A>
  /**
   * Deletes what is pending for good, as many events as there are at the call, in batches; the dead letters stay. What is written
   * meanwhile may be among them, and what a process has taken already it may deliver still. Answers how many events were deleted.
   */
  readonly purge: Effect.Effect<number, EventStoreError>
  /**
   * Pauses delivery in the store, for all processes, until `resume`: writes are stored as before, and within a second nothing is
   * delivered but what is in flight.
   */
  readonly pause: (reason?: string) => Effect.Effect<void, EventStoreError>
  /** Delivers again, after `pause` or when the queue was disabled for its receiver: what waits is delivered in order. */
  readonly resume: Effect.Effect<void, EventStoreError>
  /** Whether it is delivered, and if not, why and since when. */
  readonly state: Effect.Effect<Pick<Subscription, "state" | "reason" | "since">, EventStoreError>
}

/**
 * Puts a queue that survives in front of a sink, on the store of the context.
 *
 * **Details**
 *
 * Writes that come together share a transaction. A write in a transaction of the store's own database (see
 * `PostgresStore`) is part of that transaction, and shares none.
 *
 * The sink may fail: a failed event is delivered again by the plan of `redelivery`, whose attempts are in the store. What the plan
 * gives up is moved to the dead letters, with its cause, and delivery goes on. A batch sink is given batches. While the queue
 * closes, and when the sink below is closed, a failure costs nothing: the event stays in the store.
 *
 * One process at a time delivers, the owner of the queue's lease, and keeps the lease as long as it lives; the writes of
 * all others work. Another process takes over when the owner closes the queue, when the store notices that the owner is
 * gone, and at the latest when the owner has not renewed its life for `leaseTtl`. An owner that was paused for longer finds
 * the lease taken, and can acknowledge nothing any more. A queue that is made twice in one process is delivered by one of
 * the two.
 *
 * A sink whose receiver is disabled, such as an `Endpoint` that answered 410, costs no event: see `onDisabled`.
 *
 * A store that fails stops nothing for good: writes fail with its error, and the delivery tries again.
 *
 * **Gotchas**
 *
 * Nothing that holds events in memory belongs in front of it or below it. In front a queue or a broadcaster would
 * acknowledge events that are not stored; below, an event would leave the store when the part in memory has it. Neither
 * compiles, and where only the graph can tell the part dies at its construction. `EventSink.acknowledgeFromMemory` is the
 * word that allows it. For several receivers there is `DurableBroadcaster`.
 *
 * The id by which a receiver recognises a duplicate must be part of the event: put `EventSink.stamp` above the queue,
 * whose schema is then `DurableQueue.stamped`.
 *
 * A write that is interrupted while its commit is under way may be stored all the same.
 *
 * Events of one writer are in order if each write begins after the last has ended; events of concurrent writes are in
 * the order of their commits. With a `concurrency` above 1 that holds for the events of one key. A replayed event is at
 * the end of the queue.
 *
 * **Example** (A queue over a slow sink)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* EventSink.make((order: typeof Order.Type) => Console.log("delivered", order.id)).pipe(
 *     DurableQueue.make({ name: "orders", schema: Order })
 *   )
 *   yield* orders.write({ id: "a1", total: 120 })
 *   yield* orders.flush
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(MemoryStore.layer)))
 * // prints: delivered a1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <A, P extends Overflow = "suspend">(
    options: Options<A, P> & { readonly onDropped: OnDropped<NoInfer<A>> }
  ): <E, X = never, R = never>(
    sink: Source<EventSink<A, E> & BelowStore, X, R>
  ) => Effect.Effect<DurableQueue<A, QueueError<P>>, X, R | EventStore | Scope.Scope>
  <A, P extends Lossless = "suspend">(
    options: Options<A, P> & { readonly onDropped?: never }
  ): <E, X = never, R = never>(
    sink: Source<EventSink<A, E> & BelowStore, X, R>
  ) => Effect.Effect<DurableQueue<A, QueueError<P>>, X, R | EventStore | Scope.Scope>
  <A, E, X = never, R = never, P extends Overflow = "suspend">(
    sink: Source<EventSink<NoInfer<A>, E> & BelowStore, X, R>,
    options: Options<A, P> & { readonly onDropped: OnDropped<NoInfer<A>> }
  ): Effect.Effect<DurableQueue<A, QueueError<P>>, X, R | EventStore | Scope.Scope>
  <A, E, X = never, R = never, P extends Lossless = "suspend">(
    sink: Source<EventSink<NoInfer<A>, E> & BelowStore, X, R>,
    options: Options<A, P> & { readonly onDropped?: never }
  ): Effect.Effect<DurableQueue<A, QueueError<P>>, X, R | EventStore | Scope.Scope>
} = dual(
  2,
  <A, E, X, R>(
    source: Source<EventSink<A, E>, X, R>,
    options: Options<A> & { readonly onDropped?: OnDropped<A> | undefined }
  ): Effect.Effect<DurableQueue<A, never>, X, R | EventStore | Scope.Scope> => queueOf(source, options)
)

const queueOf = <A, F, E, X, R>(
  source: Source<EventSink<A, E>, X, R>,
  options: Options<A> & { readonly onDropped?: OnDropped<A> | undefined }
): Effect.Effect<DurableQueue<A, F>, X, R | EventStore | Scope.Scope> =>
  Effect.flatMap(
    fromSource(source),
    // It fails with `QueueFull` only under "reject", and then the overload says so.
    (sink) =>
      makeDurableQueue(sink, options.schema, settingsOf(options)) as Effect.Effect<
        DurableQueue<A, F>,
        never,
        EventStore | Scope.Scope
      >
  )

const unbounded = Number.POSITIVE_INFINITY

const settingsOf = <A>(options: Options<A> & { readonly onDropped?: OnDropped<A> | undefined }) => {
  const rows = count("DurableQueue.make", "capacity", options.capacity ?? unbounded, 1)
  const bytes = count("DurableQueue.make", "capacityBytes", options.capacityBytes ?? unbounded, 1)
  return {
    ...deliverySettingsOf("DurableQueue.make", options),
    name: options.name,
    id: options.id,
    keeping: keepingOf({ deduplication: options.deduplication, outcomes: options.outcomes }),
    overflow: options.overflow ?? "suspend",
    limits: rows === unbounded && bytes === unbounded ? undefined : { rows, bytes },
    drainTimeout: Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout),
    onDropped: options.onDropped
  } as const
}

/**
 * The layer of a queue: a place in the graph, see `EventSink.layer`. The service of the tag is a `DurableQueue`.
 *
 * **Example** (A queue as a service)
 *
 * ```ts
 * import { Console, Context, Effect, Layer, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { DurableQueue, MemoryStore } from "effect-events/durable"
 *
 * const Order = Schema.Struct({ id: Schema.String })
 * type Order = typeof Order.Type
 *
 * class Orders extends Context.Service<Orders, DurableQueue.DurableQueue<Order>>()("app/Orders") {
 *   static readonly layer = DurableQueue.layer(
 *     Orders,
 *     EventSink.make((order: Order) => Console.log("delivered", order.id)),
 *     { name: "orders", schema: Order }
 *   )
 * }
 *
 * const program = Orders.use((orders) => Effect.andThen(orders.write({ id: "a1" }), orders.flush))
 *
 * Effect.runPromise(Effect.provide(program, Layer.provide(Orders.layer, MemoryStore.layer)))
 * // prints: delivered a1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer: {
  <I, A, E, X, R, P extends Overflow = "suspend">(
    tag: Context.Key<I, DurableQueue<A, QueueError<NoInfer<P>>>>,
    sink: Source<EventSink<A, E> & BelowStore, X, R>,
    options: Options<NoInfer<A>, P> & { readonly onDropped: OnDropped<NoInfer<A>> }
  ): Layer.Layer<I, X, EventStore | Exclude<R, Scope.Scope>>
  <I, A, E, X, R, P extends Lossless = "suspend">(
    tag: Context.Key<I, DurableQueue<A, QueueError<NoInfer<P>>>>,
    sink: Source<EventSink<A, E> & BelowStore, X, R>,
    options: Options<NoInfer<A>, P> & { readonly onDropped?: never }
  ): Layer.Layer<I, X, EventStore | Exclude<R, Scope.Scope>>
} = <I, A, F, E, X, R>(
  tag: Context.Key<I, DurableQueue<A, F>>,
  source: Source<EventSink<A, E>, X, R>,
  options: Options<A> & { readonly onDropped?: OnDropped<A> | undefined }
) => sinkLayer(tag, queueOf<A, F, E, X, R>(source, options))

/**
 * A sink that writes to a queue of another process: it has no receiver and no lease, and delivers nothing. It may write from
 * any process, and in any transaction of the store's own database. What it writes is kept for the queue, also when no process
 * has ever delivered it.
 *
 * **Details**
 *
 * It defines the queue when it is made, in the background. A write in a transaction that comes before that defines the queue
 * within the transaction, with its commit or its rollback.
 *
 * **Gotchas**
 *
 * It knows no limits: `capacity` is what the process that delivers says of its own writes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const writer = <A>({
  batchSize,
  deduplication,
  drainTimeout,
  id,
  name,
  schema
}: WriterOptions<A>): Effect.Effect<DurableWriter<A>, never, EventStore | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const context = withoutConstruction(yield* Effect.context<never>())
      const { store } = serverOf(yield* EventStore, context)
      const definition = definitionOf(name)
      const keeping = keepingOf({ deduplication })
      let isDefined = false
      // One at a time: a write waits for the attempt that is under way.
      const define = Semaphore.makeUnsafe(1).withPermit(
        Effect.suspend(() =>
          isDefined
            ? Effect.void
            : Effect.map(defineOne(store, name, definition, keeping), () => void (isDefined = true))
        )
      )
      const { close, sink } = makeWriter<A>({
        kind: "DurableWriter",
        name,
        store: storing(store),
        codec: makeCodec(schema),
        addressOf: addressOf({ id }),
        batchSize: count("DurableQueue.writer", "batchSize", batchSize ?? 500, 1),
        batchBytes,
        drainTimeout: Duration.fromInputUnsafe(drainTimeout ?? defaultDrainTimeout),
        ready: whenDefined({
          store,
          isDefined: () => isDefined,
          define,
          join: defineOne(store, name, definition, keeping, true)
        }),
        downstream: () => [],
        context
      })
      // A store that fails says so to those that write.
      const defining = Effect.runForkWith(context)(Effect.retry(define, definitionRetries))
      yield* Effect.addFinalizer(() => {
        defining.interruptUnsafe()
        return close
      })
      return sink
    })
  )

/**
 * The dead letters of a queue, without the queue: for a command or a page that manages them.
 *
 * @category constructors
 * @since 0.1.0
 */
export const deadLetters = <A>({ name, schema }: Identity<A>): Effect.Effect<DeadLetters<A>, never, EventStore> =>
  EventStore.useSync((operations) => {
    const store = guarded(operations)
    return makeDeadLetters(defineOne(store, name, definitionOf(name)), store, makeCodec(schema))
  })

/**
 * The schema of what `EventSink.stamp` makes of events: their ids are then as durable as they are.
 *
 * **Example** (Ids that survive)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { DurableQueue, EventStore, MemoryStore } from "effect-events/durable"
 *
 * const Order = Schema.Struct({ total: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const receiver = yield* EventSink.make((stamped: EventSink.Stamped<typeof Order.Type>) =>
 *     Console.log(stamped.id.length, stamped.event.total)
 *   )
 *   const queue = yield* DurableQueue.make({ name: "orders", schema: DurableQueue.stamped(Order) })(receiver)
 *   const orders = yield* EventSink.stamp(queue)
 *   yield* orders.write({ total: 120 })
 *   yield* queue.flush
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(MemoryStore.layer)))
 * // prints: 36 120
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const stamped = <A>(schema: Schema.ConstraintCodec<A, unknown>): Schema.ConstraintCodec<Stamped<A>, unknown> =>
  Schema.Struct({
    id: Schema.String,
    time: Schema.Number,
    trace: Schema.UndefinedOr(
      Schema.Struct({ traceId: Schema.String, spanId: Schema.String, sampled: Schema.Boolean })
    ),
    event: schema
  })
