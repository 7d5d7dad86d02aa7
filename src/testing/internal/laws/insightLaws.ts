/** The laws of what a store reports of what it holds, and of its removal: status, overview, discarded and selected. 27 to 30. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { DeliveryState, EventKey, EventStatus, Operations, Position } from "../../../durable/EventStore.ts"
import { encode } from "../../../internal/encoding/utf8.ts"
import { ensure, expectSame, names, nonEmpty, show } from "./expectations.ts"
import { acknowledged, again, aside, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { define, foreign, hour, positions, publish, texts, withHeld } from "./storeWorker.ts"
import { exchange, type Law, law, withHandles, withStore } from "./storeWorld.ts"

export const insightLaws: ReadonlyArray<Law> = [
  law(27, "status answers what became of an event for each subscription, outcomes as long as they are kept", {
    "while it is stored": withHeld(names("e", 1, 6), function* ({ deadLetters, replay, settle, store, take, wait }) {
      const all = yield* take()
      const [a, b, c, d, e, f] = all
      yield* settle(again(b, 1, hour, 3), aside(c, 1), dead(d, { attempts: 4, cause: "no", reason: "Exhausted" }))
      yield* settle(acknowledged(e))
      const [later] = (yield* publish(store, ["later"], { due: { after: hour } })) ?? []
      const states = yield* Effect.forEach([a, b, c, d, e, f, later], (one) => stateOf(store, one!.position))
      const facts = states.map((state) => (state && "failed" in state ? `${state._tag} ${state.failed}` : state?._tag))
      const expected = ["Pending 0", "Pending 3", "Pending 0", "DeadLettered 4", undefined, "Pending 0", "Pending 0"]
      expectSame(facts, expected, "the states")
      const times = states.map((state) => state?._tag === "Pending" && state.nextAt !== undefined)
      expectSame(times, [false, true, false, false, false, false, true], "which have a time")
      const [letter] = yield* deadLetters
      const { at, cause, reason } = { cause: "", reason: "", at: 0, ...states[3] }
      expectSame([at, cause, reason], [letter?.deadLetteredAt, "no", "Exhausted"], "of the dead letter")
      yield* wait(hour, 2)
      const waiting = yield* stateOf(store, a!.position)
      ensure(
        waiting?._tag === "Pending" && (waiting.nextAt ?? 0) > a!.writtenAt,
        () => `of a subscription that waits: ${show(waiting)}`
      )
      const coming = yield* stateOf(store, later!.position)
      expectSame(
        coming?._tag === "Pending" ? coming.nextAt : coming,
        waiting.nextAt,
        "when one is tried whose time is to come, while the subscription waits for longer"
      )
      yield* replay(letter!.position)
      expectSame((yield* stateOf(store, d!.position))?._tag, "Pending", "when it is replayed")
      expectSame(yield* store.status(exchange, foreign), undefined, "of no event")
      expectSame(yield* store.status("another", a!.position), undefined, "of another exchange")
    }),
    "what the subscription waits for": withHeld(["a", "b"], function* ({ lease, owner, store, take }) {
      const [a, b] = yield* take()
      const wait = { delay: hour, attempts: 2, reason: "down", position: a!.position }
      yield* store.settle(owner, [{ lease, settled: [], wait }])
      const failed = yield* Effect.forEach([a, b], (one) => stateOf(store, one!.position))
      expectSame(
        failed.map((state) => (state?._tag === "Pending" ? state.failed : state?._tag)),
        [2, 0],
        "failed attempts"
      )
    }),
    outcomes: withHeld([], function* (held) {
      const { deadLetters, lease, owner, purge, send, settle, store, take } = held
      yield* store.open(exchange, { outcomes: hour })
      yield* define(store, { name: "other", topics: ["x"] })
      yield* define(store, { name: "tenant", tenant: "t" })
      yield* send("a", "b", "c", "d", "e")
      const [a, b, c, d, e] = yield* take()
      const attempt = (n: number, one = a) => ({
        position: one!.position,
        at: n * 1000,
        took: n,
        error: n % 2 === 0 ? undefined : `error ${n}`
      })
      const attempts = Array.from({ length: 12 }, (_, n) => attempt(n + 1))
      yield* store.settle(owner, [
        { lease, settled: [acknowledged(a), again(c, 1)], attempts: [...attempts, attempt(1, c)] },
        { lease, settled: [{ _tag: "Acknowledged", position: b!.position, isDropped: true }], attempts: [] }
      ])
      yield* settle(dead(d))
      yield* purge(...positions(yield* deadLetters))
      yield* store.settle(owner, [{ lease, settled: [{ ...acknowledged(c), lane: 1 }], attempts: [attempt(2, c)] }])
      const found = yield* Effect.forEach([a, b, c, d, e], (one) => store.status(exchange, one!.position))
      const facts = found.map((status) => [
        status?.topic,
        status?.writtenAt,
        ...(status?.deliveries ?? []).flatMap(({ attempts, state, subscription }) => [
          subscription,
          state._tag,
          attempts.length
        ])
      ])
      const expected = ["Delivered 10", "Dropped 0", "Delivered 2", "Purged 0", "Pending 0"].map((one) => {
        const [tag, count] = one.split(" ")
        return ["", a?.writtenAt, "other", "Unmatched", 0, "s", tag, Number(count)]
      })
      expectSame(facts, expected, "what became of them")
      const last = found[0]?.deliveries[1]?.attempts
      expectSame(last?.[0], { at: 3000, took: 3, error: "error 3" }, "the first of its last ten attempts")
      expectSame(last?.[9], { at: 12_000, took: 12, error: undefined }, "the last attempt")
    }),
    "when they are kept no longer": withHeld([], function* ({ send, settle, store, take }, { sleep }) {
      yield* store.open(exchange, { outcomes: Worker.longer })
      yield* define(store, { name: "other" })
      yield* send("a")
      const [a] = yield* take()
      yield* settle(acknowledged(a))
      const outcome = Effect.map(store.status(exchange, a!.position), (status) => tagOf(status, 1))
      expectSame(yield* outcome, "Delivered", "kept")
      yield* sleep(Worker.pastLonger)
      for (let more = true; more; more = yield* store.sweep);
      expectSame(yield* outcome, "Unknown", "swept")
      yield* store.open(exchange, { outcomes: Duration.zero })
      yield* send("b")
      const [b] = yield* take()
      yield* settle(acknowledged(b))
      expectSame(tagOf(yield* store.status(exchange, b!.position), 1), "Unknown", "not kept any more")
    }),
    "by its id": withStore(function* (store) {
      yield* store.open(exchange, { deduplication: hour })
      yield* define(store)
      yield* define(store, { name: "t", tenant: "t" })
      const [a] = (yield* publish(store, ["a"], { id: "1" })) ?? []
      const [b] = (yield* publish(store, ["b"], { id: "1", tenant: "t" })) ?? []
      const at = (event: EventKey) => Effect.map(store.status(exchange, event), (status) => status?.position)
      expectSame(yield* at({ id: "1" }), a?.position, "its position")
      expectSame(yield* at({ id: "1", tenant: "t" }), b?.position, "that of another tenant")
      expectSame(yield* at({ id: "2" }), undefined, "that of another id")
    })
  }),
  law(28, "overview answers the subscriptions with all that is to be known of them", {
    "step by step": withHeld([], function* ({ lease, owner, send, settle, store, take, id }, { sleep }) {
      const empty = { exchange, tenant: "", name: "s", pending: 0, bytes: 0, deadLetters: 0, owner: "one" }
      const look = Effect.map(store.overview({ exchange }), ([one]) => {
        ensure(one !== undefined, () => "it is not there")
        return one
      })
      const first = yield* look
      expectSame({ ...first, ...empty }, first, "an empty one")
      expectSame(
        [first.oldest, first.nextDue, first.wait, first.state],
        [undefined, undefined, undefined, "active"],
        "an empty one"
      )
      yield* send("a", "b")
      yield* sleep(5)
      yield* send("c")
      const [a, , c] = yield* take()
      yield* settle(again(a, 1, hour))
      const second = yield* look
      expectSame([second.pending, second.oldest], [3, a?.writtenAt], "with some")
      ensure((second.nextDue ?? 0) > c!.writtenAt, () => `the next is due at ${second.nextDue}`)
      const wait = { delay: hour, attempts: 3, reason: "it said 503", position: c!.position }
      yield* store.settle(owner, [{ lease, settled: [dead({ position: a!.position, lane: 1 })], wait }])
      const third = yield* look
      expectSame([third.pending, third.deadLetters, third.nextDue], [2, 1, undefined], "with a dead letter")
      expectSame(
        [third.wait?.attempts, third.wait?.reason, third.wait?.position],
        [3, wait.reason, wait.position],
        "its wait"
      )
      ensure((third.wait?.until ?? 0) > (third.wait?.firstFailedAt ?? 0), () => `it waits: ${show(third.wait)}`)
      yield* store.settle(owner, [{ lease, settled: [], wait: { delay: Duration.zero, attempts: 0 } }])
      expectSame((yield* look).wait, undefined, "its wait, when it is ended")
      yield* store.settle(owner, [{ lease, settled: [], wait: { delay: hour, attempts: 0, reason: "a rest" } }])
      const { attempts, firstFailedAt, reason, until = 0 } = (yield* look).wait ?? {}
      expectSame([attempts, firstFailedAt, reason], [0, undefined, "a rest"], "a rest that nothing has failed for")
      ensure(until > c!.writtenAt, () => `it rests until ${until}`)
      yield* store.settle(owner, [{ lease, settled: [], wait: { delay: Duration.zero, attempts: 0 } }])
      yield* publish(store, ["later"], { due: { after: hour } })
      ensure((yield* look).nextDue !== undefined, () => "one is to come, and nothing is due next")
      yield* store.setState({ exchange }, "paused", "for a while")
      const paused = yield* look
      expectSame([paused.id, paused.state, paused.reason], [id, "paused", "for a while"], "its state")
    }),
    "its owner, as long as it lives": withHandles(function* (one, other, { sleep }) {
      const { id, worker } = yield* Worker.two(one, other)
      const owners = Effect.map(Effect.all([other.overview({}), other.figures(id)]), ([[overview], figures]) => [
        overview?.owner,
        figures?.owner
      ])
      expectSame(yield* owners, ["one", "one"], "the owner")
      yield* worker.die
      yield* sleep(Worker.pastShort)
      // No claim has freed its lease.
      expectSame(yield* owners, [undefined, undefined], "the owner, when its life is over")
    }),
    "of all exchanges": withStore(function* (store) {
      yield* define(store, { name: "b" })
      yield* define(store, { name: "a", tenant: "t" })
      yield* define(store, { name: "c" }, "another")
      const found = (which: Parameters<Operations["overview"]>[0]) =>
        Effect.map(store.overview(which), (all) => all.map((one) => `${one.exchange} ${one.tenant} ${one.name}`))
      expectSame(yield* found({}), ["another  c", `${exchange}  b`, `${exchange} t a`], "all")
      expectSame(yield* found({ name: "c" }), ["another  c"], "of a name")
      expectSame(yield* found({ exchange, tenant: "t" }), [`${exchange} t a`], "of a tenant")
      expectSame(yield* found({ exchange: "none" }), [], "of no exchange")
    })
  }),
  law(29, "discard deletes what is pending of a subscription, and nothing else", {
    "some, and all": withHeld(names("e", 1, 8), function* (held) {
      const { deadLetters, expect, figures, id, settle, store, take, wait } = held
      const other = yield* define(store, { name: "other" })
      const all = yield* take()
      yield* settle(dead(all[0]), again(all[3], 1, hour), aside(all[4], 1), aside(all[5], 1))
      yield* publish(store, ["both"])
      yield* publish(store, ["later"], { due: { after: hour } })
      yield* wait(hour, 1)
      expectSame([yield* store.discard(id, 0), yield* store.discard(id, -1)], [0, 0], "how many of none were deleted")
      expectSame(yield* store.discard(id, 2), 2, "how many were deleted")
      yield* expect(["e-7", "e-8", "both"], "the rest of the order, when its wait is ended")
      expectSame(yield* store.discard(id, 4), 4, "how many were deleted, some of a lane")
      yield* expect(["e-5@1", "e-6@1"], "the rest of a lane")
      expectSame((yield* figures).pending, 3, "pending")
      expectSame(yield* store.discard(id, 100), 3, "how many were deleted, with what is to come")
      expectSame([(yield* figures).pending, (yield* figures).bytes], [0, 0], "pending, and bytes")
      expectSame(texts(yield* deadLetters), ["e-1"], "the dead letters")
      expectSame(yield* store.discard(id, 100), 0, "of an empty one")
      expectSame(yield* store.discard(foreign, 100), 0, "of one that is not there")
      expectSame(texts(yield* Worker.contents(store, other)), ["both"], "what another one has")
      yield* settle(...all.map(acknowledged))
      yield* held.send("new")
      yield* expect(["new"], "what comes after")
    }),
    "of lanes with the numbers of positions": withHeld(names("e", 1, 6), function* ({ id, settle, store, take }) {
      const all = yield* take()
      const [, two, three, four, , six] = all
      const lane = (one: { readonly position: Position } | undefined) => one!.position
      // The delivery of the number waits in front of another, and stands behind one that waits.
      yield* settle(again(two, lane(two), hour), aside(three, lane(two)))
      yield* settle(again(four, lane(six), hour), aside(six, lane(six)))
      for (let deleted = 1; deleted <= all.length; deleted++) {
        expectSame(yield* store.discard(id, 1), 1, "how many were deleted")
        const states = yield* Effect.forEach(all, ({ position }) => stateOf(store, position))
        const left = all.filter((_, i) => states[i]?._tag === "Pending")
        expectSame(left.length, all.length - deleted, "how many are left")
        const waits = [two!, four!].filter((one) => left.includes(one)).map((one) => (one === two ? three : six))
        const due = left.filter((one) => one !== two && one !== four && !waits.includes(one))
        const given = positions(yield* take()).toSorted((a, b) => a - b)
        expectSame(given, positions(due), `what is given, ${deleted} deleted`)
      }
    }),
    "what is waited for": withHeld(["a"], function* ({ expect, id, lease, owner, send, store, take }) {
      const [a] = yield* take()
      yield* store.discard(id, 1)
      const wait = { delay: hour, attempts: 2, reason: "down", position: a!.position }
      yield* store.settle(owner, [{ lease, settled: [], wait }])
      expectSame((yield* store.overview({ exchange }))[0]?.wait, undefined, "its wait")
      yield* send("b")
      yield* expect(["b"], "what comes after")
    })
  }),
  law(30, "dead letters are counted and listed by a filter", {
    selected: withHeld([], function* ({ id, settle, store, take }, { sleep }) {
      const topics = ["order/a", "order/b", "user", ""]
      yield* store.publish(exchange, nonEmpty(topics.map((topic, i) => ({ payload: encode(`${i}`), topic }))))
      const all = yield* take()
      yield* settle(dead(all[0], { reason: "Failed", cause: "it said 503 Busy" }))
      yield* settle(dead(all[1], { reason: "Exhausted", cause: "100%_\\ 503" }))
      yield* sleep(10)
      yield* settle(dead(all[2], { reason: "Failed", cause: "no" }), dead(all[3], { cause: "it's" }))
      const [, , third] = yield* store.deadLetters(id, { limit: 10 })
      const at = third?.deadLetteredAt ?? 0
      const expect = Effect.fnUntraced(function* (
        filter: Parameters<Operations["countDeadLetters"]>[1],
        expected: string
      ) {
        const found = yield* store.deadLetters(id, { ...filter, limit: 100 })
        expectSame(texts(found).join(""), expected, `the dead letters with ${show(filter)}`)
        expectSame(
          yield* store.countDeadLetters(id, filter),
          expected.length,
          `how many there are with ${show(filter)}`
        )
        const [first] = yield* store.deadLetters(id, { ...filter, limit: 1 })
        const rest = first && (yield* store.deadLetters(id, { ...filter, limit: 100, after: first }))
        expectSame(texts(rest ?? []).join(""), expected.slice(1), `after the first, with ${show(filter)}`)
      })
      yield* expect({}, "0123")
      yield* expect({ reason: "Failed" }, "023")
      yield* expect({ reason: "Died" }, "")
      yield* expect({ cause: "503" }, "01")
      yield* expect({ cause: "busy" }, "")
      yield* expect({ cause: "%_\\" }, "1")
      yield* expect({ cause: "_" }, "1")
      yield* expect({ cause: "it's" }, "3")
      yield* expect({ topic: "order/*" }, "01")
      yield* expect({ topic: "order/b" }, "1")
      yield* expect({ topic: "*" }, "0123")
      yield* expect({ from: at }, "23")
      yield* expect({ to: at }, "01")
      yield* expect({ position: all[1]!.position }, "1")
      yield* expect({ reason: "Failed", cause: "503", topic: "order/*", to: at }, "0")
      expectSame(yield* store.countDeadLetters(foreign, {}), 0, "of a subscription that is not there")
    })
  })
]

// internals

/** That of the first subscription. */
const stateOf = (store: Operations, event: Position): Effect.Effect<DeliveryState | undefined, unknown> =>
  Effect.map(store.status(exchange, event), (status) => status?.deliveries[0]?.state)

const tagOf = (status: EventStatus | undefined, at: number) => status?.deliveries.toReversed()[at - 1]?.state._tag
