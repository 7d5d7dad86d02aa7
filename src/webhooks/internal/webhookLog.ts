/**
 * The log of webhook endpoints: every line that is about one has its tenant and its id. No line has a secret, the content of an event, or
 * more of a url than its origin.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type { Logged } from "../../durable/internal/durableLog.ts"
import { HttpSinkError } from "../../http/HttpSinkError.ts"
import { brief, EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import { logLine, makeFailureLog } from "../../internal/failureLog.ts"
import { type EndpointEvent, type EndpointKey, EndpointUnreadable, type Message } from "./model.ts"

/** What a line is about. */
export const aboutOf = ({ id, tenant }: EndpointKey): Readonly<Record<string, string>> => ({ tenant, endpoint: id })

export const loggedOf = (event: Message<unknown> | undefined, cause: Cause.Cause<unknown>): Logged => ({
  id: event?.id,
  cause: causeOf(Cause.squash(cause))
})

export const makeWebhookLog = (name: string) => {
  const part = (endpoint: EndpointKey) => ({ kind: "WebhookEndpoints", name, about: aboutOf(endpoint) })
  const unready = new Map<string, { readonly failures: ReturnType<typeof makeFailureLog>; at: number }>()
  return {
    happened: ({ endpoint, reason, tenant, type }: EndpointEvent): Effect.Effect<void> => {
      const of = part({ tenant, id: endpoint })
      const cause = reason === undefined ? undefined : lineOf(reason)
      switch (type) {
        case "failing":
          return logLine(of, "Warn", "has an endpoint that is failing", { cause })
        case "recovered":
          return logLine(of, "Info", "has an endpoint that answers again")
        case "disabled":
          return logLine(of, "Warn", "has disabled an endpoint, and keeps its events until it is enabled", { cause })
        case "paused":
          return Effect.void
      }
    },
    /** An endpoint that this process cannot deliver to: the first for a problem, and then at doubling counts, until it was gone for minutes. */
    unready: Effect.fnUntraced(function* (endpoint: EndpointKey, cause: Cause.Cause<{ readonly message: string }>) {
      const error = cause.reasons.find(Cause.isFailReason)?.error ?? { message: "it died of a defect" }
      // The same for all endpoints that it is the problem of.
      const problem = lineOf(error instanceof EndpointUnreadable ? error.detail : error.message)
      const now = yield* Clock.currentTimeMillis
      for (const [one, { at }] of unready) if (now - at > goneAfter) unready.delete(one)
      const run = unready.get(problem) ?? { failures: makeFailureLog(), at: now }
      if (unready.size < mostProblems) unready.set(problem, run)
      run.at = now
      const failures = run.failures.failed()
      if (failures === 0) return
      yield* logLine(
        part(endpoint),
        "Error",
        "cannot deliver to an endpoint, and tries again within 30 seconds: look at the keys, plans and envelopes of this process",
        { failures, cause: problem }
      )
    })
  }
}

// internals

/** When a problem is a new one again, in milliseconds, and how many are told apart. */
const [goneAfter, mostProblems] = [2 * 60_000, 1_000]

/** A reason may be a customer's own words. */
const lineOf = (text: string): string =>
  brief(
    text
      .split("\n", 1)
      .join("")
      .replaceAll(/\p{Cc}/gu, " ")
  )

/** What an envelope says of an event may be of its content. */
const causeOf = (error: unknown): string => {
  if (error instanceof HttpSinkError)
    return error.reason._tag === "Encode" ? "the event does not encode" : lineOf(error.message)
  if (error instanceof EnvelopeError) return "the stored event does not decode"
  return error instanceof Error ? error.name : "an error that is none of HttpSinkError's"
}
