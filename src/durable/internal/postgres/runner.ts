/** Runs a store's statements on the application's client. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import { isSqlError, type SqlError } from "effect/sql/SqlError"
import { EventStoreError, type StoreProblem } from "../../EventStore.ts"
import { milliseconds } from "./postgresRows.ts"
import { sqlProblemOf } from "./sqlProblem.ts"

/** What a transaction did is on disk when it is answered, even where the database's default is not to wait for that. */
export const onDisk =
  "set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), true)"

export const problem = (operation: string, problem: StoreProblem, detail: string, maybeCommitted = false) =>
  // the client's own error is left out: the server reports details such as whole rows
  new EventStoreError({ store: "postgres", operation, problem, detail, maybeCommitted })

type Run = <Row extends object>(
  operation: string,
  text: string,
  params: ReadonlyArray<unknown>
) => Effect.Effect<ReadonlyArray<Row>, EventStoreError>

export interface Runner {
  readonly client: SqlClient
  readonly inTransaction: Effect.Effect<boolean>
  readonly read: Run
  readonly write: Run
  /** In the transaction of the caller, if there is one. A broken connection ends it, and then nothing is committed. */
  readonly join: Run
  /**
   * For statements whose plan is good for all parameters and sizes of the tables: the client may prepare it. The others are
   * planned each time.
   */
  readonly prepared: Run
  readonly preparedRead: Run
  /**
   * Fails as a store does, and when there is no answer in time. The statement is then interrupted, and may have been
   * committed; a client of `@effect/sql-pg` gives up on it within 5 seconds more.
   */
  readonly bounded: <A, R>(
    operation: string,
    effect: Effect.Effect<A, SqlError, R>,
    commits: boolean,
    timeout?: Duration.Duration
  ) => Effect.Effect<A, EventStoreError, R>
  /** Outside a transaction of the caller's, so that a success is committed. */
  readonly outside: <A, E>(effect: Effect.Effect<A, E>) => Effect.Effect<A, E>
  /** Several statements in one transaction, which the server ends when its process stops in it. */
  readonly transaction: <A>(
    operation: string,
    steps: Effect.Effect<A, SqlError>,
    limit?: Duration.Duration
  ) => Effect.Effect<A, EventStoreError>
}

export const makeRunner = (sql: SqlClient, timeout: Duration.Duration, lockTimeout: Duration.Duration): Runner => {
  const client = sql.withoutTransforms()

  const bounded: Runner["bounded"] = (operation, effect, commits, limit = timeout) =>
    effect.pipe(
      Effect.mapError((error) => {
        const { broken, detail, problem: what } = sqlProblemOf(error)
        return problem(operation, what, detail, commits && broken)
      }),
      Effect.timeoutOrElse({
        duration: limit,
        orElse: () =>
          Effect.fail(problem(operation, "Disconnected", `no answer within ${Duration.format(limit)}`, true))
      })
    )

  const outside: Runner["outside"] = Effect.updateContext(Context.omit(client.transactionService))

  const alone =
    (isPrepared: boolean, commits: boolean): Run =>
    <Row extends object>(operation: string, text: string, params: ReadonlyArray<unknown>) => {
      const statement = client.unsafe<Row>(text, params)
      return outside(bounded(operation, isPrepared ? statement : statement.unprepared, commits))
    }
  return {
    client,
    bounded,
    outside,
    inTransaction: Effect.map(Effect.serviceOption(client.transactionService), ({ _tag }) => _tag === "Some"),
    read: alone(false, false),
    write: alone(false, true),
    join: (operation, text, params) => bounded(operation, client.unsafe(text, params), false),
    prepared: alone(true, true),
    preparedRead: alone(true, false),
    transaction: (operation, steps, limit) => {
      const set = client.unsafe(
        `SELECT set_config('lock_timeout', $1::text, true), set_config('idle_in_transaction_session_timeout', $2::text, true), ${onDisk}`,
        [limit ?? lockTimeout, limit ?? timeout].map((duration) => String(milliseconds(duration)))
      ).unprepared
      // Where the connection broke the ROLLBACK dies of that, beside the error of the steps.
      const ended = Effect.catchDefect(client.withTransaction(Effect.andThen(set, steps)), (defect) =>
        isSqlError(defect) ? Effect.fail(defect) : Effect.die(defect)
      )
      return outside(bounded(operation, ended, true, limit))
    }
  }
}
