/** The log of a durable queue: counts and names, never an event. */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../EventStore.ts"
import { annotate, makeFailureLog } from "../../internal/failureLog.ts"
import type { Account, SinkNode } from "../../internal/node.ts"

export class QueueLog {
  private readonly node: SinkNode
  private readonly counts: Account
  private readonly deadLetterFailures = makeFailureLog()
  private readonly storeFailures = makeFailureLog()
  private unlogged = 0

  constructor(node: SinkNode, counts: Account) {
    this.node = node
    this.counts = counts
  }

  private write(log: typeof Effect.logError, what: string): Effect.Effect<void> {
    const { kind, name } = this.node
    return log(`${kind} "${name}" ${what}`).pipe(annotate(kind, name))
  }

  /** Events were moved to the dead letters. */
  deadLettered(n: number): Effect.Effect<void> {
    this.unlogged += n
    return this.deadLetterFailures.failed() === 0 ? Effect.void : this.rest
  }

  private readonly rest: Effect.Effect<void> = Effect.suspend(() => {
    const { unlogged } = this
    this.unlogged = 0
    if (unlogged === 0) return Effect.void
    return this.write(
      Effect.logError,
      `moved ${unlogged === 1 ? "an event" : `${unlogged} events`} to its dead letters`
    )
  })

  /** Events are delivered again. */
  readonly delivering: Effect.Effect<void> = Effect.suspend(() => {
    this.deadLetterFailures.recovered()
    return this.rest
  })

  readonly abandoned = (downstream: string): Effect.Effect<void> =>
    this.write(Effect.logWarning, `closed without a downstream write that refuses interruption ("${downstream}")`)

  readonly paused = (problem: string): Effect.Effect<void> =>
    this.write(Effect.logError, `has paused delivery in front of an event that it cannot decode (${problem})`)

  readonly leaseLost: Effect.Effect<void> = Effect.suspend(() =>
    this.write(Effect.logWarning, "has lost its lease to another owner, and is a standby")
  )

  readonly troubled = (error: EventStoreError): Effect.Effect<void> => {
    this.counts.lastError = error
    const failures = this.storeFailures.failed()
    return failures === 0 ? Effect.void : this.write(Effect.logError, `waits for its store: ${error.message}`)
  }

  readonly recovered: Effect.Effect<void> = Effect.suspend(() => {
    const run = this.storeFailures.recovered()
    return run === 0 ? Effect.void : this.write(Effect.logInfo, `has its store again, after ${run} failures`)
  })

  /** Events were dropped that could not be reported to `onDropped`, since they do not decode. */
  readonly unreadable = (n: number): Effect.Effect<void> =>
    n === 0 ? Effect.void : this.write(Effect.logError, `dropped ${n} events that it cannot decode, over its capacity`)

  /** Delivered events could not be acknowledged by the end. */
  readonly unacknowledged = (error: { readonly message: string }): Effect.Effect<void> =>
    this.write(Effect.logWarning, `closed, and will deliver again what it could not acknowledge: ${error.message}`)

  /** The end: nothing is lost, and all of it is logged. */
  closed(remaining: number, inFlight: number): Effect.Effect<void> {
    const closed =
      remaining === 0
        ? Effect.void
        : this.write(Effect.logInfo, `closed with ${remaining} events remaining, ${inFlight} of them in flight`)
    return Effect.andThen(this.rest, closed)
  }
}
