/** How long the drainer of a queue holds up the event loop: what else the process has to do waits for so long. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Api from "../api.ts"
import { delays, event, inOneTurn, Meter, times } from "../measure.ts"
import { delaysOfAct, type Row, type Sample } from "../model.ts"
import { loop } from "./peers.ts"

/** A plain function that takes 2 µs and counts. */
const working = (meter: Meter) => (event: string) => {
  const until = performance.now() + 0.002
  while (performance.now() < until);
  meter.count(event)
}

/** Fills a queue in one turn, and measures until the last event has been delivered. */
const drained = (n: number, meter: Meter, write: () => Effect.Effect<unknown, unknown>): Sample => {
  const filled = Effect.suspend(() => {
    meter.expect(n)
    return Effect.orDie(times(n, write))
  })
  return inOneTurn(filled, Effect.andThen(meter.missing(n), delays(meter.done)))
}

export const drainer: ReadonlyArray<Row> = [
  {
    name: "delay-drainer",
    question: "How late timers are while a drainer works 300,000 events into a plain function that takes 2 µs",
    n: 300_000,
    metrics: delaysOfAct,
    note: "Of a timer that is due each millisecond. All are written in one turn, before the measurement.",
    sides: [
      {
        label: "ours",
        before: {},
        run: ({ n }) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const queue = yield* Api.queue<string>(yield* Api.sync(working(meter)))
            return drained(n, meter, () => queue.write(event))
          })
      },
      {
        label: "Effect Queue, take",
        run: ({ n }) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const queue = yield* Queue.unbounded<string>()
            yield* Effect.forkScoped(loop(Effect.map(Queue.take(queue), working(meter))))
            return drained(n, meter, () => Queue.offer(queue, event))
          })
      }
    ]
  }
]
