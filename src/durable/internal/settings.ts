import type * as Duration from "effect/Duration"
import type { OnDropped } from "../../Dropped.ts"
import type { Limits } from "../EventStore.ts"
import type { Overflow } from "../../internal/overflow.ts"

/** The options of a durable queue, with their defaults in place. */
export interface Settings<in A> {
  readonly name: string
  readonly overflow: Overflow
  readonly limits: Limits | undefined
  readonly drainTimeout: Duration.Duration
  readonly leaseTtl: Duration.Duration
  readonly onUndecodable: "dead-letter" | "pause"
  readonly onDisabled: "dead-letter" | "pause"
  /** How many events, and bytes of them, are appended, read and acknowledged together at most. */
  readonly batchSize: number
  readonly batchBytes: number
  /**
   * How many writes are under way at once, and the key of their order; a throw of `partitionBy` is the event's fault.
   */
  readonly concurrency: number
  readonly partitionBy: ((event: A) => unknown) | undefined
  readonly onDropped: OnDropped<A> | undefined
}
