/** What is to be settled of a subscription, and the drainers that wait until the store knows of it. */
import type * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import type { Attempt, Position, Settled, Settlement } from "./port/records.ts"

export interface Unsettled {
  readonly add: (settled: Settled) => void
  /** An attempt was made, of which the store is to know. */
  readonly attempted: (attempt: Attempt) => void
  readonly all: () => ReadonlyArray<Settled>
  /** Whether there is anything, be it an attempt alone. */
  readonly hasSome: () => boolean
  /** Takes it out, to be settled. */
  readonly take: () => Pick<Settlement, "settled" | "attempts">
  /** It failed, and is to be settled later, before what has come since. */
  readonly putBack: (settlement: Pick<Settlement, "settled" | "attempts">) => void
  /** Answers what waits until the store knows what becomes of a delivery, from now on. */
  readonly known: (position: Position) => Effect.Effect<void>
  /** The store knows of these; with a wait, of all that stands in order. */
  readonly settled: (settlement: Pick<Settlement, "settled" | "wait">) => void
  /** Nothing becomes of a delivery: it is to be taken again. */
  readonly release: (position: Position) => void
  /** It belongs to a lease that is gone. */
  readonly clear: () => void
}

export const makeUnsettled = (): Unsettled => {
  let unsettled: Array<Settled> = []
  let attempts: Array<Attempt> = []
  const waiting = new Map<Position, Latch.Latch>()
  const open = (position: Position) => {
    const latch = waiting.get(position)
    waiting.delete(position)
    // What waits may go on within this call, and wait anew.
    latch?.openUnsafe()
  }
  const openAll = () => [...waiting.keys()].forEach(open)
  return {
    add: (settled) => void unsettled.push(settled),
    attempted: (attempt) => void attempts.push(attempt),
    all: () => unsettled,
    hasSome: () => unsettled.length > 0 || attempts.length > 0,
    take: () => {
      const taken = { settled: unsettled, attempts }
      unsettled = []
      attempts = []
      return taken
    },
    putBack: (settlement) => {
      unsettled = [...settlement.settled, ...unsettled]
      attempts = [...(settlement.attempts ?? []), ...attempts]
    },
    known: (position) => {
      const latch = Latch.makeUnsafe()
      waiting.set(position, latch)
      return latch.await
    },
    settled: ({ settled, wait }) => {
      if (waiting.size > 0) for (const { position } of settled) open(position)
      // The head waits with it. The end of a wait is no news of an event.
      if (wait !== undefined && wait.attempts > 0) openAll()
    },
    release: open,
    clear: () => {
      unsettled = []
      attempts = []
      openAll()
    }
  }
}
