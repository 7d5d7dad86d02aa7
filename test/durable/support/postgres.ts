/** Suites on a real Postgres server. */
import { PgClient } from "@effect/sql-pg"
import { Array, Context, Duration, Effect, Layer, type Scope } from "effect"
import type { SqlError } from "effect/sql/SqlError"
import { type EventStore, PostgresStore } from "effect-events/durable"
import { EventStore as Tag } from "effect-events/durable/EventStore"
import { afterAll, beforeAll, describe } from "vitest"
import { PostgresServer, skipped } from "./postgresServer.ts"

export { freePort, PostgresServer, skipped } from "./postgresServer.ts"

/** A suite on a server of its own. Where none can be started its title says so, and its tests are skipped. */
export const describePostgres = (
  title: string,
  body: (server: () => PostgresServer) => void,
  options?: Parameters<typeof PostgresServer.start>[0]
): void => {
  describe.skipIf(skipped !== "")(`${title}${skipped}`, { timeout: 240_000 }, () => {
    let server: PostgresServer | undefined
    beforeAll(async () => {
      server = await PostgresServer.start(options)
    }, 240_000)
    afterAll(() => server?.remove(), 240_000)
    body(() => {
      if (server === undefined) throw new Error("the server has not been started")
      return server
    })
  })
}

/** A process: a client of the server with a pool of its own, and a store on it. */
export interface Process {
  readonly store: EventStore.Operations
  readonly sql: PgClient.PgClient
}

/** Open as long as the scope is. */
export const openStore = (
  server: PostgresServer,
  options: PostgresStore.Options = {},
  client: PgClient.PgPoolConfig = {}
): Effect.Effect<Process, EventStore.EventStoreError | SqlError, Scope.Scope> =>
  Effect.map(Layer.build(Layer.provideMerge(PostgresStore.layer(options), server.client(client))), (context) => ({
    store: Context.get(context, Tag),
    sql: Context.get(context, PgClient.PgClient)
  }))

export const payload = (text: string): Uint8Array => new TextEncoder().encode(text)
export const texts = (events: ReadonlyArray<{ readonly payload: Uint8Array }>): ReadonlyArray<string> =>
  events.map((event) => new TextDecoder().decode(event.payload))

export const all = { rows: 10_000, bytes: 1_000_000 }

/** A queue's lease, which no other owner has. */
export const leaseOf = (store: EventStore.Operations, queue: string, ttl: Duration.Input = "30 seconds") =>
  Effect.map(store.acquire(queue, Duration.fromInputUnsafe(ttl)), (acquired) => {
    if (acquired._tag === "Held") throw new Error(`another owner has the lease of ${queue}`)
    return acquired.lease
  })

/** Appends a text each. */
export const append = (store: EventStore.Operations, queue: string, ...some: readonly [string, ...Array<string>]) =>
  store.append(queue, Array.map(some, payload), undefined)
