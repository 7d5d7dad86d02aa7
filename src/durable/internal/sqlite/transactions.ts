/**
 * Asks a file for one operation at a time, and waits for it while it is locked.
 *
 * A commit costs more than all that is in it, so operations that write and come while others wait for their turn share one:
 * an append, the acknowledgement of what was delivered meanwhile, an append to another queue. If it fails, each has its own.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import { EventStoreError } from "../../EventStore.ts"
import { answerAll } from "../answering.ts"
import { Turns } from "../onDemand.ts"
import type { Attempt, Database, Failed } from "./database.ts"
import type { Statements } from "./sqliteStatements.ts"

/** What an operation does within its transaction. It may be done again, when the transaction came to nothing. */
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
  /** It was interrupted: nothing of it is to be done any more. */
  gone: boolean
  /** It has failed together with others, and is done by itself. */
  alone: boolean
}

export class Transactions {
  private readonly database: Database
  /** How long an operation waits for a locked file, in milliseconds. */
  private readonly busyTimeout: number
  /** The turns are nobody's: neither the clock nor the end of one operation is to hold up the others. */
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

  /** Looks at the file without a transaction. */
  look<A>(operation: string, work: Work<A>): Effect.Effect<A, EventStoreError> {
    return this.alone(operation, "none", work)
  }

  /**
   * Writes. Who is interrupted while he waits has nothing written; but who writes with him goes on before him, and may
   * interrupt him when all is written. What must follow a commit in any case is for `committed`, which is plain and short.
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
          // Both get what `work` has answered.
          committed: committed as Waiting["committed"],
          resume: resume as Waiting["resume"],
          gone: false,
          alone: false
        }
        this.waiting.push(one)
        this.turns.start(this.context)
        return Effect.sync(() => {
          one.gone = true
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
    const group = this.take()
    if (group.length === 0) return Effect.void
    const outcome = this.database.attempt(
      "write",
      (statements) => group.map(({ clock, work }) => work(statements, clock.currentTimeMillisUnsafe())),
      group.some(({ grows }) => grows)
    )
    if (outcome._tag === "Busy") return this.busy(group, outcome)
    this.delay = 1
    if (outcome._tag === "Done") {
      group.forEach(({ committed }, i) => committed(outcome.value[i]))
      answerAll(group, ({ resume }, i) => resume(Effect.succeed(outcome.value[i])))
    } else if (group.length > 1 && !(outcome._tag === "Failed" && outcome.maybeCommitted)) {
      // One of them may be to blame, and the others need not fail for it.
      for (const one of group) one.alone = true
      this.waiting.unshift(...group)
    } else {
      answerAll(group, ({ operation, resume }) => resume(this.failure(operation, outcome)))
    }
    return Effect.void
  })

  private readonly turns = new Turns(() => this.waiting.length > 0, this.turn)

  private take(): ReadonlyArray<Waiting> {
    const group: Array<Waiting> = []
    let taken = 0
    for (const one of this.waiting) {
      if (group.length === together || (group[0] !== undefined && (group[0].alone || one.alone))) break
      taken++
      if (!one.gone) group.push(one)
    }
    this.waiting.splice(0, taken)
    return group
  }

  /** Who has waited for too long fails, wherever it stands. The others go on waiting, and those that come meanwhile with them. */
  private busy(group: ReadonlyArray<Waiting>, failed: Failed): Effect.Effect<void> {
    const late: Array<Waiting> = []
    const patient: Array<Waiting> = []
    let pause = this.delay
    for (const one of [...group, ...this.waiting]) {
      if (one.gone) continue
      const left = this.busyTimeout - (monotonicMillis(one.clock) - one.since)
      if (left <= 0) late.push(one)
      else {
        patient.push(one)
        pause = Math.min(pause, left)
      }
    }
    this.waiting = patient
    this.delay = Math.min(2 * this.delay, longestDelay)
    answerAll(late, ({ operation, resume }) => resume(this.failure(operation, failed)))
    return patient.length === 0 ? Effect.void : Effect.sleep(pause)
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
