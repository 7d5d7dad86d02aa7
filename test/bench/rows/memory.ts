/** What a waiting event costs beyond the event itself: all events here are one and the same string. */
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Broadcaster from "effect-events/Broadcaster"
import * as EventQueue from "effect-events/EventQueue"
import * as EventSink from "effect-events/EventSink"
import { bytesInUse, event, stuck, times } from "../measure.ts"
import { goSide, type Metric, type Row, type Side, valueAtMost } from "../model.ts"

const metrics: ReadonlyArray<Metric> = [{ key: "bytes", label: "bytes per event", unit: "bytes" }]

type Filled = Effect.Effect<(n: number) => Effect.Effect<void, unknown>, never, Scope.Scope>

/** Fills one for practice, so that code and caches are there, and measures what filling another adds. */
const held = (label: string, part: Filled, goals?: Side["goals"]): Side => ({
  label,
  goals,
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

const stuckSink = EventSink.make((_: string) => stuck)
const subscribers = 10

const broadcaster = Effect.gen(function* () {
  const broadcaster = yield* Broadcaster.make<string>()
  for (let i = 0; i < subscribers; i++) yield* Effect.orDie(Broadcaster.add(broadcaster, yield* stuckSink))
  return (n: number) => times(n, () => broadcaster.write(event))
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
        Effect.map(Effect.flatMap(stuckSink, EventQueue.make()), (queue) => (n) => times(n, () => queue.write(event))),
        { bytes: valueAtMost(16) }
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
    sides: [held("ours", broadcaster), goSide("bytes-broadcast"), held("Effect PubSub, takeAll", pubsub)]
  }
]
