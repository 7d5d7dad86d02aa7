/**
 * The abuse protection of the CloudEvents webhook specification ("HTTP 1.1 Web Hooks for Event Delivery", section 4): a
 * sender asks by OPTIONS whether it may send here. It tells nothing about who asks, and opens nothing.
 */
import * as Effect from "effect/Effect"
import * as Response from "effect/http/HttpServerResponse"
import { count } from "../../../internal/options.ts"
import { type Refused, refused } from "./refused.ts"

/**
 * Who may send, by the handshake of the CloudEvents webhook specification, section 4.
 *
 * @category options
 * @since 0.1.0
 */
export interface Handshake {
  /** The DNS names of the senders that may, or `"*"` for all. Compared without case. */
  readonly origins: "*" | ReadonlyArray<string>
  /**
   * How many requests a minute they may send: no limit by default. It is only told: whoever is to be held to it needs a
   * rate limiter in front.
   */
  readonly rate?: number | undefined
}

type Headers = Readonly<Record<string, string | undefined>>

/** Answers the OPTIONS requests of a handshake. Where none is given they are refused, as section 4.2 says. */
export const makeHandshake = ({ origins, rate = Number.POSITIVE_INFINITY }: Handshake) => {
  const limit = count("EventIngress", "handshake.rate", rate, 1)
  const known = origins === "*" ? undefined : new Set(origins.map((origin) => origin.toLowerCase()))

  /** Section 4.2.1: the name that was asked for, or an asterisk for all. */
  const allowed = (origin: string): string | undefined => {
    if (known === undefined) return "*"
    return known.has(origin.toLowerCase()) ? origin : undefined
  }

  return (headers: Headers, allow: string): Effect.Effect<Response.HttpServerResponse, Refused> => {
    const origin = headers["webhook-request-origin"]
    const requested = headers["webhook-request-rate"]
    // Section 4.1.4.
    if (requested !== undefined && !/^0*[1-9]\d*$/.test(requested)) {
      const detail = 'Expected a whole number greater than zero in header "webhook-request-rate"'
      return Effect.fail(refused(400, detail, { allow }))
    }
    const answer = origin === undefined ? undefined : allowed(origin)
    // Section 4.2: without the headers it is no consent. The callback of section 4.1.3, which would let whoever asks have
    // this server call any url, is never called.
    if (answer === undefined) {
      return Effect.succeed(Response.empty({ status: 200, headers: { allow, "content-length": "0" } }))
    }
    // Section 4.2.2.
    const granted = Math.min(limit, requested === undefined ? limit : Number(requested))
    return Effect.succeed(
      Response.empty({
        status: 200,
        headers: {
          allow,
          "content-length": "0",
          "webhook-allowed-origin": answer,
          "webhook-allowed-rate": limit === Number.POSITIVE_INFINITY ? "*" : String(granted)
        }
      })
    )
  }
}
