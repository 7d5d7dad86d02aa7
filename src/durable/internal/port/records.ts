/** What a store is given and gives: events, subscriptions, deliveries, leases and dead letters, as plain values. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"

/**
 * An event's position among all events of a store. It grows along the writes of each writer. It is no cursor: an event whose
 * transaction commits late may appear below positions that were given out already.
 *
 * @category models
 * @since 0.1.0
 */
export type Position = number

/**
 * Milliseconds since 1970 of the store's clock.
 *
 * @category models
 * @since 0.1.0
 */
export type Millis = number

/**
 * The id of a subscription in its store.
 *
 * @category models
 * @since 0.1.0
 */
export type SubscriptionId = number

/**
 * An event to be stored.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewEvent {
  readonly payload: Uint8Array
  /** Whose event it is, where an exchange has many tenants: `""` by default. Only subscriptions of the tenant match. */
  readonly tenant?: string | undefined
  /** `""` by default, which only the pattern `*` matches. */
  readonly topic?: string | undefined
  /** The media type of the payload, for those that read it without this library: JSON by default. */
  readonly contentType?: string | undefined
  /** The `traceparent` of the writer's span (W3C Trace Context, section 3.2). */
  readonly trace?: string | undefined
  /**
   * What makes it the same event as another of its exchange and tenant, at most 500 characters: the first of them within the
   * exchange's window of deduplication is stored. Without such a window it means nothing. The id of an event that is stored for no
   * subscription, and not retained, is not kept.
   */
  readonly id?: string | undefined
  /**
   * When it is to be delivered: at a time of the store's clock, or after a delay. Until then it counts as pending, and waits for
   * its place: it then goes to the end of the order of each of its subscriptions. At once by default, and where that is past. An
   * event whose time is to come is not retained.
   */
  readonly due?: { readonly at: Millis } | { readonly after: Duration.Duration } | undefined
}

/**
 * A stored event.
 *
 * @category models
 * @since 0.1.0
 */
export interface Published {
  /** That of the event which it duplicates, where it does. */
  readonly position: Position
  /** For how many subscriptions it is stored: 0 for a duplicate. An event that none matches is kept only under a `retention`. */
  readonly matched: number
  /** Whether an event of its id is stored already, be it of the same publish: then it is not stored again. */
  readonly isDuplicate?: boolean | undefined
}

/**
 * What an exchange keeps beyond the deliveries of its events, and for how long. What is left out stays as it is, and is not at all
 * in a new exchange; a time of 0 ends it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Keeping {
  /** Events, for subscriptions that start with the oldest. */
  readonly retention?: Duration.Duration | undefined
  /** The ids of events, by which duplicates are recognised. They outlive acknowledgement, purge, drop and replay. */
  readonly deduplication?: Duration.Duration | undefined
  /** What became of deliveries, and their attempts, for `status`. */
  readonly outcomes?: Duration.Duration | undefined
}

/**
 * How much an exchange may hold for each of its subscriptions. Events past one of the limits are not admitted, unless the
 * subscription is empty.
 *
 * @category models
 * @since 0.1.0
 */
export interface Limits {
  readonly rows: number
  /** Of payloads. */
  readonly bytes: number
}

/**
 * A subscription to be made, or brought to this definition.
 *
 * @category models
 * @since 0.1.0
 */
export interface Definition {
  /** `""` by default. */
  readonly tenant?: string | undefined
  readonly name: string
  /**
   * Patterns of topics: `*` matches every topic, `order/*` each topic that begins with `order/`, any other text the topic of
   * that name.
   */
  readonly topics: NonEmptyReadonlyArray<string>
  /** What a new subscription begins with: what is committed from now on, the default, or the oldest event that is retained. */
  readonly start?: "now" | "oldest" | undefined
  /** What the part above keeps with it, opaque to the store. */
  readonly data?: Uint8Array | undefined
  /**
   * The data that a subscription of the name must have: where there is none, or one with other data, nothing is done for this definition,
   * and there is none of it in the answer. So a change that was made of what was read undoes no other, and makes none anew that was dropped.
   */
  readonly replaces?: Uint8Array | undefined
}

/**
 * Whether a subscription is delivered. The events that match one that is not are stored for it as before.
 *
 * @category models
 * @since 0.1.0
 */
export type State = "active" | "paused" | "disabled"

/**
 * A subscription: the durable name under which events of an exchange are delivered to one receiver.
 *
 * @category models
 * @since 0.1.0
 */
export interface Subscription {
  readonly id: SubscriptionId
  readonly exchange: string
  readonly tenant: string
  readonly name: string
  readonly topics: ReadonlyArray<string>
  readonly data: Uint8Array | undefined
  readonly state: State
  /** Why it is not active, and since when it is in its state. */
  readonly reason: string | undefined
  readonly since: Millis
}

/**
 * How much is stored for a subscription.
 *
 * @category models
 * @since 0.1.0
 */
export interface Figures {
  /** Deliveries that are neither acknowledged nor dead, those that wait for their time included. */
  readonly pending: number
  /** Of their payloads. */
  readonly bytes: number
  readonly deadLetters: number
  /** The name of the process that has its lease, while its life lasts. */
  readonly owner: string | undefined
}

/**
 * The positions of the first and the last pending delivery of a subscription, but those whose own time is to come.
 *
 * @category models
 * @since 0.1.0
 */
export interface Bounds {
  readonly subscription: SubscriptionId
  readonly first: Position
  readonly last: Position
  /** Whether the time of one has come that is not in its place yet: it gets a position after the last. */
  readonly isComing?: boolean | undefined
}

/**
 * Subscriptions of an exchange: all fields must match.
 *
 * @category models
 * @since 0.1.0
 */
export interface Which {
  readonly exchange: string
  readonly tenant?: string | undefined
  readonly name?: string | undefined
  readonly ids?: ReadonlyArray<SubscriptionId> | undefined
}

/**
 * What is claimed: some subscriptions, or all that an exchange has.
 *
 * @category models
 * @since 0.1.0
 */
export type Claimable = ReadonlyArray<SubscriptionId> | { readonly exchange: string }

/**
 * A process that delivers, as its store knows it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Owner {
  readonly id: number
  readonly name: string
}

/**
 * The right to deliver a subscription. The greatest epoch is the owner's.
 *
 * @category models
 * @since 0.1.0
 */
export interface Lease {
  readonly subscription: SubscriptionId
  readonly epoch: number
}

/**
 * A lease that was acquired, with what its subscription waits for.
 *
 * @category models
 * @since 0.1.0
 */
export interface Claimed extends Lease {
  /** How many attempts have failed in a row, while the whole subscription waits; and when the first of them did. */
  readonly attempts: number
  readonly firstFailedAt: Millis | undefined
  /** Since when its receiver is failing, as settlements say it is. */
  readonly failingSince: Millis | undefined
  /** The lanes that have deliveries set aside, and the position of the first of each: at most 65,536, by their numbers. */
  readonly lanes: ReadonlyArray<{ readonly lane: number; readonly first: Position }>
}

/**
 * The answer to a claim.
 *
 * @category models
 * @since 0.1.0
 */
export interface Claims {
  readonly acquired: ReadonlyArray<Claimed>
  /** Subscriptions whose leases this process has, and where something may be new since its last claim: to deliver, or a definition. */
  readonly woken: ReadonlyArray<SubscriptionId>
  /** Subscriptions whose leases this process has, and which are not active. */
  readonly inactive: ReadonlyArray<SubscriptionId>
  /**
   * After how many milliseconds another claim may find something without a commit in between: a delivery that waits for its
   * time, or a subscription of another process whose life may be over. Nothing where there is neither.
   */
  readonly wait: number | undefined
}

/**
 * An event for a subscription.
 *
 * @category models
 * @since 0.1.0
 */
export interface Delivery {
  /** Identifies it within its subscription: that of its event, or a later one after a replay. */
  readonly position: Position
  readonly payload: Uint8Array
  readonly topic: string
  readonly contentType: string | undefined
  readonly trace: string | undefined
  /** When its event was committed by its writer. */
  readonly writtenAt: Millis
  /** How many attempts failed before. */
  readonly attempts: number
  readonly firstFailedAt: Millis | undefined
  /** The lane that it is set aside in; nothing for one that stands in the order of the subscription. */
  readonly lane: number | undefined
}

/**
 * A request for deliveries of a lease.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wanted extends Lease {
  /** At most that much, but one delivery at least. */
  readonly limits: Limits
  /** The positions that this process has taken and not settled. */
  readonly except: ReadonlyArray<Position>
  /** Lanes to be left out, and how many deliveries of each other lane may be given. */
  readonly busy: ReadonlyArray<number>
  readonly perLane: number
}

/**
 * The deliveries of a lease.
 *
 * @category models
 * @since 0.1.0
 */
export interface Taken {
  readonly subscription: SubscriptionId
  readonly deliveries: ReadonlyArray<Delivery>
  /** Whether the limits left out more that is due. */
  readonly more: boolean
}

/**
 * Why an event was dead-lettered.
 *
 * @category models
 * @since 0.1.0
 */
export type DeadLetterReason = "Failed" | "Died" | "Undecodable" | "Exhausted" | "Expired" | "Disabled"

/**
 * What became of a delivery.
 *
 * **Details**
 *
 * `Acknowledged`: it is done with. `DeadLettered`: it is among the dead letters. `Again`: it is set aside in a lane, to be
 * taken again after `delay`. `Aside`: it is set aside in a lane behind the lane's first delivery, and given out after that.
 *
 * The deliveries of a lane are given out in the order of their positions, and none before the first is due. Those of a lane
 * whose first is settled are due at once.
 *
 * @category models
 * @since 0.1.0
 */
export type Settled =
  | {
      readonly _tag: "Acknowledged"
      readonly position: Position
      readonly lane?: number | undefined
      /** It was dropped, and not delivered. */
      readonly isDropped?: boolean | undefined
    }
  | {
      readonly _tag: "DeadLettered"
      readonly position: Position
      readonly lane?: number | undefined
      readonly reason: DeadLetterReason
      /** What went wrong, as text. */
      readonly cause: string
      /** All attempts, those before an earlier replay included. */
      readonly attempts: number
    }
  | {
      readonly _tag: "Again"
      readonly position: Position
      readonly lane: number
      readonly delay: Duration.Duration
      readonly attempts: number
    }
  | { readonly _tag: "Aside"; readonly position: Position; readonly lane: number }

/**
 * What became of deliveries of one lease.
 *
 * @category models
 * @since 0.1.0
 */
export interface Settlement {
  readonly lease: Lease
  readonly settled: ReadonlyArray<Settled>
  /**
   * The whole subscription waits: nothing of it is due before `delay` is over, also for another process. `attempts` of 1 is the
   * first failure of what it waits for. Of 0 it ends such a wait, or, with a delay, is a rest that nothing has failed for.
   * `reason` is what went wrong; `position` is the delivery that it waits for, if any: where that is not pending, the wait ends.
   */
  readonly wait?:
    | {
        readonly delay: Duration.Duration
        readonly attempts: number
        readonly reason?: string | undefined
        readonly position?: Position | undefined
      }
    | undefined
  /**
   * Whether the receiver is failing: since the first settlement that says so, over waits, leases and processes, until one says
   * otherwise, or the state of the subscription is set. Left as it is where that is left out.
   */
  readonly isFailing?: boolean | undefined
  /** The attempts that came to this, in their order: kept where the exchange keeps outcomes, the last ten of a delivery. */
  readonly attempts?: ReadonlyArray<Attempt> | undefined
}

/**
 * An attempt to deliver.
 *
 * @category models
 * @since 0.1.0
 */
export interface Attempt {
  readonly position: Position
  /** When it began, by the clock of the process that delivers. */
  readonly at: Millis
  /** How long it took, in milliseconds. */
  readonly took: number
  /** What went wrong, as text; nothing where it succeeded. */
  readonly error: string | undefined
  /** What is kept beside that, also where it succeeded, such as the answer: of a longer text the first 1,000 characters. */
  readonly detail?: string | undefined
}

/**
 * A dead letter.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredDeadLetter {
  readonly position: Position
  readonly payload: Uint8Array
  readonly topic: string
  readonly contentType: string | undefined
  readonly trace: string | undefined
  readonly writtenAt: Millis
  readonly deadLetteredAt: Millis
  readonly reason: DeadLetterReason
  readonly cause: string
  readonly attempts: number
}
