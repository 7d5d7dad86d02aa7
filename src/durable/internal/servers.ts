/** The server of each store that this process delivers from: all durable parts over a store share one. */
import type * as Context from "effect/Context"
import type { Operations } from "../EventStore.ts"
import { makeDeliveryServer } from "./deliveryServer.ts"
import type { DeliveryServer } from "./serving.ts"
import { guarded } from "./guarded.ts"

// A part needs nothing but the store in its context, and a store knows nothing of what delivers: so this is where they meet.
const servers = new WeakMap<Operations, DeliveryServer>()

export const serverOf = (store: Operations, context: Context.Context<never>): DeliveryServer => {
  const found = servers.get(store)
  if (found !== undefined) return found
  const server = makeDeliveryServer(guarded(store), context)
  servers.set(store, server)
  return server
}
