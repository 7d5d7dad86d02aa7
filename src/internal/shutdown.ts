import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Latch from "effect/Latch"
import type { Undelivered } from "../Dropped.ts"
import { endWithin } from "./deadline.ts"
import { type Account, drop, endAccount, type SinkNode } from "./node.ts"
import { leftBy, type WithReceipts } from "./receipt.ts"
import { maxTurn } from "./turns.ts"

export type Shutdown<A> = ReturnType<typeof makeShutdown<A>>

/**
 * The shutdown of a part, which happens once: every call waits for the same drain and gets the same list, and what no call
 * returned goes to `report` when the scope closes. `close` makes the part accept nothing more and answers with the drain. It
 * runs in a fiber of its own, so interrupting a call interrupts only the waiting.
 */
export const makeShutdown = <A>(
  context: Context.Context<never>,
  report: (list: ReadonlyArray<A>) => Effect.Effect<void>,
  close: () => Effect.Effect<ReadonlyArray<A>>
) => {
  const result = Deferred.makeUnsafe<ReadonlyArray<A>>()
  let hasBegun = false
  /** A call returned the list, or it has been reported. */
  let isTaken = false
  const take = () => void (isTaken = true)
  /** Begins unless it has begun. Where there is an `ownReport` it gets the list, without waiting for the scope. */
  const begin = (ownReport?: typeof report, ownClose = close) => {
    if (hasBegun) return
    hasBegun = true
    isTaken = ownReport !== undefined
    const drain = ownClose()
    const list = ownReport === undefined ? drain : Effect.tap(drain, ownReport)
    Effect.runForkWith(context)(Effect.onExit(list, (exit) => Deferred.done(result, exit)))
  }
  const drained = Effect.suspend(() => {
    begin()
    return Deferred.await(result)
  })
  return {
    begin,
    /** Begins, and waits for the drain: its list, which stays to be reported unless it is taken. */
    drained,
    /** The list is returned by another call, and not to be reported. */
    take,
    /** Begins, waits for the drain, and hands its list over. */
    awaited: Effect.map(drained, (list) => {
      take()
      return list
    }),
    /** Begins, waits for the drain, and reports what no call returned. */
    finished: drained.pipe(
      // Calls that were waiting too get the list first.
      Effect.tap(() => Effect.yieldNow),
      Effect.flatMap((list) => {
        if (isTaken) return Effect.void
        take()
        return report(list)
      })
    )
  }
}

/** What the events are counted as that a close leaves, or an eviction. */
export type Left = "undelivered" | "dropped"

/** What takes events and delivers them, until it ends. */
export interface Drainer<out A> {
  /** Opened when the drainer has ended: after its source, or when it was stopped. */
  readonly ended: Latch.Latch
  /** Ends it at once, and interrupts the write that is under way. */
  readonly stop: () => void
  /** Logs what refuses that interruption, and is left to itself. */
  readonly abandoned: () => Effect.Effect<void>
  /** The events that were taken and not settled: at most one batch. To be asked for once, at the end, with what they are counted as. */
  readonly undelivered: (as: Left) => ReadonlyArray<Undelivered<A>>
}

/** Waits for the end of a drainer until `timeout` or `cut`, then stops it. Answers the events that it leaves. */
export const endDrainer = <A>(
  { abandoned, ended, stop, undelivered }: Drainer<A>,
  timeout: Duration.Duration,
  as: Left = "undelivered",
  cut?: Effect.Effect<void>
) =>
  endWithin(ended, timeout, stop, cut).pipe(
    Effect.flatMap((isEnded) => (isEnded ? Effect.void : abandoned())),
    Effect.map(() => undelivered(as))
  )

/**
 * Adds to the list what else was not delivered, which `takeRest` answers with a part at a time until there is none, and
 * closes the account with all of it.
 */
export const closeWith = <A>(
  account: Account,
  node: SinkNode,
  as: Left,
  undelivered: ReadonlyArray<Undelivered<A>>,
  takeRest: () => ReadonlyArray<A> & WithReceipts
): Effect.Effect<ReadonlyArray<Undelivered<A>>> =>
  Effect.gen(function* () {
    const list = [...undelivered]
    for (let rest = takeRest(); rest.length > 0; rest = takeRest()) {
      for (let i = 0; i < rest.length; i++) {
        // Not out of bounds, by the condition.
        list.push({ event: rest[i]!, inFlight: false })
        rest.receipts?.[i]?.settle(node, leftBy(as, false))
        if (list.length % maxTurn === 0) yield* Effect.yieldNow
      }
    }
    if (as === "undelivered") account.undelivered += list.length
    else drop(account, "Lagged", list.length)
    endAccount(account)
    return list
  })
