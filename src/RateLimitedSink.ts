/**
 * Limits how many events go to a sink in a time, in all or by key: a token bucket. A write above the limit waits for its
 * tokens in the order of arrival, or fails with `RateLimited`. It never reorders the writes of one key, never holds an
 * event that is not part of a write under way, and forgets the keys that are not in use.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import { constUndefined, dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as EventSink from "./EventSink.ts"
import { makeKeyed } from "./internal/keyed.ts"
import { type Limited, makeLimited, type Passage } from "./internal/limited.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import { count } from "./internal/options.ts"
import { apart } from "./internal/receipt.ts"
import { fromSource, isSource, type Source, type Wrapped, type Wrapping } from "./internal/sink.ts"
import { maxTurn } from "./internal/turns.ts"

/**
 * What becomes of a write above the limit: `"delay"` lets it wait for its tokens, `"fail"` fails it with `RateLimited`.
 *
 * @category options
 * @since 0.1.0
 */
export type OnExceeded = "delay" | "fail"

/**
 * Options of a rate limit: how many events in which time, and what becomes of those beyond it.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<out P extends OnExceeded = OnExceeded> {
  /** How many events a `window` may have: a finite whole number from 1. Tokens come back one by one, `window / limit` apart. */
  readonly limit: number
  readonly window: Duration.Input
  /**
   * How many events may go at once after a pause: a whole number from 1, and `limit` by default. In any time `t` at most
   * `burst + limit * t / window` events go, to the millisecond; 1 spaces all of them evenly.
   */
  readonly burst?: number | undefined
  /** What happens above the limit: `"delay"` by default. */
  readonly onExceeded?: P | undefined
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** How long the close waits for writes that have gone on: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
}

/**
 * The option of a rate limit by key.
 *
 * @category options
 * @since 0.1.0
 */
export interface Keyed<in A> {
  /**
   * The key of an event, compared by `Equal`: each key has a bucket of its own, which is forgotten when it is full again.
   * What it throws is a defect of the write.
   */
  readonly by: (event: A) => unknown
}

/**
 * Options of a limit that is kept somewhere else.
 *
 * @category options
 * @since 0.1.0
 */
export interface SharedOptions<in A> extends Pick<Options, "name" | "drainTimeout"> {
  /** The key of an event, compared by `Equal`: writes of one key ask one after the other. */
  readonly by?: ((event: A) => unknown) | undefined
  /** How many tokens one batch may ask for: a whole number from 1, and 1 by default. */
  readonly batchSize?: number | undefined
}

/**
 * Takes tokens of a limit that is kept somewhere else, and answers how long the write must wait then. `consume` of Effect's
 * `RateLimiter` answers such a value.
 *
 * @category models
 * @since 0.1.0
 */
export type Consume<out F> = (key: unknown, tokens: number) => Effect.Effect<{ readonly delay: Duration.Input }, F>

/**
 * The write was above the limit. The event was not written; a `RetryingSink` waits for `retryAfter`.
 *
 * @category errors
 * @since 0.1.0
 */
export class RateLimited extends Data.TaggedError("RateLimited")<{
  readonly sink: string
  /** When there is a token again, if no other write takes it. */
  readonly retryAfter: Duration.Duration
}> {
  override get message(): string {
    return `"${this.sink}" is at its rate limit for ${Duration.format(this.retryAfter)}`
  }
}

/**
 * What a write through a limit with `onExceeded` `P` can fail with, besides the errors of the sink.
 *
 * @category types
 * @since 0.1.0
 */
export type RateLimitError<P> = "fail" extends P ? RateLimited : never

/** A limit being made. */
type Made<A, E, W, X, R> = Effect.Effect<Wrapped<A, E, W>, X, R | Scope.Scope>

/**
 * Puts a rate limit in front of a sink.
 *
 * **Details**
 *
 * A write takes a token for each event before it goes on. It keeps the token when it fails or is interrupted then, since
 * the receiver may have seen it; a write that is interrupted while it waits has taken none. Writes that wait count as
 * `inFlight` in the health. The close ends every wait with `SinkClosed`, and waits for the writes that have gone on.
 *
 * Of a batch as many leading events are written as there are tokens, at least one.
 *
 * **Gotchas**
 *
 * The limit is that of this sink in this process. `makeShared` asks a limiter that several processes share.
 *
 * **Example** (Two at once, then one in 5 seconds)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { TestClock } from "effect/testing"
 * import { EventSink, RateLimitedSink } from "effect-events"
 *
 * const post = (n: number) => Effect.clockWith((clock) => Console.log(n, "at", clock.currentTimeMillisUnsafe()))
 * const program = Effect.gen(function* () {
 *   const sink = yield* EventSink.make(post).pipe(RateLimitedSink.make({ limit: 2, window: "10 seconds" }))
 *   yield* Effect.forkChild(EventSink.writeAll(sink, [1, 2, 3]))
 *   yield* TestClock.adjust("1 minute")
 * })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(TestClock.layer())))
 * // prints: 1 at 0
 * // prints: 2 at 0
 * // prints: 3 at 5000
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <P extends OnExceeded = "delay">(
    options: Options<P> & { readonly by?: never }
  ): <A, E, W, X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E | RateLimitError<P>, W, X, R>
  // Inside a pipe the key's argument is inferred from the sink; outside of one, the sink from an annotated key.
  <A, E, W, P extends OnExceeded = "delay">(
    options: Options<P> & Keyed<NoInfer<A>>
  ): <X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E | RateLimitError<P>, W, X, R>
  <A, P extends OnExceeded = "delay">(
    options: Options<P> & Keyed<A>
  ): <E, W, X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E | RateLimitError<P>, W, X, R>
  <A, E, W, X = never, R = never, P extends OnExceeded = "delay">(
    sink: Source<Wrapping<A, E, W>, X, R>,
    options: Options<P> & Partial<Keyed<NoInfer<A>>>
  ): Made<A, E | RateLimitError<P>, W, X, R>
} = dual(
  (args) => isSource(args[0]),
  <A, E, X, R>(
    source: Source<EventSink.EventSink<A, E>, X, R>,
    options: Options & Partial<Keyed<A>>
    // The overloads say which errors `onExceeded` adds, and that a batch sink stays one.
  ): Effect.Effect<never, X, R | Scope.Scope> =>
    Effect.flatMap(fromSource(source), (sink) =>
      makeLimited("RateLimitedSink", sink, options, tokenBuckets(options))
    ) as Effect.Effect<never, X, R | Scope.Scope>
)

/**
 * Puts a rate limit in front of a sink that is kept somewhere else, such as in Effect's `RateLimiter` over Redis: for a limit
 * over several processes.
 *
 * **Details**
 *
 * Writes of one key ask one after the other, and wait for what they are answered, so that their order stays. Each write
 * asks for one token, a batch for as many as `batchSize` allows. Tokens that were taken are not given back. What
 * `consume` fails with, the write fails with.
 *
 * @category constructors
 * @since 0.1.0
 */
export const makeShared: {
  <F, A, E, W>(
    consume: Consume<F>,
    options?: SharedOptions<NoInfer<A>>
  ): <X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E | F, W, X, R>
  <F, A>(
    consume: Consume<F>,
    options: SharedOptions<A>
  ): <E, W, X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Made<A, E | F, W, X, R>
  <A, E, W, F, X = never, R = never>(
    sink: Source<Wrapping<A, E, W>, X, R>,
    consume: Consume<F>,
    options?: SharedOptions<NoInfer<A>>
  ): Made<A, E | F, W, X, R>
} = dual(
  (args) => isSource(args[0]),
  <A, E, F, X, R>(
    source: Source<EventSink.EventSink<A, E>, X, R>,
    consume: Consume<F>,
    options: SharedOptions<A> = {}
    // The overloads say that a batch sink stays one.
  ): Effect.Effect<never, X, R | Scope.Scope> =>
    Effect.flatMap(fromSource(source), (sink) =>
      makeLimited("RateLimitedSink", sink, options, sharedTokens(consume, options))
    ) as Effect.Effect<never, X, R | Scope.Scope>
)

/**
 * The layer of a rate limit: a place in the graph, see `EventSink.layer`. A shared one is `makeShared` in that layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, E, W, X, R, P extends OnExceeded = "delay">(
  tag: Context.Key<I, EventSink.EventSink<A, E | RateLimitError<NoInfer<P>>>>,
  sink: Source<Wrapping<A, E, W>, X, R>,
  options: Options<P> & Partial<Keyed<NoInfer<A>>>
): Layer.Layer<I, X, Exclude<R, Scope.Scope>> =>
  EventSink.layer(
    tag,
    // A batch sink is a sink, whichever of the two it is.
    make(sink, options) as Effect.Effect<EventSink.EventSink<A, E | RateLimitError<P>>, X, R | Scope.Scope>
  )

// internals

/** One key's tokens. All are there again at `fullAt`, so that one number is both the level and the time of it. */
interface Bucket {
  fullAt: number
  /** How many writes wait for tokens of it. */
  waiting: number
  /** Had by the first of the writes that wait. */
  readonly turn: Semaphore.Semaphore
}

/** What is less than this many milliseconds away is now: sums of fractions are off by less. */
const tiny = 1e-6
/** A wait ends up to a millisecond late, since timers count whole ones: what is late counts from when it was due. */
const tick = 1

const tokenBuckets =
  <A>(options: Options & Partial<Keyed<A>>) =>
  ({ clock, node, untilClosed }: Limited) => {
    const { by = constUndefined, onExceeded = "delay" } = options
    const limit = finite("limit", options.limit)
    const window = Duration.toMillis(Duration.fromInputUnsafe(options.window))
    if (!(window > 0 && Number.isFinite(window))) {
      throw new RangeError(`RateLimitedSink.make: window must be finite and longer than zero, and is ${window} ms`)
    }
    const interval = window / limit
    const depth = interval * finite("burst", options.burst ?? limit)
    const now = () => monotonicMillis(clock)
    const buckets = makeKeyed<Bucket>(
      () => ({ fullAt: Number.NEGATIVE_INFINITY, waiting: 0, turn: Semaphore.makeUnsafe(1) }),
      ({ fullAt, waiting }) => waiting === 0 && fullAt <= now() - tick
    )
    /** What the next token counts from. */
    const base = ({ fullAt }: Bucket) => {
      const time = now()
      return fullAt > time - tick ? fullAt : time
    }
    /** How many milliseconds are left until there is a token. */
    const untilToken = (bucket: Bucket) => base(bucket) + interval - depth - now()
    /** The same as a wait in whole ones: a fraction may be less than the clock can move. */
    const waitOf = (bucket: Bucket) => Duration.millis(Math.ceil(untilToken(bucket) - tiny))
    const takes = (bucket: Bucket) => {
      if (untilToken(bucket) > tiny) return false
      bucket.fullAt = base(bucket) + interval
      return true
    }
    return (events: NonEmptyReadonlyArray<A>): Passage<RateLimited> => {
      const first = buckets.get(by(events[0]))
      /** The bucket of each token that was taken. */
      const taken: Array<Bucket> = []
      /** Takes a token, unless writes that came before wait for it. */
      const passes = (bucket: Bucket) => {
        if (bucket.waiting > 0 || !takes(bucket)) return false
        taken.push(bucket)
        return true
      }
      let isWaiting = false
      const leave = () => {
        if (isWaiting) first.waiting--
        isWaiting = false
      }
      const untilTaken: Effect.Effect<void> = Effect.suspend(() => {
        if (!takes(first)) return Effect.andThen(clock.sleep(waitOf(first)), untilTaken)
        taken.push(first)
        leave()
        return Effect.void
      })
      const exceeded = (): Effect.Effect<void, RateLimited | EventSink.SinkClosed> => {
        if (onExceeded === "fail") {
          return Effect.fail(new RateLimited({ sink: node.name, retryAfter: waitOf(first) }))
        }
        isWaiting = true
        first.waiting++
        return untilClosed(first.turn.withPermit(untilTaken))
      }
      return {
        wait: passes(first) ? undefined : exceeded(),
        most: () => {
          const most = Math.min(events.length, maxTurn)
          for (let i = 1; i < most; i++) if (!passes(buckets.get(by(events[i]!)))) break
          return taken.length
        },
        end: (untried) => {
          leave()
          for (const bucket of taken.slice(Math.max(0, taken.length - untried))) bucket.fullAt -= interval
          return undefined
        }
      }
    }
  }

const sharedTokens = <A, F>(consume: Consume<F>, options: SharedOptions<A>) => {
  const { by = constUndefined } = options
  return ({ clock, untilClosed }: Limited) => {
    const most = count("RateLimitedSink.makeShared", "batchSize", options.batchSize ?? 1, 1)
    const turns = makeKeyed(
      () => ({ writes: 0, turn: Semaphore.makeUnsafe(1) }),
      ({ writes }) => writes === 0
    )
    return (events: NonEmptyReadonlyArray<A>): Passage<F> => {
      const key = by(events[0])
      const own = turns.get(key)
      let tokens = 1
      // A batch has events of one key, the first ones.
      while (tokens < Math.min(events.length, most, maxTurn) && Equal.equals(key, by(events[tokens]!))) tokens++
      own.writes++
      const asked = Effect.flatMap(
        Effect.suspend(() => apart(consume(key, tokens))),
        ({ delay }) => {
          const duration = Duration.fromInputUnsafe(delay)
          return Duration.isZero(duration) ? Effect.void : clock.sleep(duration)
        }
      )
      return {
        wait: untilClosed(own.turn.withPermit(asked)),
        most: () => tokens,
        end: () => {
          own.writes--
          return undefined
        }
      }
    }
  }
}

const finite = (what: string, value: number) => {
  const n = count("RateLimitedSink.make", what, value, 1)
  if (n === Number.POSITIVE_INFINITY) throw new RangeError(`RateLimitedSink.make: ${what} must be finite`)
  return n
}
