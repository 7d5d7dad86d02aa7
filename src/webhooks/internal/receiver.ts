/** What delivers to an endpoint for the time of a lease, as its row says then. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Record from "effect/Record"
import type * as Scope from "effect/Scope"
import type { Subscription } from "../../durable/EventStore.ts"
import type { Receiver } from "../../durable/internal/slot.ts"
import type { Redelivery } from "../../durable/Redelivery.ts"
import type { EventSink } from "../../EventSink.ts"
import type { Endpoint, Message } from "./model.ts"
import { type Definitive, type Rows, shownOf } from "./row.ts"

export interface Options<in A> {
  readonly rows: Rows
  /** Makes the sink of an endpoint, of which a write is one request. */
  readonly requests: (
    endpoint: Definitive,
    shown: Endpoint
  ) => Effect.Effect<EventSink<Message<A>, unknown>, { readonly message: string }, Scope.Scope>
  readonly redelivery: Redelivery
  readonly plans: Readonly<Record<string, Redelivery>>
}

/** How many requests may be under way to an endpoint that is not ordered. */
const defaultConcurrency = 4

/**
 * Makes the receiver of a row. It fails for a row that does not decode or decrypt, or that names what the options do not have: a key, a
 * plan or an envelope may come with a deployment, and be with another process already.
 */
export const makeReceiverOf =
  <A>(options: Options<A>) =>
  (subscription: Subscription): Effect.Effect<Receiver<Message<A>>, { readonly message: string }, Scope.Scope> =>
    Effect.gen(function* () {
      const { rows } = options
      const endpoint = yield* rows.opened(subscription)
      const { concurrency = defaultConcurrency, ordered, plan, rate } = endpoint
      const redelivery =
        plan === undefined ? options.redelivery : Option.getOrUndefined(Record.get(options.plans, plan))
      if (redelivery === undefined) {
        return yield* Effect.fail({ message: `the plan ${JSON.stringify(plan)} is none of the options'` })
      }
      const sink = yield* options.requests(endpoint, shownOf(subscription, endpoint))
      return {
        sink,
        redelivery,
        concurrency: ordered ? 1 : concurrency,
        spacing: rate && Duration.divideUnsafe(rate.per, rate.limit)
      }
    })
