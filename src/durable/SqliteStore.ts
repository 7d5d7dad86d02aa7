/**
 * A store of the durable parts in a SQLite file, by `node:sqlite`: nothing to install and nothing to build.
 *
 * An operation that succeeded is on the disk (a write-ahead log with `synchronous=FULL`) and outlives the process, a
 * `SIGKILL` and a loss of power. Several processes of one machine may share a file: one of them delivers a queue or a
 * subscription, all may write.
 *
 * @since 0.1.0
 */
/// <reference types="node" />
import type * as Cause from "effect/Cause"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import { resolve } from "node:path"
import { withoutConstruction } from "../internal/context.ts"
import { type Database, makeDatabase } from "./internal/sqlite/database.ts"
import { claimLeases, type MadeClaim, nothingSeen, type Seen } from "./internal/sqlite/claimLeases.ts"
import {
  countDeadLetters,
  listDeadLetters,
  purgeDeadLetters,
  replayDeadLetters,
  resendEvents
} from "./internal/sqlite/deadLetterRows.ts"
import { discardDeliveries } from "./internal/sqlite/discardDeliveries.ts"
import { boundsOf, figuresOf, releaseLeases, renewOwner } from "./internal/sqlite/leaseRows.ts"
import { listAttempts } from "./internal/sqlite/outcomeRows.ts"
import { overviewOf } from "./internal/sqlite/overviewRows.ts"
import { makeOwnerLocks, type OwnerLocks } from "./internal/sqlite/ownerLocks.ts"
import { after, type Sql } from "./internal/sqlite/prepared.ts"
import { publishEvents } from "./internal/sqlite/publishEvents.ts"
import { sweep } from "./internal/sqlite/removeRows.ts"
import { settleDeliveries } from "./internal/sqlite/settleDeliveries.ts"
import { eventStatus } from "./internal/sqlite/statusRows.ts"
import {
  defineSubscriptions,
  dropSubscriptions,
  listSubscriptions,
  openExchange,
  setState
} from "./internal/sqlite/subscriptionRows.ts"
import { takeDeliveries } from "./internal/sqlite/takeDeliveries.ts"
import { makeTransactions, type Transactions, type Work } from "./internal/sqlite/transactions.ts"
import { type Change, EventStore, EventStoreError, type Operations, type Owner } from "./EventStore.ts"

/**
 * Options of a store in a file.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** The file. It is made when it does not exist; its directory is not. */
  readonly filename: string
  /** How long an operation waits while another process has the file locked, before it fails; 5 seconds by default. */
  readonly busyTimeout?: Duration.Input | undefined
  /**
   * How often the file is polled for commits of other processes, while there are listeners; 100 milliseconds by
   * default.
   */
  readonly pollInterval?: Duration.Input | undefined
}

/**
 * Keeps the events of the durable parts in a SQLite file.
 *
 * **Details**
 *
 * The file is made and migrated when the layer is built; several processes may begin at once. A file of a newer version
 * of this library is refused (`NewerSchema`), as is one of another program. An operation is done whole or not at all;
 * concurrent operations that write, be it to several exchanges, share a commit, and each fails for itself. An operation
 * waits for a lock without blocking the event loop, and fails as `Locked` when it has waited for too long. After every
 * error the store goes on as soon as the cause is gone, and after one that its connection may have caused it opens the
 * file again.
 *
 * A full disk stops what is published and nothing else: `publish` leaves the last 16 MiB of it (an eighth of a smaller one) to
 * settlements, which make room again, and fails as `NoSpace`. Where another program has taken the last byte, a write is done
 * with the room that the store's own log had.
 *
 * The leases of a process that was killed are free at once: a process that has leases keeps an empty file beside the
 * database locked, `filename` with `-owner-` and a random name, and the next claim removes what a killed one left of it.
 * Those of a process that hangs or is paused are free when their time is over. That time is of Effect's `Clock`: the
 * machine's own, which all processes on it share. When it is set back, a lease from further ahead than it lasts is over.
 *
 * A process keeps up to 16 MiB of the file in memory. No file is written in a folder for temporary files, which may be
 * full or read-only.
 *
 * Limits count exactly, by whichever process an event is published. `drop` answers at once; what it leaves is removed by
 * `sweep`, as are retained events, ids and outcomes whose time is over, a thousand rows at a time. What has a time of its own
 * is put to its place by the first claim after it, a thousand deliveries at a time. A subscription that starts with the oldest
 * event is filled in one transaction.
 *
 * **Gotchas**
 *
 * Node 22 and 24 print an `ExperimentalWarning` when `node:sqlite` is loaded. The warning is Node's, and an application
 * turns it off with `node --disable-warning=ExperimentalWarning`.
 *
 * SQLite runs on the main thread: an operation holds the event loop for as long as the disk takes for it. One that
 * writes waits for its turn, so `Effect.runSync` cannot run it.
 *
 * A file holds 4 million million events and 2 million subscriptions in its life, those that were dropped included.
 *
 * The file must be on a disk of this machine. On a network file system processes do not see each other's locks.
 * `filename` and the files with `-wal` and `-shm` beside it belong together: copy and move them only while no process
 * has the database open, or copy it with `VACUUM INTO`. A process that opens `filename` itself, to copy it, loses
 * SQLite's locks on it.
 *
 * While the database file is away, or another is in its place, every operation fails as `Disconnected`: an event that
 * is written to a deleted file would be lost. When `-wal` or `-shm` is removed or replaced, the operation that finds it
 * fails as `Disconnected`, and as `maybeCommitted` if it had committed. Before it fails, what was acknowledged is
 * written to the path of the `-wal` again, and the next operation opens the database anew. That waits, and fails as
 * `Locked` after `busyTimeout`, while another process still has the removed files open: its own next operation notices.
 *
 * A database in memory (`":memory:"`) is refused. `MemoryStore.layer` is for that.
 *
 * **Example** (Events that outlive the process)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventStore } from "effect-events/durable"
 * import * as SqliteStore from "effect-events/durable/SqliteStore"
 * import { mkdtempSync, rmSync } from "node:fs"
 * import { tmpdir } from "node:os"
 * import { join } from "node:path"
 *
 * const directory = mkdtempSync(join(tmpdir(), "events-"))
 * const layer = SqliteStore.layer({ filename: join(directory, "events.db") })
 * const { EventStore: Store } = EventStore
 *
 * const write = Store.use((store) =>
 *   Effect.andThen(
 *     store.define("orders", [{ name: "billing", topics: ["*"] }]),
 *     store.publish("orders", [{ payload: new TextEncoder().encode("1") }])
 *   )
 * )
 * const read = Store.use((store) =>
 *   Effect.gen(function* () {
 *     const [subscription] = yield* store.list({ exchange: "orders" })
 *     return subscription && (yield* store.figures(subscription.id))
 *   })
 * )
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.provide(write, layer)
 *   // the file is closed, and opened again
 *   console.log((yield* Effect.provide(read, layer))?.pending)
 * })
 *
 * Effect.runPromise(program).finally(() => rmSync(directory, { recursive: true }))
 * // prints: 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = (options: Options): Layer.Layer<EventStore, EventStoreError> =>
  Layer.effect(
    EventStore,
    Effect.gen(function* () {
      if (options.filename === "" || options.filename === ":memory:") return yield* notInAFile
      const filename = resolve(options.filename)
      const busyTimeout = Duration.toMillis(Duration.fromInputUnsafe(options.busyTimeout ?? "5 seconds"))
      const database = makeDatabase(filename)
      const locks = makeOwnerLocks(filename)
      const context = withoutConstruction(yield* Effect.context<never>())
      const transactions = makeTransactions(database, busyTimeout, context)
      const listeners = new Set<Listener>()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          for (const listener of listeners) Queue.endUnsafe(listener)
          locks.close()
          database.close()
        })
      )
      // A file that cannot be used fails the layer, and not the first write.
      yield* transactions.inspect("open its file", () => undefined)
      const pollInterval = Duration.fromInputUnsafe(options.pollInterval ?? "100 millis")
      return make(database, transactions, locks, listeners, pollInterval)
    })
  )

type Listener = Queue.Queue<Change, EventStoreError | Cause.Done>

const notInAFile = new EventStoreError({
  store: "sqlite",
  operation: "open its file",
  problem: "Other",
  detail: "a database in memory keeps nothing: MemoryStore.layer is for tests",
  maybeCommitted: false
})

const make = (
  database: Database,
  transactions: Transactions,
  locks: OwnerLocks,
  listeners: Set<Listener>,
  pollInterval: Duration.Duration
): Operations => {
  const { inspect, read, write } = transactions
  const notify = (change?: Change): void => {
    for (const listener of listeners) {
      // One that waits to be taken may be more than a settlement, and its place is the only one.
      if (change === undefined || Queue.sizeUnsafe(listener) === 0) Queue.offerUnsafe(listener, change)
    }
  }
  /** Notifies the listeners of a change with its commit, even if the caller is interrupted by then. */
  const change = <A>(operation: string, work: Work<A>, grows = false, isChange?: (answer: A) => boolean) =>
    write(operation, work, (answer) => ((isChange?.(answer) ?? answer !== undefined) ? notify() : undefined), grows)

  /** What this process has reported of the leases of its owners. */
  const seenBy = new Map<number, Seen>()
  const claimed = (owner: Owner, { at, freed, wakes }: MadeClaim): void => {
    const seen = seenBy.get(owner.id) ?? nothingSeen()
    seenBy.set(owner.id, seen)
    seen.at = at
    for (const [subscription, count] of wakes) seen.wakes.set(subscription, count)
    locks.remove(freed)
  }

  /** The version of the file at the last poll, for any listener. */
  let lastSeen: string | undefined
  const poll = Effect.map(
    inspect("poll for changes", (sql) => `${database.connections()} ${sql.row("PRAGMA data_version")?.[0]}`),
    (found) => {
      if (found !== lastSeen && lastSeen !== undefined) notify()
      lastSeen = found
    }
  )
  const polling = Effect.forever(Effect.andThen(Effect.sleep(pollInterval), poll))

  return {
    open: (exchange, { deduplication, outcomes, retention } = {}) => {
      const millis = (time: Duration.Duration | undefined) => time && after(0, Duration.toMillis(time))
      const keeping = {
        retention: millis(retention),
        deduplication: millis(deduplication),
        outcomes: millis(outcomes)
      }
      return Effect.asVoid(write("open", (sql) => openExchange(sql, exchange, keeping)))
    },
    define: (exchange, definitions) =>
      change("define", (sql, now) => defineSubscriptions(sql, exchange, definitions, now)),
    publish: (exchange, events, limits) =>
      change("publish", (sql, now) => publishEvents(sql, exchange, events, limits, now), true),
    inTransaction: Effect.succeed(false),
    setState: (which, state, reason, from) =>
      change("setState", (sql, now) => setState(sql, which, state, reason, from, now)),
    drop: (which) => change("drop", (sql) => dropSubscriptions(sql, which)),
    list: (which) => read("list", (sql) => listSubscriptions(sql, which)),
    overview: (which) => read("read the overview", (sql, now) => overviewOf(sql, which, now)),
    status: (exchange, event) => read("read the status", (sql, now) => eventStatus(sql, exchange, event, now)),
    discard: (subscription, limit) =>
      change(
        "discard",
        (sql, now) => discardDeliveries(sql, subscription, limit, now),
        false,
        (count) => count > 0
      ),
    // Each is one statement for a subscription, and so what was so at one time.
    figures: (subscription) => inspect("read figures", (sql, now) => figuresOf(sql, subscription, now)),
    bounds: (subscriptions) =>
      inspect("read bounds", (sql, now) => subscriptions.flatMap((one) => boundsOf(sql, one, now))),
    renew: (owner, ttl) =>
      write("renew", (sql, now) => renewOwner(sql, owner, locks.own(), Duration.toMillis(ttl), now)),
    claim: (owner, which, limit) => {
      const work = (mayWrite: boolean) => (sql: Sql, now: number) => {
        const known = { seen: seenBy.get(owner.id) ?? nothingSeen(), abandoned: locks.abandoned }
        return claimLeases(sql, owner, which, limit, known, mayWrite, now)
      }
      return Effect.flatMap(read("claim", work(false)), (made) => {
        // One that may write is always made.
        if (made === undefined)
          return Effect.map(
            write("claim", work(true), (made) => {
              claimed(owner, made!)
              if (made!.hasBrought) notify()
            }),
            (made) => made!.claims
          )
        claimed(owner, made)
        return Effect.succeed(made.claims)
      })
    },
    take: (owner, wanted) =>
      read("take", (sql, now) => wanted.flatMap((one) => takeDeliveries(sql, owner, one, now) ?? [])),
    settle: (owner, settlements) =>
      write(
        "settle",
        (sql, now) =>
          settlements.flatMap((one) => (settleDeliveries(sql, owner, one, now) ? [] : one.lease.subscription)),
        (lost) => (lost.length < settlements.length ? notify("settled") : undefined)
      ),
    release: (owner, leases) => {
      if (leases === "all") seenBy.delete(owner.id)
      return Effect.asVoid(change("release", (sql, now) => releaseLeases(sql, owner, leases, now)))
    },
    countDeadLetters: (subscription, filter) =>
      read("count dead letters", (sql) => countDeadLetters(sql, subscription, filter)),
    deadLetters: (subscription, page) => read("read dead letters", (sql) => listDeadLetters(sql, subscription, page)),
    replay: (subscription, positions) =>
      change("replay", (sql, now) => replayDeadLetters(sql, subscription, positions, now)),
    resend: (subscription, positions) =>
      change("resend", (sql, now) => resendEvents(sql, subscription, positions, now)),
    attempts: (subscription, page) => read("read attempts", (sql) => listAttempts(sql, subscription, page)),
    purge: (subscription, positions) =>
      write("purge", (sql, now) => purgeDeadLetters(sql, subscription, positions, now)),
    sweep: write("sweep", sweep),
    changes: Stream.callback(
      (listener: Listener) =>
        Effect.acquireRelease(
          Effect.sync(() => listeners.add(listener)),
          () => Effect.sync(() => listeners.delete(listener))
        ).pipe(
          Effect.andThen(poll),
          Effect.andThen(Effect.sync(() => Queue.offerUnsafe(listener, undefined))),
          Effect.andThen(polling)
        ),
      // A change that comes while another waits to be taken is part of it.
      { bufferSize: 1, strategy: "sliding" }
    )
  }
}
