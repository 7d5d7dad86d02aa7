/** What delivers to a sink of a broadcaster: a drainer of its own, or the one that plain functions share. */
import type { Account, SinkNode } from "../node.ts"
import type { WithReceipts } from "../receipt.ts"
import type { Report } from "../report.ts"
import type { Drainer } from "../shutdown.ts"
import type { EventSink } from "../sink.ts"

export interface Delivery<out A> extends Drainer<A> {
  /** Ends it here: events published before are delivered, events published later are not for this sink. */
  readonly cut: () => void
  /** Takes some of the events that no drainer has taken, once the delivery has ended; none when there are none. */
  readonly takeRest: () => ReadonlyArray<A> & WithReceipts
  /** Brings the account up to date, which the shared drainer does not keep at every event. */
  readonly update: () => void
}

/** A sink that is to share the drainer. Its reports go to the log, since no sink may wait for those of another. */
export interface Options<in out A> {
  readonly sink: EventSink<A, unknown>
  readonly write: (event: A) => boolean
  readonly node: SinkNode
  readonly account: Account
  readonly report: Report<A>
  /** The sink has answered that it is closed. */
  readonly onSinkClosed: () => void
}

export interface SharedDrainer<in out A> {
  /** All of its sinks have left, and it serves no more. */
  readonly isEnded: () => boolean
  readonly start: (options: Options<A>) => Delivery<A>
}
