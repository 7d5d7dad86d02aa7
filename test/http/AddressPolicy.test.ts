import { assert, describe, it } from "@effect/vitest"
import { IpNetwork, NetAddress } from "effect/net"
import * as fc from "fast-check"
import * as AddressPolicy from "../../src/http/AddressPolicy.ts"
import { runs } from "../support/runs.ts"

const judge = (address: string, ...allow: ReadonlyArray<string>): string | undefined =>
  AddressPolicy.refusal(AddressPolicy.make({ allow }), NetAddress.ipFromStringUnsafe(address))?.name

/** The first and the last address of each range, by name, and addresses just outside where they are in another. */
const table: ReadonlyArray<readonly [name: string | undefined, ...addresses: ReadonlyArray<string>]> = [
  ["this network", "0.0.0.0", "0.255.255.255"],
  ["private", "10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
  ["shared address space", "100.64.0.0", "100.127.255.255"],
  ["loopback", "127.0.0.0", "127.0.0.1", "127.255.255.255", "::1"],
  ["link-local", "169.254.0.0", "169.254.255.255", "fe80::", "fe80::1", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
  ["protocol assignments", "192.0.0.0", "192.0.0.255", "2001:1::1", "2001:1ff:ffff::"],
  ["documentation", "192.0.2.0", "192.0.2.255", "198.51.100.0", "198.51.100.255", "203.0.113.0", "203.0.113.255"],
  ["documentation", "2001:db8::", "2001:db8:ffff::1", "3fff::", "3fff:fff::1"],
  ["AS112", "192.31.196.1", "192.175.48.1", "2620:4f:8000::1"],
  ["AMT relays", "192.52.193.1"],
  ["6to4 relays", "192.88.99.1"],
  ["benchmarking", "198.18.0.0", "198.19.255.255", "2001:2::", "2001:2:0:ffff::1"],
  ["multicast", "224.0.0.0", "239.255.255.255", "ff00::", "ff02::1", "ff0e::1", "ffff::"],
  ["reserved", "240.0.0.0", "255.255.255.254"],
  ["broadcast", "255.255.255.255"],
  ["unspecified", "::"],
  ["IPv4-compatible", "::2", "::7f00:1", "::808:808", "::ffff:ffff"],
  ["local NAT64", "64:ff9b:1::", "64:ff9b:1::7f00:1", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"],
  ["discard-only", "100::", "100::ffff:ffff:ffff:ffff"],
  ["dummy prefix", "100:0:0:1::1"],
  ["Teredo", "2001::", "2001:0:7f00:1::", "2001:0:ffff:ffff::"],
  ["ORCHID", "2001:10::1", "2001:1f:ffff::1", "2001:20::1", "2001:2f:ffff::1"],
  ["6to4", "2002::", "2002:7f00:1::1", "2002:808:808::1"],
  ["segment routing", "5f00::1"],
  ["unique-local", "fc00::", "fdff:ffff::1"],
  ["site-local", "fec0::1", "feff::1"],
  [
    "not global unicast",
    "::ffff:0:7f00:1",
    "64:ff9b:0:1::1",
    "200::1",
    "1fff::1",
    "4000::1",
    "7fff::1",
    "8000::1",
    "fe00::1"
  ],
  ["cloud metadata", "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.23", "100.100.100.200"],
  [
    "cloud metadata",
    "168.63.129.16",
    "192.0.0.192",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fe80::a9fe:a9fe"
  ],
  ["cloud metadata", "169.254.42.42", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1", "fd00:100::100:200"],
  // IPv4 addresses within IPv6.
  ["loopback", "::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::127.0.0.1", "64:ff9b::7f00:1"],
  ["private", "::ffff:10.0.0.1", "64:ff9b::c0a8:101"],
  ["cloud metadata", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "::ffff:a83f:8110"],
  ["this network", "::ffff:0.0.0.0", "64:ff9b::"],
  // Addresses on the internet.
  [undefined, "1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255"],
  [undefined, "128.0.0.0", "168.63.129.15", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0"],
  [undefined, "191.255.255.255", "192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255"],
  [undefined, "198.20.0.0", "198.51.99.255", "198.51.101.0", "203.0.112.255", "203.0.114.0", "223.255.255.255"],
  [undefined, "2001:200::", "2001:db7:ffff::1", "2001:db9::", "2003::", "2000::", "2606:4700::1111", "3ffe::1"],
  [undefined, "3fff:1000::", "2a00:1450:4001::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2620:4f:8001::"]
]

describe("an address", () => {
  it.each(table.flatMap(([name, ...addresses]) => addresses.map((address) => [address, name] as const)))(
    "%s is %s",
    (address, name) => {
      assert.strictEqual(judge(address), name)
    }
  )

  it("is refused with the name of its range, its network and the reference", () => {
    const refused = AddressPolicy.refusal(AddressPolicy.make(), NetAddress.ipFromStringUnsafe("100.64.0.1"))
    assert.deepStrictEqual(refused, { name: "shared address space", network: "100.64.0.0/10", reference: "RFC 6598" })
  })

  it("of IPv4 is the same in each form of IPv6 that means it", () => {
    fc.assert(
      fc.property(fc.ipV4(), fc.constantFrom("::ffff:", "64:ff9b::"), (address, prefix) => {
        assert.strictEqual(judge(prefix + address), judge(address))
      })
    )
  })

  it("of IPv6 is on the internet only within 2000::/3, unless it means IPv4", () => {
    const isGlobal = (address: string) => /^(?:[23][\da-f]{3}:|::ffff:|64:ff9b::)/.test(address)
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (bytes) => {
        const address = NetAddress.formatIp(NetAddress.ipv6FromBytesUnsafe(bytes))
        if (!isGlobal(address)) assert.isDefined(judge(address), address)
      }),
      { numRuns: runs(1000) }
    )
  })
})

describe("an allow-list", () => {
  it.each([
    [
      "10.20.0.0/16",
      ["10.20.0.0", "10.20.255.255", "::ffff:10.20.0.1", "64:ff9b::a14:1"],
      ["10.19.255.255", "10.21.0.0"]
    ],
    ["127.0.0.1/32", ["127.0.0.1", "::ffff:7f00:1"], ["127.0.0.2", "::1", "::7f00:1"]],
    ["::1/128", ["::1"], ["::2", "127.0.0.1"]],
    ["fd00::/8", ["fd12::1"], ["fc00::1", "fd00:ec2::254", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42"]],
    ["64:ff9b:1::/48", ["64:ff9b:1::7f00:1"], ["64:ff9b::7f00:1"]],
    [
      "0.0.0.0/0",
      ["127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1"],
      ["::1", "169.254.169.254", "168.63.129.16", "169.254.42.42"]
    ],
    ["::/0", ["::1", "fe80::1", "::7f00:1"], ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "fd00:ec2::254"]]
  ] as const)("of %s opens what it contains, and nothing else", (network, open, shut) => {
    assert.deepStrictEqual(
      open.filter((address) => judge(address, network) !== undefined),
      []
    )
    assert.deepStrictEqual(
      shut.filter((address) => judge(address, network) === undefined),
      []
    )
  })

  it.each([
    ["169.254.169.254", "169.254.169.254/32", "169.254.169.254/31"],
    ["::ffff:a9fe:a9fe", "169.254.169.254/32", "169.254.0.0/16"],
    ["168.63.129.16", "168.63.129.16/32", "168.63.129.0/24"],
    ["fd00:ec2::254", "fd00:ec2::254/128", "fd00:ec2::/64"]
  ])("opens %s, where metadata is, by %s alone and not by %s", (address, exact, wide) => {
    assert.strictEqual(judge(address, exact), undefined)
    assert.strictEqual(judge(address, wide), "cloud metadata")
    assert.strictEqual(judge(address, wide, exact), undefined)
  })

  it("takes parsed networks, and the parts of one", () => {
    const allow = [IpNetwork.fromStringUnsafe("10.0.0.0/8"), { address: "::1", prefixLength: 128 }]
    const policy = AddressPolicy.make({ allow })
    for (const address of ["10.1.1.1", "::1"]) {
      assert.isUndefined(AddressPolicy.refusal(policy, NetAddress.ipFromStringUnsafe(address)))
    }
  })

  it.each(["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "10.0.0/8", "localhost", "*", "fd00::/129", "::ffff:1.2.3.4"])(
    "of %j is a mistake in the program",
    (network) => {
      assert.throws(() => AddressPolicy.make({ allow: [network] }), RangeError, `and ${network} is none`)
    }
  )

  it.each(["::ffff:10.0.0.0/104", "::ffff:0:0/96", "64:ff9b::/96", "64:ff9b::a00:0/104"])(
    "of %s would open nothing, and is a mistake in the program",
    (network) => {
      assert.throws(
        () => AddressPolicy.make({ allow: [network] }),
        RangeError,
        `the IPv4 network that ${network} means`
      )
    }
  )
})
