/**
 * A circuit breaker as a retry strategy: go-events' `Breaker`. After `threshold` failures in a row, or at a `rate` of them,
 * it opens and holds every attempt back, those of new writes too; after `backoff` one attempt probes while the others wait
 * for its verdict. It never gives a write up after a failure; with `onOpen: "fail"` it refuses those it would hold back.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as PubSub from "effect/PubSub"
import * as Ref from "effect/Ref"
import * as Schedule from "effect/Schedule"
import * as Stream from "effect/Stream"
import { monotonicMillis } from "./internal/monotonic.ts"
import { count } from "./internal/options.ts"
import { make as makeStrategy, type RetryAttempts, type RetryStrategy } from "./RetryStrategy.ts"

/**
 * What a breaker does with attempts: `open` until the backoff is over, then `half-open` while one attempt probes.
 *
 * @category models
 * @since 0.1.0
 */
export type BreakerState = "closed" | "open" | "half-open"

/**
 * A breaker. All writes of all sinks that it is given to share its state. `P` is `BreakerOpen` for one that refuses.
 *
 * @category models
 * @since 0.1.0
 */
export interface Breaker<out P = never> extends RetryStrategy<unknown, never, P> {
  readonly breaker: () => BreakerState
  /**
   * The state now, and each one after it; it does not end. A reader that is more than 16 states behind misses the oldest, and
   * never the last. Costs nothing before its first reader.
   */
  readonly changes: Stream.Stream<BreakerState>
}

/**
 * What becomes of an attempt that an open breaker holds back: it waits, or its write fails at once with `BreakerOpen`.
 *
 * @category options
 * @since 0.1.0
 */
export type OnOpen = "wait" | "fail"

/**
 * Opens a breaker at a share of failures among the last verdicts.
 *
 * @category options
 * @since 0.1.0
 */
export interface FailureRate {
  /** The share that opens it, above 0 and up to 1. It is judged at each failure. */
  readonly failures: number
  /** Among so many of the last verdicts: a whole number from 1, and finite. */
  readonly of: number
  /** As soon as there are so many: a whole number from 1 to `of`, and `of` by default. */
  readonly atLeast?: number | undefined
}

/**
 * Options of every breaker, however long it stays open.
 *
 * @category options
 * @since 0.1.0
 */
export interface BaseOptions<out P extends OnOpen = OnOpen> {
  /**
   * How long it stays open before an attempt may probe: one time, or a `Schedule` for a time that grows while probes fail. The
   * schedule starts again after each close, its input is how often the breaker has opened since, and its last delay stays when
   * it ends.
   */
  readonly backoff: Duration.Input | Schedule.Schedule<unknown, number>
  /** What becomes of attempts while it is not closed: `"wait"` by default. */
  readonly onOpen?: P | undefined
}

/**
 * The options of a breaker: with a `threshold`, a `rate`, or both, of which the first to be reached opens it.
 *
 * @category options
 * @since 0.1.0
 */
export type Options<P extends OnOpen = "wait"> = BaseOptions<P> &
  (
    | {
        /** Failures in a row that open it: a whole number from 1. */
        readonly threshold: number
        readonly rate?: FailureRate | undefined
      }
    | { readonly threshold?: undefined; readonly rate: FailureRate }
  )

/**
 * The breaker is open and refuses attempts. The event was not written by this attempt.
 *
 * @category errors
 * @since 0.1.0
 */
export class BreakerOpen extends Data.TaggedError("BreakerOpen")<{
  /** How long until an attempt may probe; while one probes, how long it takes if that fails. A `RetryingSink` waits for it. */
  readonly retryAfter: Duration.Duration
}> {
  override get message(): string {
    return `the breaker is open for ${Duration.format(this.retryAfter)}`
  }
}

/**
 * What a write under a breaker with `onOpen` `P` can fail with.
 *
 * @category types
 * @since 0.1.0
 */
export type Refusal<P> = "fail" extends P ? BreakerOpen : never

type State =
  | { readonly _tag: "closed"; readonly failures: number }
  | { readonly _tag: "open"; readonly until: number; readonly pause: Pause }
  | { readonly _tag: "half-open"; readonly verdict: Latch.Latch; readonly pause: Pause }

/** How long it is open this time, in milliseconds, and what answers the next pause. */
interface Pause {
  readonly millis: number
  readonly next: Effect.Effect<Pause>
}

const closed: State = { _tag: "closed", failures: 0 }

/**
 * Makes a breaker: an Effect, since its state is shared by every write.
 *
 * **Details**
 *
 * While it is closed, failures and defects of attempts in a row count, and a success begins the count anew. A verdict that
 * began before it opened neither closes nor opens it. A probe that ends without a verdict frees its place for the next.
 *
 * **Example** (Sharing one breaker between two sinks of one receiver)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { Breaker, EventSink, RetryingSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const breaker = yield* Breaker.make({ threshold: 10, backoff: "1 second" })
 *   const post = EventSink.make((path: string) => Effect.fail(`${path} is down`))
 *   const first = yield* post.pipe(RetryingSink.make(breaker))
 *   const second = yield* post.pipe(RetryingSink.make(breaker))
 *   return [first, second]
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <P extends OnOpen = "wait">(options: Options<P>): Effect.Effect<Breaker<Refusal<P>>> =>
  Effect.map(Ref.make<State>(closed), (ref) => {
    const threshold =
      options.threshold === undefined
        ? Number.POSITIVE_INFINITY
        : count("Breaker.make", "threshold", options.threshold, 1)
    const rate = options.rate && makeRate(options.rate)
    const firstPause = pauses(options.backoff)
    const isFailingFast = options.onOpen === "fail"
    /** Made by the first reader of `changes`. */
    let changed: PubSub.PubSub<BreakerState> | undefined
    /** How often it has opened. */
    let opened = 0
    const current = () => Ref.getUnsafe(ref)

    /** Moves on, and then wakes the writes that wait for the verdict: an interruption in between would leave them waiting. */
    const become = (next: (state: State) => State) =>
      Effect.uninterruptible(
        Effect.flatMap(
          Ref.modify(ref, (state) => {
            const after = next(state)
            if (after._tag === "open" && state._tag === "closed") opened++
            const verdict = after !== state && state._tag === "half-open" ? state.verdict.open : Effect.void
            if (changed === undefined || after._tag === state._tag) return [verdict, after]
            return [Effect.andThen(verdict, PubSub.publish(changed, after._tag)), after]
          }),
          (woken) => woken
        )
      )

    const refused = (state: Exclude<State, { readonly _tag: "closed" }>, clock: Clock.Clock) => {
      const left = state._tag === "open" ? state.until - monotonicMillis(clock) : state.pause.millis
      return Effect.fail(new BreakerOpen({ retryAfter: Duration.millis(Math.ceil(left)) }))
    }

    const start = (_: unknown, idle?: unknown): RetryAttempts<unknown, never, BreakerOpen> => {
      /** The attempt that is under way began when the breaker had opened this often. */
      let began = typeof idle === "number" ? idle : opened
      /** The verdict that the attempt is to bring, if it probes. */
      let verdict: Latch.Latch | undefined

      const isProbe = (state: State): state is Extract<State, { readonly _tag: "half-open" }> =>
        state._tag === "half-open" && state.verdict === verdict
      const wait: Effect.Effect<void, BreakerOpen> = Clock.clockWith((clock) => {
        const state = current()
        if (state._tag === "closed") {
          began = opened
          return Effect.void
        }
        const rest = state._tag === "open" ? state.until - monotonicMillis(clock) : 0
        if (isFailingFast && (state._tag === "half-open" || rest > 0)) return refused(state, clock)
        if (state._tag === "half-open") return Effect.andThen(state.verdict.await, wait)
        if (rest > 0) return Effect.andThen(Effect.sleep(Math.ceil(rest)), wait)
        const { pause } = state
        const probe = Latch.makeUnsafe()
        verdict = probe
        return Effect.andThen(
          become((now) => (now === state ? { _tag: "half-open", verdict: probe, pause } : now)),
          Effect.suspend(() => (isProbe(current()) ? Effect.void : wait))
        )
      })
      const failed = Effect.uninterruptible(
        Clock.clockWith((clock) => {
          const before = current()
          // The pauses of an outage are stepped by its probes alone: each step is for good.
          const pause = isProbe(before) ? before.pause.next : firstPause
          return Effect.flatMap(pause, (pause) =>
            become((state) => {
              const open: State = { _tag: "open", until: monotonicMillis(clock) + pause.millis, pause }
              if (isProbe(state)) return open
              if (state._tag !== "closed" || began !== opened) return state
              const isBad = rate?.note(true) === true
              return isBad || state.failures + 1 >= threshold ? open : { _tag: "closed", failures: state.failures + 1 }
            })
          )
        })
      )
      const succeeded = () =>
        become((state) => {
          if (isProbe(state)) {
            rate?.clear()
            return closed
          }
          if (state._tag !== "closed" || began !== opened) return state
          rate?.note(false)
          return closed
        })
      return {
        proceed: () => {
          const state = current()
          if (isProbe(state)) return undefined
          if (state._tag !== "closed") return wait
          began = opened
          return undefined
        },
        failure: () => failed,
        due: () => {
          const state = current()
          return state._tag === "open" ? state.until : undefined
        },
        success: () => (current() === closed && rate === undefined ? undefined : succeeded()),
        abandon: (hasDied) => {
          if (hasDied) return failed
          // The next attempt probes at once.
          return isProbe(current())
            ? become((state) => (isProbe(state) ? { _tag: "open", until: 0, pause: state.pause } : state))
            : undefined
        }
      }
    }
    // A success changes the rate, so no write is without attempts then.
    const idle = () => (current() === closed && rate === undefined ? opened : undefined)
    const breaker = () => current()._tag
    const changes = Stream.unwrap(
      Effect.gen(function* () {
        const made = yield* PubSub.sliding<BreakerState>(16)
        changed ??= made
        const subscription = yield* PubSub.subscribe(changed)
        return Stream.concat(Stream.sync(breaker), Stream.fromSubscription(subscription))
      })
      // A change between the subscription and the first state is in both.
    ).pipe(Stream.changes)
    // It fails with `BreakerOpen` only where `onOpen` says so.
    const strategy = makeStrategy(start, { idle }) as RetryStrategy<unknown, never, Refusal<P>>
    return { ...strategy, breaker, changes }
  })

/**
 * The layer of a breaker as a service, which several retriers share.
 *
 * **Example** (A breaker of a receiver)
 *
 * ```ts
 * import { Console, Context, Effect } from "effect"
 * import { Breaker, EventSink, RetryingSink } from "effect-events"
 *
 * class MailBreaker extends Context.Service<MailBreaker, Breaker.Breaker>()("app/MailBreaker") {}
 *
 * const program = Effect.gen(function* () {
 *   let calls = 0
 *   const post = (line: string) => Effect.suspend(() => (++calls < 3 ? Effect.fail("busy") : Console.log(line)))
 *   const sink = yield* EventSink.make(post).pipe(RetryingSink.make(MailBreaker))
 *   yield* sink.write("hello")
 *   yield* Console.log((yield* MailBreaker).breaker())
 * })
 *
 * const MailBreakerLive = Breaker.layer(MailBreaker, { threshold: 5, backoff: "1 second" })
 *
 * Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(MailBreakerLive)))
 * // prints: hello
 * // prints: closed
 * ```
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, P extends OnOpen = "wait">(
  tag: Context.Key<I, Breaker<Refusal<NoInfer<P>>>>,
  options: Options<P>
): Layer.Layer<I> => Layer.effect(tag, make(options))

// internals

/** The last verdicts while the breaker is closed. */
const makeRate = ({ atLeast, failures, of }: FailureRate) => {
  const size = count("Breaker.make", "rate.of", of, 1)
  if (size === Number.POSITIVE_INFINITY) throw new RangeError("Breaker.make: rate.of must be finite")
  const least = count("Breaker.make", "rate.atLeast", atLeast ?? size, 1)
  if (least > size) throw new RangeError(`Breaker.make: rate.atLeast must be at most ${size}, and is ${least}`)
  if (!(failures > 0 && failures <= 1)) {
    throw new RangeError(`Breaker.make: rate.failures must be above 0 and at most 1, and is ${failures}`)
  }
  const verdicts = new Uint8Array(size)
  let seen = 0
  let failed = 0
  const clear = () => {
    verdicts.fill(0)
    seen = failed = 0
  }
  return {
    clear,
    /** Notes a verdict, and answers whether there are too many failures now. */
    note: (isFailure: boolean): boolean => {
      const at = seen % size
      failed += Number(isFailure) - verdicts[at]!
      verdicts[at] = Number(isFailure)
      seen++
      return isFailure && seen >= least && failed >= failures * Math.min(seen, size)
    }
  }
}

/** The pauses of one outage, from the first. */
const pauses = (backoff: BaseOptions["backoff"]): Effect.Effect<Pause> => {
  if (!Schedule.isSchedule(backoff)) {
    const pause: Effect.Effect<Pause> = Effect.sync(() => ({ millis, next: pause }))
    const millis = Duration.toMillis(Duration.fromInputUnsafe(backoff))
    return pause
  }
  return Effect.flatMap(Schedule.toStep(backoff), (step) => {
    const stepped = (n: number, last: number): Effect.Effect<Pause> =>
      Clock.clockWith((clock) =>
        Effect.map(Effect.exit(step(clock.currentTimeMillisUnsafe(), n)), (exit) => {
          // The schedule has ended: its last delay stays.
          const millis = Exit.isSuccess(exit) ? Duration.toMillis(exit.value[1]) : last
          return { millis, next: stepped(n + 1, millis) }
        })
      )
    return stepped(1, 0)
  })
}
