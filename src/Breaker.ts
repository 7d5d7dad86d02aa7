/**
 * A circuit breaker as a retry strategy: go-events' `Breaker`. After `threshold` failures in a row it opens and holds
 * every attempt back, those of new writes too; after `backoff` one attempt probes while the others wait for its verdict.
 * It never gives a write up and never fails one fast: a write waits, which is what a queue above it is for.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Latch from "effect/Latch"
import * as Ref from "effect/Ref"
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
  /** How long it stays open before it lets an attempt probe. */
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
 * A success closes it, whoever reports it. A probe that ends without a verdict frees its place for the next.
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
 *   const first = yield* post.pipe(Effect.flatMap(RetryingSink.make(breaker)))
 *   const second = yield* post.pipe(Effect.flatMap(RetryingSink.make(breaker)))
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
    const breaker = () => Ref.getUnsafe(ref)._tag
    return { ...makeStrategy(() => new Attempts(ref, threshold, backoff)), breaker }
  })

class Attempts implements RetryAttempts<unknown> {
  private readonly ref: Ref.Ref<State>
  private readonly threshold: number
  private readonly backoff: number
  /** The verdict that this write's attempt is to bring, if it probes. */
  private verdict: Latch.Latch | undefined = undefined

  constructor(ref: Ref.Ref<State>, threshold: number, backoff: number) {
    this.ref = ref
    this.threshold = threshold
    this.backoff = backoff
  }

  /** Whether this write's attempt is the one that probes now: another may have closed the breaker meanwhile. */
  private get probing(): boolean {
    const { state } = this
    return state._tag === "half-open" && state.verdict === this.verdict
  }

  private get state(): State {
    return Ref.getUnsafe(this.ref)
  }

  /** Moves on, and then wakes who waited for the verdict: waking runs them at once. */
  private become(next: State): Effect.Effect<void> {
    const { state } = this
    this.verdict = undefined
    return Effect.andThen(Ref.set(this.ref, next), state._tag === "half-open" ? state.verdict.open : Effect.void)
  }

  get proceed(): Effect.Effect<void> {
    return this.probing || this.state._tag === "closed" ? Effect.void : this.wait()
  }

  private wait(): Effect.Effect<void> {
    return Clock.clockWith((clock) => {
      const { state } = this
      switch (state._tag) {
        case "closed":
          return Effect.void
        case "half-open":
          return Effect.andThen(
            state.verdict.await,
            Effect.suspend(() => this.wait())
          )
        case "open": {
          const rest = state.until - clock.currentTimeMillisUnsafe()
          if (rest > 0)
            return Effect.andThen(
              Effect.sleep(Math.ceil(rest)),
              Effect.suspend(() => this.wait())
            )
          this.verdict = Latch.makeUnsafe()
          return Ref.set(this.ref, { _tag: "half-open", verdict: this.verdict })
        }
      }
    })
  }

  failure(): Effect.Effect<void> {
    return Clock.clockWith((clock) => {
      const { state } = this
      const open: State = { _tag: "open", until: clock.currentTimeMillisUnsafe() + this.backoff }
      if (this.probing) return this.become(open)
      // One that began before it opened says nothing about the probe.
      if (state._tag !== "closed") return Effect.void
      const failures = state.failures + 1
      return this.become(failures >= this.threshold ? open : { _tag: "closed", failures })
    })
  }

  get success(): Effect.Effect<void> {
    return this.state === closed ? Effect.void : Effect.suspend(() => this.become(closed))
  }

  get abandon(): Effect.Effect<void> {
    return Effect.suspend(() => (this.probing ? this.become({ _tag: "open", until: 0 }) : Effect.void))
  }
}
