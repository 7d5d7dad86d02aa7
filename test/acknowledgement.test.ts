import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Layer, Queue, Schema, type Scope } from "effect"
import {
  Broadcaster,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RetryingSink
} from "effect-events"
import { DurableQueue, type EventStore, MemoryStore } from "effect-events/durable"

// The types refuse most of these wirings (test/slow/types.test.ts). Here they come as what forgets the mark: a tag of a plain
// sink, or a sink of one's own.

type Sink = EventSink.EventSink<string>
type Made<S> = Effect.Effect<S, never, Scope.Scope>

const receiver: Made<Sink> = EventSink.make((_: string) => Effect.void, { name: "receiver" })
const queue: Made<Sink> = EventQueue.make(receiver, { name: "buffer" })
const broadcaster: Made<Sink> = Broadcaster.make([receiver], { name: "all" })

/** A sink of one's own over another. */
const over = (sink: Made<Sink>, acknowledges: boolean): Made<Sink> =>
  Effect.flatMap(sink, (sink) =>
    EventSink.make((event: string) => Effect.orDie(sink.write(event)), {
      kind: "Own",
      downstream: [{ sink, acknowledges }]
    })
  )

class Tagged extends Context.Service<Tagged, Sink>()("app/Tagged") {}

const stored = (sink: Made<Sink>) => DurableQueue.make({ name: "orders", schema: Schema.String })(sink)

/** The message of the defect, and nothing where there is none. */
const defectOf = (made: Effect.Effect<unknown, unknown, EventStore.EventStore | Scope.Scope>) =>
  Effect.map(Effect.exit(Effect.scoped(Effect.provide(made, MemoryStore.layer))), (exit) =>
    Exit.isFailure(exit) ? String(Cause.squash(exit.cause)) : undefined
  )

const fromQueue = Effect.flatMap(Queue.unbounded<string>(), (target) => Effect.orDie(EventSink.fromQueue(target))).pipe(
  RetryingSink.make(ExponentialBackoff.make())
)

describe("memory below a durable queue", () => {
  const culprits: Readonly<Record<string, readonly [sink: Made<Sink>, path: string]>> = {
    "a queue": [queue, 'EventQueue "buffer" succeeds'],
    "a queue behind a filter": [
      EventFilter.make(queue, (event: string) => event !== ""),
      'EventFilter -> EventQueue "buffer" succeeds'
    ],
    "a queue behind a map and a tap": [
      queue.pipe(
        EventSink.mapInput((event: string) => event),
        EventSink.tap(() => Effect.void)
      ),
      'EventQueue "buffer" succeeds'
    ],
    "a queue behind a retrier": [
      queue.pipe(EventSink.timeout("1 second"), RetryingSink.make(ExponentialBackoff.make(), { name: "again" })),
      'RetryingSink "again" -> EventQueue "buffer" succeeds'
    ],
    "a broadcaster": [broadcaster, 'Broadcaster "all" succeeds'],
    "a channel": [EventChannel.make<string>({ name: "read" }), 'EventChannel "read" succeeds'],
    "a queue of Effect": [fromQueue, 'RetryingSink -> EventSink "Queue" succeeds'],
    "a sink of one's own that succeeds with its queue": [over(queue, true), 'Own -> EventQueue "buffer" succeeds'],
    "a sink of one's own that keeps events in memory": [
      EventSink.make((_: string) => Effect.void, { kind: "Ring", acknowledges: "memory" }),
      "Ring succeeds"
    ],
    "a service": [
      Effect.flatMap(Layer.build(EventSink.layer(Tagged, queue)), (context) =>
        Effect.succeed(Context.get(context, Tagged))
      ),
      'EventQueue "buffer" succeeds'
    ]
  }
  for (const [title, [sink, path]] of Object.entries(culprits)) {
    it.effect(`${title}: is refused at construction, with the way to it`, () =>
      Effect.map(defectOf(stored(sink)), (defect) => {
        assert.include(defect ?? "", 'DurableQueue "orders" would delete events that are in memory only')
        assert.include(defect ?? "", path)
        assert.include(defect ?? "", "EventSink.acknowledgeFromMemory")
        assert.strictEqual(/for several receivers, by DurableBroadcaster/.test(defect ?? ""), title === "a broadcaster")
      })
    )
    it.effect(`${title}: passes where it is marked`, () =>
      Effect.map(defectOf(stored(EventSink.acknowledgeFromMemory(sink))), (defect) => assert.isUndefined(defect))
    )
  }

  const harmless: Readonly<Record<string, Made<Sink>>> = {
    "a receiver": receiver,
    "a receiver behind a filter": EventFilter.make(receiver, (event: string) => event !== ""),
    "a sink of one's own that does not wait for its queue": over(queue, false),
    "a sink of one's own that stores": EventSink.make((_: string) => Effect.void, {
      kind: "Table",
      acknowledges: "store"
    })
  }
  for (const [title, sink] of Object.entries(harmless)) {
    it.effect(`${title} passes`, () => Effect.map(defectOf(stored(sink)), (defect) => assert.isUndefined(defect)))
  }

  it.effect("another durable queue passes: it stores events before its write succeeds", () =>
    Effect.map(
      defectOf(
        Effect.flatMap(stored(receiver), (inner) =>
          DurableQueue.make({ name: "outer", schema: Schema.String })(
            RetryingSink.make(inner, ExponentialBackoff.make())
          )
        )
      ),
      (defect) => assert.isUndefined(defect)
    )
  )
})

describe("memory in front of a durable queue", () => {
  /** A durable queue that has lost its errors and its mark. */
  const forgetful = Effect.map(
    stored(receiver).pipe(RetryingSink.make(ExponentialBackoff.make(), { name: "again" })),
    (sink): Sink => sink
  )
  type Fronts = (sink: Sink) => Effect.Effect<unknown, unknown, Scope.Scope>
  const fronts: Readonly<Record<string, readonly [front: Fronts, path: string]>> = {
    "a queue": [
      (sink) => EventQueue.make(sink, { name: "buffer" }),
      'EventQueue "buffer" -> RetryingSink "again" -> DurableQueue "orders"'
    ],
    "a queue that takes what is dropped": [
      (sink) => EventQueue.make(sink, { name: "buffer", onDropped: () => Effect.void }),
      'EventQueue "buffer" -> RetryingSink "again" -> DurableQueue "orders"'
    ],
    "a broadcaster": [
      (sink) => Broadcaster.make([sink], { name: "all" }),
      'Broadcaster "all" -> RetryingSink "again" -> DurableQueue "orders"'
    ],
    "a broadcaster to which it is added later": [
      (sink) => Effect.flatMap(Broadcaster.make<string>({ name: "all" }), (all) => Broadcaster.add(all, sink)),
      'Broadcaster "all" -> RetryingSink "again" -> DurableQueue "orders"'
    ],
    "a queue over a sink of one's own": [
      (sink) => EventQueue.make(over(Effect.succeed(sink), true), { name: "buffer" }),
      'EventQueue "buffer" -> Own -> RetryingSink "again" -> DurableQueue "orders"'
    ]
  }
  for (const [title, [front, path]] of Object.entries(fronts)) {
    it.effect(`${title}: is refused at construction, with the way to it`, () =>
      Effect.map(defectOf(Effect.flatMap(forgetful, front)), (defect) => {
        assert.include(defect ?? "", 'would acknowledge events before DurableQueue "orders" has stored them')
        assert.include(defect ?? "", path)
        assert.strictEqual(
          /for several receivers, to a DurableBroadcaster/.test(defect ?? ""),
          /broadcaster/.test(title)
        )
      })
    )
    it.effect(`${title}: passes where it is marked`, () =>
      Effect.map(defectOf(Effect.flatMap(forgetful.pipe(EventSink.acknowledgeFromMemory), front)), (defect) =>
        assert.isUndefined(defect)
      )
    )
  }

  it.effect("a broadcaster refuses it and stays as it was", () =>
    Effect.gen(function* () {
      const got: Array<string> = []
      const all = yield* Broadcaster.make([EventSink.sync((event: string) => got.push(event))])
      const sink = yield* forgetful
      assert.isTrue(Exit.isFailure(yield* Effect.exit(Broadcaster.add(all, sink))))
      yield* all.write("a")
      yield* Effect.yieldNow
      assert.lengthOf(all.node.downstream(), 1)
      yield* all.shutdown
      assert.deepStrictEqual(got, ["a"])
    }).pipe(Effect.scoped, Effect.provide(MemoryStore.layer))
  )

  it.effect("a queue over a sink of one's own that does not wait for it passes", () =>
    Effect.map(
      defectOf(Effect.flatMap(forgetful, (sink) => EventQueue.make(over(Effect.succeed(sink), false)))),
      (defect) => assert.isUndefined(defect)
    )
  )
})

describe("acknowledgeFromMemory", () => {
  it.effect("counts what passes, and closes with its sink", () =>
    Effect.gen(function* () {
      const marked = yield* EventSink.makeBatch(
        (events: ReadonlyArray<number>) => Effect.succeed(Math.min(2, events.length)),
        {
          drainTimeout: 0
        }
      ).pipe(EventSink.acknowledgeFromMemory)
      yield* marked.write(1)
      yield* EventSink.writeAll(marked, [1, 2, 3])
      const plain = yield* EventSink.acknowledgeFromMemory(EventSink.sync((_: number) => {}))
      yield* EventSink.writeAll(plain, [1, 2])
      assert.deepInclude(marked.node.health(0), {
        kind: "AcknowledgeFromMemory",
        state: "open",
        pending: 0
      })
      assert.deepInclude(marked.node.health(0).counts, { accepted: 4, delivered: 4 })
      assert.deepInclude(plain.node.health(0).counts, { accepted: 2, delivered: 2 })
      return marked
    }).pipe(
      Effect.scoped,
      Effect.flatMap((marked) => Effect.flip(marked.write(1))),
      Effect.map((error) => assert.strictEqual(error._tag, "SinkClosed"))
    )
  )
})
