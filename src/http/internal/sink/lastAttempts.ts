/** The last attempts of a sink, in a ring of fixed size: neither events nor requests are kept. */
import * as Effect from "effect/Effect"
import type { SinkAttempt } from "../../../internal/controls.ts"

/** How many there are at most. */
const kept = 20

export interface LastAttempts {
  readonly add: (attempt: SinkAttempt) => void
  /** The newest first. */
  readonly all: Effect.Effect<ReadonlyArray<SinkAttempt>>
}

export const makeLastAttempts = (): LastAttempts => {
  const ring: Array<SinkAttempt> = []
  let added = 0
  return {
    add: (attempt) => void (ring[added++ % kept] = attempt),
    all: Effect.sync(() => {
      const next = added % kept
      return [...ring.slice(next), ...ring.slice(0, next)].toReversed()
    })
  }
}
