/**
 * Hands every event to every sink that is subscribed: go-events' `Broadcaster`. A write succeeds when the event is
 * published; each sink then gets it from a queue of its own, in order. One sink's slowness, failure or defect never
 * touches another, and never the writer. What is published is in memory: it is lost with the process.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type * as Stream from "effect/Stream"
import type { Dropped, Undelivered } from "./Dropped.ts"
import type { EventSink, Reliable } from "./EventSink.ts"
import { type AnyAddOptions, BroadcasterImpl, type SubscriberLagged, type UndeliveredTo } from "./internal/broadcast.ts"
import { withoutConstruction } from "./internal/captured.ts"
import type { SinkClosed } from "./internal/sink.ts"

export { SubscriberLagged, type UndeliveredTo } from "./internal/broadcast.ts"

/**
 * A sink that hands every event to many.
 *
 * @category models
 * @since 0.1.0
 */
export interface Broadcaster<in out A> extends EventSink<A> {
  /** Stops accepting, lets every sink drain within its `drainTimeout`, and returns what each did not get. Memoised. */
  readonly shutdown: Effect.Effect<ReadonlyArray<UndeliveredTo<A>>>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** The `drainTimeout` of sinks that are added without their own: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * What a sink may be told when it is added.
 *
 * @category options
 * @since 0.1.0
 */
export interface AddOptions {
  /** How long removing or closing goes on delivering to it. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * What a sink may be told that can lose events: it needs `onDropped`.
 *
 * @category options
 * @since 0.1.0
 */
export interface LossyAddOptions<in A, in E> extends AddOptions {
  /** How many events it may be behind before it is evicted; unlimited by default. The publisher judges, at each write. */
  readonly maxLag?: number | undefined
  /** Takes what the sink failed on, and what it did not get. */
  readonly onDropped: (dropped: Dropped<A, E>) => Effect.Effect<void>
}

/** What no value has: the compiler names it where an option that can lose events comes without a taker for them. */
type NeedsOnDropped = number & { readonly fix: "pass onDropped: an evicted sink leaves events" }

/** A sink as an Effect: a tag, or an inline pipeline. */
type SinkEffect = Effect.Effect<EventSink<never, unknown>, unknown, unknown>

/** The events that all of the sinks take. */
type InputOf<S extends ReadonlyArray<SinkEffect>> = [Effect.Success<S[number]>] extends [EventSink<infer A, unknown>]
  ? A
  : never

/** The sink itself if it is reliable, else a type that says what to do. */
type ReliableEffect<S> =
  S extends Effect.Effect<EventSink<infer A, infer E>, infer X, infer R>
    ? [E] extends [never]
      ? S
      : Effect.Effect<Reliable<A, E>, X, R>
    : never

/**
 * Makes a broadcaster, empty or with its first sinks.
 *
 * **Details**
 *
 * The sinks are Effects of sinks, so tags and inline pipelines are written alike; the broadcaster takes the events that
 * all of them take, and needs what they need. A sink that can fail is a compile error: wrap it in a `RetryingSink`, or
 * `add` it with `onDropped`. When the scope closes, the sinks drain side by side.
 *
 * **Gotchas**
 *
 * A broadcaster without sinks accepts every event and hands it to nobody.
 *
 * Over durable queues, also behind a retrier or with `onDropped`, a write would succeed before its event is stored, and a
 * crash would lose the event. A sink of one's own that writes to every durable queue takes its place: see "Memory in front
 * of a store" in the guide on delivery guarantees.
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
  <const S extends ReadonlyArray<SinkEffect>>(
    sinks: S & { readonly [K in keyof S]: ReliableEffect<S[K]> },
    options?: Options
  ): Effect.Effect<Broadcaster<InputOf<S>>, Effect.Error<S[number]>, Effect.Services<S[number]> | Scope.Scope>
} = (first?: Options | ReadonlyArray<SinkEffect>, second?: Options): Effect.Effect<never, never, Scope.Scope> => {
  const [sinks, options] = Array.isArray(first) ? [first, second] : [[], first as Options | undefined]
  // The overloads say what the sinks take, need and fail with; one implementation, which knows nothing of that, serves
  // them all.
  return assemble(sinks as ReadonlyArray<Effect.Effect<EventSink<unknown>>>, options) as Effect.Effect<
    never,
    never,
    Scope.Scope
  >
}

const assemble = Effect.fnUntraced(function* (
  sinks: ReadonlyArray<Effect.Effect<EventSink<unknown>>>,
  options: Options = {}
) {
  // Its sinks first, so that they close after it.
  const made = yield* Effect.all(sinks)
  const self = yield* Effect.uninterruptible(
    Effect.contextWith((context: Context.Context<never>) => {
      const self = new BroadcasterImpl<unknown>(options, withoutConstruction(context))
      return Effect.as(
        Effect.addFinalizer(() => self.close),
        self
      )
    })
  )
  // It is open: nobody else has it yet.
  yield* Effect.orDie(Effect.forEach(made, (sink) => self.add(sink, {}), { discard: true }))
  return self
})

/** Every broadcaster is made here. */
const impl = <A>(self: Broadcaster<A>) => self as BroadcasterImpl<A>

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
  <A, E>(
    self: Broadcaster<A>,
    sink: EventSink<A, E>,
    options: LossyAddOptions<A, NoInfer<E>>
  ): Effect.Effect<void, SinkClosed>
  <A, E>(
    self: Broadcaster<A>,
    sink: Reliable<A, E>,
    options?: AddOptions & { readonly onDropped?: never; readonly maxLag?: NeedsOnDropped }
  ): Effect.Effect<void, SinkClosed>
} = <A, E>(self: Broadcaster<A>, sink: EventSink<A, E>, options: AnyAddOptions<A, E> = {}) =>
  Effect.asVoid(impl(self).add(sink, options))

/**
 * Adds a sink until the scope closes. If the sink was there already, closing the scope leaves it there.
 *
 * @category sinks
 * @since 0.1.0
 */
export const addScoped: {
  <A, E>(
    self: Broadcaster<A>,
    sink: EventSink<A, E>,
    options: LossyAddOptions<A, NoInfer<E>>
  ): Effect.Effect<void, SinkClosed, Scope.Scope>
  <A, E>(
    self: Broadcaster<A>,
    sink: Reliable<A, E>,
    options?: AddOptions & { readonly onDropped?: never; readonly maxLag?: NeedsOnDropped }
  ): Effect.Effect<void, SinkClosed, Scope.Scope>
} = <A, E>(self: Broadcaster<A>, sink: EventSink<A, E>, options: AnyAddOptions<A, E> = {}) =>
  Effect.asVoid(
    Effect.acquireRelease(impl(self).add(sink, options), (added) =>
      added === undefined ? Effect.void : impl(self).end(sink, added)
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
  sink: EventSink<A, unknown>
): Effect.Effect<ReadonlyArray<Undelivered<A>>> => impl(self).remove(sink)

/**
 * Subscribes, and answers with the events as a stream, which ends when the broadcaster is closed and what was published
 * has been read. What is published after this has returned is in the stream, whenever the stream is run. Several runs
 * share the events.
 *
 * @category streams
 * @since 0.1.0
 */
export const subscribe = <A>(
  self: Broadcaster<A>,
  options?: {
    /** How many events the stream may be behind before it fails; unlimited by default. The publisher judges. */
    readonly maxLag?: number | undefined
  }
): Effect.Effect<Stream.Stream<A, SubscriberLagged>, SinkClosed, Scope.Scope> => impl(self).subscribe(options?.maxLag)
