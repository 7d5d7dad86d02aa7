/** The events of a queue that wait, and the sources from which its drainers take them. */
import type * as Effect from "effect/Effect"
import { PagedTopic, TopicReader } from "./pagedTopic.ts"

/** The source of a drainer's events. Taking is no effect, so that no interruption comes between it and the drainer. */
export interface Source<out A> {
  /** Takes some events without waiting: an empty array at the end, `undefined` when there are none now. */
  readonly poll: () => ReadonlyArray<A> | undefined
  /** Waits until there may be some, or no more. */
  readonly wait: Effect.Effect<void>
  /**
   * Whether another owner may have by now the events that it gave and that are not settled: the drainer then releases
   * the rest of them. Answers `true` once, and is asked before each batch.
   */
  readonly isRevoked?: (() => boolean) | undefined
}

/** Notes that the `n` events from the position `from` on, counted in the order of their offers, are settled. */
export type Settle = (from: number, n: number) => void

/** The source of one drainer. */
export interface BacklogSource<out A> extends Source<A> {
  /** The next `n` events that it gave are settled. */
  readonly settled: (n: number, settle: Settle) => void
}

export interface Backlog<A> {
  /** How many events were offered. */
  readonly offered: number
  /** How many wait, and no drainer has taken. */
  readonly size: number
  /** Whether a source that has nothing in flight would be given something. */
  readonly isReady: boolean
  /** The position of the first event that is not settled, or of the next that is offered. */
  readonly oldest: number
  readonly sources: ReadonlyArray<BacklogSource<A>>
  /** The key of an event; a throw is the writer's, before anything has changed. */
  readonly keyOf: ((event: A) => unknown) | undefined
  /** Accepts an event, which belongs to `key`. */
  readonly offer: (event: A, key: unknown) => void
  /** Accepts a batch, whole. */
  readonly offerAll: (events: ReadonlyArray<A>, keys: ReadonlyArray<unknown>) => void
  /** Takes the event that has waited longest. There must be one. */
  readonly takeOldest: (settle: Settle) => A
  /** Accepts nothing more: the sources end when no event waits any more. */
  readonly end: () => void
  /** Gives nothing more out: the sources end now, and waiting events are left for `takeAll`. */
  readonly stop: () => void
  /** Takes all waiting events, in order. */
  readonly takeAll: () => ReadonlyArray<A>
}

/** Events in the order of their offers, whatever their keys. A source takes at most `most` at once, and its share. */
export class Sequence<A> implements Backlog<A> {
  private readonly topic = new PagedTopic<A>()
  private readonly reader = new TopicReader(this.topic)
  readonly sources: ReadonlyArray<BacklogSource<A>>
  readonly keyOf = undefined
  /** For each source the position of its first event that is not settled, and of the first that it was not given. */
  private readonly ranges: Array<{ next: number; end: number }> = []
  private stopped = false

  constructor(sources: number, most: number) {
    this.sources = Array.from({ length: sources }, () => this.source(most, sources))
  }

  private source(most: number, sources: number): BacklogSource<A> {
    const { reader } = this
    const range = { next: 0, end: 0 }
    this.ranges.push(range)
    return {
      wait: reader.woken,
      poll: () => {
        if (this.stopped) return []
        if (!reader.isReady) return undefined
        const next = reader.position
        // Events that one source takes as a batch would leave the others idle.
        const share = Math.min(most, Math.ceil(reader.size / sources))
        const events = most === Number.POSITIVE_INFINITY ? reader.some() : reader.poll(share)
        range.next = next
        range.end = next + events.length
        return events
      },
      settled: (n, settle) => {
        range.next += n
        settle(range.next - n, n)
      }
    }
  }

  get oldest(): number {
    let oldest = this.reader.position
    for (const { end, next } of this.ranges) if (next < end) oldest = Math.min(oldest, next)
    return oldest
  }

  get offered(): number {
    return this.topic.published
  }

  get size(): number {
    return this.reader.size
  }

  get isReady(): boolean {
    return this.reader.size > 0
  }

  offer(event: A): void {
    this.topic.publish(event)
  }

  offerAll(events: ReadonlyArray<A>): void {
    this.topic.publishAll(events)
  }

  takeOldest(settle: Settle): A {
    settle(this.reader.position, 1)
    // The caller has checked that there is one.
    return this.reader.poll(1)[0]!
  }

  end(): void {
    this.reader.cut()
  }

  stop(): void {
    this.stopped = true
    this.reader.cut()
  }

  takeAll(): ReadonlyArray<A> {
    return this.reader.rest()
  }
}
