/** What a drainer needs of the part around it: where events come from, and what becomes of those that it cannot deliver. */
import type * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { Undelivered } from "../../Dropped.ts"
import { sinkClosedOf } from "../../internal/sink.ts"

/** Where a drainer takes its events from. Taking is no effect, so that no interruption comes between it and the hand. */
export interface Source<out A> {
  /** Takes some events without waiting: none when there will be no more, `undefined` when there are none now. */
  readonly poll: () => ReadonlyArray<A> | undefined
  /** Waits until there may be some, or no more. */
  readonly wait: Effect.Effect<void>
  /**
   * Whether what it gave and is not settled is somebody else's by now, or may be: the rest of it is let go. Told once, and
   * asked before each group.
   */
  readonly isRevoked?: (() => boolean) | undefined
}

/** What the part around a drainer wants to know, and has a say in. */
export interface Hooks {
  /** `n` more events of the source are settled: delivered or given up. */
  readonly settled: (n: number) => void
  /** One event that could not be delivered has been taken care of: it is to be counted as what became of it. */
  readonly gaveUp: () => void
  /** Whether a failure ends the line, and leaves its event in hand, in place of costing that event. */
  readonly ends: (cause: Cause.Cause<unknown>) => boolean
  /** The downstream is closed, or the line ends: the part must close itself and report what is left. */
  readonly downstreamClosed: () => void
}

/** Takes care of what a drainer cannot deliver. */
export interface Reports<in A> {
  /** An event's delivery ended in `cause`. Only what may be interrupted runs as `restore` makes it run. */
  readonly failed: (
    event: A,
    cause: Cause.Cause<unknown>,
    restore: (effect: Effect.Effect<void>) => Effect.Effect<void>
  ) => Effect.Effect<void>
  /** Events are delivered again. */
  readonly recovered: () => Effect.Effect<void>
  /** The close left a write to itself, and its event is among what is left. */
  readonly abandoned: (downstream: string) => Effect.Effect<void>
  /** The close left `failed` of this event to itself. */
  readonly unreported: (event: A) => Effect.Effect<void>
}

/** What ends when its source has ended, and then gives up what it has in hand. */
export interface Drain<out A> {
  readonly close: (timeout: Duration.Duration) => Effect.Effect<void>
  readonly left: () => ReadonlyArray<Undelivered<A>>
}

/** Closes drainers side by side, and answers with what they had in hand. */
export const closeAll = <A>(
  drainers: ReadonlyArray<Drain<A>>,
  timeout: Duration.Duration
): Effect.Effect<ReadonlyArray<Undelivered<A>>> =>
  Effect.map(
    Effect.forEach(drainers, (drainer) => drainer.close(timeout), { concurrency: "unbounded", discard: true }),
    () => drainers.flatMap((drainer) => drainer.left())
  )

/** The end of most lines: what lies below is closed. */
export const endsClosed = (cause: Cause.Cause<unknown>): boolean => sinkClosedOf(cause) !== undefined
