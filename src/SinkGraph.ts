/**
 * A graph of sinks as a picture and as a list of healths, read from any of its roots. It only looks: it holds no sink,
 * starts no fiber and changes nothing.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Graph from "effect/Graph"
import * as Latch from "effect/Latch"
import { hasProperty } from "effect/Predicate"
import * as Schema from "effect/Schema"
import * as SchemaTransformation from "effect/SchemaTransformation"
import * as Stream from "effect/Stream"
import type { EventSink, SinkHealth, SinkNode, TapKind } from "./EventSink.ts"
import { brief } from "./internal/encoding/envelopeError.ts"
import type { Observer } from "./internal/node.ts"
import { count } from "./internal/options.ts"

/** Any sink: for pictures it does not matter what it takes and how it fails. */
type AnySink = EventSink<never, unknown>

/**
 * The graph downstream of a sink: nodes are sinks, edges lead from a sink to those that it writes to, with the case of
 * a router or no text. A sink with two wrappers is one node.
 *
 * @category conversions
 * @since 0.1.0
 */
export const toGraph = (root: AnySink): Graph.DirectedGraph<SinkNode, string> =>
  Graph.directed<SinkNode, string>((graph) => {
    const indexes = new Map<SinkNode, Graph.NodeIndex>()
    const visit = (node: SinkNode): Graph.NodeIndex => {
      const index = indexes.get(node) ?? Graph.addNode(graph, node)
      indexes.set(node, index)
      return index
    }
    visit(root.node)
    // A map is iterated in the order of insertion, what is inserted meanwhile included: nearest first.
    for (const [node, index] of indexes) {
      for (const next of node.downstream()) Graph.addEdge(graph, index, visit(next.node), next.label ?? "")
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
    edgeLabel: (label) => label
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

/**
 * An event at a node, as `tap` tells it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Tapped {
  readonly what: TapKind
  /** As the node has it: behind `mapInput` it is what the function made of it. */
  readonly event: unknown
  /** In milliseconds of the `Clock`. */
  readonly at: number
  /** Of a drop the tag of its `DropReason`, of a dead letter that of its own; of others nothing. */
  readonly reason: string | undefined
}

/**
 * Shows the events at a node from here on, for a tool that a person looks at: what is accepted, delivered, dropped and
 * dead-lettered, as far as `node.taps` says. The stream of a node without taps is empty, and any other goes on until it is
 * left, also when the sink has closed.
 *
 * **Details**
 *
 * | Kind                                    | Taps                                                |
 * | --------------------------------------- | --------------------------------------------------- |
 * | `EventQueue`                            | accepted, delivered, dropped                        |
 * | `Broadcaster`                           | accepted                                            |
 * | `Subscription` of a `Broadcaster`       | delivered, dropped; over a plain function dropped   |
 * | `EventChannel`                          | accepted, dropped                                   |
 * | `DurableQueue`                          | accepted, delivered, dropped, deadLettered          |
 * | `DurableBroadcaster`, `DurableWriter`   | accepted                                            |
 * | `Subscription` of a `DurableBroadcaster`| delivered, deadLettered                             |
 * | all others                              | none: they hold no event, and a part beside them does |
 *
 * **Gotchas**
 *
 * The sink never waits for the stream: of what is not read in time the newest `bufferSize` events are kept, 256 by default.
 * Nothing is spent while nothing taps a node. It shows content: what a viewer may see is for the caller to decide.
 *
 * **Example** (The next two events of a queue)
 *
 * ```ts
 * import { Console, Effect, Fiber, Stream } from "effect"
 * import { EventQueue, EventSink, SinkGraph } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const queue = yield* EventQueue.make(EventSink.make((_: string) => Effect.void))
 *   const next = yield* SinkGraph.tap(queue).pipe(Stream.take(2), Stream.runCollect, Effect.forkChild)
 *   yield* Effect.yieldNow
 *   yield* queue.write("a")
 *   for (const { event, what } of yield* Fiber.join(next)) yield* Console.log(what, event)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: accepted a
 * // prints: delivered a
 * ```
 *
 * @category health
 * @since 0.1.0
 */
export const tap = (
  sink: AnySink | SinkNode,
  options?: { readonly bufferSize?: number | undefined }
): Stream.Stream<Tapped> => {
  const node = "node" in sink ? sink.node : sink
  const bufferSize = count("SinkGraph.tap", "bufferSize", options?.bufferSize ?? 256, 1)
  if (node.taps.length === 0) return Stream.empty
  return Stream.unwrap(
    Clock.clockWith((clock) => {
      let unread: Array<Tapped> = []
      const some = Latch.makeUnsafe()
      const observer: Observer = (what, events, reason) => {
        const at = clock.currentTimeMillisUnsafe()
        for (const event of events.slice(-bufferSize)) unread.push({ what, event, at, reason })
        if (unread.length > 2 * bufferSize) unread = unread.slice(-bufferSize)
        some.openUnsafe()
      }
      // Opening the latch can run this fiber inside of the write: it leaves that stack before it reads.
      const pull = some.await.pipe(
        Effect.andThen(Effect.yieldNow),
        Effect.andThen(
          Effect.sync(() => {
            const events = unread.slice(-bufferSize)
            unread = []
            some.closeUnsafe()
            // The latch is opened with an event, and closed where there are none.
            return events as [Tapped, ...Array<Tapped>]
          })
        )
      )
      const observing = Effect.acquireRelease(
        Effect.sync(() => node.observe(observer)),
        (end) => Effect.sync(end)
      )
      return Effect.as(observing, Stream.fromPull(Effect.succeed(pull)))
    })
  )
}

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
