/** Processes: durable queues over one memory, each with a store and a scope of its own. */
import { Effect, Exit, Schema, Scope } from "effect"
import type { Dropped, EventSink } from "effect-events"
import { DurableQueue, EventStore, MemoryStore, Redelivery } from "effect-events/durable"
import { operationsAround, Spy } from "./store.ts"

export type Options = Omit<DurableQueue.Options<number>, "name" | "schema"> & {
  readonly onDropped?: Dropped.OnDropped<number> | undefined
}

export const identity = { name: "events", schema: Schema.Int } as const

/** A process that has the queue "events" of numbers, without redelivery, over a memory, with a spy between the queue and the store. */
export const start = (
  dst: EventSink.EventSink<number, unknown>,
  options: Options & {
    readonly memory?: MemoryStore.Memory
    readonly spy?: Spy
    /** Puts something in place of the store's operations. */
    readonly store?: (store: EventStore.Operations) => EventStore.Operations
  } = {}
) =>
  Effect.gen(function* () {
    const {
      memory = yield* MemoryStore.makeMemory,
      onDropped,
      spy = new Spy(),
      store = (same) => same,
      ...rest
    } = options
    const scope = yield* Scope.make()
    const make = DurableQueue.make({
      redelivery: Redelivery.none,
      ...identity,
      ...rest,
      onDropped: onDropped ?? (() => Effect.void)
    })(dst)
    const operations = store(yield* operationsAround(memory, spy.around))
    const queue = yield* make.pipe(Effect.provideService(EventStore.EventStore, operations), Scope.provide(scope))
    return { queue, memory, spy, scope, close: Scope.close(scope, Exit.void) }
  })
