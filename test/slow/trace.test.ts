/**
 * One request, from a `POST /orders` over the file of a SQLite store and another process to a webhook, as a collector sees it that
 * both processes export their spans to by Effect's own OTLP tracer.
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import * as SqliteStore from "effect-events/durable/SqliteStore"
import { FetchHttpClient, HttpRouter, HttpServerRequest, HttpServerResponse } from "effect/http"
import { OtlpSerialization, OtlpTracer } from "effect/observability"
import { spawn } from "node:child_process"
import { once } from "node:events"
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { serving } from "../http/support/ingress.ts"
import { eventually, ok, receiver } from "../http/support/receiver.ts"

const Order = Schema.Struct({ id: Schema.String })

/** A span as OTLP has it in JSON. */
interface Exported {
  readonly service: string
  readonly name: string
  readonly kind: number
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId: string | undefined
  readonly links: ReadonlyArray<{ readonly traceId: string; readonly spanId: string }>
  readonly attributes: ReadonlyArray<{ readonly key: string; readonly value: Record<string, unknown> }>
}

/** The body of an export. */
interface Traces {
  readonly resourceSpans: ReadonlyArray<{
    readonly resource: Pick<Exported, "attributes">
    readonly scopeSpans: ReadonlyArray<{ readonly spans: ReadonlyArray<Omit<Exported, "service">> }>
  }>
}

const valuesOf = ({ attributes }: Pick<Exported, "attributes">): Record<string, unknown> =>
  Object.fromEntries(attributes.map(({ key, value }) => [key, Object.values(value)[0]]))

const kinds = { server: 2, client: 3, producer: 4, consumer: 5 } as const

/** A collector that keeps what it gets. */
const collector = Effect.gen(function* () {
  const { requests, url } = yield* receiver(ok)
  const spans = (): ReadonlyArray<Exported> =>
    requests.flatMap(({ body }) => {
      const { resourceSpans }: Traces = JSON.parse(body)
      return resourceSpans.flatMap(({ resource, scopeSpans }) => {
        const service = String(valuesOf(resource)["service.name"])
        return scopeSpans.flatMap(({ spans }) => spans.map((span) => ({ ...span, service })))
      })
    })
  return { url, spans }
})

const tracing = (url: string) =>
  OtlpTracer.layer({ url, resource: { serviceName: "shop" }, exportInterval: "50 millis" }).pipe(
    Layer.provide([OtlpSerialization.layerJson, FetchHttpClient.layer])
  )

const file = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "effect-events-"))),
    (folder) => Effect.sync(() => rmSync(folder, { recursive: true }))
  ),
  (folder) => join(folder, "events.db")
)

/** The process that delivers. */
const delivering = (...args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.promise(async () => {
      const script = join(import.meta.dirname, "traceChild.ts")
      const flags = ["--conditions=@effect-events/source", "--no-warnings"]
      const child = spawn(process.execPath, [...flags, script, ...args], { stdio: ["ignore", "pipe", "inherit"] })
      await once(child.stdout, "data")
      return child
    }),
    (child) =>
      Effect.promise(async () => {
        const exit = once(child, "exit")
        child.kill("SIGKILL")
        await exit
      })
  )

/** The shop: a route that writes to the store, and answers when the order is in it. */
const shop = (filename: string) =>
  Layer.unwrap(
    Effect.gen(function* () {
      const orders = yield* DurableQueue.writer({ name: "orders", schema: DurableQueue.stamped(Order) })
      const stamped = yield* EventSink.stamp(orders, { id: ({ id }: typeof Order.Type) => id })
      return HttpRouter.add(
        "POST",
        "/orders",
        HttpServerRequest.schemaBodyJson(Order).pipe(
          Effect.flatMap(stamped.write),
          Effect.as(HttpServerResponse.empty({ status: 202 })),
          Effect.orDie
        )
      )
    })
  ).pipe(Layer.provide(SqliteStore.layer({ filename })))

const world = Effect.fnUntraced(function* (trace: "link" | "parent") {
  const filename = yield* file
  const { spans, url } = yield* collector
  const webhook = yield* receiver(ok)
  yield* delivering(filename, webhook.url, url, trace)
  const { url: base } = yield* Effect.provide(serving(shop(filename)), yield* Layer.build(tracing(url)))
  const post = (id: string, traceparent: string) =>
    Effect.promise(async () => {
      const headers = { "content-type": "application/json", traceparent }
      const { status } = await fetch(`${base}/orders`, { method: "POST", headers, body: JSON.stringify({ id }) })
      assert.strictEqual(status, 202)
    })
  return { post, spans, webhook }
})

/** Both processes export what they have, each in its time. */
const isWhole = (spans: ReadonlyArray<Exported>) =>
  spans.length >= 4 && spans.some(({ name }) => name === "process orders")

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736"
const spanId = "00f067aa0ba902b7"

describe("one request through two processes", () => {
  it.live.each(["link", "parent"] as const)("is followed from the route to the webhook: %s", (trace) =>
    Effect.gen(function* () {
      const { post, spans, webhook } = yield* world(trace)
      yield* post("a1", `00-${traceId}-${spanId}-01`)
      yield* eventually(spans, isWhole)

      const only = (service: string, kind: keyof typeof kinds) => {
        const found = spans().filter((span) => span.service === service && span.kind === kinds[kind])
        assert.strictEqual(found.length, 1, `${service} ${kind}: ${JSON.stringify(spans().map(({ name }) => name))}`)
        return found[0]!
      }
      const route = only("shop", "server")
      const send = only("shop", "producer")
      const process = only("delivery", "consumer")
      const request = only("delivery", "client")
      assert.strictEqual(spans().length, 4)

      // The route goes on with the trace of its client, and the write is part of it.
      assert.deepInclude(route, { traceId, parentSpanId: spanId })
      assert.deepInclude(send, { name: "send orders", traceId, parentSpanId: route.spanId })
      assert.strictEqual(process.name, "process orders")
      if (trace === "parent") {
        assert.deepInclude(process, { traceId, parentSpanId: send.spanId })
        assert.deepStrictEqual(process.links, [])
      } else {
        assert.notStrictEqual(process.traceId, traceId)
        assert.isTrue(process.parentSpanId === undefined || process.parentSpanId === "")
        assert.deepStrictEqual(
          process.links.map(({ spanId, traceId }) => [traceId, spanId]),
          [[traceId, send.spanId]]
        )
      }
      assert.deepInclude(request, { traceId: process.traceId, parentSpanId: process.spanId })

      // The webhook gets the trace of its request, and the event that of its creation.
      const [received] = webhook.requests
      assert.strictEqual(webhook.requests.length, 1)
      assert.strictEqual(received!.headers["traceparent"], `00-${request.traceId}-${request.spanId}-01`)
      assert.strictEqual(received!.headers["ce-traceparent"], `00-${traceId}-${route.spanId}-01`)
      assert.strictEqual(received!.headers["ce-id"], "a1")

      const { "messaging.message.id": id, ...ofProcess } = valuesOf(process)
      assert.deepStrictEqual(ofProcess, {
        "messaging.system": "effect_events",
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": "orders"
      })
      assert.strictEqual(valuesOf(send)["messaging.message.id"], id)
    })
  )

  it.live("that is not sampled exports nothing on its way, and says so to the webhook", () =>
    Effect.gen(function* () {
      const { post, spans, webhook } = yield* world("link")
      yield* post("a1", `00-${traceId}-${spanId}-00`)
      yield* eventually(
        () => webhook.requests.length,
        (n) => n === 1
      )
      // What comes after it is exported, so the collector has seen all that there is of it.
      yield* post("a2", `00-${"c".repeat(32)}-${spanId}-01`)
      yield* eventually(spans, isWhole)
      assert.strictEqual(spans().length, 4)
      assert.isFalse(spans().some((span) => span.traceId === traceId))
      assert.match(String(webhook.requests[0]!.headers["traceparent"]), /-00$/)
      assert.match(String(webhook.requests[1]!.headers["traceparent"]), /-01$/)
      assert.match(String(webhook.requests[0]!.headers["ce-traceparent"]), new RegExp(`^00-${traceId}-.*-00$`))
    })
  )
})
