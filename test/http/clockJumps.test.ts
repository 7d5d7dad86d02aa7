/** Times of endpoints and of ingresses, where the wall clock is set ahead or back meanwhile. */
import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Redacted, Schema } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { Webhook } from "standardwebhooks"
import { EventSink } from "effect-events"
import * as Endpoint from "../../src/http/Endpoint.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import { settable } from "../support/settable.ts"
import { quiet, settle } from "../support/virtual.ts"
import { type Note, note, one } from "./support/envelopes.ts"
import { asking } from "./support/ingress.ts"
import { fakeClient } from "./support/receiver.ts"

const hour = Duration.toMillis("1 hour")
const jumps = [
  ["ahead", hour],
  ["back", -hour]
] as const

/** An endpoint over a receiver that gives one answer, and how many requests there were. */
const endpointOver = (answer: () => Response, options: Partial<Endpoint.Options<Note>> = {}) =>
  Effect.gen(function* () {
    let requests = 0
    const client = fakeClient(() =>
      Effect.sync(() => {
        requests++
        return answer()
      })
    )
    const endpoint = yield* Endpoint.make({
      ...Endpoint.distribution,
      name: "notes",
      url: "http://receiver.test/",
      envelope: one,
      onDisabled: () => Effect.void,
      drainTimeout: 0,
      ...options
    }).pipe(Effect.provideService(HttpClient.HttpClient, client))
    return { endpoint, requests: () => requests }
  })

describe.each(jumps)("with the wall clock set %s by an hour", (_, by) => {
  it.effect("a receiver gets no request for as long as it asks, and a request then", () =>
    Effect.gen(function* () {
      const clock = yield* settable
      const answer = () => new Response(null, { status: 503, headers: { "retry-after": "30" } })
      const { endpoint, requests } = yield* clock.provide(endpointOver(answer))
      yield* quiet(clock.provide(endpoint.write(note("x"))))
      yield* settle
      clock.set(by)
      yield* TestClock.adjust(29_999)
      yield* settle
      assert.strictEqual(requests(), 1)
      yield* TestClock.adjust(1)
      yield* settle
      assert.strictEqual(requests(), 2)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("an endpoint is disabled when it has failed for disableAfter, and not before", () =>
    Effect.gen(function* () {
      const clock = yield* settable
      const answer = () => new Response(null, { status: 503 })
      const { endpoint } = yield* clock.provide(
        endpointOver(answer, { disableAfter: "1 minute", threshold: 1, backoff: "10 seconds" })
      )
      yield* clock.provide(endpoint.write(note("x")))
      yield* settle
      clock.set(by)
      yield* TestClock.adjust(59_999)
      yield* settle
      assert.strictEqual((yield* endpoint.state)._tag, "Enabled")
      yield* TestClock.adjust(1)
      yield* settle
      assert.strictEqual((yield* endpoint.state)._tag, "Disabled")
    }).pipe(Effect.scoped, quiet)
  )
})

const Order = Schema.Struct({ id: Schema.String })
const order = JSON.stringify({ id: "a" })
const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

/** An ingress, and how many events its sink has. */
const ingress = (options: Partial<EventIngress.Options<typeof Order.Type>> = {}) =>
  Effect.gen(function* () {
    let events = 0
    const sink = yield* EventSink.sync(() => void events++)
    const envelopes = [Envelope.json(Order, { id: ({ id }) => id })] as const
    const ask = asking(yield* EventIngress.make(sink, { envelopes, ...options }))
    return { ask, events: () => events }
  })

describe("the deduplication window", () => {
  it.effect.each(jumps)("has its length with the wall clock set %s by an hour", ([, by]) =>
    Effect.gen(function* () {
      const clock = yield* settable
      const { ask, events } = yield* ingress({ deduplicate: { window: "10 minutes" } })
      const headers = { "content-type": "application/json" }
      const post = clock.provide(Effect.suspend(() => ask({ headers, body: order })))
      yield* post
      clock.set(by)
      yield* TestClock.adjust(599_999)
      yield* post
      assert.strictEqual(events(), 1)
      yield* TestClock.adjust(1)
      yield* post
      assert.strictEqual(events(), 2)
    })
  )

  it.effect("lasts for as long as a signature is accepted, also with the wall clock set back", () =>
    Effect.gen(function* () {
      const clock = yield* settable
      const { ask, events } = yield* ingress({ verify: { secrets: [Redacted.make(secret)] } })
      const signedAt = new Date(0)
      const headers = {
        "content-type": "application/json",
        "webhook-id": "msg_1",
        "webhook-timestamp": "0",
        "webhook-signature": new Webhook(secret).sign("msg_1", signedAt, order)
      }
      const post = clock.provide(Effect.suspend(() => ask({ headers, body: order })))
      yield* post
      yield* TestClock.adjust("11 minutes")
      clock.set(-Duration.toMillis("11 minutes"))
      assert.strictEqual((yield* post).status, 202)
      assert.strictEqual(events(), 1)
    })
  )
})
