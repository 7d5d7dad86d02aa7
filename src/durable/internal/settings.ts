/** What the options of a queue or a subscription say of its delivery, with their defaults in place. */
import * as Duration from "effect/Duration"
import type { OnDropped } from "../../Dropped.ts"
import type { Overflow } from "../../internal/overflow.ts"
import type { TraceMode } from "../../internal/processSpan.ts"
import type { Redelivery } from "../Redelivery.ts"
import type { Keeping, Limits } from "./port/records.ts"

export interface DeliverySettings<in A> {
  readonly leaseTtl: Duration.Duration
  readonly redelivery: Redelivery
  readonly onUndecodable: "dead-letter" | "pause"
  readonly onDisabled: "dead-letter" | "pause"
  /** How many events, and bytes of them, are appended, read and acknowledged together at most. */
  readonly batchSize: number
  readonly batchBytes: number
  /** How long an event waits for a batch to fill up. */
  readonly maxAge: Duration.Duration
  /**
   * How many writes are under way at once, and the key of their order; a throw of `partitionBy` is the event's fault.
   */
  readonly concurrency: number
  readonly partitionBy: ((event: A) => unknown) | undefined
  readonly trace: TraceMode | undefined
}

/** Those of a durable queue. */
export interface Settings<in A> extends DeliverySettings<A> {
  readonly name: string
  readonly id: ((event: A) => string) | undefined
  readonly keeping: Keeping | undefined
  readonly overflow: Overflow
  readonly limits: Limits | undefined
  readonly drainTimeout: Duration.Duration
  readonly onDropped: OnDropped<A> | undefined
}

/** A lease is renewed three times in its life, so a shorter one would keep a process busy. */
const leastLeaseTtl = Duration.millis(100)

/** How long a lease lasts. A time that is too short is a mistake in the program and a defect, which says what and where. */
export const leaseTtlOf = (where: string, input: Duration.Input = "10 seconds"): Duration.Duration => {
  const ttl = Duration.fromInputUnsafe(input)
  if (Duration.isGreaterThanOrEqualTo(ttl, leastLeaseTtl)) return ttl
  throw new RangeError(
    `${where}: leaseTtl must be at least ${Duration.format(leastLeaseTtl)}, and is ${Duration.format(ttl)}`
  )
}
