/** A SQLite store on a file of its own, what is in the file, and what a process does with the store. */
import { assert } from "@effect/vitest"
import { Context, Duration, Effect, Layer } from "effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import * as EventStore from "effect-events/durable/EventStore"
import * as SqliteStore from "effect-events/durable/SqliteStore"

type Operations = EventStore.Operations
type Settled = EventStore.Settled

export const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-events-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ),
  (folder) => join(folder, "events.db")
)
export const open = (filename: string, busyTimeout: Duration.Input = "5 seconds") =>
  Effect.map(Layer.build(Layer.fresh(SqliteStore.layer({ filename, busyTimeout }))), Context.get(EventStore.EventStore))

/** A connection beside the store. */
export const beside = (filename: string) =>
  Effect.acquireRelease(
    Effect.sync(() => new DatabaseSync(filename)),
    (db) => Effect.sync(() => db.close())
  )
const tables = "events uses deliveries scheduled delayed dead_letters dropped ids outcomes attempts".split(" ")
/** How many rows there are in each table that has some. */
export const rowsOf = (db: DatabaseSync): Readonly<Record<string, number>> =>
  Object.fromEntries(
    tables
      .map((table) => [table, Number(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"])] as const)
      .filter(([, count]) => count > 0)
  )
/** How many commits are in the log of a file (https://www.sqlite.org/fileformat.html#the_write_ahead_log). */
export const commits = (filename: string): number => {
  const log = readFileSync(`${filename}-wal`)
  const frame = 24 + log.readUInt32BE(8)
  let count = 0
  // The second field of a frame's head is 0 unless it is the last of its commit.
  for (let at = 32; at + frame <= log.length; at += frame) if (log.readUInt32BE(at + 4) !== 0) count++
  return count
}

export const text = ({ payload }: { readonly payload: Uint8Array }) => Buffer.from(payload).toString()
export const event = (name: string, topic = ""): EventStore.NewEvent => ({ payload: Buffer.from(name), topic })
export const publish = (store: Operations, ...names: readonly [string, ...ReadonlyArray<string>]) =>
  store.publish("e", [event(names[0]), ...names.slice(1).map((name) => event(name))])
export const define = (store: Operations, count: number, topics: readonly [string] = ["*"]) =>
  Effect.map(
    store.define("e", [
      { name: "0", topics },
      ...Array.from({ length: count - 1 }, (_, i) => ({ name: `${i + 1}`, topics }))
    ]),
    (all) => all.map(({ id }) => id)
  )
export const hour = Duration.hours(1)
const everything = { rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }

/** An owner with the leases of some subscriptions, which must be due. */
export const worker = Effect.fnUntraced(function* (store: Operations, ids: ReadonlyArray<number>) {
  const owner = yield* store.renew({ name: "worker" }, hour)
  const { acquired } = yield* store.claim(owner, ids, ids.length)
  assert.lengthOf(acquired, ids.length)
  const leaseOf = (id: number) => {
    const found = acquired.find(({ subscription }) => subscription === id)
    if (found === undefined) throw new Error(`no lease of ${id}`)
    return { subscription: id, epoch: found.epoch }
  }
  return {
    owner,
    claim: store.claim(owner, ids, ids.length),
    woken: Effect.map(store.claim(owner, ids, ids.length), ({ woken }) => woken),
    take: (id: number, wanted: Partial<EventStore.Wanted> = {}) =>
      Effect.map(
        store.take(owner, [{ ...leaseOf(id), limits: everything, except: [], busy: [], perLane: 9, ...wanted }]),
        ([taken]) => taken?.deliveries ?? []
      ),
    settle: (id: number, ...settled: ReadonlyArray<Settled>) => store.settle(owner, [{ lease: leaseOf(id), settled }])
  }
})
export const done = ({ lane, position }: Pick<EventStore.Delivery, "position" | "lane">): Settled => ({
  _tag: "Acknowledged",
  position,
  lane
})
export const dead = ({ lane, position }: Pick<EventStore.Delivery, "position" | "lane">): Settled => ({
  _tag: "DeadLettered",
  position,
  lane,
  reason: "Failed",
  cause: "no",
  attempts: 1
})
export const again = (
  { position }: Pick<EventStore.Delivery, "position">,
  lane: number,
  seconds: number,
  delay = Duration.seconds(seconds)
): Settled => ({ _tag: "Again", position, lane, delay, attempts: 1 })
