import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Metric from "effect/Metric"
import type * as Scope from "effect/Scope"
import * as EndpointMetrics from "../../EndpointMetrics.ts"
import type { Attempt } from "../../HttpSink.ts"
import type { SinkNode } from "../../../internal/node.ts"

/** What an endpoint counts beside what its queue does. */
export class Counts {
  private successes = 0
  private failures = 0
  private errors = 0
  private readonly statuses = new Map<number, number>()
  private readonly endpoint: string
  private readonly context: Context.Context<never>
  private readonly registered: Array<Metric.Registration> = []
  private closed = false

  private constructor(endpoint: string, context: Context.Context<never>) {
    this.endpoint = endpoint
    this.context = context
  }

  /** Registers the series of an endpoint, and reads whether it is disabled, until the scope closes. */
  static make(endpoint: string, isDisabled: () => boolean): Effect.Effect<Counts, never, Scope.Scope> {
    return Effect.contextWith((context: Context.Context<never>) => {
      const counts = new Counts(endpoint, context)
      counts.counter(EndpointMetrics.delivered, () => counts.successes)
      counts.counter(EndpointMetrics.failures, () => counts.failures)
      counts.counter(EndpointMetrics.errors, () => counts.errors)
      counts.gauge(EndpointMetrics.disabled, () => (isDisabled() ? 1 : 0))
      return Effect.as(
        Effect.addFinalizer(() => Effect.sync(() => counts.close())),
        counts
      )
    })
  }

  /** Reads the queue's counts at each snapshot. */
  watch(queue: SinkNode): void {
    this.counter(EndpointMetrics.accepted, () => queue.health(0).counts.accepted)
    this.gauge(EndpointMetrics.pending, () => queue.health(0).pending)
  }

  /** Counts an event that no request could be made of: once, however many groups it was tried with. */
  readonly unsendable = (): void => void this.errors++

  readonly attempt = ({ error, events, status }: Attempt): void => {
    if (error === undefined) this.successes += events
    else if (status !== undefined) this.failures += events
    else if (error.reason._tag !== "Encode" && error.reason._tag !== "TooLarge") this.errors += events
    if (status === undefined) return
    const answers = this.statuses.get(status)
    this.statuses.set(status, (answers ?? 0) + 1)
    if (answers !== undefined || this.closed) return
    this.counter(EndpointMetrics.responses, () => this.statuses.get(status)!, { code: String(status) })
  }

  private counter(
    metric: Metric.Counter<number>,
    read: () => number,
    attributes: Readonly<Record<string, string>> = {}
  ) {
    this.register(metric, () => ({ count: read(), incremental: true }), attributes)
  }

  private gauge(metric: Metric.Gauge<number>, read: () => number) {
    this.register(metric, () => ({ value: read() }), {})
  }

  private register<State>(
    metric: Metric.Metric<number, State>,
    get: () => State,
    attributes: Readonly<Record<string, string>>
  ): void {
    const series = Metric.withAttributes(metric, { endpoint: this.endpoint, ...attributes })
    // Nobody updates it: it is read from the endpoint.
    this.registered.push(Metric.registerUnsafe(series, this.context, { get, update: () => {}, modify: () => {} }))
  }

  private close(): void {
    this.closed = true
    for (const { remove } of this.registered) remove()
  }
}
