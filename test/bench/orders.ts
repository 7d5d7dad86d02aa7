/** What the durable rows share: orders as events, a folder for a SQLite file, and a client of a Postgres server. */
import { PgClient } from "@effect/sql-pg"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

export const Order = Schema.Struct({ id: Schema.String, type: Schema.String, note: Schema.String })
export type Order = typeof Order.Type

/** An order of so many bytes as JSON. */
export const orderOf = (bytes: number): Order => {
  const order = { id: "5f8b6f0e-52c6-4b54-9b3c-0d4f8e6f7a11", type: "order.placed", note: "" }
  return { ...order, note: "x".repeat(bytes - JSON.stringify(order).length) }
}
/** The order of most rows. */
export const event = orderOf(300)

export const payloadOf = (order: Order): Uint8Array => new TextEncoder().encode(JSON.stringify(order))

export const batch = 100
export const batchOf = (order: Order): ReadonlyArray<Order> => Array.from({ length: batch }, () => order)

/** A folder of its own, gone when the scope closes. */
export const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-events-bench-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** The port of a server of its own, which ends with this process. */
export const portOf = (script: "postgres.ts" | "redis.ts") =>
  Effect.acquireRelease(
    Effect.sync(() =>
      spawn(process.execPath, [fileURLToPath(new URL(script, import.meta.url))], {
        stdio: ["pipe", "pipe", "inherit"]
      })
    ),
    (child) => Effect.sync(() => child.stdin.end())
  ).pipe(
    Effect.flatMap((child) =>
      Effect.promise(async () => {
        for await (const said of createInterface({ input: child.stdout })) return said
        throw new Error("the server did not start")
      })
    ),
    Effect.map((said) => {
      if (!/^\d+$/.test(said)) throw new Error(said)
      return Number(said)
    })
  )

/** The layer of a client with ten connections to a server of its own. */
export const postgres = Effect.map(portOf("postgres.ts"), (port) =>
  PgClient.layer({ host: "127.0.0.1", port, username: "postgres", database: "postgres", maxConnections: 10 })
)
