/**
 * Two routes for a prober, such as the kubelet or a load balancer: one that answers while the process runs, and one that
 * answers 503 with the reasons while a sink of the graph cannot take or deliver events. Names and figures only: no event and
 * no error is in an answer.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Graph from "effect/Graph"
import * as HttpMiddleware from "effect/http/HttpMiddleware"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import type { EventSink, SinkHealth, SinkNode } from "../EventSink.ts"
import { count } from "../internal/options.ts"
import { isEventSink } from "../internal/sink.ts"
import { toGraph } from "../SinkGraph.ts"

/**
 * A root of a graph: a sink that runs, or its tag.
 *
 * @category models
 * @since 0.1.0
 */
export type Root = EventSink<never, unknown> | Context.Key<unknown, EventSink<never, unknown>>

/** The tags among some roots, as what a layer needs. */
type Needed<One> = One extends Context.Key<infer I, EventSink<never, unknown>> ? I : never

/**
 * Why a sink is not ready.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Reason = Schema.Struct({
  kind: Schema.String,
  name: Schema.String,
  /** `custom` is what the option `notReady` has found. */
  reason: Schema.Literals(["closed", "closing", "breaker", "pending", "oldestAge", "custom"]),
  detail: Schema.String
})

/**
 * Why a sink is not ready.
 *
 * @category models
 * @since 0.1.0
 */
export type Reason = typeof Reason.Type

/**
 * The body of the answer of `ready`.
 *
 * @category schemas
 * @since 0.1.0
 */
export const Readiness = Schema.Struct({ ready: Schema.Boolean, reasons: Schema.Array(Reason) })

/**
 * What makes a sink not ready, besides that it is closing or closed.
 *
 * @category options
 * @since 0.1.0
 */
export interface ReadyOptions {
  /**
   * Whether a retrier or a durable part is ready whose breaker is open: `"ready"` by default. A receiver that is down is no
   * fault of the process, and a process less is no help.
   */
  readonly openBreaker?: "ready" | "not-ready" | undefined
  /** How many events may be pending at one sink; a whole number, unlimited by default. */
  readonly maxPending?: number | undefined
  /** How long the oldest pending event of a sink may have waited: unlimited by default. */
  readonly maxOldestAge?: Duration.Input | undefined
  /** A judgement of one's own: a detail for the answer where the sink is not ready. */
  readonly notReady?: ((health: SinkHealth) => string | undefined) | undefined
}

/**
 * Options of the routes for probes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<
  out Roots extends NonEmptyReadonlyArray<Root> = NonEmptyReadonlyArray<EventSink<never, unknown>>
> extends ReadyOptions {
  /** The graphs: every node downstream of each is looked at, and one that several reach is looked at once. */
  readonly roots: Roots
  /** The path that answers while the process runs: `/live` by default, `false` for none. */
  readonly live?: HttpRouter.PathInput | false | undefined
  /** The path that answers whether all sinks are ready: `/ready` by default, `false` for none. */
  readonly ready?: HttpRouter.PathInput | false | undefined
}

/**
 * The defaults of the options.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  live: "/live",
  ready: "/ready",
  openBreaker: "ready",
  maxPending: Number.POSITIVE_INFINITY,
  maxOldestAge: Duration.infinity
} as const

/**
 * Why the graphs downstream of some sinks are not ready, for a place other than an `HttpRouter`; none when they are. `layer`
 * documents what is judged.
 *
 * @category health
 * @since 0.1.0
 */
export const reasons = (
  roots: ReadonlyArray<EventSink<never, unknown>>,
  options: ReadyOptions = {}
): Effect.Effect<ReadonlyArray<Reason>> => {
  const judge = makeJudge(options)
  return Clock.clockWith((clock) => {
    const now = clock.currentTimeMillisUnsafe()
    return Effect.sync(() => nodesOf(roots).flatMap((node) => judge(node.health(now))))
  })
}

/**
 * The layer of the two routes, for GET and HEAD.
 *
 * **Details**
 *
 * | Route  | Answer | When                                                                              |
 * | ------ | ------ | --------------------------------------------------------------------------------- |
 * | `live` | 200    | always: it looks at no sink, so that no receiver and no store restarts a process  |
 * | `ready`| 200    | every sink is open, and within the limits of the options                          |
 * | `ready`| 503    | a sink is closing or closed, or beyond a limit; the body is `Readiness`           |
 *
 * Health is read at each request, with no fiber and no cache, and 1,000 nodes take a few milliseconds. No answer may be
 * stored, and none is logged by the server. A subscription of a `DurableBroadcaster` that no process serves is in the graph
 * as closed and does not count: it is no fault of this process, which stores its events. `notReady` may count it.
 *
 * **Gotchas**
 *
 * The routes open when the layers of the tags are built, which is what a startup probe waits for. Names of sinks are in the
 * answer: keep the routes off the public listener, or give sinks names that may be seen.
 *
 * **Example** (Routes for the kubelet)
 *
 * ```ts
 * import { Context, Effect, Layer } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 * import { HealthRoutes } from "effect-events/http"
 * import { HttpRouter } from "effect/http"
 *
 * class Orders extends Context.Service<Orders, EventQueue.EventQueue<string>>()("app/Orders") {
 *   static readonly layer = EventQueue.layer(
 *     Orders,
 *     EventSink.make((_: string) => Effect.never)
 *   )
 * }
 *
 * const Routes = HealthRoutes.layer({ roots: [Orders], maxPending: 1 })
 * const Write = Layer.effectDiscard(Orders.use((orders) => EventSink.writeAll(orders, ["a", "b"])))
 *
 * // HttpRouter.serve(Routes) is the layer of a server
 * const { handler } = HttpRouter.toWebHandler(Layer.provide(Layer.merge(Routes, Write), Orders.layer))
 * for (const path of ["/live", "/ready"]) {
 *   const answer = await handler(new Request(`http://orders.test${path}`))
 *   console.log(answer.status, await answer.text())
 * }
 * // prints: 200 {"live":true}
 * // prints: 503 {"ready":false,"reasons":[{"kind":"EventQueue","name":"app/Orders","reason":"pending","detail":"2 events are pending, and may be 1"}]}
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <const Roots extends NonEmptyReadonlyArray<Root>>(
  options: Options<Roots>
): Layer.Layer<never, never, HttpRouter.HttpRouter | Needed<Roots[number]>> =>
  HttpRouter.use((router) =>
    Effect.gen(function* () {
      const { live = defaults.live, ready = defaults.ready, roots } = options
      const sinks = yield* Effect.forEach(roots, sinkOf<Needed<Roots[number]>>)
      const reasonsNow = reasons(sinks, options)
      if (live !== false) yield* router.add("GET", live, answering(Effect.succeed(json(200, { live: true }))))
      if (ready === false) return
      yield* router.add(
        "GET",
        ready,
        answering(
          Effect.map(reasonsNow, (reasons) => {
            const isReady = reasons.length === 0
            return json(isReady ? 200 : 503, { ready: isReady, reasons } satisfies typeof Readiness.Encoded)
          })
        )
      )
    })
  )

// internals

/** The compiler does not follow that what the tags need is `Needed`. */
const sinkOf = <I>(root: Root) =>
  (isEventSink(root) ? Effect.succeed(root) : root) as Effect.Effect<EventSink<never, unknown>, never, I>

const json = (status: number, body: unknown) =>
  HttpServerResponse.jsonUnsafe(body, { status, headers: { "cache-control": "no-store" } })

/** A prober asks every few seconds, and a line of the server's log for each would hide the others. */
const answering = HttpMiddleware.withLoggerDisabled

const nodesOf = (roots: ReadonlyArray<EventSink<never, unknown>>): ReadonlyArray<SinkNode> => [
  ...new Set(roots.flatMap((root) => Array.from(Graph.values(Graph.nodes(toGraph(root))))))
]

const makeJudge = (options: ReadyOptions) => {
  const { notReady, openBreaker = defaults.openBreaker } = options
  const maxPending = count("HealthRoutes", "maxPending", options.maxPending ?? defaults.maxPending, 0)
  const maxOldestAge = Duration.fromInputUnsafe(options.maxOldestAge ?? defaults.maxOldestAge)
  const maxAge = Duration.toMillis(maxOldestAge)

  return (health: SinkHealth): ReadonlyArray<Reason> => {
    const { breaker, kind, name, oldestAge, pending, state } = health
    const found: Array<Reason> = []
    const add = (reason: Reason["reason"], detail: string) => void found.push({ kind, name, reason, detail })
    if (state !== "open" && !isUnserved(health)) add(state, `it is ${state}`)
    if (breaker === "open" && openBreaker === "not-ready") add("breaker", "its breaker is open")
    if (pending > maxPending) add("pending", `${pending} events are pending, and may be ${maxPending}`)
    if (oldestAge !== undefined && oldestAge > maxAge) {
      const age = Duration.format(Duration.millis(Math.round(oldestAge)))
      add("oldestAge", `an event has waited for ${age}, and may for ${Duration.format(maxOldestAge)}`)
    }
    const own = notReady?.(health)
    if (own !== undefined) add("custom", own)
    return found
  }
}

/** The place of a subscription that no process serves, by its error: this module imports no durable part. */
const isUnserved = ({ lastError }: SinkHealth): boolean =>
  hasProperty(lastError?.error, "_tag") &&
  lastError.error._tag === "NotDelivering" &&
  hasProperty(lastError.error, "reason") &&
  lastError.error.reason === "Unserved"
