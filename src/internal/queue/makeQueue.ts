/** An Effect `Queue` of pages, writers that wait for room in front of it, and the fibers that drain it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import type { Undelivered } from "../../Dropped.ts"
import { refuseStoreBelow } from "../acknowledgement.ts"
import { makeAdmission } from "../admission.ts"
import { makeAges } from "../ages.ts"
import { batchedBuffer } from "../batching/batchedBuffer.ts"
import { type Limits, limitsOf, maxBatch } from "../batching/limits.ts"
import { Delivering, withoutConstruction } from "../context.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { type Batching, joinUpTo, startDrainer, takesBatches } from "../drainer.ts"
import { monotonicMillis } from "../monotonic.ts"
import { drop, edgeTo, notify, pendingOf, reaches } from "../node.ts"
import { count } from "../options.ts"
import type { Buffer, Page } from "../pages.ts"
import { makeProcessSpan } from "../processSpan.ts"
import { overflowed, type ReceiptRequest, requestOf } from "../receipt.ts"
import { makeReport } from "../report.ts"
import { makeSendSpan } from "../sendSpan.ts"
import { closeWith, endDrainer, makeShutdown } from "../shutdown.ts"
import { type EventSink, makePart, makeSink, type SinkClosed, WriteSync } from "../sink.ts"
import { inTurns, maxTurn } from "../turns.ts"
import { type WriterSpan, writerSpanOf } from "../writerSpan.ts"
import { fifo, type Partition, partitioned } from "./buffer.ts"
import { type AnyOptions, type EventQueue, type Offered, QueueFull } from "./queueModel.ts"
import { checkedWeight, makeWeights } from "./weights.ts"

/** What is offered as a whole: events, the key and the weight of each where they have some, and the weight of all. */
interface Batch<out A> {
  readonly events: NonEmptyReadonlyArray<A>
  readonly keys: ReadonlyArray<unknown>
  readonly of: ReadonlyArray<number>
  readonly weight: number
  readonly writer: WriterSpan | undefined
  readonly request: ReceiptRequest | undefined
}

/** A queue that is more about its batches. */
export interface Batched<in A> {
  readonly kind: string
  readonly limits: Limits<A>
  readonly isIsolated: Batching["isIsolated"]
}

const unbounded = Number.POSITIVE_INFINITY

export const makeQueue = Effect.fnUntraced(function* <A, E>(
  sink: EventSink<A, E>,
  options: AnyOptions<A, E>,
  batched?: Batched<A>
) {
  const kind = batched?.kind ?? "EventQueue"
  const where = `${kind}.make`
  const capacity = count(where, "capacity", options.capacity ?? unbounded, 1)
  const concurrency = count(where, "concurrency", options.concurrency ?? 1, 1)
  if (concurrency === unbounded) throw new RangeError(`${where}: concurrency must be finite`)
  const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
  const { overflow = "suspend", partitionBy } = options
  const isUnbounded = capacity === unbounded
  // That of a batching sink is for its batches.
  const sizeOf = isUnbounded || batched !== undefined ? undefined : options.size
  const weights = sizeOf && makeWeights()
  const context = withoutConstruction(yield* Effect.context<never>())
  const clock = Context.get(context, Clock.Clock)

  const { account, closed, node } = makePart({
    kind,
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
  const pages = { joinUpTo: joinUpTo(sink), max }
  const isKeyed = partitionBy !== undefined && (concurrency > 1 || batched !== undefined)
  const limits = limitsOf<A>(where, batched?.limits ?? { batchSize: options.batchSize, maxAge: options.maxAge })
  const waits = options.batchSize !== undefined || limits.maxAge > 0 || batched !== undefined
  const batches =
    waits && takesBatches(sink)
      ? batchedBuffer({
          ...limits,
          // More than fit would wait for their age in any case.
          batchSize: weights === undefined ? Math.min(limits.batchSize, capacity) : limits.batchSize,
          weights,
          partitionBy: isKeyed ? partitionBy : undefined,
          now: () => monotonicMillis(clock)
        })
      : undefined
  const buffer: Buffer<A> =
    batches ??
    (isKeyed
      ? partitioned(yield* Queue.unbounded<Partition<A>, Cause.Done>(), pages, partitionBy, weights)
      : fifo(yield* Queue.unbounded<Page<A>, Cause.Done>(), concurrency, pages, weights))
  const { keyOf, wake } = buffer
  const unsettled = () => buffer.offered() - buffer.oldest()
  const ages = makeAges(context, unsettled)
  /** What counts against the capacity. */
  const load = weights === undefined ? () => pendingOf(account) : weights.all
  const admission = makeAdmission(
    () => capacity - load(),
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

  // The buffer first: what the comparison of keys throws comes before anything is counted. The drainers last: one that runs within
  // the call finds its events counted.
  const offer = (event: A, key: unknown, weight: number, writer?: WriterSpan, request?: ReceiptRequest) => {
    // Nothing is left for deliveries that have no spans.
    const left = isTraced ? writer : undefined
    if (weights === undefined && request === undefined) buffer.offer(event, key, left)
    else noted(1, [weight], request, (receipt) => buffer.offer(event, key, left, receipt))
    account.accepted++
    ages.offer(1)
    if (account.observers !== undefined) notify(account.observers, "accepted", [event])
    wake?.()
  }
  const offerAll = ({ events, keys, of, request, writer }: Batch<A>) => {
    const left = isTraced ? writer : undefined
    if (weights === undefined && request === undefined) buffer.offerAll(events, keys, left)
    else noted(events.length, of, request, (receipt) => buffer.offerAll(events, keys, left, receipt))
    account.accepted += events.length
    ages.offer(events.length)
    if (account.observers !== undefined) notify(account.observers, "accepted", events)
    wake?.()
  }
  /**
   * Offers `n` events whose weights must be known, and whose receipts be held, when a drainer takes them: it may within the offer.
   * Neither is there any more where the offer throws.
   */
  const noted = (
    n: number,
    of: ReadonlyArray<number>,
    request: ReceiptRequest | undefined,
    offer: (receipt: ReceiptRequest | undefined) => void
  ) => {
    const from = buffer.offered()
    const receipt = request?.hold(n)
    of.forEach((weight, i) => weights?.offer(from + i, weight))
    try {
      offer(receipt)
    } catch (defect) {
      of.forEach((_, i) => {
        weights?.take(from + i)
        weights?.settle(from + i)
      })
      for (let i = 0; i < n; i++) receipt?.release()
      throw defect
    }
  }

  /**
   * Whether events may be offered now. Where they do not fit, those that wait for their age wait no more, since others come only
   * when there is room. A drainer may run within the call: it makes room, or finds its sink closed and closes the queue.
   */
  const fits = (weight: number) =>
    admission.fits(weight) || (batches?.hurry() === true && account.state === "open" && admission.fits(weight))

  const dropNewest = (events: ReadonlyArray<A>, request?: ReceiptRequest) => {
    if (request !== undefined) for (const _ of events) request.note(node, overflowed)
    account.accepted += events.length
    drop(account, "Overflow", events.length)
    if (account.observers !== undefined) notify(account.observers, "accepted", events)
    return report.aside(events, { _tag: "Overflow" })
  }
  const dropOldest = (batch: Batch<A>) => {
    // Only what still waits can make room: when all of it is not enough, nothing is gained by dropping it.
    const taken = weights === undefined ? pendingOf(account) - buffer.size() : weights.taken()
    if (taken > 0 && taken + batch.weight > capacity) return dropNewest(batch.events, batch.request)
    const dropped: Array<A> = []
    let waiting = buffer.size()
    offerAll(batch)
    for (; waiting > 0 && load() > capacity; waiting--) {
      dropped.push(buffer.takeOldest((receipt) => receipt.settle(node, overflowed)))
      drop(account, "Overflow")
    }
    settled()
    return report.aside(dropped, { _tag: "Overflow" })
  }
  /** Each policy takes a batch that does not fit whole, or not at all. */
  const overflown = (
    batch: Batch<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<void, QueueFull | SinkClosed> => {
    if (account.state !== "open") return closed
    const delivering = fiber.getRef(Delivering)
    if (delivering !== undefined && reaches(node, delivering)) {
      // The write is part of this queue's own delivery: it would wait for itself.
      offerAll(batch)
      return Effect.void
    }
    switch (overflow) {
      case "suspend":
        return admission.wait(batch.weight, () => offerAll(batch))
      case "reject":
        return Effect.fail(
          new QueueFull({ queue: node.name, capacity, weight: weights === undefined ? undefined : batch.weight })
        )
      case "drop-newest":
        return dropNewest(batch.events, batch.request)
      case "drop-oldest":
        return dropOldest(batch)
    }
  }
  const weightOf = (event: A) => (sizeOf === undefined ? 1 : checkedWeight(sizeOf(event)))

  /** Nothing to wait for: the event is queued when this returns. */
  const writeSync = (event: A): boolean => {
    if (account.state !== "open") return false
    offer(event, keyOf?.(event), 1)
    return true
  }
  const accept = (
    event: A,
    fiber: Fiber.Fiber<unknown, unknown>,
    writer: WriterSpan | undefined
  ): Effect.Effect<void, QueueFull | SinkClosed> => {
    if (account.state !== "open") return closed
    const key = keyOf?.(event)
    const weight = weightOf(event)
    const request = requestOf(fiber)
    if (!fits(weight)) {
      return overflown({ events: [event], keys: [key], of: [weight], weight, writer, request }, fiber)
    }
    offer(event, key, weight, writer, request)
    return Effect.void
  }
  const write = (event: A) =>
    Effect.withFiber((fiber) =>
      sendSpan.mayTrace(fiber)
        ? sendSpan.one((fiber, writer) => accept(event, fiber, writer), fiber)
        : accept(event, fiber, undefined)
    )
  const acceptAll = (
    batch: Batch<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<number, QueueFull | SinkClosed> => {
    if (account.state !== "open") return closed
    if (!isUnbounded && !fits(batch.weight)) return Effect.as(overflown(batch, fiber), batch.events.length)
    offerAll(batch)
    return Effect.succeed(batch.events.length)
  }
  const acceptSome = (
    events: NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>,
    writer: WriterSpan | undefined
  ): Effect.Effect<number, QueueFull | SinkClosed> => {
    const request = requestOf(fiber)
    if (keyOf === undefined && sizeOf === undefined) {
      return acceptAll({ events, keys: [], of: [], weight: events.length, writer, request }, fiber)
    }
    if (account.state !== "open") return closed
    const keys: Array<unknown> = []
    const of: Array<number> = []
    let weight = 0
    const ask = (i: number) => {
      // Not past the end, by the count of turns.
      const event = events[i]!
      if (keyOf !== undefined) keys.push(keyOf(event))
      const one = weightOf(event)
      of.push(one)
      weight += one
    }
    return Effect.andThen(
      inTurns(events.length, ask),
      Effect.suspend(() => acceptAll({ events, keys, of, weight, writer, request }, fiber))
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
    const weight = weightOf(event)
    // A plain call has no fiber of its own: one may be running it.
    const fiber = isTraced ? Fiber.getCurrent() : undefined
    const writer = fiber && writerSpanOf(fiber)
    if (isUnbounded || fits(weight)) {
      offer(event, key, weight, writer)
      return "accepted"
    }
    if (account.state !== "open") return "closed"
    if (overflow === "suspend" || overflow === "reject") return "full"
    // The report has a fiber of its own: nothing of it is left to be run.
    if (overflow === "drop-newest") void dropNewest([event])
    else void dropOldest({ events: [event], keys: [key], of: [weight], weight, writer, request: undefined })
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
      batching: batches && {
        batchSize: limits.batchSize,
        isIsolated: batched?.isIsolated ?? (() => true),
        outlivesSink: false
      },
      source: {
        ...source,
        settle: (n) => {
          source.settle(n)
          admission.admit()
          if (batches !== undefined && !admission.fits(1)) batches.hurry()
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
    batches?.hurry()
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
  yield* Effect.addFinalizer(() => report.finish(shutdown.finished))
  return self
}, Effect.uninterruptible)
