/** The secrets of webhook signatures, which sign and show nothing of themselves. */
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"

/** The part of `SubtleCrypto` in use: its own type is the platform's, and the library needs no platform's types. */
interface Subtle {
  importKey(
    format: "raw",
    key: Uint8Array,
    algorithm: { readonly name: "HMAC"; readonly hash: "SHA-256" },
    extractable: false,
    usages: ReadonlyArray<"sign">
  ): Promise<object>
  sign(algorithm: "HMAC", key: object, data: Uint8Array): Promise<ArrayBuffer>
}

/**
 * A key, ready for use. It shows nothing of itself in logs, in JSON or under inspection, and its bytes cannot be read
 * back: its redacted value is a function that signs. Two secrets are equal only if they are the same object.
 *
 * @category models
 * @since 0.1.0
 */
export interface Secret extends Redacted.Redacted<(text: Uint8Array) => Promise<ArrayBuffer>> {}

const problems = {
  empty: "is empty",
  asymmetric: 'is an asymmetric key, which is not supported: a symmetric secret begins with "whsec_"',
  "not-base64": 'is not base64 with padding, with or without "whsec_" before it',
  "too-short": "has fewer than 24 bytes",
  "too-long": "has more than 64 bytes"
} as const

/**
 * A secret that cannot be used, and why; never the secret itself.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidSecret extends Data.TaggedError("InvalidSecret")<{
  readonly problem: keyof typeof problems
}> {
  override get message(): string {
    return `a webhook secret ${problems[this.problem]}`
  }
}

/** The problem of a secret, if it has one. */
export const secretProblem = (text: string): string | undefined => {
  const bytes = bytesOf(text)
  return typeof bytes === "string" ? problems[bytes] : undefined
}

/**
 * Reads a secret as Standard Webhooks serializes it ("Signature scheme"): `whsec_` and the base64 of 24 to 64 random
 * bytes. The key is imported here, once.
 *
 * **Details**
 *
 * The prefix may be missing, as the reference library allows. The base64 is that of RFC 4648, section 4, with its padding
 * and without line breaks.
 *
 * @category constructors
 * @since 0.1.0
 */
export const secret = (value: Redacted.Redacted<string>): Effect.Effect<Secret, InvalidSecret> =>
  WebCrypto.use((crypto) => {
    const bytes = bytesOf(Redacted.value(value))
    if (typeof bytes === "string") return Effect.fail(new InvalidSecret({ problem: bytes }))
    const subtle: Subtle | undefined = crypto?.subtle
    if (subtle === undefined) return Effect.die(new Error("crypto.subtle is missing: see effect/crypto/WebCrypto"))
    const key = Effect.promise(() => subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]))
    return Effect.map(key, (key) =>
      Redacted.make((text: Uint8Array) => subtle.sign("HMAC", key, text), { label: "webhook secret" })
    )
  })

/** The signature of a text, in base64, by each of the secrets. */
export const signatures = (secrets: ReadonlyArray<Secret>, text: Uint8Array): Effect.Effect<ReadonlyArray<string>> =>
  Effect.promise(async () => {
    const tags = await Promise.all(secrets.map((secret) => Redacted.value(secret)(text)))
    return tags.map((tag) => Base64.encode(new Uint8Array(tag)))
  })

// internals

const prefix = "whsec_"

/** The bytes of a secret, or its problem. */
const bytesOf = (text: string): Uint8Array | InvalidSecret["problem"] => {
  if (/^wh[sp]k_/.test(text)) return "asymmetric"
  const base64 = text.startsWith(prefix) ? text.slice(prefix.length) : text
  if (base64 === "") return "empty"
  // The decoder passes over line breaks. Its error quotes the input and goes no further than this line.
  const bytes = /[\r\n]/.test(base64) ? undefined : Result.getOrUndefined(Base64.decode(base64))
  if (bytes === undefined) return "not-base64"
  if (bytes.length < 24) return "too-short"
  return bytes.length > 64 ? "too-long" : bytes
}
