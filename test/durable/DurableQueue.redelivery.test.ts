/** Plans of redelivery: attempts and their times are in the store, in order, by key and for each event by itself. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schedule } from "effect"
import { EventSink } from "effect-events"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { isFull, runs } from "../support/runs.ts"
import { quiet, settle } from "../support/virtual.ts"
import { No, no, receiving } from "./support/attempts.ts"
import { start } from "./support/process.ts"
import { deadLettersOf, eventsOf } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const byTens = (n: number) => n % 10

/** One, two, four seconds and so on, exactly. */
const doubling = Redelivery.make(Schedule.exponential("1 second"), { jitter: 0 })

describe("in order", () => {
  it.effect("the head is tried again by its plan, and the others wait for it", () =>
    Effect.gen(function* () {
      const { attempts, received, sink } = yield* receiving((n, attempt) => (n === 1 && attempt < 4 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: doubling })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* TestClock.adjust("2 seconds")
      assert.deepInclude(queue.node.health(0), { breaker: "open", pending: 3 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(attempts, [
        [1, 0],
        [1, 1],
        [1, 3],
        [1, 7],
        [2, 7],
        [3, 7]
      ])
      assert.deepStrictEqual(received, [1, 2, 3])
      assert.deepInclude(queue.node.health(0), { breaker: "closed", pending: 0 })
    }).pipe(quiet)
  )

  it.effect("the next head begins its own plan", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving((_, attempt) => (attempt < 3 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: doubling })
      yield* EventSink.writeAll(queue, [1, 2])
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        attempts.map(([n, second]) => `${n} ${second}`),
        ["1 0", "1 1", "1 3", "2 3", "2 4", "2 6"]
      )
    }).pipe(quiet)
  )

  it.effect("a restart neither forgets nor repeats attempts, and none comes early", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { attempts, sink } = yield* receiving(() => no)
      const plan = Redelivery.make(Schedule.exponential("1 second"), { jitter: 0, maxAttempts: 5 })
      const first = yield* start(sink, { memory, redelivery: plan })
      yield* first.queue.write(1)
      yield* TestClock.adjust("4 seconds")
      yield* first.close
      const second = yield* start(sink, { memory, redelivery: plan })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        attempts.map(([, second]) => second),
        [0, 1, 3, 7, 15]
      )
      const [letter] = yield* second.queue.deadLetters.list()
      assert.deepInclude(letter, { reason: "Exhausted", attempts: 5 })
      assert.deepStrictEqual(eventsOf(memory), [])
    }).pipe(quiet)
  )

  it.effect("a process that is killed while the head waits leaves its attempts to the next", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { attempts, sink } = yield* receiving(() => no)
      const first = yield* start(sink, { memory, redelivery: doubling, leaseTtl: 1_000, store: (store) => store })
      yield* first.queue.write(1)
      yield* TestClock.adjust("4 seconds")
      // The store of the first answers nothing any more.
      first.spy.act = () => Effect.never
      yield* start(sink, { memory, redelivery: doubling, leaseTtl: 1_000 })
      yield* TestClock.adjust("12 seconds")
      assert.deepStrictEqual(
        attempts.map(([, second]) => second),
        [0, 1, 3, 7, 15]
      )
    }).pipe(quiet)
  )

  it.effect("what a plan gives up is dead-lettered with its reason, and delivery goes on", () =>
    Effect.gen(function* () {
      const { queue } = yield* start(
        (yield* receiving((n) =>
          n === 1
            ? no
            : n === 2
              ? Effect.fail(new No({ permanent: true }))
              : n === 3
                ? Effect.die("a bug")
                : Effect.void
        )).sink,
        { redelivery: Redelivery.make(Schedule.spaced("1 second"), { jitter: 0, maxAge: "2500 millis" }) }
      )
      yield* EventSink.writeAll(queue, [1, 2, 3, 4])
      yield* TestClock.adjust("1 minute")
      const letters = yield* queue.deadLetters.list()
      assert.deepStrictEqual(
        letters.map(({ attempts, event, reason }) => [event._tag === "Success" && event.success, reason, attempts]),
        [
          [1, "Expired", 4],
          [2, "Failed", 1],
          [3, "Expired", 4]
        ]
      )
      assert.deepInclude(queue.node.health(0).counts, { accepted: 4, delivered: 1, deadLettered: 3 })
    }).pipe(quiet)
  )

  it.effect("a receiver that asks for time is left alone for that", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving((_, attempt) =>
        attempt === 1 ? Effect.fail(new No({ retryAfter: "30 seconds" })) : Effect.void
      )
      const { queue } = yield* start(sink, { redelivery: doubling })
      yield* queue.write(1)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        attempts.map(([, second]) => second),
        [0, 30]
      )
    }).pipe(quiet)
  )

  it.effect("a pause ends the wait, and the plan begins anew after it", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving((_, attempt) => (attempt < 5 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: doubling })
      yield* queue.write(1)
      yield* TestClock.adjust("4 seconds")
      yield* queue.pause()
      yield* TestClock.adjust("1 hour")
      yield* queue.resume
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        attempts.map(([, second]) => second),
        [0, 1, 3, 3604, 3605]
      )
    }).pipe(quiet)
  )

  it.effect("replayed, an event has a fresh plan", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving(() => no)
      const { queue } = yield* start(sink, {
        redelivery: Redelivery.fromDelays(["1 second", "2 seconds"], { jitter: 0 })
      })
      yield* queue.write(1)
      yield* TestClock.adjust("10 seconds")
      yield* queue.deadLetters.replay("all")
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(
        attempts.map(([, second]) => second),
        [0, 1, 3, 10, 11, 13]
      )
    }).pipe(quiet)
  )

  it.effect("nothing but a claim is asked for while the head waits", () =>
    Effect.gen(function* () {
      const { sink } = yield* receiving(() => no)
      const { queue, spy } = yield* start(sink, {
        redelivery: Redelivery.make(Schedule.spaced("1 hour"), { jitter: 0 })
      })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* TestClock.adjust("1 minute")
      spy.calls.length = 0
      yield* TestClock.adjust("10 minutes")
      const names = spy.calls.map(({ name }) => name).filter((name) => name !== "renew")
      assert.isAtMost(names.length, 4, names.join())
    }).pipe(quiet)
  )
})

describe("by key", () => {
  it.effect("the failed event and those behind it of its key step aside, and other keys go on", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { attempts, received, sink } = yield* receiving((n, attempt) => (n === 1 && attempt < 3 ? no : Effect.void))
      const { queue } = yield* start(sink, { memory, redelivery: doubling, concurrency: 2, partitionBy: byTens })
      yield* EventSink.writeAll(queue, [1, 2, 11, 3, 21, 12])
      yield* settle
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(received.toSorted(), [12, 2, 3])
      yield* queue.write(31)
      yield* queue.write(22)
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(
        received.filter((n) => byTens(n) === 1),
        [1, 11, 21, 31]
      )
      assert.deepStrictEqual(
        attempts.filter(([n]) => n === 1).map(([, second]) => second),
        [0, 1, 3]
      )
      assert.deepStrictEqual(eventsOf(memory), [])
    }).pipe(quiet)
  )

  it.effect("two keys whose events fail at once are both tried again", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { received, sink } = yield* receiving((_, attempt) =>
        attempt < 3 ? Effect.delay(no, "1 second") : Effect.void
      )
      const { queue } = yield* start(sink, { memory, redelivery: doubling, concurrency: 3, partitionBy: byTens })
      yield* EventSink.writeAll(queue, [1, 2, 3, 11, 12, 13])
      yield* TestClock.adjust("2 minutes")
      for (const key of [1, 2, 3]) {
        assert.deepStrictEqual(
          received.filter((n) => byTens(n) === key),
          [key, 10 + key]
        )
      }
      assert.deepInclude(queue.node.health(0).counts, { accepted: 6, delivered: 6 })
      assert.deepStrictEqual(eventsOf(memory), [])
    }).pipe(quiet)
  )

  it.effect("one that is dead-lettered lets the rest of its key go on", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { received, sink } = yield* receiving((n) => (n === 1 ? no : Effect.void))
      const redelivery = Redelivery.fromDelays(["1 second"], { jitter: 0 })
      const { queue } = yield* start(sink, { memory, redelivery, concurrency: 2, partitionBy: byTens })
      yield* EventSink.writeAll(queue, [1, 11, 21])
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual([received, deadLettersOf(memory)], [[11, 21], [1]])
    }).pipe(quiet)
  )

  it.effect("a batch that fails in part steps aside from the event that failed", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const received: Array<number> = []
      let isBad = true
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
        const bad = events.indexOf(11)
        if (isBad && bad >= 0) return bad === 0 ? no : Effect.sync(() => (received.push(...events.slice(0, bad)), bad))
        return Effect.sync(() => (received.push(...events), events.length))
      })
      const { queue } = yield* start(sink, { memory, redelivery: doubling, concurrency: 2, partitionBy: byTens })
      yield* EventSink.writeAll(queue, [1, 11, 21, 2, 31])
      yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(received.toSorted(), [1, 2])
      isBad = false
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(
        received.filter((n) => byTens(n) === 1),
        [1, 11, 21, 31]
      )
    }).pipe(quiet)
  )
})

describe("each event by itself", () => {
  it.effect("the failed event steps aside, and all others go on", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { attempts, received, sink } = yield* receiving((n, attempt) => (n === 3 && attempt < 4 ? no : Effect.void))
      const { close, queue } = yield* start(sink, { memory, redelivery: doubling, concurrency: 2 })
      yield* EventSink.writeAll(queue, range(1, 8))
      yield* TestClock.adjust("4 seconds")
      assert.deepStrictEqual([received.length, eventsOf(memory)], [7, [3]])
      yield* close
      yield* start(sink, { memory, redelivery: doubling, concurrency: 2 })
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(received.toSorted(), range(1, 8))
      assert.deepStrictEqual(
        attempts.filter(([n]) => n === 3).map(([, second]) => second),
        [0, 1, 3, 7]
      )
    }).pipe(quiet)
  )
})

describe("a receiver that is down", () => {
  for (const concurrency of [2, 10]) {
    it.effect(`is left alone with a concurrency of ${concurrency}, and tried with one event at a time`, () =>
      Effect.gen(function* () {
        let isDown = true
        const { attempts, received, sink } = yield* receiving(() => Effect.suspend(() => (isDown ? no : Effect.void)))
        const { queue } = yield* start(sink, { redelivery: Redelivery.sinks, concurrency })
        yield* EventSink.writeAll(queue, range(1, 200))
        yield* TestClock.adjust("1 minute")
        assert.isAtMost(attempts.length, concurrency + 10)
        assert.deepInclude(queue.node.health(60_000), { breaker: "open", pending: 200 })
        const before = attempts.length
        yield* TestClock.adjust("1 hour")
        // A growing pause, of five minutes at most.
        assert.isAtMost(attempts.length - before, 20)
        assert.isAtLeast(attempts.length - before, 10)
        const probed = attempts.slice(before).map(([n]) => n)
        assert.isAtLeast(new Set(probed).size, 5, probed.join())
        isDown = false
        yield* TestClock.adjust("10 minutes")
        assert.deepStrictEqual(
          received.toSorted((a, b) => a - b),
          range(1, 200)
        )
        assert.deepInclude(queue.node.health(0), { breaker: "closed", pending: 0 })
      }).pipe(quiet)
    )
  }

  it.effect.each([
    ...(isFull ? ([["webhooks", Redelivery.webhooks]] as const) : []),
    ["sinks", Redelivery.sinks]
  ] as const)("for a day: %s", ([name, redelivery]) =>
    Effect.gen(function* () {
      let isDown = true
      const { attempts, received, sink } = yield* receiving(() => Effect.suspend(() => (isDown ? no : Effect.void)))
      const { queue } = yield* start(sink, { redelivery, concurrency: 4 })
      const n = runs(1000)
      yield* EventSink.writeAll(queue, range(1, n))
      yield* TestClock.adjust("23 hours")
      // A request each five minutes at most, and those of the first minutes.
      assert.isAtMost(attempts.length, 23 * 15 + 40)
      assert.isAtLeast(attempts.length, 23 * 12)
      assert.strictEqual(yield* queue.pending, n)
      yield* queue.write(n + 1)
      isDown = false
      yield* TestClock.adjust(name === "sinks" ? "10 minutes" : "2 days")
      assert.deepStrictEqual(
        received.toSorted((a, b) => a - b),
        range(1, n + 1)
      )
      assert.strictEqual(yield* queue.deadLetters.count(), 0)
    }).pipe(quiet)
  )

  it.effect.runIf(isFull)("for a day, in order: the head is tried by its plan alone, and nothing is lost", () =>
    Effect.gen(function* () {
      let isDown = true
      const { attempts, received, sink } = yield* receiving(() => Effect.suspend(() => (isDown ? no : Effect.void)))
      const { queue } = yield* start(sink, { redelivery: Redelivery.webhooks })
      yield* EventSink.writeAll(queue, range(1, 100))
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(new Set(attempts.map(([n]) => n)), new Set([1]))
      assert.isAtMost(attempts.length, 8)
      isDown = false
      yield* TestClock.adjust("1 day")
      assert.deepStrictEqual(received, range(1, 100))
    }).pipe(quiet)
  )

  it.effect("stays down for the next process", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { attempts, sink } = yield* receiving(() => no)
      const options = { memory, redelivery: Redelivery.sinks, concurrency: 2 }
      const first = yield* start(sink, options)
      yield* EventSink.writeAll(first.queue, range(1, 50))
      yield* TestClock.adjust("10 minutes")
      yield* first.close
      const before = attempts.length
      yield* start(sink, options)
      yield* TestClock.adjust("10 minutes")
      assert.isAtMost(attempts.length - before, 4)
    }).pipe(quiet)
  )

  it.effect("is down still when an event that tries it has exhausted its plan", () =>
    Effect.gen(function* () {
      const { attempts, sink } = yield* receiving(() => no)
      const redelivery = Redelivery.fromDelays(["1 second"], { jitter: 0 })
      const { queue } = yield* start(sink, { redelivery, concurrency: 2 })
      yield* EventSink.writeAll(queue, range(1, 100))
      yield* TestClock.adjust("1 hour")
      assert.isAtMost(attempts.length, 30)
      assert.deepInclude(queue.node.health(0), { breaker: "open" })
      assert.isAtLeast((yield* queue.deadLetters.list()).length, 5)
    }).pipe(quiet)
  )

  it.effect("is tried with one event by a batch sink, in order and not", () =>
    Effect.gen(function* () {
      for (const concurrency of [1, 3]) {
        const sizes: Array<number> = []
        const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
          sizes.push(events.length)
          return Effect.fail("down")
        })
        const { queue } = yield* start(sink, { redelivery: Redelivery.sinks, concurrency })
        yield* EventSink.writeAll(queue, range(1, 100))
        yield* TestClock.adjust("1 minute")
        const { length } = sizes
        yield* TestClock.adjust("1 hour")
        assert.isAbove(sizes.length, length)
        assert.deepStrictEqual(
          sizes.slice(length).filter((size) => size > 1),
          []
        )
      }
    }).pipe(quiet)
  )

  it.effect("one event that fails among others that are taken is no sign of it", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* receiving((n) => (n % 3 === 0 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: Redelivery.sinks, concurrency: 3 })
      yield* EventSink.writeAll(queue, range(1, 60))
      yield* TestClock.adjust("1 second")
      assert.strictEqual(received.length, 40)
    }).pipe(quiet)
  )
})
