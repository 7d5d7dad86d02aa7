import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Schedule } from "effect"
import { EventSink } from "effect-events"
import { DurableBroadcaster, MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { pass, quiet, settle } from "../support/virtual.ts"
import { started } from "./support/broadcaster.ts"
import { type Around, operationsOver } from "./support/store.ts"

/** 1, 11, 21, ... have the key 1. It throws for what is no number. */
const key = (n: number) => Number(n.toFixed(0)) % 10

describe("a subscription by keys", () => {
  it.effect.each<readonly [string, Around]>([
    ["is removed at once", (_, run) => run],
    ["is removed after 30 seconds", (name, run) => (name === "deadLetter" ? Effect.delay(run, "30 seconds") : run)],
    [
      "is over a slow store",
      (name, run) =>
        name === "deadLetter" || name === "take" || name === "acknowledge"
          ? Effect.tap(Effect.delay(run, 3), () => Effect.sleep(3))
          : run
    ]
  ])("goes on, as all others do, with an event that does not decode and %s", ([, act]) =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { orders, spy, subscribe } = yield* started(memory)
      const received: Array<number> = []
      const sink = yield* EventSink.make(
        (n: number) => (key(n) === 1 ? Effect.never : Effect.sync(() => void received.push(n))),
        { drainTimeout: 0 }
      )
      const options = { concurrency: 3, batchSize: 6, partitionBy: key, drainTimeout: 0 }
      yield* subscribe(sink, { name: "keyed", topics: ["order/odd"], ...options })
      const other = yield* TestSink.recording<number>()
      yield* subscribe(other, { name: "other", topics: ["order/even"] })
      // The key 1 hangs, and is set aside.
      for (let i = 0; i < 12; i++) yield* Effect.andThen(orders.write(10 * i + 1), settle)
      yield* TestClock.adjust("1 second")
      spy.act = act
      const store = yield* operationsOver(memory)
      yield* store.publish("orders", [{ payload: Buffer.from("{}"), topic: "order/odd" }])
      yield* settle
      yield* orders.write(3)
      yield* orders.write(2)
      yield* pass(1)
      assert.deepStrictEqual([other.received, received], [[2], [3]])
      yield* pass(60)
      assert.lengthOf(yield* DurableBroadcaster.deadLetters(orders, "keyed").list(), 1)
      yield* orders.write(13)
      yield* pass(1)
      assert.deepStrictEqual(received, [3, 13])
    }).pipe(quiet)
  )

  it.effect(
    "keeps the order of a key whose events were set aside, when it is redefined while the receiver is down",
    () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const { orders, subscribe } = yield* started(memory)
        const received: Array<number> = []
        const failing = new Set([1, 2, 3, 7])
        const hanging = new Set([8])
        const busy = yield* Deferred.make<void, string>()
        const sink = yield* EventSink.make((n: number) =>
          Effect.suspend(() => {
            if (hanging.delete(n)) return Deferred.await(busy)
            return failing.has(n) ? Effect.fail("no") : Effect.sync(() => void received.push(n))
          })
        )
        const redelivery = Redelivery.make(Schedule.spaced("1 second"), { jitter: 0 })
        const options = { concurrency: 2, batchSize: 20, partitionBy: key, redelivery, drainTimeout: 0 }
        yield* subscribe(sink, { name: "keyed", topics: ["order/*"], ...options })
        for (const n of [8, 1, 2, 3, 7, 17, 27]) yield* Effect.andThen(orders.write(n), settle)
        failing.clear()
        hanging.add(1)
        // Both drainers are busy: the events of key 7 are taken from the store again, and wait in memory.
        yield* TestClock.adjust("1 second")
        yield* Deferred.fail(busy, "no")
        yield* settle
        const store = yield* operationsOver(memory)
        yield* store.define("orders", [{ name: "keyed", topics: ["order/odd", "order/even"] }])
        yield* orders.write(37)
        yield* pass(60)
        assert.deepStrictEqual(
          received.filter((n) => key(n) === 7),
          [7, 17, 27, 37]
        )
      }).pipe(quiet)
  )
})
