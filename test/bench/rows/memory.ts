/** What a waiting event costs beyond the event itself: all events here are one and the same string. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Broadcaster from "effect-events/Broadcaster"
import * as Api from "../api.ts"
import { bytesInUse, event, Meter, stuck, times } from "../measure.ts"
import { type Goals, goSide, type Metric, type Row, type Side, valueAtMost } from "../model.ts"

const metrics: ReadonlyArray<Metric> = [{ key: "bytes", label: "bytes per event", unit: "bytes" }]

type Filled = Effect.Effect<(n: number) => Effect.Effect<void, unknown>, never, Scope.Scope>

/** Fills one for practice, so that code and caches are there, and measures what filling another adds. */
const held = (label: string, part: Filled, goals?: Goals): Side => ({
  label,
  goals,
  before: label === "ours" ? {} : undefined,
  run: (load) =>
    Effect.gen(function* () {
      const practice = yield* part
      yield* Effect.orDie(practice(Math.ceil(load.n / 20)))
      const fill = yield* part
      return Effect.suspend(() => {
        const before = bytesInUse()
        return Effect.map(Effect.orDie(fill(load.n)), () => ({ bytes: (bytesInUse() - before) / load.n }))
      })
    })
})

const stuckSink = Api.effectful((_: string) => stuck)
const subscribers = 10

const broadcaster = Effect.gen(function* () {
  const broadcaster = yield* Broadcaster.make<string>()
  for (let i = 0; i < subscribers; i++) yield* Effect.orDie(Broadcaster.add(broadcaster, yield* stuckSink))
  return (n: number) => times(n, () => broadcaster.write(event))
})

/** One sink hangs; the others have all events before the fill ends. */
const oneStuck = Effect.gen(function* () {
  const broadcaster = yield* Broadcaster.make<string>()
  const meter = new Meter()
  yield* Effect.orDie(Broadcaster.add(broadcaster, yield* stuckSink))
  for (let i = 1; i < subscribers; i++) {
    yield* Effect.orDie(Broadcaster.add(broadcaster, yield* Api.sync(meter.count)))
  }
  const tens = times(10, () => broadcaster.write(event))
  return (n: number) => times(n / 10, () => meter.delivered(10 * (subscribers - 1), tens))
})

const pubsub = Effect.gen(function* () {
  const pubsub = yield* PubSub.unbounded<string>()
  for (let i = 0; i < subscribers; i++) {
    const subscription = yield* PubSub.subscribe(pubsub)
    yield* Effect.forkScoped(Effect.flatMap(PubSub.takeAll(subscription), () => stuck))
  }
  return (n: number) => times(n, () => PubSub.publish(pubsub, event))
})

export const memory: ReadonlyArray<Row> = [
  {
    name: "bytes-queue",
    question: "Memory for each event that waits in a queue, with 1,000,000 waiting",
    n: 1_000_000,
    metrics,
    cold: true,
    note: "Beyond the event: each is the same string. The receiver is stuck with the first.",
    sides: [
      held(
        "ours",
        Effect.map(
          Effect.flatMap(stuckSink, (sink) => Api.queue(sink)),
          (queue) => (n) => times(n, () => queue.write(event))
        ),
        { bytes: valueAtMost(12) }
      ),
      goSide("bytes-queue"),
      held(
        "Effect Queue",
        Effect.map(Queue.unbounded<string>(), (queue) => (n) => times(n, () => Queue.offer(queue, event)))
      )
    ]
  },
  {
    name: "bytes-broadcast",
    question: "Memory for each event that waits for 10 sinks of a broadcaster, with 1,000,000 waiting",
    n: 1_000_000,
    metrics,
    cold: true,
    note: "For all ten sinks together.",
    sides: [
      held("ours", broadcaster, { bytes: valueAtMost(12) }),
      goSide("bytes-broadcast 10"),
      held("Effect PubSub, takeAll", pubsub)
    ]
  },
  {
    name: "bytes-broadcast-one",
    question: "The same, while one of the 10 sinks hangs and the others take ten events a turn",
    n: 1_000_000,
    metrics,
    cold: true,
    note: "Written in tens, each delivered to the nine before the next, so that the events come to the sink that hangs in small batches.",
    sides: [held("ours", oneStuck, { bytes: valueAtMost(16) }), goSide("bytes-broadcast 1")]
  }
]
