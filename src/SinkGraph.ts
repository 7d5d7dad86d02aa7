/**
 * A graph of sinks as a picture and as a list of healths, read from any of its roots. It only looks: it holds no sink,
 * starts no fiber and changes nothing.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Graph from "effect/Graph"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import type { EventSink, SinkHealth, SinkNode } from "./EventSink.ts"
import { brief } from "./internal/encoding/envelopeError.ts"

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

/** What is shown of an error outside of its process. */
const ErrorText = Schema.Struct({
  /** The `_tag`, or the name of an error that has none; of any other value its type. */
  tag: Schema.String,
  /** The message of an error; nothing of any other value, which may be the event. */
  message: Schema.String
})

const LastErrorValue = ErrorText.pipe(
  Schema.decodeTo(
    Schema.Unknown,
    SchemaTransformation.transform<unknown, typeof ErrorText.Type>({
      decode: ({ message, tag }) => Object.assign(new Error(message), { name: tag, stack: `${tag}: ${message}` }),
      encode: (error) => textOf(error)
    })
  )
)

/** `null` in JSON, which has no `undefined`. */
const orNull = <S extends Schema.Constraint>(schema: S) =>
  Schema.NullOr(schema).pipe(
    Schema.decodeTo(
      Schema.UndefinedOr(Schema.toType(schema)),
      SchemaTransformation.transform<S["Type"] | undefined, S["Type"] | null>({
        decode: (value) => value ?? undefined,
        encode: (value) => value ?? null
      })
    )
  )

/**
 * The schema of a health, for a route or a dashboard: its encoded side is JSON.
 *
 * **Details**
 *
 * What is `undefined` is `null` in JSON. Of the last error there are the tag and the message, at most 500 characters of it;
 * of one that is no `Error` only the tag, or the type of the value, since the value may be the event. It is decoded as an
 * `Error` of that name and message.
 *
 * **Gotchas**
 *
 * The message of an error is its author's own, and shown as it is.
 *
 * **Example** (A health as JSON)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { EventSink, SinkGraph } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* EventSink.make((_: string) => Effect.fail(new Error("connection refused")), { name: "billing" })
 *   yield* Effect.exit(sink.write("order"))
 *   const healths = yield* SinkGraph.health(sink)
 *   const [json] = yield* Schema.encodeEffect(Schema.Array(SinkGraph.Health))(healths)
 *   yield* Console.log(json?.name, json?.oldestAge, JSON.stringify(json?.lastError?.error))
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: billing null {"tag":"Error","message":"connection refused"}
 * ```
 *
 * @category schemas
 * @since 0.1.0
 */
export const Health = Schema.Struct({
  kind: Schema.String,
  name: Schema.String,
  state: Schema.Literals(["open", "closing", "closed"]),
  pending: Schema.Int,
  oldestAge: orNull(Schema.Finite),
  inFlight: Schema.Int,
  breaker: orNull(Schema.Literals(["closed", "open", "half-open"])),
  lastError: orNull(Schema.Struct({ error: LastErrorValue, at: Schema.Finite, count: Schema.Int })),
  counts: Schema.Struct({
    accepted: Schema.Int,
    delivered: Schema.Int,
    filtered: Schema.Int,
    dropped: Schema.Int,
    undelivered: Schema.Int,
    deadLettered: Schema.Int,
    remaining: Schema.Int
  })
}).annotate({ identifier: "SinkHealth" })

// internals

/** Any value is an error, and one with a getter that throws has no text. */
const textOf = (error: unknown): typeof ErrorText.Type => {
  try {
    const message = error instanceof Error ? brief(error.message) : ""
    if (hasProperty(error, "_tag") && typeof error._tag === "string") return { tag: brief(error._tag), message }
    return { tag: error instanceof Error ? error.name : typeof error, message }
  } catch {
    return { tag: typeof error, message: "" }
  }
}
