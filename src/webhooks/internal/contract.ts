/** What webhook endpoints are to an application: a sink, and endpoints that it makes, changes and looks after. */
import type * as Duration from "effect/Duration"
import type * as Effect from "effect/Effect"
import type * as Redacted from "effect/Redacted"
import type * as Stream from "effect/Stream"
import type { AttemptPage, DeadLetterFilter, EventStatus, EventStoreError, Position } from "../../durable/EventStore.ts"
import type { DeadLetters } from "../../durable/internal/deadLetters.ts"
import type {
  Endpoint,
  EndpointAttempt,
  EndpointChange,
  EndpointDetails,
  EndpointEvent,
  EndpointKey,
  EndpointNotFound,
  EndpointPage,
  EndpointUnreadable,
  InvalidEndpoint,
  Message,
  NewEndpoint,
  TestResult,
  WithSecret
} from "./model.ts"

/**
 * What is done to endpoints, and asked of them. A key of another tenant is that of no endpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface Administered<in out A> {
  /** Makes an endpoint: what is written after this has answered is for it. */
  readonly create: (endpoint: NewEndpoint) => Effect.Effect<WithSecret, InvalidEndpoint | EventStoreError>
  readonly get: (
    endpoint: EndpointKey
  ) => Effect.Effect<EndpointDetails, EndpointNotFound | EndpointUnreadable | EventStoreError>
  /** A page of the endpoints of a tenant, by their ids: the first 50 by default. */
  readonly list: (
    tenant: string,
    page?: { readonly after?: string | undefined; readonly limit?: number | undefined }
  ) => Effect.Effect<EndpointPage, EventStoreError>
  /**
   * Changes an endpoint. What waits for it goes where it says then: the attempt that is under way is interrupted, which counts as no
   * failure, and the next one goes to the new url. A change of topics holds for later writes.
   */
  readonly update: (
    endpoint: EndpointKey,
    change: EndpointChange
  ) => Effect.Effect<Endpoint, InvalidEndpoint | EndpointNotFound | EndpointUnreadable | EventStoreError>
  /**
   * Gives an endpoint another secret. The one before signs beside it for `keepFor`, a day by default, so that its receiver accepts
   * requests before and after its own change. At most four sign at once: the oldest ends first.
   */
  readonly rotateSecret: (
    endpoint: EndpointKey,
    options?: { readonly keepFor?: Duration.Input | undefined; readonly secret?: Redacted.Redacted<string> | undefined }
  ) => Effect.Effect<WithSecret, InvalidEndpoint | EndpointNotFound | EndpointUnreadable | EventStoreError>
  /** Stores what comes and delivers nothing, in all processes, until `resume`. Does nothing to one that is disabled. */
  readonly pause: (endpoint: EndpointKey, reason?: string) => Effect.Effect<void, EndpointNotFound | EventStoreError>
  /**
   * Delivers again what was paused. One that is active and waits for its next attempt, as after its receiver was mended, is tried at
   * once: `failingSince` begins anew. Does nothing to one that is disabled.
   */
  readonly resume: (endpoint: EndpointKey) => Effect.Effect<void, EndpointNotFound | EventStoreError>
  /** The same as `pause`, until `enable`: for what is wrong with an endpoint. */
  readonly disable: (endpoint: EndpointKey, reason?: string) => Effect.Effect<void, EndpointNotFound | EventStoreError>
  /** Delivers again what was disabled, in order, first with one event. */
  readonly enable: (endpoint: EndpointKey) => Effect.Effect<void, EndpointNotFound | EventStoreError>
  /** Removes an endpoint for good, with its dead letters and all that waits for it. Answers how many events that was. */
  readonly remove: (endpoint: EndpointKey) => Effect.Effect<number, EndpointNotFound | EventStoreError>
  /**
   * Sends events again, each by its id or by the position of an attempt, to the end of the order. Answers how many were found: those that
   * are retained, or dead letters. An id is found as long as it is kept for deduplication.
   */
  readonly resend: (
    endpoint: EndpointKey,
    events: ReadonlyArray<string | Position>
  ) => Effect.Effect<number, EndpointNotFound | EventStoreError>
  /** Sends again the dead letters that match, such as those `from` a time: all by default. Answers how many there were. */
  readonly replayFailed: (
    endpoint: EndpointKey,
    filter?: DeadLetterFilter
  ) => Effect.Effect<number, EndpointNotFound | EventStoreError>
  /** The attempts of an endpoint, the newest first, as long as `outcomes` says: the first 50 by default. */
  readonly attempts: (
    endpoint: EndpointKey,
    page?: Partial<AttemptPage>
  ) => Effect.Effect<ReadonlyArray<EndpointAttempt>, EndpointNotFound | EventStoreError>
  /** What has become of an event of a tenant for each of its endpoints, by its id, as long as that is kept for deduplication. */
  readonly status: (tenant: string, id: string) => Effect.Effect<EventStatus | undefined, EventStoreError>
  /** The dead letters of an endpoint: none for one that is not there. */
  readonly deadLetters: (endpoint: EndpointKey) => DeadLetters<Message<A>>
  /**
   * Encrypts all rows anew that were encrypted with another key than the current one, of all tenants. Answers how many those were, and
   * how many cannot be read: the keys of these must stay.
   */
  readonly reencrypt: Effect.Effect<{ readonly reencrypted: number; readonly unreadable: number }, EventStoreError>
  /**
   * Sends an event to an endpoint at once, from this process, with a signature and an id as any other, and answers what came of it. It is
   * not stored, and waits for nothing that is: also a paused endpoint gets it.
   */
  readonly sendTest: (
    endpoint: EndpointKey,
    test: Omit<Message<A>, "id">
  ) => Effect.Effect<TestResult, EndpointNotFound | EndpointUnreadable | EventStoreError>
  /**
   * What happens to endpoints, as far as it happens in this process: one that is killed may not have reported its last, or have another
   * report it again. It goes from the time on at which it is run.
   */
  readonly health: Stream.Stream<EndpointEvent>
}
