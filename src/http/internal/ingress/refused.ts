/** What a request is answered with that is not accepted: a problem document (RFC 9457), and headers beside it. */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Response from "effect/http/HttpServerResponse"
import * as ProblemDetails from "effect/http/ProblemDetails"

// RFC 9457, section 4.2.1: where a problem has no type of its own, its title is the phrase of its status.
const titles: Readonly<Record<number, string>> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  413: "Content Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout"
}

/**
 * Why a request was refused: a problem of RFC 9457, without its type, which is always `about:blank`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Problem {
  /** From 400 to 599. */
  readonly status: number
  /** What was wrong, and where: a path into the body, or the name of a header. No value of the body. */
  readonly detail: string
}

/** No `Error`: its stack, which nobody sees, is most of what a refusal would cost, and whoever sends has many of them. */
export class Refused extends Data.TaggedClass("Refused")<{
  readonly status: number
  readonly detail: string
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>>
}> {
  get problem(): Problem {
    const { detail, status } = this
    return { status, detail }
  }

  get response(): HttpServerResponse.HttpServerResponse {
    const { detail, headers, status } = this
    const title = titles[status]
    const problem = { type: ProblemDetails.blankType, ...(title === undefined ? {} : { title }), status, detail }
    return Response.setHeaders(ProblemDetails.toResponse(problem), headers)
  }
}

export const refused = (status: number, detail: string, headers: Readonly<Record<string, string>> = {}): Refused =>
  new Refused({ status, detail, headers })

/** The whole seconds of a `retry-after` (RFC 9110, section 10.2.3): none would ask to come back at once. */
export const seconds = (duration: Duration.Duration): string =>
  String(Math.max(1, Math.ceil(Duration.toSeconds(duration))))

/**
 * A refusal as a callback of the user's asks for it. A status that is none of a refusal is a bug of the callback's, and a
 * defect. `wait` is what a 429 and a 503 ask for that say nothing of it.
 */
export const refusedAs = (
  {
    detail,
    retryAfter,
    status
  }: { readonly status: number; readonly detail: string; readonly retryAfter?: Duration.Input | undefined },
  wait: Duration.Duration
): Refused => {
  if (!Number.isInteger(status) || status < 400 || status > 599) {
    throw new RangeError(`EventIngress: the status of a refusal must be from 400 to 599, and is ${status}`)
  }
  if (retryAfter === undefined && status !== 429 && status !== 503) return refused(status, detail)
  const asked = retryAfter === undefined ? wait : Duration.fromInputUnsafe(retryAfter)
  return refused(status, detail, { "retry-after": seconds(asked) })
}
