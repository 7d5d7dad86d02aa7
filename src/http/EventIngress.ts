/**
 * Takes events in over HTTP: a route for an `HttpRouter` of one's own that decodes a request by one of its envelopes and
 * writes its events to any sink. 202 is answered when the sink has committed all of them, and no sooner. Whatever is wrong
 * with a request is answered with a 4xx that says what and where; when the sink takes nothing, with 503.
 *
 * **Gotchas**
 *
 * A 202 is worth what the sink's commit is worth. Over a sink in memory, such as an `EventQueue`, a `Broadcaster` or an
 * `Endpoint`, an event that was answered with 202 is lost with the process.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { EventSink } from "../EventSink.ts"
import { makeAuthenticate, type Verification } from "./internal/ingress/authenticate.ts"
import { makeChoose } from "./internal/ingress/choose.ts"
import { type Deduplication, deduplicateDefaults, makeRepeats } from "./internal/ingress/deduplicate.ts"
import { type Handshake, makeHandshake } from "./internal/ingress/handshake.ts"
import { makeIdentify } from "./internal/ingress/identify.ts"
import { IngressLog } from "./internal/ingress/ingressLog.ts"
import { isOfContent, makeOnRefused, type OnRefused } from "./internal/ingress/onRefused.ts"
import { makeRefusalLog } from "./internal/ingress/refusalLog.ts"
import { type Problem, Refused, refused } from "./internal/ingress/refused.ts"
import * as RequestBody from "./internal/ingress/requestBody.ts"
import { type Refusal, Taker } from "./internal/ingress/take.ts"
import { count } from "../internal/options.ts"
import type { Envelope } from "./Envelope.ts"
import type { InvalidSecret } from "./WebhookSignature.ts"

export type { Verification } from "./internal/ingress/authenticate.ts"
export type { Deduplication } from "./internal/ingress/deduplicate.ts"
export type { Handshake } from "./internal/ingress/handshake.ts"
export type { OnRefused, Reply } from "./internal/ingress/onRefused.ts"
export type { Problem } from "./internal/ingress/refused.ts"
export type { Refusal } from "./internal/ingress/take.ts"

/**
 * An answer that was given.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly status: number
  /** How many events were committed for it: 0 unless the status is 202, although a part of a group may have been. */
  readonly events: number
  /** How many events were repeats, and not written again. */
  readonly repeats: number
  /**
   * Why the request was refused; absent when it was taken. `status` is another one than the problem's where `onRefused`
   * answered otherwise, or failed.
   */
  readonly problem?: Problem | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A, in E = never> {
  /** What requests may look like. Of two that both accept one, the first is taken. */
  readonly envelopes: NonEmptyReadonlyArray<Envelope<A>>
  /** Its name in the log: the path by default. */
  readonly name?: string | undefined
  /** Takes only requests that are signed. */
  readonly verify?: Verification | undefined
  /** How many bytes a body may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  /** How long a body may take to come: 10 seconds by default. The headers are for the server to bound. */
  readonly bodyTimeout?: Duration.Input | undefined
  /** How long the sink may take to commit a request, or `onRefused` to keep one: 10 seconds by default. */
  readonly writeTimeout?: Duration.Input | undefined
  /** How long a sender is asked to wait by a 503: 5 seconds by default. In whole seconds, at least 1. */
  readonly retryAfter?: Duration.Input | undefined
  /** Which repeats are known; `false` for none. */
  readonly deduplicate?: Deduplication | false | undefined
  /** Answers the handshake of the CloudEvents webhook specification. Without it OPTIONS is answered with 405. */
  readonly handshake?: Handshake | undefined
  /** What an error of the sink's own type is answered with: 503 by default. */
  readonly refusal?: ((error: E) => Refusal) | undefined
  /** Keeps a request that is refused for its content, and says what is answered in the place of the refusal. */
  readonly onRefused?: OnRefused | undefined
  /** Called with each answer. For counting. */
  readonly onAnswer?: ((answer: Answer) => void) | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface RouteOptions<in out A, in E = never> extends Options<A, E> {
  /** Where in the router it is, for all methods. */
  readonly path: HttpRouter.PathInput
}

/**
 * What an ingress does unless told otherwise.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  /** In bytes. */
  maxBytes: 1024 * 1024,
  bodyTimeout: "10 seconds",
  writeTimeout: "10 seconds",
  retryAfter: "5 seconds",
  window: deduplicateDefaults.window,
  maxIds: deduplicateDefaults.maxIds
} as const

/** A sink, or an Effect of one, such as a tag or an inline pipeline. */
type Source<A, E, X, R> = EventSink<A, E> | Effect.Effect<EventSink<A, E>, X, R>

/** Answers one request. */
type Handle = Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.HttpServerRequest>

const accepted = HttpServerResponse.empty({ status: 202, headers: { "content-length": "0" } })

/**
 * Makes what answers the requests of an ingress, for a place other than an `HttpRouter`. `layer` has all that is to be
 * known of it.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never, X = never, R = never>(
  source: Source<A, E, X, R>,
  options: Options<A, NoInfer<E>>
): Effect.Effect<Handle, X | InvalidSecret, R | Scope.Scope> =>
  Effect.gen(function* () {
    const { deduplicate = {}, envelopes, name = "EventIngress", onAnswer, onRefused, refusal } = options
    const log = new IngressLog(name)
    const refusals = makeRefusalLog(name)
    const maxBytes = count("EventIngress", "maxBytes", options.maxBytes ?? defaults.maxBytes, 1)
    const bodyTimeout = Duration.fromInputUnsafe(options.bodyTimeout ?? defaults.bodyTimeout)
    const writeTimeout = Duration.fromInputUnsafe(options.writeTimeout ?? defaults.writeTimeout)
    const retryAfter = Duration.fromInputUnsafe(options.retryAfter ?? defaults.retryAfter)
    const repeats = deduplicate === false ? undefined : makeRepeats(deduplicate, options.verify)
    const choose = makeChoose(envelopes)
    const identify = yield* makeIdentify
    const authenticate = options.verify && (yield* makeAuthenticate(options.verify, log))
    const handshake = options.handshake && makeHandshake(options.handshake)
    const allow = handshake === undefined ? "POST" : "POST, OPTIONS"
    const keep = onRefused && makeOnRefused({ name, onRefused, timeout: writeTimeout, retryAfter })
    const taker = new Taker<A, E>({
      sink: yield* Effect.isEffect(source) ? source : Effect.succeed(source),
      repeats,
      writeTimeout,
      retryAfter,
      refusal,
      log
    })

    return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      const { headers, method } = request
      let unread = RequestBody.hasBody(request)
      let [events, repeated] = [0, 0]
      let problem: Problem | undefined
      const receive = Effect.gen(function* () {
        if (method === "OPTIONS" && handshake !== undefined) return yield* handshake(headers, allow)
        if (method !== "POST") return yield* Effect.fail(refused(405, `Expected ${allow}, got ${method}`, { allow }))
        yield* RequestBody.judge(request, maxBytes)
        const chosen = yield* Effect.result(Effect.andThen(RequestBody.judgeCoding(headers), choose(headers)))
        // The body is not asked for where it would not be kept.
        if (Result.isFailure(chosen) && keep === undefined) return yield* Effect.fail(chosen.failure)
        const message = { headers, body: yield* RequestBody.read(request, maxBytes, bodyTimeout) }
        unread = false
        const signed = authenticate && (yield* authenticate(message))
        const taking = Effect.gen(function* () {
          const envelope = yield* Effect.fromResult(chosen)
          const decoded = yield* Effect.mapError(envelope.decode(message), (error) => refused(400, error.message))
          yield* log.doubtful(envelope.accepts?.warning?.(headers))
          const ids = repeats && (yield* identify(envelope, decoded, signed))
          repeated = yield* taker.take(decoded, ids)
          events = decoded.length - repeated
          return accepted
        })
        if (keep === undefined) return yield* taking
        return yield* Effect.catch(taking, (refusal) => {
          if (!isOfContent(refusal)) return Effect.fail(refusal)
          problem = refusal.problem
          return keep(message, refusal)
        })
      })
      return receive.pipe(
        Effect.catch((refusal) => Effect.succeed(refusal)),
        Effect.catchCause((cause) =>
          // A sender that went away, or a server that closes at once, has no answer of this.
          Cause.hasInterruptsOnly(cause) ? Effect.failCause(cause) : taker.died(cause)
        ),
        Effect.flatMap((answer) => {
          if (!(answer instanceof Refused)) return Effect.as(refusals.accepted, answer)
          problem ??= answer.problem
          return Effect.as(answer.status < 500 ? refusals.refused(answer) : Effect.void, answer.response)
        }),
        Effect.tap(({ status }) =>
          log.telling(onAnswer, { status, events, repeats: repeated, ...(problem === undefined ? {} : { problem }) })
        ),
        // What is left of a body is not waited for.
        Effect.map((response) => (unread ? HttpServerResponse.setHeader(response, "connection", "close") : response))
      )
    })
  })

/**
 * The layer of a route that takes events in, and writes them to a sink or to that of an Effect, such as a tag.
 *
 * **Details**
 *
 * | Answer | When                                                                                                 |
 * | ------ | ---------------------------------------------------------------------------------------------------- |
 * | 202    | all events of the request are committed, or were before                                              |
 * | 400    | what came is not what the envelope says; `detail` tells what is wrong and where                      |
 * | 401    | the signature is missing, wrong, or too old                                                          |
 * | 405    | the method is not POST; `Allow` tells                                                                |
 * | 408    | the body did not come in time                                                                        |
 * | 413    | the body is too large. It is counted as it is read, whatever its length is said to be                |
 * | 415    | no envelope accepts the content type (`Accept` tells), or the body is encoded, as by gzip            |
 * | 503    | the sink is closed, failed, died or was too slow; `Retry-After` tells when to come again             |
 *
 * All but 202 carry a problem document (RFC 9457). A run of refused signatures, of other answers of 4xx, or of answers of
 * 503 is logged at doubling counts: a 4xx with the last `detail`, none with the body. A request that was taken ends a run
 * of 4xx a minute after the last line of that run. What an envelope warns of,
 * such as an unknown version, is logged once.
 *
 * An id counts once its events are committed. Of two requests with one id at once the second waits for the first, and
 * writes when that one failed. The id is that of the signature where requests are signed, else what the envelope says
 * tells events apart: source and id of a `CloudEvent`, `id` of all others. An envelope without ids has no repeats.
 *
 * Events are written in their order. When the sink fails in the middle of a request, a part of it is committed; the
 * sender repeats all of it, and by the ids only the rest is written then. Without ids that part is written twice.
 *
 * **Gotchas**
 *
 * A 202 over a sink in memory is lost with the process.
 *
 * An answer of 503 may follow a commit: a write that took longer than `writeTimeout` is interrupted, and the events may be
 * committed all the same. Repeats must be expected, here as from any sender. While a write refuses to be interrupted its
 * ids stay claimed, and their repeats are answered with 503.
 *
 * Whoever may send without a signature may also send an id before its owner does, whose event then passes for a repeat:
 * `deduplicate: false` where senders do not trust each other. The ids are in memory, each process has its own.
 *
 * What Node or the server's adapter refuses before that is answered by them, with a bare 400, 408, 411, 413, 417 or 431.
 *
 * **Example** (A route over a sink)
 *
 * ```ts
 * import { Console, Context, Layer, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { Envelope, EventIngress } from "effect-events/http"
 * import { HttpRouter } from "effect/http"
 *
 * const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
 *
 * class Orders extends Context.Service<Orders, EventSink.EventSink<typeof Order.Type>>()("app/Orders") {}
 *
 * const OrdersLive = EventSink.layer(
 *   Orders,
 *   EventSink.make((order) => Console.log("took", order.id))
 * )
 * const Route = EventIngress.layer(Orders, {
 *   path: "/orders",
 *   envelopes: [Envelope.json(Order, { id: (order) => order.id })]
 * })
 *
 * // HttpRouter.serve(Route) is the layer of a server
 * const { dispose, handler } = HttpRouter.toWebHandler(Layer.provide(Route, OrdersLive), { disableLogger: true })
 * for (const body of ['{"id":"a","total":1}', '{"id":"a","total":1}', '{"id":"b","total":"1"}']) {
 *   const headers = { "content-type": "application/json" }
 *   const answer = await handler(new Request("http://receiver.test/orders", { method: "POST", headers, body }))
 *   console.log(answer.status, await answer.text())
 * }
 * await dispose()
 * // prints: took a
 * // prints: 202
 * // prints: 202
 * // prints: 400 {"type":"about:blank","title":"Bad Request","status":400,"detail":"Expected number at [\"total\"]"}
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <A, E = never, X = never, R = never>(
  source: Source<A, E, X, R>,
  options: RouteOptions<A, NoInfer<E>>
): Layer.Layer<never, X | InvalidSecret, HttpRouter.HttpRouter | Exclude<R, Scope.Scope>> =>
  HttpRouter.use((router) =>
    Effect.flatMap(make(source, { ...options, name: options.name ?? options.path }), (handle) =>
      router.add("*", options.path, handle)
    )
  )
