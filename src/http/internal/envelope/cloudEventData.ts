/** What the data of CloudEvents can be, and how each kind of it goes on the wire. */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { andThenEager } from "../../../internal/eager.ts"
import { decoded, decoder, encoder, failed, stringify } from "../../../internal/encoding/codec.ts"
import { atPath, type EnvelopeError, quoted } from "../../../internal/encoding/envelopeError.ts"
import * as Json from "../../../internal/encoding/json.ts"
import * as MediaType from "./mediaType.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"

type Path = ReadonlyArray<PropertyKey>

/**
 * A kind of data, and so of body: `json`, `text` or `bytes`, each perhaps `optional`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Data<in out D> {
  /** The media type of data whose event names none. */
  readonly contentType: string
  /** Which media types it can be of; in an error, what it is. */
  readonly accepts: (contentType: string | undefined) => boolean
  readonly expected: string
  /** The data as a body, and back. */
  readonly toBody: (data: D) => Effect.Effect<Uint8Array, EnvelopeError>
  readonly fromBody: (body: Uint8Array) => Effect.Effect<D, EnvelopeError>
  /** The data as a member of a JSON object, and back (section 3.1 of the JSON format). */
  readonly toMember: (data: D) => Effect.Effect<Member, EnvelopeError>
  readonly fromMember: (member: Member, path: Path) => Effect.Effect<D, EnvelopeError>
}

/** What a JSON object has of the data: at most one of the two. */
export interface Member {
  readonly data?: unknown
  readonly data_base64?: unknown
}

const none: Member = {}
const nothing = new Uint8Array()

const missing = (path: Path, member: keyof Member) => failed("decode", `Missing key${atPath([...path, member])}`)
const lone = failed("encode", `Lone surrogate${atPath(["data"])}`)

/** The octets of `data_base64`. */
const octets = (value: unknown, path: Path): Result.Result<Uint8Array, string> => {
  const bytes = typeof value === "string" ? Result.getOrUndefined(Base64.decode(value)) : undefined
  return bytes === undefined ? Result.fail(`Expected Base64${atPath([...path, "data_base64"])}`) : Result.succeed(bytes)
}

/** Says where, in a request of many events, the octets are that something is wrong with. */
const within = <A>(result: Result.Result<A, string>, path: Path): Result.Result<A, string> =>
  Result.mapError(result, (message) => `${message}${atPath([...path, "data_base64"])}`)

/**
 * Data that is a JSON value, by a schema. Its media type is `application/json`, or one that an event names and that is
 * JSON as section 3.1 of the JSON format judges: with the subtype `json` or the suffix `+json`.
 *
 * @category data
 * @since 0.1.0
 */
export const json = <D>(schema: Schema.ConstraintCodec<D, unknown>): Data<D> => {
  const encode = encoder(schema, ["data"])
  const decode = decoder(schema)
  const parse = (bytes: Uint8Array) => Result.flatMap(Utf8.decode(bytes), (text) => Json.received(text))
  return {
    contentType: "application/json",
    accepts: (contentType) =>
      contentType !== undefined && MediaType.isJson(contentType) && MediaType.isUtf8(contentType),
    expected: "JSON in UTF-8",
    toBody: (data) => Effect.mapEager(andThenEager(encode(data), stringify), Utf8.encode),
    fromBody: (body) => Effect.flatMap(decoded(parse(body)), (value) => decode(value)),
    toMember: (data) => Effect.mapEager(encode(data), (data) => ({ data })),
    fromMember: ({ data, data_base64 }, path) => {
      if (data_base64 === undefined) return data === undefined ? missing(path, "data") : decode(data, [...path, "data"])
      const value = Result.flatMap(octets(data_base64, path), (bytes) => within(parse(bytes), path))
      return Effect.flatMap(decoded(value), (value) => decode(value, [...path, "data_base64"]))
    }
  }
}

/**
 * Data that is text of any media type but a JSON one: `text/plain; charset=utf-8` when an event names none. Text with a
 * lone surrogate is refused, since UTF-8 cannot hold it.
 *
 * @category data
 * @since 0.1.0
 */
export const text: Data<string> = {
  contentType: "text/plain; charset=utf-8",
  accepts: (contentType) =>
    contentType !== undefined && !MediaType.isJson(contentType) && MediaType.isUtf8(contentType),
  expected: "text in UTF-8, and not JSON",
  toBody: (data) => (data.isWellFormed() ? Effect.succeed(Utf8.encode(data)) : lone),
  fromBody: (body) => decoded(Utf8.decodeExactly(body)),
  toMember: (data) => (data.isWellFormed() ? Effect.succeed({ data }) : lone),
  fromMember: ({ data, data_base64 }, path) => {
    if (data_base64 !== undefined) {
      return decoded(Result.flatMap(octets(data_base64, path), (bytes) => within(Utf8.decodeExactly(bytes), path)))
    }
    if (data === undefined) return missing(path, "data")
    return typeof data === "string"
      ? Effect.succeed(data)
      : failed("decode", `Expected string${atPath([...path, "data"])}`)
  }
}

/**
 * Data that is bytes of any media type: `application/octet-stream` when an event names none. In JSON they are Base64.
 *
 * @category data
 * @since 0.1.0
 */
export const bytes: Data<Uint8Array> = {
  contentType: "application/octet-stream",
  accepts: () => true,
  expected: "bytes",
  toBody: (data) => Effect.succeed(data),
  fromBody: (body) => Effect.succeed(body),
  toMember: (data) => Effect.succeed({ data_base64: Base64.encode(data) }),
  fromMember: ({ data_base64 }, path) =>
    data_base64 === undefined ? missing(path, "data_base64") : decoded(octets(data_base64, path))
}

/**
 * Data that an event may do without: `undefined` then. In binary mode an empty body is no data, also where it could have
 * been an empty text.
 *
 * @category data
 * @since 0.1.0
 */
export const optional = <D>(data: Data<D>): Data<D | undefined> => ({
  ...data,
  toBody: (value) => (value === undefined ? Effect.succeed(nothing) : data.toBody(value)),
  fromBody: (body) => (body.length === 0 ? Effect.succeed(undefined) : data.fromBody(body)),
  toMember: (value) => (value === undefined ? Effect.succeed(none) : data.toMember(value)),
  fromMember: (member, path) => (isNone(member) ? Effect.succeed(undefined) : data.fromMember(member, path))
})

/** Whether there is no data. */
export const isNone = (member: Member): boolean => member.data === undefined && member.data_base64 === undefined

/** Why data of this media type is not of the kind; nothing when it is. */
export const refusal = (
  kind: Pick<Data<unknown>, "accepts" | "expected">,
  contentType: string | undefined
): string | undefined => {
  if (kind.accepts(contentType)) return undefined
  return `Expected ${kind.expected}, got ${contentType === undefined ? "no media type" : quoted(contentType)}`
}
