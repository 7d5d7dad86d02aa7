/** Adding a sink to a broadcaster that has 10,000, and removing it. */
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as PubSub from "effect/PubSub"
import * as Scope from "effect/Scope"
import * as Broadcaster from "effect-events/Broadcaster"
import * as EventSink from "effect-events/EventSink"
import { collect, times } from "../measure.ts"
import { goSide, type Row, type Sample } from "../model.ts"

const sinks = 10_000

const sample = (n: number, add: (i: number) => Effect.Effect<unknown>, remove: typeof add): Sample =>
  Effect.suspend(() => {
    collect()
    const start = performance.now()
    let between = 0
    const added = Effect.map(times(n, add), () => {
      between = performance.now()
    })
    return Effect.map(Effect.andThen(added, times(n, remove)), () => ({
      add: ((between - start) * 1e3) / n,
      remove: ((performance.now() - between) * 1e3) / n
    }))
  })

const ignore = (_: string): void => {}

export const membership: ReadonlyArray<Row> = [
  {
    name: "add-remove",
    question: "Adding a sink to a broadcaster that has 10,000 sinks, and removing it",
    n: 500,
    metrics: [
      { key: "add", label: "an add", unit: "us" },
      { key: "remove", label: "a remove", unit: "us" }
    ],
    note: "Ours answers a remove when the sink has drained and its fiber has ended; go-events' sinks have no queue here.",
    sides: [
      {
        label: "ours",
        run: (load) =>
          Effect.gen(function* () {
            const broadcaster = yield* Broadcaster.make<string>()
            const add = (sink: EventSink.EventSink<string>) => Effect.orDie(Broadcaster.add(broadcaster, sink))
            for (let i = 0; i < sinks; i++) yield* add(yield* EventSink.sync(ignore))
            const more = yield* Effect.all(Array.from({ length: load.n }, () => EventSink.sync(ignore)))
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
