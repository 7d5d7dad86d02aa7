/** The signatures of requests, and the ids that they are signed with. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as HttpBody from "effect/http/HttpBody"
import * as Layer from "effect/Layer"
import type * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import type { Envelope } from "../../Envelope.ts"
import { type InvalidMessage, type InvalidSecret, type Secret, secret, sign } from "../../WebhookSignature.ts"
import type { Filled } from "./fill.ts"

/** Adds to a request of the first events of a group what makes it a signed one. */
export type Signer<A> = (content: Filled, events: NonEmptyReadonlyArray<A>) => Effect.Effect<Filled, InvalidMessage>

interface Options<A> {
  readonly secrets: NonEmptyReadonlyArray<Redacted.Redacted<string>>
  readonly id?: ((event: A) => string) | undefined
}

export const makeSigner = <A>(
  signing: Options<A> | undefined,
  envelope: Envelope<A>
): Effect.Effect<Signer<A>, InvalidSecret, Scope.Scope> => {
  if (signing === undefined) return Effect.succeed(Effect.succeed)
  const id = signing.id ?? envelope.id
  if (id === undefined) {
    const message = "HttpSink.make: signing needs the ids of events, and the envelope has none: give signing.id"
    return Effect.die(new Error(message))
  }
  return Effect.gen(function* () {
    // Not empty, as those that were given.
    const secrets = (yield* Effect.forEach(signing.secrets, secret)) as [Secret, ...Array<Secret>]
    const { digestHex } = Context.get(yield* Layer.build(Digest.layerWebCrypto), Digest.Digest)
    const idOf = (events: NonEmptyReadonlyArray<A>, count: number): Effect.Effect<string> =>
      count === 1
        ? Effect.succeed(id(events[0]))
        : Effect.map(
            digestHex(Digest.sha256, joint(events.slice(0, count).map(id))),
            (hex) => `batch_${hex.slice(0, 32)}`
          )
    return (content, events) =>
      Effect.flatMap(
        Effect.suspend(() => idOf(events, content.count)),
        (id) =>
          Effect.map(sign({ id, body: content.body }, secrets), (signature) => ({
            body: content.body,
            headers: { ...content.headers, ...signature },
            count: content.count
          }))
      )
  })
}

/** Ids as one text that no other ids make: each after its length in bytes. */
const joint = (ids: ReadonlyArray<string>): Uint8Array =>
  // The length of an id in UTF-8, which the platform's types are not needed for.
  HttpBody.text(ids.map((id) => `${HttpBody.text(id).contentLength}:${id}`).join("")).body
