/** Cases that once broke a promise of the documentation, each by the sentence that it broke. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Logger, References, Schedule, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import {
  Breaker,
  Broadcaster,
  type Dropped,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  RetryingSink,
  RetryStrategy,
  SinkGraph
} from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import { makeTopic } from "../src/internal/broadcaster/topic.ts"
import { isFull, runs, spread } from "./support/runs.ts"
import { open, quiet, settle } from "./support/virtual.ts"

/** Collects the lines of the log, as text. */
const withLogs = <A, E, R>(use: (lines: ReadonlyArray<string>) => Effect.Effect<A, E, R>) => {
  const lines: Array<string> = []
  const logger = Logger.map(Logger.formatJson, (line) => void lines.push(line))
  return Effect.provide(
    Effect.suspend(() => use(lines)),
    Logger.layer([logger])
  )
}

const close = (scope: Scope.Closeable) => Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })

describe("every accepted event is accounted for", () => {
  it.effect("an onDropped that refuses interruption costs its event a line in the log, and no more", () =>
    withLogs((lines) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sink = yield* TestSink.failing<{ readonly id: string }>({ name: "receiver" })
        const onDropped = () => Effect.uninterruptible(Effect.never)
        const making = Effect.succeed(sink).pipe(EventQueue.make({ drainTimeout: "1 second", onDropped }))
        const queue = yield* Scope.provide(making, scope)
        yield* queue.write({ id: "event-1" })
        yield* settle
        const closing = yield* close(scope)
        yield* TestClock.adjust("1 second")
        yield* settle
        assert.isDefined(closing.pollUnsafe())
        const [health] = yield* SinkGraph.health(queue)
        assert.strictEqual(health?.pending, 0)
        assert.strictEqual(health?.counts.dropped, 1)
        assert.isTrue(lines.some((line) => line.includes("event-1") && line.includes("ERROR")))
        assert.isFalse(lines.some((line) => line.includes("downstream write that refuses")))
      })
    )
  )

  it.effect("any value is an event, also one whose id cannot be read", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const { proxy, revoke } = Proxy.revocable<{ readonly id?: string }>({}, {})
        revoke()
        const scope = yield* Scope.make()
        const sink = yield* TestSink.dying<{ readonly id?: string }>()
        const queue = yield* Scope.provide(EventQueue.make({ capacity: 1 })(sink), scope)
        yield* queue.write(proxy)
        yield* queue.flush
        const hanging = yield* TestSink.hanging<{ readonly id?: string }>()
        const stuck = yield* Scope.provide(EventQueue.make({ drainTimeout: 0 })(hanging), scope)
        yield* stuck.write(proxy)
        const closing = yield* close(scope)
        yield* settle
        yield* TestClock.adjust("20 seconds")
        assert.isTrue(Exit.isSuccess(yield* Fiber.await(closing)))
      })
    )
  )

  it.effect("a late success of a write that the close left to itself is not counted again", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sink = yield* TestSink.uninterruptible<number>()
        const queue = yield* Scope.provide(EventQueue.make({ drainTimeout: "1 second" })(sink), scope)
        yield* queue.write(1)
        yield* settle
        const left = yield* Effect.forkChild(queue.shutdown, { startImmediately: true })
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(yield* Fiber.join(left), [{ event: 1, inFlight: true }])
        yield* sink.release
        yield* settle
        const [health] = yield* SinkGraph.health(queue)
        assert.deepInclude(health?.counts, { delivered: 0, undelivered: 1 })
        yield* Scope.close(scope, Exit.void)
      })
    )
  )
})

describe("the log", () => {
  it.effect("never has the content of an event, though a defect is the event itself", () =>
    withLogs((lines) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const sink = yield* EventSink.make((event: { readonly card: string }) => Effect.die(event))
        const failing = yield* EventSink.make((_: { readonly card: string }) => Effect.fail("no"))
        const logging = yield* Scope.provide(EventQueue.make()(sink), scope)
        const onDropped = ({ event }: Dropped.Dropped<{ readonly card: string }, string>) => Effect.die(event)
        const dying = yield* Scope.provide(EventQueue.make({ onDropped })(failing), scope)
        const committed = yield* TestSink.recording<{ readonly card: string }>()
        const tapped = yield* EventSink.tap(committed, (event) => Effect.die(event))
        for (const one of [logging, dying, tapped]) yield* one.write({ card: "4111-1111" })
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.isAtLeast(lines.length, 3)
        assert.notInclude(lines.join("\n"), "4111-1111")
      })
    )
  )
})

describe("batches", () => {
  it.effect("writeAll of many events to a sink that takes few events of each batch is not quadratic", () =>
    Effect.gen(function* () {
      let offered = 0
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<number>) =>
        Effect.sync(() => {
          offered += events.length
          return Math.min(10, events.length)
        })
      )
      const n = 20_000
      yield* EventSink.writeAll(
        sink,
        Array.from({ length: n }, (_, i) => i)
      )
      // The first offer is the whole, the others are in proportion to what is taken.
      assert.isBelow(offered, n + (n / 10) * 170)
    })
  )

  it.effect("a stamp is the same on every offer of a batch that is committed in parts", () =>
    Effect.gen(function* () {
      const ids = new Map<number, Set<string>>()
      const sink = yield* EventSink.makeBatch((events: ReadonlyArray<EventSink.Stamped<number>>) =>
        Effect.sync(() => {
          for (const { event, id } of events) ids.set(event, (ids.get(event) ?? new Set()).add(id))
          return 1
        })
      )
      yield* EventSink.writeAll(yield* EventSink.stamp(sink), [1, 2, 3, 4])
      assert.deepStrictEqual(
        [...ids.values()].map((set) => set.size),
        [1, 1, 1, 1]
      )
    })
  )

  it.effect("a stamp is the same also where the sink dies after it has committed a part of a batch", () =>
    quiet(
      Effect.gen(function* () {
        const ids = new Map<number, Set<string>>()
        let offers = 0
        const sink = EventSink.makeBatch((events: ReadonlyArray<EventSink.Stamped<number>>) =>
          Effect.suspend(() => {
            if (++offers === 2) return Effect.die("dead")
            const some = events.slice(0, 2)
            for (const { event, id } of some) ids.set(event, (ids.get(event) ?? new Set()).add(id))
            return Effect.succeed(some.length)
          })
        )
        const { part: queue } = yield* open(sink.pipe(EventSink.stamp(), EventQueue.make()))
        yield* EventSink.writeAll(queue, [1, 2, 3, 4])
        yield* queue.flush
        assert.deepStrictEqual(
          [...ids].map(([event, { size }]) => [event, size]),
          [1, 2, 3, 4].map((event) => [event, 1])
        )
      })
    )
  )

  it.effect(
    "a batch that fails is halved until the event that is to blame is alone, and batches grow again after it",
    () =>
      Effect.gen(function* () {
        const sizes: Array<number> = []
        const dropped: Array<number> = []
        const sink = EventSink.makeBatch((events: ReadonlyArray<number>) =>
          Effect.suspend((): Effect.Effect<number, string> => {
            sizes.push(events.length)
            return events.includes(0) ? Effect.fail("poison") : Effect.succeed(events.length)
          })
        )
        const scope = yield* Scope.make()
        const queue = yield* sink.pipe(
          EventQueue.make({ onDropped: ({ event }) => Effect.sync(() => void dropped.push(event)) }),
          Scope.provide(scope)
        )
        yield* EventSink.writeAll(
          queue,
          Array.from({ length: 512 }, (_, i) => i)
        )
        yield* queue.flush
        assert.deepStrictEqual(dropped, [0])
        // 512, 256, ... 1: nine halvings; then 1, 2, 4 ... up again.
        assert.deepStrictEqual(sizes.slice(0, 10), [512, 256, 128, 64, 32, 16, 8, 4, 2, 1])
        assert.isBelow(sizes.length, 22)
        yield* Scope.close(scope, Exit.void)
      })
  )
})

describe("capacity", () => {
  it.effect("holds for a sink that was made inside a delivery, once the delivery is over", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const made: Array<EventSink.EventSink<number>> = []
      const self: { queue?: EventQueue.EventQueue<number> } = {}
      const sink = yield* EventSink.make((n: number) =>
        n === 0
          ? Effect.map(
              Scope.provide(
                EventSink.make((m: number) => self.queue!.write(m)),
                scope
              ),
              (inner) => void made.push(inner)
            )
          : Effect.never
      )
      const queue = yield* Scope.provide(EventQueue.make({ capacity: 2, drainTimeout: 0 })(sink), scope)
      self.queue = queue
      yield* queue.write(0)
      yield* queue.flush
      for (let i = 1; i < 10; i++) yield* Effect.forkChild(Effect.exit(made[0]!.write(i)), { startImmediately: true })
      yield* settle
      assert.strictEqual(yield* queue.pending, 2)
      // The inner sink waits for its writes, which wait for room.
      yield* close(scope)
      yield* TestClock.adjust("1 minute")
    })
  )

  it.effect('"drop-oldest" over a batch sink drops what is not being delivered, and keeps the newest', () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const dropped: Array<number> = []
      const sink = yield* TestSink.hanging<number>({ batchSize: 1024 })
      const queue = yield* Effect.succeed(sink).pipe(
        EventQueue.make({
          capacity: 2000,
          overflow: "drop-oldest",
          drainTimeout: 0,
          onDropped: ({ event, reason }) => Effect.sync(() => void (reason._tag === "Overflow" && dropped.push(event)))
        }),
        Scope.provide(scope)
      )
      yield* EventSink.writeAll(
        queue,
        Array.from({ length: 2000 }, (_, i) => i)
      )
      yield* settle
      yield* queue.write(2000)
      assert.deepStrictEqual(dropped, [1024])
      yield* withLogs(() => Scope.close(scope, Exit.void))
    })
  )
})

describe("a breaker", () => {
  it.effect("has one probe at a time, also when late verdicts come while one is out", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
      const old = breaker.start(0)
      const older = breaker.start(0)
      yield* breaker.start(1).failure("error")
      yield* TestClock.adjust("10 seconds")
      const first = breaker.start(2)
      yield* first.proceed() ?? Effect.void
      yield* first.failure("error")
      yield* TestClock.adjust("10 seconds")
      const second = breaker.start(4)
      yield* second.proceed() ?? Effect.void
      yield* old.success() ?? Effect.void
      yield* older.failure("error")
      yield* first.abandon(false) ?? Effect.void
      assert.strictEqual(breaker.breaker(), "half-open")
      const third = yield* Effect.forkChild(breaker.start(5).proceed() ?? Effect.void, { startImmediately: true })
      yield* settle
      assert.isUndefined(third.pollUnsafe())
      yield* second.success() ?? Effect.void
      yield* Fiber.join(third)
    })
  )
})

describe("a broadcaster", () => {
  it.effect("addScoped does not remove a sink that was added again after a removal", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.recording<number>()
      const scope = yield* Scope.make()
      yield* Scope.provide(Broadcaster.addScoped(broadcaster, sink), scope)
      yield* Broadcaster.remove(broadcaster, sink)
      yield* Broadcaster.add(broadcaster, sink)
      yield* Scope.close(scope, Exit.void)
      yield* broadcaster.write(1)
      yield* settle
      assert.deepStrictEqual(sink.received, [1])
    })
  )

  it.effect("a sink that was removed is not judged by its maxLag any more", () =>
    Effect.gen(function* () {
      const reasons: Array<string> = []
      const broadcaster = yield* Broadcaster.make<number>()
      const sink = yield* TestSink.slow<number>("1 second")
      yield* Broadcaster.add(broadcaster, sink, {
        maxLag: 2,
        onDropped: ({ reason }) => Effect.sync(() => void reasons.push(reason._tag))
      })
      yield* broadcaster.write(1)
      yield* broadcaster.write(2)
      const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
      for (const n of [3, 4, 5, 6]) yield* broadcaster.write(n)
      yield* settle
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(yield* Fiber.join(removal), [])
      assert.deepStrictEqual(sink.received, [1, 2])
      assert.deepStrictEqual(reasons, [])
    })
  )

  it.effect("the oldest age of a sink that drains goes on growing, whatever is published meanwhile", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ drainTimeout: "1 hour" })
      const sink = yield* TestSink.hanging<number>()
      yield* Broadcaster.add(broadcaster, sink)
      yield* broadcaster.write(1)
      yield* settle
      yield* TestClock.adjust("1 minute")
      const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
      for (const n of [2, 3]) {
        yield* broadcaster.write(n)
        yield* TestClock.adjust("1 minute")
      }
      const health = yield* SinkGraph.health(broadcaster)
      assert.deepInclude(
        health.find(({ kind }) => kind === "Subscription"),
        { pending: 1, oldestAge: 180_000 }
      )
      yield* sink.release
      yield* Fiber.join(removal)
    })
  )
})

describe("a retrier", () => {
  it.effect("names the error of a refinement by the fields of an error", () =>
    withLogs(() =>
      Effect.gen(function* () {
        interface Response {
          readonly status: number
        }
        const sink = yield* EventSink.make((_: number) => Effect.fail<Response>({ status: 503 }))
        const unavailable = (e: Response): e is Response & { readonly status: 503 } => e.status === 503
        const never = RetryStrategy.fromDelays(() => () => Effect.fail("enough"))
        const retrying = yield* RetryingSink.make(never, { while: unavailable })(sink)
        const error = yield* Effect.flip(retrying.write(1))
        if (error instanceof RetryingSink.RetriesExhausted) {
          const status: 503 = error.error.status
          assert.strictEqual(status, 503)
        } else assert.fail("it was retried")
      })
    )
  )
})

describe("found by breaking the code", () => {
  it.effect("a writer that the retrier's close wakes, and that writes again at once, finds it closed", () =>
    quiet(
      Effect.gen(function* () {
        const forever = RetryStrategy.forever(Schedule.spaced("1 hour"))
        const sink = yield* TestSink.failing<number>()
        const scope = yield* Scope.make()
        const retrying = yield* Scope.provide(RetryingSink.make(forever)(sink), scope)
        const twice = Effect.catchTag(retrying.write(1), "SinkClosed", () => retrying.write(2))
        const writer = yield* Effect.forkChild(Effect.exit(twice), { startImmediately: true })
        yield* settle
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.isFailure(yield* Fiber.join(writer)))
        assert.strictEqual(sink.attempts, 1)
      })
    )
  )

  it.effect("an attempt that may begin does not wait again, as the probe of a breaker would for itself", () =>
    Effect.gen(function* () {
      const breaker = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
      const attempts = breaker.start("event")
      yield* attempts.failure("error")
      const proceeding = yield* Effect.forkChild(attempts.proceed() ?? Effect.void, { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      yield* Fiber.join(proceeding)
      assert.isUndefined(attempts.proceed())
    })
  )

  it.effect("a combination waits for the first again when it closed while the second was waited for", () =>
    Effect.gen(function* () {
      const first = yield* Breaker.make({ threshold: 1, backoff: "1 minute" })
      const second = yield* Breaker.make({ threshold: 1, backoff: "10 seconds" })
      const attempts = first.pipe(RetryStrategy.combine(second)).start("event")
      yield* second.start("other").failure("error")
      const proceeding = yield* Effect.forkChild(attempts.proceed() ?? Effect.void, { startImmediately: true })
      yield* TestClock.adjust("5 seconds")
      yield* first.start("other").failure("error")
      yield* TestClock.adjust("5 seconds")
      yield* settle
      assert.isUndefined(proceeding.pollUnsafe())
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(proceeding)
    })
  )

  it.effect("a filter over a closed plain function is closed for what it filters too, in a queue's delivery", () =>
    quiet(
      Effect.gen(function* () {
        const below = yield* Scope.make()
        const sink = yield* Scope.provide(
          EventSink.sync((_: number) => {}),
          below
        )
        const { part: queue, close } = yield* open(EventQueue.make()(EventFilter.make((n: number) => n > 0)(sink)))
        yield* Scope.close(below, Exit.void)
        yield* queue.write(0)
        yield* settle
        assert.strictEqual((yield* Effect.flip(queue.write(0)))._tag, "SinkClosed")
        assert.deepStrictEqual(yield* queue.shutdown, [{ event: 0, inFlight: false }])
        yield* close
      })
    )
  )
})

describe.runIf(isFull)("a fiber that the scheduler makes to yield, between any two operations,", () => {
  /** As many operations as the default has, or so few that every two of them are parted now and then. */
  const allowances = Array.from({ length: 30 }, (_, n) => n + 5)
  const kinds: ReadonlyArray<readonly [kind: string, options: EventQueue.Options & EventQueue.Partitioned<number>]> = [
    ["unbounded", {}],
    ["bounded", { capacity: 50 }],
    ["with a concurrency of 3", { concurrency: 3 }],
    ["with keys", { concurrency: 3, partitionBy: (n) => n % 5 }]
  ]
  const bursts = (write: (n: number) => Effect.Effect<unknown, unknown>) =>
    Effect.gen(function* () {
      let n = 0
      for (let turn = 0; turn < 60; turn++) {
        for (let i = 0; i < turn % 7; i++) yield* write(++n)
        for (let i = 0; i < turn % 11; i++) yield* Effect.yieldNow
      }
      return n
    })

  // Before it was mended: what is published in between is lost, and the next reader looks for it for ever, in one operation.
  it.effect("a reader that has events already is not waited for", () =>
    Effect.gen(function* () {
      const topic = makeTopic<number>(yield* Effect.context<never>())
      const reader = topic.subscribe()
      topic.publish(1)
      const woken = yield* Effect.forkChild(reader.wait)
      yield* settle
      assert.isDefined(woken.pollUnsafe())
    })
  )

  /** What is tested below would spin, with no end that a time limit could bring, where the test above fails. */
  const isSound = Effect.gen(function* () {
    const topic = makeTopic<number>(yield* Effect.context<never>())
    const reader = topic.subscribe()
    topic.publish(1)
    const woken = yield* Effect.forkChild(reader.wait)
    yield* settle
    assert.isDefined(woken.pollUnsafe(), "a reader is waited for that has events")
  })

  it.effect.each(kinds)("costs a queue no event and no wake-up: %s", ([, options]) =>
    Effect.gen(function* () {
      yield* isSound
      for (const allowance of spread(allowances, 10)) {
        const { part: sink } = yield* open(TestSink.recording<number>())
        const make = EventQueue.make(sink, { ...options, onDropped: () => Effect.void })
        const { part: queue } = yield* open(Effect.provideService(make, References.MaxOpsBeforeYield, allowance))
        const n = yield* bursts(queue.write)
        yield* settle
        yield* settle
        assert.strictEqual(sink.received.length, n, `with ${allowance} operations at a time`)
        assert.strictEqual(yield* queue.pending, 0)
      }
    })
  )

  it.effect("costs a broadcaster no event and no wake-up", () =>
    Effect.gen(function* () {
      yield* isSound
      for (const allowance of spread(allowances, 10)) {
        const { part: sink } = yield* open(TestSink.recording<number>())
        const make = Effect.tap(Broadcaster.make<number>(), (self) => Broadcaster.add(self, sink))
        const { part: broadcaster } = yield* open(Effect.provideService(make, References.MaxOpsBeforeYield, allowance))
        const n = yield* bursts(broadcaster.write)
        yield* settle
        yield* settle
        assert.strictEqual(sink.received.length, n, `with ${allowance} operations at a time`)
      }
    })
  )

  // Before it was mended: what a subscription took out of the `PubSub` while its reader was on the way to it was waited for there.
  it.effect("costs a broadcaster no wake-up where pages come faster than they are read", () =>
    Effect.gen(function* () {
      const batch = Array.from({ length: 32 }, (_, i) => i)
      for (const allowance of allowances.slice(0, runs(12))) {
        for (let turns = 0; turns < 4; turns++) {
          const count = { received: 0 }
          const { part: sink } = yield* open(EventSink.make((_: number) => Effect.sync(() => void count.received++)))
          const make = Effect.tap(Broadcaster.make<number>(), (self) => Broadcaster.add(self, sink))
          const { part: broadcaster } = yield* open(
            Effect.provideService(make, References.MaxOpsBeforeYield, allowance)
          )
          yield* settle
          yield* broadcaster.write(0)
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          // With the first, so many pages that the last one makes subscriptions take theirs out, all in one turn.
          yield* Effect.sync(() => {
            for (let page = 0; page < 511; page++) Effect.runSync(EventSink.writeAll(broadcaster, batch))
          })
          const n = 1 + 511 * batch.length
          yield* Effect.repeat(settle, { times: 100 })
          assert.strictEqual(count.received, n, `with ${allowance} operations at a time, after ${turns} turns`)
        }
      }
    })
  )

  // Before it was mended: the end of a subscription was noted at once, and left the `PubSub` later.
  it.effect("gives a removed sink nothing that is published after the removal", () =>
    Effect.gen(function* () {
      for (const allowance of [3, 4, ...allowances]) {
        const { part: sink } = yield* open(TestSink.recording<number>())
        const { part: other } = yield* open(TestSink.hanging<number>())
        const make = Effect.tap(Broadcaster.make<number>(), (self) =>
          Effect.andThen(Broadcaster.add(self, sink), Broadcaster.add(self, other))
        )
        const { part: broadcaster } = yield* open(Effect.provideService(make, References.MaxOpsBeforeYield, allowance))
        const [member] = broadcaster.node.downstream()
        yield* EventSink.writeAll(broadcaster, [1, 2, 3])
        yield* settle
        const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, sink), { startImmediately: true })
        yield* EventSink.writeAll(broadcaster, [4, 5, 6])
        yield* Fiber.join(removal)
        assert.deepStrictEqual(sink.received, [1, 2, 3], `with ${allowance} operations at a time`)
        assert.deepInclude(member!.node.health(0).counts, { accepted: 3, delivered: 3 })
      }
    })
  )

  // Before it was mended: the page that a run had waited for belonged to the run, and ended with it.
  it.effect(
    "costs a run of a stream that is interrupted as it is woken no more than the event it was about to handle",
    () =>
      Effect.gen(function* () {
        for (const allowance of [3, 4, ...allowances]) {
          for (let turns = 0; turns < 12; turns++) {
            const { part: broadcaster } = yield* open(Broadcaster.make<number>())
            const { part: stream } = yield* open(Broadcaster.subscribe(broadcaster))
            const read: Array<number> = []
            const run = Stream.runForEach(stream, (n) => Effect.sync(() => void read.push(n)))
            const first = yield* Effect.forkChild(Effect.provideService(run, References.MaxOpsBeforeYield, allowance))
            for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
            for (const n of [1, 2, 3, 4]) yield* broadcaster.write(n)
            yield* Effect.yieldNow
            yield* Fiber.interrupt(first)
            const second = yield* Effect.forkChild(run)
            yield* settle
            yield* Fiber.interrupt(second)
            const what = `with ${allowance} operations at a time, after ${turns} turns`
            assert.isAtLeast(read.length, 3, what)
          }
        }
      })
  )

  // Before it was mended: a write was counted in one operation, and what notices its end began in the next.
  it.effect("leaves no write under way that was interrupted", () =>
    Effect.gen(function* () {
      for (const allowance of spread(allowances, 10)) {
        const { close: closeLeaf, part: leaf } = yield* open(EventSink.make((_: number) => Effect.fail("no")))
        const { close: closeRetrier, part: retrier } = yield* open(RetryingSink.make(RetryStrategy.identity)(leaf))
        const { part: batches } = yield* open(EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void))
        const writes: ReadonlyArray<Effect.Effect<unknown, unknown>> = [
          leaf.write(1),
          batches.writeSome([1, 2]),
          retrier.write(1)
        ]
        for (const write of writes) {
          for (let turns = 0; turns < 8; turns++) {
            const forever = Effect.provideService(
              Effect.forever(Effect.exit(write)),
              References.MaxOpsBeforeYield,
              allowance
            )
            const writer = yield* Effect.forkChild(forever, { startImmediately: true })
            for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
            yield* Fiber.interrupt(writer)
          }
        }
        const what = `with ${allowance} operations at a time`
        for (const { node } of [leaf, batches, retrier]) assert.strictEqual(node.health(0).inFlight, 0, what)
        // Neither waits for a write that is not there any more.
        yield* closeRetrier
        yield* closeLeaf
      }
    }).pipe(quiet)
  )

  // Before it was mended: a reader waited from one operation on, and what notices that it waits no more began in the next.
  it.effect("leaves no room in a rendezvous for a reader that was interrupted", () =>
    Effect.gen(function* () {
      for (const allowance of [3, 4, ...allowances]) {
        for (let turns = 0; turns < 8; turns++) {
          const { part: channel } = yield* open(EventChannel.make<number>())
          const read = Effect.provideService(channel.takeAll, References.MaxOpsBeforeYield, allowance)
          const reader = yield* Effect.forkChild(read, { startImmediately: true })
          for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
          yield* Fiber.interrupt(reader)
          const writer = yield* Effect.forkChild(channel.write(1), { startImmediately: true })
          yield* settle
          assert.isUndefined(writer.pollUnsafe(), `with ${allowance} operations at a time, after ${turns} turns`)
          yield* Fiber.interrupt(writer)
        }
      }
    })
  )

  // Before it was mended: what is pending is counted before the flush is noted, and what is settled in between is waited for, for ever.
  it.effect("costs a flush nothing either", () =>
    Effect.gen(function* () {
      for (const allowance of spread(allowances, 10)) {
        const { part: sink } = yield* open(TestSink.recording<number>())
        const { part: queue } = yield* open(EventQueue.make({ concurrency: 2 })(sink))
        const flush = Effect.gen(function* () {
          for (let turn = 0; turn < 40; turn++) {
            yield* queue.write(turn)
            for (let i = 0; i < turn % 7; i++) yield* Effect.yieldNow
            yield* queue.flush
          }
        })
        const fiber = yield* Effect.forkChild(Effect.provideService(flush, References.MaxOpsBeforeYield, allowance))
        for (let i = 0; i < 6 && fiber.pollUnsafe() === undefined; i++) yield* settle
        assert.isDefined(fiber.pollUnsafe(), `with ${allowance} operations at a time`)
      }
    })
  )

  // Before it was mended: a dropped event was no longer in flight before its report has begun, and an interruption that
  // comes between the two, at the end of a close's time, finds it in neither place.
  it.effect.each(["fails", "dies", "interrupts itself"] as const)(
    "costs no event whose report is cut off before it begins: the sink %s",
    (how) =>
      withLogs((lines) =>
        Effect.gen(function* () {
          const end = {
            fails: Effect.fail("no"),
            dies: Effect.die(new Error("no")),
            "interrupts itself": Effect.interrupt
          }
          const ids = ["event-1", "event-2", "event-3"]
          for (const allowance of allowances.slice(0, 20)) {
            for (let turns = 0; turns < 16; turns++) {
              const reported: Array<string> = []
              const before = lines.length
              const { part: sink } = yield* open(EventSink.make((_: { readonly id: string }) => end[how]))
              const make = EventQueue.make<{ readonly id: string }, string>({
                drainTimeout: 0,
                onDropped: ({ event }) => Effect.sync(() => void reported.push(event.id))
              })(sink)
              const { close, part: queue } = yield* open(
                Effect.provideService(make, References.MaxOpsBeforeYield, allowance)
              )
              yield* Effect.yieldNow
              yield* Effect.yieldNow
              yield* EventSink.writeAll(
                queue,
                ids.map((id) => ({ id }))
              )
              for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
              yield* close
              const when = `with ${allowance} operations at a time, closed after ${turns} turns`
              const all = [...reported, ...lines.slice(before)].join()
              for (const id of ids) assert.include(all, id, when)
              assert.strictEqual(yield* queue.pending, 0, when)
            }
          }
        })
      )
  )

  // Before it was mended: the event that had failed was nowhere until its report began, and the next one took its place.
  it.effect("costs no event whose drainer is interrupted by another fiber before its report begins", () =>
    withLogs((lines) =>
      Effect.gen(function* () {
        const ids = ["event-1", "event-2", "event-3", "event-4"]
        for (const allowance of allowances.slice(0, 12)) {
          for (let turns = 0; turns < 12; turns++) {
            const reported: Array<string> = []
            const before = lines.length
            const drainer: { fiber?: Fiber.Fiber<unknown, unknown> } = {}
            const { part: sink } = yield* open(
              EventSink.make((_: { readonly id: string }) =>
                Effect.withFiber((fiber) => {
                  drainer.fiber = fiber
                  return Effect.fail("no")
                })
              )
            )
            const make = EventQueue.make(sink, {
              onDropped: ({ event }) => Effect.sync(() => void reported.push(event.id))
            })
            const { part: queue } = yield* open(Effect.provideService(make, References.MaxOpsBeforeYield, allowance))
            yield* EventSink.writeAll(
              queue,
              ids.map((id) => ({ id }))
            )
            for (let turn = 0; turn < turns; turn++) yield* Effect.yieldNow
            drainer.fiber?.interruptUnsafe()
            yield* settle
            const when = `with ${allowance} operations at a time, interrupted after ${turns} turns`
            const all = [...reported, ...lines.slice(before)].join()
            for (const id of ids) assert.include(all, id, when)
            assert.strictEqual(yield* queue.pending, 0, when)
          }
        }
      })
    )
  )
})
