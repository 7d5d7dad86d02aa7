/** What the log says of endpoints: which, of whose, which event and why, and nothing that is as good as a secret. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schedule, Schema } from "effect"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { Envelope } from "effect-events/http"
import { operationsOver } from "../durable/support/store.ts"
import { type Log, pass, withLogs } from "../support/virtual.ts"
import { deliver, makeReceivers, started, write } from "./support/webhooks.ts"

const acme = {
  tenant: "acme",
  url: "https://acme.test/path-of-acme?token=of-acme",
  headers: { authorization: Redacted.make("Bearer header-of-acme") }
}
const once = Redelivery.make(Schedule.spaced("1 second"), { maxAttempts: 1 })

const Line = Schema.fromJsonString(
  Schema.Struct({
    level: Schema.String,
    message: Schema.Union([Schema.String, Schema.Array(Schema.Unknown)]),
    annotations: Schema.Record(Schema.String, Schema.Unknown)
  })
)
const linesOf = (logs: ReadonlyArray<Log>, text: string) =>
  Effect.map(
    Effect.forEach(logs, ({ line }) => Schema.decodeUnknownEffect(Line)(line)),
    (all) => all.filter(({ message }) => String(message).includes(text))
  )

describe("the log of an endpoint", () => {
  it.effect("names tenant, endpoint, events and cause of dead letters", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { webhooks } = yield* started(
          makeReceivers(() => new Response("answer-of-acme", { status: 503 })),
          { redelivery: once, answerBytes: 100 }
        )
        const { endpoint } = yield* webhooks.create({ ...acme, ordered: false })
        yield* write(webhooks, 1)
        yield* deliver
        const [first] = yield* linesOf(logs, "dead letters")
        assert.deepStrictEqual(first?.level, "ERROR")
        assert.deepInclude(first?.annotations, {
          sink: "orders",
          kind: "WebhookEndpoints",
          tenant: "acme",
          endpoint: endpoint.id,
          events: 1,
          ids: "a1"
        })
        assert.include(String(first?.annotations["cause"]), "status 503")
        yield* write(webhooks, 2)
        yield* write(webhooks, 3)
        yield* pass(3)
        // At doubling counts, with all that has come since.
        const ids = (yield* linesOf(logs, "dead letters")).map(({ annotations }) => annotations["ids"])
        assert.strictEqual(ids.join(", "), "a1, a2, a3")
        for (const { line } of logs)
          for (const hidden of ["path-of-acme", "of-acme", '"total"']) assert.notInclude(line, hidden)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("says when it fails, answers again and is disabled, each once, with the cause", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        let status = 503
        const { webhooks } = yield* started(
          makeReceivers(() => new Response(null, { status })),
          { redelivery: Redelivery.make(Schedule.spaced("1 second"), { jitter: 0 }) }
        )
        const { endpoint } = yield* webhooks.create(acme)
        yield* write(webhooks, 1)
        yield* pass(3)
        status = 200
        yield* pass(3)
        status = 410
        yield* write(webhooks, 2)
        yield* pass(3)
        yield* webhooks.enable(endpoint)
        yield* webhooks.disable(endpoint, "by hand,\n\u001b[31mat once")
        const lines = yield* linesOf(logs, 'WebhookEndpoints "orders" has')
        assert.deepStrictEqual(
          lines.map(({ level, message }) => [level, String(message).replace(/^.* has /, "")]),
          [
            ["WARN", "an endpoint that is failing"],
            ["INFO", "an endpoint that answers again"],
            ["WARN", "disabled an endpoint, and keeps its events until it is enabled"],
            ["WARN", "disabled an endpoint, and keeps its events until it is enabled"]
          ]
        )
        for (const { annotations } of lines)
          assert.deepInclude(annotations, { sink: "orders", tenant: "acme", endpoint: endpoint.id })
        const causes = lines.map(({ annotations }) => String(annotations["cause"]))
        assert.include(causes[0], "status 503")
        assert.include(causes[2], "status 410")
        assert.strictEqual(causes[3], "by hand,")
        assert.strictEqual(lines.length, logs.length)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("has nothing of an event that does not encode, or does not decode", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const memory = yield* MemoryStore.makeMemory
        const quoting = {
          contentType: "text/plain",
          join: undefined,
          id: undefined,
          encode: () =>
            Effect.fail(
              new Envelope.EnvelopeError({ direction: "encode" as const, message: "no envelope for content-of-acme" })
            ),
          decode: () => Effect.succeed([])
        }
        const { webhooks } = yield* started(makeReceivers(), { envelope: quoting }, memory)
        const { endpoint } = yield* webhooks.create(acme)
        yield* write(webhooks, 1)
        yield* deliver
        const store = yield* operationsOver(memory)
        const payload = new TextEncoder().encode('{"id":"content-of-acme"}')
        yield* store.publish("orders", [{ payload, tenant: "acme", topic: "t" }])
        yield* pass(3)
        assert.strictEqual((yield* webhooks.get(endpoint)).deadLetters, 2)
        const lines = yield* linesOf(logs, "dead letters")
        assert.deepStrictEqual(
          lines.map(({ annotations: { cause, ids } }) => [ids, cause]),
          [
            ["a1", "the event does not encode"],
            [undefined, "the stored event does not decode"]
          ]
        )
        for (const { line } of logs) assert.notInclude(line, "content-of-acme")
      }).pipe(Effect.scoped)
    )
  )
})
