/**
 * Runs one transaction on a file at a time, and waits for the file while it is locked.
 *
 * A commit costs more than all that is in it, so concurrent operations that write share one: an append, the
 * acknowledgement of what was delivered meanwhile, an append to another queue. If it fails, each operation has its own.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import { EventStoreError } from "../../EventStore.ts"
import { answerAll } from "../answerAll.ts"
import { Turns } from "../onDemand.ts"
import type { Attempt, Database, Failed } from "./database.ts"
import type { Statements } from "./sqliteStatements.ts"

/** The work of an operation within its transaction. It may be done again, when the transaction failed. */
export type Work<A> = (statements: Statements, now: number) => A

/** The longest sleep, in milliseconds, before a locked file is tried again. */
const longestDelay = 50
/** How many operations share a commit at most: the event loop waits for all of them. */
const together = 8

interface Waiting {
  readonly operation: string
  readonly work: Work<unknown>
  /** It adds to the file. */
  readonly grows: boolean
  readonly clock: Clock.Clock
  /** When it began to wait. */
  readonly since: number
  readonly committed: (answer: unknown) => void
  readonly resume: (answer: Effect.Effect<unknown, EventStoreError>) => void
  /** The operation was interrupted: nothing of it is to be done any more. */
  interrupted: boolean
  /** The operation has failed together with others, and is done by itself. */
  alone: boolean
}

export class Transactions {
  private readonly database: Database
  /** How long an operation waits for a locked file, in milliseconds. */
  private readonly busyTimeout: number
  /** The context of no operation: neither the clock nor the end of one is to hold up the others. */
  private readonly context: Context.Context<never>
  private waiting: Array<Waiting> = []
  private delay = 1

  constructor(database: Database, busyTimeout: number, context: Context.Context<never>) {
    this.database = database
    this.busyTimeout = busyTimeout
    this.context = context
  }

  /** Reads, at once: it sees all that was committed before. */
  read<A>(operation: string, work: Work<A>): Effect.Effect<A, EventStoreError> {
    return this.alone(operation, "read", work)
  }

  /** Reads the state of the file without a transaction. */
  inspect<A>(operation: string, work: Work<A>): Effect.Effect<A, EventStoreError> {
    return this.alone(operation, "none", work)
  }

  /**
   * Writes. An operation that is interrupted while it waits has nothing written; but one that shares its commit is
   * resumed first, and may interrupt it when all is written. What must follow a commit in any case is for `committed`,
   * which is plain and short.
   */
  write<A>(
    operation: string,
    work: Work<A>,
    committed: (answer: A) => void = () => {},
    grows = false
  ): Effect.Effect<A, EventStoreError> {
    return Effect.clockWith((clock) =>
      Effect.callback<A, EventStoreError>((resume) => {
        const one: Waiting = {
          operation,
          work,
          grows,
          clock,
          since: monotonicMillis(clock),
          // Both get the answer of `work`.
          committed: committed as Waiting["committed"],
          resume: resume as Waiting["resume"],
          interrupted: false,
          alone: false
        }
        this.waiting.push(one)
        this.turns.start(this.context)
        return Effect.sync(() => {
          one.interrupted = true
        })
      })
    )
  }

  private alone<A>(operation: string, kind: "read" | "none", work: Work<A>): Effect.Effect<A, EventStoreError> {
    return Effect.clockWith((clock) => {
      const since = monotonicMillis(clock)
      const attempt = (delay: number): Effect.Effect<A, EventStoreError> => {
        const outcome = this.database.attempt(kind, (statements) => work(statements, clock.currentTimeMillisUnsafe()))
        if (outcome._tag === "Done") return Effect.succeed(outcome.value)
        const left = this.busyTimeout - (monotonicMillis(clock) - since)
        if (outcome._tag !== "Busy" || left <= 0) return this.failure(operation, outcome)
        return Effect.andThen(
          Effect.sleep(Math.min(delay, left)),
          Effect.suspend(() => attempt(Math.min(2 * delay, longestDelay)))
        )
      }
      return attempt(1)
    })
  }

  private readonly turn: Effect.Effect<void> = Effect.suspend(() => {
    const batch = this.take()
    if (batch.length === 0) return Effect.void
    const outcome = this.database.attempt(
      "write",
      (statements) => batch.map(({ clock, work }) => work(statements, clock.currentTimeMillisUnsafe())),
      batch.some(({ grows }) => grows)
    )
    if (outcome._tag === "Busy") return this.busy(batch, outcome)
    this.delay = 1
    if (outcome._tag === "Done") {
      batch.forEach(({ committed }, i) => committed(outcome.value[i]))
      answerAll(batch, ({ resume }, i) => resume(Effect.succeed(outcome.value[i])))
    } else if (batch.length > 1 && !(outcome._tag === "Failed" && outcome.maybeCommitted)) {
      // One of them may be to blame, and the others need not fail for it.
      for (const one of batch) one.alone = true
      this.waiting.unshift(...batch)
    } else {
      answerAll(batch, ({ operation, resume }) => resume(this.failure(operation, outcome)))
    }
    return Effect.void
  })

  private readonly turns = new Turns(() => this.waiting.length > 0, this.turn)

  private take(): ReadonlyArray<Waiting> {
    const batch: Array<Waiting> = []
    let taken = 0
    for (const one of this.waiting) {
      if (batch.length === together || (batch[0] !== undefined && (batch[0].alone || one.alone))) break
      taken++
      if (!one.interrupted) batch.push(one)
    }
    this.waiting.splice(0, taken)
    return batch
  }

  /** An operation that has waited for too long fails, wherever it is in the order. The others go on waiting. */
  private busy(batch: ReadonlyArray<Waiting>, failed: Failed): Effect.Effect<void> {
    const late: Array<Waiting> = []
    const waiting: Array<Waiting> = []
    let pause = this.delay
    for (const one of [...batch, ...this.waiting]) {
      if (one.interrupted) continue
      const left = this.busyTimeout - (monotonicMillis(one.clock) - one.since)
      if (left <= 0) late.push(one)
      else {
        waiting.push(one)
        pause = Math.min(pause, left)
      }
    }
    this.waiting = waiting
    this.delay = Math.min(2 * this.delay, longestDelay)
    answerAll(late, ({ operation, resume }) => resume(this.failure(operation, failed)))
    return waiting.length === 0 ? Effect.void : Effect.sleep(pause)
  }

  private failure(
    operation: string,
    outcome: Exclude<Attempt<never>, { readonly _tag: "Done" }>
  ): Effect.Effect<never, EventStoreError> {
    if (outcome._tag === "Died") return Effect.die(outcome.defect)
    const { _tag, cause, problem, maybeCommitted } = outcome
    const detail = _tag === "Busy" ? `after ${this.busyTimeout} ms still: ${outcome.detail}` : outcome.detail
    return Effect.fail(new EventStoreError({ store: "sqlite", operation, problem, detail, maybeCommitted, cause }))
  }
}
