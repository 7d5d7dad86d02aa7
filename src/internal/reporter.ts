import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Latch from "effect/Latch"
import type { Dropped, DropReason, OnDropped, Undelivered } from "../Dropped.ts"
import { endWithin, reportTimeout, within } from "./deadline.ts"
import { annotate, FailureLog } from "./failureLog.ts"
import type { Node } from "./node.ts"

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

/** Makes an effect interruptible again where a report is not. */
type Restore = (effect: Effect.Effect<void>) => Effect.Effect<void>

/** Hands what a part gave up to its `onDropped`, or to the log: an accepted event is never lost without one of them. */
export class Reporter<A, E> {
  private readonly node: Node
  private readonly onDropped: OnDropped<A, E> | undefined
  private readonly context: Context.Context<never>
  private readonly log = new FailureLog()
  /** How many events were given up since the last line in the log, and the ids of the first of them. */
  private unlogged = 0
  private ids: Array<string> = []
  private readonly running = new Set<Fiber.Fiber<void>>()

  constructor(node: Node, onDropped: OnDropped<A, E> | undefined, context: Context.Context<never>) {
    this.node = node
    this.onDropped = onDropped
    this.context = context
  }

  /** Reports one event that was given up while the part runs. Only `onDropped` itself runs as `restore` makes it run. */
  dropped(dropped: Dropped<A, E>, restore: Restore = identity): Effect.Effect<void> {
    if (this.onDropped !== undefined) return this.hand(dropped, restore)
    this.note(dropped.event)
    if (this.log.failed() === 0) return Effect.void
    return this.logDropped(dropped.reason._tag === "Died" ? dropped.reason.cause : Cause.empty)
  }

  /** Reports an event whose delivery ended in `cause`. */
  failed(event: A, cause: Cause.Cause<unknown>, restore: Restore): Effect.Effect<void> {
    return this.dropped({ event, reason: reasonOf(cause) }, restore)
  }

  /** Tells the log of a write that the close left to itself. */
  abandoned(downstream: string): Effect.Effect<void> {
    const { kind, name } = this.node
    return Effect.logWarning(
      `${kind} "${name}" closed without a downstream write that refuses interruption ("${downstream}")`
    ).pipe(annotate(kind, name))
  }

  /** Tells the log of all that was given up since its last line. */
  private logDropped(cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const { ids, unlogged } = this
    this.unlogged = 0
    this.ids = []
    return this.line(ids, `gave up ${unlogged === 1 ? "an event" : `${unlogged} events`}`, cause)
  }

  /**
   * Reports events that did not fit, in a fiber of its own: interrupting the writer that caused it, which waits for it,
   * costs no report.
   */
  overflown(events: ReadonlyArray<A>): Effect.Effect<void> {
    if (events.length === 0) return Effect.void
    const fiber = Effect.runForkWith(this.context)(
      Effect.forEach(events, (event) => this.dropped({ event, reason: { _tag: "Overflow" } }), { discard: true })
    )
    this.running.add(fiber)
    fiber.addObserver(() => this.running.delete(fiber))
    return Effect.asVoid(Fiber.await(fiber))
  }

  /**
   * Tells the log what it has not been told. Waits for reports under way, in at most 5 seconds, and interrupts those
   * that are not over by then.
   */
  readonly finish: Effect.Effect<void> = Effect.suspend(() => {
    if (this.unlogged > 0) return Effect.andThen(this.logDropped(Cause.empty), this.finish)
    const fibers = [...this.running]
    if (fibers.length === 0) return Effect.void
    return Effect.flatMap(within(Fiber.awaitAll(fibers), reportTimeout), (over) =>
      over ? Effect.void : Effect.sync(() => fibers.forEach((fiber) => fiber.interruptUnsafe()))
    )
  })

  /** Tells the log of an event whose report refuses to end. */
  unreported(event: A): Effect.Effect<void> {
    return this.lost(
      [event],
      "closed while onDropped held the report of an event and refused interruption",
      Cause.empty
    )
  }

  /** Notes that events are delivered again. */
  recovered(): Effect.Effect<void> {
    const run = this.log.recovered()
    if (run === 0) return Effect.void
    const rest = this.unlogged > 0 ? this.logDropped(Cause.empty) : Effect.void
    const { kind, name } = this.node
    return Effect.andThen(
      rest,
      Effect.logInfo(`${kind} "${name}" delivers again, after ${run} given up`).pipe(annotate(kind, name))
    )
  }

  /** Reports what a close or an eviction left, in at most 5 seconds, and logs the count. */
  left(events: ReadonlyArray<Undelivered<A>>, why: "Undelivered" | "Lagged"): Effect.Effect<void> {
    if (events.length === 0) return Effect.void
    const inFlight = events.reduce((n, { inFlight }) => (inFlight ? n + 1 : n), 0)
    const what = why === "Lagged" ? "was evicted with" : "closed with"
    const line = this.lost(
      events.map(({ event }) => event),
      `${what} ${events.length} undelivered events, ${inFlight} of them in flight`,
      Cause.empty
    )
    if (this.onDropped === undefined) return line
    const dropped = events.map(({ event, inFlight }): Dropped<A, E> => ({ event, reason: { _tag: why, inFlight } }))
    return Effect.andThen(line, this.handAll(dropped, reportTimeout))
  }

  private handAll(dropped: ReadonlyArray<Dropped<A, E>>, timeout: Duration.Duration): Effect.Effect<void> {
    return Effect.suspend(() => {
      const ended = Latch.makeUnsafe()
      let handed = 0
      const hand = Effect.forEach(dropped, (one) => Effect.map(this.hand(one), () => void handed++), { discard: true })
      // Its own fiber, so that a callback that refuses interruption cannot hold the close.
      const fiber = Effect.runForkWith(this.context)(hand)
      fiber.addObserver(() => void ended.openUnsafe())
      return Effect.flatMap(
        endWithin(ended, timeout, () => fiber.interruptUnsafe()),
        (done) => {
          // The one that was interrupted in its report has logged itself; one that refuses to be has not.
          const rest = dropped.slice(done ? handed + 1 : handed)
          if (rest.length === 0) return Effect.void
          return this.lost(
            rest.map(({ event }) => event),
            `had no time to report ${rest.length} of ${dropped.length} events`,
            Cause.empty
          )
        }
      )
    })
  }

  private hand(dropped: Dropped<A, E>, restore: Restore = identity): Effect.Effect<void> {
    return restore(Effect.suspend(() => this.onDropped!(dropped))).pipe(
      Effect.onExit((exit) =>
        Exit.isFailure(exit)
          ? this.lost([dropped.event], "could not report an event it gave up", exit.cause)
          : Effect.void
      ),
      // The report has been logged in its place.
      Effect.catchCause(() => Effect.void)
    )
  }

  private note(event: A): void {
    this.unlogged++
    const id = idOf(event)
    if (id !== undefined && this.ids.length < idsNamed) this.ids.push(id)
  }

  private lost(events: ReadonlyArray<A>, what: string, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const ids = events.slice(0, idsNamed).map(idOf)
    return this.line(
      ids.filter((id) => id !== undefined),
      what,
      cause
    )
  }

  private line(ids: ReadonlyArray<string>, what: string, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const { kind, name } = this.node
    const told = loggable(cause)
    return Effect.logError(`${kind} "${name}" ${what}`, ...(told.reasons.length > 0 ? [told] : [])).pipe(
      annotate(kind, name),
      ids.length > 0 ? Effect.annotateLogs({ ids: ids.join(", ") }) : (self) => self
    )
  }
}

const reasonOf = <E>(cause: Cause.Cause<unknown>): DropReason<E> => {
  for (const reason of cause.reasons) {
    // What the sink failed with, less `SinkClosed`: its own error type.
    if (Cause.isFailReason(reason)) return { _tag: "Failed", error: reason.error as E }
  }
  // No failure among the reasons: nothing of the error type is left.
  return { _tag: "Died", cause: cause as Cause.Cause<never> }
}
