/** Writers that wait for room, without a part around them. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { makeAdmission } from "../src/internal/admission.ts"
import { SinkClosed } from "../src/internal/sink.ts"
import { collector } from "./support/collector.ts"
import { settle } from "./support/virtual.ts"

/** A part of so much room, and what has entered it. */
const bounded = (capacity: number) => {
  const entered: Array<string> = []
  let size = 0
  const admission = makeAdmission(
    () => capacity - size,
    () => size === 0
  )
  const write = (name: string, n = 1) =>
    Effect.forkChild(
      admission.wait(n, () => {
        entered.push(name)
        size += n
      }),
      { startImmediately: true }
    )
  const leave = (n: number) => {
    size -= n
    admission.admit()
  }
  return { admission, entered, write, leave }
}

const closed = Effect.fail(new SinkClosed({ sink: "part" }))

describe("fits", () => {
  it.effect("is false while a writer waits, whatever the room, and true again when none does", () =>
    Effect.gen(function* () {
      const { admission, entered, leave, write } = bounded(3)
      yield* write("a", 2)
      assert.isTrue(admission.fits(1))
      yield* write("b", 2)
      assert.isFalse(admission.fits(1))
      leave(2)
      assert.deepStrictEqual(entered, ["a", "b"])
      assert.isTrue(admission.fits(1))
      assert.isFalse(admission.fits(2))
    })
  )

  it.effect("does not count a writer that was interrupted", () =>
    Effect.gen(function* () {
      const { admission, write } = bounded(3)
      yield* write("a", 2)
      const waiting = yield* write("b", 2)
      yield* Fiber.interrupt(waiting)
      assert.isTrue(admission.fits(1))
    })
  )
})

describe("wait", () => {
  it.effect("enters at once where there is room by then", () =>
    Effect.gen(function* () {
      const { entered, write } = bounded(1)
      const writer = yield* write("a")
      yield* settle
      assert.deepStrictEqual(entered, ["a"])
      assert.isDefined(writer.pollUnsafe())
    })
  )

  it.effect("fails after the close", () =>
    Effect.gen(function* () {
      const { admission, entered, write } = bounded(1)
      admission.close(closed)
      const error = yield* Effect.flip(Fiber.join(yield* write("late")))
      assert.instanceOf(error, SinkClosed)
      assert.deepStrictEqual(entered, [])
    })
  )
})

describe("close", () => {
  it.effect("fails every writer that waits, and admits none of them when room is made", () =>
    Effect.gen(function* () {
      const { admission, entered, leave, write } = bounded(1)
      yield* write("a")
      const waiting = [yield* write("b"), yield* write("c")]
      admission.close(closed)
      leave(1)
      for (const writer of waiting) assert.instanceOf(yield* Effect.flip(Fiber.join(writer)), SinkClosed)
      assert.deepStrictEqual(entered, ["a"])
    })
  )
})

describe("what a writer brings is kept no longer than the writer waits", () => {
  const collect = collector()

  /**
   * How many of the events are collected, once that are `most`. What a `WeakRef` was made of, or was read from it, lives until
   * its task ends, and an optimized frame may hold it a little longer: what is reachable still is so after a hundred tasks.
   */
  const collected = (events: ReadonlyArray<WeakRef<object>>, most: number) =>
    Effect.gen(function* () {
      let count = 0
      for (let task = 0; task < 100 && count < most; task++) {
        yield* Effect.promise(() => new Promise((resolve) => setTimeout(resolve)))
        collect()
        count = events.filter((event) => event.deref() === undefined).length
      }
      return count
    })

  /** So many writers, each with an event of its own, in front of a part without room. */
  const waiting = (n: number) =>
    Effect.gen(function* () {
      let room = 0
      const admission = makeAdmission(
        () => room,
        () => false
      )
      const events: Array<WeakRef<object>> = []
      const write = () => {
        const event = {}
        events.push(new WeakRef(event))
        return admission.wait(1, () => void (room -= Number(event !== undefined)))
      }
      const writers: Array<Fiber.Fiber<void, unknown>> = []
      for (let i = 0; i < n; i++)
        writers.push(yield* Effect.forkChild(Effect.suspend(write), { startImmediately: true }))
      const admit = (n: number) => {
        room = n
        admission.admit()
      }
      return { admission, admit, events, writers }
    })

  it.live("when all have entered", () =>
    Effect.gen(function* () {
      const { admission, admit, events } = yield* waiting(100)
      admit(100)
      assert.strictEqual(yield* collected(events, 100), 100)
      assert.isFalse(admission.fits(1))
    })
  )

  it.live("when most of many have entered", () =>
    Effect.gen(function* () {
      const { admission, admit, events } = yield* waiting(5000)
      admit(4900)
      assert.isAtLeast(yield* collected(events, 2500), 2500)
      assert.isFalse(admission.fits(1))
    })
  )

  it.live("when many were interrupted behind one that waits", () =>
    Effect.gen(function* () {
      const { admission, events, writers } = yield* waiting(5000)
      for (const writer of writers.splice(1)) yield* Fiber.interrupt(writer)
      assert.isAtLeast(yield* collected(events, 2500), 2500)
      assert.isFalse(admission.fits(1))
    })
  )
})
