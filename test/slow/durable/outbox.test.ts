import { assert, it } from "@effect/vitest"
import { Data, Effect, Exit, Layer, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, DurableQueue, PostgresStore } from "effect-events/durable"
import { SqlClient } from "effect/sql"
import { describePostgres } from "../../durable/support/postgres.ts"

// What docs/guide/outbox.md says, with the parts that it shows.

class Refused extends Data.TaggedError("Refused")<{}> {}

describePostgres("the outbox of the guide", (server) => {
  const process = () => PostgresStore.layer().pipe(Layer.provideMerge(server().client()), Layer.fresh)
  const orders = { name: "orders", schema: Schema.String } as const
  const mails = { name: "mails", schema: Schema.String } as const

  it.live("writers of one process and a transaction, receivers of another: both or none", () =>
    Effect.gen(function* () {
      const received: Array<string> = []
      const receiver = (name: string) =>
        EventSink.make((id: string) => Effect.sync(() => void received.push(`${name} ${id}`)))

      const web = Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const written = yield* DurableBroadcaster.writer(orders)
        // its queue is not there yet
        const sent = yield* DurableQueue.writer(mails)
        yield* sql`CREATE TABLE orders (id text)`
        const place = (id: string, end: Effect.Effect<void, Refused>) =>
          sql.withTransaction(
            Effect.gen(function* () {
              yield* sql`INSERT INTO orders (id) VALUES (${id})`
              yield* written.write(id)
              yield* sent.write(id)
              yield* end
            })
          )
        yield* place("a1", Effect.void)
        assert.isTrue(Exit.isFailure(yield* Effect.exit(place("a2", Effect.fail(new Refused())))))
        yield* sql.withTransaction(
          Effect.gen(function* () {
            yield* Effect.exit(place("a3", Effect.fail(new Refused())))
            yield* place("a4", Effect.void)
          })
        )
        assert.deepStrictEqual(yield* sql`SELECT id FROM orders ORDER BY id`, [{ id: "a1" }, { id: "a4" }])
      }).pipe(Effect.scoped, Effect.provide(process()))

      const worker = Effect.gen(function* () {
        const all = yield* DurableBroadcaster.make(orders)
        yield* DurableBroadcaster.subscribe(all, receiver("billing"), { name: "billing" })
        yield* DurableBroadcaster.subscribe(all, receiver("audit"), { name: "audit" })
        yield* web
        yield* all.flush
        const queue = yield* Effect.flatMap(receiver("mail"), DurableQueue.make(mails))
        yield* queue.flush
      }).pipe(Effect.scoped, Effect.provide(process()))

      yield* worker
      const of = (name: string) => received.filter((one) => one.startsWith(name))
      for (const name of ["billing", "audit", "mail"]) assert.deepStrictEqual(of(name), [`${name} a1`, `${name} a4`])
    })
  )
})
