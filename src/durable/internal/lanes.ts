/**
 * The keys of a subscription whose waiting deliveries are set aside in the store, each in a lane: a key that hangs, or is
 * flooded, does not fill the memory that other keys need. A lane is the hash of a key, of as many values as a claim answers at most:
 * keys that share one are in order with each other too.
 */
import * as Hash from "effect/Hash"
import type { Claimed, Delivery, Position, Settled } from "./port/records.ts"
import type { Row } from "./rows.ts"

export interface Lanes<in A> {
  /** The lanes that the store had when the lease was acquired. */
  readonly claimed: (lanes: Claimed["lanes"]) => void
  /**
   * Deliveries up to a position are in the order of the subscription again that were taken: nothing is taken from a lane before
   * them, which may belong in front of it.
   */
  readonly putBack: (through: Position) => void
  /** The lane of an event that stands in the order of the subscription, if events of its key are aside: it belongs behind them. */
  readonly behind: (event: A) => number | undefined
  readonly setAside: (event: A) => number
  /** The first delivery of a lane waits for its time. */
  readonly wait: (lane: number) => void
  /** Whether there are lanes: what is settled may have freed one. */
  readonly hasSome: () => boolean
  /** The lanes that nothing is to be taken from: those of the events that are in memory, or may be in front of them in the order. */
  readonly busy: (inMemory: () => ReadonlyArray<Row<A>>) => ReadonlyArray<number>
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
  /**
   * Up to where the order must have been taken before a lane is: what an owner before had in flight stands in the order, in front
   * of what was set aside behind it, and is to go to the lane first.
   */
  const after = new Map<number, Position>()
  /** Those whose first delivery may wait for its time: that nothing of them is given does not mean that nothing is left. */
  const asleep = new Set<number>()
  // The hash of a whole number is the number: keys may differ in its upper half alone.
  const laneOf = (event: A) => {
    const hash = Hash.hash(keyOf(event))
    return (hash ^ (hash >>> 16)) & 0xffff
  }
  return {
    claimed: (lanes) => {
      aside.clear()
      after.clear()
      asleep.clear()
      for (const { first, lane } of lanes) {
        aside.add(lane)
        asleep.add(lane)
        after.set(lane, first)
      }
    },
    putBack: (through) => {
      if (through > 0) for (const lane of aside) after.set(lane, Math.max(after.get(lane) ?? 0, through))
    },
    behind: (event) => {
      if (aside.size === 0) return undefined
      const lane = laneOf(event)
      return aside.has(lane) ? lane : undefined
    },
    setAside: (event) => {
      const lane = laneOf(event)
      aside.add(lane)
      return lane
    },
    wait: (lane) => {
      aside.add(lane)
      asleep.add(lane)
    },
    hasSome: () => aside.size > 0,
    busy: (inMemory) => {
      if (aside.size === 0) return []
      const lanes = new Set(after.keys())
      for (const { event, isEvent, lane } of inMemory()) {
        const one = lane ?? (isEvent ? laneOf(event) : undefined)
        if (one !== undefined && aside.has(one)) lanes.add(one)
      }
      return [...lanes]
    },
    taken: (deliveries, more, busy, unsettled) => {
      if (aside.size === 0) return false
      const before = after.size
      let through = more ? 0 : Number.POSITIVE_INFINITY
      for (const { lane, position } of deliveries) {
        if (lane === undefined) through = Math.max(through, position)
        else asleep.delete(lane)
      }
      for (const [lane, first] of after) if (first <= through) after.delete(lane)
      // The store gives nothing during a wait either, and this process may take that for over: only with deliveries in the answer is
      // a lane without any of them empty.
      if (!more && deliveries.length > 0) {
        const kept = new Set<number | undefined>(busy)
        for (const { lane } of deliveries) kept.add(lane)
        for (const { lane } of unsettled) kept.add(lane)
        for (const lane of aside) if (!kept.has(lane) && !asleep.has(lane)) aside.delete(lane)
      }
      return after.size < before
    }
  }
}
