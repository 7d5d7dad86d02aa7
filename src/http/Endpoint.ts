/**
 * A receiver of webhooks, ready to write to: distribution's `Endpoint`, and its assembly and defaults in one place:
 *
 *     filter | queue | retry with a breaker | http
 *
 * A write succeeds when the event is queued. Each is then posted until the receiver takes it, in order unless told
 * otherwise, and never given up while its endpoint is enabled. An endpoint whose receiver is gone, or has failed for too
 * long, is disabled: what it holds and what comes then goes to `onDisabled`. What is queued is in memory.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { OnDropped } from "../Dropped.ts"
import * as EventQueue from "../EventQueue.ts"
import * as EventSink from "../EventSink.ts"
import type * as HttpSink from "./HttpSink.ts"
import { assemble, type Invalid, type UnqueuedOptions } from "./internal/endpoint/assembly.ts"
import type { State, Switch } from "./internal/endpoint/switch.ts"

export { defaults, type Invalid, type UnqueuedOptions } from "./internal/endpoint/assembly.ts"
export { type Ignored, ignoring, type Settings, settings } from "./internal/endpoint/endpointConfig.ts"
export type { State } from "./internal/endpoint/switch.ts"

/**
 * A sink that posts what it queues. Its writes do not fail, but with `SinkClosed`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint<in out A> extends EventQueue.EventQueue<A> {
  /** Whether it delivers, and if not, since when and why. */
  readonly state: Effect.Effect<State>
  /** Lets a disabled endpoint deliver again, from the next event on. Does nothing to one that is enabled. */
  readonly enable: Effect.Effect<void>
  /**
   * Disables it: no request is begun, and what waits, for its turn or for its next attempt, goes to `onDisabled`. A request
   * that is under way ends first. Does nothing to one that is disabled.
   */
  readonly disable: Effect.Effect<void>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends UnqueuedOptions<A> {
  /**
   * Takes, in the order of the queue, what a disabled endpoint holds and what comes; at once while it has no more. Required,
   * because a write has succeeded by then and cannot fail any more.
   */
  readonly onDisabled: (event: A) => Effect.Effect<void>
  /** How many events may wait before writes do: unbounded by default. */
  readonly capacity?: number | undefined
  /** How many requests may be under way at once: 1 by default, which keeps all events in order. */
  readonly concurrency?: number | undefined
  /** With `concurrency`: the events of one key stay in order. See `EventQueue.Partitioned`. */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /** How long the close goes on delivering: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * Takes events that no attempt can deliver: too large, not encodable, refused for good by the classification, or bound
   * for an address that a guard forbids. And what is left at the close. Without it they are logged at error, as a count.
   */
  readonly onDropped?: OnDropped<A, HttpSink.HttpSinkError> | undefined
}

/** How an endpoint is switched, and whether it delivers. */
const switchOf = (off: Switch) => ({
  state: Effect.sync(() => off.state),
  enable: off.enable,
  disable: off.disable
})

/**
 * Makes an endpoint.
 *
 * **Details**
 *
 * A request that fails, or is answered by what the classification calls transient, is made again, at once and then after
 * each `backoff` while the breaker is open. An event that has failed as often as opens a breaker waits for that long too,
 * when others that were taken have kept it closed. A receiver that asks to be left alone gets no request before its time is over.
 * Nothing else is sent meanwhile, unless `concurrency` lets other requests be under way.
 *
 * A receiver that answers 410 disables the endpoint whatever the classification.
 *
 * Metrics are in `EndpointMetrics`, under the endpoint's name: of two endpoints with one name, the later is shown.
 *
 * A defect of `onDisabled` costs its event, which goes to `onDropped` as `Died`.
 *
 * **Example** (A registry's notifications)
 *
 * ```ts
 * import { Effect } from "effect"
 * import * as Endpoint from "effect-events/http/Endpoint"
 * import * as Envelope from "effect-events/http/Envelope"
 * import { FetchHttpClient } from "effect/http"
 *
 * const program = Effect.gen(function* () {
 *   const endpoint = yield* Endpoint.make({
 *     name: "audit",
 *     url: "http://127.0.0.1:1/events",
 *     envelope: Envelope.registry,
 *     ignore: Endpoint.ignoring({ mediaTypes: ["application/octet-stream"], actions: ["pull"] }),
 *     onDisabled: (event) => Effect.logWarning(`kept aside: ${event.id}`)
 *   })
 *   const state = yield* endpoint.state
 *   console.log(state._tag)
 * })
 *
 * Effect.runPromise(Effect.scoped(Effect.provide(program, FetchHttpClient.layer)))
 * // prints: Enabled
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: Options<A>): Effect.Effect<Endpoint<A>, Invalid, HttpClient | Scope.Scope> =>
  Effect.gen(function* () {
    const { capacity, concurrency, drainTimeout, name, onDropped, partitionBy } = options
    const { counts, filtered, off, sink } = yield* assemble(options)
    const queue = yield* EventQueue.make(sink, {
      name,
      capacity,
      concurrency,
      partitionBy,
      drainTimeout,
      // Without it the queue logs what it gives up, which its types only allow where nothing can fail.
      onDropped: onDropped as OnDropped<A, HttpSink.HttpSinkError>
    })
    counts.watch(queue.node)
    const { flush, offerUnsafe, pending, shutdown } = queue
    const self = yield* filtered(queue)
    return {
      ...self,
      ...switchOf(off),
      // An endpoint's queue takes batches, and so does a filter in front of it.
      writeSome: self.writeSome!,
      pending,
      flush,
      shutdown,
      offerUnsafe: (event) => (options.ignore?.(event) === true ? "accepted" : offerUnsafe(event))
    }
  })

/**
 * An endpoint without the queue: its writes end when the receiver has taken the event, or `onDisabled` has. They fail with
 * what no attempt can deliver, and without `onDisabled` with the reason `Disabled` while the endpoint is disabled.
 *
 * @category models
 * @since 0.1.0
 */
export interface Unqueued<in A> extends EventSink.EventSink<A, HttpSink.HttpSinkError> {
  /** As those of an `Endpoint`. */
  readonly state: Effect.Effect<State>
  readonly enable: Effect.Effect<void>
  readonly disable: Effect.Effect<void>
}

/**
 * Makes an endpoint without its queue, for one of your own above it: a `DurableQueue`, whose events outlive the process,
 * and whose dead letters have what no attempt can deliver.
 *
 * **Details**
 *
 * Below a durable queue leave `onDisabled` out: while the endpoint is disabled, the events go to the dead letters with that
 * reason, and are replayed after `enable`.
 *
 * **Gotchas**
 *
 * A queue in memory between a durable one and its receiver would undo what it is for: an event leaves the store when the
 * write below has succeeded. So does an `onDisabled` that succeeds before the event is kept elsewhere: that event is lost.
 *
 * Of the metrics it has those of requests; how many events wait is for the queue above it to say.
 *
 * **Example** (Webhooks that survive)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { DurableQueue, MemoryStore } from "effect-events/durable"
 * import { Endpoint, Envelope } from "effect-events/http"
 * import { FetchHttpClient } from "effect/http"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const endpoint = yield* Endpoint.unqueued({
 *     name: "billing",
 *     url: "http://127.0.0.1:1/orders",
 *     envelope: Envelope.json(Order, { id: (order) => order.id })
 *   })
 *   const orders = yield* DurableQueue.make({ name: "billing", schema: Order, drainTimeout: "50 millis" })(endpoint)
 *   yield* orders.write({ id: "a1", total: 120 })
 *   const { count } = yield* orders.shutdown
 *   console.log("kept:", count)
 * })
 *
 * Effect.runPromise(
 *   program.pipe(Effect.scoped, Effect.provide([MemoryStore.layer, FetchHttpClient.layer]))
 * )
 * // prints: kept: 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const unqueued = <A>(
  options: UnqueuedOptions<A>
): Effect.Effect<Unqueued<A>, Invalid, HttpClient | Scope.Scope> =>
  Effect.flatMap(assemble(options), ({ filtered, off, sink }) =>
    Effect.map(filtered(sink), (self) => ({ ...self, ...switchOf(off) }))
  )

/**
 * The options of an endpoint in a layer, which is named after its tag by default.
 *
 * @category options
 * @since 0.1.0
 */
export interface Unnamed<in out A> extends Omit<Options<A>, "name"> {
  readonly name?: string | undefined
}

/**
 * The layer of an endpoint: a place in the graph, see `EventSink.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A>(
  tag: Context.Key<I, Endpoint<A>>,
  options: Unnamed<A>
): Layer.Layer<I, Invalid, HttpClient> => EventSink.layer(tag, make({ ...options, name: options.name ?? tag.key }))

/**
 * The layer of an endpoint whose options come from a `Config`, as from the environment.
 *
 * **Example** (An endpoint from the environment)
 *
 * ```ts
 * import { Config, ConfigProvider, Context, Effect, Layer } from "effect"
 * import * as Endpoint from "effect-events/http/Endpoint"
 * import * as Envelope from "effect-events/http/Envelope"
 * import type { RegistryEvent } from "effect-events/http/RegistryEvent"
 * import { FetchHttpClient } from "effect/http"
 *
 * class Audit extends Context.Service<Audit, Endpoint.Endpoint<RegistryEvent>>()("app/Audit") {}
 *
 * const AuditLive = Endpoint.layerConfig(
 *   Audit,
 *   Config.map(Endpoint.settings.pipe(Config.nested("AUDIT")), (settings) => ({
 *     ...settings,
 *     envelope: Envelope.registry,
 *     ignore: Endpoint.ignoring(settings.ignored),
 *     onDisabled: (event) => Effect.logWarning(`kept aside: ${event.id}`)
 *   }))
 * )
 *
 * const environment = ConfigProvider.layer(
 *   ConfigProvider.fromEnv({ env: { AUDIT_URL: "http://127.0.0.1:1/events", AUDIT_IGNORED_ACTIONS: "pull,mount" } })
 * )
 * const program = Audit.use((audit) => audit.state)
 *
 * Effect.runPromise(
 *   program.pipe(Effect.provide(AuditLive), Effect.provide(Layer.merge(environment, FetchHttpClient.layer)))
 * ).then((state) => console.log(state._tag))
 * // prints: Enabled
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerConfig = <I, A>(
  tag: Context.Key<I, Endpoint<A>>,
  config: Config.Config<Unnamed<A>>
): Layer.Layer<I, Config.ConfigError | Invalid, HttpClient> =>
  EventSink.layer(
    tag,
    Effect.flatMap(config, (options) => make({ ...options, name: options.name ?? tag.key }))
  )
