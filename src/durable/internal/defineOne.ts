import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type { Definition, EventStoreError, Keeping, Operations, SubscriptionId } from "../EventStore.ts"

/** The delays before another attempt at it. */
export const definitionRetries = Schedule.min([Schedule.exponential("100 millis"), Schedule.spaced("5 seconds")])

/** Sets what an exchange keeps, if that is said, defines its subscription, and answers the id. */
export const defineOne = (
  store: Operations,
  exchange: string,
  definition: Definition,
  keeping?: Keeping | undefined,
  joins = false
): Effect.Effect<SubscriptionId, EventStoreError> =>
  Effect.andThen(
    keeping === undefined ? Effect.void : store.open(exchange, keeping, { joins }),
    // There is one for each definition.
    Effect.map(store.define(exchange, [definition], { joins }), ([subscription]) => subscription!.id)
  )
