import * as Effect from "effect/Effect"
import type { Definition, EventStoreError, Operations, SubscriptionId } from "../EventStore.ts"

/** Defines one subscription, and answers its id. */
export const defineOne = (
  store: Operations,
  exchange: string,
  definition: Definition
): Effect.Effect<SubscriptionId, EventStoreError> =>
  // There is one for each definition.
  Effect.map(store.define(exchange, [definition]), ([subscription]) => subscription!.id)
