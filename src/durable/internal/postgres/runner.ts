/** Runs a store's statements on the application's client. */
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { SqlClient } from "effect/sql/SqlClient"
import type { SqlError } from "effect/sql/SqlError"
import type { Statement } from "effect/sql/Statement"
import { EventStoreError, type StoreProblem } from "../../EventStore.ts"
import { sqlProblemOf } from "./sqlProblem.ts"

export const problem = (operation: string, problem: StoreProblem, detail: string, maybeCommitted = false) =>
  // the client's own error is left out: the server reports details such as whole rows
  new EventStoreError({ store: "postgres", operation, problem, detail, maybeCommitted })

export class Runner {
  readonly client: SqlClient
  private readonly timeout: Duration.Duration
  readonly inTransaction: Effect.Effect<boolean>

  constructor(sql: SqlClient, timeout: Duration.Duration) {
    this.client = sql.withoutTransforms()
    this.timeout = timeout
    this.inTransaction = Effect.map(Effect.serviceOption(sql.transactionService), ({ _tag }) => _tag === "Some")
  }

  /** Outside a transaction of the caller's, so that a success is committed. */
  outside<A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> {
    return Effect.updateContext(effect, (context: Context.Context<R>) => this.withoutTransaction(context))
  }

  read<Row extends object>(operation: string, text: string, params: ReadonlyArray<unknown>) {
    return this.outside(this.bounded(operation, this.statement<Row>(text, params).unprepared, false))
  }

  write<Row extends object>(operation: string, text: string, params: ReadonlyArray<unknown>) {
    return this.outside(this.bounded(operation, this.statement<Row>(text, params).unprepared, true))
  }

  /** In the transaction of the caller, if there is one. A broken connection ends it, and then nothing is committed. */
  join<Row extends object>(operation: string, text: string, params: ReadonlyArray<unknown>) {
    return this.bounded(operation, this.statement<Row>(text, params), false)
  }

  /**
   * For statements with the same plan every time: the client may prepare it. The others are planned each time, for
   * their parameters and the size of the tables now; a plan kept from when they were empty reads all of a table.
   */
  prepared<Row extends object>(operation: string, text: string, params: ReadonlyArray<unknown>) {
    return this.outside(this.bounded(operation, this.statement<Row>(text, params), true))
  }

  /**
   * Fails as a store does, and when there is no answer in time. The statement is then interrupted, and may have been
   * committed; a client of `@effect/sql-pg` gives up on it within 5 seconds more.
   */
  bounded<A, R>(
    operation: string,
    effect: Effect.Effect<A, SqlError, R>,
    commits: boolean,
    timeout: Duration.Duration = this.timeout
  ): Effect.Effect<A, EventStoreError, R> {
    return effect.pipe(
      Effect.mapError((error) => {
        const { broken, detail, problem: what } = sqlProblemOf(error)
        return problem(operation, what, detail, commits && broken)
      }),
      Effect.timeoutOrElse({
        duration: timeout,
        orElse: () =>
          Effect.fail(problem(operation, "Disconnected", `no answer within ${Duration.format(timeout)}`, true))
      })
    )
  }

  private statement<Row extends object>(text: string, params: ReadonlyArray<unknown>): Statement<Row> {
    return this.client.unsafe<Row>(text, params)
  }

  private withoutTransaction<R>(context: Context.Context<R>): Context.Context<R> {
    // what is omitted is none of R: the client reads it when it runs
    return Context.omit(this.client.transactionService)(context) as Context.Context<R>
  }
}
