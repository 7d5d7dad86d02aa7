/** A channel: what does handing an event over to a reader cost? */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Stream from "effect/Stream"
import * as EventChannel from "effect-events/EventChannel"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, goSide, type Row, type Side, speed } from "../model.ts"
import { loop } from "./peers.ts"

type Channel = EventChannel.EventChannel<string>

const ours = (label: string, capacity: number, read: (channel: Channel, meter: Meter) => Run): Side => ({
  label,
  before: {},
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const channel = yield* EventChannel.make<string>({ capacity })
      yield* Effect.forkScoped(read(channel, meter))
      const writes = times(load.n, () => channel.write(event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

const byHand = (label: string, capacity: number, read: (queue: Queue.Queue<string>, meter: Meter) => Run): Side => ({
  label,
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const queue = yield* Queue.bounded<string>(capacity)
      yield* Effect.forkScoped(read(queue, meter))
      const writes = times(load.n, () => Queue.offer(queue, event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

type Run = Effect.Effect<void>

const batches = (stream: Stream.Stream<string>, meter: Meter): Run =>
  Stream.runForEachArray(stream, (events) => Effect.sync(() => meter.countAll(events)))
const all = (channel: Channel, meter: Meter): Run =>
  // It fails when the channel ends, which is after the measurement.
  Effect.catch(loop(Effect.map(channel.takeAll, (events) => meter.countAll(events))), () => Effect.void)
const each = (channel: Channel, meter: Meter): Run => Stream.runForEach(channel.stream, meter.counted)

const channelOf = (capacity: number, goal: number): Row => ({
  name: `channel-${capacity}`,
  question: `A channel of capacity ${capacity.toLocaleString("en")}: one writer, one reader`,
  n: 20_000,
  metrics: cpuAndWall,
  sides: [
    ours("ours, read in batches", capacity, all),
    { ...ours("ours, read one by one", capacity, each), against: "ours, read in batches" },
    goSide(`channel ${capacity}`, speed(goal)),
    byHand("Effect Queue, take", capacity, (queue, meter) => loop(Effect.map(Queue.take(queue), meter.count))),
    byHand("Effect Queue, a Stream in batches", capacity, (queue, meter) => batches(Stream.fromQueue(queue), meter))
  ]
})

export const channel: ReadonlyArray<Row> = [channelOf(0, 0.3), channelOf(1024, 0.95)]
