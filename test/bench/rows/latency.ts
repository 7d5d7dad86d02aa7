/** From the write to the delivery, at half of what each side can do: the event is the time at which it was written. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Api from "../api.ts"
import { collect, Meter, times } from "../measure.ts"
import { type Goals, goSide, type Row, type Side } from "../model.ts"
import { loop } from "./peers.ts"
import { quantile } from "../statistics.ts"

type Write = (time: number) => Effect.Effect<unknown, unknown>

const measured = (
  label: string,
  make: (deliver: (time: number) => void) => Effect.Effect<Write, never, Scope.Scope>,
  before?: Goals
): Side => ({
  label,
  before,
  run: ({ n }) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const waits = new Float64Array(n)
      let at = 0
      const write = yield* make((time) => {
        waits[at++] = performance.now() - time
        meter.count()
      })
      /** Writes `n` events at so many in a millisecond, and answers with how many that were in fact. */
      const paced = (rate: number) =>
        Effect.suspend(() => {
          collect()
          at = 0
          let written = 0
          const start = performance.now()
          const writes = Effect.whileLoop({
            while: () => written < n,
            body: (): Effect.Effect<unknown, unknown> => {
              const now = performance.now()
              if (written >= (now - start) * rate) return Effect.yieldNow
              written++
              return write(now)
            },
            step: () => {}
          })
          return Effect.map(meter.delivered(n, writes), () => n / (performance.now() - start))
        })
      // The first few are slow: they are for the compiler.
      yield* times(5, () => paced(Number.POSITIVE_INFINITY))
      const full = yield* paced(Number.POSITIVE_INFINITY)
      return Effect.map(paced(full / 2), (rate) => ({
        p50: quantile([...waits], 0.5) * 1e3,
        p99: quantile([...waits], 0.99) * 1e3,
        rate: rate * 1e3
      }))
    })
})

export const latency: ReadonlyArray<Row> = [
  {
    name: "latency",
    question: "The time from a `write` to the delivery, through a queue at half of its own full load",
    n: 50_000,
    metrics: [
      { key: "p50", label: "p50", unit: "us" },
      { key: "p99", label: "p99", unit: "us" },
      { key: "rate", label: "events", unit: "per s" }
    ],
    note: "Each side at half of its own rate. go-events' writer spins on one core and its queue runs on the other.",
    sides: [
      measured(
        "ours",
        (deliver) =>
          Effect.map(
            Effect.flatMap(Api.sync(deliver), (sink) => Api.queue(sink)),
            (queue) => queue.write
          ),
        {}
      ),
      goSide("latency"),
      measured("Effect Queue, take", (deliver) =>
        Effect.gen(function* () {
          const queue = yield* Queue.unbounded<number>()
          yield* Effect.forkScoped(loop(Effect.map(Queue.take(queue), deliver)))
          return (time) => Queue.offer(queue, time)
        })
      )
    ]
  }
]
