/** Processes that deliver from one file, and are killed or paused: what becomes of their leases, and of what they had taken. */
import { assert, describe, it, vi } from "@effect/vitest"
import { Clock, Context, Effect, Layer } from "effect"
import { EventStore } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { setTimeout as sleep } from "node:timers/promises"
import { start } from "../../durable/support/sqliteProcess.ts"
import { makeReader, pendingOf, publishTexts } from "../../durable/support/subscription.ts"
import { randomFrom } from "../../support/random.ts"

vi.setConfig({ testTimeout: 120_000 })

const kills = Number(process.env["EFFECT_EVENTS_KILLS"] ?? 4)
const seed = Number(process.env["EFFECT_EVENTS_SEED"] ?? Date.now() % 1_000_000)

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(join(tmpdir(), "effect-events-"))),
    (directory) => Effect.sync(() => fs.rmSync(directory, { recursive: true }))
  ),
  (directory) => join(directory, "events.db")
)
const { EventStore: Store } = EventStore
const open = (filename: string) => Effect.map(Layer.build(SqliteStore.layer({ filename })), Context.get(Store))
const child = (what: string, filename: string, ...more: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => start(what, filename, ...more)),
    ({ kill }) => Effect.promise(kill)
  )
/** The files of locks beside a database. */
const locks = (filename: string) =>
  fs.readdirSync(join(filename, "..")).filter((name) => name.startsWith("events.db-owner-"))

describe("the leases of a process", () => {
  it.live("that was killed are free at the next claim, and those of one that is paused by their time", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* publishTexts(store, ["1"])
      // Owner for 30 seconds, which none of this takes.
      const first = yield* child("own", filename)
      assert.strictEqual(yield* Effect.promise(first.line), "1")
      const reader = yield* makeReader(store)
      const claim = store.claim(reader.owner, [reader.id], 1)
      const { acquired, wait = Number.NaN } = yield* claim
      assert.deepStrictEqual(acquired, [])
      assert.isAbove(wait, 0)
      assert.isAtMost(wait, 30_000)
      assert.lengthOf(locks(filename), 2)

      const killed = performance.now()
      yield* Effect.promise(first.kill)
      assert.deepStrictEqual(
        (yield* claim).acquired.map(({ epoch }) => epoch),
        [2]
      )
      assert.isBelow(performance.now() - killed, 15_000)
      // What it left is removed.
      assert.lengthOf(locks(filename), 1)
      yield* store.release(reader.owner, [{ subscription: reader.id, epoch: 2 }])

      const second = yield* child("own", filename)
      assert.strictEqual(yield* Effect.promise(second.line), "3")
      // One that is stopped within a transaction keeps its lock: it is stopped again, in between.
      const stop = Effect.sync(() => second.process.kill("SIGSTOP")).pipe(
        Effect.andThen(Effect.sleep("300 millis")),
        Effect.andThen(store.sweep),
        Effect.tapError(() => Effect.sync(() => second.process.kill("SIGCONT")))
      )
      yield* Effect.retry(stop, { times: 5 })
      assert.deepStrictEqual((yield* claim).acquired, [])
      const clock = yield* Effect.clockWith(Effect.succeed)
      // A clock that is half a minute ahead, in every other way the same.
      const later = new Proxy(clock, {
        get: (target, name) =>
          name === "currentTimeMillisUnsafe"
            ? () => target.currentTimeMillisUnsafe() + 31_000
            : Reflect.get(target, name, target)
      })
      const after = yield* Effect.provideService(claim, Clock.Clock, later)
      assert.deepStrictEqual(
        after.acquired.map(({ epoch }) => epoch),
        [4]
      )
      second.process.kill("SIGCONT")
      assert.strictEqual(yield* Effect.promise(second.line), "lost")
    })
  )

  it.live("that closes its store without a release are its own until their time is over", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* publishTexts(store, ["1"])
      const reader = yield* makeReader(store)
      const claim = store.claim(reader.owner, [reader.id], 1)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const other = yield* makeReader(yield* open(filename))
          assert.isDefined(yield* other.held)
          assert.deepStrictEqual((yield* claim).acquired, [])
        })
      )
      assert.deepStrictEqual((yield* claim).acquired, [])
      assert.lengthOf(locks(filename), 1)
    })
  )
})

it.live(
  "SIGKILL of the process that delivers loses nothing, keeps the order, and gives again at most what was taken",
  () =>
    Effect.gen(function* () {
      const filename = yield* file
      const log = `${filename}-log`
      fs.writeFileSync(log, "")
      const random = randomFrom(seed)
      const names = Array.from({ length: 20 }, (_, i) => `s${i}`)
      const store = yield* open(filename)
      const [first, ...others] = names.map((name) => ({ name, topics: ["*"] as const }))
      yield* store.define("queue", [first!, ...others])
      let written = 0
      let isOver = false
      const writing = yield* Effect.forkChild(
        Effect.whileLoop({
          while: () => !isOver,
          body: () =>
            Effect.andThen(
              store.publish("queue", [{ payload: Buffer.from(`${written + 1}`) }]),
              Effect.sleep("1 millis")
            ),
          step: () => void written++
        })
      )
      for (let n = 0; n < kills; n++) {
        const one = start("deliver", filename, log)
        yield* Effect.promise(one.line)
        yield* Effect.promise(() => sleep(100 + random() * 400))
        yield* Effect.promise(one.kill)
      }
      isOver = true
      yield* Effect.promise(() => vi.waitUntil(() => writing.pollUnsafe() !== undefined, { timeout: 30_000 }))
      yield* child("deliver", filename, log)
      yield* Effect.promise(() =>
        vi.waitUntil(
          async () => {
            const ids = await Effect.runPromise(store.list({ exchange: "queue" }))
            const bounds = await Effect.runPromise(store.bounds(ids.map(({ id }) => id)))
            return bounds.length === 0
          },
          { timeout: 60_000, interval: 100 }
        )
      )
      const seen = new Map<string, Array<number>>()
      for (const line of fs.readFileSync(log, "utf8").trim().split("\n")) {
        const [subscription = "", n] = line.split(" ")
        seen.set(subscription, [...(seen.get(subscription) ?? []), Number(n)])
      }
      assert.isAbove(written, kills)
      assert.strictEqual(seen.size, names.length, `EFFECT_EVENTS_SEED=${seed}`)
      for (const [subscription, all] of seen) {
        const fresh = all.filter((n, i) => all.indexOf(n) === i)
        const expected = Array.from({ length: written }, (_, i) => i + 1)
        assert.deepStrictEqual(fresh, expected, `of ${subscription}, EFFECT_EVENTS_SEED=${seed}`)
        // Each of the killed had at most ten of a subscription.
        assert.isAtMost(all.length - fresh.length, kills * 10)
      }
      const db = new DatabaseSync(filename)
      for (const table of ["events", "uses", "deliveries", "delayed"])
        assert.strictEqual(db.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"], 0, table)
      db.close()
      assert.strictEqual(yield* pendingOf(store), 0)
    })
)
