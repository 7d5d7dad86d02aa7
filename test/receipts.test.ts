/** `EventSink.writeWithReceipt`: what became of one event, at each leaf. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Schema } from "effect"
import { TestClock } from "effect/testing"
import {
  BatchingSink,
  Broadcaster,
  ConcurrencyLimitedSink,
  EventChannel,
  EventFilter,
  EventQueue,
  EventRouter,
  EventSink,
  ExponentialBackoff,
  FallbackSink,
  RateLimitedSink,
  RetryingSink
} from "effect-events"
import { DurableBroadcaster, DurableQueue, MemoryStore } from "effect-events/durable"
import * as TestSink from "effect-events/testing/TestSink"
import { open as outstanding } from "../src/internal/receipt.ts"
import { open, quiet, settle } from "./support/virtual.ts"

const isEven = (n: number) => n % 2 === 0
const leaf = (name: string) => EventSink.make((_: number) => Effect.void, { name })
const failing = (name: string) => EventSink.make((_: number) => Effect.fail("refused"), { name })
const shown = ({ outcomes }: EventSink.Receipt) =>
  outcomes.map(({ outcome, sink }) => {
    const more =
      outcome._tag === "Dropped"
        ? outcome.reason._tag
        : outcome._tag === "Undelivered"
          ? outcome.inFlight
            ? "in flight"
            : "waiting"
          : ""
    return `${sink} ${outcome._tag} ${more}`.trim()
  })
const sorted = (receipt: EventSink.Receipt) => shown(receipt).toSorted()
/** Writes with a receipt, and waits for it. */
const receiptOf = <A, E>(sink: EventSink.EventSink<A, E>, event: NoInfer<A>) =>
  Effect.flatten(EventSink.writeWithReceipt(sink, event))
/** Whether a receipt is complete by now. */
const isComplete = (receipt: Effect.Effect<EventSink.Receipt>) =>
  Effect.gen(function* () {
    const waiting = yield* Effect.forkChild(receipt)
    yield* settle
    const exit = waiting.pollUnsafe()
    yield* Fiber.interrupt(waiting)
    return exit !== undefined
  })

/** Leaves of each kind. */
const leaves: ReadonlyArray<readonly [kind: string, make: typeof leaf]> = [
  ["effectful", leaf],
  ["synchronous", (name) => EventSink.sync((_: number) => {}, { name })],
  ["batch", (name) => EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void, { name })]
]

describe.each(leaves)("a receipt over a leaf that is %s", (_, make) => {
  it.effect("names the leaf, through wrappers that are no sinks of their own", () =>
    Effect.gen(function* () {
      const plain = yield* make("leaf")
      const wrapped = yield* make("leaf").pipe(
        EventSink.tap(() => Effect.void),
        EventSink.timeout("1 second"),
        EventSink.mapInput((n: number) => n + 1),
        EventSink.acknowledgeFromMemory
      )
      for (const sink of [plain, wrapped]) {
        const receipt = yield* receiptOf(sink, 1)
        assert.deepStrictEqual(receipt.outcomes, [{ sink: "leaf", kind: "EventSink", outcome: { _tag: "Delivered" } }])
        assert.isTrue(EventSink.isDelivered(receipt))
      }
      assert.strictEqual(outstanding.receipts, 0)
    })
  )

  it.effect("has nothing of what a tap or a limiter writes beside it", () =>
    Effect.gen(function* () {
      const audit = yield* make("audit")
      const tapped = yield* make("leaf").pipe(
        EventSink.tap((n) => Effect.ignore(audit.write(n))),
        RateLimitedSink.makeShared(() => Effect.as(Effect.ignore(audit.write(0)), { delay: 0 }))
      )
      assert.deepStrictEqual(shown(yield* receiptOf(tapped, 1)), ["leaf Delivered"])
    })
  )

  it.effect("has what a filter held back, at the filter", () =>
    Effect.gen(function* () {
      const even = yield* make("leaf").pipe(EventFilter.make(isEven, { name: "even" }))
      const queued = yield* EventQueue.make(even)
      const broadcast = yield* Broadcaster.make([even])
      for (const sink of [even, queued, broadcast]) {
        const odd = yield* receiptOf<number, EventQueue.QueueFull>(sink, 1)
        assert.deepStrictEqual(odd.outcomes, [{ sink: "even", kind: "EventFilter", outcome: { _tag: "Filtered" } }])
        assert.isFalse(EventSink.isDelivered(odd))
        assert.deepStrictEqual(shown(yield* receiptOf<number, EventQueue.QueueFull>(sink, 2)), ["leaf Delivered"])
      }
      const { accepted, delivered, filtered } = even.node.health(0).counts
      assert.deepStrictEqual([accepted, delivered, filtered], [6, 3, 3])
    })
  )

  it.effect("names the leaf that a router chose, and the router where it ignores the event", () =>
    Effect.gen(function* () {
      const router = yield* EventRouter.byKey(
        (n: number) => (n < 10 ? "small" : n < 100 ? "large" : "none"),
        { small: make("small"), large: make("large") },
        { orElse: "ignore", name: "sizes" }
      )
      const queued = yield* EventQueue.make(router)
      const topics = yield* EventRouter.byTopic({ topic: (n: number) => `n/${n}`, orElse: "ignore", name: "topics" })
      yield* EventRouter.subscribe(topics, "n/*", yield* make("all"))
      yield* EventRouter.subscribe(topics, "n/1", yield* make("one"))
      for (const sink of [router, queued]) {
        for (const [event, outcome] of [
          [1, "small Delivered"],
          [50, "large Delivered"],
          [500, "sizes Filtered"]
        ] as const) {
          assert.deepStrictEqual(shown(yield* receiptOf<number, EventQueue.QueueFull>(sink, event)), [outcome])
        }
      }
      assert.deepStrictEqual(sorted(yield* receiptOf(topics, 1)), ["all Delivered", "one Delivered"])
      assert.deepStrictEqual(sorted(yield* receiptOf(topics, 2)), ["all Delivered"])
      yield* EventRouter.unsubscribe(topics, "n/*", yield* make("other"))
      const none = yield* EventRouter.byTopic({ topic: () => "x", orElse: "ignore", name: "none" })
      assert.deepStrictEqual(shown(yield* receiptOf(none, 1)), ["none Filtered"])
    })
  )

  it.effect("names the fallback that took the event, behind limits of rate and concurrency", () =>
    Effect.gen(function* () {
      const limited = yield* failing("first").pipe(
        FallbackSink.make(make("second"), { after: "1 second" }),
        ConcurrencyLimitedSink.make({ permits: 1 }),
        RateLimitedSink.make({ limit: 100, window: "1 second" })
      )
      const queued = yield* EventQueue.make(limited)
      for (const sink of [limited, queued]) {
        assert.deepStrictEqual(shown(yield* receiptOf<number, EventQueue.QueueFull>(sink, 1)), ["second Delivered"])
      }
    })
  )

  it.effect("waits for a queue, among events that have no receipt, in order", () =>
    Effect.gen(function* () {
      const seen: Array<number> = []
      const queue = yield* make("leaf").pipe(
        EventSink.mapInput((n: number) => {
          seen.push(n)
          return n
        }),
        EventQueue.make()
      )
      const receipts: Array<Effect.Effect<EventSink.Receipt>> = []
      for (let n = 0; n < 40; n++) {
        if (n % 7 === 3 || n % 7 === 4) receipts.push(yield* EventSink.writeWithReceipt(queue, n))
        else if (n % 5 === 0) yield* EventSink.writeAll(queue, [n, n + 0.5])
        else yield* queue.write(n)
      }
      assert.isAbove(outstanding.receipts, 5)
      for (const receipt of receipts) assert.deepStrictEqual(shown(yield* receipt), ["leaf Delivered"])
      yield* queue.flush
      assert.deepStrictEqual(
        seen,
        seen.toSorted((a, b) => a - b)
      )
      assert.strictEqual(queue.node.health(0).counts.delivered, seen.length)
      assert.strictEqual(outstanding.receipts, 0)
    })
  )

  it.effect("has an outcome for each sink of a broadcaster, with and without filters", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>({ replay: 9 })
      for (const name of ["a", "b"]) yield* Broadcaster.add(broadcaster, yield* make(name))
      yield* Broadcaster.add(broadcaster, yield* make("even"), { filter: isEven })
      yield* Broadcaster.add(broadcaster, yield* make("broken"), {
        filter: () => {
          throw new Error("always")
        },
        onDropped: () => Effect.void
      })
      yield* broadcaster.write(0)
      const one = yield* EventSink.writeWithReceipt(broadcaster, 1)
      const two = yield* EventSink.writeWithReceipt(broadcaster, 2)
      yield* EventSink.writeAll(broadcaster, [3, 4])
      // A sink that comes later gets it from what is kept, and is not of the receipt.
      yield* Broadcaster.add(broadcaster, yield* make("late"), { replay: 9 })
      assert.deepStrictEqual(sorted(yield* one), ["a Delivered", "b Delivered", "broken Dropped Died", "even Filtered"])
      assert.deepStrictEqual(sorted(yield* two), [
        "a Delivered",
        "b Delivered",
        "broken Dropped Died",
        "even Delivered"
      ])
      yield* settle
      for (const { node } of broadcaster.node.downstream()) {
        const { accepted, delivered, dropped } = node.health(0).counts
        assert.strictEqual(accepted, delivered + dropped)
      }
      assert.strictEqual(outstanding.receipts, 0)
    })
  )
})

describe("a receipt", () => {
  it.effect("has a leaf twice that is reached twice", () =>
    Effect.gen(function* () {
      const one = yield* leaf("leaf")
      const broadcaster = yield* Broadcaster.make([
        one.pipe(EventQueue.make()),
        one.pipe(EventFilter.make(() => true)),
        EventSink.sync((_: number) => {}, { name: "other" })
      ])
      assert.deepStrictEqual(sorted(yield* receiptOf(broadcaster, 1)), [
        "leaf Delivered",
        "leaf Delivered",
        "other Delivered"
      ])
    })
  )

  it.effect("has no outcome at a broadcaster without sinks, and is not delivered", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      // A stream is no sink.
      yield* Effect.asVoid(Broadcaster.subscribe(broadcaster))
      const receipt = yield* receiptOf(broadcaster, 1)
      assert.deepStrictEqual(receipt.outcomes, [])
      assert.isFalse(EventSink.isDelivered(receipt))
    })
  )

  it.effect("has one outcome at the end of retries", () =>
    quiet(
      Effect.gen(function* () {
        const strategy = ExponentialBackoff.make({ base: "1 second", factor: "1 second" })
        const retrying = yield* TestSink.failing<number>({ times: 3, name: "leaf" }).pipe(RetryingSink.make(strategy))
        const queue = yield* EventQueue.make(retrying)
        for (const sink of [retrying, queue]) {
          const waiting = yield* Effect.forkChild(receiptOf<number, EventQueue.QueueFull>(sink, 1))
          yield* settle
          yield* TestClock.adjust("1 minute")
          assert.deepStrictEqual(shown(yield* Fiber.join(waiting)), ["leaf Delivered"])
        }
      })
    )
  )

  it.effect("fails and is none where the write fails", () =>
    Effect.gen(function* () {
      const sink = yield* failing("leaf")
      const { close, part: closed } = yield* open(leaf("closed"))
      const full = yield* TestSink.hanging<number>().pipe(EventQueue.make({ capacity: 1, overflow: "reject" }))
      yield* full.write(1)
      yield* close
      const error = <E>(self: EventSink.EventSink<number, E>) =>
        Effect.flip(Effect.asVoid(EventSink.writeWithReceipt(self, 1)))
      assert.strictEqual(yield* error(sink), "refused")
      assert.strictEqual((yield* error(closed))._tag, "SinkClosed")
      assert.strictEqual((yield* error(full))._tag, "QueueFull")
      const hanging = yield* Effect.forkChild(EventSink.writeWithReceipt(yield* TestSink.hanging<number>(), 1))
      yield* settle
      yield* Fiber.interrupt(hanging)
      assert.strictEqual(outstanding.receipts, 0)
      yield* Effect.ignore(Effect.timeout(full.shutdown, "1 millis")).pipe(Effect.forkChild)
      yield* TestClock.adjust("1 minute")
    })
  )

  it.effect.each([1, 2])("has what a queue dropped, with the reason, at a concurrency of %i", (concurrency) =>
    Effect.gen(function* () {
      const options = { concurrency, partitionBy: (n: number) => n % 2, onDropped: () => Effect.void }
      const fails = yield* failing("leaf").pipe(EventQueue.make({ ...options, name: "failed" }))
      const dies = yield* EventSink.make((_: number): Effect.Effect<void> => Effect.die("oh")).pipe(
        EventQueue.make({ ...options, name: "died" })
      )
      const interrupts = yield* EventSink.make((_: number) => Effect.interrupt).pipe(
        EventQueue.make({ ...options, name: "interrupted" })
      )
      const throws = yield* EventSink.sync((_: number) => {
        throw new Error("no")
      }).pipe(EventQueue.make({ ...options, name: "threw" }))
      assert.deepStrictEqual(shown(yield* receiptOf(fails, 1)), ["failed Dropped Failed"])
      assert.deepStrictEqual(shown(yield* receiptOf(dies, 1)), ["died Dropped Died"])
      assert.deepStrictEqual(shown(yield* receiptOf(interrupts, 1)), ["interrupted Dropped Died"])
      const receipt = yield* receiptOf(throws, 1)
      assert.deepStrictEqual(shown(receipt), ["threw Dropped Died"])
      assert.isFalse(EventSink.isDelivered(receipt))
      const [{ outcome } = assert.fail()] = (yield* receiptOf(fails, 2)).outcomes
      assert.deepStrictEqual(outcome, { _tag: "Dropped", reason: { _tag: "Failed", error: "refused" } })
    })
  )

  it.effect.each([1, 2])("has what overflowed, at a concurrency of %i", (concurrency) =>
    Effect.gen(function* () {
      const options = { concurrency, partitionBy: (n: number) => n % 2, capacity: 2, onDropped: () => Effect.void }
      const hanging = yield* TestSink.hanging<number>({ name: "leaf" })
      const newest = yield* EventQueue.make(hanging, { ...options, overflow: "drop-newest", name: "newest" })
      const oldest = yield* EventQueue.make(hanging, { ...options, overflow: "drop-oldest", name: "oldest" })
      const waits = yield* EventQueue.make(hanging, { ...options, name: "waits" })
      // Of one key, so that one is with the sink and one waits.
      for (const queue of [newest, oldest, waits]) {
        yield* queue.write(1)
        yield* settle
      }
      yield* newest.write(3)
      assert.deepStrictEqual(shown(yield* receiptOf(newest, 5)), ["newest Dropped Overflow"])
      const dropped = yield* EventSink.writeWithReceipt(oldest, 3)
      const kept = yield* EventSink.writeWithReceipt(oldest, 5)
      assert.deepStrictEqual(shown(yield* dropped), ["oldest Dropped Overflow"])
      yield* waits.write(3)
      const waiting = yield* Effect.forkChild(receiptOf(waits, 5))
      yield* settle
      yield* hanging.release
      assert.deepStrictEqual(shown(yield* kept), ["leaf Delivered"])
      assert.deepStrictEqual(shown(yield* Fiber.join(waiting)), ["leaf Delivered"])
    })
  )

  it.effect.each([1, 3])("has what a close left, at a concurrency of %i", (concurrency) =>
    quiet(
      Effect.gen(function* () {
        const hanging = yield* TestSink.hanging<number>({ drainTimeout: "1 second" })
        const { close, part: queue } = yield* open(
          EventQueue.make(hanging, { concurrency, drainTimeout: "5 seconds", name: "queue", partitionBy: () => 1 })
        )
        const receipts = yield* Effect.forEach([1, 2, 3], (n) => EventSink.writeWithReceipt(queue, n))
        yield* settle
        assert.isFalse(yield* isComplete(receipts[2]!))
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("10 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual((yield* Effect.all(receipts)).map(shown), [
          ["queue Undelivered in flight"],
          ["queue Undelivered waiting"],
          ["queue Undelivered waiting"]
        ])
        assert.strictEqual(outstanding.receipts, 0)
      })
    )
  )

  it.effect("has what a closed downstream left", () =>
    quiet(
      Effect.gen(function* () {
        const { close, part: closing } = yield* open(leaf("leaf"))
        const { close: closeSync, part: closingSync } = yield* open(EventSink.sync((_: number) => {}))
        const queue = yield* EventQueue.make(closing, { name: "queue" })
        const broadcaster = yield* Broadcaster.make([closing, closingSync])
        yield* close
        yield* closeSync
        const queued = yield* receiptOf(queue, 1)
        assert.deepStrictEqual(shown(queued), ["queue Undelivered waiting"])
        const published = yield* receiptOf(broadcaster, 1)
        assert.deepStrictEqual(
          published.outcomes.map(({ kind, outcome }) => [kind, outcome._tag]),
          [
            ["Subscription", "Undelivered"],
            ["Subscription", "Undelivered"]
          ]
        )
        assert.strictEqual(outstanding.receipts, 0)
      })
    )
  )

  it.effect("has what an eviction, a removal and a close of a broadcaster left", () =>
    quiet(
      Effect.gen(function* () {
        const { close, part: broadcaster } = yield* open(Broadcaster.make<number>({ drainTimeout: "1 second" }))
        const hanging = (name: string) => EventSink.make((_: number) => Effect.never, { name, drainTimeout: 0 })
        const removed = yield* hanging("removed")
        yield* Broadcaster.add(broadcaster, yield* hanging("evicted"), { maxLag: 1, onDropped: () => Effect.void })
        yield* Broadcaster.add(broadcaster, removed)
        yield* Broadcaster.add(broadcaster, yield* hanging("stays"))
        yield* Broadcaster.add(broadcaster, yield* leaf("leaf"))
        const one = yield* EventSink.writeWithReceipt(broadcaster, 1)
        const two = yield* EventSink.writeWithReceipt(broadcaster, 2)
        yield* settle
        const removal = yield* Effect.forkChild(Broadcaster.remove(broadcaster, removed))
        yield* settle
        // A sink that is being removed gets no more.
        const three = yield* EventSink.writeWithReceipt(broadcaster, 3)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(removal)
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("5 seconds")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(sorted(yield* one), [
          "evicted Dropped Lagged",
          "leaf Delivered",
          "removed Undelivered in flight",
          "stays Undelivered in flight"
        ])
        assert.deepStrictEqual(sorted(yield* two), [
          "evicted Dropped Lagged",
          "leaf Delivered",
          "removed Undelivered waiting",
          "stays Undelivered waiting"
        ])
        assert.deepStrictEqual(sorted(yield* three), ["leaf Delivered", "stays Undelivered waiting"])
        assert.strictEqual(outstanding.receipts, 0)
      })
    )
  )

  it.effect("a synchronous sink of a broadcaster that throws or interrupts costs its own outcome", () =>
    quiet(
      Effect.gen(function* () {
        const seen: Array<number> = []
        const broadcaster = yield* Broadcaster.make([
          EventSink.sync(
            (_: number) => {
              throw new Error("no")
            },
            { name: "throws" }
          ),
          EventSink.sync((n: number) => void seen.push(n), { name: "fine" }),
          EventSink.sync(
            (_: number) => {
              Fiber.getCurrent()?.interruptUnsafe()
            },
            { name: "interrupts" }
          ),
          EventSink.sync((_: number) => {}, { name: "filtered" }).pipe(EventFilter.make(isEven, { name: "even" }))
        ])
        yield* EventSink.writeAll(broadcaster, [0, 1])
        const receipts = yield* Effect.forEach([2, 3], (n) => EventSink.writeWithReceipt(broadcaster, n))
        yield* EventSink.writeAll(broadcaster, [4, 5])
        const [two, three] = yield* Effect.all(receipts)
        const isThere = (receipt: EventSink.Receipt | undefined, ...expected: ReadonlyArray<string>) =>
          assert.includeMembers(sorted(receipt!), [...expected])
        isThere(two, "fine Delivered", "filtered Delivered", "throws Dropped Died")
        isThere(three, "even Filtered", "fine Delivered", "throws Dropped Died")
        assert.strictEqual(two!.outcomes.length, 4)
        yield* settle
        assert.deepStrictEqual(seen, [0, 1, 2, 3, 4, 5])
        for (const { node } of broadcaster.node.downstream()) {
          const { accepted, delivered, dropped } = node.health(0).counts
          assert.deepStrictEqual([accepted, delivered + dropped], [6, 6])
        }
      })
    )
  )

  it.effect("has a channel's reader as a leaf", () =>
    quiet(
      Effect.gen(function* () {
        const { close, part: channel } = yield* open(EventChannel.make<number>({ capacity: 5, name: "channel" }))
        yield* channel.write(0)
        const one = yield* EventSink.writeWithReceipt(channel, 1)
        yield* channel.write(2)
        const three = yield* EventSink.writeWithReceipt(channel, 3)
        assert.isFalse(yield* isComplete(one))
        yield* channel.takeAll
        assert.deepStrictEqual(shown(yield* one), ["channel Delivered"])
        assert.deepStrictEqual(shown(yield* three), ["channel Delivered"])
        const last = yield* EventSink.writeWithReceipt(channel, 4)
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1 minute")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(shown(yield* last), ["channel Undelivered waiting"])
      })
    )
  )

  it.effect("has what a sink with downstream writes within its write, and not what any function does", () =>
    quiet(
      Effect.gen(function* () {
        const first = yield* leaf("first").pipe(EventQueue.make())
        const second = yield* leaf("second").pipe(EventFilter.make(isEven, { name: "even" }))
        const third = yield* EventSink.sync((_: number) => {}, { name: "third" })
        const write = (n: number) =>
          n < 0
            ? Effect.void
            : Effect.gen(function* () {
                yield* EventSink.writeAll(first, [n, n])
                yield* second.write(n)
                yield* EventSink.writeAll(third, [n])
                // What goes on behind the write is not of it.
                yield* Effect.forkDetach(Effect.andThen(Effect.sleep("1 second"), third.write(n)))
              })
        const downstream = [first, second, third].map((sink) => ({ sink, acknowledges: true }))
        const all = yield* EventSink.make(write, { name: "all", downstream })
        const opaque = yield* EventSink.make(write, { name: "opaque" })
        const queue = yield* EventQueue.make(all)
        for (const sink of [all, queue]) {
          const receipt = yield* receiptOf<number, EventQueue.QueueFull | EventSink.SinkClosed>(sink, 1)
          assert.deepStrictEqual(sorted(receipt), [
            "even Filtered",
            "first Delivered",
            "first Delivered",
            "third Delivered"
          ])
          assert.deepStrictEqual(shown(yield* receiptOf<number, unknown>(sink, -1)), ["all Delivered"])
        }
        assert.deepStrictEqual(shown(yield* receiptOf(opaque, 1)), ["opaque Delivered"])
        yield* TestClock.adjust("1 minute")
      })
    )
  )

  it.effect("is not of what a sink writes that was made within its write", () =>
    Effect.gen(function* () {
      const target = yield* leaf("target")
      let inner: EventQueue.EventQueue<number> | undefined
      const maker = yield* EventSink.make(
        () =>
          Effect.map(open(EventSink.make((n: number) => target.write(n)).pipe(EventQueue.make())), ({ part }) => {
            inner = part
          }),
        { name: "maker", downstream: [{ sink: target, acknowledges: false }] }
      )
      const broadcaster = yield* Broadcaster.make([maker])
      assert.deepStrictEqual(shown(yield* receiptOf(broadcaster, 1)), ["maker Delivered"])
      const kept = yield* EventSink.writeWithReceipt(target, 1)
      yield* inner!.write(2)
      yield* inner!.flush
      assert.deepStrictEqual(shown(yield* kept), ["target Delivered"])
    })
  )

  it.effect("a timeout that interrupts a leaf leaves one outcome", () =>
    quiet(
      Effect.gen(function* () {
        const queue = yield* TestSink.hanging<number>({ name: "leaf" }).pipe(
          EventSink.timeout("1 second"),
          EventQueue.make({ name: "queue", onDropped: () => Effect.void })
        )
        const waiting = yield* Effect.forkChild(receiptOf(queue, 1))
        yield* settle
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(shown(yield* Fiber.join(waiting)), ["queue Dropped Failed"])
      })
    )
  )

  it.effect("its reader may write again at once, and wait for a flush", () =>
    Effect.gen(function* () {
      const queue = yield* leaf("leaf").pipe(EventQueue.make({ capacity: 1 }))
      for (let n = 0; n < 5; n++) {
        assert.deepStrictEqual(shown(yield* receiptOf(queue, n)), ["leaf Delivered"])
        yield* queue.flush
      }
      assert.strictEqual(yield* queue.pending, 0)
    })
  )

  it.effect("is Stored at a durable part, with the id that status asks by, duplicates too", () =>
    Effect.gen(function* () {
      const queue = yield* leaf("leaf").pipe(
        DurableQueue.make({ name: "queue", schema: Schema.Number, id: (n) => `n${n}`, deduplication: "1 hour" })
      )
      const broadcaster = yield* DurableBroadcaster.make({ name: "broadcaster", schema: Schema.Number })
      const retrying = yield* queue.pipe(
        RetryingSink.make(ExponentialBackoff.make({ base: "1 millis", factor: "1 millis" }), { name: "retrier" })
      )
      const first = yield* receiptOf(retrying, 1)
      const second = yield* receiptOf(retrying, 1)
      assert.isTrue(EventSink.isDelivered(first))
      const [{ kind, outcome, sink } = assert.fail()] = first.outcomes
      assert.deepStrictEqual([sink, kind, outcome._tag], ["queue", "DurableQueue", "Stored"])
      const id = outcome._tag === "Stored" && typeof outcome.id === "number" ? outcome.id : assert.fail()
      assert.deepStrictEqual(second.outcomes[0]!.outcome, { _tag: "Stored", id, isDuplicate: true })
      assert.strictEqual((yield* receiptOf(broadcaster, 1)).outcomes[0]!.kind, "DurableBroadcaster")
      yield* queue.status(id)
      const composite = yield* EventSink.make((n: number) => EventSink.writeAll(queue, [n, n + 1]), {
        downstream: [{ sink: queue, acknowledges: true }]
      })
      const both = yield* receiptOf(composite, 5)
      assert.deepStrictEqual(
        both.outcomes.map(({ outcome }) => outcome._tag),
        ["Stored", "Stored"]
      )
      yield* queue.flush
    }).pipe(Effect.scoped, Effect.provide(MemoryStore.layer), TestClock.withLive)
  )
})

describe("a receipt of a batched event", () => {
  const table = EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void, { name: "table" })

  it.effect("waits for the batch, whether its write does or not", () =>
    Effect.gen(function* () {
      const committing = yield* table.pipe(BatchingSink.make({ maxAge: "1 second", name: "committing" }))
      const accepting = yield* table.pipe(BatchingSink.make({ maxAge: "1 second", acknowledge: "accepted" }))
      const queue = yield* EventQueue.make(table, { maxAge: "1 second", batchSize: 10 })
      for (const [sink, outcome] of [
        [committing, "table Delivered"],
        [accepting, "table Delivered"],
        [queue, "table Delivered"]
      ] as const) {
        const writing = yield* Effect.forkChild(receiptOf<number, EventQueue.QueueFull>(sink, 1))
        yield* settle
        assert.isUndefined(writing.pollUnsafe())
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(shown(yield* Fiber.join(writing)), [outcome])
      }
      assert.strictEqual(outstanding.receipts, 0)
    })
  )

  it.effect("is that of the leaves below, of one that stores too", () =>
    Effect.gen(function* () {
      const filtered = yield* table.pipe(
        EventFilter.make(isEven, { name: "even" }),
        BatchingSink.make({ maxAge: "1 second" })
      )
      const store = yield* leaf("receiver").pipe(DurableQueue.make({ name: "store", schema: Schema.Number }))
      const stored = yield* store.pipe(BatchingSink.make({ maxAge: "1 second" }))
      const all = yield* EventRouter.byTopic<number, DurableQueue.DurableWriteError>({
        topic: () => "n",
        orElse: "ignore"
      })
      for (const sink of [yield* leaf("leaf"), filtered]) yield* EventRouter.subscribe(all, "*", sink)
      yield* EventRouter.subscribe(all, "n", stored)
      for (const [n, outcomes] of [
        [1, ["leaf Delivered", "even Filtered", "store Stored"]],
        [2, ["leaf Delivered", "table Delivered", "store Stored"]]
      ] as const) {
        const writing = yield* Effect.forkChild(receiptOf(all, n))
        yield* TestClock.adjust("2 seconds")
        assert.deepStrictEqual(shown(yield* Fiber.join(writing)), [...outcomes])
      }
      assert.strictEqual(outstanding.receipts, 0)
    }).pipe(Effect.provide(MemoryStore.layer))
  )

  it.effect("has nothing of a write of it that left, or failed and was repeated", () =>
    Effect.gen(function* () {
      const attempts: Array<ReadonlyArray<number>> = []
      const batching = yield* EventSink.makeBatch(
        (events: ReadonlyArray<number>) => {
          attempts.push(events)
          return attempts.length === 1 ? Effect.delay(Effect.fail("busy"), "1 second") : Effect.void
        },
        { name: "receiver" }
      ).pipe(BatchingSink.make({ maxAge: "10 millis" }))
      const retried = yield* batching.pipe(
        EventSink.timeout("500 millis"),
        RetryingSink.make(ExponentialBackoff.make({ base: "1 second", max: "1 second" }))
      )
      // The first of its batch, behind which the other is passed over.
      yield* Effect.forkChild(Effect.exit(batching.write(0)), { startImmediately: true })
      const writing = yield* Effect.forkChild(receiptOf(retried, 1))
      yield* TestClock.adjust("10 seconds")
      assert.deepStrictEqual(shown(yield* Fiber.join(writing)), ["receiver Delivered"])
      assert.deepStrictEqual(attempts, [[0], [1]])
      assert.strictEqual(outstanding.receipts, 0)
    }).pipe(quiet)
  )

  it.effect("is complete where the queue of batches dies on the event's size", () =>
    Effect.gen(function* () {
      const broadcaster = yield* Broadcaster.make<number>()
      const batching = yield* table.pipe(
        BatchingSink.make({ maxAge: 1, acknowledge: "accepted", size: () => Number.NaN, maxBytes: 9, name: "batching" })
      )
      yield* Broadcaster.add(broadcaster, batching)
      assert.deepStrictEqual(shown(yield* receiptOf(broadcaster, 1)), ["batching Dropped Died"])
      assert.strictEqual(outstanding.receipts, 0)
    }).pipe(quiet)
  )

  it.effect("says what the queue of batches dropped, and what its close left", () =>
    Effect.gen(function* () {
      const { close, part } = yield* open(
        EventQueue.make(TestSink.hanging<number>({ name: "receiver" }), {
          name: "queue",
          maxAge: "1 hour",
          capacity: 1,
          overflow: "drop-oldest",
          drainTimeout: 0,
          onDropped: () => Effect.void
        })
      )
      const first = yield* EventSink.writeWithReceipt(part, 1)
      yield* settle
      const second = yield* EventSink.writeWithReceipt(part, 2)
      yield* close
      assert.deepStrictEqual([shown(yield* first), shown(yield* second)].flat().length, 2)
      assert.strictEqual(outstanding.receipts, 0)
    }).pipe(quiet)
  )
})
