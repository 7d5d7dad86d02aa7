/** The store in a SQLite file that is there. */
/// <reference types="node" />
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { statSync } from "node:fs"
import { DatabaseSync } from "node:sqlite"
import { EventStore } from "../durable/EventStore.ts"
import { examine } from "../durable/internal/sqlite/sqliteSchema.ts"
import * as SqliteStore from "../durable/SqliteStore.ts"
import { failure } from "./cliFailure.ts"

/** Neither makes a file nor migrates one: that is done by the processes that deliver. */
export const openSqlite = Effect.fnUntraced(function* (filename: string) {
  const refusal = yield* Effect.sync(() => refusalOf(filename))
  if (refusal !== undefined) return yield* failure(`${refusal}: ${filename}`)
  return Context.get(yield* Layer.build(SqliteStore.layer({ filename })), EventStore)
})

// internals

const refusalOf = (filename: string): string | undefined => {
  try {
    const found = statSync(filename, { throwIfNoEntry: false })
    if (found === undefined) return "there is no such file"
    if (!found.isFile()) return "this is no file"
    // Read by SQLite: the header in the file itself may be older than the log beside it.
    const db = new DatabaseSync(filename, { readOnly: true, timeout: 5_000 })
    try {
      const state = examine(db)
      if (typeof state !== "boolean") return state.detail
      if (!state) return undefined
      return Object.values(db.prepare("PRAGMA application_id").get() ?? {}).includes(0)
        ? "the file has no tables of a store"
        : "the file is of an older version, and migrated when a process of the application opens it with this one"
    } finally {
      db.close()
    }
  } catch (error) {
    // What the system and SQLite say has no content of the file.
    return error instanceof Error ? error.message : "the file cannot be read"
  }
}
