import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Fiber from "effect/Fiber"
import type { Node } from "./node.ts"
import { commitAll, type EventSink, operation, Sink } from "./sink.ts"

// Every runtime that Effect runs on has it; the types of the language alone do not know.
const { crypto: webCrypto } = globalThis as unknown as { readonly crypto: { readonly randomUUID: () => string } }

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
 * Who writes an event again through this sink writes a new event. Retry below it, or give `id` as a function of the
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
 *   const orders = EventSink.stamp(stamped, { id: ({ order }) => `order-${order}` })
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
export const stamp = <A, E>(
  self: EventSink<Stamped<A>, E>,
  options?: { readonly id?: ((event: A) => string) | undefined }
): EventSink<A, E> => {
  const id = options?.id ?? (() => webCrypto.randomUUID())
  const stamped = (event: A, fiber: Fiber.Fiber<unknown, unknown>): Stamped<A> => {
    const { span } = fiber.cache
    return {
      id: id(event),
      time: fiber.getRef(Clock.Clock).currentTimeMillisUnsafe(),
      trace: span && { traceId: span.traceId, spanId: span.spanId, sampled: span.sampled },
      event
    }
  }
  const { writeSome } = self
  return new Sink<A, E>({
    // Every sink's node is of this class: the interface is what users may see of it.
    node: self.node as Node,
    write: operation("EventSink.stamp", (event: A, fiber) => self.write(stamped(event, fiber))),
    writeSome:
      writeSome &&
      operation("EventSink.stamp", ([head, ...tail]: NonEmptyReadonlyArray<A>, fiber) =>
        Effect.suspend(() => {
          // All of the group is committed here, so that none of it comes back to be stamped again.
          let done = 0
          const all = [stamped(head, fiber), ...tail.map((event) => stamped(event, fiber))]
          return Effect.matchEffect(
            commitAll(writeSome, all, (n) => void (done += n)),
            {
              onSuccess: () => Effect.succeed(done),
              onFailure: (error) => (done === 0 ? Effect.fail(error) : Effect.succeed(done))
            }
          )
        })
      )
  })
}
