/**
 * Runs one transaction on a file at a time, and waits for the file while it is locked.
 *
 * A commit costs more than all that is in it, so concurrent operations that write share one: a publish, the settlement of
 * what was delivered meanwhile, a publish to another exchange. If it fails, each operation has its own.
 */
import type * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import { monotonicMillis } from "../../../internal/monotonic.ts"
import { EventStoreError } from "../../EventStore.ts"
import { answerAll, makeOnDemand } from "../onDemand.ts"
import type { Attempt, Database, Failed } from "./database.ts"
import type { Sql } from "./prepared.ts"

/**
 * The work of an operation within its transaction, at a time as an integer column can hold it. It may be done again, when the
 * transaction failed.
 */
export type Work<A> = (sql: Sql, now: number) => A

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

export interface Transactions {
  /** Reads, at once: it sees all that was committed before. */
  readonly read: <A>(operation: string, work: Work<A>) => Effect.Effect<A, EventStoreError>
  /** Reads the state of the file, or what one statement reads, without a transaction around it. */
  readonly inspect: <A>(operation: string, work: Work<A>) => Effect.Effect<A, EventStoreError>
  /**
   * Writes. An operation that is interrupted while it waits has nothing written; but one that shares its commit is
   * resumed first, and may interrupt it when all is written. What must follow a commit in any case is for `committed`,
   * which is plain and short.
   */
  readonly write: <A>(
    operation: string,
    work: Work<A>,
    committed?: (answer: A) => void,
    grows?: boolean
  ) => Effect.Effect<A, EventStoreError>
}

/**
 * `busyTimeout` is how long an operation waits for a locked file, in milliseconds. The context is that of no operation:
 * neither the clock nor the end of one is to hold up the others.
 */
export const makeTransactions = (
  database: Pick<Database, "attempt">,
  busyTimeout: number,
  context: Context.Context<never>
): Transactions => {
  let waiting: Array<Waiting> = []
  let delay = 1

  const alone =
    (kind: "read" | "none") =>
    <A>(operation: string, work: Work<A>): Effect.Effect<A, EventStoreError> =>
      Effect.clockWith((clock) => {
        let since: number | undefined
        const attempt = (delay: number): Effect.Effect<A, EventStoreError> => {
          const outcome = database.attempt(kind, (sql) => work(sql, Math.floor(clock.currentTimeMillisUnsafe())))
          if (outcome._tag === "Done") return Effect.succeed(outcome.value)
          since ??= monotonicMillis(clock)
          const left = busyTimeout - (monotonicMillis(clock) - since)
          if (outcome._tag !== "Busy" || left <= 0) return failure(operation, outcome)
          return Effect.andThen(
            Effect.sleep(Math.min(delay, left)),
            Effect.suspend(() => attempt(Math.min(2 * delay, longestDelay)))
          )
        }
        return attempt(1)
      })

  const write = <A>(
    operation: string,
    work: Work<A>,
    committed: (answer: A) => void = constVoid,
    grows = false
  ): Effect.Effect<A, EventStoreError> =>
    Effect.clockWith((clock) =>
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
        waiting.push(one)
        turns.start()
        return Effect.sync(() => {
          one.interrupted = true
        })
      })
    )

  const turn: Effect.Effect<void> = Effect.suspend(() => {
    const batch = takeBatch()
    if (batch.length === 0) return Effect.void
    const outcome = database.attempt(
      "write",
      (sql) => batch.map(({ clock, work }) => work(sql, Math.floor(clock.currentTimeMillisUnsafe()))),
      batch.some(({ grows }) => grows)
    )
    if (outcome._tag === "Busy") return busy(batch, outcome)
    delay = 1
    if (outcome._tag === "Done") {
      for (const [i, { committed }] of batch.entries()) committed(outcome.value[i])
      answerAll(batch, ({ resume }, i) => resume(Effect.succeed(outcome.value[i])))
    } else if (batch.length > 1 && !(outcome._tag === "Failed" && outcome.maybeCommitted)) {
      // One of them may be to blame, and the others need not fail for it.
      for (const one of batch) one.alone = true
      waiting = [...batch, ...waiting]
    } else {
      answerAll(batch, ({ operation, resume }) => resume(failure(operation, outcome)))
    }
    return Effect.void
  })
  const turns = makeOnDemand(context, () => waiting.length > 0, turn)

  const takeBatch = (): ReadonlyArray<Waiting> => {
    const batch: Array<Waiting> = []
    let taken = 0
    for (const one of waiting) {
      if (batch.length === together || (batch[0] !== undefined && (batch[0].alone || one.alone))) break
      taken++
      if (!one.interrupted) batch.push(one)
    }
    waiting.splice(0, taken)
    return batch
  }

  /** An operation that has waited for too long fails, wherever it is in the order. The others go on waiting. */
  const busy = (batch: ReadonlyArray<Waiting>, failed: Failed): Effect.Effect<void> => {
    const late: Array<Waiting> = []
    const rest: Array<Waiting> = []
    let pause = delay
    for (const one of [...batch, ...waiting]) {
      if (one.interrupted) continue
      const left = busyTimeout - (monotonicMillis(one.clock) - one.since)
      if (left <= 0) late.push(one)
      else {
        rest.push(one)
        pause = Math.min(pause, left)
      }
    }
    waiting = rest
    delay = Math.min(2 * delay, longestDelay)
    // What an answer brings is tried at once, and not after a sleep of others.
    const sleep = rest.length === 0 ? Effect.void : Effect.sleep(pause)
    answerAll(late, ({ operation, resume }) => resume(failure(operation, failed)))
    return sleep
  }

  const failure = (
    operation: string,
    outcome: Exclude<Attempt<never>, { readonly _tag: "Done" }>
  ): Effect.Effect<never, EventStoreError> => {
    if (outcome._tag === "Died") return Effect.die(outcome.defect)
    const { _tag, cause, problem, maybeCommitted } = outcome
    const detail = _tag === "Busy" ? `after ${busyTimeout} ms still: ${outcome.detail}` : outcome.detail
    return Effect.fail(new EventStoreError({ store: "sqlite", operation, problem, detail, maybeCommitted, cause }))
  }

  return { read: alone("read"), inspect: alone("none"), write }
}
