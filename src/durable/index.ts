/** Queues and broadcasters that survive their process. Stores that need a platform have an entry of their own. */
export * as Administration from "./Administration.ts"
export * as DurableBroadcaster from "./DurableBroadcaster.ts"
export * as DurableQueue from "./DurableQueue.ts"
export * as EventStore from "./EventStore.ts"
export * as MemoryStore from "./MemoryStore.ts"
export * as PostgresStore from "./PostgresStore.ts"
export * as Redelivery from "./Redelivery.ts"
