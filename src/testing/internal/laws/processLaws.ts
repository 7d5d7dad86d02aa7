/** The laws of several handles to the same data: changes, what is opened again, and many at once. 22 to 24. */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Random from "effect/Random"
import * as Schedule from "effect/Schedule"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { Change, Delivery, Lease, Operations, Settled } from "../../../durable/EventStore.ts"
import { ensure, expectSame, names, show } from "./expectations.ts"
import { acknowledged, again, aside, dead } from "./settled.ts"
import * as Worker from "./storeWorker.ts"
import { define, hour, positions, publish, text, texts } from "./storeWorker.ts"
import { exchange, type Law, law, watch, withHandles, type World } from "./storeWorld.ts"

export const processLaws: ReadonlyArray<Law> = [
  law(22, "changes has an element at once, and after each commit", {
    "commits of this handle and of another": withHandles(function* (mine, others, world) {
      const { id, lease, owner } = yield* Worker.hold(mine)
      const seen = Effect.map(Effect.all([mine.figures(id), mine.list({ exchange })]), ([figures, [one]]) =>
        figures === undefined ? "dropped" : `${figures.pending} pending of ${figures.owner}, ${one?.state}`
      )
      const watcher = yield* watch(world, mine, seen)
      const expect = (expected: string) =>
        world.until(
          () => watcher.seen === expected,
          () => `${expected}; a listener saw ${watcher.seen}`
        )
      for (const store of [mine, others]) {
        // Each handle settles with the lease of the one owner.
        const settle = (settled: Settled) => store.settle(owner, [{ lease, settled: [settled] }])
        const [a, b] = yield* publish(store, ["a", "b"])
        yield* expect("2 pending of one, active")
        yield* settle(acknowledged(a))
        yield* expect("1 pending of one, active")
        yield* settle(dead(b))
        yield* expect("0 pending of one, active")
        yield* store.replay(id, [b!.position])
        yield* expect("1 pending of one, active")
        const [taken] = yield* store.take(owner, [{ ...Worker.everything, ...lease }])
        yield* settle(acknowledged(taken?.deliveries[0]))
        yield* expect("0 pending of one, active")
        yield* Worker.setState(store, "paused")
        yield* expect("0 pending of one, paused")
        yield* Worker.setState(store, "active")
        yield* expect("0 pending of one, active")
      }
      yield* others.release(owner, "all")
      yield* expect("0 pending of undefined, active")
      yield* others.drop({ exchange })
      yield* expect("dropped")
    }),
    "commits that are no settlements": withHandles(function* (mine, others, world) {
      yield* define(mine)
      const elements = { all: 0, arrivals: 0 }
      const note = (change: Change) => {
        elements.all++
        if (change !== "settled") elements.arrivals++
      }
      yield* Effect.forkScoped(Stream.runForEach(mine.changes, (change) => Effect.sync(() => note(change))))
      yield* world.until(
        () => elements.all > 0,
        () => "changes had no first element"
      )
      const expect = Effect.fnUntraced(function* (what: string, commit: Effect.Effect<unknown, unknown>) {
        const { arrivals } = elements
        yield* commit
        yield* world.until(
          () => elements.arrivals > arrivals,
          () => `${what}: changes had no element, or said that there were only settlements,`
        )
      })
      for (const store of [mine, others]) {
        yield* expect("published", publish(store, ["e"]))
        yield* Worker.setState(store, "paused")
        yield* expect("active again", Worker.setState(store, "active"))
      }
    }),
    "several listeners, and commits before there is one": withHandles(function* (mine, others, world) {
      const id = yield* define(mine)
      for (let n = 1; n <= 3; n++) yield* publish(others, ["e"])
      const watchers = yield* Effect.replicateEffect(watch(world, mine, mine.figures(id)), 3)
      const expect = (pending: number) =>
        world.until(
          () => watchers.every(({ seen }) => seen?.pending === pending),
          () => `${pending} are pending, and listeners saw ${show(watchers.map(({ seen }) => seen?.pending))}`
        )
      yield* expect(3)
      yield* publish(others, names("e", 1, 20))
      yield* expect(23)
    })
  }),
  law(
    23,
    "what was committed is there when the data is opened again",
    {
      "closed and opened": Effect.fnUntraced(function* (world) {
        const facts = ({ bounds, deadLetters, figures, list }: Operations, id: number) =>
          Effect.all([figures(id), list({ exchange }), deadLetters(id, { limit: 9 }), bounds([id])])
        const before = yield* once(
          world,
          Effect.fnUntraced(function* (store) {
            const { id, lease, owner, send, settle, take, wait } = yield* Worker.hold(store, names("e", 0, 6))
            yield* define(store, { name: "other", topics: ["a", "b/*"], data: Uint8Array.of(1, 0) })
            yield* store.setState({ exchange, name: "other" }, "paused", "for a while")
            yield* send("last")
            const all = yield* take()
            yield* settle(acknowledged(all[0]), dead(all[1]), dead(all[2]), again(all[3], 5, hour, 4), aside(all[4], 5))
            yield* wait(hour, 3)
            return { id, lease, owner, all, facts: yield* facts(store, id) }
          })
        )
        const { all, id, lease, owner } = before
        const second = yield* once(
          world,
          Effect.fnUntraced(function* (store) {
            expectSame(yield* facts(store, id), before.facts, "figures, subscriptions, dead letters and bounds")
            const other = yield* Worker.makeWorker(store, "other")
            yield* other.expectNone(id, "a lease that was not released")
            expectSame(yield* store.settle(owner, [{ lease, settled: [] }]), [], "leases that are lost")
            yield* store.release(owner, "all")
            yield* other.expectNone(id, "a wait that is not over")
            yield* store.setState({ exchange, name: "s" }, "active", undefined)
            const held = yield* other.acquire(id, lease)
            expectSame(held.claimed.lanes, [{ lane: 5, first: all[3]!.position }], "the lanes")
            const given = yield* held.take()
            expectSame(given, all.slice(5), "what is given")
            yield* held.settle(...given.map(acknowledged))
            yield* held.purge(all[1]!.position, all[2]!.position)
            yield* other.leave
            return held.lease
          })
        )
        yield* once(
          world,
          Effect.fnUntraced(function* (store) {
            expectSame(yield* store.deadLetters(id, { limit: 9 }), [], "the dead letters, purged")
            const [published] = yield* publish(store, ["new"])
            const last = Math.max(...positions(all))
            ensure(published!.position > last, () => `after the position ${last} came ${published?.position}`)
            const worker = yield* Worker.makeWorker(store)
            yield* (yield* worker.acquire(id, second)).expect(["new"], "opened once more")
          })
        )
      })
    },
    ({ persists }) => persists
  ),
  law(24, "each event that many write and deliver at once is acknowledged once, and those of one writer in order", {
    "many writers and one owner": withHandles(function* (one, other, { sleep }) {
      const { figures, settle, take } = yield* Worker.hold(one)
      const { expected, writing } = yield* write([one, other], 20, 15)
      const seen: Array<string> = []
      const step = Effect.gen(function* () {
        // Before it is seen that there is nothing.
        const isWritten = writing.pollUnsafe() !== undefined
        const some = yield* take({ limits: { rows: 50, bytes: 1_000_000 } })
        yield* settle(...some.map(acknowledged))
        seen.push(...texts(some))
        if (some.length === 0) yield* sleep(1)
        return isWritten && some.length === 0
      })
      yield* Effect.repeat(step, { until: (isDone) => isDone, schedule: Schedule.forever })
      yield* Fiber.join(writing)
      const found = expected.map((_, writer) => seen.filter((one) => one.startsWith(`${writer}:`)))
      for (const [writer, all] of expected.entries()) expectSame(found[writer], all, `given out of writer ${writer}`)
      expectSame([seen.length, (yield* figures).pending], [expected.flat().length, 0], "how many, and pending")
    }),
    "owners that come and go": withHandles(function* (one, other, { sleep }) {
      const ids = [yield* define(one, { name: "a" }), yield* define(one, { name: "b" })]
      const { expected, writing } = yield* write([one, other], 4, 10)
      const ended = new Map(ids.map((id) => [id, new Array<string>()]))
      /** Delivers for some rounds, and then leaves, or dies with what it has taken. */
      const life = Effect.fnUntraced(function* (store: Operations) {
        const { claim, leave, owner } = yield* Worker.makeWorker(store)
        yield* store.renew(owner, Worker.short)
        const leases = new Map<number, Lease>()
        for (let rounds = yield* Random.nextIntBetween(1, 8); rounds > 0; rounds--) {
          for (const lease of (yield* claim(ids, 1)).acquired) leases.set(lease.subscription, lease)
          for (const [id, lease] of leases) {
            const limits = { rows: yield* Random.nextIntBetween(1, 20), bytes: 1_000_000 }
            const [taken] = yield* store.take(owner, [{ ...lease, limits, except: [], busy: [], perLane: 2 }])
            if (yield* Random.nextBoolean) yield* Effect.yieldNow
            const settled = yield* Effect.forEach(taken?.deliveries ?? [], outcome)
            const lost = yield* store.settle(owner, [{ lease, settled }])
            if (lost.length > 0) leases.delete(id)
            else ended.get(id)!.push(...(taken?.deliveries ?? []).filter((_, i) => isEnd(settled[i]!)).map(text))
          }
          yield* sleep(1)
        }
        yield* (yield* Random.nextBoolean) ? leave : sleep(Worker.pastShort)
      })
      const isOver = Effect.map(one.bounds(ids), (bounds) => bounds.length === 0 && writing.pollUnsafe() !== undefined)
      const lives = (store: Operations) =>
        Effect.repeat(life(store), { until: () => isOver, schedule: Schedule.forever })
      yield* Effect.all([lives(one), lives(other), lives(one)], { concurrency: "unbounded", discard: true })
      yield* Fiber.join(writing)
      for (const [id, all] of ended)
        expectSame(all.toSorted(), expected.flat().toSorted(), `acknowledged or dead-lettered, of ${id}`)
    })
  })
]

// internals

/** Opens the data, uses it and closes it. */
const once = Effect.fnUntraced(function* <A>(
  world: World,
  use: (store: Operations) => Effect.Effect<A, unknown, Scope.Scope>
) {
  const scope = yield* Scope.make()
  const store = yield* Scope.provide(world.open, scope)
  return yield* Effect.onExit(use(store), (exit) => Scope.close(scope, exit))
})

/** Begins to write so many batches of two by so many writers, and answers what each of them writes. */
const write = Effect.fnUntraced(function* (stores: ReadonlyArray<Operations>, writers: number, batches: number) {
  const expected = Array.from({ length: writers }, (_, writer) =>
    Array.from({ length: 2 * batches }, (_, n) => `${writer}:${n}`)
  )
  const one = (all: ReadonlyArray<string>, writer: number) =>
    Effect.forEach(names("", 1, batches), (_, i) =>
      publish(stores[writer % stores.length]!, all.slice(2 * i, 2 * i + 2))
    )
  const writing = yield* Effect.forkChild(Effect.forEach(expected, one, { concurrency: "unbounded" }))
  return { expected, writing }
})

const isEnd = ({ _tag }: Settled): boolean => _tag === "Acknowledged" || _tag === "DeadLettered"

const outcome = (delivery: Delivery): Effect.Effect<Settled> =>
  Effect.map(Random.nextIntBetween(0, 9), (n) => {
    const lane = delivery.lane ?? delivery.position % 3
    if (n === 0) return dead(delivery)
    if (n === 1) return again(delivery, lane)
    if (n === 2) return again(delivery, lane, Worker.short)
    if (n === 3) return aside(delivery, lane)
    return acknowledged(delivery)
  })
