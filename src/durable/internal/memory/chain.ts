/** Deliveries in the order of their positions, of which any is removed without a look at the others. */
import type { Delivery, Millis, Position } from "../../EventStore.ts"

/** What a delivery, a dead letter and a retained event have of their event. */
export type Event = Pick<Delivery, "payload" | "topic" | "contentType" | "trace" | "writtenAt">

/** A pending delivery. */
export interface Row extends Pick<Delivery, "position" | "attempts" | "firstFailedAt"> {
  /** The position of its event, which is its own until it gets a later one. */
  readonly of: Position
  readonly event: Event
  before?: Row | undefined
  after?: Row | undefined
}

/** The deliveries of a lane, or those in the order of their subscription. */
export interface Chain {
  readonly rows: Map<Position, Row>
  first: Row | undefined
  last: Row | undefined
  /** When the first one is due; 0 is at once, whatever the clock. */
  due: Millis
}

export const makeChain = (): Chain => ({ rows: new Map(), first: undefined, last: undefined, due: 0 })

/** Puts a row to its place: most belong to the end. Answers whether it is the first now. */
export const insert = (chain: Chain, { attempts, event, firstFailedAt, of, position }: Row): boolean => {
  let before = chain.last
  while (before !== undefined && before.position > position) before = before.before
  const after = before === undefined ? chain.first : before.after
  const row: Row = { position, of, event, attempts, firstFailedAt, before, after }
  if (before === undefined) chain.first = row
  else before.after = row
  if (after === undefined) chain.last = row
  else after.before = row
  chain.rows.set(position, row)
  return before === undefined
}

/** Removes the row of a position, if it is there. */
export const remove = (chain: Chain | undefined, position: Position): Row | undefined => {
  const row = chain?.rows.get(position)
  if (chain === undefined || row === undefined) return undefined
  if (row.before === undefined) chain.first = row.after
  else row.before.after = row.after
  if (row.after === undefined) chain.last = row.before
  else row.after.before = row.before
  chain.rows.delete(position)
  return row
}
