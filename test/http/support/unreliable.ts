/** A receiver on a real socket that misbehaves as a script says, can go away and come back, and keeps its own books. */
import { Effect } from "effect"
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http"
import type { AddressInfo, Socket } from "node:net"
import type { Fault } from "./faults.ts"

/** What to do with the n-th request, from 1: nothing unusual, a fault, or to go away. */
export type Script = (n: number) => Fault | "down" | undefined

export interface Unreliable {
  readonly url: string
  /** The bodies that arrived whole, in order, whatever was answered. */
  readonly seen: ReadonlyArray<string>
  /** When each of them arrived, in milliseconds. */
  readonly arrived: ReadonlyArray<number>
  /** The bodies that were answered with a 2xx: of those alone the receiver takes charge. */
  readonly taken: ReadonlyArray<string>
  /** The bodies of requests that were met with a fault, and its status if it has one. */
  readonly hit: ReadonlyArray<{ readonly body: string; readonly code: number | undefined }>
  /** Requests for anything but what was asked to be posted to. */
  readonly stray: ReadonlyArray<string>
  /** How many connections there are, and how many there were. */
  readonly open: () => number
  readonly connections: () => number
  /** How many requests were under way at once, at most. */
  readonly peak: () => number
  /** Ends all connections at once and listens no more. */
  readonly down: () => void
  readonly isDown: () => boolean
  /** Listens again, on the same port. */
  readonly up: Effect.Effect<void>
  /** Ends the connections over which no request is under way, those that never had one included. */
  readonly endIdle: () => void
}

const bodyOf = async (request: IncomingMessage): Promise<string> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk)
  return Buffer.concat(chunks).toString("utf8")
}

const isTaken = (code: number | undefined) => code !== undefined && code >= 200 && code < 300

/** A minute: a connection that ends earlier is not ended by the receiver. */
const aMinute = 60_000

export const unreliable = Effect.fnUntraced(function* (script: Script, keepAliveTimeout = aMinute) {
  const seen: Array<string> = []
  const taken: Array<string> = []
  const arrived: Array<number> = []
  const hit: Array<{ readonly body: string; readonly code: number | undefined }> = []
  const stray: Array<string> = []
  /** How many requests are under way over each connection. */
  const sockets = new Map<Socket, number>()
  let connections = 0
  let requests = 0
  let underWay = 0
  let peak = 0
  let port = 0

  const answer = (fault: Fault | undefined, response: ServerResponse, body: string) => {
    seen.push(body)
    arrived.push(performance.now())
    if (fault === undefined) {
      taken.push(body)
      response.writeHead(200, { "content-length": 2 }).end("ok")
      return
    }
    const code = fault.code?.(hit.length)
    hit.push({ body, code })
    if (isTaken(code)) taken.push(body)
    fault.answer(response, code ?? 0, hit.length)
  }

  const handle = (request: IncomingMessage, response: ServerResponse) => {
    const { socket } = request
    const begun = (n: number) => {
      underWay += n
      if (sockets.has(socket)) sockets.set(socket, sockets.get(socket)! + n)
    }
    begun(1)
    peak = Math.max(peak, underWay)
    response.on("close", () => begun(-1))
    if (request.url !== "/hook" || request.method !== "POST") stray.push(`${request.method} ${request.url}`)
    const fault = script(++requests)
    if (fault === "down") return down()
    if (fault?.early === true) {
      hit.push({ body: "", code: undefined })
      fault.answer(response, 0, hit.length)
      return
    }
    bodyOf(request).then(
      (body) => answer(fault, response, body),
      // The sender went away in the middle of its request.
      () => {}
    )
  }

  let server: Server | undefined
  const down = () => {
    server?.close()
    server = undefined
    for (const socket of sockets.keys()) socket.resetAndDestroy()
  }
  // A server of its own each time: one that has been closed once ends its connections after each answer.
  const up = Effect.callback<void>((resume) => {
    const next = createServer({ keepAliveTimeout }, handle)
    next.on("connection", (socket: Socket) => {
      connections++
      sockets.set(socket, 0)
      socket.on("error", () => {})
      socket.on("close", () => sockets.delete(socket))
    })
    const listen = () => next.listen(port, "127.0.0.1")
    // An outgoing connection may have the port for a moment.
    next.on("error", () => setTimeout(listen, 5))
    next.once("listening", () => {
      port = (next.address() as AddressInfo).port
      server = next
      resume(Effect.void)
    })
    listen()
  })
  yield* up
  yield* Effect.addFinalizer(() =>
    Effect.callback<void>((resume) => {
      for (const socket of sockets.keys()) socket.destroy()
      if (server === undefined) resume(Effect.void)
      else server.close(() => resume(Effect.void))
    })
  )
  return {
    url: `http://127.0.0.1:${port}/hook`,
    seen,
    taken,
    arrived,
    hit,
    stray,
    open: () => sockets.size,
    connections: () => connections,
    peak: () => peak,
    down,
    isDown: () => server === undefined,
    up,
    endIdle: () => sockets.forEach((requests, socket) => void (requests === 0 && socket.end()))
  } satisfies Unreliable
})
