/**
 * The graph, wired with layers only: a place in it is a service, and a layer builds the sink that stands there. Read
 * from the receiver up, each pipeline is a webhook, tried again until it succeeds or gives up, behind a queue.
 *
 * Who else needs one of these sinks asks for its tag; a test puts another layer in its place. Forget a layer, connect a
 * sink of other events, or leave an error unhandled, and the last lines of this file do not compile.
 */
import { Context, Effect, Layer, Schedule } from "effect"
import {
  Breaker,
  Broadcaster,
  EventFilter,
  EventQueue,
  EventSink,
  ExponentialBackoff,
  RetryingSink,
  RetryStrategy
} from "effect-events"
import { FetchHttpClient } from "effect/http"
import { isBlob, type Notification } from "./Envelope.ts"
import { Ledger } from "./Ledger.ts"
import type { Name } from "./Receivers.ts"
import * as Webhook from "./Webhook.ts"

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

/**
 * Waits longer after each failure, and leaves a receiver alone for a while that has failed five times in a row. The
 * times are short because this is an example; the defaults of `ExponentialBackoff` suit production.
 */
const patient = Effect.map(Breaker.make({ threshold: 5, backoff: "200 millis" }), (breaker) =>
  ExponentialBackoff.make({ base: "5 millis", factor: "10 millis", max: "200 millis" }).pipe(
    RetryStrategy.combine(breaker)
  )
)

/** The same in a hurry, and never more than three attempts for an event. */
const impatient = Effect.map(Breaker.make({ threshold: 5, backoff: "15 millis" }), (breaker) =>
  RetryStrategy.fromSchedule(Schedule.recurs(2)).pipe(
    RetryStrategy.combine(ExponentialBackoff.make({ base: "5 millis", factor: "5 millis", max: "50 millis" })),
    RetryStrategy.combine(breaker)
  )
)

/** How long the close goes on delivering. What is left then goes to `onDropped` as undelivered. */
const drainTimeout = "12 seconds"

/** queue | retry | webhook. A breaker belongs to one receiver, so each pipeline makes its own. */
const endpoint = Effect.fnUntraced(function* <X>(
  name: Name,
  strategy: Effect.Effect<RetryStrategy.RetryStrategy<unknown, X>>,
  bound: { readonly capacity?: number; readonly overflow?: "drop-oldest" } = {}
) {
  const { [name]: entry } = yield* Ledger
  const retrying = RetryingSink.make(yield* strategy, { name })
  // A subscription of the broadcaster is a queue already. This one has what only a queue of one's own can have: a
  // capacity, and an address for what is given up.
  return yield* Webhook.make(name).pipe(
    Effect.flatMap(retrying),
    Effect.flatMap(EventQueue.make({ ...bound, name, drainTimeout, onDropped: entry.giveUp }))
  )
})

const endpoints = Layer.mergeAll(
  EventSink.layer(Healthy, endpoint("healthy", patient)),
  EventSink.layer(Flaky, endpoint("flaky", patient)),
  EventSink.layer(
    Late,
    endpoint("late", patient).pipe(
      Effect.map(EventFilter.make((event: Notification) => !isBlob(event), { name: "late" }))
    )
  ),
  // Whoever cannot be reached must not fill the memory: when it is this far behind, the oldest news go first.
  EventSink.layer(Absent, endpoint("absent", impatient, { capacity: 100, overflow: "drop-oldest" }))
)

/** The whole graph. It still needs the receivers' addresses and the ledger. */
export const layer = EventSink.layer(Notifications, Broadcaster.make([Healthy, Flaky, Late, Absent])).pipe(
  Layer.provide(endpoints),
  Layer.provide(FetchHttpClient.layer)
)
