/** Sinks from sinks: nothing here has a lifetime of its own, and each stands for the sink it wraps in pictures and health. */
import * as Arr from "effect/Array"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import { logLine } from "./failureLog.ts"
import { apart, open } from "./receipt.ts"
import {
  commitAll,
  type EventSink,
  SinkClosed,
  type Source,
  wrap,
  type Wrapped,
  type Wrapping,
  WriteSync
} from "./sink.ts"
import { leading, maxTurn } from "./turns.ts"

/**
 * Takes other events by turning each into one that the sink takes: `contramap`. What `f` throws is a defect.
 *
 * **Example** (A sink of orders over a sink of strings)
 *
 * ```ts
 * import { Console, Effect } from "effect"
 * import { EventSink } from "effect-events"
 *
 * const orders = EventSink.make((line: string) => Console.log(line)).pipe(
 *   EventSink.mapInput((order: { readonly id: number }) => `order ${order.id}`)
 * )
 *
 * Effect.runPromise(Effect.scoped(Effect.flatMap(orders, (sink) => sink.write({ id: 7 }))))
 * // prints: order 7
 * ```
 *
 * @category mapping
 * @since 0.1.0
 */
export const mapInput: {
  <B, A>(
    f: (event: B) => A
  ): <E, W, X = never, R = never>(self: Source<Wrapping<A, E, W>, X, R>) => Effect.Effect<Wrapped<B, E, W>, X, R>
  <A, E, W, B, X = never, R = never>(
    self: Source<Wrapping<A, E, W>, X, R>,
    f: (event: B) => A
  ): Effect.Effect<Wrapped<B, E, W>, X, R>
} = dual(2, <A, E, W, B, X, R>(source: Source<Wrapping<A, E, W>, X, R>, f: (event: B) => A) =>
  wrap<A, E, W, B, E, X, R>(source, (self) => {
    const { writeSome, [WriteSync]: writeSync } = self
    return {
      node: self.node,
      write: (event) => Effect.suspend(() => self.write(f(event))),
      writeSome:
        writeSome && ((events) => Effect.suspend(() => writeSome(Arr.map(leading(events), (event) => f(event))))),
      writeSync: writeSync && ((event) => writeSync(f(event)))
    }
  })
)

/**
 * Turns the sink's delivery errors into others. `SinkClosed` stays what it is.
 *
 * @category mapping
 * @since 0.1.0
 */
export const mapError: {
  <E, E2>(
    f: (error: E) => E2
  ): <A, W, X = never, R = never>(
    self: Source<Wrapping<A, E, W>, X, R>
  ) => Effect.Effect<Wrapped<A, Exclude<E2, SinkClosed>, W>, X, R>
  <A, E, W, E2, X = never, R = never>(
    self: Source<Wrapping<A, E, W>, X, R>,
    f: (error: E) => E2
  ): Effect.Effect<Wrapped<A, Exclude<E2, SinkClosed>, W>, X, R>
} = dual(2, <A, E, W, E2, X, R>(source: Source<Wrapping<A, E, W>, X, R>, f: (error: E) => E2) => {
  type Own = Exclude<E2, SinkClosed>
  // `E` and `SinkClosed` may overlap for the compiler; at run time the class tells.
  const map = (error: E | SinkClosed) => (error instanceof SinkClosed ? error : (f(error) as Own))
  return around<A, E, W, Own, X, R>(source, () => (write) => Effect.mapError(write, map))
})

/**
 * Looks at each event that was committed, for logs and metrics. A defect of the look is logged and changes nothing: the
 * event has been committed.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tap: {
  // Inside a pipe the event is inferred from the sink; outside of one, from an annotated function.
  <A, E, W>(
    f: (event: NoInfer<A>) => Effect.Effect<void>
  ): <X = never, R = never>(self: Source<Wrapping<A, E, W>, X, R>) => Effect.Effect<Wrapped<A, E, W>, X, R>
  <A>(
    f: (event: A) => Effect.Effect<void>
  ): <B extends A, E, W, X = never, R = never>(
    self: Source<Wrapping<B, E, W>, X, R>
  ) => Effect.Effect<Wrapped<B, E, W>, X, R>
  <A, E, W, X = never, R = never>(
    self: Source<Wrapping<A, E, W>, X, R>,
    f: (event: NoInfer<A>) => Effect.Effect<void>
  ): Effect.Effect<Wrapped<A, E, W>, X, R>
} = dual(2, <A, E, W, X, R>(source: Source<Wrapping<A, E, W>, X, R>, f: (event: A) => Effect.Effect<void>) =>
  wrap<A, E, W, A, E, X, R>(source, (self) => {
    const look = (event: A) =>
      Effect.suspend(() => apart(f(event))).pipe(
        // The cause may carry the event, which is not for the log.
        Effect.catchCause(() => logLine(self.node, "Error", "has a tap that failed after the event was committed"))
      )
    const { writeSome } = self
    return {
      node: self.node,
      write: (event) => Effect.andThen(self.write(event), look(event)),
      writeSome:
        writeSome &&
        ((events) => Effect.tap(writeSome(events), (n) => Effect.forEach(events.slice(0, n), look, { discard: true })))
    }
  })
)

/**
 * A write took longer than its `EventSink.timeout`. It was interrupted, but the receiver may have committed the event by
 * then: writing it again may repeat it.
 *
 * @category errors
 * @since 0.1.0
 */
export class WriteTimeout extends Data.TaggedError("WriteTimeout")<{
  /** The name of the sink that did not answer in time. */
  readonly sink: string
  readonly timeout: Duration.Duration
}> {
  override get message(): string {
    return `"${this.sink}" did not commit within ${Duration.format(this.timeout)}; it may have committed all the same`
  }
}

/**
 * Limits the time of each write, or of each batch.
 *
 * **Gotchas**
 *
 * The write is interrupted and its interruption waited for, so a write that refuses interruption is not bounded by it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const timeout: {
  (
    duration: Duration.Input
  ): <A, E, W, X = never, R = never>(
    self: Source<Wrapping<A, E, W>, X, R>
  ) => Effect.Effect<Wrapped<A, E | WriteTimeout, W>, X, R>
  <A, E, W, X = never, R = never>(
    self: Source<Wrapping<A, E, W>, X, R>,
    duration: Duration.Input
  ): Effect.Effect<Wrapped<A, E | WriteTimeout, W>, X, R>
} = dual(2, <A, E, W, X, R>(source: Source<Wrapping<A, E, W>, X, R>, input: Duration.Input) => {
  const duration = Duration.fromInputUnsafe(input)
  return around<A, E, W, E | WriteTimeout, X, R>(source, ({ node }) => {
    const orElse = () => Effect.fail(new WriteTimeout({ sink: node.name, timeout: duration }))
    return (write) => Effect.timeoutOrElse(write, { duration, orElse })
  })
})

/** Changes how the writes of a sink end, apart from those of a plain function, which is over when it returns. */
const around = <A, E, W, F, X, R>(
  source: Source<Wrapping<A, E, W>, X, R>,
  changeOf: (self: EventSink<A, E>) => <B>(write: Effect.Effect<B, E | SinkClosed>) => Effect.Effect<B, F | SinkClosed>
) =>
  wrap<A, E, W, A, F, X, R>(source, (self) => {
    const { writeSome, [WriteSync]: writeSync } = self
    const change = changeOf(self)
    return {
      node: self.node,
      write: (event) => change(self.write(event)),
      writeSome: writeSome && ((events) => change(writeSome(events))),
      writeSync
    }
  })

/**
 * Writes all events in order, in batches where the sink takes them.
 *
 * **Gotchas**
 *
 * On failure a leading part may have been committed, and how many is lost with the error. A caller that must know, such as a
 * queue, uses `writeSome` or `write`.
 *
 * @category writing
 * @since 0.1.0
 */
export const writeAll: {
  <A>(events: ReadonlyArray<A>): <E>(self: EventSink<A, E>) => Effect.Effect<void, E | SinkClosed>
  <A, E>(self: EventSink<A, E>, events: ReadonlyArray<NoInfer<A>>): Effect.Effect<void, E | SinkClosed>
} = dual(2, <A, E>(self: EventSink<A, E>, events: ReadonlyArray<A>): Effect.Effect<void, E | SinkClosed> =>
  Effect.suspend(() => {
    const { writeSome, [WriteSync]: writeSync } = self
    if (writeSome !== undefined) return commitAll(writeSome, events, () => {})
    // A receipt is noted by `write`.
    if (writeSync === undefined || open.receipts > 0)
      return Effect.forEach(events, (event) => self.write(event), { discard: true })
    let i = 0
    const some = (): Effect.Effect<void, E | SinkClosed> => {
      for (const end = Math.min(events.length, i + maxTurn); i < end; i++) {
        // `write` answers with the `SinkClosed` of a sink that takes no more.
        if (!writeSync(events[i]!)) return self.write(events[i]!)
      }
      return i < events.length ? Effect.andThen(Effect.yieldNow, Effect.suspend(some)) : Effect.void
    }
    return some()
  })
)
