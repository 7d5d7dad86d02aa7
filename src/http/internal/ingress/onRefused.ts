/** What becomes of a request that was refused for what is in it, where the option `onRefused` is given. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import type * as Response from "effect/http/HttpServerResponse"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import type { Message } from "../../Envelope.ts"
import { annotate, makeFailureLog } from "../../../internal/failureLog.ts"
import { loggable } from "../../../internal/report.ts"
import { exitWithin } from "./commit.ts"
import { tagOf } from "./ingressLog.ts"
import { type Problem, Refused, refusedAs } from "./refused.ts"

/**
 * What a request is answered with that `onRefused` was called with.
 *
 * @category models
 * @since 0.1.0
 */
export interface Reply {
  /** From 200 to 299, which acknowledges the request, or from 400 to 599, which refuses it. */
  readonly status: number
  /** The `detail` of a refusal: that of the problem by default. An answer of 2xx has no body. */
  readonly detail?: string | undefined
  /** How long the sender is asked to wait: `retryAfter` of the options for 429 and 503, nothing for all others. */
  readonly retryAfter?: Duration.Input | undefined
}

/**
 * Keeps a request that was refused for its content, and says what is answered: a `Reply`, or `undefined` for the refusal
 * itself. With a `Reply` of 202 a sender that repeats a refused request for ever, in order, goes on to the next one.
 *
 * **Details**
 *
 * The message is the request as it came: all headers, and the bytes of the body, a compressed one included. It is complete,
 * has at most `maxBytes`, and is signed where `verify` is given; for that the body of a 415 is read too. Problems of
 * content are 415, the 400 of an envelope that does not decode the body, and each 4xx of `refusal` but those below.
 *
 * Never called for 401, 403, 405, 408, 413 and 429, for a 5xx, and for the 400 of a body that did not come whole.
 *
 * A request that is not kept is not acknowledged: when the effect fails, dies, answers a status of neither range, or takes
 * longer than `writeTimeout`, the sender is answered 503 with `Retry-After`. That, and a `Reply` of 5xx, is logged at
 * doubling counts at level error. The effect goes on when the sender goes away.
 *
 * **Gotchas**
 *
 * The same message may come more than once: a sender that did not get the answer repeats it. The headers may hold secrets,
 * such as `authorization`. Of a request with a 4xx of `refusal`, a part of the events may have been committed.
 *
 * @category options
 * @since 0.1.0
 */
export type OnRefused = (message: Message, problem: Problem) => Effect.Effect<Reply | undefined, unknown>

/** These are about the sender, or about the moment, and not about what is in the request. */
const notOfContent: ReadonlySet<number> = new Set([401, 403, 405, 408, 413, 429])

export const isOfContent = ({ status }: Problem): boolean => status < 500 && !notOfContent.has(status)

interface Options {
  readonly name: string
  readonly onRefused: OnRefused
  readonly timeout: Duration.Duration
  readonly retryAfter: Duration.Duration
}

/** Answers a request by `onRefused`. One that this did not keep is answered with 503, since it must come again. */
export const makeOnRefused = ({ name, onRefused, retryAfter, timeout }: Options) => {
  const run = makeFailureLog()

  const line = (log: typeof Effect.logError, what: string, ...cause: ReadonlyArray<Cause.Cause<unknown>>) =>
    annotate("EventIngress", name)(log(`EventIngress "${name}" ${what}`, ...cause))

  const unkept = (why: string, cause: Cause.Cause<unknown> = Cause.empty): Effect.Effect<void> => {
    const n = run.failed()
    if (n === 0) return Effect.void
    const logged = loggable(cause)
    const what = n === 1 ? "did not keep a refused request" : `kept none of ${n} refused requests`
    return line(Effect.logError, `${what} since onRefused ${why}`, ...(logged.reasons.length > 0 ? [logged] : []))
  }

  const kept = Effect.suspend(() => {
    const n = run.recovered()
    return n === 0 ? Effect.void : line(Effect.logInfo, `keeps refused requests again, after ${n} that it did not`)
  })

  const answerOf = (reply: Reply | undefined, refusal: Refused): Refused | Response.HttpServerResponse => {
    if (reply === undefined) return refusal
    const { detail = refusal.detail, retryAfter: wait, status } = reply
    if (!Number.isInteger(status) || status < 200 || status > 299) {
      return refusedAs({ status, detail, retryAfter: wait }, retryAfter)
    }
    // RFC 9110, section 8.6: a 204 has no length.
    const headers = status === 204 ? {} : { "content-length": "0" }
    return HttpServerResponse.empty({ status, headers })
  }

  return (message: Message, refusal: Refused): Effect.Effect<Response.HttpServerResponse, Refused> => {
    const { detail, status } = refusal
    const asking = Effect.map(
      Effect.suspend(() => onRefused(message, refusal.problem)),
      (reply) => answerOf(reply, refusal)
    )
    return Effect.flatMap(exitWithin(asking, timeout), (exit) => {
      const again = (why: string, cause?: Cause.Cause<unknown>) =>
        Effect.andThen(
          unkept(why, cause),
          Effect.fail(refusedAs({ status: 503, detail: `Refused with ${status} and not kept: ${detail}` }, retryAfter))
        )
      if (exit === undefined) return again("was slower than its limit")
      if (Exit.isFailure(exit)) {
        const error = Cause.findErrorOption(exit.cause)
        return Option.isSome(error) ? again(`failed${tagOf(error.value)}`) : again("died", exit.cause)
      }
      const answer = exit.value
      if (!(answer instanceof Refused)) return Effect.as(kept, answer)
      const logged = answer.status < 500 ? Effect.void : unkept(`answered ${answer.status}: ${answer.detail}`)
      return Effect.andThen(logged, Effect.fail(answer))
    })
  }
}
