/**
 * The addresses that may be connected to: those on the internet, and the networks of an allow-list. A policy judges
 * addresses alone, never names or sockets; `GuardedHttpClient` applies it to every connection.
 *
 * @since 0.1.0
 */
import * as Equal from "effect/Equal"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { Range } from "./internal/address/forbiddenAddress.ts"
import { metadataAt, rangeOf } from "./internal/address/specialRanges.ts"

export { ForbiddenAddress, type Range } from "./internal/address/forbiddenAddress.ts"

/**
 * Which addresses requests may go to.
 *
 * @category models
 * @since 0.1.0
 */
export interface AddressPolicy {
  /** The networks that are open beside the internet. */
  readonly allow: ReadonlyArray<IpNetwork.IpNetwork>
}

/**
 * Options of an address policy.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * Networks that may be connected to although they are not the internet, in CIDR notation, such as `10.20.0.0/16`: none
   * by default.
   */
  readonly allow?: ReadonlyArray<IpNetwork.IpNetworkInput> | undefined
}

/** IPv6 that means an IPv4 address, in its last 32 bits: IPv4-mapped (RFC 4291), and NAT64's well-known prefix (RFC 6052). */
const embedding = /* @__PURE__ */ ["::ffff:0:0/96", "64:ff9b::/96"].map(IpNetwork.fromStringUnsafe)

/**
 * Makes a policy.
 *
 * **Details**
 *
 * It refuses every range of IANA's registries of special-purpose addresses (RFC 6890), all of IPv6 that is not global
 * unicast, and the metadata services of clouds. The networks of an allow-list are open again.
 *
 * An IPv4-mapped address and one of NAT64's well-known prefix, `64:ff9b::/96`, is judged as the IPv4 address that it means.
 * So `127.0.0.0/8` opens `::ffff:127.0.0.1` too, and `::/0` does not.
 *
 * **Gotchas**
 *
 * The address of a metadata service is opened by a network that is this address alone, such as `169.254.169.254/32`, and by
 * no wider one, not even `0.0.0.0/0`.
 *
 * A text that is not a network, has bits behind its prefix, or lies where IPv6 means IPv4 is a mistake in the program, and
 * thrown as a `RangeError`. Networks that come from outside are decoded before, by `Schema` or `IpNetwork.fromString`.
 *
 * **Example** (Opening a private network)
 *
 * ```ts
 * import { NetAddress } from "effect/net"
 * import * as AddressPolicy from "effect-events/http/AddressPolicy"
 *
 * const policy = AddressPolicy.make({ allow: ["10.20.0.0/16"] })
 * for (const address of ["9.9.9.9", "10.20.0.7", "10.21.0.7", "::ffff:127.0.0.1"]) {
 *   console.log(address, AddressPolicy.refusal(policy, NetAddress.ipFromStringUnsafe(address))?.name ?? "may be connected to")
 * }
 * // prints: 9.9.9.9 may be connected to
 * // prints: 10.20.0.7 may be connected to
 * // prints: 10.21.0.7 private
 * // prints: ::ffff:127.0.0.1 loopback
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = (options: Options = {}): AddressPolicy => ({ allow: (options.allow ?? []).map(network) })

/**
 * The range for which an address is refused, or nothing if it may be connected to.
 *
 * @category getters
 * @since 0.1.0
 */
export const refusal = (policy: AddressPolicy, address: NetAddress.IpAddress): Range | undefined => {
  const meant = meaning(address)
  const service = metadataAt(meant)
  const isOpen = (allowed: IpNetwork.IpNetwork): boolean =>
    service === undefined
      ? IpNetwork.contains(allowed, meant)
      : allowed.prefixLength === NetAddress.width(meant) && Equal.equals(allowed.address, meant)
  return policy.allow.some(isOpen) ? undefined : (service ?? rangeOf(meant))
}

// internals

const isEmbedding = (address: NetAddress.IpAddress): boolean =>
  embedding.some((prefix) => IpNetwork.contains(prefix, address))

const meaning = (address: NetAddress.IpAddress): NetAddress.IpAddress =>
  NetAddress.isIpv6Address(address) && isEmbedding(address)
    ? NetAddress.ipv4FromBytesUnsafe(Uint8Array.from(NetAddress.ipv6ToOctets(address).slice(12)))
    : address

const network = (input: IpNetwork.IpNetworkInput): IpNetwork.IpNetwork => {
  const parsed = IpNetwork.fromInput(input)
  const text = typeof input === "string" ? input : JSON.stringify(input)
  if (Result.isFailure(parsed)) {
    throw new RangeError(`AddressPolicy.make: allow must be networks, such as 10.0.0.0/8, and ${text} is none`)
  }
  // No address is ever judged as one of these: the network would silently open nothing.
  if (parsed.success.prefixLength >= 96 && isEmbedding(parsed.success.address)) {
    throw new RangeError(`AddressPolicy.make: allow must have the IPv4 network that ${text} means`)
  }
  return parsed.success
}
