/**
 * The graph, wired with layers only: a place in it is a service, and a layer builds the sink that stands there. Three
 * are endpoints as the library has them; the fourth is a pipeline of one's own, read from the receiver up: a webhook,
 * tried again until it succeeds or gives up, behind a queue.
 *
 * Who else needs one of these sinks asks for its tag; a test puts another layer in its place. Forget a layer, connect a
 * sink of other events, or leave an error unhandled, and the last lines of this file do not compile.
 */
import { Context, Effect, Layer, Schedule } from "effect"
import {
  Breaker,
  Broadcaster,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RetryingSink,
  RetryStrategy
} from "effect-events"
import { Endpoint, Envelope, HttpSink, type RegistryEvent } from "effect-events/http"
import { FetchHttpClient } from "effect/http"
import { Ledger } from "./Ledger.ts"
import { type Name, Receivers } from "./Receivers.ts"

type Notification = RegistryEvent.RegistryEvent

// Four endpoints and the broadcaster over them. None of them can fail but by its close: their errors end in `onDropped`.

export class Healthy extends Context.Service<Healthy, EventSink.EventSink<Notification>>()(
  "registry-notifications/Healthy"
) {}
export class Flaky extends Context.Service<Flaky, EventSink.EventSink<Notification>>()(
  "registry-notifications/Flaky"
) {}
export class Late extends Context.Service<Late, EventSink.EventSink<Notification>>()("registry-notifications/Late") {}
export class Absent extends Context.Service<Absent, EventSink.EventSink<Notification>>()(
  "registry-notifications/Absent"
) {}

export class Notifications extends Context.Service<Notifications, Broadcaster.Broadcaster<Notification>>()(
  "registry-notifications/Notifications"
) {}

/** How long the close goes on delivering. What is left then goes to `onDropped` as undelivered. */
const drainTimeout = "12 seconds"

/** Where and how to post to a receiver, and who writes down how it went. */
const webhook = (name: Name) =>
  Effect.gen(function* () {
    const { [name]: receiver } = yield* Receivers
    const { [name]: entry } = yield* Ledger
    const post = {
      name,
      url: receiver.url,
      envelope: Envelope.registry,
      onAttempt: entry.attempted
    }
    return { entry, post } as const
  })

/**
 * filter | queue | retry with a breaker | http. A receiver that has failed five times in a row is left alone for a
 * while. The times are short because this is an example; the defaults suit production.
 */
const endpoint = Effect.fnUntraced(function* (name: Name, ignored?: Endpoint.Ignored) {
  const { entry, post } = yield* webhook(name)
  return yield* Endpoint.make({
    ...post,
    ignore: ignored && Endpoint.ignoring(ignored),
    threshold: 5,
    backoff: "200 millis",
    drainTimeout,
    onDropped: entry.giveUp,
    onDisabled: entry.setAside
  })
})

/** Never more than three attempts for an event, in a hurry. A breaker belongs to one receiver, so it is made here. */
const impatient = Effect.map(Breaker.make({ threshold: 5, backoff: "15 millis" }), (breaker) =>
  RetryStrategy.fromSchedule(Schedule.recurs(2)).pipe(
    RetryStrategy.combine(ExponentialBackoff.make({ base: "5 millis", factor: "5 millis", max: "50 millis" })),
    RetryStrategy.combine(breaker)
  )
)

/** queue | retry | http, for a receiver that may miss some. */
const pipeline = Effect.fnUntraced(function* (name: Name) {
  const { entry, post } = yield* webhook(name)
  const retrying = RetryingSink.make(yield* impatient, { name, while: HttpSink.isTransient })
  return yield* HttpSink.make({ ...post, timeout: "1 second", maxEvents: 1 }).pipe(
    Effect.flatMap(retrying),
    // Whoever cannot be reached must not fill the memory: when it is this far behind, the oldest news go first.
    Effect.flatMap(
      EventQueue.make({ name, capacity: 100, overflow: "drop-oldest", drainTimeout, onDropped: entry.giveUp })
    )
  )
})

const endpoints = Layer.mergeAll(
  EventSink.layer(Healthy, endpoint("healthy")),
  EventSink.layer(Flaky, endpoint("flaky")),
  EventSink.layer(Late, endpoint("late", { mediaTypes: ["application/octet-stream"] })),
  EventSink.layer(Absent, pipeline("absent"))
)

/** The whole graph. It still needs the receivers' addresses and the ledger. */
export const layer = EventSink.layer(Notifications, Broadcaster.make([Healthy, Flaky, Late, Absent])).pipe(
  Layer.provide(endpoints),
  Layer.provide(FetchHttpClient.layer)
)
