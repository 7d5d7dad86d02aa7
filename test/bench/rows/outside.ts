/** A write from outside of Effect, such as from a callback of a driver: a plain call. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Api from "../api.ts"
import { event, Meter, throughput } from "../measure.ts"
import { cpuAndWall, goSide, type Row, speed } from "../model.ts"
import { loop, rxjsSide } from "./peers.ts"

const { offerUnsafe } = Api

/** Calls it `n` times, and dies of a call that refuses. */
const calls = (n: number, accepts: () => boolean): Effect.Effect<void> =>
  Effect.sync(() => {
    let accepted = 0
    for (let i = 0; i < n; i++) if (accepts()) accepted++
    if (accepted !== n) throw new Error(`${accepted} of ${n} accepted`)
  })

export const outside: ReadonlyArray<Row> = [
  {
    name: "offerUnsafe",
    question: "A queue to a synchronous sink, written to from outside of Effect by `EventQueue.offerUnsafe`",
    n: 100_000,
    metrics: cpuAndWall,
    sides: [
      {
        label: "ours",
        before: {},
        missing: offerUnsafe === undefined ? "EventQueue.offerUnsafe" : undefined,
        run: (load) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const queue = yield* Api.queue(yield* Api.sync(meter.count))
            const accepts = () => offerUnsafe?.(queue, event) === "accepted"
            return throughput(load, meter.delivered(load.n, calls(load.n, accepts)))
          })
      },
      goSide("queue", speed(5)),
      {
        label: "Effect Queue, offerUnsafe and takeAll",
        run: (load) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const queue = yield* Queue.unbounded<string>()
            yield* Effect.forkScoped(loop(Effect.map(Queue.takeAll(queue), meter.countAll)))
            const accepts = () => Queue.offerUnsafe(queue, event)
            return throughput(load, meter.delivered(load.n, calls(load.n, accepts)))
          })
      },
      rxjsSide
    ]
  }
]
