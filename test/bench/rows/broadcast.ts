/** One event to many sinks, each with a queue of its own: what does a write cost until the last sink has the event? */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Broadcaster from "effect-events/Broadcaster"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, type Goals, goSide, type Row, type Side, speed } from "../model.ts"
import { loop, rxjsLabel, subject } from "./peers.ts"

const ours = (sinks: number, sink: typeof sync, before: Goals = {}): Side => ({
  label: "ours",
  before,
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
  goals: speed(goal),
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
  // To 100 sinks and more an event takes milliseconds.
  ...(sinks > 10 ? [] : [byHand("Effect PubSub, takeAll", sinks, take, loop, goal)]),
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

const sync = (meter: Meter) => Api.sync(meter.count)
const counted = (meter: Meter) => Api.effectful(meter.counted)

const queued = (sinks: number, n: number, goals: { readonly go: number; readonly byHand?: number }): Row => ({
  name: `broadcast-${sinks}`,
  question: `A broadcast to ${sinks.toLocaleString("en")} queued sinks, each event by \`write\`, synchronous sinks`,
  n,
  metrics: cpuAndWall,
  sides: [
    ours(sinks, sync),
    goSide(`broadcast-queued ${sinks}`, speed(goals.go)),
    ...(sinks > 100 ? [] : bothByHand(sinks, plain, goals.byHand)),
    rxjs(sinks)
  ]
})

const effect = (sinks: number, n: number): Row => ({
  name: `broadcast-${sinks}-effect`,
  question: `A broadcast to ${sinks} queued sinks, each event by \`write\`, effectful sinks (\`Effect.sync\`)`,
  n,
  metrics: cpuAndWall,
  sides: [ours(sinks, counted, speed(1)), goSide(`broadcast-queued ${sinks}`), ...bothByHand(sinks, effectful)]
})

export const broadcast: ReadonlyArray<Row> = [
  queued(10, 10_000, { go: 9, byHand: 20 }),
  effect(10, 10_000),
  queued(100, 5000, { go: 27 }),
  effect(100, 2000),
  queued(1000, 1000, { go: 30 }),
  queued(10_000, 50, { go: 15 })
]
