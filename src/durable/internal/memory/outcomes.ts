/** What became of the deliveries of a subscription, by the positions of their events, for as long as that is kept. */
import type { Attempt, AttemptPage, DeliveryState, Millis, Position, StoredAttempt } from "../../EventStore.ts"
import type { Event } from "./chain.ts"

type Ended = Extract<DeliveryState, { readonly _tag: "Delivered" | "Dropped" | "Purged" }>
export type Outcome = Ended & Pick<Event, "topic" | "writtenAt">

export interface Outcomes {
  readonly attempted: (event: Position, topic: string, attempt: Attempt, now: Millis) => void
  readonly ended: (event: Position, state: Ended, of: Pick<Event, "topic" | "writtenAt">) => void
  readonly outcomeOf: (event: Position) => Outcome | undefined
  readonly attemptsOf: (event: Position) => ReadonlyArray<Omit<Attempt, "position">>
  readonly page: (page: AttemptPage) => ReadonlyArray<StoredAttempt>
  readonly sweep: (before: Millis) => void
}

interface Stored {
  readonly attempt: StoredAttempt
  readonly keptAt: Millis
}

/** How many attempts of a delivery are kept, and how many characters of what they tell. */
const most = 10
const mostDetail = 1_000

export const makeOutcomes = (): Outcomes => {
  const outcomes = new Map<Position, Outcome>()
  const attempts = new Map<Position, ReadonlyArray<Stored>>()
  const keptOf = (event: Position) => attempts.get(event) ?? []
  return {
    attempted: (position, topic, { at, detail, error, took }, keptAt) => {
      const attempt = { position, topic, at, took, error, detail: detail?.slice(0, mostDetail) }
      attempts.set(position, [...keptOf(position), { attempt, keptAt }].slice(-most))
    },
    ended: (event, state, { topic, writtenAt }) => void outcomes.set(event, { ...state, topic, writtenAt }),
    outcomeOf: (event) => outcomes.get(event),
    attemptsOf: (event) =>
      keptOf(event).map(({ attempt: { at, detail, error, took } }) => ({ at, took, error, detail })),
    page: ({ before, failedOnly = false, limit }) =>
      Array.from(attempts.values(), (all) => all.map(({ attempt }) => attempt))
        .flat()
        .filter((one) => (before === undefined || isBefore(one, before)) && !(failedOnly && one.error === undefined))
        .toSorted((one, other) => other.at - one.at || other.position - one.position)
        .slice(0, limit),
    sweep: (before) => {
      for (const [event, { at }] of outcomes) if (at < before) outcomes.delete(event)
      for (const [event, all] of attempts) {
        const rest = all.filter(({ keptAt }) => keptAt >= before)
        if (rest.length === 0) attempts.delete(event)
        else attempts.set(event, rest)
      }
    }
  }
}

// internals

const isBefore = (one: StoredAttempt, { at, position }: Pick<StoredAttempt, "at" | "position">): boolean =>
  one.at < at || (one.at === at && one.position < position)
