/**
 * CloudEvents 1.0.2, and the three modes in which their HTTP protocol binding sends them: binary (one event, its
 * attributes in headers and its data as the body), structured (one event, all of it as JSON) and batched (many such).
 *
 * An event is a plain value, and its data is of one kind: `json` by a schema, `text`, `bytes`, each perhaps `optional`, or
 * `any`. Events that are sent or received keep to the rules of the specification; a lenient decoder mends those that do not.
 * An error names the attribute: by its path in a body, or by its header.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { failed, fromResult, guarded } from "../internal/encoding/codec.ts"
import { atPath, type EnvelopeError, type Path, quoted } from "../internal/encoding/envelopeError.ts"
import * as Json from "../internal/encoding/json.ts"
import * as Utf8 from "../internal/encoding/utf8.ts"
import type { Stamped } from "../internal/stamp.ts"
import { format } from "../internal/traceparent.ts"
import type { Attributes, Extension } from "./internal/envelope/attributes.ts"
import * as Rules from "./internal/envelope/attributes.ts"
import { decodeEach, decodeJson, encodeJson } from "./internal/envelope/body.ts"
import { type Data, isNone, type Member, refusal } from "./internal/envelope/cloudEventData.ts"
import * as Header from "./internal/envelope/headers.ts"
import * as MediaType from "./internal/envelope/mediaType.ts"
import { mendAttributes } from "./internal/envelope/mendAttributes.ts"
import type { BatchOptions as AnyBatchOptions, Envelope, Message } from "./Envelope.ts"

export type { Attributes, Data, Extension }
export { any, AnyData } from "./internal/envelope/anyData.ts"
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
 * The event of a stamp: with its id and its time, and with the span that it was stamped in as `traceparent`, the extension for
 * distributed tracing.
 *
 * **Details**
 *
 * The extension says where the event was created, and stays the same on its way. The header `traceparent` of a request is that of
 * the request, for each attempt another. An extension of the same name that is given stays.
 *
 * **Example** (From a stamp to a receiver)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink } from "effect-events"
 * import * as CloudEvent from "effect-events/http/CloudEvent"
 *
 * const program = Effect.gen(function* () {
 *   const sent = yield* EventSink.make((event: CloudEvent.CloudEvent<number>) =>
 *     Console.log(event.id, Object.keys(event.extensions))
 *   )
 *   const orders = yield* sent.pipe(
 *     EventSink.mapInput((order: EventSink.Stamped<number>) =>
 *       CloudEvent.fromStamped(order, { source: "/shop", type: "com.example.order", data: order.event })
 *     ),
 *     EventSink.stamp({ id: (n: number) => `order-${n}` })
 *   )
 *   yield* orders.write(7).pipe(Effect.withSpan("POST /orders"))
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: order-7 [ 'traceparent' ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromStamped = <D>(
  { id, time, trace }: Pick<Stamped<unknown>, "id" | "time" | "trace">,
  event: Omit<CloudEvent<D>, "specversion" | "id" | "time" | "extensions"> & Partial<Pick<Attributes, "extensions">>
): CloudEvent<D> => {
  const traceparent = trace && format(trace)
  const extensions = { ...(traceparent === undefined ? {} : { traceparent }), ...event.extensions }
  return make({ ...event, id, time: new Date(time).toISOString(), extensions } as Omit<CloudEvent<D>, "specversion">)
}

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
 * How events are read. They are always sent by the rules.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Whether a received event that breaks the rules is mended, as senders in the field need it: no by default, which refuses
   * it.
   *
   * **Details**
   *
   * A value that keeps to the rules is never changed. A mended event keeps to them: any envelope, store and receiver takes
   * it, and it is the same for each redelivery.
   *
   * - A name is that in lower case, without other characters: `event_source` is `eventsource`. Of two for one name that
   *   which had it counts, or the first.
   * - A character that an attribute may not have is percent-encoded: a space in `source`, a line feed. A number or a boolean
   *   is text.
   * - `specversion`: 1.0.1, 1.0.2 and 0.3, of which `schemaurl` and `datacontentencoding` are read, are 1.0.
   * - `time`: a time without a zone is in UTC. The forms of ISO 8601, with `UTC` or `+0000`, become that of RFC 3339.
   * - Extensions: a number that is not of 32 bits is its digits as text, an object or an array its JSON as text.
   * - Headers: UTF-8 that is not encoded is read, and one of two equal values. `ce-datacontenttype` counts where
   *   `content-type` is missing.
   * - Left out are an empty `subject`, a `dataschema` that is not absolute, such as `#`, a `datacontenttype` that is no media
   *   type, any other `time`, and a null beside the other of `data` and `data_base64`.
   *
   * A missing or empty `id`, `source` or `type`, another `specversion`, and data of the wrong kind are refused.
   */
  readonly lenient?: boolean | undefined
}

/**
 * How batches of events are read.
 *
 * @category options
 * @since 0.1.0
 */
export interface BatchOptions extends Options, AnyBatchOptions {}

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
export const binary = <D>(data: Data<D>, options?: Options): Envelope<CloudEvent<D>> => {
  const { lenient = false } = options ?? {}
  return {
    ...identified,
    contentType: data.contentType,
    join: undefined,
    accepts: {
      // HTTP protocol binding, section 3: a request in no other mode is in this one. Without data its type does not matter.
      test: (headers) => {
        const contentType = headers["content-type"]
        if (headers["ce-specversion"] === undefined) return false
        if (contentType === undefined) return true
        if (lenient && !MediaType.isMediaType(contentType)) return true
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
          const { typeOf = (_, declared) => declared } = data
          const contentType = typeOf(event.data, attributes.datacontenttype, "body")
          if (contentType !== undefined) headers["content-type"] = contentType
          return Effect.mapEager(data.toBody(event.data), (body) => ({ body, headers }))
        })
      ),
    decode: Effect.fnUntraced(function* ({ body, headers }: Message) {
      const attributes = yield* fromResult("decode", fromHeaders(headers, lenient))
      const { datacontenttype } = attributes
      const wrong = body.length === 0 ? undefined : refusal(data, datacontenttype)
      if (wrong !== undefined) return yield* failed("decode", `${wrong} in header "content-type"`)
      const decoded = yield* guarded("decode", () => data.fromBody(body, datacontenttype))
      if (data.isAny !== true || body.length > 0 || datacontenttype !== data.contentType) {
        return [{ ...attributes, data: decoded }]
      }
      // A request has a type in any case, and so an event without data may be of none.
      const { datacontenttype: _, ...untyped } = attributes
      return [{ ...untyped, data: decoded }]
    })
  }
}

/**
 * One event a request, all of it in a JSON object (HTTP protocol binding, section 3.2, and the JSON format). Bytes are in
 * `data_base64`, which is also read for the other kinds of data.
 *
 * @category envelopes
 * @since 0.1.0
 */
export const structured = <D>(data: Data<D>, options?: Options): Envelope<CloudEvent<D>> => {
  const read = makeRead(data, options)
  return {
    ...identified,
    // In lower case, since a receiver of the JavaScript SDK compares it literally.
    contentType: "application/cloudevents+json; charset=utf-8",
    join: undefined,
    encode: encodeEvent(data),
    decode: decodeJson("application/cloudevents+json", (value, text) => {
      const exact = read(value, text)
      return Effect.mapEager(exact.decode(exact.value, []), (event) => [event])
    })
  }
}

/**
 * Many events a request, in a JSON array of what `structured` has (HTTP protocol binding, section 3.3).
 *
 * **Example** (A relay takes what it can of a batch)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import * as CloudEvent from "effect-events/http/CloudEvent"
 *
 * const envelope = CloudEvent.batched(CloudEvent.any, {
 *   lenient: true,
 *   onInvalid: ({ error, index }) => Console.log("left out", index, error.message)
 * })
 * const headers = { "content-type": envelope.contentType }
 * const event = { specversion: "1.0", id: "a", source: "my shop", type: "sold", "order-id": 2 ** 40 }
 * const body = new TextEncoder().encode(JSON.stringify([event, { ...event, id: "" }]))
 *
 * const events = Effect.runSync(envelope.decode({ headers, body }))
 * console.log(events.map(({ extensions, source }) => [source, extensions]))
 * // prints: left out 1 Expected a non-empty string without control characters at [1]["id"]
 * // prints: [ [ 'my%20shop', { orderid: '1099511627776' } ] ]
 * ```
 *
 * @category envelopes
 * @since 0.1.0
 */
export const batched = <D>(data: Data<D>, options?: BatchOptions): Envelope<CloudEvent<D>> => {
  const read = makeRead(data, options)
  return {
    ...identified,
    contentType: "application/cloudevents-batch+json; charset=utf-8",
    join: { prefix: Utf8.encode("["), separator: Utf8.encode(","), suffix: Utf8.encode("]") },
    encode: encodeEvent(data),
    decode: decodeJson("application/cloudevents-batch+json", (value, text) => {
      const exact = read(value, text)
      return Array.isArray(exact.value)
        ? decodeEach(exact.value, (event: unknown, index) => exact.decode(event, [index]), options?.onInvalid)
        : failed("decode", "Expected array")
    })
  }
}

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
    const wrong = datacontenttype === undefined ? undefined : refusal(kind, datacontenttype, event.data)
    return wrong === undefined ? Result.succeed(attributes) : Result.fail(`${wrong}${atPath(["datacontenttype"])}`)
  })

/** The attributes of an event in binary mode. */
const fromHeaders = (headers: Message["headers"], lenient: boolean): Result.Result<Attributes, string> => {
  const contentType = headers["content-type"]
  if (contentType !== undefined && isCloudEvents(contentType)) {
    return Result.fail('Expected an event in binary mode, got application/cloudevents in header "content-type"')
  }
  const entries: Array<readonly [name: string, value: string]> = []
  for (const [header, value] of Object.entries(headers)) {
    if (!header.startsWith("ce-") || value === undefined) continue
    const text = lenient ? Header.decodeLeniently(value) : Header.decode(value)
    if (text === undefined) return Result.fail(`Expected percent-encoded UTF-8 in header ${quoted(header)}`)
    // Its header is the `content-type`, which counts: two of them could contradict each other.
    if (header === "ce-datacontenttype" && !lenient) return Result.fail(`Unexpected header ${quoted(header)}`)
    entries.push([header.slice("ce-".length), text])
  }
  if (contentType !== undefined) entries.push(["datacontenttype", contentType])
  const headerOf = (name: string) => (name === "datacontenttype" ? "content-type" : `ce-${name}`)
  // The data is the body.
  const right = lenient
    ? mendAttributes(entries).filter(([name]) => name !== "data" && name !== "data_base64")
    : entries
  return Rules.fromEntries(right, (name) => ` in header ${quoted(headerOf(name))}`)
}

/** An event as JSON. */
const encodeEvent = <D>(kind: Data<D>) =>
  encodeJson((event: CloudEvent<D>) =>
    Effect.flatMapEager(fromResult("encode", checked(kind, event)), (attributes) =>
      Effect.mapEager(kind.toMember(event.data), (member) => {
        const { typeOf = (_, declared) => declared ?? (isNone(member) ? undefined : kind.contentType) } = kind
        const datacontenttype = typeOf(event.data, attributes.datacontenttype, "member")
        return { ...Rules.flat(attributes), datacontenttype, ...member }
      })
    )
  )

/** Makes the function that answers the value of a JSON text, and how an event within it is decoded. */
const makeRead =
  <D>(kind: Data<D>, { lenient = false }: Options = {}) =>
  (plain: unknown, text: string) => {
    const value = lenient || kind.isAny === true ? Json.exactly(text, plain) : plain
    // A schema expects numbers.
    const dataOf = (data: unknown) =>
      value === plain || kind.isAny === true || data === undefined ? data : JSON.parse(JSON.stringify(data))

    /** An event, which stands at `path` in its request. */
    const decode = (value: unknown, path: Path): Effect.Effect<CloudEvent<D>, EnvelopeError> => {
      if (typeof value !== "object" || value === null || Array.isArray(value)) {
        return failed("decode", `Expected object${atPath(path)}`)
      }
      const event = lenient ? Object.fromEntries(mendAttributes(Object.entries(value))) : value
      const { data, data_base64, ...rest }: Record<string, unknown> & Member = { ...event }
      if (data !== undefined && data_base64 !== undefined) {
        return failed("decode", `Expected data or data_base64, got both${atPath(path)}`)
      }
      // JSON format, section 2.2: an attribute that is null is none.
      const entries = Object.entries(rest).filter(([, value]) => value !== null)
      const result = Rules.fromEntries(entries, (name) => atPath([...path, name]))
      return Effect.flatMapEager(fromResult("decode", result), (attributes) => {
        const { datacontenttype } = attributes
        const member: Member = { data: dataOf(data), data_base64 }
        // Section 3.1: JSON is implied, for data that is there as JSON.
        const type = datacontenttype ?? (data_base64 === undefined ? "application/json" : undefined)
        const wrong = isNone(member) || type === undefined ? undefined : refusal(kind, type)
        if (wrong !== undefined) return failed("decode", `${wrong}${atPath([...path, "datacontenttype"])}`)
        return Effect.mapEager(kind.fromMember(member, path, datacontenttype), (data) => ({ ...attributes, data }))
      })
    }
    return { value, decode }
  }
