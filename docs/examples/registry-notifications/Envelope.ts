/**
 * What a Docker Registry posts to its notification endpoints: an envelope of events. The schema names what the registry
 * documents; what varies between pushes, pulls and deletes is optional (a delete has no media type, and only a digest or
 * only a tag), and what it does not name goes on unchanged: an intermediary must not thin out what passes through it.
 */
import { Schema } from "effect"

/** The media type of an envelope: without it the real receivers do not look inside. */
export const mediaType = "application/vnd.docker.distribution.events.v1+json"

/** A struct that keeps the fields it does not know. */
const Open = <const Fields extends Schema.Struct.Fields>(fields: Fields) =>
  Schema.StructWithRest(Schema.Struct(fields), [Schema.Record(Schema.String, Schema.Unknown)])

const Reference = Open({
  mediaType: Schema.String,
  size: Schema.Int,
  digest: Schema.String
})

const Target = Open({
  mediaType: Schema.optionalKey(Schema.String),
  size: Schema.optionalKey(Schema.Int),
  digest: Schema.optionalKey(Schema.String),
  length: Schema.optionalKey(Schema.Int),
  repository: Schema.String,
  fromRepository: Schema.optionalKey(Schema.String),
  url: Schema.optionalKey(Schema.String),
  tag: Schema.optionalKey(Schema.String),
  references: Schema.optionalKey(Schema.Array(Reference))
})

const Request = Open({
  id: Schema.optionalKey(Schema.String),
  addr: Schema.optionalKey(Schema.String),
  host: Schema.optionalKey(Schema.String),
  method: Schema.optionalKey(Schema.String),
  useragent: Schema.optionalKey(Schema.String)
})

const Actor = Open({ name: Schema.optionalKey(Schema.String) })

const Source = Open({
  addr: Schema.optionalKey(Schema.String),
  instanceID: Schema.optionalKey(Schema.String)
})

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/

/** One thing that happened in a registry. */
export const Notification = Open({
  /** The same at every delivery: receivers recognise a repeated event by it. */
  id: Schema.NonEmptyString,
  /** Kept as it came: it counts nanoseconds, and a `Date` would lose six of its digits. */
  timestamp: Schema.String.check(Schema.isPattern(rfc3339, { expected: "an RFC 3339 timestamp" })),
  action: Schema.Literals(["push", "pull", "mount", "delete"]),
  target: Target,
  request: Schema.optionalKey(Request),
  actor: Schema.optionalKey(Actor),
  source: Schema.optionalKey(Source)
})
export type Notification = typeof Notification.Type

/** What one request carries: any number of events, also none. */
export const Envelope = Open({ events: Schema.Array(Notification) })
export type Envelope = typeof Envelope.Type

/** An envelope as a line of text, or as the body of a request. */
export const EnvelopeJson = Schema.fromJsonString(Envelope)

/** Whether it is about a blob, and not about a manifest. A delete does not say what it deleted. */
export const isBlob = ({ target }: Notification): boolean => target.mediaType === "application/octet-stream"
