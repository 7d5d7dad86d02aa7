import type { Node } from "../node.ts"

/**
 * The account of a durable queue. What is in the store was written by this process, by one before it or by another beside
 * it: what is accepted is what this process knows to be there, and what it saw leave.
 */
export class Account {
  readonly node: Node
  private known = 0

  constructor(node: Node) {
    this.node = node
    node.update = () => {
      node.accepted = this.known + node.delivered + node.dropped + node.deadLettered + node.kept
    }
  }

  /** How many events are in the store and not delivered, as far as it is known. */
  get waiting(): number {
    return this.known
  }

  entered(n: number): void {
    this.known += n
  }

  /** They are delivered, or otherwise gone. */
  left(n: number): void {
    this.known = Math.max(0, this.known - n)
  }

  /** There are so many at least. */
  atLeast(n: number): void {
    this.known = Math.max(this.known, n)
  }

  exactly(n: number): void {
    this.known = Math.max(0, n)
  }

  /** What is there now stays there. */
  keep(): number {
    const kept = this.known
    this.known = 0
    this.node.kept += kept
    return kept
  }
}
