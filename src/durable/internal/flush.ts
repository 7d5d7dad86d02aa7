/** Waits until what is stored is settled, by any process, and fails where no process delivers it. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import * as Option from "effect/Option"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { EventStoreError, Operations, Position, SubscriptionId, Which } from "../EventStore.ts"
import { NotDelivering } from "./error.ts"

export interface Options {
  readonly store: Operations
  /** Has the subscriptions that are waited for. */
  readonly which: Which
  /** Opens after each settlement, by this process or perhaps by another. */
  readonly progress: Latch.Latch
  /** Whether this process delivers a subscription of that name, under a lease or as soon as it gets one. */
  readonly serves: (name: string) => boolean
  /** Whether this process has deliveries up to a position that it has not settled. */
  readonly holds?: ((through: Position) => boolean) | undefined
}

/** How often what other processes have delivered is polled for, and whether there is one that delivers, in milliseconds. */
const pollInterval = 250
/** For how long no process has had the lease of a subscription until a flush fails, in milliseconds: a takeover is faster. */
const unservedAfter = 5_000

/** Flushes what is stored now for the subscriptions that `ids` answers. */
export const flush = Effect.fnUntraced(function* (
  { holds, progress, serves, store, which }: Options,
  ids: Effect.Effect<ReadonlyArray<SubscriptionId>, EventStoreError>
) {
  const pending = yield* ids
  progress.closeUnsafe()
  // Positions grow, so nothing is before the last any more once the first is behind it. What is coming gets a position yet.
  const bounds = yield* store.bounds(pending)
  const through = new Map(bounds.map(({ last, subscription }) => [subscription, last]))
  const coming = new Set(bounds.flatMap(({ isComing, subscription }) => (isComing === true ? subscription : [])))
  const clock = yield* Clock.Clock
  let checkedAt = monotonicMillis(clock)
  /** Since when no process was seen to have the lease. */
  const unserved = new Map<SubscriptionId, number>()

  const check = Effect.fnUntraced(function* (now: number) {
    for (const { id, name, reason: detail, state } of yield* store.list(which)) {
      if (!through.has(id)) continue
      const fail = (reason: NotDelivering["reason"]) =>
        Effect.fail(new NotDelivering({ exchange: which.exchange, subscription: name, reason, detail }))
      if (state !== "active") return yield* fail(state === "paused" ? "Paused" : "Disabled")
      if (serves(name) || (yield* store.figures(id))?.owner !== undefined) unserved.delete(id)
      else if (now - (unserved.get(id) ?? now) >= unservedAfter) return yield* fail("Unserved")
      else if (!unserved.has(id)) unserved.set(id, now)
    }
  })

  while (through.size > 0) {
    const isIdle = Option.isNone(yield* Effect.timeoutOption(progress.await, pollInterval))
    progress.closeUnsafe()
    const now = new Map((yield* store.bounds([...through.keys()])).map((one) => [one.subscription, one]))
    for (const [id, last] of through) {
      const found = now.get(id)
      if (coming.has(id) && found !== undefined) {
        through.set(id, found.last)
        if (found.isComing !== true) coming.delete(id)
      } else if ((found?.first ?? Infinity) > last && holds?.(last) !== true) through.delete(id)
    }
    const at = monotonicMillis(clock)
    // Also where other subscriptions make progress all the time.
    if (!isIdle && at - checkedAt < pollInterval) continue
    checkedAt = at
    yield* check(at)
  }
})
