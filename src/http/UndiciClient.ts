/**
 * An `HttpClient` over a dispatcher of undici, for programs on Node that send much: undici's parser calls it directly,
 * where the undici client of `@effect/platform-node` makes a `Readable`, promises and fibers for each answer. Pools,
 * connections and TLS are the dispatcher's.
 *
 * It follows no redirect, sets no limit of time, and hands over no connection after an upgrade. Interrupting a request
 * aborts it, and so does giving up its answer's body before the end.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { LazyArg } from "effect/Function"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, InvalidUrlError, TransportError } from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as Url from "effect/http/Url"
import type * as UrlParams from "effect/http/UrlParams"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import { Scope } from "effect/Scope"
import * as Stream from "effect/Stream"
import { DisablePropagation } from "effect/Tracer"
import { Answer, Response, watched } from "./internal/client/dispatchedAnswer.ts"
import { Dispatched, type Signal } from "./internal/client/dispatched.ts"

/**
 * What is used of undici's `Dispatcher`: an `Agent`, a `Pool`, a `ProxyAgent`, one composed of interceptors.
 *
 * @category models
 * @since 0.1.0
 */
export interface Dispatcher {
  // `dispatch` is declared by undici with types of its own, which change with its version.
  readonly dispatch: (options: never, handler: never) => boolean
}

/**
 * A dispatcher that can be ended.
 *
 * @category models
 * @since 0.1.0
 */
export interface OwnDispatcher extends Dispatcher {
  readonly destroy: () => Promise<void>
}

/** What a dispatcher is given. */
interface Options {
  readonly origin: string
  readonly path: string
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: unknown
  readonly headersTimeout: number
  readonly bodyTimeout: number
}

/**
 * A client over a dispatcher, which is not ended with it.
 *
 * **Gotchas**
 *
 * The dispatcher's own limits of time for an answer are switched off: use `Effect.timeout`, or `HttpSink`'s option.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (dispatcher: Dispatcher): HttpClient.HttpClient => {
  // What `Dispatched` is made for: the handlers of undici since its version 7.
  const { dispatch } = dispatcher as { readonly dispatch: (options: Options, handler: Dispatched) => boolean }
  const send = (
    request: HttpClientRequest,
    { href, origin, path }: Place,
    signal: Signal | undefined,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<Answer, HttpClientError> =>
    Effect.callback((resume) => {
      const failed = (cause: unknown): void =>
        resume(Effect.fail(new HttpClientError({ reason: new TransportError({ request, cause }) })))
      const dispatched = new Dispatched(signal, {
        answered: () => resume(Effect.succeed(new Answer(request, dispatched, href))),
        failed
      })
      try {
        const { body, headers } = contentOf(request, fiber.context)
        const { method } = request
        const options = { origin, path, method, headers, body, headersTimeout: 0, bodyTimeout: 0 }
        dispatch.call(dispatcher, options, dispatched)
      } catch (cause) {
        // What the dispatcher finds wrong with the request itself.
        failed(cause)
      }
      return Effect.sync(dispatched.abort)
    })
  const traced = HttpClient.make((request, url, signal, fiber) => send(request, placeOf(url), signal, fiber))
  let last: { readonly url: string; readonly params: UrlParams.UrlParams; readonly place: Place } | undefined

  /** What `HttpClient.make` makes of a request that is neither traced nor bound to a scope, without what these two need. */
  const plain = (request: HttpClientRequest, fiber: Fiber.Fiber<unknown, unknown>) => {
    const { hash, url, urlParams: params } = request
    // Whoever sends much sends it to the same place.
    if (last === undefined || last.url !== url || last.params !== params || Option.isSome(hash)) {
      const made = Url.make(url, params, Option.getOrUndefined(hash))
      if (Result.isFailure(made)) {
        return Effect.fail(new HttpClientError({ reason: new InvalidUrlError({ request, cause: made.failure }) }))
      }
      last = { url, params, place: placeOf(made.success) }
    }
    return Effect.map(send(request, last.place, undefined, fiber), watched)
  }
  return HttpClient.makeWith<never, never, HttpClientError, never>(
    Effect.flatMap((request) =>
      Effect.withFiber((fiber) => {
        const isTraced = !fiber.getRef(DisablePropagation) && !fiber.getRef(HttpClient.TracerDisabledWhen)(request)
        // Only where there is a scope can a request belong to one: see `HttpClient.withScope`.
        const isScoped = Context.getOrUndefined(fiber.context, Scope) !== undefined
        return isTraced || isScoped ? traced.execute(request) : plain(request, fiber)
      })
    ),
    Effect.succeed
  )
}

/** Where a request goes. */
interface Place {
  readonly href: string
  readonly origin: string
  readonly path: string
}

/** What is used of `URL`, whose type is the platform's. */
interface ParsedUrl {
  readonly href: string
  readonly origin: string
  readonly pathname: string
  readonly search: string
}

const placeOf = (url: ParsedUrl): Place => ({ href: url.href, origin: url.origin, path: url.pathname + url.search })

/**
 * The layer of a client over a dispatcher that is made for it, and destroyed with it.
 *
 * **Example** (Sixteen connections to each receiver)
 *
 * ```ts
 * import { Agent } from "@effect/platform-node/Undici"
 * import { Effect, Schema } from "effect"
 * import { Envelope, HttpSink, UndiciClient } from "effect-events/http"
 *
 * const client = UndiciClient.layer(() => new Agent({ connections: 16, connect: { timeout: 3000 } }))
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* HttpSink.make({
 *     url: "http://127.0.0.1:1/events",
 *     envelope: Envelope.json(Schema.Struct({ id: Schema.String }))
 *   })
 *   const error = yield* Effect.flip(sink.write({ id: "a" }))
 *   console.log(error._tag === "HttpSinkError" && error.reason.message)
 * })
 *
 * Effect.runPromise(Effect.scoped(Effect.provide(program, client)))
 * // prints: no connection (ECONNREFUSED)
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (dispatcher: LazyArg<OwnDispatcher>): Layer.Layer<HttpClient.HttpClient> =>
  Layer.effect(
    HttpClient.HttpClient,
    Effect.map(
      Effect.acquireRelease(Effect.sync(dispatcher), (own) => Effect.promise(() => own.destroy())),
      make
    )
  )

/** The headers and the body of a request, as undici takes them. */
const contentOf = (
  { body, headers }: HttpClientRequest,
  context: Context.Context<never>
): Pick<Options, "headers" | "body"> => {
  switch (body._tag) {
    case "Empty":
      return { headers, body: null }
    case "Uint8Array":
    case "Raw":
      return { headers, body: body.body }
    case "Stream":
      return { headers, body: Stream.toAsyncIterableWith(body.stream, context) }
    case "FormData": {
      // The platform encodes it, and chooses what is between its parts.
      const encoded = new Response(body.formData)
      const contentType = encoded.headers.get("content-type") ?? "multipart/form-data"
      return { headers: { ...headers, "content-type": contentType }, body: encoded.body }
    }
  }
}
