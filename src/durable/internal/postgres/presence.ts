/** Tells at once that an owner is gone: each holds an advisory lock on the connection that listens. */
import * as Effect from "effect/Effect"
import type { Scope } from "effect/Scope"
import type { SqlError } from "effect/sql/SqlError"
import { monotonicNow } from "../../../internal/monotonic.ts"
import type { EventStoreError } from "../../EventStore.ts"
import type { Parts } from "./parts.ts"
import type { Numeric } from "./postgresRows.ts"
import type { Runner } from "./runner.ts"

/** How often the locks of others are read at most, and how long one must be missing, in milliseconds. */
const patience = 500

type Query = (text: string, params: ReadonlyArray<unknown>) => Effect.Effect<unknown, SqlError>

export interface Presence {
  /** Notes the owner of this process. */
  readonly become: (owner: number) => Effect.Effect<void>
  /** Holds the lock on a connection, as long as the scope is open. */
  readonly hold: (query: Query) => Effect.Effect<void, never, Scope>
  /** The owners whose locks are missing. */
  readonly gone: (owner: number) => Effect.Effect<ReadonlyArray<number>, EventStoreError>
  /** Notes whether other owners have locks; answers in how many milliseconds one may turn out to be gone. */
  readonly others: (are: boolean) => number | undefined
}

/**
 * The server ends the session of a process that died as soon as its connection breaks, and its locks with it; of one that
 * is stopped it keeps them. The lock is shared, so that a session that listens anew need not wait for the last one.
 *
 * A connection may break while its process lives: the owner's row then says that it has no lock, and until that is
 * written, or the next session has it, others wait. An owner without a lock is gone when its time is over.
 */
export const makePresence = (run: Runner, { owners }: Parts): Presence => {
  const lockText = "SELECT pg_advisory_lock_shared(hashtext($1::text), $2::int)::text AS locked"
  const markText = `UPDATE ${owners} SET locked = $2::boolean WHERE id = $1::int AND locked <> $2::boolean`
  const goneText = `SELECT id FROM ${owners}
WHERE locked AND NOT gone AND id <> $2::int AND NOT EXISTS (
  SELECT FROM pg_locks
  WHERE locktype = 'advisory' AND classid = hashtext($1::text)::oid AND objid = id::oid AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
)`
  let me: number | undefined
  let connection: Query | undefined
  let areOthers = false
  let readAt = Number.NEGATIVE_INFINITY
  let missing = new Map<number, number>()

  const mark = (locked: boolean) => run.write("renew", markText, [me, locked])
  // without the lock the owner is gone when its time is over, as with a client that does not listen
  const lock = Effect.suspend(() =>
    me === undefined || connection === undefined
      ? Effect.void
      : Effect.ignore(Effect.andThen(connection(lockText, [owners, me]), mark(true)))
  )

  return {
    become: (owner) => {
      if (owner === me) return Effect.void
      me = owner
      return lock
    },
    hold: (query) =>
      Effect.acquireRelease(
        Effect.suspend(() => {
          connection = query
          return lock
        }),
        () =>
          Effect.suspend(() => {
            connection = undefined
            return me === undefined ? Effect.void : Effect.ignore(mark(false))
          })
      ),
    gone: Effect.fnUntraced(function* (owner) {
      const now = yield* monotonicNow
      if (areOthers && now - readAt >= patience) {
        readAt = now
        const rows = yield* run.read<{ readonly id: Numeric }>("claim", goneText, [owners, owner])
        const before = missing
        missing = new Map(rows.map(({ id }) => [Number(id), before.get(Number(id)) ?? now]))
      }
      return Array.from(missing).flatMap(([id, since]) => (now - since >= patience ? [id] : []))
    }),
    others: (are) => {
      areOthers = are
      return missing.size > 0 ? patience : undefined
    }
  }
}
