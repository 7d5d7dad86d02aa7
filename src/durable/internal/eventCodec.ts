/** Events as the bytes that a store keeps, JSON by a schema; and the deliveries of a store as rows with their events. */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Result from "effect/Result"
import type * as Schema from "effect/Schema"
import { exitsEager } from "../../internal/eager.ts"
import { decoder, encoder, failed, guarded, toText } from "../../internal/encoding/codec.ts"
import type { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import * as Json from "../../internal/encoding/json.ts"
import * as Utf8 from "../../internal/encoding/utf8.ts"
import type { Delivery } from "./port/records.ts"
import { type Row, rowOf } from "./rows.ts"

/** Encoding and decoding are mostly synchronous: they are over when the effect is made. */
export interface Codec<A> {
  readonly encode: (event: A) => Effect.Effect<Uint8Array, EnvelopeError>
  readonly decode: (payload: Uint8Array) => Effect.Effect<A, EnvelopeError>
}

export const makeCodec = <A>(schema: Schema.ConstraintCodec<A, unknown>): Codec<A> => {
  const encode = encoder(schema)
  const decode = decoder(schema)
  return {
    encode: (event) =>
      guarded("encode", () => Effect.mapEager(Effect.flatMapEager(encode(event), toText), Utf8.encodeShared)),
    decode: (payload) =>
      guarded("decode", () => {
        const text = Utf8.decode(payload)
        const json = Result.isSuccess(text) ? Json.parse(text.success) : text
        return Result.isSuccess(json) ? decode(json.success) : failed("decode", json.failure)
      })
  }
}

export interface Decoded<out A> {
  readonly rows: ReadonlyArray<Row<A>>
  readonly bad: ReadonlyArray<readonly [delivery: Delivery, cause: Cause.Cause<unknown>]>
}

/** Decodes deliveries in order: all, or up to the first that does not decode. `check` throws where a key cannot be had. */
export const decodeDeliveries = <A>(
  deliveries: ReadonlyArray<Delivery>,
  codec: Codec<A>,
  check: ((row: Row<A>) => unknown) | undefined,
  stops: boolean
): Effect.Effect<Decoded<A>> => {
  const rows: Array<Row<A>> = []
  const bad: Array<readonly [Delivery, Cause.Cause<unknown>]> = []
  let at = 0
  const next = () =>
    // Not out of bounds, by the condition.
    at < deliveries.length && (bad.length === 0 || !stops) ? codec.decode(deliveries[at]!.payload) : undefined
  const decoded = (exit: Exit.Exit<A, unknown>) => {
    const delivery = deliveries[at++]!
    if (exit._tag === "Failure") return void bad.push([delivery, exit.cause])
    const row = rowOf(delivery, exit.value)
    try {
      // The process that has written it may have had another function.
      check?.(row)
      rows.push(row)
    } catch (defect) {
      bad.push([delivery, Cause.die(defect)])
    }
  }
  return Effect.as(exitsEager(next, decoded), { rows, bad })
}
