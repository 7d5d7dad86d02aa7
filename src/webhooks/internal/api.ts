/** The API of a customer's portal: the endpoints of one tenant, which is that of the request. No path or body names a tenant. */
import * as Context from "effect/Context"
import * as HttpApi from "effect/http-api/HttpApi"
import * as HttpApiEndpoint from "effect/http-api/HttpApiEndpoint"
import * as HttpApiGroup from "effect/http-api/HttpApiGroup"
import * as HttpApiMiddleware from "effect/http-api/HttpApiMiddleware"
import * as OpenApi from "effect/http-api/OpenApi"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import { EndpointNotFound, EndpointUnreadable, InvalidEndpoint } from "./model.ts"
import {
  AttemptView,
  bounded,
  ChangeBody,
  DeadLetterView,
  EndpointDetailsView,
  EndpointView,
  EventView,
  KeepFor,
  Millis,
  NewEndpointBody,
  sought,
  TestView,
  WithSecretView
} from "./views.ts"

/**
 * The request does not decode: where it is wrong, and how. It quotes no value of the request.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidRequest extends Schema.TaggedError<InvalidRequest>()(
  "InvalidRequest",
  {
    problems: Schema.Array(
      Schema.Struct({
        in: Schema.Literals(["path", "query", "headers", "body"]),
        /** A path into the body, such as `rate.limit`, or the name of a parameter: empty where all of it is wrong. */
        field: Schema.String,
        problem: Schema.String
      })
    )
  },
  { httpApiStatus: 400, description: "The request does not decode: where it is wrong, and how." }
) {
  override get message(): string {
    return this.problems.map(({ field, in: place, problem }) => `${place} ${field}: ${problem}`).join("; ")
  }
}

/**
 * The request was not authorized.
 *
 * @category errors
 * @since 0.1.0
 */
export class Refused extends Schema.TaggedError<Refused>()(
  "Refused",
  { message: Schema.String },
  { httpApiStatus: 403, description: "The request is not authorized." }
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
  { httpApiStatus: 404, description: "There is no such event or test event for this tenant." }
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
  { httpApiStatus: 503, description: "The store does not answer: the request may be repeated." }
) {}

/** The tenant that a request is of. */
export class Tenant extends Context.Service<Tenant, { readonly tenant: string }>()(
  "effect-events/webhooks/internal/api/Tenant"
) {}

/** Authorizes every request, and says what is wrong with one that does not decode. */
export class Access extends HttpApiMiddleware.Service<Access, { provides: Tenant }>()(
  "effect-events/webhooks/internal/api/Access",
  { error: [Refused, InvalidRequest] }
) {}

/** A number of a query: the description of the API is of its text. */
const digits = (description: string) =>
  Schema.String.annotate({ description }).pipe(
    Schema.decodeTo(Schema.Number, SchemaTransformation.numberFromString),
    Schema.check(Schema.isInt())
  )
/** The same of a yes or no. */
const flag = (description: string) =>
  Schema.Literals(["true", "false"])
    .annotate({ description })
    .pipe(
      Schema.decodeTo(
        Schema.Boolean,
        SchemaTransformation.transform({
          decode: (text) => text === "true",
          encode: (is) => (is ? "true" : "false")
        })
      )
    )
const limit = Schema.optionalKey(
  digits("how many are in the page: 50 by default, 200 at most").check(Schema.isBetween({ minimum: 1, maximum: 200 }))
)
const params = { id: sought(100).annotate({ description: "the id of the endpoint" }) }
const reasoned = Schema.Struct({
  reason: Schema.optionalKey(bounded(500)).annotate({ description: "shown with the state" })
})
const Done = Schema.Struct({ done: Schema.Literal(true) })
const Count = Schema.Struct({ events: Schema.Int })

const found = [EndpointNotFound, Unavailable] as const
const read = [...found, EndpointUnreadable] as const
const changed = [...read, InvalidEndpoint] as const

/** The body of a request that may leave it out. */
const optionalBody = <S extends Schema.Top>(schema: S) => [schema, Schema.Undefined] as const

/** Describes a body that may be left out. Its schema has `null` in its place, which no request needs to send. */
const withOptionalBody = (operation: Record<string, unknown>): Record<string, unknown> => {
  const found = Schema.decodeUnknownOption(OptionalBody)(operation)
  if (found._tag === "None") return operation
  const { schema } = found.value.requestBody.content["application/json"]
  const [given] = schema.anyOf
  return { ...operation, requestBody: { required: false, content: { "application/json": { schema: given } } } }
}

const OptionalBody = Schema.Struct({
  requestBody: Schema.Struct({
    content: Schema.Struct({
      "application/json": Schema.Struct({ schema: Schema.Struct({ anyOf: Schema.NonEmptyArray(Schema.Unknown) }) })
    })
  })
})

/** What the description of the API says of an operation. */
const says = (summary: string, description: string) => OpenApi.annotations({ summary, description })

/** The same of one whose body may be left out. */
const saysOptional = (summary: string, description: string) =>
  OpenApi.annotations({ summary, description, transform: withOptionalBody })

export const Endpoints = HttpApiGroup.make("endpoints")
  .add(
    HttpApiEndpoint.get("list", "/endpoints", {
      query: {
        after: Schema.optionalKey(sought(100)).annotate({ description: "the `next` of the page before" }),
        limit
      },
      success: Schema.Struct({
        endpoints: Schema.Array(EndpointView),
        unreadable: Schema.Array(
          Schema.Struct({ id: Schema.String, reason: EndpointUnreadable.fields.reason, detail: Schema.String })
        ).annotate({ description: "those of the page whose rows cannot be read" }),
        next: Schema.NullOr(Schema.String).annotate({ description: "the `after` of the next page" })
      }),
      error: Unavailable
    }).annotateMerge(says("List endpoints", "A page of the tenant's endpoints, in the order of their ids.")),
    HttpApiEndpoint.post("create", "/endpoints", {
      payload: NewEndpointBody,
      success: WithSecretView,
      error: [InvalidEndpoint, Unavailable]
    }).annotateMerge(
      says(
        "Create an endpoint",
        "Events that are written after the answer are for it. The answer has its secret, which no other answer has."
      )
    ),
    HttpApiEndpoint.get("get", "/endpoints/:id", { params, success: EndpointDetailsView, error: read }).annotateMerge(
      says("Get an endpoint", "An endpoint, how many events wait for it, and whether it is failing.")
    ),
    HttpApiEndpoint.patch("update", "/endpoints/:id", {
      params,
      payload: ChangeBody,
      success: EndpointView,
      error: changed
    }).annotateMerge(
      says(
        "Change an endpoint",
        "A field that is left out stays as it is, and null takes it away. Events that wait go to the new url with the next attempt; a change of topics holds for later events."
      )
    ),
    HttpApiEndpoint.delete("remove", "/endpoints/:id", {
      params,
      success: Count.annotate({ description: "how many events were waiting" }),
      error: found
    }).annotateMerge(says("Remove an endpoint", "Removes it for good, with all events that wait for it.")),
    HttpApiEndpoint.post("rotateSecret", "/endpoints/:id/rotate-secret", {
      params,
      payload: optionalBody(
        Schema.Struct({
          keepFor: Schema.optionalKey(KeepFor).annotate({
            description: "for how long the secret of before signs too: 1 day by default, 30 days at most"
          }),
          secret: Schema.optionalKey(Schema.String).annotate({
            description: "the new secret, as `secret` of a new endpoint: a random one by default"
          })
        })
      ),
      success: WithSecretView,
      error: changed
    }).annotateMerge(
      saysOptional(
        "Rotate the secret",
        "Gives it another secret, which the answer shows once. Both secrets sign until `keepFor` is over; four at most sign at once."
      )
    ),
    HttpApiEndpoint.post("pause", "/endpoints/:id/pause", {
      params,
      payload: optionalBody(reasoned),
      success: Done,
      error: found
    }).annotateMerge(
      saysOptional(
        "Pause an endpoint",
        "Stores its events and delivers none until `resume`. One that is disabled stays so."
      )
    ),
    HttpApiEndpoint.post("resume", "/endpoints/:id/resume", { params, success: Done, error: found }).annotateMerge(
      says(
        "Resume an endpoint",
        "Delivers again what was paused, and tries one at once that waits for its next attempt. One that is disabled stays so."
      )
    ),
    HttpApiEndpoint.post("disable", "/endpoints/:id/disable", {
      params,
      payload: optionalBody(reasoned),
      success: Done,
      error: found
    }).annotateMerge(
      saysOptional(
        "Disable an endpoint",
        "Stores its events and delivers none until `enable`, whether or not it is paused."
      )
    ),
    HttpApiEndpoint.post("enable", "/endpoints/:id/enable", { params, success: Done, error: found }).annotateMerge(
      says("Enable an endpoint", "Delivers again what was disabled, first with one event. One that is paused stays so.")
    ),
    HttpApiEndpoint.post("sendTest", "/endpoints/:id/test", {
      params,
      success: TestView,
      error: [...read, NotFound]
    }).annotateMerge(
      says(
        "Send a test event",
        "Sends it at once, also to a paused endpoint, and answers what came of it. It is not stored."
      )
    )
  )
  .middleware(Access)
  .annotateMerge(OpenApi.annotations({ description: "Where a customer's events go." }))

export const Deliveries = HttpApiGroup.make("deliveries")
  .add(
    HttpApiEndpoint.get("attempts", "/endpoints/:id/attempts", {
      params,
      query: {
        beforeAt: Schema.optionalKey(digits("the `at` of the last attempt of the page before")),
        beforePosition: Schema.optionalKey(digits("and its `position`")),
        failedOnly: Schema.optionalKey(flag("leaves out the attempts that succeeded")),
        limit
      },
      success: Schema.Struct({ attempts: Schema.Array(AttemptView) }),
      error: [...found, InvalidRequest]
    }).annotateMerge(says("List attempts", "The last attempts of an endpoint, the newest first, while they are kept.")),
    HttpApiEndpoint.get("deadLetters", "/endpoints/:id/dead-letters", {
      params,
      query: {
        afterAt: Schema.optionalKey(digits("the `deadLetteredAt` of the last dead letter of the page before")),
        afterPosition: Schema.optionalKey(digits("and its `position`")),
        limit
      },
      success: Schema.Struct({ count: Schema.Int, deadLetters: Schema.Array(DeadLetterView) }),
      error: [...read, InvalidRequest]
    }).annotateMerge(
      says("List dead letters", "The events that were given up, the oldest first, and how many there are.")
    ),
    HttpApiEndpoint.post("resend", "/endpoints/:id/resend", {
      params,
      payload: Schema.Struct({
        events: Schema.Array(Schema.Union([bounded(500), Schema.Finite])).check(Schema.isMaxLength(500))
      }).annotate({ description: "events by their ids, or by the positions of attempts and dead letters" }),
      success: Count.annotate({ description: "how many were found" }),
      error: found
    }).annotateMerge(
      says("Send events again", "Puts events to the end of the endpoint's order, while they are retained.")
    ),
    HttpApiEndpoint.post("replayFailed", "/endpoints/:id/replay-failed", {
      params,
      payload: optionalBody(
        Schema.Struct({
          from: Schema.optionalKey(Millis).annotate({
            description: "those given up at this time, in milliseconds since 1970, or after it"
          }),
          to: Schema.optionalKey(Millis).annotate({ description: "and before this time, in milliseconds since 1970" }),
          topic: Schema.optionalKey(sought(500)).annotate({ description: "a topic, or a pattern such as `order/*`" }),
          reason: Schema.optionalKey(
            Schema.Literals(["Failed", "Died", "Undecodable", "Exhausted", "Expired", "Disabled"])
          )
        })
      ),
      success: Count.annotate({ description: "how many there were" }),
      error: found
    }).annotateMerge(
      saysOptional("Send dead letters again", "All that match every field of the body: without a body all of them.")
    ),
    HttpApiEndpoint.get("status", "/events/:id", {
      params: { id: bounded(500).annotate({ description: "the id of the event" }) },
      success: EventView,
      error: [NotFound, Unavailable]
    }).annotateMerge(
      says("Get the status of an event", "What has become of an event at each endpoint, while its id is kept.")
    )
  )
  .middleware(Access)
  .annotateMerge(OpenApi.annotations({ description: "What became of events." }))

/** A field that there is not would be taken for one that is left out, and all dead letters be sent again for some. */
const strict = { errors: "all", onExcessProperty: "error" } as const

export const webhookApi = HttpApi.make("Webhooks")
  .add(Endpoints)
  .add(Deliveries)
  .annotateMerge(OpenApi.annotations({ title: "Webhooks of a customer" }))
  .annotate(HttpApi.QueryParseOptions, strict)
  .annotate(HttpApi.PayloadParseOptions, strict)
