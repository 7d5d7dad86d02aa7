/** Where reads from the head may begin, so that what was removed before need not be passed over again. */
import * as Effect from "effect/Effect"
import { monotonicNow } from "../../../internal/monotonic.ts"
import type { EventStoreError, Millis, Position } from "../../EventStore.ts"
import type { Names } from "./names.ts"
import type { Runner } from "./runner.ts"

/** How many rows are removed before the next look for the beginnings. */
const many = 2_000

/** How long a beginning is cached, in milliseconds. */
const cacheTtl = 30_000

/** Nothing can appear any more at or below the position, nor with a due time at or before `at`. */
export interface Settled {
  readonly position: Position
  readonly at: Millis
}

export interface Horizon {
  /** The horizon that is given to `read` and `readDue` after the reads that begin now. */
  readonly current: (operation: string) => Effect.Effect<Settled, EventStoreError>
  /** The position from which a subscription, or the arrivals, may be read. */
  readonly from: (of: number) => Position
  /** Notes what a read from the head found: its first position, if any, and the horizon as it was before. */
  readonly read: (of: number, first: Position | undefined, horizon: Settled) => void
  /** The due time from which those may be read whose time is to come; and what a read from the first of them found. */
  readonly dueFrom: () => Millis
  readonly readDue: (first: Millis | undefined, horizon: Settled) => void
  /** Notes a position that was given out: it, and so all up to it, was taken before now. */
  readonly given: (position: Position) => void
  /** Notes a time of the server's clock that is past. */
  readonly seen: (at: Millis) => void
  readonly removed: (rows: number) => void
}

/** The transactions that may have taken positions and not committed yet; `$1` is the name of the table of arrivals. */
const holdersText = `SELECT DISTINCT virtualtransaction AS holder FROM pg_locks
WHERE locktype = 'relation' AND relation = to_regclass($1::text) AND mode = 'RowExclusiveLock'
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`

const nothing: Settled = { position: 0, at: 0 }

/** The arrivals, among subscriptions, whose ids begin at 1. */
export const ofArrivals = 0

/**
 * A removed row stays in its index until it is vacuumed, and cannot be vacuumed while any transaction of the database has a
 * snapshot from before: a report that runs for an hour keeps an hour's rows. A read from the head passes over all of them.
 * This caches a position, the horizon, below which nothing can appear any more, and for each subscription and the arrivals
 * a position below which there is nothing.
 *
 * **Why no late commit is skipped.** Positions are taken before the commit, so below one that was given out there may be
 * others whose transactions still run. Such a transaction took its lock on the table of arrivals, which an INSERT holds
 * until its transaction ends, before it took its position, and so before the greater one was taken, committed and given.
 * It is therefore among the lock's holders that are read after that. Once none of those is left, all positions up to the
 * given one are settled: what a read that begins then does not find below its first row is gone for good.
 *
 * **Due times** are settled along with positions. A transaction that is not among the holders of a look began to write after
 * it, and each of its due times was to come then. So it is later than any time of the server's clock that was seen before
 * the look; unless the clock is set back, which has an end when the cache is emptied.
 *
 * A prepared transaction holds its lock under another name, so while there is one nothing is settled. Positions can come a
 * second time, after a failover to a standby that lacked some or from a backup: so the cache is emptied every half minute.
 * What is filled in below, when a new subscription starts with the oldest event, is read whatever this caches: see filling.ts.
 */
export const makeHorizon = (run: Runner, { arrivals }: Names): Horizon => {
  const froms = new Map<number, Position>()
  let horizon: Settled = nothing
  let last: Settled = nothing
  let dueFrom = 0
  let removedRows = 0
  let since = Number.NEGATIVE_INFINITY
  let waits: { readonly upTo: Settled; readonly holders: ReadonlyArray<string> } | undefined

  const look = Effect.fnUntraced(function* (operation: string) {
    removedRows = 0
    // a position that is given while the holders are read does not concern them
    const upTo = last
    const rows = yield* run.read<{ readonly holder: string }>(operation, holdersText, [arrivals])
    const now = rows.map(({ holder }) => holder)
    if (now.some((holder) => holder.startsWith("-1/"))) return
    waits ??= { upTo, holders: now }
    if (waits.holders.some((holder) => now.includes(holder))) return
    horizon = waits.upTo
    waits = undefined
  })

  return {
    current: Effect.fnUntraced(function* (operation) {
      const now = yield* monotonicNow
      if (now - since > cacheTtl) {
        froms.clear()
        horizon = last = nothing
        dueFrom = 0
        waits = undefined
        since = now
      }
      if (removedRows >= many) yield* look(operation)
      return horizon
    }),
    from: (of) => froms.get(of) ?? 0,
    read: (of, first, horizon) => {
      const after = horizon.position + 1
      if (after > 1) froms.set(of, Math.max(froms.get(of) ?? 0, Math.min(first ?? after, after)))
    },
    dueFrom: () => dueFrom,
    readDue: (first, { at }) => {
      dueFrom = Math.max(dueFrom, Math.min(first ?? at + 1, at + 1))
    },
    given: (position) => {
      last = { ...last, position: Math.max(last.position, position) }
    },
    seen: (at) => {
      last = { ...last, at: Math.max(last.at, at) }
    },
    removed: (rows) => {
      removedRows += rows
    }
  }
}
