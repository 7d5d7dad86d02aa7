/** What delivers to an endpoint for the time of a lease, as its row says then. */
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import type { Subscription } from "../../durable/EventStore.ts"
import type { Receiver } from "../../durable/internal/slot.ts"
import * as Redelivery from "../../durable/Redelivery.ts"
import { type EventSink, make as makeSink } from "../../EventSink.ts"
import type { Endpoint, Message } from "./model.ts"
import { named } from "./named.ts"
import type { Definitive, Rows } from "./row.ts"

export interface Options<in A> {
  readonly rows: Rows
  /** Makes the sink of an endpoint, of which a write is one request. */
  readonly requests: (
    endpoint: Definitive,
    shown: Endpoint
  ) => Effect.Effect<EventSink<Message<A>, unknown>, { readonly message: string }, Scope.Scope>
  readonly redelivery: Redelivery.Redelivery
  readonly plans: Readonly<Record<string, Redelivery.Redelivery>>
}

/** How many requests may be under way to an endpoint that is not ordered. */
export const defaultConcurrency = 4

/**
 * Makes the receiver of a row. It fails for a row that does not decode or decrypt, which another try would not change. A key that
 * this process does not have may come with a deployment, and is with another process already: its events wait, and nothing is sent.
 */
export const makeReceiverOf =
  <A>(options: Options<A>) =>
  (subscription: Subscription): Effect.Effect<Receiver<Message<A>>, { readonly message: string }, Scope.Scope> =>
    Effect.gen(function* () {
      const { rows } = options
      const endpoint = yield* rows.opened(subscription)
      const { concurrency = defaultConcurrency, ordered, plan, rate } = endpoint
      const redelivery = plan === undefined ? options.redelivery : named(options.plans, plan)
      if (redelivery === undefined) {
        return yield* Effect.fail({ message: `the plan ${JSON.stringify(plan)} is none of the options'` })
      }
      const sink = yield* options.requests(endpoint, yield* rows.shown(subscription))
      return {
        sink,
        redelivery,
        concurrency: ordered ? 1 : concurrency,
        onDisabled: "pause" as const,
        spacing: rate && Duration.divideUnsafe(rate.per, rate.limit)
      }
    }).pipe(
      Effect.catchIf(
        (error) => "reason" in error && error.reason === "UnknownKey",
        ({ message }) => withoutKey<A>(message)
      )
    )

// internals

/** The row of an endpoint is encrypted with a key that this process does not have. */
class KeyMissing extends Data.TaggedError("KeyMissing")<{ readonly message: string }> {}

const withoutKey = Effect.fnUntraced(function* <A>(message: string) {
  return {
    sink: yield* makeSink((_: Message<A>) => Effect.fail(new KeyMissing({ message }))),
    redelivery: untilItIsThere,
    concurrency: 1,
    onDisabled: "pause" as const,
    spacing: undefined
  }
})

const untilItIsThere = Redelivery.make(Schedule.spaced("30 seconds"), { jitter: 0.5 })
