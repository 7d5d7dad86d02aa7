/** Opens the store that a URL means. */
import * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { EventStoreError, Operations } from "../durable/EventStore.ts"
import { type CliFailure, misuse } from "./cliFailure.ts"
import type { Tables } from "./rootCommand.ts"
import type { StoreUrl } from "./storeUrl.ts"

type Opened = Effect.Effect<Operations, CliFailure | EventStoreError, Scope.Scope>

/** Loads the kinds of store: each when it is needed, as it may need what is not installed. */
export interface Loaders {
  readonly sqlite: () => Promise<{ readonly openSqlite: (filename: string) => Opened }>
  readonly postgres: () => Promise<{ readonly openPostgres: (url: Redacted.Redacted, tables: Tables) => Opened }>
}

export const openStore =
  ({ postgres, sqlite }: Loaders) =>
  (url: StoreUrl, tables: Tables): Opened =>
    Effect.gen(function* () {
      if (url._tag === "Postgres") {
        const { openPostgres } = yield* Effect.promise(postgres)
        return yield* openPostgres(url.url, tables)
      }
      if (tables.schema !== undefined || tables.prefix !== undefined) {
        return yield* misuse("--schema and --prefix are for Postgres")
      }
      const { openSqlite } = yield* Effect.promise(sqlite)
      return yield* openSqlite(url.filename)
    })
