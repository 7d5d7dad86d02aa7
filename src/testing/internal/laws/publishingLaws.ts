/** The laws of what is published: its bytes, its subscriptions, its limits, transactions and retention. 1 to 6. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import type { Limits, NewEvent, Operations, SubscriptionId } from "../../../durable/EventStore.ts"
import { ensure, expectSame, names, nonEmpty, show } from "./expectations.ts"
import { acknowledged, again, aside, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { contents, define, events, hour, infinite, positions, publish, texts, withHeld } from "./storeWorker.ts"
import { exchange, type Law, law, watch, withHandles, withStore } from "./storeWorld.ts"

const noise = (length: number): Uint8Array => Uint8Array.from({ length }, (_, i) => (i * i * 31 + i * 7) % 251)

/** Bytes that have been lost before: none, zeros, all there are, a mebibyte, a piece of a larger buffer. */
const anyBytes = nonEmpty([
  ...[[], [0], [0, 0, 0], Array.from({ length: 256 }, (_, i) => i), [0xff, 0xfe, 0x00, 0xc0, 0x80]].map(
    (bytes) => new Uint8Array(bytes)
  ),
  noise(1024 * 1024),
  noise(100).subarray(10, 20),
  new Uint8Array(0)
])
const anyName = [...`a,A,a , a,a'b,a"b,a%,a_,a\\,á,a\u0301,名前,😀,1,01`.split(","), "x".repeat(200)]
/** What is published beside the bytes. */
const anyFacts: ReadonlyArray<Omit<NewEvent, "payload">> = [
  { topic: "order/new", contentType: "text/plain; charset=utf-8", trace: "00-4bf92f3577b34da6-00f067aa0ba902b7-01" },
  { topic: "名前/😀'%", trace: "t" },
  { topic: "", contentType: "application/xml" }
]

/** Patterns, with topics that match and topics that do not. */
const patterns: ReadonlyArray<readonly [patterns: string, match: string, others: string]> = [
  ["*", ",order,order/new,Order/new,o%/x", ""],
  ["order", "order", ",order/,order/new,orders,Order"],
  ["order/*", "order/,order/new,order/new/eu,order/*", ",order,orders/new,Order/new,reorder/new"],
  ["order/new/*", "order/new/eu", "order/new,order/*,order/newer/eu"],
  ["o%/*", "o%/x", "order/new,ox/x"],
  ["o_/*", "o_/x", "ox/x,o%/x"],
  ["order*", "order*", "order,orders,order/new"],
  ["orders,order/*,order/new", "orders,order/new", ",ox/x"]
]

export const publishingLaws: ReadonlyArray<Law> = [
  law(1, "a batch is published as it is, in order, whole or not at all", {
    "any bytes, for one subscription and for two": withHeld([], function* ({ settle, store, take }) {
      for (const name of ["s", "another"]) {
        yield* define(store, { name })
        const published = yield* store.publish(exchange, nonEmpty(anyBytes.map((payload) => ({ payload }))))
        const deliveries = yield* take()
        expectSame(positions(published ?? []), positions(deliveries), "the positions")
        const at = deliveries.findIndex(({ payload }, i) => !sameBytes(payload, anyBytes[i]))
        ensure(at < 0, () => `payload ${at} of ${anyBytes[at]?.length} bytes is not what was published`)
        const isAscending = positions(deliveries).every((one, i, all) => i === 0 || one > (all[i - 1] ?? infinite))
        ensure(isAscending, () => `positions do not grow: ${show(positions(deliveries))}`)
        yield* settle(...deliveries.map(acknowledged))
      }
    }),
    "bytes that change after they were published": withHeld([], function* ({ store, take }) {
      const payload = Uint8Array.of(1, 2, 3)
      yield* store.publish(exchange, [{ payload }])
      payload.fill(9)
      for (const _ of "12") {
        const given = (yield* take())[0]?.payload
        ensure(sameBytes(given, Uint8Array.of(1, 2, 3)), () => "the payload has changed")
        given?.fill(9)
      }
    }),
    "what is published with them": withHeld([], function* ({ deadLetters, settle, store, take }, { sleep }) {
      const found = (all: typeof anyFacts) => all.map(({ contentType, topic, trace }) => [topic, contentType, trace])
      for (const name of ["s", "another"]) {
        yield* define(store, { name })
        yield* store.publish(exchange, nonEmpty(anyFacts.map((one) => ({ ...one, payload: new Uint8Array(1) }))))
        yield* sleep(20)
      }
      const deliveries = yield* take()
      yield* settle(...deliveries.map((one) => dead(one)))
      for (const all of [deliveries, yield* deadLetters])
        expectSame(found(all), [...found(anyFacts), ...found(anyFacts)], "topics, content types and traces")
      const isNew = deliveries.every((one) => one.attempts === 0 && one.firstFailedAt === undefined)
      ensure(isNew, () => "an event that was never delivered has attempts")
      const [times, set] = [deliveries.map(({ writtenAt }) => writtenAt), deliveries.length / 2]
      ensure(times[0] === times[set - 1] && times[0]! < times[set]!, () => `20 ms apart, written at ${show(times)}`)
    }),
    "batches, small and large": withHeld(["a-1"], function* ({ expect, send }) {
      const [b, c] = [names("b", 1, 3000), names("c", 1, 7)]
      for (const batch of [b, c]) yield* send(...batch)
      yield* expect(["a-1", ...b, ...c], "after three batches")
    }),
    "an interrupted publish": withHeld([], function* ({ send, take }, { sleep }) {
      const succeeded = new Set<number>()
      for (let round = 1; round <= 20; round++) {
        const fiber = yield* Effect.forkChild(send(...names(`${round}`, 1, 50)))
        for (let n = yield* Random.nextIntBetween(0, 12); n > 0; n--) yield* Effect.yieldNow
        if (yield* Random.nextBoolean) yield* sleep(1)
        yield* Fiber.interrupt(fiber)
        if (Exit.isSuccess(yield* Fiber.await(fiber))) succeeded.add(round)
      }
      const found = texts(yield* take())
      for (let round = 1; round <= 20; round++) {
        const batch = names(`${round}`, 1, 50)
        const count = found.filter((one) => one.startsWith(`${round}-`)).length
        ensure(count === 50 || !succeeded.has(round), () => `round ${round} had succeeded, and is not there`)
        if (count === 0) continue
        const from = found.indexOf(batch[0])
        expectSame(found.slice(from, from + Math.max(50, count)), batch, `the batch of round ${round}`)
      }
    })
  }),
  law(2, "an event is stored for each subscription whose exchange, tenant and topics match, and for no other", {
    patterns: withStore(function* (store) {
      const topics = [...new Set(patterns.flatMap(([, yes, no]) => [...listOf(yes), ...listOf(no)]))]
      const of = (all: string) => define(store, { name: all, topics: nonEmpty(listOf(all)) })
      const ids = yield* Effect.forEach(patterns, ([all]) => of(all))
      const published = yield* store.publish(exchange, nonEmpty(topics.flatMap((topic) => events([topic], { topic }))))
      const matched = new Map(topics.map((topic) => [topic, 0]))
      for (const [i, [pattern, yes, no]] of patterns.entries()) {
        const found = texts(yield* contents(store, ids[i]!))
        for (const topic of found) matched.set(topic, matched.get(topic)! + 1)
        const isFound = (topic: string) => found.includes(topic)
        const wrong = [...listOf(yes).filter((topic) => !isFound(topic)), ...listOf(no).filter(isFound)]
        expectSame(wrong, [], `topics that ${show(pattern)} takes wrong`)
        expectSame(found.length, new Set(found).size, `the number of events of ${show(pattern)}`)
      }
      const counts = published?.map(({ matched }) => matched)
      expectSame(counts, [...matched.values()], `for how many each is of ${show(topics)}`)
    }),
    "names of all kinds": withStore(function* (store) {
      const all: Array<readonly [SubscriptionId, string]> = []
      const add = (what: string, name: string, options: Parameters<typeof define>[1], at?: string) =>
        Effect.map(define(store, options, at), (id) => all.push([id, `${what} ${name}`]))
      for (const name of anyName) {
        yield* store.open(name)
        yield* add("exchange", name, {}, name)
        yield* add("tenant", name, { tenant: name })
        yield* add("topic", name, { tenant: "topics", name: `of ${name}`, topics: [name] })
        yield* add("name", name, { tenant: "names", name, topics: [name] })
      }
      for (const name of anyName) {
        yield* store.publish(name, events([`exchange ${name}`]))
        yield* publish(store, [`tenant ${name}`], { tenant: name })
        yield* publish(store, [`topic ${name}`], { tenant: "topics", topic: name })
        yield* publish(store, [`name ${name}`], { tenant: "names", topic: name })
      }
      const [none] = yield* publish(store, ["none"], { tenant: "names" })
      expectSame(none?.matched, 0, "for how many one is stored that none matches")
      for (const [id, expected] of all) expectSame(texts(yield* contents(store, id)), [expected], "contents")
    })
  }),
  law(3, "define makes subscriptions, and brings those of the same tenant and name to their definitions", {
    "names and topics with half a character": withStore(function* (store) {
      const [name, tenant, topic] = ["\ud800", "\udc00", "half/\ud83d"]
      const matched = Effect.map(store.publish(exchange, events(["1"], { tenant, topic })), (all) => all?.[0]?.matched)
      const id = yield* define(store, { name, tenant, topics: [topic] })
      expectSame(yield* matched, 1, "for how many it is stored")
      expectSame(yield* define(store, { name, tenant, topics: ["other"] }), id, "the id of one that is there")
      expectSame(yield* matched, 0, "for how many it is stored, with other topics")
    }),
    "other topics": withHeld(["before"], function* ({ expect, id, send, store }) {
      const data = Uint8Array.of(0, 255, 0)
      expectSame(yield* define(store, { topics: ["order/*"], data }), id, "the id of one that is there")
      yield* send("not any more")
      yield* publish(store, ["after"], { topic: "order/new" })
      yield* expect(["before", "after"], "with other topics")
      const [found] = yield* store.list({ exchange, name: "s" })
      expectSame([found?.topics, [...(found?.data ?? [])]], [["order/*"], [...data]], "its topics and its data")
      yield* Worker.setState(store, "paused")
      const [again] = yield* store.define(exchange, [{ name: "s", topics: ["*", "x"], start: "oldest" }])
      expectSame([again?.id, again?.state, again?.reason], [id, "paused", "for a while"], "its state, defined again")
      expectSame([again?.topics, again?.data], [["*", "x"], undefined], "its topics and its data, defined again")
    }),
    "what is listed": withStore(function* (store) {
      yield* store.open("another")
      yield* define(store, { name: "z" }, "another")
      const given = ["c/x", "a/z", "b/x", "a/x"].map((one) => ({ tenant: one.slice(0, 1), name: one.slice(2) }))
      const defined = yield* store.define(exchange, nonEmpty(given.map((one) => ({ ...one, topics: ["*"] as const }))))
      const namesOf = (all: typeof defined) => all.map(({ name, tenant }) => `${tenant}/${name}`).join(" ")
      expectSame(namesOf(defined), "c/x a/z b/x a/x", "what define answers")
      const expect = (expected: string, which: object) =>
        Effect.map(store.list({ exchange, ...which }), (found) =>
          expectSame(namesOf(found), expected, `listed of ${show(which)}`)
        )
      yield* expect("a/x a/z b/x c/x", {})
      yield* expect("a/x a/z", { tenant: "a" })
      yield* expect("a/x b/x c/x", { name: "x" })
      yield* expect("", { tenant: "b", name: "z" })
      const [one] = yield* store.list({ exchange, tenant: "a", name: "x" })
      const { since, ...others } = one!
      const [topics, state] = [["*"], "active"]
      expectSame(others, { id: defined[3]?.id, exchange, tenant: "a", name: "x", topics, state }, "a new one")
      ensure(Number.isFinite(since), () => `it is active since ${since}`)
    }),
    "while events are published": withHandles(function* (one, other) {
      yield* define(one, { name: "from the beginning" })
      let begun = 0
      const write = Effect.suspend(() => Effect.tap(publish(other, [`${++begun}`]), Effect.yieldNow))
      const writing = yield* Effect.forkChild(Effect.repeat(write, { times: 59 }))
      yield* Effect.repeat(Effect.yieldNow, { until: () => begun >= 10 })
      const id = yield* define(one)
      const after = begun
      yield* Fiber.join(writing)
      const found = texts(yield* contents(one, id)).map(Number)
      const first = found[0] ?? 61
      ensure(first <= after + 1, () => `of those that began from ${after + 1} on, the first is ${first}`)
      const expected = Array.from({ length: 61 - first }, (_, i) => first + i)
      expectSame(found, expected, "a part that is whole")
    })
  }),
  law(4, "events that pass a limit of one of their subscriptions are not admitted, unless it is empty", {
    rows: withHeld([], function* (held) {
      const limits = { rows: 5, bytes: infinite }
      yield* publishWithin(held, names("a", 1, 3), limits, true)
      yield* publishWithin(held, names("no", 1, 3), limits, false)
      yield* publishWithin(held, names("b", 1, 2), limits, true)
      yield* publishWithin(held, ["no"], limits, false)
      yield* publishWithin(held, ["c"], { rows: 6, bytes: infinite }, true)
      const [a, b, c, d] = yield* held.expect([...names("a", 1, 3), ...names("b", 1, 2), "c"], "what was admitted")
      yield* held.settle(acknowledged(a), acknowledged(b), again(c, 7, hour), aside(d, 7))
      yield* publishWithin(held, ["d", "e"], limits, false)
      yield* publishWithin(held, ["d"], limits, true)
      yield* held.send(...names("f", 1, 10))
    }),
    bytes: withHeld([], function* (held) {
      const limits = { rows: infinite, bytes: 10 }
      yield* publishWithin(held, ["1234", "5678"], limits, true)
      yield* publishWithin(held, ["123"], limits, false)
      yield* publishWithin(held, ["12"], limits, true)
      yield* publishWithin(held, ["", ""], limits, true)
      yield* publishWithin(held, ["x"], limits, false)
      yield* publishWithin(held, ["x"], { rows: 5, bytes: 11 }, false)
      yield* publishWithin(held, ["x"], { rows: 6, bytes: 11 }, true)
    }),
    "a batch that is larger than the limits": withHeld([], function* (held) {
      const limits = { rows: 3, bytes: 100 }
      yield* publishWithin(held, names("a", 1, 5), limits, true)
      yield* publishWithin(held, ["no"], limits, false)
      const [first, ...others] = yield* held.take()
      yield* held.settle(...others.map(acknowledged))
      yield* publishWithin(held, names("no", 1, 5), limits, false)
      yield* held.settle(dead(first))
      yield* publishWithin(held, ["x".repeat(101)], limits, true)
      yield* held.expect(["x".repeat(101)], "a dead letter takes no room")
    }),
    "one of several is full": withStore(function* (store) {
      const some = yield* define(store, { name: "some", topics: ["a"] })
      yield* define(store, { name: "all" })
      const expect = Effect.fnUntraced(function* (topics: string, expected: ReadonlyArray<number> | undefined) {
        const all = nonEmpty([...topics].flatMap((topic) => events(["e"], { topic })))
        const published = yield* store.publish(exchange, all, { rows: 2, bytes: 9 })
        const counts = published?.map(({ matched }) => matched)
        expectSame(counts, expected, `for how many each is of ${topics}`)
      })
      yield* expect("bb", [1, 1])
      yield* expect("a", undefined)
      expectSame((yield* store.figures(some))?.pending, 0, "stored for the empty one")
      yield* store.drop({ exchange, name: "all" })
      yield* expect("abbb", [1, 0, 0, 0])
      yield* expect("bbba", [0, 0, 0, 1])
      yield* expect("bbba", undefined)
      yield* publish(store, ["over"], { topic: "a" })
      yield* expect("b", [0])
    }),
    "many at once": withHandles(function* (one, another, { subject }) {
      const other = subject.limitsAll ? another : one
      const { figures, send } = yield* Worker.hold(one)
      yield* send("first")
      const answers = yield* Effect.forEach(
        names("e", 1, 30),
        (name, i) => (i % 2 === 0 ? one : other).publish(exchange, events([name]), { rows: 11, bytes: infinite }),
        { concurrency: "unbounded" }
      )
      const admitted = answers.filter((answer) => answer !== undefined).length
      expectSame([admitted, (yield* figures).pending], [10, 11], "admitted of 30 for 10 places, and pending")
    })
  }),
  law(5, "a publish in a transaction is part of it, and is not skipped when it commits late", {
    "committed and rolled back": withStore(function* (store, world) {
      expectSame(yield* store.inTransaction, false, "inTransaction outside of one")
      const { transaction } = world
      if (transaction === undefined) return
      const { expect, expectWoken, figures, send } = yield* Worker.hold(store)
      const watcher = yield* watch(world, store, figures)
      const inside = yield* transaction(Effect.andThen(send("kept"), store.inTransaction))
      expectSame(inside, true, "inTransaction inside of one")
      yield* world.until(
        () => watcher.seen?.pending === 1,
        () => "no listener saw the commit"
      )
      yield* expectWoken(true, "after a commit")
      const gone = Effect.andThen(send("gone", "also gone"), Effect.fail("rolled back"))
      ensure(Exit.isFailure(yield* Effect.exit(transaction(gone))), () => "a transaction that fails did not fail")
      yield* send("after")
      yield* expect(["kept", "after"], "after a transaction that was rolled back")
      const { bytes, pending } = yield* figures
      expectSame([pending, bytes], [2, 9], "pending and bytes")
      const admitted = yield* transaction(store.publish(exchange, events(["no", "room"]), { rows: 3, bytes: 1000 }))
      expectSame(admitted, undefined, "a publish in a transaction past the limits")
    }),
    "a definition that joins": withStore(function* (store, { transaction }) {
      if (transaction === undefined) return
      const definition = { name: "joined", topics: ["*"] } as const
      const defined = store.define(exchange, [definition], { joins: true })
      const written = Effect.andThen(defined, publish(store, ["e"]))
      yield* Effect.exit(transaction(Effect.andThen(written, Effect.fail("rolled back"))))
      const gone = yield* store.list({ exchange })
      expectSame(
        gone.map(({ name }) => name),
        [],
        "subscriptions after a definition was rolled back"
      )
      yield* transaction(written)
      const found = yield* store.list({ exchange })
      expectSame(
        found.map(({ name }) => name),
        ["joined"],
        "subscriptions after a definition in a transaction"
      )
      for (const { id } of found) expectSame((yield* store.figures(id))?.pending, 1, "what is pending for it")
    }),
    "committed late": withStore(function* (store, world) {
      const { transaction } = world
      if (transaction === undefined) return
      const { claim, expect, expectWoken, send, settle, take } = yield* Worker.hold(store)
      const begun = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const write = Effect.andThen(send("late"), Deferred.succeed(begun, undefined))
      const late = yield* Effect.forkChild(transaction(Effect.andThen(write, Deferred.await(goOn))))
      yield* Deferred.await(begun)
      // The store may make it wait for the transaction, or not.
      const early = yield* Effect.forkChild(send("early"))
      yield* world.sleep(100)
      const seen = yield* take()
      yield* settle(...seen.map(acknowledged))
      // What was committed before the late one is marked as seen.
      yield* claim([])
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.joinAll([late, early])
      yield* expectWoken(true, "after a late commit")
      const others = yield* take()
      expectSame([...texts(seen), ...texts(others)].toSorted(), ["early", "late"], "given out")
      yield* settle(...others.map(acknowledged))
      yield* expect([], "when both were acknowledged")
    })
  }),
  law(6, "retained events are for subscriptions that start with the oldest, and are swept when their time is over", {
    "started with the oldest": withStore(function* (store) {
      yield* store.open("kept", { retention: hour })
      const make = (name: string, options: Partial<Parameters<typeof define>[1]> = {}) =>
        define(store, { name, start: "oldest", ...options }, "kept")
      const settled = yield* make("settled", { topics: ["a"] })
      const batch = nonEmpty([...events(["1", "3"], { topic: "a" }), ...events(["2"])])
      const published = (yield* store.publish("kept", batch)) ?? []
      yield* settleAll(store, settled)
      yield* sweepAll(store)
      const now = yield* make("now", { start: "now" })
      const oldest = yield* make("oldest")
      const some = yield* make("some", { topics: ["a"] })
      const others = yield* make("others", { tenant: "another" })
      yield* make("settled", { topics: ["a"] })
      yield* store.publish("kept", events(["4"]))
      expectSame((yield* store.figures(oldest))?.pending, 4, "pending")
      const first = positions(yield* contents(store, oldest)).slice(0, 3)
      expectSame(first, positions(published), "the positions of the oldest")
      const all = yield* Effect.forEach([oldest, some, now, settled, others], (id) => contents(store, id))
      const found = all.map((given) => texts(given).join(""))
      expectSame(found, ["1324", "13", "4", "", ""], "oldest, of a topic, now, there before, another tenant")
    }),
    "opened with another retention": withStore(function* (store) {
      const oldestOf = (name: string) =>
        Effect.flatMap(define(store, { name, start: "oldest" }, "kept"), (id) => contents(store, id))
      yield* store.open("kept", { retention: hour })
      yield* store.open("kept", { retention: Duration.zero })
      yield* store.publish("kept", events(["1"]))
      expectSame(texts(yield* oldestOf("none")), [], "retained under no retention, which was an hour before")
      yield* store.open("kept", { retention: hour })
      yield* store.open("kept")
      yield* store.publish("kept", events(["2"]))
      yield* store.publish("kept", events(["later"], { due: { after: hour } }))
      expectSame(texts(yield* oldestOf("hour")), ["2"], "retained for an hour again")
    }),
    swept: withStore(function* (store, { sleep }) {
      yield* store.open("kept", { retention: Worker.short })
      const pending = yield* define(store, { name: "pending" }, "kept")
      const other = yield* define(store, { name: "other" }, "kept")
      yield* store.publish("kept", events(["1", "2"]))
      yield* settleAll(store, other)
      yield* sleep(Worker.pastShort)
      yield* sweepAll(store)
      const late = yield* define(store, { name: "late", start: "oldest" }, "kept")
      expectSame(texts(yield* contents(store, late)), [], "retained for 40 ms, 80 ms later")
      expectSame(texts(yield* contents(store, pending)), ["1", "2"], "what is pending is not swept")
    })
  })
]

// internals

const listOf = (all: string): ReadonlyArray<string> => (all === "" ? [] : all.split(","))

const sameBytes = (a: Uint8Array | undefined, b: Uint8Array | undefined): boolean =>
  a?.length === b?.length && a?.every((byte, i) => byte === b?.[i]) === true

/** Publishes with limits, and expects it to be admitted or not. */
const publishWithin = Effect.fnUntraced(function* (
  { figures, store }: Worker.Held,
  all: ReadonlyArray<string>,
  limits: Limits,
  isAdmitted: boolean
) {
  const before = yield* figures
  const answer = yield* store.publish(exchange, events(all), limits)
  const what = `${all.length} rows of ${all.join("").length} bytes, within ${limits.rows} and ${limits.bytes}`
  expectSame(answer?.length, isAdmitted ? all.length : undefined, `${what}, to ${show(before)}`)
  if (!isAdmitted) expectSame(yield* figures, before, `${what}, not admitted, and then the figures`)
})

const settleAll = Effect.fnUntraced(function* (store: Operations, subscription: SubscriptionId) {
  const worker = yield* Worker.makeWorker(store)
  const { settle, take } = yield* worker.acquire(subscription)
  yield* settle(...(yield* take()).map(acknowledged))
  yield* worker.leave
})

const sweepAll = (store: Operations) =>
  Effect.map(Effect.repeat(store.sweep, { until: (more) => !more, times: 1000 }), (more) =>
    ensure(!more, () => "sweep does not end")
  )
