/** The spans of writes and deliveries of durable parts: what the store keeps between two processes, and what comes of it. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Schedule, Schema, Scope } from "effect"
import { EventSink, RetryingSink, RetryStrategy } from "effect-events"
import { DurableBroadcaster, DurableQueue, EventStore, MemoryStore, Redelivery } from "effect-events/durable"
import { TestClock } from "effect/testing"
import { attributesOf, exitOf, linksOf, parentOf, recorder } from "../support/recorder.ts"
import { pass, quiet, settle } from "../support/virtual.ts"
import { file, open as openFile } from "./support/sqliteFile.ts"
import { operationsOver } from "./support/store.ts"

type Operations = EventStore.Operations

/** Two processes over one store. */
const stores = {
  memory: Effect.gen(function* () {
    const memory = yield* MemoryStore.makeMemory
    return [yield* operationsOver(memory), yield* operationsOver(memory)] as const
  }),
  SQLite: Effect.gen(function* () {
    const filename = yield* file
    return [yield* openFile(filename), yield* openFile(filename)] as const
  })
}

const on = (store: Operations) => Effect.provideService(EventStore.EventStore, store)
const identity = { name: "orders", schema: Schema.Int } as const
const worker = EventSink.make((n: number) => Effect.withSpan(Effect.void, `work ${n}`))
const batches = EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void)
const until = (flush: Effect.Effect<void, unknown>) =>
  Effect.gen(function* () {
    const flushing = yield* Effect.forkChild(flush)
    yield* pass(5)
    yield* Fiber.join(flushing)
  })

describe.each(["memory", "SQLite"] as const)("over %s", (kind) => {
  it.effect("a delivery by another process is linked to the write", () => {
    const [here, there] = [recorder(), recorder()]
    return Effect.gen(function* () {
      const [one, other] = yield* stores[kind]
      const writer = yield* DurableQueue.writer(identity).pipe(on(one), here.provide)
      const queue = yield* DurableQueue.make(identity)(worker).pipe(on(other), there.provide)
      yield* settle
      yield* writer.write(1).pipe(Effect.withSpan("request"), here.provide)
      yield* until(queue.flush)
      const send = here.only("send orders")
      const process = there.only("process orders")
      assert.strictEqual(parentOf(send), here.only("request").spanId)
      assert.deepStrictEqual(linksOf(process), [send.spanId])
      const [link] = process.links
      assert.strictEqual(link!.span.traceId, send.traceId)
      assert.isTrue(link!.span.sampled)
      assert.strictEqual(parentOf(process), undefined)
      assert.strictEqual(parentOf(there.only("work 1")), process.spanId)
      const id = attributesOf(send)["messaging.message.id"]
      assert.isString(id)
      assert.deepStrictEqual(attributesOf(process), {
        "messaging.system": "effect_events",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders",
        "messaging.message.id": id
      })
      assert.deepStrictEqual(link!.attributes, { "messaging.message.id": id })
      assert.strictEqual(attributesOf(send)["messaging.operation.type"], "send")
    }).pipe(quiet)
  })

  it.effect('a delivery by another process is a child of the write under `trace: "parent"`', () => {
    const [here, there] = [recorder(), recorder()]
    return Effect.gen(function* () {
      const [one, other] = yield* stores[kind]
      const writer = yield* DurableQueue.writer(identity).pipe(on(one), here.provide)
      const queue = yield* DurableQueue.make({ ...identity, trace: "parent" })(worker).pipe(on(other), there.provide)
      yield* settle
      yield* writer.send(1).pipe(Effect.withSpan("request"), here.provide)
      yield* until(queue.flush)
      assert.strictEqual(parentOf(there.only("process orders")), here.only("send orders").spanId)
      assert.strictEqual(there.only("work 1").traceId, here.only("request").traceId)
    }).pipe(quiet)
  })

  it.effect("writers that share a commit have each their own, and a batch is linked to all", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const [one] = yield* stores[kind]
      const queue = yield* DurableQueue.make(identity)(batches).pipe(on(one), provide)
      yield* settle
      const write = (n: number) => Effect.withSpan(queue.write(n), `request ${n}`)
      yield* Effect.forEach([1, 2, 3], write, { concurrency: "unbounded" }).pipe(provide)
      yield* queue.writeSome([4, 5]).pipe(provide)
      yield* until(queue.flush)
      const links = named("process orders").flatMap(({ links }) => links)
      const sends = named("send orders")
      assert.deepStrictEqual(
        sends.slice(0, 3).map(parentOf),
        [1, 2, 3].map((n) => only(`request ${n}`).spanId)
      )
      assert.deepStrictEqual(
        links.map(({ span }) => span.spanId),
        [0, 1, 2, 3, 3].map((i) => sends[i]!.spanId)
      )
      // The same id in both places.
      assert.deepStrictEqual(
        links.slice(0, 3).map(({ attributes }) => attributes["messaging.message.id"]),
        sends.slice(0, 3).map((span) => attributesOf(span)["messaging.message.id"])
      )
      assert.strictEqual(attributesOf(sends[3]!)["messaging.batch.message_count"], 2)
      const counts = named("process orders").map((span) => Number(attributesOf(span)["messaging.batch.message_count"]))
      assert.strictEqual(
        counts.reduce((sum, n) => sum + n, 0),
        5
      )
    }).pipe(quiet)
  })

  it.effect("the decision of the writer not to sample holds in another process", () => {
    const [here, there] = [recorder(), recorder()]
    return Effect.gen(function* () {
      const [one, other] = yield* stores[kind]
      const writer = yield* DurableQueue.writer(identity).pipe(on(one))
      const queue = yield* DurableQueue.make(identity)(worker).pipe(on(other), there.provide)
      yield* settle
      yield* writer.write(1).pipe(Effect.withSpan("request", { sampled: false }), here.provide)
      yield* until(queue.flush)
      assert.isFalse(there.only("process orders").sampled)
      assert.isFalse(there.only("work 1").sampled)
      assert.isFalse(there.only("process orders").links[0]!.span.sampled)
    }).pipe(quiet)
  })

  it.effect("a dead letter keeps its trace, and a replayed one is linked to its write", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const [one] = yield* stores[kind]
      const control = { fails: true }
      const flaky = EventSink.make((_: number) =>
        Effect.suspend(() => (control.fails ? Effect.fail("no") : Effect.void))
      )
      const queue = yield* DurableQueue.make({ ...identity, redelivery: Redelivery.none })(flaky).pipe(on(one), provide)
      yield* settle
      yield* queue.write(1).pipe(provide)
      yield* until(queue.flush)
      const send = only("send orders")
      const [letter] = yield* queue.deadLetters.list()
      assert.strictEqual(letter!.trace, `00-${send.traceId}-${send.spanId}-01`)
      control.fails = false
      yield* queue.deadLetters.replay("all")
      yield* until(queue.flush)
      const [failed, replayed] = named("process orders")
      const exit = exitOf(failed!)
      assert.isTrue(Exit.isFailure(exit) && Cause.hasFails(exit.cause))
      assert.isTrue(Exit.isSuccess(exitOf(replayed!)))
      assert.deepStrictEqual(linksOf(replayed!), [send.spanId])
    }).pipe(quiet)
  })

  it.effect("each redelivery has a span of its own, which is linked to the write", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const [one] = yield* stores[kind]
      let attempts = 0
      const flaky = EventSink.make((_: number) =>
        Effect.suspend(() => (++attempts < 3 ? Effect.fail("no") : Effect.void))
      )
      const redelivery = Redelivery.make(Schedule.spaced("1 second"))
      const queue = yield* DurableQueue.make({ ...identity, redelivery })(flaky).pipe(on(one), provide)
      yield* settle
      yield* queue.write(1).pipe(provide)
      yield* pass(10)
      yield* until(queue.flush)
      const all = named("process orders")
      assert.strictEqual(all.length, 3)
      for (const span of all) assert.deepStrictEqual(linksOf(span), [only("send orders").spanId])
    }).pipe(quiet)
  })

  it.effect("without a tracer nothing is stored, and no delivery is linked", () => {
    const there = recorder()
    return Effect.gen(function* () {
      const [one, other] = yield* stores[kind]
      const refusing = EventSink.make((_: number) => Effect.fail("no"))
      const writer = yield* DurableQueue.writer(identity).pipe(on(one))
      const queue = yield* DurableQueue.make({ ...identity, redelivery: Redelivery.none })(refusing).pipe(
        on(other),
        there.provide
      )
      yield* settle
      yield* writer.write(1).pipe(Effect.withSpan("request"))
      yield* writer.write(2).pipe(Effect.withSpan("request"), Effect.withTracerEnabled(false), recorder().provide)
      yield* until(queue.flush)
      assert.deepStrictEqual(
        (yield* queue.deadLetters.list()).map(({ trace }) => trace),
        [undefined, undefined]
      )
      assert.deepStrictEqual(there.named("process orders").map(linksOf), [[], []])
      assert.deepStrictEqual(there.named("send orders"), [])
    }).pipe(quiet)
  })

  it.effect("a process without a tracer makes no span of what is stored with a trace", () => {
    const here = recorder()
    return Effect.gen(function* () {
      const [one, other] = yield* stores[kind]
      const spans: Array<unknown> = []
      const sink = EventSink.make((_: number) =>
        Effect.withFiber((fiber) => Effect.sync(() => void spans.push(fiber.cache.span)))
      )
      const writer = yield* DurableQueue.writer(identity).pipe(on(one), here.provide)
      const queue = yield* DurableQueue.make(identity)(sink).pipe(on(other))
      yield* settle
      yield* writer.write(1).pipe(here.provide)
      yield* until(queue.flush)
      assert.deepStrictEqual(spans, [undefined])
      assert.strictEqual(here.named("process orders").length, 0)
    }).pipe(quiet)
  })

  it.effect("two subscriptions of a broadcaster are linked to the one write, each in its way", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const [one, other] = yield* stores[kind]
      const orders = yield* DurableBroadcaster.make(identity).pipe(on(one), provide)
      yield* DurableBroadcaster.subscribe(orders, worker, { name: "billing" })
      yield* DurableBroadcaster.subscribe(orders, worker, { name: "audit", trace: "parent" })
      const writer = yield* DurableBroadcaster.writer(identity).pipe(on(other), provide)
      yield* writer.write(1).pipe(Effect.withSpan("request"), provide)
      yield* until(orders.flush)
      const send = only("send orders")
      const of = (name: string) =>
        named("process orders").find((span) => attributesOf(span)["messaging.destination.subscription.name"] === name)!
      assert.strictEqual(named("process orders").length, 2)
      assert.deepStrictEqual(linksOf(of("billing")), [send.spanId])
      assert.strictEqual(parentOf(of("audit")), send.spanId)
      assert.strictEqual(attributesOf(of("audit"))["messaging.message.id"], attributesOf(send)["messaging.message.id"])
    }).pipe(quiet)
  })
})

describe("a DurableQueue under a tracer", () => {
  it.effect("links events of partitions to their own writes, and has the attempts of a retrier in the delivery", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const [one] = yield* stores.memory
      const tried = new Set<number>()
      const flaky = EventSink.make((n: number) =>
        Effect.suspend(() => (tried.has(n) ? Effect.void : (tried.add(n), Effect.fail("no")))).pipe(
          Effect.withSpan(`work ${n}`)
        )
      )
      const sink = flaky.pipe(RetryingSink.make(RetryStrategy.fromSchedule(Schedule.spaced("1 second"))))
      const options = { ...identity, concurrency: 3, partitionBy: (n: number) => n % 4 }
      const queue = yield* DurableQueue.make(options)(sink).pipe(on(one), provide)
      yield* settle
      const events = Array.from({ length: 12 }, (_, n) => n)
      yield* Effect.forEach(events, (n) => Effect.withSpan(queue.write(n), `request ${n}`)).pipe(provide)
      yield* pass(20)
      yield* until(queue.flush)
      const spans = new Map(
        [...named("process orders"), ...named("send orders")].map((span) => [span.spanId, span] as const)
      )
      for (const n of events) {
        const [first, second] = named(`work ${n}`).map(parentOf)
        assert.strictEqual(first, second)
        const [link] = linksOf(spans.get(first!)!)
        assert.strictEqual(parentOf(spans.get(link!)!), only(`request ${n}`).spanId)
      }
    }).pipe(quiet)
  })

  it.effect("ends the span of a delivery that the close interrupts", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const [one] = yield* stores.memory
      const scope = yield* Scope.make()
      const hanging = EventSink.make((_: number) => Effect.never, { drainTimeout: 0 })
      const queue = yield* DurableQueue.make({ ...identity, drainTimeout: "1 second" })(hanging).pipe(
        on(one),
        provide,
        Scope.provide(scope)
      )
      yield* settle
      yield* queue.write(1).pipe(provide)
      yield* pass(2)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(closing)
      const exit = exitOf(only("process orders"))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
    }).pipe(quiet)
  })
})
