/**
 * The keys of a subscription whose waiting deliveries are set aside in the store, each in a lane: a key that hangs, or is
 * flooded, does not fill the memory that other keys need. A lane is the hash of a key: keys that share one are in order with
 * each other too.
 */
import * as Hash from "effect/Hash"
import type { Delivery, Settled } from "../EventStore.ts"

export interface Lanes<in A> {
  /** The lanes that the store had when the lease was acquired. */
  readonly claimed: (lanes: ReadonlyArray<number>) => void
  /** The lane of an event that stands in the order of the subscription, if events of its key are aside: it belongs behind them. */
  readonly behind: (event: A) => number | undefined
  readonly setAside: (event: A) => number
  /** Whether there are lanes: what is settled may have freed one. */
  readonly hasSome: () => boolean
  /** The lanes that nothing is to be taken from: those of the events that are in memory. */
  readonly busy: (inMemory: () => ReadonlyArray<A>) => ReadonlyArray<number>
  /**
   * Notes the answer to a take that left `busy` lanes out, and answers whether another take may find more in them. Lanes that
   * have nothing left are forgotten.
   */
  readonly taken: (
    deliveries: ReadonlyArray<Delivery>,
    more: boolean,
    busy: ReadonlyArray<number>,
    unsettled: ReadonlyArray<Settled>
  ) => boolean
}

export const makeLanes = <A>(keyOf: (event: A) => unknown): Lanes<A> => {
  const aside = new Set<number>()
  /** Nothing was taken under the lease: what the owner before had in flight stands in front of its lane, and is to go there. */
  let isFirst = false
  return {
    claimed: (lanes) => {
      aside.clear()
      for (const lane of lanes) aside.add(lane)
      isFirst = lanes.length > 0
    },
    behind: (event) => {
      if (aside.size === 0) return undefined
      const lane = Hash.hash(keyOf(event))
      return aside.has(lane) ? lane : undefined
    },
    setAside: (event) => {
      const lane = Hash.hash(keyOf(event))
      aside.add(lane)
      return lane
    },
    hasSome: () => aside.size > 0,
    busy: (inMemory) => {
      if (aside.size === 0) return []
      if (isFirst) return [...aside]
      const lanes = new Set(inMemory().map((event) => Hash.hash(keyOf(event))))
      return [...lanes].filter((lane) => aside.has(lane))
    },
    taken: (deliveries, more, busy, unsettled) => {
      const wasFirst = isFirst
      isFirst = false
      if (more || wasFirst || aside.size === 0) return wasFirst
      const kept = new Set<number | undefined>(busy)
      for (const { lane } of deliveries) kept.add(lane)
      for (const { lane } of unsettled) kept.add(lane)
      for (const lane of aside) if (!kept.has(lane)) aside.delete(lane)
      return false
    }
  }
}
