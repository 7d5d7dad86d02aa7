/** The pipeline that most applications want: filter | queue | retry, over a sink that does nothing but count. */
import * as Effect from "effect/Effect"
import * as Queue from "effect/Queue"
import * as Schedule from "effect/Schedule"
import * as Breaker from "effect-events/Breaker"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, goSide, type Row } from "../model.ts"

const wanted = (event: string): boolean => event.length > 0

export const pipeline: ReadonlyArray<Row> = [
  {
    name: "pipeline",
    question: "filter | queue | retry (a breaker) over a null sink, each event by `write`; every event passes",
    n: 50_000,
    metrics: cpuAndWall,
    sides: [
      {
        label: "ours",
        before: {},
        run: (load) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const breaker = yield* Breaker.make({ threshold: 5, backoff: "1 second" })
            const retrier = yield* Api.retrier(yield* Api.sync(meter.count), breaker)
            const sink = yield* Api.filter(yield* Api.queue(retrier), wanted)
            return throughput(
              load,
              meter.delivered(
                load.n,
                times(load.n, () => sink.write(event))
              )
            )
          })
      },
      goSide("pipeline"),
      {
        label: "Effect Queue, take, Effect.retry",
        run: (load) =>
          Effect.gen(function* () {
            const meter = new Meter()
            const schedule = Schedule.exponential("1 second")
            const queue = yield* Queue.unbounded<string>()
            const deliver: (event: string) => Effect.Effect<void, "down"> = meter.counted
            yield* Queue.take(queue).pipe(
              Effect.flatMap((event) => Effect.retry(deliver(event), schedule)),
              Effect.forever({ disableYield: true }),
              Effect.orDie,
              Effect.forkScoped
            )
            const writes = times(load.n, () => (wanted(event) ? Queue.offer(queue, event) : Effect.void))
            return throughput(load, meter.delivered(load.n, writes))
          })
      }
    ]
  }
]
