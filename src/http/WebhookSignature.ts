/**
 * Standard Webhooks 1.0.0 signatures, the symmetric scheme: HMAC-SHA256 over the id, the time of the attempt and the exact
 * bytes of the body, in the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`. A verified request comes from
 * an owner of the secret, is unchanged, and is not an old one played again.
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

export { InvalidSecret, type Secret, secret } from "./internal/signature/webhookSecret.ts"

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
 * 1,024 characters, and neither begins nor ends with a space.
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
    const problem = idProblem(id)
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
  /** Names in lower case, as Node and `effect/http` give them. Headers beside the three do not matter. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** The exact bytes that came: a body that was parsed and serialized again does not match. */
  readonly body: Uint8Array
}

/**
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
 * A header is missing.
 *
 * @category errors
 * @since 0.1.0
 */
export class MissingHeader extends Data.TaggedError("MissingHeader")<{
  readonly header: keyof SignatureHeaders
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
  readonly header: keyof SignatureHeaders
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
 * however many signatures came. Signatures are compared in constant time. Ids follow the rules of `sign`. A `webhook-signature` of
 * more than 16,384 characters is malformed.
 *
 * **Gotchas**
 *
 * A request that is played again within the tolerance is as genuine as the first: keep the ids of accepted requests for
 * twice the tolerance, and refuse duplicates.
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
    const { "webhook-id": id, "webhook-timestamp": time, "webhook-signature": signature } = headers
    if (id === undefined) return refuse(new MissingHeader({ header: "webhook-id" }))
    if (time === undefined) return refuse(new MissingHeader({ header: "webhook-timestamp" }))
    if (signature === undefined) return refuse(new MissingHeader({ header: "webhook-signature" }))

    const problem = idProblem(id)
    if (problem !== undefined) return malformed("webhook-id", problem)
    // Up to `maxTimestamp`, in the one form that signing gives it.
    if (!/^(?:0|[1-9]\d{0,14})$/.test(time)) {
      return malformed("webhook-timestamp", "is not whole seconds since 1970")
    }
    if (signature.length > maxSignatureLength) {
      return malformed("webhook-signature", `is longer than ${maxSignatureLength} characters`)
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
  })

// internals

const maxIdLength = 1024
/** As many digits as a number holds exactly. */
const maxTimestamp = 999_999_999_999_999
/** The limit of Node for all headers of a request. */
const maxSignatureLength = 16_384

// Visible ASCII without the full stop, and spaces within.
const goodId = /^[!-\-/-~](?:[ -\-/-~]*[!-\-/-~])?$/

/** The problem of an id, if it has one. */
const idProblem = (id: string): string | undefined => {
  if (id.length <= maxIdLength && goodId.test(id)) return undefined
  if (id === "") return "is empty"
  if (id.length > maxIdLength) return `is longer than ${maxIdLength} characters`
  if (id.includes(".")) return "contains a full stop, which separates the parts of the signed text"
  if (id.startsWith(" ") || id.endsWith(" ")) return "begins or ends with a space, which a header does not carry"
  return "contains a character outside printable ASCII, which a header does not carry"
}

/** `id.timestamp.body`: ASCII without full stops, digits, bytes. So no two messages have the same signed text. */
const signedText = (id: string, timestamp: number, body: Uint8Array): Uint8Array =>
  Bytes.concat([Utf8.encode(`${id}.${timestamp}.`), body])

const secondsNow = (clock: Clock.Clock): number => Math.floor(clock.currentTimeMillisUnsafe() / 1000)

const refuse = (reason: Reason) => Effect.fail(new WebhookSignatureError({ reason }))

const malformed = (header: keyof SignatureHeaders, problem: string) => refuse(new MalformedHeader({ header, problem }))

/** The `v1` signatures of a header. A comma ends one: that is how several lines of a header are joined. */
const signaturesIn = (header: string): ReadonlyArray<Uint8Array> =>
  header.split(" ").flatMap((entry) => {
    const [version, signature] = entry.split(",", 2)
    return version === "v1" && signature !== undefined ? [Utf8.encode(signature)] : []
  })
