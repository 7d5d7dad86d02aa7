/** The contract of every sink, and the one class that implements it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Effectable from "effect/Effectable"
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Pipeable from "effect/Pipeable"
import type * as Types from "effect/Types"
import type { Node, SinkNode } from "./node.ts"

/**
 * The type id of every `EventSink`.
 *
 * @category symbols
 * @since 0.1.0
 */
export const TypeId: TypeId = "~effect-events/EventSink"

/**
 * @category symbols
 * @since 0.1.0
 */
export type TypeId = "~effect-events/EventSink"

/**
 * Commits events: go-events' `Sink`, with the delivery errors in the type and the close in the scope.
 *
 * **Details**
 *
 * A write that succeeds has committed its event; what "committed" means is each sink's own promise (a queue: it is
 * queued; a receiver: it was received). After a failure the caller may write the event again, and whoever receives must
 * then expect repeats: delivery is at least once. A write to a sink whose scope is closed fails with `SinkClosed`.
 *
 * A sink never closes itself by being collected and never swallows an error: what it cannot commit it answers with.
 *
 * **Gotchas**
 *
 * Wrap a sink by the functions of this module or by a `make` that writes to it, not by copying its fields: wrappers that
 * run a write at once may take a shorter way than `write`.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventSink<in A, out E = never> extends Pipeable.Pipeable {
  // What sinks are inferred by: from `E | SinkClosed` alone the compiler takes `SinkClosed` for an error of the sink's.
  readonly [TypeId]: Variance<A, E>
  /** Commits one event. Success means committed; after a failure the caller may write it again. */
  readonly write: (event: A) => Effect.Effect<void, E | SinkClosed>
  /**
   * For sinks that can commit a group as one act: commits a leading part and answers how many events that was, from 1
   * to the group's length, as POSIX write(2) does; on failure, none. `EventSink.writeAll` is the loop around it.
   */
  readonly writeSome:
    ((events: NonEmptyReadonlyArray<NoInfer<A>>) => Effect.Effect<number, NoInfer<E> | SinkClosed>) | undefined
  /** Its place in the graph: kind, name, what is downstream, health. */
  readonly node: SinkNode
  /**
   * Commits one event at once: `true` when committed, `false` when closed; what it throws is a defect. Only sinks over
   * plain functions have it, and only wrappers that run a write at once may call it.
   *
   * @internal
   */
  readonly writeUnsafe: ((event: A) => boolean) | undefined
  /**
   * What a fiber that writes one event after another may do instead of running `write`. Only sinks over effectful
   * functions have it.
   *
   * @internal
   */
  readonly direct: Direct<A, E> | undefined
}

/**
 * A write in two halves, for a caller that is sure to notice the end of each: it saves the frame that `write` needs to
 * notice it.
 */
export interface Direct<in A, out E> {
  /** Begins a write: the effect to be run now, after which `end` must be called. Nothing when the sink is closed. */
  readonly begin: (event: A, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<unknown, E | SinkClosed> | undefined
  /** The write is over: with a cause if it failed, died or was interrupted. */
  readonly end: (cause: Cause.Cause<unknown> | undefined) => void
}

/**
 * @category models
 * @since 0.1.0
 */
export interface Variance<in A, out E> {
  readonly _A: Types.Contravariant<A>
  readonly _E: Types.Covariant<E>
}

const variance: Variance<unknown, never> = { _A: identity, _E: identity }

/**
 * The sink, or one that it needs, is closed: go-events' `ErrSinkClosed`. The event was not accepted by it.
 *
 * @category errors
 * @since 0.1.0
 */
export class SinkClosed extends Data.TaggedError("SinkClosed")<{
  /** The name of the sink that is closed, which may be one further downstream. */
  readonly sink: string
}> {
  override get message(): string {
    return `the sink "${this.sink}" is closed`
  }
}

/** The `SinkClosed` of a cause, if that is what it failed with. */
export const sinkClosedOf = (cause: Cause.Cause<unknown>): SinkClosed | undefined => {
  for (const reason of cause.reasons) {
    if (Cause.isFailReason(reason) && reason.error instanceof SinkClosed) return reason.error
  }
  return undefined
}

/** What a sink is made of. */
export interface Parts<A, E> {
  readonly node: Node
  readonly write: (event: A) => Effect.Effect<void, E | SinkClosed>
  readonly writeSome?: ((events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E | SinkClosed>) | undefined
  readonly writeUnsafe?: ((event: A) => boolean) | undefined
  readonly direct?: Direct<A, E> | undefined
}

/** The sink of some parts. Queues and other parts with more to offer extend it. */
export class Sink<in A, out E = never> extends Pipeable.Class implements EventSink<A, E> {
  readonly [TypeId]: Variance<A, E> = variance
  readonly node: Node
  readonly write: (event: A) => Effect.Effect<void, E | SinkClosed>
  readonly writeSome: ((events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E | SinkClosed>) | undefined
  readonly writeUnsafe: ((event: A) => boolean) | undefined
  readonly direct: Direct<A, E> | undefined

  constructor(parts: Parts<A, E>) {
    super()
    this.node = parts.node
    this.write = parts.write
    this.writeSome = parts.writeSome
    this.writeUnsafe = parts.writeUnsafe
    this.direct = parts.direct
  }
}

/** What an operation runs on: the part, which gets the argument and the fiber when the effect is run. */
type Run<A, B, E> = (arg: A, fiber: Fiber.Fiber<unknown, unknown>) => Effect.Effect<B, E>

/**
 * Makes effects that are one small object each, with no closure and nothing done before they are run: what a write
 * costs is most of what a queue costs. Calling the same effect twice does the act twice, as with any effect.
 */
export const operation = <A, B, E>(label: string, run: Run<A, B, E>): ((arg: A) => Effect.Effect<B, E>) => {
  interface Operation extends Effect.Effect<B, E> {
    arg: A
  }
  const Operation = function (this: Operation, arg: A) {
    this.arg = arg
  }
  Operation.prototype = Effectable.Prototype<Operation>({
    label,
    evaluate(fiber) {
      return run(this.arg, fiber)
    }
  })
  // A function with a prototype is a constructor at run time; TypeScript knows that only of classes.
  const Constructor = Operation as unknown as new (arg: A) => Effect.Effect<B, E>
  return (arg) => new Constructor(arg)
}

/** Commits all events in order, group by group, and tells of each group how many of it were committed. */
export const commitAll = <A, E>(
  writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E>,
  events: ReadonlyArray<A>,
  committed: (n: number) => void
): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    let next = 0
    let offered = events.length
    return Effect.whileLoop({
      while: () => next < events.length,
      // Not empty, by the condition of the loop.
      body: () => writeSome((next === 0 ? events : events.slice(next, next + offered)) as NonEmptyReadonlyArray<A>),
      step: (n) => {
        next += n
        // Offering all the rest each time would cost the square of it.
        offered = Math.max(64, 16 * n)
        committed(n)
      }
    })
  })
