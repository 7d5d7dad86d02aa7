/** Does a write cost more when many events wait? Ten are written, timed, and then ten are delivered, again and again. */
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Api from "../api.ts"
import { collect, event, Meter, times } from "../measure.ts"
import { atMost, type Row, type Sample, type Side } from "../model.ts"
import { median } from "../statistics.ts"
import { loop } from "./peers.ts"

const burst = 10
const backlogs = [10, 1000, 1_000_000]

/** A receiver that takes as many events as it is allowed. */
class Gate {
  private allowed = 0
  private readonly latch = Latch.makeUnsafe()
  readonly meter = new Meter()

  /** Lets `n` events through, and waits for them. */
  pass(n: number): Effect.Effect<void> {
    return this.meter.delivered(
      n,
      Effect.sync(() => {
        this.allowed = n
        this.latch.openUnsafe()
      })
    )
  }

  readonly take = (_event: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (this.allowed === 0) return Effect.andThen(this.latch.await, this.take(_event))
      if (--this.allowed === 0) this.latch.closeUnsafe()
      this.meter.count()
      return Effect.void
    })
}

const sample = (millis: number, write: () => Effect.Effect<unknown, unknown>, gate: Gate): Sample =>
  Effect.suspend(() => {
    collect()
    const start = performance.now()
    const bursts: Array<number> = []
    const timed = Effect.suspend(() => {
      const before = performance.now()
      return Effect.map(times(burst, write), () => {
        bursts.push(((performance.now() - before) * 1e6) / burst)
      })
    })
    return Effect.map(
      Effect.whileLoop({
        while: () => bursts.length === 0 || performance.now() - start < millis,
        body: () => Effect.andThen(Effect.orDie(timed), gate.pass(burst)),
        step: () => {}
      }),
      () => ({ mean: bursts.reduce((sum, one) => sum + one, 0) / bursts.length, typical: median(bursts) })
    )
  })

type Write = () => Effect.Effect<unknown, unknown>

const sides = (label: string, make: (gate: Gate) => Effect.Effect<Write, never, Scope.Scope>): ReadonlyArray<Side> => {
  const at = (backlog: number) => `${label}, ${backlog.toLocaleString("en")} waiting`
  return backlogs.map((backlog) => ({
    label: at(backlog),
    against: at(10),
    goals: label === "ours" && backlog === 1_000_000 ? { mean: atMost(1.2) } : undefined,
    before: label === "ours" ? {} : undefined,
    run: (load) =>
      Effect.gen(function* () {
        const gate = new Gate()
        const write = yield* make(gate)
        yield* Effect.orDie(times(backlog, write))
        return sample(load.millis, write, gate)
      })
  }))
}

const goAt = (backlog: number): string => `go-events, ${backlog.toLocaleString("en")} waiting`

export const backlog: ReadonlyArray<Row> = [
  {
    name: "backlog",
    question: "The cost of a `write` while 10, 1,000 and 1,000,000 events wait",
    n: burst,
    metrics: [
      { key: "mean", label: "mean per write", unit: "ns" },
      { key: "typical", label: "median of tens", unit: "ns" }
    ],
    note: "The ratio is to the same queue with 10 waiting, and of a line before to the same line of ours. Reading the clock is in every figure, once for ten writes.",
    sides: [
      ...sides("ours", (gate) =>
        Effect.map(
          Effect.flatMap(Api.effectful(gate.take), (sink) => Api.queue(sink)),
          (queue) => () => queue.write(event)
        )
      ),
      ...backlogs.map((n): Side => ({ label: goAt(n), run: `backlog ${n}`, against: goAt(10) })),
      ...sides("Effect Queue", (gate) =>
        Effect.gen(function* () {
          const queue = yield* Queue.unbounded<string>()
          yield* Effect.forkScoped(loop(Effect.flatMap(Queue.take(queue), gate.take)))
          return () => Queue.offer(queue, event)
        })
      )
    ]
  }
]
