/** What tests of metrics share: a registry of their own, and series as they are in a snapshot. */
import { Effect, Exit, Layer, Metric, Scope } from "effect"
import { type EventSink, SinkMetrics } from "effect-events"

/** One series: its metric without the prefix of the library, its labels, and what it is. */
export interface Series {
  readonly name: string
  readonly labels: Readonly<Record<string, string>>
  readonly value: number
}

export const withRegistry = <A, E, R>(self: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => Effect.provideService(self, Metric.MetricRegistry, new Map()))

/** The series of the registry; of a histogram, how many observations it has. */
export const snapshot: Effect.Effect<ReadonlyArray<Series>> = Effect.map(Metric.snapshot, (all) =>
  all.map(({ attributes = {}, id, state }) => {
    const { unit: _, ...labels } = attributes
    const value = "value" in state ? Number(state.value) : "count" in state ? Number(state.count) : Number.NaN
    return { name: id.replace("effect_events_sink_", ""), labels, value }
  })
)

/** The value of the one series of a name with these labels, or nothing where there is none. */
export const find = (all: ReadonlyArray<Series>, name: string, labels: Readonly<Record<string, string>>) => {
  const found = all.filter(
    (one) => one.name === name && Object.entries(labels).every(([key, value]) => one.labels[key] === value)
  )
  if (found.length > 1) throw new Error(`${found.length} series of ${name} with ${JSON.stringify(labels)}`)
  return found[0]?.value
}

export const figure = (name: string, sink: string, labels: Readonly<Record<string, string>> = {}) =>
  Effect.map(snapshot, (all) => find(all, name, { sink, ...labels }))

/** The names of the sinks that have series. */
export const sinks: Effect.Effect<ReadonlyArray<string>> = Effect.map(snapshot, (all) =>
  [...new Set(all.map(({ labels }) => `${labels["kind"]} ${labels["sink"]}`))].toSorted()
)

/** Shows the metrics of a graph, until `end` or the end of the test. */
export const show = (root: EventSink.EventSink<never, unknown>, options?: SinkMetrics.Options) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    yield* Scope.provide(Layer.build(SinkMetrics.layer(root, options)), scope)
    const end = Scope.close(scope, Exit.void)
    yield* Effect.addFinalizer(() => end)
    return { end }
  })
