import { assert, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { SqlClient } from "effect/sql"
import { PostgresStore } from "effect-events/durable"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { describePostgres } from "../../durable/support/postgres.ts"

describePostgres("the laws of PostgresStore", (server) => {
  let made = 0
  const make = (changes: "listen" | "poll") =>
    Effect.gen(function* () {
      const client = yield* Layer.build(server().client({ maxConnections: 20 }))
      const layer = PostgresStore.layer({ prefix: `laws_${++made}_`, changes })
      const transaction = <A, E>(effect: Effect.Effect<A, E>) =>
        Effect.flatMap(SqlClient.SqlClient, (sql) => sql.withTransaction(effect)).pipe(Effect.provide(client))
      return { layer: Layer.provide(layer, Layer.succeedContext(client)), transaction }
    })

  for (const changes of ["listen", "poll"] as const) {
    const subject = StoreLaws.subject({ name: `postgres, which ${changes}s`, limits: "own", make: make(changes) })
    // how it hears of changes is no matter to the other laws
    const laws = StoreLaws.laws.filter(({ title }) => changes === "listen" || title.startsWith("changes"))
    for (const law of laws) {
      it.live(
        `${law.number}: ${law.title} (${changes})`,
        () =>
          Effect.gen(function* () {
            const violations = yield* StoreLaws.check(subject, { laws: [law.number] })
            assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          }),
        120_000
      )
    }
  }
})
