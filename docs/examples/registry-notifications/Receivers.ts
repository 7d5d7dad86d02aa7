/**
 * The four receivers, each an HTTP server on a port of its own at 127.0.0.1. They know nothing of the graph: what they
 * write down, in a file each, is the other side's word, against which the example checks its own accounts.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import { Context, Effect, Layer, Random, Schedule } from "effect"
import { HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { Envelope } from "effect-events/http"
import { createServer } from "node:http"
import { Journal } from "./Journal.ts"

/** What becomes of the receivers, in the order in which they are shown. */
export const behaviour = {
  healthy: "answers every request",
  flaky: "fails 30% of the requests, half of those after it has kept the event",
  late: "listens after two seconds; its endpoint ignores application/octet-stream",
  absent: "never listens; each event has three attempts"
}
export type Name = keyof typeof behaviour
export const names = ["healthy", "flaky", "late", "absent"] as const satisfies ReadonlyArray<Name>

/** A receiver, and what it has seen. */
export interface Receiver {
  readonly name: Name
  readonly url: string
  /** The id of every event that it kept, in the order of arrival, repeated ones and those of earlier runs included. */
  readonly kept: Array<string>
  /** How many events it acknowledged in this run. */
  acknowledged: number
}

/** What a receiver does with an event. To keep one and still answer with an error is why events are repeated. */
type Verdict = "keep" | "refuse" | "keep and fail"

const app = (receiver: Receiver, verdict: Effect.Effect<Verdict>) =>
  Effect.gen(function* () {
    const journal = yield* Journal
    const request = yield* HttpServerRequest.HttpServerRequest
    const body = new Uint8Array(yield* request.arrayBuffer)
    const events = yield* Envelope.registry.decode({ headers: request.headers, body })
    const ids = events.map(({ id }) => id)
    const decided = yield* verdict
    if (decided !== "refuse") {
      // Before the answer: what it has acknowledged it must still know when it was killed.
      yield* journal.keep(receiver.name, ids)
      receiver.kept.push(...ids)
    }
    if (decided !== "keep") return HttpServerResponse.empty({ status: 503 })
    receiver.acknowledged += events.length
    return HttpServerResponse.empty({ status: 204 })
  }).pipe(Effect.catch(() => Effect.succeed(HttpServerResponse.empty({ status: 400 }))))

const always = Effect.succeed<Verdict>("keep")
const flaky = Effect.map(Random.next, (n): Verdict => (n < 0.15 ? "refuse" : n < 0.3 ? "keep and fail" : "keep"))

const listen = (port: number) => NodeHttpServer.make(createServer, { host: "127.0.0.1", port })

const receiverOf = Effect.fnUntraced(function* (name: Name, { address }: HttpServer.HttpServer["Service"]) {
  const kept = yield* Journal.use((journal) => journal.kept(name))
  const receiver: Receiver = { name, url: HttpServer.formatAddress(address), kept: [...kept], acknowledged: 0 }
  return receiver
})

/** A receiver that listens from now on, until the scope closes. */
const up = Effect.fnUntraced(function* (name: Name, verdict: Effect.Effect<Verdict>) {
  const server = yield* listen(0)
  const receiver = yield* receiverOf(name, server)
  yield* server.serve(app(receiver, verdict))
  return receiver
})

/** Receivers at free ports without servers: connections are refused. All ports are held together, so that each has its own. */
const down = Effect.scoped(
  Effect.gen(function* () {
    const [late, absent] = [yield* listen(0), yield* listen(0)]
    return [yield* receiverOf("late", late), yield* receiverOf("absent", absent)] as const
  })
)

/** Brings a receiver up that was down. */
const start = Effect.fnUntraced(function* (receiver: Receiver) {
  // Another process may have been given the port in the meantime: it will end.
  const server = yield* Effect.retry(listen(Number(new URL(receiver.url).port)), Schedule.spaced("50 millis"))
  yield* server.serve(app(receiver, always))
})

export class Receivers extends Context.Service<Receivers, Readonly<Record<Name, Receiver>>>()(
  "registry-notifications/Receivers"
) {
  /** The same seed makes the flaky receiver fail the same requests. */
  static readonly layer = (seed: number) =>
    Layer.effect(
      Receivers,
      Effect.gen(function* () {
        // First those that listen: they would be given a port that is free again.
        const healthy = yield* up("healthy", always)
        const flakyOne = yield* Random.withSeed(up("flaky", flaky), seed)
        const [late, absent] = yield* down
        yield* start(late).pipe(Effect.delay("2 seconds"), Effect.forkScoped)
        return { healthy, flaky: flakyOne, late, absent }
      })
    )
}
