/**
 * For code that is not on Effect: sinks over an `EventEmitter`, an `EventTarget` or a `WritableStream`, events of an
 * `AsyncIterable`, and promises in front of any sink. What is read by `for await` is an `EventChannel`. They keep the contract of every sink: a write that succeeds has handed the
 * event over, and one that has not says why. An emitter without a listener takes nothing, and its write fails.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import * as EventSink from "./EventSink.ts"

/**
 * What an `EventEmitter` of Node needs to have to be a sink.
 *
 * @category models
 * @since 0.1.0
 */
export interface Emitter {
  /** Calls the listeners, and answers whether there was one. */
  readonly emit: (name: string, event: unknown) => boolean
}

/**
 * The emitter had no listener for the event: nothing has taken it.
 *
 * @category errors
 * @since 0.1.0
 */
export class NoListener extends Data.TaggedError("NoListener")<{
  /** The name under which the event was emitted. */
  readonly event: string
}> {
  override get message(): string {
    return `no listener for "${this.event}"`
  }
}

/**
 * A `WritableStream` refused the event. It is in its error state from then on, and fails each write after it with the same.
 *
 * @category errors
 * @since 0.1.0
 */
export class WritableFailed extends Data.TaggedError("WritableFailed")<{
  /** What the stream failed with. */
  readonly cause: unknown
}> {
  override get message(): string {
    return "the stream refused the event"
  }
}

/**
 * Options of a sink over what is not on Effect.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
}

/**
 * Lets an `EventEmitter` of Node be a sink: a write calls the listeners of `event`, one after the other, and succeeds when they
 * have returned. It fails with `NoListener` where there is none.
 *
 * **Gotchas**
 *
 * What a listener throws is a defect of the write, and the listeners behind it are not called. What one does later, such as the
 * work of an asynchronous function, is nothing that the write waits for.
 *
 * **Example** (Listeners that are there already)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventSink, Interop } from "effect-events"
 * import { EventEmitter } from "node:events"
 *
 * const emitter = new EventEmitter().on("order", (order: string) => console.log("order", order))
 *
 * const program = Effect.flatMap(Interop.fromEventEmitter<string>(emitter, "order"), (orders) =>
 *   EventSink.writeAll(orders, ["a1", "a2"])
 * )
 *
 * Effect.runPromise(Effect.scoped(program))
 * // prints: order a1
 * // prints: order a2
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEventEmitter = <A>(
  emitter: Emitter,
  event: string,
  options?: Options
): Effect.Effect<EventSink.EventSink<A, NoListener>, never, Scope.Scope> =>
  EventSink.make(
    (value: A) =>
      Effect.suspend(() => (emitter.emit(event, value) ? Effect.void : Effect.fail(new NoListener({ event })))),
    { kind: "EventEmitter", name: event, ...options }
  )

/**
 * Lets an `EventTarget` be a sink: a write dispatches a `CustomEvent` whose `detail` is the event.
 *
 * **Gotchas**
 *
 * A target does not say whether there is a listener, and reports what a listener throws as an uncaught error of the process, as
 * the DOM Standard has it (section 2.10): a write succeeds in both cases.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromEventTarget = <A>(
  target: EventTarget,
  type: string,
  options?: Options
): Effect.Effect<EventSink.EventSink<A>, never, Scope.Scope> =>
  EventSink.sync((detail: A) => target.dispatchEvent(new CustomEvent(type, { detail })), {
    kind: "EventTarget",
    name: type,
    ...options
  })

/**
 * Lets a `WritableStream` be a sink: a write succeeds when the stream's own sink has taken the event, and waits while the stream
 * is full. A write that is interrupted while it waits is not made later. The stream is locked until the scope closes, and stays
 * open then.
 *
 * @category constructors
 * @since 0.1.0
 */
export const fromWritableStream = <A>(
  stream: WritableStream<A>,
  options?: Options
): Effect.Effect<EventSink.EventSink<A, WritableFailed>, never, Scope.Scope> =>
  Effect.flatMap(
    Effect.acquireRelease(
      Effect.sync(() => {
        const writer = stream.getWriter()
        // Each write reports it, and a rejection that nothing waits for would end the process.
        void writer.closed.catch(() => undefined)
        return writer
      }),
      (writer) => Effect.sync(() => writer.releaseLock())
    ),
    (writer) =>
      EventSink.make(
        (event: A) =>
          Effect.tryPromise({
            // A write that is interrupted while the stream has no room is not made when it has some.
            try: (signal) => writer.ready.then(() => (signal.aborted ? undefined : writer.write(event))),
            catch: (cause) => new WritableFailed({ cause })
          }),
        { kind: "WritableStream", ...options }
      )
  )

/**
 * Writes what an `AsyncIterable` has to a sink, until it ends. Fails with what the iterable throws, or a write fails with.
 *
 * @category interop
 * @since 0.1.0
 */
export const runAsyncIterable = <A, E>(
  events: AsyncIterable<A>,
  sink: EventSink.EventSink<A, E>
): Effect.Effect<void, E | EventSink.SinkClosed | Cause.UnknownError> =>
  Stream.run(
    Stream.fromAsyncIterable(events, (cause) => new Cause.UnknownError(cause)),
    EventSink.toSink(sink)
  )

/**
 * A sink whose writes are promises.
 *
 * @category models
 * @since 0.1.0
 */
export interface PromiseSink<in A> {
  /** Resolves when the event is committed, and rejects with the error of the write. An abort of the signal interrupts it. */
  readonly write: (event: A, options?: { readonly signal?: AbortSignal | undefined }) => Promise<void>
  /** The same for several, in order: after a rejection a leading part of them is committed. */
  readonly writeAll: (
    events: ReadonlyArray<A>,
    options?: { readonly signal?: AbortSignal | undefined }
  ) => Promise<void>
  /** Closes what `open` has built, as its scope does: resolves when that has drained, or its deadline is over. */
  readonly close: () => Promise<void>
}

/**
 * Builds a pipeline, and answers promises in front of it: for code that is not on Effect yet.
 *
 * **Example** (A queue for a program without Effect)
 *
 * ```ts
 * import { Effect } from "effect"
 * import { EventQueue, EventSink, Interop } from "effect-events"
 *
 * const orders = await Interop.open(
 *   EventSink.make((order: string) => Effect.sync(() => console.log("bill", order))).pipe(EventQueue.make())
 * )
 * await orders.write("a1")
 * await orders.close()
 * // prints: bill a1
 * ```
 *
 * @category promises
 * @since 0.1.0
 */
export const open = <A, E, X>(
  sink: EventSink.Source<EventSink.EventSink<A, E>, X, Scope.Scope>
): Promise<PromiseSink<A>> => {
  const scope = Scope.makeUnsafe()
  const made = Effect.isEffect(sink) ? sink : Effect.succeed(sink)
  const opened = Effect.map(Scope.provide(made, scope), (one): PromiseSink<A> => ({
    write: (event, options) => Effect.runPromise(one.write(event), options),
    writeAll: (events, options) => Effect.runPromise(EventSink.writeAll(one, events), options),
    close: () => Effect.runPromise(Scope.close(scope, Exit.void))
  }))
  return Effect.runPromise(Effect.onError(opened, (cause) => Scope.close(scope, Exit.failCause(cause))))
}
