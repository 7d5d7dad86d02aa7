/**
 * What the example writes down beside the library's own counts: what was sent and how often it was tried. Of an event only
 * its id is kept.
 */
import { Context, Layer, type Predicate } from "effect"
import type { HttpSink, RegistryEvent } from "effect-events/http"
import { isBlob } from "effect-events/http/RegistryEvent"
import type { Name } from "./Receivers.ts"

type Notification = RegistryEvent.RegistryEvent

/** The page of one endpoint. */
export class Entry {
  private readonly wants: Predicate.Predicate<Notification>
  /** Whether the endpoint may give an event up: only one whose retries are limited. */
  readonly mayGiveUp: boolean
  /** The ids of the events that the endpoint wants, in the order of the input; what earlier runs have sent included. */
  readonly wanted: Array<string> = []
  /** How many of them this run has sent. */
  sent = 0
  /** Requests of this run, and those of which it is unknown whether the receiver has taken the event. */
  attempts = 0
  maybeCommitted = 0

  constructor(options: { readonly wants?: Predicate.Predicate<Notification>; readonly mayGiveUp?: boolean } = {}) {
    this.wants = options.wants ?? (() => true)
    this.mayGiveUp = options.mayGiveUp ?? false
  }

  /** An event was sent, by this run or, if it is not `now`, by an earlier one. */
  wrote(event: Notification, now: boolean): void {
    if (!this.wants(event)) return
    this.wanted.push(event.id)
    if (now) this.sent++
  }

  /** A request is over. */
  readonly attempted = ({ error }: HttpSink.Attempt): void => {
    this.attempts++
    if (error?.maybeCommitted) this.maybeCommitted++
  }
}

export class Ledger extends Context.Service<Ledger, Readonly<Record<Name, Entry>>>()("registry-notifications/Ledger") {
  static readonly layer = Layer.sync(Ledger, () => ({
    healthy: new Entry(),
    flaky: new Entry(),
    // Said here once more, so that the check does not ask the topics that it checks.
    late: new Entry({ wants: (event) => !isBlob(event) }),
    absent: new Entry({ mayGiveUp: true })
  }))
}
