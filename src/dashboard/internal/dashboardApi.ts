/** The API of a dashboard: what its page asks for, and what any other client may. */
import * as Context from "effect/Context"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as HttpApiSchema from "effect/http-api/HttpApiSchema"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"

/** The request was not authorized, came from another site, or asks for content that is hidden. */
export class Refused extends Schema.TaggedError<Refused>()(
  "Refused",
  { message: Schema.String },
  { httpApiStatus: 403 }
) {}

/** As many taps are open as there may be. */
export class TooManyTaps extends Schema.TaggedError<TooManyTaps>()(
  "TooManyTaps",
  { message: Schema.String },
  { httpApiStatus: 429 }
) {}

/** There is no such node, dead letter or job: the graph has changed, or the process was started anew. */
export class NotFound extends Schema.TaggedError<NotFound>()(
  "NotFound",
  { message: Schema.String },
  { httpApiStatus: 404 }
) {}

/** The node cannot be asked to do this. */
export class NotOffered extends Schema.TaggedError<NotOffered>()(
  "NotOffered",
  { message: Schema.String },
  { httpApiStatus: 409 }
) {}

/** The node was asked, and failed: as a rule its store does not answer. */
export class ControlFailed extends Schema.TaggedError<ControlFailed>()(
  "ControlFailed",
  { message: Schema.String },
  { httpApiStatus: 502 }
) {}

/** The name of what sent the request, if `authorize` answered one. */
export class Caller extends Context.Service<Caller, { readonly name: string | undefined }>()(
  "effect-events/dashboard/internal/dashboardApi/Caller"
) {}

export class Access extends HttpApiMiddleware.Service<Access, { provides: Caller }>()(
  "effect-events/dashboard/internal/dashboardApi/Access",
  { error: Refused }
) {}

const Millis = Schema.Number.annotate({ description: "milliseconds since 1970" })
const Age = Schema.NullOr(Schema.Number).annotate({ description: "milliseconds" })

const Control = Schema.Struct({
  state: Schema.Literals(["active", "paused", "disabled"]),
  reason: Schema.NullOr(Schema.String),
  since: Schema.NullOr(Millis)
})

/** What a node is now. */
export const NodeView = Schema.Struct({
  id: Schema.String,
  state: Schema.Literals(["open", "closing", "closed"]),
  pending: Schema.Number,
  rate: Schema.Number.annotate({ description: "events delivered in a second" }),
  age: Age,
  inFlight: Schema.Number,
  breaker: Schema.NullOr(Schema.Literals(["closed", "open", "half-open"])),
  lease: Schema.NullOr(Schema.Literals(["held", "standby", "suspended"])),
  control: Schema.NullOr(Control),
  deadLetters: Schema.NullOr(Schema.Number),
  trouble: Schema.NullOr(Schema.Struct({ level: Schema.Literals(["bad", "warn"]), text: Schema.String })),
  error: Schema.NullOr(Schema.String),
  errorAt: Schema.NullOr(Millis),
  counts: Schema.Struct({
    accepted: Schema.Number,
    delivered: Schema.Number,
    filtered: Schema.Number,
    dropped: Schema.Number,
    undelivered: Schema.Number,
    deadLettered: Schema.Number,
    remaining: Schema.Number
  })
})

export const Offer = Schema.Literals(["pause", "resume", "disable", "enable", "deadLetters", "attempts"])

const TapKind = Schema.Literals(["accepted", "delivered", "dropped", "deadLettered"])

/** The graph: it stays the same while `revision` does. */
export const GraphView = Schema.Struct({
  title: Schema.String,
  revision: Schema.String,
  changes: Schema.Boolean.annotate({ description: "whether anything can be changed here" }),
  content: Schema.Boolean.annotate({ description: "whether payloads are shown" }),
  layers: Schema.Number,
  rows: Schema.Number,
  nodes: Schema.Array(
    Schema.Struct({
      id: Schema.String,
      kind: Schema.String,
      name: Schema.String,
      layer: Schema.Number,
      row: Schema.Number,
      offers: Schema.Array(Offer),
      taps: Schema.Array(TapKind).annotate({
        description: "what a tap of its events shows; no tap where that is nothing"
      })
    })
  ),
  edges: Schema.Array(Schema.Struct({ from: Schema.String, to: Schema.String, acknowledges: Schema.Boolean }))
})

/** A replay or a purge, while it runs and for a while after that. */
export const Job = Schema.Struct({
  id: Schema.String,
  node: Schema.String,
  action: Schema.Literals(["replay", "purge"]),
  state: Schema.Literals(["running", "done", "cancelled", "failed"]),
  done: Schema.Number.annotate({ description: "how many dead letters it has replayed or purged, which stay so" }),
  selected: Schema.NullOr(Schema.Number),
  error: Schema.NullOr(Schema.String)
})

/** One attempt of an endpoint. */
const AttemptView = Schema.Struct({
  at: Millis,
  duration: Schema.Number.annotate({ description: "milliseconds" }),
  events: Schema.Number,
  outcome: Schema.String.annotate({ description: "the status of the answer, or what happened in place of one" }),
  error: Schema.NullOr(Schema.String).annotate({ description: "null where the receiver has accepted" })
})

export const Attempts = Schema.Struct({
  attempts: Schema.Array(AttemptView).annotate({ description: "the newest first" })
})

/** A line of a tap: an event that passes, or that none has lately. */
export const TapView = Schema.Struct({
  what: Schema.Literals(["waiting", ...TapKind.literals]),
  at: Millis,
  reason: Schema.NullOr(Schema.String).annotate({ description: "of a drop, and of a dead letter" }),
  text: Schema.optionalKey(Schema.String).annotate({ description: "the event as text, where content is shown" })
})

/** What has changed after `since`. */
export const Live = Schema.Struct({
  revision: Schema.String,
  at: Millis,
  sequence: Schema.Number,
  nodes: Schema.Array(NodeView),
  jobs: Schema.Array(Job)
})

/** The last 15 minutes, in buckets of `seconds` that end at `at`. */
export const HistoryView = Schema.Struct({
  at: Millis,
  seconds: Schema.Number,
  nodes: Schema.Array(
    Schema.Struct({
      id: Schema.String,
      pending: Schema.Array(Schema.Number).annotate({ description: "the greatest depth of each bucket" }),
      rate: Schema.Array(Schema.Number)
    })
  )
})

export const DeadLetterView = Schema.Struct({
  position: Schema.Number,
  topic: Schema.String,
  reason: Schema.String,
  cause: Schema.String,
  attempts: Schema.Number,
  writtenAt: Millis,
  deadLetteredAt: Millis,
  bytes: Schema.Number,
  contentType: Schema.NullOr(Schema.String),
  text: Schema.optionalKey(Schema.String)
})

export const DeadLetterPage = Schema.Struct({
  matching: Schema.Number.annotate({ description: "how many match the filter in all" }),
  deadLetters: Schema.Array(DeadLetterView)
})

const bounded = (length: number) => Schema.String.check(Schema.isMaxLength(length))

const filter = {
  reason: Schema.optionalKey(bounded(100)),
  cause: Schema.optionalKey(bounded(500)),
  topic: Schema.optionalKey(bounded(500))
}
const id = { id: bounded(100) }
const errors = [NotFound, NotOffered, ControlFailed] as const

/** A number of a query. */
const Digits = Schema.NumberFromString.check(Schema.isInt())

const Seconds = Digits.check(Schema.isBetween({ minimum: 1, maximum: 900 }))

export const Reading = HttpApiGroup.make("reading")
  .add(
    HttpApiEndpoint.get("graph", "/api/graph", { success: GraphView }),
    HttpApiEndpoint.get("live", "/api/live", {
      query: { revision: Schema.optionalKey(bounded(100)), since: Schema.optionalKey(Digits) },
      success: Live
    }),
    HttpApiEndpoint.get("history", "/api/history", {
      query: { seconds: Schema.optionalKey(Seconds), id: Schema.optionalKey(bounded(100)) },
      success: HistoryView,
      error: NotFound
    }),
    HttpApiEndpoint.get("deadLetters", "/api/nodes/:id/dead-letters", {
      params: id,
      query: {
        ...filter,
        afterPosition: Schema.optionalKey(Digits),
        afterTime: Schema.optionalKey(Digits),
        limit: Schema.optionalKey(Digits.check(Schema.isBetween({ minimum: 1, maximum: 500 })))
      },
      success: DeadLetterPage,
      error: errors
    }),
    HttpApiEndpoint.get("deadLetter", "/api/nodes/:id/dead-letters/:position", {
      params: { ...id, position: Digits },
      success: DeadLetterView,
      error: [...errors, Refused]
    }),
    HttpApiEndpoint.get("attempts", "/api/nodes/:id/attempts", { params: id, success: Attempts, error: errors }),
    HttpApiEndpoint.get("tap", "/api/nodes/:id/tap", {
      params: id,
      query: { events: Schema.optionalKey(Digits.check(Schema.isBetween({ minimum: 1, maximum: 500 }))) },
      success: HttpApiSchema.StreamNdjson({ schema: TapView }).annotate({
        description: "the next events of a node, one on a line, from the first line on; it ends by itself"
      }),
      error: [NotFound, NotOffered, TooManyTaps]
    })
  )
  .middleware(Access)

/** One or more dead letters by their positions, or all that match a filter. */
export const Selection = Schema.Struct({
  positions: Schema.optionalKey(Schema.Array(Schema.Int).check(Schema.isMaxLength(1000))),
  filter: Schema.optionalKey(Schema.Struct(filter))
})

const Done = Schema.Struct({ done: Schema.Literal(true) })

export const Changing = HttpApiGroup.make("changing")
  .add(
    HttpApiEndpoint.post("pause", "/api/nodes/:id/pause", {
      params: id,
      payload: Schema.Struct({ reason: Schema.optionalKey(bounded(500)) }),
      success: Done,
      error: errors
    }),
    HttpApiEndpoint.post("resume", "/api/nodes/:id/resume", { params: id, success: Done, error: errors }),
    HttpApiEndpoint.post("disable", "/api/nodes/:id/disable", { params: id, success: Done, error: errors }),
    HttpApiEndpoint.post("enable", "/api/nodes/:id/enable", { params: id, success: Done, error: errors }),
    HttpApiEndpoint.post("replay", "/api/nodes/:id/dead-letters/replay", {
      params: id,
      payload: Selection,
      success: Job,
      error: errors
    }),
    HttpApiEndpoint.post("purge", "/api/nodes/:id/dead-letters/purge", {
      params: id,
      payload: Selection,
      success: Job,
      error: errors
    }),
    HttpApiEndpoint.post("cancel", "/api/jobs/:id/cancel", { params: id, success: Job, error: NotFound })
  )
  .middleware(Access)

export const readOnlyApi = HttpApi.make("SinkDashboard")
  .add(Reading)
  .annotateMerge(OpenApi.annotations({ title: "Sinks of a process, to read" }))

export const dashboardApi = HttpApi.make("SinkDashboard")
  .add(Reading)
  .add(Changing)
  .annotateMerge(OpenApi.annotations({ title: "Sinks of a process" }))
  // A field that there is not would be taken for one that is left out, and all dead letters be purged for some.
  .annotate(HttpApi.PayloadParseOptions, { onExcessProperty: "error" })
