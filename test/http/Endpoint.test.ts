import { assert, describe, it } from "@effect/vitest"
import {
  Config,
  ConfigProvider,
  Context,
  Duration,
  Effect,
  Exit,
  Fiber,
  Layer,
  Metric,
  Random,
  Redacted,
  Scope
} from "effect"
import { HttpClient, HttpClientError, HttpClientResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { TestClock } from "effect/testing"
import { EventSink, type ExponentialBackoff, SinkGraph } from "effect-events"
import * as Classification from "effect-events/http/Classification"
import * as Endpoint from "effect-events/http/Endpoint"
import * as EndpointMetrics from "effect-events/http/EndpointMetrics"
import * as Envelope from "effect-events/http/Envelope"
import { ForbiddenAddress } from "effect-events/http/HttpSinkError"
import { inspect } from "node:util"
import { quiet, settle, withLogs } from "../support/virtual.ts"
import { Schema } from "effect"

const Order = Schema.Struct({ id: Schema.String, customer: Schema.String })
type Order = typeof Order.Type
const orders = Envelope.json(Order, { id: ({ id }) => id })
const order = (n: number, customer = "one"): Order => ({ id: `order-${n}`, customer })

/** What a receiver does with the n-th request, from 1: a status, or no answer at all. */
type Answer = (n: number, body: Order) => number | "no answer" | "forbidden" | "hang" | { readonly retryAfter: string }

/** What a guarded client fails with at a url with this address. */
const forbidden = new ForbiddenAddress({
  host: "10.0.0.1",
  address: "10.0.0.1",
  range: { name: "private", network: "10.0.0.0/8", reference: "RFC 1918" }
})

/** A receiver without a network: a client that answers as the test says. */
const receiver = (answer: Answer, latency?: (n: number) => Duration.Input) => {
  const requests: Array<{ readonly at: number; readonly body: Order }> = []
  const accepted: Array<string> = []
  const client = HttpClient.make((request) =>
    Effect.gen(function* () {
      const at = yield* Effect.clockWith((clock) => clock.currentTimeMillis)
      const text = request.body._tag === "Uint8Array" ? new TextDecoder().decode(request.body.body) : ""
      const body: Order = JSON.parse(text.split("\n")[0]!)
      requests.push({ at, body })
      const what = answer(requests.length, body)
      if (latency !== undefined) yield* Effect.sleep(latency(requests.length))
      if (what === "hang") return yield* Effect.never
      if (what === "no answer" || what === "forbidden") {
        const cause = what === "forbidden" ? forbidden : undefined
        const reason = new HttpClientError.TransportError({ request, cause })
        return yield* Effect.fail(new HttpClientError.HttpClientError({ reason }))
      }
      if (typeof what === "object") {
        const headers = { "retry-after": what.retryAfter }
        return HttpClientResponse.fromWeb(request, new Response(null, { status: 429, headers }))
      }
      if (what < 400) accepted.push(body.id)
      return HttpClientResponse.fromWeb(request, new Response(null, { status: what }))
    })
  )
  return { requests, accepted, layer: Layer.succeed(HttpClient.HttpClient, client) }
}

const url = "http://user:secret@receiver.test/hook?token=secret"

/** An endpoint with distribution's values in a scope of its own, and what it gave to `onDisabled`. */
const opened = (
  answer: Answer,
  { latency, ...options }: Partial<Endpoint.Options<Order>> & { readonly latency?: (n: number) => Duration.Input } = {}
) =>
  Effect.gen(function* () {
    const diverted: Array<string> = []
    const { layer, ...receiving } = receiver(answer, latency)
    const scope = yield* Scope.make()
    const endpoint = yield* Endpoint.make<Order>({
      ...Endpoint.distribution,
      name: "orders",
      url,
      envelope: orders,
      onDisabled: ({ id }) => Effect.sync(() => void diverted.push(id)),
      ...options
    }).pipe(Scope.provide(scope), Effect.provide(layer))
    return { endpoint, diverted, ...receiving, close: Scope.close(scope, Exit.void) }
  })

const ids = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `order-${from + i}`)

describe("an endpoint", () => {
  it.effect("posts each event, one a request, in order, and leaves out what it ignores", () =>
    Effect.gen(function* () {
      const { accepted, close, endpoint } = yield* opened(() => 202, { ignore: ({ customer }) => customer === "test" })
      yield* EventSink.writeAll(endpoint, [order(1), order(2, "test"), order(3)])
      yield* endpoint.flush
      assert.deepStrictEqual(accepted, ["order-1", "order-3"])
      assert.strictEqual(yield* endpoint.pending, 0)
      yield* close
      assert.strictEqual((yield* Effect.flip(endpoint.write(order(4))))._tag, "SinkClosed")
    })
  )

  it.effect(
    "has distribution's values by that preset: a timeout of 1 s, 3xx accepted, a breaker of 10 failures and 1 s",
    () =>
      Effect.gen(function* () {
        const { accepted, close, endpoint, requests } = yield* opened((n) => (n === 1 ? "hang" : n <= 11 ? 404 : 302))
        yield* endpoint.write(order(1))
        yield* settle
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(requests.length, 1)
        yield* TestClock.adjust("1 millis")
        // The tenth failure opened it.
        assert.strictEqual(requests.length, 10)
        yield* TestClock.adjust("999 millis")
        assert.strictEqual(requests.length, 10)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(requests.length, 11)
        yield* TestClock.adjust("1 second")
        assert.deepStrictEqual(requests.length, 12)
        assert.deepStrictEqual(accepted, ["order-1"])
        yield* close
      })
  )

  /** The options of the preset, left out. */
  const byDefault = {
    classification: undefined,
    timeout: undefined,
    delays: undefined,
    threshold: undefined,
    backoff: undefined,
    maxEvents: undefined,
    maxRetryAfter: undefined
  }

  it.effect("has the values of `defaults` where an option is left out", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(Endpoint.defaults, {
        classification: Classification.standardWebhooks,
        timeout: "5 seconds",
        delays: { base: 0, factor: "1 second", max: "1 minute" },
        threshold: 10,
        backoff: "1 second",
        maxEvents: 1,
        maxRetryAfter: "1 minute"
      })
      const { close, endpoint, requests } = yield* opened((n) => (n === 1 ? "hang" : n === 2 ? 204 : 410), byDefault)
      yield* endpoint.write(order(1))
      yield* settle
      yield* TestClock.adjust("4999 millis")
      assert.strictEqual((yield* endpoint.state)._tag === "Enabled" && (yield* endpoint.pending), 1)
      assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: undefined })
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: 5000 })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(requests.length, 2)
      assert.strictEqual(yield* endpoint.pending, 0)
      yield* close
    })
  )

  it.effect("waits by default for a random part of a growing bound between the attempts of an event", () =>
    Effect.gen(function* () {
      const half = { nextIntUnsafe: () => 0, nextDoubleUnsafe: () => 0.5 }
      const seconds = (delays: ExponentialBackoff.Options | undefined) =>
        Effect.gen(function* () {
          const answer = (n: number) => (n <= 10 ? 302 : 204)
          const { close, endpoint, requests } = yield* opened(answer, { ...byDefault, delays }).pipe(
            Effect.provideService(Random.Random, half)
          )
          yield* endpoint.write(order(1))
          yield* settle
          for (let n = 0; n < 20; n++) yield* TestClock.adjust("10 seconds")
          yield* close
          return requests.slice(1).map(({ at }, i) => (at - requests[i]!.at) / 1000)
        })
      assert.deepStrictEqual(yield* seconds(undefined), [0.5, 1, 2, 4, 8, 16, 30, 30, 30, 30])
      // The tenth failure opens the breaker for a second.
      assert.deepStrictEqual(yield* seconds({ max: "1 second" }), [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 1])
    })
  )

  it.effect(
    "is disabled by an answer of 410, hands on what it holds and what comes, in order, and can be enabled",
    () =>
      withLogs((logs) =>
        Effect.gen(function* () {
          let gone = false
          const { accepted, close, diverted, endpoint, requests } = yield* opened(() => (gone ? 410 : 200))
          yield* endpoint.write(order(1))
          yield* endpoint.flush
          gone = true
          yield* EventSink.writeAll(
            endpoint,
            [2, 3, 4].map((n) => order(n))
          )
          yield* endpoint.flush
          yield* endpoint.write(order(5))
          yield* endpoint.flush
          assert.deepStrictEqual(accepted, ["order-1"])
          assert.deepStrictEqual(diverted, ids(2, 5))
          assert.strictEqual(requests.length, 2)
          const state = yield* endpoint.state
          assert.strictEqual(state._tag, "Disabled")
          if (state._tag === "Disabled") {
            assert.deepInclude({ ...state.error?.reason }, { _tag: "Status", status: 410 })
            assert.strictEqual(state.since, 0)
          }
          gone = false
          yield* endpoint.enable
          assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: undefined })
          yield* endpoint.write(order(6))
          yield* endpoint.flush
          assert.deepStrictEqual(accepted, ["order-1", "order-6"])
          yield* close
          const lines = logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)
          assert.deepStrictEqual(lines, [
            'WARN Endpoint "orders" is disabled: its receiver is gone (status 410)',
            'INFO Endpoint "orders" is enabled again'
          ])
          assert.notInclude(JSON.stringify(logs), "secret")
        })
      )
  )

  it.effect("is disabled when it has failed for the configured time, and a success starts that anew", () =>
    Effect.gen(function* () {
      let works = false
      const { accepted, close, diverted, endpoint, requests } = yield* opened(() => (works ? 200 : "no answer"), {
        threshold: 1,
        disableAfter: "1 minute"
      })
      yield* endpoint.write(order(1))
      yield* settle
      yield* TestClock.adjust("59 seconds")
      assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: 0 })
      works = true
      yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(accepted, ["order-1"])
      assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: undefined })
      works = false
      yield* EventSink.writeAll(endpoint, [order(2), order(3)])
      yield* settle
      yield* TestClock.adjust("59 seconds")
      assert.strictEqual((yield* endpoint.state)._tag, "Enabled")
      yield* TestClock.adjust("2 seconds")
      assert.strictEqual((yield* endpoint.state)._tag, "Disabled")
      assert.deepStrictEqual(diverted, ids(2, 3))
      const sent = requests.length
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(requests.length, sent)
      yield* close
    })
  )

  it.effect("is not disabled by answers that refuse an event for good, nor by a failure long ago", () =>
    Effect.gen(function* () {
      const { accepted, close, diverted, endpoint } = yield* opened((n) => [503, 422, 503, 200][n - 1] ?? 200, {
        disableAfter: "5 days",
        classification: ({ status }) => (status === 422 ? "permanent" : status === 200 ? "accepted" : "transient"),
        onDropped: () => Effect.void
      })
      yield* endpoint.write(order(1))
      yield* endpoint.flush
      assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: undefined })
      yield* TestClock.adjust("5 days")
      yield* endpoint.write(order(2))
      yield* endpoint.flush
      assert.deepStrictEqual([accepted, diverted], [["order-2"], []])
      yield* close
    })
  )

  describe("with many events a request, hands on one event at a time", () => {
    const many = { envelope: Envelope.ndjson(Order), maxEvents: 100 }
    const slowly = (diverted: Array<string>) => ({
      onDisabled: ({ id }: Order) =>
        Effect.delay(
          Effect.sync(() => void diverted.push(id)),
          "1 second"
        )
    })
    const events = Array.from({ length: 10 }, (_, i) => order(i + 1))

    it.effect("so that a defect of onDisabled costs its event and doubles none", () =>
      Effect.gen(function* () {
        const diverted: Array<string> = []
        const dropped: Array<string> = []
        const { close, endpoint } = yield* opened(() => 410, {
          ...many,
          onDisabled: ({ id }) => (id === "order-5" ? Effect.die("boom") : Effect.sync(() => void diverted.push(id))),
          onDropped: ({ event, reason }) => Effect.sync(() => void dropped.push(`${event.id} ${reason._tag}`))
        })
        yield* EventSink.writeAll(endpoint, events)
        yield* endpoint.flush
        assert.deepStrictEqual(diverted, [...ids(1, 4), ...ids(6, 10)])
        assert.deepStrictEqual(dropped, ["order-5 Died"])
        yield* close
      })
    )

    it.effect("so that enabling it counts from the next event on", () =>
      Effect.gen(function* () {
        const diverted: Array<string> = []
        let gone = true
        const { close, endpoint, requests } = yield* opened(() => (gone ? 410 : 200), { ...many, ...slowly(diverted) })
        yield* EventSink.writeAll(endpoint, events)
        yield* settle
        yield* TestClock.adjust("2500 millis")
        gone = false
        yield* endpoint.enable
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(diverted, ids(1, 3))
        assert.strictEqual(requests[1]?.body.id, "order-4")
        yield* close
      })
    )

    it.effect("so that the close counts none that onDisabled has", () =>
      Effect.gen(function* () {
        const diverted: Array<string> = []
        const { close, endpoint } = yield* opened(() => 410, { ...many, ...slowly(diverted), drainTimeout: 2500 })
        yield* EventSink.writeAll(endpoint, events)
        yield* settle
        const left = yield* Effect.forkChild(endpoint.shutdown)
        yield* TestClock.adjust("1 minute")
        assert.deepStrictEqual(diverted, ids(1, 2))
        assert.deepStrictEqual(
          (yield* Fiber.join(left)).map(({ event }) => event.id),
          ids(3, 10)
        )
        yield* close
      })
    )
  })

  it.effect("is disabled by 410 also where the classification takes that for an acceptance", () =>
    Effect.gen(function* () {
      const { close, diverted, endpoint } = yield* opened(() => 410, { classification: () => "accepted" })
      yield* endpoint.write(order(1))
      yield* endpoint.flush
      assert.deepStrictEqual(diverted, ["order-1"])
      yield* close
    })
  )

  it.effect("sends a receiver nothing for as long as it asks, up to maxRetryAfter", () =>
    Effect.gen(function* () {
      const { close, endpoint, requests } = yield* opened((n) => (n < 3 ? { retryAfter: "7200" } : 200), {
        maxRetryAfter: "1 hour"
      })
      yield* endpoint.write(order(1))
      yield* settle
      yield* TestClock.adjust("59 minutes")
      assert.strictEqual(requests.length, 1)
      yield* TestClock.adjust("1 minute")
      assert.strictEqual(requests.length, 2)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(requests.length, 3)
      yield* close
    })
  )

  it.effect("holds back all requests for as long as it asks, also when others are accepted meanwhile", () =>
    Effect.gen(function* () {
      const { accepted, close, endpoint, requests } = yield* opened(
        (n) => (n === 2 ? { retryAfter: "30" } : n === 3 ? { retryAfter: "10" } : 200),
        { concurrency: 3, latency: () => "1 second", timeout: "1 minute" }
      )
      yield* EventSink.writeAll(
        endpoint,
        Array.from({ length: 9 }, (_, i) => order(i + 1))
      )
      yield* settle
      yield* TestClock.adjust("1 second")
      // The first was answered just before, and made room for another.
      assert.strictEqual(requests.length, 4)
      yield* TestClock.adjust("29 seconds")
      // The shorter of two does not end the longer, and nor does a success.
      assert.deepStrictEqual(accepted, ["order-1", "order-4"])
      assert.strictEqual(requests.length, 4)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(requests.length, 7)
      yield* TestClock.adjust("10 seconds")
      assert.sameMembers(accepted, ids(1, 9))
      yield* close
    })
  )

  it.effect(
    "holds requests back for the longer of what the receiver asks and the breaker, also when it asks later",
    () =>
      Effect.gen(function* () {
        const { close, endpoint, requests } = yield* opened(
          (n) => (n === 1 ? 500 : n === 2 ? { retryAfter: "10" } : 200),
          {
            concurrency: 2,
            threshold: 1,
            latency: (n) => (n === 1 ? "1 second" : "1500 millis"),
            timeout: "1 minute"
          }
        )
        yield* EventSink.writeAll(endpoint, [order(1), order(2)])
        yield* settle
        // Half a second after its breaker opened for a second.
        yield* TestClock.adjust("1500 millis")
        yield* TestClock.adjust("9999 millis")
        assert.strictEqual(requests.length, 2)
        yield* TestClock.adjust("1 millis")
        assert.strictEqual(requests.length, 3)
        yield* TestClock.adjust("10 seconds")
        assert.strictEqual(requests.length, 4)
        yield* close
      })
  )

  it.effect("waits as before once it is enabled again", () =>
    Effect.gen(function* () {
      const { close, endpoint, requests } = yield* opened(() => 500, { threshold: 1, drainTimeout: 0 })
      yield* endpoint.disable
      yield* endpoint.enable
      yield* endpoint.write(order(1))
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(requests.length, 11)
      yield* close
    }).pipe(quiet)
  )

  describe("disabled by hand", () => {
    const waiting: ReadonlyArray<readonly [string, Answer, Partial<Endpoint.Options<Order>>]> = [
      ["its breaker", () => 500, { threshold: 1, backoff: "1 hour" }],
      ["its receiver, which asked for that", () => ({ retryAfter: "3600" }), { maxRetryAfter: "1 hour" }],
      [
        "both",
        () => ({ retryAfter: "1800" }),
        { threshold: 1, backoff: "1 hour", maxRetryAfter: "1 hour", concurrency: 2 }
      ]
    ]
    it.effect.each(waiting)("hands on what waits for %s, at once", ([, answer, options]) =>
      withLogs((logs) =>
        Effect.gen(function* () {
          let works = false
          const { accepted, close, diverted, endpoint, requests } = yield* opened(
            (n, body) => (works ? 200 : answer(n, body)),
            options
          )
          yield* EventSink.writeAll(endpoint, [order(1), order(2)])
          yield* settle
          yield* TestClock.adjust("1 minute")
          const sent = requests.length
          yield* endpoint.disable
          yield* endpoint.disable
          yield* endpoint.flush
          assert.deepStrictEqual(yield* endpoint.state, { _tag: "Disabled", since: 60_000, error: undefined })
          assert.deepStrictEqual(diverted, ids(1, 2))
          yield* endpoint.write(order(3))
          yield* endpoint.flush
          assert.deepStrictEqual(diverted, ids(1, 3))
          assert.strictEqual(requests.length, sent)
          works = true
          yield* endpoint.enable
          yield* endpoint.write(order(4))
          yield* TestClock.adjust("1 hour")
          assert.deepStrictEqual(accepted, ["order-4"])
          const line = 'INFO Endpoint "orders" is disabled by hand'
          const lines = logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)
          assert.strictEqual(lines.filter((other) => other === line).length, 1)
          yield* close
        })
      )
    )

    it.effect("lets the request that is under way end, and judges it no more", () =>
      Effect.gen(function* () {
        const { accepted, close, diverted, endpoint } = yield* opened((n) => (n === 1 ? 200 : 500), {
          concurrency: 2,
          latency: () => "1 second",
          timeout: "1 minute"
        })
        yield* EventSink.writeAll(endpoint, [order(1), order(2), order(3)])
        yield* settle
        yield* endpoint.disable
        yield* TestClock.adjust("999 millis")
        assert.deepStrictEqual([accepted, diverted], [[], []])
        yield* TestClock.adjust("1 millis")
        assert.deepStrictEqual(accepted, ["order-1"])
        assert.sameMembers(diverted, ids(2, 3))
        assert.deepStrictEqual(yield* endpoint.state, { _tag: "Disabled", since: 0, error: undefined })
        yield* close
      })
    )
  })

  it.effect("has as many requests under way as concurrency says, also with an envelope that holds many events", () =>
    Effect.gen(function* () {
      for (const maxEvents of [undefined, 2]) {
        const { close, endpoint, requests } = yield* opened(() => "hang", {
          envelope: Envelope.ndjson(Order),
          concurrency: 5,
          maxEvents,
          drainTimeout: 0
        })
        yield* EventSink.writeAll(
          endpoint,
          Array.from({ length: 100 }, (_, i) => order(i))
        )
        yield* settle
        assert.strictEqual(requests.length, 5)
        yield* close
      }
    }).pipe(quiet)
  )

  it.effect("does not try an event again and again while others are accepted: it waits for the backoff too", () =>
    Effect.gen(function* () {
      const { accepted, close, endpoint, requests } = yield* opened(
        (_, { customer }) => (customer === "bad" ? 500 : 200),
        {
          concurrency: 2,
          partitionBy: ({ customer }) => customer,
          threshold: 3,
          latency: () => "100 millis",
          drainTimeout: 0,
          onDropped: () => Effect.void
        }
      )
      const good = Array.from({ length: 200 }, (_, i) => order(i, "good"))
      yield* EventSink.writeAll(endpoint, [order(0, "bad"), ...good])
      yield* settle
      yield* TestClock.adjust("300 millis")
      const bad = () => requests.filter(({ body }) => body.customer === "bad").length
      assert.strictEqual(bad(), 3)
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(bad(), 12)
      assert.isAtLeast(accepted.length, 90)
      yield* close
    }).pipe(quiet)
  )

  it.effect("sends nothing more for the other keys once it is disabled", () =>
    Effect.gen(function* () {
      const { close, diverted, endpoint, requests } = yield* opened((n) => (n === 4 ? 410 : "no answer"), {
        threshold: 3,
        concurrency: 3,
        partitionBy: ({ customer }) => customer
      })
      for (let n = 1; n <= 6; n++) yield* endpoint.write(order(n, `customer ${n % 3}`))
      yield* settle
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual(requests.length, 4)
      assert.sameMembers(diverted, ids(1, 6))
      yield* close
    })
  )

  it.effect("hands what no attempt can deliver to onDropped, and goes on", () =>
    Effect.gen(function* () {
      const dropped: Array<string> = []
      const { accepted, close, endpoint } = yield* opened(() => 200, {
        maxBytes: 100,
        onDropped: ({ event, reason }) =>
          Effect.sync(() => {
            const why = reason._tag === "Failed" ? reason.error.reason._tag : reason._tag
            dropped.push(`${event.customer.slice(0, 1)} ${why}`)
          })
      })
      yield* EventSink.writeAll(endpoint, [order(1), order(2, "x".repeat(200)), order(3)])
      yield* endpoint.flush
      assert.deepStrictEqual(accepted, ["order-1", "order-3"])
      assert.deepStrictEqual(dropped, ["x TooLarge"])
      assert.strictEqual((yield* endpoint.state)._tag, "Enabled")
      yield* close
    })
  )

  it.effect("drops what is bound for a forbidden address, and counts that against its receiver", () =>
    Effect.gen(function* () {
      const dropped: Array<string> = []
      const { close, diverted, endpoint, requests } = yield* opened(() => "forbidden", {
        url: "http://10.0.0.1/hook",
        disableAfter: "1 hour",
        onDropped: ({ event, reason }) =>
          Effect.sync(() => {
            dropped.push(`${event.id} ${reason._tag === "Failed" ? reason.error.reason._tag : reason._tag}`)
          })
      })
      for (let n = 1; n <= 3; n++) {
        yield* endpoint.write(order(n))
        yield* endpoint.flush
        yield* TestClock.adjust("20 minutes")
      }
      assert.deepStrictEqual(yield* endpoint.state, { _tag: "Enabled", failingSince: 0 })
      yield* EventSink.writeAll(endpoint, [order(4), order(5)])
      yield* endpoint.flush
      // Each was tried once.
      assert.strictEqual(requests.length, 4)
      assert.deepStrictEqual(
        dropped,
        ids(1, 3).map((id) => `${id} ForbiddenAddress`)
      )
      assert.deepStrictEqual(diverted, ids(4, 5))
      const state = yield* endpoint.state
      assert.strictEqual(state._tag === "Disabled" && state.error?.reason, forbidden)
      yield* close
    }).pipe(quiet)
  )

  it.effect("drops what is undelivered at its close, in time", () =>
    Effect.gen(function* () {
      const { close, endpoint } = yield* opened(() => "no answer", { drainTimeout: "3 seconds" })
      yield* EventSink.writeAll(endpoint, [order(1), order(2)])
      yield* settle
      const left = yield* Effect.forkChild(endpoint.shutdown)
      yield* TestClock.adjust("3 seconds")
      assert.deepStrictEqual(
        (yield* Fiber.join(left)).map(({ event }) => event.id),
        ids(1, 2)
      )
      yield* close
    })
  )

  it.effect("shows itself in pictures and health", () =>
    Effect.gen(function* () {
      const { close, endpoint } = yield* opened(() => 200, { ignore: () => false })
      const picture = SinkGraph.toMermaid(endpoint)
      for (const kind of ["EventFilter", "EventQueue", "RetryingSink", "HttpSink"]) assert.include(picture, kind)
      assert.notInclude(picture, "secret")
      yield* close
    })
  )
})

describe("metrics of endpoints", () => {
  it.effect("have distribution's names under its layer", () =>
    Effect.gen(function* () {
      const { close } = yield* opened((n) => (n === 1 ? 503 : n === 2 ? "no answer" : n === 3 ? 299 : "hang"), {
        timeout: "1 hour",
        threshold: 100
      }).pipe(
        Effect.tap(({ endpoint }) => EventSink.writeAll(endpoint, [order(1), order(2)])),
        Effect.provide(EndpointMetrics.layerDistribution)
      )
      yield* settle
      const text = yield* PrometheusMetrics.format()
      for (const line of [
        'events_total{endpoint="orders",type="Events"} 2',
        'events_total{endpoint="orders",type="Successes"} 1',
        'events_total{endpoint="orders",type="Failures"} 1',
        'events_total{endpoint="orders",type="Errors"} 1',
        'pending_total{endpoint="orders"} 1',
        'status_total{endpoint="orders",code="503 Service Unavailable"} 1',
        'status_total{endpoint="orders",code="299 "} 1'
      ]) {
        assert.include(text, `registry_notifications_${line}\n`)
      }
      assert.notMatch(text, /effect_events_endpoint_(accepted|delivered|failures|errors|pending|responses)/)
      const closed = yield* Effect.forkChild(close)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closed)
      assert.strictEqual(yield* PrometheusMetrics.format(), "")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("count accepted, pending, delivered, failures, errors and responses, and are gone after the close", () =>
    Effect.gen(function* () {
      const answers: ReadonlyArray<number | "no answer"> = [503, "no answer", 503, 202, 200]
      const { close, endpoint } = yield* opened((n) => answers[n - 1] ?? "hang", { timeout: "1 hour", threshold: 100 })
      yield* EventSink.writeAll(
        endpoint,
        [1, 2, 3, 4].map((n) => order(n))
      )
      yield* settle
      const text = yield* PrometheusMetrics.format()
      const value = (name: string, labels = "") =>
        text.match(new RegExp(`^effect_events_endpoint_${name}\\{endpoint="orders"${labels}\\} (\\d+)$`, "m"))?.[1]
      assert.deepStrictEqual(
        {
          events: value("accepted_total"),
          pending: value("pending"),
          successes: value("delivered_total"),
          failures: value("failures_total"),
          errors: value("errors_total"),
          disabled: value("disabled"),
          "503": text.match(/responses_total\{.*code="503".*\} (\d+)/)?.[1],
          "202": text.match(/responses_total\{.*code="202".*\} (\d+)/)?.[1]
        },
        {
          events: "4",
          pending: "2",
          successes: "2",
          failures: "2",
          errors: "1",
          disabled: "0",
          "503": "2",
          "202": "1"
        }
      )
      const closed = yield* Effect.forkChild(close)
      yield* TestClock.adjust("1 minute")
      yield* Fiber.join(closed)
      assert.notInclude(yield* PrometheusMetrics.format(), "endpoint")
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("count an event that cannot be sent once, also when it was tried with others", () =>
    Effect.gen(function* () {
      for (const maxEvents of [1, 100]) {
        const { close, endpoint } = yield* opened(() => 200, {
          envelope: Envelope.ndjson(Order),
          maxEvents,
          maxBytes: 200,
          onDropped: () => Effect.void
        })
        const large = "x".repeat(300)
        yield* EventSink.writeAll(
          endpoint,
          Array.from({ length: 100 }, (_, i) => order(i, i === 0 || i === 60 ? large : "one"))
        )
        yield* endpoint.flush
        const text = yield* PrometheusMetrics.format()
        const value = (name: string) =>
          text.match(new RegExp(`^effect_events_endpoint_${name}\\{.*\\} (\\d+)$`, "m"))?.[1]
        assert.deepStrictEqual(
          [value("accepted_total"), value("delivered_total"), value("errors_total")],
          ["100", "98", "2"]
        )
        yield* close
      }
    }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})

describe("an endpoint's layers", () => {
  class Orders extends Context.Service<Orders, Endpoint.Endpoint<Order>>()("test/Orders") {}

  it.effect("are made from options, under the tag's name", () =>
    Effect.gen(function* () {
      const { accepted, layer } = receiver(() => 200)
      const program = Effect.gen(function* () {
        const endpoint = yield* Orders
        yield* endpoint.write(order(1))
        yield* endpoint.flush
        return endpoint.node.name
      })
      const live = Endpoint.layer(Orders, { url, envelope: orders, onDisabled: () => Effect.void })
      assert.strictEqual(yield* Effect.provide(program, Layer.provide(live, layer)), "test/Orders")
      assert.deepStrictEqual(accepted, ["order-1"])
    })
  )

  const read = (env: Record<string, string>) =>
    Endpoint.settings
      .pipe(Config.nested("HOOK"))
      .parse(ConfigProvider.fromEnv({ env: Object.fromEntries(Object.entries(env).map(([k, v]) => [`HOOK_${k}`, v])) }))

  const secrets = ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "C2FVsBQIhrscChlQIMV+b5sSYspob7oD"]

  it.effect("read all settings from the environment", () =>
    Effect.gen(function* () {
      const settings = yield* read({
        URL: url,
        HEADERS: "\nauthorization: Bearer x, y=z\r\n\n  x-tenant:7 \n",
        SECRETS: ` ${secrets[0]},${secrets[1]} `,
        TIMEOUT: "3 seconds",
        BACKOFF: "2 seconds",
        DISABLE_AFTER: "1 day",
        MAX_RETRY_AFTER: "1 hour",
        DRAIN_TIMEOUT: "5 seconds",
        THRESHOLD: "3",
        CAPACITY: "100",
        CONCURRENCY: "4",
        MAX_EVENTS: "50",
        MAX_AGE: "200 millis",
        MAX_BYTES: "1000",
        IGNORED_MEDIA_TYPES: "application/octet-stream",
        IGNORED_ACTIONS: "pull, mount "
      })
      assert.notInclude(JSON.stringify(settings.headers), "Bearer")
      assert.strictEqual(Redacted.value(settings.headers!["authorization"]!), "Bearer x, y=z")
      assert.strictEqual(Redacted.value(settings.headers!["x-tenant"]!), "7")
      assert.strictEqual(Duration.toMinutes(settings.maxRetryAfter!), 60)
      assert.strictEqual(Duration.toMillis(settings.maxAge!), 200)
      assert.deepStrictEqual(settings.signing?.secrets.map(Redacted.value), secrets)
      assert.strictEqual(Redacted.value(settings.url), url)
      assert.deepStrictEqual(
        [settings.threshold, settings.capacity, settings.concurrency, settings.maxEvents, settings.maxBytes],
        [3, 100, 4, 50, 1000]
      )
      assert.deepStrictEqual(settings.ignored, {
        mediaTypes: ["application/octet-stream"],
        actions: ["pull", "mount"]
      })
      const ignored = Endpoint.ignoring(settings.ignored)
      const event = (action: string, mediaType?: string) => ({ action, target: mediaType ? { mediaType } : {} })
      assert.deepStrictEqual(
        [event("push"), event("pull"), event("push", "application/octet-stream"), event("push", "text/plain")].map(
          ignored
        ),
        [false, true, true, false]
      )
    })
  )

  const wrong: ReadonlyArray<readonly [string, ReadonlyArray<string>]> = [
    ["URL", ["hidden", "ftp://hidden", "http://hidden:%zz@x/", "http://"]],
    [
      "HEADERS",
      [
        "x-token=hidden",
        "x-token: hidden\nhidden",
        "content-length: hidden",
        "content-type: hidden",
        "x-a: hidden\nX-A: hidden",
        "x-a: hidden\u0100"
      ]
    ],
    ["SECRETS", ["hidden!", "whsk_hidden", `v1,${secrets[0]}`, `${secrets[0]},whsec_!hidden`, `${secrets[0]},`]],
    ["TIMEOUT", ["soon", "-1 seconds", "0 seconds"]],
    ...["BACKOFF", "MAX_RETRY_AFTER", "DISABLE_AFTER", "DRAIN_TIMEOUT", "MAX_AGE"].map(
      (key) => [key, ["soon", "-1 seconds"]] as const
    ),
    ...["THRESHOLD", "CAPACITY", "CONCURRENCY", "MAX_EVENTS", "MAX_BYTES"].map(
      (key) => [key, ["many", "1.5", "0", "-1"]] as const
    )
  ]
  it.effect.each(wrong.flatMap(([key, values]) => values.map((value) => [key, value] as const)))(
    "say that %s is wrong: %j",
    ([key, value]) =>
      Effect.gen(function* () {
        const error = yield* Effect.flip(read({ URL: url, [key]: value }))
        assert.strictEqual(error._tag, "ConfigError")
        for (const text of [String(error), JSON.stringify(error), inspect(error, { depth: 9 })]) {
          assert.include(text, key)
          assert.notInclude(text, "hidden")
        }
      })
  )

  it.effect("leave the values of a preset where nothing is set", () =>
    Effect.gen(function* () {
      const { threshold, timeout } = { ...Endpoint.distribution, ...(yield* read({ URL: url, THRESHOLD: "3" })) }
      assert.deepStrictEqual([threshold, timeout], [3, "1 second"])
    })
  )

  it.effect("need only a url, and say what is missing or wrong", () =>
    Effect.gen(function* () {
      const settings = yield* read({ URL: url })
      assert.deepStrictEqual(Object.keys(settings), ["url", "ignored"])
      assert.include(String(yield* Effect.flip(read({}))), "URL")
      assert.include(String(yield* Effect.flip(read({ URL: url, THRESHOLD: "many" }))), "THRESHOLD")
    })
  )
})
