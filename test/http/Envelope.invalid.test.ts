import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import * as TestSink from "effect-events/testing/TestSink"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import * as RegistryEvent from "../../src/http/RegistryEvent.ts"
import { quiet, withLogs } from "../support/virtual.ts"
import { batchedType, request, wire } from "./support/cloudEvents.ts"
import { asking } from "./support/ingress.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
const orders = CloudEvent.json(Order)
const good = (id: string) => ({ ...wire, id, data: { id, total: 1 } })
const bad = { ...wire, id: "bad", data: { id: "bad", total: "hunter2" } }

type Left = readonly [index: number, message: string, event: unknown]

/** A callback that keeps what it is called with. */
const keeping = () => {
  const left: Array<Left> = []
  const onInvalid: Envelope.OnInvalid = ({ error, event, index }) =>
    Effect.sync(() => void left.push([index, error.message, event]))
  return { left, onInvalid }
}

describe("onInvalid", () => {
  it.effect("leaves out the events of a batch that are not decoded, each with its place", () =>
    Effect.gen(function* () {
      const { left, onInvalid } = keeping()
      const batched = CloudEvent.batched(orders, { onInvalid })
      const second = { ...good("c"), source: "" }
      const events = yield* batched.decode(request(batchedType, [good("a"), bad, good("b"), second, null]))
      assert.deepStrictEqual(
        events.map(({ id }) => id),
        ["a", "b"]
      )
      assert.deepStrictEqual(left, [
        [1, 'Expected number at [1]["data"]["total"]', bad],
        [3, 'Expected a non-empty URI-reference at [3]["source"]', second],
        [4, "Expected object at [4]", null]
      ])
    })
  )

  it.effect("leaves out bad lines, and bad events of a registry", () =>
    Effect.gen(function* () {
      const lines = keeping()
      const ndjson = Envelope.ndjson(Order, { onInvalid: lines.onInvalid })
      const body = '{"id":"a","total":1}\n{"id":"b"}\n{"id":\n{"id":"c","total":3}\n'
      assert.deepStrictEqual(yield* ndjson.decode(request("application/x-ndjson", body)), [
        { id: "a", total: 1 },
        { id: "c", total: 3 }
      ])
      assert.deepStrictEqual(lines.left, [
        [1, 'Missing key at ["total"] on line 2', '{"id":"b"}'],
        [2, "not JSON since it ends too early, at line 3, column 7", '{"id":']
      ])

      const registry = keeping()
      const envelope = Envelope.registryWith({ onInvalid: registry.onInvalid })
      const push = { extra: [1], id: "a", action: "push" }
      const events = [push, { action: "push" }, "b", { id: "c", timestamp: "now" }]
      assert.deepStrictEqual(yield* envelope.decode(request(RegistryEvent.mediaType, { events })), [push])
      assert.deepStrictEqual(
        registry.left.map(([index, message]) => [index, message]),
        [
          [1, 'Missing key at ["events"][1]["id"]'],
          [2, 'Expected object at ["events"][2]'],
          [3, 'Expected an RFC 3339 timestamp at ["events"][3]["timestamp"]']
        ]
      )
    })
  )

  it.effect("has no say in a request that is none of many events", () =>
    Effect.gen(function* () {
      const { left, onInvalid } = keeping()
      const refused = (envelope: Envelope.Envelope<never>, type: string, body: string) =>
        Effect.map(Effect.flip(envelope.decode(request(type, body))), ({ message }) => message)
      const batched = CloudEvent.batched(orders, { onInvalid }) as unknown as Envelope.Envelope<never>
      assert.strictEqual(yield* refused(batched, batchedType, "{}"), "Expected array")
      assert.include(yield* refused(batched, batchedType, "[{]"), "not JSON")
      assert.include(yield* refused(batched, "text/plain", "[]"), 'header "content-type"')
      assert.deepStrictEqual(left, [])
    })
  )

  it.effect("an event that is too deep for the stack is one bad event", () =>
    Effect.gen(function* () {
      const forever = (): boolean => !forever()
      const Deep = Schema.String.check(Schema.makeFilter((text) => text !== "deep" || forever()))
      const { left, onInvalid } = keeping()
      const ndjson = Envelope.ndjson(Deep, { onInvalid })
      assert.deepStrictEqual(yield* ndjson.decode(request("application/x-ndjson", '"a"\n"deep"\n"b"')), ["a", "b"])
      assert.deepStrictEqual(left, [[1, "nested too deeply", '"deep"']])
    })
  )
})

describe("an ingress with onInvalid", () => {
  const post = (...events: ReadonlyArray<unknown>) => ({
    headers: { "content-type": "application/cloudevents-batch+json" },
    body: JSON.stringify(events)
  })
  const ingress = (onInvalid?: Envelope.OnInvalid) =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<CloudEvent.CloudEvent<typeof Order.Type>>()
      const answers: Array<EventIngress.Answer> = []
      const handle = yield* EventIngress.make(sink, {
        envelopes: [CloudEvent.batched(orders, { onInvalid })],
        onAnswer: (answer) => void answers.push(answer)
      })
      return { ask: asking(handle), sink, answers, ids: () => sink.received.map(({ id }) => id) }
    })

  it.effect("commits the others, answers 202, and logs nothing of a content", () =>
    Effect.gen(function* () {
      const { left, onInvalid } = keeping()
      const { answers, ask, ids } = yield* ingress(onInvalid)
      yield* withLogs((logs) =>
        Effect.map(ask(post(good("a"), bad, good("b"))), () => assert.deepStrictEqual(logs, []))
      )
      assert.deepStrictEqual(ids(), ["a", "b"])
      assert.deepStrictEqual(answers, [{ status: 202, events: 2, duplicates: 0 }])
      assert.deepStrictEqual(
        left.map(([index]) => index),
        [1]
      )
      // A redelivery writes nothing twice, and names the bad event again.
      assert.strictEqual((yield* ask(post(good("a"), bad, good("b")))).status, 202)
      assert.deepStrictEqual(answers[1], { status: 202, events: 0, duplicates: 2 })
      assert.strictEqual(left.length, 2)
      assert.strictEqual((yield* ask(post(bad))).status, 202)
    })
  )

  it.effect("without it refuses the request with the place of the event, and commits none", () =>
    Effect.gen(function* () {
      const { ask, ids } = yield* ingress()
      const { detail, status } = yield* ask(post(good("a"), bad))
      assert.deepStrictEqual([status, detail], [400, 'Expected number at [1]["data"]["total"]'])
      assert.deepStrictEqual(ids(), [])
    })
  )

  it.effect("that dies answers 503 and commits none, so that the event comes again", () =>
    Effect.gen(function* () {
      const { ask, ids } = yield* ingress(() => Effect.die("no room"))
      const { headers, status } = yield* quiet(ask(post(good("a"), bad)))
      assert.deepStrictEqual([status, headers["retry-after"]], [503, "5"])
      assert.deepStrictEqual(ids(), [])
    })
  )
})
