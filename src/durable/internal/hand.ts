/** What was read from a store and is not settled: some of it waits, and each line has some of it in hand. */
import type { Key, Stored } from "../EventStore.ts"
import { type Backlog, type Line, Sequence, type Settle } from "./backlog.ts"
import { maxGroup } from "./storeDrainer.ts"
import { Lanes } from "./lanes.ts"

/** An event that was read. */
export interface Row<out A> extends Stored {
  readonly event: A
  /** What it is kept in order with. */
  readonly partition: unknown
  /** It stays in the store, or has left it by another way: it is not to be acknowledged. */
  exempt: boolean
}

/** Positions in the backlog mean nothing here: an event has a key. */
const settled: Settle = () => {}

/** One drainer's part. */
export class HandLine<A> {
  private readonly hand: Hand<A>
  private readonly line: Line<Row<A>>
  /** What it was given, and how many of that are settled. */
  private rows: ReadonlyArray<Row<A>> = []
  private settledTo = 0

  constructor(hand: Hand<A>, line: Line<Row<A>>) {
    this.hand = hand
    this.line = line
  }

  /** What it has and is not settled. */
  get inHand(): ReadonlyArray<Row<A>> {
    return this.rows.slice(this.settledTo)
  }

  /** The event that it is at. */
  get row(): Row<A> | undefined {
    return this.rows[this.settledTo]
  }

  /** Takes some of what waits. All that it had is settled, or released. */
  poll(): ReadonlyArray<A> | undefined {
    const rows = this.line.poll() ?? []
    if (rows.length === 0) return undefined
    this.rows = rows
    this.settledTo = 0
    return rows.map(({ event }) => event)
  }

  /** The next `n` of what it has are settled: answers which these were. */
  settle(n: number): ReadonlyArray<Row<A>> {
    const rows = this.rows.slice(this.settledTo, this.settledTo + n)
    this.settledTo += n
    this.line.settled(n, settled)
    for (const { key } of rows) this.hand.unsettled.delete(key)
    // An idle line does not hold on to what it has delivered.
    if (this.settledTo >= this.rows.length) {
      this.rows = []
      this.settledTo = 0
    }
    return rows
  }

  /** Lets go what it has. */
  release(): void {
    this.settle(this.rows.length - this.settledTo)
  }
}

export class Hand<A> {
  readonly lines: ReadonlyArray<HandLine<A>>
  private readonly backlog: Backlog<Row<A>>
  /** In the order in which they were read. */
  readonly unsettled = new Map<Key, Row<A>>()
  /** How often it has let go of events that are in the store. What a read that began before has left out may be among them. */
  lettings = 0

  /** Without `partitioned` all lines take from the head. Those that take `whole` groups take all there is, or their share. */
  constructor(lines: number, whole: boolean, partitioned: boolean) {
    const most = whole ? maxGroup : 1
    this.backlog = partitioned
      ? new Lanes<Row<A>>(lines, most, ({ partition }) => partition)
      : new Sequence<Row<A>>(lines, most)
    this.lines = this.backlog.lines.map((line) => new HandLine(this, line))
  }

  /** Whether a line that has nothing would be given something. */
  get isReady(): boolean {
    return this.backlog.isReady
  }

  /** How many are not settled. */
  get size(): number {
    return this.unsettled.size
  }

  /** All that is not settled. */
  get rows(): ReadonlyArray<Row<A>> {
    return [...this.unsettled.values()]
  }

  /** The one of them that was read first. */
  get oldest(): Row<A> | undefined {
    for (const row of this.unsettled.values()) return row
    return undefined
  }

  /** What lines have in hand. */
  get inHand(): ReadonlyArray<Row<A>> {
    return this.lines.flatMap(({ inHand }) => inHand)
  }

  enter(rows: ReadonlyArray<Row<A>>): void {
    for (const row of rows) this.unsettled.set(row.key, row)
    this.backlog.enterAll(
      rows,
      rows.map(({ partition }) => partition)
    )
  }

  /** Forgets what waits. */
  forget(): void {
    this.lettings++
    this.takeOut()
  }

  /** Forgets some of what waits. */
  skip(keys: ReadonlySet<Key>): void {
    this.enter(this.takeOut().filter(({ key }) => !keys.has(key)))
  }

  /** Takes out all that waits, in order. */
  private takeOut(): ReadonlyArray<Row<A>> {
    const rows: Array<Row<A>> = []
    while (this.backlog.size > 0) rows.push(this.backlog.takeOldest(settled))
    for (const { key } of rows) this.unsettled.delete(key)
    return rows
  }
}
