/** Events as the bytes that a store keeps: JSON by a schema. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { decoder, encoder, fromResult, guarded, toBytes } from "../../internal/encoding/codec.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import * as Json from "../../internal/encoding/json.ts"
import * as Utf8 from "../../internal/encoding/utf8.ts"

/** Encoding and decoding are mostly synchronous: they are over when the effect is made. */
export interface Codec<A> {
  readonly encode: (event: A) => Effect.Effect<Uint8Array, EnvelopeError>
  readonly decode: (payload: Uint8Array) => Effect.Effect<A, EnvelopeError>
}

export const makeCodec = <A>(schema: Schema.ConstraintCodec<A, unknown>): Codec<A> => {
  const encode = encoder(schema)
  const decode = decoder(schema)
  return {
    encode: (event) => guarded("encode", () => Effect.flatMapEager(encode(event), toBytes)),
    decode: (payload) =>
      guarded("decode", () => {
        const json = Result.flatMap(Utf8.decode(payload), (text) => Json.parse(text))
        return Effect.flatMapEager(fromResult("decode", json), (value) => decode(value))
      })
  }
}
