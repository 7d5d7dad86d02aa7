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
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Breaker from "../Breaker.ts"
import type { OnDropped } from "../Dropped.ts"
import * as EventFilter from "../EventFilter.ts"
import * as EventQueue from "../EventQueue.ts"
import * as EventSink from "../EventSink.ts"
import * as Classification from "./Classification.ts"
import * as HttpSink from "./HttpSink.ts"
import type { InvalidSecret } from "./WebhookSignature.ts"
import { Counts } from "../internal/http/counts.ts"
import { holding } from "../internal/http/hold.ts"
import { gone, type Judged, type State, Switch } from "../internal/http/switch.ts"
import { Sink } from "../internal/sink.ts"
import * as RetryingSink from "../RetryingSink.ts"

export { type Ignored, ignoring, type Settings, settings } from "../internal/http/settings.ts"
export type { State } from "../internal/http/switch.ts"

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
 * What an endpoint does unless told otherwise: distribution's defaults.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  /** How long a request may take. */
  timeout: "1 second",
  /** How many failures in a row open the breaker. */
  threshold: 10,
  /** How long the breaker stays open. */
  backoff: "1 second",
  /** 2xx and 3xx are accepted, all else is tried again. */
  classification: Classification.distribution,
  /** Events in a request. */
  maxEvents: 1,
  /** How long a receiver may ask to be left alone. */
  maxRetryAfter: "1 minute"
} as const

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends HttpSink.Options<A> {
  /** Its name in errors, logs, pictures, health and metrics: each endpoint has its own. */
  readonly name: string
  /** What is not for this receiver: accepted, and not sent. See `ignoring` for events of a registry. */
  readonly ignore?: ((event: A) => boolean) | undefined
  /** How many failures in a row open the breaker, which then holds back all requests: 10 by default. */
  readonly threshold?: number | undefined
  /** How long the breaker stays open before one request tries: 1 second by default. */
  readonly backoff?: Duration.Input | undefined
  /** How many events may wait before writes do: unbounded by default. */
  readonly capacity?: number | undefined
  /** How many requests may be under way at once: 1 by default, which keeps all events in order. */
  readonly concurrency?: number | undefined
  /** With `concurrency`: the events of one key stay in order. See `EventQueue.Partitioned`. */
  readonly partitionBy?: ((event: A) => unknown) | undefined
  /** The longest that a receiver may ask to be left alone, by all requests: 1 minute by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** For how long no request may have been answered well for the endpoint to be disabled: without it, that never happens. */
  readonly disableAfter?: Duration.Input | undefined
  /** Takes, in the order of the queue, what a disabled endpoint holds and what comes; at once while it has no more. */
  readonly onDisabled: (event: A) => Effect.Effect<void>
  /**
   * Takes events that no attempt can deliver: too large, not encodable, refused for good by the classification, or bound
   * for an address that a guard forbids. And what is left at the close. Without it they are logged at error, as a count.
   */
  readonly onDropped?: OnDropped<A, HttpSink.HttpSinkError> | undefined
}

/**
 * What cannot work, found before the first event.
 *
 * @category errors
 * @since 0.1.0
 */
export type Invalid = HttpSink.InvalidUrl | HttpSink.InvalidHeader | InvalidSecret

class EndpointImpl<in out A> extends Sink<A> implements Endpoint<A> {
  readonly pending: Effect.Effect<number>
  readonly flush: Effect.Effect<void>
  readonly shutdown: EventQueue.EventQueue<A>["shutdown"]
  readonly state: Effect.Effect<State>
  readonly enable: Effect.Effect<void>
  readonly disable: Effect.Effect<void>

  constructor(filtered: EventSink.EventSink<A>, queue: EventQueue.EventQueue<A>, off: Switch<A>) {
    // Every sink of this library has a `Node`.
    super(filtered as Sink<A>)
    this.pending = queue.pending
    this.flush = queue.flush
    this.shutdown = queue.shutdown
    this.state = Effect.sync(() => off.state)
    this.enable = off.enable
    this.disable = off.disable
  }
}

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
    const { classification = defaults.classification, ignore, name, ...rest } = options
    const counts = yield* Counts.make(name)
    const off = new Switch<A>(name, Duration.fromInputUnsafe(rest.disableAfter ?? Duration.infinity), rest.onDisabled)
    // All they wait for is what the queue, whose close comes first, has waited for and given up.
    const drainTimeout = Duration.zero
    const http = yield* HttpSink.make<A>({
      ...rest,
      name,
      drainTimeout,
      timeout: rest.timeout ?? defaults.timeout,
      classification: (answer) => (answer.status === gone ? "permanent" : classification(answer)),
      maxEvents: rest.maxEvents ?? defaults.maxEvents,
      maxRetryAfter: rest.maxRetryAfter ?? defaults.maxRetryAfter,
      onAttempt: (attempt) => {
        counts.attempt(attempt)
        rest.onAttempt?.(attempt)
      }
    })
    const { backoff = defaults.backoff, threshold = defaults.threshold } = rest
    const breaker = yield* Breaker.make({ threshold, backoff })
    const retrying = yield* RetryingSink.make(holding(breaker, { threshold, backoff }, off), {
      name,
      drainTimeout,
      while: (error: Judged) => error.transient,
      // It is not for one event to wait for.
      maxRetryAfter: Duration.zero
    })(off.judging(http, counts.unsendable))
    const queue = yield* EventQueue.make<A, HttpSink.HttpSinkError, "suspend">({
      name,
      capacity: rest.capacity,
      concurrency: rest.concurrency,
      partitionBy: rest.partitionBy,
      drainTimeout: rest.drainTimeout,
      // Without it the queue logs what it gives up, which its types only allow where nothing can fail.
      onDropped: rest.onDropped as OnDropped<A, HttpSink.HttpSinkError>
    })(off.diverting(retrying))
    counts.watch(queue.node, () => off.isDisabled)
    const filtered = ignore === undefined ? queue : EventFilter.make((event: A) => !ignore(event), { name })(queue)
    return new EndpointImpl(filtered, queue, off)
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
