/**
 * A graph of sinks as a picture and as a list of healths, read from any of its roots. It only looks: it holds no sink,
 * starts no fiber and changes nothing.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Graph from "effect/Graph"
import type { EventSink, SinkHealth, SinkNode } from "./EventSink.ts"

/** Any sink: for pictures it does not matter what it takes and how it fails. */
type AnySink = EventSink<never, unknown>

/**
 * The graph downstream of a sink: nodes are sinks, edges lead from a sink to those that it writes to. A sink with two
 * wrappers is one node.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toGraph = (root: AnySink): Graph.DirectedGraph<SinkNode, void> =>
  Graph.directed<SinkNode, void>((graph) => {
    const indexes = new Map<SinkNode, Graph.NodeIndex>()
    const visit = (node: SinkNode): Graph.NodeIndex => {
      const index = indexes.get(node) ?? Graph.addNode(graph, node)
      indexes.set(node, index)
      return index
    }
    visit(root.node)
    // A map is iterated in the order of insertion, what is inserted meanwhile included: nearest first.
    for (const [node, index] of indexes) {
      for (const next of node.downstream()) Graph.addEdge(graph, index, visit(next.node), undefined)
    }
  })

/**
 * Draws the graph downstream of a sink as a Mermaid flowchart, each node with its kind and, where it has one, its name.
 *
 * **Example** (Drawing a pipeline)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventQueue, EventSink, SinkGraph } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const queue = yield* EventSink.make((line: string) => Console.log(line), { name: "printer" }).pipe(
 *     EventQueue.make({ name: "lines" })
 *   )
 *   yield* Console.log(SinkGraph.toMermaid(queue))
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: flowchart TD
 * ```
 *
 * @category conversions
 * @since 0.1.0
 */
export const toMermaid = (root: AnySink): string =>
  Graph.toMermaid(toGraph(root), {
    nodeLabel: ({ kind, name }) => (kind === name ? kind : `${kind} ${name}`),
    edgeLabel: () => ""
  })

/**
 * The health of every node downstream of a sink, the sink's own first: a plain value for a readiness check or a status
 * page. Times count from the `Clock` of the caller.
 *
 * @category health
 * @since 0.1.0
 */
export const health = (root: AnySink): Effect.Effect<ReadonlyArray<SinkHealth>> =>
  Clock.clockWith((clock) => {
    const now = clock.currentTimeMillisUnsafe()
    return Effect.succeed(Array.from(Graph.values(Graph.nodes(toGraph(root))), (node) => node.health(now)))
  })
