/** What the law suite must know of a part to judge it. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OnDropped, Undelivered } from "../../Dropped.ts"
import type { EventSink } from "../../EventSink.ts"
import { defaultDrainTimeout } from "../../internal/deadline.ts"
import type { Receiver } from "./receiver.ts"

/**
 * What a durable part keeps where the next process finds it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Remaining<out A> {
  /** What is still to be delivered, in that order. */
  readonly waiting: ReadonlyArray<A>
  /** What could not be delivered and was put aside. */
  readonly deadLetters: ReadonlyArray<A>
}

/**
 * How to make a part, and what it can do. Only `name` and `make` are needed; each of the others lets more laws concern
 * it.
 *
 * @category options
 * @since 0.1.0
 */
export interface SubjectOptions<A, S extends EventSink<A, unknown>, B> {
  readonly name: string
  /**
   * Makes the part over a receiver, in a scope of its own, as often as the suite wants. A part that gives up accepted
   * events passes `onDropped` on, or logs them.
   */
  readonly make: (receiver: Receiver<B>, onDropped: OnDropped<A | B, unknown>) => Effect.Effect<S, unknown, Scope.Scope>
  /** A write may succeed before its event is delivered. */
  readonly queued?: boolean | undefined
  /** How many events it holds before writes wait, fail or drop. */
  readonly capacity?: number | undefined
  /** It calls the receiver's `record`, which can neither hang nor take its time. */
  readonly synchronous?: boolean | undefined
  /**
   * Which events it delivers in the order in which they were written: `"all"` by default; those with the same key, which
   * is compared by `Equal`; or `"none"`. It may have several writes under way unless it is `"all"`.
   */
  readonly order?: "all" | "none" | ((event: A) => unknown) | undefined
  /** How long its close may take: its drain timeouts added up; 20 seconds by default. */
  readonly deadline?: Duration.Input | undefined
  /**
   * The explicit close, with what it leaves. Of a part with `kept` only what is in flight is asked for: it must be kept too.
   */
  readonly shutdown?: ((sink: S) => Effect.Effect<ReadonlyArray<Undelivered<A | B>>>) | undefined
  /** Reads what a durable part keeps, by another way than the part: also after its close. */
  readonly kept?: ((sink: S) => Effect.Effect<Remaining<A | B>>) | undefined
  /** The reading end of a part that has no receiver: the suite reads it into the receiver. */
  readonly stream?: ((sink: S) => Stream.Stream<B>) | undefined
  /** A part that hands each event to many sinks. The receiver is one of them already. */
  readonly sinks?:
    | {
        readonly add: (self: S, sink: EventSink<B>) => Effect.Effect<unknown, unknown>
        readonly remove: (self: S, sink: EventSink<B>) => Effect.Effect<unknown>
      }
    | undefined
  /** An event that it keeps back. */
  readonly filtered?: (() => A) | undefined
  /** It retries a failed write for ever, after delays with these bounds. */
  readonly delays?:
    | {
        readonly max: Duration.Input
        /** The longest delay after so many failures in a row. */
        readonly bound?: ((failures: number) => Duration.Input) | undefined
      }
    | undefined
  /** Makes the n-th event. Without it the part must take any value. */
  readonly event?: ((n: number) => A) | undefined
  /** Turns what the receiver got back into the event that was written, or its number if there is `event`. */
  readonly read?: ((received: A | B) => unknown) | undefined
}

/** A part as the scenarios use it: with events of any type, known by their labels. */
export interface Part {
  readonly sink: EventSink<unknown, unknown>
  readonly shutdown: Effect.Effect<ReadonlyArray<{ readonly label: unknown; readonly inFlight: boolean }>>
  /** What it keeps now, by labels; nothing for one that is not durable. */
  readonly kept: Effect.Effect<Remaining<unknown>>
  readonly stream: Stream.Stream<unknown>
  readonly add: (sink: EventSink<unknown>) => Effect.Effect<unknown, unknown>
  readonly remove: (sink: EventSink<unknown>) => Effect.Effect<unknown>
}

/**
 * A part whose laws can be checked.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subject {
  readonly name: string
  readonly queued: boolean
  readonly synchronous: boolean
  readonly capacity: number | undefined
  readonly deadline: Duration.Duration
  /** It keeps some events in order. */
  readonly ordered: boolean
  /** Any value is an event for it. */
  readonly takesAnything: boolean
  readonly hasShutdown: boolean
  readonly hasStream: boolean
  readonly hasSinks: boolean
  /** It is durable: what it does not deliver is kept. */
  readonly keeps: boolean
  readonly filtered: (() => unknown) | undefined
  readonly delays: SubjectOptions<unknown, EventSink<unknown, unknown>, unknown>["delays"]
  /** @internal */
  readonly event: (label: unknown) => unknown
  /** @internal */
  readonly label: (event: unknown) => unknown
  /**
   * Whether two events stay in order.
   *
   * @internal
   */
  readonly together: (one: unknown, other: unknown) => boolean
  /** @internal */
  readonly make: (
    receiver: Receiver<unknown>,
    onDropped: OnDropped<unknown, unknown>
  ) => Effect.Effect<Part, unknown, Scope.Scope>
}

/**
 * Describes a part to the suite.
 *
 * @category constructors
 * @since 0.1.0
 */
export const subject: {
  <S extends EventSink<unknown, unknown>, B = unknown>(
    options: SubjectOptions<unknown, S, B> & { readonly event?: never }
  ): Subject
  <A, S extends EventSink<A, unknown>, B = A>(
    options: SubjectOptions<A, S, B> & { readonly event: (n: number) => A; readonly read: (event: A | B) => number }
  ): Subject
} = (typed: unknown): Subject => {
  // The overloads say that `event`, `read` and the part fit each other; the suite has labels only.
  const options = typed as SubjectOptions<unknown, EventSink<unknown, unknown>, unknown>
  const { event, kept, make, order = "all", read = (received) => received, shutdown, sinks, stream } = options
  const none = Effect.succeed([])
  const nothing = Effect.succeed({ waiting: [], deadLetters: [] })
  // With `event` the labels are numbers.
  const eventOf = event === undefined ? (label: unknown) => label : (label: unknown) => event(label as number)
  return {
    name: options.name,
    queued: options.queued === true,
    synchronous: options.synchronous === true,
    capacity: options.capacity,
    deadline: Duration.fromInputUnsafe(options.deadline ?? defaultDrainTimeout),
    takesAnything: event === undefined,
    hasShutdown: shutdown !== undefined,
    hasStream: stream !== undefined,
    hasSinks: sinks !== undefined,
    keeps: kept !== undefined,
    filtered: options.filtered,
    delays: options.delays,
    ordered: order !== "none",
    event: eventOf,
    together: (one, other) =>
      order === "all" ||
      (order === "none" ? Object.is(one, other) : Equal.equals(order(eventOf(one)), order(eventOf(other)))),
    label: read,
    make: (receiver, onDropped) =>
      Effect.map(make(receiver, onDropped), (sink) => ({
        sink,
        shutdown:
          shutdown === undefined
            ? none
            : Effect.map(shutdown(sink), (left) =>
                left.map(({ event, inFlight }) => ({ label: read(event), inFlight }))
              ),
        kept:
          kept === undefined
            ? nothing
            : Effect.map(kept(sink), ({ deadLetters, waiting }) => ({
                waiting: waiting.map((event) => read(event)),
                deadLetters: deadLetters.map((event) => read(event))
              })),
        stream: stream === undefined ? Stream.empty : stream(sink),
        add: (to) => (sinks === undefined ? Effect.void : sinks.add(sink, to)),
        remove: (from) => (sinks === undefined ? Effect.void : sinks.remove(sink, from))
      }))
  }
}
