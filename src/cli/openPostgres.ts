/** The store in tables of Postgres that are there. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import * as SqlClient from "effect/sql/SqlClient"
import { EventStore } from "../durable/EventStore.ts"
import { names, prefixOf } from "../durable/internal/postgres/names.ts"
import { newestVersion } from "../durable/internal/postgres/postgresSchema.ts"
import { sqlProblemOf } from "../durable/internal/postgres/sqlProblem.ts"
import * as PostgresStore from "../durable/PostgresStore.ts"
import { failure, misuse } from "./cliFailure.ts"
import { importOptional } from "./importOptional.ts"
import type { Tables } from "./rootCommand.ts"

/** Makes and migrates no tables: that is done by the processes that deliver. */
export const openPostgres = Effect.fnUntraced(function* (url: Redacted.Redacted, tables: Tables) {
  const prefix = yield* Effect.try({
    try: () => prefixOf(tables.prefix ?? "effect_events_"),
    catch: () => misuse("--prefix has 1 to 40 of a to z, 0 to 9 and _")
  })
  const { PgClient } = yield* importOptional("@effect/sql-pg", () => import("@effect/sql-pg"))
  const client = PgClient.layer({ url, applicationName: "effect-events", maxConnections: 2 })
  const built = yield* Layer.build(client).pipe(Effect.catchTag("SqlError", (error) => failed(sqlProblemOf(error))))
  const sql = Context.get(built, SqlClient.SqlClient)
  const schema = yield* checked(sql, prefix, tables.schema).pipe(
    Effect.catchTag("SqlError", (error) => failed(sqlProblemOf(error)))
  )
  // One command after the other needs no notifications.
  const store = PostgresStore.layer({ schema, prefix, changes: "poll" })
  return Context.get(yield* Effect.provideContext(Layer.build(store), built), EventStore)
})

// internals

const failed = ({ detail, problem }: { readonly detail: string; readonly problem: string }) =>
  Effect.fail(failure(`the server of the store could not be asked (${problem}: ${detail})`))

/** The schema that has the tables. */
const checked = Effect.fnUntraced(function* (sql: SqlClient.SqlClient, prefix: string, given: string | undefined) {
  const ask = (text: string, params: ReadonlyArray<unknown> = []) =>
    sql.withoutTransforms().unsafe<Readonly<Record<string, unknown>>>(text, params)
  const [at] = yield* ask("SELECT current_schema() AS schema")
  const schema = given ?? at?.["schema"]
  if (typeof schema !== "string") return yield* failure("the search_path has no schema that is there: give --schema")
  const { version } = names(schema, prefix)
  const [found] = yield* ask("SELECT to_regclass($1::text) IS NOT NULL AS found", [version])
  if (found?.["found"] !== true) {
    return yield* failure(
      `the database has no tables of a store: ${version} is not there. Give --schema and --prefix if they are elsewhere`
    )
  }
  const [row] = yield* ask(`SELECT max(version)::float8 AS version FROM ${version}`)
  const has = Number(row?.["version"] ?? 0)
  const known = newestVersion(names(schema, prefix))
  if (has < known) {
    return yield* failure(
      `the tables have version ${has}, and are migrated to ${known} when a process of the application opens them with this version`
    )
  }
  return schema
})
