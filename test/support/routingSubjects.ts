/** The sinks that send an event to one of several, or to those of several that want it, as the laws see them. */
import { Effect } from "effect"
import { EventQueue, EventRouter, EventSink, ExponentialBackoff, FallbackSink, RetryingSink } from "effect-events"
import * as SinkLaws from "effect-events/testing/SinkLaws"

const { subject } = SinkLaws

const halfOf = (event: unknown) => (event === "noise" ? "noise" : isOdd(event) ? "odd" : "even")

function isOdd(event: unknown): boolean {
  return typeof event === "number" && event % 2 === 1
}

type Numbered = { readonly _tag: "Odd"; readonly odd: number } | { readonly _tag: "Even"; readonly even: number }
const numberOf = (event: Numbered): number => (event._tag === "Odd" ? event.odd : event.even)

/** A router by topic, with the sinks subscribed before it is used. */
const topics = (...sinks: ReadonlyArray<Effect.Effect<EventSink.EventSink<unknown, unknown>, never, never>>) =>
  Effect.gen(function* () {
    const router = yield* EventRouter.byTopic<unknown, unknown>({
      topic: (event) => (event === "noise" ? "noise" : "events/number"),
      orElse: "ignore"
    })
    for (const sink of sinks) yield* EventRouter.subscribe(router, "events/*", yield* sink)
    return router
  })

export const routingKinds: ReadonlyArray<ReadonlyArray<SinkLaws.Subject>> = [
  [
    subject({
      name: "EventRouter.byKey",
      targets: "one",
      deadline: "40 seconds",
      filtered: () => "noise",
      make: (receiver, _, second) =>
        EventRouter.byKey(
          halfOf,
          { odd: EventSink.make(receiver.write), even: EventSink.make(second.write) },
          { orElse: "ignore" }
        )
    }),
    subject({
      name: "EventRouter.byKey over batch sinks",
      targets: "one",
      deadline: "40 seconds",
      make: (receiver, _, second) =>
        EventRouter.byKey(
          halfOf,
          { odd: EventSink.makeBatch(receiver.batch.writeSome) },
          { orElse: EventSink.makeBatch(second.batch.writeSome) }
        )
    }),
    subject({
      name: "EventRouter.byKey over synchronous sinks",
      targets: "one",
      synchronous: true,
      filtered: () => "noise",
      make: (receiver, _, second) =>
        EventRouter.byKey(
          halfOf,
          { odd: EventSink.sync(receiver.record), even: EventSink.sync(second.record) },
          { orElse: "ignore" }
        )
    }),
    subject({
      name: "EventRouter.byKey over queues",
      targets: "one",
      queued: true,
      deadline: "40 seconds",
      make: (receiver, onDropped, second) =>
        EventRouter.byKey(
          halfOf,
          { odd: EventQueue.make(receiver, { onDropped }) },
          { orElse: EventQueue.make(second, { onDropped }) }
        )
    }),
    subject({
      name: "queue | EventRouter.byKey",
      targets: "one",
      queued: true,
      deadline: "60 seconds",
      make: (receiver, onDropped, second) =>
        EventRouter.byKey(
          halfOf,
          { odd: EventSink.make(receiver.write) },
          { orElse: EventSink.make(second.write) }
        ).pipe(EventQueue.make({ onDropped }))
    }),
    subject({
      name: "EventRouter.byTag",
      targets: "one",
      deadline: "40 seconds",
      event: (n): Numbered => (n % 2 === 1 ? { _tag: "Odd", odd: n } : { _tag: "Even", even: n }),
      read: numberOf,
      make: (receiver: SinkLaws.Receiver<Numbered>, _, second) =>
        EventRouter.byTag<Numbered>()({ Odd: EventSink.make(receiver.write), Even: EventSink.make(second.write) })
    })
  ],
  [
    subject({
      name: "EventRouter.byTopic",
      deadline: "40 seconds",
      filtered: () => "noise",
      make: (receiver) => topics(Effect.succeed(receiver))
    }),
    subject({
      name: "EventRouter.byTopic with two subscriptions",
      targets: "both",
      deadline: "40 seconds",
      make: (receiver, _, second) => topics(Effect.succeed(receiver), Effect.succeed(second))
    })
  ],
  [
    subject({
      name: "FallbackSink",
      targets: "one",
      fallsBack: true,
      deadline: "60 seconds",
      make: (receiver, _, second) =>
        EventSink.make(receiver.write).pipe(FallbackSink.make(EventSink.make(second.write), { after: "1 second" }))
    }),
    subject({
      name: "FallbackSink that probes soon",
      targets: "one",
      fallsBack: true,
      deadline: "60 seconds",
      make: (receiver, _, second) =>
        EventSink.make(receiver.write).pipe(
          FallbackSink.make(EventSink.make(second.write), {
            after: "10 millis",
            breaker: { threshold: 2, backoff: "10 millis" }
          })
        )
    }),
    subject({
      name: "FallbackSink over batch sinks",
      targets: "one",
      fallsBack: true,
      deadline: "60 seconds",
      make: (receiver, _, second) =>
        EventSink.makeBatch(receiver.batch.writeSome).pipe(
          FallbackSink.make(EventSink.makeBatch(second.batch.writeSome), { after: "1 second" })
        )
    }),
    subject({
      name: "queue | FallbackSink",
      targets: "one",
      fallsBack: true,
      queued: true,
      deadline: "80 seconds",
      make: (receiver, onDropped, second) =>
        EventSink.make(receiver.write).pipe(
          FallbackSink.make(EventSink.make(second.write), { after: "1 second" }),
          EventQueue.make({ onDropped })
        )
    }),
    subject({
      name: "queue | retry | FallbackSink of three",
      targets: "one",
      fallsBack: true,
      queued: true,
      deadline: "100 seconds",
      make: (receiver, onDropped, second) =>
        EventSink.make((_: unknown) => Effect.fail("unavailable")).pipe(
          FallbackSink.make([EventSink.make(receiver.write), EventSink.make(second.write)], { after: "1 second" }),
          RetryingSink.make(ExponentialBackoff.make({ base: "20 millis", factor: "20 millis", max: "200 millis" })),
          EventQueue.make({ onDropped })
        )
    })
  ]
]
