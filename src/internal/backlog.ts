/** What a queue keeps: events that wait, and the lines in which its drainers take them. */
import type { Source } from "./drainer.ts"
import { Feed, Topic } from "./feed.ts"

/** Tells that the `n` events from the position `from` on, counted by their entry, are settled. */
export type Settle = (from: number, n: number) => void

/** One drainer's side of a backlog. */
export interface Line<out A> extends Source<A> {
  /** The next `n` events that it gave are settled. */
  readonly settled: (n: number, settle: Settle) => void
}

export interface Backlog<A> {
  /** How many events have entered. */
  readonly entered: number
  /** How many wait, in nobody's hand. */
  readonly size: number
  readonly lines: ReadonlyArray<Line<A>>
  /** Lets an event in, which belongs to `key`. */
  readonly enter: (event: A, key: unknown) => void
  /** Lets a group in, whole. */
  readonly enterAll: (events: ReadonlyArray<A>, keys: ReadonlyArray<unknown>) => void
  /** Takes out the event that has waited longest. There must be one. */
  readonly takeOldest: (settle: Settle) => A
  /** Lets nothing more in: its lines end when nothing waits any more. */
  readonly end: () => void
  /** Takes out all that wait, in order. */
  readonly rest: () => ReadonlyArray<A>
}

/** Events in the order of their entry, whatever their keys. A line takes at most `most` at once. */
export class Sequence<A> implements Backlog<A> {
  private readonly topic = new Topic<A>()
  private readonly feed = new Feed(this.topic)
  readonly lines: ReadonlyArray<Line<A>>

  constructor(lines: number, most: number) {
    this.lines = Array.from({ length: lines }, () => this.line(most))
  }

  private line(most: number): Line<A> {
    const { feed } = this
    let given = 0
    return {
      wait: feed.woken,
      poll: () => {
        if (!feed.isReady) return undefined
        given = feed.position
        return most === Number.POSITIVE_INFINITY ? feed.some() : feed.poll(most)
      },
      settled: (n, settle) => {
        given += n
        settle(given - n, n)
      }
    }
  }

  get entered(): number {
    return this.topic.published
  }

  get size(): number {
    return this.feed.size
  }

  enter(event: A): void {
    this.topic.publish(event)
  }

  enterAll(events: ReadonlyArray<A>): void {
    this.topic.publishAll(events)
  }

  takeOldest(settle: Settle): A {
    settle(this.feed.position, 1)
    // There is one, says the caller.
    return this.feed.poll(1)[0]!
  }

  end(): void {
    this.feed.cut()
  }

  rest(): ReadonlyArray<A> {
    return this.feed.rest()
  }
}
