import { assert, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Latch } from "effect"
import type { EventStoreError } from "effect-events/durable/EventStore"
import {
  define,
  describePostgres,
  leaseOf,
  openStore,
  payload,
  publish,
  texts
} from "../../durable/support/postgres.ts"

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
      const { id } = yield* define(store, "gone")
      yield* publish(store, "gone", "1")
      const { owner, take } = yield* leaseOf(store, "gone", "2 minutes")
      yield* Effect.promise(() => server().stop())
      // no connection can be made, so nothing was done
      yield* Effect.exit(store.figures(id))
      assert.deepStrictEqual(
        seen(yield* Effect.flip(publish(store, "gone", "2"))),
        of("publish", "Disconnected", false)
      )
      const error = yield* Effect.flip(take())
      assert.isTrue(error.problem === "Disconnected" && !error.maybeCommitted)
      yield* Effect.promise(() => server().start())
      yield* publish(store, "gone", "3")
      assert.deepStrictEqual(yield* store.renew(owner, Duration.minutes(2)), owner)
      assert.deepStrictEqual(texts((yield* take()) ?? []), ["1", "3"])
    })
  )

  it.live("a session that is ended while it has the statement", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), {}, { applicationName: "ended" })
      const other = yield* openStore(server())
      const { id } = yield* define(store, "session")
      yield* publish(store, "session", "0")
      const { owner, settle, take } = yield* leaseOf(store, "session")
      const operations = {
        publish: publish(store, "session", "1"),
        take: take(),
        settle: settle([{ _tag: "Acknowledged", position: 1 }]),
        claim: store.claim(owner, [id], 1),
        release: store.release(owner, "all"),
        figures: store.figures(id),
        define: define(store, "session"),
        discard: store.discard(id, 1),
        drop: store.drop({ exchange: "session" })
      }
      for (const [name, operation] of Object.entries(operations)) {
        const running = yield* other.sql.withTransaction(
          Effect.gen(function* () {
            yield* other.sql.unsafe(
              "LOCK TABLE effect_events_exchanges, effect_events_deliveries, effect_events_leases, effect_events_arrivals IN ACCESS EXCLUSIVE MODE"
            )
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
        assert.include(error, of(name, "Disconnected", name !== "take" && name !== "figures"))
      }
    })
  )
  const waiting = () => server().psql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")

  it.live("a server that does not answer", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { timeout: "2 seconds" })
      const other = yield* openStore(server())
      yield* define(store, "hangs")
      yield* publish(store, "hangs", "1")
      const { take } = yield* leaseOf(store, "hangs")
      yield* other.sql.withTransaction(
        Effect.gen(function* () {
          // no lock_timeout of a statement's own applies to a table's lock
          yield* other.sql.unsafe("LOCK TABLE effect_events_deliveries IN ACCESS EXCLUSIVE MODE")
          // and the lock goes with the transaction, which waits for the publish
          const error = yield* Effect.uninterruptible(Effect.flip(publish(store, "hangs", "2")))
          assert.deepStrictEqual(seen(error), of("publish", "Disconnected", true))
        })
      )
      // the statement was cancelled
      assert.deepStrictEqual(texts((yield* take()) ?? []), ["1"])
      yield* publish(store, "hangs", "3")
    })
  )

  it.live("a database that cannot be written", () =>
    Effect.gen(function* () {
      const { store: writable } = yield* openStore(server())
      const { id } = yield* define(writable, "only")
      const { store } = yield* openStore(server(), {}, { startupParameters: { default_transaction_read_only: "on" } })
      assert.deepStrictEqual(seen(yield* Effect.flip(publish(store, "only", "1"))), of("publish", "ReadOnly", false))
      assert.strictEqual((yield* store.figures(id))?.pending, 0)
    })
  )

  it.live.each([
    { code: "53100", problem: "NoSpace" },
    { code: "XX001", problem: "Corrupt" },
    { code: "P0001", problem: "Other" }
  ] as const)("an error $code of the server is $problem, and passes when its cause does", ({ code, problem }) =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { prefix: "raised_" })
      const { id } = yield* define(store, code)
      server().psql(
        `CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
          RAISE EXCEPTION '%', CASE WHEN '${code}' = 'P0001' THEN convert_from(NEW.payload, 'UTF8') ELSE 'no' END
          USING ERRCODE = '${code}', DETAIL = convert_from(NEW.payload, 'UTF8');
        END $$`,
        "CREATE TRIGGER refuse AFTER INSERT ON raised_deliveries FOR EACH ROW EXECUTE FUNCTION refuse()"
      )
      const error = yield* Effect.flip(publish(store, code, "the secret content"))
      assert.deepStrictEqual(seen(error), of("publish", problem, false))
      assert.include(error.message, code)
      assert.notInclude(JSON.stringify(error) + String(error.stack) + error.message, "secret")
      server().psql("DROP TRIGGER refuse ON raised_deliveries")
      assert.strictEqual((yield* store.figures(id))?.pending, 0)
      yield* publish(store, code, "1")
    })
  )

  it.live.each(["publish", "define", "setState"])(
    "a NUL in a name is an error of %s that says no content",
    (operation) =>
      Effect.gen(function* () {
        const { store } = yield* openStore(server())
        const run = {
          publish: store.publish("nul", [{ payload: payload("x"), topic: "the secret\0" }]),
          define: store.define("nul", [{ name: "the secret\0", topics: ["*"] }]),
          setState: store.setState({ exchange: "the secret\0" }, "paused", undefined)
        }[operation]
        const error = yield* Effect.flip<unknown, EventStoreError, never>(run ?? Effect.die(operation))
        assert.deepStrictEqual(seen(error), of(operation, "Invalid", false))
        assert.notInclude(JSON.stringify(error) + error.message, "secret")
      })
  )

  it.live("a claim whose answer did not come: what it acquired and woke is in the next answer", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { lockTimeout: "100 millis" }, { applicationName: "doubt" })
      const [a, b, c] = yield* store.define("doubt", [
        { name: "a", topics: ["*"] },
        { name: "b", topics: ["*"] },
        { name: "c", topics: ["*"] }
      ])
      const ids = [a, b, c].map((one) => one?.id ?? 0)
      const owner = yield* store.renew({ name: "doubt" }, Duration.seconds(30))
      yield* publish(store, "doubt", "1")
      const first = yield* store.claim(owner, ids, 1)
      assert.lengthOf(first.acquired, 1)
      const held = first.acquired[0]?.subscription ?? 0
      const [unheld = 0, free = 0] = ids.filter((id) => id !== held)
      // what a claim does that was committed, and whose session then broke
      const claimed = sql.unsafe(
        "UPDATE effect_events_leases SET owner = $1::int, epoch = epoch + 1, ready_at = 9223372036854775807 WHERE subscription = $2::bigint",
        [owner.id, unheld]
      )
      const lost = yield* sql.withTransaction(
        Effect.gen(function* () {
          yield* sql.unsafe("LOCK TABLE effect_events_leases IN ACCESS EXCLUSIVE MODE")
          const claiming = yield* Effect.forkChild(Effect.flip(store.claim(owner, ids, 3)))
          yield* Effect.repeat(
            Effect.sync(() => waiting()),
            { until: (count) => count === "1" }
          )
          server().psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'doubt' AND wait_event_type = 'Lock'"
          )
          yield* claimed
          return yield* Fiber.join(claiming)
        })
      )
      assert.deepStrictEqual(seen(lost), of("claim", "Disconnected", true))
      const again = yield* store.claim(owner, ids, 3)
      assert.sameMembers(
        again.acquired.map(({ subscription }) => subscription),
        [unheld, free]
      )
      assert.deepStrictEqual(again.woken, [held])
      assert.strictEqual(again.acquired.find(({ subscription }) => subscription === unheld)?.epoch, 2)
      const { acquired, woken } = yield* store.claim(owner, ids, 3)
      assert.deepStrictEqual([...acquired, ...woken], [])
    })
  )

  it.live("a refused user, whose password is in no error", () =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(openStore(server(), {}, { username: "nobody", connectTimeout: "5 seconds" }))
      assert.include(error, { _tag: "EventStoreError", operation: "migrate", problem: "Other" })
      assert.match(error.message, /28000|28P01/)
    })
  )

  it.live(
    "an owner that goes while a claim takes it for gone waits for that claim, and for nothing that it holds",
    () =>
      Effect.gen(function* () {
        const { sql, store } = yield* openStore(server(), { changes: "poll" })
        const { id } = yield* define(store, "going")
        yield* publish(store, "going", "1")
        const { owner } = yield* leaseOf(store, "going", "2 minutes")
        const locked = yield* Latch.make()
        const release = yield* Effect.forkChild(Effect.andThen(locked.await, store.release(owner, "all")))
        // what a claim locks, in its order: the owner, and then its leases
        const claim = Effect.gen(function* () {
          yield* sql`SELECT id FROM effect_events_owners WHERE id = ${owner.id} FOR NO KEY UPDATE`
          yield* locked.open
          // the release has begun by then, and waits
          yield* Effect.sleep("500 millis")
          yield* sql`SELECT subscription FROM effect_events_leases WHERE subscription = ${id} FOR NO KEY UPDATE`
        })
        yield* sql.withTransaction(claim)
        yield* Fiber.join(release)
        assert.strictEqual((yield* store.figures(id))?.owner, undefined)
      })
  )
})
