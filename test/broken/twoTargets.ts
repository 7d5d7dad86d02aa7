/** Sinks made by hand that write to two others, and the ways to break one of their laws. */
import { Effect, Exit } from "effect"
import { type Dropped, EventSink } from "effect-events"
import type { Receiver } from "effect-events/testing/SinkLaws"
import { queue } from "./queue.ts"

type OnDropped = Dropped.OnDropped<unknown, unknown>

/** Succeeds when both have committed the event, and writes to the second whatever the first answers. */
export const tee = (first: Receiver<unknown>, second: Receiver<unknown>) =>
  EventSink.make((event: unknown) =>
    Effect.andThen(Effect.all([Effect.exit(first.write(event)), Effect.exit(second.write(event))]), (exits) =>
      Exit.asVoidAll(exits)
    )
  )

/** Takes the failure of the first for the fate of the event: it is reported, and the second never gets it. */
export const teeThatStops = (first: Receiver<unknown>, second: Receiver<unknown>, onDropped: OnDropped) =>
  EventSink.make((event: unknown) =>
    Effect.matchCauseEffect(first.write(event), {
      onSuccess: () => second.write(event),
      onFailure: () => onDropped({ event, reason: { _tag: "Failed", error: "the first failed" } })
    })
  )

/** A queue in front of each of two sinks. With the flaw, the close waits for the drain of the first alone. */
export const queues = (
  first: Receiver<unknown>,
  second: Receiver<unknown>,
  onDropped: OnDropped,
  closesEarly: boolean
) =>
  Effect.gen(function* () {
    const one = yield* queue(first, onDropped)
    const two = yield* queue(second, onDropped, {
      flaw: closesEarly ? "the close does not wait for the flush" : undefined
    })
    return yield* EventSink.make((event: unknown) => Effect.andThen(one.write(event), two.write(event)))
  })

/** Each event to one of two queues, by a key. */
export const router = (
  first: Receiver<unknown>,
  second: Receiver<unknown>,
  onDropped: OnDropped,
  isForFirst: (event: unknown) => boolean
) =>
  Effect.gen(function* () {
    const one = yield* queue(first, onDropped)
    const two = yield* queue(second, onDropped)
    return yield* EventSink.make((event: unknown) => (isForFirst(event) ? one : two).write(event))
  })

/** What the first does not take goes to the second, and what it does not answer in time. */
export const fallback = (first: Receiver<unknown>, second: Receiver<unknown>) =>
  EventSink.make((event: unknown) =>
    Effect.catchCause(Effect.timeout(first.write(event), "1 second"), () => second.write(event))
  )

/** Takes a first that blocks for one that is slow. */
export const fallbackThatWaits = (first: Receiver<unknown>, second: Receiver<unknown>) =>
  EventSink.make((event: unknown) => Effect.catchCause(first.write(event), () => second.write(event)))
