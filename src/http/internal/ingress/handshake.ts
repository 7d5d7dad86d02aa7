/**
 * The abuse protection of the CloudEvents webhook specification ("HTTP 1.1 Web Hooks for Event Delivery", section 4): a
 * sender asks by OPTIONS for the permission to send. The answer authenticates no sender.
 */
import * as Effect from "effect/Effect"
import * as Response from "effect/http/HttpServerResponse"
import { count } from "../../../internal/options.ts"
import type { Message } from "../../Envelope.ts"
import { type Refused, refuse } from "./refusal.ts"

/**
 * Which senders may send, by the handshake of the CloudEvents webhook specification, section 4.
 *
 * @category options
 * @since 0.1.0
 */
export interface Handshake {
  /** The DNS names of the permitted senders, or `"*"` for all. Compared without case. */
  readonly origins: "*" | ReadonlyArray<string>
  /**
   * How many requests a minute a sender may send: no limit by default. The answer names the rate; enforcing it needs a rate
   * limiter in front.
   */
  readonly rate?: number | undefined
}

/** Answers the OPTIONS requests of a handshake. A sender that is not permitted is refused as section 4.2 says. */
export const makeHandshake = ({ origins, rate = Number.POSITIVE_INFINITY }: Handshake) => {
  const limit = count("EventIngress", "handshake.rate", rate, 1)
  const permitted = origins === "*" ? undefined : new Set(origins.map((origin) => origin.toLowerCase()))
  return (headers: Message["headers"], allow: string): Effect.Effect<Response.HttpServerResponse, Refused> => {
    const origin = headers["webhook-request-origin"]
    const requested = headers["webhook-request-rate"]
    // Section 4.1.4.
    if (requested !== undefined && !/^0*[1-9]\d*$/.test(requested)) {
      return refuse(400, 'Expected a whole number greater than zero in header "webhook-request-rate"', {
        headers: { allow }
      })
    }
    // Section 4.2: an answer without the headers is no consent. The callback of section 4.1.3 is never called: by it a sender
    // could make this server call any url. Sections 4.2.1 and 4.2.2: an asterisk for all senders, and for any rate.
    const consent = origin !== undefined &&
      permitted?.has(origin.toLowerCase()) !== false && {
        "webhook-allowed-origin": permitted === undefined ? "*" : origin,
        "webhook-allowed-rate":
          limit === Number.POSITIVE_INFINITY ? "*" : String(Math.min(limit, Number(requested ?? limit)))
      }
    return Effect.succeed(Response.empty({ status: 200, headers: { allow, "content-length": "0", ...consent } }))
  }
}
