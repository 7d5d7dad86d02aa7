import { assert, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, PostgresStore } from "effect-events/durable"
import { SqlClient } from "effect/sql"
import { describePostgres } from "../../durable/support/postgres.ts"
import { attributesOf, linksOf, parentOf, recorder } from "../../support/recorder.ts"

describePostgres("the trace of an event on Postgres", (server) => {
  const process = () => PostgresStore.layer().pipe(Layer.provideMerge(server().client()), Layer.fresh)
  const orders = { name: "orders", schema: Schema.String } as const
  const receiver = EventSink.make((_: string) => Effect.void)

  it.live("crosses a transaction of the application and another process, for each subscription", () => {
    const [here, there] = [recorder(), recorder()]
    return Effect.gen(function* () {
      const place = Effect.gen(function* () {
        const sql = yield* SqlClient.SqlClient
        const written = yield* DurableBroadcaster.writer(orders)
        yield* sql.withTransaction(written.write("a1")).pipe(Effect.withSpan("request"))
        yield* written.write("a2").pipe(Effect.withSpan("other request", { sampled: false }))
      }).pipe(Effect.scoped, Effect.provide(process()), here.provide)

      yield* Effect.gen(function* () {
        const all = yield* DurableBroadcaster.make(orders)
        yield* DurableBroadcaster.subscribe(all, receiver, { name: "billing" })
        yield* DurableBroadcaster.subscribe(all, receiver, { name: "audit", trace: "parent" })
        yield* place
        yield* all.flush
        const before = there.spans.length
        yield* Effect.sleep("3 seconds")
        // What polls the store for more is in no trace.
        assert.deepStrictEqual(there.spans.slice(before), [])
      }).pipe(Effect.scoped, Effect.provide(process()), there.provide)

      const [first, second] = here.named("send orders")
      // The span of the transaction is the client's own.
      assert.strictEqual(first!.traceId, here.only("request").traceId)
      const of = (name: string) =>
        there
          .named("process orders")
          .filter((span) => attributesOf(span)["messaging.destination.subscription.name"] === name)
      assert.deepStrictEqual(of("billing").map(linksOf), [[first!.spanId], [second!.spanId]])
      assert.deepStrictEqual(of("audit").map(parentOf), [first!.spanId, second!.spanId])
      for (const name of ["billing", "audit"]) {
        assert.deepStrictEqual(
          of(name).map(({ sampled }) => sampled),
          [true, false]
        )
        assert.deepStrictEqual(
          of(name).map((span) => attributesOf(span)["messaging.message.id"]),
          [first!, second!].map((span) => attributesOf(span)["messaging.message.id"])
        )
      }
    })
  })
})
