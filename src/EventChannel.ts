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
import * as Latch from "effect/Latch"
import type * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import type * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import type { OnDropped, Undelivered } from "./Dropped.ts"
import * as EventSink from "./EventSink.ts"
import { makeAdmission } from "./internal/admission.ts"
import { makeAges } from "./internal/ages.ts"
import { withoutConstruction } from "./internal/context.ts"
import { defaultDrainTimeout, within } from "./internal/deadline.ts"
import { pendingOf, notify } from "./internal/node.ts"
import { count } from "./internal/options.ts"
import { type AnyOutcome, delivered, leftBy, open, type ReceiptRequest, requestOf } from "./internal/receipt.ts"
import { makeReport } from "./internal/report.ts"
import { closeWith, makeShutdown } from "./internal/shutdown.ts"
import { makePart, makeSink } from "./internal/sink.ts"

/**
 * A sink that is read as a stream.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventChannel<in out A> extends EventSink.EventSink<A> {
  readonly writeSome: EventSink.AcknowledgingSink<A, never, "memory">["writeSome"] | undefined
  /**
   * The events, in order, one at a pull. It ends when the channel is closed and what was accepted has been read. A run
   * that stops early leaves what it did not read to the next.
   */
  readonly stream: Stream.Stream<A>
  /** Waits for an event and reads all there are, for readers that take batches. Fails with `Done` where `stream` ends. */
  readonly takeAll: Effect.Effect<Arr.NonEmptyReadonlyArray<A>, Cause.Done>
  /** Stops accepting, waits for the readers as the close does, and returns what was not read. Memoised. */
  readonly shutdown: Effect.Effect<ReadonlyArray<Undelivered<A>>>
}

/**
 * Options of a channel.
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in A> {
  /** Its name in errors, logs, pictures and health. */
  readonly name?: string | undefined
  /** How many events may wait for a reader: 0 by default, which is a rendezvous. */
  readonly capacity?: number | undefined
  /**
   * How long the close waits for the readers: 20 seconds by default. It waits no longer once `stream` was read and no run of
   * it is left: that reader is gone. A channel that was never read, or is read by `takeAll`, waits for a reader.
   */
  readonly drainTimeout?: Duration.Input | undefined
  /** Takes what was accepted and not read when the scope closed; without it the count is logged at error. */
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
  Effect.uninterruptible(makeChannel(options))

/**
 * The layer of a channel: a place in the graph, see `EventSink.layer`.
 *
 * @category layers
 * @since 0.1.0
 */
export const layer = <I, A>(tag: Context.Key<I, EventChannel<A>>, options?: Options<A>): Layer.Layer<I> =>
  EventSink.layer(tag, make(options))

// internals

const makeChannel = Effect.fnUntraced(function* <A>(options: Options<A>) {
  const capacity = count("EventChannel.make", "capacity", options.capacity ?? 0, 0)
  const drainTimeout = Duration.fromInputUnsafe(options.drainTimeout ?? defaultDrainTimeout)
  const context = withoutConstruction(yield* Effect.context<never>())
  const queue = yield* Queue.unbounded<A, Cause.Done>()
  const { account, closed, node } = makePart({
    kind: "EventChannel",
    name: options.name,
    acknowledges: "memory",
    taps: ["accepted", "dropped"],
    oldestAge: (now) => ages.oldest(pending(), now)
  })
  const pending = () => pendingOf(account)
  const ages = makeAges(context, pending)
  const report = makeReport(node, options.onDropped, context)
  const shutdown = makeShutdown<Undelivered<A>>(context, report.undelivered, () => {
    account.state = "closing"
    admission.close(closed)
    Queue.endUnsafe(queue)
    return drain
  })
  /** What the writes of events ask for, by how many events were accepted before. */
  const receipts = new Map<number, ReceiptRequest>()
  /** How many events were read, or left by the close. */
  let taken = 0
  const took = (outcome: AnyOutcome<unknown>, n: number) => {
    for (const end = taken + n; taken < end; taken++) {
      if (receipts.size === 0) continue
      const receipt = receipts.get(taken)
      receipts.delete(taken)
      receipt?.settle(node, outcome)
    }
  }
  /** Readers that wait: each is room for one event. */
  let waiting = 0
  /** Runs of the stream that are under way. */
  let runs = 0
  /** `takeAll` was called: its reader may call it again. */
  let isTaken = false
  /** Open while `stream` was read and no run of it is left. */
  const unread = Latch.makeUnsafe()
  const admission = makeAdmission(
    () => capacity + waiting - pending(),
    () => false
  )

  const offer = (event: A, request?: ReceiptRequest) => {
    if (request !== undefined) receipts.set(account.accepted, request.hold(1))
    account.accepted++
    ages.offer(1)
    Queue.offerUnsafe(queue, event)
    if (account.observers !== undefined) notify(account.observers, "accepted", [event])
  }
  const accept = (event: A, request?: ReceiptRequest) => {
    if (account.state !== "open") return closed
    if (!admission.fits(1)) return admission.wait(1, () => offer(event, request))
    offer(event, request)
    return Effect.void
  }
  const write = (event: A) =>
    Effect.suspend(() =>
      open.receipts === 0 ? accept(event) : Effect.withFiber((fiber) => accept(event, requestOf(fiber)))
    )
  /** What is there, taken by `take`; or, when there is nothing, a wait as a reader that a writer may meet. */
  const read = <B>(take: Effect.Effect<B, Cause.Done>, count: (b: B) => number): Effect.Effect<B, Cause.Done> =>
    Effect.suspend(() => {
      let waits = false
      // It begins to wait inside of what notices the end: a fiber can be made to yield before, and be interrupted there.
      const taken = Effect.suspend(() => {
        waits = Queue.sizeUnsafe(queue) === 0
        if (waits) {
          waiting++
          admission.admit()
        }
        return take
      })
      return Effect.onExitPrimitive(taken, (exit) => {
        if (waits) waiting--
        if (Exit.isSuccess(exit)) {
          account.delivered += count(exit.value)
          admission.admit()
          took(delivered, count(exit.value))
        }
        return undefined
      })
    })
  // One event at a pull: a run that stops early leaves what it did not read to the next.
  const pull = Effect.map(
    read(Queue.take(queue), () => 1),
    Arr.of
  )
  const run = Effect.acquireRelease(
    Effect.sync(() => {
      runs++
      unread.closeUnsafe()
    }),
    () => Effect.sync(() => (--runs === 0 && !isTaken ? unread.openUnsafe() : undefined))
  )
  const takeAll = read(Queue.takeAll(queue), (events) => events.length)

  const drain = Effect.gen(function* () {
    // A reader that was forked in this turn gets to begin.
    yield* Effect.yieldNow
    yield* within(Effect.raceFirst(Queue.await(queue), unread.await), drainTimeout)
    return yield* closeWith(account, node, "undelivered", [], () => {
      const exit = Queue.takeUnsafe(queue)
      if (exit?._tag !== "Success") return []
      took(leftBy("undelivered", false), 1)
      return [exit.value]
    })
  })
  const self: EventChannel<A> = {
    ...makeSink<A, never>({ node, write }),
    stream: Stream.unwrap(Effect.as(run, Stream.fromPull(Effect.succeed(pull)))),
    takeAll: Effect.suspend(() => {
      isTaken = true
      unread.closeUnsafe()
      return takeAll
    }),
    shutdown: shutdown.awaited
  }
  yield* Effect.addFinalizer(() => shutdown.finished)
  return self
})
