/** The signatures of requests, and the ids that they are signed with. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as Layer from "effect/Layer"
import type { Envelope } from "../../Envelope.ts"
import { sign } from "../../WebhookSignature.ts"
import { type SecretInput, secretsOf } from "../signature/webhookSecret.ts"

/**
 * How requests are signed: Standard Webhooks, see `WebhookSignature`.
 *
 * @category options
 * @since 0.1.0
 */
export interface Signing<in A> {
  /** Each of them signs: while a secret is being replaced, the old one and the new. */
  readonly secrets: NonEmptyReadonlyArray<SecretInput>
  /** The id of an event, the same at every attempt: the envelope's by default. */
  readonly id?: ((event: A) => string) | undefined
}

/** Makes the headers that sign a request with this body, of these events. */
export const makeSigner = Effect.fnUntraced(function* <A>(signing: Signing<A>, envelope: Envelope<A>) {
  const id = signing.id ?? envelope.id
  if (id === undefined) {
    throw new Error("HttpSink.make: signing needs the ids of events, and the envelope has none: give signing.id")
  }
  const secrets = yield* secretsOf("signing.secrets", signing.secrets)
  const { digestHex } = Context.get(yield* Layer.build(Digest.layerWebCrypto), Digest.Digest)
  const idOf = (events: NonEmptyReadonlyArray<A>): Effect.Effect<string> =>
    events.length === 1
      ? Effect.succeed(id(events[0]))
      : Effect.map(digestHex(Digest.sha256, joint(events.map(id))), (hex) => `batch_${hex.slice(0, 32)}`)
  return (body: Uint8Array, events: NonEmptyReadonlyArray<A>) =>
    Effect.flatMap(
      Effect.suspend(() => idOf(events)),
      (id) => sign({ id, body }, secrets)
    )
})

// internals

/** Ids as one text that no other ids make: each after its length in bytes. */
const joint = (ids: ReadonlyArray<string>): Uint8Array =>
  // The length of an id in UTF-8, which the platform's types are not needed for.
  HttpBody.text(ids.map((id) => `${HttpBody.text(id).contentLength}:${id}`).join("")).body
