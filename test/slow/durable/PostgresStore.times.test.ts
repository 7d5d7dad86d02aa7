import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Fiber, Queue, Stream } from "effect"
import type { NewEvent, Operations } from "effect-events/durable/EventStore"
import {
  all,
  define,
  describePostgres,
  leaseOf,
  openStore,
  payload,
  publish,
  texts
} from "../../durable/support/postgres.ts"
import { openTransaction } from "../../durable/support/openTransaction.ts"

const hour = Duration.hours(1)
const after = (text: string, delay: Duration.Input): NewEvent => ({
  payload: payload(text),
  due: { after: Duration.fromInputUnsafe(delay) }
})

describePostgres("events with a time of their own on Postgres", (server) => {
  const count = (table: string, where = "true"): number =>
    Number(server().psql(`SELECT count(*) FROM effect_events_${table} WHERE ${where}`))
  /** Claims with an owner of its own, nothing of which is to be acquired. */
  const claimer = Effect.fnUntraced(function* (store: Operations, name: string) {
    const owner = yield* store.renew({ name }, hour)
    return store.claim(owner, [], 1)
  })
  /** An exchange with one subscription, and its lease. */
  const leased = Effect.fnUntraced(function* (store: Operations, exchange: string) {
    const { id } = yield* define(store, exchange)
    yield* publish(store, exchange, "first")
    const lease = yield* leaseOf(store, exchange, hour)
    yield* lease.acknowledge((yield* lease.take()) ?? [])
    const claim = store.claim(lease.owner, [id], 1)
    const stored = Effect.map(Effect.suspend(lease.take), (taken) => texts(taken ?? []))
    return { ...lease, id, claim, stored }
  })

  it.live("of a transaction that commits after its time it is put in its place then, and others before", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const writer = yield* openStore(server())
      const { claim, id, stored } = yield* leased(store, "late")
      const commit = yield* openTransaction(
        writer.sql,
        writer.store.publish("late", [after("late", "20 millis"), after("later", "30 millis"), after("hour", hour)])
      )
      // so many that are moved while it is open that where the due times begin is looked for, more than once
      for (const _ of Array.range(1, 4)) {
        yield* store.publish(
          "late",
          Array.makeBy(1_500, (n) => after(`${n}`, "1 millis"))
        )
        yield* Effect.sleep("10 millis")
        yield* Effect.repeat(claim, { until: ({ wait }) => wait === undefined || wait > 1_000 })
      }
      assert.strictEqual(count("deliveries", `subscription = ${id}`), 6_000)
      yield* commit
      const { wait, woken } = yield* claim
      assert.deepStrictEqual(woken, [id])
      assert.isAbove(wait ?? 0, 1_000_000)
      assert.deepStrictEqual(count("scheduled", `subscription = ${id}`), 1)
      const last = server().psql(
        `SELECT convert_from(payload, 'UTF8') FROM effect_events_deliveries WHERE subscription = ${id} ORDER BY position DESC LIMIT 2`
      )
      assert.strictEqual(last, "later\nlate")
      assert.strictEqual((yield* stored).length, 6_002)
    })
  )

  it.live("more than a thousand that are due at once are put in their places in their order, a thousand a claim", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { claim, id, take } = yield* leased(store, "many")
      const given = Array.range(1, 2_500).map((n) => after(`${n}`, Duration.millis(((n * 7) % 50) + 1)))
      const [first, ...rest] = given
      const published = yield* store.publish("many", [first!, ...rest])
      yield* Effect.sleep("100 millis")
      assert.isTrue((yield* store.bounds([id]))[0]?.isComing)
      for (const left of [1_500, 500, 0]) {
        const { wait, woken } = yield* claim
        assert.deepStrictEqual(woken, [id])
        if (left > 0) assert.isBelow(wait ?? 1_000, 50)
        else assert.isAbove(wait ?? Infinity, 1_000)
        assert.strictEqual(count("scheduled", `subscription = ${id}`), left)
      }
      assert.isFalse((yield* store.bounds([id]))[0]?.isComing)
      const taken = (yield* take({ limits: all })) ?? []
      const positions = new Map(published?.map(({ position }, n) => [`${n + 1}`, position]))
      const dueOf = (text: string) => (Number(text) * 7) % 50
      const expected = Array.range(1, 2_500)
        .map(String)
        .toSorted((one, other) => dueOf(one) - dueOf(other) || (positions.get(one) ?? 0) - (positions.get(other) ?? 0))
      assert.deepStrictEqual(texts(taken), expected)
    })
  )

  it.live("many that claim at once put each in one place", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id, take } = yield* leased(store, "once")
      const processes = yield* Effect.forEach(["a", "b", "c", "d"], (name) =>
        Effect.flatMap(openStore(server()), ({ store }) => claimer(store, name))
      )
      for (const n of Array.range(1, 20)) {
        yield* store.publish(
          "once",
          Array.makeBy(100, (m) => after(`${n} ${m}`, Duration.millis(m)))
        )
      }
      const isPlaced = Effect.sync(() => count("scheduled", `subscription = ${id}`) === 0)
      yield* Effect.forEach(
        processes,
        (claim) =>
          Effect.repeat(claim.pipe(Effect.andThen(Effect.sleep("3 millis")), Effect.andThen(isPlaced)), {
            until: (done) => done
          }),
        { concurrency: "unbounded" }
      )
      const found = texts((yield* take({ limits: all })) ?? [])
      assert.strictEqual(found.length, 2_000)
      assert.strictEqual(new Set(found).size, 2_000)
    })
  )

  it.live("what another claim is about to move is claimed again soon, and is there when that has ended", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const { claim, id, stored } = yield* leased(store, "locked")
      yield* store.publish("locked", [after("a", "1 millis"), after("b", "1 millis")])
      yield* Effect.sleep("10 millis")
      // as the statement of a process that was stopped in it
      const unlock = yield* openTransaction(sql, sql.unsafe("SELECT FROM effect_events_scheduled FOR UPDATE"))
      for (const _ of Array.range(1, 3)) assert.isAtMost((yield* claim).wait ?? 1_000, 10)
      assert.deepStrictEqual(yield* stored, [])
      // neither is deleted that it has
      assert.strictEqual(yield* store.discard(id, 10), 0)
      yield* unlock
      assert.deepStrictEqual((yield* claim).woken, [id])
      assert.deepStrictEqual(yield* stored, ["a", "b"])
    })
  )

  it.live("a listener hears of one that is to come, when its transaction commits", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const writer = yield* openStore(server())
      yield* define(store, "heard")
      const claim = yield* claimer(store, "heard")
      assert.isAbove((yield* claim).wait ?? Infinity, 100_000)
      const changes = yield* Stream.toQueue(store.changes, { capacity: "unbounded" })
      yield* Queue.take(changes)
      const commit = yield* openTransaction(writer.sql, writer.store.publish("heard", [after("a", "1 minute")]))
      yield* Effect.sleep("100 millis")
      assert.strictEqual(yield* Queue.size(changes), 0)
      yield* commit
      yield* Effect.timeout(Queue.take(changes), "20 seconds")
      const { wait = 0 } = yield* claim
      assert.isTrue(wait > 50_000 && wait <= 60_000, `${wait}`)
    })
  )

  it.live("an event of many waits once, is kept until the last has it, and its status is found by its event", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { prefix: "shared_" })
      const query = (text: string) => server().psql(text)
      yield* store.open("shared", { retention: hour })
      yield* store.define("shared", [
        { name: "one", topics: ["*"] },
        { name: "two", topics: ["*"] }
      ])
      const [event] = (yield* store.publish("shared", [{ ...after("x", "1 second"), topic: "t" }])) ?? []
      assert.strictEqual(query("SELECT count(*), count(payload) FROM shared_scheduled"), "2|0")
      assert.strictEqual(query("SELECT count(*) FROM shared_events WHERE version IS NULL"), "1")
      yield* store.open("shared", { retention: Duration.zero })
      yield* store.sweep
      assert.strictEqual(query("SELECT count(*) FROM shared_events"), "1")
      const state = Effect.map(store.status("shared", event?.position ?? 0), (status) =>
        status?.deliveries.map(({ state }) =>
          "nextAt" in state ? [state._tag, state.nextAt !== undefined] : [state._tag]
        )
      )
      assert.deepStrictEqual(yield* state, [
        ["Pending", true],
        ["Pending", true]
      ])
      yield* Effect.sleep("1100 millis")
      yield* yield* claimer(store, "shared")
      assert.strictEqual(query("SELECT count(*) FROM shared_scheduled"), "0")
      assert.deepStrictEqual(yield* state, [
        ["Pending", false],
        ["Pending", false]
      ])
      yield* store.drop({ exchange: "shared", name: "one" })
      const lease = yield* leaseOf(store, "shared", hour)
      const taken = (yield* lease.take()) ?? []
      assert.deepStrictEqual(texts(taken), ["x"])
      yield* lease.acknowledge(taken)
      yield* Effect.sleep("1100 millis")
      for (const _ of Array.range(1, 4)) yield* store.sweep
      assert.strictEqual(query("SELECT count(*) FROM shared_events"), "0")
    })
  )

  it.live("a drop takes with it what is to come, also what a transaction left and what has come due since", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { prefix: "dropping_" })
      const writer = yield* openStore(server(), { prefix: "dropping_" })
      const left = (table: string) => server().psql(`SELECT count(*) FROM dropping_${table}`)
      yield* define(store, "dropping")
      yield* store.publish("dropping", [after("a", "1 millis"), after("b", hour)])
      const commit = yield* openTransaction(
        writer.sql,
        writer.store.publish("dropping", [after("c", "1 millis"), after("d", hour)])
      )
      assert.strictEqual(yield* store.drop({ exchange: "dropping" }), 2)
      yield* commit
      yield* yield* claimer(store, "dropping")
      assert.strictEqual(left("scheduled"), "2")
      assert.strictEqual(left("deliveries"), "2")
      yield* Effect.sleep("1100 millis")
      for (const _ of Array.range(1, 4)) yield* store.sweep
      for (const table of ["scheduled", "deliveries", "dropped"]) assert.strictEqual(left(table), "0", table)
    })
  )

  it.live("what has been moved is not passed over while a report keeps it from being vacuumed", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const reader = yield* openStore(server(), { changes: "poll" }, { maxConnections: 1 })
      const { acknowledge, claim, take } = yield* leased(store, "behind")
      const blocks = Effect.gen(function* () {
        yield* Effect.sleep("1200 millis")
        yield* claim
        server().psql("SELECT pg_stat_force_next_flush()")
        const text = `SELECT idx_blks_read + idx_blks_hit + heap_blks_read + heap_blks_hit AS blocks
          FROM pg_statio_user_tables WHERE relname = 'effect_events_scheduled'`
        return Number((yield* sql.unsafe<{ blocks: string }>(text))[0]?.blocks)
      })
      yield* store.publish("behind", [after("later", hour)])
      yield* reader.sql.withTransaction(
        Effect.gen(function* () {
          yield* reader.sql.unsafe("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
          yield* reader.sql.unsafe("SELECT count(*) FROM effect_events_scheduled")
          for (const _ of Array.range(1, 20)) {
            yield* store.publish(
              "behind",
              Array.makeBy(1_000, () => after("x", "1 millis"))
            )
            yield* Effect.sleep("5 millis")
            yield* Effect.repeat(claim, { until: ({ wait }) => wait === undefined || wait > 1_000 })
            yield* acknowledge((yield* take()) ?? [])
          }
          const before = yield* blocks
          for (const _ of Array.range(1, 20)) yield* claim
          // the 20,000 dead rows are on hundreds of pages of the index and the table
          assert.isBelow(((yield* blocks) - before) / 21, 100)
        })
      )
    })
  )

  it.live("a time that is no time of Postgres is never, and one that is past is at once", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { claim, id, stored } = yield* leased(store, "odd")
      const at = (text: string, at: number): NewEvent => ({ payload: payload(text), due: { at } })
      yield* store.publish("odd", [
        at("never", Number.POSITIVE_INFINITY),
        at("past", Number.NEGATIVE_INFINITY),
        at("half", 0.5),
        at("none", Number.NaN),
        after("forever", Duration.infinity)
      ])
      assert.deepStrictEqual((yield* claim).woken, [id])
      assert.deepStrictEqual(yield* stored, ["past", "half", "none"])
      assert.strictEqual(yield* store.discard(id, 4), 4)
      assert.strictEqual((yield* store.figures(id))?.pending, 1)
      assert.strictEqual(yield* store.discard(id, 4), 1)
    })
  )

  it.live("a claim that fails while it puts what is due in its place keeps nothing that it acquired before", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { lockTimeout: "300 millis" })
      const writer = yield* openStore(server())
      const free = yield* define(store, "free")
      const locked = yield* define(store, "stuck")
      const owner = yield* store.renew({ name: "failing" }, hour)
      const claim = store.claim(owner, [free.id, locked.id], 10)
      // it knows of nothing that is due soon
      yield* claim
      yield* writer.store.publish("stuck", [after("due", "10 millis")])
      yield* publish(writer.store, "free", "a")
      yield* Effect.sleep("50 millis")
      const lock = `SELECT 1 FROM effect_events_leases WHERE subscription = ${locked.id} FOR NO KEY UPDATE`
      const end = yield* openTransaction(writer.sql, writer.sql.unsafe(lock))
      assert.strictEqual((yield* Effect.flip(claim)).problem, "Locked")
      yield* end
      const { acquired } = yield* claim
      const ids = acquired.map(({ subscription }) => subscription)
      assert.sameMembers(ids, [free.id, locked.id])
    })
  )

  it.live("a process that has not heard of it puts it in its place by its next claim", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const other = yield* openStore(server())
      const { claim, id, stored } = yield* leased(store, "unheard")
      assert.isAbove((yield* claim).wait ?? Infinity, 1_000)
      yield* other.store.publish("unheard", [after("a", "1 millis")])
      yield* Effect.sleep("10 millis")
      const fiber = yield* Effect.forkChild(claim)
      assert.deepStrictEqual((yield* Fiber.join(fiber)).woken, [id])
      assert.deepStrictEqual(yield* stored, ["a"])
    })
  )
})

describePostgres(
  "a Postgres that crashes, and does not wait for its disk by default",
  (server) => {
    it.live("has what it gave out of those that came due, at the same positions", () =>
      Effect.gen(function* () {
        const positions = yield* Effect.scoped(
          Effect.gen(function* () {
            const { store } = yield* openStore(server(), { changes: "poll" })
            const { id } = yield* define(store, "crashed")
            yield* publish(store, "crashed", "first")
            const { lease, owner, take } = yield* leaseOf(store, "crashed", hour)
            yield* store.publish("crashed", [after("a", "1 millis"), after("b", "1 millis")])
            yield* Effect.sleep("10 millis")
            // this process has the lease: the claim acquires nothing
            assert.deepStrictEqual((yield* store.claim(owner, [id], 1)).woken, [lease.subscription])
            const taken = (yield* take()) ?? []
            assert.deepStrictEqual(texts(taken), ["first", "a", "b"])
            yield* Effect.promise(() => server().kill())
            return taken.map(({ position }) => position)
          })
        )
        yield* Effect.promise(() => server().start())
        const rows = server().psql("SELECT array_agg(position ORDER BY position) FROM effect_events_deliveries")
        assert.strictEqual(rows, `{${positions.join(",")}}`)
      })
    )
  },
  { fsync: true, settings: ["synchronous_commit=off", "wal_writer_delay=10s"] }
)
