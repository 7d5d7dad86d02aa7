/** The graph of the README: a broadcaster over three branches, each a filter, a queue, a retrier and a receiver. */
import * as Effect from "effect/Effect"
import * as Breaker from "effect-events/Breaker"
import * as Broadcaster from "effect-events/Broadcaster"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, type Goals, goSide, type Row, type Side, speed } from "../model.ts"

const branches = 3

const wanted = (event: string): boolean => event.length > 0

const ours = (receiver: (meter: Meter) => ReturnType<typeof Api.sync<string>>, before: Goals = {}): Side => ({
  label: "ours",
  before,
  run: (load) =>
    Effect.gen(function* () {
      const meter = new Meter()
      const graph = yield* Broadcaster.make<string>()
      for (let i = 0; i < branches; i++) {
        const breaker = yield* Breaker.make({ threshold: 5, backoff: "1 second" })
        const retrier = yield* Api.retrier(yield* receiver(meter), breaker)
        const branch = yield* Api.filter(yield* Api.queue(retrier), wanted)
        yield* Effect.orDie(Broadcaster.add(graph, branch))
      }
      const writes = times(load.n, () => graph.write(event))
      return throughput(load, meter.delivered(load.n * branches, writes))
    })
})

const n = 20_000
const note = "Every event passes the filters, and no receiver fails. Each retrier has a breaker."

export const graph: ReadonlyArray<Row> = [
  {
    name: "graph",
    question: "README's graph: a broadcast to three branches of filter | queue | retry over `Effect.sync`",
    n,
    metrics: cpuAndWall,
    note,
    sides: [ours((meter) => Api.effectful(meter.counted), speed(1)), goSide(`graph ${branches}`, speed(1))]
  },
  {
    name: "graph-sync",
    question: "The same over synchronous sinks",
    n,
    metrics: cpuAndWall,
    note,
    sides: [ours((meter) => Api.sync(meter.count)), goSide(`graph ${branches}`)]
  }
]
