import { assert, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import type { EventStoreError } from "effect-events/durable/EventStore"
import { all, append, describePostgres, leaseOf, openStore, texts } from "../../durable/support/postgres.ts"

/** What an error says, without its words. */
const seen = ({ operation, problem, store, maybeCommitted }: EventStoreError) => ({
  operation,
  problem,
  store,
  maybeCommitted
})
const of = (operation: string, problem: EventStoreError["problem"], maybeCommitted: boolean) => ({
  operation,
  problem,
  store: "postgres",
  maybeCommitted
})

describePostgres("the faults of PostgresStore", (server) => {
  it.live("a server that is gone and comes back", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const lease = yield* leaseOf(store, "gone", "2 minutes")
      yield* append(store, "gone", "1")
      yield* Effect.promise(() => server().stop())
      // no connection can be made, so nothing was done
      yield* Effect.exit(store.size("gone"))
      assert.deepStrictEqual(seen(yield* Effect.flip(append(store, "gone", "2"))), of("append", "Disconnected", false))
      const error = yield* Effect.flip(store.next(lease, all))
      assert.isTrue(error._tag === "EventStoreError" && error.problem === "Disconnected" && !error.maybeCommitted)
      yield* Effect.promise(() => server().start())
      yield* append(store, "gone", "3")
      yield* store.renew(lease, Duration.minutes(2))
      assert.deepStrictEqual(texts(yield* store.next(lease, all)), ["1", "3"])
    })
  )

  it.live("a session that is ended while it has the statement", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), {}, { applicationName: "ended" })
      const other = yield* openStore(server())
      const lease = yield* leaseOf(store, "session")
      const operations = {
        append: append(store, "session", "1"),
        next: store.next(lease, all),
        acknowledge: store.acknowledge(lease, [1])
      }
      for (const [name, operation] of Object.entries(operations)) {
        const running = yield* other.sql.withTransaction(
          Effect.gen(function* () {
            yield* other.sql.unsafe("LOCK TABLE durable_queue_events, durable_queue_leases IN ACCESS EXCLUSIVE MODE")
            const running = yield* Effect.forkChild(Effect.flip<unknown, unknown, never>(operation))
            yield* Effect.repeat(
              Effect.sync(() => waiting()),
              { until: (count) => count === "1" }
            )
            server().psql(
              "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'ended' AND wait_event_type = 'Lock'"
            )
            return running
          })
        )
        const error = yield* Fiber.join(running)
        assert.include(error, of(name, "Disconnected", name !== "next"))
      }
    })
  )
  const waiting = () => server().psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

  it.live("a server that does not answer", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { timeout: "2 seconds" })
      const other = yield* openStore(server())
      const lease = yield* leaseOf(store, "hangs")
      yield* other.sql.withTransaction(
        Effect.gen(function* () {
          // no lock_timeout of a statement's own applies to a table's lock
          yield* other.sql.unsafe("LOCK TABLE durable_queue_events IN ACCESS EXCLUSIVE MODE")
          // and the lock goes with the transaction, which waits for the append
          const error = yield* Effect.uninterruptible(Effect.flip(append(store, "hangs", "1")))
          assert.deepStrictEqual(seen(error), of("append", "Disconnected", true))
        })
      )
      // the statement was cancelled
      assert.deepStrictEqual(yield* store.next(lease, all), [])
      yield* append(store, "hangs", "2")
    })
  )

  it.live("a database that cannot be written", () =>
    Effect.gen(function* () {
      yield* openStore(server())
      const { store } = yield* openStore(server(), {}, { startupParameters: { default_transaction_read_only: "on" } })
      assert.deepStrictEqual(seen(yield* Effect.flip(append(store, "only", "1"))), of("append", "ReadOnly", false))
      assert.strictEqual((yield* store.size("only")).rows, 0)
    })
  )

  it.live.each([
    { code: "53100", problem: "NoSpace" },
    { code: "XX001", problem: "Corrupt" },
    { code: "P0001", problem: "Other" }
  ] as const)("an error $code of the server is $problem, and passes when its cause does", ({ code, problem }) =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { prefix: "raised_" })
      server().psql(
        `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          RAISE EXCEPTION '%', CASE WHEN '${code}' = 'P0001' THEN convert_from(NEW.payload, 'UTF8') ELSE 'no' END
          USING ERRCODE = '${code}', DETAIL = convert_from(NEW.payload, 'UTF8');
        END $$`,
        "CREATE TRIGGER refuse AFTER INSERT ON raised_events FOR EACH ROW EXECUTE FUNCTION refuse()"
      )
      const error = yield* Effect.flip(append(store, code, "the secret content"))
      assert.deepStrictEqual(seen(error), of("append", problem, false))
      assert.include(error.message, code)
      assert.notInclude(JSON.stringify(error) + String(error.stack) + error.message, "secret")
      server().psql("DROP TRIGGER refuse ON raised_events")
      assert.strictEqual((yield* store.size(code)).rows, 0)
      yield* append(store, code, "1")
    })
  )

  it.live("a refused user, whose password is in no error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(openStore(server(), {}, { username: "nobody", connectTimeout: "5 seconds" }))
      assert.include(error, { _tag: "EventStoreError", operation: "migrate", problem: "Other" })
      assert.match(error.message, /28000|28P01/)
    })
  )
})
