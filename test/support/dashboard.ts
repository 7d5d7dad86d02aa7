/** A dashboard as an application serves it, and what its tests ask it for. */
import { assert } from "@effect/vitest"
import { Data, Effect, Layer, Logger, Schedule, Schema } from "effect"
import { EventSink } from "effect-events"
import { DurableQueue, Redelivery } from "effect-events/durable"
import { HttpRouter, HttpServer } from "effect/http"
import type { GraphView } from "../../src/dashboard/internal/dashboardApi.ts"

export const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
export type Order = typeof Order.Type

/** What answers requests to a dashboard, as the server of an application would. */
export const serve = Effect.fnUntraced(function* (dashboard: Layer.Layer<never, never, HttpRouter.HttpRouter>) {
  const { dispose, handler } = HttpRouter.toWebHandler(Layer.provide(dashboard, [HttpServer.layerServices, quiet]), {
    disableLogger: true
  })
  yield* Effect.addFinalizer(() => Effect.promise(dispose))
  const send = (path: string, init?: RequestInit) =>
    Effect.promise(() => handler(new Request(`http://shop.test${path}`, init)))
  const text = (path: string, init?: RequestInit) =>
    Effect.flatMap(send(path, init), (response) =>
      Effect.map(
        Effect.promise(() => response.text()),
        (body) => ({ status: response.status, headers: response.headers, body })
      )
    )
  const read = <S extends Schema.ConstraintDecoder<unknown>>(schema: S, path: string, init?: RequestInit) =>
    Effect.flatMap(text(path, init), ({ body, status }) => {
      assert.strictEqual(status, 200, body)
      return Effect.orDie(Schema.decodeUnknownEffect(Schema.fromJsonString(schema))(body))
    })
  const post = (path: string, body: unknown = {}, headers: Record<string, string> = own) =>
    text(path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers },
      body: JSON.stringify(body)
    })
  return { send, text, read, post }
})
export const quiet = Logger.layer([])
export const own = { "x-effect-events": "1", "sec-fetch-site": "same-origin" }
export const everybody = () => Effect.succeed(true)

/** Waits until something holds. */
export const until = <A, E>(what: Effect.Effect<A, E>, holds: (a: A) => boolean) =>
  Effect.repeat(what, { until: holds, schedule: Schedule.spaced("10 millis") })

export const idOf = (graph: typeof GraphView.Type, name: string, kind?: string): string => {
  const found = graph.nodes.find((node) => node.name === name && (kind === undefined || node.kind === kind))
  if (found === undefined) throw new Error(`no node ${name} in ${JSON.stringify(graph.nodes)}`)
  return found.id
}

class Unavailable extends Data.TaggedError("Unavailable")<{ readonly message: string }> {}

/** A queue whose receiver refuses what is not to be had, until it is mended. */
export const failing = Effect.fnUntraced(function* (name: string) {
  const receiver = { isMended: false, received: [] as Array<Order> }
  const queue = yield* EventSink.make((order: Order) =>
    receiver.isMended
      ? Effect.sync(() => void receiver.received.push(order))
      : Effect.fail(new Unavailable({ message: `503 <b>${order.total}</b>` }))
  ).pipe(DurableQueue.make({ name, schema: Order, redelivery: Redelivery.none }))
  return { queue, receiver }
})
