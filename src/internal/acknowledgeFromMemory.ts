/** The word that memory in front of a store, or below one, needs. */
import * as Effect from "effect/Effect"
import { edgeTo } from "./node.ts"
import { type BatchSink, type EventSink, makePart, type Source, wrap, type Wrapping, WriteSync } from "./sink.ts"

/**
 * Marks a sink as one whose graph may acknowledge events from memory: what is in memory is then lost with the process.
 *
 * **Details**
 *
 * A part that stores, such as a durable queue, refuses a sink below it that keeps events in memory when its write succeeds:
 * the store would delete an event that only the memory of this process has. A part that keeps events in memory refuses a sink
 * that stores: its write would succeed before the event is stored. Both refuse in their types where these can tell, and by a
 * defect at construction where only the graph can. Neither refuses what is marked here.
 *
 * In pictures and health it is a node of its own, whose success promises nothing of what is downstream.
 *
 * **Gotchas**
 *
 * A `kill -9`, a crash or a loss of power then loses events whose writes had succeeded.
 *
 * **Example** (Events that are worth less than the time of a commit)
 *
 * ```ts
 * import { Console, Effect, Schema } from "effect"
 * import { EventQueue, EventSink } from "effect-events"
 * import { DurableQueue, MemoryStore } from "effect-events/durable"
 *
 * const program = Effect.gen(function* () {
 *   const views = yield* EventSink.make((page: string) => Console.log("viewed", page)).pipe(
 *     DurableQueue.make({ name: "views", schema: Schema.String })
 *   )
 *   const fast = yield* views.pipe(
 *     EventSink.acknowledgeFromMemory,
 *     EventQueue.make({ capacity: 1_000, onDropped: ({ reason }) => Console.log("lost", reason._tag) })
 *   )
 *   yield* fast.write("/about")
 *   yield* fast.flush
 *   yield* views.flush
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(MemoryStore.layer)))
 * // prints: viewed /about
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const acknowledgeFromMemory = <A, E, W, X = never, R = never>(
  self: Source<Wrapping<A, E, W>, X, R>
): Effect.Effect<undefined extends W ? EventSink<A, E> : BatchSink<A, E>, X, R> =>
  // It loses the mark of `W`, which is all that distinguishes it from a wrapper.
  wrap<A, E, W, A, E, X, R>(self, (sink) => {
    const { account, node } = makePart({
      kind: "AcknowledgeFromMemory",
      name: undefined,
      downstream: () => [edgeTo(sink, false)],
      state: () => sink.node.state,
      update: () => void (account.accepted = account.delivered)
    })
    const delivered = <B>(n: number, answer: B): B => {
      account.delivered += n
      return answer
    }
    const { writeSome, [WriteSync]: writeSync } = sink
    return {
      node,
      write: (event) => Effect.map(sink.write(event), () => delivered(1, undefined)),
      writeSome: writeSome && ((events) => Effect.map(writeSome(events), (n) => delivered(n, n))),
      writeSync: writeSync && ((event) => writeSync(event) && delivered(1, true))
    }
  }) as Effect.Effect<undefined extends W ? EventSink<A, E> : BatchSink<A, E>, X, R>
