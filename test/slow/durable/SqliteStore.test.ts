import { assert, describe, it, vi } from "@effect/vitest"
import { Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Scope, Stream } from "effect"
import { EventStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { TestClock } from "effect/testing"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { DatabaseSync } from "node:sqlite"
import { acknowledged, makeReader, pendingOf, publishTexts, textsOf } from "../../durable/support/subscription.ts"

// Files, processes and a disk that others use too.
vi.setConfig({ testTimeout: 60_000 })

const Store = EventStore.EventStore
type Operations = EventStore.Operations

const directory = Effect.acquireRelease(
  Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "effect-events-"))),
  (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true }))
)
const file = Effect.map(directory, (directory) => join(directory, "events.db"))

const open = (filename: string, options: Omit<SqliteStore.Options, "filename"> = {}) =>
  Effect.map(Layer.build(SqliteStore.layer({ filename, ...options })), Context.get(Store))
/** Uses a store that is closed afterwards. */
const using = <A, E>(filename: string, use: (store: Operations) => Effect.Effect<A, E>) =>
  Effect.scoped(Effect.flatMap(open(filename), use))
const append = (store: Operations, from: number, count: number, bytes = 1) =>
  publishTexts(store, [
    `${from}`.padEnd(bytes),
    ...Array.from({ length: count - 1 }, (_, i) => `${from + 1 + i}`.padEnd(bytes))
  ])
const numbers = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`)
/** The deliveries, whatever owner has the lease. */
const stored = (filename: string) =>
  Effect.sync(() => {
    const db = new DatabaseSync(filename, { timeout: 10_000 })
    const rows = db.prepare("SELECT payload FROM deliveries ORDER BY id").all()
    db.close()
    return rows.map(({ payload }) =>
      Buffer.from(payload as Uint8Array)
        .toString()
        .trim()
    )
  })
const problemOf = <A, R>(effect: Effect.Effect<A, EventStore.EventStoreError, R>) =>
  Effect.map(Effect.flip(effect), ({ problem }) => problem)

const child = (what: string, filename: string, ...wrap: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => {
      const script = join(import.meta.dirname, "sqliteChild.ts")
      const args = [process.execPath, "--conditions=@effect-events/source", "--no-warnings", script, what, filename]
      const [command = "", ...others] = [...wrap, ...args]
      const process_ = spawn(command, others, {
        stdio: ["pipe", "pipe", "inherit"],
        // loading effect is most of what a process costs
        env: { ...process.env, NODE_COMPILE_CACHE: join(import.meta.dirname, "../../../.cache/compiled") }
      })
      return { process: process_, lines: createInterface(process_.stdout)[Symbol.asyncIterator]() }
    }),
    ({ process }) => Effect.sync(() => process.kill("SIGKILL"))
  )
const nextLine = ({ lines }: { readonly lines: AsyncIterator<string> }) =>
  Effect.map(
    Effect.promise(() => lines.next()),
    ({ value }) => String(value)
  )
const ended = ({ process }: { readonly process: ChildProcess }) =>
  Effect.promise(async () => {
    if (process.exitCode === null && process.signalCode === null) await once(process, "exit")
    return process.exitCode
  })

/** How many commits are in the log of a file (https://www.sqlite.org/fileformat.html#the_write_ahead_log). */
const commits = (filename: string): number => {
  const log = fs.readFileSync(`${filename}-wal`)
  const frame = 24 + log.readUInt32BE(8)
  let count = 0
  // The second field of a frame's head is 0 unless it is the last of its commit.
  for (let at = 32; at + frame <= log.length; at += frame) if (log.readUInt32BE(at + 4) !== 0) count++
  return count
}

/** Another process that has the file locked, until the scope closes. */
const locked = (filename: string, how = "BEGIN IMMEDIATE") =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const code = `const { DatabaseSync } = require("node:sqlite")
        const db = new DatabaseSync(process.argv[1]); db.exec(process.argv[2]); console.log("locked"); process.stdin.resume()`
      const locker = spawn(process.execPath, ["--no-warnings", "-e", code, filename, how])
      await once(locker.stdout, "data")
      return locker
    }),
    (locker) =>
      Effect.promise(async () => {
        locker.kill("SIGKILL")
        await once(locker, "exit")
      })
  )

/** A small disk of its own, where that is possible. */
const canMount = (() => {
  const at = fs.mkdtempSync(join(tmpdir(), "effect-events-"))
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", at]).status === 0
  if (mounted) spawnSync("umount", [at])
  fs.rmdirSync(at)
  return mounted
})()
const disk = (size: string) =>
  Effect.tap(directory, (at) =>
    Effect.acquireRelease(
      Effect.sync(() =>
        assert.strictEqual(spawnSync("mount", ["-t", "tmpfs", "-o", `size=${size}`, "tmpfs", at]).status, 0)
      ),
      () => Effect.sync(() => spawnSync("umount", ["-l", at]))
    )
  )

describe("SqliteStore.layer", () => {
  for (const time of ["real", "virtual"] as const) {
    describe(`in ${time} time`, () => {
      const subject = StoreLaws.subject({
        name: "sqlite",
        time,
        make: Effect.map(file, (filename) => ({ layer: SqliteStore.layer({ filename }) }))
      })
      for (const law of StoreLaws.laws) {
        it.live(`${law.number}: ${law.title}`, () =>
          Effect.gen(function* () {
            const violations = yield* StoreLaws.check(subject, { laws: [law.number] })
            assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          })
        )
      }
    })
  }

  it.live("keeps what was committed before a SIGKILL, and no half of a batch", () =>
    Effect.gen(function* () {
      const filename = yield* file
      let from = 0
      for (let round = 0; round < 3; round++) {
        let last = -1
        yield* Effect.scoped(
          Effect.gen(function* () {
            const writer = yield* child("write", filename)
            for (let n = 0; n <= round * 7; n++) last = Number(yield* nextLine(writer))
            writer.process.kill("SIGKILL")
            yield* ended(writer)
          })
        )
        const found = (yield* stored(filename)).slice(from)
        assert.strictEqual(found.length % 10, 0)
        const batches = Array.from({ length: found.length / 10 }, (_, n) => n)
        assert.isAtLeast(batches.length, last + 1, `round ${round}`)
        assert.deepStrictEqual(
          found,
          batches.flatMap((n) => Array.from({ length: 10 }, (_, i) => `${n}/${i}`))
        )
        from += found.length
        yield* using(filename, (store) => Effect.map(pendingOf(store), (rows) => assert.strictEqual(rows, from)))
      }
    })
  )

  it.live("several processes may begin at once on a file that does not exist", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const children = yield* Effect.forEach([1, 2, 3, 4], () => child("together", filename))
      for (const one of children) assert.strictEqual(yield* ended(one), 0)
      const rows = yield* using(filename, pendingOf)
      assert.strictEqual(rows, 4 * 20 * 5)
    })
  )

  it.live("the write of another process is seen within 250 milliseconds", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      // The best of a few: a machine that is busy is no fault of the store.
      let best = Number.POSITIVE_INFINITY
      for (let n = 1; n <= 5 && best > 250; n++) {
        const writer = yield* child("once", filename)
        let listening = false
        const seen = yield* Effect.forkChild(
          store.changes.pipe(
            Stream.tap(() => Effect.sync(() => (listening = true))),
            Stream.mapEffect(() => pendingOf(store)),
            Stream.takeUntil((rows) => rows === n),
            Stream.runDrain,
            Effect.andThen(Effect.sync(() => Date.now()))
          )
        )
        assert.strictEqual(yield* nextLine(writer), "ready")
        assert.isTrue(listening)
        writer.process.stdin.write("go\n")
        const committed = Number(yield* nextLine(writer))
        best = Math.min(best, (yield* Fiber.join(seen)) - committed)
      }
      assert.isBelow(best, 250)
    })
  )

  it.live("an open listener does not keep the process from ending", () =>
    Effect.gen(function* () {
      const listener = yield* child("listen", yield* file)
      assert.strictEqual(yield* ended(listener), 0)
    })
  )

  it.live("when it is closed its streams end, and nothing can be done any more", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const store = yield* Scope.provide(open(yield* file), scope)
      const begun = yield* Deferred.make<void>()
      const listening = yield* Effect.forkChild(
        Stream.runForEach(store.changes, () => Deferred.succeed(begun, undefined))
      )
      yield* Deferred.await(begun)
      yield* append(store, 1, 1)
      yield* Scope.close(scope, Exit.void)
      yield* Fiber.join(listening)
      assert.strictEqual(yield* problemOf(append(store, 2, 1)), "Disconnected")
    })
  )

  it.live("a statement that fails leaves nothing of its transaction behind", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* append(store, 1, 1)
      const db = new DatabaseSync(filename)
      // So many positions that the next ten do not fit.
      db.exec(`UPDATE leases SET wakes = ${2 ** 42 - 5} WHERE subscription = 0`)
      db.close()
      assert.strictEqual(yield* problemOf(append(store, 2, 12)), "Other")
      assert.strictEqual(yield* pendingOf(store), 1)
      assert.deepStrictEqual(yield* stored(filename), ["1"])
      yield* append(store, 2, 2)
      assert.deepStrictEqual(yield* stored(filename), numbers(1, 3))
    })
  )

  it.effect("the lease of an owner that died before the clock was set back does not last until then", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      yield* append(store, 1, 1)
      yield* TestClock.setTime(7_200_000)
      const reader = yield* makeReader(store, "10 seconds")
      const other = yield* store.renew({ name: "other" }, Duration.infinity)
      const ask = Effect.map(store.claim(other, [reader.id], 1), ({ acquired: [lease], wait }) => lease?.epoch ?? wait)
      assert.strictEqual((yield* reader.held)?.epoch, 1)
      yield* TestClock.setTime(7_195_000)
      assert.strictEqual(yield* ask, 15_000)
      yield* store.renew(reader.owner, Duration.seconds(10))
      assert.strictEqual(yield* ask, 10_000)
      yield* TestClock.setTime(3_600_000)
      assert.strictEqual(yield* ask, 2)
      assert.deepStrictEqual(yield* reader.settle(), [reader.id])
    })
  )

  it.live("a file in memory is refused", () =>
    Effect.gen(function* () {
      for (const filename of [":memory:", ""]) assert.strictEqual(yield* problemOf(open(filename)), "Other")
    })
  )

  it.live("the log does not grow without end", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const reader = yield* makeReader(store)
      let largest = 0
      for (let n = 0; n < 60; n++) {
        yield* append(store, n, 100, 10_000)
        yield* reader.settle(...(yield* reader.take()).map(acknowledged))
        largest = Math.max(largest, fs.statSync(`${filename}-wal`).size)
      }
      // 60 MB went through it.
      assert.isBelow(largest, 20_000_000)
      assert.isBelow(fs.statSync(filename).size, 10_000_000)
    })
  )

  it.live("operations that come together share a commit, and a fault of one is no fault of the others", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const reader = yield* makeReader(store)
      yield* append(store, 1, 3)
      const head = (yield* reader.take()).slice(0, 1)
      const before = commits(filename)
      yield* Effect.all([append(store, 4, 2), reader.settle(...head.map(acknowledged)), append(store, 6, 1)], {
        concurrency: "unbounded"
      })
      assert.strictEqual(commits(filename), before + 1)
      assert.deepStrictEqual(textsOf(yield* reader.take()), numbers(2, 6))
      const db = new DatabaseSync(filename)
      db.exec(
        "CREATE TRIGGER no BEFORE INSERT ON deliveries WHEN length(new.payload) = 7 BEGIN SELECT RAISE(ABORT, 'no'); END"
      )
      db.close()
      const outcomes = yield* Effect.all(
        [append(store, 7, 2), append(store, 666, 1, 7), append(store, 9, 1)].map((effect) => Effect.exit(effect)),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        outcomes.map(({ _tag }) => _tag),
        ["Success", "Failure", "Success"]
      )
      assert.deepStrictEqual(textsOf(yield* reader.take()), numbers(2, 9))
      assert.strictEqual(yield* pendingOf(store), 8)
    })
  )

  it.live("a change is notified though it ends with another's failure in the same commit", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      yield* append(store, 1, 1)
      const reader = yield* makeReader(store)
      yield* reader.held
      yield* store.release(reader.owner, "all")
      let reported = 0
      yield* Effect.forkScoped(
        Stream.runForEach(store.changes, () =>
          Effect.sync(() => {
            reported++
          })
        )
      )
      yield* Effect.promise(() => vi.waitUntil(() => reported === 1, { timeout: 30_000 }))
      // The failure of the first interrupts the second, whose event is in the file by then.
      const lost = Effect.flatMap(reader.settle(), ({ length }) => Effect.fail(length))
      const both = [lost, append(store, 2, 1)]
      assert.strictEqual(yield* Effect.flip(Effect.all(both, { concurrency: "unbounded" })), 1)
      assert.strictEqual(yield* pendingOf(store), 2)
      yield* Effect.promise(() => vi.waitUntil(() => reported === 2, { timeout: 30_000 }))
    })
  )

  it.live("one that runSync has opened leaves the event loop its turns", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const scope = yield* Effect.scope
      const store = Effect.runSync(Scope.provide(open(filename), scope))
      let ticked = false
      setImmediate(() => {
        ticked = true
      })
      let appends = 0
      yield* Effect.whileLoop({
        while: () => !ticked && appends < 1000,
        body: () => append(store, appends, 1),
        step: () => void appends++
      })
      assert.isTrue(ticked)
    })
  )

  describe("a locked file", () => {
    for (const how of ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"]) {
      it.live(`by ${how}: it waits without blocking, fails, and goes on`, () =>
        Effect.gen(function* () {
          const filename = yield* file
          const store = yield* open(filename, { busyTimeout: "300 millis" })
          yield* append(store, 1, 2)
          let ticks = 0
          const ticking = setInterval(() => ticks++, 10)
          yield* Effect.scoped(
            Effect.gen(function* () {
              yield* locked(filename, how)
              ticks = 0
              const began = performance.now()
              assert.strictEqual(yield* problemOf(append(store, 3, 1)), "Locked")
              assert.isAtLeast(performance.now() - began, 290)
              assert.isAtLeast(ticks, 3)
              // A reader blocks no writer.
              assert.strictEqual(yield* pendingOf(store), 2)
            })
          )
          clearInterval(ticking)
          yield* append(store, 3, 1)
          assert.deepStrictEqual(textsOf(yield* (yield* makeReader(store)).take()), numbers(1, 3))
        })
      )
    }

    it.live("an append that waits is committed when the lock is gone", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const store = yield* open(filename, { busyTimeout: "20 seconds" })
        const scope = yield* Scope.make()
        yield* Scope.provide(locked(filename), scope)
        const waiting = yield* Effect.forkChild(append(store, 1, 3))
        yield* Effect.sleep("100 millis")
        assert.isUndefined(waiting.pollUnsafe())
        yield* Scope.close(scope, Exit.void)
        assert.lengthOf((yield* Fiber.join(waiting)) ?? [], 3)
        assert.strictEqual(yield* pendingOf(store), 3)
      })
    )

    it.live("an append that is interrupted while it waits is not committed", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const store = yield* open(filename, { busyTimeout: "20 seconds" })
        yield* Effect.scoped(
          Effect.gen(function* () {
            yield* locked(filename)
            const waiting = yield* Effect.forkChild(append(store, 1, 3))
            yield* Effect.sleep("20 millis")
            yield* Fiber.interrupt(waiting)
          })
        )
        assert.strictEqual(yield* pendingOf(store), 0)
      })
    )
  })

  describe("a full disk", () => {
    it.live.skipIf(!canMount)("(needs the right to mount) keeps what was accepted, and goes on", () =>
      Effect.gen(function* () {
        const at = yield* disk("3m")
        const filename = join(at, "events.db")
        const ballast = join(at, "ballast")
        const store = yield* open(filename)
        const reader = yield* makeReader(store)
        fs.writeFileSync(ballast, Buffer.alloc(500_000))
        let accepted = 0
        let problem: string | undefined
        while (problem === undefined) {
          const outcome = yield* Effect.result(append(store, accepted + 1, 10, 5000))
          if (outcome._tag === "Success") accepted += 10
          else problem = outcome.failure.problem
        }
        assert.strictEqual(problem, "NoSpace")
        assert.deepStrictEqual(textsOf(yield* reader.take()), numbers(1, accepted))
        assert.strictEqual(yield* pendingOf(store), accepted)
        assert.strictEqual(yield* problemOf(append(store, accepted + 1, 100, 5000)), "NoSpace")
        fs.rmSync(ballast)
        yield* append(store, accepted + 1, 10, 5000)
        assert.deepStrictEqual(textsOf(yield* reader.take()), numbers(1, accepted + 10))
      })
    )

    for (const size of ["1m", "3m", "12m"]) {
      for (const others of [false, true]) {
        const by = others ? "another program has filled to the last byte" : "its own events have filled"
        it.live.skipIf(!canMount)(
          `(needs the right to mount) a disk of ${size} that ${by} is emptied by deliveries`,
          () =>
            Effect.gen(function* () {
              const at = yield* disk(size)
              const filename = join(at, "events.db")
              const store = yield* open(filename)
              const reader = yield* makeReader(store)
              let accepted = 0
              for (;;) {
                const outcome = yield* Effect.result(append(store, accepted + 1, 10, 700))
                if (outcome._tag === "Failure") {
                  assert.strictEqual(outcome.failure.problem, "NoSpace")
                  break
                }
                accepted += 10
              }
              assert.isAbove(accepted, 0)
              if (others)
                yield* Effect.ignore(Effect.try(() => fs.writeFileSync(join(at, "ballast"), Buffer.alloc(20_000_000))))
              // One event a commit, as a queue whose receiver takes its time.
              const delivered: Array<string> = []
              for (;;) {
                const [event] = yield* reader.take({ rows: 1 })
                if (event === undefined) break
                delivered.push(...textsOf([event]))
                const { position } = event
                yield* reader.settle(
                  delivered.length % 7 === 0
                    ? { _tag: "DeadLettered", position, reason: "Failed", cause: "no", attempts: 1 }
                    : acknowledged(event)
                )
              }
              assert.deepStrictEqual(delivered, numbers(1, accepted))
              yield* append(store, 1, 10, 700)
            })
        )
      }
    }

    it.live.skipIf(!canMount)("(needs the right to mount) for temporary files is no concern of the store", () =>
      Effect.gen(function* () {
        const temporary = yield* disk("64k")
        yield* Effect.ignore(Effect.try(() => fs.writeFileSync(join(temporary, "ballast"), Buffer.alloc(100_000))))
        const discarding = yield* child("discard", yield* file, "env", `SQLITE_TMPDIR=${temporary}`)
        for (const _ of [1, 2]) assert.strictEqual(yield* nextLine(discarding), "discarded 1000")
        assert.strictEqual(yield* ended(discarding), 0)
      })
    )

    it.live("a limit of the process on the size of its files", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const filling = yield* child("fill", filename, "sh", "-c", 'ulimit -f 2000; exec "$@"', "sh")
        const reported: unknown = JSON.parse(yield* nextLine(filling))
        assert.nestedProperty(reported, "problem")
        const { committed, problem } = reported as { readonly committed: number; readonly problem: string }
        assert.include(["Disconnected", "NoSpace"], problem)
        assert.strictEqual(yield* ended(filling), 0)
        assert.strictEqual((yield* stored(filename)).length, committed * 10)
      })
    )
  })

  it.live("there is room in the log only: a write that failed for sure is not in the file", () =>
    Effect.gen(function* () {
      const filename = yield* file
      yield* using(filename, (store) => append(store, 0, 20, 100_000))
      const writing = yield* child("go on", filename, "sh", "-c", 'ulimit -f 2000; exec "$@"', "sh")
      const [word, n, , doubt] = (yield* nextLine(writing)).split(" ")
      const isThere = (yield* stored(filename)).some((text) => text.trim().endsWith(`-${n}/0`))
      assert.isTrue(word === "wrote" ? isThere : doubt === "maybeCommitted" || !isThere, `${word} ${doubt}`)
    })
  )

  describe("a file that cannot be written", () => {
    const isRoot = process.getuid?.() === 0
    it.live.skipIf(isRoot && !canMount)("(as root, needs the right to mount) is reported, and used again", () =>
      Effect.gen(function* () {
        const at = yield* isRoot ? disk("3m") : directory
        const filename = join(at, "events.db")
        const setReadOnly = (on: boolean) => {
          if (isRoot) assert.strictEqual(spawnSync("mount", ["-o", `remount,${on ? "ro" : "rw"}`, at]).status, 0)
          else fs.chmodSync(at, on ? 0o555 : 0o755)
        }
        yield* using(filename, (store) => append(store, 1, 2))
        setReadOnly(true)
        assert.strictEqual(yield* problemOf(Effect.scoped(open(filename))), "ReadOnly")
        setReadOnly(false)
        assert.strictEqual(yield* using(filename, pendingOf), 2)
      })
    )

    it.live("in a directory that does not exist", () =>
      Effect.gen(function* () {
        const filename = join(yield* directory, "none", "events.db")
        assert.strictEqual(yield* problemOf(open(filename)), "Disconnected")
      })
    )

    it.live("at the end of a path that leads nowhere, for as long as it does", () =>
      Effect.gen(function* () {
        const at = join(yield* directory, "link")
        fs.symlinkSync(at, at)
        assert.strictEqual(yield* problemOf(open(join(at, "events.db"))), "Disconnected")
        fs.rmSync(at)
        fs.mkdirSync(at)
        const store = yield* open(join(at, "events.db"))
        yield* append(store, 1, 1)
        fs.renameSync(at, `${at}-away`)
        fs.symlinkSync(at, at)
        assert.strictEqual(yield* problemOf(append(store, 2, 1)), "Disconnected")
        fs.rmSync(at)
        fs.renameSync(`${at}-away`, at)
        yield* append(store, 2, 1)
        assert.deepStrictEqual(textsOf(yield* (yield* makeReader(store)).take()), numbers(1, 2))
      })
    )
  })

  describe("a file that is", () => {
    const refused = Effect.fnUntraced(function* (filename: string, problem: string) {
      const before = fs.readFileSync(filename)
      assert.strictEqual(yield* problemOf(open(filename)), problem)
      assert.isTrue(before.equals(fs.readFileSync(filename)), "the file was changed")
    })

    it.live("no database", () =>
      Effect.gen(function* () {
        const filename = yield* file
        fs.writeFileSync(filename, Buffer.from("this is no database. ".repeat(500)))
        yield* refused(filename, "Corrupt")
      })
    )

    it.live("the database of another program", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const db = new DatabaseSync(filename)
        db.exec("CREATE TABLE queues (id INTEGER PRIMARY KEY)")
        db.close()
        yield* refused(filename, "Corrupt")
      })
    )

    it.live("of a newer version", () =>
      Effect.gen(function* () {
        const filename = yield* file
        yield* using(filename, (store) => append(store, 1, 1))
        const db = new DatabaseSync(filename)
        db.exec("PRAGMA user_version = 1000")
        db.close()
        yield* refused(filename, "NewerSchema")
      })
    )

    it.live("damaged in the middle, and then good again", () =>
      Effect.gen(function* () {
        const filename = yield* file
        yield* using(filename, (store) => append(store, 1, 2000, 1000))
        const good = fs.readFileSync(filename)
        const bad = Buffer.from(good)
        let middle = Math.floor(bad.length / 4096 / 2) * 4096
        // A page of rows: without one of those above them, nothing of the table is found.
        while (bad[middle] !== 13) middle += 4096
        for (let at = middle; at < middle + 4096; at++) bad[at] = (at * 7 + 13) % 256
        fs.writeFileSync(filename, bad)
        const store = yield* open(filename)
        const reader = yield* makeReader(store)
        // What comes before the damage is there.
        const head = yield* reader.take({ rows: 100, bytes: 1_000_000 })
        assert.deepStrictEqual(textsOf(head), numbers(1, 100))
        assert.strictEqual(yield* problemOf(reader.take()), "Corrupt")
        assert.strictEqual(yield* problemOf(reader.take()), "Corrupt")
        // A connection with a cache of the page does not see that it is good again.
        const descriptor = fs.openSync(filename, "r+")
        fs.writeSync(descriptor, good, middle, 4096, middle)
        fs.closeSync(descriptor)
        assert.deepStrictEqual(textsOf(yield* reader.take()), numbers(1, 2000))
      })
    )

    it.live("moved away and back, deleted, or replaced", () =>
      Effect.gen(function* () {
        const filename = yield* file
        const store = yield* open(filename)
        yield* append(store, 1, 2)
        fs.renameSync(filename, `${filename}-away`)
        assert.strictEqual(yield* problemOf(append(store, 3, 1)), "Disconnected")
        assert.isFalse(fs.existsSync(filename))
        fs.copyFileSync(`${filename}-away`, filename)
        assert.strictEqual(yield* problemOf(append(store, 3, 1)), "Disconnected")
        fs.renameSync(`${filename}-away`, filename)
        yield* append(store, 3, 1)
        assert.deepStrictEqual(textsOf(yield* (yield* makeReader(store)).take()), numbers(1, 3))
        fs.rmSync(filename)
        assert.strictEqual(yield* problemOf(append(store, 4, 1)), "Disconnected")
        assert.isFalse(fs.existsSync(filename))
      })
    )
  })
})
