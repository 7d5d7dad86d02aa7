/** One event to many sinks, each with a queue of its own: what does a write cost until the last sink has the event? */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Broadcaster from "effect-events/Broadcaster"
import * as EventSink from "effect-events/EventSink"
import { event, Meter, throughput, times } from "../measure.ts"
import { atLeast, goSide, type Row, type Side, wallAndCpu } from "../model.ts"
import { loop, rxjsLabel, subject } from "./peers.ts"

const ours = (sinks: number, sink: (meter: Meter) => ReturnType<typeof EventSink.sync<string>>): Side => ({
  label: "ours",
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const broadcaster = yield* Broadcaster.make<string>()
      for (let i = 0; i < sinks; i++) yield* Effect.orDie(Broadcaster.add(broadcaster, yield* sink(meter)))
      const writes = times(load.n, () => broadcaster.write(event))
      return throughput(load, meter.delivered(load.n * sinks, writes))
    })
})

/** A `PubSub`, and a fiber for each subscriber that takes all there is, again and again. */
const byHand = (label: string, sinks: number, take: typeof plain, repeat: typeof loop, goal?: number): Side => ({
  label,
  goals: goal === undefined ? undefined : { wall: atLeast(goal) },
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const pubsub = yield* PubSub.unbounded<string>()
      for (let i = 0; i < sinks; i++) {
        const subscription = yield* PubSub.subscribe(pubsub)
        yield* Effect.forkScoped(repeat(take(subscription, meter)))
      }
      const writes = times(load.n, () => PubSub.publish(pubsub, event))
      return throughput(load, meter.delivered(load.n * sinks, writes))
    })
})

/** Without a yield a subscriber is woken by every event, and takes one. */
const bothByHand = (sinks: number, take: typeof plain, goal?: number): ReadonlyArray<Side> => [
  byHand("Effect PubSub, takeAll", sinks, take, loop, goal),
  byHand("Effect PubSub, takeAll and a yield", sinks, take, Effect.forever)
]

const plain = (subscription: PubSub.Subscription<string>, meter: Meter): Effect.Effect<void> =>
  Effect.map(PubSub.takeAll(subscription), meter.countAll)
const effectful = (subscription: PubSub.Subscription<string>, meter: Meter): Effect.Effect<void> =>
  Effect.flatMap(PubSub.takeAll(subscription), Effect.forEach(meter.counted, { discard: true }))

const rxjs = (sinks: number): Side => ({
  label: rxjsLabel,
  run: (load) =>
    Effect.map(subject, (subject) => {
      const meter = new Meter()
      for (let i = 0; i < sinks; i++) subject.subscribe(meter.count)
      const writes = Effect.sync(() => {
        for (let i = 0; i < load.n; i++) subject.next(event)
      })
      return throughput(load, meter.delivered(load.n * sinks, writes))
    })
})

const sync = (meter: Meter) => EventSink.sync(meter.count)
const counted = (meter: Meter) => EventSink.make(meter.counted)

const queued = (sinks: number, n: number, goals: { readonly go?: number; readonly byHand?: number }): Row => ({
  name: `broadcast-${sinks}`,
  question: `A broadcast to ${sinks.toLocaleString("en")} queued sinks, each event by \`write\`, synchronous sinks`,
  n,
  metrics: wallAndCpu,
  sides: [
    ours(sinks, sync),
    goSide(`broadcast-queued ${sinks}`, goals.go === undefined ? undefined : { wall: atLeast(goals.go) }),
    // By hand an event to 1,000 takes milliseconds.
    ...(sinks > 100 ? [] : bothByHand(sinks, plain, goals.byHand)),
    rxjs(sinks)
  ]
})

export const broadcast: ReadonlyArray<Row> = [
  queued(10, 10_000, { go: 4, byHand: 20 }),
  {
    name: "broadcast-10-effect",
    question: "A broadcast to 10 queued sinks, each event by `write`, effectful sinks (`Effect.sync`)",
    n: 10_000,
    metrics: wallAndCpu,
    sides: [ours(10, counted), goSide("broadcast-queued 10"), ...bothByHand(10, effectful)]
  },
  queued(100, 5000, {}),
  queued(1000, 1000, {}),
  queued(10_000, 50, {})
]
