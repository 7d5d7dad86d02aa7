/**
 * The graph, wired with layers only: a place in it is a service, and a layer builds the sink that stands there. Each
 * endpoint is a pipeline, read from the receiver up: http, tried again until it succeeds or gives up, behind a queue in a
 * file. Above them all is one sink that commits to every queue.
 *
 * Any other part gets one of these sinks by its tag; a test puts another layer in its place. Leave out a layer, connect a
 * sink of other events, or leave an error unhandled, and the last lines of this file do not compile.
 */
import { Context, Data, Duration, Effect, Layer, Schedule } from "effect"
import { Breaker, EventFilter, EventSink, ExponentialBackoff, RetryingSink, RetryStrategy } from "effect-events"
import type { DurableQueue } from "effect-events/durable"
import { Endpoint, HttpSink, type RegistryEvent } from "effect-events/http"
import { FetchHttpClient } from "effect/http"
import * as FanOut from "./FanOut.ts"
import { Ledger } from "./Ledger.ts"
import * as Pipeline from "./Pipeline.ts"
import { type Name, Receivers } from "./Receivers.ts"

type Notification = RegistryEvent.RegistryEvent

/** A write succeeds when the event is in the file, and fails when the file does not take it. What comes then cannot fail. */
type Durable = EventSink.EventSink<Notification, DurableQueue.DurableWriteError>

export class Healthy extends Context.Service<Healthy, Durable>()("registry-notifications/Healthy") {}
export class Flaky extends Context.Service<Flaky, Durable>()("registry-notifications/Flaky") {}
export class Late extends Context.Service<Late, Durable>()("registry-notifications/Late") {}
export class Absent extends Context.Service<Absent, Durable>()("registry-notifications/Absent") {}

export class Notifications extends Context.Service<Notifications, Durable>()("registry-notifications/Notifications") {}

/** For how long a run that was killed keeps the next one waiting. Short because this is an example, as all times here. */
export const leaseTtl = Duration.seconds(1)

/** Where and how to post to a receiver, and where the attempts are counted. */
const options = Effect.fnUntraced(function* (name: Name) {
  const { [name]: receiver } = yield* Receivers
  const { [name]: entry } = yield* Ledger
  return { name, url: receiver.url, onAttempt: entry.attempted, leaseTtl, drainTimeout: "2 seconds" } as const
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
  const given = yield* options(name)
  const strategy = RetryStrategy.fromSchedule(Schedule.recurs(2)).pipe(
    RetryStrategy.combine(ExponentialBackoff.make({ base: "1 millis", factor: "1 millis", max: "2 millis" })),
    RetryStrategy.combine(yield* Breaker.make({ threshold: 5, backoff: "1 millis" }))
  )
  return yield* Pipeline.post(given).pipe(
    RetryingSink.make(strategy, { name, while: HttpSink.isTransient }),
    EventSink.mapError(explain),
    Effect.flatMap(Pipeline.queued(given))
  )
})

/** Events of images' layers are not for every receiver. */
const ignored = Endpoint.ignoring({ mediaTypes: ["application/octet-stream"] })

const endpoints = Layer.mergeAll(
  EventSink.layer(Healthy, withBreaker("healthy")),
  EventSink.layer(Flaky, withBreaker("flaky")),
  EventSink.layer(Late, EventFilter.make((event: Notification) => !ignored(event))(withBreaker("late"))),
  EventSink.layer(Absent, impatient("absent"))
)

/** The whole graph. It still needs the store, the receivers' addresses and the ledger. */
export const layer = EventSink.layer(
  Notifications,
  Effect.flatMap(Effect.all([Healthy, Flaky, Late, Absent]), FanOut.make)
).pipe(Layer.provideMerge(endpoints), Layer.provide(FetchHttpClient.layer))
