import type { NonEmptyReadonlyArray } from "effect/Array"
import { Cause, Context, Deferred, Effect, Exit, Fiber, Latch, type Scope } from "effect"
import { type Dropped, EventSink } from "effect-events"

/**
 * A queue made by hand that keeps every law, and the ways to break one of them, each after a defect that shipped. All of
 * them differ from the honest queue in one place.
 */
export type Flaw =
  // go-events: the second Close of a Queue finds it closed and returns while the first still flushes
  | "the second close returns at once"
  // Effect: Queue.end admits the offers that were waiting for room
  | "the close admits waiting writes"
  // distribution: the endpoint below is closed while the queue's goroutine still writes to it
  | "the close does not wait for the flush"
  // go-events: Close waits for a sink that hangs
  | "the close waits for ever"
  // BullMQ: the close waits for a job that cannot be stopped
  | "the close waits for what refuses interruption"
  // go-events: a nil event ends the queue's loop
  | "undefined ends it"
  // what happens where an event is mistaken for a lazy one
  | "an event that is an Effect is run"
  // go-events: an event whose write failed is logged at debug and gone
  | "what fails is dropped in silence"
  // Effect's OtlpExporter: what the last export does not take is gone
  | "what is left is dropped in silence"
  // go-events: the event is a field of the log line
  | "the log has the content"
  // a batch is offered event by event, and the offering is interrupted
  | "a batch enters one by one"
  // RxJS: an observer that throws ends the subscription
  | "a defect ends it"
  // a drainer in Effect that catches what is not an interruption
  | "an interruption ends it"
  // a fiber without an owner that ends it
  | "its fiber stays"
  // tailscale#18012: a subscriber that publishes waits for the queue that waits for it
  | "a delivery waits for itself"
  // OpenTelemetry Collector#12928: a request larger than the queue waits for room that never comes
  | "a batch waits for more room than there is"
  // a worker pool behind a queue
  | "two are delivered at a time"
  // the acknowledged event is cleared when the next is taken, so that a close in between reports it as well
  | "what is delivered stays in flight"
  // the retry of a batch that was acknowledged in part
  | "a batch is delivered again from its start"

const Delivering = Context.Reference<object | undefined>("test/broken/Delivering", { defaultValue: () => undefined })

export interface HandmadeQueue extends EventSink.EventSink<unknown, unknown> {
  readonly shutdown: Effect.Effect<ReadonlyArray<Dropped.Undelivered<unknown>>>
}

export const queue = (
  dst: EventSink.EventSink<unknown, unknown>,
  onDropped: Dropped.OnDropped<unknown, unknown>,
  options: {
    readonly capacity?: number
    readonly flaw?: Flaw | undefined
    /** Events of two keys are delivered at a time. */
    readonly keyOf?: ((event: unknown) => unknown) | undefined
  } = {}
): Effect.Effect<HandmadeQueue, never, Scope.Scope> =>
  Effect.gen(function* () {
    const has = (flaw: Flaw) => options.flaw === flaw
    const capacity = options.capacity ?? Number.POSITIVE_INFINITY
    const self = {}
    const waiting: Array<unknown> = []
    let inFlight: Array<{ readonly event: unknown }> = []
    let last: { readonly event: unknown } | undefined
    let writing: Array<Fiber.Fiber<unknown, unknown>> = []
    let open = true
    let abandoned = false
    let latch = Latch.makeUnsafe()

    const notify = () => {
      const before = latch
      latch = Latch.makeUnsafe()
      before.openUnsafe()
    }
    const changed = Effect.suspend(() => latch.await)

    const fits = (n: number) => {
      const pending = waiting.length + inFlight.length
      if (pending === 0 && !has("a batch waits for more room than there is")) return true
      return pending + n <= capacity
    }
    const accept = (events: ReadonlyArray<unknown>, waited = false): Effect.Effect<void, EventSink.SinkClosed> =>
      Effect.withFiber((fiber) => {
        const late = waited && has("the close admits waiting writes")
        if (!open && !late) return Effect.fail(new EventSink.SinkClosed({ sink: "handmade" }))
        const inside = fiber.getRef(Delivering) === self && !has("a delivery waits for itself")
        if (!fits(events.length) && !inside && open) return Effect.andThen(changed, accept(events, true))
        waiting.push(...events)
        notify()
        return Effect.void
      })

    const report = (left: Dropped.Dropped<unknown, unknown>, log = true) =>
      Effect.suspend(() => onDropped(left)).pipe(
        Effect.catchCause(() => (log ? Effect.logError("could not report", idOf(left.event)) : Effect.void))
      )

    const settle = (event: unknown, exit: Exit.Exit<unknown, unknown>): Effect.Effect<void> => {
      if (Exit.isSuccess(exit)) return Effect.void
      if (has("what fails is dropped in silence")) return Effect.void
      const error = exit.cause.reasons.find(Cause.isFailReason)
      const logged = has("the log has the content") ? Effect.logError("dropped", JSON.stringify(event)) : Effect.void
      const reason: Dropped.DropReason<unknown> =
        error === undefined
          ? { _tag: "Died", cause: exit.cause as Cause.Cause<never> }
          : { _tag: "Failed", error: error.error }
      return Effect.andThen(logged, report({ event, reason }))
    }

    const deliver = (one: { readonly event: unknown }): Effect.Effect<void> => {
      const { event } = one
      const run = has("an event that is an Effect is run") && Effect.isEffect(event)
      // The type of an event that is an Effect is unknown here.
      const found = run ? (event as Effect.Effect<unknown, unknown>) : Effect.succeed(event)
      const write = Effect.provideService(Effect.flatMap(found, dst.write), Delivering, self)
      // In a fiber of its own, which can be killed, interrupted and abandoned.
      return Effect.gen(function* () {
        const fiber = yield* Effect.forkDetach(write)
        writing = [...writing.filter((other) => other.pollUnsafe() === undefined), fiber]
        const exit = yield* Fiber.await(fiber)
        if (abandoned) return
        if (Exit.isFailure(exit)) {
          if (has("a defect ends it") && Cause.hasDies(exit.cause)) return yield* Effect.die("the worker died")
          if (has("an interruption ends it") && Cause.hasInterrupts(exit.cause)) return yield* Effect.interrupt
          if (has("a batch is delivered again from its start") && last !== undefined && Cause.hasFails(exit.cause))
            yield* Effect.exit(dst.write(last.event))
        }
        if (!has("what is delivered stays in flight")) inFlight.splice(inFlight.indexOf(one), 1)
        last = Exit.isSuccess(exit) ? one : undefined
        yield* settle(event, exit)
      })
    }

    const { keyOf } = options
    const next = () => {
      if (has("two are delivered at a time")) return waiting.splice(0, 2)
      const one = waiting.splice(0, 1)
      if (keyOf === undefined) return one
      const other = waiting.findIndex((event) => keyOf(event) !== keyOf(one[0]))
      return other < 0 ? one : [...one, ...waiting.splice(other, 1)]
    }

    const drain = Effect.gen(function* () {
      while (true) {
        if (waiting.length === 0) {
          if (!open && !has("its fiber stays")) return
          yield* changed
          continue
        }
        inFlight = next().map((event) => ({ event }))
        if (has("undefined ends it") && inFlight[0]?.event === undefined) return
        yield* Effect.forEach([...inFlight], deliver, { concurrency: "unbounded", discard: true })
        if (abandoned) return
        notify()
      }
    })
    const drainer = yield* Effect.forkDetach(drain)

    const result = yield* Deferred.make<ReadonlyArray<Dropped.Undelivered<unknown>>>()
    let begun = false
    let isReturned = false
    const flush = Effect.gen(function* () {
      open = false
      notify()
      const ended = has("its fiber stays")
        ? Effect.suspend(function wait(): Effect.Effect<void> {
            return waiting.length + inFlight.length === 0 ? Effect.void : Effect.andThen(changed, Effect.suspend(wait))
          })
        : Fiber.await(drainer)
      if (has("the close waits for ever")) yield* ended
      const inTime = yield* Effect.timeoutOption(ended, "20 seconds")
      if (inTime._tag === "None") {
        abandoned = true
        for (const fiber of [...writing, drainer]) fiber.interruptUnsafe()
        for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
        const refusing = writing.filter((fiber) => fiber.pollUnsafe() === undefined)
        if (has("the close waits for what refuses interruption")) yield* Fiber.awaitAll(writing)
        if (refusing.length > 0) yield* Effect.logWarning("abandoned a write that refuses interruption: receiver")
      }
      const left = [
        ...inFlight.map(({ event }) => ({ event, inFlight: true })),
        ...waiting.map((event) => ({ event, inFlight: false }))
      ]
      yield* Deferred.succeed(result, has("what is left is dropped in silence") ? [] : left)
    })
    const begin = Effect.suspend(() => {
      if (begun) return Effect.void
      begun = true
      return Effect.asVoid(Effect.forkDetach(flush, { uninterruptible: false }))
    })
    const shutdown = Effect.suspend(() => {
      if (begun && has("the second close returns at once")) return Effect.succeed([])
      return Effect.andThen(
        begin,
        Effect.map(Deferred.await(result), (left) => {
          isReturned = true
          return left
        })
      )
    })
    const close = Effect.gen(function* () {
      yield* begin
      if (has("the close does not wait for the flush")) return
      const left = yield* Deferred.await(result)
      yield* Effect.yieldNow
      if (isReturned || left.length === 0) return
      isReturned = true
      const reporting = yield* Effect.forkDetach(
        Effect.forEach(left, ({ event, inFlight }) => report({ event, reason: { _tag: "Undelivered", inFlight } })),
        { uninterruptible: false }
      )
      // In a fiber of its own, since the one that closes the scope may be interrupted already.
      const waiting = yield* Effect.forkDetach(Effect.timeoutOption(Fiber.await(reporting), "5 seconds"))
      const reported = yield* Fiber.join(waiting)
      if (reported._tag === "Some") return
      reporting.interruptUnsafe()
      yield* Effect.logError(`had no time to report ${left.length} events`)
    })

    const batch = (events: NonEmptyReadonlyArray<unknown>) =>
      Effect.as(
        has("a batch enters one by one")
          ? Effect.forEach(events, (event) => accept([event]), { discard: true })
          : accept(events),
        events.length
      )
    const sink = yield* EventSink.makeBatch(batch, { name: "handmade", drainTimeout: 0 })
    yield* Effect.addFinalizer(() => close)
    return Object.assign(sink, { shutdown })
  })

const idOf = (event: unknown): string =>
  typeof event === "object" && event !== null && "id" in event ? String(event.id) : ""
