import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import { within } from "./deadline.ts"
import { logLine } from "./failureLog.ts"
import { type Account, endAccount, type SinkNode } from "./node.ts"

/** The writes that are under way through a part, which its close waits for before anything below it is released. */
export const makeWrites = (account: Account, node: SinkNode) => {
  const idle = Latch.makeUnsafe(true)
  return {
    /** A write ends, which began by `account.inFlight++`. */
    end: () => {
      account.inFlight--
      if (account.inFlight === 0 && account.state !== "open") idle.openUnsafe()
    },
    /** Refuses further writes, and waits for those under way up to `timeout`. */
    close: (timeout: Duration.Duration): Effect.Effect<void> =>
      Effect.suspend(() => {
        account.state = "closing"
        if (account.inFlight > 0) idle.closeUnsafe()
        return Effect.flatMap(within(idle.await, timeout), (isIdle) => {
          endAccount(account)
          return isIdle
            ? Effect.void
            : logLine(node, "Warn", `closed while ${account.inFlight} writes through it were under way`, {
                writes: account.inFlight
              })
        })
      })
  }
}
