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

/** Decodes a request of a media type from its JSON value. */
export const decodeJson = <A>(mediaType: string, decode: (value: unknown) => Effect.Effect<A, EnvelopeError>) =>
  decodeText(mediaType, (text) => Effect.flatMapEager(fromResult("decode", Json.received(text)), decode))

// internals

/** Nothing beside the `content-type`. */
const noHeaders: Readonly<Record<string, string>> = Object.freeze({})

const toPart = (body: Uint8Array): Part => ({ body, headers: noHeaders })
