/** The bodies of requests: what they are, from bytes to JSON and back. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { fromResult, guarded, toBytes } from "../../../internal/encoding/codec.ts"
import type { EnvelopeError } from "../../../internal/encoding/envelopeError.ts"
import * as Json from "../../../internal/encoding/json.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import * as MediaType from "./mediaType.ts"

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
 * A request as it came.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message {
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: Uint8Array
  /** The name of its sender, as proven by its signature: with an ingress that has `verify.senders`. */
  readonly sender?: string | undefined
}

/** Encodes an event as a JSON text, from what makes a JSON value of it. */
export const encodeJson =
  <A>(encode: (event: A) => Effect.Effect<unknown, EnvelopeError>) =>
  (event: A): Effect.Effect<Part, EnvelopeError> =>
    guarded("encode", () => Effect.mapEager(Effect.flatMapEager(encode(event), toBytes), toPart))

/** Decodes a request of a media type from its text. */
export const decodeText =
  <A>(mediaType: string, decode: (text: string) => Effect.Effect<A, EnvelopeError>) =>
  ({ body, headers }: Message): Effect.Effect<A, EnvelopeError> =>
    Effect.suspend(() => {
      const refusal = MediaType.refusal(headers["content-type"], mediaType)
      const text = refusal === undefined ? Utf8.decode(body) : Result.fail(refusal)
      return guarded("decode", () => Effect.flatMapEager(fromResult("decode", text), decode))
    })

/** Decodes a request of a media type from its JSON value, and the text of that. */
export const decodeJson = <A>(
  mediaType: string,
  decode: (value: unknown, text: string) => Effect.Effect<A, EnvelopeError>
) =>
  decodeText(mediaType, (text) =>
    Effect.flatMapEager(fromResult("decode", Json.received(text)), (value) => decode(value, text))
  )

/**
 * An event of a request that is not decoded.
 *
 * @category models
 * @since 0.1.0
 */
export interface InvalidEvent {
  /** Its place among the events of the request, from 0. */
  readonly index: number
  /** What is wrong, and where. */
  readonly error: EnvelopeError
  /** The event as it came, of any shape: a JSON value, or the text of a line. */
  readonly event: unknown
}

/**
 * Keeps or reports an event that is not decoded. The event is left out, and the others of its request are taken.
 *
 * **Details**
 *
 * Called in the order of the events, before any other of the request is written, and within a request that is signed where
 * the ingress has `verify`. The ingress then answers 202, also when no event is left: the sender does not send the event
 * again. Where the effect dies, the answer is 503 and the request comes again: `Effect.orDie` is for what cannot be kept.
 *
 * **Gotchas**
 *
 * An event comes again with each redelivery of its request. Its content may be secret, and so does not belong in a log.
 *
 * @category options
 * @since 0.1.0
 */
export type OnInvalid = (invalid: InvalidEvent) => Effect.Effect<void>

/** Decodes the events of a request: all of them, or with `onInvalid` those that can be. */
export const decodeEach = <I, A>(
  events: ReadonlyArray<I>,
  decode: (event: I, index: number) => Effect.Effect<A, EnvelopeError>,
  onInvalid: OnInvalid | undefined
): Effect.Effect<ReadonlyArray<A>, EnvelopeError> => {
  if (onInvalid === undefined) return Effect.forEach(events, decode)
  const each = Effect.forEach(events, (event, index) =>
    Effect.matchEffect(
      guarded("decode", () => decode(event, index)),
      {
        onSuccess: (decoded) => Effect.succeed([decoded]),
        onFailure: (error) => Effect.as(onInvalid({ index, error, event }), [])
      }
    )
  )
  return Effect.map(each, (decoded) => decoded.flatMap((one) => one))
}

// internals

/** Nothing beside the `content-type`. */
const noHeaders: Readonly<Record<string, string>> = Object.freeze({})

const toPart = (body: Uint8Array): Part => ({ body, headers: noHeaders })
