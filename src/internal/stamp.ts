import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import { dual } from "effect/Function"
import { commitAll, isSource, type Source, wrap, type Wrapped, type Wrapping } from "./sink.ts"
import { leading } from "./turns.ts"
import { randomUuid } from "./uuid.ts"

/**
 * An event with what must stay the same on every attempt, in every copy and after every restart.
 *
 * @category models
 * @since 0.1.0
 */
export interface Stamped<out A> {
  /** Unique among the events of this application; a function of the event, or a random UUID. */
  readonly id: string
  /** When it was written, in milliseconds since the Unix epoch. */
  readonly time: number
  /** The span that wrote it, if there was one. */
  readonly trace: { readonly traceId: string; readonly spanId: string; readonly sampled: boolean } | undefined
  readonly event: A
}

/**
 * Turns a sink of stamped events into a sink of events: the id, time and trace are assigned once, here, above every
 * queue and retrier. No other sink invents an id.
 *
 * **Gotchas**
 *
 * An event that is written again through this sink is a new event. Retry below it, or give `id` as a function of the
 * event.
 *
 * **Example** (Ids from the event)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const stamped = yield* EventSink.make((event: EventSink.Stamped<{ readonly order: number }>) =>
 *     Console.log(event.id, event.event.order)
 *   )
 *   const orders = yield* EventSink.stamp(stamped, { id: ({ order }) => `order-${order}` })
 *   yield* orders.write({ order: 7 })
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: order-7 7
 * ```
 *
 * @category combinators
 * @since 0.1.0
 */
export const stamp: {
  <A>(
    options?: StampOptions<A>
  ): <E, W, X = never, R = never>(
    self: Source<Wrapping<Stamped<A>, E, W>, X, R>
  ) => Effect.Effect<Wrapped<A, E, W>, X, R>
  <A, E, W, X = never, R = never>(
    self: Source<Wrapping<Stamped<A>, E, W>, X, R>,
    options?: StampOptions<NoInfer<A>>
  ): Effect.Effect<Wrapped<A, E, W>, X, R>
} = dual(
  (args) => isSource(args[0]),
  <A, E, W, X, R>(source: Source<Wrapping<Stamped<A>, E, W>, X, R>, options?: StampOptions<A>) => {
    const id = options?.id ?? randomUuid
    const stamped = (event: A, fiber: Fiber.Fiber<unknown, unknown>): Stamped<A> => {
      const { span } = fiber.cache
      return {
        id: id(event),
        time: fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(),
        trace: span && { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled },
        event
      }
    }
    return wrap<Stamped<A>, E, W, A, E, X, R>(source, (self) => {
      const { writeSome } = self
      return {
        node: self.node,
        write: (event) => Effect.withFiber((fiber) => self.write(stamped(event, fiber))),
        writeSome:
          writeSome &&
          ((events) =>
            Effect.withFiber((fiber) => {
              // All of the batch is committed here, so that none of it comes back to be stamped again.
              let done = 0
              const all = leading(events).map((event) => stamped(event, fiber))
              return Effect.matchCauseEffect(
                commitAll(writeSome, all, (n) => void (done += n)),
                {
                  onSuccess: () => Effect.succeed(done),
                  // Also after a defect: the rest fails again, alone.
                  onFailure: (cause) => (done === 0 ? Effect.failCause(cause) : Effect.succeed(done))
                }
              )
            }))
      }
    })
  }
)

/**
 * Options of a stamp.
 *
 * @category options
 * @since 0.1.0
 */
export interface StampOptions<in A> {
  /** The id of an event: a random UUID by default. */
  readonly id?: ((event: A) => string) | undefined
}
