/** The write of a request's events: once each, within a time, whatever becomes of the request meanwhile. */
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Exit from "effect/Exit"
import * as Fiber from "effect/Fiber"
import { within } from "../../../internal/deadline.ts"
import { commitAll, type EventSink, type SinkClosed } from "../../../internal/sink.ts"
import type { Repeats } from "./repeats.ts"

/** Commits all events in order, and tells of each that was committed. */
const writeAll = <A, E>(
  sink: EventSink<A, E>,
  events: ReadonlyArray<A>,
  committed: (n: number) => void
): Effect.Effect<void, E | SinkClosed> =>
  sink.writeSome !== undefined
    ? commitAll(sink.writeSome, events, committed)
    : Effect.forEach(events, (event) => Effect.map(sink.write(event), () => committed(1)), { discard: true })

/** Commits the events of a request, less those whose id was committed before, and answers how many those are. */
export const commit = <A, E>(
  sink: EventSink<A, E>,
  events: ReadonlyArray<A>,
  ids: ReadonlyArray<string> | undefined,
  repeats: Repeats | undefined
): Effect.Effect<number, E | SinkClosed> =>
  ids === undefined || repeats === undefined
    ? Effect.as(
        writeAll(sink, events, () => {}),
        0
      )
    : repeats.once(ids, (places, committed) =>
        writeAll(sink, places.length === events.length ? events : places.map((place) => events[place]!), committed)
      )

/**
 * Runs `self` in a fiber of its own, and waits for its end up to `timeout`; nothing is answered when it has not ended by
 * then, and it is interrupted. The waiting is uninterruptible: a sender that goes away leaves its write to end, so that
 * its ids are known when it comes back, and a server that closes waits for it.
 */
export const exitWithin = <A, E>(
  self: Effect.Effect<A, E>,
  timeout: Duration.Duration
): Effect.Effect<Exit.Exit<A, E> | undefined> =>
  Effect.uninterruptible(
    Effect.flatMap(Effect.forkDetach(self, { startImmediately: true, uninterruptible: false }), (fiber) => {
      const exit = fiber.pollUnsafe()
      if (exit !== undefined) return Effect.succeed(exit)
      return Effect.map(within(Fiber.await(fiber), timeout), () => {
        const exit = fiber.pollUnsafe()
        // Not waited for: a write that refuses it would hold the answer.
        if (exit === undefined) fiber.interruptUnsafe()
        return exit
      })
    })
  )
