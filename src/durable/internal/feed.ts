/** What a broadcaster keeps: each published event once, and for each reader its place among them. */
import * as Effect from "effect/Effect"

/** Events on a page, at most: what a feed that is slow keeps from the collector although others have read it. */
const fullPage = 1024
/** A page with this many events is closed when a feed takes them, so that all feeds share the array. */
const worthSharing = 32
/** Pages smaller than this are taken several at once, for sinks that take groups. */
const enough = 512

/** An open page is written to, and the last. A closed one does not change any more. */
interface Page<A> {
  readonly events: Array<A>
  next: Page<A> | undefined
}

const emptyPage = <A>(): Page<A> => ({ events: [], next: undefined })

/**
 * Published events, each until the last of the feeds has read it. A `PubSub` does the same with an object and a count of
 * readers for each event, which each reader touches; here a reader mostly gets an array that is there already.
 */
export class Topic<A> {
  /** How many events were published. */
  published = 0
  /** The open page. */
  page: Page<A> = emptyPage()
  private feeds = 0
  private readonly waiting = new Set<Feed<A>>()

  publish(event: A): void {
    this.add(event)
    if (this.waiting.size > 0) this.wake()
  }

  publishAll(events: ReadonlyArray<A>): void {
    if (events.length < worthSharing) for (const event of events) this.add(event)
    else this.addPage(events.slice())
    if (this.waiting.size > 0) this.wake()
  }

  get isShared(): boolean {
    return this.feeds > 1
  }

  private add(event: A): void {
    this.published++
    if (this.feeds === 0) return
    if (this.page.events.length === fullPage) this.turn()
    this.page.events.push(event)
  }

  private addPage(events: Array<A>): void {
    this.published += events.length
    if (this.feeds === 0) return
    this.turn({ events, next: undefined })
    this.turn()
  }

  /** Closes the open page, and opens another. */
  turn(page: Page<A> = emptyPage()): void {
    this.page.next = page
    this.page = page
  }

  private wake(): void {
    const feeds = [...this.waiting]
    this.waiting.clear()
    for (const feed of feeds) feed.wake()
  }

  join(): void {
    this.feeds++
  }

  leave(feed: Feed<A>): void {
    this.feeds--
    this.waiting.delete(feed)
    this.release()
  }

  /** Wakes the feed at the next event. Only for one that has read all there is. */
  wait(feed: Feed<A>): void {
    this.waiting.add(feed)
    this.release()
  }

  unwait(feed: Feed<A>): void {
    this.waiting.delete(feed)
  }

  /** Lets go of events that all feeds have read. */
  private release(): void {
    if (this.waiting.size < this.feeds || this.page.events.length === 0) return
    this.turn()
    for (const feed of this.waiting) feed.skip()
  }
}

/** One reader of a topic, from where it joined: by groups, or one at a time. */
export class Feed<A> {
  private readonly topic: Topic<A>
  /** Its place: the next event to be read, and how many were published before it. */
  private page: Page<A>
  private at: number
  private before: number
  /** Taken from the topic, and not handed to the reader yet. */
  private held: ReadonlyArray<A> = []
  private from = 0
  private isCut = false
  private waiters: Array<(effect: Effect.Effect<void>) => void> = []

  /** Joins now: what is published after this is read. */
  constructor(topic: Topic<A>) {
    this.topic = topic
    this.page = topic.page
    this.at = topic.page.events.length
    this.before = topic.published
    topic.join()
  }

  /** How many events wait here. */
  get size(): number {
    return this.held.length - this.from + (this.isCut ? 0 : this.topic.published - this.before)
  }

  /** Waits for events and takes what there is; none when the feed has been cut off and is read out. */
  readonly take: Effect.Effect<ReadonlyArray<A>> = Effect.suspend(() =>
    this.isReady ? Effect.succeed(this.some()) : Effect.andThen(this.woken, this.take)
  )

  /** Takes at most `n` events, and leaves the others for the next call; none as `take`. */
  takeUpTo(n: number): Effect.Effect<ReadonlyArray<A>> {
    const take: Effect.Effect<ReadonlyArray<A>> = Effect.suspend(() =>
      this.isReady ? Effect.succeed(this.poll(n)) : Effect.andThen(this.woken, take)
    )
    return take
  }

  /** Whether `take` would not wait. */
  get isReady(): boolean {
    return this.isCut || this.size > 0
  }

  /** How many events were published before the next one that is taken. */
  get position(): number {
    return this.before - (this.held.length - this.from)
  }

  /**
   * Waits until something is published or the feed is cut off. It is resumed inside the publisher, which may have more to publish: it is let go on first, and then all of it
   * is taken at once.
   */
  readonly woken: Effect.Effect<void> = Effect.andThen(
    Effect.callback<void>((resume) => {
      // Between the look that found nothing and here the scheduler may have let others publish.
      if (this.isReady) return resume(Effect.void)
      this.waiters.push(resume)
      this.topic.wait(this)
      return Effect.sync(() => {
        this.waiters = this.waiters.filter((other) => other !== resume)
        if (this.waiters.length === 0) this.topic.unwait(this)
      })
    }),
    Effect.yieldNow
  )

  wake(): void {
    const { waiters } = this
    this.waiters = []
    for (const resume of waiters) resume(Effect.void)
  }

  /** Forgets the page that it has read to its end. */
  skip(): void {
    this.page = this.topic.page
    this.at = 0
  }

  /** Takes what there is, a page or more, without waiting. */
  some(): ReadonlyArray<A> {
    return this.pulled(enough)
  }

  /** Takes all there is, without waiting. */
  rest(): ReadonlyArray<A> {
    return this.pulled(Number.POSITIVE_INFINITY)
  }

  /** Takes at most `n` events, without waiting. */
  poll(n: number): ReadonlyArray<A> {
    const left = Math.min(n, this.size)
    while (this.held.length - this.from < left) this.pull(left)
    const events = this.held.slice(this.from, this.from + left)
    this.from += left
    return events
  }

  private pulled(atLeast: number): ReadonlyArray<A> {
    this.pull(atLeast)
    const some = this.from === 0 ? this.held : this.held.slice(this.from)
    this.held = []
    this.from = 0
    return some
  }

  /** Holds `atLeast` events, if there are that many. */
  private pull(atLeast: number): void {
    const parts: Array<ReadonlyArray<A>> = this.from < this.held.length ? [this.held.slice(this.from)] : []
    for (let n = this.held.length - this.from; n < atLeast && !this.isCut && this.before < this.topic.published;) {
      const part = this.part()
      n += part.length
      this.before += part.length
      parts.push(part)
    }
    // `concat` copies whole arrays at once, and `flat` one event after the other; but a call takes only so many arguments.
    const [first = [], ...others] = parts
    this.held = others.length > 32 ? parts.flat() : others.length > 0 ? first.concat(...others) : first
    this.from = 0
  }

  /** What it has not read of its page; a closed one is left for the next, so as not to hold on to it. */
  private part(): ReadonlyArray<A> {
    const { at, page, topic } = this
    const { events } = page
    if (page.next === undefined && (topic.isShared ? events.length >= worthSharing : events.length > at)) topic.turn()
    const part = at === 0 && page.next !== undefined ? events : events.slice(at)
    this.page = page.next ?? page
    this.at = page.next === undefined ? events.length : 0
    return part
  }

  /** Ends the feed here: what was published before is kept for the reader, what comes later is not for it. */
  cut(): void {
    if (this.isCut) return
    this.pull(Number.POSITIVE_INFINITY)
    this.isCut = true
    this.page = emptyPage()
    this.topic.leave(this)
    this.wake()
  }
}
