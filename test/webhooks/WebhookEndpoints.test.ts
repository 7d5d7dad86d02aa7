import { assert, describe, it } from "@effect/vitest"
import { Effect, Result, Schedule, Stream } from "effect"
import { HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { EventSink } from "effect-events"
import { MemoryStore, Redelivery } from "effect-events/durable"
import { WebhookEndpoints } from "effect-events/webhooks"
import { pass, quiet, settle } from "../support/virtual.ts"
import {
  deliver,
  makeReceivers,
  Order,
  order,
  started,
  startedOver,
  storeNames,
  stores,
  verified,
  write
} from "./support/webhooks.ts"

const acme = { tenant: "acme", url: "https://acme.test/hook" }
const everySecond = Redelivery.make(Schedule.spaced("1 second"), { jitter: 0 })

describe("a write", () => {
  it.effect("is for every endpoint of its tenant that matches, and for no other tenant", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      yield* webhooks.create({ ...acme, topics: ["order/*"] })
      yield* webhooks.create({ tenant: "acme", url: "https://acme.test/users", topics: ["user/*"] })
      yield* webhooks.create({ tenant: "other", url: "https://other.test/hook" })
      yield* write(webhooks, 1)
      yield* write(webhooks, 2, "other")
      yield* write(webhooks, 3, "none")
      yield* deliver
      assert.sameMembers(receivers.urls(), ["https://acme.test/hook", "https://other.test/hook"])
      assert.sameMembers(receivers.bodies(), [JSON.stringify(order(1)), JSON.stringify(order(2))])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("has one id at every attempt: its own, or one that is assigned", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers((_, n) => new Response(null, { status: n % 2 === 1 ? 503 : 200 }))
      const { webhooks } = yield* started(receivers)
      const { secret } = yield* webhooks.create(acme)
      yield* write(webhooks, 1)
      const receipt = yield* webhooks.send({ tenant: "acme", topic: "order/placed", event: order(2) })
      assert.isFalse(receipt.isDuplicate)
      yield* pass(20)
      const ids = receivers.got.map(({ headers }) => headers["webhook-id"])
      assert.strictEqual(ids.length, 4)
      assert.deepStrictEqual(ids.slice(0, 2), ["a1", "a1"])
      assert.match(ids[2]!, /^msg_[0-9a-f]{32}$/)
      assert.strictEqual(ids[3], ids[2])
      for (const got of receivers.got.slice(-1)) yield* verified(got, [secret])
      // The assigned one finds the event, too.
      const status = yield* webhooks.status("acme", ids[2] ?? "")
      assert.strictEqual(status?.deliveries[0]?.state._tag, "Delivered")
      assert.isUndefined(yield* webhooks.status("other", ids[2] ?? ""))
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("of an id that was written is a duplicate for its tenant, and for no other", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      yield* webhooks.create(acme)
      yield* webhooks.create({ tenant: "other", url: "https://other.test/hook" })
      const sent = (tenant: string) => webhooks.send({ tenant, topic: "t", id: "a1", event: order(1) })
      assert.isFalse((yield* sent("acme")).isDuplicate)
      assert.isTrue((yield* sent("acme")).isDuplicate)
      assert.isFalse((yield* sent("other")).isDuplicate)
    }).pipe(Effect.scoped, quiet)
  )

  const ids: ReadonlyArray<readonly [id: string, problem: string]> = [
    ["a.1", "has a full stop"],
    ["", "is empty"],
    ["a\n1", "has a character outside of printable ASCII"],
    ["\u00e4", "has a character outside of printable ASCII"],
    [" a", "begins or ends with a space"],
    ["a ", "begins or ends with a space"],
    ["x".repeat(501), "is longer than 500 characters"]
  ]
  it.effect.each(ids)("of an id that no request could have fails with what is wrong with it: %j", ([id, problem]) =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const given = { tenant: "acme", topic: "t", id, event: order(1) }
      const errors = [
        yield* Effect.flip(webhooks.write(given)),
        yield* Effect.flip(webhooks.send(given)),
        yield* Effect.flip(webhooks.send({ ...given, id: "a1" }, { id })),
        yield* Effect.flip(EventSink.writeAll(webhooks, [{ ...given, id: "a1" }, given]))
      ]
      for (const error of errors) {
        assert.deepInclude(error, { _tag: "InvalidEvent", name: "orders", tenant: "acme", topic: "t", field: "id" })
        assert.include(error.message, problem)
        assert.isAtMost(error.message.length, 700)
      }
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("without a tenant or a topic fails with the field", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      for (const [field, given] of [
        ["tenant", { tenant: "", topic: "t" }],
        ["topic", { tenant: "acme", topic: "" }]
      ] as const) {
        const error = yield* Effect.flip(webhooks.write({ ...given, event: order(1) }))
        assert.deepInclude(error, { _tag: "InvalidEvent", field, problem: "is empty" })
      }
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("of an event that does not fit the schema fails as that of a durable queue does", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const error = yield* Effect.flip(webhooks.write({ tenant: "acme", topic: "t", event: { id: "a", total: 1.5 } }))
      assert.strictEqual(error._tag === "DurableWriteError" && error.reason._tag, "Unencodable")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("by a process that only writes is delivered by another", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { memory, webhooks } = yield* started(receivers)
      yield* webhooks.create(acme)
      const writer = yield* Effect.provide(
        WebhookEndpoints.writer({ name: "orders", schema: Order }),
        MemoryStore.layerOver(memory)
      )
      yield* EventSink.writeAll(
        writer,
        [1, 2, 3].map((n) => ({ tenant: "acme", topic: "order/placed", event: order(n) }))
      )
      yield* deliver
      assert.deepStrictEqual(
        receivers.bodies(),
        [1, 2, 3].map((n) => JSON.stringify(order(n)))
      )
    }).pipe(Effect.scoped, quiet)
  )
})

describe("over a store in memory and in a SQLite file", () => {
  it.effect.each(storeNames)("two processes share the endpoints, each in its order: %s", (name) =>
    Effect.gen(function* () {
      const operations = yield* stores[name]
      // A server of deliveries is that of its store's object: a copy is another process.
      const processes = [operations, { ...operations }, { ...operations }]
      const receivers = makeReceivers((_, n) => new Response("no", { status: n % 7 === 0 ? 503 : 200 }))
      const [writer, ...servers] = yield* Effect.forEach(processes, (store, n) =>
        startedOver(store, receivers, { slots: n === 0 ? 0 : 4, answerBytes: 2, redelivery: everySecond })
      )
      const webhooks = writer!
      const made = yield* Effect.forEach(["a", "b", "c", "d", "e"], (path) =>
        webhooks.create({ ...acme, url: `https://acme.test/${path}` })
      )
      yield* webhooks.create({ tenant: "other", url: "https://other.test/" })
      for (let n = 0; n < 20; n++) yield* write(webhooks, n)
      yield* pass(60)
      for (const { endpoint, secret } of made) {
        const got = receivers.got.filter(({ url }) => url === endpoint.url)
        const ids = got.map(({ headers }) => headers["webhook-id"])
        assert.deepStrictEqual(
          [...new Set(ids)],
          Array.from({ length: 20 }, (_, n) => `a${n}`)
        )
        yield* verified(got.at(-1)!, [secret])
        const attempts = yield* webhooks.attempts(endpoint, { limit: 200 })
        assert.strictEqual(attempts.length, got.length)
        assert.isTrue(attempts.every(({ answer, status }) => answer === "no" && (status === 200 || status === 503)))
        assert.deepInclude(yield* webhooks.get(endpoint), { pending: 0, deadLetters: 0, failingSince: undefined })
      }
      assert.isFalse(receivers.urls().some((url) => url.includes("other")))
      const [{ endpoint }] = made as [WebhookEndpoints.WithSecret]
      yield* webhooks.pause(endpoint)
      assert.strictEqual(yield* servers[0]!.resend(endpoint, ["a3"]), 1)
      yield* webhooks.update(endpoint, { url: "https://acme.test/new" })
      yield* webhooks.resume(endpoint)
      yield* deliver
      assert.deepInclude(receivers.got.at(-1), { url: "https://acme.test/new", body: JSON.stringify(order(3)) })
      const page = yield* webhooks.list("acme", { limit: 3 })
      const rest = yield* webhooks.list("acme", { limit: 3, after: page.next })
      assert.deepStrictEqual([page.endpoints.length, rest.endpoints.length, rest.next], [3, 2, undefined])
      assert.deepStrictEqual(yield* webhooks.reencrypt, { reencrypted: 0, unreadable: 0 })
      assert.strictEqual(yield* webhooks.remove(endpoint), 0)
    }).pipe(Effect.scoped, quiet)
  )
})

describe("an endpoint", () => {
  it.effect("is found with its tenant only", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { endpoint } = yield* webhooks.create({ ...acme, description: "billing", topics: ["order/*"] })
      assert.match(endpoint.id, /^ep_[\w-]{24}$/)
      assert.deepInclude(yield* webhooks.get(endpoint), {
        url: acme.url,
        state: "active",
        pending: 0,
        description: "billing"
      })
      const foreign = { tenant: "other", id: endpoint.id }
      const asked: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
        webhooks.get(foreign),
        webhooks.update(foreign, { url: "https://other.test" }),
        webhooks.rotateSecret(foreign),
        webhooks.pause(foreign),
        webhooks.resume(foreign),
        webhooks.disable(foreign),
        webhooks.enable(foreign),
        webhooks.remove(foreign),
        webhooks.attempts(foreign),
        webhooks.resend(foreign, ["a1"]),
        webhooks.replayFailed(foreign),
        webhooks.sendTest(foreign, { topic: "test", event: order(0) })
      ]
      for (const one of asked) assert.strictEqual((yield* Effect.flip(one))._tag, "EndpointNotFound")
      assert.deepStrictEqual(yield* webhooks.deadLetters(foreign).list(), [])
      assert.deepStrictEqual((yield* webhooks.list("other")).endpoints, [])
      assert.strictEqual((yield* webhooks.get(endpoint)).state, "active")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("is listed in pages", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const made = yield* Effect.forEach([1, 2, 3, 4, 5], (n) =>
        webhooks.create({ ...acme, url: `https://acme.test/${n}` })
      )
      yield* webhooks.create({ tenant: "other", url: "https://other.test" })
      const first = yield* webhooks.list("acme", { limit: 2 })
      const second = yield* webhooks.list("acme", { limit: 2, after: first.next })
      const third = yield* webhooks.list("acme", { limit: 2, after: second.next })
      const ids = [first, second, third].flatMap(({ endpoints }) => endpoints.map(({ id }) => id))
      assert.deepStrictEqual(ids, made.map(({ endpoint }) => endpoint.id).toSorted())
      assert.isUndefined(third.next)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("that hangs gives way at once to where it was moved", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers(({ url }) => (url.includes("slow") ? Effect.never : new Response()))
      const { webhooks } = yield* started(receivers)
      const { endpoint } = yield* webhooks.create({ ...acme, url: "https://slow.test/" })
      yield* write(webhooks, 1)
      yield* write(webhooks, 2)
      yield* deliver
      assert.deepStrictEqual(receivers.urls(), ["https://slow.test/"])
      yield* webhooks.update(endpoint, { url: "https://new.test/", headers: { "x-shop": "7" } })
      yield* pass(2)
      assert.deepStrictEqual(receivers.urls().slice(1), ["https://new.test/", "https://new.test/"])
      assert.strictEqual(receivers.got[1]?.headers["x-shop"], "7")
      assert.deepStrictEqual(
        (yield* webhooks.attempts(endpoint)).map(({ error, status }) => [status, error]),
        [
          [200, undefined],
          [200, undefined]
        ]
      )
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("is signed by the old secret beside the new one until its time is over, also within one lease", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      const first = yield* webhooks.create(acme)
      const second = yield* webhooks.rotateSecret(first.endpoint, { keepFor: "10 seconds" })
      assert.strictEqual(second.endpoint.secrets.length, 2)
      const last = () => receivers.got.at(-1)!
      // Often enough that its receiver stays.
      for (let n = 0; n < 30; n++) {
        yield* write(webhooks, n)
        yield* TestClock.adjust("500 millis")
        yield* settle
        if (n === 10) yield* verified(last(), [first.secret])
      }
      assert.strictEqual(receivers.got.length, 30)
      yield* verified(last(), [second.secret])
      assert.include((yield* Effect.flip(verified(last(), [first.secret]))).message, "no v1 signature matches")
      const third = yield* webhooks.rotateSecret(first.endpoint, { keepFor: 0 })
      assert.strictEqual(third.endpoint.secrets.length, 1)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("that is removed takes its backlog with it, and says how much that was", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      const { endpoint } = yield* webhooks.create(acme)
      yield* webhooks.pause(endpoint, "holidays")
      for (const n of [1, 2, 3]) yield* write(webhooks, n)
      assert.deepInclude(yield* webhooks.get(endpoint), { state: "paused", reason: "holidays", pending: 3 })
      assert.strictEqual(yield* webhooks.remove(endpoint), 3)
      yield* deliver
      assert.deepStrictEqual(receivers.got, [])
      assert.strictEqual((yield* Effect.flip(webhooks.get(endpoint)))._tag, "EndpointNotFound")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("that is paused is not enabled, and one that is disabled is not resumed", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      const { endpoint } = yield* webhooks.create(acme)
      const state = Effect.map(webhooks.get(endpoint), ({ state }) => state)
      yield* webhooks.pause(endpoint)
      yield* webhooks.enable(endpoint)
      assert.strictEqual(yield* state, "paused")
      yield* webhooks.disable(endpoint)
      yield* webhooks.resume(endpoint)
      yield* webhooks.pause(endpoint)
      assert.strictEqual(yield* state, "disabled")
      yield* write(webhooks, 1)
      yield* deliver
      assert.deepStrictEqual(receivers.got, [])
      yield* webhooks.enable(endpoint)
      yield* deliver
      assert.strictEqual(receivers.got.length, 1)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("chooses an envelope and a plan by their names, or fails at once where there are none", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers(({ url }) => new Response(null, { status: url.includes("refuses") ? 500 : 200 }))
      const text = {
        contentType: "text/plain",
        join: undefined,
        id: undefined,
        encode: ({ event, topic }: WebhookEndpoints.Message<{ readonly id: string }>) =>
          Effect.succeed({ body: new TextEncoder().encode(`${topic} ${event.id}`), headers: {} }),
        decode: () => Effect.succeed([])
      }
      const { webhooks } = yield* started(receivers, { envelopes: { text }, plans: { once: Redelivery.none } })
      yield* webhooks.create({ ...acme, envelope: "text" })
      const { endpoint } = yield* webhooks.create({ ...acme, url: "https://refuses.test", plan: "once" })
      yield* write(webhooks, 1)
      yield* deliver
      assert.include(receivers.bodies(), "order/placed a1")
      const [dead] = yield* webhooks.deadLetters(endpoint).list()
      assert.strictEqual(dead?.attempts, 1)
      assert.deepStrictEqual(Result.getOrThrow(dead!.event), { id: "a1", topic: "order/placed", event: order(1) })
      const error = yield* Effect.flip(webhooks.create({ ...acme, envelope: "toString" }))
      assert.deepInclude(error, { _tag: "InvalidEndpoint", field: "envelope" })
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("with a rate gets its requests evenly, and another costs it nothing", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      yield* webhooks.create({ ...acme, rate: { limit: 2, per: "10 seconds" } })
      for (let n = 0; n < 6; n++) yield* write(webhooks, n)
      yield* pass(11)
      const early = receivers.got.length
      assert.isAtMost(early, 3)
      yield* pass(30)
      assert.strictEqual(receivers.got.length, 6)
    }).pipe(Effect.scoped, quiet)
  )
})

describe("health", () => {
  it.effect("says that an endpoint fails, recovers, is paused and disabled, as a stream and to a sink", () =>
    Effect.gen(function* () {
      let status = 200
      const receivers = makeReceivers(() => new Response(null, { status }))
      const taken: Array<WebhookEndpoints.EndpointEvent> = []
      const onHealth = yield* EventSink.make((event: WebhookEndpoints.EndpointEvent) =>
        Effect.sync(() => void taken.push(event))
      )
      const { webhooks } = yield* started(receivers, { onHealth, redelivery: everySecond })
      const seen: Array<WebhookEndpoints.EndpointEvent> = []
      yield* Effect.forkScoped(Stream.runForEach(webhooks.health, (event) => Effect.sync(() => void seen.push(event))))
      const { endpoint } = yield* webhooks.create(acme)
      yield* write(webhooks, 1)
      yield* deliver
      status = 503
      yield* write(webhooks, 2)
      yield* pass(4)
      const { failingSince, lastError } = yield* webhooks.get(endpoint)
      assert.isDefined(failingSince)
      assert.include(lastError, "status 503")
      status = 200
      yield* pass(10)
      yield* webhooks.pause(endpoint, "by hand")
      yield* webhooks.resume(endpoint)
      status = 410
      yield* write(webhooks, 3)
      yield* pass(3)
      assert.deepStrictEqual(
        taken.map(({ type }) => type),
        ["failing", "recovered", "paused", "disabled"]
      )
      assert.deepStrictEqual(seen, taken)
      assert.deepInclude(taken[2], { tenant: "acme", endpoint: endpoint.id, reason: "by hand" })
      assert.include(taken[3]!.reason, "410")
      assert.deepInclude(yield* webhooks.get(endpoint), { state: "disabled", pending: 1 })
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("an endpoint that fails for long enough is disabled and loses nothing, in order or not", () =>
    Effect.gen(function* () {
      for (const ordered of [true, false]) {
        let status = 500
        const receivers = makeReceivers(() => new Response(null, { status }))
        const { webhooks } = yield* started(receivers, {
          disableAfter: "15 minutes",
          redelivery: Redelivery.make(Schedule.spaced("1 minute"), { jitter: 0 })
        })
        const { endpoint } = yield* webhooks.create({ ...acme, ordered })
        for (let n = 0; n < 10; n++) yield* write(webhooks, n)
        for (let minute = 0; minute < 30; minute++) {
          yield* TestClock.adjust("1 minute")
          yield* settle
        }
        const found = yield* webhooks.get(endpoint)
        assert.deepInclude(found, { state: "disabled", pending: 10, deadLetters: 0 })
        assert.match(found.reason!, /^all attempts have failed for (1[5-9]|2\d)m( \d+s)?: .*status 500/)
        status = 200
        yield* webhooks.enable(endpoint)
        for (let minute = 0; minute < 5; minute++) {
          yield* TestClock.adjust("1 minute")
          yield* settle
        }
        assert.strictEqual((yield* webhooks.get(endpoint)).pending, 0)
      }
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("a defect of the service disables no endpoint, however long it lasts", () =>
    Effect.gen(function* () {
      let isBroken = true
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers, {
        disableAfter: "15 minutes",
        redelivery: Redelivery.make(Schedule.spaced("1 minute"), { jitter: 0 }),
        transformClient: () => HttpClient.transform((request) => (isBroken ? Effect.die(new Error("a bug")) : request))
      })
      const { endpoint } = yield* webhooks.create(acme)
      yield* write(webhooks, 1)
      const minute = Effect.andThen(TestClock.adjust("1 minute"), settle)
      yield* Effect.replicateEffect(minute, 30, { discard: true })
      const found = yield* webhooks.get(endpoint)
      assert.deepInclude(found, { state: "active", pending: 1 })
      assert.isDefined(found.failingSince)
      isBroken = false
      yield* minute
      assert.deepInclude(yield* webhooks.get(endpoint), { state: "active", pending: 0, failingSince: undefined })
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("a sink of health that fails costs a line of the log", () =>
    Effect.gen(function* () {
      const onHealth = yield* EventSink.make((_: WebhookEndpoints.EndpointEvent) => Effect.fail("down"))
      const { webhooks } = yield* started(makeReceivers(), { onHealth })
      const { endpoint } = yield* webhooks.create(acme)
      yield* webhooks.pause(endpoint)
      yield* settle
      yield* webhooks.resume(endpoint)
      yield* write(webhooks, 1)
      yield* deliver
      assert.strictEqual((yield* webhooks.get(endpoint)).pending, 0)
    }).pipe(Effect.scoped, quiet)
  )
})
