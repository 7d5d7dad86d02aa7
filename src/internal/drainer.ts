/**
 * Takes events from a source and writes them to a sink, one at a time or in batches, through failures, defects and
 * interruptions, until the source ends or its deadline comes. Behind every queue and every subscription.
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import * as Latch from "effect/Latch"
import { maxBatch } from "./batching/limits.ts"
import { type Account, drop, noteError, notify, type SinkNode } from "./node.ts"
import type { Page, Source } from "./pages.ts"
import type { ProcessSpan } from "./processSpan.ts"
import { leftBy, nextRequest, type ReceiptRequest, within } from "./receipt.ts"
import { reasonOf, type Report } from "./report.ts"
import type { Drainer, Left } from "./shutdown.ts"
import { type Begun, commitBatches, type EventSink, isSinkClosed, SinkClosed, WriteHalves, WriteSync } from "./sink.ts"
import { makeTiming, type Timing } from "./timing.ts"
import { maxTurn } from "./turns.ts"

/** The least events offered to a sink that commits little of each batch. */
const minBatch = 64
/** Small pages are joined up to this many events for a sink that takes batches. */
export const joinUpTo = (sink: EventSink<never, unknown>): number => (takesBatches(sink) ? 512 : 1)
/** Whether batches are written to a sink: one over a plain function is called for each event. */
export const takesBatches = (sink: EventSink<never, unknown>): boolean =>
  sink[WriteSync] === undefined && sink.writeSome !== undefined

export interface Options<A, E> {
  /** The part that it delivers for. */
  readonly node: SinkNode
  readonly source: Source<A>
  readonly sink: EventSink<A, E>
  readonly account: Account
  readonly report: Pick<Report<A>, "failed" | "recovered" | "abandoned" | "unreported">
  readonly context: Context.Context<never>
  /** What each write runs in; nothing where no tracer would record it. */
  readonly processSpan: ProcessSpan | undefined
  /** The sink has answered `SinkClosed`, or a failure ends the delivery. */
  readonly onSinkClosed: () => void
  /** Whether any failure ends the delivery and leaves its events undelivered, in place of costing them. */
  readonly isEnding?: (() => boolean) | undefined
  /** What the source answers with is a batch, which is written whole at first. */
  readonly batching?: Batching | undefined
}

export interface Batching {
  readonly batchSize: number
  /** Whether the event that a failure is about is looked for in smaller batches: otherwise the failure is that of each. */
  readonly isIsolated: (cause: Cause.Cause<unknown>) => boolean
  /** Whether `SinkClosed` fails its events as any error does, in place of ending the delivery. */
  readonly outlivesSink: boolean
}

/** Starts a drainer in a fiber of its own: it belongs to the part, which ends it by `close`. */
export const startDrainer = <A, E>(options: Options<A, E>): Drainer<A> => {
  const { account, batching, isEnding, node, onSinkClosed, processSpan, report, sink, source } = options
  const { settle } = source
  const { watch } = account
  /** There while something watches: a write that began before that is not timed. */
  let timing: Timing | undefined
  const timed = () => (timing = watch.watchers && (timing ?? makeTiming(options.context, watch)))
  const begin = sink[WriteHalves]
  const clock = Context.get(options.context, Clock.Clock)
  const ended = Latch.makeUnsafe()
  let batch: Page<A> = []
  let position = 0
  /** The place of the next event whose write asked for a receipt, which is written alone. */
  let alone = Number.POSITIVE_INFINITY
  let inFlight = 0
  const most = batching?.batchSize ?? maxBatch
  let limit = most
  /** The event whose report to `onDropped` is due or under way. */
  let dropping:
    | { readonly event: A; readonly cause: Cause.Cause<unknown>; readonly receipt: ReceiptRequest | undefined }
    | undefined
  /** How many events had been delivered when the last one failed. */
  let failedAt: number | undefined
  /** The sink that waits for the end of a write in two halves. */
  let begun: Begun<E> | undefined
  /** The source had nothing when it was polled last: there is no need to ask it again before the wait, which knows of more. */
  let isEmpty = false
  let stopped = false
  let fiber: Fiber.Fiber<void> | undefined

  const hasRecovered = () => failedAt !== undefined && account.delivered > failedAt
  /** Whether there is an event to be written now, and not alone. */
  const advance = () => {
    if (stopped) return false
    if (position < batch.length && source.revoke?.() !== true) return position < alone
    batch = []
    position = 0
    if (hasRecovered()) return false
    const events = source.poll()
    isEmpty = events === undefined
    if (events === undefined) return false
    batch = events
    alone = nextRequest(batch, 0)
    if (batching !== undefined) limit = most
    stopped = events.length === 0
    return !stopped && alone > 0
  }
  const setInFlight = (n: number) => {
    account.inFlight += n - inFlight
    inFlight = n
  }
  const delivered = (n: number) => {
    // A write that outlives the close has been returned as undelivered.
    if (stopped) return
    setInFlight(0)
    account.delivered += n
    position += n
    // Before it is settled: a flush that waits for it can write the next event at once.
    if (account.observers !== undefined) notify(account.observers, "delivered", batch.slice(position - n, position))
    if (watch.watchers !== undefined) timed()?.end(n > 1 || position >= batch.length)
    const receipt = position > alone ? batch.receipts?.[alone] : undefined
    settle(n)
    receipt?.release()
  }
  const dropped = () => {
    // The close has counted an event whose report it could not wait for.
    if (dropping === undefined) return
    const reason = reasonOf(dropping.cause)
    const { receipt } = dropping
    drop(account, reason._tag)
    dropping = undefined
    settle(1)
    receipt?.settle(node, { _tag: "Dropped", reason })
  }
  const endHalf = (exit: Exit.Exit<void, unknown>) => {
    const half = begun
    begun = undefined
    const rest = half?.end(exit)
    if (rest !== undefined) Effect.runForkWith(options.context)(rest)
  }
  const failed = (cause: Cause.Cause<unknown>): Effect.Effect<void> => {
    endHalf(Exit.failCause(cause))
    if (stopped) return Effect.void
    const n = inFlight
    setInFlight(0)
    const isClosed = isSinkClosed(cause)
    const isOver = isEnding?.() === true
    // What is refused at the end of its own part is no error.
    if (!isClosed || !isOver) noteError(account, Cause.squash(cause), clock)
    if ((isClosed && batching?.outlivesSink !== true) || isOver) {
      stopped = true
      onSinkClosed()
      return Effect.void
    }
    if (n === 0) return Effect.void
    if (watch.watchers !== undefined) timed()?.end(true)
    const ofEach = n === 1 ? cause : failureOfEach(cause)
    if (ofEach === undefined) {
      // None of the batch was committed, and which event is to blame is unknown: smaller batches find out.
      limit = Math.floor(n / 2)
      return Effect.void
    }
    failedAt = account.delivered
    if (n === 1) return droppedNext(ofEach)
    let left = n
    return Effect.whileLoop({ while: () => !stopped && left-- > 0, body: () => droppedNext(ofEach), step: () => {} })
  }
  /** What each event of a batch has failed with, and nothing where the batch is to be split. */
  const failureOfEach = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> | undefined => {
    try {
      return batching?.isIsolated(cause) === false ? cause : undefined
    } catch (defect) {
      // The user's own: the batch would be written for ever.
      return Cause.die(defect)
    }
  }
  const droppedNext = (cause: Cause.Cause<unknown>) => {
    // The event is pending until its report is made: a close or an interruption in between finds it here.
    const receipt = batch.receipts?.[position]
    dropping = { event: batch[position++]!, cause, receipt }
    return reported
  }
  const reported = Effect.uninterruptibleMask((restore) =>
    dropping === undefined
      ? Effect.void
      : Effect.ensuring(report.failed(dropping.event, dropping.cause, restore), Effect.sync(dropped))
  )

  /** Plain calls, up to `maxTurn` of them before other fibers get a turn. */
  const commitSync = (write: (event: A) => boolean) => {
    let sinceYield = 0
    return Effect.suspend((): Effect.Effect<void, SinkClosed> => {
      while (advance()) {
        const events = batch
        const from = position
        const end = Math.min(events.length, alone, from + maxTurn - sinceYield)
        let at = from
        let isOpen = true
        try {
          while (at < end && (isOpen = write(events[at]!))) at++
        } finally {
          sinceYield += at - from
          // Also when a write throws: the events before it are delivered, and only that one has failed.
          if (at > from) delivered(at - from)
          if (at < end) setInFlight(1)
        }
        if (!isOpen) return Effect.fail(new SinkClosed({ sink: sink.node.name }))
        if (sinceYield < maxTurn) continue
        sinceYield = 0
        return Effect.yieldNow
      }
      return Effect.void
    })
  }
  const nextBatch = () => {
    if (!advance()) return []
    const end = Math.min(batch.length, alone, position + limit)
    const events = position === 0 && end === batch.length ? batch : batch.slice(position, end)
    setInFlight(events.length)
    return events
  }
  const committed = (n: number) => {
    // A sink that takes a few at a time is not offered a thousand each time.
    limit = n < inFlight ? Math.max(minBatch, 16 * n) : Math.min(limit * 2, most)
    delivered(n)
  }
  /**
   * One write after another. Writes in two halves take 205 ns an event where `write` takes 365, and a broadcast to ten
   * sinks 1.1 us where it takes 3.0.
   */
  const commitEach = Effect.withFiber((fiber) =>
    Effect.whileLoop<unknown, E | SinkClosed, never>({
      while: advance,
      body: () => {
        setInFlight(1)
        const event = batch[position]!
        begun = begin?.(event, fiber)
        // A closed sink answers so through `write`.
        return begun === undefined ? sink.write(event) : begun.effect
      },
      step: () => {
        endHalf(Exit.void)
        delivered(1)
      }
    })
  )
  const processed = <B>(processSpan: ProcessSpan, write: Effect.Effect<B, E | SinkClosed>, n: number) => {
    const places = Array.from({ length: n }, (_, i) => position + i)
    const { idOf } = source
    return processSpan(write, {
      writers: places.map((place) => batch.writers?.[place]),
      ids: idOf && places.map(idOf),
      isBatch: sink.writeSome !== undefined
    })
  }
  /** One write after another, or one batch, each in a span of its own: plain calls and halves of writes have no place for one. */
  const commitTraced = (processSpan: ProcessSpan): Effect.Effect<void, E | SinkClosed> => {
    const { writeSome } = sink
    if (writeSome !== undefined) {
      const write = (events: NonEmptyReadonlyArray<A>) => processed(processSpan, writeSome(events), events.length)
      return commitBatches(write, nextBatch, committed)
    }
    return Effect.whileLoop({
      while: advance,
      body: () => {
        setInFlight(1)
        return processed(processSpan, sink.write(batch[position]!), 1)
      },
      step: () => delivered(1)
    })
  }
  const writeSync = sink[WriteSync]
  const commit: Effect.Effect<void, E | SinkClosed> =
    processSpan !== undefined
      ? commitTraced(processSpan)
      : writeSync !== undefined
        ? commitSync(writeSync)
        : sink.writeSome !== undefined
          ? commitBatches(sink.writeSome, nextBatch, committed)
          : commitEach

  const deliver = Effect.catchCause(commit, failed)
  /** The event whose write asked for a receipt: shorter ways than `write` have no place for the request. */
  const deliverAlone = (receipt: ReceiptRequest) => {
    setInFlight(1)
    const event = batch[position]!
    const write = within(receipt, sink.node, () => sink.write(event))
    return Effect.catchCause(
      Effect.map(processSpan === undefined ? write : processed(processSpan, write, 1), () => delivered(1)),
      failed
    )
  }
  const turn = Effect.suspend(() => {
    if (position > alone) alone = nextRequest(batch, position)
    if (!isEmpty && advance()) {
      timed()?.begin()
      return deliver
    }
    if (stopped) return Effect.void
    const receipt = position < batch.length ? batch.receipts?.[position] : undefined
    if (receipt !== undefined) {
      timed()?.begin()
      return deliverAlone(receipt)
    }
    if (!hasRecovered()) {
      isEmpty = false
      return source.wait
    }
    failedAt = undefined
    return report.recovered()
  })
  const loop = Effect.whileLoop({ while: () => !stopped, body: () => turn, step: () => {} })

  const run = (effect: Effect.Effect<void>) => {
    fiber = Effect.runForkWith(options.context)(effect)
    fiber.addObserver((exit) => {
      const cause = Exit.isFailure(exit) ? exit.cause : Cause.empty
      endHalf(Exit.failCause(cause))
      if (stopped) ended.openUnsafe()
      // A write that interrupts the fiber it runs on costs its event, not the queue: the loop starts again.
      else run(Effect.andThen(dropping === undefined ? failed(cause) : reported, loop))
    })
  }
  run(loop)

  return {
    ended,
    stop: () => {
      stopped = true
      fiber?.interruptUnsafe()
    },
    abandoned: () => {
      if (dropping === undefined) return report.abandoned(sink.node.name)
      const { event } = dropping
      dropped()
      return report.unreported(event)
    },
    undelivered: (as: Left) => {
      const unreported = dropping === undefined ? [] : [{ event: dropping.event, inFlight: false }]
      const rest = batch.slice(position).map((event, i) => ({ event, inFlight: i < inFlight }))
      dropping?.receipt?.settle(node, leftBy(as, false))
      rest.forEach(({ inFlight }, i) => batch.receipts?.[position + i]?.settle(node, leftBy(as, inFlight)))
      stopped = true
      dropping = undefined
      batch = []
      position = 0
      setInFlight(0)
      return [...unreported, ...rest]
    }
  }
}
