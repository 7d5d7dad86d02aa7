/** What a store reports of what it holds: for those that look after it. */
import type {
  Attempt,
  DeadLetterReason,
  Figures,
  Millis,
  Position,
  StoredDeadLetter,
  Subscription,
  Which
} from "./records.ts"

/**
 * A subscription with what is stored for it, for those that look after it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Overview extends Subscription, Figures {
  /** When the oldest was written of the first event of the order and the first that is set aside. */
  readonly oldest: Millis | undefined
  /** When the next of the deliveries comes due that wait for a time of their own. */
  readonly nextDue: Millis | undefined
  /** What the whole subscription waits for: see `Settlement`. */
  readonly wait: Wait | undefined
  /** Since when its receiver is failing: see `Settlement`. */
  readonly failingSince: Millis | undefined
}

/**
 * A wait of a whole subscription.
 *
 * @category models
 * @since 0.1.0
 */
export interface Wait {
  readonly until: Millis
  /** How many attempts have failed in a row, and when the first of them did. */
  readonly attempts: number
  readonly firstFailedAt: Millis | undefined
  /** What went wrong, as text. */
  readonly reason: string | undefined
  /** The delivery that it waits for, where it waits for one. */
  readonly position: Position | undefined
}

/**
 * An event, by its position or by its id, while its exchange keeps that.
 *
 * @category models
 * @since 0.1.0
 */
export type EventKey = Position | { readonly tenant?: string | undefined; readonly id: string }

/**
 * What has become of an event, as far as that is kept.
 *
 * @category models
 * @since 0.1.0
 */
export interface EventStatus {
  readonly position: Position
  readonly topic: string
  readonly writtenAt: Millis
  /** One for each subscription of its tenant that there is now, by their names. */
  readonly deliveries: ReadonlyArray<DeliveryStatus>
}

/**
 * What has become of an event for one subscription.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeliveryStatus {
  readonly subscription: string
  readonly state: DeliveryState
  /** The last ten, while the exchange keeps outcomes. */
  readonly attempts: ReadonlyArray<Omit<Attempt, "position">>
}

/**
 * The state of a delivery.
 *
 * **Details**
 *
 * `Pending`: it is stored. Of its attempts `failed`, those included for which its subscription waits as a whole; it is not tried
 * before `nextAt`, where there is such a time: its own, that of its lane where it is the first, or that of the subscription. `Delivered`, `Dropped` by a limit and `Purged` are known as long as the exchange keeps
 * outcomes. `Unmatched`: the subscription was never to get the event, by its topics as they are now. `Unknown`: it is one of
 * these, and nothing is kept of that.
 *
 * @category models
 * @since 0.1.0
 */
export type DeliveryState =
  | { readonly _tag: "Pending"; readonly failed: number; readonly nextAt: Millis | undefined }
  | { readonly _tag: "Delivered" | "Dropped" | "Purged"; readonly at: Millis }
  | {
      readonly _tag: "DeadLettered"
      readonly at: Millis
      readonly failed: number
      readonly reason: DeadLetterReason
      readonly cause: string
    }
  | { readonly _tag: "Unmatched" | "Unknown" }

/**
 * A page of subscriptions of an exchange, in the order of their tenants and names.
 *
 * @category models
 * @since 0.1.0
 */
export interface Listing extends Which {
  /** The last subscription of the page before. */
  readonly after?: Pick<Subscription, "tenant" | "name"> | undefined
  /** All by default. */
  readonly limit?: number | undefined
}

/**
 * An attempt as its store has kept it.
 *
 * @category models
 * @since 0.1.0
 */
export interface StoredAttempt extends Attempt {
  /** That of its event. */
  readonly position: Position
  readonly topic: string
}

/**
 * A page of the attempts of a subscription, the newest first.
 *
 * @category models
 * @since 0.1.0
 */
export interface AttemptPage {
  /** The last attempt of the page before. */
  readonly before?: Pick<StoredAttempt, "at" | "position"> | undefined
  readonly limit: number
  /** Only those that failed. */
  readonly failedOnly?: boolean | undefined
}

/**
 * A page of dead letters: those after one, in the order in which they were dead-lettered.
 *
 * @category models
 * @since 0.1.0
 */
export interface Page extends DeadLetterFilter {
  /** The last dead letter of the page before. */
  readonly after?: Pick<StoredDeadLetter, "position" | "deadLetteredAt"> | undefined
  readonly limit: number
}

/**
 * Dead letters of a subscription: all fields must match.
 *
 * @category models
 * @since 0.1.0
 */
export interface DeadLetterFilter {
  readonly position?: Position | undefined
  readonly reason?: DeadLetterReason | undefined
  /** What the cause contains, upper and lower case told apart. */
  readonly cause?: string | undefined
  /** A pattern, as that of a `Definition`. */
  readonly topic?: string | undefined
  /** Dead-lettered at this time or after it, and before that. */
  readonly from?: Millis | undefined
  readonly to?: Millis | undefined
}
