/** Stores for the tests of durable queues: a memory with readable content, and operations with the behaviour of a test. */
import { Effect, Layer } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"

export type Name = Exclude<keyof EventStore.Operations, "inTransaction" | "changes">
type Failure = EventStore.EventStoreError | EventStore.LeaseLost

/** What happens in place of an operation: it may run it, or not, or twice. */
export type Around = <A, E>(
  name: Name,
  run: Effect.Effect<A, E>,
  args: ReadonlyArray<unknown>
) => Effect.Effect<A, E | EventStore.EventStoreError>

export const error = (
  operation: string,
  options: { readonly maybeCommitted?: boolean; readonly problem?: EventStore.StoreProblem } = {}
) =>
  new EventStore.EventStoreError({
    store: "test",
    operation,
    problem: options.problem ?? "Disconnected",
    detail: "the test pulled the plug",
    maybeCommitted: options.maybeCommitted ?? false
  })

/** The operations over a memory, as one process has them. */
export const operationsOver = (memory: MemoryStore.Memory): Effect.Effect<EventStore.Operations> =>
  Effect.provide(EventStore.EventStore, MemoryStore.layerOver(memory))

/** The same, each around what `around` does. */
export const operationsAround = (memory: MemoryStore.Memory, around: Around): Effect.Effect<EventStore.Operations> =>
  Effect.map(operationsOver(memory), (store) => {
    const wrap =
      <Args extends ReadonlyArray<unknown>, A, E extends Failure>(
        name: Name,
        f: (...args: Args) => Effect.Effect<A, E>
      ) =>
      (...args: Args) =>
        around(
          name,
          Effect.suspend(() => f(...args)),
          args
        )
    return {
      append: wrap("append", store.append),
      inTransaction: store.inTransaction,
      next: wrap("next", store.next),
      acknowledge: wrap("acknowledge", store.acknowledge),
      deadLetter: wrap("deadLetter", store.deadLetter),
      list: wrap("list", store.list),
      replay: wrap("replay", store.replay),
      purge: wrap("purge", store.purge),
      size: wrap("size", store.size),
      acquire: wrap("acquire", store.acquire),
      renew: wrap("renew", store.renew),
      release: wrap("release", store.release),
      changes: store.changes
    }
  })

export const layerAround = (memory: MemoryStore.Memory, around: Around) =>
  Layer.effect(EventStore.EventStore, operationsAround(memory, around))

/** What a memory holds of a queue, past every store. */
export const eventsOf = (memory: MemoryStore.Memory, queue = "events"): ReadonlyArray<unknown> =>
  memory.queue(queue).next({ rows: Number.POSITIVE_INFINITY, bytes: Number.POSITIVE_INFINITY }).map(decode)

export const deadLettersOf = (memory: MemoryStore.Memory, queue = "events"): ReadonlyArray<unknown> =>
  memory.queue(queue).list(undefined, Number.POSITIVE_INFINITY).map(decode)

const decode = ({ payload }: { readonly payload: Uint8Array }): unknown => JSON.parse(new TextDecoder().decode(payload))

export const bytesOf = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value))

/** Counts the calls of each operation, and does with them as `act` says; nothing by default. */
export class Spy {
  readonly calls: Array<{ readonly name: Name; readonly args: ReadonlyArray<unknown> }> = []
  act: Around = (_, run) => run

  readonly around: Around = (name, run, args) =>
    Effect.suspend(() => {
      this.calls.push({ name, args })
      return this.act(name, run, args)
    })

  count(name: Name): number {
    return this.calls.filter((call) => call.name === name).length
  }

  /** The sizes of the batches that were appended or acknowledged or dead-lettered. */
  sizes(name: "append" | "acknowledge" | "deadLetter"): ReadonlyArray<number> {
    return this.calls.filter((call) => call.name === name).map(({ args }) => (args[1] as ReadonlyArray<unknown>).length)
  }

  /** Every call of these operations fails, from now on. */
  fail(names: ReadonlyArray<Name>, options?: Parameters<typeof error>[1]): void {
    this.act = (name, run) => (names.includes(name) ? Effect.fail(error(name, options)) : run)
  }

  /** Every call of these operations hangs, from now on. */
  hang(names: ReadonlyArray<Name>): void {
    this.act = (name, run) => (names.includes(name) ? Effect.never : run)
  }

  heal(): void {
    this.act = (_, run) => run
  }
}
