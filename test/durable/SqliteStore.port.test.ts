/** What a SQLite store does within its file that the laws of stores cannot see: its commits, its times and what it gives. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { EventSink } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import * as EventStore from "effect-events/durable/EventStore"
import {
  again,
  beside,
  commits,
  define,
  done,
  event,
  file,
  hour,
  open,
  publish,
  text,
  worker
} from "./support/sqliteFile.ts"

describe("a change", () => {
  /** What a listener is given after each step, once it listens. */
  const changesAfter = Effect.fnUntraced(function* (
    store: EventStore.Operations,
    ...steps: ReadonlyArray<Effect.Effect<unknown, unknown>>
  ) {
    const found = yield* Queue.unbounded<EventStore.Change>()
    yield* Effect.forkScoped(Stream.runForEach(store.changes, (change) => Queue.offer(found, change)))
    yield* Queue.take(found)
    return yield* Effect.forEach(steps, (step) => Effect.andThen(step, Queue.take(found)))
  })

  it.effect("is a settlement where nothing else was committed", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      const one = yield* worker(store, [id])
      const settle = Effect.flatMap(one.take(id), (all) => one.settle(id, ...all.map(done)))
      const release = store.release(one.owner, "all")
      const found = yield* changesAfter(store, settle, publish(store, "b"), settle, release)
      assert.deepStrictEqual(found, ["settled", undefined, "settled", undefined])
    })
  )

  it.effect("is anything where a settlement shares its commit with a publish, whichever is first", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      yield* publish(store, "b")
      const one = yield* worker(store, [id])
      const [a, b] = yield* one.take(id)
      const both = (...all: ReadonlyArray<Effect.Effect<unknown, unknown>>) =>
        Effect.all(all, { concurrency: "unbounded" })
      const found = yield* changesAfter(
        store,
        both(one.settle(id, done(a!)), publish(store, "c")),
        both(publish(store, "d"), one.settle(id, done(b!)))
      )
      assert.deepStrictEqual(found, [undefined, undefined])
    })
  )

  it.live("that is a settlement is followed by no take", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      let [takes, claims] = [0, 0]
      const counting: EventStore.Operations = {
        ...store,
        claim: (owner, ids, limit) => Effect.suspend(() => store.claim(owner, ids, (claims++, limit))),
        take: (owner, wanted) => Effect.suspend(() => store.take(owner, (takes++, wanted)))
      }
      const queue = yield* EventSink.make((_: string) => Effect.void).pipe(
        DurableQueue.make({ name: "orders", schema: Schema.String }),
        Effect.provideService(EventStore.EventStore, counting)
      )
      const one = Effect.andThen(queue.write("a"), queue.flush)
      // The first claim, and its take, come with the beginning.
      yield* one
      yield* Effect.sleep("300 millis")
      ;[takes, claims] = [0, 0]
      for (let n = 0; n < 5; n++) yield* one
      yield* Effect.sleep("300 millis")
      // One for each arrival, and one for each claim that comes by its time.
      assert.isAtMost(takes, 5 + claims)
    })
  )
})

describe("a claim", () => {
  it.effect("commits nothing when there is nothing but arrivals for the leases that are held", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      const one = yield* worker(store, [id])
      for (let n = 0; n < 5; n++) {
        yield* publish(store, "b")
        const before = commits(filename)
        assert.deepStrictEqual(yield* one.woken, [id])
        assert.deepStrictEqual(yield* one.woken, [])
        assert.strictEqual(commits(filename), before)
      }
    })
  )

  it.effect("that fails has reported nothing: the next one does", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename, 0)
      const [a = 0, b = 0] = yield* define(store, 2)
      yield* publish(store, "a")
      const one = yield* worker(store, [a])
      yield* publish(store, "b")
      const db = yield* beside(filename)
      // It has to write, since the other subscription is free and due.
      db.exec("BEGIN IMMEDIATE")
      const claim = store.claim(one.owner, [a, b], 2)
      assert.strictEqual((yield* Effect.flip(claim)).problem, "Locked")
      db.exec("ROLLBACK")
      const { acquired, woken } = yield* claim
      assert.deepStrictEqual([acquired.map(({ subscription }) => subscription), woken], [[b], [a]])
    })
  )

  it.effect("that shares a commit with a publish reports it, or leaves it to the next, by their order", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [a = 0, b = 0, c = 0] = yield* define(store, 3)
      yield* publish(store, "1")
      const one = yield* worker(store, [a])
      const claim = (id: number) => store.claim(one.owner, [id], 1)
      const [, after] = yield* Effect.all([publish(store, "2"), claim(b)], { concurrency: "unbounded" })
      assert.deepStrictEqual([after.acquired.length, after.woken], [1, [a]])
      const [before] = yield* Effect.all([claim(c), publish(store, "3")], { concurrency: "unbounded" })
      assert.deepStrictEqual([before.acquired.length, before.woken], [1, []])
      assert.sameMembers([...(yield* one.woken)], [a, b, c])
      assert.deepStrictEqual(yield* one.woken, [])
    })
  )

  it.effect("among many subscriptions begins with what has been due for longest, and passes the others over", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const ids = yield* define(store, 100)
      const [own, foreign] = [ids.slice(0, 80), ids.slice(80)]
      yield* store.setState({ exchange: "e" }, "paused", "later")
      yield* publish(store, "a")
      // The last become due first, and those of others before all.
      for (const name of [...foreign, ...own.toReversed()].map((id) => `${ids.indexOf(id)}`)) {
        yield* store.setState({ exchange: "e", name }, "active", undefined)
        yield* TestClock.adjust(1)
      }
      const owner = yield* store.renew({ name: "one" }, hour)
      const acquired = (limit: number) =>
        Effect.map(store.claim(owner, own, limit), ({ acquired }) => acquired.map(({ subscription }) => subscription))
      assert.deepStrictEqual(yield* acquired(30), own.slice(50).toReversed())
      assert.deepStrictEqual(yield* acquired(50), own.slice(0, 50).toReversed())
      assert.deepStrictEqual(yield* acquired(50), [])
    })
  )

  it.effect("of many leases does not pass over the same ones for ever, and misses nothing that comes due", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const store = yield* open(filename)
      const ids = yield* define(store, 100)
      const [first = 0, second = 0] = ids
      yield* publish(store, "a", "b")
      const one = yield* worker(store, ids)
      const [a, b] = yield* one.take(first)
      yield* one.settle(first, again(a!, 1, 60), again(b!, 2, 90))
      const { wait, woken } = yield* one.claim
      assert.deepStrictEqual([wait, woken], [60_000, []])
      // All that were passed over are marked by then.
      const db = yield* beside(filename)
      const due = db.prepare("SELECT count(*) AS n FROM leases WHERE due_at <= 0").get()?.["n"]
      assert.strictEqual(due, 0)
      const before = commits(filename)
      for (let n = 0; n < 3; n++) assert.strictEqual((yield* one.claim).wait, 60_000)
      assert.strictEqual(commits(filename), before)
      yield* publish(store, "c")
      assert.sameMembers([...(yield* one.woken)], [...ids])
      yield* TestClock.adjust("60 seconds")
      const next = yield* one.claim
      assert.deepStrictEqual([next.woken, next.wait], [[first], 30_000])
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(yield* one.woken, [first])
      assert.deepStrictEqual((yield* one.take(first)).map(text), ["a", "b", "c"])
      assert.deepStrictEqual((yield* one.take(second)).map(text), ["a", "b", "c"])
    })
  )
})

describe("the time until a claim may find something", () => {
  it.effect("is that of a free subscription that waits, among few and among many", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const ids = yield* define(store, 40)
      yield* publish(store, "a")
      const one = yield* worker(store, ids)
      const settlements = ids.map((subscription, i) => ({
        lease: { subscription, epoch: 1 },
        settled: [],
        wait: { delay: Duration.seconds(60 + i), attempts: 1 }
      }))
      yield* store.settle(one.owner, [settlements[0]!, ...settlements.slice(1)])
      yield* store.release(one.owner, "all")
      const other = yield* store.renew({ name: "other" }, hour)
      const claim = (some: ReadonlyArray<number>) =>
        Effect.map(store.claim(other, some, 9), ({ acquired, wait }) => [acquired.length, wait])
      assert.deepStrictEqual(yield* claim(ids), [0, 60_000])
      assert.deepStrictEqual(yield* claim(ids.slice(7, 9)), [0, 67_000])
      yield* TestClock.adjust("68 seconds")
      assert.deepStrictEqual(yield* claim(ids.slice(7)), [2, 1_000])
    })
  )

  it.effect("is that of the first partition of a free subscription with nothing else", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a", "b")
      const one = yield* worker(store, [id])
      const [a, b] = yield* one.take(id)
      yield* one.settle(id, again(a!, 1, 60), again(b!, 2, 30))
      yield* store.release(one.owner, "all")
      const other = yield* store.renew({ name: "other" }, hour)
      const claim = store.claim(other, [id], 1)
      assert.deepStrictEqual(yield* claim, { acquired: [], woken: [], inactive: [], wait: 30_000 })
      yield* TestClock.adjust("30 seconds")
      const { acquired, wait } = yield* claim
      assert.deepStrictEqual([acquired[0]?.lanes.map(({ lane }) => lane), wait], [[1, 2], 30_000])
    })
  )

  it.effect("is over when the clock was set back meanwhile", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a")
      yield* TestClock.setTime(10_000)
      const one = yield* worker(store, [id])
      assert.deepStrictEqual(yield* one.woken, [])
      const [a] = yield* one.take(id)
      yield* TestClock.setTime(5_000)
      yield* one.settle(id, again(a!, 1, 1))
      yield* TestClock.setTime(6_000)
      assert.deepStrictEqual(yield* one.woken, [id])
      assert.deepStrictEqual(yield* one.woken, [])
    })
  )
})

it.effect("events of one batch go by their own tenant and topic", () =>
  Effect.gen(function* () {
    const store = yield* open(yield* file)
    const definition = { name: "s", topics: ["c", "bc"] } as const
    const [one, two] = yield* store.define("e", [
      { ...definition, tenant: "a" },
      { ...definition, tenant: "ab" }
    ])
    const batch = [
      { ...event("1", "bc"), tenant: "a" },
      { ...event("2", "c"), tenant: "ab" },
      { ...event("3", "bc"), tenant: "a" }
    ] as const
    yield* store.publish("e", batch)
    // The same of those that are retained.
    yield* store.open("f", { retention: hour })
    yield* store.publish("f", batch)
    const [three] = yield* store.define("f", [{ ...definition, tenant: "ab", start: "oldest" }])
    const ids = [one, two, three].map((found) => found?.id ?? 0)
    const owner = yield* worker(store, ids)
    const found = yield* Effect.forEach(ids, (id) => owner.take(id))
    assert.deepStrictEqual(
      found.map((deliveries) => deliveries.map(text)),
      [["1", "3"], ["2"], ["2"]]
    )
  })
)

it.effect("a subscription that is brought to the state it has is in it since before", () =>
  Effect.gen(function* () {
    const store = yield* open(yield* file)
    yield* define(store, 1)
    const set = (state: EventStore.State) =>
      Effect.andThen(TestClock.adjust("1 seconds"), store.setState({ exchange: "e" }, state, state))
    const since = Effect.map(store.list({ exchange: "e" }), ([one]) => [one?.since, one?.reason])
    assert.deepStrictEqual(yield* since, [0, undefined])
    yield* set("active")
    assert.deepStrictEqual(yield* since, [0, "active"])
    yield* set("paused")
    yield* set("paused")
    assert.deepStrictEqual(yield* since, [2_000, "paused"])
  })
)

describe("a take", () => {
  it.effect("gives what is between and behind what is excepted", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
      const one = yield* worker(store, [id])
      const all = (yield* one.take(id)).map(({ position }) => position)
      const expect = (expected: string, ...except: ReadonlyArray<number>) =>
        Effect.map(one.take(id, { except: except.map((i) => all[i]!), limits: { rows: 4, bytes: 4 } }), (found) =>
          assert.strictEqual(found.map(text).join(""), expected)
        )
      yield* expect("0123")
      yield* expect("4567", 0, 1, 2, 3)
      yield* expect("0145", 7, 3, 2, 6)
      yield* expect("89", 0, 1, 2, 3, 4, 5, 6, 7)
      yield* expect("1357", 0, 2, 4, 6, 8)
    })
  )

  it.effect("says whether its limits have left out more that is due", () =>
    Effect.gen(function* () {
      const store = yield* open(yield* file)
      const [id = 0] = yield* define(store, 1)
      yield* publish(store, "a", "b", "c", "d")
      const one = yield* worker(store, [id])
      const [a, b] = yield* one.take(id)
      yield* one.settle(id, again(a!, 1, 0), again(b!, 2, 60))
      const [lease] = [(yield* store.figures(id))?.pending]
      assert.strictEqual(lease, 4)
      const taken = (rows: number, bytes: number) =>
        Effect.map(
          store.take(one.owner, [
            { subscription: id, epoch: 1, limits: { rows, bytes }, except: [], busy: [], perLane: 9 }
          ]),
          ([answer]) => [answer?.deliveries.map(text).join(""), answer?.more]
        )
      assert.deepStrictEqual(yield* taken(1, 9), ["a", true])
      assert.deepStrictEqual(yield* taken(2, 9), ["ac", true])
      assert.deepStrictEqual(yield* taken(3, 9), ["acd", false])
      assert.deepStrictEqual(yield* taken(9, 2), ["ac", true])
      assert.deepStrictEqual(yield* taken(9, 3), ["acd", false])
      assert.deepStrictEqual(yield* taken(9, 0), ["a", true])
      assert.deepStrictEqual(yield* taken(0, 9), ["a", true])
    })
  )
})

it.effect("a clock of fractions of milliseconds is one of milliseconds", () =>
  Effect.gen(function* () {
    const store = yield* open(yield* file)
    yield* TestClock.adjust("1500 micros")
    const [id = 0] = yield* define(store, 1)
    yield* publish(store, "a")
    const one = yield* worker(store, [id])
    const [a] = yield* one.take(id)
    assert.strictEqual(a?.writtenAt, 1)
    yield* one.settle(id, again(a!, 1, 0, Duration.micros(500n)))
    assert.strictEqual((yield* one.claim).wait, 1)
  })
)
