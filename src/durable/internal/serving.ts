/** A subscription while this process serves it, and what serves it: each as the other sees it. */
import type * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type { SinkNode } from "../../internal/node.ts"
import type { ProcessSpan } from "../../internal/processSpan.ts"
import type { EventSink } from "../../internal/sink.ts"
import type {
  Claimed,
  Delivery,
  EventStoreError,
  Lease,
  Limits,
  Operations,
  Settlement,
  SubscriptionId,
  Taken,
  Wanted
} from "../EventStore.ts"
import type { DurableAccount } from "./durableAccount.ts"
import type { DurableLog } from "./durableLog.ts"
import type { Codec } from "./eventCodec.ts"
import type { ReceiverState } from "./redelivering.ts"
import type { Row, Rows } from "./rows.ts"
import type { DeliverySettings } from "./settings.ts"

/** What a subscription that the process serves is made of. */
export interface SubscriberOptions<in out A, out E> extends Omit<DeliverySettings<A>, "trace"> {
  readonly id: SubscriptionId
  readonly node: SinkNode
  readonly sink: EventSink<A, E>
  readonly codec: Codec<A>
  readonly account: DurableAccount
  readonly log: DurableLog<A>
  /** Whether attempts are reported to the store, with their times. */
  readonly keepsOutcomes: boolean
  /** Disables the subscription in the store, for all processes. */
  readonly disable: (reason: string) => Effect.Effect<unknown, EventStoreError>
  /** That of the drainers: with the delivery that they are in. */
  readonly context: Context.Context<never>
  /** What each write to the sink runs in; nothing where no tracer would record it. */
  readonly processSpan: ProcessSpan | undefined
  /** Runs after every commit that this process knows of. */
  readonly changed: () => void
  /** Runs after each settlement. */
  readonly settled: () => void
  /** The store has the subscription as active, or as not. */
  readonly found: (isActive: boolean) => void
  readonly onSinkClosed: () => void
  /** Comes before each take. */
  readonly before?: Subscriber["before"]
  /** The lease that it is made for; without one it is claimed by itself. */
  readonly lease?: Claimed | undefined
  /** It may have come to rest, or be woken. */
  readonly progressed?: ((isWoken: boolean) => void) | undefined
  /** What its attempts show. */
  readonly receiver?: ((state: ReceiverState) => void) | undefined
}

/** What serves an exchange whole: whichever of its subscriptions have something due, so many at a time. */
export interface Host {
  readonly exchange: string
  readonly leaseTtl: Duration.Duration
  /** How many leases more it would serve now. */
  readonly free: () => number
  /** Leases of its subscriptions that this process has now. */
  readonly acquired: (leases: ReadonlyArray<Claimed>) => void
}

/** A subscription that the process serves, as the loops see it. */
export interface Subscriber {
  readonly id: SubscriptionId
  /** Whether it is there for one lease, which its host has claimed. */
  readonly isHosted: boolean
  readonly leaseTtl: Duration.Duration
  /** Whether it would deliver under a lease. */
  readonly isOpen: () => boolean
  readonly lease: () => Lease | undefined
  readonly claimed: (claimed: Claimed) => void
  /** Another process has the lease: what was taken and is not in flight is forgotten. */
  readonly lost: () => void
  /** The subscription is not active: nothing more is delivered, and the lease is given back after what is in flight. */
  readonly suspend: () => void
  readonly isSuspended: () => boolean
  /** Something may have arrived; or has come due, as a claim has found. */
  readonly woken: (isDue: boolean) => void
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

/** What delivers for a process. */
export interface DeliveryServer {
  readonly store: Operations
  readonly register: (subscriber: Subscriber) => void
  /** Serves a subscription under a lease that its host has claimed. */
  readonly adopt: (subscriber: Subscriber, lease: Claimed) => void
  /** Claims what is due in an exchange, for its host. Answers what ends that: the host has given its leases back by then. */
  readonly host: (host: Host) => Effect.Effect<void>
  /** A host has room for more. */
  readonly claimSoon: () => void
  /** Settles what is left, runs `last` and releases the lease, in at most 5 seconds; `false` if the store did not settle. */
  readonly unregister: (subscriber: Subscriber, last: Effect.Effect<unknown>) => Effect.Effect<boolean>
  /** A lease was lost: the store may take this process for gone. */
  readonly lost: () => void
  /** Settles what a subscriber has, now. */
  readonly flush: (subscriber: Subscriber) => Effect.Effect<void, EventStoreError>
  /** A subscriber delivers nothing more under its lease, which another process may have. */
  readonly giveBack: (lease: Lease) => void
  /** Releases a lease whose subscription is to wait before any process has it again, for a reason that is none of its receiver's. */
  readonly defer: (lease: Claimed, delay: Duration.Duration, reason: string) => Effect.Effect<void>
  /** A subscriber may have something to ask the store for. */
  readonly want: (subscriber: Subscriber) => void
  /** A subscriber has something to be settled: at once, or within 100 ms. */
  readonly settle: (subscriber: Subscriber, atOnce: boolean) => void
  /**
   * Whether the process may have been paused for so long that another has its leases: nothing is delivered before a renewal.
   */
  readonly isStale: () => boolean
}

export interface Serving<in out A> {
  readonly subscriber: Subscriber
  /** Whether it waits as a whole: for its head, or for a receiver that is down. */
  readonly isWaiting: () => boolean
  /** What is with this process. */
  readonly rows: Rows<A>
  /** Takes a waiting delivery out, the oldest: it is settled, and not delivered. */
  readonly dropOldest: () => Row<A> | undefined
  /** Settles a delivery that is not with this process, without delivering it. */
  readonly drop: (delivery: Delivery) => void
  /** Asks for what is not with this process; nothing without a lease, and while the answer to another take is decoded. */
  readonly wanting: (limits: Limits) => Wanted | undefined
  readonly begin: () => void
  /** Whether nothing is left to be done under the lease. */
  readonly isAtRest: () => boolean
  /** Its definition is asked for. Answers what says that it is as that says: what it has taken is delivered. */
  readonly asking: () => () => void
  /** Makes no attempt for a while, nor does another process. */
  readonly rest: (delay: Duration.Duration, reason: string) => void
  /**
   * Delivers nothing more, and waits for what is in flight until `timeout` or `cut`, and for `beside`; runs `last` when the
   * rest is settled. Answers the events that are in flight still.
   */
  readonly close: (
    timeout: Duration.Duration,
    beside: Effect.Effect<void>,
    last: Effect.Effect<unknown>,
    cut?: Effect.Effect<void>
  ) => Effect.Effect<ReadonlyArray<A>>
}
