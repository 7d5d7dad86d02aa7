/** Events on their way into the store: each with the id that its requests will have. */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Codec, makeCodec } from "../../durable/internal/eventCodec.ts"
import { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { Addressed, Message } from "./model.ts"

/** An event with the id that it has at every attempt. */
export type Identified<A> = Addressed<A> & { readonly id: string }

/** An id is assigned once, at the write, and is in the stored payload: no attempt and no process has another. */
export const identified = <A>(write: Addressed<A>): Identified<A> => ({ ...write, id: write.id ?? newId() })

export const newId = (): string => `msg_${SecureRandom.uuidV7Unsafe().replaceAll("-", "")}`

export const messageCodec = <A>(schema: Schema.ConstraintCodec<A, unknown>): Codec<Message<A>> =>
  makeCodec(Schema.Struct({ id: Schema.String, topic: Schema.String, event: schema }))

/** Encodes what is written. An id that no request could carry, or a topic that no pattern can name, fails the write. */
export const writtenCodec = <A>(codec: Codec<Message<A>>): Pick<Codec<Identified<A>>, "encode"> => ({
  encode: ({ event, id, tenant, topic }) => {
    const problem =
      tenant === "" ? "the tenant is empty" : topic === "" ? "the topic is empty" : goodId.test(id) ? undefined : badId
    return problem === undefined
      ? codec.encode({ id, topic, event })
      : Effect.fail(new EnvelopeError({ direction: "encode", message: problem }))
  }
})

// internals

/** What `WebhookSignature.sign` takes, within what stores hold. */
const goodId = /^(?! )[ -\-/-~]{1,500}(?<! )$/

const badId =
  "the id is empty, longer than 500 characters, or has a full stop or a character outside of printable ASCII"
