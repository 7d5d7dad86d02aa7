/** What a broadcaster keeps its events in, against a list for each subscription. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber } from "effect"
import * as fc from "fast-check"
import { makeTopic, type Subscription } from "../../../src/internal/broadcaster/topic.ts"
import { collector } from "../../support/collector.ts"
import { runs } from "../../support/runs.ts"
import { settle } from "../../support/virtual.ts"

type Step =
  | { readonly do: "publish" | "join" }
  | { readonly do: "publishAll" | "publishEach"; readonly n: number }
  | { readonly do: "cut" | "wait" | "pages" | "rejoin"; readonly reader: number }
  | { readonly do: "poll"; readonly reader: number; readonly joinUpTo: number; readonly most: number }

const reader = fc.nat(3)
// Around the sizes where pages are shared, full, joined and taken out of the `PubSub`.
const size = fc.oneof(fc.integer({ min: 1, max: 3 }), fc.constantFrom(31, 32, 33, 511, 512, 1023, 1024, 1025, 2100))
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Step>({ do: "publish" }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom("publishAll", "publishEach"), n: size }) },
  { weight: 2, arbitrary: fc.constant<Step>({ do: "join" }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constantFrom("wait", "pages", "rejoin"), reader }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("cut" as const), reader }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("poll" as const), reader, joinUpTo: size, most: size }) }
)

interface Reader {
  subscription: Subscription<number>
  /** What it must still read, in order. */
  expected: Array<number>
  isCut: boolean
}

/** Reads all that waits, some at a time. */
const readAll = <A>({ poll, size }: Subscription<A>, most: number) => {
  const seen: Array<A> = []
  while (size() > 0) {
    const events = poll(1, most) ?? []
    assert.isAbove(events.length, 0)
    seen.push(...events)
  }
  return seen
}

const run = (steps: ReadonlyArray<Step>) =>
  Effect.gen(function* () {
    const topic = makeTopic<number>(Context.empty())
    const readers: Array<Reader> = []
    const taken: Array<readonly [events: ReadonlyArray<number>, length: number]> = []
    let next = 0
    const published = (n: number) => {
      const events = Array.from({ length: n }, () => next++)
      for (const reader of readers) if (!reader.isCut) reader.expected.push(...events)
      return events
    }
    const poll = (reader: Reader, joinUpTo: number, most: number) => {
      const events = reader.subscription.poll(joinUpTo, most)
      if (events === undefined) return assert.deepStrictEqual([reader.expected.length, reader.isCut], [0, false])
      assert.isAtMost(events.length, most)
      assert.isAtLeast(events.length, Math.min(joinUpTo, most, reader.expected.length))
      if (reader.expected.length > 0) assert.isAbove(events.length, 0)
      else assert.isTrue(reader.isCut, "it has ended")
      assert.deepStrictEqual([...events], reader.expected.splice(0, events.length))
      taken.push([events, events.length])
    }
    for (const step of steps) {
      const reader = "reader" in step ? readers[step.reader] : undefined
      if (step.do === "publish") topic.publish(published(1)[0]!)
      else if (step.do === "publishAll") topic.publishAll(published(step.n))
      // A page for each event.
      else if (step.do === "publishEach") {
        for (let i = 0; i < step.n; i++) {
          topic.publish(published(1)[0]!)
          if (i % 2 === 0 && readers[0] !== undefined) poll(readers[0], 1, 1)
        }
      } else if (step.do === "join") {
        if (readers.length < 4) readers.push({ subscription: topic.subscribe(), expected: [], isCut: false })
      } else if (reader === undefined) continue
      else if (step.do === "poll") poll(reader, step.joinUpTo, step.most)
      else if (step.do === "cut") {
        reader.subscription.cut()
        reader.isCut = true
      } else if (step.do === "rejoin") {
        // As for a sink that leaves a shared drainer with what it has not read.
        const pages = reader.subscription.pages().filter((page) => page.length > 0)
        const again = topic.subscribe(pages)
        reader.subscription.cut()
        if (reader.isCut) again.cut()
        reader.subscription = again
      } else if (step.do === "wait") {
        const fiber = yield* Effect.forkChild(reader.subscription.wait)
        yield* settle
        const isReady = reader.expected.length > 0 || reader.isCut
        assert.strictEqual(fiber.pollUnsafe() !== undefined, isReady)
        topic.publishAll(published(3))
        yield* Fiber.join(fiber)
      }
      for (const { expected, subscription } of readers) {
        assert.strictEqual(subscription.size(), expected.length)
        if (step.do === "pages") {
          assert.deepStrictEqual(subscription.pages().flat(), expected)
        }
      }
    }
    assert.strictEqual(topic.published(), next)
    for (const { expected, subscription } of readers) {
      assert.deepStrictEqual(subscription.pages().flat(), expected)
    }
    for (const [events, length] of taken) assert.strictEqual(events.length, length, "a page that was taken has grown")
  })

describe("a subscription", () => {
  it("reads what was published after it joined and before it was cut, once, in order", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), (steps) => Effect.runPromise(run(steps))),
      { numRuns: runs(5000) }
    )
  })

  it.effect("that waits goes on at a publish and at its cut, and not before; an interruption loses nothing", () =>
    Effect.gen(function* () {
      for (const change of ["publish", "publishAll", "cut"] as const) {
        const topic = makeTopic<number>(Context.empty())
        const [one, other] = [topic.subscribe(), topic.subscribe()]
        const interrupted = yield* Effect.forkChild(one.wait, { startImmediately: true })
        const waits = yield* Effect.forkChild(other.wait, { startImmediately: true })
        yield* settle
        assert.isUndefined(waits.pollUnsafe())
        yield* Fiber.interrupt(interrupted)
        if (change === "cut") for (const subscription of [one, other]) subscription.cut()
        else if (change === "publish") topic.publish(1)
        else topic.publishAll([1])
        yield* settle
        assert.isDefined(waits.pollUnsafe())
        const again = yield* Effect.forkChild(one.wait, { startImmediately: true })
        yield* settle
        assert.isDefined(again.pollUnsafe())
        for (const { poll } of [one, other]) assert.deepStrictEqual(poll(1, 5), change === "cut" ? [] : [1])
      }
    })
  )

  it.effect("does not wait for what it has: the rest of a page, or pages that were taken out of the PubSub", () =>
    Effect.gen(function* () {
      const topic = makeTopic<number>(Context.empty())
      const subscription = topic.subscribe()
      topic.publishAll([1, 2, 3])
      assert.deepStrictEqual(subscription.poll(1, 1), [1])
      assert.deepStrictEqual(subscription.pages().flat(), [2, 3])
      for (const left of [[2], [3]]) {
        const waits = yield* Effect.forkChild(subscription.wait)
        yield* settle
        assert.isDefined(waits.pollUnsafe())
        assert.deepStrictEqual(subscription.poll(1, 1), left)
      }
      topic.publish(4)
      assert.strictEqual(subscription.pages().length, 2)
      const waits = yield* Effect.forkChild(subscription.wait)
      yield* settle
      assert.isDefined(waits.pollUnsafe())
      assert.deepStrictEqual(subscription.poll(1, 1), [4])
    })
  )

  // Another one reads each event, so that each is a page, and those that were not read are taken out and joined.
  it("reads in order what it is far behind with, of small pages and large ones", () => {
    for (const batches of [0, 1, 7]) {
      const topic = makeTopic<number>(Context.empty())
      const [quick, far] = [topic.subscribe(), topic.subscribe()]
      let n = 0
      const seen: Array<number> = []
      for (let page = 0; page < 1000; page++) {
        if (batches > 0 && page % (batches * 40) === 39) topic.publishAll(Array.from({ length: 40 }, () => n++))
        else topic.publish(n++)
        readAll(quick, 100)
        // It begins to read while some pages are taken out and not joined yet.
        if (page > 280 && page % 3 === 0) seen.push(...far.poll(1, 2)!)
      }
      seen.push(...readAll(far, 100))
      assert.deepStrictEqual(
        seen,
        Array.from({ length: n }, (_, i) => i)
      )
    }
  })

  it.effect("that is interrupted as an event comes still has it", () =>
    Effect.gen(function* () {
      for (let turns = 0; turns < 8; turns++) {
        const topic = makeTopic<number>(Context.empty())
        const subscription = topic.subscribe()
        const waits = yield* Effect.forkChild(subscription.wait, { startImmediately: true })
        topic.publish(1)
        for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
        waits.interruptUnsafe()
        yield* settle
        topic.publish(2)
        assert.strictEqual(subscription.size(), 2)
        assert.deepStrictEqual(subscription.poll(2, 5), [1, 2], `after ${turns} turns`)
      }
    })
  )

  it.live("leaves what all have read to the collector, also while nothing more is published", () =>
    Effect.gen(function* () {
      const gc = collector()
      const topic = makeTopic<object>(Context.empty())
      const subscriptions = [topic.subscribe(), topic.subscribe()]
      const refs: Array<WeakRef<object>> = []
      // In a function of its own, whose frame is gone when it is counted.
      const round = (n: number) => {
        const events = Array.from({ length: n }, () => ({}))
        refs.push(...events.map((event) => new WeakRef(event)))
        if (n % 2 === 0) topic.publishAll(events)
        else for (const event of events) topic.publish(event)
        for (const subscription of subscriptions) readAll(subscription, 7)
      }
      for (let n = 0; n < 200; n++) round(1 + (n % 60))
      yield* Effect.sleep("10 millis")
      gc()
      assert.strictEqual(topic.published(), refs.length)
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
      assert.deepStrictEqual(
        subscriptions.map(({ size }) => size()),
        [0, 0]
      )
    })
  )

  it.live("that was cut keeps nothing that is published later, and a topic without any keeps nothing", () =>
    Effect.gen(function* () {
      const gc = collector()
      const topic = makeTopic<object>(Context.empty())
      const refs: Array<WeakRef<object>> = []
      const publish = (n: number) => {
        for (let i = 0; i < n; i++) {
          const event = {}
          refs.push(new WeakRef(event))
          topic.publish(event)
        }
      }
      publish(1000)
      const subscription = topic.subscribe()
      topic.publish({})
      subscription.cut()
      publish(1000)
      yield* Effect.sleep("10 millis")
      gc()
      assert.strictEqual(subscription.size(), 1)
      assert.isAtMost(refs.filter((ref) => ref.deref() !== undefined).length, 4)
    })
  )
})
