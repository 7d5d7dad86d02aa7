/**
 * A circuit breaker as a retry strategy: go-events' `Breaker`. After `threshold` failures in a row it opens and holds
 * every attempt back, those of new writes too; after `backoff` one attempt probes while the others wait for its verdict.
 * It never gives a write up and never fails one fast: a write waits, which is what a queue above it is for.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Layer from "effect/Layer"
import * as Ref from "effect/Ref"
import { monotonicMillis } from "./internal/monotonic.ts"
import { count } from "./internal/options.ts"
import { make as makeStrategy, type RetryAttempts, type RetryStrategy } from "./RetryStrategy.ts"

/**
 * A breaker. All writes of all sinks that it is given to share its state.
 *
 * @category models
 * @since 0.1.0
 */
export interface Breaker extends RetryStrategy<unknown> {
  /** `open` until the backoff is over, then `half-open` while one attempt probes. */
  readonly breaker: () => "closed" | "open" | "half-open"
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Failures in a row that open it: a whole number from 1. */
  readonly threshold: number
  /** How long it stays open before an attempt may probe. */
  readonly backoff: Duration.Input
}

type State =
  | { readonly _tag: "closed"; readonly failures: number }
  | { readonly _tag: "open"; readonly until: number }
  | { readonly _tag: "half-open"; readonly verdict: Latch.Latch }

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
export const make = (options: Options): Effect.Effect<Breaker> =>
  Effect.map(Ref.make<State>(closed), (ref) => {
    const threshold = count("Breaker.make", "threshold", options.threshold, 1)
    const backoff = Duration.toMillis(Duration.fromInputUnsafe(options.backoff))
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
            return [after !== state && state._tag === "half-open" ? state.verdict.open : Effect.void, after]
          }),
          (woken) => woken
        )
      )

    const start = (_: unknown, idle?: unknown): RetryAttempts<unknown> => {
      /** The attempt that is under way began when the breaker had opened this often. */
      let began = typeof idle === "number" ? idle : opened
      /** The verdict that the attempt is to bring, if it probes. */
      let verdict: Latch.Latch | undefined

      const isProbe = (state: State) => state._tag === "half-open" && state.verdict === verdict
      const wait: Effect.Effect<void> = Clock.clockWith((clock) => {
        const state = current()
        if (state._tag === "closed") {
          began = opened
          return Effect.void
        }
        if (state._tag === "half-open") return Effect.andThen(state.verdict.await, wait)
        const rest = state.until - monotonicMillis(clock)
        if (rest > 0) return Effect.andThen(Effect.sleep(Math.ceil(rest)), wait)
        const probe = Latch.makeUnsafe()
        verdict = probe
        return Effect.andThen(
          become((now) => (now === state ? { _tag: "half-open", verdict: probe } : now)),
          Effect.suspend(() => (isProbe(current()) ? Effect.void : wait))
        )
      })
      const failed = Effect.uninterruptible(
        Clock.clockWith((clock) =>
          become((state) => {
            const open: State = { _tag: "open", until: monotonicMillis(clock) + backoff }
            if (isProbe(state)) return open
            if (state._tag !== "closed" || began !== opened) return state
            return state.failures + 1 >= threshold ? open : { _tag: "closed", failures: state.failures + 1 }
          })
        )
      )
      return {
        proceed: () => {
          const state = current()
          if (isProbe(state)) return undefined
          if (state._tag !== "closed") return wait
          began = opened
          return undefined
        },
        failure: () => failed,
        success: () =>
          current() === closed
            ? undefined
            : become((state) => (isProbe(state) || (state._tag === "closed" && began === opened) ? closed : state)),
        abandon: (hasDied) => {
          if (hasDied) return failed
          // The next attempt probes at once.
          return isProbe(current())
            ? become((state) => (isProbe(state) ? { _tag: "open", until: 0 } : state))
            : undefined
        }
      }
    }
    const idle = () => (current() === closed ? opened : undefined)
    const breaker = () => current()._tag
    return { ...makeStrategy(start, { idle }), breaker }
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
export const layer = <I>(tag: Context.Key<I, Breaker>, options: Options): Layer.Layer<I> =>
  Layer.effect(tag, make(options))
