/** The context that a part keeps from its construction, and the one that its writes run in. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { constant } from "effect/Function"
import { TracerSpanLinks } from "effect/References"
import { Scheduler } from "effect/Scheduler"
import { Scope } from "effect/Scope"
import { ParentSpan } from "effect/Tracer"
import type { SinkNode } from "./node.ts"
import { Requested } from "./receipt.ts"

/** The queue in whose delivery a fiber is: its drainer's context carries it, to the fibers forked there too. */
export const Delivering = Context.Reference<SinkNode | undefined>("effect-events/internal/context/Delivering", {
  defaultValue: () => undefined
})

/** Until when the caller of a write has time, in milliseconds of the clock's monotonic time. */
export const CallerDeadline = Context.Reference<number | undefined>("effect-events/internal/context/CallerDeadline", {
  defaultValue: () => undefined
})

/** What `effect/sql` marks a transaction with: the connection of one client, and which client's is the innermost. */
const transaction = /^effect\/sql\/(?:SqlClient\/TransactionConnection\/|CurrentTransactionService$)/

/**
 * A constructor's context as its sink may keep it: its span and links, its scope, its deadline, the delivery, the receipt and the transaction
 * that it may be in belong to the construction, not to writes. A transaction has ended by the time of most of them, and its connection
 * serves another one by then. The scheduler of `Effect.runSync` is the construction's too: fibers that take turns on it
 * for as long as there is something to do leave the event loop none.
 */
export const withoutConstruction: <R>(context: Context.Context<R>) => Context.Context<R> = (context) => {
  const ofTransaction = Array.from(context.mapUnsafe.keys())
    .filter((key) => transaction.test(key))
    .map((key) => Context.Service<unknown>(key))
  const ofRunSync = Context.get(context, Scheduler).executionMode === "sync" ? [Scheduler] : []
  // The keys are left out at run time; `R` stays as it is, since a write that asks for its caller's scope finds that.
  return Context.omit(
    Scope,
    ParentSpan,
    TracerSpanLinks,
    Delivering,
    CallerDeadline,
    Requested,
    ...ofRunSync,
    ...ofTransaction
  )(context) as typeof context
}

/**
 * Captures the services that the writes of a sink need when the sink is made. Answers what runs an effect in them merged
 * with the context of the fiber that calls, the caller's winning.
 */
export const capture = <R>(constructed: Context.Context<R>) => {
  const context = withoutConstruction(constructed)
  const keys = Array.from(context.mapUnsafe.keys())
  let caller: Context.Context<never> | undefined
  let merge: ((caller: Context.Context<never>) => Context.Context<R>) | undefined
  return <A, E>(self: Effect.Effect<A, E, R>, fiber: Fiber.Fiber<unknown, unknown>) => {
    // Most writes come from the same fiber, so the merge of the last caller is kept.
    if (fiber.context !== caller) {
      const last = fiber.context
      caller = last
      merge = keys.every((key) => last.mapUnsafe.has(key)) ? undefined : constant(Context.merge(context, last))
    }
    // Where the caller has every service already, its context is the merge: the types cannot know that.
    return merge === undefined ? (self as Effect.Effect<A, E>) : Effect.updateContext(self, merge)
  }
}
