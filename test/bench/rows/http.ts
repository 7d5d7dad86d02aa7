/** Events over HTTP to a process that only answers: what does a request cost beside the client's own? */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import { Agent } from "@effect/platform-node/Undici"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { Endpoint, Envelope, HttpSink, UndiciClient } from "effect-events/http"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { throughput, times } from "../measure.ts"
import { atLeast, type Row, type Side, cpuAndWall } from "../model.ts"

const event = {
  id: "5f8b6f0e-52c6-4b54-9b3c-0d4f8e6f7a11",
  type: "order.placed",
  customer: "customer-1234",
  lines: Array.from({ length: 4 }, (_, i) => ({ sku: `sku-${i}`, quantity: i + 1, price: 19.99 }))
}
const Order = Schema.Struct({
  id: Schema.String,
  type: Schema.String,
  customer: Schema.String,
  lines: Schema.Array(Schema.Struct({ sku: Schema.String, quantity: Schema.Int, price: Schema.Number }))
})

/** Starts the receiver, and answers with its url. */
const receiver = Effect.acquireRelease(
  Effect.sync(() =>
    spawn(process.execPath, [fileURLToPath(new URL("../receiver.ts", import.meta.url))], {
      stdio: ["pipe", "pipe", "inherit"]
    })
  ),
  (child) => Effect.sync(() => child.kill())
).pipe(
  Effect.flatMap((child) =>
    Effect.promise(async () => {
      for await (const port of createInterface({ input: child.stdout })) return `http://127.0.0.1:${port}/events`
      throw new Error("the receiver did not start")
    })
  )
)

type Client = (connections: number) => Layer.Layer<HttpClient>

const lean: Client = (connections) => UndiciClient.layer(() => new Agent({ connections }))
const platform: Client = (connections) => NodeHttpClient.layerUndiciOptions({ connections })

const overHttp = (
  label: string,
  connections: number,
  run: (url: string, n: number) => Effect.Effect<Effect.Effect<unknown, unknown>, unknown, HttpClient | Scope.Scope>,
  client: Client = lean
): Side => ({
  label,
  run: (load) =>
    Effect.gen(function* () {
      const built = yield* Layer.buildWithScope(client(connections), yield* Scope.Scope)
      const writes = yield* run(yield* receiver, load.n).pipe(Effect.provide(built))
      return throughput(load, Effect.orDie(Effect.asVoid(writes)))
    }).pipe(Effect.orDie)
})

/** What one would write with undici alone. */
const raw = (connections: number, goals?: Side["goals"], together = 1): Side => ({
  label: together === 1 ? "undici, by hand" : `undici, by hand, ${together} a request`,
  goals,
  run: (load) =>
    Effect.map(receiver, (url) => {
      const dispatcher = new Agent({ connections })
      const { origin, pathname: path } = new URL(url)
      const headers = { "content-type": "application/json" }
      const post = async (n: number) => {
        for (let i = 0; i < n; i += together) {
          let body = JSON.stringify(event)
          for (let line = 1; line < together; line++) body += `\n${JSON.stringify(event)}`
          const answer = await dispatcher.request({ origin, path, method: "POST", headers, body })
          await answer.body.dump()
          if (answer.statusCode !== 200) throw new Error(`status ${answer.statusCode}`)
        }
      }
      const all = Effect.promise(() =>
        Promise.all(Array.from({ length: connections }, () => post(load.n / connections)))
      )
      return throughput(load, Effect.asVoid(all))
    })
})

const json = Envelope.json(Order, { id: ({ id }) => id })
const onDisabled = () => Effect.void

const endpoint = (connections: number, label = "ours", client?: Client): Side =>
  overHttp(
    label,
    connections,
    (url, n) =>
      Effect.map(
        Endpoint.make({ name: "bench", url, envelope: json, concurrency: connections, onDisabled }),
        (endpoint) =>
          Effect.andThen(
            times(n, () => endpoint.write(event)),
            endpoint.flush
          )
      ),
    client
  )

const sink = (label = "ours", client?: Client): Side =>
  overHttp(
    label,
    1,
    (url, n) => Effect.map(HttpSink.make({ url, envelope: json }), (sink) => times(n, () => sink.write(event))),
    client
  )

const overPlatform = "ours, over NodeHttpClient's undici"

/** A request takes so long that the compiler is still at work after the time that is enough for others. */
const warmUps = 1.5

export const http: ReadonlyArray<Row> = [
  {
    name: "http-endpoint-16",
    question: "One event a request at 16 connections, through `Endpoint` with `concurrency: 16`",
    n: 1600,
    metrics: cpuAndWall,
    warmUps,
    sides: [endpoint(16), raw(16, { wall: atLeast(0.6) }), endpoint(16, overPlatform, platform)]
  },
  {
    name: "http-sink-1",
    question: "One event a request at one connection, `HttpSink` alone",
    n: 400,
    metrics: cpuAndWall,
    warmUps,
    sides: [sink(), raw(1, { wall: atLeast(0.85) }), sink(overPlatform, platform)]
  },
  {
    name: "http-batches",
    question: "A hundred events a request at one connection, through `Endpoint`",
    n: 20_000,
    metrics: cpuAndWall,
    warmUps,
    sides: [
      overHttp("ours, 100 a request", 1, (url, n) =>
        Effect.map(
          Endpoint.make({ name: "bench", url, envelope: Envelope.ndjson(Order), maxEvents: 100, onDisabled }),
          (endpoint) =>
            Effect.andThen(
              times(n / 100, () =>
                EventSink.writeAll(
                  endpoint,
                  Array.from({ length: 100 }, () => event)
                )
              ),
              endpoint.flush
            )
        )
      ),
      { ...endpoint(1, "ours, one a request"), goals: { wall: atLeast(30) } },
      raw(1, undefined, 100)
    ]
  }
]
