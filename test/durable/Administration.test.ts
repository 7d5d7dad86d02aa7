/** What became of events, and the administration of a store. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventSink } from "effect-events"
import { Administration, EventStore, MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { quiet, settle } from "../support/virtual.ts"
import { No, no, receiving } from "./support/attempts.ts"
import { started } from "./support/broadcaster.ts"
import { start } from "./support/process.ts"
import { operationsOver, Spy } from "./support/store.ts"

const twice = Redelivery.fromDelays(["10 seconds"], { jitter: 0 })

/** A process that has nothing but the store. */
const overStore = <A, E>(memory: MemoryStore.Memory, effect: Effect.Effect<A, E, EventStore.EventStore>) =>
  Effect.flatMap(operationsOver(memory), (store) => Effect.provideService(effect, EventStore.EventStore, store))

describe("status", () => {
  it.effect("of a queue in order: pending with its attempts and next time, dead, delivered", () =>
    Effect.gen(function* () {
      const { sink } = yield* receiving((n) => (n === 1 ? Effect.delay(no, 30) : Effect.void))
      const { queue } = yield* start(sink, { redelivery: twice, outcomes: "1 hour" })
      const one = (yield* queue.send(1))!.id
      const two = (yield* queue.send(2))!.id
      const later = (yield* queue.send(3, { delay: "1 hour" }))!.id
      const of = (id: number) => Effect.map(queue.status(id), (status) => status?.deliveries[0])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual((yield* of(one))?.state, { _tag: "Pending", failed: 1, nextAt: 10_030 })
      assert.deepInclude((yield* of(two))?.state, { _tag: "Pending", failed: 0 })
      assert.deepStrictEqual((yield* of(later))?.state, { _tag: "Pending", failed: 0, nextAt: 3_600_000 })
      yield* TestClock.adjust("10 seconds")
      const dead = yield* of(one)
      assert.deepInclude(dead?.state, { _tag: "DeadLettered", failed: 2, reason: "Exhausted" })
      assert.deepStrictEqual(dead?.attempts, [
        { at: 0, took: 30, error: "No", detail: undefined },
        { at: 10_030, took: 30, error: "No", detail: undefined }
      ])
      assert.deepStrictEqual((yield* of(two))?.state._tag, "Delivered")
      assert.deepStrictEqual((yield* of(two))?.attempts.length, 1)
      yield* TestClock.adjust("2 hours")
      assert.strictEqual((yield* of(later))?.state._tag, "Delivered")
      assert.strictEqual(yield* queue.status(999), undefined)
    }).pipe(quiet)
  )

  it.effect("out of order, and after a replay", () =>
    Effect.gen(function* () {
      const control = { isUp: false }
      const { sink } = yield* receiving((n) => (n === 1 && !control.isUp ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: twice, outcomes: "1 hour", concurrency: 2 })
      const id = (yield* queue.send(1))!.id
      const state = Effect.map(queue.status(id), (status) => status?.deliveries[0]?.state)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(yield* state, { _tag: "Pending", failed: 1, nextAt: 10_000 })
      yield* TestClock.adjust("1 minute")
      assert.deepInclude(yield* state, { _tag: "DeadLettered", failed: 2 })
      control.isUp = true
      yield* queue.deadLetters.replay("all")
      yield* TestClock.adjust("1 second")
      assert.deepInclude(yield* state, { _tag: "Delivered" })
      assert.deepStrictEqual(
        (yield* queue.status(id))?.deliveries[0]?.attempts.map(({ error }) => error),
        ["No", "No", undefined]
      )
    }).pipe(quiet)
  )

  it.effect("has the attempt whose plan takes its time, also where the queue is paused meanwhile", () =>
    Effect.gen(function* () {
      const { sink } = yield* receiving(() => no)
      const next: Redelivery.Redelivery["next"] = (failed) => Effect.delay(Redelivery.none.next(failed), "1 second")
      const { queue } = yield* start(sink, {
        redelivery: { ...Redelivery.none, next },
        outcomes: "1 hour",
        concurrency: 2
      })
      const id = (yield* queue.send(1))!.id
      yield* TestClock.adjust("500 millis")
      yield* queue.pause()
      yield* queue.write(2)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual((yield* queue.status(id))?.deliveries[0]?.attempts, [
        { at: 0, took: 0, error: "No", detail: undefined }
      ])
    }).pipe(quiet)
  )

  it.effect("has the attempt that could not be settled before the queue was paused", () =>
    Effect.gen(function* () {
      const spy = new Spy()
      const { sink } = yield* receiving((_, attempt) => (attempt === 1 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: twice, outcomes: "1 hour", spy })
      spy.fail(["acknowledge"])
      const id = (yield* queue.send(1))!.id
      yield* settle
      yield* queue.pause()
      yield* TestClock.adjust("1 second")
      spy.heal()
      yield* TestClock.adjust("10 seconds")
      yield* queue.resume
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        (yield* queue.status(id))?.deliveries[0]?.attempts.map(({ error }) => error),
        ["No", undefined]
      )
    }).pipe(quiet)
  )

  it.effect("without outcomes it knows what is stored, and not what became of the rest", () =>
    Effect.gen(function* () {
      const { sink } = yield* receiving((n) => (n === 1 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: twice })
      const [one, two] = [(yield* queue.send(1))!.id, (yield* queue.send(2))!.id]
      yield* TestClock.adjust("1 second")
      const status = yield* queue.status(one)
      assert.deepStrictEqual(status?.deliveries[0], {
        subscription: "events",
        state: { _tag: "Pending", failed: 1, nextAt: 10_000 },
        attempts: []
      })
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(yield* queue.status(two), undefined)
    }).pipe(quiet)
  )

  it.effect("of a broadcaster, for each subscription, by its own id", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory, {
        id: (n) => `order ${n}`,
        deduplication: "1 hour",
        outcomes: "1 hour"
      })
      const [all, even, odd] = [
        yield* receiving(() => Effect.void),
        yield* receiving(() => Effect.fail(new No({ permanent: true }))),
        yield* receiving(() => Effect.void)
      ]
      yield* subscribe(all.sink, { name: "all" })
      yield* subscribe(even.sink, { name: "even", topics: ["order/even"] })
      yield* subscribe(odd.sink, { name: "odd", topics: ["order/odd"] })
      yield* orders.write(2)
      yield* orders.flush
      const status = yield* orders.status("order 2")
      assert.strictEqual(status?.topic, "order/even")
      assert.deepStrictEqual(
        status?.deliveries.map(({ state, subscription }) => [subscription, state._tag]),
        [
          ["all", "Delivered"],
          ["even", "DeadLettered"],
          ["odd", "Unmatched"]
        ]
      )
      const seen = yield* overStore(memory, Administration.status("orders", "order 2"))
      assert.deepStrictEqual(seen, status)
      assert.strictEqual(yield* orders.status("order 9"), undefined)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("of what a limit dropped, and what was purged", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: number) => Effect.never, { drainTimeout: 0 })
      const { queue } = yield* start(sink, { capacity: 1, overflow: "drop-oldest", outcomes: "1 hour" })
      const ids: Array<number> = []
      for (const n of [1, 2, 3, 4]) {
        ids.push((yield* queue.send(n))!.id)
        yield* settle
      }
      yield* TestClock.adjust("1 second")
      const state = (id: number) => Effect.map(queue.status(id), (status) => status?.deliveries[0]?.state._tag)
      assert.deepStrictEqual(yield* Effect.forEach(ids, state), ["Pending", "Dropped", "Dropped", "Dropped"])
      yield* queue.purge
      assert.strictEqual(yield* state(ids[0]!), "Purged")
    }).pipe(quiet)
  )
})

describe("Administration", () => {
  it.effect("shows every subscription with its figures, and why it is not delivered", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const down = yield* receiving(() => no)
      yield* subscribe(down.sink, { name: "down", redelivery: Redelivery.sinks, concurrency: 4 })
      yield* subscribe((yield* receiving(() => Effect.void)).sink, { name: "fine" })
      const { queue } = yield* start((yield* receiving(() => no)).sink, { memory, redelivery: twice })
      yield* queue.write(7)
      yield* EventSink.writeAll(orders, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      yield* overStore(memory, Administration.pause({ exchange: "orders", name: "fine" }, "their maintenance"))
      yield* orders.send(11, { delay: "1 day" })
      yield* TestClock.adjust("5 seconds")
      const all = yield* overStore(memory, Administration.subscriptions())
      assert.deepStrictEqual(
        all.map((one) => [
          one.exchange,
          one.name,
          one.pending,
          one.state,
          one.reason,
          one.wait?.reason,
          one.wait?.position
        ]),
        [
          ["events", "events", 1, "active", undefined, "No", 1],
          ["orders", "down", 11, "active", undefined, "No", undefined],
          ["orders", "fine", 11, "paused", "their maintenance", undefined, undefined]
        ]
      )
      assert.isAbove(all[1]?.wait?.attempts ?? 0, 0)
      assert.strictEqual(all[1]?.oldest, 0)
      assert.deepStrictEqual(
        (yield* overStore(memory, Administration.subscriptions({ exchange: "orders", name: "fine" }))).length,
        1
      )
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("purges what is pending in batches, with progress, and ends the wait", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { received, sink } = yield* receiving((n) => (n < 5000 ? no : Effect.void))
      const { queue } = yield* start(sink, { memory, redelivery: Redelivery.sinks })
      yield* EventSink.writeAll(queue, Array.from({ length: 2500 }, (_, i) => i + 1) as [number, ...Array<number>])
      yield* queue.send(6000, { delay: "1 hour" })
      yield* TestClock.adjust("1 second")
      const progress: Array<string> = []
      const purged = yield* overStore(
        memory,
        Administration.purge(
          { exchange: "events" },
          {
            onProgress: (one) => Effect.sync(() => void progress.push(`${one.subscription} ${one.done}/${one.pending}`))
          }
        )
      )
      assert.strictEqual(purged, 2501)
      assert.deepStrictEqual(progress, ["events 1000/2501", "events 2000/2501", "events 2501/2501"])
      yield* queue.write(5000)
      yield* TestClock.adjust("2 minutes")
      assert.deepStrictEqual(received, [5000])
      assert.strictEqual(yield* queue.pending, 0)
    }).pipe(quiet)
  )

  it.effect("purges an event that is in flight, and nothing waits for its next attempt", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* receiving((n) => (n === 1 ? Effect.delay(no, "30 seconds") : Effect.void))
      const { queue } = yield* start(sink, { redelivery: Redelivery.fromDelays(["1 hour"], { jitter: 0 }) })
      yield* queue.write(1)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(yield* queue.purge, 1)
      yield* queue.write(2)
      yield* TestClock.adjust("30 seconds")
      assert.deepStrictEqual(received, [2])
    }).pipe(quiet)
  )

  it.effect("replays the dead letters of a filter in batches, in order, beside deliveries that go on", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const control = { isUp: false }
      const { received, sink } = yield* receiving((n) => (control.isUp || n > 10_000 ? Effect.void : no))
      const { queue } = yield* start(sink, { memory, redelivery: Redelivery.none })
      yield* EventSink.writeAll(queue, Array.from({ length: 1700 }, (_, i) => i + 1) as [number, ...Array<number>])
      yield* queue.flush
      control.isUp = true
      const progress: Array<number> = []
      const letters = yield* overStore(memory, Administration.deadLetters({ exchange: "events" }))
      assert.strictEqual(yield* letters.count({ reason: "Failed" }), 1700)
      const replayed = yield* letters.replay(
        { reason: "Failed", cause: "No" },
        {
          onProgress: ({ done, selected }) =>
            Effect.gen(function* () {
              progress.push(done)
              assert.strictEqual(selected, 1700)
              yield* queue.write(10_000 + done)
            }).pipe(Effect.orDie)
        }
      )
      yield* queue.flush
      assert.strictEqual(replayed, 1700)
      assert.deepStrictEqual(progress, [500, 1000, 1500, 1700])
      const expected = [
        [1, 500, 10_500],
        [501, 1000, 11_000],
        [1001, 1500, 11_500],
        [1501, 1700, 11_700]
      ].flatMap(([from = 0, to = 0, written = 0]) => [
        ...Array.from({ length: to - from + 1 }, (_, i) => from + i),
        written
      ])
      assert.deepStrictEqual(received, expected)
      assert.strictEqual(yield* letters.count(), 0)
    }).pipe(quiet)
  )

  it.effect("gets one dead letter, and purges by a filter", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { sink } = yield* receiving((n) => (n === 2 ? Effect.die("broken") : no))
      const { queue } = yield* start(sink, { memory })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* queue.flush
      const [first] = yield* queue.deadLetters.list({ reason: "Died" })
      assert.strictEqual((yield* queue.deadLetters.get(first!.position))?.cause, "broken")
      assert.strictEqual(yield* queue.deadLetters.get(99), undefined)
      // All fields of a filter must match, also beside a position.
      const { position } = first!
      assert.strictEqual(yield* queue.deadLetters.purge({ position, reason: "Failed" }), 0)
      assert.strictEqual(yield* queue.deadLetters.replay({ position, from: 1e15 }), 0)
      assert.strictEqual(yield* queue.deadLetters.count(), 3)
      // A dead letter selects itself, and not all that are like it.
      assert.strictEqual(yield* queue.deadLetters.purge((yield* queue.deadLetters.list())[0]!), 1)
      assert.strictEqual(yield* queue.deadLetters.purge({ reason: "Failed" }), 1)
      assert.strictEqual(yield* queue.deadLetters.count(), 1)
    }).pipe(quiet)
  )

  it.effect("fails typed for a subscription that is not there", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const error = yield* Effect.flip(overStore(memory, Administration.deadLetters({ exchange: "orders", name: "x" })))
      assert.strictEqual(error.message, 'the store has no subscription "x" of "orders"')
      assert.strictEqual(yield* overStore(memory, Administration.pause({ exchange: "orders" })), 0)
      assert.strictEqual(yield* overStore(memory, Administration.purge({ exchange: "orders" })), 0)
      assert.strictEqual(yield* overStore(memory, Administration.drop({ exchange: "orders" })), 0)
    }).pipe(quiet)
  )
})
