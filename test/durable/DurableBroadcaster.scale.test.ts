import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type EventStore, MemoryStore } from "effect-events/durable"
import { TestClock } from "effect/testing"
import * as TestSink from "effect-events/testing/TestSink"
import { quiet, settle } from "../support/virtual.ts"
import { started } from "./support/broadcaster.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const [kibi, mebi] = [1024, 1024 * 1024]

/** A process with many subscriptions to some topics, and what they receive. */
const many = (count: number, topics: readonly [string]) =>
  Effect.gen(function* () {
    const process = yield* started(yield* MemoryStore.makeMemory)
    const receivers: Array<ReadonlyArray<number>> = []
    for (const n of range(1, count)) {
      const receiver = yield* TestSink.recording<number>()
      receivers.push(receiver.received)
      yield* process.subscribe(receiver, { name: `many-${n}`, topics })
    }
    return { ...process, receivers }
  })

describe("a process with many subscriptions", () => {
  it.effect("takes for at most 256 at once, which share 16 MiB, or have 64 KiB each", () =>
    Effect.gen(function* () {
      const { close, orders, receivers, spy } = yield* many(300, ["*"])
      yield* settle
      spy.calls.length = 0
      for (const n of range(1, 3)) yield* orders.write(n)
      yield* TestClock.adjust("1 second")
      yield* settle
      const takes = spy.calls
        .filter(({ name }) => name === "take")
        .map(({ args }) => args[1] as ReadonlyArray<EventStore.Wanted>)
      assert.isAtLeast(Math.max(...takes.map((wanted) => wanted.length)), 200)
      for (const wanted of takes) {
        assert.isAtMost(wanted.length, 256)
        const bytes = wanted.reduce((sum, { limits }) => sum + limits.bytes, 0)
        assert.isAtMost(bytes, 16 * mebi + wanted.length * 64 * kibi)
        assert.isTrue(wanted.every(({ limits }) => limits.bytes >= 64 * kibi))
      }
      assert.isTrue(receivers.every((received) => received.join() === "1,2,3"))
      yield* close
    }).pipe(quiet)
  )

  /** The calls of 20 seconds, with ten events a second for one and none for the idle ones. */
  const callsBeside = (idle: number, areLeased: boolean) =>
    Effect.gen(function* () {
      const { close, orders, spy, subscribe } = yield* many(idle, ["order/even"])
      yield* subscribe(yield* TestSink.recording<number>(), { name: "busy", topics: ["order/odd"] })
      if (areLeased) yield* orders.write(0)
      yield* TestClock.adjust("40 seconds")
      spy.calls.length = 0
      for (const n of range(1, 200)) {
        yield* orders.write(2 * n - 1)
        yield* TestClock.adjust(100)
      }
      const figures = spy.count("figures")
      const others = spy.calls.length - figures
      yield* close
      return { figures, others }
    })

  it.effect.each([true, false])(
    "asks the store no more often when more of them are idle beside one that is busy: leased %s",
    (areLeased) =>
      Effect.gen(function* () {
        const [few, more] = [yield* callsBeside(20, areLeased), yield* callsBeside(200, areLeased)]
        assert.isAtMost(more.others, 1.1 * few.others)
        // One that another process may deliver is read every 30 seconds.
        assert.isAtMost(more.figures, areLeased ? few.figures : 200 + 20)
        assert.isAtMost(more.figures, 20 * 20)
      }).pipe(quiet)
  )
})
