/** The laws of subscriptions and their leases: paused, dropped, claimed, lost and woken. 16 to 21. */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as TestClock from "effect/testing/TestClock"
import { ensure, expectSame, names, nonEmpty, show } from "./expectations.ts"
import { acknowledged, again, aside, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { contents, define, foreign, hour, positions, publish, texts, withHeld } from "./storeWorker.ts"
import { exchange, type Law, law, withHandles, withStore } from "./storeWorld.ts"

export const leaseLaws: ReadonlyArray<Law> = [
  law(16, "a subscription that is not active is neither claimed nor given out, and keeps what it gets", {
    "paused and active again": withHeld(["a", "b", "c"], function* (held, { sleep }) {
      const { claim, figures, id, send, settle, store, take, wait } = held
      const [a, b] = yield* take()
      yield* wait(hour, 1)
      yield* settle(again(b, 1, hour))
      expectSame(yield* Worker.setState(store, "paused"), 1, "how many were paused")
      yield* settle(acknowledged(a), again(b, 1))
      yield* send("d")
      expectSame([(yield* figures).pending, (yield* figures).owner], [3, "one"], "pending, and the owner")
      expectSame(yield* held.tryTake(), undefined, "what a paused one is given")
      expectSame(yield* claim([id]), { acquired: [], woken: [], inactive: [id] }, "a claim of a paused one")
      yield* held.release
      expectSame(yield* claim([id]), { acquired: [], woken: [], inactive: [] }, "a claim of a paused one that is free")
      const [paused] = yield* store.list({ exchange })
      yield* sleep(20)
      expectSame([paused?.state, paused?.reason], ["paused", "for a while"], "its state")
      expectSame(yield* Worker.setState(store, "active"), 1, "how many were activated")
      const worker = yield* Worker.makeWorker(store)
      const second = yield* worker.acquire(id)
      expectSame(second.claimed.attempts, 0, "attempts, active again")
      yield* second.expect(["b@1", "c", "d"], "active again")
      const [active] = yield* store.list({ exchange })
      expectSame([active?.state, active?.reason], ["active", undefined], "its state")
      ensure(active!.since > paused!.since, () => `paused since ${paused?.since}, active since ${active?.since}`)
      yield* Worker.setState(store, "paused")
      yield* Worker.setState(store, "active")
      yield* worker.expectWoken([id], "active again while its owner kept it")
      expectSame((yield* worker.claim([id])).inactive, [], "active again: not active")
      const empty = yield* define(store, { name: "empty" })
      yield* Worker.setState(store, "active")
      yield* worker.expectNone(empty, "active, with nothing to deliver")
    }),
    "those of a tenant or of a name": withStore(function* (store) {
      const all = ["a/x", "a/y", "b/x"].map((one) => ({ tenant: one.slice(0, 1), name: one.slice(2) }))
      yield* store.define(exchange, nonEmpty(all.map((one) => ({ ...one, topics: ["*"] as const }))))
      const expect = Effect.fnUntraced(function* (which: object, to: "active" | "disabled", expected: string) {
        const count = yield* store.setState({ exchange, ...which }, to, to === "active" ? undefined : "x")
        const states = (yield* store.list({ exchange })).map(({ state }) => state)
        expectSame([count, ...states].join(" "), expected, `${show(which)} is ${to}: how many, and the states of all`)
      })
      yield* expect({ tenant: "a" }, "disabled", "2 disabled disabled active")
      yield* expect({ name: "x" }, "active", "2 active disabled active")
      yield* expect({ tenant: "b", name: "y" }, "disabled", "0 active disabled active")
      yield* expect({}, "disabled", "3 disabled disabled disabled")
    })
  }),
  law(17, "what is dropped is gone for good, and nothing else", {
    dropped: withHandles(function* (one, other) {
      const held = yield* Worker.hold(one, names("e", 1, 5))
      const { id, send, settle, take } = held
      const kept = yield* define(one, { name: "kept" })
      yield* send("f")
      const all = yield* take()
      yield* settle(acknowledged(all[0]), dead(all[1]), again(all[2], 1, hour), aside(all[3], 1))
      expectSame(yield* other.drop({ exchange, name: "s" }), 4, "how many were pending")
      expectSame(yield* other.drop({ exchange, name: "s" }), 0, "dropped twice")
      yield* held.expectLost(all, "dropped")
      expectSame([yield* one.figures(id), yield* one.bounds([id])], [undefined, []], "its figures and bounds")
      expectSame([(yield* held.claim([id])).acquired, yield* held.deadLetters], [[], []], "its lease and dead letters")
      const second = yield* define(one)
      ensure(second !== id, () => `made again, it has the id ${id} of before`)
      expectSame(yield* one.figures(second), { pending: 0, bytes: 0, deadLetters: 0 }, "made again")
      yield* send("g")
      yield* one.sweep
      expectSame(texts(yield* contents(one, second)), ["g"], "what it is given, made again")
      expectSame(texts(yield* contents(one, kept)), ["f", "g"], "what another one has")
    })
  }),
  law(18, "claim acquires what is free, due and asked for, for one owner at a time, with greater epochs", {
    "one after the other": withHandles(function* (one, other) {
      const id = yield* define(one)
      const [first, second] = [yield* Worker.makeWorker(one, "first"), yield* Worker.makeWorker(other, "second")]
      yield* first.expectNone(id, "with nothing to deliver")
      yield* publish(one, ["e"])
      yield* first.expectNone(foreign, "another id")
      expectSame((yield* first.claim([id], 0)).acquired, [], "acquired with a limit of 0")
      const held = yield* first.acquire(id)
      const { epoch, ...claimed } = held.claimed
      expectSame(claimed, { subscription: id, attempts: 0, lanes: [] }, "a lease")
      yield* first.expectNone(id, "asked again by its owner")
      yield* publish(one, ["f"])
      yield* second.expectNone(id, "asked by another")
      expectSame((yield* one.figures(id))?.owner, "first", "the name of its owner")
      yield* held.release
      const next = yield* second.acquire(id, { epoch })
      // Released again, it must not be taken from the next.
      yield* held.release
      yield* one.release(second.owner, [{ subscription: id, epoch }])
      yield* first.expectNone(id, "released twice")
      const [e] = yield* next.take()
      yield* next.settle(again(e, 11, hour), aside(e, 11))
      yield* second.leave
      const { lanes } = (yield* first.acquire(id, next.lease)).claimed
      expectSame(lanes, [{ lane: 11, first: e?.position ?? 0 }], "the lanes of a lease, with their first positions")
    }),
    "at most so many": withStore(function* (store) {
      const ids = yield* Effect.forEach(names("s", 1, 10), (name) => define(store, { name }))
      yield* publish(store, ["e"])
      const claim = Effect.flatMap(Worker.makeWorker(store), ({ claim }) => claim(ids.slice(0, 9), 4))
      const all = (yield* Effect.replicateEffect(claim, 3)).map(({ acquired }) => acquired)
      const counts = all.map(({ length }) => length)
      expectSame(counts, [4, 4, 1], "how many three acquired that asked for 4 of 9")
      const acquired = new Set(all.flat().map(({ subscription }) => subscription))
      ensure(
        acquired.size === 9 && !acquired.has(ids[9]!),
        () => `they acquired ${show([...acquired])} of ${show(ids)}`
      )
    }),
    "many at once": withHandles(function* (one, other) {
      const id = yield* define(one)
      yield* publish(one, ["e"])
      const workers = yield* Effect.forEach(names("", 1, 20), (_, i) => Worker.makeWorker(i % 2 === 0 ? one : other))
      let last = 0
      for (let round = 0; round < 5; round++) {
        const claims = Effect.forEach(workers, ({ claim }) => claim([id]), { concurrency: "unbounded" })
        const given = (yield* claims).flatMap(({ acquired }, i) => acquired.map((lease) => ({ lease, ...workers[i]! })))
        ensure(given.length === 1, () => `20 asked, ${given.length} got it`)
        const { lease, owner } = given[0]!
        ensure(lease.epoch > last, () => `after the epoch ${last} came ${lease.epoch}`)
        last = lease.epoch
        yield* one.release(owner, [lease])
      }
    })
  }),
  law(19, "the leases of an owner are its own as long as it lives", {
    expired: withHandles(function* (one, other, { sleep }) {
      const { held, id, next, worker } = yield* Worker.two(one, other)
      const all = yield* held.take()
      yield* worker.die
      yield* sleep(Worker.pastShort)
      const after = yield* next.acquire(id, held.lease)
      yield* held.expectLost(all, "taken by another")
      yield* held.release
      yield* after.expect(["e"], "after all that a lost lease tried")
      expectSame((yield* after.figures).deadLetters, 0, "dead-lettered with a lost lease")
      yield* next.leave
      yield* worker.expectNone(id, "asked by an owner that is gone")
      const renewed = yield* one.renew(worker.owner, hour)
      ensure(renewed.id !== worker.owner.id, () => "an owner whose leases another has kept its id")
    }),
    renewed: withHandles(function* (one, other, { sleep }) {
      const { held, id, next, worker } = yield* Worker.two(one, other)
      // So long that a slow machine renews it in time.
      yield* one.renew(worker.owner, Duration.seconds(1))
      expectSame(yield* one.renew(worker.owner, Duration.infinity), worker.owner, "renewed")
      yield* sleep(1100)
      yield* next.expectNone(id, "renewed for ever")
      yield* worker.die
      yield* sleep(Worker.pastShort)
      expectSame(yield* one.renew(worker.owner, hour), worker.owner, "renewed when no other had asked")
      yield* next.expectNone(id, "renewed when it had run out")
      yield* held.expect(["e"], "renewed when it had run out")
    }),
    "given back": withHandles(function* (one, other) {
      const { held, id, next, worker } = yield* Worker.two(one, other)
      const second = yield* define(one, { name: "second" })
      yield* publish(one, ["f"])
      yield* worker.acquire(second)
      yield* held.release
      yield* next.expectNone(second, "another lease of the same owner")
      const after = yield* next.acquire(id, held.lease)
      expectSame(yield* one.renew(worker.owner, hour), worker.owner, "renewed after one of two was given back")
      yield* worker.leave
      yield* next.acquire(second)
      const renewed = yield* one.renew(worker.owner, hour)
      ensure(renewed.id !== worker.owner.id, () => "an owner that has given back all kept its id")
      yield* worker.leave
      yield* after.expect(["e", "f"], "after another left twice")
    }),
    "the clock is set back": withHandles(function* (one, other, { sleep, subject }) {
      if (!subject.isVirtual) return
      yield* sleep(2 * hours)
      const { held, id, next, worker } = yield* Worker.two(one, other)
      const live = one.renew(worker.owner, Duration.seconds(30))
      const setBack = (ms: number) => Effect.flatMap(Clock.currentTimeMillis, (now) => TestClock.setTime(now - ms))
      yield* live
      yield* setBack(hours)
      yield* live
      yield* next.expectNone(id, "renewed by the clock that was set back")
      // Its owner died; it must not live for as long again as the clock was wrong.
      yield* setBack(hours)
      yield* other.renew(next.owner, hour)
      const after = yield* next.acquire(id, held.lease)
      yield* publish(one, ["f"])
      yield* next.expectWoken([id], "by the clock that was set back")
      yield* after.expect(["e", "f"], "by the clock that was set back")
    })
  }),
  law(20, "nothing can be done with a lease that is lost, and what is asked in the same call for others is done", {
    "given back, and acquired again": withHandles(function* (one, other) {
      const { held, id, next, worker } = yield* Worker.two(one, other)
      const all = yield* held.take()
      yield* held.release
      yield* held.expectLost(all, "given back")
      const between = yield* next.acquire(id, held.lease)
      yield* between.release
      const after = yield* worker.acquire(id, between.lease)
      yield* held.expectLost(all, "acquired again with another epoch")
      yield* between.expectLost(all, "acquired by the one before")
      // The epoch that another has is of no use either.
      expectSame(yield* one.settle(next.owner, [{ lease: after.lease, settled: [acknowledged(all[0])] }]), [id], "lost")
      yield* after.expect(["e"], "after all that lost leases tried")
    }),
    "with others in the same call": withHandles(function* (one, other) {
      const { held, id, next, worker } = yield* Worker.two(one, other)
      const second = yield* define(one, { name: "second" })
      const published = yield* publish(one, ["f"])
      yield* held.release
      yield* next.acquire(id)
      const own = yield* worker.acquire(second)
      const leases = [held.lease, own.lease]
      const taken = yield* one.take(worker.owner, nonEmpty(leases.map((lease) => ({ ...Worker.everything, ...lease }))))
      const given = taken.map(({ deliveries, subscription }) => [subscription, texts(deliveries)])
      expectSame(given, [[second, ["f"]]], "what is given to the leases")
      const settled = published.map(acknowledged)
      const lost = yield* one.settle(worker.owner, nonEmpty(leases.map((lease) => ({ lease, settled }))))
      expectSame(lost, [id], "leases that are lost")
      const left = [yield* one.bounds([id]), yield* one.bounds([second])].map(({ length }) => length)
      expectSame(left, [1, 0], "whether something is pending of the one that is lost, and of the other")
    })
  }),
  law(21, "a claim answers which leases have something new, each time, and how long it takes until the next", {
    "what wakes": withHandles(function* (one, other, { sleep }) {
      const { deadLetters, expect, expectWoken, id, replay, send, settle, take, wait } = yield* Worker.hold(one)
      const expectWait = (found: number | undefined, most: Duration.Duration, what: string) =>
        ensure(found !== undefined && found <= Duration.toMillis(most), () => `${what}: ${found} ms until the next`)
      expectSame(yield* expectWoken(false, "idle"), undefined, "how long it takes, idle")
      for (const n of ["1", "2", "3"]) {
        yield* publish(other, [n])
        yield* expectWoken(true, "after a publish")
        yield* expectWoken(false, "asked again")
      }
      const [a, b, c] = yield* take()
      yield* settle(again(a, 1, hour), aside(b, 1))
      expectWait(yield* expectWoken(false, "while a lane waits"), hour, "while a lane waits")
      yield* settle(again(c, 2, Worker.short))
      // Its owner may die, which is no commit.
      expectWait((yield* (yield* Worker.makeWorker(other)).claim([id])).wait, hour, "of another that lives")
      yield* sleep(Worker.pastShort)
      yield* expectWoken(true, "when a lane is due")
      const [due] = yield* expect(["3@2"], "when a lane is due")
      yield* expectWoken(false, "a lane that is due, asked again")
      yield* settle(acknowledged({ ...a!, lane: 1 }))
      yield* expectWoken(true, "when the first of a lane is settled")
      yield* wait(Worker.short, 1)
      yield* sleep(Worker.pastShort)
      yield* expectWoken(true, "when its wait is over")
      yield* wait(hour, 2)
      yield* send("4")
      expectWait(yield* expectWoken(false, "while it waits"), hour, "while it waits")
      yield* wait(Duration.zero, 0)
      yield* expectWoken(true, "when its wait is ended")
      yield* settle(dead(due), ...(yield* take()).map(acknowledged))
      yield* replay(...positions(yield* deadLetters))
      yield* expectWoken(true, "after a replay")
    }),
    "seen by the owner of before": withHandles(function* (one, other, { sleep }) {
      const { held, id, next } = yield* Worker.two(one, other)
      yield* held.release
      const second = yield* next.acquire(id, held.lease)
      yield* second.settle(again((yield* second.take())[0], 1, Worker.short))
      yield* second.release
      yield* sleep(Worker.pastShort)
      // It came due while it was free, and its owner dies with what it has taken.
      const third = yield* Worker.makeWorker(one, "third")
      yield* third.acquire(id, second.lease)
      yield* third.die
      yield* sleep(Worker.pastShort)
      const last = yield* next.acquire(id, second.lease)
      yield* last.expect(["e@1"], "what an owner that died had taken")
    })
  })
]

// internals

const hours = Duration.toMillis(hour)
