/** Which of several envelopes a request is of. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type { Accepts, Envelope } from "../../Envelope.ts"
import { quoted } from "../../../internal/encoding/envelopeError.ts"
import * as MediaType from "../envelope/mediaType.ts"
import { type Refused, refused } from "./refused.ts"

const ofMediaType = (contentType: string): Accepts => {
  const expected = MediaType.essence(contentType)
  return {
    test: ({ "content-type": contentType }) =>
      contentType !== undefined && MediaType.essence(contentType) === expected && MediaType.isUtf8(contentType),
    expected,
    mediaTypes: [expected]
  }
}

/** The first envelope that a request is of, by its headers. */
export const makeChoose = <A>(envelopes: NonEmptyReadonlyArray<Envelope<A>>) => {
  const all = envelopes.map((envelope) => ({ envelope, ...(envelope.accepts ?? ofMediaType(envelope.contentType)) }))
  const expected = all.map(({ expected }) => expected).join(" or ")
  // RFC 9110, section 15.5.16.
  const accept = all.flatMap(({ mediaTypes = [] }) => mediaTypes)
  const headers: Readonly<Record<string, string>> = accept.length === 0 ? {} : { accept: accept.join(", ") }
  return (given: Readonly<Record<string, string | undefined>>): Effect.Effect<Envelope<A>, Refused> => {
    const found = all.find(({ test }) => test(given))
    if (found !== undefined) return Effect.succeed(found.envelope)
    const contentType = given["content-type"]
    const got = contentType === undefined ? "none" : quoted(contentType)
    return Effect.fail(refused(415, `Expected ${expected}, got ${got} in header "content-type"`, headers))
  }
}
