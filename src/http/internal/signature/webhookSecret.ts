/** The secrets of webhook signatures, which sign and show nothing of themselves. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import { WebCrypto } from "effect/crypto/WebCrypto"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Base64 from "effect/encoding/Base64"
import * as Base64Url from "effect/encoding/Base64Url"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Utf8 from "../../../internal/encoding/utf8.ts"
import { logLine } from "../../../internal/failureLog.ts"

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

/**
 * A secret as a sender hands it over: the text of Standard Webhooks, `whsec_` and base64; or the bytes of the key.
 *
 * @category models
 * @since 0.1.0
 */
export type SecretInput = Redacted.Redacted<string | Uint8Array>

/**
 * A secret that cannot be used, and why; never a character of the secret itself.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidSecret extends Data.TaggedError("InvalidSecret")<{
  readonly problem:
    | "empty"
    | "too-long"
    | "asymmetric"
    /** It begins with `v1,`, as a signature does. */
    | "version-prefix"
    | "other-prefix"
    /** White space, quotation marks, or other characters outside of base64; or a length that no base64 has. */
    | "not-base64"
    /** Two senders of one ingress have it, and a signature by it would be of either. */
    | "shared"
  /** What is wrong, and at which character. */
  readonly detail: string
  /** The option that has the secret, such as `verify.secrets[1]`; nothing where `secret` was called. */
  readonly option: string | undefined
}> {
  override get message(): string {
    return `${subject(this.option)} ${this.detail}`
  }
}

/** The problem of a secret, if it has one. */
export const secretProblem = (text: string): string | undefined =>
  Result.match(readKey(text), { onFailure: ({ detail }) => detail, onSuccess: () => undefined })

/** The same of a secret that is not trusted: it must be as long as Standard Webhooks asks for. */
export const strongSecretProblem = (text: string): string | undefined =>
  Result.match(readKey(text), {
    onFailure: ({ detail }) => detail,
    onSuccess: ({ length }) =>
      length < minBytes
        ? `has ${length} ${length === 1 ? "byte" : "bytes"}, fewer than the ${minBytes} that Standard Webhooks allows`
        : undefined
  })

/**
 * Reads a secret as Standard Webhooks serializes it ("Signature scheme"): `whsec_` and the base64 of random bytes. The key is
 * imported here, once.
 *
 * **Details**
 *
 * A key has 1 to 75 bytes, the most that Svix allows; fewer than 24, the least of the specification, are logged as a warning.
 * The prefix and the padding may be missing, as some reference libraries allow, and the base64 may be the URL-safe one of
 * RFC 4648, section 5. Bytes are the key as they are: `raw` makes them of a text.
 *
 * **Gotchas**
 *
 * A text without the prefix is base64, too, and so is a hexadecimal one: only `raw` takes a text literally.
 *
 * @category constructors
 * @since 0.1.0
 */
export const secret = (value: SecretInput): Effect.Effect<Secret, InvalidSecret> => makeSecret(value, undefined)

/** Reads the secrets of an option, whose name is in errors and warnings. */
export const secretsOf = (option: string, values: NonEmptyReadonlyArray<SecretInput>) =>
  Effect.forEach(values, (value, i) => makeSecret(value, `${option}[${i}]`))

/**
 * A text whose characters, in UTF-8, are the key itself: for a sender whose secret is no base64, or that signs with the whole
 * text of it, prefix included.
 *
 * **Example** (A passphrase as a secret)
 *
 * ```ts
 * import { Redacted } from "effect"
 * import * as WebhookSignature from "effect-events/http/WebhookSignature"
 *
 * const secret = WebhookSignature.raw(Redacted.make("correct horse battery staple"))
 * console.log(String(secret), Redacted.value(secret).length)
 * // prints: <redacted:webhook secret> 28
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const raw = (text: Redacted.Redacted<string>): Redacted.Redacted<Uint8Array> =>
  Redacted.make(Utf8.encode(Redacted.value(text)), { label })

/** The signature of a text, in base64, by each of the secrets. */
export const signatures = (secrets: ReadonlyArray<Secret>, text: Uint8Array): Effect.Effect<ReadonlyArray<string>> =>
  Effect.promise(async () => {
    const tags = await Promise.all(secrets.map((secret) => Redacted.value(secret)(text)))
    return tags.map((tag) => Base64.encode(new Uint8Array(tag)))
  })

// internals

const label = "webhook secret"
const prefix = "whsec_"
const minBytes = 24
const maxBytes = 75

type Fault = Pick<InvalidSecret, "problem" | "detail">

const fault = (problem: Fault["problem"], detail: string): Fault => ({ problem, detail })

/** What a text without white space may be in place of base64, behind the prefix of a secret if it has that. */
const faults: ReadonlyArray<readonly [RegExp, Fault]> = [
  [/^["'`]|["'`]$/, fault("not-base64", "has quotation marks around it")],
  // Alone, where a list was split at the comma.
  [/^v\d+[a-z]?(?:,|$)/i, fault("version-prefix", 'has the prefix of a signature, such as "v1,", before it')],
  [/^wh[sp]k_/i, fault("asymmetric", `is an asymmetric key, in place of a symmetric one that begins with "${prefix}"`)],
  // Prefixes of the field would pass for URL-safe base64, and so would a second "whsec_".
  [/whsec_|^(?:[a-z]+_)*(?:whs|secret|key)_/i, fault("other-prefix", `has a prefix other than one "${prefix}"`)],
  [
    /^(?=[\w+/-]*$)(?=.*[+/])(?=.*[-_])/,
    fault("not-base64", "has characters of two kinds of base64: + or /, and - or _")
  ]
]

const subject = (option: string | undefined): string =>
  option === undefined ? "a webhook secret" : `the webhook secret ${option}`

const makeSecret = (value: SecretInput, option: string | undefined): Effect.Effect<Secret, InvalidSecret> =>
  WebCrypto.use((crypto) => {
    const bytes = readKey(Redacted.value(value))
    if (Result.isFailure(bytes)) return Effect.fail(new InvalidSecret({ ...bytes.failure, option }))
    // Of the platform's overloads TypeScript compares the last, which is not the one in use everywhere.
    const subtle = crypto?.subtle as Subtle | undefined
    if (subtle === undefined) return Effect.die(new Error("crypto.subtle is missing: see effect/crypto/WebCrypto"))
    const key = Effect.promise(() =>
      subtle.importKey("raw", bytes.success, { name: "HMAC", hash: "SHA-256" }, false, ["sign"])
    )
    const isShort = bytes.success.length < minBytes
    const part = { kind: "WebhookSignature", name: option ?? "secret" }
    const warning = logLine(
      part,
      "Warn",
      `is a secret of fewer than ${minBytes} bytes, the least that Standard Webhooks allows`
    )
    return Effect.andThen(
      isShort ? warning : Effect.void,
      Effect.map(key, (key) => Redacted.make((text: Uint8Array) => subtle.sign("HMAC", key, text), { label }))
    )
  })

/** The bytes of a secret, or its problem. */
const readKey = (given: string | Uint8Array): Result.Result<Uint8Array, Fault> =>
  Result.flatMap(typeof given === "string" ? decode(given) : Result.succeed(given), (bytes) => {
    if (bytes.length === 0) return Result.fail(fault("empty", "is empty"))
    return bytes.length > maxBytes
      ? Result.fail(fault("too-long", `has more than ${maxBytes} bytes`))
      : Result.succeed(bytes)
  })

const decode = (text: string): Result.Result<Uint8Array, Fault> => {
  const start = text.startsWith(prefix) ? prefix.length : 0
  const base64 = text.slice(start).replace(/={1,2}$/, "")
  const strange = (pattern: RegExp): Fault | undefined => {
    const at = base64.search(pattern)
    if (at === -1) return undefined
    const isEnd = base64.slice(at).trim() === ""
    const place = isEnd ? "at its end" : start + at === 0 ? "at its start" : `at character ${start + at + 1}`
    return fault("not-base64", `has ${nameOf(base64[at]!)} ${place}`)
  }
  const found = strange(/\s/) ?? faults.find(([pattern]) => pattern.test(base64))?.[1] ?? strange(/[^\w+/-]/)
  if (found !== undefined) return Result.fail(found)
  // The error of the decoder quotes the input and goes no further than this line.
  return Result.mapError(Base64Url.decode(base64.replaceAll("+", "-").replaceAll("/", "_")), () =>
    fault("not-base64", "has one character too few, or one too many, for base64")
  )
}

/** What a character outside of base64 is called: one that hardly shows where a secret is kept has a name. */
const nameOf = (char: string): string => {
  if (char === "\n" || char === "\r") return "a line feed"
  if (char === "\t") return "a tab"
  if (/\s/.test(char)) return "a space"
  return char === "=" ? "padding" : "a character outside of base64"
}
