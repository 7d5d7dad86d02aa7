/** The metrics of a node: names, units and meanings. A series of each is registered for a node that keeps the figure. */
import * as Metric from "effect/Metric"

const counter = (name: string, description: string) =>
  Metric.counter(`effect_events_sink_${name}_total`, { description, incremental: true })

const gauge = (name: string, description: string, attributes?: Metric.Metric.AttributeSet) =>
  Metric.gauge(`effect_events_sink_${name}`, { description, attributes })

/** For exporters that have a unit beside the name: no label of Prometheus. */
const seconds = { unit: "seconds" }

/**
 * Events that the sink accepted since it was made. For a durable part: those that this process has seen stored.
 *
 * @category metrics
 * @since 0.1.0
 */
export const accepted = counter("accepted", "Events accepted by the sink")

/**
 * Events whose downstream writes succeeded.
 *
 * @category metrics
 * @since 0.1.0
 */
export const delivered = counter("delivered", "Events that the sink delivered downstream")

/**
 * Events that a filter held back, and duplicates that a durable part did not store again.
 *
 * @category metrics
 * @since 0.1.0
 */
export const filtered = counter("filtered", "Events that the sink accepted and did not pass on by its filter")

/**
 * Dropped events, by the tag of their `DropReason`, which is the attribute `reason`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const dropped = counter("dropped", "Events that the sink dropped by reason")

/**
 * Events of a durable part that this process moved to the dead letters.
 *
 * @category metrics
 * @since 0.1.0
 */
export const deadLettered = counter("dead_lettered", "Events that this process moved to the dead letters")

/**
 * Attempts at writes downstream, or requests of an `HttpSink`, the first of each write included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const attempts = counter("attempts", "Attempts at writes downstream including the first of each write")

/**
 * Events that are accepted and not yet settled, those in flight included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const pending = gauge("pending", "Events accepted by the sink and not yet settled")

/**
 * How long the oldest pending event has waited, in seconds: 0 when none waits.
 *
 * @category metrics
 * @since 0.1.0
 */
export const oldestAge = gauge("oldest_pending_age_seconds", "How long the oldest pending event has waited", seconds)

/**
 * Writes, or events of a batch, that are with the downstream now.
 *
 * @category metrics
 * @since 0.1.0
 */
export const inFlight = gauge("in_flight", "Writes or events of a batch that are with the downstream now")

/**
 * Dead letters that the store has now, of all processes, as far as this process has seen.
 *
 * @category metrics
 * @since 0.1.0
 */
export const deadLetters = gauge("dead_letters", "Dead letters that the store has now")

/**
 * The state of a breaker: 0 closed, 1 half-open, 2 open.
 *
 * @category metrics
 * @since 0.1.0
 */
export const breakerState = gauge("breaker_state", "State of the breaker: 0 is closed and 1 half-open and 2 open")

/**
 * 1 while this process has the lease of the subscription, else 0.
 *
 * @category metrics
 * @since 0.1.0
 */
export const leaseHeld = gauge("lease_held", "Whether this process has the lease of the subscription")

/**
 * The state of a subscription in the store: 0 active, 1 paused, 2 disabled.
 *
 * @category metrics
 * @since 0.1.0
 */
export const deliveryState = gauge(
  "delivery_state",
  "State of the subscription in the store: 0 is active and 1 paused and 2 disabled"
)

/** Those that the conventions advise, in seconds. */
const boundaries = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

/**
 * How long writes downstream took, or batches of them, in seconds: `messaging.process.duration` of OpenTelemetry. With a
 * retrier below, all attempts and the waits between them are one write.
 *
 * @category metrics
 * @since 0.1.0
 */
export const processDuration = Metric.histogram("messaging_process_duration_seconds", {
  description: "How long writes downstream took or batches of them",
  attributes: seconds,
  boundaries
})

/** A histogram of its own, in place of an update of the registry's, which has a look-up at each and outlives the sink. */
export const makeDurations = () => {
  const counts = boundaries.map(() => 0)
  let [count, sum, min, max] = [0, 0, Number.MAX_VALUE, -Number.MAX_VALUE]
  return {
    record: (value: number) => {
      const bucket = boundaries.findIndex((boundary) => value <= boundary)
      if (bucket >= 0) counts[bucket]!++
      count++
      sum += value
      min = Math.min(min, value)
      max = Math.max(max, value)
    },
    state: (): Metric.HistogramState => {
      let cumulated = 0
      const buckets = boundaries.map((boundary, i): [number, number] => [boundary, (cumulated += counts[i]!)])
      return { buckets, count, sum, min, max }
    }
  }
}
