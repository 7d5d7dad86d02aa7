/**
 * The metrics of endpoints by their receivers: accepted, pending, delivered, failures, errors, and responses by status. They need
 * no layer; `SinkMetrics` is for every node of a graph. This module only defines the handles; each endpoint registers a series
 * of each under its name, as the attribute `endpoint`, which is read when metrics are snapshotted and removed when the endpoint
 * has closed. `layerDistribution` gives them distribution's names.
 *
 * @since 0.1.0
 */
import * as Context from "effect/Context"
import * as Layer from "effect/Layer"
import * as Metric from "effect/Metric"

/**
 * Events that were accepted, without the events that the endpoint ignores.
 *
 * @category metrics
 * @since 0.1.0
 */
export const accepted = Metric.counter("effect_events_endpoint_accepted_total", {
  description: "Events accepted by the endpoint",
  incremental: true
})

/**
 * Events that are accepted and neither delivered nor dropped, those in flight included.
 *
 * @category metrics
 * @since 0.1.0
 */
export const pending = Metric.gauge("effect_events_endpoint_pending", {
  description: "Events accepted by the endpoint and not yet delivered or dropped"
})

/**
 * Events in requests that the receiver accepted.
 *
 * @category metrics
 * @since 0.1.0
 */
export const delivered = Metric.counter("effect_events_endpoint_delivered_total", {
  description: "Events that the receiver accepted",
  incremental: true
})

/**
 * Events in requests that the receiver answered otherwise. An event that is tried again counts each time.
 *
 * @category metrics
 * @since 0.1.0
 */
export const failures = Metric.counter("effect_events_endpoint_failures_total", {
  description: "Events in requests that the receiver did not accept",
  incremental: true
})

/**
 * Events in requests that got no answer, and events that could not be made into one.
 *
 * @category metrics
 * @since 0.1.0
 */
export const errors = Metric.counter("effect_events_endpoint_errors_total", {
  description: "Events in requests that got no answer, or could not be sent",
  incremental: true
})

/**
 * Answers by status, which is the attribute `code`.
 *
 * @category metrics
 * @since 0.1.0
 */
export const responses = Metric.counter("effect_events_endpoint_responses_total", {
  description: "Answers of the receiver by status",
  incremental: true
})

/**
 * 1 while the endpoint is disabled, else 0.
 *
 * @category metrics
 * @since 0.1.0
 */
export const disabled = Metric.gauge("effect_events_endpoint_disabled", {
  description: "Whether the endpoint is disabled"
})

/**
 * The names of the metrics of the endpoints that are made under it: those of this module, or distribution's.
 *
 * @category naming
 * @since 0.1.0
 */
export const Naming = Context.Reference<"effect-events" | "distribution">("effect-events/http/EndpointMetrics/Naming", {
  defaultValue: () => "effect-events"
})

/**
 * Endpoints that are made under this layer have the names of a Docker registry's notifications, for its dashboards and alerts:
 * `registry_notifications_events_total` by `type` (`Events`, `Successes`, `Failures`, `Errors`),
 * `registry_notifications_pending_total`, and `registry_notifications_status_total` by `code`, such as `200 OK`.
 *
 * **Gotchas**
 *
 * `promtool check metrics` finds fault with `registry_notifications_pending_total`, as with a registry's own: it is a gauge.
 * Whether an endpoint is disabled has no name of a registry's, and keeps its own.
 *
 * **Example** (A relay in place of a registry's own notifications)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Endpoint, EndpointMetrics, Envelope } from "effect-events/http"
 *
 * const audit = Endpoint.make({
 *   ...Endpoint.distribution,
 *   name: "audit",
 *   url: "http://127.0.0.1:1/events",
 *   envelope: Envelope.registry,
 *   onDisabled: () => Effect.void
 * }).pipe(Effect.provide(EndpointMetrics.layerDistribution))
 * ```
 *
 * @category naming
 * @since 0.1.0
 */
export const layerDistribution: Layer.Layer<never> = Layer.succeed(Naming, "distribution")
