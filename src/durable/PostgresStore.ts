/**
 * Keeps exchanges, events and subscriptions in Postgres, on the application's own client. A write that succeeded is on the
 * server's disk. Several machines may share the subscriptions: one delivers each of them, and another takes over when it is
 * gone. A write within a transaction of the application commits or rolls back with it.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as SqlClient from "effect/sql/SqlClient"
import { type Changes, canListen, largestPayload, listening, polling } from "./internal/postgres/changes.ts"
import { announcing } from "./internal/postgres/announcing.ts"
import { claiming } from "./internal/postgres/claiming.ts"
import { makeHorizon } from "./internal/postgres/horizon.ts"
import { names, prefixOf } from "./internal/postgres/names.ts"
import { parts as partsOf } from "./internal/postgres/parts.ts"
import { deadLettering } from "./internal/postgres/postgresDeadLetters.ts"
import { discarding } from "./internal/postgres/postgresDiscard.ts"
import { insight } from "./internal/postgres/postgresInsight.ts"
import { migrate } from "./internal/postgres/postgresSchema.ts"
import { makePresence } from "./internal/postgres/presence.ts"
import { publishing } from "./internal/postgres/publishing.ts"
import { milliseconds } from "./internal/postgres/postgresRows.ts"
import { makeRunner, problem, type Runner } from "./internal/postgres/runner.ts"
import { settling } from "./internal/postgres/settling.ts"
import { subscribing } from "./internal/postgres/subscriptions.ts"
import { sweeping } from "./internal/postgres/sweeping.ts"
import { taking } from "./internal/postgres/taking.ts"
import { EventStore, type EventStoreError, type Operations } from "./EventStore.ts"

/**
 * Options of a store in Postgres.
 *
 * @category models
 * @since 0.1.0
 */
export interface Options {
  /**
   * The schema of the tables, made if it is not there. By default it is the first of the connection's `search_path` that is
   * there when the layer is built; tables of the same names in a later one are another application's.
   */
  readonly schema?: string | undefined
  /** What the names of the tables begin with: a to z, 0 to 9 and `_`, at most 40. Default `"effect_events_"`. */
  readonly prefix?: string | undefined
  /** How long an operation waits for the server's answer. Default 10 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** How long an operation waits for a row that another transaction has locked. Default 3 seconds. */
  readonly lockTimeout?: Duration.Input | undefined
  /**
   * How changes are noticed. `"listen"`: by `LISTEN` and `NOTIFY`, at once, on a connection kept for that. `"poll"`: by
   * polling every `pollInterval`. Default `"listen"` on a client of `@effect/sql-pg`, and `"poll"` on any other.
   */
  readonly changes?: "listen" | "poll" | undefined
  /** Default 250 milliseconds. */
  readonly pollInterval?: Duration.Input | undefined
  /** How often a listener polls without a notification, and its connection is tested. Default 30 seconds. */
  readonly checkInterval?: Duration.Input | undefined
}

/**
 * Keeps the events in the database of the `SqlClient` in the context, which may be any for Postgres 12 or later.
 *
 * **Details**
 *
 * The tables are made and migrated when the layer is built, under an advisory lock, so that processes may start
 * together. Where they are up to date nothing is changed, and no right to make tables is needed: only `SELECT`, `INSERT`,
 * `UPDATE` and `DELETE` on them, and `USAGE` on the sequence of positions. Tables of a newer version of this library are
 * refused with `NewerSchema`.
 *
 * Each operation but `define`, `drop`, `discard` and a change of what `open` keeps is one statement that commits itself, with a `lock_timeout` for itself alone: no
 * setting of the connection is changed, and a paused process holds no lock. An event is on disk when its write succeeds,
 * also where the database's default is `synchronous_commit = off`. No operation but a write, and the definition of a queue
 * before its first write, takes part in a transaction of the caller's.
 *
 * A write inside `sql.withTransaction` is part of the transaction, and of a nested one's savepoint. Listeners are
 * notified when it commits. Writers wait for no lock of each other or of an owner. The application's transactions keep the
 * settings they have: set `idle_in_transaction_session_timeout` for the client, with `startupParameters` for one of
 * `@effect/sql-pg`, so that a process paused within a transaction does not keep its locks.
 *
 * An event with a time of its own waits in a table of its own, by the server's clock. The first claim of any process after that
 * time puts it in its place, in the statement of the claim. A transaction that commits after the time is only late.
 *
 * An event with an id waits for a transaction that has written the same id until that ends, as a key does that must be unique,
 * and for no other. When that rolls back, it is stored. Two transactions that write the same ids in a different order may wait
 * for each other, and then one of them fails with `Locked`.
 *
 * An owner that listens holds an advisory lock, which the server gives up when its process dies: others then take over
 * within a second. Without listening they do when its time is over.
 *
 * Limits are counted at most every second, since a row with the count would make all transactions wait for each other.
 * What this process adds and removes in between is added to the count; what other processes write within that second,
 * or have not committed, may pass a limit. A write in a transaction counts each time, in the transaction's own
 * snapshot: the more is pending, the longer that takes. A queue's that would `"suspend"` does not count, and passes the limit:
 * a transaction that waited for room would keep its locks.
 *
 * **Gotchas**
 *
 * Under REPEATABLE READ a transaction's writes are for the subscriptions that there were at its first statement. A write to
 * a queue that was defined after that fails, and succeeds in the next transaction.
 *
 * Under REPEATABLE READ an event fails with `Locked`, and the transaction with it, where one of the same id was committed after
 * the transaction's first statement. The next transaction finds the duplicate.
 *
 * A queue that no process has defined yet is defined by the first write in a transaction: other transactions that define it
 * wait until that one ends.
 *
 * Listening keeps one connection of the client's pool. A pool of one has none left for statements: use
 * `changes: "poll"` there, and with a pooler that hands out a connection per transaction, such as PgBouncer's, which
 * keeps notifications to itself.
 *
 * Postgres lets transactions that notify commit one after the other, in all of its databases. Of a process's own commits
 * one in 10 ms notifies; each of the application's transactions that write does, so these are bound by how fast the disk takes
 * one commit after the other. A settlement notifies only where a writer has limits.
 *
 * The names of an exchange, a tenant and a subscription may have about 2,500 bytes together, and none a NUL. A NUL in a
 * cause, a reason or a detail is kept as U+FFFD, and a cause is cut after 20,000 characters. A payload must fit the client's largest
 * message: with `@effect/sql-pg` that is `maxMessageSize`, 16 MiB by default, less 64 KiB for what comes with it. A larger
 * one is refused when it is written, as is a NUL in a topic, a tenant, a content type, a trace or an id: with `Invalid`, and before
 * the server is asked, which would end a transaction for it.
 *
 * An id that is longer than 1,000 bytes is kept as its SHA-256. Beside ids a tenant may have about 1,600 bytes.
 *
 * What a drop leaves, events that are done with, ids whose window is over, and outcomes that are kept no longer, are removed
 * by `sweep`.
 *
 * With asynchronous replication a standby that takes the server's place may lack the last commits, and its leases too.
 *
 * **Example** (Writing in the application's transaction)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore, PostgresStore } from "effect-events/durable"
 * import { SqlClient } from "effect/sql"
 *
 * const { EventStore: Store } = EventStore
 *
 * const order = (id: number) =>
 *   Effect.gen(function* () {
 *     const sql = yield* SqlClient.SqlClient
 *     const store = yield* Store
 *     const insert = sql`INSERT INTO orders (id) VALUES (${id})`
 *     const event = store.publish("orders", [{ payload: new TextEncoder().encode(JSON.stringify({ id })) }])
 *     // both or none
 *     yield* sql.withTransaction(Effect.andThen(insert, event))
 *   })
 *
 * // over the application's own client, such as PgClient.layer({ url })
 * const program = Effect.provide(order(1), PostgresStore.layer())
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options?: Options): Layer.Layer<EventStore, EventStoreError, SqlClient.SqlClient> =>
  Layer.effect(EventStore, make(options))

/**
 * The store that `layer` provides.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: (
  options?: Options
) => Effect.Effect<Operations, EventStoreError, SqlClient.SqlClient | Scope.Scope> = Effect.fnUntraced(function* (
  options: Options = {}
) {
  const sql = yield* SqlClient.SqlClient
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "10 seconds")
  const lockTimeout = Duration.fromInputUnsafe(options.lockTimeout ?? "3 seconds")
  const run = makeRunner(sql, timeout, lockTimeout)
  const prefix = prefixOf(options.prefix ?? "effect_events_")
  const naming = names(options.schema ?? (yield* firstSchema(run)), prefix)
  const parts = partsOf(naming, Math.min(Math.max(1, milliseconds(lockTimeout)), 2 ** 31 - 1))
  yield* migrate(run, naming)

  const presence = makePresence(run, parts)
  const changes: Changes =
    canListen(sql) && options.changes !== "poll"
      ? yield* listening(sql, run, {
          channel: naming.channel,
          ping: run.write("listen", parts.ping, []),
          check: Duration.fromInputUnsafe(options.checkInterval ?? "30 seconds"),
          timeout,
          presence
        })
      : polling(Duration.fromInputUnsafe(options.pollInterval ?? "250 millis"))
  const horizon = makeHorizon(run, naming)
  const announced = yield* announcing(run.write("notify", parts.announce, []))
  const { capacities, publish } = publishing(run, parts, announced, largestPayload(sql))
  const { claim, lost, release, renew } = claiming(run, parts, horizon, presence)
  return {
    publish,
    inTransaction: run.inTransaction,
    renew,
    claim,
    release,
    take: taking(run, parts, horizon),
    settle: settling(run, parts, { horizon, capacities, lost, changed: changes.changed }),
    ...subscribing(run, parts),
    ...deadLettering(run, parts),
    ...insight(run, parts),
    discard: discarding(run, parts),
    sweep: sweeping(run, parts),
    changes: changes.stream
  }
})

// internals

/** Tables are named with their schema, so that a transaction with a `search_path` of its own writes to the same. */
const firstSchema = (run: Runner): Effect.Effect<string, EventStoreError> =>
  Effect.flatMap(
    run.read<{ readonly schema: string | null }>("migrate", "SELECT current_schema() AS schema", []),
    ([row]) =>
      typeof row?.schema === "string"
        ? Effect.succeed(row.schema)
        : Effect.fail(
            problem("migrate", "Other", "no schema of the search_path is there: name one by the option schema")
          )
  )
