/** Requests of CloudEvents, as they are sent and as they come. */
import { assert } from "@effect/vitest"
import { Effect } from "effect"
import type * as Envelope from "../../../src/http/Envelope.ts"

const encoder = new TextEncoder()

/** The request that carries these events. */
export const requestOf = Effect.fnUntraced(function* <A>(envelope: Envelope.Envelope<A>, events: ReadonlyArray<A>) {
  const parts = yield* Effect.forEach(events, envelope.encode)
  const headers = { "content-type": envelope.contentType, ...parts[0]?.headers }
  if (envelope.join === undefined) return { headers, body: parts[0]?.body ?? assert.fail("no event") }
  const { prefix, separator, suffix } = envelope.join
  const bodies = parts.flatMap(({ body }, i) => (i === 0 ? [body] : [separator, body]))
  return { headers, body: new Uint8Array(Buffer.concat([prefix, ...bodies, suffix])) }
})

export const trip = <A>(envelope: Envelope.Envelope<A>, events: ReadonlyArray<A>) =>
  Effect.flatMap(requestOf(envelope, events), envelope.decode)

export const request = (contentType: string | undefined, body: unknown, headers: Record<string, string> = {}) => ({
  headers: { ...headers, "content-type": contentType },
  body: body instanceof Uint8Array ? body : encoder.encode(typeof body === "string" ? body : JSON.stringify(body))
})

/** The message of a failed decoding. A defect fails the test. */
export const refusal = <A>(envelope: Envelope.Envelope<A>, message: Envelope.Message) =>
  Effect.map(Effect.flip(envelope.decode(message)), (error) => {
    assert.strictEqual(error._tag, "EnvelopeError")
    assert.strictEqual(error.direction, "decode")
    return error.message
  })

export const structuredType = "application/cloudevents+json; charset=utf-8"
export const batchedType = "application/cloudevents-batch+json; charset=utf-8"

export const minimal = { id: "a1", source: "/shop", type: "com.example.order" } as const
export const wire = { specversion: "1.0", ...minimal }
export const wireHeaders = {
  "ce-specversion": "1.0",
  "ce-id": "a1",
  "ce-source": "/shop",
  "ce-type": "com.example.order"
}
