import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Stream } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { isFull, runs } from "../support/runs.ts"

const Store = EventStore.EventStore
const make = Effect.map(MemoryStore.makeMemory, (memory) => ({ layer: MemoryStore.layerOver(memory) }))

const define = Store.use((store) =>
  Effect.map(store.define("orders", [{ name: "audit", topics: ["*"] }]), ([subscription]) => subscription!.id)
)
const publish = (...texts: ReadonlyArray<string>) =>
  Store.use((store) =>
    Effect.forEach(texts, (text) => store.publish("orders", [{ payload: Buffer.from(text) }]), { discard: true })
  )
const pending = Store.use((store) =>
  Effect.gen(function* () {
    const [found] = yield* store.list({ exchange: "orders" })
    return found === undefined ? undefined : (yield* store.figures(found.id))?.pending
  })
)

describe("the store in memory", () => {
  for (const time of isFull ? (["virtual", "real"] as const) : (["virtual"] as const)) {
    describe(`in ${time} time`, () => {
      const subject = StoreLaws.subject({ name: "memory", time, make })
      for (const law of StoreLaws.laws) {
        it.live(`${law.number}: ${law.title}`, () =>
          Effect.gen(function* () {
            const violations = yield* StoreLaws.check(subject, { laws: [law.number] })
            assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          })
        )
      }
    })
  }

  it.live("owners that come and go, with many seeds", () =>
    Effect.gen(function* () {
      const subject = StoreLaws.subject({ name: "memory", time: "virtual", make })
      for (let seed = 1; seed <= runs(200); seed++) {
        const violations = yield* StoreLaws.check(subject, { laws: [24], seed: `${seed}` })
        assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
      }
    })
  )

  it.effect("MemoryStore.layer is empty each time it is built", () =>
    Effect.gen(function* () {
      const { layer } = MemoryStore
      yield* Effect.provide(Effect.andThen(define, publish("e")), layer)
      assert.isUndefined(yield* Effect.provide(pending, layer))
    })
  )

  it.effect("two stores over one memory see each other, and the next finds what they left", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const layer = MemoryStore.layerOver(memory)
      const build = Layer.build(Layer.fresh(layer))
      yield* Effect.scoped(
        Effect.gen(function* () {
          const one = yield* build
          const other = yield* build
          yield* Effect.provide(Effect.andThen(define, publish("a", "b")), one)
          assert.strictEqual(yield* Effect.provide(pending, other), 2)
        })
      )
      assert.strictEqual(yield* Effect.provide(pending, layer), 2)
    })
  )

  it.effect("its leases and its delays go by the TestClock", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const id = yield* define
      yield* publish("e")
      const one = yield* store.renew({ name: "one" }, Duration.seconds(30))
      const other = yield* store.renew({ name: "other" }, Duration.hours(1))
      const [lease] = (yield* store.claim(one, [id], 1)).acquired
      yield* TestClock.adjust("29999 millis")
      assert.isEmpty((yield* store.claim(other, [id], 1)).acquired)
      yield* TestClock.adjust("1 millis")
      const [next] = (yield* store.claim(other, [id], 1)).acquired
      assert.deepStrictEqual([lease?.epoch, next?.epoch], [1, 2])
      const delay = Duration.seconds(5)
      yield* store.settle(other, [
        { lease: next!, settled: [{ _tag: "Again", position: 1, lane: 0, delay, attempts: 1 }] }
      ])
      assert.deepStrictEqual(yield* store.claim(other, [id], 1), { acquired: [], woken: [], inactive: [], wait: 5000 })
      yield* TestClock.adjust("4999 millis")
      assert.deepStrictEqual(yield* store.claim(other, [id], 1), { acquired: [], woken: [], inactive: [], wait: 1 })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* store.claim(other, [id], 1), {
        acquired: [],
        woken: [id],
        inactive: [],
        wait: undefined
      })
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("its bounds are those of however many that have come due", () =>
    Store.use((store) =>
      Effect.gen(function* () {
        const id = yield* define
        const later = { payload: Buffer.from("later"), due: { after: Duration.seconds(1) } }
        yield* store.publish("orders", [later, ...Array.from({ length: 200_000 }, () => later)])
        yield* TestClock.adjust("1 second")
        const [bounds] = yield* store.bounds([id])
        assert.isTrue(bounds?.isComing)
      })
    ).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("a claim begins with the subscriptions that have been free for longest", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const names = ["a", "b", "c", "d"] as const
      const ids = yield* Effect.forEach(names, (name) =>
        Effect.map(store.define("orders", [{ name, topics: ["*"] }]), ([one]) => one!.id)
      )
      yield* publish("e")
      const owner = yield* store.renew({ name: "one" }, Duration.hours(1))
      const served: Array<number> = []
      for (let n = 0; n < 8; n++) {
        const { acquired } = yield* store.claim(owner, ids, 1)
        served.push(...acquired.map(({ subscription }) => subscription))
        yield* store.release(owner, acquired)
      }
      assert.deepStrictEqual(served, [...ids, ...ids])
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("a slow listener is notified of many changes at once, and misses none", () =>
    Effect.gen(function* () {
      const store = yield* Store
      yield* define
      let elements = 0
      let seen: number | undefined
      const note = Effect.andThen(
        Effect.sleep("1 second"),
        Effect.map(pending, (found) => {
          elements++
          seen = found
        })
      )
      const fiber = yield* Effect.forkChild(Stream.runForEach(store.changes, () => note))
      yield* TestClock.adjust("500 millis")
      yield* publish(...Array.from({ length: 100 }, () => "e"))
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(seen, 100)
      assert.isAtMost(elements, 3)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("a writer that is refused hears of no change of its own", () =>
    Effect.gen(function* () {
      const store = yield* Store
      yield* define
      yield* publish("e")
      let elements = 0
      const fiber = yield* Effect.forkChild(Stream.runForEach(store.changes, () => Effect.sync(() => elements++)))
      yield* TestClock.adjust("1 second")
      const limits = { rows: 1, bytes: 1000 }
      assert.isUndefined(yield* store.publish("orders", [{ payload: new Uint8Array(1) }], limits))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(elements, 1)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  // That a step costs no more than with few events is a check of the benchmark.
  it.effect("a subscription with many events keeps what was not acknowledged", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const id = yield* define
      const [first, ...others] = Array.from({ length: 100 }, () => ({ payload: new Uint8Array(1) }))
      const batches = runs(2000)
      for (let n = 0; n < batches; n++) yield* store.publish("orders", [first!, ...others])
      const owner = yield* store.renew({ name: "one" }, Duration.hours(1))
      const [lease] = (yield* store.claim(owner, [id], 1)).acquired
      const wanted = { ...lease!, limits: { rows: 101, bytes: 1000 }, except: [], busy: [], perLane: 1 }
      // The first stays where it is, so that what is acknowledged leaves from behind it.
      for (let n = 0; n < batches / 2; n++) {
        const [taken] = yield* store.take(owner, [wanted])
        const [, ...deliveries] = taken?.deliveries ?? []
        const settled = deliveries.map(({ position }) => ({ _tag: "Acknowledged", position }) as const)
        yield* store.settle(owner, [{ lease: lease!, settled }])
      }
      assert.strictEqual(yield* pending, batches * 50)
    }).pipe(Effect.provide(MemoryStore.layer))
  )
})

describe("the errors of a store", () => {
  it("say what and where, and whether it may have happened", () => {
    const error = { store: "sqlite", operation: "publish", problem: "NoSpace", detail: "the disk is full" } as const
    const sure = new EventStore.EventStoreError({ ...error, maybeCommitted: false })
    assert.strictEqual(sure.message, "the sqlite store could not publish (NoSpace: the disk is full)")
    const maybeCommitted = new EventStore.EventStoreError({ ...error, maybeCommitted: true })
    assert.include(maybeCommitted.message, "and may have done it all the same")
  })
})
