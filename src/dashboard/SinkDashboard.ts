/**
 * A page that shows the graphs of a process as they run, on the application's own router: depth, rate, age, breaker, lease and
 * pause of each sink, what is wrong with it and since when, its next events, its last attempts and its dead letters.
 *
 * It only reads, unless `authorize` says what may be changed. It never shows the content of an event unless `content` says so,
 * sets no cookie, and loads nothing from elsewhere.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as FileSystem from "effect/FileSystem"
import * as Etag from "effect/http/Etag"
import * as HttpPlatform from "effect/http/HttpPlatform"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as HttpApiBuilder from "effect/http-api/HttpApiBuilder"
import * as Layer from "effect/Layer"
import * as EffectPath from "effect/Path"
import type * as Scope from "effect/Scope"
import { capture } from "../internal/context.ts"
import * as Utf8 from "../internal/encoding/utf8.ts"
import { fromSource } from "../internal/sink.ts"
import { type Authorize, makeAccess } from "./internal/access.ts"
import { Access, dashboardApi, readOnlyApi } from "./internal/dashboardApi.ts"
import { changing, reading } from "./internal/handlers.ts"
import { makeJobs } from "./internal/jobs.ts"
import { type AnySink, makeMonitor } from "./internal/monitor.ts"
import { html, script, style } from "./internal/page/document.ts"
import { makeTaps } from "./internal/taps.ts"

export type { Authorize, Identity } from "./internal/access.ts"

/**
 * The root of a graph: a sink, or the tag of one. A pipeline is neither, since it would be built a second time.
 *
 * @category options
 * @since 0.1.0
 */
export type Root = AnySink | Context.Key<unknown, AnySink>

/** The tags among some roots, as what a layer needs. */
type Needed<One> = One extends Context.Key<infer I, AnySink> ? I : never

/**
 * Options of every dashboard.
 *
 * @category options
 * @since 0.1.0
 */
export interface CommonOptions<out Roots extends ReadonlyArray<Root> = ReadonlyArray<Root>> {
  /** Where the page is, on the router. Its API is below that. */
  readonly path: `/${string}`
  readonly roots: Roots
  /** What the page is called: "Sinks" by default. */
  readonly title?: string | undefined
  /**
   * Whether the content of events may be read: the payloads of dead letters, and the events that a tap shows. It is `hidden` by
   * default. Errors and causes are shown either way.
   */
  readonly content?: "hidden" | "shown" | undefined
}

/**
 * The options of a dashboard that changes nothing: no route of it does.
 *
 * @category options
 * @since 0.1.0
 */
export interface ReadOnlyOptions<
  out Roots extends ReadonlyArray<Root> = ReadonlyArray<Root>,
  out E = unknown,
  out R = never
> extends CommonOptions<Roots> {
  readonly readOnly: true
  /** Which requests are answered: all by default. */
  readonly authorize?: Authorize<E, R> | undefined
}

/**
 * The options of a dashboard that pauses and resumes, disables and enables, replays and purges.
 *
 * @category options
 * @since 0.1.0
 */
export interface ChangingOptions<
  out Roots extends ReadonlyArray<Root> = ReadonlyArray<Root>,
  out E = unknown,
  out R = never
> extends CommonOptions<Roots> {
  readonly readOnly?: false | undefined
  /**
   * Which requests are answered, those that read included. An answer of `false` and any failure refuse; an identity is named
   * in the log beside what was changed.
   */
  readonly authorize: Authorize<E, R>
}

/**
 * Options of a dashboard that only shows, or of one whose viewers may change what runs.
 *
 * @category options
 * @since 0.1.0
 */
export type Options<Roots extends ReadonlyArray<Root> = ReadonlyArray<Root>, E = unknown, R = never> =
  ReadOnlyOptions<Roots, E, R> | ChangingOptions<Roots, E, R>

/**
 * Adds the page and its API to the router.
 *
 * **Details**
 *
 * The page is at `path`, its API below `path` + `/api`, and the description of that in OpenAPI at `path` + `/openapi.json`. The
 * page itself holds no data and is answered to all; each request of the API asks `authorize`. Where the API refuses, the page
 * asks for a token, and sends it as `Authorization: Bearer`; it takes one from the address too, as in `/events#token=...`, and
 * keeps it as long as its tab is open.
 *
 * A tap of the next events of a node is a stream of lines. It ends with its last event, after 10 minutes, or with its connection, read or not;
 * `authorize` is asked when it begins, and 20 are open at once at most. Without one nothing is spent on events.
 *
 * A request that changes something must have the header `x-effect-events`, and must not come from a page of another site. One with a
 * field that there is not changes nothing, nor does one of more than 256 KiB, or of what `HttpServerRequest.MaxBodySize` allows where it is set.
 *
 * Health is read once a second while there is a viewer and every five seconds otherwise, and kept for 15 minutes. Stores are asked
 * for states and figures only while there is a viewer, and for 20 nodes in a second at most.
 *
 * **Gotchas**
 *
 * A page that is `readOnly` and has no `authorize` shows names, figures and errors to every client that the router answers: put
 * it on a router that listens on loopback, or behind what the application's other pages are behind.
 *
 * Each process shows its own nodes. What a store says, such as a pause and the dead letters, is that of all processes.
 *
 * **Example** (A page that only reads)
 *
 * ```ts
 * import { Console, Context, Effect, Layer } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 * import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
 * import { HttpRouter, HttpServer } from "effect/http"
 *
 * class Orders extends Context.Service<Orders, EventQueue.EventQueue<string>>()("app/Orders") {
 *   static readonly layer = EventQueue.layer(Orders, EventSink.make((order: string) => Console.log(order)))
 * }
 *
 * const Dashboard = SinkDashboard.layer({ path: "/events", roots: [Orders], readOnly: true })
 *
 * const { dispose, handler } = HttpRouter.toWebHandler(
 *   Dashboard.pipe(Layer.provide(Orders.layer), Layer.provide(HttpServer.layerServices)),
 *   { disableLogger: true }
 * )
 *
 * handler(new Request("http://localhost/events"))
 *   .then((response) => console.log(response.status, response.headers.get("content-type")))
 *   .finally(dispose)
 * // prints: 200 text/html; charset=utf-8
 * ```
 *
 * **Example** (One that changes things, for those that know a token)
 *
 * ```ts
 * import { Effect } from "effect"
 * import type { EventSink } from "effect-events"
 * import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
 *
 * const dashboard = (orders: EventSink.EventSink<string>, token: string) =>
 *   SinkDashboard.layer({
 *     path: "/events",
 *     roots: [orders],
 *     content: "shown",
 *     authorize: ({ headers }, access) =>
 *       Effect.succeed(headers["authorization"] === `Bearer ${token}` ? { name: "the operator" } : access === "read")
 *   })
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Roots extends ReadonlyArray<Root>, E = never, R = never>(
  options: Options<Roots, E, R>
): Layer.Layer<never, never, HttpRouter.HttpRouter | Needed<Roots[number]> | Exclude<R, Scope.Scope>> =>
  // What tags need is `Needed`, and what `authorize` needs is taken from the context of the layer.
  Layer.unwrap(make(options as Options)) as Layer.Layer<
    never,
    never,
    HttpRouter.HttpRouter | Needed<Roots[number]> | Exclude<R, Scope.Scope>
  >

// internals

const make = Effect.fnUntraced(function* (options: Options) {
  const { content = "hidden", path, title = "Sinks" } = options
  const base = path.replace(/\/+$/, "")
  const provide = capture(yield* Effect.context<never>())
  const roots = yield* Effect.forEach(options.roots, (root) => fromSource<AnySink, never, never>(root as AnySink))
  const instance = (yield* Clock.currentTimeMillis).toString(36)
  const monitor = yield* makeMonitor(roots, instance)
  const jobs = makeJobs(yield* Effect.scope, instance, monitor.changed)
  const { authorize } = options
  const access = makeAccess(
    authorize &&
      ((request, access) =>
        Effect.withFiber(
          // It needs nothing more when it has what the layer was built with.
          (fiber) => provide(authorize(request, access), fiber) as ReturnType<Authorize>
        )),
    path
  )
  const page = HttpServerResponse.text(html, { contentType: "text/html; charset=utf-8", headers: yield* headers })
  const isShown = content === "shown"
  const settings = { monitor, jobs, taps: makeTaps(isShown), title, content: isShown }
  // Also where a program without types leaves it out.
  const isReadOnly = options.readOnly === true || authorize === undefined
  const routes = isReadOnly ? readOnly(base, settings) : full(base, settings)
  return Layer.mergeAll(HttpRouter.add("GET", asPath(base || "/"), page), routes).pipe(
    Layer.provide(Layer.succeed(Access, access)),
    Layer.provide(services)
  )
})

/** The routes of a page that only reads: there are no others to be refused. */
const readOnly = (base: string, settings: Omit<Parameters<typeof reading>[0], "changes">) => {
  const prefixed = readOnlyApi.prefix(asPath(base))
  const api = base === "" ? unprefixed<typeof prefixed>(readOnlyApi) : prefixed
  return HttpApiBuilder.layer(api, { openapiPath: asPath(`${base}/openapi.json`) }).pipe(
    Layer.provide(
      HttpApiBuilder.group(api, "reading", (handlers) => handlers.handleAll(reading({ ...settings, changes: false })))
    )
  )
}

const full = (base: string, settings: Omit<Parameters<typeof reading>[0], "changes">) => {
  const all = { ...settings, changes: true }
  const prefixed = dashboardApi.prefix(asPath(base))
  const api = base === "" ? unprefixed<typeof prefixed>(dashboardApi) : prefixed
  return HttpApiBuilder.layer(api, { openapiPath: asPath(`${base}/openapi.json`) }).pipe(
    Layer.provide([
      HttpApiBuilder.group(api, "reading", (handlers) => handlers.handleAll(reading(all))),
      HttpApiBuilder.group(api, "changing", (handlers) => handlers.handleAll(changing(all)))
    ])
  )
}

/** The types of both differ in their paths, which are only known when they run. */
const unprefixed = <Api>(api: typeof readOnlyApi | typeof dashboardApi): Api => api as Api

/** The path of the options begins with a slash, and so does what is made of it. */
const asPath = (path: string) => path as `/${string}`

/** What routes of an `HttpApi` ask for to answer with files: these answer with none. */
const services = Layer.provideMerge(HttpPlatform.layer, [Etag.layerWeak, FileSystem.layerNoop({}), EffectPath.layer])

/** The page runs its own script and no other, loads nothing, sends to its own server only, and is in no frame. */
const headers = Effect.gen(function* () {
  const { digest } = yield* Digest.Digest
  const hashOf = (text: string) => Effect.map(digest(Digest.sha256, Utf8.encode(text)), Base64.encode)
  const policy = [
    "default-src 'none'",
    `script-src 'sha256-${yield* hashOf(script)}'`,
    `style-src 'sha256-${yield* hashOf(style)}'`,
    "connect-src 'self'",
    "img-src data:",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'"
  ]
  return {
    "content-security-policy": policy.join("; "),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-cache"
  }
}).pipe(Effect.provide(Digest.layerWebCrypto))
