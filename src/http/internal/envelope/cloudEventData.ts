/** The kinds of data of CloudEvents, and the form of each on the wire. */
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { decoder, encoder, failed, fromResult, toBytes } from "../../../internal/encoding/codec.ts"
import { atPath, type EnvelopeError, type Path, quoted } from "../../../internal/encoding/envelopeError.ts"
import * as Json from "../../../internal/encoding/json.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import * as MediaType from "./mediaType.ts"

/**
 * A kind of data, and so of body: `json`, `text` or `bytes`, each perhaps `optional`, or `any`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Data<in out D> {
  /** The media type of data whose event names none. */
  readonly contentType: string
  /** The media type that data is sent with, as a body or as a member: the one declared, or `contentType`, unless given. */
  readonly typeOf?: (data: D | undefined, declared: string | undefined, as: "body" | "member") => string | undefined
  /** Whether it is `any`, for which numbers of JSON are as `Json.exactly` has them. */
  readonly isAny?: boolean
  /** Whether data of this kind, such as an event's, can be of a media type; and the kind's name in an error. */
  readonly accepts: (contentType: string | undefined, data?: D) => boolean
  readonly expected: string
  /** The data as a body, and back. */
  readonly toBody: (data: D) => Effect.Effect<Uint8Array, EnvelopeError>
  readonly fromBody: (body: Uint8Array, contentType: string | undefined) => Effect.Effect<D, EnvelopeError>
  /** The data as a member of a JSON object, and back (section 3.1 of the JSON format). */
  readonly toMember: (data: D) => Effect.Effect<Member, EnvelopeError>
  readonly fromMember: (member: Member, path: Path, contentType: string | undefined) => Effect.Effect<D, EnvelopeError>
}

/** The data within a JSON object: at most one of the two. */
export interface Member {
  readonly data?: unknown
  readonly data_base64?: unknown
}

/**
 * Data that is a JSON value, by a schema. Its media type is `application/json`, or one that an event names and that is
 * JSON as section 3.1 of the JSON format judges: with the subtype `json` or the suffix `+json`. A request in binary mode
 * without a `content-type` is JSON, too.
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
    accepts: (contentType = "application/json") => MediaType.isJson(contentType) && MediaType.isUtf8(contentType),
    expected: "JSON in UTF-8",
    toBody: (data) => Effect.flatMapEager(encode(data), toBytes),
    fromBody: (body) => Effect.flatMapEager(fromResult("decode", parse(body)), (value) => decode(value)),
    toMember: (data) => Effect.mapEager(encode(data), (data) => ({ data })),
    fromMember: (member, path) =>
      member.data_base64 === undefined
        ? fromData(member, path, decode)
        : Effect.flatMapEager(fromBase64(member, path, parse), (value) => decode(value, [...path, "data_base64"]))
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
  toBody: (data) => Effect.mapEager(wellFormed(data), Utf8.encode),
  fromBody: (body) => fromResult("decode", Utf8.decodeExactly(body)),
  toMember: (data) => Effect.mapEager(wellFormed(data), (data) => ({ data })),
  fromMember: (member, path) =>
    member.data_base64 === undefined
      ? fromData(member, path, decodeString)
      : fromBase64(member, path, Utf8.decodeExactly)
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
  fromMember: (member, path) =>
    member.data_base64 === undefined ? missing(path, "data_base64") : fromBase64(member, path, Result.succeed)
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
  toBody: (value) => (value === undefined ? Effect.succeed(new Uint8Array()) : data.toBody(value)),
  fromBody: (body, contentType) => (body.length === 0 ? Effect.undefined : data.fromBody(body, contentType)),
  toMember: (value) => (value === undefined ? Effect.succeed({}) : data.toMember(value)),
  fromMember: (member, path, contentType) =>
    isNone(member) ? Effect.undefined : data.fromMember(member, path, contentType)
})

/** Whether there is no data. */
export const isNone = (member: Member): boolean => member.data === undefined && member.data_base64 === undefined

/** Why data of this media type is not of the kind; nothing when it is. */
export const refusal = <D>(kind: Data<D>, contentType: string | undefined, data?: D): string | undefined => {
  if (kind.accepts(contentType, data)) return undefined
  return `Expected ${kind.expected}, got ${contentType === undefined ? "no media type" : quoted(contentType)}`
}

// internals

const decodeString = decoder(Schema.String)

const wellFormed = (text: string): Effect.Effect<string, EnvelopeError> =>
  text.isWellFormed() ? Effect.succeed(text) : failed("encode", `Lone surrogate${atPath(["data"])}`)

const missing = (path: Path, member: keyof Member) => failed("decode", `Missing key${atPath([...path, member])}`)

const fromData = <D>({ data }: Member, path: Path, decode: ReturnType<typeof decoder<D>>) =>
  data === undefined ? missing(path, "data") : decode(data, [...path, "data"])

/** The data that `read` makes of the octets of `data_base64`. */
const fromBase64 = <A>(
  { data_base64 }: Member,
  path: Path,
  read: (octets: Uint8Array) => Result.Result<A, string>
): Effect.Effect<A, EnvelopeError> => {
  const octets = typeof data_base64 === "string" ? Result.getOrUndefined(Base64.decode(data_base64)) : undefined
  const result = octets === undefined ? Result.fail("Expected Base64") : read(octets)
  return fromResult(
    "decode",
    Result.mapError(result, (message) => `${message}${atPath([...path, "data_base64"])}`)
  )
}
