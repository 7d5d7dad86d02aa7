/**
 * Which requests are answered: those that `authorize` lets through, and of those that change something only such that no page
 * of another site can send. A refusal does not say why `authorize` refused, and the log does.
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as HttpServerRequest from "effect/http/HttpServerRequest"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import { withBoundedBody } from "../../http/internal/boundedBody.ts"
import { logLine } from "../../internal/failureLog.ts"
import { Access, Caller, Refused } from "./dashboardApi.ts"

/**
 * What a request is let through as.
 *
 * @category models
 * @since 0.1.0
 */
export interface Identity {
  /** What the log says of changes. */
  readonly name: string
}

/**
 * Decides on a request, which reads or changes something.
 *
 * @category options
 * @since 0.1.0
 */
export type Authorize<E = unknown, R = never> = (
  request: HttpServerRequest.HttpServerRequest,
  access: "read" | "change"
) => Effect.Effect<boolean | Identity, E, R>

/** The header of a request that changes something: a page of another site cannot send it without being asked first. */
export const header = "x-effect-events"

export const makeAccess = (authorize: Authorize | undefined, path: string) =>
  Access.of((answer, { group }) =>
    Effect.gen(function* () {
      const request = yield* HttpServerRequest.HttpServerRequest
      const access = group.identifier === "reading" ? "read" : "change"
      if (access === "change") yield* checkSite(request.headers)
      const verdict = authorize === undefined ? true : yield* judge(authorize, path)(request, access)
      if (verdict === false) return yield* new Refused({ message: "this request is not authorized" })
      const caller = { name: verdict === true ? undefined : verdict.name }
      return HttpServerResponse.setHeaders(
        yield* Effect.provideService(withBoundedBody(answer), Caller, caller),
        apiHeaders
      )
    })
  )

/** The headers of every answer with data. */
const apiHeaders = { "cache-control": "no-store", "x-content-type-options": "nosniff" }

// internals

const judge =
  (authorize: Authorize, path: string) => (request: HttpServerRequest.HttpServerRequest, access: "read" | "change") =>
    Effect.suspend(() => authorize(request, access)).pipe(
      Effect.catchCause((cause) =>
        // A request that was given up is not refused.
        Cause.hasInterruptsOnly(cause)
          ? Effect.interrupt
          : Effect.as(
              logLine(
                { kind: "SinkDashboard", name: path },
                "Warn",
                "refused a request, since authorize failed",
                {},
                cause
              ),
              false
            )
      )
    )

const checkSite = (headers: Readonly<Record<string, string | undefined>>) => {
  if (headers[header] === undefined) {
    return Effect.fail(new Refused({ message: `a request that changes something needs the header ${header}: 1` }))
  }
  const site = headers["sec-fetch-site"]
  const origin = headers["origin"]
  // Browsers leave the first out over plain HTTP, and send the second with every POST.
  const isOwn = site === undefined ? origin === undefined || hostOf(origin) === headers["host"] : site === "same-origin"
  return isOwn ? Effect.void : Effect.fail(new Refused({ message: "a page of another site can change nothing here" }))
}

/** The host of an origin as the `Host` header has it; the origin of a page without one is the text "null". */
const hostOf = (origin: string): string => origin.replace(/^[a-z]+:\/\//, "")
