/** Stores for the tests of durable queues: a memory with readable content, and operations with the behaviour of a test. */
import { Duration, Effect, Layer } from "effect"
import { EventStore, MemoryStore } from "effect-events/durable"
import { settle as settleEntry } from "../../../src/durable/internal/memory/entry.ts"

/** What a spy calls an operation: a settlement is one of dead letters, or an acknowledgement. */
export type Name =
  Exclude<keyof EventStore.Operations, "inTransaction" | "changes" | "sweep" | "settle"> | "acknowledge" | "deadLetter"

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

/** Another process over a memory, as far as tests need it: it has the queue of a name, and delivers nothing. */
export const processOver = (memory: MemoryStore.Memory, queue = "events") =>
  Effect.map(operationsOver(memory), (store) => {
    const id = Effect.map(store.define(queue, [{ name: queue, topics: ["*"] }]), ([found]) => found!.id)
    let owner: EventStore.Owner | undefined
    return {
      store,
      append: (payloads: readonly [Uint8Array, ...Array<Uint8Array>]) =>
        Effect.andThen(
          id,
          store.publish(queue, payloads.map((payload) => ({ payload })) as unknown as readonly [EventStore.NewEvent])
        ),
      /** Answers the lease, or nothing when another owner has it or nothing is due. */
      acquire: (ttl: Duration.Input) =>
        Effect.gen(function* () {
          owner = yield* store.renew(owner ?? { name: "other" }, Duration.fromInputUnsafe(ttl))
          const { acquired } = yield* store.claim(owner, [yield* id], 1)
          return acquired[0]
        }),
      acknowledge: (lease: EventStore.Lease, positions: ReadonlyArray<number>) =>
        store.settle(owner!, [
          { lease, settled: positions.map((position) => ({ _tag: "Acknowledged" as const, position })) }
        ]),
      release: (lease: EventStore.Lease) => store.release(owner!, [lease])
    }
  })

/** What happens to the lease and the events of a queue past every store. */
export const queueOf = (memory: MemoryStore.Memory, queue = "events") => {
  const entries = () => [...memory.entries.values()].filter(({ subscription }) => subscription.exchange === queue)
  return {
    /** The owner's life is over, and another has the lease until it is released. */
    steal: () => {
      memory.owners.clear()
      for (const entry of entries()) {
        entry.owner = 999
        entry.epoch++
        memory.owners.set(999, { name: "thief", renewedAt: 0, expiresAt: Number.MAX_SAFE_INTEGER })
      }
    },
    release: Effect.suspend(() =>
      Effect.flatMap(operationsOver(memory), (store) => Effect.orDie(store.release({ id: 999, name: "thief" }, "all")))
    ),
    acknowledge: (positions: ReadonlyArray<number>) => {
      for (const entry of entries()) {
        settleEntry(entry, { settled: positions.map((position) => ({ _tag: "Acknowledged", position })) }, 0)
      }
    },
    positions: () => entries().flatMap(({ ordered }) => [...ordered.rows.keys()]),
    figures: () => ({
      pending: entries().reduce((n, { pending }) => n + pending, 0),
      deadLetters: entries().reduce((n, { deadLetters }) => n + deadLetters.length, 0)
    })
  }
}

/** The same, each around what `around` does. */
export const operationsAround = (memory: MemoryStore.Memory, around: Around): Effect.Effect<EventStore.Operations> =>
  Effect.map(operationsOver(memory), (store) => {
    const wrap =
      <Args extends ReadonlyArray<unknown>, A>(
        name: Name | ((...args: Args) => Name),
        f: (...args: Args) => Effect.Effect<A, EventStore.EventStoreError>
      ) =>
      (...args: Args) =>
        around(
          typeof name === "function" ? name(...args) : name,
          Effect.suspend(() => f(...args)),
          args
        )
    return {
      open: wrap("open", store.open),
      define: wrap("define", store.define),
      publish: wrap("publish", store.publish),
      inTransaction: store.inTransaction,
      setState: wrap("setState", store.setState),
      drop: wrap("drop", store.drop),
      list: wrap("list", store.list),
      overview: wrap("overview", store.overview),
      status: wrap("status", store.status),
      discard: wrap("discard", store.discard),
      countDeadLetters: wrap("countDeadLetters", store.countDeadLetters),
      figures: wrap("figures", store.figures),
      bounds: wrap("bounds", store.bounds),
      renew: wrap("renew", store.renew),
      claim: wrap("claim", store.claim),
      take: wrap("take", store.take),
      settle: wrap(
        (_, settlements) =>
          settlements.some(({ settled }) => settled.some(({ _tag }) => _tag === "DeadLettered"))
            ? "deadLetter"
            : "acknowledge",
        store.settle
      ),
      release: wrap("release", store.release),
      deadLetters: wrap("deadLetters", store.deadLetters),
      replay: wrap("replay", store.replay),
      resend: wrap("resend", store.resend),
      attempts: wrap("attempts", store.attempts),
      purge: wrap("purge", store.purge),
      sweep: store.sweep,
      changes: store.changes
    }
  })

export const layerAround = (memory: MemoryStore.Memory, around: Around) =>
  Layer.effect(EventStore.EventStore, operationsAround(memory, around))

/** What a memory holds of a queue, past every store. */
export const eventsOf = (memory: MemoryStore.Memory, queue = "events"): ReadonlyArray<unknown> =>
  entriesOf(memory, queue).flatMap(({ lanes, ordered }) =>
    [ordered, ...lanes.values()]
      .flatMap(({ rows }) => [...rows.values()])
      .toSorted((one, other) => one.position - other.position)
      .map(({ event }) => decode(event))
  )

export const deadLettersOf = (memory: MemoryStore.Memory, queue = "events"): ReadonlyArray<unknown> =>
  entriesOf(memory, queue).flatMap(({ deadLetters }) => deadLetters.map(({ letter }) => decode(letter)))

const entriesOf = (memory: MemoryStore.Memory, queue: string) =>
  [...memory.entries.values()].filter(({ subscription }) => subscription.exchange === queue)

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

  /** The sizes of the batches that were published or settled. */
  sizes(name: "publish" | "acknowledge" | "deadLetter"): ReadonlyArray<number> {
    const found = this.calls.filter((call) => call.name === name)
    return name === "publish"
      ? found.map(({ args }) => (args[1] as ReadonlyArray<unknown>).length)
      : found.map(({ args }) =>
          (args[1] as ReadonlyArray<EventStore.Settlement>).reduce((n, { settled }) => n + settled.length, 0)
        )
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
