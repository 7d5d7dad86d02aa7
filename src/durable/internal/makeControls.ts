/** What a durable part can be asked to do beside writes, in the words of the core. */
import * as Effect from "effect/Effect"
import { decodeLeniently } from "../../internal/encoding/utf8.ts"
import type { SinkControls, SinkDeadLetter, SinkDeadLetterFilter } from "../../internal/controls.ts"
import type {
  DeadLetterFilter,
  DeadLetterReason,
  EventStoreError,
  Operations,
  StoredDeadLetter,
  SubscriptionId,
  Which
} from "../EventStore.ts"
import type { Subscriber } from "./serving.ts"
import { makeStoredDeadLetters } from "./storedDeadLetters.ts"

/** What a queue is whose subscription was dropped. */
export const gone = { state: "disabled", reason: "it was dropped", since: 0 } as const

interface Options {
  readonly store: Operations
  readonly which: Which
  /** Defines the subscription where that is not done yet. */
  readonly id: Effect.Effect<SubscriptionId, EventStoreError>
  readonly subscriber: () => Subscriber | undefined
}

export const makeControls = ({ id, store, subscriber, which }: Options): SinkControls => {
  const deadLetters = makeStoredDeadLetters(id, store)
  const setState = (state: "active" | "paused", reason: string | undefined) =>
    Effect.asVoid(Effect.andThen(id, store.setState(which, state, reason)))
  return {
    state: Effect.andThen(
      id,
      Effect.map(store.list(which), ([found = gone]) => ({
        state: found.state,
        reason: found.reason,
        since: found.since === 0 ? undefined : found.since
      }))
    ),
    pause: (reason) => setState("paused", reason),
    resume: setState("active", undefined),
    deadLetters: {
      count: (filter = {}) => deadLetters.count(filterOf(filter)),
      list: ({ after, content, limit, ...filter }) =>
        Effect.map(deadLetters.list({ ...filterOf(filter), after, limit }), (all) =>
          all.map((one) => shown(one, content === true))
        ),
      replay: (selection, options) => deadLetters.replay(selectionOf(selection), options),
      purge: (selection, options) => deadLetters.purge(selectionOf(selection), options)
    },
    figures: Effect.flatMap(id, (subscription) =>
      Effect.map(store.figures(subscription), (found) => ({
        pending: found?.pending ?? 0,
        deadLetters: found?.deadLetters ?? 0
      }))
    ),
    lease: () => {
      const now = subscriber()
      if (now?.isSuspended() === true) return "suspended"
      return now?.lease() === undefined ? "standby" : "held"
    }
  }
}

// internals

const shown = ({ payload, trace: _, ...one }: StoredDeadLetter, content: boolean): SinkDeadLetter => ({
  ...one,
  bytes: payload.length,
  ...(content && { text: decodeLeniently(payload) })
})

/** A reason that no store gives matches nothing. */
const filterOf = ({ reason, ...filter }: SinkDeadLetterFilter): DeadLetterFilter => ({
  ...filter,
  reason: reason as DeadLetterReason | undefined
})

/** `Array.isArray` does not narrow a `ReadonlyArray`. */
const isPositions = (value: SinkDeadLetterFilter | ReadonlyArray<number>): value is ReadonlyArray<number> =>
  Array.isArray(value)

const selectionOf = (selection: SinkDeadLetterFilter | ReadonlyArray<number>) =>
  isPositions(selection) ? selection.map((position) => ({ position })) : filterOf(selection)
