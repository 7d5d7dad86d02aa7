/** The machinery of a queue: a feed, writers that wait in front of it, and a fiber that drains it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { OnDropped } from "../Dropped.ts"
import { Admission } from "./admission.ts"
import { Ages } from "./ages.ts"
import { Delivering } from "./captured.ts"
import { Closing } from "./closing.ts"
import { defaultDrainTimeout } from "./deadline.ts"
import { Drainer, maxGroup } from "./drainer.ts"
import { Feed, Topic } from "./feed.ts"
import { Flushes } from "./flushes.ts"
import { Node, reaches } from "./node.ts"
import { count } from "./options.ts"
import { Reporter } from "./reporter.ts"
import { type EventSink, operation, Sink, SinkClosed } from "./sink.ts"

/**
 * What a full queue does with a write. `suspend`: the write waits for room. `reject`: it fails with `QueueFull`.
 * `drop-newest`: the new event is accepted and dropped. `drop-oldest`: the oldest event that is not being delivered is
 * dropped; when there is none, the new one is.
 *
 * @category options
 * @since 0.1.0
 */
export type Overflow = "suspend" | "reject" | "drop-newest" | "drop-oldest"

/**
 * The queue is full and its policy is `"reject"`: the event was not accepted.
 *
 * @category errors
 * @since 0.1.0
 */
export class QueueFull extends Data.TaggedError("QueueFull")<{
  readonly queue: string
  readonly capacity: number
}> {
  override get message(): string {
    return `the queue "${this.queue}" is full at ${this.capacity} events`
  }
}

/** What `EventQueue.make` may be told, whichever its overload. */
export interface AnyOptions<in A, in E> {
  readonly name?: string | undefined
  readonly capacity?: number | undefined
  readonly overflow?: Overflow | undefined
  readonly drainTimeout?: Duration.Input | undefined
  readonly onDropped?: OnDropped<A, E> | undefined
}

export class EventQueueImpl<in out A, E> extends Sink<A, QueueFull> {
  private readonly topic = new Topic<A>()
  private readonly feed = new Feed(this.topic)
  private readonly capacity: number
  private readonly overflow: Overflow
  private readonly drainTimeout: Duration.Duration
  private readonly reporter: Reporter<A, E>
  private readonly drainer: Drainer<A, E>
  private readonly closing: Closing<A>
  private readonly ages: Ages
  private readonly admission: Admission<A>
  private readonly flushes = new Flushes()

  constructor(dst: EventSink<A, E>, options: AnyOptions<A, E>, context: Context.Context<never>) {
    const node = new Node("EventQueue", options.name, () => [dst.node])
    super({
      node,
      write: operation("EventQueue.write", (event: A, fiber) => this.accept(event, fiber)),
      writeSome: operation("EventQueue.writeSome", (events: NonEmptyReadonlyArray<A>, fiber) =>
        Effect.as(this.acceptGroup(events, fiber), events.length)
      )
    })
    this.capacity = count("EventQueue.make", "capacity", options.capacity ?? Number.POSITIVE_INFINITY, 1)
    this.overflow = options.overflow ?? "suspend"
    this.drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    this.ages = new Ages(context, () => node.pending)
    node.oldestAge = (now) => this.ages.oldest(node.pending, now)
    this.reporter = new Reporter(node, options.onDropped, context)
    this.closing = new Closing(context, (left) => this.reporter.left(left, "Undelivered"))
    this.admission = new Admission(
      () => this.capacity - node.pending,
      (events) => this.enterAll(events),
      () => node.pending === 0
    )
    this.drainer = new Drainer(
      { take: this.take(dst), rest: () => this.feed.rest(), end: () => this.feed.cut() },
      dst,
      node,
      this.reporter,
      { settled: (n) => this.settled(n), downstreamClosed: () => this.begin(true) },
      Context.add(context, Delivering, node)
    )
    this.drainer.start()
  }

  private take(dst: EventSink<A, E>): Effect.Effect<ReadonlyArray<A>> {
    if (this.capacity === Number.POSITIVE_INFINITY) return this.feed.take
    // Only what is handed on at once, so that the rest can still be dropped.
    return this.feed.takeUpTo(dst.writeUnsafe !== undefined || dst.writeSome !== undefined ? maxGroup : 1)
  }

  private accept(event: A, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, QueueFull | SinkClosed> {
    if (this.node.state !== "open") return this.closed
    if (this.capacity === Number.POSITIVE_INFINITY || this.admission.fits(1)) {
      this.node.accepted++
      this.ages.enter(1)
      this.topic.publish(event)
      return Effect.void
    }
    return this.overflown([event], fiber)
  }

  private acceptGroup(
    events: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, QueueFull | SinkClosed> {
    if (this.node.state !== "open") return this.closed
    if (this.capacity === Number.POSITIVE_INFINITY || this.admission.fits(events.length)) {
      this.enterAll(events)
      return Effect.void
    }
    return this.overflown(events, fiber)
  }

  private enterAll(events: NonEmptyReadonlyArray<A>): void {
    this.node.accepted += events.length
    this.ages.enter(events.length)
    this.topic.publishAll(events)
  }

  /** A group that does not fit: each policy takes it whole or not at all. */
  private overflown(
    events: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, QueueFull | SinkClosed> {
    const delivering = fiber.getRef(Delivering)
    // It would wait for room that only its own end can make: it is in the delivery of this queue, or of one behind it.
    if (delivering !== undefined && reaches(this.node, delivering)) {
      this.enterAll(events)
      return Effect.void
    }
    switch (this.overflow) {
      case "suspend":
        return this.admission.wait(events)
      case "reject":
        return Effect.fail(new QueueFull({ queue: this.node.name, capacity: this.capacity }))
      case "drop-newest":
        return this.dropNewest(events)
      case "drop-oldest":
        return this.dropOldest(events)
    }
  }

  private dropNewest(events: ReadonlyArray<A>): Effect.Effect<void> {
    this.node.accepted += events.length
    this.node.dropped += events.length
    return this.reporter.overflown(events)
  }

  private dropOldest(events: NonEmptyReadonlyArray<A>): Effect.Effect<void> {
    // Only what still waits can make room: when all of it is not enough, nothing is gained by dropping it.
    const waiting = this.feed.size
    const inHand = this.node.pending - waiting
    if (inHand > 0 && inHand + events.length > this.capacity) return this.dropNewest(events)
    const dropped: Array<A> = []
    while (dropped.length < waiting && !this.admission.fits(events.length)) {
      dropped.push(...this.feed.poll(1))
      this.node.dropped++
    }
    this.enterAll(events)
    const report = this.reporter.overflown(dropped)
    this.flushes.wake(this.flushes.settle(dropped.length, inHand))
    return report
  }

  private settled(n: number): void {
    // Who is let in may flush too, and that flush must not count what was settled before it.
    const done = this.flushes.settle(n, 0)
    this.admission.admit()
    this.flushes.wake(done)
  }

  readonly pending = Effect.sync(() => this.node.pending)

  readonly flush = Effect.suspend(() => this.flushes.wait(this.node.pending))

  private readonly closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: this.node.name })))

  private begin(report: boolean): void {
    if (this.node.state === "open") {
      this.node.state = "closing"
      this.admission.close(this.closed)
    }
    const close = Effect.tap(this.drainer.close(this.drainTimeout), () =>
      Effect.sync(() => void (this.node.state = "closed"))
    )
    if (report) this.closing.beginReported(close)
    else this.closing.begin(close)
  }

  readonly shutdown = Effect.suspend(() => {
    this.begin(false)
    return this.closing.awaited
  })

  readonly close = Effect.suspend(() => {
    this.begin(false)
    // Side by side, so that the time for reports is one.
    return Effect.all([this.closing.finished, this.reporter.finish], { concurrency: "unbounded", discard: true })
  })
}
