/**
 * An API for the portal of customers, on the application's own router: endpoints, secrets, attempts, dead letters, resend and a test
 * event. The tenant is what `authorize` answers and nothing else: another tenant's endpoint is not found.
 *
 * It never shows a secret but once, when it is made, and never the content of an event.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Etag from "effect/http/Etag"
import * as HttpPlatform from "effect/http/HttpPlatform"
import type * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Layer from "effect/Layer"
import * as EffectPath from "effect/Path"
import type * as Scope from "effect/Scope"
import { capture } from "../internal/context.ts"
import { logLine } from "../internal/failureLog.ts"
import { Access, Refused, Tenant, webhookApi } from "./internal/api.ts"
import { deliveryHandlers, endpointHandlers } from "./internal/handlers.ts"
import type { Administered } from "./internal/contract.ts"
import type { Message } from "./internal/model.ts"

export { NotFound, Refused, Unavailable } from "./internal/api.ts"

/**
 * The API, for a client of it: `HttpApiClient.make(WebhookApi.api, { baseUrl })`, where `baseUrl` ends with the path of the layer.
 *
 * @category api
 * @since 0.1.0
 */
export const api: typeof webhookApi = webhookApi

/**
 * Options of the API of endpoints.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A, in out E = never, in out R = never> {
  /** Where the API is, on the router: its endpoints are below that, and its description in OpenAPI at `path` + `/openapi.json`. */
  readonly path: `/${string}`
  /** The tenant of a request: nothing, and any failure, refuses it. */
  readonly authorize: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<string | undefined, E, R>
  /** What a customer may have sent to an endpoint to try it: without it there is none. */
  readonly testEvent?: Omit<Message<A>, "id"> | undefined
}

/**
 * Adds the API to the router.
 *
 * **Details**
 *
 * Every request asks `authorize`, which is given what the layer is built with. What the API answers has typed errors: 404 for an
 * endpoint that is not there or of another tenant, 422 for one that cannot be, with the field, 403 for a request that is refused, and
 * 503 while the store does not answer.
 *
 * **Gotchas**
 *
 * An `authorize` that goes by a cookie must refuse requests of other sites itself.
 *
 * **Example** (A portal, and a client of it)
 *
 * ```ts
 * import { Context, Effect, Layer, Redacted, Schema } from "effect"
 * import { MemoryStore } from "effect-events/durable"
 * import { WebhookApi, WebhookEndpoints } from "effect-events/webhooks"
 * import { FetchHttpClient, HttpClient, HttpClientResponse, HttpRouter, HttpServer } from "effect/http"
 * import { HttpApiClient } from "effect/http-api"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * class Webhooks extends Context.Service<Webhooks, WebhookEndpoints.WebhookEndpoints<typeof Order.Type>>()("app/Webhooks") {
 *   static readonly layer = WebhookEndpoints.layer(Webhooks, {
 *     name: "orders",
 *     schema: Order,
 *     keys: { current: { id: "2026", key: Redacted.make(new Uint8Array(32)) } },
 *     allowUnguarded: true // an example without a network
 *   })
 * }
 *
 * const Portal = WebhookApi.layer(Webhooks, {
 *   path: "/portal",
 *   authorize: ({ headers }) => Effect.succeed(headers["authorization"] === "Bearer acme's" ? "acme" : undefined)
 * })
 *
 * const { dispose, handler } = HttpRouter.toWebHandler(
 *   Portal.pipe(
 *     Layer.provide(Webhooks.layer),
 *     Layer.provide([MemoryStore.layer, FetchHttpClient.layer, HttpServer.layerServices])
 *   ),
 *   { disableLogger: true }
 * )
 *
 * // a client that asks the handler, in place of a network
 * const client = HttpClient.make((request) =>
 *   Effect.gen(function* () {
 *     const { body, headers, method, url } = request
 *     const asked = new Request(url, { method, headers, ...(body._tag === "Uint8Array" && { body: body.body.slice() }) })
 *     return HttpClientResponse.fromWeb(request, yield* Effect.promise(() => handler(asked)))
 *   })
 * )
 *
 * const program = Effect.gen(function* () {
 *   const portal = yield* HttpApiClient.make(WebhookApi.api, { baseUrl: "https://shop.test/portal" })
 *   const error = yield* Effect.flip(portal.endpoints.create({ payload: { url: "http://acme.test/hook" } }))
 *   console.log(error._tag)
 * })
 *
 * Effect.runPromise(
 *   program.pipe(Effect.provideService(HttpClient.HttpClient, client), Effect.ensuring(Effect.promise(dispose)))
 * )
 * // prints: Refused
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, E = never, R = never>(
  tag: Context.Key<I, Administered<A>>,
  options: Options<NoInfer<A>, E, R>
): Layer.Layer<never, never, HttpRouter.HttpRouter | I | Exclude<R, Scope.Scope>> => Layer.unwrap(make(tag, options))

// internals

const make = Effect.fnUntraced(function* <I, A, E, R>(
  tag: Context.Key<I, Administered<A>>,
  { authorize, path, testEvent }: Options<A, E, R>
) {
  const self = yield* Effect.service(tag)
  const provide = capture(yield* Effect.context<Exclude<R, Scope.Scope>>())
  const base = path.replace(/\/+$/, "")
  const access = Access.of((answer) =>
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const judged = Effect.withFiber((fiber) =>
        // It needs nothing more when it has what the layer was built with.
        provide(
          Effect.suspend(() => authorize(request)) as Effect.Effect<string | undefined, E, Exclude<R, Scope.Scope>>,
          fiber
        )
      )
      const tenant = yield* Effect.catchCause(judged, (cause) =>
        // A request that was given up is not refused.
        Cause.hasInterruptsOnly(cause)
          ? Effect.interrupt
          : Effect.as(
              logLine(
                { kind: "WebhookApi", name: path },
                "Warn",
                "refused a request, since authorize failed",
                {},
                cause
              ),
              undefined
            )
      )
      if (tenant === undefined || tenant === "")
        return yield* new Refused({ message: "this request is not authorized" })
      return HttpServerResponse.setHeaders(yield* Effect.provideService(answer, Tenant, { tenant }), apiHeaders)
    })
  )
  const prefixed = webhookApi.prefix(asPath(base))
  // The types of both differ in their paths, which are only known when they run.
  const served = base === "" ? (webhookApi as unknown as typeof prefixed) : prefixed
  return HttpApiBuilder.layer(served, { openapiPath: asPath(`${base}/openapi.json`) }).pipe(
    Layer.provide([
      HttpApiBuilder.group(served, "endpoints", (handlers) => handlers.handleAll(endpointHandlers(self, testEvent))),
      HttpApiBuilder.group(served, "deliveries", (handlers) => handlers.handleAll(deliveryHandlers(self)))
    ]),
    Layer.provide(Layer.succeed(Access, access)),
    Layer.provide(services)
  )
})

/** The headers of every answer. */
const apiHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" }

/** The path of the options begins with a slash, and so does what is made of it. */
const asPath = (path: string) => path as `/${string}`

/** What routes of an `HttpApi` ask for to answer with files: these answer with none. */
const services = Layer.provideMerge(HttpPlatform.layer, [Etag.layerWeak, FileSystem.layerNoop({}), EffectPath.layer])
