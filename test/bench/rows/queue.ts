/** A queue to a sink that counts: what does an event cost from the write to the delivery? */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as EventQueue from "effect-events/EventQueue"
import * as EventSink from "effect-events/EventSink"
import { event, Meter, throughput, times } from "../measure.ts"
import { atLeast, goSide, type Load, type Row, type Side, wallAndCpu } from "../model.ts"
import { loop, rxjsLabel, subject } from "./peers.ts"

const group: ReadonlyArray<string> = Array.from({ length: 100 }, () => event)

const sync = (meter: Meter) => EventSink.sync(meter.count)
const effectful = (meter: Meter) => EventSink.make(meter.counted)

const ours = (sink: typeof sync, grouped: boolean): Side => ({
  label: "ours",
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Effect.flatMap(sink(meter), EventQueue.make())
      const writes = grouped
        ? times(load.n / group.length, () => EventSink.writeAll(queue, group))
        : times(load.n, () => queue.write(event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

/** An Effect `Queue` and a fiber that takes from it, as Effect's documentation shows them. It keeps no account. */
const byHand = (
  label: string,
  turn: (queue: Queue.Dequeue<string>, meter: Meter) => Effect.Effect<void>,
  grouped: boolean,
  goal?: number,
  repeat: typeof loop = loop
): Side => ({
  label,
  goals: goal === undefined ? undefined : { wall: atLeast(goal) },
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Queue.unbounded<string>()
      yield* Effect.forkScoped(repeat(turn(queue, meter)))
      const writes = grouped
        ? times(load.n / group.length, () => Queue.offerAll(queue, group))
        : times(load.n, () => Queue.offer(queue, event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

const rxjs = {
  label: rxjsLabel,
  run: (load: Load) =>
    Effect.map(subject, (subject) => {
      const meter = new Meter()
      subject.subscribe(meter.count)
      const writes = Effect.sync(() => {
        for (let i = 0; i < load.n; i++) subject.next(event)
      })
      return throughput(load, meter.delivered(load.n, writes))
    })
} satisfies Side

/** What an effect costs that counts and nothing else: no write can cost less, and a delivery by an effect is one more. */
const floor: Side = {
  label: "Effect.sync, and no queue",
  run: (load) => {
    const meter = new Meter()
    return Effect.succeed(
      throughput(
        load,
        meter.delivered(
          load.n,
          times(load.n, () => meter.counted(event))
        )
      )
    )
  }
}

const n = 100_000

export const queue: ReadonlyArray<Row> = [
  {
    name: "queue-write",
    question: "A queue to a counting sink, each event by `write`, over a synchronous sink",
    n,
    metrics: wallAndCpu,
    sides: [
      ours(sync, false),
      goSide("queue", { wall: atLeast(1), cpu: atLeast(1.5) }),
      byHand("Effect Queue, take", (q, meter) => Effect.map(Queue.take(q), meter.count), false, 1.2),
      byHand("Effect Queue, takeAll", (q, meter) => Effect.map(Queue.takeAll(q), meter.countAll), false, 1.2),
      byHand(
        "Effect Queue, takeAll and a yield",
        (q, meter) => Effect.map(Queue.takeAll(q), meter.countAll),
        false,
        undefined,
        Effect.forever
      ),
      floor,
      rxjs
    ]
  },
  {
    name: "queue-write-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: wallAndCpu,
    sides: [
      ours(effectful, false),
      goSide("queue", { wall: atLeast(0.6) }),
      byHand("Effect Queue, take", (q, meter) => Effect.flatMap(Queue.take(q), meter.counted), false, 1.2),
      byHand(
        "Effect Queue, takeAll",
        (q, meter) => Effect.flatMap(Queue.takeAll(q), Effect.forEach(meter.counted, { discard: true })),
        false,
        1.2
      ),
      byHand(
        "Effect Queue, takeAll and a yield",
        (q, meter) => Effect.flatMap(Queue.takeAll(q), Effect.forEach(meter.counted, { discard: true })),
        false,
        undefined,
        Effect.forever
      )
    ]
  },
  {
    name: "queue-writeAll",
    question: "A queue to a counting sink, by `writeAll` of 100, over a synchronous sink",
    n,
    metrics: wallAndCpu,
    note: "Groups of 100 on our side and the Effect one; go-events has no groups and writes each event.",
    sides: [
      ours(sync, true),
      goSide("queue", { wall: atLeast(10) }, "go-events, Write each"),
      byHand("Effect Queue, offerAll and takeAll", (q, meter) => Effect.map(Queue.takeAll(q), meter.countAll), true)
    ]
  },
  {
    name: "queue-writeAll-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: wallAndCpu,
    note: "Groups of 100 on our side and the Effect one; go-events has no groups and writes each event.",
    sides: [
      ours(effectful, true),
      goSide("queue", { wall: atLeast(1.5) }, "go-events, Write each"),
      byHand(
        "Effect Queue, offerAll and takeAll",
        (q, meter) => Effect.flatMap(Queue.takeAll(q), Effect.forEach(meter.counted, { discard: true })),
        true
      )
    ]
  }
]
