/** A receiver on a real socket, which does whatever a test tells it to, and clients to write to it with. */
import { NodeHttpClient } from "@effect/platform-node"
import { Effect, type Layer } from "effect"
import { FetchHttpClient, HttpClient, type HttpClientRequest, HttpClientResponse } from "effect/http"
import * as GuardedHttpClient from "../../../src/http/GuardedHttpClient.ts"
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from "node:http"
import { type AddressInfo, createServer as createSocketServer, type Server, type Socket } from "node:net"

export interface Received {
  readonly method: string
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
  readonly bytes: Uint8Array
}

export type Answer = (response: ServerResponse, received: Received, n: number) => void

export interface Receiver {
  readonly url: string
  readonly port: number
  readonly requests: ReadonlyArray<Received>
  /** How many connections there were, and how many there are. */
  readonly connections: () => number
  readonly open: () => number
  /** How many bytes of answers the sockets took. */
  readonly sent: () => number
}

/** Where to listen: on a free port of 127.0.0.1 unless it says otherwise. */
export interface Place {
  readonly host?: string | undefined
  readonly port?: number | undefined
}

const listen = (server: Server, { host = "127.0.0.1", port = 0 }: Place = {}) =>
  Effect.callback<number>((resume) => {
    server.once("error", (error) => resume(Effect.die(error)))
    server.listen(port, host, () => resume(Effect.succeed((server.address() as AddressInfo).port)))
  })

/** Counts the connections of a server, and ends them with it. */
const counting = (server: Server) => {
  const sockets = new Set<Socket>()
  let connections = 0
  let sent = 0
  server.on("connection", (socket: Socket) => {
    connections++
    sockets.add(socket)
    socket.on("error", () => {})
    socket.on("close", () => {
      sent += socket.bytesWritten
      sockets.delete(socket)
    })
  })
  return {
    connections: () => connections,
    open: () => sockets.size,
    sent: () => [...sockets].reduce((sum, socket) => sum + socket.bytesWritten, sent),
    close: Effect.callback<void>((resume) => {
      for (const socket of sockets) socket.destroy()
      server.close(() => resume(Effect.void))
    })
  }
}

const read = async (request: IncomingMessage): Promise<Received> => {
  const chunks: Array<Buffer> = []
  for await (const chunk of request) chunks.push(chunk)
  const bytes = Buffer.concat(chunks)
  const { headers, method = "", url: path = "" } = request
  return { method, path, headers, bytes, body: bytes.toString("utf8") }
}

/** An HTTP server that gives the same answer to every request. */
export const receiver = Effect.fnUntraced(function* (answer: Answer, place: Place = {}) {
  const requests: Array<Received> = []
  const server = createServer((request, response) => {
    read(request).then(
      (received) => {
        requests.push(received)
        answer(response, received, requests.length)
      },
      // The client went away in the middle of its request.
      () => {}
    )
  })
  const { close, ...counts } = counting(server)
  const port = yield* listen(server, place)
  yield* Effect.addFinalizer(() => close)
  return { port, url: `http://${place.host ?? "127.0.0.1"}:${port}/hook`, requests, ...counts } satisfies Receiver
})

/** A server that speaks no HTTP: `talk` gets each connection when its first bytes come. */
export const rawReceiver = Effect.fnUntraced(function* (talk: (socket: Socket) => void) {
  const server = createSocketServer((socket) => socket.once("data", () => talk(socket)))
  const { close, ...counts } = counting(server)
  const port = yield* listen(server)
  yield* Effect.addFinalizer(() => close)
  return { port, url: `http://127.0.0.1:${port}/hook`, requests: [], ...counts } satisfies Receiver
})

/** A url of a port on which no server listens. */
export const notListening = Effect.scoped(
  Effect.map(
    receiver(() => {}),
    ({ url }) => url
  )
)

export const status =
  (code: number, body = "", headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(code, { "content-length": Buffer.byteLength(body), ...headers }).end(body)

export const ok = status(200, "ok")

export const hangBeforeHeaders: Answer = () => {}

export const hangInBody =
  (code: number): Answer =>
  (response) =>
    void response.writeHead(code, { "content-length": 1000 }).write("a little")

export const resetInBody =
  (code: number): Answer =>
  (response) => {
    response.writeHead(code, { "content-length": 1000 }).write("a little", () => {
      setTimeout(() => response.socket?.resetAndDestroy(), 20)
    })
  }

/** A byte now and then, for ever. */
export const trickle =
  (code: number): Answer =>
  (response) => {
    response.writeHead(code)
    const timer = setInterval(() => response.write("."), 10)
    response.on("close", () => clearInterval(timer))
  }

/** As fast as the socket takes it, for ever. */
export const endless =
  (code: number): Answer =>
  (response) => {
    const chunk = "x".repeat(8 * 1024)
    const more = () => {
      if (response.destroyed) return
      if (response.write(chunk)) setImmediate(more)
      else response.once("drain", more)
    }
    response.writeHead(code)
    more()
  }

export const clients: ReadonlyArray<readonly [string, Layer.Layer<HttpClient.HttpClient>]> = [
  ["undici", NodeHttpClient.layerUndici],
  ["fetch", FetchHttpClient.layer],
  ["node:http", NodeHttpClient.layerNodeHttpOptions({ keepAlive: true })],
  ["guarded undici", GuardedHttpClient.layer({ allow: ["127.0.0.0/8"] })]
]

/** A client without sockets, which answers what a test says. */
export const fakeClient = (
  answer: (request: HttpClientRequest.HttpClientRequest) => Effect.Effect<Response>
): HttpClient.HttpClient =>
  HttpClient.make((request) => Effect.map(answer(request), (response) => HttpClientResponse.fromWeb(request, response)))

/** How many sockets this process has, of servers and clients together. */
export const sockets = (): number => process.getActiveResourcesInfo().filter((name) => name === "TCPSocketWrap").length

/** Waits in real time until something holds, and answers what it is then: after half a minute in any case. */
export const eventually = <A>(look: () => A, holds: (a: A) => boolean): Effect.Effect<A> =>
  Effect.promise(async () => {
    const end = Date.now() + 30_000
    while (!holds(look()) && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5))
    return look()
  })
