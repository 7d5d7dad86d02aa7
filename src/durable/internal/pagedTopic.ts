/** The events of a topic, each kept once, and for each reader its position among them. */
import * as Effect from "effect/Effect"

/** Events on a page, at most: what a slow reader keeps from the collector although others have read it. */
const fullPage = 1024
/** A page with this many events is closed when a reader takes them, so that all readers share the array. */
const worthSharing = 32
/** Pages smaller than this are taken several at once, for batch sinks. */
const enough = 512

/** The open page is written to, and is the last. A closed page does not change any more. */
interface Page<A> {
  readonly events: Array<A>
  next: Page<A> | undefined
}

const emptyPage = <A>(): Page<A> => ({ events: [], next: undefined })

/**
 * Published events, each until the last of the readers has read it. A `PubSub` does the same with an object and a count
 * of readers for each event, which each reader touches; here a reader mostly gets an array that is there already.
 */
export class PagedTopic<A> {
  /** How many events were published. */
  published = 0
  /** The open page. */
  page: Page<A> = emptyPage()
  private readers = 0
  private readonly waiting = new Set<TopicReader<A>>()

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
    return this.readers > 1
  }

  private add(event: A): void {
    this.published++
    if (this.readers === 0) return
    if (this.page.events.length === fullPage) this.turn()
    this.page.events.push(event)
  }

  private addPage(events: Array<A>): void {
    this.published += events.length
    if (this.readers === 0) return
    this.turn({ events, next: undefined })
    this.turn()
  }

  /** Closes the open page, and opens another. */
  turn(page: Page<A> = emptyPage()): void {
    this.page.next = page
    this.page = page
  }

  private wake(): void {
    const readers = [...this.waiting]
    this.waiting.clear()
    for (const reader of readers) reader.wake()
  }

  join(): void {
    this.readers++
  }

  leave(reader: TopicReader<A>): void {
    this.readers--
    this.waiting.delete(reader)
    this.release()
  }

  /** Wakes the reader at the next event. Only for one that has read all there is. */
  wait(reader: TopicReader<A>): void {
    this.waiting.add(reader)
    this.release()
  }

  unwait(reader: TopicReader<A>): void {
    this.waiting.delete(reader)
  }

  /** Releases events that all readers have read. */
  private release(): void {
    if (this.waiting.size < this.readers || this.page.events.length === 0) return
    this.turn()
    for (const reader of this.waiting) reader.skip()
  }
}

/** One reader of a topic, from where it joined: by batches, or one at a time. */
export class TopicReader<A> {
  private readonly topic: PagedTopic<A>
  /** The position: the next event to be read, and how many were published before it. */
  private page: Page<A>
  private at: number
  private before: number
  /** Taken from the topic, and not given to the caller yet. */
  private held: ReadonlyArray<A> = []
  private from = 0
  private isCut = false
  private waiters: Array<(effect: Effect.Effect<void>) => void> = []

  /** Joins now: events that are published after this are read. */
  constructor(topic: PagedTopic<A>) {
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

  /** Waits for events and takes what there is; none when the reader was cut off and all is read. */
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
   * Waits until an event is published or the reader is cut off. The waiter is resumed inside the publisher, which may
   * have more to publish: it yields first, and then takes all of it at once.
   */
  readonly woken: Effect.Effect<void> = Effect.andThen(
    Effect.callback<void>((resume) => {
      // Since the poll that found nothing the scheduler may have run publishers.
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

  /** Releases the page that it has read to its end. */
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

  /** Takes `atLeast` events from the topic, if there are that many. */
  private pull(atLeast: number): void {
    const parts: Array<ReadonlyArray<A>> = this.from < this.held.length ? [this.held.slice(this.from)] : []
    for (let n = this.held.length - this.from; n < atLeast && !this.isCut && this.before < this.topic.published;) {
      const part = this.part()
      n += part.length
      this.before += part.length
      parts.push(part)
    }
    // `concat` copies whole arrays at once, and `flat` one event after the other; but a call takes only so many
    // arguments.
    const [first = [], ...others] = parts
    this.held = others.length > 32 ? parts.flat() : others.length > 0 ? first.concat(...others) : first
    this.from = 0
  }

  /** The unread events of its page; a closed page is left for the next, so as to release it. */
  private part(): ReadonlyArray<A> {
    const { at, page, topic } = this
    const { events } = page
    if (page.next === undefined && (topic.isShared ? events.length >= worthSharing : events.length > at)) topic.turn()
    const part = at === 0 && page.next !== undefined ? events : events.slice(at)
    this.page = page.next ?? page
    this.at = page.next === undefined ? events.length : 0
    return part
  }

  /** Ends the reader here: events published before are kept for it, later ones are not. */
  cut(): void {
    if (this.isCut) return
    this.pull(Number.POSITIVE_INFINITY)
    this.isCut = true
    this.page = emptyPage()
    this.topic.leave(this)
    this.wake()
  }
}
