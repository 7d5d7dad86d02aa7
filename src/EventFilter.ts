/**
 * Passes on a part of the events: go-events' `Filter` and `Matcher`. A write of an event that does not match succeeds
 * and goes nowhere, as long as the sink behind the filter is open. It never holds an event and never changes one.
 *
 * The matcher algebra is `effect/Predicate`: `and`, `or`, `not`, `compose`.
 *
 * @since 0.1.0
 */
import { isReadonlyArrayNonEmpty } from "effect/Array"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type * as Layer from "effect/Layer"
import type * as Context from "effect/Context"
import type { Predicate, Refinement } from "effect/Predicate"
import type * as Scope from "effect/Scope"
import * as EventSink from "./EventSink.ts"
import { edgeTo } from "./internal/node.ts"
import { filtered, noteOutcome, open } from "./internal/receipt.ts"
import { isSource, makePart, SinkClosed, type Source, wrap, type Wrapped, type Wrapping } from "./internal/sink.ts"
import { leading } from "./internal/turns.ts"

/**
 * Options of a filter.
 *
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
 * Of a batch the matching events are written as a batch, and the answer counts the events up to the first match that was
 * not committed.
 *
 * **Example** (Only even numbers)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventFilter, EventSink } from "effect-events"
 *
 * const even = EventSink.make((n: number) => Console.log(n)).pipe(EventFilter.make((n) => n % 2 === 0))
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
  // Inside a pipe the predicate's argument is inferred from the sink; outside of one, the sink from an annotated predicate.
  // Where a function is no refinement, its argument is that of the sink by `A = B`.
  <E, W, B extends A, A = B>(
    matches: Refinement<A, B>,
    options?: Options
  ): <X = never, R = never>(sink: Source<Wrapping<B, E, W>, X, R>) => Effect.Effect<Wrapped<A, E, W>, X, R>
  <A, E, W>(
    matches: Predicate<NoInfer<A>>,
    options?: Options
  ): <X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Effect.Effect<Wrapped<A, E, W>, X, R>
  <A>(
    matches: Predicate<A>,
    options?: Options
  ): <E, W, X = never, R = never>(sink: Source<Wrapping<A, E, W>, X, R>) => Effect.Effect<Wrapped<A, E, W>, X, R>
  <E, W, B extends A, A = B, X = never, R = never>(
    sink: Source<Wrapping<B, E, W>, X, R>,
    matches: Refinement<A, B>,
    options?: Options
  ): Effect.Effect<Wrapped<A, E, W>, X, R>
  <A, E, W, X = never, R = never>(
    sink: Source<Wrapping<A, E, W>, X, R>,
    matches: Predicate<NoInfer<A>>,
    options?: Options
  ): Effect.Effect<Wrapped<A, E, W>, X, R>
} = dual(
  (args) => isSource(args[0]),
  <A, E, W, X, R>(source: Source<Wrapping<A, E, W>, X, R>, matches: Predicate<A>, options?: Options) =>
    wrap<A, E, W, A, E, X, R>(source, (sink) => filtering(sink, matches, options))
)

/**
 * The layer of a filter: a place in the graph, see `EventSink.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A, E, X, R>(
  tag: Context.Key<I, EventSink.EventSink<A, E>>,
  sink: Source<EventSink.EventSink<A, E>, X, R>,
  matches: Predicate<NoInfer<A>>,
  options?: Options
): Layer.Layer<I, X, Exclude<R, Scope.Scope>> => EventSink.layer(tag, make(sink, matches, options))

// internals

const filtering = <A, E>(sink: EventSink.EventSink<A, E>, matches: Predicate<A>, options: Options | undefined) => {
  const { account, node } = makePart({
    kind: "EventFilter",
    name: options?.name,
    downstream: () => [edgeTo(sink, true)],
    filters: true,
    state: () => sink.node.state,
    update: () => void (account.accepted = account.delivered + account.filtered)
  })
  const { writeSome, [EventSink.WriteSync]: writeSync } = sink
  const { isOpen } = sink.node
  const closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: sink.node.name })))
  const deliveredOne = () => void account.delivered++
  /** Whether the sink behind is open, and the events count as filtered. */
  const refused = (n: number) => {
    if (!isOpen()) return false
    account.filtered += n
    return true
  }
  const filterSync =
    writeSync &&
    ((event: A): boolean => {
      if (!matches(event)) return refused(1)
      if (!writeSync(event)) return false
      account.delivered++
      return true
    })
  return {
    node,
    writeSync: filterSync,
    write: (event: A) =>
      Effect.suspend(() => {
        // Half of the time of a write whose effect is mapped.
        if (filterSync !== undefined && open.receipts === 0) return filterSync(event) ? Effect.void : closed
        if (matches(event)) return Effect.map(sink.write(event), deliveredOne)
        return refused(1) ? noteOutcome(node, filtered) : closed
      }),
    writeSome:
      writeSome &&
      ((events: readonly [A, ...Array<A>]) =>
        Effect.suspend(() => {
          const matching: Array<A> = []
          const places: Array<number> = []
          const some = leading(events)
          some.forEach((event, i) => {
            if (!matches(event)) return
            matching.push(event)
            places.push(i)
          })
          if (!isReadonlyArrayNonEmpty(matching)) {
            if (!refused(some.length)) return closed
            return Effect.as(noteOutcome(node, filtered, some.length), some.length)
          }
          let refusals = 0
          const written = Effect.map(writeSome(matching), (n) => {
            const committed = places[n] ?? some.length
            refusals = committed - n
            account.delivered += n
            account.filtered += refusals
            return committed
          })
          return open.receipts === 0 ? written : Effect.tap(written, () => noteOutcome(node, filtered, refusals))
        }))
  }
}
