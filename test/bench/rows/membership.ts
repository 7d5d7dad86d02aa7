/** Adding a sink to a broadcaster that has 10,000, and removing it. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import * as Broadcaster from "effect-events/Broadcaster"
import type { EventSink } from "effect-events/EventSink"
import * as Api from "../api.ts"
import { collect, stopwatch, times } from "../measure.ts"
import { goSide, type Row, type Sample, speed } from "../model.ts"

const sinks = 10_000

const sample = (n: number, adds: (i: number) => Effect.Effect<unknown>, remove: typeof adds): Sample =>
  Effect.suspend(() => {
    collect()
    const watch = stopwatch()
    let add = 0
    const added = Effect.map(times(n, adds), () => {
      add = watch().wall
    })
    return Effect.map(Effect.andThen(added, times(n, remove)), () => {
      const { cpu, wall } = watch()
      return { cpu: (cpu * 1e3) / n, wall: (wall * 1e3) / n, add: (add * 1e3) / n, remove: ((wall - add) * 1e3) / n }
    })
  })

const ignore = (_: string): void => {}

export const membership: ReadonlyArray<Row> = [
  {
    name: "add-remove",
    question: "Adding a sink to a broadcaster that has 10,000 sinks, and removing it",
    n: 500,
    metrics: [
      { key: "cpu", label: "CPU, add and remove", unit: "us" },
      { key: "wall", label: "wall, add and remove", unit: "us" },
      { key: "add", label: "wall, an add", unit: "us" },
      { key: "remove", label: "wall, a remove", unit: "us" }
    ],
    note: "Ours answers a remove when the sink has drained and its fiber has ended; go-events' sinks have no queue here.",
    sides: [
      {
        label: "ours",
        before: speed(2),
        run: (load) =>
          Effect.gen(function* () {
            const broadcaster = yield* Broadcaster.make<string>()
            const add = (sink: EventSink<string>) => Effect.orDie(Broadcaster.add(broadcaster, sink))
            for (let i = 0; i < sinks; i++) yield* add(yield* Api.sync(ignore))
            const more = yield* Effect.all(Array.from({ length: load.n }, () => Api.sync(ignore)))
            return sample(
              load.n,
              (i) => add(more[i]!),
              (i) => Broadcaster.remove(broadcaster, more[i]!)
            )
          })
      },
      goSide("membership"),
      {
        label: "Effect PubSub, subscribe and close",
        run: (load) =>
          Effect.gen(function* () {
            const pubsub = yield* PubSub.unbounded<string>()
            const subscribe = Effect.gen(function* () {
              const subscription = yield* PubSub.subscribe(pubsub)
              yield* Effect.forkScoped(Effect.forever(PubSub.takeAll(subscription), { disableYield: true }))
            })
            for (let i = 0; i < sinks; i++) yield* subscribe
            const scopes: Array<Scope.Closeable> = []
            return sample(
              load.n,
              (i) => Scope.provide(subscribe, (scopes[i] = Scope.makeUnsafe())),
              (i) => Scope.close(scopes[i]!, Exit.void)
            )
          })
      }
    ]
  }
]
