/** The log of an ingress: how many requests failed and why, at doubling counts, never the content of a request. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { brief } from "../../../internal/encoding/envelopeError.ts"
import { annotate, makeFailureLog } from "../../../internal/failureLog.ts"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import { loggable } from "../../../internal/report.ts"
import type { Refused } from "./refusal.ts"

export const makeIngressLog = (name: string) => {
  const line = (log: typeof Effect.logInfo, text: string, cause: Cause.Cause<unknown> = Cause.empty) => {
    const errors = loggable(cause)
    const shown = errors.reasons.length > 0 ? [errors] : []
    return log(`EventIngress "${name}" ${text}`, ...shown).pipe(annotate("EventIngress", name))
  }
  const makeRun = (log: typeof Effect.logInfo, verb: string, noun: string) => {
    const run = makeFailureLog()
    let lineAt = Number.NEGATIVE_INFINITY
    const failed = (reason: string, cause?: Cause.Cause<unknown>): Effect.Effect<void> =>
      Clock.clockWith((clock) => {
        const n = run.failed()
        if (n === 0) return Effect.void
        lineAt = monotonicMillis(clock)
        return line(log, `${verb} ${n === 1 ? `a ${noun}` : `${n} ${noun}s, the last`} ${reason}`, cause)
      })
    return { failed, recovered: run.recovered, lineAt: () => lineAt }
  }
  const recovery = (n: number, verb: string, otherwise: string) =>
    n === 0 ? Effect.void : line(Effect.logInfo, `${verb} again, after ${n} ${otherwise}`)

  const refusals = makeRun(Effect.logWarning, "refused", "request")
  // A genuine request ends no run of these: it says nothing about the origin of the others.
  const forgeries = makeRun(Effect.logWarning, "did not authenticate", "request")
  const failures = {
    commit: makeRun(Effect.logWarning, "did not commit", "request"),
    keep: makeRun(Effect.logError, "did not keep", "refused request"),
    defect: makeRun(Effect.logError, "did not commit", "request")
  }
  const unreported = makeRun(Effect.logError, "did not report the answer of", "request")
  const warnings = new Set<string>()
  let hasEvicted = false
  return {
    refused: ({ detail, failure, status }: Refused, sender: string | undefined) =>
      failure === undefined
        ? (status === 401 ? forgeries : refusals).failed(
            `${sender === undefined ? "" : `of ${JSON.stringify(sender)} `}with ${status}: ${brief(detail)}`
          )
        : failures[failure.of].failed(`because ${failure.reason}`, failure.cause),
    /** A request was answered with 2xx: `events` of it were committed, or `onRefused` kept it. */
    accepted: (events: number, isKept: boolean) =>
      Clock.clockWith((clock) => {
        if (monotonicMillis(clock) - refusals.lineAt() >= quiet) refusals.recovered()
        if (isKept) return recovery(failures.keep.recovered(), "keeps refused requests", "not kept")
        // A request of duplicates alone says nothing about the sink.
        const n = events === 0 ? 0 : failures.commit.recovered() + failures.defect.recovered()
        return recovery(n, "commits requests", "not committed")
      }),
    unreported: (defect: unknown) => unreported.failed("because onAnswer died", Cause.die(defect)),
    /** A request was decoded with a warning. Each text is logged once. */
    warning: (text: string | undefined) => {
      if (text === undefined || warnings.size >= maxWarnings || warnings.has(text)) return Effect.void
      warnings.add(text)
      return line(Effect.logWarning, `decoded a request with a warning: ${text}`)
    },
    /** An id left the deduplication window before its time. Logged once. */
    evicted: (maxIds: number) => {
      if (hasEvicted) return Effect.void
      hasEvicted = true
      const what = `evicted an id before its window ended, since there were more than ${maxIds}`
      return line(Effect.logWarning, `${what}: its duplicates are written again. Set deduplicate.maxIds`)
    }
  }
}

// internals

/**
 * In milliseconds. An accepted request ends a run of refusals only so long after the run's last line: good and bad requests
 * that alternate would be a line each.
 */
const quiet = 60_000

/** Senders choose the texts of warnings: the first 100 are kept, and no later one is logged. */
const maxWarnings = 100
