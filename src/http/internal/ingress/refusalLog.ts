import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { brief } from "../../../internal/encoding/envelopeError.ts"
import { annotate, makeFailureLog } from "../../../internal/failureLog.ts"
import type { Problem } from "./refused.ts"

/** What an ingress logs of requests that it answered with a 4xx: how many, and why the last one, never what came. */
export interface RefusalLog {
  readonly refused: (problem: Problem) => Effect.Effect<void>
  readonly accepted: Effect.Effect<void>
}

/**
 * In milliseconds. An acknowledged request ends a run of refusals only so long after the run's last line: good and bad
 * requests that alternate would be a line each.
 */
const quiet = 60_000

/** A line at doubling counts. Refused signatures are not among them: those have a log of their own. */
export const makeRefusalLog = (name: string): RefusalLog => {
  const run = makeFailureLog()
  let lineAt = Number.NEGATIVE_INFINITY
  return {
    refused: ({ detail, status }) =>
      Effect.suspend(() => {
        const n = status === 401 ? 0 : run.failed()
        if (n === 0) return Effect.void
        const what = n === 1 ? "a request" : `${n} requests, the last`
        const line = Effect.logWarning(`EventIngress "${name}" refused ${what} with ${status}: ${brief(detail)}`)
        return Effect.andThen(
          Effect.map(Clock.currentTimeMillis, (now) => void (lineAt = now)),
          annotate("EventIngress", name)(line)
        )
      }),
    accepted: Effect.map(Clock.currentTimeMillis, (now) => {
      if (now - lineAt >= quiet) run.recovered()
    })
  }
}
