import { assert, describe, it } from "@effect/vitest"
import { Duration, Effect, Fiber } from "effect"
import type { EventSink } from "effect-events"
import { HttpClient, HttpClientError } from "effect/http"
import { TestClock } from "effect/testing"
import type { Socket } from "node:net"
import * as HttpSink from "../../src/http/HttpSink.ts"
import { type Note, note, one } from "./support/envelopes.ts"
import {
  clients,
  endless,
  eventually,
  hangBeforeHeaders,
  hangInBody,
  notListening,
  ok,
  rawReceiver,
  receiver,
  resetInBody,
  sockets,
  status,
  trickle
} from "./support/receiver.ts"

// Real sockets in virtual time: each fault must end in the right error, a request that hangs when its time is up and not
// before, and leave no socket behind.

const timeout = 500

/** A sink whose client says how many answers have come, as far as their headers. */
const sinkOf = (url: string) =>
  Effect.gen(function* () {
    let answers = 0
    const client = HttpClient.tap(yield* HttpClient.HttpClient, () => Effect.sync(() => void answers++))
    const sink = yield* HttpSink.make({ name: "hooks", url, envelope: one, timeout }).pipe(
      Effect.provideService(HttpClient.HttpClient, client)
    )
    return { sink, answers: () => answers }
  })

/** How a write ends. */
const endOf = (sink: EventSink.EventSink<Note, HttpSink.HttpSinkError>) =>
  Effect.match(sink.write(note("x")), { onSuccess: () => "accepted" as const, onFailure: (error) => error })

/** Writes once, without any time passing. */
const writeOnce = (url: string) => Effect.flatMap(sinkOf(url), ({ sink }) => endOf(sink))

/** Has a write's time run out, once `count` has come as far as it comes. */
const runOut = Effect.fnUntraced(function* <A>(write: Fiber.Fiber<A>, count: () => number, come: number) {
  assert.strictEqual(yield* eventually(count, (n) => n === come), come)
  yield* TestClock.adjust(timeout - 1)
  assert.isUndefined(write.pollUnsafe())
  yield* TestClock.adjust(1)
  return yield* Fiber.join(write)
})

const reasonOf = (ended: unknown): HttpSink.HttpSinkError["reason"] => {
  assert.instanceOf(ended, HttpSink.HttpSinkError)
  return ended.reason
}

describe.each(clients)("over %s", (name, client) => {
  /** Runs a test with this client, and sees that it leaves as many sockets as there were. */
  const leavingNoSocket = <A, E>(test: Effect.Effect<A, E, HttpClient.HttpClient>) =>
    Effect.gen(function* () {
      const before = sockets()
      yield* test
      assert.isAtMost(yield* eventually(sockets, (n) => n <= before), before)
    }).pipe(Effect.provide(client))

  it.effect("no server: Transport, and certainly not delivered", () =>
    leavingNoSocket(
      Effect.gen(function* () {
        const ended = yield* writeOnce(yield* notListening)
        const reason = reasonOf(ended)
        assert.deepStrictEqual(reason._tag === "Transport" && [reason.code, reason.maybeCommitted], [
          "ECONNREFUSED",
          false
        ])
        assert.deepStrictEqual(ended !== "accepted" && ended._tag === "HttpSinkError" && ended.transient, true)
      }).pipe(Effect.scoped)
    )
  )

  it.effect.each([
    ["resets the connection", (socket: Socket): void => void socket.resetAndDestroy()],
    ["closes the connection", (socket: Socket): void => void socket.end()],
    ["speaks no HTTP", (socket: Socket): void => void socket.end("200 fine, thanks\r\n\r\n")],
    ["breaks off in the headers", (socket: Socket): void => void socket.end("HTTP/1.1 200 OK\r\nx-a")]
  ] as const)("a receiver that %s: Transport, maybeCommitted", ([, talk]) =>
    leavingNoSocket(
      Effect.gen(function* () {
        const server = yield* rawReceiver(talk)
        const ended = yield* writeOnce(server.url)
        const reason = reasonOf(ended)
        assert.strictEqual(reason._tag === "Transport" && reason.maybeCommitted, true)
        assert.match(
          reason._tag === "Transport" ? reason.code : "",
          /^(ECONNRESET|UND_ERR_SOCKET|HPE_\w+|HTTPParserError)$/
        )
        assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("no answer: Timeout, and the connection is ended", () =>
    leavingNoSocket(
      Effect.gen(function* () {
        const server = yield* receiver(hangBeforeHeaders)
        const { sink } = yield* sinkOf(server.url)
        const write = yield* Effect.forkChild(endOf(sink))
        const reason = reasonOf(yield* runOut(write, () => server.requests.length, 1))
        assert.strictEqual(reason._tag === "Timeout" && Duration.toMillis(reason.after), timeout)
        assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
      }).pipe(Effect.scoped)
    )
  )

  it.effect.each([
    ["hangs", hangInBody],
    ["resets the connection", resetInBody],
    ["trickles", trickle],
    ["never ends", endless]
  ] as const)("a body that %s does not change the verdict, and its connection is ended", ([kind, answer]) =>
    leavingNoSocket(
      Effect.gen(function* () {
        for (const code of [200, 503]) {
          const server = yield* receiver(answer(code))
          const { answers, sink } = yield* sinkOf(server.url)
          const write = yield* Effect.forkChild(endOf(sink))
          const isStuck = kind === "hangs" || kind === "trickles"
          const ended = yield* isStuck ? runOut(write, answers, 1) : Fiber.join(write)
          if (code === 200) assert.strictEqual(ended, "accepted")
          else assert.strictEqual(reasonOf(ended).message, "status 503")
          assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
          // What both ends of a socket buffer comes on top of the 64 KiB that are read.
          if (kind === "never ends") assert.isAtMost(server.sent(), 16 * 1024 * 1024)
        }
      }).pipe(Effect.scoped)
    )
  )

  it.effect("a body of more than 64 KiB is dropped with its connection, however long it says it is", () =>
    leavingNoSocket(
      Effect.gen(function* () {
        const server = yield* receiver(status(200, "x".repeat(8 * 1024 * 1024)))
        const ended = yield* writeOnce(server.url)
        assert.strictEqual(ended, "accepted")
        assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("an interrupted write ends its request", () =>
    leavingNoSocket(
      Effect.gen(function* () {
        const server = yield* receiver(hangBeforeHeaders)
        const sink = yield* HttpSink.make({ url: server.url, envelope: one })
        const write = yield* Effect.forkChild(sink.write(note("x")))
        assert.strictEqual(
          yield* eventually(
            () => server.requests.length,
            (n) => n === 1
          ),
          1
        )
        yield* Fiber.interrupt(write)
        assert.strictEqual(yield* eventually(server.open, (n) => n === 0), 0)
      }).pipe(Effect.scoped)
    )
  )

  it.effect("after every fault the next write goes through", () =>
    Effect.gen(function* () {
      const faults = [resetInBody(503), hangInBody(503), trickle(503), endless(503), hangBeforeHeaders]
      const server = yield* receiver((response, received, n) =>
        (n % 2 === 1 ? faults[(n - 1) / 2]! : ok)(response, received, n)
      )
      const { answers, sink } = yield* sinkOf(server.url)
      for (const [i, fault] of faults.entries()) {
        const isStuck = i === 1 || i === 2 || fault === hangBeforeHeaders
        const count = fault === hangBeforeHeaders ? () => server.requests.length : answers
        const come = count() + 1
        const write = yield* Effect.forkChild(endOf(sink))
        reasonOf(yield* isStuck ? runOut(write, count, come) : Fiber.join(write))
        // `fetch` may have put an event on a connection that the fault is still ending.
        yield* Effect.retry(sink.write(note("x")), { times: name === "fetch" ? 1 : 0 })
      }
      assert.isAtLeast(sink.node.health(0).counts.delivered, faults.length)
    }).pipe(Effect.provide(client))
  )
})

describe("what a failed connection is called", () => {
  const chain = (...links: ReadonlyArray<object>): unknown =>
    links.reduceRight<unknown>((cause, link) => Object.assign(new Error("secret", { cause }), link), undefined)

  const reasonFor = (cause: unknown) =>
    HttpSink.make({ url: "http://receiver.test/", envelope: one }).pipe(
      Effect.flatMap((sink) => Effect.flip(sink.write(note("x")))),
      Effect.provideService(
        HttpClient.HttpClient,
        HttpClient.make((request) =>
          Effect.fail(
            new HttpClientError.HttpClientError({
              reason: new HttpClientError.TransportError({ request, cause, description: "secret" })
            })
          )
        )
      )
    )

  const circular = new Error("secret")
  circular.cause = circular

  it.effect.each([
    ["a code", chain({ code: "ECONNRESET" }), "ECONNRESET", true],
    [
      "the innermost code",
      chain({ name: "TypeError" }, { code: "UND_ERR_SOCKET" }, {}, { code: "EPIPE" }),
      "EPIPE",
      true
    ],
    ["a code of connecting", chain({}, { code: "ETIMEDOUT", syscall: "connect" }), "ETIMEDOUT", false],
    ["the same code later", chain({}, { code: "ETIMEDOUT", syscall: "read" }), "ETIMEDOUT", true],
    ["an unknown name", chain({ code: "ENOTFOUND", syscall: "getaddrinfo" }), "ENOTFOUND", false],
    ["a name service that is down", chain({ code: "EAI_AGAIN" }), "EAI_AGAIN", false],
    ["undici's timeout", chain({ code: "UND_ERR_CONNECT_TIMEOUT" }), "UND_ERR_CONNECT_TIMEOUT", false],
    ["an old certificate", chain({}, { code: "CERT_HAS_EXPIRED" }), "CERT_HAS_EXPIRED", false],
    ["a self-signed one", chain({}, { code: "DEPTH_ZERO_SELF_SIGNED_CERT" }), "DEPTH_ZERO_SELF_SIGNED_CERT", false],
    ["one of another host", chain({ code: "ERR_TLS_CERT_ALTNAME_INVALID" }), "ERR_TLS_CERT_ALTNAME_INVALID", false],
    [
      "addresses side by side",
      chain({ errors: [chain({ code: "EHOSTUNREACH", syscall: "connect" })] }),
      "EHOSTUNREACH",
      false
    ],
    ["a name where there is no code", chain({ name: "AbortError", code: 20 }), "AbortError", true],
    ["a code that is no word", chain({ name: "Odd", code: "see secret" }), "Odd", true],
    ["a plain error", chain({}), "TransportError", true],
    ["a string", "secret", "TransportError", true],
    ["a circle", circular, "TransportError", true]
  ] as const)("%s", ([, cause, code, maybeCommitted]) =>
    Effect.gen(function* () {
      const error = yield* reasonFor(cause)
      const reason = reasonOf(error)
      assert.deepStrictEqual(reason._tag === "Transport" && [reason.code, reason.maybeCommitted], [
        code,
        maybeCommitted
      ])
      assert.notInclude(error.message, "secret")
    })
  )
})
