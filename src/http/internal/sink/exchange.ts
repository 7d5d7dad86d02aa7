/** One request and its answer: what a client does for a sink, within the sink's timeout. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constTrue } from "effect/Function"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as Headers from "effect/http/Headers"
import * as HttpClient from "effect/http/HttpClient"
import { HttpClientError, TransportError } from "effect/http/HttpClientError"
import type { HttpClientRequest } from "effect/http/HttpClientRequest"
import type { HttpClientResponse } from "effect/http/HttpClientResponse"
import * as UrlParams from "effect/http/UrlParams"
import type { RateLimiterError } from "effect/persistence/RateLimiter"
import { TracerEnabled } from "effect/References"
import * as Stream from "effect/Stream"
import { nativeTracer, ParentSpan, Tracer } from "effect/Tracer"
import { Timeout } from "../../HttpSinkError.ts"
import { inRequestSpan } from "./requestSpan.ts"

/**
 * What a client may fail with: its own errors, and those of a rate limit.
 *
 * @category errors
 * @since 0.1.0
 */
export type ClientError = HttpClientError | RateLimiterError

/**
 * Wraps the client of a sink.
 *
 * @category options
 * @since 0.1.0
 */
export type TransformClient = (
  client: HttpClient.HttpClient
) => Pick<HttpClient.HttpClient.With<ClientError>, "execute">

/** An answer whose body has been read, or was given up. */
export interface Answered {
  readonly status: number
  readonly headers: Headers.Headers
  readonly response: HttpClientResponse
  /** The first bytes of the body, as many as are asked for. */
  readonly head: Array<Uint8Array>
}

export type Exchange = (request: HttpClientRequest) => Effect.Effect<Answered, HttpClientError>

export const answeredBy = (response: HttpClientResponse): Answered => ({
  status: response.status,
  // Some clients make them at each access.
  headers: response.headers,
  response,
  head: heads.get(response) ?? []
})

/**
 * Makes the exchanges of a client to a target, of which spans show nothing that is hidden; `answerBytes` is how much of an
 * answer's body is kept.
 */
export const makeExchange = (
  client: HttpClient.HttpClient,
  timeout: Duration.Duration,
  { hidden, hiddenHost }: { readonly hidden: ReadonlyArray<string>; readonly hiddenHost: string | undefined },
  answerBytes: number
): Effect.Effect<Exchange> =>
  Effect.map(initOf(client), (init) => {
    const contextOf = makeContextOf(init, hidden, hiddenHost !== undefined)
    const timeUp = Effect.sleep(timeout)
    const exchange: Exchange = (request) => {
      let answer: Answered | undefined
      const answered = (response: HttpClientResponse) => {
        const received = answeredBy(response)
        answer = received
        if (answerBytes > 0) heads.set(response, received.head)
        const read = () => received
        return Effect.matchCause(drain(received, answerBytes), { onFailure: read, onSuccess: read })
      }
      const exchanged = Effect.matchEffect(client.execute(request), {
        onSuccess: answered,
        // A client may fail for a status; here the classification decides.
        onFailure: (error) => ("response" in error.reason ? answered(error.reason.response) : Effect.fail(error))
      })
      const inContext = Effect.updateContext(exchanged, contextOf)
      if (!Duration.isFinite(timeout)) return inContext
      return Effect.raceFirst(
        inContext,
        Effect.flatMap(timeUp, () =>
          // The status is the verdict: a body that never ends does not change it.
          answer === undefined
            ? Effect.fail(
                new HttpClientError({ reason: new TransportError({ request, cause: new Timeout({ after: timeout }) }) })
              )
            : Effect.succeed(answer)
        )
      )
    }
    return hiddenHost === undefined ? exchange : inRequestSpan(exchange, hiddenHost, isTraced)
  })

/** The exchanges of a client around the sink's own, which may wait before a request, and make it again: `refresh` signs it anew. */
export const makeTransformed = (
  transform: TransformClient,
  exchange: Exchange,
  refresh: ((request: HttpClientRequest) => Effect.Effect<HttpClientRequest>) | undefined
): ((request: HttpClientRequest) => Effect.Effect<Answered, ClientError>) => {
  const send = (request: HttpClientRequest) => Effect.map(exchange(request), ({ response }) => response)
  const signed = (request: HttpClientRequest) =>
    refresh === undefined ? send(request) : Effect.flatMap(refresh(request), send)
  const client = transform(
    HttpClient.makeWith<never, never, HttpClientError, never>(
      (request) => Effect.flatMap(request, signed),
      Effect.succeed
    )
  )
  return (request) => Effect.map(client.execute(request), answeredBy)
}

// internals

/** What was kept of the bodies of answers: a client around the sink's own passes on the response alone. */
const heads = new WeakMap<HttpClientResponse, Array<Uint8Array>>()

/** How much of an answer's body is read so that its connection can be used again. */
const maxDrained = 64 * 1024

/** Reads the body of an answer to its end, or gives it up at the limit, which ends the connection. */
const drain = ({ head, headers, response }: Answered, answerBytes: number): Effect.Effect<unknown, HttpClientError> => {
  const length = headers["content-length"] ?? ""
  // The length counts the bytes on the wire, and a client that decodes them may find any number behind it.
  const isPlain = headers["content-encoding"] === undefined && headers["transfer-encoding"] === undefined
  if (isPlain && /^\d+$/.test(length) && Number(length) <= maxDrained) {
    if (answerBytes === 0) return response.arrayBuffer
    return Effect.map(response.arrayBuffer, (bytes) => void head.push(new Uint8Array(bytes).slice(0, answerBytes)))
  }
  let read = 0
  return Stream.runForEachWhile(response.stream, (bytes) => {
    if (read < answerBytes) head.push(bytes.slice(0, answerBytes - read))
    read += bytes.length
    return Effect.succeed(read <= maxDrained)
  })
}

/**
 * What a request runs in: its caller's context, with what keeps redirects unfollowed and secrets out of spans. `init` is
 * what the client itself was given for `fetch`.
 */
const makeContextOf = (
  init: FetchHttpClient.RequestInit["Service"] | undefined,
  hidden: ReadonlyArray<string>,
  isHidden: boolean
) => {
  const contextOf = (caller: Context.Context<never>): Context.Context<never> => {
    const given = Context.getOrUndefined(caller, FetchHttpClient.RequestInit)
    const context = Context.add(caller, FetchHttpClient.RequestInit, { ...init, ...given, redirect: "manual" })
    // A span of its own costs a third of a request, and no tracer would record it.
    if (isHidden || !isTraced(caller)) return Context.add(context, HttpClient.TracerDisabledWhen, constTrue)
    return context.pipe(
      Context.add(Headers.CurrentRedactedNames, [...Context.get(caller, Headers.CurrentRedactedNames), ...hidden]),
      // Every value of a query that is part of the text.
      Context.add(UrlParams.CurrentRedactedNames, [/^/])
    )
  }
  let last = [Context.empty(), contextOf(Context.empty())] as const
  // Most requests come from the same fiber, so the context of the last is kept: a client merges it with its own.
  return (caller: Context.Context<never>) => {
    if (last[0] !== caller) last = [caller, contextOf(caller)]
    return last[1]
  }
}

/** A client under a disabled tracer would send a `traceparent` that is none. */
const isTraced = (caller: Context.Context<never>): boolean =>
  Context.get(caller, TracerEnabled) &&
  (Context.getOrUndefined(caller, ParentSpan) !== undefined || Context.get(caller, Tracer) !== nativeTracer)

/**
 * What a client that runs on `fetch` was given when it was made. A request's own options take the place of those, so they
 * must be read to be kept. The request that would be sent is interrupted before there is one.
 */
const initOf = (client: HttpClient.HttpClient): Effect.Effect<FetchHttpClient.RequestInit["Service"] | undefined> => {
  let init: FetchHttpClient.RequestInit["Service"] | undefined
  const read = Effect.contextWith((context: Context.Context<never>) => {
    init = Context.getOrUndefined(context, FetchHttpClient.RequestInit)
    return Effect.interrupt
  })
  return Effect.map(Effect.exit(client.postprocess(read)), () => init)
}
