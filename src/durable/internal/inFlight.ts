/** Events that were read from a store and are not settled: some of them wait, the others are taken by drainers. */
import type { Key, Stored } from "../EventStore.ts"
import { type Backlog, type BacklogSource, Sequence, type Settle } from "./backlog.ts"
import { maxBatch } from "./storeDrainer.ts"
import { Partitions } from "./partitions.ts"

/** An event that was read. */
export interface Row<out A> extends Stored {
  readonly event: A
  /** The key that it is in order with. */
  readonly partition: unknown
  /** It stays in the store, or has left it in another way: it is not to be acknowledged. */
  exempt: boolean
}

/** Positions in the backlog have no use here: an event has a key. */
const settled: Settle = () => {}

/** The source of one drainer. */
export class InFlightSource<A> {
  private readonly inFlight: InFlight<A>
  private readonly source: BacklogSource<Row<A>>
  /** The batch that it gave last, and how many of its events are settled. */
  private rows: ReadonlyArray<Row<A>> = []
  private settledTo = 0

  constructor(inFlight: InFlight<A>, source: BacklogSource<Row<A>>) {
    this.inFlight = inFlight
    this.source = source
  }

  /** The events of the batch that are not settled. */
  get taken(): ReadonlyArray<Row<A>> {
    return this.rows.slice(this.settledTo)
  }

  /** The event that the drainer delivers. */
  get row(): Row<A> | undefined {
    return this.rows[this.settledTo]
  }

  /** Takes some of the waiting events. The batch before is settled, or released. */
  poll(): ReadonlyArray<A> | undefined {
    const rows = this.source.poll() ?? []
    if (rows.length === 0) return undefined
    this.rows = rows
    this.settledTo = 0
    return rows.map(({ event }) => event)
  }

  /** The next `n` events of the batch are settled. Answers which these were. */
  settle(n: number): ReadonlyArray<Row<A>> {
    const rows = this.rows.slice(this.settledTo, this.settledTo + n)
    this.settledTo += n
    this.source.settled(n, settled)
    for (const { key } of rows) this.inFlight.unsettled.delete(key)
    // An idle source does not keep delivered events from the collector.
    if (this.settledTo >= this.rows.length) {
      this.rows = []
      this.settledTo = 0
    }
    return rows
  }

  /** Releases the rest of the batch. */
  release(): void {
    this.settle(this.rows.length - this.settledTo)
  }
}

export class InFlight<A> {
  readonly sources: ReadonlyArray<InFlightSource<A>>
  private readonly backlog: Backlog<Row<A>>
  /** In the order in which they were read. */
  readonly unsettled = new Map<Key, Row<A>>()
  /** How often events were evicted that are in the store. A read that began before may have left them out. */
  generation = 0

  /** Without `partitioned` all sources take from the head. With `whole` a source takes all there is, or its share. */
  constructor(sources: number, whole: boolean, partitioned: boolean) {
    const most = whole ? maxBatch : 1
    this.backlog = partitioned
      ? new Partitions<Row<A>>(sources, most, ({ partition }) => partition)
      : new Sequence<Row<A>>(sources, most)
    this.sources = this.backlog.sources.map((source) => new InFlightSource(this, source))
  }

  /** Whether a source that has nothing would be given something. */
  get isReady(): boolean {
    return this.backlog.isReady
  }

  /** How many are not settled. */
  get size(): number {
    return this.unsettled.size
  }

  /** All events that are not settled. */
  get rows(): ReadonlyArray<Row<A>> {
    return [...this.unsettled.values()]
  }

  /** The one of them that was read first. */
  get oldest(): Row<A> | undefined {
    for (const row of this.unsettled.values()) return row
    return undefined
  }

  /** The events that drainers have taken. */
  get taken(): ReadonlyArray<Row<A>> {
    return this.sources.flatMap(({ taken }) => taken)
  }

  offer(rows: ReadonlyArray<Row<A>>): void {
    for (const row of rows) this.unsettled.set(row.key, row)
    this.backlog.offerAll(
      rows,
      rows.map(({ partition }) => partition)
    )
  }

  /** Evicts all waiting events. */
  evict(): void {
    this.generation++
    this.takeAll()
  }

  /** Evicts some of the waiting events. */
  skip(keys: ReadonlySet<Key>): void {
    this.offer(this.takeAll().filter(({ key }) => !keys.has(key)))
  }

  /** Takes all waiting events, in order. */
  private takeAll(): ReadonlyArray<Row<A>> {
    const rows: Array<Row<A>> = []
    while (this.backlog.size > 0) rows.push(this.backlog.takeOldest(settled))
    for (const { key } of rows) this.unsettled.delete(key)
    return rows
  }
}
