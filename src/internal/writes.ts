import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { within } from "./deadline.ts"
import { annotate } from "./failureLog.ts"
import type { Account, SinkNode } from "./node.ts"

/** The writes that are under way through a part, which its close waits for before anything below it is released. */
export interface Writes {
  /** A write ends, which began by `account.inFlight++`. */
  readonly end: () => void
  /** Refuses further writes, and waits for those under way up to `timeout`. */
  readonly close: (timeout: Duration.Duration) => Effect.Effect<void>
}

export const makeWrites = (account: Account, node: SinkNode): Writes => {
  const idle = Latch.makeUnsafe(true)
  return {
    end: () => {
      account.inFlight--
      if (account.inFlight === 0 && account.state !== "open") idle.openUnsafe()
    },
    close: (timeout) =>
      Effect.suspend(() => {
        account.state = "closing"
        if (account.inFlight > 0) idle.closeUnsafe()
        return Effect.flatMap(within(idle.await, timeout), (isIdle) => {
          account.state = "closed"
          if (isIdle) return Effect.void
          return Effect.logWarning(
            `${node.kind} "${node.name}" closed while ${account.inFlight} writes through it were under way`
          ).pipe(annotate(node.kind, node.name))
        })
      })
  }
}

/**
 * Runs the write that `begin` answers with, and `end` after it; or `closed`, where `begin` answers nothing. The write begins
 * inside of what notices its end, since a fiber that is made to yield between two operations can be interrupted there.
 */
export const runWrite = <I, A, E>(
  input: I,
  begin: (input: I, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<A, E> | undefined,
  end: (exit: Exit.Exit<A, E>) => Effect.Effect<void> | undefined,
  closed: Effect.Effect<never, E>
): Effect.Effect<A, E> =>
  Effect.withFiber((fiber) => {
    let hasBegun = false
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        const write = begin(input, fiber)
        hasBegun = write !== undefined
        return write ?? closed
      }),
      (exit) => (hasBegun ? end(exit) : undefined)
    )
  })
