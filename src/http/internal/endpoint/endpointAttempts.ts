/** The last attempts of an endpoint, in a ring of fixed size: neither events nor requests are kept. */
import * as Effect from "effect/Effect"
import type { SinkAttempt } from "../../../internal/controls.ts"
import type { Attempt } from "../../HttpSink.ts"

/** How many there are at most. */
const kept = 20

export interface EndpointAttempts {
  readonly add: (attempt: Attempt) => void
  /** The newest first. */
  readonly last: Effect.Effect<ReadonlyArray<SinkAttempt>>
}

export const makeEndpointAttempts = (): EndpointAttempts => {
  const ring: Array<SinkAttempt> = []
  let added = 0
  return {
    add: (attempt) => void (ring[added++ % kept] = shown(attempt)),
    last: Effect.sync(() => {
      const next = added % kept
      return [...ring.slice(next), ...ring.slice(0, next)].toReversed()
    })
  }
}

// internals

const shown = ({ at, duration, error, events, status }: Attempt): SinkAttempt => ({
  at,
  duration,
  events,
  outcome: status === undefined ? (error?.reason._tag ?? "accepted") : String(status),
  error: error?.reason.message
})
