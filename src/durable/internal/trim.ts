/** Makes room by dropping the oldest events: `"drop-oldest"`. Only the lease's owner does, which knows what is in flight. */
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { Delivery, EventStoreError, Limits, Operations, Taken, Wanted } from "../EventStore.ts"
import type { Codec } from "./eventCodec.ts"
import type { Serving } from "./serving.ts"

/** Events that are dropped in one step, at most. */
const maxStep = 256

/** Drops what is over the limits, a step at a time. Events are reported before they are gone. */
export const trim = <A>(
  serving: Serving<A>,
  limits: Limits,
  store: Operations,
  codec: Codec<A>,
  batchBytes: number,
  take: (wanted: Wanted) => Effect.Effect<Taken | undefined, EventStoreError>,
  report: (events: ReadonlyArray<A>, unreadable: number) => Effect.Effect<void>
): Effect.Effect<void, EventStoreError> => {
  const step = Effect.gen(function* () {
    // Only the owner drops; and what was reported and is still there would be counted again.
    if (serving.subscriber.lease() === undefined || serving.rows.hasDropped()) return 0
    const gone = serving.rows.gone()
    const figures = yield* store.figures(serving.subscriber.id)
    if (figures === undefined || serving.subscriber.lease() === undefined) return 0
    // What is settled counts as gone. Some of it may not be in the answer any more: then too little is dropped, and the
    // settlement brings another step.
    let rows = figures.pending - gone().rows
    let bytes = figures.bytes - gone().bytes
    const isOver = () => rows > limits.rows || bytes > limits.bytes
    const events: Array<A> = []
    while (isOver() && events.length < maxStep) {
      const row = serving.dropOldest()
      if (row === undefined) break
      events.push(row.event)
      rows--
      bytes -= row.bytes
    }
    // In the turn of the drop: what is settled and not reported is lost with the process.
    if (events.length > 0) yield* report(events, 0)
    const wanted = serving.wanting({ rows: maxStep, bytes: batchBytes })
    if (!isOver() || wanted === undefined || events.length === maxStep) return events.length
    const found: Array<readonly [Delivery, Option.Option<A>]> = []
    for (const delivery of (yield* take(wanted))?.deliveries ?? []) {
      if (!isOver()) break
      rows--
      bytes -= delivery.payload.length
      found.push([delivery, yield* Effect.option(codec.decode(delivery.payload))])
    }
    // They belong to the lease under which they were taken.
    if (found.length === 0 || serving.subscriber.lease()?.epoch !== wanted.epoch) return events.length
    const readable = found.flatMap(([delivery, event]) => {
      serving.drop(delivery)
      return Option.toArray(event)
    })
    yield* report(readable, found.length - readable.length)
    return events.length + found.length
  })
  return Effect.repeat(step, { until: (dropped) => dropped === 0 }).pipe(Effect.asVoid)
}
