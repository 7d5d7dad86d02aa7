/** What happens while a store has not answered, or an answer is being decoded. */
import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect } from "effect"
import { EventSink } from "effect-events"
import { TestClock } from "effect/testing"
import { settle } from "../support/virtual.ts"
import { start } from "./support/process.ts"

const byTens = (n: number) => n % 10

/** A receiver whose writes end one by one, on demand. */
const receiving = Effect.gen(function* () {
  const begun: Array<number> = []
  const ends = new Map<number, Deferred.Deferred<void>>()
  const sink = yield* EventSink.make(
    (n: number) =>
      Effect.suspend(() => {
        begun.push(n)
        const end = Deferred.makeUnsafe<void>()
        ends.set(n, end)
        return Deferred.await(end)
      }),
    { drainTimeout: 0 }
  )
  return { sink, begun, end: (n: number) => Effect.andThen(Deferred.succeed(ends.get(n)!, undefined), settle) }
})

describe("DurableQueue", () => {
  it.effect("a settlement that frees a lane during a take is followed by another take", () =>
    Effect.gen(function* () {
      const { begun, end, sink } = yield* receiving
      const { queue, spy } = yield* start(sink, { concurrency: 3, partitionBy: byTens, batchSize: 3 })
      yield* queue.writeSome!([1, 11, 21])
      yield* Effect.repeat(settle, { times: 5 })
      // What waits is set aside, so that this is taken; and a claim has seen that the lane is due.
      yield* queue.write(2)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(begun, [1, 2])
      // The answer to this take is from before the lane was free.
      spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep(500)) : run)
      yield* queue.write(3)
      yield* TestClock.adjust(100)
      spy.heal()
      yield* end(1)
      // A claim that comes later would find it too.
      yield* TestClock.adjust(450)
      assert.deepStrictEqual(begun, [1, 2, 3, 11])
    })
  )
})
