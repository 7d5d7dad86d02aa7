import { assert, describe, it } from "@effect/vitest"
import { Data, Effect, Fiber, Redacted, Schema } from "effect"
import { TestClock } from "effect/testing"
import { Webhook } from "standardwebhooks"
import { EventSink } from "effect-events"
import * as TestSink from "effect-events/testing/TestSink"
import * as Envelope from "../../src/http/Envelope.ts"
import * as EventIngress from "../../src/http/EventIngress.ts"
import type { Log } from "../support/virtual.ts"
import { open, quiet, withLogs } from "../support/virtual.ts"
import { until } from "./support/delivery.ts"
import { asking, type Request } from "./support/ingress.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
type Order = typeof Order.Type
const envelopes = [Envelope.json(Order, { id: ({ id }) => id })] as const
const order = (id: string, total = 1): Order => ({ id, total })

const json = (body: unknown, headers: Record<string, string> = {}): Request => ({
  headers: { "content-type": "application/json", ...headers },
  body: typeof body === "string" ? body : JSON.stringify(body)
})
const bad = json({ id: "a", total: "hunter2" })
const wrong = { status: 400, detail: 'Expected number at ["total"]' }

class Full extends Data.TaggedError("Full")<{ readonly secret: string }> {}

interface Refused {
  readonly body: string
  readonly type: string | undefined
  readonly problem: EventIngress.Problem
}

/** An ingress that keeps what it refuses, and is answered as `reply` says. */
const ingress = <E = never>(
  sink: EventSink.EventSink<Order, E>,
  options: Partial<EventIngress.Options<Order, E>> = {},
  reply: Effect.Effect<EventIngress.Reply | undefined, unknown> = Effect.succeed({ status: 202 })
) => {
  const answers: Array<EventIngress.Answer> = []
  const kept: Array<Refused> = []
  return Effect.map(
    EventIngress.make<Order, E>(sink, {
      envelopes,
      onAnswer: (answer) => void answers.push(answer),
      onRefused: ({ body, headers }, problem) =>
        Effect.suspend(() => {
          kept.push({ body: new TextDecoder().decode(body), type: headers["content-type"], problem })
          return reply
        }),
      ...options
    }),
    (handle) => ({ ask: asking(handle), answers, kept })
  )
}

const eventually = (holds: () => boolean) =>
  Effect.map(until(holds, 4000), (came) => assert.isTrue(came, `never held: ${holds}`))
const messages = (logs: ReadonlyArray<Log>) => logs.map(({ level, line }) => `${level} ${JSON.parse(line).message}`)
const clean = (logs: ReadonlyArray<Log>) => assert.notInclude(logs.map(({ line }) => line).join(), "hunter2")

const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
const verify = { secrets: [Redacted.make(secret)] } as const
const signed = (request: Request): Request => ({
  ...request,
  headers: {
    ...request.headers,
    "webhook-id": "m",
    "webhook-timestamp": "0",
    "webhook-signature": new Webhook(secret).sign("m", new Date(0), String(request.body))
  }
})

describe("onRefused", () => {
  it.effect("gets a body that does not decode as exact bytes, and its reply is the answer", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const { answers, ask, kept } = yield* ingress(sink)
        const { headers, status, text } = yield* ask(bad)
        assert.deepStrictEqual([status, text, headers["content-length"]], [202, "", "0"])
        assert.deepStrictEqual(kept, [{ body: String(bad.body), type: "application/json", problem: wrong }])
        assert.strictEqual((yield* ask(json(order("b")))).status, 202)
        assert.deepStrictEqual(sink.received, [order("b")])
        assert.deepStrictEqual(answers, [
          { status: 202, events: 0, duplicates: 0, problem: wrong },
          { status: 202, events: 1, duplicates: 0 }
        ])
        // It is acknowledged, and so no refusal.
        assert.deepStrictEqual(logs, [])
      })
    )
  )

  it.effect("gets a request that no envelope accepts, and an encoded one, as exact bytes", () =>
    Effect.gen(function* () {
      const { ask, kept } = yield* ingress(yield* TestSink.recording<Order>())
      const unknown = { headers: { "content-type": "text/xml" }, body: "<order/>" }
      for (const request of [unknown, { body: "" }, json("\u001F", { "content-encoding": "gzip" })]) {
        const { headers, status } = yield* ask(request)
        assert.deepStrictEqual([status, headers["connection"]], [202, undefined])
      }
      assert.deepStrictEqual(
        kept.map(({ body, problem, type }) => [type, body, problem.status]),
        [
          ["text/xml", "<order/>", 415],
          ["text/plain;charset=UTF-8", "", 415],
          ["application/json", "\u001F", 415]
        ]
      )
    })
  )

  it.effect("gets a request that refusal answers with a status about the content", () =>
    Effect.gen(function* () {
      const sink = yield* EventSink.make((_: Order) => Effect.fail(new Full({ secret: "hunter2" })))
      for (const status of [400, 404, 409, 410, 415, 422, 499]) {
        const { ask, kept } = yield* ingress(sink, { refusal: () => ({ status, detail: "no such customer" }) })
        assert.strictEqual((yield* ask(json(order("a")))).status, 202)
        assert.deepStrictEqual(
          kept.map(({ problem }) => problem),
          [{ status, detail: "no such customer" }]
        )
      }
    })
  )

  it.effect(
    "never gets a request that was answered with 401, 403, 405, 408, 413, 429 or 5xx, nor an incomplete body",
    () =>
      quiet(
        Effect.gen(function* () {
          const seen: Array<number> = []
          const asked = <E>(
            request: Request,
            sink: EventSink.EventSink<Order, E>,
            options: Partial<EventIngress.Options<Order, E>> = {}
          ) =>
            Effect.gen(function* () {
              const { answers, ask, kept } = yield* ingress<E>(sink, options)
              const answer = yield* Effect.forkChild(ask(request))
              if (options.bodyTimeout !== undefined) {
                yield* eventually(() => pulled > 1)
                yield* TestClock.adjust(options.bodyTimeout)
              }
              const { detail, status } = yield* Fiber.join(answer)
              assert.deepStrictEqual(kept, [], `${status}: ${detail}`)
              assert.deepStrictEqual(answers[0]?.problem, { status, detail })
              seen.push(status)
            })
          const good = yield* TestSink.recording<Order>()
          let pulled = 0
          const slow = new ReadableStream<Uint8Array>({
            pull: (to) => (pulled++ === 0 ? to.enqueue(new Uint8Array(1)) : new Promise(() => {}))
          })
          const endless = () => new ReadableStream<Uint8Array>({ pull: (to) => to.enqueue(new Uint8Array(1000)) })
          const xml = { "content-type": "text/xml" }

          yield* asked(bad, good, { verify })
          yield* asked({ ...bad, headers: xml }, good, { verify })
          yield* asked({ ...signed(bad), body: '{"id":"a","total":"hunter3"}' }, good, { verify })
          yield* asked({ method: "PUT", ...bad }, good)
          yield* asked({ ...bad, body: slow }, good, { bodyTimeout: "3 seconds" })
          yield* asked({ ...bad, body: endless() }, good)
          yield* asked({ ...bad, headers: xml, body: endless() }, good)
          yield* asked(json(bad.body, { "content-length": "2000000" }), good)
          yield* asked(json(bad.body, { "content-length": "1000" }), good)
          yield* asked(json(bad.body, { "transfer-encoding": "gzip, chunked" }), good)
          const failing = yield* EventSink.make((_: Order) => Effect.fail(new Full({ secret: "hunter2" })))
          for (const status of [401, 403, 405, 408, 413, 429, 500, 503]) {
            yield* asked(json(order("a")), failing, { refusal: () => ({ status }) })
          }
          yield* asked(json(order("a")), failing)
          const { close, part } = yield* open(TestSink.recording<Order>())
          yield* close
          yield* asked(json(order("a")), part)
          yield* asked(json(order("a")), yield* EventSink.make((_: Order) => Effect.die(new Error("bug"))))
          yield* asked(bad, good, { envelopes: [{ ...envelopes[0], decode: () => Effect.die(new Error("bug")) }] })
          assert.deepStrictEqual(
            [seen.slice(0, 10), seen.slice(10)],
            [
              [401, 401, 401, 405, 408, 413, 413, 413, 400, 400],
              [401, 403, 405, 408, 413, 429, 500, 503, 503, 503, 503, 503]
            ]
          )
          assert.deepStrictEqual(good.received, [])
        })
      )
  )

  it.effect("gets signed requests only, where verify is given", () =>
    quiet(
      Effect.gen(function* () {
        const { ask, kept } = yield* ingress(yield* TestSink.recording<Order>(), { verify })
        const xml = { headers: { "content-type": "text/xml" }, body: "<order/>" }
        const statuses = yield* Effect.forEach([bad, signed(bad), xml, signed(xml)], ask)
        assert.deepStrictEqual(
          statuses.map(({ status }) => status),
          [401, 202, 401, 202]
        )
        assert.deepStrictEqual(
          kept.map(({ problem }) => problem.status),
          [400, 415]
        )
      })
    )
  )

  it.effect("may leave the refusal as it is, or give another answer", () =>
    quiet(
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const answer = (reply: EventIngress.Reply | undefined, request = bad) =>
          Effect.gen(function* () {
            const { answers, ask } = yield* ingress(sink, { retryAfter: "7 seconds" }, Effect.succeed(reply))
            const { detail, headers, status } = yield* ask(request)
            assert.strictEqual(answers[0]?.status, status)
            return [status, detail, headers["retry-after"]]
          })
        assert.deepStrictEqual(yield* answer(undefined), [400, wrong.detail, undefined])
        assert.deepStrictEqual(yield* answer({ status: 422 }), [422, wrong.detail, undefined])
        assert.deepStrictEqual(yield* answer({ status: 410, detail: "never" }), [410, "never", undefined])
        assert.deepStrictEqual(yield* answer({ status: 503, detail: "full" }), [503, "full", "7"])
        assert.deepStrictEqual(yield* answer({ status: 500, retryAfter: "1 minute" }), [500, wrong.detail, "60"])
        assert.deepStrictEqual(yield* answer({ status: 200 }), [200, undefined, undefined])
        assert.deepStrictEqual(yield* answer({ status: 204 }), [204, undefined, undefined])
        // The headers of the refusal itself are those of a refusal without `onRefused`.
        const { ask } = yield* ingress(sink, {}, Effect.undefined)
        const { headers, status } = yield* ask({ headers: { "content-type": "text/xml" }, body: "<order/>" })
        assert.deepStrictEqual([status, headers["accept"]], [415, "application/json"])
      })
    )
  )

  it.effect(
    "that fails, dies, is too slow or gives an invalid status is answered with 503, and the log has no body",
    () =>
      Effect.gen(function* () {
        const sink = yield* TestSink.recording<Order>()
        const cases: ReadonlyArray<readonly [Effect.Effect<EventIngress.Reply | undefined, unknown>, string]> = [
          [Effect.fail(new Full({ secret: "hunter2" })), "failed with Full"],
          [Effect.fail("hunter2"), "failed"],
          [Effect.die(new Error("bug")), "died"],
          [Effect.interrupt, "died"],
          [Effect.succeed({ status: 302 }), "died"],
          [Effect.succeed({ status: 202.5 }), "died"],
          [Effect.succeed({ status: 507, detail: "no room" }), "answered 507: no room"],
          [Effect.never, "exceeded writeTimeout"]
        ]
        for (const [reply, why] of cases) {
          yield* withLogs((logs) =>
            Effect.gen(function* () {
              const { answers, ask, kept } = yield* ingress(sink, { writeTimeout: "2 seconds" }, reply)
              const asked = yield* Effect.forkChild(ask(bad))
              yield* eventually(() => kept.length === 1)
              if (reply === Effect.never) yield* TestClock.adjust("2 seconds")
              const { detail, headers, status } = yield* Fiber.join(asked)
              if (why.startsWith("answered")) assert.deepStrictEqual([status, detail], [507, "no room"])
              else {
                const expected = [503, `Refused with 400 and not kept: ${wrong.detail}`, "5"]
                assert.deepStrictEqual([status, detail, headers["retry-after"]], expected)
              }
              assert.deepStrictEqual(answers, [{ status, events: 0, duplicates: 0, problem: wrong }])
              assert.deepStrictEqual(messages(logs), [
                `ERROR EventIngress "EventIngress" did not keep a refused request because onRefused ${why}`
              ])
              clean(logs)
            })
          )
        }
      })
  )

  it.effect("ends although the sender disconnected", () =>
    Effect.gen(function* () {
      let ended = false
      const gate = yield* TestSink.hanging<Order>()
      const { ask, kept } = yield* ingress(
        yield* TestSink.recording<Order>(),
        {},
        Effect.as(
          Effect.tap(gate.write(order("a")), () => Effect.sync(() => void (ended = true))),
          { status: 202 }
        )
      )
      const gone = yield* Effect.forkChild(ask(bad))
      yield* eventually(() => kept.length === 1)
      gone.interruptUnsafe()
      yield* gate.release
      yield* eventually(() => ended)
    }).pipe(quiet)
  )
})

describe("refusals in the log", () => {
  it.effect("are a line at doubling counts, with the last problem, and nothing of the body", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { ask } = yield* ingress(yield* TestSink.recording<Order>(), { onRefused: undefined, maxBytes: 100 })
        for (let n = 1; n <= 5; n++) yield* ask(bad)
        yield* ask(json(`{"id":"hunter2","total":1,"x":"${"x".repeat(100)}"}`))
        yield* ask({ method: "PUT" })
        yield* ask({ headers: { "content-type": "text/xml" }, body: "hunter2" })
        const line = (what: string) => `WARN EventIngress "EventIngress" refused ${what}`
        assert.deepStrictEqual(messages(logs), [
          line(`a request with 400: ${wrong.detail}`),
          line(`2 requests, the last with 400: ${wrong.detail}`),
          line(`4 requests, the last with 400: ${wrong.detail}`),
          line('8 requests, the last with 415: Expected application/json, got "text/xml" in header "content-type"')
        ])
        clean(logs)
      })
    )
  )

  it.effect("begin a new run after an accepted request, a minute after the last line or later", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const { ask } = yield* ingress(yield* TestSink.recording<Order>(), { onRefused: undefined })
        const counts = () => logs.splice(0).map(({ line }) => /refused (a request|\d+)/.exec(line)?.[1])
        // However many are between them, alternating requests are no line each.
        for (let n = 1; n <= 9; n++) {
          yield* ask(bad)
          yield* ask(json(order(String(n))))
        }
        assert.deepStrictEqual(counts(), ["a request", "2", "4", "8"])
        yield* TestClock.adjust("1 minute")
        for (let n = 10; n <= 16; n++) yield* ask(bad)
        assert.deepStrictEqual(counts(), ["16"])
        yield* TestClock.adjust("59999 millis")
        yield* ask(json(order("b")))
        yield* ask(bad)
        assert.deepStrictEqual(counts(), [])
        yield* TestClock.adjust("1 millis")
        yield* ask(json(order("b")))
        yield* ask(bad)
        assert.deepStrictEqual(counts(), ["a request"])
      })
    )
  )

  it.effect("include those of onRefused: a refusal left as it is, a request that is not kept, and the recovery", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        let reply: Effect.Effect<EventIngress.Reply | undefined, unknown> = Effect.undefined
        const { ask } = yield* ingress(
          yield* TestSink.recording<Order>(),
          {},
          Effect.suspend(() => reply)
        )
        yield* ask(bad)
        reply = Effect.fail(new Full({ secret: "hunter2" }))
        for (let n = 1; n <= 3; n++) yield* ask(bad)
        reply = Effect.succeed({ status: 202 })
        for (let n = 1; n <= 3; n++) yield* ask(bad)
        const line = 'EventIngress "EventIngress"'
        assert.deepStrictEqual(messages(logs), [
          `WARN ${line} refused a request with 400: ${wrong.detail}`,
          `ERROR ${line} did not keep a refused request because onRefused failed with Full`,
          `ERROR ${line} did not keep 2 refused requests, the last because onRefused failed with Full`,
          `INFO ${line} keeps refused requests again, after 3 not kept`
        ])
        clean(logs)
      })
    )
  )
})
