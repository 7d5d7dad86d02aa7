/** Reports what a part dropped to its `onDropped` or, without one, to the log: an accepted event is never lost silently. */
import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import type { Died, Dropped, Failed, OnDropped, Overflow, Undelivered } from "../Dropped.ts"
import { endWithin, reportTimeout, within } from "./deadline.ts"
import { logLine, makeFailureLog, numbered } from "./failureLog.ts"
import { type SinkNode, notify } from "./node.ts"
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
  readonly undelivered: (events: ReadonlyArray<Undelivered<A>>, why?: "Undelivered" | "Lagged") => Effect.Effect<void>
  /** Notes that events are delivered again. */
  readonly recovered: () => Effect.Effect<void>
  /** Logs a write that the close left to itself. */
  readonly abandoned: (downstream: string) => Effect.Effect<void>
  /** Logs an event whose report refuses to end. */
  readonly unreported: (event: A) => Effect.Effect<void>
  /**
   * Waits for `close`, and beside it for reports under way, in at most 5 seconds, and interrupts those that are not over by
   * then. Logs after both what has not been logged: events are dropped until the close is over.
   */
  readonly finish: (close: Effect.Effect<unknown>) => Effect.Effect<void>
}

export const makeReport = <A, E>(
  node: SinkNode,
  onDropped: OnDropped<A, E> | undefined,
  context: Context.Context<never>
): Report<A> => {
  const log = makeFailureLog()
  /** How many events were dropped since the last line in the log, and the ids of the first of them. */
  let unlogged = 0
  let ids: ReadonlyArray<string> = []
  const running = new Set<Fiber.Fiber<void>>()

  const dropped = (one: Dropped<A, E>, restore: Restore) => {
    const observers = node.observers()
    if (observers !== undefined) notify(observers, "dropped", [one.event], one.reason._tag)
    if (onDropped !== undefined) {
      return restore(Effect.suspend(() => onDropped(one))).pipe(
        Effect.onError((cause) => {
          const ids = idsOf([one.event])
          return logLine(node, "Error", "could not report an event that it dropped", { events: 1, ids }, cause)
        }),
        // The report has been logged in its place.
        Effect.catchCause(() => Effect.void)
      )
    }
    unlogged++
    if (ids.length < idsNamed) ids = [...ids, ...idsOf([one.event])]
    if (log.failed() === 0) return Effect.void
    return logDropped(one.reason._tag === "Died" ? one.reason.cause : Cause.empty)
  }
  /** Logs all that was dropped since the last line. */
  const logDropped = (cause?: Cause.Cause<unknown>) => {
    if (unlogged === 0) return Effect.void
    const line = logLine(node, "Error", `dropped ${numbered(unlogged, "event")}`, { events: unlogged, ids }, cause)
    unlogged = 0
    ids = []
    return line
  }
  return {
    failed: (event, cause, restore) => dropped({ event, reason: reasonOf(cause) }, restore),
    aside: (events, reason) => {
      const fiber = Effect.runForkWith(context)(
        Effect.forEach(events, (event) => dropped({ event, reason }, identity), { discard: true })
      )
      running.add(fiber)
      fiber.addObserver(() => running.delete(fiber))
      return Effect.asVoid(Fiber.await(fiber))
    },
    undelivered: (events, why = "Undelivered") => {
      const { length } = events
      if (length === 0) return Effect.void
      const idsFrom = (from: number) => idsOf(events.slice(from, from + idsNamed).map(({ event }) => event))
      if (onDropped === undefined) {
        const observers = node.observers()
        if (observers !== undefined) {
          notify(
            observers,
            "dropped",
            events.map(({ event }) => event),
            why
          )
        }
        let inFlight = 0
        return Effect.andThen(
          inTurns(length, (i) => void (inFlight += events[i]!.inFlight ? 1 : 0)),
          Effect.suspend(() => {
            const ids = idsFrom(0)
            const end = why === "Lagged" ? "was evicted" : "closed"
            return logLine(node, "Error", `${end} with ${length} undelivered events, ${inFlight} of them in flight`, {
              events: length,
              inFlight,
              ids
            })
          })
        )
      }
      return Effect.suspend(() => {
        let reported = 0
        const ended = Latch.makeUnsafe()
        // A fiber of its own: a callback that refuses interruption cannot hold the close.
        const fiber = Effect.runForkWith(context)(
          Effect.whileLoop({
            while: () => reported < length,
            body: () => {
              const { event, inFlight } = events[reported]!
              return dropped({ event, reason: { _tag: why, inFlight } }, identity)
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
            if (from >= length) return Effect.void
            const n = length - from
            const ids = idsFrom(from)
            return logLine(node, "Error", `had no time to report ${n} of ${length} events`, { events: n, ids })
          }
        )
      })
    },
    recovered: () => {
      const run = log.recovered()
      if (run === 0) return Effect.void
      const line = logLine(node, "Info", `delivers again, after ${run} dropped`, { events: run })
      return Effect.andThen(logDropped(), line)
    },
    abandoned: (downstream) =>
      logLine(node, "Warn", `closed without a downstream write that refuses interruption ("${downstream}")`),
    unreported: (event) => {
      const ids = idsOf([event])
      return logLine(node, "Error", "closed while onDropped held the report of an event and refused interruption", {
        events: 1,
        ids
      })
    },
    finish: (close) => {
      const reported = Effect.suspend(() => {
        const fibers = [...running]
        const over = fibers.length === 0 ? Effect.succeed(true) : within(Fiber.awaitAll(fibers), reportTimeout)
        return Effect.map(over, (isOver) => {
          if (!isOver) for (const fiber of fibers) fiber.interruptUnsafe()
        })
      })
      return Effect.andThen(
        Effect.all([close, reported], { concurrency: "unbounded", discard: true }),
        Effect.suspend(() => logDropped())
      )
    }
  }
}

/** Why an event was dropped whose delivery ended in `cause`. */
export const reasonOf = <E>(cause: Cause.Cause<unknown>): Failed<E> | Died => {
  for (const reason of cause.reasons) {
    // What the sink failed with, less `SinkClosed`: its own error type.
    if (Cause.isFailReason(reason)) return { _tag: "Failed", error: reason.error as E }
  }
  // No failure among the reasons: nothing of the error type is left.
  return { _tag: "Died", cause: cause as Cause.Cause<never> }
}

// internals

/** Ids named in one line of the log, at most. */
const idsNamed = 10

/** The events' own ids, if they carry some: the one thing of an event that may be logged. */
const idsOf = (events: ReadonlyArray<unknown>): ReadonlyArray<string> =>
  events.flatMap((event) => {
    try {
      return typeof event === "object" && event !== null && "id" in event && typeof event.id === "string"
        ? [event.id]
        : []
    } catch {
      // A getter that throws, a proxy that was revoked: any value is an event, and this one has no id to tell.
      return []
    }
  })
