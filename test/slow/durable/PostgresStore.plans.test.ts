import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect } from "effect"
import type { NewEvent, Operations } from "effect-events/durable/EventStore"
import { describePostgres, leasedBy, openStore, payload } from "../../durable/support/postgres.ts"

const many = 100_000
const explained = {
  settings: [
    "autovacuum=off",
    "session_preload_libraries=auto_explain",
    "auto_explain.log_min_duration=0",
    "auto_explain.log_analyze=on",
    "auto_explain.log_timing=off",
    "log_line_prefix="
  ]
}

const event = (topic: string): NewEvent => ({ payload: payload("x"), topic })

describePostgres(
  "the plans of PostgresStore",
  (server) => {
    const due = (ms: number): NewEvent["due"] => ({ after: Duration.millis(ms) })
    let ids = 0
    const identified = (topic: string): NewEvent => ({ ...event(topic), id: `id ${++ids}`, due: due(ids % 3) })

    /** Does all that an owner and its writers do, again and again, with one lease and with several. */
    const work = Effect.fnUntraced(function* (store: Operations, rounds: number, sweeps = true) {
      const defined = yield* store.define("plans", [
        { name: "one", topics: ["one"] },
        { name: "two", topics: ["two/*"] },
        { name: "three", topics: ["two/*"] }
      ])
      const ids = defined.map(({ id }) => id)
      const owner = yield* store.renew({ name: "plans" }, Duration.hours(1))
      let leases = (yield* store.claim(owner, ids, 10)).acquired
      for (let n = 0; n < rounds; n++) {
        yield* store.publish("plans", [event("one")])
        yield* store.publish("plans", [event("two/a"), ...Array.makeBy(9, () => event("two/b"))])
        // with outcomes and without
        yield* store.open("plans", { deduplication: Duration.hours(1), outcomes: Duration.hours(n % 2) })
        const [named] =
          (yield* store.publish("plans", [identified("one"), ...Array.makeBy(9, () => identified("two/b"))])) ?? []
        yield* store.publish("plans", [{ ...event("one"), id: `id ${ids}`, due: due(3_600_000) }])
        yield* store.status("plans", named?.position ?? 0)
        yield* store.status("plans", { id: `id ${ids}` })
        leases = [...leases, ...(yield* store.claim(owner, n % 2 === 0 ? ids : { exchange: "plans" }, 10)).acquired]
        yield* store.define("plans", [{ name: "two", topics: ["two/*"], data: payload(`${n}`) }])
        yield* store.list({ exchange: "plans", ids })
        yield* store.list({ exchange: "plans", after: { tenant: "", name: "one" }, limit: 10 })
        yield* store.setState({ exchange: "plans", ids }, "active", undefined)
        const limits = { rows: 100, bytes: 100_000 }
        const wanted = leases.map((lease) => ({ ...lease, limits, except: [1, 2, 3], busy: [], perLane: 2 }))
        const [first, ...rest] = wanted
        if (first === undefined) continue
        const taken = yield* store.take(owner, [first, ...rest])
        for (const { deliveries, subscription } of taken) {
          const lease = leases.find((one) => one.subscription === subscription)
          if (lease === undefined) continue
          const { settle, take } = leasedBy(store, owner, lease)
          yield* take({ limits: { rows: 500, bytes: 1e6 } })
          const [a, b, c, ...others] = deliveries
          yield* settle(others.slice(0, 5).map(({ lane, position }) => ({ _tag: "Acknowledged", position, lane })))
          yield* settle(
            others
              .slice(5)
              .flatMap(({ lane, position }) => (lane === undefined ? [{ _tag: "Acknowledged", position }] : []))
          )
          if (a === undefined || b === undefined || c === undefined) continue
          yield* settle([
            { _tag: "DeadLettered", position: a.position, lane: a.lane, reason: "Failed", cause: "", attempts: 1 },
            { _tag: "Again", position: b.position, lane: b.lane ?? b.position, delay: Duration.millis(1), attempts: 1 },
            { _tag: "Aside", position: c.position, lane: c.lane ?? b.lane ?? b.position }
          ])
          yield* settle([], { delay: Duration.zero, attempts: 0 })
          const attempts = others.map(({ position }) => ({ position, at: n, took: 1, error: "no" }))
          yield* store.settle(owner, [{ lease, settled: [], attempts }])
          const { at, position } = { at: n, position: a.position }
          yield* store.attempts(subscription, { limit: 10 })
          yield* store.attempts(subscription, { limit: 10, before: { at, position }, failedOnly: true })
          yield* store.resend(subscription, [a.position, b.position, position + 1_000_000_000])
          yield* store.discard(subscription, 1)
          const letters = yield* store.deadLetters(subscription, { limit: 10, topic: "*", reason: "Failed" })
          for (const { position } of letters) yield* store.replay(subscription, [position])
          yield* store.purge(subscription, [a.position])
        }
        yield* store.bounds(ids)
        yield* store.renew(owner, Duration.hours(1))
        if (sweeps) yield* store.sweep
        if (n % 3 === 0) {
          yield* store.release(owner, leases)
          leases = []
        }
      }
      yield* store.release(owner, "all")
    })

    /** Much of everything, of a subscription at work too: nothing of which is due. */
    const fill = (subscription: number) =>
      server().psql(
        `INSERT INTO effect_events_deliveries (subscription, position, topic, payload, written_at)
          SELECT s, 1000000 + n, '', 'x', 0 FROM generate_series(1, ${many}) n, unnest('{${subscription},99}'::bigint[]) s`,
        `INSERT INTO effect_events_delayed (subscription, position, lane, due_at, topic, payload, written_at)
          SELECT s, 2000000 + n, n % 100, CASE WHEN n <= 100 THEN 4e12 END, '', 'x', 0
          FROM generate_series(1, ${many}) n, unnest('{${subscription},99}'::bigint[]) s`,
        `INSERT INTO effect_events_delayed (subscription, position, due_at)
          SELECT ${subscription}, 1000000 + n, 4e12::bigint + n FROM generate_series(1, 1000) n
          UNION ALL SELECT 99, 1000000 + n, 4e12::bigint + n FROM generate_series(1, ${many}) n`,
        `INSERT INTO effect_events_scheduled (subscription, due_at, event, topic, payload, written_at)
          SELECT s, 4e12::bigint + n, s * 10000000 + n, '', 'x', 0
          FROM generate_series(1, ${many}) n, unnest('{${subscription},99}'::bigint[]) s`,
        `INSERT INTO effect_events_ids (exchange, tenant, id, position, expires_at, place)
          SELECT 1, '', 'many ' || n, n, 4e12::bigint, 1 FROM generate_series(1, ${many}) n`,
        `INSERT INTO effect_events_outcomes (event, subscription, exchange, state, at, topic, written_at)
          SELECT 3000000 + n, ${subscription}, 1, 'Delivered', 4e12::bigint, '', 0 FROM generate_series(1, ${many}) n`,
        `INSERT INTO effect_events_attempts (event, subscription, kept_at, exchange, place, at, took, topic, error)
          SELECT 3000000 + n, ${subscription}, 4e12::bigint, 1, 1, 4e12::bigint + n, 1, '', nullif(n % 1000, 1)::text FROM generate_series(1, ${many}) n`,
        `INSERT INTO effect_events_leases (subscription, exchange) SELECT 100 + n, 1 FROM generate_series(1, ${many}) n`,
        `INSERT INTO effect_events_leases (subscription, exchange, owner) SELECT 1000000 + n, 1, 99 FROM generate_series(1, ${many}) n`,
        `INSERT INTO effect_events_routes (exchange, tenant, pattern, subscription)
          SELECT exchange, '', 'three/' || n, 100 + n FROM generate_series(1, ${many}) n, effect_events_subscriptions s WHERE name = 'one'`,
        `INSERT INTO effect_events_events (position, exchange, version, xid, tenant, topic, payload, written_at)
          SELECT 1000000 + n, 1, 1, 1, '', '', 'x', 4e12::bigint FROM generate_series(1, ${many}) n`
      )

    const scan =
      /JIT:|Seq Scan on effect_events_(deliveries|delayed|scheduled|leases|events|arrivals|routes|ids|outcomes|attempts)/

    /** The nodes of plans of what was done that read a whole table, or pass over much of one, and what is compiled. */
    const bad = (log: string): ReadonlyArray<string> => {
      const plans = log.split(/^LOG: {2}duration: .* plan:$/m)
      const ours = plans.filter((plan) => plan.includes('"effect_events_'))
      assert.isAbove(ours.length, 500)
      return ours.flatMap((plan) =>
        plan.split("\n").filter((line) => {
          const [, rows, loops, removed] =
            /actual rows=(\d+) loops=(\d+)|Rows Removed by [\w ]+: (\d+)/.exec(line) ?? []
          const isMuch = Number(removed ?? Number(rows ?? 0) * Number(loops ?? 0)) > 3_000
          return isMuch || scan.test(line)
        })
      )
    }

    it.live("no table is read as a whole, nor is much of one passed over, whenever the plan was made", () =>
      Effect.gen(function* () {
        const process = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
        // as after the first vacuum of tables that are empty, when Postgres knows best that they are
        server().psql("VACUUM ANALYZE")
        yield* work(process.store, 15)
        const [one] = yield* process.store.list({ exchange: "plans", name: "one" })
        server().psql("VACUUM ANALYZE")
        yield* work(process.store, 15)
        fill(one?.id ?? 0)
        const start = server().logged.length
        // with the plans from before; the sweep, which is never in a hurry, waits for statistics
        yield* work(process.store, 15, false)
        server().psql("ANALYZE")
        yield* work(process.store, 15)
        yield* Effect.sleep("200 millis")
        assert.deepStrictEqual(bad(server().logged.slice(start)), [])
      })
    )
  },
  explained
)

// a server of its own: no table of it was ever analyzed
describePostgres(
  "the plans of PostgresStore without statistics",
  (server) => {
    it.live("no claim of an exchange is compiled where no table was ever analyzed", () =>
      Effect.gen(function* () {
        const { store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
        const names = Array.makeBy(3_000, (n) => ({ name: `e${n}`, topics: ["*"] as const }))
        for (const some of Array.chunksOf(names, 500)) yield* store.define("whole", some)
        yield* store.publish("whole", [event("one")])
        const start = server().logged.length
        const owner = yield* store.renew({ name: "whole" }, Duration.hours(1))
        for (let n = 0; n < 5; n++) {
          const { acquired } = yield* store.claim(owner, { exchange: "whole" }, 100)
          assert.strictEqual(acquired.length, 100)
          yield* store.release(owner, acquired)
        }
        yield* store.release(owner, "all")
        yield* Effect.sleep("200 millis")
        const log = server().logged.slice(start)
        assert.include(log, '"effect_events_leases"')
        assert.notInclude(log, "JIT:")
      })
    )
  },
  explained
)
