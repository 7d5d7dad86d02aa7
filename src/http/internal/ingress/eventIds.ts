/** The ids of the events of a request: what a duplicate is recognised by, and what a stamp has. */
import * as Clock from "effect/Clock"
import * as Digest from "effect/crypto/Digest"
import * as Effect from "effect/Effect"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import type { Stamped } from "../../../internal/stamp.ts"
import type { Envelope } from "../../Envelope.ts"
import type { Genuine } from "./verification.ts"

/** Answers the ids of events, or nothing where they have none. */
export const idsOf = <A>(
  { id, identity = id }: Envelope<A>,
  events: ReadonlyArray<A>,
  genuine: Genuine | undefined
): ReadonlyArray<string> | undefined => {
  // A signed request has one id, the same for the same events: the place of an event tells it from its siblings.
  if (genuine !== undefined) return events.map((_, place) => `${place}/${genuine.id}`)
  return identity === undefined ? undefined : events.map((event) => identity(event))
}

/** What is written of events with these ids, if they have any, of a sender: as many, in their order. */
export type ToWritten<A, B> = (
  events: ReadonlyArray<A>,
  ids: ReadonlyArray<string> | undefined,
  sender: string | undefined
) => Effect.Effect<ReadonlyArray<B>>

export const asTheyAre = <A>(): ToWritten<A, A> => Effect.succeed

/** A longer id is stamped as its digest: senders choose the length of ids, and a store keeps them. */
const maxIdLength = 256
/** So is one that not every store can keep as it is: a NUL is no text of Postgres, and half a character no UTF-8. */
const unstorable = /[\0\p{Surrogate}]/u

/** Stamps events with their ids, those of a sender that has a name with that before; an event without an id with a random one. */
export const stampedBy = <A>(): Effect.Effect<ToWritten<A, Stamped<A>>> =>
  Effect.map(Effect.provide(Digest.Digest, Digest.layerWebCrypto), ({ digestHex }) => {
    const bounded = (id: string) =>
      id.length <= maxIdLength && !unstorable.test(id)
        ? Effect.succeed(id)
        : Effect.map(digestHex(Digest.sha256, Utf8.encode(JSON.stringify(id))), (digest) => `sha256:${digest}`)
    return (events, ids, sender) =>
      Effect.withFiber((fiber) => {
        const { span } = fiber.cache
        const time = fiber.getRef(Clock.Clock).currentTimeMillisUnsafe()
        const trace = span && { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled }
        const prefix = sender === undefined ? "" : `${encodeURIComponent(sender)}/`
        return Effect.forEach(events, (event, place) => {
          const id = ids?.[place]
          const found = id === undefined ? Effect.sync(() => globalThis.crypto.randomUUID()) : bounded(id)
          return Effect.map(found, (id) => ({ id: `${prefix}${id}`, time, trace, event }))
        })
      })
  })
