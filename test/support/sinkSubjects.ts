/** Each sink of the library, and pipelines of them, as the laws see them. */
import { Effect, PubSub, Queue, Schedule, Scope, Stream } from "effect"
import {
  BatchingSink,
  Breaker,
  Broadcaster,
  ConcurrencyLimitedSink,
  type Dropped,
  EventChannel,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RateLimitedSink,
  RetryingSink,
  RetryStrategy
} from "effect-events"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import { routingKinds } from "./routingSubjects.ts"

const { subject } = SinkLaws

const backoff = { base: "20 millis", factor: "20 millis", max: "200 millis" } as const
const delays = { max: backoff.max, bound: (failures: number) => ExponentialBackoff.maxDelay(failures, backoff) }

const batches = { maxAge: "5 millis" } as const

/** Two keys for numbers, and one for all that is not a number. */
function half(event: unknown): unknown {
  return typeof event === "number" ? [event % 2] : "other"
}

/** The sinks of the library, those of one kind together. */
export const kinds: ReadonlyArray<ReadonlyArray<SinkLaws.Subject>> = [
  [
    subject({
      name: "EventSink.make",
      make: (receiver) => EventSink.make(receiver.write)
    }),
    subject({
      name: "EventSink.makeBatch",
      make: (receiver) => EventSink.makeBatch(receiver.batch.writeSome)
    }),
    subject({
      name: "EventSink.sync",
      synchronous: true,
      make: (receiver) => EventSink.sync(receiver.record)
    }),
    subject({
      name: "EventSink.mapInput",
      make: (receiver) => EventSink.mapInput((event: unknown) => event)(EventSink.make(receiver.write))
    }),
    subject({
      name: "EventSink.mapInput of events of one type",
      event: (n) => ({ n }),
      read: (event: string | { readonly n: number }) => (typeof event === "string" ? Number(event) : event.n),
      make: (receiver: SinkLaws.Receiver<string>, onDropped) =>
        receiver.pipe(
          EventQueue.make({ onDropped: (dropped: Dropped.Dropped<string, unknown>) => onDropped(dropped) }),
          EventSink.mapInput(({ n }: { readonly n: number }) => String(n))
        ),
      queued: true
    }),
    subject({
      name: "EventSink.mapError",
      make: (receiver) => EventSink.mapError(() => "mapped")(EventSink.make(receiver.write))
    }),
    subject({
      name: "EventSink.tap",
      make: (receiver) => EventSink.tap(() => Effect.void)(EventSink.makeBatch(receiver.batch.writeSome))
    }),
    subject({
      name: "EventSink.timeout",
      make: (receiver) => EventSink.timeout("5 seconds")(EventSink.make(receiver.write))
    }),
    subject({
      name: "EventSink.stamp",
      read: (event) => (isStamped(event) ? event.event : event),
      make: (receiver: SinkLaws.Receiver<EventSink.Stamped<unknown>>) =>
        EventSink.stamp(EventSink.makeBatch(receiver.batch.writeSome))
    })
  ],
  [
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
    })
  ],
  [
    subject({
      name: "EventQueue that logs what it drops",
      queued: true,
      make: (receiver) => EventQueue.make({ drainTimeout: "1 second" })(receiver.reliable),
      deadline: "1 second",
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: "EventQueue over a batch sink",
      queued: true,
      make: (receiver, onDropped) => EventQueue.make({ onDropped })(receiver.batch),
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: "EventQueue over a synchronous sink",
      queued: true,
      synchronous: true,
      make: (receiver) => EventQueue.make()(EventSink.sync(receiver.record)),
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
        name: `EventQueue of 3, "${overflow}", over a batch sink`,
        queued: true,
        capacity: 3,
        make: (receiver, onDropped) => EventQueue.make({ capacity: 3, overflow, onDropped })(receiver.batch),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue of 3, "${overflow}", over a synchronous sink`,
        queued: true,
        synchronous: true,
        capacity: 3,
        make: (receiver, onDropped) =>
          EventQueue.make({ capacity: 3, overflow, onDropped })(EventSink.sync(receiver.record)),
        shutdown: (queue) => queue.shutdown
      })
    ]),
    ...(["suspend", "reject", "drop-newest", "drop-oldest"] as const).flatMap((overflow) => [
      subject({
        name: `EventQueue of weight 4, "${overflow}"`,
        queued: true,
        capacity: 2,
        make: (receiver, onDropped) => EventQueue.make({ capacity: 4, size: () => 2, overflow, onDropped })(receiver),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue of weight 4 with heavier events, "${overflow}", over a batch sink`,
        queued: true,
        capacity: 1,
        make: (receiver, onDropped) =>
          EventQueue.make({ capacity: 4, size: () => 4.5, overflow, onDropped })(receiver.batch),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue of weight 5, 3 at a time, by keys, "${overflow}"`,
        queued: true,
        capacity: 2,
        order: half,
        make: (receiver, onDropped) =>
          EventQueue.make({ capacity: 5, size: () => 2, concurrency: 3, partitionBy: half, overflow, onDropped })(
            receiver
          ),
        shutdown: (queue) => queue.shutdown
      })
    ]),
    subject({
      name: "EventQueue of 1 that logs what it drops",
      queued: true,
      capacity: 1,
      make: (receiver) => EventQueue.make({ capacity: 1 })(receiver.reliable),
      shutdown: (queue) => queue.shutdown
    })
  ],
  ...(["none", half] as const).map((order) => {
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
        name: `EventQueue, ${how}, over a batch sink`,
        queued: true,
        order,
        make: (receiver, onDropped) => EventQueue.make({ ...options, onDropped })(receiver.batch),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue, ${how}, over a synchronous sink`,
        queued: true,
        synchronous: true,
        order,
        make: (receiver, onDropped) => EventQueue.make({ ...options, onDropped })(EventSink.sync(receiver.record)),
        shutdown: (queue) => queue.shutdown
      }),
      subject({
        name: `EventQueue, ${how}, that logs what it drops`,
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
            EventQueue.make({ ...options, onDropped })
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
          name: `EventQueue of 3, ${how}, "${overflow}", over a batch sink`,
          queued: true,
          capacity: 3,
          order,
          make: (receiver, onDropped) =>
            EventQueue.make({ ...options, capacity: 3, overflow, onDropped })(receiver.batch),
          shutdown: (queue) => queue.shutdown
        }),
        subject({
          name: `EventQueue of 3, ${how}, "${overflow}", over a synchronous sink`,
          queued: true,
          synchronous: true,
          capacity: 3,
          order,
          make: (receiver, onDropped) =>
            EventQueue.make({ ...options, capacity: 3, overflow, onDropped })(EventSink.sync(receiver.record)),
          shutdown: (queue) => queue.shutdown
        })
      ])
    ]
  }),
  [
    subject({
      name: "RetryingSink with ExponentialBackoff",
      delays,
      make: (receiver) => RetryingSink.make(ExponentialBackoff.make(backoff))(receiver)
    }),
    subject({
      name: "RetryingSink with ExponentialBackoff over a batch sink",
      delays,
      make: (receiver) => RetryingSink.make(ExponentialBackoff.make(backoff))(receiver.batch)
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
      name: "RetryingSink with a Breaker that fails fast and opens at a rate",
      make: (receiver) =>
        RetryingSink.make(
          receiver,
          Breaker.make({
            rate: { failures: 0.5, of: 4 },
            backoff: Schedule.exponential("10 millis").pipe(Schedule.upTo({ times: 3 })),
            onOpen: "fail"
          })
        )
    }),
    subject({
      name: "RetryingSink with a deadline",
      make: (receiver) => RetryingSink.make(receiver, ExponentialBackoff.make(backoff), { deadline: "300 millis" })
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
    })
  ],
  [
    subject({
      name: "BatchingSink",
      batches,
      make: (receiver) => BatchingSink.make(receiver.batch, { maxAge: "5 millis" })
    }),
    subject({
      name: "BatchingSink of 2",
      batches,
      make: (receiver) => BatchingSink.make(receiver.batch, { batchSize: 2, maxAge: "5 millis" })
    }),
    subject({
      name: "BatchingSink by keys, 3 at a time",
      batches,
      order: half,
      make: (receiver) =>
        BatchingSink.make(receiver.batch, { batchSize: 3, maxAge: "5 millis", concurrency: 3, partitionBy: half })
    }),
    subject({
      name: "BatchingSink, 2 at a time",
      batches,
      order: "none",
      make: (receiver) => BatchingSink.make(receiver.batch, { batchSize: 3, maxAge: "5 millis", concurrency: 2 })
    })
  ],
  [
    subject({
      name: "BatchingSink that accepts",
      batches,
      queued: true,
      make: (receiver, onDropped) =>
        BatchingSink.make(receiver.batch, { batchSize: 3, maxAge: "5 millis", acknowledge: "accepted", onDropped }),
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: "BatchingSink that accepts 2",
      batches,
      queued: true,
      capacity: 2,
      make: (receiver, onDropped) =>
        BatchingSink.make(receiver.batch, { maxAge: "5 millis", acknowledge: "accepted", capacity: 2, onDropped }),
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: "BatchingSink that accepts, by keys, 3 at a time",
      batches,
      queued: true,
      order: half,
      make: (receiver, onDropped) =>
        BatchingSink.make(receiver.batch, {
          batchSize: 3,
          maxAge: "5 millis",
          concurrency: 3,
          partitionBy: half,
          acknowledge: "accepted",
          onDropped
        }),
      shutdown: (queue) => queue.shutdown
    }),
    ...(["suspend", "reject", "drop-newest", "drop-oldest"] as const).flatMap((overflow) =>
      (["all", half] as const).map((order) =>
        subject({
          name: `EventQueue of 3 with an age, "${overflow}"${order === "all" ? "" : ", by keys, 2 at a time"}`,
          batches,
          queued: true,
          capacity: 3,
          order,
          make: (receiver, onDropped) =>
            EventQueue.make(receiver.batch, {
              capacity: 3,
              overflow,
              batchSize: 2,
              maxAge: "5 millis",
              ...(order === "all" ? {} : { concurrency: 2, partitionBy: order }),
              onDropped
            }),
          shutdown: (queue) => queue.shutdown
        })
      )
    )
  ],
  [
    subject({
      name: "Broadcaster",
      queued: true,
      make: (receiver, onDropped) =>
        Effect.tap(Broadcaster.make<unknown>(), (self) => Broadcaster.add(self, receiver, { onDropped })),
      shutdown: (self) => self.shutdown,
      sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
    }),
    subject({
      name: "Broadcaster over a batch sink",
      queued: true,
      make: (receiver, onDropped) =>
        Effect.tap(Broadcaster.make<unknown>(), (self) => Broadcaster.add(self, receiver.batch, { onDropped })),
      shutdown: (self) => self.shutdown,
      sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
    }),
    subject({
      name: "Broadcaster that logs what it drops",
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
    })
  ],
  [
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
      name: "EventChannel that logs what it drops",
      queued: true,
      capacity: 4,
      make: () => EventChannel.make<unknown>({ capacity: 4 }),
      stream: (channel) => channel.stream,
      shutdown: (channel) => channel.shutdown
    })
  ],
  [
    subject({
      name: "EventFilter",
      filtered: () => "noise",
      make: (receiver) => EventFilter.make(notNoise)(EventSink.make(receiver.write))
    }),
    subject({
      name: "EventFilter over a batch sink",
      filtered: () => "noise",
      make: (receiver) => EventFilter.make(notNoise)(EventSink.makeBatch(receiver.batch.writeSome))
    }),
    subject({
      name: "EventFilter over a synchronous sink",
      synchronous: true,
      filtered: () => "noise",
      make: (receiver) => EventFilter.make(notNoise)(EventSink.sync(receiver.record))
    })
  ],
  [
    subject({
      name: "RateLimitedSink",
      make: (receiver) => RateLimitedSink.make(receiver, { limit: 1, window: "5 millis" })
    }),
    subject({
      name: "RateLimitedSink by key",
      order: half,
      make: (receiver) => RateLimitedSink.make(receiver, { limit: 2, window: "10 millis", burst: 1, by: half })
    }),
    subject({
      name: "RateLimitedSink over a batch sink",
      make: (receiver) => RateLimitedSink.make(receiver.batch, { limit: 500, window: "1 second" })
    }),
    subject({
      name: "RateLimitedSink over a synchronous sink",
      synchronous: true,
      make: (receiver) => RateLimitedSink.make(EventSink.sync(receiver.record), { limit: 1, window: "5 millis" })
    }),
    subject({
      name: "RateLimitedSink that fails",
      make: (receiver) => RateLimitedSink.make(receiver, { limit: 500, window: "1 second", onExceeded: "fail" })
    }),
    subject({
      name: "RateLimitedSink.makeShared",
      make: (receiver) => RateLimitedSink.makeShared(receiver, () => Effect.succeed({ delay: "5 millis" } as const))
    }),
    subject({
      name: "queue | retry | rate limit that fails | receiver",
      queued: true,
      deadline: "60 seconds",
      make: (receiver, onDropped) =>
        receiver.pipe(
          RateLimitedSink.make({ limit: 1, window: "5 millis", onExceeded: "fail" }),
          RetryingSink.make(ExponentialBackoff.make(backoff)),
          EventQueue.make({ onDropped })
        ),
      shutdown: (queue) => queue.shutdown
    })
  ],
  [
    subject({
      name: "ConcurrencyLimitedSink of 1",
      make: (receiver) => ConcurrencyLimitedSink.make(receiver, { permits: 1 })
    }),
    subject({
      name: "ConcurrencyLimitedSink of 2, by key",
      order: half,
      make: (receiver) => ConcurrencyLimitedSink.make(receiver, { permits: 2, by: half, permitsPerKey: 1 })
    }),
    subject({
      name: "ConcurrencyLimitedSink of 2 over a batch sink",
      make: (receiver) => ConcurrencyLimitedSink.make(receiver.batch, { permits: 2 })
    }),
    subject({
      name: "ConcurrencyLimitedSink by key over a batch sink",
      make: (receiver) =>
        ConcurrencyLimitedSink.make(receiver.batch, { permits: Infinity, permitsPerKey: 1, by: () => "one" })
    }),
    subject({
      name: "ConcurrencyLimitedSink over a synchronous sink",
      synchronous: true,
      make: (receiver) => ConcurrencyLimitedSink.make(EventSink.sync(receiver.record), { permits: 1 })
    }),
    subject({
      name: "queue, 3 at a time | concurrency of 2 | receiver",
      queued: true,
      order: "none",
      deadline: "60 seconds",
      make: (receiver, onDropped) =>
        receiver.pipe(ConcurrencyLimitedSink.make({ permits: 2 }), EventQueue.make({ concurrency: 3, onDropped })),
      shutdown: (queue) => queue.shutdown
    })
  ],
  [
    subject({
      name: "filter | queue | retry | receiver",
      queued: true,
      delays,
      deadline: "40 seconds",
      filtered: () => "noise",
      make: (receiver, onDropped) =>
        receiver.pipe(
          RetryingSink.make(ExponentialBackoff.make(backoff)),
          EventQueue.make({ onDropped }),
          Effect.flatMap((queue) =>
            Effect.map(EventFilter.make(queue, notNoise), (sink) => ({ ...sink, shutdown: queue.shutdown }))
          )
        ),
      shutdown: ({ shutdown }) => shutdown
    }),
    subject({
      name: "queue of 2 | timeout | batch",
      queued: true,
      capacity: 2,
      make: (receiver, onDropped) =>
        EventQueue.make({ capacity: 2, onDropped })(EventSink.timeout(receiver.batch, "3 seconds")),
      shutdown: (queue) => queue.shutdown
    }),
    subject({
      name: "queue | queue | receiver",
      queued: true,
      deadline: "40 seconds",
      make: (receiver, onDropped) => receiver.pipe(EventQueue.make({ onDropped }), EventQueue.make({ onDropped }))
    }),
    subject({
      name: "queue of 1 | queue of 1 | receiver",
      queued: true,
      capacity: 1,
      deadline: "40 seconds",
      make: (receiver, onDropped) =>
        receiver.pipe(EventQueue.make({ capacity: 1, onDropped }), EventQueue.make({ capacity: 1, onDropped }))
    }),
    subject({
      name: "broadcast | filter | queue | retry | receiver",
      queued: true,
      deadline: "60 seconds",
      make: (receiver, onDropped) =>
        Broadcaster.make([
          receiver.pipe(
            RetryingSink.make(ExponentialBackoff.make(backoff)),
            EventQueue.make({ onDropped }),
            EventFilter.make(notNoise)
          )
        ]),
      sinks: { add: (self, sink) => Broadcaster.add(self, sink), remove: Broadcaster.remove }
    })
  ],
  ...routingKinds
]

const notNoise = (event: unknown): boolean => event !== "noise"

const isStamped = (event: unknown): event is EventSink.Stamped<unknown> =>
  typeof event === "object" && event !== null && "trace" in event && "event" in event
