/** Why a signed request was refused. */
import * as Data from "effect/Data"

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
 * A header is not there.
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
 * A header is not what it should be.
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
 * The timestamp is further back than the tolerance allows: an old request played again, one that was long on its way, or
 * two clocks that disagree. All times are whole seconds. Nothing says yet that the request is genuine.
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
 * The timestamp is further ahead than the tolerance allows. All times are whole seconds. Nothing says yet that the
 * request is genuine.
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
 * No secret made any of the `v1` signatures: another secret, or an id, timestamp or body that was changed on its way.
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
