/**
 * The addresses that are no receiver on the internet: IANA's registries of special-purpose addresses for IPv4 and IPv6
 * (RFC 6890 and RFC 8190), what lies outside global unicast, and the metadata services of clouds.
 */
import * as IpNetwork from "effect/net/IpNetwork"
import type * as NetAddress from "effect/net/NetAddress"
import type { Range } from "./forbiddenAddress.ts"

export interface SpecialRange {
  readonly range: Range
  readonly network: IpNetwork.IpNetwork
}

const special = (rows: ReadonlyArray<readonly [network: string, name: string, reference: string]>) =>
  rows.map(([network, name, reference]): SpecialRange => ({
    range: { name, network, reference },
    network: IpNetwork.fromStringUnsafe(network)
  }))

/** The services that give an instance its credentials. Some of them are in no special range at all. */
const metadata: ReadonlyArray<SpecialRange> = /* @__PURE__ */ special([
  ["169.254.169.254/32", "cloud metadata", "AWS, Azure, Google Cloud and most others"],
  ["169.254.170.2/32", "cloud metadata", "AWS, tasks of ECS"],
  ["169.254.170.23/32", "cloud metadata", "AWS, pods of EKS"],
  ["169.254.0.23/32", "cloud metadata", "Tencent Cloud"],
  ["169.254.42.42/32", "cloud metadata", "Scaleway"],
  ["168.63.129.16/32", "cloud metadata", "Azure, a public address"],
  ["100.100.100.200/32", "cloud metadata", "Alibaba Cloud"],
  ["192.0.0.192/32", "cloud metadata", "Oracle Cloud"],
  ["fd00:ec2::254/128", "cloud metadata", "AWS"],
  ["fd00:ec2::23/128", "cloud metadata", "AWS, pods of EKS"],
  ["fd20:ce::254/128", "cloud metadata", "Google Cloud"],
  ["fd00:c1::a9fe:a9fe/128", "cloud metadata", "Oracle Cloud"],
  ["fd00:42::42/128", "cloud metadata", "Scaleway"],
  ["fd00:a9fe:a9fe::1/128", "cloud metadata", "Akamai"],
  ["fd00:100::100:200/128", "cloud metadata", "Alibaba Cloud"],
  ["fe80::a9fe:a9fe/128", "cloud metadata", "OpenStack"]
])

/** The narrower before the wider: the first that contains an address names it. */
const ranges: ReadonlyArray<SpecialRange> = /* @__PURE__ */ special([
  ["0.0.0.0/8", "this network", "RFC 791, section 3.2"],
  ["10.0.0.0/8", "private", "RFC 1918"],
  ["100.64.0.0/10", "shared address space", "RFC 6598"],
  ["127.0.0.0/8", "loopback", "RFC 1122, section 3.2.1.3"],
  ["169.254.0.0/16", "link-local", "RFC 3927"],
  ["172.16.0.0/12", "private", "RFC 1918"],
  ["192.0.0.0/24", "protocol assignments", "RFC 6890, section 2.1"],
  ["192.0.2.0/24", "documentation", "RFC 5737"],
  ["192.31.196.0/24", "AS112", "RFC 7535"],
  ["192.52.193.0/24", "AMT relays", "RFC 7450"],
  ["192.88.99.0/24", "6to4 relays", "RFC 7526"],
  ["192.168.0.0/16", "private", "RFC 1918"],
  ["192.175.48.0/24", "AS112", "RFC 7534"],
  ["198.18.0.0/15", "benchmarking", "RFC 2544"],
  ["198.51.100.0/24", "documentation", "RFC 5737"],
  ["203.0.113.0/24", "documentation", "RFC 5737"],
  ["224.0.0.0/4", "multicast", "RFC 5771"],
  ["255.255.255.255/32", "broadcast", "RFC 919, section 7"],
  ["240.0.0.0/4", "reserved", "RFC 1112, section 4"],
  ["::/128", "unspecified", "RFC 4291, section 2.5.2"],
  ["::1/128", "loopback", "RFC 4291, section 2.5.3"],
  ["::/96", "IPv4-compatible", "RFC 4291, section 2.5.5.1"],
  ["64:ff9b:1::/48", "local NAT64", "RFC 8215"],
  ["100::/64", "discard-only", "RFC 6666"],
  ["100:0:0:1::/64", "dummy prefix", "RFC 9780"],
  ["2001::/32", "Teredo", "RFC 4380"],
  ["2001:2::/48", "benchmarking", "RFC 5180"],
  ["2001:10::/28", "ORCHID", "RFC 4843"],
  ["2001:20::/28", "ORCHID", "RFC 7343"],
  ["2001::/23", "protocol assignments", "RFC 2928"],
  ["2001:db8::/32", "documentation", "RFC 3849"],
  ["2002::/16", "6to4", "RFC 3056"],
  ["2620:4f:8000::/48", "AS112", "RFC 7534"],
  ["3fff::/20", "documentation", "RFC 9637"],
  ["5f00::/16", "segment routing", "RFC 9602"],
  ["fc00::/7", "unique-local", "RFC 4193"],
  ["fe80::/10", "link-local", "RFC 4291, section 2.5.6"],
  ["fec0::/10", "site-local", "RFC 3879"],
  ["ff00::/8", "multicast", "RFC 4291, section 2.7"],
  // All of IPv6 that is neither above nor global unicast, 2000::/3.
  ["::/3", "not global unicast", "RFC 4291, section 2.4"],
  ["4000::/2", "not global unicast", "RFC 4291, section 2.4"],
  ["8000::/1", "not global unicast", "RFC 4291, section 2.4"]
])

const containing = (list: ReadonlyArray<SpecialRange>) => (address: NetAddress.IpAddress) =>
  list.find(({ network }) => IpNetwork.contains(network, address))?.range

/** The metadata service at an address. */
export const metadataAt = containing(metadata)

/** The first range that contains an address. */
export const rangeOf = containing(ranges)
