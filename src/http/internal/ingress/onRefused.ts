/** The option `onRefused`: the answer to a request that was refused for its content. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import * as Response from "effect/http/HttpServerResponse"
import type { Message } from "../../Envelope.ts"
import { exitWithin, failedWith } from "./commitEvents.ts"
import { type Problem, problemOf, refuseBy, type Refused, type Reply } from "./refusal.ts"

/**
 * Keeps a request that was refused for its content, and gives the answer: a `Reply`, or `undefined` for the refusal itself.
 * After a `Reply` of 202 a sender that redelivers a refused request for ever, in order, continues with the next request.
 *
 * **Details**
 *
 * The message has all headers and the exact bytes of the body, compressed or not, and the sender's name with `verify.senders`. The body is complete, has at most
 * `maxBytes`, and is signed where `verify` is given; for that the body of a 415 is read too. Problems of content are 415, the
 * 400 of an envelope that does not decode the body, and each 4xx of `refusal` but those below.
 *
 * Never called for 401, 403, 405, 408, 413 and 429, for a 5xx, and for the 400 of an incomplete body.
 *
 * A request that is not kept is not acknowledged: when the effect fails, dies, gives an invalid status, or takes longer than
 * `writeTimeout`, the request is answered with 503 and `Retry-After`. Each of these, and a `Reply` of 5xx, is logged at
 * doubling counts at level error. The effect continues when the sender disconnects.
 *
 * **Gotchas**
 *
 * The same message may come more than once, since a sender redelivers a request without an answer. The headers may hold
 * secrets, such as `authorization`. Of a request with a 4xx of `refusal`, a part of the events may have been committed.
 *
 * @category options
 * @since 0.1.0
 */
export type OnRefused = (message: Message, problem: Problem) => Effect.Effect<Reply | undefined, unknown>

/** Makes the function that answers a refused request by `onRefused`, or refuses it. */
export const makeAnswerRefused =
  (onRefused: OnRefused, timeout: Duration.Duration) =>
  (message: Message, refused: Refused): Effect.Effect<Response.HttpServerResponse, Refused> => {
    const { detail, status } = refused
    if (status >= 500 || notOfContent.has(status)) return Effect.fail(refused)
    const unkept = (detail: string, reason: string, cause?: Cause.Cause<unknown>, reply: Reply = { status: 503 }) =>
      refuseBy(reply, detail, { of: "keep", reason: `onRefused ${reason}`, cause })
    // An Effect of the answer, to be run here: the fiber of the callback ends with it.
    const answering = Effect.map(
      Effect.suspend(() => onRefused(message, problemOf(refused))),
      (reply) => {
        if (reply === undefined) return Effect.fail(refused)
        const { status } = reply
        if (!Number.isInteger(status) || status < 200 || status > 299) {
          return unkept(detail, `answered ${status}: ${reply.detail ?? detail}`, undefined, reply)
        }
        // RFC 9110, section 8.6: a 204 has no length.
        return Effect.succeed(Response.empty({ status, headers: status === 204 ? {} : { "content-length": "0" } }))
      }
    )
    return Effect.flatMap(exitWithin(answering, timeout), (exit) => {
      const again = `Refused with ${status} and not kept: ${detail}`
      if (exit === undefined) return unkept(again, "exceeded writeTimeout")
      if (Exit.isSuccess(exit)) return exit.value
      const error = Cause.findErrorOption(exit.cause)
      return Option.isSome(error) ? unkept(again, failedWith(error.value)) : unkept(again, "died", exit.cause)
    })
  }

// internals

/** The statuses of 4xx that are about the sender, or about the moment, and not about the content of the request. */
const notOfContent: ReadonlySet<number> = new Set([401, 403, 405, 408, 413, 429])
