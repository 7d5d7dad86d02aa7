/** The laws, each with a sink that breaks it, and the same sinks without their defects. */
import { BatchingSink, EventQueue, EventSink, RetryingSink } from "effect-events"
import { Effect } from "effect"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import { broadcaster } from "./broadcaster.ts"
import { durable, type Flaw as DurableFlaw } from "./durable.ts"
import { type Flaw, queue } from "./queue.ts"
import {
  carelessChannel,
  hastyRetrier,
  leakyTimeout,
  overflowing,
  overflowingDelay,
  regrouping,
  swallowing,
  logging
} from "./sinks.ts"
import { fallback, fallbackThatWaits, queues, router, tee, teeThatStops } from "./twoTargets.ts"

const { subject } = SinkLaws

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
    remaining: ({ disk }) => Effect.sync(() => ({ waiting: [...disk.waiting], deadLetters: [...disk.deadLetters] }))
  })

const twoQueues = (name: string, closesEarly: boolean) =>
  subject({
    name,
    targets: "both",
    queued: true,
    make: (receiver, onDropped, second) => queues(receiver, second, onDropped, closesEarly),
    deadline: "40 seconds"
  })

/** A sink of batches that no event is to wait for longer than 20 ms. */
const batching = (name: string, make: SinkLaws.Subject["make"]) => subject({ name, batches: { maxAge: 20 }, make })

const overflow = { base: 20, factor: 20, max: 2_000 }

/** The law that each broken sink breaks, and others that the same defect breaks: what is lost is missing in the account. */
export const broken: ReadonlyArray<readonly [law: number, SinkLaws.Subject, more?: ReadonlyArray<number>]> = [
  [0, handmade("a queue that returns what it has just delivered", undefined, "what is delivered stays in flight")],
  [0, handmade("a queue that delivers a batch again", undefined, "a batch is delivered again from its start")],
  [1, handmade("a queue whose second close returns at once", undefined, "the second close returns at once")],
  [2, handmade("a queue whose close admits waiting writes", 2, "the close admits waiting writes")],
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
  [8, handmade("a queue that logs events", undefined, "the log has the content")],
  [8, subject({ name: "a sink that swallows errors", make: swallowing }), [0]],
  [8, subject({ name: "a sink that logs events", make: logging })],
  [9, handmade("a queue that a batch enters one by one", 3, "a batch enters one by one")],
  [
    9,
    subject({
      name: "a sink that commits no batch of two",
      make: (receiver) =>
        EventSink.makeBatch((events: ReadonlyArray<unknown>): Effect.Effect<void, unknown> =>
          events.length > 1 ? Effect.fail("a batch") : receiver.write(events[0])
        )
    })
  ],
  [10, handmade("a queue that a defect ends", undefined, "a defect ends it")],
  [10, handmade("a queue that an interruption ends", undefined, "an interruption ends it")],
  [11, handmade("a queue whose fiber stays", undefined, "its fiber stays")],
  [11, subject({ name: "a timeout that leaves the write behind", make: leakyTimeout })],
  [12, handmade("a queue that waits for itself", 2, "a delivery waits for itself")],
  [
    13,
    keeping("a durable queue that dead-letters what fails at the end", "a failure during the close is a dead letter")
  ],
  [13, keeping("a durable queue that dead-letters what a closed receiver got", "a closed receiver costs the event")],
  // It is lost whenever something is in flight.
  [13, keeping("a durable queue that acknowledges early", "it acknowledges before it delivers"), [0, 1, 8]],
  [
    8,
    keeping("a durable queue that loses what is in flight", "the close counts what is in flight as delivered"),
    [0, 1]
  ],
  [8, keeping("a durable queue that loses what fails", "a failure is taken for a delivery"), [0, 13]],
  [
    0,
    keeping("a durable queue that delivers again what it delivered", "the close drops the last acknowledgement"),
    [13]
  ],
  [0, keeping("a durable queue that stores twice", "a write is stored twice"), [7, 10, 13, 17]],
  // Nor does its close wait for a batch, or give up one.
  [15, batching("a sink that batches by Stream.groupedWithin", (receiver) => regrouping(receiver, 20)), [2, 5]],
  // An age of nothing is an age.
  [
    15,
    subject({
      name: "a sink that is said to hold nothing",
      batches: { maxAge: 0 },
      make: (receiver) => regrouping(receiver, 20)
    }),
    [2, 5]
  ],
  [16, handmade("a queue with room for no large batch", 2, "a batch waits for more room than there is")],
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
  ],
  [
    4,
    subject({
      name: "a tee that loses an event for the second sink when the first fails",
      targets: "both",
      make: (receiver, onDropped, second) => teeThatStops(receiver, second, onDropped)
    })
  ],
  [
    14,
    subject({
      name: "a fallback that waits for a first sink that blocks",
      targets: "one",
      fallsBack: true,
      make: (receiver, _, second) => fallbackThatWaits(receiver, second)
    })
  ],
  [3, twoQueues("a tee that closes the second sink before its drain", true), [5, 8, 11]]
]

export const honest = [
  handmade("a queue made by hand", undefined),
  handmade("a queue of 2 made by hand", 2),
  handmade("a queue of 3 made by hand", 3),
  keyed("a queue by keys made by hand", undefined),
  keyed("a queue of 2 by keys made by hand", 2),
  fanning("a broadcaster made by hand", false),
  // A sink may take its time.
  subject({
    name: "a queue over a sink that is slow itself",
    queued: true,
    deadline: "40 seconds",
    make: (receiver, onDropped) =>
      EventSink.make((event: unknown) => Effect.delay(receiver.write(event), 200)).pipe(EventQueue.make({ onDropped })),
    shutdown: (queue) => queue.shutdown
  }),
  subject({
    name: "BatchingSink of a long age",
    batches: { maxAge: "10 seconds" },
    make: (receiver) => BatchingSink.make(receiver.batch, { maxAge: "10 seconds" })
  }),
  keeping("a durable queue made by hand"),
  subject({
    name: "a tee made by hand",
    targets: "both",
    make: (receiver, _, second) => tee(receiver, second),
    deadline: "40 seconds"
  }),
  twoQueues("a tee over two queues made by hand", false),
  subject({
    name: "a router over two queues made by hand",
    targets: "one",
    queued: true,
    deadline: "40 seconds",
    make: (receiver, onDropped, second) => router(receiver, second, onDropped, odd)
  }),
  subject({
    name: "a fallback made by hand",
    targets: "one",
    deadline: "40 seconds",
    make: (receiver, _, second) => fallback(receiver, second)
  })
]
