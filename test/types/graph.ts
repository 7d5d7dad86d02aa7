/**
 * A graph of services, wired with layers only: two endpoints with retry and queue each, a filter before one, and a
 * broadcaster over both. What is real about an endpoint is its receiver, which is a layer too.
 */
import { Context, Data, Effect, Layer } from "effect"
import { Broadcaster, EventFilter, EventQueue, EventSink, ExponentialBackoff, RetryingSink } from "effect-events"

export interface Order {
  readonly id: number
  readonly total: number
}

export class Unavailable extends Data.TaggedError("Unavailable")<{ readonly receiver: string }> {}

type Receiver = EventSink.EventSink<Order, Unavailable>
export class AuditReceiver extends Context.Service<AuditReceiver, Receiver>()("app/AuditReceiver") {}
export class SearchReceiver extends Context.Service<SearchReceiver, Receiver>()("app/SearchReceiver") {}

type Place = EventSink.EventSink<Order>
export class Audit extends Context.Service<Audit, Place>()("app/Audit") {}
export class Search extends Context.Service<Search, Place>()("app/Search") {}
export class Notifications extends Context.Service<Notifications, Place>()("app/Notifications") {}

const backoff = ExponentialBackoff.make({ base: "1 millis", factor: "1 millis" })

export const AuditLive = EventSink.layer(Audit, AuditReceiver.pipe(RetryingSink.make(backoff), EventQueue.make()))

export const SearchLive = EventSink.layer(
  Search,
  SearchReceiver.pipe(
    RetryingSink.make(backoff),
    EventQueue.make({ capacity: 100 }),
    EventFilter.make((order: Order) => order.total >= 100)
  )
)

export const NotificationsLive = EventSink.layer(Notifications, Broadcaster.make([Audit, Search]))

/** The graph, over whatever receivers there are. */
export const Graph = NotificationsLive.pipe(Layer.provide([AuditLive, SearchLive]))

/** Receivers that fail once for each order, and then keep it. */
export const received = { audit: [] as Array<number>, search: [] as Array<number> }

const receiver = (name: "audit" | "search") => {
  const failed = new Set<number>()
  return EventSink.make(({ id }: Order) =>
    Effect.suspend(() => {
      if (failed.has(id)) return Effect.sync(() => received[name].push(id))
      failed.add(id)
      return Effect.fail(new Unavailable({ receiver: name }))
    })
  )
}

export const Receivers = Layer.mergeAll(
  EventSink.layer(AuditReceiver, receiver("audit")),
  EventSink.layer(SearchReceiver, receiver("search"))
)

export const Live = Graph.pipe(Layer.provide(Receivers))

export const program = Notifications.use((notifications) =>
  EventSink.writeAll(notifications, [
    { id: 1, total: 50 },
    { id: 2, total: 100 },
    { id: 3, total: 150 }
  ])
)
