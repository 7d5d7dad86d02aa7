import { type Account as Counts, makeAccount, type SinkNode } from "../../internal/node.ts"

/**
 * The account of a durable queue. What is in the store was written by this process, by one before it or by another beside
 * it: what is accepted is what this process knows to be there, and what it saw leave.
 */
export class Account {
  readonly node: SinkNode
  readonly counts: Counts = makeAccount()
  private known = 0
  /** How many events were ever taken for stored. */
  private entries = 0

  /** Its node is made over its counts, and brings them up to date before they are read. */
  constructor(makeNode: (counts: Counts, update: () => void) => SinkNode) {
    const { counts } = this
    this.node = makeNode(counts, () => {
      counts.accepted = this.known + counts.delivered + counts.dropped + counts.deadLettered + counts.remaining
    })
  }

  /** How many events are in the store and not delivered, as far as it is known. */
  get waiting(): number {
    return this.known
  }

  entered(n: number): void {
    this.known += n
    this.entries += n
  }

  /** They are delivered, or otherwise gone. */
  left(n: number): void {
    this.known = Math.max(0, this.known - n)
  }

  private atLeast(n: number): void {
    this.known = Math.max(this.known, n)
  }

  /**
   * Begins a look at the head of the line, and answers what to tell of its end: how many were found. When none were, there
   * are none, unless some entered meanwhile: what was taken for stored was in a transaction that came to nothing.
   */
  looking(): (n: number) => void {
    const before = this.entries
    return (n) => {
      if (n > 0) this.atLeast(n)
      else if (this.entries === before) this.exactly(0)
    }
  }

  exactly(n: number): void {
    this.known = Math.max(0, n)
  }

  /** What is there now stays there. */
  keep(): number {
    const remaining = this.known
    this.known = 0
    this.counts.remaining += remaining
    return remaining
  }
}
