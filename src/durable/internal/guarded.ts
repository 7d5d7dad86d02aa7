/**
 * A store whose defects are errors too. A store may be the application's own code: a delivery that died of a defect
 * would ask it again at once, and for ever.
 */
import * as Effect from "effect/Effect"
import { EventStoreError, type Operations } from "../EventStore.ts"

export const guarded = (store: Operations): Operations => {
  const guard =
    <Args extends ReadonlyArray<unknown>, A, E>(operation: string, run: (...args: Args) => Effect.Effect<A, E>) =>
    (...args: Args): Effect.Effect<A, E | EventStoreError> =>
      Effect.catchDefect(
        Effect.suspend(() => run(...args)),
        (cause) =>
          Effect.fail(
            new EventStoreError({
              store: "unknown",
              operation,
              problem: "Other",
              detail: "it died of a defect",
              maybeCommitted: true,
              cause
            })
          )
      )
  return {
    append: guard("append", store.append),
    inTransaction: store.inTransaction,
    next: guard("next", store.next),
    acknowledge: guard("acknowledge", store.acknowledge),
    deadLetter: guard("deadLetter", store.deadLetter),
    list: guard("list", store.list),
    replay: guard("replay", store.replay),
    purge: guard("purge", store.purge),
    size: guard("size", store.size),
    acquire: guard("acquire", store.acquire),
    renew: guard("renew", store.renew),
    release: guard("release", store.release),
    changes: store.changes
  }
}
