/** Data of any kind, for relays of CloudEvents: JSON, text and bytes, by the type of the data and by what is there. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { failed, fromResult } from "../../../internal/encoding/codec.ts"
import { atPath, type EnvelopeError } from "../../../internal/encoding/envelopeError.ts"
import * as Json from "../../../internal/encoding/json.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import { bytes, type Data, text } from "./cloudEventData.ts"
import * as MediaType from "./mediaType.ts"

/**
 * The schema of data of any kind, for a store.
 *
 * @category data
 * @since 0.1.0
 */
export const AnyData = Schema.TaggedUnion({
  None: {},
  /** The text of a JSON value: no digit of a number is lost. */
  Json: { text: Schema.String },
  Text: { text: Schema.String },
  Bytes: { bytes: Schema.Uint8Array }
})

/**
 * Data of any kind, by its form on the wire.
 *
 * @category models
 * @since 0.1.0
 */
export type AnyData = typeof AnyData.Type

/**
 * Data of any kind, or none, for a relay of events: an event that is decoded and encoded again is the same, in each of the
 * three modes.
 *
 * **Details**
 *
 * | Mode                | Where                                                                             | Data    |
 * | ------------------- | --------------------------------------------------------------------------------- | ------- |
 * | structured, batched | `data_base64`                                                                     | `Bytes` |
 * |                     | `data` that is a string, of a type that is not JSON                               | `Text`  |
 * |                     | any other `data`, `null` too                                                      | `Json`  |
 * |                     | neither                                                                           | `None`  |
 * | binary              | an empty body                                                                     | `None`  |
 * |                     | JSON in UTF-8, of a JSON type or of none                                          | `Json`  |
 * |                     | UTF-8 of a type of text: `text/...`, of XML, YAML or forms, or with a `charset`   | `Text`  |
 * |                     | any other body                                                                    | `Bytes` |
 *
 * The forms of an event in two modes have the same content. An event without `datacontenttype` that is sent in binary mode
 * gets the type of its data, as section 3.1.2 of the JSON format says: `application/json`, or `application/octet-stream`
 * for bytes.
 *
 * **Gotchas**
 *
 * In binary mode an empty text and no bytes become no data, and bytes that are JSON by type and content become JSON.
 *
 * **Example** (The data of an event)
 *
 * ```ts
 * import { Effect } from "effect"
 * import * as CloudEvent from "effect-events/http/CloudEvent"
 *
 * const headers = { "content-type": "application/cloudevents+json" }
 * const body = new TextEncoder().encode('{"specversion":"1.0","id":"a","source":"/shop","type":"sold","data":{"n":1}}')
 *
 * const [event] = Effect.runSync(CloudEvent.structured(CloudEvent.any).decode({ headers, body }))
 * console.log(event?.data)
 * // prints: { _tag: 'Json', text: '{"n":1}' }
 * ```
 *
 * @category data
 * @since 0.1.0
 */
export const any: Data<AnyData> = {
  contentType: bytes.contentType,
  typeOf: (data, declared, as) => {
    // A member is UTF-8, whatever its type says.
    const isText = data?._tag === "Json" || data?._tag === "Text"
    if (declared !== undefined) {
      return as === "body" && isText && !MediaType.isUtf8(declared) ? MediaType.inUtf8(declared) : declared
    }
    if (data?._tag === "Text") return text.contentType
    if (data === undefined || data._tag === "None" || as === "member") return undefined
    return data._tag === "Json" ? "application/json" : bytes.contentType
  },
  isAny: true,
  accepts: (contentType, data) => data?._tag !== "Text" || contentType === undefined || !MediaType.isJson(contentType),
  expected: "a type of text that is not JSON",
  toBody: AnyData.match({
    None: () => Effect.succeed(new Uint8Array()),
    Json: ({ text }) => Effect.mapEager(fromText(text), () => Utf8.encode(text)),
    Text: (data) => text.toBody(data.text),
    Bytes: (data) => bytes.toBody(data.bytes)
  }),
  fromBody: (body, contentType) => Effect.succeed(body.length === 0 ? { _tag: "None" } : ofBody(body, contentType)),
  toMember: AnyData.match({
    None: () => Effect.succeed({}),
    Json: ({ text }) => Effect.mapEager(fromText(text), (data) => ({ data })),
    Text: (data) => text.toMember(data.text),
    Bytes: (data) => bytes.toMember(data.bytes)
  }),
  fromMember: (member, path, contentType) => {
    const { data, data_base64 } = member
    if (data_base64 !== undefined) {
      return Effect.mapEager(bytes.fromMember(member, path, contentType), (bytes) => ({ _tag: "Bytes", bytes }))
    }
    if (data === undefined) return Effect.succeed({ _tag: "None" })
    if (typeof data !== "string" || contentType === undefined || MediaType.isJson(contentType)) {
      return Effect.succeed({ _tag: "Json", text: JSON.stringify(data) })
    }
    if (data.isWellFormed()) return Effect.succeed({ _tag: "Text", text: data })
    return failed("decode", `Lone surrogate${atPath([...path, "data"])}`)
  }
}

// internals

/** A program's JSON text as a value. */
const fromText = (text: string): Effect.Effect<unknown, EnvelopeError> =>
  fromResult(
    "encode",
    Result.mapBoth(Json.received(text), {
      onFailure: (message) => `${message}${atPath(["data"])}`,
      onSuccess: (value) => Json.exactly(text, value)
    })
  )

/** The data of a body, by its type and by what is there. */
const ofBody = (bytes: Uint8Array, contentType: string | undefined): AnyData => {
  const isJson = contentType === undefined || MediaType.isJson(contentType)
  const isText = isJson || MediaType.isText(contentType)
  if (isText && (contentType === undefined || MediaType.isUtf8(contentType))) {
    const decoded = isJson ? Utf8.decode(bytes) : Utf8.decodeExactly(bytes)
    const isRight = Result.isSuccess(decoded) && (!isJson || Result.isSuccess(Json.received(decoded.success)))
    if (isRight) return { _tag: isJson ? "Json" : "Text", text: decoded.success }
  }
  return { _tag: "Bytes", bytes }
}
