/** The contract of every sink, and what makes one. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import type * as Fiber from "effect/Fiber"
import { identity } from "effect/Function"
import * as Pipeable from "effect/Pipeable"
import type * as Types from "effect/Types"
import { hasProperty } from "effect/Predicate"
import { makeAccount, makeNode, type NodeOptions, type SinkNode } from "./node.ts"
import { maxTurn } from "./turns.ts"

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
 * The key of a sink's synchronous path.
 *
 * @category symbols
 * @since 0.1.0
 */
export const WriteSync: unique symbol = Symbol.for("effect-events/EventSink/WriteSync")

/** The key of a sink's writes in two halves: their begin and their end. */
export const WriteHalves: unique symbol = Symbol.for("effect-events/EventSink/WriteHalves")

/**
 * Commits events: go-events' `Sink`, with the delivery errors in the type and the close in the scope.
 *
 * **Details**
 *
 * A write that succeeds has committed its event; what "committed" means is each sink's own promise (a queue: it is
 * queued; a receiver: it was received). After a failure the caller may write the event again, and the receiver must
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
   * For sinks that can commit a batch as one act: commits a leading part and answers how many events that was, from 1
   * to the batch's length, as POSIX write(2) does; on failure, none. `EventSink.writeAll` is the loop around it.
   */
  readonly writeSome:
    ((events: NonEmptyReadonlyArray<NoInfer<A>>) => Effect.Effect<number, NoInfer<E> | SinkClosed>) | undefined
  /** Its place in the graph: kind, name, what is downstream, health. */
  readonly node: SinkNode
  /**
   * Commits one event at once, without an effect: `true` when committed, `false` when closed; what it throws is a defect.
   * Only sinks over plain functions have it, and only wrappers that run a write at once may call it.
   */
  readonly [WriteSync]?: ((event: A) => boolean) | undefined
  /**
   * Only sinks over effectful functions have it, for the drainers of this library.
   *
   * @internal
   */
  readonly [WriteHalves]?: WriteBegin<A, E> | undefined
}

/**
 * A sink that commits batches as one act: wrappers keep it one.
 *
 * @category models
 * @since 0.1.0
 */
export interface BatchSink<in A, out E = never> extends EventSink<A, E> {
  readonly writeSome: (events: NonEmptyReadonlyArray<NoInfer<A>>) => Effect.Effect<number, NoInfer<E> | SinkClosed>
}

/**
 * Begins a write for a caller that is sure to notice its end: it saves the frame that `write` needs to notice it, which is
 * more than half of the cost of an effectful delivery. Answers nothing where the write must go by `write`, as to a sink
 * that is closed.
 */
export type WriteBegin<in A, out E> = (event: A, fiber: Fiber.Fiber<unknown, unknown>) => Begun<E> | undefined

/** A write that has begun. */
export interface Begun<out E, A = void> {
  /** To be read before another write begins, and to be run once. */
  readonly effect: Effect.Effect<A, E | SinkClosed>
  /** To be called when it is over. Answers what is left to be run. */
  readonly end: (exit: Exit.Exit<A, unknown>) => Effect.Effect<void> | undefined
}

/**
 * What `A` and `E` of a sink are inferred from.
 *
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

/** Whether a cause has failed with a `SinkClosed`. */
export const isSinkClosed = (cause: Cause.Cause<unknown>): boolean =>
  cause.reasons.some((reason) => Cause.isFailReason(reason) && reason.error instanceof SinkClosed)

/** The account and the node of a part, and what it answers a write with once it is closed. */
export const makePart = (options: Omit<NodeOptions, "account">) => {
  const account = makeAccount()
  const node = makeNode({ ...options, account })
  return { account, node, closed: Effect.suspend(() => Effect.fail(new SinkClosed({ sink: node.name }))) }
}

/** The parts that a sink is made of. */
export interface Parts<in A, out E> {
  readonly node: SinkNode
  readonly write: (event: A) => Effect.Effect<void, E | SinkClosed>
  readonly writeSome?: ((events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E | SinkClosed>) | undefined
  readonly writeSync?: ((event: A) => boolean) | undefined
  readonly begin?: WriteBegin<A, E> | undefined
}

/** The sink of some parts: all sinks of this library have the same shape. */
export const makeSink: {
  <A, E>(parts: Parts<A, E> & { readonly writeSome: NonNullable<Parts<A, E>["writeSome"]> }): BatchSink<A, E>
  <A, E>(parts: Parts<A, E>): EventSink<A, E>
} = <A, E>({ begin, node, write, writeSome, writeSync }: Parts<A, E>): BatchSink<A, E> => ({
  ...Pipeable.Prototype,
  [TypeId]: variance,
  node,
  write,
  // Whether it is there is what the overloads say.
  writeSome: writeSome as BatchSink<A, E>["writeSome"],
  [WriteSync]: writeSync,
  [WriteHalves]: begin
})

/**
 * Runs the write that `begin` answers with, and its end after it; or `closed`, where `begin` answers nothing. The write begins
 * inside of what notices its end, since a fiber that is made to yield between two operations can be interrupted there.
 */
export const runWrite = <I, A, E>(
  input: I,
  begin: (input: I, fiber: Fiber.Fiber<unknown, unknown>) => Begun<E, A> | undefined,
  closed: Effect.Effect<never, E | SinkClosed>
): Effect.Effect<A, E | SinkClosed> =>
  Effect.withFiber((fiber) => {
    let begun: Begun<E, A> | undefined
    return Effect.onExitPrimitive(
      Effect.suspend(() => {
        begun = begin(input, fiber)
        return begun === undefined ? closed : begun.effect
      }),
      (exit) => begun?.end(exit)
    )
  })

/**
 * A sink, or an Effect of one, such as a tag or an inline pipeline.
 *
 * @category types
 * @since 0.1.0
 */
export type Source<S, X, R> = S | Effect.Effect<S, X, R>

/**
 * Whether a value is a sink.
 *
 * @category guards
 * @since 0.1.0
 */
export const isEventSink = (u: unknown): u is EventSink<never, unknown> => hasProperty(u, TypeId)

/** Whether a value is a sink or an Effect, which is what tells the data-first form of a maker. */
export const isSource = (u: unknown): boolean => isEventSink(u) || Effect.isEffect(u)

/** The Effect of a sink that is given as itself or as an Effect of it. */
export const fromSource = <S extends EventSink<never, unknown>, X, R>(
  source: Source<S, X, R>
): Effect.Effect<S, X, R> => (Effect.isEffect(source) ? source : Effect.succeed(source))

/**
 * The mark of a `writeSome` whose sink keeps events in `K` when a write has succeeded: `"memory"` or `"store"`. It is for the
 * compiler alone, and no value has it. Wrappers keep it, as a part of `W`.
 *
 * @category types
 * @since 0.1.0
 */
export interface Acknowledges<out K extends string> {
  readonly "~effect-events/acknowledges"?: K | undefined
}

/**
 * A batch sink that keeps events in `K` when a write has succeeded.
 *
 * @category models
 * @since 0.1.0
 */
export interface AcknowledgingSink<in A, out E, out K extends string> extends BatchSink<A, E> {
  readonly writeSome: BatchSink<A, E>["writeSome"] & Acknowledges<K>
}

type AnyWriteSome = (...args: never) => unknown

/**
 * What a part that stores takes: no sink that is known to keep events in memory when its write succeeds.
 *
 * @category types
 * @since 0.1.0
 */
export interface BelowStore {
  readonly writeSome:
    | (AnyWriteSome &
        Acknowledges<
          | "store"
          | "fix: this sink succeeds when the event is in memory, and the store would delete it then. Leave it out (Endpoint.unqueued for Endpoint.make, DurableBroadcaster for Broadcaster.make), or mark it by EventSink.acknowledgeFromMemory"
        >)
    | undefined
}

/**
 * What a part that keeps events in memory takes: no sink that is known to store them.
 *
 * @category types
 * @since 0.1.0
 */
export interface BelowMemory {
  readonly writeSome:
    | (AnyWriteSome &
        Acknowledges<
          | "memory"
          | "fix: this sink stores the event before its write succeeds, and what is in front would succeed earlier: docs/guide/delivery-guarantees.md#memory-in-front-of-a-store. Write to it directly, for several receivers to a DurableBroadcaster, or mark it by EventSink.acknowledgeFromMemory"
        >)
    | undefined
}

/**
 * A sink whose `writeSome` is `W`, which tells a batch sink from others: what wrappers take.
 *
 * @category types
 * @since 0.1.0
 */
export type Wrapping<A, E, W> = EventSink<A, E> & { readonly writeSome: W }

/**
 * The wrapper of a sink whose `writeSome` is `W`: a batch sink stays one, and one that keeps events in memory or in a store
 * is marked so.
 *
 * @category types
 * @since 0.1.0
 */
export type Wrapped<A, E, W> = Marked<A, E, W, KeptIn<W>>

/** The sink over sources: a batch sink when all are, and marked when one is. */
export type Joined<A, S, E = WriteErrorOf<S>> = Marked<A, E, WriteSomeOf<S>, KeptBy<S>>

type Marked<A, E, W, K extends string> = undefined extends W
  ? [K] extends [never]
    ? EventSink<A, E>
    : EventSink<A, E> & { readonly writeSome: AcknowledgingSink<A, E, K>["writeSome"] | undefined }
  : [K] extends [never]
    ? BatchSink<A, E>
    : AcknowledgingSink<A, E, K>

/** Source by source: the compiler takes a marked function and one that is not marked, together, for one that is not. */
type KeptBy<S> = S extends unknown ? KeptIn<WriteSomeOf<S>> : never

/** Where a sink whose `writeSome` is `W` is marked to keep its events. */
type KeptIn<W> = W extends { readonly "~effect-events/acknowledges"?: infer K extends string | undefined }
  ? NonNullable<K>
  : never

/** A sink of whatever events, or an Effect of one: what lists and cases of sinks are made of. */
export type AnySource = Source<EventSink<never, unknown>, unknown, unknown>

/** The sink that a source is or answers with, and what answering fails with and needs. */
export type SinkOf<S> = S extends Effect.Effect<infer Sink, unknown, unknown> ? Sink : S
export type ErrorOf<S> = S extends Effect.Effect<unknown, infer X, unknown> ? X : never
export type ServicesOf<S> = S extends Effect.Effect<unknown, unknown, infer R> ? R : never

/** What the writes of a source's sink fail with, and its `writeSome`. */
export type WriteErrorOf<S> = SinkOf<S> extends EventSink<never, infer E> ? E : never
export type WriteSomeOf<S> = SinkOf<S> extends { readonly writeSome: infer W } ? W : never

/** Makes the wrapper of a sink, or of an Effect of one. It must have `writeSome` where the sink has it. */
export const wrap = <A, E, W, B, F, X, R>(
  source: Source<Wrapping<A, E, W>, X, R>,
  parts: (self: EventSink<A, E>) => Parts<B, F>
): Effect.Effect<Wrapped<B, F, W>, X, R> =>
  // That it is a batch sink where the sink is one is the caller's to keep.
  Effect.map(fromSource(source), (self) => makeSink(parts(self)) as Wrapped<B, F, W>)

/**
 * Commits the batches that `next` answers with, until one is empty, and calls `committed` with how many of each were
 * committed. A wrapper handles each event, a part a turn of what it is given: between these parts the event loop gets its
 * turn here.
 */
export const commitBatches = <A, E>(
  writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E>,
  next: () => ReadonlyArray<A>,
  committed: (n: number) => void
): Effect.Effect<void, E> => {
  let batch: ReadonlyArray<A> = []
  let sinceYield = 0
  return Effect.whileLoop({
    while: () => sinceYield >= maxTurn || (batch = next()).length > 0,
    body: () => {
      // Not empty, by the condition of the loop.
      if (sinceYield < maxTurn) return writeSome(batch as NonEmptyReadonlyArray<A>)
      sinceYield = 0
      return Effect.as(Effect.yieldNow, 0)
    },
    step: (n) => {
      if (n === 0) return
      sinceYield += n
      committed(n)
    }
  })
}

/** Commits all events in order, batch by batch. */
export const commitAll = <A, E>(
  writeSome: (events: NonEmptyReadonlyArray<A>) => Effect.Effect<number, E>,
  events: ReadonlyArray<A>,
  committed: (n: number) => void
): Effect.Effect<void, E> =>
  Effect.suspend(() => {
    let at = 0
    let most = events.length
    const next = () => (at === 0 ? events : events.slice(at, at + most))
    return commitBatches(writeSome, next, (n) => {
      at += n
      // Offering all the rest each time would cost the square of it.
      most = Math.max(64, 16 * n)
      committed(n)
    })
  })
