/** What broadcasters and queues keep their events in, against a list for each reader. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import * as fc from "fast-check"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { Feed, Topic } from "../../src/durable/internal/feed.ts"
import { runs } from "../support/runs.ts"
import { settle } from "../support/virtual.ts"

type Step =
  | { readonly do: "publish" | "join" }
  | { readonly do: "publishAll"; readonly n: number }
  | { readonly do: "take" | "rest" | "cut" | "wait"; readonly feed: number }
  | { readonly do: "poll"; readonly feed: number; readonly n: number }

const feed = fc.nat(3)
// Around the sizes where pages are closed, shared, full and joined.
const size = fc.oneof(fc.nat(3), fc.constantFrom(31, 32, 33, 511, 512, 1023, 1024, 1025, 2100))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Step>({ do: "publish" }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("publishAll" as const), n: size }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "join" }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("take", "wait"), feed }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("rest", "cut"), feed }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("poll" as const), feed, n: size }) }
)

interface Reader {
  readonly feed: Feed<number>
  /** What it must still read, in order. */
  expected: Array<number>
  cut: boolean
}

const run = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function* () {
    const topic = new Topic<number>()
    const readers: Array<Reader> = []
    let next = 0
    const publish = (n: number) => {
      const events = Array.from({ length: n }, () => next++)
      for (const reader of readers) if (!reader.cut) reader.expected.push(...events)
      return events
    }
    const got = (reader: Reader, events: ReadonlyArray<number>) =>
      assert.deepStrictEqual([...events], reader.expected.splice(0, events.length))
    for (const step of steps) {
      const reader = "feed" in step ? readers[step.feed] : undefined
      if (step.do === "publish") topic.publish(publish(1)[0]!)
      else if (step.do === "publishAll") topic.publishAll(publish(step.n))
      else if (step.do === "join") {
        if (readers.length < 4) readers.push({ feed: new Feed(topic), expected: [], cut: false })
      } else if (reader === undefined) continue
      else if (step.do === "poll") {
        const events = reader.feed.poll(step.n)
        assert.strictEqual(events.length, Math.min(step.n, reader.expected.length))
        got(reader, events)
      } else if (step.do === "rest") {
        got(reader, reader.feed.rest())
        assert.deepStrictEqual(reader.expected, [])
      } else if (step.do === "cut") {
        reader.feed.cut()
        reader.cut = true
      } else if (reader.expected.length > 0 || reader.cut) {
        const events = yield* reader.feed.take
        assert.strictEqual(events.length > 0, reader.expected.length > 0)
        got(reader, events)
      } else if (step.do === "wait") {
        const fiber = yield* Effect.forkChild(reader.feed.takeUpTo(2))
        yield* settle
        topic.publishAll(publish(3))
        got(reader, yield* Fiber.join(fiber))
      }
      for (const { expected, feed } of readers) assert.strictEqual(feed.size, expected.length)
    }
    for (const reader of readers) {
      got(reader, reader.feed.rest())
      assert.deepStrictEqual(reader.expected, [])
    }
  })

describe("a feed", () => {
  it("reads what was published after it joined and before it was cut off, once, in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), (steps) => Effect.runPromise(run(steps))),
      { numRuns: runs(300) }
    )
  })

  it.effect("gives a waiting reader up when it is interrupted, and wakes the others", () =>
    Effect.gen(function* () {
      const topic = new Topic<number>()
      const feed = new Feed(topic)
      const first = yield* Effect.forkChild(feed.take)
      const second = yield* Effect.forkChild(feed.take)
      yield* settle
      yield* Fiber.interrupt(first)
      topic.publish(1)
      assert.deepStrictEqual(yield* Fiber.await(second), Exit.succeed([1]))
    })
  )

  it("lets go of events that all have read, also while nothing is published", async () => {
    setFlagsFromString("--expose-gc")
    const gc: () => void = runInNewContext("gc")
    const topic = new Topic<object>()
    const feeds = [new Feed(topic), new Feed(topic)]
    const refs: Array<WeakRef<object>> = []
    // A fiber remembers the last value it had, so each event is taken by a fiber of its own.
    const takes = () => feeds.map((feed) => Effect.runPromise(feed.take))
    // In functions of their own, whose frames are gone when it is counted.
    const publish = (): void => {
      const events = Array.from({ length: 5 }, () => ({}))
      refs.push(...events.map((event) => new WeakRef(event)))
      topic.publishAll(events)
    }
    const round = async () => {
      const taken = takes()
      publish()
      await Promise.all(taken)
    }
    for (let i = 0; i < 20; i++) await round()
    const waiting = takes()
    await new Promise((resolve) => setTimeout(resolve, 10))
    gc()
    assert.strictEqual(refs.filter((ref) => ref.deref() !== undefined).length, 0)
    for (const feed of feeds) feed.cut()
    await Promise.all(waiting)
  })
})
