/** Events of a store that wait for a batch to fill up. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Schema, Scope } from "effect"
import { TestClock } from "effect/testing"
import { EventSink } from "effect-events"
import { DurableBroadcaster, DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import { quiet, settle } from "../support/virtual.ts"

const receiver = (take: (n: number) => Effect.Effect<void, string> = () => Effect.void) => {
  const batches: Array<readonly [at: number, events: ReadonlyArray<number>]> = []
  const sink = EventSink.makeBatch((events: ReadonlyArray<number>) =>
    Effect.clockWith((clock) => {
      batches.push([clock.currentTimeMillisUnsafe(), events])
      return take(batches.length)
    })
  )
  return { sink, batches }
}
const pass = (millis: number) =>
  Effect.repeat(Effect.andThen(TestClock.adjust(1), settle), { times: Math.max(0, millis - 1) })
const options = { name: "numbers", schema: Schema.Number, batchSize: 3, maxAge: 100 }

describe("DurableQueue with maxAge", () => {
  it.effect("delivers a batch when it is full, or when its oldest event has its age", () =>
    Effect.gen(function* () {
      const { batches, sink } = receiver()
      const queue = yield* DurableQueue.make(options)(sink)
      yield* queue.write(1)
      yield* pass(50)
      yield* queue.write(2)
      yield* queue.write(3)
      yield* pass(5)
      yield* queue.write(4)
      yield* pass(200)
      assert.deepStrictEqual(batches, [
        [50, [1, 2, 3]],
        [155, [4]]
      ])
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("keeps what waits at the close, whose age goes on", () =>
    Effect.gen(function* () {
      const { batches, sink } = receiver()
      const scope = yield* Scope.make()
      const queue = yield* Scope.provide(DurableQueue.make(options)(sink), scope)
      yield* queue.write(1)
      yield* pass(40)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(batches, [])
      yield* pass(30)
      yield* DurableQueue.make(options)(sink)
      yield* pass(29)
      assert.deepStrictEqual(batches, [])
      yield* pass(2)
      assert.deepStrictEqual(batches, [[100, [1]]])
    }).pipe(Effect.provide(MemoryStore.layer), quiet)
  )

  it.effect("has an event that failed wait for its plan alone", () =>
    Effect.gen(function* () {
      const { batches, sink } = receiver((n) => (n === 1 ? Effect.fail("down") : Effect.void))
      const queue = yield* DurableQueue.make({ ...options, redelivery: Redelivery.fromDelays(["20 millis"]) })(sink)
      yield* queue.write(1)
      yield* pass(200)
      const [first, again] = batches
      assert.deepStrictEqual(first, [100, [1]])
      // The delay of the plan is random, and at most that.
      assert.isTrue(again !== undefined && again[0] <= 130)
    }).pipe(Effect.provide(MemoryStore.layer), quiet)
  )

  it.effect("by keys: waits for events of the same key, and for none where there is no more room", () =>
    Effect.gen(function* () {
      const { batches, sink } = receiver()
      const queue = yield* DurableQueue.make({ ...options, concurrency: 2, partitionBy: (n: number) => n % 10 })(sink)
      yield* EventSink.writeAll(queue, [1, 2])
      yield* pass(50)
      assert.deepStrictEqual(batches, [])
      // As many as are read, and there are more.
      yield* EventSink.writeAll(queue, [3, 4])
      yield* pass(5)
      assert.isAtLeast(batches.length, 3)
      yield* pass(200)
      assert.deepStrictEqual(batches.flatMap(([, events]) => events).toSorted(), [1, 2, 3, 4])
      assert.isTrue(batches.every(([, events]) => events.length === 1))
    }).pipe(Effect.provide(MemoryStore.layer))
  )
})

describe("a subscription with maxAge", () => {
  it.effect("waits by itself", () =>
    Effect.gen(function* () {
      const [slow, quick] = [receiver(), receiver()]
      const broadcaster = yield* DurableBroadcaster.make({ name: "numbers", schema: Schema.Number })
      yield* DurableBroadcaster.subscribe(broadcaster, slow.sink, { name: "slow", maxAge: 100 })
      yield* DurableBroadcaster.subscribe(broadcaster, quick.sink, { name: "quick" })
      yield* broadcaster.write(1)
      yield* pass(50)
      yield* broadcaster.write(2)
      yield* pass(100)
      assert.deepStrictEqual(slow.batches, [[100, [1, 2]]])
      assert.deepStrictEqual(quick.batches, [
        [0, [1]],
        [50, [2]]
      ])
    }).pipe(Effect.provide(MemoryStore.layer))
  )
})
