/**
 * An event of a Docker Registry, as its notifications carry it. `Envelope.registry` is the request around the events.
 *
 * @since 0.1.0
 */
import * as Schema from "effect/Schema"
import { rfc3339 } from "./internal/envelope/rfc3339.ts"

/**
 * The media type of a request of events, as registries up to version 2 post it. Receivers compare it.
 *
 * @category constants
 * @since 0.1.0
 */
export const mediaType = "application/vnd.docker.distribution.events.v1+json"

/**
 * The media type of a request of events, as registries from version 3.0 on post it.
 *
 * @category constants
 * @since 0.1.0
 */
export const mediaTypeV2 = "application/vnd.docker.distribution.events.v2+json"

/** A struct that keeps unknown fields. */
const Open = <const Fields extends Schema.Struct.Fields>(fields: Fields) =>
  Schema.StructWithRest(Schema.Struct(fields), [Schema.Record(Schema.String, Schema.Unknown)])

const Text = Schema.optionalKey(Schema.String)
/** Of a reference the manifest's own figure, up to 64 bits: no registry compares it with the size of a blob. */
const isInteger = Schema.makeFilter(Number.isInteger, {
  expected: "an integer",
  toJsonSchema: () => ({ type: "integer" }),
  arbitraryConstraint: { number: "integer" }
})
const Bytes = Schema.optionalKey(Schema.Finite.check(isInteger))

/** A list or an object, of which Go writes `null` when it is nil. */
const nullable = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

const Reference = Open({ mediaType: Text, size: Bytes, digest: Text })

const Target = Open({
  mediaType: Text,
  /** In bytes. */
  size: Bytes,
  digest: Text,
  /** The same as `size`. */
  length: Bytes,
  repository: Text,
  /** The repository that a mounted blob came from. */
  fromRepository: Text,
  url: Text,
  tag: Text,
  /** The blobs of a manifest, or the manifests of an index. */
  references: nullable(Schema.Array(Reference))
})

const Request = Open({ id: Text, addr: Text, host: Text, method: Text, useragent: Text })
const Actor = Open({ name: Text })
const Source = Open({ addr: Text, instanceID: Text })

/**
 * An event of a registry.
 *
 * **Details**
 *
 * Only `id` is required. A registry leaves out every field that is empty, such as the `size` of an empty blob, and writes
 * `null` for a missing list or object. A refused body is posted again for ever, before every later one, so none of this is
 * refused. An unknown field or action goes on unchanged. A field of another JSON type is refused.
 *
 * **Gotchas**
 *
 * A number that a double cannot hold exactly has already been rounded by `JSON.parse`, in an unknown field as anywhere.
 *
 * **Example** (An event with a field that the schema does not have)
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
 * console.log(RegistryEvent.isBlob(event), event.target?.["annotations"])
 * // prints: true { a: 'b' }
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const RegistryEvent = Open({
  /** The same at every delivery: receivers deduplicate events by it. */
  id: Schema.NonEmptyString,
  /** As it came: it counts nanoseconds, and a `Date` would lose six of its digits. */
  timestamp: Schema.optionalKey(Schema.String.check(Schema.isPattern(rfc3339, { expected: "an RFC 3339 timestamp" }))),
  /** `push`, `pull`, `mount` or `delete`; of a later registry perhaps another. */
  action: Text,
  target: nullable(Target),
  request: nullable(Request),
  actor: nullable(Actor),
  source: nullable(Source)
})

/**
 * An event of a registry.
 *
 * @category models
 * @since 0.1.0
 */
export type RegistryEvent = typeof RegistryEvent.Type

/**
 * Whether an event is about a blob, and not about a manifest: by the media type of its target.
 *
 * **Gotchas**
 *
 * An event without a media type, such as a delete, gives `false`, whatever its target is.
 *
 * @category predicates
 * @since 0.1.0
 */
export const isBlob = ({ target }: RegistryEvent): boolean => target?.mediaType === "application/octet-stream"
