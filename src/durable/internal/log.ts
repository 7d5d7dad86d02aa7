/** What a durable queue tells the log: counts and names, never an event. */
import * as Effect from "effect/Effect"
import type { EventStoreError } from "../EventStore.ts"
import { annotate, makeFailureLog } from "../../internal/failureLog.ts"
import type { Account, SinkNode } from "../../internal/node.ts"

export class QueueLog {
  private readonly node: SinkNode
  private readonly counts: Account
  private readonly parkings = makeFailureLog()
  private readonly troubles = makeFailureLog()
  private unlogged = 0

  constructor(node: SinkNode, counts: Account) {
    this.node = node
    this.counts = counts
  }

  private line(log: typeof Effect.logError, what: string): Effect.Effect<void> {
    const { kind, name } = this.node
    return log(`${kind} "${name}" ${what}`).pipe(annotate(kind, name))
  }

  /** Events were moved to the dead letters. */
  deadLettered(n: number): Effect.Effect<void> {
    this.unlogged += n
    return this.parkings.failed() === 0 ? Effect.void : this.rest
  }

  private readonly rest: Effect.Effect<void> = Effect.suspend(() => {
    const { unlogged } = this
    this.unlogged = 0
    if (unlogged === 0) return Effect.void
    return this.line(Effect.logError, `moved ${unlogged === 1 ? "an event" : `${unlogged} events`} to its dead letters`)
  })

  /** Events are delivered again. */
  readonly delivering: Effect.Effect<void> = Effect.suspend(() => {
    this.parkings.recovered()
    return this.rest
  })

  readonly abandoned = (downstream: string): Effect.Effect<void> =>
    this.line(Effect.logWarning, `closed without a downstream write that refuses interruption ("${downstream}")`)

  readonly halted = (problem: string): Effect.Effect<void> =>
    this.line(Effect.logError, `has stopped its line in front of an event that it cannot decode (${problem})`)

  readonly leaseLost: Effect.Effect<void> = Effect.suspend(() =>
    this.line(Effect.logWarning, "has lost its lease to another process, and stands by")
  )

  readonly troubled = (error: EventStoreError): Effect.Effect<void> => {
    this.counts.lastError = error
    const failures = this.troubles.failed()
    return failures === 0 ? Effect.void : this.line(Effect.logError, `waits for its store: ${error.message}`)
  }

  readonly recovered: Effect.Effect<void> = Effect.suspend(() => {
    const run = this.troubles.recovered()
    return run === 0 ? Effect.void : this.line(Effect.logInfo, `has its store again, after ${run} failures`)
  })

  /** Events were dropped that could not be told to `onDropped`, since they do not decode. */
  readonly unreadable = (n: number): Effect.Effect<void> =>
    n === 0 ? Effect.void : this.line(Effect.logError, `dropped ${n} events that it cannot decode, as too many`)

  /** What was delivered could not be acknowledged by the end. */
  readonly unacknowledged = (error: { readonly message: string }): Effect.Effect<void> =>
    this.line(Effect.logWarning, `closed, and will deliver again what it could not acknowledge: ${error.message}`)

  /** The end: nothing is lost, and all of it is told. */
  closed(kept: number, inFlight: number): Effect.Effect<void> {
    const told =
      kept === 0
        ? Effect.void
        : this.line(Effect.logInfo, `closed and keeps ${kept} events, ${inFlight} of them in flight`)
    return Effect.andThen(this.rest, told)
  }
}
