/** Between sinks and Effect's own `Queue`, `PubSub` and `Stream`. */
import * as Data from "effect/Data"
import * as Deferred from "effect/Deferred"
import * as Effect from "effect/Effect"
import * as PubSub from "effect/PubSub"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as EffectSink from "effect/Sink"
import { writeAll } from "./combinators.ts"
import { make } from "./leaf.ts"
import { type EventSink, SinkClosed } from "./sink.ts"

/**
 * A bounded Effect `Queue` or `PubSub` of the dropping kind was full and did not take the event.
 *
 * @category errors
 * @since 0.1.0
 */
export class NotTaken extends Data.TaggedError("NotTaken")<{
  /** Which of them it was. */
  readonly by: "Queue" | "PubSub"
}> {
  override get message(): string {
    return `a dropping ${this.by} was full`
  }
}

/**
 * A sliding `Queue` or `PubSub` answers `true` for what it throws away, so it cannot be a sink that loses nothing.
 *
 * @category errors
 * @since 0.1.0
 */
export class SlidingRefused extends Data.TaggedError("SlidingRefused")<{
  /** Which of them it was. */
  readonly what: "Queue" | "PubSub"
}> {
  override get message(): string {
    return `a sliding ${this.what} hides what it drops: use one that suspends or drops, or an EventQueue with "drop-oldest"`
  }
}

/**
 * A sink over one of them. `atOnce` tries without waiting; `wait` is for one that suspends, and is interrupted at the close,
 * since it may never have room again.
 */
const over = <A>(
  by: "Queue" | "PubSub",
  target: {
    readonly atOnce: (event: A) => boolean
    readonly wait: ((event: A) => Effect.Effect<boolean>) | undefined
    readonly isClosed: () => boolean
  }
): Effect.Effect<EventSink<A, NotTaken>, never, Scope.Scope> =>
  Effect.suspend(() => {
    const closed = Deferred.makeUnsafe<never, SinkClosed>()
    const close = Deferred.fail(closed, new SinkClosed({ sink: by }))
    const { atOnce, isClosed, wait } = target
    const refused = Effect.suspend(() => Effect.fail(isClosed() ? new SinkClosed({ sink: by }) : new NotTaken({ by })))
    const write = (event: A) => {
      if (atOnce(event)) return Effect.void
      if (wait === undefined || isClosed()) return refused
      const offered = Effect.flatMap(wait(event), (taken) => (taken ? Effect.void : refused))
      return Effect.raceFirst(offered, Deferred.await(closed))
    }
    const sink = make(write, { name: by, acknowledges: "memory" })
    // After the sink is made, so that writers that wait are woken before the close waits for writes under way.
    return Effect.tap(sink, () => Effect.addFinalizer(() => close))
  })

/**
 * Lets an Effect `Queue` be a sink. A full suspending queue holds the write up, a full dropping one fails it with
 * `NotTaken`, and a sliding one is refused. Once the queue has ended, writes fail with `SinkClosed`.
 *
 * **Details**
 *
 * The sink does not own the queue: closing the scope closes the sink and leaves the queue as it is.
 *
 * @category interop
 * @since 0.1.0
 */
export const fromQueue = <A>(
  queue: Queue.Enqueue<A>
): Effect.Effect<EventSink<A, NotTaken>, SlidingRefused, Scope.Scope> =>
  queue.strategy === "sliding"
    ? Effect.fail(new SlidingRefused({ what: "Queue" }))
    : over("Queue", {
        atOnce: (event) => Queue.offerUnsafe(queue, event),
        wait: queue.strategy === "suspend" ? (event) => Queue.offer(queue, event) : undefined,
        isClosed: () => queue.state._tag !== "Open"
      })

/**
 * Lets an Effect `PubSub` be a sink, on the same terms as `fromQueue`.
 *
 * **Gotchas**
 *
 * A `PubSub` without subscribers takes every event and keeps none.
 *
 * @category interop
 * @since 0.1.0
 */
export const fromPubSub = <A>(
  pubsub: PubSub.PubSub<A>
): Effect.Effect<EventSink<A, NotTaken>, SlidingRefused, Scope.Scope> =>
  pubsub.strategy instanceof PubSub.SlidingStrategy
    ? Effect.fail(new SlidingRefused({ what: "PubSub" }))
    : over("PubSub", {
        atOnce: (event) => PubSub.publishUnsafe(pubsub, event),
        wait:
          pubsub.strategy instanceof PubSub.BackPressureStrategy ? (event) => PubSub.publish(pubsub, event) : undefined,
        isClosed: () => pubsub.shutdownFlag.current || pubsub.ended.current._tag === "Some"
      })

/**
 * Lets a `Stream` be run into a sink, chunk by chunk. The stream fails with what a write fails with.
 *
 * **Example** (Running a stream into a sink)
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const printer = yield* EventSink.make((n: number) => Console.log(n))
 *   yield* Stream.run(Stream.range(1, 3), EventSink.toSink(printer))
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: 1
 * // prints: 3
 * ```
 *
 * @category interop
 * @since 0.1.0
 */
export const toSink = <A, E>(self: EventSink<A, E>): EffectSink.Sink<void, A, never, E | SinkClosed> =>
  EffectSink.forEachArray((events: ReadonlyArray<A>) => writeAll(self, events))
