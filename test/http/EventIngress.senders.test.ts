import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Latch, Redacted, Schema } from "effect"
import { WebCrypto } from "effect/crypto"
import { TestClock } from "effect/testing"
import { Webhook } from "standardwebhooks"
import type { EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import * as WebhookSignature from "../../src/http/WebhookSignature.ts"
import type { Log } from "../support/virtual.ts"
import { withLogs } from "../support/virtual.ts"
import { until } from "./support/delivery.ts"
import { asking, type Request } from "./support/ingress.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
type Order = typeof Order.Type
const one = Envelope.json(Order, { id: ({ id }) => id })
const many = Envelope.ndjson(Order, { id: ({ id }) => id })

const secretOf = (n: number) => `whsec_${Buffer.alloc(24, n).toString("base64")}`
const [acme, acmeOld, globex, stranger] = [secretOf(1), secretOf(2), secretOf(3), secretOf(4)]
const senders = {
  acme: { secrets: [Redacted.make(acme), Redacted.make(acmeOld)] },
  globex: { secrets: [Redacted.make(globex)] }
} as const
const verify = { senders }

const json = (id: string, total: unknown = 1): Request => ({
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ id, total })
})

/** As a sender signs it that uses the reference library. */
const signed = (secret: string, id: string, request: Request, at = 0, prefix = "webhook"): Request => ({
  ...request,
  headers: {
    ...request.headers,
    [`${prefix}-id`]: id,
    [`${prefix}-timestamp`]: String(at),
    [`${prefix}-signature`]: new Webhook(secret).sign(id, new Date(at * 1000), String(request.body))
  }
})

const ingress = (sink: EventSink.EventSink<Order>, options: Partial<EventIngress.Options<Order>> = {}) => {
  const answers: Array<EventIngress.Answer> = []
  const making = EventIngress.make(sink, {
    envelopes: [one, many],
    verify,
    onAnswer: (answer) => void answers.push(answer),
    ...options
  })
  return Effect.map(making, (handle) => ({ ask: asking(handle), answers }))
}

const messages = (logs: ReadonlyArray<Log>) => logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)
const idsOf = (sink: TestSink.TestSink<Order, unknown>) => sink.received.map(({ id }) => id)

describe("senders that share a route", () => {
  it.effect("are known by any secret of theirs, and all others are refused", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const { answers, ask } = yield* ingress(sink)
        assert.strictEqual((yield* ask(signed(acme, "m1", json("a")))).status, 202)
        assert.strictEqual((yield* ask(signed(acmeOld, "m2", json("b")))).status, 202)
        assert.strictEqual((yield* ask(signed(globex, "m3", json("c"), 0, "svix"))).status, 202)
        const refused = yield* ask(signed(stranger, "m4", json("d")))
        assert.deepStrictEqual(
          [refused.status, refused.detail],
          [401, "The signature was refused: no v1 signature matches"]
        )
        assert.strictEqual(
          (yield* ask(signed(globex, "m5", json("e"), 301))).detail,
          "The signature was refused: the timestamp is 301 seconds ahead, and 300 are tolerated"
        )
        assert.strictEqual(
          (yield* ask(json("f"))).detail,
          "The signature was refused: the header webhook-id is missing"
        )
        assert.deepStrictEqual(idsOf(sink), ["a", "b", "c"])
        assert.deepStrictEqual(
          answers.map(({ sender, status }) => [status, sender]),
          [
            [202, "acme"],
            [202, "acme"],
            [202, "globex"],
            [401, undefined],
            [401, undefined],
            [401, undefined]
          ]
        )
        assert.notProperty(answers[3], "sender")
      })
    )
  )

  it.effect("cannot suppress an event of another by its id, and a rotation of secrets is one sender", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const { answers, ask } = yield* ingress(sink)
      yield* ask(signed(globex, "m1", json("by globex")))
      yield* ask(signed(acme, "m1", json("by acme")))
      // A redelivery is signed with the new secret, and then by the other sender.
      yield* ask(signed(acmeOld, "m1", json("by acme")))
      yield* ask(signed(globex, "m1", json("by globex")))
      assert.deepStrictEqual(idsOf(sink), ["by globex", "by acme"])
      assert.deepStrictEqual(
        answers.map(({ duplicates, sender }) => [sender, duplicates]),
        [
          ["globex", 0],
          ["acme", 0],
          ["acme", 1],
          ["globex", 1]
        ]
      )
    })
  )

  it.effect("do not wait for a write of another with the same id", () =>
    Effect.gen(function* () {
      const latch = yield* Latch.make()
      const sink = yield* TestSink.make<Order>((attempt) => (attempt === 1 ? latch.await : Effect.void))
      const { ask } = yield* ingress(sink)
      const waiting = yield* Effect.forkChild(ask(signed(globex, "m1", json("by globex"))))
      // Bodies are read by the platform, in real time.
      yield* until(() => sink.attempts === 1, 4000)
      assert.strictEqual((yield* ask(signed(acme, "m1", json("by acme")))).status, 202)
      assert.deepStrictEqual(idsOf(sink), ["by acme"])
      yield* latch.open
      assert.strictEqual((yield* Fiber.join(waiting)).status, 202)
    })
  )

  it.effect("do not push the ids of another out of the window", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const { ask } = yield* ingress(sink, { deduplicate: { maxIds: 2 } })
        yield* ask(signed(acme, "m1", json("a")))
        for (let n = 1; n <= 10; n++) yield* ask(signed(globex, `m${n}`, json("b")))
        yield* ask(signed(acme, "m1", json("a")))
        assert.deepStrictEqual(
          idsOf(sink).filter((id) => id === "a"),
          ["a"]
        )
        assert.lengthOf(logs, 1)
      })
    )
  )

  it.effect("are named to the envelope and to onRefused by the message, and in the log", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const kept: Array<string | undefined> = []
        const sink = yield* TestSink.recording<Order>()
        const envelope: Envelope.Envelope<Order> = {
          ...one,
          decode: (message) =>
            Effect.map(one.decode(message), (orders) =>
              orders.map(({ id, total }) => ({ id: `${message.sender}/${id}`, total }))
            )
        }
        const { answers, ask } = yield* ingress(sink, {
          envelopes: [envelope],
          onRefused: ({ sender }) => Effect.sync(() => void kept.push(sender))
        })
        // A header is no proof of a sender.
        const claims = { ...json("a"), headers: { "content-type": "application/json", sender: "globex" } }
        yield* ask(signed(acme, "m1", claims))
        yield* ask(signed(globex, "m2", json("b", "many")))
        assert.deepStrictEqual(idsOf(sink), ["acme/a"])
        assert.deepStrictEqual(kept, ["globex"])
        assert.strictEqual(answers[1]?.sender, "globex")
        assert.deepStrictEqual(messages(logs), [
          'WARN EventIngress "EventIngress" refused a request of "globex" with 400: Expected number at ["total"]'
        ])
      })
    )
  )

  it.effect("are judged with as much work, whichever it is", () =>
    withLogs(() =>
      Effect.gen(function* () {
        let signs = 0
        const { subtle } = globalThis.crypto
        const crypto = {
          subtle: {
            importKey: (...args: Parameters<typeof subtle.importKey>) => subtle.importKey(...args),
            sign: (...args: Parameters<typeof subtle.sign>) => {
              signs++
              return subtle.sign(...args)
            }
          }
        }
        // No more of it is used than this.
        const layer = WebCrypto.layer(crypto as unknown as typeof globalThis.crypto)
        const { ask } = yield* Effect.provide(ingress(yield* TestSink.recording<Order>()), layer)
        const costs: Array<number> = []
        for (const secret of [acme, acmeOld, globex, stranger]) {
          signs = 0
          yield* ask(signed(secret, "m", json("a")))
          costs.push(signs)
        }
        assert.deepStrictEqual(costs, [3, 3, 3, 3])
      })
    )
  )

  it.effect("with a secret in common fail the layer, whatever form it is given in", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const key = Buffer.alloc(24, 1)
      const forms: ReadonlyArray<WebhookSignature.SecretInput> = [
        Redacted.make(acme),
        Redacted.make(acme.slice(6)),
        Redacted.make(new Uint8Array(key)),
        WebhookSignature.raw(Redacted.make(key.toString("latin1"))),
        // Zeros at the end of a key mean nothing to HMAC.
        Redacted.make(new Uint8Array(Buffer.concat([key, Buffer.alloc(8)])))
      ]
      for (const form of forms) {
        const shared = { ...senders, globex: { secrets: [Redacted.make(globex), form] } } as const
        const error = yield* Effect.flip(ingress(sink, { verify: { senders: shared } }))
        assert.deepInclude({ ...error }, { _tag: "InvalidSecret", problem: "shared" })
        assert.strictEqual(
          error.message,
          'the webhook secret verify.senders.globex.secrets[1] is a secret of the sender "acme", too'
        )
      }
      // Twice of one sender is no harm.
      const twice = [Redacted.make(acme), Redacted.make(acme.slice(6))] as const
      yield* ingress(sink, { verify: { secrets: twice } })
      yield* ingress(sink, { verify: { senders: { acme: { secrets: twice } } } })
    })
  )

  it.effect("are at least one", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.recording<Order>()
      const exit = yield* Effect.exit(ingress(sink, { verify: { senders: {} } }))
      assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /verify\.senders needs at least one sender/)
    })
  )
})

describe("an id that leaves the window before its time", () => {
  const evicted = (n: number) =>
    `WARN EventIngress "EventIngress" evicted an id before its window ended, since there were more than ${n}: ` +
    "its duplicates are written again. Set deduplicate.maxIds"

  it.effect("is logged once, and not when its time has come", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const { ask } = yield* ingress(sink, { verify: undefined, deduplicate: { maxIds: 2, window: "1 minute" } })
        for (const id of ["a", "b", "a", "b"]) yield* ask(json(id))
        yield* TestClock.adjust("1 minute")
        for (const id of ["c", "d"]) yield* ask(json(id))
        assert.deepStrictEqual(logs, [])
        for (const id of ["e", "f", "g"]) yield* ask(json(id))
        assert.deepStrictEqual(messages(logs), [evicted(2)])
        yield* ask(json("c"))
        assert.deepStrictEqual(idsOf(sink), ["a", "b", "c", "d", "e", "f", "g", "c"])
      })
    )
  )

  it.effect("is logged where one request has more ids than are kept, or for several senders once", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const lines = (n: number): Request => ({
          headers: { "content-type": "application/x-ndjson" },
          body: Array.from({ length: n }, (_, i) => JSON.stringify({ id: String(i), total: 1 })).join("\n")
        })
        const { ask } = yield* ingress(yield* TestSink.recording<Order>(), { deduplicate: { maxIds: 3 } })
        yield* ask(signed(acme, "m1", lines(3)))
        yield* ask(signed(globex, "m1", lines(3)))
        assert.deepStrictEqual(logs, [])
        yield* ask(signed(acme, "m2", lines(4)))
        yield* ask(signed(globex, "m2", lines(4)))
        assert.deepStrictEqual(messages(logs), [evicted(3)])
      })
    )
  )
})

describe("signed CloudEvents", () => {
  const data = CloudEvent.json(Schema.Struct({ total: Schema.Int }))

  it.effect("in structured mode are what was signed; the attributes of binary mode are not", () =>
    withLogs(() =>
      Effect.gen(function* () {
        const types: Array<string> = []
        const sink = yield* TestSink.recording<CloudEvent.CloudEvent<{ readonly total: number }>>()
        const handle = yield* EventIngress.make(sink, {
          envelopes: [CloudEvent.binary(data), CloudEvent.structured(data)],
          verify
        })
        const ask = asking(handle)
        const attributes = { specversion: "1.0", id: "1", source: "/a", type: "paid" }
        const structured = signed(acme, "m1", {
          headers: { "content-type": "application/cloudevents+json" },
          body: JSON.stringify({ ...attributes, data: { total: 1 } })
        })
        assert.strictEqual((yield* ask(structured)).status, 202)
        const changed = { ...structured, body: String(structured.body).replace("paid", "void") }
        assert.strictEqual((yield* ask(changed)).status, 401)
        const binary = signed(acme, "m2", {
          headers: {
            "content-type": "application/json",
            ...Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`ce-${name}`, value]))
          },
          body: '{"total":1}'
        })
        // What the guide warns of: another type under the same signature.
        assert.strictEqual((yield* ask({ ...binary, headers: { ...binary.headers, "ce-type": "void" } })).status, 202)
        types.push(...sink.received.map(({ type }) => type))
        assert.deepStrictEqual(types, ["paid", "void"])
      })
    )
  )
})
