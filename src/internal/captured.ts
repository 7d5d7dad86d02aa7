import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { Scheduler } from "effect/Scheduler"
import { Scope } from "effect/Scope"
import { ParentSpan } from "effect/Tracer"
import type { SinkNode } from "./node.ts"

/** The queue in whose delivery a fiber is: its drainer's context carries it, to the fibers forked there too. */
export const Delivering = Context.Reference<SinkNode | undefined>("effect-events/internal/captured/Delivering", {
  defaultValue: () => undefined
})

/** What `effect/sql` marks a transaction with: the connection of one client, and which client's is the innermost. */
const transaction = /^effect\/sql\/(?:SqlClient\/TransactionConnection\/|CurrentTransactionService$)/

/**
 * A constructor's context as its sink may keep it: its span, its scope, the delivery and the transaction that it may be in
 * belong to the construction, not to writes. A transaction has ended by the time of most of them, and its connection is
 * somebody else's by then. The scheduler of `Effect.runSync` is the construction's too: fibers that take turns on it for
 * as long as there is something to do leave the event loop none.
 */
export const withoutConstruction: <R>(context: Context.Context<R>) => Context.Context<R> = (context) => {
  const ofTransaction = Array.from(context.mapUnsafe.keys())
    .filter((key) => transaction.test(key))
    .map((key) => Context.Service<unknown>(key))
  const ofRunSync = Context.get(context, Scheduler).executionMode === "sync" ? [Scheduler] : []
  // The keys are left out at run time; `R` stays as it is, since a write that asks for its caller's scope finds that.
  return Context.omit(Scope, ParentSpan, Delivering, ...ofRunSync, ...ofTransaction)(context) as typeof context
}

/** The services that a write needs, captured when its sink was made. */
export class Captured<R> {
  private readonly context: Context.Context<R>
  private caller: Context.Context<never> | undefined = undefined
  private merged: Context.Context<R> | undefined = undefined

  constructor(context: Context.Context<R>) {
    this.context = withoutConstruction(context)
  }

  /** Runs `self` in the captured context merged with the caller's, the caller's winning. */
  provide<A, E>(self: Effect.Effect<A, E, R>, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<A, E> {
    // Most writes come from the same fiber, so the merge of the last caller is kept.
    if (fiber.context !== this.caller) {
      this.caller = fiber.context
      this.merged = this.holds(fiber.context) ? undefined : Context.merge(this.context, fiber.context)
    }
    // Where the caller has every service already, its context is the merge: the types cannot know that.
    if (this.merged === undefined) return self as Effect.Effect<A, E>
    const merged = this.merged
    return Effect.updateContext(self, () => merged)
  }

  private holds(caller: Context.Context<never>): boolean {
    for (const key of this.context.mapUnsafe.keys()) {
      if (!caller.mapUnsafe.has(key)) return false
    }
    return true
  }
}
