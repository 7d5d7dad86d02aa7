/** What receivers do wrong. */
import type { ServerResponse } from "node:http"
import { endless, hangInBody, resetInBody, status, trickle } from "./receiver.ts"

export interface Fault {
  readonly name: string
  /** The status of what it answers the n-th time, from 0, if it gets that far. */
  readonly code?: ((n: number) => number) | undefined
  readonly answer: (response: ServerResponse, code: number, n: number) => void
  /** It does not wait for the end of the request. */
  readonly early?: true | undefined
  /** It goes away in place of an answer. */
  readonly down?: true | undefined
  /** It costs no connection. */
  readonly keeps?: true | undefined
  /** It takes its sender's whole timeout each time. */
  readonly slow?: true | undefined
  /** What its sender calls it. A status of 2xx is none, whatever follows it. */
  readonly as: "Timeout" | "Transport" | "Status"
  /** How large the events must be for it to show. */
  readonly bytes?: number | undefined
}

/** What was received, for answers that do not look at it. */
export const nothing = { headers: {}, method: "POST", path: "/", body: "", bytes: new Uint8Array() }

/** Half of the time it has taken the event all the same. */
const takenOrNot = (n: number): number => (n % 2 === 0 ? 200 : 503)

const raw =
  (...answers: ReadonlyArray<string | Buffer>) =>
  (response: ServerResponse, _: number, n: number): void =>
    void response.socket?.end(answers[n % answers.length]!)

const head = "HTTP/1.1 200 OK\r\n"

/** Sends a piece every 10 ms until the sender goes away. */
const dripping = (response: ServerResponse, first: string, piece: string) => {
  const { socket } = response
  socket?.write(first)
  const timer = setInterval(() => socket?.write(piece), 10)
  response.on("close", () => clearInterval(timer))
}

export const faults: ReadonlyArray<Fault> = [
  { name: "a refused connection", answer: () => {}, down: true, as: "Transport" },
  { name: "a reset before the headers", answer: (response) => response.socket?.resetAndDestroy(), as: "Transport" },
  { name: "a connection that ends without an answer", answer: (response) => response.socket?.end(), as: "Transport" },
  {
    name: "a reset in the middle of the request",
    answer: (response) => response.socket?.resetAndDestroy(),
    early: true,
    bytes: 256 * 1024,
    as: "Transport"
  },
  {
    name: "a reset in the middle of the body",
    code: takenOrNot,
    answer: (response, code) => resetInBody(code)(response, nothing, 1),
    as: "Status"
  },
  { name: "no headers", answer: () => {}, slow: true, as: "Timeout" },
  {
    name: "a trickle of headers",
    answer: (response) => dripping(response, `${head}x-slow: `, "."),
    slow: true,
    as: "Timeout"
  },
  {
    name: "early hints without end",
    answer: (response) => dripping(response, "", "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"),
    slow: true,
    as: "Timeout"
  },
  {
    name: "a body that stops",
    code: takenOrNot,
    answer: (response, code) => hangInBody(code)(response, nothing, 1),
    slow: true,
    as: "Status"
  },
  {
    name: "a slow trickle",
    code: takenOrNot,
    answer: (response, code) => trickle(code)(response, nothing, 1),
    slow: true,
    as: "Status"
  },
  {
    name: "an endless body",
    code: takenOrNot,
    answer: (response, code) => endless(code)(response, nothing, 1),
    as: "Status"
  },
  {
    name: "a storm of 5xx",
    code: (n) => 500 + (n % 5),
    keeps: true,
    answer: (response, code, n) => status(code, "x".repeat((n % 3) * 30_000))(response, nothing, 1),
    as: "Status"
  },
  {
    name: "garbage in place of an answer",
    answer: raw(
      "no such thing\r\n\r\n",
      Buffer.from(Array.from({ length: 4096 }, (_, i) => (i * 31) % 256)),
      "HTTP/1.1 abc OK\r\n\r\n",
      `${head}content-length: minus two\r\n\r\nok`,
      `${head}content-length: 2\r\ncontent-length: 3\r\n\r\nok`,
      `${head}x: ${"y".repeat(100_000)}\r\n\r\n`,
      "HTTP/1.1 "
    ),
    as: "Transport"
  },
  {
    name: "garbage in a body",
    code: takenOrNot,
    answer: (response, code, n) =>
      raw(
        `HTTP/1.1 ${code} X\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nok\r\n`,
        `HTTP/1.1 ${code} X\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\nok`
      )(response, code, n >> 1),
    as: "Status"
  },
  {
    name: "redirects",
    code: (n) => [301, 302, 303, 307, 308][n % 5]!,
    keeps: true,
    answer: (response, code) => status(code, "", { location: "/elsewhere" })(response, nothing, 1),
    as: "Status"
  }
]
