/** What keeps customers from each other, from the application's network, and from its secrets. */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Redacted, Stream } from "effect"
import { HttpClient } from "effect/http"
import { inspect } from "node:util"
import { HttpSinkError } from "effect-events/http"
import * as GuardedHttpClient from "effect-events/http/GuardedHttpClient"
import type { WebhookEndpoints } from "effect-events/webhooks"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { operationsOver } from "../durable/support/store.ts"
import { pass, quiet, withLogs } from "../support/virtual.ts"
import { makeForbidden } from "./support/forbidden.ts"
import { deliver, key, makeReceivers, order, started, write } from "./support/webhooks.ts"

const acme = { tenant: "acme", url: "https://acme.test/hook" }
type New = WebhookEndpoints.NewEndpoint

/** Changes the stored row of an endpoint, as another program would. */
const tampered = Effect.fnUntraced(function* (
  memory: MemoryStore.Memory,
  from: WebhookEndpoints.EndpointKey,
  change: (row: string) => string,
  to: WebhookEndpoints.EndpointKey = from
) {
  const store = yield* operationsOver(memory)
  const [found] = yield* store.list({ exchange: "orders", tenant: from.tenant, name: from.id })
  const row = change(new TextDecoder().decode(found!.data))
  yield* store.define("orders", [
    { tenant: to.tenant, name: to.id, topics: ["*"], data: new TextEncoder().encode(row) }
  ])
})

describe("an endpoint that cannot be", () => {
  const long = "x".repeat(201)
  const wrong: ReadonlyArray<readonly [field: string, given: Partial<New>, problem: RegExp]> = [
    ["tenant", { tenant: "" }, /is empty/],
    ["url", { url: "http://acme.test" }, /is not https/],
    ["url", { url: "ftp://acme.test" }, /is not http or https/],
    ["url", { url: "/hook" }, /is not absolute/],
    ["url", { url: "https://user:pass@acme.test" }, /has credentials/],
    ["url", { url: `https://acme.test/${"x".repeat(2048)}` }, /is longer than 2048/],
    ["url", { url: "https://127.0.0.1/" }, /is not allowed: loopback/],
    ["url", { url: "https://2130706433/" }, /is not allowed: loopback/],
    ["url", { url: "https://[::ffff:10.0.0.1]/" }, /is not allowed: private/],
    ["url", { url: "https://169.254.169.254/latest" }, /is not allowed/],
    ["topics", { topics: [] as never }, /are none/],
    ["topics", { topics: ["order*"] }, /neither all of a pattern nor its end/],
    ["topics", { topics: ["*/placed"] }, /neither all of a pattern nor its end/],
    ["topics", { topics: ["a\u0000"] }, /has a control character/],
    ["topics", { topics: [long] }, /is longer than 200/],
    ["topics", { topics: Array.from({ length: 101 }, (_, n) => `t${n}`) as never }, /are more than 100/],
    ["headers", { headers: { Host: "x" } }, /which is the sender's/],
    ["headers", { headers: { "webhook-id": "x" } }, /which is the sender's/],
    ["headers", { headers: { "content-length": "1" } }, /which is the client's/],
    ["headers", { headers: { "x-a": "a\r\nx-b: c" } }, /line break/],
    ["headers", { headers: { "x-a": "a", "X-A": "b" } }, /is there twice/],
    ["headers", { headers: { "x-a": Redacted.make("x".repeat(5000)) } }, /have more than 4096/],
    [
      "headers",
      { headers: Object.fromEntries(Array.from({ length: 21 }, (_, n) => [`x-${n}`, "a"])) },
      /are more than 20/
    ],
    ["secret", { secret: Redacted.make("whsec_!!") }, /a character outside of base64/],
    ["secret", { secret: Redacted.make("whsec_YWJj") }, /has 3 bytes, fewer than the 24/],
    ["rate", { rate: { limit: 0, per: "1 second" } }, /no whole number/],
    ["rate", { rate: { limit: 1, per: "0 seconds" } }, /has no time/],
    ["rate", { rate: { limit: 1, per: "2 days" } }, /less than one request in a day/],
    ["concurrency", { ordered: false, concurrency: 17 }, /no whole number from 1 to 16/],
    ["timeout", { timeout: "1 hour" }, /is longer than 30s/],
    ["plan", { plan: "constructor" }, /is none of the names/]
  ]

  it.effect.each(wrong)("fails typed, with its field: %s %j", ([field, given, problem]) =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const error = yield* Effect.flip(webhooks.create({ ...acme, ...given }))
      assert.strictEqual(error._tag, "InvalidEndpoint")
      assert.strictEqual("field" in error && error.field, field)
      assert.match(error.message, problem)
      assert.notInclude(error.message, "pass@")
      assert.deepStrictEqual((yield* webhooks.list("acme")).endpoints, [])
      if (field === "tenant") return
      // The same on a change, which changes nothing.
      const { endpoint } = yield* webhooks.create(acme)
      const { secret: _, tenant: __, ...change } = given
      if (field === "secret") yield* Effect.flip(webhooks.rotateSecret(endpoint, { secret: given.secret }))
      else yield* Effect.flip(webhooks.update(endpoint, change))
      assert.deepStrictEqual((yield* webhooks.list("acme")).endpoints, [endpoint])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("may be http where that is allowed, and in a network that is", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers(), { allowHttp: true, allow: ["10.20.0.0/16"] })
      yield* webhooks.create({ ...acme, url: "http://10.20.0.7/" })
      const error = yield* Effect.flip(webhooks.create({ ...acme, url: "http://10.21.0.7/" }))
      assert.strictEqual(error._tag, "InvalidEndpoint")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect.each([
    [{ allow: ["127.0.0.0/8"] }, undefined, "https://127.0.0.1/", undefined],
    [{ allow: ["127.0.0.0/8"] }, undefined, "https://10.0.0.1/", "is not allowed"],
    [{ allow: ["127.0.0.0/8"] }, undefined, "http://127.0.0.1/", "is not https"],
    [{ allow: ["127.0.0.0/8"] }, [], "https://127.0.0.1/", "is not allowed"],
    [{}, undefined, "https://127.0.0.1/", "is not allowed"]
  ] as const)("is in no other network than those of the guarded client: %j, %j, %s", ([guard, allow, url, problem]) =>
    Effect.gen(function* () {
      const client = yield* Effect.provide(HttpClient.HttpClient, GuardedHttpClient.layer(guard))
      const { webhooks } = yield* started({ ...makeReceivers(), client }, { allowUnguarded: false, allow })
      const made = yield* Effect.result(webhooks.create({ ...acme, url }))
      const said = made._tag === "Failure" ? made.failure.message : "is made"
      assert.include(said, problem ?? "is made")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("is one more than a tenant may have", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers(), { limits: { endpoints: 2 } })
      yield* webhooks.create(acme)
      yield* webhooks.create(acme)
      assert.include((yield* Effect.flip(webhooks.create(acme))).message, "has 2 endpoints already")
      yield* webhooks.create({ ...acme, tenant: "other" })
    }).pipe(Effect.scoped, quiet)
  )
})

describe("a client that is not guarded", () => {
  it.effect("is a defect of the construction, which names the way out", () =>
    Effect.gen(function* () {
      const exit = yield* Effect.exit(started(makeReceivers(), { allowUnguarded: false }))
      assert.match(Exit.isFailure(exit) ? Cause.pretty(exit.cause) : "", /GuardedHttpClient.*allowUnguarded/s)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("is another than that of a GuardedHttpClient", () =>
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      yield* started({ ...makeReceivers(), client }, { allowUnguarded: false })
    }).pipe(Effect.provide(GuardedHttpClient.layer()), Effect.scoped, quiet)
  )
})

describe("a name of a url that is at a private address", () => {
  it.effect("is refused at the request, and its address is not shown to the customer", () =>
    Effect.gen(function* () {
      const { ForbiddenAddress } = HttpSinkError
      const range = { name: "private", network: "10.0.0.0/8", reference: "RFC 1918" }
      const client = makeForbidden(new ForbiddenAddress({ host: "db.acme.test", address: "10.1.2.3", range }))
      const { webhooks } = yield* started({ ...makeReceivers(), client })
      const { endpoint } = yield* webhooks.create({ ...acme, url: "https://db.acme.test" })
      yield* write(webhooks, 1)
      yield* deliver
      const [attempt] = yield* webhooks.attempts(endpoint)
      assert.include(attempt?.error, "is not allowed: private")
      assert.notInclude(attempt?.error, "10.1.2.3")
      const test = yield* webhooks.sendTest(endpoint, { topic: "t", event: order(1) })
      assert.notInclude(test.error, "10.1.2.3")
    }).pipe(Effect.scoped, quiet)
  )
})

describe("secrets", () => {
  const secrets = { header: "open-sesame", own: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }

  it.effect("are in no row, listing, error or log", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const receivers = makeReceivers(() => new Response(null, { status: 410 }))
        const health: Array<WebhookEndpoints.EndpointEvent> = []
        const { memory, webhooks } = yield* started(receivers)
        const { endpoint, secret } = yield* webhooks.create({
          ...acme,
          url: "https://acme.test/path-as-good-as-a-password?token=query-secret",
          headers: { authorization: Redacted.make(`Bearer ${secrets.header}`), "x-plain": "7" },
          secret: Redacted.make(secrets.own)
        })
        assert.strictEqual(Redacted.value(secret), secrets.own)
        assert.deepStrictEqual(endpoint.headers, { "x-plain": "7" })
        assert.deepStrictEqual(endpoint.secretHeaders, ["authorization"])
        yield* write(webhooks, 1)
        yield* deliver
        assert.strictEqual(receivers.got[0]?.headers["authorization"], `Bearer ${secrets.header}`)
        const [row] = yield* (yield* operationsOver(memory)).list({ exchange: "orders" })
        const shown = [
          new TextDecoder().decode(row!.data),
          inspect({ endpoint, secret }, { depth: 10 }),
          JSON.stringify([endpoint, secret, yield* webhooks.list("acme"), yield* webhooks.attempts(endpoint)])
        ]
        for (const text of [...shown, JSON.stringify(logs), JSON.stringify(health)]) {
          assert.notInclude(text, secrets.header)
          assert.notInclude(text, secrets.own.slice("whsec_".length))
        }
        // An error of a request goes into the log, and has the origin alone.
        const { reason } = yield* webhooks.get(endpoint)
        assert.include(reason, "https://acme.test")
        assert.notInclude(reason, "password")
        assert.notInclude(JSON.stringify(logs), "query-secret")
      }).pipe(Effect.scoped)
    )
  )

  it.effect("are encrypted anew each time, and with the current key at the next change", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const memory = yield* MemoryStore.makeMemory
      const rowOf = (id: string) =>
        Effect.flatMap(operationsOver(memory), (store) =>
          Effect.map(store.list({ exchange: "orders", name: id }), ([found]) =>
            JSON.parse(new TextDecoder().decode(found!.data))
          )
        )
      const first = yield* Effect.scoped(
        Effect.gen(function* () {
          const { webhooks } = yield* started(receivers, {}, memory)
          const made = yield* Effect.forEach([1, 2, 3], () => webhooks.create(acme))
          const [one, two] = made.map(({ endpoint }) => endpoint)
          const before = yield* rowOf(one!.id)
          assert.strictEqual(before.key, "a")
          yield* webhooks.update(one!, { description: "the same secrets" })
          assert.notStrictEqual((yield* rowOf(one!.id)).sealed, before.sealed)
          return [one!, two!, made[2]!.endpoint] as const
        })
      )
      const keys = { current: key("b"), old: [key("a")] }
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { webhooks } = yield* started(receivers, { keys }, memory)
          yield* webhooks.update(first[0], { description: "changed" })
          assert.deepStrictEqual(yield* Effect.forEach(first, ({ id }) => Effect.map(rowOf(id), ({ key }) => key)), [
            "b",
            "a",
            "a"
          ])
          yield* tampered(memory, first[2], (row) => row.replace('"key":"a"', '"key":"lost"'))
          assert.deepStrictEqual(yield* webhooks.reencrypt, { reencrypted: 1, unreadable: 1 })
          assert.strictEqual((yield* rowOf(first[1].id)).key, "b")
          assert.deepStrictEqual(yield* webhooks.reencrypt, { reencrypted: 0, unreadable: 1 })
        })
      )
      // The old key is needed no more.
      const { webhooks } = yield* started(receivers, { keys: { current: key("b") } }, memory)
      yield* write(webhooks, 1)
      yield* deliver
      assert.strictEqual(receivers.got.length, 2)
    }).pipe(quiet, Effect.scoped)
  )

  it.effect("a row that another key of the same id has encrypted is counted as unreadable", () =>
    Effect.gen(function* () {
      const memory = yield* MemoryStore.makeMemory
      const first = yield* started(makeReceivers(), {}, memory)
      yield* first.webhooks.create(acme)
      const keys = { current: { id: "a", key: key("b").key } }
      const { webhooks } = yield* started(makeReceivers(), { keys }, memory)
      yield* webhooks.create(acme)
      assert.deepStrictEqual(yield* webhooks.reencrypt, { reencrypted: 0, unreadable: 1 })
    }).pipe(quiet, Effect.scoped)
  )

  it.effect.each(["of another endpoint", "changed", "no row"] as const)(
    "a row that is %s holds up its endpoint, which is neither failing nor disabled, and loses nothing",
    (what) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          const receivers = makeReceivers()
          const { memory, webhooks } = yield* started(receivers, { disableAfter: "1 second" })
          const { endpoint } = yield* webhooks.create(acme)
          const { endpoint: other } = yield* webhooks.create({ ...acme, tenant: "other" })
          if (what === "of another endpoint") yield* tampered(memory, other, (row) => row, endpoint)
          else if (what === "changed")
            yield* tampered(memory, endpoint, (row) => row.replace(/"sealed":"..../, '"sealed":"AAAA'))
          else yield* tampered(memory, endpoint, () => "{}")
          yield* write(webhooks, 1)
          yield* pass(100)
          assert.deepStrictEqual(receivers.got, [])
          const store = yield* operationsOver(memory)
          const [found] = yield* store.overview({ exchange: "orders", tenant: "acme", name: endpoint.id })
          assert.deepInclude(found, { state: "active", pending: 1, deadLetters: 0, failingSince: undefined })
          const problem = what === "no row" ? "cannot be read" : "do not decrypt"
          assert.include(found!.wait?.reason, problem)
          assert.include(logs[0]?.line, "cannot deliver to an endpoint")
          assert.include(logs[0]?.line, endpoint.id)
          if (what === "no row") {
            const page = yield* webhooks.list("acme")
            assert.deepStrictEqual(
              page.unreadable.map(({ id }) => id),
              [endpoint.id]
            )
          } else {
            assert.strictEqual(
              (yield* Effect.flip(webhooks.update(endpoint, { ordered: false })))._tag,
              "EndpointUnreadable"
            )
          }
          assert.strictEqual(yield* webhooks.remove(endpoint), 1)
        }).pipe(Effect.scoped)
      )
  )

  it.effect("a key that this process does not have holds up its endpoints, and disables none, until it has it", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const receivers = makeReceivers()
        const memory = yield* MemoryStore.makeMemory
        const newer = yield* started(receivers, { keys: { current: key("b") }, slots: 0 }, memory)
        const { endpoint } = yield* newer.webhooks.create(acme)
        yield* newer.webhooks.create(acme)
        const { types } = yield* Effect.scoped(
          Effect.gen(function* () {
            const { webhooks } = yield* started(receivers, { disableAfter: "1 minute" }, memory)
            const types: Array<string> = []
            yield* Effect.forkScoped(
              Stream.runForEach(webhooks.health, ({ type }) => Effect.sync(() => void types.push(type)))
            )
            yield* write(webhooks, 1)
            yield* pass(300)
            const found = yield* webhooks.get(endpoint)
            assert.deepInclude(found, { state: "active", pending: 1, failingSince: undefined, lastError: undefined })
            return { types }
          })
        )
        assert.deepStrictEqual(receivers.got, [])
        assert.deepStrictEqual(types, [])
        const lines = logs.map(({ level, line }) => ({ level, ...JSON.parse(line) }))
        assert.deepInclude(lines[0], { level: "ERROR" })
        assert.include(lines[0].message, "cannot deliver to an endpoint")
        const { annotations } = lines[0]
        assert.deepInclude(annotations, { sink: "orders", tenant: "acme", failures: 1 })
        assert.match(annotations.endpoint, /^ep_/)
        assert.include(annotations.cause, 'does not have the key "b"')
        // Two endpoints, each tried more than ten times: at doubling counts.
        assert.isBelow(lines.length, 8)
        yield* started(receivers, { keys: { current: key("a"), old: [key("b")] } }, memory)
        yield* pass(40)
        assert.strictEqual(receivers.got.length, 2)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("a plan that this process does not have holds up its endpoints, and disables none", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const memory = yield* MemoryStore.makeMemory
      const newer = yield* started(receivers, { plans: { slow: Redelivery.webhooks }, slots: 0 }, memory)
      const { endpoint } = yield* newer.webhooks.create({ ...acme, plan: "slow" })
      yield* Effect.scoped(
        Effect.gen(function* () {
          const { webhooks } = yield* started(receivers, { disableAfter: "1 second" }, memory)
          yield* write(webhooks, 1)
          yield* pass(60)
          assert.deepInclude(yield* webhooks.get(endpoint), { state: "active", pending: 1 })
        })
      )
      yield* started(receivers, { plans: { slow: Redelivery.webhooks } }, memory)
      yield* pass(40)
      assert.strictEqual(receivers.got.length, 1)
    }).pipe(quiet, Effect.scoped)
  )

  it.effect.each([
    [{ current: { id: "k", key: Redacted.make("c2hvcnQ=") } }, "has 5 bytes, in place of 32"],
    [{ current: { id: "k", key: Redacted.make("no base64!") } }, "is no base64"],
    [{ current: key("k"), old: [key("k")] }, "is there twice"]
  ] as const)("keys that cannot be fail the construction typed: %j", ([keys, problem]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(started(makeReceivers(), { keys }))
      assert.strictEqual(error._tag, "InvalidKey")
      assert.strictEqual(error.message, `the key "k" ${problem}`)
    }).pipe(Effect.scoped, quiet)
  )
})
