/** What endpoints are, as values: what is given for them, what is shown of them, and what goes wrong with them. No secret is among it. */
import type { NonEmptyReadonlyArray } from "effect/Array"
import type * as Duration from "effect/Duration"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Millis, Position, State } from "../../durable/EventStore.ts"

/**
 * An event as it is written: whose it is and its topic, by which endpoints are found, and its id.
 *
 * @category models
 * @since 0.1.0
 */
export interface Addressed<out A> {
  /** Whose event it is: only endpoints of this tenant get it. */
  readonly tenant: string
  /** What endpoints choose by, such as `order/placed`. */
  readonly topic: string
  /**
   * What makes it the same event as another of its tenant, and its `webhook-id` at every attempt: at most 500 characters of printable
   * ASCII without a full stop. One is assigned at the write where it is left out.
   */
  readonly id?: string | undefined
  readonly event: A
}

/**
 * An event as it is stored, and as the envelopes of endpoints get it.
 *
 * @category models
 * @since 0.1.0
 */
export interface Message<out A> {
  readonly id: string
  readonly topic: string
  readonly event: A
}

/**
 * What names an endpoint. An id is only ever found together with its tenant.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointKey {
  readonly tenant: string
  readonly id: string
}

/**
 * The most requests in a time. They are spread evenly: 10 in a second is one each 100 ms.
 *
 * @category models
 * @since 0.1.0
 */
export interface Rate {
  readonly limit: number
  readonly per: Duration.Input
}

/**
 * What an endpoint is made with.
 *
 * @category models
 * @since 0.1.0
 */
export interface NewEndpoint {
  readonly tenant: string
  /** Absolute, `https` unless the options allow `http`, without credentials, and no literal address outside of the internet. */
  readonly url: string
  /** Which events it gets: `order/placed` is one topic, `order/*` each that begins with `order/`, and `*` every one, the default. */
  readonly topics?: NonEmptyReadonlyArray<string> | undefined
  /** What its owner calls it. */
  readonly description?: string | undefined
  /** Headers of every request. The values of redacted ones are encrypted, and never shown again. */
  readonly headers?: Readonly<Record<string, string | Redacted.Redacted<string>>> | undefined
  /** Its first secret, such as one of another system, of 24 to 75 bytes: a new one by default. */
  readonly secret?: Redacted.Redacted<string> | undefined
  /** The name of one of the options' `envelopes`, and of one of their `plans`. */
  readonly envelope?: string | undefined
  readonly plan?: string | undefined
  /**
   * How many requests it gets in a time, over all processes and whatever its `concurrency`. Gaps of up to 50 ms are kept in memory: a move
   * to another process may shorten one.
   */
  readonly rate?: Rate | undefined
  /**
   * Whether events arrive in the order of their writes, the default: a failed one then holds up those behind it. Otherwise it steps
   * aside, and `concurrency` requests may be under way, 4 by default.
   */
  readonly ordered?: boolean | undefined
  readonly concurrency?: number | undefined
  /** How long a request may take: what the options say by default. */
  readonly timeout?: Duration.Input | undefined
}

/**
 * A change of an endpoint. What is left out stays, `null` takes it away, and headers are changed all together.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointChange extends Pick<NewEndpoint, "topics" | "headers" | "ordered"> {
  readonly url?: string | undefined
  readonly description?: string | null | undefined
  readonly envelope?: string | null | undefined
  readonly plan?: string | null | undefined
  readonly rate?: Rate | null | undefined
  readonly concurrency?: number | null | undefined
  readonly timeout?: Duration.Input | null | undefined
}

/**
 * An endpoint, without its secrets.
 *
 * @category models
 * @since 0.1.0
 */
export interface Endpoint extends EndpointKey {
  readonly url: string
  readonly topics: ReadonlyArray<string>
  readonly description: string | undefined
  readonly headers: Readonly<Record<string, string>>
  /** The names of headers whose values are secret. */
  readonly secretHeaders: ReadonlyArray<string>
  /** The secrets that sign, the current one first: since when each does, and until when one that was rotated out does. */
  readonly secrets: ReadonlyArray<{ readonly since: Millis; readonly until: Millis | undefined }>
  readonly envelope: string | undefined
  readonly plan: string | undefined
  readonly rate: { readonly limit: number; readonly per: Duration.Duration } | undefined
  readonly ordered: boolean
  readonly concurrency: number | undefined
  readonly timeout: Duration.Duration | undefined
  readonly createdAt: Millis
  readonly state: State
  /** Why it is not active; and since when it is in its state. */
  readonly reason: string | undefined
  readonly since: Millis
}

/**
 * An endpoint with what is stored for it.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointDetails extends Endpoint {
  readonly pending: number
  readonly deadLetters: number
  /** When the oldest event that waits was written. */
  readonly oldest: Millis | undefined
  /** Since when every attempt has failed, over restarts and processes; and when the next one is, where a failed one is waited for. */
  readonly failingSince: Millis | undefined
  readonly nextAttempt: Millis | undefined
  /**
   * What went wrong last, as long as `failingSince` stands. Where nothing waits for what failed, such as a dead letter, it is that of the
   * last failed attempt, as long as the option `outcomes` keeps attempts: with 0 it is nothing then.
   */
  readonly lastError: string | undefined
}

/**
 * A new endpoint, or one whose secret was rotated, with the secret: it is not shown again.
 *
 * @category models
 * @since 0.1.0
 */
export interface WithSecret {
  readonly endpoint: Endpoint
  readonly secret: Redacted.Redacted<string>
}

/**
 * A page of endpoints, by their ids.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointPage {
  readonly endpoints: ReadonlyArray<Endpoint>
  /** Those of the page whose rows cannot be read. */
  readonly unreadable: ReadonlyArray<EndpointUnreadable>
  /** The `after` of the next page, where there is one. */
  readonly next: string | undefined
}

/**
 * An attempt to deliver an event to an endpoint.
 *
 * @category models
 * @since 0.1.0
 */
export interface EndpointAttempt {
  /** The id of the event: that of its write, or the one that was assigned there. `resend` and `status` take it. */
  readonly eventId: string | undefined
  /** The position of the event, which `resend` takes too. */
  readonly position: Position
  readonly topic: string
  readonly at: Millis
  /** How long it took, in milliseconds, without what it waited for a rate. */
  readonly took: number
  /** What the receiver answered, if it did, and the first characters of that, where the options ask for them. */
  readonly status: number | undefined
  readonly answer: string | undefined
  /** What went wrong; nothing where the event was accepted. */
  readonly error: string | undefined
}

/**
 * What came of a test event.
 *
 * @category models
 * @since 0.1.0
 */
export type TestResult = Omit<EndpointAttempt, "eventId" | "position" | "topic"> & { readonly eventId: string }

/**
 * What happened to an endpoint. `failing`: its attempts have begun to fail. `recovered`: one has succeeded again. `disabled`: by its
 * answer of 410, for failing too long, or by hand. `paused`: by hand. A state that is set by hand ends what `failing` began: no
 * `recovered` follows, and the next failure is `failing` anew.
 *
 * @category models
 * @since 0.1.0
 */
export const EndpointEvent = Schema.Struct({
  type: Schema.Literals(["failing", "recovered", "disabled", "paused"]),
  tenant: Schema.String,
  endpoint: Schema.String,
  at: Schema.Number.annotate({ description: "milliseconds since 1970" }),
  reason: Schema.optionalKey(Schema.String)
})

/**
 * @category models
 * @since 0.1.0
 */
export type EndpointEvent = typeof EndpointEvent.Type

/**
 * An event cannot be written as it is addressed: which field is wrong, and why. Nothing was stored, and no other try would store it.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidEvent extends Schema.TaggedError<InvalidEvent>()(
  "InvalidEvent",
  {
    /** The name of the webhook endpoints that it was written to. */
    name: Schema.String,
    tenant: Schema.String,
    topic: Schema.String,
    /** Its id, at most the first 500 characters. */
    id: Schema.String,
    field: Schema.Literals(["tenant", "topic", "id"]),
    problem: Schema.String
  },
  { httpApiStatus: 422, description: "An event cannot be written as it is addressed: which field is wrong, and why." }
) {
  override get message(): string {
    const { field, id, name, problem, tenant, topic } = this
    const [ofId, ofTenant, ofTopic] = [id, tenant, topic].map((text) => JSON.stringify(text))
    return `webhooks ${JSON.stringify(name)}: the ${field} of the event ${ofId} (tenant ${ofTenant}, topic ${ofTopic}) ${problem}`
  }
}

/**
 * There is no such endpoint of this tenant. That of another tenant is as good as none.
 *
 * @category errors
 * @since 0.1.0
 */
export class EndpointNotFound extends Schema.TaggedError<EndpointNotFound>()(
  "EndpointNotFound",
  { id: Schema.String },
  { httpApiStatus: 404, description: "There is no such endpoint of this tenant." }
) {
  override get message(): string {
    return `there is no endpoint ${JSON.stringify(this.id)}`
  }
}

/**
 * An endpoint cannot be like this: which field is wrong, and why. It quotes no secret.
 *
 * @category errors
 * @since 0.1.0
 */
export class InvalidEndpoint extends Schema.TaggedError<InvalidEndpoint>()(
  "InvalidEndpoint",
  { field: Schema.String, problem: Schema.String },
  { httpApiStatus: 422, description: "An endpoint cannot be like this: which field is wrong, and why." }
) {
  override get message(): string {
    return `the ${this.field} ${this.problem}`
  }
}

/**
 * The row of an endpoint cannot be read: it does not decode, was encrypted under a key that this process does not have, or was
 * changed by another program.
 *
 * @category errors
 * @since 0.1.0
 */
export class EndpointUnreadable extends Schema.TaggedError<EndpointUnreadable>()(
  "EndpointUnreadable",
  {
    id: Schema.String,
    /** `UnknownKey` may end with a deployment; the others do not end by themselves. */
    reason: Schema.Literals(["Undecodable", "UnknownKey", "Undecryptable"]),
    detail: Schema.String
  },
  { httpApiStatus: 409, description: "The stored endpoint cannot be read." }
) {
  override get message(): string {
    return `the row of the endpoint ${JSON.stringify(this.id)} cannot be read: ${this.detail}`
  }
}
