/** The answer to a request that a dispatcher carries out, as clients hand it on. */
import * as Effect from "effect/Effect"
import * as Cookies from "effect/http/Cookies"
import * as Headers from "effect/http/Headers"
import { DecodeError, HttpClientError, StatusCodeError } from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import * as HttpClientResponse from "effect/http/HttpClientResponse"
import * as HttpIncomingMessage from "effect/http/HttpIncomingMessage"
import type * as UrlParams from "effect/http/UrlParams"
import * as Inspectable from "effect/Inspectable"
import * as Option from "effect/Option"
import { type Pipeable, pipeArguments } from "effect/Pipeable"
import type * as Schema from "effect/Schema"
import * as Stream from "effect/Stream"
import type { Dispatched } from "./dispatched.ts"

/** What the platform calls an answer: its own type is not everywhere where it is. */
type WebResponse = Parameters<typeof HttpClientResponse.fromWeb>[1]

// undici runs on Node only, which has it.
export const { Response } = globalThis as unknown as {
  readonly Response: new (
    body: unknown,
    init?: { readonly headers: Readonly<Record<string, string>> }
  ) => WebResponse & {
    readonly headers: { readonly get: (name: string) => string | null }
    readonly body: unknown
  }
}

/** An answer that has begun. */
export class Answer extends Inspectable.Class implements HttpClientResponse.HttpClientResponse, Pipeable {
  readonly [HttpIncomingMessage.TypeId]: typeof HttpIncomingMessage.TypeId
  readonly [HttpClientResponse.TypeId]: typeof HttpClientResponse.TypeId
  readonly request: HttpClientRequest
  readonly dispatched: Dispatched
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
    const { abort, pull } = this.dispatched
    return Stream.ensuring(Stream.mapError(Stream.fromPull(Effect.succeed(pull)), this.undecodable), Effect.sync(abort))
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

/** Ends the connection of an answer that nobody will read any more. */
const dropped = new FinalizationRegistry((dispatched: Dispatched) => dispatched.abort())

/** Lets an answer be dropped unread. */
export const watched = (answer: Answer): Answer => {
  if (!answer.dispatched.isOver) dropped.register(answer, answer.dispatched)
  return answer
}
