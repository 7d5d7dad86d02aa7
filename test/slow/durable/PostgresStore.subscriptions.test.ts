/** Definitions, drops and changes of state beside each other: what they leave, and in which order they lock. */
import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Fiber } from "effect"
import type { EventStoreError } from "effect-events/durable/EventStore"
import { openTransaction } from "../../durable/support/openTransaction.ts"
import { define, describePostgres, leaseOf, only, openStore, payload, publish } from "../../durable/support/postgres.ts"

describePostgres("the subscriptions of PostgresStore", (server) => {
  const query = (text: string): string => server().psql(text)
  /** How many rows there are of subscriptions that are in no list. */
  const orphans = (table: string) =>
    query(`SELECT count(*) FROM effect_events_${table} AS one WHERE NOT EXISTS (
      SELECT FROM effect_events_subscriptions AS listed WHERE listed.id = one.subscription
    )`)

  it.live("a drop waits for a definition that adds topics, and takes their routes with it", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const other = yield* openStore(server())
      yield* define(store, "beside", { topics: ["a"] })
      // A definition takes half a second to commit.
      query(`CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.5); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER UPDATE ON effect_events_subscriptions
        DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION slow()`)
      const defining = yield* Effect.forkChild(define(store, "beside", { topics: ["a", "b"] }))
      const slow = sql<{ n: string }>`SELECT count(*)::text AS n FROM pg_stat_activity WHERE wait_event = 'PgSleep'`
      yield* Effect.repeat(slow, { until: ([row]) => row?.n === "1" })
      yield* other.store.drop({ exchange: "beside" })
      yield* Fiber.join(defining)
      query("DROP TRIGGER slow ON effect_events_subscriptions")
      assert.deepStrictEqual(yield* store.list({ exchange: "beside" }), [])
      assert.deepStrictEqual(["routes", "leases"].map(orphans), ["0", "0"])
      const [published] = (yield* store.publish("beside", [{ payload: new Uint8Array(), topic: "b" }])) ?? []
      assert.strictEqual(published?.matched, 0)
    })
  )

  it.live(
    "a definition that is not committed yet holds up nothing of its subscription, and wakes its owner once it is",
    () =>
      Effect.gen(function* () {
        const { store } = yield* openStore(server(), { lockTimeout: "200 millis" })
        const other = yield* openStore(server())
        const { id } = yield* define(store, "joined")
        yield* publish(store, "joined", "1", "2")
        const { lease, owner, settle, take } = yield* leaseOf(store, "joined")
        const [first, second] = (yield* take()) ?? []
        const data = payload("new")
        const joined = other.store.define("joined", [{ name: only, topics: ["*"], data }], { joins: true })
        const end = yield* openTransaction(other.sql, joined)
        yield* settle([{ _tag: "Acknowledged", position: first!.position }])
        const wait = { delay: Duration.hours(1), attempts: 1 }
        assert.deepStrictEqual(yield* settle([{ _tag: "Aside", position: second!.position, lane: 1 }], wait), [])
        yield* publish(store, "joined", "3")
        assert.deepStrictEqual((yield* store.claim(owner, { exchange: "joined" }, 10)).woken, [])
        yield* end
        // Another process sees it first.
        const next = yield* other.store.renew({ name: "next" }, Duration.minutes(1))
        yield* other.store.claim(next, { exchange: "joined" }, 10)
        assert.deepStrictEqual((yield* store.claim(owner, [], 10)).woken, [id])
        const claims = yield* store.claim(owner, [], 10)
        assert.deepStrictEqual(claims.woken, [])
        assert.isAbove(claims.wait ?? 0, Duration.toMillis("59 minutes"))
        assert.deepStrictEqual((yield* store.list({ exchange: "joined", ids: [id] }))[0]?.data, data)
        yield* store.release(owner, [lease])
      })
  )

  it.live("definitions, drops, changes of state and the rest, side by side, wait for each other in no circle", () =>
    Effect.gen(function* () {
      const processes = yield* Effect.all([openStore(server()), openStore(server()), openStore(server())])
      const names = ["a", "B", "b", "ä", "Z"]
      const topics = (n: number): [string, ...Array<string>] => (n % 2 === 0 ? ["*", `t/${n % 7}`] : ["*"])
      const deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
      const before = query(deadlocks)
      // Those that stay, in an order of ids that is not that of their names.
      const staying = ["stays 1", "stays 2", "stays 3"] as const
      for (const name of staying.toReversed()) yield* define(processes[0].store, "hurried", { name })
      const failures: Array<EventStoreError> = []
      const hurried = (rounds: number, round: (n: number) => Effect.Effect<unknown, EventStoreError>) =>
        Effect.forEach(
          Array.range(1, rounds),
          (n) => Effect.catch(round(n), (error) => Effect.sync(() => void failures.push(error))),
          { discard: true }
        )
      const works = processes.flatMap(({ sql, store }, at) => {
        const order = at % 2 === 0 ? names : names.toReversed()
        return [
          hurried(60, (n) =>
            store.define(
              "hurried",
              Array.map(order as [string, ...Array<string>], (name) => ({ name, topics: topics(n), start: "oldest" }))
            )
          ),
          hurried(60, (n) =>
            store.define(
              "hurried",
              Array.map(staying, (name) => ({ name, topics: topics(n), data: payload(`${n % 3}`) }))
            )
          ),
          hurried(60, (n) =>
            sql
              .withTransaction(
                Effect.andThen(
                  store.define("hurried", [{ name: names[n % names.length] ?? "a", topics: topics(n) }], {
                    joins: true
                  }),
                  publish(store, "hurried", "1")
                )
              )
              .pipe(Effect.catchTag("SqlError", Effect.die))
          ),
          hurried(60, (n) => store.drop({ exchange: "hurried", name: names[n % names.length] ?? "a" })),
          hurried(60, (n) => store.setState({ exchange: "hurried" }, n % 2 === 0 ? "paused" : "active", undefined)),
          hurried(120, () => publish(store, "hurried", "1", "2")),
          Effect.flatMap(store.renew({ name: `${at}` }, Duration.minutes(1)), (owner) =>
            hurried(60, (n) =>
              Effect.gen(function* () {
                const ids = (yield* store.list({ exchange: "hurried" })).map(({ id }) => id)
                const { acquired } = yield* store.claim(owner, n % 2 === 0 ? ids : { exchange: "hurried" }, 3)
                const [lease] = acquired
                if (lease !== undefined) yield* store.settle(owner, [{ lease, settled: [] }])
                yield* store.release(owner, n % 3 === 0 ? [] : acquired)
              })
            )
          ),
          hurried(60, () => store.open("hurried", { retention: Duration.minutes(1) })),
          hurried(60, () => store.sweep)
        ]
      })
      yield* Effect.all(works, { concurrency: "unbounded", discard: true })
      yield* Effect.sleep("1100 millis")
      assert.deepStrictEqual(
        failures.map(({ message }) => message),
        []
      )
      assert.strictEqual(query(deadlocks), before)
      assert.deepStrictEqual(["routes", "leases", "fills"].map(orphans), ["0", "0", "0"])
    })
  )
})
