/**
 * One sink over several: a write succeeds when every one of them has committed the event, and then only. A broadcaster
 * promises less: it succeeds when the event is published, in memory.
 *
 * When one of them fails the others may have committed. The next write, which must follow,
 * delivers the event again to those: their receivers recognise duplicates by the events' ids.
 */
import { Effect, Exit } from "effect"
import type { NonEmptyReadonlyArray } from "effect/Array"
import { EventSink } from "effect-events"

/** Writes to all sinks side by side, batches as batches. */
export const make = <A, E>(sinks: ReadonlyArray<EventSink.EventSink<A, E>>) =>
  EventSink.makeBatch(
    (events: NonEmptyReadonlyArray<A>) =>
      // Each is awaited: the failure of one is no reason to leave another in the middle of its commit.
      Effect.forEach(sinks, (sink) => Effect.exit(EventSink.writeAll(sink, events)), { concurrency: "unbounded" }).pipe(
        Effect.flatMap((exits) => Exit.asVoidAll(exits)),
        Effect.as(events.length)
      ),
    { name: "every endpoint" }
  )
