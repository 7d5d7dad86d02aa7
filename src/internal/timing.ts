/**
 * How long the writes of a drainer take, for what watches its node: while nothing does there is no timing. Writes that end in the turn of the event
 * loop in which they began are one batch, up to the end of what the drainer has taken: one reading for all of them.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import type { Watch } from "./node.ts"

export type Timing = ReturnType<typeof makeTiming>

export const makeTiming = (context: Context.Context<never>, watch: Watch) => {
  const clock = Context.get(context, Clock.Clock)
  /** When the writes under way began, in seconds. */
  let began: number | undefined
  let isThisTurn = false
  const read = () => {
    began = Number(clock.monotonicTimeNanosUnsafe()) / 1e9
    if (isThisTurn) return
    isThisTurn = true
    void Promise.resolve().then(() => void (isThisTurn = false))
  }
  return {
    /** A write begins, after a wait or a failure. */
    begin: read,
    /** A write has ended, and the next one begins. */
    end: (isLast: boolean) => {
      if (isThisTurn && !isLast) return
      const before = began
      read()
      if (before === undefined || began === undefined) return
      for (const { processed } of watch.watchers ?? []) processed?.(began - before)
    }
  }
}
