/** Serves the API of a customer's portal on the application's own router. */
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
import { HttpApiSchemaError } from "effect/http-api/HttpApiError"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Layer from "effect/Layer"
import * as EffectPath from "effect/Path"
import * as SchemaIssue from "effect/SchemaIssue"
import type * as Scope from "effect/Scope"
import type { unhandled } from "effect/Types"
import { withBoundedBody } from "../../http/internal/boundedBody.ts"
import { capture } from "../../internal/context.ts"
import { logLine } from "../../internal/failureLog.ts"
import { Access, InvalidRequest, Refused, Tenant, webhookApi } from "./api.ts"
import type { Administered } from "./contract.ts"
import { deliveryHandlers, endpointHandlers } from "./handlers.ts"
import type { Message } from "./model.ts"

/**
 * Options of the API of a customer's portal.
 *
 * @category options
 * @since 0.1.0
 */
export interface HttpApiOptions<in out A, in out E = never, in out R = never> {
  /** Where the API is, on the router: its endpoints are below that, and its description in OpenAPI at `path` + `/openapi.json`. */
  readonly path: `/${string}`
  /** The tenant of a request: nothing, and any failure, refuses it. */
  readonly authorize: (request: HttpServerRequest.HttpServerRequest) => Effect.Effect<string | undefined, E, R>
  /**
   * What `authorize` goes by, for the description in OpenAPI, such as `{ type: "http", scheme: "bearer" }`: generated clients ask for it.
   * It checks nothing. Without it the description names no security.
   */
  readonly securityScheme?: OpenApi.OpenAPISecurityScheme | undefined
  /** What a customer may have sent to an endpoint to try it: without it there is none. */
  readonly testEvent?: Omit<Message<A>, "id"> | undefined
}

/**
 * Adds an API for the portal of customers to the application's own router: endpoints, secrets, attempts, dead letters, resend and a
 * test event. The tenant is what `authorize` answers and nothing else: another tenant's endpoint is not found.
 *
 * **Details**
 *
 * Every request asks `authorize`, which is given what the layer is built with. The errors are typed: 400 for a request that
 * does not decode, with each field and what is wrong, 403 for one that is refused, 404 for an endpoint that is not there or of another
 * tenant, 409 for one whose row this process cannot read, 422 for one that cannot be, with the field, and 503 while the store does not
 * answer. A field that the API does not have is an error too. A duration is text with its unit, such as `"10 seconds"`. A body of more than
 * 256 KiB, or of what `HttpServerRequest.MaxBodySize` allows where it is set, is answered with a bare 413.
 *
 * What a defect of the service says, as of an envelope, is in the log and in `attempts` of the service; a customer reads that the service failed.
 *
 * `WebhookApi.api` is the API for a client.
 *
 * **Gotchas**
 *
 * An `authorize` that goes by a cookie must refuse requests of other sites itself.
 *
 * A router takes ids of at most 100 characters in a path. For events with longer ids give the server `routerConfig: { maxParamLength }`.
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
 * const Portal = WebhookEndpoints.layerHttpApi(Webhooks, {
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
export const layerHttpApi = <I, A, E = never, R = never>(
  tag: Context.Key<I, Administered<A>>,
  options: HttpApiOptions<NoInfer<A>, E, R>
): Layer.Layer<never, never, HttpRouter.HttpRouter | I | Exclude<R, Scope.Scope>> => Layer.unwrap(make(tag, options))

// internals

const make = Effect.fnUntraced(function* <I, A, E, R>(
  tag: Context.Key<I, Administered<A>>,
  { authorize, path, securityScheme, testEvent }: HttpApiOptions<A, E, R>
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
      const answered = yield* Effect.catch(
        Effect.provideService(withBoundedBody(answer), Tenant, { tenant }),
        (error): Effect.Effect<never, InvalidRequest | unhandled> =>
          isOfRequest(error) ? refused(error) : Effect.fail(error)
      )
      if (answered.status === 415) return yield* notJson
      return HttpServerResponse.setHeaders(answered, apiHeaders)
    })
  )
  const prefixed = webhookApi.prefix(asPath(base))
  // The types of both differ in their paths, which are only known when they run.
  const api = base === "" ? (webhookApi as unknown as typeof prefixed) : prefixed
  const served = securityScheme === undefined ? api : api.annotate(OpenApi.Transform, securedBy(securityScheme))
  return HttpApiBuilder.layer(served, { openapiPath: asPath(`${base}/openapi.json`) }).pipe(
    Layer.provide([
      HttpApiBuilder.group(served, "endpoints", (handlers) => handlers.handleAll(endpointHandlers(self, testEvent))),
      HttpApiBuilder.group(served, "deliveries", (handlers) => handlers.handleAll(deliveryHandlers(self)))
    ]),
    Layer.provide(Layer.succeed(Access, access)),
    Layer.provide(services)
  )
})

const places = { Params: "path", Query: "query", Headers: "headers", Payload: "body" } as const

/** What is wrong with a request; what is wrong with an answer is a defect of this API. */
interface OfRequest extends HttpApiSchemaError {
  readonly kind: keyof typeof places
}

const isOfRequest = (error: unknown): error is OfRequest => HttpApiSchemaError.is(error) && error.kind in places

/** An answer is not many times as long as its request. */
const mostProblems = 100

/** Its messages have what is expected, and nothing of what was sent. */
const issuesOf = SchemaIssue.makeFormatterStandardSchemaV1()

const refused = ({ cause, kind }: OfRequest): Effect.Effect<never, InvalidRequest> =>
  Effect.fail(
    new InvalidRequest({
      problems: issuesOf(cause.issue)
        .issues.slice(0, mostProblems)
        .map(({ message, path = [] }) => ({
          in: places[kind],
          field: path.map((key) => String(typeof key === "object" ? key.key : key)).join("."),
          problem: message
        }))
    })
  )

const notJson = new InvalidRequest({
  problems: [{ in: "headers", field: "content-type", problem: "Expected application/json" }]
})

/** Has every operation of the description ask for the scheme. */
const securedBy = (scheme: OpenApi.OpenAPISecurityScheme) => (document: Record<string, unknown>) => {
  // It is given what `OpenApi.fromApi` has made.
  const { components, paths, ...rest } = document as unknown as OpenApi.OpenAPISpec
  const secured = Object.entries(paths).map(([path, operations]) => [
    path,
    Object.fromEntries(
      Object.entries(operations).map(([method, operation]) => [method, { ...operation, security: [{ tenant: [] }] }])
    )
  ])
  return {
    ...rest,
    components: { ...components, securitySchemes: { tenant: scheme } },
    paths: Object.fromEntries(secured)
  }
}

/** The headers of every answer. */
const apiHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" }

/** The path of the options begins with a slash, and so does what is made of it. */
const asPath = (path: string) => path as `/${string}`

/** What routes of an `HttpApi` ask for to answer with files: these answer with none. */
const services = Layer.provideMerge(HttpPlatform.layer, [Etag.layerWeak, FileSystem.layerNoop({}), EffectPath.layer])
