/**
 * CloudEvents 1.0.2, and the three modes in which their HTTP protocol binding sends them: binary (one event, its
 * attributes in headers and its data as the body), structured (one event, all of it as JSON) and batched (many such).
 *
 * An event is a plain value, and its data is of one kind: `json` by a schema, `text`, `bytes`, each perhaps `optional`.
 * Events that are sent or received keep to the rules of the specification. An error names the attribute: by its path in a
 * body, or by its header.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { failed, fromResult, guarded } from "../internal/encoding/codec.ts"
import { atPath, type EnvelopeError, type Path, quoted } from "../internal/encoding/envelopeError.ts"
import * as Utf8 from "../internal/encoding/utf8.ts"
import type { Attributes, Extension } from "./internal/envelope/attributes.ts"
import * as Rules from "./internal/envelope/attributes.ts"
import { decodeJson, encodeJson } from "./internal/envelope/body.ts"
import { type Data, isNone, type Member, refusal } from "./internal/envelope/cloudEventData.ts"
import * as Header from "./internal/envelope/headers.ts"
import * as MediaType from "./internal/envelope/mediaType.ts"
import type { Envelope, Message } from "./Envelope.ts"

export type { Attributes, Data, Extension }
export { bytes, json, optional, text } from "./internal/envelope/cloudEventData.ts"

/**
 * An event with its data.
 *
 * @category models
 * @since 0.1.0
 */
export interface CloudEvent<out D = unknown> extends Attributes {
  readonly data: D
}

/**
 * An event of the only version there is, without extensions when none are given.
 *
 * **Gotchas**
 *
 * An event without `datacontenttype` is sent with that of its kind of data, and so has one when it arrives.
 *
 * **Example** (An event in binary mode)
 *
 * ```ts
 * import { Effect, Schema } from "effect"
 * import * as CloudEvent from "effect-events/http/CloudEvent"
 *
 * const orders = CloudEvent.binary(CloudEvent.json(Schema.Struct({ total: Schema.Int })))
 * const event = CloudEvent.make({
 *   id: "a1",
 *   source: "/shop",
 *   type: "com.example.order",
 *   subject: "50 % off",
 *   data: { total: 3 }
 * })
 *
 * const { body, headers } = Effect.runSync(orders.encode(event))
 * console.log(headers["ce-type"], headers["ce-subject"], new TextDecoder().decode(body))
 * // prints: com.example.order 50%20%25%20off {"total":3}
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <D>(
  event: Omit<CloudEvent<D>, "specversion" | "extensions"> & Partial<Pick<Attributes, "extensions">>
): CloudEvent<D> => ({ ...event, specversion: "1.0", extensions: event.extensions ?? {} })

/**
 * The schema of events, for stores and for JSON that is no wire format: the extensions stay in their field.
 *
 * @category schemas
 * @since 0.1.0
 */
export const schema = <D, E, RD, RE>(
  data: Schema.Codec<D, E, RD, RE>
): Schema.Codec<CloudEvent<D>, CloudEvent<E>, RD, RE> => Schema.Struct({ ...Rules.AttributesSchema.fields, data })

/**
 * One event a request: the attributes in `ce-` headers, the data as the body (HTTP protocol binding, section 3.1). Values
 * of headers are percent-encoded as section 3.1.3.2 says; `content-type` is `datacontenttype`.
 *
 * **Gotchas**
 *
 * The headers are text: a number or a boolean among the extensions arrives as a string.
 *
 * Many servers bound the headers of a request to some kilobytes, so long attributes are for the other modes. A `%` that
 * begins no encoded octet stands for itself when it is read, since some senders encode nothing.
 *
 * @category envelopes
 * @since 0.1.0
 */
export const binary = <D>(data: Data<D>): Envelope<CloudEvent<D>> => ({
  ...identified,
  contentType: data.contentType,
  join: undefined,
  accepts: {
    // HTTP protocol binding, section 3: a request in no other mode is in this one. Without data its type does not matter.
    test: (headers) => {
      const contentType = headers["content-type"]
      if (headers["ce-specversion"] === undefined) return false
      if (contentType === undefined) return true
      return !isCloudEvents(contentType) && (data.accepts(contentType) || !Header.announceBody(headers))
    },
    expected: `a header "ce-specversion" and ${data.expected}`
  },
  encode: (event) =>
    guarded("encode", () =>
      Effect.flatMapEager(fromResult("encode", checked(data, event)), (attributes) => {
        const headers: Record<string, string> = {}
        for (const [name, value] of Object.entries(Rules.flat(attributes))) {
          if (value !== undefined) headers[`ce-${name}`] = Header.encode(String(value))
        }
        if (attributes.datacontenttype !== undefined) headers["content-type"] = attributes.datacontenttype
        return Effect.mapEager(data.toBody(event.data), (body) => ({ body, headers }))
      })
    ),
  decode: Effect.fnUntraced(function* ({ body, headers }: Message) {
    const attributes = yield* fromResult("decode", fromHeaders(headers))
    const wrong = body.length === 0 ? undefined : refusal(data, attributes.datacontenttype)
    if (wrong !== undefined) return yield* failed("decode", `${wrong} in header "content-type"`)
    return [{ ...attributes, data: yield* guarded("decode", () => data.fromBody(body)) }]
  })
})

/**
 * One event a request, all of it in a JSON object (HTTP protocol binding, section 3.2, and the JSON format). Bytes are in
 * `data_base64`, which is also read for the other kinds of data.
 *
 * @category envelopes
 * @since 0.1.0
 */
export const structured = <D>(data: Data<D>): Envelope<CloudEvent<D>> => ({
  ...identified,
  // In lower case, since a receiver of the JavaScript SDK compares it literally.
  contentType: "application/cloudevents+json; charset=utf-8",
  join: undefined,
  encode: encodeEvent(data),
  decode: decodeJson("application/cloudevents+json", (value) =>
    Effect.mapEager(decodeEvent(data, value, []), (event) => [event])
  )
})

/**
 * Many events a request, in a JSON array of what `structured` has (HTTP protocol binding, section 3.3).
 *
 * @category envelopes
 * @since 0.1.0
 */
export const batched = <D>(data: Data<D>): Envelope<CloudEvent<D>> => ({
  ...identified,
  contentType: "application/cloudevents-batch+json; charset=utf-8",
  join: { prefix: Utf8.encode("["), separator: Utf8.encode(","), suffix: Utf8.encode("]") },
  encode: encodeEvent(data),
  decode: decodeJson("application/cloudevents-batch+json", (values) =>
    Array.isArray(values)
      ? Effect.forEach(values, (value: unknown, i) => decodeEvent(data, value, [i]))
      : failed("decode", "Expected array")
  )
})

// internals

const identified = {
  id: (event: Attributes): string => event.id,
  /** CloudEvents, "id": of two events with one source and one id, the second is a duplicate of the first. */
  identity: ({ id, source }: Attributes): string => `${source.length}:${source}${id}`
}

const isCloudEvents = (contentType: string): boolean =>
  MediaType.essence(contentType).startsWith("application/cloudevents")

/** The attributes of a program's event, when it can be sent. */
const checked = <D>(kind: Data<D>, event: CloudEvent<D>): Result.Result<Attributes, string> =>
  Result.flatMap(Rules.attributesOf(event, atPath), (attributes) => {
    const { datacontenttype } = attributes
    const wrong = datacontenttype === undefined ? undefined : refusal(kind, datacontenttype)
    return wrong === undefined ? Result.succeed(attributes) : Result.fail(`${wrong}${atPath(["datacontenttype"])}`)
  })

/** The attributes of an event in binary mode. */
const fromHeaders = (headers: Message["headers"]): Result.Result<Attributes, string> => {
  const contentType = headers["content-type"]
  if (contentType !== undefined && isCloudEvents(contentType)) {
    return Result.fail('Expected an event in binary mode, got application/cloudevents in header "content-type"')
  }
  const entries: Array<readonly [name: string, value: string]> = []
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith("ce-") || value === undefined) continue
    const text = Header.decode(value)
    if (text === undefined) return Result.fail(`Expected percent-encoded UTF-8 in header ${quoted(header)}`)
    // Its header is the `content-type`: two of them could contradict each other.
    if (header === "ce-datacontenttype") return Result.fail(`Unexpected header ${quoted(header)}`)
    entries.push([header.slice("ce-".length), text])
  }
  if (contentType !== undefined) entries.push(["datacontenttype", contentType])
  const headerOf = (name: string) => (name === "datacontenttype" ? "content-type" : `ce-${name}`)
  return Rules.fromEntries(entries, (name) => ` in header ${quoted(headerOf(name))}`)
}

/** An event as JSON. */
const encodeEvent = <D>(kind: Data<D>) =>
  encodeJson((event: CloudEvent<D>) =>
    Effect.flatMapEager(fromResult("encode", checked(kind, event)), (attributes) =>
      Effect.mapEager(kind.toMember(event.data), (member) => {
        const datacontenttype = attributes.datacontenttype ?? (isNone(member) ? undefined : kind.contentType)
        return { ...Rules.flat(attributes), datacontenttype, ...member }
      })
    )
  )

/** An event from JSON, which stands at `path` in its request. */
const decodeEvent = <D>(kind: Data<D>, value: unknown, path: Path): Effect.Effect<CloudEvent<D>, EnvelopeError> => {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    return failed("decode", `Expected object${atPath(path)}`)
  }
  const { data, data_base64, ...rest }: Record<string, unknown> & Member = { ...value }
  if (data !== undefined && data_base64 !== undefined) {
    return failed("decode", `Expected data or data_base64, got both${atPath(path)}`)
  }
  // JSON format, section 2.2: an attribute that is null is none.
  const entries = Object.entries(rest).filter(([, value]) => value !== null)
  const result = Rules.fromEntries(entries, (name) => atPath([...path, name]))
  return Effect.flatMapEager(fromResult("decode", result), (attributes) => {
    const member: Member = { data, data_base64 }
    // Section 3.1: JSON is implied, for data that is there as JSON.
    const type = attributes.datacontenttype ?? (data_base64 === undefined ? "application/json" : undefined)
    const wrong = isNone(member) || type === undefined ? undefined : refusal(kind, type)
    if (wrong !== undefined) return failed("decode", `${wrong}${atPath([...path, "datacontenttype"])}`)
    return Effect.mapEager(kind.fromMember(member, path), (data) => ({ ...attributes, data }))
  })
}
