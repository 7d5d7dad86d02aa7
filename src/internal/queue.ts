/** The machinery of a queue: a backlog, writers that wait in front of it, and fibers that drain it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { OnDropped } from "../Dropped.ts"
import { Admission } from "./admission.ts"
import { Ages } from "./ages.ts"
import { type Backlog, type Line, Sequence } from "./backlog.ts"
import { Delivering } from "./captured.ts"
import { closeAll, Closing } from "./closing.ts"
import { defaultDrainTimeout } from "./deadline.ts"
import { Drainer, maxGroup } from "./drainer.ts"
import { endsClosed } from "./draining.ts"
import { Flushes } from "./flushes.ts"
import { Lanes } from "./lanes.ts"
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
  readonly concurrency?: number | undefined
  readonly partitionBy?: ((event: A) => unknown) | undefined
  readonly onDropped?: OnDropped<A, E> | undefined
}

export class EventQueueImpl<in out A, E> extends Sink<A, QueueFull> {
  private readonly backlog: Backlog<A>
  private readonly capacity: number
  private readonly overflow: Overflow
  private readonly drainTimeout: Duration.Duration
  private readonly reporter: Reporter<A, E>
  private readonly drainers: ReadonlyArray<Drainer<A, E>>
  private readonly concurrency: number
  private readonly keyOf: ((event: A) => unknown) | undefined
  private readonly closing: Closing<A>
  private readonly ages: Ages
  private readonly admission: Admission
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
    this.concurrency = count("EventQueue.make", "concurrency", options.concurrency ?? 1, 1)
    if (!Number.isFinite(this.concurrency)) throw new RangeError("EventQueue.make: concurrency must be finite")
    this.drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    this.backlog = this.backlogFor(dst, options.partitionBy)
    this.keyOf = this.backlog.keyOf
    const since = () => this.backlog.entered - this.backlog.oldest
    this.ages = new Ages(context, since)
    node.oldestAge = (now) => this.ages.oldest(since(), now)
    this.reporter = new Reporter(node, options.onDropped, context)
    this.closing = new Closing(context, (left) => this.reporter.left(left, "Undelivered"))
    this.admission = new Admission(
      () => this.capacity - node.pending,
      () => node.pending === 0
    )
    // One for all of them: what a sink keeps by its caller's context is then kept once.
    const delivering = Context.add(context, Delivering, node)
    this.drainers = this.backlog.lines.map(
      (line) =>
        new Drainer(
          line,
          dst,
          node,
          this.reporter,
          {
            settled: (n) => this.settled(line, n),
            gaveUp: () => void node.dropped++,
            ends: endsClosed,
            downstreamClosed: () => this.begin(true)
          },
          delivering
        )
    )
    for (const drainer of this.drainers) drainer.start()
  }

  private backlogFor(dst: EventSink<A, E>, partitionBy: ((event: A) => unknown) | undefined): Backlog<A> {
    const { capacity, concurrency } = this
    if (concurrency === 1 && capacity === Number.POSITIVE_INFINITY) return new Sequence(1, capacity)
    // Only what is handed on at once: the rest can still be dropped, or taken by another drainer.
    const most = dst.writeUnsafe !== undefined || dst.writeSome !== undefined ? maxGroup : 1
    // In a single line all keys are in order anyway.
    return concurrency === 1 || partitionBy === undefined
      ? new Sequence(concurrency, most)
      : new Lanes(concurrency, most, partitionBy)
  }

  private accept(event: A, fiber: Fiber.Fiber<unknown, unknown>): Effect.Effect<void, QueueFull | SinkClosed> {
    if (this.node.state !== "open") return this.closed
    const { keyOf } = this
    const key = keyOf === undefined ? undefined : keyOf(event)
    if (this.capacity === Number.POSITIVE_INFINITY || this.admission.fits(1)) {
      this.node.accepted++
      this.ages.enter(1)
      this.backlog.enter(event, key)
      return Effect.void
    }
    return this.overflown([event], [key], fiber)
  }

  private acceptGroup(
    events: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, QueueFull | SinkClosed> {
    if (this.node.state !== "open") return this.closed
    const { keyOf } = this
    const keys = keyOf === undefined ? [] : events.map((event) => keyOf(event))
    if (this.capacity === Number.POSITIVE_INFINITY || this.admission.fits(events.length)) {
      this.enterAll(events, keys)
      return Effect.void
    }
    return this.overflown(events, keys, fiber)
  }

  private enterAll(events: NonEmptyReadonlyArray<A>, keys: ReadonlyArray<unknown>): void {
    this.node.accepted += events.length
    this.ages.enter(events.length)
    this.backlog.enterAll(events, keys)
  }

  /** A group that does not fit: each policy takes it whole or not at all. */
  private overflown(
    events: NonEmptyReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, QueueFull | SinkClosed> {
    const delivering = fiber.getRef(Delivering)
    // It would wait for room that only its own end can make: it is in the delivery of this queue, or of one behind it.
    if (delivering !== undefined && reaches(this.node, delivering)) {
      this.enterAll(events, keys)
      return Effect.void
    }
    switch (this.overflow) {
      case "suspend":
        return this.admission.wait(events.length, () => this.enterAll(events, keys))
      case "reject":
        return Effect.fail(new QueueFull({ queue: this.node.name, capacity: this.capacity }))
      case "drop-newest":
        return this.dropNewest(events)
      case "drop-oldest":
        return this.dropOldest(events, keys)
    }
  }

  private dropNewest(events: ReadonlyArray<A>): Effect.Effect<void> {
    this.node.accepted += events.length
    this.node.dropped += events.length
    return this.reporter.overflown(events)
  }

  private dropOldest(events: NonEmptyReadonlyArray<A>, keys: ReadonlyArray<unknown>): Effect.Effect<void> {
    // Only what still waits can make room: when all of it is not enough, nothing is gained by dropping it.
    const inHand = this.node.pending - this.backlog.size
    if (inHand > 0 && inHand + events.length > this.capacity) return this.dropNewest(events)
    const dropped: Array<A> = []
    while (this.backlog.size > 0 && !this.admission.fits(events.length)) {
      dropped.push(this.backlog.takeOldest(this.flushes.settle))
      this.node.dropped++
    }
    const done = this.flushes.done()
    this.enterAll(events, keys)
    const report = this.reporter.overflown(dropped)
    this.flushes.wake(done)
    return report
  }

  private settled(line: Line<A>, n: number): void {
    line.settled(n, this.flushes.settle)
    // Who is let in may flush too, and that flush must not count what was settled before it.
    const done = this.flushes.done()
    this.admission.admit()
    this.flushes.wake(done)
  }

  readonly pending = Effect.sync(() => this.node.pending)

  readonly flush = Effect.suspend(() =>
    this.flushes.wait(
      () => this.node.pending,
      () => this.backlog.entered
    )
  )

  private readonly closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: this.node.name })))

  private begin(report: boolean): void {
    if (this.node.state === "open") {
      this.node.state = "closing"
      this.admission.close(this.closed)
    }
    if (report) this.backlog.stop()
    else this.backlog.end()
    const close = Effect.tap(
      closeAll(this.drainers, this.drainTimeout, () => this.backlog.rest()),
      (left) =>
        Effect.sync(() => {
          this.node.undelivered += left.length
          this.node.state = "closed"
          this.flushes.settleAll()
          this.flushes.wake(this.flushes.done())
        })
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
