/**
 * The metrics of a graph, for Prometheus and OpenTelemetry by Effect's own exporters: each node downstream of a root has its
 * series, from the moment that it is in the graph until it closes or leaves. A snapshot reads the figures that the sinks keep
 * anyway, so an event costs nothing more. Durations alone are measured: one reading of a clock for a batch, under this layer
 * only. It holds no sink open and changes nothing.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import type { EventSink } from "./EventSink.ts"
import { withoutConstruction } from "./internal/context.ts"
import { makeSeries, type Series } from "./internal/metrics/series.ts"
import { watchGraph } from "./internal/metrics/places.ts"
import type { SinkNode } from "./internal/node.ts"
import { isEventSink } from "./internal/sink.ts"

export {
  accepted,
  attempts,
  breakerState,
  deadLettered,
  deadLetters,
  delivered,
  deliveryState,
  dropped,
  filtered,
  inFlight,
  leaseHeld,
  oldestAge,
  pending,
  processDuration
} from "./internal/metrics/handles.ts"

/** Any sink: for metrics it does not matter what it takes and how it fails. */
type AnySink = EventSink<never, unknown>

/**
 * Options of the metrics of a graph.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /**
   * How often each durable part asks its store how many dead letters there are and whether its subscription is paused or
   * disabled, which other processes may change: 15 seconds by default.
   */
  readonly refreshInterval?: Duration.Input | undefined
}

/**
 * Shows the metrics of every node downstream of a sink, which is given as itself or by its tag, in the `MetricRegistry` of the
 * layer's context.
 *
 * **Details**
 *
 * A node has the labels `sink`, its name, and `kind`. What is added to a broadcaster later has series at once; the series of a
 * sink end when its scope closes, or when no way leads to it any more. A node that two layers show has its series once.
 *
 * **Gotchas**
 *
 * Give sinks names. Of several sinks of one kind and name the second is `name#2`, in the order in which they came.
 *
 * Counters begin at 0 with their sink. The series of a closed sink are gone: what it left undelivered is in its report or log.
 *
 * **Example** (Reading what waits)
 *
 * ```ts
 * import { Console, Context, Effect, Layer, Metric } from "effect"
 * import { EventQueue, EventSink, SinkMetrics } from "effect-events"
 *
 * class Orders extends Context.Service<Orders, EventQueue.EventQueue<string>>()("app/Orders") {
 *   static readonly layer = EventQueue.layer(Orders, EventSink.make((_: string) => Effect.never), { drainTimeout: 0 })
 * }
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* Orders
 *   yield* orders.write("a1")
 *   const waiting = Metric.withAttributes(SinkMetrics.pending, { sink: "app/Orders", kind: "EventQueue" })
 *   yield* Console.log("pending:", (yield* Metric.value(waiting)).value)
 * })
 *
 * const Live = SinkMetrics.layer(Orders).pipe(Layer.provideMerge(Orders.layer))
 *
 * Effect.runPromise(Effect.provide(program, Live))
 * // prints: pending: 1
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I = never>(
  root: Context.Key<I, AnySink> | AnySink,
  options: Options = {}
): Layer.Layer<never, never, I> =>
  Layer.effectDiscard(
    isEventSink(root) ? show(root.node, options) : Effect.flatMap(root, ({ node }) => show(node, options))
  )

// internals

const show = (root: SinkNode, options: Options): Effect.Effect<void, never, Scope.Scope> =>
  Effect.uninterruptible(
    Effect.contextWith((constructed: Context.Context<Scope.Scope>) => {
      const context = withoutConstruction(constructed)
      const interval = Duration.fromInputUnsafe(options.refreshInterval ?? "15 seconds")
      const asking = new Map<SinkNode, Series>()
      /** Those that are to ask their stores next. */
      let due: ReadonlyArray<SinkNode> = []
      const isDue = Latch.makeUnsafe()

      const begin = (node: SinkNode) => {
        const series = makeSeries(node, context)
        if (node.figures.refresh !== undefined) {
          asking.set(node, series)
          due = [...due, node]
          isDue.openUnsafe()
        }
        return () => {
          asking.delete(node)
          series.end()
        }
      }
      const ask = (node: SinkNode) =>
        // One that dies keeps its figures, as one whose store fails does.
        Effect.map(Effect.exit(node.figures.refresh ?? Effect.void), () => asking.get(node)?.known())
      const turn = Effect.suspend(() => {
        const nodes = due
        due = []
        isDue.closeUnsafe()
        return Effect.forEach(nodes, ask, { discard: true })
      })
      const all = () => void (due = [...asking.keys()])
      const wait = Effect.suspend(() =>
        asking.size === 0
          ? isDue.await
          : Effect.timeoutOrElse(isDue.await, { duration: interval, orElse: () => Effect.sync(all) })
      )
      // Without a durable part it waits, and has no timer.
      const fiber = Effect.runForkWith(context)(Effect.forever(Effect.andThen(turn, wait)))
      const end = watchGraph(root, begin)
      return Effect.addFinalizer(() =>
        Effect.sync(() => {
          fiber.interruptUnsafe()
          end()
        })
      )
    })
  )
