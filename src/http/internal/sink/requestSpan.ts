/** The span of a request whose url may not be shown, in place of the client's own, which shows all of it but the query. */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { TracerPropagationEnabled } from "effect/http/HttpClient"
import type { HttpClientError } from "effect/http/HttpClientError"
import { type HttpClientRequest, setHeaders } from "effect/http/HttpClientRequest"
import { toHeaders } from "effect/http/HttpTraceContext"

interface Answer {
  readonly status: number
}

type Exchange<A> = (request: HttpClientRequest) => Effect.Effect<A, HttpClientError>

/** `isTraced` says whether a tracer would record it; `host` is that of the url. */
export const inRequestSpan =
  <A extends Answer>(
    exchange: Exchange<A>,
    host: string,
    isTraced: (caller: Context.Context<never>) => boolean
  ): Exchange<A> =>
  (request) =>
    Effect.withFiber((fiber) =>
      isTraced(fiber.context)
        ? traced(exchange, host, request, fiber.getRef(TracerPropagationEnabled))
        : exchange(request)
    )

// internals

const traced = <A extends Answer>(
  exchange: Exchange<A>,
  host: string,
  request: HttpClientRequest,
  propagates: boolean
) =>
  Effect.suspend(() => {
    let answer: Exit.Exit<A, HttpClientError> | undefined
    const attributes = { "http.request.method": request.method, "server.address": host }
    return Effect.useSpan(request.method, { kind: "client", attributes }, (span) =>
      Effect.flatMap(Effect.exit(exchange(propagates ? setHeaders(request, toHeaders(span)) : request)), (exit) => {
        answer = exit
        if (Exit.isSuccess(exit)) span.attribute("http.response.status_code", exit.value.status)
        const problem = problemOf(exit)
        if (problem === undefined) return Effect.void
        span.attribute("error.type", problem)
        // The error itself shows the url.
        return Effect.fail(`the request has failed: ${problem}`)
      })
    ).pipe(
      Effect.exit,
      // What was interrupted does not come here, and all else has an answer.
      Effect.flatMap(() => answer!)
    )
  })

const problemOf = (exit: Exit.Exit<Answer, HttpClientError>): string | undefined => {
  if (Exit.isSuccess(exit)) return exit.value.status < 400 ? undefined : String(exit.value.status)
  const error = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
  return error?.reason._tag ?? "defect"
}
