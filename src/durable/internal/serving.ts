/** A subscription while this process serves it. */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type {
  Claimed,
  Delivery,
  EventStoreError,
  Lease,
  Limits,
  Settlement,
  SubscriptionId,
  Taken,
  Wanted
} from "../EventStore.ts"
import type { Row, Rows } from "./rows.ts"

/** A subscription that the process serves, as the loops see it. */
export interface Subscriber {
  readonly id: SubscriptionId
  readonly leaseTtl: Duration.Duration
  /** Whether it would deliver under a lease. */
  readonly isOpen: () => boolean
  readonly lease: () => Lease | undefined
  readonly claimed: (claimed: Claimed) => void
  /** Another process has the lease: what was taken and is not in flight is forgotten. */
  readonly lost: () => void
  /** The lease is given back: the same. */
  readonly released: () => void
  /** Something may have arrived or come due. */
  readonly woken: () => void
  /** The leases of this process are its own for another while. */
  readonly renewed: () => void
  /** Comes before each of its takes, in the same turn. */
  readonly before:
    | ((
        take: (wanted: Wanted) => Effect.Effect<Taken | undefined, EventStoreError>
      ) => Effect.Effect<void, EventStoreError>)
    | undefined
  /** What it asks the store for now, if anything. */
  readonly wanted: () => Wanted | undefined
  readonly receive: (taken: Taken, wanted: Wanted) => void
  /** Takes out what is to be settled. */
  readonly settlement: () => Settlement | undefined
  /** What came of a settlement: it failed, and is to be settled later. */
  readonly unsettled: (settlement: Settlement) => void
  readonly settled: (settlement: Settlement) => void
  /** The store's content may have changed, by this process or another. */
  readonly changed: () => void
  readonly troubled: (error: EventStoreError) => void
  readonly recovered: () => void
}

export interface Serving<in out A> {
  readonly subscriber: Subscriber
  /** What is with this process. */
  readonly rows: Rows<A>
  /** Takes a waiting delivery out, the oldest: it is settled, and not delivered. */
  readonly dropOldest: () => Row<A> | undefined
  /** Settles a delivery that is not with this process, without delivering it. */
  readonly drop: (delivery: Delivery) => void
  /** Asks for what is not with this process; nothing without a lease, and while the answer to another take is decoded. */
  readonly wanting: (limits: Limits) => Wanted | undefined
  readonly begin: () => void
  /**
   * Delivers nothing more, and waits for what is in flight until `timeout`, and for `beside`; runs `last` when the rest is
   * settled. Answers the events that are in flight still.
   */
  readonly close: (
    timeout: Duration.Duration,
    beside: Effect.Effect<void>,
    last: Effect.Effect<unknown>
  ) => Effect.Effect<ReadonlyArray<A>>
}
