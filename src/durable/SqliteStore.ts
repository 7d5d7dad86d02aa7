/**
 * A store of durable queues in a SQLite file, by `node:sqlite`: nothing to install and nothing to build.
 *
 * An operation that succeeded is on the disk (a write-ahead log with `synchronous=FULL`) and outlives the process, a
 * `SIGKILL` and a loss of power. Several processes of one machine may share a file: one of them delivers, all may
 * write.
 *
 * @since 0.1.0
 */
/// <reference types="node" />
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { resolve } from "node:path"
import { withoutConstruction } from "../internal/context.ts"
import { Listeners } from "./internal/listeners.ts"
import { Database } from "./internal/sqlite/database.ts"
import { Transactions, type Work } from "./internal/sqlite/transactions.ts"
import { EventStore, EventStoreError, type Lease, LeaseLost, type Operations } from "./EventStore.ts"

/**
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
 * Keeps durable queues in a SQLite file.
 *
 * **Details**
 *
 * The file is made and migrated when the layer is built; several processes may begin at once. A file of a newer version
 * of this library is refused (`NewerSchema`), as is one of another program. An operation is done whole or not at all;
 * concurrent operations that write, be it to several queues, share a commit, and each fails for itself. An operation
 * waits for a lock without blocking the event loop, and fails as `Locked` when it has waited for too long. After every
 * error the store goes on as soon as the cause is gone, and after one that its connection may have caused it opens the
 * file again.
 *
 * A full disk stops appends and nothing else: appends leave the last 16 MiB of it (an eighth of a smaller one) to
 * acknowledgements, which make room again, and fail as `NoSpace`. Where another program has taken the last byte, a write
 * is done with the room that the store's own log had.
 *
 * The time of leases and events is that of Effect's `Clock`: the machine's own, which all processes on it share. When
 * it is set back, a lease from further ahead than it lasts is over.
 *
 * **Gotchas**
 *
 * Node 22 and 24 print an `ExperimentalWarning` when `node:sqlite` is loaded. The warning is Node's, and an application
 * turns it off with `node --disable-warning=ExperimentalWarning`.
 *
 * SQLite runs on the main thread: an operation holds the event loop for as long as the disk takes for it. One that
 * writes waits for its turn, so `Effect.runSync` cannot run it.
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
 * const write = Store.use((store) => store.append("orders", [new TextEncoder().encode("1")], undefined))
 * const size = Store.use((store) => store.size("orders"))
 *
 * const program = Effect.gen(function* () {
 *   yield* Effect.provide(write, layer)
 *   // the file is closed, and opened again
 *   console.log((yield* Effect.provide(size, layer)).rows)
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
      const { filename } = options
      if (filename === "" || filename === ":memory:") return yield* notInAFile
      const busyTimeout = Duration.toMillis(Duration.fromInputUnsafe(options.busyTimeout ?? "5 seconds"))
      const database = new Database(resolve(filename))
      const context = withoutConstruction(yield* Effect.context<never>())
      const transactions = new Transactions(database, busyTimeout, context)
      const listeners = new Listeners<EventStoreError>()
      yield* Effect.addFinalizer(() =>
        Effect.sync(() => {
          listeners.end()
          database.close()
        })
      )
      // A file that cannot be used fails the layer, and not the first write.
      yield* transactions.inspect("open its file", () => undefined)
      return make(database, transactions, listeners, Duration.fromInputUnsafe(options.pollInterval ?? "100 millis"))
    })
  )

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
  listeners: Listeners<EventStoreError>,
  pollInterval: Duration.Duration
): Operations => {
  /** Notifies listeners of a change with its commit, even if the caller is interrupted by then. */
  const change = <A extends boolean | number | undefined>(
    queue: string,
    operation: string,
    work: Work<A>,
    grows?: boolean
  ) =>
    transactions.write(
      operation,
      work,
      (changed) => {
        if (Number(changed) > 0) listeners.notify(queue)
      },
      grows
    )
  /** For an owner: no answer means that the lease is lost. */
  const owning = <A>(
    { epoch, queue }: Lease,
    effect: Effect.Effect<A | undefined, EventStoreError>
  ): Effect.Effect<A, EventStoreError | LeaseLost> =>
    Effect.flatMap(effect, (answer) =>
      answer === undefined ? Effect.fail(new LeaseLost({ queue, epoch })) : Effect.succeed(answer)
    )

  /** The version of the file at the last poll, for any listener. */
  let lastSeen: string | undefined
  const poll = Effect.map(
    transactions.inspect("poll for changes", ({ dataVersion }) => `${database.connections} ${dataVersion}`),
    (found) => {
      if (found !== lastSeen && lastSeen !== undefined) listeners.notifyAll()
      lastSeen = found
    }
  )
  const polling = Effect.forever(Effect.andThen(Effect.sleep(pollInterval), poll))

  return {
    append: (queue, payloads, limits) =>
      change(queue, "append", (statements, now) => statements.append(queue, payloads, limits, now), true),
    inTransaction: Effect.succeed(false),
    next: (lease, limits) =>
      owning(
        lease,
        transactions.read("read the next events", (statements) => statements.next(lease.queue, lease.epoch, limits))
      ),
    acknowledge: (lease, keys) =>
      Effect.asVoid(
        owning(
          lease,
          change(lease.queue, "acknowledge", (statements) => statements.acknowledge(lease.queue, lease.epoch, keys))
        )
      ),
    deadLetter: (lease, events) =>
      Effect.asVoid(
        owning(
          lease,
          change(lease.queue, "deadLetter", (statements, now) =>
            statements.deadLetter(lease.queue, lease.epoch, events, now)
          )
        )
      ),
    list: (queue, page) => transactions.read("list", (statements) => statements.list(queue, page)),
    replay: (queue, keys) => change(queue, "replay", (statements) => statements.replay(queue, keys)),
    purge: (queue, keys) => transactions.write("purge", (statements) => statements.purge(queue, keys)),
    size: (queue) => transactions.read("read the size", (statements) => statements.size(queue)),
    acquire: (queue, ttl) =>
      transactions.write("acquire a lease", (statements, now) =>
        statements.acquire(queue, Duration.toMillis(ttl), now)
      ),
    renew: (lease, ttl) =>
      Effect.asVoid(
        owning(
          lease,
          transactions.write("renew a lease", (statements, now) =>
            statements.renew(lease.queue, lease.epoch, Duration.toMillis(ttl), now)
          )
        )
      ),
    release: (lease) =>
      Effect.asVoid(
        change(lease.queue, "release a lease", (statements) => statements.release(lease.queue, lease.epoch))
      ),
    changes: (queue) => listeners.stream(queue, poll, polling)
  }
}
