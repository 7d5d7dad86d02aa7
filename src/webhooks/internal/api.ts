/** The API of a customer's portal: the endpoints of one tenant, which is that of the request. No path or body names a tenant. */
import * as Context from "effect/Context"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import { EndpointNotFound, EndpointUnreadable, InvalidEndpoint } from "./model.ts"

/**
 * The request was not authorized.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends Schema.TaggedError<Refused>()(
  "Refused",
  { message: Schema.String },
  { httpApiStatus: 403 }
) {}

/**
 * There is no such event, dead letter or test event for this tenant.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotFound extends Schema.TaggedError<NotFound>()(
  "NotFound",
  { message: Schema.String },
  { httpApiStatus: 404 }
) {}

/**
 * The store does not answer. The request may be repeated.
 *
 * @category errors
 * @since 0.1.0
 */
export class Unavailable extends Schema.TaggedError<Unavailable>()(
  "Unavailable",
  { message: Schema.String },
  { httpApiStatus: 503 }
) {}

/** The tenant that a request is of. */
export class Tenant extends Context.Service<Tenant, { readonly tenant: string }>()(
  "effect-events/webhooks/internal/api/Tenant"
) {}

export class Access extends HttpApiMiddleware.Service<Access, { provides: Tenant }>()(
  "effect-events/webhooks/internal/api/Access",
  { error: Refused }
) {}

const Millis = Schema.Number.annotate({ description: "milliseconds since 1970" })
const bounded = (length: number) => Schema.String.check(Schema.isMaxLength(length))
const RateView = Schema.Struct({ limit: Schema.Int, seconds: Schema.Number }).annotate({
  description: "the most requests in so many seconds, spread evenly"
})

const endpointFields = {
  id: Schema.String,
  url: Schema.String,
  topics: Schema.Array(Schema.String),
  description: Schema.NullOr(Schema.String),
  headers: Schema.Record(Schema.String, Schema.String),
  secretHeaders: Schema.Array(Schema.String).annotate({
    description: "the names of headers whose values are not shown"
  }),
  secrets: Schema.Array(Schema.Struct({ since: Millis, until: Schema.NullOr(Millis) })).annotate({
    description: "since when each secret signs, the current one first, and until when one that was rotated out does"
  }),
  envelope: Schema.NullOr(Schema.String),
  plan: Schema.NullOr(Schema.String),
  rate: Schema.NullOr(RateView),
  ordered: Schema.Boolean,
  concurrency: Schema.NullOr(Schema.Int),
  timeoutSeconds: Schema.NullOr(Schema.Number),
  createdAt: Millis,
  state: Schema.Literals(["active", "paused", "disabled"]),
  reason: Schema.NullOr(Schema.String),
  since: Millis.annotate({ description: "since when it is in its state" })
}

/** An endpoint, without its secrets. */
export const EndpointView = Schema.Struct(endpointFields).annotate({ identifier: "Endpoint" })

/** An endpoint with what is stored for it. */
export const EndpointDetailsView = Schema.Struct({
  ...endpointFields,
  pending: Schema.Int,
  deadLetters: Schema.Int,
  oldest: Schema.NullOr(Millis),
  failingSince: Schema.NullOr(Millis),
  nextAttempt: Schema.NullOr(Millis),
  lastError: Schema.NullOr(Schema.String)
}).annotate({ identifier: "EndpointDetails" })

const WithSecret = Schema.Struct({
  endpoint: EndpointView,
  secret: Schema.String.annotate({ description: "shown here only" })
}).annotate({ identifier: "EndpointWithSecret" })

const headers = Schema.Record(Schema.String, Schema.String)
const topics = Schema.NonEmptyArray(Schema.String)

/** What a customer makes an endpoint with. */
export const NewEndpointBody = Schema.Struct({
  url: Schema.String,
  topics: Schema.optionalKey(topics),
  description: Schema.optionalKey(Schema.String),
  headers: Schema.optionalKey(headers),
  secretHeaders: Schema.optionalKey(headers).annotate({
    description: "their values are encrypted, and not shown again"
  }),
  secret: Schema.optionalKey(Schema.String).annotate({
    description: "its first secret, whsec_ and base64: a new one by default"
  }),
  envelope: Schema.optionalKey(Schema.String),
  plan: Schema.optionalKey(Schema.String),
  rate: Schema.optionalKey(RateView),
  ordered: Schema.optionalKey(Schema.Boolean),
  concurrency: Schema.optionalKey(Schema.Int),
  timeoutSeconds: Schema.optionalKey(Schema.Number)
}).annotate({ identifier: "NewEndpoint" })

/** What a customer changes: what is left out stays, and `null` takes it away. */
export const ChangeBody = Schema.Struct({
  url: Schema.optionalKey(Schema.String),
  topics: Schema.optionalKey(topics),
  description: Schema.optionalKey(Schema.NullOr(Schema.String)),
  headers: Schema.optionalKey(headers).annotate({
    description: "all of them: with secretHeaders they take the place of those before"
  }),
  secretHeaders: Schema.optionalKey(headers),
  envelope: Schema.optionalKey(Schema.NullOr(Schema.String)),
  plan: Schema.optionalKey(Schema.NullOr(Schema.String)),
  rate: Schema.optionalKey(Schema.NullOr(RateView)),
  ordered: Schema.optionalKey(Schema.Boolean),
  concurrency: Schema.optionalKey(Schema.NullOr(Schema.Int)),
  timeoutSeconds: Schema.optionalKey(Schema.NullOr(Schema.Number))
}).annotate({ identifier: "EndpointChange" })

const outcome = {
  at: Millis,
  took: Schema.Number.annotate({ description: "milliseconds" }),
  status: Schema.NullOr(Schema.Int),
  answer: Schema.NullOr(Schema.String),
  error: Schema.NullOr(Schema.String)
}

/** An attempt to deliver. */
export const AttemptView = Schema.Struct({ position: Schema.Number, topic: Schema.String, ...outcome }).annotate({
  identifier: "Attempt"
})

/** What came of a test event. */
export const TestView = Schema.Struct({ id: Schema.String, ...outcome }).annotate({ identifier: "TestResult" })

/** An event that could not be delivered. Its content is what its endpoint was to get. */
export const DeadLetterView = Schema.Struct({
  position: Schema.Number,
  id: Schema.NullOr(Schema.String),
  topic: Schema.String,
  reason: Schema.String,
  cause: Schema.String,
  attempts: Schema.Int,
  writtenAt: Millis,
  deadLetteredAt: Millis
}).annotate({ identifier: "DeadLetter" })

/** What has become of an event for each endpoint. */
export const EventView = Schema.Struct({
  id: Schema.String,
  topic: Schema.String,
  writtenAt: Millis,
  deliveries: Schema.Array(
    Schema.Struct({
      endpoint: Schema.String,
      state: Schema.Literals(["Pending", "Delivered", "Dropped", "Purged", "DeadLettered", "Unmatched", "Unknown"]),
      failed: Schema.NullOr(Schema.Int),
      at: Schema.NullOr(Millis).annotate({
        description: "when that became of it; for one that is pending, its next attempt"
      })
    })
  )
}).annotate({ identifier: "EventStatus" })

/** A number of a query. */
const Digits = Schema.NumberFromString.check(Schema.isInt())
const limit = Schema.optionalKey(Digits.check(Schema.isBetween({ minimum: 1, maximum: 200 })))
const params = { id: bounded(100) }
const paused = Schema.Struct({ reason: Schema.optionalKey(bounded(500)) })
const Done = Schema.Struct({ done: Schema.Literal(true) })
const Count = Schema.Struct({ events: Schema.Int })

const found = [EndpointNotFound, Unavailable] as const
const read = [...found, EndpointUnreadable] as const
const changed = [...read, InvalidEndpoint] as const

export const Endpoints = HttpApiGroup.make("endpoints")
  .add(
    HttpApiEndpoint.get("list", "/endpoints", {
      query: { after: Schema.optionalKey(bounded(100)), limit },
      success: Schema.Struct({
        endpoints: Schema.Array(EndpointView),
        unreadable: Schema.Array(Schema.Struct({ id: Schema.String, problem: Schema.String })),
        next: Schema.NullOr(Schema.String).annotate({ description: "the `after` of the next page" })
      }),
      error: Unavailable
    }),
    HttpApiEndpoint.post("create", "/endpoints", {
      payload: NewEndpointBody,
      success: WithSecret,
      error: [InvalidEndpoint, Unavailable]
    }),
    HttpApiEndpoint.get("get", "/endpoints/:id", { params, success: EndpointDetailsView, error: read }),
    HttpApiEndpoint.patch("update", "/endpoints/:id", {
      params,
      payload: ChangeBody,
      success: EndpointView,
      error: changed
    }),
    HttpApiEndpoint.delete("remove", "/endpoints/:id", {
      params,
      success: Count.annotate({ description: "how many events were waiting" }),
      error: found
    }),
    HttpApiEndpoint.post("rotateSecret", "/endpoints/:id/rotate-secret", {
      params,
      payload: Schema.Struct({
        keepSeconds: Schema.optionalKey(Schema.Number.check(Schema.isBetween({ minimum: 0, maximum: 30 * 24 * 3600 }))),
        secret: Schema.optionalKey(Schema.String)
      }),
      success: WithSecret,
      error: changed
    }),
    HttpApiEndpoint.post("pause", "/endpoints/:id/pause", { params, payload: paused, success: Done, error: found }),
    HttpApiEndpoint.post("resume", "/endpoints/:id/resume", { params, success: Done, error: found }),
    HttpApiEndpoint.post("enable", "/endpoints/:id/enable", { params, success: Done, error: found }),
    HttpApiEndpoint.post("test", "/endpoints/:id/test", { params, success: TestView, error: [...read, NotFound] })
  )
  .middleware(Access)

export const Deliveries = HttpApiGroup.make("deliveries")
  .add(
    HttpApiEndpoint.get("attempts", "/endpoints/:id/attempts", {
      params,
      query: {
        beforeAt: Schema.optionalKey(Digits),
        beforePosition: Schema.optionalKey(Digits),
        failed: Schema.optionalKey(Schema.Literals(["true", "false"])),
        limit
      },
      success: Schema.Struct({ attempts: Schema.Array(AttemptView) }),
      error: found
    }),
    HttpApiEndpoint.get("deadLetters", "/endpoints/:id/dead-letters", {
      params,
      query: { afterAt: Schema.optionalKey(Digits), afterPosition: Schema.optionalKey(Digits), limit },
      success: Schema.Struct({ count: Schema.Int, deadLetters: Schema.Array(DeadLetterView) }),
      error: read
    }),
    HttpApiEndpoint.post("resend", "/endpoints/:id/resend", {
      params,
      payload: Schema.Struct({
        events: Schema.Array(Schema.Union([bounded(500), Schema.Number])).check(Schema.isMaxLength(500))
      }).annotate({ description: "events by their ids, or by the positions of attempts and dead letters" }),
      success: Count.annotate({ description: "how many were found" }),
      error: found
    }),
    HttpApiEndpoint.post("replayFailed", "/endpoints/:id/replay-failed", {
      params,
      payload: Schema.Struct({
        since: Schema.optionalKey(Millis),
        topic: Schema.optionalKey(bounded(500)),
        reason: Schema.optionalKey(
          Schema.Literals(["Failed", "Died", "Undecodable", "Exhausted", "Expired", "Disabled"])
        )
      }),
      success: Count,
      error: found
    }),
    HttpApiEndpoint.get("event", "/events/:id", {
      params: { id: bounded(500) },
      success: EventView,
      error: [NotFound, Unavailable]
    })
  )
  .middleware(Access)

export const webhookApi = HttpApi.make("Webhooks")
  .add(Endpoints)
  .add(Deliveries)
  .annotateMerge(OpenApi.annotations({ title: "Webhooks of a customer" }))
