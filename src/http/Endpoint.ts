/**
 * A receiver of webhooks, ready to write to: distribution's `Endpoint`, and its assembly and defaults in one place:
 *
 *     filter | queue | retry with a breaker | http
 *
 * A write succeeds when the event is queued, in memory. Each event is then posted until the receiver accepts it, in order by
 * default, and never dropped while its endpoint is enabled. An endpoint whose receiver is gone, or has failed for too long,
 * is disabled: what it holds and what comes then goes to `onDisabled`.
 *
 * @since 0.1.0
 */
import type * as Config from "effect/Config"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { OnDropped } from "../Dropped.ts"
import * as EventFilter from "../EventFilter.ts"
import * as EventQueue from "../EventQueue.ts"
import * as EventSink from "../EventSink.ts"
import { controlledBy } from "../internal/controls.ts"
import type * as ExponentialBackoff from "../ExponentialBackoff.ts"
import * as RetryingSink from "../RetryingSink.ts"
import * as Classification from "./Classification.ts"
import * as HttpSink from "./HttpSink.ts"
import { makeEndpointCounts } from "./internal/endpoint/endpointCounts.ts"
import { type EndpointState, gone, makeEndpointState, type State } from "./internal/endpoint/endpointState.ts"
import { makeEndpointStrategy } from "./internal/endpoint/endpointStrategy.ts"
import { makeTarget } from "./internal/sink/target.ts"
import type { InvalidSecret } from "./WebhookSignature.ts"

export { type Ignored, ignoring, type Settings, settings } from "./internal/endpoint/endpointSettings.ts"
export type { State } from "./internal/endpoint/endpointState.ts"

/**
 * The values of the options that are left out: those of a careful sender of webhooks.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  /** 2xx is accepted, 410 disables the endpoint, and any other answer is tried again. */
  classification: Classification.standardWebhooks,
  /** How long a request may take. */
  timeout: "5 seconds",
  /** The next attempt of an event comes after a random time: up to 1 second, 2, 4, 8, and so on up to 1 minute. */
  delays: { base: 0, factor: "1 second", max: "1 minute" },
  /** How many failures in a row open the breaker. */
  threshold: 10,
  /** How long the breaker stays open. */
  backoff: "1 second",
  /** Events in a request. */
  maxEvents: 1,
  /** How long a receiver may ask for no requests. */
  maxRetryAfter: "1 minute"
} as const

/**
 * The values of Docker distribution's endpoints, for receivers that are used to those: options to spread.
 *
 * **Gotchas**
 *
 * A redirect counts as accepted. A receiver that moved from http to https loses every event without a trace.
 *
 * **Example** (A registry's receiver)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Endpoint, Envelope } from "effect-events/http"
 *
 * const audit = Endpoint.make({
 *   ...Endpoint.distribution,
 *   name: "audit",
 *   url: "http://127.0.0.1:1/events",
 *   envelope: Envelope.registry,
 *   onDisabled: () => Effect.void
 * })
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export const distribution = {
  ...defaults,
  /** 2xx and 3xx are accepted, and any other answer is tried again. */
  classification: Classification.distribution,
  /** How long a request may take. */
  timeout: "1 second",
  /** The next attempt comes at once, while the breaker is closed. */
  delays: { base: 0, factor: 0 }
} as const

/**
 * The options of an endpoint whose events another part keeps and delivers again.
 *
 * @category options
 * @since 0.1.0
 */
export interface UnqueuedOptions<in out A> extends Omit<HttpSink.Options<A>, "drainTimeout" | "maxAge"> {
  /** Its name in errors, logs, pictures, health and metrics: each endpoint has its own. */
  readonly name: string
  /** Which events are not for this receiver: accepted, and not sent. See `ignoring` for events of a registry. */
  readonly ignore?: ((event: A) => boolean) | undefined
}

/**
 * What cannot work, found before the first event.
 *
 * @category errors
 * @since 0.1.0
 */
export type Invalid = HttpSink.InvalidUrl | HttpSink.InvalidHeader | InvalidSecret

/**
 * Whether an endpoint delivers, and the ways to change that.
 *
 * @category models
 * @since 0.1.0
 */
export interface Controls {
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
 * A sink that posts what it queues. Its writes fail with `SinkClosed` alone.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint<in out A> extends EventQueue.EventQueue<A>, Controls {}

/**
 * Options of an endpoint with a queue in memory.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends UnqueuedOptions<A> {
  /** The bounds of an event's random delay before its next attempt, see `ExponentialBackoff`: those of `defaults`. */
  readonly delays?: ExponentialBackoff.Options | undefined
  /** How many failures in a row open the breaker, which then holds back all requests: 10 by default. */
  readonly threshold?: number | undefined
  /** How long the breaker stays open before one request tries: 1 second by default. */
  readonly backoff?: Duration.Input | undefined
  /** The longest time that a receiver may ask for without any request: 1 minute by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** For how long no request may have been accepted until the endpoint is disabled: without it, that never happens. */
  readonly disableAfter?: Duration.Input | undefined
  /**
   * Takes, in the order of the queue, what a disabled endpoint holds and what comes; at once while it has no more. Required,
   * because a write has succeeded by then and cannot fail any more.
   */
  readonly onDisabled: (event: A) => Effect.Effect<void>
  /** How many events may wait before writes do: unbounded by default. */
  readonly capacity?: number | undefined
  /** How many requests may be under way at once: 1 by default, which keeps all events in order. */
  readonly concurrency?: number | undefined
  /** How long an event may wait in the queue for a request of several events to fill up: not at all by default. */
  readonly maxAge?: Duration.Input | undefined
  /** With `concurrency`: the events of one key stay in order. See `EventQueue.Partitioned`. */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /** How long the close goes on delivering: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How the span of a delivery knows that of its write, see `EventQueue.Options`: by a link, the default, or as its parent. */
  readonly trace?: EventQueue.Options["trace"]
  /**
   * Takes events that no attempt can deliver: too large, not encodable, refused for good by the classification, or bound
   * for an address that a guard forbids; and what is undelivered at the close. Without it a count is logged at error.
   */
  readonly onDropped?: OnDropped<A, HttpSink.HttpSinkError> | undefined
}

/**
 * Makes an endpoint.
 *
 * **Details**
 *
 * A request that fails, or has an answer that is transient by the classification, is made again after a random delay by
 * `delays`. While the breaker is open, one request tries after each `backoff`. An event that has failed `threshold` times waits
 * for at least `backoff` too, when events that were accepted have kept the breaker closed. A receiver that asks for time by
 * `Retry-After` gets no request before that. Nothing else is sent meanwhile, unless `concurrency` has other requests under way.
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
 *     onDisabled: (event) => Effect.logWarning(`not sent: ${event.id}`)
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
    const { capacity, concurrency, drainTimeout, ignore, maxAge, name, onDropped, partitionBy, trace } = options
    const { attempts, counts, sink, state } = yield* assemble(options)
    const queue = yield* EventQueue.make(sink, {
      name,
      capacity,
      concurrency,
      partitionBy,
      drainTimeout,
      trace,
      ...(maxAge && { batchSize: options.maxEvents ?? defaults.maxEvents, maxAge }),
      // Without it the queue logs what it drops, which its types only allow where nothing can fail.
      onDropped: onDropped as OnDropped<A, HttpSink.HttpSinkError>
    })
    counts.watch(queue.node)
    controlledBy(queue.node, state.controls(attempts))
    const { flush, offerUnsafe, pending, shutdown } = queue
    const self = yield* filtered(queue, options)
    return {
      ...self,
      ...controlsOf(state),
      // A queue takes batches, and so does a filter in front of it.
      writeSome: self.writeSome!,
      pending,
      flush,
      shutdown,
      offerUnsafe: (event) => (ignore?.(event) === true ? "accepted" : offerUnsafe(event))
    }
  })

/**
 * Makes an endpoint without its queue and its attempts, for a durable part above it: a `DurableQueue` or a subscription of a
 * `DurableBroadcaster`, which keeps its events, delivers them again by its plan (`Redelivery.webhooks` is one for receivers of
 * others), and has dead letters for those that no attempt can deliver.
 *
 * **Details**
 *
 * A write is one request. It succeeds when the receiver has accepted the event. For one that answers 410, which is gone, a durable
 * part pauses in the store until its `resume`, or dead-letters, as its `onDisabled` says.
 *
 * **Gotchas**
 *
 * A queue in memory between a durable part and its receiver would undo what it is for: an event leaves the store when the
 * write below has succeeded.
 *
 * Of the metrics it has those of requests; how many events wait is for the part above it to say.
 *
 * **Example** (Webhooks that survive)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import { DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
 * import { Endpoint, Envelope } from "effect-events/http"
 * import { FetchHttpClient } from "effect/http"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* Endpoint.unqueued({
 *     name: "billing",
 *     url: "http://127.0.0.1:1/orders",
 *     envelope: Envelope.json(Order, { id: (order) => order.id })
 *   }).pipe(DurableQueue.make({ name: "billing", schema: Order, redelivery: Redelivery.webhooks }))
 *   yield* orders.write({ id: "a1", total: 120 })
 *   const { count } = yield* orders.shutdown
 *   console.log("remaining:", count)
 * })
 *
 * Effect.runPromise(
 *   program.pipe(Effect.scoped, Effect.provide([MemoryStore.layer, FetchHttpClient.layer]))
 * )
 * // prints: remaining: 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const unqueued = <A>(
  options: UnqueuedOptions<A>
): Effect.Effect<EventSink.EventSink<A, HttpSink.HttpSinkError>, Invalid, HttpClient | Scope.Scope> =>
  Effect.gen(function* () {
    const { name, onAttempt } = options
    const { classification = defaults.classification } = options
    const counts = yield* makeEndpointCounts(name, () => false)
    const http = yield* HttpSink.make<A>({
      ...options,
      // The part above has waited for every write below it, or given it up.
      drainTimeout: Duration.zero,
      timeout: options.timeout ?? defaults.timeout,
      classification: (answer) => (answer.status === gone ? "permanent" : classification(answer)),
      maxEvents: options.maxEvents ?? defaults.maxEvents,
      onAttempt: (attempt) => {
        counts.attempt(attempt)
        onAttempt?.(attempt)
      }
    })
    return yield* filtered(http, options)
  })

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
 *     onDisabled: (event) => Effect.logWarning(`not sent: ${event.id}`)
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

// internals

const controlsOf = (state: EndpointState): Controls => ({
  state: Effect.sync(state.current),
  enable: state.enable,
  disable: state.disable
})

const filtered = <A, E>(sink: EventSink.EventSink<A, E>, { ignore, name }: UnqueuedOptions<A>) =>
  ignore === undefined ? Effect.succeed(sink) : EventFilter.make(sink, (event) => !ignore(event), { name })

/** What is below the queue: posts an event until the receiver, or `onDisabled`, has it, or no attempt can deliver it. */
const assemble = Effect.fnUntraced(function* <A>(options: Options<A>) {
  const { name, onDisabled, transformClient } = options
  const { classification = defaults.classification } = options
  const { backoff = defaults.backoff, threshold = defaults.threshold } = options
  const delays = { ...defaults.delays, ...options.delays }
  const { shown } = yield* makeTarget(options)
  const disableAfter = Duration.fromInputUnsafe(options.disableAfter ?? Duration.infinity)
  const state = makeEndpointState(name, shown, disableAfter)
  const counts = yield* makeEndpointCounts(name, () => state.current()._tag === "Disabled")
  // The queue, whose close comes first, has waited for every write below it or given it up.
  const drainTimeout = Duration.zero
  const http = yield* HttpSink.make<A>({
    ...options,
    drainTimeout,
    maxAge: undefined,
    timeout: options.timeout ?? defaults.timeout,
    classification: (answer) => (answer.status === gone ? "permanent" : classification(answer)),
    maxEvents: options.maxEvents ?? defaults.maxEvents,
    maxRetryAfter: options.maxRetryAfter ?? defaults.maxRetryAfter,
    transformClient: transformClient && ((client) => transformClient(state.gating(client))),
    onAttempt: (attempt) => {
      // No request was made.
      if (attempt.error?.reason._tag === "Disabled") return
      counts.attempt(attempt)
      options.onAttempt?.(attempt)
    }
  })
  const retrying = yield* RetryingSink.make(
    state.judging(http, counts.unsendable),
    makeEndpointStrategy({ delays, threshold, backoff }, state.disabled),
    // A receiver asks for time for all requests, so the strategy waits for that.
    { name, drainTimeout, while: HttpSink.isTransient, maxRetryAfter: Duration.zero }
  )
  return {
    attempts: EventSink.controlsOf(http.node)?.attempts,
    counts,
    state,
    sink: state.diverting(retrying, onDisabled)
  }
})
