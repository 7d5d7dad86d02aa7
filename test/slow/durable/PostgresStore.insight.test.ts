import { assert, it } from "@effect/vitest"
import { Array, Duration, Effect, Fiber } from "effect"
import type {
  Attempt,
  DeadLetterFilter,
  Delivery,
  Operations,
  Owner,
  Settled,
  Settlement
} from "effect-events/durable/EventStore"
import { openTransaction } from "../../durable/support/openTransaction.ts"
import {
  all,
  define,
  describePostgres,
  leasedBy,
  leaseOf,
  openStore,
  payload,
  publish,
  texts
} from "../../durable/support/postgres.ts"

const hour = Duration.hours(1)
const acknowledged = ({ lane, position }: Delivery): Settled => ({ _tag: "Acknowledged", position, lane })
const again = ({ position }: Delivery, lane: number): Settled => ({
  _tag: "Again",
  position,
  lane,
  delay: hour,
  attempts: 1
})
const dead = ({ lane, position }: Delivery): Settled => ({
  _tag: "DeadLettered",
  position,
  lane,
  reason: "Failed",
  cause: "no",
  attempts: 1
})
const attempt = ({ position }: Delivery, at: number, error?: string): Attempt => ({ position, at, took: 1.5, error })

describePostgres("what Postgres keeps of what became of events", (server) => {
  const query = (text: string): string => server().psql(text)
  /** A subscription with events and its lease. */
  const setUp = Effect.fnUntraced(function* (exchange: string, count: number, options = {}) {
    const { sql, store } = yield* openStore(server(), options)
    const { id } = yield* define(store, exchange)
    const [first, ...rest] = Array.makeBy(count, (n) => `${n + 1}`)
    yield* publish(store, exchange, first ?? "1", ...rest)
    const leased = yield* leaseOf(store, exchange, hour)
    const taken = (yield* leased.take({ limits: all })) ?? []
    const settle = (settled: ReadonlyArray<Settled>, more: Partial<Settlement> = {}) =>
      store.settle(leased.owner, [{ lease: { subscription: id, epoch: leased.lease.epoch }, settled, ...more }])
    return { sql, store, id, ...leased, settle, taken }
  })
  const stateOf = (store: Operations, exchange: string, one: Delivery | undefined) =>
    Effect.map(store.status(exchange, one?.position ?? 0), (status) => status?.deliveries[0])
  const tagOf = (store: Operations, exchange: string, one: Delivery | undefined) =>
    Effect.map(stateOf(store, exchange, one), (state) => state?.state._tag)

  it.live("a process that has not heard that outcomes are kept keeps them, and one that they are not does not", () =>
    Effect.gen(function* () {
      const { id, settle, store, taken } = yield* setUp("heard", 8)
      const other = yield* openStore(server())
      const [a, b, c, d, e, f, g, h] = taken
      yield* settle([acknowledged(a!)], { attempts: [attempt(a!, 1)] })
      assert.isUndefined(yield* store.status("heard", a!.position))
      yield* other.store.open("heard", { outcomes: hour })
      assert.deepStrictEqual(yield* settle([acknowledged(b!)], { attempts: [attempt(b!, 2, "x")] }), [])
      assert.deepStrictEqual(yield* stateOf(other.store, "heard", b), {
        subscription: "only",
        state: { _tag: "Delivered", at: Number(query("SELECT max(at) FROM effect_events_outcomes")) },
        attempts: [{ at: 2, took: 1.5, error: "x", detail: undefined }]
      })
      yield* settle([acknowledged(c!), again(d!, 1)])
      assert.deepStrictEqual(
        [yield* tagOf(store, "heard", c), yield* tagOf(store, "heard", d)],
        ["Delivered", "Pending"]
      )
      yield* other.store.open("heard", { outcomes: Duration.zero })
      yield* settle([acknowledged(e!), again(f!, 1)])
      assert.isUndefined(yield* store.status("heard", e!.position))
      yield* other.store.open("heard", { outcomes: hour })
      yield* settle([again(g!, 2), acknowledged(h!)], { attempts: [attempt(g!, 3), attempt(h!, 4)] })
      assert.deepStrictEqual(
        [yield* tagOf(store, "heard", g), yield* tagOf(store, "heard", h)],
        ["Pending", "Delivered"]
      )
      // once each
      assert.deepStrictEqual((yield* stateOf(store, "heard", g))?.attempts.length, 1)
      assert.strictEqual((yield* store.figures(id))?.pending, 3)
    })
  )

  it.live("a settlement of many leases, of which some keep outcomes, is one of each", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* store.open("kept", { outcomes: hour })
      const owner: Owner = yield* store.renew({ name: "some" }, hour)
      const both = yield* Effect.forEach(["kept", "plain"], (exchange) =>
        Effect.gen(function* () {
          const { id } = yield* define(store, exchange)
          yield* publish(store, exchange, "a", "b", "c", "d")
          const [lease] = (yield* store.claim(owner, [id], 1)).acquired
          const taken = (yield* leasedBy(store, owner, lease!).take()) ?? []
          return { exchange, lease: lease!, taken }
        })
      )
      const [kept, plain] = both
      const settle = (n: number, of: (one: Delivery) => Settled) =>
        store.settle(owner, [
          { lease: kept!.lease, settled: [of(kept!.taken[n]!)], attempts: [attempt(kept!.taken[n]!, n)] },
          { lease: plain!.lease, settled: [of(plain!.taken[n]!)], attempts: [attempt(plain!.taken[n]!, n)] }
        ])
      assert.deepStrictEqual(yield* settle(0, acknowledged), [])
      assert.deepStrictEqual(yield* settle(1, acknowledged), [])
      assert.deepStrictEqual(yield* settle(2, (one) => again(one, 1)), [])
      for (const { exchange, lease, taken } of both) {
        const states = yield* Effect.forEach(taken, (one) => tagOf(store, exchange, one))
        const [done, pending] = exchange === "kept" ? ["Delivered", "Pending"] : [undefined, "Pending"]
        assert.deepStrictEqual(states, [done, done, pending, pending])
        assert.strictEqual((yield* store.figures(lease.subscription))?.pending, 2)
      }
      assert.strictEqual(
        query("SELECT count(*) FROM effect_events_attempts WHERE subscription = " + plain!.lease.subscription),
        "0"
      )
      // the dropped of one are none of the other
      yield* store.settle(owner, [
        {
          lease: kept!.lease,
          settled: [{ _tag: "Acknowledged", position: kept!.taken[3]!.position, isDropped: true }]
        },
        { lease: plain!.lease, settled: [acknowledged(plain!.taken[3]!)] }
      ])
      assert.strictEqual(yield* tagOf(store, "kept", kept!.taken[3]), "Dropped")
    })
  )

  it.live("of a replay the status is found by its event, with the attempts of before", () =>
    Effect.gen(function* () {
      const { acknowledge, settle, store, take, taken, id } = yield* setUp("replayed", 2)
      yield* store.open("replayed", { outcomes: hour })
      const [a, b] = taken
      yield* settle([dead(a!), acknowledged(b!)], { attempts: [attempt(a!, 1, "no")] })
      assert.strictEqual(yield* tagOf(store, "replayed", a), "DeadLettered")
      for (const n of [2, 3]) {
        const [letter] = yield* store.deadLetters(id, { limit: 1 })
        yield* store.replay(id, [letter!.position])
        assert.strictEqual(yield* tagOf(store, "replayed", a), "Pending")
        const [replayed] = (yield* take()) ?? []
        assert.isAbove(replayed!.position, b!.position)
        assert.isUndefined(yield* store.status("replayed", replayed!.position))
        assert.deepStrictEqual((yield* store.figures(id))?.bytes, 1)
        yield* settle([again(replayed!, 1)], { attempts: [attempt(replayed!, n)] })
        yield* settle([dead({ ...replayed!, lane: 1 })])
      }
      const [letter] = yield* store.deadLetters(id, { limit: 1 })
      yield* store.replay(id, [letter!.position])
      yield* acknowledge((yield* take()) ?? [])
      const state = yield* stateOf(store, "replayed", a)
      assert.strictEqual(state?.state._tag, "Delivered")
      assert.deepStrictEqual(
        state?.attempts.map(({ at }) => at),
        [1, 2, 3]
      )
      yield* store.sweep
      assert.strictEqual((yield* store.figures(id))?.pending, 0)
    })
  )

  it.live("attempts and waits have any text, cut and without a NUL, and a wait ends with its reason", () =>
    Effect.gen(function* () {
      const { id, settle, store, taken } = yield* setUp("texts", 1)
      yield* store.open("texts", { outcomes: hour })
      const [a] = taken
      const text = `it's "\\{},\0 NULL\n`
      yield* settle([], { attempts: [attempt(a!, 1, text), attempt(a!, 2, ""), attempt(a!, 3, "x".repeat(30_000))] })
      const attempts = (yield* stateOf(store, "texts", a))?.attempts
      assert.deepStrictEqual(
        attempts?.map(({ error }) => error),
        [text.replace("\0", "\uFFFD"), "", "x".repeat(20_000)]
      )
      const wait = { delay: hour, attempts: 1, reason: text, position: a!.position }
      const waiting = Effect.map(store.overview({ exchange: "texts" }), ([one]) => one?.wait)
      yield* settle([], { wait })
      assert.include(yield* waiting, { reason: text.replace("\0", "\uFFFD"), position: a!.position, attempts: 1 })
      yield* settle([again(a!, 1)])
      assert.include(yield* waiting, { attempts: 1, position: a!.position })
      yield* settle([], { wait: { delay: hour, attempts: 2 } })
      assert.include(yield* waiting, { reason: undefined, position: undefined, attempts: 2 })
      yield* settle([], { wait })
      yield* store.setState({ exchange: "texts" }, "active", undefined)
      assert.isUndefined(yield* waiting)
      yield* settle([], { wait })
      assert.strictEqual(yield* store.discard(id, 1), 1)
      assert.isUndefined(yield* waiting)
      assert.deepStrictEqual(
        query(`SELECT reason, waits_for FROM effect_events_leases WHERE subscription = ${id}`),
        "|"
      )
    })
  )

  it.live("outcomes and attempts go when they are older than their exchange keeps them, a thousand a sweep", () =>
    Effect.gen(function* () {
      const { acknowledge, store, settle, taken } = yield* setUp("old", 1_500, { prefix: "old_" })
      yield* store.open("old", { outcomes: hour })
      yield* acknowledge(taken)
      yield* define(store, "young")
      yield* publish(store, "young", "a")
      yield* store.open("young", { outcomes: Duration.days(1) })
      const young = yield* leaseOf(store, "young")
      yield* young.acknowledge((yield* young.take()) ?? [])
      yield* store.publish("old", [{ payload: payload("x") }])
      assert.strictEqual(query("SELECT count(*) FROM old_outcomes"), "1501")
      yield* settle([], { attempts: [] })
      const counts = () => query("SELECT count(*) FROM old_outcomes")
      yield* store.sweep
      assert.strictEqual(counts(), "1501")
      query("UPDATE old_outcomes SET at = at - 7200000")
      assert.isTrue(yield* store.sweep)
      assert.strictEqual(counts(), "501")
      yield* store.sweep
      assert.strictEqual(counts(), "1")
      yield* store.open("young", { outcomes: Duration.zero })
      yield* store.sweep
      assert.strictEqual(counts(), "0")
    })
  )

  it.live("a discard waits for a settlement that is under way, and frees the rest of a lane", () =>
    Effect.gen(function* () {
      const { id, settle, sql, store, take, taken } = yield* setUp("discarded", 10)
      yield* store.open("discarded", { outcomes: hour })
      const [a, b, c, d, ...rest] = taken
      yield* settle([again(a!, 1), { _tag: "Aside", position: b!.position, lane: 1 }, again(c!, 2), again(d!, -3)])
      const unlock = yield* openTransaction(
        sql,
        sql.unsafe("SELECT FROM effect_events_leases WHERE subscription = $1::bigint FOR UPDATE", [id])
      )
      const settling = yield* Effect.forkChild(settle(rest.slice(0, 2).map(acknowledged)))
      yield* Effect.sleep("100 millis")
      const discarding = yield* Effect.forkChild(store.discard(id, 6))
      yield* Effect.sleep("100 millis")
      yield* unlock
      yield* Fiber.join(settling)
      // four of the order, the lane -3, and the first of lane 1
      assert.strictEqual(yield* Fiber.join(discarding), 6)
      assert.deepStrictEqual(
        ((yield* take()) ?? []).map(({ lane, payload }) => `${lane} ${texts([{ payload }])[0]}`),
        ["1 2"]
      )
      const states = yield* Effect.forEach(taken, (one) => tagOf(store, "discarded", one))
      const [purged, delivered] = ["Purged", "Delivered"] as const
      assert.deepStrictEqual(states, [
        purged,
        "Pending",
        "Pending",
        purged,
        delivered,
        delivered,
        ...Array.makeBy(4, () => purged)
      ])
      // what was taken before is passed over
      assert.deepStrictEqual(yield* settle([{ ...acknowledged(a!), lane: 1 } as Settled, again(rest[5]!, 5)]), [])
      assert.strictEqual((yield* store.figures(id))?.pending, 2)
    })
  )

  it.live("discards and settlements at once leave nothing, and no error", () =>
    Effect.gen(function* () {
      const { id, settle, store, taken } = yield* setUp("both", 2_000)
      const halves = Array.chunksOf(taken, 100)
      const settling = Effect.forEach(halves, (some, n) =>
        settle(some.map((one) => (n % 2 === 0 ? acknowledged(one) : again(one, one.position))))
      )
      const discarding = Effect.repeat(
        Effect.andThen(
          store.discard(id, 30),
          Effect.map(store.figures(id), (figures) => figures?.pending === 0)
        ),
        { until: (done) => done }
      )
      yield* Effect.all([settling, discarding], { concurrency: "unbounded" })
      const { pending = 0 } = (yield* store.figures(id)) ?? {}
      assert.strictEqual(yield* store.discard(id, 10_000), pending)
      assert.deepStrictEqual((yield* store.figures(id))?.pending, 0)
    })
  )

  it.live("a sweep waits for no settlement that removes attempts too, and leaves those that are not too old", () =>
    Effect.gen(function* () {
      const { id, settle, sql, store, taken } = yield* setUp("swept", 2, { lockTimeout: "200 millis" })
      const [a, b] = taken
      yield* store.open("swept", { outcomes: Duration.millis(300) })
      yield* settle([], { attempts: [attempt(a!, 1), attempt(b!, 1)] })
      yield* Effect.sleep("400 millis")
      yield* settle([], { attempts: [attempt(a!, 2)] })
      const remove = `DELETE FROM effect_events_attempts WHERE subscription = ${id} AND event = ${a!.position} AND at = 1`
      const end = yield* openTransaction(sql, sql.unsafe(remove))
      yield* store.sweep
      yield* end
      yield* store.sweep
      const kept = yield* Effect.forEach([a, b], (one) => stateOf(store, "swept", one))
      assert.deepStrictEqual(
        kept.map((one) => one?.attempts.length),
        [1, 0]
      )
    })
  )

  it.live("what is no position is that of no event, and what is no time is none", () =>
    Effect.gen(function* () {
      const { id, settle, store, taken } = yield* setUp("odd", 1)
      yield* settle(taken.map(dead))
      const count = (filter: DeadLetterFilter) => store.countDeadLetters(id, filter)
      for (const odd of [Number.NaN, Number.POSITIVE_INFINITY, 1.5, -1, 1e300]) {
        assert.strictEqual(yield* store.status("odd", odd), undefined)
        assert.deepStrictEqual([yield* store.replay(id, [odd]), yield* store.purge(id, [odd])], [0, 0])
        assert.strictEqual(yield* count({ position: odd }), 0)
      }
      assert.strictEqual(yield* count({ from: Number.NEGATIVE_INFINITY, to: Number.POSITIVE_INFINITY }), 1)
      assert.strictEqual(yield* count({ to: Number.NEGATIVE_INFINITY }), 0)
    })
  )

  it.live("a claim answers with the first lanes by their numbers, of however many", () =>
    Effect.gen(function* () {
      const { id, owner, store } = yield* setUp("lanes", 1)
      query(
        `INSERT INTO effect_events_delayed (subscription, position, lane, due_at, topic, payload, written_at)
          SELECT ${id}, 9000000 - n, n - 10, 1, '', 'x', 0 FROM generate_series(0, 69999) n`
      )
      yield* store.release(owner, "all")
      const next = yield* store.renew({ name: "next" }, hour)
      const [lease] = (yield* store.claim(next, [id], 1)).acquired
      assert.strictEqual(lease?.lanes.length, 65_536)
      assert.deepStrictEqual(lease?.lanes[0], { lane: -10, first: 9_000_000 })
      assert.strictEqual(lease?.lanes.at(-1)?.lane, 65_525)
    })
  )
})
