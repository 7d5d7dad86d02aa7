/** Events on their way into the store: each with the id that its requests will have. */
import * as SecureRandom from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import { type Codec, makeCodec } from "../../durable/internal/eventCodec.ts"
import { EnvelopeError } from "../../internal/encoding/envelopeError.ts"
import type { DurableWriteError } from "../../durable/internal/error.ts"
import { type Addressed, InvalidEvent, type Message } from "./model.ts"

/** An event with the id that it has at every attempt. */
export type Identified<A> = Addressed<A> & { readonly id: string }

/** An id is assigned once, at the write, and is in the stored payload: no attempt and no process has another. */
export const identified = <A>(write: Addressed<A>): Identified<A> => ({ ...write, id: write.id ?? newId() })

export const newId = (): string => `msg_${SecureRandom.uuidV7Unsafe().replaceAll("-", "")}`

export const messageCodec = <A>(schema: Schema.ConstraintCodec<A, unknown>): Codec<Message<A>> =>
  makeCodec(Schema.Struct({ id: Schema.String, topic: Schema.String, event: schema }))

/** Encodes what is written. An id that no request could carry, or a topic that no pattern can name, fails the write. */
export const writtenCodec = <A>(codec: Codec<Message<A>>, name: string): Pick<Codec<Identified<A>>, "encode"> => ({
  encode: ({ event, id, tenant, topic }) => {
    const invalid = invalidOf({ name, id: id.slice(0, longestId), tenant, topic }, problemOf(id))
    return invalid === undefined
      ? codec.encode({ id, topic, event })
      : Effect.fail(new EnvelopeError({ direction: "encode", message: invalid.message, cause: invalid }))
  }
})

/** What a write fails with: an event that is wrongly addressed has an error of its own. */
export const errorOfWrite = (error: DurableWriteError): DurableWriteError | InvalidEvent => {
  const { reason } = error
  return reason._tag === "Unencodable" && reason.cause.cause instanceof InvalidEvent ? reason.cause.cause : error
}

// internals

const longestId = 500

const invalidOf = (
  of: Pick<InvalidEvent, "name" | "id" | "tenant" | "topic">,
  ofId: string | undefined
): InvalidEvent | undefined => {
  const is = (field: InvalidEvent["field"], problem: string) => new InvalidEvent({ ...of, field, problem })
  if (of.tenant === "") return is("tenant", "is empty")
  if (of.topic === "") return is("topic", "is empty")
  return ofId === undefined ? undefined : is("id", ofId)
}

/** An id is what `WebhookSignature.sign` takes, within what stores hold. */
const problemOf = (id: string): string | undefined => {
  if (id === "") return "is empty"
  if (id.length > longestId) return `is longer than ${longestId} characters`
  if (id.includes(".")) return "has a full stop, which a signature takes for the end of the id"
  if (!/^[ -~]*$/.test(id)) return "has a character outside of printable ASCII"
  return id.startsWith(" ") || id.endsWith(" ") ? "begins or ends with a space" : undefined
}
