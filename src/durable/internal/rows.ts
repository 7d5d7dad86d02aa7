/** The deliveries of a subscription that are with this process: taken from the store, and not removed from it yet. */
import type { Delivery, Limits, Millis, Position, Settled } from "./port/records.ts"

export interface Row<out A> {
  readonly position: Position
  readonly lane: number | undefined
  readonly attempts: number
  readonly firstFailedAt: number | undefined
  readonly writtenAt: number
  readonly bytes: number
  /** The `traceparent` of the write. */
  readonly trace: string | undefined
  readonly event: A
  /** Whether there is an event: a delivery that does not decode, or is dropped unread, has none. */
  readonly isEvent: boolean
  /** What became of it, once it is known. `aside` and `remaining`: it stays in the store. */
  outcome:
    Extract<Settled, { readonly _tag: "DeadLettered" }> | "delivered" | "dropped" | "aside" | "remaining" | undefined
}

export const rowOf = <A>(
  { attempts, firstFailedAt, lane, payload, position, trace, writtenAt }: Delivery,
  event: A,
  isEvent = true
): Row<A> => ({
  position,
  lane,
  attempts,
  firstFailedAt,
  writtenAt,
  bytes: payload.length,
  trace,
  event,
  isEvent,
  outcome: undefined
})

/** A delivery that is settled, and never delivered: nothing reads its event. */
export const rowWithout = <A>(delivery: Delivery): Row<A> => rowOf(delivery, undefined as A, false)

export interface Rows<in out A> {
  readonly size: () => number
  readonly all: () => ReadonlyArray<Row<A>>
  readonly positions: () => ReadonlyArray<Position>
  readonly add: (row: Row<A>) => void
  /** The row is in the store as before. */
  readonly forget: (row: Row<A>) => void
  readonly decide: (row: Row<A>, outcome: Exclude<Row<A>["outcome"], "aside" | "remaining" | undefined>) => void
  /** The store has settled it. */
  readonly settled: (position: Position) => void
  /** How many have no outcome yet. */
  readonly live: () => number
  /** When the first was written that is not settled: of these, and of those that went back to the store. */
  readonly oldest: () => Millis | undefined
  /** Another owner may deliver now what went back. */
  readonly released: () => void
  readonly hasUpTo: (through: Position) => boolean
  readonly hasDropped: () => boolean
  /** How much is settled and still in the store. */
  readonly settledSize: () => Limits
  /**
   * To be called before the store is asked how much it holds. The function that it answers is called after, and answers how
   * much of that is gone at most.
   */
  readonly gone: () => () => Limits
}

/** How many are known by themselves that wait in the store. */
const mostAside = 1_000

export const makeRows = <A>(): Rows<A> => {
  const rows = new Map<Position, Row<A>>()
  /** How much has had an outcome, and how much of that the store has removed. */
  const outcomes = { rows: 0, bytes: 0 }
  const removed = { rows: 0, bytes: 0 }
  const count = (of: typeof outcomes, { bytes }: Row<A>, n: number) => {
    of.rows += n
    of.bytes += n * bytes
  }
  const leaves = ({ outcome }: Row<A>) => outcome !== undefined && outcome !== "aside" && outcome !== "remaining"
  /** The first of the order that went back to the store: it waits, or what is in front of it does. */
  let first: Row<A> | undefined
  /** When those were written that are set aside. */
  const aside = new Map<Position, Millis>()
  const wentBack = (row: Row<A>) => {
    if (leaves(row)) return
    if (row.outcome === "aside" || row.lane !== undefined) {
      if (aside.size < mostAside) aside.set(row.position, row.writtenAt)
    } else if (first === undefined || row.position < first.position) first = row
  }
  const find = (holds: (row: Row<A>) => boolean) => {
    for (const row of rows.values()) if (holds(row)) return row
    return undefined
  }
  return {
    size: () => rows.size,
    all: () => [...rows.values()],
    positions: () => [...rows.keys()],
    add: (row) => {
      rows.set(row.position, row)
      aside.delete(row.position)
      if (row.lane === undefined && first !== undefined && first.position <= row.position) first = undefined
    },
    forget: (row) => {
      if (leaves(row)) count(outcomes, row, -1)
      wentBack(row)
      rows.delete(row.position)
    },
    decide: (row, outcome) => {
      row.outcome = outcome
      count(outcomes, row, 1)
    },
    settled: (position) => {
      const row = rows.get(position)
      if (row?.outcome === "aside") wentBack(row)
      else if (row !== undefined) count(removed, row, 1)
      rows.delete(position)
    },
    live: () => {
      let n = 0
      for (const { outcome } of rows.values()) if (outcome === undefined) n++
      return n
    },
    oldest: () => {
      const all = [find((row) => !leaves(row))?.writtenAt, first?.writtenAt, ...aside.values()]
      return all.reduce((least, one) => (one === undefined || (least !== undefined && least <= one) ? least : one))
    },
    released: () => {
      first = undefined
      aside.clear()
    },
    hasUpTo: (through) => find(({ position }) => position <= through) !== undefined,
    hasDropped: () => find(({ outcome }) => outcome === "dropped") !== undefined,
    settledSize: () => {
      const size = { rows: 0, bytes: 0 }
      for (const row of rows.values()) if (leaves(row)) count(size, row, 1)
      return size
    },
    gone: () => {
      const before = { ...removed }
      return () => ({ rows: outcomes.rows - before.rows, bytes: outcomes.bytes - before.bytes })
    }
  }
}
