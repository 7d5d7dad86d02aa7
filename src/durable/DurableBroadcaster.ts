/**
 * A `Broadcaster` that survives its process: a write succeeds when the event is committed for every subscription that
 * matches. A subscription is a durable name, in an order of its own; it outlives the process, and one process at a time
 * delivers it, at least once.
 *
 * An event is stored once, in one commit, however many subscriptions it is for. A receiver that is down, hangs or is flooded
 * delays no other subscription and no writer: it costs the room that its events take in the store.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { type BelowStore, type EventSink, layer as sinkLayer } from "../EventSink.ts"
import { withoutConstruction } from "../internal/context.ts"
import { defaultDrainTimeout } from "../internal/deadline.ts"
import type { SinkNode } from "../internal/node.ts"
import { count } from "../internal/options.ts"
import { fromSource, type Source } from "../internal/sink.ts"
import {
  EventStore,
  type EventStatus,
  type EventStoreError,
  type Subscription as StoredSubscription
} from "./EventStore.ts"
import { addressOf } from "./internal/addressOf.ts"
import type { Options, SubscriptionOptions, WriterOptions } from "./internal/broadcasterOptions.ts"
import { closeTogether } from "./internal/closeTogether.ts"
import type { DeadLetters } from "./internal/deadLetters.ts"
import { NoTopics, type NotDelivering } from "./internal/error.ts"
import { makeCodec } from "./internal/eventCodec.ts"
import { keepingOf } from "./internal/keepingOf.ts"
import { type Exchange, makeDurableBroadcaster } from "./internal/makeDurableBroadcaster.ts"
import type { Remaining } from "./internal/served.ts"
import { type DurableWriter, makeWriter } from "./internal/makeWriter.ts"
import type { EventId } from "./internal/sending.ts"
import { serverOf } from "./internal/servers.ts"
import { batchBytes, deliverySettingsOf } from "./internal/sharedOptions.ts"
import { whenOpen } from "./internal/writing.ts"

export type { DeadLetter, DeadLetters } from "./internal/deadLetters.ts"
export type { Identity, Options, SubscriptionOptions, WriterOptions } from "./internal/broadcasterOptions.ts"
export { DurableWriteError, NotDelivering, NoTopics, Unencodable } from "./internal/error.ts"
export type { Remaining } from "./internal/served.ts"
export type { DurableWriter } from "./internal/makeWriter.ts"
export type { EventId, Receipt, SendOptions } from "./internal/sending.ts"
export type { DeadLetterOptions, DeadLetterProgress, DeadLetterSelection } from "./internal/storedDeadLetters.ts"

/** The key of what the functions of this module do to a broadcaster. */
const ExchangeId: unique symbol = Symbol.for("effect-events/durable/DurableBroadcaster/Exchange")

/**
 * A sink that stores for every subscription. Its writes fail with `SinkClosed`, and with `DurableWriteError` when the event
 * is not stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface DurableBroadcaster<in out A> extends DurableWriter<A> {
  /**
   * For the functions of this module.
   *
   * @internal
   */
  readonly [ExchangeId]: Exchange<A>
  /**
   * What has become of an event for each subscription, by the id of its receipt, or by its own while that is kept for
   * deduplication; nothing where nothing is kept of it. What was delivered is known for as long as `outcomes` says.
   */
  readonly status: (event: EventId | string) => Effect.Effect<EventStatus | undefined, EventStoreError>
  /** The subscriptions of the exchange, whichever process serves them. */
  readonly subscriptions: Effect.Effect<ReadonlyArray<StoredSubscription>, EventStoreError>
  /**
   * Waits until every event that was stored before this call is delivered or among the dead letters, for every subscription,
   * by any process. Fails with `NotDelivering` where events wait for one that is paused, disabled, or served by no process.
   */
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
}

/**
 * A subscription that this process serves.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subscription<out A> {
  readonly name: string
  readonly node: SinkNode
  /** How many events wait for it, of all processes that write. */
  readonly pending: Effect.Effect<number, EventStoreError>
  /** Waits until what was stored for it before this call is delivered or among the dead letters, as the broadcaster's does. */
  readonly flush: Effect.Effect<void, EventStoreError | NotDelivering>
  /** Ends the delivery by this process; the subscription stays, and another process may serve it. Memoised. */
  readonly shutdown: Effect.Effect<Remaining<A>>
}

/**
 * Makes a broadcaster on the store of the context.
 *
 * **Details**
 *
 * A write succeeds when the event is committed for every subscription that matches and was committed before the write
 * began; where none does, nothing is stored, and the write succeeds. Writes that come together share a commit. A write in a
 * transaction of the store's own database (see `PostgresStore`) is part of that transaction.
 *
 * **Gotchas**
 *
 * A process that only writes needs no broadcaster: see `writer`.
 *
 * **Example** (Two subscriptions)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* DurableBroadcaster.make({
 *     name: "orders",
 *     schema: Order,
 *     topic: ({ total }) => (total > 100 ? "order/large" : "order/small")
 *   })
 *   const receiver = (name: string) => EventSink.make((order: typeof Order.Type) => Console.log(name, order.id))
 *   yield* DurableBroadcaster.subscribe(orders, receiver("bulk"), { name: "bulk", topics: ["order/small"] })
 *   yield* DurableBroadcaster.subscribe(orders, receiver("review"), { name: "review", topics: ["order/large"] })
 *   yield* orders.write({ id: "a1", total: 20 })
 *   yield* orders.flush
 *   yield* orders.write({ id: "a2", total: 120 })
 *   yield* orders.flush
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(MemoryStore.layer)))
 * // prints: bulk a1
 * // prints: review a2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(
  options: Options<A>
): Effect.Effect<DurableBroadcaster<A>, EventStoreError, EventStore | Scope.Scope> =>
  Effect.suspend(() =>
    Effect.uninterruptibleMask((restore) =>
      Effect.gen(function* () {
        const { id, name, schema, topic } = options
        const keeping = keepingOf(options)
        const making = makeDurableBroadcaster<A>({ ...writingOf(options), name, schema, topic, id, keeping })
        const { close, exchange, sink } = yield* restore(making)
        yield* Effect.addFinalizer(() => close)
        const { flush, list, status } = exchange
        return { ...sink, [ExchangeId]: exchange, subscriptions: list, flush, status }
      })
    )
  )

/**
 * The layer of a broadcaster: a place in the graph, see `EventSink.layer`. Its subscriptions are layers of their own, see
 * `layerSubscription`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A>(
  tag: Context.Key<I, DurableBroadcaster<A>>,
  options: Options<A>
): Layer.Layer<I, EventStoreError, EventStore> => sinkLayer(tag, make(options))

/**
 * Defines a subscription, and delivers it to a sink as long as the scope is open. It answers when the subscription is
 * committed: what is written from then on is for it.
 *
 * **Details**
 *
 * The sink may fail: a failed event is delivered again by the plan of `redelivery`, which has dead letters for what it gives up.
 * A batch sink is given batches. While the subscription closes, and when the sink below is closed, a failure costs
 * nothing: the event stays in the store.
 *
 * When the scope closes, the subscription stays in the store, and events are stored for it as before. One that is gone for
 * good is dropped, by `drop`.
 *
 * **Gotchas**
 *
 * Nothing that keeps events in memory may stand below it: see `EventSink.acknowledgeFromMemory`.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const subscribe: <A, E, X = never, R = never>(
  self: DurableBroadcaster<A>,
  sink: Source<EventSink<A, E> & BelowStore, X, R>,
  options: SubscriptionOptions<NoInfer<A>>
) => Effect.Effect<Subscription<A>, EventStoreError | NoTopics | X, R | Scope.Scope> = Effect.fnUntraced(function* <
  A,
  E,
  X,
  R
>(self: DurableBroadcaster<A>, source: Source<EventSink<A, E>, X, R>, options: SubscriptionOptions<A>) {
  const exchange = self[ExchangeId]
  const { name, start, topics = ["*"] } = options
  if (options.topics !== undefined && !exchange.hasTopics) {
    return yield* Effect.fail(new NoTopics({ broadcaster: exchange.name, subscription: name }))
  }
  const settings = deliverySettingsOf("DurableBroadcaster.subscribe", options)
  const drainTimeout = options.drainTimeout === undefined ? undefined : Duration.fromInputUnsafe(options.drainTimeout)
  const sink = yield* fromSource(source)
  const member = yield* Effect.uninterruptibleMask((restore) =>
    Effect.tap(restore(exchange.serve(sink, { name, topics, start }, settings, drainTimeout)), ({ begin, shutdown }) =>
      closeTogether(begin, shutdown)
    )
  )
  return {
    name,
    node: member.node,
    pending: exchange.pending(name),
    flush: member.flush,
    shutdown: member.shutdown
  }
})

/**
 * The layer of a subscription: it needs the broadcaster, and provides nothing. Routes that write should be built above it, so
 * that they open when the subscriptions stand.
 *
 * **Example** (A broadcaster, its subscription and a writer, as layers)
 *
 * ```ts
 * import { Console, Context, Effect, Layer, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
 *
 * class Orders extends Context.Service<Orders, DurableBroadcaster.DurableBroadcaster<string>>()("app/Orders") {
 *   static readonly layer = DurableBroadcaster.layer(Orders, { name: "orders", schema: Schema.String })
 * }
 *
 * const Audit = DurableBroadcaster.layerSubscription(
 *   Orders,
 *   EventSink.make((order: string) => Console.log("audit", order)),
 *   { name: "audit" }
 * )
 *
 * const program = Orders.use((orders) => Effect.andThen(orders.write("a1"), orders.flush))
 *
 * const Live = Audit.pipe(Layer.provideMerge(Orders.layer), Layer.provide(MemoryStore.layer))
 *
 * Effect.runPromise(Effect.provide(program, Live))
 * // prints: audit a1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerSubscription = <I, A, E, X = never, R = never>(
  tag: Context.Key<I, DurableBroadcaster<A>>,
  sink: Source<EventSink<A, E> & BelowStore, X, R>,
  options: SubscriptionOptions<NoInfer<A>>
): Layer.Layer<never, EventStoreError | NoTopics | X, I | Exclude<R, Scope.Scope>> =>
  Layer.effectDiscard(Effect.flatMap(Effect.service(tag), (broadcaster) => subscribe(broadcaster, sink, options)))

/**
 * Drops a subscription for good, with the events and the dead letters that are stored for it. Answers how many events were
 * pending; 0 where there is no such subscription.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const drop = <A>(self: DurableBroadcaster<A>, subscription: string): Effect.Effect<number, EventStoreError> =>
  self[ExchangeId].drop(subscription)

/**
 * Deletes what is pending for a subscription for good, as many events as there are at the call, in batches; its dead letters stay.
 * What is written meanwhile may be among them, and what a process has taken already it may deliver still. Answers how many events were deleted; 0 where there is no such subscription.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const purge = <A>(self: DurableBroadcaster<A>, subscription: string): Effect.Effect<number, EventStoreError> =>
  self[ExchangeId].purge(subscription)

/**
 * Pauses a subscription in the store, for all processes: what matches is stored, and within a second nothing is delivered but
 * what is in flight. Answers whether there is such a subscription.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const pause = <A>(
  self: DurableBroadcaster<A>,
  subscription: string,
  reason?: string
): Effect.Effect<boolean, EventStoreError> => self[ExchangeId].setState(subscription, "paused", reason)

/**
 * Delivers a subscription again that was paused, or disabled for its receiver: what waits is delivered in order. Answers
 * whether there is such a subscription.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const resume = <A>(self: DurableBroadcaster<A>, subscription: string): Effect.Effect<boolean, EventStoreError> =>
  self[ExchangeId].setState(subscription, "active", undefined)

/**
 * How many events wait for a subscription, whichever process serves it.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const pending = <A>(self: DurableBroadcaster<A>, subscription: string): Effect.Effect<number, EventStoreError> =>
  self[ExchangeId].pending(subscription)

/**
 * The dead letters of a subscription, whichever process serves it.
 *
 * @category subscriptions
 * @since 0.1.0
 */
export const deadLetters = <A>(self: DurableBroadcaster<A>, subscription: string): DeadLetters<A> =>
  self[ExchangeId].deadLetters(subscription)

/**
 * A sink that writes to a broadcaster of another process: it has no receiver and no lease, and delivers nothing. It may write
 * from any process, and in any transaction of the store's own database.
 *
 * **Gotchas**
 *
 * What it writes is stored for the subscriptions that there are. In an empty database there are none: let the processes that
 * deliver define them first.
 *
 * @category constructors
 * @since 0.1.0
 */
export const writer = <A>(
  options: WriterOptions<A>
): Effect.Effect<DurableWriter<A>, never, EventStore | Scope.Scope> =>
  Effect.uninterruptible(
    Effect.gen(function* () {
      const context = withoutConstruction(yield* Effect.context<never>())
      const { name, schema } = options
      const { store } = serverOf(yield* EventStore, context)
      const { close, sink } = makeWriter<A>({
        ...writingOf(options),
        kind: "DurableWriter",
        name,
        store,
        codec: makeCodec(schema),
        addressOf: addressOf(options),
        ready: whenOpen(store, name, keepingOf({ deduplication: options.deduplication })),
        downstream: () => [],
        context
      })
      yield* Effect.addFinalizer(() => close)
      return sink
    })
  )

// internals

const writingOf = ({ batchSize, drainTimeout }: Pick<WriterOptions<never>, "batchSize" | "drainTimeout">) => ({
  drainTimeout: Duration.fromInputUnsafe(drainTimeout ?? defaultDrainTimeout),
  batchSize: count("DurableBroadcaster.make", "batchSize", batchSize ?? 500, 1),
  batchBytes
})
