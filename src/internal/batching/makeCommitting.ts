/**
 * Writes that wait for the commit of their batch: each gets the verdict on its own events. The events of one write are in one
 * batch, so that after a failure none of them is written any more.
 */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { refuseQueueBelow } from "../acknowledgement.ts"
import { makeAges } from "../ages.ts"
import { Delivering, withoutConstruction } from "../context.ts"
import { defaultDrainTimeout } from "../deadline.ts"
import { type Batching, startDrainer } from "../drainer.ts"
import { monotonicMillis } from "../monotonic.ts"
import { edgeTo, endAccount, makeAccount, reaches } from "../node.ts"
import { count } from "../options.ts"
import { makeProcessSpan, type TraceMode } from "../processSpan.ts"
import { type ReceiptRequest, Requested, requestOf } from "../receipt.ts"
import { makeReport } from "../report.ts"
import { endDrainer, makeShutdown } from "../shutdown.ts"
import { type BatchSink, makePart, makeSink, SinkClosed } from "../sink.ts"
import { leading, maxTurn } from "../turns.ts"
import { writerSpanOf } from "../writerSpan.ts"
import { batchedBuffer, type Entry } from "./batchedBuffer.ts"
import { type Limits, limitsOf } from "./limits.ts"

export interface Options<in A> extends Limits<A> {
  readonly name?: string | undefined
  readonly partitionBy?: ((event: A) => unknown) | undefined
  readonly concurrency?: number | undefined
  readonly drainTimeout?: Duration.Input | undefined
  readonly trace?: TraceMode | undefined
  readonly isIsolated: Batching["isIsolated"]
}

type Verdict<E> = Exit.Exit<number, E | SinkClosed>

/** A write of one event or of several, and its verdict once there is one. */
interface Write<A, E> {
  size: number
  /** How many of its leading events are committed. */
  committed: number
  entries: ReadonlyArray<Entry<Item<A, E>>>
  verdict: Verdict<E> | undefined
  /** Its fiber waits no more: what of it has not begun is not written. */
  hasLeft: boolean
  readonly resume: (verdict: Verdict<E>) => void
}

interface Item<A, E> {
  readonly event: A
  readonly write: Write<A, E>
}

export const makeCommitting = Effect.fnUntraced(function* <A, E>(sink: BatchSink<A, E>, options: Options<A>) {
  const where = "BatchingSink.make"
  const { sizeOf, ...limits } = limitsOf(where, options)
  const { isIsolated, partitionBy } = options
  const concurrency = count(where, "concurrency", options.concurrency ?? 1, 1)
  if (concurrency === Number.POSITIVE_INFINITY) throw new RangeError(`${where}: concurrency must be finite`)
  const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
  const context = withoutConstruction(yield* Effect.context<never>())
  const clock = Context.get(context, Clock.Clock)
  /** How many events the writes wait with that have no verdict. */
  let waiting = 0

  const { account, closed, node } = makePart({
    kind: "BatchingSink",
    name: options.name,
    isTimed: true,
    downstream: () => [edgeTo(sink, true)],
    waiting: () => waiting,
    oldestAge: (now) => ages.oldest(unsettled(), now),
    // A write that has no verdict is not accepted.
    update: () => {
      account.accepted = account.delivered
      account.inFlight = delivering.inFlight
      account.lastError = delivering.lastError
    }
  })
  refuseQueueBelow(node, sink.node)
  /** That of the drainers, which count for delivered what has left its batch too. */
  const delivering = makeAccount(account.watch)
  const { abandoned, unreported } = makeReport<Item<A, E>, never>(node, undefined, context)
  const processSpan = makeProcessSpan({ destination: () => node.name, mode: options.trace }, context)
  const buffer = batchedBuffer<Item<A, E>>({
    ...limits,
    sizeOf: sizeOf && (({ event }) => sizeOf(event)),
    partitionBy: partitionBy && (({ event }) => partitionBy(event)),
    now: () => monotonicMillis(clock)
  })
  const unsettled = () => buffer.offered() - buffer.oldest()
  const ages = makeAges(context, unsettled)

  const isLive = ({ write }: Item<A, E>) => !write.hasLeft && write.verdict === undefined
  /** Writes that have their verdict, and do not know of it yet. */
  let decided: Array<Write<A, E>> = []
  const decide = (write: Write<A, E>, verdict: Verdict<E>) => {
    if (write.verdict !== undefined || write.hasLeft) return
    write.verdict = verdict
    waiting -= write.size
    decided.push(write)
  }
  /** A resumed writer runs within this call, and may write again: to be called when the state is whole. */
  const resume = () => {
    const some = decided
    decided = []
    // There is one, since it has been decided.
    for (const { resume, verdict } of some) resume(verdict!)
  }
  const leave = (write: Write<A, E>) => {
    if (write.hasLeft || write.verdict !== undefined) return
    write.hasLeft = true
    waiting -= write.size
    buffer.leave(write.entries)
  }
  const committed = (write: Write<A, E>) => {
    if (++write.committed === write.size) decide(write, Exit.succeed(write.size))
  }
  // A leading part that is committed is the answer, as it is that of any sink.
  const failed = (write: Write<A, E>, cause: Cause.Cause<unknown>) =>
    // What the sink below has failed with.
    decide(write, write.committed > 0 ? Exit.succeed(write.committed) : Exit.failCause(cause as Cause.Cause<E>))

  /** Writes what still waits for its verdict, and passes over the rest. */
  const writeLive = (items: Arr.NonEmptyReadonlyArray<Item<A, E>>): Effect.Effect<number, E | SinkClosed> =>
    Effect.suspend(() => {
      const live: Array<Item<A, E>> = []
      const places: Array<number> = []
      items.forEach((item, i) => {
        if (!isLive(item)) return
        live.push(item)
        places.push(i)
      })
      if (!Arr.isReadonlyArrayNonEmpty(live)) return Effect.as(passedOver, items.length)
      return Effect.map(sink.writeSome(Arr.map(live, ({ event }) => event)), (n) => {
        // What outlives the close has had its verdict.
        if (account.state === "closed") return items.length
        account.delivered += n
        for (const { write } of live.slice(0, n)) committed(write)
        return places[n] ?? items.length
      })
    })
  /** A write that is not made has no outcome either: it would be taken for one that a leaf has committed. */
  const passedOver = Effect.withFiber((fiber) => Effect.sync(() => fiber.getRef(Requested)?.hold(0)))
  const items = makeSink<Item<A, E>, E>({
    node: sink.node,
    write: (item) => Effect.asVoid(writeLive([item])),
    writeSome: writeLive
  })
  const drainers = Array.from({ length: concurrency }, (_, i) => {
    const source = buffer.source(i)
    return startDrainer({
      node,
      sink: items,
      account: delivering,
      context: Context.add(context, Delivering, node),
      processSpan,
      batching: { batchSize: limits.batchSize, isIsolated, outlivesSink: true },
      source: {
        ...source,
        settle: (n) => {
          source.settle(n)
          resume()
        }
      },
      onSinkClosed: () => {},
      report: {
        failed: ({ write }, cause) => Effect.sync(() => failed(write, cause)),
        recovered: () => Effect.void,
        abandoned,
        unreported
      }
    })
  })

  const shutdown = makeShutdown<never>(
    context,
    () => Effect.void,
    () => {
      account.state = "closing"
      buffer.end(false)
      return drain
    }
  )
  const drain = Effect.forEach(drainers, (drainer) => endDrainer(drainer, drainTimeout), {
    concurrency: "unbounded"
  }).pipe(
    Effect.map((lists) => {
      const undelivered = lists.flat().map(({ event }) => event)
      for (let rest = buffer.takeRest(); rest.length > 0; rest = buffer.takeRest()) undelivered.push(...rest)
      endAccount(account)
      for (const { write } of undelivered) failed(write, Cause.fail(new SinkClosed({ sink: node.name })))
      resume()
      return []
    })
  )

  /** Writes leading events that fit into one batch, and waits for their verdict. */
  const writeTogether = (
    events: Arr.NonEmptyReadonlyArray<A>,
    fiber: Fiber.Fiber<unknown, unknown>
  ): Effect.Effect<number, E | SinkClosed> => {
    if (account.state !== "open") return closed
    const outer = fiber.getRef(Delivering)
    if (outer !== undefined && reaches(node, outer)) {
      // The write is part of the write of a batch: it would wait for itself.
      return Effect.map(sink.writeSome(events), (n) => {
        account.delivered += n
        return n
      })
    }
    return Effect.callback<number, E | SinkClosed>((done) => {
      const write: Write<A, E> = {
        size: 0,
        committed: 0,
        entries: [],
        verdict: undefined,
        hasLeft: false,
        resume: (verdict) => done(verdict)
      }
      const writer = processSpan === undefined ? undefined : writerSpanOf(fiber)
      const key = partitionBy?.(events[0])
      const [first, ...others] = ofKey(events, key)
      const itemOf = (event: A): Item<A, E> => ({ event, write })
      const receipt = unheld(requestOf(fiber))
      buffer.offerTogether([itemOf(first), ...others.map(itemOf)], key, writer, receipt, (entries) => {
        write.entries = entries
        write.size = entries.length
        waiting += entries.length
        ages.offer(entries.length)
      })
      return Effect.sync(() => leave(write))
    })
  }
  /** The first event, and those behind it that have its key too, as many as a batch may have at most. */
  const ofKey = (events: Arr.NonEmptyReadonlyArray<A>, key: unknown): Arr.NonEmptyReadonlyArray<A> => {
    const most = Math.min(events.length, limits.batchSize, maxTurn)
    if (partitionBy === undefined) return leading(events, most)
    let n = 1
    while (n < most && Equal.equals(partitionBy(events[n]!), key)) n++
    return leading(events, n)
  }
  const writeSome = (events: Arr.NonEmptyReadonlyArray<A>) => Effect.withFiber((fiber) => writeTogether(events, fiber))
  yield* Effect.addFinalizer(() => shutdown.finished)
  return makeSink<A, E>({ node, write: (event) => Effect.asVoid(writeSome([event])), writeSome })
}, Effect.uninterruptible)

// internals

/** The write waits for the verdict on its events, and what it fails with it fails with: neither is for the drainer to note. */
const unheld = (request: ReceiptRequest | undefined): ReceiptRequest | undefined =>
  request && { ...request, release: () => {}, settle: () => {} }
