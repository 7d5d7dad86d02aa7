/** The log of a durable part: counts and names, never an event. */
import type * as Cause from "effect/Cause"
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { type LogPart, logLine, makeFailureLog, numbered } from "../../internal/failureLog.ts"
import { type Account, noteError } from "../../internal/node.ts"
import type { EventStoreError } from "./port/error.ts"

export type DurableLog = ReturnType<typeof makeDurableLog>

export const makeDurableLog = (node: LogPart, counts: Account, clock: Clock.Clock) => {
  const deadLetterFailures = makeFailureLog()
  const storeFailures = makeFailureLog()
  let unlogged = 0
  const rest = Effect.suspend(() => {
    const n = unlogged
    unlogged = 0
    if (n === 0) return Effect.void
    return logLine(node, "Error", `moved ${numbered(n, "event")} to its dead letters`, { events: n })
  })
  return {
    /** Events were moved to the dead letters. */
    deadLettered: (n: number): Effect.Effect<void> => {
      unlogged += n
      return deadLetterFailures.failed() === 0 ? Effect.void : rest
    },
    /** Events are delivered again. */
    recovered: (): Effect.Effect<void> => {
      deadLetterFailures.recovered()
      return rest
    },
    abandoned: (downstream: string): Effect.Effect<void> =>
      logLine(node, "Warn", `closed without a downstream write that refuses interruption ("${downstream}")`),
    paused: (problem: string): Effect.Effect<void> =>
      logLine(node, "Error", `has paused delivery in front of an event that it cannot decode (${problem})`),
    disabled: (reason: string): Effect.Effect<void> =>
      logLine(node, "Warn", `is disabled, and keeps its events until it is resumed (${reason})`),
    leaseLost: logLine(node, "Warn", "has lost its lease to another owner, and is a standby"),
    troubled: (error: EventStoreError): Effect.Effect<void> => {
      noteError(counts, error, clock)
      const run = storeFailures.failed()
      return run === 0
        ? Effect.void
        : logLine(node, "Error", `waits for its store: ${error.message}`, { failures: run })
    },
    storeRecovered: Effect.suspend(() => {
      const run = storeFailures.recovered()
      return run === 0
        ? Effect.void
        : logLine(node, "Info", `has its store again, after ${numbered(run, "failure")}`, { failures: run })
    }),
    /** Events were dropped that could not be reported to `onDropped`, since they do not decode. */
    unreadable: (n: number): Effect.Effect<void> =>
      n === 0
        ? Effect.void
        : logLine(node, "Error", `dropped ${numbered(n, "event")} that it cannot decode, over its capacity`, {
            events: n
          }),
    /** A plan of redeliveries died: the event is delivered again in a minute. */
    planDied: (cause: Cause.Cause<unknown>): Effect.Effect<void> =>
      logLine(node, "Error", "has a plan of redeliveries that died", {}, cause),
    /** Delivered events could not be acknowledged by the end. */
    unacknowledged: logLine(node, "Warn", "closed, and will deliver again what it could not acknowledge"),
    /** The end: nothing is lost, and all of it is logged. */
    closed: (remaining: number, inFlight: number): Effect.Effect<void> =>
      Effect.andThen(
        rest,
        remaining === 0
          ? Effect.void
          : logLine(node, "Info", `closed with ${remaining} events remaining, ${inFlight} of them in flight`, {
              events: remaining,
              inFlight
            })
      )
  }
}
