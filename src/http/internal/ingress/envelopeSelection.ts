/** The selection of the envelope that decodes a request, by the headers alone. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import { quoted } from "../../../internal/encoding/envelopeError.ts"
import type { Accepts, Envelope, Message } from "../../Envelope.ts"
import * as MediaType from "../envelope/mediaType.ts"
import { type Refused, refuse } from "./refusal.ts"

/** Answers the first envelope that accepts a request. */
export const makeSelectEnvelope = <A>(envelopes: NonEmptyReadonlyArray<Envelope<A>>) => {
  const all = envelopes.map((envelope) => ({ envelope, ...(envelope.accepts ?? ofMediaType(envelope.contentType)) }))
  const expected = all.map(({ expected }) => expected).join(" or ")
  // RFC 9110, section 15.5.16: the media types, or the codings, that are accepted.
  const accept = all.flatMap(({ mediaTypes = [] }) => mediaTypes).join(", ")
  const headers = accept === "" ? undefined : { accept }
  return (given: Message["headers"]): Effect.Effect<Envelope<A>, Refused> => {
    // A small encoded body may decode to one of any size.
    if (!/^(?:identity)?$/i.test(given["content-encoding"]?.trim() ?? "")) {
      return refuse(415, 'Expected no coding in header "content-encoding"', { headers: identity })
    }
    const selected = all.find(({ test }) => test(given))
    if (selected !== undefined) return Effect.succeed(selected.envelope)
    const contentType = given["content-type"]
    const got = contentType === undefined ? "none" : quoted(contentType)
    return refuse(415, `Expected ${expected}, got ${got} in header "content-type"`, { headers })
  }
}

// internals

const identity = { "accept-encoding": "identity" }

const ofMediaType = (contentType: string): Accepts => {
  const expected = MediaType.essence(contentType)
  const test = (headers: Message["headers"]) => MediaType.refusal(headers["content-type"], expected) === undefined
  return { test, expected, mediaTypes: [expected] }
}
