/**
 * queue in a file | retry with a breaker | http: what an `Endpoint` is, over a queue that survives. Unless
 * an option says otherwise, a receiver is treated as distribution treats it.
 */
import { type Duration, Effect } from "effect"
import { Breaker, type EventSink, RetryingSink } from "effect-events"
import { DurableQueue } from "effect-events/durable"
import { Endpoint, Envelope, HttpSink, RegistryEvent } from "effect-events/http"

export interface Options {
  /** The events wait under this name: it must be the same in every life of the process. */
  readonly name: string
  readonly url: string | URL
  /** What a request is posted under, which the receiver compares: version 1 by default. */
  readonly mediaType?: string
  /** How many bytes a request may have: 1 MiB by default. */
  readonly maxBytes?: number | undefined
  /** After a crash nothing is delivered for so long. */
  readonly leaseTtl: Duration.Input
  /** How long the close waits for what is with the receiver. The rest is in the file. */
  readonly drainTimeout: Duration.Input
  readonly threshold?: number
  readonly backoff?: Duration.Input
  readonly onAttempt?: HttpSink.Options<RegistryEvent.RegistryEvent>["onAttempt"]
}

/** Posts one event at a time. */
export const post = ({
  maxBytes,
  mediaType,
  name,
  onAttempt,
  url
}: Pick<Options, "name" | "url" | "mediaType" | "maxBytes" | "onAttempt">) => {
  const { classification, maxEvents, timeout } = Endpoint.distribution
  const envelope = Envelope.registryWith({ mediaType })
  return HttpSink.make({ name, url, onAttempt, envelope, classification, maxBytes, maxEvents, timeout })
}

/** What tells the queue of a name from others in the file. */
export const identity = (name: string) => ({ name, schema: RegistryEvent.RegistryEvent })

/** Keeps in the file what `sink` has not got yet, and what it failed on, among the dead letters. */
export const queued =
  ({ drainTimeout, leaseTtl, name }: Pick<Options, "name" | "leaseTtl" | "drainTimeout">) =>
  <E>(sink: EventSink.EventSink<RegistryEvent.RegistryEvent, E>) =>
    DurableQueue.make({ ...identity(name), leaseTtl, drainTimeout })(sink)

/** Tries again until the receiver has it. What no attempt can deliver, such as an event that is too large, it gives up. */
export const make = Effect.fnUntraced(function* (options: Options) {
  const { backoff, threshold } = { ...Endpoint.distribution, ...options }
  const breaker = yield* Breaker.make({ threshold, backoff })
  const retrying = RetryingSink.make(breaker, { name: options.name, while: HttpSink.isTransient })
  return yield* post(options).pipe(Effect.flatMap(retrying), Effect.flatMap(queued(options)))
})
