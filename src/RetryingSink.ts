/**
 * Writes again what failed, as a strategy says: go-events' `RetryingSink`. A write goes on until the event is committed,
 * the strategy gives up, the error is permanent, or the sink is closed. It never retries a defect or a `SinkClosed`,
 * never reorders the writes of one fiber, and keeps nothing of a write that has ended.
 *
 * @since 0.1.0
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import type { Predicate, Refinement } from "effect/Predicate"
import { hasProperty } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import type { EventSink, Fallible } from "./EventSink.ts"
import { defaultDrainTimeout } from "./internal/deadline.ts"
import { annotate, FailureLog } from "./internal/failureLog.ts"
import { Node } from "./internal/node.ts"
import { operation, Sink, SinkClosed } from "./internal/sink.ts"
import { Writes } from "./internal/writes.ts"
import type { RetryAttempts, RetryStrategy } from "./RetryStrategy.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** How long the close waits for attempts that are under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** The longest wait that an error's `retryAfter` may ask for: 1 minute by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
}

/**
 * An error may say how long the receiver wants to be left alone. It is honoured up to `maxRetryAfter`; it
 * counts from the failure as the strategy's delay does, so the longer of the two holds.
 *
 * @category models
 * @since 0.1.0
 */
export interface RetryAfter {
  readonly retryAfter?: Duration.Input | undefined
}

/**
 * The strategy gave up. The event was not committed, as far as the last error tells.
 *
 * @category errors
 * @since 0.1.0
 */
export class RetriesExhausted<out E> extends Data.TaggedError("RetriesExhausted")<{
  /** The error of the last attempt. */
  readonly error: unknown
  /** How many attempts there were. */
  readonly attempts: number
  readonly sink: string
}> {
  declare readonly error: E
  override get message(): string {
    return `"${this.sink}" gave up after ${this.attempts} attempts`
  }
  /** The same as `error`, where logs look for it. */
  override get cause(): unknown {
    return this.error
  }
}

/** The errors of `E` that a refinement to `T` holds for, also where it narrows one by its fields. */
type Refined<E, T> = [Extract<E, T>] extends [never] ? E & T : Extract<E, T>

/** What is left of the errors `E` when a strategy that gives up with `X` retries them. */
type GivenUp<E, X> = [X] extends [never] ? never : RetriesExhausted<E>

/**
 * Puts a retrier in front of a sink that can fail.
 *
 * **Details**
 *
 * With a strategy that never gives up, nothing is left of the sink's errors; with one that may, `RetriesExhausted`. With
 * `while` only the errors it holds for are retried, as in `Effect.retry`; the others are permanent and pass through, and
 * count as an answer of the receiver. The close wakes every write that waits, which then fails with `SinkClosed`, and
 * waits for the attempts under way.
 *
 * A group is retried as a group, since a group sink that fails has committed none of it.
 *
 * **Example** (A receiver that fails twice)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink, ExponentialBackoff, RetryingSink } from "effect-events"
 *
 * let calls = 0
 * const receiver = EventSink.make((line: string) =>
 *   ++calls < 3 ? Effect.fail("unavailable") : Console.log(line, "at attempt", calls)
 * )
 * const strategy = ExponentialBackoff.make({ base: "1 millis", factor: "1 millis" })
 *
 * const program = Effect.gen(function* () {
 *   const retrying = yield* receiver.pipe(Effect.flatMap(RetryingSink.make(strategy)))
 *   yield* retrying.write("hello")
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: hello at attempt 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <S, X, F, T extends F & S>(
    strategy: RetryStrategy<S, X>,
    options: Options & { readonly while: Refinement<F, T> }
  ): <A, E extends F>(
    dst: Fallible<A, E>
  ) => Effect.Effect<EventSink<A, Exclude<E, T> | GivenUp<Refined<E, T>, X>>, never, Scope.Scope>
  <S, X, F extends S>(
    strategy: RetryStrategy<S, X>,
    options: Options & { readonly while: Predicate<F> }
  ): <A, E extends F>(dst: Fallible<A, E>) => Effect.Effect<EventSink<A, E | GivenUp<E, X>>, never, Scope.Scope>
  <S, X>(
    strategy: RetryStrategy<S, X>,
    options?: Options & { readonly while?: undefined }
  ): <A, E extends S>(dst: Fallible<A, E>) => Effect.Effect<EventSink<A, GivenUp<E, X>>, never, Scope.Scope>
} =
  <E, X>(strategy: RetryStrategy<E, X>, options: Options & { readonly while?: Predicate<E> | undefined } = {}) =>
  <A>(dst: EventSink<A, E>): Effect.Effect<EventSink<A, never>, never, Scope.Scope> =>
    Effect.suspend(() => {
      const retrier = new Retrier(strategy, options, dst)
      return Effect.as(
        Effect.addFinalizer(() => retrier.close),
        // The overloads say which errors the strategy and `while` leave; one implementation serves them all.
        retrier.sink as EventSink<A, unknown> as EventSink<A, never>
      )
    })

class Retrier<A, E, X> {
  private readonly strategy: RetryStrategy<E, X>
  private readonly transient: Predicate<E>
  private readonly drainTimeout: Duration.Duration
  private readonly maxRetryAfter: Duration.Duration
  private readonly dst: EventSink<A, E>
  private readonly node: Node
  private readonly writes: Writes
  private readonly log = new FailureLog()
  private readonly closed = Deferred.makeUnsafe<never, SinkClosed>()
  readonly sink: EventSink<A, E | RetriesExhausted<E>>

  constructor(
    strategy: RetryStrategy<E, X>,
    options: Options & { readonly while?: Predicate<E> | undefined },
    dst: EventSink<A, E>
  ) {
    this.strategy = strategy
    this.transient = options.while ?? (() => true)
    this.drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    this.maxRetryAfter = Duration.fromInputUnsafe(options.maxRetryAfter ?? "1 minute")
    this.dst = dst
    this.node = new Node("RetryingSink", options.name, () => [dst.node])
    if (strategy.breaker !== undefined) this.node.breaker = strategy.breaker
    this.writes = new Writes(this.node)
    const { writeSome } = dst
    this.sink = new Sink<A, E | RetriesExhausted<E>>({
      node: this.node,
      write: operation("RetryingSink.write", (event: A) => this.write(event)),
      writeSome:
        writeSome && operation("RetryingSink.writeSome", (events) => this.run(events, writeSome(events), count))
    })
  }

  private write(event: A): Retried<void, E> {
    const { writeUnsafe } = this.dst
    if (writeUnsafe === undefined || this.node.state !== "open") return this.run(event, this.dst.write(event), one)
    // A plain function is over when it returns: it needs no frame to notice its end.
    const attempts = this.strategy.start(event)
    if (attempts.proceed !== Effect.void) return this.retry(attempts, this.dst.write(event), one)
    try {
      if (writeUnsafe(event)) return this.succeeded(attempts, 1) ?? Effect.void
    } catch (defect) {
      return Effect.andThen(attempts.abandon, Effect.die(defect))
    }
    return Effect.andThen(attempts.abandon, this.dst.write(event))
  }

  private run<B>(event: unknown, write: Effect.Effect<B, E | SinkClosed>, events: (b: B) => number): Retried<B, E> {
    if (this.node.state !== "open") return Deferred.await(this.closed)
    return this.retry(this.strategy.start(event), write, events)
  }

  private retry<B>(
    attempts: RetryAttempts<E, X>,
    write: Effect.Effect<B, E | SinkClosed>,
    events: (b: B) => number
  ): Retried<B, E> {
    this.writes.enter()
    return Effect.onExitPrimitive(this.attempt(attempts, write, 1), (exit) => {
      this.writes.leave()
      return Exit.isSuccess(exit) ? this.succeeded(attempts, events(exit.value)) : attempts.abandon
    })
  }

  private attempt<B>(attempts: RetryAttempts<E, X>, write: Effect.Effect<B, E | SinkClosed>, n: number): Retried<B, E> {
    const { proceed } = attempts
    return Effect.catch(proceed === Effect.void ? write : Effect.andThen(this.unlessClosed(proceed), write), (error) =>
      this.failed(attempts, write, n, error)
    )
  }

  /** Waits, until the close wakes it. */
  private unlessClosed(wait: Effect.Effect<void>): Effect.Effect<void, SinkClosed> {
    return Effect.raceFirst(wait, Deferred.await(this.closed))
  }

  /** Notes a success, and answers what is left to be run for it. */
  private succeeded(attempts: RetryAttempts<E, X>, n: number): Effect.Effect<void> | undefined {
    this.node.accepted += n
    this.node.delivered += n
    const run = this.log.recovered()
    const { success } = attempts
    if (run === 0) return success === Effect.void ? undefined : success
    const line = `"${this.node.name}" delivers again after ${run === 1 ? "a failed attempt" : `${run} failed attempts`}`
    return Effect.andThen(success, annotate(this.node.kind, this.node.name)(Effect.logInfo(line)))
  }

  private failed<B>(
    attempts: RetryAttempts<E, X>,
    write: Effect.Effect<B, E | SinkClosed>,
    n: number,
    error: E | SinkClosed
  ): Retried<B, E> {
    if (error instanceof SinkClosed) return Effect.fail(error)
    this.node.lastError = error
    if (!this.transient(error)) return Effect.andThen(attempts.success, Effect.fail(error))
    return Effect.andThen(
      this.warn(n),
      Effect.matchEffect(this.judged(attempts, error), {
        onFailure: () => Effect.fail(new RetriesExhausted<E>({ error, attempts: n, sink: this.node.name })),
        onSuccess: (asked) => {
          if (this.node.state !== "open") return Deferred.await(this.closed)
          const next = Effect.suspend(() => this.attempt(attempts, write, n + 1))
          return asked > 0 ? Effect.andThen(this.unlessClosed(Effect.sleep(asked)), next) : next
        }
      })
    )
  }

  /** Lets the strategy judge, and answers for how many milliseconds the receiver asked to be left alone. */
  private judged(attempts: RetryAttempts<E, X>, error: E): Effect.Effect<number, X> {
    if (!hasProperty(error, "retryAfter")) return Effect.as(attempts.failure(error), 0)
    const asked = Duration.fromInput(error.retryAfter as Duration.Input)
    const millis = asked._tag === "Some" ? Duration.toMillis(Duration.min(asked.value, this.maxRetryAfter)) : 0
    return Clock.clockWith((clock) => {
      const due = clock.currentTimeMillisUnsafe() + millis
      return Effect.map(attempts.failure(error), () => due - clock.currentTimeMillisUnsafe())
    })
  }

  private warn(n: number): Effect.Effect<void> {
    const run = this.log.failed()
    if (run === 0) return Effect.void
    return Effect.logWarning(
      `a write to "${this.dst.node.name}" failed at attempt ${n}${run === 1 ? "" : `, with ${run} failures in a row`}`
    ).pipe(annotate(this.node.kind, this.node.name))
  }

  readonly close = Effect.suspend(() => {
    // First the state, then the waiters: waking one runs it at once, and it may write again.
    this.node.state = "closing"
    return Effect.andThen(
      Deferred.fail(this.closed, new SinkClosed({ sink: this.node.name })),
      this.writes.close(this.drainTimeout)
    )
  })
}

type Retried<B, E> = Effect.Effect<B, E | RetriesExhausted<E> | SinkClosed>

const one = () => 1
const count = (n: number) => n
