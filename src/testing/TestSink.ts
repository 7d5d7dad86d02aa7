/**
 * Sinks for tests: each records what it committed and misbehaves in one way that real sinks do.
 *
 * A test on a `TestClock` that ends with an event pending would hang, since the close waits on a clock that stands still:
 * the close of a test sink notices that, and dies with a message that names the sink and counts the events.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { flow } from "effect/Function"
import * as Latch from "effect/Latch"
import type { Predicate } from "effect/Predicate"
import * as Random from "effect/Random"
import type * as Scope from "effect/Scope"
import * as EventSink from "../EventSink.ts"
import { type Watched, watchStandstill } from "./internal/standstill.ts"
import { TestError } from "./internal/testError.ts"

export { TestError } from "./internal/testError.ts"

/**
 * A sink that records what became of its writes.
 *
 * @category models
 * @since 0.1.0
 */
export interface TestSink<in out A, out E = never> extends EventSink.EventSink<A, E> {
  /** What it committed, in order: the live array. */
  readonly received: ReadonlyArray<A>
  /** The sizes of the batches it committed; a single write counts as a batch of one. */
  readonly batches: ReadonlyArray<number>
  /** How many writes began. */
  readonly attempts: number
  /** Ends all writes that hang, now and later: they commit. */
  readonly release: Effect.Effect<void>
}

/**
 * Options of a test's sink.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options extends EventSink.MakeOptions {
  /** Makes it a batch sink, which commits up to this many events at once. */
  readonly batchSize?: number | undefined
  /** Its writes refuse interruption. */
  readonly uninterruptible?: boolean | undefined
}

interface FailingOptions extends Options {
  readonly times?: number | undefined
}

/** A test sink, in its scope. */
type Making<A, E = never> = Effect.Effect<TestSink<A, E>, never, Scope.Scope>

/**
 * Makes a test sink of one's own: `act` runs before each write commits, with the attempt's number from 1.
 *
 * **Gotchas**
 *
 * On a `TestClock` its scope must not close while an event waits for the clock to move, such as one behind a slow sink or
 * between two retries: the close then dies, as it would hang. Move the clock with `TestClock.adjust` before the test ends.
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A, E = never>(
  act: (attempt: number, hold: Effect.Effect<void>, event: A) => Effect.Effect<unknown, E>,
  options: Options = {}
): Making<A, Exclude<E, EventSink.SinkClosed>> =>
  Effect.gen(function* () {
    const received: Array<A> = []
    const batches: Array<number> = []
    const held = Latch.makeUnsafe()
    const limit = options.batchSize ?? 1
    let attempts = 0
    const watched: Watched = yield* watchStandstill(options.name ?? "TestSink", () => attempts, held.open)
    const commit = (events: NonEmptyReadonlyArray<A>) => {
      const acting = Effect.suspend(() => act(++attempts, held.await, events[0]))
      const committing = Effect.map(acting, () => {
        const part = events.slice(0, limit)
        received.push(...part)
        batches.push(part.length)
        return part.length
      })
      return watched(events, committing)
    }
    // What is committed is noted inside the region: a pending interruption comes after it.
    const write = options.uninterruptible === true ? flow(commit, Effect.uninterruptible) : commit
    const self = yield* options.batchSize === undefined
      ? EventSink.make((event: A) => write([event]), options)
      : EventSink.makeBatch(write, options)
    const counted = { received, batches, release: Effect.asVoid(held.open), attempts: 0 }
    return Object.defineProperty(Object.assign(self, counted), "attempts", { get: () => attempts })
  })

/**
 * Commits everything.
 *
 * **Example** (What a pipeline delivers)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventFilter } from "effect-events"
 * import * as TestSink from "effect-events/testing/TestSink"
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* TestSink.recording<number>()
 *   const filter = yield* EventFilter.make(sink, (n) => n > 1)
 *   yield* filter.write(2)
 *   console.log(sink.received)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: [ 2 ]
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const recording = <A>(options?: Options): Making<A> => make<A>(() => Effect.void, options)

/**
 * Fails a share of its attempts, by a seed. The same seed fails the same attempts.
 *
 * @category constructors
 * @since 0.1.0
 */
export const flaky = <A>(
  options: Options & { readonly rate: number; readonly seed: string | number }
): Making<A, TestError> =>
  Effect.flatMap(Random.withSeed(Effect.service(Random.Random), options.seed), (random) => {
    const when = () => random.nextDoubleUnsafe() < options.rate
    return misbehaving<A, TestError>({ ...options, when }, (attempt) => Effect.fail(new TestError({ attempt })))
  })

/**
 * Fails the attempts from 1 to `times`, all of them by default: with a `TestError`, or with an error of the test's own.
 *
 * **Example** (A receiver that is busy at first)
 *
 * ```ts
 * import { Data, Effect, Schedule } from "effect"
 * import { RetryingSink, RetryStrategy } from "effect-events"
 * import * as TestSink from "effect-events/testing/TestSink"
 *
 * class Busy extends Data.TaggedError("Busy")<{ readonly attempt: number }> {}
 *
 * const program = Effect.gen(function* () {
 *   const sink = yield* TestSink.failing<string, Busy>({ times: 2, error: (attempt) => new Busy({ attempt }) })
 *   const strategy = RetryStrategy.forever(Schedule.spaced("1 millis"))
 *   const retrying = yield* RetryingSink.make(sink, strategy)
 *   yield* retrying.write("hello")
 *   console.log(sink.received, sink.attempts)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: [ 'hello' ] 3
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const failing: {
  <A>(options?: FailingOptions & { readonly error?: undefined }): Making<A, TestError>
  <A, E>(
    options: FailingOptions & { readonly error: (attempt: number) => E }
  ): Making<A, Exclude<E, EventSink.SinkClosed>>
} = <A, E>(options: FailingOptions & { readonly error?: ((attempt: number) => E) | undefined } = {}) =>
  misbehaving<A, E | TestError>(options, (attempt) =>
    Effect.fail(options.error === undefined ? new TestError({ attempt }) : options.error(attempt))
  )

/**
 * Takes its time over each write.
 *
 * @category constructors
 * @since 0.1.0
 */
export const slow = <A>(duration: Duration.Input, options?: Options): Making<A> =>
  make<A>(() => Effect.sleep(duration), options)

/**
 * Hangs in every write from attempt `from` on, 1 by default, until it is interrupted or released.
 *
 * @category constructors
 * @since 0.1.0
 */
export const hanging = <A>(options: Options & { readonly from?: number | undefined } = {}): Making<A> =>
  misbehaving<A>(options, (_, hold) => hold)

/**
 * Hangs as `hanging` does, and refuses interruption: only `release` ends its writes.
 *
 * @category constructors
 * @since 0.1.0
 */
export const uninterruptible = <A>(options: Options & { readonly from?: number | undefined } = {}): Making<A> =>
  hanging<A>({ ...options, uninterruptible: true })

/**
 * Dies of a defect in the attempts that `when` holds for, in all by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const dying = <A>(options: Options & { readonly when?: Predicate<number> | undefined } = {}): Making<A> =>
  misbehaving<A>(options, (attempt) => Effect.die(new Error(`attempt ${attempt} died`)))

/**
 * Ends in an interruption of its own making in the attempts that `when` holds for, in all by default.
 *
 * @category constructors
 * @since 0.1.0
 */
export const selfInterrupting = <A>(
  options: Options & { readonly when?: Predicate<number> | undefined } = {}
): Making<A> => misbehaving<A>(options, () => Effect.interrupt)

/**
 * Is closed from attempt `from` on, 1 by default: it answers `SinkClosed`.
 *
 * @category constructors
 * @since 0.1.0
 */
export const closing = <A>(options: Options & { readonly from?: number | undefined } = {}): Making<A> => {
  const sink = options.name ?? "TestSink.closing"
  return misbehaving<A, EventSink.SinkClosed>(options, () => Effect.fail(new EventSink.SinkClosed({ sink })))
}

// internals

/** In which attempts a sink misbehaves: in all by default. */
interface Misbehaving extends Options {
  readonly from?: number | undefined
  readonly times?: number | undefined
  readonly when?: Predicate<number> | undefined
}

const misbehaving = <A, E = never>(
  { from = 1, times = Number.POSITIVE_INFINITY, when = () => true, ...options }: Misbehaving,
  act: (attempt: number, hold: Effect.Effect<void>) => Effect.Effect<unknown, E>
) => {
  const isBad = (attempt: number) => attempt >= from && attempt <= times && when(attempt)
  return make<A, E>((attempt, hold) => (isBad(attempt) ? act(attempt, hold) : Effect.void), options)
}
