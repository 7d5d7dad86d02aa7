import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Logger, Schema } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse, HttpRouter, HttpServer } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { WebhookApi, WebhookEndpoints } from "effect-events/webhooks"
import { Redelivery } from "effect-events/durable"
import { error as storeError } from "../durable/support/store.ts"
import { pass, quiet, settle } from "../support/virtual.ts"
import { deliver, makeReceivers, type Order, order, started, write } from "./support/webhooks.ts"

class Webhooks extends Context.Service<Webhooks, WebhookEndpoints.WebhookEndpoints<Order>>()("test/Webhooks") {}

class Unauthorized extends Error {
  readonly _tag = "Unauthorized"
}

/** A portal, and its clients: of a tenant each, in this process in place of a network. */
const portal = Effect.fnUntraced(function* (
  webhooks: WebhookEndpoints.WebhookEndpoints<Order>,
  options: Partial<WebhookApi.Options<Order>> = {}
) {
  const api = WebhookEndpoints.layerHttpApi(Webhooks, {
    path: "/portal",
    authorize: ({ headers }): Effect.Effect<string | undefined, Unauthorized> =>
      headers["authorization"] === "fails" ? Effect.fail(new Unauthorized()) : Effect.succeed(headers["authorization"]),
    testEvent: { topic: "test", event: order(0) },
    ...options
  })
  const { dispose, handler } = HttpRouter.toWebHandler(
    api.pipe(
      Layer.provide(Layer.succeed(Webhooks, webhooks)),
      Layer.provide([HttpServer.layerServices, Logger.layer([])])
    ),
    { disableLogger: true }
  )
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  // A handler runs in fibers of its own, which have the time of the platform.
  const time = Context.make(Clock.Clock, yield* Clock.Clock)
  const send = (path: string, init?: RequestInit) =>
    Effect.promise(() => handler(new Request(`https://shop.test${path}`, init), time))
  const network = HttpClient.make((request, url) =>
    Effect.gen(function* () {
      const { body, headers, method } = request
      const sent = { method, headers: { ...headers }, ...(body._tag === "Uint8Array" && { body: body.body.slice() }) }
      return HttpClientResponse.fromWeb(request, yield* send(url.pathname + url.search, sent))
    })
  )
  const clientOf = (tenant: string) =>
    HttpApiClient.make(WebhookApi.api, {
      baseUrl: "https://shop.test/portal",
      transformClient: HttpClient.mapRequest(HttpClientRequest.setHeader("authorization", tenant))
    }).pipe(Effect.provideService(HttpClient.HttpClient, network))
  return { send, clientOf }
})

describe("the API of a portal", () => {
  it.effect("does for a customer what there is to do, by the client that is derived from it", () =>
    Effect.gen(function* () {
      let status = 200
      const receivers = makeReceivers(() => new Response(null, { status }))
      const { webhooks } = yield* started(receivers, { plans: { once: Redelivery.none } })
      const { clientOf } = yield* portal(webhooks)
      const { deliveries, endpoints } = yield* clientOf("acme")
      const made = yield* endpoints.create({
        payload: {
          url: "https://acme.test/hook",
          topics: ["order/*"],
          description: "billing",
          headers: { "x-plain": "7" },
          secretHeaders: { authorization: "Bearer open-sesame" },
          rate: { limit: 600, seconds: 60 },
          plan: "once",
          timeoutSeconds: 10
        }
      })
      assert.match(made.secret, /^whsec_/)
      const { id } = made.endpoint
      const params = { id }
      assert.deepInclude(made.endpoint, {
        url: "https://acme.test/hook",
        headers: { "x-plain": "7" },
        secretHeaders: ["authorization"],
        rate: { limit: 600, seconds: 60 },
        plan: "once",
        timeoutSeconds: 10,
        state: "active"
      })
      assert.deepStrictEqual(yield* endpoints.list({ query: {} }), {
        endpoints: [made.endpoint],
        unreadable: [],
        next: null
      })
      const changed = yield* endpoints.update({
        params,
        payload: { url: "https://acme.test/new", rate: null, timeoutSeconds: null }
      })
      assert.deepInclude(changed, { url: "https://acme.test/new", rate: null, timeoutSeconds: null, plan: "once" })
      assert.strictEqual(receivers.got.length, 0)

      yield* write(webhooks, 1)
      yield* deliver
      assert.strictEqual(receivers.got[0]?.headers["authorization"], "Bearer open-sesame")
      status = 503
      yield* write(webhooks, 2)
      yield* deliver
      const { attempts } = yield* deliveries.attempts({ params, query: { failed: "true" } })
      assert.deepStrictEqual(
        attempts.map(({ status, topic }) => [status, topic]),
        [[503, "order/placed"]]
      )
      const { count, deadLetters } = yield* deliveries.deadLetters({ params, query: {} })
      assert.strictEqual(count, 1)
      assert.deepInclude(deadLetters[0], { id: "a2", topic: "order/placed", reason: "Failed", attempts: 1 })
      const event = yield* deliveries.event({ params: { id: "a2" } })
      assert.deepInclude(event.deliveries[0], { endpoint: id, state: "DeadLettered", failed: 1 })
      status = 200
      assert.deepStrictEqual(yield* deliveries.replayFailed({ params, payload: { since: 0 } }), { events: 1 })
      assert.deepStrictEqual(yield* deliveries.resend({ params, payload: { events: ["a1", attempts[0]!.position] } }), {
        events: 2
      })
      yield* pass(3)
      assert.strictEqual(receivers.got.length, 5)

      const rotated = yield* endpoints.rotateSecret({ params, payload: { keepSeconds: 3600 } })
      assert.strictEqual(rotated.endpoint.secrets.length, 2)
      assert.notStrictEqual(rotated.secret, made.secret)
      const test = yield* endpoints.test({ params })
      assert.deepInclude(test, { status: 200, error: null })
      yield* endpoints.pause({ params, payload: { reason: "holidays" } })
      assert.deepInclude(yield* endpoints.get({ params }), { state: "paused", reason: "holidays", pending: 0 })
      yield* write(webhooks, 3)
      assert.deepStrictEqual(yield* endpoints.remove({ params }), { events: 1 })
      assert.strictEqual((yield* Effect.flip(endpoints.get({ params })))._tag, "EndpointNotFound")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("has pages of endpoints and of attempts", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { clientOf } = yield* portal(webhooks)
      const { deliveries, endpoints } = yield* clientOf("acme")
      for (const n of [1, 2, 3]) yield* endpoints.create({ payload: { url: `https://acme.test/${n}` } })
      const first = yield* endpoints.list({ query: { limit: 2 } })
      const second = yield* endpoints.list({ query: { limit: 2, after: first.next! } })
      assert.deepStrictEqual([first.endpoints.length, second.endpoints.length, second.next], [2, 1, null])
      for (const n of [1, 2, 3]) yield* write(webhooks, n)
      yield* pass(3)
      const params = { id: first.endpoints[0]!.id }
      const page = yield* deliveries.attempts({ params, query: { limit: 2 } })
      const last = page.attempts[1]!
      const rest = yield* deliveries.attempts({ params, query: { beforeAt: last.at, beforePosition: last.position } })
      assert.deepStrictEqual([page.attempts.length, rest.attempts.length], [2, 1])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("answers 404 for what is another tenant's, at every path", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers()
      const { webhooks } = yield* started(receivers)
      const { clientOf, send } = yield* portal(webhooks)
      const { endpoint } = yield* webhooks.create({ tenant: "acme", url: "https://acme.test/hook" })
      yield* write(webhooks, 1)
      yield* deliver
      const { endpoints } = yield* clientOf("other")
      assert.deepStrictEqual((yield* endpoints.list({ query: {} })).endpoints, [])
      const document = yield* documentAt(send("/portal/openapi.json"))
      let asked = 0
      for (const [path, methods] of Object.entries(document.paths)) {
        if (!path.includes("{id}")) continue
        for (const method of Object.keys(methods)) {
          const id = path.startsWith("/portal/events") ? "a1" : endpoint.id
          const hasBody = /^(?:post|patch)$/.test(method)
          const payload = path.endsWith("/resend") ? { events: ["a1"] } : {}
          const response = yield* send(path.replace("{id}", id), {
            method: method.toUpperCase(),
            headers: { authorization: "other", "content-type": "application/json" },
            ...(hasBody && { body: JSON.stringify(payload) })
          })
          assert.strictEqual(response.status, 404, `${method} ${path}`)
          asked++
        }
      }
      assert.strictEqual(asked, 13)
      assert.strictEqual((yield* webhooks.get(endpoint)).state, "active")
      assert.strictEqual(receivers.got.length, 1)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("refuses a request that authorize gives no tenant, or fails for", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { clientOf, send } = yield* portal(webhooks)
      for (const tenant of ["", "fails"]) {
        const { endpoints } = yield* clientOf(tenant)
        assert.strictEqual((yield* Effect.flip(endpoints.list({ query: {} })))._tag, "Refused")
      }
      assert.strictEqual((yield* send("/portal/endpoints")).status, 403)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("has typed errors, with the field that is wrong, and says nothing of the store", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const broken = { ...webhooks, list: () => Effect.fail(storeError("list")) }
      const { clientOf, send } = yield* portal(broken, { testEvent: undefined })
      const { endpoints } = yield* clientOf("acme")
      const invalid = yield* Effect.flip(endpoints.create({ payload: { url: "http://acme.test" } }))
      assert.deepInclude(invalid, { _tag: "InvalidEndpoint", field: "url", problem: "is not https" })
      const unavailable = yield* Effect.flip(endpoints.list({ query: {} }))
      assert.strictEqual(unavailable._tag, "Unavailable")
      assert.notInclude(unavailable.message, "plug")
      const { endpoint } = yield* endpoints.create({ payload: { url: "https://acme.test" } })
      assert.strictEqual((yield* Effect.flip(endpoints.test({ params: endpoint })))._tag, "NotFound")
      const post = (body: unknown) =>
        send("/portal/endpoints", {
          method: "POST",
          headers: { authorization: "acme", "content-type": "application/json" },
          body: JSON.stringify(body)
        })
      assert.strictEqual((yield* post({ url: "http://acme.test" })).status, 422)
      assert.strictEqual((yield* post({ url: 7 })).status, 400)
      const response = yield* post({ url: "https://acme.test" })
      assert.strictEqual(response.headers.get("cache-control"), "no-store")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("describes itself in OpenAPI, with the names of its schemas", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { send } = yield* portal(webhooks, { path: "/" })
      const document = yield* documentAt(send("/openapi.json"))
      assert.includeMembers(Object.keys(document.paths), ["/endpoints", "/endpoints/{id}", "/events/{id}"])
      assert.includeMembers(Object.keys(document.components.schemas), [
        "Endpoint",
        "NewEndpoint",
        "Attempt",
        "DeadLetter"
      ])
      yield* settle
    }).pipe(Effect.scoped, quiet)
  )
})

const Document = Schema.Struct({
  paths: Schema.Record(Schema.String, Schema.Record(Schema.String, Schema.Unknown)),
  components: Schema.Struct({ schemas: Schema.Record(Schema.String, Schema.Unknown) })
})

const documentAt = (sent: Effect.Effect<Response>) =>
  Effect.flatMap(sent, (response) =>
    Effect.flatMap(
      Effect.promise(() => response.json()),
      (body) => Effect.orDie(Schema.decodeUnknownEffect(Document)(body))
    )
  )
