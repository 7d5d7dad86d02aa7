/**
 * How events become requests, and requests events: media types, bodies and headers.
 *
 * **Details**
 *
 * JSON is that of `Schema.toCodecJson`: what a schema has beyond JSON is written in a form that can be read again, such
 * as a `Date` as a string. It is UTF-8, and a byte order mark in front of it is passed over. Of equal keys the last one
 * counts, and a number that a double cannot hold exactly is what `JSON.parse` makes of it. A text that is nested more than
 * 1,000 deep is not decoded: nobody could encode it again. Media types are compared without case and without their
 * parameters; a `charset` must be UTF-8.
 *
 * **Gotchas**
 *
 * A field of `Schema.optional` that is there and `undefined` is written as `null`; `Schema.optionalKey` has no such
 * value. How large a request may be is for the server to bound: `decode` has it in memory already.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as Body from "./internal/envelope/body.ts"
import { andThenEager } from "../internal/eager.ts"
import { decoded, decoder, encoder, failed, guarded, guardedEager } from "../internal/encoding/codec.ts"
import { EnvelopeError } from "../internal/encoding/envelopeError.ts"
import * as Json from "../internal/encoding/json.ts"
import * as MediaType from "./internal/envelope/mediaType.ts"
import * as RegistryVersion from "./internal/envelope/registryVersion.ts"
import * as Utf8 from "../internal/encoding/utf8.ts"
import * as RegistryEvent from "./RegistryEvent.ts"

export { EnvelopeError }

/**
 * The form that events have on the wire, both ways. Encoding is by event, so that whoever fills a request up to a limit
 * encodes each event once.
 *
 * @category models
 * @since 0.1.0
 */
export interface Envelope<in out A> {
  /** The `content-type` of a request, with its parameters. */
  readonly contentType: string
  /** What stands around and between the events of one request, or nothing when a request carries exactly one. */
  readonly join: Join | undefined
  /** The id of an event, the same at every attempt; nothing when the envelope does not know where events have theirs. */
  readonly id: ((event: A) => string) | undefined
  /** What tells an event from all others, by which a receiver knows a repeat: the `id` unless given. */
  readonly identity?: ((event: A) => string) | undefined
  /** Which requests are of this envelope: those of its media type, in UTF-8, unless given. */
  readonly accepts?: Accepts | undefined
  /** One event's part of a request. An `Exit` is cheapest, where no effect is needed. */
  readonly encode: (event: A) => Effect.Effect<Part, EnvelopeError>
  /** The events of a request, in order. A request with one bad event is refused whole. */
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
  /** What such a request has, for the answer to one that no envelope accepts. */
  readonly expected: string
  /** The media types of such requests, for the `Accept` header of that answer: none when the media type does not tell. */
  readonly mediaTypes?: ReadonlyArray<string> | undefined
  /** What is doubtful about such a request although it decodes, such as an unknown version. An ingress logs each text once. */
  readonly warning?: ((headers: Message["headers"]) => string | undefined) | undefined
}

/**
 * One event, encoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface Part {
  readonly body: Uint8Array
  /** Headers of the request beside `content-type`, in lower case; also a `content-type` in place of the envelope's. */
  readonly headers: Readonly<Record<string, string>>
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
 * A request as it came.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: Uint8Array
}

/**
 * @category options
 * @since 0.1.0
 */
export interface NdjsonOptions<in A> {
  /** Where events have their id. */
  readonly id?: ((event: A) => string) | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface JsonOptions<in A> extends NdjsonOptions<A> {
  /** The media type of a request: `application/json` by default. Anything that is no media type is a defect. */
  readonly contentType?: string | undefined
}

/**
 * One event a request, as a JSON text.
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
  const contentType = MediaType.checked("Envelope.json", options?.contentType ?? "application/json")
  const expected = MediaType.essence(contentType)
  const decode = decoder(schema)
  return {
    contentType,
    join: undefined,
    id: options?.id,
    encode: part(schema),
    decode: (message) =>
      guarded("decode", () =>
        Effect.flatMap(decoded(Body.json(message, expected)), (json) => Effect.map(decode(json), (event) => [event]))
      )
  }
}

/**
 * Many events a request, each a JSON text on a line of its own: `application/x-ndjson`.
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
  const decode = decoder(schema)
  const decodeLine = (line: string, index: number): Effect.Effect<A, EnvelopeError> => {
    const json = Json.received(line, index + 1)
    if (Result.isFailure(json)) return failed("decode", json.failure)
    return Effect.mapErrorEager(
      decode(json.success),
      ({ cause, message }) =>
        new EnvelopeError({ direction: "decode", message: `${message} on line ${index + 1}`, cause })
    )
  }
  return {
    contentType,
    join: { prefix: new Uint8Array(), separator: lineFeed, suffix: lineFeed },
    id: options?.id,
    encode: part(schema),
    decode: (message) =>
      guarded("decode", () =>
        Effect.flatMap(decoded(Body.text(message, contentType)), (text) => Effect.forEach(lines(text), decodeLine))
      )
  }
}

/**
 * @category options
 * @since 0.1.0
 */
export interface RegistryOptions {
  /**
   * The media type of a request that is sent: `RegistryEvent.mediaType` by default, `RegistryEvent.mediaTypeV2`, or a
   * later version. Any other is a defect.
   */
  readonly mediaType?: string | undefined
}

/**
 * The envelope of `registry`, sent under a media type of one's own choice.
 *
 * **Details**
 *
 * A receiver compares the media type, and refuses a version that it does not know. Which requests are decoded does not
 * depend on it.
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
export const registryWith = (options?: RegistryOptions): Envelope<RegistryEvent.RegistryEvent> => ({
  contentType: RegistryVersion.checked("Envelope.registryWith", options?.mediaType ?? RegistryEvent.mediaType),
  join: { prefix: Utf8.encode('{"events":['), separator: Utf8.encode(","), suffix: Utf8.encode("]}") },
  id: (event) => event.id,
  accepts: RegistryVersion.accepts,
  // The schema changes nothing but the order of the fields, so the event that it has judged is written as it is.
  encode: (event) => guardedEager("encode", () => andThenEager(encodeRegistryEvent(event), () => Body.toPart(event))),
  decode: (message) =>
    guarded("decode", () =>
      Effect.flatMap(decoded(Body.json(message, RegistryVersion.expectedOf(message.headers))), (json) =>
        Effect.map(
          decodeRegistryBody(json),
          // The schema has found this type; its own answer has the fields in another order.
          () => (json as { readonly events: ReadonlyArray<RegistryEvent.RegistryEvent> | null }).events ?? []
        )
      )
    )
})

const encodeRegistryEvent = encoder(RegistryEvent.RegistryEvent)
const decodeRegistryBody = decoder(Schema.Struct({ events: Schema.NullOr(Schema.Array(RegistryEvent.RegistryEvent)) }))

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
 * Events are plain objects: what one has from a prototype is not written.
 *
 * @category constructors
 * @since 0.1.0
 */
export const registry: Envelope<RegistryEvent.RegistryEvent> = registryWith()

const lineFeed = Utf8.encode("\n")

const part = <A>(schema: Schema.ConstraintCodec<A, unknown>) => {
  const encode = encoder(schema)
  return (event: A) => guardedEager("encode", () => andThenEager(encode(event), Body.toPart))
}

/** The lines of a text, less the blank ones at its end. */
const lines = (text: string): ReadonlyArray<string> => {
  const lines = text.split("\n")
  while (/^[ \t\r]*$/.test(lines.at(-1) ?? "x")) lines.pop()
  return lines
}
