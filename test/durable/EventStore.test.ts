import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber, Layer, Stream } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as StoreLaws from "effect-events/testing/StoreLaws"
import { isFull, runs } from "../support/runs.ts"

const Store = EventStore.EventStore
const rows = (queue: string) => Store.use((store) => Effect.map(store.size(queue), ({ rows }) => rows))
const append = (queue: string, ...texts: readonly [string, ...ReadonlyArray<string>]) =>
  Store.use((store) =>
    store.append(queue, [Buffer.from(texts[0]), ...texts.slice(1).map((text) => Buffer.from(text))], undefined)
  )
const make = Effect.map(MemoryStore.makeMemory, (memory) => ({
  layer: MemoryStore.layerOver(memory)
}))

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

  it.effect("MemoryStore.layer is empty each time it is built", () =>
    Effect.gen(function* () {
      const { layer } = MemoryStore
      yield* Effect.provide(append("queue", "e"), layer)
      assert.strictEqual(yield* Effect.provide(rows("queue"), layer), 0)
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
          yield* Effect.provide(append("queue", "a", "b"), one)
          assert.strictEqual(yield* Effect.provide(rows("queue"), other), 2)
        })
      )
      assert.strictEqual(yield* Effect.provide(rows("queue"), layer), 2)
    })
  )

  it.effect("its leases go by the TestClock", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const first = yield* store.acquire("queue", Duration.seconds(30))
      assert.strictEqual(first._tag, "Acquired")
      yield* TestClock.adjust("29 seconds")
      assert.deepStrictEqual(yield* store.acquire("queue", Duration.seconds(30)), { _tag: "Held", remaining: 1000 })
      yield* TestClock.adjust("1 second")
      const second = yield* store.acquire("queue", Duration.seconds(30))
      assert.deepStrictEqual(second, { _tag: "Acquired", lease: { queue: "queue", epoch: 2 } })
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("a slow listener is notified of many changes at once, and misses none", () =>
    Effect.gen(function* () {
      const store = yield* Store
      let elements = 0
      let seen = 0
      const fiber = yield* Effect.forkChild(
        Stream.runForEach(store.changes("queue"), () =>
          Effect.andThen(
            Effect.sleep("1 second"),
            Effect.map(store.size("queue"), ({ rows }) => {
              elements++
              seen = rows
            })
          )
        )
      )
      yield* TestClock.adjust("500 millis")
      for (let n = 0; n < 100; n++) yield* append("queue", "e")
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(seen, 100)
      assert.isAtMost(elements, 3)
      yield* Fiber.interrupt(fiber)
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  // That a step costs no more than in a short one is a check of the benchmark.
  it.effect("a long queue keeps what was not acknowledged", () =>
    Effect.gen(function* () {
      const store = yield* Store
      const hundred = Array.from({ length: 100 }, () => new Uint8Array(1))
      const [first = new Uint8Array(), ...others] = hundred
      const appends = runs(2000)
      for (let n = 0; n < appends; n++) yield* store.append("queue", [first, ...others], undefined)
      const answer = yield* store.acquire("queue", Duration.hours(1))
      assert.isTrue(answer._tag === "Acquired")
      if (answer._tag !== "Acquired") return
      // The first stays where it is, so that what is acknowledged leaves from behind it.
      for (let n = 0; n < appends / 2; n++) {
        const [, ...events] = yield* store.next(answer.lease, { rows: 101, bytes: 1000 })
        const [key = 0, ...keys] = events.map(({ key }) => key)
        yield* store.acknowledge(answer.lease, [key, ...keys])
      }
      assert.strictEqual(yield* rows("queue"), appends * 50)
    }).pipe(Effect.provide(MemoryStore.layer))
  )
})

describe("the errors of a store", () => {
  it("say what and where, and whether it may have happened", () => {
    const error = { store: "sqlite", operation: "append", problem: "NoSpace", detail: "the disk is full" } as const
    const sure = new EventStore.EventStoreError({ ...error, maybeCommitted: false })
    assert.strictEqual(sure.message, "the sqlite store could not append (NoSpace: the disk is full)")
    const maybeCommitted = new EventStore.EventStoreError({ ...error, maybeCommitted: true })
    assert.include(maybeCommitted.message, "and may have done it all the same")
    const lost = new EventStore.LeaseLost({ queue: "orders", epoch: 3 })
    assert.include(lost.message, 'the lease 3 of the queue "orders"')
  })
})
