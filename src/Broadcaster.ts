/**
 * Hands every event to every sink that is subscribed: go-events' `Broadcaster`. A write succeeds when the event is
 * published; each sink then gets it from a queue of its own, in order. One sink's slowness, failure or defect never
 * touches another, and never the writer. What is published is in memory: it is lost with the process.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import type * as Layer from "effect/Layer"
import type { Predicate, Refinement } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Undelivered } from "./Dropped.ts"
import * as EventSink from "./EventSink.ts"
import {
  type AddOptions,
  type AnyAddOptions,
  type AnySubscribeOptions,
  type LossyAddOptions,
  makeBroadcaster,
  type Members,
  type Options,
  type SubscriberLagged,
  type SubscribeOptions,
  type UndeliveredTo
} from "./internal/broadcaster/makeBroadcaster.ts"
import type { ExpiryOf, Positioned, Replay } from "./internal/broadcaster/replay.ts"
import {
  type AnySource,
  type ErrorOf,
  fromSource,
  type ServicesOf,
  type SinkClosed,
  type SinkOf,
  type Source
} from "./internal/sink.ts"

export {
  type AddOptions,
  type LossyAddOptions,
  type Options,
  type ReplayOptions,
  SubscriberLagged,
  type SubscribeOptions,
  type UndeliveredTo
} from "./internal/broadcaster/makeBroadcaster.ts"
export { type Positioned, type Replay, ReplayExpired } from "./internal/broadcaster/replay.ts"

/** The key of what the functions of this module do to a broadcaster. */
const MembersId: unique symbol = Symbol.for("effect-events/Broadcaster/Members")

/**
 * A sink that hands every event to many.
 *
 * @category models
 * @since 0.1.0
 */
export interface Broadcaster<in out A> extends EventSink.AcknowledgingSink<A, never, "memory"> {
  /**
   * For `add`, `remove` and `subscribe`.
   *
   * @internal
   */
  readonly [MembersId]: Members<A>
  /** Stops accepting, lets every sink drain within its `drainTimeout`, and returns what each did not get. Memoised. */
  readonly shutdown: Effect.Effect<ReadonlyArray<UndeliveredTo<A>>>
}

/** What adding a sink answers inside. */
type Added<A> = Effect.Success<ReturnType<Members<A>["add"]>>

/** What no value has: the compiler names it where an option that can lose events comes without a taker for them. */
type NeedsOnDropped = number & { readonly fix: "pass onDropped: an evicted sink leaves events" }

/** Options of adding a sink that loses nothing. */
interface SafeAddOptions<in A, out R extends Replay | undefined> extends AddOptions<A, R> {
  readonly onDropped?: never
  readonly onEvicted?: never
  readonly maxLag?: NeedsOnDropped
}

/** The events that all of the sinks take. */
type InputOf<S extends ReadonlyArray<AnySource>> = [SinkOf<S[number]>] extends [EventSink.EventSink<infer A, unknown>]
  ? A
  : never

/** The sink itself if it is reliable, else a type that says what to do. */
type ReliableSource<S> =
  SinkOf<S> extends EventSink.EventSink<infer A, infer E>
    ? SinkOf<S> extends EventSink.Reliable<A, E>
      ? S
      : S extends Effect.Effect<unknown, infer X, infer R>
        ? Effect.Effect<EventSink.Reliable<A, E>, X, R>
        : EventSink.Reliable<A, E>
    : never

/**
 * Makes a broadcaster, empty or with its first sinks.
 *
 * **Details**
 *
 * The sinks are sinks or Effects of sinks, so tags and inline pipelines are written alike; the broadcaster takes the events that
 * all of them take, and needs what they need. A sink that can fail is a compile error: wrap it in a `RetryingSink`, or
 * `add` it with `onDropped`. When the scope closes, the sinks drain side by side.
 *
 * Sinks over plain functions share one drainer, each with its own position, account and close. What one throws is charged
 * to it alone. All other sinks, and those with a `filter`, a `maxLag` or an `onDropped`, have a drainer of their own.
 *
 * **Gotchas**
 *
 * A broadcaster without sinks accepts every event and delivers it nowhere.
 *
 * Over durable parts, also behind a retrier or with `onDropped`, a write would succeed before its event is stored, and a
 * crash would lose the event. A `DurableBroadcaster` takes its place: see "Memory in front of a store" in
 * `docs/guide/delivery-guarantees.md`.
 *
 * **Example** (Two sinks)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Broadcaster, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const broadcaster = yield* Broadcaster.make([
 *     EventSink.make((n: number) => Console.log("first", n)),
 *     EventSink.make((n: number) => Console.log("second", n))
 *   ])
 *   yield* broadcaster.write(1)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: first 1
 * // prints: second 1
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <A>(options?: Options): Effect.Effect<Broadcaster<A>, never, Scope.Scope>
  <const S extends ReadonlyArray<AnySource>>(
    sinks: S & { readonly [K in keyof S]: ReliableSource<S[K]> },
    options?: Options
  ): Effect.Effect<Broadcaster<InputOf<S>>, ErrorOf<S[number]>, ServicesOf<S[number]> | Scope.Scope>
} = (first?: Options | ReadonlyArray<AnySource>, second?: Options): Effect.Effect<never, never, Scope.Scope> => {
  const [sinks, options] = Array.isArray(first) ? [first, second] : [[], first as Options | undefined]
  // The overloads say what the sinks take, need and fail with; one implementation, which knows nothing of that, serves
  // them all.
  return assemble(sinks as ReadonlyArray<Source<EventSink.EventSink<unknown>, never, never>>, options) as Effect.Effect<
    never,
    never,
    Scope.Scope
  >
}

/**
 * The layer of a broadcaster: a place in the graph, see `EventSink.layer`. The service of the tag is a `Broadcaster`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, const S extends ReadonlyArray<Source<EventSink.Reliable<A, never>, unknown, unknown>>>(
  tag: Context.Key<I, Broadcaster<A>>,
  sinks: S,
  options?: Options
): Layer.Layer<I, ErrorOf<S[number]>, Exclude<ServicesOf<S[number]>, Scope.Scope>> =>
  EventSink.layer(
    tag,
    // Made as by `make`, with the events that the tag names.
    assemble(sinks as ReadonlyArray<Source<EventSink.EventSink<unknown>, never, never>>, options) as Effect.Effect<
      Broadcaster<A>,
      ErrorOf<S[number]>,
      ServicesOf<S[number]> | Scope.Scope
    >
  )

const assemble = Effect.fnUntraced(function* (
  sources: ReadonlyArray<Source<EventSink.EventSink<unknown>, never, never>>,
  options: Options = {}
) {
  // Its sinks first, so that they close after it.
  const sinks = yield* Effect.forEach(sources, fromSource)
  const { operations, shutdown, sink } = yield* makeBroadcaster<unknown>(options)
  const self: Broadcaster<unknown> = { ...sink, [MembersId]: operations, shutdown }
  // It is open: no other fiber has it yet.
  yield* Effect.orDie(Effect.forEach(sinks, (one) => operations.add(one, {}), { discard: true }))
  return self
})

/**
 * Adds a sink. Every write that begins after this has returned reaches it.
 *
 * **Details**
 *
 * Adding a sink that is there changes nothing, its options neither. A sink that is still draining after `remove` is added
 * when it has drained. A sink that answers `SinkClosed` is removed, and what waited for it is reported.
 *
 * **Gotchas**
 *
 * A sink that was made after the broadcaster, in the same scope, closes before it, and what waits for it then is
 * reported and not delivered. `addScoped` removes it, drained, before it closes.
 *
 * @category sinks
 * @since 0.1.0
 */
export const add: {
  <A, E, const R extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    sink: EventSink.EventSink<A, E> & EventSink.BelowMemory,
    options: LossyAddOptions<A, NoInfer<E>, R>
  ): Effect.Effect<void, SinkClosed | ExpiryOf<R>>
  <A, E, const R extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    sink: EventSink.Reliable<A, E>,
    options?: SafeAddOptions<A, R>
  ): Effect.Effect<void, SinkClosed | ExpiryOf<R>>
} = <A, E>(self: Broadcaster<A>, sink: EventSink.EventSink<A, E>, options: AnyAddOptions<A, E> = {}) =>
  // It fails with `ReplayExpired` only where the options give a position, which is what `ExpiryOf` says.
  Effect.asVoid(self[MembersId].add(sink, options)) as Effect.Effect<void, SinkClosed>

/**
 * Adds a sink, or builds a pipeline, until the scope closes, and answers the sink. When the scope closes, the sink drains
 * before it is itself closed. If it was there already, closing the scope leaves it there.
 *
 * **Example** (A sink for a while)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { Broadcaster, EventQueue, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const broadcaster = yield* Broadcaster.make<number>()
 *   const sink = EventSink.make((n: number) => Console.log("got", n))
 *   yield* Effect.scoped(
 *     Effect.andThen(Broadcaster.addScoped(broadcaster, sink.pipe(EventQueue.make())), broadcaster.write(1))
 *   )
 *   yield* broadcaster.write(2)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: got 1
 * ```
 *
 * @category sinks
 * @since 0.1.0
 */
export const addScoped: {
  <A, E, X = never, R = never, const P extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    sink: Source<EventSink.EventSink<A, E> & EventSink.BelowMemory, X, R>,
    options: LossyAddOptions<A, NoInfer<E>, P>
  ): Effect.Effect<EventSink.EventSink<A, E>, SinkClosed | ExpiryOf<P> | X, R | Scope.Scope>
  <A, E, X = never, R = never, const P extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    sink: Source<EventSink.Reliable<A, E>, X, R>,
    options?: SafeAddOptions<A, P>
  ): Effect.Effect<EventSink.EventSink<A, E>, SinkClosed | ExpiryOf<P> | X, R | Scope.Scope>
} = <A, E, X, R>(
  self: Broadcaster<A>,
  source: Source<EventSink.EventSink<A, E>, X, R>,
  options: AnyAddOptions<A, E> = {}
) =>
  Effect.flatMap(fromSource(source), (sink) =>
    Effect.as(
      // See `add`.
      Effect.acquireRelease(self[MembersId].add(sink, options) as Effect.Effect<Added<A>, SinkClosed>, (added) =>
        added === undefined ? Effect.void : self[MembersId].end(added)
      ),
      sink
    )
  )

/**
 * Removes a sink. The boundary is this call: what was published before is delivered to it until its `drainTimeout`, what
 * is published after is not. Returns what could not be delivered; nothing for a sink that is not there.
 *
 * @category sinks
 * @since 0.1.0
 */
export const remove = <A>(
  self: Broadcaster<A>,
  sink: EventSink.EventSink<A, unknown>
): Effect.Effect<ReadonlyArray<Undelivered<A>>> => self[MembersId].remove(sink)

/**
 * Subscribes, and answers with the events as a stream, which ends when the broadcaster is closed and what was published
 * has been read. What is published after this has returned is in the stream, whenever the stream is run. Several runs
 * share the events. With a `filter` only what it holds for is kept for the stream and counts for its `maxLag`; an event that
 * it throws at is left out and logged.
 *
 * @category streams
 * @since 0.1.0
 */
export const subscribe: {
  <A, B extends A, const R extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    options: SubscribeOptions<R> & { readonly filter: Refinement<A, B> }
  ): Effect.Effect<Stream.Stream<B, SubscriberLagged>, SinkClosed | ExpiryOf<R>, Scope.Scope>
  <A, const R extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    options?: SubscribeOptions<R> & { readonly filter?: Predicate<A> | undefined }
  ): Effect.Effect<Stream.Stream<A, SubscriberLagged>, SinkClosed | ExpiryOf<R>, Scope.Scope>
} = <A>(self: Broadcaster<A>, options: AnySubscribeOptions<A> = {}) =>
  // By the refinement's word the events are of the type that it refines to; for the error see `add`.
  self[MembersId].subscribe(options) as Effect.Effect<Stream.Stream<never, SubscriberLagged>, SinkClosed, Scope.Scope>

/**
 * Subscribes as `subscribe` does, to events with their positions. A reader that has read an event and lost its stream, by an
 * eviction or otherwise, goes on behind that event.
 *
 * **Gotchas**
 *
 * A position is of one broadcaster in one process, and of no use after a restart: a subscription then fails with
 * `ReplayExpired`, and its reader begins anew with the state behind the events.
 *
 * **Example** (Going on)
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { Broadcaster, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const tasks = yield* Broadcaster.make<string>({ replay: 1000 })
 *   let since = yield* Broadcaster.position(tasks)
 *   const watch = Effect.gen(function* () {
 *     const stream = yield* Broadcaster.subscribeWithPosition(tasks, { replay: { since } })
 *     yield* Stream.runForEach(Stream.take(stream, 2), ({ event, position }) => {
 *       since = position
 *       return Console.log(event)
 *     })
 *   })
 *   yield* EventSink.writeAll(tasks, ["a", "b", "c", "d"])
 *   yield* Effect.scoped(watch)
 *   yield* Console.log("again")
 *   yield* Effect.scoped(watch)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: a
 * // prints: b
 * // prints: again
 * // prints: c
 * // prints: d
 * ```
 *
 * @category streams
 * @since 0.1.0
 */
export const subscribeWithPosition: {
  <A, B extends A, const R extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    options: SubscribeOptions<R> & { readonly filter: Refinement<A, B> }
  ): Effect.Effect<Stream.Stream<Positioned<B>, SubscriberLagged>, SinkClosed | ExpiryOf<R>, Scope.Scope>
  <A, const R extends Replay | undefined = number | undefined>(
    self: Broadcaster<A>,
    options?: SubscribeOptions<R> & { readonly filter?: Predicate<A> | undefined }
  ): Effect.Effect<Stream.Stream<Positioned<A>, SubscriberLagged>, SinkClosed | ExpiryOf<R>, Scope.Scope>
} = <A>(self: Broadcaster<A>, options: AnySubscribeOptions<A> = {}) =>
  // See `subscribe`.
  self[MembersId].subscribe(options, (event, position): Positioned<A> => ({ event, position })) as Effect.Effect<
    Stream.Stream<Positioned<never>, SubscriberLagged>,
    SinkClosed,
    Scope.Scope
  >

/**
 * The position behind the last event that was published. A subscription with it as `since` gets what is published after this: state
 * that is read in between is followed without a gap.
 *
 * @category streams
 * @since 0.1.0
 */
export const position = <A>(self: Broadcaster<A>): Effect.Effect<string> => self[MembersId].position
