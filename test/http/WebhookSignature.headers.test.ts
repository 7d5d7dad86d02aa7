import { createHmac } from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Redacted } from "effect"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { Webhook } from "standardwebhooks"
import * as WebhookSignature from "../../src/http/WebhookSignature.ts"
import { runs } from "../support/runs.ts"

const time = 1_674_087_231
const text = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const other = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
const utf8 = (text: string) => new TextEncoder().encode(text)
const body = utf8('{"type":"contact.created"}')

/** The signature of any id, time and body, by another implementation of the cryptography. */
const byHand = (id: string, at: string | number, body: Uint8Array, secret = text) =>
  `v1,${createHmac("sha256", Buffer.from(secret.slice(6), "base64"))
    .update(`${id}.${at}.`)
    .update(body)
    .digest("base64")}`

type Headers = Readonly<Partial<Record<WebhookSignature.HeaderName, string>>>

const named = (prefix: "webhook" | "svix", id: string, at: string | number, signature: string): Headers => ({
  [`${prefix}-id`]: id,
  [`${prefix}-timestamp`]: String(at),
  [`${prefix}-signature`]: signature
})
const genuine = (prefix: "webhook" | "svix", id = "msg_1") => named(prefix, id, time, byHand(id, time, body))

/** The id of a genuine request at `time`, or the reason of its refusal. */
const judge = (headers: Headers, bytes: Uint8Array = body, options?: WebhookSignature.VerifyOptions) =>
  Effect.gen(function* () {
    yield* TestClock.setTime(time * 1000)
    const secret = yield* WebhookSignature.secret(Redacted.make(text))
    return yield* Effect.match(WebhookSignature.verify({ headers, body: bytes }, [secret], options), {
      onSuccess: ({ id }) => id,
      onFailure: ({ message }) => message
    })
  })

const noMatch = "no v1 signature matches"

describe("the headers of Svix", () => {
  it.effect("are those of Standard Webhooks under other names", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* judge(genuine("svix")), "msg_1")
      assert.strictEqual(yield* judge(genuine("svix"), utf8("{}")), noMatch)
      assert.strictEqual(yield* judge({ ...genuine("svix"), "svix-id": "msg_2" }), noMatch)
      const old = time - 301
      assert.strictEqual(
        yield* judge(named("svix", "a", old, byHand("a", old, body))),
        "the timestamp is 301 seconds old, and 300 are tolerated"
      )
    })
  )

  it.effect("are named in errors", () =>
    Effect.gen(function* () {
      const names = ["id", "timestamp", "signature"] as const
      for (const name of names) {
        const { [`svix-${name}` as const]: _, ...lacking } = genuine("svix")
        assert.strictEqual(yield* judge(lacking), `the header svix-${name} is missing`)
      }
      assert.strictEqual(
        yield* judge({ ...genuine("svix"), "svix-timestamp": "now" }),
        "the header svix-timestamp is not whole seconds since 1970"
      )
      assert.match(yield* judge({ ...genuine("svix"), "svix-id": "é" }), /^the header svix-id contains a character/)
      assert.match(
        yield* judge({ ...genuine("svix"), "svix-signature": "v1,".repeat(6_000) }),
        /^the header svix-signature is longer/
      )
      assert.strictEqual(yield* judge({}), "the header webhook-id is missing")
    })
  )

  it.effect("and the standard ones are never mixed, however they are divided", () =>
    Effect.gen(function* () {
      const [standard, svix] = [genuine("webhook"), genuine("svix")]
      const parts = ["id", "timestamp", "signature"] as const
      // Each part from one or the other, but not all from one.
      for (let which = 1; which < 7; which++) {
        const headers = Object.fromEntries(
          parts.map((part, i) => {
            const name: WebhookSignature.HeaderName = which & (1 << i) ? `webhook-${part}` : `svix-${part}`
            return [name, { ...standard, ...svix }[name]]
          })
        )
        assert.match(yield* judge(headers), /^the header (webhook|svix)-\w+ is missing$/, JSON.stringify(headers))
      }
      // Whole threes, of which neither is genuine by itself.
      const crossed = {
        ...named("webhook", "a", time, byHand("b", time, body)),
        ...named("svix", "b", time, byHand("a", time, body))
      }
      assert.strictEqual(yield* judge(crossed), noMatch)
    })
  )

  it.effect("beside the standard ones are judged alone, and one genuine three suffice", () =>
    Effect.gen(function* () {
      const forged = (prefix: "webhook" | "svix") => named(prefix, "forged", time, byHand("forged", time, body, other))
      const stale = (prefix: "webhook" | "svix") => named(prefix, "stale", 1, byHand("stale", 1, body))
      assert.strictEqual(yield* judge({ ...genuine("webhook"), ...genuine("svix") }), "msg_1")
      assert.strictEqual(yield* judge({ ...genuine("webhook", "w"), ...genuine("svix", "s") }), "w")
      for (const bad of [forged, stale]) {
        assert.strictEqual(yield* judge({ ...genuine("webhook", "w"), ...bad("svix") }), "w")
        assert.strictEqual(yield* judge({ ...bad("webhook"), ...genuine("svix", "s") }), "s")
      }
      assert.strictEqual(yield* judge({ ...genuine("webhook", "w"), "svix-id": "forged" }), "w")
      assert.strictEqual(yield* judge({ ...genuine("svix", "s"), "webhook-timestamp": "1" }), "s")
      // The reason is that of the standard ones.
      assert.match(yield* judge({ ...stale("webhook"), ...forged("svix") }), /seconds old/)
      assert.strictEqual(yield* judge({ ...forged("webhook"), ...stale("svix") }), noMatch)
    })
  )
})

describe("an id with a full stop", () => {
  const ids = [
    "a.b",
    "a.1",
    ".",
    "..",
    ".a",
    "a.",
    "evt.2024.01.02",
    `order.${time}`,
    `${time}`,
    "com.example/a.b@c",
    ".".repeat(1024)
  ]

  it.effect("is genuine under both names, as for the reference library", () =>
    Effect.gen(function* () {
      for (const id of ids) {
        const signature = new Webhook(text).sign(id, new Date(time * 1000), new TextDecoder().decode(body))
        for (const prefix of ["webhook", "svix"] as const) {
          assert.strictEqual(yield* judge(named(prefix, id, time, signature)), id)
          assert.strictEqual(
            yield* judge(named(prefix, `${id}.`, time, signature)),
            id.length < 1024 ? noMatch : `the header ${prefix}-id is longer than 1024 characters`
          )
        }
      }
    })
  )

  it("is judged as the reference library judges it, whatever it is", () =>
    fc.assert(
      fc.asyncProperty(
        fc.stringMatching(/^[!-~]([ -~]{0,20}[!-~])?$/),
        fc.stringMatching(/^[a-z.]{0,10}$/),
        async (id, end) => {
          // Its clock is the real one.
          const now = Math.floor(Date.now() / 1000)
          const signature = byHand(id, now, utf8("{}"))
          const headers = {
            "webhook-id": `${id}${end}`,
            "webhook-timestamp": String(now),
            "webhook-signature": signature
          }
          const webhook = new Webhook(text)
          let expected = true
          try {
            webhook.verify("{}", headers)
          } catch {
            expected = false
          }
          const secret = await Effect.runPromise(WebhookSignature.secret(Redacted.make(text)))
          const verifying = WebhookSignature.verify({ headers, body: utf8("{}") }, [secret])
          assert.strictEqual((await Effect.runPromiseExit(verifying))._tag === "Success", expected)
        }
      ),
      { numRuns: runs(500) }
    ))

  it.effect("is not signed: a signer takes no such id", () =>
    Effect.gen(function* () {
      const secret = yield* WebhookSignature.secret(Redacted.make(text))
      for (const id of ids.filter((id) => id.includes("."))) {
        const error = yield* Effect.flip(WebhookSignature.sign({ id, body }, [secret]))
        assert.match(error.problem, /contains a full stop/)
      }
    })
  )

  it.effect("is never read with a part of the timestamp: that is an integer, and has none", () =>
    Effect.gen(function* () {
      const tolerance = { tolerance: "Infinity" } as const
      const signature = byHand("a.1", 2, body)
      assert.strictEqual(signature, byHand("a", "1.2", body))
      assert.strictEqual(yield* judge(named("webhook", "a.1", 2, signature), body, tolerance), "a.1")
      for (const at of ["1.2", "1.", ".2", "1.2.", "1 .2", "1,2"]) {
        assert.match(yield* judge(named("webhook", "a", at, signature), body, tolerance), /not whole seconds/, at)
      }
    })
  )

  it("does not make another message of a JSON object: the other readings of its signed text are refused, or no JSON", () => {
    const part = fc.stringMatching(/^[a-z0-9.]{1,6}$/)
    return fc.assert(
      fc.asyncProperty(
        part,
        fc.integer({ min: 0, max: 4_000_000_000 }),
        fc.oneof(fc.dictionary(part, fc.oneof(part, fc.float())), fc.array(fc.float())),
        async (id, at, value) => {
          const json = JSON.stringify(value)
          const signature = byHand(id, at, utf8(json))
          const pieces = `${id}.${at}.${json}`.split(".")
          const secret = await Effect.runPromise(WebhookSignature.secret(Redacted.make(text)))
          for (let i = 1; i < pieces.length - 1; i++) {
            const [shownId, shownAt, shown] = [pieces.slice(0, i).join("."), pieces[i]!, pieces.slice(i + 1).join(".")]
            const message = { headers: named("webhook", shownId, shownAt, signature), body: utf8(shown) }
            const verifying = WebhookSignature.verify(message, [secret], { tolerance: "Infinity" })
            const { _tag } = await Effect.runPromiseExit(verifying)
            if (shownId === id && shown === json) assert.strictEqual(_tag, "Success")
            else if (_tag === "Success") assert.throws(() => JSON.parse(shown))
          }
        }
      ),
      { numRuns: runs(500) }
    )
  })
})

describe("the form of a timestamp", () => {
  it.effect("is one that signs as it was sent", () =>
    Effect.gen(function* () {
      const forms = [
        `0${time}`,
        `+${time}`,
        `${time}.0`,
        `${time}000`,
        `-${time}`,
        "1.674087231e9",
        `0x${time.toString(16)}`
      ]
      for (const at of forms) {
        // Signed by a sender with the text that it sends.
        assert.match(
          yield* judge(named("webhook", "a", at, byHand("a", at, body))),
          /not whole seconds since 1970|seconds ahead/,
          at
        )
      }
    })
  )
})
