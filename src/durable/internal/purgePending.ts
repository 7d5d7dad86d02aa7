import * as Effect from "effect/Effect"
import type { EventStoreError, Operations, SubscriptionId } from "../EventStore.ts"

/** How many deliveries one step of the store deletes, at most. */
const batchSize = 1_000

/** Deletes as much of what is pending of a subscription as there is at the call, in batches, and answers how much that was. */
export const purgePending = Effect.fnUntraced(function* (
  store: Operations,
  subscription: SubscriptionId,
  progress: (done: number, pending: number) => Effect.Effect<void> = () => Effect.void
): Effect.fn.Return<number, EventStoreError> {
  const pending = (yield* store.figures(subscription))?.pending ?? 0
  let done = 0
  while (done < pending) {
    const deleted = yield* store.discard(subscription, Math.min(batchSize, pending - done))
    if (deleted === 0) break
    done += deleted
    yield* progress(done, pending)
  }
  return done
})
