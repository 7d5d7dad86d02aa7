/** The first write of `DurableQueue.writer` defines the queue: here in a transaction of the application. */
import { assert, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { DurableQueue, EventStore } from "effect-events/durable"
import { describePostgres, openStore } from "../../durable/support/postgres.ts"

describePostgres("a writer in a transaction, of a queue that was not defined before", (server) => {
  const setUp = Effect.fnUntraced(function* (name: string) {
    const { sql, store } = yield* openStore(server(), { changes: "poll" })
    yield* sql.unsafe("CREATE TABLE IF NOT EXISTS orders (queue text)")
    const writer = yield* DurableQueue.writer({ name, schema: Schema.Int }).pipe(
      Effect.provideService(EventStore.EventStore, store)
    )
    const pending = Effect.gen(function* () {
      const [queue] = yield* store.list({ exchange: name })
      return queue === undefined ? 0 : ((yield* store.figures(queue.id))?.pending ?? 0)
    })
    /** An order and its event in one transaction. */
    const place = (level: string, steps: ReadonlyArray<"insert" | "write">) =>
      sql.withTransaction(
        Effect.andThen(
          sql.unsafe(`SET TRANSACTION ISOLATION LEVEL ${level}`),
          Effect.forEach(
            steps,
            (step): Effect.Effect<unknown, unknown> =>
              step === "write" ? writer.write(1) : sql.unsafe("INSERT INTO orders VALUES ($1)", [name]),
            { discard: true }
          )
        )
      )
    const orders = Effect.map(sql.unsafe("SELECT FROM orders WHERE queue = $1", [name]), ({ length }) => length)
    return { place, pending, orders }
  })

  const levels = ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"]

  it.live.each(levels)("at %s the first statement of the transaction may be the write", (level) =>
    Effect.gen(function* () {
      const { orders, pending, place } = yield* setUp(`first at ${level}`)
      yield* place(level, ["write", "insert"])
      assert.deepStrictEqual([yield* orders, yield* pending], [1, 1])
    })
  )

  it.live("at READ COMMITTED the write may come after other statements", () =>
    Effect.gen(function* () {
      const { orders, pending, place } = yield* setUp("later at READ COMMITTED")
      yield* place("READ COMMITTED", ["insert", "write"])
      assert.deepStrictEqual([yield* orders, yield* pending], [1, 1])
    })
  )

  // The snapshot of the transaction is from before the queue was defined.
  it.live.each(["REPEATABLE READ", "SERIALIZABLE"])(
    "at %s a write after other statements fails, the transaction leaves neither, and the next one is stored",
    (level) =>
      Effect.gen(function* () {
        const { orders, pending, place } = yield* setUp(`later at ${level}`)
        assert.instanceOf(yield* Effect.flip(place(level, ["insert", "write"])), DurableQueue.DurableWriteError)
        assert.deepStrictEqual([yield* orders, yield* pending], [0, 0])
        yield* place(level, ["insert", "write"])
        assert.deepStrictEqual([yield* orders, yield* pending], [1, 1])
      })
  )
})
