/**
 * Webhooks for many customers: endpoints are rows of a store, made and changed at run time by any process, and an event is stored for
 * all endpoints that match in one commit, that of the application's own transaction where there is one. Each endpoint has an order,
 * a plan, a rate and a state of its own, and costs itself only.
 *
 * Delivery is at least once. A secret is never shown but once, and a tenant never sees another's endpoints, events or ids.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { EventStore, type EventStoreError } from "../durable/EventStore.ts"
import { keepingOf } from "../durable/internal/keepingOf.ts"
import { serverOf } from "../durable/internal/servers.ts"
import { whenOpen } from "../durable/internal/writing.ts"
import { layer as sinkLayer } from "../EventSink.ts"
import { withoutConstruction } from "../internal/context.ts"
import type { InvalidKey } from "./internal/keyRing.ts"
import {
  makeAddressedWriter,
  makeWebhookEndpoints,
  type WebhookEndpoints,
  type WebhookWriter
} from "./internal/makeWebhookEndpoints.ts"
import type { Options, WriterOptions } from "./internal/options.ts"

export type { Administered } from "./internal/contract.ts"
export { InvalidKey, type Keys, type SealingKey } from "./internal/keyRing.ts"
export { type HttpApiOptions, layerHttpApi } from "./internal/layerHttpApi.ts"
export type { WebhookEndpoints, WebhookWriter } from "./internal/makeWebhookEndpoints.ts"
export {
  type Addressed,
  type Endpoint,
  type EndpointAttempt,
  type EndpointChange,
  type EndpointDetails,
  EndpointEvent,
  type EndpointKey,
  EndpointNotFound,
  type EndpointPage,
  EndpointUnreadable,
  InvalidEndpoint,
  InvalidEvent,
  type Message,
  type NewEndpoint,
  type Rate,
  type TestResult,
  type WithSecret
} from "./internal/model.ts"
export type { Options, WriterOptions } from "./internal/options.ts"
export type { Limits } from "./internal/validation.ts"

/**
 * Makes webhook endpoints on the store of the context, and delivers to them as long as the scope is open, beside all other processes
 * that do: each endpoint is delivered to by one of them at a time.
 *
 * **Details**
 *
 * A write succeeds when the event is committed for every endpoint of its tenant that matches and was made before the write began. Where
 * none does, it succeeds too.
 *
 * A request is signed as Standard Webhooks has it, by every secret that is valid then, and has the same `webhook-id` at every attempt,
 * by any process. It goes to the url that the row has then. An endpoint is `failing` from its first failed attempt on, waits by its plan,
 * and holds no slot while it waits. One that answers 410, or fails for longer than `disableAfter`, is disabled and keeps its events.
 *
 * In the graph it has a node `WebhookDeliveries` below it, for `SinkMetrics`, `SinkDashboard` and `SinkGraph`: the deliveries of this process
 * to whichever endpoints, its attempts and dead letters, and what is pending of those that it has a lease of.
 *
 * Two processes that change one endpoint at the same time undo no change of each other.
 *
 * An endpoint is never disabled for what is wrong with this process: where its row does not decode or decrypt here, or names a key, a plan or an
 * envelope that the options do not have, its events wait, it is tried again within half a minute by any process, and the log has an error.
 *
 * **Gotchas**
 *
 * The urls are your customers'. The `HttpClient` must be that of a `GuardedHttpClient`, or the construction dies: see `allowUnguarded`.
 *
 * A write without an id that is repeated after an error is another event for its receiver: give it an id of your own.
 *
 * **Example** (An endpoint and an event)
 *
 * ```ts
 * import { Effect, Layer, Redacted, Schema } from "effect"
 * import { MemoryStore } from "effect-events/durable"
 * import { WebhookEndpoints } from "effect-events/webhooks"
 * import { HttpClient, HttpClientResponse } from "effect/http"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * // a receiver in this process, in place of GuardedHttpClient.layer()
 * const received = Promise.withResolvers<string>()
 * const client = HttpClient.make((request) =>
 *   Effect.sync(() => {
 *     received.resolve(`${request.url} got ${request.headers["webhook-id"]}`)
 *     return HttpClientResponse.fromWeb(request, new Response())
 *   })
 * )
 *
 * const program = Effect.gen(function* () {
 *   const webhooks = yield* WebhookEndpoints.make({
 *     name: "orders",
 *     schema: Order,
 *     keys: { current: { id: "2026", key: Redacted.make(new Uint8Array(32)) } },
 *     allowUnguarded: true
 *   })
 *   const { secret } = yield* webhooks.create({ tenant: "acme", url: "https://acme.test/hook", topics: ["order/*"] })
 *   console.log(String(secret))
 *   yield* webhooks.write({ tenant: "acme", topic: "order/placed", id: "a1", event: { id: "a1", total: 120 } })
 *   console.log(yield* Effect.promise(() => received.promise))
 * })
 *
 * Effect.runPromise(
 *   program.pipe(
 *     Effect.scoped,
 *     Effect.provide(Layer.merge(MemoryStore.layer, Layer.succeed(HttpClient.HttpClient, client)))
 *   )
 * )
 * // prints: <redacted:webhook secret>
 * // prints: https://acme.test/hook got a1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(
  options: Options<A>
): Effect.Effect<WebhookEndpoints<A>, InvalidKey | EventStoreError, EventStore | HttpClient | Scope.Scope> =>
  makeWebhookEndpoints(options)

/**
 * The layer of webhook endpoints: a place in the graph, see `EventSink.layer`. The options may be an Effect, such as one that reads the keys
 * from a `Config`.
 *
 * **Example** (Keys from the environment)
 *
 * ```ts
 * import { Config, Context, Effect, Schema } from "effect"
 * import { WebhookEndpoints } from "effect-events/webhooks"
 *
 * class Webhooks extends Context.Service<Webhooks, WebhookEndpoints.WebhookEndpoints<string>>()("app/Webhooks") {
 *   static readonly layer = WebhookEndpoints.layer(
 *     Webhooks,
 *     Effect.gen(function* () {
 *       const key = yield* Config.Redacted("WEBHOOKS_KEY")
 *       return { name: "orders", schema: Schema.String, keys: { current: { id: "2026", key } } }
 *     })
 *   )
 * }
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, X = never, R = never>(
  tag: Context.Key<I, WebhookEndpoints<A>>,
  options: Options<A> | Effect.Effect<Options<A>, X, R>
): Layer.Layer<I, InvalidKey | EventStoreError | X, EventStore | HttpClient | Exclude<R, Scope.Scope>> =>
  sinkLayer<I, WebhookEndpoints<A>, InvalidKey | EventStoreError | X, EventStore | HttpClient | Scope.Scope | R>(
    tag,
    Effect.flatMap(Effect.isEffect(options) ? options : Effect.succeed(options), make)
    // The scope is that of the layer.
  ) as Layer.Layer<I, InvalidKey | EventStoreError | X, EventStore | HttpClient | Exclude<R, Scope.Scope>>

/**
 * A sink that writes to webhook endpoints: it has no receiver, no lease and no key, and delivers nothing. It may write from any process, and
 * in any transaction of the store's own database.
 *
 * @category constructors
 * @since 0.1.0
 */
export const writer = <A>(
  options: WriterOptions<A>
): Effect.Effect<WebhookWriter<A>, never, EventStore | Scope.Scope> =>
  Effect.gen(function* () {
    const { name } = options
    const { store } = serverOf(yield* EventStore, withoutConstruction(yield* Effect.context<never>()))
    const ready = whenOpen(store, name, keepingOf({ deduplication: options.deduplication }))
    return yield* makeAddressedWriter<A>(options, { kind: "WebhookWriter", store, ready })
  })
