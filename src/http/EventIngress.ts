/**
 * Receives events over HTTP: a route of an `HttpRouter` that decodes requests by its envelopes and writes their events to a
 * sink. 202 is answered after the sink has committed all events of the request, and never before. A bad request is answered
 * with a 4xx that says what is wrong and where, and a failure of the sink with 503.
 *
 * **Gotchas**
 *
 * A 202 is worth what the sink's commit is worth. Over a sink in memory, such as an `EventQueue`, a `Broadcaster` or an
 * `Endpoint`, an event that was answered with 202 is lost with the process.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import { count } from "../internal/options.ts"
import { type EventSink, fromSource, type Source } from "../internal/sink.ts"
import type { Stamped } from "../internal/stamp.ts"
import type { Envelope } from "./Envelope.ts"
import { announceBody } from "./internal/envelope/headers.ts"
import { makeCommitEvents } from "./internal/ingress/commitEvents.ts"
import { type Deduplication, deduplicationDefaults, makeDeduplicate } from "./internal/ingress/deduplication.ts"
import { asTheyAre, stampedBy, type ToWritten } from "./internal/ingress/eventIds.ts"
import { makeSelectEnvelope } from "./internal/ingress/envelopeSelection.ts"
import { type Handshake, makeHandshake } from "./internal/ingress/handshake.ts"
import { makeIngressLog } from "./internal/ingress/ingressLog.ts"
import { makeAnswerRefused, type OnRefused } from "./internal/ingress/onRefused.ts"
import { type Problem, problemOf, refuse, refuseDied, type Reply, toResponse } from "./internal/ingress/refusal.ts"
import { checkFraming, readBody } from "./internal/ingress/requestBody.ts"
import { makeVerify, type Verification } from "./internal/ingress/verification.ts"
import type { InvalidSecret } from "./WebhookSignature.ts"

export type { Deduplication } from "./internal/ingress/deduplication.ts"
export type { Handshake } from "./internal/ingress/handshake.ts"
export type { OnRefused } from "./internal/ingress/onRefused.ts"
export type { Problem, Reply } from "./internal/ingress/refusal.ts"
export type { Sender, Verification } from "./internal/ingress/verification.ts"

/**
 * An answer that was given.
 *
 * @category models
 * @since 0.1.0
 */
export interface Answer {
  readonly status: number
  /** How many events were committed: 0 unless the status is 202, although a part of a batch may have been committed. */
  readonly events: number
  /** How many events were duplicates, and not written again. */
  readonly duplicates: number
  /**
   * Why the request was refused; absent when its events were committed. `status` differs from the problem's where
   * `onRefused` gave another answer, or failed.
   */
  readonly problem?: Problem | undefined
  /** The name of the sender of a signed request; absent without `verify.senders`. */
  readonly sender?: string | undefined
}

/**
 * Options of a handler that receives events.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A, in E = never> {
  /** What requests may look like. Of two envelopes that accept a request, the first decodes it. */
  readonly envelopes: NonEmptyReadonlyArray<Envelope<A>>
  /** Its name in the log: the path by default. */
  readonly name?: string | undefined
  /** Accepts signed requests only. */
  readonly verify?: Verification | undefined
  /** How many bytes a body may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  /** How long a body may take to come: 10 seconds by default. The headers are for the server to bound. */
  readonly bodyTimeout?: Duration.Input | undefined
  /** How long the sink may take to commit a request, or `onRefused` to keep one: 10 seconds by default. */
  readonly writeTimeout?: Duration.Input | undefined
  /** The `Retry-After` of a 429 or a 503: 5 seconds by default. In whole seconds, at least 1. */
  readonly retryAfter?: Duration.Input | undefined
  /** Which duplicates are recognised; `false` for none. */
  readonly deduplicate?: Deduplication | false | undefined
  /** Answers the handshake of the CloudEvents webhook specification. Without it OPTIONS is answered with 405. */
  readonly handshake?: Handshake | undefined
  /** The answer to an error of the sink's own type, from 400 to 599: 503 by default. */
  readonly refusal?: ((error: E) => Reply) | undefined
  /** Keeps a request that is refused for its content, and gives an answer in place of the refusal. */
  readonly onRefused?: OnRefused | undefined
  /** Called with each answer. For counting. */
  readonly onAnswer?: ((answer: Answer) => void) | undefined
}

/**
 * Options of a route that receives events.
 *
 * @category options
 * @since 0.1.0
 */
export interface RouteOptions<in out A, in E = never> extends Options<A, E> {
  /** The path in the router, for all methods. */
  readonly path: HttpRouter.PathInput
}

/**
 * The defaults of the options.
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
  ...deduplicationDefaults
} as const

/** Answers one request. */
type Handle = Effect.Effect<HttpServerResponse.HttpServerResponse, never, HttpServerRequest.HttpServerRequest>

/**
 * Makes the request handler of an ingress, for a place other than an `HttpRouter`. `layer` documents its answers.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never, X = never, R = never>(
  source: Source<EventSink<A, E>, X, R>,
  options: Options<A, NoInfer<E>>
): Effect.Effect<Handle, X | InvalidSecret, R | Scope.Scope> => makeWith(source, options, asTheyAre<A>())

/**
 * The same over a sink of stamped events: `layerStamped` documents the ids.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeStamped = <A, E = never, X = never, R = never>(
  source: Source<EventSink<Stamped<A>, E>, X, R>,
  options: Options<A, NoInfer<E>>
): Effect.Effect<Handle, X | InvalidSecret, R | Scope.Scope> =>
  Effect.flatMap(stampedBy<A>(), (toWritten) => makeWith(source, options, toWritten))

/**
 * The layer of a route that receives events and writes them to a sink, given as itself or as an Effect, such as a tag.
 *
 * **Details**
 *
 * | Answer | When                                                                                                 |
 * | ------ | ---------------------------------------------------------------------------------------------------- |
 * | 202    | all events of the request are committed, by this request or by an earlier one                        |
 * | 400    | the envelope does not decode the request; `detail` says what is wrong and where                      |
 * | 401    | the signature is missing, wrong, or too old                                                          |
 * | 405    | the method is not POST; `Allow` has the accepted ones                                                |
 * | 408    | the body did not come in time                                                                        |
 * | 413    | the body is too large. Its bytes are counted as they are read, whatever its `Content-Length`         |
 * | 415    | no envelope accepts the content type (`Accept` has the accepted ones), or the body is encoded        |
 * | 503    | the sink is closed, failed, died or was too slow; `Retry-After` has the time to wait                 |
 *
 * All but 202 carry a problem document (RFC 9457). A run of failed authentications, of other answers of 4xx, or of answers
 * of 503 is logged at doubling counts: a 4xx with the last `detail`, none with the body. An accepted request ends a run of
 * 4xx a minute after the last line of that run. A warning of an envelope, such as an unknown version, is logged once.
 *
 * An id counts from the commit of its event on. Of two concurrent requests with one id the second waits for the first, and
 * writes when the first failed. The id of a signed request is that of its signature, and known for its sender alone. Otherwise
 * each event has the identity of its envelope: source and id of a `CloudEvent`, `id` of all others. Events without an id are never
 * duplicates.
 *
 * Events are written in order. When the sink fails in the middle of a request, a part of the request is committed. The
 * sender redelivers the whole request, and with ids only the other events are written then. Without ids the committed part
 * is written twice.
 *
 * **Gotchas**
 *
 * A 202 over a sink in memory is lost with the process.
 *
 * An answer of 503 may follow a commit: a write that takes longer than `writeTimeout` is interrupted, and its events may be
 * committed all the same. The sink must expect redeliveries, as of any sender. A write that refuses interruption keeps its
 * ids claimed until it ends, and duplicates are answered with 503 meanwhile.
 *
 * A sender without a signature can send an id of another sender first, and the genuine event is then a duplicate: where senders
 * do not trust each other, give each a name in `verify.senders`, or set `deduplicate: false`. The ids are in memory, and each
 * process has its own: after a restart, on another machine, and beyond `maxIds`, a signed request can be replayed within its
 * tolerance. Over a durable part see `layerStamped`.
 *
 * Node and the server's adapter refuse some requests before a route sees them, with a bare 400, 408, 411, 413, 417 or 431.
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
  source: Source<EventSink<A, E>, X, R>,
  options: RouteOptions<A, NoInfer<E>>
): Layer.Layer<never, X | InvalidSecret, HttpRouter.HttpRouter | Exclude<R, Scope.Scope>> =>
  HttpRouter.use((router) =>
    Effect.flatMap(make(source, { ...options, name: options.name ?? options.path }), (handle) =>
      router.add("*", options.path, handle)
    )
  )

/**
 * The layer of a route over a sink of stamped events, which has the id of each event as its sender gave it: for a durable part that
 * recognises duplicates in its store, in all processes and after a restart.
 *
 * **Details**
 *
 * The stamp has the id by which `layer` recognises duplicates: of an event that is not signed the identity of its envelope, of a
 * signed request `0/` with the id of the request, `1/` for its second event and so on, and the name of the sender with a `/` before
 * that, where senders have names. An id of more than 256 characters, with a NUL or with half a character is its SHA-256 digest, in
 * hexadecimal digits after `sha256:`. An event without an id gets a random one. `time` is when the request was received.
 *
 * **Gotchas**
 *
 * The store knows an id for all routes that write to the part: an event of one route is a duplicate of another's with the same id.
 * Where the ids of routes are not of one source, give each its own part, or its sender a name in `verify.senders`.
 *
 * **Example** (Webhooks that are stored once)
 *
 * ```ts
 * import { Context, Effect, Layer, Schema } from "effect"
 * import { EventSink } from "effect-events"
 * import { DurableQueue, MemoryStore } from "effect-events/durable"
 * import { Envelope, EventIngress } from "effect-events/http"
 *
 * const Order = Schema.Struct({ total: Schema.Int })
 * type Received = EventSink.Stamped<typeof Order.Type>
 *
 * class Orders extends Context.Service<Orders, DurableQueue.DurableQueue<Received>>()("app/Orders") {
 *   static readonly layer = EventSink.layer(
 *     Orders,
 *     DurableQueue.make({
 *       name: "orders",
 *       schema: DurableQueue.stamped(Order),
 *       id: ({ id }: Received) => id,
 *       deduplication: "3 days"
 *     })(EventSink.make(({ event, id }: Received) => Effect.log("order", id, event.total)))
 *   )
 * }
 *
 * const Route = EventIngress.layerStamped(Orders, { path: "/orders", envelopes: [Envelope.json(Order)] }).pipe(
 *   Layer.provide(Orders.layer),
 *   Layer.provide(MemoryStore.layer)
 * )
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layerStamped = <A, E = never, X = never, R = never>(
  source: Source<EventSink<Stamped<A>, E>, X, R>,
  options: RouteOptions<A, NoInfer<E>>
): Layer.Layer<never, X | InvalidSecret, HttpRouter.HttpRouter | Exclude<R, Scope.Scope>> =>
  HttpRouter.use((router) =>
    Effect.flatMap(makeStamped(source, { ...options, name: options.name ?? options.path }), (handle) =>
      router.add("*", options.path, handle)
    )
  )

// internals

const makeWith = <A, B, E, X, R>(
  source: Source<EventSink<B, E>, X, R>,
  options: Options<A, NoInfer<E>>,
  toWritten: ToWritten<A, B>
): Effect.Effect<Handle, X | InvalidSecret, R | Scope.Scope> =>
  Effect.gen(function* () {
    const { envelopes, name = "EventIngress", onAnswer, onRefused } = options
    const maxBytes = count("EventIngress", "maxBytes", options.maxBytes ?? defaults.maxBytes, 1)
    const bodyTimeout = Duration.fromInputUnsafe(options.bodyTimeout ?? defaults.bodyTimeout)
    const writeTimeout = Duration.fromInputUnsafe(options.writeTimeout ?? defaults.writeTimeout)
    const retryAfter = Duration.fromInputUnsafe(options.retryAfter ?? defaults.retryAfter)
    const log = makeIngressLog(name)
    const report = (answer: Answer) =>
      Effect.catchDefect(
        Effect.sync(() => onAnswer?.(answer)),
        log.unreported
      )
    const verify = options.verify && (yield* makeVerify(options.verify))
    const handshake = options.handshake && makeHandshake(options.handshake)
    const allow = handshake === undefined ? "POST" : "POST, OPTIONS"
    const selectEnvelope = makeSelectEnvelope(envelopes)
    const deduplicate = yield* makeDeduplicate(options.deduplicate ?? {}, options.verify, log.evicted)
    const sink = yield* fromSource(source)
    const commitEvents = makeCommitEvents(sink, toWritten, deduplicate, writeTimeout, options.refusal)
    const answerRefused = onRefused && makeAnswerRefused(onRefused, writeTimeout)

    return Effect.flatMap(HttpServerRequest.HttpServerRequest, (request) => {
      const { headers, method } = request
      let isUnread = announceBody(headers)
      let committed = { events: 0, duplicates: 0 }
      let problem: Problem | undefined
      let sender: string | undefined
      const receive = Effect.gen(function* () {
        if (method === "OPTIONS" && handshake !== undefined) return yield* handshake(headers, allow)
        if (method !== "POST") return yield* refuse(405, `Expected ${allow}, got ${method}`, { headers: { allow } })
        yield* checkFraming(request, maxBytes)
        const selected = selectEnvelope(headers)
        // The body is read only where it is decoded or kept.
        if (answerRefused === undefined) yield* selected
        const received = { headers, body: yield* readBody(request, maxBytes, bodyTimeout) }
        isUnread = false
        const genuine = verify && (yield* verify(received))
        sender = genuine?.sender
        const message = sender === undefined ? received : { ...received, sender }
        const commit = Effect.gen(function* () {
          const envelope = yield* selected
          const events = yield* Effect.catch(envelope.decode(message), (error) => refuse(400, error.message))
          yield* log.warning(envelope.accepts?.warning?.(headers))
          const duplicates = yield* commitEvents(envelope, events, genuine)
          committed = { events: events.length - duplicates, duplicates }
          return accepted
        })
        return yield* Effect.catch(commit, (refused) => {
          problem = problemOf(refused)
          return answerRefused === undefined ? Effect.fail(refused) : answerRefused(message, refused)
        })
      })
      return receive.pipe(
        Effect.catchDefect(refuseDied),
        Effect.matchEffect({
          onSuccess: (response) => Effect.as(log.accepted(committed.events, problem !== undefined), response),
          onFailure: (refused) => {
            problem ??= problemOf(refused)
            return Effect.as(log.refused(refused, sender), toResponse(refused, retryAfter))
          }
        }),
        Effect.tap(({ status }) =>
          report({ status, ...committed, ...(problem && { problem }), ...(sender !== undefined && { sender }) })
        ),
        // The rest of a body is not waited for.
        Effect.map((response) => (isUnread ? HttpServerResponse.setHeader(response, "connection", "close") : response))
      )
    })
  })

const accepted = HttpServerResponse.empty({ status: 202, headers: { "content-length": "0" } })
