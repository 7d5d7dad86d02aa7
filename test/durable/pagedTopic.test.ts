/** A paged topic against a list for each reader. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import * as fc from "fast-check"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import { PagedTopic, TopicReader } from "../../src/durable/internal/pagedTopic.ts"
import { runs } from "../support/runs.ts"
import { settle } from "../support/virtual.ts"

type Step =
  | { readonly do: "publish" | "join" }
  | { readonly do: "publishAll"; readonly n: number }
  | { readonly do: "take" | "rest" | "cut" | "wait"; readonly reader: number }
  | { readonly do: "poll"; readonly reader: number; readonly n: number }

const reader = fc.nat(3)
// Around the sizes where pages are closed, shared, full and joined.
const size = fc.oneof(fc.nat(3), fc.constantFrom(31, 32, 33, 511, 512, 1023, 1024, 1025, 2100))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Step>({ do: "publish" }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("publishAll" as const), n: size }) },
  { weight: 1, arbitrary: fc.constant<Step>({ do: "join" }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constantFrom("take", "wait"), reader }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constantFrom("rest", "cut"), reader }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("poll" as const), reader, n: size }) }
)

interface Member {
  readonly reader: TopicReader<number>
  /** What it must still read, in order. */
  expected: Array<number>
  cut: boolean
}

const run = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function* () {
    const topic = new PagedTopic<number>()
    const members: Array<Member> = []
    let next = 0
    const publish = (n: number) => {
      const events = Array.from({ length: n }, () => next++)
      for (const member of members) if (!member.cut) member.expected.push(...events)
      return events
    }
    const got = (member: Member, events: ReadonlyArray<number>) =>
      assert.deepStrictEqual([...events], member.expected.splice(0, events.length))
    for (const step of steps) {
      const member = "reader" in step ? members[step.reader] : undefined
      if (step.do === "publish") topic.publish(publish(1)[0]!)
      else if (step.do === "publishAll") topic.publishAll(publish(step.n))
      else if (step.do === "join") {
        if (members.length < 4) members.push({ reader: new TopicReader(topic), expected: [], cut: false })
      } else if (member === undefined) continue
      else if (step.do === "poll") {
        const events = member.reader.poll(step.n)
        assert.strictEqual(events.length, Math.min(step.n, member.expected.length))
        got(member, events)
      } else if (step.do === "rest") {
        got(member, member.reader.rest())
        assert.deepStrictEqual(member.expected, [])
      } else if (step.do === "cut") {
        member.reader.cut()
        member.cut = true
      } else if (member.expected.length > 0 || member.cut) {
        const events = yield* member.reader.take
        assert.strictEqual(events.length > 0, member.expected.length > 0)
        got(member, events)
      } else if (step.do === "wait") {
        const fiber = yield* Effect.forkChild(member.reader.takeUpTo(2))
        yield* settle
        topic.publishAll(publish(3))
        got(member, yield* Fiber.join(fiber))
      }
      for (const { expected, reader } of members) assert.strictEqual(reader.size, expected.length)
    }
    for (const member of members) {
      got(member, member.reader.rest())
      assert.deepStrictEqual(member.expected, [])
    }
  })

describe("a reader of a topic", () => {
  it("reads what was published after it joined and before it was cut off, once, in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), (steps) => Effect.runPromise(run(steps))),
      { numRuns: runs(300) }
    )
  })

  it.effect("drops a waiter that is interrupted, and wakes the others", () =>
    Effect.gen(function* () {
      const topic = new PagedTopic<number>()
      const reader = new TopicReader(topic)
      const first = yield* Effect.forkChild(reader.take)
      const second = yield* Effect.forkChild(reader.take)
      yield* settle
      yield* Fiber.interrupt(first)
      topic.publish(1)
      assert.deepStrictEqual(yield* Fiber.await(second), Exit.succeed([1]))
    })
  )

  it("releases events that all readers have read, also while nothing is published", async () => {
    setFlagsFromString("--expose-gc")
    const gc: () => void = runInNewContext("gc")
    const topic = new PagedTopic<object>()
    const readers = [new TopicReader(topic), new TopicReader(topic)]
    const refs: Array<WeakRef<object>> = []
    // A fiber remembers the last value it had, so each event is taken by a fiber of its own.
    const takes = () => readers.map((reader) => Effect.runPromise(reader.take))
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
    for (const reader of readers) reader.cut()
    await Promise.all(waiting)
  })
})
