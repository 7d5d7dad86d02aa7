/**
 * An `HttpClient` over a dispatcher of undici, for programs on Node that send much: what a request costs beside undici is
 * about a fifth of what the undici client of `@effect/platform-node` takes, which makes a stream, two promises and two
 * fibers for each. Pools, connections and TLS are the dispatcher's.
 *
 * It follows no redirect, sets no limit of time, and hands over no connection after an upgrade. Interrupting a request
 * aborts it, and so does giving up its answer's body before the end.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type { LazyArg } from "effect/Function"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import { DecodeError, HttpClientError, StatusCodeError, TransportError } from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type * as UrlParams from "effect/http/UrlParams"
import * as Inspectable from "effect/Inspectable"
import * as Layer from "effect/Layer"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import { Dispatched } from "../internal/http/dispatched.ts"

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

/** What the platform calls an answer: its own type is not everywhere where it is. */
type WebResponse = Parameters<typeof HttpClientResponse.fromWeb>[1]

// undici runs on Node only, which has it.
const { Response } = globalThis as unknown as {
  readonly Response: new (
    body: unknown,
    init?: { readonly headers: Readonly<Record<string, string>> }
  ) => WebResponse & {
    readonly headers: { readonly get: (name: string) => string | null }
    readonly body: unknown
  }
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
  return HttpClient.make((request, url, signal, fiber) =>
    Effect.callback<HttpClientResponse.HttpClientResponse, HttpClientError>((resume) => {
      const failed = (cause: unknown): void =>
        resume(Effect.fail(new HttpClientError({ reason: new TransportError({ request, cause }) })))
      const dispatched = new Dispatched(signal, {
        answered: () => resume(Effect.succeed(new Answer(request, dispatched, url.href))),
        failed
      })
      try {
        const options = {
          ...contentOf(request, fiber.context),
          method: request.method,
          origin: url.origin,
          path: url.pathname + url.search,
          headersTimeout: 0,
          bodyTimeout: 0
        }
        dispatch.call(dispatcher, options, dispatched)
      } catch (cause) {
        // What the dispatcher finds wrong with the request itself.
        failed(cause)
      }
    })
  )
}

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

/** An answer that has begun. */
class Answer extends Inspectable.Class implements HttpClientResponse.HttpClientResponse, Pipeable {
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId
  readonly request: HttpClientRequest
  private readonly dispatched: Dispatched
  private readonly href: string
  private readHeaders: Headers.Headers | undefined = undefined

  constructor(request: HttpClientRequest, dispatched: Dispatched, href: string) {
    super()
    this[HttpIncomingMessage.TypeId] = HttpIncomingMessage.TypeId
    this[HttpClientResponse.TypeId] = HttpClientResponse.TypeId
    this.request = request
    this.dispatched = dispatched
    this.href = href
  }

  get url(): string {
    // Without the fragment.
    return this.href.split("#", 1)[0] ?? ""
  }

  get status(): number {
    return this.dispatched.status
  }

  get headers(): Headers.Headers {
    return (this.readHeaders ??= Headers.fromInput(this.dispatched.headers))
  }

  get cookies(): Cookies.Cookies {
    return Cookies.fromSetCookie(this.dispatched.headers["set-cookie"] ?? [])
  }

  get remoteAddress(): Option.Option<string> {
    return Option.none()
  }

  get stream(): Stream.Stream<Uint8Array, HttpClientError> {
    return Stream.mapError(Stream.fromPull(Effect.succeed(this.dispatched.pull)), this.undecodable)
  }

  get arrayBuffer(): Effect.Effect<ArrayBuffer, HttpClientError> {
    return Effect.mapErrorEager(this.dispatched.bytes, this.undecodable)
  }

  get text(): Effect.Effect<string, HttpClientError> {
    return this.as((web) => web.text)
  }

  get json(): Effect.Effect<Schema.Json, HttpClientError> {
    return this.as((web) => web.json)
  }

  get urlParamsBody(): Effect.Effect<UrlParams.UrlParams, HttpClientError> {
    return this.as((web) => web.urlParamsBody)
  }

  get formData(): HttpClientResponse.HttpClientResponse["formData"] {
    return this.as((web) => web.formData)
  }

  get upgrade(): Effect.Effect<never, HttpClientError> {
    const description = "this client hands over no connection"
    const reason = new StatusCodeError({ request: this.request, response: this, description })
    return Effect.fail(new HttpClientError({ reason }))
  }

  /** Reads the whole body as the platform's own answers are read. */
  private as<A>(
    read: (web: HttpClientResponse.HttpClientResponse) => Effect.Effect<A, HttpClientError>
  ): Effect.Effect<A, HttpClientError> {
    return Effect.flatMap(this.arrayBuffer, (bytes) =>
      Effect.mapError(
        read(HttpClientResponse.fromWeb(this.request, new Response(bytes, { headers: this.headers }))),
        ({ reason }) => this.undecodable(reason.cause)
      )
    )
  }

  private readonly undecodable = (cause: unknown): HttpClientError =>
    new HttpClientError({ reason: new DecodeError({ request: this.request, response: this, cause }) })

  override toJSON(): unknown {
    const { request, status } = this
    return HttpIncomingMessage.inspect(this, { _id: "HttpClientResponse", request: request.toJSON(), status })
  }

  pipe() {
    // As every `pipe` of Effect's is written.
    return pipeArguments(this, arguments)
  }
}
