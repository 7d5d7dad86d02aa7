/**
 * The graph, wired with layers only: a broadcaster in a file, and for each endpoint a layer that subscribes a pipeline to
 * it, read from the receiver up: http, tried again until it succeeds or gives up.
 *
 * The broadcaster is a service: any other part gets it by its tag, and a test puts another layer in its place. Leave out a
 * layer, connect a sink of other events, or put a queue in memory below, and this file does not compile.
 */
import { Data, Effect, Layer, Schedule } from "effect"
import { Breaker, EventSink, ExponentialBackoff, RetryingSink, RetryStrategy } from "effect-events"
import { DurableBroadcaster, Redelivery } from "effect-events/durable"
import { HttpSink } from "effect-events/http"
import { FetchHttpClient } from "effect/http"
import { Ledger } from "./Ledger.ts"
import { Notifications } from "./Notifications.ts"
import * as Pipeline from "./Pipeline.ts"
import { type Name, Receivers } from "./Receivers.ts"

/** Where to post to, and where the attempts are counted. */
const options = Effect.fnUntraced(function* (name: Name) {
  const { [name]: receiver } = yield* Receivers
  const { [name]: entry } = yield* Ledger
  return { name, url: receiver.url, onAttempt: entry.attempted }
})

/** A receiver that has failed five times in a row is left alone for a while. */
const withBreaker = (name: Name) =>
  Effect.flatMap(options(name), (options) => Pipeline.make({ ...options, threshold: 5, backoff: "200 millis" }))

/** What the absent receiver's dead letters say. */
class GaveUp extends Data.TaggedError("GaveUp")<{ readonly message: string }> {}

const explain = (error: HttpSink.HttpSinkError | RetryingSink.RetriesExhausted<HttpSink.HttpSinkError>): GaveUp =>
  new GaveUp({
    message:
      error._tag === "RetriesExhausted"
        ? `gave up after ${error.attempts} attempts: ${error.error.reason.message}`
        : error.reason.message
  })

/** Never more than three attempts for an event, in a hurry. A breaker belongs to one receiver, so it is made here. */
const impatient = Effect.fnUntraced(function* (name: Name) {
  const strategy = RetryStrategy.fromSchedule(Schedule.recurs(2)).pipe(
    RetryStrategy.combine(ExponentialBackoff.make({ base: "1 millis", factor: "1 millis", max: "2 millis" })),
    RetryStrategy.combine(yield* Breaker.make({ threshold: 5, backoff: "1 millis" }))
  )
  return yield* Pipeline.post(yield* options(name)).pipe(
    RetryingSink.make(strategy, { name, while: HttpSink.isTransient }),
    EventSink.mapError(explain)
  )
})

/** The events wait under the name of the subscription: it must be the same in every life of the process. */
const subscriptions = Layer.mergeAll(
  DurableBroadcaster.layerSubscription(Notifications, withBreaker("healthy"), { name: "healthy" }),
  DurableBroadcaster.layerSubscription(Notifications, withBreaker("flaky"), { name: "flaky" }),
  // Events of images' layers are not for every receiver: none is stored for this one.
  DurableBroadcaster.layerSubscription(Notifications, withBreaker("late"), { name: "late", topics: ["manifest/*"] }),
  DurableBroadcaster.layerSubscription(Notifications, impatient("absent"), {
    name: "absent",
    // It has made all its attempts.
    redelivery: Redelivery.none
  })
)

/** The whole graph. It still needs the store, the receivers' addresses and the ledger. */
export const layer = subscriptions.pipe(Layer.provideMerge(Notifications.layer), Layer.provide(FetchHttpClient.layer))
