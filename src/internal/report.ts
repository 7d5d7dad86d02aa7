/** Reports what a part dropped to its `onDropped` or, without one, to the log: an accepted event is never lost silently. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import type { Died, Dropped, DropReason, OnDropped, Overflow, Undelivered } from "../Dropped.ts"
import { endWithin, reportTimeout, within } from "./deadline.ts"
import { annotate, makeFailureLog } from "./failureLog.ts"
import type { SinkNode } from "./node.ts"
import { inTurns } from "./turns.ts"

/** Makes an effect interruptible again where a report is not. */
type Restore = (effect: Effect.Effect<void>) => Effect.Effect<void>

export interface Report<in A> {
  /** Reports an event whose delivery ended in `cause`. Only `onDropped` itself runs as `restore` makes it run. */
  readonly failed: (event: A, cause: Cause.Cause<unknown>, restore: Restore) => Effect.Effect<void>
  /**
   * Reports events that were dropped beside the delivery, in a fiber of its own: interrupting the writer that caused it,
   * which waits for it, costs no report.
   */
  readonly aside: (events: ReadonlyArray<A>, reason: Overflow | Died) => Effect.Effect<void>
  /** Reports what a close or an eviction left, in at most 5 seconds. */
  readonly undelivered: (events: ReadonlyArray<Undelivered<A>>, why: "Undelivered" | "Lagged") => Effect.Effect<void>
  /** Notes that events are delivered again. */
  readonly recovered: () => Effect.Effect<void>
  /** Logs a write that the close left to itself. */
  readonly abandoned: (downstream: string) => Effect.Effect<void>
  /** Logs an event whose report refuses to end. */
  readonly unreported: (event: A) => Effect.Effect<void>
  /**
   * Logs what has not been logged. Waits for reports under way, in at most 5 seconds, and interrupts those that are not
   * over by then.
   */
  readonly finish: Effect.Effect<void>
}

export const makeReport = <A, E>(
  node: SinkNode,
  onDropped: OnDropped<A, E> | undefined,
  context: Context.Context<never>
): Report<A> => {
  const log = makeFailureLog()
  /** How many events were dropped since the last line in the log, and the ids of the first of them. */
  let unlogged = 0
  let ids: Array<string> = []
  const running = new Set<Fiber.Fiber<void>>()

  const line = (ids: ReadonlyArray<string>, what: string, cause: Cause.Cause<unknown>) => {
    const shown = loggable(cause)
    return Effect.logError(`${node.kind} "${node.name}" ${what}`, ...(shown.reasons.length > 0 ? [shown] : [])).pipe(
      annotate(node.kind, node.name),
      ids.length > 0 ? Effect.annotateLogs({ ids: ids.join(", ") }) : identity
    )
  }
  const lost = (events: ReadonlyArray<A>, what: string, cause: Cause.Cause<unknown>) =>
    line(
      events
        .slice(0, idsNamed)
        .map(idOf)
        .filter((id) => id !== undefined),
      what,
      cause
    )
  /** Logs all that was dropped since the last line. */
  const logDropped = (cause: Cause.Cause<unknown>) => {
    const [n, named] = [unlogged, ids]
    unlogged = 0
    ids = []
    return line(named, `dropped ${n === 1 ? "an event" : `${n} events`}`, cause)
  }
  const callOnDropped = (onDropped: OnDropped<A, E>, dropped: Dropped<A, E>, restore: Restore) =>
    restore(Effect.suspend(() => onDropped(dropped))).pipe(
      Effect.onExit((exit) =>
        Exit.isFailure(exit)
          ? lost([dropped.event], "could not report an event that it dropped", exit.cause)
          : Effect.void
      ),
      // The report has been logged in its place.
      Effect.catchCause(() => Effect.void)
    )
  const dropped = (one: Dropped<A, E>, restore: Restore) => {
    if (onDropped !== undefined) return callOnDropped(onDropped, one, restore)
    unlogged++
    const id = idOf(one.event)
    if (id !== undefined && ids.length < idsNamed) ids.push(id)
    if (log.failed() === 0) return Effect.void
    return logDropped(one.reason._tag === "Died" ? one.reason.cause : Cause.empty)
  }

  /** Reports all of them in a fiber of its own, so that a callback that refuses interruption cannot hold the close. */
  const reportAll = (
    onDropped: OnDropped<A, E>,
    events: ReadonlyArray<Undelivered<A>>,
    why: "Undelivered" | "Lagged"
  ) =>
    Effect.suspend(() => {
      const ended = Latch.makeUnsafe()
      let reported = 0
      const fiber = Effect.runForkWith(context)(
        Effect.whileLoop({
          while: () => reported < events.length,
          body: () => {
            const { event, inFlight } = events[reported]!
            return callOnDropped(onDropped, { event, reason: { _tag: why, inFlight } }, identity)
          },
          step: () => void reported++
        })
      )
      fiber.addObserver(() => void ended.openUnsafe())
      return Effect.flatMap(
        endWithin(ended, reportTimeout, () => fiber.interruptUnsafe()),
        (isDone) => {
          // The one that was interrupted in its report has logged itself; one that refuses interruption has not.
          const from = isDone ? reported + 1 : reported
          if (from >= events.length) return Effect.void
          return lost(
            events.slice(from, from + idsNamed).map(({ event }) => event),
            `had no time to report ${events.length - from} of ${events.length} events`,
            Cause.empty
          )
        }
      )
    })

  const finish: Effect.Effect<void> = Effect.suspend(() => {
    if (unlogged > 0) return Effect.andThen(logDropped(Cause.empty), finish)
    const fibers = [...running]
    if (fibers.length === 0) return Effect.void
    return Effect.flatMap(within(Fiber.awaitAll(fibers), reportTimeout), (isOver) =>
      isOver ? Effect.void : Effect.sync(() => fibers.forEach((fiber) => fiber.interruptUnsafe()))
    )
  })

  return {
    finish,
    failed: (event, cause, restore) => dropped({ event, reason: reasonOf(cause) }, restore),
    aside: (events, reason) => {
      if (events.length === 0) return Effect.void
      const fiber = Effect.runForkWith(context)(
        Effect.forEach(events, (event) => dropped({ event, reason }, identity), { discard: true })
      )
      running.add(fiber)
      fiber.addObserver(() => running.delete(fiber))
      return Effect.asVoid(Fiber.await(fiber))
    },
    undelivered: (events, why) => {
      if (events.length === 0) return Effect.void
      if (onDropped !== undefined) return reportAll(onDropped, events, why)
      const what = why === "Lagged" ? "was evicted with" : "closed with"
      let inFlight = 0
      return Effect.andThen(
        inTurns(events.length, (i) => void (inFlight += events[i]!.inFlight ? 1 : 0)),
        Effect.suspend(() =>
          lost(
            events.slice(0, idsNamed).map(({ event }) => event),
            `${what} ${events.length} undelivered events, ${inFlight} of them in flight`,
            Cause.empty
          )
        )
      )
    },
    recovered: () => {
      const run = log.recovered()
      if (run === 0) return Effect.void
      const rest = unlogged > 0 ? logDropped(Cause.empty) : Effect.void
      return Effect.andThen(
        rest,
        Effect.logInfo(`${node.kind} "${node.name}" delivers again, after ${run} dropped`).pipe(
          annotate(node.kind, node.name)
        )
      )
    },
    abandoned: (downstream) =>
      Effect.logWarning(
        `${node.kind} "${node.name}" closed without a downstream write that refuses interruption ("${downstream}")`
      ).pipe(annotate(node.kind, node.name)),
    unreported: (event) =>
      lost([event], "closed while onDropped held the report of an event and refused interruption", Cause.empty)
  }
}

// internals

/** Ids named in one line of the log, at most. */
const idsNamed = 10

/** The event's own id, if it carries one: the one thing of an event that may be logged. */
const idOf = (event: unknown): string | undefined => {
  try {
    return typeof event === "object" && event !== null && "id" in event && typeof event.id === "string"
      ? event.id
      : undefined
  } catch {
    // A getter that throws, a proxy that was revoked: any value is an event, and this one has no id to tell.
    return undefined
  }
}

/** What of a cause may be logged: errors, whose messages are their authors' own, and no other value, which may be the event. */
export const loggable = (cause: Cause.Cause<unknown>): Cause.Cause<unknown> =>
  Cause.fromReasons(cause.reasons.filter((reason) => Cause.isDieReason(reason) && reason.defect instanceof Error))

const reasonOf = <E>(cause: Cause.Cause<unknown>): DropReason<E> => {
  for (const reason of cause.reasons) {
    // What the sink failed with, less `SinkClosed`: its own error type.
    if (Cause.isFailReason(reason)) return { _tag: "Failed", error: reason.error as E }
  }
  // No failure among the reasons: nothing of the error type is left.
  return { _tag: "Died", cause: cause as Cause.Cause<never> }
}
