import { NodeHttpClient } from "@effect/platform-node"
import { Agent } from "@effect/platform-node/Undici"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope, Stream, type Tracer } from "effect"
import { Cookies, HttpBody, HttpClient, type HttpClientError, HttpClientRequest, UrlParams } from "effect/http"
import type { ServerResponse } from "node:http"
import { setFlagsFromString } from "node:v8"
import { runInNewContext } from "node:vm"
import * as UndiciClient from "../../src/http/UndiciClient.ts"
import {
  type Answer,
  endless,
  eventually,
  hangBeforeHeaders,
  hangInBody,
  receiver,
  resetInBody
} from "./support/receiver.ts"

const ours = UndiciClient.layer(() => new Agent())

const body =
  (
    text: string | Uint8Array,
    headers: Readonly<Record<string, string | ReadonlyArray<string>>> = {},
    status = 200
  ): Answer =>
  (response) => {
    for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
    response.writeHead(status).end(text)
  }

const get = (answer: Answer) => Effect.flatMap(receiver(answer), ({ url }) => HttpClient.get(url))

const reasonOf = (error: HttpClientError.HttpClientError) => error.reason._tag

/** Different in every place. */
const large = new Uint8Array(3_000_000).map((_, i) => (i * 2_654_435_761) >>> 13)

const pieces = (response: ServerResponse) => {
  response.writeHead(200)
  for (let i = 0; i < large.length; i += 100_000) response.write(large.subarray(i, i + 100_000))
  response.end()
}

// What the platform's client over undici does, ours does too.
describe.each([
  ["ours", ours],
  ["the platform's", NodeHttpClient.layerUndici]
] as const)("%s", (_, client) => {
  const test = <A, E>(run: Effect.Effect<A, E, HttpClient.HttpClient | Scope.Scope>) =>
    Effect.provide(Effect.scoped(run), client)

  it.live("an answer has a status, headers, cookies and a url without its fragment", () =>
    test(
      Effect.gen(function* () {
        const { url } = yield* receiver(body("", { "set-cookie": ["a=1", "b=2; Path=/"], "x-many": ["a", "b"] }, 404))
        const response = yield* HttpClient.get(`${url}?q=a%20b#there`)
        assert.strictEqual(response.status, 404)
        assert.strictEqual(response.headers["x-many"], "a, b")
        assert.deepStrictEqual(Cookies.toRecord(response.cookies), { a: "1", b: "2" })
        assert.strictEqual(response.url, `${url}?q=a%20b`)
        assert.deepNestedInclude(JSON.parse(JSON.stringify(response)), { status: 404, "headers.x-many": "a, b" })
      })
    )
  )

  it.live("a body is text, JSON, a form, bytes or a stream, and read whole more than once", () =>
    test(
      Effect.gen(function* () {
        const json = yield* get(body('{"a":"é"}'))
        assert.strictEqual(yield* json.text, '{"a":"é"}')
        assert.deepStrictEqual(yield* json.json, { a: "é" })
        const bytes = yield* json.arrayBuffer
        assert.instanceOf(bytes, ArrayBuffer)
        assert.strictEqual(bytes.byteLength, 10)
        const params = yield* Effect.flatMap(get(body("?a=1&b=%20")), (response) => response.urlParamsBody)
        assert.strictEqual(UrlParams.toString(params), "%3Fa=1&b=+")
        const form = yield* get(body("a=1", { "content-type": "application/x-www-form-urlencoded" }))
        assert.strictEqual((yield* form.formData).get("a"), "1")
        const none = yield* get(body("", {}, 204))
        assert.deepStrictEqual([yield* none.text, yield* none.json], ["", null])
      })
    )
  )

  it.live("what is not what was asked for is a DecodeError", () =>
    test(
      Effect.gen(function* () {
        const response = yield* get(body("{"))
        assert.strictEqual(reasonOf(yield* Effect.flip(response.json)), "DecodeError")
        assert.strictEqual(reasonOf(yield* Effect.flip(response.formData)), "DecodeError")
        const broken = yield* get(resetInBody(200))
        assert.strictEqual(reasonOf(yield* Effect.flip(broken.arrayBuffer)), "DecodeError")
        const streamed = yield* get(resetInBody(200))
        assert.strictEqual(reasonOf(yield* Effect.flip(Stream.runDrain(streamed.stream))), "DecodeError")
      })
    )
  )

  it.live("a large body comes whole, at once or in pieces, also to a reader that comes late or rests", () =>
    test(
      Effect.gen(function* () {
        const collected = yield* get(pieces)
        assert.deepStrictEqual(Buffer.from(yield* collected.arrayBuffer), Buffer.from(large))
        const late = yield* get(pieces)
        yield* Effect.sleep("50 millis")
        assert.deepStrictEqual(Buffer.from(yield* late.arrayBuffer), Buffer.from(large))
        const streamed = yield* get(pieces)
        yield* Effect.sleep("50 millis")
        const chunks = yield* Stream.runCollect(
          Stream.mapEffect(streamed.stream, (chunk) => Effect.as(Effect.sleep(1), chunk))
        )
        assert.deepStrictEqual(Buffer.concat(chunks), Buffer.from(large))
      })
    )
  )

  it.live("nobody reads, and the receiver waits", () =>
    test(
      Effect.gen(function* () {
        const server = yield* receiver(endless(200))
        const response = yield* HttpClient.get(server.url)
        // Once the sockets of both ends are full, nothing more is sent at any of many looks.
        let [sent, looks] = [0, 0]
        const rests = yield* eventually(
          () => {
            looks = server.sent() === sent ? looks + 1 : 0
            sent = server.sent()
            return looks
          },
          (n) => n >= 20 && sent > 0
        )
        assert.isAtLeast(rests, 20)
        const before = server.sent()
        yield* Stream.runDrain(Stream.take(response.stream, 10_000))
        assert.isAbove(server.sent(), before)
      })
    )
  )

  it.live("requests have bytes, a stream, a form or nothing as their body", () =>
    test(
      Effect.gen(function* () {
        const server = yield* receiver(body("ok"))
        const form = new FormData()
        form.set("a", "1")
        form.set("file", new Blob(["é"]), "f.txt")
        for (const one of [
          HttpBody.text("text"),
          HttpBody.stream(Stream.make(new Uint8Array([65]), new Uint8Array([66])), "text/plain"),
          HttpBody.formData(form),
          HttpBody.empty
        ]) {
          const response = yield* HttpClient.execute(HttpClientRequest.post(server.url, { body: one }))
          assert.strictEqual(yield* response.text, "ok")
        }
        const [text, stream, multipart, empty] = server.requests
        assert.deepStrictEqual([text?.body, stream?.body, empty?.body], ["text", "AB", ""])
        assert.match(multipart?.headers["content-type"] ?? "", /^multipart\/form-data; *boundary=/)
        assert.match(multipart?.body ?? "", /name="a"\r\n\r\n1\r\n[^]*filename="f.txt"[^]*\r\n\r\né\r\n/)
      })
    )
  )

  it.live("a request that is none, or whose body breaks, is a TransportError", () =>
    test(
      Effect.gen(function* () {
        const server = yield* receiver(body("ok"))
        const bad = HttpClientRequest.get(server.url, { headers: { "x-a": "line\nbreak" } })
        assert.strictEqual(reasonOf(yield* Effect.flip(HttpClient.execute(bad))), "TransportError")
        const broken = HttpBody.stream(Stream.fail("broken"), "text/plain")
        const post = HttpClientRequest.post(server.url, { body: broken })
        assert.strictEqual(reasonOf(yield* Effect.flip(HttpClient.execute(post))), "TransportError")
      })
    )
  )

  it.live("what comes before the answer is not the answer", () =>
    test(
      Effect.gen(function* () {
        const response = yield* get((response) => {
          response.writeProcessing()
          response.writeEarlyHints({ link: "</a>; rel=preload" })
          response.writeHead(200).end("late")
        })
        assert.deepStrictEqual([response.status, yield* response.text], [200, "late"])
      })
    )
  )

  it.live.each([
    ["before the answer", hangBeforeHeaders, (url: string) => HttpClient.get(url)],
    [
      "while its body is read whole",
      hangInBody(200),
      (url: string) => Effect.flatMap(HttpClient.get(url), (response) => response.arrayBuffer)
    ],
    [
      "while its body is streamed",
      hangInBody(200),
      (url: string) => Effect.flatMap(HttpClient.get(url), (response) => Stream.runDrain(response.stream))
    ]
  ] as const)("an interruption %s ends the connection", ([, answer, run]) =>
    test(
      Effect.gen(function* () {
        const server = yield* receiver(answer)
        const fiber = yield* Effect.forkChild(run(server.url))
        const came = yield* eventually(
          () => server.requests.length,
          (n) => n === 1
        )
        assert.strictEqual(came, 1)
        yield* Effect.sleep("20 millis")
        yield* Fiber.interrupt(fiber)
        assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
      })
    )
  )

  it.live("the scope of a request ends it, also when somebody else waits for it", () =>
    test(
      Effect.gen(function* () {
        const client = HttpClient.withScope(yield* HttpClient.HttpClient)
        const hanging = yield* receiver(hangBeforeHeaders)
        const scope = yield* Scope.make()
        const fiber = yield* Effect.forkChild(Scope.provide(client.get(hanging.url), scope))
        yield* eventually(
          () => hanging.requests.length,
          (n) => n === 1
        )
        yield* Scope.close(scope, Exit.void)
        assert.isTrue(Exit.isFailure(yield* Fiber.await(fiber)))
        const half = yield* receiver(hangInBody(200))
        yield* Effect.scoped(client.get(half.url))
        assert.strictEqual(yield* eventually(half.open, (n) => n === 0), 0)
      })
    )
  )

  it.live("in a span it is traced", () =>
    test(
      Effect.gen(function* () {
        const server = yield* receiver(body("ok"))
        const span = yield* Effect.withSpan(
          Effect.tap(Effect.currentSpan, () => Effect.flatMap(HttpClient.get(server.url), (response) => response.text)),
          "here"
        )
        assert.include(server.requests[0]?.headers["traceparent"], (span as Tracer.Span).traceId)
      })
    )
  )
})

describe("a client of one's own", () => {
  it.live("a request that is interrupted while it waits for a connection is not sent", () =>
    Effect.gen(function* () {
      const gates: Array<() => void> = []
      const server = yield* receiver((response) => void gates.push(() => response.writeHead(200).end("ok")))
      const text = Effect.flatMap(HttpClient.get(server.url), (response) => response.text)
      const first = yield* Effect.forkChild(text)
      yield* eventually(
        () => gates.length,
        (n) => n === 1
      )
      const second = yield* Effect.forkChild(text)
      const third = yield* Effect.forkChild(text)
      yield* Effect.yieldNow
      yield* Fiber.interrupt(second)
      gates[0]!()
      assert.strictEqual(yield* Fiber.join(first), "ok")
      yield* eventually(
        () => gates.length,
        (n) => n === 2
      )
      gates[1]!()
      assert.strictEqual(yield* Fiber.join(third), "ok")
      assert.strictEqual(server.requests.length, 2)
    }).pipe(Effect.scoped, Effect.provide(UndiciClient.layer(() => new Agent({ connections: 1 }))))
  )

  it.live("a layer's dispatcher is destroyed with it, one that was given is not", () =>
    Effect.gen(function* () {
      const server = yield* receiver(body("ok"))
      const agent = new Agent()
      const client = UndiciClient.make(agent)
      assert.strictEqual(yield* Effect.flatMap(client.get(server.url), (response) => response.text), "ok")
      assert.isFalse(agent.destroyed)
      const scope = yield* Scope.make()
      yield* Layer.buildWithScope(
        UndiciClient.layer(() => agent),
        scope
      )
      yield* Scope.close(scope, Exit.void)
      assert.isTrue(agent.destroyed)
      assert.strictEqual(reasonOf(yield* Effect.flip(client.get(server.url))), "TransportError")
      assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
    }).pipe(Effect.scoped)
  )

  it.live("a body is read whole or in pieces, and not both", () =>
    Effect.gen(function* () {
      const whole = yield* get(body("a"))
      yield* whole.text
      assert.strictEqual(reasonOf(yield* Effect.flip(Stream.runDrain(whole.stream))), "DecodeError")
      const inPieces = yield* get(body("a"))
      yield* Stream.runDrain(inPieces.stream)
      assert.strictEqual(reasonOf(yield* Effect.flip(inPieces.text)), "DecodeError")
      const upgrade = yield* get(body("a"))
      assert.strictEqual(reasonOf(yield* Effect.flip(upgrade.upgrade)), "StatusCodeError")
    }).pipe(Effect.scoped, Effect.provide(ours))
  )
})

// Neither traced nor in a scope: the way of a sink's requests, on which nobody but the client watches over them.
describe("without a tracer and a scope", () => {
  const apart = <A, E>(run: Effect.Effect<A, E, HttpClient.HttpClient>) =>
    Effect.gen(function* () {
      const client = yield* HttpClient.HttpClient
      return yield* Effect.promise(() =>
        Effect.runPromise(
          run.pipe(
            Effect.provideService(HttpClient.HttpClient, client),
            Effect.provideService(HttpClient.TracerDisabledWhen, () => true)
          )
        )
      )
    })

  const ended = (run: (url: string) => Effect.Effect<unknown, unknown, HttpClient.HttpClient>, answer: Answer) =>
    Effect.gen(function* () {
      const server = yield* receiver(answer)
      yield* apart(
        Effect.gen(function* () {
          const fiber = yield* Effect.forkChild(run(server.url))
          yield* eventually(
            () => server.requests.length,
            (n) => n === 1
          )
          yield* Effect.sleep("20 millis")
          yield* Fiber.interrupt(fiber)
        })
      )
      assert.strictEqual(server.requests.length, 1)
      assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
    }).pipe(Effect.scoped, Effect.provide(ours))

  it.live("an interruption before the answer ends the connection", () => ended(HttpClient.get, hangBeforeHeaders))

  it.live("so does one while a body is read, and a stream that is not read to its end", () =>
    Effect.gen(function* () {
      yield* ended((url) => Effect.flatMap(HttpClient.get(url), ({ arrayBuffer }) => arrayBuffer), hangInBody(200))
      yield* ended(
        (url) => Effect.flatMap(HttpClient.get(url), ({ stream }) => Stream.runDrain(stream)),
        hangInBody(200)
      )
      yield* ended((url) => Effect.flatMap(HttpClient.get(url), ({ stream }) => Stream.runHead(stream)), endless(200))
    })
  )

  it.live("a request that belongs to a scope is ended with it", () =>
    Effect.gen(function* () {
      const server = yield* receiver(hangInBody(200))
      const response = yield* apart(
        Effect.scoped(Effect.flatMap(HttpClient.HttpClient, (client) => HttpClient.withScope(client).get(server.url)))
      )
      assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
      assert.strictEqual(reasonOf(yield* Effect.flip(response.text)), "DecodeError")
    }).pipe(Effect.scoped, Effect.provide(ours))
  )

  it.live("an answer that nobody reads is ended once it is collected", () =>
    Effect.gen(function* () {
      setFlagsFromString("--expose-gc")
      const collect = runInNewContext("gc") as () => void
      const server = yield* receiver(hangInBody(200))
      const status = yield* apart(Effect.map(HttpClient.get(server.url), ({ status }) => status))
      assert.strictEqual(status, 200)
      const open = yield* eventually(
        () => {
          collect()
          return server.open()
        },
        (n) => n === 0
      )
      assert.strictEqual(open, 0)
    }).pipe(Effect.scoped, Effect.provide(ours))
  )

  it.live("each request goes to its own url, and one that has none fails", () =>
    Effect.gen(function* () {
      const server = yield* receiver(body("ok"))
      const urls = ["/a", "/a?q=1", "/a?q=1#x", "/a", "/b"].map((path) => new URL(path, server.url).href)
      yield* apart(
        Effect.gen(function* () {
          for (const url of urls) assert.strictEqual((yield* HttpClient.get(url)).url, url.replace("#x", ""))
          yield* HttpClient.get(urls[0]!, { urlParams: { p: "2" } })
          yield* HttpClient.get(urls[0]!, { urlParams: { p: "3" } })
          assert.strictEqual(reasonOf(yield* Effect.flip(HttpClient.get("nowhere"))), "InvalidUrlError")
        })
      )
      assert.deepStrictEqual(
        server.requests.map(({ path }) => path),
        ["/a", "/a?q=1", "/a?q=1", "/a", "/b", "/a?p=2", "/a?p=3"]
      )
    }).pipe(Effect.scoped, Effect.provide(ours))
  )
})
