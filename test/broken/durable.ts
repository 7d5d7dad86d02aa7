import { Cause, Context, Deferred, Effect, Exit, Fiber, Latch, type Scope } from "effect"
import { EventSink } from "effect-events"

/** A durable queue made by hand that keeps every law, and the ways to break one of them. */
export type Flaw =
  // OpenTelemetry Collector#15677: what fails while the exporter shuts down is dropped, though its queue is on disk
  | "a failure during the close is a dead letter"
  // a receiver that is closed is taken for one that refused the event
  | "a closed receiver costs the event"
  // at most once: the row is deleted when it is read
  | "it acknowledges before it delivers"
  // the close counts what it interrupted as handled
  | "the close counts what is in flight as delivered"
  // the error of the handler is logged, and the message acknowledged
  | "a failure is taken for a delivery"
  // acknowledgements are sent in batches, and the last batch is not
  | "the close drops the last acknowledgement"
  // a write that commits twice
  | "a write is stored twice"

/** What outlives the process. */
export interface Disk {
  readonly waiting: Array<unknown>
  readonly deadLetters: Array<unknown>
}

const Delivering = Context.Reference<boolean>("test/broken/durable/Delivering", { defaultValue: () => false })

export interface HandmadeDurableQueue extends EventSink.EventSink<unknown, unknown> {
  readonly disk: Disk
  readonly shutdown: Effect.Effect<ReadonlyArray<{ readonly event: unknown; readonly inFlight: boolean }>>
}

export const durable = (
  dst: EventSink.EventSink<unknown, unknown>,
  flaw?: Flaw
): Effect.Effect<HandmadeDurableQueue, never, Scope.Scope> =>
  Effect.gen(function* () {
    const has = (one: Flaw) => flaw === one
    const disk: Disk = { waiting: [], deadLetters: [] }
    let hand: { readonly event: unknown; readonly fiber: Fiber.Fiber<unknown, unknown> } | undefined
    let last: { readonly event: unknown } | undefined
    let open = true
    let over = false
    let latch = Latch.makeUnsafe()
    const changed = Effect.suspend(() => latch.await)
    const notify = () => {
      const before = latch
      latch = Latch.makeUnsafe()
      before.openUnsafe()
    }

    const accept = (events: ReadonlyArray<unknown>): Effect.Effect<void, EventSink.SinkClosed> =>
      Effect.suspend(() => {
        if (!open) return Effect.fail(new EventSink.SinkClosed({ sink: "handmade" }))
        disk.waiting.push(...events, ...(has("a write is stored twice") ? events : []))
        notify()
        return Effect.void
      })

    const settle = (event: unknown, exit: Exit.Exit<unknown, unknown>): void => {
      const acknowledge = () => void disk.waiting.splice(disk.waiting.indexOf(event), 1)
      last = { event }
      if (has("it acknowledges before it delivers")) {
        if (Exit.isFailure(exit)) disk.deadLetters.push(event)
        return
      }
      if (Exit.isSuccess(exit) || has("a failure is taken for a delivery")) return acknowledge()
      const error = exit.cause.reasons.find(Cause.isFailReason)?.error
      const isClosed = error instanceof EventSink.SinkClosed
      if (isClosed) open = false
      if (isClosed && !has("a closed receiver costs the event")) return void (over = true)
      if (!open && !isClosed && !has("a failure during the close is a dead letter")) return void (over = true)
      acknowledge()
      disk.deadLetters.push(event)
    }

    const drain = Effect.gen(function* () {
      while (true) {
        if (!open || over) return
        if (disk.waiting.length === 0) {
          yield* changed
          continue
        }
        const event = disk.waiting[0]
        if (has("it acknowledges before it delivers")) disk.waiting.shift()
        const write = Effect.provideService(dst.write(event), Delivering, true)
        hand = { event, fiber: yield* Effect.forkDetach(write) }
        const exit = yield* Fiber.await(hand.fiber)
        if (over) return
        hand = undefined
        settle(event, exit)
      }
    })
    const drainer = yield* Effect.forkDetach(drain)

    const result = yield* Deferred.make<ReadonlyArray<{ readonly event: unknown; readonly inFlight: boolean }>>()
    const flush = Effect.gen(function* () {
      const inTime = yield* Effect.timeoutOption(Fiber.await(drainer), "20 seconds")
      if (inTime._tag === "Some" || hand === undefined) {
        if (has("the close drops the last acknowledgement") && last !== undefined) disk.waiting.unshift(last.event)
        return yield* Deferred.succeed(result, [])
      }
      over = true
      const { event, fiber } = hand
      for (const one of [fiber, drainer]) one.interruptUnsafe()
      for (let turn = 0; turn < 10; turn++) yield* Effect.yieldNow
      if (fiber.pollUnsafe() === undefined) yield* Effect.logWarning("handmade abandoned a write: receiver")
      if (has("the close counts what is in flight as delivered")) disk.waiting.splice(disk.waiting.indexOf(event), 1)
      return yield* Deferred.succeed(result, [{ event, inFlight: true }])
    })
    let begun = false
    const shutdown = Effect.suspend(() => {
      open = false
      notify()
      const begin = begun ? Effect.void : Effect.forkDetach(flush, { uninterruptible: false })
      begun = true
      return Effect.andThen(begin, Deferred.await(result))
    })

    const sink = yield* EventSink.makeBatch((events) => Effect.as(accept(events), events.length), {
      name: "handmade",
      drainTimeout: 0
    })
    yield* Effect.addFinalizer(() => shutdown)
    return Object.assign(sink, { disk, shutdown })
  })
