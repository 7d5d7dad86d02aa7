/**
 * What the example writes down beside the library's own counts: what was sent, how often it was tried, and what was
 * given up. Of an event only its id is kept.
 */
import { Context, Effect, Layer, type Predicate } from "effect"
import type { Dropped, RetryingSink } from "effect-events"
import { type HttpSink, RegistryEvent } from "effect-events/http"
import type { Name } from "./Receivers.ts"

type Notification = RegistryEvent.RegistryEvent

/** What a pipeline may give an event up for: no attempt can deliver it, or, where retries are limited, none has. */
export type GaveUp = HttpSink.HttpSinkError | RetryingSink.RetriesExhausted<HttpSink.HttpSinkError>

/** The page of one endpoint. */
export class Entry {
  private readonly wants: Predicate.Predicate<Notification>
  /** Whether the endpoint may give an event up: only one whose retries are limited. */
  readonly mayGiveUp: boolean
  /** The ids of the events that the endpoint wants, in the order in which they were sent. */
  readonly wanted: Array<string> = []
  /** Requests, and those of which nobody knows whether the receiver has taken the event. */
  attempts = 0
  unsure = 0
  /** Events that were reported as given up, and their ids: the queue said so, whatever the receiver says. */
  reports = 0
  readonly lost = new Set<string>()
  /** How many of them were with the receiver when the close came: it may have them. */
  inFlight = 0
  /** How many there were for each reason. */
  readonly reasons = new Map<string, number>()

  constructor(options: { readonly wants?: Predicate.Predicate<Notification>; readonly mayGiveUp?: boolean } = {}) {
    this.wants = options.wants ?? (() => true)
    this.mayGiveUp = options.mayGiveUp ?? false
  }

  /** An event was sent to everybody. */
  sent(event: Notification): void {
    if (this.wants(event)) this.wanted.push(event.id)
  }

  /** A request is over. */
  readonly attempted = ({ error }: HttpSink.Attempt): void => {
    this.attempts++
    if (error?.unsure) this.unsure++
  }

  /** The `onDropped` of the endpoint's queue. */
  readonly giveUp = ({ event, reason }: Dropped.Dropped<Notification, GaveUp>) =>
    Effect.sync(() => {
      this.reports++
      if ("inFlight" in reason && reason.inFlight) this.inFlight++
      this.lose(event, describe(reason))
    })

  /** The `onDisabled` of the endpoint. Here no receiver says that it is gone. */
  readonly setAside = (event: Notification) => Effect.sync(() => this.lose(event, "the endpoint was disabled"))

  private lose(event: Notification, why: string): void {
    this.lost.add(event.id)
    this.reasons.set(why, (this.reasons.get(why) ?? 0) + 1)
  }
}

/** In the shortest text there is, such as `status 503`. */
const shortly = (error: HttpSink.HttpSinkError): string => error.reason.message

/** Every reason there is. A new one would be a compile error here. */
const describe = (reason: Dropped.DropReason<GaveUp>): string => {
  switch (reason._tag) {
    case "Failed":
      return reason.error._tag === "RetriesExhausted"
        ? `gave up after ${reason.error.attempts} attempts: ${shortly(reason.error.error)}`
        : shortly(reason.error)
    case "Died":
      return "a defect of the sink"
    case "Overflow":
      return "the queue was full"
    case "Lagged":
      return "evicted: too far behind"
    case "Undelivered":
      return reason.inFlight ? "in flight when the time was up" : "still waiting when the time was up"
  }
}

export class Ledger extends Context.Service<Ledger, Readonly<Record<Name, Entry>>>()("registry-notifications/Ledger") {
  static readonly layer = Layer.sync(Ledger, () => ({
    healthy: new Entry(),
    flaky: new Entry(),
    // Said here once more, so that the check does not ask the filter that it checks.
    late: new Entry({ wants: (event) => !RegistryEvent.isBlob(event) }),
    absent: new Entry({ mayGiveUp: true })
  }))
}
