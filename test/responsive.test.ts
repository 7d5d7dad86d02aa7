/**
 * The process stays responsive: no loop over events goes on without a turn of the event loop for longer than `maxTurn`
 * events. What is tested is the number of events between two turns, not a time.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import {
  Broadcaster,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  RetryingSink,
  RetryStrategy
} from "effect-events"
import { maxTurn } from "../src/internal/turns.ts"
import { runs } from "./support/runs.ts"
import { open, quiet } from "./support/virtual.ts"

const many = runs(100_000)
const events = Array.from({ length: many }, (_, n) => n)
/** Each slice of a loop is a turn, and a half is to spare for what one turn has to do beside it. */
const leastTurns = many / maxTurn / 1.5

/** Runs an effect, and answers how many turns the event loop had meanwhile, and the most that was counted in one of them. */
const watch = <A, E, R>(effect: Effect.Effect<A, E, R>, count: () => number = () => 0) =>
  Effect.gen(function* () {
    let turns = 0
    let most = 0
    let last = count()
    let isOver = false
    const look = () => {
      const now = count()
      most = Math.max(most, now - last)
      last = now
    }
    const turn = () => {
      look()
      turns++
      if (!isOver) setImmediate(turn)
    }
    setImmediate(turn)
    const result = yield* effect
    isOver = true
    look()
    return { most, result, turns }
  })

/** What a sink's function has got: all of the sinks of a test count together. */
const counter = () => {
  const calls = { n: 0 }
  const plain = EventSink.sync((_: number) => calls.n++)
  const effectful = EventSink.make((_: number) => Effect.sync(() => calls.n++))
  /** Counts event by event what it is given as batches, above the sink that takes them. */
  const mapped = EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void).pipe(
    EventSink.mapInput((n: number) => {
      calls.n++
      return n
    })
  )
  return { calls, effectful, mapped, plain }
}
type Counter = ReturnType<typeof counter>
type Make<E = never> = Effect.Effect<EventSink.EventSink<number>, E, Scope.Scope>
type QueueOptions = EventQueue.Options<EventQueue.Lossless> & EventQueue.Partitioned<number>

const writeEach = <E>(sink: EventSink.EventSink<number, E>) =>
  Effect.forEach(events, (n) => sink.write(n), { discard: true })
const within = (most: number, turns: number, drainers = 1) => {
  assert.isAtMost(most, drainers * maxTurn, "events between two turns")
  // Events were counted, in more than one turn.
  assert.isAbove(turns, 1)
}

describe("between two turns a sink gets no more than maxTurn events", () => {
  const kinds = ["plain", "effectful", "mapped"] as const

  describe.each(kinds)("below a queue: %s", (kind) => {
    const queues: ReadonlyArray<
      readonly [how: string, make: (sink: Make) => Effect.Effect<EventQueue.EventQueue<number>, never, Scope.Scope>]
    > = [
      ["unbounded", (sink) => EventQueue.make(sink)],
      ["bounded", (sink) => EventQueue.make(sink, { capacity: 2 * many })],
      ["behind a filter", (sink) => EventQueue.make(EventFilter.make(sink, () => true))],
      [
        "behind a retrier",
        (sink) => {
          // Of a type that can fail, which a retrier takes.
          const fallible: Effect.Effect<EventSink.EventSink<number, string>, never, Scope.Scope> = sink
          return EventQueue.make(RetryingSink.make(fallible, RetryStrategy.identity))
        }
      ],
      ["by keys", (sink) => EventQueue.make(sink, { concurrency: 2, partitionBy: () => "one" })]
    ]
    it.live.each(queues)("%s, over pages of single writes and one of a batch", ([how, make]) =>
      Effect.gen(function* () {
        for (const write of [writeEach, EventSink.writeAll(events)]) {
          const { calls, ...sinks } = counter()
          const queue = yield* make(sinks[kind])
          // What was written before the drainer's first turn is on as many pages as fit it.
          const { most, turns } = yield* watch(Effect.andThen(write(queue), queue.flush), () => calls.n)
          assert.strictEqual(calls.n, many)
          within(most, turns, how === "by keys" ? 2 : 1)
        }
      })
    )
  })

  it.live("in the drain of a close", () =>
    Effect.gen(function* () {
      for (const kind of kinds) {
        const { calls, ...sinks } = counter()
        const queue = yield* EventQueue.make(sinks[kind])
        yield* EventSink.writeAll(queue, events)
        const { most, turns } = yield* watch(queue.shutdown, () => calls.n)
        assert.strictEqual(calls.n, many)
        within(most, turns)
      }
    })
  )

  it.live("inside a broadcast to 100 synchronous sinks, all of them counted together", () =>
    Effect.gen(function* () {
      for (const write of [writeEach, EventSink.writeAll(events)]) {
        const { calls, plain } = counter()
        const sinks = Array.from({ length: 100 }, () => plain)
        const broadcaster = yield* Broadcaster.make(sinks)
        const { most, turns } = yield* watch(Effect.andThen(write(broadcaster), broadcaster.shutdown), () => calls.n)
        assert.strictEqual(calls.n, 100 * many)
        within(most, turns)
      }
    })
  )

  it.live("of a broadcast that has a drainer of its own, as one that has thrown", () =>
    quiet(
      Effect.gen(function* () {
        for (const kind of ["effectful", "mapped", "thrown"] as const) {
          const { calls, ...sinks } = counter()
          const thrown = EventSink.sync((n: number) => {
            if (n === 0) throw new Error("zero")
            calls.n++
          })
          const sink = yield* kind === "thrown" ? thrown : sinks[kind]
          const broadcaster = yield* Broadcaster.make<number>()
          yield* Broadcaster.add(broadcaster, sink)
          const { most, turns } = yield* watch(
            Effect.andThen(EventSink.writeAll(broadcaster, events), broadcaster.shutdown),
            () => calls.n
          )
          assert.strictEqual(calls.n, kind === "thrown" ? many - 1 : many)
          within(most, turns)
        }
      })
    )
  )
})

describe("between two turns writeAll hands on no more than maxTurn events", () => {
  const wrappers: ReadonlyArray<readonly [how: string, make: (counter: Counter) => Make<unknown>]> = [
    ["to a plain function", ({ plain }) => plain],
    ["to an effectful one", ({ effectful }) => effectful],
    ["through a filter", ({ plain }) => EventFilter.make(plain, () => true)],
    [
      "to a filter that refuses all",
      ({ calls }) =>
        EventFilter.make(
          EventSink.makeBatch((_: ReadonlyArray<number>) => Effect.void),
          () => {
            calls.n++
            return false
          }
        )
    ],
    ["through a map over a batch sink", ({ mapped }) => mapped],
    [
      "through a map over a queue",
      ({ calls }) =>
        EventQueue.make(EventSink.sync((_: number) => {})).pipe(
          EventSink.mapInput((n: number) => {
            calls.n++
            return n
          })
        )
    ],
    [
      "through a stamp over a queue",
      ({ calls }) =>
        EventQueue.make(EventSink.sync((_: EventSink.Stamped<number>) => {})).pipe(
          EventSink.stamp({
            id: (n: number) => {
              calls.n++
              return String(n)
            }
          })
        )
    ],
    [
      "to a queue by keys, which it asks for",
      ({ calls }) =>
        EventQueue.make(
          EventSink.sync((_: number) => {}),
          {
            concurrency: 2,
            partitionBy: (n) => {
              calls.n++
              return n % 100
            }
          }
        )
    ],
    [
      "to the filters of a broadcast, all of them counted together",
      ({ calls, plain }) =>
        Effect.gen(function* () {
          const broadcaster = yield* Broadcaster.make<number>()
          const filter = () => {
            calls.n++
            return false
          }
          for (let i = 0; i < 30; i++) yield* Broadcaster.add(broadcaster, yield* plain, { filter })
          // Its filter judges whether the stream is read or not.
          yield* Effect.asVoid(Broadcaster.subscribe(broadcaster, { filter }))
          return broadcaster
        })
    ]
  ]
  it.live.each(wrappers)("%s", ([, make]) =>
    Effect.gen(function* () {
      const counted = counter()
      const sink = yield* make(counted)
      const { most, turns } = yield* watch(EventSink.writeAll(sink, events), () => counted.calls.n)
      assert.strictEqual(counted.calls.n % many, 0)
      assert.isAtLeast(counted.calls.n, many)
      within(most, turns)
    })
  )
})

const hanging = EventSink.make((_: number) => Effect.never)

describe("a close of what waits takes as many turns as it has slices", () => {
  const enough = (turns: number) => {
    assert.isAtLeast(turns, leastTurns)
    // And no more than a few of them for each.
    assert.isAtMost(turns, 20 + 8 * leastTurns)
  }
  const kinds: ReadonlyArray<readonly [kind: string, options: QueueOptions]> = [
    ["in order", {}],
    ["with a concurrency of 4", { concurrency: 4 }],
    ["by 1,000 keys", { concurrency: 4, partitionBy: (n) => n % 1000 }],
    ["each event its own key", { concurrency: 4, partitionBy: (n) => n }]
  ]
  it.live.each(kinds)("of a queue %s, for the list of shutdown and for the log", ([, options]) =>
    quiet(
      Effect.gen(function* () {
        for (const write of [writeEach, EventSink.writeAll(events)]) {
          const make = EventQueue.make(hanging, { drainTimeout: 0, ...options })
          const { part: queue } = yield* open(make)
          yield* write(queue)
          const { result, turns } = yield* watch(queue.shutdown)
          assert.strictEqual(result.length, many)
          enough(turns)

          const { close, part: other } = yield* open(make)
          yield* write(other)
          enough((yield* watch(close)).turns / 2)
        }
      })
    )
  )

  const broadcasts: ReadonlyArray<readonly [kind: string, sink: Make]> = [
    ["effectful", hanging],
    [
      "synchronous, at its first throw",
      EventSink.sync(() => {
        throw new Error("always")
      })
    ]
  ]
  it.live.each(broadcasts)("of a subscription, at a removal and a close: %s", ([, make]) =>
    quiet(
      Effect.gen(function* () {
        for (const write of [writeEach, EventSink.writeAll(events)]) {
          for (const how of ["remove", "shutdown"] as const) {
            const { part: broadcaster } = yield* open(Broadcaster.make<number>({ drainTimeout: 0 }))
            const { part: sink } = yield* open(make)
            yield* Broadcaster.add(broadcaster, sink, { onDropped: () => Effect.never })
            yield* write(broadcaster)
            const call: Effect.Effect<ReadonlyArray<unknown>> =
              how === "remove" ? Broadcaster.remove(broadcaster, sink) : broadcaster.shutdown
            const { result, turns } = yield* watch(call)
            // An event whose report is under way is not among them.
            assert.isAtLeast(result.length, many - 1)
            enough(how === "remove" ? turns : turns / 2)
          }
        }
      })
    )
  )

  it.live("of a channel", () =>
    Effect.gen(function* () {
      const { part: channel } = yield* open(EventChannel.make<number>({ capacity: many, drainTimeout: 0 }))
      yield* EventSink.writeAll(channel, events)
      const { result, turns } = yield* watch(channel.shutdown)
      assert.strictEqual(result.length, many)
      enough(turns)
    })
  )
})

describe("between two turns onDropped gets no more than maxTurn events", () => {
  const ways: ReadonlyArray<
    readonly [
      how: string,
      give: (
        onDropped: () => Effect.Effect<void>
      ) => Effect.Effect<Effect.Effect<unknown, unknown>, unknown, Scope.Scope>
    ]
  > = [
    [
      "at the close of a queue",
      (onDropped) =>
        Effect.gen(function* () {
          const { close, part: queue } = yield* open(EventQueue.make(hanging, { drainTimeout: 0, onDropped }))
          yield* EventSink.writeAll(queue, events)
          return close
        })
    ],
    [
      "at the close of a channel",
      (onDropped) =>
        Effect.gen(function* () {
          const { close, part: channel } = yield* open(
            EventChannel.make<number>({ capacity: many, drainTimeout: 0, onDropped })
          )
          yield* EventSink.writeAll(channel, events)
          return close
        })
    ],
    [
      "at the eviction of a sink",
      (onDropped) =>
        Effect.gen(function* () {
          const { part: broadcaster } = yield* open(Broadcaster.make<number>())
          const { part: sink } = yield* open(hanging)
          yield* Broadcaster.add(broadcaster, sink, { maxLag: many - 1, onDropped, onEvicted: () => Effect.void })
          yield* EventSink.writeAll(broadcaster, events)
          return Effect.repeat(Effect.yieldNow, { until: () => broadcaster.node.downstream().length === 0 })
        })
    ],
    [
      "of what a full queue drops, the newest",
      (onDropped) =>
        Effect.gen(function* () {
          const { part: queue } = yield* open(
            EventQueue.make(hanging, { capacity: many, drainTimeout: 0, overflow: "drop-newest", onDropped })
          )
          yield* EventSink.writeAll(queue, events)
          return EventSink.writeAll(queue, events)
        })
    ],
    [
      "of what a full queue drops, the oldest",
      (onDropped) =>
        Effect.gen(function* () {
          const { part: queue } = yield* open(
            EventQueue.make(hanging, { capacity: many, drainTimeout: 0, overflow: "drop-oldest", onDropped })
          )
          yield* EventSink.writeAll(queue, events)
          return EventSink.writeAll(queue, events)
        })
    ]
  ]
  it.live.each(ways)("%s", ([, give]) =>
    Effect.gen(function* () {
      let dropped = 0
      const ends = yield* give(() => Effect.sync(() => void dropped++))
      const { most, turns } = yield* watch(ends, () => dropped)
      assert.isAtLeast(dropped, many - maxTurn)
      within(most, turns)
    })
  )
})
