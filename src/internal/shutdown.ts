import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import type { Undelivered } from "../Dropped.ts"

type List<A> = ReadonlyArray<Undelivered<A>>

/**
 * The shutdown of a part, which happens once: every call waits for the same drain and gets the same list, and what no call
 * returned is reported when the scope closes. It runs in a fiber of its own, so interrupting a call interrupts only the
 * waiting.
 */
export interface Shutdown<A> {
  /** Begins to `drain` unless it has begun. The list goes to the calls of `shutdown`, or to the report when the scope closes. */
  readonly begin: (drain: Effect.Effect<List<A>>) => void
  /** Begins to `drain` unless it has begun, and hands the list to `report` without waiting for the scope. */
  readonly beginReported: (drain: Effect.Effect<List<A>>, report: (list: List<A>) => Effect.Effect<void>) => void
  /** Waits for a drain that has begun: its list, which stays to be reported unless it is taken. */
  readonly drained: Effect.Effect<List<A>>
  /** The list is returned by another call, and not to be reported. */
  readonly take: () => void
  /** Waits for a drain that has begun, and hands its list over. */
  readonly awaited: Effect.Effect<List<A>>
  /** Waits for a drain that has begun, and reports what no call returned. */
  readonly finished: Effect.Effect<void>
}

export const makeShutdown = <A>(
  context: Context.Context<never>,
  report: (list: List<A>) => Effect.Effect<void>
): Shutdown<A> => {
  const result = Deferred.makeUnsafe<List<A>>()
  let hasBegun = false
  /** A call returned the list, or it has been reported. */
  let isTaken = false
  const drained = Deferred.await(result)
  const take = () => {
    isTaken = true
  }
  const begin = (drain: Effect.Effect<List<A>>) => {
    if (hasBegun) return
    hasBegun = true
    Effect.runForkWith(context)(Effect.onExit(drain, (exit) => Deferred.done(result, exit)))
  }
  return {
    begin,
    beginReported: (drain, report) => {
      if (hasBegun) return
      isTaken = true
      begin(Effect.tap(drain, report))
    },
    drained,
    take,
    awaited: Effect.map(drained, (list) => {
      take()
      return list
    }),
    finished: drained.pipe(
      // Calls that were waiting too get the list first.
      Effect.tap(() => Effect.yieldNow),
      Effect.flatMap((list) => {
        if (isTaken) return Effect.void
        isTaken = true
        return report(list)
      })
    )
  }
}
