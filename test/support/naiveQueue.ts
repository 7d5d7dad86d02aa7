/** A queue as one would first write it, with one defect or none: what the check of conservation must find. */
import { Cause, Deferred, Effect, Exit, Fiber, Queue, type Scope } from "effect"
import { type Dropped, EventQueue, EventSink } from "effect-events"
import { edgeTo, makeAccount, makeNode, pendingOf } from "../../src/internal/node.ts"
import type { Event } from "./ledger.ts"
import type { MakeQueue } from "./parts.ts"

export const defects = [
  "loses the event in flight when it is interrupted",
  "reports what a shutdown has returned",
  "accepts a part of a batch that does not fit",
  "writes an acknowledged event again",
  "skips the event after one that failed",
  "counts a dropped event as delivered",
  "accepts after its close",
  "answers the second shutdown with nothing",
  "delivers out of order"
] as const

export type Defect = (typeof defects)[number]

/** A queue that rejects what does not fit and hands on one event at a time. */
export const naiveQueue =
  (defect: Defect | undefined): MakeQueue =>
  (options) =>
  (dst) =>
    Effect.gen(function* () {
      const has = (one: Defect) => defect === one
      const { capacity = Infinity, drainTimeout = 0, name = "naive", onDropped } = options
      const account = makeAccount()
      const node = makeNode({ kind: "EventQueue", name, account, downstream: () => [edgeTo(dst, false)] })
      const queue = yield* Queue.unbounded<Event, Cause.Done>()
      const left = yield* Deferred.make<ReadonlyArray<Dropped.Undelivered<Event>>>()
      const flushes = new Set<{ ahead: number; readonly done: Deferred.Deferred<void> }>()
      let waiting: ReadonlyArray<Event> = []
      let inFlight: Event | undefined
      let returned = false

      const settled = Effect.suspend(() => {
        for (const flush of flushes) flush.ahead--
        const done = [...flushes].filter(({ ahead }) => ahead <= 0)
        for (const flush of done) flushes.delete(flush)
        return Effect.forEach(done, ({ done }) => Deferred.succeed(done, undefined), { discard: true })
      })
      const report = (dropped: Dropped.Dropped<Event, unknown>) =>
        (onDropped === undefined ? Effect.logError("dropped an event") : onDropped(dropped)).pipe(
          Effect.onExit((exit) => (Exit.isFailure(exit) ? Effect.logError("could not report an event") : Effect.void)),
          Effect.catchCause(() => Effect.void),
          Effect.annotateLogs({ sink: name, kind: "EventQueue" })
        )
      const drop = (event: Event, cause: Cause.Cause<unknown>) =>
        Effect.suspend(() => {
          account[has("counts a dropped event as delivered") ? "delivered" : "dropped"]++
          const failed = cause.reasons.find(Cause.isFailReason)
          const reason: Dropped.DropReason<unknown> =
            failed === undefined
              ? { _tag: "Died", cause: cause as Cause.Cause<never> }
              : { _tag: "Failed", error: failed.error }
          const skipped = has("skips the event after one that failed") ? Queue.poll(queue) : Effect.void
          return Effect.andThen(Effect.andThen(settled, skipped), report({ event, reason }))
        })
      const deliver = (event: Event) =>
        Effect.suspend(() => {
          inFlight = event
          const again = has("writes an acknowledged event again") && event.n % 5 === 0
          const write = again ? Effect.andThen(dst.write(event), dst.write(event)) : dst.write(event)
          return Effect.matchCauseEffect(write, {
            onSuccess: () => {
              inFlight = undefined
              account.delivered++
              return settled
            },
            onFailure: (cause) => {
              inFlight = undefined
              return drop(event, cause)
            }
          })
        })
      const loop = Effect.forever(Effect.flatMap(Queue.take(queue), deliver)).pipe(Effect.exit, Effect.asVoid)
      const drainer = yield* Effect.forkDetach(loop)

      const accept = (events: ReadonlyArray<Event>) =>
        Effect.suspend((): Effect.Effect<void, EventQueue.QueueFull | EventSink.SinkClosed> => {
          if (account.state !== "open") {
            if (has("accepts after its close")) return Effect.void
            return Effect.fail(new EventSink.SinkClosed({ sink: name }))
          }
          const room = capacity - pendingOf(account)
          const fits = events.length <= room || pendingOf(account) === 0
          const some = fits ? events : has("accepts a part of a batch that does not fit") ? events.slice(0, room) : []
          account.accepted += some.length
          Queue.offerAllUnsafe(queue, has("delivers out of order") ? some.toReversed() : some)
          return fits ? Effect.void : Effect.fail(new EventQueue.QueueFull({ queue: name, capacity }))
        })

      const close = Effect.gen(function* () {
        account.state = "closing"
        yield* Queue.end(queue)
        const ended = Fiber.await(drainer).pipe(Effect.timeoutOption(drainTimeout))
        if ((yield* ended)._tag === "None") {
          const current = inFlight
          drainer.interruptUnsafe()
          for (let turn = 0; turn < 16; turn++) yield* Effect.yieldNow
          waiting = []
          let next = Queue.takeUnsafe(queue)
          while (next?._tag === "Success") {
            waiting = [...waiting, next.value]
            next = Queue.takeUnsafe(queue)
          }
          const lost = has("loses the event in flight when it is interrupted")
          if (current !== undefined && lost) account.accepted--
          const list = [
            ...(current === undefined || lost ? [] : [{ event: current, inFlight: true }]),
            ...waiting.map((event) => ({ event, inFlight: false }))
          ]
          account.undelivered += list.length
          account.state = "closed"
          yield* Deferred.succeed(left, list)
        } else {
          account.state = "closed"
          yield* Deferred.succeed(left, [])
        }
        yield* Effect.forEach(flushes, ({ done }) => Deferred.succeed(done, undefined), { discard: true })
      })
      const begin = Effect.suspend(() =>
        account.state === "open" ? Effect.forkDetach(close, { startImmediately: true }) : Effect.void
      )
      const shutdown = Effect.gen(function* () {
        yield* begin
        const list = yield* Deferred.await(left)
        const second = returned && has("answers the second shutdown with nothing")
        returned = true
        return second ? [] : list
      })
      yield* Effect.addFinalizer(() =>
        Effect.gen(function* () {
          yield* begin
          const list = yield* Deferred.await(left)
          yield* Effect.yieldNow
          if (list.length === 0 || (returned && !has("reports what a shutdown has returned"))) return
          yield* Effect.logError(`closed with ${list.length} undelivered events`).pipe(
            Effect.annotateLogs({ sink: name, kind: "EventQueue" })
          )
          if (onDropped === undefined) return
          for (const { event, inFlight } of list) {
            const one = report({ event, reason: { _tag: "Undelivered", inFlight } })
            yield* one
          }
        })
      )
      const flush = Effect.suspend(() => {
        if (pendingOf(account) === 0) return Effect.void
        const flush = { ahead: pendingOf(account), done: Deferred.makeUnsafe<void>() }
        flushes.add(flush)
        return Deferred.await(flush.done)
      })
      return Object.assign(Object.create(dst), {
        node,
        write: (event: Event) => accept([event]),
        writeSome: (events: ReadonlyArray<Event>) => Effect.as(accept(events), events.length),
        [EventSink.WriteSync]: undefined,
        offerUnsafe: () => "full",
        pending: Effect.sync(() => pendingOf(account)),
        flush,
        shutdown
      }) as EventQueue.EventQueue<Event, unknown>
    }) satisfies Effect.Effect<EventQueue.EventQueue<Event, unknown>, never, Scope.Scope>
