/** When a batch is full, and how long an event waits for it. */
import * as Duration from "effect/Duration"
import { count } from "../options.ts"

/** The most events handed to a batch sink at once: what a failure of unknown extent must be split into. */
export const maxBatch = 1024

/**
 * When a batch is full, and how long an event waits for it.
 *
 * @category options
 * @since 0.1.0
 */
export interface Limits<in A> {
  /** How many events a batch has at most: a whole number from 1, and 1,024 by default. */
  readonly batchSize?: number | undefined
  /** How long an event may wait for others to share its batch. */
  readonly maxAge?: Duration.Input | undefined
  /** How much a batch may have together of what `size` answers. An event that has more is a batch of its own. */
  readonly maxBytes?: number | undefined
  /**
   * The size of an event, in bytes or in any other unit. It is called once for each event, by its write; what it throws is a
   * defect of that write, and so is an answer that is no number from 0 on.
   */
  readonly size?: ((event: A) => number) | undefined
}

/** The limits of a batch, judged. */
export interface BatchLimits<in A> {
  readonly batchSize: number
  /** In milliseconds. */
  readonly maxAge: number
  readonly maxBytes: number
  readonly sizeOf: ((event: A) => number) | undefined
}

export const limitsOf = <A>(where: string, { batchSize, maxAge, maxBytes, size }: Limits<A>): BatchLimits<A> => {
  if ((maxBytes === undefined) !== (size === undefined)) {
    throw new RangeError(`${where}: maxBytes and size need each other`)
  }
  return {
    batchSize: count(where, "batchSize", batchSize ?? maxBatch, 1),
    maxAge: Duration.toMillis(Duration.fromInputUnsafe(maxAge ?? 0)),
    maxBytes: count(where, "maxBytes", maxBytes ?? Number.POSITIVE_INFINITY, 1),
    sizeOf: size && ((event) => checked(where, size(event)))
  }
}

// internals

const checked = (where: string, size: number): number => {
  if (size >= 0) return size
  throw new RangeError(`${where}: size must answer a number from 0 on, and answered ${size}`)
}
