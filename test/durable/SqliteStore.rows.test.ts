/** The rows of events in a file, which leave with the last of what needs them, and the locks of processes beside it. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { readdirSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import type * as EventStore from "effect-events/durable/EventStore"
import {
  again,
  beside,
  dead,
  define,
  done,
  event,
  file,
  hour,
  open,
  publish,
  rowsOf,
  text,
  worker
} from "./support/sqliteFile.ts"

type Operations = EventStore.Operations
type Test = Effect.Effect<void, unknown, Scope.Scope>

describe("the rows of an event", () => {
  const check = (play: (store: Operations, db: DatabaseSync) => Test) =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* publish(store, "opens the file")
      yield* play(store, yield* beside(filename))
    })

  it.effect("for one subscription are its delivery alone, until it is set aside or dead-lettered", () =>
    check((store, db) =>
      Effect.gen(function* () {
        const [id = 0] = yield* define(store, 1)
        yield* publish(store, "a", "b", "c", "")
        assert.deepStrictEqual(rowsOf(db), { deliveries: 4 })
        const one = yield* worker(store, [id])
        const [a, b, c, d] = yield* one.take(id)
        yield* one.settle(id, done(a!), dead(b!), again(c!, 1, 0), dead(d!))
        assert.deepStrictEqual(rowsOf(db), { events: 3, uses: 3, delayed: 1, dead_letters: 2 })
        yield* one.settle(id, ...(yield* one.take(id)).map(done))
        assert.deepStrictEqual(rowsOf(db), { events: 2, uses: 2, dead_letters: 2 })
        assert.strictEqual(yield* store.replay(id, [d!.position]), 1)
        assert.deepStrictEqual(rowsOf(db), { events: 2, uses: 2, deliveries: 1, dead_letters: 1 })
        assert.deepStrictEqual((yield* one.take(id)).map(text), [""])
        yield* one.settle(id, ...(yield* one.take(id)).map(done))
        assert.strictEqual(yield* store.purge(id, [b!.position]), 1)
        assert.deepStrictEqual(rowsOf(db), {})
      })
    )
  )

  it.effect("for several are one event, which leaves with the last of its uses, in any order", () =>
    check((store, db) =>
      Effect.gen(function* () {
        const [a = 0, b = 0, c = 0] = yield* define(store, 3)
        yield* publish(store, "1", "2")
        assert.deepStrictEqual(rowsOf(db), { events: 2, uses: 2, deliveries: 6 })
        const one = yield* worker(store, [a, b, c])
        const [first, second] = yield* one.take(a)
        yield* one.settle(a, done(first!), again(second!, 1, 0))
        yield* one.settle(b, dead(first!), done(second!))
        assert.deepStrictEqual(rowsOf(db), { events: 2, uses: 2, deliveries: 2, delayed: 1, dead_letters: 1 })
        yield* one.settle(c, done(first!), done(second!))
        yield* one.settle(a, ...(yield* one.take(a)).map(done))
        assert.deepStrictEqual(rowsOf(db), { events: 1, uses: 1, dead_letters: 1 })
        yield* store.replay(b, [first!.position])
        assert.deepStrictEqual((yield* one.take(b)).map(text), ["1"])
        yield* one.settle(b, ...(yield* one.take(b)).map(done))
        assert.deepStrictEqual(rowsOf(db), {})
      })
    )
  )

  it.effect("that none matches are none, also of an exchange that was never opened", () =>
    check((store, db) =>
      Effect.gen(function* () {
        const published = yield* store.publish("unknown", [event("a"), event("b")])
        assert.deepStrictEqual(published, [
          { position: 2, matched: 0 },
          { position: 3, matched: 0 }
        ])
        assert.deepStrictEqual(rowsOf(db), {})
      })
    )
  )

  it.effect("of a subscription that was dropped are swept, some at a time, and those of others stay", () =>
    check((store, db) =>
      Effect.gen(function* () {
        const [a = 0, b = 0] = yield* define(store, 2)
        const many = Array.from({ length: 2_500 }, (_, i) => event(`${i}`))
        yield* store.publish("e", [event("first"), ...many])
        const one = yield* worker(store, [a, b])
        const all = yield* one.take(a)
        yield* one.settle(a, again(all[0]!, 1, 60), dead(all[1]!))
        assert.strictEqual(yield* store.drop({ exchange: "e", name: "0" }), 2_500)
        assert.deepStrictEqual(
          [yield* store.deadLetters(a, { limit: 9 }), yield* store.replay(a, [all[1]!.position])],
          [[], 0]
        )
        let sweeps = 1
        while (yield* store.sweep) sweeps++
        assert.isAtLeast(sweeps, 3)
        assert.deepStrictEqual(rowsOf(db), { events: 2_501, uses: 2_501, deliveries: 2_501 })
        yield* one.settle(b, ...(yield* one.take(b)).map(done))
        assert.deepStrictEqual(rowsOf(db), {})
        // Its id is not used again while its rows may be there.
        const [next = 0] = yield* define(store, 1)
        assert.isAbove(next, b)
      })
    )
  )

  it.effect("that are retained are swept, some at a time, when their time is over and nothing needs them", () =>
    check((store, db) =>
      Effect.gen(function* () {
        yield* store.open("e", { retention: Duration.seconds(60) })
        const [id = 0] = yield* define(store, 1, ["a"])
        yield* store.publish("e", [event("kept", "a"), ...Array.from({ length: 2_500 }, () => event("", "b"))])
        assert.deepStrictEqual(rowsOf(db), { events: 2_501, uses: 2_501, deliveries: 1 })
        yield* TestClock.adjust("59 seconds")
        assert.isFalse(yield* store.sweep)
        assert.deepStrictEqual(rowsOf(db), { events: 2_501, uses: 2_501, deliveries: 1 })
        yield* TestClock.adjust("1 seconds")
        let sweeps = 1
        while (yield* store.sweep) sweeps++
        assert.isAtLeast(sweeps, 3)
        assert.deepStrictEqual(rowsOf(db), { events: 1, uses: 1, deliveries: 1 })
        const one = yield* worker(store, [id])
        yield* one.settle(id, ...(yield* one.take(id)).map(done))
        assert.deepStrictEqual(rowsOf(db), {})
      })
    )
  )
})

describe("the lock of a process", () => {
  const locks = (filename: string) =>
    readdirSync(join(filename, "..")).filter((name) => name.startsWith("events.db-owner-"))

  it.effect("is one file for all its owners, which goes with it", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.scoped(
        Effect.gen(function* () {
          const store = yield* open(filename)
          assert.lengthOf(locks(filename), 0)
          yield* store.renew({ name: "a" }, hour)
          yield* store.renew({ name: "b" }, hour)
          assert.lengthOf(locks(filename), 1)
          yield* Effect.scoped(Effect.flatMap(open(filename), (other) => other.renew({ name: "c" }, hour)))
          assert.lengthOf(locks(filename), 1)
        })
      )
      assert.lengthOf(locks(filename), 0)
    })
  )

  it.effect("keeps its leases, which are free when the lock is abandoned, and then its file is removed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      yield* worker(store, [id])
      const other = yield* open(filename)
      const next = yield* other.renew({ name: "next" }, hour)
      assert.deepStrictEqual((yield* other.claim(next, [id], 1)).acquired, [])
      // As if the process had ended: the file of another lock, which none has.
      const db = yield* beside(filename)
      db.prepare("UPDATE owners SET lock = 'gone' WHERE name = 'worker'").run()
      new DatabaseSync(`${filename}-owner-gone`).exec("CREATE TABLE a (b)")
      const { acquired } = yield* other.claim(next, [id], 1)
      assert.deepStrictEqual(
        acquired.map(({ epoch }) => epoch),
        [2]
      )
      assert.notInclude(locks(filename), "events.db-owner-gone")
    })
  )

  it.effect("says nothing when its file was removed, or is no file: then leases end by their time", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      yield* worker(store, [id])
      const other = yield* open(filename)
      const next = yield* other.renew({ name: "next" }, Duration.infinity)
      const db = yield* beside(filename)
      for (const lock of ["'removed'", "'../..'", "NULL"]) {
        db.exec(`UPDATE owners SET lock = ${lock} WHERE name = 'worker'`)
        const { acquired, wait } = yield* other.claim(next, [id], 1)
        assert.deepStrictEqual([acquired, wait], [[], 3_600_000])
      }
      yield* TestClock.adjust(hour)
      assert.lengthOf((yield* other.claim(next, [id], 1)).acquired, 1)
    })
  )
})
