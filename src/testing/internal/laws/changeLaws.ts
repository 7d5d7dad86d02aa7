/** The laws of what several processes change: definitions, states, and whether a receiver is failing. 36 to 38. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Definition, Operations, State } from "../../../durable/EventStore.ts"
import { decodeLeniently as decode, encode } from "../../../internal/encoding/utf8.ts"
import { ensure, expectSame } from "./expectations.ts"
import { acknowledged } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { define, hour, publish, withHeld } from "./storeWorker.ts"
import { exchange, type Law, law, withHandles, withStore } from "./storeWorld.ts"

export const changeLaws: ReadonlyArray<Law> = [
  law(36, "a definition that replaces data replaces that and no other", {
    "one by one": withStore(function* (store) {
      expectSame(yield* replace(store, "1", "2"), [], "where there is no subscription")
      expectSame(yield* store.list({ exchange }), [], "the subscriptions")
      yield* define(store)
      expectSame(yield* replace(store, "1", "2"), [], "where there is no data")
      yield* define(store, { data: encode("1") })
      expectSame(yield* replace(store, "0", "2", ["a"]), [], "where there is other data")
      expectSame(yield* replace(store, "12", "2", ["a"]), [], "where there is the beginning of it")
      expectSame(yield* dataOf(store), ["1 *"], "after that")
      expectSame(yield* replace(store, "1", "2", ["a"]), ["2 a"], "where there is that data")
      expectSame(yield* dataOf(store), ["2 a"], "after that")
      yield* define(store, { data: new Uint8Array() })
      expectSame(yield* replace(store, "", "3"), ["3 *"], "where there is data of no bytes")
      yield* store.drop({ exchange })
      expectSame(yield* replace(store, "3", "4"), [], "of one that was dropped")
      expectSame(yield* dataOf(store), [], "after that")
    }),
    "of other definitions beside it": withStore(function* (store) {
      yield* define(store, { data: encode("1") })
      const one = { name: "s", topics: ["*"], data: encode("2"), replaces: encode("0") } as const
      const found = yield* store.define(exchange, [{ name: "a", topics: ["*"] }, one, { name: "b", topics: ["*"] }])
      expectSame(
        found.map(({ name }) => name),
        ["a", "b"],
        "the answer"
      )
      expectSame(yield* dataOf(store), [" *", " *", "1 *"], "after that")
    }),
    "of two processes": withHandles(function* (one, other) {
      yield* define(one, { data: encode("0") })
      const counting = (store: Operations) =>
        Effect.gen(function* () {
          for (let done = 0; done < 10;) {
            const [found] = yield* store.list({ exchange })
            const before = decode(found?.data ?? new Uint8Array())
            done += (yield* replace(store, before, String(Number(before) + 1))).length
          }
        })
      yield* Effect.all([counting(one), counting(other)], { concurrency: "unbounded" })
      expectSame(yield* dataOf(one), ["20 *"], "after 10 changes by each")
    })
  }),

  law(37, "a receiver is failing from the first settlement that says so until one says otherwise", {
    "over waits, leases and processes": withHandles(function* (one, other, world) {
      const id = yield* define(one)
      yield* publish(one, ["e"])
      const mine = yield* (yield* Worker.makeWorker(one)).acquire(id)
      const said = (isFailing?: boolean, wait?: number) =>
        one.settle(mine.owner, [
          {
            lease: mine.lease,
            settled: [],
            isFailing,
            ...(wait !== undefined && { wait: { delay: wait === 0 ? Duration.zero : hour, attempts: wait } })
          }
        ])
      const since = Effect.map(one.overview({ exchange }), ([found]) => found?.failingSince)
      expectSame([mine.claimed.failingSince, yield* since], [undefined, undefined], "at first")
      yield* said(true)
      const first = yield* since
      ensure(first !== undefined, () => "a receiver that is failing has no time")
      yield* world.sleep(5)
      yield* said(true, 1)
      yield* said(undefined, 0)
      yield* said(true)
      yield* mine.settle(acknowledged((yield* mine.take())[0]))
      expectSame(yield* since, first, "after other settlements")
      yield* publish(one, ["f"])
      yield* mine.release
      const next = yield* (yield* Worker.makeWorker(other, "next")).acquire(id)
      expectSame(next.claimed.failingSince, first, "what another process is given")
      yield* other.settle(next.owner, [{ lease: next.lease, settled: [], isFailing: false }])
      expectSame(yield* since, undefined, "after an answer")
      yield* other.settle(next.owner, [{ lease: next.lease, settled: [], isFailing: true }])
      ensure(((yield* since) ?? 0) > first, () => "it was failing before the second time")
      yield* one.setState({ exchange }, "disabled", undefined)
      expectSame(yield* since, undefined, "after a change of the state")
    }),
    "not by a lease that is lost": withHeld(["e"], function* ({ lease, owner, release, store }) {
      yield* release
      yield* store.settle(owner, [{ lease, settled: [], isFailing: true }])
      const [found] = yield* store.overview({ exchange })
      expectSame(found?.failingSince, undefined, "since when it is failing")
    })
  }),

  law(38, "a state is set from the states that are given, once", {
    "one by one": withStore(function* (store) {
      yield* define(store)
      const set = (state: State, from: ReadonlyArray<State>) => store.setState({ exchange }, state, state, from)
      const state = Effect.map(store.list({ exchange }), ([found]) => [found?.state, found?.reason])
      expectSame(yield* set("paused", ["paused", "disabled"]), 0, "how many were set of others")
      expectSame(yield* set("paused", []), 0, "how many were set of none")
      expectSame(yield* state, ["active", undefined], "the state")
      expectSame(yield* set("paused", ["disabled", "active"]), 1, "how many were set")
      expectSame(yield* state, ["paused", "paused"], "the state")
      expectSame(yield* set("active", ["disabled"]), 0, "how many were set of disabled ones")
      expectSame(yield* state, ["paused", "paused"], "the state")
    }),
    "what is not set is delivered": withHeld(["e"], function* ({ claim, expect, id, store }) {
      expectSame(yield* store.setState({ exchange }, "disabled", undefined, ["paused"]), 0, "how many were set")
      expectSame((yield* claim([id])).inactive, [], "what is not active")
      yield* expect(["e"], "what is given")
    }),
    "by many at once": withHandles(function* (one, other) {
      yield* define(one)
      const all = [one, other, one, other].map((store) =>
        store.setState({ exchange }, "disabled", undefined, ["active", "paused"])
      )
      const counts = yield* Effect.all(all, { concurrency: "unbounded" })
      expectSame(
        counts.reduce((sum, count) => sum + count, 0),
        1,
        "how many were set by four at once"
      )
    })
  })
]

// internals

const replace = (store: Operations, before: string, after: string, topics: Definition["topics"] = ["*"]) =>
  Effect.map(store.define(exchange, [{ name: "s", topics, data: encode(after), replaces: encode(before) }]), (found) =>
    found.map(textOf)
  )

const dataOf = (store: Operations) => Effect.map(store.list({ exchange }), (found) => found.map(textOf))

const textOf = ({ data, topics }: { readonly data: Uint8Array | undefined; readonly topics: ReadonlyArray<string> }) =>
  `${decode(data ?? new Uint8Array())} ${topics.join()}`
