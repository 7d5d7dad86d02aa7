/**
 * The next events of a node, as they pass: read from its tap, which costs nothing while none is open. A tap ends by itself, with
 * its last event, after a while, or with the connection of its viewer.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Formatter from "effect/Formatter"
import * as Stream from "effect/Stream"
import type { SinkNode } from "../../EventSink.ts"
import * as SinkGraph from "../../SinkGraph.ts"
import { type TapView, TooManyTaps } from "./dashboardApi.ts"

type View = typeof TapView.Type

export interface Taps {
  /** The stream observes the node from its first value on, which says that it waits. */
  readonly open: (node: SinkNode, events: number) => Effect.Effect<Stream.Stream<View>, TooManyTaps>
}

/** How many taps are open at once, at most. */
const maxOpen = 20
/** How often a tap says that it waits, so that a connection that is gone is noticed, and how often that may be. */
const [waitInterval, maxWaits] = ["15 seconds", 40] as const
/** Of what passes at once the newest are shown, so many at least. */
const minBuffered = 256
/** How much of an event is shown. */
const maxText = 4_000

export const makeTaps = (content: boolean): Taps => {
  let opened = 0
  const viewOf = ({ at, event, reason, what }: SinkGraph.Tapped): View => ({
    what,
    at,
    reason: reason ?? null,
    ...(content && { text: textOf(event) })
  })
  const counted = Effect.acquireRelease(
    Effect.sync(() => void opened++),
    () => Effect.sync(() => void opened--)
  )
  const waits = Stream.tick(waitInterval).pipe(
    Stream.take(maxWaits + 1),
    Stream.mapEffect(() => Effect.map(Clock.currentTimeMillis, (at): View => ({ what: "waiting", at, reason: null })))
  )
  return {
    open: (node, events) =>
      Effect.suspend(() => {
        if (opened >= maxOpen) return Effect.fail(new TooManyTaps({ message: `${maxOpen} taps are open` }))
        const passing = SinkGraph.tap(node, { bufferSize: Math.max(events, minBuffered) }).pipe(
          Stream.take(events),
          Stream.map(viewOf)
        )
        const merged = Stream.merge(passing, waits, { haltStrategy: "either" })
        const tapped = Stream.unwrap(Effect.as(counted, merged))
        // Ahead of its viewer: one that keeps its connection and reads nothing would otherwise keep the tap open.
        return Effect.succeed(
          Stream.callback<View>((queue) => Stream.runIntoQueue(tapped, queue), { bufferSize: events + maxWaits + 1 })
        )
      })
  }
}

// internals

/** Any value is an event, one whose getter throws among them. */
const textOf = (event: unknown): string => {
  try {
    if (typeof event === "string") return event.slice(0, maxText)
    if (event instanceof Uint8Array) return `${event.length} bytes`
    return Formatter.formatJson(event).slice(0, maxText)
  } catch {
    return `an event that has no text (${typeof event})`
  }
}
