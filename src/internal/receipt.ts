/**
 * Receipts: what becomes of one event at each leaf. The request is in the context of the fiber that writes the event: `requestOf`.
 * A leaf notes `Delivered`, a part that holds an event back notes `Filtered`, or `Dropped`, within the write. A part that keeps events
 * in memory calls `hold` when it accepts one and keeps what that answers beside the event. It then writes the event alone, by
 * `within`, and calls `release` after that, or `settle` where it drops or returns the event. A part that does none of this counts as a
 * leaf. It imports nothing: the chain of imports ends here.
 */
import * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"

/**
 * A leaf of the graph has committed the event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivered {
  readonly _tag: "Delivered"
}

/**
 * A filter has held the event back.
 *
 * @category models
 * @since 0.1.0
 */
export interface Filtered {
  readonly _tag: "Filtered"
}

/**
 * A part had accepted the event and dropped it: what its `onDropped` gets, or the log.
 *
 * @category models
 * @since 0.1.0
 */
export interface DropOutcome<out Reason> {
  readonly _tag: "Dropped"
  readonly reason: Reason
}

/**
 * A part had accepted the event and closed before it delivered the event. With `inFlight` the receiver may have it.
 *
 * @category models
 * @since 0.1.0
 */
export interface UndeliveredOutcome {
  readonly _tag: "Undelivered"
  readonly inFlight: boolean
}

/**
 * A durable part has stored the event, under this id, or had an event with the same id already.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stored {
  readonly _tag: "Stored"
  readonly id: string | number
  readonly isDuplicate: boolean
}

/** What became of an event at a sink. */
export type AnyOutcome<Reason> = Delivered | Filtered | DropOutcome<Reason> | UndeliveredOutcome | Stored

/** What a receipt names a sink by: its node. */
interface Named {
  readonly name: string
  readonly kind: string
}

/** An outcome, and the sink that has it. */
export interface Noted<out Reason> {
  readonly sink: string
  readonly kind: string
  readonly outcome: AnyOutcome<Reason>
}

/** What asks for the outcomes of an event. */
export interface ReceiptRequest {
  readonly note: (sink: Named, outcome: AnyOutcome<unknown>) => void
  /**
   * `n` parts accept the event, and each of them is to `release` or `settle` what this answers with. None is an outcome too: that of
   * a broadcaster without sinks.
   */
  readonly hold: (n: number) => ReceiptRequest
  /** A part does not have the event any more. */
  readonly release: () => void
  /** The same, with what became of the event there. */
  readonly settle: (sink: Named, outcome: AnyOutcome<unknown>) => void
  /** The write that it belongs to is over: what is written after it is not of the receipt. */
  readonly isOver: () => boolean
}

/** Events of which some have a request, in their places. */
export interface WithReceipts {
  readonly receipts?: ReadonlyArray<ReceiptRequest | undefined> | undefined
}

/** What the write of a fiber is asked for. A part leaves it out of the context that it is constructed in. */
export const Requested = Context.Reference<ReceiptRequest | undefined>("effect-events/internal/receipt/Requested", {
  defaultValue: () => undefined
})

/** How many receipts are not complete. While it is 0 an event costs one comparison. */
export const open = { receipts: 0 }

/** What the write that a fiber is in asks for. */
export const requestOf = (fiber: Fiber.Fiber<unknown, unknown>): ReceiptRequest | undefined => {
  if (open.receipts === 0) return undefined
  const request = fiber.getRef(Requested)
  return request?.isOver() === true ? undefined : request
}

/** The place of the first event from `from` on that has a request: such an event is written alone. */
export const nextRequest = (page: WithReceipts, from: number): number => {
  if (page.receipts === undefined) return Number.POSITIVE_INFINITY
  const found = page.receipts.findIndex((receipt, i) => i >= from && receipt !== undefined)
  return found < 0 ? Number.POSITIVE_INFINITY : found
}

/** The request of a write that has begun, its receipt, and how the write ends. */
export const makeRequest = () => {
  const outcomes: Array<Noted<unknown>> = []
  const done = Deferred.makeUnsafe<ReadonlyArray<Noted<unknown>>>()
  /** How many parts have the event, its writer first. */
  let held = 1
  let isOver = false
  open.receipts++
  const end = () => {
    isOver = true
    open.receipts--
  }
  const release = () => {
    if (--held > 0 || isOver) return
    end()
    Deferred.doneUnsafe(done, Exit.succeed(outcomes))
  }
  const note: ReceiptRequest["note"] = ({ kind, name }, outcome) => {
    if (!isOver) outcomes.push({ sink: name, kind, outcome })
  }
  const request: ReceiptRequest = {
    note,
    release,
    isOver: () => isOver,
    hold: (n) => {
      held += n
      return request
    },
    settle: (sink, outcome) => {
      note(sink, outcome)
      release()
    }
  }
  return {
    request,
    /** The write failed: there is no receipt. */
    discard: () => {
      if (!isOver) end()
    },
    // A part settles inside of its own step, which must be over before the reader goes on.
    outcomes: Effect.tap(Deferred.await(done), () => Effect.yieldNow)
  }
}

/** Runs a write to a sink within a request. A sink that notes nothing and succeeds is a leaf. */
export const within = <A, E, R>(
  request: ReceiptRequest,
  sink: Named,
  write: () => Effect.Effect<A, E, R>
): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    let isOver = false
    let isNoted = false
    const noted: ReceiptRequest = {
      ...request,
      isOver: () => isOver || request.isOver(),
      note: (sink, outcome) => {
        isNoted = true
        request.note(sink, outcome)
      },
      hold: (n) => {
        isNoted = true
        return request.hold(n)
      }
    }
    return Effect.onExitPrimitive(Effect.provideService(Effect.suspend(write), Requested, noted), (exit) => {
      isOver = true
      if (!isNoted && Exit.isSuccess(exit)) request.note(sink, delivered)
      return undefined
    })
  })

/** Runs what a part is given beside its sink: the sinks that it writes to are its own, and not of the receipt. */
export const apart = <A, E, R>(effect: Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  open.receipts === 0 ? effect : Effect.provideService(effect, Requested, undefined)

/** Notes an outcome of `n` events where the fiber is in a write with a request. */
export const noteOutcome = (sink: Named, outcome: AnyOutcome<unknown>, n = 1): Effect.Effect<void> =>
  open.receipts === 0
    ? Effect.void
    : Effect.withFiber((fiber) => {
        const request = requestOf(fiber)
        for (let i = 0; i < n; i++) request?.note(sink, outcome)
        return Effect.void
      })

export const delivered: Delivered = { _tag: "Delivered" }
export const filtered: Filtered = { _tag: "Filtered" }
export const overflowed = { _tag: "Dropped", reason: { _tag: "Overflow" } } as const

/** What becomes of an event that a close leaves undelivered, or an eviction drops. */
export const leftBy = (as: "undelivered" | "dropped", inFlight: boolean): AnyOutcome<unknown> =>
  as === "undelivered" ? { _tag: "Undelivered", inFlight } : { _tag: "Dropped", reason: { _tag: "Lagged", inFlight } }
