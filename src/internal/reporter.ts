import * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import type { Dropped, OnDropped, Undelivered } from "../Dropped.ts"
import { endWithin, reportTimeout } from "./deadline.ts"
import { annotate, FailureLog } from "./failureLog.ts"
import type { Node } from "./node.ts"

/** Ids named in one line of the log, at most. */
const idsNamed = 10

/** The event's own id, if it carries one: the one thing of an event that may be logged. */
const idOf = (event: unknown): string | undefined =>
  typeof event === "object" && event !== null && "id" in event && typeof event.id === "string" ? event.id : undefined

/** Hands what a part gave up to its `onDropped`, or to the log: an accepted event is never lost without one of them. */
export class Reporter<A, E> {
  private readonly node: Node
  private readonly onDropped: OnDropped<A, E> | undefined
  private readonly context: Context.Context<never>
  private readonly log = new FailureLog()

  constructor(node: Node, onDropped: OnDropped<A, E> | undefined, context: Context.Context<never>) {
    this.node = node
    this.onDropped = onDropped
    this.context = context
  }

  /** Reports one event that was given up while the part runs. */
  dropped(dropped: Dropped<A, E>): Effect.Effect<void> {
    if (this.onDropped !== undefined) return this.hand(dropped)
    const run = this.log.failed()
    if (run === 0) return Effect.void
    const cause = dropped.reason._tag === "Died" ? dropped.reason.cause : Cause.empty
    return this.lost([dropped.event], `gave up ${run === 1 ? "an event" : `${run} events in a row`}`, cause)
  }

  /** Notes that events are delivered again. */
  recovered(): Effect.Effect<void> {
    const run = this.log.recovered()
    if (run === 0 || this.onDropped !== undefined) return Effect.void
    return Effect.logInfo(`delivers again, after ${run} given up`).pipe(annotate(this.node.kind, this.node.name))
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

  private hand(dropped: Dropped<A, E>): Effect.Effect<void> {
    return Effect.suspend(() => this.onDropped!(dropped)).pipe(
      Effect.onExit((exit) =>
        Exit.isFailure(exit)
          ? this.lost([dropped.event], "could not report an event it gave up", exit.cause)
          : Effect.void
      ),
      // The report has been logged in its place.
      Effect.catchCause(() => Effect.void)
    )
  }

  private lost(events: ReadonlyArray<A>, what: string, cause: Cause.Cause<unknown>): Effect.Effect<void> {
    const ids = events
      .slice(0, idsNamed)
      .map(idOf)
      .filter((id) => id !== undefined)
    return Effect.logError(
      `${this.node.kind} "${this.node.name}" ${what}`,
      ...(cause.reasons.length > 0 ? [cause] : [])
    ).pipe(
      annotate(this.node.kind, this.node.name),
      ids.length > 0 ? Effect.annotateLogs({ ids: ids.join(", ") }) : (self) => self
    )
  }
}
