import { assert, describe, it } from "@effect/vitest"
import { Effect, PubSub, Queue, Schedule, Scope, Stream } from "effect"
import {
  Breaker,
  Broadcaster,
  type Dropped,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RetryingSink,
  RetryStrategy
} from "effect-events"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import { broadcaster } from "./broken/broadcaster.ts"
import { durable, type Flaw as DurableFlaw } from "./broken/durable.ts"
import { type Flaw, queue } from "./broken/queue.ts"
import {
  carelessChannel,
  hastyRetrier,
  leakyTimeout,
  overflowing,
  overflowingDelay,
  swallowing,
  telling
} from "./broken/sinks.ts"

const { subject } = SinkLaws

const backoff = { base: "20 millis", factor: "20 millis", max: "200 millis" } as const
const delays = { max: backoff.max, bound: (failures: number) => ExponentialBackoff.maxDelay(failures, backoff) }

/** Two keys for numbers, and one for all that is not a number. */
function half(event: unknown): unknown {
  return typeof event === "number" ? [event % 2] : "other"
}

/** Each sink of the library, and pipelines of them. */
const subjects: ReadonlyArray<SinkLaws.Subject> = [
  subject({
    name: "EventSink.make",
    make: (receiver) => EventSink.make(receiver.write)
  }),
  subject({
    name: "EventSink.makeGroup",
    make: (receiver) => EventSink.makeGroup(receiver.group.writeSome)
  }),
  subject({
    name: "EventSink.sync",
    synchronous: true,
    make: (receiver) => EventSink.sync(receiver.record)
  }),
  subject({
    name: "EventSink.mapInput",
    make: (receiver) =>
      Effect.map(
        EventSink.make(receiver.write),
        EventSink.mapInput((event: unknown) => event)
      )
  }),
  subject({
    name: "EventSink.mapInput of events of one type",
    event: (n) => ({ n }),
    read: (event: string | { readonly n: number }) => (typeof event === "string" ? Number(event) : event.n),
    make: (receiver: SinkLaws.Receiver<string>, onDropped) =>
      receiver.pipe(
        EventQueue.make({ onDropped: (dropped: Dropped.Dropped<string, unknown>) => onDropped(dropped) }),
        Effect.map(EventSink.mapInput(({ n }: { readonly n: number }) => String(n)))
      ),
    queued: true
  }),
  subject({
    name: "EventSink.mapError",
    make: (receiver) =>
      Effect.map(
        EventSink.make(receiver.write),
        EventSink.mapError(() => "mapped")
      )
  }),
  subject({
    name: "EventSink.tap",
    make: (receiver) =>
      Effect.map(
        EventSink.makeGroup(receiver.group.writeSome),
        EventSink.tap(() => Effect.void)
      )
  }),
  subject({
    name: "EventSink.timeout",
    make: (receiver) => Effect.map(EventSink.make(receiver.write), EventSink.timeout("5 seconds"))
  }),
  subject({
    name: "EventSink.stamp",
    read: (event) => (isStamped(event) ? event.event : event),
    make: (receiver: SinkLaws.Receiver<EventSink.Stamped<unknown>>) =>
      Effect.map(EventSink.makeGroup(receiver.group.writeSome), (sink) => EventSink.stamp<unknown, unknown>(sink))
  }),
  ...[Queue.unbounded<unknown>(), Queue.bounded<unknown>(2)].map((make, i) =>
    subject({
      name: `EventSink.fromQueue of a queue that is ${["unbounded", "bounded"][i]}`,
      queued: true,
      ...(i === 1 ? { capacity: 2 } : {}),
      make: () =>
        Effect.gen(function* () {
          const queue = yield* make
          return Object.assign(yield* EventSink.fromQueue(queue), { queue })
        }),
      stream: ({ queue }) => Stream.fromQueue(queue)
    })
  ),
  subject({
    name: "EventSink.fromPubSub",
    queued: true,
    make: () =>
      Effect.gen(function* () {
        const pubsub = yield* PubSub.unbounded<unknown>()
        // It is not the sink's: it outlives it.
        const subscription = yield* PubSub.subscribe(pubsub).pipe(Scope.provide(yield* Scope.make()))
        return Object.assign(yield* EventSink.fromPubSub(pubsub), { subscription })
      }),
    stream: ({ subscription }) => Stream.fromSubscription(subscription)
  }),

  subject({
    name: "EventQueue",
    queued: true,
    make: (receiver, onDropped) => EventQueue.make({ onDropped })(receiver),
    shutdown: (queue) => queue.shutdown
  }),
  subject({
    name: "EventQueue that logs what it gives up",
    queued: true,
    make: (receiver) => EventQueue.make({ drainTimeout: "1 second" })(receiver.reliable),
    deadline: "1 second",
    shutdown: (queue) => queue.shutdown
  }),
  subject({
    name: "EventQueue over a group sink",
    queued: true,
    make: (receiver, onDropped) => EventQueue.make({ onDropped })(receiver.group),
    shutdown: (queue) => queue.shutdown
  }),
  subject({
    name: "EventQueue over a synchronous sink",
    queued: true,
    synchronous: true,
    make: (receiver) => Effect.flatMap(EventSink.sync(receiver.record), EventQueue.make()),
    shutdown: (queue) => queue.shutdown
  }),
  ...(["suspend", "reject", "drop-newest", "drop-oldest"] as const).flatMap((overflow) => [
    subject({
      name: `EventQueue of 2, "${overflow}"`,
      queued: true,
      capacity: 2,
      make: (receiver, onDropped) => EventQueue.make({ capacity: 2, overflow, onDropped })(receiver),
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: `EventQueue of 3, "${overflow}", over a group sink`,
      queued: true,
      capacity: 3,
      make: (receiver, onDropped) => EventQueue.make({ capacity: 3, overflow, onDropped })(receiver.group),
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: `EventQueue of 3, "${overflow}", over a synchronous sink`,
      queued: true,
      synchronous: true,
      capacity: 3,
      make: (receiver, onDropped) =>
        Effect.flatMap(EventSink.sync(receiver.record), EventQueue.make({ capacity: 3, overflow, onDropped })),
      shutdown: (queue) => queue.shutdown
    })
  ]),
  subject({
    name: "EventQueue of 1 that logs what it gives up",
    queued: true,
    capacity: 1,
    make: (receiver) => EventQueue.make({ capacity: 1 })(receiver.reliable),
    shutdown: (queue) => queue.shutdown
  }),

  ...(["none", half] as const).flatMap((order) => {
    const keys = order === "none" ? {} : { partitionBy: order }
    const how = `3 at a time, ${order === "none" ? "without keys" : "by keys"}`
    const options = { concurrency: 3, ...keys }
    return [
      subject({
        name: `EventQueue, ${how}`,
        queued: true,
        order,
        make: (receiver, onDropped) => EventQueue.make({ ...options, onDropped })(receiver),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue, ${how}, over a group sink`,
        queued: true,
        order,
        make: (receiver, onDropped) => EventQueue.make({ ...options, onDropped })(receiver.group),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue, ${how}, over a synchronous sink`,
        queued: true,
        synchronous: true,
        order,
        make: (receiver, onDropped) =>
          Effect.flatMap(EventSink.sync(receiver.record), EventQueue.make({ ...options, onDropped })),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue, ${how}, that logs what it gives up`,
        queued: true,
        order,
        make: (receiver) =>
          EventQueue.make<unknown, never>({ ...options, drainTimeout: "1 second" })(receiver.reliable),
        deadline: "1 second",
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `queue, ${how} | retry | receiver`,
        queued: true,
        order,
        delays,
        deadline: "40 seconds",
        make: (receiver, onDropped) =>
          receiver.pipe(
            RetryingSink.make(ExponentialBackoff.make(backoff)),
            Effect.flatMap(EventQueue.make({ ...options, onDropped }))
          ),
        shutdown: (queue) => queue.shutdown
      }),
      ...(["suspend", "reject", "drop-newest", "drop-oldest"] as const).flatMap((overflow) => [
        ...[2, 3].map((capacity) =>
          subject({
            name: `EventQueue of ${capacity}, ${how}, "${overflow}"`,
            queued: true,
            capacity,
            order,
            make: (receiver, onDropped) => EventQueue.make({ ...options, capacity, overflow, onDropped })(receiver),
            shutdown: (queue) => queue.shutdown
          })
        ),
        subject({
          name: `EventQueue of 3, ${how}, "${overflow}", over a group sink`,
          queued: true,
          capacity: 3,
          order,
          make: (receiver, onDropped) =>
            EventQueue.make({ ...options, capacity: 3, overflow, onDropped })(receiver.group),
          shutdown: (queue) => queue.shutdown
        }),
        subject({
          name: `EventQueue of 3, ${how}, "${overflow}", over a synchronous sink`,
          queued: true,
          synchronous: true,
          capacity: 3,
          order,
          make: (receiver, onDropped) =>
            Effect.flatMap(
              EventSink.sync(receiver.record),
              EventQueue.make({ ...options, capacity: 3, overflow, onDropped })
            ),
          shutdown: (queue) => queue.shutdown
        })
      ])
    ]
  }),

  subject({
    name: "RetryingSink with ExponentialBackoff",
    delays,
    make: (receiver) => RetryingSink.make(ExponentialBackoff.make(backoff))(receiver)
  }),
  subject({
    name: "RetryingSink with ExponentialBackoff over a group sink",
    delays,
    make: (receiver) => RetryingSink.make(ExponentialBackoff.make(backoff))(receiver.group)
  }),
  subject({
    name: "RetryingSink with Breaker",
    delays: { max: "100 millis" },
    make: (receiver) =>
      Effect.flatMap(Breaker.make({ threshold: 2, backoff: "100 millis" }), (breaker) =>
        RetryingSink.make(breaker)(receiver)
      )
  }),
  subject({
    name: "RetryingSink with ExponentialBackoff and Breaker",
    delays: { max: "200 millis" },
    make: (receiver) =>
      Effect.flatMap(Breaker.make({ threshold: 3, backoff: "100 millis" }), (breaker) =>
        RetryingSink.make(RetryStrategy.combine(breaker)(ExponentialBackoff.make(backoff)))(receiver)
      )
  }),
  subject({
    name: "RetryingSink with a schedule, for ever",
    delays: { max: "100 millis" },
    make: (receiver) => RetryingSink.make(RetryStrategy.forever(Schedule.spaced("100 millis")))(receiver)
  }),
  subject({
    name: "RetryingSink with a schedule that ends",
    make: (receiver) =>
      RetryingSink.make(RetryStrategy.fromSchedule(Schedule.spaced("50 millis").pipe(Schedule.upTo({ times: 2 }))))(
        receiver
      )
  }),

  subject({
    name: "Broadcaster",
    queued: true,
    make: (receiver, onDropped) =>
      Effect.tap(Broadcaster.make<unknown>(), (self) => Broadcaster.add(self, receiver, { onDropped })),
    shutdown: (self) => self.shutdown,
    sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
  }),
  subject({
    name: "Broadcaster over a group sink",
    queued: true,
    make: (receiver, onDropped) =>
      Effect.tap(Broadcaster.make<unknown>(), (self) => Broadcaster.add(self, receiver.group, { onDropped })),
    shutdown: (self) => self.shutdown,
    sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
  }),
  subject({
    name: "Broadcaster that logs what it gives up",
    queued: true,
    make: (receiver) => Broadcaster.make([Effect.succeed(receiver.reliable)]),
    shutdown: (self) => self.shutdown,
    sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
  }),
  subject({
    name: "Broadcaster over a synchronous sink",
    queued: true,
    synchronous: true,
    make: (receiver) => Broadcaster.make([EventSink.sync(receiver.record)]),
    shutdown: (self) => self.shutdown,
    sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
  }),

  ...[0, 1, 4].map((capacity) =>
    subject({
      name: `EventChannel of ${capacity}`,
      queued: true,
      capacity,
      make: (_, onDropped) => EventChannel.make<unknown>({ capacity, onDropped }),
      stream: (channel) => channel.stream,
      shutdown: (channel) => channel.shutdown
    })
  ),
  subject({
    name: "EventChannel that logs what it gives up",
    queued: true,
    capacity: 4,
    make: () => EventChannel.make<unknown>({ capacity: 4 }),
    stream: (channel) => channel.stream,
    shutdown: (channel) => channel.shutdown
  }),

  subject({
    name: "EventFilter",
    filtered: () => "noise",
    make: (receiver) => Effect.map(EventSink.make(receiver.write), EventFilter.make(notNoise))
  }),
  subject({
    name: "EventFilter over a group sink",
    filtered: () => "noise",
    make: (receiver) => Effect.map(EventSink.makeGroup(receiver.group.writeSome), EventFilter.make(notNoise))
  }),
  subject({
    name: "EventFilter over a synchronous sink",
    synchronous: true,
    filtered: () => "noise",
    make: (receiver) => Effect.map(EventSink.sync(receiver.record), EventFilter.make(notNoise))
  }),

  subject({
    name: "filter | queue | retry | receiver",
    queued: true,
    delays,
    deadline: "40 seconds",
    filtered: () => "noise",
    make: (receiver, onDropped) =>
      receiver.pipe(
        RetryingSink.make(ExponentialBackoff.make(backoff)),
        Effect.flatMap(EventQueue.make({ onDropped })),
        Effect.map((queue) => Object.assign(EventFilter.make(notNoise)(queue), { shutdown: queue.shutdown }))
      ),
    shutdown: ({ shutdown }) => shutdown
  }),
  subject({
    name: "queue of 2 | timeout | group",
    queued: true,
    capacity: 2,
    make: (receiver, onDropped) =>
      EventQueue.make({ capacity: 2, onDropped })(EventSink.timeout(receiver.group, "3 seconds")),
    shutdown: (queue) => queue.shutdown
  }),
  subject({
    name: "queue | queue | receiver",
    queued: true,
    deadline: "40 seconds",
    make: (receiver, onDropped) =>
      receiver.pipe(EventQueue.make({ onDropped }), Effect.flatMap(EventQueue.make({ onDropped })))
  }),
  subject({
    name: "queue of 1 | queue of 1 | receiver",
    queued: true,
    capacity: 1,
    deadline: "40 seconds",
    make: (receiver, onDropped) =>
      receiver.pipe(
        EventQueue.make({ capacity: 1, onDropped }),
        Effect.flatMap(EventQueue.make({ capacity: 1, onDropped }))
      )
  }),
  subject({
    name: "broadcast | filter | queue | retry | receiver",
    queued: true,
    deadline: "60 seconds",
    make: (receiver, onDropped) =>
      Broadcaster.make([
        receiver.pipe(
          RetryingSink.make(ExponentialBackoff.make(backoff)),
          Effect.flatMap(EventQueue.make({ onDropped })),
          Effect.map((queue) => EventFilter.make(notNoise)<never>(queue))
        )
      ]),
    sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
  })
]

const notNoise = (event: unknown): boolean => event !== "noise"

const isStamped = (event: unknown): event is EventSink.Stamped<unknown> =>
  typeof event === "object" && event !== null && "trace" in event && "event" in event

/** Sinks made by hand that keep every law, so that what their broken siblings break is the one defect in each. */
const handmade = (name: string, capacity: number | undefined, flaw?: Flaw) =>
  subject({
    name,
    queued: true,
    capacity,
    make: (receiver, onDropped) =>
      queue(receiver, onDropped, { ...(capacity === undefined ? {} : { capacity }), flaw }),
    shutdown: (sink) => sink.shutdown
  })

const odd = (event: unknown): boolean => typeof event === "number" && event % 2 === 1

const keyed = (name: string, capacity: number | undefined, flaw?: Flaw) =>
  subject({
    name,
    queued: true,
    capacity,
    order: odd,
    make: (receiver, onDropped) =>
      queue(receiver, onDropped, { ...(capacity === undefined ? {} : { capacity }), keyOf: odd, flaw }),
    shutdown: (sink) => sink.shutdown
  })

const fanning = (name: string, shifts: boolean) =>
  subject({
    name,
    queued: true,
    make: (receiver, onDropped) => broadcaster(receiver, onDropped, { shifts }),
    sinks: { add: (self, sink) => self.add(sink), remove: (self, sink) => self.remove(sink) }
  })

const keeping = (name: string, flaw?: DurableFlaw) =>
  subject({
    name,
    queued: true,
    make: (receiver) => durable(receiver, flaw),
    shutdown: (sink) => sink.shutdown,
    // As it is at that moment: the queue goes on with its own.
    kept: ({ disk }) => Effect.sync(() => ({ waiting: [...disk.waiting], deadLetters: [...disk.deadLetters] }))
  })

const overflow = { base: 20, factor: 20, max: 2_000 }

/** Which law each broken sink breaks. */
// What is lost is lost to the account too.
const broken: ReadonlyArray<readonly [law: number, SinkLaws.Subject, more?: ReadonlyArray<number>]> = [
  [0, handmade("a queue that gives up what it has just delivered", undefined, "what is delivered stays in hand")],
  [0, handmade("a queue that delivers a group again", undefined, "a group is delivered again from its start")],
  [1, handmade("a queue whose second close returns at once", undefined, "the second close returns at once")],
  [2, handmade("a queue whose close admits who waits", 2, "the close admits who waits")],
  [
    2,
    subject({
      name: "a channel that chooses between room and closed",
      queued: true,
      capacity: 4,
      make: () => carelessChannel(4),
      stream: ({ stream }) => stream
    })
  ],
  [3, subject({ name: "a retrier whose close does not wait", delays: { max: "50 millis" }, make: hastyRetrier })],
  [
    3,
    subject({
      name: "a queue whose close does not wait",
      queued: true,
      make: (receiver, onDropped) => queue(receiver, onDropped, { flaw: "the close does not wait for the flush" })
    }),
    // It has no time to warn of what refuses interruption, nor to report, and its fibers go on.
    [5, 8, 11]
  ],
  [4, fanning("a broadcaster that shifts what it goes over", true)],
  [5, handmade("a queue whose close waits for ever", undefined, "the close waits for ever")],
  [5, handmade("a queue that waits for what refuses", undefined, "the close waits for what refuses interruption")],
  [
    6,
    subject({
      name: "a backoff that overflows",
      delays: { max: overflow.max, bound: overflowingDelay(overflow) },
      make: (receiver) => RetryingSink.make(overflowing(overflow))(receiver)
    })
  ],
  [
    6,
    subject({
      name: "a backoff that overflows, watched through its sink only",
      delays: { max: overflow.max },
      make: (receiver) => RetryingSink.make(overflowing(overflow))(receiver)
    })
  ],
  [7, handmade("a queue that ends with undefined", undefined, "undefined ends it")],
  [7, handmade("a queue that runs its events", undefined, "an event that is an Effect is run")],
  [8, handmade("a queue that drops what fails", undefined, "what fails is dropped in silence"), [0]],
  [8, handmade("a queue that drops what is left", undefined, "what is left is dropped in silence"), [0, 1]],
  [8, handmade("a queue that logs events", undefined, "the log tells the content")],
  [8, subject({ name: "a sink that swallows errors", make: swallowing }), [0]],
  [8, subject({ name: "a sink that logs events", make: telling })],
  [9, handmade("a queue that a group enters one by one", 3, "a group enters one by one")],
  [10, handmade("a queue that a defect ends", undefined, "a defect ends it")],
  [10, handmade("a queue that an interruption ends", undefined, "an interruption ends it")],
  [11, handmade("a queue whose fiber stays", undefined, "its fiber stays")],
  [11, subject({ name: "a timeout that leaves the write behind", make: leakyTimeout })],
  [12, handmade("a queue that waits for itself", 2, "a delivery waits for itself")],
  [13, keeping("a durable queue that puts aside what fails at the end", "a failure during the close is put aside")],
  [13, keeping("a durable queue that puts aside what a closed receiver got", "a closed receiver costs the event")],
  // It is lost whenever something is in flight.
  [13, keeping("a durable queue that acknowledges early", "it acknowledges before it delivers"), [0, 1, 8]],
  [8, keeping("a durable queue that forgets what is in flight", "the close forgets what is in flight"), [0, 1]],
  [8, keeping("a durable queue that loses what fails", "a failure is taken for a delivery"), [0, 13]],
  [0, keeping("a durable queue that forgets that it delivered", "the close forgets the last acknowledgement"), [13]],
  [0, keeping("a durable queue that stores twice", "a write is stored twice"), [7, 10, 13, 17]],
  [16, handmade("a queue with room for no large group", 2, "a group waits for more room than there is")],
  [17, handmade("a queue that delivers two at a time", undefined, "two are delivered at a time")],
  [17, keyed("a queue by keys that delivers two of a key at a time", undefined, "two are delivered at a time")],
  [
    17,
    subject({
      name: "a queue that is said to keep the order of keys, and does not know them",
      queued: true,
      order: odd,
      make: (receiver, onDropped) => EventQueue.make({ concurrency: 3, onDropped })(receiver),
      shutdown: (queue) => queue.shutdown
    })
  ],
  [
    17,
    subject({
      name: "a queue that is said to keep all in order, and keeps the order of keys",
      queued: true,
      make: (receiver, onDropped) => EventQueue.make({ concurrency: 3, partitionBy: odd, onDropped })(receiver),
      shutdown: (queue) => queue.shutdown
    })
  ],
  // What is lost is missed without an order too.
  [
    8,
    subject({
      name: "a queue without an order that drops what fails",
      queued: true,
      order: "none",
      make: (receiver, onDropped) => queue(receiver, onDropped, { flaw: "what fails is dropped in silence" }),
      shutdown: (sink) => sink.shutdown
    }),
    [0]
  ],
  [
    8,
    subject({
      name: "a queue by keys that drops what is left",
      queued: true,
      order: odd,
      make: (receiver, onDropped) =>
        queue(receiver, onDropped, { keyOf: odd, flaw: "what is left is dropped in silence" }),
      shutdown: (sink) => sink.shutdown
    }),
    [0, 1]
  ]
]

const honest = [
  handmade("a queue made by hand", undefined),
  handmade("a queue of 2 made by hand", 2),
  handmade("a queue of 3 made by hand", 3),
  keyed("a queue by keys made by hand", undefined),
  keyed("a queue of 2 by keys made by hand", 2),
  fanning("a broadcaster made by hand", false),
  keeping("a durable queue made by hand")
]

describe("SinkLaws", () => {
  describe("catches", () => {
    for (const [law, subject, more = []] of broken) {
      it.live(`${subject.name}: it breaks ${law}`, () =>
        Effect.gen(function* () {
          const violations = yield* SinkLaws.check(subject)
          const numbers = [...new Set(violations.map(({ law }) => law))]
          const expected = [law, ...more].toSorted((a, b) => a - b)
          assert.deepStrictEqual(numbers, expected, violations.map(({ law, what }) => `${law}: ${what}`).join("\n"))
        })
      )
    }

    it("a broken sink for each law", () => {
      assert.deepStrictEqual(
        SinkLaws.laws.map(({ number }) => number),
        [...new Set(broken.map(([law]) => law))].toSorted((a, b) => a - b)
      )
    })
  })

  for (const subject of [...subjects, ...honest]) {
    describe(`${subject.name}`, () => {
      for (const law of SinkLaws.laws.filter((law) => law.concerns(subject))) {
        it.live(`${law.number}: ${law.title}`, () =>
          Effect.gen(function* () {
            const violations = yield* SinkLaws.check(subject, { laws: [law.number] })
            assert.isEmpty(violations, violations.map(({ what }) => what).join("\n"))
          })
        )
      }
    })
  }
})
