import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type { DropReason } from "../Dropped.ts"
import { type AnyOutcome, makeRequest, within } from "./receipt.ts"
import type { EventSink, SinkClosed } from "./sink.ts"

/**
 * What became of an event at a sink.
 *
 * @category models
 * @since 0.1.0
 */
export type Outcome = AnyOutcome<DropReason<unknown>>

/**
 * The outcome of an event at a sink of the graph.
 *
 * @category models
 * @since 0.1.0
 */
export interface SinkOutcome {
  /** The name of the sink that has the outcome: a leaf, or the part that filtered, dropped or stored the event. */
  readonly sink: string
  readonly kind: string
  readonly outcome: Outcome
}

/**
 * What became of an event, at each leaf that it was written to, in the order in which that was settled.
 *
 * @category models
 * @since 0.1.0
 */
export interface Receipt {
  readonly outcomes: ReadonlyArray<SinkOutcome>
}

/**
 * Writes an event, and answers the Effect of its receipt, which waits until no part in memory has the event any more.
 *
 * **Details**
 *
 * The write itself is that of the sink: it succeeds when the sink has committed the event, and fails as it does. A receipt has one
 * outcome for each leaf that the event came to: for each sink of a broadcaster, and twice for a leaf that is reached twice. A
 * durable part is a leaf, and its outcome is `Stored`. Retries end in one outcome.
 *
 * A sink of your own over a function is a leaf too. One that names its `downstream` is none: the receipt has what that writes within its
 * own write.
 *
 * **Gotchas**
 *
 * An event of a queue, a broadcaster or a batching sink that has a receipt is delivered alone, in no batch, and not by the
 * shorter ways of other events. A stream of `Broadcaster.subscribe` is no sink, and has no outcome. A receipt waits as long as the slowest part: bound it
 * by `Effect.timeout`, and wait for it in no part downstream, which would wait for itself.
 *
 * **Example** (What became of it)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Broadcaster, EventFilter, EventQueue, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const orders = yield* Broadcaster.make([
 *     EventSink.make((_: number) => Effect.void, { name: "billing" }).pipe(EventQueue.make()),
 *     EventSink.make((_: number) => Effect.void).pipe(EventFilter.make((total) => total > 100, { name: "large" }))
 *   ])
 *   const receipt = yield* EventSink.writeWithReceipt(orders, 7)
 *   const { outcomes } = yield* receipt
 *   for (const { outcome, sink } of outcomes) yield* Console.log(sink, outcome._tag)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: large Filtered
 * // prints: billing Delivered
 * ```
 *
 * @category writing
 * @since 0.1.0
 */
export const writeWithReceipt: {
  <A>(event: A): <E>(self: EventSink<A, E>) => Effect.Effect<Effect.Effect<Receipt>, E | SinkClosed>
  <A, E>(self: EventSink<A, E>, event: NoInfer<A>): Effect.Effect<Effect.Effect<Receipt>, E | SinkClosed>
} = dual(2, <A, E>(self: EventSink<A, E>, event: A): Effect.Effect<Effect.Effect<Receipt>, E | SinkClosed> =>
  Effect.suspend(() => {
    let made: ReturnType<typeof makeRequest> | undefined
    const written = Effect.suspend(() => {
      made = makeRequest()
      // The drops of all parts are noted with a reason of `DropReason`.
      const outcomes = made.outcomes as Effect.Effect<Receipt["outcomes"]>
      const receipt = Effect.map(outcomes, (outcomes): Receipt => ({ outcomes }))
      return Effect.as(
        within(made.request, self.node, () => self.write(event)),
        receipt
      )
    })
    return Effect.onExitPrimitive(written, (exit) => {
      if (Exit.isSuccess(exit)) made?.request.release()
      else made?.discard()
      return undefined
    })
  })
)

/**
 * Whether at least one leaf has the event, delivered or stored, and no part has dropped it or left it undelivered.
 *
 * @category guards
 * @since 0.1.0
 */
export const isDelivered = ({ outcomes }: Receipt): boolean =>
  outcomes.some(({ outcome }) => outcome._tag === "Delivered" || outcome._tag === "Stored") &&
  outcomes.every(({ outcome }) => outcome._tag !== "Dropped" && outcome._tag !== "Undelivered")
