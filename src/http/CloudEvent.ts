/**
 * CloudEvents 1.0.2, and the three modes in which their HTTP protocol binding sends them: binary (one event, its
 * attributes in headers and its data as the body), structured (one event, all of it as JSON) and batched (many such).
 *
 * **Details**
 *
 * An event is a plain value, and its data is of one kind: `json` by a schema, `text`, `bytes`, each perhaps `optional`.
 * What is sent and what is received is held to the rules of the specification, and an error names the attribute: by its
 * path in a body, or by its header.
 *
 * **Gotchas**
 *
 * An event without `datacontenttype` is sent with that of its kind of data, and so has one when it arrives. The headers
 * of binary mode are text: an extension that was a number or a boolean arrives there as a string.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Attributes, Extension, Fault, Name } from "./internal/envelope/attributes.ts"
import * as Rules from "./internal/envelope/attributes.ts"
import { type Data, isNone, type Member, refusal } from "./internal/envelope/cloudEventData.ts"
import * as Body from "./internal/envelope/body.ts"
import { andThenEager } from "../internal/eager.ts"
import { decoded, failed, guarded, guardedEager } from "../internal/encoding/codec.ts"
import { atPath, type EnvelopeError, quoted } from "../internal/encoding/envelopeError.ts"
import * as Header from "./internal/envelope/headers.ts"
import * as MediaType from "./internal/envelope/mediaType.ts"
import * as Utf8 from "../internal/encoding/utf8.ts"
import type { Accepts, Envelope } from "./Envelope.ts"

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
 * The schema of events, for stores and for JSON that is nobody's wire format: the extensions stay in their field.
 *
 * @category schemas
 * @since 0.1.0
 */
export const schema = <D, E, RD, RE>(
  data: Schema.Codec<D, E, RD, RE>
): Schema.Codec<CloudEvent<D>, CloudEvent<E>, RD, RE> => {
  const attribute = (name: Name) =>
    Schema.String.check(Schema.makeFilter(Rules.rules[name].test, { expected: Rules.rules[name].expected }))
  const extensions = Schema.Record(
    Schema.String,
    Schema.Union([Schema.String, Schema.Number, Schema.Boolean]).check(
      Schema.makeFilter(Rules.extensionValue.test, { expected: Rules.extensionValue.expected })
    )
  ).check(
    Schema.makeFilter((extensions) => {
      const name = Object.keys(extensions).find((name) => !Rules.extensionName.test(name))
      return name === undefined || { path: [name], issue: `Expected ${Rules.extensionName.expected}` }
    })
  )
  return Schema.Struct({
    specversion: Schema.Literal("1.0"),
    id: attribute("id"),
    source: attribute("source"),
    type: attribute("type"),
    subject: Schema.optional(attribute("subject")),
    time: Schema.optional(attribute("time")),
    dataschema: Schema.optional(attribute("dataschema")),
    datacontenttype: Schema.optional(attribute("datacontenttype")),
    extensions,
    data
  })
}

const idOf = (event: Attributes): string => event.id

/** CloudEvents, "id": of two events with one source and one id, the second is a repeat of the first. */
const identityOf = ({ id, source }: Attributes): string => `${source.length}:${source}${id}`

/** Where a fault is in a body. */
const inBody = ({ name }: Fault, path: ReadonlyArray<PropertyKey>): string => atPath([...path, name])

/** Where a fault is in a program's event. */
const inEvent = ({ extension, name }: Fault): string => atPath(extension ? ["extensions", name] : [name])

const describe = (fault: Fault, where: string): string =>
  `${fault.expected === undefined ? "Missing attribute" : `Expected ${fault.expected}`}${where}`

const isCloudEvents = (contentType: string): boolean =>
  MediaType.essence(contentType).startsWith("application/cloudevents")

/** HTTP protocol binding, section 3: what is in no other mode is in this one. Without data its type does not matter. */
const binaryMode = <D>(data: Data<D>): Accepts => ({
  test: (headers) => {
    const contentType = headers["content-type"]
    if (headers["ce-specversion"] === undefined) return false
    if (contentType === undefined) return true
    return !isCloudEvents(contentType) && (data.accepts(contentType) || !Header.announceBody(headers))
  },
  expected: `a header "ce-specversion" and ${data.expected}`
})

const invalid = <D>(kind: Data<D>, event: CloudEvent<D>): Effect.Effect<never, EnvelopeError> | undefined => {
  const fault = Rules.faultOf(event)
  if (fault !== undefined) return failed("encode", describe(fault, inEvent(fault)))
  if (event.datacontenttype === undefined) return undefined
  const wrong = refusal(kind, event.datacontenttype)
  return wrong === undefined ? undefined : failed("encode", `${wrong}${atPath(["datacontenttype"])}`)
}

/**
 * One event a request: the attributes in `ce-` headers, the data as the body (HTTP protocol binding, section 3.1). Values
 * of headers are percent-encoded as section 3.1.3.2 says; `content-type` is `datacontenttype`.
 *
 * **Gotchas**
 *
 * Many servers bound the headers of a request to some kilobytes, so long attributes are for the other modes. A `%` that
 * begins no encoded octet stands for itself when it is read, since there are senders that encode nothing.
 *
 * @category envelopes
 * @since 0.1.0
 */
export const binary = <D>(data: Data<D>): Envelope<CloudEvent<D>> => ({
  contentType: data.contentType,
  join: undefined,
  id: idOf,
  identity: identityOf,
  accepts: binaryMode(data),
  encode: (event) =>
    guardedEager("encode", () => {
      const wrong = invalid(data, event)
      if (wrong !== undefined) return wrong
      const headers: Record<string, string> = {}
      const attributes = Rules.flat(event)
      for (const name of Object.keys(attributes)) headers[`ce-${name}`] = Header.encode(String(attributes[name]))
      if (event.datacontenttype !== undefined) headers["content-type"] = event.datacontenttype
      return Effect.mapEager(data.toBody(event.data), (body) => ({ body, headers }))
    }),
  decode: ({ body, headers }) =>
    guarded("decode", () => {
      const contentType = headers["content-type"]
      if (contentType !== undefined && isCloudEvents(contentType)) {
        return failed(
          "decode",
          'Expected an event in binary mode, got application/cloudevents in header "content-type"'
        )
      }
      const entries: Array<readonly [string, unknown]> = []
      for (const header of Object.keys(headers)) {
        const value = headers[header]
        if (!header.startsWith("ce-") || value === undefined) continue
        const name = header.slice("ce-".length)
        const text = Header.decode(value)
        if (text === undefined) return failed("decode", `Expected percent-encoded UTF-8 in header ${quoted(header)}`)
        // Its header is the `content-type`: two of them could contradict each other.
        if (name === "datacontenttype") return failed("decode", `Unexpected header ${quoted(header)}`)
        entries.push([name, text])
      }
      if (contentType !== undefined) entries.push(["datacontenttype", contentType])
      const attributes = Rules.fromEntries(entries)
      if (Result.isFailure(attributes)) {
        const { name } = attributes.failure
        const header = name === "datacontenttype" ? "content-type" : `ce-${name}`
        return failed("decode", describe(attributes.failure, ` in header ${quoted(header)}`))
      }
      const wrong = body.length === 0 ? undefined : refusal(data, contentType)
      if (wrong !== undefined) return failed("decode", `${wrong} in header "content-type"`)
      return Effect.map(data.fromBody(body), (data) => [{ ...attributes.success, data }])
    })
})

const structuredType = "application/cloudevents+json"
const batchedType = "application/cloudevents-batch+json"

// In lower case, since a receiver of the JavaScript SDK compares it literally.
const utf8 = "; charset=utf-8"

/** An event as JSON. */
const encodeJson =
  <D>(kind: Data<D>) =>
  (event: CloudEvent<D>) =>
    guardedEager("encode", () => {
      const wrong = invalid(kind, event)
      if (wrong !== undefined) return wrong
      return andThenEager(kind.toMember(event.data), (member) => {
        const datacontenttype = event.datacontenttype ?? (isNone(member) ? undefined : kind.contentType)
        return Body.toPart({ ...Rules.flat(event), datacontenttype, ...member })
      })
    })

/** An event from JSON, which stands at `path` in its request. */
const decodeJson =
  <D>(kind: Data<D>) =>
  (value: unknown, path: ReadonlyArray<PropertyKey>): Effect.Effect<CloudEvent<D>, EnvelopeError> => {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return failed("decode", `Expected object${atPath(path)}`)
    }
    const { data, data_base64, ...rest }: Record<string, unknown> & Member = value as Record<string, unknown>
    if (data !== undefined && data_base64 !== undefined) {
      return failed("decode", `Expected data or data_base64, got both${atPath(path)}`)
    }
    // JSON format, section 2.2: an attribute that is null is none.
    const attributes = Rules.fromEntries(Object.entries(rest).filter(([, value]) => value !== null))
    if (Result.isFailure(attributes)) {
      return failed("decode", describe(attributes.failure, inBody(attributes.failure, path)))
    }
    const member: Member = { data, data_base64 }
    // Section 3.1: JSON is implied, for data that is there as JSON.
    const type = attributes.success.datacontenttype ?? (data_base64 === undefined ? "application/json" : undefined)
    const wrong = isNone(member) || type === undefined ? undefined : refusal(kind, type)
    if (wrong !== undefined) return failed("decode", `${wrong}${atPath([...path, "datacontenttype"])}`)
    return Effect.map(kind.fromMember(member, path), (data) => ({ ...attributes.success, data }))
  }

/**
 * One event a request, all of it in a JSON object (HTTP protocol binding, section 3.2, and the JSON format). Bytes are in
 * `data_base64`, which is also read for the other kinds of data.
 *
 * @category envelopes
 * @since 0.1.0
 */
export const structured = <D>(data: Data<D>): Envelope<CloudEvent<D>> => {
  const decode = decodeJson(data)
  return {
    contentType: `${structuredType}${utf8}`,
    join: undefined,
    id: idOf,
    identity: identityOf,
    encode: encodeJson(data),
    decode: (message) =>
      guarded("decode", () =>
        Effect.flatMap(decoded(Body.json(message, structuredType)), (value) =>
          Effect.map(decode(value, []), (event) => [event])
        )
      )
  }
}

/**
 * Many events a request, in a JSON array of what `structured` has (HTTP protocol binding, section 3.3).
 *
 * @category envelopes
 * @since 0.1.0
 */
export const batched = <D>(data: Data<D>): Envelope<CloudEvent<D>> => {
  const decode = decodeJson(data)
  return {
    contentType: `${batchedType}${utf8}`,
    join: { prefix: Utf8.encode("["), separator: Utf8.encode(","), suffix: Utf8.encode("]") },
    id: idOf,
    identity: identityOf,
    encode: encodeJson(data),
    decode: (message) =>
      guarded("decode", () =>
        Effect.flatMap(decoded(Body.json(message, batchedType)), (values) =>
          Array.isArray(values)
            ? Effect.forEach(values, (value: unknown, i) => decode(value, [i]))
            : failed("decode", "Expected array")
        )
      )
  }
}
