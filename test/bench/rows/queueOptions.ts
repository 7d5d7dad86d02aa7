/** Queues with options: a capacity, and several drainers. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, type Row, type Side, speed } from "../model.ts"
import { loop } from "./peers.ts"

const capacity = 100

const bounded = (sink: (meter: Meter) => ReturnType<typeof Api.sync<string>>): Side => ({
  label: "ours",
  before: speed(0.95),
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Api.queue(yield* sink(meter), { capacity })
      const writes = times(load.n, () => queue.write(event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

/** It counts as room what was taken and not delivered yet: a queue of ours does not. */
const boundedByHand = (turn: (events: ReadonlyArray<string>, meter: Meter) => Effect.Effect<void>): Side => ({
  label: "Effect Queue, takeAll",
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Queue.bounded<string>(capacity)
      yield* Effect.forkScoped(loop(Effect.flatMap(Queue.takeAll(queue), (events) => turn(events, meter))))
      const writes = times(load.n, () => Queue.offer(queue, event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

interface Keyed {
  readonly key: number
}

const events: ReadonlyArray<Keyed> = Array.from({ length: 16 }, (_, key) => ({ key }))

const keyed = (receive: (meter: Meter) => (event: Keyed) => Effect.Effect<void>, goal?: number): Side => ({
  label: "ours",
  before: speed(goal) ?? {},
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const sink = yield* Api.effectful(receive(meter))
      const queue = yield* Api.queue(sink, { concurrency: 4, partitionBy: ({ key }) => key })
      const writes = times(load.n, (i) => queue.write(events[i % events.length]!))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

const n = 50_000

export const queueOptions: ReadonlyArray<Row> = [
  {
    name: "bounded",
    question: "A queue with room for 100 events, each event by `write`, over a synchronous sink",
    n,
    metrics: cpuAndWall,
    note: "The writer is ahead and waits for room again and again.",
    sides: [
      bounded((meter) => Api.sync(meter.count)),
      boundedByHand((events, meter) => Effect.sync(() => meter.countAll(events)))
    ]
  },
  {
    name: "bounded-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: cpuAndWall,
    sides: [
      bounded((meter) => Api.effectful(meter.counted)),
      boundedByHand((events, meter) => Effect.forEach(events, meter.counted, { discard: true }))
    ]
  },
  {
    name: "keyed",
    question: "A queue with four drainers and 16 keys (`concurrency: 4, partitionBy`), over `Effect.sync`",
    n,
    metrics: cpuAndWall,
    sides: [keyed((meter) => meter.counted, 1.5)]
  },
  {
    name: "keyed-yield",
    question: "The same over a sink that waits for a turn for each event (`Effect.yieldNow`)",
    n,
    metrics: cpuAndWall,
    sides: [keyed((meter) => (event) => Effect.andThen(Effect.yieldNow, meter.counted(event)))]
  }
]
