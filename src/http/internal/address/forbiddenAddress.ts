/** The error of a connection that a policy refuses. */
import * as Data from "effect/Data"

/**
 * A range of addresses that are no receiver on the internet.
 *
 * @category models
 * @since 0.1.0
 */
export interface Range {
  /** The purpose of such an address, such as `loopback`. */
  readonly name: string
  /** In CIDR notation. */
  readonly network: string
  /** The source of the rule: an RFC, or for `cloud metadata` the providers that use it. */
  readonly reference: string
}

/**
 * A connection to this address is not allowed and was not made: nothing was sent.
 *
 * @category errors
 * @since 0.1.0
 */
export class ForbiddenAddress extends Data.TaggedError("ForbiddenAddress")<{
  /** The host of the url: a name, or the address itself. */
  readonly host: string
  readonly address: string
  readonly range: Range
}> {
  /** Whether the url has the address, and no name whose addresses may change. */
  get isLiteral(): boolean {
    return this.host === this.address
  }
  override get message(): string {
    const { name, network, reference } = this.range
    const where = this.isLiteral ? this.host : `${this.host} is at ${this.address}, which`
    return `${where} is not allowed: ${name} (${network}, ${reference})`
  }
}
