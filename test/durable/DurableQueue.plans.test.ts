/** Plans beside failures of many kinds: each of these was a fault. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Schedule } from "effect"
import { EventSink } from "effect-events"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { quiet } from "../support/virtual.ts"
import { No, no, receiving } from "./support/attempts.ts"
import { start } from "./support/process.ts"
import { deadLettersOf, eventsOf } from "./support/store.ts"

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i)
const byTens = (n: number) => n % 10
const doubling = Redelivery.make(Schedule.exponential("1 second"), { jitter: 0 })
const sorted = (all: ReadonlyArray<number>) => all.toSorted((a, b) => a - b)

describe("poison events hide no receiver that takes the others", () => {
  for (const partitionBy of [undefined, (n: number) => n])
    it.effect(`five poison events, ${partitionBy ? "keyed" : "unordered"}`, () =>
      Effect.gen(function* () {
        const { received, sink, attempts } = yield* receiving((n) => (n <= 5 ? no : Effect.void))
        const { queue } = yield* start(sink, { redelivery: Redelivery.sinks, concurrency: 2, partitionBy })
        yield* EventSink.writeAll(queue, range(1, 20))
        yield* TestClock.adjust("2 hours")
        assert.deepStrictEqual(sorted(received), range(6, 20), JSON.stringify(attempts.slice(0, 60)))
      }).pipe(quiet)
    )
  it.effect("twenty poison among sixty, and good ones written later", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* receiving((n) => (n % 3 === 0 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: Redelivery.sinks, concurrency: 3 })
      yield* EventSink.writeAll(queue, range(1, 60))
      yield* TestClock.adjust("1 minute")
      yield* EventSink.writeAll(queue, [61, 62, 64, 65])
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(received.filter((n) => n > 60).length, 4)
    }).pipe(quiet)
  )
})

describe("one poison event in a quiet queue", () => {
  it.effect("is no sign of a receiver that is down", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* receiving((n) => (n === 1 ? no : Effect.void))
      const { queue } = yield* start(sink, { redelivery: doubling, concurrency: 2 })
      yield* queue.write(1)
      yield* TestClock.adjust("40 seconds")
      assert.deepInclude(queue.node.health(0), { breaker: "closed" })
      yield* EventSink.writeAll(queue, range(2, 10))
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(sorted(received), range(2, 10))
    }).pipe(quiet)
  )
})

describe("a plan that is exhausted is no answer of the receiver", () => {
  it.effect("requests in the first minute, and the pause", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { attempts, sink } = yield* receiving(() => no)
      const { queue } = yield* start(sink, {
        memory,
        redelivery: Redelivery.fromDelays(["1 second"], { jitter: 0 }),
        concurrency: 2
      })
      yield* EventSink.writeAll(queue, range(1, 200))
      yield* TestClock.adjust("1 minute")
      const first = attempts.length
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(
        [first <= 12, attempts.length - first <= 20],
        [true, true],
        `${first} ${attempts.length} dead ${deadLettersOf(memory).length}`
      )
    }).pipe(quiet)
  )
})

describe("the age of the next head", () => {
  it.effect("begins with its own first failure, also after a restart", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      let healthy = false
      const { attempts, sink } = yield* receiving((n) => Effect.suspend(() => (n === 1 && healthy ? Effect.void : no)))
      const redelivery = Redelivery.make(Schedule.spaced("1 minute"), { jitter: 0, maxAge: "1 hour" })
      const first = yield* start(sink, { memory, redelivery })
      yield* EventSink.writeAll(first.queue, [1, 2])
      yield* TestClock.adjust("55 minutes")
      healthy = true
      yield* TestClock.adjust("90 seconds")
      assert.isTrue(attempts.some(([n]) => n === 2))
      yield* first.close
      const second = yield* start(sink, { memory, redelivery })
      yield* TestClock.adjust("20 minutes")
      assert.deepStrictEqual(
        yield* Effect.map(second.queue.deadLetters.list(), (all) =>
          all.map(({ reason, attempts }) => [reason, attempts])
        ),
        []
      )
    }).pipe(quiet)
  )
})

describe("drop-oldest in order", () => {
  it.effect("the next head does not inherit the attempts of a head that was dropped", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { sink, attempts } = yield* receiving(() => no)
      const { queue } = yield* start(sink, {
        memory,
        redelivery: Redelivery.make(Schedule.spaced("10 seconds"), { jitter: 0, maxAttempts: 3 }),
        capacity: 2,
        overflow: "drop-oldest"
      })
      yield* queue.write(1)
      yield* TestClock.adjust("15 seconds")
      yield* EventSink.writeAll(queue, [2, 3])
      yield* TestClock.adjust("1 hour")
      const list = yield* queue.deadLetters.list()
      assert.deepStrictEqual(
        attempts.filter(([n]) => n === 2).length,
        3,
        JSON.stringify([attempts, list.map((l) => [l.event, l.reason, l.attempts])])
      )
    }).pipe(quiet)
  )
})

describe("nothing behind a dead letter before the store knows of it", () => {
  it.effect("in order, while the settlement of an end of a wait is under way", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { sink, received } = yield* receiving((n, attempt) =>
        n === 1 && attempt === 1
          ? no
          : n === 2
            ? Effect.delay(Effect.fail(new No({ permanent: true })), "150 millis")
            : Effect.void
      )
      const { queue, spy } = yield* start(sink, { memory, redelivery: doubling })
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* TestClock.adjust("500 millis")
      spy.act = (name, run) =>
        name === "deadLetter" ? Effect.never : name === "acknowledge" ? Effect.delay(run, "200 millis") : run
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual(received, [1])
    }).pipe(quiet)
  )
})

describe("a wait makes no lane forgotten", () => {
  it.effect("order by key over a down time", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      let phase = 0
      const { sink, received, attempts } = yield* receiving((n, attempt) =>
        Effect.suspend(() => {
          if (phase === 2) return Effect.void
          if (phase === 1) return no
          return [2, 3, 4, 5, 6, 1].includes(n) && attempt === 1 ? no : Effect.void
        })
      )
      const { queue } = yield* start(sink, {
        memory,
        redelivery: Redelivery.make(Schedule.spaced("5 seconds"), { jitter: 0 }),
        concurrency: 2,
        partitionBy: byTens
      })
      for (const n of [2, 3, 7, 4, 5, 8, 6, 1, 9]) {
        yield* queue.write(n)
        yield* TestClock.adjust("50 millis")
      }
      const ones = [1, ...range(1, 25).map((i) => 1 + 10 * i)]
      yield* EventSink.writeAll(queue, ones.slice(1))
      yield* TestClock.adjust("2 seconds")
      phase = 1
      yield* TestClock.adjust("5 seconds")
      const mid = queue.node.health(0).breaker
      for (const n of [261, 271]) {
        ones.push(n)
        yield* queue.write(n)
      }
      phase = 2
      yield* TestClock.adjust("10 minutes")
      assert.deepStrictEqual(
        received.filter((n) => n % 10 === 1),
        ones,
        JSON.stringify([mid, attempts.slice(0, 40)])
      )
    }).pipe(quiet)
  )
})

describe("the answer to a take of before", () => {
  it.effect("does not free a lane whose earlier events were put back meanwhile", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const received: Array<number> = []
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) => {
        const [first] = events
        if (first === 1)
          return Effect.delay(
            Effect.sync(() => (received.push(1), 1)),
            "1 second"
          )
        if (first === 2) return Effect.delay(no, "950 millis")
        return Effect.sync(() => (received.push(...events), events.length))
      })
      const { queue, spy } = yield* start(sink, {
        memory,
        redelivery: Redelivery.make(Schedule.spaced("1 hour"), { jitter: 0 }),
        concurrency: 3,
        batchSize: 4,
        partitionBy: byTens
      })
      yield* EventSink.writeAll(queue, [1, 11, 2])
      yield* TestClock.adjust("100 millis")
      yield* queue.write(21)
      yield* TestClock.adjust("100 millis")
      yield* queue.write(3)
      yield* TestClock.adjust("300 millis")
      spy.act = (name, run) => (name === "take" ? Effect.tap(run, () => Effect.sleep("400 millis")) : run)
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(
        received.filter((n) => n % 10 === 1),
        [1, 11, 21],
        JSON.stringify(received)
      )
    }).pipe(quiet)
  )
})

describe("a pause and a resume while the store settles nothing", () => {
  it.effect("holds nothing for ever", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { sink, received } = yield* receiving((n, attempt) => (n === 2 && attempt === 1 ? no : Effect.void))
      const { queue, spy } = yield* start(sink, { memory, redelivery: doubling })
      spy.fail(["acknowledge"])
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* TestClock.adjust("1 second")
      yield* queue.pause()
      yield* TestClock.adjust("2 seconds")
      yield* queue.resume
      yield* TestClock.adjust("2 seconds")
      spy.heal()
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(received, [1, 2, 3])
    }).pipe(quiet)
  )
})

describe("a store that interrupts a settlement", () => {
  it.effect("holds nothing for ever", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const { sink, received } = yield* receiving((n, attempt) => (n === 1 && attempt === 1 ? no : Effect.void))
      const { queue, spy } = yield* start(sink, { memory, redelivery: doubling })
      let n = 0
      spy.act = (name, run) => (name === "acknowledge" && n++ === 0 ? (Effect.interrupt as Effect.Effect<never>) : run)
      yield* EventSink.writeAll(queue, [1, 2, 3])
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(received, [1, 2, 3])
    }).pipe(quiet)
  )
})

describe("a judgement that throws", () => {
  it.effect("a retryAfter that throws does not acknowledge", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const evil = {
        get retryAfter(): never {
          throw new Error("getter")
        }
      }
      const { sink, received } = yield* receiving((n) => (n === 1 ? Effect.fail(evil as never) : Effect.void))
      const { queue } = yield* start(sink, { memory, redelivery: doubling })
      yield* EventSink.writeAll(queue, [1, 2])
      yield* TestClock.adjust("1 minute")
      assert.isTrue(
        eventsOf(memory).includes(1) || deadLettersOf(memory).includes(1),
        JSON.stringify([received, eventsOf(memory), queue.node.health(0).counts])
      )
    }).pipe(quiet)
  )
  for (const retryAfter of [null, {}, [], "soon", NaN, -5, 1n, () => 1])
    it.effect(`retryAfter of ${String(retryAfter)}`, () =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const { sink, received } = yield* receiving((n) =>
          n === 1 ? Effect.fail(new No({ retryAfter })) : Effect.void
        )
        const { queue } = yield* start(sink, { memory, redelivery: doubling })
        yield* EventSink.writeAll(queue, [1, 2])
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual([eventsOf(memory), received], [[1, 2], []])
      }).pipe(quiet)
    )
})

describe("delays without an end", () => {
  it.effect("do not collapse", () =>
    Effect.gen(function* () {
      const plan = Redelivery.make(Schedule.exponential("1 second"))
      for (const attempts of [10, 100, 1000, 1100, 10000]) {
        const next = yield* plan.next({ attempts, age: Duration.zero, error: 0 })
        assert.isTrue(next._tag === "Again" && Duration.toMillis(next.delay) > 1, `${attempts} ${JSON.stringify(next)}`)
      }
    })
  )
})

describe("failures of one outage that end one after another", () => {
  it.effect("are one failure of the receiver", () =>
    Effect.gen(function* () {
      let down = true
      const { sink, received } = yield* receiving((n) =>
        Effect.suspend(() => (down ? Effect.delay(no, n * 100) : Effect.void))
      )
      const { queue } = yield* start(sink, { redelivery: doubling, concurrency: 20 })
      yield* EventSink.writeAll(queue, range(1, 20))
      yield* TestClock.adjust("5 seconds")
      down = false
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual(sorted(received), range(1, 20))
    }).pipe(quiet)
  )
})

describe("Retry-After of a receiver that is down", () => {
  it.effect("is honoured where events wait by themselves", () =>
    Effect.gen(function* () {
      const { sink, attempts } = yield* receiving(() => Effect.fail(new No({ retryAfter: "30 minutes" })))
      const { queue } = yield* start(sink, { redelivery: doubling, concurrency: 2 })
      yield* EventSink.writeAll(queue, range(1, 100))
      yield* TestClock.adjust("29 minutes")
      assert.isAtMost(attempts.filter(([, s]) => s > 1).length, 0)
    }).pipe(quiet)
  )

  it.effect("keys that are numbers and differ in their upper half alone hold up no other", () =>
    Effect.gen(function* () {
      const { received, sink } = yield* receiving((n) => (n % 10 === 1 ? no : Effect.void))
      const { queue } = yield* start(sink, {
        redelivery: Redelivery.fromDelays(["1 hour"], { jitter: 0 }),
        concurrency: 2,
        partitionBy: (n) => (n % 10) * 65_536
      })
      yield* EventSink.writeAll(queue, [1, 11])
      yield* TestClock.adjust("1 second")
      yield* EventSink.writeAll(queue, [2, 3, 4])
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(received.toSorted(), [2, 3, 4])
    }).pipe(quiet)
  )
})
