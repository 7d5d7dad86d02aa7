import { assert, describe, it } from "@effect/vitest"
import { CloudEvent as SdkEvent, HTTP, type Message as SdkMessage } from "cloudevents"
import { Effect, Layer } from "effect"
import { FetchHttpClient } from "effect/http"
import * as TestSink from "effect-events/testing/TestSink"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { quiet } from "../support/virtual.ts"
import { requestOf, structuredType, wire } from "./support/cloudEvents.ts"
import { Client, http, serving } from "./support/ingress.ts"

type Event = CloudEvent.CloudEvent<CloudEvent.AnyData>

const modes = { binary: CloudEvent.binary, structured: CloudEvent.structured, batched: CloudEvent.batched }
const lenient = { lenient: true }
const accepted = Object.values(modes).map((mode) => mode(CloudEvent.any, lenient)) as [
  EnvelopeOfAny,
  ...Array<EnvelopeOfAny>
]
type EnvelopeOfAny = ReturnType<typeof CloudEvent.binary<CloudEvent.AnyData>>

/** A relay that sends in one mode to a receiver that keeps to the rules. */
const relaying = (mode: keyof typeof modes) =>
  Effect.gen(function* () {
    const sink = yield* TestSink.recording<Event>()
    const strict = Object.values(modes).map((mode) => mode(CloudEvent.any)) as typeof accepted
    const receiver = yield* quiet(serving(EventIngress.layer(sink, { path: "/", envelopes: strict })))
    const relay = EventIngress.layer(HttpSink.make({ url: receiver.url, envelope: modes[mode](CloudEvent.any) }), {
      path: "/events",
      envelopes: accepted
    })
    const { port } = yield* quiet(serving(Layer.provide(relay, FetchHttpClient.layer)))
    return { port, sink }
  })

/** Posts the bytes as they are, and answers the status. */
const post = (port: number, headers: Record<string, string>, body: string) =>
  Effect.promise(async () => {
    const client = new Client(port)
    client.send(http({ ...headers, "content-length": String(Buffer.byteLength(body)), connection: "close" }, body))
    await client.answers(1)
    client.destroy()
    return client.statuses[0]
  })

describe("a relay over real connections", () => {
  for (const mode of ["binary", "structured", "batched"] as const) {
    it.live(`sends on in ${mode} mode what came in each mode, also as senders write it`, () =>
      Effect.gen(function* () {
        const { port, sink } = yield* relaying(mode)
        const attributes = { "ce-specversion": "1.0.2", "ce-type": "alert", "ce-source": "/büro 1" }
        const json = JSON.stringify({ n: 1, text: "ä" })
        // No content-type, raw UTF-8, and one header twice.
        const twice = { "Ce-Event_Source": "k8s\r\nce-event_source: k8s" }
        assert.strictEqual(yield* post(port, { ...attributes, ...twice, "ce-id": "1" }, json), 202)
        const text = { "content-type": "text/plain", "ce-subject": "", "ce-time": "2021-08-04 12:00:00" }
        assert.strictEqual(yield* post(port, { ...attributes, ...text, "ce-id": "2" }, "a shell"), 202)
        const azure = { ...wire, id: "3", dataschema: "#", "order-id": 2 ** 33, data: "text" }
        assert.strictEqual(yield* post(port, { "content-type": structuredType }, JSON.stringify(azure)), 202)
        const bytes = { ...wire, id: "4", datacontenttype: "image/png", data_base64: "/wA=" }
        const batch = { "content-type": "application/cloudevents-batch+json" }
        assert.strictEqual(yield* post(port, batch, JSON.stringify([bytes, { ...wire, id: "5" }])), 202)

        const implied = mode === "binary" ? { datacontenttype: "application/json" } : {}
        const alert = { source: "/b%C3%BCro%201", type: "alert" }
        const { id: _, ...rest } = CloudEvent.make({ ...wire, data: undefined })
        assert.deepStrictEqual(sink.received, [
          CloudEvent.make<CloudEvent.AnyData>({
            ...alert,
            ...implied,
            id: "1",
            extensions: { eventsource: "k8s" },
            data: { _tag: "Json", text: json }
          }),
          CloudEvent.make<CloudEvent.AnyData>({
            ...alert,
            id: "2",
            time: "2021-08-04T12:00:00Z",
            datacontenttype: "text/plain",
            data: { _tag: "Text", text: "a shell" }
          }),
          {
            ...rest,
            ...implied,
            id: "3",
            extensions: { orderid: "8589934592" },
            data: { _tag: "Json", text: '"text"' }
          },
          { ...rest, id: "4", datacontenttype: "image/png", data: { _tag: "Bytes", bytes: new Uint8Array([255, 0]) } },
          { ...rest, id: "5", data: { _tag: "None" } }
        ])
      })
    )
  }

  it.effect("the JavaScript SDK takes what was mended", () =>
    Effect.gen(function* () {
      const bad = {
        ...wire,
        source: "my shop",
        subject: "",
        time: "2021-08-04T12:00:00",
        event_source: 2 ** 40,
        data: { n: 1 }
      }
      const body = new TextEncoder().encode(JSON.stringify(bad))
      const envelope = CloudEvent.structured(CloudEvent.any, lenient)
      const [event] = yield* envelope.decode({ headers: { "content-type": structuredType }, body })
      const sent = yield* requestOf(envelope, [event!])
      const read = HTTP.toEvent({ headers: sent.headers, body: new TextDecoder().decode(sent.body) } as SdkMessage)
      assert.isTrue(read instanceof SdkEvent && read.validate())
    })
  )
})
