/**
 * Answers that a client handles below the sink: interim ones that no request asked for (RFC 9110, section 15.2), and 421
 * (section 15.5.20). The guide has the table; a client that changes makes a test fail here.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Socket } from "node:net"
import { HttpSink } from "effect-events/http"
import { note, one } from "../../http/support/envelopes.ts"
import { clients, rawReceiver } from "../../http/support/receiver.ts"

const ok = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
const interim = (status: string) => `HTTP/1.1 ${status}\r\n\r\n`

/** Writes two events, one after the other, to a receiver that answers each request so, and answers how they ended. */
const written = (answer: (socket: Socket) => void) =>
  Effect.gen(function* () {
    let requests = 0
    const server = yield* rawReceiver((socket) => {
      // The first request has come whole by then, since it is small, and so does each later one.
      const answered = () => {
        requests++
        answer(socket)
      }
      answered()
      socket.on("data", answered)
    })
    const sink = yield* HttpSink.make({ url: server.url, envelope: one })
    const ends: Array<string> = []
    for (const text of ["a", "b"]) {
      const end = yield* Effect.match(sink.write(note(text)), {
        onSuccess: () => "accepted",
        onFailure: (error) => {
          assert.instanceOf(error, HttpSink.HttpSinkError)
          const { maybeCommitted, reason } = error as HttpSink.HttpSinkError
          return `${reason.message}${maybeCommitted ? ", maybe committed" : ""}`
        }
      })
      ends.push(end)
    }
    return { ends, requests }
  })

const twice = (end: string) => ({ ends: [end, end], requests: 2 })

describe.each(clients)("over %s", (name, client) => {
  const isUndici = name !== "node:http"

  it.live.each([
    ["in one piece", (socket: Socket): void => void socket.write(interim("100 Continue") + ok)],
    ["twice", (socket: Socket): void => void socket.write(interim("100 Continue") + interim("100 Continue") + ok)],
    ["with a header", (socket: Socket): void => void socket.write(`HTTP/1.1 100 Continue\r\nx-a: b\r\n\r\n${ok}`)],
    [
      "before a pause",
      (socket: Socket): void => {
        socket.write(interim("100 Continue"), () => setTimeout(() => socket.write(ok), 10))
      }
    ]
  ] as const)("a 100 that no request asked for, %s: only node:http takes the answer behind it", ([, answer]) =>
    Effect.gen(function* () {
      const end = isUndici ? "no answer (UND_ERR_SOCKET), maybe committed" : "accepted"
      assert.deepStrictEqual(yield* written(answer), twice(end))
    }).pipe(Effect.scoped, Effect.provide(client))
  )

  it.live.each(["102 Processing", "103 Early Hints", "104 Upload Resumption Supported"])(
    "an interim answer that is passed over: %s",
    (status) =>
      Effect.gen(function* () {
        const answers = written((socket) => void socket.write(interim(status) + ok))
        assert.deepStrictEqual(yield* answers, twice("accepted"))
      }).pipe(Effect.scoped, Effect.provide(client))
  )

  it.live("a switch of protocols that no request asked for is never accepted", () =>
    Effect.gen(function* () {
      const { ends } = yield* written((socket) => void socket.write(interim("101 Switching Protocols") + ok))
      const end = isUndici ? "no answer (ERR_ASSERTION), maybe committed" : "status 101"
      assert.deepStrictEqual(ends, [end, end])
    }).pipe(Effect.scoped, Effect.provide(client))
  )

  it.live("a 421 is an answer like others, but fetch makes the request twice", () =>
    Effect.gen(function* () {
      const misdirected = yield* written((socket) => void socket.write(`HTTP/1.1 421 No\r\ncontent-length: 0\r\n\r\n`))
      assert.deepStrictEqual(misdirected, { ...twice("status 421"), requests: name === "fetch" ? 4 : 2 })
    }).pipe(Effect.scoped, Effect.provide(client))
  )
})
