import { assert, describe, it } from "@effect/vitest"
import { Deferred, Duration, Effect, Schedule, Schema } from "effect"
import { EventSink } from "effect-events"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { makeCodec } from "../../src/durable/internal/eventCodec.ts"
import { makeExchangeHost, type Options } from "../../src/durable/internal/exchangeHost.ts"
import { serverOf } from "../../src/durable/internal/servers.ts"
import type { ReceiverState } from "../../src/durable/internal/redelivering.ts"
import type { Receiver } from "../../src/durable/internal/slot.ts"
import { pass, quiet, settle, withLogs } from "../support/virtual.ts"
import { type Around, error, type Name, operationsAround, operationsOver } from "./support/store.ts"

const exchange = "webhooks"
const codec = makeCodec(Schema.Number)
const every = Redelivery.make(Schedule.spaced("10 seconds"), { maxAttempts: 3, jitter: 0 })
const receiver = (sink: EventSink.EventSink<number, unknown>): Receiver<number> => ({
  sink,
  redelivery: every,
  concurrency: 1,
  spacing: undefined
})
const encode = (text: string) => new TextEncoder().encode(text)
const name = (n: number) => `endpoint-${String(n).padStart(5, "0")}`

interface Attempt {
  readonly endpoint: string
  readonly event: number
  readonly url: string
}

/** A process that serves the exchange of a memory, and what it has attempted. */
const process = (
  memory: MemoryStore.Memory,
  options: Partial<Options<number>> & {
    readonly deliver?: (attempt: Attempt) => Effect.Effect<void, unknown>
    readonly of?: Partial<Receiver<number>>
    /** How long a settlement takes. */
    readonly delay?: Duration.Input
    readonly around?: Around
  } = {}
) =>
  Effect.gen(function* () {
    const calls = new Map<Name, number>()
    const store = yield* operationsAround(memory, (name, run, args) => {
      calls.set(name, (calls.get(name) ?? 0) + 1)
      if (options.around !== undefined) return options.around(name, run, args)
      return name === "acknowledge" && options.delay !== undefined ? Effect.delay(run, options.delay) : run
    })
    const attempts: Array<Attempt> = []
    const unready: Array<string> = []
    const states: Array<readonly [string, ReceiverState["_tag"]]> = []
    const context = yield* Effect.context<never>()
    const server = serverOf(store, context)
    const host = makeExchangeHost<number>({
      server,
      exchange,
      kind: "WebhookEndpoint",
      codec,
      leaseTtl: Duration.seconds(10),
      batchSize: 10,
      batchBytes: 1 << 20,
      keepsOutcomes: false,
      context,
      processSpan: undefined,
      slots: 16,
      nodeKind: "Deliveries",
      slice: Duration.seconds(2),
      drainTimeout: Duration.seconds(5),
      state: ({ name }, { _tag }) => void states.push([name, _tag]),
      disable: ({ name, tenant }, reason) => store.setState({ exchange, tenant, name }, "disabled", reason),
      unready: ({ name }) => void unready.push(name),
      receiver: ({ data, name }) =>
        Effect.gen(function* () {
          const url = new TextDecoder().decode(data)
          if (url === "broken") return yield* Effect.fail({ message: "the definition is broken" })
          const sink = yield* EventSink.make((event: number) =>
            Effect.suspend(() => {
              const attempt = { endpoint: name, event, url }
              attempts.push(attempt)
              return options.deliver?.(attempt) ?? Effect.void
            })
          )
          return { ...receiver(sink), ...options.of }
        }),
      ...options
    })
    const eventsOf = (endpoint: string) => attempts.filter((one) => one.endpoint === endpoint).map(({ event }) => event)
    return { ...host, attempts, calls, eventsOf, states, store, server, unready }
  })

const world = Effect.gen(function* () {
  const memory = yield* MemoryStore.makeMemory
  const store = yield* operationsOver(memory)
  yield* store.open(exchange)
  const define = (n: number, url = "https://a.example") =>
    store.define(exchange, [{ tenant: "acme", name: name(n), topics: ["*"], data: encode(url) }])
  const publish = (...events: readonly [number, ...Array<number>]) => {
    const [first, ...others] = events.map((n) => ({ payload: encode(String(n)), tenant: "acme", topic: "t" }))
    return store.publish(exchange, [first!, ...others])
  }
  const pending = Effect.map(store.overview({ exchange }), (all) => all.reduce((n, one) => n + one.pending, 0))
  return { memory, store, define, publish, pending }
})

describe("an exchange that is served whole", () => {
  it.effect("delivers to each of its subscriptions in order, to more of them than there are slots", () =>
    Effect.gen(function* () {
      const { define, memory, pending, publish } = yield* world
      for (let n = 0; n < 100; n++) yield* define(n)
      yield* publish(1, 2, 3)
      const one = yield* process(memory)
      yield* pass(10)
      yield* publish(4)
      yield* pass(10)
      for (let n = 0; n < 100; n++) assert.deepStrictEqual(one.eventsOf(name(n)), [1, 2, 3, 4])
      assert.strictEqual(yield* pending, 0)
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("gets what is published while it has the lease, and a new subscription without a word", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1)
      const one = yield* process(memory)
      yield* pass(1)
      for (let n = 1; n <= 5; n++) {
        yield* publish(n)
        yield* TestClock.adjust("100 millis")
        yield* settle
      }
      assert.deepStrictEqual(one.eventsOf(name(1)), [1, 2, 3, 4, 5])
      yield* define(2)
      yield* publish(6)
      yield* pass(1)
      assert.deepStrictEqual(one.eventsOf(name(2)), [6])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("asks the store no more often for thousands of idle subscriptions than for ten", () =>
    Effect.gen(function* () {
      const calls = (count: number) =>
        Effect.gen(function* () {
          const { define, memory } = yield* world
          for (let n = 0; n < count; n++) yield* define(n)
          const one = yield* process(memory)
          yield* pass(5)
          one.calls.clear()
          yield* pass(30)
          const all = [...one.calls.values()].reduce((sum, n) => sum + n, 0)
          yield* one.close
          return all
        })
      const [few, many] = [yield* calls(10), yield* calls(1_000)]
      assert.strictEqual(many, few)
      assert.isAtMost(few, 30 * 2)
    }).pipe(quiet)
  )

  it.effect("holds no slot for one that fails between its attempts, and goes on by its plan over processes", () =>
    Effect.gen(function* () {
      const { define, memory, publish, store } = yield* world
      yield* define(1)
      yield* define(2)
      const deliver = ({ endpoint }: Attempt) => (endpoint === name(1) ? Effect.fail("down") : Effect.void)
      const one = yield* process(memory, { deliver, slots: 1 })
      yield* publish(1, 2)
      yield* pass(5)
      assert.deepStrictEqual([one.eventsOf(name(1)), one.eventsOf(name(2))], [[1], [1, 2]])
      assert.strictEqual(one.slots().length, 0)
      assert.deepStrictEqual(one.states, [[name(1), "Failing"]])
      yield* one.close
      const other = yield* process(memory, { deliver, slots: 1 })
      yield* pass(4)
      assert.deepStrictEqual(other.eventsOf(name(1)), [])
      yield* pass(14)
      // The second and the third attempt, of which the last is the plan's.
      assert.deepStrictEqual(other.eventsOf(name(1)), [1, 1, 2])
      const [first] = yield* store.overview({ exchange, name: name(1) })
      assert.strictEqual(first?.deadLetters, 1)
      yield* other.close
    }).pipe(quiet)
  )

  it.effect("says when a receiver answers again", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1)
      let isDown = true
      const one = yield* process(memory, { deliver: () => (isDown ? Effect.fail("down") : Effect.void) })
      yield* publish(1)
      yield* pass(5)
      isDown = false
      yield* pass(10)
      assert.deepStrictEqual(one.states, [
        [name(1), "Failing"],
        [name(1), "Answering"]
      ])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("lets no more hanging receivers than there are slots keep others from theirs", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      for (let n = 0; n < 12; n++) yield* define(n)
      const hangs = ({ endpoint }: Attempt) => (endpoint < name(4) ? Effect.never : Effect.void)
      const one = yield* process(memory, { deliver: hangs, slots: 4 })
      yield* publish(1, 2)
      yield* pass(5)
      for (let n = 4; n < 12; n++) assert.deepStrictEqual(one.eventsOf(name(n)), [1, 2])
      yield* Effect.forkChild(one.close)
      yield* pass(6)
    }).pipe(quiet)
  )

  it.effect("makes room for others that are due as soon as nothing is left for one", () =>
    Effect.gen(function* () {
      const { define, memory, pending, publish } = yield* world
      for (let n = 0; n < 100; n++) yield* define(n)
      yield* publish(1)
      const one = yield* process(memory, { slots: 4 })
      yield* pass(3)
      assert.strictEqual(yield* pending, 0)
      assert.strictEqual(one.attempts.length, 100)
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("gives a flooded subscription no more than its slice while others wait", () =>
    Effect.gen(function* () {
      const { define, memory, publish, store } = yield* world
      yield* define(1)
      const slow = () => Effect.sleep("100 millis")
      const one = yield* process(memory, { deliver: slow, slots: 1 })
      for (let n = 1; n <= 100; n++) yield* publish(n)
      yield* pass(1)
      yield* store.define(exchange, [
        { tenant: "other", name: name(2), topics: ["*"], data: encode("https://b.example") }
      ])
      yield* store.publish(exchange, [{ payload: encode("1"), tenant: "other", topic: "t" }])
      yield* pass(4)
      assert.deepStrictEqual(one.eventsOf(name(2)), [1])
      assert.isAtLeast(one.eventsOf(name(1)).length, 20)
      assert.isAtMost(one.eventsOf(name(1)).length, 60)
      yield* pass(10)
      assert.deepStrictEqual(
        one.eventsOf(name(1)),
        Array.from({ length: 100 }, (_, i) => i + 1)
      )
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("delivers what waits to a definition that changes, and leaves an attempt that hangs", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1)
      const hangs = ({ url }: Attempt) => (url === "https://a.example" ? Effect.never : Effect.void)
      const one = yield* process(memory, { deliver: hangs })
      yield* publish(1, 2)
      yield* pass(1)
      yield* define(1, "https://b.example")
      yield* pass(1)
      assert.deepStrictEqual(
        one.attempts.map(({ event, url }) => [event, url]),
        [
          [1, "https://a.example"],
          [1, "https://b.example"],
          [2, "https://b.example"]
        ]
      )
      assert.deepStrictEqual(one.states, [])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("leaves an attempt that hangs also where its slice is over, and others wait for its slot", () =>
    Effect.gen(function* () {
      const { define, memory, publish, store } = yield* world
      yield* define(1)
      const deliver = ({ url }: Attempt) => (url === "https://a.example" ? Effect.never : Effect.sleep("100 millis"))
      const one = yield* process(memory, { deliver, slots: 1, drainTimeout: Duration.seconds(20) })
      yield* publish(1)
      yield* pass(1)
      yield* store.define(exchange, [
        { tenant: "other", name: name(2), topics: ["*"], data: encode("https://b.example") }
      ])
      for (let n = 1; n <= 60; n++)
        yield* store.publish(exchange, [{ payload: encode(String(n)), tenant: "other", topic: "t" }])
      yield* pass(5)
      yield* define(1, "https://c.example")
      yield* pass(2)
      assert.deepStrictEqual(
        one.attempts.filter(({ endpoint }) => endpoint === name(1)).map(({ event, url }) => [event, url]),
        [
          [1, "https://a.example"],
          [1, "https://c.example"]
        ]
      )
      yield* Effect.forkChild(one.close)
      yield* pass(21)
    }).pipe(quiet)
  )

  it.effect("stops one that is paused or dropped, and goes on with one that is active again", () =>
    Effect.gen(function* () {
      const { define, memory, publish, store } = yield* world
      yield* define(1)
      yield* define(2)
      const one = yield* process(memory, { deliver: () => Effect.sleep("500 millis") })
      yield* publish(1, 2, 3, 4)
      yield* pass(1)
      yield* store.setState({ exchange, tenant: "acme", name: name(1) }, "paused", "by hand")
      yield* store.drop({ exchange, tenant: "acme", name: name(2) })
      yield* pass(5)
      const paused = one.eventsOf(name(1)).length
      assert.isBelow(paused, 4)
      assert.isBelow(one.eventsOf(name(2)).length, 4)
      assert.strictEqual(one.slots().length, 0)
      yield* store.setState({ exchange, tenant: "acme", name: name(1) }, "active", undefined)
      yield* pass(5)
      assert.deepStrictEqual(one.eventsOf(name(1)).slice(-1), [4])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("ends an attempt that takes long of one that is dropped, and begins no other", () =>
    Effect.gen(function* () {
      const { define, memory, publish, store } = yield* world
      yield* define(1)
      let ended = 0
      const slow = () =>
        Effect.ensuring(
          Effect.sleep("4 seconds"),
          Effect.sync(() => void ended++)
        )
      const one = yield* process(memory, { deliver: slow })
      yield* publish(1, 2, 3)
      yield* pass(2)
      yield* store.drop({ exchange, tenant: "acme", name: name(1) })
      yield* pass(2)
      assert.deepStrictEqual([one.slots().length, ended], [0, 1])
      yield* pass(10)
      assert.deepStrictEqual(one.eventsOf(name(1)), [1])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("asks once a second, and not for each, about definitions of attempts that take long", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      for (let n = 0; n < 8; n++) yield* define(n)
      const one = yield* process(memory, { deliver: () => Effect.sleep("30 seconds") })
      yield* publish(1)
      yield* pass(5)
      const before = one.calls.get("list") ?? 0
      yield* pass(10)
      assert.isAtMost((one.calls.get("list") ?? 0) - before, 11)
      yield* Effect.forkChild(one.close)
      yield* pass(6)
    }).pipe(quiet)
  )

  it.effect("asks once a second, with a line of the log, where the store does not give its definitions", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { define, memory, publish } = yield* world
        yield* define(1)
        let isDown = true
        const around: Around = (name, run) =>
          Effect.andThen(
            Effect.suspend(() => (isDown && name === "list" ? Effect.fail(error(name)) : Effect.void)),
            run
          )
        const one = yield* process(memory, { around })
        yield* publish(1)
        yield* pass(10)
        assert.isAtMost(one.calls.get("list") ?? 0, 11)
        assert.lengthOf(
          logs.filter(({ level, line }) => level === "ERROR" && line.includes("waits for its store")),
          4
        )
        isDown = false
        yield* pass(2)
        assert.deepStrictEqual(one.eventsOf(name(1)), [1])
        assert.isTrue(logs.some(({ line }) => line.includes("has its store again")))
        yield* one.close
      })
    )
  )

  it.effect("tries one again whose receiver cannot be made, and neither disables it nor loses anything of it", () =>
    Effect.gen(function* () {
      const { define, memory, publish, store } = yield* world
      yield* define(1, "broken")
      const one = yield* process(memory)
      yield* publish(1)
      yield* pass(100)
      const [found] = yield* store.overview({ exchange })
      assert.deepStrictEqual([found?.state, found?.pending, found?.owner], ["active", 1, undefined])
      assert.include(found?.wait?.reason, "the definition is broken")
      // Once in 15 to 30 seconds.
      assert.isAtLeast(one.unready.length, 4)
      assert.isAtMost(one.unready.length, 8)
      yield* define(1)
      yield* pass(31)
      assert.deepStrictEqual(one.eventsOf(name(1)), [1])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("keeps to a rate, also from one process to the next, and holds no slot meanwhile", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1)
      const times: Array<number> = []
      const deliver = () =>
        Effect.map(
          Effect.clockWith((clock) => clock.currentTimeMillis),
          (at) => void times.push(at)
        )
      const of = { spacing: Duration.seconds(4) }
      const one = yield* process(memory, { deliver, of })
      yield* publish(1, 2, 3, 4)
      yield* pass(2)
      assert.strictEqual(one.slots().length, 0)
      yield* pass(4)
      yield* one.close
      const other = yield* process(memory, { deliver, of })
      yield* pass(12)
      assert.deepStrictEqual([...one.eventsOf(name(1)), ...other.eventsOf(name(1))], [1, 2, 3, 4])
      times.slice(1).forEach((at, i) => assert.isAtLeast(at - times[i]!, 4_000))
      yield* other.close
    }).pipe(quiet)
  )

  it.effect("keeps to a rate with several attempts under way, and holds no slot while none is", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1)
      const times: Array<number> = []
      const deliver = () =>
        Effect.clockWith((clock) => {
          times.push(clock.currentTimeMillisUnsafe())
          return Effect.sleep("2500 millis")
        })
      // At the rate of the first several are under way at once, and at that of the second none between them.
      for (const [seconds, most] of [
        [1, 3],
        [8, 1]
      ] as const) {
        times.length = 0
        yield* publish(1, 2, 3, 4, 5, 6)
        const one = yield* process(memory, { deliver, of: { concurrency: 4, spacing: Duration.seconds(seconds) } })
        let free = 0
        for (let second = 0; second < 50; second++) {
          yield* pass(1)
          if (one.slots().length === 0) free++
        }
        assert.lengthOf(times, 6)
        times.slice(1).forEach((at, i) => assert.isAtLeast(at - times[i]!, 1_000 * seconds))
        const underWay = times.map((at) => times.filter((other) => other <= at && at < other + 2_500).length)
        assert.strictEqual(Math.max(...underWay), most)
        assert.isAtLeast(free, 20)
        assert.isUndefined(one.node.health(0).lastError)
        yield* one.close
        yield* pass(10)
      }
    }).pipe(quiet)
  )

  it.effect("goes in part to a process that joins, also where another has slots for all", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      for (let n = 0; n < 8; n++) yield* define(n)
      const deliver = () => Effect.sleep("100 millis")
      const one = yield* process(memory, { deliver })
      for (let n = 0; n < 400; n++) yield* publish(n)
      yield* pass(2)
      const other = yield* process(memory, { deliver })
      yield* pass(15)
      assert.isAbove(other.attempts.length, 200)
      assert.isAbove(one.attempts.length, 200)
      // No endpoint waits for that: each has nearly 10 events a second.
      assert.isAbove(one.attempts.length + other.attempts.length, 8 * 17 * 9)
      for (let n = 0; n < 8; n++) {
        const events = [...one.eventsOf(name(n)), ...other.eventsOf(name(n))]
        assert.lengthOf(new Set(events), events.length)
      }
      yield* Effect.forkChild(one.close)
      yield* Effect.forkChild(other.close)
      yield* pass(6)
    }).pipe(quiet)
  )

  it.effect("is taken over by another process at once when it closes, in order and without a second delivery", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      for (let n = 0; n < 20; n++) yield* define(n)
      const slow = () => Effect.sleep("200 millis")
      const one = yield* process(memory, { deliver: slow })
      const other = yield* process(memory, { deliver: slow })
      for (let n = 1; n <= 20; n++) yield* publish(n)
      yield* pass(2)
      assert.isAbove(one.attempts.length, 0)
      assert.isAbove(other.attempts.length, 0)
      yield* Effect.forkChild(one.close)
      yield* pass(12)
      for (let n = 0; n < 20; n++) {
        const both = [...one.attempts, ...other.attempts].filter(({ endpoint }) => endpoint === name(n))
        assert.deepStrictEqual(
          both.map(({ event }) => event).toSorted((a, b) => a - b),
          Array.from({ length: 20 }, (_, i) => i + 1)
        )
      }
      yield* other.close
    }).pipe(quiet)
  )

  it.effect("waits at the close for what is in flight, all of it together, and ends what hangs", () =>
    Effect.gen(function* () {
      const { define, memory, pending, publish } = yield* world
      for (let n = 0; n < 8; n++) yield* define(n)
      const gate = yield* Deferred.make<void>()
      const deliver = ({ endpoint }: Attempt) => (endpoint < name(4) ? Deferred.await(gate) : Effect.never)
      const one = yield* process(memory, { deliver })
      yield* publish(1)
      yield* pass(1)
      const closing = yield* Effect.forkChild(one.close)
      yield* pass(1)
      yield* Deferred.succeed(gate, undefined)
      yield* pass(5)
      assert.isDefined(closing.pollUnsafe())
      assert.strictEqual(yield* pending, 4)
    }).pipe(quiet)
  )

  it.effect("acknowledges at the close what it has delivered, by few statements to a store that takes its time", () =>
    Effect.gen(function* () {
      const { define, memory, pending, publish } = yield* world
      for (let n = 0; n < 100; n++) yield* define(n)
      const deliver = ({ endpoint }: Attempt) => Effect.sleep(Duration.millis(5 * Number(endpoint.slice(-2))))
      const one = yield* process(memory, { slots: 100, deliver, delay: "200 millis" })
      yield* publish(1, 2)
      const before = one.calls.get("acknowledge") ?? 0
      yield* TestClock.adjust("20 millis")
      yield* settle
      yield* Effect.forkChild(one.close)
      yield* pass(30)
      const settled = (one.calls.get("acknowledge") ?? 0) - before
      assert.strictEqual((yield* pending) + one.attempts.length, 200)
      assert.isAtMost(settled, 4)
    }).pipe(quiet)
  )

  it.effect("acknowledges at the end of a slot what it has delivered, also where the store fails for a moment", () =>
    Effect.gen(function* () {
      const { define, memory, pending, publish } = yield* world
      yield* define(1)
      let isDown = false
      const around: Around = (name, run) =>
        Effect.andThen(
          Effect.suspend(() => (isDown && name === "acknowledge" ? Effect.fail(error(name)) : Effect.void)),
          run
        )
      const one = yield* process(memory, { deliver: () => Effect.sleep("500 millis"), around })
      yield* publish(1, 2, 3, 4)
      yield* pass(1)
      isDown = true
      const closing = yield* Effect.forkChild(one.close)
      yield* pass(2)
      isDown = false
      yield* pass(1)
      assert.isDefined(closing.pollUnsafe())
      assert.strictEqual((yield* pending) + one.attempts.length, 4)
    }).pipe(quiet)
  )

  it.effect("an event that is written after a change of the definition goes where that says", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1, "old")
      const one = yield* process(memory)
      for (let n = 1; n <= 10; n += 2) {
        yield* publish(n)
        yield* TestClock.adjust("20 millis")
        yield* settle
        yield* define(1, `new ${n}`)
        yield* publish(n + 1)
        yield* TestClock.adjust("20 millis")
        yield* settle
      }
      yield* pass(1)
      assert.deepStrictEqual(one.eventsOf(name(1)), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
      const urls = one.attempts.filter(({ event }) => event % 2 === 0).map(({ url }) => url)
      assert.deepStrictEqual(urls, ["new 1", "new 3", "new 5", "new 7", "new 9"])
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("an event that is written after a change goes where that says, also while the store answers others", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1, "old")
      let change: Effect.Effect<unknown, unknown> = Effect.void
      const around: Around = (name, run) =>
        Effect.tap(run, () => {
          if (name !== "list") return Effect.void
          const once = change
          change = Effect.void
          return Effect.orDie(Effect.andThen(once, Effect.sleep("20 millis")))
        })
      const one = yield* process(memory, { around })
      yield* publish(1)
      yield* pass(1)
      // While the definition is asked for that is the same still.
      change = Effect.andThen(define(1, "new"), publish(3))
      yield* publish(2)
      yield* pass(2)
      assert.deepInclude(
        one.attempts.map(({ event, url }) => [event, url]),
        [3, "new"]
      )
      assert.notDeepInclude(
        one.attempts.map(({ event, url }) => [event, url]),
        [3, "old"]
      )
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("a flood of commits does not keep what they are of from being taken", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      yield* define(1)
      const around: Around = (name, run) =>
        name === "list" ? Effect.delay(run, "12 millis") : name === "claim" ? Effect.delay(run, "20 millis") : run
      const written: Array<number> = []
      const delays: Array<number> = []
      const now = Effect.clockWith((clock) => clock.currentTimeMillis)
      const deliver = ({ event }: Attempt) =>
        Effect.map(now, (at) => void delays.push(at - (written[event] ?? Number.NaN)))
      const one = yield* process(memory, { around, deliver, batchSize: 1_000 })
      yield* pass(1)
      for (let n = 0; n < 1_000; n++) {
        written.push(yield* now)
        yield* publish(n)
        yield* TestClock.adjust("2 millis")
        yield* Effect.repeat(Effect.yieldNow, { times: 30 })
      }
      yield* pass(2)
      assert.lengthOf(delays, 1_000)
      assert.isAtMost(Math.max(...delays), 100)
      yield* one.close
    }).pipe(quiet)
  )

  it.effect("a burst of commits is one claim, and the first of them waits for none", () =>
    Effect.gen(function* () {
      const { define, memory, publish } = yield* world
      for (let n = 0; n < 4; n++) yield* define(n)
      const one = yield* process(memory)
      yield* pass(2)
      const claims = () => one.calls.get("claim") ?? 0
      const before = claims()
      yield* publish(1)
      yield* settle
      assert.deepStrictEqual(one.eventsOf(name(3)), [1])
      for (let n = 2; n <= 50; n++) {
        yield* publish(n)
        yield* settle
      }
      yield* TestClock.adjust("10 millis")
      yield* settle
      assert.isAtMost(claims() - before, 4)
      assert.lengthOf(one.eventsOf(name(3)), 50)
      yield* one.close
    }).pipe(quiet)
  )
})
