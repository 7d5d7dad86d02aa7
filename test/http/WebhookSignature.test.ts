import { createHmac } from "node:crypto"
import { inspect } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Equal, Exit, Fiber, Formatter, Logger, Redacted } from "effect"
import { WebCrypto } from "effect/crypto"
import { TestClock } from "effect/testing"
import * as fc from "fast-check"
import { Webhook } from "standardwebhooks"
import * as WebhookSignature from "../../src/http/WebhookSignature.ts"
import { runs } from "../support/runs.ts"

type Secrets = Parameters<typeof WebhookSignature.sign>[1]

const utf8 = (text: string) => new TextEncoder().encode(text)
const serialized = (key: Uint8Array) => `whsec_${Buffer.from(key).toString("base64")}`
const secretOf = (text: string) => WebhookSignature.secret(Redacted.make(text))
const secretsOf = (first: Uint8Array, ...rest: ReadonlyArray<Uint8Array>) =>
  // As many as there are keys, and there is one.
  Effect.forEach([first, ...rest], (key) => secretOf(serialized(key))) as unknown as Effect.Effect<
    Secrets,
    WebhookSignature.InvalidSecret
  >
const keyOf = (seed: number, length = 32) => Uint8Array.from({ length }, (_, i) => (seed * 31 + i * 7) % 256)

/** The signature of the specification, by another implementation of the cryptography. */
const byHand = (key: Uint8Array, id: string, timestamp: number, body: Uint8Array) =>
  `v1,${createHmac("sha256", key).update(`${id}.${timestamp}.`).update(body).digest("base64")}`

const time = 1_674_087_231
const message = { id: "msg_2KWPBgLlAfxdpx2AI54pPJ85f4W", timestamp: time, body: utf8('{"type":"contact.created"}') }

/** `message`, signed by the first keys, with the clock at its time. */
const signed = Effect.fnUntraced(function* (...keys: [Uint8Array, ...Array<Uint8Array>]) {
  yield* TestClock.setTime(time * 1000)
  const secrets = yield* secretsOf(...keys)
  return { secrets, body: message.body, headers: yield* WebhookSignature.sign(message, secrets) }
})

const refusal = (
  message: WebhookSignature.Signed,
  secrets: Secrets,
  options?: WebhookSignature.VerifyOptions
): Effect.Effect<WebhookSignature.Reason, WebhookSignature.Verified> =>
  Effect.map(Effect.flip(WebhookSignature.verify(message, secrets, options)), (error) => error.reason)

const refusedWith = Effect.fnUntraced(function* (
  tag: WebhookSignature.Reason["_tag"],
  ...args: Parameters<typeof refusal>
) {
  assert.strictEqual((yield* refusal(...args))._tag, tag)
})

/** A platform whose cryptography counts its calls. */
const counting = () => {
  const calls = { importKey: 0, sign: 0 }
  const { subtle } = globalThis.crypto
  const crypto = {
    subtle: {
      importKey: (...args: Parameters<typeof subtle.importKey>) => {
        calls.importKey++
        return subtle.importKey(...args)
      },
      sign: (...args: Parameters<typeof subtle.sign>) => {
        calls.sign++
        return subtle.sign(...args)
      }
    }
  }
  // No more of it is used than this.
  return { calls, layer: WebCrypto.layer(crypto as unknown as typeof globalThis.crypto) }
}

const arbitraryKey = fc.uint8Array({ minLength: 24, maxLength: 75 })
const arbitraryKeys = fc.tuple(arbitraryKey, arbitraryKey, arbitraryKey)
const arbitraryId = fc.stringMatching(/^[!-\-/-~]([ -\-/-~]{0,40}[!-\-/-~])?$/)
const arbitraryTime = fc.integer({ min: 0, max: 4_000_000_000 })
const arbitraryBody = fc.uint8Array({ maxLength: 2_000 })

describe("secret", () => {
  const good = serialized(keyOf(1))
  it.effect("imports a key once, however often it signs and verifies", () =>
    Effect.gen(function* () {
      const { calls, layer } = counting()
      const secret = yield* Effect.provide(secretOf(good), layer)
      for (let i = 0; i < 10; i++) {
        const headers = yield* WebhookSignature.sign({ ...message, timestamp: undefined }, [secret])
        yield* WebhookSignature.verify({ headers, body: message.body }, [secret])
      }
      assert.deepStrictEqual(calls, { importKey: 1, sign: 20 })
    })
  )

  it.effect("without cryptography of the platform, the defect names the missing part", () =>
    Effect.gen(function* () {
      const none = WebCrypto.layer({} as typeof globalThis.crypto)
      const exit = yield* Effect.exit(Effect.provide(secretOf(good), none))
      assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /crypto\.subtle is missing/)
    })
  )

  it.effect("two secrets are equal only if they are the same object", () =>
    Effect.gen(function* () {
      const [a, b] = [yield* secretOf(good), yield* secretOf(good)]
      assert.isTrue(Equal.equals(a, a))
      assert.isFalse(Equal.equals(a, b))
      assert.isFalse(Equal.equals(a, yield* secretOf(serialized(keyOf(2)))))
    })
  )
})

describe("a secret never shows", () => {
  const key = keyOf(5)
  const text = serialized(key)
  const forms = [
    text.slice(6, 30),
    Buffer.from(key).toString("hex").slice(0, 12),
    key.slice(0, 4).join(","),
    key.slice(0, 4).join(", "),
    Buffer.from(key).toString("latin1").slice(0, 6)
  ]

  const faces = (value: unknown): Effect.Effect<ReadonlyArray<string>> =>
    Effect.gen(function* () {
      const lines: Array<string> = []
      const logger = Logger.make((options) => {
        for (const format of [Logger.formatJson, Logger.formatLogFmt, Logger.formatSimple]) {
          lines.push(format.log(options))
        }
      })
      const log = Effect.logError("a line", value, Cause.fail(value)).pipe(Effect.annotateLogs({ value }))
      yield* Effect.provide(log, Logger.layer([logger]))
      assert.lengthOf(lines, 3)
      return [
        ...lines,
        String(value),
        JSON.stringify({ value }),
        inspect(value, { showHidden: true, depth: Infinity, getters: true }),
        inspect({ value }),
        Formatter.format(value),
        Cause.pretty(Cause.fail(value)),
        value instanceof Error ? `${value.stack}${value.message}${inspect(value.cause)}` : "",
        JSON.stringify(Reflect.ownKeys(Object(value)).map((name) => inspect(Reflect.get(Object(value), name))))
      ]
    })

  const check = (value: unknown, also: ReadonlyArray<string> = []) =>
    Effect.map(faces(value), (faces) => {
      for (const face of faces) for (const form of [...forms, ...also]) assert.notInclude(face, form)
    })

  it.effect("itself", () =>
    Effect.gen(function* () {
      const secret = yield* secretOf(text)
      yield* check(secret)
      yield* check([secret])
      yield* check(structuredClone(secret))
      assert.strictEqual(String(secret), "<redacted:webhook secret>")
    })
  )

  it.effect("in the error of an invalid secret", () =>
    Effect.gen(function* () {
      const bad = [
        text.slice(0, -3),
        `${text}\n`,
        `${text}%`,
        `"${text}"`,
        text.repeat(3),
        text.slice(0, -1).repeat(3),
        `${text.slice(0, -1)}${"A".repeat(100)}`,
        text.replace("whsec", "whsk"),
        text.replace("whsec", "secret"),
        `v1,${text}`,
        `-${text}`,
        `${text}-_+/`
      ]
      for (const one of bad) yield* check(yield* Effect.flip(secretOf(one)))
    })
  )

  it.effect("in the errors of sign and verify, nor does the right signature", () =>
    Effect.gen(function* () {
      const { body, headers, secrets } = yield* signed(key)
      yield* check(yield* Effect.flip(WebhookSignature.sign({ id: "", body }, secrets)))
      const right = headers["webhook-signature"].slice(3)
      for (const change of [
        { "webhook-id": undefined },
        { "webhook-id": "other" },
        { "webhook-id": "a.b" },
        { "webhook-id": "é" },
        { "webhook-timestamp": "1" },
        { "webhook-timestamp": "9999999999" },
        { "webhook-signature": `v1,${right.slice(1)}A` },
        { "webhook-signature": right.repeat(1_000) }
      ]) {
        const verifying = WebhookSignature.verify({ headers: { ...headers, ...change }, body }, secrets)
        const also = "webhook-id" in change ? [] : [right.slice(5, 25)]
        yield* check(yield* Effect.flip(verifying), also)
      }
    })
  )
})

describe("sign", () => {
  it("signs id, time and the exact bytes with every secret, in order", () =>
    fc.assert(
      fc.asyncProperty(arbitraryKeys, arbitraryId, arbitraryTime, arbitraryBody, async (keys, id, timestamp, body) => {
        const sign = Effect.flatMap(secretsOf(...keys), (secrets) =>
          WebhookSignature.sign({ id, timestamp, body }, secrets)
        )
        assert.deepStrictEqual(await Effect.runPromise(sign), {
          "webhook-id": id,
          "webhook-timestamp": String(timestamp),
          "webhook-signature": keys.map((key) => byHand(key, id, timestamp, body)).join(" ")
        })
      })
    ))

  it.effect("takes the time from the Clock, in whole seconds, when it runs", () =>
    Effect.gen(function* () {
      const secrets = yield* secretsOf(keyOf(1))
      const sign = WebhookSignature.sign({ id: "a", body: message.body }, secrets)
      yield* TestClock.setTime(time * 1000 + 999)
      assert.strictEqual((yield* sign)["webhook-timestamp"], String(time))
      yield* TestClock.adjust("1 millis")
      const headers = yield* sign
      assert.strictEqual(headers["webhook-timestamp"], String(time + 1))
      assert.strictEqual(headers["webhook-signature"], byHand(keyOf(1), "a", time + 1, message.body))
    })
  )

  it.effect("signs a part of a buffer as the bytes of that part at the time of the call", () =>
    Effect.gen(function* () {
      const { secrets, headers } = yield* signed(keyOf(1))
      const around = Uint8Array.from([1, 2, 3, ...message.body, 4, 5])
      const body = around.subarray(3, -2)
      const fiber = yield* Effect.forkChild(WebhookSignature.sign({ ...message, body }, secrets), {
        startImmediately: true
      })
      around.fill(0)
      assert.deepStrictEqual(yield* Fiber.join(fiber), headers)
    })
  )

  it.effect.each<[string, string, RegExp]>([
    ["that is empty", "", /is empty/],
    ["with a full stop", "a.b", /contains a full stop/],
    ["that is a full stop", ".", /contains a full stop/],
    ["with a line feed", "a\nb", /printable ASCII/],
    ["with another header in it", "a\r\nx-evil: 1", /printable ASCII/],
    ["with a line feed at the end", "a\n", /printable ASCII/],
    ["with a zero", "a\u0000", /printable ASCII/],
    ["with a delete", "a\u007f", /printable ASCII/],
    ["with a tab", "a\tb", /printable ASCII/],
    ["beyond ASCII", "é", /printable ASCII/],
    ["that is half a character", "\ud800", /printable ASCII/],
    ["with a space before", " a", /begins or ends with a space/],
    ["with a space after", "a ", /begins or ends with a space/],
    ["that is a space", " ", /begins or ends with a space/],
    ["of 1,025 characters", "a".repeat(1025), /longer than 1024/],
    ["of a million spaces", " ".repeat(1_000_000), /longer than 1024/]
  ])("refuses an id %s", ([, id, problem]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(WebhookSignature.sign({ ...message, id }, yield* secretsOf(keyOf(1))))
      assert.strictEqual(error._tag, "InvalidMessage")
      assert.strictEqual(error.field, "id")
      assert.match(error.problem, problem)
    })
  )

  it.effect.each([-1, 0.5, 1e15, Number.NaN, Infinity])("refuses the timestamp %d", (timestamp) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(WebhookSignature.sign({ ...message, timestamp }, yield* secretsOf(keyOf(1))))
      assert.strictEqual(error.field, "timestamp")
      assert.include(error.message, String(timestamp))
    })
  )

  it.effect("ids and times at the edges are verified, too", () =>
    Effect.gen(function* () {
      const secrets = yield* secretsOf(keyOf(1))
      const ids = ["a", "a b", "~", "!", "-/", "a".repeat(1024), "urn:uuid:0/x,y;z=1"]
      for (const id of ids) {
        for (const timestamp of [0, -0, 1, 999_999_999_999_999]) {
          const headers = yield* WebhookSignature.sign({ id, timestamp, body: message.body }, secrets)
          const verified = yield* WebhookSignature.verify({ headers, body: message.body }, secrets, {
            tolerance: "Infinity"
          })
          assert.deepStrictEqual(verified, { id, timestamp: timestamp + 0 })
        }
      }
    })
  )
})

describe("verify", () => {
  it("accepts a signed request, whichever of the secrets both sides share", () =>
    fc.assert(
      fc.asyncProperty(
        arbitraryKeys,
        fc.nat(2),
        arbitraryId,
        arbitraryTime,
        arbitraryBody,
        async ([old, current, next], shared, id, timestamp, body) => {
          const program = Effect.gen(function* () {
            const signing = shared === 0 ? [old] : shared === 1 ? [old, current] : [next, current, old]
            const headers = yield* WebhookSignature.sign(
              { id, timestamp, body },
              yield* secretsOf(signing[0] ?? old, ...signing.slice(1))
            )
            const secrets = yield* secretsOf(...(shared === 1 ? ([next, current] as const) : ([next, old] as const)))
            return yield* WebhookSignature.verify({ headers, body }, secrets, { tolerance: "Infinity" })
          })
          assert.deepStrictEqual(await Effect.runPromise(program), { id, timestamp })
        }
      )
    ))

  it("refuses a body with any bit changed, one byte more or one less", () =>
    fc.assert(
      fc.asyncProperty(arbitraryKey, arbitraryBody, fc.nat(), fc.nat(7), async (key, body, at, bit) => {
        const changed = Uint8Array.from(body)
        if (body.length > 0) changed[at % body.length]! ^= 1 << bit
        const others = [Uint8Array.from([...body, 0]), ...(body.length > 0 ? [changed, body.subarray(1)] : [])]
        const program = Effect.gen(function* () {
          const secrets = yield* secretsOf(key)
          const headers = yield* WebhookSignature.sign({ id: "a", timestamp: time, body }, secrets)
          for (const body of others)
            yield* refusedWith("NoMatch", { headers, body }, secrets, { tolerance: "Infinity" })
        })
        await Effect.runPromise(program)
      })
    ))

  it("refuses another id, another time and another secret", () =>
    fc.assert(
      fc.asyncProperty(
        arbitraryKeys,
        fc.uniqueArray(arbitraryId, { minLength: 2, maxLength: 2 }),
        fc.uniqueArray(arbitraryTime, { minLength: 2, maxLength: 2 }),
        arbitraryBody,
        async ([key, other], [id = "", otherId], [timestamp = 0, otherTime], body) => {
          fc.pre(Buffer.compare(key, other) !== 0)
          const program = Effect.gen(function* () {
            const secrets = yield* secretsOf(key)
            const headers = yield* WebhookSignature.sign({ id, timestamp, body }, secrets)
            const options = { tolerance: "Infinity" } as const
            const withId = { ...headers, "webhook-id": otherId }
            yield* refusedWith("NoMatch", { headers: withId, body }, secrets, options)
            const withTime = { ...headers, "webhook-timestamp": String(otherTime) }
            yield* refusedWith("NoMatch", { headers: withTime, body }, secrets, options)
            // Zeros after a key mean nothing to HMAC: such a pair of keys is one key.
            const same = Buffer.compare(createHmac("sha256", key).digest(), createHmac("sha256", other).digest())
            if (same !== 0) yield* refusedWith("NoMatch", { headers, body }, yield* secretsOf(other), options)
          })
          await Effect.runPromise(program)
        }
      )
    ))

  it.effect("accepts a request exactly as old, or as far ahead, as the tolerance, in whole seconds", () =>
    Effect.gen(function* () {
      const request = yield* signed(keyOf(1))
      const at = (millis: number, tolerance?: "1 second" | "90 minutes" | "0 seconds") =>
        Effect.andThen(
          TestClock.setTime(time * 1000 + millis),
          Effect.match(WebhookSignature.verify(request, request.secrets, tolerance && { tolerance }), {
            onFailure: ({ reason }) => reason._tag,
            onSuccess: ({ timestamp }) => timestamp
          })
        )
      assert.strictEqual(yield* at(300_000), time)
      assert.strictEqual(yield* at(300_999), time)
      assert.strictEqual(yield* at(301_000), "TooOld")
      assert.strictEqual(yield* at(-300_000), time)
      assert.strictEqual(yield* at(-300_001), "TooNew")
      assert.strictEqual(yield* at(1_999, "1 second"), time)
      assert.strictEqual(yield* at(2_000, "1 second"), "TooOld")
      assert.strictEqual(yield* at(-1_000, "1 second"), time)
      assert.strictEqual(yield* at(-1_001, "1 second"), "TooNew")
      assert.strictEqual(yield* at(999, "0 seconds"), time)
      assert.strictEqual(yield* at(1_000, "0 seconds"), "TooOld")
      assert.strictEqual(yield* at(5_400_000, "90 minutes"), time)
      assert.strictEqual(yield* at(5_401_000, "90 minutes"), "TooOld")
    })
  )

  it.effect("the reason has the distance of the time", () =>
    Effect.gen(function* () {
      const { secrets, ...request } = yield* signed(keyOf(1))
      yield* TestClock.setTime((time + 400) * 1000)
      const old = yield* refusal(request, secrets)
      assert.deepInclude({ ...old }, { _tag: "TooOld", timestamp: time, now: time + 400, tolerance: 300 })
      assert.strictEqual(old.message, "the timestamp is 400 seconds old, and 300 are tolerated")
      yield* TestClock.setTime((time - 400) * 1000)
      const early = yield* refusal(request, secrets)
      assert.deepInclude({ ...early }, { _tag: "TooNew", timestamp: time, now: time - 400, tolerance: 300 })
      assert.strictEqual(early.message, "the timestamp is 400 seconds ahead, and 300 are tolerated")
    })
  )

  it.effect.each(["webhook-id", "webhook-timestamp", "webhook-signature"] as const)(
    "names %s if it is missing",
    (header) =>
      Effect.gen(function* () {
        const { body, headers, secrets } = yield* signed(keyOf(1))
        const { [header]: value, ...others } = headers
        // Names are the caller's business: another case is another name.
        for (const lacking of [
          others,
          { ...others, [header]: undefined },
          { ...others, [header.toUpperCase()]: value }
        ]) {
          const reason = yield* refusal({ headers: lacking, body }, secrets)
          assert.deepInclude({ ...reason }, { _tag: "MissingHeader", header })
          assert.strictEqual(reason.message, `the header ${header} is missing`)
        }
      })
  )

  const malformed: ReadonlyArray<[WebhookSignature.MalformedHeader["header"], string]> = [
    ["webhook-id", ""],
    ["webhook-id", "a\nb"],
    ["webhook-id", "é"],
    ["webhook-id", "a".repeat(1_000_000)],
    ["webhook-timestamp", ""],
    ["webhook-timestamp", "now"],
    ["webhook-timestamp", `${time}.0`],
    ["webhook-timestamp", `${time}s`],
    ["webhook-timestamp", ` ${time}`],
    ["webhook-timestamp", `0${time}`],
    ["webhook-timestamp", `+${time}`],
    ["webhook-timestamp", `-${time}`],
    ["webhook-timestamp", "1e9"],
    ["webhook-timestamp", "0x63c88bff"],
    ["webhook-timestamp", "١"],
    ["webhook-timestamp", `${time}\n`],
    ["webhook-timestamp", `${time}, ${time}`],
    ["webhook-timestamp", "1".repeat(16)],
    ["webhook-timestamp", "1".repeat(1_000_000)],
    ["webhook-signature", "v1,".repeat(6_000)]
  ]
  const named = malformed.map(([header, value]) => [header, JSON.stringify(value.slice(0, 20)), value] as const)
  it.effect.each(named)("refuses a malformed %s: %s", ([header, , value]) =>
    Effect.gen(function* () {
      const { body, headers, secrets } = yield* signed(keyOf(1))
      const reason = yield* refusal({ headers: { ...headers, [header]: value }, body }, secrets, {
        tolerance: "Infinity"
      })
      assert.deepInclude({ ...reason }, { _tag: "MalformedHeader", header })
      assert.include(reason.message, header)
      assert.isBelow(reason.message.length, 200)
    })
  )

  it.effect("passes over signatures of other versions and finds the right one anywhere", () =>
    Effect.gen(function* () {
      const { body, headers, secrets } = yield* signed(keyOf(1))
      const right = headers["webhook-signature"]
      const wrong = byHand(keyOf(2), message.id, time, body)
      const verify = (signature: string) =>
        Effect.match(
          WebhookSignature.verify({ headers: { ...headers, "webhook-signature": signature }, body }, secrets),
          { onFailure: ({ reason }) => reason._tag, onSuccess: () => "genuine" }
        )
      for (const accepted of [
        right,
        `${wrong} ${right}`,
        `${right} ${wrong}`,
        `v1a,xyz== ${right} v2,abc`,
        `v1,!!! v1, v1 , ${right}`,
        `${right} ${right}`,
        // two lines of the header, as HTTP joins them, and as proxies do
        `${right}, ${wrong}`,
        `${wrong}, ${right}`,
        `${wrong},${right}`,
        `${wrong} ${wrong}, ${wrong} ${right}`,
        // tabs, which a header may have where it has spaces
        `${wrong}\t${right}`,
        `v1a,xyz==\t \t${right}\t`
      ]) {
        assert.strictEqual(yield* verify(accepted), "genuine", accepted)
      }
      for (const refused of [
        "",
        " ",
        ",",
        "v1",
        "v1,",
        wrong,
        right.slice(3),
        right.replace("v1,", "v1a,"),
        right.replace("v1,", "v2,"),
        right.replace("v1,", "V1,"),
        right.replace("=", ""),
        `${right}=`,
        right.slice(0, -2),
        right.replace("v1,", "v1, "),
        right.replace("v1,", "v1\t,"),
        right.replace("v1,", "v1,,"),
        right.replace("v1,", "xv1,"),
        right.replace("v1,", "v1=v1,"),
        right.toLowerCase(),
        "v1,not base64 at all",
        `v1,${"\u{1F600}".repeat(22)}`
      ]) {
        assert.strictEqual(yield* verify(refused), "NoMatch", refused)
      }
    })
  )

  it.effect("refuses a signature with any one character changed", () =>
    Effect.gen(function* () {
      const { body, headers, secrets } = yield* signed(keyOf(1))
      const right = headers["webhook-signature"]
      for (let at = 3; at < right.length; at++) {
        const changed = `${right.slice(0, at)}${right[at] === "A" ? "B" : "A"}${right.slice(at + 1)}`
        yield* refusedWith("NoMatch", { headers: { ...headers, "webhook-signature": changed }, body }, secrets)
      }
    })
  )

  it.effect("an id that comes twice is another id", () =>
    Effect.gen(function* () {
      const { body, headers, secrets } = yield* signed(keyOf(1))
      const twice = { ...headers, "webhook-id": `${message.id}, ${message.id}` }
      yield* refusedWith("NoMatch", { headers: twice, body }, secrets)
    })
  )

  it.effect(
    "signs once for each secret however many signatures come, and not at all for a request that is refused before",
    () =>
      Effect.gen(function* () {
        const { calls, layer } = counting()
        const { body, headers, secrets } = yield* Effect.provide(signed(keyOf(1), keyOf(2), keyOf(3)), layer)
        calls.sign = 0
        const with_ = (change: Partial<WebhookSignature.SignatureHeaders>) => ({
          headers: { ...headers, ...change },
          body
        })
        const many = Array.from({ length: 340 }, (_, i) => byHand(keyOf(1), `other${i}`, time, body)).join(" ")
        yield* refusedWith("NoMatch", with_({ "webhook-signature": many }), secrets)
        assert.strictEqual(calls.sign, 3)
        yield* refusedWith("MalformedHeader", with_({ "webhook-signature": `${many} `.repeat(100) }), secrets)
        yield* refusedWith("TooOld", with_({ "webhook-timestamp": "1" }), secrets)
        yield* refusedWith("TooNew", with_({ "webhook-timestamp": "999999999999999" }), secrets)
        yield* refusedWith("NoMatch", with_({ "webhook-signature": `v1a,x ${"x ".repeat(8_000)}` }), secrets)
        assert.strictEqual(calls.sign, 3)
      })
  )

  it("answers anything with a typed error", () => {
    const value = fc.oneof(
      fc.string({ unit: "binary", maxLength: 100 }),
      fc.string({ maxLength: 100 }),
      fc.constantFrom(undefined, String(time), "msg_1", "v1,", " ", `v1,${"A".repeat(43)}=`)
    )
    return fc.assert(
      fc.asyncProperty(value, value, value, arbitraryBody, async (id, timestamp, signature, body) => {
        const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature }
        const reason = await Effect.runPromise(
          Effect.flatMap(secretsOf(keyOf(1)), (secrets) =>
            refusal({ headers, body }, secrets, { tolerance: "Infinity" })
          )
        )
        assert.match(reason._tag, /^(MissingHeader|MalformedHeader|NoMatch)$/)
      }),
      { numRuns: runs(500) }
    )
  })

  it.effect("a reason can be caught by its name", () =>
    Effect.gen(function* () {
      const { body, headers, secrets } = yield* signed(keyOf(1))
      const verifying = WebhookSignature.verify({ headers: { ...headers, "webhook-id": "other" }, body }, secrets)
      const answer: "unsigned" | WebhookSignature.Verified = yield* verifying.pipe(
        Effect.catchReason("WebhookSignatureError", "NoMatch", () => Effect.succeed("unsigned" as const))
      )
      assert.strictEqual(answer, "unsigned")
      assert.strictEqual((yield* Effect.flip(verifying)).message, "no v1 signature matches")
    })
  )
})

describe("against the reference library", () => {
  const json = fc.json()

  it("the library verifies our signatures, with any one of the secrets", () =>
    fc.assert(
      fc.asyncProperty(arbitraryKeys, fc.nat(2), arbitraryId, json, async (keys, which, id, text) => {
        // Its clock is the real one.
        const sign = Effect.flatMap(secretsOf(...keys), (secrets) =>
          WebhookSignature.sign({ id, body: utf8(text) }, secrets)
        )
        const headers = { ...(await Effect.runPromise(sign)) }
        const webhook = new Webhook(serialized(keys[which] ?? keys[0]))
        assert.deepStrictEqual(webhook.verify(text, headers), JSON.parse(text))
        assert.throws(() => webhook.verify(`${text} `, headers), /No matching signature/)
      })
    ))

  it("our module verifies the library's signatures, which are the same to the letter", () =>
    fc.assert(
      fc.asyncProperty(
        arbitraryKeys,
        arbitraryId,
        arbitraryTime,
        fc.string({ unit: "grapheme" }),
        async ([key, other], id, timestamp, text) => {
          const signature = new Webhook(serialized(key)).sign(id, new Date(timestamp * 1000), text)
          const headers = {
            "webhook-id": id,
            "webhook-timestamp": String(timestamp),
            "webhook-signature": signature
          }
          const program = Effect.gen(function* () {
            const secrets = yield* secretsOf(other, key)
            const body = utf8(text)
            const verified = yield* WebhookSignature.verify({ headers, body }, secrets, { tolerance: "Infinity" })
            const mine = yield* WebhookSignature.sign({ id, timestamp, body }, yield* secretsOf(key))
            return { verified, mine }
          })
          const { mine, verified } = await Effect.runPromise(program)
          assert.deepStrictEqual(verified, { id, timestamp })
          assert.deepStrictEqual(mine, headers)
        }
      )
    ))
})
