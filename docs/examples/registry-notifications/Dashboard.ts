/**
 * The page that shows the graph while it runs, on a port of this machine. What it changes needs a token, which is made anew at
 * each start and is part of the address that is printed.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Effect, Layer } from "effect"
import * as SinkDashboard from "effect-events/dashboard/SinkDashboard"
import { HttpRouter, HttpServer } from "effect/http"
import { createHash, randomBytes, timingSafeEqual } from "node:crypto"
import { createServer } from "node:http"
import type { Notifications } from "./Notifications.ts"
import { Problem } from "./Problem.ts"

/** Port 0 means any that is free. */
export const parsePort = (port: number): Effect.Effect<number, Problem> =>
  Number.isInteger(port) && port >= 0 && port <= 65_535
    ? Effect.succeed(port)
    : Effect.fail(new Problem({ message: `--dashboard takes a port up to 65535, not ${port}` }))

const digest = (text: string) => createHash("sha256").update(text).digest()

/** Serves the page until the scope closes, and answers its address. */
export const serve = Effect.fnUntraced(function* (notifications: Notifications["Service"], port: number) {
  const token = randomBytes(16).toString("base64url")
  const expected = digest(`Bearer ${token}`)
  const page = SinkDashboard.layer({
    path: "/",
    roots: [notifications],
    title: "Registry notifications",
    content: "shown",
    authorize: ({ headers }) =>
      Effect.sync(() => timingSafeEqual(digest(headers["authorization"] ?? ""), expected) && { name: "the dashboard" })
  })
  const server = Effect.mapError(
    NodeHttpServer.make(createServer, { host: "127.0.0.1", port, gracefulShutdownTimeout: "1 second" }),
    ({ cause }) => {
      const why = cause instanceof Error ? cause.message : String(cause)
      return new Problem({ message: `the dashboard cannot listen at port ${port}: ${why}`, cause })
    }
  )
  const layer = HttpRouter.serve(page, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(Layer.effect(HttpServer.HttpServer, server))
  )
  const context = yield* Layer.build(layer)
  const { address } = yield* Effect.provideContext(HttpServer.HttpServer, context)
  return `${HttpServer.formatAddress(address)}/#token=${token}`
})
