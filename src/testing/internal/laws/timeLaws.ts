/** The laws of events with a time or an id of their own: scheduled, and deduplicated. 25 and 26. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { NewEvent, Operations } from "../../../durable/EventStore.ts"
import { ensure, expectSame, names, nonEmpty, show } from "./expectations.ts"
import { acknowledged, again, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { define, events, hour, positions, publish, text, texts, withHeld } from "./storeWorker.ts"
import { exchange, type Law, law, withHandles, withStore } from "./storeWorld.ts"

export const timeLaws: ReadonlyArray<Law> = [
  law(25, "an event with a time of its own is stored at once, and put to the end of the order when its time has come", {
    "after a delay": withHeld(["now"], function* (held, { sleep }) {
      const { expect, expectWoken, figures, id, release, send, settle, store } = held
      const [a] = (yield* publish(store, ["a"], after(soon))) ?? []
      const [b] = (yield* publish(store, ["b"], after(hour))) ?? []
      expectSame([a?.matched, b?.matched], [1, 1], "for how many they are stored")
      expectSame([(yield* figures).pending, (yield* figures).bytes], [3, 5], "pending, and bytes")
      const [now] = yield* expect(["now"], "before their time")
      const [bounds] = yield* store.bounds([id])
      expectSame([bounds?.first, bounds?.last], [now?.position, now?.position], "the bounds")
      yield* expectWoken(true, "what was there")
      const wait = yield* expectWoken(false, "before their time")
      ensure(wait !== undefined && wait <= 300, () => `${wait} ms until the next`)
      yield* settle(again(now, 1, hour))
      yield* sleep(5)
      yield* send("late")
      yield* sleep(pastSoon)
      ensure((yield* store.bounds([id]))[0]?.isComing === true, () => "its time has come, and no claim was made")
      yield* expectWoken(true, "when its time has come")
      const [late, due] = yield* expect(["late", "a"], "when its time has come")
      ensure(due!.position > late!.position, () => `at ${due?.position}, behind ${late?.position}`)
      ensure((yield* store.bounds([id]))[0]?.isComing !== true, () => "it is in its place")
      const { attempts, writtenAt } = due!
      ensure(attempts === 0 && writtenAt < late!.writtenAt, () => `written at ${writtenAt}, ${attempts} attempts`)
      yield* settle(acknowledged(late), acknowledged(due))
      yield* expect([], "when it is settled")
      expectSame((yield* figures).pending, 2, "what waits")
      yield* release
      yield* store.setState({ exchange }, "active", undefined)
      yield* (yield* Worker.makeWorker(store)).expectNone(id, "with nothing but what waits")
      expectSame(yield* store.drop({ exchange }), 2, "dropped with what waits")
    }),
    "at a time, for many subscriptions": withHandles(function* (one, other, world) {
      const now = yield* storeTime(one)
      const ids = yield* Effect.forEach(["s1", "s2", "s3"], (name) => define(one, { name }))
      const at = (ms: number) => ({ due: { at: now + ms } })
      yield* publish(one, ["c"], at(600))
      yield* publish(one, ["past"], at(-1000))
      yield* publish(one, ["b"], at(400))
      yield* publish(one, ["a"], at(300))
      const worker = yield* Worker.makeWorker(other)
      const first = yield* worker.claim(ids)
      expectSame(first.acquired.length, 3, "with one whose time is past: acquired")
      yield* worker.leave
      yield* world.sleep(800)
      yield* other.setState({ exchange, name: "s3" }, "paused", undefined)
      for (const id of ids.slice(0, 2)) {
        const found = texts(yield* Worker.contents(other, id))
        expectSame(found, ["past", "a", "b", "c"], "in the order of their times")
      }
      yield* other.setState({ exchange, name: "s3" }, "active", undefined)
      expectSame(texts(yield* Worker.contents(other, ids[2]!)), ["past", "a", "b", "c"], "of one that was paused")
    }),
    "of a lease that another process has": withHandles(function* (one, other, { sleep }) {
      const { expect, expectWoken } = yield* Worker.hold(one)
      yield* publish(other, ["a"], after(soon))
      yield* sleep(pastSoon)
      // Whichever process finds it due puts it to its place.
      yield* (yield* Worker.makeWorker(other, "other")).claim([])
      yield* expectWoken(true, "when another process found it due")
      yield* expect(["a"], "when another process found it due")
    }),
    "within limits, dead-lettered and replayed": withHeld([], function* (held, { sleep }) {
      const { deadLetters, expect, expectWoken, figures, replay, settle, store } = held
      yield* publish(store, ["a"], after(soon))
      const over = yield* store.publish(exchange, events(["b"]), { rows: 1, bytes: 100 })
      expectSame(over, undefined, "beside what waits, within a limit of one")
      yield* sleep(pastSoon)
      yield* expectWoken(true, "when its time has come")
      yield* settle(dead((yield* expect(["a"], "due"))[0]))
      yield* replay(...positions(yield* deadLetters))
      yield* settle(acknowledged((yield* expect(["a"], "replayed"))[0]))
      expectSame([(yield* figures).pending, (yield* figures).bytes], [0, 0], "pending, and bytes")
    })
  }),
  law(26, "an event is stored once that has the id of another of its exchange and tenant, within the window", {
    duplicates: withHandles(function* (one, other, { sleep }) {
      yield* one.open(exchange, { deduplication: hour })
      const held = yield* Worker.hold(one)
      const { deadLetters, expect, figures, id, purge, replay, settle } = held
      const [a] = (yield* publish(one, ["a"], { id: "1" })) ?? []
      const again = yield* other.publish(exchange, nonEmpty([...identified("1", "2", "2"), ...events(["none"])]))
      const [first, second, third, none] = again ?? []
      expectSame([first?.position, first?.matched, first?.isDuplicate], [a?.position, 0, true], "a duplicate")
      expectSame([second?.matched, second?.isDuplicate ?? false], [1, false], "another")
      expectSame([third?.position, third?.isDuplicate], [second?.position, true], "a duplicate of the same publish")
      expectSame([none?.matched, none?.isDuplicate ?? false], [1, false], "without an id")
      expectSame((yield* figures).pending, 3, "pending")
      const [x, y] = yield* expect(["a", "2", "none"], "what is given")
      yield* settle(acknowledged(x), dead(y))
      yield* sleep(5)
      expectSame(yield* write(other, "1", "2"), [true, true], "of one that is acknowledged, or dead")
      yield* replay(...positions(yield* deadLetters))
      const replayed = (yield* held.take()).find((one) => text(one) === "2")
      yield* settle(dead(replayed))
      yield* purge(replayed!.position)
      expectSame(yield* write(one, "2"), [true], "of one that is purged")
      yield* one.drop({ exchange, name: "s" })
      const next = yield* define(one, { name: "next" })
      yield* one.sweep
      expectSame(yield* write(one, "1", "3"), [true, false], "of one whose subscription was dropped")
      expectSame(texts(yield* Worker.contents(one, next)), ["3"], "what another subscription is given")
      expectSame([yield* one.figures(id)], [undefined], "what is dropped")
    }),
    "of one that is stored for no subscription": withStore(function* (store) {
      yield* store.open(exchange, { deduplication: hour })
      expectSame(yield* write(store, "1"), [false], "without a subscription")
      expectSame(yield* store.status(exchange, { id: "1" }), undefined, "what is kept of it")
      const id = yield* define(store)
      expectSame(yield* write(store, "1", "1"), [false, true], "with one")
      expectSame(texts(yield* Worker.contents(store, id)), ["1"], "what is given")
      yield* store.drop({ exchange, name: "s" })
      expectSame(yield* write(store, "1"), [true], "of one that was stored")
      const other = yield* define(store, { topics: ["b"] })
      const of = (topic: string) => events([topic], { id: "2", topic })
      const published = yield* store.publish(exchange, nonEmpty([...of("a"), ...of("b"), ...of("a"), ...of("b")]))
      expectSame(published?.map(isDuplicate), [false, false, true, true], "in one publish with one that is stored")
      expectSame(
        [published?.[2]?.position, published?.[3]?.position].map((one) => one === published?.[1]?.position),
        [true, true],
        "the position of the one that is stored"
      )
      expectSame(texts(yield* Worker.contents(store, other)), ["b"], "what is given of one publish")
    }),
    "of another tenant or exchange, or without a window": withStore(function* (store) {
      yield* store.open(exchange, { deduplication: hour })
      expectSame(yield* write(store, "1"), [false], "a new id")
      const tenant = yield* store.publish(exchange, events(["1"], { id: "1", tenant: "t" }))
      expectSame(tenant?.map(isDuplicate), [false], "of another tenant")
      yield* store.open("another")
      for (const _ of names("n", 1, 2)) {
        const open = yield* store.publish("another", events(["1"], { id: "1" }))
        expectSame(open?.map(isDuplicate), [false], "of an exchange without a window")
      }
      yield* store.open(exchange, { deduplication: Duration.zero })
      expectSame(yield* write(store, "1"), [false], "when the window is taken away")
    }),
    "when the window is over": withStore(function* (store, { sleep }) {
      yield* store.open(exchange, { deduplication: Worker.short })
      const id = yield* define(store)
      expectSame(yield* write(store, "1", "1"), [false, true], "within the window")
      yield* sleep(Worker.pastShort)
      expectSame(yield* write(store, "1", "1"), [false, true], "after the window")
      yield* sleep(Worker.pastShort)
      for (let more = true; more; more = yield* store.sweep);
      expectSame(yield* write(store, "1"), [false], "after a sweep")
      expectSame(texts(yield* Worker.contents(store, id)), ["1", "1", "1"], "what is given")
    }),
    "many at once": withHandles(function* (one, other) {
      yield* one.open(exchange, { deduplication: hour })
      const id = yield* define(one)
      const all = names("e", 1, 20)
      // Each in another order.
      const orders = [
        all,
        all.toReversed(),
        [...all.slice(7), ...all.slice(0, 7)],
        [...all.slice(13), ...all.slice(0, 13)]
      ]
      const answers = yield* Effect.forEach(
        orders,
        (order, i) => (i % 2 === 0 ? one : other).publish(exchange, nonEmpty(identified(...order))),
        { concurrency: "unbounded" }
      )
      const stored = answers.flatMap((answer, i) =>
        (answer ?? []).flatMap((one, n) => (isDuplicate(one) ? [] : orders[i]![n]!))
      )
      expectSame(stored.toSorted(), all.toSorted(), "which were stored")
      expectSame(texts(yield* Worker.contents(one, id)).toSorted(), all.toSorted(), "what is given")
      const places = new Map<string, number>()
      answers.forEach((answer, i) =>
        answer?.forEach(({ position }, n) => {
          const name = orders[i]![n]!
          ensure((places.get(name) ?? position) === position, () => `${name} is at ${position}, and ${show(places)}`)
          places.set(name, position)
        })
      )
    })
  })
]

// internals

/** Later than what a scenario does before. */
const soon = Duration.millis(300)
const pastSoon = 400

const after = (delay: Duration.Duration): Partial<NewEvent> => ({ due: { after: delay } })

const identified = (...ids: ReadonlyArray<string>) => ids.flatMap((id) => [...events([id], { id })])

const isDuplicate = ({ isDuplicate = false }: { readonly isDuplicate?: boolean | undefined }) => isDuplicate

/** Publishes events with these ids, and answers which are duplicates. */
const write = (store: Operations, ...ids: ReadonlyArray<string>) =>
  Effect.map(store.publish(exchange, nonEmpty(identified(...ids))), (published) => published?.map(isDuplicate))

/** The time of the store's clock, which may not be that of this machine. */
const storeTime = (store: Operations) =>
  Effect.map(store.define("clock", [{ name: "clock", topics: ["*"] }]), ([one]) => {
    ensure(one !== undefined, () => "define answered no subscription")
    return one.since
  })
