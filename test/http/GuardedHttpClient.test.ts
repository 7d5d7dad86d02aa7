import { NodeHttpClient } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Redacted, Result, Scope } from "effect"
import { HttpClient, HttpClientError, HttpClientRequest } from "effect/http"
import { Dns, NetAddress } from "effect/net"
import { createServer } from "node:https"
import { type AddressInfo, getDefaultAutoSelectFamily, setDefaultAutoSelectFamily } from "node:net"
import * as AddressPolicy from "../../src/http/AddressPolicy.ts"
import * as GuardedHttpClient from "../../src/http/GuardedHttpClient.ts"
import { judgeLiteral } from "../../src/http/internal/guard.ts"
import { cert, key } from "./support/certificate.ts"
import { hasIpv6, network, open, outside, resolver } from "./support/network.ts"
import { eventually, sockets, status } from "./support/receiver.ts"

/** Gets a url: the status, or the reason of the failure. */
const get = (url: string, client?: (self: HttpClient.HttpClient) => HttpClient.HttpClient) =>
  Effect.gen(function* () {
    const given = yield* HttpClient.HttpClient
    const answer = yield* Effect.result((client?.(given) ?? given).get(url))
    if (Result.isFailure(answer)) return answer.failure.reason
    yield* answer.success.text
    return answer.success.status
  })

/** The address that was refused, and the range that it is in. */
const refused = (reason: unknown): readonly [address: string, range: string] => {
  assert.instanceOf(reason, HttpClientError.TransportError)
  assert.instanceOf(reason.cause, AddressPolicy.ForbiddenAddress)
  return [reason.cause.address, reason.cause.range.name]
}

/** The code of the error that a client failed with. */
const codeOf = (reason: unknown): unknown => {
  assert.instanceOf(reason, HttpClientError.TransportError)
  return reason.cause instanceof Error && "code" in reason.cause ? reason.cause.code : reason.cause
}

const noName = resolver((name) => assert.fail(`${name} was looked up`)).layer
const guarded = (dns: Layer.Layer<Dns.Dns>, options?: GuardedHttpClient.Options) =>
  Layer.provide(GuardedHttpClient.layerNoDns(options), dns)

describe("a url with an address", () => {
  const forms: ReadonlyArray<readonly [range: string, ...hosts: ReadonlyArray<string>]> = [
    ["loopback", "127.0.0.1", "127.1", "127.0.1", "127.0.0.1.", "127.255.255.254"],
    // decimal, hexadecimal, octal, and all at once
    [
      "loopback",
      "2130706433",
      "0x7f000001",
      "0x7F000001",
      "017700000001",
      "0x7f.1",
      "0177.0.0.1",
      "0x7f.0.0.01",
      "127.0x1"
    ],
    ["loopback", "00000177.0.0.1", "0x7f.0x0.0x0.0x1", "127.000.000.001"],
    // escapes, and characters that stand for others
    ["loopback", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1"],
    ["loopback", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000::0001]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"],
    ["loopback", "[0:0:0:0:0:ffff:127.0.0.1]", "[::FFFF:7F00:1]", "[64:ff9b::7f00:1]", "[64:ff9b::127.0.0.1]"],
    ["IPv4-compatible", "[::127.0.0.1]", "[::7f00:1]"],
    ["not global unicast", "[::ffff:0:127.0.0.1]"],
    ["local NAT64", "[64:ff9b:1::7f00:1]"],
    ["6to4", "[2002:7f00:1::]"],
    ["Teredo", "[2001:0:7f00:1::80ff:fffe]"],
    ["this network", "0", "0.0.0.0", "0x0", "00", "0.1.2.3", "[::ffff:0:0]"],
    ["unspecified", "[::]", "[0:0:0:0:0:0:0:0]"],
    ["private", "10.0.0.1", "10.1", "167772161", "172.16.0.1", "172.31.255.255", "192.168.1.1", "[::ffff:10.0.0.1]"],
    ["shared address space", "100.64.0.1", "100.127.255.254"],
    ["link-local", "169.254.1.1", "[fe80::1]", "[febf::1]"],
    ["cloud metadata", "169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "169.254.43518"],
    ["cloud metadata", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]", "[fd00:ec2::254]"],
    ["cloud metadata", "100.100.100.200", "168.63.129.16", "[fd20:ce::254]", "192.0.0.192"],
    ["protocol assignments", "192.0.0.8"],
    ["documentation", "192.0.2.1", "198.51.100.1", "203.0.113.1", "[2001:db8::1]", "[3fff::1]"],
    ["benchmarking", "198.18.0.1", "[2001:2::1]"],
    ["multicast", "224.0.0.1", "239.255.255.250", "[ff02::1]"],
    ["reserved", "240.0.0.1"],
    ["broadcast", "255.255.255.255", "4294967295"],
    ["unique-local", "[fc00::1]", "[fd12:3456::1]"],
    ["site-local", "[fec0::1]"],
    ["discard-only", "[100::1]"],
    ["ORCHID", "[2001:10::1]", "[2001:20::1]"]
  ]
  const cases = forms.flatMap(([range, ...hosts]) => hosts.map((host) => [host, range] as const))

  it.live(`is refused in each of ${cases.length} forms, and no server is reached`, () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const wrong: Array<unknown> = []
      for (const [host, range] of cases) {
        for (const scheme of ["http", "https"]) {
          const [address, found] = refused(yield* get(`${scheme}://${host}:${port}/`))
          if (found !== range || address !== new URL(`http://${host}`).hostname.replaceAll(/[[\]]/g, ""))
            wrong.push([scheme, host, address, found])
        }
      }
      assert.deepStrictEqual(wrong, [])
      assert.strictEqual(reached(), 0)
      // The servers are there.
      const hosts = ["127.0.0.1", ...(hasIpv6 ? ["[::1]"] : [])]
      for (const host of hosts)
        assert.strictEqual(yield* get(`http://${host}:${port}/`).pipe(Effect.provide(NodeHttpClient.layerUndici)), 200)
      assert.strictEqual(reached(), hosts.length)
    }).pipe(Effect.provide(guarded(noName)))
  )

  it.live.each([
    ["127.0.0.2", "127.0.0.2/32"],
    ["2130706434", "127.0.0.2/32"],
    ["0x7f.2", "127.0.0.0/8"],
    ["[::ffff:127.0.0.2]", "127.0.0.2/32"],
    ["[::ffff:7f00:2]", "0.0.0.0/0"]
  ])("%s is connected to where the allow-list has %s", ([host, allowed]) =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      assert.strictEqual(yield* get(`http://${host}:${port}/hook`), 200)
      assert.strictEqual(out.requests.length, 1)
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(noName, { allow: [allowed!] })))
  )

  it.live.skipIf(!hasIpv6)("is connected to by IPv6 where the allow-list has that, and not by IPv4", () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      assert.strictEqual(yield* get(`http://[::1]:${port}/`), 200)
      assert.deepStrictEqual(refused(yield* get(`http://127.0.0.1:${port}/`)), ["127.0.0.1", "loopback"])
      assert.strictEqual(reached(), 1)
    }).pipe(Effect.provide(guarded(noName, { allow: ["::/0"] })))
  )

  it.live.each([
    "http://[fe80::1%25eth0]/",
    "http://[::1%25lo]/",
    "http://1.2.3.4.5/",
    "http://256.1.1.1/",
    "http://[::1/"
  ])("that is malformed is an invalid url: %s", (url) =>
    Effect.gen(function* () {
      assert.instanceOf(yield* get(url), HttpClientError.InvalidUrlError)
    }).pipe(Effect.provide(guarded(noName)))
  )

  it.live.each(["ftp", "gopher", "file", "unix", "ws"])("has no scheme but http and https: %s", (scheme) =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      assert.notStrictEqual(yield* get(`${scheme}://127.0.0.1:${port}/`), 200)
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(noName, { allow: ["127.0.0.0/8"] })))
  )
})

describe("a url with a name", () => {
  it.live.each([
    ["of loopback", ["127.0.0.1"], ["127.0.0.1", "loopback"]],
    ["of loopback in IPv6", ["::1"], ["::1", "loopback"]],
    ["of IPv4 in IPv6", ["::ffff:127.0.0.1"], ["::ffff:127.0.0.1", "loopback"]],
    ["behind NAT64", ["64:ff9b::7f00:1"], ["64:ff9b::7f00:1", "loopback"]],
    ["of metadata", ["169.254.169.254"], ["169.254.169.254", "cloud metadata"]],
    ["of which the last is bad", [outside, outside, "10.0.0.1"], ["10.0.0.1", "private"]],
    ["of which the first is bad", ["::1", outside], ["::1", "loopback"]],
    ["without a zone", ["fe80::1"], ["fe80::1", "link-local"]]
  ] as const)("is refused for an answer %s", ([, addresses, expected]) =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      const { layer, lookups } = resolver(() => addresses)
      yield* Effect.gen(function* () {
        for (const scheme of ["http", "https"])
          assert.deepStrictEqual(refused(yield* get(`${scheme}://evil.example:${port}/`)), expected)
      }).pipe(Effect.provide(guarded(layer, { allow: open })))
      assert.strictEqual(lookups(), 2)
      assert.strictEqual(reached() + out.connections(), 0)
    })
  )

  it.live("the error has the name, its address, and the range", () =>
    Effect.gen(function* () {
      const reason = yield* get("http://evil.example/secret?token=1")
      const message = "evil.example is at ::1, which is not allowed: loopback (::1/128, RFC 4291, section 2.5.3)"
      assert.strictEqual(
        reason instanceof HttpClientError.TransportError && String(reason.cause),
        `ForbiddenAddress: ${message}`
      )
    }).pipe(Effect.provide(guarded(resolver(() => ["::1"]).layer)))
  )

  it.live("is refused by the answer of the system's own resolver", () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const [, range] = refused(yield* get(`http://LOCALHOST:${port}/`))
      assert.strictEqual(range, "loopback")
      // Not every resolver finds it with the dot of the root.
      assert.instanceOf(yield* get(`http://localhost.:${port}/`), HttpClientError.TransportError)
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(GuardedHttpClient.layer()))
  )

  it.live("is resolved once for a connection, by one resolver: a later answer does not count", () =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network(status(200, "", { connection: "close" }))
      const { layer, lookups } = resolver((_, n) => [n % 2 === 1 ? outside : "127.0.0.1"])
      yield* Effect.gen(function* () {
        for (let n = 1; n <= 20; n++) {
          const answer = yield* get(`http://rebound.example:${port}/`)
          if (n % 2 === 1) assert.strictEqual(answer, 200)
          else assert.deepStrictEqual(refused(answer), ["127.0.0.1", "loopback"])
          assert.strictEqual(lookups(), n)
        }
      }).pipe(Effect.provide(guarded(layer, { allow: open })))
      assert.strictEqual(out.requests.length, 10)
      assert.strictEqual(reached(), 0)
    })
  )

  it.live("is resolved for each of many connections at once, and each is judged", () =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      const { layer } = resolver((_, n) => [n % 3 === 0 ? outside : n % 3 === 1 ? "127.0.0.1" : "::1"])
      const answers = yield* Effect.forEach(
        Array.from({ length: 30 }, (_, i) => `http://r${i}.example:${port}/`),
        (url) => get(url),
        { concurrency: "unbounded" }
      ).pipe(Effect.provide(guarded(layer, { allow: open })))
      assert.strictEqual(answers.filter((answer) => answer === 200).length, 10)
      assert.strictEqual(out.requests.length, 10)
      assert.strictEqual(reached(), 0)
    })
  )

  it.live.each([
    ["nowhere", "nowhere.example", Dns.make({ lookup: () => Effect.succeed([]) })],
    // A `Dns` that answers no address.
    [
      "no address",
      "empty.example",
      { ...Dns.make({ lookup: () => Effect.succeed([]) }), lookup: () => Effect.succeed([]) }
    ],
    ["no name", "-bad-.example", Dns.make({ lookup: () => assert.fail("it was looked up") })]
  ] as const)("fails without an address: %s", ([, name, dns]) =>
    Effect.gen(function* () {
      assert.strictEqual(codeOf(yield* get(`http://${name}/`)), "ENOTFOUND")
      // The type of a lookup promises an address.
    }).pipe(Effect.provide(guarded(Layer.succeed(Dns.Dns, dns as unknown as Dns.Dns["Service"]))))
  )

  it.live("fails when its resolver does, or dies", () =>
    Effect.gen(function* () {
      assert.strictEqual(codeOf(yield* get("http://slow.example/")), "EAI_FAIL")
      assert.strictEqual(codeOf(yield* get("http://dead.example/")), "EAI_FAIL")
    }).pipe(
      Effect.provide(
        guarded(
          Layer.succeed(
            Dns.Dns,
            Dns.make({
              lookup: (hostname) =>
                hostname === "dead.example"
                  ? Effect.die("dead")
                  : Effect.fail(new Dns.DnsError({ reason: "Timeout", method: "lookup", hostname }))
            })
          )
        )
      )
    )
  )

  it.live("tries its addresses in turn, all of which were judged", () =>
    Effect.gen(function* () {
      const { out, port } = yield* network()
      // No server listens at the first.
      assert.strictEqual(yield* get(`http://twice.example:${port}/`), 200)
      assert.strictEqual(out.requests.length, 1)
    }).pipe(
      Effect.provide(
        guarded(resolver(() => ["127.0.0.3", "::2", outside]).layer, { allow: ["127.0.0.0/8", "::2/128"] })
      )
    )
  )

  it.live.each(["127.0.0.1", "::ffff:127.0.0.1", ...(hasIpv6 ? ["::1"] : [])])(
    "is connected to at %s where that is allowed",
    (address) =>
      Effect.gen(function* () {
        const { port, reached } = yield* network()
        assert.strictEqual(yield* get(`http://inside.example:${port}/`), 200)
        assert.strictEqual(reached(), 1)
      }).pipe(Effect.provide(guarded(resolver(() => [address]).layer, { allow: ["127.0.0.1/32", "::1/128"] })))
  )

  it.live("takes the first of them where Node tries no other", () =>
    Effect.gen(function* () {
      const before = getDefaultAutoSelectFamily()
      yield* Effect.acquireRelease(
        Effect.sync(() => setDefaultAutoSelectFamily(false)),
        () => Effect.sync(() => setDefaultAutoSelectFamily(before))
      )
      const { out, port, reached } = yield* network()
      assert.strictEqual(yield* get(`http://first.example:${port}/`), 200)
      assert.deepStrictEqual(refused(yield* get(`http://evil.example:${port}/`)), ["127.0.0.1", "loopback"])
      assert.strictEqual(out.requests.length, 1)
      assert.strictEqual(reached(), 0)
    }).pipe(
      Effect.provide(
        guarded(resolver((name) => (name === "evil.example" ? [outside, "127.0.0.1"] : [outside, "127.0.0.3"])).layer, {
          allow: [...open, "127.0.0.3/32"]
        })
      )
    )
  )
})

describe("a redirect that is followed", () => {
  it.live.each(["http://127.0.0.1:{}/", "http://2130706433:{}/", "http://[::1]:{}/", "http://inside.example:{}/"])(
    "is judged: %s",
    (to) =>
      Effect.gen(function* () {
        let location = ""
        const { out, port, reached } = yield* network((response, received, n) =>
          status(302, "", { location })(response, received, n)
        )
        location = to.replace("{}", String(port))
        const reason = yield* get(`http://outside.example:${port}/`, HttpClient.followRedirects(5))
        assert.strictEqual(refused(reason)[1], "loopback")
        assert.strictEqual(out.requests.length, 1)
        assert.strictEqual(reached(), 0)
      }).pipe(
        Effect.provide(
          guarded(resolver((name) => [name === "outside.example" ? outside : "127.0.0.1"]).layer, { allow: open })
        )
      )
  )

  it.live("is followed to an allowed address", () =>
    Effect.gen(function* () {
      const { out, port } = yield* network((response, received, n) =>
        status(n === 1 ? 302 : 200, "", { location: "/elsewhere" })(response, received, n)
      )
      assert.strictEqual(yield* get(`http://${outside}:${port}/`, HttpClient.followRedirects(5)), 200)
      assert.deepStrictEqual(
        out.requests.map(({ path }) => path),
        ["/", "/elsewhere"]
      )
    }).pipe(Effect.provide(guarded(noName, { allow: open })))
  )
})

describe("a connection", () => {
  it.live("is pooled, and judged when it is made", () =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      const { layer, lookups } = resolver((_, n) => [n === 1 ? outside : "127.0.0.1"])
      yield* Effect.gen(function* () {
        for (let n = 0; n < 20; n++) {
          assert.strictEqual(yield* get(`http://kept.example:${port}/`), 200)
          // A connection can be used again a turn of the event loop after its last answer.
          yield* Effect.promise(() => new Promise((resolve) => setImmediate(resolve)))
        }
      }).pipe(Effect.provide(guarded(layer, { allow: open })))
      assert.strictEqual(out.requests.length, 20)
      assert.strictEqual(out.connections(), 1)
      assert.strictEqual(lookups(), 1)
      assert.strictEqual(reached(), 0)
    })
  )

  it.live("leaves no socket open: not when it was used, nor refused, nor when its lookup never ends", () =>
    Effect.gen(function* () {
      const { out, port } = yield* network()
      const before = sockets()
      let interrupted = 0
      const dns = Dns.make({
        lookup: (name) =>
          name === "never.example"
            ? Effect.onInterrupt(Effect.never, () => Effect.sync(() => void interrupted++))
            : Effect.succeed([NetAddress.ipFromStringUnsafe(name === "evil.example" ? "127.0.0.1" : outside)])
      })
      const scope = yield* Scope.make()
      const context = yield* Layer.buildWithScope(guarded(Layer.succeed(Dns.Dns, dns), { allow: open }), scope)
      yield* Effect.gen(function* () {
        assert.strictEqual(yield* get(`http://outside.example:${port}/`), 200)
        refused(yield* get(`http://evil.example:${port}/`))
        refused(yield* get(`http://127.0.0.1:${port}/`))
        yield* Effect.timeoutOption(get(`http://never.example:${port}/`), "20 millis")
      }).pipe(Effect.provide(context))
      assert.strictEqual(out.open(), 1)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* eventually(out.open, (n) => n === 0), 0)
      assert.strictEqual(yield* eventually(sockets, (n) => n <= before), before)
      assert.strictEqual(interrupted, 1)
    })
  )

  it.live("is refused to a request that asks for an upgrade too", () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const client = yield* HttpClient.HttpClient
      const request = HttpClientRequest.get(`http://127.0.0.1:${port}/`, { headers: { upgrade: "websocket" } })
      const error = yield* Effect.flip(client.execute(request))
      assert.deepStrictEqual(refused(error.reason), ["127.0.0.1", "loopback"])
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(noName)))
  )

  it.live("is made to the judged address, whatever server name undici is given", () =>
    Effect.gen(function* () {
      const { out, port, reached } = yield* network()
      const options = { headers: {}, servername: "127.0.0.1" }
      assert.strictEqual(
        yield* get(`http://${outside}:${port}/`).pipe(Effect.provideService(NodeHttpClient.UndiciOptions, options)),
        200
      )
      assert.deepStrictEqual([out.requests.length, reached()], [1, 0])
    }).pipe(Effect.provide(guarded(noName, { allow: open })))
  )

  it.live("is refused whatever options undici is given", () =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const options = { origin: `http://127.0.0.1:${port}`, servername: outside, headers: { host: outside } }
      refused(
        yield* get(`http://127.0.0.1:${port}/`).pipe(Effect.provideService(NodeHttpClient.UndiciOptions, options))
      )
      assert.strictEqual(
        yield* get(`http://${outside}:${port}/`).pipe(Effect.provideService(NodeHttpClient.UndiciOptions, options)),
        200
      )
      assert.strictEqual(reached(), 0)
    }).pipe(Effect.provide(guarded(noName, { allow: open })))
  )
})

describe("over TLS", () => {
  const secure = Effect.fnUntraced(function* (mutual = false) {
    const names: Array<string | undefined> = []
    const server = createServer({ cert, key, ca: cert, requestCert: mutual }, (request, response) => {
      const socket = request.socket
      const peer =
        "getPeerCertificate" in socket && typeof socket.getPeerCertificate === "function"
          ? socket.getPeerCertificate()
          : {}
      names.push(peer.subject?.CN)
      response.end("ok")
    })
    yield* Effect.acquireRelease(
      Effect.promise(() => new Promise<void>((resolve) => server.listen(0, outside, resolve))),
      () =>
        Effect.promise(() => {
          server.closeAllConnections()
          return new Promise((resolve) => server.close(resolve))
        })
    )
    // the address of a TCP server is an object
    return { port: (server.address() as AddressInfo).port, names }
  })
  const dns = resolver(() => [outside]).layer

  it.live("the receiver is verified by the name in the url, and not by its address", () =>
    Effect.gen(function* () {
      const { names, port } = yield* secure()
      assert.strictEqual(yield* get(`https://hooks.example:${port}/`), 200)
      assert.strictEqual(codeOf(yield* get(`https://other.example:${port}/`)), "ERR_TLS_CERT_ALTNAME_INVALID")
      assert.strictEqual(codeOf(yield* get(`https://${outside}:${port}/`)), "ERR_TLS_CERT_ALTNAME_INVALID")
      assert.strictEqual(names.length, 1)
    }).pipe(Effect.provide(guarded(dns, { allow: open, tls: { ca: [cert] } })))
  )

  it.live("the receiver is verified by the authorities of Node, unless options name others", () =>
    Effect.gen(function* () {
      const { names, port } = yield* secure()
      assert.match(String(codeOf(yield* get(`https://hooks.example:${port}/`))), /SELF_SIGNED/)
      assert.strictEqual(names.length, 0)
    }).pipe(Effect.provide(guarded(dns, { allow: open })))
  )

  it.live("the environment does not turn verification off", () =>
    Effect.gen(function* () {
      yield* Effect.acquireRelease(
        Effect.sync(() => void (process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0")),
        () => Effect.sync(() => void delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"])
      )
      const { port } = yield* secure()
      assert.match(String(codeOf(yield* get(`https://hooks.example:${port}/`))), /SELF_SIGNED/)
    }).pipe(Effect.provide(guarded(dns, { allow: open })))
  )

  it.live("the client's own certificate is sent", () =>
    Effect.gen(function* () {
      const { names, port } = yield* secure(true)
      assert.strictEqual(yield* get(`https://hooks.example:${port}/`), 200)
      assert.deepStrictEqual(names, ["hooks.example"])
    }).pipe(Effect.provide(guarded(dns, { allow: open, tls: { ca: cert, cert, key: Redacted.make(key) } })))
  )
})

describe("in one program with others", () => {
  class Plain extends Context.Service<Plain, HttpClient.HttpClient>()("test/Plain") {}
  class Strict extends Context.Service<Strict, HttpClient.HttpClient>()("test/Strict") {}
  class Lax extends Context.Service<Lax, HttpClient.HttpClient>()("test/Lax") {}
  const as = <I>(tag: Context.Key<I, HttpClient.HttpClient>, layer: Layer.Layer<HttpClient.HttpClient>) =>
    Layer.effect(tag, HttpClient.HttpClient).pipe(Layer.provide(layer))

  const strict = as(Strict, GuardedHttpClient.layer())
  const lax = as(Lax, GuardedHttpClient.layer({ allow: ["127.0.0.0/8"] }))
  const plain = as(Plain, NodeHttpClient.layerUndici)
  const through = (client: HttpClient.HttpClient, url: string) =>
    Effect.provideService(get(url), HttpClient.HttpClient, client)

  it.live.each([
    ["plain, lax, strict", strict.pipe(Layer.provideMerge(lax), Layer.provideMerge(plain))],
    ["strict, lax, plain", plain.pipe(Layer.provideMerge(lax), Layer.provideMerge(strict))],
    ["lax, strict, plain", plain.pipe(Layer.provideMerge(strict), Layer.provideMerge(lax))],
    ["side by side", Layer.mergeAll(plain, strict, lax)]
  ] as const)("each client keeps its own policy: %s", ([, layers]) =>
    Effect.gen(function* () {
      const { port, reached } = yield* network()
      const url = `http://127.0.0.1:${port}/`
      assert.deepStrictEqual(refused(yield* through(yield* Strict, url)), ["127.0.0.1", "loopback"])
      assert.strictEqual(reached(), 0)
      assert.strictEqual(yield* through(yield* Lax, url), 200)
      assert.deepStrictEqual(refused(yield* through(yield* Lax, `http://[::1]:${port}/`)), ["::1", "loopback"])
      assert.strictEqual(yield* through(yield* Plain, url), 200)
      assert.strictEqual(reached(), 2)
    }).pipe(Effect.provide(layers))
  )
})

describe("an allow-list", () => {
  it.live("that is not of networks is a defect when the layer is built", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(Effect.scoped(Layer.build(GuardedHttpClient.layer({ allow: ["10.0.0.0"] }))))
      assert.include(String(Exit.isFailure(exit) && exit.cause), "and 10.0.0.0 is none")
    })
  )
})

describe("the guard", () => {
  const judge = (host: string) => judgeLiteral(AddressPolicy.make(), host)

  it.each([
    "fe80::1%eth0",
    "fe80::1%1",
    "::1%lo",
    "8.8.8.8%1",
    "[::1]",
    "127.1",
    "0x7f.1",
    "",
    " ",
    "1.2.3.4.5",
    "a b"
  ])("refuses a host that is neither a name nor an address: %j", (host) => {
    assert.strictEqual(judge(host)?._tag, "LookupFailed")
  })

  it.each(["a.example", "a", "xn--bcher-kva.example", "_hooks._tcp.example", "a.example.", "LOCALHOST"])(
    "passes a name, which is judged by its lookup: %s",
    (host) => {
      assert.isUndefined(judge(host))
    }
  )
})
