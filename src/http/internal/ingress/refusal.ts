/** The refusal of a request: a problem document (RFC 9457) and the headers of its response. */
import * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Response from "effect/http/HttpServerResponse"
import * as ProblemDetails from "effect/http/ProblemDetails"

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

/**
 * The answer that `refusal` or `onRefused` gives to a request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  /**
   * From 400 to 599, which refuses the request; `onRefused` may also acknowledge it, by 200 to 299. Most senders give an
   * event up after a 4xx other than 408 and 429. Any other status is a defect.
   */
  readonly status: number
  /** The `detail` of a refusal: that of the problem by default. An answer of 2xx has no body. */
  readonly detail?: string | undefined
  /** The `Retry-After` of a refusal: `retryAfter` of the options for 429 and 503 by default, none for all others. */
  readonly retryAfter?: Duration.Input | undefined
}

/** A plain object and no `Error`: a stack trace would be most of the cost of a refusal, and a sender can cause many. */
export interface Refused extends Problem {
  /** Names in lower case. */
  readonly headers?: Readonly<Record<string, string>> | undefined
  readonly retryAfter?: Duration.Duration | undefined
  readonly failure?: Failure | undefined
}

/** What failed where the request is not at fault, for the log: the commit, `onRefused`, or the program by a defect. */
export interface Failure {
  readonly of: "commit" | "keep" | "defect"
  readonly reason: string
  readonly cause?: Cause.Cause<unknown> | undefined
}

export const refuse = (status: number, detail: string, rest?: Partial<Refused>): Effect.Effect<never, Refused> =>
  Effect.fail({ status, detail, ...rest })

/**
 * The refusal that a callback asks for, by a failure where the status is 5xx. A status that is none of a refusal is a mistake
 * in the program and a defect.
 */
export const refuseBy = ({ retryAfter, status, ...reply }: Reply, detail: string, failure: Failure) => {
  if (!Number.isInteger(status) || status < 400 || status > 599) {
    throw new RangeError(`EventIngress: the status of a refusal must be from 400 to 599, and is ${status}`)
  }
  return refuse(status, reply.detail ?? detail, {
    retryAfter: retryAfter === undefined ? undefined : Duration.fromInputUnsafe(retryAfter),
    failure: status < 500 ? undefined : failure
  })
}

/** The refusal of a request that met a defect, which is that of a sink, an envelope or an option. */
export const refuseDied = (defect: unknown) =>
  refuse(503, "The events could not be committed", {
    failure: { of: "defect", reason: "the sink, the envelope or an option died", cause: Cause.die(defect) }
  })

export const problemOf = ({ detail, status }: Refused): Problem => ({ status, detail })

/** The response of a refusal. A 429 or a 503 without a `retryAfter` of its own has the given one. */
export const toResponse = ({ headers, retryAfter, ...refused }: Refused, defaultRetryAfter: Duration.Duration) => {
  const { detail, status } = refused
  const title = titles[status]
  const problem = { type: ProblemDetails.blankType, ...(title === undefined ? {} : { title }), status, detail }
  const wait = retryAfter ?? (status === 429 || status === 503 ? defaultRetryAfter : undefined)
  // RFC 9110, section 10.2.3: whole seconds. 0 would ask for a retry at once.
  const seconds = wait && { "retry-after": String(Math.max(1, Math.ceil(Duration.toSeconds(wait)))) }
  return Response.setHeaders(ProblemDetails.toResponse(problem), { ...headers, ...seconds })
}

// internals

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
