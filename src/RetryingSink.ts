/**
 * Writes again what failed, as a strategy says: go-events' `RetryingSink`. A write goes on until the event is committed,
 * the strategy gives up, the error is permanent, or the sink is closed. It never retries a defect or a `SinkClosed`,
 * never reorders the writes of one fiber, and keeps nothing of a write that has ended.
 *
 * @since 0.1.0
 */
import type * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import type * as Context from "effect/Context"
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { dual, identity } from "effect/Function"
import type * as Layer from "effect/Layer"
import { hasProperty, type Predicate, type Refinement } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as EventSink from "./EventSink.ts"
import { defaultDrainTimeout } from "./internal/deadline.ts"
import { answerOf } from "./internal/answerOf.ts"
import { logLine, makeFailureLog, numbered } from "./internal/failureLog.ts"
import { monotonicMillis } from "./internal/monotonic.ts"
import { edgeTo, noteError } from "./internal/node.ts"
import { open } from "./internal/receipt.ts"
import {
  type Begun,
  fromSource,
  makePart,
  makeSink,
  runWrite,
  SinkClosed,
  type Source,
  WriteHalves,
  type Wrapped
} from "./internal/sink.ts"
import { DeadlineExceeded, deadlineIn, type Limited, type Options, RetriesExhausted } from "./internal/retries.ts"
import { makeWrites } from "./internal/writes.ts"
import { isRetryStrategy, type RetryAttempts, type RetryStrategy } from "./RetryStrategy.ts"

export {
  DeadlineExceeded,
  type Limited,
  type Options,
  RetriesExhausted,
  type RetryAfter,
  withDeadline
} from "./internal/retries.ts"

/** The errors of `E` that a refinement to `T` holds for, also where it narrows one by its fields. */
type Refined<E, T> = [Extract<E, T>] extends [never] ? E & T : Extract<E, T>

/** What is left of the errors `E` when a strategy that gives up with `X` retries them. */
type GivenUp<E, X> = [X] extends [never] ? never : RetriesExhausted<E>

/** What a write fails with besides: for a strategy that gives up with `X` or refuses with `P`, and for a deadline `D`. */
type Ended<E, X, P, D> = GivenUp<E, X> | P | ([D] extends [undefined] ? never : DeadlineExceeded<E>)

/** What a retrier takes: a sink that can fail, whose `writeSome` is `W`. */
type Retried<A, E, W> = EventSink.Fallible<A, E> & { readonly writeSome: W }

/** A retrier being made. */
type Made<A, E, W, X, R> = Effect.Effect<Wrapped<A, E, W>, X, R | Scope.Scope>

/** The strategy, or an Effect of it, such as a tag or a breaker that is made. */
type Strategy<S, G, SX, SR, P = never> = RetryStrategy<S, G, P> | Effect.Effect<RetryStrategy<S, G, P>, SX, SR>

/** Options of a retrier that retries the errors of a refinement, those of a predicate, or all. */
type Refining<F, T extends F, D> = Options & Limited<D> & { readonly while: Refinement<F, T> }
type Judging<F, D> = Options & Limited<D> & { readonly while: Predicate<F> }
type Plain<D> = Options & Limited<D> & { readonly while?: undefined }

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
 * The strategy may be an Effect of one, such as a tag or `Breaker.make`, which then belongs to this retrier alone.
 *
 * A batch is retried as a batch, since a batch sink that fails has committed none of it.
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
 *   const retrying = yield* receiver.pipe(RetryingSink.make(strategy))
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
  <S, G, P, F, T extends F & S, D extends Deadline = undefined, SX = never, SR = never>(
    strategy: Strategy<S, G, SX, SR, P>,
    options: Refining<F, T, D>
  ): <A, E extends F, W, X = never, R = never>(
    sink: Source<Retried<A, E, W>, X, R>
  ) => Made<A, Exclude<E, T> | Ended<Refined<E, T>, G, P, D>, W, X | SX, R | SR>
  <S, G, P, F extends S, D extends Deadline = undefined, SX = never, SR = never>(
    strategy: Strategy<S, G, SX, SR, P>,
    options: Judging<F, D>
  ): <A, E extends F, W, X = never, R = never>(
    sink: Source<Retried<A, E, W>, X, R>
  ) => Made<A, E | Ended<E, G, P, D>, W, X | SX, R | SR>
  <S, G, P, D extends Deadline = undefined, SX = never, SR = never>(
    strategy: Strategy<S, G, SX, SR, P>,
    options?: Plain<D>
  ): <A, E extends S, W, X = never, R = never>(
    sink: Source<Retried<A, E, W>, X, R>
  ) => Made<A, Ended<E, G, P, D>, W, X | SX, R | SR>
  // Where `while` is no refinement, its argument is of the sink's errors by `F = E`.
  <
    A,
    E extends F,
    W,
    S,
    G,
    P,
    T extends F & S,
    D extends Deadline = undefined,
    F = E,
    X = never,
    R = never,
    SX = never,
    SR = never
  >(
    sink: Source<Retried<A, E, W>, X, R>,
    strategy: Strategy<S, G, SX, SR, P>,
    options: Refining<F, T, D>
  ): Made<A, Exclude<E, T> | Ended<Refined<E, T>, G, P, D>, W, X | SX, R | SR>
  <A, E extends S, W, S, G, P, D extends Deadline = undefined, X = never, R = never, SX = never, SR = never>(
    sink: Source<Retried<A, E, W>, X, R>,
    strategy: Strategy<S, G, SX, SR, P>,
    options: Judging<NoInfer<E>, D>
  ): Made<A, E | Ended<E, G, P, D>, W, X | SX, R | SR>
  <A, E extends S, W, S, G, P, D extends Deadline = undefined, X = never, R = never, SX = never, SR = never>(
    sink: Source<Retried<A, E, W>, X, R>,
    strategy: Strategy<S, G, SX, SR, P>,
    options?: Plain<D>
  ): Made<A, Ended<E, G, P, D>, W, X | SX, R | SR>
} = dual(
  // A strategy may be an Effect, as a sink may: the second argument tells, which is no options then.
  (args) => isRetryStrategy(args[1]) || Effect.isEffect(args[1]),
  <A, E, G, P, X, R, SX, SR>(
    source: Source<EventSink.EventSink<A, E>, X, R>,
    strategy: Strategy<E, G, SX, SR, P>,
    options: AnyOptions<E> = {}
    // The overloads say which errors the strategy and `while` leave; one implementation serves them all.
  ): Effect.Effect<never, X | SX, R | SR | Scope.Scope> =>
    Effect.flatMap(fromSource(source), (sink) =>
      Effect.flatMap(Effect.isEffect(strategy) ? strategy : Effect.succeed(strategy), (strategy) =>
        makeRetrier(sink, strategy, options)
      )
    ) as Effect.Effect<never, X | SX, R | SR | Scope.Scope>
)

/**
 * The layer of a retrier: a place in the graph, see `EventSink.layer`. A retrier with `while` is `make` in that layer.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <
  I,
  A,
  E extends S,
  W,
  S,
  G,
  P,
  D extends Deadline = undefined,
  X = never,
  R = never,
  SX = never,
  SR = never
>(
  tag: Context.Key<I, EventSink.EventSink<A, Ended<E, G, P, NoInfer<D>>>>,
  sink: Source<Retried<A, E, W>, X, R>,
  strategy: Strategy<S, G, SX, SR, P>,
  options?: Options & Limited<D>
): Layer.Layer<I, X | SX, Exclude<R | SR, Scope.Scope>> =>
  // A batch sink is a sink, whichever of the two it is.
  EventSink.layer(
    tag,
    make(sink, strategy, options) as Effect.Effect<
      EventSink.EventSink<A, Ended<E, G, P, D>>,
      X | SX,
      R | SR | Scope.Scope
    >
  )

// internals

type Deadline = Duration.Input | undefined

interface AnyOptions<in E> extends Options, Limited {
  readonly while?: Predicate<E> | undefined
}

const makeRetrier = <A, E, G, P>(
  sink: EventSink.EventSink<A, E>,
  strategy: RetryStrategy<E, G, P>,
  options: AnyOptions<E>
) =>
  Clock.clockWith((clock) => {
    type Attempts = RetryAttempts<E, G, P>
    type Write<B> = Effect.Effect<B, E | SinkClosed>
    type Failure = E | P | RetriesExhausted<E> | DeadlineExceeded<E>
    type Attempted<B> = Effect.Effect<B, Failure | SinkClosed>
    const limit = options.deadline === undefined ? undefined : Duration.fromInputUnsafe(options.deadline)
    const { while: isTransient = () => true } = options
    const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    const maxRetryAfter = Duration.fromInputUnsafe(options.maxRetryAfter ?? "1 minute")
    const { account, node } = makePart({
      kind: "RetryingSink",
      name: options.name,
      downstream: () => [edgeTo(sink, true)],
      breaker: strategy.breaker,
      attempts: () => attempted
    })
    /** How many attempts have begun. */
    let attempted = 0
    const writes = makeWrites(account, node)
    const log = makeFailureLog()
    /** An attempt has failed since one succeeded. */
    let isFailing = false
    const closing = Deferred.makeUnsafe<never, SinkClosed>()
    const closed = Deferred.await(closing)
    const { writeSome, [EventSink.WriteSync]: writeSync, [WriteHalves]: half } = sink

    /** Runs what belongs to the strategy or is a wait, until the close. */
    const untilClosed = <B, F>(effect: Effect.Effect<B, F>) => Effect.raceFirst(effect, closed)
    /**
     * The same where the attempt is over: in a fiber of its own, since an interruption that is pending must not cost the
     * breaker its verdict. The event is committed or not by now, so a defect is logged and changes nothing.
     */
    const noted = (call: () => Effect.Effect<void> | undefined): Effect.Effect<void> | undefined => {
      const effect = answerOf(call)
      if (effect === undefined) return undefined
      const run = Effect.forkDetach(untilClosed(effect), { startImmediately: true, uninterruptible: false })
      return Effect.uninterruptible(
        Effect.flatMap(Effect.flatMap(run, Fiber.await), (exit) =>
          Exit.isFailure(exit) && Cause.hasDies(exit.cause)
            ? logLine(node, "Error", "has a strategy that died after an attempt", {}, exit.cause)
            : Effect.void
        )
      )
    }

    /** Notes a success, and answers what is left to be run for it. */
    const succeeded = (attempts: Attempts | undefined, n: number) => {
      account.accepted += n
      account.delivered += n
      const run = isFailing ? log.recovered() : 0
      isFailing = false
      const success = attempts && noted(attempts.success)
      if (run === 0) return success
      const failed = numbered(run, "failed attempt")
      const line = logLine(node, "Info", `delivers again, after ${failed}`, { failures: run })
      return Effect.andThen(success ?? Effect.void, line)
    }
    const warn = (n: number) => {
      isFailing = true
      const run = log.failed()
      if (run === 0) return Effect.void
      const inARow = run === 1 ? "" : `, with ${run} failures in a row`
      return logLine(node, "Warn", `failed at attempt ${n} of a write to "${sink.node.name}"${inARow}`, {
        attempt: n,
        failures: run
      })
    }
    /** The strategy's judgement, and for how many milliseconds the receiver asked to be left alone. */
    const judged = (attempts: Attempts, error: E) =>
      Clock.clockWith((clock) => {
        const judgement = Effect.suspend(() => attempts.failure(error))
        if (!hasProperty(error, "retryAfter")) return Effect.as(judgement, 0)
        const asked = Duration.fromInput(error.retryAfter as Duration.Input)
        const millis = asked._tag === "Some" ? Duration.toMillis(Duration.min(asked.value, maxRetryAfter)) : 0
        const due = monotonicMillis(clock) + millis
        return Effect.map(judgement, () => due - monotonicMillis(clock))
      })
    /** What one write is: how it is tried, and until when. */
    interface Tried<B> {
      readonly write: Write<B>
      readonly until: number | undefined
    }
    const exceeded = (attempts: number, error: E | undefined) =>
      Effect.suspend(() => Effect.fail(new DeadlineExceeded<E>({ error, attempts, sink: node.name })))
    /** Waits as `wait` does, until the close and the deadline; not at all where it is known to end behind that. */
    const waited = (
      wait: Effect.Effect<void, P>,
      due: number | undefined,
      until: number | undefined,
      late: Effect.Effect<never, DeadlineExceeded<E>>
    ): Attempted<void> => {
      if (until === undefined || until === Number.POSITIVE_INFINITY) return untilClosed(wait)
      const left = until - monotonicMillis(clock)
      if (left <= 0 || (due !== undefined && due > until)) return late
      return untilClosed(Effect.timeoutOrElse(wait, { duration: left, orElse: () => late }))
    }
    const attempt = <B>(attempts: Attempts, tried: Tried<B>, n: number, error?: E): Attempted<B> => {
      const wait = attempts.proceed()
      const counted = Effect.catch(
        Effect.suspend(() => {
          attempted++
          return tried.write
        }),
        (error) => failed(attempts, tried, n, error)
      )
      if (wait === undefined) return counted
      const late = exceeded(n - 1, error)
      return Effect.andThen(waited(wait, attempts.due?.(), tried.until, late), counted)
    }
    const failed = <B>(attempts: Attempts, tried: Tried<B>, n: number, error: E | SinkClosed): Attempted<B> => {
      if (error instanceof SinkClosed) return Effect.fail(error)
      noteError(account, error, clock)
      if (!isTransient(error)) {
        return Effect.andThen(
          Effect.suspend(() => noted(attempts.success) ?? Effect.void),
          Effect.fail(error)
        )
      }
      const judgement = Effect.result(judged(attempts, error))
      return Effect.andThen(
        warn(n),
        Effect.flatMap(untilClosed(judgement), (verdict): Attempted<B> => {
          if (verdict._tag === "Failure") {
            return Effect.fail(new RetriesExhausted<E>({ error, attempts: n, sink: node.name }))
          }
          if (account.state !== "open") return closed
          const now = monotonicMillis(clock)
          if (tried.until !== undefined && now + Math.max(0, verdict.success) >= tried.until) return exceeded(n, error)
          const next = Effect.suspend(() => attempt(attempts, tried, n + 1, error))
          return verdict.success > 0 ? Effect.andThen(untilClosed(Effect.sleep(verdict.success)), next) : next
        })
      )
    }
    /**
     * Begins the attempts of a write. Where the strategy is idle the write has none until it fails; `half` begins the first,
     * if the sink has halves.
     */
    const begins =
      <I, B>(
        write: (input: I) => Write<B>,
        committed: (b: B) => number,
        half?: (input: I, fiber: Fiber.Fiber<unknown, unknown>) => Begun<E, B> | undefined
      ) =>
      (input: I, fiber: Fiber.Fiber<unknown, unknown>): Begun<Failure, B> | undefined => {
        if (account.state !== "open") return undefined
        const idle = strategy.idle?.()
        let attempts: Attempts | undefined
        let begun: Begun<E, B> | undefined
        const until = limit && deadlineIn(fiber, limit)
        const started = () => (attempts ??= strategy.start(input, idle))
        const endFirst = (exit: Exit.Exit<B, unknown>) => {
          const rest = begun?.end(exit)
          if (rest !== undefined) Effect.runForkWith(fiber.context)(rest)
          begun = undefined
        }
        // What the sink's function throws is a defect of the attempt, which the strategy hears of.
        const first = () => {
          attempted++
          try {
            begun = half?.(input, fiber)
            return begun?.effect ?? write(input)
          } catch (defect) {
            return Effect.die(defect)
          }
        }
        // What the strategy throws here is a defect of the write, which has not begun.
        const effect =
          idle === undefined
            ? attempt(started(), { write: write(input), until }, 1)
            : Effect.catch(first(), (error) => {
                endFirst(Exit.fail(error))
                return failed(started(), { write: write(input), until }, 1, error)
              })
        account.inFlight++
        return {
          effect,
          end: (exit) => {
            endFirst(exit)
            writes.end()
            return Exit.isSuccess(exit)
              ? succeeded(attempts, committed(exit.value))
              : noted(() => started().abandon(Cause.hasDies(exit.cause)))
          }
        }
      }
    const beginOne = begins<A, void>(sink.write, () => 1, half)
    const beginSome = writeSome && begins<Arr.NonEmptyReadonlyArray<A>, number>(writeSome, identity)
    const writeOne = (event: A) => runWrite(event, beginOne, closed)

    /** A plain function is over when it returns: no frame notices its end. A receipt is noted by the sink's `write`. */
    const writeOnce = (event: A, writeSync: (event: A) => boolean): Attempted<void> => {
      const idle = strategy.idle?.()
      if (idle === undefined || open.receipts > 0) return writeOne(event)
      attempted++
      try {
        if (!writeSync(event)) return sink.write(event)
      } catch (defect) {
        return Effect.andThen(noted(() => strategy.start(event, idle).abandon(true)) ?? Effect.void, Effect.die(defect))
      }
      return succeeded(undefined, 1) ?? Effect.void
    }
    const retrier = makeSink<A, Failure>({
      node,
      // A write of an idle strategy mostly succeeds, and leaves nothing to be run.
      begin:
        writeSync === undefined
          ? (event, fiber) => (strategy.idle?.() === undefined ? undefined : beginOne(event, fiber))
          : undefined,
      write:
        writeSync === undefined
          ? writeOne
          : (event) => Effect.suspend(() => (account.state === "open" ? writeOnce(event, writeSync) : closed)),
      writeSome: beginSome && ((events) => runWrite(events, beginSome, closed))
    })
    const close = Effect.suspend(() => {
      // First the state, then the waiters: waking one runs it at once, and it may write again.
      account.state = "closing"
      return Effect.andThen(Deferred.fail(closing, new SinkClosed({ sink: node.name })), writes.close(drainTimeout))
    })
    return Effect.as(
      Effect.addFinalizer(() => close),
      retrier
    )
  })
