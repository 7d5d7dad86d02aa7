/** What the snippets of types.test.ts speak of. They are compiled and never run. */
import { Context, Data, type Effect, type Scope } from "effect"
import type { EventQueue, EventSink } from "effect-events"
import type { DurableQueue } from "effect-events/durable"

export interface Order {
  readonly id: string
  readonly total: number
}

export class Refused extends Data.TaggedError("Refused")<{}> {}
export class Timeout extends Data.TaggedError("Timeout")<{}> {}

export type Sink<A, E = never> = EventSink.EventSink<A, E>
export type Queue<A, E = never> = EventQueue.EventQueue<A, E>
/** What constructors answer with. */
export type Made<S, E = never, R = never> = Effect.Effect<S, E, R | Scope.Scope>

export declare const reliable: Effect.Effect<Sink<Order>>
export declare const unreliable: Effect.Effect<Sink<Order, Refused | Timeout>>
export declare const batches: Effect.Effect<EventSink.BatchSink<Order, Refused>>
export declare const sureBatch: Effect.Effect<EventSink.BatchSink<Order>>
export declare const queue: Effect.Effect<Queue<Order>>
export declare const durable: Effect.Effect<DurableQueue.DurableQueue<Order>>

export class Audit extends Context.Service<Audit, Sink<Order>>()("app/Audit") {}
export class Search extends Context.Service<Search, Sink<Order>>()("app/Search") {}
export class Numbers extends Context.Service<Numbers, Sink<number>>()("app/Numbers") {}
export class Flaky extends Context.Service<Flaky, Sink<Order, Refused>>()("app/Flaky") {}
export class Stored extends Context.Service<Stored, DurableQueue.DurableQueue<Order>>()("app/Stored") {}
export class Notifications extends Context.Service<Notifications, Sink<Order>>()("app/Notifications") {}

/** Whether two types are the same, and not only assignable to one another. */
export type Same<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
export declare const check: <_Holds extends true>() => void
