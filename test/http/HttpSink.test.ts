import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Deferred, Duration, Effect, Exit, Fiber, Layer, Redacted } from "effect"
import { EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
import { FetchHttpClient, HttpClient, HttpClientError } from "effect/http"
import { TestClock } from "effect/testing"
import * as Classification from "../../src/http/Classification.ts"
import { EnvelopeError } from "../../src/http/Envelope.ts"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { open, quiet, settle } from "../support/virtual.ts"
import { many, type Note, note, notes, one } from "./support/envelopes.ts"
import { clients, eventually, fakeClient, ok, receiver, status } from "./support/receiver.ts"

const answering = (answer: () => Response) =>
  Effect.provideService(
    HttpClient.HttpClient,
    fakeClient(() => Effect.sync(answer))
  )

const options = { name: "hooks", url: "http://receiver.test/hook", envelope: one }

/** The error of one write to a client that answers so. */
const errorOf = (answer: () => Response, more: Partial<HttpSink.Options<Note>> = {}) =>
  HttpSink.make({ ...options, ...more }).pipe(
    Effect.flatMap((sink) => Effect.flip(sink.write(note("x")))),
    Effect.map((error) => {
      assert.instanceOf(error, HttpSink.HttpSinkError)
      return error as HttpSink.HttpSinkError
    }),
    answering(answer)
  )

/** Undici waits for a turn of the event loop before it uses a connection again: a write that is faster opens a second. */
const reused = 2

describe.each(clients)("over %s", (_, client) => {
  it.live("posts an event with the envelope's headers and its own, and uses its connections again", () =>
    Effect.gen(function* () {
      const server = yield* receiver(ok)
      const sink = yield* HttpSink.make({
        url: server.url,
        envelope: {
          ...one,
          encode: (event) => Effect.map(one.encode(event), ({ body }) => ({ body, headers: { "x-event": event.id } }))
        },
        headers: { "X-Static": "s", "x-event": "overridden" }
      })
      for (let i = 0; i < 100; i++) yield* sink.write(note(`grüße ${i}`, `id-${i}`))
      assert.isAtMost(server.connections(), reused)
      assert.deepStrictEqual(
        server.requests.map(({ body }) => body),
        Array.from({ length: 100 }, (_, i) => `grüße ${i}`)
      )
      const last = server.requests[99]!
      assert.strictEqual(last.method, "POST")
      assert.strictEqual(last.path, "/hook")
      assert.strictEqual(last.headers["content-type"], "text/plain; charset=utf-8")
      assert.strictEqual(last.headers["x-static"], "s")
      assert.strictEqual(last.headers["x-event"], "id-99")
      assert.strictEqual(sink.node.health(0).counts.delivered, 100)
    }).pipe(Effect.provide(client))
  )

  it.live.each([
    ["of no length", ""],
    ["in chunks", "chunked"],
    ["of 64 KiB", "x".repeat(65_536)],
    ["of 64 KiB in chunks", "chunked".padEnd(65_536, "x")]
  ] as const)("uses a connection again after a body %s", ([, body]) =>
    Effect.gen(function* () {
      const server = yield* receiver((response) => {
        if (!body.startsWith("chunked")) return status(200, body)(response, server.requests[0]!, 1)
        response.writeHead(200)
        response.write(body)
        response.end()
      })
      const sink = yield* HttpSink.make({ ...options, url: server.url })
      for (let i = 0; i < 10; i++) yield* sink.write(note("x"))
      assert.isAtMost(server.connections(), reused)
    }).pipe(Effect.provide(client))
  )

  it.live.each(["", "?", "?a=1&b=%2B&a=2", "?a=b+c", "?a=b%20c", "?token", "?a=&b", "?%zz=~'*"])(
    "sends the query as it is written: %j",
    (query) =>
      Effect.gen(function* () {
        const server = yield* receiver(ok)
        const sink = yield* HttpSink.make({ ...options, url: server.url + query + "#fragment" })
        yield* sink.write(note("x"))
        assert.strictEqual(
          server.requests[0]!.path,
          new URL(`http://x/hook${query}`).href.slice("http://x".length).replace(/\?$/, "")
        )
      }).pipe(Effect.provide(client))
  )

  it.live("follows no redirect: a 3xx is an answer that the classification judges", () =>
    Effect.gen(function* () {
      const elsewhere = yield* receiver(ok)
      for (const code of [301, 302, 303, 307, 308]) {
        const server = yield* receiver(status(code, "", { location: elsewhere.url }))
        const strict = yield* HttpSink.make({ ...options, url: server.url })
        const error = yield* Effect.flip(strict.write(note("x")))
        assert.strictEqual(error._tag === "HttpSinkError" && error.reason.message, `status ${code}`)
        const lenient = yield* HttpSink.make({
          ...options,
          url: server.url,
          classification: Classification.distribution
        })
        yield* lenient.write(note("x"))
        assert.strictEqual(server.requests.length, 2)
      }
      assert.strictEqual(elsewhere.requests.length, 0)
    }).pipe(Effect.provide(client))
  )

  it.live("leaves no connection behind when the classification throws", () =>
    Effect.gen(function* () {
      const server = yield* receiver(status(500, "x".repeat(200_000)))
      const bug = () => {
        throw new Error("a bug")
      }
      const sink = yield* HttpSink.make({ ...options, url: server.url, classification: bug })
      for (let i = 0; i < 5; i++) assert.include(String(yield* Effect.exit(sink.write(note("x")))), "a bug")
      assert.strictEqual(yield* eventually(server.open, (open) => open === 0), 0)
    }).pipe(Effect.provide(client))
  )
})

describe("fetch", () => {
  const seen: Array<globalThis.RequestInit | undefined> = []
  const fetch: typeof globalThis.fetch = async (_, init) => {
    seen.push(init)
    return new Response()
  }
  const Fetch = Layer.succeed(FetchHttpClient.Fetch)(fetch)
  const given = (init: globalThis.RequestInit) => Layer.succeed(FetchHttpClient.RequestInit)(init)

  it.effect("keeps what the client was made with, and what a writer gives, but follows no redirect", () =>
    Effect.gen(function* () {
      const layer = FetchHttpClient.layer.pipe(
        Layer.provide([Fetch, given({ credentials: "omit", cache: "no-store", redirect: "follow" })])
      )
      const sink = yield* Effect.provide(HttpSink.make(options), layer)
      yield* sink.write(note("x"))
      yield* Effect.provide(sink.write(note("x")), given({ cache: "reload", redirect: "follow" }))
      assert.strictEqual(seen.length, 2)
      assert.deepStrictEqual(
        seen.map((init) => [init?.credentials, init?.cache, init?.redirect]),
        [
          ["omit", "no-store", "manual"],
          ["omit", "reload", "manual"]
        ]
      )
    })
  )
})

describe("an answer that is not accepted", () => {
  it.effect("is a Status with the status, the sink and the url, handled by catchReason", () =>
    Effect.gen(function* () {
      const error = yield* errorOf(() => new Response(null, { status: 503 }), {
        url: "http://user:pw@receiver.test:8080/a/b?token=t#fragment"
      })
      assert.strictEqual(error.sink, "hooks")
      assert.strictEqual(error.url, "http://receiver.test:8080/a/b")
      assert.deepStrictEqual([error.transient, error.maybeCommitted, error.retryAfter], [true, false, undefined])
      assert.strictEqual(error.message, '"hooks" could not post to http://receiver.test:8080/a/b: status 503')
      const status = yield* Effect.fail(error).pipe(
        Effect.catchReason("HttpSinkError", "Status", ({ status }) => Effect.succeed(status))
      )
      assert.strictEqual(status, 503)
    })
  )

  it.effect("is transient or permanent as the classification says, which may be one's own", () =>
    Effect.gen(function* () {
      const transient = (status: number, classification?: Classification.Classification) =>
        Effect.map(
          errorOf(() => new Response(null, { status, headers: { "x-verdict": "permanent" } }), { classification }),
          HttpSink.isTransient
        )
      assert.strictEqual(yield* transient(400), true)
      assert.strictEqual(yield* transient(410), false)
      assert.strictEqual(yield* transient(400, Classification.knative), false)
      assert.strictEqual(yield* transient(503, Classification.knative), true)
      const byHeader: Classification.Classification = ({ headers }) =>
        headers["x-verdict"] === "permanent" ? "permanent" : "accepted"
      assert.strictEqual(yield* transient(200, byHeader), false)
    })
  )

  it.effect("is judged by the classification also when the client has filtered it", () =>
    Effect.gen(function* () {
      const filtered = Effect.updateService(HttpClient.HttpClient, HttpClient.filterStatusOk)
      const sink = yield* HttpSink.make({ ...options, classification: Classification.distribution }).pipe(
        filtered,
        answering(() => new Response(null, { status: 304 }))
      )
      yield* sink.write(note("x"))
      const refusing = yield* HttpSink.make(options).pipe(
        filtered,
        answering(() => new Response(null, { status: 410 }))
      )
      const error = yield* Effect.flip(refusing.write(note("x")))
      assert.strictEqual(error._tag === "HttpSinkError" && error.reason._tag === "Status" && error.transient, false)
    })
  )

  it.effect.each([
    ["0", 0],
    ["7", 7_000],
    [" 120 ", 120_000],
    ["-5", 0],
    ["3600", 3_600_000],
    ["3601", 3_600_000],
    ["99999999999999999999999999", 3_600_000],
    ["Fri, 01 Jan 2027 00:00:30 GMT", 30_000],
    ["Friday, 01-Jan-27 00:00:30 GMT", 30_000],
    ["Fri Jan  1 00:00:30 2027", 30_000],
    ["Thu, 31 Dec 2026 23:59:59 GMT", 0],
    ["Sun, 06 Nov 1994 08:49:37 GMT", 0],
    ["Fri, 01 Jan 2100 00:00:00 GMT", 3_600_000],
    ["", undefined],
    ["soon", undefined],
    ["1.5", 2000],
    ["1e3", undefined],
    ["5, 6", 6000],
    ["Fri, 31 Feb 2027 00:00:30 GMT", undefined],
    ["2027-01-01T00:00:30Z", 30_000]
  ] as const)("has a retryAfter: %s", ([value, millis]) =>
    Effect.gen(function* () {
      yield* TestClock.setTime(Date.UTC(2027, 0, 1))
      const error = yield* errorOf(() => new Response(null, { status: 429, headers: { "retry-after": value } }))
      assert.strictEqual(error.retryAfter && Duration.toMillis(error.retryAfter), millis)
    })
  )

  it.effect("has a retryAfter up to maxRetryAfter, which a retrier waits for", () =>
    quiet(
      Effect.gen(function* () {
        let writes = 0
        const answer = () =>
          ++writes === 1 ? new Response(null, { status: 503, headers: { "retry-after": "50" } }) : new Response()
        const sink = yield* HttpSink.make({ ...options, maxRetryAfter: "40 seconds" }).pipe(
          RetryingSink.make(ExponentialBackoff.make({ base: "1 millis", factor: "1 millis" }), {
            while: HttpSink.isTransient
          }),
          answering(answer)
        )
        const write = yield* Effect.forkChild(sink.write(note("x")))
        yield* settle
        yield* TestClock.adjust("39 seconds")
        assert.strictEqual(writes, 1)
        yield* TestClock.adjust("1 seconds")
        yield* Fiber.join(write)
        assert.strictEqual(writes, 2)
      })
    )
  )

  it.effect("without a retryAfter is retried by the strategy alone; a permanent one passes through", () =>
    quiet(
      Effect.gen(function* () {
        const statuses = [500, 502, 410]
        const retrying = yield* HttpSink.make(options).pipe(
          RetryingSink.make(ExponentialBackoff.make({ base: "1 millis", factor: "1 millis" }), {
            while: HttpSink.isTransient
          }),
          answering(() => new Response(null, { status: statuses.shift()! }))
        )
        const write = yield* Effect.forkChild(Effect.flip(retrying.write(note("x"))))
        yield* settle
        yield* TestClock.adjust("1 seconds")
        const error = yield* Fiber.join(write)
        assert.strictEqual(error._tag === "HttpSinkError" && error.reason.message, "status 410")
      })
    )
  )
})

describe("an event that makes no request", () => {
  it.effect("fails with Encode, permanently, and nothing is sent", () =>
    Effect.gen(function* () {
      let sent = 0
      const sink = yield* answering(() => (sent++, new Response()))(HttpSink.make(options))
      const error = yield* Effect.flip(sink.write(note("unspeakable")))
      assert.instanceOf(error, HttpSink.HttpSinkError)
      const reason = error._tag === "HttpSinkError" ? error.reason : undefined
      assert.strictEqual(reason?._tag === "Encode" && reason.cause instanceof EnvelopeError, true)
      assert.strictEqual(error._tag === "HttpSinkError" && error.transient, false)
      assert.include(error.message, "the text is unspeakable")
      assert.strictEqual(sent, 0)
    })
  )

  it.effect.each(["bad name", "x-a:", "", "transfer-encoding", "content-length"])(
    "is an Encode when its header has a name that the client refuses: %j",
    (name) =>
      Effect.gen(function* () {
        const envelope = { ...one, encode: () => Effect.succeed({ body: new Uint8Array(), headers: { [name]: "1" } }) }
        const { reason, transient } = yield* errorOf(() => new Response(), { envelope })
        assert.deepStrictEqual([reason._tag, transient], ["Encode", false])
      })
  )

  it.effect.each(["a\nb", "a\r\nx-evil: 1", "\0", "€"])(
    "fails with Encode for a header that cannot be sent: %j",
    (value) =>
      Effect.gen(function* () {
        const envelope = {
          ...one,
          encode: () => Effect.succeed({ body: new Uint8Array(), headers: { "x-id": value } })
        }
        const sink = yield* answering(() => new Response())(HttpSink.make({ ...options, envelope }))
        const error = yield* Effect.flip(sink.write(note("x")))
        assert.strictEqual(error._tag === "HttpSinkError" && error.reason._tag, "Encode")
        assert.include(error.message, "x-id")
      })
  )

  it.effect("fails with TooLarge above maxBytes, and not at it", () =>
    Effect.gen(function* () {
      const sink = yield* answering(() => new Response())(HttpSink.make({ ...options, maxBytes: 4 }))
      yield* sink.write(note("1234"))
      const error = yield* Effect.flip(sink.write(note("12345")))
      const reason = error._tag === "HttpSinkError" ? error.reason : undefined
      assert.deepStrictEqual(reason?._tag === "TooLarge" && [reason.bytes, reason.maxBytes], [5, 4])
      assert.strictEqual(error._tag === "HttpSinkError" && error.transient, false)
    })
  )
})

describe("the construction refuses", () => {
  const made = (more: Partial<HttpSink.Options<Note>>) =>
    Effect.scoped(Effect.exit(answering(() => new Response())(HttpSink.make({ ...options, ...more }))))

  it.effect.each([
    ["", "is not absolute"],
    ["/hook", "is not absolute"],
    ["receiver.test/hook", "is not absolute"],
    ["//receiver.test/hook", "is not absolute"],
    ["http://", "is no url"],
    ["http://a b/", "is no url"],
    ["http://receiver.test:99999/", "is no url"],
    ["ftp://receiver.test/", "is not http or https"],
    ["user:secret@receiver.test", "is not http or https"],
    ["http://user:%zz@receiver.test/", "has credentials whose percent encoding is broken"],
    ["http://us%3Aer:secret@receiver.test/", "has a user name with a colon"]
  ] as const)("the url %j", ([url, problem]) =>
    Effect.gen(function* () {
      const exit = yield* made({ url })
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(error, HttpSink.InvalidUrl)
      assert.include(error.message, problem)
      assert.notInclude(error.message, "secret")
    })
  )

  it.effect.each([
    ["a name with a space", { "x y": "1" }, "x y"],
    ["an empty name", { "": "1" }, ""],
    ["a line break", { "x-a": "a\nb" }, "x-a"],
    ["a line break in what is redacted", { "x-a": Redacted.make("a\r\nb") }, "x-a"],
    ["more than one byte a character", { "x-a": "€" }, "x-a"],
    ["the envelope's content-type", { "Content-Type": "text/plain" }, "Content-Type"],
    ["the client's transfer-encoding", { "transfer-encoding": "chunked" }, "transfer-encoding"],
    ["the client's content-length", { "content-length": "1" }, "content-length"],
    ["two spellings of one name", { "X-A": "1", "x-a": "2" }, "x-a"]
  ] as const)("a header with %s", ([, headers, name]) =>
    Effect.gen(function* () {
      const exit = yield* made({ headers })
      const error = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
      assert.instanceOf(error, HttpSink.InvalidHeader)
      assert.strictEqual(error.header, name)
    })
  )

  it.effect("an authorization header beside credentials in the url", () =>
    Effect.gen(function* () {
      const exit = yield* made({ url: "http://u:p@receiver.test/", headers: { Authorization: "Bearer x" } })
      assert.instanceOf(Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined, HttpSink.InvalidHeader)
    })
  )

  it.effect.each([{ maxEvents: 0 }, { maxEvents: 1.5 }, { maxBytes: 0 }, { maxBytes: Number.NaN }])(
    "a limit that is no count: %j",
    (limit) =>
      Effect.gen(function* () {
        const exit = yield* made(limit)
        const defect = Exit.isFailure(exit) ? Cause.squash(exit.cause) : undefined
        assert.instanceOf(defect, RangeError)
        assert.include(defect.message, `HttpSink.make: ${Object.keys(limit)[0]}`)
      })
  )
})

describe("timeouts, closing and clients", () => {
  const hanging = Effect.provideService(
    HttpClient.HttpClient,
    fakeClient(() => Effect.never)
  )

  it.effect("a write fails after 5 seconds by default, maybeCommitted", () =>
    Effect.gen(function* () {
      const sink = yield* hanging(HttpSink.make(options))
      const write = yield* Effect.forkChild(Effect.flip(sink.write(note("x"))))
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(write.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const error = yield* Fiber.join(write)
      assert.instanceOf(error, HttpSink.HttpSinkError)
      const { reason, transient, maybeCommitted } = error as HttpSink.HttpSinkError
      assert.strictEqual(reason._tag === "Timeout" && Duration.toMillis(reason.after), 5000)
      assert.deepStrictEqual([transient, maybeCommitted], [true, true])
      assert.include(error.message, "no answer within 5s")
    })
  )

  it.effect("an infinite timeout never fires", () =>
    Effect.gen(function* () {
      const sink = yield* hanging(HttpSink.make({ ...options, timeout: Duration.infinity }))
      const write = yield* Effect.forkChild(sink.write(note("x")))
      yield* TestClock.adjust("100 days")
      assert.isUndefined(write.pollUnsafe())
      yield* Fiber.interrupt(write)
    })
  )

  it.effect("the close waits for a write in flight, and a write after it fails with SinkClosed", () =>
    Effect.gen(function* () {
      const gate = yield* Deferred.make<Response>()
      const { part: sink, close } = yield* open(HttpSink.make(options)).pipe(
        Effect.provideService(
          HttpClient.HttpClient,
          fakeClient(() => Deferred.await(gate))
        )
      )
      const write = yield* Effect.forkChild(sink.write(note("x")))
      yield* settle
      const closing = yield* Effect.forkChild(close)
      yield* settle
      assert.isUndefined(closing.pollUnsafe())
      yield* Deferred.succeed(gate, new Response())
      yield* Fiber.join(write)
      yield* Fiber.join(closing)
      assert.instanceOf(yield* Effect.flip(sink.write(note("x"))), EventSink.SinkClosed)
    })
  )

  it.effect("a failure of the client without a cause is a Transport, maybeCommitted", () =>
    Effect.gen(function* () {
      const client = HttpClient.make((request) =>
        Effect.fail(new HttpClientError.HttpClientError({ reason: new HttpClientError.TransportError({ request }) }))
      )
      const sink = yield* Effect.provideService(HttpSink.make(options), HttpClient.HttpClient, client)
      const error = yield* Effect.flip(sink.write(note("x")))
      const reason = error._tag === "HttpSinkError" ? error.reason : undefined
      assert.deepStrictEqual(reason?._tag === "Transport" && [reason.code, reason.maybeCommitted], [
        "TransportError",
        true
      ])
    })
  )

  it.effect("making a sink sends nothing", () =>
    Effect.gen(function* () {
      let sent = 0
      yield* answering(() => (sent++, new Response()))(HttpSink.make(options))
      assert.strictEqual(sent, 0)
    })
  )

  it.effect("onAttempt gets each attempt, with its events, status and error", () =>
    Effect.gen(function* () {
      const attempts: Array<HttpSink.Attempt> = []
      const statuses = [204, 503]
      const sink = yield* HttpSink.make({
        ...options,
        envelope: many,
        onAttempt: (attempt) => void attempts.push(attempt)
      }).pipe(answering(() => new Response(null, { status: statuses.shift()! })))
      yield* EventSink.writeAll(sink, notes("a", "b"))
      const refused = yield* Effect.flip(sink.write(note("x")))
      const unencoded = yield* Effect.flip(sink.write(note("unspeakable")))
      assert.deepStrictEqual(
        attempts.map(({ events, status }) => [events, status]),
        [
          [2, 204],
          [1, 503],
          [1, undefined]
        ]
      )
      assert.isTrue(
        attempts[0]!.error === undefined && attempts[1]!.error === refused && attempts[2]!.error === unencoded
      )
    })
  )

  it.effect("a layer gives it its name", () =>
    Effect.gen(function* () {
      class Hooks extends Context.Service<Hooks, EventSink.EventSink<Note, HttpSink.HttpSinkError>>()("app/Hooks") {}
      const { name: _, ...rest } = options
      const layer = EventSink.layer(Hooks, HttpSink.make(rest))
      const error = yield* Hooks.use((hooks) => Effect.flip(hooks.write(notes("x")[0]))).pipe(
        Effect.provide(layer),
        answering(() => new Response(null, { status: 500 }))
      )
      assert.strictEqual(error._tag === "HttpSinkError" && error.sink, "app/Hooks")
    })
  )
})
