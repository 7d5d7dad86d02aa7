/**
 * Looks after what a store holds, from any process: the subscriptions of all queues and broadcasters with their figures, what became
 * of an event, pause and resume, purge and drop, and the dead letters. Nothing here needs the schema of the events.
 *
 * A queue is an exchange with one subscription, and both have the name of the queue: `{ exchange: "orders" }` is all of it.
 *
 * @since 0.1.0
 */
import * as Effect from "effect/Effect"
import {
  type EventKey,
  EventStore,
  type EventStatus,
  type EventStoreError,
  type Operations,
  type Overview,
  type Which
} from "./EventStore.ts"
import { UnknownSubscription } from "./internal/error.ts"
import { guarded } from "./internal/guarded.ts"
import { purgePending } from "./internal/purgePending.ts"
import { eventKeyOf } from "./internal/sending.ts"
import { makeStoredDeadLetters, type StoredDeadLetters } from "./internal/storedDeadLetters.ts"

export { UnknownSubscription } from "./internal/error.ts"
export type { EventId } from "./internal/sending.ts"
export type {
  DeadLetterOptions,
  DeadLetterProgress,
  DeadLetterSelection,
  StoredDeadLetters
} from "./internal/storedDeadLetters.ts"

/**
 * The subscriptions of a store, by exchange, tenant and name, with all that is to be known of them: how much is pending and since
 * when, what comes due next, which process delivers, whether it is paused or disabled and why, and what it waits for.
 *
 * **Example** (What waits, and why)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Administration, MemoryStore } from "effect-events/durable"
 *
 * const look = Effect.gen(function* () {
 *   for (const { deadLetters, name, pending, reason, state, wait } of yield* Administration.subscriptions()) {
 *     console.log(name, pending, deadLetters, state, reason ?? wait?.reason ?? "")
 *   }
 * })
 *
 * Effect.runPromise(Effect.provide(look, MemoryStore.layer))
 * ```
 *
 * @category reading
 * @since 0.1.0
 */
export const subscriptions = (
  which: Partial<Which> = {}
): Effect.Effect<ReadonlyArray<Overview>, EventStoreError, EventStore> =>
  Effect.flatMap(operations, (store) => store.overview(which))

/**
 * What has become of an event of an exchange, by the id of its receipt, or by its own, and its tenant where it has one, while that is kept
 * for deduplication; nothing where nothing is kept of it.
 *
 * @category reading
 * @since 0.1.0
 */
export const status = (
  exchange: string,
  event: EventKey | string
): Effect.Effect<EventStatus | undefined, EventStoreError, EventStore> =>
  Effect.flatMap(operations, (store) => store.status(exchange, eventKeyOf(event)))

/**
 * Pauses delivery in the store, for all processes, until `resume`: writes are stored as before, and within a second nothing is
 * delivered but what is in flight. Answers how many subscriptions there are.
 *
 * @category operations
 * @since 0.1.0
 */
export const pause = (which: Which, reason?: string): Effect.Effect<number, EventStoreError, EventStore> =>
  Effect.flatMap(operations, (store) => store.setState(which, "paused", reason))

/**
 * Delivers again, after `pause` or where a subscription was disabled for its receiver, and ends what it waits for: so it has one
 * that is down tried at once. Answers how many subscriptions there are.
 *
 * @category operations
 * @since 0.1.0
 */
export const resume = (which: Which): Effect.Effect<number, EventStoreError, EventStore> =>
  Effect.flatMap(operations, (store) => store.setState(which, "active", undefined))

/**
 * Which waiting events a purge deletes.
 *
 * @category options
 * @since 0.1.0
 */
export interface PurgeOptions {
  /** Runs after each batch, of 1,000 at most, with how many are deleted of how many that were pending, by subscription. */
  readonly onProgress?:
    | ((progress: {
        readonly subscription: string
        readonly done: number
        readonly pending: number
      }) => Effect.Effect<void>)
    | undefined
}

/**
 * Deletes what is pending for good, as many deliveries as there are at the call, in batches; the dead letters stay. What is written
 * meanwhile may be among them, and what a process has taken already it may deliver still. Answers how many deliveries were deleted. When it fails or is interrupted, some may be gone.
 *
 * @category operations
 * @since 0.1.0
 */
export const purge = (
  which: Which,
  { onProgress = () => Effect.void }: PurgeOptions = {}
): Effect.Effect<number, EventStoreError, EventStore> =>
  Effect.gen(function* () {
    const store = yield* operations
    let purged = 0
    for (const { id, name } of yield* store.list(which)) {
      purged += yield* purgePending(store, id, (done, pending) => onProgress({ subscription: name, done, pending }))
    }
    return purged
  })

/**
 * Drops subscriptions for good, with their pending deliveries and dead letters. Answers how many deliveries were pending. A process
 * that serves one of them has it no more; a queue is made again by a process that makes it again.
 *
 * @category operations
 * @since 0.1.0
 */
export const drop = (which: Which): Effect.Effect<number, EventStoreError, EventStore> =>
  Effect.flatMap(operations, (store) => store.drop(which))

/**
 * The dead letters of one subscription, in their stored form. Fails with `UnknownSubscription` where there is none of that name.
 *
 * **Example** (Replaying what failed for one reason)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Administration, MemoryStore } from "effect-events/durable"
 *
 * const replay = Effect.gen(function* () {
 *   const deadLetters = yield* Administration.deadLetters({ exchange: "orders", name: "billing" })
 *   const replayed = yield* deadLetters.replay(
 *     { reason: "Exhausted", cause: "503", topic: "order/*" },
 *     { onProgress: ({ done, selected }) => Effect.log(`${done} of ${selected}`) }
 *   )
 *   yield* Effect.log(`${replayed} are delivered again`)
 * })
 *
 * Effect.runPromise(Effect.provide(replay, MemoryStore.layer).pipe(
 *   Effect.catchTag("UnknownSubscription", ({ message }) => Effect.sync(() => console.log(message)))
 * ))
 * // prints: the store has no subscription "billing" of "orders"
 * ```
 *
 * @category reading
 * @since 0.1.0
 */
export const deadLetters = (which: {
  readonly exchange: string
  readonly tenant?: string | undefined
  /** That of the exchange by default, as a queue's is. */
  readonly name?: string | undefined
}): Effect.Effect<StoredDeadLetters, EventStoreError | UnknownSubscription, EventStore> =>
  Effect.gen(function* () {
    const store = yield* operations
    const { exchange, name = exchange, tenant = "" } = which
    const [found] = yield* store.list({ exchange, tenant, name })
    if (found === undefined) return yield* new UnknownSubscription({ exchange, tenant, subscription: name })
    return makeStoredDeadLetters(Effect.succeed(found.id), store)
  })

// internals

/** A store may be the application's own code. */
const operations: Effect.Effect<Operations, never, EventStore> = EventStore.useSync(guarded)
