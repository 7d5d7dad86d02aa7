/**
 * Limits how many writes are under way to a sink at once, in all or by key: a bulkhead on Effect's `PartitionedSemaphore`.
 * A write above the limit waits, keys in turn and the writes of one key in the order of arrival. It never holds an event
 * that is not part of a write under way, and forgets the keys that are not in use.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import * as PartitionedSemaphore from "effect/PartitionedSemaphore"
import { PreventSchedulerYield } from "effect/Scheduler"
import * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as EventSink from "./EventSink.ts"
import { makeKeyed } from "./internal/keyed.ts"
import { type Limited, makeLimited, type Passage } from "./internal/limited.ts"
import { count } from "./internal/options.ts"
import { fromSource, isSource, type Source, type Wrapped, type Wrapping } from "./internal/sink.ts"
import { maxTurn } from "./internal/turns.ts"

/**
 * Options of a limit of concurrent writes.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** How many writes, or writes of batches, may be under way at once: a whole number from 1, or `Infinity`. */
  readonly permits: number
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** How long the close waits for writes that have gone on: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * The options of a limit by key.
 *
 * @category options
 * @since 0.1.0
 */
export interface Keyed<in A> {
  /**
   * The key of an event, compared by `Equal`. Keys get the permits in turn, so that one with many writes delays no other
   * by more than a turn. Of a batch the first events of one key are written. What it throws is a defect of the write.
   */
  readonly by: (event: A) => unknown
  /** How many writes of one key may be under way at once: a whole number from 1, and as many as `permits` by default. */
  readonly permitsPerKey?: number | undefined
}

/** A limit being made. */
type Made<A, E, W, X, R> = Effect.Effect<Wrapped<A, E, W>, X, R | Scope.Scope>

/**
 * Puts a limit of concurrency in front of a sink.
 *
 * **Details**
 *
 * A write that waits counts as `inFlight` in the health, and an interrupted one waits no more. The close ends every wait
 * with `SinkClosed`, and waits for the writes that have gone on.
 *
 * A queue above delivers as many writes at once as its own `concurrency` says: this is the limit for writers that no queue
 * serialises, and for several queues over one receiver.
 *
 * **Example** (Two writes at once)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { ConcurrencyLimitedSink, EventSink } from "effect-events"
 *
 * let running = 0
 * let most = 0
 * const post = (_: number) =>
 *   Effect.acquireUseRelease(
 *     Effect.sync(() => (most = Math.max(most, ++running))),
 *     () => Effect.sleep("1 millis"),
 *     () => Effect.sync(() => running--)
 *   )
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* EventSink.make(post).pipe(ConcurrencyLimitedSink.make({ permits: 2 }))
 *   yield* Effect.forEach([1, 2, 3, 4, 5], sink.write, { concurrency: "unbounded" })
 *   yield* Console.log("at most", most)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: at most 2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  (
    options: Options & { readonly by?: never; readonly permitsPerKey?: never }
  ): <A, E, W, X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E, W, X, R>
  // Inside a pipe the key's argument is inferred from the sink; outside of one, the sink from an annotated key.
  <A, E, W>(
    options: Options & Keyed<NoInfer<A>>
  ): <X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E, W, X, R>
  <A>(
    options: Options & Keyed<A>
  ): <E, W, X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E, W, X, R>
  <A, E, W, X = never, R = never>(
    sink: Source<Wrapping<A, E, W>, X, R>,
    options: Options & (Keyed<NoInfer<A>> | { readonly by?: never; readonly permitsPerKey?: never })
  ): Made<A, E, W, X, R>
} = dual(
  (args) => isSource(args[0]),
  <A, E, X, R>(
    source: Source<EventSink.EventSink<A, E>, X, R>,
    options: Options & Partial<Keyed<A>>
    // The overloads say that a batch sink stays one.
  ): Effect.Effect<never, X, R | Scope.Scope> =>
    Effect.flatMap(fromSource(source), (sink) =>
      makeLimited("ConcurrencyLimitedSink", sink, options, permitsOf(options))
    ) as Effect.Effect<never, X, R | Scope.Scope>
)

/**
 * The layer of a limit of concurrency: a place in the graph, see `EventSink.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, E, W, X, R>(
  tag: Context.Key<I, EventSink.EventSink<A, E>>,
  sink: Source<Wrapping<A, E, W>, X, R>,
  options: Options & (Keyed<NoInfer<A>> | { readonly by?: never; readonly permitsPerKey?: never })
): Layer.Layer<I, X, Exclude<R, Scope.Scope>> =>
  // A batch sink is a sink, whichever of the two it is.
  EventSink.layer(tag, make(sink, options) as Effect.Effect<EventSink.EventSink<A, E>, X, R | Scope.Scope>)

// internals

/** What belongs to one key. */
interface Own {
  writes: number
  readonly semaphore: Semaphore.Semaphore
}

const permitsOf =
  <A>(options: Options & Partial<Keyed<A>>) =>
  ({ untilClosed }: Limited) => {
    const where = "ConcurrencyLimitedSink.make"
    const { by } = options
    const permits = count(where, "permits", options.permits, 1)
    const perKey = count(where, "permitsPerKey", options.permitsPerKey ?? Number.POSITIVE_INFINITY, 1)
    const all = PartitionedSemaphore.makeUnsafe({ permits })
    const keys = makeKeyed<Own>(
      () => ({ writes: 0, semaphore: Semaphore.makeUnsafe(perKey) }),
      ({ writes }) => writes === 0
    )
    /** How many writes have a permit of all, or wait for one. */
    let writes = 0
    return (events: NonEmptyReadonlyArray<A>): Passage<never> => {
      const key = by?.(events[0])
      let most = by === undefined ? events.length : 1
      while (most < Math.min(events.length, maxTurn) && Equal.equals(key, by?.(events[most]!))) most++
      const own = perKey === Number.POSITIVE_INFINITY ? undefined : keys.get(key)
      let hasOne = false
      const one = Effect.suspend(() => {
        writes++
        // Noted before anything can interrupt, so that the end of the write releases it: the cleanup of `take` is over before the
        // region that `restore` makes, and a fiber that is made to yield in between is interrupted with a permit.
        const take = Effect.provideService(
          Effect.uninterruptibleMask((restore) => Effect.map(restore(all.take(key, 1)), () => void (hasOne = true))),
          PreventSchedulerYield,
          true
        )
        const wait = writes > permits ? untilClosed(take) : take
        // A write that waits no more and has none is not counted.
        return Effect.onExit(wait, () => Effect.sync(() => void (writes -= hasOne ? 0 : 1)))
      })
      const end = () => {
        if (!hasOne) return undefined
        writes--
        return all.release(1)
      }
      if (own === undefined) return { wait: one, most: () => most, end }
      own.writes++
      const scope = Scope.makeUnsafe()
      const take = Scope.provide(own.semaphore.takeScoped(1), scope)
      return {
        // That of the key first: a write that waits for it must not have one of all.
        wait: Effect.andThen(own.writes > perKey ? untilClosed(take) : take, one),
        most: () => most,
        end: () => {
          own.writes--
          return Effect.andThen(end() ?? Effect.void, Scope.close(scope, Exit.void))
        }
      }
    }
  }
