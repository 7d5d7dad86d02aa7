/** Processes: a durable broadcaster of numbers over a memory or another store, each in a scope of its own. */
import { Effect, Exit, Schema, Scope } from "effect"
import type { EventSink } from "effect-events"
import { DurableBroadcaster, EventStore, type MemoryStore, Redelivery } from "effect-events/durable"
import { operationsAround, Spy } from "./store.ts"

export type Orders = DurableBroadcaster.DurableBroadcaster<number>

export const identity = {
  name: "orders",
  schema: Schema.Int,
  topic: (n: number) => (n < 0 ? "" : n % 2 === 0 ? "order/even" : "order/odd")
} as const

/** A process over a store, which delivers nothing again. */
export const startedOver = (store: EventStore.Operations, options: Partial<DurableBroadcaster.Options<number>> = {}) =>
  Effect.gen(function* () {
    const scope = yield* Scope.make()
    const inProcess = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
      effect.pipe(Effect.provideService(EventStore.EventStore, store), Scope.provide(scope))
    const orders: Orders = yield* inProcess(DurableBroadcaster.make({ ...identity, ...options }))
    const subscribe = <E>(
      sink: EventSink.EventSink<number, E>,
      options: DurableBroadcaster.SubscriptionOptions<number>
    ) => inProcess(DurableBroadcaster.subscribe(orders, sink, { redelivery: Redelivery.none, ...options }))
    return { orders, subscribe, inProcess, close: Scope.close(scope, Exit.void) }
  })

/** A process over a memory, with a spy between the broadcaster and the store. */
export const started = (
  memory: MemoryStore.Memory,
  options: Partial<DurableBroadcaster.Options<number>> = {},
  spy = new Spy()
) =>
  Effect.gen(function* () {
    const process = yield* startedOver(yield* operationsAround(memory, spy.around), options)
    return { ...process, spy }
  })
