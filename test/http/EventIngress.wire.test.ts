import { assert, describe, it } from "@effect/vitest"
import { CloudEvent as SdkEvent, emitterFor, HTTP, httpTransport, Mode } from "cloudevents"
import { Effect, Exit, Fiber, Layer, Redacted, Schema, Scope } from "effect"
import { FetchHttpClient } from "effect/http"
import { Webhook } from "standardwebhooks"
import { Broadcaster, EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import * as CloudEvent from "../../src/http/CloudEvent.ts"
import * as Endpoint from "../../src/http/Endpoint.ts"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import type { RegistryEvent } from "../../src/http/RegistryEvent.ts"
import { quiet } from "../support/virtual.ts"
import { until } from "./support/delivery.ts"
import { Client, http, serving } from "./support/ingress.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
type Order = typeof Order.Type
const one = Envelope.json(Order, { id: ({ id }) => id })
const order = (id: string): Order => ({ id, total: 1 })

/** A server with one route, and what came through it. */
const served = <A>(options: EventIngress.Options<A>, given?: TestSink.TestSink<A>) =>
  Effect.gen(function* () {
    const sink = given ?? (yield* TestSink.recording<A>())
    const answers: Array<number> = []
    // The server logs to the log of the fiber that builds it.
    const { port, url } = yield* quiet(
      serving(
        EventIngress.layer(sink, { path: "/events", onAnswer: ({ status }) => void answers.push(status), ...options })
      )
    )
    return { sink, port, url: `${url}/events`, answers }
  })

const client = (port: number) =>
  Effect.acquireRelease(
    Effect.sync(() => new Client(port)),
    (client) => Effect.sync(() => client.destroy())
  )

const eventually = (holds: () => boolean) =>
  Effect.map(until(holds), (came) => assert.isTrue(came, `never held: ${holds}`))

const good = (id: string) => {
  const body = JSON.stringify(order(id))
  return http({ "content-type": "application/json", "content-length": String(body.length) }, body)
}

describe("from the cloudevents SDK", () => {
  const data = CloudEvent.json(Schema.Struct({ total: Schema.Int }))
  const envelopes = [CloudEvent.binary(data), CloudEvent.structured(data), CloudEvent.batched(data)] as const
  const event = (id: string) =>
    new SdkEvent({
      id,
      source: "/shop",
      type: "com.example.order",
      subject: "50 % off",
      tenant: "7",
      data: { total: 3 }
    })

  const arrived = (sink: TestSink.TestSink<CloudEvent.CloudEvent<{ readonly total: number }>>) =>
    sink.received.map(({ data, extensions, id, source, subject, type }) => {
      assert.deepStrictEqual(
        [source, type, subject, data.total, extensions["tenant"]],
        ["/shop", "com.example.order", "50 % off", 3, "7"]
      )
      return id
    })

  it.live("come messages in its three modes", () =>
    Effect.gen(function* () {
      const { sink, url } = yield* served({ envelopes })
      const batch = {
        headers: { "content-type": "application/cloudevents-batch+json" },
        body: JSON.stringify([event("3").toJSON(), event("4").toJSON()])
      }
      const structured = HTTP.structured(event("2"))
      // A sender may say it twice: the content type counts.
      const both = { ...structured, headers: { ...structured.headers, "ce-specversion": "1.0" } }
      for (const { body, headers } of [HTTP.binary(event("1")), both, structured, batch, batch]) {
        const init = { method: "POST", headers: headers as Record<string, string>, body: body as string }
        const { status, text } = yield* Effect.promise(async () => {
          const answer = await fetch(url, init)
          return { status: answer.status, text: await answer.text() }
        })
        assert.deepStrictEqual([status, text], [202, ""])
      }
      assert.deepStrictEqual(arrived(sink), ["1", "2", "3", "4"])
    })
  )

  it.live("come events through its own emitters", () =>
    Effect.gen(function* () {
      const { answers, sink, url } = yield* served({ envelopes })
      const emitters = [Mode.BINARY, Mode.STRUCTURED].map((mode) => emitterFor(httpTransport(url), { mode }))
      for (const [at, emit] of emitters.entries()) yield* Effect.promise(() => emit(event(String(at))))
      assert.deepStrictEqual(arrived(sink), ["0", "1"])
      assert.deepStrictEqual(answers, [202, 202])
    })
  )

  it.live("come events without data", () =>
    Effect.gen(function* () {
      const { sink, url } = yield* served({ envelopes: [CloudEvent.binary(CloudEvent.optional(data))] })
      const { headers } = HTTP.binary(new SdkEvent({ id: "1", source: "/shop", type: "t" }))
      const { "content-type": _, ...rest } = headers as Record<string, string>
      const answer = yield* Effect.promise(() => fetch(url, { method: "POST", headers: rest }))
      assert.deepStrictEqual([answer.status, sink.received[0]?.data], [202, undefined])
    })
  )
})

describe("from the standardwebhooks package", () => {
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

  it.live("come signed requests, and others are refused", () =>
    Effect.gen(function* () {
      const { sink, url } = yield* served({ envelopes: [one], verify: { secrets: [Redacted.make(secret)] } })
      const post = (id: string, body: string, sent = body) =>
        Effect.promise(async () => {
          const now = new Date()
          const headers = {
            "content-type": "application/json",
            "webhook-id": id,
            "webhook-timestamp": String(Math.floor(now.getTime() / 1000)),
            "webhook-signature": new Webhook(secret).sign(id, now, body)
          }
          return (await fetch(url, { method: "POST", headers, body: sent })).status
        })
      // Spaces and the order of keys are part of what is signed.
      const body = '{ "total": 1,  "id": "é☂" }'
      assert.strictEqual(yield* post("msg_1", body), 202)
      assert.strictEqual(yield* post("msg_1", body), 202)
      assert.strictEqual(yield* post("msg_2", body, body.replace("1", "2")), 401)
      assert.deepStrictEqual(sink.received, [order("é☂")])
    })
  )

  it.live("come signatures on several lines and between tabs; an id or a time that comes twice is refused", () =>
    Effect.gen(function* () {
      const { port, sink } = yield* served({ envelopes: [one], verify: { secrets: [Redacted.make(secret)] } })
      const now = new Date()
      const seconds = Math.floor(now.getTime() / 1000)
      /** The statuses of requests with these ids, each with the lines of headers that `lines` makes of the signatures. */
      const statuses = Effect.fnUntraced(function* (
        ids: ReadonlyArray<string>,
        lines: (id: string, right: string, wrong: string) => string
      ) {
        const connection = yield* client(port)
        for (const id of ids) {
          const body = JSON.stringify(order(id))
          const by = (key: string) => new Webhook(key).sign(id, now, body)
          const headers = { "content-type": "application/json", "content-length": String(body.length) }
          const more = lines(id, by(secret), by("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"))
          connection.send(http(headers, body).replace("\r\n\r\n", `\r\n${more}\r\n\r\n`))
          // One after the other: the server handles requests of a pipeline at once, and verifies in any order.
          yield* Effect.promise(() => connection.answers(connection.statuses.length + 1))
        }
        return connection.statuses
      })
      const named = (prefix: string, id: string) => `${prefix}-id: ${id}\r\n${prefix}-timestamp: ${seconds}\r\n`
      for (const prefix of ["webhook", "svix"]) {
        const genuine = [`${prefix}.1`, `${prefix}.2`]
        const several = yield* statuses(
          genuine,
          (id, right, wrong) =>
            `${named(prefix, id)}${prefix}-signature: ${wrong}\r\n${prefix}-signature: v1a,x\t${right}\t${wrong}`
        )
        assert.deepStrictEqual(several, [202, 202])
        const twice = ["id", "timestamp"] as const
        for (const name of twice) {
          const refused = yield* quiet(
            statuses([`${prefix}.3`], (id, right) => {
              const again = `${prefix}-${name}: ${name === "id" ? id : seconds}\r\n`
              return `${named(prefix, id)}${again}${prefix}-signature: ${right}`
            })
          )
          assert.deepStrictEqual(refused, [401], `${prefix}-${name}`)
        }
      }
      assert.deepStrictEqual(
        sink.received.map(({ id }) => id),
        ["webhook.1", "webhook.2", "svix.1", "svix.2"]
      )
    })
  )
})

describe("from this library's own HttpSink", () => {
  /** Writes events to a sink that posts to an ingress of the same envelope, and answers what came through. */
  const through = <A>(envelope: Envelope.Envelope<A>, events: ReadonlyArray<A>, secret?: string) =>
    Effect.gen(function* () {
      const secrets = secret === undefined ? undefined : ([Redacted.make(secret)] as const)
      const { answers, sink, url } = yield* served<A>({ envelopes: [envelope], verify: secrets && { secrets } })
      const http = yield* HttpSink.make({ url, envelope, signing: secrets && { secrets } })
      yield* EventSink.writeAll(http, events)
      // Sent again, nothing is written again.
      yield* EventSink.writeAll(http, events)
      assert.isTrue(answers.length > 0 && answers.every((status) => status === 202))
      return sink.received
    }).pipe(Effect.provide(FetchHttpClient.layer))

  const data = CloudEvent.json(Order)
  const cloud = ["1", "2", "3"].map((id) =>
    CloudEvent.make({ id, source: "/s", type: "t", datacontenttype: "application/json", data: order(id) })
  )
  const pushed: ReadonlyArray<RegistryEvent> = ["1", "2"].map((id) => ({
    id,
    timestamp: "2026-01-02T03:04:05.678901234Z",
    action: "push",
    target: { repository: "team/app", annotations: { a: "b" } }
  }))

  it.live("come events in every envelope, signed and not", () =>
    Effect.gen(function* () {
      for (const secret of [undefined, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]) {
        const orders = [order("a"), order("b"), order("c")]
        assert.deepStrictEqual(yield* through(one, orders, secret), orders)
        assert.deepStrictEqual(yield* through(Envelope.ndjson(Order, { id: ({ id }) => id }), orders, secret), orders)
        assert.deepStrictEqual(yield* through(Envelope.registry, pushed, secret), pushed)
        for (const envelope of [CloudEvent.binary(data), CloudEvent.structured(data), CloudEvent.batched(data)]) {
          const came = yield* through(envelope, cloud, secret)
          assert.deepStrictEqual(
            came.map(({ data, id }) => [id, data]),
            cloud.map(({ data, id }) => [id, data])
          )
        }
      }
    })
  )

  it.live("come the events of a relay: one route, a broadcaster, endpoints", () =>
    Effect.gen(function* () {
      const first = yield* served({ envelopes: [Envelope.registry] })
      const second = yield* served({ envelopes: [Envelope.registry] })
      const endpoint = (name: string, url: string) =>
        Endpoint.make({ name, url, envelope: Envelope.registry, onDisabled: () => Effect.void })
      const scope = yield* Scope.make()
      const relay = EventIngress.layer(
        Broadcaster.make([endpoint("first", first.url), endpoint("second", second.url)]),
        { path: "/events", envelopes: [Envelope.registry] }
      ).pipe(Layer.provide(FetchHttpClient.layer))
      const { url } = yield* Scope.provide(serving(relay), scope)
      const posted = yield* Effect.promise(() =>
        fetch(`${url}/events`, {
          method: "POST",
          headers: { "content-type": Envelope.registry.contentType },
          body: JSON.stringify({ events: pushed })
        })
      )
      assert.strictEqual(posted.status, 202)
      // The close delivers what was taken.
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(first.sink.received, pushed)
      assert.deepStrictEqual(second.sink.received, pushed)
    })
  )
})

describe("the handshake", () => {
  it.live("is answered over the wire", () =>
    Effect.gen(function* () {
      const { port } = yield* served({ envelopes: [one], handshake: { origins: ["sender.example"], rate: 60 } })
      const asking = yield* client(port)
      asking.send(
        http({ "WebHook-Request-Origin": "sender.example", "WebHook-Request-Rate": "120", "content-length": "0" }, "", {
          method: "OPTIONS"
        })
      )
      yield* Effect.promise(() => asking.answers(1))
      assert.deepStrictEqual(asking.statuses, [200])
      for (const line of [
        "webhook-allowed-origin: sender.example",
        "webhook-allowed-rate: 60",
        "allow: POST, OPTIONS"
      ]) {
        assert.include(asking.text, `${line}\r\n`)
      }
      // The same connection then sends.
      asking.send(good("a"))
      yield* Effect.promise(() => asking.answers(2))
      assert.deepStrictEqual(asking.statuses, [200, 202])
    })
  )
})

describe("a connection", () => {
  it.live("stays open after a refusal of a body that was read", () =>
    Effect.gen(function* () {
      const { port, sink } = yield* served({ envelopes: [one] })
      const talking = yield* client(port)
      const bad = http({ "content-type": "application/json", "content-length": "2" }, "{]")
      const get = http({}, "", { method: "GET" })
      for (const [n, request] of [good("a"), bad, get, good("b")].entries()) {
        talking.send(request)
        yield* Effect.promise(() => talking.answers(n + 1))
      }
      assert.deepStrictEqual(talking.statuses, [202, 400, 405, 202])
      assert.deepStrictEqual(sink.received, [order("a"), order("b")])
    })
  )

  it.live("ends after a refusal of a body that was not read, and the body is never parsed as a request", () =>
    Effect.gen(function* () {
      const { port, sink } = yield* served({ envelopes: [one], maxBytes: 1000 })
      const inner = good("smuggled")
      const length = { "content-length": String(inner.length) }
      for (const [request, status] of [
        [http({ "content-type": "text/xml", ...length }, inner), 415],
        [http({ "content-type": "application/json", "content-encoding": "gzip", ...length }, inner), 415],
        [http({ "content-type": "application/json", ...length }, inner, { method: "PUT" }), 405],
        [http({ "content-type": "application/json", "content-length": "1001" }, inner), 413],
        [http({ "content-type": "application/json", "transfer-encoding": "gzip, chunked" }, "0\r\n\r\n"), 400]
      ] as const) {
        const talking = yield* client(port)
        talking.send(request)
        yield* Effect.promise(() => talking.wait(() => talking.closed))
        assert.deepStrictEqual(talking.statuses, [status])
        assert.match(talking.text, /^connection: close\r$/im)
      }
      assert.deepStrictEqual(sink.received, [])
    })
  )

  it.live("with a slow body is answered with 408 and ended, whatever follows", () =>
    Effect.gen(function* () {
      const { answers, port, sink } = yield* served({ envelopes: [one], bodyTimeout: "100 millis" })
      const talking = yield* client(port)
      talking.send(http({ "content-type": "application/json", "content-length": "1000000" }))
      const drip = setInterval(() => talking.send(" "), 10)
      yield* Effect.promise(() => talking.wait(() => talking.closed))
      clearInterval(drip)
      assert.deepStrictEqual([talking.statuses, talking.closed], [[408], true])
      assert.include(talking.text, "application/problem+json")
      assert.deepStrictEqual([answers, sink.attempts], [[408], 0])
    })
  )

  it.live("with an endless body is answered with 413 and ended beyond maxBytes", () =>
    Effect.gen(function* () {
      const { port } = yield* served({ envelopes: [one], maxBytes: 50_000 })
      const talking = yield* client(port)
      talking.send(http({ "content-type": "application/json", "transfer-encoding": "chunked" }))
      const chunk = `2710\r\n${" ".repeat(10_000)}\r\n`
      const flood = setInterval(() => talking.send(chunk, chunk), 1)
      yield* Effect.promise(() => talking.wait(() => talking.closed))
      clearInterval(flood)
      assert.deepStrictEqual([talking.statuses, talking.closed], [[413], true])
    })
  )

  it.live("with a wrong content-length has no event written", () =>
    Effect.gen(function* () {
      const { port, sink } = yield* served({ envelopes: [one] })
      const body = JSON.stringify(order("a"))
      const type = { "content-type": "application/json" }
      const long = yield* client(port)
      long.send(http({ ...type, "content-length": String(body.length + 1) }, body))
      long.end()
      yield* Effect.promise(() => long.wait(() => long.closed))
      assert.isTrue(long.statuses.every((status) => status === 400))
      const short = yield* client(port)
      short.send(http({ ...type, "content-length": String(body.length - 1) }, body))
      yield* Effect.promise(() => short.wait(() => short.closed))
      // The rest is no request: what Node says of that may come first.
      assert.isTrue(short.statuses.length > 0 && short.statuses.every((status) => status === 400))
      const cut = yield* client(port)
      cut.send(http({ ...type, "transfer-encoding": "chunked" }, `${body.length.toString(16)}\r\n${body}\r\n`))
      cut.destroy()
      const both = yield* client(port)
      both.send(http({ ...type, "transfer-encoding": "chunked", "content-length": "5" }, "0\r\n\r\n"))
      yield* Effect.promise(() => both.wait(() => both.closed))
      assert.deepStrictEqual(both.statuses, [400])
      assert.deepStrictEqual(sink.received, [])
      const after = yield* client(port)
      after.send(good("b"))
      yield* Effect.promise(() => after.answers(1))
      assert.deepStrictEqual(sink.received, [order("b")])
    })
  )

  it.live("that expects 100-continue is asked for its body, or refused without its body", () =>
    Effect.gen(function* () {
      const { port, sink } = yield* served({ envelopes: [one], maxBytes: 1000 })
      const body = JSON.stringify(order("a"))
      const expecting = { expect: "100-continue", "content-type": "application/json" }
      const asked = yield* client(port)
      asked.send(http({ ...expecting, "content-length": String(body.length) }))
      yield* Effect.promise(() => asked.wait(() => asked.text.includes("100 Continue\r\n\r\n")))
      assert.deepStrictEqual(asked.statuses, [])
      asked.send(body)
      yield* Effect.promise(() => asked.answers(1))
      assert.deepStrictEqual([asked.statuses, sink.received], [[202], [order("a")]])
      for (const [headers, status] of [
        [{ "content-length": "1001" }, 413],
        [{ "content-length": "10", "content-type": "text/xml" }, 415]
      ] as const) {
        const refused = yield* client(port)
        refused.send(http({ ...expecting, ...headers }))
        yield* Effect.promise(() => refused.wait(() => refused.closed))
        assert.deepStrictEqual([refused.statuses, refused.text.includes("100 Continue")], [[status], false])
      }
    })
  )

  it.live("that asks for an upgrade is answered without one", () =>
    Effect.gen(function* () {
      const { port, sink } = yield* served({ envelopes: [one] })
      const body = JSON.stringify(order("a"))
      const talking = yield* client(port)
      talking.send(
        http(
          {
            connection: "Upgrade, HTTP2-Settings",
            upgrade: "h2c",
            "content-type": "application/json",
            "content-length": String(body.length)
          },
          body
        )
      )
      yield* Effect.promise(() => talking.answers(1))
      assert.deepStrictEqual([talking.statuses, sink.received], [[202], [order("a")]])
    })
  )

  it.live("that asks for a WebSocket is refused with a body, since the body could not be read", () =>
    Effect.gen(function* () {
      // Without lines there is nothing to commit: what was sent would be accepted and lost.
      const { port, sink } = yield* served({ envelopes: [Envelope.ndjson(Order)] })
      const body = JSON.stringify(order("a"))
      for (const [framing, sent] of [
        [{ "content-length": String(body.length) }, body],
        [{ "transfer-encoding": "chunked" }, `${body.length.toString(16)}\r\n${body}\r\n0\r\n\r\n`]
      ] as const) {
        const talking = yield* client(port)
        const asking = { connection: "Upgrade", upgrade: "WebSocket", "content-type": "application/x-ndjson" }
        talking.send(http({ ...asking, ...framing }, sent))
        yield* Effect.promise(() => talking.wait(() => talking.closed))
        assert.deepStrictEqual([talking.statuses, sink.received], [[400], []])
        assert.include(talking.text, "application/problem+json")
      }
    })
  )
})

describe("a close", () => {
  it.live("waits until requests in flight are answered", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>()
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(served({ envelopes: [one] }, sink), scope)
      const talking = yield* client(port)
      talking.send(good("a"))
      yield* eventually(() => sink.attempts === 1)
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* Effect.sleep("30 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* sink.release
      yield* Effect.promise(() => talking.answers(1))
      assert.deepStrictEqual(talking.statuses, [202])
      talking.destroy()
      yield* Fiber.join(closing)
      assert.deepStrictEqual(sink.received, [order("a")])
    })
  )

  it.live("waits for a write whose sender disconnected", () =>
    Effect.gen(function* () {
      const sink = yield* TestSink.hanging<Order>()
      const scope = yield* Scope.make()
      const { port } = yield* Scope.provide(served({ envelopes: [one] }, sink), scope)
      const talking = yield* client(port)
      talking.send(good("a"))
      yield* eventually(() => sink.attempts === 1)
      talking.destroy()
      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void))
      yield* Effect.sleep("100 millis")
      assert.isUndefined(closing.pollUnsafe())
      yield* sink.release
      yield* Fiber.join(closing)
      assert.deepStrictEqual(sink.received, [order("a")])
    })
  )
})
