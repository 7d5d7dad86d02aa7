import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { EventSink, SinkGraph } from "effect-events"
import { DurableBroadcaster, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { pass, quiet, settle, withLogs } from "../support/virtual.ts"
import { started } from "./support/broadcaster.ts"
import { error, type Spy } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)

describe("a subscription that closes", () => {
  it.effect.each([
    ["hangs", () => Effect.never],
    ["fails after 10 seconds", () => Effect.delay(Effect.fail(error("settle")), "10 seconds")]
  ] as const)("while a settlement %s leaves its lease to another process", ([, settling]) =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const one = yield* started(memory)
      yield* one.subscribe(yield* TestSink.recording<number>(), { name: "other" })
      const { shutdown } = yield* one.subscribe(yield* TestSink.recording<number>(), { name: "audit" })
      one.spy.act = (name, run) => (name === "acknowledge" ? settling() : run)
      yield* one.orders.write(1)
      yield* TestClock.adjust("1 second")
      const closing = yield* Effect.forkChild(shutdown)
      yield* pass(20)
      assert.isDefined(closing.pollUnsafe())
      one.spy.heal()
      const two = yield* started(memory)
      const receiver = yield* TestSink.recording<number>()
      yield* two.subscribe(receiver, { name: "audit" })
      yield* two.orders.write(2)
      yield* pass(10)
      assert.deepStrictEqual(receiver.received, [1, 2])
    }).pipe(quiet)
  )
})

describe("a subscription that its receiver closes", () => {
  it.effect("counts as served by no process: it is logged once, and in health", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const { orders, subscribe } = yield* started(memory)
        yield* subscribe(yield* TestSink.closing<number>({ from: 1 }), { name: "audit" })
        yield* orders.write(1)
        yield* TestClock.adjust("1 minute")
        yield* orders.write(2)
        yield* TestClock.adjust("5 minutes")
        const [warning, ...others] = logs.filter(({ line }) => line.includes("no process serves"))
        assert.include(warning?.line, "audit")
        assert.lengthOf(others, 0)
        const [, unserved, ...rest] = yield* SinkGraph.health(orders)
        assert.deepInclude(unserved, { kind: "Subscription", name: "audit", state: "closed", pending: 2 })
        assert.deepInclude(unserved?.lastError?.error, { _tag: "NotDelivering", reason: "Unserved" })
        assert.lengthOf(rest, 0)
      })
    )
  )
})

describe("a subscription that is dropped while its process serves it", () => {
  it.effect("leaves nothing at its close", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, subscribe } = yield* started(memory)
      const hanging = yield* TestSink.hanging<number>({ drainTimeout: 0 })
      const { node, shutdown } = yield* subscribe(hanging, { name: "audit", drainTimeout: 0 })
      yield* EventSink.writeAll(orders, [1, 2, 3])
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* DurableBroadcaster.drop(orders, "audit"), 3)
      yield* pass(10)
      assert.strictEqual((yield* shutdown).count, 0)
      assert.deepInclude(node.health(0).counts, { remaining: 0 })
    }).pipe(quiet)
  )
})

describe("a subscription that begins while the last one of its process ends", () => {
  /** A store that takes its time before and after each take and, if it is slow, each claim; how many it has at once. */
  const latency = (spy: Spy, millis: number) => {
    let [now, most] = [0, 0]
    spy.act = (name, run) =>
      name === "take" || (name === "claim" && millis > 100)
        ? Effect.suspend(() => {
            most = Math.max(most, ++now)
            return Effect.ensuring(
              Effect.tap(Effect.delay(run, millis), () => Effect.sleep(millis)),
              Effect.sync(() => void now--)
            )
          })
        : run
    return () => most
  }

  it.effect("gets each event once and in order, by one loop", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, spy, subscribe } = yield* started(memory)
      const { shutdown } = yield* subscribe(yield* TestSink.recording<number>(), { name: "first" })
      yield* orders.write(1)
      yield* orders.flush
      latency(spy, 200)
      yield* orders.write(2)
      yield* TestClock.adjust(20)
      const ending = yield* Effect.forkChild(shutdown)
      yield* settle
      const receiver = yield* TestSink.recording<number>()
      yield* subscribe(receiver, { name: "second" })
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(ending)
      const most = latency(spy, 5)
      for (const n of range(10, 80)) {
        yield* orders.write(n)
        yield* TestClock.adjust(3)
        yield* settle
      }
      yield* pass(2)
      assert.deepStrictEqual(receiver.received, range(10, 80))
      assert.strictEqual(most(), 1)
    }).pipe(quiet)
  )

  it.effect("is delivered when the store does not take the leases back", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, spy, subscribe } = yield* started(memory)
      const { shutdown } = yield* subscribe(yield* TestSink.recording<number>(), { name: "first" })
      yield* orders.write(1)
      yield* orders.flush
      spy.hang(["release"])
      const ending = yield* Effect.forkChild(shutdown)
      yield* settle
      const receiver = yield* TestSink.recording<number>()
      yield* subscribe(receiver, { name: "second" })
      yield* orders.write(2)
      yield* pass(10)
      assert.isDefined(ending.pollUnsafe())
      assert.deepStrictEqual(receiver.received, [2])
    }).pipe(quiet)
  )
})
