/** The original's own benchmark: a broadcaster over sinks that keep every event. Ours has a queue before each sink. */
import * as Effect from "effect/Effect"
import * as Broadcaster from "effect-events/Broadcaster"
import * as Api from "../api.ts"
import { event, Meter, throughput, times } from "../measure.ts"
import { cpuAndWall, goSide, type Load, type Row, speed } from "../model.ts"
import { rxjsLabel, subject } from "./peers.ts"

/** A sink that keeps what it gets in an array that is large enough, as the original's test sink does. */
class Keeper {
  private readonly kept: Array<string>
  private readonly meter: Meter
  private at = 0

  constructor(n: number, meter: Meter) {
    this.kept = Array.from({ length: n }, () => "")
    this.meter = meter
  }

  readonly keep = (event: string): void => {
    this.kept[this.at++] = event
    this.meter.count(event)
  }

  restart(): void {
    this.at = 0
  }
}

const keepers = (sinks: number, load: Load, meter: Meter) => {
  const all = Array.from({ length: sinks }, () => new Keeper(load.n, meter))
  return {
    keep: all.map(({ keep }) => keep),
    restart: Effect.sync(() => {
      for (const one of all) one.restart()
    })
  }
}

const directTo = (sinks: number, n: number, goal?: number): Row => ({
  name: `direct-${sinks}`,
  question: `The original's own benchmark: a broadcast to ${sinks.toLocaleString("en")} sinks that keep the events`,
  n,
  metrics: cpuAndWall,
  note: "go-events calls its sinks one after another, without queues; ours always has a queue before each sink.",
  sides: [
    {
      label: "ours (queued)",
      before: {},
      run: (load) =>
        Effect.gen(function* () {
          const meter = new Meter()
          const { keep, restart } = keepers(sinks, load, meter)
          const broadcaster = yield* Broadcaster.make<string>()
          for (const one of keep) yield* Effect.orDie(Broadcaster.add(broadcaster, yield* Api.sync(one)))
          const writes = times(load.n, () => broadcaster.write(event))
          return throughput(load, Effect.andThen(restart, meter.delivered(load.n * sinks, writes)))
        })
    },
    goSide(`broadcast-direct ${sinks}`, speed(goal), "go-events (direct)"),
    {
      label: rxjsLabel,
      run: (load) =>
        Effect.map(subject, (subject) => {
          const meter = new Meter()
          const { keep, restart } = keepers(sinks, load, meter)
          for (const one of keep) subject.subscribe(one)
          const writes = Effect.sync(() => {
            for (let i = 0; i < load.n; i++) subject.next(event)
          })
          return throughput(load, Effect.andThen(restart, meter.delivered(load.n * sinks, writes)))
        })
    }
  ]
})

export const direct: ReadonlyArray<Row> = [
  directTo(10, 10_000),
  directTo(100, 5000),
  directTo(1000, 1000, 2),
  directTo(10_000, 50, 1.3)
]
