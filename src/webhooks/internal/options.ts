/** The options of webhook endpoints. */
import type * as Duration from "effect/Duration"
import type * as Schema from "effect/Schema"
import type { Redelivery } from "../../durable/Redelivery.ts"
import type { EventSink } from "../../EventSink.ts"
import type * as AddressPolicy from "../../http/AddressPolicy.ts"
import type { Classification } from "../../http/Classification.ts"
import type { Envelope } from "../../http/Envelope.ts"
import type { TransformClient } from "../../http/HttpSink.ts"
import type { Keys } from "./keyRing.ts"
import type { Endpoint, EndpointEvent, Message } from "./model.ts"
import type { Limits } from "./validation.ts"

/**
 * The name of webhook endpoints and the schema of their events: all that a process needs which only writes.
 *
 * @category options
 * @since 0.1.0
 */
export interface WriterOptions<in out A> {
  /** The name in the store, and in errors, logs, pictures and health. Endpoints of one name are those of one product. */
  readonly name: string
  /** The events, as JSON. An event that was written under an older schema must decode under this one. */
  readonly schema: Schema.ConstraintCodec<A, unknown>
  /**
   * For how long ids are kept, of each tenant by itself: an event with an id that was written within that time is not stored again, and
   * `status` finds an event by its id. Of all processes, as that of a `DurableBroadcaster`: a writer that leaves it out leaves it.
   */
  readonly deduplication?: Duration.Input | undefined
  /** How long the close waits for a commit that is under way: 20 seconds by default. */
  readonly drainTimeout?: Duration.Input | undefined
  /** How many events share a commit at most; a whole number from 1, and 500 by default. */
  readonly batchSize?: number | undefined
}

/**
 * Options of the endpoints that a process delivers to.
 *
 * **Example** (One limit for all endpoints of a tenant)
 *
 * ```ts
 * import { Effect, Layer, Redacted, Schema } from "effect"
 * import { MemoryStore } from "effect-events/durable"
 * import { WebhookEndpoints } from "effect-events/webhooks"
 * import { HttpClient, HttpClientResponse } from "effect/http"
 * import { RateLimiter } from "effect/persistence"
 *
 * // receivers in this process, in place of GuardedHttpClient.layer()
 * const received: Array<number> = []
 * const client = HttpClient.make((request) =>
 *   Effect.sync(() => {
 *     received.push(performance.now())
 *     return HttpClientResponse.fromWeb(request, new Response())
 *   })
 * )
 *
 * // of several machines, `RateLimiter.layerStoreRedis` shares the limit
 * const LimiterLive = RateLimiter.layer.pipe(Layer.provide(RateLimiter.layerStoreMemory))
 *
 * const program = Effect.gen(function* () {
 *   const limiter = yield* RateLimiter.RateLimiter
 *   const webhooks = yield* WebhookEndpoints.make({
 *     name: "orders",
 *     schema: Schema.String,
 *     keys: { current: { id: "2026", key: Redacted.make(new Uint8Array(32)) } },
 *     allowUnguarded: true,
 *     // `times: 0` leaves a 429 to the endpoint's plan
 *     transformClient: ({ tenant }) =>
 *       HttpClient.withRateLimiter({ limiter, key: tenant, limit: 1, window: "1 second", times: 0 })
 *   })
 *   for (const url of ["https://a.test", "https://b.test"]) yield* webhooks.create({ tenant: "acme", url })
 *   yield* webhooks.write({ tenant: "acme", topic: "order/placed", event: "an order" })
 *   while (received.length < 2) yield* Effect.sleep("10 millis")
 *   const [first = 0, second = 0] = received
 *   console.log(second - first > 500)
 * })
 *
 * Effect.runPromise(
 *   program.pipe(
 *     Effect.scoped,
 *     Effect.provideService(HttpClient.HttpClient, client),
 *     Effect.provide([MemoryStore.layer, LimiterLive])
 *   )
 * )
 * // prints: true
 * ```
 *
 * @category options
 * @since 0.1.0
 */
export interface Options<in out A> extends WriterOptions<A> {
  /** What encrypts secrets in the store. */
  readonly keys: Keys
  /** What the request of an event looks like: the event as JSON by default. An id of its own means nothing: it is that of the write. */
  readonly envelope?: Envelope<Message<A>> | undefined
  /** Others, by the names that endpoints choose them by. */
  readonly envelopes?: Readonly<Record<string, Envelope<Message<A>>>> | undefined
  /** When a failed event is delivered again: `Redelivery.webhooks` by default, ten attempts within three days and a half. */
  readonly redelivery?: Redelivery | undefined
  /** Others, by the names that endpoints choose them by. */
  readonly plans?: Readonly<Record<string, Redelivery>> | undefined
  /**
   * For how long all attempts of an endpoint may fail, of whichever events, before it is disabled, and keeps its events until it is enabled: 2 days by
   * default, which comes before the end of `Redelivery.webhooks`. `Duration.infinity` never disables one, nor does an attempt that ends in a
   * defect, as of an envelope.
   */
  readonly disableAfter?: Duration.Input | undefined
  /** What answers mean: `Classification.standardWebhooks` by default, under which a redirect is a failure. 410 always disables. */
  readonly classification?: Classification | undefined
  /** How long a request may take where the endpoint does not say: 15 seconds by default. */
  readonly timeout?: Duration.Input | undefined
  /** How many bytes the body of a request may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  /**
   * How many of the first bytes of an answer are kept with an attempt, at most 900, and fewer beside an event id of more than 90 characters, for
   * `attempts`: none by default, since an answer may have what is its receiver's own.
   */
  readonly answerBytes?: number | undefined
  /**
   * Wraps the client of an endpoint, as by `HttpClient.withRateLimiter`: what waits there is no request time, neither for `timeout` nor in
   * `attempts`. It holds its place beside the `slots` meanwhile, so keep the waits short; the `rate` of an endpoint holds none.
   */
  readonly transformClient?: ((endpoint: Endpoint) => TransformClient) | undefined
  readonly limits?: Limits | undefined
  /** Whether urls may be `http`: not by default. */
  readonly allowHttp?: boolean | undefined
  /**
   * Networks beside the internet that literal addresses of urls may be in: by default those that the `GuardedHttpClient` allows, which judges
   * every connection by its own policy in any case.
   */
  readonly allow?: AddressPolicy.Options["allow"]
  /**
   * Takes an `HttpClient` that is not that of a `GuardedHttpClient`: it may reach the application's own network by the url of a
   * customer, so that something else must keep it from there. Without this, such a client is a defect of the construction.
   */
  readonly allowUnguarded?: boolean | undefined
  /** For how long events are retained for `resend`: 3 days by default. */
  readonly retention?: Duration.Input | undefined
  /** For how long attempts and what became of events are kept: 3 days by default. 0 ends it, and makes a delivery cheaper. */
  readonly outcomes?: Duration.Input | undefined
  /**
   * How many endpoints this process delivers to at once: 256 by default. With 0 it only writes and administers. An endpoint that waits, for
   * its plan, its rate or an event, holds none. One whose attempt takes longer than a second leaves its slot to another until the attempt is
   * over; four times as many endpoints as slots are under way at most.
   */
  readonly slots?: number | undefined
  /**
   * For how long one endpoint is delivered to while others wait for a slot: 5 seconds by default, and until the requests are over that are
   * under way. So an endpoint that waits behind n others in the order of what is due, all of them flooded, is delivered to within n / `slots` slices.
   */
  readonly slice?: Duration.Input | undefined
  /** How long what this process has is its own when it is gone without a word, see `DurableQueue.Options`: 10 seconds by default. */
  readonly leaseTtl?: Duration.Input | undefined
  /** Takes what happens to endpoints, as far as it happens in this process. One that fails is logged. */
  readonly onHealth?: EventSink<EndpointEvent, unknown> | undefined
}
