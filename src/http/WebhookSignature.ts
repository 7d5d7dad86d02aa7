/**
 * Standard Webhooks 1.0.0 signatures, the symmetric scheme: HMAC-SHA256 over the id, the time of the attempt and the exact
 * bytes of the body, in the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`; Svix sends the same as `svix-id`,
 * `svix-timestamp` and `svix-signature`. A verified request comes from an owner of the secret, with its body unchanged, and is
 * not an old one played again. Other headers are not signed.
 *
 * Everything runs on Web Crypto (`effect/crypto/WebCrypto`, by default `globalThis.crypto`): nothing has to be provided.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Bytes from "effect/Bytes"
import * as Clock from "effect/Clock"
import { timingSafeEqual } from "effect/crypto/Mac"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Utf8 from "../internal/encoding/utf8.ts"
import { type Secret, signatures } from "./internal/signature/webhookSecret.ts"

export { InvalidSecret, raw, type Secret, secret, type SecretInput } from "./internal/signature/webhookSecret.ts"

/**
 * The content of a signature.
 *
 * @category models
 * @since 0.1.0
 */
export interface Unsigned {
  /** The event's id, the same at every attempt: receivers deduplicate by it. */
  readonly id: string
  /** The time of this attempt in whole seconds since 1970: now, by the `Clock`, unless given. */
  readonly timestamp?: number | undefined
  /** The exact bytes that are sent. */
  readonly body: Uint8Array
}

/**
 * An id or a timestamp that cannot be signed, and why.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidMessage extends Data.TaggedError("InvalidMessage")<{
  readonly field: "id" | "timestamp"
  readonly problem: string
}> {
  override get message(): string {
    return `the ${this.field} of a webhook ${this.problem}`
  }
}

/**
 * The three headers of a signed request.
 *
 * @category models
 * @since 0.1.0
 */
// A type and not an interface: it is to fit where any headers do.
export type SignatureHeaders = {
  readonly "webhook-id": string
  readonly "webhook-timestamp": string
  readonly "webhook-signature": string
}

/**
 * Signs one attempt of a request: one signature for each secret, so that receivers of only the old or only the new one
 * both accept it while a secret is being replaced.
 *
 * **Details**
 *
 * An id may not contain a full stop: the specification asks for that ("Signature scheme") where ids come from users, and
 * a verifier could otherwise be shown another id, time and body under the same signature. It is printable ASCII of at most
 * 1,024 characters, and neither begins nor ends with a space. The headers have the standard names, which the libraries of Svix
 * read, too.
 *
 * **Gotchas**
 *
 * Sign again at every attempt: the timestamp is the attempt's, and receivers refuse old ones.
 *
 * **Example** (Signing and verifying)
 *
 * ```ts
 * import { Effect, Redacted } from "effect"
 * import * as WebhookSignature from "effect-events/http/WebhookSignature"
 *
 * const program = Effect.gen(function* () {
 *   const secret = yield* WebhookSignature.secret(Redacted.make("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"))
 *   const body = Uint8Array.from("{}", (c) => c.charCodeAt(0))
 *   const headers = yield* WebhookSignature.sign({ id: "msg_1", timestamp: 1674087231, body }, [secret])
 *   console.log(headers["webhook-signature"])
 *
 *   const { id } = yield* WebhookSignature.verify({ headers, body }, [secret], { tolerance: "36500 days" })
 *   console.log(`${id} is genuine`)
 *   yield* WebhookSignature.verify({ headers, body }, [secret]).pipe(
 *     Effect.catchReason("WebhookSignatureError", "TooOld", (reason) => Effect.sync(() => console.log(reason._tag)))
 *   )
 * })
 *
 * Effect.runPromise(program)
 * // prints: v1,QCc1C0FgUpxfSJy5BvEGVPJ/27RP8AwadWr57Nd93Gc=
 * // prints: msg_1 is genuine
 * // prints: TooOld
 * ```
 *
 * @category signing
 * @since 0.1.0
 */
export const sign = (
  { body, id, timestamp }: Unsigned,
  secrets: NonEmptyReadonlyArray<Secret>
): Effect.Effect<SignatureHeaders, InvalidMessage> =>
  Clock.clockWith((clock) => {
    const invalid = (field: InvalidMessage["field"], problem: string) =>
      Effect.fail(new InvalidMessage({ field, problem }))
    const problem = idProblem(id) ?? (id.includes(".") ? fullStop : undefined)
    if (problem !== undefined) return invalid("id", problem)
    const seconds = timestamp ?? secondsNow(clock)
    if (!Number.isInteger(seconds) || seconds < 0 || seconds > maxTimestamp) {
      return invalid("timestamp", `must be whole seconds since 1970, and is ${seconds}`)
    }
    return Effect.map(signatures(secrets, signedText(id, seconds, body)), (signatures) => ({
      "webhook-id": id,
      "webhook-timestamp": String(seconds),
      "webhook-signature": signatures.map((signature) => `v1,${signature}`).join(" ")
    }))
  })

/**
 * A request as it came.
 *
 * @category models
 * @since 0.1.0
 */
export interface Signed {
  /** Names in lower case, as Node and `effect/http` give them. Headers beside those of signatures do not matter. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The exact bytes that came: a body that was parsed and serialized again does not match. */
  readonly body: Uint8Array
}

/**
 * Options of a verification.
 *
 * @category options
 * @since 0.1.0
 */
export interface VerifyOptions {
  /** How far the timestamp may be from now, back and ahead: 5 minutes by default, as in the reference library. */
  readonly tolerance?: Duration.Input | undefined
}

/**
 * The id and the time of a genuine request.
 *
 * @category models
 * @since 0.1.0
 */
export interface Verified {
  /** The event's id, by which duplicates are recognised. */
  readonly id: string
  /** The time of the attempt in whole seconds since 1970. */
  readonly timestamp: number
}

/**
 * The header of a signature, under its standard name or under that of Svix.
 *
 * @category models
 * @since 0.1.0
 */
export type HeaderName = `${"webhook" | "svix"}-${"id" | "timestamp" | "signature"}`

/**
 * A header is missing.
 *
 * @category errors
 * @since 0.1.0
 */
export class MissingHeader extends Data.TaggedError("MissingHeader")<{
  readonly header: HeaderName
}> {
  override get message(): string {
    return `the header ${this.header} is missing`
  }
}

/**
 * A header is malformed.
 *
 * @category errors
 * @since 0.1.0
 */
export class MalformedHeader extends Data.TaggedError("MalformedHeader")<{
  readonly header: HeaderName
  readonly problem: string
}> {
  override get message(): string {
    return `the header ${this.header} ${this.problem}`
  }
}

/**
 * The timestamp is further back than the tolerance allows: an old request played again, a slow one, or two clocks that
 * disagree. All times are whole seconds. The request is not yet proven genuine.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooOld extends Data.TaggedError("TooOld")<{
  readonly timestamp: number
  readonly now: number
  readonly tolerance: number
}> {
  override get message(): string {
    return `the timestamp is ${this.now - this.timestamp} seconds old, and ${this.tolerance} are tolerated`
  }
}

/**
 * The timestamp is further ahead than the tolerance allows. All times are whole seconds. The request is not yet proven
 * genuine.
 *
 * @category errors
 * @since 0.1.0
 */
export class TooNew extends Data.TaggedError("TooNew")<{
  readonly timestamp: number
  readonly now: number
  readonly tolerance: number
}> {
  override get message(): string {
    return `the timestamp is ${this.timestamp - this.now} seconds ahead, and ${this.tolerance} are tolerated`
  }
}

/**
 * No secret made any of the `v1` signatures: another secret, or an id, timestamp or body that was changed in transit.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoMatch extends Data.TaggedError("NoMatch") {
  override get message(): string {
    return "no v1 signature matches"
  }
}

/**
 * The reasons of a refusal.
 *
 * @category errors
 * @since 0.1.0
 */
export type Reason = MissingHeader | MalformedHeader | TooOld | TooNew | NoMatch

/**
 * A request was refused. It carries nothing of the request but its timestamp, and nothing of a secret.
 *
 * @category errors
 * @since 0.1.0
 */
export class WebhookSignatureError extends Data.TaggedError("WebhookSignatureError")<{
  readonly reason: Reason
}> {
  override get message(): string {
    return this.reason.message
  }
}

/**
 * Verifies a request: one of its `v1` signatures must be of one of the secrets, and its time within the tolerance of now,
 * by the `Clock`. Signatures of other versions, such as `v1a`, are passed over.
 *
 * **Details**
 *
 * Times are compared in whole seconds, and a request that is exactly as old as the tolerance is accepted. The headers and
 * the time are judged first, so that a malformed or old request costs no cryptography; then each secret signs once,
 * however many signatures came. Signatures are compared in constant time, and stand between white space or commas, as several
 * lines of a header are joined. A signature header of more than 16,384 characters is malformed. Ids follow the rules of `sign`,
 * and may have full stops, as for the reference libraries. A timestamp is a decimal integer without a sign or leading zeros.
 *
 * The three headers are `webhook-*` or `svix-*`, never some of each. Where a request has all six, each three are judged alone,
 * the standard ones first, and one genuine three suffice; otherwise the reason is that of the standard ones.
 *
 * **Gotchas**
 *
 * A request that is played again within the tolerance is as genuine as the first: keep the ids of accepted requests for
 * twice the tolerance and a second, since times are compared in whole seconds, and refuse duplicates.
 *
 * One signed text, `a.5.6.x`, is that of the id `a`, the time 5 and the body `6.x`, and of `a.5`, 6 and `x`. So a message whose
 * id has a full stop, or whose body begins with digits and a full stop, can be replayed as the other. Where bodies are JSON
 * objects or arrays the other is no JSON.
 *
 * @category verifying
 * @since 0.1.0
 */
export const verify = (
  { body, headers }: Signed,
  secrets: NonEmptyReadonlyArray<Secret>,
  options?: VerifyOptions
): Effect.Effect<Verified, WebhookSignatureError> =>
  Clock.clockWith((clock) => {
    const verifyBy = (prefix: Prefix): Effect.Effect<Verified, WebhookSignatureError> => {
      const names = namesBy(prefix)
      const missing = names.find((name) => headers[name] === undefined)
      if (missing !== undefined) return refuse(new MissingHeader({ header: missing }))
      // None is missing.
      const [id, time, signature] = names.map((name) => headers[name]) as [string, string, string]
      const malformed = (header: HeaderName, problem: string) => refuse(new MalformedHeader({ header, problem }))

      const problem = idProblem(id)
      if (problem !== undefined) return malformed(names[0], problem)
      // Up to `maxTimestamp`, in the one form that signing gives it.
      if (!/^(?:0|[1-9]\d{0,14})$/.test(time)) return malformed(names[1], "is not whole seconds since 1970")
      if (signature.length > maxSignatureLength) {
        return malformed(names[2], `is longer than ${maxSignatureLength} characters`)
      }

      const timestamp = Number(time)
      const now = secondsNow(clock)
      const tolerance = Duration.toSeconds(Duration.fromInputUnsafe(options?.tolerance ?? "5 minutes"))
      if (now - timestamp > tolerance) return refuse(new TooOld({ timestamp, now, tolerance }))
      if (timestamp - now > tolerance) return refuse(new TooNew({ timestamp, now, tolerance }))

      const candidates = signaturesIn(signature)
      if (candidates.length === 0) return refuse(new NoMatch())
      return Effect.flatMap(signatures(secrets, signedText(id, timestamp, body)), (expected) =>
        expected.map(Utf8.encode).some((signature) => candidates.some((one) => timingSafeEqual(one, signature)))
          ? Effect.succeed({ id, timestamp })
          : refuse(new NoMatch())
      )
    }
    const has = (name: HeaderName) => headers[name] !== undefined
    const [first, second] = prefixes.filter((prefix) => namesBy(prefix).every(has))
    // Of an incomplete three, the first that is missing is the reason.
    if (first === undefined) return verifyBy(prefixes.find((prefix) => namesBy(prefix).some(has)) ?? "webhook")
    if (second === undefined) return verifyBy(first)
    return Effect.catch(verifyBy(first), (error) => Effect.mapError(verifyBy(second), () => error))
  })

// internals

const maxIdLength = 1024
/** As many digits as a number holds exactly. */
const maxTimestamp = 999_999_999_999_999
/** The limit of Node for all headers of a request. */
const maxSignatureLength = 16_384

// Visible ASCII, and spaces within.
const goodId = /^[!-~](?:[ -~]*[!-~])?$/

/** The problem of an id in a header, if it has one. */
const idProblem = (id: string): string | undefined => {
  if (id.length <= maxIdLength && goodId.test(id)) return undefined
  if (id === "") return "is empty"
  if (id.length > maxIdLength) return `is longer than ${maxIdLength} characters`
  if (id.startsWith(" ") || id.endsWith(" ")) return "begins or ends with a space, which a header does not carry"
  return "contains a character outside printable ASCII, which a header does not carry"
}

const fullStop = "contains a full stop, which separates the parts of the signed text"

const prefixes = ["webhook", "svix"] as const
type Prefix = (typeof prefixes)[number]

const namesBy = (prefix: Prefix) => [`${prefix}-id`, `${prefix}-timestamp`, `${prefix}-signature`] as const

/** `id.timestamp.body`: for ids without full stops, which are all that `sign` takes, no two messages have the same text. */
const signedText = (id: string, timestamp: number, body: Uint8Array): Uint8Array =>
  Bytes.concat([Utf8.encode(`${id}.${timestamp}.`), body])

const secondsNow = (clock: Clock.Clock): number => Math.floor(clock.currentTimeMillisUnsafe() / 1000)

const refuse = (reason: Reason) => Effect.fail(new WebhookSignatureError({ reason }))

/** The `v1` signatures of a header. */
const signaturesIn = (header: string): ReadonlyArray<Uint8Array> =>
  Array.from(header.matchAll(/(?<![^\s,])v1,([^\s,]+)/g), ([, signature]) => Utf8.encode(signature!))
