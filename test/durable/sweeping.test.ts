import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { pass, quiet } from "../support/virtual.ts"
import { started, startedOver } from "./support/broadcaster.ts"
import { error, operationsOver } from "./support/store.ts"
import { beside, file, open, rowsOf } from "./support/sqliteFile.ts"

const counting = Effect.gen(function* () {
  const store = yield* operationsOver(yield* MemoryStore.makeMemory)
  let sweeps = 0
  const sweep = Effect.suspend(() => (sweeps++, store.sweep))
  return { ...(yield* startedOver({ ...store, sweep })), sweeps: () => sweeps }
})

describe("a process that delivers", () => {
  it.effect("removes events from memory that are retained no longer", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { close, orders, subscribe } = yield* started(memory, { retention: "1 minute" })
      const kept = () => memory.exchanges.get("orders")?.kept.length
      yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      yield* EventSink.writeAll(orders, [1, 2, 3])
      yield* orders.flush
      yield* pass(59)
      assert.strictEqual(kept(), 3)
      yield* pass(40)
      assert.strictEqual(kept(), 0)
      yield* close
    }).pipe(quiet)
  )

  it.effect("removes events from a file that are retained no longer", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const { close, orders, subscribe } = yield* startedOver(yield* open(filename), { retention: "1 minute" })
      const db = yield* beside(filename)
      yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      yield* EventSink.writeAll(orders, [1, 2, 3])
      yield* orders.flush
      yield* pass(59)
      assert.deepStrictEqual(rowsOf(db), { events: 3, uses: 3 })
      yield* pass(40)
      assert.deepStrictEqual(rowsOf(db), {})
      yield* close
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("removes what was stored for a subscription that was dropped, however much it is", () =>
    Effect.gen(function* () {
      const filename = yield* file
      const { close, orders, subscribe } = yield* startedOver(yield* open(filename))
      const db = yield* beside(filename)
      const { shutdown } = yield* subscribe(yield* TestSink.hanging<number>({ drainTimeout: 0 }), {
        name: "gone",
        drainTimeout: 0
      })
      yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      for (let i = 0; i < 3; i++) {
        yield* EventSink.writeAll(orders, Array.from({ length: 1_000 }, (_, n) => n) as unknown as readonly [number])
      }
      yield* pass(2)
      yield* shutdown
      assert.strictEqual(yield* DurableBroadcaster.drop(orders, "gone"), 3_000)
      assert.deepStrictEqual(rowsOf(db), { events: 3_000, uses: 3_000, deliveries: 3_000, dropped: 1 })
      yield* pass(32)
      assert.deepStrictEqual(rowsOf(db), {})
      yield* close
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("sweeps about every 30 seconds, soon after a further subscription has begun, and after a failure", () =>
    Effect.gen(function* () {
      const store = yield* operationsOver(yield* MemoryStore.makeMemory)
      let sweeps = 0
      const sweep = Effect.suspend(() => (++sweeps === 1 ? Effect.fail(error("sweep")) : store.sweep))
      const { close, subscribe } = yield* startedOver({ ...store, sweep })
      yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      yield* pass(3 * 31 + 10)
      assert.strictEqual(sweeps, 4)
      yield* subscribe(yield* TestSink.recording<number>(), { name: "billing" })
      yield* pass(2)
      assert.strictEqual(sweeps, 5)
      yield* close
      yield* pass(60)
      assert.strictEqual(sweeps, 5)
    }).pipe(quiet)
  )

  it.effect("sweeps soon after its first subscription has begun", () =>
    Effect.gen(function* () {
      const { subscribe, sweeps } = yield* counting
      yield* subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      yield* pass(3)
      assert.strictEqual(sweeps(), 1)
    }).pipe(quiet)
  )

  it.effect("sweeps a second after a subscription that began less than a second after another", () =>
    Effect.gen(function* () {
      const { subscribe, sweeps } = yield* counting
      yield* subscribe(yield* TestSink.recording<number>(), { name: "one" })
      yield* pass(40)
      const before = sweeps()
      yield* subscribe(yield* TestSink.recording<number>(), { name: "two" })
      yield* Effect.repeat(Effect.yieldNow, { times: 300 })
      yield* TestClock.adjust(900)
      yield* subscribe(yield* TestSink.recording<number>(), { name: "three" })
      // The first sweep comes 100 ms after "three" began, which is too early for it.
      yield* pass(3)
      assert.isAtLeast(sweeps() - before, 2)
    }).pipe(quiet)
  )
})
