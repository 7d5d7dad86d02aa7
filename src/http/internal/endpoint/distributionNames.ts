/** The metrics of distribution's endpoints, by its names and labels. */
import * as Metric from "effect/Metric"

/** A counter, and its labels beside that of the endpoint. */
type Counter = readonly [metric: Metric.Counter<number>, labels: Metric.Metric.AttributeSet]

export interface EndpointNames {
  readonly accepted: Counter
  readonly delivered: Counter
  readonly failures: Counter
  readonly errors: Counter
  readonly pending: Metric.Gauge<number>
  readonly responses: (status: number) => Counter
}

const events = Metric.counter("registry_notifications_events_total", {
  description: "The number of total events",
  incremental: true
})
const pending = Metric.gauge("registry_notifications_pending_total", {
  description: "The gauge of pending events in queue"
})
const statuses = Metric.counter("registry_notifications_status_total", {
  description: "The number of status code",
  incremental: true
})

/** The reason phrases of RFC 9110, and of the statuses that others have registered. */
const phrases: Readonly<Record<number, string>> = {
  200: "OK",
  201: "Created",
  202: "Accepted",
  203: "Non-Authoritative Information",
  204: "No Content",
  205: "Reset Content",
  206: "Partial Content",
  300: "Multiple Choices",
  301: "Moved Permanently",
  302: "Found",
  303: "See Other",
  304: "Not Modified",
  307: "Temporary Redirect",
  308: "Permanent Redirect",
  400: "Bad Request",
  401: "Unauthorized",
  402: "Payment Required",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  406: "Not Acceptable",
  407: "Proxy Authentication Required",
  408: "Request Timeout",
  409: "Conflict",
  410: "Gone",
  411: "Length Required",
  412: "Precondition Failed",
  413: "Request Entity Too Large",
  414: "Request URI Too Long",
  415: "Unsupported Media Type",
  417: "Expectation Failed",
  421: "Misdirected Request",
  422: "Unprocessable Entity",
  423: "Locked",
  424: "Failed Dependency",
  425: "Too Early",
  426: "Upgrade Required",
  428: "Precondition Required",
  429: "Too Many Requests",
  431: "Request Header Fields Too Large",
  451: "Unavailable For Legal Reasons",
  500: "Internal Server Error",
  501: "Not Implemented",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
  508: "Loop Detected",
  511: "Network Authentication Required"
}

export const distributionNames: EndpointNames = {
  accepted: [events, { type: "Events" }],
  delivered: [events, { type: "Successes" }],
  failures: [events, { type: "Failures" }],
  errors: [events, { type: "Errors" }],
  pending,
  // A status without a phrase ends in the space, as it does there.
  responses: (status) => [statuses, { code: `${status} ${phrases[status] ?? ""}` }]
}
