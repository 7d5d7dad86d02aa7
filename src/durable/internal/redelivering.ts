/**
 * What a failed delivery comes to by its plan, and how a subscription waits as a whole: for its head, where all events are in
 * order, or for a receiver that is down.
 */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { hasProperty } from "effect/Predicate"
import * as Random from "effect/Random"
import type { Claimed, Millis, Position, Settlement } from "./port/records.ts"
import type { Next, Redelivery } from "../Redelivery.ts"
import type { DurableLog } from "./durableLog.ts"
import type { Row } from "./rows.ts"

/** What becomes of a receiver, as its attempts show. */
export type ReceiverState =
  | {
      readonly _tag: "Failing"
      /** Whether this is the first failure since it answered, and when that was. */
      readonly isFirst: boolean
      readonly since: Millis
      readonly reason: string
      /** Whether the delivery died, as of an envelope: that says nothing of the receiver. */
      readonly isDefect: boolean
    }
  | { readonly _tag: "Answering" }

type Waiting = Pick<Settlement, "wait" | "isFailing">

export interface Redelivering {
  /** What the plan makes of a failed attempt. */
  readonly judge: (row: Row<unknown>, cause: Cause.Cause<unknown>) => Effect.Effect<Next>
  /** How many attempts of an event have failed with this one, those before an earlier replay included. */
  readonly attemptsOf: (row: Row<unknown>) => number
  /** The same as the plan counts them, which is a fresh one after a replay. */
  readonly plannedOf: (row: Row<unknown>) => number
  /** The subscription waits for its head. */
  readonly wait: (row: Row<unknown>, delay: Duration.Duration, reason: string) => void
  /** An event has left without an attempt: in order it may be the head that the subscription waits for. */
  readonly removed: (position: Position) => void
  /**
   * An event of a subscription that is not in order has failed: several of them in a row mean that the receiver is down. It may
   * have been taken before the wait that is, and its receiver have asked for time.
   */
  readonly stepped: (position: Position, isLate: boolean, asked: Duration.Duration | undefined, reason: string) => void
  /** The receiver has answered: it took an event, or refused one for good. */
  readonly answered: () => void
  /** An attempt has failed without such an answer. */
  readonly failed: (reason: string, isDefect: boolean) => void
  /** The event that has failed last is waited for no more: in order the head is another. */
  readonly passed: () => void
  /** The subscription makes no attempt for a while, which nothing has failed for. */
  readonly rest: (delay: Duration.Duration, reason: string) => void
  /** Whether nothing is to be taken before the store knows of the wait. */
  readonly isHeld: () => boolean
  /** Whether it waits, or tries one event after a wait. */
  readonly isWaiting: () => boolean
  /** Whether an event that was not tried yet is to be tried next: one that no receiver takes must not hide one that is back. */
  readonly wantsFresh: () => boolean
  /** What is to be settled: taken out, put back where that failed, and done. */
  readonly settlement: () => Waiting | undefined
  readonly unsettled: (waiting: Waiting) => void
  readonly settled: (waiting: Waiting) => void
  readonly claimed: (claimed: Pick<Claimed, "attempts" | "firstFailedAt" | "failingSince">) => void
}

/** After how many failures in a row, of different events, a receiver counts as down. */
const downAfter = 5
/** The pauses of a receiver that is down, at first and at most, in milliseconds: each is twice the one before, less up to a fifth. */
const [firstPause, longestPause] = [10_000, 5 * 60_000]
/** When an event is delivered again whose plan has died. */
const afterDefect = { _tag: "Again", delay: Duration.minutes(1) } as const

export const makeRedelivering = (
  plan: Redelivery,
  isOrdered: boolean,
  context: Context.Context<never>,
  log: Pick<DurableLog, "planDied">,
  receiver?: (state: ReceiverState) => void
): Redelivering => {
  const clock = Context.get(context, Clock.Clock)
  const random = Context.get(context, Random.Random)
  /** How often the head, or the receiver, has failed, as far as the subscription waits for it; and since when. */
  let attempts = 0
  /** The head that has failed in order; nothing where another process has seen it fail. */
  let head: Position | undefined
  let firstFailedAt: number | undefined
  let due: Settlement["wait"]
  let isHeld = false
  /** Since when the receiver has not answered, and whether the store knows that it does not: only where `receiver` is. */
  let failingSince: Millis | undefined
  let isKnownToFail = false
  /** The events that have failed since the receiver answered. */
  const failing = new Set<Position>()

  const isHead = (position: Position) => head === undefined || head === position
  const waited = ({ position }: Row<unknown>) => (isHead(position) ? attempts : 0)
  const end = () => {
    attempts = 0
    firstFailedAt = undefined
    head = undefined
  }
  const hold = (delay: Duration.Duration, reason: string) => {
    attempts++
    firstFailedAt ??= clock.currentTimeMillisUnsafe()
    due = { delay, attempts, reason, position: head }
    isHeld = true
  }
  const endWait = () => {
    if (attempts === 0) return
    end()
    due = { delay: Duration.zero, attempts: 0 }
  }
  /** As the plan counts them: it is a fresh one after a replay. */
  const plannedOf = (row: Row<unknown>) =>
    (isOrdered ? waited(row) : row.firstFailedAt === undefined ? 0 : row.attempts) + 1
  return {
    attemptsOf: (row) => row.attempts + (isOrdered ? waited(row) : 0) + 1,
    plannedOf,
    judge: (row, cause) => {
      const next = Effect.suspend(() => {
        const now = clock.currentTimeMillisUnsafe()
        const first = isOrdered ? (isHead(row.position) ? firstFailedAt : undefined) : row.firstFailedAt
        const since = first ?? now
        const age = Duration.millis(Math.max(0, now - since))
        const error = Cause.squash(cause)
        return plan.next({ attempts: plannedOf(row), age, error, retryAfter: retryAfterOf(error) })
      })
      return Effect.catchCause(next, (cause) => Effect.as(log.planDied(cause), afterDefect))
    },
    wait: ({ position }, delay, reason) => {
      if (!isHead(position)) end()
      head = position
      hold(delay, reason)
    },
    removed: (position) => {
      if (isOrdered && isHead(position)) endWait()
    },
    stepped: (position, isLate, asked, reason) => {
      failing.add(position)
      // What was in flight when the wait began shows no more than what began it.
      if (isHeld || (isLate && attempts > 0)) return
      const isDown = attempts > 0 || failing.size >= downAfter
      if (!isDown && asked === undefined) return
      const pause = isDown ? Math.min(longestPause, firstPause * 2 ** Math.min(attempts, 20)) : 0
      const jittered = pause * (1 - random.nextDoubleUnsafe() / 5)
      hold(Duration.millis(Math.max(jittered, asked === undefined ? 0 : Duration.toMillis(asked))), reason)
    },
    answered: () => {
      failing.clear()
      endWait()
      if (failingSince === undefined) return
      failingSince = undefined
      receiver?.({ _tag: "Answering" })
    },
    failed: (reason, isDefect) => {
      if (receiver === undefined) return
      const isFirst = failingSince === undefined
      failingSince ??= clock.currentTimeMillisUnsafe()
      receiver({ _tag: "Failing", isFirst, since: failingSince, reason, isDefect })
    },
    passed: endWait,
    rest: (delay, reason) => {
      // A longer wait for what has failed comes first.
      if (attempts > 0) return
      due = { delay, attempts: 0, reason }
      isHeld = true
    },
    isHeld: () => isHeld,
    isWaiting: () => attempts > 0,
    wantsFresh: () => !isOrdered && attempts % 2 === 1,
    settlement: () => {
      const wait = due
      due = undefined
      const isFailing = failingSince !== undefined
      if (isFailing === isKnownToFail) return wait && { wait }
      isKnownToFail = isFailing
      return { wait, isFailing }
    },
    unsettled: ({ isFailing, wait }) => {
      due ??= wait
      if (isFailing !== undefined) isKnownToFail = !isFailing
    },
    settled: ({ wait }) => {
      if (wait !== undefined && due === undefined) isHeld = false
    },
    claimed: (claimed) => {
      attempts = claimed.attempts
      firstFailedAt = claimed.firstFailedAt
      failingSince = claimed.failingSince
      isKnownToFail = failingSince !== undefined
      head = undefined
      due = undefined
      isHeld = false
      failing.clear()
    }
  }
}

// internals

/** How long a receiver asks for no requests. */
export const retryAfterOf = (error: unknown): Duration.Duration | undefined => {
  if (!hasProperty(error, "retryAfter")) return undefined
  // Whatever it is: nothing is read of what is no duration.
  const asked = Duration.fromInput(error.retryAfter as Duration.Input)
  return asked._tag === "Some" ? asked.value : undefined
}
