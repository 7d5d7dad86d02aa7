/**
 * Posts events to a url: go-events' `httpSink`, and the end of most pipelines. A write succeeds when the receiver accepted
 * the event, and fails with one error, `HttpSinkError`, otherwise. Without an answer the receiver may have the event all the
 * same, and a second write is a redelivery: at least once.
 *
 * It never retries, never follows a redirect, and never invents an id. It shows no secret in an error, a log or a span.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Bytes from "effect/Bytes"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as HttpClient from "effect/http/HttpClient"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import type { RateLimiterError } from "effect/persistence/RateLimiter"
import type * as Scope from "effect/Scope"
import { type BatchSink, type EventSink, make as makeSink, makeBatch, type MakeOptions } from "../EventSink.ts"
import { makeCommitting } from "../internal/batching/makeCommitting.ts"
import { EnvelopeError } from "../internal/encoding/envelopeError.ts"
import { monotonicMillis } from "../internal/monotonic.ts"
import { count } from "../internal/options.ts"
import { type Classification, standardWebhooks } from "./Classification.ts"
import type { Envelope, Part } from "./Envelope.ts"
import {
  Encode,
  HttpSinkError,
  type InvalidHeader,
  type InvalidUrl,
  type Reason,
  RateLimited,
  Status,
  TooLarge
} from "./HttpSinkError.ts"
import { type EncodePart, ToText } from "./internal/envelope/body.ts"
import { type Content, makeBatchContent } from "./internal/sink/batchContent.ts"
import {
  type Answered,
  answeredBy,
  type ClientError,
  makeExchange,
  makeTransformed,
  type TransformClient
} from "./internal/sink/exchange.ts"
import { partHeaderProblem } from "./internal/sink/headerProblem.ts"
import { makeLastAttempts } from "./internal/sink/lastAttempts.ts"
import { retryAfterOf } from "./internal/sink/retryAfterOf.ts"
import { makeSigner, type Signing } from "./internal/sink/signer.ts"
import { makeTarget, type TargetOptions } from "./internal/sink/target.ts"
import { transportReason } from "./internal/sink/transportReason.ts"
import type { InvalidSecret } from "./WebhookSignature.ts"

export { HttpSinkError, InvalidHeader, InvalidUrl, isTransient } from "./HttpSinkError.ts"
export type { Signing } from "./internal/sink/signer.ts"
export type { TargetOptions } from "./internal/sink/target.ts"
export type { ClientError, TransformClient } from "./internal/sink/exchange.ts"

/**
 * Options of a sink that posts events.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends Omit<MakeOptions, "kind">, TargetOptions {
  /** What an event looks like on the wire. */
  readonly envelope: Envelope<A>
  readonly signing?: Signing<A> | undefined
  /** Wraps the client for what may wait or try again, such as `HttpClient.withRateLimiter`: outside of `timeout`. */
  readonly transformClient?: TransformClient | undefined
  /** How long a request may take, from connecting to the end of the answer: 5 seconds by default. */
  readonly timeout?: Duration.Input | undefined
  /** What answers mean: `Classification.standardWebhooks` by default. */
  readonly classification?: Classification | undefined
  /** The longest `retryAfter` that an error carries: 1 hour by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** How many events a request may carry, if the envelope can hold many: 100 by default. */
  readonly maxEvents?: number | undefined
  /**
   * How long an event may wait for others to share its request, as in a `BatchingSink`, whose node is then in front: not at
   * all by default. A write succeeds with its request. A request that is refused for its content (by 400, 413 or 422, or for
   * good) is made again with fewer events, so that only what is refused fails. With an envelope that holds one event this
   * does nothing.
   */
  readonly maxAge?: Duration.Input | undefined
  /** How many bytes the body of a request may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  /** How many of the first bytes of an answer `onAttempt` is given: none by default, since they are the receiver's own. */
  readonly answerBytes?: number | undefined
  /**
   * Is called for each request that is over, and for each event that could not be made into a request. For counting: what it
   * throws is a defect of the write.
   */
  readonly onAttempt?: ((attempt: Attempt) => void) | undefined
}

/**
 * A request that is over, other than by an interruption.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt {
  /** How many events it carried. */
  readonly events: number
  /** What was answered, if anything was. */
  readonly status: number | undefined
  /** The first bytes of the body of that, as far as they have come, where `answerBytes` asks for them. */
  readonly answer?: Uint8Array | undefined
  /** Why it does not count as accepted; nothing when it does. */
  readonly error: HttpSinkError | undefined
  /** When it was begun, in milliseconds of the `Clock`. */
  readonly at: number
  /** How long it took, in milliseconds, any wait of `transformClient` included; 0 where no request could be made. */
  readonly duration: number
}

/**
 * Makes a sink that posts events.
 *
 * **Details**
 *
 * A url, a header or a secret that cannot work fails here and not at the first event. A limit that is no count is a defect,
 * and so is signing without ids. The `HttpClient` is captured here; a client that retries is bounded by
 * `timeout` as a whole.
 *
 * With an envelope that can hold many events the sink takes batches: a request has as many leading events as fit `maxEvents`
 * and `maxBytes`. An event that is too large or cannot be encoded ends the request before it, and fails when it is the first.
 *
 * The status is the verdict. The body of an answer is read up to 64 KiB, so that its connection is used again, and
 * otherwise dropped with its connection. What happens then changes nothing of the verdict.
 *
 * A request in a span, or under a tracer other than Effect's own, gets a span and carries its trace context.
 *
 * **Gotchas**
 *
 * A signed request of several events has an id that is derived from theirs, in order: `batch_` and the first 32 hex digits
 * of the SHA-256 of each id in UTF-8, after its length in bytes and a colon. The same batch has the same id at a
 * redelivery; the same events in other batches do not. A receiver that must recognise duplicates needs the events' own ids.
 *
 * A rate limit belongs into `transformClient`, which is called once. Each request then has its own `timeout` and signature,
 * from when it is sent. In a client that is limited already, `timeout` includes the wait for a permit. Where it makes a
 * request again, `onAttempt` and the error are about the last one alone. The bodies of answers have been read there.
 *
 * A redirect is an answer that the classification judges. A `FetchHttpClient` gets `redirect: "manual"` by its `RequestInit`;
 * a client that is made to follow redirects by `HttpClient.followRedirects` does.
 *
 * **Example** (Posting to a receiver that is down)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import { FetchHttpClient } from "effect/http"
 * import type { Envelope } from "effect-events/http/Envelope"
 * import * as HttpSink from "effect-events/http/HttpSink"
 *
 * const text: Envelope<string> = {
 *   contentType: "text/plain",
 *   join: undefined,
 *   id: undefined,
 *   encode: (event) => Effect.succeed({ body: new TextEncoder().encode(event), headers: {} }),
 *   decode: ({ body }) => Effect.succeed([new TextDecoder().decode(body)])
 * }
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* HttpSink.make({
 *     name: "audit",
 *     url: "http://127.0.0.1:2/events?tenant=7",
 *     envelope: text,
 *     headers: { authorization: Redacted.make("Bearer secret") }
 *   })
 *   const error = yield* Effect.flip(sink.write("hello"))
 *   console.log(error.message)
 * })
 *
 * Effect.runPromise(Effect.scoped(Effect.provide(program, FetchHttpClient.layer)))
 * // prints: "audit" could not post to http://127.0.0.1:2/events: no connection (ECONNREFUSED)
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(
  options: Options<A>
): Effect.Effect<
  EventSink<A, HttpSinkError>,
  InvalidUrl | InvalidHeader | InvalidSecret,
  HttpClient.HttpClient | Scope.Scope
> =>
  Effect.gen(function* () {
    const { classification = standardWebhooks, envelope, onAttempt, signing, transformClient } = options
    const { contentType, join } = envelope
    const maxEvents = count("HttpSink.make", "maxEvents", options.maxEvents ?? 100, 1)
    const maxBytes = count("HttpSink.make", "maxBytes", options.maxBytes ?? 1024 * 1024, 1)
    const timeout = Duration.fromInputUnsafe(options.timeout ?? "5 seconds")
    const maxRetryAfter = Duration.fromInputUnsafe(options.maxRetryAfter ?? "1 hour")
    const answerBytes = count("HttpSink.make", "answerBytes", options.answerBytes ?? 0, 0)
    const target = yield* makeTarget(options)
    const signer = signing && (yield* makeSigner(signing, envelope))
    const exchange = yield* makeExchange(yield* HttpClient.HttpClient, timeout, target, answerBytes)
    const send: (request: HttpClientRequest.HttpClientRequest) => Effect.Effect<Answered, ClientError> =
      transformClient === undefined ? exchange : makeTransformed(transformClient, exchange, signer?.refresh)
    const empty = HttpClientRequest.post(target.href, { urlParams: target.params, headers: target.headers })

    const failure = (reason: Reason, transient: boolean) =>
      new HttpSinkError({ sink: sink.node.name, url: target.shown, reason, transient })

    const requestOf = ({ body, headers }: Content<A>) =>
      HttpClientRequest.setBody(
        HttpClientRequest.setHeaders(empty, headers),
        HttpBody.uint8Array(body, headers["content-type"] ?? contentType)
      )
    const last = makeLastAttempts()
    const ended = (
      { at, clock, events, monotonic }: Begun,
      status: number | undefined,
      error?: HttpSinkError,
      answer?: Answered
    ) => {
      const duration = monotonicMillis(clock) - monotonic
      // A request that a disabled endpoint holds back was not made.
      if (error?.reason._tag !== "Disabled") {
        const outcome = error !== undefined && status === undefined ? error.reason._tag : String(status)
        last.add({ at, duration, events, outcome, error: error?.reason.message })
      }
      const kept = answer === undefined || answerBytes === 0 ? {} : { answer: Bytes.concat(answer.head) }
      onAttempt?.({ events, status, error, at, duration, ...kept })
    }
    const failed = (begun: Begun, error: HttpSinkError, answer?: Answered) => {
      ended(begun, error.reason._tag === "Status" ? error.reason.status : undefined, error, answer)
      return Effect.fail(error)
    }
    const answered = (begun: Begun, answer: Answered): Effect.Effect<number, HttpSinkError> => {
      const { headers, status } = answer
      const verdict = classification({ status, headers })
      if (verdict !== "accepted") {
        return Effect.flatMap(retryAfterOf(headers["retry-after"], maxRetryAfter), (retryAfter) =>
          failed(begun, failure(new Status({ status, retryAfter }), verdict === "transient"), answer)
        )
      }
      ended(begun, status, undefined, answer)
      return Effect.succeed(begun.events)
    }
    const unanswered = (begun: Begun, error: ClientError): Effect.Effect<number, HttpSinkError> => {
      // What is around the sink's own client may fail for a status, too.
      if ("response" in error.reason) return answered(begun, answeredBy(error.reason.response))
      const why = error._tag === "RateLimiterError" ? rateLimited(error, maxRetryAfter) : transportReason(error)
      // An address in the url stays. One that a redirect led to may not.
      const isLasting = why._tag === "ForbiddenAddress" && why.isLiteral && why.host === target.host
      return failed(begun, failure(why, !isLasting))
    }
    const unsendable = (cause: Encode["cause"] | TooLarge) =>
      Clock.clockWith((clock) =>
        failed(begin(clock, 1), failure(cause instanceof TooLarge ? cause : new Encode({ cause }), false))
      )
    let attempts = 0
    const request = (content: Content<A>) => {
      attempts++
      return send(requestOf(content))
    }
    const post = (content: Effect.Effect<Content<A>, Encode["cause"] | TooLarge>) =>
      Effect.flatMapEager(Effect.catchEager(content, unsendable), (content) =>
        Clock.clockWith((clock) => {
          const begun = begin(clock, content.events.length)
          // Outside of the timeout, which can be up between the report of a request and the end of its fiber.
          return Effect.matchEffect(request(content), {
            onFailure: (error) => unanswered(begun, error),
            onSuccess: (answer) => answered(begun, answer)
          })
        })
      )
    const signed = (content: Effect.Effect<Content<A>, EnvelopeError | TooLarge>) =>
      signer === undefined
        ? content
        : Effect.flatMap(content, (content) =>
            Effect.map(signer.sign(content.body, content.events), (signature) => ({
              ...content,
              headers: { ...content.headers, ...signature }
            }))
          )
    const encode = (event: A) => Effect.flatMapEager(envelope.encode(event), checked)
    const contentOfOne = (event: A) =>
      Effect.flatMapEager(encode(event), ({ body, headers }) =>
        body.length > maxBytes
          ? Effect.fail(new TooLarge({ bytes: body.length, maxBytes }))
          : Effect.succeed({ body, headers, events: [event] as const })
      )

    const controls = { attempts: last.all, ...options.controls }
    const leaf = { ...options, kind: "HttpSink", attempts: () => attempts, controls }
    const { [ToText]: toText }: EncodePart<A> = envelope.encode
    const contentOf = join && makeBatchContent(toText ?? encode, join, { maxEvents, maxBytes })
    const sink: EventSink<A, HttpSinkError> =
      contentOf === undefined
        ? yield* makeSink((event: A) => post(signed(contentOfOne(event))), leaf)
        : maxEvents === 1
          ? yield* makeSink((event: A) => post(signed(contentOf([event]))), leaf)
          : yield* makeBatch((events: NonEmptyReadonlyArray<A>) => post(signed(contentOf(events))), leaf)
    const { drainTimeout, maxAge, name } = options
    if (maxAge === undefined || !isBatchSink(sink)) return sink
    return yield* makeCommitting(sink, { name, batchSize: maxEvents, maxAge, drainTimeout, isIsolated: isAboutEvents })
  })

// internals

/** A request that is under way. */
interface Begun {
  readonly clock: Clock.Clock
  readonly events: number
  readonly at: number
  readonly monotonic: number
}

const begin = (clock: Clock.Clock, events: number): Begun => ({
  clock,
  events,
  at: clock.currentTimeMillisUnsafe(),
  monotonic: monotonicMillis(clock)
})

const isBatchSink = <A, E>(sink: EventSink<A, E>): sink is BatchSink<A, E> => sink.writeSome !== undefined

/** The answers that are about the content of a request (RFC 9110, sections 15.5.1, 15.5.14 and 15.5.21). */
const aboutContent = [400, 413, 422]

/** Whether a request was refused for what is in it: fewer events in each are of no use to a receiver that is down. */
const isAboutEvents = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.every((one) => {
    if (!Cause.isFailReason(one)) return true
    const { error } = one
    if (!(error instanceof HttpSinkError)) return false
    return error.permanent || (error.reason._tag === "Status" && aboutContent.includes(error.reason.status))
  })

const rateLimited = ({ reason }: RateLimiterError, maxRetryAfter: Duration.Duration) =>
  new RateLimited({
    code: reason._tag,
    retryAfter: reason._tag === "RateLimitExceeded" ? Duration.min(reason.retryAfter, maxRetryAfter) : undefined
  })

/** Refuses headers that a client would refuse at each attempt, as if the connection had failed. */
const checked = (part: Part): Effect.Effect<Part, EnvelopeError> => {
  for (const name in part.headers) {
    const problem = partHeaderProblem(name, part.headers[name])
    if (problem === undefined) continue
    return Effect.fail(new EnvelopeError({ direction: "encode", message: `the header ${name} ${problem}` }))
  }
  return Effect.succeed(part)
}
