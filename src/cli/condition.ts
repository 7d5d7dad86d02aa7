/** Whether a subscription is delivered, in a word, and why not. */
import type { Overview } from "../durable/EventStore.ts"

export interface Condition {
  /**
   * `down`: its receiver is left alone for a while. `waiting`: for the next attempt of its first event, or all that is pending is
   * for later. `no process`: something is due, and no process has its lease.
   */
  readonly state: "delivering" | "idle" | "paused" | "disabled" | "down" | "waiting" | "no process"
  readonly reason: string | undefined
  readonly since: number | undefined
}

export const conditionOf = (
  { oldest, owner, pending, reason, since, state, wait }: Overview,
  now: number
): Condition => {
  if (state !== "active") return { state, reason, since }
  const isWaiting = wait !== undefined && wait.attempts > 0
  const isLater = wait !== undefined && wait.until > now
  if (owner === undefined && oldest !== undefined && !isLater) {
    return { state: "no process", reason: wait?.reason, since: wait?.until ?? oldest }
  }
  if (isWaiting) {
    const { firstFailedAt, position, reason } = wait
    return { state: position === undefined ? "down" : "waiting", reason, since: firstFailedAt }
  }
  if (pending === 0) return { state: "idle", reason: undefined, since: undefined }
  // Nothing has failed: it rests, as for the limit of a rate.
  if (isLater) return { state: "waiting", reason: wait.reason, since: undefined }
  return { state: oldest === undefined ? "waiting" : "delivering", reason: undefined, since: undefined }
}
