/** What became of the deliveries of a subscription, by the positions of their events, for as long as that is kept. */
import type { Attempt, DeliveryState, Millis, Position } from "../../EventStore.ts"
import type { Event } from "./chain.ts"

type Ended = Extract<DeliveryState, { readonly _tag: "Delivered" | "Dropped" | "Purged" }>
export type Outcome = Ended & Pick<Event, "topic" | "writtenAt">

export interface Outcomes {
  readonly attempted: (event: Position, attempt: Attempt) => void
  readonly ended: (event: Position, state: Ended, of: Pick<Event, "topic" | "writtenAt">) => void
  readonly outcomeOf: (event: Position) => Outcome | undefined
  readonly attemptsOf: (event: Position) => ReadonlyArray<Omit<Attempt, "position">>
  readonly sweep: (before: Millis) => void
}

/** How many attempts of a delivery are kept. */
const most = 10

export const makeOutcomes = (): Outcomes => {
  const outcomes = new Map<Position, Outcome>()
  const attempts = new Map<Position, ReadonlyArray<Omit<Attempt, "position">>>()
  const attemptsOf = (event: Position) => attempts.get(event) ?? []
  return {
    attempted: (event, { at, error, took }) =>
      void attempts.set(event, [...attemptsOf(event), { at, took, error }].slice(-most)),
    ended: (event, state, { topic, writtenAt }) => void outcomes.set(event, { ...state, topic, writtenAt }),
    outcomeOf: (event) => outcomes.get(event),
    attemptsOf,
    sweep: (before) => {
      for (const [event, { at }] of outcomes) if (at < before) outcomes.delete(event)
      for (const [event, all] of attempts) if ((all.at(-1)?.at ?? 0) < before) attempts.delete(event)
    }
  }
}
