/** The spans of writes and deliveries in memory: which there are, what they are linked to, and that there is none without a tracer. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Deferred, Duration, Effect, Exit, Fiber, Schedule, Tracer } from "effect"
import { Broadcaster, EventFilter, EventQueue, EventSink, RetryingSink, RetryStrategy } from "effect-events"
import { TestClock } from "effect/testing"
import { vi } from "vitest"
import { attributesOf, exitOf, leavings, linksOf, parentOf, recorder } from "./support/recorder.ts"
import { open, quiet, settle } from "./support/virtual.ts"

/** A sink whose writes have a span of their own. */
const worker = EventSink.make((n: number) => Effect.withSpan(Effect.void, `work ${n}`))

const inRequest = Effect.withSpan("request")

describe("an EventQueue under a tracer", () => {
  it.effect("links the span of a delivery to that of the write", () => {
    const { only, provide, roots, spans } = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" })
      yield* queue.write(1).pipe(inRequest)
      yield* queue.flush
      const [request, send, process, work] = [
        only("request"),
        only("send orders"),
        only("process orders"),
        only("work 1")
      ]
      assert.strictEqual(spans.length, 4)
      assert.strictEqual(parentOf(send), request.spanId)
      assert.strictEqual(send.kind, "producer")
      assert.isTrue(Exit.isSuccess(exitOf(send)))
      assert.strictEqual(process.kind, "consumer")
      assert.strictEqual(parentOf(process), undefined)
      assert.deepStrictEqual([...roots], [process])
      assert.notStrictEqual(process.traceId, send.traceId)
      assert.deepStrictEqual(linksOf(process), [send.spanId])
      assert.strictEqual(process.links[0]!.span.traceId, request.traceId)
      assert.strictEqual(parentOf(work), process.spanId)
      assert.strictEqual(work.traceId, process.traceId)
      assert.isTrue(Exit.isSuccess(exitOf(process)))
      assert.deepStrictEqual(attributesOf(send), {
        "messaging.system": "effect_events",
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": "orders"
      })
      assert.deepStrictEqual(attributesOf(process), {
        "messaging.system": "effect_events",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders"
      })
    }).pipe(provide)
  })

  it.effect('makes the write the parent of its delivery under `trace: "parent"`', () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders", trace: "parent" })
      yield* queue.write(1).pipe(inRequest)
      yield* queue.flush
      const process = only("process orders")
      assert.strictEqual(parentOf(process), only("send orders").spanId)
      assert.strictEqual(process.traceId, only("request").traceId)
      assert.strictEqual(only("work 1").traceId, only("request").traceId)
      assert.deepStrictEqual(process.links, [])
    }).pipe(provide)
  })

  it.effect.each(["link", "parent"] as const)("links a batch to each of its writes: %s", (trace) => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const rows = EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void)
      const queue = yield* EventQueue.make(rows, { name: "rows", trace })
      yield* Effect.forEach([1, 2, 3], (n) => Effect.withSpan(queue.write(n), `request ${n}`))
      yield* queue.flush
      const process = only("process rows")
      const sends = named("send rows")
      assert.deepStrictEqual(
        linksOf(process),
        sends.map(({ spanId }) => spanId)
      )
      assert.deepStrictEqual(
        sends.map(parentOf),
        [1, 2, 3].map((n) => only(`request ${n}`).spanId)
      )
      assert.strictEqual(parentOf(process), undefined)
      assert.strictEqual(attributesOf(process)["messaging.batch.message_count"], 3)
    }).pipe(provide)
  })

  it.effect("has one span for the write of a batch, which every event of it is linked to", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" })
      yield* EventSink.writeAll(
        queue,
        Array.from({ length: 40 }, (_, n) => n)
      )
      yield* queue.flush
      const send = only("send orders")
      assert.strictEqual(attributesOf(send)["messaging.batch.message_count"], 40)
      const all = named("process orders")
      assert.strictEqual(all.length, 40)
      for (const process of all) assert.deepStrictEqual(linksOf(process), [send.spanId])
    }).pipe(provide)
  })

  const shapes = [
    { concurrency: 3 },
    { concurrency: 3, partitionBy: (n: number) => n % 4 },
    { capacity: 2 },
    { capacity: 3, concurrency: 2, partitionBy: (n: number) => n % 4 }
  ]
  it.effect.each(shapes)("links each event to its own write: %j", (shape) => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const slow = EventSink.make((n: number) => Effect.sleep(1 + (n % 3)).pipe(Effect.withSpan(`work ${n}`)))
      const queue = yield* EventQueue.make(slow, { name: "orders", ...shape })
      const events = Array.from({ length: 30 }, (_, n) => n)
      const write = (n: number) =>
        (n % 2 === 0 ? queue.write(n) : Effect.asVoid(queue.writeSome([n]))).pipe(Effect.withSpan(`request ${n}`))
      const writers = yield* Effect.forkChild(Effect.forEach(events, write, { concurrency: 5 }))
      yield* TestClock.adjust("1 second")
      yield* Fiber.join(writers)
      yield* queue.flush
      const processes = new Map(named("process orders").map((span) => [span.spanId, span]))
      const sends = new Map(named("send orders").map((span) => [span.spanId, span]))
      for (const n of events) {
        const process = processes.get(parentOf(only(`work ${n}`))!)!
        assert.deepStrictEqual(
          linksOf(process).map((id) => parentOf(sends.get(id)!)),
          [only(`request ${n}`).spanId]
        )
      }
    }).pipe(provide)
  })

  it.effect("obeys the decision of the writer not to sample", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" })
      yield* queue.write(1).pipe(Effect.withSpan("request", { sampled: false }))
      yield* queue.flush
      for (const name of ["send orders", "process orders", "work 1"]) assert.isFalse(only(name).sampled, name)
      yield* queue.write(2).pipe(inRequest)
      yield* queue.flush
      assert.isTrue(named("process orders")[1]!.sampled)
      assert.isTrue(only("work 2").sampled)
    }).pipe(provide)
  })

  it.effect("samples a batch if one of its writes was sampled, and leaves out no link", () => {
    const { named, provide } = recorder()
    return Effect.gen(function* () {
      const rows = EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void)
      const queue = yield* EventQueue.make(rows, { name: "rows" })
      const write = (sampled: boolean) => queue.write(1).pipe(Effect.withSpan("request", { sampled }))
      yield* Effect.forEach([false, true, false], write)
      yield* queue.flush
      yield* Effect.forEach([false, false], write)
      yield* queue.flush
      assert.deepStrictEqual(
        named("process rows").map(({ links, sampled }) => [sampled, links.map(({ span }) => span.sampled)]),
        [
          [true, [false, true, false]],
          [false, [false, false]]
        ]
      )
    }).pipe(provide)
  })

  it.effect("has the attempts of a retrier below it in the span of the delivery", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      let attempts = 0
      const flaky = EventSink.make((_: number) =>
        Effect.suspend(() => (++attempts < 3 ? Effect.fail("no") : Effect.void)).pipe(Effect.withSpan("attempt"))
      )
      const queue = yield* flaky.pipe(
        RetryingSink.make(RetryStrategy.fromSchedule(Schedule.spaced("1 second"))),
        (sink) => EventQueue.make(sink, { name: "orders", onDropped: () => Effect.void })
      )
      yield* queue.write(1)
      yield* TestClock.adjust("5 seconds")
      yield* queue.flush
      const process = only("process orders")
      assert.deepStrictEqual(
        named("attempt").map(parentOf),
        Array.from({ length: 3 }, () => process.spanId)
      )
      assert.isTrue(Exit.isSuccess(exitOf(process)))
    }).pipe(provide, quiet)
  })

  it.effect("ends the span of a delivery that fails or dies with the error, and goes on", () => {
    const { named, provide } = recorder()
    return Effect.gen(function* () {
      const bad = EventSink.make((n: number) =>
        n === 1 ? Effect.die("bug") : n === 2 ? Effect.fail("no") : Effect.void
      )
      const queue = yield* EventQueue.make(bad, { name: "orders", onDropped: () => Effect.void })
      yield* Effect.forEach([1, 2, 3], queue.write)
      yield* queue.flush
      const [died, failed, done] = named("process orders").map(exitOf)
      assert.isTrue(Exit.isFailure(died!) && Cause.hasDies(died.cause))
      assert.isTrue(Exit.isFailure(failed!) && Cause.hasFails(failed.cause))
      assert.isTrue(Exit.isSuccess(done!))
    }).pipe(provide)
  })

  it.effect("ends the span of a delivery that the close interrupts, and has none for what it leaves", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const hanging = EventSink.make((_: number) => Effect.never, { drainTimeout: 0 })
      const { close, part: queue } = yield* open(EventQueue.make(hanging, { name: "orders", drainTimeout: "1 second" }))
      yield* Effect.forEach([1, 2], queue.write)
      yield* settle
      const closing = yield* Effect.forkChild(queue.shutdown)
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        (yield* Fiber.join(closing)).map(({ event }) => event),
        [1, 2]
      )
      const exit = exitOf(only("process orders"))
      assert.isTrue(Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause))
      yield* close
    }).pipe(provide, quiet)
  })

  it.effect("fails the span of a write that is refused", () => {
    const { named, provide } = recorder()
    return Effect.gen(function* () {
      const { close, part: queue } = yield* open(EventQueue.make(worker, { name: "orders" }))
      yield* close
      yield* Effect.exit(queue.write(1))
      assert.isTrue(Exit.isFailure(exitOf(named("send orders")[0]!)))
      assert.deepStrictEqual(named("process orders"), [])
    }).pipe(provide)
  })

  it.effect("has the write to a second queue in the span of the first one's delivery", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const second = yield* EventQueue.make(worker, { name: "second" })
      const first = yield* second.pipe(
        EventFilter.make((n) => n > 0),
        EventQueue.make({ name: "first" })
      )
      yield* first.write(1).pipe(inRequest)
      yield* first.flush
      yield* second.flush
      assert.strictEqual(parentOf(only("send second")), only("process first").spanId)
      assert.deepStrictEqual(linksOf(only("process second")), [only("send second").spanId])
    }).pipe(provide)
  })

  it.effect("has a span for each delivery to a plain function, and reaches the queue through a filter", () => {
    const { named, provide } = recorder()
    return Effect.gen(function* () {
      const seen: Array<number> = []
      const queue = yield* EventQueue.make(
        EventSink.sync((n: number) => seen.push(n)),
        { name: "orders" }
      )
      const filter = yield* EventFilter.make(queue, (n) => n !== 2)
      yield* EventSink.writeAll(filter, [1, 2])
      yield* filter.write(3)
      yield* queue.flush
      assert.deepStrictEqual(seen, [1, 3])
      const sends = named("send orders").map(({ spanId }) => spanId)
      assert.deepStrictEqual(
        named("process orders").map(linksOf),
        sends.map((id) => [id])
      )
      assert.strictEqual(sends.length, 2)
    }).pipe(provide)
  })

  it.effect("links what a plain call offers to the span that is current, where there is one", () => {
    const { named, provide } = recorder()
    return Effect.gen(function* () {
      const seen: Array<number> = []
      const receiver = EventSink.make((n: number) => Effect.sync(() => void seen.push(n)))
      const queue = yield* EventQueue.make(receiver, { name: "orders" })
      const offer = (n: number) => assert.strictEqual(EventQueue.offerUnsafe(queue, n), "accepted")
      yield* Effect.withSpan(
        Effect.sync(() => offer(1)),
        "request"
      )
      yield* Effect.promise(() => new Promise<void>((done) => setImmediate(() => done(offer(2)))))
      yield* queue.flush
      assert.deepStrictEqual(seen, [1, 2])
      assert.deepStrictEqual(named("process orders").map(linksOf), [[named("request")[0]!.spanId], []])
      assert.deepStrictEqual(named("send orders"), [])
    }).pipe(provide)
  })

  it.effect("keeps the spans and links of its construction out of its deliveries", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" }).pipe(
        Effect.linkSpans(Tracer.externalSpan({ traceId: "0".repeat(31) + "1", spanId: "0".repeat(15) + "1" })),
        Effect.withSpan("construction")
      )
      yield* queue.write(1)
      yield* queue.flush
      assert.deepStrictEqual(linksOf(only("process orders")), [only("send orders").spanId])
      assert.strictEqual(parentOf(only("process orders")), undefined)
    }).pipe(provide)
  })
})

describe("the tracer", () => {
  it.effect("of a write is the caller's, and of a delivery the part's own", () => {
    const [caller, own] = [recorder(), recorder()]
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" }).pipe(own.provide)
      yield* queue.write(1).pipe(caller.provide)
      yield* queue.flush
      assert.deepStrictEqual(
        caller.spans.map(({ name }) => name),
        ["send orders"]
      )
      assert.deepStrictEqual(linksOf(own.only("process orders")), [caller.spans[0]!.spanId])
    })
  })

  it.effect("of a write without one is that of the part", () => {
    const own = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" }).pipe(own.provide)
      yield* queue.write(1)
      yield* queue.flush
      assert.deepStrictEqual(linksOf(own.only("process orders")), [own.only("send orders").spanId])
    })
  })

  it.effect("of a write leaves nothing in a part that has none", () => {
    const caller = recorder()
    return Effect.gen(function* () {
      const left = yield* leavings
      const parts = Effect.gen(function* () {
        const queue = yield* EventQueue.make(worker, { name: "orders" })
        const broadcaster = yield* Broadcaster.make([worker], { name: "orders" })
        return [queue, broadcaster] as const
      })
      const untraced = yield* parts
      const disabled = yield* parts.pipe(Effect.withTracerEnabled(false), recorder().provide)
      for (const part of [...untraced, ...disabled]) {
        yield* part.write(1).pipe(caller.provide, Effect.withTracerEnabled(true))
        yield* part.writeSome([2, 3]).pipe(caller.provide, Effect.withTracerEnabled(true))
        yield* part.shutdown
      }
      assert.deepStrictEqual([...new Set(caller.spans.map(({ name }) => name))], ["send orders"])
      assert.strictEqual(caller.spans.length, 8)
      assert.strictEqual(left.pages, 0)
    })
  })

  /** Writes in every way to queues and a broadcaster, and waits for the deliveries. */
  const everything = Effect.gen(function* () {
    const seen: Array<unknown> = []
    const sink = EventSink.make((_: number) =>
      Effect.withFiber((fiber) => Effect.sync(() => seen.push(fiber.cache.span)))
    )
    const queues = yield* Effect.all([
      EventQueue.make(sink),
      EventQueue.make(sink, { concurrency: 2 }),
      EventQueue.make(sink, { concurrency: 2, partitionBy: (n) => n }),
      EventQueue.make(EventSink.sync((_: number) => seen.push(undefined))),
      EventQueue.make(EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void))
    ])
    const broadcaster = yield* Broadcaster.make([sink, EventSink.sync((_: number) => {})])
    yield* Broadcaster.add(broadcaster, yield* sink, { filter: (n) => n > 0 })
    for (const part of [...queues, broadcaster]) {
      yield* part.write(1)
      yield* part.writeSome([2, ...Array.from({ length: 40 }, (_, n) => n)])
    }
    yield* Effect.forEach(queues, ({ flush }) => flush)
    yield* broadcaster.shutdown
    return seen
  })

  it.effect("that is none costs no span, and leaves nothing on any page", () =>
    Effect.gen(function* () {
      const left = yield* leavings
      const made = vi.spyOn(Tracer.nativeTracer, "span")
      yield* Effect.addFinalizer(() => Effect.sync(() => made.mockRestore()))
      const seen = yield* everything.pipe(Effect.withSpan("request"))
      // The span of the writer is one that no tracer records.
      assert.strictEqual(made.mock.calls.length, 1)
      assert.strictEqual(left.pages, 0)
      assert.isTrue(seen.length > 100 && seen.every((span) => span === undefined))
    })
  )

  it.effect("that is disabled costs no span, and leaves nothing on any page", () => {
    const { provide, spans } = recorder()
    return Effect.gen(function* () {
      const left = yield* leavings
      const seen = yield* everything.pipe(Effect.withTracerEnabled(false), Effect.withSpan("request"), provide)
      assert.deepStrictEqual(
        spans.map(({ name }) => name),
        ["request"]
      )
      assert.strictEqual(left.pages, 0)
      assert.isTrue(seen.length > 100)
      yield* everything.pipe(provide)
      assert.isAbove(left.pages, 0)
    })
  })

  it.effect("that is disabled for a write leaves nothing with its event", () => {
    const { only, provide } = recorder()
    return Effect.gen(function* () {
      const queue = yield* EventQueue.make(worker, { name: "orders" })
      yield* queue.write(1).pipe(Effect.withTracerEnabled(false), inRequest)
      yield* queue.flush
      assert.deepStrictEqual(only("process orders").links, [])
    }).pipe(provide)
  })
})

describe("a Broadcaster under a tracer", () => {
  it.effect("links the delivery to each member to the one write", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make(
        [
          EventSink.make((_: number) => Effect.withSpan(Effect.void, "bill"), { name: "billing" }),
          EventSink.sync((_: number) => {}, { name: "audit" })
        ],
        { name: "orders" }
      )
      const fraud = yield* EventSink.make((_: number) => Effect.void, { name: "fraud" })
      yield* Broadcaster.add(broadcaster, fraud, { filter: (n) => n >= 100 })
      yield* broadcaster.write(7).pipe(inRequest)
      yield* broadcaster.shutdown
      const send = only("send orders")
      assert.strictEqual(parentOf(send), only("request").spanId)
      const all = named("process orders")
      for (const process of all) assert.deepStrictEqual(linksOf(process), [send.spanId])
      assert.deepStrictEqual(
        all.map((span) => attributesOf(span)["messaging.destination.subscription.name"]).toSorted(),
        ["audit", "billing"]
      )
      const billing = all.find((span) => attributesOf(span)["messaging.destination.subscription.name"] === "billing")
      assert.strictEqual(parentOf(only("bill")), billing!.spanId)
    }).pipe(provide)
  })

  it.effect('links what a filter lets through, and is the parent under `trace: "parent"`', () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ name: "orders", trace: "parent" })
      const fraud = yield* EventSink.make((_: number) => Effect.void, { name: "fraud" })
      yield* Broadcaster.add(broadcaster, fraud, { filter: (n) => n >= 100 })
      yield* EventSink.writeAll(broadcaster, [1, 100, 200])
      yield* broadcaster.shutdown
      const send = only("send orders")
      assert.strictEqual(attributesOf(send)["messaging.batch.message_count"], 3)
      assert.deepStrictEqual(named("process orders").map(parentOf), [send.spanId, send.spanId])
    }).pipe(provide)
  })

  it.effect("links events to their writes behind a reader that is far behind", () => {
    const { named, only, provide } = recorder()
    return Effect.gen(function* () {
      const gate = yield* Deferred.make<void>()
      const slow = EventSink.make((n: number) => Effect.withSpan(Deferred.await(gate), `work ${n}`), { name: "slow" })
      const fast = EventSink.make((_: number) => Effect.void, { name: "fast" })
      const broadcaster = yield* Broadcaster.make([slow, fast], { name: "orders" })
      const events = Array.from({ length: 1500 }, (_, n) => n)
      // So many pages are taken out of the `PubSub`, and joined.
      yield* Effect.forEach(events, (n) =>
        Effect.andThen(Effect.withSpan(broadcaster.write(n), `request ${n}`), Effect.yieldNow)
      )
      yield* Deferred.succeed(gate, undefined)
      yield* broadcaster.shutdown
      const processes = new Map(named("process orders").map((span) => [span.spanId, span]))
      const sends = new Map(named("send orders").map((span) => [span.spanId, span]))
      for (const n of events.filter((n) => n % 97 === 0)) {
        const [link] = linksOf(processes.get(parentOf(only(`work ${n}`))!)!)
        assert.strictEqual(parentOf(sends.get(link!)!), only(`request ${n}`).spanId)
      }
    }).pipe(provide)
  })

  it.effect("ends the span of a member that hangs, and of no other", () => {
    const { named, provide } = recorder()
    return Effect.gen(function* () {
      const { close, part: broadcaster } = yield* open(
        Broadcaster.make(
          [
            EventSink.make((_: number) => Effect.never, { name: "hangs", drainTimeout: 0 }),
            EventSink.make((_: number) => Effect.void, { name: "works" })
          ],
          { name: "orders", drainTimeout: Duration.seconds(1) }
        )
      )
      yield* broadcaster.write(1)
      yield* settle
      const closing = yield* Effect.forkChild(close)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      const exits = named("process orders").map((span) => [
        attributesOf(span)["messaging.destination.subscription.name"],
        Exit.isSuccess(exitOf(span))
      ])
      assert.sameDeepMembers(exits, [
        ["hangs", false],
        ["works", true]
      ])
    }).pipe(provide, quiet)
  })
})
