/** One run at a time on a store. */
import { Duration, Effect, Schedule } from "effect"
import { EventStore } from "effect-events/durable"
import { Problem } from "./Problem.ts"

/**
 * Takes a lease, as queues do, and keeps it while the scope is open. A run that was killed has it until `ttl` has passed;
 * one that has it for longer is alive.
 */
export const alone = Effect.fnUntraced(function* (ttl: Duration.Duration, folder: string) {
  const store = yield* EventStore.EventStore
  const acquired = yield* Effect.repeat(store.acquire("the run", ttl), {
    until: ({ _tag }) => _tag === "Acquired",
    schedule: Schedule.spaced("100 millis").pipe(Schedule.upTo({ duration: Duration.times(ttl, 3) }))
  })
  if (acquired._tag === "Held") return yield* new Problem({ message: `another run is at work in ${folder}` })
  yield* Effect.addFinalizer(() => Effect.orDie(store.release(acquired.lease)))
  // When it fails the lease runs out, and the next turn takes it again, or finds it lost.
  const renew = Effect.ignore(store.renew(acquired.lease, ttl), { log: "Warn" })
  yield* Effect.forkScoped(Effect.repeat(renew, Schedule.spaced(Duration.divideUnsafe(ttl, 3))))
})
