import { assert, describe, it } from "@effect/vitest"
import { Cause, Effect, Exit, Fiber, Redacted, Tracer } from "effect"
import { ExponentialBackoff, RetryingSink } from "effect-events"
import { Headers, HttpClient } from "effect/http"
import { TestClock } from "effect/testing"
import { inspect } from "node:util"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { withLogs } from "../support/virtual.ts"
import { note, one } from "./support/envelopes.ts"
import { clients, eventually, notListening, ok, rawReceiver, receiver, status } from "./support/receiver.ts"

const secrets = ["pa55word", "hunter-token", "query-t0ken", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "fragm3nt"]
const basic = Buffer.from("sam:pa55word").toString("base64")

const timeout = 1000

/** A sink with a secret wherever one can be. */
const sinkTo = (url: string, more: Partial<Parameters<typeof HttpSink.make<ReturnType<typeof note>>>[0]> = {}) =>
  HttpSink.make({
    name: "hooks",
    url: url.replace("//", "//sam:pa55word@") + "?key=query-t0ken#fragm3nt",
    envelope: one,
    timeout,
    headers: { "X-Token": Redacted.make("hunter-token"), "x-open": "seen" },
    signing: { secrets: [Redacted.make("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")] },
    ...more
  })

const assertNoSecret = (text: string) => {
  for (const secret of [...secrets, basic]) assert.notInclude(text, secret)
}

/** Every way in which an error is made a text. */
const shown = (error: unknown): ReadonlyArray<string> => [
  String(error),
  JSON.stringify(error),
  inspect(error, { depth: Infinity, showHidden: true }),
  Cause.pretty(Cause.fail(error)),
  error instanceof Error ? `${error.message} ${error.stack}` : ""
]

/** A tracer that keeps its spans. */
const tracing = () => {
  const spans: Array<Tracer.NativeSpan> = []
  const tracer = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  return { spans, tracer: Effect.provideService(Tracer.Tracer, tracer) }
}

describe.each(clients)("over %s", (_, client) => {
  it.effect("credentials of the url, redacted headers and the query arrive", () =>
    Effect.gen(function* () {
      const server = yield* receiver(ok)
      const sink = yield* sinkTo(server.url)
      yield* sink.write(note("x"))
      const { headers, path } = server.requests[0]!
      assert.strictEqual(path, "/hook?key=query-t0ken")
      assert.strictEqual(headers.authorization, `Basic ${basic}`)
      assert.strictEqual(headers["x-token"], "hunter-token")
      assert.strictEqual(headers["x-open"], "seen")
    }).pipe(Effect.provide(client))
  )

  it.effect("no error and no log shows a secret", () =>
    withLogs((logs) =>
      Effect.gen(function* () {
        const bad = yield* receiver(status(500))
        const hanging = yield* receiver(() => {})
        const garbage = yield* rawReceiver((socket) => socket.end("garbage\r\n\r\n"))
        const urls = [bad.url, hanging.url, garbage.url, yield* notListening]
        const tags: Array<string> = []
        for (const url of urls) {
          const sink = yield* sinkTo(url)
          const write = yield* Effect.forkChild(Effect.flip(sink.write(note("x"))))
          if (url === hanging.url) {
            yield* eventually(
              () => hanging.requests.length,
              (n) => n === 1
            )
            yield* TestClock.adjust(timeout)
          }
          const error = yield* Fiber.join(write)
          tags.push(error._tag === "HttpSinkError" ? error.reason._tag : error._tag)
          shown(error).forEach(assertNoSecret)
          assertNoSecret(inspect(sink, { depth: 3 }))
          yield* Effect.logError("failed", error, Cause.fail(error))
        }
        assert.deepStrictEqual(tags, ["Status", "Timeout", "Transport", "Transport"])
        const retrying = yield* sinkTo(bad.url).pipe(
          RetryingSink.make(ExponentialBackoff.make({ base: 1, factor: 1, max: 1 }))
        )
        const write = yield* Effect.forkChild(retrying.write(note("x")))
        yield* eventually(
          () => logs.filter(({ line }) => line.includes("RetryingSink")).length,
          (n) => n > 0
        )
        yield* Fiber.interrupt(write)
        logs.forEach(({ line }) => assertNoSecret(line))
      }).pipe(Effect.provide(client))
    )
  )

  it.effect("of a redacted url errors show the origin alone", () =>
    Effect.gen(function* () {
      const bad = yield* receiver(status(500))
      const sink = yield* HttpSink.make({ url: Redacted.make(`${bad.url}/pa55word`), envelope: one })
      const error = yield* Effect.flip(sink.write(note("x")))
      shown(error).forEach(assertNoSecret)
      assert.strictEqual(error._tag === "HttpSinkError" && error.url, new URL(bad.url).origin)
      assert.strictEqual(bad.requests[0]!.path, "/hook/pa55word")
    }).pipe(Effect.provide(client))
  )

  it.effect("a write in a span carries its trace, and no secret is in a span", () =>
    Effect.gen(function* () {
      const { spans, tracer } = tracing()
      const good = yield* receiver(ok)
      const bad = yield* receiver(status(500))
      const write = (url: string) =>
        Effect.gen(function* () {
          const sink = yield* sinkTo(url)
          yield* Effect.exit(sink.write(note("x")))
        }).pipe(
          Effect.withSpan("order"),
          // Every header, as for debugging.
          Effect.provideService(HttpClient.TracerHeaderFilter, () => true),
          // A list of one's own takes the place of the default one, which has authorization.
          Effect.provideService(Headers.CurrentRedactedNames, ["x-mine"]),
          tracer
        )
      for (const url of [good.url, bad.url, yield* notListening]) yield* write(url)
      const [parent, request] = spans
      assert.strictEqual(parent!.name, "order")
      const traceparent = good.requests[0]!.headers["traceparent"]
      assert.strictEqual(traceparent, `00-${parent!.traceId}-${request!.spanId}-01`)
      assert.strictEqual(request!.attributes.get("http.request.header.x-open"), "seen")
      assert.strictEqual(request!.attributes.get("http.request.header.x-token"), "<redacted>")
      assert.strictEqual(request!.attributes.get("http.request.header.authorization"), "<redacted>")
      assert.strictEqual(request!.attributes.get("url.full"), `${good.url}?key=REDACTED`)
      assert.strictEqual(spans.length, 6)
      for (const span of spans) {
        assertNoSecret(JSON.stringify([span.name, [...span.attributes], span.events]))
        const exit = span.status._tag === "Ended" ? span.status.exit : Exit.void
        if (Exit.isFailure(exit)) {
          assertNoSecret(Cause.pretty(exit.cause))
          assertNoSecret(JSON.stringify(exit.cause))
        }
      }
    }).pipe(Effect.provide(client))
  )
})

describe("tracing", () => {
  const undici = clients[0]![1]
  const spansOf = (use: (url: string) => Effect.Effect<unknown, unknown, HttpClient.HttpClient>) =>
    Effect.gen(function* () {
      const server = yield* receiver(ok)
      yield* use(server.url)
      return server.requests.map(({ headers }) => headers["traceparent"])
    }).pipe(Effect.scoped, Effect.provide(undici))

  const write = (url: string) => Effect.scoped(Effect.flatMap(sinkTo(url), (sink) => sink.write(note("x"))))

  it.effect("nothing is traced without a tracer or a span", () =>
    Effect.gen(function* () {
      assert.deepStrictEqual(yield* spansOf(write), [undefined])
    })
  )

  it.effect("a tracer traces also what is in no span", () =>
    Effect.gen(function* () {
      const { spans, tracer } = tracing()
      const [traceparent] = yield* spansOf((url) => tracer(write(url)))
      assert.strictEqual(traceparent, `00-${spans[0]!.traceId}-${spans[0]!.spanId}-01`)
    })
  )

  it.effect("each write has the trace of its own span, and none has the sink's construction's", () =>
    Effect.gen(function* () {
      const traces = ["a".repeat(32), "b".repeat(32)]
      const got = yield* spansOf((url) =>
        Effect.gen(function* () {
          const sink = yield* Effect.withSpan(sinkTo(url), "construction")
          for (const traceId of traces) {
            const parent = Tracer.externalSpan({ traceId, spanId: "c".repeat(16), sampled: true })
            yield* Effect.withParentSpan(sink.write(note("x")), parent)
          }
          yield* sink.write(note("x"))
        }).pipe(Effect.scoped)
      )
      assert.deepStrictEqual(
        got.map((traceparent) => traceparent && String(traceparent).split("-")[1]),
        [...traces, undefined]
      )
    })
  )

  it.effect("propagation can be turned off", () =>
    Effect.gen(function* () {
      const got = yield* spansOf((url) =>
        write(url).pipe(Effect.withSpan("order"), Effect.provideService(HttpClient.TracerPropagationEnabled, false))
      )
      assert.deepStrictEqual(got, [undefined])
    })
  )
})

describe("what the construction refuses", () => {
  const bad: ReadonlyArray<Partial<HttpSink.Options<ReturnType<typeof note>>>> = [
    { url: "pa55word:hunter-token@x" },
    { url: "http://sam:pa55word%zz@x/?query-t0ken" },
    { headers: { "x-token": Redacted.make("hunter-token\n") } },
    { headers: { authorization: Redacted.make("hunter-token") } },
    { signing: { secrets: [Redacted.make("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw!")] } }
  ]
  it.effect.each(bad.map((more, i) => [i, more] as const))("shows no secret: %i", ([, more]) =>
    Effect.gen(function* () {
      const error = yield* Effect.flip(sinkTo("http://x/", more))
      shown(error).forEach(assertNoSecret)
    }).pipe(Effect.provide(clients[0]![1]))
  )
})
