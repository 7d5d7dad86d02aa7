/** A retrier over a sink that succeeds: what does being ready to retry cost when nothing goes wrong? */
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import * as Breaker from "effect-events/Breaker"
import * as EventSink from "effect-events/EventSink"
import * as ExponentialBackoff from "effect-events/ExponentialBackoff"
import * as RetryingSink from "effect-events/RetryingSink"
import type { RetryStrategy } from "effect-events/RetryStrategy"
import { event, Meter, throughput, times } from "../measure.ts"
import { atLeast, goSide, type Row, type Side, wallAndCpu } from "../model.ts"

/** A sink that could fail and does not. */
type CouldFail = Effect.Effect<EventSink.EventSink<string, "down">, never, Scope.Scope>

const sync = (meter: Meter): CouldFail => EventSink.sync(meter.count)
const effectful = (meter: Meter): CouldFail => EventSink.make(meter.counted)
const backoff = Effect.succeed(ExponentialBackoff.make())
const breaker = Breaker.make({ threshold: 5, backoff: "1 second" })

const ours = (sink: typeof sync, strategy: Effect.Effect<RetryStrategy<unknown>>): Side => ({
  label: "ours",
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const retrier = yield* Effect.flatMap(sink(meter), RetryingSink.make(yield* strategy))
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
    metrics: wallAndCpu,
    sides: [ours(sync, backoff), goSide("retry backoff", { wall: atLeast(4) }), byHand]
  },
  {
    name: "retrier-effect",
    question: "The same over an effectful sink (`Effect.sync`)",
    n,
    metrics: wallAndCpu,
    sides: [ours(effectful, backoff), goSide("retry backoff"), byHand]
  },
  {
    name: "retrier-breaker",
    question: "A retrier with a breaker over a synchronous sink that succeeds",
    n,
    metrics: wallAndCpu,
    sides: [ours(sync, breaker), goSide("retry breaker", { wall: atLeast(4) })]
  }
]
