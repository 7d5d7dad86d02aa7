import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { bin } from "../../cli/support/bin.ts"
import { define, describePostgres, openStore, publish } from "../../durable/support/postgres.ts"

const password = "hunter2-secret"

describePostgres("effect-events on Postgres", (server) => {
  const run = (...args: ReadonlyArray<string>) =>
    Effect.promise(() => bin(`postgres://postgres:${password}@127.0.0.1:${server().port}/postgres`, ...args))

  it.live("looks after what is in the tables, in the schema and with the prefix that are given", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { schema: "mine", prefix: "p_" })
      yield* define(store, "orders")
      yield* publish(store, "orders", "1", "2")
      const tables = ["--schema", "mine", "--prefix", "p_"]
      const listed = yield* run("queues", "--json", ...tables)
      assert.deepStrictEqual([listed.code, listed.err], [0, ""])
      assert.deepInclude(JSON.parse(listed.out).subscriptions[0], { exchange: "orders", pending: 2 })
      const paused = yield* run("pause", "orders", ...tables)
      assert.deepStrictEqual(paused, { code: 0, out: 'paused 1 subscription of "orders"\n', err: "" })
      const purged = yield* run("purge", "orders", "--yes", ...tables)
      assert.deepInclude(purged, { out: 'deleted 2 pending deliveries of 1 subscription of "orders"\n', err: "" })
    }).pipe(Effect.scoped)
  )

  it.live("makes and migrates no tables", () =>
    Effect.gen(function* () {
      const { sql } = yield* openStore(server(), { prefix: "old_" })
      const tables = Effect.map(sql`SELECT count(*)::int AS count FROM pg_class`, ([row]) => row)
      const before = yield* tables
      const missing = yield* run("queues")
      assert.deepStrictEqual([missing.code, missing.out], [1, ""])
      assert.include(
        missing.err,
        'effect-events: the database has no tables of a store: "public"."effect_events_version"'
      )
      const elsewhere = yield* run("queues", "--schema", "nowhere")
      assert.deepStrictEqual(elsewhere.code, 1)
      assert.include(elsewhere.err, '"nowhere"."effect_events_version" is not there')
      assert.deepStrictEqual(yield* tables, before)

      assert.deepInclude(yield* run("queues", "--prefix", "old_"), { code: 0, err: "" })
      yield* sql`UPDATE old_version SET version = version - 1`
      const older = yield* run("queues", "--prefix", "old_")
      assert.strictEqual(older.code, 1)
      assert.include(older.err, "are migrated to")
      yield* sql`UPDATE old_version SET version = version + 2`
      const newer = yield* run("queues", "--prefix", "old_")
      assert.strictEqual(newer.code, 1)
      assert.include(newer.err, "NewerSchema")
    }).pipe(Effect.scoped)
  )

  it.live("says nothing of the password when the server cannot be reached or refuses", () =>
    Effect.gen(function* () {
      const { port } = server()
      const urls = [
        `postgres://postgres:${password}@127.0.0.1:1/postgres`,
        `postgres://stranger:${password}@127.0.0.1:${port}/postgres`,
        `postgres://postgres:${password}@127.0.0.1:${port}/nothing`,
        `postgres://postgres:${password}@host.invalid/postgres`
      ]
      for (const url of urls) {
        const { code, err, out } = yield* Effect.promise(() => bin(url, "queues", "--json"))
        assert.deepStrictEqual([code, out], [1, ""], url)
        assert.match(err, /^effect-events: .*could not.*\n$/)
        assert.notInclude(err, "hunter2")
      }
    })
  )
})
