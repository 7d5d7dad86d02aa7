/**
 * What a Docker Registry tells its notification endpoints: one thing that happened in it. `Envelope.registry` has the
 * requests that such events come in.
 *
 * **Details**
 *
 * The schema names what the registry documents; what varies between pushes, pulls and deletes is optional (a delete has
 * no media type, and only a digest or only a tag), and what it does not name goes on unchanged: an intermediary must not
 * thin out what passes through it.
 *
 * **Gotchas**
 *
 * A number that a double cannot hold exactly has already been rounded by `JSON.parse`, in an unknown field as anywhere.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { rfc3339 } from "../internal/envelope/timestamp.ts"

/**
 * The media type of a request of events: without it the real receivers do not look inside.
 *
 * @category constants
 * @since 0.1.0
 */
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
  /** In bytes. */
  size: Schema.optionalKey(Schema.Int),
  digest: Schema.optionalKey(Schema.String),
  /** The same as `size`. */
  length: Schema.optionalKey(Schema.Int),
  repository: Schema.String,
  /** Where a mounted blob was mounted from. */
  fromRepository: Schema.optionalKey(Schema.String),
  url: Schema.optionalKey(Schema.String),
  tag: Schema.optionalKey(Schema.String),
  /** What a manifest is made of. */
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

/**
 * One thing that happened in a registry.
 *
 * **Example** (An event that knows more than the schema)
 *
 * ```ts
 * import { Schema } from "effect"
 * import * as RegistryEvent from "effect-events/http/RegistryEvent"
 *
 * const event = Schema.decodeUnknownSync(RegistryEvent.RegistryEvent)({
 *   id: "70219bec",
 *   timestamp: "2026-01-02T03:04:05.678901234Z",
 *   action: "push",
 *   target: { mediaType: "application/octet-stream", repository: "team/app", annotations: { a: "b" } }
 * })
 *
 * console.log(RegistryEvent.isBlob(event), event.target["annotations"])
 * // prints: true { a: 'b' }
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const RegistryEvent = Open({
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

/**
 * One thing that happened in a registry.
 *
 * @category models
 * @since 0.1.0
 */
export type RegistryEvent = typeof RegistryEvent.Type

/**
 * Whether an event is about a blob, and not about a manifest. Nobody can tell of a delete: it does not say what it
 * deleted, and is none.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isBlob = ({ target }: RegistryEvent): boolean => target.mediaType === "application/octet-stream"
