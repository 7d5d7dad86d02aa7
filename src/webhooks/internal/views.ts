/** What the API of a customer's portal takes and answers, as JSON: in the names of the service, a duration as text with its unit. */
import * as Duration from "effect/Duration"
import * as Schema from "effect/Schema"

export const Millis = Schema.Finite.annotate({ description: "milliseconds since 1970" })
export const bounded = (length: number) => Schema.String.check(Schema.isMaxLength(length))

/** A text that is looked for: some stores know no NUL, and would fail for it as if they did not answer. */
export const sought = (length: number) =>
  bounded(length).check(Schema.makeFilter((text) => !text.includes("\0"), { expected: "no NUL" }))

const durationPattern = /^\d+(?:\.\d+)? (?:millis|seconds?|minutes?|hours?|days?|weeks?)$/u

const isDuration = Schema.isPattern(durationPattern, { expected: 'a duration with its unit, such as "10 seconds"' })

/** A duration as the service takes it too: as text, with its unit. */
export const DurationText = Schema.String.check(isDuration).annotate({
  description: "a duration with its unit",
  examples: ["10 seconds"]
})

const isLong = (text: string) => {
  // What is no duration is refused by the pattern.
  const duration = Duration.fromInput(text as Duration.Input)
  return duration._tag === "Some" && Duration.isGreaterThan(duration.value, Duration.days(30))
}

/** For how long a secret that was rotated out may sign still. */
export const KeepFor = Schema.String.check(
  Schema.makeFilter((text) => !isLong(text), { expected: "at most 30 days" })
).check(isDuration)

const RateView = Schema.Struct({ limit: Schema.Int, per: DurationText }).annotate({
  description: "the most requests in a time, spread evenly"
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
  timeout: Schema.NullOr(DurationText).annotate({
    description: "how long a request may take: null is the service's default"
  }),
  createdAt: Millis,
  state: Schema.Literals(["active", "paused", "disabled"]),
  reason: Schema.NullOr(Schema.String),
  since: Millis.annotate({ description: "since when it is in its state, in milliseconds since 1970" })
}

/** An endpoint, without its secrets. */
export const EndpointView = Schema.Struct(endpointFields).annotate({ identifier: "Endpoint" })

/** An endpoint with what is stored for it. */
export const EndpointDetailsView = Schema.Struct({
  ...endpointFields,
  pending: Schema.Int.annotate({ description: "how many events wait" }),
  deadLetters: Schema.Int.annotate({ description: "how many events were given up" }),
  oldest: Schema.NullOr(Millis).annotate({ description: "when the oldest event that waits was written" }),
  failingSince: Schema.NullOr(Millis).annotate({ description: "since when every attempt has failed" }),
  nextAttempt: Schema.NullOr(Millis).annotate({
    description: "when the next attempt is, where a failed one is waited for"
  }),
  lastError: Schema.NullOr(Schema.String).annotate({ description: "what went wrong last, while it is failing" })
}).annotate({ identifier: "EndpointDetails" })

/** An endpoint with its secret, which is shown once. */
export const WithSecretView = Schema.Struct({
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
    description: "its first secret, whsec_ and the base64 of 24 to 75 bytes: a new one by default"
  }),
  envelope: Schema.optionalKey(Schema.String),
  plan: Schema.optionalKey(Schema.String),
  rate: Schema.optionalKey(RateView),
  ordered: Schema.optionalKey(Schema.Boolean),
  concurrency: Schema.optionalKey(Schema.Int),
  timeout: Schema.optionalKey(DurationText)
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
  timeout: Schema.optionalKey(Schema.NullOr(DurationText))
}).annotate({ identifier: "EndpointChange" })

const outcome = {
  at: Millis,
  took: Schema.Finite.annotate({ description: "milliseconds, without what it waited for a rate" }),
  status: Schema.NullOr(Schema.Int).annotate({ description: "what the receiver answered: null where it did not" }),
  answer: Schema.NullOr(Schema.String).annotate({
    description: "the first characters of its answer, where they are kept"
  }),
  error: Schema.NullOr(Schema.String).annotate({ description: "what went wrong: null where the event was accepted" })
}
const eventId = Schema.String.annotate({ description: "the id of the event, which is its webhook-id" })

/** An attempt to deliver. */
export const AttemptView = Schema.Struct({
  eventId: Schema.NullOr(eventId),
  position: Schema.Finite,
  topic: Schema.String,
  ...outcome
}).annotate({ identifier: "Attempt" })

/** What came of a test event. */
export const TestView = Schema.Struct({ eventId, ...outcome }).annotate({ identifier: "TestResult" })

/** An event that could not be delivered. Its content is what its endpoint was to get. */
export const DeadLetterView = Schema.Struct({
  eventId: Schema.NullOr(eventId).annotate({
    description: "the id of the event: null where the event does not decode"
  }),
  position: Schema.Finite,
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
