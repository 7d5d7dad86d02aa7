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

/** The name of the only subscription of an exchange, which matches all topics. */
export const only = "only"

/** Defines the only subscription of an exchange. */
export const define = (
  store: EventStore.Operations,
  exchange: string,
  definition: Partial<EventStore.Definition> = {}
) =>
  Effect.map(store.define(exchange, [{ name: only, topics: ["*"], ...definition }]), ([one]) => {
    if (one === undefined) throw new Error(`no subscription of ${exchange}`)
    return one
  })

/** The lease of a subscription, and what is done with it. */
export interface Leased {
  readonly owner: EventStore.Owner
  readonly lease: EventStore.Claimed
  readonly take: (
    wanted?: Partial<EventStore.Wanted>
  ) => Effect.Effect<ReadonlyArray<EventStore.Delivery> | undefined, EventStore.EventStoreError>
  readonly settle: (
    settled: ReadonlyArray<EventStore.Settled>,
    wait?: EventStore.Settlement["wait"]
  ) => Effect.Effect<ReadonlyArray<number>, EventStore.EventStoreError>
  readonly acknowledge: (
    deliveries: ReadonlyArray<EventStore.Delivery>
  ) => Effect.Effect<ReadonlyArray<number>, EventStore.EventStoreError>
}

export const leasedBy = (store: EventStore.Operations, owner: EventStore.Owner, lease: EventStore.Claimed): Leased => {
  const { epoch, subscription } = lease
  const settle: Leased["settle"] = (settled, wait) =>
    store.settle(owner, [{ lease: { subscription, epoch }, settled, wait }])
  return {
    owner,
    lease,
    take: (wanted = {}) =>
      Effect.map(
        store.take(owner, [{ subscription, epoch, limits: all, except: [], busy: [], perLane: 1_000, ...wanted }]),
        ([taken]) => taken?.deliveries
      ),
    settle,
    acknowledge: (deliveries) =>
      settle(deliveries.map(({ lane, position }) => ({ _tag: "Acknowledged", position, lane })))
  }
}

/** The lease of an exchange's only subscription, which something is due of, and an owner of its own for it. */
export const leaseOf = Effect.fnUntraced(function* (
  store: EventStore.Operations,
  exchange: string,
  ttl: Duration.Input = "30 seconds"
) {
  const owner = yield* store.renew({ name: exchange }, Duration.fromInputUnsafe(ttl))
  const subscriptions = yield* store.list({ exchange })
  const { acquired } = yield* store.claim(
    owner,
    subscriptions.map(({ id }) => id),
    1
  )
  const lease = acquired[0]
  if (lease === undefined) return yield* Effect.die(`nothing of ${exchange} is free and due`)
  return leasedBy(store, owner, lease)
})

/** Publishes a text each. */
export const publish = (store: EventStore.Operations, exchange: string, ...some: readonly [string, ...Array<string>]) =>
  store.publish(
    exchange,
    Array.map(some, (text) => ({ payload: payload(text) }))
  )
