/** What a drainer needs of the part around it beside a source of events: what becomes of those that it cannot deliver. */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Undelivered } from "../../Dropped.ts"
import { sinkClosedOf } from "../../internal/sink.ts"

/** What the part around a drainer is notified of, and decides. */
export interface Hooks {
  /** `n` more events of the source are settled: delivered or dropped. */
  readonly settled: (n: number) => void
  /** An event that could not be delivered is reported: the part counts it as what became of it. */
  readonly dropped: () => void
  /** Whether a failure ends the delivery, and leaves its event undelivered, in place of costing that event. */
  readonly ends: (cause: Cause.Cause<unknown>) => boolean
  /** The downstream is closed, or the delivery ends: the part must close itself and report undelivered events. */
  readonly downstreamClosed: () => void
}

/** Reports events that a drainer cannot deliver. */
export interface Reports<in A> {
  /** An event's delivery ended in `cause`. Only what may be interrupted runs under `restore`. */
  readonly failed: (
    event: A,
    cause: Cause.Cause<unknown>,
    restore: (effect: Effect.Effect<void>) => Effect.Effect<void>
  ) => Effect.Effect<void>
  /** Events are delivered again. */
  readonly recovered: () => Effect.Effect<void>
  /** The close abandoned a write, and its event is among the undelivered. */
  readonly abandoned: (downstream: string) => Effect.Effect<void>
  /** The close abandoned `failed` of this event. */
  readonly unreported: (event: A) => Effect.Effect<void>
}

/** Ends when its source has ended, and then answers what it has not delivered. */
export interface Drain<out A> {
  readonly close: (timeout: Duration.Duration) => Effect.Effect<void>
  readonly undelivered: () => ReadonlyArray<Undelivered<A>>
}

/** Closes drainers side by side, and answers their undelivered events. */
export const closeAll = <A>(
  drainers: ReadonlyArray<Drain<A>>,
  timeout: Duration.Duration
): Effect.Effect<ReadonlyArray<Undelivered<A>>> =>
  Effect.map(
    Effect.forEach(drainers, (drainer) => drainer.close(timeout), { concurrency: "unbounded", discard: true }),
    () => drainers.flatMap((drainer) => drainer.undelivered())
  )

/** The usual end of a delivery: the sink below is closed. */
export const endsClosed = (cause: Cause.Cause<unknown>): boolean => sinkClosedOf(cause) !== undefined
