import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import { pendingOf, type SinkNode } from "../../../internal/node.ts"
import * as EndpointMetrics from "../../EndpointMetrics.ts"
import type { Attempt } from "../../HttpSink.ts"
import { distributionNames, type EndpointNames } from "./distributionNames.ts"

/** Counts the requests of an endpoint, and registers its series until the scope closes. */
export const makeEndpointCounts = Effect.fnUntraced(function* (endpoint: string, isDisabled: () => boolean) {
  const context = yield* Effect.context<never>()
  const names = Context.get(context, EndpointMetrics.Naming) === "distribution" ? distributionNames : ownNames
  const registered: Array<Metric.Registration> = []
  const responses = new Map<number, number>()
  let [delivered, failures, errors] = [0, 0, 0]
  let isClosed = false

  const register = <State>(
    metric: Metric.Metric<number, State>,
    get: () => State,
    attributes?: Metric.Metric.AttributeSet
  ) => {
    const series = Metric.withAttributes(metric, { endpoint, ...attributes })
    // A series is never updated: a snapshot reads the counts.
    registered.push(Metric.registerUnsafe(series, context, { get, update: () => {}, modify: () => {} }))
  }
  const counter = (metric: Metric.Counter<number>, attributes: Metric.Metric.AttributeSet, read: () => number) =>
    register(metric, () => ({ count: read(), incremental: true }), attributes)
  const gauge = (metric: Metric.Gauge<number>, read: () => number) => register(metric, () => ({ value: read() }))

  counter(...names.delivered, () => delivered)
  counter(...names.failures, () => failures)
  counter(...names.errors, () => errors)
  gauge(EndpointMetrics.disabled, () => (isDisabled() ? 1 : 0))
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      isClosed = true
      for (const { remove } of registered) remove()
    })
  )
  return {
    attempt: ({ error, events, status }: Attempt) => {
      if (error === undefined) delivered += events
      else if (status !== undefined) failures += events
      else if (error.reason._tag !== "Encode" && error.reason._tag !== "TooLarge") errors += events
      if (status === undefined) return
      const isNew = !responses.has(status)
      responses.set(status, (responses.get(status) ?? 0) + 1)
      if (!isNew || isClosed) return
      counter(...names.responses(status), () => responses.get(status) ?? 0)
    },
    /** Counts an event that no request could be made of: once, in however many batches it was tried. */
    unsendable: () => void errors++,
    /** Reads the counts of the endpoint's queue at each snapshot. */
    watch: (queue: SinkNode) => {
      counter(...names.accepted, () => queue.figures.account().accepted)
      gauge(names.pending, () => pendingOf(queue.figures.account()))
    }
  }
})

// internals

const ownNames: EndpointNames = {
  accepted: [EndpointMetrics.accepted, {}],
  delivered: [EndpointMetrics.delivered, {}],
  failures: [EndpointMetrics.failures, {}],
  errors: [EndpointMetrics.errors, {}],
  pending: EndpointMetrics.pending,
  responses: (status) => [EndpointMetrics.responses, { code: String(status) }]
}
