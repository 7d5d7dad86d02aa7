import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, Redelivery } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { bin } from "../../cli/support/bin.ts"
import { quiet } from "../../support/virtual.ts"
import { file } from "../../durable/support/sqliteFile.ts"

/** A queue of numbers, whose receiver refuses those below 0 until it is mended. */
const makeQueue = Effect.gen(function* () {
  const received: Array<number> = []
  const control = { isBroken: true }
  const receiver = yield* EventSink.make((n: number) =>
    n < 0 && control.isBroken ? Effect.fail("400 Bad Request") : Effect.sync(() => void received.push(n))
  )
  const queue = yield* DurableQueue.make({ name: "numbers", schema: Schema.Int, redelivery: Redelivery.none })(receiver)
  return { queue, received, control }
})

const run = (filename: string, ...args: ReadonlyArray<string>) =>
  Effect.promise(() => bin(`sqlite:${filename}`, ...args))

describe("effect-events on a SQLite file", () => {
  it.live("looks after a queue that another process delivers", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.gen(function* () {
        const { control, queue, received } = yield* makeQueue
        yield* EventSink.writeAll(queue, [1, -1, 2, -2])
        yield* queue.flush
        const listed = yield* run(filename, "dead-letters", "numbers", "--json")
        assert.deepStrictEqual([listed.code, listed.err], [0, ""])
        assert.strictEqual(JSON.parse(listed.out).count, 2)
        const one = yield* run(filename, "dead-letters", "numbers", "--position", "2")
        assert.include(one.out, "400 Bad Request")

        const [position] = JSON.parse(listed.out).deadLetters.map((one: { position: number }) => one.position)
        control.isBroken = false
        const replayed = yield* run(filename, "replay", "numbers", "--position", String(position))
        assert.deepStrictEqual(replayed, { code: 0, out: 'replayed 1 dead letter of "numbers"\n', err: "" })
        yield* queue.flush
        assert.deepStrictEqual(received, [1, 2, -1])

        assert.deepInclude(yield* run(filename, "pause", "numbers", "--reason", "maintenance"), { code: 0, err: "" })
        yield* EventSink.writeAll(queue, [3, 4])
        const paused = yield* run(filename, "queues", "--json")
        const [subscription] = JSON.parse(paused.out).subscriptions
        assert.deepInclude(subscription, { state: "paused", reason: "maintenance", pending: 2, deadLetters: 1 })
        const table = yield* run(filename, "queues", "numbers")
        assert.deepStrictEqual([table.code, table.err, table.out.trimEnd().split("\n").length], [0, "", 2])
        assert.notInclude(table.out, "\u001b")

        assert.deepInclude(yield* run(filename, "purge", "numbers"), { code: 2, out: "" })
        const purged = yield* run(filename, "purge", "numbers", "--yes", "--json")
        assert.deepInclude(JSON.parse(purged.out), { deleted: 2 })
        assert.deepInclude(yield* run(filename, "resume", "numbers"), { code: 0 })
        yield* queue.write(5)
        yield* queue.flush
        assert.deepStrictEqual(received, [1, 2, -1, 5])
      }).pipe(Effect.scoped, Effect.provide(SqliteStore.layer({ filename })), quiet)

      const dropped = yield* run(filename, "drop", "numbers", "--yes")
      assert.deepStrictEqual(dropped, {
        code: 0,
        out: 'dropped 1 subscription of "numbers" with 0 pending deliveries and 1 dead letter\n',
        err: ""
      })
      assert.deepInclude(yield* run(filename, "queues", "numbers"), { code: 1, out: "" })
      // nothing but what the store itself leaves
      assert.deepStrictEqual(readdirSync(dirname(filename)), ["events.db"])
    }).pipe(Effect.scoped)
  )

  it.live("neither makes nor touches a file that has no store of this version", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const folder = dirname(filename)
      const refused = Effect.fnUntraced(function* (name: string, sentence: string) {
        const path = join(folder, name)
        const before = existsSync(path) ? readFileSync(path) : undefined
        for (const args of [["queues"], ["purge", "numbers", "--yes"]]) {
          const { code, err, out } = yield* run(path, ...args)
          assert.deepStrictEqual([code, out], [1, ""])
          assert.strictEqual(err, `effect-events: ${sentence}: ${path}\n`)
        }
        assert.deepStrictEqual(existsSync(path) ? readFileSync(path) : undefined, before)
      })
      yield* refused("typo.db", "there is no such file")
      writeFileSync(join(folder, "empty.db"), "")
      yield* refused("empty.db", "the file has no tables of a store")
      writeFileSync(join(folder, "text.db"), "no database at all".repeat(1_000))
      yield* refused("text.db", "file is not a database")
      const other = new DatabaseSync(join(folder, "other.db"))
      other.exec("CREATE TABLE t (a)")
      other.close()
      yield* refused("other.db", "the file is the database of another program")

      yield* Effect.scoped(Effect.provide(makeQueue, SqliteStore.layer({ filename })))
      const db = new DatabaseSync(filename)
      const version = Number(db.prepare("PRAGMA user_version").get()?.["user_version"])
      db.exec(`PRAGMA user_version = ${version + 1}`)
      const newer = `the file has version ${version + 1} of the schema, and this code knows ${version}`
      yield* refused("events.db", newer)
      db.exec("PRAGMA user_version = 0")
      db.close()
      const older =
        "the file is of an older version, and migrated when a process of the application opens it with this one"
      yield* refused("events.db", older)
    }).pipe(Effect.scoped)
  )
})
