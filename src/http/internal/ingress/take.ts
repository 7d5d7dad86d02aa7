/** What a request is answered with when its events have been written, or have not. */
import * as Cause from "effect/Cause"
import type * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Option from "effect/Option"
import { type EventSink, SinkClosed } from "../../../internal/sink.ts"
import { commit, exitWithin } from "./commit.ts"
import { type IngressLog, tagOf } from "./ingressLog.ts"
import { type Refused, refusedAs } from "./refused.ts"
import type { Repeats } from "./repeats.ts"

/**
 * What a request is answered with that the sink failed on.
 *
 * @category models
 * @since 0.1.0
 */
export interface Refusal {
  /** From 400 to 599. A 4xx other than 408 and 429 tells most senders to give the event up. */
  readonly status: number
  /** What the sender is told. */
  readonly detail?: string | undefined
  /** How long it is asked to wait: `retryAfter` of the options for 429 and 503, nothing for all others. */
  readonly retryAfter?: Duration.Input | undefined
}

interface Options<A, E> {
  readonly sink: EventSink<A, E>
  readonly repeats: Repeats | undefined
  readonly writeTimeout: Duration.Duration
  readonly retryAfter: Duration.Duration
  readonly refusal: ((error: E) => Refusal) | undefined
  readonly log: IngressLog
}

export class Taker<A, E> {
  private readonly options: Options<A, E>

  constructor(options: Options<A, E>) {
    this.options = options
  }

  /** Answers how many of the events were repeats, when all are committed. */
  take(events: ReadonlyArray<A>, ids: ReadonlyArray<string> | undefined): Effect.Effect<number, Refused> {
    const { log, repeats, sink, writeTimeout } = this.options
    return Effect.flatMap(exitWithin(commit(sink, events, ids, repeats), writeTimeout), (exit) => {
      if (exit === undefined) {
        const late = this.busy("The events were not committed in time, and may be all the same")
        return Effect.andThen(log.unavailable("the sink was slower than its limit"), Effect.fail(late))
      }
      // Of repeats alone nothing was written, and nothing is known of the sink.
      if (Exit.isSuccess(exit)) return Effect.as(exit.value < events.length ? log.took() : Effect.void, exit.value)
      return Effect.flatMap(this.untaken(exit.cause), Effect.fail)
    })
  }

  /** A bug, of the sink's or of an option's, and no fault of the sender's. */
  died(cause: Cause.Cause<unknown>): Effect.Effect<Refused> {
    return Effect.as(this.options.log.died(cause), this.busy("The events could not be taken"))
  }

  private untaken(cause: Cause.Cause<E | SinkClosed>): Effect.Effect<Refused> {
    const { log } = this.options
    const error = Cause.findErrorOption(cause)
    if (Option.isNone(error)) return this.died(cause)
    if (error.value instanceof SinkClosed) {
      return Effect.as(log.unavailable("the sink is closed"), this.busy("The receiver is closed"))
    }
    // What is left of the union, which the compiler does not see through the type parameter.
    const refused = this.refused(error.value as E)
    return Effect.as(
      refused.status < 500 ? Effect.void : log.unavailable(`the sink failed${tagOf(error.value)}`),
      refused
    )
  }

  private refused(error: E): Refused {
    const { detail = "The events were not taken", ...refusal }: Refusal =
      this.options.refusal?.(error) ?? ({ status: 503 } as const)
    return refusedAs({ ...refusal, detail }, this.options.retryAfter)
  }

  private busy(detail: string): Refused {
    return refusedAs({ status: 503, detail }, this.options.retryAfter)
  }
}
