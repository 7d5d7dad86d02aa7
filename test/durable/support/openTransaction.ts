/** A transaction that stays open, for tests. */
import { Deferred, Effect, Fiber } from "effect"
import type { SqlClient } from "effect/sql"

/** Open, after what it did, until it is ended by what this answers: by a commit, or by a failure. */
export const openTransaction = Effect.fnUntraced(function* (
  sql: SqlClient.SqlClient,
  work: Effect.Effect<unknown, unknown>,
  end: Effect.Effect<unknown, unknown> = Effect.void
) {
  const done = yield* Deferred.make<void>()
  const ending = yield* Deferred.make<void>()
  const fiber = yield* Effect.forkScoped(
    sql.withTransaction(
      Effect.gen(function* () {
        yield* work
        yield* Deferred.succeed(done, undefined)
        yield* Deferred.await(ending)
        yield* end
      })
    )
  )
  yield* Effect.raceFirst(Deferred.await(done), Fiber.join(fiber))
  return Effect.andThen(Deferred.succeed(ending, undefined), Fiber.await(fiber))
})
