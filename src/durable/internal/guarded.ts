/**
 * A store whose defects are errors too. A store may be the application's own code: a delivery that died of a defect
 * would ask it again at once, and for ever.
 */
import * as Effect from "effect/Effect"
import { EventStoreError, type Operations } from "../EventStore.ts"

const defectOf = (operation: string) => (cause: unknown) =>
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

export const guarded = (store: Operations): Operations => {
  const guard = <Args extends ReadonlyArray<unknown>, A>(
    operation: keyof Operations,
    run: (...args: Args) => Effect.Effect<A, EventStoreError>
  ) => {
    const died = defectOf(operation)
    return (...args: Args): Effect.Effect<A, EventStoreError> =>
      Effect.catchDefect(
        Effect.suspend(() => run(...args)),
        died
      )
  }
  return {
    open: guard("open", store.open),
    define: guard("define", store.define),
    publish: guard("publish", store.publish),
    inTransaction: store.inTransaction,
    setState: guard("setState", store.setState),
    drop: guard("drop", store.drop),
    list: guard("list", store.list),
    figures: guard("figures", store.figures),
    overview: guard("overview", store.overview),
    status: guard("status", store.status),
    discard: guard("discard", store.discard),
    bounds: guard("bounds", store.bounds),
    renew: guard("renew", store.renew),
    claim: guard("claim", store.claim),
    take: guard("take", store.take),
    settle: guard("settle", store.settle),
    release: guard("release", store.release),
    countDeadLetters: guard("countDeadLetters", store.countDeadLetters),
    deadLetters: guard("deadLetters", store.deadLetters),
    replay: guard("replay", store.replay),
    resend: guard("resend", store.resend),
    attempts: guard("attempts", store.attempts),
    purge: guard("purge", store.purge),
    sweep: Effect.catchDefect(store.sweep, defectOf("sweep")),
    changes: store.changes
  }
}
