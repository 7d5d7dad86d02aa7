/**
 * The form of events in requests: media types, bodies and headers. An error of decoding names a place, in a body or a
 * header, and never quotes a body. The size of a request is for the server to bound: `decode` has it in memory already.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { decoder, encoder, fromResult } from "../internal/encoding/codec.ts"
import { EnvelopeError, quoted } from "../internal/encoding/envelopeError.ts"
import * as Json from "../internal/encoding/json.ts"
import * as Utf8 from "../internal/encoding/utf8.ts"
import {
  decodeEach,
  decodeJson,
  decodeText,
  encodeJson,
  type InvalidEvent,
  type Message,
  type OnInvalid,
  type Part
} from "./internal/envelope/body.ts"
import * as MediaType from "./internal/envelope/mediaType.ts"
import * as RegistryEvent from "./RegistryEvent.ts"

export { EnvelopeError, type InvalidEvent, type Message, type OnInvalid, type Part }

/** A mistake in the program is a defect. */
const check = (isRight: boolean, option: string, expected: string, value: string): void => {
  if (!isRight) throw new RangeError(`${option} must be ${expected}, and is ${quoted(value)}`)
}

/** The media types of a registry's notifications, which differ in their version only. */
const registryTypes: ReadonlyArray<string> = [RegistryEvent.mediaType, RegistryEvent.mediaTypeV2]

const versionOf = (contentType: string): number | undefined => {
  const syntax = /^application\/vnd\.docker\.distribution\.events\.v([1-9]\d{0,2})\+json$/
  const digits = syntax.exec(MediaType.essence(contentType))?.[1]
  return digits === undefined ? undefined : Number(digits)
}

const decodeRegistryBody = decoder(Schema.Struct({ events: Schema.NullOr(Schema.Array(Schema.Unknown)) }))
const decodeRegistryEvent = decoder(RegistryEvent.RegistryEvent)
const encodeRegistryEvent = encoder(RegistryEvent.RegistryEvent)

/**
 * The form that events have on the wire, both ways. Encoding is by event, so that filling a request up to a limit encodes
 * each event once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Envelope<in out A> {
  /** The `content-type` of a request, with its parameters. */
  readonly contentType: string
  /** The bytes around and between the events of one request, or nothing when a request carries exactly one. */
  readonly join: Join | undefined
  /** The id of an event, the same at every attempt; nothing when the envelope has no such function. */
  readonly id: ((event: A) => string) | undefined
  /** The key by which a receiver deduplicates events: the `id` unless given. */
  readonly identity?: ((event: A) => string) | undefined
  /** Which requests are of this envelope: those of its media type, in UTF-8, unless given. */
  readonly accepts?: Accepts | undefined
  /** One event's part of a request. An `Exit` is cheapest, where no effect is needed. */
  readonly encode: (event: A) => Effect.Effect<Part, EnvelopeError>
  /** The events of a request, in order. A request with one bad event is refused whole, unless `onInvalid` is given. */
  readonly decode: (message: Message) => Effect.Effect<ReadonlyArray<A>, EnvelopeError>
}

/**
 * How a receiver of several envelopes finds the one that a request is of.
 *
 * @category models
 * @since 0.1.0
 */
export interface Accepts {
  /** Whether these are the headers of such a request. Names are in lower case. */
  readonly test: (headers: Message["headers"]) => boolean
  /** The properties of such a request, for the answer to one that no envelope accepts. */
  readonly expected: string
  /** The media types of such requests, for the `Accept` header of that answer: none when other headers decide. */
  readonly mediaTypes?: ReadonlyArray<string> | undefined
  /** A warning about such a request, although it decodes, such as an unknown version. An ingress logs each text once. */
  readonly warning?: ((headers: Message["headers"]) => string | undefined) | undefined
}

/**
 * The bytes of a request that belong to no event: `prefix`, then the parts with `separator` between them, then `suffix`.
 *
 * @category models
 * @since 0.1.0
 */
export interface Join {
  readonly prefix: Uint8Array
  readonly separator: Uint8Array
  readonly suffix: Uint8Array
}

/**
 * Options of an envelope of one JSON value a line.
 *
 * @category options
 * @since 0.1.0
 */
export interface NdjsonOptions<in A> extends BatchOptions {
  /** The id of an event. */
  readonly id?: ((event: A) => string) | undefined
}

/**
 * How requests of many events are read.
 *
 * @category options
 * @since 0.1.0
 */
export interface BatchOptions {
  /** Leaves out each event that is not decoded, and keeps or reports it. Without it the request is refused. */
  readonly onInvalid?: OnInvalid | undefined
}

/**
 * Options of an envelope of one JSON value a request.
 *
 * @category options
 * @since 0.1.0
 */
export interface JsonOptions<in A> {
  /** The id of an event. */
  readonly id?: ((event: A) => string) | undefined
  /** The media type of a request: `application/json` by default. A text that is not a media type is a defect. */
  readonly contentType?: string | undefined
}

/**
 * One event a request, as a JSON text.
 *
 * **Details**
 *
 * JSON is that of `Schema.toCodecJson`: what a schema has beyond JSON is written in a form that can be read again, such
 * as a `Date` as a string. It is UTF-8, and a byte order mark in front of it is passed over. Of equal keys the last one
 * counts, and a number that a double cannot hold exactly is what `JSON.parse` makes of it. A text that is nested more than
 * 1,000 deep is not decoded, since it could not be encoded again. Media types are compared without case and parameters;
 * a `charset` must be UTF-8.
 *
 * **Gotchas**
 *
 * A field of `Schema.optional` that is there and `undefined` is written as `null`; `Schema.optionalKey` has no such value.
 *
 * **Example** (An event as the body of a request)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import * as Envelope from "effect-events/http/Envelope"
 *
 * const Order = Schema.Struct({ id: Schema.String, at: Schema.Date })
 * const orders = Envelope.json(Order, { id: (order) => order.id })
 *
 * const program = Effect.gen(function* () {
 *   const { body } = yield* orders.encode({ id: "a", at: new Date(0) })
 *   yield* Console.log(new TextDecoder().decode(body))
 *   const [order] = yield* orders.decode({ headers: { "content-type": "application/json" }, body })
 *   yield* Console.log(order?.at.getTime())
 * })
 *
 * Effect.runPromise(program)
 * // prints: {"id":"a","at":"1970-01-01T00:00:00.000Z"}
 * // prints: 0
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const json = <A>(schema: Schema.ConstraintCodec<A, unknown>, options?: JsonOptions<NoInfer<A>>): Envelope<A> => {
  const contentType = options?.contentType ?? "application/json"
  check(MediaType.isMediaType(contentType), "Envelope.json: contentType", "a media type", contentType)
  const decode = decoder(schema)
  return {
    contentType,
    join: undefined,
    id: options?.id,
    encode: encodeJson(encoder(schema)),
    decode: decodeJson(MediaType.essence(contentType), (value) => Effect.mapEager(decode(value), (event) => [event]))
  }
}

/**
 * Many events a request, each a JSON text, as of `json`, on a line of its own: `application/x-ndjson`.
 *
 * **Details**
 *
 * Every line is ended by a line feed. Decoding also takes lines that end in CR LF, a last line without an end, and blank
 * lines after the last event; any other bad line is refused with its number, counted from 1.
 *
 * @category constructors
 * @since 0.1.0
 */
export const ndjson = <A>(
  schema: Schema.ConstraintCodec<A, unknown>,
  options?: NdjsonOptions<NoInfer<A>>
): Envelope<A> => {
  const contentType = "application/x-ndjson"
  const lineFeed = Utf8.encode("\n")
  const decode = decoder(schema)
  const decodeLine = (text: string, index: number): Effect.Effect<A, EnvelopeError> =>
    Effect.flatMapEager(fromResult("decode", Json.received(text, index + 1)), (value) =>
      Effect.mapErrorEager(
        decode(value),
        ({ cause, direction, message }) =>
          new EnvelopeError({ direction, message: `${message} on line ${index + 1}`, cause })
      )
    )
  return {
    contentType,
    join: { prefix: new Uint8Array(), separator: lineFeed, suffix: lineFeed },
    id: options?.id,
    encode: encodeJson(encoder(schema)),
    decode: decodeText(contentType, (text) => decodeEach(lines(text), decodeLine, options?.onInvalid))
  }
}

/**
 * Options of an envelope of a Docker Registry's notifications.
 *
 * @category options
 * @since 0.1.0
 */
export interface RegistryOptions extends BatchOptions {
  /**
   * The media type of a request that is sent: `RegistryEvent.mediaType` by default, `RegistryEvent.mediaTypeV2`, or a
   * later version. Any other is a defect.
   */
  readonly mediaType?: string | undefined
}

/**
 * The envelope of `registry`, sent under another media type.
 *
 * **Details**
 *
 * A receiver compares the media type, and refuses an unknown version. Which requests are decoded does not depend on it.
 *
 * **Gotchas**
 *
 * The events are not converted: a receiver of version 1 gets the fields that a registry of version 3 has written.
 *
 * **Example** (A receiver that is made for registries from version 3.0 on)
 *
 * ```ts
 * import * as Envelope from "effect-events/http/Envelope"
 * import * as RegistryEvent from "effect-events/http/RegistryEvent"
 *
 * const envelope = Envelope.registryWith({ mediaType: RegistryEvent.mediaTypeV2 })
 *
 * console.log(envelope.contentType)
 * // prints: application/vnd.docker.distribution.events.v2+json
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const registryWith = (options?: RegistryOptions): Envelope<RegistryEvent.RegistryEvent> => {
  const contentType = options?.mediaType ?? RegistryEvent.mediaType
  const isRight = MediaType.isMediaType(contentType) && versionOf(contentType) !== undefined
  check(isRight, "Envelope.registryWith: mediaType", `${RegistryEvent.mediaType} or a later version`, contentType)
  return {
    contentType,
    join: { prefix: Utf8.encode('{"events":['), separator: Utf8.encode(","), suffix: Utf8.encode("]}") },
    id: (event) => event.id,
    accepts: {
      // A later version is accepted, since its body may well decode.
      test: ({ "content-type": type = "" }) => versionOf(type) !== undefined && MediaType.isUtf8(type),
      expected: registryTypes.join(" or "),
      mediaTypes: registryTypes,
      warning: ({ "content-type": type = "" }) =>
        (versionOf(type) ?? 0) > registryTypes.length
          ? `${MediaType.essence(type)} is later than version ${registryTypes.length}, the latest known`
          : undefined
    },
    // The schema changes nothing but the order of the fields, so the event that it has judged is written as it is.
    encode: encodeJson((event) => Effect.mapEager(encodeRegistryEvent(event), () => event)),
    decode: (message) => {
      const { "content-type": type = "" } = message.headers
      const expected = versionOf(type) === undefined ? registryTypes.join(" or ") : MediaType.essence(type)
      const decodeEvent = (event: unknown, index: number) =>
        // The schema has found this type; its own answer has the fields in another order.
        Effect.mapEager(decodeRegistryEvent(event, ["events", index]), () => event as RegistryEvent.RegistryEvent)
      return decodeJson(expected, (body) =>
        Effect.flatMapEager(decodeRegistryBody(body), ({ events }) =>
          decodeEach(events ?? [], decodeEvent, options?.onInvalid)
        )
      )(message)
    }
  }
}

/**
 * Many events a request, as a Docker Registry notifies its endpoints: `{"events":[...]}` of the media type
 * `application/vnd.docker.distribution.events.v1+json`. `registryWith` sends under another version.
 *
 * **Details**
 *
 * It decodes requests of version 1, of version 2, which registries from 3.0 on post, and of later versions. An
 * `EventIngress` logs a warning, once for each later version. An event goes on as it came, unknown fields and the order of
 * all fields included. Of the request itself only `events` is read, which may be `null`.
 *
 * **Gotchas**
 *
 * Events are plain objects: properties of a prototype are not written.
 *
 * @category constructors
 * @since 0.1.0
 */
export const registry: Envelope<RegistryEvent.RegistryEvent> = registryWith()

// internals

/** The lines of a text, less the blank ones at its end. */
const lines = (text: string): ReadonlyArray<string> => {
  const lines = text.split("\n")
  while (/^[ \t\r]*$/.test(lines.at(-1) ?? "x")) lines.pop()
  return lines
}
