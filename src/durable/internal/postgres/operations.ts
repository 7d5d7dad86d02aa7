/** The operations of a store, over its statements. */
import * as Effect from "effect/Effect"
import { type Acquired, type Lease, LeaseLost, type Operations } from "../../EventStore.ts"
import { monotonicNow } from "../../../internal/monotonic.ts"
import { Head } from "./head.ts"
import { CountedCapacity, fits } from "./countedCapacity.ts"
import {
  type AcquireRow,
  array,
  type CountRow,
  countOf,
  type DeadLetterRow,
  deadLetterOf,
  deadLetteredOf,
  milliseconds,
  type NextRow,
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
  const capacities = new Map<string, CountedCapacity>()
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
    const capacity = cached(capacities, queue, () => new CountedCapacity())
    if (!joins) {
      const count = Effect.map(run.read<SizeRow>("append", text.size, [queue]), sizeOf)
      return yield* capacity.admit(limits, more, count, add)
    }
    // on the transaction's own connection: the pool may have no other
    const held = sizeOf(yield* run.join<SizeRow>("append", text.size, [queue]))
    if (!fits(limits, held, more)) return false
    yield* add
    yield* run.client.afterCommit(Effect.sync(() => capacity.added(more)))
    return true
  })

  const holders = Effect.map(run.read<{ readonly holder: string }>("next", text.holders, [events]), (rows) =>
    rows.map(({ holder }) => holder)
  )
  const next: Operations["next"] = Effect.fnUntraced(function* (lease, limits) {
    const head = cached(heads, lease.queue, () => new Head())
    const from = head.from(yield* monotonicNow)
    // a key that is given while the holders are read does not concern them
    const given = head.last
    const settled = head.isDue ? head.settled(given, yield* holders) : undefined
    const most = Number.isFinite(limits.rows) ? limits.rows : null
    const rows = yield* run.read<NextRow>("next", text.next, [lease.queue, lease.epoch, most, limits.bytes, from])
    if (rows[0]?.held !== true) return yield* Effect.fail(lost(lease))
    const events = rows.flatMap(storedOf)
    head.given(events[0]?.key, events.at(-1)?.key, settled)
    return events
  })

  /** The answer of `acknowledge` and `deadLetter`. */
  const removed = (lease: Lease, rows: ReadonlyArray<RemovedRow>): Effect.Effect<void, LeaseLost> => {
    const row = rows[0]
    if (row?.held !== true) return Effect.fail(lost(lease))
    heads.get(lease.queue)?.removedRows(Number(row.rows))
    capacities.get(lease.queue)?.removed(Number(row.rows), Number(row.bytes))
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
        run.write<RemovedRow>("deadLetter", text.deadLetter, [lease.queue, lease.epoch, ...deadLetteredOf(events)]),
        (rows) => removed(lease, rows)
      ),
    list: (queue, { after, limit }) =>
      Effect.map(
        run.read<DeadLetterRow>("list", text.list, [queue, after?.deadLetteredAt ?? -1, after?.key ?? 0, limit]),
        (rows) => rows.map(deadLetterOf)
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
        // it may have been taken while this statement waited for it, after the snapshot of `remaining`
        const rest = Number(remaining)
        return { _tag: "Held", remaining: rest > 0 ? rest : milliseconds(ttl) }
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

/** What is cached of a queue, made when it is first needed. */
const cached = <A>(all: Map<string, A>, queue: string, make: () => A): A => {
  let one = all.get(queue)
  if (one === undefined) all.set(queue, (one = make()))
  return one
}
