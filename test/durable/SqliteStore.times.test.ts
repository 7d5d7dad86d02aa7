/** What a SQLite store does with times, ids and outcomes that the laws cannot see: its rows, its commits, and large numbers. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Stream } from "effect"
import { TestClock } from "effect/testing"
import type * as EventStore from "effect-events/durable/EventStore"
import { settle } from "../support/virtual.ts"
import {
  again,
  beside,
  commits,
  dead,
  define,
  done,
  event,
  file,
  hour,
  open,
  publish,
  rowsOf,
  text,
  worker
} from "./support/sqliteFile.ts"

const after = (seconds: number): Pick<EventStore.NewEvent, "due"> => ({ due: { after: Duration.seconds(seconds) } })
const many = (count: number, of: (n: number) => Partial<EventStore.NewEvent> = () => ({})) =>
  [event("0"), ...Array.from({ length: count - 1 }, (_, n) => event(`${n + 1}`))].map((one, n) => ({
    ...one,
    ...of(n)
  })) as unknown as readonly [EventStore.NewEvent]

/** How often the store has something to sweep. */
const sweepAll = (store: EventStore.Operations) =>
  Effect.gen(function* () {
    let sweeps = 1
    while (yield* store.sweep) sweeps++
    return sweeps
  })

describe("events with a time of their own", () => {
  it.effect("are one event for all their subscriptions, which leaves with the last of its uses", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [a = 0, b = 0] = yield* define(store, 2)
      yield* store.open("e", { retention: hour })
      yield* store.publish("e", [{ ...event("later"), ...after(10) }])
      yield* store.publish("e", [{ ...event("to none", "x"), ...after(10), tenant: "t" }])
      const db = yield* beside(filename)
      assert.deepStrictEqual(rowsOf(db), { events: 1, uses: 1, scheduled: 2 })
      yield* TestClock.adjust("10 seconds")
      const one = yield* worker(store, [a, b])
      assert.deepStrictEqual(rowsOf(db), { events: 1, uses: 1, deliveries: 2 })
      yield* one.settle(a, ...(yield* one.take(a)).map(done))
      yield* one.settle(b, ...(yield* one.take(b)).map(dead))
      assert.deepStrictEqual(rowsOf(db), { events: 1, uses: 1, dead_letters: 1 })
      yield* store.purge(b, [(yield* store.deadLetters(b, { limit: 1 }))[0]!.position])
      assert.deepStrictEqual(rowsOf(db), {})
    })
  )

  it.effect("come due a thousand at a claim, in the order of their times, and the next claim is at once", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [a = 0, b = 0] = yield* define(store, 2)
      // The last is due first.
      yield* store.publish(
        "e",
        many(1_250, (n) => after(1_250 - n))
      )
      yield* store.publish("e", [{ ...event("last"), ...after(5_000) }])
      const owner = yield* store.renew({ name: "one" }, Duration.infinity)
      yield* TestClock.adjust(2_000_000)
      const db = yield* beside(filename)
      const counts: Array<unknown> = []
      const claim = store.claim(owner, [], 9)
      for (let n = 0; n < 4; n++) {
        const { wait } = yield* claim
        counts.push([wait, rowsOf(db)["deliveries"]])
      }
      const left = 5_000_000 - 2_000_000
      assert.deepStrictEqual(counts, [
        [0, 1_000],
        [0, 2_000],
        [left, 2_500],
        [left, 2_500]
      ])
      const before = commits(filename)
      yield* claim
      assert.strictEqual(commits(filename), before)
      const one = yield* worker(store, [a, b])
      for (const id of [a, b]) {
        const all = yield* one.take(id)
        assert.deepStrictEqual(
          all.map(text),
          Array.from({ length: 1_250 }, (_, n) => `${1_249 - n}`)
        )
      }
      assert.strictEqual(yield* store.drop({ exchange: "e" }), 2_502)
      yield* sweepAll(store)
      assert.deepStrictEqual(rowsOf(db), {})
    })
  )

  it.effect("of a subscription that was dropped are no reason to claim", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* define(store, 1)
      yield* store.publish("e", [{ ...event("later"), ...after(10) }])
      const owner = yield* store.renew({ name: "one" }, hour)
      assert.strictEqual((yield* store.claim(owner, [], 9)).wait, 10_000)
      assert.strictEqual(yield* store.drop({ exchange: "e" }), 1)
      assert.strictEqual((yield* store.claim(owner, [], 9)).wait, undefined)
      yield* TestClock.adjust("10 seconds")
      yield* store.claim(owner, [], 9)
      assert.deepStrictEqual(rowsOf(yield* beside(filename)), { events: 1, uses: 1, scheduled: 1, dropped: 1 })
    })
  )

  it.effect("keep the first of their times, whatever is published, discarded and put to its place", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [a = 0] = yield* define(store, 1)
      const owner = yield* store.renew({ name: "one" }, hour)
      const wait = Effect.map(store.claim(owner, [], 9), ({ wait }) => wait)
      const next = Effect.map(store.overview({ exchange: "e" }), ([one]) => one?.nextDue)
      for (const seconds of [20, 30, 10]) yield* store.publish("e", [{ ...event(`${seconds}`), ...after(seconds) }])
      assert.deepStrictEqual([yield* wait, yield* next], [10_000, 10_000])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(yield* store.bounds([a]), [{ subscription: a, first: 3, last: 3, isComing: true }])
      assert.deepStrictEqual([yield* wait, yield* next], [10_000, 20_000])
      assert.deepStrictEqual(yield* store.bounds([a]), [{ subscription: a, first: 4, last: 4, isComing: false }])
      assert.strictEqual(yield* store.discard(a, 2), 2)
      assert.deepStrictEqual([yield* wait, yield* next], [20_000, 30_000])
      assert.deepStrictEqual(yield* store.bounds([a]), [])
      assert.strictEqual(yield* store.discard(a, Number.POSITIVE_INFINITY), 1)
      assert.deepStrictEqual([yield* wait, yield* next], [undefined, undefined])
    })
  )

  it.effect("are at once where their time is past, or no integer in the future", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [a = 0] = yield* define(store, 1)
      yield* TestClock.adjust(1_000)
      const times = [1_000, 0, -1, Number.NEGATIVE_INFINITY, 1_000.5, Number.POSITIVE_INFINITY]
      yield* store.publish(
        "e",
        many(times.length, (n) => ({ due: { at: times[n]! } }))
      )
      const db = yield* beside(filename)
      assert.deepStrictEqual(rowsOf(db), { events: 2, uses: 2, deliveries: 4, scheduled: 2 })
      yield* TestClock.adjust(1)
      const one = yield* worker(store, [a])
      assert.deepStrictEqual((yield* one.take(a)).map(text), ["0", "1", "2", "3", "4"])
    })
  )

  it.effect("wake the owner that has the lease when another one finds them due, and are a change", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [a = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      const one = yield* worker(store, [a])
      assert.deepStrictEqual(yield* one.woken, [])
      yield* store.publish("e", [{ ...event("later"), ...after(10) }])
      assert.deepStrictEqual(yield* one.woken, [])
      yield* TestClock.adjust("10 seconds")
      let changes = 0
      yield* Effect.forkScoped(Stream.runForEach(store.changes, () => Effect.sync(() => changes++)))
      yield* settle
      const other = yield* store.renew({ name: "other" }, hour)
      assert.strictEqual(changes, 1)
      for (let n = 0; n < 2; n++) {
        assert.deepStrictEqual((yield* store.claim(other, [], 9)).woken, [])
        yield* settle
        assert.strictEqual(changes, 2)
      }
      assert.deepStrictEqual(yield* one.woken, [a])
    })
  )
})

describe("ids", () => {
  it.effect("outlive the exchange's subscriptions, and are swept some at a time when their time is over", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* store.open("e", { deduplication: Duration.seconds(60) })
      yield* define(store, 1)
      const all = many(2_500, (n) => ({ id: `${n}` }))
      yield* store.publish("e", all)
      yield* store.drop({ exchange: "e" })
      yield* sweepAll(store)
      const db = yield* beside(filename)
      assert.deepStrictEqual(rowsOf(db), { ids: 2_500 })
      const [id = 0] = yield* define(store, 1)
      const found = yield* store.publish("e", [{ ...event("again"), id: "7" }])
      assert.deepStrictEqual(found, [{ position: 8, matched: 0, isDuplicate: true }])
      assert.deepStrictEqual(yield* store.bounds([id]), [])
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual(yield* sweepAll(store), 1)
      assert.deepStrictEqual(rowsOf(db), { ids: 2_500 })
      yield* TestClock.adjust("1 seconds")
      assert.isAtLeast(yield* sweepAll(store), 3)
      assert.deepStrictEqual(rowsOf(db), {})
    })
  )

  it.effect("cost no row without a window, and duplicates take no position and no room", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [id = 0] = yield* define(store, 1)
      const limits = { rows: 2, bytes: 100 }
      yield* store.publish("e", [{ ...event("a"), id: "a" }])
      const db = yield* beside(filename)
      assert.deepStrictEqual(rowsOf(db), { deliveries: 1 })
      yield* store.open("e", { deduplication: hour })
      const b = { ...event("b"), id: "b" }
      assert.deepStrictEqual(yield* store.publish("e", [b, b, b], limits), [
        { position: 2, matched: 1 },
        { position: 2, matched: 0, isDuplicate: true },
        { position: 2, matched: 0, isDuplicate: true }
      ])
      // It is full.
      assert.strictEqual((yield* store.publish("e", [b], limits))?.[0]?.position, 2)
      assert.strictEqual(yield* store.publish("e", [b, { ...event("c"), id: "c" }], limits), undefined)
      assert.deepStrictEqual(rowsOf(db), { deliveries: 2, ids: 1 })
      assert.deepStrictEqual(yield* store.publish("e", [{ ...event("c"), id: "c" }]), [{ position: 3, matched: 1 }])
      assert.strictEqual((yield* store.figures(id))?.pending, 3)
    })
  )
})

describe("outcomes", () => {
  const attempt = ({ position }: { readonly position: number }) => ({ position, at: 1, took: 2, error: "no" })

  it.effect("cost no row of an exchange that keeps none", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a", "b")
      const one = yield* worker(store, [id])
      const [a, b] = yield* one.take(id)
      const lease = { subscription: id, epoch: 1 }
      yield* store.settle(one.owner, [{ lease, settled: [done(a!)], attempts: [attempt(a!), attempt(b!)] }])
      assert.strictEqual(yield* store.discard(id, 9), 1)
      assert.deepStrictEqual(rowsOf(yield* beside(filename)), {})
    })
  )

  it.effect("are kept of runs, replayed and scheduled ones included, and are swept some at a time", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* store.open("e", { outcomes: Duration.seconds(60) })
      const [a = 0, b = 0] = yield* define(store, 2)
      yield* store.publish("e", [{ ...event("later", "x"), ...after(1) }, event("dead", "y"), ...many(2_498)])
      yield* TestClock.adjust("1 seconds")
      const one = yield* worker(store, [a, b])
      const lease = { subscription: a, epoch: 1 }
      const [letter] = yield* one.take(a)
      yield* one.settle(a, dead(letter!))
      yield* store.replay(a, [letter!.position])
      const all = yield* one.take(a)
      yield* store.settle(one.owner, [{ lease, settled: all.map(done), attempts: all.map(attempt) }])
      const db = yield* beside(filename)
      const kept = { outcomes: 2_500, attempts: 2_500 }
      assert.deepStrictEqual(rowsOf(db), { events: 2_500, uses: 2_500, deliveries: 2_500, ...kept })
      for (const [position, topic] of [
        [1, "x"],
        [2, "y"],
        [3, ""]
      ] as const) {
        const status = yield* store.status("e", position)
        assert.deepStrictEqual(status, {
          position,
          topic,
          writtenAt: 0,
          deliveries: [
            {
              subscription: "0",
              state: { _tag: "Delivered", at: 1_000 },
              attempts: [{ at: 1, took: 2, error: "no", detail: undefined }]
            },
            { subscription: "1", state: { _tag: "Pending", failed: 0, nextAt: undefined }, attempts: [] }
          ]
        })
      }
      // The positions that they have got are those of no event.
      assert.strictEqual(yield* store.status("e", all.at(-1)!.position), undefined)
      assert.strictEqual(yield* store.discard(b, Number.POSITIVE_INFINITY), 2_500)
      assert.deepStrictEqual(rowsOf(db), { outcomes: 5_000, attempts: 2_500 })
      yield* TestClock.adjust("59 seconds")
      yield* sweepAll(store)
      assert.deepStrictEqual(rowsOf(db), { outcomes: 5_000, attempts: 2_500 })
      yield* TestClock.adjust("1 seconds")
      assert.isAtLeast(yield* sweepAll(store), 6)
      assert.deepStrictEqual(rowsOf(db), {})
    })
  )

  it.effect("of a subscription that was dropped are swept with it, and those of others stay", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      yield* store.open("e", { outcomes: hour })
      const [a = 0, b = 0] = yield* define(store, 2)
      yield* store.publish("e", many(1_500))
      const one = yield* worker(store, [a, b])
      for (const [subscription, epoch] of [
        [a, 1],
        [b, 1]
      ] as const) {
        const all = yield* one.take(subscription)
        const lease = { subscription, epoch }
        yield* store.settle(one.owner, [{ lease, settled: all.map(done), attempts: all.map(attempt) }])
      }
      yield* store.drop({ exchange: "e", name: "0" })
      assert.isAtLeast(yield* sweepAll(store), 3)
      assert.deepStrictEqual(rowsOf(yield* beside(filename)), { outcomes: 1_500, attempts: 1_500 })
    })
  )

  it.effect("are kept of subscriptions from when their exchange keeps them", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [a = 0] = yield* define(store, 1)
      yield* store.define("other", [{ name: "0", topics: ["*"] }])
      yield* publish(store, "a", "b", "c")
      const one = yield* worker(store, [a])
      const db = yield* beside(filename)
      const outcomes: Array<unknown> = []
      for (const time of [undefined, hour, Duration.zero]) {
        yield* store.open("e", { outcomes: time })
        yield* store.open("e")
        yield* one.settle(a, ...(yield* one.take(a)).slice(0, 1).map(done))
        outcomes.push(rowsOf(db)["outcomes"])
      }
      assert.deepStrictEqual(outcomes, [undefined, 1, 1])
    })
  )
})

describe("the status of an event", () => {
  it.effect("follows it to the later positions that it gets, in a lane and among the dead letters", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a", "b")
      const one = yield* worker(store, [id])
      const state = Effect.map(store.status("e", 1), (status) => status?.deliveries[0]?.state)
      const position = Effect.map(one.take(id), (all) => all.find((each) => text(each) === "a"))
      yield* one.settle(id, dead((yield* position)!))
      yield* store.replay(id, [1])
      assert.deepStrictEqual(yield* state, { _tag: "Pending", failed: 1, nextAt: undefined })
      const moved = (yield* position)!
      assert.strictEqual(moved.position, 3)
      yield* one.settle(id, again(moved, 7, 30))
      assert.deepStrictEqual(yield* state, { _tag: "Pending", failed: 1, nextAt: 30_000 })
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* state, { _tag: "Pending", failed: 1, nextAt: undefined })
      yield* one.settle(id, dead({ position: 3, lane: 7 }))
      const letter = { at: 30_000, failed: 1, reason: "Failed", cause: "no" } as const
      assert.deepStrictEqual(yield* state, { _tag: "DeadLettered", ...letter })
      assert.strictEqual(yield* store.status("e", 3), undefined)
      assert.strictEqual(yield* store.status("e", 1.5), undefined)
      assert.strictEqual(yield* store.status("none", 1), undefined)
    })
  )
})

it.effect("a claim answers the first 65,536 lanes by their numbers, whatever is behind the first of each", () =>
  Effect.gen(function* () {
    const filename = yield* file
    const store = yield* open(filename)
    const [id = 0] = yield* define(store, 1)
    yield* publish(store, "a", "b", "c")
    const one = yield* worker(store, [id])
    const [a, b] = yield* one.take(id)
    yield* one.settle(id, again(a!, 5, 0), { _tag: "Aside", position: b!.position, lane: 5 })
    const db = yield* beside(filename)
    const insert = `INSERT INTO delayed (id, subscription, lane, event, due_at, attempts)
      SELECT (${id} << 42) + 1000 + n, ${id}, 65600 - n, 1, n, 1 FROM
      (WITH RECURSIVE all_n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM all_n LIMIT 65590) SELECT n FROM all_n)`
    db.exec(insert)
    yield* store.release(one.owner, "all")
    const next = yield* store.renew({ name: "next" }, hour)
    const { acquired } = yield* store.claim(next, [id], 1)
    const lanes = acquired[0]?.lanes ?? []
    assert.strictEqual(lanes.length, 65_536)
    assert.deepStrictEqual([lanes[0], lanes.at(-1)?.lane], [{ lane: 5, first: 1 }, 65_545])
  })
)
