/**
 * The operations of a store over a memory. The contract stands above this floor: the types here are those of its parts
 * that it needs, and the error of a lost lease is given to it.
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { DeadLettered, Limits, Memory, MemoryQueue, Place } from "./memory.ts"

interface Lease {
  readonly queue: string
  readonly epoch: number
}

interface Page {
  readonly after?: Place | undefined
  readonly limit: number
}

type Acquired =
  { readonly _tag: "Acquired"; readonly lease: Lease } | { readonly _tag: "Held"; readonly remaining: number }

export const operations = <E>(memory: Memory, lost: (lease: Lease) => E) => {
  const { listeners } = memory
  const on = <A>(queue: string, f: (queue: MemoryQueue, now: number) => A) =>
    Effect.map(Clock.currentTimeMillis, (now) => f(memory.queue(queue), now))
  const owning = <A>(lease: Lease, f: (queue: MemoryQueue, now: number) => A): Effect.Effect<A, E> =>
    Effect.flatten(
      on(lease.queue, (data, now) =>
        data.isHeldBy(lease.epoch) ? Effect.succeed(f(data, now)) : Effect.fail(lost({ ...lease }))
      )
    )
  /** Notifies listeners, after a change. */
  const notifying = <A>(queue: string, changed: boolean, answer: A): A => {
    if (changed) listeners.notify(queue)
    return answer
  }
  return {
    append: (queue: string, payloads: ReadonlyArray<Uint8Array>, limits: Limits | undefined) =>
      on(queue, (data, now) => {
        const admitted = data.append(payloads, limits, now)
        return notifying(queue, admitted, admitted)
      }),
    inTransaction: Effect.succeed(false),
    next: (lease: Lease, limits: Limits) => owning(lease, (data) => data.next(limits)),
    acknowledge: (lease: Lease, keys: ReadonlyArray<number>) =>
      owning(lease, (data) => notifying(lease.queue, data.acknowledge(keys), undefined)),
    deadLetter: (lease: Lease, events: ReadonlyArray<DeadLettered>) =>
      owning(lease, (data, now) => notifying(lease.queue, data.deadLetter(events, now), undefined)),
    list: (queue: string, page: Page) => on(queue, (data) => data.list(page.after, page.limit)),
    replay: (queue: string, keys: ReadonlyArray<number>) =>
      on(queue, (data) => {
        const replayed = data.replay(keys)
        return notifying(queue, replayed > 0, replayed)
      }),
    purge: (queue: string, keys: ReadonlyArray<number>) => on(queue, (data) => data.purge(keys)),
    size: (queue: string) => on(queue, (data) => data.size),
    acquire: (queue: string, ttl: Duration.Duration) =>
      on(queue, (data, now): Acquired => {
        const epoch = data.acquire(Duration.toMillis(ttl), now)
        return epoch > 0 ? { _tag: "Acquired", lease: { queue, epoch } } : { _tag: "Held", remaining: -epoch }
      }),
    renew: (lease: Lease, ttl: Duration.Duration) =>
      owning(lease, (data, now) => data.renew(Duration.toMillis(ttl), now)),
    release: (lease: Lease) => on(lease.queue, (data) => notifying(lease.queue, data.release(lease.epoch), undefined)),
    changes: (queue: string) => listeners.stream(queue)
  }
}
