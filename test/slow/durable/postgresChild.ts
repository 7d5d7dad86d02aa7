/** A process that is there to be stopped and killed: it has the lease of an exchange's only subscription, and listens. */
import { PgClient } from "@effect/sql-pg"
import { Duration, Effect, Layer, Stream } from "effect"
import { EventStore } from "effect-events/durable/EventStore"
import * as PostgresStore from "effect-events/durable/PostgresStore"

const [, , port = "", exchange = "", changes = "listen"] = process.argv

const program = Effect.gen(function* () {
  const store = yield* EventStore
  const listening = yield* Stream.toQueue(store.changes, { capacity: "unbounded" })
  void listening
  const owner = yield* store.renew({ name: "child" }, Duration.hours(1))
  const subscriptions = yield* store.list({ exchange })
  const { acquired } = yield* store.claim(
    owner,
    subscriptions.map(({ id }) => id),
    1
  )
  yield* Effect.sync(() => void process.stdout.write(`${acquired.length}\n`))
  return yield* Effect.never
}).pipe(
  Effect.scoped,
  Effect.provide(
    PostgresStore.layer({ changes: changes === "poll" ? "poll" : "listen" }).pipe(
      Layer.provide(
        PgClient.layer({ host: "127.0.0.1", port: Number(port), username: "postgres", database: "postgres" })
      )
    )
  )
)

await Effect.runPromise(program)
