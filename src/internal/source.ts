/** Where a drainer takes its events from. */
import type * as Effect from "effect/Effect"
import type { Page } from "./pages.ts"
import type { ReceiptRequest } from "./receipt.ts"
import type { WriterSpan } from "./writerSpan.ts"

export interface Source<out A> {
  /**
   * Takes some events: none once there will be no more, `undefined` when none wait. It is no effect, so that no
   * interruption comes between the source and the drainer.
   */
  readonly poll: () => Page<A> | undefined
  /** Waits until there may be events, or no more. */
  readonly wait: Effect.Effect<void>
  /** The next `n` of the taken events are settled: delivered or dropped. */
  readonly settle: (n: number) => void
  /** Takes the rest of the taken events back, if they are not to be delivered any more; asked before each write of them. */
  readonly revoke?: (() => boolean) | undefined
  /** The id of a taken event, by its place among those that were taken last; for a span of its delivery alone. */
  readonly idOf?: ((place: number) => string) | undefined
}

/** What keeps the events of a part, and is the source of all of its drainers. */
export interface Buffer<A> {
  /** Takes an event in, which belongs to `key`. What the comparison of keys throws, it throws before it takes anything. */
  readonly offer: (event: A, key: unknown, writer?: WriterSpan, receipt?: ReceiptRequest) => void
  readonly offerAll: (
    events: ReadonlyArray<A>,
    keys: ReadonlyArray<unknown>,
    writer?: WriterSpan,
    receipt?: ReceiptRequest
  ) => void
  /** How many events were offered. */
  readonly offered: () => number
  /** How many events no drainer has taken. */
  readonly size: () => number
  /** How many events were offered before the first that is not settled. */
  readonly oldest: () => number
  /** Drops the event that has waited longest, and calls `asked` where its write asked for a receipt; there must be one. */
  readonly takeOldest: (asked?: (receipt: ReceiptRequest) => void) => A
  /** Takes some of the events that wait, once all drainers have ended; none when there are none. */
  readonly takeRest: () => Page<A>
  /** Ends the sources once nothing waits, or at once. */
  readonly end: (atOnce: boolean) => void
  readonly source: (drainer: number) => Source<A>
  /** The key of an event, if events have one. What it throws is the writer's, before anything has changed. */
  readonly keyOf: ((event: A) => unknown) | undefined
}
