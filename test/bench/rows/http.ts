/** Events over HTTP to a process that only answers: what does the library cost beside the same client, used by hand? */
import * as NodeHttpClient from "@effect/platform-node/NodeHttpClient"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { FetchHttpClient, HttpBody, HttpClient, HttpClientRequest, HttpClientResponse } from "effect/http"
import * as Layer from "effect/Layer"
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"
import * as Scope from "effect/Scope"
import * as EventSink from "effect-events/EventSink"
import { Endpoint, Envelope, HttpSink } from "effect-events/http"
import { spawn } from "node:child_process"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"
import { throughput, times } from "../measure.ts"
import { atLeast, type Row, type Side, cpuAndWall } from "../model.ts"

export const event = {
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

type Client = (connections: number) => Layer.Layer<HttpClient.HttpClient>

const undici: Client = (connections) => NodeHttpClient.layerUndiciOptions({ connections })
const nodeHttp: Client = (connections) =>
  NodeHttpClient.layerNodeHttpOptions({ keepAlive: true, maxSockets: connections })
const fetch: Client = () => FetchHttpClient.layer

export const overHttp = (
  label: string,
  connections: number,
  run: (
    url: string,
    n: number
  ) => Effect.Effect<Effect.Effect<unknown, unknown>, unknown, HttpClient.HttpClient | Scope.Scope>,
  { client = undici, ...rest }: Pick<Side, "goals" | "against"> & { readonly client?: Client } = {}
): Side => ({
  ...rest,
  label,
  run: (load) =>
    Effect.gen(function* () {
      const built = yield* Layer.buildWithScope(client(connections), yield* Scope.Scope)
      const writes = yield* run(yield* receiver, load.n).pipe(Effect.provide(built))
      return throughput(load, Effect.orDie(Effect.asVoid(writes)))
    }).pipe(Effect.orDie)
})

const onDisabled = () => Effect.void
const encode = SchemaParser.encodeUnknownSync(Schema.toCodecJson(Order))
const byStringify = () => JSON.stringify(event)
const bySchema = () => JSON.stringify(encode(event))

/**
 * One request after the other on each connection, without a sink or a retry. It has what no sender can do without: the
 * content type, the answer read to its end, its status checked, and a timeout, which Effect's clients leave to Effect.
 */
const byHand = (
  label: string,
  connections: number,
  body: () => string,
  options: Pick<Side, "goals" | "against"> & { readonly batch?: number; readonly timeout?: Duration.Input } = {}
): Side => {
  const { batch = 1, timeout = "5 seconds", ...rest } = options
  const contentType = batch === 1 ? "application/json" : "application/x-ndjson"
  return overHttp(
    label,
    connections,
    (url, n) =>
      Effect.map(HttpClient.HttpClient, (client) => {
        const post = Effect.suspend(() => {
          const lines = Array.from({ length: batch }, body).join("\n")
          const exchange = Effect.flatMap(
            client.execute(HttpClientRequest.setBody(HttpClientRequest.post(url), HttpBody.text(lines, contentType))),
            (response) => Effect.andThen(response.arrayBuffer, HttpClientResponse.filterStatusOk(response))
          )
          return timeout === "Infinity" ? exchange : Effect.timeout(exchange, timeout)
        }).pipe(Effect.provideService(HttpClient.TracerDisabledWhen, () => true))
        return Effect.all(
          Array.from({ length: connections }, () => times(n / connections / batch, () => post)),
          { concurrency: "unbounded", discard: true }
        )
      }),
    rest
  )
}

export const endpoint = (label: string, connections: number, options?: { readonly client?: Client }): Side =>
  overHttp(
    label,
    connections,
    (url, n) =>
      Effect.map(
        Endpoint.make({
          name: "bench",
          url,
          envelope: Envelope.json(Order),
          concurrency: connections,
          onDisabled
        }),
        (endpoint) =>
          Effect.andThen(
            times(n, () => endpoint.write(event)),
            endpoint.flush
          )
      ),
    options
  )

/** A request takes so long that the compiler is still at work after the time that is enough for others: up to 4 s of it. */
export const warmUps = 4

export const http: ReadonlyArray<Row> = [
  {
    name: "http-endpoint-16",
    question: "One event a request at 16 connections, through `Endpoint` with `concurrency: 16`",
    n: 1600,
    metrics: cpuAndWall,
    warmUps,
    sides: [
      endpoint("ours", 16),
      byHand("the same client, by hand", 16, bySchema, { goals: { wall: atLeast(0.9) } }),
      byHand("the same client, by hand, no timeout", 16, bySchema, { timeout: "Infinity" }),
      byHand("the same client, by hand, no schema", 16, byStringify)
    ]
  },
  {
    name: "http-clients",
    question: "One event a request at 16 connections, through `Endpoint`, by the `HttpClient`",
    n: 1600,
    metrics: cpuAndWall,
    warmUps,
    sides: [
      endpoint("ours, over layerUndici", 16),
      endpoint("ours, over layerNodeHttp", 16, { client: nodeHttp }),
      endpoint("ours, over FetchHttpClient", 16, { client: fetch })
    ]
  },
  {
    name: "http-sink-1",
    question: "One event a request at one connection, `HttpSink` alone",
    n: 400,
    metrics: cpuAndWall,
    warmUps,
    sides: [
      overHttp("ours", 1, (url, n) =>
        Effect.map(HttpSink.make({ url, envelope: Envelope.json(Order) }), (sink) => times(n, () => sink.write(event)))
      ),
      byHand("the same client, by hand", 1, bySchema, { goals: { wall: atLeast(0.85) } })
    ]
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
      byHand("the same client, by hand", 1, bySchema, { batch: 100, goals: { wall: atLeast(0.8) } }),
      byHand("the same client, by hand, no schema", 1, byStringify, { batch: 100 })
    ]
  }
]
