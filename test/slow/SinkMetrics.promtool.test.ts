import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { Broadcaster, EventFilter, EventSink, SinkGraph, SinkMetrics } from "effect-events"
import { DurableBroadcaster, DurableQueue, MemoryStore, Redelivery } from "effect-events/durable"
import { Endpoint, Envelope } from "effect-events/http"
import { FetchHttpClient } from "effect/http"
import { PrometheusMetrics } from "effect/observability"
import { serving } from "../http/support/ingress.ts"
import { receiver } from "../http/support/receiver.ts"
import { withRegistry } from "../support/metrics.ts"
import { problemsOf, skipped } from "../support/promtool.ts"
import { quiet } from "../support/virtual.ts"

const Order = Schema.Struct({ id: Schema.String, total: Schema.Int })
const envelope = Envelope.json(Order, { id: (order) => order.id })

/** Every kind of part that has figures of its own: in memory, durable, and over HTTP. */
const graph = (url: string) =>
  Effect.gen(function* () {
    const unqueued = yield* Endpoint.unqueued({ name: "billing", url, envelope }).pipe(
      DurableQueue.make({ name: "billing", schema: Order, redelivery: Redelivery.none })
    )
    const endpoint = yield* Endpoint.make({
      name: 'the "audit" of a\\b',
      url,
      envelope,
      delays: { base: 0, factor: 0 },
      onDisabled: () => Effect.void
    })
    const large = yield* EventFilter.make(endpoint, ({ total }) => total > 1, { name: "large" })
    const memory = yield* Broadcaster.make([Effect.succeed(large)], { name: "orders" })
    yield* Broadcaster.add(memory, yield* EventSink.make(() => Effect.die("bug"), { name: "bad" }), {
      onDropped: () => Effect.void
    })
    const stored = yield* DurableBroadcaster.make({ name: "stored", schema: Order })
    yield* DurableBroadcaster.subscribe(stored, yield* EventSink.make(() => Effect.fail("no")), {
      name: "failing",
      redelivery: Redelivery.none
    })
    return { memory, stored, unqueued }
  })

describe(`a page of Prometheus${skipped}`, { skip: skipped !== "" }, () => {
  it.live("of a real graph, over HTTP, is clean by promtool, and agrees with the health of the graph", () =>
    Effect.gen(function* () {
      const { url } = yield* receiver((response, _, n) => void response.writeHead(n % 3 === 0 ? 503 : 202).end())
      const roots = yield* graph(url)
      const shown = Object.values(roots).map((root) => SinkMetrics.layer(root))
      const server = yield* serving(Layer.mergeAll(PrometheusMetrics.layerHttp(), ...shown))
      const orders = Array.from({ length: 20 }, (_, n) => ({ id: `a${n}`, total: n }))
      for (const root of Object.values(roots)) yield* EventSink.writeAll(root, orders)
      yield* roots.stored.flush
      yield* roots.unqueued.flush
      const isAtRest = Effect.map(SinkGraph.health(roots.memory), (all) => all.every(({ pending }) => pending === 0))
      yield* Effect.repeat(Effect.delay(isAtRest, "10 millis"), { until: (is) => is })

      const page = yield* Effect.promise(async () => (await fetch(`${server.url}/metrics`)).text())
      assert.strictEqual(problemsOf(page), "")
      const lines = page.split("\n").filter((line) => line !== "" && !line.startsWith("#"))
      const series = lines.map((line) => line.slice(0, line.lastIndexOf(" ")))
      assert.strictEqual(new Set(series).size, series.length)
      const value = (name: string, sink: string, kind: string, more = "") => {
        const labels = `{sink="${sink}",kind="${kind}"${more}}`
        return Number(
          lines
            .find((line) => line.startsWith(`${name}${labels} `))
            ?.split(" ")
            .at(-1)
        )
      }
      for (const root of Object.values(roots)) {
        for (const { counts, kind, name, pending } of yield* SinkGraph.health(root)) {
          const sink = name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')
          assert.strictEqual(value("effect_events_sink_accepted_total", sink, kind), counts.accepted)
          assert.strictEqual(value("effect_events_sink_delivered_total", sink, kind), counts.delivered)
          assert.strictEqual(value("effect_events_sink_pending", sink, kind), pending)
        }
      }
      assert.strictEqual(value("effect_events_sink_dropped_total", "bad", "Subscription", ',reason="Died"'), 20)
      assert.strictEqual(value("effect_events_sink_dead_letters", "failing", "Subscription"), 20)
      assert.strictEqual(value("messaging_process_duration_seconds_count", "failing", "Subscription"), 20)
      // Every metric of the module is on the page of this graph.
      const names = Object.values(SinkMetrics).flatMap((one) => ("id" in one ? [one.id] : []))
      assert.deepStrictEqual(
        names.filter((name) => !page.includes(`# TYPE ${name} `)),
        []
      )
    }).pipe(withRegistry, quiet, Effect.provide([MemoryStore.layer, FetchHttpClient.layer]))
  )

  it("differs from one that breaks the rules", () => {
    assert.match(problemsOf("# TYPE events counter\nevents 1\n"), /_total|help/i)
  })
})
