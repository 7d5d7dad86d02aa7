/**
 * Why an event was not delivered over HTTP: one error with a reason. Nothing here shows a header, a body, or more of a url
 * than its origin and path; the client's own errors, which quote requests, are left behind.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import type { EnvelopeError } from "../internal/encoding/envelopeError.ts"
import type { ForbiddenAddress } from "./internal/address/forbiddenAddress.ts"
import type { InvalidMessage } from "./WebhookSignature.ts"

export { ForbiddenAddress, type Range } from "./internal/address/forbiddenAddress.ts"

/**
 * The exchange was not over within the time given. The receiver may have the event all the same.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Timeout extends Data.TaggedError("Timeout")<{
  /** How long the sink waited. */
  readonly after: Duration.Duration
}> {
  override get message(): string {
    return `no answer within ${Duration.format(this.after)}`
  }
}

/**
 * No answer came: the connection could not be made, or ended, or what came over it was no HTTP.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Transport extends Data.TaggedError("Transport")<{
  /** What the innermost cause calls itself: a system's code such as `ECONNREFUSED`, or else the name of the error. */
  readonly code: string
  /** Whether the receiver may have the event all the same: `false` only if the connection was certainly never made. */
  readonly maybeCommitted: boolean
}> {
  override get message(): string {
    return this.maybeCommitted ? `no answer (${this.code})` : `no connection (${this.code})`
  }
}

/**
 * The receiver answered, and the classification does not count its answer as accepted.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Status extends Data.TaggedError("Status")<{
  readonly status: number
  /** How long the receiver asks for no requests, counted from the failure, if the answer says so. */
  readonly retryAfter: Duration.Duration | undefined
}> {
  override get message(): string {
    return `status ${this.status}`
  }
}

/**
 * The event could not be made into a request: its envelope refused it, or its id cannot be signed. Nothing was sent.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Encode extends Data.TaggedError("Encode")<{
  readonly cause: EnvelopeError | InvalidMessage
}> {
  override get message(): string {
    return this.cause.message
  }
}

/**
 * The event alone makes a request larger than the limit. Nothing was sent.
 *
 * @category reasons
 * @since 0.1.0
 */
export class TooLarge extends Data.TaggedError("TooLarge")<{
  /** The size of the request's body, and what it may be. */
  readonly bytes: number
  readonly maxBytes: number
}> {
  override get message(): string {
    return `the event takes ${this.bytes} bytes, of at most ${this.maxBytes}`
  }
}

/**
 * The endpoint is disabled. Nothing was sent, but for the event whose request disabled it. What `Endpoint.make` has to do with such
 * an event is for its `onDisabled`: no write fails so.
 *
 * @category reasons
 * @since 0.1.0
 */
export class Disabled extends Data.TaggedError("Disabled")<{
  /** Since when, in milliseconds of the `Clock`. */
  readonly since: number
  /** What the receiver had answered, or why it had not; nothing when it was disabled by hand. */
  readonly error: HttpSinkError | undefined
}> {
  override get message(): string {
    return `the endpoint is disabled ${this.error === undefined ? "by hand" : `(${this.error.reason.message})`}`
  }
}

/**
 * A rate limit of `transformClient` gave no permit: its store failed, or it refuses in place of waiting. No receiver has
 * accepted the event.
 *
 * @category reasons
 * @since 0.1.0
 */
export class RateLimited extends Data.TaggedError("RateLimited")<{
  /** What the limit's own error calls itself. */
  readonly code: "RateLimitExceeded" | "RateLimitStoreError"
  /** When there may be a permit, counted from the failure, if the limit says so. */
  readonly retryAfter: Duration.Duration | undefined
}> {
  override get message(): string {
    return `no permit of the rate limit (${this.code})`
  }
}

/** A receiver that is gone for good says so. */
const gone = 410

/**
 * Why an event was not delivered over HTTP.
 *
 * @category reasons
 * @since 0.1.0
 */
export type Reason = Timeout | Transport | ForbiddenAddress | Status | RateLimited | Encode | TooLarge | Disabled

/**
 * An event, or a batch, was not delivered. The reason is handled with `Effect.catchReason`.
 *
 * **Details**
 *
 * A sink sets `transient`: answers as its classification says, `Timeout`, `Transport` and `RateLimited` always, `Encode`,
 * `TooLarge` and `Disabled` never. `ForbiddenAddress`, which only a `GuardedHttpClient` gives, is transient unless the sink's own url has the address:
 * a name may be at another one tomorrow.
 *
 * @category errors
 * @since 0.1.0
 */
export class HttpSinkError extends Data.TaggedError("HttpSinkError")<{
  /** The name of the sink. */
  readonly sink: string
  /** Where it posts to, without credentials, query and fragment. */
  readonly url: string
  readonly reason: Reason
  /** Whether another attempt may succeed. */
  readonly transient: boolean
}> {
  /** How long the receiver, or a rate limit, asks for no requests: `RetryingSink` waits for that. */
  get retryAfter(): Duration.Duration | undefined {
    return "retryAfter" in this.reason ? this.reason.retryAfter : undefined
  }
  /** Whether the receiver may have the event although it did not say so. */
  get maybeCommitted(): boolean {
    return this.reason._tag === "Timeout" || (this.reason._tag === "Transport" && this.reason.maybeCommitted)
  }
  /** Whether no attempt will succeed: a durable part gives the event up at once. */
  get permanent(): boolean {
    return !this.transient && !this.disabled
  }
  /**
   * Whether the receiver is gone, by its answer of 410 (RFC 9110, section 15.5.11), or its endpoint disabled: a durable part above
   * keeps the event, and pauses.
   */
  get disabled(): boolean {
    return this.reason._tag === "Disabled" || (this.reason._tag === "Status" && this.reason.status === gone)
  }
  override get message(): string {
    return `"${this.sink}" could not post to ${this.url}: ${this.reason.message}`
  }
}

/**
 * Whether another attempt may succeed: the `while` of a `RetryingSink`.
 *
 * @category guards
 * @since 0.1.0
 */
export const isTransient = (error: HttpSinkError): boolean => error.transient

/**
 * A url that no event can be posted to, and why. The url itself is left out: it may hold a password in any place.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidUrl extends Data.TaggedError("InvalidUrl")<{
  readonly problem: string
}> {
  override get message(): string {
    return `the url ${this.problem}`
  }
}

/**
 * A header that cannot be sent, and why; never its value.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidHeader extends Data.TaggedError("InvalidHeader")<{
  readonly header: string
  readonly problem: string
}> {
  override get message(): string {
    return `the header ${JSON.stringify(this.header)} ${this.problem}`
  }
}
