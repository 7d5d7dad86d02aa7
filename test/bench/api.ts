/**
 * The calls of this library that the rows make, in the one form that every checkout understands: options first, then the
 * sink itself. A checkout given with `--against` may have other overloads and other names, which the compiler cannot
 * see: it knows the types of this one only. Hence the casts: each states the call that all of them have.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Library from "effect-events"
import * as EventFilter from "effect-events/EventFilter"
import * as EventQueue from "effect-events/EventQueue"
import * as EventSink from "effect-events/EventSink"
import * as RetryingSink from "effect-events/RetryingSink"
import type { RetryStrategy } from "effect-events/RetryStrategy"
import type * as SinkMetrics from "effect-events/SinkMetrics"

type Sink<A, E = never> = EventSink.EventSink<A, E>
type Scoped<S> = Effect.Effect<S, never, Scope.Scope>

/** A sink that is a plain function. */
export const sync = <A>(f: (event: A) => void): Scoped<Sink<A>> => EventSink.sync(f)

/** A sink that runs an effect for each event. */
export const effectful = <A>(f: (event: A) => Effect.Effect<void>): Scoped<Sink<A>> => EventSink.make(f)

/** A sink that takes whole batches and answers how many events of one are committed. */
export const makeBatch = named(EventSink, "makeBatch", "makeGroup") as <A>(
  write: (events: ReadonlyArray<A>) => Effect.Effect<number>
) => Scoped<Sink<A>>

export interface QueueOptions<A> {
  readonly capacity?: number
  readonly concurrency?: number
  readonly partitionBy?: (event: A) => unknown
}

const makeQueue = named(EventQueue, "make") as (
  options?: unknown
) => <A>(sink: Sink<A>) => Scoped<EventQueue.EventQueue<A>>

/** A queue in front of a sink. */
export const queue = <A>(sink: Sink<A>, options?: QueueOptions<A>): Scoped<EventQueue.EventQueue<A>> =>
  makeQueue(options)(sink)

const makeRetrier = named(RetryingSink, "make") as (
  strategy: RetryStrategy<unknown>
) => <A>(sink: Sink<A>) => Scoped<Sink<A>>

/** A retrier in front of a sink that succeeds: to the compiler there is nothing to retry. */
export const retrier = <A>(sink: Sink<A>, strategy: RetryStrategy<unknown>): Scoped<Sink<A>> =>
  makeRetrier(strategy)(sink)

const makeFilter = named(EventFilter, "make") as <A>(
  predicate: (event: A) => boolean
) => (sink: Sink<A>) => Sink<A> | Scoped<Sink<A>>

/** A filter in front of a sink: a sink at once in some checkouts, an effect of one in others. */
export const filter = <A>(sink: Sink<A>, predicate: (event: A) => boolean): Scoped<Sink<A>> => {
  const filtered = makeFilter(predicate)(sink)
  return EventSink.isEventSink(filtered) ? Effect.succeed(filtered) : filtered
}

/** Writes to a queue from outside of Effect, in checkouts that can. */
export const offerUnsafe = named(EventQueue, "offerUnsafe") as
  (<A>(queue: EventQueue.EventQueue<A>, event: A) => "accepted" | "full" | "closed") | undefined

/** Receipts, in checkouts that have them. */
export const writeWithReceipt = named(EventSink, "writeWithReceipt") as typeof EventSink.writeWithReceipt | undefined

/** The metrics of a graph, in checkouts that have them. */
export const metrics = named(Library, "SinkMetrics") as typeof SinkMetrics | undefined

/** The first of the names that the module has. */
function named(module: Readonly<Record<string, unknown>>, ...names: ReadonlyArray<string>): unknown {
  return names.map((name) => module[name]).find((found) => found !== undefined)
}
