/** An Effect `Queue` of pages, writers that wait for room in front of it, and the fibers that drain it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type { OnDropped, Undelivered } from "../../Dropped.ts"
import { refuseStoreBelow } from "../acknowledgement.ts"
import { makeAdmission } from "../admission.ts"
import { makeAges } from "../ages.ts"
import { Delivering, withoutConstruction } from "../context.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { joinUpTo, maxBatch, startDrainer } from "../drainer.ts"
import { drop, edgeTo, notify, pendingOf, reaches } from "../node.ts"
import { count } from "../options.ts"
import type { Overflow } from "../overflow.ts"
import type { Page } from "../pages.ts"
import { makeProcessSpan, type TraceMode } from "../processSpan.ts"
import { overflowed, type ReceiptRequest, requestOf } from "../receipt.ts"
import { makeReport } from "../report.ts"
import { makeSendSpan } from "../sendSpan.ts"
import { closeWith, endDrainer, makeShutdown } from "../shutdown.ts"
import { type AcknowledgingSink, type EventSink, makePart, makeSink, type SinkClosed, WriteSync } from "../sink.ts"
import { inTurns, maxTurn } from "../turns.ts"
import type { WriterSpan } from "../writerSpan.ts"
import { type Buffer, fifo, type Partition, partitioned } from "./buffer.ts"

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

/**
 * What became of an event that was offered from outside of Effect.
 *
 * @category models
 * @since 0.1.0
 */
export type Offered = "accepted" | "full" | "closed"

/**
 * A sink that queues.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventQueue<in out A, out E = never> extends AcknowledgingSink<A, E, "memory"> {
  /** How many events are accepted and not yet settled, those being delivered included. */
  readonly pending: Effect.Effect<number>
  /** Waits until what was accepted before this call is delivered or dropped. */
  readonly flush: Effect.Effect<void>
  /**
   * Stops accepting, delivers until `drainTimeout`, and returns what could not be delivered. Memoised: every call waits
   * for the same close and gets the same list. Interrupting a call interrupts only its waiting.
   */
  readonly shutdown: Effect.Effect<ReadonlyArray<Undelivered<A>>>
  /** See `offerUnsafe`, the function. */
  readonly offerUnsafe: (event: A) => Offered
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<out P extends Overflow = Overflow> {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /**
   * How many events may be accepted and not yet settled, those being delivered included; a whole number from 1,
   * unbounded by default. A batch larger than it is accepted alone, when the queue is empty.
   */
  readonly capacity?: number | undefined
  /** What happens when `capacity` is reached: `"suspend"` by default. */
  readonly overflow?: P | undefined
  /** How long the close goes on delivering: 20 seconds by default; `Duration.infinity` is go-events' behaviour. */
  readonly drainTimeout?: Duration.Input | undefined
  /**
   * How many writes, or writes of batches, may be under way at once; a finite whole number from 1, and 1 by default, which
   * keeps all events in order. With more, only `partitionBy` keeps an order.
   */
  readonly concurrency?: number | undefined
  /**
   * How the span of a delivery knows that of its write, where there is a tracer: by a link, the default, or as its parent. A batch
   * of several events has links in any case.
   */
  readonly trace?: TraceMode | undefined
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Partitioned<in A> {
  /**
   * The key of an event, compared by `Equal`. Events of one key are delivered in order and one write at a time, a batch
   * holds events of one key only, and keys are delivered side by side, as many as `concurrency` says: a key whose write
   * takes long, or is retried for long, holds up no other as long as there are fewer of them than that. It is called once
   * for each event, by its write; what it throws is a defect of that write, and the event is not accepted. A key costs
   * memory while events of it wait. With a `concurrency` of 1 all events are in order, and this does nothing.
   */
  readonly partitionBy?: ((event: A) => unknown) | undefined
}

/** The options of `EventQueue.make`, whichever its overload. */
export interface AnyOptions<in A, in E> extends Options, Partitioned<A> {
  readonly onDropped?: OnDropped<A, E> | undefined
}

const unbounded = Number.POSITIVE_INFINITY

export const makeQueue = Effect.fnUntraced(function* <A, E>(sink: EventSink<A, E>, options: AnyOptions<A, E>) {
  const capacity = count("EventQueue.make", "capacity", options.capacity ?? unbounded, 1)
  const concurrency = count("EventQueue.make", "concurrency", options.concurrency ?? 1, 1)
  if (concurrency === unbounded) throw new RangeError("EventQueue.make: concurrency must be finite")
  const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
  const { overflow = "suspend", partitionBy } = options
  const isUnbounded = capacity === unbounded
  const context = withoutConstruction(yield* Effect.context<never>())

  const { account, closed, node } = makePart({
    kind: "EventQueue",
    name: options.name,
    acknowledges: "memory",
    taps: ["accepted", "delivered", "dropped"],
    drops: ["Failed", "Died", "Overflow"],
    isTimed: true,
    downstream: () => [edgeTo(sink, false)],
    oldestAge: (now) => ages.oldest(unsettled(), now)
  })
  refuseStoreBelow(node, sink.node)
  const report = makeReport(node, options.onDropped, context)
  const sendSpan = makeSendSpan(() => node.name, context)
  const processSpan = makeProcessSpan({ destination: () => node.name, mode: options.trace }, context)
  const isTraced = processSpan !== undefined
  const shutdown = makeShutdown<Undelivered<A>>(context, report.undelivered, () => {
    account.state = "closing"
    admission.close(closed)
    buffer.end(false)
    return drain
  })

  // Events that are not handed on at once can still be dropped, or taken by another drainer.
  const isBatched = sink[WriteSync] !== undefined || sink.writeSome !== undefined
  const max = concurrency === 1 && isUnbounded ? maxTurn : isBatched ? maxBatch : 1
  const batching = { joinUpTo: joinUpTo(sink), max }
  const buffer: Buffer<A> =
    concurrency === 1 || partitionBy === undefined
      ? fifo(yield* Queue.unbounded<Page<A>, Cause.Done>(), concurrency, batching)
      : partitioned(yield* Queue.unbounded<Partition<A>, Cause.Done>(), batching, partitionBy)
  const { keyOf } = buffer
  const unsettled = () => buffer.offered() - buffer.oldest()
  const ages = makeAges(context, unsettled)
  const admission = makeAdmission(
    () => capacity - pendingOf(account),
    () => pendingOf(account) === 0
  )
  /** The flushes that wait, in the order of the positions they wait for. */
  const flushes = new Set<{ readonly until: number; readonly done: Latch.Latch }>()
  const settled = () => {
    if (flushes.size === 0) return
    for (const flush of flushes) {
      if (account.state !== "closed" && buffer.oldest() < flush.until) return
      flushes.delete(flush)
      flush.done.openUnsafe()
    }
  }

  // The buffer first: what the comparison of keys throws comes before anything is counted.
  const offer = (event: A, key: unknown, writer?: WriterSpan, request?: ReceiptRequest) => {
    // Nothing is left for deliveries that have no spans.
    buffer.offer(event, key, isTraced ? writer : undefined, request?.hold(1))
    account.accepted++
    ages.offer(1)
    if (account.observers !== undefined) notify(account.observers, "accepted", [event])
  }
  const offerAll = (
    events: ReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    writer: WriterSpan | undefined,
    request: ReceiptRequest | undefined
  ) => {
    buffer.offerAll(events, keys, isTraced ? writer : undefined, request?.hold(events.length))
    account.accepted += events.length
    ages.offer(events.length)
    if (account.observers !== undefined) notify(account.observers, "accepted", events)
  }

  const dropNewest = (events: ReadonlyArray<A>, request?: ReceiptRequest) => {
    if (request !== undefined) for (const _ of events) request.note(node, overflowed)
    account.accepted += events.length
    drop(account, "Overflow", events.length)
    if (account.observers !== undefined) notify(account.observers, "accepted", events)
    return report.aside(events, { _tag: "Overflow" })
  }
  const dropOldest = (
    events: NonEmptyReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    writer?: WriterSpan,
    request?: ReceiptRequest
  ) => {
    // Only what still waits can make room: when all of it is not enough, nothing is gained by dropping it.
    const taken = pendingOf(account) - buffer.size()
    if (taken > 0 && taken + events.length > capacity) return dropNewest(events, request)
    const dropped: Array<A> = []
    let waiting = buffer.size()
    offerAll(events, keys, writer, request)
    for (; waiting > 0 && pendingOf(account) > capacity; waiting--) {
      dropped.push(buffer.takeOldest((receipt) => receipt.settle(node, overflowed)))
      drop(account, "Overflow")
    }
    settled()
    return report.aside(dropped, { _tag: "Overflow" })
  }
  /** Each policy takes a batch that does not fit whole, or not at all. */
  const overflown = (
    events: NonEmptyReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    fiber: Fiber.Fiber<unknown, unknown>,
    writer: WriterSpan | undefined
  ): Effect.Effect<void, QueueFull | SinkClosed> => {
    const request = requestOf(fiber)
    const delivering = fiber.getRef(Delivering)
    if (delivering !== undefined && reaches(node, delivering)) {
      // The write is part of this queue's own delivery: it would wait for itself.
      offerAll(events, keys, writer, request)
      return Effect.void
    }
    switch (overflow) {
      case "suspend":
        return admission.wait(events.length, () => offerAll(events, keys, writer, request))
      case "reject":
        return Effect.fail(new QueueFull({ queue: node.name, capacity }))
      case "drop-newest":
        return dropNewest(events, request)
      case "drop-oldest":
        return dropOldest(events, keys, writer, request)
    }
  }

  /** Nothing to wait for: the event is queued when this returns. */
  const writeSync = (event: A): boolean => {
    if (account.state !== "open") return false
    offer(event, keyOf?.(event))
    return true
  }
  const accept = (
    event: A,
    fiber: Fiber.Fiber<unknown, unknown>,
    writer: WriterSpan | undefined
  ): Effect.Effect<void, QueueFull | SinkClosed> => {
    if (account.state !== "open") return closed
    const key = keyOf?.(event)
    if (!admission.fits(1)) return overflown([event], [key], fiber, writer)
    offer(event, key, writer, requestOf(fiber))
    return Effect.void
  }
  const write = (event: A) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.one((fiber, writer) => accept(event, fiber, writer), fiber)
        : accept(event, fiber, undefined)
    )
  const acceptAll = (
    events: NonEmptyReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    fiber: Fiber.Fiber<unknown, unknown>,
    writer: WriterSpan | undefined
  ): Effect.Effect<number, QueueFull | SinkClosed> => {
    if (account.state !== "open") return closed
    if (!isUnbounded && !admission.fits(events.length)) {
      return Effect.as(overflown(events, keys, fiber, writer), events.length)
    }
    offerAll(events, keys, writer, requestOf(fiber))
    return Effect.succeed(events.length)
  }
  const acceptSome = (
    events: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>,
    writer: WriterSpan | undefined
  ): Effect.Effect<number, QueueFull | SinkClosed> => {
    if (keyOf === undefined) return acceptAll(events, [], fiber, writer)
    if (account.state !== "open") return closed
    const keys: Array<unknown> = []
    return Effect.andThen(
      inTurns(events.length, (i) => void keys.push(keyOf(events[i]!))),
      Effect.suspend(() => acceptAll(events, keys, fiber, writer))
    )
  }
  const writeSome = (events: NonEmptyReadonlyArray<A>) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.some((fiber, writer) => acceptSome(events, fiber, writer), fiber)
        : acceptSome(events, fiber, undefined)
    )
  const offerUnsafe = (event: A): Offered => {
    if (account.state !== "open") return "closed"
    const key = keyOf?.(event)
    if (isUnbounded || admission.fits(1)) {
      offer(event, key)
      return "accepted"
    }
    if (overflow === "suspend" || overflow === "reject") return "full"
    // The report has a fiber of its own: nothing of it is left to be run.
    void (overflow === "drop-newest" ? dropNewest([event]) : dropOldest([event], [key]))
    return "accepted"
  }

  const delivery = Context.add(context, Delivering, node)
  const drainers = Array.from({ length: concurrency }, (_, i) => {
    const source = buffer.source(i)
    return startDrainer({
      node,
      sink,
      account,
      report,
      context: delivery,
      processSpan,
      source: {
        ...source,
        settle: (n) => {
          source.settle(n)
          admission.admit()
          settled()
        }
      },
      onSinkClosed: () => {
        shutdown.begin(report.undelivered)
        buffer.end(true)
      }
    })
  })
  const drain = Effect.forEach(drainers, (drainer) => endDrainer(drainer, drainTimeout), {
    concurrency: "unbounded"
  }).pipe(
    Effect.flatMap((lists) => closeWith(account, node, "undelivered", lists.flat(), buffer.takeRest)),
    Effect.tap(() => Effect.sync(settled))
  )
  const flush = Effect.suspend(() => {
    if (account.state === "closed" || unsettled() === 0) return Effect.void
    const one = { until: buffer.offered(), done: Latch.makeUnsafe() }
    flushes.add(one)
    return Effect.onInterrupt(one.done.await, () => Effect.sync(() => flushes.delete(one)))
  })
  const self: EventQueue<A, QueueFull> = {
    // A plain call has no span.
    ...makeSink({ node, write, writeSome, writeSync: isUnbounded && !isTraced ? writeSync : undefined }),
    pending: Effect.sync(() => pendingOf(account)),
    flush,
    shutdown: shutdown.awaited,
    offerUnsafe
  }
  yield* Effect.addFinalizer(() =>
    Effect.all([shutdown.finished, report.finish], { concurrency: "unbounded", discard: true })
  )
  return self
}, Effect.uninterruptible)
