/**
 * retry with a breaker | http: what an `Endpoint` is, without the queue, which the endpoint's subscription is. Unless an
 * option says otherwise, a receiver is treated as distribution treats it.
 */
import { type Duration, Effect } from "effect"
import { Breaker, RetryingSink } from "effect-events"
import { Endpoint, Envelope, HttpSink, type RegistryEvent } from "effect-events/http"

export interface Options {
  readonly name: string
  readonly url: string | URL
  /** What a request is posted under, which the receiver compares: version 1 by default. */
  readonly mediaType?: string
  /** How many bytes a request may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  readonly threshold?: number
  readonly backoff?: Duration.Input
  readonly onAttempt?: HttpSink.Options<RegistryEvent.RegistryEvent>["onAttempt"]
}

/** Posts one event at a time. */
export const post = ({ maxBytes, mediaType, name, onAttempt, url }: Options) => {
  const { classification, maxEvents, timeout } = Endpoint.distribution
  const envelope = Envelope.registryWith({ mediaType })
  return HttpSink.make({ name, url, onAttempt, envelope, classification, maxBytes, maxEvents, timeout })
}

/** Tries again until the receiver has it. What no attempt can deliver, such as an event that is too large, it gives up. */
export const make = Effect.fnUntraced(function* (options: Options) {
  const { backoff, threshold } = { ...Endpoint.distribution, ...options }
  const breaker = yield* Breaker.make({ threshold, backoff })
  const retrying = RetryingSink.make(breaker, { name: options.name, while: HttpSink.isTransient })
  return yield* Effect.flatMap(post(options), retrying)
})
