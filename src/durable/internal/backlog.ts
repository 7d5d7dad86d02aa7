/** What a queue keeps: events that wait, and the lines in which its drainers take them. */
import type { Source } from "./draining.ts"
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
  /** Whether a line that has nothing in hand would be given something. */
  readonly isReady: boolean
  /** The position of the first event that is not settled, or of the next that enters. */
  readonly oldest: number
  readonly lines: ReadonlyArray<Line<A>>
  /** The key of an event; what it throws is the writer's, before anything has changed. */
  readonly keyOf: ((event: A) => unknown) | undefined
  /** Lets an event in, which belongs to `key`. */
  readonly enter: (event: A, key: unknown) => void
  /** Lets a group in, whole. */
  readonly enterAll: (events: ReadonlyArray<A>, keys: ReadonlyArray<unknown>) => void
  /** Takes out the event that has waited longest. There must be one. */
  readonly takeOldest: (settle: Settle) => A
  /** Lets nothing more in: its lines end when nothing waits any more. */
  readonly end: () => void
  /** Gives nothing more out: its lines end now, and what waits is left for `rest`. */
  readonly stop: () => void
  /** Takes out all that wait, in order. */
  readonly rest: () => ReadonlyArray<A>
}

/** Events in the order of their entry, whatever their keys. A line takes at most `most` at once, and its share. */
export class Sequence<A> implements Backlog<A> {
  private readonly topic = new Topic<A>()
  private readonly feed = new Feed(this.topic)
  readonly lines: ReadonlyArray<Line<A>>
  readonly keyOf = undefined
  /** For each line the position of its first event that is not settled, and of the first that it was not given. */
  private readonly hands: Array<{ next: number; end: number }> = []
  private stopped = false

  constructor(lines: number, most: number) {
    this.lines = Array.from({ length: lines }, () => this.line(most, lines))
  }

  private line(most: number, lines: number): Line<A> {
    const { feed } = this
    const hand = { next: 0, end: 0 }
    this.hands.push(hand)
    return {
      wait: feed.woken,
      poll: () => {
        if (this.stopped) return []
        if (!feed.isReady) return undefined
        const next = feed.position
        // What one takes as a group the others cannot: they would be idle.
        const share = Math.min(most, Math.ceil(feed.size / lines))
        const events = most === Number.POSITIVE_INFINITY ? feed.some() : feed.poll(share)
        hand.next = next
        hand.end = next + events.length
        return events
      },
      settled: (n, settle) => {
        hand.next += n
        settle(hand.next - n, n)
      }
    }
  }

  get oldest(): number {
    let oldest = this.feed.position
    for (const { end, next } of this.hands) if (next < end) oldest = Math.min(oldest, next)
    return oldest
  }

  get entered(): number {
    return this.topic.published
  }

  get size(): number {
    return this.feed.size
  }

  get isReady(): boolean {
    return this.feed.size > 0
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

  stop(): void {
    this.stopped = true
    this.feed.cut()
  }

  rest(): ReadonlyArray<A> {
    return this.feed.rest()
  }
}
