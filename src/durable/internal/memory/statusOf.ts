/** What has become of an event, as the subscriptions of its exchange have it. */
import type { DeliveryState, EventStatus, Millis, Position } from "../../EventStore.ts"
import type { Event } from "./chain.ts"
import { type Entry, isMatch } from "./entry.ts"

export const statusOf = (entries: ReadonlyArray<Entry>, position: Position, now: Millis): EventStatus | undefined => {
  const found = entries.map((entry) => ({ entry, known: stateOf(entry, position, now) }))
  const [first] = found.flatMap(({ entry, known }) => (known === undefined ? [] : [{ entry, of: known.of }]))
  if (first === undefined) return undefined
  const { topic, writtenAt } = first.of
  const { tenant } = first.entry.subscription
  const deliveries = found
    .filter(({ entry }) => entry.subscription.tenant === tenant)
    .map(({ entry, known }) => ({
      subscription: entry.subscription.name,
      state: known?.state ?? { _tag: isMatch(entry.subscription, { tenant, topic }) ? "Unknown" : "Unmatched" },
      attempts: entry.outcomes.attemptsOf(position)
    }))
    .toSorted((one, other) => (one.subscription < other.subscription ? -1 : 1))
  return { position, topic, writtenAt, deliveries }
}

// internals

interface Known {
  readonly state: DeliveryState
  readonly of: Pick<Event, "topic" | "writtenAt">
}

const stateOf = (entry: Entry, of: Position, now: Millis): Known | undefined => {
  const { deadLetters, lanes, ordered, outcomes, scheduled, wait } = entry
  for (const chain of [ordered, ...lanes.values()]) {
    for (const row of chain.rows.values()) {
      if (row.of !== of) continue
      const failed = row.attempts + (wait?.position === row.position ? wait.attempts : 0)
      const own = chain !== ordered && chain.first === row && chain.due > 0 ? chain.due : undefined
      const nextAt = Math.max(own ?? 0, wait?.until ?? 0)
      return { state: { _tag: "Pending", failed, nextAt: nextAt > now ? nextAt : undefined }, of: row.event }
    }
  }
  const later = scheduled.find(({ row }) => row.of === of)
  if (later !== undefined) {
    const nextAt = Math.max(later.dueAt, wait?.until ?? 0)
    return { state: { _tag: "Pending", failed: 0, nextAt: nextAt > now ? nextAt : undefined }, of: later.row.event }
  }
  const dead = deadLetters.find((one) => one.of === of)?.letter
  if (dead !== undefined) {
    const { attempts: failed, cause, deadLetteredAt: at, reason } = dead
    return { state: { _tag: "DeadLettered", at, failed, reason, cause }, of: dead }
  }
  const outcome = outcomes.outcomeOf(of)
  return outcome && { state: { _tag: outcome._tag, at: outcome.at }, of: outcome }
}
