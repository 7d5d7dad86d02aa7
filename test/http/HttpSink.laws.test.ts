import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import type { Envelope } from "../../src/http/Envelope.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { checksOf } from "../support/runs.ts"

// The suite runs on virtual time, which no socket knows: here its receiver stands behind a client without one.

const encoder = new TextEncoder()

const numbers: Envelope<number> = {
  contentType: "application/json",
  join: undefined,
  id: String,
  encode: (n) => Effect.succeed({ body: encoder.encode(String(n)), headers: {} }),
  decode: () => Effect.succeed([])
}
const join = { prefix: encoder.encode("["), separator: encoder.encode(","), suffix: encoder.encode("]") }

/** A client whose server is the suite's receiver. */
const clientTo = (receiver: SinkLaws.Receiver<number>): HttpClient.HttpClient =>
  HttpClient.make((request) => {
    const text = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : ""
    const events: unknown = JSON.parse(text)
    const write = Array.isArray(events)
      ? receiver.batch.writeSome(events as [number])
      : receiver.write(events as number)
    return Effect.matchEffect(write, {
      onSuccess: () => Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status: 204 }))),
      onFailure: (error) =>
        error._tag === "SinkClosed"
          ? Effect.fail(
              new HttpClientError.HttpClientError({
                reason: new HttpClientError.TransportError({ request, cause: error })
              })
            )
          : Effect.succeed(HttpClientResponse.fromWeb(request, new Response(null, { status: 503 })))
    })
  })

const subjects = ([undefined, join] as const).map((join) =>
  SinkLaws.subject({
    name: join === undefined ? "HttpSink of one event a request" : "HttpSink of batches",
    event: (n) => n,
    read: (n: number) => n,
    make: (receiver: SinkLaws.Receiver<number>) =>
      Effect.provideService(
        HttpSink.make({ url: "http://receiver.test/", envelope: { ...numbers, join }, timeout: "1 hour" }),
        HttpClient.HttpClient,
        clientTo(receiver)
      )
  })
)

const checks = checksOf(subjects, (subject) => SinkLaws.laws.filter((law) => law.concerns(subject)))

describe.each(checks)("$0.name", (subject, laws) => {
  it.live.each(laws)("law $number: $title", (law) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* SinkLaws.check(subject, { laws: [law.number] }), [])
    })
  )
})
