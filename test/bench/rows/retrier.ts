/** A retrier over a sink that succeeds: what does being ready to retry cost when nothing goes wrong? */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import * as Breaker from "effect-events/Breaker"
import * as ExponentialBackoff from "effect-events/ExponentialBackoff"
import type { RetryStrategy } from "effect-events/RetryStrategy"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, goSide, type Row, type Side, speed } from "../model.ts"

const sync = (meter: Meter) => Api.sync(meter.count)
const effectful = (meter: Meter) => Api.effectful(meter.counted)
const backoff = Effect.succeed(ExponentialBackoff.make())
const breaker = Breaker.make({ threshold: 5, backoff: "1 second" })

const ours = (sink: typeof sync, strategy: Effect.Effect<RetryStrategy<unknown>>): Side => ({
  label: "ours",
  before: {},
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const retrier = yield* Api.retrier(yield* sink(meter), yield* strategy)
      const writes = times(load.n, () => retrier.write(event))
      return throughput(load, meter.delivered(load.n, writes))
    })
})

const byHand: Side = {
  label: "Effect.retry",
  run: (load) => {
    const meter = new Meter()
    const schedule = Schedule.exponential("1 second")
    const could: (event: string) => Effect.Effect<void, "down"> = meter.counted
    const writes = times(load.n, () => Effect.retry(could(event), schedule))
    return Effect.succeed(throughput(load, meter.delivered(load.n, writes)))
  }
}

const n = 50_000

export const retrier: ReadonlyArray<Row> = [
  {
    name: "retrier",
    question: "A retrier with exponential backoff over a synchronous sink that succeeds",
    n,
    metrics: cpuAndWall,
    sides: [ours(sync, backoff), goSide("retry backoff", speed(4)), byHand]
  },
  {
    name: "retrier-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: cpuAndWall,
    sides: [ours(effectful, backoff), goSide("retry backoff", speed(0.5)), byHand]
  },
  {
    name: "retrier-breaker",
    question: "A retrier with a breaker over a synchronous sink that succeeds",
    n,
    metrics: cpuAndWall,
    sides: [ours(sync, breaker), goSide("retry breaker", speed(4))]
  }
]
