import { assert, it } from "@effect/vitest"
import { Array, Deferred, Duration, Effect, Exit, Fiber, Ref } from "effect"
import type { Claimed, Definition, Delivery, NewEvent, Operations, Settled } from "effect-events/durable/EventStore"
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
const textsOf = (taken: ReadonlyArray<Delivery> | undefined) => texts(taken ?? [])
const positionOf = (deliveries: ReadonlyArray<Delivery> | undefined, text: string): number =>
  deliveries?.find((one) => texts([one])[0] === text)?.position ?? -1
const acknowledged = (position: number, lane?: number): Settled => ({ _tag: "Acknowledged", position, lane })
const aside = (position: number, lane: number): Settled => ({ _tag: "Aside", position, lane })
const again = (position: number, lane: number, delay: Duration.Input, attempts = 1): Settled => ({
  _tag: "Again",
  position,
  lane,
  delay: Duration.fromInputUnsafe(delay),
  attempts
})
const dead = (position: number, lane?: number): Settled => ({
  _tag: "DeadLettered",
  position,
  lane,
  reason: "Exhausted",
  cause: "",
  attempts: 3
})

describePostgres("the port on Postgres", (server) => {
  const query = (text: string): string => server().psql(text)
  const rows = (table: string): number => Number(query(`SELECT count(*) FROM effect_events_${table}`))
  /** Claims with an owner of its own. */
  const claimer = Effect.fnUntraced(function* (store: Operations, name: string, ids: ReadonlyArray<number>) {
    const owner = yield* store.renew({ name }, hour)
    return { owner, claim: store.claim(owner, ids, 100) }
  })
  /** A transaction that is open, after what it did, until it is ended. */
  const open = Effect.fnUntraced(function* (
    process: Effect.Success<ReturnType<typeof openStore>>,
    work: Effect.Effect<unknown, unknown>
  ) {
    const done = yield* Deferred.make<void>()
    const end = yield* Deferred.make<void>()
    const fiber = yield* Effect.forkScoped(
      process.sql.withTransaction(
        Effect.gen(function* () {
          yield* work
          yield* Deferred.succeed(done, undefined)
          yield* Deferred.await(end)
        })
      )
    )
    yield* Effect.raceFirst(Deferred.await(done), Fiber.join(fiber))
    return Effect.andThen(Deferred.succeed(end, undefined), Fiber.join(fiber))
  })

  it.live("an event is for the subscriptions of its tenant whose patterns match, and is stored once", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { prefix: "matching_" })
      const of = (name: string, topics: Definition["topics"], tenant?: string): Definition => ({ name, topics, tenant })
      const defined = yield* store.define("matching", [
        of("all", ["*"]),
        of("orders", ["order/*", "other"]),
        of("placed", ["order/placed", "order/placed"]),
        of("deep", ["order/*", "order/placed/*"]),
        of("none", ["", "order", "/*", "*/*"]),
        of("all", ["*"], "other")
      ])
      const { acquired } = yield* (yield* claimer(
        store,
        "none",
        defined.map(({ id }) => id)
      )).claim
      assert.deepStrictEqual(acquired, [])
      const topics = [
        "",
        "order",
        "order/placed",
        "order/placed/late",
        "order/",
        "other",
        "orders/placed",
        "*",
        "order/*"
      ]
      const events = topics.map((topic): NewEvent => ({ payload: payload(topic), topic }))
      const [first = { payload: payload("") }, ...rest] = events
      const published = yield* store.publish("matching", [first, ...rest, { payload: payload("t"), tenant: "other" }])
      assert.deepStrictEqual(
        published?.map(({ matched }) => matched),
        [1, 2, 4, 3, 3, 2, 1, 1, 3, 1]
      )
      const positions = published?.map(({ position }) => position) ?? []
      assert.deepStrictEqual(
        positions,
        positions.toSorted((a, b) => a - b)
      )
      const { claim, owner } = yield* claimer(
        store,
        "matching",
        defined.map(({ id }) => id)
      )
      const got = new Map<string, ReadonlyArray<string>>()
      for (const lease of (yield* claim).acquired) {
        const name = defined.find(({ id }) => id === lease.subscription)
        const leased = leasedBy(store, owner, lease)
        const deliveries = (yield* leased.take()) ?? []
        got.set(`${name?.tenant}:${name?.name}`, texts(deliveries))
        assert.isTrue(deliveries.every(({ topic }) => topics.includes(topic)))
      }
      assert.deepStrictEqual(Object.fromEntries(got), {
        ":all": topics,
        ":orders": ["order/placed", "order/placed/late", "order/", "other", "order/*"],
        ":placed": ["order/placed"],
        ":deep": ["order/placed", "order/placed/late", "order/", "order/*"],
        ":none": ["order"],
        "other:all": ["t"]
      })
      // those of one subscription are in its delivery
      assert.strictEqual(query("SELECT count(*) FROM matching_events"), "6")
      assert.strictEqual(query("SELECT count(*) FROM matching_deliveries WHERE payload IS NOT NULL"), "4")
      const [none] = (yield* store.publish("matching", [{ payload: payload("x"), tenant: "another" }])) ?? []
      assert.strictEqual(none?.matched, 0)
      assert.strictEqual((yield* store.publish("absent", [{ payload: payload("x") }]))?.[0]?.matched, 0)
    })
  )

  it.live("an event of many is there until the last of them is done with it, dead letters too", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { prefix: "shared_" })
      const defined = yield* store.define("shared", [
        { name: "a", topics: ["*"] },
        { name: "b", topics: ["*"] }
      ])
      const events = Effect.sync(() => query("SELECT count(*) FROM shared_events"))
      const meta = { topic: "t", contentType: "text/plain", trace: "00-1-2-01" }
      yield* store.publish("shared", [{ payload: payload("x"), ...meta }])
      const { claim, owner } = yield* claimer(
        store,
        "shared",
        defined.map(({ id }) => id)
      )
      const [a, b] = (yield* claim).acquired.map((lease) => leasedBy(store, owner, lease))
      const [one] = (yield* a?.take() ?? Effect.void) ?? []
      assert.include(one, meta)
      assert.deepStrictEqual(yield* store.figures(a?.lease.subscription ?? 0), {
        pending: 1,
        bytes: 1,
        deadLetters: 0,
        owner: "shared"
      })
      yield* a?.settle([acknowledged(one?.position ?? 0)]) ?? Effect.void
      yield* store.sweep
      assert.strictEqual(yield* events, "1")
      yield* b?.settle([again(one?.position ?? 0, 1, 0)]) ?? Effect.void
      yield* store.sweep
      assert.include(((yield* b?.take() ?? Effect.void) ?? [])[0], { ...meta, attempts: 1, lane: 1 })
      yield* b?.settle([dead(one?.position ?? 0, 1)]) ?? Effect.void
      yield* store.sweep
      assert.strictEqual(yield* events, "1")
      const [letter] = yield* store.deadLetters(b?.lease.subscription ?? 0, { limit: 10 })
      assert.include(letter, meta)
      assert.deepStrictEqual(texts(letter === undefined ? [] : [letter]), ["x"])
      assert.strictEqual(yield* store.replay(b?.lease.subscription ?? 0, [letter?.position ?? 0]), 1)
      yield* store.sweep
      const [replayed] = (yield* b?.take() ?? Effect.void) ?? []
      assert.include(replayed, { ...meta, attempts: 3, lane: undefined, firstFailedAt: undefined })
      assert.isAbove(replayed?.position ?? 0, one?.position ?? 0)
      yield* b?.settle([acknowledged(replayed?.position ?? 0)]) ?? Effect.void
      assert.isFalse(yield* store.sweep)
      assert.strictEqual(yield* events, "0")
    })
  )

  it.live("an open transaction that has published keeps nothing else waiting, and its late commit comes first", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { lockTimeout: "200 millis" })
      const writer = yield* openStore(server())
      const definitions = Array.makeBy(10, (n) => ({ name: String(n), topics: ["*"] as const }))
      const ids = (yield* store.define("open", definitions)).map(({ id }) => id)
      const commit = yield* open(
        writer,
        writer.store.publish("open", [{ payload: payload("late") }], { rows: 100, bytes: 1_000 })
      )
      yield* store.publish("open", [{ payload: payload("1") }], { rows: 100, bytes: 1_000 })
      yield* store.define("open", definitions)
      const { claim, owner } = yield* claimer(store, "open", ids)
      const { acquired } = yield* claim
      assert.lengthOf(acquired, 10)
      const taken = yield* store.take(owner, [wanted(acquired[0]), ...acquired.slice(1).map(wanted)])
      assert.isTrue(taken.every(({ deliveries }) => textsOf(deliveries).join(" ") === "1"))
      const settlements = taken.map(({ deliveries, subscription }) => ({
        lease: acquired.find((lease) => lease.subscription === subscription) ?? { subscription, epoch: 0 },
        settled: deliveries.map(({ position }) => acknowledged(position))
      }))
      const [first, ...rest] = settlements
      assert.isDefined(first)
      if (first !== undefined) assert.deepStrictEqual(yield* store.settle(owner, [first, ...rest]), [])
      yield* store.setState({ exchange: "open", name: "9" }, "paused", "test")
      yield* store.renew(owner, hour)
      yield* store.sweep
      yield* store.release(owner, acquired.slice(0, 5))
      // nothing is due: it is not committed
      const idle = yield* claim
      assert.deepStrictEqual([idle.acquired, idle.woken], [[], []])
      yield* commit
      const late = yield* claim
      assert.sameMembers(
        late.acquired.map(({ subscription }) => subscription),
        ids.slice(0, 5)
      )
      // and not the paused one
      assert.sameMembers([...late.woken], ids.slice(5, 9))
      for (const lease of late.acquired) {
        const [one] = (yield* leasedBy(store, owner, lease).take()) ?? []
        assert.deepStrictEqual(texts(one === undefined ? [] : [one]), ["late"])
        assert.isBelow(one?.position ?? Infinity, taken[0]?.deliveries[0]?.position ?? 0)
      }
    })
  )
  const wanted = (lease: Claimed | undefined) => ({
    subscription: lease?.subscription ?? 0,
    epoch: lease?.epoch ?? 0,
    limits: all,
    except: [],
    busy: [],
    perLane: 1
  })

  it.live("takes of many leases at once, each within its own limits and without its own exceptions", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const ids = (yield* store.define("many", [
        { name: "a", topics: ["*"] },
        { name: "b", topics: ["*"] },
        { name: "c", topics: ["*"] }
      ])).map(({ id }) => id)
      const published = (yield* publish(store, "many", "1", "2", "3", "4")) ?? []
      const { claim, owner } = yield* claimer(store, "many", ids)
      const { acquired } = yield* claim
      const lease = (at: number) => acquired.find(({ subscription }) => subscription === ids[at])
      const taken = yield* store.take(owner, [
        { ...wanted(lease(0)), limits: { rows: 2, bytes: 100 }, except: [published[0]?.position ?? 0] },
        { ...wanted(lease(1)), limits: { rows: 10, bytes: 1 }, except: [published[1]?.position ?? 0] },
        { ...wanted(lease(2)), epoch: 99 }
      ])
      assert.deepStrictEqual(
        taken.map(({ deliveries, subscription }) => [ids.indexOf(subscription), textsOf(deliveries)]),
        [
          [0, ["2", "3"]],
          [1, ["1"]]
        ]
      )
    })
  )

  it.live("of a lane the first waits for its time, and the others for the first", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "lanes")
      yield* publish(store, "lanes", "a1", "b1", "a2", "a3", "b2", "c1")
      const { lease, owner, settle, take } = yield* leaseOf(store, "lanes")
      assert.deepStrictEqual(lease.lanes, [])
      const claim = Effect.map(store.claim(owner, [id], 1), ({ wait, woken }) => ({ wait, woken }))
      const first = yield* take()
      const at = (text: string) => positionOf(first, text)
      yield* settle([again(at("a1"), 7, "300 millis"), aside(at("a2"), 7), aside(at("a3"), 7), aside(at("b2"), -8)])
      // "b2" is the first of its lane, and due at once
      const soon = yield* take()
      assert.deepStrictEqual(textsOf(soon), ["b2", "b1", "c1"])
      assert.deepStrictEqual(
        soon?.map(({ lane }) => lane),
        [-8, undefined, undefined]
      )
      const { wait, woken } = yield* claim
      assert.deepStrictEqual(woken, [id])
      assert.isTrue(wait !== undefined && wait > 0 && wait <= 300)
      assert.deepStrictEqual((yield* claim).woken, [])
      yield* Effect.sleep("310 millis")
      assert.deepStrictEqual(yield* claim, { woken: [id], wait: undefined })
      const given = (options: Parameters<typeof take>[0]) => Effect.map(take(options), textsOf)
      const both = yield* given({})
      assert.sameMembers(both.slice(0, 4), ["a1", "a2", "a3", "b2"])
      assert.deepStrictEqual(
        both.filter((text) => text.startsWith("a")),
        ["a1", "a2", "a3"]
      )
      assert.deepStrictEqual(both.slice(4), ["b1", "c1"])
      assert.deepStrictEqual(yield* given({ busy: [-8], perLane: 2 }), ["a1", "a2", "b1", "c1"])
      assert.deepStrictEqual(yield* given({ busy: [-8], perLane: 1, except: [at("a1")] }), ["a2", "b1", "c1"])
      assert.deepStrictEqual(yield* given({ busy: [-8, 7] }), ["b1", "c1"])
      assert.deepStrictEqual(yield* given({ busy: [-8], limits: { rows: 2, bytes: 100 } }), ["a1", "a2"])
      assert.deepStrictEqual(yield* given({ busy: [-8], limits: { rows: 9, bytes: 5 } }), ["a1", "a2"])
      const [a1] = (yield* take({ busy: [-8] })) ?? []
      assert.strictEqual(a1?.attempts, 1)
      assert.isTrue(Math.abs((a1?.firstFailedAt ?? 0) - Date.now()) < 60_000)
      // it fails again: all of the lane waits, and the time of the first failure stays
      yield* settle([again(at("a1"), 7, "200 millis", 2)])
      assert.deepStrictEqual(yield* given({ busy: [-8] }), ["b1", "c1"])
      yield* Effect.sleep("210 millis")
      const [later] = (yield* take({ busy: [-8] })) ?? []
      assert.deepStrictEqual([later?.attempts, later?.firstFailedAt], [2, a1?.firstFailedAt])
      // the first is done with, and the next is due at once
      yield* claim
      yield* settle([dead(at("a1"), 7)])
      assert.deepStrictEqual((yield* claim).woken, [id])
      assert.deepStrictEqual(yield* given({ busy: [-8] }), ["a2", "a3", "b1", "c1"])
      yield* settle([acknowledged(at("a2"), 7), again(at("a3"), 7, "1 hour")])
      assert.deepStrictEqual(yield* given({ busy: [-8] }), ["b1", "c1"])
      const bounds = yield* store.bounds([id, id + 1_000])
      assert.deepStrictEqual(bounds, [{ subscription: id, first: at("b1"), last: at("c1"), isComing: false }])
      assert.deepStrictEqual(yield* store.figures(id), { pending: 4, bytes: 8, deadLetters: 1, owner: "lanes" })
      // another process gets the lanes
      yield* store.release(owner, "all")
      const other = yield* leaseOf(store, "lanes")
      assert.sameMembers(
        other.lease.lanes.map(({ lane }) => lane),
        [7, -8]
      )
      yield* other.settle([
        acknowledged(at("b2"), -8),
        acknowledged(at("a3"), 7),
        acknowledged(at("b1")),
        acknowledged(at("c1"))
      ])
      assert.deepStrictEqual(yield* store.bounds([id]), [])
    })
  )

  it.live("a late event that stands before the first of its lane is the first, and due at once", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const writer = yield* openStore(server())
      const { id } = yield* define(store, "displaced")
      const commit = yield* open(writer, publish(writer.store, "displaced", "early"))
      yield* publish(store, "displaced", "1", "2")
      const { owner, settle, take } = yield* leaseOf(store, "displaced")
      const taken = yield* take()
      yield* settle([again(positionOf(taken, "1"), 5, "1 hour"), aside(positionOf(taken, "2"), 5)])
      yield* commit
      assert.deepStrictEqual((yield* store.claim(owner, [id], 1)).woken, [id])
      const early = positionOf(yield* take(), "early")
      yield* settle([aside(early, 5)])
      assert.deepStrictEqual(textsOf(yield* take()), ["early", "1", "2"])
      yield* settle([again(early, 5, "1 hour")])
      assert.deepStrictEqual(textsOf(yield* take()), [])
      yield* settle([acknowledged(early, 5)])
      // the time of the one that was first before was given up with its place
      assert.deepStrictEqual(textsOf(yield* take()), ["1", "2"])
    })
  )

  it.live("what is settled out of its lane's order leaves the first its time", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* define(store, "out of order")
      yield* publish(store, "out of order", "1", "2", "3")
      const { settle, take } = yield* leaseOf(store, "out of order")
      const taken = yield* take()
      const at = (text: string) => positionOf(taken, text)
      yield* settle([aside(at("1"), 5), aside(at("2"), 5), aside(at("3"), 5)])
      yield* settle([again(at("1"), 5, "1 hour")])
      yield* settle([acknowledged(at("2"), 5)])
      assert.deepStrictEqual(textsOf(yield* take()), [])
      yield* settle([
        acknowledged(at("1"), 5),
        acknowledged(at("1"), 5),
        acknowledged(1e9, 5),
        aside(1e9, 6),
        again(1e9, 6, 0)
      ])
      assert.deepStrictEqual(textsOf(yield* take()), ["3"])
    })
  )

  it.live("settlements of one lane that wait for each other leave it a first that is due", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server(), { lockTimeout: "20 seconds" })
      const other = yield* openStore(server())
      const { id } = yield* define(store, "at once")
      yield* publish(store, "at once", "1", "2", "3", "4")
      const { settle, take } = yield* leaseOf(store, "at once")
      const taken = yield* take()
      const at = (text: string) => positionOf(taken, text)
      yield* settle(["1", "2", "3", "4"].map((text) => aside(at(text), 5)))
      const settling = yield* other.sql.withTransaction(
        Effect.gen(function* () {
          yield* other.sql.unsafe("SELECT FROM effect_events_leases WHERE subscription = $1::bigint FOR UPDATE", [id])
          const settling = yield* Effect.forEach(
            [acknowledged(at("1"), 5), acknowledged(at("2"), 5), again(at("3"), 5, 0)],
            (one) => Effect.forkChild(settle([one]))
          )
          yield* Effect.repeat(
            Effect.sync(() => query("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")),
            { until: (count) => count === "3" }
          )
          return settling
        })
      )
      for (const one of settling) assert.deepStrictEqual(yield* Fiber.join(one), [])
      assert.deepStrictEqual(textsOf(yield* take()), ["3", "4"])
      assert.strictEqual(
        query(`SELECT count(*) FROM effect_events_delayed WHERE subscription = ${id} AND due_at IS NOT NULL`),
        "1"
      )
    })
  )

  it.live("while the whole subscription waits nothing of it is given, to this process or another", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "waits")
      yield* publish(store, "waits", "1", "2", "3")
      const { owner, settle, take } = yield* leaseOf(store, "waits")
      const taken = yield* take()
      yield* settle([aside(positionOf(taken, "2"), 5)])
      yield* settle([], { delay: Duration.millis(500), attempts: 1 })
      const claim = Effect.map(store.claim(owner, [id], 1), ({ wait, woken }) => ({ wait, woken }))
      assert.deepStrictEqual(yield* take(), [])
      // neither an arrival nor a lane pulls it forward
      yield* publish(store, "waits", "4")
      yield* settle([acknowledged(positionOf(taken, "2"), 5), aside(positionOf(taken, "3"), 6)])
      const { wait, woken } = yield* claim
      assert.deepStrictEqual(woken, [])
      assert.isTrue(wait !== undefined && wait > 0 && wait <= 500)
      yield* store.release(owner, "all")
      const other = yield* claimer(store, "other", [id])
      const waiting = yield* other.claim
      assert.deepStrictEqual(waiting.acquired, [])
      assert.isTrue(waiting.wait !== undefined && waiting.wait > 0 && waiting.wait <= 500)
      yield* Effect.sleep(waiting.wait ?? 0)
      const [lease] = (yield* Effect.repeat(other.claim, { until: ({ acquired }) => acquired.length > 0 })).acquired
      assert.strictEqual(lease?.attempts, 1)
      const leased = leasedBy(
        store,
        other.owner,
        lease ?? {
          subscription: id,
          epoch: 0,
          attempts: 0,
          firstFailedAt: undefined,
          failingSince: undefined,
          lanes: []
        }
      )
      assert.deepStrictEqual(textsOf(yield* leased.take()), ["3", "1", "4"])
      yield* leased.settle([], { delay: Duration.minutes(1), attempts: 2 })
      assert.deepStrictEqual(yield* leased.take(), [])
      // `attempts` of 0 ends it
      yield* leased.settle([acknowledged(positionOf(taken, "1"))], { delay: Duration.zero, attempts: 0 })
      assert.deepStrictEqual((yield* other.claim).woken, [id])
      assert.deepStrictEqual(textsOf(yield* leased.take()), ["3", "4"])
      yield* leased.settle([], { delay: Duration.minutes(1), attempts: 1 })
      // and so does a state
      yield* store.setState({ exchange: "waits" }, "active", undefined)
      assert.deepStrictEqual((yield* other.claim).woken, [id])
      assert.deepStrictEqual(textsOf(yield* leased.take()), ["3", "4"])
      const again = yield* leaseOfReleased(store, other.owner, "waits")
      assert.deepStrictEqual([again.attempts, again.firstFailedAt], [0, undefined])
    })
  )
  const leaseOfReleased = Effect.fnUntraced(function* (
    store: Operations,
    owner: { readonly id: number; readonly name: string },
    exchange: string
  ) {
    yield* store.release(owner, "all")
    return (yield* leaseOf(store, exchange)).lease
  })

  it.live("one that is not active is not delivered and keeps what comes; what is in flight may be settled", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const ids = (yield* store.define("states", [
        { name: "a", topics: ["*"] },
        { name: "b", topics: ["*"], tenant: "t" }
      ])).map(({ id }) => id)
      const [a = 0] = ids
      yield* publish(store, "states", "1", "2")
      const { claim, owner } = yield* claimer(store, "states", ids)
      const [lease] = (yield* claim).acquired
      const leased = leasedBy(
        store,
        owner,
        lease ?? {
          subscription: a,
          epoch: 0,
          attempts: 0,
          firstFailedAt: undefined,
          failingSince: undefined,
          lanes: []
        }
      )
      const [one] = (yield* leased.take()) ?? []
      assert.strictEqual(yield* store.setState({ exchange: "states", tenant: "" }, "disabled", "410 Gone\0"), 1)
      assert.strictEqual(yield* store.setState({ exchange: "states", name: "absent" }, "paused", undefined), 0)
      const [disabled] = yield* store.list({ exchange: "states", name: "a" })
      assert.include(disabled, { state: "disabled", reason: "410 Gone\uFFFD" })
      assert.isUndefined(yield* leased.take())
      assert.deepStrictEqual(yield* leased.settle([acknowledged(one?.position ?? 0)]), [])
      yield* publish(store, "states", "3")
      assert.deepStrictEqual((yield* claim).woken, [])
      yield* store.release(owner, "all")
      const other = yield* claimer(store, "other", ids)
      assert.deepStrictEqual((yield* other.claim).acquired, [])
      const since = (yield* store.list({ exchange: "states", name: "a" }))[0]?.since
      yield* store.setState({ exchange: "states" }, "disabled", "again")
      assert.strictEqual((yield* store.list({ exchange: "states", name: "a" }))[0]?.since, since)
      assert.strictEqual(yield* store.setState({ exchange: "states" }, "active", undefined), 2)
      const active = (yield* other.claim).acquired.find(({ subscription }) => subscription === a)
      assert.deepStrictEqual(
        textsOf(
          yield* leasedBy(
            store,
            other.owner,
            active ?? {
              subscription: a,
              epoch: 0,
              attempts: 0,
              firstFailedAt: undefined,
              failingSince: undefined,
              lanes: []
            }
          ).take()
        ),
        ["2", "3"]
      )
    })
  )

  it.live("what is released is due at once if anything is stored, and not at all if not", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const { id } = yield* define(store, "released")
      yield* publish(store, "released", "1")
      const { acknowledge, lease, owner, take } = yield* leaseOf(store, "released")
      const other = yield* claimer(store, "other", [id])
      const acquired = Effect.map(other.claim, ({ acquired }) => acquired.length)
      yield* store.release(owner, [{ ...lease, epoch: 99 }])
      assert.strictEqual(yield* acquired, 0)
      yield* store.release(owner, [lease])
      assert.strictEqual(yield* acquired, 1)
      yield* store.release(other.owner, "all")
      // its owner is gone
      assert.strictEqual(yield* acquired, 0)
      const [again] = (yield* store.claim(owner, [id], 1)).acquired
      assert.isDefined(again)
      if (again === undefined) return
      yield* acknowledge((yield* take()) ?? [])
      const leased = leasedBy(store, owner, again)
      yield* leased.acknowledge((yield* leased.take()) ?? [])
      yield* store.release(owner, "all")
      assert.notStrictEqual((yield* store.renew(owner, hour)).id, owner.id)
      const last = yield* claimer(store, "last", [id])
      assert.deepStrictEqual(yield* last.claim, { acquired: [], woken: [], inactive: [], wait: undefined })
      yield* publish(store, "released", "2")
      assert.lengthOf((yield* last.claim).acquired, 1)
    })
  )

  it.live("a claim acquires no more than its limit, of those given, free, active and due", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const defined = yield* store.define("limited", [
        { name: "0", topics: ["*"] },
        ...Array.makeBy(9, (n) => ({ name: String(n + 1), topics: ["*"] as const }))
      ])
      const ids = defined.map(({ id }) => id)
      yield* publish(store, "limited", "1")
      const first = yield* store.renew({ name: "first" }, Duration.seconds(3))
      const second = yield* store.renew({ name: "second" }, hour)
      const subscriptions = (claimed: { readonly acquired: ReadonlyArray<Claimed> }) =>
        claimed.acquired.map(({ subscription }) => subscription)
      const three = subscriptions(yield* store.claim(first, ids.slice(0, 8), 3))
      assert.lengthOf(three, 3)
      const others = subscriptions(yield* store.claim(second, ids.slice(0, 8), 100))
      assert.sameMembers([...three, ...others], ids.slice(0, 8))
      const { acquired, wait, woken } = yield* store.claim(second, ids.slice(0, 8), 100)
      assert.deepStrictEqual([...acquired, ...woken], [])
      // until the other's time is over
      assert.isTrue(wait !== undefined && wait > 0 && wait <= 3_000)
      yield* Effect.sleep("3100 millis")
      // all that the owner had whose time is over, and those that were free
      const two = subscriptions(yield* store.claim(second, ids, 2))
      const rest = subscriptions(yield* store.claim(second, ids, 100))
      assert.lengthOf(two, 2)
      assert.sameMembers([...two, ...rest], [...three, ...ids.slice(8)])
    })
  )

  it.live("no arrival is slept through, whichever process claims it, while leases change hands", () =>
    Effect.gen(function* () {
      const processes = yield* Effect.all(
        Array.makeBy(3, () => openStore(server(), { changes: "poll" }, { maxConnections: 4 }))
      )
      const spare = yield* openStore(server(), { changes: "poll" })
      const stores = processes.map(({ store }) => store)
      const [store] = stores
      assert.isDefined(store)
      if (store === undefined) return
      const ids = (yield* store.define("awake", [
        { name: "0", topics: ["*"] },
        { name: "1", topics: ["*"] },
        { name: "2", topics: ["*"] }
      ])).map(({ id }) => id)
      const count = 300
      const got = new Map<number, Array<string>>(ids.map((id) => [id, []]))
      const published = yield* Ref.make(0)
      const isDone = () => ids.every((id) => got.get(id)?.length === count)
      /** A lease that is free and due, which its release notifies of. */
      const isReleased = Effect.map(
        spare.sql.unsafe("SELECT FROM effect_events_leases WHERE owner IS NULL AND active AND ready_at < 9e18"),
        (free) => free.length > 0
      )
      /** Claims again only when its claim said so, or something was published or released since. */
      const deliver = (store: Operations, seed: number) =>
        Effect.gen(function* () {
          const owner = yield* store.renew({ name: String(seed) }, hour)
          const leases = new Map<number, Claimed>()
          for (let turn = 0; !isDone(); turn++) {
            const before = yield* Ref.get(published)
            const { acquired, wait = Infinity, woken } = yield* store.claim(owner, ids, 1 + (turn % 3))
            for (const lease of acquired) leases.set(lease.subscription, lease)
            const awake = [...acquired.map(({ subscription }) => subscription), ...woken]
            for (const id of awake) {
              const lease = leases.get(id)
              assert.isDefined(lease)
              if (lease === undefined) continue
              const leased = leasedBy(store, owner, lease)
              for (;;) {
                const deliveries = (yield* leased.take({ limits: { rows: 7, bytes: 1_000 } })) ?? []
                if (deliveries.length === 0) break
                assert.deepStrictEqual(yield* leased.acknowledge(deliveries), [])
                got.get(id)?.push(...texts(deliveries))
              }
              if ((turn + seed) % 4 === 0) {
                leases.delete(id)
                yield* store.release(owner, [lease])
              }
            }
            if (awake.length > 0) continue
            const isTold = Effect.gen(function* () {
              return isDone() || (yield* Ref.get(published)) > before || (yield* isReleased)
            })
            yield* Effect.raceFirst(
              Effect.sleep(wait),
              Effect.repeat(Effect.delay(isTold, "2 millis"), { until: Boolean })
            )
          }
        })
      const writing = yield* Effect.forkChild(
        Effect.forEach(
          Array.range(1, count),
          (n) =>
            Effect.gen(function* () {
              const writer = stores[n % 3] ?? store
              yield* publish(writer, "awake", String(n))
              yield* Ref.update(published, (before) => before + 1)
              if (n % 7 === 0) yield* Effect.sleep(n % 5)
            }),
          { discard: true }
        )
      )
      yield* Effect.timeout(
        Effect.all(
          stores.map((store, seed) => deliver(store, seed)),
          { concurrency: "unbounded" }
        ),
        "100 seconds"
      )
      yield* Fiber.join(writing)
      for (const id of ids) assert.deepStrictEqual(got.get(id), Array.map(Array.range(1, count), String))
    })
  )

  it.live("limits are those of each subscription that matches", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const defined = yield* store.define("each", [
        { name: "all", topics: ["*"] },
        { name: "a", topics: ["a"] },
        { name: "b", topics: ["b"] }
      ])
      const write = (...topics: readonly [string, ...Array<string>]) =>
        Effect.map(
          store.publish(
            "each",
            Array.map(topics, (topic) => ({ payload: payload("12345"), topic })),
            { rows: 4, bytes: 20 }
          ),
          (published) => published?.length
        )
      assert.strictEqual(yield* write("a", "a"), 2)
      assert.strictEqual(yield* write("b"), 1)
      assert.isUndefined(yield* write("a", "b"))
      assert.strictEqual(yield* write("a"), 1)
      assert.isUndefined(yield* write("b"))
      const { claim, owner } = yield* claimer(
        store,
        "each",
        defined.map(({ id }) => id)
      )
      const lease = (yield* claim).acquired.find(({ subscription }) => subscription === defined[0]?.id)
      assert.isDefined(lease)
      if (lease === undefined) return
      const leased = leasedBy(store, owner, lease)
      const deliveries = (yield* leased.take()) ?? []
      // set aside it is still pending
      yield* leased.settle([aside(deliveries[0]?.position ?? 0, 1)])
      assert.isUndefined(yield* write("b"))
      yield* leased.settle([dead(deliveries[0]?.position ?? 0, 1), acknowledged(deliveries[1]?.position ?? 0)])
      assert.strictEqual(yield* write("b"), 1)
      assert.strictEqual(yield* write("c"), 1)
      assert.isUndefined(yield* write("c"))
    })
  )

  it.live(
    "retained events are for a subscription that starts with the oldest, in their places, with those of late commits",
    () =>
      Effect.gen(function* () {
        const { store } = yield* openStore(server(), { prefix: "retained_" })
        const writer = yield* openStore(server(), { prefix: "retained_" })
        yield* store.open("retained", { retention: hour })
        const before = yield* define(store, "retained", { name: "before" })
        assert.strictEqual((yield* publish(store, "retained", "1"))?.[0]?.matched, 1)
        const commit = yield* open(writer, publish(writer.store, "retained", "late"))
        const rollback = yield* open(
          writer,
          Effect.andThen(
            publish(writer.store, "retained", "never"),
            Effect.sync(() => {})
          )
        )
        void rollback
        yield* store.publish("retained", [
          { payload: payload("2"), topic: "a/b" },
          { payload: payload("other"), tenant: "t" }
        ])
        const lease = Effect.fnUntraced(function* (id: number) {
          const { claim, owner } = yield* claimer(store, String(id), [id])
          const [claimed] = (yield* claim).acquired
          if (claimed === undefined) return yield* Effect.die("nothing is due")
          return leasedBy(store, owner, claimed)
        })
        const [all, some, now] = yield* store.define("retained", [
          { name: "all", topics: ["*"], start: "oldest" },
          { name: "some", topics: ["a/*", "c"], start: "oldest" },
          { name: "now", topics: ["*"] }
        ])
        const ids = [all, some, now].map((one) => one?.id ?? 0)
        yield* store.publish("retained", [{ payload: payload("3"), topic: "c" }])
        const first = yield* lease(ids[0] ?? 0)
        assert.deepStrictEqual(textsOf(yield* first.take()), ["1", "2", "3"])
        assert.deepStrictEqual(textsOf(yield* (yield* lease(ids[1] ?? 0)).take()), ["2", "3"])
        assert.deepStrictEqual(textsOf(yield* (yield* lease(ids[2] ?? 0)).take()), ["3"])
        const old = yield* lease(before.id)
        assert.deepStrictEqual(textsOf(yield* old.take()), ["1", "2", "3"])
        // what is done with stays done with
        yield* first.acknowledge((yield* first.take()) ?? [])
        yield* old.acknowledge((yield* old.take()) ?? [])
        yield* commit
        const sweep = Effect.repeat(store.sweep, { until: (more) => !more })
        yield* sweep
        assert.deepStrictEqual(textsOf(yield* old.take()), ["late"])
        yield* Effect.exit(rollback)
        yield* Effect.sleep("1100 millis")
        yield* sweep
        assert.deepStrictEqual((yield* store.claim(first.owner, ids, 10)).woken, [ids[0] ?? 0])
        assert.deepStrictEqual(textsOf(yield* first.take()), ["late", "never"])
        // a fill that is over is kept for a minute
        yield* sweep
        assert.strictEqual(query("SELECT count(*) FROM retained_fills"), "2")
        query("UPDATE retained_fills SET since = since - 61000")
        yield* sweep
        assert.strictEqual(query("SELECT count(*) FROM retained_fills"), "0")
        // acknowledged by all, and retained
        assert.strictEqual(query("SELECT count(*) FROM retained_events"), "6")
        yield* store.open("retained", { retention: Duration.millis(1) })
        yield* Effect.sleep("5 millis")
        const [none] = yield* store.define("retained", [{ name: "none", topics: ["*"], start: "oldest" }])
        assert.strictEqual((yield* store.figures(none?.id ?? 0))?.pending, 0)
        yield* store.open("retained", { retention: Duration.zero })
        yield* first.acknowledge((yield* first.take()) ?? [])
        yield* store.drop({ exchange: "retained" })
        yield* sweep
        yield* sweep
        assert.strictEqual(query("SELECT count(*) FROM retained_events"), "0")
      })
  )

  it.live("what a later pass fills in is taken, though all before it was taken and settled", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const writer = yield* openStore(server())
      yield* store.open("refilled", { retention: hour })
      const commit = yield* open(writer, publish(writer.store, "refilled", "late"))
      const { id } = yield* define(store, "refilled", { start: "oldest" })
      const events = Array.makeBy(2_500, (n): NewEvent => ({ payload: payload(String(n)) }))
      yield* store.publish("refilled", events)
      const owner = yield* store.renew({ name: "refilled" }, hour)
      const [claimed] = (yield* store.claim(owner, [id], 1)).acquired
      if (claimed === undefined) return yield* Effect.die("nothing is due")
      const leased = leasedBy(store, owner, claimed)
      const takeAll = Effect.repeat(
        Effect.flatMap(leased.take(), (taken = []) => Effect.as(leased.acknowledge(taken), taken.length)),
        { until: (n) => n === 0 }
      )
      yield* takeAll
      // the position of the open transaction is below what is settled, and in doubt until it has ended
      yield* commit
      yield* leased.take()
      // from here on a take begins behind it
      yield* store.publish("refilled", events)
      yield* takeAll
      query("UPDATE effect_events_fills SET since = since - 2000")
      // another process's
      yield* Effect.repeat(writer.store.sweep, { until: (more) => !more })
      assert.deepStrictEqual((yield* store.claim(owner, [id], 1)).woken, [id])
      assert.deepStrictEqual(textsOf(yield* leased.take()), ["late"])
    })
  )

  it.live("what was published while a definition waited is filled in when its transaction commits", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const writer = yield* openStore(server())
      const locker = yield* openStore(server())
      yield* store.open("waited", { retention: hour })
      const locked = yield* define(store, "waited", { name: "locked" })
      const unlock = yield* open(
        locker,
        locker.sql`SELECT FROM effect_events_subscriptions WHERE id = ${locked.id} FOR UPDATE`
      )
      const defining = yield* Effect.forkChild(
        store.define("waited", [
          { name: "locked", topics: ["*"] },
          { name: "oldest", topics: ["*"], start: "oldest" }
        ])
      )
      const waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
      yield* Effect.repeat(
        Effect.sync(() => query(waiting)),
        { until: (n) => n === "1" }
      )
      // its transaction is younger than that of the definition, which it does not see
      const commit = yield* open(writer, publish(writer.store, "waited", "late"))
      yield* unlock
      const [, oldest] = yield* Fiber.join(defining)
      const sweep = Effect.suspend(() => {
        query("UPDATE effect_events_fills SET since = since - 2000 WHERE position = 0")
        return Effect.repeat(store.sweep, { until: (more) => !more })
      })
      yield* sweep
      yield* commit
      yield* sweep
      assert.strictEqual((yield* store.figures(oldest?.id ?? 0))?.pending, 1)
    })
  )

  it.live("a fill of many events comes batch by batch", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      yield* store.open("filled", { retention: hour })
      const events = Array.makeBy(1_000, (n): NewEvent => ({ payload: payload(String(n)) }))
      for (let n = 0; n < 25; n++) yield* store.publish("filled", events)
      const [one] = yield* store.define("filled", [{ name: "a", topics: ["*"], start: "oldest" }])
      assert.strictEqual((yield* store.figures(one?.id ?? 0))?.pending, 25_000)
      // it is not new any more
      yield* store.define("filled", [{ name: "a", topics: ["*"], start: "oldest" }])
      assert.strictEqual((yield* store.figures(one?.id ?? 0))?.pending, 25_000)
    })
  )

  it.live("a change of topics holds for what is published after it", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const write = store.publish("topics", [
        { payload: payload("a"), topic: "a" },
        { payload: payload("b"), topic: "b" }
      ])
      const before = yield* define(store, "topics", { topics: ["a", "c"], data: payload("data") })
      yield* write
      const after = yield* define(store, "topics", { topics: ["b"] })
      assert.deepStrictEqual(after, { ...before, topics: ["b"], data: undefined })
      yield* write
      assert.deepStrictEqual(textsOf(yield* (yield* leaseOf(store, "topics")).take()), ["a", "b"])
      const twice = yield* store.define("topics", [
        { name: "x", topics: ["a"] },
        { name: "y", topics: ["a"] },
        { name: "x", topics: ["b"] }
      ])
      assert.deepStrictEqual(
        twice.map(({ name, topics }) => [name, ...topics]),
        [
          ["x", "b"],
          ["y", "a"],
          ["x", "b"]
        ]
      )
      // many processes at once end with the topics of one of them
      yield* Effect.forEach(
        Array.range(1, 20),
        (n) =>
          store.define("topics", [
            { name: "z", topics: [`t${n}`] },
            { name: "x", topics: ["b"] }
          ]),
        { concurrency: 10 }
      )
      const [z] = yield* store.list({ exchange: "topics", name: "z" })
      assert.strictEqual(
        query(`SELECT string_agg(pattern, ' ') FROM effect_events_routes WHERE subscription = ${z?.id}`),
        z?.topics.join(" ")
      )
    })
  )

  it.live("a drop takes all with it, also what a transaction left that was open then", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const writer = yield* openStore(server())
      const { id } = yield* define(store, "dropped")
      yield* define(store, "dropped", { name: "stays" })
      yield* publish(store, "dropped", "1", "2", "3")
      const { claim, owner } = yield* claimer(store, "dropped", [id])
      const [lease] = (yield* claim).acquired
      const leased = leasedBy(
        store,
        owner,
        lease ?? {
          subscription: id,
          epoch: 0,
          attempts: 0,
          firstFailedAt: undefined,
          failingSince: undefined,
          lanes: []
        }
      )
      const taken = (yield* leased.take()) ?? []
      yield* leased.settle([dead(taken[0]?.position ?? 0), again(taken[1]?.position ?? 0, 1, hour)])
      const commit = yield* open(writer, publish(writer.store, "dropped", "orphan"))
      assert.strictEqual(yield* store.drop({ exchange: "dropped", name: "only" }), 2)
      assert.strictEqual(yield* store.drop({ exchange: "dropped", name: "only" }), 0)
      assert.isUndefined(yield* store.figures(id))
      assert.deepStrictEqual(yield* store.deadLetters(id, { limit: 10 }), [])
      assert.strictEqual(yield* store.replay(id, [taken[0]?.position ?? 0]), 0)
      assert.strictEqual(yield* store.purge(id, [taken[0]?.position ?? 0]), 0)
      assert.deepStrictEqual(yield* store.bounds([id]), [])
      assert.isUndefined(yield* leased.take())
      assert.deepStrictEqual(yield* leased.settle([acknowledged(taken[2]?.position ?? 0)]), [id])
      // one of the same name is another
      const again_ = yield* define(store, "dropped")
      assert.notStrictEqual(again_.id, id)
      yield* Effect.sleep("1100 millis")
      const sweep = Effect.repeat(store.sweep, { until: (more) => !more })
      yield* sweep
      yield* commit
      const left = (table: string) => query(`SELECT count(*) FROM effect_events_${table} WHERE subscription = ${id}`)
      assert.strictEqual(left("deliveries"), "1")
      assert.strictEqual(left("dropped"), "1")
      yield* sweep
      yield* sweep
      for (const table of ["deliveries", "delayed", "dead_letters", "leases", "routes", "dropped"]) {
        assert.strictEqual(left(table), "0", table)
      }
      assert.strictEqual((yield* store.figures(again_.id))?.pending, 0)
      const [stays] = yield* store.list({ exchange: "dropped", name: "stays" })
      assert.strictEqual((yield* store.figures(stays?.id ?? 0))?.pending, 4)
    })
  )

  it.live("owners that are gone are swept a minute later", () =>
    Effect.gen(function* () {
      const { store } = yield* openStore(server())
      const before = rows("owners")
      const owner = yield* store.renew({ name: "swept" }, Duration.millis(1))
      yield* store.release(owner, "all")
      yield* store.sweep
      assert.strictEqual(rows("owners"), before + 1)
      query(`UPDATE effect_events_owners SET renewed_at = 0, expires_at = 1 WHERE id = ${owner.id}`)
      yield* store.sweep
      assert.strictEqual(rows("owners"), before)
    })
  )

  it.live("a publish in a transaction that rolls back leaves no arrival, and no room taken", () =>
    Effect.gen(function* () {
      const { sql, store } = yield* openStore(server())
      const { id } = yield* define(store, "rolled back")
      const write = store.publish("rolled back", [{ payload: payload("x") }], { rows: 1, bytes: 100 })
      const exit = yield* Effect.exit(sql.withTransaction(Effect.andThen(write, Effect.fail("no" as const))))
      assert.isTrue(Exit.isFailure(exit))
      assert.deepStrictEqual((yield* (yield* claimer(store, "rolled back", [id])).claim).acquired, [])
      assert.lengthOf((yield* write) ?? [], 1)
      assert.isUndefined(yield* write)
    })
  )
})
