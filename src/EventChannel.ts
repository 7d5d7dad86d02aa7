/**
 * A sink whose other end is a `Stream`: go-events' `Channel`. With capacity 0 a write succeeds when a reader takes the
 * event, else when there is room for it. Several readers share the events, each event going to one of them. The close
 * ends the stream after what was accepted has been read; it never throws an accepted event away without a report.
 *
 * @since 0.1.0
 */
import * as Arr from "effect/Array"
import type * as Cause from "effect/Cause"
import type * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OnDropped, Undelivered } from "./Dropped.ts"
import type { EventSink } from "./EventSink.ts"
import { Admission } from "./internal/admission.ts"
import { Ages } from "./internal/ages.ts"
import { withoutConstruction } from "./internal/captured.ts"
import { Closing } from "./internal/closing.ts"
import { defaultDrainTimeout, within } from "./internal/deadline.ts"
import { Node } from "./internal/node.ts"
import { count } from "./internal/options.ts"
import { Reporter } from "./internal/reporter.ts"
import { operation, Sink, SinkClosed } from "./internal/sink.ts"

/**
 * A sink that is read as a stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventChannel<in out A> extends EventSink<A> {
  /**
   * The events, in order, one at a pull. It ends when the channel is closed and what was accepted has been read. A run
   * that stops early leaves what it did not read to the next.
   */
  readonly stream: Stream.Stream<A>
  /** Waits for an event and reads all there are, for readers that take groups. Fails with `Done` where `stream` ends. */
  readonly takeAll: Effect.Effect<Arr.NonEmptyReadonlyArray<A>, Cause.Done>
  /** Stops accepting, waits until `drainTimeout` for the readers, and returns what was not read. Memoised. */
  readonly shutdown: Effect.Effect<ReadonlyArray<Undelivered<A>>>
}

/**
 * @category options
 * @since 0.1.0
 */
export interface Options<in A> {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** How many events may wait for a reader: 0 by default, which is a rendezvous. */
  readonly capacity?: number | undefined
  /** How long the close waits for the readers: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** Takes what was accepted and not read when the scope closed; without it they are logged at error, as a count. */
  readonly onDropped?: OnDropped<A> | undefined
}

/**
 * Makes a channel.
 *
 * **Example** (Reading events as a stream)
 *
 * ```ts
 * import { Console, Effect, Stream } from "effect"
 * import { EventChannel, EventSink } from "effect-events"
 *
 * const program = Effect.gen(function* () {
 *   const channel = yield* EventChannel.make<number>({ capacity: 16 })
 *   yield* EventSink.writeAll(channel, [1, 2, 3])
 *   const two = yield* channel.stream.pipe(Stream.take(2), Stream.runCollect)
 *   yield* Console.log(two)
 *   yield* channel.stream.pipe(Stream.runForEach(Console.log), Effect.forkChild)
 * })
 *
 * Effect.runPromise(Effect.scoped(program))
 * ```
 *
 * @category constructors
 * @since 0.1.0
 */
export const make = <A>(options: Options<A> = {}): Effect.Effect<EventChannel<A>, never, Scope.Scope> =>
  Effect.uninterruptible(
    Effect.contextWith((context: Context.Context<never>) =>
      Effect.flatMap(Queue.unbounded<A, Cause.Done>(), (queue) => {
        const self = new EventChannelImpl<A>(queue, options, withoutConstruction(context))
        return Effect.as(
          Effect.addFinalizer(() => self.close),
          self
        )
      })
    )
  )

class EventChannelImpl<in out A> extends Sink<A> implements EventChannel<A> {
  private readonly queue: Queue.Queue<A, Cause.Done>
  private readonly drainTimeout: Duration.Duration
  private readonly ages: Ages
  private readonly admission: Admission
  private readonly closing: Closing<A>
  /** Readers that wait: each is room for one event. */
  private readers = 0

  constructor(queue: Queue.Queue<A, Cause.Done>, options: Options<A>, context: Context.Context<never>) {
    const node = new Node("EventChannel", options.name)
    super({ node, write: operation("EventChannel.write", (event: A) => this.accept(event)) })
    const capacity = count("EventChannel.make", "capacity", options.capacity ?? 0, 0)
    this.queue = queue
    this.takeAll = this.read(Queue.takeAll(queue), (events) => events.length)
    // One event at a pull: a run that stops early leaves what it did not read to the next.
    const one = this.read(Queue.take(queue), () => 1)
    this.stream = Stream.fromPull(Effect.succeed(Effect.map(one, Arr.of)))
    this.drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
    this.ages = new Ages(context, () => node.pending)
    node.oldestAge = (now) => this.ages.oldest(node.pending, now)
    const reporter = new Reporter<A, never>(node, options.onDropped, context)
    this.closing = new Closing(context, (left) => reporter.left(left, "Undelivered"))
    this.admission = new Admission(
      () => capacity + this.readers - node.pending,
      () => false
    )
  }

  private accept(event: A): Effect.Effect<void, SinkClosed> {
    if (this.node.state !== "open") return this.closed
    if (!this.admission.fits(1)) return this.admission.wait(1, () => this.enter(event))
    this.enter(event)
    return Effect.void
  }

  private enter(event: A): void {
    this.node.accepted++
    this.ages.enter(1)
    Queue.offerUnsafe(this.queue, event)
  }

  /** What is there, taken by `take`; or, when there is nothing, a wait as a reader that a writer may meet. */
  private read<B>(take: Effect.Effect<B, Cause.Done>, count: (b: B) => number): Effect.Effect<B, Cause.Done> {
    return Effect.suspend(() => {
      const waits = Queue.sizeUnsafe(this.queue) === 0
      if (waits) {
        this.readers++
        this.admission.admit()
      }
      return Effect.onExitPrimitive(take, (exit) => {
        if (waits) this.readers--
        if (Exit.isSuccess(exit)) {
          this.node.delivered += count(exit.value)
          this.admission.admit()
        }
        return undefined
      })
    })
  }

  readonly takeAll: Effect.Effect<Arr.NonEmptyReadonlyArray<A>, Cause.Done>

  readonly stream: Stream.Stream<A>

  private readonly closed = Effect.suspend(() => Effect.fail(new SinkClosed({ sink: this.node.name })))

  private begin(): void {
    if (this.node.state !== "open") return
    this.node.state = "closing"
    this.admission.close(this.closed)
    Queue.endUnsafe(this.queue)
    this.closing.begin(
      Effect.map(within(Queue.await(this.queue), this.drainTimeout), () => {
        const left: Array<Undelivered<A>> = []
        let exit = Queue.takeUnsafe(this.queue)
        while (exit?._tag === "Success") {
          left.push({ event: exit.value, inFlight: false })
          exit = Queue.takeUnsafe(this.queue)
        }
        this.node.undelivered += left.length
        this.node.state = "closed"
        return left
      })
    )
  }

  readonly shutdown = Effect.suspend(() => {
    this.begin()
    return this.closing.awaited
  })

  readonly close = Effect.suspend(() => {
    this.begin()
    return this.closing.finished
  })
}
