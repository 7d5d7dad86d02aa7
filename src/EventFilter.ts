/**
 * Lets a part of the events through: go-events' `Filter` and `Matcher`. A write of an event that does not match succeeds
 * and goes nowhere, as long as the sink behind the filter is open. It never holds an event and never changes one.
 *
 * The matcher algebra is `effect/Predicate`: `and`, `or`, `not`, `compose`.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Effect from "effect/Effect"
import type { Predicate, Refinement } from "effect/Predicate"
import type { EventSink } from "./EventSink.ts"
import { PassingNode } from "./internal/node.ts"
import { operation, Sink, SinkClosed } from "./internal/sink.ts"

/**
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in pictures and health. */
  readonly name?: string | undefined
}

/**
 * Puts a filter in front of a sink. With a refinement the sink may take the refined type only. A predicate that throws
 * is a defect of the write.
 *
 * **Details**
 *
 * Of a group the matching events are written as a group, and the answer counts the events up to the first match that was
 * not committed.
 *
 * **Example** (Only even numbers)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventFilter, EventSink } from "effect-events"
 *
 * const even = EventSink.make((n: number) => Console.log(n)).pipe(Effect.map(EventFilter.make((n: number) => n % 2 === 0)))
 *
 * Effect.runPromise(Effect.scoped(Effect.flatMap(even, EventSink.writeAll([1, 2, 3, 4]))))
 * // prints: 2
 * // prints: 4
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make: {
  <A, B extends A>(matches: Refinement<A, B>, options?: Options): <E>(dst: EventSink<B, E>) => EventSink<A, E>
  <A>(matches: Predicate<A>, options?: Options): <E>(dst: EventSink<A, E>) => EventSink<A, E>
} =
  <A>(matches: Predicate<A>, options?: Options) =>
  <E>(dst: EventSink<A, E>): EventSink<A, E> => {
    const node = new PassingNode("EventFilter", options?.name, dst.node)
    const { writeSome, writeUnsafe } = dst
    const closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: dst.node.name })))
    const filtered = (n: number) => {
      node.accepted += n
      node.filtered += n
    }
    const delivered = (n: number) => {
      node.accepted += n
      node.delivered += n
    }
    const deliveredOne = () => delivered(1)
    const filterUnsafe =
      writeUnsafe &&
      ((event: A): boolean => {
        if (!matches(event)) {
          if (dst.node.state !== "open") return false
          filtered(1)
          return true
        }
        const open = writeUnsafe(event)
        if (open) delivered(1)
        return open
      })
    return new Sink<A, E>({
      node,
      write: operation("EventFilter.write", (event: A) => {
        // Half of the time of a write whose effect is mapped.
        if (filterUnsafe !== undefined) return filterUnsafe(event) ? Effect.void : closed
        if (matches(event)) return Effect.map(dst.write(event), deliveredOne)
        if (dst.node.state !== "open") return closed
        filtered(1)
        return Effect.void
      }),
      writeSome:
        writeSome &&
        operation("EventFilter.writeSome", (events: NonEmptyReadonlyArray<A>) => {
          const matching: Array<A> = []
          const places: Array<number> = []
          events.forEach((event, i) => {
            if (!matches(event)) return
            matching.push(event)
            places.push(i)
          })
          if (matching.length === 0) {
            if (dst.node.state !== "open") return closed
            filtered(events.length)
            return Effect.succeed(events.length)
          }
          // Not empty, by the line above.
          return Effect.map(writeSome(matching as [A, ...Array<A>]), (n) => {
            const leading = places[n] ?? events.length
            delivered(n)
            filtered(leading - n)
            return leading
          })
        }),
      writeUnsafe: filterUnsafe
    })
  }
