/** What an endpoint is made of below its queue, and its defaults: filter | (a queue) | retry with a breaker | http. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type { HttpClient } from "effect/http/HttpClient"
import type * as Scope from "effect/Scope"
import * as Breaker from "../../../Breaker.ts"
import * as EventFilter from "../../../EventFilter.ts"
import type { EventSink } from "../../../EventSink.ts"
import * as Classification from "../../Classification.ts"
import * as HttpSink from "../../HttpSink.ts"
import type { InvalidSecret } from "../../WebhookSignature.ts"
import * as RetryingSink from "../../../RetryingSink.ts"
import { Counts } from "./counts.ts"
import { holding } from "./hold.ts"
import { gone, Switch } from "./switch.ts"
import { makeTarget } from "../sink/target.ts"

/**
 * What an endpoint does unless told otherwise: distribution's defaults.
 *
 * @category options
 * @since 0.1.0
 */
export const defaults = {
  /** How long a request may take. */
  timeout: "1 second",
  /** How many failures in a row open the breaker. */
  threshold: 10,
  /** How long the breaker stays open. */
  backoff: "1 second",
  /** 2xx and 3xx are accepted, all else is tried again. */
  classification: Classification.distribution,
  /** Events in a request. */
  maxEvents: 1,
  /** How long a receiver may ask to be left alone. */
  maxRetryAfter: "1 minute"
} as const

/**
 * The options of an endpoint that are not its queue's.
 *
 * @category options
 * @since 0.1.0
 */
export interface UnqueuedOptions<in out A> extends Omit<HttpSink.Options<A>, "drainTimeout"> {
  /** Its name in errors, logs, pictures, health and metrics: each endpoint has its own. */
  readonly name: string
  /** What is not for this receiver: accepted, and not sent. See `ignoring` for events of a registry. */
  readonly ignore?: ((event: A) => boolean) | undefined
  /** How many failures in a row open the breaker, which then holds back all requests: 10 by default. */
  readonly threshold?: number | undefined
  /** How long the breaker stays open before one request tries: 1 second by default. */
  readonly backoff?: Duration.Input | undefined
  /** The longest that a receiver may ask to be left alone, by all requests: 1 minute by default. */
  readonly maxRetryAfter?: Duration.Input | undefined
  /** For how long no request may have been answered well for the endpoint to be disabled: without it, that never happens. */
  readonly disableAfter?: Duration.Input | undefined
  /**
   * Takes, in the order of the queue, what a disabled endpoint holds and what comes; at once while it has no more. When it
   * succeeds, the event is delivered for the part above. Without it the write fails with the reason `Disabled`.
   */
  readonly onDisabled?: ((event: A) => Effect.Effect<void>) | undefined
}

/**
 * What cannot work, found before the first event.
 *
 * @category errors
 * @since 0.1.0
 */
export type Invalid = HttpSink.InvalidUrl | HttpSink.InvalidHeader | InvalidSecret

export interface Assembly<in out A> {
  readonly counts: Counts
  readonly off: Switch
  /** Posts an event until the receiver, or `onDisabled`, has it, or no attempt can deliver it. */
  readonly sink: EventSink<A, HttpSink.HttpSinkError>
  /** Puts the filter in front of a sink. */
  readonly filtered: <E>(sink: EventSink<A, E>) => Effect.Effect<EventSink<A, E>>
}

export const assemble = <A>(
  options: UnqueuedOptions<A>
): Effect.Effect<Assembly<A>, Invalid, HttpClient | Scope.Scope> =>
  Effect.gen(function* () {
    const { classification = defaults.classification, ignore, name, ...rest } = options
    const { shown } = yield* makeTarget(options)
    const off = new Switch(name, shown, Duration.fromInputUnsafe(rest.disableAfter ?? Duration.infinity))
    const counts = yield* Counts.make(name, () => off.isDisabled)
    // All they wait for is what the queue, whose close comes first, has waited for and given up.
    const drainTimeout = Duration.zero
    const http = yield* HttpSink.make<A>({
      ...rest,
      name,
      drainTimeout,
      timeout: rest.timeout ?? defaults.timeout,
      classification: (answer) => (answer.status === gone ? "permanent" : classification(answer)),
      maxEvents: rest.maxEvents ?? defaults.maxEvents,
      maxRetryAfter: rest.maxRetryAfter ?? defaults.maxRetryAfter,
      onAttempt: (attempt) => {
        counts.attempt(attempt)
        rest.onAttempt?.(attempt)
      }
    })
    const { backoff = defaults.backoff, onDisabled, threshold = defaults.threshold } = rest
    const breaker = yield* Breaker.make({ threshold, backoff })
    const retrying = yield* RetryingSink.make(holding(breaker, { threshold, backoff }, off), {
      name,
      drainTimeout,
      while: HttpSink.isTransient,
      // It is not for one event to wait for.
      maxRetryAfter: Duration.zero
    })(off.judging(http, counts.unsendable))
    return {
      counts,
      off,
      sink: onDisabled === undefined ? retrying : off.diverting(retrying, onDisabled),
      filtered: (sink) =>
        ignore === undefined ? Effect.succeed(sink) : EventFilter.make(sink, (event) => !ignore(event), { name })
    }
  })
