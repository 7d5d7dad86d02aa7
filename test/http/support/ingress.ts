/** Requests to an ingress, without a socket and over one. */
import { NodeHttpServer } from "@effect/platform-node"
import { type Context, Effect, Layer } from "effect"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { createServer, type ServerOptions } from "node:http"
import { connect, type Socket } from "node:net"
import type * as EventIngress from "../../../src/http/EventIngress.ts"

export interface Asked {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  readonly text: string
  /** Of a problem document. */
  readonly detail: string | undefined
}

const detailOf = (text: string): string | undefined => (text.startsWith("{") ? JSON.parse(text).detail : undefined)

export interface Request {
  readonly method?: string
  readonly headers?: Record<string, string>
  readonly body?: string | Uint8Array | ReadableStream<Uint8Array>
}

/** What makes answers to requests, with no socket between. */
export const asking =
  (handle: Effect.Success<ReturnType<typeof EventIngress.make>>) =>
  ({ method = "POST", headers = {}, body }: Request): Effect.Effect<Asked> => {
    // What a body may be is typed for the DOM; Node takes all of these.
    const init = { method, headers, ...(body === undefined ? {} : { body: body as string, duplex: "half" as const }) }
    return handle.pipe(
      Effect.provideService(
        HttpServerRequest.HttpServerRequest,
        HttpServerRequest.fromWeb(new globalThis.Request("http://receiver.test/events", init))
      ),
      Effect.flatMap((response) =>
        Effect.promise(async () => {
          const { headers, status } = response
          const text = await HttpServerResponse.toWeb(response).text()
          return { status, headers: Object.fromEntries(Object.entries(headers)), text, detail: detailOf(text) }
        })
      )
    )
  }

/** A server on loopback, until the scope closes. */
export const serving = Effect.fnUntraced(function* <E, R>(
  app: Layer.Layer<never, E, R | HttpRouter.HttpRouter>,
  options: ServerOptions = {}
) {
  const context: Context.Context<HttpServer.HttpServer> = yield* Layer.build(
    HttpRouter.serve(app, { disableLogger: true, disableListenLog: true }).pipe(
      Layer.provideMerge(
        // Tests close their own connections; what a failing one leaves is not waited for.
        NodeHttpServer.layerServer(() => createServer(options), {
          port: 0,
          host: "127.0.0.1",
          gracefulShutdownTimeout: 5000
        })
      )
    )
  )
  const { address } = yield* Effect.provide(HttpServer.HttpServer, context)
  const port = "port" in address ? address.port : 0
  return { port, url: `http://127.0.0.1:${port}` }
})

export const statusesIn = (text: string): ReadonlyArray<number> =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status))

/** A connection that sends exactly the bytes given. */
export class Client {
  /** All that came back. */
  text = ""
  /** Whether the server ended it. */
  closed = false
  private readonly socket: Socket
  private changed: () => void = () => {}

  constructor(port: number) {
    this.socket = connect(port, "127.0.0.1")
    this.socket.setEncoding("latin1")
    this.socket.on("data", (data: string) => {
      this.text += data
      this.changed()
    })
    const end = (): void => {
      this.closed = true
      this.changed()
    }
    this.socket.on("end", end)
    this.socket.on("close", end)
    // A reset: the close comes after it.
    this.socket.on("error", () => {})
  }

  /** The statuses of the final answers so far. */
  get statuses(): ReadonlyArray<number> {
    return statusesIn(this.text).filter((status) => status >= 200)
  }

  get sent(): number {
    return this.socket.bytesWritten
  }

  send(...pieces: ReadonlyArray<string | Uint8Array>): void {
    for (const piece of pieces) this.socket.write(piece)
  }

  /** Ends this side, which goes on hearing the other. */
  end(): void {
    this.socket.end()
  }

  destroy(): void {
    this.socket.destroy()
  }

  /** Waits until so many final answers have come, or the server ended it; at most for `timeout` milliseconds. */
  answers(n: number, timeout = 30_000): Promise<boolean> {
    return this.wait(() => this.closed || this.statuses.length >= n, timeout)
  }

  wait(holds: () => boolean, timeout = 30_000): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (came: boolean): void => {
        clearTimeout(timer)
        this.changed = () => {}
        resolve(came)
      }
      const timer = setTimeout(() => done(holds()), timeout)
      this.changed = () => holds() && done(true)
      this.changed()
    })
  }
}

/** A request as bytes. */
export const http = (
  headers: Readonly<Record<string, string>>,
  body = "",
  { method = "POST", path = "/events" }: { method?: string; path?: string } = {}
): string =>
  [`${method} ${path} HTTP/1.1`, "host: x", ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`)]
    .map((line) => `${line}\r\n`)
    .join("") + `\r\n${body}`
