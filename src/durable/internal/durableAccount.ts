import { type Account as Counts, makeAccount, type SinkNode } from "../../internal/node.ts"

/**
 * The account of a durable queue. Events in the store were written by this process, by one before it or by another
 * beside it: the accepted ones are those that this process has seen stored, delivered or dropped.
 */
export class DurableAccount {
  readonly node: SinkNode
  readonly counts: Counts = makeAccount()
  private stored = 0
  /** How many events were ever counted as stored. */
  private appends = 0

  /** The node is made over these counts, and updates them before they are read. */
  constructor(makeNode: (counts: Counts, update: () => void) => SinkNode) {
    const { counts } = this
    this.node = makeNode(counts, () => {
      counts.accepted = this.stored + counts.delivered + counts.dropped + counts.deadLettered + counts.remaining
    })
  }

  /** How many events are in the store and not delivered, as far as this process has seen. */
  get waiting(): number {
    return this.stored
  }

  appended(n: number): void {
    this.stored += n
    this.appends += n
  }

  /** Events are delivered, or otherwise gone. */
  removed(n: number): void {
    this.stored = Math.max(0, this.stored - n)
  }

  private atLeast(n: number): void {
    this.stored = Math.max(this.stored, n)
  }

  /**
   * Begins a read at the head of the queue, and answers a function for its end, which takes how many events were found.
   * No event found means that none is stored, unless some were appended meanwhile: the transaction of an event that
   * counted as stored was rolled back.
   */
  reading(): (n: number) => void {
    const before = this.appends
    return (n) => {
      if (n > 0) this.atLeast(n)
      else if (this.appends === before) this.exactly(0)
    }
  }

  exactly(n: number): void {
    this.stored = Math.max(0, n)
  }

  /** Counts the stored events as remaining, at the close. */
  remain(): number {
    const remaining = this.stored
    this.stored = 0
    this.counts.remaining += remaining
    return remaining
  }
}
