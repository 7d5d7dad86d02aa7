/** The operations of a store, over its statements. */
import * as Effect from "effect/Effect"
import { type Acquired, type Lease, LeaseLost, type Operations } from "../../EventStore.ts"
import { monotonicNow } from "../../../internal/monotonic.ts"
import { Head } from "./head.ts"
import { fits, Room } from "./room.ts"
import {
  type AcquireRow,
  array,
  type CountRow,
  countOf,
  type LetterRow,
  letterOf,
  milliseconds,
  type NextRow,
  parkedOf,
  type RemovedRow,
  type SizeRow,
  sizeOf,
  storedOf
} from "./rows.ts"
import { problem, type Runner } from "./runner.ts"
import type { Statements } from "./postgresStatements.ts"

export interface Settings {
  readonly changes: Operations["changes"]
  /** The name of the table. */
  readonly events: string
  /** The largest payload that the client can read again, in bytes. */
  readonly largest: number
}

export const operations = (run: Runner, text: Statements, { changes, events, largest }: Settings): Operations => {
  const rooms = new Map<string, Room>()
  const heads = new Map<string, Head>()

  const append: Operations["append"] = Effect.fnUntraced(function* (queue, payloads, limits) {
    const size = payloads.reduce((most, payload) => Math.max(most, payload.length), 0)
    if (size > largest) {
      const detail = `a payload of ${size} bytes is larger than the client can read, ${largest}`
      return yield* Effect.fail(problem("append", "Other", detail))
    }
    const joins = yield* run.inTransaction
    const add = joins
      ? run.join("append", text.join, [queue, payloads])
      : run.prepared("append", text.append, [queue, payloads])
    if (limits === undefined) {
      yield* add
      return true
    }
    const bytes = payloads.reduce((sum, payload) => sum + payload.length, 0)
    const more = { rows: payloads.length, bytes }
    const room = known(rooms, queue, () => new Room())
    if (!joins) {
      return yield* room.admit(limits, more, Effect.map(run.read<SizeRow>("append", text.size, [queue]), sizeOf), add)
    }
    // on the transaction's own connection: the pool may have no other
    const held = sizeOf(yield* run.join<SizeRow>("append", text.size, [queue]))
    if (!fits(limits, held, more)) return false
    yield* add
    yield* run.client.afterCommit(Effect.sync(() => room.added(more)))
    return true
  })

  const holders = Effect.map(run.read<{ readonly holder: string }>("next", text.holders, [events]), (rows) =>
    rows.map(({ holder }) => holder)
  )
  const next: Operations["next"] = Effect.fnUntraced(function* (lease, limits) {
    const head = known(heads, lease.queue, () => new Head())
    const from = head.from(yield* monotonicNow)
    // what is given while they are read is none of their business
    const given = head.last
    const settled = head.isDue ? head.settled(given, yield* holders) : undefined
    const most = Number.isFinite(limits.rows) ? limits.rows : null
    const rows = yield* run.read<NextRow>("next", text.next, [lease.queue, lease.epoch, most, limits.bytes, from])
    if (rows[0]?.held !== true) return yield* Effect.fail(lost(lease))
    const events = rows.flatMap(storedOf)
    head.given(events[0]?.key, events.at(-1)?.key, settled)
    return events
  })

  /** What `acknowledge` and `deadLetter` come to. */
  const removed = (lease: Lease, rows: ReadonlyArray<RemovedRow>): Effect.Effect<void, LeaseLost> => {
    const row = rows[0]
    if (row?.held !== true) return Effect.fail(lost(lease))
    heads.get(lease.queue)?.took(Number(row.rows))
    rooms.get(lease.queue)?.removed(Number(row.rows), Number(row.bytes))
    return Effect.void
  }

  return {
    append,
    inTransaction: run.inTransaction,
    next,
    acknowledge: (lease, keys) =>
      Effect.flatMap(
        run.write<RemovedRow>("acknowledge", text.acknowledge, [lease.queue, lease.epoch, array(keys)]),
        (rows) => removed(lease, rows)
      ),
    deadLetter: (lease, events) =>
      Effect.flatMap(
        run.write<RemovedRow>("deadLetter", text.deadLetter, [lease.queue, lease.epoch, ...parkedOf(events)]),
        (rows) => removed(lease, rows)
      ),
    list: (queue, { after, limit }) =>
      Effect.map(
        run.read<LetterRow>("list", text.list, [queue, after?.deadLetteredAt ?? -1, after?.key ?? 0, limit]),
        (rows) => rows.map(letterOf)
      ),
    replay: (queue, keys) =>
      // a key given twice is moved in its first place
      Effect.map(run.write<CountRow>("replay", text.replay, [queue, array([...new Set(keys)])]), countOf),
    purge: (queue, keys) => Effect.map(run.write<CountRow>("purge", text.purge, [queue, array(keys)]), countOf),
    size: (queue) => Effect.map(run.read<SizeRow>("size", text.size, [queue]), sizeOf),
    acquire: (queue, ttl) =>
      Effect.map(run.prepared<AcquireRow>("acquire", text.acquire, [queue, milliseconds(ttl)]), ([row]): Acquired => {
        const { epoch = null, remaining = null } = row ?? {}
        if (epoch !== null) return { _tag: "Acquired", lease: { queue, epoch: Number(epoch) } }
        // it may have been taken while this one waited for it, after the snapshot of `remaining`
        const left = Number(remaining)
        return { _tag: "Held", remaining: left > 0 ? left : milliseconds(ttl) }
      }),
    renew: (lease, ttl) =>
      Effect.flatMap(run.prepared("renew", text.renew, [lease.queue, lease.epoch, milliseconds(ttl)]), (rows) =>
        rows.length > 0 ? Effect.void : Effect.fail(lost(lease))
      ),
    release: ({ epoch, queue }) => Effect.asVoid(run.prepared("release", text.release, [queue, epoch])),
    changes
  }
}

const lost = ({ epoch, queue }: Lease) => new LeaseLost({ epoch, queue })

/** What is kept of a queue, made when it is first needed. */
const known = <A>(all: Map<string, A>, queue: string, make: () => A): A => {
  let one = all.get(queue)
  if (one === undefined) all.set(queue, (one = make()))
  return one
}
