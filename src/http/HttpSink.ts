/**
 * Posts events to a url: go-events' `httpSink`, and the end of most pipelines. A write succeeds when the receiver answered
 * that it took the event, and fails with one error, `HttpSinkError`, when it did not or when no answer came. Without an
 * answer the receiver may have the event all the same, and a write that is repeated delivers it twice: at least once.
 *
 * It never retries, never follows a redirect, and never invents an id. It shows no secret in an error, a log or a span.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as HttpClient from "effect/http/HttpClient"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import { type EventSink, make as makeSink, makeBatch, type MakeOptions } from "../EventSink.ts"
import { Exchange, type Failed, initOf } from "./internal/sink/exchange.ts"
import { Filler, type Filled } from "./internal/sink/fill.ts"
import { makeSigner } from "./internal/sink/signer.ts"
import { makeTarget } from "./internal/sink/target.ts"
import { count } from "../internal/options.ts"
import { type Classification, standardWebhooks } from "./Classification.ts"
import type { Envelope } from "./Envelope.ts"
import { Encode, HttpSinkError, type InvalidHeader, type InvalidUrl, TooLarge } from "./HttpSinkError.ts"
import type { InvalidSecret } from "./WebhookSignature.ts"

export { HttpSinkError, InvalidHeader, InvalidUrl, isTransient } from "./HttpSinkError.ts"

/**
 * How requests are signed: Standard Webhooks, see `WebhookSignature`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Signing<in A> {
  /** Each of them signs: while a secret is being replaced, the old one and the new. */
  readonly secrets: NonEmptyReadonlyArray<Redacted.Redacted<string>>
  /** The id of an event, the same at every attempt: the envelope's by default. */
  readonly id?: ((event: A) => string) | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends Omit<MakeOptions, "kind"> {
  /**
   * Where to post to: absolute, http or https. Credentials in it become a header, a fragment is left out. Errors show its
   * origin and path, and spans the names in its query too; a span may show all of a query with other escapes than those of
   * a form, so a secret belongs into a header. Of a `Redacted` one, such as that of a service that has a secret in the path,
   * errors show the origin alone.
   */
  readonly url: string | { readonly href: string } | Redacted.Redacted<string>
  /** What an event looks like on the wire. */
  readonly envelope: Envelope<A>
  /** Headers of every request. An envelope's header takes the place of one with the same name. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
  readonly signing?: Signing<A> | undefined
  /** How long a request may take, from connecting to the end of the answer: 5 seconds by default. */
  readonly timeout?: Duration.Input | undefined
  /** What answers mean: `Classification.standardWebhooks` by default. */
  readonly classification?: Classification | undefined
  /** The longest `retryAfter` that an error carries: 1 hour by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** How many events a request may carry, if the envelope can hold many: 100 by default. */
  readonly maxEvents?: number | undefined
  /** How many bytes the body of a request may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  /**
   * Is told of each request that is over, and of each event that could not be made into one. For counting: what it throws
   * is a defect of the write.
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
  /** Why it does not count as accepted; nothing when it does. */
  readonly error: HttpSinkError | undefined
}

/**
 * Makes a sink that posts events.
 *
 * **Details**
 *
 * What cannot work is refused here and not at the first event: the url, a header, a secret; a limit that is no count is
 * a defect, and so is signing without ids. The `HttpClient` is captured here; a client that retries is bounded by
 * `timeout` as a whole.
 *
 * With an envelope that can hold many events the sink takes groups: as many leading events as fit `maxEvents` and
 * `maxBytes`. An event that is too large or cannot be encoded ends the group before it, and fails when its turn comes.
 *
 * The status is the verdict. The body of an answer is read up to 64 KiB, so that its connection is used again, and
 * otherwise given up with its connection; what happens then changes nothing of the verdict.
 *
 * A request in a span, or under a tracer other than Effect's own, gets a span and carries its trace context.
 *
 * **Gotchas**
 *
 * A signed request of several events has an id that is derived from theirs, in order: `batch_` and the first 32 hex digits
 * of the SHA-256 of each id in UTF-8, after its length in bytes and a colon. The same group again has the same id; the
 * same events in other groups do not. A receiver that must recognise repeats looks at the events' own ids.
 *
 * A redirect is an answer that the classification judges. `FetchHttpClient` is told not to follow any, in what it has as
 * `RequestInit`; a client that is made to follow them by `HttpClient.followRedirects` does.
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
    const { classification = standardWebhooks, envelope, onAttempt } = options
    const maxEvents = count("HttpSink.make", "maxEvents", options.maxEvents ?? 100, 1)
    const maxBytes = count("HttpSink.make", "maxBytes", options.maxBytes ?? 1024 * 1024, 1)
    const timeout = Duration.fromInputUnsafe(options.timeout ?? "5 seconds")
    const maxRetryAfter = Duration.fromInputUnsafe(options.maxRetryAfter ?? "1 hour")
    const target = yield* makeTarget(options)
    const signed = yield* makeSigner(options.signing, envelope)
    const client = yield* HttpClient.HttpClient
    const { contentType } = envelope
    const exchange = new Exchange(client, yield* initOf(client), {
      target,
      contentType,
      classification,
      timeout,
      maxRetryAfter
    })
    const filler = new Filler(envelope, maxEvents, maxBytes)

    const ended = (events: number, status: number | undefined, error: HttpSinkError | undefined) =>
      onAttempt?.({ events, status, error })
    const failed = (events: number, { reason, transient }: Failed) => {
      const error = new HttpSinkError({ sink: sink.node.name, url: target.shown, reason, transient })
      ended(events, reason._tag === "Status" ? reason.status : undefined, error)
      return error
    }

    /** Posts what a request was filled with of `events`, and answers how many that was. */
    const post = (
      filled: Effect.Effect<Filled, Encode["cause"] | TooLarge>,
      events: NonEmptyReadonlyArray<A>
    ): Effect.Effect<number, HttpSinkError> =>
      Effect.matchEffect(
        Effect.flatMap(filled, (content) => signed(content, events)),
        {
          onFailure: (error) => {
            const reason = error instanceof TooLarge ? error : new Encode({ cause: error })
            return Effect.fail(failed(1, { reason, transient: false }))
          },
          onSuccess: (content) =>
            Effect.mapBoth(exchange.send(content), {
              onFailure: (failure) => failed(content.count, failure),
              onSuccess: (status) => {
                ended(content.count, status, undefined)
                return content.count
              }
            })
        }
      )

    const { join } = envelope
    const leaf = { ...options, kind: "HttpSink" }
    // What never fills a request with more than one event is offered them one by one.
    const sink: EventSink<A, HttpSinkError> = yield* join === undefined
      ? makeSink((event: A) => post(filler.one(event), [event]), leaf)
      : maxEvents === 1
        ? makeSink((event: A) => post(filler.some(join, [event]), [event]), leaf)
        : makeBatch((events: NonEmptyReadonlyArray<A>) => post(filler.some(join, events), events), leaf)
    return sink
  })
