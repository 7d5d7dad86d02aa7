/** The laws of leases, and of several handles to the same data. 11 to 17. */
import * as Cause from "effect/Cause"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { type Lease, LeaseLost, type Operations, type Stored } from "../../../durable/EventStore.ts"
import { ensure } from "./evidence.ts"
import { everything, expectSame, failed, hour, keysOf, names, payloads, show, text } from "./storeValues.ts"
import type { Law, World } from "./storeWorld.ts"
import { acquire, append, expectQueue, law, ownQueue, withHandles, withStore } from "./storeWorld.ts"

const short = Duration.millis(40)
const pastShort = 80

export const leaseLaws: ReadonlyArray<Law> = [
  law(11, "a queue has one owner at a time, and each has a greater epoch", {
    "one after the other": withHandles(function* (one, other, { sleep }) {
      const first = yield* acquire(one, "queue")
      yield* expectHeld(one, "queue", "asked again by the owner's handle")
      const before = yield* expectHeld(other, "queue", "asked by another")
      yield* sleep(50)
      const after = yield* expectHeld(other, "queue", "asked later")
      ensure(after < before, `${before} ms remained, and 50 ms later ${after}`)
      yield* acquire(other, "of others")
      yield* one.release(first)
      const second = yield* acquireAfter(other, first)
      yield* expectHeld(one, "queue", "asked by the owner of before")
      // Releasing it again must not take it from the next.
      yield* one.release(first)
      yield* expectHeld(one, "queue", "released twice")
      yield* other.release(second)
      yield* acquireAfter(one, second)
    }),
    "many at once": withHandles(function* (one, other) {
      let last = 0
      for (let round = 0; round < 5; round++) {
        const asked = yield* Effect.forEach(
          names("", 1, 20),
          (_, i) => (i % 2 === 0 ? one : other).acquire("queue", hour),
          { concurrency: "unbounded" }
        )
        const given = asked.flatMap((answer) => (answer._tag === "Acquired" ? [answer.lease] : []))
        const [lease] = given
        ensure(lease !== undefined && given.length === 1, `20 asked, ${given.length} got it`)
        ensure(lease.epoch > last, `after the epoch ${last} came ${lease.epoch}`)
        last = lease.epoch
        yield* other.release(lease)
      }
    })
  }),
  law(12, "a lease runs out, and is kept by renewing it", {
    "run out": withHandles(function* (one, other, { sleep }) {
      const first = yield* acquire(one, "queue", short)
      yield* sleep(pastShort)
      const second = yield* acquireAfter(other, first)
      yield* expectLost("renew", first, one.renew(first, hour))
      yield* other.renew(second, hour)
    }),
    renewed: withHandles(function* (one, other, { sleep }) {
      // So long that a slow machine renews it in time.
      const lease = yield* acquire(one, "queue", Duration.seconds(1))
      yield* one.renew(lease, hour)
      yield* sleep(1100)
      yield* expectHeld(other, "queue", "renewed for an hour")
      // From now, and not from when it would have run out.
      yield* one.renew(lease, short)
      yield* sleep(pastShort)
      yield* acquireAfter(other, lease)
    }),
    "renewed after it had run out": withHandles(function* (one, other, { sleep }) {
      const lease = yield* acquire(one, "queue", short)
      yield* append(one, "queue", ["e"])
      yield* sleep(pastShort)
      yield* one.renew(lease, hour)
      yield* expectHeld(other, "queue", "renewed when it was free")
      yield* expectQueue(one, lease, ["e"], "renewed when it was free")
    }),
    "for ever": withStore(function* (store) {
      const lease = yield* acquire(store, "queue", Duration.infinity)
      yield* store.renew(lease, Duration.infinity)
      expectSame((yield* store.acquire("queue", short))._tag, "Held", "a lease for ever")
    })
  }),
  law(13, "nothing can be done with a lease that is lost", {
    "taken by another": withHandles(function* (one, other, { sleep }) {
      const texts = names("e", 1, 3)
      yield* append(one, "queue", texts)
      const lost = yield* acquire(one, "queue", short)
      const keys = keysOf(yield* one.next(lost, everything))
      yield* sleep(pastShort)
      const owner = yield* acquireAfter(other, lost)
      yield* expectPowerless(one, lost, keys[0], texts, owner)
      yield* expectPowerless(other, lost, keys[1] ?? 0, texts, owner)
    }),
    "taken by another, and free again": withHandles(function* (one, other, { sleep }) {
      const lost = yield* acquire(one, "queue", short)
      yield* sleep(pastShort)
      const between = yield* acquireAfter(other, lost)
      yield* other.release(between)
      yield* expectLost("next", lost, one.next(lost, everything))
      yield* expectLost("renew", lost, one.renew(lost, hour))
      yield* acquireAfter(one, between)
    }),
    released: withHandles(function* (one, other) {
      const { key, lease: lost } = yield* ownQueue(one, "queue", ["e"])
      yield* one.release(lost)
      yield* expectLost("next", lost, one.next(lost, everything))
      yield* expectLost("renew", lost, one.renew(lost, hour))
      yield* expectPowerless(one, lost, key(0), ["e"], yield* acquireAfter(other, lost))
    })
  }),
  law(14, "changes has an element at once, and after each commit", {
    "commits of this handle and of another": withHandles(function* (mine, others, world) {
      const watcher = yield* watch(world, mine, "queue", rowsOf(mine))
      const after = (what: string, rows: number) => watcher.sees(rows, `after ${what}`)
      for (const [by, store] of [["this handle", mine] as const, ["another handle", others] as const]) {
        yield* append(store, "queue", names("e", 1, 4))
        yield* after(`an append by ${by}`, 4)
        const queue = yield* ownQueue(store)
        yield* queue.acknowledge(queue.key(0))
        yield* after(`an acknowledgement by ${by}`, 3)
        yield* queue.deadLetter(failed(queue.key(1), 2))
        yield* after(`a deadLetter by ${by}`, 2)
        yield* queue.replay(queue.key(1))
        yield* after(`a replay by ${by}`, 3)
        yield* queue.acknowledge(...keysOf(yield* store.next(queue.lease, everything)))
        yield* after(`an acknowledgement by ${by}`, 0)
        expectSame(queue.events.length, 4, "the number of events")
        yield* store.release(queue.lease)
      }
    }),
    "a lease that is released": withHandles(function* (mine, others, world) {
      const release = Effect.fnUntraced(function* (store: Operations) {
        const lease = yield* acquire(store, "queue")
        const watcher = yield* watch(world, mine, "queue", mine.acquire("queue", hour))
        expectSame(watcher.seen?._tag, "Held", "a lease of another owner")
        yield* store.release(lease)
        yield* world.until(
          () => watcher.seen?._tag === "Acquired",
          () => `the lease was released by ${store === mine ? "this" : "another"} handle; a listener did not get it`
        )
        if (watcher.seen?._tag === "Acquired") yield* mine.release(watcher.seen.lease)
      })
      // A listener takes the lease: it must be gone when the next one asks for it.
      for (const store of [mine, others]) yield* Effect.scoped(release(store))
    }),
    "several listeners": withStore(function* (store, world) {
      const one = yield* watch(world, store, "queue", rowsOf(store))
      const two = yield* watch(world, store, "queue", rowsOf(store))
      const third = yield* watch(world, store, "another", rowsOf(store, "another"))
      yield* append(store, "queue", ["e"])
      yield* append(store, "another", ["e", "f"])
      for (const [listener, rows] of [[one, 1] as const, [two, 1] as const, [third, 2] as const])
        yield* listener.sees(rows, "beside other listeners,")
    }),
    "commits of another before there is a listener": withHandles(function* (mine, others, world) {
      for (let n = 1; n <= 3; n++) yield* append(others, "queue", ["e"])
      const watcher = yield* watch(world, mine, "queue", rowsOf(mine))
      expectSame(watcher.seen, 3, "the first that a listener sees")
      yield* append(others, "queue", names("e", 1, 20))
      yield* watcher.sees(23, "20 more were appended, and")
    })
  }),
  law(
    15,
    "what was committed is there when the data is opened again",
    {
      "closed and opened": function* (world) {
        const once = <A>(use: (store: Operations) => Generator<Effect.Effect<unknown, unknown>, A, never>) =>
          Effect.scoped(Effect.flatMap(world.open, (store) => Effect.gen(() => use(store))))
        const before = yield* once(function* (store) {
          const queue = yield* ownQueue(store, "queue", names("e", 0, 5))
          yield* queue.acknowledge(queue.key(0))
          yield* queue.deadLetter(failed(queue.key(1), 2), failed(queue.key(2), 2))
          return { ...queue, deadLetters: yield* queue.deadLetters, counted: yield* queue.size }
        })
        const { lease } = before
        yield* once(function* (store) {
          expectSame((yield* store.acquire("queue", hour))._tag, "Held", "a lease that was not released")
          const events = yield* expectQueue(store, lease, ["e-3", "e-4", "e-5"], "opened again")
          expectSame(events.map(facts), before.events.slice(3).map(facts), "the events")
          const deadLetters = yield* store.list("queue", { limit: 100_000 })
          expectSame(deadLetters, before.deadLetters, "the dead letters")
          expectSame(yield* store.size("queue"), before.counted, "the size")
          yield* store.acknowledge(lease, keysOf(events))
          yield* store.purge("queue", keysOf(deadLetters))
          yield* store.release(lease)
        })
        yield* once(function* (store) {
          const after = yield* acquireAfter(store, lease)
          yield* append(store, "queue", ["new"])
          const [key] = keysOf(yield* expectQueue(store, after, ["new"], "the first of a queue that was emptied"))
          ensure(key > Math.max(...before.keys), `the key ${key} was used before`)
        })
      }
    },
    ({ persists }) => persists
  ),
  law(16, "each event that many write at once is given out once, and those of one writer in order", {
    "many writers and one owner": withHandles(function* (one, other, { sleep }) {
      const lease = yield* acquire(one, "queue")
      const batches = 15
      const writers = names("", 1, 20).map((_, writer) => writer)
      const nameOf = (writer: number, n: number) => `${writer}:${n}`
      const write = (writer: number) =>
        Effect.forEach(names("", 1, batches), (_, i) =>
          append(writer % 2 === 0 ? one : other, "queue", [nameOf(writer, 2 * i), nameOf(writer, 2 * i + 1)])
        )
      const writing = yield* Effect.forkChild(Effect.forEach(writers, write, { concurrency: "unbounded" }))
      const total = writers.length * batches * 2
      const seen: Array<string> = []
      const take = Effect.gen(function* () {
        const some = yield* drain(one, lease)
        seen.push(...some)
        if (some.length > 0) return seen.length >= total
        const exit = writing.pollUnsafe()
        if (exit !== undefined && Exit.isFailure(exit)) yield* Fiber.join(writing)
        if (exit !== undefined && (yield* rowsOf(one)) === 0) return true
        yield* sleep(1)
        return false
      })
      yield* Effect.repeat(take, { until: (isDone) => isDone, schedule: Schedule.forever })
      yield* Fiber.join(writing)
      seen.push(...(yield* drain(one, lease)))
      for (const writer of writers) {
        const expected = Array.from({ length: batches * 2 }, (_, n) => nameOf(writer, n))
        const found = seen.filter((one) => one.startsWith(`${writer}:`))
        expectSame(found, expected, `given out of writer ${writer}`)
      }
      expectSame(seen.length, total, "the number of events")
    })
  }),
  law(17, "an append in a transaction is part of it, and is not skipped when it commits late", {
    "committed and rolled back": withStore(function* (store, world) {
      expectSame(yield* store.inTransaction, false, "inTransaction outside of one")
      const { transaction } = world
      if (transaction === undefined) return
      const { expect, size } = yield* ownQueue(store)
      const watcher = yield* watch(world, store, "queue", rowsOf(store))
      const inside = yield* transaction(Effect.andThen(append(store, "queue", ["kept"]), store.inTransaction))
      expectSame(inside, true, "inTransaction inside of one")
      yield* watcher.sees(1, "after the commit")
      const gone = Effect.andThen(append(store, "queue", ["gone", "also gone"]), Effect.fail("rolled back"))
      ensure(Exit.isFailure(yield* Effect.exit(transaction(gone))), "a transaction that fails did not fail")
      yield* append(store, "queue", ["after"])
      yield* expect(["kept", "after"], "after a transaction that was rolled back")
      const { bytes, rows } = yield* size
      expectSame([rows, bytes], [2, 9], "rows and bytes")
      const admitted = yield* transaction(store.append("queue", payloads(["no", "room"]), { rows: 3, bytes: 1000 }))
      expectSame(admitted, false, "an append in a transaction past the limits")
    }),
    "committed late": function* (world) {
      const { transaction } = world
      if (transaction === undefined) return
      const store = yield* world.open
      const lease = yield* acquire(store, "queue")
      const begun = yield* Deferred.make<void>()
      const goOn = yield* Deferred.make<void>()
      const write = Effect.andThen(append(store, "queue", ["late"]), Deferred.succeed(begun, undefined))
      const late = yield* Effect.forkChild(transaction(Effect.andThen(write, Deferred.await(goOn))))
      yield* Deferred.await(begun)
      // The store may make it wait for the transaction, or not.
      const early = yield* Effect.forkChild(append(store, "queue", ["early"]))
      yield* world.sleep(100)
      const seen = [...(yield* drain(store, lease))]
      yield* Deferred.succeed(goOn, undefined)
      yield* Fiber.joinAll([late, early])
      seen.push(...(yield* drain(store, lease)))
      expectSame(seen.toSorted(), ["early", "late"], "given out")
      yield* expectQueue(store, lease, [], "when both were acknowledged")
    }
  })
]

// internals

/** Expects a lease to be held, for at most an hour, and answers how long. */
const expectHeld = (store: Operations, queue: string, when: string) =>
  Effect.map(store.acquire(queue, hour), (acquired) => {
    ensure(acquired._tag === "Held", `${when}: the lease was given: ${show(acquired)}`)
    const { remaining } = acquired
    ensure(remaining > 0 && remaining <= Duration.toMillis(hour), `${when}: it is held for ${remaining} ms`)
    return remaining
  })

/** The lease after another, whose epoch must be greater. */
const acquireAfter = (store: Operations, before: Lease) =>
  Effect.map(acquire(store, before.queue), (lease) => {
    ensure(lease.epoch > before.epoch, `after the epoch ${before.epoch} came ${lease.epoch}`)
    return lease
  })

/** Expects that a lease is lost: nothing can be done with it, and nothing has happened. */
const expectPowerless = Effect.fnUntraced(function* (
  store: Operations,
  lost: Lease,
  key: number,
  texts: ReadonlyArray<string>,
  owner: Lease
) {
  yield* expectLost("next", lost, store.next(lost, everything))
  yield* expectLost("acknowledge", lost, store.acknowledge(lost, [key]))
  yield* expectLost("deadLetter", lost, store.deadLetter(lost, [failed(key)]))
  yield* expectLost("renew", lost, store.renew(lost, hour))
  yield* store.release(lost)
  yield* expectQueue(store, owner, texts, "after all that a lost lease tried")
  expectSame((yield* store.size(lost.queue)).deadLetters, 0, "dead-lettered with a lost lease")
  yield* store.renew(owner, hour)
  yield* expectHeld(store, lost.queue, "after a lost lease was released")
})

/** A listener that reads something of a queue at each change. */
const watch = Effect.fnUntraced(function* <A>(
  world: World,
  store: Operations,
  queue: string,
  read: Effect.Effect<A, unknown>
) {
  const watcher = { elements: 0, seen: undefined as A | undefined }
  const note = Effect.map(read, (seen) => void Object.assign(watcher, { elements: watcher.elements + 1, seen }))
  const fiber = yield* Effect.forkScoped(Stream.runForEach(store.changes(queue), () => note))
  yield* world.until(
    () => watcher.elements > 0,
    () => `changes had no first element: ${show(fiber.pollUnsafe() ?? "it goes on")}`
  )
  const sees = (expected: A, when: string) =>
    world.until(
      () => watcher.seen === expected,
      () => `${when} a listener saw ${show(watcher.seen)} instead of ${show(expected)}`
    )
  return Object.assign(watcher, { sees })
})

const rowsOf = (store: Operations, queue = "queue") => Effect.map(store.size(queue), ({ rows }) => rows)

/** Takes all that is there, and acknowledges it. */
const drain = Effect.fnUntraced(function* (store: Operations, lease: Lease) {
  const events = yield* store.next(lease, { rows: 50, bytes: 1_000_000 })
  if (events.length > 0) yield* store.acknowledge(lease, keysOf(events))
  return events.map(text)
})

const facts = ({ attempts, key, payload, writtenAt }: Stored) => [key, text({ payload }), attempts, writtenAt]

/** Expects a call to fail because the lease is lost. */
const expectLost = (what: string, lease: Lease, call: Effect.Effect<unknown, unknown>) =>
  Effect.map(Effect.exit(call), (exit) => {
    ensure(Exit.isFailure(exit), `${what} with a lease that is lost did not fail`)
    const isLost = (error: unknown) =>
      error instanceof LeaseLost && error.queue === lease.queue && error.epoch === lease.epoch
    const lost = exit.cause.reasons.some((reason) => Cause.isFailReason(reason) && isLost(reason.error))
    ensure(lost, `${what} with a lease that is lost failed otherwise: ${Cause.pretty(exit.cause)}`)
  })
