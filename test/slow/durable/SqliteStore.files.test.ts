/** Files beside the database that are removed, moved or replaced while processes have it open: nothing acknowledged is lost. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schedule, Schema, Scope, Stream } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, EventStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { execFileSync } from "node:child_process"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { removals } from "../../durable/support/removals.ts"
import { start } from "../../durable/support/sqliteProcess.ts"
import { pendingOf, publishEvents, publishTexts } from "../../durable/support/subscription.ts"

vi.setConfig({ testTimeout: 60_000 })

const rounds = Number(process.env["EFFECT_EVENTS_KILLS"] ?? 2)
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "effect-events-"))),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true }))
  ),
  (directory) => join(directory, "events.db")
)
const { EventStore: Store } = EventStore
type Operations = EventStore.Operations
const open = (filename: string, options: Omit<SqliteStore.Options, "filename"> = {}) =>
  Effect.map(Layer.build(SqliteStore.layer({ filename, ...options })), Context.get(Store))
const append = (store: Operations, ...texts: readonly [string, ...ReadonlyArray<string>]) => publishTexts(store, texts)
const failure = <A, R>(effect: Effect.Effect<A, EventStore.EventStoreError, R>) =>
  Effect.map(Effect.flip(effect), ({ detail, problem, maybeCommitted }) => ({ problem, maybeCommitted, detail }))
const problem = <A, R>(effect: Effect.Effect<A, EventStore.EventStoreError, R>) =>
  Effect.map(failure(effect), (failed) => failed.problem)
/** What is in the file, read by a connection of its own. */
const content = (filename: string) =>
  Effect.sync(() => {
    const db = new DatabaseSync(filename)
    const rows = db.prepare("SELECT CAST(payload AS TEXT) AS text FROM deliveries ORDER BY id").all()
    const check = db.prepare("PRAGMA integrity_check").get()
    db.close()
    assert.deepStrictEqual({ ...check }, { integrity_check: "ok" })
    return rows.map(({ text }) => String(text))
  })
/** Moves all that is in the log into the database, so that it is not lost with the log. */
const checkpoint = (filename: string) => {
  const db = new DatabaseSync(filename)
  db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
  db.close()
}
const child = (what: string, filename: string) =>
  Effect.acquireRelease(
    Effect.sync(() => start(what, filename)),
    ({ kill }) => Effect.promise(kill)
  )
/** Another process that has the database open, and writes on demand. */
const other = (filename: string) =>
  Effect.gen(function* () {
    const one = yield* child("on demand", filename)
    assert.strictEqual(yield* Effect.promise(one.line), "ready")
    const write = Effect.promise(async () => {
      one.process.stdin.write("go\n")
      return await one.line()
    })
    return { ...one, write }
  })

/** An event that runs something within the transaction that publishes it, before it is written. */
const during = (run: () => void): EventStore.NewEvent => ({
  payload: Buffer.from("during"),
  get trace() {
    run()
    return undefined
  }
})

const both = ["-wal", "-shm"] as const
const ways = {
  removed: (path: string) => fs.rmSync(path),
  "moved away": (path: string) => fs.renameSync(path, `${path}-away`),
  "replaced by a copy": (path: string) => {
    fs.copyFileSync(path, `${path}-new`)
    fs.renameSync(`${path}-new`, path)
  },
  "replaced by an empty file": (path: string) => {
    fs.writeFileSync(`${path}-new`, "")
    fs.renameSync(`${path}-new`, path)
  }
}

describe("a file beside the database that is", () => {
  for (const [name, displace] of Object.entries(ways)) {
    for (const parts of [["-wal"], ["-shm"], both] as const) {
      const which = parts.join(" and ")
      const displaceAll = (filename: string) => () => parts.forEach((part) => displace(filename + part))

      it.live(`${name} (${which}) is noticed before anything is written, read or polled`, () =>
        Effect.gen(function* () {
          const filename = yield* file
          const store = yield* open(filename)
          yield* append(store, "1", "2")
          const operations = [append(store, "no"), Effect.asVoid(pendingOf(store)), Stream.runDrain(store.changes)]
          for (const [n, operation] of operations.entries()) {
            displaceAll(filename)()
            const failed = yield* failure(Effect.asVoid(operation))
            assert.deepInclude(failed, { problem: "Disconnected", maybeCommitted: false })
            assert.include(failed.detail, filename + parts[0])
            yield* append(store, `${n + 3}`)
          }
          assert.deepStrictEqual(yield* content(filename), ["1", "2", "3", "4", "5"])
        })
      )

      it.live(`${name} (${which}) during a transaction is noticed before that is acknowledged`, () =>
        Effect.gen(function* () {
          const filename = yield* file
          const store = yield* open(filename)
          yield* append(store, "1")
          const failed = yield* failure(publishEvents(store, [during(displaceAll(filename))]))
          assert.deepInclude(failed, { problem: "Disconnected", maybeCommitted: true })
          yield* append(store, "2")
          assert.deepStrictEqual(yield* content(filename), ["1", "during", "2"])
        })
      )
    }
  }
})

describe("with another process that has the files open too", () => {
  for (const [name, displace] of Object.entries(ways)) {
    it.live(`and a log that was ${name}: the database cannot be opened until both have noticed`, () =>
      Effect.gen(function* () {
        const filename = yield* file
        const store = yield* open(filename, { busyTimeout: "200 millis" })
        const { write } = yield* other(filename)
        yield* append(store, "1")
        assert.strictEqual(yield* write, "wrote")
        displace(`${filename}-wal`)
        assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
        // What was acknowledged is where a process that comes later finds it.
        const copy = `${filename}-elsewhere`
        for (const part of ["", "-wal"]) fs.copyFileSync(filename + part, copy + part)
        assert.deepStrictEqual(yield* content(copy), ["1", "demand-0/0"])
        assert.strictEqual(yield* problem(append(store, "no")), "Locked")
        assert.strictEqual(yield* problem(Effect.scoped(open(filename, { busyTimeout: "200 millis" }))), "Locked")
        assert.strictEqual(yield* write, "Disconnected")
        yield* append(store, "2")
        assert.strictEqual(yield* write, "wrote")
        assert.deepStrictEqual(yield* content(filename), ["1", "demand-0/0", "2", "demand-2/0"])
      })
    )

    it.live(`and a log that was ${name}: a process that comes before both have noticed touches no file`, () =>
      Effect.gen(function* () {
        const filename = yield* file
        const idle = yield* other(filename)
        for (let n = 0; n < 3; n++) assert.strictEqual(yield* idle.write, "wrote")
        displace(`${filename}-wal`)
        const sizes = () => both.map((part) => fs.statSync(filename + part, { throwIfNoEntry: false })?.size)
        const before = sizes()
        assert.strictEqual(yield* problem(Effect.scoped(open(filename, { busyTimeout: "200 millis" }))), "Locked")
        assert.deepStrictEqual(sizes(), before)
        assert.strictEqual(yield* idle.write, "Disconnected")
        yield* append(yield* open(filename), "1")
        assert.deepStrictEqual(yield* content(filename), ["demand-0/0", "demand-1/0", "demand-2/0", "1"])
      })
    )

    it.live(`and files that were ${name}: a process that has not noticed holds up others until it is killed`, () =>
      Effect.gen(function* () {
        const filename = yield* file
        const idle = yield* other(filename)
        assert.strictEqual(yield* idle.write, "wrote")
        checkpoint(filename)
        both.forEach((part) => displace(filename + part))
        assert.strictEqual(yield* problem(Effect.scoped(open(filename, { busyTimeout: "200 millis" }))), "Locked")
        yield* Effect.promise(idle.kill)
        const store = yield* open(filename)
        yield* append(store, "1")
        assert.deepStrictEqual(yield* content(filename), ["demand-0/0", "1"])
      })
    )
  }

  it.live("a process that comes sees in the log too that the files are not those of the other", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const idle = yield* other(filename)
      const db = new DatabaseSync(filename)
      db.exec("BEGIN")
      db.prepare("SELECT count(*) FROM deliveries").get()
      // While the connection above reads, nothing of this can be moved into the database.
      assert.strictEqual(yield* idle.write, "wrote")
      db.exec("COMMIT")
      db.close()
      both.forEach((part) => ways["replaced by a copy"](filename + part))
      const newcomer = Effect.flatMap(open(filename, { busyTimeout: "200 millis" }), (store) => append(store, "no"))
      assert.strictEqual(yield* problem(Effect.scoped(newcomer)), "Locked")
      assert.strictEqual(yield* idle.write, "Disconnected")
      assert.strictEqual(yield* idle.write, "wrote")
      assert.deepStrictEqual(yield* content(filename), ["demand-0/0", "demand-2/0"])
    })
  )

  it.live("what was acknowledged is not lost when the store is closed before it has noticed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const scope = yield* Scope.make()
      const store = yield* Scope.provide(open(filename), scope)
      const { kill } = yield* other(filename)
      yield* append(store, "1")
      yield* append(store, "2")
      both.forEach((part) => fs.rmSync(filename + part))
      yield* Scope.close(scope, Exit.void)
      yield* Effect.promise(kill)
      yield* append(yield* open(filename), "3")
      assert.deepStrictEqual(yield* content(filename), ["1", "2", "3"])
    })
  )

  it.live("a process that opened the database when the locks were lost is not disturbed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* append(store, "1")
      yield* append(store, "2")
      // The system drops all locks of this process on a file when it closes any descriptor of it.
      fs.readFileSync(filename)
      const { write } = yield* other(filename)
      assert.strictEqual(yield* write, "wrote")
      assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
      assert.strictEqual(yield* write, "wrote")
      yield* append(store, "3")
      assert.deepStrictEqual(yield* content(filename), ["1", "2", "demand-0/0", "demand-1/0", "3"])
    })
  )

  it.live("a log that cannot be put back is kept until it can", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const { kill } = yield* other(filename)
      yield* append(store, "1")
      fs.rmSync(`${filename}-wal`)
      fs.mkdirSync(`${filename}-wal`)
      assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
      assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
      fs.rmdirSync(`${filename}-wal`)
      assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
      yield* Effect.promise(kill)
      yield* append(store, "2")
      assert.deepStrictEqual(yield* content(filename), ["1", "2"])
      assert.notInclude(fs.readdirSync(join(filename, "..")).join(" "), "copy")
    })
  )
})

describe("a durable queue", () => {
  it.live("goes on with what was written before and after the files were removed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const delivered: Array<number> = []
      const open = Promise.withResolvers<void>()
      const sink = EventSink.make((n: number) =>
        Effect.andThen(
          Effect.promise(() => open.promise),
          Effect.sync(() => void delivered.push(n))
        )
      )
      const make = DurableQueue.make({ name: "numbers", schema: Schema.Int })
      yield* Effect.gen(function* () {
        const queue = yield* Effect.flatMap(sink, make)
        for (const n of [1, 2, 3]) yield* queue.write(n)
        both.forEach((part) => fs.rmSync(filename + part))
        // The write may find that the queue's own poll has noticed already.
        yield* Effect.retry(queue.write(4), { times: 3 })
        open.resolve()
        yield* Effect.retry(queue.flush, Schedule.spaced("100 millis"))
      }).pipe(Effect.provide(SqliteStore.layer({ filename })), Effect.scoped)
      assert.deepStrictEqual([...new Set(delivered)], [1, 2, 3, 4])
      assert.deepStrictEqual(yield* content(filename), [])
    })
  )
})

describe("files that may be missing", () => {
  it.live("when the database was closed, be it by the process itself or by another", () =>
    Effect.gen(function* () {
      const filename = yield* file
      for (const text of ["1", "2"]) {
        yield* Effect.scoped(Effect.flatMap(open(filename), (store) => append(store, text)))
        for (const part of both) assert.isFalse(fs.existsSync(filename + part))
      }
      const store = yield* open(filename)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { process, write } = yield* other(filename)
          assert.strictEqual(yield* write, "wrote")
          process.stdin.end()
          yield* append(store, "3")
        })
      )
      yield* append(store, "4")
      assert.deepStrictEqual(yield* content(filename), ["1", "2", "demand-0/0", "3", "4"])
    })
  )

  it.live("when no process has the database open: one was killed between the two", () =>
    Effect.gen(function* () {
      const filename = yield* file
      for (const part of both) {
        const { kill, write } = yield* other(filename)
        assert.strictEqual(yield* write, "wrote")
        if (part === "-wal") checkpoint(filename)
        yield* Effect.promise(kill)
        fs.rmSync(filename + part)
        yield* Effect.scoped(Effect.flatMap(open(filename), (store) => append(store, "next")))
      }
      assert.deepStrictEqual(yield* content(filename), ["demand-0/0", "next", "demand-0/0", "next"])
    })
  )

  it.live("when another program makes them, before or while the store is open", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.scoped(Effect.flatMap(open(filename), (store) => append(store, "1")))
      // Files of other numbers, so that they are not taken for those that the last process had.
      const numbers = both.map((part) => {
        fs.writeFileSync(`${filename}${part}-taken`, "")
        return `${filename}${part}-taken`
      })
      const db = new DatabaseSync(filename)
      db.prepare("SELECT count(*) FROM deliveries").get()
      const store = yield* open(filename)
      yield* append(store, "2")
      db.exec("PRAGMA wal_checkpoint(TRUNCATE)")
      yield* append(store, "3")
      db.close()
      yield* append(store, "4")
      assert.deepStrictEqual(yield* content(filename), ["1", "2", "3", "4"])
      for (const path of numbers) fs.rmSync(path)
    })
  )

  it.live("beside a database that has no log: a copy by VACUUM INTO, or one whose journal mode was changed", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.scoped(Effect.flatMap(open(filename), (store) => append(store, "1")))
      const copy = `${filename}-copied`
      const db = new DatabaseSync(filename)
      db.prepare("VACUUM INTO ?").run(copy)
      db.exec("PRAGMA journal_mode = DELETE")
      db.close()
      for (const path of [copy, filename]) {
        const store = yield* open(path)
        yield* append(store, "2")
        fs.rmSync(`${path}-wal`)
        assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
        yield* append(store, "3")
        assert.deepStrictEqual(yield* content(path), ["1", "2", "3"])
      }
    })
  )

  it.live("beside a copy that was made while processes had the database open, and that another program has open", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* append(store, "1")
      const copies: Readonly<Record<string, (path: string) => void>> = {
        "VACUUM INTO": (path) => {
          const db = new DatabaseSync(filename)
          db.prepare("VACUUM INTO ?").run(path)
          db.close()
        },
        cp: (path) => ["", "-wal"].forEach((part) => execFileSync("cp", [filename + part, path + part]))
      }
      for (const [name, copy] of Object.entries(copies)) {
        const path = join(filename, "..", `${name}.db`)
        copy(path)
        const db = new DatabaseSync(path)
        db.exec("PRAGMA journal_mode = WAL")
        db.prepare("SELECT count(*) FROM deliveries").get()
        yield* Effect.scoped(
          Effect.gen(function* () {
            const copied = yield* open(path, { busyTimeout: "200 millis" })
            yield* append(copied, "2")
            // It is protected as any other.
            fs.rmSync(`${path}-wal`)
            assert.strictEqual(yield* problem(append(copied, "no")), "Disconnected")
          })
        )
        db.close()
        assert.deepStrictEqual(yield* content(path), ["1", "2"], name)
      }
    })
  )

  it.live("when a process was killed before, and one that only reads has the database open", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const { kill, write } = yield* other(filename)
      assert.strictEqual(yield* write, "wrote")
      yield* Effect.promise(kill)
      fs.writeFileSync(`${filename}-taken`, "")
      const reader = yield* open(filename)
      assert.strictEqual(yield* pendingOf(reader), 1)
      const next = yield* other(filename)
      assert.strictEqual(yield* next.write, "wrote")
      assert.strictEqual(yield* pendingOf(reader), 2)
    })
  )

  it.live("beside a link to the database, since they are beside the database", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const link = `${filename}-link`
      fs.symlinkSync(filename, link)
      const store = yield* open(link)
      yield* append(store, "1")
      const next = yield* other(filename)
      assert.strictEqual(yield* next.write, "wrote")
      yield* Effect.promise(next.kill)
      fs.rmSync(`${filename}-wal`)
      assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
      yield* append(store, "2")
      assert.deepStrictEqual(yield* content(filename), ["1", "demand-0/0", "2"])
    })
  )

  it.live("in a file that has to be migrated", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* Effect.scoped(open(filename))
      const db = new DatabaseSync(filename)
      const tables = db.prepare(
        "SELECT type, name FROM sqlite_schema WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"
      )
      for (const { name, type } of tables.all()) db.exec(`DROP ${String(type)} IF EXISTS ${String(name)}`)
      db.exec("PRAGMA user_version = 0")
      db.close()
      const store = yield* open(filename)
      yield* append(store, "1")
      fs.rmSync(`${filename}-wal`)
      assert.strictEqual(yield* problem(append(store, "no")), "Disconnected")
      yield* append(store, "2")
      assert.deepStrictEqual(yield* content(filename), ["1", "2"])
    })
  )
})

describe("SIGKILL after the files beside the database were removed or replaced while events were written", () => {
  for (const processes of [1, 2]) {
    for (const parts of [["-wal"], ["-shm"], both] as const) {
      it.live(
        `loses nothing that was acknowledged: ${parts.join(" and ")}, ${processes === 1 ? "one process" : "two"}`,
        () =>
          Effect.gen(function* () {
            const filename = yield* file
            const outcome = yield* Effect.promise(() =>
              removals({ filename, processes, parts, ways: Object.values(ways), rounds, seed })
            )
            assert.deepStrictEqual(outcome.problems, [], `EFFECT_EVENTS_SEED=${seed} EFFECT_EVENTS_KILLS=${rounds}`)
            assert.isAtLeast(outcome.acknowledged, rounds)
          }),
        60_000 + rounds * 5_000
      )
    }
  }
})
