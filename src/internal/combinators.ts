/** Sinks from sinks, value to value: nothing here has a lifetime of its own. */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { dual } from "effect/Function"
import type { Node } from "./node.ts"
import { commitAll, type EventSink, Sink, SinkClosed } from "./sink.ts"

/** A node that stands for the sink it wraps: same place in the graph, same health. */
const sameNode = (self: EventSink<never, unknown>): Node => self.node as Node

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
 *   Effect.map(EventSink.mapInput((order: { readonly id: number }) => `order ${order.id}`))
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
  <B, A>(f: (event: B) => A): <E>(self: EventSink<A, E>) => EventSink<B, E>
  <A, E, B>(self: EventSink<A, E>, f: (event: B) => A): EventSink<B, E>
} = dual(2, <A, E, B>(self: EventSink<A, E>, f: (event: B) => A): EventSink<B, E> => {
  const { writeSome, writeUnsafe } = self
  return new Sink<B, E>({
    node: sameNode(self),
    write: (event) => Effect.suspend(() => self.write(f(event))),
    // A map keeps the length.
    writeSome:
      writeSome && ((events) => Effect.suspend(() => writeSome(events.map((event) => f(event)) as [A, ...Array<A>]))),
    writeUnsafe: writeUnsafe && ((event) => writeUnsafe(f(event)))
  })
})

/**
 * Turns the sink's delivery errors into others. `SinkClosed` stays what it is.
 *
 * @category mapping
 * @since 0.1.0
 */
export const mapError: {
  <E, E2>(f: (error: E) => E2): <A>(self: EventSink<A, E>) => EventSink<A, Exclude<E2, SinkClosed>>
  <A, E, E2>(self: EventSink<A, E>, f: (error: E) => E2): EventSink<A, Exclude<E2, SinkClosed>>
} = dual(2, <A, E, E2>(self: EventSink<A, E>, f: (error: E) => E2): EventSink<A, Exclude<E2, SinkClosed>> => {
  type Mapped = Exclude<E2, SinkClosed> | SinkClosed
  // `E` and `SinkClosed` may overlap for the compiler; at run time the class tells.
  const map = (error: E | SinkClosed): Mapped => (error instanceof SinkClosed ? error : (f(error) as Mapped))
  const { writeSome } = self
  return new Sink({
    node: sameNode(self),
    write: (event) => Effect.mapError(self.write(event), map),
    writeSome: writeSome && ((events) => Effect.mapError(writeSome(events), map)),
    writeUnsafe: self.writeUnsafe
  })
})

/**
 * Looks at each event that was committed, for logs and metrics. A defect of the look is logged and changes nothing: the
 * event has been committed.
 *
 * @category combinators
 * @since 0.1.0
 */
export const tap: {
  <A>(f: (event: A) => Effect.Effect<void>): <B extends A, E>(self: EventSink<B, E>) => EventSink<B, E>
  <A, E>(self: EventSink<A, E>, f: (event: NoInfer<A>) => Effect.Effect<void>): EventSink<A, E>
} = dual(2, <A, E>(self: EventSink<A, E>, f: (event: A) => Effect.Effect<void>): EventSink<A, E> => {
  const look = (event: A) =>
    Effect.suspend(() => f(event)).pipe(
      // The cause may carry the event, which is not for the log.
      Effect.catchCause(() => Effect.logError(`a tap on "${self.node.name}" failed after the event was committed`))
    )
  const { writeSome } = self
  return new Sink({
    node: sameNode(self),
    write: (event) => Effect.andThen(self.write(event), look(event)),
    writeSome:
      writeSome &&
      ((events) => Effect.tap(writeSome(events), (n) => Effect.forEach(events.slice(0, n), look, { discard: true })))
  })
})

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
 * Limits the time of each write, or of each group.
 *
 * **Gotchas**
 *
 * The write is interrupted and its interruption waited for, so a write that refuses interruption is not bounded by it.
 *
 * @category combinators
 * @since 0.1.0
 */
export const timeout: {
  (duration: Duration.Input): <A, E>(self: EventSink<A, E>) => EventSink<A, E | WriteTimeout>
  <A, E>(self: EventSink<A, E>, duration: Duration.Input): EventSink<A, E | WriteTimeout>
} = dual(2, <A, E>(self: EventSink<A, E>, input: Duration.Input): EventSink<A, E | WriteTimeout> => {
  const duration = Duration.fromInputUnsafe(input)
  const orElse = () => Effect.fail(new WriteTimeout({ sink: self.node.name, timeout: duration }))
  const { writeSome } = self
  return new Sink({
    node: sameNode(self),
    write: (event) => Effect.timeoutOrElse(self.write(event), { duration, orElse }),
    writeSome: writeSome && ((events) => Effect.timeoutOrElse(writeSome(events), { duration, orElse })),
    // A plain function is over when it returns.
    writeUnsafe: self.writeUnsafe
  })
})

/**
 * Writes all events in order, in groups where the sink takes them.
 *
 * **Gotchas**
 *
 * On failure a leading part may have been committed, and how many is lost with the error. Who must know, such as a
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
    const { writeSome } = self
    return writeSome === undefined
      ? Effect.forEach(events, (event) => self.write(event), { discard: true })
      : commitAll(writeSome, events, () => {})
  })
)
