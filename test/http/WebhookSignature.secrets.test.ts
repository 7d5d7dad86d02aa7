import { createHmac } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted, Schema } from "effect"
import { FetchHttpClient } from "effect/http"
import * as fc from "fast-check"
import { Webhook } from "standardwebhooks"
import { EventSink } from "effect-events"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import * as WebhookSignature from "../../src/http/WebhookSignature.ts"
import type { Log } from "../support/virtual.ts"
import { withLogs } from "../support/virtual.ts"

const message = { id: "msg_1", timestamp: 1_674_087_231, body: new TextEncoder().encode('{"a":1}') }
const keyOf = (length: number, seed = 1) => Uint8Array.from({ length }, (_, i) => (seed * 31 + i * 7) % 256)
const encoded = (key: Uint8Array, encoding: "base64" | "base64url" = "base64") => Buffer.from(key).toString(encoding)
const byHand = (key: Uint8Array) =>
  `v1,${createHmac("sha256", key).update(`${message.id}.${message.timestamp}.`).update(message.body).digest("base64")}`

/** The signature of `message` by a secret. */
const signatureBy = (secret: WebhookSignature.SecretInput) =>
  Effect.gen(function* () {
    const headers = yield* WebhookSignature.sign(message, [yield* WebhookSignature.secret(secret)])
    return headers["webhook-signature"]
  })
const signatureOf = (text: string) => signatureBy(Redacted.make(text))
const refused = (text: string) => Effect.flip(WebhookSignature.secret(Redacted.make(text)))
const warnings = (logs: ReadonlyArray<Log>) => logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)

describe("a secret", () => {
  it.effect("has 1 to 75 bytes, of each length, in every form of base64, with the prefix and without", () =>
    withLogs(() =>
      Effect.gen(function* () {
        for (let length = 1; length <= 75; length++) {
          const key = keyOf(length)
          const padded = encoded(key)
          for (const text of [padded, padded.replace(/=+$/, ""), padded.replace(/=$/, ""), encoded(key, "base64url")]) {
            assert.strictEqual(yield* signatureOf(text), byHand(key), `${length} bytes`)
            assert.strictEqual(yield* signatureOf(`whsec_${text}`), byHand(key), `${length} bytes with the prefix`)
          }
          assert.strictEqual(yield* signatureBy(Redacted.make(key)), byHand(key), `${length} raw bytes`)
        }
      })
    )
  )

  it("of random bytes is read as it was written, URL-safe base64 without a prefix too", () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 24, maxLength: 75 }), async (key) => {
        for (const text of [encoded(key), encoded(key, "base64url")]) {
          assert.strictEqual(await Effect.runPromise(signatureOf(text)), byHand(key))
        }
      }),
      { numRuns: 300 }
    ))

  it.effect("of a part of a buffer is that part", () =>
    Effect.gen(function* () {
      const key = keyOf(40).subarray(5, 37)
      assert.strictEqual(yield* signatureBy(Redacted.make(key)), byHand(key))
    })
  )

  it.effect("that is a text, and not base64, is said to be raw, as with the reference library", () =>
    Effect.gen(function* () {
      for (const text of [
        "correct horse battery staple",
        "whsec_and the prefix, too",
        "v1,whsec_AAAAAAAAAAAAAAAAAAAA"
      ]) {
        const reference = new Webhook(text, { format: "raw" })
        const body = new TextDecoder().decode(message.body)
        assert.strictEqual(
          yield* signatureBy(WebhookSignature.raw(Redacted.make(text))),
          reference.sign(message.id, new Date(message.timestamp * 1000), body)
        )
      }
      const key = new TextEncoder().encode("schlüssel, der lang genug ist")
      assert.strictEqual(
        yield* signatureBy(WebhookSignature.raw(Redacted.make("schlüssel, der lang genug ist"))),
        byHand(key)
      )
      assert.strictEqual(String(WebhookSignature.raw(Redacted.make("hidden"))), "<redacted:webhook secret>")
    })
  )

  it.effect("of fewer than 24 bytes is a warning, once, which does not show it", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const short = yield* WebhookSignature.secret(Redacted.make(encoded(keyOf(23))))
        for (let n = 1; n <= 3; n++) yield* WebhookSignature.sign(message, [short])
        const says = "is a secret of fewer than 24 bytes, the least that Standard Webhooks allows"
        assert.deepStrictEqual(warnings(logs.splice(0)), [`WARN WebhookSignature "secret" ${says}`])
        yield* WebhookSignature.secret(Redacted.make(encoded(keyOf(24))))
        yield* WebhookSignature.secret(Redacted.make(keyOf(75)))
        assert.deepStrictEqual(logs, [])

        const secrets = [Redacted.make(encoded(keyOf(24))), WebhookSignature.raw(Redacted.make("hunter2"))] as const
        const envelope = Envelope.json(Schema.String, { id: (id) => id })
        const sink = yield* EventSink.make((_: string) => Effect.void)
        for (const verify of [{ secrets }, { senders: { acme: { secrets } } }]) {
          yield* Effect.asVoid(EventIngress.make(sink, { envelopes: [envelope], verify }))
        }
        yield* Effect.provide(
          HttpSink.make({ url: "http://a.test/", envelope, signing: { secrets } }),
          FetchHttpClient.layer
        )
        assert.deepStrictEqual(
          warnings(logs),
          ["verify.secrets[1]", "verify.senders.acme.secrets[1]", "signing.secrets[1]"].map(
            (option) => `WARN WebhookSignature "${option}" ${says}`
          )
        )
        assert.notInclude(logs.map(({ line }) => line).join(), "hunter2")
      })
    )
  )
})

describe("a secret that cannot be used", () => {
  const good = `whsec_${encoded(keyOf(32))}`
  const half = good.slice(0, 20)
  const cases: ReadonlyArray<readonly [string, string, WebhookSignature.InvalidSecret["problem"], RegExp]> = [
    ["nothing", "", "empty", /is empty/],
    ["white space alone", " \n", "not-base64", /has a space at its end$/],
    ["the prefix alone", "whsec_", "empty", /is empty/],
    ["padding alone", "==", "empty", /is empty/],
    ["76 bytes", `whsec_${encoded(keyOf(76))}`, "too-long", /more than 75 bytes/],
    ["a million characters", "A".repeat(1_000_000), "too-long", /more than 75 bytes/],
    ["a million characters of one prefix after another", "a_".repeat(500_000), "too-long", /more than 75 bytes/],
    ["a million spaces within", `A${" ".repeat(1_000_000)}A`, "not-base64", /a space at character 2$/],
    ["the prefix of a signature", `v1,${good}`, "version-prefix", /prefix of a signature, such as "v1,"/],
    ["that of another version", `v1a,${good}`, "version-prefix", /prefix of a signature/],
    ["that prefix without the other", `v1,${good.slice(6)}`, "version-prefix", /prefix of a signature/],
    ["that prefix alone, of a list split at the comma", "v1", "version-prefix", /prefix of a signature/],
    ["that prefix before an asymmetric key", good.replace("whsec_", "v1a,whsk_"), "version-prefix", /prefix of a sig/],
    ["an asymmetric secret key", good.replace("whsec_", "whsk_"), "asymmetric", /asymmetric.*"whsec_"/],
    ["an asymmetric public key", good.replace("whsec_", "whpk_"), "asymmetric", /asymmetric/],
    ["another prefix", good.replace("whsec_", "secret_"), "other-prefix", /a prefix other than one "whsec_"/],
    ["a prefix of a sender", good.replace("whsec_", "shop_whs_"), "other-prefix", /a prefix other than/],
    ["an upper-case prefix", good.replace("whsec_", "WHSEC_"), "other-prefix", /a prefix other than/],
    ["a character before the prefix", `-${good}`, "other-prefix", /a prefix other than/],
    ["two secrets in one", `${good},${good}`, "other-prefix", /other than one "whsec_"/],
    ["two prefixes", `whsec_${good}`, "other-prefix", /other than one "whsec_"/],
    ["a line feed at the end", `${good}\n`, "not-base64", /has a line feed at its end$/],
    ["a line feed of Windows at the end", `${good}\r\n`, "not-base64", /has a line feed at its end$/],
    ["a line feed at the start", `\n${good}`, "not-base64", /has a line feed at its start$/],
    ["a line feed within", `${half}\n${good.slice(20)}`, "not-base64", /has a line feed at character 21$/],
    ["a space before", ` ${good}`, "not-base64", /has a space at its start$/],
    ["a space after", `${good} `, "not-base64", /has a space at its end$/],
    ["a tab after", `${good}\t`, "not-base64", /has a tab at its end$/],
    ["a byte order mark before", `\ufeff${good}`, "not-base64", /has a space at its start$/],
    ["a space without a width within", `${half}\u200b${good.slice(20)}`, "not-base64", /outside of base64 at char/],
    ["quotation marks", `"${good}"`, "not-base64", /quotation marks around it/],
    ["single quotation marks", `'${good}'`, "not-base64", /quotation marks around it/],
    ["a sentence", "whsec_not a secret, but a sentence", "not-base64", /has a space at character 10$/],
    ["a comma", `${half},${good.slice(20)}`, "not-base64", /a character outside of base64 at character 21$/],
    ["an encoded padding", good.replace("=", "%3D"), "not-base64", /a character outside of base64 at character 50$/],
    ["padding within", `${half}=${good.slice(20)}`, "not-base64", /has padding at character 21$/],
    ["too much padding", `${good}==`, "not-base64", /has padding at character 50$/],
    ["a character beyond ASCII", good.replace("w", "ẃ"), "not-base64", /outside of base64 at its start$/],
    ["one character missing", good.slice(0, -3), "not-base64", /one character too few/],
    ["both alphabets", `whsec_${"-_+/".repeat(8)}`, "not-base64", /two kinds of base64/]
  ]
  it.effect.each(cases.map((one) => [one[0], one] as const))("%s", ([, [, text, problem, says]]) =>
    Effect.gen(function* () {
      const error = yield* refused(text)
      assert.deepInclude({ ...error }, { _tag: "InvalidSecret", problem, option: undefined })
      assert.match(error.message, says)
      assert.match(error.message, /^a webhook secret (is|has) /)
    })
  )

  it.effect("is an error without the secret, as bytes too", () =>
    Effect.gen(function* () {
      for (const [length, problem] of [
        [0, "empty"],
        [76, "too-long"]
      ] as const) {
        const error = yield* Effect.flip(WebhookSignature.secret(Redacted.make(keyOf(length))))
        assert.strictEqual(error.problem, problem)
      }
    })
  )

  it("is never quoted: no eight characters of it are in the message", () =>
    fc.assert(
      fc.asyncProperty(
        fc.uint8Array({ minLength: 24, maxLength: 60 }),
        fc.constantFrom("v1,", "v1a,", "whsk_", "secret_", "\n", " ", '"', "whsec_whsec_", "!"),
        fc.constantFrom("", "\n", "\t", "!", "====", '"'),
        fc.nat(30),
        async (key, before, after, at) => {
          const text = encoded(key, "base64url")
          const bad = `${before}${text.slice(0, at)}${after}${text.slice(at)}${after}`
          const { message } = await Effect.runPromise(refused(bad))
          for (let i = 0; i + 8 <= text.length; i++) assert.notInclude(message, text.slice(i, i + 8))
        }
      ),
      { numRuns: 300 }
    ))

  it.effect("is named by its place in the options", () =>
    Effect.gen(function* () {
      const bad = [Redacted.make(good), Redacted.make(`${good}\n`)] as const
      const envelope = Envelope.json(Schema.String, { id: (id) => id })
      const sink = yield* EventSink.make((_: string) => Effect.void)
      const ingress = (verify: EventIngress.Verification) =>
        Effect.flip(Effect.asVoid(EventIngress.make(sink, { envelopes: [envelope], verify })))
      const says = "has a line feed at its end"
      assert.strictEqual((yield* ingress({ secrets: bad })).message, `the webhook secret verify.secrets[1] ${says}`)
      assert.strictEqual(
        (yield* ingress({ senders: { acme: { secrets: [Redacted.make(keyOf(24, 9))] }, globex: { secrets: bad } } }))
          .message,
        `the webhook secret verify.senders.globex.secrets[1] ${says}`
      )
      const sending = HttpSink.make({ url: "http://a.test/", envelope, signing: { secrets: bad } })
      const error = yield* Effect.flip(Effect.provide(sending, FetchHttpClient.layer))
      assert.strictEqual(error.message, `the webhook secret signing.secrets[1] ${says}`)
    })
  )
})
