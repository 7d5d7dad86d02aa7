/** The bodies of requests: what they are, from bytes to JSON and back. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { stringify } from "../../../internal/encoding/codec.ts"
import type { EnvelopeError } from "../../../internal/encoding/envelopeError.ts"
import * as Json from "../../../internal/encoding/json.ts"
import * as MediaType from "./mediaType.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"

/** The same as the public `Message`. */
interface Message {
  readonly headers: Readonly<Record<string, string | undefined>>
  readonly body: Uint8Array
}

/** Nothing beside the `content-type`. */
const noHeaders: Readonly<Record<string, string>> = Object.freeze({})

const part = (json: string) => ({ body: Utf8.encode(json), headers: noHeaders })

/** A JSON value as one event's part of a request. */
export const toPart = (value: unknown): Effect.Effect<ReturnType<typeof part>, EnvelopeError> =>
  Effect.mapEager(stringify(value), part)

/** The text of a request that must be of a media type. */
export const text = ({ body, headers }: Message, expected: string): Result.Result<string, string> => {
  const refusal = MediaType.refusal(headers["content-type"], expected)
  return refusal === undefined ? Utf8.decode(body) : Result.fail(refusal)
}

/** The JSON value of a request that must be of a media type. */
export const json = (message: Message, expected: string): Result.Result<unknown, string> =>
  Result.flatMap(text(message, expected), (text) => Json.received(text))
