/** The deliveries of a subscription that are with this process: taken from the store, in memory, in flight, or to be settled. */
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Queue from "effect/Queue"
import { batchedBuffer } from "../../internal/batching/batchedBuffer.ts"
import { takesBatches } from "../../internal/drainer.ts"
import { monotonicMillis } from "../../internal/monotonic.ts"
import type { Buffer, Page } from "../../internal/pages.ts"
import { fifo, type Partition, partitioned } from "../../internal/queue/buffer.ts"
import { type EventSink, WriteSync } from "../../internal/sink.ts"
import type { Claimed, Lease, Limits, Position, Wanted } from "../EventStore.ts"
import type { DurableLog } from "./durableLog.ts"
import { makeLanes } from "./lanes.ts"
import { makeRedelivering, type ReceiverState, retryAfterOf } from "./redelivering.ts"
import { makeRows, type Row } from "./rows.ts"
import type { DeliverySettings } from "./settings.ts"
import { reasonOf } from "./toDeadLetter.ts"
import { makeUnsettled } from "./unsettled.ts"

/** What a subscription waits for that does not wait. */
const atOnce = { attempts: 0, firstFailedAt: undefined, failingSince: undefined }
/** How many deliveries of one lane are taken at once, at most. */
const perLane = 16

export interface Options<in out A> extends Pick<
  DeliverySettings<A>,
  "batchSize" | "maxAge" | "concurrency" | "partitionBy" | "redelivery"
> {
  readonly sink: EventSink<A, unknown>
  readonly context: Context.Context<never>
  readonly log: Pick<DurableLog, "planDied">
  /** A lease is of no use any more. */
  readonly giveBack: (lease: Lease) => void
  /** There is something to be settled, at once. */
  readonly settle: () => void
  readonly receiver?: ((state: ReceiverState) => void) | undefined
}

export type Window<A> = Effect.Success<ReturnType<typeof makeWindow<A>>>

export const makeWindow = Effect.fnUntraced(function* <A>(options: Options<A>) {
  const { concurrency, partitionBy, sink } = options
  const size = Math.max(options.batchSize, concurrency)
  const isBatched = sink[WriteSync] !== undefined || sink.writeSome !== undefined
  const batching = { joinUpTo: isBatched ? size : 1, max: isBatched ? size : 1 }
  const clock = Context.get(options.context, Clock.Clock)
  const maxAge = takesBatches(sink) ? Duration.toMillis(options.maxAge) : 0
  const batches =
    maxAge === 0
      ? undefined
      : batchedBuffer<Row<A>>({
          batchSize: size,
          maxAge,
          maxBytes: Number.POSITIVE_INFINITY,
          sizeOf: undefined,
          partitionBy: concurrency === 1 || partitionBy === undefined ? undefined : ({ event }) => partitionBy(event),
          now: () => monotonicMillis(clock),
          // What has failed before waits for nothing. The clock of the store may be another: an age is at least 0.
          ageOf: ({ attempts, lane, writtenAt }) =>
            attempts > 0 || lane !== undefined ? maxAge : clock.currentTimeMillisUnsafe() - writtenAt
        })
  const buffer: Buffer<Row<A>> =
    batches ??
    (concurrency === 1 || partitionBy === undefined
      ? fifo(yield* Queue.unbounded<Page<Row<A>>, Cause.Done>(), concurrency, batching)
      : partitioned(yield* Queue.unbounded<Partition<Row<A>>, Cause.Done>(), batching, ({ event }) =>
          partitionBy(event)
        ))
  const isKeyed = buffer.keyOf !== undefined
  // Without keys an event that waits by itself has a lane of its own, that of its position.
  const lanes = isKeyed && partitionBy !== undefined ? makeLanes<A>(partitionBy) : undefined
  const rows = makeRows<A>()
  const redelivering = makeRedelivering(
    options.redelivery,
    concurrency === 1,
    options.context,
    options.log,
    options.receiver
  )
  const unsettled = makeUnsettled()
  const resumed = Latch.makeUnsafe()
  const state = {
    lease: undefined as Lease | undefined,
    /** Another take may find something. */
    isDirty: false,
    /** That was said since the last take was asked for, whose answer may not know of it. */
    isNews: false,
    isReceiving: false,
    /** There may be events that wait for their time. */
    hasAside: false,
    /** The subscription is not active: the lease is given back when nothing is in flight. */
    isSuspended: false,
    isStopped: false,
    isPaused: false,
    /** A claim has found that the wait is over. */
    isDue: false,
    /** Nothing is there that was not tried yet. */
    hasNoFresh: false,
    /** How many settlements under this lease are under way. */
    settling: 0,
    /** Counts the leases that were lost: what was taken before belongs to another owner. */
    generation: 0,
    /** The generation in which the last wait began. */
    heldUnder: 0
  }

  const dirty = () => {
    state.isDirty = true
    state.isNews = true
  }
  /** Forgets what no drainer has taken, and answers the last position of it in the order of the subscription. */
  const evict = () => {
    let last = 0
    while (buffer.size() > 0) {
      const row = buffer.takeOldest()
      if (row.lane === undefined) last = Math.max(last, row.position)
      rows.forget(row)
    }
    return last
  }
  /** Takes back what is in memory and not in flight: its place may be behind what has failed. */
  const stepBack = () => {
    state.generation++
    const last = evict()
    lanes?.putBack(last)
    dirty()
  }
  const setAside = (row: Row<A>, lane: number) => {
    row.outcome = "aside"
    state.hasAside = true
    unsettled.add({ _tag: "Aside", position: row.position, lane })
    options.settle()
  }
  const giveBack = () => {
    if (state.lease !== undefined) options.giveBack(state.lease)
    state.lease = undefined
  }
  const released = () => {
    state.lease = undefined
    redelivering.claimed(atOnce)
    state.isSuspended = false
    state.settling = 0
    state.generation++
    unsettled.clear()
    // What was reported as dropped is never delivered by this process, whichever process has the lease meanwhile.
    for (const row of rows.all()) if (row.outcome !== undefined && row.outcome !== "dropped") rows.forget(row)
    evict()
    rows.released()
    resumed.closeUnsafe()
  }
  const endSuspended = () => {
    // What is being settled needs the lease, and is counted when it is.
    if (!state.isSuspended || state.settling > 0 || unsettled.hasSome() || rows.live() > 0) return
    giveBack()
    released()
  }
  const stepped = (position: Position, takenUnder: number, asked: Duration.Duration | undefined, reason: string) => {
    const wasHeld = redelivering.isHeld()
    redelivering.stepped(position, takenUnder < state.heldUnder, asked, reason)
    if (wasHeld || !redelivering.isHeld()) return
    state.hasNoFresh = false
    state.isDue = false
    stepBack()
    state.heldUnder = state.generation
  }
  return {
    size,
    buffer,
    isKeyed,
    lanes,
    rows,
    redelivering,
    unsettled,
    /** Opens when there may be a lease to deliver under. */
    resumed,
    state,
    dirty,
    evict,
    stepBack,
    setAside,
    giveBack,
    released,
    endSuspended,
    claimed: (claimed: Claimed) => {
      const { epoch, subscription } = claimed
      state.lease = { subscription, epoch }
      state.hasAside = claimed.lanes.length > 0
      lanes?.claimed(claimed.lanes)
      redelivering.claimed(claimed)
      state.isDue = true
    },
    suspend: () => {
      if (state.lease === undefined || state.isSuspended) return
      state.isSuspended = true
      // A state that changes ends a wait.
      redelivering.claimed(atOnce)
      stepBack()
      // Nothing more is to be stored of what has waited for that, and goes on within this call.
      for (const { outcome, position } of rows.all()) if (outcome === "remaining") unsettled.release(position)
      endSuspended()
    },
    /** What waits for a batch to fill up waits no more. Answers whether there is some of it. */
    hurry: () => batches?.hurry() ?? false,
    /** Makes room where drainers wait, and all that waits is of keys in flight. */
    spill: () => {
      while (buffer.size() > 0) {
        const row = buffer.takeOldest()
        if (lanes !== undefined && row.lane === undefined) setAside(row, lanes.setAside(row.event))
        else rows.forget(row)
      }
    },
    /** An event is given up, with an answer of the receiver or without. */
    ended: ({ position }: Row<A>, isAnswer: boolean, takenUnder: number, cause: Cause.Cause<unknown>) => {
      if (isAnswer) return redelivering.answered()
      redelivering.failed(reasonOf(cause), !cause.reasons.some(Cause.isFailReason))
      if (concurrency === 1) redelivering.passed()
      else stepped(position, takenUnder, undefined, reasonOf(cause))
    },
    /** An event waits for its next attempt: before all others, before those of its key, or by itself. */
    again: (row: Row<A>, delay: Duration.Duration, takenUnder: number, cause: Cause.Cause<unknown>) => {
      redelivering.failed(reasonOf(cause), !cause.reasons.some(Cause.isFailReason))
      if (concurrency === 1) {
        row.outcome = "remaining"
        redelivering.wait(row, delay, reasonOf(cause))
        state.isDue = false
        return stepBack()
      }
      row.outcome = "aside"
      const lane = row.lane ?? lanes?.setAside(row.event) ?? row.position
      lanes?.wait(lane)
      state.hasAside = true
      unsettled.add({ _tag: "Again", position: row.position, lane, delay, attempts: redelivering.plannedOf(row) })
      const asked = retryAfterOf(Cause.squash(cause))
      // The plan's delay is no shorter than what it grants.
      stepped(row.position, takenUnder, asked && Duration.min(asked, delay), reasonOf(cause))
      if (isKeyed) stepBack()
    },
    wanting: (limits: Limits): Wanted | undefined => {
      const isFresh = redelivering.wantsFresh() && !state.hasNoFresh
      const busy = lanes?.busy(rows.all) ?? []
      const wanted = { limits, except: rows.positions(), busy, perLane: isFresh ? 0 : perLane }
      return state.lease && { ...state.lease, ...wanted }
    }
  }
})
