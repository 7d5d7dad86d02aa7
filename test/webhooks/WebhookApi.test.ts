import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Logger, Schema } from "effect"
import { HttpClient, HttpClientRequest, HttpClientResponse, HttpRouter, HttpServer } from "effect/http"
import { HttpApiClient } from "effect/http-api"
import { WebhookApi, WebhookEndpoints } from "effect-events/webhooks"
import { Redelivery } from "effect-events/durable"
import type { Envelope } from "effect-events/http"
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
  options: Partial<WebhookEndpoints.HttpApiOptions<Order>> = {}
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
    // Of an event with a long id.
    { disableLogger: true, routerConfig: { maxParamLength: 1500 } }
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
  const clientOf = (
    tenant: string,
    change: (request: HttpClientRequest.HttpClientRequest) => HttpClientRequest.HttpClientRequest = (request) => request
  ) =>
    HttpApiClient.make(WebhookApi.api, {
      baseUrl: "https://shop.test/portal",
      transformClient: HttpClient.mapRequest((request) =>
        change(HttpClientRequest.setHeader(request, "authorization", tenant))
      )
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
          rate: { limit: 600, per: "1 minute" },
          plan: "once",
          timeout: "10 seconds"
        }
      })
      assert.match(made.secret, /^whsec_/)
      const { id } = made.endpoint
      const params = { id }
      assert.deepInclude(made.endpoint, {
        url: "https://acme.test/hook",
        headers: { "x-plain": "7" },
        secretHeaders: ["authorization"],
        rate: { limit: 600, per: "1 minute" },
        plan: "once",
        timeout: "10 seconds",
        state: "active"
      })
      assert.deepStrictEqual(yield* endpoints.list({ query: {} }), {
        endpoints: [made.endpoint],
        unreadable: [],
        next: null
      })
      const changed = yield* endpoints.update({
        params,
        payload: { url: "https://acme.test/new", rate: null, timeout: null }
      })
      assert.deepInclude(changed, { url: "https://acme.test/new", rate: null, timeout: null, plan: "once" })
      assert.strictEqual(receivers.got.length, 0)

      yield* write(webhooks, 1)
      yield* deliver
      assert.strictEqual(receivers.got[0]?.headers["authorization"], "Bearer open-sesame")
      status = 503
      yield* write(webhooks, 2)
      yield* deliver
      const { attempts } = yield* deliveries.attempts({ params, query: { failedOnly: true } })
      assert.deepStrictEqual(
        attempts.map(({ eventId, status, topic }) => [eventId, status, topic]),
        [["a2", 503, "order/placed"]]
      )
      const problem = "could not post to https://acme.test: status 503"
      assert.strictEqual(attempts[0]?.error, problem)
      assert.strictEqual((yield* endpoints.sendTest({ params })).error, problem)
      const { count, deadLetters } = yield* deliveries.deadLetters({ params, query: {} })
      assert.strictEqual(count, 1)
      assert.deepInclude(deadLetters[0], { eventId: "a2", reason: "Failed", cause: problem, attempts: 1 })
      assert.strictEqual(deadLetters[0]?.topic, "order/placed")
      const event = yield* deliveries.status({ params: { id: "a2" } })
      assert.deepInclude(event.deliveries[0], { endpoint: id, state: "DeadLettered", failed: 1 })
      status = 200
      assert.deepStrictEqual(yield* deliveries.replayFailed({ params, payload: { from: 0 } }), { events: 1 })
      const [failed] = attempts
      for (const events of [["a1", failed!.position], [failed!.eventId!]]) {
        assert.deepStrictEqual(yield* deliveries.resend({ params, payload: { events } }), { events: events.length })
      }
      yield* pass(3)
      assert.strictEqual(receivers.got.length, 7)

      const rotated = yield* endpoints.rotateSecret({ params, payload: { keepFor: "1 hour" } })
      assert.strictEqual(rotated.endpoint.secrets.length, 2)
      assert.notStrictEqual(rotated.secret, made.secret)
      const test = yield* endpoints.sendTest({ params })
      assert.deepInclude(test, { status: 200, error: null })
      yield* endpoints.pause({ params, payload: { reason: "holidays" } })
      assert.deepInclude(yield* endpoints.get({ params }), { state: "paused", reason: "holidays", pending: 0 })
      yield* write(webhooks, 3)
      yield* endpoints.disable({ params, payload: { reason: "left" } })
      assert.deepInclude(yield* endpoints.get({ params }), { state: "disabled", reason: "left", pending: 1 })
      assert.deepStrictEqual(yield* endpoints.remove({ params }), { events: 1 })
      assert.strictEqual((yield* Effect.flip(endpoints.get({ params })))._tag, "EndpointNotFound")
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("says why an endpoint is disabled, as its customer would", () =>
    Effect.gen(function* () {
      for (const [status, reason] of [
        [410, "could not post to https://acme.test: status 410"],
        [500, "all attempts have failed for 0: could not post to https://acme.test: status 500"]
      ] as const) {
        const receivers = makeReceivers(() => new Response(null, { status }))
        const { webhooks } = yield* started(receivers, { disableAfter: 0 })
        const { endpoints } = yield* (yield* portal(webhooks)).clientOf("acme")
        const { endpoint } = yield* endpoints.create({ payload: { url: "https://acme.test/hook" } })
        yield* write(webhooks, 1)
        yield* deliver
        assert.deepInclude(yield* endpoints.get({ params: { id: endpoint.id } }), { state: "disabled", reason })
      }
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("does not show a customer what a defect of the service says", () =>
    Effect.gen(function* () {
      const dying: Envelope.Envelope<WebhookEndpoints.Message<Order>> = {
        contentType: "application/json",
        join: undefined,
        id: undefined,
        encode: () => Effect.die(new Error("10.1.2.3 is away")),
        decode: () => Effect.succeed([])
      }
      const options = { envelope: dying, plans: { once: Redelivery.none } } as const
      const { webhooks } = yield* started(makeReceivers(), options)
      const { clientOf } = yield* portal(webhooks)
      const { deliveries, endpoints } = yield* clientOf("acme")
      const ofService = "the service failed, and the receiver is not at fault"
      const acme = { tenant: "acme", url: "https://acme.test/hook" }
      const { endpoint: params } = yield* webhooks.create(acme)
      const { endpoint: once } = yield* webhooks.create({ ...acme, plan: "once" })
      yield* write(webhooks, 1)
      yield* deliver
      // Its operator reads it.
      assert.include((yield* webhooks.attempts(params))[0]?.error, "10.1.2.3 is away")
      const { attempts } = yield* deliveries.attempts({ params, query: {} })
      assert.strictEqual(attempts[0]?.error, ofService)
      assert.strictEqual((yield* deliveries.deadLetters({ params: once, query: {} })).deadLetters[0]?.cause, ofService)
      assert.deepInclude(yield* endpoints.get({ params }), { state: "active", lastError: ofService })
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
      // Half of a place is none: the first page would come again and again.
      const errors = [
        yield* Effect.flip(deliveries.attempts({ params, query: { beforeAt: last.at } })),
        yield* Effect.flip(deliveries.deadLetters({ params, query: { afterPosition: last.position } }))
      ]
      assert.deepStrictEqual(
        errors.map((error) => (error._tag === "InvalidRequest" ? error.problems[0]?.field : undefined)),
        ["beforePosition", "afterAt"]
      )
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
      assert.strictEqual(asked, 14)
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
      assert.strictEqual((yield* Effect.flip(endpoints.sendTest({ params: endpoint })))._tag, "NotFound")
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

  const sesame = "open-sesame"
  const wrong: ReadonlyArray<readonly [what: string, path: string, body: unknown, problems: ReadonlyArray<string>]> = [
    ["a field of another type", "/endpoints", { url: 7 }, ["body url Expected string"]],
    [
      "several fields, deep in the body",
      "/endpoints",
      { url: "https://a.test", secret: { is: sesame }, secretHeaders: { "x-a": [sesame] }, rate: { limit: 1.5 } },
      [
        "body secretHeaders.x-a Expected string",
        "body secret Expected string",
        "body rate.limit Expected an integer",
        "body rate.per Missing key"
      ]
    ],
    [
      "a duration without a unit",
      "/endpoints",
      { url: "https://a.test", timeout: "10" },
      ['body timeout Expected a duration with its unit, such as "10 seconds"']
    ],
    [
      "a field that there is not",
      "/endpoints/ep/replay-failed",
      { since: 7 },
      ["body since Expected no excess property"]
    ],
    [
      "a time that is too long",
      "/endpoints/ep/rotate-secret",
      { keepFor: "31 days" },
      ["body keepFor Expected at most 30 days"]
    ],
    ["no body", "/endpoints", undefined, ["body  Expected NewEndpoint"]],
    [
      "a query",
      "/endpoints?limit=1000&failed=1",
      undefined,
      ["query failed Expected no excess property", "query limit Expected a value between 1 and 200"]
    ],
    [
      "an id that is too long",
      `/endpoints/${"x".repeat(101)}`,
      undefined,
      ["path id Expected a value with a length of at most 100"]
    ],
    [
      "a NUL, which some stores know no text with",
      "/endpoints/ep/replay-failed",
      { topic: "\0" },
      ["body topic Expected no NUL"]
    ]
  ]

  it.effect.each(wrong)(
    "says what is wrong with a request, where, and with no value of it: %s",
    ([what, path, body, problems]) =>
      Effect.gen(function* () {
        const { webhooks } = yield* started(makeReceivers())
        const { send } = yield* portal(webhooks)
        const response = yield* send(`/portal${path}`, {
          method: what === "a query" || path.startsWith("/endpoints/xx") ? "GET" : "POST",
          headers: { authorization: "acme", "content-type": "application/json" },
          ...(body !== undefined && { body: JSON.stringify(body) })
        })
        const text = yield* Effect.promise(() => response.text())
        assert.strictEqual(response.status, 400)
        assert.match(response.headers.get("content-type")!, /^application\/json/)
        const error = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(WebhookApi.InvalidRequest))(text)
        assert.sameMembers(
          error.problems.map((one) => `${one.in} ${one.field} ${one.problem}`),
          [...problems]
        )
        assert.notInclude(text, sesame)
      }).pipe(Effect.scoped, quiet)
  )

  it.effect("refuses a body that is no JSON, and another media type, in words", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { send } = yield* portal(webhooks)
      for (const [type, body, problem] of [
        ["application/json", `{"secret":"${sesame}`, "Expected a valid JSON body"],
        ["text/plain", sesame, "Expected application/json"]
      ] as const) {
        const headers = { authorization: "acme", "content-type": type }
        const response = yield* send("/portal/endpoints", { method: "POST", headers, body })
        const text = yield* Effect.promise(() => response.text())
        assert.strictEqual(response.status, 400)
        assert.include(text, problem)
        assert.notInclude(text, sesame)
      }
      // Nothing is said of a request that is not authorized.
      assert.strictEqual((yield* send("/portal/endpoints", { method: "POST", body: sesame })).status, 403)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("answers 413 to a body that is too large, before it is decoded", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { send } = yield* portal(webhooks)
      const post = (body: string, authorization = "acme") =>
        send("/portal/endpoints", {
          method: "POST",
          headers: { authorization, "content-type": "application/json" },
          body
        })
      assert.strictEqual((yield* post(`{"url":"https://acme.test"${" ".repeat(256 * 1024)}}`)).status, 413)
      assert.strictEqual((yield* post(`{"url":"https://acme.test"${" ".repeat(255 * 1024)}}`)).status, 200)
      assert.strictEqual((yield* post(" ".repeat(300_000), "")).status, 403)
      // An answer is not many times as long as its request.
      const response = yield* post(`{"url":"https://acme.test","topics":[${"1,".repeat(20_000)}1]}`)
      const text = yield* Effect.promise(() => response.text())
      const error = yield* Schema.decodeUnknownEffect(Schema.fromJsonString(WebhookApi.InvalidRequest))(text)
      assert.lengthOf(error.problems, 100)
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("shows an endpoint with any duration that it may have", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { clientOf } = yield* portal(webhooks)
      const { endpoints } = yield* clientOf("acme")
      const per = "700000000000000000000001 millis"
      const { endpoint } = yield* endpoints.create({
        payload: { url: "https://acme.test", rate: { limit: Number.MAX_SAFE_INTEGER, per } }
      })
      assert.match(endpoint.rate!.per, /^\d{24} millis$/)
      yield* endpoints.update({ params: endpoint, payload: { rate: { limit: 1, per: "0.000001 millis" } } })
      yield* webhooks.rotateSecret({ tenant: "acme", id: endpoint.id }, { keepFor: "Infinity" })
      const { endpoints: all } = yield* endpoints.list({ query: {} })
      assert.deepStrictEqual(
        all.map(({ rate, secrets }) => [rate, secrets.map(({ until }) => until)]),
        [[{ limit: 1, per: "0.000001 millis" }, [null, null]]]
      )
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("gives its client the same as a typed error", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { clientOf } = yield* portal(webhooks)
      const { endpoints } = yield* clientOf("acme", HttpClientRequest.setUrlParam("limit", "no"))
      const error = yield* Effect.flip(endpoints.list({ query: {} }))
      const problem = error._tag === "InvalidRequest" ? error.problems[0] : undefined
      assert.deepInclude(problem, { in: "query", field: "limit" })
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("takes a request without a body where all of its fields may be left out, and says so", () =>
    Effect.gen(function* () {
      const receivers = makeReceivers(() => new Response(null, { status: 400 }))
      const { webhooks } = yield* started(receivers, { redelivery: Redelivery.none })
      const { clientOf, send } = yield* portal(webhooks)
      const { endpoint } = yield* webhooks.create({ tenant: "acme", url: "https://acme.test/hook" })
      yield* write(webhooks, 1)
      yield* deliver
      const post = (path: string) =>
        send(`/portal/endpoints/${endpoint.id}/${path}`, { method: "POST", headers: { authorization: "acme" } })
      const answers: Array<unknown> = []
      for (const path of ["pause", "replay-failed", "disable"]) {
        const response = yield* post(path)
        answers.push(yield* Effect.promise(() => response.json()))
      }
      assert.deepStrictEqual(answers, [{ done: true }, { events: 1 }, { done: true }])
      assert.strictEqual((yield* post("rotate-secret")).status, 200)
      const { deliveries } = yield* clientOf("acme")
      const none = yield* deliveries.replayFailed({ params: endpoint, payload: undefined })
      assert.deepStrictEqual(none, { events: 0 })
      const { paths } = yield* documentAt(send("/portal/openapi.json"))
      const isOptional = Object.entries(paths).flatMap(([path, { post }]) =>
        post?.requestBody?.required === false ? [path.split("/").at(-1)] : []
      )
      assert.sameMembers(isOptional, ["rotate-secret", "pause", "disable", "replay-failed"])
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("describes every operation in OpenAPI, with the error of a wrong request", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const { send } = yield* portal(webhooks)
      const { paths } = yield* documentAt(send("/portal/openapi.json"))
      const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
      assert.strictEqual(operations.length, 16)
      for (const { description, operationId, responses, summary } of operations) {
        assert.isAbove(summary?.length ?? 0, 5, operationId)
        assert.isAbove(description?.length ?? 0, 20, operationId)
        assert.include(JSON.stringify(responses["400"]), "InvalidRequest")
      }
      const names = operations.map(({ operationId }) => operationId?.replace(/^\w+\./, "") ?? "")
      // Each is that of the service.
      assert.deepStrictEqual(
        names.filter((name) => !(name in webhooks)),
        []
      )
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("describes in OpenAPI what authorize goes by", () =>
    Effect.gen(function* () {
      const { webhooks } = yield* started(makeReceivers())
      const scheme = { type: "http", scheme: "bearer" } as const
      const securityOf = Effect.fnUntraced(function* (securityScheme: typeof scheme | undefined) {
        const { send } = yield* portal(webhooks, { securityScheme })
        const { components, paths } = yield* documentAt(send("/portal/openapi.json"))
        const operations = Object.values(paths).flatMap((methods) => Object.values(methods))
        return { schemes: components.securitySchemes, of: operations.map(({ security }) => security) }
      })
      const { of, schemes } = yield* securityOf(scheme)
      assert.deepStrictEqual(schemes, { tenant: scheme })
      assert.deepStrictEqual(
        of,
        Array.from({ length: 16 }, () => [{ tenant: [] }])
      )
      const without = yield* securityOf(undefined)
      assert.deepStrictEqual([without.schemes, without.of[0]], [{}, []])
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
  paths: Schema.Record(
    Schema.String,
    Schema.Record(
      Schema.String,
      Schema.Struct({
        operationId: Schema.optionalKey(Schema.String),
        summary: Schema.optionalKey(Schema.String),
        description: Schema.optionalKey(Schema.String),
        requestBody: Schema.optionalKey(Schema.Struct({ required: Schema.Boolean })),
        security: Schema.Unknown,
        responses: Schema.Record(Schema.String, Schema.Unknown)
      })
    )
  ),
  components: Schema.Struct({
    schemas: Schema.Record(Schema.String, Schema.Unknown),
    securitySchemes: Schema.Unknown
  })
})

const documentAt = (sent: Effect.Effect<Response>) =>
  Effect.flatMap(sent, (response) =>
    Effect.flatMap(
      Effect.promise(() => response.json()),
      (body) => Effect.orDie(Schema.decodeUnknownEffect(Document)(body))
    )
  )
