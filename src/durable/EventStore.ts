/**
 * The port of the durable parts: events, subscriptions, deliveries and leases, and no policy: no schedule, no codec, no
 * schema. A store is a layer, so that a graph in a test, in one process and on many machines is the same code.
 *
 * An operation that succeeded is committed: it outlives the process, unless the store says otherwise. An operation that
 * failed has changed nothing, unless its error is `maybeCommitted`. A store gives no deliveries to a process whose lease
 * another has taken, and takes no settlement from it.
 *
 * @since 0.1.0
 */
import type { NonEmptyReadonlyArray } from "effect/Array"
import * as Context from "effect/Context"
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Stream from "effect/Stream"
import type { EventStoreError } from "./internal/port/error.ts"
import type {
  AttemptPage,
  DeadLetterFilter,
  EventKey,
  EventStatus,
  Listing,
  Overview,
  Page,
  StoredAttempt
} from "./internal/port/insight.ts"
import type {
  Bounds,
  Claimable,
  Claims,
  Definition,
  Figures,
  Keeping,
  Lease,
  Limits,
  NewEvent,
  Owner,
  Position,
  Published,
  Settlement,
  State,
  StoredDeadLetter,
  Subscription,
  SubscriptionId,
  Taken,
  Wanted,
  Which
} from "./internal/port/records.ts"

export { EventStoreError, type StoreProblem } from "./internal/port/error.ts"
export type {
  AttemptPage,
  DeadLetterFilter,
  DeliveryState,
  DeliveryStatus,
  EventKey,
  EventStatus,
  Listing,
  Overview,
  Page,
  StoredAttempt,
  Wait
} from "./internal/port/insight.ts"
export type {
  Attempt,
  Bounds,
  Claimable,
  Claimed,
  Claims,
  DeadLetterReason,
  Definition,
  Delivery,
  Figures,
  Keeping,
  Lease,
  Limits,
  Millis,
  NewEvent,
  Owner,
  Position,
  Published,
  Settled,
  Settlement,
  State,
  StoredDeadLetter,
  Subscription,
  SubscriptionId,
  Taken,
  Wanted,
  Which
} from "./internal/port/records.ts"

/**
 * The operations of a store.
 *
 * @category models
 * @since 0.1.0
 */
export interface Operations {
  /** Makes an exchange, or sets what it keeps, and for how long. `joins` is that of `define`. */
  readonly open: (
    exchange: string,
    keeping?: Keeping | undefined,
    options?: { readonly joins?: boolean | undefined }
  ) => Effect.Effect<void, EventStoreError>
  /**
   * Makes subscriptions, or brings those of the same tenant and name to their definitions. A change of topics holds for what
   * is published after it; what is pending stays. Where topics or data are others than before, the process that has the lease
   * is woken. A new subscription gets every event that a `publish` stores which began
   * after this answered. Where a definition `replaces` what is not there, it is left out. With `joins` it is part of the caller's transaction, as a `publish` is, and commits with it.
   */
  readonly define: (
    exchange: string,
    definitions: NonEmptyReadonlyArray<Definition>,
    options?: { readonly joins?: boolean | undefined }
  ) => Effect.Effect<ReadonlyArray<Subscription>, EventStoreError>
  /**
   * Commits events in order, whole or not at all, for every subscription that matches. It is part of the caller's transaction
   * where `inTransaction` says so. Answers nothing, and changes nothing, when the events do not fit the limits of one of
   * their subscriptions; events that are duplicates may count there too.
   */
  readonly publish: (
    exchange: string,
    events: NonEmptyReadonlyArray<NewEvent>,
    limits?: Limits | undefined
  ) => Effect.Effect<ReadonlyArray<Published> | undefined, EventStoreError>
  /** Whether the calling fiber is in a transaction of this store's own database. */
  readonly inTransaction: Effect.Effect<boolean>
  /** Pauses, disables or activates subscriptions, those alone that are in one of the states `from`, and ends their waits; answers how many there are. */
  readonly setState: (
    which: Which,
    state: State,
    reason: string | undefined,
    from?: ReadonlyArray<State> | undefined
  ) => Effect.Effect<number, EventStoreError>
  /** Drops subscriptions for good, with all that is stored for them; answers how many deliveries were pending. */
  readonly drop: (which: Which) => Effect.Effect<number, EventStoreError>
  /** The subscriptions, by tenant and name. */
  readonly list: (which: Listing) => Effect.Effect<ReadonlyArray<Subscription>, EventStoreError>
  /** How much is stored for a subscription; nothing for one that is not there. */
  readonly figures: (subscription: SubscriptionId) => Effect.Effect<Figures | undefined, EventStoreError>
  /** Subscriptions with what is stored for them, by exchange, tenant and name; of all exchanges where none is given. */
  readonly overview: (which: Partial<Which>) => Effect.Effect<ReadonlyArray<Overview>, EventStoreError>
  /** What has become of an event; nothing where nothing is kept of it. */
  readonly status: (exchange: string, event: EventKey) => Effect.Effect<EventStatus | undefined, EventStoreError>
  /**
   * Deletes pending deliveries of a subscription for good, `limit` of them at most, and ends its wait if there were any: first those in its order,
   * then those that are set aside, then those whose time is to come. What a process has taken already it may deliver still.
   * Answers how many were deleted.
   */
  readonly discard: (subscription: SubscriptionId, limit: number) => Effect.Effect<number, EventStoreError>
  /** The bounds of those subscriptions that have something pending: what a flush polls, and so cheap at any backlog. */
  readonly bounds: (
    subscriptions: ReadonlyArray<SubscriptionId>
  ) => Effect.Effect<ReadonlyArray<Bounds>, EventStoreError>
  /**
   * Begins or extends a process's life: until `ttl` of the store's clock is over, its leases are its own. Answers another
   * `id` than the one given where that owner is gone, and its leases with it.
   */
  readonly renew: (
    owner: Owner | { readonly name: string },
    ttl: Duration.Duration
  ) => Effect.Effect<Owner, EventStoreError>
  /**
   * Puts what has come due to the end of the order of its subscription. Acquires leases, at most `limit`, of those subscriptions that are active, have something due, and belong to no process
   * that lives; with epochs greater than any before. Answers with them which leases of the owner's own have something new.
   * With an exchange all of its subscriptions are meant, and the cost is that of what is due, however many there are.
   */
  readonly claim: (owner: Owner, which: Claimable, limit: number) => Effect.Effect<Claims, EventStoreError>
  /**
   * The first deliveries of leases, from the head and never by a cursor. Lanes come first, each with its first deliveries,
   * then what stands in the order of the subscription. A lease that is lost, or whose subscription is not active any more, is
   * not in the answer. What is taken stays in the store.
   */
  readonly take: (
    owner: Owner,
    wanted: NonEmptyReadonlyArray<Wanted>
  ) => Effect.Effect<ReadonlyArray<Taken>, EventStoreError>
  /** Settles deliveries of many leases in one step; those that are gone are passed over. Answers which leases are lost. */
  readonly settle: (
    owner: Owner,
    settlements: NonEmptyReadonlyArray<Settlement>
  ) => Effect.Effect<ReadonlyArray<SubscriptionId>, EventStoreError>
  /** Gives leases back, or all that the owner has, and then the owner is gone. What is due may be claimed at once. */
  readonly release: (owner: Owner, leases: ReadonlyArray<Lease> | "all") => Effect.Effect<void, EventStoreError>
  /** How many dead letters of a subscription match. */
  readonly countDeadLetters: (
    subscription: SubscriptionId,
    filter: DeadLetterFilter
  ) => Effect.Effect<number, EventStoreError>
  /** The dead letters of a subscription that match, page by page. */
  readonly deadLetters: (
    subscription: SubscriptionId,
    page: Page
  ) => Effect.Effect<ReadonlyArray<StoredDeadLetter>, EventStoreError>
  /**
   * Moves dead letters to the end of their subscription, in the order given, at new positions and with their attempts. Answers
   * how many were moved: those that are gone are passed over.
   */
  readonly replay: (
    subscription: SubscriptionId,
    positions: NonEmptyReadonlyArray<Position>
  ) => Effect.Effect<number, EventStoreError>
  /**
   * Puts events to the end of a subscription, in the order given, by the positions of the events: those that are dead letters
   * as `replay` does, and of the others those of its tenant that are retained, whatever its topics. Answers how many deliveries
   * that made: an event that is kept nowhere is passed over.
   */
  readonly resend: (
    subscription: SubscriptionId,
    positions: NonEmptyReadonlyArray<Position>
  ) => Effect.Effect<number, EventStoreError>
  /** The attempts of a subscription, the newest first, page by page: as long as its exchange keeps outcomes. */
  readonly attempts: (
    subscription: SubscriptionId,
    page: AttemptPage
  ) => Effect.Effect<ReadonlyArray<StoredAttempt>, EventStoreError>
  /** Deletes dead letters for good. Answers how many were deleted. */
  readonly purge: (
    subscription: SubscriptionId,
    positions: NonEmptyReadonlyArray<Position>
  ) => Effect.Effect<number, EventStoreError>
  /** Removes some of what nothing needs any more, and answers whether there may be more. For an owner, now and then. */
  readonly sweep: Effect.Effect<boolean, EventStoreError>
  /**
   * Has an element after each commit, of this process or another, that may have given a process something to do: to deliver,
   * to claim, to drop, or room to write. One for several is enough, and one too many does no harm. Listening has begun once
   * its first element is there, which comes at once. When the stream fails, its listener polls, and listens again.
   * A store that knows that there were only settlements may say so: there is nothing more to deliver or to claim then, and
   * perhaps room to write.
   */
  readonly changes: Stream.Stream<Change, EventStoreError>
}

/**
 * What was committed: settlements alone, or anything.
 *
 * @category models
 * @since 0.1.0
 */
export type Change = "settled" | void

/**
 * The store of the durable parts in its context.
 *
 * @category services
 * @since 0.1.0
 */
export class EventStore extends Context.Service<EventStore, Operations>()("effect-events/durable/EventStore") {}
