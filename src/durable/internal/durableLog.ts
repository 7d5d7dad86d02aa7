/** The log of a durable part: counts and names, never an event. */
import type * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import { annotate, makeFailureLog } from "../../internal/failureLog.ts"
import { type Account, noteError, type SinkNode } from "../../internal/node.ts"
import type { EventStoreError } from "./port/error.ts"

export type DurableLog = ReturnType<typeof makeDurableLog>

export const makeDurableLog = (node: SinkNode, counts: Account, clock: Clock.Clock) => {
  const deadLetterFailures = makeFailureLog()
  const storeFailures = makeFailureLog()
  let unlogged = 0
  const write = (log: typeof Effect.logError, what: string): Effect.Effect<void> =>
    log(`${node.kind} "${node.name}" ${what}`).pipe(annotate(node.kind, node.name))
  const rest = Effect.suspend(() => {
    const n = unlogged
    unlogged = 0
    if (n === 0) return Effect.void
    return write(Effect.logError, `moved ${n === 1 ? "an event" : `${n} events`} to its dead letters`)
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
      write(Effect.logWarning, `closed without a downstream write that refuses interruption ("${downstream}")`),
    paused: (problem: string): Effect.Effect<void> =>
      write(Effect.logError, `has paused delivery in front of an event that it cannot decode (${problem})`),
    disabled: (reason: string): Effect.Effect<void> =>
      write(Effect.logWarning, `is disabled, and keeps its events until it is resumed (${reason})`),
    leaseLost: write(Effect.logWarning, "has lost its lease to another owner, and is a standby"),
    troubled: (error: EventStoreError): Effect.Effect<void> => {
      noteError(counts, error, clock)
      return storeFailures.failed() === 0
        ? Effect.void
        : write(Effect.logError, `waits for its store: ${error.message}`)
    },
    storeRecovered: Effect.suspend(() => {
      const run = storeFailures.recovered()
      return run === 0 ? Effect.void : write(Effect.logInfo, `has its store again, after ${run} failures`)
    }),
    /** Events were dropped that could not be reported to `onDropped`, since they do not decode. */
    unreadable: (n: number): Effect.Effect<void> =>
      n === 0 ? Effect.void : write(Effect.logError, `dropped ${n} events that it cannot decode, over its capacity`),
    /** Delivered events could not be acknowledged by the end. */
    unacknowledged: write(Effect.logWarning, "closed, and will deliver again what it could not acknowledge"),
    /** The end: nothing is lost, and all of it is logged. */
    closed: (remaining: number, inFlight: number): Effect.Effect<void> =>
      Effect.andThen(
        rest,
        remaining === 0
          ? Effect.void
          : write(Effect.logInfo, `closed with ${remaining} events remaining, ${inFlight} of them in flight`)
      )
  }
}
