/** The log of an ingress: how many requests failed and why, at doubling counts, never the content of a request. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { brief } from "../../../internal/encoding/envelopeError.ts"
import { logLine, makeFailureLog, numbered } from "../../../internal/failureLog.ts"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import type { Refused } from "./refusal.ts"

/** The line of a run that has `n` requests by now, of which the last failed for `reason`. */
type LineOf = (n: number, reason: string, cause: Cause.Cause<unknown> | undefined) => Effect.Effect<void>

export const makeIngressLog = (name: string) => {
  const part = { kind: "EventIngress", name }
  // A genuine request ends no run of forgeries: it says nothing about the origin of the others.
  const forgeries = makeRun((requests, reason) =>
    logLine(part, "Warn", `did not authenticate ${some(requests, "request")} ${reason}`, { requests })
  )
  const refusals = makeRun((requests, reason) =>
    logLine(part, "Warn", `refused ${some(requests, "request")} ${reason}`, { requests })
  )
  const failures = {
    commit: makeRun((requests, reason, cause) =>
      logLine(part, "Warn", `did not commit ${some(requests, "request")} because ${reason}`, { requests }, cause)
    ),
    keep: makeRun((requests, reason, cause) =>
      logLine(part, "Error", `did not keep ${some(requests, "refused request")} because ${reason}`, { requests }, cause)
    ),
    defect: makeRun((requests, reason, cause) =>
      logLine(part, "Error", `did not commit ${some(requests, "request")} because ${reason}`, { requests }, cause)
    )
  }
  const unreported = makeRun((requests, reason, cause) =>
    logLine(part, "Error", `did not report the answer of ${some(requests, "request")} ${reason}`, { requests }, cause)
  )
  const warnings = new Set<string>()
  let hasEvicted = false
  return {
    refused: ({ detail, failure, status }: Refused, sender: string | undefined) =>
      failure === undefined
        ? (status === 401 ? forgeries : refusals).failed(
            `${sender === undefined ? "" : `of ${JSON.stringify(sender)} `}with ${status}: ${brief(detail)}`
          )
        : failures[failure.of].failed(failure.reason, failure.cause),
    /** A request was answered with 2xx: `events` of it were committed, or `onRefused` kept it. */
    accepted: (events: number, isKept: boolean) =>
      Clock.clockWith((clock) => {
        if (monotonicMillis(clock) - refusals.lineAt() >= quiet) refusals.recovered()
        if (isKept) {
          const requests = failures.keep.recovered()
          if (requests === 0) return Effect.void
          return logLine(part, "Info", `keeps refused requests again, after ${requests} not kept`, { requests })
        }
        // A request of duplicates alone says nothing about the sink.
        const requests = events === 0 ? 0 : failures.commit.recovered() + failures.defect.recovered()
        if (requests === 0) return Effect.void
        return logLine(part, "Info", `commits requests again, after ${requests} not committed`, { requests })
      }),
    unreported: (defect: unknown) => unreported.failed("because onAnswer died", Cause.die(defect)),
    /** A request was decoded with a warning. Each text is logged once. */
    warning: (text: string | undefined) => {
      if (text === undefined || warnings.size >= maxWarnings || warnings.has(text)) return Effect.void
      warnings.add(text)
      return logLine(part, "Warn", `decoded a request with a warning: ${text}`, { requests: 1 })
    },
    /** An id left the deduplication window before its time. Logged once. */
    evicted: (maxIds: number) => {
      if (hasEvicted) return Effect.void
      hasEvicted = true
      return logLine(
        part,
        "Warn",
        `evicted an id before its window ended, since there were more than ${maxIds}: its duplicates are written again. Set deduplicate.maxIds`
      )
    }
  }
}

// internals

/** A run of failed requests, which is worth a line at doubling counts. */
const makeRun = (lineOf: LineOf) => {
  const run = makeFailureLog()
  let lineAt = Number.NEGATIVE_INFINITY
  const failed = (reason: string, cause?: Cause.Cause<unknown>): Effect.Effect<void> =>
    Clock.clockWith((clock) => {
      const n = run.failed()
      if (n === 0) return Effect.void
      lineAt = monotonicMillis(clock)
      return lineOf(n, reason, cause)
    })
  return { failed, recovered: run.recovered, lineAt: () => lineAt }
}

/** The requests of a run, whose last is the one that the line has a reason of. */
const some = (n: number, noun: string): string => (n === 1 ? numbered(n, noun) : `${numbered(n, noun)}, the last`)

/**
 * In milliseconds. An accepted request ends a run of refusals only so long after the run's last line: good and bad requests
 * that alternate would be a line each.
 */
const quiet = 60_000

/** Senders choose the texts of warnings: the first 100 are kept, and no later one is logged. */
const maxWarnings = 100
