/**
 * Writes to another sink what the first did not commit: because it failed, or because it took too long. A write succeeds when
 * one of them has committed the event, and fails with what the last one fails with. It holds no event, and gives no event
 * to two sinks unless the first may have it already.
 *
 * @since 0.1.0
 */
import type * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { dual, identity } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as EventSink from "./EventSink.ts"
import { type Blocked, type Died, makeFallback, type Options } from "./internal/fallback/makeFallback.ts"
import {
  type AnySource,
  type ErrorOf,
  fromSource,
  type Joined,
  type ServicesOf,
  type SinkClosed,
  type SinkOf,
  type Source,
  type WriteErrorOf,
  type Wrapping
} from "./internal/sink.ts"

export { Blocked, type BreakerOptions, Died, type Options } from "./internal/fallback/makeFallback.ts"

/**
 * An event that a sink did not commit, with the reason.
 *
 * @category models
 * @since 0.1.0
 */
export interface FellBack<out A, out E> {
  readonly event: A
  /** Of an event for which the sink was left out, that of the last event that it was given. */
  readonly failure: E | Blocked | Died | SinkClosed
}

/** A sink that can fail, whose `writeSome` is `W`. For one that cannot it is a type that no sink has and that says so. */
type Falls<A, E, W> = EventSink.EventSink<A, E> & { readonly writeSome: W } & CanFail<E>

/** Not a type with a name, which the compiler would show in place of what is in it. */
type CanFail<E> = [E] extends [never]
  ? {
      readonly "this sink never fails": "there is nothing to fall back from"
      readonly fix: "leave FallbackSink out; with a queue in front of the receiver, the fallback belongs below that queue"
    }
  : unknown

/** The sinks of a list: all but the last must be able to fail. */
type Order<S extends ReadonlyArray<unknown>> = S extends readonly [infer First, infer Second, ...infer Rest]
  ? readonly [First & CanFail<WriteErrorOf<First>>, ...Order<readonly [Second, ...Rest]>]
  : S

type Last<S extends ReadonlyArray<unknown>> = S extends readonly [...ReadonlyArray<unknown>, infer One] ? One : never

/** The events that all of the sinks take. */
type InputOf<S> = [SinkOf<S>] extends [EventSink.EventSink<infer A, unknown>] ? A : never

/** A sink with the `writeSome` of a wrapper's. */
type Some<W> = Effect.Effect<Wrapping<never, never, W>>

/** A fallback being made, over sources of which the last fails with `E`. */
type Made<A, E, S, X, R> = Effect.Effect<Joined<A, S, E>, X, R | Scope.Scope>

/**
 * Puts a sink behind one that can fail: it gets the events that the first does not commit.
 *
 * **Details**
 *
 * An event goes to the next sink when the one before fails, dies, is closed, or has not committed it within `after`. Its write
 * is interrupted then. A write that refuses interruption is left behind, in a fiber of its own, and the event goes on.
 *
 * A breaker remembers failures: after `threshold` in a row the sink is left out, and events go to the next at once. When
 * `backoff` is over, one event probes, while the others still go to the next. If the sink commits it, the breaker closes,
 * and events go there again.
 *
 * `next` is a sink or an Effect of one, or a list of them: each gets what the one before it did not commit. A batch falls
 * back as a whole, when all of the sinks take batches. Nothing is left of the errors but those of the last sink.
 *
 * **Gotchas**
 *
 * An event whose write took longer than `after`, or died, may have been committed by both sinks. The first event after the
 * breaker's `backoff` waits for `after` again if the sink still blocks.
 *
 * A sink that cannot fail does not compile in front, since its fallback would not be used: a queue takes every event and
 * then waits for its receiver. The fallback belongs below the queue. A queue with `overflow: "reject"` can fail, and falls
 * back when it is full.
 *
 * `after` of a fallback over a fallback is the time of all of the sinks in the first. A list gives each its own.
 *
 * **Example** (A second region)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink, FallbackSink } from "effect-events"
 *
 * const eu = EventSink.make((line: string) => (line === "b" ? Effect.fail("refused") : Console.log("eu", line)))
 * const us = EventSink.make((line: string) => Console.log("us", line))
 *
 * const lines = eu.pipe(FallbackSink.make(us, { after: "1 second" }))
 *
 * Effect.runPromise(Effect.scoped(Effect.flatMap(lines, EventSink.writeAll(["a", "b", "c"]))))
 * // prints: eu a
 * // prints: us b
 * // prints: eu c
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <const S extends readonly [AnySource, ...ReadonlyArray<AnySource>]>(
    next: S & Order<S>,
    options: Options
  ): <A extends InputOf<S[number]>, E, W, X = never, R = never>(
    sink: Source<Falls<A, E, W>, X, R>
  ) => Made<A, WriteErrorOf<Last<S>>, S[number] | Some<W>, X | ErrorOf<S[number]>, R | ServicesOf<S[number]>>
  <B, F, V, Y = never, Q = never>(
    next: Source<Wrapping<B, F, V>, Y, Q>,
    options: Options
  ): <A extends B, E, W, X = never, R = never>(
    sink: Source<Falls<A, E, W>, X, R>
  ) => Made<A, F, Some<W> | Some<V>, X | Y, R | Q>
  // One sink before a list: the events of a callback in it are inferred then.
  <A, E, W, F, V, X = never, R = never, Y = never, Q = never>(
    sink: Source<Falls<A, E, W>, X, R>,
    next: Source<Wrapping<NoInfer<A>, F, V>, Y, Q>,
    options: Options
  ): Made<A, F, Some<W> | Some<V>, X | Y, R | Q>
  <A, E, W, const S extends readonly [AnySource, ...ReadonlyArray<AnySource>], X = never, R = never>(
    sink: Source<Falls<A, E, W>, X, R>,
    next: S & Order<S> & ([A] extends [InputOf<S[number]>] ? unknown : ReadonlyArray<EventSink.EventSink<A, unknown>>),
    options: Options
  ): Made<A, WriteErrorOf<Last<S>>, S[number] | Some<W>, X | ErrorOf<S[number]>, R | ServicesOf<S[number]>>
} = dual(3, (sink: AnySource, next: AnySource | ReadonlyArray<AnySource>, options: Options) =>
  // The overloads say what the sinks take, need and fail with; one implementation, which knows nothing of that, serves them.
  assemble([sink, ...(isList(next) ? next : [next])], options, identity)
)

/**
 * As `make` with one sink behind another; the second gets each event with the reason why the first did not commit it.
 *
 * **Example** (Setting events aside)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink, FallbackSink } from "effect-events"
 *
 * const post = EventSink.make((line: string) => Effect.fail(`refused ${line}`))
 *
 * const lines = post.pipe(
 *   FallbackSink.makeWith(
 *     EventSink.make(({ event, failure }: FallbackSink.FellBack<string, string>) => Console.log(event, "|", failure)),
 *     { after: "1 second" }
 *   )
 * )
 *
 * Effect.runPromise(Effect.scoped(Effect.flatMap(lines, (sink) => sink.write("a"))))
 * // prints: a | refused a
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeWith: {
  <B, G, F, V, Y = never, Q = never>(
    next: Source<Wrapping<FellBack<B, G>, F, V>, Y, Q>,
    options: Options
  ): <A extends B, E extends G, W, X = never, R = never>(
    sink: Source<Falls<A, E, W>, X, R>
  ) => Made<A, F, Some<W> | Some<V>, X | Y, R | Q>
  <A, E, W, F, V, X = never, R = never, Y = never, Q = never>(
    sink: Source<Falls<A, E, W>, X, R>,
    next: Source<Wrapping<FellBack<NoInfer<A>, NoInfer<E>>, F, V>, Y, Q>,
    options: Options
  ): Made<A, F, Some<W> | Some<V>, X | Y, R | Q>
} = dual(3, (sink: AnySource, next: AnySource, options: Options) =>
  // As for `make`.
  assemble([sink, next], options, (event, failure) => ({ event, failure }))
)

/**
 * The layer of a fallback: a place in the graph, see `EventSink.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, E, W, F, V, X = never, R = never, Y = never, Q = never>(
  tag: Context.Key<I, EventSink.EventSink<A, F>>,
  sink: Source<Falls<A, E, W>, X, R>,
  next: Source<Wrapping<NoInfer<A>, F, V>, Y, Q>,
  options: Options
): Layer.Layer<I, X | Y, Exclude<R | Q, Scope.Scope>> =>
  // A batch sink is a sink, whichever of the two it is.
  EventSink.layer(
    tag,
    make(sink, next, options) as Effect.Effect<EventSink.EventSink<A, F>, X | Y, R | Q | Scope.Scope>
  )

// internals

type AnySink = EventSink.EventSink<unknown, unknown>

const isList = (next: AnySource | ReadonlyArray<AnySource>): next is ReadonlyArray<AnySource> => Array.isArray(next)

/** Builds the sinks in order, and the fallback over them. `inputOf` makes of an event what the last of them takes. */
const assemble = (
  sources: ReadonlyArray<AnySource>,
  options: Options,
  inputOf: (event: unknown, failure: unknown) => unknown
) =>
  Effect.gen(function* () {
    const sinks: Array<AnySink> = []
    // The types of the public makers say that a sink takes its events: here they are any.
    for (const source of sources) sinks.push(yield* fromSource(source) as Effect.Effect<AnySink>)
    return yield* makeFallback(sinks, options, inputOf)
    // As the overloads say.
  }) as Effect.Effect<never>
