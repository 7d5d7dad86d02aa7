/** A queue to a sink that counts: what does an event cost from the write to the delivery? */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as EventSink from "effect-events/EventSink"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, goSide, type Row, type Side, speed } from "../model.ts"
import { loop, rxjsSide } from "./peers.ts"

const batch: ReadonlyArray<string> = Array.from({ length: 100 }, () => event)

const sync = (meter: Meter) => Api.sync(meter.count)
const effectful = (meter: Meter) => Api.effectful(meter.counted)

const ours = (sink: typeof sync, batched: boolean, shown?: "shown"): Side => ({
  label: shown === undefined ? "ours" : "ours, under SinkMetrics.layer",
  before: shown === undefined ? {} : undefined,
  goals: shown && speed(0.95),
  missing: shown && Api.metrics === undefined ? "no SinkMetrics" : undefined,
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Api.queue(yield* sink(meter))
      if (shown !== undefined && Api.metrics !== undefined) yield* Layer.build(Api.metrics.layer(queue))
      const writes = batched
        ? times(load.n / batch.length, () => EventSink.writeAll(queue, batch))
        : times(load.n, () => queue.write(event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

/** The same where each write asks for a receipt, or one has asked that no receiver answers. */
const withReceipts = (label: string, asks: "each" | "another"): Side => ({
  label,
  missing: Api.writeWithReceipt === undefined ? "no receipts" : undefined,
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Api.queue(yield* sync(meter))
      const { writeWithReceipt } = Api
      if (writeWithReceipt === undefined) return yield* Effect.die("this side is left out")
      if (asks === "another") {
        const hanging = yield* Api.queue(yield* Api.effectful((_: string) => Effect.never))
        yield* Effect.orDie(writeWithReceipt(hanging, event))
      }
      const write = asks === "each" ? () => Effect.orDie(writeWithReceipt(queue, event)) : () => queue.write(event)
      return throughput(load, meter.delivered(load.n, times(load.n, write)))
    })
})

/** An Effect `Queue` and a fiber that takes from it, as Effect's documentation shows them. It keeps no account. */
const byHand = (
  label: string,
  turn: (queue: Queue.Dequeue<string>, meter: Meter) => Effect.Effect<void>,
  batched: boolean,
  goal?: number,
  repeat: typeof loop = loop
): Side => ({
  label,
  goals: speed(goal),
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Queue.unbounded<string>()
      yield* Effect.forkScoped(repeat(turn(queue, meter)))
      const writes = batched
        ? times(load.n / batch.length, () => Queue.offerAll(queue, batch))
        : times(load.n, () => Queue.offer(queue, event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

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
    metrics: cpuAndWall,
    sides: [
      ours(sync, false),
      ours(sync, false, "shown"),
      goSide("queue", speed(1.3)),
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
      rxjsSide
    ]
  },
  {
    name: "queue-receipt",
    question: "The same, where a receipt is asked for: what do writes that ask cost, and those beside them?",
    n: 20_000,
    metrics: cpuAndWall,
    note: "Where no write asks it is the row before: a write then costs one comparison.",
    sides: [
      ours(sync, false),
      withReceipts("ours, each write asks", "each"),
      withReceipts("ours, beside a receipt that is not complete", "another")
    ]
  },
  {
    name: "queue-write-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: cpuAndWall,
    sides: [
      ours(effectful, false),
      ours(effectful, false, "shown"),
      goSide("queue", speed(0.8)),
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
    metrics: cpuAndWall,
    note: "Batches of 100 on our side and the Effect one; go-events has no batches and writes each event.",
    sides: [
      ours(sync, true),
      ours(sync, true, "shown"),
      goSide("queue", speed(10), "go-events, Write each"),
      byHand("Effect Queue, offerAll and takeAll", (q, meter) => Effect.map(Queue.takeAll(q), meter.countAll), true)
    ]
  },
  {
    name: "queue-writeAll-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: cpuAndWall,
    note: "Batches of 100 on our side and the Effect one; go-events has no batches and writes each event.",
    sides: [
      ours(effectful, true),
      ours(effectful, true, "shown"),
      goSide("queue", speed(1.5), "go-events, Write each"),
      byHand(
        "Effect Queue, offerAll and takeAll",
        (q, meter) => Effect.flatMap(Queue.takeAll(q), Effect.forEach(meter.counted, { discard: true })),
        true
      )
    ]
  }
]
