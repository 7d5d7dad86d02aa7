import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect } from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import * as SinkLaws from "effect-events/testing/SinkLaws"
import type { Envelope } from "../../src/http/Envelope.ts"
import * as Endpoint from "../../src/http/Endpoint.ts"
import { checksOf } from "../support/runs.ts"

// As in the suite of `HttpSink`: the receiver stands behind a client without a socket. That of an endpoint which is
// disabled is its `onDisabled`.

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

interface Kind {
  readonly name: string
  readonly options?: Partial<Endpoint.Options<number>>
  readonly order?: (n: number) => unknown
  readonly batches?: boolean
}

const kinds: ReadonlyArray<Kind> = [
  { name: "one at a time", options: { capacity: 2, ignore: (n) => n < 0 } },
  { name: "batches", batches: true, options: { maxEvents: 10 } },
  {
    name: "batches of a key, several at once",
    order: (n) => n % 2,
    batches: true,
    options: { concurrency: 3, maxEvents: 10, partitionBy: (n) => n % 2 }
  }
]

const made = (
  { batches = false, name, options }: Kind,
  receiver: SinkLaws.Receiver<number>
): Endpoint.Options<number> => ({
  ...Endpoint.distribution,
  name,
  url: "http://receiver.test/",
  envelope: { ...numbers, join: batches ? join : undefined },
  // A timeout gives each request a fiber beside the queue's, and law 11 counts one for a write that refuses to end.
  timeout: Duration.infinity,
  // A defect counts as a failure: by the first of them a breaker of 1 would hold the events behind it back as one batch.
  threshold: 2,
  backoff: "500 millis",
  // A sink that is closed below an endpoint is a bug of the wiring.
  onDisabled: (n) => Effect.orDie(receiver.reliable.write(n)),
  ...options
})

const subjects = kinds.flatMap((kind) => [
  SinkLaws.subject({
    name: `Endpoint, ${kind.name}`,
    event: (n) => n,
    read: (n: number) => n,
    queued: true,
    order: kind.order,
    capacity: kind.options?.capacity,
    delays: { max: "500 millis" },
    shutdown: (endpoint: Endpoint.Endpoint<number>) => endpoint.shutdown,
    make: (receiver: SinkLaws.Receiver<number>, onDropped) =>
      Effect.provideService(
        Endpoint.make({ ...made(kind, receiver), onDropped }),
        HttpClient.HttpClient,
        clientTo(receiver)
      )
  }),
  SinkLaws.subject({
    name: `Endpoint that is disabled, ${kind.name}`,
    event: (n) => n,
    read: (n: number) => n,
    queued: true,
    order: kind.order,
    capacity: kind.options?.capacity,
    shutdown: (endpoint: Endpoint.Endpoint<number>) => endpoint.shutdown,
    make: (receiver: SinkLaws.Receiver<number>, onDropped) =>
      Endpoint.make({ ...made(kind, receiver), onDropped }).pipe(
        Effect.tap((endpoint) => endpoint.disable),
        Effect.provideService(
          HttpClient.HttpClient,
          HttpClient.make(() => Effect.die("it sends nothing"))
        )
      )
  })
])

const checks = checksOf(subjects, (subject) => SinkLaws.laws.filter((law) => law.concerns(subject)))

describe.each(checks)("$0.name", (subject, laws) => {
  it.live.each(laws)("law $number: $title", (law) =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* SinkLaws.check(subject, { laws: [law.number] }), [])
    })
  )
})
