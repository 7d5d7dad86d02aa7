/** What settles for a process: one statement for all of its subscriptions that have something to be settled. */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Semaphore from "effect/Semaphore"
import type { EventStoreError, Operations, Owner, Settlement, SubscriptionId } from "../EventStore.ts"
import type { Subscriber } from "./serving.ts"

export interface Options {
  readonly store: Operations
  readonly owner: () => Owner | undefined
  readonly subscribers: ReadonlyMap<SubscriptionId, Subscriber>
  /** Something has been settled that another claim may show; or nothing has. */
  readonly settled: (isWaiting: boolean) => void
  /** The store has answered the loop, or failed: what is to be waited for then. */
  readonly answered: () => void
  readonly troubled: (error: EventStoreError) => Effect.Effect<void>
}

export interface Settlements {
  /** The loops, to be run for as long as the process serves something. */
  readonly loops: ReadonlyArray<Effect.Effect<never>>
  /** A subscriber has something to be settled: at once, or within 100 ms. */
  readonly soon: (subscriber: Subscriber, atOnce: boolean) => void
  /** Settles what a subscriber has, now. */
  readonly flush: (subscriber: Subscriber) => Effect.Effect<void, EventStoreError>
  /** A subscriber is served no more. */
  readonly forget: (subscriber: Subscriber) => void
}

/** How long a delivered event waits for its acknowledgement while others are in flight. */
const acknowledgeDelay = "100 millis"

export const makeSettlements = ({ answered, owner, settled, store, subscribers, troubled }: Options): Settlements => {
  const waiting = new Set<Subscriber>()
  const now = Latch.makeUnsafe()
  const later = Latch.makeUnsafe()
  const turn = Semaphore.makeUnsafe(1)

  const settle = (some: Iterable<Subscriber>): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const current = owner()
      if (current === undefined) return Effect.void
      const settlements: Array<Settlement> = []
      const of = new Map<Settlement, Subscriber>()
      for (const one of some) {
        const settlement = one.settlement()
        if (settlement === undefined) continue
        settlements.push(settlement)
        of.set(settlement, one)
      }
      if (!isReadonlyArrayNonEmpty(settlements)) return Effect.void
      const done = (lost: ReadonlyArray<SubscriptionId>) => {
        for (const [settlement, one] of of) {
          if (!lost.includes(one.id)) {
            one.settled(settlement)
            // A claim shows when what waits is due.
            settled(settlement.wait !== undefined || settlement.settled.some(({ _tag }) => _tag === "Again"))
          } else if (one.lease()?.epoch === settlement.lease.epoch) one.lost()
        }
      }
      const put = () => {
        for (const [settlement, one] of of) {
          one.unsettled(settlement)
          if (subscribers.get(one.id) === one) waiting.add(one)
        }
        now.openUnsafe()
      }
      return store.settle(current, settlements).pipe(
        Effect.onError(() => Effect.sync(put)),
        Effect.map(done)
      )
    })
  /** What waits for the next turn by itself: many that end together are one statement. */
  let next = new Set<Subscriber>()
  const flush = (subscriber: Subscriber): Effect.Effect<void, EventStoreError> =>
    Effect.suspend(() => {
      const group = next
      group.add(subscriber)
      const own = Effect.suspend(() => {
        const others = [...group]
        group.clear()
        if (next === group) next = new Set()
        // After a failure it is settled alone: what the store does not take may be another's.
        return Effect.andThen(others.length > 1 ? Effect.exit(settle(others)) : Effect.void, settle([subscriber]))
      })
      return Effect.onInterrupt(turn.withPermits(1)(own), () => Effect.sync(() => void group.delete(subscriber)))
    })
  const turns = Effect.gen(function* () {
    yield* now.await
    yield* Effect.yieldNow
    const one = Effect.suspend(() => {
      now.closeUnsafe()
      const some = [...waiting]
      waiting.clear()
      return settle(some)
    })
    yield* turn.withPermits(1)(one)
    answered()
  }).pipe(
    Effect.catch((error) =>
      Effect.map(troubled(error), () => {
        for (const one of subscribers.values()) waiting.add(one)
        now.openUnsafe()
      })
    ),
    Effect.forever
  )
  const delays = Effect.gen(function* () {
    yield* later.await
    yield* Effect.sleep(acknowledgeDelay)
    later.closeUnsafe()
    now.openUnsafe()
  }).pipe(Effect.forever)

  return {
    loops: [turns, delays],
    soon: (subscriber, atOnce) => {
      waiting.add(subscriber)
      if (atOnce) now.openUnsafe()
      else later.openUnsafe()
    },
    flush,
    forget: (subscriber) => void waiting.delete(subscriber)
  }
}
