/** Rate limits of Effect's `HttpClient` around the client of a sink or an endpoint. */
import { assert, describe, it } from "@effect/vitest"
import { Clock, Duration, Effect, Exit, Fiber, Layer, Metric, Redacted, Schema, Scope } from "effect"
import { HttpClient, HttpClientResponse } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { RateLimiter } from "effect/persistence"
import { TestClock } from "effect/testing"
import { EventSink } from "effect-events"
import { Endpoint, Envelope, HttpSink, WebhookSignature } from "effect-events/http"
import { quiet, settle } from "../support/virtual.ts"
import { note, one } from "./support/envelopes.ts"
import { fakeClient } from "./support/receiver.ts"

const Order = Schema.Struct({ id: Schema.String })
const order = (n: number) => ({ id: `order-${n}` })

const limiter = RateLimiter.RateLimiter.pipe(
  Effect.provide(RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory)))
)

/** So many requests in each window. */
const limited = (limit: number, window: Duration.Input, options: Partial<HttpClient.WithRateLimiter.Options> = {}) =>
  Effect.map(limiter, (limiter) => HttpClient.withRateLimiter({ limiter, key: "shop", limit, window, ...options }))

type Answer = (n: number) => Effect.Effect<Response>

/** A receiver without a network, which notes when each request comes. */
const receiver = (answer: Answer = () => Effect.succeed(new Response())) => {
  const times: Array<number> = []
  const bodies: Array<string> = []
  const client = fakeClient(({ body }) =>
    Effect.flatMap(Clock.currentTimeMillis, (now) => {
      bodies.push(body._tag === "Uint8Array" ? new TextDecoder().decode(body.body) : "")
      return answer(times.push(now))
    })
  )
  return { times, bodies, client: Effect.provideService(HttpClient.HttpClient, client) }
}

const sinkOf = (
  transformClient: HttpSink.TransformClient,
  answer?: Answer,
  options?: Partial<HttpSink.Options<{ readonly id: string; readonly text: string }>>
) => {
  const { client, times } = receiver(answer)
  const attempts: Array<HttpSink.Attempt> = []
  return Effect.map(
    HttpSink.make({
      name: "hooks",
      url: "http://receiver.test/hook",
      envelope: one,
      timeout: "1 second",
      onAttempt: (attempt) => void attempts.push(attempt),
      transformClient,
      ...options
    }).pipe(client),
    (sink) => ({ sink, times, attempts })
  )
}

const endpointOf = (
  transformClient: HttpSink.TransformClient,
  options?: Partial<Endpoint.Options<typeof Order.Type>>,
  answer?: Answer
) =>
  Effect.gen(function* () {
    const { bodies, client, times } = receiver(answer)
    const errors: Array<string> = []
    const diverted: Array<string> = []
    const scope = yield* Scope.make()
    const endpoint = yield* Endpoint.make({
      ...Endpoint.distribution,
      name: "shop",
      url: "http://receiver.test/hook",
      envelope: Envelope.json(Order),
      onAttempt: ({ error }) => void (error !== undefined && errors.push(error.reason._tag)),
      onDisabled: ({ id }) => Effect.sync(() => void diverted.push(id)),
      transformClient,
      ...options
    }).pipe(client, Scope.provide(scope))
    return { endpoint, times, bodies, errors, diverted, close: Scope.close(scope, Exit.void) }
  })

const failing = (reason: RateLimiter.RateLimiterErrorReason): RateLimiter.RateLimiter => {
  const fail = () => Effect.fail(new RateLimiter.RateLimiterError({ reason }))
  return { [RateLimiter.TypeId]: RateLimiter.TypeId, consume: fail, adaptiveConsume: fail, adaptiveFeedback: fail }
}

describe("a rate limit around the client of an endpoint", () => {
  it.effect.each(["fixed-window", "token-bucket"] as const)(
    "60 events at 12 a second take less than 5 seconds, and no wait for a permit is a timeout: %s",
    (algorithm) =>
      Effect.gen(function* () {
        const transformClient = yield* limited(12, "1 second", { algorithm })
        const { bodies, close, endpoint, errors, times } = yield* endpointOf(transformClient, { concurrency: 60 }, () =>
          Effect.delay(Effect.succeed(new Response()), "50 millis")
        )
        yield* EventSink.writeAll(
          endpoint,
          Array.from({ length: 60 }, (_, n) => order(n))
        )
        yield* TestClock.adjust("5 seconds")
        assert.strictEqual(yield* endpoint.pending, 0)
        assert.deepStrictEqual(errors, [])
        assert.strictEqual(new Set(bodies).size, 60)
        assert.strictEqual(bodies.length, 60)
        assert.isAtMost(times[59]!, 4_000)
        assert.strictEqual(times.filter((time) => time < 1000).length, algorithm === "token-bucket" ? 24 : 12)
        yield* close
      }).pipe(Effect.scoped)
  )

  it.effect("endpoints share a limit by its key", () =>
    Effect.gen(function* () {
      const transformClient = yield* limited(1, "1 second")
      const a = yield* endpointOf(transformClient, { name: "a" })
      const b = yield* endpointOf(transformClient, { name: "b" })
      for (let n = 0; n < 3; n++) {
        yield* a.endpoint.write(order(n))
        yield* b.endpoint.write(order(n))
      }
      yield* TestClock.adjust("5 seconds")
      assert.deepStrictEqual([...a.times, ...b.times].toSorted(), [0, 1000, 2000, 3000, 4000, 5000])
      yield* a.close
      yield* b.close
    }).pipe(Effect.scoped)
  )

  it.effect(
    "a close with an event that waits for its permit ends at the deadline, and no request is made after it",
    () =>
      Effect.gen(function* () {
        const dropped: Array<string> = []
        const { close, endpoint, times } = yield* endpointOf(yield* limited(1, "1 hour"), {
          drainTimeout: "2 seconds",
          onDropped: ({ reason }) => Effect.sync(() => void dropped.push(reason._tag))
        })
        yield* endpoint.write(order(1))
        yield* endpoint.write(order(2))
        yield* settle
        const closing = yield* Effect.forkChild(close)
        yield* TestClock.adjust("1999 millis")
        assert.isUndefined(closing.pollUnsafe())
        yield* TestClock.adjust("1 millis")
        yield* Fiber.join(closing)
        assert.deepStrictEqual(dropped, ["Undelivered"])
        yield* TestClock.adjust("2 hours")
        assert.deepStrictEqual(times, [0])
      }).pipe(Effect.scoped)
  )

  it.effect("an event whose permit comes after the endpoint was disabled is not sent, and counts as no request", () =>
    Effect.gen(function* () {
      const { close, diverted, endpoint, errors, times } = yield* endpointOf(yield* limited(1, "1 minute"))
      yield* endpoint.write(order(1))
      yield* endpoint.write(order(2))
      yield* settle
      yield* endpoint.disable
      yield* TestClock.adjust("1 minute")
      assert.deepStrictEqual([times, diverted, errors], [[0], ["order-2"], []])
      assert.match(yield* PrometheusMetrics.format(), /errors_total\{endpoint="shop"\} 0/)
      yield* close
    }).pipe(Effect.scoped, quiet, Effect.provideService(Metric.MetricRegistry, new Map()))
  )

  it.effect("a 429 is waited for once, whether the endpoint makes the request again or the limit does", () =>
    Effect.gen(function* () {
      const busy: Answer = (n) =>
        Effect.succeed(n === 1 ? new Response(null, { status: 429, headers: { "retry-after": "30" } }) : new Response())
      for (const { attempts, options } of [
        { options: { times: 0 }, attempts: ["Status"] },
        { options: {}, attempts: [] }
      ]) {
        const start = yield* Clock.currentTimeMillis
        const { close, endpoint, errors, times } = yield* endpointOf(
          yield* limited(12, "1 second", options),
          undefined,
          busy
        )
        yield* endpoint.write(order(1))
        yield* TestClock.adjust("30 seconds")
        yield* endpoint.flush
        assert.deepStrictEqual(times, [start, start + 30_000])
        assert.deepStrictEqual(errors, attempts)
        yield* close
      }
    }).pipe(Effect.scoped, quiet)
  )

  it.effect("a store of the limit that fails is tried again, and does not disable the endpoint", () =>
    Effect.gen(function* () {
      const { close, endpoint, errors, times } = yield* endpointOf(
        HttpClient.withRateLimiter({
          limiter: failing(new RateLimiter.RateLimitStoreError({ message: "no redis at redis://:secret@localhost" })),
          key: "shop",
          limit: 1,
          window: "1 second"
        }),
        { disableAfter: "1 minute" }
      )
      yield* endpoint.write(order(1))
      yield* TestClock.adjust("5 minutes")
      assert.deepStrictEqual([...new Set(errors)], ["RateLimited"])
      assert.isAbove(errors.length, 100)
      assert.include(yield* PrometheusMetrics.format(), `errors_total{endpoint="shop"} ${errors.length}\n`)
      assert.deepStrictEqual([(yield* endpoint.state)._tag, times], ["Enabled", []])
      yield* Effect.forkChild(close)
      yield* TestClock.adjust("20 seconds")
    }).pipe(Effect.scoped, quiet, Effect.provideService(Metric.MetricRegistry, new Map()))
  )
})

describe("a rate limit around the client of a sink", () => {
  it.effect("a request has its whole timeout from the moment that it is sent", () =>
    Effect.gen(function* () {
      const { sink, times } = yield* sinkOf(yield* limited(1, "10 seconds"), (n) =>
        n === 1 ? Effect.succeed(new Response()) : Effect.never
      )
      yield* sink.write(note("a"))
      const write = yield* Effect.forkChild(Effect.flip(sink.write(note("b"))))
      yield* TestClock.adjust("10999 millis")
      assert.isUndefined(write.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(write)
      assert.deepStrictEqual(error._tag === "HttpSinkError" && [error.reason._tag, error.maybeCommitted], [
        "Timeout",
        true
      ])
      assert.include(error.message, "no answer within 1s")
      assert.deepStrictEqual(times, [0, 10_000])
    }).pipe(Effect.scoped)
  )

  it.effect("the timeout goes up to the end of the answer, whose status is the verdict", () =>
    Effect.gen(function* () {
      const endless = () => new ReadableStream({ pull: () => new Promise(() => {}) })
      const { sink } = yield* sinkOf(yield* limited(1, "1 second"), () => Effect.succeed(new Response(endless())))
      const write = yield* Effect.forkChild(sink.write(note("a")))
      yield* TestClock.adjust("999 millis")
      assert.isUndefined(write.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      yield* Fiber.join(write)
    }).pipe(Effect.scoped)
  )

  it.effect.each([
    [new RateLimiter.RateLimitStoreError({ message: "no redis at redis://:secret@localhost" }), undefined],
    [
      new RateLimiter.RateLimitExceeded({ key: "secret", limit: 1, remaining: 0, retryAfter: Duration.seconds(7) }),
      Duration.seconds(7)
    ],
    [
      new RateLimiter.RateLimitExceeded({ key: "secret", limit: 1, remaining: 0, retryAfter: Duration.hours(7) }),
      Duration.hours(1)
    ]
  ] as const)("a limit that gives no permit is RateLimited: %s", ([reason, retryAfter]) =>
    Effect.gen(function* () {
      const { attempts, sink, times } = yield* sinkOf(
        HttpClient.withRateLimiter({ limiter: failing(reason), key: "shop", limit: 1, window: "1 second" })
      )
      const error = yield* Effect.flip(sink.write(note("a")))
      assert.instanceOf(error, HttpSink.HttpSinkError)
      const { maybeCommitted, message, transient } = error as HttpSink.HttpSinkError
      assert.deepStrictEqual([maybeCommitted, transient], [false, true])
      assert.strictEqual(
        message,
        `"hooks" could not post to http://receiver.test/hook: no permit of the rate limit (${reason._tag})`
      )
      assert.deepStrictEqual((error as HttpSink.HttpSinkError).retryAfter, retryAfter)
      assert.notInclude(JSON.stringify(error), "secret")
      assert.deepStrictEqual(times, [])
      assert.deepStrictEqual(
        attempts.map(({ error }) => error),
        [error as HttpSink.HttpSinkError]
      )
    }).pipe(Effect.scoped)
  )

  it.effect("a write that is interrupted while it waits for its permit ends at once, and nothing is sent", () =>
    Effect.gen(function* () {
      const { sink, times } = yield* sinkOf(yield* limited(1, "1 hour"))
      yield* sink.write(note("a"))
      const write = yield* Effect.forkChild(sink.write(note("b")))
      yield* settle
      yield* Fiber.interrupt(write)
      yield* TestClock.adjust("2 hours")
      assert.deepStrictEqual(times, [0])
    }).pipe(Effect.scoped)
  )

  it.effect("a request that has waited is signed as of when it is sent", () =>
    Effect.gen(function* () {
      const secret = Redacted.make("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
      const verified: Array<string> = []
      const client = HttpClient.make((request) =>
        Effect.gen(function* () {
          const body = request.body._tag === "Uint8Array" ? request.body.body : new Uint8Array()
          const { id, timestamp } = yield* WebhookSignature.verify({ headers: request.headers, body }, [
            yield* WebhookSignature.secret(secret)
          ])
          verified.push(`${id} at ${timestamp}`)
          return HttpClientResponse.fromWeb(request, new Response())
        }).pipe(Effect.orDie)
      )
      const sink = yield* HttpSink.make({
        url: "http://receiver.test/hook",
        envelope: one,
        signing: { secrets: [secret] },
        transformClient: yield* limited(1, "10 minutes")
      }).pipe(Effect.provideService(HttpClient.HttpClient, client))
      yield* sink.write(note("a", "note-a"))
      const write = yield* Effect.forkChild(sink.write(note("b", "note-b")))
      yield* TestClock.adjust("10 minutes")
      // The signature is made by Web Crypto, in real time.
      yield* TestClock.withLive(Fiber.join(write))
      assert.deepStrictEqual(verified, ["note-a at 0", "note-b at 600"])
    }).pipe(Effect.scoped)
  )

  it.effect("a client that refuses a status, inside or outside, fails as the classification says", () =>
    Effect.gen(function* () {
      const answer = () => Effect.succeed(new Response(null, { status: 418 }))
      const { sink } = yield* sinkOf(HttpClient.filterStatusOk, answer)
      const error = yield* Effect.flip(sink.write(note("a")))
      assert.include(error.message, "status 418")
      const accepting = yield* sinkOf(HttpClient.filterStatusOk, answer, { classification: () => "accepted" })
      yield* accepting.sink.write(note("a"))
    }).pipe(Effect.scoped)
  )
})
