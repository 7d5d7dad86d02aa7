/** The laws of what serves an exchange whole: claims of it, lists, definitions that change, attempts and resends. 31 to 35. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { AttemptPage, Listing, Operations, StoredAttempt, Subscription } from "../../../durable/EventStore.ts"
import { encode } from "../../../internal/encoding/utf8.ts"
import { ensure, expectSame, names, nonEmpty, show } from "./expectations.ts"
import { acknowledged, again, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { define, foreign, hour, positions, publish, text, withHeld } from "./storeWorker.ts"
import { exchange, type Law, law, watch, withHandles, withStore } from "./storeWorld.ts"

const whole = { exchange }
const many = 100_000

export const exchangeLaws: ReadonlyArray<Law> = [
  law(31, "a claim of an exchange acquires what is free and due of all its subscriptions, and of no other", {
    "all, and at most so many": withHandles(function* (one, other) {
      const [mine, next] = [yield* Worker.makeWorker(one), yield* Worker.makeWorker(other, "next")]
      const all = yield* Effect.forEach(names("s", 1, 6), (name) => define(one, { name }))
      const theirs = yield* define(one, { tenant: "t", name: "t" })
      const elsewhere = yield* define(one, { name: "s" }, "another")
      expectSame((yield* mine.claim(whole)).acquired, [], "with nothing to deliver")
      yield* publish(one, ["e"])
      yield* publish(one, ["e"], { tenant: "t" })
      yield* one.publish("another", [{ payload: encode("e") }])
      yield* one.setState({ exchange, name: "s-1" }, "paused", undefined)
      const held = yield* next.acquire(all[1]!)
      const later = yield* next.acquire(all[2]!)
      yield* later.settle(again((yield* later.take())[0], 1, hour))
      yield* later.release
      expectSame((yield* mine.claim({ exchange: "none" })).acquired, [], "of no exchange")
      expectSame((yield* mine.claim(whole, 0)).acquired, [], "with a limit of 0")
      const found = yield* Effect.replicateEffect(mine.claim(whole, 3), 3)
      const counts = found.map(({ acquired }) => acquired.length)
      expectSame(counts, [3, 1, 0], "how many of 4 three claims acquired with a limit of 3")
      const ids = found.flatMap(({ acquired }) => acquired.map(({ subscription }) => subscription))
      expectSame(ids.toSorted(ascending), [all[3], all[4], all[5], theirs].toSorted(ascending), "the acquired ones")
      yield* held.release
      const acquired = (yield* next.claim({ exchange: "another" })).acquired.map(({ subscription }) => subscription)
      expectSame(acquired, [elsewhere], "of another exchange")
      const returned = (yield* mine.claim(whole)).acquired
      expectSame(
        returned.map(({ subscription }) => subscription),
        [all[1]],
        "one that was given back"
      )
      ensure(
        (returned[0]?.epoch ?? 0) > held.lease.epoch,
        () => `after the epoch ${held.lease.epoch}: ${show(returned)}`
      )
      const late = yield* define(one, { name: "late" })
      yield* publish(one, ["f"])
      const { acquired: last, woken } = yield* mine.claim(whole)
      expectSame(
        last.map(({ subscription }) => subscription).toSorted(ascending),
        [all[2], late],
        "one that was defined later, and one that has something new"
      )
      expectSame(woken.toSorted(ascending), [all[1], all[3], all[4], all[5]].toSorted(ascending), "woken")
    }),
    "when the next comes due": withHandles(function* (one, other, { sleep }) {
      const held = yield* Worker.hold(one, ["e"])
      const next = yield* Worker.makeWorker(other, "next")
      yield* held.settle(again((yield* held.take())[0], 1, Worker.short))
      yield* held.release
      const { acquired, wait } = yield* next.claim(whole)
      if (acquired.length > 0) return
      ensure(wait !== undefined && wait <= Duration.toMillis(Worker.short), () => `the next is due in ${wait} ms`)
      expectSame((yield* next.claim({ exchange: "none" })).wait, undefined, "when the next of no exchange is due")
      yield* sleep(Worker.pastShort)
      expectSame((yield* next.claim(whole)).acquired.length, 1, "how many were acquired when it is due")
    }),
    "of a process that is gone": withHandles(function* (one, other, { sleep }) {
      const { held, next, worker } = yield* Worker.two(one, other)
      yield* worker.die
      const { acquired, wait } = yield* next.claim(whole)
      ensure(
        acquired.length > 0 || (wait ?? Number.POSITIVE_INFINITY) <= Duration.toMillis(Worker.short),
        () => `the next is in ${wait} ms`
      )
      yield* sleep(Worker.pastShort)
      const found = acquired.length > 0 ? acquired : (yield* next.claim(whole)).acquired
      expectSame(
        found.map(({ subscription }) => subscription),
        [held.id],
        "what the next acquired"
      )
      yield* held.expectLost([], "after that")
    })
  }),
  law(32, "subscriptions are selected by their ids, and listed page by page", {
    "by ids": withStore(function* (store) {
      const [a, b, c] = yield* Effect.forEach(["c", "a", "b"], (name) => define(store, { name }))
      const t = yield* define(store, { name: "a", tenant: "t" })
      const elsewhere = yield* define(store, { name: "x" }, "another")
      const list = (which: Omit<Listing, "exchange">) => Effect.map(store.list({ exchange, ...which }), idsOf)
      expectSame(yield* list({ ids: [a!, t, c!, c!, elsewhere, foreign] }), [c, a, t], "those of four ids")
      expectSame(yield* list({ ids: [] }), [], "those of no ids")
      expectSame(yield* list({ ids: [a!, t], tenant: "t" }), [t], "those of ids and of a tenant")
      expectSame(idsOf(yield* store.overview({ ids: [t, elsewhere] })), [elsewhere, t], "the overview of two ids")
      expectSame(
        yield* store.setState({ exchange, ids: [a!, b!, elsewhere] }, "paused", "x"),
        2,
        "how many were paused"
      )
      const states = (yield* store.list({ exchange })).map(({ state }) => state)
      expectSame(states, ["paused", "active", "paused", "active"], "the states of all")
      yield* publish(store, ["e"])
      expectSame(yield* store.drop({ exchange, ids: [b!, elsewhere] }), 1, "how many deliveries were dropped")
      expectSame(yield* list({}), [c, a, t], "those that are left")
    }),
    "page by page": withStore(function* (store) {
      const all = ["/a", "/b", "t/a", "t/aa", "t/b", "u/"].map((one) => one.split("/"))
      const definitions = all.toReversed().map(([tenant = "", name = ""]) => ({ tenant, name, topics: ["*"] as const }))
      yield* store.define(exchange, nonEmpty(definitions))
      const found: Array<Subscription> = []
      for (let after: Listing["after"]; ; after = found.at(-1)) {
        const page = yield* store.list({ exchange, after, limit: 2 })
        ensure(page.length <= 2, () => `a page of 2 has ${page.length}`)
        found.push(...page)
        if (page.length === 0 || found.length > all.length) break
      }
      expectSame(
        found.map(({ name, tenant }) => [tenant, name]),
        all,
        "all pages"
      )
      expectSame(yield* store.list({ exchange, limit: 0 }), [], "a page of none")
      const of = yield* store.list({ exchange, tenant: "t", after: { tenant: "t", name: "a" } })
      expectSame(
        of.map(({ name }) => name),
        ["aa", "b"],
        "those of a tenant after one"
      )
    })
  }),
  law(33, "a definition that changes wakes the owner of the lease, whatever it waits for", {
    "what wakes": withHeld([], function* (held) {
      const { claim, expect, expectWoken, id, release, send, store, take, wait } = held
      yield* define(store)
      yield* expectWoken(false, "defined as it is")
      yield* define(store, { data: encode("1") })
      yield* expectWoken(true, "other data")
      yield* expectWoken(false, "other data, claimed again")
      yield* define(store, { data: encode("1") })
      yield* expectWoken(false, "the same data")
      yield* define(store, { data: encode("1"), topics: ["*", "a"] })
      yield* expectWoken(true, "other topics")
      yield* define(store, { topics: ["*", "a"], data: new Uint8Array() })
      yield* expectWoken(true, "data of no bytes")
      yield* define(store, { topics: ["*", "a"] })
      yield* expectWoken(true, "no data")
      yield* send("a")
      yield* wait(hour, 1)
      yield* claim([])
      yield* define(store, { data: encode("2") })
      yield* expectWoken(true, "while the subscription waits")
      expectSame(yield* take(), [], "what is given while the subscription waits")
      yield* expectWoken(false, "while the subscription waits, claimed again")
      yield* define(store, { data: encode("3") })
      yield* wait(hour, 2)
      yield* expectWoken(true, "before another wait began")
      yield* wait(Duration.zero, 0)
      yield* expectWoken(true, "when the wait is over")
      yield* expect(["a"], "when the wait is over")
      yield* define(store, { data: encode("4") })
      yield* release
      yield* define(store, { data: encode("5") })
      expectSame((yield* claim([id])).acquired.length, 1, "acquired again")
      yield* expectWoken(false, "defined before its lease was acquired")
    }),
    "by another process": withHandles(function* (one, other, world) {
      const held = yield* Worker.hold(one, ["a"])
      const next = yield* Worker.makeWorker(other, "next")
      yield* held.wait(hour, 1)
      yield* held.claim([])
      let woken = 0
      const watcher = yield* watch(
        world,
        one,
        Effect.map(held.claim([]), (claims) => void (woken += claims.woken.length))
      )
      expectSame(woken, 0, "woken before")
      const { elements } = watcher
      yield* define(other, { data: encode("1") })
      // Another's claim sees the change before the owner's own does.
      yield* next.claim([held.id])
      yield* world.until(
        () => watcher.elements > elements && woken === 1,
        () =>
          `after a definition there were ${watcher.elements - elements} changes, and its owner was woken ${woken} times`
      )
      yield* define(other, { data: encode("2") })
      yield* other.setState(whole, "paused", undefined)
      expectSame((yield* held.claim([])).inactive, [held.id], "not active")
    })
  }),
  law(34, "the attempts of a subscription are kept with what they tell, the newest first", {
    "page by page": withHeld([], function* ({ deadLetters, id, lease, owner, replay, send, settle, store, take }) {
      const list = (page: Partial<AttemptPage> = {}) =>
        Effect.map(store.attempts(id, { limit: many, ...page }), (all) => all.map(shown))
      const attempt = (at: number, position: number, error?: string, detail?: string) => ({
        at,
        position,
        took: at / 2,
        error,
        detail
      })
      yield* send("none")
      const [none] = yield* take()
      const before = [attempt(1, none!.position)]
      yield* store.settle(owner, [{ lease, settled: [acknowledged(none)], attempts: before }])
      expectSame(yield* list(), [], "of an exchange that keeps none")
      yield* store.open(exchange, { outcomes: hour })
      yield* define(store, { name: "other" })
      yield* publish(store, ["a", "b"], { topic: "t/1" })
      yield* send("c")
      const [a, b, c] = yield* take()
      yield* store.settle(owner, [
        {
          lease,
          settled: [acknowledged(a), dead(b)],
          attempts: [attempt(100, a!.position, "no", "503 Busy"), attempt(200, a!.position, undefined, "200 OK")]
        }
      ])
      yield* store.settle(owner, [
        {
          lease,
          settled: [again(c, 1, hour, 2)],
          attempts: [
            attempt(150, c!.position, "err", "x".repeat(1_500)),
            attempt(300, c!.position, "é\"\\{},'", '{"é": [\\]}')
          ]
        }
      ])
      const all = [
        `c 300 é"\\{},' {"é": [\\]}`,
        "a t/1 200  200 OK",
        `c 150 err ${"x".repeat(1_000)}`,
        "a t/1 100 no 503 Busy"
      ]
      const names = new Map([a, b, c].map((one) => [one!.position, text(one!)]))
      function shown({ at, detail, error, position, topic, took }: StoredAttempt): string {
        ensure(took === at / 2, () => `an attempt at ${at} took ${took}`)
        return [names.get(position), topic, at, error ?? "", detail ?? ""].filter((one, n) => n !== 1 || one).join(" ")
      }
      expectSame(yield* list(), all, "all")
      expectSame(yield* list({ failedOnly: true }), [all[0], all[2], all[3]], "those that failed")
      expectSame(yield* list({ limit: 2 }), all.slice(0, 2), "the first two")
      const page = { at: 200, position: a!.position }
      expectSame(yield* list({ before: page }), all.slice(2), "those before one")
      expectSame(yield* list({ before: { ...page, position: page.position + 1 } }), all.slice(1), "of one time")
      expectSame(yield* list({ before: page, failedOnly: true, limit: 1 }), all.slice(2, 3), "one that failed")
      const newest = { at: 300, position: c!.position }
      expectSame(yield* list({ before: newest, failedOnly: true, limit: 1 }), all.slice(2, 3), "one before a success")
      const status = yield* store.status(exchange, a!.position)
      const details = status?.deliveries.map(({ attempts }) => attempts.map(({ detail }) => detail))
      expectSame(details, [[], ["503 Busy", "200 OK"]], "the details in the status of an event")
      yield* replay(...positions(yield* deadLetters))
      const replayed = (yield* take()).find((one) => text(one) === "b")
      yield* store.settle(owner, [
        { lease, settled: [acknowledged(replayed)], attempts: [attempt(400, replayed!.position)] }
      ])
      expectSame((yield* list())[0], "b t/1 400  ", "of one that was replayed, which has the position of its event")
      yield* send("d")
      const [d] = (yield* take()).filter((one) => text(one) === "d")
      names.set(d!.position, "d")
      const tries = Array.from({ length: 12 }, (_, n) => attempt(1_000 + n, d!.position, "e"))
      yield* store.settle(owner, [{ lease, settled: [], attempts: tries.slice(0, 7) }])
      yield* store.settle(owner, [{ lease, settled: [again(d, 2, hour)], attempts: tries.slice(7) }])
      const last = (yield* list()).slice(0, 11)
      expectSame([last[0], last[9], last[10]], ["d 1011 e ", "d 1002 e ", "b t/1 400  "], "the last ten of an event")
      expectSame(yield* store.attempts(foreign, { limit: 10 }), [], "of no subscription")
      yield* settle({ ...acknowledged(c), lane: 1 })
      expectSame((yield* list()).length, 15, "how many, once one is acknowledged")
    }),
    "when they are kept no longer": withHeld(["a"], function* ({ id, lease, owner, store, take }, { sleep }) {
      yield* store.open(exchange, { outcomes: Worker.longer })
      const [a] = yield* take()
      const attempts = [{ position: a!.position, at: 1, took: 1, error: undefined }]
      yield* store.settle(owner, [{ lease, settled: [acknowledged(a)], attempts }])
      const count = Effect.map(store.attempts(id, { limit: 10 }), ({ length }) => length)
      expectSame(yield* count, 1, "kept")
      yield* sleep(Worker.pastLonger)
      for (let more = true; more; more = yield* store.sweep);
      expectSame(yield* count, 0, "swept")
    })
  }),
  law(35, "resend puts events that are retained, and dead letters, to the end of a subscription", {
    "in the order given": withHeld([], function* (held) {
      const { deadLetters, expect, expectWoken, figures, id, send, settle, store, take } = held
      yield* store.open(exchange, { retention: hour, outcomes: hour })
      yield* define(store, { name: "other", tenant: "t" })
      yield* publish(store, ["a", "b"], { topic: "x/1", contentType: "text/plain", trace: "00-1-2-01" })
      const [c, d] = (yield* send("c", "d")) ?? []
      const [foreignEvent] = (yield* publish(store, ["t"], { tenant: "t" })) ?? []
      const [first, second, third, fourth] = yield* take()
      yield* settle(acknowledged(first), dead(third, { attempts: 3 }), again(second, 1))
      yield* settle({ ...acknowledged(second), lane: 1 })
      yield* settle(acknowledged(fourth))
      yield* held.claim([])
      // What is retained is resent whether or not its topic matches.
      yield* define(store, { topics: ["none"] })
      yield* held.claim([])
      const given = [d, c, second, first].map((one) => one!.position)
      const count = yield* store.resend(id, nonEmpty([...given, foreign, foreignEvent!.position, d!.position]))
      expectSame(count, 4, "how many were resent")
      yield* expectWoken(true, "when they are resent")
      const all = yield* expect(["d", "c", "b", "a"], "when they are resent")
      const after = all.filter(({ position }) => position <= fourth!.position)
      expectSame(after, [], "those that are not at the end")
      expectSame(
        all.map(({ attempts, firstFailedAt }) => [attempts, firstFailedAt]),
        [0, 3, 0, 0].map((attempts) => [attempts, undefined]),
        "their attempts"
      )
      const { position: _, ...content } = all[3]!
      const { position: __, ...expected } = first!
      expectSame([content.topic, content.trace], ["x/1", "00-1-2-01"], "its topic and trace")
      expectSame({ ...content, payload: text(all[3]!) }, { ...expected, payload: "a" }, "all of it")
      expectSame([(yield* figures).pending, (yield* figures).bytes, yield* deadLetters], [4, 4, []], "what is pending")
      const stateOf = (position: number) =>
        Effect.map(store.status(exchange, position), (status) => status?.deliveries[0]?.state._tag)
      expectSame([yield* stateOf(given[0]!), yield* stateOf(given[1]!)], ["Pending", "Pending"], "the states")
      yield* settle(...all.map((one) => (text(one) === "c" ? dead(one) : acknowledged(one))))
      expectSame([yield* stateOf(given[0]!), yield* stateOf(given[1]!)], ["Delivered", "DeadLettered"], "the states")
      // By the position of its event, and not by that of the delivery that is dead.
      expectSame(yield* store.resend(id, [given[1]!]), 1, "how many were resent of one that was resent before")
      yield* expect(["c"], "resent again")
      expectSame([yield* deadLetters, yield* store.resend(foreign, [given[0]!])], [[], 0], "of no subscription")
    }),
    "of one that is pending": withHeld([], function* ({ claim, expect, figures, id, send, settle, store }) {
      yield* store.open(exchange, { retention: hour, outcomes: hour })
      const [a, b] = (yield* send("a", "b")) ?? []
      const resend = Effect.suspend(() => store.resend(id, nonEmpty(positions([a!, b!]))))
      const states = Effect.map(
        Effect.forEach([a!, b!], ({ position }) => store.status(exchange, position)),
        (all) => all.map((status) => status?.deliveries[0]?.state._tag)
      )
      expectSame(yield* resend, 2, "how many were resent")
      yield* claim([])
      yield* settle(...(yield* expect(["a", "b", "a", "b"], "with what is pending")).map(acknowledged))
      expectSame([(yield* figures).pending, yield* states], [0, ["Delivered", "Delivered"]], "settled in one step")
      yield* resend
      yield* resend
      expectSame(yield* store.discard(id, 10), 4, "how many are deleted")
      expectSame(yield* states, ["Purged", "Purged"], "deleted in one step")
    }),
    "what is kept nowhere": withHeld(["a"], function* ({ expect, figures, id, send, settle, store, take }, { sleep }) {
      yield* define(store, { name: "other" })
      yield* send("b")
      const [a, b] = yield* take()
      yield* settle(acknowledged(a), acknowledged(b))
      expectSame(yield* store.resend(id, nonEmpty(positions([a!, b!]))), 0, "how many were resent without a retention")
      yield* store.open(exchange, { retention: Worker.short })
      const [c] = (yield* send("c")) ?? []
      yield* settle(acknowledged((yield* take())[0]))
      yield* sleep(Worker.pastShort)
      expectSame(yield* store.resend(id, [c!.position]), 0, "how many were resent when the retention is over")
      yield* expect([], "after that")
      expectSame((yield* figures).pending, 0, "pending")
    })
  })
]

// internals

const ascending = (one: number | undefined, other: number | undefined): number => (one ?? 0) - (other ?? 0)

const idsOf = (all: Effect.Success<ReturnType<Operations["list"]>>) => all.map(({ id }) => id)
