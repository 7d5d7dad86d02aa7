/** By what a receiver knows a repeated event. */
import * as Digest from "effect/crypto/Digest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { Envelope } from "../../Envelope.ts"
import * as Utf8 from "../../../internal/encoding/utf8.ts"

/** An id that is longer is kept as its digest: whoever sends chooses how long ids are, and many are kept. */
const longest = 128

/**
 * The ids of a request's events, or nothing when they have none. A signed request has one id, which its sender promises
 * to be the same for the same events; so the place within it tells an event from its siblings.
 */
export type Identify = <A>(
  envelope: Envelope<A>,
  events: ReadonlyArray<A>,
  signed: string | undefined
) => Effect.Effect<ReadonlyArray<string> | undefined>

export const makeIdentify: Effect.Effect<Identify, never, Scope.Scope> = Effect.map(
  Layer.build(Digest.layerWebCrypto),
  (context) => {
    const { digestHex } = Context.get(context, Digest.Digest)
    // As JSON, which keeps apart what UTF-8 does not, lone surrogates, and whose text is one of its own: an id may be a
    // slice that keeps all of a body, and a digest is a chain of many pieces. No digest is an id, since it is in an array.
    const short = (id: string) => {
      const text = JSON.stringify(id)
      if (text.length <= longest) return Effect.succeed(text)
      return Effect.map(digestHex(Digest.sha256, Utf8.encode(text)), (digest) => JSON.stringify([digest]))
    }
    return (envelope, events, signed) =>
      Effect.suspend(() => {
        const identity = envelope.identity ?? envelope.id
        if (signed !== undefined) return Effect.forEach(events, (_, place) => short(`${place} ${signed}`))
        return identity === undefined ? Effect.undefined : Effect.forEach(events, (event) => short(identity(event)))
      })
  }
)
